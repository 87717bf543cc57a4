//! How much is written to the disk a day, as the kernel counts it, and what follows where it is too much: the history
//! keeps no more than rollups until midnight. Tickets and events are written as ever.

use tracing::warn;

use super::Corridor;
use super::quality::next_midnight;
use crate::reading::Millis;

/// What was written of late. A new run begins its day anew.
#[derive(Debug, Default)]
pub(super) struct Wear {
    /// At the last look.
    written: u64,
    pub(super) today: u64,
    midnight: Millis,
}

impl Wear {
    /// Since the last look, given what was written since the start.
    fn add(&mut self, written: u64) -> u64 {
        let more = written.saturating_sub(self.written);
        self.written = written;
        self.today += more;
        more
    }

    /// The day is over, by whichever clock.
    fn turn(&mut self, now: Millis, midnight: Millis) {
        if now >= self.midnight || midnight < self.midnight {
            (self.today, self.midnight) = (0, midnight);
        }
    }
}

impl Corridor {
    pub(super) fn look_at_wear(&mut self, now: Millis) {
        let Some(written) = self.intake.metrics.written() else { return };
        self.wear.turn(now, next_midnight(&self.intake.zone, now));
        let more = self.wear.add(written);
        let (metrics, today) = (&self.intake.metrics, self.wear.today);
        metrics.disk_written.inc_by(more);
        metrics.disk_written_today.set(today.try_into().unwrap_or(i64::MAX));
        let (budget, thin) = (self.intake.history.write_budget(), today > self.intake.history.write_budget());
        if metrics.history_thinned.set(thin.into()) == 0 && thin {
            warn!(
                today,
                budget,
                "More was written to the disk today than `store.write_budget` allows; until midnight the history keeps rollups only."
            );
        }
        self.intake.history.thin(thin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_counts_what_was_written_in_it() {
        let mut wear = Wear::default();
        wear.turn(10, 100);
        assert_eq!((wear.add(50), wear.today), (50, 50));
        wear.turn(99, 100);
        assert_eq!((wear.add(70), wear.today), (20, 70));
        wear.turn(100, 200);
        assert_eq!((wear.add(75), wear.today), (5, 5));
        // The clock was set back by a day, and what is left of tomorrow is not waited for.
        wear.turn(50, 100);
        assert_eq!((wear.add(76), wear.today, wear.midnight), (1, 1, 100));
    }

    #[test]
    fn the_kernel_tells_what_was_written() {
        assert!(crate::metrics::Metrics::new().written().is_some());
    }
}
