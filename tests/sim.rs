//! The simulated compound is honest: programs that others wrote speak with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::BufRead;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::field::Context;
use gatehouse::field::serial::{self, Board, Feedback, FirstByte, Kind, Locker, Protocol, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, PointId, Site};
use gatehouse::sim::broker::Broker;
use gatehouse::sim::crm::{Crm, Mood as CrmMood};
use gatehouse::sim::lockers::Boards;
use gatehouse::sim::modbus::{self, Mood, Server, Units};
use gatehouse::sim::zigbee::Bridge;
use gatehouse::sim::{Compound, STEPS};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio_modbus::prelude::ExceptionCode;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(15);

/// Runs a program to its end without holding up the simulator, which lives in this thread.
async fn run(program: &'static str, args: Vec<String>) -> Output {
    let run = move || Command::new(program).args(args).stdin(Stdio::null()).output().expect("is installed");
    tokio::time::timeout(DEADLINE, tokio::task::spawn_blocking(run)).await.expect("ends").unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// What mbpoll prints of one read; `Err` is what it complains of.
async fn mbpoll(args: String) -> Result<Vec<String>, String> {
    let output = run("mbpoll", words(&args)).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let values = said.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]:"));
    let values: Vec<_> = values.map(|(_, value)| value.trim().to_owned()).collect();
    match values.is_empty() {
        true => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        false => Ok(values),
    }
}

fn two_units() -> Units {
    let units = Units::default();
    for (unit, word) in [(7, 3_200), (8, 40_000)] {
        units.set_holding(unit, 0, word);
        units.set_holding(unit, 1, 452);
        units.set_input(unit, 1, 312);
    }
    units.change(7, |unit| _ = unit.coils.insert(3, true));
    units
}

/// mbpoll against units, over TCP or RTU: values, another unit, a missing register, an exception, silence.
async fn mbpoll_reads(wire: &str, units: &Units) {
    let read = |unit: u8, more: &str| mbpoll(format!("-0 -1 -q -o 0.5 -a {unit} {more} {wire}"));
    assert_eq!(read(7, "-r 0 -c 2").await.unwrap(), ["3200", "452"]);
    assert!(read(8, "-r 0 -c 1").await.unwrap()[0].starts_with("40000"));
    assert_eq!(read(7, "-t 3 -r 1 -c 1").await.unwrap(), ["312"]);
    assert_eq!(read(7, "-t 0 -r 3 -c 1").await.unwrap(), ["1"]);
    assert!(read(7, "-r 9 -c 1").await.unwrap_err().contains("Illegal data address"));
    units.set_mood(7, Mood::Refuses(ExceptionCode::ServerDeviceFailure));
    assert!(read(7, "-r 0 -c 1").await.unwrap_err().contains("failure"));
    units.set_mood(7, Mood::Silent);
    assert!(read(7, "-r 0 -c 1").await.unwrap_err().contains("timed out"));
    assert_eq!(read(8, "-r 1 -c 1").await.unwrap(), ["452"], "the others go on");
    units.set_mood(7, Mood::Answers);
    units.set_holding(7, 0, 1_500);
    assert_eq!(read(7, "-r 0 -c 1").await.unwrap(), ["1500"]);
}

#[tokio::test]
async fn mbpoll_reads_the_simulator_over_tcp() {
    let units = two_units();
    let server = Server::tcp(units.clone()).await.unwrap();
    let (port, host) = (server.address.port(), server.address.ip());
    mbpoll_reads(&format!("-m tcp -p {port} {host}"), &units).await;
}

#[tokio::test]
async fn mbpoll_reads_the_simulator_over_a_pseudo_terminal_that_is_replugged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rs485");
    let units = two_units();
    let line = modbus::rtu(units.clone(), &path).await.unwrap();
    let wire = format!("-m rtu -b 9600 -P none {}", path.display());
    mbpoll_reads(&wire, &units).await;

    line.unplug().await;
    until("the port is gone", || !path.exists()).await;
    line.plug().await;
    until("the port is back", || path.exists()).await;
    assert_eq!(mbpoll(format!("-0 -1 -q -a 8 -r 1 {wire}")).await.unwrap(), ["452"]);
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

// --- the broker ---

fn mosquitto(program: &'static str, broker: SocketAddr, args: &str) -> impl Future<Output = Output> + use<> {
    run(program, words(&format!("-h 127.0.0.1 -p {} {args}", broker.port())))
}

async fn publish(broker: SocketAddr, args: &str) {
    assert!(mosquitto("mosquitto_pub", broker, args).await.status.success(), "{args}");
}

