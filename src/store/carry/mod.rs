//! Carries what has to go on into the journal of a new epoch: after damage, onto a new box, into memory and back.
//!
//! What goes on: the events that a consumer has not acknowledged or that were set aside for it, as far as the [`Limit`]
//! lets them; the unclosed tickets and the closed ones that may come back; the state of the rules, doors, devices,
//! orders and maintenance; the last ticket number; the consumers. Events get the numbers 1, 2, … in their old order.
//! Their chain begins anew, since it is one of what is told. Each consumer's cursor becomes the number of events carried that it had, so that it gets none twice and misses none.
//!
//! It reads row by row: what cannot be read, or does not fit its sum, is left behind and counted. A ticket whose row is
//! lost is taken from the last event that tells it. The row in `gateway` is written last; a journal without one was not
//! carried to the end.

mod events;
mod state;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::json;

use super::chain::{self, Pen};
use super::mark::Mark;
use super::seal::{Place, Unreadable};
use super::{Error, Seal, keyring, keys, salvage, sum};
use crate::event::Draft;
use crate::reading::Millis;

/// How much may be carried at the most. What is too much, the oldest first: events that no required consumer waits for,
/// then those that are not of tickets, then those of tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub events: u64,
    /// Bytes of the events' JSON.
    pub bytes: u64,
    /// Closed tickets, the latest ones; unclosed ones are all carried.
    pub closed: u64,
}

impl Limit {
    pub const NONE: Limit =
        Limit { events: u64::MAX, bytes: u64::MAX, closed: super::journal::CLOSED_REMEMBERED_MAX as u64 };
}

/// What was carried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// The epoch that it comes from, where it could be read.
    pub before: Option<String>,
    pub events: u64,
    pub tickets: u64,
    pub episodes: u64,
    /// Tickets whose row could not be read, told by their last event.
    pub rescued: u64,
    /// Time of the last commit.
    pub committed: Millis,
    /// It was carried out of a damaged file.
    pub damaged: bool,
    pub lost: Lost,
}

/// What was left behind, for the limit's sake or because it could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lost {
    pub events: u64,
    /// Nobody knows how many events.
    pub unknown: bool,
    /// Numbers in the epoch before; 0 where no event is known to be lost.
    pub from: u64,
    pub to: u64,
    /// Kinds without the prefix; `unknown` where a row could not be read at all.
    pub types: BTreeSet<String>,
    /// More was told than could be found.
    pub beyond: bool,
    /// Rows of other tables that were damaged, by table; 1 where a part of unknown size could not be read.
    pub rows: BTreeMap<&'static str, u64>,
}

impl Carried {
    /// Whether orders may have been given of which nothing is known here.
    fn lacks_orders(&self) -> bool {
        const OF_ORDERS: [&str; 5] = ["journal", "gateway", "command", "used_key", "orders_known"];
        self.lost.unknown
            || self.lost.beyond
            || OF_ORDERS.iter().any(|table| self.lost.rows.contains_key(table))
    }

    /// Whether a part of what was read is damaged, and not only left behind for the limit's sake.
    pub fn damaged(&self) -> bool {
        !self.lost.rows.is_empty()
    }
}

impl Lost {
    pub fn is_nothing(&self) -> bool {
        self.events == 0 && !self.unknown && self.rows.is_empty()
    }

    fn event(&mut self, seq: u64, kind: &str) {
        self.span(seq, seq);
        if !self.types.contains(kind) {
            self.types.insert(kind.to_owned());
        }
    }

    fn span(&mut self, from: u64, to: u64) {
        self.events += to - from + 1;
        self.from = if self.from == 0 { from } else { self.from.min(from) };
        self.to = self.to.max(to);
    }

    /// Whatever the mark says and the journal, which ends at `head`, does not have.
    fn beyond(&mut self, mark: &Mark, head: u64) {
        if mark.head > head {
            self.span(head + 1, mark.head);
            self.beyond = true;
            self.types.insert("unknown".into());
        }
    }

