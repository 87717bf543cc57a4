//! When something that is counted is worth a write of its own: at once, but at most once in a minute of the clock, for
//! the flash's sake: what has changed in many is one write.

use crate::reading::Millis;

const MINUTE: Millis = 60_000;

#[derive(Debug, Default)]
pub struct Sparing {
    now: Millis,
    /// In which minute.
    saved: Option<i64>,
    changed: bool,
}

impl Sparing {
    /// Time has come to `at`.
    pub fn at(&mut self, at: Millis) {
        self.now = at;
    }

    /// There is something that a power cut must not take.
    pub fn changed(&mut self) {
        self.changed = true;
    }

    /// Asked once, it is taken as saved.
    pub fn is_worth_saving(&mut self) -> bool {
        let minute = self.now.div_euclid(MINUTE);
        let worth = self.changed && self.saved != Some(minute);
        if worth {
            (self.saved, self.changed) = (Some(minute), false);
        }
        worth
    }
}
