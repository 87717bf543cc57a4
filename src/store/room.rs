//! Who gives way when there is little room. Pure: bytes in, measures out; `journal` and `history` carry them out.
//!
//! The order, here and nowhere else:
//!
//! 1. The readings: the history has what the others leave of `disk_limit`, and of that only so much that the file system
//!    keeps [`Uses::margin`] bytes free. What a broken history left behind counts as theirs.
//! 2. When the disk is full all the same, the [reserve](super::reserve) is given up, so that tickets get in at once, and
//!    all readings go.
//! 3. Then, and where the journal alone is above `disk_limit`, acknowledged events, oldest first, before their `events_keep`; those of unclosed tickets, those
//!    set aside and those that tell of holes and stubs stay.
//! 4. At the very last unacknowledged events that are not of tickets and not the gateway's own, oldest first.
//! 5. Events of tickets that a required consumer has not acknowledged never go. They wait, and when they have waited for
//!    [`PATIENCE`] the journal goes on in memory ([`super::memory`]).
//!
//! What goes in 3 and 4 is told as `gateway.events-dropped`, in the same transaction: whoever meets a hole in the numbers
//! finds further on which numbers and types it is about. A hole at the beginning is `410` as ever.

use std::time::Duration;

/// Bytes, and what they lie in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uses {
    /// `[store] disk_limit`, or what the memory gives.
    pub limit: u64,
    /// That the file system has for us, and its size.
    pub free: u64,
    pub size: u64,
    /// Of the journal: what is in use.
    pub journal: u64,
    /// The history's files.
    pub history: u64,
    /// What was broken and is kept for whoever wants to look.
    pub aside: u64,
    /// 0: given up.
    pub reserve: u64,
    /// The journal is in memory, since the card takes nothing.
    pub in_memory: bool,
}

/// What is to be done, all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measures {
    /// Bytes that the history may use.
    pub history: u64,
    pub reserve: Reserve,
    /// Which events give way now.
    pub events: Option<Way>,
    pub low: Option<Low>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    Stays,
    /// There is room for it again.
    Make(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Acknowledged,
    /// And not of tickets.
    Unacknowledged,
}

/// Why there is too little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Low {
    /// The file system has little left.
    Full,
    /// The journal alone fills `disk_limit`: the centre does not take what waits for it.
    Limit,
    /// The card takes no writes.
    Card,
}

impl Low {
    pub fn word(self) -> &'static str {
        match self {
            Low::Full => "full",
            Low::Limit => "limit",
            Low::Card => "card",
        }
    }
}

/// After a commit found the disk full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Frees its bytes at once; the page is tried again at once.
    GiveUpReserve,
    /// All readings are to go; that takes a moment.
    DropReadings,
    Drop(Way),
}

/// So long a page is tried before the journal goes on in memory: a ticket is with the centre within the minute.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The readings are given so many tries (a second each) to go before any event does.
const READINGS_FIRST: u32 = 5;
/// Kept free for everybody else on the box, and for cutting the history, which needs room itself.
const MARGIN_MOST: u64 = 64 << 20;
const RESERVE_MOST: u64 = 8 << 20;

impl Uses {
    /// A twentieth of the file system, 64 MiB at the most.
    pub fn margin(&self) -> u64 {
        (self.size / 20).min(MARGIN_MOST)
    }

    /// How large the reserve is: 8 MiB, on a small file system or under a small limit a thirty-second of it.
    pub fn reserve_size(&self) -> u64 {
        (self.size.min(self.limit) / 32).min(RESERVE_MOST)
    }

    /// What all but the history need of the limit.
    fn fixed(&self) -> u64 {
        if self.in_memory { self.journal } else { self.journal + self.aside + self.reserve_size() }
    }

    fn is_over_limit(&self) -> bool {
        self.fixed() > self.limit
    }
}

/// `was`: low already, which ends a little above where it begins. `none_acknowledged`: the last time there was no
/// acknowledged event left to go.
pub fn measures(uses: &Uses, was: Option<Low>, none_acknowledged: bool) -> Measures {
    let margin = uses.margin();
    // What the disk is short of, the history gives; what it has to spare, the history may have.
    let by_disk = (uses.history + uses.free).saturating_sub(margin);
    let by_limit = if uses.in_memory { u64::MAX } else { uses.limit.saturating_sub(uses.fixed()) };
    let history = by_disk.min(by_limit);
    let reserve = if uses.reserve == 0 && !uses.in_memory && uses.free >= margin + uses.reserve_size() {
        Reserve::Make(uses.reserve_size())
    } else {
        Reserve::Stays
    };
    let low = low(uses, was);
    Measures { history, reserve, events: events(uses, none_acknowledged), low }
}

fn low(uses: &Uses, was: Option<Low>) -> Option<Low> {
    if uses.in_memory {
        // What fills the card may go; a card that is broken has to be replaced.
        return Some(if uses.free < uses.margin() { Low::Full } else { Low::Card });
    }
    let (margin, limit) = match was {
        Some(Low::Full) => (uses.margin() * 3 / 2, uses.limit),
        Some(Low::Limit) => (uses.margin(), uses.limit / 10 * 9),
        _ => (uses.margin(), uses.limit),
    };
    if uses.free < margin {
        return Some(Low::Full);
    }
    (uses.fixed() > limit).then_some(Low::Limit)
}

/// A disk that is full of what is not ours costs no event while pages get in.
fn events(uses: &Uses, none_acknowledged: bool) -> Option<Way> {
    let way = if none_acknowledged { Way::Unacknowledged } else { Way::Acknowledged };
    uses.is_over_limit().then_some(way)
}

