//! Under which terms a `[[device.command]]` may be ordered: `roles`, `reason`, `days`, `hours`, `at_most`.

use std::time::Duration;

use serde_json::json;

use super::codes::Code;
use super::ear;
use super::kinds::Texts;
use super::mistakes::{did_you_mean, listed};
use super::section::{Section, Told};
use crate::command::{AtMost, DAY_MINUTES, DAYS, Hours, Terms, When};
use crate::order::Role;

/// Spans of one day.
const HOURS_MAX: usize = 8;
const TIMES_MAX: i128 = 1000;
const WITHIN_MIN: Duration = Duration::from_secs(1);
const WITHIN_MAX: Duration = Duration::from_secs(24 * 3600);
const TIMES_DEFAULT: usize = 5;
const WITHIN_DEFAULT: Duration = Duration::from_secs(60);
const HOURS_LIKE: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$";
const DAYS_LIKE: &str = "^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$";

pub(super) fn terms(section: &mut Section<'_>) -> Terms {
    let roles = roles(section);
    let reason = section.take_or("reason", false);
    let hours =
        texts(section, "hours", HOURS_LIKE).and_then(|told| hours(section, &told)).unwrap_or_default();
    let days = texts(section, "days", DAYS_LIKE).and_then(|told| days(section, &told)).unwrap_or([true; 7]);
    Terms { roles, reason, when: When { days, hours }, at_most: at_most(section) }
}

fn roles(section: &mut Section<'_>) -> Vec<Role> {
    let words = || Role::ALL.into_iter().map(Role::word);
    let Some(told) = section.take::<Texts>("roles") else { return Terms::default().roles };
    section.narrow("roles", || list_of(&ear::words(words())));
    let mut roles = Vec::new();
    for (word, spot) in &told.value.0 {
        match Role::of(word) {
            Some(role) => roles.push(role),
            None => section.report.mistake(
                Code::NotOneOf,
                *spot,
                format!("`roles` cannot be `{word}`"),
                did_you_mean(word, words()),
            ),
        }
    }
    if told.value.0.is_empty() {
        let cure = "write `roles = [\"technician\"]`; to let nobody order it, take the command out";
        section.report.mistake(Code::ListLength, told.spot, "`roles` names none", cure);
    }
    roles
}

/// One text or a list of them, each of one form.
fn texts(section: &mut Section<'_>, key: &'static str, like: &'static str) -> Option<Told<Texts>> {
    let told = section.take::<Texts>(key);
    section.narrow(key, || list_of(&ear::text(like)));
    told
}

fn list_of(item: &serde_json::Value) -> serde_json::Value {
    json!({ "anyOf": [item, { "type": "array", "items": item, "minItems": 1 }] })
}

fn hours(section: &Section<'_>, told: &Told<Texts>) -> Option<Vec<Hours>> {
    let count = told.value.0.len();
    if !(1..=HOURS_MAX).contains(&count) {
        let cure = format!("write 1 to {HOURS_MAX}, or leave `hours` out");
        section.report.mistake(Code::ListLength, told.spot, format!("`hours` names {count} spans"), cure);
        return None;
    }
    let mut all = Vec::new();
    for (text, spot) in &told.value.0 {
        match span_of_day(text) {
            Some(hours) => all.push(hours),
            None => section.report.mistake(
                Code::BadHours,
                *spot,
                format!("`{text}` is no span of the day"),
                "write it like `\"07:00-22:00\"`; over midnight `\"22:00-06:00\"`, to its end `\"18:00-24:00\"`",
            ),
        }
    }
    Some(all)
}

/// `07:00-22:00`
fn span_of_day(text: &str) -> Option<Hours> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let number = |digits: &str| {
            (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
                .then(|| digits.parse::<u16>().ok())?
        };
        let (hour, minute) = (number(hour)?, number(minute)?);
        let of_day = hour * 60 + minute;
        (minute < 60 && of_day <= DAY_MINUTES).then_some(of_day)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from != to && from < DAY_MINUTES).then_some(Hours { from, to })
}

fn days(section: &Section<'_>, told: &Told<Texts>) -> Option<[bool; 7]> {
    let mut open = [false; 7];
    for (text, spot) in &told.value.0 {
        let named = |day: &str| DAYS.iter().position(|known| *known == day.trim());
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (Some(from), Some(to)) = (named(from), named(to)) else {
            let cure = format!("there is {}; several in a row are `\"mon-fri\"`", listed(DAYS));
            section.report.mistake(Code::BadHours, *spot, format!("`{text}` is no day"), cure);
            continue;
        };
        let many = (to + 7 - from) % 7;
        (0..=many).for_each(|n| open[(from + n) % 7] = true);
    }
    if told.value.0.is_empty() {
        let cure = "write `days = \"mon-fri\"`, or leave `days` out";
        section.report.mistake(Code::ListLength, told.spot, "`days` names none", cure);
    }
    Some(open)
}

fn at_most(section: &mut Section<'_>) -> Option<AtMost> {
    let like = || "write it like `at_most = { times = 5, within = \"1m\" }`".to_owned();
    let table = section.table_like("at_most", like)?;
    let mut inner = Section::new(table, "`at_most`", section.report);
    let times = inner.whole("times", 1..=TIMES_MAX).map_or(TIMES_DEFAULT, |told| told.value);
    let within = inner.span("within", WITHIN_MIN..=WITHIN_MAX).map_or(WITHIN_DEFAULT, |told| told.value);
    inner.finish();
    Some(AtMost { times, within })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_the_day_is_two_times_of_the_clock() {
        let span = |text| span_of_day(text).map(|Hours { from, to }| (from, to));
        assert_eq!(span("07:00-22:30"), Some((420, 1350)));
        assert_eq!(span("22:00 - 06:00"), Some((1320, 360)));
        assert_eq!(span("00:00-24:00"), Some((0, 1440)));
        for none in [
            "",
            "7-22",
            "07:00",
            "07:00-07:00",
            "24:00-06:00",
            "07:60-08:00",
            "25:00-26:00",
            "+7:00-08:00",
            "07:00-22:00-23:00",
        ] {
            assert_eq!(span(none), None, "{none}");
        }
    }
}
