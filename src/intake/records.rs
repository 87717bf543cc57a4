//! What devices have told before: something that comes a second time under the same number happened once.
//!
//! A controller tells an event again until it hears that it has arrived, and a broker delivers it again after a lost
//! acknowledgement. Kept are the last numbers of each device, with what they said: one that begins to count anew says
//! something else under the same number.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::Deserialize;

use super::Intake;
use crate::happening::Happening;
use crate::pseudonym::Pseudonym;
use crate::reading::Site;

/// For each device; more than a controller sends again after an outage of the gateway would be new to us anyway.
const RECORDS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Records {
    by_device: HashMap<Arc<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    order: VecDeque<u64>,
    set: HashSet<u64>,
}

/// As far as an event of the journal is needed for it.
#[derive(Debug, Deserialize)]
struct Told {
    r#type: String,
    subject: String,
    data: Data,
}

#[derive(Debug, Deserialize)]
struct Data {
    record: Option<String>,
    point: Option<String>,
    card: Option<String>,
}

impl Records {
    /// Whether it has not been told before; from now on it has.
    pub fn is_new(&mut self, happening: &Happening, site: &Site) -> bool {
        let Some(record) = &happening.record else {
            return true;
        };
        let point = happening.point.map(|point| &*site.point(point).id);
        let card = happening.who.as_ref().map(Pseudonym::as_str);
        let mark = mark(record, happening.kind.word(), point, card);
        self.learn(&site.device(happening.device).id, mark)
    }

    fn learn(&mut self, device: &Arc<str>, mark: u64) -> bool {
        let known = self.by_device.entry(device.clone()).or_default();
        if !known.set.insert(mark) {
            return false;
        }
        known.order.push_back(mark);
        if known.order.len() > RECORDS_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.set.remove(&oldest);
        }
        true
    }

    fn learn_told(&mut self, json: &str, site: &Site) {
        let Ok(told) = serde_json::from_str::<Told>(json) else {
            return;
        };
        let device = told.subject.strip_prefix("devices/").and_then(|id| site.device_named(id));
        let kind = told.r#type.rsplit('.').next().unwrap_or_default();
        if let (Some(device), Some(record)) = (device, &told.data.record) {
            let Data { point, card, .. } = &told.data;
            self.learn(&site.device(device).id, mark(record, kind, point.as_deref(), card.as_deref()));
        }
    }
}

impl Intake {
    /// From the journal's last events.
    pub(super) fn known_records(&self) -> Records {
        let mut records = Records::default();
        match self.journal.records() {
            Ok(told) => told.iter().for_each(|json| records.learn_told(json, &self.site)),
            Err(error) => {
                tracing::warn!(%error, "what devices told before the start is not known; it may be told again");
            }
        }
        records
    }
}

fn mark(record: &str, kind: &str, point: Option<&str>, card: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (record, kind, point, card).hash(&mut hasher);
    hasher.finish()
}
