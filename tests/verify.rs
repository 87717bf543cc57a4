//! Whoever changes the journal by hand is found, with the number of the event: `gatehouse verify` against somebody with
//! Python's sqlite3 who knows how rows, sums and chain are written. `GATEHOUSE_VERIFIED=1000000 cargo test --test verify
//! -- --nocapture long` prints how long a journal of so many events takes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod a_ticket;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use gatehouse::event::{Draft, Kinds};
use gatehouse::order::{Order, Outcome, Role};
use gatehouse::reading::Millis;
use gatehouse::secret::Secret;
use gatehouse::store::room::Way;
use gatehouse::store::{
    self, Asked, EVENTS_KEEP_DEFAULT, Ends, Kind, OrderRow, Page, Seal, Settings, TicketRow, backup,
};
use gatehouse::ticket::{State, Ticket};
use gatehouse::time;
use rusqlite::{Connection, params};
use serde_json::{Value as Json, json};

const T0: Millis = 1_763_712_000_000;
const DAY: Millis = 24 * 3600 * 1000;
const HEAD: u64 = 300;
/// What the required consumer has.
const HAD: u64 = 200;

fn open(dir: &Path) -> Ends {
    open_sealed(dir, &Seal::none())
}

fn open_sealed(dir: &Path, seal: &Seal) -> Ends {
    let settings = Settings::at(dir);
    // A process that another test starts at this moment has our lock with it until it is another program.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        match store::open_sealed(&settings, "cp-017", seal) {
            Err(store::Error::InUse(_)) if Instant::now() < end => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn write(ends: &mut Ends, seqs: std::ops::RangeInclusive<u64>) {
    write_since(T0, ends, seqs);
}

fn write_since(t0: Millis, ends: &mut Ends, seqs: std::ops::RangeInclusive<u64>) {
    let seqs: Vec<u64> = seqs.collect();
    for some in seqs.chunks(1000) {
        let draft = |n: &u64| {
            let (at, data) =
                (t0 + *n as Millis * 1000, json!({ "n": n, "why": "as it happens in a compound" }));
            Draft::new("device.online", format!("devices/d{}", n % 7), at, &data)
        };
        let events = some.iter().map(draft).collect();
        let page = Page { at: t0 + some[0] as Millis * 1000, synced: true, events, ..Page::default() };
        ends.journal.commit(&page).unwrap();
    }
}

/// A journal that ended in order, of which a centre has had a part.
fn journal() -> (tempfile::TempDir, String) {
    journal_since(T0)
}

fn journal_since(t0: Millis) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    write_since(t0, &mut ends, 1..=HEAD);
    ends.outbox.settle("crm", HAD, T0).unwrap();
    let anchor = anchor(&ends, HAD);
    (dir, anchor)
}

/// As the centre was told.
fn anchor(ends: &Ends, seq: u64) -> String {
    format!("{}.{seq}:{}", ends.journal.epoch(), ends.view.chain_at(seq).unwrap().unwrap())
}

fn attack(dir: &Path, attack: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new(root.join("tests/.venv/bin/python"));
    python.arg(root.join("tests/verify/attacker.py")).arg(dir.join("journal.db")).args(attack);
    let done = python.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// What `gatehouse verify --json` says, and whether it ended with 0.
fn verified(path: &Path, anchors: &[&str]) -> (Json, bool) {
    let (said, code) = judged(path, anchors);
    (said, code == Some(0))
}

/// And with what it ended. It has no configuration, and so no key.
fn judged(path: &Path, anchors: &[&str]) -> (Json, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.args(["verify", "--json", "--config", "/nowhere"]).arg(path);
    for anchor in anchors {
        command.args(["--anchor", anchor]);
    }
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    let said = serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&done.stderr)));
    (said, done.status.code())
}

/// The numbers of events that are not as they were told.
fn faults(said: &Json) -> Vec<u64> {
    said["faults"].as_array().unwrap().iter().filter_map(|fault| fault["event"].as_u64()).collect()
}

