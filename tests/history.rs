//! What the history promises: readings come back as they were, its memory and its room are bounded, and it may break
//! without harm to the journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, PointId, Quality, Reading, Reason, Value};
use gatehouse::store::{self, Ends, Page, Sample, Settings, View};
use rusqlite::Connection;

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

/// Nothing while the file cannot be read.
fn between(view: &View, point: &str, from: Millis, to: Millis) -> Vec<Sample> {
    let mut samples = Vec::new();
    let readings = view.readings();
    let _ = readings.and_then(|readings| readings.between(point, from, to, |sample| samples.push(sample)));
    samples
}

/// What was written of a point, all of it.
fn written(ends: &Ends, point: &str) -> Vec<Sample> {
    between(&ends.view, point, 0, Millis::MAX)
}

/// The history is written by a thread of its own: waits for what it is to bring about.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Flushes, and waits until the readings are in the file and the next ones may be handed over.
fn flush_and_wait(ends: &mut Ends, now: Millis) {
    ends.history.flush(now);
    until("everything is written", || !ends.history.due(now + DAY));
}

/// The log lines of all tests in this file.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().push_str(&String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keep_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    });
}

fn logged(text: &str) -> usize {
    LOG.lock().unwrap().matches(text).count()
}

/// How many readings the log says were left out.
fn left_out_logged() -> usize {
    let log = LOG.lock().unwrap();
    let numbers = log.lines().filter_map(|line| line.split("left_out=").nth(1));
    numbers.map(|number| number.trim().parse::<usize>().unwrap()).sum()
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
    ends.history.note(&pressure, &Reading::bad(id, T0 + 100_000, Reason::NoAnswer));
    ends.history.note(&door, &Reading::uncertain(id, T0, Value::Text("open".into()), Reason::Retained));
    assert!(ends.history.due(T0));
    ends.history.flush(T0 + 101_000);
    until("nothing is gathered and all is written", || !ends.history.due(T0 + 200_000));
    assert_eq!(written(&ends, "pump-1.pressure").len(), 101);
    ends.history.note(&pressure, &number(101));
    assert!(!ends.history.due(T0 + 101_000 + 59_999));
    assert!(ends.history.due(T0 + 101_000 + 60_000));
    ends.history.flush(T0 + 161_000);
    drop(ends);

    let ends = open(dir.path());
    assert_eq!(ends.journal.recall().unwrap().last_trace, T0 + 101_000);
    let samples = between(&ends.view, "pump-1.pressure", T0 + 10_000, T0 + 101_000);
    assert_eq!(samples.len(), 92);
    assert_eq!(samples[0].at, T0 + 10_000);
    assert_eq!(samples[5].value, Some(Value::Number(301.5)));
    assert_eq!((samples[90].quality, &samples[90].value), (Quality::Bad, &None));
    assert_eq!(ends.history.recent("pump-1.pressure", T0 + 99_000).unwrap(), samples[89..]);
    let doors = between(&ends.view, "b3-door.door", T0, T0);
    assert_eq!(doors[0].value, Some(Value::Text("open".into())));
    assert_eq!(doors[0].quality, Quality::Uncertain);
    assert!(between(&ends.view, "nobody.nothing", 0, T0 * 2).is_empty());
}

#[test]
fn a_history_of_noise_is_put_aside_and_the_journal_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&one_event()).unwrap();
    ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    ends.history.flush(T0);
    drop(ends);
    let noise: Vec<u8> = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(dir.path().join("history.db"), &noise).unwrap();

    for _ in 0..2 {
        let mut ends = open(dir.path());
        assert_eq!(ends.journal.head(), 1);
        ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(2)));
        flush_and_wait(&mut ends, T0);
        let last = between(&ends.view, "p.v", T0, T0).pop().unwrap();
        assert_eq!(last.value, Some(Value::Signed(2)));
        drop(ends);
        assert_eq!(aside(dir.path()), 1);
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
        flush_and_wait(&mut ends, T0);
    }
    drop(ends);
    // Past the first page: it opens, and only the tables are noise.
    let path = dir.path().join("history.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0x55);
    fs::write(&path, bytes).unwrap();

    let mut ends = open(dir.path());
    ends.history.note(&point, &at(1_000_000));
    flush_and_wait(&mut ends, T0);
    let samples = between(&ends.view, "p.v", T0, T0 + DAY);
    assert_eq!(samples.iter().map(|s| s.at).collect::<Vec<_>>(), [T0 + 1_000_000]);
}

/// Files put aside as broken.
fn aside(dir: &Path) -> usize {
    let files = fs::read_dir(dir).unwrap().flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with("history.db.broken-")).count()
}

