//! Points that come in messages: topics of MQTT, and where in a payload a value stands.

use serde_json::Value as Json;

use super::codes::Code;
use super::ear::text;
use super::kinds::wrong;
use super::section::{Read, Section, Wrong};
use super::tree::Value;
use crate::field::profile::Source;

pub(super) fn message(section: &mut Section<'_>) -> Source {
    let topic = section.take::<Topic>("topic").map(|topic| topic.value.0);
    let json = section.take::<Pointer>("json").map(|json| json.value.0);
    Source::Message { topic, json }
}

/// A topic filter of MQTT; a profile's may hold `{topic}` for the device's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic(pub String);

impl Read for Topic {
    const IS: &'static str = "a topic in quotes";
    const EXAMPLE: &'static str = "\"zigbee2mqtt/b3-door\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let levels: Vec<&str> = text.split('/').collect();
        let stray = |(i, level): (usize, &&str)| match level.find(['#', '+']) {
            None => false,
            Some(_) => *level != "+" && (*level != "#" || i + 1 != levels.len()),
        };
        if levels.iter().enumerate().any(stray) {
            let cure =
                "`+` stands for one whole level, `#` for all that follow and only at the end: `a/+/b`, `a/#`";
            return Err(wrong(Code::BadTopic, format!("`{text}` is no topic filter"), cure));
        }
        Ok(Self(text))
    }

    fn grammar() -> Json {
        text(r"^([^#+/]*|\+)(/([^#+/]*|\+))*(/#)?$|^#$")
    }
}

/// A JSON Pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer(String);

impl Read for Pointer {
    const IS: &'static str = "a JSON Pointer in quotes";
    const EXAMPLE: &'static str = "\"/contact\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if !text.starts_with('/') {
            return Err(wrong(
                Code::BadPointer,
                format!("`{text}` is no JSON Pointer"),
                format!("write `\"/{}\"`", text.replace('.', "/")),
            ));
        }
        let mut rest = text.split('~').skip(1);
        if rest.any(|after| !after.starts_with(['0', '1'])) {
            return Err(wrong(
                Code::BadPointer,
                "a `~` alone",
                "write `~0` for `~` and `~1` for `/` inside a name",
            ));
        }
        Ok(Self(text))
    }

    fn grammar() -> Json {
        text("^/([^~]|~[01])*$")
    }
}
