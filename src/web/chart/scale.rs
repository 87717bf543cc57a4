//! From times and values to places in the picture, and where the lines of its axes lie. Pure; whatever comes in, what comes
//! out is finite and within the frame.

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::reading::Millis;

const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;
const HOUR: Millis = 60 * MINUTE;
const DAY: Millis = 24 * HOUR;
/// Between two marks of the time axis.
const STEPS: [Millis; 22] = [
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    5 * DAY,
    10 * DAY,
    30 * DAY,
];
const TIMES_MAX: i64 = 7;
const VALUES_MAX: f64 = 5.0;

/// Where on the frame a time lies.
#[derive(Debug, Clone)]
pub struct Times {
    pub span: Range<Millis>,
    pub left: f64,
    pub width: f64,
}

/// A mark of the time axis: its place, its time, and the day where it is another one than before.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub x: f64,
    pub time: String,
    pub day: Option<String>,
}

impl Times {
    pub fn x(&self, at: Millis) -> f64 {
        let whole = (self.span.end as f64 - self.span.start as f64).max(1.0);
        let passed =
            at.clamp(self.span.start, self.span.end.max(self.span.start)) as f64 - self.span.start as f64;
        self.left + self.width * (passed / whole).clamp(0.0, 1.0)
    }

    pub fn has(&self, at: Millis) -> bool {
        (self.span.start..=self.span.end).contains(&at)
    }

    /// Full hours, days, … as the clocks in `zone` show them.
    pub fn ticks(&self, zone: &TimeZone) -> Vec<Tick> {
        let step = self.step();
        let first = self.span.start.saturating_add(offset(zone, self.span.start)).div_euclid(step);
        let mut ticks: Vec<Tick> = Vec::new();
        let mut day_before = None;
        for number in 0..=TIMES_MAX + 1 {
            let local = first.saturating_add(number).saturating_mul(step);
            // Twice, since the clocks may be put forward in between.
            let guess = local.saturating_sub(offset(zone, local));
            let at = local.saturating_sub(offset(zone, guess));
            if !self.has(at) {
                continue;
            }
            let how = if step < MINUTE { "%H:%M:%S" } else { "%H:%M" };
            let day = written(zone, at, "%m-%d");
            let new_day = day_before.as_ref() != Some(&day);
            let time = if step < DAY { written(zone, at, how) } else { day.clone() };
            ticks.push(Tick { x: self.x(at), time, day: (new_day && step < DAY).then(|| day.clone()) });
            day_before = Some(day);
        }
        ticks
    }

    fn step(&self) -> Millis {
        let whole = self.span.end.saturating_sub(self.span.start);
        let fits = |step: &&Millis| whole / **step <= TIMES_MAX;
        let years = (whole / TIMES_MAX / DAY).saturating_add(1).saturating_mul(DAY);
        STEPS.iter().find(fits).copied().unwrap_or(years)
    }
}

fn offset(zone: &TimeZone, at: Millis) -> Millis {
    Millis::from(zone.to_offset(instant(at)).seconds()) * SECOND
}

fn instant(at: Millis) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// A time as the clocks in `zone` show it.
pub fn written(zone: &TimeZone, at: Millis, how: &str) -> String {
    instant(at).to_zoned(zone.clone()).strftime(how).to_string()
}

/// Where on the frame a value lies.
#[derive(Debug, Clone, Copy)]
pub struct Heights {
    least: f64,
    most: f64,
    top: f64,
    height: f64,
}

impl Heights {
    /// Room for all of them, and a little more; what never changes lies in the middle.
    pub fn over(values: impl Iterator<Item = f64>, frame: (f64, f64)) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (mut least, mut most) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        let mut room = (most / 2.0 - least / 2.0) * 0.12;
        if room <= least.abs().max(most.abs()) * 1e-12 {
            room = (most.abs() * 0.1).max(0.5);
        }
        let bounded = |value: f64| value.clamp(f64::MIN, f64::MAX);
        Self { least: bounded(least - room), most: bounded(most + room), top: frame.0, height: frame.1 }
    }

    /// Rows of equal height, the first lowest.
    pub fn rows(count: usize, frame: (f64, f64)) -> Self {
        Self { least: -0.5, most: count as f64 - 0.5, top: frame.0, height: frame.1 }
    }

    pub fn y(&self, value: f64) -> f64 {
        // Halved first: the distance of the greatest numbers is beyond all numbers.
        let whole = self.most / 2.0 - self.least / 2.0;
        let part = (self.most / 2.0 - value / 2.0) / whole;
        let part = if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.5 };
        self.top + self.height * part
    }

    /// Round numbers and how they are written.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let Some(step) = round_step((self.most / 2.0 - self.least / 2.0) / VALUES_MAX * 2.0) else {
            return vec![
                (self.y(self.least), number(self.least, 0)),
                (self.y(self.most), number(self.most, 0)),
            ];
        };
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let first = (self.least / step).ceil();
        let all = (0..=VALUES_MAX as u32 + 2).map(|n| (first + f64::from(n)) * step);
        let mut ticks: Vec<(f64, String)> = all
            .filter(|value| value.is_finite() && (self.least..=self.most).contains(value))
            .map(|value| (self.y(value), number(value, decimals)))
            .collect();
        // Where a step is too small for the numbers around it, they are all the same.
        ticks.dedup_by(|a, b| a.1 == b.1 || (a.0 - b.0).abs() < 1.0);
        ticks
    }
}

