//! What the history costs: bytes on the disk, time and memory, with simulated readings at their own pace of time.
//! `cargo bench --bench history -- [--points 3000] [--hours 24] [--limit-mb 2048]`
//!
//! A device has ten points of five kinds, polled each second, 20 ms to and fro; a tenth of a kind's noise is a slow wave:
//!
//! - `temperature`: one decimal, a step up or down or none
//! - `pressure`: one decimal, noise with a sigma of 2.5 steps
//! - `power`: whole, a sigma of 5 steps
//! - `state`: a contact that changes twice an hour
//! - `meter`: counts up at two decimals, by what the power was
//!
//! and, on its own in the table of kinds, `float`: four bytes as devices send them, noise in the fourth digit. What does not
//! change is left out as the daemon does it, but for once a minute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::reading::{Millis, PointId, Reading, Value};
use gatehouse::store::{self, Ends, Settings};

const T0: Millis = 1_763_712_000_000;
const DAY: Millis = 24 * 3_600_000;
const MB: f64 = 1e6;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Temperature,
    Pressure,
    Power,
    State,
    Meter,
    Float,
}

const DEVICE: [Kind; 10] = [
    Kind::Temperature,
    Kind::Temperature,
    Kind::Pressure,
    Kind::Pressure,
    Kind::Power,
    Kind::Power,
    Kind::State,
    Kind::State,
    Kind::Meter,
    Kind::Meter,
];

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> i64 {
        ((self.next() >> 20) % n) as i64
    }

    /// The sum of four is near enough to a bell: within a hundredth of its entropy.
    fn bell(&mut self, sigma: f64) -> f64 {
        let bits = self.next();
        let sum: f64 = (0..4).map(|n| (bits >> (n * 16) & 0xffff) as f64 / 65_536.0).sum();
        (sum - 2.0) * sigma * 3f64.sqrt()
    }
}

struct Point {
    kind: Kind,
    name: Arc<str>,
    base: f64,
    count: f64,
    last: Option<(Millis, Value)>,
}

impl Point {
    fn new(kind: Kind, device: usize, n: usize) -> Self {
        let name = format!("unit-{device}.{}_{n}", format!("{kind:?}").to_lowercase()).into();
        Self { kind, name, base: 200.0 + (device * 7 % 100) as f64, count: device as f64 * 100.0, last: None }
    }

    fn value(&mut self, second: i64, noise: &mut Noise) -> Value {
        let wave = (second as f64 / 3000.0 + self.base).sin();
        let tenths = |steps: f64| Value::Number(steps.round() / 10.0);
        match self.kind {
            Kind::Temperature => tenths(self.base + 10.0 * wave + (noise.below(3) - 1) as f64),
            Kind::Pressure => tenths(self.base * 10.0 + 25.0 * wave + noise.bell(2.5)),
            Kind::Power => Value::Number((self.base * 10.0 + 50.0 * wave + noise.bell(5.0)).round()),
            Kind::State => Value::Bool((second + self.base as i64 * 17) / 1800 % 2 == 0),
            Kind::Meter => {
                self.count += (self.base + 5.0 * wave + noise.bell(0.5)) / 3600.0;
                Value::Number((self.count * 100.0).round() / 100.0)
            }
            Kind::Float => Value::Number(f64::from((self.base + wave + noise.bell(0.05)) as f32)),
        }
    }

    /// As the daemon: what is as it was is written once a minute.
    fn is_news(&mut self, at: Millis, value: &Value) -> bool {
        let steady = self.last.as_ref().is_some_and(|(then, last)| last == value && at - then < 60_000);
        if !steady {
            self.last = Some((at, value.clone()));
        }
        !steady
    }
}

#[derive(Default)]
struct Run {
    polled: u64,
    noted: u64,
    written: u64,
    files: u64,
    took: Duration,
    cpu: f64,
    resident: u64,
}

