//! What `gatehouse replay` promises: the tickets that a rule would have raised, over a CSV and over the recorded history,
//! the same whenever it is asked; with the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gatehouse::reading::{Millis, PointId, Reading, Reason, Value};
use gatehouse::store::{self, Ends, Settings};
use gatehouse::time;
use serde_json::{Value as Json, json};

/// Two pumps and a tank, and rules over them.
const SITE: &str = r#"
[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.10:502"

[[device]]
id = "pump-1"
channel = "plant"
unit = 1
place = "3号楼/地下室/水泵房"
point = [
  { id = "pressure", table = "holding", register = 0, type = "u16", scale = 0.1, unit = "kPa", range = [0, 1600] },
  { id = "state", table = "holding", register = 4, type = "u16", map = { 0 = "stopped", 1 = "running", 2 = "fault" } },
]
[[device]]
id = "pump-2"
channel = "plant"
unit = 2
point = [{ id = "pressure", table = "holding", register = 0, type = "u16", scale = 0.1, unit = "kPa", range = [0, 1600] }]
[[device]]
id = "climate"
channel = "plant"
unit = 3
profile = "xy-md02"
rules = true

[[rule]]
id = "pressure-low"
point = "*.pressure"
below = 200.0
deadband = 20.0
on_delay = "10s"
off_delay = "30s"
[[rule]]
id = "pump-fault"
point = "pump-1.state"
equals = "fault"
"#;

struct House {
    dir: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(SITE)
    }

    fn with(site: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let head = format!(
            "[gateway]\nid = \"cp-017\"\ntimezone = \"Asia/Shanghai\"\ndata_dir = \"{}\"\n",
            data.display()
        );
        fs::write(dir.path().join("gatehouse.toml"), head + site).unwrap();
        Self { dir }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
        command.arg("replay").args(words).arg("--config").arg(self.dir.path());
        command.env("LC_ALL", "C").env_remove("COLUMNS").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it says where all is well, and nothing on stderr.
    fn said(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (said, complained) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success() && complained.is_empty(), "{said}{complained}");
        said
    }

    fn changes(&self, rule: &str, csv: &str) -> Vec<String> {
        let csv = self.file("readings.csv", csv);
        let said = self.said(&[rule, "--json", "--csv", csv.to_str().unwrap()]);
        said.lines().map(str::to_owned).collect()
    }
}

