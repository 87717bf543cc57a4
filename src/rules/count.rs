//! `count`: occurrences in a window.
//!
//! Of a momentary point each reading of the value is one, of any other point each change to it; what was the case before
//! anything was read is no change. An occurrence is in the window until it is as old as the window is long.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::judge::{Judge, Judgement, Seen};
use super::sparing::Sparing;
use crate::reading::{Millis, Quality, Value};

/// Keeps the last `times` occurrences and no more, also in what is saved: once a minute where there were some.
#[derive(Debug)]
pub struct Count {
    equals: Value,
    times: usize,
    within: Millis,
    past: Past,
    /// Not known since when the daemon looks again, until it says so at that instant.
    back: Option<Millis>,
    sparing: Sparing,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Past {
    occurred: VecDeque<Millis>,
    /// Whether the last value was the one that is counted; `None`: there was none.
    was: Option<bool>,
    /// What is known of the present: nothing, not for sure, for sure.
    known: Option<bool>,
    momentary: bool,
}

impl Count {
    pub fn new(equals: Value, times: u32, within: Millis) -> Self {
        let past = Past::default();
        Self { equals, times: times as usize, within, past, back: None, sparing: Sparing::default() }
    }

    fn forget(&mut self, now: Millis) {
        while self.past.occurred.front().is_some_and(|at| at + self.within <= now) {
            self.past.occurred.pop_front();
        }
    }

    fn verdict(&self) -> Verdict {
        if self.past.occurred.len() >= self.times { Verdict::Holds } else { Verdict::Gone }
    }
}

impl Judge for Count {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        self.forget(seen.at);
        self.back = None;
        self.past.momentary = seen.momentary;
        let Some(value) = seen.value else {
            self.past.known = None;
            return None;
        };
        self.past.known = Some(seen.quality == Quality::Good);
        let is = value.same(&self.equals);
        let occurred = is && (seen.momentary || self.past.was == Some(false));
        if occurred {
            if self.past.occurred.len() >= self.times {
                self.past.occurred.pop_front();
            }
            self.past.occurred.push_back(seen.at);
        }
        if self.past.was.replace(is) != Some(is) || occurred {
            self.sparing.changed();
        }
        self.sparing.at(seen.at);
        Some(self.verdict())
    }

    /// When there are too few again, or when somebody looks again where nothing is read between occurrences.
    fn due(&self) -> Option<Millis> {
        let first = || self.past.occurred.front().filter(|_| self.verdict() == Verdict::Holds);
        let fewer = self.past.known.and_then(|_| first()).map(|at| at + self.within);
        self.back.or(fewer)
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.back = None;
        self.forget(due);
        let quality = if self.past.known? { Quality::Good } else { Quality::Uncertain };
        Some(Judgement { at: due, verdict: Some(self.verdict()), quality })
    }

    fn shift(&mut self, by: Millis) {
        self.past.occurred.iter_mut().chain(&mut self.back).for_each(|at| *at += by);
    }

    /// At a momentary point nothing can be asked: what is not told from here on has not happened.
    fn lost(&mut self, from: Millis, to: Millis) {
        if to < from {
            self.past.occurred.clear();
        }
        if to != from {
            self.past.known = self.past.momentary.then_some(true);
            self.back = self.past.momentary.then_some(to);
        }
    }

    fn save(&self) -> Option<Json> {
        let of_note = self.past != Past::default();
        of_note.then(|| serde_json::to_value((&self.equals, &self.past)).ok()).flatten()
    }

    fn take_up(&mut self, saved: &Json) {
        let Ok((of, past)) = <(Value, Past)>::deserialize(saved) else { return };
        // Occurrences of another value say nothing.
        if !of.same(&self.equals) {
            return;
        }
        self.past = past;
        while self.past.occurred.len() > self.times {
            self.past.occurred.pop_front();
        }
    }

    fn is_worth_saving(&mut self) -> bool {
        self.sparing.is_worth_saving()
    }
}
