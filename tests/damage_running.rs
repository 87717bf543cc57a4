//! The real binary on a journal that is damaged while it runs: it stays alive, goes on under a new epoch with all that can
//! be read and all that was under way, says what is lost, and tickets work as before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
#[path = "damage/pages.rs"]
mod pages;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};

use gatehouse::event::{Draft, Kinds};
use gatehouse::reading::Millis;
use gatehouse::sim::modbus::{Server, Units};
use gatehouse::store::{Kind, Page, TicketRow};
use gatehouse::ticket::{Class, Deadlines, State, Ticket};
use gatehouse::time;
use gateway::{Gateway, beside, of_kind};
use serde_json::{Value as Json, json};

const EVENTS: u64 = 600;
/// With the required consumer already.
const HAD: u64 = 100;
const PLANT: &str = "[[consumer]]\nname = \"crm\"\nrequired = true\n\
    [[device]]\nid = \"tank\"\nchannel = \"plant\"\nunit = 1\npoll = \"100ms\"\n\
    [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
    [[rule]]\nid = \"high\"\npoint = \"tank.level\"\nabove = 100.0\n";

/// When the run before wrote.
fn then() -> Millis {
    time::now() - 60_000
}

fn closed(n: u64) -> TicketRow {
    let at = then();
    let ticket = Ticket {
        id: format!("0000-{n:05}").into(),
        number: format!("GW-{n:06}"),
        rule: "old".into(),
        device: Some("basin".into()),
        point: Some("basin.level".into()),
        place: "".into(),
        title: "Tank".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state: State::Closed,
        revision: 2,
        occurrences: 1,
        value: None,
        limit: json!({"above": 100.0}),
        unit: None,
        external_id: None,
        by: None,
        note: None,
        since: at,
        opened_at: at,
        cleared_at: None,
        resolved_at: None,
        closed_at: Some(at),
        deadlines: Deadlines::default(),
        evidence: Vec::new(),
    };
    TicketRow { ticket, subject: "basin.level".into(), life: r#"{"episode":1}"#.into() }
}

/// A daemon on a journal of old events and closed tickets; the ids of the events that the consumer has still to get.
fn running(server: &Server) -> (Gateway, BTreeSet<String>) {
    let mut gateway = Gateway::new("gw-card");
    let channel = "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\n";
    gateway.configure(&format!("{channel}address = \"{}\"\n{PLANT}", server.address));
    fs::create_dir_all(gateway.data()).unwrap();
    let mut ends = gateway.store();
    ends.journal.keep_consumers(&[("crm".into(), Kind::Pull, true)]).unwrap();
    let draft = |n: u64| {
        Draft::new(
            "device.online",
            format!("devices/d{n}"),
            then(),
            &json!({"n": n, "long": "x".repeat(300)}),
        )
    };
    for page in 0..6 {
        let events = (page * 100..(page + 1) * 100).map(draft).collect();
        let tickets = (page * 100..(page + 1) * 100).map(closed).collect();
        let number = Some(page * 100 + 100);
        ends.journal
            .commit(&Page { at: then(), synced: true, events, tickets, number, ..Page::default() })
            .unwrap();
    }
    ends.outbox.settle("crm", HAD, then()).unwrap();
    let slice = ends.view.events(HAD, 1000, &Kinds::default()).unwrap();
    let pending: BTreeSet<String> =
        slice.events.iter().map(|event| id(&serde_json::from_str(&event.json).unwrap())).collect();
    assert_eq!(pending.len() as u64, EVENTS - HAD);
    drop(ends);
    gateway.start();
    (gateway, pending)
}

fn id(event: &Json) -> String {
    event["id"].as_str().unwrap().to_owned()
}

/// Noise over these pages of the file that the daemon has open.
fn noise(gateway: &Gateway, class: &str, which: impl Fn(usize, usize) -> bool) {
    let classes = pages::classes(&gateway.data());
    let places = &classes[class];
    let mut file = fs::File::options().write(true).open(gateway.data().join("journal.db")).unwrap();
    for (n, (name, range)) in places.iter().enumerate() {
        assert_eq!(*name, "journal.db");
        if which(n, places.len()) {
            file.seek(SeekFrom::Start(range.start as u64)).unwrap();
            let bytes: Vec<u8> =
                range.clone().map(|n| ((n as u32).wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            file.write_all(&bytes).unwrap();
        }
    }
    file.sync_all().unwrap();
}

/// What the new epoch says, once it is begun; the same process as before.
fn recovered(gateway: &mut Gateway, pid: u32) -> Vec<Json> {
    let events = gateway.until("the journal has begun anew", || {
        let events = gateway.events();
        let started = of_kind(&events, "gateway.started").pop()?;
        (started["data"]["reason"] == "damaged").then_some(events)
    });
    assert!(gateway.is_running());
    assert_eq!(gateway.pid(), pid);
    assert!(!gateway.data().join("journal.db.suspect").exists(), "it was read through");
    gateway.wait_ready();
    events
}

fn epoch(gateway: &Gateway) -> String {
    let page = gateway.until("the head is shown", || {
        gateway.get("/api/v1/events?after=0&limit=1").filter(|page| page["head"].is_string())
    });
    page["head"].as_str().unwrap().split('.').next().unwrap().to_owned()
}

/// A fault comes and goes: opened, cleared, once each.
fn a_ticket_works(gateway: &Gateway, units: &Units) {
    let opened = |gateway: &Gateway| of_kind(&gateway.events(), "ticket.opened").len();
    let before = opened(gateway);
    units.set_holding(1, 0, 200);
    gateway.until("a ticket is opened", || (opened(gateway) > before).then_some(()));
    units.set_holding(1, 0, 5);
    gateway.until_told("ticket.cleared", 1);
    assert_eq!(opened(gateway), before + 1);
}

#[tokio::test]
async fn a_page_of_old_events_goes_bad_under_the_running_daemon() {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let (mut gateway, pending) = running(&server);
        let (pid, before) = (gateway.pid(), epoch(&gateway));
        noise(&gateway, "event, leaf", |n, of| n == of / 2);
        // A puller reads over it: it gets nothing that was not written, and the daemon knows.
        for event in gateway.events() {
            assert!(event["data"]["n"].as_u64().is_none_or(|n| n < EVENTS), "{event}");
        }
        let events = recovered(&mut gateway, pid);
        assert_ne!(epoch(&gateway), before);

        let there: BTreeSet<String> =
            events.iter().filter_map(|event| Some(event["origin"].as_str()?.to_owned())).collect();
        let missing = pending.difference(&there).count() as u64;
        assert!((1..30).contains(&missing), "one page was lost, and {missing} events are");
        let told = of_kind(&events, "gateway.events-dropped");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0]["data"]["count"], missing, "{}", told[0]);
        assert!(told[0]["data"]["from"].as_str().unwrap().starts_with(&format!("{before}.")), "{}", told[0]);
        let started = of_kind(&events, "gateway.started");
        assert_eq!(started.len(), 2, "that of the epoch before was not acknowledged either");
        assert_eq!(started[1]["data"]["epoch_before"]["epoch"], before);
        let shown = gateway.get("/readyz").unwrap()["degraded"].to_string();
        assert!(shown.contains("began anew") && shown.contains(&missing.to_string()), "{shown}");

        a_ticket_works(&gateway, &units);
        gateway.stop();
        let tickets =
            gateway.store().view.tickets(&gatehouse::store::Filter { limit: 1000, ..Default::default() });
        assert_eq!(tickets.unwrap().len() as u64, EVENTS + 1, "no ticket was concerned");
    })
    .await;
}

