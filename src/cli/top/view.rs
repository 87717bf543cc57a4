//! What `top` knows and where it stands: what was seen last, the latest events, which part is marked and how far it is scrolled.

use std::collections::VecDeque;

use super::keys::Key;
use super::seen::Seen;
use crate::cli::events::Event;
use crate::reading::Millis;

/// The latest; those before them are in the journal.
pub const EVENTS_MAX: usize = 200;
pub const PARTS: usize = 4;
/// A counter that has not changed for so long stands still.
const STILL: Millis = 60_000;
/// Over so long a rate is taken: the daemon brings its counters up to date every few seconds, and one looks every few seconds.
const RATED: Millis = 30_000;
/// Lines of a page, where one does not know how many are shown.
const PAGE: usize = 10;

#[derive(Default)]
pub struct View {
    pub seen: Option<Seen>,
    pub readings: Rate,
    /// Since when there is no answer, and why.
    pub trouble: Option<(Millis, String)>,
    pub events: VecDeque<Event>,
    /// Which part the keys scroll.
    pub marked: usize,
    /// How many lines of each part are above what is shown; of the events below it, since the latest stand there.
    pub scrolled: [usize; PARTS],
}

/// How fast a counter grows that is written now and then only: from one change to another.
#[derive(Debug, Default)]
pub struct Rate {
    /// When it was seen to change last, or to be there at all, and what it said.
    last: Option<(Millis, f64)>,
    /// The changes over which it is taken, the oldest first.
    changes: VecDeque<(Millis, f64)>,
    pub per_second: Option<f64>,
}

impl Rate {
    fn see(&mut self, at: Millis, total: f64) {
        match self.last {
            Some((since, before)) if total > before && at > since => self.change(at, total),
            Some((since, before)) if total == before && at >= since => {
                if at - since > STILL {
                    self.per_second = Some(0.0);
                    self.changes.clear();
                }
            }
            // A daemon that was started anew counts from nothing; a clock that was set back tells no time.
            _ => *self = Self { last: Some((at, total)), ..Self::default() },
        }
    }

    fn change(&mut self, at: Millis, total: f64) {
        self.last = Some((at, total));
        while self.changes.len() > 1 && self.changes.front().is_some_and(|(first, _)| at - first > RATED) {
            self.changes.pop_front();
        }
        // Of the first change nobody knows how long it took.
        let rate = |(first, before): &(Millis, f64)| (total - before) * 1000.0 / (at - first) as f64;
        self.per_second = self.changes.front().map(rate);
        self.changes.push_back((at, total));
    }
}

impl View {
    pub fn see(&mut self, seen: Seen) {
        self.readings.see(seen.at, seen.readings);
        self.seen = Some(seen);
        self.trouble = None;
    }

    pub fn miss(&mut self, now: Millis, why: String) {
        let since = self.trouble.take().map_or(now, |(since, _)| since);
        self.trouble = Some((since, why));
    }

    pub fn hear(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// `most`: how far each part can be scrolled. Whether it goes on.
    pub fn press(&mut self, key: Key, most: [usize; PARTS]) -> bool {
        let here = self.marked;
        // The events are turned round: the latest are where one begins.
        let is_turned = here == PARTS - 1;
        let at = self.scrolled[here];
        let (back, on) = match key {
            Key::End => return false,
            Key::Next => {
                self.marked = (here + 1) % PARTS;
                return true;
            }
            Key::Before => {
                self.marked = (here + PARTS - 1) % PARTS;
                return true;
            }
            Key::Up => (1, 0),
            Key::Down => (0, 1),
            Key::PageUp => (PAGE, 0),
            Key::PageDown => (0, PAGE),
            Key::First => (usize::MAX, 0),
            Key::Last => (0, usize::MAX),
        };
        let (back, on) = if is_turned { (on, back) } else { (back, on) };
        self.scrolled[here] = at.saturating_sub(back).saturating_add(on).min(most[here]);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_is_written_every_ten_seconds_has_a_steady_rate() {
        let mut rate = Rate::default();
        let told: Vec<Option<f64>> = (0..40)
            .map(|second| {
                rate.see(second * 1000, (second / 10 * 500) as f64);
                rate.per_second
            })
            .collect();
        assert_eq!((told[9], told[19], told[20], told[39]), (None, None, Some(50.0), Some(50.0)));
        rate.see(95_000, 1500.0);
        assert_eq!(rate.per_second, Some(0.0), "it stands still");
        rate.see(96_000, 3.0);
        assert_eq!(rate.per_second, None, "it was begun anew");
    }

    #[test]
    fn a_rate_is_steady_though_one_looks_at_other_times_than_the_counter_is_written() {
        let mut rate = Rate::default();
        for look in 0..300 {
            let at = look * 2000;
            rate.see(at, (at / 5000 * 500) as f64);
            if at > 40_000 {
                let told = rate.per_second.unwrap();
                assert!((93.0..=107.0).contains(&told), "{told} at {at}");
            }
        }
        assert!(rate.changes.len() < 20, "{}", rate.changes.len());
        rate.see(0, 1e9);
        assert_eq!(rate.per_second, None, "the clock was set back");
    }

    #[test]
    fn keys_scroll_the_marked_part_and_no_further_than_it_goes() {
        let mut view = View::default();
        let most = [0, 25, 3, 100];
        let mut press = |keys: &[Key]| {
            keys.iter().for_each(|key| assert!(view.press(*key, most)));
            (view.marked, view.scrolled)
        };
        assert_eq!(press(&[Key::Down]), (0, [0; 4]), "all of it is seen");
        assert_eq!(press(&[Key::Next, Key::Down, Key::Down, Key::Up]), (1, [0, 1, 0, 0]));
        assert_eq!(press(&[Key::PageDown, Key::PageDown, Key::PageDown]), (1, [0, 25, 0, 0]));
        assert_eq!(press(&[Key::First, Key::Next, Key::Last]), (2, [0, 0, 3, 0]));
        assert_eq!(
            press(&[Key::Next, Key::PageUp, Key::Down]),
            (3, [0, 0, 3, 9]),
            "events go up into the past"
        );
        assert_eq!(press(&[Key::Next, Key::Before, Key::Last]), (3, [0, 0, 3, 0]));
        assert!(!view.press(Key::End, most));
    }
}
