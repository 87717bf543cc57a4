//! Noun: what the centre is told. CloudEvents 1.0; the JSON is rendered once, when it is written, and sent as stored.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::value::RawValue;

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
        Self {
            kind,
            subject,
            at,
            data,
        }
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
        let seq = seq
            .parse()
            .map_err(|_| format!("`{text}` is no cursor; write `<epoch>.<seq>`, or 0"))?;
        Ok(Self { epoch, seq })
    }
}

/// Which kinds of event someone wants: `ticket.*`, `device.offline`. An empty list wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kinds(pub Vec<String>);

impl Kinds {
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
        Ok(Self(
            text.split(',')
                .map(str::trim)
                .filter(|w| !w.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }
}
