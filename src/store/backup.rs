//! A copy of the journal, made beside a daemon that goes on writing: one plain SQLite file that says what it holds.
//!
//! It is the journal itself, packed (`VACUUM INTO` reads one moment of it, and the writer waits for nothing), and three tables
//! more: `backup` with the label, `backup_config` with the texts of the last good configuration, which name secrets and
//! hold none, and `backup_history` with the history's files in pieces, where they were asked for. The label has a SHA-256 over
//! every row, so that a copy that has lain for years is either whole or says so.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::segment::FOLDER;
use super::{Error, file, sum};
use crate::reading::Millis;
use crate::time;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub gateway: String,
    pub epoch: String,
    /// The last event in it; what was told after it is not.
    pub head: u64,
    /// When the journal was last written.
    pub committed: Millis,
    /// When the copy was made, and by which version.
    pub at: Millis,
    pub version: String,
    pub events: u64,
    pub tickets: u64,
    pub unclosed: u64,
    /// Files of the configuration.
    pub files: u64,
    /// Bytes of the history's files, 0 where they are not in it.
    pub history: u64,
    /// Rows that did not fit their sums when they were copied; they are left behind when it is restored.
    pub damaged: u64,
}

/// What is to be copied, and where to.
#[derive(Debug)]
pub struct Order<'a> {
    pub dir: &'a Path,
    pub into: &'a Path,
    /// The readings, too.
    pub history: bool,
    /// The texts of the configuration.
    pub texts: &'a [(PathBuf, String)],
    pub at: Millis,
}

const TABLES: &str = "
CREATE TABLE backup(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE backup_config(n INTEGER PRIMARY KEY, path TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE backup_history(part INTEGER PRIMARY KEY, name TEXT NOT NULL, data BLOB NOT NULL);
";
/// Bytes of the history in one row, which is also what of it is in memory.
const PART: usize = 256 << 10;

/// Makes the copy at `into`, which is there afterwards whole and read through, or not at all.
pub fn make(order: &Order<'_>) -> Result<Label, Error> {
    let draft = beside(order.into, ".draft");
    let readings = beside(order.into, ".history");
    let made = write(order, &draft, &readings).and_then(|()| {
        let label = check(&draft)?;
        fs::rename(&draft, order.into).map_err(at(order.into))?;
        let dir = order.into.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))?;
        Ok(label)
    });
    // Where it went well they are gone already.
    for rest in [&draft, &readings] {
        let _ = fs::remove_file(rest);
    }
    made
}

/// Reads a backup through and says what it holds; whatever is not as it was written is an error.
pub fn check(path: &Path) -> Result<Label, Error> {
    let db = open(path)?;
    let label = label(&db).map_err(|error| file::damaged(path, error))?;
    file::sound(&db, path)?;
    let written = value(&db, "sha256").map_err(|error| file::damaged(path, error))?;
    let found = digest(&db).map_err(|error| file::damaged(path, error))?;
    if written != found {
        let what = "its rows are not those that were written".into();
        return Err(Error::Damaged { path: path.to_owned(), what });
    }
    Ok(label)
}

/// A file that says that it is a backup, to be read; [`Error::NoBackup`] where it does not.
pub fn open(path: &Path) -> Result<Connection, Error> {
    fs::metadata(path).map_err(at(path))?;
    let db = file::reader(path).map_err(|_| Error::NoBackup(path.to_owned()))?;
    let tables =
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('backup', 'backup_config', 'backup_history')";
    match db.query_row(tables, [], |row| row.get::<_, i64>(0)) {
        Ok(3) => Ok(db),
        _ => Err(Error::NoBackup(path.to_owned())),
    }
}

