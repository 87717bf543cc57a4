//! Who the gateway talks to while it is killed: a CRM that lies, and a puller that dies as well.

pub mod crm;
pub mod puller;

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value as Json;

/// Dice with a seed (xorshift64*).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.roll(of) == 0
    }
}

/// What is kept of an event: a run of a thousand kills makes too many to keep them whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub id: String,
    pub kind: String,
    pub ticket: Option<(String, u64)>,
    /// Of all of it.
    print: u64,
}

impl Told {
    pub fn of(event: &Json) -> Self {
        let text = |key: &str| event[key].as_str().unwrap().to_owned();
        let kind = text("type").strip_prefix("gatehouse.").unwrap().to_owned();
        let data = &event["data"];
        let ticket = kind
            .starts_with("ticket.")
            .then(|| (data["id"].as_str().unwrap().to_owned(), data["revision"].as_u64().unwrap()));
        let mut hasher = DefaultHasher::new();
        event.to_string().hash(&mut hasher);
        Self { id: text("id"), kind, ticket, print: hasher.finish() }
    }

    pub fn seq(&self) -> u64 {
        self.id.rsplit('/').next().unwrap().parse().unwrap()
    }

    /// One line of the puller's store.
    fn line(&self) -> String {
        let (ticket, revision) = self.ticket.clone().unwrap_or_default();
        format!("{}\t{}\t{ticket}\t{revision}\t{}\n", self.id, self.kind, self.print)
    }

    fn read(line: &str) -> Option<Self> {
        let [id, kind, ticket, revision, print] = line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let ticket = (!ticket.is_empty()).then(|| (ticket.to_owned(), revision.parse().unwrap()));
        Some(Self { id: id.into(), kind: kind.into(), ticket, print: print.parse().unwrap() })
    }
}
