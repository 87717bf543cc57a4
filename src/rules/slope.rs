//! A robust line through days, and how sure it is. Pure numbers.
//!
//! The slope is Theil's and Sen's, the median of the slopes between any two days: a quarter of the days may say anything at
//! all. The error is that of a line through as many days, with the residuals' robust scale, and grows where one day is like
//! the day before it (weather), since such days count for fewer.

/// Fewer days say nothing of a trend.
pub const DAYS_MIN: usize = 5;
/// Lines are laid over so many days; the longest counts.
const SPANS: [usize; 3] = [21, 14, 7];
/// A shorter line whose slope is another by so many of its errors is taken instead: wear grows faster, or has ended.
const BENT: f64 = 4.0;
/// The median absolute deviation of a normal distribution, to its standard deviation.
const MAD: f64 = 1.4826;
/// No day is taken to be more alike the day before than this.
const ALIKE_MAX: f64 = 0.9;

/// A value of one day; `age` is the middle of it, in days before now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Day {
    pub age: f64,
    pub value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Now.
    pub level: f64,
    /// A day.
    pub slope: f64,
    /// Of one day around the line, with what days share counted in.
    scale: f64,
    days: f64,
    /// The middle of the days, and how far they are spread around it.
    middle: f64,
    spread: f64,
}

impl Line {
    /// Through `days`, the newest first. `None`: they are too few.
    pub fn through(days: &[Day]) -> Option<Self> {
        let within = |span: usize| days.iter().take_while(|day| day.age < span as f64).count();
        let mut lines = SPANS.into_iter().map_while(|span| Self::over(&days[..within(span)]));
        let longest = lines.next()?;
        Some(lines.fold(longest, |line, short| {
            let bent = (short.slope - line.slope).abs() > BENT * short.slope_error();
            if bent { short } else { line }
        }))
    }

    fn over(days: &[Day]) -> Option<Self> {
        if days.len() < DAYS_MIN {
            return None;
        }
        let slope = steepness(days);
        let level = median(&mut days.iter().map(|day| day.value + slope * day.age).collect::<Vec<_>>());
        let off: Vec<f64> = days.iter().map(|day| day.value - (level - slope * day.age)).collect();
        let count = days.len() as f64;
        let middle = days.iter().map(|day| -day.age).sum::<f64>() / count;
        let spread = days.iter().map(|day| (-day.age - middle).powi(2)).sum();
        Some(Self {
            level,
            slope,
            scale: (count / (count - 2.0)).sqrt() * scale(&off) * shared(&off).sqrt(),
            days: count,
            middle,
            spread,
        })
    }

    /// Where the line will be in `ahead` days.
    pub fn at(&self, ahead: f64) -> f64 {
        self.level + self.slope * ahead
    }

    /// How sure it is that the line will be at `limit` or higher in `ahead` days.
    pub fn reaches(&self, limit: f64, ahead: f64) -> f64 {
        let error = self.scale * (1.0 / self.days + (ahead - self.middle).powi(2) / self.spread).sqrt();
        certainty(self.at(ahead) - limit, error, self.days - 2.0)
    }

    /// How sure it is that the line rises.
    pub fn rises(&self) -> f64 {
        certainty(self.slope, self.slope_error(), self.days - 2.0)
    }

    fn slope_error(&self) -> f64 {
        self.scale / self.spread.sqrt()
    }
}

/// The middle one of the slopes between any two days.
fn steepness(days: &[Day]) -> f64 {
    let mut slopes = Vec::with_capacity(days.len() * (days.len() - 1) / 2);
    for (i, newer) in days.iter().enumerate() {
        slopes.extend(days[i + 1..].iter().map(|old| (newer.value - old.value) / (old.age - newer.age)));
    }
    median(&mut slopes)
}

/// Robust, but not blind: where most days are the same to the last digit, the others still count. A line takes two from what
/// the days could be off.
fn scale(off: &[f64]) -> f64 {
    let mean_square = off.iter().map(|x| x * x).sum::<f64>() / off.len() as f64;
    let middle = median(&mut off.iter().map(|x| x.abs()).collect::<Vec<_>>());
    (MAD * middle).max(mean_square.sqrt() / 2.0)
}

