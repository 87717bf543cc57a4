//! When a controller is asked next, and whether it is there. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

#[derive(Debug)]
pub struct Turns {
    poll: Duration,
    due: Instant,
    /// Failed polls in a row.
    failures: u32,
    pauses: Backoff,
}

/// So many failed polls in a row, and the controller is offline.
const FAILURES_OFFLINE: u32 = 3;
/// A silent controller is asked at least so often.
const PAUSE_MOST: Duration = Duration::from_secs(60);

impl Turns {
    pub fn new(poll: Duration, start: Instant) -> Self {
        let poll = poll.max(Duration::from_millis(1));
        Self { poll, due: start, failures: 0, pauses: Backoff::new(poll * 2, PAUSE_MOST.max(poll)) }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn is_offline(&self) -> bool {
        self.failures >= FAILURES_OFFLINE
    }

    /// Asked again a period after this turn was due, so that nothing drifts; not at once for turns that were missed.
    pub fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.pauses.reset();
        self.due = (self.due + self.poll).max(now);
    }

    /// Once may be chance; then it is asked ever more rarely.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.due = match self.failures {
            1 => (self.due + self.poll).max(now),
            _ => now + self.pauses.pause(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_asked_in_its_period_and_ever_more_rarely_while_it_is_silent() {
        let (start, poll) = (Instant::now(), Duration::from_secs(1));
        let mut turns = Turns::new(poll, start);
        turns.answered(start + poll / 2);
        assert_eq!(turns.due(), start + poll);
        turns.failed(start + poll);
        assert!(!turns.is_offline() && turns.due() == start + poll * 2, "once may be chance");
        turns.failed(start + poll * 2);
        turns.failed(start + poll * 4);
        assert!(turns.is_offline() && turns.due() > start + poll * 5);
        turns.answered(start + poll * 60);
        assert!(!turns.is_offline() && turns.due() >= start + poll * 60, "what was missed is not made up for");
    }
}
