//! How much of the time that frames and silences themselves need a wire is busy, and what a dead unit costs the others,
//! on a simulated bus of 9600 and 115200 baud. `cargo test --test bus_throughput -- --nocapture` prints the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod line_sim;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::field::Context;
use gatehouse::field::decode::Type;
use gatehouse::field::modbus::{self, Device, Framing, Point, Settings, Table};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{DeviceId, PointId, Quality, Site};
use line_sim::{Bus, Tally, Unit};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

/// Registers that each unit is asked for, in one question: what a small sensor has.
const REGISTERS: u16 = 4;
/// Other programs share the machine, and what they take of it is not the daemon's: of so many short windows the middle one
/// counts, and where that is not enough, all is measured anew, so many times at the most.
const WINDOWS: usize = 9;
const WINDOW: Duration = Duration::from_millis(250);
const TRIES: usize = 6;
const DEAD: u8 = 2;

fn device(unit: u8) -> Device {
    let first = u32::from(unit) * 100;
    let points = (0..REGISTERS)
        .map(|n| Point::new(PointId(first + u32::from(n)), Table::Holding, n, Type::U16))
        .collect();
    // Due all the time.
    Device::new(DeviceId(unit.into()), unit, Duration::from_millis(1), points)
}

struct Run {
    bus: Bus,
    _stop: tokio_util::sync::DropGuard,
}

impl Run {
    async fn start(units: u8, baud: u32, timeout: Duration) -> Self {
        let there = (1..=units).map(|unit| (unit, Unit::default())).collect::<BTreeMap<_, _>>();
        let bus = Bus::start(line_sim::Settings { baud, bits_per_character: 11 }, there);
        let port = Port { path: (&*bus.path).into(), baud, parity: Parity::None, stop_bits: 1, rs485: false };
        let devices = (1..=units).map(device).collect();
        let settings = Settings::new(Wire::Serial(port), Framing::Rtu, timeout, devices);
        let (out, mut batches) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        tokio::spawn(modbus::run("rs485-1".into(), settings, context));
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                for reading in batch.readings.iter().filter(|r| r.quality == Quality::Good) {
                    let (unit, register) = ((reading.point.0 / 100) as u8, (reading.point.0 % 100) as u16);
                    let number = reading.value.as_ref().and_then(gatehouse::reading::Value::number);
                    assert_eq!(number, Some(f64::from(line_sim::value(unit, register))));
                }
            }
        });
        let run = Self { bus, _stop: stop.drop_guard() };
        run.until(|tally| tally.answers() >= u64::from(units)).await;
        run
    }

    async fn until(&self, is: impl Fn(&Tally) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !is(&self.bus.tally()) {
            assert!(Instant::now() < end, "{:?}", self.bus.tally());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The share of `over` that frames and silences needed, and the answers of each unit.
    async fn share(&self, over: Duration) -> (f64, BTreeMap<u8, u64>) {
        let (before, began) = (self.bus.tally(), Instant::now());
        tokio::time::sleep(over).await;
        let (after, took) = (self.bus.tally(), began.elapsed());
        assert_eq!(after.violations, before.violations, "a question came before the line had been silent");
        let of = |unit: &u8| before.answered.get(unit).copied().unwrap_or(0);
        let answers = after.answered.iter().map(|(unit, n)| (*unit, n - of(unit))).collect();
        ((after.needed - before.needed).as_secs_f64() / took.as_secs_f64(), answers)
    }
}

impl Run {
    /// In the middle one of some windows. Nobody has more turns than another.
    async fn usual_share(&self, units: u8) -> f64 {
        let before = self.bus.tally().answered;
        let mut shares = Vec::new();
        for _ in 0..WINDOWS {
            shares.push(self.share(WINDOW).await.0);
        }
        let after = self.bus.tally().answered;
        let turns: Vec<u64> =
            after.iter().map(|(unit, n)| n - before.get(unit).copied().unwrap_or(0)).collect();
        let (fewest, most) = (turns.iter().min().unwrap(), turns.iter().max().unwrap());
        assert!(turns.len() == usize::from(units) && most - fewest <= 1, "unfair: {turns:?}");
        middle(shares)
    }
}

fn middle(mut shares: Vec<f64>) -> f64 {
    shares.sort_by(f64::total_cmp);
    shares[shares.len() / 2]
}

/// One at a time: two measurements at once would take each other's processor.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The best of some tries, fewer where one is good enough.
async fn best(enough: f64, mut one: impl AsyncFnMut() -> f64) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..TRIES {
        best = best.max(one().await);
        if best >= enough {
            break;
        }
    }
    best
}

#[tokio::test]
async fn the_bus_is_busy_nine_tenths_of_the_time_that_frames_and_silences_need() {
    let _alone = ALONE.lock().await;
    println!("| units | baud | of the least time | question late by |\n|---|---|---|---|");
    for baud in [9600, 115_200] {
        for units in [1, 8, 32] {
            let run = Run::start(units, baud, Duration::from_millis(500)).await;
            let share = best(0.90, async || run.usual_share(units).await).await;
            let mut late = run.bus.tally().delays;
            late.sort();
            println!(
                "| {units} | {baud} | {:.1} % | {} µs |",
                share * 100.0,
                late[late.len() / 2].as_micros()
            );
            assert!(share >= 0.90, "{units} units at {baud} baud: busy only {:.1} % of it", share * 100.0);
        }
    }
}

#[tokio::test]
async fn a_dead_unit_costs_the_others_a_twentieth_at_the_most() {
    let _alone = ALONE.lock().await;
    println!("| units | baud | one dead: the others' rate |\n|---|---|---|");
    for (units, baud) in [(8, 9600), (32, 9600), (8, 115_200), (32, 115_200)] {
        let share = best(0.95, async || {
            let run = Run::start(units, baud, Duration::from_millis(50)).await;
            // A span in which the dead unit is tried once at least: what its tries cost is in it.
            let all = run.share(Duration::from_secs(4)).await.0;
            run.bus.set(DEAD, Unit { dead: true, ..Unit::default() });
            // Steady from the third failure on.
            run.until(|tally| tally.in_vain.get(&DEAD).is_some_and(|asked| asked.len() >= 4)).await;
            let asked = run.bus.tally().in_vain[&DEAD].len();
            let without = run.share(Duration::from_secs(4)).await.0;
            assert!(run.bus.tally().in_vain[&DEAD].len() > asked, "it is still tried");
            without / all
        });
        let share = share.await;
        println!("| {units} | {baud} | {:.1} % |", share * 100.0);
        assert!(share >= 0.95, "{units} units at {baud} baud: {:.1} %", share * 100.0);
    }
}
