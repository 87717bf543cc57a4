//! The last weeks of a value by the hour, and what they have in common from day to day. Pure.
//!
//! Bounds: [`HOURS_MAX`] closed hours of 4 bytes, and [`SAMPLES_MAX`] readings of the one that is open.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::slope::{Day, median, midmean};
use crate::reading::Millis;

pub const HOUR: Millis = 3_600_000;
const DAY: usize = 24;
/// Three weeks.
const HOURS_MAX: usize = 21 * DAY;
/// Of one hour; from there on every second reading, every fourth …
const SAMPLES_MAX: usize = 64;
/// No time that a clock shows is further from 1970.
const HOUR_MAX: i64 = i64::MAX / HOUR / 2;
/// Without a reading for longer, what comes is taken as something new.
const GAP_MAX: i64 = 3 * DAY as i64;
/// A day with fewer hours has no value.
const DAY_HOURS_MIN: usize = 8;
/// An hour's share in the season needs so many hours around it.
const AROUND_MIN: usize = 18;
/// And the hour of the day so many days.
const SEASON_DAYS_MIN: usize = 3;
/// So many hours show a step.
const STEP_HOURS: usize = 6;

/// Values are kept as what they are off the first one: a meter's count does not lose its last digits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hours {
    origin: f64,
    /// The newest last; `NaN`: nothing was read.
    closed: VecDeque<f32>,
    /// The hour since 1970 of the newest.
    last: i64,
    open: Option<Open>,
    latest: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Open {
    hour: i64,
    samples: Vec<f32>,
    /// Every how manieth reading is kept.
    every: u32,
    /// Readings since the last that was kept.
    passed: u32,
}

/// As it is saved: bits and bytes, since nothing may change by being written.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    origin: u64,
    last: i64,
    hours: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<(i64, u32, u32, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latest: Option<u64>,
}

impl Hours {
    pub fn see(&mut self, at: Millis, value: f64) {
        let hour = at.div_euclid(HOUR);
        if self.open.as_ref().is_some_and(|open| open.hour < hour) {
            self.close();
        }
        if self.open.is_none() && !self.closed.is_empty() && hour - self.last > GAP_MAX {
            *self = Self::default();
        }
        if self.is_empty() {
            self.origin = value;
        }
        let sample = (value - self.origin) as f32;
        let open = self.open.get_or_insert_with(|| Open::new(hour));
        open.take(sample);
        self.latest = Some(value);
    }

    /// The wall clock was stepped: what was read moves along by the nearest whole hours.
    pub fn shift(&mut self, by: Millis) {
        let hours = (by + HOUR / 2).div_euclid(HOUR);
        self.last = (self.last + hours).clamp(-HOUR_MAX, HOUR_MAX);
        if let Some(open) = &mut self.open {
            open.hour = (open.hour + hours).clamp(-HOUR_MAX, HOUR_MAX);
        }
    }

    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    /// When the open hour ends.
    pub fn due(&self) -> Option<Millis> {
        self.open.as_ref().map(|open| (open.hour + 1) * HOUR)
    }

    /// The open hour becomes a number.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let mut samples: Vec<f64> = open.samples.iter().map(|x| f64::from(*x)).collect();
        let value = midmean(&mut samples) as f32;
        if open.hour <= self.last && !self.closed.is_empty() {
            return; // the clock was set back a little; that hour has been told
        }
        let missed = if self.closed.is_empty() { 0 } else { open.hour - self.last - 1 };
        self.closed.extend((0..missed.min(GAP_MAX)).map(|_| f32::NAN));
        self.closed.push_back(value);
        self.last = open.hour;
        let over = self.closed.len().saturating_sub(HOURS_MAX);
        self.closed.drain(..over);
    }

    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_none()
    }

    /// Only what was read since a step is kept.
    pub fn forget_before_step(&mut self) {
        let over = self.closed.len().saturating_sub(STEP_HOURS);
        self.closed.drain(..over);
    }

    /// Each closed hour, the newest last; `NaN` where nothing was read. `sign` turns it upside down.
    pub fn values(&self, sign: f64) -> Vec<f64> {
        self.closed.iter().map(|x| sign * (self.origin + f64::from(*x))).collect()
    }

    /// The hour of the day of the first of [`Hours::values`].
    fn first_of_day(&self) -> usize {
        (self.last + 1 - self.closed.len() as i64).rem_euclid(DAY as i64) as usize
    }

    /// What each hour of the day is off its day, once each has been seen often enough. Days that shift with daylight saving
    /// blur it for as long as they are seen.
    pub fn season(&self, values: &[f64]) -> Option<[f64; DAY]> {
        let mut by_hour: [Vec<f64>; DAY] = Default::default();
        for (i, off) in off_their_day(values).into_iter().enumerate() {
            if !off.is_nan() {
                by_hour[(self.first_of_day() + i) % DAY].push(off);
            }
        }
        let known = by_hour.iter().all(|all| all.len() >= SEASON_DAYS_MIN);
        known.then(|| by_hour.map(|mut all| median(&mut all)))
    }

    pub fn without(&self, season: &[f64; DAY], values: &mut [f64]) {
        let first = self.first_of_day();
        for (i, value) in values.iter_mut().enumerate() {
            *value -= season[(first + i) % DAY];
        }
    }
}

