//! `stuck`: good readings, and not one change.

use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;

#[derive(Debug)]
pub struct Stuck {
    _span: Millis,
}

impl Stuck {
    pub fn new(span: Millis) -> Self {
        Self { _span: span }
    }
}

impl Judge for Stuck {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
