//! How many readings a second one core takes through 1,000 rules, by kind of condition and mixed, and what memory that holds.
//! `cargo bench --bench rules`; with `-- --check` it ends with 1 where the mix takes less than 100,000.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fmt::Write;
use std::time::Duration;

use gatehouse::config;
use gatehouse::reading::{Batch, Millis, PointId, Reading, Value};
use gatehouse::rules::{Engine, Memory, Plan};
use rustix::time::{ClockId, clock_gettime};

const RULES: u32 = 1000;
const DEVICES: u32 = 100;
const POINTS: u32 = RULES / DEVICES;
/// Rounds over all points, a second of the story each.
const ROUNDS: u32 = 600;
const ENOUGH: f64 = 100_000.0;
const BEGIN: Millis = 1_795_248_000_000;

/// One condition for each, on a point that is a number.
const CONDITIONS: [&str; 13] = [
    "above = 900.0\ndeadband = 20.0\non_delay = \"10s\"\noff_delay = \"30s\"",
    "below = 100.0\ndeadband = 20.0",
    "outside = [50.0, 950.0]\non_delay = \"5s\"",
    "not_equals = 7\non_delay = \"1m\"",
    "rises = { by = 400.0, within = \"2m\" }",
    "falls = { by = 400.0, within = \"2m\" }",
    "stuck = \"5m\"",
    "silent = \"5m\"",
    "count = { equals = 500, times = 5, within = \"10m\" }",
    "runtime = { equals = 500, hours = 100 }",
    "cycles = { equals = 500, count = 1000 }",
    "forecast = { above = 1200.0, within = \"72h\" }",
    "when = \"x > 900 && x + 1 < 950\"",
];

fn engine(conditions: &[&str]) -> Engine {
    let mut toml = String::from(
        "gateway = { id = \"bench\", name = \"bench\" }\n[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.10:502\"\n",
    );
    for device in 0..DEVICES {
        writeln!(toml, "[[device]]\nid = \"d{device}\"\nchannel = \"plant\"\nunit = {}", device + 1).unwrap();
        for point in 0..POINTS {
            writeln!(
                toml,
                "[[device.point]]\nid = \"p{point}\"\ntable = \"holding\"\nregister = {point}\ntype = \"i16\""
            )
            .unwrap();
        }
    }
    for rule in 0..RULES {
        let condition = conditions[rule as usize % conditions.len()];
        let point = format!("d{}.p{}", rule / POINTS, rule % POINTS);
        let over = match condition.starts_with("when") {
            true => format!("points = {{ x = \"{point}\" }}"),
            false => format!("point = \"{point}\""),
        };
        writeln!(toml, "[[rule]]\nid = \"r{rule}\"\n{over}\n{condition}").unwrap();
    }
    let loaded = config::load_sources(vec![("bench.toml".into(), toml)]);
    let gateway = loaded.map(|loaded| loaded.gateway).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let plan = Plan {
        rules: gateway.rules.clone(),
        standards: gateway.standards(),
        locale: gateway.locale,
        epoch: "bench".into(),
    };
    Engine::new(plan, gateway.site.clone(), Memory::default(), BEGIN)
}

/// A slow swing with noise: most rules open and clear now and then.
fn value(point: u32, round: u32) -> f64 {
    let swing = (f64::from(round) / 90.0 + f64::from(point)).sin() * 480.0;
    let noise = (point.wrapping_mul(2_654_435_761) ^ round.wrapping_mul(40_503)) % 40;
    (500.0 + swing + f64::from(noise)).round()
}

fn processor() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Readings a second, changes told, and by how much memory grew over the second half.
fn measure(conditions: &[&str]) -> (f64, usize, f64) {
    let mut engine = engine(conditions);
    let (mut told, mut half) = (0, 0.0);
    let begun = processor();
    for round in 0..ROUNDS {
        let at = BEGIN + Millis::from(round) * 1000;
        for device in 0..DEVICES {
            let readings = (0..POINTS).map(|point| {
                let id = device * POINTS + point;
                Reading::good(PointId(id), at, Value::Number(value(id, round)))
            });
            let device = gatehouse::reading::DeviceId(device);
            engine.batch(&Batch::new(device, at, readings.collect(), None));
        }
        engine.advance(at, true);
        told += engine.take(at).told.len();
        if round == ROUNDS / 2 {
            half = resident();
        }
    }
    let took = (processor() - begun).as_secs_f64();
    (f64::from(ROUNDS * RULES) / took, told, resident() - half)
}

fn main() {
    println!(
        "| condition | readings/s on one core | changes told | memory grown in the second half |\n|---|---|---|---|"
    );
    for condition in CONDITIONS {
        let (rate, told, grown) = measure(&[condition]);
        let word = condition.split(' ').next().unwrap_or_default();
        println!("| `{word}` | {rate:.0} | {told} | {grown:.1} MB |");
    }
    let (rate, told, grown) = measure(&CONDITIONS);
    println!("| all of them mixed | {rate:.0} | {told} | {grown:.1} MB |\n\n{:.1} MB resident", resident());
    if std::env::args().any(|arg| arg == "--check") && (rate < ENOUGH || grown > 4.0) {
        println!("missed: {ENOUGH} readings/s, or memory that does not grow");
        std::process::exit(1);
    }
}
