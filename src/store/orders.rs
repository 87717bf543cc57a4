//! Orders and the state of doors and lockers, as rows of the journal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Deserialize;
use serde_json::Value as Json;

use super::seal::Place;
use super::{Error, Seal, file, keys};
use crate::order::{Order, Outcome, Role};
use crate::reading::Millis;

/// An order that was written down before the wire was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub order: Order,
    pub begun_at: Millis,
    /// `None`: it is under way.
    pub ended: Option<(Millis, Outcome)>,
}

/// The state of one door or bank; takes the place of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRow {
    /// `doors/<id>`, `devices/<id>`
    pub subject: String,
    /// Private JSON.
    pub state: String,
}

/// How long what came of an order is known, and how many are at the most; of those beyond, only that the key is used.
pub const ORDERS_KEPT: Millis = 7 * 24 * 3600 * 1000;
pub const ORDERS_MAX: usize = 10_000;
/// Orders that are looked through for how often something was done lately.
const GIVEN_MAX: usize = 2000;
/// Rows deleted in one transaction, so that a commit never waits long for it.
pub(super) const BITE: usize = 1000;
/// Events that are looked through for the records of devices.
const RECORDS_LOOKED: u64 = 20_000;

const COLUMNS: &str =
    "key, device, action, target, reason, by, begun_at, ended_at, outcome, detail, role, via,
    expires_at, effect";

pub fn write(step: &Transaction<'_>, seal: &Seal, rows: &[OrderRow]) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO command(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail,
             role, via, expires_at, effect, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
             row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14))",
    )?;
    for OrderRow { order, begun_at, ended } in rows {
        let (outcome, detail) = ended.as_ref().map(|(_, outcome)| outcome.words()).unzip();
        let close = |column, text| seal.close(Place::Order(&order.key, column), text);
        write.execute(params![
            order.key,
            order.device,
            order.action,
            order.target,
            order.reason.as_deref().map(|text| close("reason", text)).transpose()?,
            close("by", &order.by)?,
            begun_at,
            ended.as_ref().map(|(at, _)| at),
            outcome,
            detail.map(|text| close("detail", text)).transpose()?,
            order.role.word(),
            order.via,
            order.expires_at,
            ended.as_ref().map(|(_, outcome)| outcome.effect()),
        ])?;
    }
    Ok(())
}

pub fn write_access(step: &Transaction<'_>, seal: &Seal, rows: &[AccessRow]) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO access(subject, state, sum) VALUES (?1, ?2, row_sum(?1, ?2))",
    )?;
    for row in rows {
        let state = seal.close(Place::Access(&row.subject), &row.state)?;
        write.execute(params![row.subject, state])?;
    }
    Ok(())
}

pub fn forget_access(step: &Transaction<'_>, subjects: &[&str]) -> rusqlite::Result<()> {
    let mut forget = step.prepare_cached("DELETE FROM access WHERE subject = ?1")?;
    subjects.iter().try_for_each(|subject| forget.execute([subject]).map(drop))
}

pub fn named(db: &Connection, seal: &Seal, key: &str) -> rusqlite::Result<Option<OrderRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM command WHERE key = ?1"))?
        .query_row([key], |row| order_row(row, seal))
        .optional()
}