impl Open {
    fn new(hour: i64) -> Self {
        Self { hour, samples: Vec::new(), every: 1, passed: 0 }
    }

    fn take(&mut self, sample: f32) {
        self.passed += 1;
        if self.passed < self.every && !self.samples.is_empty() {
            return;
        }
        self.passed = 0;
        self.samples.push(sample);
        if self.samples.len() == SAMPLES_MAX {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            self.every = self.every.saturating_mul(2);
        }
    }
}

/// What each hour is off the mean of the day around it; `NaN` where that is not known.
fn off_their_day(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![(0.0, 0)];
    let mut sum = (0.0, 0);
    for value in values {
        if !value.is_nan() {
            sum = (sum.0 + value, sum.1 + 1);
        }
        sums.push(sum);
    }
    let half = DAY / 2;
    let mean = |i: usize| {
        let (from, to) = (i.checked_sub(half)?, i + half);
        let ((before, few), (after, many)) = (sums[from], *sums.get(to)?);
        (many - few >= AROUND_MIN).then(|| (after - before) / f64::from(many as u32 - few as u32))
    };
    values.iter().enumerate().map(|(i, value)| mean(i).map_or(f64::NAN, |mean| value - mean)).collect()
}

/// The days that end with the newest hour, the newest first.
pub fn days(values: &[f64]) -> Vec<Day> {
    let blocks = values.rchunks(DAY).enumerate();
    let day = |(back, hours): (usize, &[f64])| {
        let mut hours = read(hours);
        let value = midmean(&mut hours);
        (hours.len() >= DAY_HOURS_MIN).then_some(Day { age: back as f64 + 0.5, value })
    };
    blocks.filter_map(day).collect()
}

/// The newest hours, if that many were read without a hole.
pub fn newest(values: &[f64]) -> Option<&[f64]> {
    let newest = values.split_last_chunk::<STEP_HOURS>()?.1;
    newest.iter().all(|x| !x.is_nan()).then_some(newest)
}

/// How far the newest hours have stepped off the day before them, where that is no noise: by many times what hours differ
/// within a day, and days from each other, and to where the value has not been for a week and a day (of a weekend there is
/// one in it).
pub fn step(values: &[f64]) -> Option<f64> {
    let newest = newest(values)?;
    let before = &values[..values.len() - STEP_HOURS];
    let mut day = read(&before[before.len().saturating_sub(DAY)..]);
    if day.len() < DAY_HOURS_MIN {
        return None;
    }
    let level = median(&mut day);
    let jump = median(&mut newest.to_vec()) - level;
    let hours = median(&mut day.iter().map(|x| (x - level).abs()).collect::<Vec<_>>());
    let days = days(before);
    let days =
        median(&mut days.windows(2).map(|two| (two[0].value - two[1].value).abs()).collect::<Vec<_>>());
    let mut week = read(&before[before.len().saturating_sub(8 * DAY)..]);
    week.sort_unstable_by(f64::total_cmp);
    // A few wild hours do not make the week wide.
    let cut = week.len() / 40;
    let (low, high) = (week[cut], week[week.len() - 1 - cut]);
    let away = newest.iter().all(|x| if jump > 0.0 { *x > high } else { *x < low });
    (away && jump.abs() > 6.0 * hours && jump.abs() > 4.0 * days).then_some(jump)
}

fn read(values: &[f64]) -> Vec<f64> {
    values.iter().copied().filter(|x| !x.is_nan()).collect()
}

// ---------------------------------------------------------------------------------------------- saved

impl Hours {
    pub fn save(&self) -> Saved {
        let (front, back) = self.closed.as_slices();
        let open = self.open.as_ref();
        Saved {
            origin: self.origin.to_bits(),
            last: self.last,
            hours: to_text(front.iter().chain(back)),
            open: open.map(|open| (open.hour, open.every, open.passed, to_text(open.samples.iter()))),
            latest: self.latest.map(f64::to_bits),
        }
    }

    /// `None`: it cannot be read, or it is none that was ever saved.
    pub fn take_up(saved: &Saved) -> Option<Self> {
        let closed = from_text(&saved.hours, HOURS_MAX)?;
        let open = match &saved.open {
            Some((hour, every, passed, samples)) => Some(Open {
                hour: *hour,
                every: (*every).max(1),
                passed: (*passed).min(*every),
                samples: from_text(samples, SAMPLES_MAX - 1)?,
            }),
            None => None,
        };
        let hours = [saved.last, open.as_ref().map_or(0, |open| open.hour)];
        if hours.iter().any(|hour| !(-HOUR_MAX..=HOUR_MAX).contains(hour)) {
            return None;
        }
        let origin = Some(f64::from_bits(saved.origin)).filter(|x| x.is_finite())?;
        let latest = saved.latest.map(f64::from_bits).filter(|x| x.is_finite());
        Some(Self { origin, last: saved.last, closed: closed.into(), open, latest })
    }
}

fn to_text<'a>(values: impl Iterator<Item = &'a f32>) -> String {
    BASE64.encode(values.flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

fn from_text(text: &str, most: usize) -> Option<Vec<f32>> {
    let bytes = BASE64.decode(text).ok()?;
    let (values, rest) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let fine = rest.is_empty() && values.len() <= most && !values.iter().any(|x| x.is_infinite());
    fine.then_some(values)
}
