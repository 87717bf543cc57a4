//! Noun: what the centre is told. CloudEvents 1.0; the JSON is rendered once, when it is written, and sent as stored.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::chain::Link;
use crate::reading::Millis;
use crate::time;

/// An event before the journal has given it a number.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Without the prefix: `ticket.opened`.
    pub kind: &'static str,
    /// `tickets/<id>`, `devices/<id>`, `gateways/<id>`
    pub subject: String,
    pub at: Millis,
    pub data: Box<RawValue>,
}

impl Draft {
    /// # Panics
    /// Never for the types used here: maps with string keys, strings, numbers.
    pub fn new(kind: &'static str, subject: String, at: Millis, data: &impl Serialize) -> Self {
        let data = serde_json::value::to_raw_value(data)
            .unwrap_or_else(|_| RawValue::from_string("null".into()).unwrap_or_default());
        Self { kind, subject, at, data }
    }

    /// The event as it is stored and sent.
    pub fn render(&self, gateway: &str, epoch: &str, seq: u64, synced: bool) -> String {
        #[derive(Serialize)]
        struct CloudEvent<'a> {
            specversion: &'static str,
            id: String,
            source: String,
            r#type: String,
            subject: &'a str,
            time: String,
            datacontenttype: &'static str,
            sequence: String,
            clock: &'static str,
            data: &'a RawValue,
        }
        let event = CloudEvent {
            specversion: "1.0",
            id: format!("{gateway}/{epoch}/{seq}"),
            source: format!("/gateways/{gateway}"),
            r#type: format!("gatehouse.{}", self.kind),
            subject: &self.subject,
            time: time::format(self.at),
            datacontenttype: "application/json",
            sequence: format!("{seq:020}"),
            clock: if synced { "synced" } else { "unsynced" },
            data: &self.data,
        };
        serde_json::to_string(&event).unwrap_or_default()
    }
}

/// An event as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub seq: u64,
    /// Without the prefix.
    pub kind: String,
    /// The rendered CloudEvent.
    pub json: String,
    /// The chain with it; `None`: it was written before there was one.
    pub chain: Option<Link>,
}

impl Stored {
    pub fn is_stub(&self) -> bool {
        is_stub(&self.json)
    }
}

/// A rendered event under another epoch: it says the same, with the id and the number it has there, and `origin` says the
/// id that it was first written under, so that whoever may have had it already knows it again. `None`: the text is no
/// event with the number `was`.
pub fn moved(json: &str, was: u64, gateway: &str, epoch: &str, seq: u64) -> Option<String> {
    let Fields(fields) = serde_json::from_str(json).ok()?;
    let word = |key: &str| {
        let (_, text) = fields.iter().find(|(name, _)| name == key)?;
        serde_json::from_str::<String>(text.get()).ok()
    };
    if word("sequence")?.parse::<u64>().ok()? != was {
        return None;
    }
    let origin = word("origin").or_else(|| word("id"))?;
    let mut text = String::with_capacity(json.len() + 100);
    for (name, value) in &fields {
        let said = match &**name {
            "id" => json_text(&format!("{gateway}/{epoch}/{seq}")),
            "source" => json_text(&format!("/gateways/{gateway}")),
            "sequence" => json_text(&format!("{seq:020}")),
            "origin" => continue,
            "data" => format!(r#"{},"data":{}"#, json_text(&origin), value.get()),
            _ => value.get().to_owned(),
        };
        let name = if name == "data" { "origin" } else { name };
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&format!("{}:{said}", json_text(name)));
    }
    text.push('}');
    Some(text)
}

/// What is told of an event that is erased or has expired (`word`): all that it is named by, no data, and since when. A
/// device's own number of a record stays, so that the device does not have to tell it again. `None`: it is no event, or
/// a stub already.
pub fn blanked(json: &str, word: &str, at: Millis) -> Option<String> {
    #[derive(Deserialize)]
    struct Record<'a> {
        #[serde(borrow)]
        record: Option<&'a RawValue>,
    }
    let Fields(fields) = serde_json::from_str(json).ok()?;
    if is_stub(json) || !fields.iter().any(|(name, _)| name == "sequence") {
        return None;
    }
    let mut text = String::with_capacity(400);
    for (name, value) in fields.iter().filter(|(name, _)| name != "data") {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&format!("{}:{}", json_text(name), value.get()));
    }
    text.push_str(&format!(r#","{word}":"{}""#, time::format(at)));
    let data = fields.iter().find(|(name, _)| name == "data").map_or("null", |(_, data)| data.get());
    if let Ok(Record { record: Some(record) }) = serde_json::from_str(data) {
        text.push_str(&format!(r#","record":{}"#, record.get()));
    }
    text.push_str(STUB_END);
    Some(text)
}

const STUB_END: &str = r#","data":null}"#;

/// Whether it is one that [`blanked`] has made.
pub fn is_stub(json: &str) -> bool {
    json.ends_with(STUB_END) && [r#","erased":""#, r#","expired":""#].iter().any(|word| json.contains(word))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An object's fields in their order, each value as it is written.
pub(crate) struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(12);
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Gather)
    }
}

/// A place in the journal: everything up to and including `seq` of `epoch`. Written `<epoch>.<seq>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// `None`: the present one.
    pub epoch: Option<String>,
    pub seq: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.epoch {
            Some(epoch) => write!(f, "{epoch}.{}", self.seq),
            None => self.seq.fmt(f),
        }
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, seq) = match text.rsplit_once('.') {
            Some((epoch, seq)) => (Some(epoch.to_owned()), seq),
            None => (None, text),
        };
        let seq = seq.parse().map_err(|_| format!("`{text}` is no cursor; write `<epoch>.<seq>`, or 0"))?;
        Ok(Self { epoch, seq })
    }
}

