//! What has been told before, as far back as it remembers. A broker sends again what was not acknowledged, and a
//! terminal what it believes was not heard.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};

/// The last so many, each by 64 bits of its hash; the oldest is forgotten for the next.
#[derive(Debug)]
pub struct Seen {
    most: usize,
    hasher: RandomState,
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Seen {
    pub fn new(most: usize) -> Self {
        Self { most, hasher: RandomState::new(), order: VecDeque::new(), known: HashSet::new() }
    }

    /// Whether it is told for the first time; from now on it is known.
    pub fn is_new(&mut self, what: impl Hash) -> bool {
        let hash = self.hasher.hash_one(what);
        if !self.known.insert(hash) {
            return false;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_new_once_and_the_oldest_is_forgotten() {
        let mut seen = Seen::new(3);
        for n in 0..3 {
            assert!(seen.is_new(n) && !seen.is_new(n));
        }
        assert!(seen.is_new(3));
        assert!(!seen.is_new(1) && !seen.is_new(3));
        assert!(seen.is_new(0), "forgotten");
        assert_eq!((seen.order.len(), seen.known.len()), (3, 3));
    }
}
