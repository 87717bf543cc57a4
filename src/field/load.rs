//! How busy a wire is, and whether it can keep up with what is due on it. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// By turn of the schedule.
#[derive(Debug)]
pub struct Load {
    turns: Vec<Turn>,
    /// The latest anyone was asked since the last look.
    lag: Duration,
    looked: Instant,
    /// Looks in a row that showed the other of keeping up and being behind than what was told.
    changed: u32,
    told: Option<Told>,
}

#[derive(Debug, Clone)]
struct Turn {
    every: Duration,
    /// What it takes, and how far apart it is asked; smoothed.
    takes: Duration,
    apart: Duration,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Told {
    at: Instant,
    behind: bool,
}

/// What a look shows.
#[derive(Debug, PartialEq)]
pub struct Seen {
    /// To ask everything once.
    pub cycle: Duration,
    /// The latest anyone was asked since the last look.
    pub lag: Duration,
    /// To be told to people, since it has changed.
    pub news: Option<News>,
}

#[derive(Debug, PartialEq)]
pub enum News {
    /// What is due within `within` takes `takes`; these turns suffer, and how far apart they are asked.
    Behind {
        within: Duration,
        takes: Duration,
        late: Vec<(usize, Duration)>,
    },
    KeepsUp,
}

/// Between two looks; long enough that one failed try among many questions is no sign.
const LOOK: Duration = Duration::from_secs(10);
/// So many looks in a row, and it is no chance.
const LOOKS: u32 = 3;
/// Nothing new is told sooner than this after the last, and the same not sooner than that.
const NEWS_APART: Duration = Duration::from_secs(600);
const SAME_APART: Duration = Duration::from_secs(3600);

impl Load {
    pub fn new(periods: impl IntoIterator<Item = Duration>, now: Instant) -> Self {
        let turn = |every| Turn { every, takes: Duration::ZERO, apart: every, last: None };
        let turns = periods.into_iter().map(turn).collect();
        Self { turns, lag: Duration::ZERO, looked: now, changed: 0, told: None }
    }

    /// A turn that was due at `due` was asked from `began` to `ended`.
    pub fn asked(&mut self, turn: usize, due: Instant, began: Instant, ended: Instant) {
        self.lag = self.lag.max(began.saturating_duration_since(due));
        let turn = &mut self.turns[turn];
        turn.takes = smooth(turn.takes, ended - began);
        if let Some(last) = turn.last.replace(began) {
            turn.apart = smooth(turn.apart, began - last);
        }
    }

    /// It did not answer: its tries are rare, and it is nobody's fault that it is not read.
    pub fn gone(&mut self, turn: usize) {
        let turn = &mut self.turns[turn];
        (turn.takes, turn.apart, turn.last) = (Duration::ZERO, turn.every, None);
    }

    /// Every 10 s.
    pub fn look(&mut self, now: Instant) -> Option<Seen> {
        if now < self.looked + LOOK {
            return None;
        }
        self.looked = now;
        let cycle = self.turns.iter().map(|turn| turn.takes).sum();
        Some(Seen { cycle, lag: std::mem::take(&mut self.lag), news: self.news(now) })
    }

    fn news(&mut self, now: Instant) -> Option<News> {
        let share: f64 = self.turns.iter().map(|t| t.takes.as_secs_f64() / t.every.as_secs_f64()).sum();
        let late = self.late();
        let was = self.told.as_ref().is_some_and(|told| told.behind);
        let behind = if was { share > 0.95 } else { share > 1.02 && !late.is_empty() };
        self.changed = if behind == was { 0 } else { self.changed + 1 };
        let apart = match behind == was {
            false if self.changed < LOOKS => return None,
            false => NEWS_APART,
            true if behind => SAME_APART,
            true => return None,
        };
        if self.told.as_ref().is_some_and(|told| now < told.at + apart) {
            return None;
        }
        self.told = Some(Told { at: now, behind });
        let within = self.turns.iter().map(|turn| turn.every).min().unwrap_or_default();
        Some(match behind {
            true => News::Behind { within, takes: within.mul_f64(share), late },
            false => News::KeepsUp,
        })
    }

    /// Who is read clearly more rarely than asked for, the worst first.
    fn late(&self) -> Vec<(usize, Duration)> {
        let late = |turn: &Turn| turn.apart > turn.every * 115 / 100;
        let turns = self.turns.iter().enumerate();
        let mut late: Vec<_> = turns.filter(|(_, t)| late(t)).map(|(i, t)| (i, t.apart)).collect();
        late.sort_by_key(|&(_, apart)| std::cmp::Reverse(apart));
        late
    }
}

/// Moves a quarter of the way.
fn smooth(mean: Duration, one: Duration) -> Duration {
    if mean.is_zero() { one } else { (mean * 3 + one) / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// So many turns of 1 s, one after the other, each taking `takes`, for so many seconds; what was told.
    fn run(load: &mut Load, from: Instant, count: usize, takes: Duration, seconds: u32) -> Vec<News> {
        let (mut now, mut news) = (from, Vec::new());
        let mut due = vec![from; count];
        while now < from + SECOND * seconds {
            for (turn, due) in due.iter_mut().enumerate() {
                now = now.max(*due);
                load.asked(turn, *due, now, now + takes);
                now += takes;
                *due = (*due + SECOND).max(now - SECOND);
            }
            news.extend(load.look(now).and_then(|seen| seen.news));
        }
        news
    }

    #[test]
    fn a_line_that_cannot_keep_up_says_by_how_much_and_who_suffers_once() {
        let start = Instant::now();
        let mut load = Load::new([SECOND; 10], start);
        assert_eq!(run(&mut load, start, 10, SECOND / 20, 60), [], "half busy");
        let news = run(&mut load, start + SECOND * 60, 10, SECOND * 143 / 1000, 1200);
        let [News::Behind { within, takes, late }] = &news[..] else { panic!("{news:?}") };
        assert_eq!((*within, late.len()), (SECOND, 10));
        assert!(takes.abs_diff(SECOND * 143 / 100) < SECOND / 20, "{takes:?}");
        assert!(late.iter().all(|(_, apart)| *apart > SECOND * 12 / 10), "{late:?}");
        let news = run(&mut load, start + SECOND * 1300, 10, SECOND / 20, 1200);
        assert_eq!(news, [News::KeepsUp]);
    }

    #[test]
    fn a_look_shows_the_cycle_and_the_worst_lateness_since_the_last() {
        let start = Instant::now();
        let mut load = Load::new([SECOND; 2], start);
        load.asked(0, start, start + SECOND / 4, start + SECOND / 2);
        load.asked(1, start, start + SECOND / 2, start + SECOND);
        assert_eq!(load.look(start + SECOND), None);
        let seen = load.look(start + SECOND * 10).unwrap();
        assert_eq!((seen.cycle, seen.lag), (SECOND * 3 / 4, SECOND / 2));
        assert_eq!(load.look(start + SECOND * 20).unwrap().lag, Duration::ZERO);
        load.gone(1);
        assert_eq!(load.look(start + SECOND * 30).unwrap().cycle, SECOND / 4);
    }
}