/// Every kind of the contract, without the prefix.
pub const KINDS: &str = "\
ticket.opened ticket.updated ticket.escalated ticket.cleared ticket.reopened ticket.acknowledged ticket.started ticket.resolved \
ticket.verified ticket.closed access.card access.keypad access.granted access.denied access.opened access.closed access.forced \
access.held access.exit access.tamper locker.opened locker.closed locker.deposited locker.collected locker.unexpected locker.jammed \
locker.overdue locker.held device.online device.offline device.degraded readings.summary gateway.started gateway.stopped gateway.config-changed \
gateway.config-rejected gateway.erased gateway.expired gateway.clock-stepped gateway.maintenance gateway.storage-low gateway.events-dropped gateway.data-quality command.executed \
command.refused";

/// Which kinds of event someone wants: `ticket.*`, `device.offline`. An empty list wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(pub Vec<String>);

impl Kinds {
    /// Whether there is any event that this word means.
    pub fn speaks_of_any(word: &str) -> bool {
        let word = Self(vec![word.to_owned()]);
        KINDS.split_whitespace().any(|kind| word.want(kind))
    }

    pub fn want(&self, kind: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|want| match want.strip_suffix('*') {
                Some(start) => kind.starts_with(start),
                None => kind == want,
            })
    }
}

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        // As it stands in an event, with the prefix, is as good.
        let words = words.map(|word| word.strip_prefix("gatehouse.").unwrap_or(word));
        let kinds = words.map(|word| match Self::speaks_of_any(word) {
            true => Ok(word.to_owned()),
            false => Err(format!("there is no event `{word}`; write `ticket.*`, or one of: {KINDS}")),
        });
        Ok(Self(kinds.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_under_another_epoch_says_the_same_and_where_it_comes_from() {
        let draft =
            Draft::new("device.online", "devices/泵".into(), 0, &serde_json::json!({"b": 1.50, "a": "\"x"}));
        let first = draft.render("g", "e1", 7, false);
        let second = moved(&first, 7, "g", "e2", 3).unwrap();
        let expected = first
            .replace("g/e1/7", "g/e2/3")
            .replace(&format!("{:020}", 7), &format!("{:020}", 3))
            .replace(r#","data":"#, r#","origin":"g/e1/7","data":"#);
        assert_eq!(second, expected);
        let third = moved(&second, 3, "h", "e3", 1).unwrap();
        assert!(third.contains(r#""id":"h/e3/1""#) && third.contains(r#""source":"/gateways/h""#), "{third}");
        assert!(third.contains(r#""origin":"g/e1/7","data":"#), "{third}");
        assert_eq!(third.matches("origin").count(), 1);
        assert_eq!(moved(&first, 8, "g", "e2", 3), None, "another's number");
        assert_eq!(moved("{}", 0, "g", "e2", 3), None);
        assert_eq!(moved(&first[..first.len() - 1], 7, "g", "e2", 3), None);
    }

    #[test]
    fn a_stub_says_what_the_event_was_and_nothing_of_what_it_said() {
        let data = serde_json::json!({"card": "c-0123456789abcdef", "record": "77"});
        let told = Draft::new("access.granted", "devices/门".into(), 0, &data).render("g", "e", 7, true);
        let stub = blanked(&told, "erased", 1000).unwrap();
        let expected = told.replace(
            r#""data":{"card":"c-0123456789abcdef","record":"77"}"#,
            r#""erased":"1970-01-01T00:00:01.000Z","record":"77","data":null"#,
        );
        assert_eq!(stub, expected);
        assert!(is_stub(&stub) && !is_stub(&told));
        assert_eq!(blanked(&stub, "expired", 2000), None, "it is one already");
        assert_eq!(blanked("{}", "erased", 0), None);
        let elsewhere = moved(&stub, 7, "g", "e2", 1).unwrap();
        assert!(is_stub(&elsewhere) && elsewhere.contains(r#""origin":"g/e/7""#), "{elsewhere}");
    }

    #[test]
    fn kinds_are_taken_with_and_without_the_prefix_and_a_typo_is_refused() {
        let kinds: Kinds = "gatehouse.ticket.opened, device.*".parse().unwrap();
        assert!(kinds.want("ticket.opened") && kinds.want("device.online") && !kinds.want("ticket.closed"));
        assert!("ticket.*,nonsense".parse::<Kinds>().unwrap_err().contains("`nonsense`"));
        assert!("".parse::<Kinds>().unwrap().want("ticket.opened"));
    }
}
