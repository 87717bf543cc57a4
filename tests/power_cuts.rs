//! The power goes at any step of a scripted day, on a disk that keeps what was synced and of the rest what it likes: after
//! each restart no told event is gone or changed, no number is used twice, no ticket is lost or doubled.
//!
//! `CUTS=10000 SEED=1 cargo test --release --test power_cuts -- --nocapture` is the long run; without it there are some 300.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod compound;
mod fault_disk;

use std::collections::BTreeMap;
use std::time::Instant;

use fault_disk::Dice;
use fault_disk::day::{self, Course, Script};
use fault_disk::disk::{Disk, Loss};
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
    spoilt: u64,
    names: u64,
    truncations: u64,
    commits_gone: u64,
    again: u64,
    sectors: u64,
    /// Where, and in which words.
    broken: Vec<(String, String)>,
}

impl Tally {
    fn count(&mut self, act: &'static str, step: &'static str, loss: &Loss) {
        self.points += 1;
        *self.by_act.entry(act).or_default() += 1;
        *self.by_step.entry(step).or_default() += 1;
        self.lost += u64::from(loss.lost > 0);
        self.sectors += loss.lost as u64;
        self.torn += u64::from(loss.torn);
        self.spoilt += u64::from(loss.spoilt);
        self.names += u64::from(loss.names > 0);
        self.truncations += u64::from(loss.truncations > 0);
    }
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

/// How a course is cut.
#[derive(Clone, Copy)]
struct How {
    points: u64,
    /// How often what comes of a cut goes on and is cut once more.
    again: u32,
}

/// Half of them anywhere, half of them in whatever was under way, the rare things as often as the common ones.
fn choose(course: &Course, points: u64, dice: &mut Dice) -> Vec<usize> {
    let mut acts: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
    let mut from = 0;
    for act in &course.acts {
        if act.to > from {
            acts.entry(act.what).or_default().push((from, act.to));
        }
        from = act.to;
    }
    let acts: Vec<_> = acts.into_values().collect();
    let anywhere = course.log.steps.len() as u64 + 1;
    let mut one = |n: u64| {
        if n.is_multiple_of(2) {
            return dice.roll(anywhere) as usize;
        }
        let alike = &acts[dice.roll(acts.len() as u64) as usize];
        let (from, to) = alike[dice.roll(alike.len() as u64) as usize];
        from + 1 + dice.roll((to - from) as u64) as usize
    };
    let mut cuts: Vec<usize> = (0..points).map(&mut one).collect();
    cuts.sort_unstable();
    cuts
}

/// Cuts a course at so many points, opens what is left and looks whether every promise holds.
fn cut(course: &Course, how: How, dice: &mut Dice, tally: &mut Tally) {
    let promises = Promises::of(course);
    let steps = course.log.steps.len();
    let mut disk = Disk::new(&course.log);
    for at in choose(course, how.points, dice) {
        disk.play(at);
        let dir = directory();
        let loss = disk.cut(dice, dir.path());
        let act = promises.act(at);
        tally.count(act.what, at.checked_sub(1).map_or("nothing yet", |n| kind(&course.log.steps[n])), &loss);
        let found = match promises.hold(dir.path(), at) {
            Ok(found) => found,
            Err(broken) => {
                tally.broken.push((format!("step {at} of {steps}, {}", act.what), broken));
                continue;
            }
        };
        tally.commits_gone += u64::from(found.commits_gone > 0);
        *tally.history.entry(found.history).or_default() += 1;
        if how.again > 0 && dice.roll(12) == 0 {
            let truth = course.truth[..found.head as usize].to_vec();
            let script = Script::of(dice.roll(1 << 30), 8, 120_000);
            let next = day::go_on(dir.path(), script, truth, act.at + 60_000, &Recorder::watch(dir.path()));
            tally.again += 3;
            cut(&next, How { points: 3, again: how.again - 1 }, dice, tally);
        }
    }
}

fn show(tally: &Tally, seconds: f64) {
    let Tally { points, again, lost, sectors, torn, spoilt, names, truncations, commits_gone, .. } = tally;
    let speed = *points as f64 / seconds;
    println!(
        "{points} cut points, {again} of them in a run that had gone on after a cut; {speed:.0} points/s"
    );
    println!(
        "  {lost} lost unsynced data ({sectors} sectors), {torn} a torn write ({spoilt} with the block around it), {names} the making or deletion of a file, \
         {truncations} a truncation; {commits_gone} a commit that nobody had been told of"
    );
    for (title, counts) in
        [("under way", &tally.by_act), ("last step", &tally.by_step), ("history", &tally.history)]
    {
        let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
        println!("  {title}: {}", counts.join(", "));
    }
    println!("  broken promises: {}", tally.broken.len());
}

/// How often each kind of event is in it.
fn kinds(course: &Course, into: &mut BTreeMap<String, u64>) {
    for json in &course.truth {
        let start = json.find("\"type\":\"gatehouse.").unwrap() + 18;
        *into.entry(json[start..].split('"').next().unwrap().to_owned()).or_default() += 1;
    }
}

#[test]
fn nothing_told_is_lost_by_a_power_cut_at_any_step_of_a_day() {
    let (points, seed) = (number("CUTS", 210), number("SEED", 1));
    let days = points.div_ceil(1000).max(3);
    let (mut tally, mut dice, mut told) = (Tally::default(), Dice::new(seed), BTreeMap::new());
    let (started, mut recording) = (Instant::now(), 0.0);
    let (mut steps, mut commits) = (0, 0);
    for n in 0..days {
        let began = Instant::now();
        let dir = directory();
        let acts = if points > 1000 { 300 } else { 80 };
        let script = Script { format: (n % 4) as usize, ..Script::of(seed * 1000 + n, acts, 300_000) };
        let course = day::day(dir.path(), script);
        recording += began.elapsed().as_secs_f64();
        steps += course.log.steps.len();
        commits += course.states.len();
        kinds(&course, &mut told);
        let how = How { points: points.div_ceil(days), again: 2 };
        cut(&course, how, &mut dice, &mut tally);
    }
    println!("{days} days (seed {seed}), written down in {recording:.1} s: {steps} steps, {commits} commits");
    println!("  events: {told:?}");
    show(&tally, started.elapsed().as_secs_f64() - recording);
    assert!(tally.broken.is_empty(), "seed {seed}: {:#?}", tally.broken);
}

/// A disk that says that it has synced, and has not: the same promises are broken, or they would prove nothing. So they
/// are where only the WAL is not synced, which is what a journal with `synchronous = NORMAL` would be.
#[test]
fn on_a_disk_that_does_not_sync_the_same_promises_are_broken() {
    for (files, least) in [("journal.db", 40), ("journal.db-wal", 20)] {
        let mut tally = Tally::default();
        let dir = directory();
        let recorder = Recorder::watch(dir.path());
        recorder.deaf(files);
        let course = day::go_on(dir.path(), Script::of(7, 60, 300_000), Vec::new(), day::T0, &recorder);
        cut(&course, How { points: 50, again: 0 }, &mut Dice::new(7), &mut tally);
        let mut words: BTreeMap<String, u32> = BTreeMap::new();
        for (_, what) in &tally.broken {
            let first = what.split_whitespace().filter(|word| word.chars().all(char::is_alphabetic)).take(3);
            *words.entry(first.collect::<Vec<_>>().join(" ")).or_default() += 1;
        }
        println!("{files}* never synced: {} of 50 cut points break a promise: {words:?}", tally.broken.len());
        assert!(tally.broken.len() >= least, "{:#?}", tally.broken);
    }
}

/// One way in which a disk refuses, over the whole hour.
struct Row {
    name: &'static str,
    refusal: Refusal,
    times: u64,
    files: &'static str,
}

const ROWS: [Row; 5] = [
    Row { name: "full at one write", refusal: Refusal::Full, times: 1, files: "journal" },
    Row { name: "full from one write on, for 8", refusal: Refusal::Full, times: 8, files: "journal" },
    Row { name: "EIO at one write", refusal: Refusal::Io, times: 1, files: "journal" },
    Row { name: "EIO from one write on, for 8", refusal: Refusal::Io, times: 8, files: "journal" },
    Row { name: "one sync fails", refusal: Refusal::Fsync, times: 1, files: "journal" },
];

fn hour(seed: u64, fault: Option<Fault>) -> (tempfile::TempDir, Course) {
    let dir = directory();
    let script = Script { fault, ..Script::of(seed, 24, 300_000) };
    let course = day::day(dir.path(), script);
    (dir, course)
}

/// The disk is full, or fails, at every write of an hour, and is well again: nothing told is lost, the store goes on, no
/// number is used twice. `HOUR=all` takes every write, `HOUR=sync` those of the rows that are named so, otherwise some of
/// them are taken.
#[test]
fn a_disk_that_refuses_any_write_of_an_hour_loses_nothing_told() {
    let (which, seed) = (std::env::var("HOUR").ok(), number("SEED", 1));
    let every = which.is_some();
    let mut dice = Dice::new(seed);
    let mut broken = Vec::new();
    let wanted = |row: &Row| which.as_deref().is_none_or(|which| which == "all" || row.name.contains(which));
    for Row { name, refusal, times, files } in ROWS.into_iter().filter(wanted) {
        let started = Instant::now();
        let (_, well) = hour(seed, Some(Fault { refusal, first: 1, times: 0, files }));
        let calls = if refusal == Refusal::Fsync { well.syncs } else { well.writes };
        let step = if every { 1 } else { (calls / 5).max(1) };
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
                    complain(format!("it stands still at {}", found.head));
                }
                Ok(_) => {}
            }
            let mut disk = Disk::new(&course.log);
            let mut at: Vec<usize> = (0..3).map(|_| dice.roll(end as u64 + 1) as usize).collect();
            at.sort_unstable();
            for at in at {
                disk.play(at);
                let dir = directory();
                disk.cut(&mut dice, dir.path());
                cuts += 1;
                if let Err(what) = promises.hold(dir.path(), at) {
                    complain(format!("and a cut at {at} of {end}: {what}"));
                }
            }
            first += step;
        }
        println!(
            "{name}: {hours} hours of {calls}, {cuts} power cuts in them, {:.1} s; refused: {refused:?}",
            started.elapsed().as_secs_f64()
        );
    }
    println!("broken promises: {}", broken.len());
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
}
