//! What the history promises: readings come back as they were, its memory and its room are bounded, and it may break
//! without harm to the journal.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::reading::{Millis, PointId, Quality, Reading, Reason, Value};
use gatehouse::store::{self, Ends, Page, Piece, Sample, Settings, View};
use rusqlite::Connection;

const T0: Millis = 1_763_712_000_000;
const DAY: Millis = 24 * 3600 * 1000;

fn open(dir: &Path) -> Ends {
    let settings = Settings::at(dir);
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
    let deadline = Instant::now() + Duration::from_secs(60);
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

/// Of this history, and not of another test's.
fn logged_of(dir: &Path, text: &str) -> usize {
    let dir = dir.display().to_string();
    LOG.lock().unwrap().lines().filter(|line| line.contains(text) && line.contains(&dir)).count()
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
    assert!(!ends.history.due(T0 + 101_000 + 299_999));
    assert!(ends.history.due(T0 + 101_000 + 300_000));
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

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Files of the history whose names begin so, in order.
fn files(dir: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("history")).unwrap().flatten();
    let mut files: Vec<_> = entries
        .filter(|file| file.file_name().to_string_lossy().starts_with(begin))
        .map(|file| file.path())
        .collect();
    files.sort();
    files
}

#[test]
fn a_history_of_noise_is_put_aside_and_the_journal_does_not_notice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    ends.journal.commit(&one_event()).unwrap();
    ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    ends.history.flush(T0);
    drop(ends);
    fs::write(files(dir.path(), "readings").remove(0), noise(50_000)).unwrap();

    for n in 2..4 {
        let mut ends = open(dir.path());
        assert_eq!(ends.journal.head(), 1);
        ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(n)));
        flush_and_wait(&mut ends, T0);
        let last = between(&ends.view, "p.v", T0, T0).pop().unwrap();
        assert_eq!(last.value, Some(Value::Signed(n)));
        drop(ends);
        assert_eq!(files(dir.path(), "broken").len(), 1);
    }
}

#[test]
fn noise_in_the_middle_costs_what_it_touches_and_nothing_else() {
    keep_log();
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    let at = |n: Millis| Reading::good(PointId(0), T0 + n, Value::Signed(n * n));
    for flush in 0..50 {
        for n in 0..100 {
            ends.history.note(&point, &at(flush * 100 + n));
        }
        flush_and_wait(&mut ends, T0);
    }
    // While it is open, and again after a restart.
    let path = files(dir.path(), "readings").remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let (middle, of) = (bytes.len() / 2, bytes.len());
    bytes[middle..middle + of / 100].fill(0x55);
    fs::write(&path, bytes).unwrap();
    ends.history.note(&point, &at(1_000_000));
    flush_and_wait(&mut ends, T0);
    for _ in 0..2 {
        let samples = between(&ends.view, "p.v", T0, T0 + DAY);
        assert!((4700..=4901).contains(&samples.len()), "{} readings", samples.len());
        assert!(samples.iter().all(|s| s.value == Some(Value::Signed((s.at - T0) * (s.at - T0)))));
        assert_eq!(samples.last().unwrap().at, T0 + 1_000_000);
        drop(ends);
        ends = open(dir.path());
    }
    until("it is said", || logged("Parts of the history are damaged") > 0);
}

/// A file where a folder is wanted: nothing can be written, and nothing that is there is damaged.
fn in_the_way(dir: &Path) -> PathBuf {
    let (folder, aside) = (dir.join("history"), dir.join("taken-away"));
    if folder.exists() {
        fs::rename(&folder, &aside).unwrap();
    }
    fs::write(&folder, "in the way").unwrap();
    folder
}

fn out_of_the_way(dir: &Path) {
    let (folder, aside) = (dir.join("history"), dir.join("taken-away"));
    fs::remove_file(&folder).unwrap();
    if aside.exists() {
        fs::rename(&aside, &folder).unwrap();
    }
}

