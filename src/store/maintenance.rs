//! Maintenance under way, as rows of the journal.

use rusqlite::{Connection, Transaction, params};

use crate::maintenance::{Maintenance, Scope};

/// A maintenance as it now is; takes the place of the one of the same scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRow {
    pub scope: Scope,
    /// `None`: it has ended.
    pub now: Option<Maintenance>,
}

pub fn write(step: &Transaction<'_>, rows: &[MaintenanceRow]) -> rusqlite::Result<()> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO maintenance(scope, name, since, until, by, note, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, row_sum(?1, ?2, ?3, ?4, ?5, ?6))",
    )?;
    let mut delete = step.prepare_cached("DELETE FROM maintenance WHERE scope = ?1 AND name = ?2")?;
    for MaintenanceRow { scope, now } in rows {
        let (word, name) = (scope.word(), scope.name());
        match now {
            Some(now) => write.execute(params![word, name, now.since, now.until, now.by, now.note])?,
            None => delete.execute(params![word, name])?,
        };
    }
    Ok(())
}

/// In the order in which they began.
pub fn under_way(db: &Connection) -> rusqlite::Result<Vec<Maintenance>> {
    let mut query =
        db.prepare("SELECT scope, name, since, until, by, note FROM maintenance ORDER BY since")?;
    let rows = query.query_map([], |row| {
        let scope = Scope::of(row.get_ref(0)?.as_str()?, row.get(1)?);
        let (since, until, by, note) = (row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        Ok(scope.map(|scope| Maintenance { scope, since, until, by, note }))
    })?;
    rows.filter_map(Result::transpose).collect()
}
