//! The lines: whether each is up, how busy it is, what goes wrong on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Map, Value as JsonValue};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Desk;
use super::plan::Line;
use crate::live::DeviceState;
use crate::metrics::{self, Metrics, OUTCOMES};
use crate::reading::DeviceId;

/// Over so long a line's rates are taken.
pub const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
pub struct Lines {
    lines: Vec<Row>,
}

/// What a wire of its kind does not know of itself is null.
#[derive(Debug, Serialize)]
struct Row {
    id: Arc<str>,
    r#type: &'static str,
    at: String,
    state: &'static str,
    devices: usize,
    online: usize,
    /// Share of the time in which it was asked on.
    busy: Option<f64>,
    requests_per_second: Option<f64>,
    /// Since the start, by outcome.
    errors: Map<String, JsonValue>,
    cycle_ms: Option<f64>,
    keeps_up: Option<bool>,
    /// Why it is down.
    error: Option<String>,
}

/// `GET /api/v1/lines`
pub async fn lines(State(desk): State<Arc<Desk>>) -> Json<Lines> {
    Json(lines_now(&desk))
}

pub fn lines_now(desk: &Desk) -> Lines {
    Lines { lines: desk.rooms.plan.lines.iter().map(|line| row(desk, line)).collect() }
}

fn row(desk: &Desk, line: &Line) -> Row {
    let metrics = &desk.rooms.metrics;
    let rate = desk.rates.of(&line.id);
    let label = metrics::Line { channel: line.id.to_string() };
    let cycle = metrics.line_cycle.get(&label).map(|cycle| cycle.get()).filter(|cycle| *cycle > 0.0);
    let errors = OUTCOMES.iter().filter(|outcome| **outcome != "ok");
    let errors =
        errors.filter_map(|outcome| Some(((*outcome).into(), requests(metrics, line, outcome)?.into())));
    let health = health(desk, line);
    Row {
        id: line.id.clone(),
        r#type: line.kind,
        at: line.at.clone(),
        state: health.state,
        devices: health.devices,
        online: health.online,
        busy: rate.busy.map(to_thousandths),
        requests_per_second: rate.requests.map(to_thousandths),
        errors: errors.collect(),
        cycle_ms: cycle.map(|cycle| to_thousandths(cycle * 1000.0)),
        keeps_up: metrics.line_behind.get(&label).map(|behind| behind.get() == 0),
        error: health.error,
    }
}

fn to_thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn requests(metrics: &Metrics, line: &Line, outcome: &'static str) -> Option<u64> {
    let request = metrics::Request { channel: line.id.to_string(), outcome };
    metrics.requests.get(&request).map(|count| count.get())
}

struct Health {
    state: &'static str,
    devices: usize,
    online: usize,
    error: Option<String>,
}

/// A line on which one is there is up; otherwise it is what it says itself (a broker is there before any device has spoken),
/// and one that says nothing is down when all are away.
fn health(desk: &Desk, line: &Line) -> Health {
    let live = desk.rooms.live.lock();
    let (mut devices, mut online, mut away, mut error) = (0, 0, 0, None);
    for (number, _) in desk.rooms.site.devices.iter().enumerate().filter(|(_, d)| d.channel == line.id) {
        let now = live.device(DeviceId(number as u32));
        devices += 1;
        match now.state {
            DeviceState::Online | DeviceState::Degraded => online += 1,
            DeviceState::Offline => {
                away += 1;
                error = error.or_else(|| now.error.clone());
            }
            DeviceState::Unknown => {}
        }
    }
    let state = match live.wire(&line.id) {
        _ if online > 0 => "up",
        Some(true) => "up",
        Some(false) => "down",
        None if devices > 0 && away == devices => "down",
        None => "unknown",
    };
    Health { state, devices, online, error: error.filter(|_| state == "down") }
}

// --- rates ---

/// What the counters of each line rose by.
#[derive(Debug, Default)]
pub struct Rates(Mutex<HashMap<Arc<str>, Rate>>);

#[derive(Debug, Clone, Default)]
struct Rate {
    busy: Option<f64>,
    requests: Option<f64>,
    last: Option<Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    at: Instant,
    busy: Option<f64>,
    requests: Option<u64>,
}

impl Rates {
    fn of(&self, line: &Arc<str>) -> Rate {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(line).cloned().unwrap_or_default()
    }

    fn take(&self, line: &Line, now: Count) {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.entry(line.id.clone()).or_default();
        let Some(before) = rate.last.replace(now) else { return };
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        let busy = now.busy.zip(before.busy).map(|(now, before)| (now - before) / seconds);
        rate.busy = busy.map(|busy| busy.clamp(0.0, 1.0));
        let requests = now.requests.zip(before.requests);
        rate.requests = requests.map(|(now, before)| now.saturating_sub(before) as f64 / seconds);
    }
}

/// Looks at the counters as long as the room is open.
pub async fn count(present: &watch::Receiver<Arc<Desk>>) {
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
        let (at, desk) = (Instant::now(), present.borrow().clone());
        let metrics = &desk.rooms.metrics;
        for line in &desk.rooms.plan.lines {
            let label = metrics::Line { channel: line.id.to_string() };
            let counts = OUTCOMES.iter().filter_map(|outcome| requests(metrics, line, outcome));
            let requests = counts.reduce(|sum, count| sum + count);
            let busy = metrics.line_busy.get(&label).map(|busy| busy.get());
            desk.rates.take(line, Count { at, busy, requests });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_a_counter_rose_by_and_unknown_before() {
        let line = Line { id: "plant".into(), kind: "modbus-tcp", at: String::new() };
        let (rates, start) = (Rates::default(), Instant::now());
        let count = |after, busy, requests| Count { at: start + EVERY * after, busy, requests };
        rates.take(&line, count(0, Some(10.0), Some(100)));
        assert_eq!((rates.of(&line.id).busy, rates.of(&line.id).requests), (None, None));
        rates.take(&line, count(1, Some(12.0), Some(150)));
        assert_eq!((rates.of(&line.id).busy, rates.of(&line.id).requests), (Some(0.4), Some(10.0)));
        rates.take(&line, count(2, Some(99.0), Some(150)));
        assert_eq!((rates.of(&line.id).busy, rates.of(&line.id).requests), (Some(1.0), Some(0.0)));
        rates.take(&line, count(3, None, Some(160)));
        assert_eq!((rates.of(&line.id).busy, rates.of(&line.id).requests), (None, Some(2.0)));
    }
}