#[test]
fn a_history_that_cannot_be_opened_now_is_kept_and_opened_later() {
    let dir = tempfile::tempdir().unwrap();
    let point: Arc<str> = "p.v".into();
    let mut ends = open(dir.path());
    ends.history.note(&point, &Reading::good(PointId(0), T0, Value::Signed(1)));
    drop(ends);
    in_the_way(dir.path());

    let mut ends = open(dir.path());
    assert_eq!(ends.journal.commit(&one_event()).unwrap(), 1, "tickets go on");
    ends.history.note(&point, &Reading::good(PointId(0), T0 + 1, Value::Signed(2)));
    ends.history.flush(T0);
    out_of_the_way(dir.path());
    flush_and_wait(&mut ends, T0 + 300_000);
    let times: Vec<_> = written(&ends, "p.v").iter().map(|s| s.at).collect();
    assert_eq!(times, [T0, T0 + 1], "nothing of either run is lost");
}

/// As an earlier gatehouse left it: three hand-overs of a hundred readings and a bad one.
const OLD: &[u8] = include_bytes!("history/format-2.db");

#[test]
fn the_history_of_an_earlier_gatehouse_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("history.db"), OLD).unwrap();
    let mut ends = open(dir.path());
    assert_eq!(ends.journal.recall().unwrap().last_trace, T0 + 299_500);
    let point: Arc<str> = "pump-1.pressure".into();
    ends.history.note(&point, &Reading::good(PointId(0), T0 + 300_000, Value::Number(330.0)));
    flush_and_wait(&mut ends, T0);
    let samples = written(&ends, "pump-1.pressure");
    assert_eq!(samples.len(), 304);
    assert!(samples.is_sorted_by_key(|s| s.at));
    assert_eq!(ends.view.readings().unwrap().since().unwrap(), Some(T0));
    ends.history.retire(T0 + 400_000, Duration::from_millis(100_200), u64::MAX);
    until("the old one is too old", || written(&ends, "pump-1.pressure").len() == 1);
    assert!(!dir.path().join("history.db").exists());
}

#[test]
fn a_history_of_a_newer_gatehouse_is_put_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.db");
    fs::write(&path, OLD).unwrap();
    let other = Connection::open(&path).unwrap();
    other.pragma_update(None, "user_version", 99).unwrap();
    drop(other);
    let mut ends = open(dir.path());
    ends.history.note(&"p.v".into(), &Reading::good(PointId(0), T0, Value::Signed(1)));
    flush_and_wait(&mut ends, T0);
    let entries = fs::read_dir(dir.path()).unwrap().flatten();
    let aside = entries.filter(|file| file.file_name().to_string_lossy().starts_with("history.db.broken-"));
    assert_eq!((written(&ends, "p.v").len(), aside.count(), path.exists()), (1, 1, false));
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
fn nobody_waits_for_a_disk_that_takes_nothing_and_all_is_written_once_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let names: Vec<Arc<str>> =
        (0..3000).map(|n| format!("unit-{}.value-{}", n / 10, n % 10).into()).collect();
    let gather = |ends: &mut Ends, part: Millis| {
        for second in 0..20 {
            for (n, name) in names.iter().enumerate() {
                let at = T0 + part * 300_000 + second * 15_000;
                let value = Value::Number((n as Millis + second) as f64 / 10.0);
                ends.history.note(name, &Reading::good(PointId(n as u32), at, value));
            }
        }
    };
    flush_and_wait(&mut ends, T0);
    in_the_way(dir.path());
    gather(&mut ends, 0);
    ends.history.flush(T0 + 300_000);
    gather(&mut ends, 1);
    assert!(!ends.history.due(T0 + 300_001), "not again before five minutes are over");
    assert!(ends.history.due(T0 + 600_000));
    for _ in 0..100 {
        ends.history.flush(T0 + 600_000);
    }
    assert_eq!(written(&ends, "unit-0.value-0").len(), 0, "the folder cannot be read either");

    out_of_the_way(dir.path());
    assert_eq!(written(&ends, "unit-0.value-0").len(), 40, "it is shown before it is written");
    let mut now = T0 + 600_000;
    until("all is written", || {
        now += 300_000;
        if ends.history.due(now) {
            ends.history.flush(now);
        }
        !ends.history.due(now + DAY)
    });
    drop(ends.history);
    assert!(names.iter().step_by(50).all(|name| between(&ends.view, name, 0, Millis::MAX).len() == 40));
}

