//! What cases cannot say of maintenance: judges that go on, doors, clocks set back, bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::condition::Verdict;
use super::judge::{Judge, Judgement, Seen};
use super::{Condition, Engine, Locale, Memory, Over, Plan, Rule};
use crate::maintenance::{MAINTENANCES_MAX, Maintenance, Refused, Scope, Step};
use crate::reading::{Batch, Clean, Device, DeviceId, Millis, Point, PointId, Quality, Reading, Site, Value};
use crate::ticket::{Class, Standard};

const HOUR: Millis = 3_600_000;
/// Long after 1970, so that a clock can be set back.
pub(super) const BEGIN: Millis = 1_795_248_000_000;

fn site(devices: u32) -> Arc<Site> {
    let device = |n| Device {
        id: format!("d-{n}").into(),
        channel: "line".into(),
        profile: None,
        place: "".into(),
        polled: true,
        first_point: n,
        points: 1,
        // Its only point is one of words.
        words: (n == 1).then_some(PointId(1)),
    };
    let point = |n| Point {
        id: format!("d-{n}.p").into(),
        device: DeviceId(n),
        unit: None,
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
    };
    Arc::new(Site {
        gateway: "cp-017".into(),
        devices: (0..devices).map(device).collect(),
        points: (0..devices).map(point).collect(),
        ..Site::default()
    })
}

pub(super) fn engine(devices: u32, condition: Condition, memory: Memory, now: Millis) -> Engine {
    let rule = Rule {
        id: "r".into(),
        over: Over::Points(vec![PointId(0), PointId(1)]),
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
        title: None,
        chatter: None,
    };
    let standard = Standard { contact: 100 * HOUR, on_site: 100 * HOUR, follow_up: 100 * HOUR };
    let plan = Plan { rules: vec![rule], standards: [standard; 3], locale: Locale::En, epoch: "e".into() };
    let mut engine = Engine::new(plan, site(devices), memory, now);
    engine.advance(now, true);
    engine
}

fn rests(device: u32, since: Millis, until: Millis) -> Maintenance {
    let scope = Scope::Device(format!("d-{device}").into());
    Maintenance { scope, since, until, by: "li".into(), note: None }
}

pub(super) fn read(engine: &mut Engine, device: u32, at: Millis, value: Value) {
    let readings = vec![Reading::good(PointId(device), at, value)];
    engine.batch(&Batch::new(DeviceId(device), at, readings, None));
}

fn told(engine: &mut Engine, now: Millis, synced: bool) -> Vec<(&'static str, Millis)> {
    engine.advance(now, synced);
    engine.take(now).told.into_iter().map(|change| (change.kind, change.at)).collect()
}

/// Counts what it is shown; from the third reading on it holds, and by itself at `passes`.
#[derive(Debug)]
struct Counting {
    seen: Arc<AtomicU32>,
    passes: Option<Millis>,
}

impl Judge for Counting {
    fn see(&mut self, _: &Seen<'_>) -> Option<Verdict> {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        Some(if seen >= 3 { Verdict::Holds } else { Verdict::Gone })
    }

    fn due(&self) -> Option<Millis> {
        self.passes
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.passes = None;
        Some(Judgement { at: due, verdict: Some(Verdict::Holds), quality: Quality::Good })
    }

    fn shift(&mut self, _: Millis) {}

    fn lost(&mut self, _: Millis, _: Millis) {}
}

#[test]
fn what_counts_goes_on_counting_in_maintenance() {
    let mut engine = engine(2, Condition::Above(1.0), Memory::default(), BEGIN);
    let seen = Arc::new(AtomicU32::new(0));
    engine.watches[0].judge = Some(Box::new(Counting { seen: seen.clone(), passes: None }));
    engine.maintain(rests(0, BEGIN, BEGIN + HOUR)).unwrap();
    for minute in 1..=3 {
        read(&mut engine, 0, BEGIN + minute * 60_000, Value::Number(0.0));
    }
    assert_eq!(told(&mut engine, BEGIN + HOUR - 1, true), []);
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    assert_eq!(told(&mut engine, BEGIN + HOUR, true), [("ticket.opened", BEGIN + HOUR)]);
}

