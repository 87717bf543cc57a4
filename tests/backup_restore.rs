//! `gatehouse backup` beside a writer that never rests, and `gatehouse restore` onto another box: tickets go on under a new epoch, the CRM and a
//! puller have each event once in effect, and what must not be overwritten is not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gatehouse::event::Draft;
use gatehouse::store::{self, Kind, Page};
use gatehouse::time;
use rusqlite::Connection;
use serde_json::{Value as Json, json};

mod gateway;
use gateway::{Gateway, of_kind, text, until};

/// A pump house on Modbus TCP: registers that a test turns.
struct Plant {
    port: u16,
    registers: Arc<Mutex<[u16; 3]>>,
}

impl Plant {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let plant =
            Self { port: listener.local_addr().unwrap().port(), registers: Arc::new(Mutex::new([300; 3])) };
        let registers = plant.registers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registers = registers.clone();
                std::thread::spawn(move || serve_registers(stream, &registers));
            }
        });
        plant
    }

    fn set(&self, register: usize, value: u16) {
        self.registers.lock().unwrap()[register] = value;
    }
}

fn serve_registers(mut stream: TcpStream, registers: &Mutex<[u16; 3]>) -> Option<()> {
    loop {
        let mut asked = [0; 12];
        stream.read_exact(&mut asked).ok()?;
        let (first, count) = (usize::from(asked[9]), usize::from(asked[11]));
        let values = registers.lock().unwrap()[first..first + count].to_vec();
        let bytes = (2 * count) as u8;
        let mut answer = asked[..4].to_vec();
        answer.extend([0, bytes + 3, asked[6], asked[7], bytes]);
        answer.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        stream.write_all(&answer).ok()?;
    }
}

/// A CRM that can be away, and writes down every event it has taken.
#[derive(Clone)]
struct Crm {
    port: u16,
    away: Arc<AtomicBool>,
    taken: Arc<Mutex<Vec<Json>>>,
}

impl Crm {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let crm = Self { port, away: Arc::default(), taken: Arc::default() };
        let serving = crm.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        crm
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        loop {
            let (mut head, mut length) = (String::new(), 0);
            while !head.ends_with("\r\n\r\n") {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().ok()?;
                }
                head += &line;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let status = if self.away.load(Ordering::Relaxed) { "503 Away" } else { "200 OK" };
            if status == "200 OK" {
                let events: Vec<Json> = serde_json::from_slice(&body).unwrap();
                self.taken.lock().unwrap().extend(events);
            }
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).ok()?;
        }
    }

    fn taken(&self) -> Vec<Json> {
        self.taken.lock().unwrap().clone()
    }

    fn until_taken(&self, gateway: &Gateway, kind: &str, point: &str) {
        gateway.until(&format!("the CRM has {kind} of {point}"), || {
            of_kind(&self.taken(), kind).iter().any(|event| event["data"]["point"] == point).then_some(())
        });
    }
}

fn configuration(plant: &Plant, crm: &Crm) -> String {
    let mut toml = format!(
        "[[consumer]]\nname = \"central\"\nrequired = true\n\
         [[sync]]\nname = \"crm\"\nurl = \"http://127.0.0.1:{}/events\"\n\
         [[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:{}\"\n\
         [[device]]\nid = \"pump\"\nchannel = \"plant\"\nunit = 1\npoll = \"100ms\"\n",
        crm.port, plant.port
    );
    for (register, point) in ["a", "b", "c"].iter().enumerate() {
        toml += &format!(
            "[[device.point]]\nid = \"{point}\"\ntable = \"holding\"\nregister = {register}\ntype = \"u16\"\n"
        );
    }
    toml + "[[rule]]\nid = \"low\"\npoint = \"pump.*\"\nbelow = 100.0\n"
}