/// For how many days one day speaks: 1 where each is by itself. From the correlation of neighbours, put right for being
/// estimated too low from so few: measured on random weather, with 0.8 then stated, 0.75 to 0.8 are right.
fn shared(off: &[f64]) -> f64 {
    let count = off.len() as f64;
    let power: f64 = off.iter().map(|x| x * x).sum();
    if power == 0.0 {
        return 1.0;
    }
    let alike = off.windows(2).map(|two| two[0] * two[1]).sum::<f64>() / power;
    let alike = (alike + (2.0 + 7.0 * alike) / count).clamp(0.0, ALIKE_MAX);
    (1.0 + alike) / (1.0 - alike)
}

/// The share of Student's distribution below `margin / error`: brought to the normal one (Abramowitz and Stegun 26.7.8), and
/// that by a logistic curve that is nowhere off by more than 0.0002.
fn certainty(margin: f64, error: f64, freedom: f64) -> f64 {
    if error <= margin.abs() * f64::EPSILON {
        return if margin >= 0.0 { 1.0 } else { 0.0 };
    }
    let t = margin / error;
    let z = (t * (1.0 - 1.0 / (4.0 * freedom)) / (1.0 + t * t / (2.0 * freedom)).sqrt()).clamp(-8.0, 8.0);
    1.0 / (1.0 + (-(1.5976 * z + 0.070_566 * z.powi(3))).exp())
}

/// Of no values: 0. The order of `values` is lost.
pub fn median(values: &mut [f64]) -> f64 {
    let count = values.len();
    if count == 0 {
        return 0.0;
    }
    let (below, middle, _) = values.select_nth_unstable_by(count / 2, f64::total_cmp);
    let middle = *middle;
    if count % 2 == 1 {
        return middle;
    }
    let below = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    f64::midpoint(below, middle)
}

/// The mean of the middle half: as deaf to single values as a median, but not bound to the steps of a sensor.
pub fn midmean(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let cut = values.len() / 4;
    let middle = &values[cut..values.len() - cut];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(values: &[f64]) -> Vec<Day> {
        let newest_first = values.iter().rev();
        (0..).zip(newest_first).map(|(i, value)| Day { age: f64::from(i) + 0.5, value: *value }).collect()
    }

    #[test]
    fn a_line_is_found_though_a_quarter_of_the_days_lie() {
        let mut values: Vec<f64> = (0..20).map(|day| 50.0 + 0.5 * f64::from(day)).collect();
        for lie in [3, 7, 11, 15, 18] {
            values[lie] = 500.0;
        }
        let line = Line::through(&days(&values)).unwrap();
        assert!((line.slope - 0.5).abs() < 0.05, "{line:?}");
        assert!((line.at(0.0) - 59.75).abs() < 1.0, "{line:?}");
    }

    #[test]
    fn where_the_newest_days_go_another_way_a_short_line_is_taken() {
        let values: Vec<f64> = (0..21).map(|day| 50.0 + f64::from((day - 13).max(0)) * 2.0).collect();
        let line = Line::through(&days(&values)).unwrap();
        assert!((line.slope - 2.0).abs() < 0.2, "{line:?}");
    }

    #[test]
    fn certainty_is_students() {
        for (t, freedom, share) in
            [(0.0, 5.0, 0.5), (0.92, 5.0, 0.80), (2.015, 5.0, 0.95), (-2.015, 5.0, 0.05), (0.861, 19.0, 0.80)]
        {
            let found = certainty(t, 1.0, freedom);
            assert!((found - share).abs() < 0.004, "{t} of {freedom}: {found}");
        }
        assert_eq!(certainty(0.0, 0.0, 5.0), 1.0);
        assert_eq!(certainty(-1.0, 0.0, 5.0), 0.0);
    }

    #[test]
    fn the_stated_confidence_is_kept_under_noise_and_nearly_so_in_weather() {
        for (alike, most) in [(0.0, 0.22), (0.6, 0.27)] {
            let (mut wrong, mut seed, runs) = (0, 7_u64, 2000);
            for _ in 0..runs {
                let mut weather = 0.0;
                let values: Vec<f64> = (0..21)
                    .map(|_| {
                        let noise: f64 = (0..12).map(|_| random(&mut seed)).sum::<f64>() - 6.0;
                        weather = alike * weather + noise;
                        weather
                    })
                    .collect();
                wrong += usize::from(Line::through(&days(&values)).unwrap().rises() > 0.8);
            }
            let share = wrong as f64 / f64::from(runs);
            assert!(share < most, "alike {alike}: {share} of flat lines are said to rise");
        }
    }

    fn random(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn few_days_say_nothing() {
        assert_eq!(Line::through(&days(&[1.0, 2.0, 3.0, 4.0])), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(midmean(&mut [0.0, 1.0, 2.0, 100.0]), 1.5);
    }
}
