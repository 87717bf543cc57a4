//! The end for readings: gathered in memory as few bytes, written in bulk, disposable.
//!
//! A power cut costs the last minute. A damaged file is put aside and a new one begun. Where the disk does not take
//! what is gathered, new readings are left out until it does. Nothing of this touches a ticket.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use tracing::{info, warn};

use super::series::{self, Encoder, Sample};
use super::view::SAMPLES_MAX;
use super::{Error, file};
use crate::reading::{Millis, Reading};
use crate::time;

/// Owned by one thread.
#[derive(Debug)]
pub struct History {
    db: Connection,
    dir: PathBuf,
    series: HashMap<Arc<str>, Series>,
    /// Bytes gathered since the last flush.
    gathered: usize,
    /// Times of the first and the last reading gathered.
    span: Option<(Millis, Millis)>,
    /// Readings left out since the disk last took any.
    left_out: u64,
    tried_at: Millis,
    failing: bool,
}

/// One point's readings since the last flush.
#[derive(Debug, Default)]
struct Series {
    /// The point's number in the file, once known.
    number: Option<i64>,
    encoder: Encoder,
}

/// Between two flushes at the most.
const FLUSH_EVERY: Millis = 60_000;
/// So much gathered is flushed at once.
const GATHERED_ENOUGH: usize = 512 << 10;
/// So much gathered is all that the memory gives, while the disk takes nothing.
const GATHERED_MAX: usize = 1 << 20;
/// Flushes deleted in one call, so that it never takes long.
const BITE: usize = 32;

impl History {
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let db = match file::history(dir) {
            Ok(db) => db,
            Err(error) => {
                warn!(%error, "The history cannot be opened; it is put aside and a new one begun.");
                begin_anew(dir)?
            }
        };
        Ok(Self {
            db,
            dir: dir.to_owned(),
            series: HashMap::new(),
            gathered: 0,
            span: None,
            left_out: 0,
            tried_at: 0,
            failing: false,
        })
    }

    /// Gathers one reading of the point with this name, in memory. Which ones are worth it is the caller's to say.
    pub fn note(&mut self, point: &Arc<str>, reading: &Reading) {
        if self.gathered >= GATHERED_MAX {
            self.left_out += 1;
            return;
        }
        let series = match self.series.get_mut(point) {
            Some(series) => series,
            None => self.series.entry(point.clone()).or_default(),
        };
        self.gathered += series.encoder.push(reading);
        let (first, last) = self.span.unwrap_or((reading.at, reading.at));
        self.span = Some((first.min(reading.at), last.max(reading.at)));
    }

    /// Whether it is time to [`flush`](Self::flush): a minute after the last time, or as soon as much is gathered.
    pub fn due(&self, now: Millis) -> bool {
        // A clock that was set back must not stop the flushing, hence the absolute difference.
        let waited = now.abs_diff(self.tried_at) >= FLUSH_EVERY.unsigned_abs();
        self.span.is_some() && (waited || (self.gathered >= GATHERED_ENOUGH && !self.failing))
    }

    /// Writes what is gathered. On an error it stays gathered, as far as the memory allows.
    pub fn flush(&mut self, now: Millis) -> Result<(), Error> {
        self.tried_at = now;
        let Some(span) = self.span else {
            return Ok(());
        };
        let mut outcome = self.write(span);
        if let Err(Error::Sql(error)) = &outcome
            && file::is_damage(error)
        {
            warn!(%error, "The history is damaged; it is put aside and a new one begun.");
            self.replace()?;
            outcome = self.write(span);
        }
        self.failing = outcome.is_err();
        if self.failing {
            // Numbers given in what did not happen mean nothing.
            self.series.values_mut().for_each(|series| series.number = None);
        }
        outcome?;
        if self.left_out > 0 {
            info!(
                left_out = self.left_out,
                "The history takes readings again; some were left out."
            );
        }
        self.series.values_mut().for_each(|series| series.encoder.clear());
        (self.gathered, self.span, self.left_out) = (0, None, 0);
        Ok(())
    }

    /// Deletes what is older than `keep`, then the oldest while the readings take more than `limit` bytes. A bounded
    /// bite a call; says whether there is more to do. Only with a clock that can be believed.
    pub fn retire(&mut self, now: Millis, keep: Duration, limit: u64) -> Result<bool, Error> {
        let cut = now.saturating_sub(keep.as_millis().try_into().unwrap_or(Millis::MAX));
        for _ in 0..BITE {
            let oldest: Option<(i64, Millis)> = self
                .db
                .prepare_cached("SELECT id, last FROM flush ORDER BY id LIMIT 1")?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((id, last)) = oldest else {
                return Ok(false);
            };
            if last >= cut && self.used()? <= limit {
                return Ok(false);
            }
            let step = self.db.transaction()?;
            step.prepare_cached("DELETE FROM block WHERE flush = ?1")?
                .execute([id])?;
            step.prepare_cached("DELETE FROM flush WHERE id = ?1")?
                .execute([id])?;
            step.commit()?;
        }
        Ok(true)
    }

    /// The flushed readings of one point since a time, oldest first; read back after a restart.
    pub fn recent(&self, point: &str, since: Millis) -> Result<Vec<Sample>, Error> {
        Ok(series::between(&self.db, point, since, Millis::MAX, SAMPLES_MAX)?)
    }

    /// Time of the last reading that was flushed, 0 where there is none.
    pub fn last_flush(&self) -> Millis {
        self.db
            .query_row("SELECT last FROM flush ORDER BY id DESC LIMIT 1", [], |row| {
                row.get(0)
            })
            .unwrap_or(0)
    }

    /// Bytes that the readings take; freed pages are used again and do not count.
    fn used(&self) -> Result<u64, Error> {
        let number = |pragma| self.db.query_row(pragma, [], |row| row.get::<_, u64>(0));
        let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        Ok(pages * number("PRAGMA page_size")?)
    }

    fn write(&mut self, (first, last): (Millis, Millis)) -> Result<(), Error> {
        let step = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.prepare_cached("INSERT INTO flush(first, last) VALUES (?1, ?2)")?
            .execute([first, last])?;
        let flush = step.last_insert_rowid();
        let mut rows: Vec<(i64, &Encoder)> = Vec::with_capacity(self.series.len());
        for (name, series) in &mut self.series {
            if series.encoder.bytes().is_empty() {
                continue;
            }
            let number = match series.number {
                Some(number) => number,
                None => number_of(&step, name)?,
            };
            series.number = Some(number);
            rows.push((number, &series.encoder));
        }
        rows.sort_unstable_by_key(|(number, _)| *number);
        {
            let mut insert =
                step.prepare_cached("INSERT INTO block(flush, point, data) VALUES (?1, ?2, ?3)")?;
            for (number, encoder) in rows {
                insert.execute(params![flush, number, encoder.bytes()])?;
            }
        }
        step.commit()?;
        Ok(())
    }

    fn replace(&mut self) -> Result<(), Error> {
        // The old connection has to be gone before its file is renamed, or closing it would write into the new one's.
        self.db = Connection::open_in_memory()?;
        self.db = begin_anew(&self.dir)?;
        self.series.values_mut().for_each(|series| series.number = None);
        Ok(())
    }
}

