//! Which refusals are told: each of the first few a minute of one kind, the rest as a number. Pure.
//!
//! Otherwise a client that asks for the same forbidden thing in a loop would fill the journal. The same order, refused
//! for the same reason again, is told once: a centre that repeats it with each answer would else be told of it with each
//! push, and answer again.

use std::collections::VecDeque;

use crate::order::{Order, Refused};
use crate::reading::Millis;

/// Refusals of one kind that are told in a minute.
pub const REFUSALS_TOLD_MAX: u32 = 10;
/// Orders that are known to have been told of; the next one takes the place of the oldest.
const KNOWN_MAX: usize = 256;
const MINUTE: Millis = 60_000;

#[derive(Debug, Default)]
pub struct Refusals {
    kinds: [Kind; Refused::WORDS.len()],
    /// Key, where it came from, and the word.
    known: VecDeque<(String, std::sync::Arc<str>, usize)>,
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
    pub fn tell(&mut self, order: &Order, why: &Refused, now: Millis) -> bool {
        let one = (order.key.clone(), order.via.clone(), why.index());
        if self.known.contains(&one) {
            return false;
        }
        let kind = &mut self.kinds[why.index()];
        kind.since.get_or_insert(now);
        if kind.told >= REFUSALS_TOLD_MAX {
            kind.held_back += 1;
            return false;
        }
        kind.told += 1;
        if self.known.len() >= KNOWN_MAX {
            self.known.pop_front();
        }
        self.known.push_back(one);
        true
    }

    /// The minutes that are over: the word of each kind, and how many of it were held back.
    pub fn advance(&mut self, now: Millis) -> Vec<(&'static str, u64)> {
        let mut over = Vec::new();
        for (kind, word) in self.kinds.iter_mut().zip(Refused::WORDS) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Role;

    fn order(n: i64) -> Order {
        Order {
            device: "bank-1".into(),
            action: "open".into(),
            target: "cell-3".into(),
            reason: None,
            by: "li".into(),
            role: Role::Central,
            via: "crm".into(),
            expires_at: None,
            key: format!("k-{n}"),
        }
    }

    #[test]
    fn a_flood_of_one_kind_is_told_ten_times_and_then_as_a_number_and_hides_no_other_kind() {
        let mut refusals = Refusals::default();
        let not = Refused::NotAllowed(String::new());
        let told = (0..1000).filter(|at| refusals.tell(&order(*at), &not, *at)).count();
        assert_eq!(told, 10);
        assert!(refusals.tell(&order(0), &Refused::Expired(String::new()), 1000));
        assert_eq!(refusals.next_due(), Some(60_000));
        assert!(refusals.advance(59_999).is_empty());
        assert_eq!(
            refusals.advance(61_000),
            [("not-allowed", 990)],
            "of what was told, nothing is held back"
        );
        assert!(refusals.tell(&order(2000), &not, 61_000));
    }

    #[test]
    fn the_same_order_refused_again_is_told_once_and_not_counted_and_so_many_are_known() {
        let mut refusals = Refusals::default();
        let not = Refused::WrongRole(String::new());
        let told = (0..500).filter(|at| refusals.tell(&order(1), &not, *at)).count();
        assert_eq!(told, 1);
        assert!(refusals.advance(61_000).is_empty(), "a centre that repeats itself is not told so");
        assert!(refusals.tell(&Order { via: "central".into(), ..order(1) }, &not, 62_000), "somebody else");
        for minute in 1..40 {
            refusals.advance(62_000 + minute * 61_000);
            (0..10).for_each(|n| {
                refusals.tell(&order(minute * 100 + n), &not, 62_000 + minute * 61_000);
            });
        }
        assert_eq!(refusals.known.len(), KNOWN_MAX);
        refusals.advance(i64::MAX / 2);
        assert!(refusals.tell(&order(1), &not, i64::MAX / 2), "so long ago that it is news");
    }
}
