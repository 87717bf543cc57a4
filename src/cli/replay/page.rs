//! A replay for people: the changes, the plot, the sum, and what the history cannot show.

use std::fmt::Write;

use anyhow::Context;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::tally::{Subject, Tally};
use super::{Run, Seen};
use crate::cli::fit::lasting;
use crate::cli::plot::{Axis, Curve, Lane, Picture, draw, short};
use crate::cli::table::{Table, harmless};
use crate::config::Gateway;
use crate::config::trial::Trial;
use crate::reading::{Millis, PointId, Value};
use crate::rules::{Condition, Limit, Rule};

/// Plots on one page.
const PLOTS_MAX: usize = 3;
/// A steady value is written once a minute: a shorter silence looks the same.
const SILENCE_SEEN: Millis = 120_000;
/// A longer time has the year with each change.
const YEAR_TOLD: Millis = 300 * 86_400_000;
/// Less says nothing of a month.
const DAY: Millis = 86_400_000;
const MONTH: f64 = 30.4375 * 86_400_000.0;

/// Which replay the page is about.
pub(super) struct About<'a> {
    pub run: &'a Run<'a>,
    pub trial: &'a Trial,
    pub notes: &'a [String],
}

/// What a history cannot show. `oldest`: where it begins, if that is later than asked for.
pub(super) fn notes(
    rules: &[&[Rule]],
    gateway: &Gateway,
    oldest: Option<Millis>,
    gaps: &[(Millis, Millis)],
) -> Vec<String> {
    let mut notes = vec![
        "the history holds changes of a point's deadband or more, a steady value once a minute, and bad readings; \
         the last minute may not be written yet"
            .to_owned(),
    ];
    if let Some(oldest) = oldest {
        let zone = TimeZone::get(&gateway.timezone).unwrap_or(TimeZone::UTC);
        notes.push(format!(
            "it begins {}; what was before is not kept (`readings_keep`)",
            local(&zone, oldest)
        ));
    }
    if !gaps.is_empty() {
        let sum = gaps.iter().map(|(from, to)| to - from).sum();
        notes.push(format!(
            "{} without any reading, {} in all, taken as switched off",
            counted(gaps.len() as u64, "time", "times"),
            lasting(sum)
        ));
    }
    let short = |rule: &Rule| matches!(rule.condition, Condition::Silent(span) if span < SILENCE_SEEN);
    if rules.iter().copied().flatten().any(short) {
        notes.push("a silence of less than two minutes cannot be told from a steady value".to_owned());
    }
    notes
}