    fn all(&mut self) {
        self.unknown = true;
        self.types.insert("unknown".into());
    }

    fn count(&self) -> Option<u64> {
        (!self.unknown).then_some(self.events)
    }

    /// A part of unknown size.
    fn part_of(&mut self, table: &'static str) {
        self.rows.entry(table).or_insert(1);
    }

    /// The end could not be read.
    pub fn unread(&mut self, from: u64, to: u64) {
        self.beyond = true;
        self.span(from, to);
        self.types.insert("unknown".into());
    }

    fn row(&mut self, table: &'static str) {
        *self.rows.entry(table).or_default() += 1;
    }
}

/// Where carried events went: runs of numbers that followed each other before and do so now.
#[derive(Debug, Default)]
struct Moved(Vec<Run>);

#[derive(Debug)]
struct Run {
    before: u64,
    now: u64,
    len: u64,
}

impl Moved {
    fn add(&mut self, before: u64, now: u64) {
        match self.0.last_mut() {
            Some(run) if run.before + run.len == before && run.now + run.len == now => run.len += 1,
            _ => self.0.push(Run { before, now, len: 1 }),
        }
    }

    /// The event's number now.
    fn of(&self, before: u64) -> Option<u64> {
        let run = self.run_at(before)?;
        (before < run.before + run.len).then(|| run.now + (before - run.before))
    }

    /// How many carried events were at or below this number.
    fn up_to(&self, before: u64) -> u64 {
        self.run_at(before).map_or(0, |run| run.now + (before - run.before).min(run.len - 1))
    }

    fn run_at(&self, before: u64) -> Option<&Run> {
        let after = self.0.partition_point(|run| run.before <= before);
        after.checked_sub(1).map(|index| &self.0[index])
    }
}

/// Under which keys the texts are that are read, and under which they are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seals<'a> {
    pub open: &'a Seal,
    pub close: &'a Seal,
}

impl<'a> Seals<'a> {
    pub fn same(seal: &'a Seal) -> Self {
        Self { open: seal, close: seal }
    }
}

/// Of the file that is read: which condition says that a row of a table fits; older formats have no sums.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    db: &'a Connection,
    has_sums: bool,
    /// It knows when orders expire, and their keys for ever; older formats do not.
    has_keys: bool,
    /// As formats from 5 on have.
    has_chain: bool,
    seals: Seals<'a>,
    /// Texts whose key is not at hand, by their place.
    shut: &'a RefCell<BTreeSet<String>>,
}

impl Source<'_> {
    fn fits(&self, condition: &'static str) -> &'static str {
        if self.has_sums { condition } else { "1" }
    }

    /// Of a table whose sum is over all its columns.
    fn fits_all(&self, columns: &str) -> String {
        if self.has_sums { format!("(sum IS row_sum({columns}))") } else { "1".into() }
    }

    /// What was said there; `None` where it is not what was sealed there, or is one of a few whose key nobody knows. Where
    /// those are more, a key is missing, and nothing may be left behind for that.
    fn opened(&self, place: Place<'_>, stored: &str) -> Result<Option<String>, Error> {
        match self.seals.open.open(place, stored) {
            Ok(text) => Ok(Some(text.into_owned())),
            Err(Unreadable::Unknown { place, key }) => {
                let mut shut = self.shut.borrow_mut();
                shut.insert(place);
                if shut.len() > keyring::FEW { Err(Error::Locked(key)) } else { Ok(None) }
            }
            Err(Unreadable::Changed { .. }) => Ok(None),
        }
    }

    /// Whether there is this table to be read. Older formats have not all of them; of ours it is lost.
    fn has(&self, table: &'static str, rows: &str, lost: &mut Lost) -> bool {
        let has = salvage::answers(self.db, rows);
        let is_newer = table == "erasure" && !self.has_chain;
        if !has && self.has_sums && !is_newer {
            lost.part_of(table);
        }
        has
    }
}

