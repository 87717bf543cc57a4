//! Milesight LoRaWAN sensors: what one uplink's bytes say. Pure.
//!
//! Triples of channel, type and value, little-endian, after the maker's decoders (Milesight-IoT/SensorDecoders). Nothing tells
//! the length of a type that is not known here, so that such a one ends the uplink; what was read before it stays.

use serde_json::{Map, Value as Json};

/// LoRaWAN carries no more.
pub const BYTES_MAX: usize = 242;

/// One channel of an uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    channel: u8,
    kind: u8,
    /// Little-endian.
    value: [u8; 2],
}

/// By the names and words of the maker's own codec.
pub fn decode(bytes: &[u8]) -> Map<String, Json> {
    let fields = fields(bytes.get(..BYTES_MAX).unwrap_or(bytes));
    // The same channel is a leak in EM300 and somebody moving in AM300, which also says how bright it is.
    let ambience = fields.iter().any(|field| (field.channel, field.kind) == (6, 0xCB));
    fields.into_iter().filter_map(|field| named(field, ambience)).map(|(k, v)| (k.to_owned(), v)).collect()
}

fn fields(mut bytes: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    while let [channel, kind, rest @ ..] = bytes {
        let Some((value, after)) = length(*kind).and_then(|length| rest.split_at_checked(length)) else {
            break;
        };
        let value = [value[0], value.get(1).copied().unwrap_or(0)];
        fields.push(Field { channel: *channel, kind: *kind, value });
        bytes = after;
    }
    fields
}

fn length(kind: u8) -> Option<usize> {
    match kind {
        0x00 | 0x68 | 0x75 | 0xCB => Some(1),
        0x67 | 0x73 | 0x77 | 0x7D => Some(2),
        _ => None,
    }
}

fn named(field: Field, ambience: bool) -> Option<(&'static str, Json)> {
    let byte = field.value[0];
    let word = u16::from_le_bytes(field.value);
    let either = |off: &str, on: &str| match byte {
        0 => Json::from(off),
        1 => Json::from(on),
        other => Json::from(other),
    };
    Some(match (field.channel, field.kind) {
        (0x01, 0x75) => ("battery", byte.into()),
        (_, 0x67) => ("temperature", tenths(f64::from(i16::from_le_bytes(field.value)))),
        (_, 0x68) => ("humidity", (f64::from(byte) / 2.0).into()),
        (0x03 | 0x06, 0x00) => ("magnet_status", either("close", "open")),
        (0x05, 0x00) if ambience => ("pir", either("idle", "trigger")),
        (0x05, 0x00) => ("leakage_status", either("normal", "leak")),
        (0x06, 0xCB) => ("light_level", byte.into()),
        (0x07, 0x7D) => ("co2", word.into()),
        (0x08, 0x7D) => ("tvoc", (f64::from(word) / 100.0).into()),
        (0x0A, 0x7D) => ("hcho", (f64::from(word) / 100.0).into()),
        (0x0B, 0x7D) => ("pm2_5", word.into()),
        (0x0C, 0x7D) => ("pm10", word.into()),
        (_, 0x73) => ("pressure", tenths(f64::from(word))),
        (_, 0x77) => ("depth", word.into()),
        // Gases and tampering, of whose scale or sense the sources say different things.
        _ => return None,
    })
}

fn tenths(raw: f64) -> Json {
    (raw / 10.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    const UPLINKS: [(&str, &str, &str); 7] = [
        ("EM300-TH", "01755C 03673401 046865", r#"{"battery":92,"temperature":30.8,"humidity":50.5}"#),
        (
            "EM300-SLD",
            "01755C 03673401 046865 050000",
            r#"{"battery":92,"temperature":30.8,"humidity":50.5,"leakage_status":"normal"}"#,
        ),
        (
            "EM300-MCS",
            "03673401 046865 060001",
            r#"{"temperature":30.8,"humidity":50.5,"magnet_status":"open"}"#,
        ),
        ("WS301", "017564 030001 040001", r#"{"battery":100,"magnet_status":"open"}"#),
        (
            "AM319",
            "0367EE00 04687C 050001 06CB02 077DA803 087D2500 09736627 0A7D0700 0B7D2000 0C7D3000",
            r#"{"temperature":23.8,"humidity":62.0,"pir":"trigger","light_level":2,"co2":936,"tvoc":0.37,
                "pressure":1008.6,"hcho":0.07,"pm2_5":32,"pm10":48}"#,
        ),
        ("EM500-SWL", "017564 03770200", r#"{"battery":100,"depth":2}"#),
        (
            "GS301",
            "017564 02671C01 036864 047D0000 057D0100",
            r#"{"battery":100,"temperature":28.4,"humidity":50.0}"#,
        ),
    ];

    #[test]
    fn uplinks_of_the_makers_pages_are_read() {
        for (model, uplink, said) in UPLINKS {
            let said: Json = serde_json::from_str(said).unwrap();
            assert_eq!(Json::Object(decode(&bytes(uplink))), said, "{model}");
        }
    }

    #[test]
    fn what_is_not_known_ends_an_uplink_and_what_was_read_stays() {
        let said = decode(&bytes("01755C 20CE9E74466310015D016400 03673401"));
        assert_eq!(Json::Object(said), serde_json::json!({"battery": 92}), "the past is not the present");
        assert_eq!(decode(&bytes("0367")), Map::new());
        assert_eq!(decode(&bytes("03673401FF")).len(), 1);
        assert_eq!(decode(&bytes("0367F6FF"))["temperature"], -1.0);
        assert_eq!(decode(&bytes("050007"))["leakage_status"], 7, "a word that no map knows");
    }

    #[test]
    fn fuzz_milesight() {
        let frames: Vec<_> = UPLINKS.iter().map(|(_, uplink, _)| bytes(uplink)).collect();
        fuzz::flood("milesight", &frames, |input| {
            let said = decode(input);
            assert!(said.len() <= 14 && fields(input).len() <= input.len() / 3, "{said:?}");
            let number = |name: &str| said.get(name).and_then(Json::as_f64);
            assert!(number("humidity").is_none_or(|v| (0.0..=127.5).contains(&v)));
            assert!(number("temperature").is_none_or(|v| (-3276.8..=3276.7).contains(&v)));
        });
        // Uplinks one after the other are one longer uplink: the last word of each name is what counts.
        let mut chance = fuzz::Chance::new(7);
        for _ in 0..1000 {
            let (stream, which) = fuzz::stream(&frames[..4], &[], &mut chance);
            let last: Json = serde_json::from_str(UPLINKS[which[which.len() - 1]].2).unwrap();
            let said = decode(&stream);
            assert!(last.as_object().unwrap().iter().all(|(name, value)| said.get(name) == Some(value)));
        }
    }
}