/// A directory where SQLite needs a file: it cannot open what is there, and nothing of it is damaged.
#[test]
fn a_history_that_cannot_be_opened_now_is_kept_and_opened_later() {
    let dir = tempfile::tempdir().unwrap();
    let point: Arc<str> = "p.v".into();
    let mut ends = open(dir.path());
    ends.history.note(&point, &Reading::good(PointId(0), T0, Value::Signed(1)));
    drop(ends);
    let in_the_way = dir.path().join("history.db-wal");
    fs::create_dir(&in_the_way).unwrap();

    let mut ends = open(dir.path());
    assert_eq!(ends.journal.commit(&one_event()).unwrap(), 1, "tickets go on");
    ends.history.note(&point, &Reading::good(PointId(0), T0 + 1, Value::Signed(2)));
    ends.history.flush(T0);
    assert_eq!(aside(dir.path()), 0);
    fs::remove_dir(&in_the_way).unwrap();
    flush_and_wait(&mut ends, T0 + 60_000);
    let times: Vec<_> = written(&ends, "p.v").iter().map(|s| s.at).collect();
    assert_eq!(times, [T0, T0 + 1], "nothing of either run is lost");
    assert_eq!(aside(dir.path()), 0);
}

#[test]
fn a_damaged_history_that_cannot_be_replaced_keeps_no_ticket_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let point: Arc<str> = "p.v".into();
    drop(open(dir.path()));
    fs::write(dir.path().join("history.db"), "noise ".repeat(10_000)).unwrap();
    let in_the_way = dir.path().join("history.db-wal");
    fs::create_dir(&in_the_way).unwrap();

    let mut ends = open(dir.path());
    assert_eq!(ends.journal.commit(&one_event()).unwrap(), 1);
    ends.history.note(&point, &Reading::good(PointId(0), T0, Value::Signed(1)));
    ends.history.flush(T0);
    fs::remove_dir(&in_the_way).unwrap();
    flush_and_wait(&mut ends, T0 + 60_000);
    assert_eq!(written(&ends, "p.v").len(), 1);
    assert_eq!(aside(dir.path()), 1);
}

#[test]
fn a_history_of_a_newer_gatehouse_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let other = Connection::open(dir.path().join("history.db")).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let mut ends = open(dir.path());
    ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    flush_and_wait(&mut ends, T0);
    assert_eq!((written(&ends, "p.v").len(), aside(dir.path())), (1, 1));
}

#[test]
fn old_readings_go_and_then_the_oldest_while_there_is_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    for day in 0..20 {
        for n in 0..2000 {
            let value = Value::Number((day * 2000 + n) as f64 * std::f64::consts::PI);
            ends.history.note(&point, &Reading::good(PointId(0), T0 + day * DAY + n * 1000, value));
        }
        flush_and_wait(&mut ends, T0);
    }
    let now = T0 + 20 * DAY;
    let first = |ends: &Ends| written(ends, "p.v").first().map_or(now, |sample| sample.at);
    let keep = Duration::from_secs(10 * 24 * 3600);
    // One bite is enough here, and work is done in turn: once a later reading is written, the bite is over.
    let settle = |ends: &mut Ends, second: Millis| {
        let later = Reading::good(PointId(1), now + second, Value::Bool(true));
        ends.history.note(&"p.later".into(), &later);
        flush_and_wait(ends, T0);
    };
    ends.history.retire(now, keep, u64::MAX);
    until("what is too old goes", || first(&ends) >= T0 + 10 * DAY);
    settle(&mut ends, 0);
    assert_eq!(first(&ends), T0 + 10 * DAY);
    ends.history.retire(now, keep, 100_000);
    until("some of them give way", || first(&ends) > T0 + 10 * DAY);
    settle(&mut ends, 1);
    assert!(first(&ends) < now, "not all of them");
    ends.history.retire(now + DAY, Duration::ZERO, u64::MAX);
    until("all of it goes", || written(&ends, "p.v").is_empty() && written(&ends, "p.later").is_empty());
}

#[test]
fn a_long_deletion_goes_on_by_itself_and_lets_new_readings_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    for n in 0..200 {
        let reading = Reading::good(PointId(0), T0 + n * 1000, Value::Signed(n));
        ends.history.note(&point, &reading);
        flush_and_wait(&mut ends, T0);
    }
    ends.history.retire(T0 + DAY, Duration::ZERO, u64::MAX);
    let late = Reading::good(PointId(0), T0 + 2 * DAY, Value::Signed(-1));
    ends.history.note(&point, &late);
    ends.history.flush(T0 + DAY);
    until("only the late one is left", || {
        let left = written(&ends, "p.v");
        left.len() == 1 && left[0].at == late.at
    });
}

