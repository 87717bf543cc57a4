//! `runtime`, `cycles`: hours and openings since the last resolve.
//!
//! With `equals` they are counted here: the time at that value, from reading to reading, or the changes to it (of a
//! momentary point each reading of it). Without, the point counts by itself and [`super::meter`] adds up what it says.
//! Time with a bad reading, or while nobody looked, is not counted; a value that became another one while nobody looked
//! has changed once. An uncertain reading counts as what it says: it may open, and nothing that is read clears.
//!
//! Kept through restarts. A change of the value, and each 10 minutes of counted time, are saved as they come, once a
//! minute at the most: a kill or a power cut costs 10 minutes of running, or the openings of a minute. What a counter in
//! the device says is not lost at all.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::episode::Clock;
use super::judge::{Judge, Judgement, Seen};
use super::meter::{Meter, Pace};
use super::sparing::Sparing;
use crate::reading::{Millis, Quality, Value};

const HOUR: f64 = 3_600_000.0;
/// So much time may be counted before it is saved.
const UNSAVED_MAX: Millis = 600_000;
/// No hour has more than one; a counter may show whole hours only.
const HOURS: Pace = Pace { an_hour: 1.1, at_once: 1.5 };
/// No door opens ten times a second; a device may add up what came within its own rounds.
const TIMES: Pace = Pace { an_hour: 36_000.0, at_once: 100.0 };

#[derive(Debug)]
pub struct Wear {
    equals: Option<Value>,
    limit: Limit,
    gauge: Gauge,
    /// The last instant it knows of.
    at: Millis,
    /// Of the last reading.
    quality: Quality,
    saved: Millis,
    sparing: Sparing,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Lasts(Millis),
    Count(u64),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Gauge {
    /// Runs while the value is the one.
    Time(Clock),
    /// `was`: whether the last value was the one; `None`: there was none.
    Changes { count: u64, was: Option<bool> },
    /// `None`: not yet read.
    Meter(Option<Meter>),
}

/// What a restart has to know. Counted for another value, or of another kind, it says nothing.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    hours: bool,
    of: Option<Value>,
    gauge: Gauge,
}

impl Wear {
    pub fn runtime(equals: Option<Value>, lasts: Millis) -> Self {
        let gauge = if equals.is_some() { Gauge::Time(Clock::default()) } else { Gauge::Meter(None) };
        Self::new(equals, Limit::Lasts(lasts), gauge)
    }

    pub fn cycles(equals: Option<Value>, count: u64) -> Self {
        let changes = Gauge::Changes { count: 0, was: None };
        let gauge = if equals.is_some() { changes } else { Gauge::Meter(None) };
        Self::new(equals, Limit::Count(count), gauge)
    }

    fn new(equals: Option<Value>, limit: Limit, gauge: Gauge) -> Self {
        let (quality, sparing) = (Quality::Bad, Sparing::default());
        Self { equals, limit, gauge, at: 0, quality, saved: 0, sparing }
    }

    fn is_it(&self, value: &Value) -> bool {
        self.equals.as_ref().is_some_and(|equals| value.same(equals))
    }

    /// Hours, or times.
    fn total(&self) -> f64 {
        match &self.gauge {
            Gauge::Time(clock) => clock.ran(self.at) as f64 / HOUR,
            Gauge::Changes { count, .. } => *count as f64,
            Gauge::Meter(meter) => meter.map_or(0.0, |meter| meter.total()),
        }
    }

    fn reached(&self) -> bool {
        let limit = match self.limit {
            Limit::Lasts(lasts) => lasts as f64 / HOUR,
            Limit::Count(count) => count as f64,
        };
        // What a meter shows has decimals, which binary numbers miss by a hair.
        self.total() >= limit * (1.0 - 1e-12)
    }

    /// Below the limit it is not gone: whatever was, stays until somebody resolves it.
    fn verdict(&self) -> Verdict {
        if self.reached() { Verdict::Holds } else { Verdict::Between }
    }

