//! What a wire counts of itself.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Answer, Failure};
use crate::metrics::{Line, Metrics, Request};

#[derive(Debug)]
pub(super) struct Counters {
    ok: Counter,
    exception: Counter,
    timeout: Counter,
    wrong: Counter,
    broken: Counter,
    busy: Counter<f64, AtomicU64>,
    cycle: Gauge<f64, AtomicU64>,
    lag: Gauge<f64, AtomicU64>,
    degraded: Gauge,
    behind: Gauge,
}

impl Counters {
    pub fn new(metrics: &Metrics, channel: &str) -> Self {
        let counter = |outcome| {
            let channel = channel.to_owned();
            metrics.requests.get_or_create(&Request { channel, outcome }).clone()
        };
        let line = Line { channel: channel.to_owned() };
        Self {
            ok: counter("ok"),
            exception: counter("exception"),
            timeout: counter("timeout"),
            wrong: counter("wrong"),
            broken: counter("broken"),
            busy: metrics.line_busy.get_or_create(&line).clone(),
            cycle: metrics.line_cycle.get_or_create(&line).clone(),
            lag: metrics.line_lag.get_or_create(&line).clone(),
            degraded: metrics.line_degraded.get_or_create(&line).clone(),
            behind: metrics.line_behind.get_or_create(&line).clone(),
        }
    }

    /// A question that takes several transactions counts when it is done.
    pub fn count(&self, outcome: &Result<Answer, Failure>) {
        let counter = match outcome {
            Ok(Answer::More) => return,
            Ok(Answer::Read) => &self.ok,
            Ok(Answer::Refused) | Err(Failure::Unreached) => &self.exception,
            Err(Failure::Silent) => &self.timeout,
            Err(Failure::Wrong | Failure::Doubt { .. } | Failure::Fault(_)) => &self.wrong,
            Err(Failure::Broken(_)) => &self.broken,
        };
        counter.inc();
    }

    /// The wire could not be opened, or breaks again and again.
    pub fn broken(&self) {
        self.broken.inc();
    }

    /// Someone was asked for so long.
    pub fn busy(&self, took: Duration) {
        self.busy.inc_by(took.as_secs_f64());
    }

    pub fn load(&self, cycle: Duration, lag: Duration, degraded: usize) {
        self.cycle.set(cycle.as_secs_f64());
        self.lag.set(lag.as_secs_f64());
        self.degraded.set(degraded as i64);
    }

    /// Whether the wire can no longer do all that is due on it.
    pub fn behind(&self, behind: bool) {
        self.behind.set(behind.into());
    }
}
