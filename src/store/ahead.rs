//! What goes ahead of a consumer's cursor: events of unclosed tickets, which need not wait for a backlog.
//!
//! Of each ticket from its first pending event on, so that a ticket's events never overtake one another; what went is
//! remembered in the table `ahead` until the cursor has passed it.

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Transaction, params};
use serde::Deserialize;

use super::chain::Kept;
use super::seal::Place;
use super::view::{self, SCANNED_MAX};
use super::{Seal, sum};
use crate::event::{Kinds, Stored};

/// Events that are remembered as ahead of one consumer. Where it is full, tickets wait for the bulk lane, which makes
/// room; the second half is for tickets of level 1.
pub const AHEAD_MAX: usize = 10_000;
/// Tickets looked at in one go, so that many with nothing to tell do not hold the connection for long.
const TICKETS_MAX: usize = 500;
/// Bytes of JSON in one go; there is always room for one event.
const BYTES_MAX: usize = 256 << 10;

/// What is asked of the urgent lane's query.
pub(super) struct Asked<'a> {
    pub consumer: &'a str,
    pub acknowledged: u64,
    /// What the bulk lane has in hand: a ticket that has something pending up to here is left to it.
    pub above: u64,
    pub limit: usize,
    pub kinds: &'a Kinds,
}

/// Numbers above the cursor that the bulk lane leaves out, in order: as many as one slice can have among its rows. Where
/// events were dropped for room a slice reaches further than its rows, so the numbers alone do not bound them.
pub(super) fn left_out(db: &Connection, consumer: &str, cursor: u64) -> rusqlite::Result<Vec<u64>> {
    db.prepare_cached(
        "SELECT seq FROM aside WHERE consumer = ?1 AND seq > ?2
         UNION SELECT seq FROM ahead WHERE consumer = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?
    .query_map(params![consumer, cursor, SCANNED_MAX as i64], |row| row.get(0))?
    .collect()
}

/// Gives the connection `ticket_level(id, json)`. A ticket that cannot be read is as urgent as the least.
pub(super) fn teach(db: &Connection, seal: &Seal) -> rusqlite::Result<()> {
    #[derive(Deserialize)]
    struct Ticket {
        level: i64,
    }
    let seal = seal.clone();
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("ticket_level", 2, flags, move |call| {
        let (id, stored) = (call.get_raw(0).as_str()?, call.get_raw(1).as_str()?);
        let ticket = seal
            .open(Place::Ticket(id), stored)
            .ok()
            .and_then(|json| serde_json::from_str::<Ticket>(&json).ok());
        Ok(ticket.map_or(9, |ticket| ticket.level))
    })
}

/// Takes tickets by level, among them those with the newest event first, until `limit` events are found.
pub(super) fn urgent(db: &Connection, seal: &Seal, asked: &Asked<'_>) -> rusqlite::Result<Vec<Stored>> {
    let floor = asked.acknowledged.max(asked.above);
    let remembered: usize = db
        .prepare_cached("SELECT count(*) FROM ahead WHERE consumer = ?1 AND seq > ?2")?
        .query_row(params![asked.consumer, asked.acknowledged], |row| row.get(0))?;
    let mut tickets = db.prepare_cached(
        "SELECT id, ticket_level(id, json) AS level FROM ticket AS t
         WHERE state <> 'closed' AND last_seq > ?2
             AND NOT EXISTS (SELECT 1 FROM ahead WHERE consumer = ?1 AND seq = t.last_seq)
             AND NOT EXISTS (SELECT 1 FROM aside WHERE consumer = ?1 AND seq = t.last_seq)
         ORDER BY level, last_seq DESC LIMIT ?3",
    )?;
    let mut rows = tickets.query(params![asked.consumer, floor, TICKETS_MAX as i64])?;
    let mut found: Vec<Stored> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let level: i64 = row.get(1)?;
        let most = if level <= 1 { AHEAD_MAX } else { AHEAD_MAX / 2 };
        let room = asked.limit.min(most.saturating_sub(remembered)).saturating_sub(found.len());
        if room == 0 || bytes >= BYTES_MAX {
            break;
        }
        take(db, seal, asked, row.get_ref(0)?.as_str()?, room, &mut bytes, &mut found)?;
    }
    found.sort_unstable_by_key(|event| event.seq);
    Ok(found)
}

/// One ticket's pending events from the first one on; none where that one is the bulk lane's.
fn take(
    db: &Connection,
    seal: &Seal,
    asked: &Asked<'_>,
    ticket: &str,
    room: usize,
    bytes: &mut usize,
    found: &mut Vec<Stored>,
) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached(&format!(
        "SELECT seq, kind, json, {}, chain FROM event AS e INDEXED BY event_ticket
         WHERE ticket = ?1 AND seq > ?2
             AND NOT EXISTS (SELECT 1 FROM ahead WHERE consumer = ?3 AND seq = e.seq)
             AND NOT EXISTS (SELECT 1 FROM aside WHERE consumer = ?3 AND seq = e.seq)
         ORDER BY seq",
        sum::EVENT_FITS
    ))?;
    let mut rows = query.query(params![ticket, asked.acknowledged, asked.consumer])?;
    let mut taken = 0;
    while taken < room
        && (*bytes < BYTES_MAX || found.is_empty())
        && let Some(row) = rows.next()?
    {
        view::fits(row, 3, 0, "event")?;
        let kind = row.get_ref(1)?.as_str()?;
        if !asked.kinds.want(kind) {
            continue;
        }
        let seq: u64 = row.get(0)?;
        if seq <= asked.above {
            return Ok(());
        }
        let json = seal.open(Place::Event(seq), row.get_ref(2)?.as_str()?)?.into_owned();
        *bytes += json.len();
        let chain = row.get::<_, Kept>(4)?.0;
        found.push(Stored { seq, kind: kind.to_owned(), json, chain });
        taken += 1;
    }
    Ok(())
}

pub(super) fn note(step: &Transaction<'_>, consumer: &str, seqs: &[u64]) -> rusqlite::Result<()> {
    let mut insert = step.prepare_cached("INSERT OR IGNORE INTO ahead(consumer, seq) VALUES (?1, ?2)")?;
    for seq in seqs {
        insert.execute(params![consumer, seq])?;
    }
    Ok(())
}

/// What the cursor has passed needs not be remembered.
pub(super) fn prune(step: &Transaction<'_>, consumer: &str) -> rusqlite::Result<()> {
    step.prepare_cached(
        "DELETE FROM ahead WHERE consumer = ?1 AND seq <= (SELECT acknowledged FROM consumer WHERE name = ?1)",
    )?
    .execute([consumer])?;
    Ok(())
}
