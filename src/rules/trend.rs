//! `forecast`: when the trend crosses a limit, and how sure that is.

use super::Limit;
use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;

#[derive(Debug)]
pub struct Trend {
    _limit: Limit,
}

impl Trend {
    pub fn new(limit: Limit, _within: Millis) -> Self {
        Self { _limit: limit }
    }
}

impl Judge for Trend {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
