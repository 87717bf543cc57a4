//! The clocks: a step of the wall clock and a standstill are seen before anything is taken in, so that they open, end and
//! lose nothing.
//!
//! **A step.** What was due by the clock as it was comes first and is told so; then `gateway.clock-stepped`, with the
//! boot and by how many seconds; then everything that is remembered moves along ([`crate::rules::Engine::stepped`]), and
//! the tickets concerned tell their corrected times, all of it in one transaction. What a wire read before and brings after
//! it is dated anew. The numbers of events go on: `time` may go back, the order never does.
//!
//! **When the clock is believed.** The kernel says that it is synchronised, and it does not lie before what the journal has
//! written last ([`Clock::not_before`]). That holds until the clock is stepped, since somebody has set it then, and for an
//! hour at the most: a journal that was written by a clock far ahead must not be right for ever. A clock that is stepped
//! more than [`STEPS_MAX`] times an hour is not believed until it has gone an hour without, and then tickets are corrected
//! once for all of it.
//!
//! **Marks.** An event is `synced` if the clock was believed when work on its page began; on a page that tells of a step, if
//! it was so before the step, too. What is found out on the way (a clock that has been set, and is synchronised with that)
//! counts from the next page on, so that nothing is marked synced that was dated by the clock as it was.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::Corridor;
use crate::clock::{Clock, WRITTEN};
use crate::command::Trust;
use crate::event::Draft;
use crate::reading::Millis;

/// The wall clock may differ so much from the time that has passed; more is a step.
const STEP: Millis = 1000;
/// A round that took longer than this stood still: what the wires brought meanwhile is late, and nobody saw the rest.
const STANDSTILL: Millis = 15_000;
/// What was read before a step arrives within this.
const LATE: Duration = Duration::from_secs(15);
/// More steps within [`CALM`] are no setting of a clock.
const STEPS_MAX: usize = 4;
/// So long without a step, and the clock may decide what is old.
const CALM: Duration = Duration::from_secs(3600);
/// An order is under way for no longer.
const UNDER_WAY: Millis = 60_000;
/// Stretches of this run between two steps that are kept in mind.
const STRETCHES_MAX: usize = 16;
/// The two clocks are read so close together, or again.
const APART: Duration = Duration::from_millis(50);

/// When it last looked at the clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    wall: Millis,
    steady: Instant,
}

/// What is known of them.
#[derive(Debug)]
pub(super) struct Clocks {
    pub seen: Seen,
    /// Since the start, or the last step.
    calm_since: Instant,
    /// The last ones, [`STEPS_MAX`] and one at the most.
    steps: VecDeque<Step>,
    started: Instant,
    /// Of this run, up to the last step.
    stretches: VecDeque<Stretch>,
    /// What the wall clock showed when this one began.
    stretch_began: Millis,
    /// What tickets have not been corrected by.
    owed: Millis,
    /// The clock shows a time that can be: what is read is kept in the history.
    pub possible: bool,
    /// It was believed, and nobody has set it since.
    known: bool,
    /// The last time of which it was known.
    known_at: Millis,
    /// The machine was switched off since the journal was written, and the clock has not been believed since.
    pub slept: bool,
}

/// Between two steps the wall clock showed these times, and has been moved so far since.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: Millis,
    to: Millis,
    moved: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    at: Instant,
    by: Millis,
}

