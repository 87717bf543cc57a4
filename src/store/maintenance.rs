//! Maintenance under way, as rows of the journal.

use std::borrow::Cow;

use rusqlite::{Connection, Transaction, params};

use super::seal::Place;
use super::{Error, Seal};
use crate::maintenance::{Maintenance, Scope};

/// A maintenance as it now is; takes the place of the one of the same scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRow {
    pub scope: Scope,
    /// `None`: it has ended.
    pub now: Option<Maintenance>,
}

pub fn write(step: &Transaction<'_>, seal: &Seal, rows: &[MaintenanceRow]) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO maintenance(scope, name, since, until, by, note, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, row_sum(?1, ?2, ?3, ?4, ?5, ?6))",
    )?;
    let mut delete = step.prepare_cached("DELETE FROM maintenance WHERE scope = ?1 AND name = ?2")?;
    for MaintenanceRow { scope, now } in rows {
        let (word, name) = (scope.word(), scope.name());
        match now {
            Some(now) => {
                let close = |column, text| seal.close(Place::Maintenance(word, name, column), text);
                let note = now.note.as_deref().map(|note| close("note", note)).transpose()?;
                write.execute(params![word, name, now.since, now.until, close("by", &now.by)?, note])?
            }
            None => delete.execute(params![word, name])?,
        };
    }
    Ok(())
}

/// In the order in which they began.
pub fn under_way(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<Maintenance>> {
    let mut query =
        db.prepare("SELECT scope, name, since, until, by, note FROM maintenance ORDER BY since")?;
    let rows = query.query_map([], |row| {
        let (word, name): (String, String) = (row.get(0)?, row.get(1)?);
        let open = |column, text: String| {
            let place = Place::Maintenance(&word, &name, column);
            seal.open(place, &text).map(Cow::into_owned).map_err(rusqlite::Error::from)
        };
        let by = open("by", row.get(4)?)?;
        let note = row.get::<_, Option<String>>(5)?.map(|text| open("note", text)).transpose()?;
        let scope = Scope::of(&word, name.as_str().into());
        let (since, until) = (row.get(2)?, row.get(3)?);
        Ok(scope.map(|scope| Maintenance { scope, since, until, by, note }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// All of them under the present key; how many.
pub fn reseal(step: &Transaction<'_>, seal: &Seal) -> Result<u64, Error> {
    let rows: Vec<MaintenanceRow> = under_way(step, seal)?
        .into_iter()
        .map(|now| MaintenanceRow { scope: now.scope.clone(), now: Some(now) })
        .collect();
    write(step, seal, &rows)?;
    Ok(rows.len() as u64)
}
