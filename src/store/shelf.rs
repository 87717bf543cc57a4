//! All segments as the history's thread knows them: which one is written, when it is full, what gives way.
//!
//! A full segment of readings is rolled up into minutes at once, one of minutes into hours, so that it can go at any time.
//! A rollup says of which segment it is and counts only where that one is gone: nothing is ever seen twice.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::frame::Frame;
use super::gathered::{End, Written};
use super::legacy;
use super::roll::Rolled;
use super::scribe::Retire;
use super::segment::{FOLDER, LEVELS, Level, Segment, Tail};
use crate::reading::Millis;
use crate::time;

#[derive(Debug)]
pub struct Shelf {
    dir: PathBuf,
    rows: [Row; 3],
    /// Bytes at which a segment is full.
    full: u64,
}

/// The segments of one level.
#[derive(Debug, Default)]
struct Row {
    known: Vec<Known>,
    tail: Option<(u32, Tail)>,
    /// Segments of the finer level of which this one has the rollup.
    sources: HashSet<u32>,
    /// The highest number so far.
    last: u32,
    /// A rollup is half written: the rest of it goes into the same segment.
    halfway: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u32,
    /// What is whole of it, from its begin.
    end: u64,
    /// In the file.
    bytes: u64,
    span: (Millis, Millis),
    /// Nothing more is written to it.
    full: bool,
}

const FULL_BYTES: u64 = 8 << 20;
const FULL_BYTES_MIN: u64 = 64 << 10;
/// A segment is full after so long, too: what is too old goes by segments.
const FULL_AGE: Millis = 6 * 3_600_000;

