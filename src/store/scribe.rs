//! The history's own thread: owns its file, writes what it is handed, deletes what is old in between.
//!
//! It is called through a desk with one place for each kind of work, so that nobody who calls it ever waits for the
//! disk. What it cannot write it keeps, and tries again when it is called again.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tracing::{info, warn};

use super::{Error, file};
use crate::reading::Millis;
use crate::time;

/// What lies between who gathers and who writes.
#[derive(Debug, Default)]
pub struct Desk {
    places: Mutex<Places>,
    called: Condvar,
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct Places {
    /// One, or two at the end.
    handed: Vec<HandOver>,
    /// What could not be written is to be tried again.
    again: bool,
    retire: Option<Retire>,
    closing: bool,
}

/// Readings for one transaction.
#[derive(Debug)]
pub struct HandOver {
    /// Times of the first and the last reading.
    pub span: (Millis, Millis),
    pub rows: Vec<Row>,
    /// Readings for which there was no memory since the last one.
    pub left_out: u64,
}

/// One point's block.
#[derive(Debug)]
pub struct Row {
    pub name: Arc<str>,
    pub data: Box<[u8]>,
}

/// What is to go: all that ends before `cut`, then the oldest while the rest takes more than `limit` bytes.
#[derive(Debug, Clone, Copy)]
pub struct Retire {
    pub cut: Millis,
    pub limit: u64,
}

#[derive(Debug)]
enum Work {
    /// These, after what was kept.
    Write(Vec<HandOver>),
    Retire(Retire),
    End,
}

impl HandOver {
    /// Bytes of memory.
    fn size(&self) -> usize {
        let data: usize = self.rows.iter().map(|row| row.data.len()).sum();
        data + self.rows.capacity() * size_of::<Row>()
    }
}

impl Desk {
    pub fn hand(&self, handed: HandOver) {
        self.under_way.fetch_add(handed.size(), Ordering::Relaxed);
        self.call(|places| places.handed.push(handed));
    }

    pub fn try_again(&self) {
        self.call(|places| places.again = true);
    }

    /// In the place of what was asked before and is not done yet.
    pub fn retire(&self, retire: Retire) {
        self.call(|places| places.retire = Some(retire));
    }

    /// Everything is tried once more, and then the scribe goes.
    pub fn close(&self) {
        self.call(|places| (places.again, places.closing) = (true, true));
    }

    /// Bytes of memory that are handed over and not yet written.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn call(&self, ask: impl FnOnce(&mut Places)) {
        ask(&mut self.lock());
        self.called.notify_one();
    }

