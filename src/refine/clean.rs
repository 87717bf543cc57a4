//! What becomes of one reading, given those before it.
//!
//! A number that is too far off or came too fast is held back once. Is the next one off to the same side, then the thing
//! has stepped (a burst pipe, a pump that starts) and is believed from there on; and whatever they say, never are more than
//! [`HELD_BACK_MAX`] held back in a row. So a step is seen one reading later, and none is lost. What comes right after it is
//! judged around the new level by what was usual at the old one: a spike there is found too.
//!
//! After a start, a stepped clock ([`Cleaner::forget`]) and a long silence a point's window begins anew: the first readings
//! are believed as they come.

use super::hampel::Window;
use super::{disbelieve, refine};
use crate::numbers::Numbers;
use crate::reading::{Clean, Millis, Point, Quality, Reading, Reason, Site, Value};

/// Readings of a point held back in a row.
pub const HELD_BACK_MAX: u8 = 2;
/// Answers do not come evenly: two that are closer together are judged as if this far apart.
const STEP_MIN: Millis = 1000;

/// Of the points that are cleaned, what was last believed: some 400 bytes each.
#[derive(Debug)]
pub struct Cleaner {
    /// By point; nothing for those that say nothing of cleaning.
    points: Vec<Option<Box<Memory>>>,
}

#[derive(Debug, Default)]
struct Memory {
    window: Window,
    doubted: Option<Doubted>,
    steady: Option<Steady>,
}

/// Numbers that were held back since the last believed one.
#[derive(Debug, Clone, Copy)]
struct Doubted {
    high: bool,
    times: u8,
    /// The last of them.
    number: f64,
}

/// A number that does not change.
#[derive(Debug)]
struct Steady {
    value: Value,
    since: Millis,
    seen: Millis,
}

impl Cleaner {
    pub fn new(site: &Site) -> Self {
        let judged = |clean: &Clean| clean.rate.is_some() || clean.spike || clean.stuck.is_some();
        let memory = |point: &Point| judged(&point.clean).then(Box::default);
        Self { points: site.points.iter().map(memory).collect() }
    }

    /// What is known of points that are the same goes on in another site.
    #[must_use]
    pub fn taken_over(self, site: &Site, numbers: &Numbers) -> Self {
        let mut next = Self::new(site);
        let known = numbers.points_moved(self.points, next.points.len());
        for (point, known) in next.points.iter_mut().zip(known) {
            if point.is_some() && known.is_some() {
                *point = known;
            }
        }
        next
    }

    /// Judges the reading. One of which there is doubt already is left as it is, and nothing is learnt from it.
    pub fn clean(&mut self, reading: &mut Reading, point: &Point) {
        refine(reading, point);
        let Some(Some(memory)) = self.points.get_mut(reading.point.0 as usize) else { return };
        let (Quality::Good, Some(value)) = (reading.quality, &reading.value) else { return };
        let Some(number) = value.number().filter(|number| number.is_finite()) else { return };
        if let Some(reason) = memory.doubt(reading.at, number, point) {
            disbelieve(reading, reason);
        } else if point.clean.stuck.is_some_and(|within| memory.is_stuck(reading.at, value, within)) {
            reading.quality = Quality::Uncertain;
            reading.reason = Some(Reason::Stuck);
        }
    }

    /// Times before and after do not belong together: all begins anew.
    pub fn forget(&mut self) {
        for memory in self.points.iter_mut().flatten() {
            **memory = Memory::default();
        }
    }
}

impl Memory {
    /// Why the number is held back; else it is believed, and the next ones are judged by it.
    fn doubt(&mut self, at: Millis, number: f64, point: &Point) -> Option<Reason> {
        let Some((off, reason)) = self.misfit(at, number, point) else {
            self.doubted = None;
            self.window.push(at, number);
            return None;
        };
        let high = off > 0.0;
        match self.doubted.take() {
            Some(before) if before.high == high => {
                // Beyond the new level was a spike on the step, not the way.
                let passed = (before.number > number) == high;
                self.window.step(at, number, if passed { number } else { before.number });
                None
            }
            Some(before) if before.times >= HELD_BACK_MAX => {
                self.window.begin_anew(at, number);
                None
            }
            before => {
                let times = before.map_or(0, |before| before.times) + 1;
                self.doubted = Some(Doubted { high, times, number });
                Some(reason)
            }
        }
    }

    /// How far off it is, and why that is doubted.
    fn misfit(&self, at: Millis, number: f64, point: &Point) -> Option<(f64, Reason)> {
        let (last_at, last) = self.window.last()?;
        let (step, passed) = (number - last, (at - last_at).max(STEP_MIN) as f64 / 1000.0);
        if point.clean.rate.is_some_and(|rate| step.abs() > rate * passed) {
            return Some((step, Reason::TooFast));
        }
        let off = if point.clean.spike { self.window.far_off(at, number, point) } else { None };
        off.map(|off| (off, Reason::Spike))
    }

    /// Whether it has not changed within that. What happened in a silence nobody knows, so one of half the time counts as
    /// a change.
    fn is_stuck(&mut self, at: Millis, value: &Value, within: Millis) -> bool {
        match &mut self.steady {
            Some(steady) if steady.value.same(value) && (0..=within / 2).contains(&(at - steady.seen)) => {
                steady.seen = at;
                at - steady.since >= within
            }
            steady => {
                *steady = Some(Steady { value: value.clone(), since: at, seen: at });
                false
            }
        }
    }
}