    fn count(&mut self, seen: &Seen<'_>, value: &Value) -> Option<()> {
        let is = self.is_it(value);
        match &mut self.gauge {
            Gauge::Time(clock) => {
                if is != clock.runs() {
                    self.sparing.changed();
                }
                if is { clock.go_on(seen.at) } else { clock.stop(seen.at) }
            }
            Gauge::Changes { count, was } => {
                let occurred = is && (seen.momentary || *was == Some(false));
                if occurred {
                    *count = count.saturating_add(1);
                }
                if was.replace(is) != Some(is) || occurred {
                    self.sparing.changed();
                }
            }
            Gauge::Meter(meter) => {
                let value = value.number().filter(|value| value.is_finite())?;
                let pace = if matches!(self.limit, Limit::Lasts(_)) { HOURS } else { TIMES };
                let sure = seen.quality == Quality::Good;
                let other = match meter {
                    Some(meter) => meter.read(value, seen.at, sure, pace),
                    None => {
                        *meter = Some(Meter::new(value, seen.at));
                        true
                    }
                };
                if other {
                    self.sparing.changed();
                }
            }
        }
        Some(())
    }
}

impl Judge for Wear {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        (self.at, self.quality) = (seen.at, seen.quality);
        self.sparing.at(seen.at);
        let counted = match seen.value {
            Some(value) => self.count(seen, value),
            None => None,
        };
        if let Gauge::Time(clock) = &mut self.gauge {
            if counted.is_none() && clock.runs() {
                clock.stop(seen.at);
                self.sparing.changed();
            }
            if clock.ran(seen.at) - self.saved >= UNSAVED_MAX {
                self.sparing.changed();
            }
        }
        counted.map(|()| self.verdict())
    }

    /// The hour itself, between readings too.
    fn due(&self) -> Option<Millis> {
        match (&self.gauge, self.limit) {
            (Gauge::Time(clock), Limit::Lasts(lasts)) if !self.reached() => clock.ends(lasts),
            _ => None,
        }
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.at = due;
        Some(Judgement { at: due, verdict: Some(self.verdict()), quality: self.quality })
    }

    fn shift(&mut self, by: Millis) {
        match &mut self.gauge {
            Gauge::Time(clock) => clock.shift(by),
            Gauge::Meter(Some(meter)) => meter.shift(by),
            Gauge::Meter(None) | Gauge::Changes { .. } => {}
        }
        self.at += by;
    }

    fn lost(&mut self, from: Millis, to: Millis) {
        match &mut self.gauge {
            Gauge::Time(clock) if from != to => clock.stop(from),
            Gauge::Meter(Some(meter)) if to < from => meter.shift(to - from),
            _ => {}
        }
        self.at = to;
    }

    fn resolved(&mut self, at: Millis) -> bool {
        match &mut self.gauge {
            Gauge::Time(clock) if clock.runs() => *clock = Clock::started(at),
            Gauge::Time(clock) => *clock = Clock::default(),
            Gauge::Changes { count, .. } => *count = 0,
            Gauge::Meter(meter) => meter.iter_mut().for_each(Meter::begin_anew),
        }
        (self.at, self.saved) = (at, 0);
        true
    }

    fn save(&self) -> Option<Json> {
        let hours = matches!(self.limit, Limit::Lasts(_));
        let saved = Saved { hours, of: self.equals.clone(), gauge: self.gauge.clone() };
        serde_json::to_value(saved).ok()
    }

    fn take_up(&mut self, saved: &Json) {
        let Ok(saved) = Saved::deserialize(saved) else { return };
        let same_value = match (&saved.of, &self.equals) {
            (Some(of), Some(equals)) => of.same(equals),
            (of, equals) => of.is_none() && equals.is_none(),
        };
        let same_kind = std::mem::discriminant(&saved.gauge) == std::mem::discriminant(&self.gauge);
        if same_value && same_kind && saved.hours == matches!(self.limit, Limit::Lasts(_)) {
            self.gauge = saved.gauge;
        }
    }

    fn is_worth_saving(&mut self) -> bool {
        let worth = self.sparing.is_worth_saving();
        if let Gauge::Time(clock) = &self.gauge
            && worth
        {
            self.saved = clock.ran(self.at);
        }
        worth
    }

    fn value(&self) -> Option<Value> {
        Some(match self.limit {
            Limit::Lasts(_) => Value::Number((self.total() * 10.0).round() / 10.0),
            Limit::Count(_) => Value::Signed(self.total().round() as i64),
        })
    }
}
