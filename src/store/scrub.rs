//! Reads the journal while it is used, a bite at a time, so that a row that was damaged on the card is found before a
//! year has passed over it. From the first row to the last one, then again a day later.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use super::{Alarm, Error, alarm, file, sum, view};

/// Ends with the journal.
#[derive(Debug)]
pub struct Scrub {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// About 60 kB.
const BITE: i64 = 100;
/// Some 600 kB a second: a million events in a quarter of an hour.
const PAUSE: Duration = Duration::from_millis(100);
/// A start has other things to do.
const FIRST: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_secs(24 * 3600);

impl Scrub {
    pub fn begin(journal: &Path, alarm: Alarm) -> Self {
        let (stop, stopped) = mpsc::channel();
        let path = journal.to_owned();
        let body = move || {
            let mut pause = FIRST;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                // What cannot be read for another reason than damage is read the next day.
                let passed = file::reader(&path).and_then(|db| pass(&db, &stopped, PAUSE));
                if let Err(error) = alarm.heed(passed) {
                    tracing::debug!(%error, "the journal could not be read through");
                }
                pause = AGAIN;
            }
        };
        let thread = thread::Builder::new().name("scrub".into()).spawn(body);
        let thread = thread.inspect_err(|error| {
            tracing::warn!(%error, "nobody reads the journal through while it is used");
        });
        Self { stop: Some(stop), thread: thread.ok() }
    }
}

impl Drop for Scrub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends after the bite it is at.
            let _ = thread.join();
        }
    }
}

/// Every row once; an error where one does not fit.
fn pass(db: &Connection, stopped: &Receiver<()>, pause: Duration) -> Result<(), Error> {
    for (table, fits) in sum::TABLES {
        if table == "event" || table == "ticket" {
            let mut after = 0;
            while let Some(last) = bite(db, table, fits, after)? {
                after = last;
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
            }
            continue;
        }
        let count: u64 =
            db.query_row(&format!("SELECT count(*) FROM {table} WHERE NOT {fits}"), [], |row| row.get(0))?;
        if count > 0 {
            return Err(alarm::damage(format!("{count} rows of `{table}` do not fit their sums")).into());
        }
    }
    Ok(())
}

/// The last row looked at; `None`: there are no more.
fn bite(db: &Connection, table: &str, fits: &str, after: i64) -> Result<Option<i64>, Error> {
    let some = format!("SELECT rowid, {fits} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT {BITE}");
    let mut query = db.prepare_cached(&some)?;
    let mut rows = query.query([after])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        view::fits(row, 1, 0, table)?;
        let rowid: i64 = row.get(0)?;
        // A page that is in the tree twice would never end.
        if rowid <= last.unwrap_or(after) {
            return Err(alarm::damage(format!("`{table}` is out of order at {rowid}")).into());
        }
        last = Some(rowid);
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_changed_on_the_card_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let db = file::journal(dir.path()).unwrap();
        for seq in 1..=250 {
            let row = "INSERT INTO event(seq, at, kind, ticket, json, sum)
                 VALUES (?1, 5, 'device.online', NULL, '{}', row_sum(?1, 5, 'device.online', NULL, '{}'))";
            db.execute(row, [seq]).unwrap();
        }
        let (_stop, stopped) = mpsc::channel();
        let reader = file::reader(&dir.path().join(file::JOURNAL)).unwrap();
        pass(&reader, &stopped, Duration::ZERO).unwrap();
        db.execute("UPDATE event SET json = '{ }' WHERE seq = 237", []).unwrap();
        let error = pass(&reader, &stopped, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("237"), "{error}");
        db.execute("UPDATE event SET json = '{}' WHERE seq = 237", []).unwrap();
        db.execute("INSERT INTO access(subject, state, sum) VALUES ('doors/a', '{}', 1)", []).unwrap();
        assert!(pass(&reader, &stopped, Duration::ZERO).unwrap_err().to_string().contains("access"));
    }
}
