//! Kinds of events that are kept for less long than others: acknowledged ones that are older become stubs, which keep
//! number, type, digest and their place in the chain. Events of unclosed tickets and those set aside stay as they are.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use super::journal::Journal;
use super::seal::Place;
use super::{Error, erasure, file, sum, view};
use crate::reading::Millis;

/// Which kinds, and for how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// `access.*`, `command.executed`
    kinds: String,
    keep: Duration,
    /// Everything up to here has been looked at.
    looked: u64,
    /// When it was begun from the first event: what was passed over may have become free to go.
    since: Millis,
}

/// Numbers looked at, and events changed, in one transaction, so that a commit never waits long for it.
const LOOKED_MAX: u64 = 5000;
const BITE: usize = 500;
const AGAIN: Millis = 24 * 3600 * 1000;

impl Journal {
    /// Which kinds are kept for how long; what was looked at before is looked at again.
    pub fn keep_kinds(&mut self, kinds: &[(String, Duration)]) {
        let expiring = |(kinds, keep): &(String, Duration)| Expiring {
            kinds: kinds.clone(),
            keep: *keep,
            looked: 0,
            since: Millis::MIN,
        };
        self.kinds = kinds.iter().map(expiring).collect();
    }

    /// A bite of what is too old; whether there may be more. Only with a clock that can be believed.
    pub fn expire(&mut self, now: Millis) -> Result<bool, Error> {
        let mut kinds = std::mem::take(&mut self.kinds);
        let done = kinds.iter_mut().try_fold(false, |more, kinds| Ok(self.expire_some(kinds, now)? || more));
        self.kinds = kinds;
        self.noticing(done)
    }

    fn expire_some(&mut self, of: &mut Expiring, now: Millis) -> Result<bool, Error> {
        if now.saturating_sub(of.since) >= AGAIN {
            (of.looked, of.since) = (0, now);
        }
        let cut = now.saturating_sub(of.keep.as_millis().try_into().unwrap_or(Millis::MAX));
        self.db.pragma_update(None, "secure_delete", true)?;
        let seal = self.seal.clone();
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = of.looked.max(file::oldest(&step)?.saturating_sub(1));
        let end = end(&step, from, cut)?;
        let found = too_old(&step, &of.kinds, from, end)?;
        for (seq, json) in &found {
            let json = seal.open(Place::Event(*seq), json).map_err(rusqlite::Error::from)?;
            erasure::blank(&step, &seal, *seq, &json, "expired", now)?;
        }
        let full = found.len() == BITE;
        let looked = found.last().filter(|_| full).map_or(end, |(seq, _)| *seq);
        step.commit()?;
        of.looked = looked.max(of.looked);
        if !found.is_empty() {
            self.between.rewritten();
        }
        Ok(full || end - from == LOOKED_MAX)
    }
}

/// Up to here all are old enough and acknowledged.
fn end(step: &Transaction<'_>, from: u64, cut: Millis) -> Result<u64, Error> {
    let acknowledged: Option<u64> =
        step.query_row("SELECT min(acknowledged) FROM consumer WHERE required", [], |row| row.get(0))?;
    let head = file::head(step)?;
    let to = (from + LOOKED_MAX).min(acknowledged.unwrap_or(head)).min(head);
    let young: Option<u64> = step
        .prepare_cached(
            "SELECT seq FROM event WHERE seq > ?1 AND seq <= ?2 AND at >= ?3 ORDER BY seq LIMIT 1",
        )?
        .query_row(params![from, to, cut], |row| row.get(0))
        .optional()?;
    Ok(young.map_or(to, |seq| seq - 1).max(from))
}

/// What is dropped for room is told by an event that stays as it is: without it nobody knows what a hole is.
fn too_old(step: &Transaction<'_>, kinds: &str, from: u64, end: u64) -> Result<Vec<(u64, String)>, Error> {
    let mut query = step.prepare_cached(&format!(
        "SELECT seq, json, {} FROM event WHERE seq > ?1 AND seq <= ?2 AND kind GLOB ?3 AND digest IS NULL
             AND kind <> 'gateway.events-dropped'
             AND seq NOT IN (SELECT seq FROM aside)
             AND NOT EXISTS (SELECT 1 FROM ticket WHERE ticket.id = event.ticket AND ticket.state <> 'closed')
         ORDER BY seq LIMIT ?4",
        sum::EVENT_FITS
    ))?;
    let rows = query.query_map(params![from, end, kinds, BITE as i64], |row| {
        view::fits(row, 2, 0, "event")?;
        Ok((row.get(0)?, row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
