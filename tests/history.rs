//! What the history promises: readings come back as they were, its memory and its room are bounded, and it may break
//! without harm to the journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, PointId, Quality, Reading, Reason, Value};
use gatehouse::store::{self, Ends, Page, Settings};

const T0: Millis = 1_763_712_000_000;
const DAY: Millis = 24 * 3600 * 1000;

fn open(dir: &Path) -> Ends {
    let settings = Settings {
        dir: dir.to_owned(),
        events_keep: store::EVENTS_KEEP_DEFAULT,
        readings_keep: store::READINGS_KEEP_DEFAULT,
        disk_limit: store::DISK_LIMIT_DEFAULT,
    };
    store::open(&settings, "cp-017").unwrap()
}

fn one_event() -> Page {
    Page {
        at: T0,
        events: vec![Draft::new("gateway.started", "gateways/cp-017".into(), T0, &())],
        ..Page::default()
    }
}

#[test]
fn readings_come_back_as_they_were_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let (pressure, door): (Arc<str>, Arc<str>) = ("pump-1.pressure".into(), "b3-door.door".into());
    let id = PointId(0);
    let number = |n: Millis| Reading::good(id, T0 + n * 1000, Value::Number(300.0 + n as f64 / 10.0));
    for n in 0..100 {
        ends.history.note(&pressure, &number(n));
    }
    ends.history
        .note(&pressure, &Reading::bad(id, T0 + 100_000, Reason::NoAnswer));
    ends.history.note(
        &door,
        &Reading::uncertain(id, T0, Value::Text("open".into()), Reason::Retained),
    );
    assert!(ends.history.due(T0));
    ends.history.flush(T0 + 101_000).unwrap();
    assert!(!ends.history.due(T0 + 200_000), "nothing is gathered");
    ends.history.note(&pressure, &number(101));
    assert!(!ends.history.due(T0 + 101_000 + 59_999));
    assert!(ends.history.due(T0 + 101_000 + 60_000));
    ends.history.flush(T0 + 161_000).unwrap();
    drop(ends);

    let ends = open(dir.path());
    assert_eq!(ends.journal.recall().unwrap().last_trace, T0 + 101_000);
    let samples = ends
        .view
        .history("pump-1.pressure", T0 + 10_000, T0 + 101_000)
        .unwrap();
    assert_eq!(samples.len(), 92);
    assert_eq!(samples[0].at, T0 + 10_000);
    assert_eq!(samples[5].value, Some(Value::Number(301.5)));
    assert_eq!((samples[90].quality, &samples[90].value), (Quality::Bad, &None));
    assert_eq!(
        ends.history.recent("pump-1.pressure", T0 + 99_000).unwrap(),
        samples[89..]
    );
    let doors = ends.view.history("b3-door.door", T0, T0).unwrap();
    assert_eq!(doors[0].value, Some(Value::Text("open".into())));
    assert_eq!(doors[0].quality, Quality::Uncertain);
    assert!(ends.view.history("nobody.nothing", 0, T0 * 2).unwrap().is_empty());
}

#[test]
fn a_history_of_noise_is_put_aside_and_the_journal_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&one_event()).unwrap();
    ends.history
        .note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    ends.history.flush(T0).unwrap();
    drop(ends);
    let noise: Vec<u8> = (0..50_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(dir.path().join("history.db"), &noise).unwrap();

    for _ in 0..2 {
        let mut ends = open(dir.path());
        assert_eq!(ends.journal.head(), 1);
        ends.history
            .note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(2)));
        ends.history.flush(T0).unwrap();
        let last = ends.view.history("p.v", T0, T0).unwrap().pop().unwrap();
        assert_eq!(last.value, Some(Value::Signed(2)));
        drop(ends);
        let broken = fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("history.db.broken-")
            })
            .count();
        assert_eq!(broken, 1);
    }
}

#[test]
fn a_history_that_breaks_while_it_is_open_is_begun_anew_with_what_was_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    let at = |n: Millis| Reading::good(PointId(0), T0 + n, Value::Signed(n));
    for flush in 0..50 {
        for n in 0..100 {
            ends.history.note(&point, &at(flush * 100 + n));
        }
        ends.history.flush(T0).unwrap();
    }
    drop(ends);
    // Past the first page: it opens, and only the tables are noise.
    let path = dir.path().join("history.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x55);
    fs::write(&path, bytes).unwrap();

    let mut ends = open(dir.path());
    ends.history.note(&point, &at(1_000_000));
    ends.history.flush(T0).unwrap();
    let samples = ends.view.history("p.v", T0, T0 + DAY).unwrap();
    assert_eq!(samples.iter().map(|s| s.at).collect::<Vec<_>>(), [T0 + 1_000_000]);
}

#[test]
fn old_readings_go_and_then_the_oldest_while_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    for day in 0..20 {
        for n in 0..2000 {
            let value = Value::Number((day * 2000 + n) as f64 * std::f64::consts::PI);
            ends.history.note(
                &point,
                &Reading::good(PointId(0), T0 + day * DAY + n * 1000, value),
            );
        }
        ends.history.flush(T0).unwrap();
    }
    let now = T0 + 20 * DAY;
    let first = |ends: &Ends| ends.view.history("p.v", 0, now).unwrap()[0].at;
    let keep = Duration::from_secs(10 * 24 * 3600);
    assert!(!ends.history.retire(now, keep, u64::MAX).unwrap());
    assert_eq!(first(&ends), T0 + 10 * DAY);
    assert!(!ends.history.retire(now, keep, 100_000).unwrap());
    let left = first(&ends);
    assert!(
        left > T0 + 10 * DAY && left < now,
        "some of them gave way: {left}"
    );
    assert!(!ends.history.retire(now, Duration::ZERO, u64::MAX).unwrap());
    assert!(ends.view.history("p.v", 0, now).unwrap().is_empty());
}

#[test]
fn the_memory_for_readings_is_bounded_while_the_disk_takes_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let other = rusqlite::Connection::open(dir.path().join("history.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON flush BEGIN SELECT raise(ABORT, 'disk full'); END",
        )
        .unwrap();
    let point: Arc<str> = "p.v".into();
    let note = |ends: &mut Ends, n: Millis| {
        let value = Value::Number(n as f64 * std::f64::consts::PI);
        ends.history
            .note(&point, &Reading::good(PointId(0), T0 + n, value));
    };
    for n in 0..300_000 {
        note(&mut ends, n);
    }
    assert!(ends.history.due(T0));
    assert!(ends.history.flush(T0).is_err());
    assert!(
        !ends.history.due(T0 + 1000),
        "not again before the minute is over"
    );
    assert!(ends.history.due(T0 + 60_000));
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    ends.history.flush(T0 + 60_000).unwrap();
    let kept = ends.history.recent("p.v", 0).unwrap();
    assert!(kept.len() == store::SAMPLES_MAX && kept[7].at == T0 + 7);
    note(&mut ends, 400_000);
    ends.history.flush(T0 + 120_000).unwrap();
    assert_eq!(
        ends.history.recent("p.v", T0 + 300_000).unwrap().len(),
        1,
        "and it goes on"
    );
}
