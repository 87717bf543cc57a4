//! Orders and the state of doors and lockers, as rows of the journal.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::file;
use crate::order::{Order, Outcome};
use crate::reading::Millis;

/// An order that was written down before the wire was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Without `expires_at`, which is judged before.
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

/// How long an order's key is remembered after its end, and how many are at the most.
pub const ORDERS_KEPT: Millis = 7 * 24 * 3600 * 1000;
pub const ORDERS_MAX: usize = 10_000;
/// Rows deleted in one transaction, so that a commit never waits long for it.
const BITE: usize = 1000;
/// Events that are looked through for the records of devices.
const RECORDS_LOOKED: u64 = 20_000;

const COLUMNS: &str = "key, device, action, target, reason, by, begun_at, ended_at, outcome, detail";

pub fn write(step: &Transaction<'_>, rows: &[OrderRow]) -> rusqlite::Result<()> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO command(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, row_sum(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10))",
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

pub fn retire(db: &Connection, cut: Millis) -> rusqlite::Result<u64> {
    let count: usize = db.query_row("SELECT count(*) FROM command", [], |row| row.get(0))?;
    let beyond = count.saturating_sub(ORDERS_MAX).min(BITE);
    let old = db
        .prepare_cached(
            "DELETE FROM command WHERE key IN
                (SELECT key FROM command WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2)",
        )?
        .execute(params![cut, BITE as i64])?;
    let many = db
        .prepare_cached(
            "DELETE FROM command WHERE key IN
                (SELECT key FROM command WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?1)",
        )?
        .execute([beyond.saturating_sub(old) as i64])?;
    Ok((old + many) as u64)
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
        r#"SELECT json ->> '$.subject' AS subject, coalesce(json ->> '$.data.record', json ->> '$.record') AS record, max(seq)
           FROM event WHERE seq > ?1 AND kind >= 'access.' AND kind < 'access/' AND instr(json, '"record":')
               AND subject >= 'devices/' AND subject < 'devices0' AND record IS NOT NULL
           GROUP BY subject"#,
    )?;
    query.query_map([after], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn order_row(row: &Row<'_>) -> rusqlite::Result<OrderRow> {
    let device: Arc<str> = row.get(1)?;
    let order = Order {
        key: row.get(0)?,
        device,
        action: row.get(2)?,
        target: row.get(3)?,
        reason: row.get(4)?,
        by: row.get(5)?,
        expires_at: None,
    };
    let ended_at: Option<Millis> = row.get(7)?;
    let ended = match ended_at {
        Some(at) => {
            let outcome: Option<String> = row.get(8)?;
            let detail: Option<String> = row.get(9)?;
            Some((at, Outcome::of(outcome.as_deref().unwrap_or(""), detail.unwrap_or_default())))
        }
        None => None,
    };
    Ok(OrderRow { order, begun_at: row.get(6)?, ended })
}
