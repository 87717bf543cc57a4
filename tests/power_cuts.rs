//! The power goes at any step of a scripted day, on a disk that keeps what was synced and of the rest what it likes: after
//! each restart no told event is gone or changed, no number is used twice, no ticket is lost or doubled.
//!
//! `CUTS=10000 SEED=1 cargo test --release --test power_cuts -- --nocapture` is the long run; without it there are 300.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod compound;
mod fault_disk;

use std::collections::BTreeMap;
use std::time::Instant;

use fault_disk::Dice;
use fault_disk::day::{self, Course, Script};
use fault_disk::disk::Disk;
use fault_disk::promise::Promises;
use fault_disk::recorder::{Fault, Recorder, Refusal, Step};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Memory, where there is some: ten thousand stores are written and thrown away.
fn directory() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

#[derive(Default)]
struct Tally {
    points: u64,
    by_act: BTreeMap<&'static str, u64>,
    by_step: BTreeMap<&'static str, u64>,
    history: BTreeMap<&'static str, u64>,
    lost: u64,
    torn: u64,
    names: u64,
    truncations: u64,
    commits_gone: u64,
    again: u64,
    sectors: u64,
    broken: Vec<String>,
}

fn kind(step: &Step) -> &'static str {
    match step {
        Step::Made { .. } => "a file made",
        Step::Write { .. } => "write",
        Step::Truncate { .. } => "truncation",
        Step::Sync { .. } | Step::SyncFailed { .. } => "sync",
        Step::SyncDirectory => "sync of the directory",
        Step::Deleted { .. } => "deletion",
    }
}

/// Cuts a course at so many points, and some of what comes of that once more.
fn cut(course: &Course, points: u64, dice: &mut Dice, again: bool, tally: &mut Tally) {
    let promises = Promises::of(course);
    let steps = course.log.steps.len() as u64;
    let mut cuts: Vec<usize> = (0..points).map(|_| dice.roll(steps + 1) as usize).collect();
    cuts.sort_unstable();
    let mut disk = Disk::new(&course.log);
    for at in cuts {
        disk.play(at);
        let dir = directory();
        let loss = disk.cut(dice, dir.path(), false);
        let act = promises.act(at);
        tally.points += 1;
        *tally.by_act.entry(act.what).or_default() += 1;
        *tally
            .by_step
            .entry(at.checked_sub(1).map_or("nothing yet", |n| kind(&course.log.steps[n])))
            .or_default() += 1;
        tally.lost += u64::from(loss.lost > 0);
        tally.sectors += loss.lost as u64;
        tally.torn += u64::from(loss.torn);
        tally.names += u64::from(loss.names > 0);
        tally.truncations += u64::from(loss.truncations > 0);
        match promises.hold(dir.path(), at) {
            Err(broken) => tally.broken.push(format!("step {at} of {steps}, {}: {broken}", act.what)),
            Ok(found) => {
                tally.commits_gone += u64::from(found.commits_gone > 0);
                *tally.history.entry(found.history).or_default() += 1;
                if again && dice.roll(12) == 0 {
                    // It goes on from there, and is cut again.
                    let truth = course.truth[..found.head as usize].to_vec();
                    let script = Script::of(dice.roll(1 << 30), 8, 120_000);
                    let next =
                        day::go_on(dir.path(), script, truth, act.at + 60_000, &Recorder::watch(dir.path()));
                    tally.again += 1;
                    cut(&next, 3, dice, false, tally);
                }
            }
        }
    }
}

fn show(tally: &Tally, seconds: f64) {
    println!(
        "{} cut points, {} of them on runs that went on after a cut ({}); {:.0} points/s",
        tally.points,
        tally.again * 3,
        tally.again,
        tally.points as f64 / seconds
    );
    println!(
        "  unsynced sectors gone: {} points, {} sectors; torn writes: {}; files not yet or still there: {}; truncations undone: {}",
        tally.lost, tally.sectors, tally.torn, tally.names, tally.truncations
    );
    println!("  a commit that nobody had been told of was gone: {}", tally.commits_gone);
    for (title, counts) in
        [("under way", &tally.by_act), ("last step", &tally.by_step), ("history", &tally.history)]
    {
        let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what}: {count}")).collect();
        println!("  {title}: {}", counts.join("; "));
    }
    println!("  broken promises: {}", tally.broken.len());
}

#[test]
fn nothing_told_is_lost_by_a_power_cut_at_any_step_of_a_day() {
    let (points, seed) = (number("CUTS", 300), number("SEED", 1));
    let days = points.div_ceil(1000).max(3);
    let mut tally = Tally::default();
    let mut dice = Dice::new(seed);
    let (started, mut recording) = (Instant::now(), 0.0);
    for n in 0..days {
        let began = Instant::now();
        let dir = directory();
        let acts = if points > 1000 { 300 } else { 80 };
        let script = Script { format: (n % 4) as usize, ..Script::of(seed * 1000 + n, acts, 300_000) };
        let course = day::day(dir.path(), script);
        recording += began.elapsed().as_secs_f64();
        println!(
            "day {n}: {} steps, {} commits, {} events, {:.2} s",
            course.log.steps.len(),
            course.states.len(),
            course.truth.len(),
            began.elapsed().as_secs_f64()
        );
        cut(&course, points.div_ceil(days), &mut dice, true, &mut tally);
    }
    show(&tally, started.elapsed().as_secs_f64() - recording);
    assert!(tally.broken.is_empty(), "seed {seed}:\n{}", tally.broken.join("\n"));
}

