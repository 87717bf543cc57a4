//! `[[rule]]`, the rules that profiles suggest, and the built-in ones.

use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;

use serde_json::{Value as Json, json};

use super::builtin::BUILT_IN;
use super::chatter::chatter;
use super::codes::Code;
use super::conditions::{condition, deadband, suits};
use super::ear::{Variant, text};
use super::installed::Installed;
use super::kinds::{ID_MAX, Id, Texts, millis, wrong};
use super::mistakes::{Report, Spot, did_you_mean};
use super::names::{Names, title};
use super::section::{Read, Section, Wrong};
use super::tree::{Table, Value as Written};
use super::windows::{Terms, idle};
use crate::reading::{Millis, PointId};
use crate::rules::{Condition, Over, REOPEN_DEFAULT, Rule, SETTLE_DEFAULT, VERIFY_DEFAULT};
use crate::store::CLOSED_REMEMBERED;
use crate::ticket::Class;

pub const RULES_MAX: usize = 2048;
/// Patterns of one rule.
const PATTERNS_MAX: usize = 64;
pub(super) const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Older tickets are not remembered, so that they could not be reopened.
const REOPEN_MAX: Duration = Duration::from_millis(CLOSED_REMEMBERED.unsigned_abs());
pub(super) const SILENT_MIN: Duration = Duration::from_secs(1);
const LEVEL_DEFAULT: u8 = 3;

const PLACEHOLDERS: [&str; 6] = ["{device}", "{point}", "{place}", "{value}", "{unit}", "{limit}"];

/// `zone`: the gateway's timezone.
pub(super) fn rules(
    tables: &[&Table],
    installed: &Installed<'_>,
    zone: &str,
    report: &Report<'_>,
) -> Vec<Rule> {
    let mut names = Names::new("rule", "give one of them another id", RULES_MAX);
    let mut rules = Vec::new();
    for table in tables {
        let mut section = Section::new(table, title("rule", table, "id"), report);
        let id = names.claim(&mut section);
        if let Some(entry) = section.entry("id").filter(|_| BUILT_IN.contains(&id.as_str())) {
            let cure =
                format!("name yours otherwise; `builtin = {{ {id} = false }}` switches the built-in one off");
            report.mistake(Code::NameOfAnother, entry.value.spot, format!("rule `{id}` is built in"), cure);
        }
        rules.push(rule(section, id, None, installed, zone));
    }
    for (device, table) in &installed.suggested {
        let owner = &installed.devices[device.0 as usize].id;
        let section = Section::new(table, title("rule", table, "id"), report);
        let id = format!("{owner}-{}", table.text("id").unwrap_or("rule"));
        let spot = table.get("id").map_or(section.spot(), |entry| entry.value.spot);
        if id.len() > ID_MAX {
            report.mistake(
                Code::BadName,
                spot,
                format!("rule `{id}` has more than {ID_MAX} letters"),
                format!("shorten the id of device `{owner}`"),
            );
        }
        names.once(&id, spot, report);
        rules.push(rule(section, id, Some(owner), installed, zone));
    }
    rules
}

/// A rule that is tried by itself.
pub(super) fn one(
    table: &Table,
    owner: Option<&Arc<str>>,
    installed: &Installed<'_>,
    zone: &str,
    report: &Report<'_>,
) -> Rule {
    let mut section = Section::new(table, title("rule", table, "id"), report);
    let id = match owner {
        Some(owner) => format!("{owner}-{}", table.text("id").unwrap_or("rule")),
        None => Names::new("rule", "", 1).claim(&mut section),
    };
    rule(section, id, owner, installed, zone)
}