    fn next(&self) -> Work {
        let mut places = self.lock();
        loop {
            if mem::take(&mut places.again) || !places.handed.is_empty() {
                return Work::Write(mem::take(&mut places.handed));
            }
            if places.closing {
                return Work::End;
            }
            if let Some(retire) = places.retire.take() {
                return Work::Retire(retire);
            }
            places = self.called.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The rest of it, after whatever else there is to do; unless something newer was asked meanwhile.
    fn retire_on(&self, retire: Retire) {
        self.lock().retire.get_or_insert(retire);
    }

    fn written(&self, size: usize) {
        self.under_way.fetch_sub(size, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lives on the history's thread.
#[derive(Debug)]
pub struct Scribe {
    dir: PathBuf,
    /// `None` while the file cannot be opened, or a damaged one not be replaced; tried again with each hand-over.
    db: Option<Connection>,
    /// The points' numbers in the file, as far as they are known.
    numbers: HashMap<Arc<str>, i64>,
    kept: VecDeque<HandOver>,
    failing: bool,
}

/// Flushes deleted before it looks for other work.
const BITE: usize = 32;

impl Scribe {
    /// Whatever is wrong with the file: the tickets do not wait for it.
    pub fn new(dir: &Path) -> Self {
        let db = open(dir)
            .inspect_err(|error| warn!(%error, "The history cannot be opened now; readings wait in memory, and it is tried again."))
            .ok();
        Self {
            failing: db.is_none(),
            db,
            dir: dir.to_owned(),
            numbers: HashMap::new(),
            kept: VecDeque::new(),
        }
    }

    /// Until the desk is closed.
    pub fn run(mut self, desk: &Desk) {
        loop {
            match desk.next() {
                Work::Write(handed) => {
                    self.kept.extend(handed);
                    self.write_kept(desk);
                }
                Work::Retire(retire) => match self.bite(retire) {
                    Ok(true) => desk.retire_on(retire),
                    Ok(false) => {}
                    Err(error) => warn!(%error, "Old readings cannot be removed from the history."),
                },
                Work::End => break,
            }
        }
        if !self.kept.is_empty() {
            warn!("The last readings could not be written to the history.");
        }
    }

    fn write_kept(&mut self, desk: &Desk) {
        while let Some(handed) = self.kept.pop_front() {
            if let Err(error) = self.write(&handed) {
                if !mem::replace(&mut self.failing, true) {
                    warn!(%error, "Readings cannot be written to the history; they wait in memory.");
                }
                self.kept.push_front(handed);
                return;
            }
            desk.written(handed.size());
            if mem::take(&mut self.failing) {
                info!("The history takes readings again.");
            }
            if handed.left_out > 0 {
                let left_out = handed.left_out;
                warn!(left_out, "Readings were left out of the history: there was no memory for more.");
            }
        }
    }

    /// One hand-over, into a new file where the present one is damaged.
    fn write(&mut self, handed: &HandOver) -> Result<(), Error> {
        let mut outcome = self.transact(handed);
        if let Err(error) = &outcome
            && is_of_no_use(error)
        {
            warn!(%error, "The history is damaged; it is put aside and a new one begun.");
            // The old connection has to be gone before its file is renamed, or closing it would write into the new one's.
            self.db = None;
            self.numbers.clear();
            self.db = Some(begin_anew(&self.dir)?);
            outcome = self.transact(handed);
        }
        if outcome.is_err() {
            // Numbers given in what did not happen mean nothing.
            self.numbers.clear();
        }
        outcome
    }

    fn transact(&mut self, handed: &HandOver) -> Result<(), Error> {
        let db = match &mut self.db {
            Some(db) => db,
            None => self.db.insert(open(&self.dir)?),
        };
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.prepare_cached("INSERT INTO flush(first, last) VALUES (?1, ?2)")?
            .execute([handed.span.0, handed.span.1])?;
        let flush = step.last_insert_rowid();
        let mut rows: Vec<(i64, &[u8])> = Vec::with_capacity(handed.rows.len());
        for row in &handed.rows {
            let number = match self.numbers.get(&row.name) {
                Some(number) => *number,
                None => {
                    let number = number_of(&step, &row.name)?;
                    self.numbers.insert(row.name.clone(), number);
                    number
                }
            };
            rows.push((number, &row.data));
        }
        rows.sort_unstable_by_key(|(number, _)| *number);
        {
            let mut insert =
                step.prepare_cached("INSERT INTO block(flush, point, data) VALUES (?1, ?2, ?3)")?;
            for (number, data) in rows {
                insert.execute(params![flush, number, data])?;
            }
        }
        Ok(step.commit()?)
    }

    /// Deletes some of what is to go; says whether there may be more of it.
    fn bite(&mut self, retire: Retire) -> Result<bool, Error> {
        let Some(db) = &mut self.db else {
            return Ok(false);
        };
        for _ in 0..BITE {
            let oldest: Option<(i64, Millis)> = db
                .prepare_cached("SELECT id, last FROM flush ORDER BY id LIMIT 1")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, last)) = oldest else {
                return Ok(false);
            };
            if last >= retire.cut && used(db)? <= retire.limit {
                return Ok(false);
            }
            let step = db.transaction()?;
            step.prepare_cached("DELETE FROM block WHERE flush = ?1")?.execute([id])?;
            step.prepare_cached("DELETE FROM flush WHERE id = ?1")?.execute([id])?;
            step.commit()?;
        }
        Ok(true)
    }
}

/// Bytes that the readings take; freed pages are used again and do not count.
fn used(db: &Connection) -> Result<u64, Error> {
    let number = |pragma| db.query_row(pragma, [], |row| row.get::<_, u64>(0));
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    Ok(pages * number("PRAGMA page_size")?)
}

fn number_of(db: &Connection, name: &str) -> Result<i64, Error> {
    db.prepare_cached("INSERT INTO name(id) VALUES (?1) ON CONFLICT(id) DO NOTHING")?.execute([name])?;
    Ok(db.prepare_cached("SELECT point FROM name WHERE id = ?1")?.query_row([name], |row| row.get(0))?)
}

fn open(dir: &Path) -> Result<Connection, Error> {
    match file::history(dir) {
        Err(error) if is_of_no_use(&error) => {
            warn!(%error, "The history cannot be read; it is put aside and a new one begun.");
            begin_anew(dir)
        }
        opened => opened,
    }
}

/// Damage, or a format that nobody here knows. Anything else passes: a full disk, a lock that someone holds.
fn is_of_no_use(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } | Error::Newer { .. } => true,
        Error::Sql(error) => file::is_damage(error),
        _ => false,
    }
}

/// Renames the broken file to `.broken-<time>`, in place of the one before, and makes a new one.
fn begin_anew(dir: &Path) -> Result<Connection, Error> {
    let path = dir.join(file::HISTORY);
    let at = |why| Error::Directory { path: path.clone(), why };
    let prefix = format!("{}.broken-", file::HISTORY);
    for entry in fs::read_dir(dir).map_err(at)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // One is enough for whoever wants to look; more would fill the disk.
            let _ = fs::remove_file(entry.path());
        }
    }
    for file in file::beside(&path) {
        // Not there is fine, and what belongs to the broken file must not reach the new one.
        let _ = fs::remove_file(file);
    }
    fs::rename(&path, dir.join(format!("{prefix}{}", time::now()))).map_err(at)?;
    file::history(dir)
}
