//! When a controller is asked next, and whether it is there: each has its own way over the network, so none waits for
//! another. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// One controller's turns.
#[derive(Debug, Clone)]
pub struct Turns {
    poll: Duration,
    due: Instant,
    /// Failed polls in a row.
    failures: u32,
    backoff: Backoff,
}

/// So many failed polls in a row, and the device is offline.
pub const FAILURES_OFFLINE: u32 = 3;
/// A silent device is asked at least so often.
const PAUSE_MOST: Duration = Duration::from_secs(60);

impl Turns {
    /// Due at `start`.
    pub fn new(poll: Duration, start: Instant) -> Self {
        let poll = poll.max(Duration::from_millis(1));
        Self { poll, due: start, failures: 0, backoff: Backoff::new(poll * 2, PAUSE_MOST.max(poll)) }
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn is_offline(&self) -> bool {
        self.failures >= FAILURES_OFFLINE
    }

    /// It answered: asked again a period after this turn was due, so that nothing drifts.
    pub fn answered(&mut self, now: Instant) {
        self.failures = 0;
        self.backoff.reset();
        self.next(now);
    }

    /// It did not: once may be chance, then it is asked ever more rarely, since each try holds up the others.
    pub fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => self.next(now),
            _ => self.due = now + self.backoff.pause(),
        }
    }

    /// Turns that were missed entirely are skipped.
    fn next(&mut self, now: Instant) {
        self.due += self.poll;
        let late = now.saturating_duration_since(self.due);
        let missed = late.as_nanos() / self.poll.as_nanos();
        self.due += self.poll * u32::try_from(missed).unwrap_or(0);
        if now.saturating_duration_since(self.due) > self.poll {
            self.due = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn turns_do_not_drift_and_missed_ones_are_skipped() {
        let start = Instant::now();
        let mut turns = Turns::new(SECOND, start);
        turns.answered(start + SECOND / 10);
        assert_eq!(turns.due(), start + SECOND);
        turns.answered(start + SECOND * 5 / 2); // late by 1.5 periods: one is still owed
        assert_eq!(turns.due(), start + SECOND * 2);
        turns.answered(start + SECOND * 93 / 10);
        assert_eq!(turns.due(), start + SECOND * 9);
    }

    #[test]
    fn a_silent_device_is_asked_ever_more_rarely_up_to_a_minute() {
        let start = Instant::now();
        let mut turns = Turns::new(SECOND, start);
        turns.failed(start);
        assert_eq!(turns.due(), start + SECOND, "the first failure may be chance");
        let mut last = SECOND;
        for n in 2..20 {
            turns.failed(start);
            assert_eq!(turns.is_offline(), n >= FAILURES_OFFLINE);
            let pause = turns.due() - start;
            assert!(pause > last || pause >= PAUSE_MOST * 3 / 4, "{n}: {pause:?}");
            assert!(pause <= PAUSE_MOST);
            last = pause;
        }
        turns.answered(turns.due());
        assert!(!turns.is_offline());
        assert_eq!(turns.due(), start + last + SECOND);
    }
}
