//! The clocks: a step of the wall clock and a standstill are seen before they do harm.

use serde_json::json;
use tokio::time::Instant;

use super::Corridor;
use crate::clock::Clock;
use crate::event::Draft;
use crate::reading::Millis;

/// The wall clock may differ so much from the time that has passed; more is a step.
const STEP: Millis = 1000;
/// A round that took longer than this stood still: what the wires brought meanwhile is late, and nobody saw the rest.
const STANDSTILL: Millis = 15_000;

/// When it last looked at the clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    wall: Millis,
    steady: Instant,
}

impl Seen {
    pub fn now(clock: &Clock) -> Self {
        Self { wall: clock.now(), steady: clock.steady() }
    }

    /// Somebody has touched the wall clock since.
    pub fn is_stepped(self, clock: &Clock) -> bool {
        let now = Self::now(clock);
        (now.wall - self.expected(now)).abs() > STEP
    }

    /// Where the wall clock would be now, had nobody touched it.
    fn expected(self, now: Self) -> Millis {
        self.wall + (now.steady - self.steady).as_millis() as Millis
    }
}

impl Corridor {
    /// Now; a stepped clock or a standstill is said to the rules first, so that it opens and ends nothing.
    pub(super) fn look_at_the_clocks(&mut self) -> Millis {
        let (before, now) = (self.seen, Seen::now(&self.intake.clock));
        self.seen = now;
        let expected = before.expected(now);
        let offset = now.wall - expected;
        if offset.abs() > STEP {
            tracing::warn!(offset_ms = offset, "the clock was stepped; delays stand until the next reading");
            let gateway = &self.intake.site.gateway;
            let data = json!({ "boot": self.intake.clock.boot(), "offset": offset as f64 / 1000.0 });
            let subject = format!("gateways/{gateway}");
            self.page.events.push(Draft::new("gateway.clock-stepped", subject, now.wall, &data));
            self.intake.engine.lost_time(expected, now.wall);
            self.cleaner.forget();
            self.day_is_cut(expected, now.wall);
            self.watch.stepped(offset);
            self.orders.desk.stepped(offset);
            self.words.clear();
            self.noted.fill(None);
        } else if expected - before.wall > STANDSTILL {
            self.intake.engine.lost_time(before.wall, now.wall);
            self.watch.lost_sight();
        }
        now.wall
    }
}
