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
/// After a silence of so many times what the window spans, what it holds says nothing of now.
const SPANS: Millis = 10;

/// The last numbers that were believed.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    held: VecDeque<(Millis, f64)>,
}

impl Window {
    pub fn push(&mut self, at: Millis, number: f64) {
        if self.held.len() == WINDOW {
            self.held.pop_front();
        }
        self.held.push_back((at, number));
    }

    pub fn begin_anew(&mut self, at: Millis, number: f64) {
        self.held.clear();
        self.held.push_back((at, number));
    }

    pub fn last(&self) -> Option<(Millis, f64)> {
        self.held.back().copied()
    }

    /// How far off the number is, and to which side, where that is further than true ones go.
    pub fn far_off(&self, at: Millis, number: f64, point: &Point) -> Option<f64> {
        let (first, last) = (self.held.front()?.0, self.held.back()?.0);
        let span = (last - first).max(1000);
        if self.held.len() < ENOUGH || at - last > span.saturating_mul(SPANS) {
            return None;
        }
        let mut numbers = [0.0; WINDOW];
        let numbers = &mut numbers[..self.held.len()];
        for (slot, (_, number)) in numbers.iter_mut().zip(&self.held) {
            *slot = *number;
        }
        let median = median(numbers);
        for number in numbers.iter_mut() {
            *number = (*number - median).abs();
        }
        let off = number - median;
        let noise = DEVIATIONS * SIGMA * self::median(numbers);
        (off.abs() > noise.max(floor(median, point))).then_some(off)
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