fn main() {
    let asked: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: u64| {
        let at = asked.iter().position(|arg| arg == name);
        at.and_then(|at| asked.get(at + 1)).map_or(default, |told| told.parse().expect("a number"))
    };
    let (points, hours) = (number("--points", 3000) as usize, number("--hours", 24));
    let limit = number("--limit-mb", 2048) << 20;
    println!("kind         polled   noted  bytes/noted  bytes/polled  (300 points, 2 h)");
    for kind in [Kind::Temperature, Kind::Pressure, Kind::Power, Kind::State, Kind::Meter, Kind::Float] {
        let dir = tempfile::tempdir().unwrap();
        let (run, _) = simulate(dir.path(), &[kind; 10], 30, 2 * 3600, u64::MAX);
        let bytes = run.files as f64;
        println!(
            "{:12} {:6}  {:6}  {:11.3}  {:12.3}",
            format!("{kind:?}").to_lowercase(),
            run.polled,
            run.noted,
            bytes / run.noted as f64,
            bytes / run.polled as f64
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let seconds = hours as i64 * 3600;
    let (run, ends) = simulate(dir.path(), &DEVICE, points / DEVICE.len(), seconds, limit);
    println!("\n{points} points at 1 s, {hours} h, limit {} MiB", limit >> 20);
    println!("readings     {:.1} M polled, {:.1} M noted", run.polled as f64 / MB, run.noted as f64 / MB);
    println!(
        "written      {:.1} MB a day (write_bytes of the process)",
        run.written as f64 / MB * 24.0 / hours as f64
    );
    println!("a reading    {:.3} bytes", run.written as f64 / run.noted as f64);
    for (level, bytes) in sizes(dir.path()) {
        println!("file         {level:9} {:.1} MB", bytes as f64 / MB);
    }
    println!(
        "time         {:.1} s, CPU {:.1} s: {:.4} of a core",
        run.took.as_secs_f64(),
        run.cpu,
        run.cpu / seconds as f64
    );
    println!("memory       {:.1} MB resident at the most", run.resident as f64 / 1024.0);
    let to = T0 + seconds * 1000;
    for (word, span) in [("hour", DAY / 24), ("day", DAY), ("month", 30 * DAY)] {
        let (mut readings, mut rollups) = (0, 0);
        let began = Instant::now();
        let past = ends.view.readings().unwrap();
        let mut count = |piece| match piece {
            store::Piece::Reading(_) => readings += 1,
            store::Piece::Rollup(..) | store::Piece::Minute(_) => rollups += 1,
        };
        past.all("unit-3.pressure_2", to - span, to, &mut count).unwrap();
        println!(
            "plot         {word:5} {:7.1} ms  {readings} readings, {rollups} rollups",
            began.elapsed().as_secs_f64() * 1e3
        );
    }
    let began = Instant::now();
    ends.view.readings().unwrap().since().unwrap();
    println!("since        {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
}

fn simulate(dir: &Path, kinds: &[Kind], devices: usize, seconds: i64, limit: u64) -> (Run, Ends) {
    let settings = Settings { disk_limit: limit, ..Settings::at(dir) };
    let mut ends = store::open(&settings, "bench").unwrap();
    let device = |d| kinds.iter().enumerate().map(move |(n, kind)| Point::new(*kind, d, n)).collect();
    let mut points: Vec<Vec<Point>> = (0..devices).map(device).collect();
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let (mut run, began, before, cpu) = (Run::default(), Instant::now(), written(), cpu());
    for second in 0..seconds {
        for (n, device) in points.iter_mut().enumerate() {
            let at = T0 + second * 1000 + (n as i64 * 997 / devices as i64) + noise.below(40);
            for point in device {
                let value = point.value(second, &mut noise);
                run.polled += 1;
                if point.is_news(at, &value) {
                    run.noted += 1;
                    ends.history.note(&point.name, &Reading::good(PointId(0), at, value));
                }
            }
        }
        let now = T0 + second * 1000;
        if second % 5 == 0 && ends.history.due(now) {
            flush(&mut ends, now);
        }
        if second % 3600 == 0 {
            ends.history.retire(now, settings.readings_keep, limit);
        }
    }
    flush(&mut ends, T0 + seconds * 1000);
    run.took = began.elapsed();
    run.cpu = self::cpu() - cpu;
    run.written = written() - before;
    run.files = sizes(dir).values().sum();
    run.resident = status("VmHWM:");
    (run, ends)
}

/// In its own time the writer has minutes for it; here it is waited for.
fn flush(ends: &mut Ends, now: Millis) {
    ends.history.flush(now);
    while ends.history.due(now + DAY) {
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn sizes(dir: &Path) -> HashMap<String, u64> {
    let mut sizes = HashMap::new();
    for file in fs::read_dir(dir.join("history")).unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let level = name.split('-').next().unwrap_or_default().to_owned();
        *sizes.entry(level).or_default() += file.metadata().unwrap().len();
    }
    sizes
}

fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap().split(' ').skip(12).take(2).map(|n| n.parse().unwrap()).collect();
    (fields[0] + fields[1]) / 100.0
}