fn backed_up(gateway: &Gateway, file: &Path, more: &[&str]) -> String {
    let output = gateway.command("backup").arg("--to").arg(file).args(more).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn restore(gateway: &Gateway, from: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.arg("restore").arg(from).arg("--config").arg(gateway.file()).args(more).output().unwrap()
}

#[track_caller]
fn refused(gateway: &Gateway, from: &Path, words: &[&str]) {
    let output = restore(gateway, from, &[]);
    let said = text(&output.stderr);
    assert!(!output.status.success(), "{}", text(&output.stdout));
    assert!(words.iter().all(|word| said.contains(word)), "not {words:?}: {said}");
}

/// Ticket and revision name one version for ever.
fn version(event: &Json) -> Option<(String, u64)> {
    Some((event["data"]["id"].as_str()?.to_owned(), event["data"]["revision"].as_u64()?))
}

/// What a receiver knows of each ticket that takes every version once: its last revision and state. A gap is a failure, but
/// for the leap of a restore.
fn effect(events: &[Json]) -> BTreeMap<String, (u64, String)> {
    let mut known: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for event in events.iter().filter(|event| event["subject"].as_str().unwrap().starts_with("tickets/")) {
        let (id, revision) = version(event).unwrap();
        if !seen.insert((id.clone(), revision)) {
            continue;
        }
        let before = known.get(&id).map_or(0, |known| known.0);
        assert!(
            revision == before + 1 || revision > before + 1000,
            "a version of ticket {id} is missing: {event}"
        );
        known.insert(id, (revision, event["data"]["state"].as_str().unwrap().to_owned()));
    }
    known
}

#[test]
fn tickets_go_on_at_another_box_and_everyone_has_each_event_once_in_effect() {
    let (plant, crm) = (Plant::start(), Crm::start());
    let mut old = Gateway::new("cp-017");
    old.configure(&configuration(&plant, &crm));
    old.start();
    old.until_told("device.online", 1);
    // Readings are on the disk at the latest when it stops.
    assert!(old.stop().0.success());
    old.start();
    plant.set(0, 50);
    crm.until_taken(&old, "ticket.opened", "pump.a");
    let mut pulled = old.events();
    let acknowledged =
        pulled.last().unwrap()["id"].as_str().unwrap().replacen("cp-017/", "", 1).replace('/', ".");
    let put = |gateway: &Gateway, cursor: &str| {
        let url = format!("http://{}/api/v1/consumers/central", gateway.api().unwrap());
        let body = json!({ "acknowledged": cursor }).to_string();
        let curl =
            ["-s", "-X", "PUT", "-H", "Content-Type: application/json", "-d", &body, "-w", "%{http_code}"];
        text(&Command::new("curl").args(curl).arg(url).output().unwrap().stdout)
    };
    assert!(put(&old, &acknowledged).ends_with("200"));
    crm.away.store(true, Ordering::Relaxed);
    plant.set(1, 50);
    old.until_told("ticket.opened", 2);
    let file = old.dir().join("copy.backup");
    let said = backed_up(&old, &file, &["--history"]);
    assert!(said.contains("tickets") && said.contains("2 of them not closed"), "{said}");

    // The old box lives on for a while, and then its card is gone.
    crm.away.store(false, Ordering::Relaxed);
    plant.set(2, 50);
    crm.until_taken(&old, "ticket.opened", "pump.c");
    pulled = old.events();
    old.kill();
    let before_the_move = crm.taken().len();

    let mut new = Gateway::new("cp-017");
    new.configure(&configuration(&plant, &crm));
    let output = restore(&new, &file, &[]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("2 of them not closed") && said.contains("came along"), "{said}");
    assert!(said.contains("whoever was erased after that was written is here again"), "{said}");
    let stale = fs::read_dir(new.data()).unwrap().flatten().any(|entry| entry.file_name() == "restoring");
    assert!(!stale, "nothing of the work is left");
    new.start();
    let started = new.until_told("gateway.started", 1).pop().unwrap();
    assert_eq!(started["data"]["reason"], "restore", "{started}");
    let old_epoch = acknowledged.split('.').next().unwrap();
    assert_eq!(started["data"]["before"]["epoch"], old_epoch);
    let head: u64 =
        started["data"]["before"]["head"].as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap();
    assert!(head >= 3 && head < pulled.len() as u64, "the backup's head, not the old box's: {head}");

    // The two tickets of the backup clear and are worked on as if nothing had been.
    plant.set(0, 300);
    plant.set(1, 300);
    new.until_told("ticket.cleared", 2);
    let tickets = new.tickets();
    let of = |point: &str| tickets.iter().find(|ticket| ticket["point"] == point).unwrap().clone();
    assert_eq!(new.act(&of("pump.a"), "resolve").0, 200);
    crm.until_taken(&new, "ticket.resolved", "pump.a");
    // The third is of this box's own seeing.
    new.until("this box sees the third", || {
        new.tickets().iter().any(|t| t["point"] == "pump.c").then_some(())
    });
    crm.until_taken(&new, "ticket.cleared", "pump.b");
    let told = new.events();
    let last = told.last().unwrap()["id"].clone();
    new.until("the CRM has all", || crm.taken().iter().any(|event| event["id"] == last).then_some(()));

    // The puller's cursor is of the old epoch: it is told the present one and begins there.
    let url = format!("/api/v1/events?after={acknowledged}");
    assert!(new.text(&url).contains(new.get("/api/v1/events?after=0").unwrap()["epoch"].as_str().unwrap()));
    assert!(put(&new, &acknowledged).ends_with("409"), "a cursor of the old epoch means nothing here");
    pulled.extend(new.events());

    let taken = crm.taken();
    let again: Vec<_> =
        taken[before_the_move..].iter().filter(|event| event["data"]["point"] == "pump.a").collect();
    assert!(
        again.iter().all(|event| event["type"] != "gatehouse.ticket.opened"),
        "what it had acknowledged is not told again: {again:?}"
    );
    let ids: BTreeSet<_> = taken.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), taken.len(), "no number means two things");
    for (who, events) in [("the CRM", taken.clone()), ("the puller", pulled)] {
        let known = effect(&events);
        for ticket in new.tickets() {
            let now = (ticket["revision"].as_u64().unwrap(), ticket["state"].as_str().unwrap().to_owned());
            assert_eq!(known[ticket["id"].as_str().unwrap()], now, "{who} of {}", ticket["point"]);
        }
        assert_eq!(known.len(), 4, "{who}: a, b, the old box's c and this one's");
    }

    // Another start is an ordinary one.
    assert!(new.stop().0.success());
    new.start();
    let started = new.until_told("gateway.started", 2).pop().unwrap();
    assert_eq!(started["data"]["reason"], "start", "{started}");
    new.stop();
    let history = store::recorded(&new.data()).unwrap().unwrap();
    assert!(history.since().unwrap().is_some(), "the readings came along");
}

