//! `clock-unsynced`: the wall clock cannot be believed, so that no deadline passes. Gone as soon as it can. Pure.

use super::Condition;
use super::condition::Verdict;
use super::engine::Engine;
use super::episode::Phase;
use crate::reading::{Millis, Quality};

#[derive(Debug, Default)]
pub struct Doubt {
    /// The watch of the rule `clock-unsynced`; `None`: switched off.
    watch: Option<u32>,
    /// What the rule heard last; `None`: nothing since a start, or since time that nobody saw.
    said: Option<bool>,
}

impl Engine {
    pub(super) fn take_up_doubt(&mut self) {
        let unsynced = |index: &u32| matches!(self.rule_of(*index).condition, Condition::ClockUnsynced);
        self.doubt.watch = (0..self.watches.len() as u32).find(unsynced);
    }

    /// After time that nobody saw it is said again.
    pub(super) fn doubt_goes_on(&mut self) {
        self.doubt.said = None;
    }

    pub(super) fn doubt_says(&mut self, now: Millis) {
        let Some(index) = self.doubt.watch.filter(|_| self.doubt.said != Some(self.synced)) else { return };
        self.doubt.said = Some(self.synced);
        let watch = &self.watches[index as usize];
        if self.synced && watch.case.is_none() && watch.phase == Phase::Idle {
            return;
        }
        let verdict = if self.synced { Verdict::Gone } else { Verdict::Holds };
        self.bring_forward(index, now);
        self.hear(index, Some(verdict), Quality::Good, now);
    }
}
