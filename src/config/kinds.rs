//! What can stand behind a key: text, names, numbers, spans of time, sizes; each within bounds.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::text;
use super::section::{Read, Wrong};
use super::tree::{Node, Value};
use crate::reading::Millis;

/// Characters of an id.
pub const ID_MAX: usize = 64;
/// Characters of any other text.
pub const TEXT_MAX: usize = 256;
/// Numbers in a configuration are those of sensors.
pub const NUMBER_MAX: f64 = 1e15;
/// A span of time as people write it; `PT10M` will do as well.
const SPAN: &str = r"^ *([0-9]+(\.[0-9]+)? *(w|wks?|weeks?|d|days?|h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|msecs?|millis|milliseconds?|us|µs|ns)[, ]*)+$|^P";
const SPAN_MAX: Duration = Duration::from_secs(3660 * 24 * 3600);

/// `[a-z0-9-]`, 1 to 64 long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(pub String);

/// Two numbers, the first below the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair(pub f64, pub f64);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub u64);

/// One text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts(pub Vec<(String, super::mistakes::Spot)>);

impl Read for String {
    const IS: &'static str = "text in quotes";
    const EXAMPLE: &'static str = "\"…\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::Text(text) = &value.node else {
            return Err(Wrong::Type);
        };
        if text.trim().is_empty() {
            return Err(wrong(
                Code::BadText,
                "empty",
                "write something between the quotes, or leave the key out",
            ));
        }
        if text.chars().count() > TEXT_MAX {
            return Err(wrong(Code::BadText, "too long", format!("write {TEXT_MAX} characters or fewer")));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong(
                Code::BadText,
                "a control character inside",
                "write it in one line, without tabs or escapes",
            ));
        }
        Ok(text.clone())
    }

    fn grammar() -> Json {
        json!({ "type": "string", "minLength": 1, "maxLength": TEXT_MAX })
    }
}

impl Read for Id {
    const IS: &'static str = "a name";
    const EXAMPLE: &'static str = "\"a-name\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::Text(text) = &value.node else {
            return Err(Wrong::Type);
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !text.is_empty() && text.len() <= ID_MAX && text.chars().all(plain) {
            return Ok(Self(text.clone()));
        }
        let shown: String = text.chars().take(ID_MAX).collect();
        let cure = format!(
            "write 1 to {ID_MAX} of a-z, 0-9 and `-`; a name for people belongs into `name` or `place`"
        );
        Err(wrong(Code::BadName, format!("`{shown}` is not a name that can be used"), cure))
    }

    fn grammar() -> Json {
        text("^[a-z0-9-]{1,64}$")
    }
}

impl Read for bool {
    const IS: &'static str = "true or false";
    const EXAMPLE: &'static str = "true";

    fn read(value: &Value) -> Result<Self, Wrong> {
        match value.node {
            Node::Bool(flag) => Ok(flag),
            _ => Err(Wrong::Type),
        }
    }

    fn grammar() -> Json {
        json!({ "type": "boolean" })
    }

    fn shown(&self) -> Option<Json> {
        Some(json!(self))
    }
}

impl Read for i128 {
    const IS: &'static str = "a whole number";
    const EXAMPLE: &'static str = "1";

    fn read(value: &Value) -> Result<Self, Wrong> {
        match value.node {
            Node::Whole(number) => Ok(number),
            Node::Number(number) if !number.is_finite() => {
                Err(wrong(Code::OutOfRange, "beyond every bound", "write a smaller number"))
            }
            Node::Number(number) => Err(wrong(
                Code::WrongType,
                format!("{number} is not a whole number"),
                "write it without a fraction",
            )),
            _ => Err(Wrong::Type),
        }
    }

    fn grammar() -> Json {
        json!({ "type": "integer" })
    }
}

impl Read for f64 {
    const IS: &'static str = "a number";
    const EXAMPLE: &'static str = "0.1";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let number = match value.node {
            Node::Whole(number) => number as f64,
            Node::Number(number) => number,
            _ => return Err(Wrong::Type),
        };
        // Not a number, and infinity, fail here too.
        if number.abs() <= NUMBER_MAX {
            return Ok(number);
        }
        Err(wrong(
            Code::OutOfRange,
            format!("{number} cannot be used"),
            format!("write a number between -{NUMBER_MAX:e} and {NUMBER_MAX:e}"),
        ))
    }

    fn grammar() -> Json {
        json!({ "type": "number", "minimum": -NUMBER_MAX, "maximum": NUMBER_MAX })
    }
}

