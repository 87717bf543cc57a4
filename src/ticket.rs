//! Noun: a repair ticket, its states, and what people can ask of it. Its JSON is the contract's.
//!
//! The rules of its life are in `rules/desk.rs`; here is only what a ticket *is*.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::oneshot;

use crate::reading::{Millis, Value};
use crate::time::rfc3339;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Open,
    Acknowledged,
    InProgress,
    Resolved,
    Closed,
}

impl State {
    pub const ALL: [State; 5] =
        [State::Open, State::Acknowledged, State::InProgress, State::Resolved, State::Closed];

    pub fn word(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Acknowledged => "acknowledged",
            State::InProgress => "in_progress",
            State::Resolved => "resolved",
            State::Closed => "closed",
        }
    }

    pub fn named(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.word() == word)
    }
}

/// How soon and by whom: repair now, plan the maintenance, or wait for the regular upkeep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Immediate,
    Planned,
    Periodic,
}

/// One episode of one rule on one point, as the contract shows it (section 4).
///
/// Tickets are read back from rows that other versions wrote: every field without which a ticket is still one has
/// `#[serde(default)]` (a plain `Option` has it by itself), and so must every field added later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ticket {
    /// A UUIDv7.
    pub id: Arc<str>,
    /// For people, unique within an epoch: `CP-017-000123`.
    pub number: String,
    pub rule: Arc<str>,
    pub device: Option<Arc<str>>,
    pub point: Option<Arc<str>>,
    #[serde(default)]
    pub place: Arc<str>,
    #[serde(default)]
    pub title: String,
    pub class: Class,
    /// 1 urgent, 2 important, 3 ordinary.
    pub level: u8,
    pub trade: Option<Arc<str>>,
    pub state: State,
    pub revision: u64,
    #[serde(default = "once")]
    pub occurrences: u32,
    pub value: Option<Value>,
    /// The condition as written.
    #[serde(default)]
    pub limit: Json,
    pub unit: Option<Arc<str>>,
    pub external_id: Option<String>,
    pub by: Option<String>,
    pub note: Option<String>,
    #[serde(with = "rfc3339")]
    pub since: Millis,
    #[serde(with = "rfc3339")]
    pub opened_at: Millis,
    #[serde(default, with = "rfc3339::option")]
    pub cleared_at: Option<Millis>,
    #[serde(default, with = "rfc3339::option")]
    pub resolved_at: Option<Millis>,
    #[serde(default, with = "rfc3339::option")]
    pub closed_at: Option<Millis>,
    #[serde(default)]
    pub deadlines: Deadlines,
    /// At most [`EVIDENCE_MAX`] readings around the breach, oldest first.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

fn once() -> u32 {
    1
}

pub const EVIDENCE_MAX: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    #[serde(with = "rfc3339::option")]
    pub contact_by: Option<Millis>,
    #[serde(with = "rfc3339::option")]
    pub on_site_by: Option<Millis>,
    #[serde(with = "rfc3339::option")]
    pub follow_up_by: Option<Millis>,
}

/// `[time, value]`; the value is null where the reading was bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence(#[serde(with = "rfc3339")] pub Millis, pub Option<Value>);

/// The service standard of one level, as spans from the ticket's opening (follow-up: from the repair).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    pub contact: Millis,
    pub on_site: Millis,
    pub follow_up: Millis,
}

/// What can be asked of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Acknowledge,
    Start,
    Resolve,
    Close,
    /// Nothing but what stands beside it: an external id, a note.
    Tell,
}

/// Who speaks where no person does: the centre, in its reply to a push.
pub const CENTRE: &str = "centre";

/// What a person or the centre says of a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    pub ticket: Arc<str>,
    pub verb: Verb,
    pub by: String,
    pub note: Option<String>,
    pub external_id: Option<String>,
    /// The revision the speaker had in mind; a word older than the last reopening is ignored.
    pub revision: Option<u64>,
}

/// An action with the place where its answer goes: the ticket as it now is.
#[derive(Debug)]
pub struct Ask {
    pub action: Action,
    pub answer: oneshot::Sender<Result<Ticket, Refusal>>,
}

/// Why an action did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no ticket {0}")]
    Unknown(Arc<str>),
    #[error("ticket {0} cannot be closed while its condition holds; resolve it, or wait until it clears")]
    ConditionHolds(String),
    #[error(
        "ticket {number} was reopened with revision {reopened}, after the revision {spoken} this speaks of"
    )]
    Stale { number: String, spoken: u64, reopened: u64 },
}