pub fn under_way(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<OrderRow>> {
    let mut query =
        db.prepare(&format!("SELECT {COLUMNS} FROM command WHERE ended_at IS NULL ORDER BY begun_at"))?;
    query.query_map([], |row| order_row(row, seal))?.collect()
}

/// Orders that are not under the present key, ended ones too.
pub fn stale(db: &Connection, seal: &Seal, most: usize) -> rusqlite::Result<Vec<OrderRow>> {
    let is_stale = seal.is_stale("by");
    let mut query = db.prepare(&format!("SELECT {COLUMNS} FROM command WHERE {is_stale} LIMIT ?1"))?;
    query.query_map([most as i64], |row| order_row(row, seal))?.collect()
}

pub fn access(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<AccessRow>> {
    let mut query = db.prepare("SELECT subject, state FROM access")?;
    let rows = query.query_map([], |row| {
        let subject: String = row.get(0)?;
        let state = seal.open(Place::Access(&subject), row.get_ref(1)?.as_str()?)?.into_owned();
        Ok(AccessRow { subject, state })
    })?;
    rows.collect()
}

/// What was ordered of a device since then: action, target, when.
pub fn given(
    db: &Connection,
    device: &str,
    since: Millis,
) -> rusqlite::Result<Vec<(String, String, Millis)>> {
    db.prepare_cached(
        "SELECT action, target, begun_at FROM command WHERE device = ?1 AND begun_at > ?2
         ORDER BY begun_at DESC LIMIT ?3",
    )?
    .query_map(params![device, since, GIVEN_MAX as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
    .collect()
}

pub fn count(db: &Connection) -> rusqlite::Result<usize> {
    db.prepare_cached("SELECT count(*) FROM command")?.query_row([], |row| row.get(0))
}

/// Those that ended before `cut`, and the oldest beyond [`ORDERS_MAX`]; none that may not have expired by `expired`.
pub fn retire(db: &mut Connection, cut: Millis, expired: Millis) -> rusqlite::Result<u64> {
    let beyond = count(db)?.saturating_sub(ORDERS_MAX);
    let step = db.transaction()?;
    let old = forget(&step, (cut, expired), BITE)?;
    let many = forget(&step, (Millis::MAX, expired), beyond.min(BITE).saturating_sub(old))?;
    step.commit()?;
    Ok((old + many) as u64)
}

/// So many of the oldest that ended before `cut`; what has to be known of them stays.
fn forget(step: &Transaction<'_>, until: (Millis, Millis), most: usize) -> rusqlite::Result<usize> {
    let gone = going(step, until, most)?;
    for (key, expires_at) in &gone {
        match expires_at {
            Some(at) => keys::forget_up_to(step, *at)?,
            None => keys::keep(step, key)?,
        }
        step.prepare_cached("DELETE FROM command WHERE key = ?1")?.execute([key])?;
    }
    Ok(gone.len())
}

/// Keys of the oldest that ended before `cut`; with when they expired, where the key need not stay for ever.
fn going(
    step: &Transaction<'_>,
    (cut, expired): (Millis, Millis),
    most: usize,
) -> rusqlite::Result<Vec<(String, Option<Millis>)>> {
    let lasting = keys::LASTING;
    step.prepare_cached(&format!(
        "SELECT key, CASE WHEN {lasting} THEN NULL ELSE expires_at END FROM command
         WHERE ended_at < ?1 AND ({lasting} OR expires_at < ?2) ORDER BY ended_at LIMIT ?3"
    ))?
    .query_map(params![cut, expired, most as i64], |row| Ok((row.get(0)?, row.get(1)?)))?
    .collect()
}

pub fn records(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<String>> {
    let mut records = Vec::new();
    each_record(db, seal, |json| records.push(json.to_owned()))?;
    Ok(records)
}

/// The device's subject and its last record, one row a device.
pub fn last_records(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        subject: Cow<'a, str>,
        /// None: it is erased, or has expired, and has its record itself.
        data: Option<Data>,
        record: Option<Json>,
    }
    #[derive(Deserialize)]
    struct Data {
        record: Option<Json>,
    }
    let mut last = BTreeMap::new();
    each_record(db, seal, |json| {
        let Ok(event) = serde_json::from_str::<Event<'_>>(json) else { return };
        let record = match event.data.and_then(|data| data.record).or(event.record) {
            Some(Json::String(text)) => text,
            Some(record) if !record.is_null() => record.to_string(),
            _ => return,
        };
        if event.subject.starts_with("devices/") {
            last.insert(event.subject.into_owned(), record);
        }
    })?;
    Ok(last.into_iter().collect())
}

/// Gives `take` the events that may have a record of their device, oldest first.
fn each_record(db: &Connection, seal: &Seal, mut take: impl FnMut(&str)) -> rusqlite::Result<()> {
    let after = file::head(db)?.saturating_sub(RECORDS_LOOKED);
    let mut query = db.prepare(
        "SELECT seq, json FROM event WHERE seq > ?1 AND kind >= 'access.' AND kind < 'access/' ORDER BY seq",
    )?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        let json = seal.open(Place::Event(row.get(0)?), row.get_ref(1)?.as_str()?)?;
        if json.contains(r#""record":"#) {
            take(&json);
        }
    }
    Ok(())
}

fn order_row(row: &Row<'_>, seal: &Seal) -> rusqlite::Result<OrderRow> {
    let key: String = row.get(0)?;
    let open = |column, text: String| {
        seal.open(Place::Order(&key, column), &text).map(Cow::into_owned).map_err(rusqlite::Error::from)
    };
    let reason = row.get::<_, Option<String>>(4)?.map(|text| open("reason", text)).transpose()?;
    let by = open("by", row.get(5)?)?;
    let detail = row.get::<_, Option<String>>(9)?.map(|text| open("detail", text)).transpose()?;
    let device: Arc<str> = row.get(1)?;
    let role: Option<String> = row.get(10)?;
    let order = Order {
        key,
        device,
        action: row.get(2)?,
        target: row.get(3)?,
        reason,
        by,
        role: role.as_deref().and_then(Role::of).unwrap_or(Role::Technician),
        via: row.get::<_, Option<Arc<str>>>(11)?.unwrap_or_else(|| "api".into()),
        expires_at: row.get(12)?,
    };
    let ended_at: Option<Millis> = row.get(7)?;
    let ended = match ended_at {
        Some(at) => {
            let outcome: Option<String> = row.get(8)?;
            let effect: Option<String> = row.get(13)?;
            let (outcome, effect) = (outcome.unwrap_or_default(), effect.unwrap_or_default());
            Some((at, Outcome::of(&outcome, &effect, detail.unwrap_or_default())))
        }
        None => None,
    };
    Ok(OrderRow { order, begun_at: row.get(6)?, ended })
}
