//! The readings that are not in a file yet: gathered as few bytes, shown to whoever asks for the last minutes.
//!
//! Intake adds to it and the history's thread takes from it, each for moments; who reads copies the little that one
//! point has and looks at it after letting go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chunk::{self, Parts, Times};
use super::frame::{Frame, split};
use super::series::{Sample, Series};
use crate::reading::{Millis, Reading};

#[derive(Debug, Default)]
pub struct Gathered {
    devices: Vec<Device>,
    /// By a point's whole name: its device, and its place there.
    places: HashMap<Arc<str>, (u32, u32)>,
    /// Devices and points, by number; each name once.
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    bytes: usize,
    span: Option<(Millis, Millis)>,
    /// Handed over and not yet written, oldest first.
    under_way: Vec<Arc<Frame>>,
    /// `None`: not known yet, and nothing of what is in memory is in a file.
    written: Option<Written>,
}

/// Up to where files were written when the rest was still in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub readings: End,
    /// What was written as minutes alone.
    pub minutes: End,
    /// The highest number of a segment of readings so far, which may have gone.
    pub begun: u32,
}

/// A place in the files of a level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    pub segment: u32,
    pub bytes: u64,
}

#[derive(Debug)]
struct Device {
    name: u32,
    times: Times,
    points: Vec<(u32, Series)>,
}

/// What memory holds of one point.
#[derive(Debug, Default)]
pub struct Recent {
    /// What lies in files after this is here as well. `None`: the files are all there is.
    pub written: Option<Written>,
    /// Spans of it all, whether or not this point is in them.
    pub spans: Vec<(Millis, Millis)>,
    under_way: Vec<Arc<Frame>>,
    gathered: Option<Box<[u8]>>,
}

/// What a part needs in a frame besides its bits.
const PART_BYTES: usize = 6;

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Gathered>>);

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    /// Adds one reading; `room` says whether there is memory for it.
    pub fn note(&mut self, point: &Arc<str>, reading: &Reading, max: usize) -> bool {
        if self.bytes + self.under_way_bytes() >= max {
            return false;
        }
        let (device, place) = match self.places.get(point) {
            Some(place) => *place,
            None => self.place(point),
        };
        let device = &mut self.devices[device as usize];
        let (_, series) = &mut device.points[place as usize];
        let before = series.len() + device.times.len();
        if series.count() == 0 {
            self.bytes += PART_BYTES;
        }
        // A second reading of one instant needs a time of its own.
        if device.times.last() != Some(reading.at) || series.next_time() >= device.times.count() {
            device.times.push(reading.at);
        }
        series.push(device.times.count() - 1, reading);
        self.bytes += series.len() + device.times.len() - before;
        let (first, last) = self.span.unwrap_or((reading.at, reading.at));
        self.span = Some((first.min(reading.at), last.max(reading.at)));
        true
    }

    pub fn is_empty(&self) -> bool {
        self.span.is_none()
    }

    /// Bytes gathered since the last hand-over.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something handed over is not yet written.
    pub fn is_busy(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// All that was gathered, for the file; it stays visible until it is [written](Self::written).
    pub fn hand_over(&mut self) -> Option<Arc<Frame>> {
        let span = self.span.take()?;
        let mut chunks = Vec::with_capacity(self.devices.len());
        for device in &mut self.devices {
            if device.times.count() > 0 {
                chunks.push((device.name, device.take().pack()));
            }
        }
        self.bytes = 0;
        let names = self.names.clone();
        let frame = Arc::new(Frame { span, names, chunks, ..Frame::default() });
        self.under_way.push(frame.clone());
        Some(frame)
    }

    /// The oldest that was under way is in the file; the files now reach so far.
    pub fn set_written(&mut self, written: Written) {
        self.under_way.remove(0);
        self.written = Some(written);
    }

    pub fn set_reach(&mut self, written: Written) {
        self.written = Some(written);
    }

    pub fn written(&self) -> Option<Written> {
        self.written
    }

    /// What was under way is lost.
    pub fn lose_under_way(&mut self) {
        self.under_way.clear();
    }

    /// What memory holds of a point; of the spans alone where no point is named.
    pub fn recent(&self, point: Option<&str>) -> Recent {
        let mut spans: Vec<_> = self.under_way.iter().map(|frame| frame.span).collect();
        spans.extend(self.span);
        let gathered = point.and_then(|point| self.places.get(point)).map(|(device, place)| {
            let device = &self.devices[*device as usize];
            let mut parts = Parts::default();
            parts.times(device.times.clone().take());
            parts.part(0, device.points[*place as usize].1.clone().take());
            parts.pack()
        });
        Recent { written: self.written, spans, under_way: self.under_way.clone(), gathered }
    }

    /// Bytes of it all, as nearly as it can be known.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        let table = self.places.capacity() * 8 / 7 * size_of::<(Arc<str>, (u32, u32))>();
        let names: usize = self.names.iter().map(|name| name.len() + 2 * size_of::<Arc<str>>() + 48).sum();
        let device = |device: &Device| {
            let points = device.points.capacity() * size_of::<(u32, Series)>();
            let buffers: usize = device.points.iter().map(|(_, series)| series.capacity()).sum();
            size_of::<Device>() + points + buffers
        };
        table + names + self.devices.iter().map(device).sum::<usize>() + self.under_way_bytes()
    }

    fn place(&mut self, point: &Arc<str>) -> (u32, u32) {
        let (device, short) = split(point);
        let (device, short) = (self.number(device), self.number(short));
        // Points of one device come one after the other.
        let known = self.devices.iter().rposition(|known| known.name == device);
        let index = known.unwrap_or_else(|| {
            self.devices.push(Device { name: device, times: Times::default(), points: Vec::new() });
            self.devices.len() - 1
        });
        let points = &mut self.devices[index].points;
        // They are told once, and kept for ever.
        points.reserve_exact(1);
        points.push((short, Series::default()));
        let place = (index as u32, points.len() as u32 - 1);
        self.places.insert(point.clone(), place);
        place
    }

    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<str>, _) = (name.into(), self.names.len() as u32);
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    fn under_way_bytes(&self) -> usize {
        self.under_way.iter().map(|frame| frame.size()).sum()
    }
}

impl Device {
    fn take(&mut self) -> Parts {
        let mut parts = Parts::default();
        parts.times(self.times.take());
        for (name, series) in &mut self.points {
            if series.count() > 0 {
                parts.part(*name, series.take());
            }
        }
        parts
    }
}

impl Recent {
    /// Oldest first.
    pub fn samples(&self, point: &str) -> impl Iterator<Item = Sample> {
        let (device, short) = split(point);
        let under_way = self.under_way.iter().flat_map(move |frame| of_frame(frame, device, short));
        under_way.chain(self.gathered.iter().flat_map(|chunk| chunk::samples(chunk, 0)))
    }
}

fn of_frame(frame: &Frame, device: &str, short: &str) -> impl Iterator<Item = Sample> {
    let number = |name: &str| frame.names.iter().position(|known| **known == *name).map(|n| n as u32);
    let found = number(device).zip(number(short)).and_then(|(device, short)| {
        let (_, chunk) = frame.chunks.iter().find(|(name, _)| *name == device)?;
        Some((chunk, short))
    });
    found.into_iter().flat_map(|(chunk, short)| chunk::samples(chunk, short))
}
