//! What the history holds, for who reads: readings where there are readings, rollups before.
//!
//! A reader takes no lock and waits for nobody: memory says up to where the files go, and a file never changes before that.
//! A file may go at any time; its rollup is written before. So a look goes from coarse to fine with the rollup open: where
//! what that was made of can be opened it is taken, else the rollup, and whatever goes later goes from the names alone.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rusqlite::Connection;
use tracing::warn;

use super::frame::{Head, split};
use super::gathered::{End, Recent, Shared};
use super::rollup::{self, Summary};
use super::segment::{FOLDER, LEVELS, Level, Segment};
use super::series::Sample;
use super::{Error, chunk, legacy};
use crate::reading::Millis;

/// An open history, for one question.
#[derive(Debug)]
pub struct Readings {
    dir: PathBuf,
    /// `None` for who looks from outside of the daemon.
    gathered: Option<Shared>,
    legacy: Option<Connection>,
}

/// What is known of a time.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Reading(Sample),
    /// What is left of readings that have given way, and how long a time it speaks of.
    Rollup(Summary, Millis),
    /// A minute of readings that are still there.
    Minute(Summary),
}

const MINUTE: Millis = Level::Minutes.stretch();
const HOUR: Millis = Level::Hours.stretch();

/// One look at it all.
#[derive(Debug)]
struct Look<'a> {
    readings: &'a Readings,
    recent: Recent,
    /// The last segments of readings and of minutes: no rollup of them is there yet, so they are held open.
    last: [Option<(u32, Rc<Segment>)>; 2],
}

/// What is left of one segment in a coarser one.
#[derive(Debug)]
struct Rollup<'a> {
    level: Level,
    segment: &'a Segment,
    frames: Vec<(u64, Head)>,
}

