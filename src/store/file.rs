//! The files: how they are opened, locked, brought up to date and checked.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, ffi};
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{Error, keys, sum};

pub const JOURNAL: &str = "journal.db";
/// The history of an earlier gatehouse.
pub const HISTORY: &str = "history.db";
/// A journal that is about to take the place of the present one.
pub const DRAFT: &str = "journal.db.new";

/// The journal's formats; `user_version` says how many of these a file has been through.
const JOURNAL_FORMATS: [&str; 6] = [
    "
CREATE TABLE gateway(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    epoch TEXT NOT NULL,
    number INTEGER NOT NULL,            -- the last ticket number used
    committed INTEGER NOT NULL          -- time of the last commit
);
CREATE TABLE event(
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,                -- when it was written
    kind TEXT NOT NULL,
    ticket TEXT,                        -- the ticket it speaks of
    json TEXT NOT NULL
);
CREATE TABLE ticket(
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    device TEXT,
    closed_at INTEGER,
    last_seq INTEGER NOT NULL,          -- the last event that speaks of it
    subject TEXT NOT NULL,
    life TEXT NOT NULL,                 -- the rules' own
    json TEXT NOT NULL
);
CREATE INDEX ticket_unclosed ON ticket(id) WHERE state <> 'closed';
CREATE INDEX ticket_closed ON ticket(closed_at) WHERE state = 'closed';
CREATE TABLE episode(
    rule TEXT NOT NULL,
    subject TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (rule, subject)
) WITHOUT ROWID;
CREATE TABLE device(
    id TEXT PRIMARY KEY,
    online INTEGER NOT NULL,            -- 0 offline, 1 online, 2 degraded
    since INTEGER NOT NULL,
    why TEXT
) WITHOUT ROWID;
CREATE TABLE consumer(
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    required INTEGER NOT NULL,
    configured INTEGER NOT NULL,        -- the configuration names it
    acknowledged INTEGER NOT NULL,
    seen INTEGER,
    error TEXT
) WITHOUT ROWID;
CREATE TABLE aside(
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (consumer, seq)
) WITHOUT ROWID;
",
    "
CREATE TABLE command(
    key TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    reason TEXT,
    by TEXT NOT NULL,
    begun_at INTEGER NOT NULL,
    ended_at INTEGER,                   -- NULL: under way
    outcome TEXT,                       -- executed, failed, unsure
    detail TEXT
) WITHOUT ROWID;
CREATE INDEX command_under_way ON command(begun_at) WHERE ended_at IS NULL;
CREATE INDEX command_ended ON command(ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE access(
    subject TEXT PRIMARY KEY,           -- doors/<id>, devices/<id>
    state TEXT NOT NULL
) WITHOUT ROWID;
",
    "
CREATE TABLE maintenance(
    scope TEXT NOT NULL,                -- device, place, rule
    name TEXT NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    by TEXT NOT NULL,
    note TEXT,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
",
    // What a sum is: `sum.rs`. What is written in many places gets its sum by a trigger. Events of before have none: they are many.
    "
ALTER TABLE event ADD COLUMN sum INTEGER;
ALTER TABLE ticket ADD COLUMN sum INTEGER;
ALTER TABLE episode ADD COLUMN sum INTEGER;
ALTER TABLE command ADD COLUMN sum INTEGER;
ALTER TABLE access ADD COLUMN sum INTEGER;
ALTER TABLE maintenance ADD COLUMN sum INTEGER;
ALTER TABLE device ADD COLUMN sum INTEGER;
ALTER TABLE gateway ADD COLUMN sum INTEGER;
ALTER TABLE consumer ADD COLUMN sum INTEGER;
CREATE TRIGGER gateway_made AFTER INSERT ON gateway BEGIN
    UPDATE gateway SET sum = row_sum(id, epoch, number, committed); END;
CREATE TRIGGER gateway_changed AFTER UPDATE OF id, epoch, number, committed ON gateway BEGIN
    UPDATE gateway SET sum = row_sum(id, epoch, number, committed); END;
CREATE TRIGGER consumer_made AFTER INSERT ON consumer BEGIN
    UPDATE consumer SET sum = row_sum(name, kind, required, configured, acknowledged) WHERE name = NEW.name; END;
CREATE TRIGGER consumer_changed AFTER UPDATE OF name, kind, required, configured, acknowledged ON consumer BEGIN
    UPDATE consumer SET sum = row_sum(name, kind, required, configured, acknowledged) WHERE name = NEW.name; END;
UPDATE gateway SET sum = row_sum(id, epoch, number, committed);
UPDATE consumer SET sum = row_sum(name, kind, required, configured, acknowledged);
UPDATE ticket SET sum = row_sum(id, state, device, closed_at, subject, life, json);
UPDATE episode SET sum = row_sum(rule, subject, state);
UPDATE device SET sum = row_sum(id, online, since, why);
UPDATE command SET sum = row_sum(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail);
UPDATE access SET sum = row_sum(subject, state);
UPDATE maintenance SET sum = row_sum(scope, name, since, until, by, note);
ALTER TABLE gateway ADD COLUMN ended INTEGER;   -- 1: the last run came to an orderly end
ALTER TABLE gateway ADD COLUMN before TEXT;     -- the epoch before this one and why it ended, JSON
CREATE INDEX event_ticket ON event(ticket, seq) WHERE ticket IS NOT NULL;
CREATE TABLE ahead(
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,               -- above its cursor, and yet with it already
    PRIMARY KEY (consumer, seq)
) WITHOUT ROWID;
",
    // The chain: `chain.rs`. Events of before have none: they are many. What is erased: `erasure.rs`.
    "
ALTER TABLE event ADD COLUMN chain BLOB;        -- the chain with this event
ALTER TABLE event ADD COLUMN digest BLOB;       -- of what was told, where that is not what stands here any more
ALTER TABLE gateway ADD COLUMN unchained INTEGER NOT NULL DEFAULT 0; -- events up to there are of before the chain
UPDATE gateway SET unchained = (SELECT coalesce(max(seq), 0) FROM event);
ALTER TABLE consumer ADD COLUMN chain BLOB;     -- the chain where it has acknowledged to
ALTER TABLE consumer ADD COLUMN chained INTEGER; -- when it did
CREATE TABLE anchor(
    consumer TEXT NOT NULL,
    day INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    chain BLOB NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (consumer, day)
) WITHOUT ROWID;
CREATE TABLE gap(
    seq INTEGER PRIMARY KEY,            -- gone, and the next one is there
    chain BLOB NOT NULL
);
CREATE TABLE erasure(
    pseudonym TEXT PRIMARY KEY,
    by TEXT NOT NULL,
    reason TEXT,
    begun INTEGER NOT NULL,
    scanned INTEGER NOT NULL DEFAULT 0, -- up to here nothing is left to erase
    events INTEGER NOT NULL DEFAULT 0,
    told INTEGER,                       -- the event that tells it
    sum INTEGER
) WITHOUT ROWID;
",
    keys::FORMAT,
];

/// A journal in memory has a name in the form of a URI.
const SHARED: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX.union(OpenFlags::SQLITE_OPEN_URI);

/// Bytes of the log that are kept for what comes next.
pub const LOG_KEPT: u64 = 4 << 20;

const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How much a commit means: `Full` is on the disk when it returns, `Normal` may be lost by a power cut.
#[derive(Debug, Clone, Copy)]
pub enum Durable {
    Full,
    Normal,
}

/// Held as long as the journal is; a second daemon on the same directory would number events twice.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// The directory's own, since the file may be deleted; `None`: the file system locks no directories.
    _dir: Option<File>,
}

pub fn lock(dir: &Path) -> Result<Lock, Error> {
    let file = lock_file(dir)?;
    let at = |why| Error::Directory { path: dir.to_owned(), why };
    let own = File::open(dir).map_err(at)?;
    match own.try_lock() {
        Ok(()) => Ok(Lock { _file: file, _dir: Some(own) }),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(TryLockError::Error(_)) => Ok(Lock { _file: file, _dir: None }),
    }
}

/// Whether somebody holds one of the two.
pub fn is_locked(dir: &Path) -> bool {
    // To read is enough, so that whoever may not write there is told as well.
    [dir.join("lock"), dir.to_owned()].iter().any(|path| {
        let lock = File::open(path);
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    })
}

fn lock_file(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let at = |why| Error::Directory { path: path.clone(), why };
    let writable = File::options().create(true).truncate(false).write(true).open(&path);
    // A card that can only be read can still be locked.
    let file = writable.or_else(|why| File::open(&path).map_err(|_| why)).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}

/// Whether the daemon's user may read and write what there is of the journal. SQLite's word on a file that may not be opened
/// is the same as on a card that fails, and somebody's mistake must not be taken for that.
pub fn permitted(dir: &Path) -> Result<(), Error> {
    let journal = dir.join(JOURNAL);
    for path in beside(&journal).into_iter().chain([journal, dir.to_owned()]) {
        // Whatever else is wrong shows itself where it is used.
        if let Err(why @ Errno::ACCESS) = access(&path, Access::READ_OK | Access::WRITE_OK) {
            return Err(Error::Directory { path, why: why.into() });
        }
    }
    Ok(())
}

/// The journal, made or brought up to date, and checked as a whole.
pub fn journal(dir: &Path) -> Result<Connection, Error> {
    let path = dir.join(JOURNAL);
    let mut db = writer(&path, Durable::Full)?;
    bring_up_to_date(&mut db, &path)?;
    sound(&db, &path)?;
    Ok(db)
}

/// Whether the file as a whole hangs together.
pub fn sound(db: &Connection, path: &Path) -> Result<(), Error> {
    let verdict: String =
        db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|e| damaged(path, e))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(Error::Damaged { path: path.to_owned(), what: verdict }),
    }
}