/// Carries all of it into an empty journal. On an error `into` is of no use.
pub(super) fn carry(
    from: &Connection,
    into: &mut Connection,
    gateway: &str,
    epoch: &str,
    seals: Seals<'_>,
    limit: Limit,
) -> Result<Carried, Error> {
    // Either of them may be damaged in the schema.
    let has_sums =
        ["SELECT sum FROM event", "SELECT sum FROM ticket"].iter().any(|s| salvage::answers(from, s));
    let has_keys = ["SELECT expires_at FROM command", "SELECT digest FROM used_key"]
        .iter()
        .any(|s| salvage::answers(from, s));
    let has_chain = salvage::answers(from, "SELECT chain FROM event");
    keyring::at_hand(from, seals.open)?;
    let shut = RefCell::default();
    let source = Source { db: from, has_sums, has_keys, has_chain, seals, shut: &shut };
    let mut carried = Carried::default();
    let moved = events::carry(&source, into, (gateway, epoch), limit, &mut carried)?;
    let known = gateway_row(&source, &mut carried)?;
    let step = into.transaction()?;
    let closed_since = state::tickets(&source, &step, &moved, limit, &mut carried)?;
    state::rules_and_devices(&source, &step, &mut carried)?;
    state::keys_of_orders(&source, &step, &mut carried)?;
    state::consumers(&source, &step, &moved, &mut carried)?;
    let mut number = known.max(state::last_number(&step, seals.close)?);
    if carried.damaged() {
        number = number.max(state::rescue(&source, &step, closed_since, &mut carried)?);
    }
    step.execute(
        "INSERT OR REPLACE INTO gateway(one, id, epoch, number, committed) VALUES (1, ?1, ?2, ?3, ?4)",
        params![gateway, epoch, number, carried.committed],
    )?;
    step.commit()?;
    Ok(carried)
}

/// Begins with nothing, where nothing can be read.
pub(super) fn nothing(into: &mut Connection, gateway: &str, epoch: &str) -> Result<Carried, Error> {
    let mut carried = Carried::default();
    carried.lost.row("journal");
    carried.lost.all();
    into.execute(
        "INSERT OR REPLACE INTO gateway(one, id, epoch, number, committed) VALUES (1, ?1, ?2, 0, 0)",
        params![gateway, epoch],
    )?;
    Ok(carried)
}

/// What was told by the journal of the mark, and is not in the one that was carried and ended at `head`.
pub(super) fn count_what_was_told(carried: &mut Carried, mark: Mark, head: u64) {
    let lost = &mut carried.lost;
    match &carried.before {
        Some(before) if *before == mark.epoch => lost.beyond(&mark, head),
        Some(_) => lost.all(),
        None => {
            lost.all();
            (lost.from, lost.to) = (u64::from(mark.head > 0), mark.head);
            carried.before = Some(mark.epoch);
        }
    }
}

/// What was carried may be older than what was told of it. A ticket's id and revision name one version for ever, so the next
/// one is above any that may have been told: higher by 1000, and by one for each second that it is `older` than now, since
/// the same may have been carried before, and gone on from there.
pub(super) fn leap(into: &mut Connection, seal: &Seal, older: Millis) -> Result<(), Error> {
    let by = 1000 + (older / 1000).max(0);
    let step = into.transaction()?;
    let ids: Vec<String> =
        step.prepare("SELECT id FROM ticket")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut read = step.prepare("SELECT json FROM ticket WHERE id = ?1")?;
    let mut raise =
        step.prepare("SELECT json_set(?1, '$.revision', (?1 ->> '$.revision') + ?2) WHERE json_valid(?1)")?;
    let mut write = step.prepare(
        "UPDATE ticket SET json = ?2, sum = row_sum(id, state, device, closed_at, subject, life, ?2)
         WHERE id = ?1",
    )?;
    for id in &ids {
        let place = Place::Ticket(id);
        let stored: String = read.query_row([id], |row| row.get(0))?;
        let Ok(json) = seal.open(place, &stored) else { continue };
        let raised: Option<String> = raise.query_row(params![&*json, by], |row| row.get(0)).optional()?;
        if let Some(raised) = raised {
            write.execute(params![id, seal.close(place, &raised)?])?;
        }
    }
    drop((read, raise, write));
    step.commit()?;
    Ok(())
}

