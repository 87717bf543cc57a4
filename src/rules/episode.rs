//! One condition over one subject through time: waiting, pending (on-delay), active, clearing (off-delay). Pure.
//!
//! A delay runs on the condition's own time and ends at its own instant, between readings too. Bad readings stop its
//! clock; so does time switched off, since nobody saw what the value did.

use serde::{Deserialize, Serialize};

use super::condition::Verdict;
use crate::reading::{Millis, Quality};

/// A clock that can be stopped. `ran` is what it had run when it last stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Clock {
    ran: Millis,
    from: Option<Millis>,
}

impl Clock {
    pub fn started(at: Millis) -> Self {
        Self { ran: 0, from: Some(at) }
    }

    pub fn stop(&mut self, at: Millis) {
        if let Some(from) = self.from.take() {
            self.ran += (at - from).max(0);
        }
    }

    pub fn go_on(&mut self, at: Millis) {
        self.from.get_or_insert(at);
    }

    pub fn runs(&self) -> bool {
        self.from.is_some()
    }

    /// As it is saved: what has run is counted, and from `at` it goes on.
    pub fn rest(&mut self, at: Millis) {
        if self.runs() {
            self.stop(at);
            self.go_on(at);
        }
    }

    /// Saved at another instant than this, it stands: nothing is credited that nobody saw.
    pub fn wake(&mut self, now: Millis) {
        self.from = self.from.filter(|from| *from == now);
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub fn shift(&mut self, by: Millis) {
        self.from = self.from.map(|from| from + by);
    }

    /// What it has run by `at`.
    pub fn ran(&self, at: Millis) -> Millis {
        self.ran + self.from.map_or(0, |from| (at - from).max(0))
    }

    /// When it will have run `span`; `None` while it stands.
    pub fn ends(&self, span: Millis) -> Option<Millis> {
        self.from.map(|from| from + (span - self.ran).max(0))
    }
}

/// Where the condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    #[default]
    Idle,
    /// The condition holds since `since`, but not yet for the on-delay.
    Pending { since: Millis, clock: Clock },
    /// It has held for the on-delay and has not been gone for the off-delay.
    Active,
    /// The condition is gone, but not yet for the off-delay.
    Clearing { clock: Clock },
}

/// What an episode tells the ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// `since` is the crossing, `at` the end of the on-delay.
    Opened {
        since: Millis,
        at: Millis,
    },
    Cleared {
        at: Millis,
    },
}

/// The two delays of a rule.
#[derive(Debug, Clone, Copy)]
pub struct Delays {
    pub on: Millis,
    pub off: Millis,
}

impl Phase {
    /// When the running delay ends by itself; `None` where none runs.
    pub fn ends(&self, delays: Delays) -> Option<Millis> {
        match self {
            Phase::Pending { clock, .. } => clock.ends(delays.on),
            Phase::Clearing { clock } => clock.ends(delays.off),
            Phase::Idle | Phase::Active => None,
        }
    }

    /// Lets a delay that has ended by `now` end.
    pub fn advance(&mut self, now: Millis, delays: Delays) -> Option<Edge> {
        let at = self.ends(delays).filter(|at| *at <= now)?;
        match *self {
            Phase::Pending { since, .. } => {
                *self = Phase::Active;
                Some(Edge::Opened { since, at })
            }
            Phase::Clearing { .. } => {
                *self = Phase::Idle;
                Some(Edge::Cleared { at })
            }
            Phase::Idle | Phase::Active => None,
        }
    }

    /// Takes what a reading of `quality` says at `at`. Delays that end by then must have ended before
    /// ([`Phase::advance`]). An uncertain reading may open but never clears: where it says "gone" the clock stands.
    pub fn judge(&mut self, verdict: Verdict, quality: Quality, at: Millis, delays: Delays) -> Option<Edge> {
        let sure = quality == Quality::Good;
        match (&mut *self, verdict) {
            (Phase::Idle, Verdict::Holds) => {
                *self = Phase::Pending { since: at, clock: Clock::started(at) };
            }
            (Phase::Pending { .. }, Verdict::Gone) if sure => *self = Phase::Idle,
            (Phase::Pending { clock, .. }, Verdict::Gone) => clock.stop(at),
            (Phase::Pending { clock, .. }, _) => clock.go_on(at),
            (Phase::Active, Verdict::Gone) if sure => *self = Phase::Clearing { clock: Clock::started(at) },
            (Phase::Clearing { .. }, Verdict::Holds) => *self = Phase::Active,
            (Phase::Clearing { clock }, _) if sure => clock.go_on(at),
            (Phase::Clearing { clock }, _) => clock.stop(at),
            (Phase::Idle | Phase::Active, _) => {}
        }
        self.advance(at, delays)
    }

