//! `rises`, `falls`: the change within a window that moves along.

use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;

/// Seam: what fills it is on its way.
#[derive(Debug)]
pub struct Window {
    _by: f64,
    _within: Millis,
}

impl Window {
    pub fn rises(by: f64, within: Millis, _deadband: f64) -> Self {
        Self { _by: by, _within: within }
    }

    pub fn falls(by: f64, within: Millis, _deadband: f64) -> Self {
        Self { _by: by, _within: within }
    }
}

impl Judge for Window {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
