//! `stuck`: good readings for a span, and not one change.
//!
//! It is judged at good readings only: a device that says nothing is silent, not stuck. From one good reading to the next
//! the time counts; from a reading that is not good on it stands, and so it does while nobody looks.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::episode::Clock;
use super::judge::{Judge, Seen};
use crate::reading::{Millis, Quality, Value};

/// A longer text is not saved; after a restart its span begins anew.
const TEXT_MAX: usize = 1024;

#[derive(Debug)]
pub struct Stuck {
    span: Millis,
    shown: Option<Shown>,
}

/// The last good value, and for how long it has been shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shown {
    value: Value,
    clock: Clock,
}

impl Stuck {
    pub fn new(span: Millis) -> Self {
        Self { span, shown: None }
    }
}

impl Judge for Stuck {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        let Some(value) = seen.value.filter(|_| seen.quality == Quality::Good) else {
            if let Some(shown) = &mut self.shown {
                shown.clock.stop(seen.at);
            }
            return None;
        };
        match &mut self.shown {
            Some(shown) if shown.value.same(value) => {
                shown.clock.go_on(seen.at);
                let lasts = shown.clock.ends(self.span).is_some_and(|at| at <= seen.at);
                // Only a change ends it, also where the configuration has made the span longer.
                Some(if lasts { Verdict::Holds } else { Verdict::Between })
            }
            shown => {
                let known = shown.is_some();
                *shown = Some(Shown { value: value.clone(), clock: Clock::started(seen.at) });
                Some(if known { Verdict::Gone } else { Verdict::Between })
            }
        }
    }

    fn shift(&mut self, by: Millis) {
        if let Some(shown) = &mut self.shown {
            shown.clock.shift(by);
        }
    }

    fn lost(&mut self, from: Millis, to: Millis) {
        if let Some(shown) = self.shown.as_mut().filter(|_| from != to) {
            shown.clock.stop(from);
        }
    }

    fn save(&self) -> Option<Json> {
        let short = |value: &Value| !matches!(value, Value::Text(text) if text.len() > TEXT_MAX);
        let shown = self.shown.as_ref().filter(|shown| short(&shown.value))?;
        serde_json::to_value(shown).ok()
    }

    fn take_up(&mut self, saved: &Json) {
        self.shown = Shown::deserialize(saved).ok();
    }
}
