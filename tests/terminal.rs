//! The commands on a real terminal: they fit it, colour it, and leave it as it was; on a pipe they write whole and plain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod pty;
mod web_house;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use gatehouse::live::DeviceState;
use gatehouse::maintenance::{Maintenance, Scope};
use gatehouse::reading::{DeviceId, PointId, Reading, Value};
use gatehouse::ticket::{Class, Deadlines, State, Ticket};
use gatehouse::time;
use gatehouse::web::{Plan, plan};
use pty::{Pty, plain, widest};
use serde_json::{Value as Json, json};
use web_house::{House, plan, site, ticket};

const SIZES: [(u16, u16); 3] = [(40, 24), (80, 24), (200, 60)];

/// What a device or a person may have written to take the terminal over.
const HOSTILE: &str = "水压低\x1b[2J\x1b]0;owned\x07\u{9b}1A\u{202e}，请尽快派人到现场查看并处理 180 kPa";

fn gatehouse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    for unwanted in ["NO_COLOR", "COLUMNS", "GATEHOUSE_TOKEN_FILE", "GATEHOUSE_CONFIG"] {
        command.env_remove(unwanted);
    }
    command.args(arguments).env("TZ", "CST-8").env("LC_ALL", "C.UTF-8");
    command
}

/// Ran to its end, its output a pipe, beside the house, which answers from this thread.
async fn piped(house: &House, arguments: &[&str]) -> Output {
    let mut command = gatehouse(arguments);
    command.args(["--url", &house.url]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Late by two hours, and in five minutes.
fn tickets() -> Vec<Ticket> {
    let now = time::now();
    let late = Deadlines { contact_by: Some(now - 2 * 3_600_000 - 30_000), ..Deadlines::default() };
    let mut first = Ticket { deadlines: late, opened_at: now, ..ticket("000123", State::Open, "pump-1") };
    first.title = HOSTILE.into();
    let soon = Deadlines { on_site_by: Some(now + 5 * 60_000 + 30_000), ..Deadlines::default() };
    let second = Ticket { deadlines: soon, level: 2, ..ticket("000124", State::Acknowledged, "pump-2") };
    vec![first, second]
}

/// Two that are lines of a plot of `pump-1.pressure`, one that is none, and one of another point.
fn rules() -> Vec<plan::Rule> {
    let rule = |id: &str, point: u32, condition: Json| plan::Rule {
        id: id.into(),
        points: vec![PointId(point)],
        devices: vec![],
        condition,
        deadband: 0.0,
        on_delay: "10s".into(),
        off_delay: "30s".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
    };
    vec![
        rule("pressure-low", 0, json!({ "below": 200.0 })),
        rule("pressure-odd", 0, json!({ "outside": [220.0, 260.0] })),
        rule("pump-silent", 0, json!({ "silent": "10m" })),
        rule("state-odd", 1, json!({ "above": 250.0 })),
    ]
}

/// With rules, tickets, a device that is away, and an hour of readings.
async fn house() -> House {
    let mut house = House::built(site(), Plan { rules: rules(), ..plan() }, &[]).await;
    house.commit_tickets(tickets());
    house.commit_events(&["ticket.opened", "device.offline", "command.executed"]);
    let now = time::now();
    {
        let mut live = house.live.lock();
        let device = live.device_mut(DeviceId(0));
        device.state = DeviceState::Offline;
        device.since = Some(now - 90_000);
        device.error = Some(format!("no answer within 500 ms {HOSTILE}"));
    }
    let mut history = house.history.take().unwrap();
    for second in 0..3600 {
        let at = now - 3_601_000 + second * 1000;
        let pressure = if second == 1800 { 180.0 } else { 300.0 };
        history.note(&"pump-1.pressure".into(), &Reading::good(PointId(0), at, Value::Number(pressure)));
        let state = if second < 1200 { "running" } else { "stopped" };
        history.note(&"pump-1.state".into(), &Reading::good(PointId(1), at, Value::Text(state.into())));
    }
    drop(history);
    house
}

const ASKED: [&[&str]; 8] = [
    &["status"],
    &["top", "--once"],
    &["tickets"],
    &["tickets", "--all"],
    &["events"],
    &["history", "pump-1.pressure", "--since", "1h"],
    &["history", "pump-1.state", "--since", "1h"],
    &["history", "pump-1.pressure", "--table"],
];

#[tokio::test]
async fn whatever_is_printed_fits_the_terminal_and_orders_it_nothing_but_colours() {
    let house = house().await;
    for size in SIZES {
        for asked in ASKED {
            let mut pty = Pty::run(&[asked, &["--url", &house.url]].concat(), size, &[]);
            let (status, said) = pty.ended().await;
            assert!(status.success(), "{asked:?}: {said}");
            let page = plain(&said);
            assert!(widest(&page) <= size.0.into(), "{asked:?} at {size:?}, {}:\n{page}", widest(&page));
            if asked[0] == "tickets" {
                for words in
                    ["CP-017-000123", "CP-017-000124", "contact late 2h", "on site in 5m", "acknowledged"]
                {
                    assert!(page.contains(words), "{words} at {size:?}:\n{page}");
                }
                assert!(said.contains("\x1b[31m"), "what is urgent is red: {said:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_colour_where_it_is_not_wanted_and_nothing_is_cut_on_a_pipe() {
    let house = house().await;
    for asked in ASKED {
        for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let mut pty = Pty::run(&[asked, &["--url", &house.url]].concat(), (80, 24), &[unwanted]);
            let (_, said) = pty.ended().await;
            assert!(!said.contains('\x1b'), "{asked:?} {unwanted:?}: {said:?}");
        }
        let page = text(&piped(&house, asked).await.stdout);
        assert!(!page.contains('\x1b') && !page.contains('…'), "{asked:?}: {page}");
    }
    let mut pty = Pty::run(&["tickets", "--url", &house.url], (80, 24), &[("NO_COLOR", "")]);
    assert!(pty.ended().await.1.contains("\x1b[31m"), "an empty NO_COLOR says nothing");
    let whole = text(&piped(&house, &["tickets"]).await.stdout);
    assert!(whole.contains("请尽快派人到现场查看并处理 180 kPa"), "{whole}");
}

#[tokio::test]
async fn a_history_is_drawn_with_its_dip_and_words_are_bands() {
    let house = house().await;
    let drawn = text(&piped(&house, &["history", "pump-1.pressure", "--since", "1h"]).await.stdout);
    assert!(drawn.contains("       300 ") && drawn.contains("       180 "), "{drawn}");
    // The hour began a little earlier than the command.
    assert!(drawn.contains("least 180, most 300; 359") && drawn.contains("recorded readings"), "{drawn}");
    let dots = |line: &str| line.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
    assert!(drawn.lines().any(|line| dots(line) > 50), "the level is a line: {drawn}");
    let dip = drawn.lines().find(|line| line.trim_start().starts_with("180 ")).unwrap();
    assert_eq!(dots(dip), 1, "the dip of one second is seen: {drawn}");

    for limit in ["pressure-low: below 200", "pressure-odd: outside 220 to 260"] {
        assert!(drawn.contains(limit), "{limit}: {drawn}");
    }
    assert!(!drawn.contains("pump-silent") && !drawn.contains("state-odd"), "{drawn}");
    let row = |label: &str| {
        let found = drawn.lines().position(|line| line.trim_start().starts_with(label));
        found.unwrap_or_else(|| panic!("`{label}` is no row: {drawn}"))
    };
    let (most, low, least) = (row("300 "), row("200 "), row("180 "));
    assert!(most < low && low < least, "{drawn}");
    assert!(drawn.lines().nth(low).unwrap().contains('─'), "the limit is a line: {drawn}");

    let words = text(&piped(&house, &["history", "pump-1.state", "--since", "1h"]).await.stdout);
    let band = |word: &str| {
        let line = words
            .lines()
            .find(|line| line.trim_start().starts_with(word))
            .unwrap_or_else(|| panic!("{words}"));
        let at = |c| line.chars().position(|letter| letter == c).unwrap();
        (at('█'), line.chars().filter(|c| *c == '█').count())
    };
    let ((running, a), (stopped, b)) = (band("running"), band("stopped"));
    assert!(running < stopped && a < b && a + b >= 66, "a third, then two thirds: {words}");

    let table =
        text(&piped(&house, &["history", "pump-1.pressure", "--since", "1h", "--table"]).await.stdout);
    assert!(table.starts_with("FROM ") && (24..=26).contains(&table.lines().count()), "{table}");
    let later = ["history", "pump-1.pressure", "--since", "2999-01-01T00:00:00Z"];
    let part = piped(&house, &later).await;
    assert_eq!(part.status.code(), Some(1));
    assert!(text(&part.stderr).contains("is not before"), "{}", text(&part.stderr));
}

/// What each command promises to machines: its keys, and those of the first of a list.
#[tokio::test]
async fn what_is_said_to_machines_has_the_documented_keys() {
    let house = house().await;
    let resting = Maintenance {
        scope: Scope::Device("pump-1".into()),
        since: time::now(),
        until: time::now() + 3_600_000,
        by: "Wang".into(),
        note: None,
    };
    house.live.lock().set_maintenance(vec![resting]);
    let told: [(&[&str], &[&str]); 8] = [
        (&["status"], &["consumers", "points", "readiness", "site", "tickets"]),
        (&["tickets"], &["next", "tickets"]),
        (&["events"], &["data", "id", "sequence", "source", "specversion", "subject", "time", "type"]),
        (&["history", "pump-1.pressure"], &["buckets", "point"]),
        (&["maintenance"], &["maintenance"]),
        (
            &["top"],
            &[
                "at",
                "consumers",
                "devices",
                "gateway",
                "lines",
                "name",
                "readings_total",
                "ready",
                "tickets",
                "trouble",
            ],
        ),
        (&["profiles"], &["profiles"]),
        (&["profiles", "xy-md02"], &["name", "text"]),
    ];
    for (asked, keys) in told {
        let mut command = gatehouse(&[asked, &["--json"]].concat());
        if asked[0] != "profiles" {
            command.args(["--url", &house.url]);
        }
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(ran.status.success(), "{asked:?}: {}", text(&ran.stderr));
        let said = text(&ran.stdout);
        for line in said.lines() {
            let said: Json = serde_json::from_str(line).unwrap_or_else(|e| panic!("{asked:?}: {e}: {line}"));
            let has: BTreeSet<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(keys.iter().all(|key| has.contains(key)), "{asked:?}: {keys:?} in {has:?}");
        }
        assert!(asked[0] == "events" || said.lines().count() == 1, "{asked:?}: one object: {said}");
    }
}

/// A box without a daemon: what was there is saved, and goes on elsewhere.
#[test]
fn backup_restore_and_doctor_speak_to_machines_too() {
    let dir = tempfile::tempdir().unwrap();
    let configure = |name: &str| {
        let (file, data) = (dir.path().join(format!("{name}.toml")), dir.path().join(name));
        let text = format!("[gateway]\nid = \"cp-017\"\ndata_dir = \"{}\"\n", data.display());
        std::fs::write(&file, text).unwrap();
        (file, data)
    };
    let ((old, data), (new, _)) = (configure("old"), configure("new"));
    let settings = gatehouse::store::Settings::at(data);
    drop(gatehouse::store::open(&settings, "cp-017").unwrap());
    let copy = dir.path().join("copy.backup");
    let said = |arguments: &[&str], config: &std::path::Path, may_fail: bool| -> Json {
        let ran = gatehouse(arguments).arg("--json").arg("--config").arg(config).output().unwrap();
        assert!(ran.status.success() || may_fail, "{arguments:?}: {}", text(&ran.stderr));
        serde_json::from_slice(&ran.stdout)
            .unwrap_or_else(|e| panic!("{arguments:?}: {e}: {}", text(&ran.stdout)))
    };
    let backup = said(&["backup", "--to", copy.to_str().unwrap()], &old, false);
    assert_eq!(
        (&backup["gateway"], &backup["unclosed"]),
        (&Json::from("cp-017"), &Json::from(0)),
        "{backup}"
    );
    assert_eq!(backup["bytes"], std::fs::metadata(&copy).unwrap().len());
    let restored = said(&["restore", copy.to_str().unwrap()], &new, false);
    assert_eq!(restored["before"]["epoch"], backup["epoch"], "{restored}");
    assert_eq!(restored["history"], "none", "{restored}");
    let doctor = said(&["doctor"], &new, true);
    assert!(doctor["findings"].as_array().unwrap().iter().all(|one| one["verdict"].is_string()), "{doctor}");
}

#[tokio::test]
async fn following_ends_with_the_daemon_and_says_from_where_to_go_on() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 3]);
    let mut pty = Pty::run(&["events", "--follow", "--url", &house.url], (80, 24), &[]);
    house.until_waiting(1).await;
    house.commit_events(&["device.offline"]);
    pty.until("what came is told", |said| said.contains("device.offline").then_some(())).await;
    house.until_waiting(1).await;
    house.stop.cancel();
    let (status, said) = pty.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.trim_end().split("gatehouse: ").last().unwrap();
    assert!(last.contains(&format!("--after {}", house.cursor(4))), "{said}");
}

#[tokio::test]
async fn the_daemon_is_found_by_its_configuration_and_who_is_not_there_is_named_with_a_cure() {
    let house = House::open().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gatehouse.toml");
    let listen = house.url.strip_prefix("http://").unwrap();
    std::fs::write(&file, format!("[gateway]\nid = \"cp-017\"\n[api]\nlisten = \"{listen}\"\n")).unwrap();
    let path = file.to_str().unwrap();
    for (arguments, variable) in [(vec!["tickets", "--config", path], ""), (vec!["tickets"], path)] {
        let mut command = gatehouse(&arguments);
        if !variable.is_empty() {
            command.env("GATEHOUSE_CONFIG", variable);
        }
        let ran = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert_eq!(text(&ran.stdout), "no tickets\n", "{}", text(&ran.stderr));
    }
    house.stop.cancel();
    house.serving.await.unwrap().unwrap();
    let gone = gatehouse(&["tickets", "--config", path]).output().unwrap();
    let said = text(&gone.stderr);
    assert_eq!(gone.status.code(), Some(1));
    for words in [listen, path, "[api] listen", "is the daemon running", "--url"] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[tokio::test]
async fn more_tickets_than_one_answer_has_are_not_told_as_so_many() {
    let mut house = House::open().await;
    house.commit_tickets((0..1001).map(|n| ticket(&format!("{n:06}"), State::Open, "pump-1")).collect());
    // An answer ends at so many tickets or so many bytes.
    for (asked, begins) in [(&["status"][..], "unclosed tickets"), (&["top", "--once"], "")] {
        let said = text(&piped(&house, asked).await.stdout);
        let told = said.lines().find(|line| line.starts_with(begins) && line.contains("tickets")).unwrap();
        let count = told.split_whitespace().find_map(|word| word.strip_suffix('+')?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| (1..1001).contains(&count)), "{told}");
    }
    let listed = text(&piped(&house, &["tickets"]).await.stdout);
    assert_eq!(listed.lines().count(), 1002, "all of them, below their head");
}

#[test]
fn each_way_to_fail_has_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("gatehouse.toml");
    std::fs::write(&bad, "[gateway]\ndi = \"cp-017\"\n").unwrap();
    let bad = bad.to_str().unwrap();
    let told: [(i32, &[&str]); 10] = [
        (78, &["check", "--config", bad]),
        (78, &["check", "--against-running", "--config", bad]),
        (78, &["run", "--config", bad]),
        (78, &["read", "pump-1", "--config", bad]),
        (78, &["scan", "plant", "--config", bad]),
        (78, &["replay", "pump-low", "--config", bad]),
        (2, &["maintenance", "--device", "pump-1"]),
        (2, &["history"]),
        (1, &["profiles", "nobody"]),
        (1, &["tickets", "--url", "http://127.0.0.1:1"]),
    ];
    for (code, asked) in told {
        let ran = gatehouse(asked).output().unwrap();
        assert_eq!(ran.status.code(), Some(code), "{asked:?}: {}", text(&ran.stderr));
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{asked:?}: {}", text(&ran.stdout));
    }
}

// ---------------------------------------------------------------------------------------------- top

const SCREEN_TAKEN: &str = "\x1b[?1049h";
const SCREEN_GIVEN_BACK: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What stands on the screen: the last picture that is whole, without its colours.
fn screen(said: &str) -> Option<String> {
    let whole = &said[..said.rfind("\x1b[J")?];
    let picture = &whole[whole.rfind("\x1b[H")? + 3..];
    Some(plain(&picture.replace("\x1b[K", "")).replace("\r\n", "\n"))
}

async fn until_shown(pty: &Pty, what: &str) -> String {
    pty.until(&format!("`{what}` is shown"), |said| screen(said).filter(|screen| screen.contains(what))).await
}

async fn gives_the_terminal_back(pty: &mut Pty, before: &rustix::termios::Termios) {
    let (status, said) = pty.ended().await;
    assert!(status.success(), "{status}: {said:?}");
    assert!(said.ends_with(SCREEN_GIVEN_BACK), "{said:?}");
    assert_eq!(said.matches(SCREEN_TAKEN).count(), 1);
    let after = pty.settings();
    assert_eq!((after.local_modes, after.input_modes), (before.local_modes, before.input_modes));
}

#[tokio::test]
async fn top_fits_any_terminal_follows_its_size_and_scrolls() {
    let mut house = house().await;
    for size in [(40, 24), (80, 24), (200, 60), (24, 6)] {
        let mut pty = Pty::run(&["top", "--every", "200ms", "--url", &house.url], size, &[]);
        let before = pty.settings();
        let shown = until_shown(&pty, "▸ LINES").await;
        assert!(
            widest(&shown) <= size.0.into() && shown.lines().count() <= size.1.into(),
            "{size:?}:\n{shown}"
        );
        if size == (80, 24) {
            for words in ["cp-017", "1 offline", "CP-017-000123", "contact late 2h", "水压低"] {
                assert!(shown.contains(words), "{words}:\n{shown}");
            }
            let taken = pty.settings();
            assert_ne!(taken.local_modes, before.local_modes, "keys come as they are pressed");
            pty.press("\t");
            until_shown(&pty, "▸ DEVICES").await;
            pty.press("\x1b[Z\x1b[Z");
            until_shown(&pty, "▸ EVENTS").await;
            pty.resize(40, 10);
            let narrow = |said: &str| screen(said).filter(|s| widest(s) <= 40 && s.lines().count() <= 10);
            pty.until("it is drawn for the new size", narrow).await;
            pty.resize(100, 30);
            house.commit_events(&["access.forced"]);
            until_shown(&pty, "access.forced").await;
        }
        pty.press("q");
        gives_the_terminal_back(&mut pty, &before).await;
    }
}

#[tokio::test]
async fn top_gives_the_terminal_back_on_every_way_out() {
    let house = house().await;
    for way in ["TERM", "INT", "HUP", "QUIT", "ctrl-c"] {
        let mut pty = Pty::run(&["top", "--url", &house.url], (80, 24), &[]);
        let before = pty.settings();
        until_shown(&pty, "cp-017").await;
        if way == "ctrl-c" {
            pty.press("\x03");
        } else {
            pty.signal(way);
        }
        gives_the_terminal_back(&mut pty, &before).await;
    }
}

#[tokio::test]
async fn top_says_that_the_daemon_is_gone_and_takes_no_screen_where_there_is_none() {
    let house = house().await;
    let mut pty = Pty::run(&["top", "--every", "200ms", "--url", &house.url], (80, 24), &[("NO_COLOR", "1")]);
    let before = pty.settings();
    until_shown(&pty, "CP-017-000123").await;
    house.stop.cancel();
    let url = house.url.clone();
    house.serving.await.unwrap().unwrap();
    let shown = until_shown(&pty, "no answer for ").await;
    assert!(shown.contains("CP-017-000123"), "what was seen last stays:\n{shown}");
    pty.press("q");
    gives_the_terminal_back(&mut pty, &before).await;

    let mut alone = Pty::run(&["top", "--url", &url], (80, 24), &[]);
    let (status, said) = alone.ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(!said.contains('\x1b') && said.contains("is the daemon running"), "{said:?}");
}

// ---------------------------------------------------------------------------------------------- papers

/// All that there are, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = text(&gatehouse(&["--help"]).output().unwrap().stdout);
    let commands: Vec<String> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()))
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(commands.len() > 15 && commands.iter().any(|name| name == "top"), "{commands:?}");
    commands
}