#[test]
fn what_time_alone_brings_in_maintenance_counts_from_its_end() {
    let mut engine = engine(2, Condition::Above(1.0), Memory::default(), BEGIN);
    let passes = Some(BEGIN + HOUR / 2);
    engine.watches[0].judge = Some(Box::new(Counting { seen: Arc::default(), passes }));
    engine.arm(0);
    engine.maintain(rests(0, BEGIN, BEGIN + HOUR)).unwrap();
    assert_eq!(told(&mut engine, BEGIN + 2 * HOUR, true), [("ticket.opened", BEGIN + HOUR)]);
}

#[test]
fn what_happened_at_a_door_in_maintenance_is_no_fault_that_is_there_at_the_end() {
    let forced = || Value::Text("forced".into());
    let mut engine = engine(2, Condition::Equals(forced()), Memory::default(), BEGIN);
    engine.maintain(rests(1, BEGIN, BEGIN + HOUR)).unwrap();
    engine.word(&Reading::good(PointId(1), BEGIN + 60_000, forced()));
    assert_eq!(told(&mut engine, BEGIN + 2 * HOUR, true), []);
    engine.word(&Reading::good(PointId(1), BEGIN + 2 * HOUR, forced()));
    assert_eq!(told(&mut engine, BEGIN + 2 * HOUR, true), [("ticket.opened", BEGIN + 2 * HOUR)]);
}

#[test]
fn a_clock_set_back_by_years_makes_no_maintenance_last_for_years_while_it_cannot_be_believed() {
    let mut engine = engine(2, Condition::Above(1.0), Memory::default(), BEGIN);
    engine.maintain(rests(0, BEGIN, BEGIN + HOUR)).unwrap();
    assert_eq!(told(&mut engine, BEGIN + HOUR / 2, false), []);
    let wrong = BEGIN / 2;
    engine.lost_time(BEGIN + HOUR / 2, wrong);
    read(&mut engine, 0, wrong, Value::Number(2.0));
    assert_eq!(told(&mut engine, wrong + HOUR / 2 - 1, false), []);
    let end = wrong + HOUR / 2;
    assert_eq!(told(&mut engine, end, false), [("ticket.opened", end)]);
}

#[test]
fn a_start_in_1970_leaves_what_was_left() {
    let kept = rests(0, BEGIN, BEGIN + HOUR);
    let memory = Memory { maintenance: vec![kept], last_trace: BEGIN + HOUR / 4, ..Memory::default() };
    let mut engine = engine(2, Condition::Above(1.0), memory, 0);
    read(&mut engine, 0, 1000, Value::Number(2.0));
    let end = HOUR * 3 / 4;
    assert_eq!(told(&mut engine, end - 1, false), []);
    assert_eq!(told(&mut engine, end, false), [("ticket.opened", end)]);
}

#[test]
fn an_end_that_had_come_when_the_clock_was_put_right_lies_not_before_what_was_read() {
    let mut engine = engine(2, Condition::Above(1.0), Memory::default(), BEGIN);
    engine.maintain(rests(0, BEGIN, BEGIN + HOUR)).unwrap();
    told(&mut engine, BEGIN, false);
    engine.lost_time(BEGIN, BEGIN + 10 * HOUR);
    let late = BEGIN + 10 * HOUR + 1000;
    read(&mut engine, 0, late, Value::Number(2.0));
    assert_eq!(told(&mut engine, late, false), []);
    assert_eq!(told(&mut engine, late, true), [("ticket.opened", late)]);
}

#[test]
fn so_many_and_no_more() {
    let most = MAINTENANCES_MAX as u32;
    let mut engine = engine(most + 1, Condition::Above(1.0), Memory::default(), BEGIN);
    for device in 0..most {
        assert_eq!(engine.maintain(rests(device, BEGIN, BEGIN + HOUR)).unwrap().step, Step::Begun);
    }
    assert_eq!(engine.maintain(rests(most, BEGIN, BEGIN + HOUR)), Err(Refused::TooMany));
    let again = engine.maintain(rests(7, BEGIN + 1, BEGIN + 2 * HOUR)).unwrap();
    assert_eq!((again.step, again.maintenance.since), (Step::Changed, BEGIN));
    engine.maintain(rests(7, BEGIN + 2, 0)).unwrap();
    assert!(engine.maintain(rests(most, BEGIN + 3, BEGIN + HOUR)).is_ok());
    assert_eq!(engine.maintenances().count(), MAINTENANCES_MAX);
    engine.advance(BEGIN + HOUR, true);
    assert_eq!((engine.maintenances().count(), engine.next_due()), (0, None));
}