pub(super) fn page(about: &About<'_>, mut seen: Seen) -> anyhow::Result<String> {
    let zone = &about.run.gateway.timezone;
    let zone = TimeZone::get(zone).with_context(|| format!("timezone `{zone}`"))?;
    let axis = seen.axis;
    let still: Vec<usize> = seen.tallies.iter_mut().map(|tally| tally.close(&axis, axis.to)).collect();
    let labels = labels(about);
    let mut text = head(about, &seen, &labels, &zone);
    let when = if axis.to - axis.from < YEAR_TOLD { "%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    text += &changes(&seen.tallies, &labels, &|at| written(&zone, at, when));
    text += &plots(about, &seen, &labels, &zone);
    text += &sum(about, &seen, &labels, &still);
    for note in about.notes {
        let _ = writeln!(text, "note: {note}");
    }
    Ok(text)
}

fn head(about: &About<'_>, seen: &Seen, labels: &[String], zone: &TimeZone) -> String {
    let id = about.trial.rules.first().map_or("", |rule| &*rule.id);
    let (from, to) = (seen.axis.from, seen.axis.to);
    format!(
        "{id}: {}\n{} to {} ({}), {}; {} of {}\n\n",
        labels.join(" beside "),
        local(zone, from),
        local(zone, to),
        about.run.gateway.timezone,
        lasting(to - from),
        counted(seen.readings, "reading", "readings"),
        counted(about.run.points.len() as u64, "point", "points"),
    )
}

/// What each of the rules is called: its limit, or what was asked for where that does not tell them apart.
fn labels(about: &About<'_>) -> Vec<String> {
    let labels: Vec<String> = about
        .run
        .rules
        .iter()
        .map(|rules| rules.first().map(|rule| harmless(&words(&rule.limit))).unwrap_or_default())
        .collect();
    match (labels.as_slice(), &about.run.asked.compare) {
        ([first, second], Some(compare)) if first == second => vec!["as it is".into(), harmless(compare)],
        _ => labels,
    }
}

/// `{"below": 200.0}` → `below 200`
fn words(limit: &Json) -> String {
    match limit {
        Json::Object(keys) => {
            let keys: Vec<String> =
                keys.iter().map(|(key, value)| format!("{key} {}", words(value))).collect();
            keys.join(" ")
        }
        Json::Array(list) => list.iter().map(words).collect::<Vec<_>>().join(" to "),
        Json::Number(number) => number.as_f64().map_or_else(|| number.to_string(), short),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

// ---------------------------------------------------------------------------------------------- changes

fn changes(tallies: &[Tally], labels: &[String], when: &dyn Fn(Millis) -> String) -> String {
    let mut rows: Vec<_> = tallies
        .iter()
        .zip(labels)
        .flat_map(|(tally, label)| tally.shown.iter().map(move |(told, lasted)| (told, lasted, label)))
        .collect();
    if rows.is_empty() {
        return "no ticket would have been raised\n\n".to_owned();
    }
    rows.sort_by_key(|(told, ..)| told.at);
    let compared = labels.len() > 1;
    let mut head = vec!["TIME", "CHANGE", "POINT", "VALUE…", "OPEN FOR"];
    if compared {
        head.insert(1, "RULE…");
    }
    let mut table = Table::new(&head);
    for (told, lasted, label) in &rows {
        let on = told.point.as_ref().or(told.device.as_ref());
        let mut cells = vec![
            when(told.at).into(),
            told.change.into(),
            on.map_or("-", |on| &**on).into(),
            told.value.as_ref().map_or_else(|| "-".to_owned(), plain).into(),
            lasted.map(lasting).unwrap_or_default().into(),
        ];
        if compared {
            cells.insert(1, label.as_str().into());
        }
        table.row(cells);
    }
    let all: u64 = tallies.iter().map(|tally| tally.changes).sum();
    let more = match all - rows.len() as u64 {
        0 => String::new(),
        more => format!("… and {more} more; `--json` has them all\n"),
    };
    format!("{}{more}\n", table.render())
}

fn plain(value: &Value) -> String {
    match value {
        Value::Number(number) => short(*number),
        other => other.to_string(),
    }
}

// ---------------------------------------------------------------------------------------------- plots

fn plots(about: &About<'_>, seen: &Seen, labels: &[String], zone: &TimeZone) -> String {
    let limits: Vec<Vec<f64>> =
        about.run.rules.iter().map(|rules| rules.first().map(lines).unwrap_or_default()).collect();
    let ends = (minute(zone, seen.axis.from), minute(zone, seen.axis.to));
    let blank = Curve::default();
    let mut text = String::new();
    for on in drawn(about, seen) {
        let lane = |tally: &Tally| {
            let mut lane = Lane::default();
            let lanes = tally.lanes.iter().filter(|(subject, _)| belongs(subject, &on));
            lanes.for_each(|(_, (_, own))| lane.join(own));
            lane
        };
        let name = |label: &String| if labels.len() > 1 { label.clone() } else { "open".to_owned() };
        let lanes: Vec<(String, Lane)> =
            seen.tallies.iter().zip(labels).map(|(tally, label)| (name(label), lane(tally))).collect();
        let curve = on.id.and_then(|id| seen.curves.get(&id)).unwrap_or(&blank);
        let picture = Picture { curve, limits: &limits, lanes: &lanes, ends: ends.clone() };
        let _ = writeln!(text, "{}\n{}", harmless(&on.name), draw(&seen.axis, &picture));
    }
    text
}

/// What one plot is of: a point, or a device whose values say nothing.
struct On {
    name: String,
    id: Option<PointId>,
    subject: Subject,
}

/// Those with the most tickets; where there are none, the first points.
fn drawn(about: &About<'_>, seen: &Seen) -> Vec<On> {
    let site = &about.run.gateway.site;
    let point = |id: PointId| {
        let point = site.point(id);
        let unit = point.unit.as_deref().map(|unit| format!(" ({unit})")).unwrap_or_default();
        let device = Some(site.device(point.device).id.clone());
        let subject = Subject { point: Some(point.id.clone()), device };
        On { name: format!("{}{unit}", point.id), id: Some(id), subject }
    };
    let mut subjects: Vec<(u64, &Subject)> =
        seen.tallies.iter().flat_map(|tally| &tally.lanes).map(|(subject, (n, _))| (*n, subject)).collect();
    subjects.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    let mut drawn: Vec<On> = Vec::new();
    for (_, subject) in subjects {
        let on = match (&subject.point, &subject.device) {
            (Some(id), _) => site.point_named(id).map(point),
            // An expression over several points is drawn by its points.
            (None, None) => None,
            (None, Some(_)) if over_several(about.run.rules[0]) => None,
            (None, Some(device)) => Some(On { name: device.to_string(), id: None, subject: subject.clone() }),
        };
        let Some(on) = on.filter(|on| !drawn.iter().any(|there| there.subject == on.subject)) else {
            continue;
        };
        drawn.push(on);
        if drawn.len() == PLOTS_MAX {
            return drawn;
        }
    }
    if drawn.is_empty() {
        let known = |id: &&PointId| seen.curves.get(id).is_some_and(|curve| !curve.is_blank());
        drawn = about.run.points.iter().filter(known).take(PLOTS_MAX).copied().map(point).collect();
    }
    drawn
}

fn over_several(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| matches!(rule.condition, Condition::When(_)))
}

/// Whether the tickets of `subject` are shown below the plot of `on`.
fn belongs(subject: &Subject, on: &On) -> bool {
    match (&subject.point, &subject.device) {
        (Some(_), _) => subject.point == on.subject.point,
        (None, Some(_)) => subject.device == on.subject.device,
        (None, None) => true,
    }
}

/// The lines that a value can cross.
fn lines(rule: &Rule) -> Vec<f64> {
    match &rule.condition {
        Condition::Above(limit) | Condition::Below(limit) => vec![*limit],
        Condition::Outside(low, high) | Condition::Inside(low, high) => vec![*low, *high],
        Condition::Forecast { limit: Limit::Above(limit) | Limit::Below(limit), .. } => vec![*limit],
        Condition::Equals(value) | Condition::NotEquals(value) => value.number().into_iter().collect(),
        _ => Vec::new(),
    }
}

// ---------------------------------------------------------------------------------------------- sum

fn sum(about: &About<'_>, seen: &Seen, labels: &[String], still: &[usize]) -> String {
    let mut head = vec![""];
    head.extend(labels.iter().map(String::as_str));
    let mut table = Table::new(&head);
    let mut row = |name: &str, fact: &dyn Fn(&Tally) -> String| {
        let mut cells = vec![name.into()];
        cells.extend(seen.tallies.iter().map(|tally| fact(tally).into()));
        table.row(cells);
    };
    row("tickets opened", &|tally| tally.opened.to_string());
    row("reopened", &|tally| tally.reopened.to_string());
    row("changes told", &|tally| tally.changes.to_string());
    row("open in all", &|tally| lasting(tally.open));
    row("the longest", &|tally| lasting(tally.longest));
    let share = rate(about, &seen.axis);
    row("tickets a device and month", &|tally| {
        share.map_or("-".to_owned(), |one| short(tally.opened as f64 * one))
    });
    let mut cells = vec!["still open at the end".into()];
    cells.extend(still.iter().map(|open| open.to_string().into()));
    table.row(cells);
    table.render() + "\n"
}

/// What one ticket is, by device and month; `None`: the time is too short to say.
fn rate(about: &About<'_>, axis: &Axis) -> Option<f64> {
    let site = &about.run.gateway.site;
    let mut devices: Vec<_> = about.run.points.iter().map(|point| site.point(*point).device).collect();
    devices.sort_unstable();
    devices.dedup();
    let span = axis.to - axis.from;
    (span >= DAY).then(|| MONTH / span as f64 / devices.len().max(1) as f64)
}

// ---------------------------------------------------------------------------------------------- words

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn local(zone: &TimeZone, at: Millis) -> String {
    written(zone, at, "%Y-%m-%d %H:%M:%S")
}

fn minute(zone: &TimeZone, at: Millis) -> String {
    written(zone, at, "%m-%d %H:%M")
}

fn written(zone: &TimeZone, at: Millis, how: &str) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime(how).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_said_as_people_do() {
        assert_eq!(words(&json!({"below": 200.0})), "below 200");
        assert_eq!(words(&json!({"outside": [10.0, 20.5]})), "outside 10 to 20.5");
        assert_eq!(words(&json!({"rises": {"by": 5.0, "within": "10m"}})), "rises by 5 within 10m");
    }
}
