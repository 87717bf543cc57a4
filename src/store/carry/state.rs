//! What goes on beside the events: tickets, the state of rules, doors, devices and orders, and the consumers.

use std::collections::BTreeMap;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params};
use serde::Deserialize;

use super::events::{self, Old};
use super::{Carried, Limit, Moved, Source};
use crate::reading::Millis;
use crate::store::journal::CLOSED_REMEMBERED;
use crate::store::salvage::{self, Walk};
use crate::store::seal::Place;
use crate::store::{Error, Seal, sum};
use crate::ticket::{State, Ticket};

/// Keys asked for behind the last one that can be read.
const BEHIND: u64 = 10_000;

/// A table that is taken over as it is.
struct Table {
    name: &'static str,
    columns: &'static str,
    key: &'static str,
    /// Where the texts about people stand.
    sealed: &'static [(usize, &'static str)],
}

impl Table {
    /// `None` where the row's key is not of its type.
    fn place<'a>(&self, column: &'static str, row: &'a [Value]) -> Option<Place<'a>> {
        let text = |n: usize| match row.get(n) {
            Some(Value::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        match self.name {
            "command" => Some(Place::Order(text(0)?, column)),
            "access" => Some(Place::Access(text(0)?)),
            "maintenance" => Some(Place::Maintenance(text(0)?, text(1)?, column)),
            "erasure" => match row.get(3) {
                Some(Value::Integer(begun)) => Some(Place::Erasure(*begun, column)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The row under the key that is written with; `None` where a text of it cannot be believed.
    fn resealed(&self, source: &Source<'_>, mut row: Vec<Value>) -> Result<Option<Vec<Value>>, Error> {
        for (n, column) in self.sealed {
            let (Some(place), Some(Value::Text(stored))) = (self.place(column, &row), row.get(*n)) else {
                continue;
            };
            let Some(text) = source.opened(place, stored)? else { return Ok(None) };
            row[*n] = Value::Text(source.seals.close.close(place, &text)?.into_owned());
        }
        Ok(Some(row))
    }
}

const AS_THEY_ARE: [Table; 5] = [
    Table { name: "episode", columns: "rule, subject, state", key: "rule, subject", sealed: &[] },
    Table { name: "device", columns: "id, online, since, why", key: "id", sealed: &[] },
    Table { name: "access", columns: "subject, state", key: "subject", sealed: &[(1, "state")] },
    Table {
        name: "maintenance",
        columns: "scope, name, since, until, by, note",
        key: "scope, name",
        sealed: &[(4, "by"), (5, "note")],
    },
    // How far it had come is of the epoch before: it begins again, and is told again.
    Table {
        name: "erasure",
        columns: "pseudonym, by, reason, begun",
        key: "pseudonym",
        sealed: &[(0, "pseudonym"), (1, "by"), (2, "reason")],
    },
];

const ORDERS: Table = Table {
    name: "command",
    columns: "key, device, action, target, reason, by, begun_at, ended_at, outcome, detail, role, via, expires_at, effect",
    key: "key",
    sealed: &[(4, "reason"), (5, "by"), (9, "detail")],
};
/// As an older format has them.
const OLDER_ORDERS: Table = Table {
    columns: "key, device, action, target, reason, by, begun_at, ended_at, outcome, detail",
    ..ORDERS
};
/// Where a sum costs more than it is worth, there is none.
const USED_KEYS: &str = "SELECT digest FROM used_key";

const TICKET: &str =
    "INSERT OR IGNORE INTO ticket(id, state, device, closed_at, subject, life, json, last_seq, sum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7))";

/// A row of `ticket`.
struct TicketNow {
    rowid: u64,
    id: String,
    state: String,
    device: Option<String>,
    closed_at: Option<Millis>,
    subject: String,
    life: String,
    json: String,
    last_seq: u64,
}

/// The unclosed tickets, and the closed ones that may come back: those that closed since the time that is returned.
pub(super) fn tickets(
    source: &Source<'_>,
    step: &Transaction<'_>,
    moved: &Moved,
    limit: Limit,
    carried: &mut Carried,
) -> Result<Millis, Error> {
    let closed_since = closed_since(source, limit, carried.committed)?;
    let fits = source.fits(sum::TICKET_FITS);
    let last = format!("SELECT rowid FROM ticket WHERE {fits} ORDER BY rowid DESC LIMIT 1");
    let last: Option<u64> = salvage::read(source.db.query_row(&last, [], |row| row.get(0)))?;
    let columns = format!(
        "SELECT rowid, id, state, device, closed_at, subject, life, json, last_seq, {fits} FROM ticket"
    );
    let walk = Walk {
        after: &format!("{columns} WHERE rowid > ?1 ORDER BY rowid"),
        one: &format!("{columns} WHERE rowid = ?1"),
        last: last.unwrap_or(0) + BEHIND,
    };
    let damaged = salvage::walk(source.db, &walk, 0, |row| {
        let Some(ticket) = opened(source, salvage::sound(ticket_now(row))?.flatten())? else {
            carried.lost.row("ticket");
            return Ok(None);
        };
        if ticket.closed_at.is_none_or(|at| at >= closed_since) {
            let spoken = moved.of(ticket.last_seq).unwrap_or(0);
            carried.tickets += u64::from(write(step, source.seals.close, &ticket, spoken)?);
        }
        Ok(Some(ticket.rowid))
    })?;
    if damaged {
        carried.lost.part_of("ticket");
    }
    Ok(closed_since)
}

/// What tells a lost ticket: the last event of it. What the rules alone knew of it begins anew. Returns the highest
/// ticket number that an event speaks of.
pub(super) fn rescue(
    source: &Source<'_>,
    step: &Transaction<'_>,
    closed_since: Millis,
    carried: &mut Carried,
) -> Result<u64, Error> {
    let mut spoken: BTreeMap<String, u64> = BTreeMap::new();
    events::each(source, 0, |read| {
        if let Ok(Old { seq, ticket: Some(ticket), .. }) = read {
            spoken.insert(ticket, seq);
        }
        Ok(())
    })?;
    let mut number = 0;
    for (id, seq) in spoken {
        let Some(ticket) = told(source, seq)? else { continue };
        number = number.max(number_of(&ticket.number));
        let gone = ticket.state == State::Closed && ticket.closed_at.is_none_or(|at| at < closed_since);
        if gone || *ticket.id != *id {
            continue;
        }
        let row = TicketNow {
            rowid: 0,
            state: ticket.state.word().to_owned(),
            device: ticket.device.as_deref().map(str::to_owned),
            closed_at: ticket.closed_at.filter(|_| ticket.state == State::Closed),
            subject: ticket
                .point
                .as_ref()
                .or(ticket.device.as_ref())
                .map(ToString::to_string)
                .unwrap_or_default(),
            life: "{}".into(),
            json: serde_json::to_string(&ticket)
                .map_err(|source| Error::Ticket { id: id.clone(), source })?,
            last_seq: 0,
            id,
        };
        // A ticket whose row could be read is there already.
        if write(step, source.seals.close, &row, 0)? {
            carried.tickets += 1;
            carried.rescued += 1;
        }
    }
    Ok(number)
}

/// Episodes, devices, orders, doors and maintenance: as they are.
pub(super) fn rules_and_devices(
    source: &Source<'_>,
    step: &Transaction<'_>,
    carried: &mut Carried,
) -> Result<(), Error> {
    for table in AS_THEY_ARE.iter().chain([if source.has_keys { &ORDERS } else { &OLDER_ORDERS }]) {
        let copied = as_it_is(source, step, table, carried)?;
        if table.name == "episode" {
            carried.episodes = copied;
        }
    }
    Ok(())
}

/// How many rows there were.
fn as_it_is(
    source: &Source<'_>,
    step: &Transaction<'_>,
    table: &Table,
    carried: &mut Carried,
) -> Result<u64, Error> {
    let Table { name, columns, key, .. } = *table;
    let count = columns.split(", ").count();
    let fits = source.fits_all(columns);
    let rows = format!("SELECT {columns}, {fits} FROM {name}");
    if !source.has(name, &rows, &mut carried.lost) {
        return Ok(0);
    }
    let places: Vec<String> = (1..=count).map(|n| format!("?{n}")).collect();
    let places = places.join(", ");
    // What an older format does not have is in the sum all the same.
    let more = if columns == OLDER_ORDERS.columns { ", NULL, NULL, NULL, NULL" } else { "" };
    let mut write = step.prepare_cached(&format!(
        "INSERT OR IGNORE INTO {name}({columns}, sum) VALUES ({places}, row_sum({places}{more}))"
    ))?;
    let mut copied = 0;
    let damaged = salvage::from_both_ends(source.db, &rows, key, |row| {
        let values = (0..count).map(|n| row.get(n)).collect::<Result<Vec<Value>, _>>();
        let fits: Option<bool> = salvage::sound(row.get(count))?;
        let row = match salvage::sound(values)? {
            Some(row) if fits == Some(true) => table.resealed(source, row)?,
            _ => None,
        };
        match row {
            Some(values) => copied += write.execute(rusqlite::params_from_iter(values))? as u64,
            None => carried.lost.row(name),
        }
        Ok(())
    })?;
    if damaged {
        carried.lost.part_of(name);
    }
    Ok(copied)
}

/// Keys of orders that are gone, and what is known of those.
pub(super) fn keys_of_orders(
    source: &Source<'_>,
    step: &Transaction<'_>,
    carried: &mut Carried,
) -> Result<(), Error> {
    if !source.has_keys {
        return Ok(());
    }
    if source.has("used_key", USED_KEYS, &mut carried.lost) {
        let mut write = step.prepare_cached("INSERT OR IGNORE INTO used_key(digest) VALUES (?1)")?;
        let damaged = salvage::from_both_ends(source.db, USED_KEYS, "digest", |row| {
            match salvage::sound(row.get::<_, Vec<u8>>(0))? {
                Some(digest) => drop(write.execute([digest])?),
                None => carried.lost.row("used_key"),
            }
            Ok(())
        })?;
        if damaged {
            carried.lost.part_of("used_key");
        }
    }
    let known = "SELECT forgotten, lost_until, boot FROM orders_known";
    let known: Option<(Millis, Millis, Option<String>)> =
        salvage::read(source.db.query_row(known, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))))?;
    match known {
        Some((forgotten, lost_until, boot)) => {
            let write = "UPDATE orders_known SET forgotten = ?1, lost_until = ?2, boot = ?3";
            step.execute(write, params![forgotten, lost_until, boot])?;
        }
        None => carried.lost.row("orders_known"),
    }
    Ok(())
}

/// The consumers, each with what it had; what was set aside for them, and what they had ahead of their cursor.
pub(super) fn consumers(
    source: &Source<'_>,
    step: &Transaction<'_>,
    moved: &Moved,
    carried: &mut Carried,
) -> Result<(), Error> {
    let fits = source.fits(sum::CONSUMER_FITS);
    let rows =
        format!("SELECT name, kind, required, configured, acknowledged, seen, error, {fits} FROM consumer");
    let damaged = salvage::from_both_ends(source.db, &rows, "name", |row| {
        let values = (0..7).map(|n| row.get(n)).collect::<Result<Vec<Value>, _>>();
        let (cursor, fits) = (salvage::sound(row.get::<_, u64>(4))?, salvage::sound(row.get::<_, bool>(7))?);
        let (Some(mut values), Some(cursor), Some(true)) = (salvage::sound(values)?, cursor, fits) else {
            carried.lost.row("consumer");
            return Ok(());
        };
        values[4] = Value::Integer(moved.up_to(cursor) as i64);
        step.prepare_cached(
            "INSERT OR IGNORE INTO consumer(name, kind, required, configured, acknowledged, seen, error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(rusqlite::params_from_iter(values))?;
        Ok(())
    })?;
    if damaged {
        carried.lost.part_of("consumer");
    }
    numbers(source, step, moved, "aside", "at, why", carried)?;
    numbers(source, step, moved, "ahead", "", carried)
}

/// A table of consumers and events' numbers: those that were carried.
fn numbers(
    source: &Source<'_>,
    step: &Transaction<'_>,
    moved: &Moved,
    table: &'static str,
    more: &str,
    carried: &mut Carried,
) -> Result<(), Error> {
    let columns: Vec<&str> =
        ["consumer", "seq"].into_iter().chain(more.split(", ").filter(|c| !c.is_empty())).collect();
    let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
    let (columns, places) = (columns.join(", "), places.join(", "));
    let rows = format!("SELECT {columns} FROM {table}");
    if !source.has(table, &rows, &mut carried.lost) {
        return Ok(());
    }
    let mut write =
        step.prepare_cached(&format!("INSERT OR IGNORE INTO {table}({columns}) VALUES ({places})"))?;
    let damaged = salvage::from_both_ends(source.db, &rows, "consumer, seq", |row| {
        let count = columns.split(", ").count();
        let values = (0..count).map(|n| row.get(n)).collect::<Result<Vec<Value>, _>>();
        let now = salvage::sound(row.get(1))?.and_then(|before| moved.of(before));
        if let (Some(mut values), Some(now)) = (salvage::sound(values)?, now) {
            values[1] = Value::Integer(now as i64);
            write.execute(rusqlite::params_from_iter(values))?;
        }
        Ok(())
    })?;
    if damaged {
        carried.lost.part_of(table);
    }
    Ok(())
}

/// The highest number of a ticket that is there.
pub(super) fn last_number(db: &Connection, seal: &Seal) -> Result<u64, Error> {
    #[derive(Deserialize)]
    struct Numbered {
        number: String,
    }
    let mut query = db.prepare("SELECT id, json FROM ticket")?;
    let mut rows = query.query([])?;
    let mut last = 0;
    while let Some(row) = rows.next()? {
        let (Ok(id), Ok(stored)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_str()) else { continue };
        if let Ok(json) = seal.open(Place::Ticket(id), stored)
            && let Ok(ticket) = serde_json::from_str::<Numbered>(&json)
        {
            last = last.max(number_of(&ticket.number));
        }
    }
    Ok(last)
}

/// `CP-017-000123`: 123.
fn number_of(words: &str) -> u64 {
    words.rsplit('-').next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Which closed tickets are remembered: from the time of the last commit, and no more than the limit.
fn closed_since(source: &Source<'_>, limit: Limit, committed: Millis) -> Result<Millis, Error> {
    let nth = "SELECT closed_at FROM ticket WHERE state = 'closed' ORDER BY closed_at DESC LIMIT 1 OFFSET ?1";
    let nth = source.db.query_row(nth, [limit.closed.min(i64::MAX as u64)], |row| row.get::<_, Millis>(0));
    let beyond = salvage::read(nth)?.map_or(Millis::MIN, |at| at.saturating_add(1));
    Ok(committed.saturating_sub(CLOSED_REMEMBERED).max(beyond))
}

fn opened(source: &Source<'_>, ticket: Option<TicketNow>) -> Result<Option<TicketNow>, Error> {
    let Some(ticket) = ticket else { return Ok(None) };
    let json = source.opened(Place::Ticket(&ticket.id), &ticket.json)?;
    Ok(json.map(|json| TicketNow { json, ..ticket }))
}

fn ticket_now(row: &Row<'_>) -> rusqlite::Result<Option<TicketNow>> {
    if !row.get::<_, bool>(9)? {
        return Ok(None);
    }
    Ok(Some(TicketNow {
        rowid: row.get(0)?,
        id: row.get(1)?,
        state: row.get(2)?,
        device: row.get(3)?,
        closed_at: row.get(4)?,
        subject: row.get(5)?,
        life: row.get(6)?,
        json: row.get(7)?,
        last_seq: row.get(8)?,
    }))
}

/// Whether it was not there yet.
fn write(step: &Transaction<'_>, seal: &Seal, t: &TicketNow, spoken: u64) -> Result<bool, Error> {
    let mut write = step.prepare_cached(TICKET)?;
    let json = seal.close(Place::Ticket(&t.id), &t.json)?;
    let row = params![t.id, t.state, t.device, t.closed_at, t.subject, t.life, json, spoken];
    Ok(write.execute(row)? > 0)
}

/// The ticket as an event tells it.
fn told(source: &Source<'_>, seq: u64) -> Result<Option<Ticket>, Error> {
    #[derive(Deserialize)]
    struct Told {
        data: Ticket,
    }
    let json =
        source.db.query_row("SELECT json FROM event WHERE seq = ?1", [seq], |row| row.get::<_, String>(0));
    let Some(stored) = salvage::read(json)? else { return Ok(None) };
    let told = source.opened(Place::Event(seq), &stored)?;
    let told = told.and_then(|json| serde_json::from_str::<Told>(&json).ok());
    Ok(told.map(|told| told.data))
}
