//! A full segment → frames of its rollup, a few devices at a time, so that little of it is in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use super::chunk::{self, Parts};
use super::frame::{Frame, Index};
use super::rollup::{self, Roller};
use super::segment::{Level, Segment};
use crate::reading::Millis;

/// Points of one device at once.
const POINTS_AT_ONCE: usize = 16;
/// Bytes of one frame; more of the same rollup follows in the next.
const FRAME_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub struct Rolled<'a> {
    segment: &'a Segment,
    level: Level,
    source: u32,
    span: (Millis, Millis),
    indexes: Vec<(u64, Index)>,
    /// Still to be done.
    devices: VecDeque<Box<str>>,
}

/// The names of a frame in the making.
#[derive(Debug, Default)]
struct Names {
    list: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

impl<'a> Rolled<'a> {
    pub fn of(segment: &'a Segment, level: Level, source: u32, span: (Millis, Millis)) -> io::Result<Self> {
        let mut indexes: Vec<(u64, Index)> = Vec::new();
        let mut devices = BTreeSet::new();
        for frame in segment.frames() {
            let (at, head) = frame?;
            let Some(mut index) = segment.index(at, &head)? else { continue };
            if let Some((_, last)) = indexes.last() {
                index.share(last);
            }
            let name = |place: &super::frame::Place| index.names.get(place.name as usize).cloned();
            devices.extend(index.places.iter().filter_map(name));
            indexes.push((at, index));
        }
        Ok(Self { segment, level, source, span, indexes, devices: devices.into_iter().collect() })
    }

    /// The last one says that no more follows.
    pub fn next_frame(&mut self) -> io::Result<Frame> {
        let mut names = Names::default();
        let mut frame = Frame { source: self.source, span: self.span, ..Frame::default() };
        let mut bytes = 0;
        while bytes < FRAME_BYTES
            && let Some(device) = self.devices.pop_front()
        {
            let parts = self.device(&device, &mut names)?;
            bytes += parts.len();
            if !parts.is_empty() {
                frame.chunks.push((names.number(&device), parts.pack()));
            }
        }
        frame.more = !self.devices.is_empty();
        frame.names = names.list;
        Ok(frame)
    }

    fn device(&self, device: &str, names: &mut Names) -> io::Result<Parts> {
        let mut parts = Parts::default();
        let points: Vec<Box<str>> = self.points(device)?.into_iter().collect();
        for some in points.chunks(POINTS_AT_ONCE) {
            let mut rollers: BTreeMap<&str, Roller> = BTreeMap::new();
            for (at, index) in &self.indexes {
                if let Some(chunk) = self.segment.chunk(*at, index, device)? {
                    for point in some {
                        if let Some(number) = index.number(point) {
                            let fresh = || Roller::new(stretch(self.level));
                            take(self.level, &chunk, number, rollers.entry(point).or_insert_with(fresh));
                        }
                    }
                }
            }
            for (point, roller) in rollers.iter().filter(|(_, roller)| !roller.is_empty()) {
                parts.part(names.number(point), roller.pack());
            }
        }
        Ok(parts)
    }

    fn points(&self, device: &str) -> io::Result<BTreeSet<Box<str>>> {
        let mut points = BTreeSet::new();
        for (at, index) in &self.indexes {
            if let Some(chunk) = self.segment.chunk(*at, index, device)? {
                let named = chunk::names(&chunk).into_iter();
                points.extend(named.filter_map(|number| index.names.get(number as usize).cloned()));
            }
        }
        Ok(points)
    }
}

/// The rollup of what was never written as readings.
pub fn minutes_of(frame: &Frame) -> Frame {
    let mut chunks = Vec::with_capacity(frame.chunks.len());
    for (device, chunk) in &frame.chunks {
        let mut parts = Parts::default();
        for number in chunk::names(chunk) {
            let mut roller = Roller::new(stretch(Level::Readings));
            take(Level::Readings, chunk, number, &mut roller);
            parts.part(number, roller.pack());
        }
        chunks.push((*device, parts.pack()));
    }
    Frame { span: frame.span, names: frame.names.clone(), chunks, ..Frame::default() }
}

/// Of what a level is rolled up into.
fn stretch(level: Level) -> Millis {
    level.coarser().unwrap_or(level).stretch()
}

fn take(level: Level, chunk: &[u8], number: u32, roller: &mut Roller) {
    if level == Level::Readings {
        chunk::samples(chunk, number).for_each(|sample| roller.sample(&sample));
    } else if let Some((count, data)) = chunk::part(chunk, number) {
        rollup::unpack(data, count, level.stretch()).for_each(|summary| roller.summary(summary));
    }
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let (name, number): (Arc<str>, _) = (name.into(), self.list.len() as u32);
        self.list.push(name.clone());
        self.numbers.insert(name, number);
        number
    }
}