#[test]
fn nobody_waits_for_a_disk_that_is_held_and_all_is_written_once_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let other = Connection::open(dir.path().join("history.db")).unwrap();
    let names: Vec<Arc<str>> = (0..3000).map(|n| format!("unit-{n}.value").into()).collect();
    let gather = |ends: &mut Ends, minute: Millis| {
        for second in 0..20 {
            for (n, name) in names.iter().enumerate() {
                let at = T0 + minute * 60_000 + second * 3000;
                let value = Value::Number((n as Millis + second) as f64 / 10.0);
                ends.history.note(name, &Reading::good(PointId(n as u32), at, value));
            }
        }
    };
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    gather(&mut ends, 0);
    let started = Instant::now();
    assert!(ends.history.due(T0 + 60_000));
    ends.history.flush(T0 + 60_000);
    let took = started.elapsed();
    assert!(took < Duration::from_millis(100), "{took:?} to hand over");

    let started = Instant::now();
    gather(&mut ends, 1);
    let gathering = started.elapsed();
    assert!(!ends.history.due(T0 + 60_001), "not again before the minute is over");
    assert!(ends.history.due(T0 + 120_000));
    let started = Instant::now();
    for _ in 0..100 {
        ends.history.flush(T0 + 120_000);
    }
    let took = started.elapsed();
    assert!(took < gathering, "a hundred flushes took {took:?}, gathering {gathering:?}");
    assert!(written(&ends, "unit-0.value").is_empty(), "the file is held");

    other.execute_batch("COMMIT").unwrap();
    until("the first minute is written", || written(&ends, "unit-2999.value").len() == 20);
    let mut now = T0 + 120_000;
    until("the second minute is written", || {
        now += 60_000;
        if ends.history.due(now) {
            ends.history.flush(now);
        }
        written(&ends, "unit-2999.value").len() == 40
    });
    assert!(names.iter().step_by(50).all(|name| written(&ends, name).len() == 40));
}

#[test]
fn closing_writes_what_is_under_way_and_what_is_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let other = Connection::open(dir.path().join("history.db")).unwrap();
    let point: Arc<str> = "p.v".into();
    let at = |n: Millis| Reading::good(PointId(0), T0 + n, Value::Signed(n));
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ends.history.note(&point, &at(0));
    ends.history.flush(T0);
    ends.history.note(&point, &at(1));
    let free = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        other.execute_batch("COMMIT").unwrap();
    });
    ends.history.close();
    free.join().unwrap();
    let times: Vec<_> = between(&ends.view, "p.v", 0, T0 * 2);
    assert_eq!(times.iter().map(|s| s.at).collect::<Vec<_>>(), [T0, T0 + 1]);
}

#[test]
fn closing_does_not_wait_long_for_a_disk_that_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let other = Connection::open(dir.path().join("history.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    let started = Instant::now();
    ends.history.close();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
}

#[test]
fn the_memory_for_readings_is_bounded_while_the_disk_takes_none() {
    keep_log();
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let other = Connection::open(dir.path().join("history.db")).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON block BEGIN SELECT raise(ABORT, 'disk full'); END",
        )
        .unwrap();
    let point: Arc<str> = "p.v".into();
    let note = |ends: &mut Ends, n: Millis| {
        let value = Value::Number(n as f64 * std::f64::consts::PI);
        ends.history.note(&point, &Reading::good(PointId(0), T0 + n, value));
    };
    for n in 0..300_000 {
        note(&mut ends, n);
    }
    assert!(ends.history.due(T0));
    ends.history.flush(T0);
    until("the failure is said", || logged("disk full") == 1);
    note(&mut ends, 300_000);
    assert!(!ends.history.due(T0 + 1000), "not again before the minute is over");
    assert!(ends.history.due(T0 + 60_000));
    ends.history.flush(T0 + 60_000);
    assert!(!ends.history.due(T0 + 61_000) && ends.history.due(T0 + 120_000));
    assert!(ends.history.recent("p.v", 0).unwrap().is_empty());
    other.execute_batch("DROP TRIGGER refuse").unwrap();
    flush_and_wait(&mut ends, T0 + 120_000);
    let kept = ends.history.recent("p.v", 0).unwrap();
    assert!(kept.len() == store::SAMPLES_MAX && kept[7].at == T0 + 7);
    note(&mut ends, 400_000);
    flush_and_wait(&mut ends, T0 + 180_000);
    assert_eq!(ends.history.recent("p.v", T0 + 300_000).unwrap().len(), 1, "and it goes on");
    let flushes: u32 = other.query_row("SELECT count(*) FROM flush", [], |row| row.get(0)).unwrap();
    assert_eq!(flushes, 2, "each hand-over was written once");
    assert_eq!(logged("disk full"), 1, "said once, not with every try");
    assert_eq!(logged("The history takes readings again."), 1);
    let mut in_the_file = 0;
    let mut since = 0;
    assert_eq!(
        between(&ends.view, "p.v", 0, Millis::MAX).len() + left_out_logged(),
        300_002,
        "a reading of all of it goes on where one answer would be full"
    );
    while let Some(last) = ends.history.recent("p.v", since).unwrap().last() {
        in_the_file += ends.history.recent("p.v", since).unwrap().len();
        since = last.at + 1;
    }
    let left_out = left_out_logged();
    assert!(left_out > 1, "the memory was full");
    assert_eq!(in_the_file + left_out, 300_002, "each reading is in the file or was counted");
}
