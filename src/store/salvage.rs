//! Reads a file that may be damaged, row by row, past what cannot be read.
//!
//! Rows are walked in the order of a whole number that is their key. Where a page cannot be read, the keys that it may
//! have held are asked for one by one, which goes down another way through the tree, until one is found behind it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Row};

use super::Error;

/// What is asked for: the keys after one, in their order, and the row of one key.
pub struct Walk<'a> {
    pub after: &'a str,
    pub one: &'a str,
    /// The last key that is known of.
    pub last: u64,
}

/// Keys that are asked for one by one at the most, so that a walk ends.
const ASKED_MAX: u64 = 4_000_000;

/// SQLite's default, which the journal has.
const PAGE: u64 = 4096;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the file's header that are the same in every journal: sizes, versions, encoding.
const KNOWN: [(usize, &[u8]); 4] =
    [(0, MAGIC), (16, &[16, 0, 2, 2, 0, 64, 32, 32]), (44, &[0, 0, 0, 4]), (56, &[0, 0, 0, 1])];
const PAGES_AT: usize = 28;

/// Makes the header say what it has to: without that SQLite reads nothing, or none of the pages behind those it counts.
pub fn mend_header(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let pages = u32::try_from(file.metadata()?.len() / PAGE).unwrap_or(u32::MAX).to_be_bytes();
    let mut header = [0; 100];
    let is_read = file.read_exact(&mut header).is_ok();
    // Noise is not made a journal of.
    let alike = MAGIC.iter().zip(&header).filter(|(one, other)| one == other).count();
    if !is_read || alike < MAGIC.len() - 1 {
        return Ok(());
    }
    let found = header;
    for (at, bytes) in KNOWN.into_iter().chain([(PAGES_AT, &pages[..])]) {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if header != found {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Damage of the file, or of the card below it, after which other rows may well be read.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure)
    ) || is_gone(error)
}

/// The schema is damaged: there is no such table.
fn is_gone(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::Unknown)
}

/// A value of another type than the column has, a text that is none: the row is damaged.
pub fn is_strange(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(
        error,
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..)
    )
}

/// What stands in a row, or nothing where it cannot be.
pub fn sound<T>(value: rusqlite::Result<T>) -> Result<Option<T>, Error> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_strange(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the file answers, or nothing where it is damaged there.
pub fn read<T>(answer: rusqlite::Result<T>) -> Result<Option<T>, Error> {
    match answer.optional() {
        Err(error) if is_damage(&error) || is_strange(&error) => Ok(None),
        answer => Ok(answer?),
    }
}

/// Whether there is what this asks for, damaged or not; tables and columns are missing in older formats.
pub fn answers(db: &Connection, query: &str) -> bool {
    match db.prepare(query) {
        Ok(_) => true,
        Err(error) => is_damage(&error) && !is_gone(&error),
    }
}

/// Gives `take` all rows with a key above `from`, as far as they can be read. It says the row's key, or `None` where the
/// row is not to be believed. Returns whether the file was damaged somewhere.
pub fn walk(
    db: &Connection,
    walk: &Walk<'_>,
    from: u64,
    mut take: impl FnMut(&Row<'_>) -> Result<Option<u64>, Error>,
) -> Result<bool, Error> {
    let (mut at, mut asked, mut damaged) = (from, 0, false);
    loop {
        match run(db, walk.after, [at], |row| {
            at = at.max(take(row)?.unwrap_or(at));
            Ok(())
        }) {
            Ok(()) => return Ok(damaged),
            Err(Error::Sql(error)) if is_gone(&error) => return Ok(true),
            Err(Error::Sql(error)) if is_damage(&error) => damaged = true,
            Err(error) => return Err(error),
        }
        let mut found = false;
        while !found && at < walk.last && asked < ASKED_MAX {
            (at, asked) = (at + 1, asked + 1);
            match run(db, walk.one, [at], |row| {
                found = true;
                take(row).map(drop)
            }) {
                Err(Error::Sql(error)) if is_damage(&error) => {}
                answer => answer?,
            }
        }
        if !found {
            return Ok(damaged);
        }
    }
}

/// Gives `take` the rows of a table whose key is no number: from its beginning until damage, and then from its end until
/// damage; whether there was any.
pub fn from_both_ends(
    db: &Connection,
    rows: &str,
    key: &str,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Error>,
) -> Result<bool, Error> {
    for (order, first) in [("ASC", true), ("DESC", false)] {
        let keys: Vec<String> = key.split(", ").map(|key| format!("{key} {order}")).collect();
        let query = format!("{rows} ORDER BY {}", keys.join(", "));
        match run(db, &query, [], &mut take) {
            Ok(()) if first => return Ok(false),
            Err(Error::Sql(error)) if !is_damage(&error) => return Err(error.into()),
            Ok(()) | Err(Error::Sql(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn run(
    db: &Connection,
    query: &str,
    of: impl Params,
    mut take: impl FnMut(&Row<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut query = db.prepare_cached(query)?;
    let mut rows = query.query(of)?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}
