//! Kinds of events that are kept for less long than others: acknowledged ones that are older become stubs, which keep
//! number, type, digest and their place in the chain. Events of unclosed tickets and those set aside stay as they are.
//!
//! Once a day they are looked for. Where there is one, `gateway.expired` tells first, in the transaction of the first bite,
//! which kinds go, from where to where: a stub that no such event tells of was made by somebody else, and `verify` says so.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::json;

use super::journal::{self, Journal, Teller};
use super::seal::Place;
use super::{Error, erasure, file, sum, view};
use crate::event::Draft;
use crate::reading::Millis;
use crate::time;

/// Which kinds, and for how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiring {
    /// `access.*`, `command.executed`
    kinds: String,
    keep: Duration,
    /// Everything up to here has been looked at.
    looked: u64,
    run: Option<Run>,
}

/// Once from the first event to the last that may go: what was passed over before may have become free to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    begun: Millis,
    /// The last that may go.
    to: u64,
    is_told: bool,
}

/// Numbers looked at, and events changed, in one transaction, so that a commit never waits long for it.
const LOOKED_MAX: u64 = 5000;
const BITE: usize = 500;
const AGAIN: Millis = 24 * 3600 * 1000;

/// Kinds that never expire: without them nobody knows what a hole or a stub is. `gateway.erased` has a way of its own.
pub const LASTING: [&str; 3] = ["gateway.events-dropped", "gateway.expired", "gateway.erased"];
/// The same in SQL.
pub const LASTS: &str = "kind IN ('gateway.events-dropped', 'gateway.expired', 'gateway.erased')";

impl Journal {
    /// Which kinds are kept for how long; what was looked at before is looked at again.
    pub fn keep_kinds(&mut self, kinds: &[(String, Duration)]) {
        let expiring = |(kinds, keep): &(String, Duration)| Expiring {
            kinds: kinds.clone(),
            keep: *keep,
            looked: 0,
            run: None,
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
        self.make_sure()?;
        let cut = now.saturating_sub(of.keep.as_millis().try_into().unwrap_or(Millis::MAX));
        self.db.pragma_update(None, "secure_delete", true)?;
        let (gateway, epoch, seal) = (self.gateway.clone(), self.epoch.clone(), self.seal.clone());
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let first = file::oldest(&step)?.saturating_sub(1);
        let mut run = match of.run {
            Some(run) if now.saturating_sub(run.begun) < AGAIN => run,
            _ => {
                of.looked = 0;
                Run { begun: now, to: last_to_go(&step, first, cut)?, is_told: false }
            }
        };
        let from = of.looked.max(first);
        let end = end(&step, from, run.to, cut)?;
        let found = too_old(&step, &of.kinds, from, end)?;
        let mut head = None;
        if let (Some((seq, _)), false) = (found.first(), run.is_told) {
            let data = json!({ "from": seq, "to": run.to, "types": [of.kinds], "before": time::format(cut) });
            // Every stub of this run says when it was begun.
            let draft = Draft::new("gateway.expired", format!("gateways/{gateway}"), run.begun, &data);
            let teller = Teller { gateway: &gateway, epoch: &epoch, seal: &seal, at: now, synced: true };
            head = Some(journal::write_events(&step, &teller, &[draft], file::head(&step)?)?);
            run.is_told = true;
        }
        for (seq, json) in &found {
            let json = seal.open(Place::Event(*seq), json).map_err(rusqlite::Error::from)?;
            erasure::blank(&step, &seal, *seq, &json, "expired", run.begun)?;
        }
        let full = found.len() == BITE;
        let looked = found.last().filter(|_| full).map_or(end, |(seq, _)| *seq);
        step.commit()?;
        (of.looked, of.run) = (looked.max(of.looked), Some(run));
        self.head = head.unwrap_or(self.head);
        if !found.is_empty() {
            self.between.rewritten();
        }
        Ok(full || end - from == LOOKED_MAX)
    }
}

/// Every required consumer has it, and it is old enough; as good as that can be said without reading them all, where the
/// clock was set back in between.
fn last_to_go(step: &Transaction<'_>, first: u64, cut: Millis) -> Result<u64, Error> {
    let acknowledged: Option<u64> =
        step.query_row("SELECT min(acknowledged) FROM consumer WHERE required", [], |row| row.get(0))?;
    let head = file::head(step)?;
    let (mut from, mut to) = (first, acknowledged.unwrap_or(head).min(head));
    let mut query = step.prepare_cached("SELECT at < ?2 FROM event WHERE seq >= ?1 ORDER BY seq LIMIT 1")?;
    while from < to {
        let middle = from + (to - from).div_ceil(2);
        if query.query_row(params![middle, cut], |row| row.get(0))? {
            from = middle;
        } else {
            to = middle - 1;
        }
    }
    Ok(from)
}

/// Up to here all are old enough.
fn end(step: &Transaction<'_>, from: u64, to: u64, cut: Millis) -> Result<u64, Error> {
    let to = (from + LOOKED_MAX).min(to);
    let young: Option<u64> = step
        .prepare_cached(
            "SELECT seq FROM event WHERE seq > ?1 AND seq <= ?2 AND at >= ?3 ORDER BY seq LIMIT 1",
        )?
        .query_row(params![from, to, cut], |row| row.get(0))
        .optional()?;
    Ok(young.map_or(to, |seq| seq - 1).max(from))
}

fn too_old(step: &Transaction<'_>, kinds: &str, from: u64, end: u64) -> Result<Vec<(u64, String)>, Error> {
    let mut query = step.prepare_cached(&format!(
        "SELECT seq, json, {} FROM event WHERE seq > ?1 AND seq <= ?2 AND kind GLOB ?3 AND digest IS NULL
             AND NOT {LASTS}
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
