//! `forecast`: when the trend crosses a limit, and how sure that is.
//!
//! Good readings become hours ([`super::hours`]), the season of the day is taken off, and a robust line goes through the
//! days ([`super::slope`]). The limit is reached where the line and the season's farthest hour together reach it. Judged
//! once an hour, when the hour closes. What it said last stands until it can say better.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Limit;
use super::condition::Verdict;
use super::hours::{self, HOUR, Hours};
use super::judge::{Judge, Judgement, Outlook, Seen};
use super::slope::Line;
use crate::reading::{Millis, Quality, Value};

/// So sure it has to be that the limit is reached in time.
const SURE: f64 = 0.8;
/// So sure it has to be that there is a trend at all.
const TREND: f64 = 0.95;
/// Gone beyond so many times the span.
const GONE: f64 = 1.5;
/// Hours that were read, besides the days that a line needs.
const HOURS_MIN: usize = 72;
/// A step that is a smaller part of the way to the limit is none.
const STEP: f64 = 0.2;
const DAY: f64 = 24.0 * HOUR as f64;

#[derive(Debug)]
pub struct Trend {
    /// Turned so that the limit is always above.
    sign: f64,
    limit: f64,
    /// Days.
    within: f64,
    hours: Hours,
    said: Option<Verdict>,
    outlook: Option<Outlook>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    hours: hours::Saved,
    said: Option<Verdict>,
    outlook: Option<Outlook>,
}

impl Trend {
    pub fn new(limit: Limit, within: Millis) -> Self {
        let (sign, limit) = match limit {
            Limit::Above(x) => (1.0, x),
            Limit::Below(x) => (-1.0, -x),
        };
        let within = within as f64 / DAY;
        Self { sign, limit, within, hours: Hours::default(), said: None, outlook: None }
    }

    /// An hour has closed at `at`.
    fn judge(&mut self, at: Millis) {
        let mut values = self.hours.values(self.sign);
        let season = self.hours.season(&values);
        if hours::newest(&values).is_some_and(|newest| newest.iter().all(|x| *x > self.limit)) {
            (self.said, self.outlook) = (Some(Verdict::Holds), Some(Outlook::Reached));
        }
        if let Some(season) = &season {
            self.hours.without(season, &mut values);
            if self.stepped(&values) {
                return self.hours.forget_before_step();
            }
        }
        let read = values.iter().filter(|x| !x.is_nan()).count();
        let line = Line::through(&hours::days(&values)).filter(|_| read >= HOURS_MIN);
        if let Some(line) = line {
            let peak = season.into_iter().flatten().fold(0.0, f64::max);
            (self.said, self.outlook) = self.say(&line, self.limit - peak, at);
        }
    }

    /// Whether something else is measured from here on. Where a part was put right, what was expected of the old one is over.
    fn stepped(&mut self, values: &[f64]) -> bool {
        let (Some(jump), Some(level)) = (hours::step(values), values.last()) else { return false };
        if jump.abs() <= STEP * (self.limit - (level - jump)).abs() {
            return false;
        }
        if jump < 0.0 && *level < self.limit {
            (self.said, self.outlook) = (Some(Verdict::Gone), None);
        }
        true
    }

    fn say(&self, line: &Line, limit: f64, at: Millis) -> (Option<Verdict>, Option<Outlook>) {
        if line.reaches(limit, 0.0) >= SURE {
            return (Some(Verdict::Holds), Some(Outlook::Reached));
        }
        let days =
            if line.slope > 0.0 { ((limit - line.level) / line.slope).max(0.0) } else { f64::INFINITY };
        if days > GONE * self.within {
            return (Some(Verdict::Gone), None);
        }
        let sure = line.reaches(limit, self.within);
        if sure < SURE || line.rises() < TREND {
            return (Some(Verdict::Between), self.outlook);
        }
        let percent = (sure * 100.0).floor().min(99.0) as u8;
        (Some(Verdict::Holds), Some(Outlook::Expected { at: at + (days * DAY) as Millis, percent }))
    }

    fn begin_anew(&mut self) {
        self.hours = Hours::default();
        self.outlook = None;
    }
}

impl Judge for Trend {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        if seen.quality == Quality::Good
            && let Some(number) = seen.value.and_then(Value::number).filter(|x| x.is_finite())
        {
            self.hours.see(seen.at, number);
        }
        seen.value.and(self.said)
    }

    fn due(&self) -> Option<Millis> {
        self.hours.due()
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.hours.close();
        self.judge(due);
        Some(Judgement { at: due, verdict: self.said, quality: Quality::Good })
    }

    /// An hour that ended unseen is told with the next one.
    fn lost(&mut self, from: Millis, to: Millis) {
        if from - to >= HOUR {
            self.begin_anew();
        } else if self.due().is_some_and(|due| due <= to) {
            self.hours.close();
        }
    }

    /// The part is taken to be put right: what it read before says nothing any more. Beyond the limit it is not.
    fn resolved(&mut self, _at: Millis) -> bool {
        if self.hours.latest().is_some_and(|value| self.sign * value > self.limit) {
            return false;
        }
        self.begin_anew();
        self.said = Some(Verdict::Gone);
        true
    }

    fn save(&self) -> Option<Json> {
        if self.hours.is_empty() && self.said.is_none() {
            return None;
        }
        let saved = Saved { hours: self.hours.save(), said: self.said, outlook: self.outlook };
        serde_json::to_value(saved).ok()
    }

    fn take_up(&mut self, saved: &Json) {
        let Ok(saved) = Saved::deserialize(saved) else { return };
        let Some(hours) = Hours::take_up(&saved.hours) else { return };
        (self.hours, self.said, self.outlook) = (hours, saved.said, saved.outlook);
    }

    fn outlook(&self) -> Option<Outlook> {
        self.outlook
    }
}
