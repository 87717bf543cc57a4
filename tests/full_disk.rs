//! A disk that is full and a card that takes no writes, with the real binary and a CRM on a real socket.
//!
//! The card: a limit of the kernel on how large the daemon's files may be, of 0 bytes, refuses each write with an I/O
//! error, and can be lifted again. The disk: a small tmpfs; where none can be mounted that test says so and is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gatehouse::event::{Draft, Kinds};
use gatehouse::sim::crm::{Arrival, Crm, Mood};
use gatehouse::sim::modbus::{Server, Units};
use gatehouse::store::memory::{Afloat, Moment};
use gatehouse::store::room::Way;
use gatehouse::store::{self, Ends, Kind, Page, Slice};
use gateway::{Gateway, beside, of_kind};
use serde_json::{Value as Json, json};

const HIGH: u16 = 500;
const LOW: u16 = 5;

/// A compound with three pumps, each with a rule of its own, pushing to the CRM.
fn pumps(server: &Server, crm: &Crm) -> String {
    let mut text = format!(
        "[[sync]]\nname = \"crm\"\nurl = \"{}\"\n[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n",
        crm.url(),
        server.address
    );
    for unit in 1..=3 {
        text += &format!(
            "[[device]]\nid = \"pump-{unit}\"\nchannel = \"plant\"\nunit = {unit}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
             [[rule]]\nid = \"high-{unit}\"\npoint = \"pump-{unit}.level\"\nabove = 100.0\n"
        );
    }
    text
}

/// How large a file of the daemon may be.
fn limit(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(set.unwrap().success());
}

fn of_rule(crm: &Crm, rule: &str) -> Vec<Arrival> {
    crm.arrivals().into_iter().filter(|arrival| arrival.data["rule"] == rule).collect()
}

fn until_arrived(gateway: &Gateway, crm: &Crm, rule: &str, kind: &str) -> Arrival {
    gateway.until(&format!("{kind} of {rule} is at the CRM"), || {
        let kind = format!("gatehouse.{kind}");
        of_rule(crm, rule).into_iter().find(|arrival| arrival.kind == kind)
    })
}

fn until_degraded(gateway: &Gateway, is: bool) {
    gateway.until("it says how it is", || {
        let ready = gateway.get("/readyz")?;
        (ready["ready"] == true && ready["degraded"].is_string() == is).then_some(())
    });
}

/// Each ticket's revisions at the CRM, from 1 on without a gap, each told by one event alone, whichever epoch carried it.
fn are_all_there_once(crm: &Crm) {
    let mut told: BTreeMap<String, BTreeMap<u64, BTreeSet<String>>> = BTreeMap::new();
    for arrival in crm.arrivals().iter().filter(|arrival| arrival.kind.starts_with("gatehouse.ticket.")) {
        let (id, revision) = (arrival.subject.clone(), arrival.data["revision"].as_u64().unwrap());
        told.entry(id).or_default().entry(revision).or_default().insert(arrival.origin.clone());
    }
    for (id, revisions) in &told {
        for (n, (revision, events)) in (1..).zip(revisions) {
            assert_eq!((n, events.len()), (*revision, 1), "{id} in {told:#?}");
        }
    }
}