impl Shelf {
    /// Looks at the head of each frame. Files without any are put aside.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir.join(FOLDER))?;
        let mut shelf = Self { dir: dir.to_owned(), rows: Default::default(), full: FULL_BYTES };
        let mut damaged = 0;
        for level in LEVELS {
            for number in level.numbers(dir)? {
                match shelf.look_at(level, number) {
                    Ok(bytes) => damaged += bytes,
                    // The card may give it another time; it is left where it is.
                    Err(error) => {
                        warn!(%error, number, "A part of the history cannot be read; it is passed over.");
                    }
                }
            }
        }
        shelf.close_what_is_full();
        if damaged > 0 {
            warn!(
                bytes = damaged,
                "Parts of the history are damaged; they are passed over, the rest is as it was."
            );
        }
        Ok(shelf)
    }

    /// Only the last one of each level takes more, and only where it has no rollup.
    fn close_what_is_full(&mut self) {
        for level in LEVELS {
            let rolled = level.coarser().map(|coarser| self.rows[coarser as usize].sources.clone());
            let known = &mut self.row(level).known;
            let last = known.len().saturating_sub(1);
            for (n, known) in known.iter_mut().enumerate() {
                known.full = n < last || rolled.as_ref().is_some_and(|rolled| rolled.contains(&known.number));
            }
        }
    }

    /// Where the files end, for who reads them beside what is in memory.
    pub fn written(&self) -> Written {
        let end = |level: Level| {
            let last = self.rows[level as usize].known.last();
            last.map_or(End::default(), |last| End { segment: last.number, bytes: last.end })
        };
        Written {
            readings: end(Level::Readings),
            minutes: end(Level::Minutes),
            begun: self.highest(Level::Readings),
        }
    }

    pub fn append(&mut self, level: Level, frame: &Frame) -> io::Result<()> {
        self.fill(level, frame.span.1);
        let (number, mut tail) = self.tail(level)?;
        let outcome = tail.append(frame);
        let end = tail.end();
        let row = self.row(level);
        row.tail = Some((number, tail));
        outcome?;
        row.halfway = frame.more;
        if !frame.more {
            row.sources.insert(frame.source);
        }
        match row.known.last_mut().filter(|known| known.number == number) {
            Some(known) => {
                known.span = (known.span.0.min(frame.span.0), known.span.1.max(frame.span.1));
                (known.end, known.bytes) = (end, end);
            }
            None => row.known.push(Known { number, end, bytes: end, span: frame.span, full: false }),
        }
        Ok(())
    }

    /// Rolls up one full segment that has no rollup yet; says whether there may be more of them.
    pub fn roll_up(&mut self) -> io::Result<bool> {
        for level in [Level::Readings, Level::Minutes] {
            let Some(coarser) = level.coarser() else { continue };
            let sources = &self.rows[coarser as usize].sources;
            let waits = |known: &&Known| known.full && !sources.contains(&known.number);
            if let Some(known) = self.rows[level as usize].known.iter().find(waits).copied() {
                self.roll(level, coarser, known)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Deletes one of the segments that are to go; says whether there may be more of them.
    pub fn bite(&mut self, retire: Retire) -> io::Result<bool> {
        self.full = (retire.limit / 16).clamp(FULL_BYTES_MIN, FULL_BYTES);
        let used = self.used();
        if legacy::gives_way(&self.dir, retire.cut, used > retire.limit) {
            return Ok(true);
        }
        for level in LEVELS {
            let old = self.rows[level as usize].known.iter().find(|known| known.span.1 < retire.cut);
            if let Some(old) = old.copied() {
                self.remove(level, old.number)?;
                return Ok(true);
            }
        }
        if used <= retire.limit {
            return Ok(false);
        }
        for level in LEVELS {
            if let Some(oldest) = self.rows[level as usize].known.first().copied() {
                self.keep_rollup(level, oldest);
                self.remove(level, oldest.number)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes in all files.
    fn used(&self) -> u64 {
        let bytes = |row: &Row| row.known.iter().map(|known| known.bytes).sum::<u64>();
        self.rows.iter().map(bytes).sum::<u64>() + legacy::bytes(&self.dir)
    }

    fn row(&mut self, level: Level) -> &mut Row {
        &mut self.rows[level as usize]
    }

    /// Returns how many bytes of it are damaged.
    fn look_at(&mut self, level: Level, number: u32) -> io::Result<u64> {
        let path = level.path(&self.dir, number);
        let row = self.row(level);
        row.last = number;
        let segment = Segment::open(&path)?;
        let (mut whole, mut end, mut span) = (0, 0, None);
        for frame in segment.frames() {
            let (at, head) = frame?;
            whole += head.len();
            if !head.more {
                end = at + head.len();
                row.sources.insert(head.source);
            }
            let (first, last) = span.unwrap_or(head.span);
            span = Some((first.min(head.span.0), last.max(head.span.1)));
        }
        let bytes = segment.bytes();
        match span {
            Some(span) => row.known.push(Known { number, end, bytes, span, full: false }),
            None => put_aside(&path, bytes)?,
        }
        Ok(bytes.saturating_sub(whole))
    }

    /// Before something of this time is written: the last segment may be full.
    fn fill(&mut self, level: Level, until: Millis) {
        let full = self.full;
        let row = self.row(level);
        if let (Some(last), false) = (row.known.last_mut(), row.halfway)
            && (last.end >= full || until.saturating_sub(last.span.0) >= FULL_AGE)
        {
            last.full = true;
            row.tail = None;
        }
    }

    /// The segment to write to: the last one, if it takes more, or a new one.
    fn tail(&mut self, level: Level) -> io::Result<(u32, Tail)> {
        if let Some(tail) = self.row(level).tail.take() {
            return Ok(tail);
        }
        let row = &self.rows[level as usize];
        let (number, end) = match row.known.last().filter(|last| !last.full) {
            Some(last) => (last.number, last.end),
            None => (self.highest(level) + 1, 0),
        };
        let tail = Tail::open(&level.path(&self.dir, number), end)?;
        self.row(level).last = number;
        Ok((number, tail))
    }

    /// The highest number so far: one that was ever used has a rollup that counts once it is gone.
    fn highest(&self, level: Level) -> u32 {
        let sources = level.coarser().map(|coarser| &self.rows[coarser as usize].sources);
        let rolled = sources.into_iter().flatten().copied().max().unwrap_or(0);
        self.rows[level as usize].last.max(rolled)
    }

    /// The rollup of a segment that has to go before it is full.
    fn keep_rollup(&mut self, level: Level, known: Known) {
        let Some(coarser) = level.coarser() else { return };
        if !self.rows[coarser as usize].sources.contains(&known.number)
            && let Err(error) = self.roll(level, coarser, known)
        {
            warn!(%error, "Readings give way without a rollup of them: it could not be written.");
        }
    }

    fn roll(&mut self, level: Level, coarser: Level, known: Known) -> io::Result<()> {
        let segment = Segment::open(&level.path(&self.dir, known.number))?.up_to(known.end);
        let rolled = Rolled::of(&segment, level, known.number, known.span)?;
        self.fill(coarser, known.span.1);
        let before = self.rows[coarser as usize].known.last().copied().filter(|last| !last.full);
        let outcome = self.append_all(coarser, rolled);
        if outcome.is_err() {
            // Half a rollup is none: the next one is written over it.
            let row = self.row(coarser);
            (row.tail, row.halfway) = (None, false);
            if let Some(last) = row.known.last_mut() {
                last.end =
                    before.filter(|before| before.number == last.number).map_or(0, |before| before.end);
            }
        }
        outcome
    }

    fn append_all(&mut self, level: Level, mut rolled: Rolled<'_>) -> io::Result<()> {
        loop {
            let frame = rolled.next_frame()?;
            self.append(level, &frame)?;
            if !frame.more {
                return Ok(());
            }
        }
    }

    fn remove(&mut self, level: Level, number: u32) -> io::Result<()> {
        let row = &mut self.rows[level as usize];
        row.tail.take_if(|(writing, _)| *writing == number);
        row.known.retain(|known| known.number != number);
        match fs::remove_file(level.path(&self.dir, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}

/// One is enough for whoever wants to look; more would fill the disk.
fn put_aside(path: &Path, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return fs::remove_file(path);
    }
    warn!(path = %path.display(), "A part of the history cannot be read; it is put aside and a new one begun.");
    let Some(folder) = path.parent() else { return Ok(()) };
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(BROKEN) {
            fs::remove_file(entry.path())?;
        }
    }
    fs::rename(path, folder.join(format!("{BROKEN}{}", time::now())))
}

/// What was put aside.
const BROKEN: &str = "broken-";
