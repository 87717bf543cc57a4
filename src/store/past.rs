//! What the history holds, for who reads: readings where there are readings, rollups before.
//!
//! A reader takes no lock and waits for nobody: memory says up to where the files go, and a file never changes before that.

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::warn;

use super::frame::{Head, split};
use super::gathered::{Recent, Shared};
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

/// Segments of readings whose minutes are all there beside them, and the span of each.
type Summed = HashMap<u32, (Millis, Millis)>;

/// One look at it all.
#[derive(Debug)]
struct Look<'a> {
    readings: &'a Readings,
    recent: Recent,
    /// The segments there are, by level.
    present: [Vec<u32>; 3],
}

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
        for level in LEVELS {
            let mut add = |_: &Segment, _: u64, head: &Head| {
                spans.push(head.span);
                Ok(ControlFlow::Continue(()))
            };
            let _ = look.frames(level, from, to, &mut add);
        }
        spans.sort_unstable();
        spans.dedup();
        Ok(spans)
    }

    /// Until when there is no more than rollups, for some of the time asked for at least.
    pub fn rolled_up_to(&self, from: Millis, to: Millis) -> Result<Option<Millis>, Error> {
        let look = self.look(None)?;
        let mut until = None;
        for level in [Level::Hours, Level::Minutes] {
            let mut add = |_: &Segment, _: u64, head: &Head| {
                until = until.max(Some(head.span.1.min(to)));
                Ok(ControlFlow::Continue(()))
            };
            let _ = look.frames(level, from, to, &mut add);
        }
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
            if let Some(first) = look.first(level) {
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
        self.look(Some(point))?.readings(point, from, to, &|_| true, &mut take)
    }

    /// The same with what is left of readings that have given way: first the rollups that begin between the two times,
    /// then the readings.
    pub fn all(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        mut take: impl FnMut(Piece),
    ) -> Result<(), Error> {
        let look = self.look(Some(point))?;
        for level in [Level::Hours, Level::Minutes] {
            look.rollups(level, point, from, to, &mut take);
        }
        look.readings(point, from, to, &|_| true, &mut |sample| {
            take(Piece::Reading(sample));
            ControlFlow::Continue(())
        })
    }

    /// The same in no order, with whole minutes in the place of readings wherever there are minutes beside them: a month
    /// of readings is told in a fraction of the time. Counts, least and greatest are those of the readings; a sum may be
    /// off by half a step of the last decimal.
    pub fn in_minutes(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        mut take: impl FnMut(Piece),
    ) -> Result<(), Error> {
        let whole = whole_minutes(from, to);
        let look = self.look(Some(point))?;
        let summed = if whole.is_empty() { Summed::new() } else { look.minutes(point, &whole, &mut take) };
        for level in [Level::Hours, Level::Minutes] {
            look.rollups(level, point, from, to, &mut take);
        }
        let mut reading = |sample| {
            take(Piece::Reading(sample));
            ControlFlow::Continue(())
        };
        for (from, to) in [(from, whole.start - 1), (whole.end, to)] {
            let is_there = |number| summed.get(&number).is_some_and(|span| span.1 >= from && span.0 <= to);
            if !whole.is_empty() && from <= to {
                let _ = look.samples(point, from, to, &is_there, &mut reading);
            }
        }
        look.readings(point, from, to, &|number| !summed.contains_key(&number), &mut reading)
    }

    fn look(&self, point: Option<&str>) -> Result<Look<'_>, Error> {
        let recent = self.gathered.as_ref().map(|gathered| gathered.lock().recent(point)).unwrap_or_default();
        let mut present = [const { Vec::new() }; 3];
        for level in LEVELS {
            present[level as usize] = level.numbers(&self.dir).map_err(|why| self.error(why))?;
        }
        Ok(Look { readings: self, recent, present })
    }

    fn error(&self, why: io::Error) -> Error {
        Error::History { path: self.dir.join(FOLDER), why }
    }
}

