//! Which of a controller's events are still to be fetched, and up to which it may be told that we have them. Pure.
//!
//! Where fetching begins after a start, the first that holds:
//! 1. The journal has an event of this controller: after its last one. From 1 where the controller's memory was cleared
//!    since, which shows in a last number below that one, or in another event (another time) under its number.
//! 2. The controller keeps a number for its reader: after that one, or from 1 where its last number is below.
//! 3. Neither has any: first contact. After the controller's last event, since its past is not ours; and that number is
//!    stored in it at once, so that what happens from now on is not taken for its past by a later start.
//!
//! A number kept in the controller is never believed against the journal: it is written late, and outlives a clearing.

use std::ops::Range;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub struct Ledger {
    /// The last one handed on; `None` before the controller said where we stand.
    told: Option<u32>,
    /// What the controller has been told that we have.
    stored: u32,
    /// Handed on: may be stored from then on, if it is on the disk by then.
    ripe: Option<(Instant, u32)>,
    /// Its last number was smaller than what we know, once already.
    shrunk: bool,
    /// The event that could not be read the last time, and how often it could not.
    unread: Option<(u32, u8)>,
}

/// The last event of a controller in the journal.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub index: u32,
    /// The controller has none of this number, or another one under it: it counts anew since.
    pub cleared: bool,
}

/// So many events in one turn; then the other controllers have theirs.
const TURN_MOST: u32 = 32;
/// Of what was missed before our start, so many at the most; older ones stay in the controller.
const BACK_MOST: u32 = 10_000;
/// An event at which the program breaks is fetched so often; then those after it have their turn.
const READ_MOST: u8 = 3;
/// Numbers are stored in the controller this seldom: its memory wears out. What is fetched again after a fall is known.
const RIPE: Duration = Duration::from_secs(10);

impl Ledger {
    pub fn has_begun(&self) -> bool {
        self.told.is_some()
    }

    /// `stored`: the number kept in the controller; `last`: of its last event.
    pub fn begin(&mut self, journal: Option<Known>, stored: u32, last: u32, now: Instant) {
        let told = match (journal, stored) {
            (Some(known), _) if known.cleared => 0,
            (Some(known), _) => known.index,
            (None, 0) => last,
            (None, stored) if stored > last => 0,
            (None, stored) => stored,
        };
        let told = told.max(last.saturating_sub(BACK_MOST));
        let first_contact = journal.is_none() && stored == 0;
        self.told = Some(told);
        self.stored = stored;
        self.ripe = (told != stored).then_some((if first_contact { now } else { now + RIPE }, told));
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
            self.ripe = Some((now + RIPE, index));
        }
    }

    /// The program broke at this event: whether to go on without it.
    pub fn gives_up(&mut self, index: u32) -> bool {
        let before = self.unread.filter(|(unread, _)| *unread == index).map_or(0, |(_, times)| times);
        self.unread = Some((index, before.saturating_add(1)));
        before.saturating_add(1) >= READ_MOST
    }

    pub fn is_behind(&self, last: u32) -> bool {
        self.told.is_some_and(|told| told < last)
    }

    /// What may be stored in the controller now.
    pub fn to_store(&self, now: Instant) -> Option<u32> {
        self.ripe.filter(|(due, _)| now >= *due).map(|(_, index)| index)
    }

    pub fn stored(&mut self, index: u32, now: Instant) {
        self.stored = index;
        self.ripe = self.told.filter(|told| *told != index).map(|told| (now + RIPE, told));
    }
}

fn nothing() -> Range<u32> {
    0..0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Option<bool> = Some(false);
    const CLEARED: Option<bool> = Some(true);

    #[test]
    fn where_fetching_begins() {
        let now = Instant::now();
        for (index, journal, stored, last, expected) in [
            (0, None, 0, 5000, nothing()), // first contact
            (0, None, 0, 0, nothing()),    // new
            (0, None, 57, 60, 58..61),     // three were missed
            (0, None, 57, 57, nothing()),  // none was
            (0, None, 57, 1000, 58..90),   // a turn's worth
            (0, None, 1, 50_000, 40_001..40_033),
            (0, None, 57, 3, 1..4),        // it was cleared
            (3, SAME, 1, 5, 4..6),         // (a) killed before 3 was stored
            (3, SAME, 0, 5, 4..6),         // and where nothing ever was
            (2, SAME, 0, 5, 3..6),         // (b) cleared, 1 and 2 told, killed
            (3, SAME, 6, 6, 4..7),         // (c) the number is of before the clearing
            (57, SAME, 60, 60, 58..61),    // another reader's number
            (57, SAME, 57, 57, nothing()), // none was missed
            (57, SAME, 57, 50_000, 40_001..40_033),
            (57, CLEARED, 57, 3, 1..4),     // cleared while we were down
            (57, CLEARED, 57, 80, 1..33),   // and many since
            (57, CLEARED, 0, 0, nothing()), // and nothing since
            (57, CLEARED, 57, 50_000, 40_001..40_033),
        ] {
            let mut ledger = Ledger::default();
            ledger.begin(journal.map(|cleared| Known { index, cleared }), stored, last, now);
            assert!(ledger.wanted(last).eq(expected), "{index} {journal:?} {stored} {last}");
        }
    }

    #[test]
    fn an_event_that_breaks_the_decoder_does_not_hold_up_those_after_it_for_ever() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.begin(None, 57, 60, now);
        assert!(!ledger.gives_up(58) && !ledger.gives_up(58));
        assert!(ledger.wanted(60).eq(58..61), "it is fetched again");
        assert!(ledger.gives_up(58));
        ledger.handed_on(58, now);
        assert!(ledger.wanted(60).eq(59..61));
        assert!(!ledger.gives_up(59), "the next one is counted by itself");
    }

    #[test]
    fn at_first_contact_the_number_is_stored_at_once() {
        let now = Instant::now();
        for (journal, stored, last, at_once, later) in [
            (None, 0, 40, Some(40), Some(40)),
            (None, 0, 0, None, None),
            (None, 57, 60, None, None),
            (Some(Known { index: 3, cleared: false }), 0, 5, None, Some(3)),
            (Some(Known { index: 3, cleared: false }), 6, 6, None, Some(3)),
        ] {
            let mut ledger = Ledger::default();
            ledger.begin(journal, stored, last, now);
            assert_eq!(ledger.to_store(now), at_once, "{journal:?} {stored} {last}");
            assert_eq!(ledger.to_store(now + RIPE), later, "{journal:?} {stored} {last}");
        }
    }

    #[test]
    fn what_is_stored_is_what_had_time_to_reach_the_disk() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        ledger.begin(None, 57, 60, now);
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
        ledger.begin(None, 57, 57, Instant::now());
        assert!(ledger.wanted(2).is_empty(), "perhaps an answer that came late");
        assert!(ledger.wanted(57).is_empty());
        assert!(ledger.wanted(2).is_empty());
        assert_eq!(ledger.wanted(2), 1..3);
        assert!(ledger.is_behind(2));
    }
}
