//! The history as an earlier gatehouse wrote it, one file of SQLite: read as it is until it is too old, and then deleted.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};
use tracing::warn;

use super::chunk::varint;
use super::column::unzigzag;
use super::series::{Sample, from_whole};
use super::{Error, file};
use crate::reading::{Millis, Quality, Value};
use crate::time;

/// The last format; one of more was written by a newer gatehouse.
const FORMAT: i64 = 2;

/// `None` where there is none, or none that anybody here can read.
pub fn open(dir: &Path) -> Result<Option<Connection>, Error> {
    let path = dir.join(file::HISTORY);
    if !path.exists() {
        return Ok(None);
    }
    let db = file::reader(&path)?;
    let format: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok((1..=FORMAT).contains(&format).then_some(db))
}

/// What cannot be read is put aside, in place of the one before.
pub fn look_at(dir: &Path) {
    let of_no_use = match open(dir) {
        Ok(Some(db)) => span(&db).is_err_and(|error| is_damage(&error)),
        Ok(None) => dir.join(file::HISTORY).exists(),
        Err(error) => is_damage(&error),
    };
    if of_no_use && let Err(error) = put_aside(dir) {
        warn!(%error, "The old history cannot be read, and not be put aside either.");
    }
}

/// Deletes it where it is too old or room is wanted; says whether it did.
pub fn gives_way(dir: &Path, cut: Millis, room_is_wanted: bool) -> bool {
    let old = || matches!(open(dir).and_then(|db| db.map(|db| span(&db)).transpose()), Ok(Some(Some((_, last)))) if last < cut);
    if !dir.join(file::HISTORY).exists() || !(room_is_wanted || old()) {
        return false;
    }
    let path = dir.join(file::HISTORY);
    for beside in file::beside(&path) {
        // Mostly it is not there.
        let _ = fs::remove_file(beside);
    }
    fs::remove_file(&path).inspect_err(|error| warn!(%error, "The old history cannot be removed.")).is_ok()
}

pub fn bytes(dir: &Path) -> u64 {
    fs::metadata(dir.join(file::HISTORY)).map_or(0, |file| file.len())
}

/// First and last time of it all.
pub fn span(db: &Connection) -> Result<Option<(Millis, Millis)>, Error> {
    let span =
        db.query_row("SELECT min(first), max(last) FROM flush", [], |row| Ok((row.get(0)?, row.get(1)?)));
    let (first, last): (Option<Millis>, Option<Millis>) = span?;
    Ok(first.zip(last))
}

/// First and last time of what was written at once, as far as it touches the time asked for.
pub fn spans(db: &Connection, from: Millis, to: Millis) -> Result<Vec<(Millis, Millis)>, Error> {
    let mut query = db.prepare("SELECT first, last FROM flush WHERE last >= ?1 AND first <= ?2")?;
    let rows = query.query_map([from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// CROSS JOIN is SQLite's word for this order, in which the rows come as they are asked for and need no sorting.
const BETWEEN: &str = "SELECT block.data FROM flush CROSS JOIN block ON block.flush = flush.id
         AND block.point = (SELECT point FROM name WHERE id = ?1)
     WHERE flush.last >= ?2 AND flush.first <= ?3 ORDER BY flush.last, flush.first, flush.id";

/// Gives `take` the samples of one point between two times, both included, oldest flush first, until it breaks off.
pub fn between(
    db: &Connection,
    point: &str,
    from: Millis,
    to: Millis,
    mut take: impl FnMut(Sample) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let mut query = db.prepare(BETWEEN)?;
    let mut rows = query.query(params![point, from, to])?;
    while let Some(row) = rows.next()? {
        let mut block = Decoder::new(row.get_ref(0)?.as_blob().unwrap_or_default());
        if block.by_ref().filter(|s| (from..=to).contains(&s.at)).try_for_each(&mut take).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } | Error::Newer { .. } => true,
        Error::Sql(error) => file::is_damage(error),
        _ => false,
    }
}

fn put_aside(dir: &Path) -> std::io::Result<()> {
    warn!("The old history cannot be read; it is put aside.");
    let path = dir.join(file::HISTORY);
    let prefix = format!("{}.broken-", file::HISTORY);
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // One is enough for whoever wants to look; more would fill the disk.
            fs::remove_file(entry.path())?;
        }
    }
    for beside in file::beside(&path) {
        // Not there is fine.
        let _ = fs::remove_file(beside);
    }
    fs::rename(&path, dir.join(format!("{prefix}{}", time::now())))
}

// ---------------------------------------------------------------------------------------------- its blocks

const BAD: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const SAME_TEXT: u8 = 3;
const SIGNED: u8 = 4;
const UNSIGNED: u8 = 5;
const TEXT: u8 = 6;
const RAW: u8 = 7;
const DECIMAL: u8 = 8;
const KIND: u8 = 0x0f;
const UNCERTAIN: u8 = 0x10;

/// What the next sample is told against.
#[derive(Debug, Clone, Default)]
struct Before {
    at: Millis,
    step: Millis,
    whole: i64,
    decimals: u8,
    text: Option<Arc<str>>,
}

impl Before {
    /// The last whole number at more decimals.
    fn refine(&mut self, decimals: u8) {
        for _ in self.decimals..decimals {
            self.whole = self.whole.wrapping_mul(10);
        }
        self.decimals = decimals;
    }
}