/// What a program says to a text at its standard input; `None` where there is no such program here.
fn checked(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: there is no {program} on this machine");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    Some(output)
}

#[test]
fn shells_take_their_completions_and_complete_with_them() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&gatehouse(&["completions", shell]).output().unwrap().stdout);
        for command in commands() {
            let knows =
                script.split(|c: char| !(c.is_alphanumeric() || c == '-')).any(|word| word == command);
            assert!(knows, "{shell} completes no {command}");
        }
        let file = dir.path().join(shell);
        std::fs::write(&file, &script).unwrap();
        let file = file.to_str().unwrap();
        let Some(read) = checked(shell, &["-n", file], "") else { continue };
        assert!(read.status.success() && read.stderr.is_empty(), "{shell}: {}", text(&read.stderr));
        let asked = match shell {
            "bash" => format!(
                "source {file}; COMP_WORDS=(gatehouse tick); COMP_CWORD=1; _gatehouse gatehouse tick gatehouse; echo ${{COMPREPLY[@]}}"
            ),
            "fish" => format!("source {file}; complete -C 'gatehouse tick'"),
            _ => continue,
        };
        let said = checked(shell, &["-c", &asked], "").unwrap();
        assert!(text(&said.stdout).starts_with("tickets"), "{shell}: {said:?}");
    }
    let unknown = gatehouse(&["completions", "tcsh"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("bash, zsh, fish"), "{}", text(&unknown.stderr));
}