/// A subscriber that ends with its first messages; `speak` is repeated until it has.
async fn heard(broker: SocketAddr, args: &str, speak: &[&str]) -> Vec<String> {
    let sub = tokio::spawn(mosquitto("mosquitto_sub", broker, &format!("-v -W 10 {args}")));
    while !sub.is_finished() {
        for args in speak {
            publish(broker, args).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    String::from_utf8(sub.await.unwrap().stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn mosquitto_sub_hears_what_mosquitto_pub_says() {
    let broker = Broker::start().await.unwrap();
    let at = broker.address;
    for (sub_qos, pub_qos) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let said = format!("-q {pub_qos} -t z/door -m open");
        let heard = heard(at, &format!("-q {sub_qos} -C 1 -t z/door"), &[&said]).await;
        assert_eq!(heard, ["z/door open"]);
    }
    let both = ["-t a/b/c -m 1", "-t a/x/c -m 2"];
    assert_eq!(heard(at, "-C 2 -t a/+/c", &both).await.iter().collect::<BTreeSet<_>>().len(), 2);
    assert_eq!(heard(at, "-C 1 -t a/#", &["-t b -m no", "-t a -m yes"]).await, ["a yes"]);
    let many = "x".repeat(20_000);
    assert_eq!(heard(at, "-C 1 -t big", &[&format!("-q 1 -t big -m {many}")]).await, [format!("big {many}")]);
}

#[tokio::test]
async fn retained_messages_are_kept_replaced_and_deleted() {
    let broker = Broker::start().await.unwrap();
    let at = broker.address;
    publish(at, "-r -q 1 -t z/a -m old").await;
    publish(at, "-r -q 1 -t z/a -m new").await;
    publish(at, "-r -t z/b -m two").await;
    publish(at, "-r -q 1 -t z/b -n").await;
    publish(at, "-q 1 -t z/c -m passing").await;
    let all = mosquitto("mosquitto_sub", at, "-W 1 -F %t=%p=%r -t z/#").await;
    assert_eq!(String::from_utf8(all.stdout).unwrap().trim(), "z/a=new=1");
}

#[tokio::test]
async fn a_last_will_is_told_of_a_killed_client_and_not_of_one_that_says_goodbye() {
    let broker = Broker::start().await.unwrap();
    let at = broker.address;
    let port = at.port().to_string();
    let will = ["--will-topic", "gone", "--will-payload", "killed", "--will-retain", "--will-qos", "1"];
    let spawn = |more: &[&str]| {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port]).args(will).args(more).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut polite = spawn(&["-W", "1", "-t", "nothing"]);
    until("the polite one has left", || polite.try_wait().unwrap().is_some()).await;
    let nothing = mosquitto("mosquitto_sub", at, "-W 1 -C 1 -t gone").await;
    assert!(nothing.stdout.is_empty());

    // It has said its first message, so it was there.
    let mut killed = spawn(&["-t", "end"]);
    let mut said = std::io::BufReader::new(killed.stdout.take().unwrap());
    // The pipe stays open: a subscriber that cannot print would leave by itself.
    let first = tokio::task::spawn_blocking(move || said.read_line(&mut String::new()).map(|_| said));
    let deadline = Instant::now() + DEADLINE;
    while !first.is_finished() {
        assert!(Instant::now() < deadline, "the client never hears anything");
        publish(at, "-t end -m now").await;
    }
    let _pipe = first.await.unwrap().unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let told = mosquitto("mosquitto_sub", at, "-W 5 -C 1 -t gone").await;
    assert_eq!(String::from_utf8(told.stdout).unwrap().trim(), "killed");
}

#[tokio::test]
async fn the_zigbee_bridge_speaks_as_zigbee2mqtt_does() {
    let broker = Broker::start().await.unwrap();
    let bridge = Bridge::start(broker.address);
    bridge.set_available("b3-leak", true).await;
    bridge.set("b3-leak", json!({ "water_leak": false })).await;
    let state = heard(broker.address, "-C 1 -t zigbee2mqtt/b3-leak", &[]).await.remove(0);
    let state: Json = serde_json::from_str(state.split_once(' ').unwrap().1).unwrap();
    assert_eq!((&state["water_leak"], &state["battery"]), (&json!(false), &json!(97)));
    let available = heard(broker.address, "-C 1 -t zigbee2mqtt/b3-leak/availability", &[]).await;
    assert_eq!(available, [r#"zigbee2mqtt/b3-leak/availability {"state":"online"}"#]);
    drop(bridge);
    let deadline = Instant::now() + DEADLINE;
    while !heard(broker.address, "-C 1 -t zigbee2mqtt/bridge/state", &[]).await[0].contains("offline") {
        assert!(Instant::now() < deadline, "the bridge's last will is never told");
    }
}

// --- lockers ---

#[tokio::test]
async fn the_lockers_are_read_by_the_gateways_own_channel_and_survive_being_unplugged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lockers");
    let boards = Boards::default();
    boards.add(1);
    let line = boards.start(&path).await.unwrap();
    let port = Port {
        path: path.to_str().unwrap().into(),
        baud: 9600,
        parity: Parity::None,
        stop_bits: 1,
        rs485: false,
    };
    let board = Board {
        id: DeviceId(0),
        poll: Duration::from_millis(50),
        kind: Kind::Locker(Locker {
            address: 1,
            protocol: Protocol::LockBoard8a { feedback: Feedback::DoorClosing, first_byte: FirstByte::Last },
            cells: (0..12).map(PointId).collect(),
            items: vec![],
            commands: vec![],
        }),
    };
    let settings =
        Settings { wire: Wire::Serial(port), timeout: Duration::from_millis(200), boards: vec![board] };
    let (out, mut batches) = mpsc::channel::<Batch>(4);
    let stop = CancellationToken::new();
    let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
    tokio::spawn(serial::run("lockers".into(), settings, context));

    let mut next = async |wanted: &str| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "never: {wanted}");
            let batch = batches.recv().await.unwrap();
            let word = |r: &gatehouse::reading::Reading| match (&r.value, r.reason) {
                (Some(value), _) => value.to_string().chars().take(1).collect(),
                (None, reason) => format!("{} ", reason.unwrap().word()),
            };
            let cells: String = batch.readings.iter().map(word).collect();
            if cells == wanted {
                return;
            }
        }
    };
    next("cccccccccccc").await;
    boards.set_open(1, 2, true);
    boards.set_open(1, 12, true);
    next("coccccccccco").await;
    line.unplug().await;
    next(&"wire-down ".repeat(12)).await;
    boards.set_open(1, 2, false);
    line.plug().await;
    next("ccccccccccco").await;
    boards.set_silent(1, true);
    next(&"no-answer ".repeat(12)).await;
    stop.cancel();
}

