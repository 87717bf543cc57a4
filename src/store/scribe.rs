//! The history's own thread: owns its files, writes what it is handed, rolls up and deletes what is old in between.
//!
//! It is called through a desk with one place for each kind of work, so that nobody who calls it ever waits for the
//! disk. What it cannot write it keeps, and tries again when it is called again.

use std::collections::VecDeque;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tracing::{info, warn};

use super::frame::Frame;
use super::gathered::Shared;
use super::segment::{FOLDER, Level};
use super::shelf::Shelf;
use super::{Error, legacy, roll};
use crate::reading::Millis;

/// What lies between who gathers and who writes.
#[derive(Debug, Default)]
pub struct Desk {
    places: Mutex<Places>,
    called: Condvar,
    thin: AtomicBool,
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

/// Readings to be written at once.
#[derive(Debug)]
pub struct HandOver {
    pub frame: Arc<Frame>,
    /// Readings for which there was no memory since the last one.
    pub left_out: u64,
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

impl Desk {
    pub fn hand(&self, handed: HandOver) {
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

    /// From now on only rollups are written, or all of it again.
    pub fn thin(&self, thin: bool) {
        self.thin.store(thin, Ordering::Relaxed);
    }

    pub fn is_thin(&self) -> bool {
        self.thin.load(Ordering::Relaxed)
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

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lives on the history's thread.
#[derive(Debug)]
pub struct Scribe {
    dir: PathBuf,
    /// `None` while the files cannot be opened; tried again with each hand-over.
    shelf: Option<Shelf>,
    kept: VecDeque<HandOver>,
    shared: Shared,
    failing: bool,
}

impl Scribe {
    pub fn new(dir: &Path, shared: Shared) -> Self {
        Self { dir: dir.to_owned(), shelf: None, kept: VecDeque::new(), shared, failing: false }
    }

    /// Until the desk is closed. Whatever is wrong with the files: the tickets do not wait for it.
    pub fn run(mut self, desk: &Desk) {
        legacy::look_at(&self.dir);
        if let Err(error) = self.shelf() {
            self.failing = true;
            warn!(%error, "The history cannot be opened now; readings wait in memory, and it is tried again.");
        }
        loop {
            match desk.next() {
                Work::Write(handed) => {
                    self.kept.extend(handed);
                    self.write_kept(desk);
                    self.roll_up();
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
            if let Err(error) = self.write(&handed.frame, desk.is_thin()) {
                if !mem::replace(&mut self.failing, true) {
                    warn!(%error, "Readings cannot be written to the history; they wait in memory.");
                }
                self.kept.push_front(handed);
                return;
            }
            if mem::take(&mut self.failing) {
                info!("The history takes readings again.");
            }
            if handed.left_out > 0 {
                let left_out = handed.left_out;
                warn!(left_out, "Readings were left out of the history: there was no memory for more.");
            }
        }
    }

    fn write(&mut self, frame: &Frame, thin: bool) -> Result<(), Error> {
        let path = self.path();
        let shared = self.shared.clone();
        let shelf = self.shelf()?;
        let outcome = if thin {
            shelf.append(Level::Minutes, &roll::minutes_of(frame))
        } else {
            shelf.append(Level::Readings, frame)
        };
        if let Err(why) = outcome {
            // Looked at anew the next time: what is there may have been taken away.
            self.shelf = None;
            return Err(Error::History { path, why });
        }
        shared.lock().set_written(shelf.written());
        Ok(())
    }

    /// Full segments, so that they can go at any time.
    fn roll_up(&mut self) {
        let Some(shelf) = &mut self.shelf else { return };
        loop {
            match shelf.roll_up() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Tried again with the next hand-over.
                    warn!(%error, "A rollup cannot be written to the history.");
                    return;
                }
            }
        }
    }

    fn bite(&mut self, retire: Retire) -> Result<bool, Error> {
        let path = self.path();
        let Some(shelf) = &mut self.shelf else { return Ok(false) };
        shelf.bite(retire).map_err(|why| Error::History { path, why })
    }

    fn shelf(&mut self) -> Result<&mut Shelf, Error> {
        match &mut self.shelf {
            Some(shelf) => Ok(shelf),
            none => {
                let at = |why| Error::History { path: self.dir.join(FOLDER), why };
                let shelf = Shelf::open(&self.dir).map_err(at)?;
                self.shared.lock().set_reach(shelf.written());
                Ok(none.insert(shelf))
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }
}
