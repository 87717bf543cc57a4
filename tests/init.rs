//! `gatehouse init` as a person meets it: at a terminal, with a line that has two devices on it; then `check` and `run` with
//! what was written. And as a script meets it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
#[path = "ports/mod.rs"]
mod ports;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use gateway::{Gateway, text, until};
use ports::free_port;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

const PATIENCE: Duration = Duration::from_secs(90);
/// What a person may take, all in all.
const TWO_MINUTES: Duration = Duration::from_secs(120);
const QUESTIONS_MOST: usize = 12;
/// A person reads a question and thinks; then types, on a laptop in a pump room.
const TO_READ: Duration = Duration::from_secs(3);
const TO_TYPE: Duration = Duration::from_millis(500);

/// What is asked, and what the person types before Enter.
const TYPED: [(&str, &str); QUESTIONS_MOST] = [
    ("网关编号", "cp-017"),
    ("小区名称", "锦绣花园"),
    ("数据目录", ""),
    ("总线", "PORT"),
    ("什么协议", ""),
    ("地址 4", ""),
    ("设备编号", "b3-climate"),
    ("位置", "3号楼/地下室"),
    ("地址 7", ""),
    ("设备编号", "b3-meter"),
    ("位置", ""),
    ("写入", ""),
];

/// Ended with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn devices(mode: &str, at: &str, units: &[&str]) -> Peer {
    let server = Command::new("tests/.venv/bin/python")
        .args(["tests/peers/line_server.py", mode, at])
        .args(units)
        .stderr(Stdio::null())
        .spawn();
    Peer(server.expect("tests/.venv has the peers: `tests/run` makes it"))
}

/// A serial line with a climate sensor at unit 4 and a meter at unit 7; its near end.
fn line(dir: &Path) -> (Peer, Peer, String) {
    let end = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let ends = ["near", "far"].map(|name| format!("pty,raw,echo=0,link={}", end(name)));
    let socat = Peer(Command::new("socat").args(ends).spawn().expect("socat runs"));
    until(|| (dir.join("near").exists() && dir.join("far").exists()).then_some(())).expect("a line");
    let server = devices("rtu", &end("far"), &["4=climate", "7=meter"]);
    // It answers, seen by a master of others.
    let asked = || {
        let args =
            ["-m", "rtu", "-b", "9600", "-P", "none", "-1", "-q", "-0", "-a", "4", "-t", "3", "-r", "1"];
        Command::new("mbpoll").args(args).arg(end("near")).output().unwrap().status.success().then_some(())
    };
    until(asked).expect("the devices answer");
    (socat, server, end("near"))
}

/// A person at a terminal.
struct Person {
    child: Child,
    keyboard: File,
    screen: mpsc::Receiver<Vec<u8>>,
    seen: String,
    read_up_to: usize,
}

