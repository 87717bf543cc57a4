//! Doors and lockers in the journal: each happening kept, in order, none twice, and each one an occurrence for rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;

use std::time::Duration;

use compound::bench::{Bench, kinds, order};
use compound::{CELL_1, CONTACT, GATE, READER};
use gatehouse::event::Kinds;
use gatehouse::happening::{Direction, Happening, Kind};
use gatehouse::order::Outcome;
use gatehouse::pseudonym::Pseudonyms;
use gatehouse::reading::{Batch, DeviceId, PointId, Reading, Value};
use gatehouse::receipt::Receipt;
use gatehouse::rules::{Condition, Over, Rule};
use gatehouse::secret::Secret;
use gatehouse::store::{self, AccessRow, Filter, Page};
use gatehouse::ticket::Class;
use gatehouse::time;
use serde_json::Value as Json;
use tokio::task::LocalSet;

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let work = async { tokio::time::timeout(Duration::from_secs(120), work).await.unwrap() };
    runtime.block_on(local.run_until(work));
}

/// The `n`th entry of the controller.
fn entry(n: u64) -> Happening {
    let keys = Pseudonyms::new(&Secret::new("0123456789abcdef")).unwrap();
    let mut entry = Happening::new(GATE, time::now(), Kind::Granted);
    entry.record = Some(n.to_string().into());
    entry.who = Some(keys.card(&format!("{}", 6_000_000 + n % 50)));
    entry.point = Some(PointId(2));
    entry
}

fn batch(happenings: Vec<Happening>) -> Batch {
    let mut batch = Batch::new(happenings[0].device, time::now(), Vec::new(), None);
    batch.happenings = happenings;
    batch
}

fn records(events: &[Json]) -> Vec<String> {
    let granted = events.iter().filter(|event| event["subject"] == "devices/gate");
    granted.map(|event| event["data"]["record"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_thousand_happenings_are_all_kept_in_order_and_in_few_transactions() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        for n in 0..1000 {
            bench.batches.send(batch(vec![entry(n)])).await.unwrap();
        }
        let events = bench.events(1000).await;
        let expected: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert_eq!(records(&events), expected);
        let metrics = bench.metrics.render();
        let commits = metrics.lines().find_map(|line| line.strip_prefix("gatehouse_commit_seconds_count "));
        let commits: u32 = commits.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
        println!("1000 happenings in {commits} transactions");
        assert!(commits <= 100, "{commits} transactions");
        bench.stop().await;
    });
}

#[test]
fn what_a_device_tells_again_happened_once_also_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let again = [0, 1, 1, 2, 0, 3].map(entry).to_vec();
        bench.batches.send(batch(again)).await.unwrap();
        assert_eq!(records(&bench.events(4).await), ["0", "1", "2", "3"]);
        bench.stop().await;

        let mut bench = Bench::start(dir.path());
        let mut replaced = entry(2);
        replaced.who = entry(7).who;
        let told = vec![entry(3), entry(2), replaced, entry(4)];
        bench.batches.send(batch(told)).await.unwrap();
        let events = bench.events(6).await;
        assert_eq!(
            records(&events),
            ["0", "1", "2", "3", "2", "4"],
            "a controller that counts anew tells something else under a number of before"
        );
        // Without a number each is new.
        let card = Happening::new(READER, time::now(), Kind::Denied);
        bench.batches.send(batch(vec![card.clone(), card])).await.unwrap();
        let events = bench.events(10).await;
        let denied = events.iter().filter(|event| event["subject"] == "devices/b3-reader").count();
        assert_eq!(denied, 2);
        bench.stop().await;
    });
}

#[test]
fn a_receipt_is_signed_when_all_that_came_before_it_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let bench = Bench::start(dir.path());
        for n in 0..600 {
            bench.batches.send(batch(vec![entry(n)])).await.unwrap();
        }
        let mut last = batch(vec![entry(600)]);
        let receipt = Receipt::default();
        last.kept = Some(receipt.clone());
        assert!(!receipt.is_signed());
        bench.batches.send(last).await.unwrap();
        receipt.signed().await;
        let kept = bench.view.events(0, 1000, &Kinds::default()).unwrap().events.len();
        assert!(kept >= 601, "{kept}");
        // What changes nothing has its receipt too.
        let mut idle = Batch::new(GATE, time::now(), Vec::new(), None);
        idle.kept = Some(Receipt::default());
        let receipt = idle.kept.clone().unwrap();
        bench.batches.send(idle).await.unwrap();
        receipt.signed().await;
        bench.stop().await;
    });
}

