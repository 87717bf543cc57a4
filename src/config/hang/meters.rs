//! A meter with a protocol of its own on a serial channel.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{POLL_DEFAULT, poll};
use crate::config::codes::Code;
use crate::config::commands::permits;
use crate::config::devices::{Draft, Installer};
use crate::config::ear::{self, text};
use crate::config::kinds::wrong;
use crate::config::mistakes::{did_you_mean, listed};
use crate::config::points::Means;
use crate::config::section::{Read, Section, Wrong};
use crate::config::tree::{Node, Value};
use crate::field::profile::{self, Source};
use crate::field::serial::{self, Item, ItemOrder, Kind, Metering, Point};

/// CJ/T 188: kinds of meters. 10 to 19 are water, 20 to 29 heat, 30 to 39 gas.
const METERS: [(&str, u8); 6] = [
    ("cold-water", 0x10),
    ("hot-water", 0x11),
    ("drinking-water", 0x12),
    ("reclaimed-water", 0x13),
    ("heat", 0x20),
    ("gas", 0x30),
];

impl<'a> Installer<'a> {
    pub(in crate::config) fn meter(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut serial::Settings,
        meter: profile::Meter,
    ) -> Duration {
        draft.points = self.points(section, draft, Means::Items(meter));
        let numbers = self.numbers();
        let protocol = match meter {
            profile::Meter::Dlt645 => {
                Metering::Dlt645 { address: self.digits(section, draft, channel, settings, 12) }
            }
            profile::Meter::Cjt188 => {
                let orders = [("low-first", ItemOrder::LowFirst), ("high-first", ItemOrder::HighFirst)];
                Metering::Cjt188 {
                    address: self.digits(section, draft, channel, settings, 14),
                    kind: section.take::<MeterKind>("kind").map_or(METERS[0].1, |told| told.value.0),
                    order: section.word("order", &orders).map(|told| told.value).unwrap_or_default(),
                }
            }
            profile::Meter::Mbus => {
                Metering::Mbus { address: self.unit(section, &draft.id, channel, 0..=250, None) }
            }
        };
        let (_, permits) = permits::<u8>(section, numbers.device, &[]);
        self.installed.permits.extend(permits);
        let point = |(id, point): (_, &profile::Point)| match &point.source {
            Source::Item(item) => {
                Some(Point { id, item: Item::clone(item), transform: point.transform.clone() })
            }
            _ => None,
        };
        let points = numbers.points(&draft.points).filter_map(point).collect();
        let poll = poll(section, POLL_DEFAULT);
        let kind = Kind::Meter(serial::Meter { protocol, points });
        settings.boards.push(serial::Board { id: numbers.device, poll, kind });
        poll
    }

    /// The address that is printed on the meter. Without it whoever is there answers, which has to be one.
    fn digits(
        &mut self,
        section: &mut Section<'a>,
        draft: &Draft<'_>,
        channel: &Arc<str>,
        settings: &serial::Settings,
        length: usize,
    ) -> Option<Arc<str>> {
        // Where it is wrong, what is said of it is enough: it is not taken for one that answers to every address.
        let wrong = Some("".into());
        let Some(told) = section.take::<Digits>("address") else {
            if section.peek("address").is_some() {
                return wrong;
            }
            if settings.boards.is_empty() {
                return None;
            }
            let cure = format!(
                "write the {length} digits that are printed on it: `address = \"…\"`; alone on its line it needs none"
            );
            section.missing("address", cure);
            return wrong;
        };
        if told.value.0.len() != length {
            let what = format!("`address` has {} digits", told.value.0.len());
            let cure =
                format!("write the {length} digits that are printed on the meter, zeros in front as well");
            self.report.mistake(Code::BadMeterNumber, told.spot, what, cure);
            return wrong;
        }
        self.address_once(&told.value.0, told.spot, &draft.id, channel);
        Some(told.value.0.into())
    }
}

/// Digits in quotes: a number would lose its zeros in front.
struct Digits(String);

impl Read for Digits {
    const IS: &'static str = "the meter's number in quotes";
    const EXAMPLE: &'static str = "\"181219024435\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        if let Node::Whole(number) = value.node {
            return Err(wrong(
                Code::BadMeterNumber,
                format!("{number} as a number loses its zeros in front"),
                format!("write it in quotes: `\"{number}\"`"),
            ));
        }
        let text = String::read(value)?;
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        if digits.chars().all(|c| c.is_ascii_digit()) {
            return Ok(Self(digits));
        }
        Err(wrong(
            Code::BadMeterNumber,
            format!("`{text}` is no meter's number"),
            "write its digits, nothing else",
        ))
    }

    fn grammar() -> Json {
        text("^[0-9 ]+$")
    }
}

struct MeterKind(u8);

impl Read for MeterKind {
    const IS: &'static str = "the kind of meter";
    const EXAMPLE: &'static str = "\"cold-water\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let words = || METERS.iter().map(|(word, _)| *word);
        match &value.node {
            Node::Whole(code @ 0x10..=0x49) => Ok(Self(*code as u8)),
            Node::Whole(code) => Err(wrong(
                Code::NotOneOf,
                format!("there is no kind {code}"),
                format!("write the standard's code, 0x10 to 0x49, or {}", listed(words())),
            )),
            _ => {
                let text = String::read(value)?;
                match METERS.iter().find(|(word, _)| *word == text) {
                    Some((_, code)) => Ok(Self(*code)),
                    None => Err(wrong(
                        Code::NotOneOf,
                        format!("there is no kind `{text}`"),
                        did_you_mean(&text, words()),
                    )),
                }
            }
        }
    }

    fn grammar() -> Json {
        let words = ear::words(METERS.iter().map(|(word, _)| *word));
        json!({ "anyOf": [words, { "type": "integer", "minimum": 0x10, "maximum": 0x49 }] })
    }
}

/// Whether a meter is there that answers to every address, and so has to be alone on its line.
pub(super) fn answers_all(settings: &serial::Settings) -> bool {
    settings.boards.iter().any(|board| {
        matches!(
            &board.kind,
            Kind::Meter(serial::Meter {
                protocol: Metering::Dlt645 { address: None } | Metering::Cjt188 { address: None, .. },
                ..
            })
        )
    })
}