/// The texts of the configuration in a backup, in reading order.
pub fn texts(db: &Connection) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut query = db.prepare("SELECT path, text FROM backup_config ORDER BY n")?;
    let rows = query.query_map([], |row| Ok((PathBuf::from(row.get::<_, String>(0)?), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Writes the history's files below `into` as they were.
pub fn unpack_history(db: &Connection, into: &Path) -> Result<(), Error> {
    let mut query = db.prepare("SELECT name, data FROM backup_history ORDER BY part")?;
    let mut rows = query.query([])?;
    let mut open: Option<(String, File)> = None;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let path = into.join(&name);
        if open.as_ref().is_none_or(|(there, _)| *there != name) {
            if !is_of_the_history(&name) {
                return Err(Error::NoBackup(path));
            }
            finish(open.take(), into)?;
            fs::create_dir_all(path.parent().unwrap_or(into)).map_err(at(into))?;
            open = Some((name, private(&path)?));
        }
        if let Some((_, file)) = &mut open {
            file.write_all(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?).map_err(at(&path))?;
        }
    }
    finish(open, into)
}

fn finish(open: Option<(String, File)>, into: &Path) -> Result<(), Error> {
    open.map_or(Ok(()), |(name, file)| file.sync_all().map_err(at(&into.join(name))))
}

/// Whoever wrote a backup may not write anywhere else with it.
fn is_of_the_history(name: &str) -> bool {
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    name == file::HISTORY
        || name.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/')).is_some_and(plain)
}

fn write(order: &Order<'_>, draft: &Path, readings: &Path) -> Result<(), Error> {
    let journal = order.dir.join(file::JOURNAL);
    fs::metadata(&journal).map_err(at(&journal))?;
    pack(&journal, draft)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(draft, flags)?;
    file::tune(&db)?;
    // The file has no name yet that anyone would trust, and is synced as a whole below.
    db.pragma_update(None, "synchronous", "off")?;
    db.execute_batch(TABLES)?;
    let bytes = if order.history { put_history(&mut db, order.dir, readings)? } else { 0 };
    let step = db.transaction()?;
    for (path, text) in order.texts {
        let path = path.to_string_lossy();
        step.execute("INSERT INTO backup_config(path, text) VALUES (?1, ?2)", params![path, text])?;
    }
    write_label(&step, order.at, bytes)?;
    step.execute("INSERT INTO backup(key, value) VALUES ('sha256', ?1)", [digest(&step)?])?;
    step.commit()?;
    db.close().map_err(|(_, error)| error)?;
    File::open(draft).and_then(|file| file.sync_all()).map_err(at(draft))
}

/// One moment of a database that others write to, without the room that it does not use.
fn pack(from: &Path, into: &Path) -> Result<(), Error> {
    // SQLite writes into an empty file that is there, with the rights that it has.
    private(into)?;
    let db = file::reader(from)?;
    db.execute("VACUUM INTO ?1", [into.to_string_lossy()]).map_err(|error| file::damaged(from, error))?;
    Ok(())
}

/// Its files only ever grow, and a reader passes over what is not whole at their ends; that of an earlier gatehouse is a database.
fn put_history(db: &mut Connection, dir: &Path, readings: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    let database = dir.join(file::HISTORY);
    if database.exists() {
        pack(&database, readings)?;
        bytes += put_file(db, readings, file::HISTORY)?;
        fs::remove_file(readings).map_err(at(readings))?;
    }
    let folder = dir.join(FOLDER);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(bytes) };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| format!("{FOLDER}/{}", entry.file_name().to_string_lossy())).collect();
    names.retain(|name| is_of_the_history(name));
    names.sort();
    for name in names {
        match put_file(db, &dir.join(&name), &name) {
            // It has given way since.
            Err(Error::File { why, .. }) if why.kind() == io::ErrorKind::NotFound => {}
            put => bytes += put?,
        }
    }
    Ok(bytes)
}

fn put_file(db: &mut Connection, path: &Path, name: &str) -> Result<u64, Error> {
    let mut file = File::open(path).map_err(at(path))?;
    let mut bytes = 0;
    let mut part = Vec::with_capacity(PART);
    let step = db.transaction()?;
    loop {
        part.clear();
        let taken = (&mut file).take(PART as u64).read_to_end(&mut part).map_err(at(path))?;
        if taken == 0 {
            break;
        }
        bytes += taken as u64;
        step.prepare_cached("INSERT INTO backup_history(name, data) VALUES (?1, ?2)")?
            .execute(params![name, part])?;
    }
    step.commit()?;
    Ok(bytes)
}