/// `owner`: the device whose profile suggests the rule; its points are named without it.
fn rule(
    mut section: Section<'_>,
    id: String,
    owner: Option<&Arc<str>>,
    installed: &Installed<'_>,
    zone: &str,
) -> Rule {
    section.hear("id", Id::grammar);
    section.entry("id");
    let stands = stands(&mut section, owner, installed);
    let names = if let Stands::Together(names) = &stands { names.as_slice() } else { &[] };
    let (condition, limit) = condition(&mut section, &Terms { names, zone, installed });
    let over = match stands {
        Stands::Points(points) if matches!(condition, Condition::Silent(_)) => {
            Over::Points(read(&section, points, installed))
        }
        Stands::Points(points) => Over::Points(points),
        Stands::Together(names) => Over::Together(names.into_iter().map(|(_, point)| point).collect()),
        Stands::Nothing => Over::Nothing,
    };
    let mut delay = |key, default: Millis, most| {
        section.span(key, Duration::ZERO..=most).map_or(default, |told| millis(told.value))
    };
    let on_delay = delay("on_delay", 0, DELAY_MAX);
    let off_delay = delay("off_delay", 0, DELAY_MAX);
    let settle = delay("settle", SETTLE_DEFAULT, DELAY_MAX);
    let verify = delay("verify", VERIFY_DEFAULT, DELAY_MAX);
    let reopen = delay("reopen", REOPEN_DEFAULT, REOPEN_MAX);
    let classes =
        [("immediate", Class::Immediate), ("planned", Class::Planned), ("periodic", Class::Periodic)];
    let usual = if matches!(condition, Condition::Schedule(_)) { Class::Periodic } else { Class::Immediate };
    let rule = Rule {
        id: id.into(),
        deadband: deadband(&mut section, &condition),
        class: section.word("class", &classes).map_or(usual, |told| told.value),
        level: section.whole("level", 1..=3).map_or(LEVEL_DEFAULT, |told| told.value),
        trade: section.take::<String>("trade").map(|told| told.value.into()),
        title: section.take::<Title>("title").map(|told| told.value.0),
        over,
        condition,
        limit,
        on_delay,
        off_delay,
        settle,
        verify,
        reopen,
        chatter: chatter(&mut section),
    };
    suits(&mut section, &rule, installed);
    section.finish();
    rule
}

// ---------------------------------------------------------------------------------------------- points

/// What a rule stands on.
enum Stands {
    Points(Vec<PointId>),
    /// The names of an expression.
    Together(Vec<(String, PointId)>),
    Nothing,
}

fn stands(section: &mut Section<'_>, owner: Option<&Arc<str>>, installed: &Installed<'_>) -> Stands {
    if section.peek("when").is_some() {
        section.variant(Variant::Has("when"));
        return Stands::Together(named(section, owner, installed));
    }
    if section.peek("schedule").is_some() {
        section.variant(Variant::Has("schedule"));
        idle(section);
        return Stands::Nothing;
    }
    section.variant(Variant::Plain);
    Stands::Points(points(section, owner, installed))
}

/// `points = { x = "pump-1.pressure" }`
fn named(
    section: &mut Section<'_>,
    owner: Option<&Arc<str>>,
    installed: &Installed<'_>,
) -> Vec<(String, PointId)> {
    section.hear("points", || {
        json!({ "type": "object", "additionalProperties": String::grammar(), "minProperties": 1, "maxProperties": PATTERNS_MAX })
    });
    section.hear_required("points");
    if section.entry("points").is_none() {
        section.missing("points", "write `points = { x = \"pump-1.pressure\" }`, a name for each point");
        return Vec::new();
    }
    let like = || "write it like `points = { x = \"pump-1.pressure\" }`, a name for each point".to_owned();
    let Some(table) = section.table_like("points", like) else {
        return Vec::new();
    };
    if table.entries.is_empty() || table.entries.len() > PATTERNS_MAX {
        let what = format!("`points` names {} points", table.entries.len());
        section.report.mistake(Code::ListLength, table.spot, what, format!("name 1 to {PATTERNS_MAX}"));
    }
    let mut names = Vec::new();
    for entry in &table.entries {
        let spot = entry.value.spot;
        let Ok(text) = String::read(&entry.value) else {
            let cure = format!("write it like `{} = \"pump-1.pressure\"`", entry.key);
            section.report.mistake(
                Code::WrongType,
                spot,
                format!("`{}` has to be text in quotes", entry.key),
                cure,
            );
            continue;
        };
        let text = owner.map_or_else(|| text.clone(), |owner| format!("{owner}.{text}"));
        if !is_name(&entry.key) {
            let what = format!("`{}` cannot be a name in an expression", entry.key);
            section.report.mistake(
                Code::BadName,
                entry.key_spot,
                what,
                "write letters, digits and `_`, and a letter first",
            );
            continue;
        }
        match installed.points.iter().position(|point| *point.id == *text) {
            Some(point) => names.push((entry.key.clone(), PointId(point as u32))),
            None => nothing(&text, spot, section, installed),
        }
    }
    // An expression over half of its names would only be complained of once more.
    if names.len() == table.entries.len() { names } else { Vec::new() }
}

