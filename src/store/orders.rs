//! Orders and the state of doors and lockers, as rows of the journal.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{file, keys};
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

pub fn write(step: &Transaction<'_>, rows: &[OrderRow]) -> rusqlite::Result<()> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO command(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail,
             role, via, expires_at, effect, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
             row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14))",
    )?;
    for OrderRow { order, begun_at, ended } in rows {
        let (outcome, detail) = ended.as_ref().map(|(_, outcome)| outcome.words()).unzip();
        write.execute(params![
            order.key,
            order.device,
            order.action,
            order.target,
            order.reason,
            order.by,
            begun_at,
            ended.as_ref().map(|(at, _)| at),
            outcome,
            detail,
            order.role.word(),
            order.via,
            order.expires_at,
            ended.as_ref().map(|(_, outcome)| outcome.effect()),
        ])?;
    }
    Ok(())
}

pub fn write_access(step: &Transaction<'_>, rows: &[AccessRow]) -> rusqlite::Result<()> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO access(subject, state, sum) VALUES (?1, ?2, row_sum(?1, ?2))",
    )?;
    for row in rows {
        write.execute(params![row.subject, row.state])?;
    }
    Ok(())
}

pub fn forget_access(step: &Transaction<'_>, subjects: &[&str]) -> rusqlite::Result<()> {
    let mut forget = step.prepare_cached("DELETE FROM access WHERE subject = ?1")?;
    subjects.iter().try_for_each(|subject| forget.execute([subject]).map(drop))
}

pub fn named(db: &Connection, key: &str) -> rusqlite::Result<Option<OrderRow>> {
    db.prepare_cached(&format!("SELECT {COLUMNS} FROM command WHERE key = ?1"))?
        .query_row([key], order_row)
        .optional()
}

pub fn under_way(db: &Connection) -> rusqlite::Result<Vec<OrderRow>> {
    let mut query =
        db.prepare(&format!("SELECT {COLUMNS} FROM command WHERE ended_at IS NULL ORDER BY begun_at"))?;
    query.query_map([], order_row)?.collect()
}

pub fn access(db: &Connection) -> rusqlite::Result<Vec<AccessRow>> {
    let mut query = db.prepare("SELECT subject, state FROM access")?;
    query.query_map([], |row| Ok(AccessRow { subject: row.get(0)?, state: row.get(1)? }))?.collect()
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
    let old = going(&step, (cut, expired), BITE)?;
    let many = going(&step, (Millis::MAX, expired), beyond.min(BITE).saturating_sub(old.len()))?;
    for (key, expires_at) in old.iter().chain(&many) {
        match expires_at {
            Some(at) => keys::forget_up_to(&step, *at)?,
            None => keys::keep(&step, key)?,
        }
        step.prepare_cached("DELETE FROM command WHERE key = ?1")?.execute([key])?;
    }
    step.commit()?;
    Ok((old.len() + many.len()) as u64)
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

pub fn records(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let after = file::head(db)?.saturating_sub(RECORDS_LOOKED);
    let mut query = db.prepare(
        r#"SELECT json FROM event WHERE seq > ?1 AND kind >= 'access.' AND kind < 'access/'
               AND instr(json, '"record":') ORDER BY seq"#,
    )?;
    query.query_map([after], |row| row.get(0))?.collect()
}

/// The device's subject and its last record, one row a device.
pub fn last_records(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let after = file::head(db)?.saturating_sub(RECORDS_LOOKED);
    // Beside max() SQLite gives the columns of the row that has it.
    let mut query = db.prepare(
        r#"SELECT json ->> '$.subject' AS subject, json ->> '$.data.record' AS record, max(seq)
           FROM event WHERE seq > ?1 AND kind >= 'access.' AND kind < 'access/' AND instr(json, '"record":')
               AND subject >= 'devices/' AND subject < 'devices0' AND record IS NOT NULL
           GROUP BY subject"#,
    )?;
    query.query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    let device: Arc<str> = row.get(1)?;
    let role: Option<String> = row.get(10)?;
    let order = Order {
        key: row.get(0)?,
        device,
        action: row.get(2)?,
        target: row.get(3)?,
        reason: row.get(4)?,
        by: row.get(5)?,
        role: role.as_deref().and_then(Role::of).unwrap_or(Role::Technician),
        via: row.get::<_, Option<Arc<str>>>(11)?.unwrap_or_else(|| "api".into()),
        expires_at: row.get(12)?,
    };
    let ended_at: Option<Millis> = row.get(7)?;
    let ended = match ended_at {
        Some(at) => {
            let outcome: Option<String> = row.get(8)?;
            let detail: Option<String> = row.get(9)?;
            let effect: Option<String> = row.get(13)?;
            let (outcome, effect) = (outcome.unwrap_or_default(), effect.unwrap_or_default());
            Some((at, Outcome::of(&outcome, &effect, detail.unwrap_or_default())))
        }
        None => None,
    };
    Ok(OrderRow { order, begun_at: row.get(6)?, ended })
}