/// A journal with so many events, without a daemon.
fn written(gateway: &Gateway, dir: &Path, id: &str, events: usize) {
    gateway.configure_as(id, dir, "");
    let mut ends = store::open(&store::Settings::at(dir), id).unwrap();
    for n in 0..events {
        let draft = Draft::new("access.opened", "doors/front".into(), time::now(), &json!({ "n": n }));
        ends.journal.commit(&Page { at: time::now(), events: vec![draft], ..Page::default() }).unwrap();
    }
}

#[test]
fn a_backup_beside_a_writer_that_never_rests_is_of_one_moment() {
    let gateway = Gateway::new("cp-017");
    written(&gateway, &gateway.data(), "cp-017", 10);
    let mut ends = store::open(&store::Settings::at(gateway.data()), "cp-017").unwrap();
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    let (stop, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let told = stop.clone();
    let done = stopped.clone();
    let writer = std::thread::spawn(move || {
        let mut head = 0;
        // Two events a transaction: a copy has both or none.
        while !told.load(Ordering::Relaxed) {
            let draft = |word| {
                Draft::new(word, "doors/front".into(), time::now(), &json!({ "pad": "x".repeat(500) }))
            };
            let events = vec![draft("access.opened"), draft("access.closed")];
            head = ends.journal.commit(&Page { at: time::now(), events, ..Page::default() }).unwrap();
            ends.outbox.settle("crm", head / 2, time::now()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        head
    });
    let mut heads = Vec::new();
    for n in 0..6 {
        let file = gateway.dir().join(format!("{n}.backup"));
        backed_up(&gateway, &file, &[]);
        let copy = Connection::open(&file).unwrap();
        let number = |sql: &str| copy.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
        let head = number("SELECT max(seq) FROM event");
        assert_eq!(number("SELECT count(*) FROM event"), head, "without gaps");
        assert_eq!((head - 10) % 2, 0, "whole transactions");
        assert!(number("SELECT acknowledged FROM consumer") <= head, "a cursor is never ahead");
        assert_eq!(number("SELECT CAST(value AS INTEGER) FROM backup WHERE key = 'head'"), head);
        heads.push(head);
    }
    assert!(!stopped.load(Ordering::Relaxed), "the writer went on all the time");
    stop.store(true, Ordering::Relaxed);
    let end = writer.join().unwrap();
    assert!(heads.is_sorted() && heads[0] < heads[5] && heads[5] <= end, "{heads:?} of {end}");

    let box_two = Gateway::new("cp-017");
    box_two.configure("");
    assert!(restore(&box_two, &gateway.dir().join("5.backup"), &[]).status.success());
    let carried = box_two.journal();
    let waiting = heads[5]
        - Connection::open(gateway.dir().join("5.backup"))
            .unwrap()
            .query_row("SELECT acknowledged FROM consumer", [], |row| row.get::<_, u64>(0))
            .unwrap();
    assert_eq!(carried.len() as u64, waiting, "what the consumer had is not carried, the rest is");

    let piped = gateway.command("backup").args(["--to", "-"]).output().unwrap();
    let file = gateway.dir().join("piped");
    fs::write(&file, piped.stdout).unwrap();
    assert_eq!(store::backup::check(&file).unwrap().head, end, "{}", text(&piped.stderr));
}

#[test]
fn what_must_not_be_written_over_is_not() {
    let source = Gateway::new("cp-017");
    written(&source, &source.data(), "cp-017", 5);
    let file = source.dir().join("five");
    backed_up(&source, &file, &[]);

    // The same box has gone on since.
    written(&source, &source.data(), "cp-017", 3);
    refused(&source, &file, &["newer data", "event 8", "event 5", "--force"]);
    let output = restore(&source, &file, &["--force"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let aside = said
        .lines()
        .find_map(|line| line.strip_prefix("set aside"))
        .expect("it says where")
        .trim()
        .to_owned();
    let kept = store::inspect(Path::new(&aside)).unwrap().unwrap();
    assert_eq!(kept.head, 8, "what was there is whole");
    let now = store::inspect(&source.data()).unwrap().unwrap();
    assert_ne!(now.epoch, kept.epoch);

    // Other gateways.
    let other = Gateway::new("cp-018");
    other.configure("");
    refused(&other, &file, &["is of gateway `cp-017`", "of `cp-018`"]);
    let output = restore(&other, &file, &["--force"]);
    assert!(!output.status.success(), "also with --force");
    let taken = Gateway::new("cp-017");
    written(&taken, &taken.data(), "cp-018", 1);
    taken.configure("");
    refused(&taken, &file, &["holds the data of gateway `cp-018`", "--force"]);
    assert!(restore(&taken, &file, &["--force"]).status.success());

    // A daemon runs there.
    let mut running = Gateway::new("cp-017");
    running.configure("");
    running.start();
    refused(&running, &file, &["in use by another gatehouse", "stop that one"]);
    running.stop();
    // It has only been switched on: nothing is lost.
    let output = restore(&running, &file, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    // No backup, a damaged one, a damaged journal in the way.
    let empty = Gateway::new("cp-017");
    empty.configure("");
    refused(&empty, &source.file(), &["is no backup"]);
    refused(&empty, &source.dir().join("none"), &["No such file"]);
    let mut bent = fs::read(&file).unwrap();
    let place = bent.windows(13).position(|bytes| bytes == b"access.opened").unwrap();
    bent[place] ^= 1;
    fs::write(source.dir().join("bent"), bent).unwrap();
    refused(&empty, &source.dir().join("bent"), &["damaged", "its rows are not those that were written"]);
    fs::create_dir_all(empty.data()).unwrap();
    fs::write(empty.data().join("journal.db"), "rubbish".repeat(2000)).unwrap();
    refused(&empty, &file, &["cannot be read", "--force"]);
    let output = restore(&empty, &file, &["--force"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(store::inspect(&empty.data()).unwrap().unwrap().gateway, "cp-017");

    // Mistakes in the configuration.
    empty.configure("[store]\nnonsense = 1\n");
    let output = restore(&empty, &file, &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("unknown key `nonsense`"));
}

#[test]
fn a_copied_directory_or_an_old_image_begins_a_new_epoch() {
    let here = Gateway::new("cp-017");
    written(&here, &here.data(), "cp-017", 5);
    let before = store::inspect(&here.data()).unwrap().unwrap();
    let output = restore(&here, &here.data(), &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let now = store::inspect(&here.data()).unwrap().unwrap();
    assert_ne!(now.epoch, before.epoch);

    // A copy that was taken while someone wrote: the last commits lie beside the file.
    let running = Gateway::new("cp-017");
    written(&running, &running.data(), "cp-017", 2);
    let mut ends = store::open(&store::Settings::at(running.data()), "cp-017").unwrap();
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    let draft = Draft::new("access.forced", "doors/front".into(), time::now(), &json!({}));
    ends.journal.commit(&Page { at: time::now(), events: vec![draft], ..Page::default() }).unwrap();
    let copy = running.dir().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(running.data()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    let there = Gateway::new("cp-017");
    there.configure("");
    refused(&there, &running.data(), &["in use by another gatehouse"]);
    drop(ends);
    // The test's own copy of the lock is free.
    let output = until(|| Some(restore(&there, &copy, &[])).filter(|output| output.status.success()));
    output.expect("a copy can be read");
    assert_eq!(of_kind(&there.journal(), "access.forced").len(), 1, "the last commit, too");
}

#[test]
fn a_new_box_can_begin_with_the_configuration_in_the_backup() {
    let mut old = Gateway::new("cp-017");
    let more = old.dir().join("more.toml");
    fs::write(&more, "[[consumer]]\nname = \"central\"\n").unwrap();
    old.configure("");
    let text_with =
        fs::read_to_string(old.file()).unwrap().replacen("locale", "include = [\"more.toml\"]\nlocale", 1);
    fs::write(old.file(), &text_with).unwrap();
    old.start();
    let file = old.dir().join("copy");
    let said = backed_up(&old, &file, &[]);
    assert!(said.contains("its files (2)"), "{said}");
    old.stop();
    fs::remove_dir_all(old.data()).unwrap();

    let new = Gateway::new("cp-017");
    let output = restore(&new, &file, &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("--write-config"), "{}", text(&output.stderr));
    let output = restore(&new, &file, &["--write-config"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(new.file()).unwrap(), text_with);
    assert!(new.dir().join("more.toml").exists());
    let output = restore(&new, &file, &["--write-config"]);
    assert!(text(&output.stderr).contains("is there already"), "nothing is written over");
}
