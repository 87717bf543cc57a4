//! `rises`, `falls`: the change within a window that moves along.
//!
//! The change is the present value less the lowest (`falls`: the highest less it) of those that held within the window. A
//! value holds until the next reading, so one that was read before the window's left edge counts until it ceased to hold.
//! Time alone makes a change smaller, never larger.
//!
//! Kept is what may still become the lowest: each value that is lower than all that came after it, and when it ceased to
//! hold. Of those that ceased within one [`PARTS`]th of the window the lowest one stands for all, so that a value is
//! forgotten that much early at the worst: a change may be told too small for that long, and is never invented.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::judge::{Judge, Judgement, Seen};
use crate::reading::{Millis, Quality, Value};

/// The window is kept in so many parts, with one value each at the most.
const PARTS: Millis = 4096;
/// Parts in what is saved, so that it stays below 4 KB.
const PARTS_SAVED: Millis = 96;

#[derive(Debug)]
pub struct Window {
    by: f64,
    within: Millis,
    deadband: f64,
    past: Past,
}

/// What the window holds, each value times `sign`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Past {
    /// -1 makes a fall a rise.
    sign: f64,
    /// When it ceased to hold, and the value; both go up from the oldest on.
    low: VecDeque<(Millis, f64)>,
    /// The value that holds, and whether a good reading says so. `None`: not known.
    now: Option<(f64, bool)>,
}

impl Window {
    pub fn rises(by: f64, within: Millis, deadband: f64) -> Self {
        Self { by, within, deadband, past: Past::new(1.0) }
    }

    pub fn falls(by: f64, within: Millis, deadband: f64) -> Self {
        Self { by, within, deadband, past: Past::new(-1.0) }
    }

    fn part(&self) -> Millis {
        (self.within / PARTS).max(1)
    }

    /// What the window says now; `None`: nothing is known.
    fn verdict(&self) -> Option<(Verdict, Quality)> {
        let (now, sure) = self.past.now?;
        let lowest = self.past.low.front().map_or(now, |(_, low)| low.min(now));
        let change = now - lowest;
        // Binary numbers miss by a hair what decimals add up to.
        let hair = (now.abs() + lowest.abs() + self.by) * 4.0 * f64::EPSILON;
        let verdict = if change >= self.by - hair {
            Verdict::Holds
        } else if change <= self.by - self.deadband + hair {
            Verdict::Gone
        } else {
            Verdict::Between
        };
        Some((verdict, if sure { Quality::Good } else { Quality::Uncertain }))
    }
}

impl Past {
    fn new(sign: f64) -> Self {
        Self { sign, low: VecDeque::new(), now: None }
    }

    /// What ceased to hold before the window's left edge is forgotten.
    fn forget(&mut self, edge: Millis) {
        while self.low.front().is_some_and(|(until, _)| *until <= edge) {
            self.low.pop_front();
        }
    }

    /// The value that held holds no longer.
    fn cease(&mut self, at: Millis, part: Millis) {
        let Some((value, _)) = self.now.take() else { return };
        if self.low.back().is_none_or(|(until, _)| at - until >= part) {
            self.low.push_back((at, value));
        }
    }

    fn take(&mut self, at: Millis, value: f64, sure: bool, part: Millis) {
        let value = value * self.sign;
        if self.now.is_none_or(|(held, _)| held != value) {
            self.cease(at, part);
            while self.low.back().is_some_and(|(_, low)| *low >= value) {
                self.low.pop_back();
            }
        }
        self.now = Some((value, sure));
    }
}