/// Is given each segment of readings, or its rollup; both where both are whole.
type Take<'a> = &'a mut dyn FnMut(Option<&Segment>, Option<&Rollup<'_>>) -> io::Result<()>;

impl Readings {
    pub(super) fn open(dir: &Path, gathered: Option<Shared>) -> Result<Self, Error> {
        // One that cannot be read is none: it is put aside at the next start.
        let legacy = legacy::open(dir).unwrap_or_default();
        Ok(Self { dir: dir.to_owned(), gathered, legacy })
    }

    /// First and last time of what was written at once, in order, as far as it touches the time asked for.
    pub fn spans(&self, from: Millis, to: Millis) -> Result<Vec<(Millis, Millis)>, Error> {
        let look = self.look(None)?;
        let mut spans = match &self.legacy {
            Some(db) => legacy::spans(db, from, to)?,
            None => Vec::new(),
        };
        spans.extend(look.recent.spans.iter().filter(|span| span.1 >= from && span.0 <= to));
        look.each((from, to), &mut |readings, rollup| {
            let mut add = |head: &Head| spans.extend(head.touches(from, to).then_some(head.span));
            match (readings, rollup) {
                (Some(readings), _) => {
                    for frame in readings.frames() {
                        add(&frame?.1);
                    }
                }
                (None, Some(rollup)) => rollup.frames.iter().for_each(|(_, head)| add(head)),
                (None, None) => {}
            }
            Ok(())
        })?;
        spans.sort_unstable();
        spans.dedup();
        Ok(spans)
    }

    /// Until when there is no more than rollups, for some of the time asked for at least.
    pub fn rolled_up_to(&self, from: Millis, to: Millis) -> Result<Option<Millis>, Error> {
        let mut until = None;
        self.look(None)?.each((from, to), &mut |readings, rollup| {
            let gone = rollup.filter(|_| readings.is_none()).into_iter().flat_map(|rollup| &rollup.frames);
            let gone = gone.filter(|(_, head)| head.touches(from, to)).map(|(_, head)| head.span.1.min(to));
            until = until.max(gone.max());
            Ok(())
        })?;
        Ok(until)
    }

    /// Time of the oldest reading of which something is kept, of whichever point.
    pub fn since(&self) -> Result<Option<Millis>, Error> {
        let look = self.look(None)?;
        let mut since = match &self.legacy {
            Some(db) => legacy::span(db)?.map(|(first, _)| first),
            None => None,
        };
        let mut older = |first: Millis| since = Some(since.map_or(first, |since| since.min(first)));
        look.recent.spans.iter().for_each(|span| older(span.0));
        for level in LEVELS {
            if let Some(first) = look.first(level)? {
                older(first);
            }
        }
        Ok(since)
    }

    /// Gives `take` the readings of one point between two times, both included, oldest hand-over first; however many
    /// there are, a few minutes of them are in memory.
    pub fn between(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        mut take: impl FnMut(Sample),
    ) -> Result<(), Error> {
        self.until(point, from, to, |sample| {
            take(sample);
            ControlFlow::Continue(())
        })
    }

    /// The same, until `take` breaks off.
    pub(super) fn until(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        mut take: impl FnMut(Sample) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if let Some(db) = &self.legacy
            && legacy::between(db, point, from, to, &mut take)?.is_break()
        {
            return Ok(());
        }
        let look = self.look(Some(point))?;
        for number in look.numbers(Level::Readings)? {
            let Some(segment) = look.opened(Level::Readings, number) else { continue };
            match samples(&segment, point, &[(from, to)], &mut take) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(error) => passed_over(&error),
            }
        }
        let asked = |sample: &Sample| (from..=to).contains(&sample.at);
        // Broken off or not, this is the end of it.
        let _ = look.recent.samples(point).filter(asked).try_for_each(take);
        Ok(())
    }

    /// The same with what is left of readings that have given way, in its place: the rollups that begin between the two
    /// times.
    pub fn all(&self, point: &str, from: Millis, to: Millis, take: impl FnMut(Piece)) -> Result<(), Error> {
        self.pieces(point, (from, to), &(0..0), take)
    }

    /// The same in no order, with whole minutes in the place of readings wherever there are minutes beside them: a month
    /// of readings is told in a fraction of the time. Counts, least and greatest are those of the readings; a sum may be
    /// off by half a step of the last decimal.
    pub fn in_minutes(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        take: impl FnMut(Piece),
    ) -> Result<(), Error> {
        self.pieces(point, (from, to), &whole_minutes(from, to), take)
    }

    /// `whole`: where minutes may stand for readings.
    fn pieces(
        &self,
        point: &str,
        (from, to): (Millis, Millis),
        whole: &Range<Millis>,
        mut take: impl FnMut(Piece),
    ) -> Result<(), Error> {
        let look = self.look(Some(point))?;
        let readings = |sample, take: &mut dyn FnMut(Piece)| {
            take(Piece::Reading(sample));
            ControlFlow::Continue(())
        };
        if let Some(db) = &self.legacy {
            let _ = legacy::between(db, point, from, to, &mut |sample| readings(sample, &mut take))?;
        }
        look.each((from, to), &mut |segment, rollup| {
            let minutes = rollup.filter(|_| segment.is_some() && !whole.is_empty());
            let minutes = minutes.and_then(|rollup| rollup.minutes(point).unwrap_or_default());
            let times = match &minutes {
                Some(_) => [(from, whole.start - 1), (whole.end, to)],
                None => [(from, to), (to, from)],
            };
            let minutes = minutes.into_iter().flatten().filter(|row| whole.contains(&row.at));
            minutes.for_each(|row| take(Piece::Minute(row)));
            match (segment, rollup) {
                (Some(segment), _) => {
                    samples(segment, point, &times, &mut |sample| readings(sample, &mut take)).map(drop)
                }
                (None, Some(rollup)) => rollup.tell(point, (from, to), &mut take),
                (None, None) => Ok(()),
            }
        })?;
        let asked = |sample: &Sample| (from..=to).contains(&sample.at);
        look.recent.samples(point).filter(asked).for_each(|sample| take(Piece::Reading(sample)));
        Ok(())
    }

    fn look(&self, point: Option<&str>) -> Result<Look<'_>, Error> {
        let mut look = Look { readings: self, recent: Recent::default(), last: [None, None] };
        let Some(gathered) = &self.gathered else {
            look.last[1] = look.hold(Level::Minutes, look.numbers(Level::Minutes)?.last().copied());
            look.last[0] = look.hold(Level::Readings, look.numbers(Level::Readings)?.last().copied());
            return Ok(look);
        };
        loop {
            look.last = [None, None];
            look.recent = gathered.lock().recent(point);
            look.last[1] = look.hold(Level::Minutes, look.numbers(Level::Minutes)?.last().copied());
            let last = look.recent.written.map(|written| written.readings);
            let held = look.hold(Level::Readings, last.map(|last| last.segment));
            // Where it has gone, what was written since memory was asked may be in its rollup: memory is asked again.
            if held.is_some() || gathered.lock().written() == look.recent.written {
                look.last[0] = held;
                return Ok(look);
            }
        }
    }

    fn error(&self, why: io::Error) -> Error {
        Error::History { path: self.dir.join(FOLDER), why }
    }
}

