//! Files of frames, one after the other: written at the end only, deleted as a whole.
//!
//! Nothing in a file is ever written over, so flash takes each byte once, and a reader needs no lock: what it finds whole
//! stays so. What a power cut or a tired card left in the middle fits no sum and is skipped.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{Frame, HEAD_BYTES, Head, Index, MAGIC};
use crate::reading::Millis;

/// Beside the journal.
pub const FOLDER: &str = "history";

/// How fine, and under which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Readings,
    Minutes,
    Hours,
}

pub const LEVELS: [Level; 3] = [Level::Readings, Level::Minutes, Level::Hours];

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Readings => "readings",
            Level::Minutes => "minutes",
            Level::Hours => "hours",
        }
    }

    /// What one row of it covers; nothing for readings.
    pub const fn stretch(self) -> Millis {
        match self {
            Level::Readings => 0,
            Level::Minutes => 60_000,
            Level::Hours => 3_600_000,
        }
    }

    /// What it is rolled up into.
    pub fn coarser(self) -> Option<Level> {
        match self {
            Level::Readings => Some(Level::Minutes),
            Level::Minutes => Some(Level::Hours),
            Level::Hours => None,
        }
    }

    pub fn path(self, dir: &Path, number: u32) -> PathBuf {
        dir.join(FOLDER).join(format!("{}-{number:08}", self.word()))
    }

    /// Numbers of its segments, in order; none where there is no history.
    pub fn numbers(self, dir: &Path) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(dir.join(FOLDER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let number = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix(self.word())?.strip_prefix('-')?.parse().ok()
        };
        let mut numbers: Vec<u32> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// A segment to be read.
#[derive(Debug)]
pub struct Segment {
    file: File,
    /// What is after it is not looked at.
    end: u64,
}

/// Bytes looked through at once for a frame behind damage.
const SEARCH_BYTES: usize = 16 << 10;

impl Segment {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        Ok(Self { file, end })
    }

    pub fn up_to(mut self, end: u64) -> Self {
        self.end = self.end.min(end);
        self
    }

    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Each whole frame and where it begins.
    pub fn frames(&self) -> Frames<'_> {
        Frames { segment: self, at: 0 }
    }

    pub fn index(&self, at: u64, head: &Head) -> io::Result<Option<Index>> {
        let mut bytes = vec![0; head.index_len()];
        self.file.read_exact_at(&mut bytes, at + HEAD_BYTES as u64)?;
        Ok(Index::read(&bytes))
    }

    /// What one device said in a frame; nothing where it said nothing, or it is damaged.
    pub fn chunk(&self, at: u64, index: &Index, device: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = index.place(device) else { return Ok(None) };
        let at = at + u64::from(place.offset);
        if at + u64::from(place.len) > self.end {
            return Ok(None);
        }
        let mut chunk = vec![0; place.len as usize];
        self.file.read_exact_at(&mut chunk, at)?;
        Ok(place.fits(&chunk).then_some(chunk))
    }

    fn head(&self, at: u64) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD_BYTES];
        if at + HEAD_BYTES as u64 > self.end {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(Head::read(&bytes).filter(|head| at + head.len() <= self.end))
    }

    /// Where the next frame after damage may begin.
    fn search(&self, mut at: u64) -> io::Result<Option<u64>> {
        let mut bytes = [0; SEARCH_BYTES];
        while at + HEAD_BYTES as u64 <= self.end {
            let len = (self.end - at).min(SEARCH_BYTES as u64) as usize;
            self.file.read_exact_at(&mut bytes[..len], at)?;
            if let Some(found) = bytes[..len].windows(MAGIC.len()).position(|window| window == MAGIC) {
                return Ok(Some(at + found as u64));
            }
            at += (len - MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}

#[derive(Debug)]
pub struct Frames<'a> {
    segment: &'a Segment,
    at: u64,
}

impl Iterator for Frames<'_> {
    type Item = io::Result<(u64, Head)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            match self.segment.head(at) {
                Ok(Some(head)) => {
                    self.at += head.len();
                    return Some(Ok((at, head)));
                }
                Ok(None) => match self.segment.search(at + 1) {
                    Ok(Some(next)) => self.at = next,
                    Ok(None) => return None,
                    Err(error) => return Some(Err(self.fail(error))),
                },
                Err(error) => return Some(Err(self.fail(error))),
            }
        }
    }
}

impl Frames<'_> {
    /// What cannot be read is the end of it.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.at = self.segment.end;
        error
    }
}