    /// In maintenance clocks stand; one that the condition would break off is broken off.
    pub fn hear_at_rest(&mut self, verdict: Option<Verdict>, quality: Quality) {
        match (&*self, verdict) {
            (Phase::Pending { .. }, Some(Verdict::Gone)) if quality == Quality::Good => *self = Phase::Idle,
            (Phase::Clearing { .. }, Some(Verdict::Holds)) => *self = Phase::Active,
            _ => {}
        }
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub fn shift(&mut self, by: Millis) {
        match self {
            Phase::Pending { since, clock } => {
                *since += by;
                clock.shift(by);
            }
            Phase::Clearing { clock } => clock.shift(by),
            Phase::Idle | Phase::Active => {}
        }
    }

    /// A bad reading, or time switched off from `at`: a running clock stands.
    pub fn pause(&mut self, at: Millis) {
        match self {
            Phase::Pending { clock, .. } | Phase::Clearing { clock } => clock.stop(at),
            Phase::Idle | Phase::Active => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAYS: Delays = Delays { on: 10, off: 30 };

    fn good(phase: &mut Phase, verdict: Verdict, at: Millis) -> Option<Edge> {
        phase.advance(at, DELAYS).or_else(|| phase.judge(verdict, Quality::Good, at, DELAYS))
    }

    #[test]
    fn a_delay_ends_at_its_own_instant_between_readings_too() {
        let mut phase = Phase::Idle;
        assert_eq!(good(&mut phase, Verdict::Holds, 100), None);
        assert_eq!(phase.advance(109, DELAYS), None);
        assert_eq!(phase.advance(500, DELAYS), Some(Edge::Opened { since: 100, at: 110 }));
        assert_eq!(good(&mut phase, Verdict::Gone, 600), None);
        assert_eq!(phase.advance(630, DELAYS), Some(Edge::Cleared { at: 630 }));
    }

    #[test]
    fn without_delays_the_edge_is_the_crossing() {
        let none = Delays { on: 0, off: 0 };
        let mut phase = Phase::Idle;
        let edge = phase.judge(Verdict::Holds, Quality::Good, 5, none);
        assert_eq!(edge, Some(Edge::Opened { since: 5, at: 5 }));
        assert_eq!(phase.judge(Verdict::Gone, Quality::Good, 6, none), Some(Edge::Cleared { at: 6 }));
    }

    #[test]
    fn a_bad_reading_stops_the_clock_and_clears_nothing() {
        let mut phase = Phase::Idle;
        good(&mut phase, Verdict::Holds, 100);
        phase.pause(104);
        assert_eq!(phase.advance(10_000, DELAYS), None);
        good(&mut phase, Verdict::Holds, 10_000);
        assert_eq!(phase.advance(10_006, DELAYS), Some(Edge::Opened { since: 100, at: 10_006 }));
        phase.pause(10_007);
        assert_eq!(phase, Phase::Active);
    }

    #[test]
    fn inside_the_deadband_a_pending_condition_goes_on() {
        let mut phase = Phase::Idle;
        good(&mut phase, Verdict::Holds, 100);
        assert_eq!(good(&mut phase, Verdict::Between, 110), Some(Edge::Opened { since: 100, at: 110 }));
        good(&mut phase, Verdict::Gone, 120);
        assert!(matches!(phase, Phase::Clearing { .. }));
        good(&mut phase, Verdict::Holds, 130);
        assert_eq!(phase, Phase::Active);
    }

    #[test]
    fn an_uncertain_reading_may_open_but_never_clears() {
        let mut phase = Phase::Idle;
        phase.judge(Verdict::Holds, Quality::Uncertain, 0, DELAYS);
        assert_eq!(phase.advance(10, DELAYS), Some(Edge::Opened { since: 0, at: 10 }));
        phase.judge(Verdict::Gone, Quality::Uncertain, 20, DELAYS);
        assert_eq!(phase, Phase::Active);
        phase.judge(Verdict::Gone, Quality::Good, 30, DELAYS);
        phase.judge(Verdict::Gone, Quality::Uncertain, 40, DELAYS);
        assert_eq!(phase.advance(10_000, DELAYS), None);
    }
}