#[test]
fn a_journal_that_nobody_touched_holds_also_beside_a_daemon_that_writes_to_it_and_as_a_backup() {
    let (dir, given) = journal();
    let (said, well) = verified(dir.path(), &[&given]);
    assert!(well && said["holds"] == true, "{said}");
    assert_eq!((&said["events"], &said["from"], &said["to"]), (&json!(HEAD), &json!(1), &json!(HEAD)));
    assert_eq!((&said["anchors"]["hold"], &said["anchors"]["given"]), (&json!(2), &json!(1)), "{said}");
    let mut ends = open(dir.path());
    write(&mut ends, HEAD + 1..=HEAD + 50);
    let (said, well) = verified(dir.path(), &[&given, &anchor(&ends, HEAD + 50)]);
    assert!(well && said["to"] == json!(HEAD + 50), "{said}");
    let copy = dir.path().join("copy");
    backup::make(&backup::Order { dir: dir.path(), into: &copy, history: false, texts: &[], at: T0 })
        .unwrap();
    let (said, well) = verified(&copy, &[&given]);
    assert!(well && said["events"] == json!(HEAD + 50), "{said}");
}

#[test]
fn whatever_is_changed_by_hand_is_found_with_its_number() {
    for (attacked, found) in [
        (&["text", "137"][..], &[137][..]),
        (&["text-and-sum", "137"], &[137]),
        (&["kind", "137"], &[137]),
        (&["delete", "137"], &[137]),
        (&["swap", "137", "250"], &[137, 250]),
        (&["swap", "137", "138"], &[137, 138]),
        (&["append", "300"], &[301]),
        (&["truncate", "150"], &[151]),
        (&["truncate", "290"], &[291]),
        (&["chain-value", "137"], &[137]),
        (&["chain-value", "300"], &[300]),
        (&["text-and-sum", "300"], &[300]),
        (&["text-and-sum", "1"], &[1]),
        (&["stub", "137"], &[137]),
        (&["digest", "137"], &[137]),
        (&["oldest", "100"], &[100]),
        (&["no-value", "137"], &[137]),
        (&["no-sum", "137"], &[137]),
        (&["retired", "250"], &[HAD + 1]),
        (&["begun-later", "137"], &[1]),
        // The chain is made anew: what the consumer has acknowledged is not what it was.
        (&["text-and-chain", "137"], &[HAD]),
    ] {
        let (dir, _) = journal();
        attack(dir.path(), attacked);
        let (said, well) = verified(dir.path(), &[]);
        println!("{}: {}", attacked.join(" "), said["faults"]);
        let mut faults = faults(&said);
        faults.dedup();
        assert!(!well && faults == found, "{attacked:?}: {said}");
    }
}

#[test]
fn who_makes_the_whole_chain_anew_with_all_that_the_box_keeps_of_it_is_found_by_what_the_centre_keeps() {
    let (dir, given) = journal();
    attack(dir.path(), &["text-chain-and-anchors", "137"]);
    assert!(verified(dir.path(), &[]).1, "nothing on the box can tell");
    let (said, well) = verified(dir.path(), &[&given]);
    assert!(!well && faults(&said) == [HAD], "{said}");
    let (dir, _) = journal();
    let (said, well) = verified(dir.path(), &[&given]);
    assert!(!well && said["faults"][0]["what"].as_str().unwrap().contains("epoch"), "{said}");
}