#[test]
fn closing_writes_what_is_under_way_and_what_is_gathered() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    let at = |n: Millis| Reading::good(PointId(0), T0 + n, Value::Signed(n));
    flush_and_wait(&mut ends, T0);
    in_the_way(dir.path());
    ends.history.note(&point, &at(0));
    ends.history.flush(T0);
    ends.history.note(&point, &at(1));
    out_of_the_way(dir.path());
    ends.history.close();
    let times: Vec<_> = between(&ends.view, "p.v", 0, T0 * 2);
    assert_eq!(times.iter().map(|s| s.at).collect::<Vec<_>>(), [T0, T0 + 1]);
    drop((ends.view, ends.journal, ends.outbox));
    let ends = open(dir.path());
    assert_eq!(written(&ends, "p.v").len(), 2, "in the files");
}

#[test]
fn the_memory_for_readings_is_bounded_while_the_disk_takes_none() {
    keep_log();
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    let note = |ends: &mut Ends, n: Millis| {
        let value = Value::Number(n as f64 * std::f64::consts::PI);
        ends.history.note(&point, &Reading::good(PointId(0), T0 + n, value));
    };
    flush_and_wait(&mut ends, T0);
    in_the_way(dir.path());
    for n in 0..300_000 {
        note(&mut ends, n);
    }
    assert!(ends.history.due(T0));
    ends.history.flush(T0);
    let failures = || logged_of(dir.path(), "wait in memory");
    until("the failure is said", || failures() == 1);
    note(&mut ends, 300_000);
    assert!(!ends.history.due(T0 + 1000), "not again before five minutes are over");
    assert!(ends.history.due(T0 + 300_000));
    ends.history.flush(T0 + 300_000);
    assert!(!ends.history.due(T0 + 301_000) && ends.history.due(T0 + 600_000));
    out_of_the_way(dir.path());
    flush_and_wait(&mut ends, T0 + 600_000);
    let kept = ends.history.recent("p.v", 0).unwrap();
    assert!(kept.len() == store::SAMPLES_MAX && kept[7].at == T0 + 7);
    note(&mut ends, 400_000);
    flush_and_wait(&mut ends, T0 + 900_000);
    assert_eq!(ends.history.recent("p.v", T0 + 300_001).unwrap().len(), 1, "and it goes on");
    assert_eq!(failures(), 1, "said once, not with every try");
    assert!(logged("The history takes readings again.") > 0);
    let left_out = left_out_logged();
    assert!(left_out > 1, "the memory was full");
    let in_the_file = written(&ends, "p.v").len();
    assert_eq!(in_the_file + left_out, 300_002, "each reading is in the file or was counted");
}

// ---------------------------------------------------------------------------------------------- rollups

/// Readings counted, rollups, and readings that the rollups count.
fn all(view: &View, point: &str) -> (usize, usize, u32) {
    let (mut readings, mut rollups, mut counted) = (0, 0, 0);
    let past = view.readings().unwrap();
    past.all(point, 0, Millis::MAX, |piece| match piece {
        Piece::Reading(_) => readings += 1,
        Piece::Rollup(row, _) | Piece::Minute(row) => {
            rollups += 1;
            counted += row.count;
        }
    })
    .unwrap();
    (readings, rollups, counted)
}

/// Readings, by themselves or in a row.
fn counted(piece: &Piece) -> u32 {
    match piece {
        Piece::Reading(_) => 1,
        Piece::Rollup(row, _) | Piece::Minute(row) => row.count,
    }
}

const SIXTY_HOURS: i64 = 10 * 6 * 360;

/// Six hours make a segment. In all ten of them a reading every ten seconds.
fn write_sixty_hours(ends: &mut Ends) {
    let (point, door): (Arc<str>, Arc<str>) = ("p.v".into(), "d.door".into());
    for n in 0..SIXTY_HOURS {
        let at = T0 + n * 10_000;
        let value = Value::Number((n * 7919 % 1000) as f64 / 10.0);
        ends.history.note(&point, &Reading::good(PointId(0), at, value));
        let word = if n % 500 == 0 { "open" } else { "closed" };
        ends.history.note(&door, &Reading::good(PointId(1), at, Value::Text(word.into())));
        if n % 180 == 179 {
            flush_and_wait(ends, T0);
        }
    }
}

