//! What becomes of a journal in which bits fell over: it is found, what can be read goes on, what cannot is told, and
//! nothing is ever sent or shown that was not written. The table is printed by
//! `cargo test --test damage -- --nocapture table`; `GATEHOUSE_FLIPS=200` flips so many bits in each class of pages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "damage/pages.rs"]
mod pages;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::event::{Draft, Kinds, Stored};
use gatehouse::live::DeviceState;
use gatehouse::order::{Order, Outcome};
use gatehouse::reading::{Millis, PointId, Reading, Value};
use gatehouse::store::memory::{Afloat, Moment};
use gatehouse::store::{
    self, AccessRow, DeviceRow, Ends, EpisodeRow, Filter, Kind, OrderRow, Page, Settings, TicketRow,
};
use gatehouse::ticket::{Class, Deadlines, State, Ticket};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

const T0: Millis = 1_763_712_000_000;
/// Acknowledged by the required consumer.
const HAD: u64 = 400;

fn open(dir: &Path) -> Ends {
    store::open(&Settings::at(dir), "cp-017").unwrap_or_else(|error| panic!("it does not start: {error}"))
}

fn ticket(n: u64, state: State) -> Ticket {
    let at = T0 + n as Millis * 1000;
    Ticket {
        id: format!("ticket-{n:05}").into(),
        number: format!("CP-017-{n:06}"),
        rule: "low".into(),
        device: Some("pump".into()),
        point: Some(format!("pump.p{n}").into()),
        place: "3号楼".into(),
        title: "水压低".into(),
        class: Class::Immediate,
        level: 1,
        trade: None,
        state,
        revision: 1,
        occurrences: 1,
        value: Some(Value::Number(180.5)),
        limit: json!({"below": 200.0}),
        unit: None,
        external_id: None,
        by: None,
        // Some are longer than a page.
        note: (n.is_multiple_of(20)).then(|| "长".repeat(2000)),
        since: at,
        opened_at: at,
        cleared_at: None,
        resolved_at: None,
        closed_at: (state == State::Closed).then_some(at),
        deadlines: Deadlines::default(),
        evidence: Vec::new(),
    }
}