/// What is sealed with a key that is not at hand was not looked at, and that is not as good as well.
#[test]
fn without_the_key_nothing_is_said_to_hold() {
    let seal = Seal::new(Some(&Secret::new("a key of thirty-two characters at least")), &[]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open_sealed(dir.path(), &seal);
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    write(&mut ends, 1..=HEAD);
    ends.outbox.settle("crm", 100, T0).unwrap();
    assert!(ends.journal.give_way(Way::Unacknowledged, T0, true).unwrap().is_some());
    write(&mut ends, HEAD + 2..=HEAD + 10);
    let given = anchor(&ends, HEAD + 5);
    let copy = dir.path().join("copy");
    backup::make(&backup::Order { dir: dir.path(), into: &copy, history: false, texts: &[], at: T0 })
        .unwrap();
    drop(ends);
    for path in [dir.path(), &copy] {
        let (said, code) = judged(path, &[&given]);
        assert_eq!((&said["holds"], code), (&Json::Null, Some(3)), "{said}");
        assert!(said["faults"] == json!([]) && said["locked"] == said["events"], "{said}");
        let report = store::verify::verify(path, &[], &seal, EVENTS_KEEP_DEFAULT).unwrap();
        assert!(report.holds() && report.locked == 0, "{report:?}");
    }
    attack(dir.path(), &["no-value", "303"]);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((&said["holds"], code, faults(&said)), (&json!(false), Some(1), vec![303]), "{said}");
}

/// The journal says itself where its chain began.
#[test]
fn a_journal_that_was_born_with_the_chain_has_no_events_of_before() {
    let (dir, given) = journal();
    attack(dir.path(), &["no-chain", "137"]);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((code, &said["before_chain"], faults(&said)), (Some(1), &json!(0), vec![1]), "{said}");
    let (said, _) = judged(dir.path(), &[&given]);
    assert_eq!(faults(&said), [1, HAD], "{said}");
    assert!(said["faults"][1]["what"].as_str().unwrap().contains("the value that was given"), "{said}");
    // With what the journal says of itself too: nothing on the box can tell, and that is what is said.
    for attacked in ["begun-later-and-anew", "older-format"] {
        let (dir, given) = journal();
        attack(dir.path(), &[attacked, "250"]);
        let (said, code) = judged(dir.path(), &[]);
        assert_eq!((&said["holds"], code), (&Json::Null, Some(3)), "{attacked}: {said}");
        let (said, code) = judged(dir.path(), &[&given]);
        assert_eq!((code, faults(&said)), (Some(1), vec![HAD]), "{attacked}: {said}");
    }
}

#[test]
fn a_journal_of_before_the_chain_has_one_from_its_next_event_on() {
    let dir = tempfile::tempdir().unwrap();
    let db = Connection::open(dir.path().join("journal.db")).unwrap();
    for format in [
        include_str!("fault_disk/journal-1.sql"),
        include_str!("fault_disk/journal-2.sql"),
        include_str!("fault_disk/journal-3.sql"),
    ] {
        db.execute_batch(format).unwrap();
    }
    db.pragma_update(None, "user_version", 3).unwrap();
    let epoch = "0199aaaabbbbccccddddeeeeffff0000";
    db.execute("INSERT INTO gateway VALUES (1, 'cp-017', ?1, 0, ?2)", params![epoch, T0]).unwrap();
    for seq in 1..=10u64 {
        let event = Draft::new("device.online", "devices/d1".into(), T0, &json!({ "n": seq }));
        let event = event.render("cp-017", epoch, seq, true);
        let row = "INSERT INTO event(seq, at, kind, json) VALUES (?1, ?2, 'device.online', ?3)";
        db.execute(row, params![seq, T0, event]).unwrap();
    }
    drop(db);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((&said["holds"], code, &said["before_chain"]), (&Json::Null, Some(3), &json!(10)), "{said}");
    let mut ends = open(dir.path());
    write(&mut ends, 11..=20);
    let (said, code) = judged(dir.path(), &[&anchor(&ends, 15)]);
    assert_eq!((&said["holds"], code, &said["before_chain"]), (&Json::Null, Some(3), &json!(10)), "{said}");
    // Once they have been kept long enough, all that is there is of the chain.
    let retired =
        ends.journal.retire(T0 + EVENTS_KEEP_DEFAULT.as_millis() as Millis + 11_000, EVENTS_KEEP_DEFAULT);
    assert_eq!(retired.unwrap(), 10);
    let (said, well) = verified(dir.path(), &[]);
    assert!(well && said["from"] == 11, "{said}");
    drop(ends);
    attack(dir.path(), &["oldest", "13"]);
    assert_eq!(faults(&verified(dir.path(), &[]).0), [13]);
}

#[test]
fn a_beginning_that_went_before_its_time_is_doubted() {
    let (dir, _) = journal_since(time::now() - 3_600_000);
    assert!(verified(dir.path(), &[]).1);
    attack(dir.path(), &["retired", "100"]);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((&said["holds"], code), (&Json::Null, Some(3)), "{said}");
    assert!(said["doubts"][0]["what"].as_str().unwrap().contains("events_keep"), "{said}");
    // That the first one left was written long ago, its row says and its text does not.
    let (dir, _) = journal_since(time::now() - 3_600_000);
    attack(dir.path(), &["retired", "100", &(time::now() - 85 * 24 * 3_600_000).to_string()]);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said["doubts"][0]["what"].as_str().unwrap().contains("events_keep"), "{said}");
}

