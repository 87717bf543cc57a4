//! A data directory seen from outside, beside a daemon that may be writing to it.

use std::path::Path;

use rusqlite::OptionalExtension as _;

use super::{ConsumerNow, Error, Seal, file, keyring, view};
use crate::reading::Millis;

/// What its journal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub gateway: String,
    pub epoch: String,
    /// The last event's number.
    pub head: u64,
    pub unclosed: u64,
    /// When something was last written.
    pub committed: Millis,
    pub consumers: Vec<ConsumerNow>,
    /// Whether it has more to tell than that it was switched on.
    pub has_to_tell: bool,
}

/// Reads the journal through, without writing; `None`: there is none yet.
pub fn inspect(dir: &Path) -> Result<Option<Inspection>, Error> {
    let path = dir.join(file::JOURNAL);
    if !path.exists() {
        return Ok(None);
    }
    read(&path).map_err(|error| match error {
        Error::Sql(error) => file::damaged(&path, error),
        error => error,
    })
}

fn read(path: &Path) -> Result<Option<Inspection>, Error> {
    let db = file::reader(path)?;
    file::sound(&db, path)?;
    let about = "SELECT id, epoch, committed FROM gateway";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
    let Some((gateway, epoch, committed)) = db.query_row(about, [], row).optional()? else {
        return Ok(None);
    };
    let unclosed =
        db.query_row("SELECT count(*) FROM ticket WHERE state <> 'closed'", [], |row| row.get(0))?;
    let head = file::head(&db)?;
    let consumers = view::consumers(&db)?;
    let more =
        "SELECT EXISTS (SELECT 1 FROM event WHERE kind NOT LIKE 'gateway.%' AND kind NOT LIKE 'device.%')";
    let has_to_tell = db.query_row(more, [], |row| row.get(0))?;
    Ok(Some(Inspection { gateway, epoch, head, unclosed, committed, consumers, has_to_tell }))
}

/// One text of each row that is sealed.
const SEALED: [(&str, &str); 6] = [
    ("event", "json"),
    ("ticket", "json"),
    ("command", "by"),
    ("access", "state"),
    ("maintenance", "by"),
    ("erasure", "pseudonym"),
];

/// That its journal is sealed with a key which is not among these.
pub fn locked(dir: &Path, seal: &Seal) -> Option<Error> {
    let db = file::reader(&dir.join(file::JOURNAL)).ok()?;
    keyring::at_hand(&db, seal).err().filter(|error| matches!(error, Error::Locked(_)))
}

/// How many rows of its journal are still to come under the present key.
pub fn stale(dir: &Path, seal: &Seal) -> Result<u64, Error> {
    let db = file::reader(&dir.join(file::JOURNAL))?;
    let count = |(table, column): (&str, &str)| {
        let stale = format!("SELECT count(*) FROM {table} WHERE {}", seal.is_stale(column));
        db.query_row(&stale, [], |row| row.get::<_, u64>(0))
    };
    Ok(SEALED.into_iter().map(count).sum::<Result<u64, _>>()?)
}