fn forced() -> Rule {
    Rule {
        id: "forced".into(),
        over: Over::Points(vec![PointId(11)]),
        condition: Condition::Equals(Value::Text("forced".into())),
        limit: serde_json::json!({ "equals": "forced" }),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: 3_600_000,
        verify: 3_600_000,
        reopen: 3_600_000,
        class: Class::Immediate,
        level: 1,
        trade: None,
        chatter: None,
        title: None,
    }
}

#[test]
fn a_rule_on_the_momentary_point_of_a_door_opens_a_ticket_when_it_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::with(dir.path(), vec![forced()], 8);
        for word in ["closed", "open"] {
            let at = time::now();
            let reading = Reading::good(CONTACT, at, Value::Text(word.into()));
            bench.batches.send(Batch::new(DeviceId(0), at, vec![reading], None)).await.unwrap();
        }
        // Nothing comes any more: the judgement comes by itself.
        let events = bench.events(3).await;
        assert_eq!(kinds(&events), ["access.opened", "access.forced", "ticket.opened"]);
        assert_eq!(events[0]["time"], events[1]["time"]);
        assert_eq!(events[2]["data"]["point"], "b3-entrance.access");
        let tickets = bench.view.tickets(&Filter { limit: 9, ..Filter::default() }).unwrap();
        assert_eq!(tickets.len(), 1);
        bench.stop().await;
    });
}

#[test]
fn an_open_door_is_not_opened_again_by_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let reads = async |bench: &Bench, word: &str| {
            let at = time::now();
            let reading = Reading::good(CONTACT, at, Value::Text(word.into()));
            bench.batches.send(Batch::new(DeviceId(0), at, vec![reading], None)).await.unwrap();
        };
        let mut bench = Bench::start(dir.path());
        let grant = Happening::new(READER, time::now(), Kind::Granted);
        bench.batches.send(batch(vec![grant])).await.unwrap();
        reads(&bench, "closed").await;
        reads(&bench, "open").await;
        bench.events(3).await;
        bench.stop().await;
        let mut bench = Bench::start(dir.path());
        reads(&bench, "open").await;
        reads(&bench, "closed").await;
        let events = bench.events(4).await;
        let expected = ["access.granted", "access.granted", "access.opened", "access.closed"];
        assert_eq!(kinds(&events), expected);
        bench.stop().await;
    });
}

#[test]
fn of_a_door_that_left_the_configuration_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings = || store::Settings::at(dir.path());
    let subjects = || {
        let ends = store::open(&settings(), "cp-017").unwrap();
        let rows = ends.journal.recall().unwrap().access.into_iter();
        rows.map(|row| row.subject).collect::<Vec<_>>()
    };
    let row = |subject: &str| AccessRow { subject: subject.into(), state: "{}".into() };
    let known = ["devices/bank-1", "devices/bank-9", "doors/b3-entrance", "doors/torn-down"];
    let mut ends = store::open(&settings(), "cp-017").unwrap();
    ends.journal.commit(&Page { access: known.map(row).into(), ..Page::default() }).unwrap();
    drop(ends);
    assert_eq!(subjects(), known);
    run(async { Bench::start(dir.path()).stop().await });
    assert_eq!(subjects(), ["devices/bank-1", "doors/b3-entrance"]);
}

/// More fields than this the reports of those who use the events do not take.
const FIELDS_MAX: usize = 18;

#[test]
fn no_event_of_a_door_a_locker_or_an_order_has_more_fields_than_its_users_take() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let mut bench = Bench::start(dir.path());
        let mut whole = entry(1);
        (whole.direction, whole.reason, whole.late) =
            (Some(Direction::In), Some("no-privilege".into()), true);
        bench.batches.send(batch(vec![whole])).await.unwrap();
        for word in ["closed", "open"] {
            bench.reads(CONTACT, word).await;
        }
        bench.reads(CELL_1, "closed").await;
        let asked = bench.wish(order("open", "cell-1", "k-1")).await;
        let deed = bench.deed().await;
        bench.done(&deed, Outcome::Executed { what: "taken".into() }).await;
        bench.reads(CELL_1, "open").await;
        asked.answer.await.unwrap().unwrap();
        let refused = bench.wish(order("open", "cell-9", "k-2")).await;
        refused.answer.await.unwrap().unwrap_err();
        // Granted, opened, forced, a cell opened by order, the order, one refused.
        let events = bench.events(6).await;
        for kind in
            ["access.granted", "access.forced", "locker.opened", "command.executed", "command.refused"]
        {
            assert!(kinds(&events).iter().any(|told| told.starts_with(kind)), "{kind}: {:?}", kinds(&events));
        }
        for event in &events {
            let fields = event["data"].as_object().unwrap().len();
            assert!((1..=FIELDS_MAX).contains(&fields), "{event} has {fields} fields");
        }
        bench.stop().await;
    });
}
