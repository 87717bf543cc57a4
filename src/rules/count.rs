//! `count`: occurrences in a window.

use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;
use crate::reading::Value;

#[derive(Debug)]
pub struct Count {
    _equals: Value,
}

impl Count {
    pub fn new(equals: Value, _times: u32, _within: Millis) -> Self {
        Self { _equals: equals }
    }
}

impl Judge for Count {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
