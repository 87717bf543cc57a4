//! The real binary, killed at random moments under load while its CRM lies and a puller dies as well: no gap in `seq`,
//! no ticket lost, none opened twice, and at CRM and puller each event once, those of a ticket in order.
//!
//! `KILLS=1000 cargo test --release --test kills -- --nocapture` is the long run; without it there are 12.
//! `SEED=…` rolls the same dice again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kills_peers;
mod ports;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kills_peers::crm::Crm;
use kills_peers::puller::{self, Store};
use kills_peers::{Dice, Told};
use ports::free_port;
use serde_json::Value as Json;

const UNITS: usize = 40;
const HIGH: u16 = 20000;
const LOW: u16 = 100;

/// A child that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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
        let order = format!("set {unit} 9 {value}\n");
        self.control.get_mut().write_all(order.as_bytes()).unwrap();
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
         [[consumer]]\nname = \"{puller}\"\nrequired = true\n\
         [[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{crm}/events\"\nbatch = 20\n\
         [[channel]]\nid = \"line\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:{modbus}\"\n",
        data.display(),
        puller = puller::NAME,
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
    text += "[[rule]]\nid = \"high\"\npoint = \"*.r9\"\nabove = 10000\nchatter = false\n\
             [[rule]]\nid = \"high-for-a-while\"\npoint = \"*.r9\"\nabove = 10000\non_delay = \"700ms\"\noff_delay = \"300ms\"\nchatter = { times = 5, within = \"10s\" }\n";
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

/// The journal from its beginning, and the last word on each ticket.
fn journal(api: u16) -> (Vec<Told>, HashMap<String, Json>) {
    let (mut events, mut tickets, mut cursor) = (Vec::new(), HashMap::new(), "0".to_owned());
    loop {
        let path = format!("/api/v1/events?after={cursor}&limit=1000");
        let page = get(api, &path).expect("the API answers");
        let batch = page["events"].as_array().unwrap();
        if batch.is_empty() {
            return (events, tickets);
        }
        for event in batch {
            let told = Told::of(event);
            if let Some((id, _)) = &told.ticket {
                tickets.insert(id.clone(), event["data"].clone());
            }
            events.push(told);
        }
        page["next"].as_str().unwrap().clone_into(&mut cursor);
    }
}

/// All tickets, as the API shows them.
fn tickets(api: u16) -> Option<HashMap<String, Json>> {
    let (mut tickets, mut after) = (HashMap::new(), String::new());
    loop {
        let page = get(api, &format!("/api/v1/tickets?limit=1000{after}"))?;
        let some = page["tickets"].as_array()?;
        tickets.extend(some.iter().map(|ticket| (ticket["id"].as_str().unwrap().to_owned(), ticket.clone())));
        match page["next"].as_str() {
            Some(next) if !some.is_empty() => after = format!("&after={next}"),
            _ => return Some(tickets),
        }
    }
}

/// Polls `ready` until it is, for two minutes at the most.
fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < end, "waited two minutes for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn lag(api: u16, consumer: &str) -> Option<u64> {
    let consumers = get(api, "/api/v1/consumers")?;
    consumers["consumers"].as_array()?.iter().find(|c| c["name"] == consumer)?["lag"].as_u64()
}

/// What must hold of the journal alone: numbers and revisions without gaps, no ticket opened twice.
fn check_journal(events: &[Told], tickets: &HashMap<String, Json>) {
    let (mut revisions, mut opened) = (HashMap::<&str, u64>::new(), HashMap::<(&str, &str), &str>::new());
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event.seq(), n as u64 + 1, "a gap before {}", event.id);
        let Some((ticket, revision)) = &event.ticket else { continue };
        let last = revisions.insert(ticket, *revision).unwrap_or_default();
        assert_eq!(*revision, last + 1, "revisions of {ticket}");
        if event.kind == "ticket.opened" {
            let of = |key: &str| tickets[ticket][key].as_str().unwrap();
            let before = opened.insert((of("rule"), of("point")), ticket);
            assert_eq!(before, None, "{} of {} was opened twice", of("rule"), of("point"));
        }
    }
}