/// One space between words, as few rely on more.
fn squeezed(page: &str) -> String {
    page.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const DIP: &str = "\
time,point,value
2026-11-21T08:00:00Z,pump-1.pressure,300
2026-11-21T08:00:05Z,pump-1.pressure,180
2026-11-21T08:01:00Z,pump-1.pressure,240
2026-11-21T08:05:00Z,pump-1.pressure,150.5
2026-11-21T08:05:20Z,pump-1.pressure,
2026-11-21T08:05:40Z,pump-1.pressure,2000
2026-11-21T08:06:00Z,pump-1.pressure,150.5
2026-11-21T08:07:00Z,pump-1.pressure,300
2026-11-21T08:08:00Z,pump-1.pressure,300
";

#[test]
fn a_csv_becomes_the_changes_of_its_tickets_a_line_each() {
    let said = House::new().changes("pressure-low", DIP);
    let expected = [
        r#"{"at":"2026-11-21T08:00:15.000Z","change":"opened","rule":"pressure-low","device":"pump-1","point":"pump-1.pressure","value":180.0,"occurrences":1}"#,
        r#"{"at":"2026-11-21T08:01:30.000Z","change":"cleared","rule":"pressure-low","device":"pump-1","point":"pump-1.pressure","value":180.0,"occurrences":1}"#,
        r#"{"at":"2026-11-21T08:05:10.000Z","change":"reopened","rule":"pressure-low","device":"pump-1","point":"pump-1.pressure","value":150.5,"occurrences":2}"#,
        r#"{"at":"2026-11-21T08:07:30.000Z","change":"cleared","rule":"pressure-low","device":"pump-1","point":"pump-1.pressure","value":150.5,"occurrences":2}"#,
    ];
    assert_eq!(said, expected);
}

#[test]
fn time_runs_on_to_the_last_line_of_whichever_point_and_no_further() {
    let house = House::new();
    let low = "2026-11-21T08:00:00Z,pump-1.pressure,180\n";
    assert!(house.changes("pressure-low", low).is_empty());
    let early = format!("{low}2026-11-21T08:00:09.999Z,pump-1.state,running\n");
    assert!(house.changes("pressure-low", &early).is_empty());
    let there = format!("{low}2026-11-21T08:00:10Z,pump-1.state,running\n");
    assert_eq!(house.changes("pressure-low", &there).len(), 1);
}

#[test]
fn words_are_words_and_a_ticket_closes_when_its_time_has_been_well_read() {
    let csv = "2026-11-21T08:00:00Z,pump-1.state,fault\n2026-11-21T08:00:01Z,pump-1.state,running\n\
               2026-11-22T08:00:01Z,pump-1.state,running\n";
    let said: Vec<Json> =
        House::new().changes("pump-fault", csv).iter().map(|l| serde_json::from_str(l).unwrap()).collect();
    let told: Vec<_> = said.iter().map(|l| (l["change"].as_str().unwrap(), &l["value"])).collect();
    assert_eq!(
        told,
        [("opened", &json!("fault")), ("cleared", &json!("fault")), ("closed", &json!("fault"))]
    );
}

#[test]
fn what_happened_at_a_door_is_replayed_as_words_of_its_momentary_point() {
    let door = r#"
[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://127.0.0.1:1883"
[[device]]
id = "b3-door"
channel = "broker"
topic = "zigbee2mqtt/b3-door"
profile = "zigbee2mqtt-contact"
[[door]]
id = "b3-entrance"
contact = "b3-door.door"
[[rule]]
id = "held"
point = "b3-entrance.access"
equals = "held"
"#;
    let csv = "2026-11-21T08:00:00Z,b3-entrance.access,opened\n2026-11-21T08:01:00Z,b3-entrance.access,held\n\
               2026-11-21T08:02:00Z,b3-entrance.access,closed\n";
    let said = House::with(door).changes("held", csv);
    assert!(
        said[0].starts_with(r#"{"at":"2026-11-21T08:01:00.000Z","change":"opened","rule":"held""#),
        "{said:?}"
    );
    assert!(
        said[1].starts_with(r#"{"at":"2026-11-21T08:02:00.000Z","change":"cleared","rule":"held""#),
        "{said:?}"
    );
}

#[test]
fn the_order_of_lines_of_one_instant_or_of_all_changes_nothing() {
    let house = House::new();
    let mut lines = Vec::new();
    for second in 0..400 {
        for pump in ["pump-1", "pump-2"] {
            let value = if second / 40 % 2 == 0 { 300 } else { 150 };
            let at = time::format(1_795_248_000_000 + second * 1000);
            lines.push(format!("{at},{pump}.pressure,{value}"));
        }
    }
    let usual = house.changes("pressure-low", &lines.join("\n"));
    assert!(usual.len() > 4, "{usual:?}");
    lines.chunks_mut(2).for_each(<[String]>::reverse);
    assert_eq!(house.changes("pressure-low", &lines.join("\n")), usual);
    lines.reverse();
    assert_eq!(house.changes("pressure-low", &lines.join("\n")), usual);
}

#[test]
fn a_rule_of_a_file_or_of_standard_input_is_tried_in_place_of_the_one_of_its_name() {
    let house = House::new();
    let rule = "[[rule]]\nid = \"pressure-low\"\npoint = \"pump-1.pressure\"\nbelow = 250.0\n";
    let (file, csv) = (house.file("mine.toml", rule), house.file("dip.csv", DIP));
    let words = ["--json", "--csv", csv.to_str().unwrap()];
    let of_file = house.said(&[&[file.to_str().unwrap()], words.as_slice()].concat());
    assert!(
        of_file.starts_with(r#"{"at":"2026-11-21T08:00:05.000Z","change":"opened","rule":"pressure-low""#),
        "{of_file}"
    );

    let mut command = house.command(&[&["-"], words.as_slice()].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rule.as_bytes()).unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), of_file);
}

#[test]
fn rules_that_are_built_in_or_suggested_by_a_profile_are_tried_by_their_ids() {
    let house = House::new();
    let csv = "2026-11-21T08:00:00Z,pump-1.pressure,300\n2026-11-21T08:20:00Z,pump-2.pressure,300\n";
    let said = house.changes("device-silent", csv);
    let silent: Vec<&str> = said.iter().filter(|l| l.contains("opened")).map(|l| &l[7..31]).collect();
    assert_eq!(silent, ["2026-11-21T08:10:00.000Z"; 3], "{said:?}");
    let loaded = gatehouse::config::load(house.dir.path()).unwrap();
    let suggested = loaded.gateway.rules.iter().find(|rule| rule.id.starts_with("climate-")).unwrap();
    assert!(house.changes(&suggested.id, csv).is_empty());
}

#[test]
fn mistakes_of_a_rule_file_are_shown_as_those_of_the_configuration() {
    let house = House::new();
    let csv = house.file("dip.csv", DIP);
    for (rule, said) in [
        (
            "[[rule]]\nid = \"low\"\npoint = \"pump-1.presure\"\nbelow = 250.0\n",
            "mine.toml:3:9: [E305] rule `low`: there is no point `pump-1.presure`\n    3 | point = \"pump-1.presure\"\n      |         ^^^^^^^^^^^^^^^^ there is `pump-1.pressure`",
        ),
        (
            "[[rule]]\nid = \"low\"\npoint = \"pump-1.pressure\"\nbellow = 250.0\n",
            "mine.toml:4:1: [E201] unknown key `bellow`\n    4 | bellow = 250.0\n      | ^^^^^^ did you mean `below`?",
        ),
        ("[[rule]]\nid = \"low\"\nid\n", "mine.toml:3:"),
        ("[[device]]\nid = \"x\"\n", "unknown key `device`"),
        ("# nothing\n", "a file with a rule to try has no `rule`"),
        (
            "[[rule]]\nid = \"a\"\npoint = \"*\"\nsilent = \"1h\"\n[[rule]]\nid = \"b\"\npoint = \"*\"\nsilent = \"1h\"\n",
            "mine.toml:5:1: [E302] a second rule",
        ),
    ] {
        let file = house.file("mine.toml", rule);
        let output = house.run(&[file.to_str().unwrap(), "--csv", csv.to_str().unwrap()]);
        let complained = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{complained}");
        assert!(complained.contains(said), "expected {said}\ngot {complained}");
        assert!(output.stdout.is_empty());
    }
    let output = house.run(&["pressure-low", "--compare", "deadband=-1", "--csv", csv.to_str().unwrap()]);
    let complained = text(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{complained}");
    assert!(complained.contains("--compare:1:12: [E204] `deadband` is below 0"), "{complained}");
}

#[test]
fn an_unknown_rule_and_wrong_words_are_answered_with_the_cure() {
    let house = House::new();
    let csv = house.file("dip.csv", DIP);
    let csv = csv.to_str().unwrap();
    for (words, code, said) in [
        (
            &["presure-low", "--csv", csv][..],
            1,
            "there is no rule `presure-low`; did you mean `pressure-low`?",
        ),
        (&["pressure-low", "--since", "yesterday"], 2, "say 7d, 12h or 2026-11-21T08:00:00Z"),
        (&["-", "--csv", "-"], 2, "put one of them into a file"),
        (&[], 2, "<RULE>"),
        (&["pressure-low"], 1, "there is no history in"),
        (&["pressure-low", "--csv", "nowhere.csv"], 1, "nowhere.csv"),
        (&["nowhere.toml", "--csv", csv], 1, "nowhere.toml"),
        (&["device-silent", "--compare", "20m", "--csv", csv], 1, "is built in"),
    ] {
        let output = house.run(words);
        let complained = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {complained}");
        assert!(complained.contains(said), "{words:?}: {complained}");
    }
}

#[test]
fn lines_that_cannot_be_read_are_named_and_unknown_points_are_counted() {
    let house = House::new();
    let csv = house.file(
        "bad.csv",
        "time,point,value\n2026-11-21T08:00:00Z,pump-1.pressure,1\n21.11.2026,pump-1.pressure,1\n",
    );
    let output = house.run(&["pressure-low", "--csv", csv.to_str().unwrap()]);
    let complained = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complained}");
    assert!(
        complained.contains("bad.csv: line 3: `21.11.2026` is no time; write it like 2026-11-21T08:00:00Z"),
        "{complained}"
    );

    let csv = house.file("odd.csv", "2026-11-21T08:00:00Z,pump-9.flow,1\n2026-11-21T08:00:01Z,pump-9.flow,1\n2026-11-21T08:00:02Z,pump-1.pressure,1\n");
    let output = house.run(&["pressure-low", "--json", "--csv", csv.to_str().unwrap()]);
    assert!(output.status.success());
    let complained = text(&output.stderr);
    assert!(
        complained.ends_with("odd.csv: 2 lines of no point of the configuration: pump-9.flow (2)\n"),
        "{complained}"
    );

    let csv = house.file("words.csv", "2026-11-21T08:00:00Z,pump-1.pressure,231 kPa\n2026-11-21T08:00:01Z,pump-1.pressure,\n2026-11-21T08:00:02Z,pump-1.pressure,low\n");
    let output = house.run(&["pressure-low", "--json", "--csv", csv.to_str().unwrap()]);
    assert!(output.status.success());
    let complained = text(&output.stderr);
    let said = "2 lines with words where a limit needs numbers, the first `231 kPa` of pump-1.pressure";
    assert!(complained.contains(said), "{complained}");

    let output = house.run(&["pressure-low", "--csv", csv.parent().unwrap().to_str().unwrap()]);
    assert_eq!(text(&output.stderr).matches("Is a directory").count(), 1, "{}", text(&output.stderr));
}

#[test]
fn two_thresholds_stand_side_by_side() {
    let house = House::new();
    let csv = house.file("dip.csv", DIP);
    let csv = csv.to_str().unwrap();
    for compare in ["170", "below=170", "below = 170.0"] {
        let said = house.said(&["pressure-low", "--json", "--compare", compare, "--csv", csv]);
        let lines: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<_> = lines
            .iter()
            .map(|l| {
                (
                    l["limit"]["below"].as_f64().unwrap(),
                    l["variant"].as_u64().unwrap(),
                    l["change"].as_str().unwrap(),
                )
            })
            .collect();
        let expected = [
            (200.0, 1, "opened"),
            (200.0, 1, "cleared"),
            (200.0, 1, "reopened"),
            (170.0, 2, "opened"),
            (200.0, 1, "cleared"),
            (170.0, 2, "cleared"),
        ];
        assert_eq!(told, expected, "{compare}: {said}");
    }
    let other =
        house.file("other.toml", "[[rule]]\nid = \"other\"\npoint = \"pump-1.pressure\"\nbelow = 170.0\n");
    let page = house.said(&["pressure-low", "--compare", other.to_str().unwrap(), "--csv", csv]);
    assert!(page.starts_with("pressure-low: below 200 beside below 170\n"), "{page}");
    assert!(squeezed(&page).contains("tickets opened 1 1\n"), "{page}");
    assert!(page.contains(" 200 #-----") && page.contains(".....#....."), "{page}");
    // The limits are the same, and what was asked for tells them apart.
    let page = house.said(&["pressure-low", "--compare", "on_delay=10m", "--csv", csv]);
    assert!(page.starts_with("pressure-low: as it is beside on_delay=10m\n"), "{page}");
    assert!(squeezed(&page).contains("tickets opened 1 0\n"), "{page}");
}

#[test]
fn the_page_has_changes_a_plot_and_a_sum_and_fits_its_terminal() {
    let house = House::new();
    let csv = house.file("dip.csv", DIP);
    for (locale, columns) in [("C", "60"), ("C.UTF-8", "60"), ("zh_CN.UTF-8", "200"), ("C", "1")] {
        let mut command = house.command(&["pressure-low", "--csv", csv.to_str().unwrap()]);
        let output = command.env("LC_ALL", locale).env("COLUMNS", columns).output().unwrap();
        let page = text(&output.stdout);
        assert!(output.status.success(), "{page}");
        assert!(
            page.contains(
                "2026-11-21 16:00:00 to 2026-11-21 16:08:00 (Asia/Shanghai), 8m; 9 readings of 2 points"
            ),
            "{page}"
        );
        assert_eq!(page.contains('⣀'), locale != "C", "{page}");
        if columns == "60" {
            for part in [
                "11-21 16:01:30 cleared pump-1.pressure 180 1m 15s\n",
                "pump-1.pressure (kPa)",
                "open in all 3m 35s\n",
                "tickets a device and month -\n",
            ] {
                assert!(squeezed(&page).contains(part), "{part}\n{page}");
            }
            // The plot and the tables; the head is for people to wrap.
            assert!(page.lines().skip(3).all(|line| line.chars().count() <= 60), "{page}");
        }
    }
}

// ---------------------------------------------------------------------------------------------- history

fn open(house: &House) -> Ends {
    let settings = Settings::at(house.dir.path().join("data"));
    store::open(&settings, "cp-017").unwrap()
}

/// Hands over what was gathered, and waits until it is written.
fn written(ends: &mut Ends, now: Millis) {
    ends.history.flush(now);
    let deadline = Instant::now() + Duration::from_secs(30);
    while ends.history.due(now + 86_400_000) {
        assert!(Instant::now() < deadline, "the history is not written");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_recorded_history_is_replayed_beside_who_writes_it_and_its_gaps_are_nobodys_time() {
    let house = House::new();
    // Held as a daemon holds it.
    let mut ends = open(&house);
    let point: Arc<str> = "pump-1.pressure".into();
    let begin = time::now() - 6 * 3600 * 1000;
    let minute = |n: i64| begin + n * 60_000;
    let number = |at, value| Reading::good(PointId(0), at, Value::Number(value));
    for n in 0..60 {
        let value = if (10..20).contains(&n) { 150.0 } else { 300.0 };
        let reading = match n {
            15 => Reading::bad(PointId(0), minute(n), Reason::NoAnswer),
            _ => number(minute(n), value),
        };
        ends.history.note(&point, &reading);
        written(&mut ends, minute(n));
    }
    // Off for an hour, just as the pressure fell.
    ends.history.note(&point, &number(minute(60), 150.0));
    written(&mut ends, minute(60));
    for n in 120..125 {
        ends.history.note(&point, &number(minute(n), 300.0));
        written(&mut ends, minute(n));
    }

    let output = house.run(&["pressure-low", "--json", "--since", "12h"]);
    let (said, complained) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{complained}");
    let told: Vec<Json> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        told.iter().map(|l| (l["at"].as_str().unwrap(), l["change"].as_str().unwrap())).collect();
    let (opened, cleared) = (time::format(minute(10) + 10_000), time::format(minute(20) + 30_000));
    assert_eq!(told, [(&*opened, "opened"), (&*cleared, "cleared")], "{said}");
    for note in
        ["changes of a point's deadband or more", "it begins ", "1 time without any reading, 1h in all"]
    {
        assert!(complained.contains(note), "{note}: {complained}");
    }

    // Only what is asked for, and the page says what cannot be seen.
    let page = house.said(&[
        "pressure-low",
        "--since",
        &time::format(minute(30)),
        "--until",
        &time::format(minute(50)),
    ]);
    assert!(page.contains("no ticket would have been raised") && page.contains("20m; 21 readings"), "{page}");
    assert!(page.contains("note: the history holds changes"), "{page}");
    let output = house.run(&["pressure-low", "--until", &time::format(begin - 1)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the history begins"), "{}", text(&output.stderr));
    drop(ends);
}

#[test]
fn a_history_replayed_is_what_a_csv_of_it_would_be() {
    let house = House::new();
    let mut ends = open(&house);
    let begin = time::now() - 20 * 3600 * 1000;
    let points: [Arc<str>; 2] = ["pump-1.pressure".into(), "pump-2.pressure".into()];
    let mut csv = String::new();
    for n in 0..6000 {
        let at = begin + n * 10_000;
        for (shift, point) in points.iter().enumerate() {
            let value = (2400 + (n as usize + shift * 31) * 37 % 900) as f64 / 10.0
                - if n / 40 % 5 == 0 { 150.0 } else { 0.0 };
            ends.history.note(point, &Reading::good(PointId(0), at, Value::Number(value)));
            writeln!(csv, "{},{point},{value}", time::format(at)).unwrap();
        }
    }
    written(&mut ends, begin);
    let of_csv = house.changes("pressure-low", &csv).join("\n") + "\n";
    let until = time::format(begin + 5999 * 10_000);
    let output = house.run(&["pressure-low", "--json", "--since", "1d", "--until", &until]);
    assert!(of_csv.lines().count() > 50, "{of_csv}");
    assert_eq!(text(&output.stdout), of_csv);
    drop(ends);
}

// ---------------------------------------------------------------------------------------------- a million

#[test]
fn a_million_lines_take_a_bounded_time_and_few_bytes_each() {
    let house = House::new();
    let mut csv = String::with_capacity(48 << 20);
    for n in 0..1_000_000_i64 {
        let value = if n / 5000 % 10 == 5 { 150 } else { 300 + n % 17 };
        writeln!(csv, "{},pump-1.pressure,{value}", time::format(1_763_712_000_000 + n * 1000)).unwrap();
    }
    let csv = house.file("million.csv", &csv);
    let began = Instant::now();
    let mut command = house.command(&["pressure-low", "--json", "--csv", csv.to_str().unwrap()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    // What it says is far less than a pipe holds.
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(resident_most(child.id()).unwrap_or(0));
        assert!(began.elapsed() < Duration::from_secs(300), "a debug build on shared cores takes far less");
        thread::sleep(Duration::from_millis(5));
    }
    let took = began.elapsed();
    let said = text(&child.wait_with_output().unwrap().stdout);
    assert_eq!(said.lines().count(), 40, "{said}");
    assert!(peak < 160 << 10, "{peak} KiB");
    println!("a million lines in {took:?}, {peak} KiB at the most");
}

/// KiB that a process had resident at the most, as the kernel counts them.
fn resident_most(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
