//! Who is asked next on a wire, and whether a device is there. Pure: time is an argument.
//!
//! - A device's questions of one period are a *turn*: asked one after the other and handed on as one, since readings of
//!   one instant belong together. Turns of one period fall due at one instant and are asked in one burst: to sleep once
//!   costs a small machine less than to sleep between any two of them.
//! - Who is due longest is asked next; of those due at the same instant, the one after whom was asked last. A turn that
//!   was missed entirely is skipped, so nobody is ever due more than one period back: on a line that cannot keep up each
//!   waits about as long as the others, a fast one does not shut out a slow one, and a device with many questions gets
//!   one turn like everybody, which takes longer.
//! - A turn that fails once may be chance: the next try is on time. From the second in a row a device is asked ever more
//!   rarely, up to [`PAUSE_MOST`] from try to try, which with some lateness is once a minute. A try is one question, and
//!   each time another one of the device, so that one that it does not answer does not stand for all.
//! - From the third in a row it is taken to be gone, and a pause is at least [`SHARE`] times what its tries and those of
//!   all others who are gone take together: they cost the others 4 % of the line. Where the longest pause is too short for
//!   that, the time to answer is shortened instead. It is never shortened below [`TRY_LEAST`], nor below twice what this
//!   device needed when it was there. So the bound is: `n` devices that are gone take `max(4 %, n × t / 55 s)` of the
//!   line, `t` being 200 ms, or twice the device's own time; beyond eleven devices of 200 ms it is more than 4 %.
//! - A question that a device does not answer while it answers others is put off in the same way by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// So many failed turns in a row, and the device is offline.
pub const FAILURES_OFFLINE: u32 = 3;
/// So many, and it is asked more rarely.
pub const FAILURES_DEGRADED: u32 = 2;
/// From one try to the next.
const PAUSE_MOST: Duration = Duration::from_secs(55);
/// A pause is so many times what the tries take.
const SHARE: u32 = 25;
/// No quicker than this is a device given up on.
const TRY_LEAST: Duration = Duration::from_millis(200);
/// A device that is asked rarely is left alone by that.
const ALONE_MOST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Schedule {
    turns: Vec<Turn>,
    units: Vec<Unit>,
    /// Asked last.
    last: usize,
    asked: u64,
}

/// Some questions of one device, of one period.
#[derive(Debug)]
struct Turn {
    unit: usize,
    every: Duration,
    /// When it is, or was, to be asked; moves by whole periods only, so that nothing drifts.
    due: Instant,
    questions: Vec<Question>,
    /// Which question it begins with: the one after the last that failed, so that none is shut out by another.
    first: usize,
    /// The how-manieth to be asked it was.
    asked: u64,
}

#[derive(Debug, Clone)]
struct Question {
    /// Times in a row that it got no answer.
    misses: u32,
    /// Times in a row that the device said that it cannot.
    refusals: u32,
    again: Again,
}

#[derive(Debug)]
struct Unit {
    turns: Vec<usize>,
    /// Failed turns in a row.
    failures: u32,
    again: Again,
    /// In doubt: not asked before.
    alone: Option<Instant>,
    /// What its slowest answer took.
    slowest: Duration,
}

/// What is asked ever more rarely.
#[derive(Debug, Clone)]
struct Again {
    backoff: Backoff,
    /// Not before.
    at: Option<Instant>,
}

/// How a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Well,
    /// It answers, but some questions not, or with an exception, and not for the first time.
    Partly,
    /// So many of its turns in a row failed.
    Silent(u32),
}

impl Schedule {
    /// All are due at `start`. By device: period and number of questions of each of its turns. Turns are numbered in this
    /// order.
    pub fn new(devices: impl IntoIterator<Item = Vec<(Duration, usize)>>, start: Instant) -> Self {
        let (mut turns, mut units) = (Vec::new(), Vec::new());
        for (unit, rounds) in devices.into_iter().enumerate() {
            let first = turns.len();
            turns.extend(rounds.iter().map(|&(every, questions)| Turn::new(unit, every, questions, start)));
            let shortest = rounds.iter().map(|r| r.0).min().unwrap_or_default();
            units.push(Unit {
                turns: (first..turns.len()).filter(|i| !turns[*i].questions.is_empty()).collect(),
                failures: 0,
                again: Again::new(shortest),
                alone: None,
                slowest: Duration::ZERO,
            });
        }
        Self { last: turns.len().saturating_sub(1), turns, units, asked: 0 }
    }

    // --- who ---

