//! Promise: a configuration is taken as a whole, or refused with every mistake, its place and its cure.
//!
//! Each folder of `tests/config` is a case: a configuration and `expected.txt`. `good-…` says what would run and what is
//! warned of; any other says its mistakes, to the letter. `BLESS=1` writes the expected files anew: read them then.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatehouse::access::Grant;
use gatehouse::command::Moves;
use gatehouse::config::{self, Loaded, PROFILES};
use gatehouse::field::decode::{Order, Type};
use gatehouse::field::modbus::{ReadBack, Table, Write};
use gatehouse::field::wire::Wire;
use gatehouse::field::{Kind, mqtt, osdp, serial};
use gatehouse::fingerprint::Fingerprint;
use gatehouse::reading::{DeviceId, DoorId, PointId, Value};
use gatehouse::rules::{Condition, DEVICE_SILENT, Over};
use proptest::prelude::*;

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> =
        fs::read_dir("tests/config").unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    cases
}

fn text(toml: &str) -> Result<Loaded, config::Mistakes> {
    config::load_sources(vec![("gatehouse.toml".into(), toml.to_owned())])
}

fn good(toml: &str) -> Loaded {
    text(toml).unwrap_or_else(|mistakes| panic!("\n{mistakes}"))
}

fn shown(loaded: &Loaded) -> String {
    let mut shown = config::describe(&loaded.gateway);
    for warning in &loaded.warnings {
        write!(shown, "\nwarning: {warning}").unwrap();
    }
    shown
}

/// The first lines that differ.
fn difference(expected: &str, got: &str) -> String {
    let (mut e, mut g) = (expected.lines(), got.lines());
    loop {
        match (e.next(), g.next()) {
            (None, None) => return String::new(),
            (a, b) if a == b => {}
            (a, b) => return format!("- {}\n+ {}", a.unwrap_or("(end)"), b.unwrap_or("(end)")),
        }
    }
}