#[test]
fn a_row_that_says_that_an_event_told_an_erasure_costs_that_event_nothing() {
    let (dir, given) = journal();
    attack(dir.path(), &["erasure-row", "17"]);
    let mut ends = open(dir.path());
    ends.journal.forget_erased(T0, true).unwrap();
    drop(ends);
    let (said, well) = verified(dir.path(), &[&given]);
    assert!(well && said["expired"] == 0, "{said}");
}

#[test]
fn a_spoilt_value_of_the_chain_costs_no_event_and_the_chain_goes_on() {
    let (dir, _) = journal();
    attack(dir.path(), &["chain-value", "300"]);
    let mut ends = open(dir.path());
    assert_eq!(ends.journal.head(), HEAD, "it is no damage");
    write(&mut ends, HEAD + 1..=HEAD + 5);
    let (said, _) = verified(dir.path(), &[]);
    assert_eq!(faults(&said), [300]);
}

#[test]
fn what_gave_way_to_room_and_what_was_kept_long_enough_is_no_fault() {
    let (dir, given) = journal();
    let mut ends = open(dir.path());
    write(&mut ends, HEAD + 1..=HEAD + 50);
    assert!(ends.journal.give_way(Way::Unacknowledged, T0, true).unwrap().is_some());
    let head = ends.journal.head();
    write(&mut ends, head + 1..=head + 30);
    let day = 24 * 3600 * 1000;
    let retired = ends.journal.retire(T0 + 400 * day, store::EVENTS_KEEP_DEFAULT).unwrap();
    assert_eq!(retired, HAD);
    let (said, well) = verified(dir.path(), &[&given]);
    assert!(well, "{said}");
    assert!(said["from"].as_u64().unwrap() > HAD, "{said}");
    let first = said["from"].to_string();
    attack(dir.path(), &["text-and-sum", &first]);
    let (said, _) = verified(dir.path(), &[]);
    assert_eq!(faults(&said), [said["from"].as_u64().unwrap()], "also the first behind a hole");
}

fn commit(ends: &mut Ends, at: Millis, kind: &'static str, subject: &str, data: &Json) {
    let events = vec![Draft::new(kind, subject.into(), at, data)];
    ends.journal.commit(&Page { at, synced: true, events, ..Page::default() }).unwrap();
}

/// As long as nobody touches it, it holds; after each of these attacks it does not, and this event is named.
fn found(dir: &Path, attacks: &[(&[&str], u64)]) {
    let whole = std::fs::read(dir.join("journal.db")).unwrap();
    let (said, code) = judged(dir, &[]);
    assert_eq!(code, Some(0), "{said}");
    for (attacked, seq) in attacks {
        attack(dir, attacked);
        let (said, code) = judged(dir, &[]);
        println!("{}: {}", attacked.join(" "), said["faults"]);
        assert_eq!((code, faults(&said)), (Some(1), vec![*seq]), "{attacked:?}: {said}");
        std::fs::write(dir.join("journal.db"), &whole).unwrap();
        // What the attacker wrote may still be in the log.
        for log in ["journal.db-wal", "journal.db-shm"] {
            let _ = std::fs::remove_file(dir.join(log));
        }
    }
}

const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// What expires is told beforehand, in the chain.
#[test]
fn a_stub_is_told_by_the_gateway_or_was_made_by_hand() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    commit(&mut ends, T0, "gateway.started", "gateways/cp-017", &json!({ "keep": { "device.*": 1 } }));
    commit(&mut ends, T0, "access.forced", "doors/b3", &json!({ "door": "b3" }));
    write(&mut ends, 3..=HEAD);
    ends.outbox.settle("crm", HAD, T0).unwrap();
    ends.journal.keep_kinds(&[("device.*".into(), KEPT)]);
    while ends.journal.expire(T0 + 31 * DAY).unwrap() {}
    let told = ends.view.events(HEAD, 10, &Kinds::default()).unwrap().events;
    let told: Json = serde_json::from_str(&told[0].json).unwrap();
    assert_eq!(told["type"], "gatehouse.gateway.expired");
    let data = json!({ "from": 3, "to": HAD, "types": ["device.*"], "before": time::format(T0 + DAY) });
    assert_eq!((&told["data"], ends.journal.head()), (&data, HEAD + 1), "once");
    drop(ends);
    found(
        dir.path(),
        &[
            // Another kind, above what the centre had, at a time of its own, and what tells of it all.
            (&["expired-as", "2", "100"], 2),
            (&["expired-as", "250", "100"], 250),
            (&["expired", "250"], 250),
            (&["stub-time", "100"], 100),
        ],
    );
    attack(dir.path(), &["stub-subject", "100"]);
    assert!(verified(dir.path(), &[]).1, "of a stub the chain holds number, type and digest");
    attack(dir.path(), &["expired-as", "301", "100"]);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((code, faults(&said)), (Some(1), vec![HAD, HEAD + 1]), "{said}");
}