fn step(n: u64) -> Page {
    let at = T0 + n as Millis * 1000;
    let state = if n.is_multiple_of(4) { State::Closed } else { State::Open };
    let ticket = ticket(n, state);
    let mut events: Vec<Draft> = (0..3)
        .map(|k| Draft::new("device.online", format!("devices/d{k}"), at, &json!({"n": n, "k": k})))
        .collect();
    events.push(Draft::new("ticket.opened", format!("tickets/{}", ticket.id), at, &ticket));
    let subject: Arc<str> = format!("pump.p{n}").into();
    let order = Order {
        key: format!("key-{n}"),
        device: "lock".into(),
        action: "open".into(),
        target: "1".into(),
        reason: None,
        by: "Wang".into(),
        role: gatehouse::order::Role::Technician,
        via: "api".into(),
        expires_at: None,
    };
    Page {
        at,
        synced: true,
        events,
        tickets: vec![TicketRow { ticket, subject: subject.clone(), life: r#"{"episode":1}"#.into() }],
        episodes: vec![EpisodeRow { rule: "low".into(), subject, state: Some(format!(r#"{{"n":{n}}}"#)) }],
        devices: vec![DeviceRow {
            device: format!("d{n}").into(),
            state: DeviceState::Online,
            since: at,
            why: None,
        }],
        orders: vec![OrderRow {
            order,
            begun_at: at,
            ended: (!n.is_multiple_of(10)).then(|| (at, Outcome::of("executed", "unknown", String::new()))),
        }],
        access: vec![AccessRow { subject: format!("doors/d{n}"), state: format!(r#"{{"open":{n}}}"#) }],
        number: Some(n),
        ..Page::default()
    }
}

/// 700 events and more; `dir` is as an orderly end leaves it, `cut` as a power cut does.
fn journal(dir: &Path, cut: &Path) {
    let mut ends = open(dir);
    let consumers = [("crm".into(), Kind::Push, true), ("screen".into(), Kind::Pull, false)];
    ends.journal.keep_consumers(&consumers).unwrap();
    let long = |n: u64| {
        Draft::new("device.online", "devices/d".into(), T0, &json!({"long": "x".repeat(9000), "n": n}))
    };
    ends.journal.commit(&Page { at: 1, events: (0..40).map(long).collect(), ..Page::default() }).unwrap();
    ends.outbox.settle("crm", 40, T0).unwrap();
    // What is retired leaves free pages.
    let day = Duration::from_secs(24 * 3600);
    assert!(ends.journal.retire(T0, day).unwrap() > 30);
    for n in 1..=170 {
        ends.journal.commit(&step(n)).unwrap();
    }
    ends.outbox.settle("crm", HAD, T0).unwrap();
    ends.outbox.settle("screen", HAD - 100, T0).unwrap();
    drop(ends);
    let mut ends = open(dir);
    for n in 171..=180 {
        ends.journal.commit(&step(n)).unwrap();
    }
    copy(dir, cut);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name.to_string_lossy().starts_with("journal.db") {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// What a journal says, by the id that each event was first written under.
#[derive(Debug, Default)]
struct Said {
    epoch: String,
    events: BTreeMap<String, Json>,
    tickets: BTreeMap<String, String>,
    /// What the consumer has still to get.
    pending: u64,
    /// Unclosed ones, as the rules get them.
    recalled: Vec<String>,
    /// Rows of episodes, devices, orders under way and doors.
    state: BTreeSet<String>,
    /// The last of a ticket.
    number: u64,
    /// Events of the journal itself on what was lost.
    told: Vec<Json>,
}

fn said(ends: &Ends) -> Result<Said, store::Error> {
    let mut said = Said { epoch: ends.view.epoch().to_string(), ..Said::default() };
    let mut after = match ends.view.events(0, 1, &Kinds::default()) {
        Err(store::Error::Gone { oldest }) => oldest,
        _ => 0,
    };
    loop {
        let slice = ends.view.events(after, 1000, &Kinds::default())?;
        for event in slice.events {
            take(&mut said, &event);
        }
        if slice.next == after {
            break;
        }
        after = slice.next;
    }
    let acknowledged = ends.outbox.acknowledged("crm")?;
    said.pending = after - acknowledged;
    said.tickets = ends.view.tickets(&Filter { limit: 1000, ..Filter::default() })?.into_iter().collect();
    let memory = ends.journal.recall()?;
    said.number = memory.number;
    said.state.extend(memory.episodes.iter().map(|row| format!("{row:?}")));
    said.state.extend(memory.devices.iter().map(|row| format!("{row:?}")));
    said.state.extend(memory.orders.iter().map(|row| format!("{row:?}")));
    said.state.extend(memory.access.iter().map(|row| format!("{row:?}")));
    let recalled = memory.tickets.into_iter().map(|row| row.ticket);
    let unclosed = recalled.filter(|ticket| ticket.state != State::Closed);
    said.recalled = unclosed.map(|ticket| ticket.id.to_string()).collect();
    Ok(said)
}

fn take(said: &mut Said, event: &Stored) {
    let mut json: Json = serde_json::from_str(&event.json).unwrap();
    if event.kind == "gateway.events-dropped" {
        return said.told.push(json);
    }
    let fields = json.as_object_mut().unwrap();
    let id = fields.remove("id").unwrap();
    let first = fields.remove("origin").unwrap_or(id);
    fields.remove("sequence");
    said.events.insert(first.as_str().unwrap().to_owned(), json);
}

/// What a flip came to.
#[derive(Debug, Default, Clone)]
struct Row {
    flips: u64,
    /// By what it was found.
    found: BTreeMap<&'static str, u64>,
    /// Nobody noticed, and nothing is changed.
    harmless: u64,
    /// As after a power cut in the last commit: nobody can tell.
    last: u64,
    /// Events lost at the most and on the whole; unclosed tickets lost.
    most: u64,
    events: u64,
    tickets: u64,
    /// Rows of the rules, devices, doors, orders under way.
    state: u64,
}

/// One flip: starts, reads everything, starts again where that met damage.
fn flip(row: &mut Row, dir: &Path, before: &Said) {
    row.flips += 1;
    let mut met = false;
    let mut ends = open(dir);
    let after = said(&ends).or_else(|_| {
        // As the daemon does it: the house is built again.
        met = true;
        drop(std::mem::replace(&mut ends, open_elsewhere()));
        ends = open(dir);
        said(&ends)
    });
    let after = after.expect("what was met once is not met again");
    for (id, event) in &after.events {
        assert_eq!(Some(event), before.events.get(id), "an event that was never written: {id}");
    }
    for (id, ticket) in &after.tickets {
        // In a new epoch the revisions leap.
        let ticket = ticket.replace(r#""revision":1001,"#, r#""revision":1,"#);
        assert_eq!(Some(&ticket), before.tickets.get(id), "a ticket that was never written");
    }
    let lost_tickets = before
        .tickets
        .iter()
        .filter(|(id, json)| !json.contains(r#""state":"closed""#) && !after.tickets.contains_key(*id))
        .count() as u64;
    let lost_state = before.state.difference(&after.state).count() as u64;
    if after.epoch == before.epoch {
        let missing = before.events.len() - after.events.len();
        let same = after.recalled == before.recalled && after.pending == before.pending;
        match missing {
            0 if same && after.state == before.state && after.number == before.number => row.harmless += 1,
            // One commit has four events; cursors may be one commit behind as well.
            0..=8 if before.pending >= after.pending => row.last += 1,
            _ => panic!("{missing} events and {lost_tickets} tickets are gone, and nobody says so"),
        }
        return;
    }
    let how = ends.journal.before().unwrap().unwrap();
    *row.found.entry(if met { "when read" } else { by(&how.reason) }).or_default() += 1;
    assert!(!after.told.is_empty() || (how.lost == Some(0) && how.rows.is_empty()), "what is lost is told");
    let seq = |id: &str| id.rsplit('/').next().unwrap().parse::<u64>().unwrap();
    let unacknowledged = before.events.keys().filter(|id| seq(id) > HAD);
    let missing = unacknowledged.filter(|id| !after.events.contains_key(*id)).count() as u64;
    assert!(
        missing == 0 || how.lost.is_none_or(|lost| lost >= missing) || how.rows.contains_key("journal"),
        "{missing} events are gone, {how:?}"
    );
    assert!(
        lost_tickets == 0 || !how.rows.is_empty() || how.reason.contains("log"),
        "{lost_tickets} tickets are gone, {how:?}"
    );
    // Of an order that was not known to have ended it is told that its outcome is not.
    assert!(
        lost_state == 0 || !how.rows.is_empty() || how.reason.contains("log"),
        "{lost_state} rows of state are gone, {how:?}: {:?}",
        before.state.difference(&after.state)
    );
    assert!(
        after.number >= before.number || how.rows.contains_key("journal") || how.reason.contains("log"),
        "ticket numbers from {} to {} would be given twice",
        after.number,
        before.number
    );
    row.state += lost_state;
    (row.events, row.most, row.tickets) =
        (row.events + missing, row.most.max(missing), row.tickets + lost_tickets);
}

fn open_elsewhere() -> Ends {
    open(tempfile::tempdir().unwrap().path())
}

fn by(reason: &str) -> &'static str {
    let words = [
        ("sum", "sum"),
        ("log", "log"),
        ("tables", "schema"),
        ("format", "schema"),
        ("cursor", "cursor"),
        ("malformed", "SQLite"),
        ("not a database", "SQLite"),
        ("gone", "row gone"),
    ];
    words.iter().find(|(word, _)| reason.contains(word)).map_or("structure", |(_, by)| by)
}

fn flips() -> u64 {
    std::env::var("GATEHOUSE_FLIPS").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[test]
fn a_flipped_bit_in_each_class_of_pages_table() {
    let (whole, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    journal(whole.path(), cut.path());
    let mut table: BTreeMap<String, Row> = BTreeMap::new();
    let mut random = 0x2026_1122_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for (fixture, with) in [(&whole, "end"), (&cut, "cut")] {
        let sound = tempfile::tempdir().unwrap();
        copy(fixture.path(), sound.path());
        let before = said(&open(sound.path())).unwrap();
        for (class, places) in pages::classes(fixture.path()) {
            // After a cut only what an orderly end does not have.
            if with == "cut" && !class.starts_with("log") && !class.starts_with("event,") {
                continue;
            }
            let row = table.entry(format!("{class} ({with})")).or_default();
            for _ in 0..flips() {
                let dir = tempfile::tempdir().unwrap();
                copy(fixture.path(), dir.path());
                let (file, range) = &places[next(places.len())];
                let (at, bit) = (range.start + next(range.len()), next(8));
                let path = dir.path().join(file);
                let mut bytes = fs::read(&path).unwrap();
                bytes[at] ^= 1 << bit;
                fs::write(&path, bytes).unwrap();
                let tried =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flip(row, dir.path(), &before)));
                if let Err(panic) = tried {
                    println!("{class}: bit {bit} of byte {at} of {file}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    print(&table);
    let found: u64 = table.values().flat_map(|row| row.found.values()).sum();
    assert!(found > 0 && table.len() > 20, "{found} of {} classes", table.len());
}

fn print(table: &BTreeMap<String, Row>) {
    println!(
        "| page | flips | found by | unnoticed, nothing changed | like a cut in the last commit | events lost: most, all | unclosed tickets lost | rows of state lost |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (class, row) in table {
        let found: Vec<String> = row.found.iter().map(|(by, n)| format!("{by} {n}")).collect();
        println!(
            "| {class} | {} | {} | {} | {} | {}, {} | {} | {} |",
            row.flips,
            found.join(", "),
            row.harmless,
            row.last,
            row.most,
            row.events,
            row.tickets,
            row.state
        );
    }
}

#[test]
fn a_journal_of_noise_begins_a_new_epoch_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&step(1)).unwrap();
    let epoch = ends.journal.epoch().clone();
    drop(ends);
    let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(dir.path().join("journal.db"), &noise).unwrap();
    let ends = open(dir.path());
    assert_ne!(*ends.journal.epoch(), epoch);
    let told = said(&ends).unwrap().told;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["data"]["types"], json!(["unknown"]));
    assert_eq!(told[0]["data"]["count"], Json::Null, "unknown is not 0");
    assert_eq!(told[0]["data"]["to"], format!("{epoch}.4"), "as the mark beside it says");
    assert_eq!(aside(dir.path()), 1);
    let now = ends.journal.epoch().clone();
    drop(ends);
    assert_eq!(*open(dir.path()).journal.epoch(), now, "the new one is sound");
}

#[test]
fn a_journal_that_is_gone_is_said_and_a_new_directory_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    assert_eq!(ends.journal.before().unwrap(), None);
    ends.journal.commit(&step(1)).unwrap();
    drop(ends);
    fs::remove_file(dir.path().join("journal.db")).unwrap();
    let ends = open(dir.path());
    let before = ends.journal.before().unwrap().unwrap();
    assert_eq!((before.reason.as_str(), before.lost), ("the journal is missing", None));
    assert_eq!(said(&ends).unwrap().told.len(), 1);
    drop(ends);
    fs::write(dir.path().join("journal.db"), "").unwrap();
    let again = open(dir.path()).journal.before().unwrap().unwrap();
    assert_eq!(again.reason, "the journal is empty");
    assert!(again.at >= before.at && again.epoch != before.epoch);
}

/// The unclosed ticket's revision, and the only word on what is lost.
fn revision_and_told(ends: &Ends) -> (u64, Json) {
    let said = said(ends).unwrap();
    assert_eq!(said.told.len(), 1, "{:?}", said.told);
    (ends.journal.recall().unwrap().tickets[0].ticket.revision, said.told[0]["data"].clone())
}

#[test]
fn a_journal_that_has_gone_back_begins_a_new_epoch_and_no_number_means_two_things() {
    for copy_again in [true, false] {
        let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut ends = open(dir.path());
        ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
        ends.journal.commit(&step(1)).unwrap();
        let epoch = ends.journal.epoch().clone();
        drop(ends);
        copy(dir.path(), kept.path());
        let mut ends = open(dir.path());
        ends.journal.commit(&step(2)).unwrap();
        ends.journal.leave_mark();
        if copy_again {
            drop(ends);
            copy(kept.path(), dir.path());
        } else {
            // A process that ends at once leaves its log, and somebody removes that.
            let (beside, mark) = (tempfile::tempdir().unwrap(), fs::read(dir.path().join("head")).unwrap());
            copy(dir.path(), beside.path());
            drop(ends);
            for log in ["journal.db-wal", "journal.db-shm"] {
                let _ = fs::remove_file(beside.path().join(log));
                let _ = fs::remove_file(dir.path().join(log));
            }
            copy(beside.path(), dir.path());
            fs::write(dir.path().join("head"), mark).unwrap();
        }
        let ends = open(dir.path());
        assert_ne!(*ends.journal.epoch(), epoch);
        let before = ends.journal.before().unwrap().unwrap();
        assert!(before.reason.contains("ends at 4, and 8 had been told"), "{}", before.reason);
        let (revision, told) = revision_and_told(&ends);
        assert_eq!(
            (&told["from"], &told["to"]),
            (&json!(format!("{epoch}.5")), &json!(format!("{epoch}.8")))
        );
        assert_eq!((&told["count"], revision), (&json!(4), 1001));
        let now = ends.journal.epoch().clone();
        drop(ends);
        assert_eq!(*open(dir.path()).journal.epoch(), now, "once");
    }
}

#[test]
fn a_memory_that_is_gone_is_told_and_one_that_landed_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let now = Moment { at: T0, synced: true };
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    ends.journal.commit(&step(1)).unwrap();
    // On the card, in memory, on the card again: nothing is lost.
    let afloat = Afloat::from_open(ends.journal, "no writes", now).unwrap();
    afloat.land(&store::Seal::none(), now).unwrap();
    drop((afloat, ends.outbox, ends.view, ends.history));
    let ends = open(dir.path());
    assert_eq!(ends.journal.before().unwrap().unwrap().lost, Some(0));
    assert_eq!(ends.journal.recall().unwrap().tickets[0].ticket.revision, 1);
    let epoch = ends.journal.epoch().clone();
    drop(ends);
    drop(Afloat::from_directory(dir.path(), "cp-017", &store::Seal::none(), "no writes", now).unwrap());
    let ends = open(dir.path());
    assert_ne!(*ends.journal.epoch(), epoch);
    let before = ends.journal.before().unwrap().unwrap();
    assert!(before.reason.contains("in memory") && before.lost.is_none(), "{before:?}");
    let (revision, told) = revision_and_told(&ends);
    assert_eq!((&told["count"], revision), (&Json::Null, 1001));
}

#[test]
fn a_journal_that_was_emptied_is_said_and_a_start_that_was_cut_short_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("history")).unwrap();
    fs::write(dir.path().join("journal.db"), []).unwrap();
    let mut ends = open(dir.path());
    assert_eq!(ends.journal.before().unwrap(), None);
    ends.journal.commit(&step(1)).unwrap();
    drop(ends);
    fs::write(dir.path().join("last-good.json"), "{}").unwrap();
    fs::write(dir.path().join("journal.db"), []).unwrap();
    let ends = open(dir.path());
    assert_eq!(ends.journal.before().unwrap().unwrap().reason, "the journal is empty");
    assert_eq!(said(&ends).unwrap().told.len(), 1);
}

#[test]
fn a_size_in_the_head_of_the_file_that_is_too_small_costs_nothing() {
    let (whole, sound) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    journal(whole.path(), tempfile::tempdir().unwrap().path());
    copy(whole.path(), sound.path());
    let before = said(&open(sound.path())).unwrap();
    let path = whole.path().join("journal.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[31] = bytes[31].wrapping_sub(40);
    fs::write(&path, bytes).unwrap();
    let mut row = Row::default();
    flip(&mut row, whole.path(), &before);
    assert_eq!((row.events, row.tickets), (0, 0));
}

#[test]
fn a_table_whose_name_is_damaged_is_found_all_the_same() {
    for table in ["event", "ticket", "consumer", "gateway", "episode", "aside", "ahead", "access"] {
        let dir = tempfile::tempdir().unwrap();
        journal(dir.path(), tempfile::tempdir().unwrap().path());
        let db = Connection::open(dir.path().join("journal.db")).unwrap();
        db.execute_batch("PRAGMA writable_schema = 1").unwrap();
        let renamed = "UPDATE sqlite_schema SET name = 'x' || name, tbl_name = 'x' || name,
            sql = replace(sql, 'TABLE ', 'TABLE x') WHERE type = 'table' AND name = ?1";
        assert_eq!(db.execute(renamed, [table]).unwrap(), 1);
        drop(db);
        let ends = open(dir.path());
        let how = ends.journal.before().unwrap().unwrap();
        assert!(how.rows.is_empty() && how.lost == Some(0), "{table}: {how:?}");
        let tickets = ends.journal.recall().unwrap().tickets.len();
        assert_eq!(tickets, 180, "{table}");
    }
}

/// A million events of an older format have no sums, and are not given any.
#[test]
fn an_event_of_an_older_format_that_is_no_text_any_more_is_found_once_and_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    ends.journal.commit(&step(1)).unwrap();
    drop(ends);
    let db = Connection::open(dir.path().join("journal.db")).unwrap();
    db.execute_batch(
        "UPDATE event SET sum = NULL; UPDATE event SET json = CAST(x'7bff7d' AS TEXT) WHERE seq = 2",
    )
    .unwrap();
    drop(db);
    let ends = open(dir.path());
    assert!(ends.view.events(0, 10, &Kinds::default()).is_err());
    drop(ends);
    let ends = open(dir.path());
    assert!(ends.journal.before().unwrap().is_some(), "{:?}", ends.journal.epoch());
    assert_eq!(ends.view.events(0, 10, &Kinds::default()).unwrap().events.len(), 4);
}

#[test]
fn damaged_journals_are_kept_the_latest_two_of_them() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for n in 1..=3 {
        let path = dir.path().join("journal.db");
        fs::write(&path, format!("noise {n}").repeat(1000)).unwrap();
        drop(open(dir.path()));
        assert_eq!(aside(dir.path()), n.min(2));
        // Their names are times, to the millisecond.
        std::thread::yield_now();
    }
}

#[test]
fn a_changed_event_is_never_sent_and_what_is_met_is_recovered_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    for n in 1..=5 {
        ends.journal.commit(&step(n)).unwrap();
    }
    let epoch = ends.journal.epoch().to_string();
    drop(ends);
    let path = dir.path().join("journal.db");
    let mut bytes = fs::read(&path).unwrap();
    let text = br#"{"k":1,"n":3}"#;
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at + 11] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ends = open(dir.path());
    assert_eq!(
        ends.journal.epoch().to_string(),
        epoch,
        "after an orderly end events are not read at the start"
    );
    let heard = ends.journal.alarm().heard();
    assert!(ends.outbox.pending("crm", 100, &Kinds::default()).is_err());
    assert!(heard.borrow().as_ref().unwrap().contains("10"), "{heard:?}");
    drop(ends);
    let ends = open(dir.path());
    let before = ends.journal.before().unwrap().unwrap();
    assert_eq!((before.epoch.as_deref(), before.lost), (Some(&*epoch), Some(1)));
    let pending = ends.outbox.pending("crm", 100, &Kinds::default()).unwrap().slice.events;
    assert_eq!(pending.len(), 19 + 1, "all but one, and what tells of it");
    let told: Json = serde_json::from_str(&pending[19].json).unwrap();
    assert_eq!(told["type"], "gatehouse.gateway.events-dropped");
    assert_eq!(told["data"]["from"], format!("{epoch}.10"));
    assert_eq!(told["data"]["to"], format!("{epoch}.10"));
    assert_eq!(told["data"]["types"], json!(["device.online"]));
}

/// `cargo test --release --test damage -- --ignored --nocapture million`
#[test]
#[ignore = "minutes: a million events"]
fn a_start_on_a_million_events_is_bounded() {
    let (dir, cut) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    let page = |n: u64| {
        let draft = |k: u64| {
            let data = json!({"n": n, "k": k, "since": "2026-11-22T08:00:00.000Z", "why": "x".repeat(200)});
            Draft::new("device.online", format!("devices/d{k}"), T0, &data)
        };
        Page { at: T0, synced: true, events: (0..1000).map(draft).collect(), ..Page::default() }
    };
    for n in 0..1000 {
        ends.journal.commit(&page(n)).unwrap();
    }
    copy(dir.path(), cut.path());
    drop(ends);
    for (what, dir) in [("an orderly end", &dir), ("a power cut", &cut)] {
        let bytes = fs::metadata(dir.path().join("journal.db")).unwrap().len();
        let started = Instant::now();
        let ends = open(dir.path());
        let took = started.elapsed();
        println!("after {what}: {} events in {bytes} bytes, open after {took:?}", ends.journal.head());
        assert!(took < Duration::from_secs(60), "{took:?}");
    }
}

/// How many damaged journals are kept.
fn aside(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    entries
        .filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("journal.db.broken-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .count()
}

#[test]
fn noise_in_any_part_of_the_history_costs_the_journal_nothing() {
    for part in ["all", "head", "middle"] {
        let dir = tempfile::tempdir().unwrap();
        let mut ends = open(dir.path());
        ends.journal.commit(&step(1)).unwrap();
        let epoch = ends.journal.epoch().clone();
        for n in 0..5000 {
            ends.history
                .note(&"p.v".into(), &Reading::good(PointId(0), T0 + n, Value::Number(n as f64 * 1.37)));
        }
        ends.history.flush(T0);
        drop(ends);
        noise(dir.path(), part);
        let ends = open(dir.path());
        assert_eq!((ends.journal.epoch(), ends.journal.head()), (&epoch, 4), "{part}");
        // Read with errors or with gaps, but read.
        let _ = ends.history.recent("p.v", 0);
    }
}

fn noise(dir: &Path, part: &str) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            noise(&path, part);
        } else if dir.ends_with("history")
            || path.file_name().unwrap().to_string_lossy().starts_with("history")
        {
            let mut bytes = fs::read(&path).unwrap();
            let (len, half) = (bytes.len(), bytes.len() / 2);
            let range = match part {
                "all" => 0..len,
                "head" => 0..len.min(200),
                _ => half..len.min(half + 5000),
            };
            for (n, byte) in bytes[range].iter_mut().enumerate() {
                *byte = ((n as u32).wrapping_mul(2_654_435_761) >> 13) as u8;
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}
