//! What SQLite does to the files of one directory, step by step, and the faults it meets there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use super::shim;

/// One step, in the order in which they were taken. A file is known by a number of its own: a name that is deleted and
/// made again is another file.
#[derive(Debug, Clone)]
pub enum Step {
    Made {
        file: usize,
        name: String,
    },
    Write {
        file: usize,
        at: u64,
        data: Box<[u8]>,
    },
    Truncate {
        file: usize,
        size: u64,
    },
    /// Taken when it returns: what was written before is on the disk.
    Sync {
        file: usize,
    },
    /// It failed, and the kernel has forgotten what was to be written: it is in no queue any more.
    SyncFailed {
        file: usize,
    },
    SyncDirectory,
    Deleted {
        name: String,
    },
}

/// A directory as it was found, and what happened since.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// On the disk before the first step; files 0, 1, ….
    pub base: Vec<(String, Vec<u8>)>,
    pub steps: Vec<Step>,
    /// By file.
    pub names: Vec<String>,
}

/// How a disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// A write finds no room; a part of it may have found some.
    Full,
    /// A write fails.
    Io,
    /// A sync fails.
    Fsync,
}

/// Which calls are refused: from the `first` on, `times` of them.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub refusal: Refusal,
    /// Counted from 1: writes, or for [`Refusal::Fsync`] syncs.
    pub first: u64,
    pub times: u64,
    /// How the names of its files begin.
    pub files: &'static str,
}

impl Fault {
    fn meets(&self, name: &str, count: u64) -> bool {
        name.starts_with(self.files) && (self.first..self.first.saturating_add(self.times)).contains(&count)
    }
}

#[derive(Debug)]
pub struct Refused {
    pub code: i32,
    /// Bytes that were taken before.
    pub taken: usize,
}

#[derive(Debug)]
pub struct Recorder {
    directory: PathBuf,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    log: Log,
    /// Names that there are now.
    present: HashMap<String, usize>,
    fault: Option<Fault>,
    writes: u64,
    syncs: u64,
    /// What the refused calls were about to do.
    refused: Vec<&'static str>,
    before_commit: Option<BeforeCommit>,
    /// Place and page of the last frame that ended a commit.
    last_end: Option<(u64, [u8; 4])>,
    /// Files of names that begin so are not synced: a disk that lies.
    deaf: Option<&'static str>,
}

/// Called before each commit of the journal reaches its WAL, with the number of steps until then, and whether it may be the
/// one before once more: a synced commit is filled up to the end of a block with its own last frame.
type BeforeCommit = Arc<dyn Fn(usize, bool) + Send + Sync>;

impl std::fmt::Debug for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inside").field("steps", &self.log.steps.len()).finish_non_exhaustive()
    }
}

static WATCHED: Mutex<Vec<Arc<Recorder>>> = Mutex::new(Vec::new());

/// Whoever watches this directory.
pub fn of(directory: &Path) -> Option<Arc<Recorder>> {
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.iter().find(|recorder| recorder.directory == directory).cloned()
}