#[test]
fn man_pages_are_read_without_a_complaint_and_there_is_one_for_each_command() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert!(gatehouse(&["man", "--dir"]).arg(&pages).output().unwrap().status.success());
    let mut names = vec!["gatehouse.1".to_owned()];
    names.extend(commands().iter().map(|name| format!("gatehouse-{name}.1")));
    for name in names {
        let page = std::fs::read_to_string(pages.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        // `-k` tells it that there is Chinese in it.
        if let Some(read) = checked("groff", &["-k", "-man", "-ww", "-Tutf8"], &page) {
            assert!(read.status.success() && read.stderr.is_empty(), "{name}: {}", text(&read.stderr));
        }
        if let Some(read) = checked("mandoc", &["-Tlint", "-Wwarning"], &page) {
            let said: Vec<String> =
                text(&read.stdout).lines().filter(|line| !is_roff_of_clap(line)).map(str::to_owned).collect();
            assert!(said.is_empty(), "{name}: {said:#?}");
        }
    }
    if let Some(shown) = checked("man", &["-l", pages.join("gatehouse-history.1").to_str().unwrap()], "") {
        let shown = text(&shown.stdout);
        for heading in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES"] {
            assert!(shown.contains(heading), "{heading} in {shown}");
        }
    }
    let one = text(&gatehouse(&["man"]).output().unwrap().stdout);
    assert_eq!(one, std::fs::read_to_string(pages.join("gatehouse.1")).unwrap());
}

/// What clap_mangen itself writes, and does no harm.
fn is_roff_of_clap(line: &str) -> bool {
    ["br after sp", "br before sp"]
        .iter()
        .any(|what| line.contains(&format!("skipping paragraph macro: {what}")))
}