#[tokio::test]
async fn a_card_that_takes_no_writes_loses_no_ticket_and_doubles_none() {
    let units = Units::default();
    (1..=3).for_each(|unit| units.set_holding(unit, 0, LOW));
    let server = Server::tcp(units.clone()).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-card");
        gateway.configure(&pumps(&server, &crm));
        gateway.spawn_heard();
        gateway.wait_ready();
        units.set_holding(1, 0, HIGH);
        let first = until_arrived(&gateway, &crm, "high-1", "ticket.opened");
        let on_disk = epoch(&gateway);

        limit(&gateway, "0");
        units.set_holding(2, 0, HIGH);
        let second = until_arrived(&gateway, &crm, "high-2", "ticket.opened");
        let in_memory = epoch(&gateway);
        assert_ne!(in_memory, on_disk, "an epoch of its own");
        assert!(second.id.contains(&in_memory), "{second:?}");
        until_degraded(&gateway, true);
        until_arrived(&gateway, &crm, "storage-low", "ticket.opened");
        // The ticket of before goes on under its id, and a person's word is heard.
        let ticket = json!({ "id": first.data["id"] });
        assert_eq!(gateway.act(&ticket, "acknowledge").0, 200);
        until_arrived(&gateway, &crm, "high-1", "ticket.acknowledged");
        let low = gateway.until_told("gateway.storage-low", 1);
        assert_eq!((&low[0]["data"]["low"], &low[0]["data"]["why"]), (&json!(true), &json!("card")));

        limit(&gateway, "unlimited");
        gateway.until("the journal is on the disk again", || {
            (epoch(&gateway) != in_memory && epoch(&gateway) != on_disk).then_some(())
        });
        until_degraded(&gateway, false);
        units.set_holding(2, 0, LOW);
        let cleared = until_arrived(&gateway, &crm, "high-2", "ticket.cleared");
        assert_eq!(cleared.data["id"], second.data["id"]);
        until_arrived(&gateway, &crm, "storage-low", "ticket.cleared");
        units.set_holding(3, 0, HIGH);
        until_arrived(&gateway, &crm, "high-3", "ticket.opened");
        gateway.until("the CRM has all of it", || {
            let consumers = gateway.get("/api/v1/consumers")?;
            (consumers["consumers"][0]["lag"] == 0).then_some(())
        });
        assert!(gateway.stop().0.success());
        are_all_there_once(&crm);
        let opened = crm.arrivals().into_iter().filter(|a| a.kind == "gatehouse.ticket.opened").count();
        assert_eq!(opened, 4, "three pumps and the storage: {:#?}", crm.tickets());
        assert_eq!(gateway.store().view.tickets(&every_ticket()).unwrap().len(), 4);
    })
    .await;
}

/// A file system of its own, gone with the test. `None` where none can be mounted.
struct Small(PathBuf);

