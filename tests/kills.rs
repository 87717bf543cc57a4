//! The real binary, killed at random moments under load while the CRM flaps between up, 503 and cutting the reply:
//! no gap in `seq`, no ticket lost, none opened twice, every event at the CRM and in order for its ticket.
//!
//! `KILLS=200 cargo test --release --test kills -- --nocapture` is the long run; without it there are 15.
//! `SEED=…` rolls the same dice again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

const UNITS: usize = 40;
const HIGH: u16 = 20000;
const LOW: u16 = 100;

/// Dice with a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Up,
    Unavailable,
    CutsTheReply,
}

/// A CRM on a plain socket that writes down every event in the order of arrival.
#[derive(Clone)]
struct Crm {
    port: u16,
    mood: Arc<Mutex<Mood>>,
    arrived: Arc<Mutex<Vec<Json>>>,
}

impl Crm {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let crm = Self {
            port: listener.local_addr().unwrap().port(),
            mood: Arc::new(Mutex::new(Mood::Up)),
            arrived: Arc::default(),
        };
        let serving = crm.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        crm
    }

    /// One connection; ends without a word when the daemon is killed in the middle of a request.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                if line == "\r\n" {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let events: Vec<Json> = serde_json::from_slice(&body).expect("a batch is a JSON array");
            let mood = *self.mood.lock().unwrap();
            if !matches!(mood, Mood::Unavailable) {
                self.arrived.lock().unwrap().extend(events);
            }
            let answer = match mood {
                Mood::Up => {
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                }
                Mood::Unavailable => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
                Mood::CutsTheReply => {
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"tick"
                }
            };
            stream.write_all(answer.as_bytes()).ok()?;
            if matches!(mood, Mood::CutsTheReply) {
                return None;
            }
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The load generator of `benches/`, and the line by which it is told what to serve.
struct Devices {
    _process: Running,
    control: BufReader<TcpStream>,
}

impl Devices {
    fn start(dir: &Path) -> (Self, u16) {
        let binary = dir.join("modsim");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/modsim.c");
        let cc = Command::new("cc").args(["-O2", "-o"]).arg(&binary).arg(&source).arg("-lm").status();
        assert!(cc.unwrap().success());
        let (port, control) = (free_port(), free_port());
        let mut command = Command::new(&binary);
        command.args(["--port", &port.to_string(), "--ctl", &control.to_string()]);
        command.args(["--devices", &UNITS.to_string(), "--units-per-port", "100", "--regs", "10"]);
        let mut process = Running(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut ready = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        let control = BufReader::new(TcpStream::connect(("127.0.0.1", control)).unwrap());
        (Self { _process: process, control }, port)
    }

    fn set(&mut self, unit: usize, value: u16) {
        writeln!(self.control.get_mut(), "set {unit} 9 {value}").unwrap();
        let mut answer = String::new();
        self.control.read_line(&mut answer).unwrap();
        assert!(answer.contains("ok"), "{answer}");
    }
}

fn configuration(dir: &Path, modbus: u16, api: u16, crm: u16) {
    let data = dir.join("data");
    let mut text = format!(
        "[gateway]\nid = \"kills\"\nname = \"kills\"\nlocale = \"en\"\ndata_dir = \"{}\"\n\
         [api]\nlisten = \"127.0.0.1:{api}\"\n\
         [[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{crm}/events\"\nbatch = 20\n\
         [[channel]]\nid = \"line\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:{modbus}\"\n",
        data.display()
    );
    for unit in 0..UNITS {
        write!(
            text,
            "[[device]]\nid = \"d{unit}\"\nchannel = \"line\"\nunit = {}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"r9\"\ntable = \"holding\"\nregister = 9\ntype = \"u16\"\n",
            unit + 1
        )
        .unwrap();
    }
    text += "[[rule]]\nid = \"high\"\npoint = \"*.r9\"\nabove = 10000\n\
             [[rule]]\nid = \"high-for-a-while\"\npoint = \"*.r9\"\nabove = 10000\non_delay = \"700ms\"\noff_delay = \"300ms\"\n";
    std::fs::write(dir.join("gatehouse.toml"), text).unwrap();
}

fn start(dir: &Path) -> Running {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(["run", "--config"]).arg(dir.join("gatehouse.toml"));
    Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

fn get(api: u16, path: &str) -> Option<Json> {
    let url = format!("http://127.0.0.1:{api}{path}");
    let answer = Command::new("curl").args(["-sf", "--max-time", "5", &url]).output().unwrap();
    serde_json::from_slice(&answer.stdout).ok()
}

/// The journal from its beginning.
fn journal(api: u16) -> Vec<Json> {
    let (mut events, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let path = format!("/api/v1/events?after={cursor}&limit=1000");
        let page = get(api, &path).expect("the API answers");
        let batch = page["events"].as_array().unwrap();
        if batch.is_empty() {
            return events;
        }
        events.extend(batch.iter().cloned());
        page["next"].as_str().unwrap().clone_into(&mut cursor);
    }
}

/// Polls `ready` until it is, for a minute at the most.
fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < end, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lag(api: u16) -> Option<u64> {
    get(api, "/api/v1/consumers")?["consumers"].as_array()?.iter().find(|c| c["name"] == "crm")?["lag"]
        .as_u64()
}

type Latest = BTreeMap<(String, String), Json>;

/// Walks the journal and checks what must hold of it alone. Returns the last word on each ticket by rule and point.
fn check_journal(events: &[Json]) -> Latest {
    let (mut latest, mut by_key) = (HashMap::<String, Json>::new(), Latest::new());
    for (n, event) in events.iter().enumerate() {
        let id = event["id"].as_str().unwrap();
        assert!(id.ends_with(&format!("/{}", n + 1)), "event {} has the id {id}: a gap", n + 1);
        let kind = event["type"].as_str().unwrap();
        let Some(kind) = kind.strip_prefix("gatehouse.ticket.") else {
            continue;
        };
        let ticket = &event["data"];
        let id = ticket["id"].as_str().unwrap().to_owned();
        let before = latest.get(&id).map_or(0, |t| t["revision"].as_u64().unwrap());
        assert_eq!(ticket["revision"].as_u64(), Some(before + 1), "revisions of {id}");
        let text = |key: &str| ticket[key].as_str().unwrap().to_owned();
        let key = (text("rule"), text("point"));
        if kind == "opened" {
            assert!(!by_key.contains_key(&key), "{key:?} was opened twice");
        }
        latest.insert(id, ticket.clone());
        by_key.insert(key, ticket.clone());
    }
    by_key
}

/// Every event of the journal has arrived, unchanged, and those of one ticket in order.
fn check_crm(events: &[Json], arrived: &[Json]) {
    let mut by_id = HashMap::<&str, &Json>::new();
    let mut revisions = HashMap::<&str, u64>::new();
    for event in arrived {
        let id = event["id"].as_str().unwrap();
        let first = by_id.insert(id, event);
        assert!(first.is_none_or(|first| first == event), "{id} has changed");
        if first.is_none() && event["type"].as_str().unwrap().starts_with("gatehouse.ticket.") {
            let last = revisions.entry(event["subject"].as_str().unwrap()).or_default();
            assert_eq!(
                event["data"]["revision"].as_u64(),
                Some(*last + 1),
                "{} came out of order",
                event["subject"]
            );
            *last += 1;
        }
    }
    for event in events {
        let kind = event["type"].as_str().unwrap();
        let told = by_id.get(event["id"].as_str().unwrap());
        assert_eq!(told, Some(&event), "{kind} did not arrive as it is in the journal");
    }
    assert_eq!(by_id.len(), events.len(), "the CRM has heard what the journal does not have");
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_doubled() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |v| v.parse().unwrap());
    let (kills, seed) = (number("KILLS", 15), number("SEED", 20_261_121));
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut devices, modbus) = Devices::start(dir.path());
    let crm = Crm::start();
    let api = free_port();
    configuration(dir.path(), modbus, api, crm.port);

