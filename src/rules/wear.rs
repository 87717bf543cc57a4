//! `runtime`, `cycles`: hours and openings since the last resolve.

use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;
use crate::reading::Value;

#[derive(Debug)]
pub struct Wear {
    _equals: Option<Value>,
}

impl Wear {
    pub fn runtime(equals: Option<Value>, _lasts: Millis) -> Self {
        Self { _equals: equals }
    }

    pub fn cycles(equals: Option<Value>, _count: u64) -> Self {
        Self { _equals: equals }
    }
}

impl Judge for Wear {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