/// A series being read; ends at the end of the bytes, or where they make no sense.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    before: Before,
    first: bool,
}

impl<'a> Decoder<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, before: Before::default(), first: true }
    }

    fn sample(&mut self) -> Option<Sample> {
        let [tag] = self.take()?;
        let at = self.time()?;
        let value = self.value(tag & KIND)?;
        let quality = match (&value, tag & UNCERTAIN != 0) {
            (None, _) => Quality::Bad,
            (_, true) => Quality::Uncertain,
            (_, false) => Quality::Good,
        };
        Some(Sample { at, value, quality })
    }

    fn time(&mut self) -> Option<Millis> {
        let step = self.signed()?.wrapping_add(self.before.step);
        self.before.at = self.before.at.wrapping_add(step);
        self.before.step = if self.first { 0 } else { step };
        self.first = false;
        Some(self.before.at)
    }

    /// The outer `None`: the bytes make no sense.
    fn value(&mut self, kind: u8) -> Option<Option<Value>> {
        Some(Some(match kind {
            BAD => return Some(None),
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            SAME_TEXT => Value::Text(self.before.text.clone()?),
            SIGNED => Value::Signed(self.whole()?),
            UNSIGNED => Value::Unsigned(self.whole()?.cast_unsigned()),
            TEXT => Value::Text(self.text()?),
            RAW => Value::Number(f64::from_le_bytes(self.take()?)),
            _ => {
                let decimals = kind - DECIMAL;
                if decimals < self.before.decimals {
                    return None;
                }
                self.before.refine(decimals);
                Value::Number(from_whole(self.whole()?, decimals))
            }
        }))
    }

    fn whole(&mut self) -> Option<i64> {
        self.before.whole = self.before.whole.wrapping_add(self.signed()?);
        Some(self.before.whole)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let len = usize::try_from(varint(&mut self.rest)?).ok()?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        let text: Arc<str> = std::str::from_utf8(text).ok()?.into();
        self.before.text = Some(text.clone());
        Some(text)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn signed(&mut self) -> Option<i64> {
        varint(&mut self.rest).map(unzigzag)
    }
}

impl Iterator for Decoder<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let sample = self.sample();
        if sample.is_none() {
            self.rest = &[];
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the gatehouse of 2026-11-21 wrote it: three hand-overs of a number, of a door, and of one of every kind.
    const OLD: &[u8] = include_bytes!("../../tests/history/format-2.db");
    const T0: Millis = 1_763_712_000_000;

    fn read(dir: &Path, point: &str) -> Vec<Sample> {
        let db = open(dir).unwrap().unwrap();
        let mut samples = Vec::new();
        let taken = between(&db, point, T0, T0 + 1_000_000, |sample| {
            samples.push(sample);
            ControlFlow::Continue(())
        });
        assert!(taken.unwrap().is_continue());
        samples
    }

    #[test]
    fn a_history_of_sqlite_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file::HISTORY), OLD).unwrap();
        let numbers = read(dir.path(), "pump-1.pressure");
        assert_eq!(numbers.len(), 303);
        assert_eq!((numbers[0].at, &numbers[0].value), (T0, &Some(Value::Number(300.0))));
        assert_eq!((numbers[100].quality, &numbers[100].value), (Quality::Bad, &None));
        assert_eq!((numbers[301].at, &numbers[301].value), (T0 + 299_000, &Some(Value::Number(329.9))));
        let doors: Vec<_> =
            read(dir.path(), "b3-door.door").into_iter().map(|s| (s.quality, s.value)).collect();
        let door = |word: &str| (Quality::Uncertain, Some(Value::Text(word.into())));
        assert_eq!(doors, [door("closed"), door("open"), door("closed")]);
        let text = || Value::Text("水压低".into());
        let every = [
            Value::Bool(true),
            Value::Signed(-7),
            Value::Unsigned(u64::MAX),
            Value::Number(std::f64::consts::PI),
            text(),
            text(),
        ];
        let samples = read(dir.path(), "x.every");
        assert_eq!(samples.len(), 18);
        assert!(samples.iter().zip(every.iter().cycle()).all(|(s, value)| s.value.as_ref() == Some(value)));
    }

    #[test]
    fn it_goes_once_it_is_too_old_or_room_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file::HISTORY);
        fs::write(&path, OLD).unwrap();
        assert!(!gives_way(dir.path(), T0, false) && path.exists());
        assert!(gives_way(dir.path(), T0 + 1_000_000, false) && !path.exists());
        fs::write(&path, OLD).unwrap();
        assert!(gives_way(dir.path(), T0, true) && !path.exists());
        assert!(!gives_way(dir.path(), T0, true));
    }

    #[test]
    fn a_plot_looks_only_at_what_ends_after_it_begins_and_sorts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(file::HISTORY), OLD).unwrap();
        let db = open(dir.path()).unwrap().unwrap();
        let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN {BETWEEN}")).unwrap();
        let rows = query.query_map(params!["p.v", 0, 1], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = rows.map(Result::unwrap).collect();
        let plan = plan.join("; ");
        assert!(plan.contains("flush USING COVERING INDEX flush_span (last>?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }

    proptest! {
        #[test]
        fn noise_ends_a_series_and_nothing_else(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Decoder::new(&data).count() <= data.len());
        }
    }
}
