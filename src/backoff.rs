//! Tool: pauses that grow with each failure, with jitter, up to a bound.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses of `first`, `2 × first`, … up to `most`, each shortened by up to a quarter at random,
/// so that a thousand gateways do not come back in the same second.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let grown = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        grown.mul_f64(1.0 - random_share() / 4.0)
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// In `0.0 .. 1.0`. The standard library's hasher keys are random; jitter needs no better dice.
fn random_share() -> f64 {
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let pauses: Vec<_> = (0..50).map(|_| backoff.pause()).collect();
        for (n, pause) in pauses.iter().enumerate() {
            let full = Duration::from_secs(30.min(1 << n.min(20)));
            assert!(*pause <= full && *pause >= full.mul_f64(0.75), "pause {n} is {pause:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_secs(1));
    }
}