#[tokio::test]
async fn a_page_that_a_ticket_needs_goes_bad_and_the_ticket_is_opened_all_the_same() {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let (mut gateway, pending) = running(&server);
        let pid = gateway.pid();
        noise(&gateway, "sqlite_autoindex_ticket_1, leaf", |_, _| true);
        // Another's commit makes SQLite forget the pages that it has read.
        let db = rusqlite::Connection::open(gateway.data().join("journal.db")).unwrap();
        db.execute_batch("PRAGMA busy_timeout = 5000; PRAGMA user_version = 6").unwrap();
        drop(db);
        units.set_holding(1, 0, 200);
        let events = recovered(&mut gateway, pid);
        // The page that the damaged journal did not take is the first that the new one has.
        let opened = gateway.until_told("ticket.opened", 1);
        assert_eq!(opened.len(), 1);
        assert!(opened[0]["origin"].is_null(), "it was never in the journal before: {}", opened[0]);
        let there: BTreeSet<String> =
            events.iter().filter_map(|event| Some(event["origin"].as_str()?.to_owned())).collect();
        assert_eq!(pending.difference(&there).count(), 0, "no event was concerned");
        let ticket = gateway.until("the ticket is shown", || {
            gateway
                .get("/api/v1/tickets?state=open")
                .map(|page| page["tickets"][0].clone())
                .filter(Json::is_object)
        });
        assert_eq!(ticket["id"], opened[0]["data"]["id"]);
        assert_eq!(ticket["number"].as_str().unwrap().rsplit('-').next(), Some("000601"), "no number twice");
        units.set_holding(1, 0, 5);
        gateway.until_told("ticket.cleared", 1);
        assert_eq!(of_kind(&gateway.events(), "ticket.opened").len(), 1, "opened once");
    })
    .await;
}

