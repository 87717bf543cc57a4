//! Events that are gone from the beginning of the journal: whether it was retention that removed them.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use crate::reading::Millis;
use crate::store::Error;

/// What is gone up to a number, and when the first event that is there was written.
#[derive(Debug, Clone, Copy)]
pub struct Gone {
    pub to: u64,
    pub next: Millis,
}

/// A required consumer that has not had all of them, and up to where it has. One that has acknowledged nothing may be newer
/// than they were.
pub fn waiting(db: &Connection, to: u64) -> Result<Option<(String, u64)>, Error> {
    let mut query = db.prepare(
        "SELECT name, acknowledged FROM consumer WHERE required AND acknowledged > 0 AND acknowledged < ?1
         ORDER BY acknowledged LIMIT 1",
    )?;
    Ok(query.query_row([to], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Whether they were hardly old enough: what is kept goes back less than three quarters of the time for which events are
/// kept. The rest a house may have been quiet.
pub fn is_young(gone: Gone, now: Millis, keep: Duration) -> bool {
    let keep: Millis = keep.as_millis().try_into().unwrap_or(Millis::MAX);
    gone.next > now.saturating_sub(keep - keep / 4)
}
