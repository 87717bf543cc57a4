//! The commands that ask a running daemon, as a technician types them: what they print, and how they end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output, Stdio};

use gatehouse::live::DeviceState;
use gatehouse::reading::DeviceId;
use gatehouse::ticket::State;
use gatehouse::web::Role;
use serde_json::Value as Json;
use web_house::{House, ticket};

fn gatehouse(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(arguments).env_remove("GATEHOUSE_TOKEN_FILE").env("TZ", "CST-8").env("COLUMNS", "80");
    command
}

/// Ran to its end beside the house, which answers from this thread.
async fn ran(house: &House, arguments: &[&str]) -> Output {
    let mut command = gatehouse(arguments);
    command.args(["--url", &house.url]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn tickets_are_one_line_each_and_whole_for_machines() {
    let mut house = House::open().await;
    let mut long = ticket("t-2", State::Resolved, "pump-2");
    long.title = "锦绣花园/3号楼/地下室/水泵房: 水压低于下限，请尽快派人到现场查看并处理 180 kPa".into();
    house.commit_tickets(vec![
        ticket("t-1", State::Open, "pump-1"),
        long,
        ticket("t-3", State::Closed, "pump-1"),
    ]);

    let ran_plain = ran(&house, &["tickets"]).await;
    let page = text(&ran_plain.stdout);
    assert!(ran_plain.status.success(), "{}", text(&ran_plain.stderr));
    assert!(
        page.contains("CP-017-t-1") && page.contains("CP-017-t-2") && !page.contains("CP-017-t-3"),
        "{page}"
    );
    assert!(page.contains("11-21 16:00:00"), "in the time of this place: {page}");
    assert!(!page.contains('\x1b'), "colours are for terminals");
    for line in page.lines() {
        let columns: usize = line.chars().map(|c| if c.is_ascii() || c == '…' { 1 } else { 2 }).sum();
        assert!(columns <= 80, "{columns} columns: {line}");
    }
    assert!(text(&ran(&house, &["tickets", "--all"]).await.stdout).contains("CP-017-t-3"));
    let one = text(&ran(&house, &["tickets", "--state", "closed", "--device", "pump-1"]).await.stdout);
    assert!(one.contains("t-3") && !one.contains("t-1"), "{one}");

    let json: Json = serde_json::from_slice(&ran(&house, &["tickets", "--json"]).await.stdout).unwrap();
    assert_eq!(json["tickets"].as_array().unwrap().len(), 2);
    let wrong = ran(&house, &["tickets", "--state", "opn"]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("in_progress"), "{}", text(&wrong.stderr));
}

#[tokio::test]
async fn events_show_the_last_lines_or_all_after_a_cursor() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 30]);
    house.commit_events(&["ticket.opened"; 2]);
    let lines = async |arguments: &[&str]| -> Vec<String> {
        let ran = ran(&house, arguments).await;
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        text(&ran.stdout).lines().map(str::to_owned).collect()
    };
    let tail = lines(&["events"]).await;
    assert_eq!(tail.len(), 20);
    assert!(tail[0].trim_start().starts_with("13 ") && tail[19].contains("ticket.opened"), "{tail:?}");
    assert_eq!(lines(&["events", "--after", "0"]).await.len(), 32);
    assert_eq!(lines(&["events", "--types", "ticket.*"]).await.len(), 2);
    let json = lines(&["events", "--after", &house.cursor(31), "--json"]).await;
    assert_eq!(json.len(), 1);
    let event: Json = serde_json::from_str(&json[0]).unwrap();
    assert_eq!(event["sequence"], "00000000000000000032");
}

#[tokio::test]
async fn following_prints_what_comes_and_ends_quietly_when_the_reader_leaves() {
    let mut house = House::open().await;
    let mut following = gatehouse(&["events", "--follow", "--json", "--url", &house.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    house.until_waiting(1).await;
    house.commit_events(&["ticket.opened"]);
    let mut out = following.stdout.take().unwrap();
    let (start, out) = tokio::task::spawn_blocking(move || {
        let mut start = [0; 16];
        out.read_exact(&mut start).unwrap();
        (start, out)
    })
    .await
    .unwrap();
    assert_eq!(start[0], b'{');
    drop(out);
    house.until_waiting(1).await;
    house.commit_events(&["ticket.cleared"]);
    let ended = tokio::task::spawn_blocking(move || following.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), String::new()));
}

