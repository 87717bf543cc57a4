//! `[[rule]]`, the rules that profiles suggest, and the built-in ones.

use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;
use serde_json::{Value as Json, json};

use super::devices::Installed;
use super::kinds::{ID_MAX, Pair, Texts, human, millis, wrong};
use super::mistakes::{Report, Spot, did_you_mean, listed};
use super::names::{Names, title};
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Table, Value as Written};
use crate::field::profile::Shape;
use crate::reading::{DeviceId, Millis, PointId, Value};
use crate::rules::{
    Condition, DEVICE_SILENT, DEVICE_SILENT_DEFAULT, Over, REOPEN_DEFAULT, Rule, SETTLE_DEFAULT,
    VERIFY_DEFAULT,
};
use crate::ticket::Class;

pub const RULES_MAX: usize = 2048;
/// Patterns of one rule.
const PATTERNS_MAX: usize = 64;
const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
const SILENT_MIN: Duration = Duration::from_secs(1);
const LEVEL_DEFAULT: u8 = 3;

/// Conditions of this version.
const CONDITIONS: [&str; 7] = [
    "above",
    "below",
    "outside",
    "inside",
    "equals",
    "not_equals",
    "silent",
];
/// Those of the contract that are still to come.
const LATER: [&str; 9] = [
    "rises", "falls", "stuck", "count", "when", "forecast", "runtime", "cycles", "schedule",
];
const PLACEHOLDERS: [&str; 6] = ["device", "point", "place", "value", "unit", "limit"];
/// Rules that are built in; of these, this version has the first.
const BUILT_IN: [&str; 5] = [
    DEVICE_SILENT,
    "channel-offline",
    "storm",
    "storage-low",
    "clock-unsynced",
];

pub(super) fn rules(tables: &[&Table], installed: &Installed<'_>, report: &Report<'_>) -> Vec<Rule> {
    let mut names = Names::new("rule", "give one of them another id", RULES_MAX);
    let mut rules = Vec::new();
    for table in tables {
        let mut section = Section::new(table, title("rule", table, "id"), report);
        let id = names.claim(&mut section);
        if let Some(entry) = section.entry("id").filter(|_| BUILT_IN.contains(&id.as_str())) {
            let cure =
                format!("name yours otherwise; `builtin = {{ {id} = false }}` switches the built-in one off");
            report.mistake(entry.value.spot, format!("rule `{id}` is built in"), cure);
        }
        rules.push(rule(section, id, None, installed, report));
    }
    for (device, table) in &installed.suggested {
        let owner = &installed.devices[device.0 as usize].id;
        let section = Section::new(table, title("rule", table, "id"), report);
        let id = format!("{owner}-{}", table.text("id").unwrap_or("rule"));
        let spot = table.get("id").map_or(section.spot(), |entry| entry.value.spot);
        if id.len() > ID_MAX {
            report.mistake(
                spot,
                format!("rule `{id}` has more than {ID_MAX} letters"),
                format!("shorten the id of device `{owner}`"),
            );
        }
        names.once(&id, spot, report);
        rules.push(rule(section, id, Some(owner), installed, report));
    }
    rules
}

/// `owner`: the device whose profile suggests the rule; its points are named without it.
fn rule(
    mut section: Section<'_>,
    id: String,
    owner: Option<&Arc<str>>,
    installed: &Installed<'_>,
    report: &Report<'_>,
) -> Rule {
    section.entry("id");
    let points = points(&mut section, owner, installed);
    let (condition, limit) = condition(&mut section);
    let mut delay = |key, default: Millis| {
        section
            .span(key, Duration::ZERO..=DELAY_MAX)
            .map_or(default, |told| millis(told.value))
    };
    let (on_delay, off_delay) = (delay("on_delay", 0), delay("off_delay", 0));
    let settle = delay("settle", SETTLE_DEFAULT);
    let (verify, reopen) = (delay("verify", VERIFY_DEFAULT), delay("reopen", REOPEN_DEFAULT));
    let classes = [
        ("immediate", Class::Immediate),
        ("planned", Class::Planned),
        ("periodic", Class::Periodic),
    ];
    let rule = Rule {
        id: id.into(),
        deadband: deadband(&mut section, &condition),
        class: section
            .word("class", &classes)
            .map_or(Class::Immediate, |told| told.value),
        level: section
            .whole("level", 1..=3)
            .map_or(LEVEL_DEFAULT, |told| told.value),
        trade: section.take::<String>("trade").map(|told| told.value.into()),
        title: section.take::<Title>("title").map(|told| told.value.0),
        over: Over::Points(points),
        condition,
        limit,
        on_delay,
        off_delay,
        settle,
        verify,
        reopen,
    };
    suits(&mut section, &rule, installed, report);
    section.finish();
    rule
}

