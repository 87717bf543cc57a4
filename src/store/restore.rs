//! The way back: what a backup or another data directory holds goes on here, under an epoch of its own.
//!
//! A number never means two things: what the old box told after its backup has numbers of the old epoch, and the first event here
//! is number 1 of a new one. The new journal is made beside, whole and synced, before anything that is there is touched; what is there is
//! set aside in a directory of its own and never deleted. A power cut in between leaves the old journal or the new one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::carry::{self, Limit, Seals};
use super::file::{self, Durable};
use super::segment::FOLDER;
use super::{Error, Inspection, Seal, backup, inspect, keys, mark};
use crate::reading::Millis;
use crate::time;

/// What is to go on where.
#[derive(Debug)]
pub struct Order<'a> {
    /// A backup, or a data directory; that of the gateway itself, too, which then only begins a new epoch.
    pub from: &'a Path,
    pub dir: &'a Path,
    pub gateway: &'a str,
    /// What is sealed in it is opened by this, and sealed anew.
    pub seal: &'a Seal,
    /// Sets aside whatever is there.
    pub force: bool,
    pub at: Millis,
    pub synced: bool,
}

/// What has been done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub epoch: String,
    pub origin: Origin,
    /// Events that a consumer has still to get, under their new numbers.
    pub events: u64,
    pub tickets: u64,
    pub unclosed: u64,
    /// Rows that could not be read and were left behind.
    pub lost: u64,
    pub history: Readings,
    /// Where that is now which was here before.
    pub aside: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readings {
    None,
    /// Those that were here already.
    Here,
    /// They came along.
    Brought,
}

/// Where a journal comes from, until that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub epoch: String,
    /// The last event that is known here; what was told after it is not.
    pub head: u64,
    /// When it was last written.
    #[serde(with = "time::rfc3339")]
    pub committed: Millis,
}

/// As it stands in `gateway.before`.
#[derive(Debug, Serialize, Deserialize)]
struct Before {
    #[serde(flatten)]
    origin: Origin,
    reason: String,
    at: Millis,
    lost: u64,
    /// The head of the new journal as it was made: it has not been begun yet while that is its head.
    made: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(
        "{from} is of gateway `{theirs}`, and the configuration is of `{ours}`; name that gateway's backup, or set gateway.id"
    )]
    NotOurs { from: PathBuf, theirs: String, ours: String },
    #[error(
        "{dir} holds the data of gateway `{theirs}`; give this gateway a data_dir of its own, or say --force, which sets that aside"
    )]
    Others { dir: PathBuf, theirs: String },
    #[error(
        "{dir} holds newer data than {from}: written {there}, event {there_head}, against {here}, event {here_head}; \
         to go on from the older one all the same say --force, which sets the newer aside and deletes nothing"
    )]
    Newer { dir: PathBuf, from: PathBuf, there: String, there_head: u64, here: String, here_head: u64 },
    #[error(
        "{dir} holds a journal that cannot be read ({why}); say --force, which sets it aside and deletes nothing"
    )]
    Unreadable { dir: PathBuf, why: Error },
    #[error(transparent)]
    Store(#[from] Error),
}

const WORK: &str = "restoring";
const REASON: &str = "restore";

pub fn restore(order: &Order<'_>) -> Result<Restored, Refused> {
    let dir = order.dir;
    fs::create_dir_all(dir).map_err(at(dir))?;
    let _lock = file::lock(dir)?;
    let work = dir.join(WORK);
    // Of a run that was broken off.
    clear(&work)?;
    let done = in_work(order, &work);
    clear(&work)?;
    let owned = own(dir);
    let done = done?;
    owned?;
    Ok(done)
}

/// Where a journal comes from that has been restored and never run.
pub(super) fn origin(db: &Connection) -> Result<Option<Origin>, Error> {
    let before: Option<String> = db.query_row("SELECT before FROM gateway", [], |row| row.get(0))?;
    let before = before.and_then(|text| serde_json::from_str::<Before>(&text).ok());
    let head = file::head(db)?;
    Ok(before.filter(|before| before.made == head).map(|before| before.origin))
}

/// What is read, and whether it is the data directory itself.
struct Source {
    db: Connection,
    gateway: String,
    origin: Origin,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Backup,
    Directory,
    Here,
}

fn in_work(order: &Order<'_>, work: &Path) -> Result<Restored, Refused> {
    let source = open(order, work)?;
    may(order, &source)?;
    let new = work.join("new");
    fs::create_dir_all(&new).map_err(at(&new))?;
    let mut restored = build(order, &source, &new)?;
    let brought = has_history(&new);
    restored.aside = put(order, &new, brought)?;
    restored.history = match (brought, has_history(order.dir)) {
        (true, _) => Readings::Brought,
        (false, true) => Readings::Here,
        (false, false) => Readings::None,
    };
    Ok(restored)
}

