//! The real binary over its life: what it does with good and bad configurations, signals, systemd, a second one of its
//! kind, a stop while everything hangs, silent devices, a cut cable, and what people and the centre say of tickets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gatehouse::sim::crm::Crm;
use gatehouse::sim::modbus::{Mood, Server, Units};
use gatehouse::time;
use gateway::{Gateway, beside, kinds, of_kind, text, until};
use serde_json::{Value as Json, json};

const STOP_MOST: Duration = Duration::from_secs(10);
/// Without wires, so that nothing but the daemon itself is looked at.
const NOTHING: &str = "";

/// A compound with one wire, on which devices with a point `level` each are polled quickly.
fn wired(server: &Server, devices: &[(&str, u8)], rest: &str) -> String {
    let mut text = format!(
        "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\ntimeout = \"100ms\"\n",
        server.address
    );
    for (id, unit) in devices {
        text += &format!(
            "[[device]]\nid = \"{id}\"\nchannel = \"plant\"\nunit = {unit}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n"
        );
    }
    text + rest
}

fn rule(id: &str, point: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\npoint = \"{point}\"\nabove = 100.0\n")
}

/// Two mistakes; the first is in line 9 of the file, since the gateway itself takes six.
const BAD: &str = "[[channel]]\nid = \"plant\"\ntype = \"modbus-tpc\"\n[[rule]]\nid = \"r\"\n\
    [[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:1/\"\ntoken = \"hunter2\"\n";

fn names_its_mistakes(said: &str, gateway: &Gateway) {
    let place = format!("{}:9:8", gateway.file().display());
    assert!(said.contains(&place), "no `{place}` in\n{said}");
    assert!(said.contains("point"), "not all mistakes at once in\n{said}");
    assert!(!said.contains("hunter2"), "a secret in\n{said}");
    assert!(said.contains("a secret must not stand"), "{said}");
}

fn names_its_cures(said: &str, gateway: &Gateway) {
    names_its_mistakes(said, gateway);
    assert!(said.contains("modbus-tcp"), "no cure in\n{said}");
}

// --- configurations ---

#[test]
fn a_bad_configuration_without_a_good_one_before_it_ends_with_78() {
    let gateway = Gateway::new("gw-bad");
    gateway.configure(BAD);
    for command in ["run", "check"] {
        let ran = gateway.ran(command);
        assert_eq!(ran.status.code(), Some(78), "{command}");
        names_its_cures(&text(&ran.stderr), &gateway);
        assert_eq!(text(&ran.stdout), "");
    }
    assert!(!gateway.data().exists(), "nothing was begun");

    fs::remove_file(gateway.file()).unwrap();
    for command in ["run", "check"] {
        let ran = gateway.ran(command);
        assert_eq!(ran.status.code(), Some(78), "{command} without a file");
        let said = text(&ran.stderr);
        assert!(said.contains(gateway.file().to_str().unwrap()), "{said}");
    }
    // Also on a machine where another gateway has its data in the usual place.
}

#[tokio::test]
async fn check_says_what_would_run_and_touches_nothing() {
    let server = Server::tcp(Units::default()).await.unwrap();
    let gateway = Gateway::new("gw-check");
    gateway.configure(&wired(&server, &[("pump-1", 1)], &rule("high", "pump-1.level")));
    let ran = gateway.ran("check");
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let said = text(&ran.stdout);
    for named in ["gw-check", "plant", "pump-1", "high"] {
        assert!(said.contains(named), "no `{named}` in\n{said}");
    }
    assert!(!gateway.data().exists(), "nothing was begun");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [&["run", "--nonsense"] as &[&str], &["rnu"], &[], &["check", "--config"]] {
        let ran = Command::new(env!("CARGO_BIN_EXE_gatehouse")).args(arguments).output().unwrap();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        assert!(!ran.stderr.is_empty());
    }
}

