//! Payload → raw value. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;

use super::milesight;
use crate::reading::Value;

/// A longer text is no reading.
const TEXT_MAX: usize = 1024;
/// What a pointer begins with that asks for a field of a Milesight uplink: of `object`, where ChirpStack has the maker's codec,
/// else of the bytes in `data`.
const MILESIGHT: &str = "/milesight/";

/// What one payload says of one point.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Value(Value),
    /// JSON without the field: a partial message, which Zigbee bridges send.
    Nothing,
    Unreadable,
    /// More than one field is meant.
    Ambiguous,
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
            Some(pointer) => match (self.json(), pointer.strip_prefix(MILESIGHT)) {
                (Some(json), Some(name)) => uplink(json, name),
                (Some(json), None) => field(json, pointer),
                (None, _) => Said::Unreadable,
            },
            None => self.text().and_then(of_text).map_or(Said::Unreadable, Said::Value),
        }
    }

    /// ChirpStack's name of an uplink: what comes a second time under it was said once.
    pub fn deduplication_id(&mut self) -> Option<&str> {
        self.json()?.get("deduplicationId")?.as_str()
    }

    /// `online` / `offline` in any case (Shelly: `true` / `false`), plain or as `{"state":"online"}`; `None` where it says
    /// neither.
    pub fn is_online(&mut self) -> Option<bool> {
        let stated = self.json().and_then(|json| json.get("state")).and_then(Json::as_str).map(str::to_owned);
        let word = stated.or_else(|| self.text().map(str::to_owned))?;
        match word.to_ascii_lowercase().as_str() {
            "online" | "true" => Some(true),
            "offline" | "false" => Some(false),
            _ => None,
        }
    }

    fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes).ok().map(str::trim)
    }

    pub fn json(&mut self) -> Option<&Json> {
        self.json.get_or_insert_with(|| serde_json::from_slice(self.bytes).ok()).as_ref()
    }
}

/// The field at a JSON Pointer in which `*` stands for the one level that leads to a field: what a Tasmota sensor's values
/// stand under is the chip's name.
fn field(json: &Json, pointer: &str) -> Said {
    let Some((before, after)) = pointer.split_once("/*/") else {
        return json.pointer(pointer).map_or(Said::Nothing, of_json);
    };
    let Some(Json::Object(children)) = json.pointer(before) else {
        return Said::Nothing;
    };
    let mut found = Said::Nothing;
    for child in children.values().filter(|child| child.is_object()) {
        match (field(child, &format!("/{after}")), &found) {
            (Said::Nothing, _) => {}
            (said, Said::Nothing) => found = said,
            _ => return Said::Ambiguous,
        }
    }
    found
}

fn uplink(json: &Json, name: &str) -> Said {
    if let Some(said) = json.get("object").and_then(|object| object.get(name)) {
        return of_json(said);
    }
    let data = json.get("data").and_then(Json::as_str).filter(|data| data.len() <= 2 * milesight::BYTES_MAX);
    let bytes = data.and_then(|data| BASE64.decode(data).ok()).unwrap_or_default();
    milesight::decode(&bytes).get(name).map_or(Said::Nothing, of_json)
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
        // Tasmota and Shelly.
        assert_eq!((online("Online"), online("Offline")), (Some(true), Some(false)));
        assert_eq!((online("true"), online("false")), (Some(true), Some(false)));
    }

    #[test]
    fn a_star_is_the_one_level_that_leads_there() {
        let one =
            r#"{"Time":"2018.02.01 22:52:09","AM2301":{"Temperature":15.5,"Humidity":50.6},"TempUnit":"C"}"#;
        assert_eq!(said(one, Some("/*/Temperature")), Said::Value(Value::Number(15.5)));
        assert_eq!(said(one, Some("/*/Pressure")), Said::Nothing);
        let two = r#"{"DS18B20-1":{"Temperature":20.9},"DS18B20-2":{"Temperature":4.0}}"#;
        assert_eq!(said(two, Some("/*/Temperature")), Said::Ambiguous);
        assert_eq!(said(two, Some("/DS18B20-2/Temperature")), Said::Value(Value::Number(4.0)));
        assert_eq!(
            said(r#"{"a":{"b":{"t":7}},"c":{"d":{}}}"#, Some("/*/*/t")),
            Said::Value(Value::Signed(7))
        );
        assert_eq!(said("[1]", Some("/*/t")), Said::Nothing);
    }

    #[test]
    fn a_milesight_uplink_is_read_from_the_codec_or_the_bytes() {
        // 01755C 03673401 046865
        let bytes = r#"{"deduplicationId":"3ac7","fPort":85,"data":"AXVcA2c0AQRoZQ=="}"#;
        assert_eq!(said(bytes, Some("/milesight/temperature")), Said::Value(Value::Number(30.8)));
        assert_eq!(said(bytes, Some("/milesight/co2")), Said::Nothing);
        let codec = r#"{"data":"AXVcA2c0AQRoZQ==","object":{"temperature":21.5}}"#;
        assert_eq!(said(codec, Some("/milesight/temperature")), Said::Value(Value::Number(21.5)));
        assert_eq!(said(codec, Some("/milesight/battery")), Said::Value(Value::Signed(92)));
        assert_eq!(said(r#"{"data":"*"}"#, Some("/milesight/battery")), Said::Nothing);
    }

    #[test]
    fn fuzz_payload() {
        let frames = [
            r#"{"battery":100,"voltage":3085,"linkquality":52,"contact":true}"#,
            r#"{"Time":"2021-01-13T23:58:41","DS18B20":{"Id":"030597946B04","Temperature":20.9},"TempUnit":"C"}"#,
            r#"{"deduplicationId":"3ac7","fPort":85,"data":"AXVcA2c0AQRoZQ=="}"#,
            r#"{"state":"online"}"#,
            "23.5",
        ];
        let frames = frames.map(|frame| frame.as_bytes().to_vec());
        crate::field::fuzz::flood("mqtt payload", &frames, |input| {
            let mut payload = Payload::new(input);
            for pointer in [None, Some("/contact"), Some("/*/Temperature"), Some("/milesight/battery")] {
                if let Said::Value(Value::Text(text)) = payload.value(pointer) {
                    assert!(text.len() <= TEXT_MAX);
                }
            }
            payload.is_online();
            assert!(payload.deduplication_id().is_none_or(|id| id.len() <= input.len()));
        });
    }
}
