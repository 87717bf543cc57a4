//! The Hampel identifier: a number is far off if it lies more than some deviations from the median of those before it,
//! the deviation being estimated by the median of absolute deviations (MAD), which outliers do not move.
//!
//! F. R. Hampel, "The influence curve and its role in robust estimation" (1974); L. Davies and U. Gather, "The
//! identification of multiple outliers" (1993); R. K. Pearson, "Outliers in process modeling and identification" (2002).
//! It looks back only: whoever waits for the readings to come tells of a burst pipe too late.

use std::collections::VecDeque;

use crate::reading::{Millis, Point};

/// Readings looked back on.
const WINDOW: usize = 15;
/// With fewer there is no judging.
const ENOUGH: usize = 7;
/// Of normal noise, 1.4826 MAD is one standard deviation.
const SIGMA: f64 = 1.4826;
/// Three are usual over a known deviation. This one is estimated from few readings, and of true, normal noise three would
/// take 3.4 in 100, five 0.4.
const DEVIATIONS: f64 = 5.0;
/// Steps of a steady sensor are no spikes: less than this part of its range never is, nor, where it has no range, of the median.
const PART_OF_RANGE: f64 = 0.02;
const PART_OF_MEDIAN: f64 = 0.05;
/// After a silence of so many times what the window spans it begins anew.
const SPANS: Millis = 10;

/// The last numbers that were believed.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    held: VecDeque<(Millis, f64)>,
    /// Until enough was read since a step.
    before: Option<Before>,
}

/// A step: what was usual before it, and a number on the way to the new level.
#[derive(Debug, Clone, Copy)]
struct Before {
    noise: f64,
    span: Millis,
    on_the_way: f64,
}

impl Window {
    pub fn push(&mut self, at: Millis, number: f64) {
        if self.is_over(at) {
            self.begin_anew(at, number);
            return;
        }
        if self.held.len() == WINDOW {
            self.held.pop_front();
        }
        self.held.push_back((at, number));
    }

    pub fn begin_anew(&mut self, at: Millis, number: f64) {
        self.before = None;
        self.held.clear();
        self.held.push_back((at, number));
    }

    /// The thing has stepped, by way of another number. Around its new level it is taken to be as steady as it was, until
    /// enough was read there. If it steps again before that, it is not, and all begins anew.
    pub fn step(&mut self, at: Millis, number: f64, on_the_way: f64) {
        let known = self.held.len() >= ENOUGH;
        let before = self.noise().zip(self.span()).filter(|_| known);
        self.begin_anew(at, number);
        self.before = before.map(|(noise, span)| Before { noise, span, on_the_way });
    }

    pub fn last(&self) -> Option<(Millis, f64)> {
        self.held.back().copied()
    }

    /// How far off the number is, and to which side, where that is further than true ones go.
    pub fn far_off(&self, at: Millis, number: f64, point: &Point) -> Option<f64> {
        let noise = self.noise().filter(|_| !self.is_over(at))?;
        let median = self.median(|number| number);
        let ahead = self.ahead().unwrap_or(median);
        let off = number - number.clamp(median.min(ahead), median.max(ahead));
        (off.abs() > noise.max(floor(median, point))).then_some(off)
    }

    /// How far off true numbers go.
    fn noise(&self) -> Option<f64> {
        if self.held.len() < ENOUGH {
            return self.before.map(|before| before.noise);
        }
        let median = self.median(|number| number);
        Some(DEVIATIONS * SIGMA * self.median(|number| (number - median).abs()))
    }

    fn span(&self) -> Option<Millis> {
        if self.held.len() < ENOUGH {
            return self.before.map(|before| before.span);
        }
        Some((self.held.back()?.0 - self.held.front()?.0).max(1000))
    }

    /// Whether there was so long a silence that what the window holds says nothing of now.
    fn is_over(&self, at: Millis) -> bool {
        let silence = self.last().map_or(0, |(last, _)| at - last);
        self.span().is_some_and(|span| silence > span.saturating_mul(SPANS))
    }

    /// Just after a step: where the thing will be if it goes on as it went last. A pipe that bursts empties by and by.
    fn ahead(&self) -> Option<f64> {
        let before = self.before.filter(|_| self.held.len() < ENOUGH)?;
        let last = self.held.back()?.1;
        let previous = self.held.iter().nth_back(1).map_or(before.on_the_way, |(_, number)| *number);
        Some(last + (last - previous))
    }

    /// Of what is made of the numbers that are held. There is at least one.
    fn median(&self, of: impl Fn(f64) -> f64) -> f64 {
        let mut numbers = [0.0; WINDOW];
        let numbers = &mut numbers[..self.held.len()];
        for (slot, (_, number)) in numbers.iter_mut().zip(&self.held) {
            *slot = of(*number);
        }
        median(numbers)
    }
}

fn floor(median: f64, point: &Point) -> f64 {
    let part = match point.range {
        Some((low, high)) => (high - low) * PART_OF_RANGE,
        None => median.abs() * PART_OF_MEDIAN,
    };
    part.max(point.deadband)
}

/// The middle one, the upper of two. There is at least one.
fn median(numbers: &mut [f64]) -> f64 {
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}