/// Counted in the copy, so that label and content are of one moment.
fn write_label(db: &Connection, now: Millis, history: u64) -> Result<(), Error> {
    let (gateway, epoch, committed): (String, String, Millis) =
        db.query_row("SELECT id, epoch, committed FROM gateway", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let count =
        |what: &str| db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get::<_, u64>(0));
    // An older format has not all of them.
    let there = |table: &str| db.prepare(&format!("SELECT sum FROM {table}")).is_ok();
    let damaged =
        sum::TABLES.iter().filter(|(table, _)| there(table)).try_fold(0, |sum, (table, fits)| {
            Ok::<_, rusqlite::Error>(sum + count(&format!("{table} WHERE NOT {fits}"))?)
        })?;
    let label = [
        ("gateway", gateway),
        ("epoch", epoch),
        ("head", file::head(db)?.to_string()),
        ("committed", time::format(committed)),
        ("at", time::format(now)),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("events", count("event")?.to_string()),
        ("tickets", count("ticket")?.to_string()),
        ("unclosed", count("ticket WHERE state <> 'closed'")?.to_string()),
        ("files", count("backup_config")?.to_string()),
        ("history", history.to_string()),
        ("damaged", damaged.to_string()),
    ];
    for (key, value) in label {
        db.execute("INSERT INTO backup(key, value) VALUES (?1, ?2)", params![key, value])?;
    }
    Ok(())
}

fn label(db: &Connection) -> rusqlite::Result<Label> {
    let number = |key| value(db, key)?.parse::<u64>().map_err(|_| unreadable(key));
    let when = |key| time::parse(&value(db, key)?).map_err(|_| unreadable(key));
    Ok(Label {
        gateway: value(db, "gateway")?,
        epoch: value(db, "epoch")?,
        head: number("head")?,
        committed: when("committed")?,
        at: when("at")?,
        version: value(db, "version")?,
        events: number("events")?,
        tickets: number("tickets")?,
        unclosed: number("unclosed")?,
        files: number("files")?,
        history: number("history")?,
        damaged: number("damaged")?,
    })
}

fn value(db: &Connection, key: &str) -> rusqlite::Result<String> {
    let found =
        db.query_row("SELECT value FROM backup WHERE key = ?1", [key], |row| row.get(0)).optional()?;
    found.ok_or_else(|| unreadable(key))
}

/// A label that lacks something is one that somebody has written over.
fn unreadable(key: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(format!("its label has no {key} that can be read")))
}