// ---------------------------------------------------------------------------------------------- points

/// The points that the patterns name, each once, in the order of the site.
fn points(section: &mut Section<'_>, owner: Option<&Arc<str>>, installed: &Installed<'_>) -> Vec<PointId> {
    if LATER.iter().any(|key| section.entry(key).is_some()) && section.entry("point").is_none() {
        // Several of those take no point; what they are is said elsewhere.
        return Vec::new();
    }
    if section.entry("point").is_none() {
        section.missing(
            "point",
            "write `point = \"pump-1.pressure\"`; a glob or a list will do as well",
        );
    }
    let Some(told) = section.take::<Texts>("point") else {
        return Vec::new();
    };
    if told.value.0.is_empty() || told.value.0.len() > PATTERNS_MAX {
        let cure = format!("name 1 to {PATTERNS_MAX}; globs are allowed: `\"*.humidity\"`");
        section.report.mistake(
            told.spot,
            format!("`point` names {} points", told.value.0.len()),
            cure,
        );
    }
    let mut chosen = vec![false; installed.points.len()];
    for (text, spot) in &told.value.0 {
        let text = owner.map_or_else(|| text.clone(), |owner| format!("{owner}.{text}"));
        choose(&text, *spot, section, installed, &mut chosen);
    }
    (0..)
        .zip(chosen)
        .filter(|(_, chosen)| *chosen)
        .map(|(i, _)| PointId(i))
        .collect()
}

fn choose(text: &str, spot: Spot, section: &Section<'_>, installed: &Installed<'_>, chosen: &mut [bool]) {
    let pattern = match Pattern::new(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            section.report.mistake(
                spot,
                format!("`{text}` is no pattern: {}", error.msg),
                "write it like `\"*.humidity\"`",
            );
            return;
        }
    };
    let mut found = false;
    for (point, chosen) in installed.points.iter().zip(chosen) {
        if pattern.matches(&point.id) {
            (found, *chosen) = (true, true);
        }
    }
    if !found {
        nothing(text, spot, section, installed);
    }
}

/// What to say of a pattern that names no point.
fn nothing(text: &str, spot: Spot, section: &Section<'_>, installed: &Installed<'_>) {
    let device = text.split_once('.').map_or(text, |(device, _)| device);
    if text.contains(['*', '?', '[']) {
        // A device whose points could not be told may have had it.
        if installed.unsure.is_empty() {
            let what = format!("{}: no point matches `{text}`", section.name);
            section.report.missing(
                spot,
                what,
                "write it like `\"*.humidity\"`; `gatehouse check` lists the points of a good configuration",
            );
        }
        return;
    }
    if installed.unsure.iter().any(|id| **id == *device) {
        return;
    }
    let what = format!("{}: there is no point `{text}`", section.name);
    let known: Vec<&str> = match installed.devices.iter().find(|there| *there.id == *device) {
        Some(there) => {
            let first = there.first_point as usize;
            installed.points[first..first + there.points as usize]
                .iter()
                .map(|point| &*point.id)
                .collect()
        }
        None => installed.points.iter().map(|point| &*point.id).collect(),
    };
    section.report.unknown(spot, text, what, &known);
}

// ---------------------------------------------------------------------------------------------- condition