/// As CEL reads one, and none of its own words.
fn is_name(name: &str) -> bool {
    const TAKEN: [&str; 22] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "math",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    letters && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && !TAKEN.contains(&name)
}

/// The points that the patterns name, each once, in the order of the site.
fn points(section: &mut Section<'_>, owner: Option<&Arc<str>>, installed: &Installed<'_>) -> Vec<PointId> {
    if section.entry("point").is_none() {
        section.missing("point", "write `point = \"pump-1.pressure\"`; a glob or a list will do as well");
    }
    let told = section.take::<Texts>("point");
    section.narrow("point", || json!({ "minItems": 1, "maxItems": PATTERNS_MAX }));
    let Some(told) = told else {
        return Vec::new();
    };
    if told.value.0.is_empty() || told.value.0.len() > PATTERNS_MAX {
        let cure = format!("name 1 to {PATTERNS_MAX}; globs are allowed: `\"*.humidity\"`");
        section.report.mistake(
            Code::ListLength,
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
    (0..).zip(chosen).filter(|(_, chosen)| *chosen).map(|(i, _)| PointId(i)).collect()
}

/// Those that are read: nothing has happened at a door for hours, and all is well.
fn read(section: &Section<'_>, points: Vec<PointId>, installed: &Installed<'_>) -> Vec<PointId> {
    let is_read = |point: &PointId| (point.0 as usize) < installed.measured;
    if let Some(entry) = section.peek("silent").filter(|_| !points.is_empty() && !points.iter().any(is_read))
    {
        let what = format!("{}: silence says nothing of a point where things happen", section.name);
        section.report.mistake(
            Code::NeverSo,
            entry.key_spot,
            what,
            "watch a point of the device that is read",
        );
    }
    points.into_iter().filter(is_read).collect()
}

fn choose(text: &str, spot: Spot, section: &Section<'_>, installed: &Installed<'_>, chosen: &mut [bool]) {
    let pattern = match Pattern::new(text) {
        Ok(pattern) => pattern,
        Err(error) => {
            section.report.mistake(
                Code::BadPattern,
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
            let points = installed.points.iter().map(|point| &*point.id);
            section.report.missing(Code::NoSuchPoint, spot, what, did_you_mean(text, points));
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
            installed.points[first..first + there.points as usize].iter().map(|point| &*point.id).collect()
        }
        None => installed.points.iter().map(|point| &*point.id).collect(),
    };
    section.report.unknown(Code::NoSuchPoint, spot, text, what, &known);
}

// ---------------------------------------------------------------------------------------------- title

/// `{place}: 水压低 {value} {unit}`
struct Title(String);

impl Read for Title {
    const IS: &'static str = "text in quotes";
    const EXAMPLE: &'static str = "\"{place}: 水压低 {value} {unit}\"";

    fn read(value: &Written) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let mut rest = text.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let end = rest[at..].find('}').map_or(at, |length| at + length);
            let name = &rest[at..=end];
            if name.len() < 2 {
                return Err(wrong(
                    Code::BadTitle,
                    "a brace without its partner",
                    "write placeholders like `{value}`",
                ));
            }
            if !PLACEHOLDERS.contains(&name) {
                return Err(wrong(
                    Code::BadTitle,
                    format!("there is no placeholder `{name}`"),
                    did_you_mean(name, PLACEHOLDERS),
                ));
            }
            rest = &rest[end + 1..];
        }
        Ok(Self(text))
    }

    fn grammar() -> Json {
        text(r"^([^{}]|\{(device|point|place|value|unit|limit)\})+$")
    }
}
