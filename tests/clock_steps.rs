//! What a wrong clock and a stepped one do to everything that waits: nothing. Each case is run by a clock that nobody touches,
//! and by one that is stepped in the middle; the events, re-based as `docs/time.md` says, are the same at the same moments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod compound;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use compound::bench::{Bench, order};
use compound::{BANK, GATE};
use gatehouse::clock::Clock;
use gatehouse::maintenance::{Call, Scope};
use gatehouse::reading::{Batch, Millis, PointId, Reading, Value};
use gatehouse::rules::{Condition, Occasions, Over, Rule};
use gatehouse::ticket::Class;
use gatehouse::time;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;
use tokio::task::LocalSet;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
/// 2026-11-22 08:30, an ordinary Sunday.
const TODAY: Millis = 1_795_336_200_000;
/// When the clock is stepped, after the beginning.
const STEPPED: Millis = 90_500;

/// Of no door, and so of the rules alone.
const POINT: PointId = PointId(2);
const OTHER: PointId = PointId(3);

fn rule(id: &str, over: Over, condition: Condition) -> Rule {
    Rule {
        id: id.into(),
        over,
        condition,
        limit: json!({}),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: HOUR,
        verify: HOUR,
        reopen: HOUR,
        class: Class::Immediate,
        level: 1,
        trade: None,
        chatter: None,
        title: None,
    }
}

fn low(point: PointId) -> Rule {
    let low = rule(
        if point == POINT { "low" } else { "other" },
        Over::Points(vec![point]),
        Condition::Below(200.0),
    );
    Rule { on_delay: MINUTE, off_delay: MINUTE, ..low }
}

fn nine() -> Rule {
    let nine = Occasions::parse("0 9 * * *", "UTC").unwrap();
    rule("nine", Over::Nothing, Condition::Schedule(Box::new(nine)))
}

fn unsynced() -> Rule {
    Rule { on_delay: 30 * MINUTE, ..rule("clock-unsynced", Over::Nothing, Condition::ClockUnsynced) }
}

/// A day of paused time is a moment.
fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(LocalSet::new().run_until(work))
}

async fn pass(span: Millis) {
    tokio::time::sleep(Duration::from_millis(span as u64)).await;
}

async fn reads(bench: &Bench, clock: &Clock, point: PointId, value: f64) {
    let reading = Reading::good(point, clock.now(), Value::Number(value));
    bench.batches.send(Batch::new(GATE, reading.at, vec![reading], None)).await.unwrap();
}

fn kind(event: &Json) -> &str {
    event["type"].as_str().unwrap().trim_start_matches("gatehouse.")
}

fn at(event: &Json) -> Millis {
    time::parse(event["time"].as_str().unwrap()).unwrap()
}

/// A `ticket.updated` that only corrects the times.
fn corrects(event: &Json) -> bool {
    kind(event) == "ticket.updated" && event["data"]["note"] == "clock"
}

fn of<'e>(events: &'e [Json], wanted: &str) -> Vec<&'e Json> {
    events.iter().filter(|event| kind(event) == wanted).collect()
}

/// As `docs/time.md` has it: each event's time by the clock as it is at the end.
fn rebased(events: &[Json]) -> Vec<(String, Millis)> {
    let mut later = 0;
    let mut told = Vec::new();
    for event in events.iter().rev() {
        told.push((kind(event).to_owned(), at(event) + later, event));
        if kind(event) == "gateway.clock-stepped" {
            later += (event["data"]["offset"].as_f64().unwrap() * 1000.0).round() as Millis;
        }
    }
    told.reverse();
    let own = |(kind, _, event): &(String, Millis, &Json)| {
        let changed = kind == "gateway.maintenance" && event["data"]["state"] == "changed";
        !changed && !corrects(event) && kind != "gateway.clock-stepped"
    };
    told.into_iter().filter(own).map(|(kind, at, _)| (kind, at)).collect()
}