/// A new journal beside the present one.
pub fn draft(dir: &Path) -> Result<Connection, Error> {
    let path = dir.join(DRAFT);
    let mut db = writer(&path, Durable::Full)?;
    bring_up_to_date(&mut db, &path)?;
    Ok(db)
}

/// A connection to a journal that may be damaged, as tolerant as there is; it changes nothing in the file.
pub fn damaged_reader(path: &Path) -> Result<Connection, Error> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | SHARED)?;
    // What of the schema cannot be read is passed over. Said before anything asks for the schema.
    db.pragma_update(None, "writable_schema", true)?;
    tune(&db)?;
    Ok(db)
}

/// A journal in the present format, whatever it was before.
pub fn bring_up_to_date(db: &mut Connection, path: &Path) -> Result<(), Error> {
    migrate(db, path, &JOURNAL_FORMATS)
}

/// A connection that writes to an existing or new file.
pub fn writer(path: &Path, durable: Durable) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let name = match durable {
        Durable::Full => careful(path),
        Durable::Normal => path.to_owned(),
    };
    let db = Connection::open_with_flags(name, flags | SHARED)?;
    tune(&db).map_err(|e| damaged(path, e))?;
    db.pragma_update(None, "journal_mode", "wal").map_err(|e| damaged(path, e))?;
    // After a checkpoint the WAL is cut back to this, so that one long read does not cost the disk for ever.
    db.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    let word = match durable {
        Durable::Full => "full",
        Durable::Normal => "normal",
    };
    db.pragma_update(None, "synchronous", word)?;
    // What is deleted or sealed anew must not stay behind in what the file has free.
    db.pragma_update(None, "secure_delete", true)?;
    Ok(db)
}