/// The one condition, and how it was written.
fn condition(section: &mut Section<'_>) -> (Condition, Json) {
    let harmless = (Condition::Silent(Millis::MAX), Json::Null);
    let mut written: Vec<(&'static str, Spot)> = Vec::new();
    for key in CONDITIONS.into_iter().chain(LATER) {
        if let Some(entry) = section.entry(key) {
            written.push((key, entry.key_spot));
            if LATER.contains(&key) {
                section.report.mistake(
                    entry.key_spot,
                    format!("the condition `{key}` is not in this version"),
                    format!("use one of {}", listed(CONDITIONS)),
                );
            }
        }
    }
    written.sort_by_key(|(_, spot)| spot.start);
    if written.iter().any(|(key, _)| *key == "when") {
        // Its partner; unknown to every other condition.
        section.entry("points");
    }
    if let [(first, _), rest @ ..] = written.as_slice()
        && let Some((second, spot)) = rest.first()
    {
        let what = format!("{} has two conditions, `{first}` and `{second}`", section.name);
        section
            .report
            .mistake(*spot, what, "keep one, and make a rule of its own of the other");
    }
    let Some((key, _)) = written.first() else {
        let cure = format!("add one of {}", listed(CONDITIONS));
        section
            .report
            .missing(section.spot(), format!("{} has no condition", section.name), cure);
        return harmless;
    };
    let limit = section
        .entry(key)
        .map_or(Json::Null, |entry| json!({ *key: as_written(&entry.value) }));
    // All of them are read, so that a wrong value of the second is found as well.
    let read: Vec<Option<Condition>> = written
        .iter()
        .map(|(key, _)| read_condition(section, key))
        .collect();
    match read.into_iter().next().flatten() {
        Some(condition) => (condition, limit),
        None => harmless,
    }
}

fn read_condition(section: &mut Section<'_>, key: &'static str) -> Option<Condition> {
    match key {
        "above" => section.take(key).map(|told| Condition::Above(told.value)),
        "below" => section.take(key).map(|told| Condition::Below(told.value)),
        "outside" => section
            .take::<Pair>(key)
            .map(|told| Condition::Outside(told.value.0, told.value.1)),
        "inside" => section
            .take::<Pair>(key)
            .map(|told| Condition::Inside(told.value.0, told.value.1)),
        "equals" => section.take(key).map(|told| Condition::Equals(told.value)),
        "not_equals" => section.take(key).map(|told| Condition::NotEquals(told.value)),
        "silent" => section
            .span(key, SILENT_MIN..=DELAY_MAX)
            .map(|told| Condition::Silent(millis(told.value))),
        _ => None,
    }
}

fn as_written(value: &Written) -> Json {
    match &value.node {
        Node::Text(text) => json!(text),
        Node::Whole(number) => i64::try_from(*number).map_or(json!(*number as f64), |number| json!(number)),
        Node::Number(number) => json!(number),
        Node::Bool(flag) => json!(flag),
        Node::List(list) => Json::Array(list.iter().map(as_written).collect()),
        Node::Time | Node::Table(_) => Json::Null,
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
                        format!("{number} cannot be used"),
                        "no register holds such a number",
                    )
                }),
            _ => f64::read(value).map(Value::Number),
        }
    }
}