#[test]
fn a_new_data_directory_is_no_journal_that_is_gone() {
    let mut gateway = Gateway::new("gw-new");
    gateway.configure("");
    gateway.start();
    let started = gateway.until_told("gateway.started", 1);
    assert!(started[0]["data"]["epoch_before"].is_null(), "{}", started[0]);
    assert_eq!(gateway.get("/readyz").unwrap()["degraded"], Json::Null);
    assert_eq!(of_kind(&gateway.events(), "gateway.events-dropped").len(), 0);
}

#[test]
fn that_a_journal_began_anew_is_shown_though_nobody_waited_for_what_stayed_behind() {
    let mut gateway = Gateway::new("gw-quiet");
    gateway.configure("");
    gateway.start();
    assert!(gateway.stop().0.success());
    let db = rusqlite::Connection::open(gateway.data().join("journal.db")).unwrap();
    db.execute("UPDATE event SET json = replace(json, 'gw-quiet', 'gw-quick') WHERE seq = 1", []).unwrap();
    drop(db);
    gateway.start();
    // It is met when it is read.
    let _ = gateway.get("/api/v1/events");
    gateway.until("it is shown", || {
        let shown = gateway.get("/readyz")?["degraded"].to_string();
        shown.contains("began anew").then_some(())
    });
    assert!(gateway.stop().0.success());
}

/// A ticket is open, then `harm` comes; what the new epoch says. The ticket goes on, and nothing is numbered twice.
async fn harmed(harm: fn(&Gateway), check: fn(&[Json], &BTreeSet<String>)) {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let (mut gateway, pending) = running(&server);
        let (pid, before) = (gateway.pid(), epoch(&gateway));
        units.set_holding(1, 0, 200);
        let opened = gateway.until_told("ticket.opened", 1);
        harm(&gateway);
        // The CRM comes for what it has not had yet; that it gets no answer now is no matter.
        let _ = gateway.get(&format!("/api/v1/events?after={before}.{HAD}&limit=200"));
        let events = recovered(&mut gateway, pid);
        assert_ne!(epoch(&gateway), before);
        let shown = gateway.get("/readyz").unwrap()["degraded"].to_string();
        assert!(shown.contains("began anew"), "{shown}");
        check(&events, &pending);
        let ticket = gateway.until("the ticket is shown", || {
            gateway
                .get("/api/v1/tickets?state=open")
                .map(|page| page["tickets"][0].clone())
                .filter(Json::is_object)
        });
        assert_eq!(ticket["id"], opened[0]["data"]["id"]);
        units.set_holding(1, 0, 5);
        gateway.until_told("ticket.cleared", 1);
        assert!(gateway.stop().0.success());
        let memory = gateway.store().journal.recall().unwrap();
        assert_eq!(memory.number, 601, "no number is used twice");
    })
    .await;
}

fn origins(events: &[Json]) -> BTreeSet<String> {
    events.iter().filter_map(|event| Some(event["origin"].as_str()?.to_owned())).collect()
}

#[tokio::test]
async fn a_journal_that_is_removed_while_it_is_used_loses_nothing() {
    let remove = |gateway: &Gateway| {
        for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
            fs::remove_file(gateway.data().join(name)).unwrap();
        }
    };
    harmed(remove, |events, pending| {
        assert_eq!(pending.difference(&origins(events)).count(), 0);
        assert_eq!(of_kind(events, "ticket.opened").len(), 1, "it was not with the CRM yet");
        assert!(of_kind(events, "gateway.events-dropped").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_journal_that_is_cut_to_nothing_while_it_is_used_is_told_as_lost() {
    let cut = |gateway: &Gateway| drop(fs::File::create(gateway.data().join("journal.db")).unwrap());
    harmed(cut, |events, _| {
        assert_eq!(of_kind(events, "gateway.events-dropped").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_log_that_is_cut_while_it_is_used_is_told_as_lost_with_all_that_was_in_it() {
    let cut = |gateway: &Gateway| drop(fs::File::create(gateway.data().join("journal.db-wal")).unwrap());
    harmed(cut, |events, pending| {
        assert_eq!(pending.difference(&origins(events)).count(), 0, "these were in the file");
        let told = of_kind(events, "gateway.events-dropped");
        assert_eq!(told.len(), 1);
        assert!(told[0]["data"]["count"].as_u64().unwrap() >= 2, "{}", told[0]);
    })
    .await;
}

#[tokio::test]
async fn a_stop_while_the_journal_is_gone_is_no_good_one_and_leaves_what_could_be_read() {
    let units = Units::default();
    units.set_holding(1, 0, 5);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let (mut gateway, pending) = running(&server);
        fs::remove_file(gateway.data().join("journal.db")).unwrap();
        let (ended, _) = gateway.stop();
        assert_eq!(ended.code(), Some(1));
        assert!(gateway.log().contains("journal.db was removed while it was in use"));
        gateway.start();
        assert_eq!(pending.difference(&origins(&gateway.events())).count(), 0);
    })
    .await;
}