#[test]
fn every_case_says_exactly_what_is_expected_of_it() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = String::new();
    let (mut broken, mut fine) = (0, 0);
    for case in cases() {
        let name = case.file_name().unwrap().to_str().unwrap();
        let got = match config::load(&case) {
            Ok(loaded) if name.starts_with("good-") => {
                fine += 1;
                shown(&loaded)
            }
            Err(mistakes) if !name.starts_with("good-") => {
                broken += 1;
                mistakes.to_string()
            }
            Ok(_) => panic!("{name} was taken, and it is broken"),
            Err(mistakes) => panic!("{name} was refused:\n{mistakes}"),
        };
        let file = case.join("expected.txt");
        if bless {
            fs::write(&file, &got).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != got {
            writeln!(wrong, "{name}:\n{}\nall of it:\n{got}", difference(&expected, &got)).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(broken >= 60 && fine >= 7, "{broken} broken cases and {fine} good ones");
}

#[test]
fn every_mistake_has_a_cure_and_its_mark_lies_on_its_line() {
    for case in cases() {
        let Err(mistakes) = config::load(&case) else {
            continue;
        };
        for mistake in mistakes.list {
            assert!(!mistake.what.is_empty() && !mistake.cure.is_empty(), "{mistake}");
            let Some(place) = &mistake.place else { continue };
            let source = fs::read_to_string(&mistake.path).unwrap();
            assert_eq!(source.lines().nth(place.line - 1).unwrap_or(""), place.text, "{mistake}");
            assert!(place.column <= place.text.chars().count() + 1, "{mistake}");
        }
    }
}

#[test]
fn what_is_shipped_as_default_and_as_example_is_good() {
    for path in ["config/gatehouse.toml", "config/example"] {
        let loaded = config::load(Path::new(path)).unwrap_or_else(|mistakes| panic!("\n{mistakes}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings[0]);
    }
}

#[test]
fn the_commented_default_shows_keys_that_there_are() {
    let default = fs::read_to_string("config/gatehouse.toml").unwrap();
    let is_toml = |line: &&str| {
        let key = line.trim_start().trim_end_matches(char::is_whitespace);
        key.starts_with('[')
            || key.split_once('=').is_some_and(|(key, _)| {
                key.trim().chars().all(|c| c.is_ascii_lowercase() || "_-".contains(c))
            })
    };
    let shown: Vec<&str> =
        default.lines().filter_map(|line| line.strip_prefix('#')).filter(is_toml).collect();
    assert!(shown.len() > 100);
    let toml = format!("[gateway]\nid = \"g\"\n{}\n", shown.join("\n").replace("builtin =", "#"));
    let mistakes = text(&toml).unwrap_err();
    for mistake in &mistakes.list {
        // What is shown together need not go together; but each key exists, where it stands.
        assert!(!mistake.what.contains("unknown"), "{mistake}");
        assert!(mistake.place.is_some(), "{mistake}");
    }
}

#[test]
fn a_configuration_that_was_kept_loads_again_to_the_same() {
    let loaded = config::load(Path::new("config/example")).unwrap();
    let again = config::load_sources(loaded.text.clone()).unwrap();
    assert_eq!(again.gateway, loaded.gateway);
}

// ---------------------------------------------------------------------------------------------- profiles

#[test]
fn the_built_in_profiles_are_those_of_the_folder() {
    let mut folder: Vec<String> = fs::read_dir("config/profiles")
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        // To write one's own after.
        .filter(|name| name != "_blueprint")
        .collect();
    folder.sort();
    let list: Vec<&str> = PROFILES.iter().map(|(name, _)| *name).collect();
    assert_eq!(list, folder);
}

const CHANNELS: &str = r#"
[gateway]
id = "g"
[[channel]]
id = "tcp"
type = "modbus-tcp"
address = "127.0.0.1:1502"
[[channel]]
id = "boards"
type = "serial"
port = "/dev/ttyS3"
[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://127.0.0.1"
"#;

#[test]
fn a_profile_on_the_gateway_shadows_the_built_in_one() {
    let device = "[[device]]\nid = \"d\"\nchannel = \"tcp\"\nunit = 1\nprofile = \"xy-md02\"\n";
    let profile =
        "[profile]\ntransport = \"modbus\"\n[[point]]\nid = \"mine\"\ntable = \"coil\"\nregister = 9\n";
    let loaded = config::load_sources(vec![
        ("gatehouse.toml".into(), format!("{CHANNELS}{device}")),
        ("profiles/xy-md02.toml".into(), profile.into()),
    ])
    .unwrap_or_else(|mistakes| panic!("\n{mistakes}"));
    let ids: Vec<&str> = loaded.gateway.site.points.iter().map(|point| &*point.id).collect();
    assert_eq!(ids, ["d.mine"]);
}

// ---------------------------------------------------------------------------------------------- what it becomes

#[test]
fn points_are_numbered_by_device_in_the_order_of_the_files_and_written_ones_replace_those_of_the_profile() {
    let loaded = good(&format!(
        r#"{CHANNELS}
[[device]]
id = "b"
channel = "tcp"
unit = 2
profile = "xy-md02"
[[device.point]]
id = "humidity"
table = "holding"
register = 0x10
type = "u32"
order = "CDAB"
scale = 0.01
[[device.point]]
id = "run"
table = "holding"
register = 7
type = "bool"
bit = 3
[[device]]
id = "a"
channel = "boards"
unit = 1
profile = "lock-board-8a"
cells = 2
"#
    ));
    let site = &loaded.gateway.site;
    let ids: Vec<&str> = site.points.iter().map(|point| &*point.id).collect();
    // What happens at the board stands behind all that is read.
    assert_eq!(ids, ["b.temperature", "b.humidity", "b.run", "a.cell-1", "a.cell-2", "a.locker"]);
    assert_eq!(site.points_of(DeviceId(1)).collect::<Vec<_>>(), [PointId(3), PointId(4)]);
    assert_eq!(site.points[0].range, Some((-40.0, 125.0)));
    assert_eq!(site.points[1].range, None);

    let Kind::Modbus(settings) = &loaded.gateway.channels[0].kind else { panic!() };
    let humidity = &settings.devices[0].points[1];
    assert_eq!((humidity.id, humidity.table, humidity.register), (PointId(1), Table::Holding, 16));
    assert_eq!(
        (humidity.kind, humidity.order, humidity.transform.scale),
        (Type::U32, Order::Cdab, Some(0.01))
    );
    assert_eq!(settings.devices[0].points[2].bit, Some(3));
    let Kind::Serial(settings) = &loaded.gateway.channels[1].kind else { panic!() };
    let serial::Kind::Locker(board) = &settings.boards[0].kind else { panic!() };
    assert_eq!(board.cells, [PointId(3), PointId(4)]);
    assert_eq!(site.devices[1].words, Some(PointId(5)));
}

#[test]
fn a_topic_stands_in_for_its_placeholder() {
    let loaded = good(&format!(
        "{CHANNELS}\n[[device]]\nid = \"d\"\nchannel = \"broker\"\ntopic = \"zigbee2mqtt/d\"\nprofile = \"zigbee2mqtt-contact\"\n"
    ));
    let Kind::Mqtt(settings) = &loaded.gateway.channels[2].kind else { panic!() };
    assert_eq!((settings.host.as_str(), settings.port), ("127.0.0.1", 1883));
    let device = &settings.devices[0];
    assert_eq!(device.availability.as_deref(), Some("zigbee2mqtt/d/availability"));
    assert_eq!(device.points[2].topic.as_deref(), Some("zigbee2mqtt/d/availability"));
    assert_eq!(device.points[0].transform.map[0], ("true".into(), "closed".into()));
    assert!(!loaded.gateway.site.devices[0].polled);
}

fn case(name: &str) -> Loaded {
    config::load(&Path::new("tests/config").join(name)).unwrap_or_else(|mistakes| panic!("\n{mistakes}"))
}

fn kind<'l>(loaded: &'l Loaded, channel: &str) -> &'l Kind {
    &loaded.gateway.channels.iter().find(|there| &*there.id == channel).unwrap().kind
}

#[test]
fn doors_know_their_contact_whose_grants_count_and_their_exit() {
    let loaded = case("good-doors");
    let site = &loaded.gateway.site;
    let point = |id: &str| site.point_named(id).unwrap();
    let device = |id: &str| site.device_named(id).unwrap();
    let [entrance, gate] = loaded.gateway.access.doors.as_slice() else { panic!() };
    assert_eq!((entrance.id, entrance.contact), (DoorId(0), point("b3-door.door")));
    assert_eq!(entrance.grants, [Grant::Device(device("b3-reader")), Grant::Device(device("face"))]);
    assert_eq!(entrance.exit, Some(point("b3-io.input-2")));
    assert_eq!((entrance.unlock_window, entrance.held_after), (5_000, 30_000));
    assert_eq!(gate.grants, [Grant::Point(point("gate.door-1"))]);
    assert_eq!((gate.exit, gate.unlock_window, gate.held_after), (None, 8_000, 60_000));
    // Where it is not said, a door is where its contact is; what happens at it is a point of the contact's device.
    assert_eq!((&*site.doors[0].place, &*site.doors[1].place), ("3号楼/大门", "大门"));
    assert_eq!(site.doors[1].words, point("gate-left.access"));
    assert_eq!(site.point(site.doors[1].words).device, device("gate"));
    let measured: u32 = site.devices.iter().map(|device| device.points).sum();
    let happens: Vec<&str> = site.points[measured as usize..].iter().map(|point| &*point.id).collect();
    assert_eq!(
        happens,
        [
            "b3-reader.access",
            "gate.access",
            "bank-1.locker",
            "face.access",
            "b3-entrance.access",
            "gate-left.access"
        ]
    );
    assert!(loaded.gateway.pseudonyms.is_some());
}

#[test]
fn an_order_is_allowed_as_it_is_written_and_knows_what_it_moves() {
    let loaded = case("good-doors");
    let site = &loaded.gateway.site;
    let allowed = |device: &str, action: &str, target: &str| {
        let id = site.device_named(device).unwrap();
        let mut found = loaded.gateway.commands.iter().filter(|there| there.device == id);
        let found = found.find(|there| &*there.action == action && &*there.target == target);
        found.map(|there| (there.nth, there.moves))
    };
    let cell = |n| site.point_named(&format!("bank-1.cell-{n}")).map(Moves::Cell);
    assert_eq!(allowed("bank-1", "open", "cell-1"), Some((0, cell(1))));
    assert_eq!(allowed("bank-1", "open", "cell-12"), Some((11, cell(12))));
    assert_eq!(allowed("b3-reader", "pulse", "output-1"), Some((0, Some(Moves::Door(DoorId(0))))));
    assert_eq!(allowed("b3-reader", "on", "output-1"), None);
    // The controller's own contact is the door's.
    assert_eq!(allowed("gate", "open", "door-1"), Some((0, Some(Moves::Door(DoorId(1))))));
    assert_eq!(allowed("gate", "open", "door-2"), Some((1, None)));
    assert_eq!(allowed("b3-io", "pulse", "relay-1"), Some((0, Some(Moves::Door(DoorId(0))))));
    assert_eq!(allowed("b3-io", "on", "relay-3"), Some((2, None)));
    assert_eq!(allowed("b3-io", "on", "relay-4"), None);
    assert_eq!(allowed("plc", "start", ""), Some((0, None)));
    assert_eq!(allowed("b3-door", "identify", ""), Some((0, None)));
}

#[test]
fn wires_are_told_what_to_write() {
    let loaded = case("good-doors");
    let Kind::Modbus(modbus) = kind(&loaded, "tcp") else { panic!() };
    let [io, plc] = modbus.devices.as_slice() else { panic!() };
    // Three seconds are thirty steps of the board's own pulse.
    assert_eq!(io.commands[0].write, Write::Coil { at: 0x200, word: 30 });
    assert_eq!(io.commands[2].write, Write::Coil { at: 2, word: 0xFF00 });
    let back = ReadBack { table: Table::Coil, register: 2, words: vec![1], within: Duration::from_secs(1) };
    assert_eq!(io.commands[2].read_back, Some(back));
    let off = Write::Coil { at: 0, word: 0 };
    assert_eq!(plc.commands[0].then, Some((Duration::from_millis(500), off)));
    assert_eq!(
        plc.commands[0].read_back.as_ref().map(|back| (back.table, back.register)),
        Some((Table::Discrete, 7))
    );
    assert_eq!(
        plc.commands[1].write,
        Write::ReadWrite { at: 10, words: vec![1500, 0xFFFF], read: 20, count: 2 }
    );
    assert_eq!(plc.commands[2].write, Write::Mask { at: 11, and: 0xFF0F, or: 0x10 });
    let Kind::Osdp(osdp) = kind(&loaded, "readers") else { panic!() };
    let reader = &osdp.readers[0];
    assert_eq!(reader.commands[0].does, osdp::Does::Pulse(Duration::from_secs(5)));
    assert_eq!((reader.inputs.len(), reader.poll), (2, Duration::from_millis(200)));
    assert!(reader.key.is_some() && !format!("{reader:?}").contains("0001020304"));
    let Kind::Uhppote(gates) = kind(&loaded, "gates") else { panic!() };
    assert_eq!(
        (gates.controllers[0].serial, gates.controllers[0].commands.as_slice()),
        (423_187_757, &[1, 2][..])
    );
    assert_eq!(gates.timezone, "Asia/Shanghai");
    let Kind::Mqtt(broker) = kind(&loaded, "broker") else { panic!() };
    assert_eq!(broker.devices[0].commands[0].topic, "zigbee2mqtt/b3-door/set");
    assert_eq!(broker.devices[1].dialect, mqtt::Dialect::FaceTerminal { timezone: "Asia/Shanghai".into() });
    let Kind::Serial(boards) = kind(&loaded, "boards") else { panic!() };
    let serial::Kind::Locker(board) = &boards.boards[0].kind else { panic!() };
    assert_eq!(board.commands, (0..12).collect::<Vec<u8>>());
    let bank = &loaded.gateway.access.banks[0];
    assert_eq!((bank.unexpected, bank.opens_within, bank.held_after), (false, 3_000, 120_000));
    assert_eq!((bank.cells.len(), bank.overdue_after), (12, 86_400_000));
}

#[test]
fn wires_and_registers_are_as_they_are_written() {
    let loaded = case("good-wires");
    let Kind::Modbus(tcp) = kind(&loaded, "tcp") else { panic!() };
    assert_eq!((tcp.pace.after_connect, tcp.pace.pipeline), (Duration::from_secs(1), 4));
    let Kind::Modbus(rtu) = kind(&loaded, "rtu") else { panic!() };
    assert_eq!(rtu.pace.silence, Some(Duration::from_millis(20)));
    let Wire::Serial(port) = &rtu.wire else { panic!() };
    assert!(port.rs485);
    let plc = &rtu.devices[0];
    assert_eq!((plc.merge.max_gap, plc.merge.max_registers), (8, 32));
    assert_eq!(plc.merge.avoid, [(12, 12), (20, 29)]);
    assert_eq!(plc.turnaround, Duration::from_millis(50));
    let [level, mode, state, count] = plc.points.as_slice() else { panic!() };
    assert_eq!((level.poll, mode.poll), (Some(Duration::from_secs(60)), None));
    assert_eq!(level.transform.faults, [0x7FFF, 0x8000]);
    assert_eq!(level.by.decimals, Some((Table::Holding, 3)));
    let units = vec![(16, "m".into()), (17, "cm".into())];
    assert_eq!(level.by.unit, Some((Table::Holding, 2, units)));
    assert_eq!((mode.kind, mode.bit), (Type::Field { from: 4, width: 3 }, None));
    assert_eq!((state.kind, count.kind), (Type::State, Type::Bcd32));
    let Kind::Mqtt(broker) = kind(&loaded, "broker") else { panic!() };
    assert_eq!((broker.port, broker.version), (8883, mqtt::Version::V5));
    let tls = broker.tls.as_ref().unwrap();
    assert!(tls.ca.as_ref().unwrap().contains("BEGIN CERTIFICATE"));
    assert!(tls.identity.as_ref().unwrap().1.reveal().contains("BEGIN PRIVATE KEY"));
    let Kind::Mqtt(old) = kind(&loaded, "old") else { panic!() };
    assert_eq!((old.port, old.version, old.tls.is_some()), (8884, mqtt::Version::V311, true));
    let Kind::Serial(water) = kind(&loaded, "water") else { panic!() };
    let serial::Kind::Meter(meter) = &water.boards[0].kind else { panic!() };
    let order = serial::ItemOrder::HighFirst;
    assert_eq!(meter.protocol, serial::Metering::Cjt188 { address: None, kind: 0x11, order });
    let Kind::Serial(meters) = kind(&loaded, "meters") else { panic!() };
    let serial::Kind::Meter(meter) = &meters.boards[1].kind else { panic!() };
    assert_eq!(meter.protocol, serial::Metering::Dlt645 { address: Some("000019024436".into()) });
}

const TWO: &str = r#"
[[device]]
id = "one"
channel = "tcp"
unit = 1
profile = "xy-md02"
[[device]]
id = "two"
channel = "tcp"
unit = 2
profile = "xy-md02"
"#;

#[test]
fn a_rule_takes_each_point_once_in_the_order_of_the_site() {
    let loaded = good(&format!(
        "{CHANNELS}{TWO}\n[[rule]]\nid = \"r\"\npoint = [\"two.*\", \"*.humidity\", \"two.humidity\"]\nbelow = 200\n"
    ));
    let rule = &loaded.gateway.rules[0];
    assert_eq!(rule.over, Over::Points(vec![PointId(1), PointId(2), PointId(3)]));
    assert_eq!(rule.condition, Condition::Below(200.0));
    assert_eq!(rule.limit.to_string(), r#"{"below":200}"#);
}

#[test]
fn what_a_rule_compares_with_keeps_its_kind() {
    let condition = |equals: &str| {
        let device =
            "[[device]]\nid = \"d\"\nchannel = \"broker\"\ntopic = \"t\"\n[[device.point]]\nid = \"x\"\n";
        let loaded =
            good(&format!("{CHANNELS}{device}[[rule]]\nid = \"r\"\npoint = \"d.x\"\nequals = {equals}\n"));
        loaded.gateway.rules[0].condition.clone()
    };
    assert_eq!(condition("1"), Condition::Equals(Value::Signed(1)));
    assert_eq!(condition("18446744073709551615"), Condition::Equals(Value::Unsigned(u64::MAX)));
    assert_eq!(condition("1.5"), Condition::Equals(Value::Number(1.5)));
    assert_eq!(condition("true"), Condition::Equals(Value::Bool(true)));
    assert_eq!(condition("\"on\""), Condition::Equals(Value::Text("on".into())));
}

#[test]
fn the_silence_of_a_device_is_watched_unless_it_is_switched_off() {
    let silent = |builtin: &str, device: &str| {
        let loaded = good(&format!("{builtin}\n{CHANNELS}{TWO}{device}"));
        let rule = loaded.gateway.rules.iter().find(|rule| &*rule.id == DEVICE_SILENT).cloned();
        rule.map(|rule| (rule.over, rule.condition, rule.limit.to_string()))
    };
    let both = Over::Devices(vec![DeviceId(0), DeviceId(1)]);
    let ten = r#"{"silent":"10m"}"#.to_owned();
    assert_eq!(silent("", ""), Some((both.clone(), Condition::Silent(600_000), ten.clone())));
    let thirty = (both, Condition::Silent(30_000), r#"{"silent":"30s"}"#.to_owned());
    assert_eq!(silent("builtin = { device-silent = \"30s\" }", ""), Some(thirty));
    assert_eq!(silent("builtin = { device-silent = false }", ""), None);
    let one = (Over::Devices(vec![DeviceId(0)]), Condition::Silent(600_000), ten);
    assert_eq!(silent("", "builtin = { device-silent = false }"), Some(one));
    // One that is asked seldom may miss as many polls as the others; each device is watched once.
    let seldom = |span: &str, poll: &str| {
        let loaded =
            good(&format!("builtin = {{ device-silent = \"{span}\" }}\n{CHANNELS}{TWO}poll = \"{poll}\"\n"));
        let rules = loaded.gateway.rules.into_iter().filter(|rule| &*rule.id == DEVICE_SILENT);
        rules
            .map(|rule| (rule.id.to_string(), rule.over, rule.condition, rule.limit.to_string()))
            .collect::<Vec<_>>()
    };
    let rule = |device, span, limit: &str| {
        (
            DEVICE_SILENT.to_owned(),
            Over::Devices(vec![DeviceId(device)]),
            Condition::Silent(span),
            limit.to_owned(),
        )
    };
    assert_eq!(
        seldom("10m", "15m"),
        [rule(0, 600_000, r#"{"silent":"10m"}"#), rule(1, 2_700_000, r#"{"silent":"45m"}"#)]
    );
    assert_eq!(seldom("1s", "1m")[0], rule(0, 3000, r#"{"silent":"3s"}"#));
    assert_eq!(seldom("10m", "200s").len(), 1);
    // A device that speaks by itself is not asked, and its silence says nothing.
    let mqtt =
        "[[device]]\nid = \"d\"\nchannel = \"broker\"\ntopic = \"t\"\nprofile = \"zigbee2mqtt-leak\"\n";
    let loaded = good(&format!("{CHANNELS}{mqtt}"));
    assert!(loaded.gateway.rules.iter().all(|rule| &*rule.id != DEVICE_SILENT));
}

#[test]
fn a_secret_is_read_from_where_it_is_said_to_be_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("token"), "hush-hush\n").unwrap();
    let toml = "[gateway]\nid = \"g\"\n[[api.token]]\nname = \"c\"\nrole = \"central\"\ntoken = { file = \"token\" }\n";
    let loaded = config::load_sources(vec![(dir.path().join("gatehouse.toml"), toml.into())]).unwrap();
    assert_eq!(loaded.gateway.web.tokens[0].token, Fingerprint::of(b"hush-hush"));
    assert!(!format!("{loaded:?}").contains("hush"));
}

#[test]
fn a_secret_that_stands_in_the_configuration_is_never_repeated() {
    for toml in [
        "token = \"hunter2\"",
        "token = hunter2",
        "token = \"hunter2",
        "token = “hunter2”",
        "tokne = \"hunter2\"",
        "token = 'hunter2' 'hunter2'",
        "url = \"http://crm:hunter2@crm.example.com/\"",
        "url = \"crm:hunter2@crm.example.com\"",
    ] {
        let toml = format!("[gateway]\nid = \"g\"\n[[sync]]\nname = \"crm\"\n{toml}\n");
        let mistakes = text(&toml).unwrap_err();
        let (full, brief) = (mistakes.to_string(), mistakes.brief());
        assert!(!full.contains("hunter2"), "{full}");
        assert!(!brief.contains("hunter2"), "{brief}");
        assert!(brief.contains("gatehouse.toml:5:"), "{brief}");
    }
}

#[test]
fn in_brief_each_mistake_is_one_line_and_all_of_them_are_bounded() {
    for case in cases() {
        let Err(mistakes) = config::load(&case) else {
            continue;
        };
        let brief = mistakes.brief();
        assert!(brief.chars().count() <= 2000, "{brief}");
        let shown = brief.lines().filter(|line| !line.starts_with('…')).count();
        for (line, mistake) in brief.lines().zip(&mistakes.list).take(shown) {
            assert!(line.starts_with(&*mistake.path.to_string_lossy()), "{line}");
            assert!(line.ends_with(&mistake.what), "{line}");
        }
        let more = brief.lines().last().and_then(|line| line.strip_prefix("… and "));
        let more = more.map_or(0, |line| line.trim_end_matches(" more").parse().unwrap());
        assert_eq!(shown + more, mistakes.list.len() + mistakes.more, "{brief}");
    }
    let many = text(&(0..2000).map(|i| format!("k{i} = 1\n")).collect::<String>()).unwrap_err();
    assert!(many.brief().chars().count() <= 2000 && many.brief().lines().count() > 10);
    assert!(many.brief().ends_with(" more\n"), "{}", many.brief());
}

#[test]
fn a_credential_is_read_from_the_directory_that_systemd_names() {
    const NAME: &str = "a_credential_is_read_from_the_directory_that_systemd_names";
    let Some(dir) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
        // Once more, in a process of its own, as systemd would start it.
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("crm-token"), "hush\n").unwrap();
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("CREDENTIALS_DIRECTORY", dir.path())
            .status()
            .unwrap();
        assert!(again.success());
        return;
    };
    let toml = |name: &str| {
        format!(
            "[gateway]\nid = \"g\"\n[[sync]]\nname = \"crm\"\nurl = \"http://c/\"\ntoken = {{ credential = \"{name}\" }}\n"
        )
    };
    assert!(Path::new(&dir).join("crm-token").exists());
    assert_eq!(good(&toml("crm-token")).gateway.sync[0].token.as_ref().unwrap().reveal(), "hush");
    let missing = text(&toml("other")).unwrap_err().to_string();
    assert!(missing.contains("LoadCredential=other:"), "{missing}");
}

#[test]
fn a_large_compound_is_read_in_a_moment() {
    let mut toml = CHANNELS.to_owned();
    for channel in 0..3 {
        write!(
            toml,
            "[[channel]]\nid = \"c{channel}\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:{}\"\n",
            2000 + channel
        )
        .unwrap();
    }
    for device in 0..300 {
        write!(
            toml,
            "[[device]]\nid = \"d{device}\"\nchannel = \"c{}\"\nunit = {}\n",
            device % 3,
            device / 3 + 1
        )
        .unwrap();
        for point in 0..10 {
            write!(toml, "[[device.point]]\nid = \"p{point}\"\ntable = \"holding\"\nregister = {point}\ntype = \"u16\"\n").unwrap();
        }
    }
    toml += "[[rule]]\nid = \"r\"\npoint = \"*.p3\"\nabove = 1\n";
    let begun = std::time::Instant::now();
    let loaded = good(&toml);
    assert_eq!(loaded.gateway.site.points.len(), 3000);
    assert_eq!(loaded.gateway.rules[0].over, Over::Points((0..300).map(|i| PointId(i * 10 + 3)).collect()));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

#[test]
fn a_directory_is_read_with_what_it_includes_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("devices")).unwrap();
    let first = format!(
        "{}\n",
        CHANNELS.replace("id = \"g\"", "id = \"g\"\ninclude = [\"devices/*.toml\", \"devices/a.toml\"]")
    );
    fs::write(dir.path().join("gatehouse.toml"), first).unwrap();
    fs::write(
        dir.path().join("devices/b.toml"),
        TWO.replace("one", "three")
            .replace("two", "four")
            .replace("unit = 1", "unit = 3")
            .replace("unit = 2", "unit = 4"),
    )
    .unwrap();
    fs::write(dir.path().join("devices/a.toml"), TWO).unwrap();
    let loaded = config::load(dir.path()).unwrap_or_else(|mistakes| panic!("\n{mistakes}"));
    let ids: Vec<&str> = loaded.gateway.site.devices.iter().map(|device| &*device.id).collect();
    assert_eq!(ids, ["one", "two", "three", "four"]);
    assert_eq!(loaded.text.len(), 3);
    let by_file = config::load(&dir.path().join("gatehouse.toml")).unwrap();
    assert_eq!(by_file.gateway, loaded.gateway);
}

#[test]
fn what_cannot_be_read_is_said_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let missing = config::load(dir.path()).unwrap_err().to_string();
    assert!(
        missing.contains("gatehouse.toml: [E101] cannot be read") && missing.contains("--config"),
        "{missing}"
    );
    fs::write(dir.path().join("gatehouse.toml"), b"[gateway]\nid = \"\xff\"\n").unwrap();
    let binary = config::load(dir.path()).unwrap_err().to_string();
    assert!(binary.contains("[E104] not UTF-8"), "{binary}");
    fs::write(dir.path().join("gatehouse.toml"), "#".repeat((1 << 20) + 1)).unwrap();
    let large = config::load(dir.path()).unwrap_err().to_string();
    assert!(large.contains("[E103] larger than"), "{large}");
    assert_eq!(config::load_sources(Vec::new()).unwrap_err().list.len(), 1);
}

#[test]
fn more_mistakes_than_anyone_reads_are_counted() {
    let mistakes = text(&(0..2000).map(|i| format!("k{i} = 1\n")).collect::<String>()).unwrap_err();
    // The unknown keys, and that there is no gateway.
    assert_eq!(mistakes.list.len() + mistakes.more, 2001);
    assert!(mistakes.to_string().ends_with(" more\n"));
}

// ---------------------------------------------------------------------------------------------- never a panic

/// Files in which everything is used.
fn everything() -> [String; 4] {
    let case = |name: &str| fs::read_to_string(format!("tests/config/{name}/gatehouse.toml")).unwrap();
    let profiles = ["zigbee2mqtt-contact", "_blueprint"];
    let profiles = profiles.map(|name| fs::read_to_string(format!("config/profiles/{name}.toml")).unwrap());
    [case("good-everything") + &profiles[0], case("good-doors"), case("good-wires"), profiles[1].clone()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(toml in "\\PC{0,200}", profile in "[\\[\\]a-z=\"{} .\n0-9水]{0,100}") {
        let sources = vec![("gatehouse.toml".into(), toml), ("profiles/p.toml".into(), profile)];
        if let Err(mistakes) = config::load_sources(sources) {
            let _ = (mistakes.to_string(), mistakes.brief());
        }
    }

    #[test]
    fn no_change_of_a_good_file_makes_it_panic(
        which in 0..4usize,
        changes in prop::collection::vec((0.0..1.0f64, 0usize..40, 0u8..3, "[\\PC\n]{0,6}"), 1..4)
    ) {
        let mut chars: Vec<char> = everything()[which].chars().collect();
        for (at, length, how, new) in changes {
            let start = (at * chars.len() as f64) as usize;
            let end = (start + length).min(chars.len());
            let with: Vec<char> = match how {
                0 => Vec::new(),
                1 => chars[start..end].repeat(2),
                _ => new.chars().collect(),
            };
            chars.splice(start..end, with);
        }
        let path = if which == 3 { "profiles/p.toml" } else { "gatehouse.toml" };
        let sources = vec![(path.into(), chars.into_iter().collect::<String>())];
        if let Err(mistakes) = config::load_sources(sources) {
            let _ = (mistakes.to_string(), mistakes.brief());
        }
    }
}

#[test]
fn for_machines_each_mistake_has_its_code_and_place() {
    let check = |config: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"))
            .args(["check", "--json", "--config", config])
            .output()
            .unwrap();
        (output.status.code(), serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap())
    };
    let (code, told) = check("tests/config/unknown-key");
    assert_eq!((code, &told["ok"]), (Some(78), &false.into()));
    let mistakes = config::load(Path::new("tests/config/unknown-key")).unwrap_err();
    let json: Vec<_> = mistakes.list.iter().map(config::Mistake::json).collect();
    assert_eq!(told["mistakes"], serde_json::json!(json));
    assert_eq!(told["mistakes"][0]["code"], "E201");
    assert!(told["mistakes"][0]["line"].is_u64() && told["mistakes"][0]["cure"].is_string(), "{told}");
    let (code, told) = check("tests/config/good-doors");
    assert_eq!((code, &told["ok"], told["mistakes"].as_array().unwrap().len()), (Some(0), &true.into(), 0));
    let (_, told) = check("tests/config/good-line-not-as-from-the-factory");
    assert_eq!(told["warnings"][0]["code"], "W501");
}