/// 1, 2 or 5 times a power of ten, not below `least`; `None` where there is none.
fn round_step(least: f64) -> Option<f64> {
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * power).find(|step| *step >= least)?;
    (step.is_finite() && step > f64::MIN_POSITIVE).then_some(step)
}

/// In few characters.
pub fn number(value: f64, decimals: usize) -> String {
    let size = value.abs();
    if size >= 1e7 || (size > 0.0 && size < 1e-4) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches(['-', '0', '.']).is_empty() { "0".to_owned() } else { text }
}

/// As short as it can be said.
pub fn plain(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e9).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    format!("{}", (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(span: Range<Millis>, zone: &str) -> Vec<String> {
        let times = Times { span, left: 0.0, width: 700.0 };
        let tick = |tick: Tick| tick.day.map_or(tick.time.clone(), |day| format!("{day} {}", tick.time));
        times.ticks(&TimeZone::get(zone).unwrap()).into_iter().map(tick).collect()
    }

    fn at(text: &str) -> Millis {
        crate::time::parse(text).unwrap()
    }

    #[test]
    fn the_time_axis_has_round_times_of_the_place() {
        let span = at("2026-11-21T07:58:20Z")..at("2026-11-21T08:04:10Z");
        assert_eq!(
            labels(span, "Asia/Shanghai"),
            ["11-21 15:59", "16:00", "16:01", "16:02", "16:03", "16:04"]
        );
        let night = at("2026-11-21T13:30:00Z")..at("2026-11-21T18:30:00Z");
        assert_eq!(labels(night, "Asia/Shanghai"), ["11-21 22:00", "23:00", "11-22 00:00", "01:00", "02:00"]);
        // Half an hour beside the others.
        let calcutta = at("2026-11-21T00:00:00Z")..at("2026-11-21T12:00:00Z");
        assert_eq!(labels(calcutta, "Asia/Kolkata")[0], "11-21 06:00");
        let month = at("2026-10-20T00:00:00Z")..at("2026-11-19T00:00:00Z");
        assert_eq!(labels(month, "UTC").len(), 6);
    }

    #[test]
    fn where_the_clocks_are_put_forward_the_axis_shows_what_they_show() {
        let span = at("2026-03-28T22:00:00Z")..at("2026-03-29T04:00:00Z");
        let shown = labels(span, "Europe/Berlin");
        assert_eq!(shown.first().map(String::as_str), Some("03-28 23:00"));
        assert_eq!(shown.last().map(String::as_str), Some("06:00"));
        assert!(!shown.contains(&"02:00".to_owned()), "there is no such hour: {shown:?}");
    }

    #[test]
    fn the_value_axis_has_round_numbers() {
        let heights = Heights::over([231.0, 180.0, 200.0].into_iter(), (0.0, 100.0));
        let shown: Vec<String> = heights.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(shown, ["180", "200", "220"]);
        let small = Heights::over([0.0, 0.03].into_iter(), (0.0, 100.0));
        let shown: Vec<String> = small.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(shown, ["0", "0.01", "0.02", "0.03"]);
    }

    #[test]
    fn whatever_the_values_are_they_lie_within_the_frame() {
        let numbers = [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.0, -0.0, 1.0, 1e-300, 1e300, 1e17];
        for a in numbers {
            for b in numbers {
                let heights = Heights::over([a, b].into_iter(), (10.0, 100.0));
                for value in [a, b] {
                    let y = heights.y(value);
                    assert!((10.0..=110.0).contains(&y), "{a} {b}: {y}");
                }
                let ticks = heights.ticks();
                assert!(ticks.len() <= 8 && ticks.iter().all(|(y, _)| y.is_finite()), "{a} {b}: {ticks:?}");
            }
        }
        assert_eq!(Heights::over([7.0].into_iter(), (0.0, 100.0)).y(7.0), 50.0);
        assert_eq!(Heights::over([1e17].into_iter(), (0.0, 100.0)).y(1e17), 50.0);
    }

    #[test]
    fn whatever_the_times_are_the_axis_has_few_marks_within_the_frame() {
        let times = [i64::MIN, -1, 0, 1, at("2026-11-21T08:00:00Z"), i64::MAX];
        for start in times {
            for end in times.into_iter().filter(|end| *end >= start) {
                let axis = Times { span: start..end, left: 0.0, width: 700.0 };
                let ticks = axis.ticks(&TimeZone::get("Asia/Shanghai").unwrap());
                assert!(ticks.len() <= 9, "{start}..{end}: {ticks:?}");
                assert!(ticks.iter().all(|tick| (0.0..=700.0).contains(&tick.x)), "{ticks:?}");
            }
        }
    }
}