/// A segment being written.
#[derive(Debug)]
pub struct Tail {
    file: File,
    end: u64,
}

impl Tail {
    /// `end`: what is whole in it; the rest of it is cut off.
    pub fn open(path: &Path, end: u64) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        if file.metadata()?.len() != end {
            file.set_len(end)?;
        }
        Ok(Self { file, end })
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    /// On the disk when it returns. Where that fails, nothing of it is there.
    pub fn append(&mut self, frame: &Frame) -> io::Result<()> {
        let front = frame.front();
        let chunks: u64 = frame.chunks.iter().map(|(_, chunk)| chunk.len() as u64).sum();
        let outcome = self.write(&front, frame).and_then(|()| self.file.sync_data());
        match outcome {
            Ok(()) => self.end += front.len() as u64 + chunks,
            // Should this fail too, the rest is skipped as damage.
            Err(_) => drop(self.file.set_len(self.end)),
        }
        outcome
    }

    fn write(&self, front: &[u8], frame: &Frame) -> io::Result<()> {
        let mut out = io::BufWriter::with_capacity(WRITE_BYTES, At { file: &self.file, at: self.end });
        out.write_all(front)?;
        for (_, chunk) in &frame.chunks {
            out.write_all(chunk)?;
        }
        out.flush()
    }
}

const WRITE_BYTES: usize = 64 << 10;

struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write_at(bytes, self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reading::{PointId, Reading, Value};
    use crate::store::chunk::{self, Parts, Times};
    use crate::store::series::{Sample, Series};

    fn frame(n: i64) -> Frame {
        let (mut times, mut series) = (Times::default(), Series::default());
        for at in n * 10..n * 10 + 10 {
            times.push(at);
            series.push(times.count() - 1, &Reading::good(PointId(0), at, Value::Signed(at * at)));
        }
        let mut parts = Parts::default();
        parts.times(times.take());
        parts.part(1, series.take());
        let names: Vec<Arc<str>> = vec!["pump-1".into(), "pressure".into()];
        Frame { span: (n * 10, n * 10 + 9), names, chunks: vec![(0, parts.pack())], ..Frame::default() }
    }

    fn read(path: &Path) -> Vec<Millis> {
        let segment = Segment::open(path).unwrap();
        let mut times = Vec::new();
        for found in segment.frames() {
            let (at, head) = found.unwrap();
            let Some(index) = segment.index(at, &head).unwrap() else { continue };
            let Some(chunk) = segment.chunk(at, &index, "pump-1").unwrap() else { continue };
            let samples = chunk::samples(&chunk, index.number("pressure").unwrap());
            times.extend(samples.map(|Sample { at, value, .. }| {
                assert_eq!(value, Some(Value::Signed(at * at)));
                at
            }));
        }
        times
    }

    /// What is in the file then, and where each frame ends.
    fn written(path: &Path, frames: i64) -> (Vec<u8>, Vec<usize>) {
        let mut tail = Tail::open(path, 0).unwrap();
        let ends = (0..frames).map(|n| {
            tail.append(&frame(n)).unwrap();
            tail.end() as usize
        });
        let ends = ends.collect();
        (fs::read(path).unwrap(), ends)
    }

    #[test]
    fn a_file_cut_anywhere_loses_no_more_than_the_frame_that_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (bytes, ends) = written(&path, 4);
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(read(&path), (0..whole as i64 * 10).collect::<Vec<_>>(), "{cut}");
            // What was not synced may be there as zeros.
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len(), 0);
            fs::write(&path, torn).unwrap();
            let kept = read(&path).len() / 10;
            assert!((whole..=4).contains(&kept), "{cut}: {kept}");
        }
    }

    #[test]
    fn a_bit_that_turns_over_costs_one_frame_at_the_most() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (bytes, ends) = written(&path, 4);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            let lost = ends.iter().filter(|end| **end <= bit / 8).count() as i64;
            let rest: Vec<_> = (0..40).filter(|at| at / 10 != lost).collect();
            assert_eq!(read(&path), rest, "bit {bit}");
        }
    }

    #[test]
    fn what_follows_a_cut_is_written_over_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (bytes, ends) = written(&path, 2);
        fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let mut tail = Tail::open(&path, ends[0] as u64).unwrap();
        tail.append(&frame(7)).unwrap();
        assert_eq!(read(&path), (0..10).chain(70..80).collect::<Vec<_>>());
        assert_eq!(fs::metadata(&path).unwrap().len(), tail.end());
    }
}