impl Small {
    fn mounted(at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if done.is_ok_and(|done| done.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("left out: no file system can be mounted here, which takes root");
        None
    }

    /// To the last byte.
    fn fill(&self, name: &str) {
        let mut file = fs::File::create(self.0.join(name)).unwrap();
        for size in [64 << 10, 512] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn empty(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_takes_tickets_on_its_reserve_and_then_in_memory() {
    let units = Units::default();
    (1..=3).for_each(|unit| units.set_holding(unit, 0, LOW));
    let server = Server::tcp(units.clone()).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-full");
        let Some(small) = Small::mounted(&gateway.dir().join("small"), 16) else { return };
        gateway.keep_data_in(&small.0.join("data"));
        gateway.configure(&pumps(&server, &crm));
        gateway.start();
        let reserve = gateway.data().join("reserve");
        gateway.until("there is a reserve", || reserve.exists().then_some(()));
        let on_disk = epoch(&gateway);

        small.fill("ballast");
        units.set_holding(1, 0, HIGH);
        until_arrived(&gateway, &crm, "high-1", "ticket.opened");
        let low = until_arrived(&gateway, &crm, "storage-low", "ticket.opened");
        assert_eq!(low.data["value"], "full");
        // Somebody else eats up the reserve as well, over and over.
        gateway.until("nothing can be stored any more", || {
            small.fill("more");
            units.set_holding(2, 0, HIGH);
            (!of_rule(&crm, "high-2").is_empty() && epoch(&gateway) != on_disk).then_some(())
        });
        assert!(!reserve.exists(), "it was given up");
        until_degraded(&gateway, true);

        small.empty("ballast");
        small.empty("more");
        until_degraded(&gateway, false);
        gateway.until("there is a reserve again", || reserve.exists().then_some(()));
        until_arrived(&gateway, &crm, "storage-low", "ticket.cleared");
        units.set_holding(3, 0, HIGH);
        until_arrived(&gateway, &crm, "high-3", "ticket.opened");
        assert!(gateway.stop().0.success());
        are_all_there_once(&crm);
        let tickets = gateway.store().view.tickets(&every_ticket()).unwrap();
        assert_eq!(tickets.len(), 4, "three pumps and the storage: {tickets:#?}");
        let at_crm: BTreeSet<String> = crm.tickets().into_keys().collect();
        assert_eq!(at_crm.len(), 4, "{at_crm:?}");
        drop(small);
    })
    .await;
}

#[tokio::test]
async fn a_card_that_can_only_be_read_is_gone_on_from_and_what_is_lost_is_said() {
    let units = Units::default();
    (1..=3).for_each(|unit| units.set_holding(unit, 0, LOW));
    let server = Server::tcp(units.clone()).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-read-only");
        let Some(small) = Small::mounted(&gateway.dir().join("small"), 16) else { return };
        gateway.keep_data_in(&small.0.join("data"));
        gateway.configure(&pumps(&server, &crm));
        gateway.start();
        units.set_holding(1, 0, HIGH);
        let first = until_arrived(&gateway, &crm, "high-1", "ticket.opened");
        // Killed, so that its last commits are in the WAL alone.
        gateway.kill();
        small.remount("ro");

        gateway.start();
        units.set_holding(1, 0, LOW);
        let cleared = until_arrived(&gateway, &crm, "high-1", "ticket.cleared");
        assert_eq!(cleared.data["id"], first.data["id"]);
        until_degraded(&gateway, true);
        crm.set_mood(Mood::Refuses(503));
        units.set_holding(2, 0, HIGH);
        gateway.until("the second pump's ticket is told", || {
            let opened = of_kind(&gateway.events(), "ticket.opened");
            opened.iter().any(|event| event["data"]["rule"] == "high-2").then_some(())
        });
        let (ended, _) = gateway.stop();
        assert_eq!(ended.code(), Some(1), "what no centre has is lost");
        let log = gateway.log();
        assert!(log.contains("the journal was in memory and ends with the daemon"), "{log}");

        // Where it has all, nothing is lost.
        crm.set_mood(Mood::Accepts);
        small.remount("rw");
        gateway.start();
        until_degraded(&gateway, false);
        let second = until_arrived(&gateway, &crm, "high-2", "ticket.opened");
        assert!(gateway.stop().0.success());
        // And the same after an orderly end, which leaves no WAL.
        small.remount("ro");
        gateway.start();
        until_degraded(&gateway, true);
        units.set_holding(2, 0, LOW);
        let cleared = until_arrived(&gateway, &crm, "high-2", "ticket.cleared");
        assert_eq!(cleared.data["id"], second.data["id"]);
        assert!(gateway.stop().0.success(), "the centre has all of it");
        drop(small);
    })
    .await;
}

// --- the store alone ---

const T0: i64 = 1_763_712_000_000;

