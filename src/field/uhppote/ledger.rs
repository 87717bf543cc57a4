//! Which of a controller's events are still to be fetched, and up to which it may be told that we have them. Pure.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct Ledger {
    /// The last one handed on; `None` before the controller said where we stand.
    told: Option<u32>,
    /// What the controller has been told that we have.
    stored: u32,
    /// Handed on: may be stored so long after this, if it is on the disk by then.
    ripe: Option<(Instant, u32)>,
    /// Its last number was smaller than what we know, once already.
    shrunk: bool,
}

/// So many events in one turn; then the other controllers have theirs.
const TURN_MOST: u32 = 32;
/// Of what was missed before our start, so many at the most; older ones stay in the controller.
const BACK_MOST: u32 = 10_000;
/// Numbers are stored in the controller this seldom: its memory wears out. What is fetched again after a fall is known.
const RIPE: Duration = Duration::from_secs(10);

impl Ledger {
    pub fn has_begun(&self) -> bool {
        self.told.is_some()
    }

    /// `stored`: the number kept in the controller; `last`: of its last event. A controller that never was read by
    /// anyone has 0: its past is not ours.
    pub fn begin(&mut self, stored: u32, last: u32, now: Instant) {
        let told = match stored {
            0 => last,
            stored if stored > last => 0, // it was reset since
            stored => stored.max(last.saturating_sub(BACK_MOST)),
        };
        self.told = Some(told);
        self.stored = stored;
        self.ripe = (told != stored).then_some((now, told));
    }

    /// What to fetch now, oldest first. A number smaller than ours is believed when it comes twice in a row: then the
    /// controller was reset and counts anew.
    pub fn wanted(&mut self, last: u32) -> Range<u32> {
        let Some(told) = self.told else { return nothing() };
        if last < told {
            if std::mem::replace(&mut self.shrunk, true) {
                self.told = Some(0);
                self.shrunk = false;
                return self.wanted(last);
            }
            return nothing();
        }
        self.shrunk = false;
        let most = last.min(told.saturating_add(TURN_MOST));
        told.saturating_add(1)..most.saturating_add(1)
    }

    /// Up to here all is handed on.
    pub fn handed_on(&mut self, index: u32, now: Instant) {
        self.told = Some(index);
        if self.ripe.is_none() {
            self.ripe = Some((now, index));
        }
    }

    pub fn is_behind(&self, last: u32) -> bool {
        self.told.is_some_and(|told| told < last)
    }

    /// What may be stored in the controller now.
    pub fn to_store(&self, now: Instant) -> Option<u32> {
        self.ripe.filter(|(since, _)| now >= *since + RIPE).map(|(_, index)| index)
    }

    pub fn stored(&mut self, index: u32, now: Instant) {
        self.stored = index;
        self.ripe = self.told.filter(|told| *told != index).map(|told| (now, told));
    }
}

fn nothing() -> Range<u32> {
    0..0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_fetching_begins() {
        let now = Instant::now();
        for (stored, last, expected) in [
            (0, 5000, nothing()), // never read by anyone
            (0, 0, nothing()),    // new
            (57, 60, 58..61),     // three were missed
            (57, 57, nothing()),  // none was
            (57, 1000, 58..90),   // a turn's worth
            (1, 50_000, 40_001..40_033),
            (57, 3, 1..4), // it was reset
        ] {
            let mut ledger = Ledger::default();
            ledger.begin(stored, last, now);
            assert!(ledger.wanted(last).eq(expected), "{stored} {last}");
        }
    }

    #[test]
    fn what_is_stored_is_what_had_time_to_reach_the_disk() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.begin(57, 60, now);
        assert_eq!(ledger.to_store(now), None);
        ledger.handed_on(58, now);
        ledger.handed_on(60, now + RIPE / 2);
        assert_eq!(ledger.to_store(now + RIPE), Some(58));
        ledger.stored(58, now + RIPE);
        assert_eq!(ledger.to_store(now + RIPE), None);
        assert_eq!(ledger.to_store(now + RIPE * 2), Some(60));
        ledger.stored(60, now + RIPE * 2);
        assert_eq!(ledger.to_store(now + RIPE * 9), None);
    }

    #[test]
    fn a_controller_that_was_reset_counts_anew_when_it_says_so_twice() {
        let mut ledger = Ledger::default();
        ledger.begin(57, 57, Instant::now());
        assert!(ledger.wanted(2).is_empty(), "perhaps an answer that came late");
        assert!(ledger.wanted(57).is_empty());
        assert!(ledger.wanted(2).is_empty());
        assert_eq!(ledger.wanted(2), 1..3);
        assert!(ledger.is_behind(2));
    }
}
