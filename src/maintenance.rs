//! Noun: maintenance of a device, a place or a rule: until it ends, nothing that is read there becomes a ticket.
//!
//! In the words of ISA-18.2 this is shelving: by a person, for a time that is bounded, and told when it begins and ends.

use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tokio::sync::oneshot;

use crate::reading::Millis;
use crate::time;

/// What rests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    Device(Arc<str>),
    /// With all that is in it: `3号楼` has `3号楼/地下室` in it, and not `3号楼B`.
    Place(Arc<str>),
    /// On all of its points.
    Rule(Arc<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintenance {
    pub scope: Scope,
    pub since: Millis,
    pub until: Millis,
    pub by: String,
    pub note: Option<String>,
}

/// At one time; each has a scope of its own.
pub const MAINTENANCES_MAX: usize = 256;
/// What rests for longer has been forgotten.
pub const LASTS_MAX: Millis = 31 * 24 * 3600 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Begun,
    /// Another end, person or note.
    Changed,
    Ended,
}

/// What has become of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub step: Step,
    pub at: Millis,
    /// Ended: `until` is when it did, `by` who ended it.
    pub maintenance: Maintenance,
}

/// What a person asks for, with the place where the answer goes. An `until` that has come ends what there is.
#[derive(Debug)]
pub struct Call {
    pub scope: Scope,
    pub until: Millis,
    pub by: String,
    pub note: Option<String>,
    pub answer: oneshot::Sender<Result<Change, Refused>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no {what} `{name}`; {cure}")]
    Unknown { what: &'static str, name: Arc<str>, cure: String },
    #[error("`until` is {until}, and maintenance ends within 31 days; here it is {now}; say a nearer end")]
    TooLong { until: String, now: String },
    #[error("{MAINTENANCES_MAX} maintenances are under way, which is the most; end one that is over")]
    TooMany,
}

impl Scope {
    /// `device`, `place`, `rule`
    pub fn word(&self) -> &'static str {
        match self {
            Scope::Device(_) => "device",
            Scope::Place(_) => "place",
            Scope::Rule(_) => "rule",
        }
    }

    pub fn name(&self) -> &Arc<str> {
        match self {
            Scope::Device(name) | Scope::Place(name) | Scope::Rule(name) => name,
        }
    }

    /// From its two words.
    pub fn of(word: &str, name: Arc<str>) -> Option<Self> {
        match word {
            "device" => Some(Scope::Device(name)),
            "place" => Some(Scope::Place(name)),
            "rule" => Some(Scope::Rule(name)),
            _ => None,
        }
    }

    /// Whether the device rests with it.
    pub fn has(&self, device: &str, place: &str) -> bool {
        match self {
            Scope::Device(name) => **name == *device,
            Scope::Place(name) => is_in(place, name),
            Scope::Rule(_) => false,
        }
    }
}

/// Whether `place` is `outer` or in it, by whole steps of the path.
pub fn is_in(place: &str, outer: &str) -> bool {
    place.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Maintenance {
    /// `{"device": "pump-1", "since": …, "until": …, "by": …, "note": …}`, as the journal and the API say it.
    pub fn told(&self) -> Map<String, Json> {
        let mut told = Map::new();
        told.insert(self.scope.word().into(), (**self.scope.name()).into());
        told.insert("since".into(), time::format(self.since).into());
        told.insert("until".into(), time::format(self.until).into());
        told.insert("by".into(), self.by.as_str().into());
        told.insert("note".into(), self.note.clone().into());
        told
    }
}

impl Step {
    pub fn word(self) -> &'static str {
        match self {
            Step::Begun => "begun",
            Step::Changed => "changed",
            Step::Ended => "ended",
        }
    }
}

impl Change {
    /// As the maintenance, with `state`: `begun`, `changed` or `ended`.
    pub fn told(&self) -> Map<String, Json> {
        let mut told = self.maintenance.told();
        told.insert("state".into(), self.step.word().into());
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_in_it_what_lies_below_it_and_nothing_beside_it() {
        for (place, inside) in [
            ("3号楼", true),
            ("3号楼/地下室", true),
            ("3号楼B", false),
            ("3号楼B/地下室", false),
            ("", false),
        ] {
            assert_eq!(is_in(place, "3号楼"), inside, "{place}");
        }
        assert!(!is_in("3号楼", "3号楼/地下室"));
        assert!(!Scope::Rule("pump-1".into()).has("pump-1", "pump-1"));
    }
}