#[tokio::test]
async fn status_is_one_page_and_says_who_is_away() {
    let house = House::open().await;
    {
        let mut now = house.live.lock();
        let device = now.device_mut(DeviceId(0));
        device.state = DeviceState::Offline;
        device.error = Some("no answer within 500 ms".into());
    }
    let ran_plain = ran(&house, &["status"]).await;
    let page = text(&ran_plain.stdout);
    assert!(ran_plain.status.success(), "{}", text(&ran_plain.stderr));
    for words in ["cp-017 锦绣花园", "ready", "1 offline", "2 bad", "pump-1", "no answer"] {
        assert!(page.contains(words), "`{words}` in {page}");
    }
    let json: Json = serde_json::from_slice(&ran(&house, &["status", "--json"]).await.stdout).unwrap();
    assert_eq!(json["site"]["devices"][0]["state"], "offline");
    house.ready.send_replace(gatehouse::web::Readiness::default());
    let starting = ran(&house, &["status"]).await;
    assert_eq!(starting.status.code(), Some(1));
    assert!(text(&starting.stdout).contains("503"), "{}", text(&starting.stdout));
}

#[tokio::test]
async fn history_of_an_unknown_point_is_refused_and_of_a_silent_one_is_empty() {
    let house = House::open().await;
    let silent = ran(&house, &["history", "pump-1.pressure"]).await;
    assert!(silent.status.success());
    assert!(text(&silent.stdout).contains("no readings"));
    let unknown = ran(&house, &["history", "pump-1.presure"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("pump-1.presure"));
}

#[tokio::test]
async fn a_token_comes_from_a_file_and_its_lack_is_explained() {
    let house = House::with_tokens(&[("wang", Role::Technician)]).await;
    let refused = ran(&house, &["tickets"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("GATEHOUSE_TOKEN_FILE"), "{}", text(&refused.stderr));
    let file = house.dir.path().join("token");
    std::fs::write(&file, "wang-secret\n").unwrap();
    let allowed = ran(&house, &["tickets", "--token-file", file.to_str().unwrap()]).await;
    assert!(allowed.status.success(), "{}", text(&allowed.stderr));
    assert_eq!(text(&allowed.stdout), "no tickets\n");
}

#[test]
fn wrong_usage_ends_with_2_and_no_daemon_with_1() {
    for wrong in [&["tickts"][..], &[], &["demo", "--for", "60"], &["events", "--after", "x.y"], &["history"]]
    {
        let ran = gatehouse(wrong).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{wrong:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{wrong:?}");
    }
    let alone = gatehouse(&["status", "--url", "http://127.0.0.1:9"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(1));
    assert!(text(&alone.stderr).contains("is the daemon running"), "{}", text(&alone.stderr));
    assert!(gatehouse(&["--help"]).output().unwrap().status.success());
}

#[test]
fn a_demo_takes_the_order_of_the_readme_and_when_terminated_tells_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = gatehouse(&["demo", "--listen", "127.0.0.1:0"]);
    let mut demo = demo.env("TMPDIR", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let page =
        lines.find_map(|line| Some(line.split_once("page: ")?.1.split_once(' ')?.0.to_owned())).unwrap();

    let order = r#"{"action":"open","target":"cell-3","by":"li","key":"order-4711"}"#;
    let commands = format!("{page}api/v1/devices/bank-1/commands");
    let answer = Command::new("curl").args(["-s", "-d", order, &commands]).output().unwrap();
    let killed = Command::new("kill").arg(demo.id().to_string()).status().unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(text(&answer.stdout).contains("\"outcome\":\"executed\""), "{}", text(&answer.stdout));
    assert!(killed.success() && demo.wait().unwrap().success());
    assert!(rest.iter().any(|line| line.starts_with('✓')), "{rest:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn under_systemd_log_lines_carry_their_priority_and_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let logged = |journal: bool| {
        let path = dir.path().join("log");
        let file = std::fs::File::create(&path).unwrap();
        let stream = file.metadata().unwrap();
        // A level that is none makes the one log line every command can be brought to write.
        let mut command = gatehouse(&["status", "--url", "http://127.0.0.1:9"]);
        command.env("GATEHOUSE_LOG", "loud").env_remove("JOURNAL_STREAM").stderr(file);
        if journal {
            command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
        }
        command.status().unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    assert!(logged(true).starts_with("<4>GATEHOUSE_LOG=`loud`"), "{}", logged(true));
    let plain = logged(false);
    assert!(plain.starts_with("20") && plain.contains("WARN") && !plain.contains("<4>"), "{plain}");
}