    /// The turn to be asked next, and when.
    pub fn next(&self) -> Option<(usize, Instant)> {
        let turns = self.units.iter().flat_map(|unit| self.turns_of(unit));
        let count = self.turns.len();
        let after_last = |turn: usize| (turn + count - self.last - 1) % count;
        turns.min_by_key(|&(turn, at)| (at, after_last(turn)))
    }

    /// What a device may be asked, and when. One that fails is tried with the turn that has failed least, of these with
    /// the one not asked for longest.
    fn turns_of<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = (usize, Instant)> + 'a {
        let tried =
            (unit.failures > 0).then(|| unit.turns.iter().copied().min_by_key(|&i| self.turns[i].worth()));
        unit.turns.iter().filter(move |i| tried.is_none_or(|tried| tried == Some(**i))).map(move |&i| {
            let due = match unit.failures {
                0 => self.turns[i].due(),
                1 => unit.turns.iter().map(|&i| self.turns[i].due).min().unwrap_or(self.turns[i].due),
                _ => unit.again.at.unwrap_or(self.turns[i].due),
            };
            let not_before = [unit.again.at, unit.alone].into_iter().flatten().max();
            (i, not_before.map_or(due, |at| at.max(due)))
        })
    }

    /// The questions of this turn that are to be asked at `now`, in this order.
    pub fn begin(&mut self, turn: usize, now: Instant) -> Vec<usize> {
        self.asked += 1;
        (self.turns[turn].asked, self.last) = (self.asked, turn);
        let Turn { questions, first, unit, .. } = &self.turns[turn];
        let fails = self.units[*unit].failures > 0;
        let order = (0..questions.len()).map(|n| (first + n) % questions.len());
        order.filter(|&nth| fails || questions[nth].again.at.is_none_or(|at| at <= now)).collect()
    }

    /// How long a try may take where that is less than what the wire gives.
    pub fn patience(&self, turn: usize, nth: usize) -> Option<Duration> {
        let Turn { unit, questions, .. } = &self.turns[turn];
        let unit = &self.units[*unit];
        let gone = unit.failures >= FAILURES_OFFLINE || questions[nth].misses >= FAILURES_OFFLINE;
        gone.then(|| (PAUSE_MOST / (SHARE * self.gone())).max(TRY_LEAST).max(unit.slowest * 2))
    }

    /// How many, devices and single questions, are asked for nothing.
    fn gone(&self) -> u32 {
        let by_turn = self.turns.iter().map(|turn| {
            let put_off = turn.questions.iter().filter(|q| q.misses >= FAILURES_OFFLINE).count() as u32;
            if self.units[turn.unit].failures == 0 { put_off } else { 0 }
        });
        let units = self.units.iter().filter(|u| u.failures >= FAILURES_OFFLINE).count() as u32;
        (units + by_turn.sum::<u32>()).max(1)
    }

    // --- what came of it ---

    /// The question was answered, within `took`.
    pub fn answered(&mut self, turn: usize, nth: usize, took: Duration) {
        let question = &mut self.turns[turn].questions[nth];
        (question.misses, question.refusals) = (0, 0);
        question.again.clear();
        self.is_there(turn, took);
    }

    /// The device said that it cannot.
    pub fn refused(&mut self, turn: usize, nth: usize, took: Duration) {
        let question = &mut self.turns[turn].questions[nth];
        question.misses = 0;
        question.refusals = question.refusals.saturating_add(1);
        question.again.clear();
        self.is_there(turn, took);
    }

    fn is_there(&mut self, turn: usize, took: Duration) {
        let unit = &mut self.units[self.turns[turn].unit];
        unit.slowest = unit.slowest.max(took);
        if unit.failures >= FAILURES_OFFLINE {
            for turn in unit.turns.clone() {
                self.turns[turn].questions.iter_mut().for_each(Question::another_chance);
            }
        }
        let unit = &mut self.units[self.turns[turn].unit];
        unit.failures = 0;
        unit.again.clear();
    }

    /// The question got no answer from `began` to `now`.
    pub fn missed(&mut self, turn: usize, nth: usize, began: Instant, now: Instant) {
        let gone = self.gone();
        let Turn { questions, first, .. } = &mut self.turns[turn];
        *first = (nth + 1) % questions.len();
        let question = &mut questions[nth];
        question.misses = question.misses.saturating_add(1);
        if question.misses >= FAILURES_DEGRADED {
            let share = if question.misses >= FAILURES_OFFLINE { SHARE * gone } else { 0 };
            question.again.later(began, now, share);
        }
    }

    /// The turn is over, and something was answered: asked again a period after it was due.
    pub fn done(&mut self, turn: usize, now: Instant) {
        self.turns[turn].advance(now);
    }

    /// The turn is over, and nothing was answered.
    pub fn failed(&mut self, turn: usize, began: Instant, now: Instant) {
        let gone = self.gone();
        let unit = &mut self.units[self.turns[turn].unit];
        unit.failures = unit.failures.saturating_add(1);
        unit.alone = None;
        match unit.failures {
            1 if self.turns[turn].every > PAUSE_MOST => unit.again.at = Some(now + PAUSE_MOST),
            1 => self.turns[turn].advance(now),
            2 => unit.again.later(began, now, 0),
            _ => unit.again.later(began, now, SHARE * gone),
        }
    }

    /// The device is alive, but older answers of it may be under way: not asked before `until`, nor for most of two of this
    /// turn. The third poll after a fault is the one that has to be right, so what it can wait, it waits.
    pub fn leave_alone(&mut self, turn: usize, now: Instant, until: Instant) {
        let Turn { unit, every, .. } = self.turns[turn];
        self.units[unit].alone = Some(until.max(now + (every * 17 / 10).min(ALONE_MOST)));
    }

    pub fn state(&self, unit: usize) -> State {
        let unit = &self.units[unit];
        let troubled = |q: &Question| q.misses >= FAILURES_DEGRADED || q.refusals >= FAILURES_DEGRADED;
        match unit.failures {
            0 if unit.turns.iter().any(|&i| self.turns[i].questions.iter().any(troubled)) => State::Partly,
            0 => State::Well,
            failures => State::Silent(failures),
        }
    }
}