/// Tells the new journal where it comes from and what is lost, as its next event; and keeps it beside the epoch.
pub(super) fn tell(
    into: &mut Connection,
    (gateway, epoch): (&str, &str),
    seal: &Seal,
    carried: &Carried,
    why: &str,
    at: Millis,
    synced: bool,
) -> Result<(), Error> {
    let step = into.transaction()?;
    let lost = &carried.lost;
    let before = json!({ "epoch": carried.before, "reason": why, "at": at, "lost": lost.count(), "rows": lost.rows, "damaged": carried.damaged });
    step.execute("UPDATE gateway SET before = ?1", [before.to_string()])?;
    if carried.lacks_orders() {
        keys::lost(&step, at.max(carried.committed))?;
    }
    if !lost.is_nothing() {
        let cursor = |seq: u64| match &carried.before {
            Some(before) if seq > 0 => json!(format!("{before}.{seq}")),
            _ => json!(null),
        };
        let data = json!({
            "epoch": carried.before, "from": cursor(lost.from), "to": cursor(lost.to), "count": lost.count(),
            "types": lost.types, "rows": lost.rows, "reason": why,
        });
        let draft = Draft::new("gateway.events-dropped", format!("gateways/{gateway}"), at, &data);
        append(&step, (gateway, epoch), seal, &draft, at, synced)?;
    }
    step.commit()?;
    Ok(())
}

fn append(
    db: &Connection,
    (gateway, epoch): (&str, &str),
    seal: &Seal,
    draft: &Draft,
    at: Millis,
    synced: bool,
) -> Result<(), Error> {
    let seq = super::file::head(db)? + 1;
    let json = draft.render(gateway, epoch, seq, synced);
    let row = chain::Row { seq, at, kind: draft.kind, ticket: None, json: &json };
    Pen::at_the_end(db, gateway, epoch, seal)?.write(db, &row)?;
    Ok(())
}

/// Takes over the epoch and the time, or what the events say of them; returns the last ticket number, 0 where it cannot be read.
fn gateway_row(source: &Source<'_>, carried: &mut Carried) -> Result<u64, Error> {
    let fits = source.fits(sum::GATEWAY_FITS);
    let row: Option<(String, u64, Millis)> = salvage::read(source.db.query_row(
        &format!("SELECT epoch, number, committed FROM gateway WHERE {fits}"),
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    ))?;
    match row {
        Some((epoch, number, committed)) => {
            (carried.before, carried.committed) = (Some(epoch), committed);
            Ok(number)
        }
        None => {
            carried.lost.row("gateway");
            if let Some((json, at)) = last_event(source)? {
                carried.before = epoch_of(&json);
                carried.committed = at;
            }
            Ok(0)
        }
    }
}

fn last_event(source: &Source<'_>) -> Result<Option<(String, Millis)>, Error> {
    for order in ["DESC", "ASC"] {
        let event = format!("SELECT seq, json, at FROM event ORDER BY seq {order} LIMIT 1");
        let event = source.db.query_row(&event, [], |row| {
            Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Millis>(2)?))
        });
        if let Some((seq, stored, at)) = salvage::read(event)?
            && let Some(json) = source.opened(Place::Event(seq), &stored)?
        {
            return Ok(Some((json, at)));
        }
    }
    Ok(None)
}

/// Of an event's id, `<gateway>/<epoch>/<seq>`.
fn epoch_of(json: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: String,
    }
    let named: Named = serde_json::from_str(json).ok()?;
    named.id.rsplit('/').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests;
