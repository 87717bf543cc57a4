//! What is written at once: a head, an index of devices, and a chunk for each of them. Each has a sum of its own, so that
//! damage costs what it touches and nothing else, and a frame that was cut short is none.

use std::sync::Arc;

use crc::{CRC_32_ISO_HDLC, Crc, Table};

use super::chunk::{push_varint, varint};
use crate::reading::Millis;

/// Names this format.
pub const MAGIC: [u8; 4] = *b"ghF1";
pub const HEAD_BYTES: usize = 40;
/// An index of more is damaged: a hundred thousand points need less.
const INDEX_BYTES_MAX: u32 = 8 << 20;
const CHUNKS_BYTES_MAX: u32 = 64 << 20;

const SUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// A frame in memory.
#[derive(Debug, Default)]
pub struct Frame {
    /// Of which segment of readings, or of minutes, this is the rollup; 0: of none that was ever written.
    pub source: u32,
    /// More of the same rollup follows.
    pub more: bool,
    /// Times of the first and the last reading.
    pub span: (Millis, Millis),
    /// Devices and points, by number.
    pub names: Vec<Arc<str>>,
    /// By device.
    pub chunks: Vec<(u32, Box<[u8]>)>,
}

/// A frame in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub source: u32,
    pub more: bool,
    pub span: (Millis, Millis),
    index: u32,
    chunks: u32,
    sum: u32,
}

/// What is where in it.
#[derive(Debug)]
pub struct Index {
    /// Frames of one run mostly share them.
    pub names: Arc<[Box<str>]>,
    /// By device.
    pub places: Vec<Place>,
}

#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub name: u32,
    /// From the frame's begin.
    pub offset: u32,
    pub len: u32,
    sum: u32,
}

impl Frame {
    /// Bytes of memory.
    pub fn size(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        chunks + self.chunks.capacity() * size_of::<(u32, Box<[u8]>)>() + self.names.capacity() * 16
    }

    /// Head and index, as they go before the chunks.
    pub fn front(&self) -> Vec<u8> {
        let mut index = Vec::new();
        push_varint(&mut index, self.names.len() as u64);
        for name in &self.names {
            push_varint(&mut index, name.len() as u64);
            index.extend_from_slice(name.as_bytes());
        }
        push_varint(&mut index, self.chunks.len() as u64);
        for (name, chunk) in &self.chunks {
            push_varint(&mut index, u64::from(*name));
            push_varint(&mut index, chunk.len() as u64);
            index.extend_from_slice(&SUM.checksum(chunk).to_le_bytes());
        }
        let chunks: usize = self.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        let mut front = Vec::with_capacity(HEAD_BYTES + index.len());
        front.extend_from_slice(&MAGIC);
        front.extend_from_slice(&(index.len() as u32).to_le_bytes());
        front.extend_from_slice(&(chunks as u32).to_le_bytes());
        front.extend_from_slice(&self.source.to_le_bytes());
        front.extend_from_slice(&u32::from(self.more).to_le_bytes());
        front.extend_from_slice(&self.span.0.to_le_bytes());
        front.extend_from_slice(&self.span.1.to_le_bytes());
        let sum = SUM.checksum(&front);
        front.extend_from_slice(&sum.to_le_bytes());
        let sum = SUM.checksum(&index);
        front.extend_from_slice(&index);
        front.extend_from_slice(&sum.to_le_bytes());
        front
    }
}

impl Head {
    /// `None`: no frame begins here.
    pub fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let (fields, sum) = bytes.split_last_chunk()?;
        if SUM.checksum(fields) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = fields.strip_prefix(&MAGIC)?;
        let head = Self {
            index: word(&mut rest)?,
            chunks: word(&mut rest)?,
            source: word(&mut rest)?,
            more: word(&mut rest)? > 0,
            span: (long(&mut rest)?, long(&mut rest)?),
            sum: u32::from_le_bytes(*sum),
        };
        (head.index <= INDEX_BYTES_MAX && head.chunks <= CHUNKS_BYTES_MAX).then_some(head)
    }

    /// Bytes of the index, with its sum.
    pub fn index_len(&self) -> usize {
        self.index as usize + 4
    }

    /// Bytes of all of it.
    pub fn len(&self) -> u64 {
        (HEAD_BYTES + self.index_len()) as u64 + u64::from(self.chunks)
    }

    pub fn touches(&self, from: Millis, to: Millis) -> bool {
        self.span.1 >= from && self.span.0 <= to
    }
}

impl Index {
    /// `None`: it is damaged.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (index, sum) = bytes.split_last_chunk()?;
        if SUM.checksum(index) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut rest = index;
        let mut names = Vec::new();
        for _ in 0..varint(&mut rest)? {
            let len = usize::try_from(varint(&mut rest)?).ok()?;
            let (name, after) = rest.split_at_checked(len)?;
            names.push(std::str::from_utf8(name).ok()?.into());
            rest = after;
        }
        let mut offset = (HEAD_BYTES + bytes.len()) as u32;
        let mut places = Vec::new();
        for _ in 0..varint(&mut rest)? {
            let name = u32::try_from(varint(&mut rest)?).ok()?;
            let len = u32::try_from(varint(&mut rest)?).ok()?;
            places.push(Place { name, offset, len, sum: word(&mut rest)? });
            offset = offset.checked_add(len)?;
        }
        Some(Self { names: names.into(), places })
    }

    /// Its names are those of the other, where they are the same.
    pub fn share(&mut self, other: &Index) {
        if self.names == other.names {
            self.names = other.names.clone();
        }
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.names.iter().position(|known| **known == *name).map(|n| n as u32)
    }

    pub fn place(&self, device: &str) -> Option<Place> {
        let number = self.number(device)?;
        self.places.iter().find(|place| place.name == number).copied()
    }
}

impl Place {
    pub fn fits(&self, chunk: &[u8]) -> bool {
        SUM.checksum(chunk) == self.sum
    }
}

/// `pump-1.pressure` is the point `pressure` of the device `pump-1`.
pub fn split(point: &str) -> (&str, &str) {
    point.split_once('.').unwrap_or((point, ""))
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*taken))
}

fn long(rest: &mut &[u8]) -> Option<i64> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i64::from_le_bytes(*taken))
}