impl Turn {
    fn new(unit: usize, every: Duration, questions: usize, start: Instant) -> Self {
        let every = every.max(Duration::from_millis(1));
        let question = Question { misses: 0, refusals: 0, again: Again::new(every) };
        Self { unit, every, due: start, questions: vec![question; questions], first: 0, asked: 0 }
    }

    /// Not before one of its questions may be asked.
    fn due(&self) -> Instant {
        let soonest = self.questions.iter().map(|q| q.again.at).min().flatten();
        soonest.map_or(self.due, |at| at.max(self.due))
    }

    /// The less, the better is it tried.
    fn worth(&self) -> (u32, u64) {
        (self.questions.iter().map(|q| q.misses).min().unwrap_or(u32::MAX), self.asked)
    }

    /// Turns that were missed entirely are skipped. One that was asked before it was due still is.
    fn advance(&mut self, now: Instant) {
        if self.due > now {
            return;
        }
        self.due += self.every;
        let missed = now.saturating_duration_since(self.due).as_nanos() / self.every.as_nanos();
        self.due += self.every * u32::try_from(missed).unwrap_or(0);
        if now.saturating_duration_since(self.due) > self.every {
            self.due = now;
        }
    }
}

impl Question {
    /// The device was gone; what it did not answer then says little.
    fn another_chance(&mut self) {
        self.misses = self.misses.min(1);
        self.again.clear();
    }
}

impl Again {
    fn new(every: Duration) -> Self {
        Self { backoff: Backoff::new((every * 2).min(PAUSE_MOST), PAUSE_MOST), at: None }
    }

    fn clear(&mut self) {
        self.backoff.reset();
        self.at = None;
    }

