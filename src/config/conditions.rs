//! The one condition of a rule, and whether its points can ever have such a value.

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::Tie;
use super::installed::Installed;
use super::kinds::{Pair, millis, wrong};
use super::mistakes::{Spot, did_you_mean, listed};
use super::rules::{DELAY_MAX, SILENT_MIN};
use super::section::{Read, Section, Wrong};
use super::tree::{Node, Value as Written};
use super::windows::{Terms, longer};
use crate::field::profile::Shape;
use crate::reading::{Millis, Value};
use crate::rules::{Condition, Over, Rule};

pub(super) const CONDITIONS: [&str; 16] = [
    "above",
    "below",
    "outside",
    "inside",
    "equals",
    "not_equals",
    "silent",
    "rises",
    "falls",
    "stuck",
    "count",
    "when",
    "forecast",
    "runtime",
    "cycles",
    "schedule",
];
// ---------------------------------------------------------------------------------------------- condition

/// The one condition, and how it was written.
/// `terms`: the names of `when`, and the gateway's timezone.
pub(super) fn condition(section: &mut Section<'_>, terms: &Terms<'_>) -> (Condition, Json) {
    let harmless = (Condition::Silent(Millis::MAX), Json::Null);
    section.tie(|| Tie::OneOf(CONDITIONS.to_vec()));
    let mut written: Vec<(&'static str, Spot)> = Vec::new();
    for key in CONDITIONS {
        written.extend(section.entry(key).map(|entry| (key, entry.key_spot)));
    }
    written.sort_by_key(|(_, spot)| spot.start);
    if let [(first, _), rest @ ..] = written.as_slice()
        && let Some((second, spot)) = rest.first()
    {
        let what = format!("{} has two conditions, `{first}` and `{second}`", section.name);
        section.report.mistake(
            Code::TwoConditions,
            *spot,
            what,
            "keep one, and make a rule of its own of the other",
        );
    }
    let Some((key, _)) = written.first() else {
        let cure = format!("add one of {}", listed(CONDITIONS));
        section.report.missing(
            Code::NoCondition,
            section.spot(),
            format!("{} has no condition", section.name),
            cure,
        );
        return harmless;
    };
    let limit = section.entry(key).map_or(Json::Null, |entry| json!({ *key: as_written(&entry.value) }));
    // All of them are read, so that a wrong value of the second is found as well.
    let read: Vec<Option<Condition>> =
        written.iter().map(|(key, _)| read_condition(section, key, terms)).collect();
    match read.into_iter().next().flatten() {
        Some(condition) => (condition, limit),
        None => harmless,
    }
}

fn read_condition(section: &mut Section<'_>, key: &'static str, terms: &Terms<'_>) -> Option<Condition> {
    match key {
        "above" => section.take(key).map(|told| Condition::Above(told.value)),
        "below" => section.take(key).map(|told| Condition::Below(told.value)),
        "outside" => section.take::<Pair>(key).map(|told| Condition::Outside(told.value.0, told.value.1)),
        "inside" => section.take::<Pair>(key).map(|told| Condition::Inside(told.value.0, told.value.1)),
        "equals" => section.take(key).map(|told| Condition::Equals(told.value)),
        "not_equals" => section.take(key).map(|told| Condition::NotEquals(told.value)),
        "silent" => {
            section.span(key, SILENT_MIN..=DELAY_MAX).map(|told| Condition::Silent(millis(told.value)))
        }
        _ => longer(section, key, terms),
    }
}

fn as_written(value: &Written) -> Json {
    match &value.node {
        Node::Text(text) => json!(text),
        Node::Whole(number) => i64::try_from(*number).map_or(json!(*number as f64), |number| json!(number)),
        Node::Number(number) => json!(number),
        Node::Bool(flag) => json!(flag),
        Node::List(list) => Json::Array(list.iter().map(as_written).collect()),
        Node::Table(table) => {
            let entries = table.entries.iter().map(|entry| (entry.key.clone(), as_written(&entry.value)));
            Json::Object(entries.collect())
        }
        Node::Time => Json::Null,
    }
}

impl Read for Value {
    const IS: &'static str = "a number, true or false, or text";
    const EXAMPLE: &'static str = "\"open\"";

    fn read(value: &Written) -> Result<Self, Wrong> {
        match &value.node {
            Node::Bool(flag) => Ok(Value::Bool(*flag)),
            Node::Text(_) => String::read(value).map(|text| Value::Text(text.into())),
            Node::Whole(number) => i64::try_from(*number)
                .map(Value::Signed)
                .or_else(|_| u64::try_from(*number).map(Value::Unsigned))
                .map_err(|_| {
                    wrong(
                        Code::OutOfRange,
                        format!("{number} cannot be used"),
                        "no register holds such a number",
                    )
                }),
            _ => f64::read(value).map(Value::Number),
        }
    }

    fn grammar() -> Json {
        json!({ "type": ["boolean", "string", "number"], "minLength": 1 })
    }
}

pub(super) fn deadband(section: &mut Section<'_>, condition: &Condition) -> f64 {
    let told = section.take::<f64>("deadband");
    section.tie(|| {
        let limits =
            ["above", "below", "outside", "inside", "rises", "falls"].map(|key| json!({ "required": [key] }));
        Tie::Holds(json!({ "if": { "required": ["deadband"] }, "then": { "anyOf": limits } }))
    });
    section.narrow("deadband", || json!({ "minimum": 0 }));
    let Some(told) = told else {
        return 0.0;
    };
    let complain = |code, what: &str, cure: &str| section.report.mistake(code, told.spot, what, cure);
    match condition {
        _ if told.value < 0.0 => complain(Code::OutOfRange, "`deadband` is below 0", "write 0 or more"),
        Condition::Equals(_) | Condition::NotEquals(_) => {
            complain(
                Code::OfNoUse,
                "`deadband` needs a limit to come back from",
                "leave it out; `off_delay` keeps a value from flickering",
            );
        }
        // A condition that could not be read stands here as `Silent` too; that has been said already.
        Condition::Silent(span) if *span != Millis::MAX => {
            complain(Code::OfNoUse, "`deadband` says nothing of silence", "leave it out");
        }
        Condition::Stuck(_)
        | Condition::Count { .. }
        | Condition::When(_)
        | Condition::Forecast { .. }
        | Condition::Runtime { .. }
        | Condition::Cycles { .. }
        | Condition::Schedule(_) => {
            complain(Code::OfNoUse, "`deadband` means nothing to this condition", "leave it out");
        }
        Condition::Rises { by, .. } | Condition::Falls { by, .. } if told.value >= *by => {
            complain(
                Code::NeverGone,
                "with this `deadband` the condition would never be gone",
                "write less than `by`",
            );
        }
        Condition::Outside(low, high) if told.value * 2.0 > high - low => {
            complain(
                Code::NeverGone,
                "with this `deadband` the condition would never be gone",
                "write at most half of the distance of the bounds",
            );
        }
        _ => {}
    }
    told.value
}

// ---------------------------------------------------------------------------------------------- values

/// Whether the points can have such values at all.
pub(super) fn suits(section: &mut Section<'_>, rule: &Rule, installed: &Installed<'_>) {
    let Over::Points(points) = &rule.over else { return };
    let key = match &rule.condition {
        Condition::Above(_) => "above",
        Condition::Below(_) => "below",
        Condition::Outside(..) => "outside",
        Condition::Inside(..) => "inside",
        Condition::Equals(_) => "equals",
        Condition::NotEquals(_) => "not_equals",
        Condition::Rises { .. } => "rises",
        Condition::Falls { .. } => "falls",
        Condition::Forecast { .. } => "forecast",
        Condition::Count { .. } => "count",
        Condition::Runtime { .. } => "runtime",
        Condition::Cycles { .. } => "cycles",
        _ => return,
    };
    let Some(spot) = section.peek(key).map(|entry| entry.value.spot) else {
        return;
    };
    for point in points {
        let id = &installed.points[point.0 as usize].id;
        if let Some((what, cure)) = unsuited(&rule.condition, &installed.shapes[point.0 as usize], id) {
            // The first one says it for all.
            return section.report.mistake(Code::NeverSo, spot, format!("{}: {what}", section.name), cure);
        }
    }
}

fn unsuited(condition: &Condition, shape: &Shape, id: &str) -> Option<(String, String)> {
    let value = match condition {
        Condition::Equals(value)
        | Condition::NotEquals(value)
        | Condition::Count { equals: value, .. }
        | Condition::Runtime { equals: Some(value), .. }
        | Condition::Cycles { equals: Some(value), .. } => value,
        _ => {
            let is = match shape {
                Shape::Number | Shape::Any => return None,
                Shape::Bool => "true or false".to_owned(),
                Shape::Text => "text".to_owned(),
                Shape::Words(words) => listed(words.iter().map(String::as_str)),
            };
            return Some((format!("`{id}` is {is} and has no limit"), "use `equals` or `not_equals`".into()));
        }
    };
    match (shape, value) {
        (Shape::Any, _) | (Shape::Text, Value::Text(_)) | (Shape::Bool, Value::Bool(_)) => None,
        (Shape::Words(words), Value::Text(word)) if words.iter().any(|there| **there == **word) => None,
        (Shape::Words(words), value) => {
            let words = words.iter().map(String::as_str);
            Some((format!("`{id}` is never `{value}`"), did_you_mean(&value.to_string(), words)))
        }
        (Shape::Number, value) if value.number().is_some() => None,
        (Shape::Number, value) => {
            Some((format!("`{id}` is a number and never `{value}`"), "write a number, without quotes".into()))
        }
        (Shape::Bool, value) => Some((
            format!("`{id}` is true or false and never `{value}`"),
            "write `true` or `false`, without quotes".into(),
        )),
        (Shape::Text, value) => {
            Some((format!("`{id}` is text and never {value}"), format!("write `\"{value}\"`")))
        }
    }
}