fn open(dir: &Path) -> Ends {
    let settings = store::Settings::at(dir);
    // A process that another test starts at this moment has our lock with it until it is another program.
    let end = Instant::now() + Duration::from_secs(5);
    let mut ends = loop {
        match store::open(&settings, "cp-017") {
            Err(store::Error::InUse(_)) if Instant::now() < end => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    ends
}

/// One event of a ticket in ten, the others of a device.
fn some_events(count: usize, bytes: usize) -> Page {
    let data = json!({ "filling": "x".repeat(bytes) });
    let draft = |n: usize| match n % 10 {
        0 => Draft::new("ticket.updated", format!("tickets/t-{n}"), T0, &data),
        _ => Draft::new("device.offline", "devices/pump-1".into(), T0, &data),
    };
    Page { at: T0, synced: true, events: (0..count).map(draft).collect(), ..Page::default() }
}

fn everything(ends: &Ends, after: u64) -> Slice {
    ends.view.events(after, 100_000, &Kinds::default()).unwrap()
}

fn is_of_a_ticket(slice: &Slice) -> usize {
    slice.events.iter().filter(|event| event.kind.starts_with("ticket.")).count()
}

#[test]
fn events_that_give_way_are_told_in_the_same_journal_and_those_of_tickets_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&some_events(1000, 10)).unwrap();
    ends.outbox.settle("crm", 400, T0).unwrap();

    let acknowledged = ends.journal.give_way(Way::Acknowledged, T0, true).unwrap().unwrap();
    assert_eq!((acknowledged.from, acknowledged.to, acknowledged.count), (1, 400, 400));
    assert!(ends.journal.give_way(Way::Acknowledged, T0, true).unwrap().is_none());
    let gone = ends.view.events(0, 10, &Kinds::default()).unwrap_err();
    assert!(matches!(gone, store::Error::Gone { oldest: 400 }), "{gone}");

    let pending = everything(&ends, 400);
    assert_eq!((pending.events.len(), is_of_a_ticket(&pending)), (601, 60));
    let dropped = ends.journal.give_way(Way::Unacknowledged, T0, true).unwrap().unwrap();
    assert_eq!((dropped.from, dropped.to, dropped.count), (402, 1000, 540));
    assert_eq!(dropped.kinds, ["device.offline"]);
    let pending = everything(&ends, 400);
    assert_eq!(is_of_a_ticket(&pending), 60, "those of tickets stay");
    // A reader moves past the hole, and finds what it is about.
    let pushed = ends.outbox.pending("crm", 100_000, &Kinds::default()).unwrap().slice;
    assert_eq!((pushed.next, pushed.events.len()), (1002, 62));
    let told: Json = serde_json::from_str(&pushed.events.last().unwrap().json).unwrap();
    assert_eq!(told["type"], "gatehouse.gateway.events-dropped");
    let data = &told["data"];
    assert_eq!((&data["from"], &data["to"], &data["count"]), (&json!(402), &json!(1000), &json!(540)));
    assert_eq!(data["types"], json!(["device.offline"]));
    assert!(ends.journal.give_way(Way::Unacknowledged, T0, true).unwrap().is_none(), "only tickets are left");
    let next = ends.journal.commit(&some_events(1, 10)).unwrap();
    assert_eq!(next, 1003, "no number is used twice");
}

#[test]
fn the_memory_is_bounded_and_what_it_cannot_hold_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&some_events(100, 100)).unwrap();
    let (journal, outbox) = (ends.journal, ends.outbox);
    outbox.settle("crm", 30, T0).unwrap();
    drop((outbox, ends.view));
    let now = Moment { at: T0, synced: true };
    let afloat = Afloat::from_open(journal, "the card is broken", now).unwrap();
    let mut ends = afloat.ends().unwrap();
    assert_eq!(everything(&ends, 0).events.len(), 70, "what the centre has not had");
    let mut written = 0;
    let full = loop {
        match ends.journal.commit(&some_events(500, 1000)) {
            Ok(_) => written += 500,
            Err(error) => break error,
        }
        assert!(written < 20_000, "16 MiB hold no more");
    };
    assert!(full.is_full() && written > 5_000, "{full} after {written}");
    let before = afloat.unacknowledged().unwrap();
    assert!(ends.journal.give_way(Way::Unacknowledged, T0, true).unwrap().is_some());
    ends.journal.commit(&some_events(500, 1000)).unwrap();
    let after = afloat.unacknowledged().unwrap();
    assert_eq!(after.of_tickets, before.of_tickets + 50, "those of tickets stay");

    // Back on the disk it is all there, and the old numbers mean nothing any more.
    let waiting = afloat.unacknowledged().unwrap().events;
    let in_memory = ends.journal.epoch().clone();
    drop(ends);
    afloat.land(&store::Seal::none(), now).unwrap();
    drop(afloat);
    let ends = open(dir.path());
    assert_ne!(*ends.journal.epoch(), in_memory);
    let crm = &ends.view.consumers().unwrap()[0];
    assert_eq!((crm.acknowledged, crm.lag), (0, waiting), "each of them once, without holes");
}

fn epoch(gateway: &Gateway) -> String {
    gateway.until("the API says its epoch", || {
        let page = gateway.get("/api/v1/events?after=0&limit=1")?;
        Some(page["epoch"].as_str()?.to_owned())
    })
}

fn every_ticket() -> gatehouse::store::Filter {
    gatehouse::store::Filter { limit: 1000, ..Default::default() }
}