impl Judge for Window {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        let part = self.part();
        self.past.forget(seen.at - self.within);
        match seen.value.and_then(Value::number).filter(|value| value.is_finite()) {
            Some(value) => self.past.take(seen.at, value, seen.quality == Quality::Good, part),
            None => self.past.cease(seen.at, part),
        }
        self.verdict().map(|(verdict, _)| verdict)
    }

    /// When the lowest leaves. A change that is gone is not made smaller.
    fn due(&self) -> Option<Millis> {
        let (verdict, _) = self.verdict()?;
        let (until, _) = self.past.low.front()?;
        (verdict != Verdict::Gone).then_some(until + self.within)
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.past.forget(due - self.within);
        let (verdict, quality) = self.verdict()?;
        Some(Judgement { at: due, verdict: Some(verdict), quality })
    }

    fn shift(&mut self, by: Millis) {
        self.past.low.iter_mut().for_each(|(until, _)| *until += by);
    }

    /// What was read keeps its time, but nobody knows how long the last value held on. Where the clock was set back, the
    /// times mean nothing any more.
    fn lost(&mut self, from: Millis, to: Millis) {
        if to < from {
            self.past = Past::new(self.past.sign);
        } else if to > from {
            self.past.cease(from, self.part());
        }
    }

    fn save(&self) -> Option<Json> {
        let mut past = Past { now: self.past.now, ..Past::new(self.past.sign) };
        for (until, value) in &self.past.low {
            let far = |(last, _): &(Millis, f64)| until - last >= self.within / PARTS_SAVED;
            if self.past.low.len() <= PARTS_SAVED as usize || past.low.back().is_none_or(far) {
                past.low.push_back((*until, *value));
            }
        }
        (past.now.is_some() || !past.low.is_empty()).then(|| serde_json::to_value(past).ok()).flatten()
    }

    /// What was kept for `rises` says nothing to `falls`.
    fn take_up(&mut self, saved: &Json) {
        if let Some(past) = Past::deserialize(saved).ok().filter(|past| past.sign == self.past.sign) {
            self.past = past;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::PointId;

    const MINUTE: Millis = 60_000;

    fn see(window: &mut Window, at: Millis, value: f64) -> Option<Verdict> {
        let value = Value::Number(value);
        let quality = Quality::Good;
        window.see(&Seen { point: PointId(0), at, value: Some(&value), quality, momentary: false })
    }

    /// As it must be, from all that was read: `(from, value)` in order.
    fn plainly(read: &[(Millis, f64)], at: Millis, within: Millis) -> f64 {
        let ends = read.iter().skip(1).map(|(from, _)| *from).chain([Millis::MAX]);
        let held = read.iter().zip(ends).filter(|(_, until)| *until > at - within);
        let lowest = held.map(|((_, value), _)| *value).fold(f64::INFINITY, f64::min);
        read.last().map_or(0.0, |(_, now)| now - lowest)
    }

    #[test]
    fn the_change_is_what_all_readings_kept_would_say() {
        let mut window = Window::rises(30.0, 10 * MINUTE, 10.0);
        let (mut read, mut at, mut seed) = (Vec::new(), 0, 7_u64);
        let mut seen = [0; 3];
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += (seed >> 40) as Millis % (2 * MINUTE);
            let value = ((seed >> 33) % 60) as f64;
            read.push((at, value));
            let change = plainly(&read[read.len().saturating_sub(2000)..], at, 10 * MINUTE);
            let expected = match change {
                change if change >= 30.0 => Verdict::Holds,
                change if change <= 20.0 => Verdict::Gone,
                _ => Verdict::Between,
            };
            assert_eq!(see(&mut window, at, value), Some(expected), "at {at}");
            seen[expected as usize] += 1;
            // Until the next reading, time alone.
            while let Some(due) = window.due().filter(|due| *due < at + 30_000) {
                let said = window.pass(due).and_then(|said| said.verdict);
                let change = plainly(&read[read.len().saturating_sub(2000)..], due, 10 * MINUTE);
                assert_eq!(said == Some(Verdict::Holds), change >= 30.0, "due {due}");
                assert!(window.due().is_none_or(|next| next > due));
            }
            at += 30_000;
        }
        assert!(seen.iter().all(|seen| *seen > 500), "{seen:?}");
    }

    #[test]
    fn a_window_is_bounded_whatever_is_read_and_saved_small() {
        let mut window = Window::rises(1e9, 24 * 60 * MINUTE, 0.0);
        for second in 0..200_000 {
            see(&mut window, second * 1000, second as f64);
            assert!(window.past.low.len() <= PARTS as usize + 1);
        }
        assert!(window.past.low.len() > 3900, "the bound was never near");
        // A value is forgotten a 4096th of the window early at the worst.
        let lowest = window.past.low[0].1;
        let true_lowest = 200_000.0 - 1.0 - 86_400.0;
        assert!((true_lowest..=true_lowest + 23.0).contains(&lowest), "{lowest} for {true_lowest}");
        let saved = window.save().unwrap_or_default();
        assert!(saved.to_string().len() <= 4096, "{} bytes", saved.to_string().len());
        let mut after = Window::rises(1e9, 24 * 60 * MINUTE, 0.0);
        after.take_up(&saved);
        assert_eq!(after.past.low[0].1, lowest);
        let mut other = Window::falls(1e9, 24 * 60 * MINUTE, 0.0);
        other.take_up(&saved);
        assert!(other.past.low.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_clears_the_window_and_one_set_forward_keeps_it() {
        let mut window = Window::falls(10.0, 10 * MINUTE, 0.0);
        see(&mut window, 0, 50.0);
        window.lost(MINUTE, 3 * MINUTE);
        assert_eq!(window.verdict(), None);
        assert_eq!(see(&mut window, 4 * MINUTE, 40.0), Some(Verdict::Holds));
        assert_eq!(window.due(), Some(11 * MINUTE));
        window.lost(5 * MINUTE, 4 * MINUTE);
        assert_eq!(see(&mut window, 5 * MINUTE, 30.0), Some(Verdict::Gone));
    }
}
