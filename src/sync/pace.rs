//! How fast a backlog goes out: so many events a second at the most. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// Each event costs its share of a second. What a slow answer leaves unused is made up for, up to [`CREDIT`].
#[derive(Debug)]
pub struct Pace {
    cost: Duration,
    /// Before this nothing more is sent.
    due: Instant,
}

/// Without it, a rate of one batch in 20 ms would suffer from each timer that is a little late.
const CREDIT: Duration = Duration::from_millis(100);

impl Pace {
    /// So many events a second, at least one.
    pub fn new(rate: u32, now: Instant) -> Self {
        Self { cost: Duration::from_secs(1) / rate.max(1), due: now }
    }

    /// So many events are sent now.
    pub fn spend(&mut self, events: usize, now: Instant) {
        let from = self.due.max(now.checked_sub(CREDIT).unwrap_or(now));
        self.due = from + self.cost.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX));
    }

    /// How long until more may be sent.
    pub fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends batches whenever it may, each of which takes `answer`; events in ten seconds.
    fn sent_in_ten_seconds(rate: u32, batch: usize, answer: Duration) -> usize {
        let start = Instant::now();
        let (mut pace, mut now, mut sent) = (Pace::new(rate, start), start, 0);
        while now - start < Duration::from_secs(10) {
            pace.spend(batch, now);
            sent += batch;
            now += answer;
            now += pace.wait(now);
        }
        sent
    }

    #[test]
    fn a_backlog_goes_out_at_the_rate_and_not_faster() {
        for (rate, batch) in [(25_000, 500), (1000, 500), (100, 1), (1, 1), (100_000, 1000)] {
            for answer in [Duration::ZERO, Duration::from_micros(50)] {
                let sent = sent_in_ten_seconds(rate, batch, answer) as f64;
                // What the first instant and the credit add.
                let most = f64::from(rate) * 10.1 + batch as f64;
                assert!(sent <= most && sent >= f64::from(rate) * 9.9, "{rate} with {batch}: {sent}");
            }
        }
    }

    #[test]
    fn one_slow_answer_is_made_up_for_and_a_slow_centre_is_not_paced_at_all() {
        assert_eq!(sent_in_ten_seconds(25_000, 500, Duration::from_millis(300)), 34 * 500);
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        let later = start + Duration::from_secs(3600);
        pace.spend(100, later);
        assert_eq!(pace.wait(later), Duration::ZERO, "an hour of rest");
        pace.spend(1000, later);
        assert_eq!(pace.wait(later), Duration::from_secs(1), "is no licence for a flood");
    }
}