fn deadband(section: &mut Section<'_>, condition: &Condition) -> f64 {
    let Some(told) = section.take::<f64>("deadband") else {
        return 0.0;
    };
    let complain = |what: &str, cure: &str| section.report.mistake(told.spot, what, cure);
    match condition {
        _ if told.value < 0.0 => complain("`deadband` is below 0", "write 0 or more"),
        Condition::Equals(_) | Condition::NotEquals(_) => {
            complain(
                "`deadband` needs a limit to come back from",
                "leave it out; `off_delay` keeps a value from flickering",
            );
        }
        // A condition that could not be read stands here as `Silent` too; that has been said already.
        Condition::Silent(span) if *span != Millis::MAX => {
            complain("`deadband` says nothing of silence", "leave it out")
        }
        Condition::Outside(low, high) if told.value * 2.0 > high - low => {
            complain(
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
fn suits(section: &mut Section<'_>, rule: &Rule, installed: &Installed<'_>, report: &Report<'_>) {
    let Over::Points(points) = &rule.over else { return };
    let key = match &rule.condition {
        Condition::Above(_) => "above",
        Condition::Below(_) => "below",
        Condition::Outside(..) => "outside",
        Condition::Inside(..) => "inside",
        Condition::Equals(_) => "equals",
        Condition::NotEquals(_) => "not_equals",
        Condition::Silent(_) => return,
    };
    let Some(spot) = section.entry(key).map(|entry| entry.value.spot) else {
        return;
    };
    for point in points {
        let id = &installed.points[point.0 as usize].id;
        if let Some((what, cure)) = unsuited(&rule.condition, &installed.shapes[point.0 as usize], id) {
            // The first one says it for all.
            return report.mistake(spot, format!("{}: {what}", section.name), cure);
        }
    }
}

fn unsuited(condition: &Condition, shape: &Shape, id: &str) -> Option<(String, String)> {
    let value = match condition {
        Condition::Equals(value) | Condition::NotEquals(value) => value,
        _ => {
            let is = match shape {
                Shape::Number | Shape::Any => return None,
                Shape::Bool => "true or false".to_owned(),
                Shape::Text => "text".to_owned(),
                Shape::Words(words) => listed(words.iter().map(String::as_str)),
            };
            return Some((
                format!("`{id}` is {is} and has no limit"),
                "use `equals` or `not_equals`".into(),
            ));
        }
    };
    match (shape, value) {
        (Shape::Any, _) | (Shape::Text, Value::Text(_)) | (Shape::Bool, Value::Bool(_)) => None,
        (Shape::Words(words), Value::Text(word)) if words.iter().any(|there| **there == **word) => None,
        (Shape::Words(words), value) => {
            let words = words.iter().map(String::as_str);
            Some((
                format!("`{id}` is never `{value}`"),
                did_you_mean(&value.to_string(), words),
            ))
        }
        (Shape::Number, value) if value.number().is_some() => None,
        (Shape::Number, value) => Some((
            format!("`{id}` is a number and never `{value}`"),
            "write a number, without quotes".into(),
        )),
        (Shape::Bool, value) => Some((
            format!("`{id}` is true or false and never `{value}`"),
            "write `true` or `false`, without quotes".into(),
        )),
        (Shape::Text, value) => Some((
            format!("`{id}` is text and never {value}"),
            format!("write `\"{value}\"`"),
        )),
    }
}

/// `{place}: 水压低 {value} {unit}`
struct Title(String);

impl Read for Title {
    const IS: &'static str = "text in quotes";
    const EXAMPLE: &'static str = "\"{place}: 水压低 {value} {unit}\"";

    fn read(value: &Written) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let Some((name, after)) = rest[at..].strip_prefix('{').and_then(|rest| rest.split_once('}'))
            else {
                return Err(wrong(
                    "a brace without its partner",
                    "write placeholders like `{value}`",
                ));
            };
            if !PLACEHOLDERS.contains(&name) {
                return Err(wrong(
                    format!("there is no placeholder `{{{name}}}`"),
                    did_you_mean(name, PLACEHOLDERS),
                ));
            }
            rest = after;
        }
        Ok(Self(text))
    }
}

// ---------------------------------------------------------------------------------------------- built in

/// `device-silent` over all polled devices that have it on; `None` where there is none.
pub(super) fn built_in(
    table: Option<&Table>,
    installed: &Installed<'_>,
    report: &Report<'_>,
) -> Option<Rule> {
    let silent = table.map_or(Some(DEVICE_SILENT_DEFAULT), |table| switches(table, report));
    let on = |(i, own): (u32, &Option<bool>)| {
        let polled = installed
            .devices
            .get(i as usize)
            .is_some_and(|device| device.polled);
        (polled && own.unwrap_or(silent.is_some())).then_some(DeviceId(i))
    };
    let devices: Vec<DeviceId> = (0..).zip(&installed.silent).filter_map(on).collect();
    let span = silent.unwrap_or(DEVICE_SILENT_DEFAULT);
    (!devices.is_empty()).then(|| Rule {
        id: DEVICE_SILENT.into(),
        over: Over::Devices(devices),
        condition: Condition::Silent(span),
        limit: json!({ "silent": human(Duration::from_millis(span.unsigned_abs())) }),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: SETTLE_DEFAULT,
        verify: VERIFY_DEFAULT,
        reopen: REOPEN_DEFAULT,
        class: Class::Immediate,
        level: 2,
        trade: None,
        title: None,
    })
}

/// How long a device may be silent; `None`: switched off.
fn switches(table: &Table, report: &Report<'_>) -> Option<Millis> {
    let mut section = Section::new(table, "`builtin`", report);
    let silent = match section.entry(DEVICE_SILENT).map(|entry| &entry.value.node) {
        Some(Node::Text(_)) => section
            .span(DEVICE_SILENT, SILENT_MIN..=DELAY_MAX)
            .map(|told| millis(told.value)),
        _ => section
            .take_or(DEVICE_SILENT, true)
            .then_some(DEVICE_SILENT_DEFAULT),
    };
    for key in BUILT_IN.into_iter().skip(1) {
        let told: Option<Told<bool>> = section.take(key);
        if let Some(told) = told.filter(|told| told.value) {
            report.warning(
                told.spot,
                format!("`{key}` is not in this version, ignored"),
                "remove it, or leave it for a later version",
            );
        }
    }
    section.finish();
    silent
}