#[test]
fn started_with_a_bad_configuration_it_runs_with_the_last_good_one_and_says_so() {
    let mut gateway = Gateway::new("gw-last-good");
    gateway.configure(NOTHING);
    gateway.start();
    assert_eq!(gateway.get("/readyz").unwrap(), json!({ "ready": true, "degraded": null }));
    assert!(gateway.stop().0.success());

    gateway.configure(BAD);
    gateway.start();
    names_its_cures(&gateway.log(), &gateway);
    let ready = gateway.get("/readyz").unwrap();
    assert_eq!(ready["ready"], true);
    names_its_mistakes(ready["degraded"].as_str().unwrap(), &gateway);
    let told = gateway.until_told("gateway.config-rejected", 1);
    assert_eq!(told[0]["subject"], "gateways/gw-last-good");
    names_its_mistakes(told[0]["data"]["reason"].as_str().unwrap(), &gateway);

    // Put right, it is as it was.
    gateway.configure(NOTHING);
    gateway.reload();
    assert_eq!(gateway.get("/readyz").unwrap()["degraded"], Json::Null);
    assert!(gateway.stop().0.success());
    let events = gateway.journal();
    assert_eq!(of_kind(&events, "gateway.config-rejected").len(), 1);
    assert_eq!(
        of_kind(&events, "gateway.config-changed").len(),
        1,
        "the first one was new; nothing was since"
    );
}

#[test]
fn the_last_good_one_goes_on_with_the_data_that_it_lies_in_though_that_was_moved() {
    let mut gateway = Gateway::new("gw-moved");
    gateway.configure(NOTHING);
    gateway.start();
    assert!(gateway.stop().0.success());
    let (before, moved) = (gateway.data(), gateway.dir().join("new-disk"));
    fs::rename(&before, &moved).unwrap();
    gateway.keep_data_in(&moved);
    gateway.configure(BAD);
    gateway.start();
    gateway.until_told("gateway.config-rejected", 1);
    assert_eq!(of_kind(&gateway.events(), "gateway.started").len(), 2, "it is the same journal");
    assert!(!before.exists(), "nothing begins anew where it was");
    assert!(gateway.stop().0.success());
}

#[test]
fn where_the_last_good_one_cannot_be_run_with_either_that_is_what_is_said() {
    let mut gateway = Gateway::new("gw-no-longer");
    let key = gateway.dir().join("store-key");
    fs::write(&key, "0123456789abcdef".repeat(4)).unwrap();
    gateway.configure("[privacy]\nstore_key = { file = \"store-key\" }\n");
    gateway.start();
    assert!(gateway.stop().0.success());
    fs::remove_file(key).unwrap();
    let ran = gateway.ran("run");
    let said = text(&ran.stderr);
    assert_eq!(ran.status.code(), Some(78), "{said}");
    assert!(said.contains("the last good configuration cannot be run with any more"), "{said}");
    assert!(!said.contains("there is no last good configuration"), "{said}");
}

// --- wires ---

#[tokio::test]
async fn what_a_device_refuses_is_logged_with_its_channel_and_name() {
    let units = Units::default();
    for register in [0, 1, 3] {
        units.set_holding(1, register, 500); // 2 is missing
        units.set_holding(2, register, 500);
    }
    let server = Server::tcp(units).await.unwrap();
    let mut config = wired(&server, &[], "");
    for (id, unit, registers) in [("alone", 1, &[0_u16, 1, 2, 3] as &[u16]), ("between", 2, &[1, 3])] {
        config += &format!(
            "[[device]]\nid = \"{id}\"\nchannel = \"plant\"\nunit = {unit}\npoll = \"100ms\"\nmax_gap = 1\n"
        );
        for n in registers {
            config += &format!(
                "[[device.point]]\nid = \"p{n}\"\ntable = \"holding\"\nregister = {n}\ntype = \"u16\"\n"
            );
        }
    }
    beside(move || {
        let mut gateway = Gateway::new("gw-refused");
        gateway.configure(&config);
        gateway.start();
        let line = |device: &str| {
            let named = format!("device=\"{device}\"");
            gateway.until("it is logged", || {
                let log = gateway.log();
                let line = log.lines().find(|l| l.contains("A device refuses") && l.contains(&named));
                line.map(str::to_owned)
            })
        };
        let alone = line("alone");
        assert!(alone.contains("channel=\"plant\""), "{alone}");
        assert!(alone.contains("holding register 2 is refused (illegal data address)"), "{alone}");
        let between = line("between");
        assert!(between.contains("it is asked in parts") && !between.contains("refused="), "{between}");
    })
    .await;
}

// --- reloading ---