/// A disk that says that it has synced, and has not: the same promises are broken, or they would prove nothing.
#[test]
fn on_a_disk_that_does_not_sync_the_same_promises_are_broken() {
    let mut tally = Tally::default();
    let dir = directory();
    let recorder = Recorder::watch(dir.path());
    recorder.deaf();
    let course = day::go_on(dir.path(), Script::of(7, 60, 300_000), Vec::new(), day::T0, &recorder);
    cut(&course, 60, &mut Dice::new(7), false, &mut tally);
    println!(
        "{} of {} cut points break a promise where nothing is synced, among them:",
        tally.broken.len(),
        tally.points
    );
    let words: BTreeMap<&str, &String> = tally
        .broken
        .iter()
        .map(|broken| (broken.rsplit(": ").next().unwrap().split(' ').next().unwrap(), broken))
        .collect();
    words.values().for_each(|broken| println!("  {}", broken.chars().take(200).collect::<String>()));
    assert!(tally.broken.len() * 2 > tally.points as usize, "{} of {}", tally.broken.len(), tally.points);
}

/// One way in which a disk refuses, over the whole hour.
struct Row {
    name: &'static str,
    refusal: Refusal,
    times: u64,
    files: &'static str,
}

const ROWS: [Row; 6] = [
    Row { name: "full at one write", refusal: Refusal::Full, times: 1, files: "journal" },
    Row { name: "full from one write on, for 30", refusal: Refusal::Full, times: 30, files: "journal" },
    Row { name: "EIO at one write", refusal: Refusal::Io, times: 1, files: "journal" },
    Row { name: "EIO from one write on, for 30", refusal: Refusal::Io, times: 30, files: "journal" },
    Row { name: "one sync fails", refusal: Refusal::Fsync, times: 1, files: "journal" },
    Row {
        name: "history: full from one write on, for 30",
        refusal: Refusal::Full,
        times: 30,
        files: "history",
    },
];

fn hour(seed: u64, fault: Option<Fault>) -> (tempfile::TempDir, Course) {
    let dir = directory();
    let script = Script { fault, ..Script::of(seed, 24, 300_000) };
    let course = day::day(dir.path(), script);
    (dir, course)
}

/// The disk is full, or fails, at every write of an hour, and is well again: nothing told is lost, the store goes on, no
/// number is used twice. `HOUR=1` takes every write, otherwise some of them are taken.
#[test]
fn a_disk_that_refuses_any_write_of_an_hour_loses_nothing_told() {
    let (every, seed) = (std::env::var("HOUR").is_ok(), number("SEED", 1));
    let mut dice = Dice::new(seed);
    let mut broken = Vec::new();
    let (_, well) = hour(seed, None);
    println!(
        "an hour: {} events, {} writes and {} syncs of the journal",
        well.truth.len(),
        well.writes,
        well.syncs
    );
    for Row { name, refusal, times, files } in ROWS {
        let started = Instant::now();
        let calls = if refusal == Refusal::Fsync { well.syncs } else { well.writes };
        let step = if every { 1 } else { (calls / 8).max(1) };
        let (mut hours, mut cuts) = (0, 0);
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        let mut first = 1 + if every { 0 } else { dice.roll(step) };
        while first <= calls {
            let (dir, course) = hour(seed, Some(Fault { refusal, first, times, files }));
            hours += 1;
            course.refused.iter().for_each(|what| *refused.entry(what).or_default() += 1);
            let mut complain = |what: String| broken.push(format!("{name}, from {first}: {what}"));
            let promises = Promises::of(&course);
            let end = course.log.steps.len();
            match promises.hold(dir.path(), end) {
                Err(what) => complain(what),
                Ok(found) if found.head <= course.well => {
                    complain(format!("it stands still at {}", found.head))
                }
                Ok(_) => {}
            }
            let mut disk = Disk::new(&course.log);
            let mut at: Vec<usize> = (0..3).map(|_| dice.roll(end as u64 + 1) as usize).collect();
            at.sort_unstable();
            for at in at {
                disk.play(at);
                let dir = directory();
                disk.cut(&mut dice, dir.path(), false);
                cuts += 1;
                if let Err(what) = promises.hold(dir.path(), at) {
                    complain(format!("and a cut at {at} of {end}: {what}"));
                }
            }
            first += step;
        }
        println!(
            "{name}: {hours} hours, {cuts} power cuts in them, {:.1} s; refused: {refused:?}",
            started.elapsed().as_secs_f64()
        );
    }
    println!("broken promises: {}", broken.len());
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
}
