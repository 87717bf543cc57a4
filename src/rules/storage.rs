//! `storage-low`: the gateway's own disk has no room, or does not take what is written. It holds and is gone as intake
//! says; nothing else is known of it here. Pure.

use super::Condition;
use super::condition::Verdict;
use super::engine::Engine;
use super::episode::Phase;
use crate::reading::{Millis, Quality, Value};

impl Engine {
    /// How it is with the disk: `Some` says in a word what is wrong with it (`full`, `limit`, `card`). To be said again
    /// every few seconds, since nobody else reads this value.
    pub fn storage(&mut self, wrong: Option<&str>, now: Millis) {
        let is_storage = |index: &usize| {
            let rule = self.watches[*index].rule as usize;
            self.plan.rules[rule].condition == Condition::StorageLow
        };
        let Some(index) = (0..self.watches.len()).find(is_storage) else { return };
        let index = index as u32;
        self.bring_forward(index, now);
        let watch = &mut self.watches[index as usize];
        watch.at = now.max(watch.at);
        let Some(word) = wrong else {
            if watch.phase != Phase::Idle || watch.case.is_some() {
                self.hear(index, Some(Verdict::Gone), Quality::Good, now);
            }
            return;
        };
        watch.value = Some(Value::Text(word.into()));
        self.hear(index, Some(Verdict::Holds), Quality::Good, now);
    }
}
