//! What a condition knows of its subject beyond the value of the moment: windows, counters, trends. Pure.
//!
//! Conditions on one value have none ([`super::condition`]); each other kind has a file of its own. The engine brings a
//! judge forward through its own instants ([`Judge::due`]) before it shows it the next reading, so what it says is the same
//! however readings are cut into batches.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::count::Count;
use super::expression::Expressed;
use super::occasions::Diary;
use super::stuck::Stuck;
use super::trend::Trend;
use super::wear::Wear;
use super::window::Window;
use super::{Condition, Rule};
use crate::numbers::Numbers;
use crate::reading::{Millis, PointId, Quality, Value};

/// A reading, as a judge sees it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    pub point: PointId,
    pub at: Millis,
    /// `None`: it is bad.
    pub value: Option<&'a Value>,
    pub quality: Quality,
    /// Each reading is an occurrence: it says what happened, not what is.
    pub momentary: bool,
}

/// What time alone has brought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// The instant that it is about; not after the one that was due.
    pub at: Millis,
    /// `None`: not known any more, delays stand.
    pub verdict: Option<Verdict>,
    pub quality: Quality,
}

/// What is expected of a value that is on its way to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outlook {
    /// It is there.
    Reached,
    Expected {
        at: Millis,
        /// How sure it is that the limit is reached in the time that the rule gives.
        percent: u8,
    },
}

pub trait Judge: Debug + Send {
    /// A reading. What the condition says from here on; `None` where nothing can be said: delays stand.
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict>;

    /// The next instant at which time alone changes what it says.
    fn due(&self) -> Option<Millis> {
        None
    }

    /// That instant has come. Afterwards another one is due, or none.
    fn pass(&mut self, _due: Millis) -> Option<Judgement> {
        None
    }

    /// The wall clock was stepped; as much time has passed as before. What is kept moves along, and nothing else changes.
    fn shift(&mut self, by: Millis);

    /// Nobody saw what happened from `from` to `to`: the daemon was off or stood still. `to` may lie before `from`.
    fn lost(&mut self, from: Millis, to: Millis);

    /// Somebody resolved the ticket. Whether the condition is gone with that.
    fn resolved(&mut self, _at: Millis) -> bool {
        false
    }

    /// Its points are counted otherwise from now on; all of them are there.
    fn counted_by(&mut self, _numbers: &Numbers) {}

    /// What a restart has to know; `None`: nothing.
    fn save(&self) -> Option<Json> {
        None
    }

    /// Takes up what was saved; what cannot be read is left, and the judge begins anew.
    fn take_up(&mut self, _saved: &Json) {}

    /// Whether something has come to it, since this was last asked, that even a power cut must not take.
    fn is_worth_saving(&mut self) -> bool {
        false
    }

    /// What it sees is judged when the instant is over: until then it says nothing, and nothing stands.
    fn waits(&self) -> bool {
        false
    }

    /// It is saved next as it now is, and nothing may come after it.
    fn rest(&mut self) {}

    /// For `schedule`: the clock now shows `now`, and `jumped` by so much while it ran. `synced`: whether that can be
    /// believed. Where it was wrong before, nothing is made of the time between.
    fn clock_shows(&mut self, _now: Millis, _jumped: Millis, _synced: bool) {}

    /// For `schedule`: the occasions by `now` that nobody saw, oldest first.
    fn missed(&mut self, _now: Millis) -> Vec<Millis> {
        Vec::new()
    }

    /// What the ticket shows where that is not the reading's value: hours that were run, openings that were counted.
    fn value(&self) -> Option<Value> {
        None
    }

    /// What the title tells of the time to come.
    fn outlook(&self) -> Option<Outlook> {
        None
    }
}

/// `None`: the condition is about the value of the moment, or the engine's own affair.
pub fn judge(rule: &Rule) -> Option<Box<dyn Judge>> {
    Some(match &rule.condition {
        Condition::Rises { by, within } => Box::new(Window::rises(*by, *within, rule.deadband)),
        Condition::Falls { by, within } => Box::new(Window::falls(*by, *within, rule.deadband)),
        Condition::Stuck(span) => Box::new(Stuck::new(*span)),
        Condition::Count { equals, times, within } => Box::new(Count::new(equals.clone(), *times, *within)),
        Condition::When(expression) => Box::new(Expressed::new(expression, &rule.over)),
        Condition::Forecast { limit, within, .. } => Box::new(Trend::new(*limit, *within)),
        Condition::Runtime { equals, lasts } => Box::new(Wear::runtime(equals.clone(), *lasts)),
        Condition::Cycles { equals, count } => Box::new(Wear::cycles(equals.clone(), *count)),
        Condition::Schedule(occasions) => Box::new(Diary::new(occasions)),
        _ => return None,
    })
}