/// The same file without powersafe overwrite: a card that loses power spoils the whole block that it is writing, and what
/// was synced before into the same block with it. SQLite then ends each synced commit at the end of a block.
fn careful(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.starts_with(b"file:") {
        return path.to_owned();
    }
    let mut uri = String::from("file:");
    for byte in bytes {
        match byte {
            b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    PathBuf::from(uri + "?psow=0")
}

/// A connection that cannot write.
pub fn reader(path: &Path) -> Result<Connection, Error> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | SHARED)?;
    tune(&db)?;
    Ok(db)
}

/// A connection to a file where nothing can be written, not even a lock: with all that its WAL has. Only while nobody
/// else writes to it.
pub fn unwritable(path: &Path) -> Result<Connection, Error> {
    let [wal, _] = beside(path);
    let db = if wal.exists() {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags_and_vfs(path, flags, c"unix-none")?;
        // In this mode the index of the WAL is made in memory, not in a file beside it.
        db.pragma_update(None, "locking_mode", "exclusive")?;
        db
    } else {
        // Without a WAL, and without making one.
        let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{path}?immutable=1");
        Connection::open_with_flags(uri, OpenFlags::SQLITE_OPEN_READ_ONLY | SHARED)?
    };
    tune(&db)?;
    db.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    Ok(db)
}

/// Memory is scarce: half a MiB of pages a connection, and no mapping.
pub fn tune(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    sum::teach(db)?;
    // Damage is found where it is, not where it leads to.
    db.pragma_update(None, "cell_size_check", true)?;
    db.set_prepared_statement_cache_capacity(32);
    db.pragma_update(None, "cache_size", -512)?;
    db.pragma_update(None, "mmap_size", 0)
}