/// SHA-256 over every row of every table, the label's own line of it left out.
fn digest(db: &Connection) -> rusqlite::Result<String> {
    let tables =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let tables: Vec<String> =
        db.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut digest = Context::new(&SHA256);
    for table in tables {
        let but = if table == "backup" { " WHERE key <> 'sha256'" } else { "" };
        digest.update(table.as_bytes());
        let mut query = db.prepare(&format!("SELECT * FROM \"{table}\"{but}"))?;
        let columns = query.column_count();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                add(&mut digest, row.get_ref(column)?);
            }
        }
    }
    Ok(digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// With its type and its length, so that no two rows read alike.
fn add(digest: &mut Context, value: ValueRef<'_>) {
    let (kind, number, bytes): (u8, i64, &[u8]) = match value {
        ValueRef::Null => (0, 0, &[]),
        ValueRef::Integer(number) => (1, number, &[]),
        ValueRef::Real(number) => (2, number.to_bits().cast_signed(), &[]),
        ValueRef::Text(text) => (3, text.len() as i64, text),
        ValueRef::Blob(blob) => (4, blob.len() as i64, blob),
    };
    digest.update(&[kind]);
    digest.update(&number.to_le_bytes());
    digest.update(bytes);
}

/// A new and empty file that only its owner may read.
fn private(path: &Path) -> Result<File, Error> {
    let file = File::create(path).map_err(at(path))?;
    file.set_permissions(Permissions::from_mode(0o600)).map_err(at(path))?;
    Ok(file)
}

/// `<path><end>`
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |why| Error::File { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    /// A data directory with an open ticket's worth of rows, and the journal still held open by a writer.
    fn journal(dir: &Path) -> Connection {
        let db = file::journal(dir).unwrap();
        db.execute_batch(
            "INSERT INTO gateway(one, id, epoch, number, committed) VALUES (1, 'cp-017', 'e', 7, 1000);
             INSERT INTO event(seq, at, kind, ticket, json) VALUES (1, 5, 'ticket.opened', 't', '{}'), (2, 6, 'device.online', NULL, '{}');
             INSERT INTO ticket(id, state, last_seq, subject, life, json, sum)
                 VALUES ('t', 'open', 1, 's', '{}', '{}', row_sum('t', 'open', NULL, NULL, 's', '{}', '{}'));",
        )
        .unwrap();
        db
    }

    fn copied(dir: &Path, history: bool) -> Result<Label, Error> {
        let texts = [(PathBuf::from("/etc/gatehouse/gatehouse.toml"), "[gateway]\n".to_owned())];
        make(&Order { dir, into: &dir.join("copy"), history, texts: &texts, at: 2000 })
    }

    #[test]
    fn a_copy_says_what_it_holds_and_is_nobody_elses_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let _writer = journal(dir.path());
        let label = copied(dir.path(), true).unwrap();
        assert_eq!((label.gateway.as_str(), label.epoch.as_str(), label.head), ("cp-017", "e", 2));
        assert_eq!(
            (label.events, label.tickets, label.unclosed, label.files, label.history),
            (2, 1, 1, 1, 0)
        );
        assert_eq!((label.committed, label.at), (1000, 2000));
        let copy = dir.path().join("copy");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(check(&copy).unwrap(), label);
        assert_eq!(texts(&open(&copy).unwrap()).unwrap()[0].1, "[gateway]\n");
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().map(|f| f.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("copy.")), "{left:?}");
    }

    #[test]
    fn a_row_that_does_not_fit_its_sum_is_copied_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let writer = journal(dir.path());
        assert_eq!(copied(dir.path(), false).unwrap().damaged, 0);
        writer.execute("UPDATE event SET sum = 1 WHERE seq = 2", []).unwrap();
        assert_eq!(copied(dir.path(), false).unwrap().damaged, 1);
    }

    #[test]
    fn the_history_comes_out_as_it_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let _writer = journal(dir.path());
        let noise = |size: usize| (0..size).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>();
        let segments =
            [("history/readings-00000001", noise(3 * PART)), ("history/minutes-00000001", noise(7))];
        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        for (name, bytes) in &segments {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        fs::write(dir.path().join("history/.strange name"), "left aside").unwrap();
        let earlier = Connection::open(dir.path().join(file::HISTORY)).unwrap();
        earlier.execute_batch("CREATE TABLE block(n); INSERT INTO block VALUES (7)").unwrap();
        let label = copied(dir.path(), true).unwrap();
        assert!(label.history > 3 * PART as u64 + 7, "{label:?}");
        let back = dir.path().join("back");
        unpack_history(&open(&dir.path().join("copy")).unwrap(), &back).unwrap();
        for (name, bytes) in &segments {
            assert!(fs::read(back.join(name)).unwrap() == *bytes, "{name}");
        }
        assert_eq!(fs::read_dir(back.join(FOLDER)).unwrap().count(), 2);
        let back = file::reader(&back.join(file::HISTORY)).unwrap();
        assert_eq!(back.query_row("SELECT n FROM block", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
    }

    #[test]
    fn a_backup_cannot_write_elsewhere() {
        for good in ["history.db", "history/readings-00000001"] {
            assert!(is_of_the_history(good), "{good}");
        }
        for bad in ["history/../journal.db", "/etc/passwd", "history/", "journal.db", "history/a/b", ""] {
            assert!(!is_of_the_history(bad), "{bad}");
        }
    }

    #[test]
    fn a_copy_with_one_flipped_bit_is_refused_wherever_the_bit_is() {
        let dir = tempfile::tempdir().unwrap();
        let _writer = journal(dir.path());
        copied(dir.path(), false).unwrap();
        let copy = dir.path().join("copy");
        let whole = fs::read(&copy).unwrap();
        for needle in [&b"ticket.opened"[..], b"cp-017", b"[gateway]", b"device.online"] {
            let places = whole.windows(needle.len()).enumerate().filter(|(_, bytes)| *bytes == needle);
            for place in places.map(|(place, _)| place) {
                let mut bent = whole.clone();
                bent[place] ^= 1;
                fs::write(&copy, &bent).unwrap();
                let said = check(&copy).unwrap_err();
                assert!(matches!(said, Error::Damaged { .. } | Error::NoBackup(_)), "{place}: {said}");
            }
        }
        fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
        assert!(check(&copy).is_err(), "half a file");
        fs::write(&copy, b"no database at all").unwrap();
        assert!(matches!(check(&copy), Err(Error::NoBackup(_))));
        assert!(matches!(check(&dir.path().join("none")), Err(Error::File { .. })));
    }

    #[test]
    fn a_copy_that_cannot_be_made_leaves_the_one_before_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("copy"), "the one before").unwrap();
        assert!(matches!(copied(dir.path(), false), Err(store::Error::File { .. })), "there is no journal");
        assert_eq!(fs::read_to_string(dir.path().join("copy")).unwrap(), "the one before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