#[tokio::test]
async fn told_to_reload_a_bad_configuration_it_goes_on() {
    let units = Units::default();
    units.set_holding(1, 0, 500);
    let server = Server::tcp(units).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-reload-bad");
        gateway.configure(&wired(&server, &[("pump-1", 1)], &rule("high", "pump-1.level")));
        gateway.start();
        let opened = gateway.until_told("ticket.opened", 1);
        let (pid, api) = (gateway.pid(), gateway.api());

        gateway.configure(BAD);
        gateway.signal("HUP");
        let told = gateway.until_told("gateway.config-rejected", 1);
        names_its_mistakes(told[0]["data"]["reason"].as_str().unwrap(), &gateway);
        names_its_cures(&gateway.log(), &gateway);

        assert!(gateway.is_running());
        assert_eq!((gateway.pid(), gateway.api()), (pid, api), "the same house goes on");
        assert_eq!(gateway.tickets(), [opened[0]["data"].clone()], "tickets are untouched");
        let ready = gateway.get("/readyz").unwrap();
        names_its_mistakes(ready["degraded"].as_str().unwrap(), &gateway);
        assert!(gateway.stop().0.success());
        assert_eq!(of_kind(&gateway.journal(), "gateway.stopped").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn told_to_reload_a_good_configuration_it_changes_what_changed_and_nothing_else() {
    let units = Units::default();
    for unit in [1, 2] {
        units.set_holding(unit, 0, 500);
    }
    let server = Server::tcp(units).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-reload");
        let rules = rule("stays", "pump-1.level") + &rule("leaves", "pump-1.level");
        gateway.configure(&wired(&server, &[("pump-1", 1)], &rules));
        gateway.start();
        gateway.until_told("ticket.opened", 2);
        let pid = gateway.pid();
        // A guest in the middle of a request must not keep the port.
        let mut guest = TcpStream::connect(gateway.api().unwrap()).unwrap();
        guest.write_all(b"GET /healthz HTT").unwrap();

        gateway.listen = gateway.api().unwrap();
        let devices = [("pump-1", 1), ("pump-2", 2)];
        gateway.configure(&wired(&server, &devices, &rule("stays", "*.level")));
        gateway.reload();
        assert_eq!(gateway.pid(), pid);
        gateway.until("the new device answers", || {
            let points = gateway.get("/api/v1/points")?;
            let new = points["points"].as_array()?.iter().find(|p| p["id"] == "pump-2.level")?.clone();
            (new["value"] == 500.0).then_some(())
        });
        gateway.until_told("ticket.opened", 3);
        gateway.until_told("device.online", 2);

        let by_rule = |id: &str, device: &str| -> Vec<Json> {
            let of = |t: &Json| t["rule"] == id && t["device"] == device;
            gateway.tickets().into_iter().filter(of).collect()
        };
        let [left] = &by_rule("leaves", "pump-1")[..] else { panic!("{:?}", gateway.tickets()) };
        assert_eq!(
            (&left["state"], &left["by"], &left["note"]),
            (&json!("closed"), &json!("gateway"), &json!("configuration"))
        );
        let [stays] = &by_rule("stays", "pump-1")[..] else { panic!("{:?}", gateway.tickets()) };
        assert_eq!(
            (&stays["state"], &stays["occurrences"], &stays["revision"]),
            (&json!("open"), &json!(1), &json!(1))
        );
        assert_eq!(by_rule("stays", "pump-2").len(), 1);

        assert!(gateway.stop().0.success());
        let events = gateway.journal();
        assert_eq!(of_kind(&events, "gateway.config-changed").len(), 2, "the first, and this one");
        let reasons = |kind| -> Vec<Json> {
            of_kind(&events, kind).iter().map(|e| e["data"]["reason"].clone()).collect()
        };
        assert_eq!(
            (reasons("gateway.started"), reasons("gateway.stopped")),
            (vec![json!("start")], vec![json!("stop")])
        );
        let changes = of_kind(&events, "gateway.config-changed")[1]["data"]["changes"].to_string();
        for change in ["channel plant: restarts", "device pump-2: added on plant", "rule leaves: removed"] {
            assert!(changes.contains(change), "{changes}");
        }
        assert_eq!(of_kind(&events, "device.online").len(), 2, "once each: {:?}", kinds(&events));
    })
    .await;
}