impl Read for Pair {
    const IS: &'static str = "two numbers";
    const EXAMPLE: &'static str = "[0, 1600]";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::List(list) = &value.node else {
            return Err(Wrong::Type);
        };
        let [low, high] = list.as_slice() else {
            return Err(Wrong::Type);
        };
        let (low, high) = (f64::read(low)?, f64::read(high)?);
        if low < high {
            return Ok(Self(low, high));
        }
        let cure = if low == high {
            "write two different numbers".into()
        } else {
            format!("write `[{high}, {low}]`")
        };
        Err(wrong(Code::Backwards, format!("{low} is not below {high}"), cure))
    }

    fn grammar() -> Json {
        json!({ "type": "array", "items": f64::grammar(), "minItems": 2, "maxItems": 2 })
    }
}

impl Read for Duration {
    const IS: &'static str = "a span of time in quotes";
    const EXAMPLE: &'static str = "\"1h 30m\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = match &value.node {
            Node::Text(text) if text.len() <= TEXT_MAX => text,
            Node::Whole(number) => {
                let cure = format!(
                    "write its unit and quotes: `\"{number}ms\"`, `\"{number}s\"`, `\"{number}m\"`, `\"{number}h\"` or `\"{number}d\"`"
                );
                return Err(wrong(Code::BadSpan, format!("{number} is a number without a unit"), cure));
            }
            _ => return Err(Wrong::Type),
        };
        let span = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
            .map_err(|_| {
                wrong(
                    Code::BadSpan,
                    format!("`{text}` is not a span of time"),
                    "write it like `\"500ms\"`, `\"10s\"`, `\"1h 30m\"` or `\"7d\"`",
                )
            })?;
        match Duration::try_from(span) {
            Ok(span) if span <= SPAN_MAX => Ok(span),
            _ => Err(wrong(
                Code::OutOfRange,
                format!("`{text}` is out of bounds"),
                "write a span from `\"0s\"` to `\"3660d\"`",
            )),
        }
    }

    fn grammar() -> Json {
        text(SPAN)
    }
}

impl Read for Size {
    const IS: &'static str = "a size in quotes";
    const EXAMPLE: &'static str = "\"2GiB\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::Text(text) = &value.node else {
            return Err(Wrong::Type);
        };
        size(text)
            .map(Self)
            .ok_or_else(|| wrong(Code::BadSpan, "not a size", "write it like `\"2GiB\"` or `\"500MB\"`"))
    }

    fn grammar() -> Json {
        text("^[0-9]+ *([KMGT]iB|[kMGT]?B)$")
    }
}

impl Read for Texts {
    const IS: &'static str = "text, or a list of texts";
    const EXAMPLE: &'static str = "[\"…\", \"…\"]";

    fn read(value: &Value) -> Result<Self, Wrong> {
        match &value.node {
            Node::List(list) => {
                list.iter().map(|one| Ok((String::read(one)?, one.spot))).collect::<Result<_, _>>().map(Self)
            }
            _ => Ok(Self(vec![(String::read(value)?, value.spot)])),
        }
    }

    fn grammar() -> Json {
        json!({ "type": ["string", "array"], "minLength": 1, "items": String::grammar() })
    }
}

pub(super) fn wrong(code: Code, what: impl Into<String>, cure: impl Into<String>) -> Wrong {
    Wrong::Value(code, what.into(), cure.into())
}

pub(super) fn millis(span: Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}

/// `1d 12h`, as it would be written in a configuration.
pub(super) fn human(span: Duration) -> String {
    let mut rest = span.as_millis();
    let mut words = Vec::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if rest >= length {
            words.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if words.is_empty() { "0s".into() } else { words.join(" ") }
}

fn size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (unit, times) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
    number.checked_mul(*times)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Result<Duration, Wrong> {
        Duration::read(&Value { node: Node::Text(text.into()), spot: Default::default() })
    }

    #[test]
    fn a_span_of_time_is_read_as_people_write_it() {
        for (text, seconds) in
            [("10s", 10), ("1h 30m", 5400), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0), ("90d", 7_776_000)]
        {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "10", "ten", "-5s", "1mo", "2y", "9999999d", "5s ago"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_shown_as_it_would_be_written() {
        for text in ["0s", "500ms", "1h 30m", "7d", "1d 12h"] {
            assert_eq!(human(span(text).unwrap()), text);
        }
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(size("2GiB"), Some(2 << 30));
        assert_eq!(size("500 MB"), Some(500_000_000));
        assert_eq!(size("12B"), Some(12));
        for text in ["", "2", "GiB", "-1GiB", "2.5GiB", "99999999999TiB"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
