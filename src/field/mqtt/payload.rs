//! Payload → raw value. Pure.

use serde_json::Value as Json;

use crate::reading::Value;

/// A longer text is no reading.
const TEXT_MAX: usize = 1024;

/// What one payload says of one point.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Value(Value),
    /// JSON without the field: a partial message, which Zigbee bridges send.
    Nothing,
    Unreadable,
}

/// One message's payload; as JSON it is parsed once, for all of its points.
#[derive(Debug)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    json: Option<Option<Json>>,
}

impl<'a> Payload<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, json: None }
    }

    /// The field at a JSON Pointer, or with `None` the whole payload as plain text.
    pub fn value(&mut self, pointer: Option<&str>) -> Said {
        match pointer {
            Some(pointer) => match self.json() {
                Some(json) => json.pointer(pointer).map_or(Said::Nothing, of_json),
                None => Said::Unreadable,
            },
            None => self.text().and_then(of_text).map_or(Said::Unreadable, Said::Value),
        }
    }

    /// `online` / `offline` in any case, plain or as `{"state":"online"}`; `None` where it says neither.
    pub fn is_online(&mut self) -> Option<bool> {
        let stated = self.json().and_then(|json| json.get("state")).and_then(Json::as_str).map(str::to_owned);
        let word = stated.or_else(|| self.text().map(str::to_owned))?;
        match word.to_ascii_lowercase().as_str() {
            "online" => Some(true),
            "offline" => Some(false),
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes).ok().map(str::trim)
    }

    fn json(&mut self) -> Option<&Json> {
        self.json.get_or_insert_with(|| serde_json::from_slice(self.bytes).ok()).as_ref()
    }
}

fn of_json(field: &Json) -> Said {
    let value = match field {
        Json::Bool(v) => Some(Value::Bool(*v)),
        Json::Number(v) => v
            .as_i64()
            .map(Value::Signed)
            .or_else(|| v.as_u64().map(Value::Unsigned))
            .or_else(|| v.as_f64().filter(|v| v.is_finite()).map(Value::Number)),
        Json::String(v) => text(v),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    value.map_or(Said::Unreadable, Said::Value)
}

/// A number if it parses, `true` or `false`, else text. "nan" and "inf" are what a sensor says that has none.
fn of_text(word: &str) -> Option<Value> {
    if let Ok(v) = word.parse() {
        return Some(Value::Bool(v));
    }
    if let Ok(v) = word.parse() {
        return Some(Value::Signed(v));
    }
    if let Ok(v) = word.parse() {
        return Some(Value::Unsigned(v));
    }
    match word.parse::<f64>() {
        Ok(v) => v.is_finite().then_some(Value::Number(v)),
        Err(_) => text(word),
    }
}

fn text(word: &str) -> Option<Value> {
    (!word.is_empty() && word.len() <= TEXT_MAX).then(|| Value::Text(word.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(payload: &str, pointer: Option<&str>) -> Said {
        Payload::new(payload.as_bytes()).value(pointer)
    }

    #[test]
    fn a_pointer_finds_its_field() {
        let zigbee = r#"{"battery":100,"voltage":3085,"contact":true,"deep":{"t":[1.5,-2]},"none":null}"#;
        assert_eq!(said(zigbee, Some("/battery")), Said::Value(Value::Signed(100)));
        assert_eq!(said(zigbee, Some("/contact")), Said::Value(Value::Bool(true)));
        assert_eq!(said(zigbee, Some("/deep/t/0")), Said::Value(Value::Number(1.5)));
        assert_eq!(said(zigbee, Some("/deep")), Said::Unreadable);
        assert_eq!(said(zigbee, Some("/none")), Said::Unreadable);
        assert_eq!(said(zigbee, Some("/temperature")), Said::Nothing);
        assert_eq!(said("not json", Some("/contact")), Said::Unreadable);
    }

    #[test]
    fn a_plain_payload_is_a_number_a_bool_or_a_text() {
        assert_eq!(said(" 23.5\n", None), Said::Value(Value::Number(23.5)));
        assert_eq!(said("18446744073709551615", None), Said::Value(Value::Unsigned(u64::MAX)));
        assert_eq!(said("-4", None), Said::Value(Value::Signed(-4)));
        assert_eq!(said("false", None), Said::Value(Value::Bool(false)));
        assert_eq!(said("OPEN", None), Said::Value(Value::Text("OPEN".into())));
        assert_eq!(said("nan", None), Said::Unreadable);
        assert_eq!(said("", None), Said::Unreadable);
        assert_eq!(said(&"x".repeat(TEXT_MAX + 1), None), Said::Unreadable);
        assert_eq!(Payload::new(&[0xff, 0xfe]).value(None), Said::Unreadable);
    }

    #[test]
    fn availability_is_a_word_or_an_object() {
        let online = |payload: &str| Payload::new(payload.as_bytes()).is_online();
        assert_eq!(online("online"), Some(true));
        assert_eq!(online("Offline"), Some(false));
        assert_eq!(online(r#"{"state":"online"}"#), Some(true));
        assert_eq!(online(r#"{"state":"offline"}"#), Some(false));
        assert_eq!(online("perhaps"), None);
    }
}