fn number_of(db: &Connection, name: &str) -> Result<i64, Error> {
    db.prepare_cached("INSERT INTO name(id) VALUES (?1) ON CONFLICT(id) DO NOTHING")?
        .execute([name])?;
    Ok(db
        .prepare_cached("SELECT point FROM name WHERE id = ?1")?
        .query_row([name], |row| row.get(0))?)
}

/// Renames the broken file to `.broken-<time>`, in place of the one before, and makes a new one.
fn begin_anew(dir: &Path) -> Result<Connection, Error> {
    let path = dir.join(file::HISTORY);
    let at = |source| Error::Directory {
        path: path.clone(),
        source,
    };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{PointId, Value};

    #[test]
    fn a_minute_of_three_thousand_points_stays_below_two_mib_of_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut history = History::open(dir.path()).unwrap();
        let names: Vec<Arc<str>> = (0..3000).map(|n| format!("unit-{n}.value").into()).collect();
        for minute in 0..2 {
            for second in 0..60 {
                for (n, name) in names.iter().enumerate() {
                    let at =
                        1_763_712_000_000 + (minute * 60 + second) * 1000 + n as Millis % 17 * second % 7;
                    let value = (1000 + n as Millis * 31 % 977 + second * second % 89) as f64 / 10.0;
                    history.note(name, &Reading::good(PointId(n as u32), at, Value::Number(value)));
                }
                if history.gathered >= GATHERED_ENOUGH {
                    history.flush(0).unwrap();
                }
            }
            let buffers: usize = history
                .series
                .values()
                .map(|series| series.encoder.capacity())
                .sum();
            let table = history.series.capacity() * 8 / 7 * size_of::<(Arc<str>, Series)>();
            assert!(buffers + table < 2 << 20, "{buffers} + {table} bytes");
            history.flush(0).unwrap();
        }
    }
}
