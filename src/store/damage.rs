//! A start on a journal that may be damaged: how it is found, and what happens then.
//!
//! **Found** by what hangs together in a file of SQLite (`integrity_check`), by the schema, which has to be ours word for word,
//! by the rows' sums, by cursors above the head, and by a log that breaks off where it cannot (`wal`). After an orderly end
//! a start reads only what it goes on from; after any other end it reads the file through, as far as [`READ_FOR`] lets it.
//! What is left is read while the daemon runs (`scrub`). What is met there, or by anybody who reads (`alarm`), ends in a
//! start that reads all of it.
//!
//! **Then** all that can be read goes on under a new epoch ([`carry`]): written beside the damaged file as a draft, put in
//! its place when it is whole, so that a power cut begins it again. The damaged file is kept as `journal.db.broken-…`, the
//! [latest two](BROKEN_KEPT) of them. The centre is told by `gateway.events-dropped`, which is in the draft already. A
//! journal that is gone or empty, where there was one, is the same case with nothing to read; one that has gone back behind
//! its [`mark`] is the same case with all to read. What goes on may be older than what was told: revisions leap.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::carry::{self, Carried, Limit, Seals};
use super::{Error, Seal, alarm, file, keyring, landing, mark, salvage, segment, sum, tables, wal};
use crate::clock::Clock;
use crate::time;

/// A start reads the file through for so long at the most. A card gives 20 MB a second, a supervisor a minute.
const READ_FOR: Duration = Duration::from_secs(15);
const BROKEN: &str = "journal.db.broken-";
const BROKEN_KEPT: usize = 2;

/// How much a start reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// What it goes on from.
    State,
    /// Everything, as far as the time lets it.
    File,
    /// Everything, with the sum of each row.
    Rows,
}

/// What lies in a directory where there was a journal. Not what SQLite lays beside a new one, nor the empty folder of a new
/// history: a power cut in the very first start leaves these, and nothing was lost.
pub(super) fn has_traces(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    mark::read(dir).is_some()
        || entries.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match &*name {
                file::HISTORY | "last-good.json" => true,
                segment::FOLDER => !is_empty(&entry.path()),
                name => name
                    .strip_prefix(file::JOURNAL)
                    .is_some_and(|rest| rest.starts_with('.') && rest != ".new"),
            }
        })
}

fn is_empty(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
        about => about.is_ok_and(|about| about.len() == 0),
    }
}

/// The journal, checked; or what could be saved of it.
pub(super) fn open(dir: &Path, gateway: &str, seal: &Seal, traces: bool) -> Result<Connection, Error> {
    let path = dir.join(file::JOURNAL);
    if traces && is_empty(&path) {
        recover(dir, gateway, seal, "the journal is empty")?;
    } else if !path.exists() {
        if !traces {
            return file::journal(dir);
        }
        recover(dir, gateway, seal, "the journal is missing")?;
    }
    let error = match check(dir, gateway, seal) {
        Ok(db) => return Ok(db),
        Err(error) => error,
    };
    let Some(what) = what_is_damaged(&error) else { return Err(error) };
    recover(dir, gateway, seal, &what)?;
    check(dir, gateway, seal)
}

/// Whether there ever was one.
pub(super) fn was_any(dir: &Path) -> bool {
    !is_missing(&dir.join(file::JOURNAL)) || has_traces(dir)
}

/// One without a byte has no more to say than none.
fn is_missing(path: &Path) -> bool {
    fs::metadata(path).map_or(true, |about| about.len() == 0)
}

/// Of errors that another start would meet again.
fn what_is_damaged(error: &Error) -> Option<String> {
    match error {
        Error::Damaged { what, .. } => Some(what.clone()),
        Error::Sql(error) if file::is_damage(error) || salvage::is_strange(error) => Some(error.to_string()),
        // A number in the header that no SQLite writes.
        Error::Sql(error) if error.to_string().contains("unsupported file format") => Some(error.to_string()),
        _ => None,
    }
}

// ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────

fn check(dir: &Path, gateway: &str, seal: &Seal) -> Result<Connection, Error> {
    let path = dir.join(file::JOURNAL);
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    let unseen = unseen(&path)?;
    if unseen > 1 {
        return Err(damaged(format!("its log breaks off before {unseen} commits that were whole")));
    }
    let mut db = file::writer(&path, file::Durable::Full)?;
    match file::bring_up_to_date(&mut db, &path) {
        // A newer one has more than ours.
        Err(Error::Newer { theirs, .. }) if has_our_schema(&db)? && !has_more(&db)? => {
            return Err(damaged(format!("it says to be of format {theirs}")));
        }
        // What is done to a file that is what it says to be cannot fail in this way.
        Err(Error::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
            return Err(damaged(format!("it is not of the format that it says: {error}")));
        }
        done => done?,
    }
    if !has_our_schema(&db)? {
        return Err(damaged("its tables are not those of a journal".into()));
    }
    whose(&db, gateway, &path)?;
    if let Some(what) = mark::contradicts(dir, &db)? {
        return Err(damaged(what));
    }
    if let Some(what) = keyring::at_hand(&db, seal)? {
        return Err(damaged(what));
    }
    let mark = alarm::marked(dir);
    let orderly = db.query_row("SELECT coalesce(max(ended), 0) FROM gateway", [], |row| row.get(0))?;
    let read = match (&mark, orderly) {
        (Some(_), _) => Read::Rows,
        (None, true) => Read::State,
        (None, false) => Read::File,
    };
    if let Some(what) = cursor_above_head(&db)? {
        return Err(damaged(what));
    }
    let whole = |of| match rows_that_do_not_fit(&db, read)? {
        Some(what) => Err(damaged(what)),
        None => hangs_together(&db, &path, of),
    };
    match read {
        // Through its indexes the unclosed ones are found.
        Read::State => as_far_as_time_lets(&db, || whole("ticket"))?,
        Read::File => as_far_as_time_lets(&db, || whole("1"))?,
        Read::Rows => {
            whole("1")?;
            if let Some(what) = keyring::first_changed(&db, seal)? {
                return Err(damaged(what));
            }
        }
    }
    if let Some(mark) = mark {
        tracing::warn!(mark, "what was met before is not in the journal; it is whole");
        alarm::unmark(dir);
    }
    db.execute("UPDATE gateway SET ended = 0 WHERE ended = 1", [])?;
    Ok(db)
}

/// Commits that were synced, and that SQLite would not see.
fn unseen(path: &Path) -> Result<u64, Error> {
    let [log, _] = file::beside(path);
    wal::unseen(&log, path).map_err(|why| Error::Directory { path: log, why })
}