impl Recorder {
    /// Watches a directory from now on; what is in it is taken to be on the disk.
    pub fn watch(directory: &Path) -> Arc<Self> {
        shim::install();
        let directory = directory.canonicalize().unwrap();
        let mut inside = Inside::default();
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            // The history's folder has no SQLite in it.
            if !name.ends_with("-shm") && entry.path().is_file() {
                let file = inside.log.names.len();
                inside.present.insert(name.clone(), file);
                inside.log.base.push((name.clone(), std::fs::read(entry.path()).unwrap()));
                inside.log.names.push(name);
            }
        }
        let recorder = Arc::new(Self { directory, inside: Mutex::new(inside) });
        WATCHED.lock().unwrap().push(recorder.clone());
        recorder
    }

    /// Ends it, and hands over what was written down.
    pub fn stop(&self) -> Log {
        let mut watched = WATCHED.lock().unwrap();
        watched.retain(|other| other.directory != self.directory);
        drop(watched);
        std::mem::take(&mut self.lock().log)
    }

    pub fn steps(&self) -> usize {
        self.lock().log.steps.len()
    }

    /// Until called again with `None`, or until its times are over. Counts from here.
    pub fn fail(&self, fault: Option<Fault>) {
        let mut inside = self.lock();
        (inside.fault, inside.writes, inside.syncs) = (fault, 0, 0);
    }

    /// Writes and syncs since then, of the files that the fault is about; without one, of the journal.
    pub fn counts(&self) -> (u64, u64) {
        let inside = self.lock();
        (inside.writes, inside.syncs)
    }

    /// Whether calls may be refused now.
    pub fn fails(&self) -> bool {
        self.lock().fault.is_some()
    }

    /// What has been refused since the last call.
    pub fn refused(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.lock().refused)
    }

    /// The disk says that it has synced files of names that begin so, and has not.
    pub fn deaf(&self, files: &'static str) {
        self.lock().deaf = Some(files);
    }

    pub fn before_commit(&self, call: Option<BeforeCommit>) {
        let before = std::mem::replace(&mut self.lock().before_commit, call);
        // It may hold a connection, which comes by here when it is closed.
        drop(before);
    }

    pub(super) fn may_open(&self, name: &str, making: bool) -> Result<(), i32> {
        let mut inside = self.lock();
        if inside.present.contains_key(name) && !self.directory.join(name).exists() {
            // Put aside or removed by other means than SQLite's.
            inside.present.remove(name);
            inside.log.steps.push(Step::Deleted { name: name.to_owned() });
        }
        // A full disk may still have room for a name; one that fails has none.
        let next = inside.writes + 1;
        let fails = inside.fault.is_some_and(|fault| fault.refusal == Refusal::Io && fault.meets(name, next));
        if fails && making && !inside.present.contains_key(name) {
            inside.writes += 1;
            inside.refused.push("a new file");
            return Err(ffi::SQLITE_CANTOPEN);
        }
        Ok(())
    }

    /// The number of the file that is now open under this name.
    pub(super) fn opened(&self, name: &str) -> usize {
        let mut inside = self.lock();
        if let Some(file) = inside.present.get(name) {
            return *file;
        }
        let file = inside.log.names.len();
        inside.log.names.push(name.to_owned());
        inside.present.insert(name.to_owned(), file);
        inside.log.steps.push(Step::Made { file, name: name.to_owned() });
        file
    }

    pub(super) fn deleted(&self, name: &str, directory_too: bool) {
        let mut inside = self.lock();
        if inside.present.remove(name).is_some() {
            inside.log.steps.push(Step::Deleted { name: name.to_owned() });
        }
        if directory_too && inside.deaf.is_none_or(|files| !name.starts_with(files)) {
            inside.log.steps.push(Step::SyncDirectory);
        }
    }

    pub(super) fn may_write(&self, file: usize, at: u64, data: &[u8]) -> Result<(), Refused> {
        let mut inside = self.lock();
        inside.writes += u64::from(inside.counts(file));
        let name = &inside.log.names[file];
        let what = what(name, at, data.len());
        let writes = inside.writes;
        let fault = inside.fault.filter(|fault| fault.refusal != Refusal::Fsync && fault.meets(name, writes));
        let refusal = fault.map(|fault| fault.refusal);
        if let Some(refusal) = refusal {
            inside.refused.push(what);
            return Err(match refusal {
                // As much as there is room for.
                Refusal::Full => {
                    let taken = (inside.writes as usize * 512) % (data.len() + 1);
                    Refused { code: ffi::SQLITE_FULL, taken }
                }
                Refusal::Io | Refusal::Fsync => Refused { code: ffi::SQLITE_IOERR_WRITE, taken: 0 },
            });
        }
        let steps = inside.log.steps.len();
        if !is_commit(&inside.log.names[file], at, data) {
            return Ok(());
        }
        let end = (at, [data[0], data[1], data[2], data[3]]);
        let again = inside.last_end.is_some_and(|(before, page)| before + FRAME == at && page == end.1);
        inside.last_end = Some(end);
        let call = inside.before_commit.clone();
        drop(inside);
        if let Some(call) = call {
            call(steps, again);
        }
        Ok(())
    }

    pub(super) fn written(&self, file: usize, at: u64, data: &[u8]) {
        self.lock().log.steps.push(Step::Write { file, at, data: data.into() });
    }

    pub(super) fn truncated(&self, file: usize, size: u64) {
        self.lock().log.steps.push(Step::Truncate { file, size });
    }

    pub(super) fn synced(&self, file: usize, directory_too: bool) -> i32 {
        let mut inside = self.lock();
        if inside.deaf.is_some_and(|files| inside.log.names[file].starts_with(files)) {
            return ffi::SQLITE_OK;
        }
        inside.syncs += u64::from(inside.counts(file));
        if let Some(fault) = inside.fault
            && fault.refusal == Refusal::Fsync
            && fault.meets(&inside.log.names[file], inside.syncs)
        {
            inside.log.steps.push(Step::SyncFailed { file });
            let what = sync_of(&inside.log.names[file]);
            inside.refused.push(what);
            return ffi::SQLITE_IOERR_FSYNC;
        }
        inside.log.steps.push(Step::Sync { file });
        if directory_too {
            inside.log.steps.push(Step::SyncDirectory);
        }
        ffi::SQLITE_OK
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn counts(&self, file: usize) -> bool {
        self.log.names[file].starts_with(self.fault.map_or("journal", |fault| fault.files))
    }
}

const FRAME_HEAD: usize = 24;
const FRAME: u64 = 24 + 4096;
const WAL_HEAD: u64 = 32;

/// The head of a frame that ends a transaction: it tells the size of the database from then on.
fn is_commit(name: &str, at: u64, data: &[u8]) -> bool {
    name == "journal.db-wal" && at >= WAL_HEAD && data.len() == FRAME_HEAD && data[4..8] != [0; 4]
}

/// What a write is for.
pub fn what(name: &str, at: u64, length: usize) -> &'static str {
    match name {
        "journal.db" => "journal: checkpoint",
        "journal.db-wal" if at == 0 && length == WAL_HEAD as usize => "journal: head of the WAL",
        "journal.db-wal" => "journal: frame",
        "history.db" => "history: checkpoint",
        "history.db-wal" => "history: frame",
        "journal.db-journal" => "journal: rollback, while it is made",
        "history.db-journal" => "history: rollback, while it is made",
        _ => "other",
    }
}

pub fn sync_of(name: &str) -> &'static str {
    match name {
        "journal.db" => "journal: sync of the file",
        "journal.db-wal" => "journal: sync of the WAL",
        "history.db" => "history: sync of the file",
        "history.db-wal" => "history: sync of the WAL",
        _ => "sync of another file",
    }
}
