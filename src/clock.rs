//! Tool: what time it is, how much time has passed, and whether the wall clock can be believed.
//!
//! The wall clock dates what is told; it may be wrong at boot, and somebody may set it while we run. The steady clock
//! only goes forward and says how long things last. Whoever needs either holds a [`Clock`]; all clones are one clock.
//!
//! The wall clock is believed while the kernel says that it is synchronised *and* it does not lie before what is known to
//! be past: the day these sources were written on ([`WRITTEN`]), and what [`Clock::not_before`] was told, the journal's
//! last trace.
//!
//! A simulated clock runs on tokio's, which a test can pause: a day passes in a moment, and the test sets the wall clock and
//! says whether it is synchronised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::reading::Millis;
use crate::time;

/// 2025-01-01: no clock that is right shows a time before these sources were written.
pub const WRITTEN: Millis = 1_735_689_600_000;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    boot: Arc<str>,
    /// Known to be past.
    past: AtomicI64,
}

#[derive(Debug)]
enum Source {
    System,
    Simulated { start: Instant, wall_at_start: AtomicI64, synced: AtomicBool },
}

impl Clock {
    /// This machine's.
    pub fn system() -> Self {
        Self::of(Source::System, time::boot_id().into())
    }

    /// Shows `wall` now and goes on with tokio's time.
    pub fn simulated(wall: Millis, synced: bool) -> Self {
        let (wall_at_start, synced) = (AtomicI64::new(wall), AtomicBool::new(synced));
        Self::of(Source::Simulated { start: Instant::now(), wall_at_start, synced }, "simulated".into())
    }

    fn of(source: Source, boot: Arc<str>) -> Self {
        Self { inner: Arc::new(Inner { source, boot, past: AtomicI64::new(WRITTEN) }) }
    }

    /// The wall clock, in milliseconds since 1970.
    pub fn now(&self) -> Millis {
        match &self.inner.source {
            Source::System => time::now(),
            Source::Simulated { start, wall_at_start, .. } => {
                wall_at_start.load(Ordering::Relaxed) + start.elapsed().as_millis() as Millis
            }
        }
    }

    /// Only ever goes forward.
    pub fn steady(&self) -> Instant {
        Instant::now()
    }

    pub fn is_believed(&self) -> bool {
        self.is_synced() && self.is_possible()
    }

    /// Whether it does not lie before what is known to be past.
    pub fn is_possible(&self) -> bool {
        self.now() >= self.inner.past.load(Ordering::Relaxed)
    }

    /// Whether the kernel says that it is synchronised.
    pub fn is_synced(&self) -> bool {
        match &self.inner.source {
            Source::System => time::clock_is_synced(),
            Source::Simulated { synced, .. } => synced.load(Ordering::Relaxed),
        }
    }

    /// `past` is known to be past: a clock that shows an earlier time is not believed. Takes the place of what was said
    /// before.
    pub fn not_before(&self, past: Millis) {
        self.inner.past.store(past.max(WRITTEN), Ordering::Relaxed);
    }

    /// What is known to be past.
    pub fn past(&self) -> Millis {
        self.inner.past.load(Ordering::Relaxed)
    }

    /// The kernel's name for this boot; empty where it does not say.
    pub fn boot(&self) -> &str {
        &self.inner.boot
    }

    /// Seconds since this boot, in step with the time at which it is asked.
    pub fn uptime(&self) -> f64 {
        match &self.inner.source {
            Source::System => time::uptime(),
            Source::Simulated { start, .. } => start.elapsed().as_secs_f64(),
        }
    }

    /// Holds this thread up for less than tokio's timers can tell. A simulated clock does not stand still for it.
    pub fn hold(&self, span: Duration) {
        if matches!(self.inner.source, Source::System) {
            std::thread::sleep(span);
        }
    }

    /// Of a simulated clock: somebody sets the wall clock.
    pub fn step(&self, by: Millis) {
        if let Source::Simulated { wall_at_start, .. } = &self.inner.source {
            wall_at_start.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Of a simulated clock: the kernel says whether it is synchronised.
    pub fn sync(&self, is_synced: bool) {
        if let Source::Simulated { synced, .. } = &self.inner.source {
            synced.store(is_synced, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_goes_with_tokios_time_and_only_the_wall_is_stepped() {
        let clock = Clock::simulated(WRITTEN, false);
        let (wall, steady) = (clock.now(), clock.steady());
        tokio::time::advance(Duration::from_secs(24 * 3600)).await;
        clock.clone().step(-3_600_000);
        assert_eq!(clock.now() - wall, 23 * 3_600_000);
        assert_eq!((clock.steady() - steady).as_secs(), 24 * 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_believed_when_synchronised_and_not_behind_what_is_past() {
        let clock = Clock::simulated(0, true);
        assert!(!clock.is_believed(), "1970");
        clock.step(WRITTEN);
        assert!(clock.is_believed());
        clock.not_before(WRITTEN + 1000);
        assert!(!clock.is_believed(), "before the journal's last trace");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(clock.is_believed());
        clock.sync(false);
        assert!(!clock.is_believed());
    }

    #[test]
    fn the_machines_clock_is_not_set_by_a_test() {
        let clock = Clock::system();
        clock.step(1_000_000_000);
        assert!((clock.now() - time::now()).abs() < 60_000);
    }
}
