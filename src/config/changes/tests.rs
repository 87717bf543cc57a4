//! A table: what is edited, what is said of it, what begins anew.

use super::*;
use crate::config::load_sources;
use crate::numbers::NOBODY;

const BEFORE: &str = r#"
[gateway]
id = "cp-1"
data_dir = "/tmp/cp-1"
locale = "en"
timezone = "UTC"

[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.1:502"

[[channel]]
id = "roof"
type = "modbus-tcp"
address = "192.0.2.2:502"

[[device]]
id = "pump-1"
channel = "plant"
unit = 1
poll = "1s"
[[device.point]]
id = "pressure"
table = "holding"
register = 0
type = "u16"
unit = "kPa"
[[device.point]]
id = "flow"
table = "holding"
register = 1
type = "u16"

[[device]]
id = "tank-1"
channel = "roof"
unit = 1
poll = "2s"
place = "roof"
[[device.point]]
id = "level"
table = "holding"
register = 0
type = "u16"
unit = "m"

[[rule]]
id = "pressure-low"
point = ["pump-1.pressure"]
below = 200
on_delay = "1m"
level = 2

[[sync]]
name = "crm"
url = "http://192.0.2.9/events"

[[consumer]]
name = "bi"
required = true
"#;

const MORE_ON_ROOF: &str = r#"
[[device]]
id = "aaa"
channel = "roof"
unit = 9
[[device.point]]
id = "x"
table = "holding"
register = 0
type = "u16"
"#;

fn load(text: &str) -> Gateway {
    match load_sources(vec![("gatehouse.toml".into(), text.to_owned())]) {
        Ok(loaded) => loaded.gateway,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

fn edited(find: &str, put: &str) -> Gateway {
    assert_eq!(BEFORE.matches(find).count(), 1, "{find}");
    load(&BEFORE.replace(find, put))
}

/// `find`, `put`, what is said, what begins anew.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const TABLE: &[Row] = &[
    ("locale = \"en\"\n", "locale = \"en\" # as ever\n", &[], &[]),
    ("below = 200", "below = 190", &["rule pressure-low: below 200 → 190"], &[]),
    ("below = 200", "above = 900.5", &["rule pressure-low: below 200 → above 900.5"], &[]),
    (
        "on_delay = \"1m\"\nlevel = 2",
        "on_delay = \"90s\"\nlevel = 1",
        &["rule pressure-low: on_delay 1m → 1m 30s, level 2 → 1"],
        &[],
    ),
    (
        "point = [\"pump-1.pressure\"]",
        "point = [\"pump-1.pressure\", \"pump-1.flow\"]",
        &["rule pressure-low: also on `pump-1.flow`"],
        &[],
    ),
    (
        "id = \"pressure-low\"",
        "id = \"low\"",
        &["rule pressure-low: removed", "rule low: added, below 200, level 2"],
        &[],
    ),
    ("poll = \"2s\"", "poll = \"5s\"", &["channel roof: restarts", "device tank-1: poll 2s → 5s"], &["roof"]),
    ("place = \"roof\"", "place = \"3/roof\"", &["device tank-1: place roof → 3/roof"], &[]),
    (
        "address = \"192.0.2.2:502\"",
        "address = \"192.0.2.3:502\"",
        &["channel roof: set otherwise, restarts"],
        &["roof"],
    ),
    (
        "unit = \"m\"",
        "unit = \"cm\"",
        &["channel roof: restarts", "device tank-1: point level unit m → cm"],
        &["roof"],
    ),
    (
        "register = 1\n",
        "register = 7\n",
        &["channel plant: restarts", "device pump-1: point flow register 1 → 7"],
        &["plant"],
    ),
    (
        "register = 0\ntype = \"u16\"\nunit = \"kPa\"",
        "register = 0\ntype = \"u16\"\nscale = 0.1\nunit = \"bar\"\nrange = [0, 9]",
        &[
            "channel plant: restarts",
            "device pump-1: point pressure unit kPa → bar and range any → 0 to 9 and scale 1 → 0.1",
        ],
        &["plant"],
    ),
    (
        "id = \"flow\"\n",
        "id = \"volume\"\n",
        &["channel plant: restarts", "device pump-1: added: `volume`, removed: `flow`"],
        &["plant"],
    ),
    (
        "url = \"http://192.0.2.9/events\"",
        "url = \"http://192.0.2.8/events\"",
        &["push crm: another url, restarts"],
        &["push crm"],
    ),
    ("name = \"crm\"", "name = \"erp\"", &["push crm: removed", "push erp: added"], &["push erp"]),
    ("required = true", "required = false", &["consumer bi: events are no longer kept for it"], &[]),
    ("id = \"cp-1\"", "id = \"cp-2\"", &["gateway: id cp-1 → cp-2, everything restarts"], &["gateway"]),
    (
        "timezone = \"UTC\"",
        "timezone = \"Asia/Shanghai\"",
        &["gateway: timezone UTC → Asia/Shanghai, everything restarts"],
        &["gateway"],
    ),
    (
        "[[sync]]",
        "[api]\nlisten = \"127.0.0.1:8108\"\n[store]\nreadings_keep = \"2d\"\n[[sync]]",
        &["api: listens on 127.0.0.1:8080 → 127.0.0.1:8108", "store: readings_keep 30d → 2d"],
        &[],
    ),
];

#[test]
fn each_edit_is_said_and_only_what_changed_begins_anew() {
    let before = load(BEFORE);
    for (find, put, told, begun) in TABLE {
        let changes = Changes::between(&before, &edited(find, put));
        assert_eq!(changes.told, *told, "{find} → {put}");
        assert_eq!(changes.begun_anew(), *begun, "{find} → {put}");
        assert_eq!(changes.is_nothing(), told.is_empty());
        // And back again is as much of a change.
        let back = Changes::between(&edited(find, put), &before);
        assert_eq!((back.told.is_empty(), back.begun_anew().len()), (told.is_empty(), begun.len()), "{find}");
    }
}

/// Edits of one device at a time, and what is said of it.
#[test]
fn nothing_is_left_out_because_something_else_changed_too() {
    let edit = |edits: &[(&str, &str)]| {
        let text = edits.iter().fold(MANY.to_owned(), |text, (find, put)| {
            assert_eq!(text.matches(find).count(), 1, "{find}");
            text.replace(find, put)
        });
        Changes::between(&load(MANY), &load(&text)).told
    };
    let device = |edits: &[(&str, &str)]| {
        let told = edit(edits);
        told.iter().find(|line| line.starts_with("device ")).cloned().unwrap_or_else(|| panic!("{told:?}"))
    };
    assert_eq!(
        device(&[
            ("place = \"3\"", "place = \"9\""),
            ("unit = \"kPa\"", "unit = \"bar\""),
            ("scale = 0.1", "scale = 0.2\noffset = -3"),
            ("unit = 7", "unit = 8"),
            ("poll = \"1s\"", "poll = \"2s\""),
        ]),
        "device pump-1: place 3 → 9, point pressure unit kPa → bar and scale 0.1 → 0.2 and offset 0 → -3, unit 7 → 8, poll 1s → 2s"
    );
    assert_eq!(
        device(&[
            ("type = \"u32\"", "type = \"f32\"\norder = \"CDAB\"\ndeadband = 2"),
            ("table = \"input\"", "table = \"holding\""),
            ("register = 10", "register = 12"),
        ]),
        "device pump-1: point flow deadband 0 → 2 and table input → holding and register 10 → 12 and type u32 → f32 and \
         order ABCD → CDAB"
    );
    assert_eq!(
        device(&[
            ("topic = \"b/leak\"", "topic = \"b/leak-2\""),
            ("json = \"/wet\"", "json = \"/water\"\nmap = { true = \"wet\", false = \"dry\" }"),
            ("place = \"cellar\"", "place = \"roof\""),
        ]),
        "device leak-1: place cellar → roof, point leak json /wet → /water and map none → true = wet | false = dry, topic b/leak → b/leak-2"
    );
    assert_eq!(
        device(&[("unit = 21", "unit = 22\nheld_after = \"9m\""), ("place = \"gate\"", "place = \"hall\"")]),
        "device bank-1: place gate → hall, unit 21 → 22, held_after 5m → 9m"
    );
}

/// Devices on wires of several kinds.
const MANY: &str = r#"
[gateway]
id = "cp-1"
data_dir = "/tmp/cp-1"
locale = "en"
timezone = "UTC"

[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.1:502"
[[device]]
id = "pump-1"
channel = "plant"
unit = 7
poll = "1s"
place = "3"
[[device.point]]
id = "pressure"
table = "holding"
register = 0
type = "u16"
unit = "kPa"
scale = 0.1
[[device.point]]
id = "flow"
table = "input"
register = 10
type = "u32"

[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://192.0.2.3:1883"
[[device]]
id = "leak-1"
channel = "broker"
topic = "b/leak"
place = "cellar"
[[device.point]]
id = "leak"
json = "/wet"

[[channel]]
id = "doors"
type = "serial"
address = "192.0.2.4:4001"
[[device]]
id = "bank-1"
channel = "doors"
profile = "lock-board-8a"
unit = 21
place = "gate"
"#;

#[test]
fn a_device_that_comes_first_moves_all_numbers_and_touches_no_other_wire() {
    let before = load(BEFORE);
    let text = BEFORE.replacen("[[device]]", &format!("{MORE_ON_ROOF}\n[[device]]"), 1);
    let after = load(&text);
    assert_ne!(before.site.point_named("pump-1.flow"), after.site.point_named("pump-1.flow"));
    let changes = Changes::between(&before, &after);
    assert_eq!(changes.told, ["channel roof: restarts", "device aaa: added on roof"]);
    assert_eq!(
        changes.wires,
        Moves { ended: vec!["roof".into()], begun: vec!["roof".into()], changed: vec![] }
    );
    for name in ["pump-1.pressure", "pump-1.flow", "tank-1.level"] {
        let (was, is) = (before.site.point_named(name).unwrap(), after.site.point_named(name).unwrap());
        assert_eq!(changes.numbers.point(was), Some(is), "{name}");
    }
    let back = Changes::between(&after, &before);
    assert_eq!(back.told, ["channel roof: restarts", "device aaa: removed from roof"]);
    let gone = after.site.point_named("aaa.x").unwrap();
    assert_eq!(back.numbers.point(gone), None);
}

const BROKER: &str = r#"
[gateway]
id = "cp-1"
data_dir = "/tmp/cp-1"
[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://192.0.2.1"
[[device]]
id = "raw"
channel = "broker"
topic = "t/raw"
[[device.point]]
id = "v"
[[device]]
id = "other"
channel = "broker"
topic = "t/other"
[[device.point]]
id = "v"
json = "/a"
unit = "m"
"#;

#[test]
fn a_broker_that_is_the_same_goes_on_with_other_devices() {
    let before = load(BROKER);
    let more =
        "[[device]]\nid = \"aaa\"\nchannel = \"broker\"\ntopic = \"t/aaa\"\n[[device.point]]\nid = \"v\"\n";
    let other = BROKER.find("[[device]]\nid = \"other\"").unwrap();
    for (text, in_place, said) in [
        (BROKER.replace("/a", "/b"), true, "device other: point v json /a → /b"),
        (BROKER.replace("\"m\"", "\"cm\""), true, "device other: point v unit m → cm"),
        (BROKER.replace("t/other", "t/else"), true, "device other: topic t/other → t/else"),
        (format!("{BROKER}{more}"), true, "device aaa: added on broker"),
        (BROKER[..other].to_owned(), true, "device other: removed from broker"),
        (BROKER.replace("192.0.2.1", "192.0.2.2"), false, "channel broker: set otherwise, restarts"),
        (
            BROKER.replace("\"mqtt\"", "\"mqtt\"\nversion = 5"),
            false,
            "channel broker: set otherwise, restarts",
        ),
    ] {
        let after = load(&text);
        for (one, two, there) in [(&before, &after, true), (&after, &before, false)] {
            let changes = Changes::between(one, two);
            let broker = |is: bool| if is { vec!["broker".into()] } else { vec![] };
            let moves =
                Moves { ended: broker(!in_place), begun: broker(!in_place), changed: broker(in_place) };
            assert_eq!(changes.wires, moves, "{said}");
            assert_eq!(changes.begun_anew().is_empty(), in_place, "{said}");
            assert!(!there || changes.told.iter().any(|told| told == said), "{said}: {:?}", changes.told);
            let goes_on = "channel broker: goes on, its devices change".to_owned();
            assert_eq!(changes.told.contains(&goes_on), in_place, "{said}");
        }
    }
}

#[test]
fn a_point_that_is_read_otherwise_is_another_one_under_the_same_name() {
    let before = load(BEFORE);
    let flow = before.site.point_named("pump-1.flow").unwrap();
    for (find, put, same) in [
        ("register = 1\n", "register = 7\n", false),
        ("register = 1\n", "register = 1\nscale = 0.1\n", false),
        ("register = 1\n", "register = 1\npoll = \"5s\"\n", true),
        ("unit = 1\npoll = \"1s\"", "unit = 2\npoll = \"1s\"", false),
        ("poll = \"1s\"", "poll = \"9s\"", true),
        ("address = \"192.0.2.1:502\"", "address = \"192.0.2.7:502\"", true),
        ("channel = \"plant\"", "channel = \"roof\"", false),
    ] {
        let text = BEFORE.replace(find, put);
        // A unit stands once on each wire.
        let text = text.replace(
            "channel = \"roof\"\nunit = 1\npoll = \"2s\"",
            "channel = \"roof\"\nunit = 8\npoll = \"2s\"",
        );
        let changes = Changes::between(&before, &load(&text));
        assert_eq!(changes.numbers.point(flow).is_some(), same, "{find} → {put}");
    }
}

#[test]
fn what_was_never_there_has_no_number_in_a_copy() {
    let before = load(BEFORE);
    let after = load(&BEFORE.replace("id = \"pump-1\"", "id = \"pump-9\"").replace("pump-1.", "pump-9."));
    let named = Numbers::between(&before.site, &after.site);
    let copy = before.rules[0].clone().in_other(&named);
    assert_eq!(copy.over, crate::rules::Over::Points(vec![PointId(NOBODY)]));
}

#[test]
fn an_event_of_very_many_changes_is_bounded() {
    let changes = Changes { told: vec!["水".repeat(1000); 250], ..Changes::default() };
    let told = changes.bounded();
    assert_eq!((told.len(), told[100].as_str()), (101, "and 150 more"));
    assert_eq!(told[0].chars().count(), SENTENCE_MAX + 1);
}