/// Who keeps each event by its `id` has what the journal has, and heard the events of each ticket in order.
fn check_once(who: &str, journal: &[Told], arrived: &[Told]) {
    let (mut by_id, mut revisions) = (HashMap::<&str, &Told>::new(), HashMap::<&str, u64>::new());
    for event in arrived {
        let first = by_id.insert(&event.id, event);
        assert!(first.is_none_or(|first| first == event), "{who}: {} has changed", event.id);
        if let (None, Some((ticket, revision))) = (first, &event.ticket) {
            let last = revisions.insert(ticket, *revision).unwrap_or_default();
            assert_eq!(*revision, last + 1, "{who}: {ticket} came out of order");
        }
    }
    for event in journal {
        assert_eq!(by_id.get(&*event.id), Some(&event), "{who} has not heard {} as it is", event.id);
    }
    assert_eq!(by_id.len(), journal.len(), "{who} has heard what the journal does not have");
}

/// Which rule of which device has not the ticket that it should have: one that stands where it is high, none where it is not.
fn unsettled(tickets: &HashMap<String, Json>, high: impl Fn(usize) -> bool) -> Vec<String> {
    let standing = |rule: &str, point: &str| {
        let of = tickets.values().filter(|t| t["rule"] == rule && t["point"] == point);
        of.filter(|t| t["cleared_at"].is_null()).count()
    };
    let rules = ["high", "high-for-a-while"];
    let places = (0..UNITS).flat_map(|unit| rules.map(|rule| (unit, rule, format!("d{unit}.r9"))));
    let places = places.map(|(unit, rule, point)| (standing(rule, &point), high(unit), rule, point));
    let wrong = places.filter(|(standing, high, ..)| *standing != usize::from(*high));
    wrong.map(|(standing, _, rule, point)| format!("{rule} of {point}: {standing}")).collect()
}

/// What it is doing, as far as that can be seen from outside.
fn under_way(daemon: &Child, crm: &Crm) -> &'static str {
    match () {
        () if writes_the_journal(daemon.id()) => "writing the journal",
        () if crm.is_asked() => "pushing",
        () => "between",
    }
}

/// Whether its thread `intake` is in a call that writes or syncs.
fn writes_the_journal(pid: u32) -> bool {
    let calls: &[&str] = match std::env::consts::ARCH {
        "x86_64" => &["1", "18", "20", "74", "75", "77"],
        _ => &["46", "64", "66", "68", "82", "83"],
    };
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads = threads.map(|thread| thread.path());
    let intake =
        threads.find(|path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "intake\n"));
    let call = intake.and_then(|path| std::fs::read_to_string(path.join("syscall")).ok()).unwrap_or_default();
    calls.contains(&call.split(' ').next().unwrap_or_default())
}

/// Until its API listens; a start that fails is no kill.
fn wait_until_up(daemon: &mut Running, api: u16, dir: &Path) {
    wait_for("the API", || {
        let ended = daemon.0.try_wait().unwrap();
        assert_eq!(ended, None, "it ended by itself: {}", log(dir));
        TcpStream::connect(("127.0.0.1", api)).is_ok()
    });
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}

/// The puller, alive or about to be born again.
struct Pulling {
    process: Option<Running>,
    /// By its own hand, by ours.
    deaths: (u64, u64),
}

impl Pulling {
    fn keep_alive(&mut self, dir: &Path, api: u16, dice: &mut Dice) {
        let ended = self.process.as_mut().and_then(|running| running.0.try_wait().unwrap());
        if let Some(status) = ended {
            let log = std::fs::read_to_string(dir.join("puller.log")).unwrap_or_default();
            assert_eq!(status.code(), Some(puller::DIED), "the puller complains: {log}");
            self.deaths.0 += 1;
            self.process = None;
        }
        if self.process.is_none() {
            let mut command = puller::command("puller_process", dir, api, 1 + dice.roll(1 << 40), false);
            self.process = Some(Running(command.spawn().unwrap()));
        }
    }

    fn kill(&mut self) {
        if let Some(mut running) = self.process.take()
            && running.0.try_wait().unwrap().is_none()
        {
            running.0.kill().unwrap();
            running.0.wait().unwrap();
            self.deaths.1 += 1;
        }
    }
}