#[test]
fn readings_give_way_to_minutes_and_minutes_to_hours_and_none_is_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let count = SIXTY_HOURS;
    write_sixty_hours(&mut ends);
    assert_eq!(all(&ends.view, "p.v"), (count as usize, 0, 0));
    let now = T0 + count * 10_000;
    let keep = Duration::from_secs(30 * 24 * 3600);
    let mut seen = Vec::new();
    for limit in [40_000, 20_000, 10_000] {
        ends.history.retire(now, keep, limit);
        until("there is room", || size(dir.path()) <= limit);
        ends.history.note(&"p.later".into(), &Reading::good(PointId(2), now, Value::Bool(true)));
        flush_and_wait(&mut ends, T0);
        for point in ["p.v", "d.door"] {
            let (readings, _, counted) = all(&ends.view, point);
            assert_eq!(readings + counted as usize, count as usize, "each is there once");
        }
        let oldest = ends.view.readings().unwrap().since().unwrap();
        assert_eq!(oldest, Some(T0), "the begin is still there");
        // A last step of giving way may have come after that look; none comes after the end.
        drop(ends);
        ends = open(dir.path());
        let (readings, rollups, counted) = all(&ends.view, "p.v");
        assert_eq!(readings + counted as usize, count as usize, "each once after a restart");
        drop(ends);
        ends = open(dir.path());
        assert_eq!(all(&ends.view, "p.v"), (readings, rollups, counted), "the same after another");
        seen.push((readings, rollups));
    }
    assert!(seen.is_sorted_by(|a, b| a.0 >= b.0), "{seen:?}");
    assert_eq!(seen[2].0, 0, "no readings are left: {seen:?}");
    assert!(seen[2].1 < 60 * 60, "not even each minute: {seen:?}");
    ends.history.retire(now, keep, 0);
    until("all of it goes where there is no room at all", || size(dir.path()) == 0);
}

#[test]
fn what_gives_way_while_somebody_reads_is_told_and_told_once() {
    let whole = tempfile::tempdir().unwrap();
    let mut ends = open(whole.path());
    write_sixty_hours(&mut ends);
    drop(ends);
    let now = T0 + SIXTY_HOURS * 10_000;
    let keep = Duration::from_secs(30 * 24 * 3600);
    // At the first piece of the answer, and amid them.
    for (in_minutes, from_outside, at) in
        [false, true].into_iter().flat_map(|a| [false, true].map(|b| [0, 2500].map(|c| (a, b, c)))).flatten()
    {
        for limit in [40_000, 10_000] {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("history")).unwrap();
            for file in fs::read_dir(whole.path().join("history")).unwrap().flatten() {
                fs::copy(file.path(), dir.path().join("history").join(file.file_name())).unwrap();
            }
            let ends = open(dir.path());
            until("it is open", || all(&ends.view, "p.v").0 == SIXTY_HOURS as usize);
            let past = match from_outside {
                true => store::recorded(dir.path()).unwrap().unwrap(),
                false => ends.view.readings().unwrap(),
            };
            let (mut pieces, mut count) = (0, 0);
            let take = |piece: Piece| {
                if pieces == at {
                    ends.history.retire(now, keep, limit);
                    until("there is room", || size(dir.path()) <= limit);
                }
                pieces += 1;
                count += counted(&piece);
            };
            match in_minutes {
                true => past.in_minutes("p.v", 0, Millis::MAX, take).unwrap(),
                false => past.all("p.v", 0, Millis::MAX, take).unwrap(),
            }
            let case = (in_minutes, from_outside, at, limit);
            assert_eq!(i64::from(count), SIXTY_HOURS, "{case:?}");
        }
    }
}

/// Bytes of the history.
fn size(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("history")).unwrap().flatten();
    files.map(|file| file.metadata().map_or(0, |file| file.len())).sum()
}

#[test]
fn a_day_on_which_too_much_was_written_keeps_minutes_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut ends = open(dir.path());
    let point: Arc<str> = "p.v".into();
    for part in 0..3 {
        ends.history.thin(part == 1);
        for n in part * 300..part * 300 + 300 {
            ends.history.note(&point, &Reading::good(PointId(0), T0 + n * 1000, Value::Signed(n)));
        }
        flush_and_wait(&mut ends, T0);
    }
    assert_eq!(all(&ends.view, "p.v"), (600, 5, 300));
    drop(ends);
    let ends = open(dir.path());
    assert_eq!(all(&ends.view, "p.v"), (600, 5, 300));
}