/// What somebody does to the clock.
#[derive(Debug, Clone, Copy)]
struct Clocked {
    begins: Millis,
    synced: bool,
    /// [`STEPPED`] after the beginning, and it is synchronised with that.
    by: Millis,
}

/// 1970 at boot, then today; back one hour; forward one day.
fn clocked() -> [Clocked; 3] {
    let today = Clocked { begins: TODAY, synced: true, by: 0 };
    [
        Clocked { begins: 10 * SECOND, synced: false, by: TODAY - 10 * SECOND },
        Clocked { by: -HOUR, ..today },
        Clocked { by: DAY, ..today },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Idle,
    OnDelay,
    OffDelay,
    Deadline,
    Maintenance,
    Order,
}

impl Case {
    /// What is read after so long.
    fn value(self, after: Millis) -> f64 {
        let low = match self {
            Case::Idle | Case::Order => false,
            Case::OnDelay => after >= 60 * SECOND,
            Case::OffDelay => after < 70 * SECOND,
            Case::Deadline | Case::Maintenance => true,
        };
        if low { 100.0 } else { 300.0 }
    }
}

/// Twenty minutes of a case, read by the second.
async fn twenty_minutes(case: Case, clocked: Clocked, dir: &Path) -> Vec<Json> {
    let clock = Clock::simulated(clocked.begins, clocked.synced);
    let mut bench = Bench::on(clock.clone(), dir, vec![low(POINT)], 4);
    let mut waiting = Vec::new();
    let mut after = 0;
    while after < 20 * MINUTE {
        if after == STEPPED {
            clock.step(clocked.by);
            clock.sync(true);
        }
        if after % SECOND == 0 {
            reads(&bench, &clock, POINT, case.value(after)).await;
        }
        if case == Case::Maintenance && after == 10 * SECOND {
            let (answer, answered) = oneshot::channel();
            let until = clock.now() + 170 * SECOND;
            let scope = Scope::Device("gate".into());
            bench.calls.send(Call { scope, until, by: "li".into(), note: None, answer }).await.unwrap();
            answered.await.unwrap().unwrap();
        }
        if case == Case::Order && after == 80 * SECOND {
            let mut order = order("open", "cell-1", "k-1");
            order.expires_at = Some(clock.now() + 20 * SECOND);
            waiting.push(bench.wish(order).await);
            assert_eq!(bench.deed().await.device, BANK);
        }
        pass(500).await;
        after += 500;
    }
    let events = bench.journal();
    bench.stop().await;
    events
}

#[test]
fn what_waits_waits_as_long_as_it_would_have() {
    let cases = [Case::Idle, Case::OnDelay, Case::OffDelay, Case::Deadline, Case::Maintenance, Case::Order];
    for case in cases {
        let dir = tempfile::tempdir().unwrap();
        let untouched = Clocked { begins: TODAY, synced: true, by: 0 };
        let steady = rebased(&run(twenty_minutes(case, untouched, dir.path())));
        assert_eq!(steady.is_empty(), case == Case::Idle, "{case:?}");
        for clocked in clocked() {
            if case == Case::Order && !clocked.synced {
                continue; // By a clock that may be behind by any span none is given that expires.
            }
            let dir = tempfile::tempdir().unwrap();
            let events = run(twenty_minutes(case, clocked, dir.path()));
            let end = clocked.begins + clocked.by;
            let moments = |all: &[(String, Millis)], begins| -> Vec<(String, Millis)> {
                all.iter().map(|(kind, at)| (kind.clone(), at - begins)).collect()
            };
            assert_eq!(moments(&rebased(&events), end), moments(&steady, TODAY), "{case:?} {clocked:?}");
            told_once_and_marked(&events, clocked);
        }
    }
}

/// The step is told once, with the tickets that it concerns right behind it; marked is what came before.
fn told_once_and_marked(events: &[Json], clocked: Clocked) {
    let steps: Vec<usize> =
        (0..events.len()).filter(|n| kind(&events[*n]) == "gateway.clock-stepped").collect();
    let [step] = steps[..] else { panic!("{steps:?}") };
    let offset = events[step]["data"]["offset"].as_f64().unwrap();
    assert!((offset - clocked.by as f64 / 1000.0).abs() < 0.01, "{offset}");
    assert_eq!(events[step]["data"]["boot"], "simulated");
    let first_synced = events.iter().position(|event| event["clock"] == "synced").unwrap_or(events.len());
    match clocked.synced {
        true => assert_eq!(first_synced, 0),
        // Synchronised it was with the step, which counts from the next page on.
        false => assert!(first_synced > step),
    }
    assert!(events[first_synced..].iter().all(|event| event["clock"] == "synced"), "{events:#?}");
    let unclosed = of(&events[..step], "ticket.opened").len();
    let corrected: Vec<usize> = (0..events.len()).filter(|n| corrects(&events[*n])).collect();
    assert_eq!(corrected, (step + 1..=step + unclosed).collect::<Vec<_>>());
    for event in corrected.iter().map(|n| &events[*n]) {
        let told = |name: &str| time::parse(event["data"][name].as_str().unwrap()).unwrap();
        let now = at(event);
        for name in ["since", "opened_at"] {
            assert!((now - 2 * MINUTE..=now).contains(&told(name)), "{name} {event:#}");
        }
        let contact = time::parse(event["data"]["deadlines"]["contact_by"].as_str().unwrap()).unwrap();
        assert_eq!(contact, told("opened_at") + 1_000_000);
        let evidence = event["data"]["evidence"][0][0].as_str().unwrap();
        assert!((now - 2 * MINUTE..=now).contains(&time::parse(evidence).unwrap()));
    }
}

/// The occasions told within two hours from 08:50, when the clock is stepped after twenty minutes.
async fn occasions(begins: Millis, synced: bool, by: Millis, dir: &Path) -> Vec<String> {
    let clock = Clock::simulated(begins, synced);
    let bench = Bench::on(clock.clone(), dir, vec![nine()], 1);
    pass(20 * MINUTE).await;
    clock.step(by);
    clock.sync(true);
    pass(100 * MINUTE).await;
    let events = bench.journal();
    bench.stop().await;
    of(&events, "ticket.opened")
        .iter()
        .map(|event| event["data"]["since"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn no_occasion_is_doubled_or_lost_by_a_step() {
    let begins = TODAY + 20 * MINUTE;
    let in_1970 = begins.rem_euclid(DAY);
    for (begins, synced, by, told) in [
        (begins, true, 0, vec!["2026-11-22T09:00:00.000Z"]),
        (begins, true, -HOUR, vec!["2026-11-22T09:00:00.000Z"]),
        (begins, true, DAY, vec!["2026-11-22T09:00:00.000Z", "2026-11-23T09:00:00.000Z"]),
        (in_1970, false, begins - in_1970 - 20 * MINUTE, vec!["2026-11-22T09:00:00.000Z"]),
        (in_1970, false, begins - in_1970, vec![]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(run(occasions(begins, synced, by, dir.path())), told, "{synced} {by}");
    }
}

#[test]
fn a_clock_that_stays_unsynced_has_a_ticket_that_goes_with_the_first_synchronisation() {
    let dir = tempfile::tempdir().unwrap();
    let events = run(async {
        let clock = Clock::simulated(10 * SECOND, false);
        let bench = Bench::on(clock.clone(), dir.path(), vec![unsynced(), low(POINT)], 1);
        reads(&bench, &clock, POINT, 100.0).await;
        pass(29 * MINUTE).await;
        assert_eq!(of(&bench.journal(), "ticket.opened").len(), 1, "only what was read");
        pass(2 * MINUTE).await;
        assert_eq!(of(&bench.journal(), "ticket.opened").len(), 2);
        pass(DAY).await;
        assert_eq!(of(&bench.journal(), "ticket.escalated").len(), 0, "no deadline passes meanwhile");
        clock.step(TODAY);
        clock.sync(true);
        pass(MINUTE).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let told: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| kind(event).starts_with("ticket."))
        .map(|event| (kind(event), event["data"]["rule"].as_str().unwrap()))
        .collect();
    assert_eq!(told[..2], [("ticket.opened", "low"), ("ticket.opened", "clock-unsynced")]);
    assert_eq!(told[2..4], [("ticket.updated", "clock-unsynced"), ("ticket.updated", "low")]);
    // A day has gone by: the deadlines have passed, as soon as that is known.
    assert_eq!(told.iter().filter(|t| **t == ("ticket.escalated", "low")).count(), 2);
    assert_eq!(told.iter().filter(|t| **t == ("ticket.cleared", "clock-unsynced")).count(), 1);
}

#[test]
fn what_was_due_by_a_wrong_clock_is_not_marked_synced_however_late_the_step_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let events = run(async {
        let clock = Clock::simulated(10 * SECOND, false);
        let bench = Bench::on(clock.clone(), dir.path(), vec![low(POINT), low(OTHER)], 1);
        reads(&bench, &clock, POINT, 100.0).await;
        pass(800).await;
        reads(&bench, &clock, OTHER, 100.0).await;
        // The page with the first ticket cannot be written while the clock is set.
        pass(50 * SECOND).await;
        let other = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        pass(9700).await;
        clock.step(TODAY);
        clock.sync(true);
        drop(other);
        pass(MINUTE).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let step = events.iter().position(|event| kind(event) == "gateway.clock-stepped").unwrap();
    assert_eq!(of(&events[..step], "ticket.opened").len(), 2);
    assert!(at(&events[step - 1]) < DAY, "the second was due while nobody could see that the clock is set");
    assert!(events[..=step].iter().all(|event| event["clock"] == "unsynced"), "{events:#?}");
}

#[test]
fn a_boot_that_never_knew_the_time_leaves_tickets_that_the_next_one_dates() {
    let dir = tempfile::tempdir().unwrap();
    let rules = || vec![low(POINT), low(OTHER)];
    run(async {
        let clock = Clock::simulated(10 * SECOND, false);
        let bench = Bench::on(clock.clone(), dir.path(), rules(), 1);
        reads(&bench, &clock, POINT, 100.0).await;
        pass(2 * HOUR).await;
        bench.stop().await;
    });
    let events = run(async {
        let clock = Clock::simulated(TODAY, true);
        let bench = Bench::on(clock.clone(), dir.path(), rules(), 1);
        pass(MINUTE).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let corrected: Vec<&Json> = events.iter().filter(|event| corrects(event)).collect();
    assert_eq!(corrected.len(), 1, "{events:#?}");
    let opened = time::parse(corrected[0]["data"]["opened_at"].as_str().unwrap()).unwrap();
    // The run before ended when this one began, as far as anybody knows.
    let before = TODAY - opened;
    assert!((2 * HOUR - 2 * MINUTE..=2 * HOUR).contains(&before), "{before}");
    // Back in 1970, a new ticket comes after the older one in the order of ids too.
    let events = run(async {
        let clock = Clock::simulated(10 * SECOND, false);
        let bench = Bench::on(clock.clone(), dir.path(), rules(), 1);
        reads(&bench, &clock, OTHER, 100.0).await;
        pass(2 * MINUTE).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let ids: Vec<&str> =
        of(&events, "ticket.opened").iter().map(|event| event["data"]["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids[0] < ids[1], "{ids:?}");
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_is_a_year_ahead_for_less_than_an_hour_takes_no_event_with_it() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let clock = Clock::simulated(TODAY, true);
        let bench = Bench::on(clock.clone(), dir.path(), vec![low(POINT)], 1);
        let first = |bench: &Bench| {
            bench.journal().first().map(|event| event["sequence"].as_str().unwrap().to_owned())
        };
        for value in [100.0, 300.0, 100.0, 300.0] {
            reads(&bench, &clock, POINT, value).await;
            pass(2 * MINUTE).await;
        }
        // Cleared, verified and closed: nothing but its age keeps it.
        pass(2 * HOUR).await;
        let oldest = first(&bench);
        clock.step(365 * DAY);
        pass(50 * MINUTE).await;
        clock.step(-365 * DAY);
        pass(3 * HOUR).await;
        assert_eq!(first(&bench), oldest, "it was gone with a wrong clock");
        // One that stays there is believed in the end.
        clock.step(365 * DAY);
        pass(3 * HOUR).await;
        let left = bench.view.events(0, 10, &gatehouse::event::Kinds::default());
        assert!(
            left.is_err() || left.unwrap().events.first().is_none_or(|event| event.seq > 1),
            "all is kept"
        );
        bench.stop().await;
    });
}

#[test]
fn a_clock_that_is_stepped_again_and_again_is_not_believed_and_floods_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let events = run(async {
        let clock = Clock::simulated(TODAY, true);
        let bench = Bench::on(clock.clone(), dir.path(), vec![low(POINT)], 1);
        reads(&bench, &clock, POINT, 100.0).await;
        pass(2 * MINUTE).await;
        for n in 0..40 {
            clock.step(if n % 2 == 0 { HOUR } else { -HOUR });
            pass(MINUTE).await;
        }
        clock.step(DAY);
        pass(2 * HOUR).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let corrected: Vec<&Json> = events.iter().filter(|event| corrects(event)).collect();
    assert_eq!(corrected.len(), 5, "four at once, and one for all the others");
    let last = corrected.last().unwrap();
    let opened = time::parse(last["data"]["opened_at"].as_str().unwrap()).unwrap();
    // Opened a minute after the beginning, by the clock as it is now.
    assert!((opened - (TODAY + MINUTE + DAY)).abs() < SECOND, "{}", time::format(opened));
    assert!(events.iter().any(|event| event["clock"] == "unsynced"));
    assert_eq!(events.last().unwrap()["clock"], "synced", "an hour without a step, and it is believed again");
    let escalated = of(&events, "ticket.escalated");
    assert_eq!(escalated.len(), 2, "each deadline once: {}", escalated.len());
}

#[test]
fn a_clock_behind_the_journal_is_not_believed_whatever_the_kernel_says() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let clock = Clock::simulated(TODAY, true);
        let bench = Bench::on(clock.clone(), dir.path(), vec![low(POINT)], 1);
        reads(&bench, &clock, POINT, 100.0).await;
        pass(2 * MINUTE).await;
        bench.stop().await;
    });
    let events = run(async {
        let clock = Clock::simulated(TODAY - 2 * DAY, true);
        let bench = Bench::on(clock.clone(), dir.path(), vec![low(POINT), low(OTHER)], 1);
        reads(&bench, &clock, OTHER, 100.0).await;
        pass(30 * MINUTE).await;
        clock.step(2 * DAY);
        pass(MINUTE).await;
        let events = bench.journal();
        bench.stop().await;
        events
    });
    let step = events.iter().position(|event| kind(event) == "gateway.clock-stepped").unwrap();
    let other: Arc<str> = "other".into();
    let opened =
        events.iter().position(|e| kind(e) == "ticket.opened" && e["data"]["rule"] == *other).unwrap();
    assert!(opened < step && events[opened]["clock"] == "unsynced");
    assert!(corrects(&events[step + 1]) && events[step + 1]["data"]["rule"] == *other);
    // What the run before told by a right clock stays as it was told.
    assert_eq!(events.iter().filter(|event| corrects(event)).count(), 1);
    assert_eq!(events.last().unwrap()["clock"], "synced");
}