/// A journal in which an older gatehouse may have let things expire, which told nothing of it.
#[test]
fn where_nobody_told_what_expires_a_stub_is_doubted() {
    let (dir, given) = journal();
    attack(dir.path(), &["expired", "137"]);
    let (said, code) = judged(dir.path(), &[&given]);
    assert_eq!((code, &said["doubts"][0]["event"], faults(&said)), (Some(3), &json!(137), vec![]), "{said}");
    attack(dir.path(), &["stub", "138"]);
    assert_eq!(faults(&judged(dir.path(), &[]).0), [138], "an erasure was always told");
}

#[test]
fn no_more_events_are_erased_than_the_erasure_tells() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    commit(&mut ends, T0, "gateway.started", "gateways/cp-017", &json!({ "keep": {} }));
    for n in 2..=30 {
        let card = if n % 10 == 0 { "c-0123456789abcdef" } else { "c-fedcba9876543210" };
        commit(&mut ends, T0 + n, "access.granted", "doors/b3", &json!({ "card": card }));
    }
    let asked = Asked { pseudonym: "c-0123456789abcdef".into(), by: "Wang".into(), reason: None };
    ends.outbox.erase(&asked, T0 + DAY).unwrap();
    while ends.journal.erase_on(T0 + DAY, true).unwrap().is_some() {}
    assert_eq!(ends.journal.head(), 31);
    drop(ends);
    found(dir.path(), &[(&["erased-as", "5", "10"], 5), (&["stub", "5"], 5), (&["expired", "6"], 6)]);
    // Also when nobody knows any more who it was.
    let mut ends = open(dir.path());
    ends.outbox.settle("crm", 31, T0 + DAY).unwrap();
    assert!(ends.journal.forget_erased(T0 + 2 * DAY, true).unwrap());
    assert_eq!(ends.journal.head(), 32);
    drop(ends);
    found(dir.path(), &[(&["erased-as", "5", "10"], 5), (&["stub-time", "31"], 31)]);
}

/// An order that was given, as the daemon writes it.
fn order(ends: &mut Ends, key: &str, at: Millis, expires_at: Option<Millis>) {
    let order = Order {
        key: key.into(),
        device: "gate".into(),
        action: "open".into(),
        target: String::new(),
        reason: Some("a parcel".into()),
        by: "Wang".into(),
        role: Role::Technician,
        via: "api".into(),
        expires_at,
    };
    let data = json!({
        "device": "gate", "action": "open", "target": "", "by": "Wang", "reason": "a parcel", "key": key,
        "expires_at": expires_at.map(time::format), "outcome": "executed", "detail": "",
    });
    let ended = Some((at, Outcome::of("executed", "unknown", String::new())));
    let events = vec![Draft::new("command.executed", "devices/gate".into(), at, &data)];
    let orders = vec![OrderRow { order, begun_at: at, ended }];
    ends.journal.commit(&Page { at, synced: true, events, orders, ..Page::default() }).unwrap();
}