/// What is done for a page that found the disk full for the `tried`th time, the first time being 1.
pub fn when_full(uses: &Uses, tried: u32, none_acknowledged: bool) -> Step {
    if uses.reserve > 0 && !uses.in_memory {
        return Step::GiveUpReserve;
    }
    if !uses.in_memory && tried <= READINGS_FIRST {
        return Step::DropReadings;
    }
    Step::Drop(if none_acknowledged { Way::Unacknowledged } else { Way::Acknowledged })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// A card of 8 GiB with a usual journal.
    fn card() -> Uses {
        Uses {
            limit: 2 * GIB,
            free: 4 * GIB,
            size: 8 * GIB,
            journal: 20 * MIB,
            history: 300 * MIB,
            aside: 0,
            reserve: 8 * MIB,
            in_memory: false,
        }
    }

    #[test]
    fn with_room_the_history_has_what_the_others_leave_of_the_limit() {
        let measures = measures(&card(), None, false);
        assert_eq!(measures.history, 2 * GIB - 28 * MIB);
        assert_eq!((measures.reserve, measures.events, measures.low), (Reserve::Stays, None, None));
    }

    #[test]
    fn what_the_disk_is_short_of_the_history_gives_and_nobody_else() {
        let uses = Uses { free: 40 * MIB, ..card() };
        let measures = measures(&uses, None, false);
        assert_eq!(measures.history, 276 * MIB, "24 MiB are missing");
        assert_eq!((measures.events, measures.low), (None, Some(Low::Full)));
    }

    #[test]
    fn it_is_over_only_a_little_above_where_it_began() {
        let at = |free, was| measures(&Uses { free, ..card() }, was, false).low;
        assert_eq!(at(65 * MIB, None), None);
        assert_eq!(at(63 * MIB, None), Some(Low::Full));
        assert_eq!(at(80 * MIB, Some(Low::Full)), Some(Low::Full));
        assert_eq!(at(97 * MIB, Some(Low::Full)), None);
        let at = |journal, was| measures(&Uses { journal, ..card() }, was, false).low;
        assert_eq!(at(2 * GIB, None), Some(Low::Limit));
        assert_eq!(at(2 * GIB - 9 * MIB, None), None);
        assert_eq!(at(2 * GIB - 9 * MIB, Some(Low::Limit)), Some(Low::Limit));
    }

    #[test]
    fn a_backlog_takes_the_room_of_the_readings_then_of_what_is_acknowledged_then_of_what_is_not_of_tickets()
    {
        let half = measures(&Uses { journal: GIB, ..card() }, None, false);
        assert_eq!((half.history, half.events), (GIB - 8 * MIB, None));
        let whole = Uses { journal: 2 * GIB, history: 0, ..card() };
        assert_eq!(measures(&whole, None, false).history, 0);
        assert_eq!(measures(&whole, None, false).events, Some(Way::Acknowledged));
        assert_eq!(measures(&whole, None, true).events, Some(Way::Unacknowledged));
    }

    #[test]
    fn a_disk_full_of_others_costs_no_event_while_pages_get_in() {
        let uses = Uses { free: 0, history: 0, reserve: 0, ..card() };
        for none_acknowledged in [false, true] {
            assert_eq!(measures(&uses, None, none_acknowledged).events, None);
        }
    }

    #[test]
    fn the_reserve_is_made_again_when_it_leaves_the_margin_free() {
        let uses = Uses { reserve: 0, free: 71 * MIB, ..card() };
        assert_eq!(measures(&uses, None, false).reserve, Reserve::Stays);
        let uses = Uses { free: 72 * MIB, ..uses };
        assert_eq!(measures(&uses, None, false).reserve, Reserve::Make(8 * MIB));
        let uses = Uses { in_memory: true, ..uses };
        assert_eq!(measures(&uses, None, false).reserve, Reserve::Stays);
    }

    #[test]
    fn a_full_disk_takes_the_reserve_the_readings_and_then_events() {
        let uses = Uses { free: 0, ..card() };
        assert_eq!(when_full(&uses, 1, false), Step::GiveUpReserve);
        let uses = Uses { reserve: 0, ..uses };
        assert_eq!(when_full(&uses, 2, false), Step::DropReadings);
        assert_eq!(when_full(&uses, 5, true), Step::DropReadings);
        assert_eq!(when_full(&uses, 6, false), Step::Drop(Way::Acknowledged));
        assert_eq!(when_full(&uses, 7, true), Step::Drop(Way::Unacknowledged));
        let uses = Uses { in_memory: true, reserve: 8 * MIB, ..uses };
        assert_eq!(when_full(&uses, 1, false), Step::Drop(Way::Acknowledged), "memory has neither");
    }

    #[test]
    fn in_memory_it_is_low_for_as_long_as_it_lasts_and_the_readings_owe_it_nothing() {
        let uses = Uses { in_memory: true, limit: 12 * MIB, journal: 2 * MIB, ..card() };
        let broken = measures(&uses, None, false);
        assert_eq!((broken.low, broken.events), (Some(Low::Card), None));
        assert!(broken.history > uses.history);
        let full = measures(&Uses { free: 0, ..uses }, None, false);
        assert_eq!(full.low, Some(Low::Full));
        let filled = measures(&Uses { journal: 13 * MIB, ..uses }, None, false);
        assert_eq!(filled.events, Some(Way::Acknowledged));
    }
}
