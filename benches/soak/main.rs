//! Hours of a compound in minutes: the real intake, rules, journal and history, on a simulated clock, with 3,000 points at 1 s.
//! `cargo bench --bench soak` runs 24 hours, prints a table and draws docs/soak.svg.
//!
//! `-- --hours 2` is shorter; `--svg FILE` draws elsewhere; `--dir DIR` keeps the data; with `--check` it ends with 1 where a day
//! writes 300 MB or more, memory grows from the second quarter to the last, or something was left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod compound;
mod plot;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compound::{CABINETS, Compound, DOORS, POINTS};
use gatehouse::clock::Clock;
use gatehouse::intake::{self, Doors, Intake, Keep};
use gatehouse::live::Live;
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, Millis};
use gatehouse::rules::{Engine, Memory, Plan};
use gatehouse::store::{self, Kind, View};
use jiff::tz::TimeZone;
use plot::{Line, Panel};
use tokio::sync::{mpsc, watch};

const BEGIN: Millis = 1_795_248_000_000;
const SAMPLE_EVERY: u32 = 15 * 60;
const DAY_BYTES_MAX: f64 = 300e6;
/// What memory may grow by from the second quarter to the last.
const GROWTH_MAX: f64 = 1.5;
/// How long the history's thread may take, of real time, for what a simulated minute gives it.
const PATIENCE: Duration = Duration::from_secs(60);

struct Asked {
    hours: f64,
    check: bool,
    svg: PathBuf,
    dir: Option<PathBuf>,
}

/// How things are at one time of the run.
#[derive(Clone, Default)]
struct Sample {
    hour: f64,
    /// MB written since the start: by the journal's thread, by the history's.
    journal: f64,
    history: f64,
    resident: f64,
    /// MB of the journal, the log beside it, and the history.
    files: [f64; 3],
    events: u64,
    unclosed: usize,
    readings: u64,
}

/// Warnings of the house; there should be none.
static WARNINGS: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let asked = asked();
    tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(counted).init();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let dir = asked.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let begun = std::time::Instant::now();
    let samples = tokio::task::LocalSet::new().block_on(&runtime, soak(&dir, asked.hours));
    let took = begun.elapsed().as_secs_f64();
    let last = samples.last().cloned().unwrap_or_default();
    let rate = last.readings as f64 / took;
    println!(
        "\n{:.0} simulated hours in {took:.0} s: {} readings, {rate:.0} a second",
        asked.hours, last.readings
    );
    fs::write(&asked.svg, picture(&samples)).unwrap();
    println!("drawn: {}", asked.svg.display());
    if asked.check { verdict(&samples) } else { ExitCode::SUCCESS }
}

fn asked() -> Asked {
    let words: Vec<String> = std::env::args().collect();
    let after = |word: &str| words.iter().position(|w| w == word).and_then(|n| words.get(n + 1));
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/soak.svg");
    Asked {
        hours: after("--hours").map_or(24.0, |hours| hours.parse().expect("--hours takes a number")),
        check: words.iter().any(|word| word == "--check"),
        svg: after("--svg").map_or(here, PathBuf::from),
        dir: after("--dir").map(PathBuf::from),
    }
}

fn counted() -> io::Stderr {
    WARNINGS.fetch_add(1, Ordering::Relaxed);
    io::stderr()
}

/// The house without wires and web: who feeds it is the compound, and the push is a consumer that settles at once.
async fn soak(dir: &Path, hours: f64) -> Vec<Sample> {
    let gateway = compound::gateway(&dir.display().to_string());
    assert!(gateway.site.points.len() as u32 >= CABINETS * POINTS + DOORS);
    let clock = Clock::simulated(BEGIN, true);
    let mut ends = store::open(&gateway.store, &gateway.site.gateway).unwrap();
    ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
    let (batch_in, batches) = mpsc::channel(intake::BATCHES_MAX);
    let (head_in, mut head) = watch::channel(ends.journal.head());
    let plan = Plan {
        rules: gateway.rules.clone(),
        standards: gateway.standards(),
        locale: gateway.locale,
        epoch: ends.journal.epoch().clone(),
    };
    let metrics = Metrics::new();
    let view = ends.view.clone();
    let intake = Intake {
        clock: clock.clone(),
        engine: Engine::new(plan, gateway.site.clone(), Memory::default(), clock.now()),
        live: Arc::new(Live::new(&gateway.site)),
        site: gateway.site.clone(),
        journal: ends.journal,
        history: ends.history,
        view: ends.view,
        metrics: metrics.clone(),
        summary: None,
        keep: Keep {
            events: gateway.store.events_keep,
            readings: gateway.store.readings_keep,
            disk_limit: gateway.store.disk_limit,
        },
        zone: TimeZone::get(&gateway.timezone).unwrap(),
        devices: Vec::new(),
        access: gateway.access.clone(),
        saved: Vec::new(),
        commands: Vec::new(),
        orders: Vec::new(),
        lanes: HashMap::new(),
    };
    let doors = Doors {
        batches,
        asks: mpsc::channel(1).1,
        wishes: mpsc::channel(1).1,
        calls: mpsc::channel(1).1,
        turns: mpsc::channel(1).1,
        tells: mpsc::channel(1).1,
        head: head_in,
        trouble: watch::channel(None).0,
        pulse: watch::channel(0).0,
    };
    let intake = tokio::task::spawn_local(intake.run(doors, Vec::new(), Vec::new));
    let (outbox, wall) = (ends.outbox, clock.clone());
    tokio::task::spawn_local(async move {
        while head.changed().await.is_ok() {
            let seq = *head.borrow_and_update();
            outbox.settle("crm", seq, wall.now()).unwrap();
        }
    });
    let samples = feed(dir, hours, &clock, &view, batch_in).await;
    intake.await.unwrap();
    samples
}