    let mut told = HashMap::<String, Json>::new();
    for kill in 0..kills {
        let mut daemon = start(dir.path());
        let end = Instant::now() + Duration::from_millis(150 + dice.roll(1100));
        while Instant::now() < end {
            *crm.mood.lock().unwrap() =
                [Mood::Up, Mood::Up, Mood::Unavailable, Mood::CutsTheReply][dice.roll(4) as usize];
            devices.set(dice.roll(UNITS as u64) as usize, [LOW, HIGH][dice.roll(2) as usize]);
            // What a puller has been told must still be there at the end.
            if dice.roll(8) == 0
                && let Some(page) = get(api, "/api/v1/events?after=0&limit=1000")
            {
                for event in page["events"].as_array().unwrap() {
                    told.insert(event["id"].as_str().unwrap().to_owned(), event.clone());
                }
            }
            std::thread::sleep(Duration::from_millis(dice.roll(60)));
        }
        daemon.0.kill().unwrap();
        daemon.0.wait().unwrap();
        assert!(kill < kills);
    }

    // The dust settles: a last run with the CRM up and every device in a known state.
    *crm.mood.lock().unwrap() = Mood::Up;
    let mut daemon = start(dir.path());
    let high = |unit: usize| unit.is_multiple_of(2);
    for unit in 0..UNITS {
        devices.set(unit, if high(unit) { HIGH } else { LOW });
    }
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    wait_for("every ticket to be where its device is", || {
        let Some(page) = get(api, "/api/v1/tickets?limit=1000") else {
            return false;
        };
        let tickets = page["tickets"].as_array().unwrap();
        let settled = tickets.iter().all(|t| {
            let unit: usize = t["device"].as_str().unwrap()[1..].parse().unwrap();
            t["cleared_at"].is_null() == high(unit)
        });
        settled && tickets.iter().filter(|t| t["cleared_at"].is_null()).count() == UNITS
    });
    wait_for("the CRM to have it all", || lag(api) == Some(0));
    let events = journal(api);
    let latest = check_journal(&events);
    for rule in ["high", "high-for-a-while"] {
        for unit in (0..UNITS).filter(|unit| high(*unit)) {
            let ticket = latest.get(&(rule.to_owned(), format!("d{unit}.r9")));
            let ticket = ticket.unwrap_or_else(|| panic!("{rule} of d{unit} is lost; {}", log()));
            assert_eq!(ticket["state"], "open");
        }
    }
    check_crm(&events, &crm.arrived.lock().unwrap());
    for (id, event) in &told {
        let seq: usize = id.rsplit('/').next().unwrap().parse().unwrap();
        assert_eq!(&events[seq - 1], event, "{id} was told and is now another");
    }

    let pid = daemon.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let stopping = Instant::now();
    assert!(daemon.0.wait().unwrap().success());
    assert!(stopping.elapsed() < Duration::from_secs(10), "a stop took {:?}", stopping.elapsed());
    println!(
        "{kills} kills (seed {seed}): {} events without a gap, {} tickets, {} arrivals at the CRM, {} told events kept",
        events.len(),
        latest.len(),
        crm.arrived.lock().unwrap().len(),
        told.len()
    );
}