    /// After one more try in vain: from its beginning, `share` times what it took at least.
    fn later(&mut self, began: Instant, now: Instant, share: u32) {
        let pause = self.backoff.pause().max((now - began) * share).min(PAUSE_MOST);
        self.at = Some((began + pause).max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    /// A line in simulated time: how long each device takes to answer a question, or `None` where it is dead.
    struct Line {
        schedule: Schedule,
        start: Instant,
        now: Instant,
        takes: Vec<Option<Duration>>,
        timeout: Duration,
        /// Begin and end of every question, with its device, turn and place.
        asked: Vec<(Duration, Duration, usize, usize, usize)>,
    }

    impl Line {
        fn new(devices: &[Vec<(Duration, usize)>], takes: &[Option<Duration>], timeout: Duration) -> Self {
            let start = Instant::now();
            let schedule = Schedule::new(devices.iter().cloned(), start);
            Self { schedule, start, now: start, takes: takes.to_vec(), timeout, asked: Vec::new() }
        }

        /// Questions that `mute` names are not answered.
        fn run(&mut self, span: Duration, mute: impl Fn(usize, usize) -> bool) {
            let end = self.now + span;
            while let Some((turn, at)) = self.schedule.next().filter(|(_, at)| *at < end) {
                self.now = self.now.max(at);
                let (began, unit) = (self.now, self.schedule.turns[turn].unit);
                let (mut answers, mut failed) = (0, false);
                for nth in self.schedule.begin(turn, self.now) {
                    let asked = self.now;
                    let takes = self.takes[unit].filter(|_| !mute(turn, nth));
                    let most = self.schedule.patience(turn, nth).unwrap_or(self.timeout).min(self.timeout);
                    self.now += takes.unwrap_or(most).min(most);
                    self.asked.push((asked - self.start, self.now - self.start, unit, turn, nth));
                    if takes.is_none_or(|takes| takes > most) {
                        self.schedule.missed(turn, nth, asked, self.now);
                        failed = true;
                        break;
                    }
                    answers += 1;
                    self.schedule.answered(turn, nth, self.now - asked);
                }
                if failed && answers == 0 {
                    self.schedule.failed(turn, began, self.now);
                } else {
                    self.schedule.done(turn, self.now);
                }
            }
            self.now = end;
        }

        fn times(&self, unit: usize, from: Duration) -> Vec<Duration> {
            let of = self.asked.iter().filter(|a| a.2 == unit && a.0 >= from);
            of.map(|a| a.0).collect()
        }
    }

    fn pauses(times: &[Duration]) -> Vec<Duration> {
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn turns_do_not_drift_and_are_asked_in_one_burst() {
        let mut line = Line::new(&vec![vec![(SECOND, 1)]; 3], &[Some(MILLI * 10); 3], SECOND);
        line.run(SECOND * 5 / 2, |_, _| false);
        let begun: Vec<_> = line.asked.iter().map(|a| (a.0.as_millis(), a.2)).collect();
        let burst = |at: u128| [(at, 0), (at + 10, 1), (at + 20, 2)];
        assert_eq!(begun, [burst(0), burst(1000), burst(2000)].concat());
    }

    #[test]
    fn questions_have_periods_of_their_own() {
        let device = vec![(SECOND, 2), (SECOND * 10, 3)];
        let mut line = Line::new(&[device], &[Some(MILLI * 10)], SECOND);
        line.run(SECOND * 100, |_, _| false);
        let of = |turn| line.asked.iter().filter(|a| a.3 == turn).count();
        assert_eq!((of(0), of(1)), (200, 30));
    }

    #[test]
    fn on_a_line_that_cannot_keep_up_all_wait_alike_and_nobody_starves() {
        // Eleven devices of 1 s, the first with many questions, and one of 10 s: 1.6 s of work in each second.
        let mut devices = vec![vec![(SECOND, 1)]; 12];
        (devices[0], devices[11]) = (vec![(SECOND, 5)], vec![(SECOND * 10, 1)]);
        let mut line = Line::new(&devices, &[Some(MILLI * 110); 12], SECOND);
        line.run(SECOND * 600, |_, _| false);
        let worst = |unit| pauses(&line.times(unit, SECOND * 20)).into_iter().max().unwrap();
        for unit in 1..11 {
            assert!(worst(unit) < SECOND * 2, "{unit}: {:?}", worst(unit));
        }
        assert!(worst(11) < SECOND * 13, "{:?}", worst(11));
        let asked: Vec<usize> = (1..11).map(|unit| line.times(unit, SECOND * 20).len()).collect();
        assert!(asked.iter().max().unwrap() - asked.iter().min().unwrap() <= 1, "{asked:?}");
        assert_eq!(line.times(0, SECOND * 20).len() / 5, asked[0], "one turn like everybody");
    }

    #[test]
    fn a_silent_device_is_asked_ever_more_rarely_but_once_a_minute_at_least() {
        for timeout in [50, 150, 500, 1000, 3000, 5000].map(Duration::from_millis) {
            for every in [SECOND / 10, SECOND, SECOND * 30, SECOND * 3600] {
                let mut line = Line::new(&[vec![(every, 1)]], &[None], timeout);
                line.run(SECOND * 3600, |_, _| false);
                let tries = pauses(&line.times(0, Duration::ZERO));
                assert!(tries.iter().all(|p| *p <= SECOND * 60), "{timeout:?} {every:?}: {tries:?}");
                assert!(tries.len() < 100 && tries[tries.len() - 1] > SECOND * 40, "{tries:?}");
            }
        }
    }

    /// What devices that are gone leave the others of the line, in the steady state.
    fn left(dead: usize, timeout: Duration) -> f64 {
        let takes: Vec<_> = (0..dead + 4).map(|i| (i >= dead).then_some(MILLI * 100)).collect();
        let mut line = Line::new(&vec![vec![(MILLI, 1)]; dead + 4], &takes, timeout);
        line.run(SECOND * 1800, |_, _| false);
        for unit in 0..dead {
            let tries = pauses(&line.times(unit, SECOND * 300));
            assert!(tries.iter().all(|p| *p <= SECOND * 60), "{dead} of {timeout:?}: {tries:?}");
        }
        let steady = line.asked.iter().filter(|a| a.2 >= dead && a.0 >= SECOND * 600);
        steady.map(|a| (a.1 - a.0).as_secs_f64()).sum::<f64>() / 1200.0
    }

    #[test]
    fn dead_devices_cost_the_others_a_twentieth_at_the_most_whatever_the_timeout() {
        for timeout in [120, 250, 500, 2000, 5000, 10_000].map(Duration::from_millis) {
            for dead in [1, 2, 4, 8, 11] {
                let left = left(dead, timeout);
                assert!(left >= 0.95, "{dead} dead, {timeout:?}: {left}");
            }
        }
        assert!(left(32, SECOND) >= 1.0 - 32.0 * 0.2 / 55.0 - 0.01, "the bound that is stated");
    }

    #[test]
    fn a_slow_device_that_was_gone_is_given_the_time_it_needs() {
        let mut line = Line::new(&[vec![(SECOND, 1)]], &[Some(SECOND * 4)], SECOND * 5);
        line.run(SECOND * 20, |_, _| false);
        line.takes[0] = None;
        line.run(SECOND * 1800, |_, _| false);
        assert!(matches!(line.schedule.state(0), State::Silent(FAILURES_OFFLINE..)));
        line.takes[0] = Some(SECOND * 4);
        line.run(SECOND * 70, |_, _| false);
        assert_eq!(line.schedule.state(0), State::Well);
    }

    #[test]
    fn a_question_that_alone_is_not_answered_is_put_off_and_the_others_go_on() {
        let devices = [vec![(SECOND, 3), (SECOND * 10, 1)]];
        let mut line = Line::new(&devices, &[Some(MILLI * 20)], SECOND / 2);
        line.run(SECOND * 1200, |turn, nth| (turn, nth) == (0, 1));
        assert_eq!(line.schedule.state(0), State::Partly);
        let steady = |what: (usize, usize)| {
            line.asked.iter().filter(|a| (a.3, a.4) == what && a.0 >= SECOND * 600).count()
        };
        assert!((9..15).contains(&steady((0, 1))), "{}", steady((0, 1)));
        assert!(steady((0, 0)) >= 590 && steady((0, 2)) >= 590 && steady((1, 0)) == 60);
        line.run(SECOND * 70, |_, _| false);
        assert_eq!(line.schedule.state(0), State::Well);
    }

    #[test]
    fn a_whole_turn_that_is_not_answered_does_not_make_the_device_gone() {
        let devices = [vec![(SECOND, 1), (SECOND * 60, 1)]];
        let mut line = Line::new(&devices, &[Some(MILLI * 20)], SECOND / 2);
        let mut partly = 0;
        for _ in 0..60 {
            line.run(SECOND * 10, |turn, _| turn == 0);
            // Pauses are shortened at random: a look may fall just behind a try in vain.
            assert!(matches!(line.schedule.state(0), State::Partly | State::Silent(1) | State::Well));
            partly += usize::from(line.schedule.state(0) == State::Partly);
        }
        assert!(partly >= 30, "{partly} of 60 looks");
    }

    #[test]
    fn a_refusal_is_trouble_from_the_second_on_and_over_with_the_first_answer() {
        let start = Instant::now();
        let mut schedule = Schedule::new([vec![(SECOND, 2)]], start);
        let mut states = Vec::new();
        for refused in [true, true, true, false] {
            for nth in schedule.begin(0, start) {
                match refused && nth == 1 {
                    true => schedule.refused(0, nth, MILLI),
                    false => schedule.answered(0, nth, MILLI),
                }
            }
            schedule.done(0, start);
            states.push(schedule.state(0));
        }
        assert_eq!(states, [State::Well, State::Partly, State::Partly, State::Well]);
    }

    #[test]
    fn a_device_in_doubt_is_not_asked_before_its_time() {
        let start = Instant::now();
        let due = |every, until| {
            let mut schedule = Schedule::new([vec![(every, 1)]], start);
            schedule.begin(0, start);
            schedule.leave_alone(0, start, start + until);
            schedule.next().unwrap().1 - start
        };
        assert_eq!(due(SECOND, SECOND / 2), SECOND * 17 / 10);
        assert_eq!(due(SECOND, SECOND * 5 / 2), SECOND * 5 / 2);
        assert_eq!(due(SECOND * 3600, SECOND), SECOND * 10);
    }

    #[test]
    fn a_wire_without_questions_has_nobody_to_ask() {
        assert_eq!(Schedule::new([vec![], vec![(SECOND, 0)]], Instant::now()).next(), None);
    }
}