async fn feed(dir: &Path, hours: f64, clock: &Clock, view: &View, out: mpsc::Sender<Batch>) -> Vec<Sample> {
    let mut compound = Compound::new(17);
    let start = clock.steady();
    let readings = Rc::new(Cell::new(0));
    let mut batches = Vec::with_capacity((CABINETS + DOORS) as usize);
    let mut samples = vec![sample(dir, 0, 0, view)];
    table(None);
    for second in 0..(hours * 3600.0) as u32 {
        compound.say(second, clock.now(), |batch| batches.push(batch));
        for batch in batches.drain(..) {
            readings.set(readings.get() + batch.readings.len() as u64);
            out.send(batch).await.unwrap();
        }
        let next = second + 1;
        // Everything else is asleep by then, and the clock goes on by itself.
        tokio::time::sleep_until(start + Duration::from_secs(next.into())).await;
        if next.is_multiple_of(60) {
            wait_for_the_history();
        }
        if next.is_multiple_of(SAMPLE_EVERY) {
            samples.push(sample(dir, next, readings.get(), view));
            if next.is_multiple_of(3600) {
                table(samples.last());
            }
        }
    }
    samples
}

fn sample(dir: &Path, second: u32, readings: u64, view: &View) -> Sample {
    let history = thread_named("history").map_or(0, |pid| written(&format!("/proc/self/task/{pid}/io")));
    let size = |name: &str| fs::metadata(dir.join(name)).map_or(0.0, |about| mb(about.len()));
    let (_, readings_kept) = store::sizes(dir);
    let open = store::Filter {
        states: [gatehouse::ticket::State::Open].into(),
        limit: store::TICKETS_MAX,
        ..store::Filter::default()
    };
    Sample {
        hour: f64::from(second) / 3600.0,
        journal: mb(written("/proc/self/io").saturating_sub(history)),
        history: mb(history),
        resident: resident(),
        files: [size("journal.db"), size("journal.db-wal"), mb(readings_kept)],
        events: view.head().unwrap(),
        unclosed: view.tickets(&open).unwrap().len(),
        readings,
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Bytes that the kernel took for a disk; in pages, and a page that is written again before it has left is counted once.
fn written(path: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    value("write_bytes:").unwrap_or_default()
}

fn thread_named(name: &str) -> Option<String> {
    fs::read_dir("/proc/self/task").ok()?.flatten().find_map(|task| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim() == name).then(|| task.file_name().to_string_lossy().into_owned())
    })
}

/// Simulated minutes pass faster than a disk writes: at the pace of real ones its thread would long be asleep again.
fn wait_for_the_history() {
    let end = std::time::Instant::now() + PATIENCE;
    let Some(thread) = thread_named("history") else { return };
    let rests = || {
        let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('S'))
    };
    while !rests() && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    mb(line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024)
}

fn table(sample: Option<&Sample>) {
    let Some(s) = sample else {
        println!(
            "hour | MB written: journal  history | MB resident | MB of journal  history | events  unclosed"
        );
        return;
    };
    println!(
        "{:>4.0} | {:>19.1}  {:>7.1} | {:>11.1} | {:>13.1}  {:>7.1} | {:>6}  {:>8}",
        s.hour,
        s.journal,
        s.history,
        s.resident,
        s.files[0] + s.files[1],
        s.files[2],
        s.events,
        s.unclosed
    );
}

fn picture(samples: &[Sample]) -> String {
    let line = |name, colour, value: &dyn Fn(&Sample) -> f64| Line {
        name,
        colour,
        points: samples.iter().map(|s| (s.hour, value(s))).collect(),
    };
    let last = samples.last().cloned().unwrap_or_default();
    let head = format!(
        "{:.0} simulated hours, 3,000 points at 1 s, {} doors: {} readings, {} events",
        last.hour, DOORS, last.readings, last.events
    );
    let panels = [
        Panel {
            title: "written to the disk since the start".into(),
            unit: "MB",
            lines: vec![
                line("budget", "#999", &|s| DAY_BYTES_MAX / 1e6 * s.hour / 24.0),
                line("all", "#111", &|s| s.journal + s.history),
                line("journal", "#c33", &|s| s.journal),
                line("history", "#27c", &|s| s.history),
            ],
        },
        Panel {
            title: "resident memory, the simulation's own included".into(),
            unit: "MB",
            lines: vec![line("resident", "#383", &|s| s.resident)],
        },
        Panel {
            title: "files".into(),
            unit: "MB",
            lines: vec![
                line("history", "#27c", &|s| s.files[2]),
                line("journal", "#c33", &|s| s.files[0]),
                line("its log", "#e99", &|s| s.files[1]),
            ],
        },
    ];
    plot::svg(&head, &panels)
}

fn verdict(samples: &[Sample]) -> ExitCode {
    let last = samples.last().cloned().unwrap_or_default();
    let quarter = |n: usize| {
        let part = &samples[samples.len() * n / 4..samples.len() * (n + 1) / 4];
        part.iter().map(|s| s.resident).sum::<f64>() / part.len().max(1) as f64
    };
    let day = (last.journal + last.history) * 24.0 / last.hour;
    let grown = quarter(3) - quarter(1);
    let warnings = WARNINGS.load(Ordering::Relaxed);
    println!(
        "{day:.0} MB a day, memory grown by {grown:.1} MB from the second quarter to the last, {warnings} warnings"
    );
    if day >= DAY_BYTES_MAX / 1e6 || grown > GROWTH_MAX || warnings > 0 || last.events == 0 {
        println!("missed: less than 300 MB a day, memory that does not grow, no warnings");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