#[test]
fn an_order_that_was_given_is_known_or_its_event_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    order(&mut ends, "waits", T0, Some(T0 + 3 * DAY));
    order(&mut ends, "for-ever", T0 + 1, None);
    order(&mut ends, "over", T0 + 2, Some(T0 + DAY));
    order(&mut ends, "new", T0 + 2 * DAY, None);
    assert_eq!(ends.journal.retire_orders(T0 + 2 * DAY, T0 + 2 * DAY).unwrap(), 2);
    // The same key again once it is free.
    order(&mut ends, "over", T0 + 2 * DAY + 1, Some(T0 + 3 * DAY));
    drop(ends);
    found(
        dir.path(),
        &[
            (&["no-order", "1"], 1),
            (&["no-key", "2"], 2),
            (&["no-order", "4"], 4),
            (&["order-row", "4"], 4),
            (&["order-row", "5"], 5),
            (&["order-row-target", "4"], 4),
            (&["order-row-by", "4"], 4),
            (&["order-row-reason", "4"], 4),
            (&["order-row-no-reason", "4"], 4),
            (&["order-row-end", "4"], 4),
            (&["order-row-detail", "4"], 4),
        ],
    );
    // And is given again: then its row is there.
    attack(dir.path(), &["no-order", "4"]);
    let mut ends = open(dir.path());
    order(&mut ends, "new", T0 + 2 * DAY + 7, None);
    drop(ends);
    assert_eq!(faults(&judged(dir.path(), &[]).0), [4, 6]);
    // An older gatehouse did not tell when an order expires.
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    order(&mut ends, "over", T0, Some(T0 + DAY));
    let data = json!({ "device": "gate", "action": "open", "key": "k", "outcome": "executed" });
    commit(&mut ends, T0 + 1, "command.executed", "devices/gate", &data);
    ends.journal.retire_orders(T0 + 2 * DAY, T0 + 2 * DAY).unwrap();
    drop(ends);
    let (said, code) = judged(dir.path(), &[]);
    assert_eq!((code, &said["doubts"][0]["event"]), (Some(3), &json!(2)), "{said}");
}

#[test]
fn a_ticket_is_as_its_last_event_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    for (revision, state) in [(1, State::Open), (2, State::Acknowledged), (3, State::Open)] {
        let ticket = Ticket { state, revision, ..a_ticket::open("ticket-1", T0) };
        let events = vec![Draft::new("ticket.updated", "tickets/ticket-1".into(), T0, &ticket)];
        let tickets = vec![TicketRow { ticket, subject: "pump".into(), life: "{}".into() }];
        ends.journal.commit(&Page { at: T0, synced: true, events, tickets, ..Page::default() }).unwrap();
    }
    drop(ends);
    found(dir.path(), &[(&["ticket-row", "3"], 3), (&["no-ticket", "3"], 3)]);
}

/// The program of docs/crm.md.
#[test]
fn a_centre_can_follow_the_chain_by_the_bytes_that_it_got() {
    let (dir, _) = journal();
    let ends = open(dir.path());
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/crm.md")).unwrap();
    let (_, program) = page.split_once("<!-- run: chain -->\n```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let slice = ends.view.events(20, 50, &Kinds::default()).unwrap();
    let events: Vec<&str> = slice.events.iter().map(|event| &*event.json).collect();
    let chain = |seq| ends.view.chain_at(seq).unwrap().unwrap().to_string();
    let answer =
        format!(r#"{{"epoch":"e","events":[{}],"next":"70","chain":"{}"}}"#, events.join(","), chain(70));
    for (body, right) in [(answer.clone(), "True\n"), (answer.replace(r#""n":37"#, r#""n":38"#), "False\n")] {
        std::fs::write(dir.path().join("answer"), body).unwrap();
        let answer = std::fs::File::open(dir.path().join("answer")).unwrap();
        let said = Command::new("python3").args(["-c", program, &chain(20)]).stdin(answer).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), right, "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[test]
fn a_long_journal_is_read_in_bounded_memory() {
    let Some(count) = std::env::var("GATEHOUSE_VERIFIED").ok().and_then(|count| count.parse().ok()) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let began = Instant::now();
    write(&mut ends, 1..=count);
    println!("written in {:.1} s", began.elapsed().as_secs_f64());
    drop(ends);
    let bytes = std::fs::metadata(dir.path().join("journal.db")).unwrap().len();
    let began = Instant::now();
    let report =
        store::verify::verify(&PathBuf::from(dir.path()), &[], &Seal::none(), store::EVENTS_KEEP_DEFAULT)
            .unwrap();
    assert!(report.holds() && report.events == count);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{count} events, {bytes} bytes, verified in {:.1} s; {peak}", began.elapsed().as_secs_f64());
}
