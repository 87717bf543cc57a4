//! Whether the journal is as it was told: every event against its digest, the chain from one to the next, the numbers, and the
//! values of the chain that somebody has kept; and whether orders and tickets are as it tells.
//!
//! It reads one moment of the file, also beside a daemon that writes to it, row by row. What it cannot see: an event that
//! somebody who knows this program has written behind the last one, and a chain made anew from some number on, unless a
//! value above that number is known elsewhere (the consumers' rows here, and what the centre has kept). What it could not
//! look at, or not hold against anything, is no fault, but then the journal is not said to hold either.

mod rows;
mod walk;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{Error, Seal, backup, file, mark};
use crate::chain::Link;
use crate::time;

/// A value of the chain that somebody has kept: `<epoch>.<seq>:<hex>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub epoch: String,
    pub seq: u64,
    pub link: Link,
}

/// What is wrong, and with which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub seq: Option<u64>,
    pub what: String,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was looked at, and is as it was told.
    Holds,
    /// No fault was found, and not all of it could be looked at.
    Open,
    Fails,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub gateway: String,
    pub epoch: String,
    /// Events that are there, stubs included, and the first and last number of them; 0 where there is none.
    pub events: u64,
    pub from: u64,
    pub to: u64,
    /// Events of before there was a chain; only their row's sum says that they are as they were written.
    pub unchained: u64,
    /// Sealed with a key that is not at hand: what they say was not looked at.
    pub locked: u64,
    pub erased: u64,
    pub expired: u64,
    /// Events that gave way to room, as the journal tells.
    pub dropped: u64,
    /// Values that consumers left here and that hold, and those of numbers that are no longer kept.
    pub anchors: u64,
    pub anchors_unseen: u64,
    /// Of those that were given.
    pub given: u64,
    /// The chain at the last event.
    pub chain: Option<Link>,
    pub faults: Vec<Fault>,
    /// Faults beyond [`FAULTS_MAX`].
    pub more: u64,
    /// What may be well, and nothing here can say so; no more than [`FAULTS_MAX`].
    pub doubts: Vec<Fault>,
}

/// Faults that are told one by one.
pub const FAULTS_MAX: usize = 100;

impl Report {
    pub fn verdict(&self) -> Verdict {
        if !self.faults.is_empty() {
            Verdict::Fails
        } else if self.locked > 0 || self.unchained > 0 || !self.doubts.is_empty() {
            Verdict::Open
        } else {
            Verdict::Holds
        }
    }

    pub fn holds(&self) -> bool {
        self.verdict() == Verdict::Holds
    }

    /// One a number: what is found second follows from the first.
    fn fault(&mut self, seq: Option<u64>, what: impl Into<String>) {
        if seq.is_some() && self.faults.iter().rev().take(3).any(|fault| fault.seq == seq) {
            return;
        }
        if self.faults.len() >= FAULTS_MAX {
            self.more += 1;
            return;
        }
        self.faults.push(Fault { seq, what: what.into() });
    }

    fn doubt(&mut self, seq: Option<u64>, what: String) {
        if self.doubts.len() < FAULTS_MAX {
            self.doubts.push(Fault { seq, what });
        }
    }
}

impl std::str::FromStr for Anchor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no value of a chain; write <epoch>.<number>:<64 digits>");
        // As the header of a push says it, with a space, is as good.
        let (cursor, link) = text.trim().split_once([':', ' ']).ok_or_else(wrong)?;
        let (epoch, seq) = cursor.rsplit_once('.').ok_or_else(wrong)?;
        let seq = seq.parse().map_err(|_| wrong())?;
        let link = link.trim().parse().map_err(|_| wrong())?;
        Ok(Self { epoch: epoch.to_owned(), seq, link })
    }
}

/// Reads a data directory, a journal or a backup through; `keep` is how long its gateway keeps events. An error is what
/// could not be read.
pub fn verify(path: &Path, given: &[Anchor], seal: &Seal, keep: Duration) -> Result<Report, Error> {
    let is_dir = path.is_dir();
    let journal = if is_dir { path.join(file::JOURNAL) } else { path.to_owned() };
    std::fs::metadata(&journal).map_err(|why| Error::File { path: journal.clone(), why })?;
    // Before the journal is looked at: what is marked is in it.
    let mark = is_dir.then(|| mark::read(path)).flatten();
    let db = open(&journal, is_dir)?;
    let mut report = read(&db, given, seal, keep, mark).map_err(|error| match error {
        Error::Sql(error) => file::damaged(&journal, error),
        error => error,
    })?;
    if !is_dir
        && backup::open(&journal).is_ok()
        && let Err(Error::Damaged { what, .. }) = backup::check(&journal)
    {
        report.fault(None, format!("the backup is not as it was written: {what}"));
    }
    Ok(report)
}

fn open(journal: &Path, is_dir: bool) -> Result<Connection, Error> {
    let opened = file::reader(journal).and_then(|db| {
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(db)
    });
    match opened {
        // The directory takes no writes, not even the lock of a reader.
        Err(error)
            if error.is_refusal() && !(is_dir && super::in_use(journal.parent().unwrap_or(journal))) =>
        {
            file::unwritable(journal)
        }
        Err(Error::Sql(error)) => Err(file::damaged(journal, error)),
        opened => opened,
    }
}

fn read(
    db: &Connection,
    given: &[Anchor],
    seal: &Seal,
    keep: Duration,
    mark: Option<mark::Mark>,
) -> Result<Report, Error> {
    let read = db.unchecked_transaction()?;
    let (gateway, epoch): (String, String) =
        read.query_row("SELECT id, epoch FROM gateway", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let report = Report { gateway, epoch, ..Report::default() };
    let mut walk = walk::Walk::begin(&read, seal, report, given)?;
    rows::each(&read, seal, |row| walk.take(row))?;
    let mut report = walk.end(time::now(), keep)?;
    if let Some(mark) = mark.filter(|mark| mark.epoch == report.epoch && mark.head > report.to) {
        let to = report.to;
        let what =
            format!("the journal ends at {to}, and {} had been written: its end was cut off", mark.head);
        report.fault(Some(to + 1), what);
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
