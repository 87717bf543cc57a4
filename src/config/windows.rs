//! Conditions that look at more than the value of the moment: windows, counters, expressions, trends, occasions.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::kinds::millis;
use super::rules::{DELAY_MAX, SILENT_MIN};
use super::section::Section;
use crate::reading::{Millis, PointId, Value};
use crate::rules::{Condition, Expression, Limit, Occasions};

/// What a condition may speak of beside its own key.
pub(super) struct Terms<'a> {
    /// The names of an expression.
    pub names: &'a [(String, PointId)],
    /// The gateway's timezone.
    pub zone: &'a str,
}

const WINDOW: RangeInclusive<Duration> = SILENT_MIN..=Duration::from_secs(31 * 24 * 3600);
const FORECAST: RangeInclusive<Duration> = Duration::from_secs(3600)..=DELAY_MAX;
/// A lifetime of a hundred years.
const HOURS_MAX: f64 = 876_000.0;
const COUNT_MAX: i128 = 1_000_000_000;
/// A count keeps the instant of each occurrence in its window.
const TIMES_MAX: i128 = 10_000;
const HOUR: f64 = 3_600_000.0;

pub(super) fn longer(section: &mut Section<'_>, key: &'static str, terms: &Terms<'_>) -> Option<Condition> {
    match key {
        "stuck" => section.span(key, SILENT_MIN..=DELAY_MAX).map(|told| Condition::Stuck(millis(told.value))),
        "rises" => change(section, key).map(|(by, within)| Condition::Rises { by, within }),
        "falls" => change(section, key).map(|(by, within)| Condition::Falls { by, within }),
        "count" => count(section),
        "forecast" => forecast(section, terms),
        "runtime" => runtime(section),
        "cycles" => cycles(section),
        "when" => when(section, terms),
        "schedule" => schedule(section, terms),
        _ => None,
    }
}

/// The table of a condition, and its own name in what is said of it.
fn inner<'a>(section: &mut Section<'a>, key: &'static str) -> Option<Section<'a>> {
    let table = section.table(key)?;
    Some(Section::new(table, format!("`{key}`"), section.report))
}

fn change(section: &mut Section<'_>, key: &'static str) -> Option<(f64, Millis)> {
    let mut inner = inner(section, key)?;
    let (by, within) = (inner.require::<f64>("by"), within(&mut inner, WINDOW));
    if let Some(by) = by.as_ref().filter(|by| by.value <= 0.0) {
        inner.report.mistake(by.spot, format!("`by` is {}", by.value), "write how much, above 0");
    }
    inner.finish();
    Some((by?.value, within?))
}

fn within(inner: &mut Section<'_>, bounds: RangeInclusive<Duration>) -> Option<Millis> {
    if inner.peek("within").is_none() {
        inner.missing("within", "write `within = \"10m\"`");
        inner.entry("within");
        return None;
    }
    inner.span("within", bounds).map(|told| millis(told.value))
}

fn count(section: &mut Section<'_>) -> Option<Condition> {
    let mut inner = inner(section, "count")?;
    let equals = inner.require::<Value>("equals");
    if inner.peek("times").is_none() {
        inner.missing("times", "write `times = 5`");
    }
    let times = inner.whole::<u32>("times", 1..=TIMES_MAX);
    let within = within(&mut inner, WINDOW);
    inner.finish();
    Some(Condition::Count { equals: equals?.value, times: times?.value, within: within? })
}

fn forecast(section: &mut Section<'_>, terms: &Terms<'_>) -> Option<Condition> {
    let mut inner = inner(section, "forecast")?;
    let (above, below) = (inner.take::<f64>("above"), inner.take::<f64>("below"));
    let within = within(&mut inner, FORECAST);
    let limit = match (above, below) {
        (Some(above), None) => Some(Limit::Above(above.value)),
        (None, Some(below)) => Some(Limit::Below(below.value)),
        (Some(_), Some(below)) => {
            inner.report.mistake(
                below.spot,
                "`forecast` has two limits",
                "keep one; make a rule of its own of the other",
            );
            None
        }
        (None, None) => {
            inner.missing(
                "above",
                "write `above = 80.0` or `below = 20.0`: the limit that the trend must not cross",
            );
            None
        }
    };
    inner.finish();
    let zone = TimeZone::get(terms.zone).unwrap_or(TimeZone::UTC);
    Some(Condition::Forecast { limit: limit?, within: within?, zone })
}

fn runtime(section: &mut Section<'_>) -> Option<Condition> {
    let mut inner = inner(section, "runtime")?;
    let equals = inner.take::<Value>("equals").map(|told| told.value);
    let hours = inner.require::<f64>("hours");
    if let Some(hours) = hours.as_ref().filter(|hours| !(0.001..=HOURS_MAX).contains(&hours.value)) {
        let what = format!("`hours` is {}", hours.value);
        inner.report.mistake(hours.spot, what, format!("write a number from 0.001 to {HOURS_MAX}"));
    }
    inner.finish();
    Some(Condition::Runtime { equals, lasts: (hours?.value * HOUR) as Millis })
}

fn cycles(section: &mut Section<'_>) -> Option<Condition> {
    let mut inner = inner(section, "cycles")?;
    let equals = inner.take::<Value>("equals").map(|told| told.value);
    if inner.peek("count").is_none() {
        inner.missing("count", "write `count = 100000`");
    }
    let count = inner.whole::<u64>("count", 1..=COUNT_MAX);
    inner.finish();
    Some(Condition::Cycles { equals, count: count?.value })
}

fn when(section: &mut Section<'_>, terms: &Terms<'_>) -> Option<Condition> {
    let told = section.take::<String>("when")?;
    let names: Vec<String> = terms.names.iter().map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return None; // said of `points`
    }
    match Expression::compile(&told.value, &names) {
        Ok(expression) => Some(Condition::When(expression)),
        Err(fault) => {
            section.report.mistake(told.spot.within(fault.at), fault.what, fault.cure);
            None
        }
    }
}

fn schedule(section: &mut Section<'_>, terms: &Terms<'_>) -> Option<Condition> {
    let told = section.take::<String>("schedule")?;
    match Occasions::parse(&told.value, terms.zone) {
        Ok(occasions) => Some(Condition::Schedule(occasions)),
        Err(what) => {
            let cure = "write minute, hour, day, month, weekday: `\"0 9 1 * *\"` is nine o'clock on the first of each month";
            section.report.mistake(told.spot, what, cure);
            None
        }
    }
}