impl Look<'_> {
    /// Gives `take` what there is of each segment of readings that touches the time asked for, oldest first where nothing
    /// was ever damaged. What a tired disk does not give is passed over.
    fn each(&self, (from, to): (Millis, Millis), take: Take<'_>) -> Result<(), Error> {
        let (mut minutes, mut readings) = (HashSet::new(), HashSet::new());
        for number in self.numbers(Level::Hours)? {
            let Some(hours) = self.opened(Level::Hours, number) else { continue };
            for (source, rollup) in rollups(Level::Hours, &hours) {
                if !minutes.insert(source) || !rollup.touches(from.saturating_sub(HOUR), to) {
                    continue;
                }
                match self.open(Level::Minutes, source) {
                    Ok(Some(segment)) => self.each_of(source, &segment, (from, to), &mut readings, take),
                    Ok(None) => take(None, Some(&rollup)).unwrap_or_else(|error| passed_over(&error)),
                    Err(error) => passed_over(&error),
                }
            }
        }
        for number in self.numbers(Level::Minutes)? {
            if minutes.insert(number)
                && let Some(segment) = self.opened(Level::Minutes, number)
            {
                self.each_of(number, &segment, (from, to), &mut readings, take);
            }
        }
        for number in self.numbers(Level::Readings)? {
            if readings.insert(number)
                && let Some(segment) = self.opened(Level::Readings, number)
            {
                take(Some(&segment), None).unwrap_or_else(|error| passed_over(&error));
            }
        }
        Ok(())
    }

    /// The same of what a segment of minutes was made of; `met` is not looked for again.
    fn each_of(
        &self,
        number: u32,
        minutes: &Segment,
        (from, to): (Millis, Millis),
        met: &mut HashSet<u32>,
        take: Take<'_>,
    ) {
        let written = self.recent.written;
        for (source, mut rollup) in rollups(Level::Minutes, minutes) {
            if source == 0 {
                // Never written as readings; the last of it may still be in memory.
                let in_files = |bytes| written.is_none_or(|w| End { segment: number, bytes } < w.minutes);
                rollup.frames.retain(|(at, _)| in_files(*at));
            } else if !met.insert(source) || written.is_some_and(|written| source > written.begun) {
                continue;
            }
            if !rollup.touches(from.saturating_sub(MINUTE), to) {
                continue;
            }
            let opened = if source == 0 { Ok(None) } else { self.open(Level::Readings, source) };
            // What memory has as well is asked there.
            let in_files = written.is_none_or(|written| source < written.readings.segment);
            let taken = match opened {
                Ok(Some(readings)) => {
                    take(Some(&readings), Some(&rollup).filter(|_| in_files && rollup.is_whole()))
                }
                Ok(None) => take(None, Some(&rollup)),
                Err(error) => Err(error),
            };
            taken.unwrap_or_else(|error| passed_over(&error));
        }
    }

    /// The segments there are now, without those that are in memory as a whole.
    fn numbers(&self, level: Level) -> Result<Vec<u32>, Error> {
        let mut numbers = level.numbers(&self.readings.dir).map_err(|why| self.readings.error(why))?;
        if let (Level::Readings, Some(written)) = (level, self.recent.written) {
            numbers.retain(|number| *number < written.readings.segment);
        }
        if let Some((last, _)) = self.held(level)
            && let Err(place) = numbers.binary_search(last)
        {
            numbers.insert(place, *last);
        }
        Ok(numbers)
    }

    fn held(&self, level: Level) -> Option<&(u32, Rc<Segment>)> {
        self.last.get(level as usize)?.as_ref()
    }

    fn hold(&self, level: Level, number: Option<u32>) -> Option<(u32, Rc<Segment>)> {
        let number = number?;
        Some((number, self.opened(level, number)?))
    }

    /// As far as it is not in memory as well. `None`: it has gone.
    fn open(&self, level: Level, number: u32) -> io::Result<Option<Rc<Segment>>> {
        if let Some((_, segment)) = self.held(level).filter(|(last, _)| *last == number) {
            return Ok(Some(segment.clone()));
        }
        let segment = match Segment::open(&level.path(&self.readings.dir, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        Ok(Some(Rc::new(match self.recent.written.map(|written| written.readings) {
            Some(end) if level == Level::Readings && number == end.segment => segment.up_to(end.bytes),
            _ => segment,
        })))
    }

    /// `None`: it has gone, or cannot be read.
    fn opened(&self, level: Level, number: u32) -> Option<Rc<Segment>> {
        self.open(level, number).inspect_err(passed_over).ok()?
    }

    /// Time of the first reading of a level, by the first segment that can be read.
    fn first(&self, level: Level) -> Result<Option<Millis>, Error> {
        for number in self.numbers(level)? {
            let Some(segment) = self.opened(level, number) else { continue };
            let first = segment.frames().flatten().map(|(_, head)| head.span.0).min();
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }
}

impl Rollup<'_> {
    fn touches(&self, from: Millis, to: Millis) -> bool {
        self.frames.iter().any(|(_, head)| head.touches(from, to))
    }

    /// One in the making is not: its last frame says that nothing more follows.
    fn is_whole(&self) -> bool {
        self.frames.last().is_some_and(|(_, head)| !head.more)
    }

    /// The rows that begin between two times.
    fn tell(
        &self,
        point: &str,
        (from, to): (Millis, Millis),
        take: &mut impl FnMut(Piece),
    ) -> io::Result<()> {
        let stretch = self.level.stretch();
        for (at, head) in &self.frames {
            // A row begins before the first reading of it.
            if head.touches(from.saturating_sub(stretch), to)
                && let Some((chunk, number)) = said(self.segment, *at, head, point)?
                && let Some((count, data)) = chunk::part(&chunk, number)
            {
                let rows = rollup::unpack(data, count, stretch).filter(|row| (from..=to).contains(&row.at));
                rows.for_each(|row| take(Piece::Rollup(row, stretch)));
            }
        }
        Ok(())
    }

    /// What minutes have of a point, which may be nothing. `None`: they are damaged, and the readings have to be asked.
    fn minutes(&self, point: &str) -> io::Result<Option<Vec<Summary>>> {
        let (device, short) = split(point);
        let mut rows = Vec::new();
        for (at, head) in &self.frames {
            let Some(index) = self.segment.index(*at, head)? else { return Ok(None) };
            let (Some(number), Some(_)) = (index.number(short), index.place(device)) else { continue };
            let Some(chunk) = self.segment.chunk(*at, &index, device)? else { return Ok(None) };
            let Some((count, data)) = chunk::part(&chunk, number) else { continue };
            let before = rows.len();
            rows.extend(rollup::unpack(data, count, MINUTE));
            if rows.len() - before != count as usize {
                return Ok(None);
            }
        }
        Ok(Some(rows))
    }
}

fn passed_over(error: &io::Error) {
    warn!(%error, "A part of the history cannot be read; it is passed over.");
}

/// What a coarser segment was made of, by number.
fn rollups(level: Level, segment: &Segment) -> BTreeMap<u32, Rollup<'_>> {
    let mut rollups = BTreeMap::new();
    for frame in segment.frames() {
        match frame {
            Ok((at, head)) => {
                let rollup = rollups.entry(head.source);
                rollup
                    .or_insert_with(|| Rollup { level, segment, frames: Vec::new() })
                    .frames
                    .push((at, head));
            }
            Err(error) => passed_over(&error),
        }
    }
    rollups
}

