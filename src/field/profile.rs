//! A device type as data: what it is, how it is spoken to, and its points. Where it comes from is not known here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::decode::{Order, Transform, Type};
use super::modbus::{By, Merge, Table};
use super::serial::Item;
use super::wire::Parity;
use crate::reading::Clean;

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
        merge: Merge,
        turnaround: Duration,
    },
    /// A locker's board; the points are its cells, and items where it sees them.
    Locker {
        line: Option<Line>,
        board: Board,
        cells_default: u8,
        cells_max: u8,
        items: bool,
    },
    /// A meter with a protocol of its own.
    Meter {
        line: Option<Line>,
        meter: Meter,
    },
    Osdp {
        line: Option<Line>,
        /// How many a reader has where its device does not say.
        inputs: u8,
        outputs: u8,
    },
    Uhppote {
        /// Doors of a controller where the device does not say.
        doors: u8,
    },
    Mqtt {
        /// A topic of its own that says whether the device is there; `{topic}` is the device's.
        availability: Option<String>,
        face_terminal: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    LockBoard8a,
    KrCu16,
    KrCu48,
    Winnsen16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meter {
    Dlt645,
    Cjt188,
    Mbus,
}

/// How a serial device leaves the factory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub baud: u32,
    pub parity: Parity,
    pub stop_bits: u8,
}

impl fmt::Display for Line {
    /// `9600 8N1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Even => 'E',
            Parity::Odd => 'O',
        };
        write!(f, "{} 8{parity}{}", self.baud, self.stop_bits)
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (baud, rest) = text.trim().split_once(' ')?;
            let (parity, stop_bits) = match rest.trim().to_ascii_uppercase().as_str() {
                "8N1" => (Parity::None, 1),
                "8N2" => (Parity::None, 2),
                "8E1" => (Parity::Even, 1),
                "8E2" => (Parity::Even, 2),
                "8O1" => (Parity::Odd, 1),
                "8O2" => (Parity::Odd, 2),
                _ => return None,
            };
            let baud = baud.parse().ok().filter(|baud| (300..=1_000_000).contains(baud))?;
            Some(Line { baud, parity, stop_bits })
        };
        read().ok_or_else(|| format!("`{text}` is no setting of a line; write it like `9600 8N1`"))
    }
}

/// A point before it belongs to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Without the device: `pressure`.
    pub id: Arc<str>,
    pub unit: Option<Arc<str>>,
    pub range: Option<(f64, f64)>,
    pub deadband: f64,
    /// Of a profile only a suggestion.
    pub clean: Clean,
    pub transform: Transform,
    pub source: Source,
}

/// Where a point's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    Register {
        table: Table,
        register: u16,
        kind: Type,
        order: Order,
        bit: Option<u8>,
        poll: Option<Duration>,
        by: By,
    },
    Message {
        topic: Option<String>,
        json: Option<String>,
    },
    Cell,
    Item(Item),
    /// A state that the wire's room knows by the point's own name: `tamper`, `power`, `input-2`, `door-1`, `item-3`. Its words.
    State(&'static [&'static str]),
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
            Source::Cell => words(&["open", "closed"]),
            Source::State(known) => words(known),
            Source::Item(Item::Valve) => words(&["open", "closed", "fault"]),
            Source::Item(Item::BatteryLow) => words(&["yes", "no"]),
            Source::Item(_) => Shape::Number,
        }
    }
}

impl Transport {
    pub fn line(&self) -> Option<Line> {
        match self {
            Transport::Modbus { line, .. }
            | Transport::Locker { line, .. }
            | Transport::Meter { line, .. }
            | Transport::Osdp { line, .. } => *line,
            Transport::Uhppote { .. } | Transport::Mqtt { .. } => None,
        }
    }
}

fn words(known: &[&str]) -> Shape {
    Shape::Words(known.iter().map(|word| (*word).to_owned()).collect())
}
