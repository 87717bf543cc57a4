//! Conditions that look at more than the value of the moment: windows, counters, expressions, trends, occasions.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::tz::TimeZone;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::Tie;
use super::installed::Installed;
use super::kinds::{millis, wrong};
use super::mistakes::did_you_mean;
use super::rules::{DELAY_MAX, SILENT_MIN};
use super::section::{Read, Section, Wrong};
use super::tree::{Node, Value as Written};
use crate::field::profile::Shape;
use crate::reading::{DeviceId, Millis, PointId, Value};
use crate::rules::{Condition, Cure, Expression, Kind, Limit, Name, Occasions};

/// What a condition may speak of beside its own key.
pub(super) struct Terms<'a> {
    /// The names of an expression.
    pub names: &'a [(String, PointId)],
    /// The gateway's timezone.
    pub zone: &'a str,
    pub installed: &'a Installed<'a>,
}

const WINDOW: RangeInclusive<Duration> = SILENT_MIN..=Duration::from_secs(31 * 24 * 3600);
const FORECAST: RangeInclusive<Duration> = Duration::from_secs(3600)..=DELAY_MAX;
/// A lifetime of a hundred years.
const HOURS_MAX: f64 = 876_000.0;
const COUNT_MAX: i128 = 1_000_000_000;
/// A count keeps the instant of each occurrence in its window, and saves them, once a minute at the most.
const TIMES_MAX: i128 = 1000;
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
    let like = match key {
        "count" => r#"{ equals = "denied", times = 5, within = "2m" }"#,
        "forecast" => r#"{ above = 80.0, within = "72h" }"#,
        "runtime" => r#"{ equals = "on", hours = 2000 }"#,
        "cycles" => r#"{ equals = "open", count = 100000 }"#,
        _ => r#"{ by = 10.0, within = "10m" }"#,
    };
    let table = section.table_like(key, || format!("write it like `{key} = {like}`"))?;
    Some(Section::new(table, format!("`{key}`"), section.report))
}

fn change(section: &mut Section<'_>, key: &'static str) -> Option<(f64, Millis)> {
    let mut inner = inner(section, key)?;
    let (by, within) = (inner.require::<f64>("by"), within(&mut inner, WINDOW));
    inner.narrow("by", || json!({ "exclusiveMinimum": 0 }));
    if let Some(by) = by.as_ref().filter(|by| by.value <= 0.0) {
        inner.report.mistake(
            Code::OutOfRange,
            by.spot,
            format!("`by` is {}", by.value),
            "write how much, above 0",
        );
    }
    inner.finish();
    Some((by?.value, within?))
}

fn within(inner: &mut Section<'_>, bounds: RangeInclusive<Duration>) -> Option<Millis> {
    if inner.peek("within").is_none() {
        inner.missing("within", "write `within = \"10m\"`");
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
    inner.tie(|| Tie::OneOf(vec!["above", "below"]));
    let within = within(&mut inner, FORECAST);
    let limit = match (above, below) {
        (Some(above), None) => Some(Limit::Above(above.value)),
        (None, Some(below)) => Some(Limit::Below(below.value)),
        (Some(_), Some(below)) => {
            inner.report.mistake(
                Code::Excludes,
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
    inner.narrow("hours", || json!({ "minimum": 0.001, "maximum": HOURS_MAX }));
    if let Some(hours) = hours.as_ref().filter(|hours| !(0.001..=HOURS_MAX).contains(&hours.value)) {
        let what = format!("`hours` is {}", hours.value);
        inner.report.mistake(
            Code::OutOfRange,
            hours.spot,
            what,
            format!("write a number from 0.001 to {HOURS_MAX}"),
        );
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

/// An expression: longer than other texts, and over several lines where one likes.
struct Formula(String);

impl Read for Formula {
    const IS: &'static str = "text in quotes";
    const EXAMPLE: &'static str = "\"x > 50 && y + 1 < 3\"";

    fn read(value: &Written) -> Result<Self, Wrong> {
        match &value.node {
            Node::Text(text) if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
                Err(wrong(Code::BadText, "a control character inside", "remove it"))
            }
            Node::Text(text) => Ok(Self(text.clone())),
            _ => String::read(value).map(Self),
        }
    }

    fn grammar() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

fn when(section: &mut Section<'_>, terms: &Terms<'_>) -> Option<Condition> {
    let told = section.take::<Formula>("when")?;
    let names: Vec<Name> =
        terms.names.iter().map(|(name, point)| named(name, *point, terms.installed)).collect();
    if names.is_empty() {
        return None; // said of `points`
    }
    match Expression::compile(&told.value.0, &names) {
        Ok(expression) => Some(Condition::When(expression)),
        Err(fault) => {
            let cure = match fault.cure {
                Cure::Say(cure) => cure,
                Cure::Meant { word, there_is } => did_you_mean(&word, there_is.iter().map(String::as_str)),
            };
            let spot = section.report.inside(told.spot, fault.at, fault.at + fault.length);
            section.report.mistake(Code::BadExpression, spot, format!("`when`: {}", fault.what), cure);
            None
        }
    }
}

fn named(name: &str, point: PointId, installed: &Installed<'_>) -> Name {
    let kind = match &installed.shapes[point.0 as usize] {
        Shape::Number => Kind::Number,
        Shape::Bool => Kind::Bool,
        Shape::Text => Kind::Text,
        Shape::Words(words) => Kind::Words(words.clone()),
        Shape::Any => Kind::Any,
    };
    Name { name: name.to_owned(), point: installed.points[point.0 as usize].id.clone(), kind }
}

fn schedule(section: &mut Section<'_>, terms: &Terms<'_>) -> Option<Condition> {
    let told = section.take::<String>("schedule");
    let device = section.take::<String>("device").and_then(|told| {
        let devices = &terms.installed.devices;
        let found = devices.iter().position(|device| *device.id == *told.value);
        if found.is_none() {
            let there_is: Vec<&str> = devices.iter().map(|device| &*device.id).collect();
            section.report.unknown(
                Code::NoSuchDevice,
                told.spot,
                &told.value,
                format!("there is no device `{}`", told.value),
                &there_is,
            );
        }
        found.map(|device| DeviceId(device as u32))
    });
    let place = section.take::<String>("place").map(|told| told.value.into());
    let told = told?;
    match Occasions::parse(&told.value, terms.zone) {
        Ok(occasions) => Some(Condition::Schedule(Box::new(occasions.at(device, place)))),
        Err(what) => {
            let cure = "write minute, hour, day, month, weekday: `\"0 9 1 * *\"` is nine o'clock on the first of each month";
            section.report.mistake(Code::BadSchedule, told.spot, what, cure);
            None
        }
    }
}

/// What stands beside a schedule and says nothing there.
pub(super) fn idle(section: &mut Section<'_>) {
    const IDLE: [(&str, &str); 6] = [
        ("point", "leave it out; `device` or `place` says where the work is"),
        ("points", "leave it out; `device` or `place` says where the work is"),
        ("on_delay", "leave it out; an occasion is there at its time"),
        ("off_delay", "leave it out; an occasion is gone when its ticket is resolved"),
        ("settle", "leave it out; an occasion is gone when its ticket is resolved"),
        ("reopen", "leave it out; each occasion has a ticket of its own"),
    ];
    for (key, cure) in IDLE {
        if let Some(entry) = section.entry_to_come(key) {
            section.report.mistake(
                Code::OfNoUse,
                entry.key_spot,
                format!("`{key}` means nothing to a schedule"),
                cure,
            );
        }
    }
}
