//! When something that is counted is worth a write of its own: at once, but at most once a minute, for the flash's sake.

use crate::reading::Millis;

const MINUTE: Millis = 60_000;

#[derive(Debug, Default)]
pub struct Sparing {
    now: Millis,
    saved: Option<Millis>,
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
        // A minute the other way round: the clock was set back.
        let rested = self.saved.is_none_or(|saved| (self.now - saved).abs() >= MINUTE);
        let worth = self.changed && rested;
        if worth {
            (self.saved, self.changed) = (Some(self.now), false);
        }
        worth
    }
}