/// A backup is read through first. Of a directory the journal is copied, since it may be of an older format, lie on a disk
/// that takes no writes, and have its last commits beside it.
fn open(order: &Order<'_>, work: &Path) -> Result<Source, Error> {
    let from = order.from;
    let (db, kind) = if from.is_dir() {
        let is_here = same(from, order.dir);
        if !is_here && super::in_use(from) {
            return Err(Error::InUse(from.to_owned()));
        }
        let copy = work.join("from");
        copy_journal(from, &copy)?;
        (file::journal(&copy)?, if is_here { Kind::Here } else { Kind::Directory })
    } else {
        backup::check(from)?;
        (backup::open(from)?, Kind::Backup)
    };
    let about = "SELECT id, epoch, committed FROM gateway";
    let (gateway, epoch, committed) =
        db.query_row(about, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let head = file::head(&db)?;
    Ok(Source { db, gateway, origin: Origin { epoch, head, committed }, kind })
}

fn copy_journal(from: &Path, into: &Path) -> Result<(), Error> {
    fs::create_dir_all(into).map_err(at(into))?;
    let journal = from.join(file::JOURNAL);
    fs::copy(&journal, into.join(file::JOURNAL)).map_err(at(&journal))?;
    let [wal, _] = file::beside(&journal);
    if wal.exists() {
        let [copy, _] = file::beside(&into.join(file::JOURNAL));
        fs::copy(&wal, copy).map_err(at(&wal))?;
    }
    Ok(())
}

/// Whether it may go on here.
fn may(order: &Order<'_>, source: &Source) -> Result<(), Refused> {
    let (dir, from) = (order.dir.to_owned(), order.from.to_owned());
    if source.gateway != order.gateway {
        let (theirs, ours) = (source.gateway.clone(), order.gateway.to_owned());
        return Err(Refused::NotOurs { from, theirs, ours });
    }
    if source.kind == Kind::Here || order.force {
        return Ok(());
    }
    let there = match inspect(order.dir) {
        Ok(None) => return Ok(()),
        Ok(Some(there)) => there,
        Err(why) => return Err(Refused::Unreadable { dir, why }),
    };
    if there.gateway != order.gateway {
        return Err(Refused::Others { dir, theirs: there.gateway });
    }
    if is_newer(&there, &source.origin) {
        return Err(Refused::Newer {
            dir,
            from,
            there: time::format(there.committed),
            there_head: there.head,
            here: time::format(source.origin.committed),
            here_head: source.origin.head,
        });
    }
    Ok(())
}

/// A box that was only switched on has nothing that could be lost.
fn is_newer(there: &Inspection, origin: &Origin) -> bool {
    let more = there.epoch == origin.epoch && there.head > origin.head;
    there.has_to_tell && (more || there.committed > origin.committed)
}

/// The new journal, and the history where one comes along, in a directory beside.
fn build(order: &Order<'_>, source: &Source, new: &Path) -> Result<Restored, Error> {
    let epoch = uuid::Uuid::now_v7().simple().to_string();
    let mut db = file::journal(new)?;
    let carried =
        carry::carry(&source.db, &mut db, order.gateway, &epoch, Seals::same(order.seal), Limit::NONE)?;
    carry::leap(&mut db, order.seal, order.at - source.origin.committed)?;
    carry::tell(&mut db, (order.gateway, &epoch), order.seal, &carried, REASON, order.at, order.synced)?;
    if source.kind != Kind::Here {
        // What the old box was told after the backup is not known.
        keys::lost(&db, order.at.max(source.origin.committed))?;
    }
    let lost = carried.lost.events + carried.lost.rows.values().sum::<u64>();
    let made = file::head(&db)?;
    let before = Before { origin: source.origin.clone(), reason: REASON.into(), at: order.at, lost, made };
    let text = serde_json::to_string(&before).unwrap_or_default();
    db.execute("UPDATE gateway SET before = ?1", [text])?;
    let path = new.join(file::JOURNAL);
    file::sound(&db, &path)?;
    let unclosed =
        db.query_row("SELECT count(*) FROM ticket WHERE state <> 'closed'", [], |row| row.get(0))?;
    // The last connection takes what stands beside the file into it.
    db.close().map_err(|(_, error)| error)?;
    sync(&path)?;
    match source.kind {
        Kind::Backup => backup::unpack_history(&source.db, new)?,
        Kind::Directory => copy_history(order.from, new)?,
        Kind::Here => {}
    }
    let (events, tickets) = (carried.events, carried.tickets);
    let origin = source.origin.clone();
    Ok(Restored { epoch, origin, events, tickets, unclosed, lost, history: Readings::None, aside: None })
}

fn has_history(dir: &Path) -> bool {
    dir.join(FOLDER).exists() || dir.join(file::HISTORY).exists()
}

/// Its files, and the database of an earlier gatehouse with what stands beside it.
fn copy_history(from: &Path, into: &Path) -> Result<(), Error> {
    let [wal, _] = file::beside(Path::new(file::HISTORY));
    let mut names = vec![PathBuf::from(file::HISTORY), wal];
    let segments = fs::read_dir(from.join(FOLDER)).into_iter().flatten().flatten();
    names.extend(segments.map(|entry| Path::new(FOLDER).join(entry.file_name())));
    for name in names.into_iter().filter(|name| from.join(name).is_file()) {
        let path = into.join(&name);
        fs::create_dir_all(path.parent().unwrap_or(into)).map_err(at(&path))?;
        fs::copy(from.join(&name), &path).map_err(at(&path))?;
        sync(&path)?;
    }
    Ok(())
}

/// Sets aside what is there, and puts the new in its place; where the old one now is.
fn put(order: &Order<'_>, new: &Path, brought: bool) -> Result<Option<PathBuf>, Error> {
    let dir = order.dir;
    let foreign = inspect(dir).ok().flatten().is_some_and(|there| there.gateway != order.gateway);
    let aside = dir.join(format!("before-{REASON}-{}", compact(order.at)));
    // A draft that a power cut has left would be put in place of ours at the next start.
    let mut leaving = with_beside(file::DRAFT);
    if brought || foreign {
        leaving.extend(with_beside(file::HISTORY).into_iter().chain([FOLDER.into()]));
    }
    leaving.retain(|name| dir.join(name).exists());
    let journal = dir.join(file::JOURNAL);
    let is_any = journal.exists() || !leaving.is_empty();
    if is_any {
        fs::create_dir_all(&aside).map_err(at(&aside))?;
    }
    for name in leaving {
        fs::rename(dir.join(&name), aside.join(&name)).map_err(at(&name))?;
    }
    if journal.exists() {
        keep_journal(&journal, &aside)?;
    }
    if is_any {
        sync(&aside)?;
        // The log of the old journal is gone before the new one comes, whatever order a file system writes names in.
        sync(dir)?;
    }
    // It speaks of the one that was here.
    mark::remove(dir).map_err(at(dir))?;
    let coming = with_beside(file::HISTORY).into_iter().chain([FOLDER.into(), file::JOURNAL.into()]);
    for name in coming.filter(|name| new.join(name).exists()) {
        fs::rename(new.join(&name), dir.join(&name)).map_err(at(&name))?;
    }
    sync(dir)?;
    Ok(is_any.then_some(aside))
}

fn with_beside(name: &str) -> Vec<PathBuf> {
    file::beside(Path::new(name)).into_iter().chain([name.into()]).collect()
}

/// The journal keeps its place until the new one takes it, so that there is one at any moment; the log beside it
/// must be gone by then, or it would be taken for the new one's.
fn keep_journal(path: &Path, aside: &Path) -> Result<(), Error> {
    // Takes the log into the file. Where that cannot be done, both go together.
    if let Ok(db) = file::writer(path, Durable::Full) {
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let beside = file::beside(path);
    for file in beside.iter().map(PathBuf::as_path).chain([path]).filter(|file| file.exists()) {
        let kept = aside.join(file.file_name().unwrap_or_default());
        fs::hard_link(file, &kept).or_else(|_| fs::copy(file, &kept).map(drop)).map_err(at(file))?;
    }
    for file in beside.iter().filter(|file| file.exists()) {
        fs::remove_file(file).map_err(at(file))?;
    }
    Ok(())
}

/// Whoever restores is often root, and the daemon is not: everything belongs to whom the directory belongs to.
fn own(dir: &Path) -> Result<(), Error> {
    let owner = fs::metadata(dir).map_err(at(dir))?;
    let mut places = vec![dir.to_owned()];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(&place).map_err(at(&place))?.flatten() {
            let path = entry.path();
            let about = entry.metadata().map_err(at(&path))?;
            if (about.uid(), about.gid()) != (owner.uid(), owner.gid()) {
                lchown(&path, Some(owner.uid()), Some(owner.gid())).map_err(at(&path))?;
            }
            if about.is_dir() {
                places.push(path);
            }
        }
    }
    Ok(())
}

fn clear(work: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(work)(error)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(at(path))
}

fn same(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// `20261122T081500Z`
fn compact(at: Millis) -> String {
    let text: String = time::format(at).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{}Z", text.split('.').next().unwrap_or_default())
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + '_ {
    |why| Error::File { path: path.to_owned(), why }
}