/// Whether each table, index and trigger of a new journal is there as it is made.
fn has_our_schema(db: &Connection) -> Result<bool, Error> {
    let ours = new_one()?;
    let mut ours = ours.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let mut theirs = db.prepare(
        "SELECT 1 FROM sqlite_schema WHERE type = ?1 AND name = ?2 AND tbl_name = ?3 AND sql IS ?4",
    )?;
    let mut rows = ours.query([])?;
    while let Some(row) = rows.next()? {
        let text = |at| row.get::<_, Option<String>>(at);
        if !theirs.exists((text(0)?, text(1)?, text(2)?, text(3)?))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_more(db: &Connection) -> Result<bool, Error> {
    let count =
        |db: &Connection| db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u64>(0));
    Ok(count(db)? > count(&new_one()?)?)
}

fn new_one() -> Result<Connection, Error> {
    let mut db = Connection::open_in_memory()?;
    sum::teach(&db)?;
    file::bring_up_to_date(&mut db, Path::new(""))?;
    Ok(db)
}

/// The data of this gateway, as far as that can be believed.
fn whose(db: &Connection, gateway: &str, path: &Path) -> Result<(), Error> {
    let row = format!("SELECT id, {} FROM gateway", sum::GATEWAY_FITS);
    let row: Option<(String, bool)> =
        db.query_row(&row, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match row {
        Some((_, false)) => Err(Error::Damaged {
            path: path.to_owned(),
            what: "the row of the gateway does not fit its sum".into(),
        }),
        Some((theirs, true)) if theirs != gateway => {
            Err(Error::OtherGateway { path: path.to_owned(), theirs, ours: gateway.to_owned() })
        }
        None if file::head(db)? > 0 => {
            Err(Error::Damaged { path: path.to_owned(), what: "the row of the gateway is gone".into() })
        }
        _ => Ok(()),
    }
}

/// The first thing that is wrong with the rows.
fn rows_that_do_not_fit(db: &Connection, read: Read) -> Result<Option<String>, Error> {
    let of_all = sum::TABLES.map(|(table, fits)| {
        let some = match (table, read) {
            ("event", Read::State | Read::File) => return None,
            // The others are looked at before they are shown.
            ("ticket", Read::State) => " AND state <> 'closed'",
            _ => "",
        };
        Some((table, format!("SELECT count(*) FROM {table} WHERE NOT {fits}{some}")))
    });
    for (table, query) in of_all.into_iter().flatten() {
        let count: u64 = db.query_row(&query, [], |row| row.get(0))?;
        if count > 0 {
            return Ok(Some(format!("{count} rows of `{table}` do not fit their sums")));
        }
    }
    Ok(None)
}

fn cursor_above_head(db: &Connection) -> Result<Option<String>, Error> {
    let cursor: Option<u64> = db.query_row("SELECT max(acknowledged) FROM consumer", [], |row| row.get(0))?;
    let head = file::head(db)?;
    Ok(cursor
        .filter(|cursor| *cursor > head)
        .map(|cursor| format!("a cursor is at {cursor}, the head at {head}")))
}

/// Pages, trees and indexes; of one table, or of all and the first complaint.
fn hangs_together(db: &Connection, path: &Path, what: &str) -> Result<(), Error> {
    let verdict: String = db.query_row(&format!("PRAGMA integrity_check({what})"), [], |row| row.get(0))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(Error::Damaged { path: path.to_owned(), what: verdict }),
    }
}

fn as_far_as_time_lets(db: &Connection, read: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let (done, wait) = mpsc::channel::<()>();
    let stop = db.get_interrupt_handle();
    let timer = move || {
        if wait.recv_timeout(READ_FOR) == Err(RecvTimeoutError::Timeout) {
            stop.interrupt();
        }
    };
    // Without a thread for it, the whole file is read.
    let timer = thread::Builder::new().name("read-for".into()).spawn(timer);
    let verdict = read();
    drop(done);
    // It only waits.
    let _ = timer.map(thread::JoinHandle::join);
    match verdict {
        Err(Error::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::info!(
                "the journal is too long to be read through at a start; its rows are read while it is used"
            );
            Ok(())
        }
        verdict => verdict,
    }
}

// ── recovering ──────────────────────────────────────────────────────────────────────────────────────────────────────

/// Puts a new journal with all that can be read in the place of the present one.
fn recover(dir: &Path, gateway: &str, seal: &Seal, what: &str) -> Result<(), Error> {
    let path = dir.join(file::JOURNAL);
    let at = |why| Error::Directory { path: path.clone(), why };
    tracing::error!(what, "the journal is damaged; what can be read of it goes on under a new epoch");
    let epoch = uuid::Uuid::now_v7().simple().to_string();
    let carried = match carry_over(dir, (gateway, &epoch), seal, what) {
        Err(error) if what_is_damaged(&error).is_some() => {
            tracing::error!(%error, "nothing of the journal can be read; it begins anew, empty");
            write(dir, (gateway, &epoch), seal, what, None)?
        }
        carried => carried?,
    };
    let name = format!("{BROKEN}{}", time::format(Clock::system().now()).replace([':', '.'], "-"));
    landing::put_in_place(dir, Some(&name)).map_err(at)?;
    alarm::unmark(dir);
    forget_oldest(dir);
    let lost = &carried.lost;
    tracing::error!(
        %epoch, before = carried.before, kept_as = name, events = carried.events, tickets = carried.tickets,
        rescued = carried.rescued, lost_events = lost.events, lost_from = lost.from, lost_to = lost.to,
        lost_rows = ?lost.rows, "the journal was damaged and has begun anew"
    );
    Ok(())
}

fn carry_over(dir: &Path, name: (&str, &str), seal: &Seal, what: &str) -> Result<Carried, Error> {
    let path = dir.join(file::JOURNAL);
    if !path.exists() || is_empty(&path) {
        return write(dir, name, seal, what, None);
    }
    let [log, _] = file::beside(&path);
    if unseen(&path)? > 1 {
        wal::mend(&log).map_err(|why| Error::Directory { path: log, why })?;
    }
    salvage::mend_header(&path).map_err(|why| Error::Directory { path: path.clone(), why })?;
    mend_tables(dir, &path)?;
    let from = file::damaged_reader(&path)?;
    write(dir, name, seal, what, Some(&from))
}

/// What tables there are is known, should the file no longer say so.
fn mend_tables(dir: &Path, path: &Path) -> Result<(), Error> {
    if file::damaged_reader(path).and_then(|db| has_our_schema(&db)).unwrap_or(false) {
        return Ok(());
    }
    let at = |why| Error::Directory { path: dir.to_owned(), why };
    landing::prepare(dir).map_err(at)?;
    landing::close(file::draft(dir)?)?;
    if tables::mend(path, &dir.join(file::DRAFT)).map_err(at)? {
        tracing::warn!("the damaged journal's tables are found as those of a new one");
    }
    Ok(())
}

fn write(
    dir: &Path,
    (gateway, epoch): (&str, &str),
    seal: &Seal,
    what: &str,
    from: Option<&Connection>,
) -> Result<Carried, Error> {
    landing::prepare(dir).map_err(|why| Error::Directory { path: dir.to_owned(), why })?;
    let mut into = file::draft(dir)?;
    let mut carried = match from {
        Some(from) => carry::carry(from, &mut into, gateway, epoch, Seals::same(seal), Limit::NONE)?,
        None => carry::nothing(&mut into, gateway, epoch)?,
    };
    carried.damaged = true;
    if let Some(mark) = mark::read(dir) {
        let head = from.map_or(0, |from| file::head(from).unwrap_or(mark.head));
        carry::count_what_was_told(&mut carried, mark, head);
    }
    carry::leap(&mut into, seal, 0)?;
    let clock = Clock::system();
    carry::tell(&mut into, (gateway, epoch), seal, &carried, what, clock.now(), clock.is_believed())?;
    landing::close(into)?;
    Ok(carried)
}

/// Those that are kept, the oldest first: their names are times.
fn broken(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(BROKEN) && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect();
    paths.sort();
    paths
}

/// Somebody is to be erased, and what was kept for a look may have them.
pub(super) fn forget_all(dir: &Path) {
    let paths = broken(dir).into_iter().chain([dir.join(landing::LEFT)]);
    for path in paths.filter(|path| path.exists()) {
        tracing::warn!(path = %path.display(), "an older journal that was kept is removed: somebody in it is erased");
        for path in file::beside(&path).iter().chain([&path]) {
            let _ = fs::remove_file(path);
        }
    }
}

fn forget_oldest(dir: &Path) {
    let broken = broken(dir);
    for path in broken.iter().rev().skip(BROKEN_KEPT) {
        tracing::warn!(path = %path.display(), "an older damaged journal is removed");
        for path in file::beside(path).iter().chain([path]) {
            // What stays takes room and does no harm; the next one is tried again.
            let _ = fs::remove_file(path);
        }
    }
}