#[test]
fn a_good_configuration_that_does_not_work_here_is_refused_and_the_one_before_goes_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut gateway = Gateway::new("gw-reload-taken");
    gateway.configure(NOTHING);
    gateway.start();
    gateway.listen = taken.local_addr().unwrap().to_string();
    gateway.configure(NOTHING);
    gateway.signal("HUP");
    let told = gateway.until_told("gateway.config-rejected", 1);
    let why = told[0]["data"]["reason"].as_str().unwrap();
    assert!(why.contains("[api] listen"), "{why}");
    assert!(gateway.get("/readyz").unwrap()["degraded"].as_str().unwrap().contains("[api] listen"));

    // Its data is not that of the gateway it is to become.
    gateway.listen = "127.0.0.1:0".to_owned();
    gateway.configure_as("gw-other", &gateway.data(), NOTHING);
    gateway.signal("HUP");
    let told = gateway.until_told("gateway.config-rejected", 2);
    let why = told[1]["data"]["reason"].as_str().unwrap();
    assert!(why.contains("`gw-reload-taken`") && why.contains("`gw-other`"), "{why}");
    assert!(gateway.stop().0.success());
    assert_eq!(of_kind(&gateway.journal(), "gateway.config-changed").len(), 1, "it was never in use");
}

// --- systemd ---

/// What systemd would hear.
struct Systemd(mpsc::Receiver<(Instant, String)>);

impl Systemd {
    fn listen(gateway: &mut Gateway) -> Self {
        let path = gateway.dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        gateway.set("NOTIFY_SOCKET", path.to_str().unwrap());
        let (hear, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = socket.recv(&mut bytes) {
                if hear.send((Instant::now(), text(&bytes[..length]))).is_err() {
                    return;
                }
            }
        });
        Self(heard)
    }

    /// The next message that is not the watchdog's.
    fn next(&self) -> String {
        loop {
            let (_, said) = self.0.recv_timeout(Duration::from_secs(30)).expect("systemd is told");
            if !said.contains("WATCHDOG=1") {
                return said;
            }
        }
    }

    fn fed(&self) -> Instant {
        loop {
            let (at, said) = self.0.recv_timeout(Duration::from_secs(30)).expect("the watchdog is fed");
            if said.contains("WATCHDOG=1") {
                return at;
            }
        }
    }
}

#[tokio::test]
async fn systemd_hears_of_ready_reload_stop_and_that_it_lives() {
    let units = Units::default();
    units.set_holding(1, 0, 1);
    let server = Server::tcp(units).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-systemd");
        let systemd = Systemd::listen(&mut gateway);
        gateway.set("WATCHDOG_USEC", "2000000");
        gateway.configure(&wired(&server, &[("pump-1", 1)], ""));
        gateway.spawn();
        assert!(systemd.next().contains("READY=1"));
        assert_eq!(gateway.get("/readyz").unwrap()["ready"], true, "ready means that the API answers");

        let fed: Vec<Instant> = (0..4).map(|_| systemd.fed()).collect();
        for pause in fed.windows(2).map(|two| two[1] - two[0]) {
            assert!(pause < Duration::from_secs(2), "systemd would have killed it after {pause:?}");
            assert!(pause > Duration::from_millis(200), "fed needlessly often: {pause:?}");
        }

        gateway.signal("HUP");
        let reloading = systemd.next();
        assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
        assert!(systemd.next().contains("READY=1"));
        systemd.fed();

        gateway.signal("TERM");
        assert!(systemd.next().contains("STOPPING=1"));
    })
    .await;
}

/// While another program holds the journal's write lock, intake stands in the middle of a commit.
#[tokio::test]
async fn the_watchdog_is_fed_by_intake_and_not_by_a_timer() {
    let units = Units::default();
    units.set_holding(1, 0, 1);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-watchdog");
        let systemd = Systemd::listen(&mut gateway);
        gateway.set("WATCHDOG_USEC", "400000");
        gateway.configure(&wired(&server, &[("pump-1", 1)], &rule("high", "pump-1.level")));
        gateway.start();
        gateway.until_told("device.online", 1);
        systemd.fed();

        let other = rusqlite::Connection::open(gateway.data().join("journal.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        units.set_holding(1, 0, 500);
        let begun = Instant::now();
        while systemd.0.recv_timeout(Duration::from_millis(500)).is_ok() {
            // SQLite waits five seconds for a lock before intake gets to show that it lives.
            assert!(begun.elapsed() < Duration::from_secs(3), "fed while intake stood still");
        }
        assert!(gateway.get("/healthz").is_some(), "the rest of the daemon goes on");
        let fed = systemd.0.recv_timeout(Duration::from_millis(1500));
        assert!(fed.is_err(), "fed while intake stood still: {fed:?}");
        assert!(gateway.tickets().is_empty(), "nobody is told before it is written");

        other.execute_batch("ROLLBACK").unwrap();
        systemd.fed();
        gateway.until_told("ticket.opened", 1);
        assert!(gateway.stop().0.success());
    })
    .await;
}

