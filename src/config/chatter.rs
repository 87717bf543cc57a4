//! `chatter` of a rule: from how many comings on they are only counted.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::codes::Code;
use super::kinds::millis;
use super::section::Section;
use super::tree::Node;
use crate::rules::{CHATTER_DEFAULT, Chatter};

/// One coming is none too many; and each that is told is remembered.
const TIMES: RangeInclusive<i128> = 2..=100;
const WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// `chatter = { times = 5, within = "2m" }`, or `false`.
pub(super) fn chatter(section: &mut Section<'_>) -> Option<Chatter> {
    let value = section.peek("chatter").map(|entry| &entry.value);
    let table = match value.map(|value| &value.node) {
        Some(Node::Table(_)) => section.table("chatter")?,
        None | Some(Node::Bool(_)) => return section.take_or("chatter", true).then_some(CHATTER_DEFAULT),
        Some(_) => {
            let spot = section.entry("chatter")?.value.spot;
            let cure = "write it like `chatter = { times = 5, within = \"2m\" }`, or `false`";
            section.report.mistake(Code::WrongType, spot, "`chatter` says how often within which span", cure);
            return None;
        }
    };
    let mut inner = Section::new(table, "`chatter`", section.report);
    let times = inner.whole("times", TIMES).map_or(CHATTER_DEFAULT.times, |told| told.value);
    let within = inner.span("within", WITHIN).map_or(CHATTER_DEFAULT.within, |told| millis(told.value));
    inner.finish();
    Some(Chatter { times, within })
}