/// Gives `take` the readings of a segment in one of these times.
fn samples(
    segment: &Segment,
    point: &str,
    times: &[(Millis, Millis)],
    take: &mut impl FnMut(Sample) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let asked = |sample: &Sample| times.iter().any(|(from, to)| (*from..=*to).contains(&sample.at));
    for frame in segment.frames() {
        let (at, head) = frame?;
        if times.iter().any(|(from, to)| from <= to && head.touches(*from, *to))
            && let Some((chunk, number)) = said(segment, at, &head, point)?
            && chunk::samples(&chunk, number).filter(asked).try_for_each(&mut *take).is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What the point's device said in a frame, and the number of the point in it.
fn said(segment: &Segment, at: u64, head: &Head, point: &str) -> io::Result<Option<(Vec<u8>, u32)>> {
    let (device, short) = split(point);
    let Some(index) = segment.index(at, head)? else { return Ok(None) };
    let Some(number) = index.number(short) else { return Ok(None) };
    Ok(segment.chunk(at, &index, device)?.map(|chunk| (chunk, number)))
}

/// The minutes that lie within a time as a whole, both its ends included.
fn whole_minutes(from: Millis, to: Millis) -> Range<Millis> {
    let begin = from.saturating_add(MINUTE - 1).div_euclid(MINUTE) * MINUTE;
    begin..to.saturating_add(1).div_euclid(MINUTE) * MINUTE
}

/// Time of the last reading in any file.
pub fn newest(dir: &Path) -> Option<Millis> {
    for number in Level::Readings.numbers(dir).ok()?.into_iter().rev() {
        let segment = Segment::open(&Level::Readings.path(dir, number)).ok()?;
        let last = segment.frames().flatten().last().map(|(_, head)| head.span.1);
        if last.is_some() {
            return last;
        }
    }
    let db = legacy::open(dir).ok()??;
    Some(legacy::span(&db).ok()??.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{PointId, Reading, Value};
    use crate::store::roll;
    use crate::store::shelf::Shelf;

    #[test]
    fn what_is_in_a_file_and_in_memory_still_is_told_once() {
        for level in [Level::Readings, Level::Minutes] {
            let dir = tempfile::tempdir().unwrap();
            let shared = Shared::default();
            let mut shelf = Shelf::open(dir.path()).unwrap();
            shared.lock().set_reach(shelf.written());
            let past = Readings::open(dir.path(), Some(shared.clone())).unwrap();
            let count = || {
                let mut count = 0;
                let add = |piece| match piece {
                    Piece::Reading(_) => count += 1,
                    Piece::Rollup(row, _) | Piece::Minute(row) => count += row.count,
                };
                past.all("p.v", 0, Millis::MAX, add).unwrap();
                count
            };
            for part in 1..=3 {
                for n in 0..100 {
                    let reading = Reading::good(PointId(0), i64::from(part * 100 + n), Value::Signed(7));
                    assert!(shared.lock().note(&"p.v".into(), &reading, usize::MAX));
                }
                let frame = shared.lock().hand_over().unwrap();
                match level {
                    Level::Readings => shelf.append(level, &frame).unwrap(),
                    _ => shelf.append(level, &roll::minutes_of(&frame)).unwrap(),
                }
                assert_eq!(count(), part * 100, "{level:?}, before memory lets it go");
                shared.lock().set_written(shelf.written());
                assert_eq!(count(), part * 100, "{level:?}");
            }
        }
    }
}
