//! A device type as data: what it is, how it is spoken to, and its points. Where it comes from is not known here.

use std::sync::Arc;

use super::decode::{Order, Transform, Type};
use super::modbus::Table;
use super::wire::Parity;

#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub name: Arc<str>,
    /// environment, meter, plant, access, locker
    pub kind: String,
    /// What it is, in a sentence for people.
    pub about: String,
    /// All facts have been seen on the device or in a source that names it.
    pub verified: bool,
    pub transport: Transport,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Transport {
    Modbus {
        line: Option<Line>,
    },
    /// The lock boards of the 8A family; the points are its cells.
    LockBoard8a {
        line: Option<Line>,
        cells_default: u8,
        cells_max: u8,
    },
    Mqtt {
        /// A topic of its own that says whether the device is there; `{topic}` is the device's.
        availability: Option<String>,
    },
}

/// How a serial device leaves the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

/// A point before it belongs to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Without the device: `pressure`.
    pub id: Arc<str>,
    pub unit: Option<Arc<str>>,
    pub range: Option<(f64, f64)>,
    pub deadband: f64,
    pub transform: Transform,
    pub source: Source,
}

/// Where a point's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Register { table: Table, register: u16, kind: Type, order: Order, bit: Option<u8> },
    Message { topic: Option<String>, json: Option<String> },
    Cell,
}

/// What values of a point look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    Number,
    Bool,
    Text,
    /// One of these words.
    Words(Vec<String>),
    /// What a message brings is only known when it comes.
    Any,
}

impl Point {
    pub fn shape(&self) -> Shape {
        if !self.transform.map.is_empty() {
            return Shape::Words(self.transform.map.iter().map(|(_, word)| word.clone()).collect());
        }
        match &self.source {
            Source::Register { kind: Type::Bool, .. } => Shape::Bool,
            Source::Register { kind: Type::Bits | Type::Text(_), .. } => Shape::Text,
            Source::Register { .. } => Shape::Number,
            Source::Message { .. } => Shape::Any,
            Source::Cell => Shape::Words(vec!["open".into(), "closed".into()]),
        }
    }
}

impl Transport {
    pub fn line(&self) -> Option<Line> {
        match self {
            Transport::Modbus { line } | Transport::LockBoard8a { line, .. } => *line,
            Transport::Mqtt { .. } => None,
        }
    }
}
