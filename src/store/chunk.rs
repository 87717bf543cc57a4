//! What the points of one device have said in one frame: parts side by side, each found by its name's number.

use super::bits::{Reader, Writer};
use super::column::Column;
use super::series::{Decoder, Sample};
use crate::reading::Millis;

/// The times that the points of a device share. In rollups there are none.
const TIMES: u64 = 0;

/// The points of a device share the times of its answers.
#[derive(Debug, Default, Clone)]
pub struct Times {
    bits: Writer,
    column: Column,
    count: u32,
    last: Option<Millis>,
}

impl Times {
    pub fn push(&mut self, at: Millis) {
        self.column.write(&mut self.bits, at);
        self.count += 1;
        self.last = Some(at);
    }

    pub fn last(&self) -> Option<Millis> {
        self.last
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn len(&self) -> usize {
        self.bits.len()
    }

    pub fn take(&mut self) -> (u32, Vec<u8>) {
        let times = std::mem::take(self);
        (times.count, times.bits.finish())
    }
}

/// A chunk in the making.
#[derive(Debug, Default)]
pub struct Parts {
    head: Vec<u8>,
    count: u64,
    bodies: Vec<Vec<u8>>,
}

impl Parts {
    pub fn times(&mut self, (count, body): (u32, Vec<u8>)) {
        self.add(TIMES, count, body);
    }

    pub fn part(&mut self, name: u32, (count, body): (u32, Vec<u8>)) {
        self.add(u64::from(name) + 1, count, body);
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.head.len() + self.bodies.iter().map(Vec::len).sum::<usize>()
    }

    pub fn pack(self) -> Box<[u8]> {
        let mut chunk = Vec::with_capacity(self.len() + 5);
        push_varint(&mut chunk, self.count);
        chunk.extend_from_slice(&self.head);
        for body in self.bodies {
            chunk.extend_from_slice(&body);
        }
        chunk.into_boxed_slice()
    }

    fn add(&mut self, name: u64, count: u32, body: Vec<u8>) {
        push_varint(&mut self.head, name);
        push_varint(&mut self.head, count.into());
        push_varint(&mut self.head, body.len() as u64);
        self.count += 1;
        self.bodies.push(body);
    }
}

/// Each part's name and what it holds; nothing where the bytes make no sense.
fn parts(chunk: &[u8]) -> Vec<(u64, u32, &[u8])> {
    let mut rest = chunk;
    let mut heads = Vec::new();
    for _ in 0..varint(&mut rest).unwrap_or(0) {
        let mut field = || varint(&mut rest);
        let (Some(name), Some(count), Some(len)) = (field(), field(), field()) else { return Vec::new() };
        heads.push((name, count, len));
    }
    let mut parts = Vec::with_capacity(heads.len());
    for (name, count, len) in heads {
        let Some((body, after)) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)) else {
            return Vec::new();
        };
        parts.push((name, u32::try_from(count).unwrap_or(0), body));
        rest = after;
    }
    parts
}

/// The names in it.
pub fn names(chunk: &[u8]) -> Vec<u32> {
    parts(chunk).iter().filter_map(|(name, ..)| u32::try_from(name.checked_sub(1)?).ok()).collect()
}

/// How much of this name there is, and what.
pub fn part(chunk: &[u8], name: u32) -> Option<(u32, &[u8])> {
    let wanted = u64::from(name) + 1;
    parts(chunk).iter().find(|(name, ..)| *name == wanted).map(|(_, count, body)| (*count, *body))
}

/// The readings of this name.
pub fn samples(chunk: &[u8], name: u32) -> impl Iterator<Item = Sample> {
    let parts = parts(chunk);
    let find =
        |wanted| parts.iter().find(|(name, ..)| *name == wanted).map(|(_, count, body)| (*count, *body));
    let found = find(TIMES).zip(find(u64::from(name) + 1));
    found
        .into_iter()
        .flat_map(|((ticks, times), (count, body))| Decoder::new(body, count, read_times(times, ticks)))
}

fn read_times(data: &[u8], count: u32) -> impl Iterator<Item = Millis> {
    let (mut bits, mut column) = (Reader::new(data), Column::default());
    (0..count).map(move |_| column.read(&mut bits))
}

pub fn push_varint(data: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        data.push(value as u8 | 0x80);
        value >>= 7;
    }
    data.push(value as u8);
}

/// Takes one from the front.
pub fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