// --- the CRM ---

async fn push(crm: &Crm, events: &Json) -> reqwest::Result<(u16, String)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let request =
        reqwest::Client::new().post(crm.url()).header("Content-Type", "application/cloudevents-batch+json");
    let response = request.body(events.to_string()).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn the_crm_remembers_each_event_once_and_gives_each_ticket_its_number() {
    let crm = Crm::start().await.unwrap();
    let event = |seq: u32, kind: &str, ticket: &str| {
        json!({ "id": format!("demo/e/{seq}"), "type": format!("gatehouse.{kind}"),
                "subject": format!("tickets/{ticket}"), "data": { "id": ticket, "revision": seq } })
    };
    let events = json!([
        event(1, "ticket.opened", "a"),
        event(2, "ticket.opened", "b"),
        event(3, "ticket.cleared", "a")
    ]);

    crm.set_mood(CrmMood::Refuses(503));
    assert_eq!(push(&crm, &events).await.unwrap().0, 503);
    crm.set_mood(CrmMood::Refuses(401));
    assert_eq!(push(&crm, &events).await.unwrap().0, 401);
    crm.set_mood(CrmMood::Portal);
    let (status, page) = push(&crm, &events).await.unwrap();
    assert!(status == 200 && page.starts_with("<html>"));
    assert!(crm.arrivals().is_empty());

    crm.set_mood(CrmMood::Cuts);
    push(&crm, &events).await.expect_err("no answer");
    crm.set_mood(CrmMood::Accepts);
    let (status, answer) = push(&crm, &events).await.unwrap();
    let answer: Json = serde_json::from_str(&answer).unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["tickets"].as_array().unwrap().len(), 2);
    assert_eq!(
        answer["tickets"][1],
        json!({ "id": "b", "revision": 2, "external_id": "WO-000002", "state": "acknowledged" })
    );
    let arrivals = crm.arrivals();
    assert_eq!(
        arrivals.iter().map(|a| a.times).collect::<Vec<_>>(),
        [2, 2, 2],
        "the cut batch had arrived, too"
    );
    assert_eq!(crm.tickets()["a"].len(), 2);
}

// --- the whole compound ---

#[tokio::test]
async fn the_compound_has_its_wires_and_a_script_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let compound = Compound::start(dir.path()).await.unwrap();
    let config = compound.config("127.0.0.1:8080".parse().unwrap(), dir.path());
    let toml: toml::Table = toml::from_str(&config).unwrap();
    assert!(!config.contains("@"), "all is filled in");
    let channels = toml["channel"].as_array().unwrap();
    let kinds: BTreeSet<_> = channels.iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.len(), 5);
    let devices: BTreeSet<_> =
        toml["device"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    assert!(devices.len() >= 12);
    let rules: BTreeSet<_> =
        toml["rule"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    for (rule, subject) in compound.expected() {
        assert!(rule == "device-silent" || rules.contains(&*rule), "{rule}");
        assert!(devices.contains(subject.split('.').next().unwrap()), "{subject}");
    }
    assert!(STEPS.is_sorted_by_key(|step| step.at) && STEPS.iter().all(|step| step.at <= 25));

    // Its first step, as a program of others sees it.
    let plant = channels.iter().find(|c| c["id"].as_str() == Some("plant")).unwrap();
    let address: SocketAddr = plant["address"].as_str().unwrap().parse().unwrap();
    let pressure = || mbpoll(format!("-0 -1 -q -m tcp -p {} -a 7 -r 0 {}", address.port(), address.ip()));
    assert_eq!(pressure().await.unwrap(), ["3200"]);
    let stop = CancellationToken::new();
    let (told, mut steps) = mpsc::channel(64);
    let play = compound.play(stop.clone(), told);
    let watch = async {
        let step = tokio::time::timeout(DEADLINE, steps.recv()).await.unwrap().unwrap();
        assert_eq!(step.what, STEPS[0].what);
        assert_eq!(pressure().await.unwrap(), ["1500"]);
        stop.cancel();
    };
    tokio::join!(play, watch);
}
