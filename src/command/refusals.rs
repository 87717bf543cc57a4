//! Which refusals are told: each of the first few a minute of one kind, the rest as a number. Pure.
//!
//! Otherwise a client that asks for the same forbidden thing in a loop would fill the journal.

use crate::order::Refused;
use crate::reading::Millis;

/// Refusals of one kind that are told in a minute.
pub const REFUSALS_TOLD_MAX: u32 = 10;
const MINUTE: Millis = 60_000;

#[derive(Debug, Default)]
pub struct Refusals {
    kinds: [Kind; 5],
}

#[derive(Debug, Default)]
struct Kind {
    /// Its minute's beginning.
    since: Option<Millis>,
    told: u32,
    held_back: u64,
}

impl Refusals {
    /// Whether this one is told.
    pub fn tell(&mut self, why: &Refused, now: Millis) -> bool {
        let kind = &mut self.kinds[index(why)];
        kind.since.get_or_insert(now);
        let tell = kind.told < REFUSALS_TOLD_MAX;
        match tell {
            true => kind.told += 1,
            false => kind.held_back += 1,
        }
        tell
    }

    /// The minutes that are over: the word of each kind, and how many of it were held back.
    pub fn advance(&mut self, now: Millis) -> Vec<(&'static str, u64)> {
        let mut over = Vec::new();
        for (kind, word) in self.kinds.iter_mut().zip(WORDS) {
            // A clock that was set back must not stretch a minute.
            if kind.since.is_some_and(|since| now >= since + MINUTE || now < since) {
                let held_back = std::mem::take(kind).held_back;
                over.extend((held_back > 0).then_some((word, held_back)));
            }
        }
        over
    }

    pub fn next_due(&self) -> Option<Millis> {
        self.kinds.iter().filter_map(|kind| Some(kind.since? + MINUTE)).min()
    }
}

const WORDS: [&str; 5] = ["unknown", "not-allowed", "expired", "key-taken", "busy"];

pub fn word(why: &Refused) -> &'static str {
    WORDS[index(why)]
}

fn index(why: &Refused) -> usize {
    match why {
        Refused::Unknown(_) => 0,
        Refused::NotAllowed(_) => 1,
        Refused::Expired(_) => 2,
        Refused::KeyTaken(_) => 3,
        Refused::Busy(_) => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_told_ten_times_and_then_as_a_number_and_hides_no_other_kind() {
        let mut refusals = Refusals::default();
        let not = Refused::NotAllowed(String::new());
        let told = (0..1000).filter(|at| refusals.tell(&not, *at)).count();
        assert_eq!(told, 10);
        assert!(refusals.tell(&Refused::Expired(String::new()), 1000));
        assert_eq!(refusals.next_due(), Some(60_000));
        assert!(refusals.advance(59_999).is_empty());
        assert_eq!(
            refusals.advance(61_000),
            [("not-allowed", 990)],
            "of what was told, nothing is held back"
        );
        assert!(refusals.tell(&not, 61_000));
    }
}