impl Seen {
    /// Both at one moment: a machine that is busy must not look like a step.
    pub fn now(clock: &Clock) -> Self {
        for _ in 0..10 {
            let before = clock.steady();
            let wall = clock.now();
            let steady = clock.steady();
            if steady - before < APART {
                return Self { wall, steady };
            }
        }
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

impl Clocks {
    pub fn new(clock: &Clock) -> Self {
        let seen = Seen::now(clock);
        Self {
            seen,
            calm_since: clock.steady(),
            steps: VecDeque::new(),
            started: seen.steady,
            stretches: VecDeque::new(),
            stretch_began: Millis::MIN, // as of the runs before
            owed: 0,
            possible: clock.is_possible(),
            known: false,
            known_at: Millis::MIN,
            slept: false,
        }
    }

    /// How far an order's expiry can be judged by it, and what is past whatever it shows.
    pub fn trust(&self, clock: &Clock) -> (Trust, Millis) {
        let trust = match self.known {
            true => Trust::Sure,
            false if self.possible && !self.slept => Trust::Possible,
            false => Trust::Behind,
        };
        (trust, clock.past().max(self.known_at))
    }

    /// It has gone on for long enough to say what is old.
    pub fn are_calm(&self) -> bool {
        self.seen.steady - self.calm_since >= CALM
    }

    /// It has been stepped too often to be a clock.
    fn are_restless(&self) -> bool {
        self.steps.len() > STEPS_MAX
    }

    fn note(&mut self, step: Step) {
        self.steps.retain(|before| step.at - before.at < CALM);
        self.steps.push_back(step);
        if self.steps.len() > STEPS_MAX + 1 {
            self.steps.pop_front();
        }
        self.calm_since = step.at;
    }

    /// When something that was done at `at`, by the clock of then, was done by the clock of now, at the latest: a clock that is
    /// set must not make it older than it is. What lies ahead was done in an earlier run, before this one began.
    pub fn at_the_latest(&self, at: Millis) -> Millis {
        let within = |stretch: &&Stretch| (stretch.from..=stretch.to).contains(&at);
        let moved: Vec<Millis> = self.stretches.iter().filter(within).map(|s| at + s.moved).collect();
        // An order that was under way at the step was moved with it already.
        let recent = at >= self.stretch_began.saturating_sub(UNDER_WAY);
        let as_it_is = (moved.is_empty() || recent).then_some(at);
        let possible = moved.into_iter().chain(as_it_is).filter(|at| *at <= self.seen.wall);
        let ran = || (self.seen.steady - self.started).as_millis() as Millis;
        possible.max().unwrap_or_else(|| self.seen.wall - ran())
    }

    /// By how much older something may look than it is.
    pub fn moved_most(&self) -> Millis {
        self.stretches.iter().map(|stretch| stretch.moved).max().unwrap_or_default().max(0)
    }

    /// Somebody has set the wall clock, which would show `expected`, to `now`.
    fn end_stretch(&mut self, expected: Millis, now: Millis) {
        self.stretches.push_back(Stretch { from: self.stretch_began, to: expected, moved: 0 });
        self.stretches.iter_mut().for_each(|stretch| stretch.moved += now - expected);
        if self.stretches.len() > STRETCHES_MAX
            && let (Some(a), Some(b)) = (self.stretches.pop_front(), self.stretches.front_mut())
        {
            *b = Stretch { from: a.from.min(b.from), to: a.to.max(b.to), moved: a.moved.max(b.moved) };
        }
        self.stretch_began = now;
    }

    /// A time that a wire has brought: by the clock as it was before the last step, or as it is.
    pub fn dated(&self, at: Millis) -> Millis {
        let late = self.steps.back().filter(|step| self.seen.steady - step.at < LATE);
        let moved = late.map_or(at, |step| at.saturating_add(step.by));
        let off = |at: Millis| self.seen.wall.abs_diff(at);
        if off(moved) < off(at) { moved } else { at }
    }
}

impl Corridor {
    /// Before work on a page begins: whether the clock can be believed. What the kernel says is asked first: once it
    /// says yes, the clock has been set, and that is seen next.
    pub(super) fn believe(&mut self) {
        let clock = self.intake.clock.clone();
        let believed = clock.is_believed();
        let before = self.clocks.seen;
        let now = self.look_at_the_clocks();
        let is_set = (now - before.expected(self.clocks.seen)).abs() > STEP;
        if self.clocks.are_calm() {
            clock.not_before(WRITTEN);
            self.clocks.steps.clear();
            if self.clocks.owed != 0 {
                self.intake.engine.stepped(0, std::mem::take(&mut self.clocks.owed), now);
            }
        }
        self.synced = believed && !self.clocks.are_restless() && (self.synced || !is_set);
        if self.synced {
            (self.clocks.known, self.clocks.slept) = (true, false);
        }
        if self.clocks.known {
            self.clocks.known_at = now;
        }
        self.clocks.possible = clock.is_possible();
    }

    /// Now. A stepped clock or a standstill is said to the rules first.
    pub(super) fn look_at_the_clocks(&mut self) -> Millis {
        let (before, now) = (self.clocks.seen, Seen::now(&self.intake.clock));
        self.clocks.seen = now;
        let expected = before.expected(now);
        if expected - before.wall > STANDSTILL {
            self.intake.engine.lost_time(before.wall, expected);
            self.watch.lost_sight();
        }
        let offset = now.wall - expected;
        if offset.abs() > STEP {
            self.step(Step { at: now.steady, by: offset }, expected, now.wall);
        }
        now.wall
    }

    fn step(&mut self, step: Step, expected: Millis, now: Millis) {
        let offset = step.by;
        tracing::warn!(
            offset_ms = offset,
            "the clock was stepped; what runs goes on by the time that has passed"
        );
        self.pass_time(expected);
        let data = json!({ "boot": self.intake.clock.boot(), "offset": offset as f64 / 1000.0 });
        let subject = format!("gateways/{}", self.intake.site.gateway);
        self.page.events.push(Draft::new("gateway.clock-stepped", subject, now, &data));
        self.clocks.note(step);
        self.clocks.end_stretch(expected, now);
        self.clocks.known = false;
        self.intake.clock.not_before(WRITTEN);
        self.clocks.possible = self.intake.clock.is_possible();
        let correction = if self.clocks.are_restless() { 0 } else { offset };
        self.clocks.owed += offset - correction;
        self.intake.engine.stepped(offset, correction, now);
        self.cleaner.forget();
        self.day_is_cut(expected, now);
        self.period_is_cut(expected, now);
        self.watch.stepped(offset);
        self.orders.desk.stepped(offset);
        self.words.clear();
        self.noted.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    /// An hour passes, and then somebody sets the clock.
    async fn set(clocks: &mut Clocks, clock: &Clock, by: Millis) {
        tokio::time::advance(CALM).await;
        let before = clocks.seen;
        clock.step(by);
        clocks.seen = Seen::now(clock);
        clocks.end_stretch(before.expected(clocks.seen), clocks.seen.wall);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_done_is_no_older_for_a_clock_that_is_set() {
        let clock = Clock::simulated(WRITTEN, false);
        let mut clocks = Clocks::new(&clock);
        let first = clock.now() + 10;
        assert_eq!(clocks.at_the_latest(first - HOUR), first - HOUR, "of an earlier run");
        set(&mut clocks, &clock, 2 * HOUR).await;
        assert_eq!((clocks.at_the_latest(first), clocks.moved_most()), (first + 2 * HOUR, 2 * HOUR));
        assert_eq!(clocks.at_the_latest(first - HOUR), first + HOUR, "of an earlier run by the same clock");
        let second = clock.now() + 10;
        set(&mut clocks, &clock, -3 * HOUR).await;
        assert_eq!(clocks.at_the_latest(second), second - 3 * HOUR);
        assert_eq!(clocks.at_the_latest(clock.now()), clock.now());
        for _ in 0..100 {
            set(&mut clocks, &clock, 10).await;
        }
        assert_eq!(clocks.stretches.len(), STRETCHES_MAX);
        assert!(clocks.at_the_latest(first) >= first - HOUR, "however often it is set");
    }

    #[tokio::test(start_paused = true)]
    async fn what_lies_ahead_was_done_before_the_start() {
        let clock = Clock::simulated(WRITTEN, false);
        let mut clocks = Clocks::new(&clock);
        tokio::time::advance(CALM).await;
        clocks.seen = Seen::now(&clock);
        assert_eq!(clocks.at_the_latest(WRITTEN + 24 * HOUR), WRITTEN);
    }
}
