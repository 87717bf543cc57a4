//! Orders that were given are known: by their row, by their key, or because they have expired. An order of which that is
//! gone would be given again. A row says what its event says.

use std::collections::HashMap;

use rusqlite::Connection;
use serde::Deserialize;

use super::{Told, Walk};
use crate::reading::Millis;
use crate::store::keys::{self, KEYS_MAX, Known, sum_of};
use crate::store::orders::{self, ORDERS_KEPT, OrderRow};
use crate::store::verify::rows::Event;
use crate::time;

/// What is known while the rows go by.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// `None`: the journal is of a format that does not know when orders expire.
    known: Option<Known>,
    /// Until when the key of each that was given may not come again.
    given: HashMap<[u8; 16], Millis>,
}

/// Of `command.executed`.
#[derive(Deserialize)]
struct Given {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    key: String,
    device: String,
    action: String,
    outcome: String,
    #[serde(flatten)]
    more: More,
}

/// Each `None`: an older gatehouse did not tell.
#[derive(Deserialize)]
struct More {
    #[serde(default, deserialize_with = "told")]
    target: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    by: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    reason: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    expires_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "told")]
    detail: Option<Option<String>>,
}

/// Told, and be it null.
fn told<'de, D: serde::Deserializer<'de>>(of: D) -> Result<Option<Option<String>>, D::Error> {
    Deserialize::deserialize(of).map(Some)
}

impl Data {
    fn is_of(&self, kept: &OrderRow, at: Millis) -> bool {
        let OrderRow { order, ended: Some((ended_at, outcome)), .. } = kept else { return false };
        let (word, detail) = outcome.words();
        let More { target, by, reason, expires_at, detail: said } = &self.more;
        let until = order.expires_at.map(time::format);
        let told = [
            (target, Some(&*order.target)),
            (by, Some(&*order.by)),
            (reason, order.reason.as_deref()),
            (expires_at, until.as_deref()),
            (said, Some(detail)),
        ];
        *order.device == *self.device
            && order.action == self.action
            && (*ended_at, word) == (at, &*self.outcome)
            && told.iter().all(|(told, kept)| told.as_ref().is_none_or(|told| told.as_deref() == *kept))
    }
}

impl Orders {
    pub fn of(db: &Connection) -> Self {
        let known = db.prepare("SELECT expires_at, effect FROM command").and_then(|_| keys::known(db)).ok();
        Self { known, given: HashMap::new() }
    }
}

impl Walk<'_> {
    pub(super) fn order(&mut self, row: &Event<'_>, told: &Told<'_>, json: &str) {
        let Some(known) = self.orders.known else { return };
        let Ok(Given { data }) = serde_json::from_str(json) else { return };
        let Ok(at) = time::parse(&told.time) else { return };
        let expires_at = data.more.expires_at.as_ref().map(|at| match at {
            Some(at) => time::parse(at).unwrap_or(Millis::MAX),
            None => Millis::MAX,
        });
        // What was lost with an earlier epoch was told, and is refused for as long as it might come again.
        let is_lost = told.origin.is_some() && known.lost_until > at;
        if !is_lost {
            self.again(row.seq, &data.key, at, expires_at);
        }
        let kept = orders::named(self.db, self.seal, &data.key);
        let Ok(kept) = kept else {
            let what = format!("the row of its order `{}` cannot be read here", data.key);
            return self.report.doubt(Some(row.seq), what);
        };
        match kept {
            Some(kept) => {
                // The same key again, after this order had expired.
                let is_later = expires_at.is_some_and(|until| kept.begun_at >= until);
                if !data.is_of(&kept, at) && !is_later {
                    let what =
                        format!("the row of its order `{}` says something else: it was changed", data.key);
                    self.report.fault(Some(row.seq), what);
                }
            }
            None if keys::is_used(self.db, &data.key).unwrap_or(false) || is_lost => {}
            None => self.forgotten(row.seq, &data.key, at, expires_at, known),
        }
    }

    /// Neither its row nor its key is there.
    fn forgotten(&mut self, seq: u64, key: &str, at: Millis, expires_at: Option<Millis>, known: Known) {
        const MINUTES: Millis = 3_600_000;
        // Of an order without a row the key is kept, unless it expired within a week.
        let latest = expires_at.unwrap_or(at.saturating_add(ORDERS_KEPT));
        let earliest = expires_at.unwrap_or(at.saturating_sub(MINUTES));
        let what = format!("its order `{key}` is not among those that are known: it would be given again");
        if latest <= known.forgotten {
        } else if earliest > known.forgotten {
            self.report.fault(Some(seq), what);
        } else {
            let why = "well only if it has expired, which an older gatehouse did not tell";
            self.report.doubt(Some(seq), format!("{what}; {why}"));
        }
    }

    /// A key that could not come again, and did.
    fn again(&mut self, seq: u64, key: &str, at: Millis, expires_at: Option<Millis>) {
        let sum = sum_of(key);
        if self.orders.given.get(&sum).is_some_and(|until| at < *until) {
            let what = format!("its order `{key}` was given before, and could not be given again");
            self.report.fault(Some(seq), what);
        }
        if let Some(until) = expires_at
            && self.orders.given.len() < KEYS_MAX
        {
            self.orders.given.insert(sum, until);
        }
    }
}