impl Look<'_> {
    /// Those of the segments that are `wanted`, and what is in none.
    fn readings(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        wanted: &dyn Fn(u32) -> bool,
        take: &mut impl FnMut(Sample) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        if let Some(db) = &self.readings.legacy
            && legacy::between(db, point, from, to, &mut *take)?.is_break()
        {
            return Ok(());
        }
        if self.samples(point, from, to, wanted, take).is_continue() {
            // Broken off or not, this is the end of it.
            let asked = |sample: &Sample| (from..=to).contains(&sample.at);
            let _ = self.recent.samples(point).filter(asked).try_for_each(take);
        }
        Ok(())
    }

    /// Out of segments.
    fn samples(
        &self,
        point: &str,
        from: Millis,
        to: Millis,
        wanted: &dyn Fn(u32) -> bool,
        take: &mut impl FnMut(Sample) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let asked = |sample: &Sample| (from..=to).contains(&sample.at);
        let mut each =
            |chunk: &[u8], number| chunk::samples(chunk, number).filter(asked).try_for_each(&mut *take);
        self.chunks(Level::Readings, point, from, to, wanted, &mut each)
    }

    /// Gives `take` the whole minutes of readings that are there as well; answers with the segments that need not be read
    /// for them.
    fn minutes(&self, point: &str, whole: &Range<Millis>, take: &mut impl FnMut(Piece)) -> Summed {
        let (from, to) = (whole.start, whole.end - 1);
        // What memory has as well is asked there.
        let in_files = |source: u32| self.recent.end.is_none_or(|end| source < end.segment);
        let present = &self.present[Level::Readings as usize];
        let is_there = |head: &Head| in_files(head.source) && present.binary_search(&head.source).is_ok();
        // A rollup in the making is none: its last frame says that it is whole.
        let mut summed = Summed::new();
        let mut broken = HashSet::new();
        for number in &self.present[Level::Minutes as usize] {
            let mut each = |_: &Segment, _: u64, head: &Head| {
                if !head.more && is_there(head) && head.touches(from, to) {
                    summed.insert(head.source, head.span);
                }
                Ok(ControlFlow::Continue(()))
            };
            if self.segment(Level::Minutes, *number, &mut each).is_err() {
                broken.insert(*number);
            }
        }
        let (device, short) = split(point);
        let mut rows: HashMap<u32, Vec<Summary>> = HashMap::new();
        for number in self.present[Level::Minutes as usize].iter().filter(|number| !broken.contains(*number))
        {
            let mut each = |segment: &Segment, at: u64, head: &Head| {
                if !summed.contains_key(&head.source) {
                    return Ok(ControlFlow::Continue(()));
                }
                match minutes_in(segment, at, head, device, short)? {
                    Some(some) => rows.entry(head.source).or_default().extend(some),
                    None => drop(summed.remove(&head.source)),
                }
                Ok(ControlFlow::Continue(()))
            };
            if self.segment(Level::Minutes, *number, &mut each).is_err() {
                return Summed::new();
            }
        }
        let rows = rows.into_iter().filter(|(source, _)| summed.contains_key(source));
        let rows = rows.flat_map(|(_, rows)| rows).filter(|row| whole.contains(&row.at));
        rows.for_each(|row| take(Piece::Minute(row)));
        summed
    }

    fn rollups(&self, level: Level, point: &str, from: Millis, to: Millis, take: &mut impl FnMut(Piece)) {
        let stretch = level.stretch();
        let mut each = |chunk: &[u8], number| {
            if let Some((count, data)) = chunk::part(chunk, number) {
                let rows = rollup::unpack(data, count, stretch).filter(|row| (from..=to).contains(&row.at));
                rows.for_each(|row| take(Piece::Rollup(row, stretch)));
            }
            ControlFlow::Continue(())
        };
        // A row begins before the first reading of it.
        let _ = self.chunks(level, point, from.saturating_sub(stretch), to, &|_| true, &mut each);
    }

    /// Gives `take` what the point's device said in each frame, and the number of the point in it.
    fn chunks(
        &self,
        level: Level,
        point: &str,
        from: Millis,
        to: Millis,
        wanted: &dyn Fn(u32) -> bool,
        take: &mut impl FnMut(&[u8], u32) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (device, short) = split(point);
        let mut each = |segment: &Segment, at: u64, head: &Head| {
            if let Some(index) = segment.index(at, head)?
                && let Some(number) = index.number(short)
                && let Some(chunk) = segment.chunk(at, &index, device)?
            {
                return Ok(take(&chunk, number));
            }
            Ok(ControlFlow::Continue(()))
        };
        self.frames_of(level, from, to, wanted, &mut each)
    }

    /// Those that touch the time asked for and of which the finer ones are gone. What a tired disk does not give is
    /// passed over.
    fn frames(
        &self,
        level: Level,
        from: Millis,
        to: Millis,
        take: &mut impl FnMut(&Segment, u64, &Head) -> io::Result<ControlFlow<()>>,
    ) -> ControlFlow<()> {
        self.frames_of(level, from, to, &|_| true, take)
    }

    /// The same out of the segments that are `wanted`.
    fn frames_of(
        &self,
        level: Level,
        from: Millis,
        to: Millis,
        wanted: &dyn Fn(u32) -> bool,
        take: &mut impl FnMut(&Segment, u64, &Head) -> io::Result<ControlFlow<()>>,
    ) -> ControlFlow<()> {
        for number in self.present[level as usize].iter().filter(|number| wanted(**number)) {
            let mut each = |segment: &Segment, at: u64, head: &Head| {
                let asked = head.touches(from, to) && self.counts(level, head);
                if asked { take(segment, at, head) } else { Ok(ControlFlow::Continue(())) }
            };
            match self.segment(level, *number, &mut each) {
                Ok(flow) => flow?,
                Err(error) => warn!(%error, "A part of the history cannot be read; it is passed over."),
            }
        }
        ControlFlow::Continue(())
    }

    fn counts(&self, level: Level, head: &Head) -> bool {
        let finer = match level {
            Level::Readings => return true,
            Level::Minutes => Level::Readings,
            Level::Hours => Level::Minutes,
        };
        self.present[finer as usize].binary_search(&head.source).is_err()
    }

    /// The frames of a segment, as far as they are not in memory as well; none where it has just been deleted.
    fn segment(
        &self,
        level: Level,
        number: u32,
        take: &mut impl FnMut(&Segment, u64, &Head) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<ControlFlow<()>> {
        let mut segment = match Segment::open(&level.path(&self.readings.dir, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(())),
            opened => opened?,
        };
        match self.recent.end.filter(|_| level == Level::Readings) {
            Some(end) if number > end.segment => return Ok(ControlFlow::Continue(())),
            Some(end) if number == end.segment => segment = segment.up_to(end.bytes),
            _ => {}
        }
        for frame in segment.frames() {
            let (at, head) = frame?;
            if take(&segment, at, &head)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Time of the first reading of a level, by the first segment that can be read.
    fn first(&self, level: Level) -> Option<Millis> {
        let mut first: Option<Millis> = None;
        for number in &self.present[level as usize] {
            let mut each = |_: &Segment, _: u64, head: &Head| {
                first = Some(first.map_or(head.span.0, |first| first.min(head.span.0)));
                Ok(ControlFlow::Continue(()))
            };
            // What cannot be read is not the first.
            let _ = self.segment(level, *number, &mut each);
            if first.is_some() {
                break;
            }
        }
        first
    }
}

/// The minutes that lie within a time as a whole, both its ends included.
fn whole_minutes(from: Millis, to: Millis) -> Range<Millis> {
    let begin = from.saturating_add(MINUTE - 1).div_euclid(MINUTE) * MINUTE;
    begin..to.saturating_add(1).div_euclid(MINUTE) * MINUTE
}

/// What a frame of minutes has of a point, which may be nothing. `None`: it is damaged, and the readings have to be asked.
fn minutes_in(
    segment: &Segment,
    at: u64,
    head: &Head,
    device: &str,
    short: &str,
) -> io::Result<Option<Vec<Summary>>> {
    let Some(index) = segment.index(at, head)? else { return Ok(None) };
    let (Some(number), Some(_)) = (index.number(short), index.place(device)) else {
        return Ok(Some(Vec::new()));
    };
    let Some(chunk) = segment.chunk(at, &index, device)? else { return Ok(None) };
    let Some((count, data)) = chunk::part(&chunk, number) else { return Ok(Some(Vec::new())) };
    let rows: Vec<Summary> = rollup::unpack(data, count, MINUTE).collect();
    Ok((rows.len() == count as usize).then_some(rows))
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