// --- the end ---

#[test]
fn it_stops_within_ten_seconds_whatever_hangs_and_the_next_start_goes_on_without_a_gap() {
    // A CRM that takes a request and never answers; a Modbus peer that does the same; a port where nobody is.
    let (crm, hangs, nobody) = (Mute::start(), Mute::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let nobody_at = nobody.local_addr().unwrap();
    drop(nobody);
    let mut gateway = Gateway::new("gw-stop");
    let channel = |id: &str, kind: &str| {
        format!(
            "[[channel]]\nid = \"{id}\"\n{kind}\n[[device]]\nid = \"d-{id}\"\nchannel = \"{id}\"\nunit = 1\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n"
        )
    };
    let missing = gateway.dir().join("no-such-port");
    let text = format!("[[sync]]\nname = \"crm\"\nurl = \"http://{}/events\"\n", crm.address)
        + &channel(
            "hangs",
            &format!("type = \"modbus-tcp\"\naddress = \"{}\"\ntimeout = \"30s\"", hangs.address),
        )
        + &channel("nobody", &format!("type = \"modbus-tcp\"\naddress = \"{nobody_at}\""))
        + &channel("gone", &format!("type = \"modbus-rtu\"\nport = \"{}\"", missing.display()));
    gateway.configure(&text);
    gateway.start();
    gateway.until_told("device.offline", 2);
    gateway.until("the CRM and the device have been asked", || (crm.asked() && hangs.asked()).then_some(()));
    // Someone waits for news, someone else is in the middle of a request.
    let mut waits = TcpStream::connect(gateway.api().unwrap()).unwrap();
    waits.write_all(b"GET /api/v1/events?after=999999&wait=60 HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut half = TcpStream::connect(gateway.api().unwrap()).unwrap();
    half.write_all(b"POST /api/v1/tickets/x/acknowledge HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        .unwrap();

    let (status, took) = gateway.stop();
    assert!(took < STOP_MOST, "a stop took {took:?}");
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    let first = gateway.journal();
    assert_eq!(kinds(&first).last().unwrap(), "gateway.stopped");
    assert_eq!(first.last().unwrap()["data"]["reason"], "stop");

    gateway.start();
    assert!(gateway.stop().0.success());
    let events = gateway.journal();
    assert_eq!(events[..first.len()], first[..], "what was told stays");
    assert_eq!(kinds(&events)[first.len()], "gateway.started");
    assert_eq!(kinds(&events).last().unwrap(), "gateway.stopped");
    let epochs: BTreeSet<&str> =
        events.iter().map(|e| e["id"].as_str().unwrap().split('/').nth(1).unwrap()).collect();
    assert_eq!(epochs.len(), 1);
}

/// Takes what it is sent, and never says a word.
struct Mute {
    address: std::net::SocketAddr,
    asked: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Mute {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mute = Self { address: listener.local_addr().unwrap(), asked: std::sync::Arc::default() };
        let asked = mute.asked.clone();
        std::thread::spawn(move || {
            for mut guest in listener.incoming().flatten() {
                let asked = asked.clone();
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while guest.read(&mut bytes).is_ok_and(|length| length > 0) {
                        asked.store(true, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
        });
        mute
    }

    fn asked(&self) -> bool {
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
    }
}

// --- two of a kind ---

/// Also where it was started by hand, by somebody whose files all may read; and where a backup went on.
#[test]
fn what_it_writes_nobody_else_may_read() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut gateway = Gateway::new("cp-017");
    let data = gateway.dir().join("new");
    gateway.keep_data_in(&data);
    gateway.configure(NOTHING);
    let read_by_others = || {
        let inside = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        let all: Vec<_> = inside.chain([data.clone()]).collect();
        for name in ["journal.db", "last-good.json"] {
            assert!(all.contains(&data.join(name)), "{all:?}");
        }
        let is_open =
            |path: &std::path::PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o077 > 0;
        all.into_iter().filter(is_open).collect::<Vec<_>>()
    };
    gateway.start();
    assert_eq!(read_by_others(), Vec::<std::path::PathBuf>::new(), "while it runs");
    assert!(gateway.stop().0.success());
    assert_eq!(read_by_others(), Vec::<std::path::PathBuf>::new());
    let restored = gateway.command("restore").arg(&data).arg("--force").output().unwrap();
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(read_by_others(), Vec::<std::path::PathBuf>::new(), "after a restore");
}

#[test]
fn data_belongs_to_one_daemon() {
    let mut gateway = Gateway::new("gw-first");
    gateway.configure(NOTHING);
    gateway.start();

    let data = gateway.data();
    let refused = |id: &str, words: &[&str]| {
        let second = Gateway::new(id);
        second.configure_as(id, &data, STRANGER);
        let ran = second.ran("run");
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap();
        for word in words {
            assert!(last.contains(word), "no `{word}` in {last}");
        }
    };
    let dir = data.to_str().unwrap();
    refused("gw-first", &[dir, "in use by another gatehouse"]);
    assert!(gateway.get("/readyz").is_some(), "the first one goes on");
    assert!(gateway.stop().0.success());
    refused("gw-second", &[dir, "`gw-first`", "`gw-second`"]);

    // And nobody has put another last good configuration into its place.
    gateway.configure(BAD);
    gateway.start();
    assert_eq!(gateway.get("/api/v1/devices").unwrap()["devices"], json!([]));
    let told = gateway.until_told("gateway.config-rejected", 1);
    assert_eq!(told[0]["source"], "/gateways/gw-first");
    assert!(gateway.stop().0.success());
    assert_eq!(of_kind(&gateway.journal(), "gateway.started").len(), 2);
}

/// Good, and with a device that shows where it runs.
const STRANGER: &str = "[[channel]]\nid = \"x\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:1\"\n\
    [[device]]\nid = \"stranger\"\nchannel = \"x\"\nunit = 1\n\
    [[device.point]]\nid = \"p\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n";

// --- devices and tickets ---

#[tokio::test]
async fn a_device_that_never_answers_gets_one_ticket_which_clears_when_it_does() {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    units.change(1, |unit| unit.mood = Mood::Silent);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-silent");
        let text = "builtin = { device-silent = \"2s\" }\n".to_owned();
        let config = wired(&server, &[("pump-1", 1)], "");
        let file = |gateway: &Gateway| {
            gateway.configure(&config);
            let written = fs::read_to_string(gateway.file()).unwrap();
            fs::write(gateway.file(), text.clone() + &written).unwrap();
        };
        file(&gateway);
        gateway.start();
        let opened = gateway.until_told("ticket.opened", 1);
        let ticket = &opened[0]["data"];
        assert_eq!((&ticket["rule"], &ticket["device"]), (&json!("device-silent"), &json!("pump-1")));
        assert_eq!(ticket["value"], Json::Null, "no number was read");
        gateway.until_told("device.offline", 1);

        // It is still silent, and that is still the same ticket and no news.
        assert!(gateway.stop().0.success());
        gateway.start();
        gateway.until("it has been asked in vain again, and again", || {
            let devices = gateway.get("/api/v1/devices")?;
            (devices["devices"][0]["state"] == "offline").then_some(())
        });
        assert_eq!(of_kind(&gateway.events(), "device.degraded").len(), 1, "nor is it degraded anew");
        units.set_mood(1, Mood::Answers);
        let cleared = gateway.until_told("ticket.cleared", 1);
        assert_eq!(cleared[0]["data"]["id"], ticket["id"]);
        gateway.until_told("device.online", 1);

        // It still answers after the next start, and that is no news either.
        assert!(gateway.stop().0.success());
        gateway.start();
        gateway.until("it answers", || {
            let points = gateway.get("/api/v1/points")?;
            (points["points"][0]["value"] == 5.0).then_some(())
        });
        assert!(gateway.stop().0.success());
        let events = gateway.journal();
        for kind in ["ticket.opened", "ticket.cleared", "device.offline", "device.online"] {
            assert_eq!(of_kind(&events, kind).len(), 1, "{kind} in {:?}", kinds(&events));
        }
        assert!(of_kind(&events, "ticket.reopened").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_cut_cable_is_one_ticket_which_the_first_answer_clears() {
    let units = Units::default();
    for unit in [1, 2] {
        units.set_holding(unit, 0, 5);
    }
    // The device server at the near end of the cable still opens its port.
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-cut");
        let builtin = "[builtin]\ndevice-silent = \"4s\"\nchannel-offline = \"1s\"\n";
        gateway.configure(&wired(&server, &[("pump-1", 1), ("pump-2", 2)], builtin));
        gateway.start();
        gateway.until("both are read", || {
            let points = gateway.get("/api/v1/points")?;
            let points = points["points"].as_array()?;
            points.iter().all(|point| point["value"] == 5.0).then_some(())
        });
        units.set_mood(1, Mood::Silent);
        units.set_mood(2, Mood::Silent);
        let opened = gateway.until_told("ticket.opened", 1);
        let ticket = &opened[0]["data"];
        assert_eq!((&ticket["rule"], &ticket["device"]), (&json!("channel-offline"), &Json::Null));
        gateway.until_told("device.offline", 2);
        // Beyond the silence for which each device alone would have a ticket.
        let at = |text: &Json| time::parse(text.as_str().unwrap()).unwrap();
        gateway.until("both have been silent for long", || {
            let gone = of_kind(&gateway.events(), "device.offline");
            gone.iter().all(|event| time::now() - at(&event["data"]["since"]) > 5000).then_some(())
        });
        units.set_mood(1, Mood::Answers);
        let cleared = gateway.until_told("ticket.cleared", 1);
        assert_eq!(cleared[0]["data"]["id"], ticket["id"]);
        // The one that is still gone is now silent for itself, as long as any other.
        let opened = gateway.until_told("ticket.opened", 2);
        let silent = &opened[1]["data"];
        assert_eq!((&silent["rule"], &silent["device"]), (&json!("device-silent"), &json!("pump-2")));
        let apart = at(&silent["opened_at"]) - at(&cleared[0]["data"]["cleared_at"]);
        assert!(apart >= 4000, "{apart} ms after the wire was back");
        assert!(gateway.stop().0.success());
        let events = gateway.journal();
        assert_eq!(of_kind(&events, "ticket.opened").len(), 2, "{:?}", kinds(&events));
        assert!(of_kind(&events, "ticket.reopened").is_empty(), "{:?}", kinds(&events));
    })
    .await;
}

#[tokio::test]
async fn people_move_a_ticket_once_and_close_it_only_when_its_condition_has_gone() {
    let units = Units::default();
    units.set_holding(1, 0, 500);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-people");
        gateway.configure(&wired(&server, &[("pump-1", 1)], &rule("high", "pump-1.level")));
        gateway.start();
        let ticket = gateway.until_told("ticket.opened", 1)[0]["data"].clone();
        // Of the ticket: a busy machine may tell of a device that was late, too.
        let told_of =
            |events: &[Json]| kinds(events).iter().filter(|kind| kind.starts_with("ticket.")).count();
        let head = || told_of(&gateway.events());
        for (verb, state, kind) in [
            ("acknowledge", "acknowledged", "ticket.acknowledged"),
            ("start", "in_progress", "ticket.started"),
            ("resolve", "resolved", "ticket.resolved"),
        ] {
            let (status, first) = gateway.act(&ticket, verb);
            assert_eq!((status, &first["state"]), (200, &json!(state)), "{verb}: {first}");
            assert_eq!((&first["by"], &first["note"]), (&json!("Wang"), &json!(verb)));
            let told = gateway.until_told(kind, 1);
            assert_eq!(told[0]["data"], first, "what was answered is what was told");
            let before = head();
            let (status, again) = gateway.act(&ticket, verb);
            assert_eq!((status, again), (200, first), "{verb} again is fine and changes nothing");
            assert_eq!(head(), before, "{verb} again is no event");
        }
        let before = head();
        let (status, problem) = gateway.act(&ticket, "close");
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().is_some(), "{problem}");
        assert_eq!((head(), &gateway.ticket(&ticket["id"])["state"]), (before, &json!("resolved")));

        units.set_holding(1, 0, 50);
        gateway.until_told("ticket.cleared", 1);
        let (status, closed) = gateway.act(&ticket, "close");
        assert_eq!((status, &closed["state"], &closed["by"]), (200, &json!("closed"), &json!("Wang")));
        let before = head();
        assert_eq!(gateway.act(&ticket, "close"), (200, closed));
        assert_eq!(head(), before);
        assert_eq!(gateway.act(&json!({ "id": "no-such" }), "start").0, 404);
        assert!(gateway.stop().0.success());
        let revisions = |e: &Json| {
            e["subject"].as_str().unwrap().starts_with("tickets/").then(|| e["data"]["revision"].clone())
        };
        let revisions: Vec<Json> = gateway.journal().iter().filter_map(revisions).collect();
        assert_eq!(revisions, [1, 2, 3, 4, 5, 6]);
    })
    .await;
}

#[tokio::test]
async fn the_centres_word_on_a_ticket_becomes_its_own_by_centre() {
    let units = Units::default();
    units.set_holding(1, 0, 500);
    let server = Server::tcp(units).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-centre");
        let sync = format!("[[sync]]\nname = \"crm\"\nurl = \"{}\"\n", crm.url());
        gateway.configure(&wired(&server, &[("pump-1", 1)], &(sync + &rule("high", "pump-1.level"))));
        gateway.start();
        let told = gateway.until_told("ticket.acknowledged", 1);
        let ticket = &told[0]["data"];
        assert_eq!((&ticket["by"], &ticket["external_id"]), (&json!("centre"), &json!("WO-000001")));
        let updated = gateway.until_told("ticket.updated", 1);
        assert_eq!(
            (&updated[0]["data"]["by"], &updated[0]["data"]["state"]),
            (&json!("centre"), &json!("open"))
        );
        assert!(gateway.stop().0.success());

        // What the centre said is told to the centre, too, the stop included; it says nothing twice.
        let journal = gateway.journal();
        let tickets = |kind: &String| kind.starts_with("ticket.");
        let told: Vec<String> = kinds(&journal).into_iter().filter(tickets).collect();
        assert_eq!(told, ["ticket.opened", "ticket.updated", "ticket.acknowledged"]);
        let arrived = until(|| (crm.arrivals().len() == journal.len()).then(|| crm.arrivals()));
        let arrived =
            arrived.unwrap_or_else(|| panic!("{} of {} arrived", crm.arrivals().len(), journal.len()));
        assert!(arrived.iter().zip(&journal).all(|(arrival, event)| event["id"] == *arrival.id));
    })
    .await;
}

