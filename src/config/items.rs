//! Points of meters with protocols of their own: which of the meter's values a point is.

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::text;
use super::kinds::wrong;
use super::section::{Read, Section, Wrong};
use super::tree::Value;
use crate::field::profile::{Meter, Source};
use crate::field::serial::Item;

/// Digits of the longest DL/T 645 value that a number still holds.
const DIGITS_MAX: i128 = 16;
/// Records of one M-Bus answer.
const RECORD_MAX: i128 = 255;

pub(super) fn item(section: &mut Section<'_>, meter: Meter) -> Source {
    Source::Item(match meter {
        Meter::Dlt645 => dlt645(section),
        Meter::Cjt188 => {
            let items = [("volume", 0), ("valve", 1), ("battery-low", 2)];
            if section.entry("item").is_none() {
                section.missing("item", "write `item = \"volume\"`, or `valve`, `battery-low`");
            }
            match section.word("item", &items).map(|told| told.value) {
                Some(1) => Item::Valve,
                Some(2) => Item::BatteryLow,
                _ => Item::Volume,
            }
        }
        Meter::Mbus => {
            if section.entry("record").is_none() {
                section.missing("record", "write which record of the answer it is, from 0: `record = 0`");
            }
            Item::Record(section.whole("record", 0..=RECORD_MAX).map_or(0, |told| told.value))
        }
    })
}

fn dlt645(section: &mut Section<'_>) -> Item {
    let di = section.require::<Identifier>("item").map_or(0, |told| told.value.0);
    if section.entry("digits").is_none() {
        section.missing("digits", "write how many digits the value has: `digits = 4` for XXX.X");
    }
    let digits = section.whole::<u8>("digits", 2..=DIGITS_MAX);
    section.narrow("digits", || json!({ "multipleOf": 2 }));
    if let Some(digits) = digits.as_ref().filter(|digits| digits.value % 2 == 1) {
        let cure = format!("write {}: two digits are one byte", digits.value + 1);
        section.report.mistake(Code::OutOfRange, digits.spot, format!("`digits` is {}", digits.value), cure);
    }
    Item::Dlt645 { di, digits: digits.map_or(2, |told| told.value), signed: section.take_or("signed", false) }
}

/// A data identifier of DL/T 645 as the standard prints it.
struct Identifier(u32);

impl Read for Identifier {
    const IS: &'static str = "a data identifier in quotes";
    const EXAMPLE: &'static str = "\"02010100\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let plain = text.len() == 8 && text.chars().all(|c| c.is_ascii_hexdigit());
        match u32::from_str_radix(&text, 16) {
            Ok(di) if plain => Ok(Self(di)),
            _ => Err(wrong(
                Code::BadMeterNumber,
                format!("`{text}` is no data identifier"),
                "write its eight hexadecimal digits as the standard prints them: `\"02010100\"` is the voltage of phase A",
            )),
        }
    }

    fn grammar() -> Json {
        text("^[0-9A-Fa-f]{8}$")
    }
}