impl Person {
    fn sits_down(mut command: Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let near = || {
            let end =
                ioctl_tiocgptpeer(&keyboard, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
            Stdio::from(File::from(end.unwrap()))
        };
        let child = command.stdin(near()).stdout(near()).stderr(near()).spawn().unwrap();
        // It holds near ends until it is dropped, and the screen would never end.
        drop(command);
        let keyboard = File::from(keyboard);
        let mut from = keyboard.try_clone().unwrap();
        let (shown, screen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = from.read(&mut bytes) {
                if n == 0 || shown.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, screen, seen: String::new(), read_up_to: 0 }
    }

    /// Waits until this is on the screen, below what was read before.
    fn reads(&mut self, what: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.read_up_to..].find(what) {
                self.read_up_to += at + what.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            let more = self.screen.recv_timeout(left);
            let more = more.unwrap_or_else(|_| panic!("`{what}` is not on the screen:\n{}", self.seen));
            // A character may come in two pieces; none of those that are waited for does harm when it is lost.
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    fn types(&mut self, what: &str) {
        writeln!(self.keyboard, "{what}").unwrap();
    }

    fn waits(&mut self) -> bool {
        let status = until(|| self.child.try_wait().unwrap()).expect("it ends");
        while let Ok(more) = self.screen.recv_timeout(Duration::from_millis(200)) {
            self.seen.push_str(&String::from_utf8_lossy(&more));
        }
        status.success()
    }
}

fn init(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.arg("init").arg("--config").arg(dir).args(arguments).env("LANG", "zh_CN.UTF-8");
    command.env_remove("LC_ALL").env_remove("LC_MESSAGES");
    command
}

fn ran(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_person_has_two_devices_running_in_two_minutes() {
    let line_dir = tempfile::tempdir().unwrap();
    let (_socat, _server, port) = line(line_dir.path());
    let mut gateway = Gateway::new("cp-017");

    let begun = Instant::now();
    let mut person = Person::sits_down(init(&["--listen", "127.0.0.1:0"], gateway.dir()));
    let mut keys = 0;
    for (question, answer) in TYPED {
        person.reads(question);
        person.reads("]: ");
        // A port is a number of the list, where it has the name of an adapter.
        keys += if answer == "PORT" { 2 } else { answer.chars().count() + 1 };
        person.types(if answer == "PORT" { &port } else { answer });
    }
    assert!(person.waits(), "{}", person.seen);
    let machine = begun.elapsed();
    let asked = person.seen.matches("]: ").count();
    let person_s = machine + TO_READ * asked as u32 + TO_TYPE * keys as u32;
    println!(
        "init: {asked} questions, {keys} keystrokes; {:.1} s of the machine, {:.0} s with a person's reading and typing",
        machine.as_secs_f64(),
        person_s.as_secs_f64()
    );
    println!("{}", person.seen);
    assert!(asked <= QUESTIONS_MOST, "{asked} questions");
    assert!(person_s <= TWO_MINUTES, "{person_s:?}");
    assert!(person.seen.contains("1) xy-md02  temperature 23.1 °C, humidity 54.6 %"), "{}", person.seen);
    assert!(person.seen.contains("1) sdm120  voltage 230.2 V"), "{}", person.seen);
    assert!(person.seen.contains("gatehouse check --config"), "the next command: {}", person.seen);

    let checked = gateway.ran("check");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let said = text(&checked.stdout);
    assert!(said.contains("b3-climate: unit 4") && said.contains("b3-meter: unit 7"), "{said}");
    let written = fs::read_to_string(gateway.file()).unwrap();
    assert!(written.starts_with("#:schema ./gatehouse.schema.json\n"), "{written}");
    let schema = fs::read_to_string(gateway.dir().join("gatehouse.schema.json")).unwrap();
    assert_eq!(schema, fs::read_to_string("config/gatehouse.schema.json").unwrap(), "that of this version");
    assert!(
        written.contains("rules   = true") && written.contains("place   = \"3号楼/地下室\""),
        "{written}"
    );

    gateway.start();
    for (point, value) in [
        ("b3-climate.temperature", 23.1),
        ("b3-climate.humidity", 54.6),
        ("b3-meter.voltage", 230.2),
        ("b3-meter.energy", 1234.5),
    ] {
        let read = gateway.until(point, || {
            let points = gateway.get("/api/v1/points")?;
            let row = points["points"].as_array()?.iter().find(|row| row["id"] == *point)?.clone();
            (row["quality"] == "good").then_some(row["value"].as_f64()?)
        });
        assert!((read - value).abs() < 1e-3, "{point}: {read}");
    }
    println!("init → check → run: all read after {:.1} s of the machine", begun.elapsed().as_secs_f64());
    gateway.stop();
}

#[test]
fn nobody_at_the_keyboard_is_said_and_flags_answer_for_a_script() {
    let dir = tempfile::tempdir().unwrap();
    let alone = ran(init(&[], dir.path()));
    assert_eq!(alone.status.code(), Some(2));
    assert!(text(&alone.stderr).contains("--yes"), "{}", text(&alone.stderr));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    for (flag, value, cure) in [
        ("--id", "Böse ID", "a-z 0-9 -"),
        ("--timezone", "Mars/Olympus", "Asia/Shanghai"),
        ("--data-dir", "here", "/var/lib/gatehouse"),
        ("--address", "nowhere", "192.0.2.10:502"),
        ("--type", "osmosis", "osdp"),
    ] {
        let wrong = ran(init(&["--yes", "--locale", "en", "--no-scan", flag, value], dir.path()));
        let told = text(&wrong.stderr);
        assert_eq!(wrong.status.code(), Some(2), "{flag}: {told}");
        assert!([flag, value, cure].iter().all(|word| told.contains(word)), "{flag}: {told}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{flag}");
    }

    let port = free_port();
    let at = format!("127.0.0.1:{port}");
    let _devices = devices("tcp", &port.to_string(), &["3=meter", "4=climate", "9=odd"]);
    until(|| TcpStream::connect(&at).ok()).expect("the devices are there");
    let flags = [
        "--yes",
        "--locale",
        "en",
        "--id",
        "cp-018",
        "--name",
        "Riverside",
        "--address",
        &at,
        "--type",
        "modbus-tcp",
        "--to",
        "10",
        "--device",
        "4=xy-md02,cellar-climate,Building 3/Cellar",
        "--device",
        "8=sdm230",
    ];
    let shown = ran(init(&[&flags[..], &["--dry-run"]].concat(), dir.path()));
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a dry run writes nothing");
    let page = text(&shown.stdout);
    for part in [
        "id       = \"cp-018\"",
        "name     = \"Riverside\"",
        "locale   = \"en\"",
        "id      = \"sdm120-3\"",
        "id      = \"cellar-climate\"",
        "place   = \"Building 3/Cellar\"",
        "id      = \"sdm230-8\"",
        "# 9 (holding register 0 = 0xABCD) answers, and no profile fits",
        "# id      = \"unit-9\"",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }

    let written = ran(init(&flags, dir.path()));
    assert!(written.status.success(), "{}", text(&written.stderr));
    let file = dir.path().join("gatehouse.toml");
    assert_eq!(fs::read_to_string(&file).unwrap(), page, "what was shown is what is written");
    let again = ran(init(&flags, dir.path()));
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    let forced = ran(init(&[&flags[..], &["--force", "--name", "Lakeside"]].concat()[..], dir.path()));
    assert_eq!(forced.status.code(), Some(2), "a flag is given once: {}", text(&forced.stderr));
    let forced = ran(init(&["--yes", "--force", "--no-scan", "--address", &at], dir.path()));
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    assert_ne!(fs::read_to_string(&file).unwrap(), page);
}

#[test]
fn who_tells_of_people_gets_a_key_that_is_nobody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--yes", "--no-scan", "--port", "/dev/ttyS9", "--type", "osdp", "--device", "1=osdp-reader"];
    let written = ran(init(&flags, dir.path()));
    assert!(written.status.success(), "{}", text(&written.stderr));
    let key = dir.path().join("privacy-key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(&key).unwrap();
    assert!(!text(&written.stderr).contains(secret.trim()), "a secret is not shown");
    let mut check = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    check.args(["check", "--config"]).arg(dir.path());
    let checked = ran(check);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    assert!(text(&checked.stdout).contains("cards and people are told as pseudonyms"));
}

/// What is written for who answers there.
fn written(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let shown = ran(init(&[&["--yes", "--dry-run"], arguments].concat(), dir.path()));
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    text(&shown.stdout)
}

#[test]
fn a_meter_is_known_by_its_number_and_a_reader_by_its_answer() {
    let (meter, reader) = (free_port().to_string(), free_port().to_string());
    let peer = |script: &str, arguments: &[&str]| {
        let mut python = Command::new("tests/.venv/bin/python");
        python.arg(format!("tests/peers/{script}")).args(arguments);
        Peer(python.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let _meter = peer("dlt645_server.py", &[&meter, "123456781012"]);
    let _reader = peer("osdp_reader.py", &["tcp", &reader, "1"]);
    let there = |port: &str| until(|| TcpStream::connect(format!("127.0.0.1:{port}")).ok()).expect("a peer");
    drop((there(&meter), there(&reader)));
    let page = written(&["--address", &format!("127.0.0.1:{meter}"), "--type", "serial", "--to", "2"]);
    // It puts its address on the wire as it is written; printed it is the other way round.
    assert!(page.contains("profile = \"dlt645\"") && page.contains("address = \"121078563412\""), "{page}");
    let page = written(&["--address", &format!("127.0.0.1:{reader}"), "--type", "osdp", "--to", "2"]);
    assert!(page.contains("id      = \"reader-1\"") && page.contains("[privacy]"), "{page}");
}

#[test]
fn the_topics_of_a_broker_are_devices() {
    let port = free_port().to_string();
    let mosquitto = Command::new("mosquitto").args(["-p", &port]).stderr(Stdio::null()).spawn();
    let _broker = Peer(mosquitto.expect("mosquitto runs"));
    until(|| TcpStream::connect(format!("127.0.0.1:{port}")).ok()).expect("the broker is there");
    for topic in [
        "zigbee2mqtt/b3-leak",
        "zigbee2mqtt/bridge/state",
        "zigbee2mqtt/0x00158d0001",
        "tele/lamps/LWT",
        "zigbee2mqtt/水泵房漏水",
        "zigbee2mqtt/配电房漏水",
    ] {
        let told = Command::new("mosquitto_pub").args(["-p", &port, "-r", "-t", topic, "-m", "{}"]).status();
        assert!(told.unwrap().success());
    }
    let page = written(&["--address", &format!("mqtt://127.0.0.1:{port}"), "--locale", "en"]);
    for part in [
        "id      = \"b3-leak\"",
        "profile = \"zigbee2mqtt-leak\"",
        "topic   = \"tele/lamps\"",
        // No id can be made of these names.
        "id      = \"sensor\"",
        "id      = \"sensor-2\"",
        "# zigbee2mqtt/0x00158d0001 (retained) answers, and no profile fits",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }
    assert!(!page.contains("bridge"), "{page}");
}