#[tokio::test]
async fn what_was_read_of_each_device_is_told_to_the_centre_where_that_is_asked_for() {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-sums");
        let pumps = |summary: &str| {
            let store = format!("[store]\nsummary = \"{summary}\"\n");
            wired(&server, &[("pump-1", 1), ("pump-9", 9)], &store)
        };
        gateway.configure(&pumps("1d"));
        gateway.start();
        gateway.until("the pump is read", || {
            let points = gateway.get("/api/v1/points")?;
            (points["points"][0]["value"] == 5.0).then_some(())
        });
        // The part so far ends with the house.
        gateway.configure(&pumps("1h"));
        gateway.reload();
        let told = gateway.until_told("readings.summary", 2);
        let of = |device: &str| {
            let subject = format!("devices/{device}");
            told.iter().find(|event| event["subject"] == subject).unwrap()["data"].clone()
        };
        let (pump, silent) = (of("pump-1"), of("pump-9"));
        assert_eq!((&pump["whole"], &pump["parts"]), (&false.into(), &1.into()));
        let row = &pump["points"][0];
        assert_eq!(
            (&row["point"], &row["min"], &row["last"]),
            (&"pump-1.level".into(), &5.0.into(), &5.0.into())
        );
        assert!(row["count"].as_u64().unwrap() > 0);
        let row = &silent["points"][0];
        assert_eq!((&row["good"], &row["last"]), (&0.0.into(), &Json::Null), "{row}");
        gateway.stop();
    })
    .await;
}