/// Applies what the file has not been through, each format in a transaction of its own.
fn migrate(db: &mut Connection, path: &Path, formats: &[&str]) -> Result<(), Error> {
    let ours = formats.len() as i64;
    let theirs: i64 =
        db.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(|e| damaged(path, e))?;
    if theirs > ours || theirs < 0 {
        return Err(Error::Newer { path: path.to_owned(), theirs, ours });
    }
    for (n, format) in formats.iter().enumerate().skip(theirs as usize) {
        let step = db.transaction()?;
        step.execute_batch(format).map_err(|e| damaged(path, e))?;
        step.pragma_update(None, "user_version", n as i64 + 1)?;
        step.commit()?;
    }
    Ok(())
}

/// SQLite's word on a file that is none, told with its name and the cure.
pub fn damaged(path: &Path, error: rusqlite::Error) -> Error {
    if is_damage(&error) {
        return Error::Damaged { path: path.to_owned(), what: error.to_string() };
    }
    Error::Sql(error)
}

pub fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    is_short(error)
        || matches!(code, Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase))
}

/// The log ends before what was written to it.
pub fn is_short(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_SHORT_READ)
}

/// Whether it says that a sync has failed.
pub fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Writes all that is in the WAL into the file, synced, and begins the WAL anew.
pub fn bring_home(db: &Connection) -> rusqlite::Result<()> {
    let busy: bool = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy {
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None));
    }
    Ok(())
}

/// The journal's last number, 0 where it is empty.
pub fn head(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT seq FROM event ORDER BY seq DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

/// The first number still kept, one above the head where none is.
pub fn oldest(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT seq FROM event ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
        .map(|seq| seq.unwrap_or(1))
}

/// `<name>-wal` and `<name>-shm` beside a database.
pub fn beside(path: &Path) -> [PathBuf; 2] {
    ["-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_deleted_keeps_a_second_daemon_out_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_locked(dir.path()));
        let first = lock(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join("lock")).unwrap();
        assert!(is_locked(dir.path()));
        assert!(matches!(lock(dir.path()), Err(Error::InUse(_))));
        drop(first);
        assert!(!is_locked(dir.path()));
        lock(dir.path()).unwrap();
    }

    /// Root may read anything: the same is tried as nobody, in a process of its own.
    #[test]
    fn a_file_of_another_user_is_a_mistake_and_no_card_that_fails() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(JOURNAL);
        std::fs::write(&path, "theirs").unwrap();
        permitted(dir.path()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
        if !rustix::process::getuid().is_root() {
            let error = permitted(dir.path()).unwrap_err();
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert!(!error.is_refusal());
        }
        let why = Errno::ACCESS.into();
        assert!(!Error::Directory { path, why }.is_refusal());
    }

    #[test]
    fn a_journal_of_an_older_format_is_brought_up_to_date_with_all_that_is_in_it() {
        for older in 1..JOURNAL_FORMATS.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(JOURNAL);
            let mut db = writer(&path, Durable::Full).unwrap();
            migrate(&mut db, &path, &JOURNAL_FORMATS[..older]).unwrap();
            let event = "INSERT INTO event(seq, at, kind, json) VALUES (7, 1, 'device.online', '{}')";
            db.execute(event, []).unwrap();
            drop(db);
            let db = journal(dir.path()).unwrap();
            assert_eq!(head(&db).unwrap(), 7, "{older}");
            for table in ["command", "access", "maintenance", "ahead", "anchor", "gap", "erasure"] {
                let count = format!("SELECT count(*) FROM {table}");
                let rows = db.query_row(&count, [], |row| row.get::<_, i64>(0));
                assert_eq!(rows.unwrap(), 0, "{table} of {older}");
            }
            let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
            assert_eq!(version, JOURNAL_FORMATS.len() as i64, "{older}");
        }
    }

    #[test]
    fn a_commit_of_the_journal_is_synced_and_one_of_the_others_may_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let pragma =
            |db: &Connection, name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        let journal = journal(dir.path()).unwrap();
        let outbox = writer(&dir.path().join(JOURNAL), Durable::Normal).unwrap();
        let synchronous = [&journal, &outbox].map(|db| pragma(db, "synchronous"));
        assert_eq!(synchronous, [2, 1], "2 is FULL, 1 is NORMAL");
        for db in [&journal, &outbox] {
            assert_eq!(pragma(db, "cache_size"), -512);
            let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }
}