/// The puller's life, when this program is started as the puller; nothing otherwise.
#[test]
fn puller_process() {
    puller::live();
}

#[test]
fn killed_at_random_moments_nothing_is_lost_and_nothing_doubled() {
    let number = |name: &str, default| std::env::var(name).map_or(default, |v| v.parse().unwrap());
    let (kills, seed) = (number("KILLS", 12), number("SEED", 20_261_122));
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut devices, modbus) = Devices::start(dir.path());
    let crm = Crm::start(seed + 1);
    let api = free_port();
    configuration(dir.path(), modbus, api, crm.port);

    let began = Instant::now();
    let mut fell = BTreeMap::<&str, u64>::new();
    let mut pulling = Pulling { process: None, deaths: (0, 0) };
    for _ in 0..kills {
        let mut daemon = start(dir.path());
        let early = dice.one_in(10);
        if early {
            std::thread::sleep(Duration::from_millis(dice.roll(120)));
        } else {
            wait_until_up(&mut daemon, api, dir.path());
        }
        let end = Instant::now() + Duration::from_millis(if early { 0 } else { 50 + dice.roll(850) });
        while Instant::now() < end {
            for _ in 0..1 + dice.roll(4) {
                devices.set(dice.roll(UNITS as u64) as usize, [LOW, HIGH][dice.roll(2) as usize]);
            }
            pulling.keep_alive(dir.path(), api, &mut dice);
            if dice.one_in(60) {
                pulling.kill();
            }
            std::thread::sleep(Duration::from_millis(dice.roll(20)));
        }
        *fell.entry(if early { "starting" } else { under_way(&daemon.0, &crm) }).or_default() += 1;
        daemon.0.kill().unwrap();
        daemon.0.wait().unwrap();
    }
    let took = began.elapsed();

    // The dust settles: a last run with an honest CRM, a puller that lives, and every device in a known state.
    crm.be_honest();
    pulling.kill();
    let mut daemon = start(dir.path());
    let _puller = Running(puller::command("puller_process", dir.path(), api, 7, true).spawn().unwrap());
    let high = |unit: usize| unit.is_multiple_of(2);
    for unit in 0..UNITS {
        devices.set(unit, if high(unit) { HIGH } else { LOW });
    }
    wait_for("every ticket to be where its device is", || {
        tickets(api).is_some_and(|tickets| unsettled(&tickets, high).is_empty())
    });
    wait_for("the CRM to have it all", || lag(api, "crm") == Some(0));
    wait_for("the puller to have it all", || lag(api, puller::NAME) == Some(0));

    let (events, last_words) = journal(api);
    let shown = tickets(api).unwrap();
    check_journal(&events, &last_words);
    for (id, ticket) in &shown {
        assert_eq!(last_words.get(id), Some(ticket), "the last word on {id} is not what the API shows");
    }
    assert_eq!(shown.len(), last_words.len(), "tickets are lost");
    assert_eq!(unsettled(&shown, high), Vec::<String>::new());
    let (arrived, (pulled, _)) = (crm.arrived(), Store::at(dir.path()).read());
    check_once("the CRM", &events, &arrived);
    check_once("the puller", &events, &pulled);
    assert_eq!(pulled, events, "who stores the cursor with the events gets each once");

    let pid = daemon.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let stopping = Instant::now();
    assert!(daemon.0.wait().unwrap().success());
    assert!(stopping.elapsed() < Duration::from_secs(20), "a stop took {:?}", stopping.elapsed());
    println!(
        "{kills} kills in {:.0} s (seed {seed}); they fell: {fell:?}\n\
         the CRM: {:?}\n\
         the puller: died {} times by its own hand, {} by ours\n\
         {} events without a gap, {} tickets; the CRM heard {} events, {} of them again; the puller stored each once",
        took.as_secs_f64(),
        crm.moods(),
        pulling.deaths.0,
        pulling.deaths.1,
        events.len(),
        shown.len(),
        arrived.len(),
        arrived.len() - events.len(),
    );
}
