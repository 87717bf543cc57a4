//! Modbus master over TCP, RTU, and RTU over TCP.
//!
//! `coalesce` plans the requests once, `split` what to ask of a device that refuses a part of them; `units` asks, `values`
//! makes readings of the answers, `act` does what is ordered, `show` is the wire in full view. `master` asks over `tcp` or
//! `rtu`, and `frame` and `pdu` are the bytes. Why an answer over RTU is not always believed stands at the head of `rtu`.

mod act;
mod coalesce;
mod frame;
mod master;
mod pdu;
mod rtu;
mod show;
mod split;
mod tcp;
mod units;
mod values;

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::decode::{Order, Transform, Type};
use super::poll;
use super::wire::Wire;
use crate::reading::{DeviceId, PointId};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub wire: Wire,
    /// MBAP (TCP) or RTU frames; RTU frames may go over TCP.
    pub framing: Framing,
    /// How long a unit may take to answer.
    pub timeout: Duration,
    pub pace: Pace,
    pub devices: Vec<Device>,
}

/// What the wire, or the gateway in front of it, needs to keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between an answer and the next question, at least. `None`: what the speed asks for, 3.5 characters.
    pub silence: Option<Duration>,
    /// After the wire was opened, before the first question.
    pub after_connect: Duration,
    /// TCP only: questions that may be under way at one time. There are servers that throw away what they are asked while
    /// they answer, so it is 1 where nothing is known.
    pub pipeline: u8,
}

impl Default for Pace {
    fn default() -> Self {
        Self { silence: None, after_connect: Duration::ZERO, pipeline: 1 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Tcp,
    Rtu,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    pub unit: u8,
    pub poll: Duration,
    /// After an answer of this unit, before anyone is asked.
    pub turnaround: Duration,
    pub merge: Merge,
    pub points: Vec<Point>,
    pub commands: Vec<Command>,
}

/// How far registers are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// Registers that nobody asked for, read along so that one request does for two.
    pub max_gap: u16,
    /// Registers of one request; coils and inputs have sixteen times as many.
    pub max_registers: u16,
    /// First and last of registers that must not be touched: some devices refuse the whole request, or count a read as an order.
    pub avoid: Vec<(u16, u16)>,
}

impl Default for Merge {
    fn default() -> Self {
        Self { max_gap: 0, max_registers: pdu::REGISTERS_MOST, avoid: Vec::new() }
    }
}

/// What can be ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub write: Write,
    /// Asked after the write: it has to read like this, or the order has failed.
    pub read_back: Option<ReadBack>,
    /// So much later, this is written: the end of a pulse.
    pub then: Option<(Duration, Write)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Function 5. Besides FF00 and 0000 there are boards that take times (Waveshare's flash) or 5500 (toggle).
    Coil { at: u16, word: u16 },
    /// Function 6.
    Register { at: u16, word: u16 },
    /// Function 15.
    Coils { at: u16, on: Vec<bool> },
    /// Function 16.
    Registers { at: u16, words: Vec<u16> },
    /// Function 22: (register AND `and`) OR (`or` AND NOT `and`).
    Mask { at: u16, and: u16, or: u16 },
    /// Function 23: writes, then reads in one transaction.
    ReadWrite { at: u16, words: Vec<u16>, read: u16, count: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBack {
    pub table: Table,
    pub register: u16,
    pub words: Vec<u16>,
    /// The device may take so long to get there.
    pub within: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub id: PointId,
    pub table: Table,
    /// The protocol address, zero-based.
    pub register: u16,
    pub kind: Type,
    pub order: Order,
    /// With `Type::Bool` on a register: which bit, 0 the lowest.
    pub bit: Option<u8>,
    pub transform: Transform,
    /// `None`: with its device.
    pub poll: Option<Duration>,
    /// Registers of the same device that say how to read it.
    pub by: By,
}

/// What other registers of the device say of a value; read in the same poll, before it counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct By {
    /// Table and register with the number of decimals: raw / 10^n.
    pub decimals: Option<(Table, u16)>,
    /// Table and register with a code for the unit, and what the codes mean: `[(16, "m")]`. An unknown code is a bad reading.
    pub unit: Option<(Table, u16, Units)>,
}

/// Codes, and the units that they stand for.
pub type Units = Vec<(u16, Arc<str>)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Coil,
    Discrete,
    Holding,
    Input,
}

impl Settings {
    pub fn new(wire: Wire, framing: Framing, timeout: Duration, devices: Vec<Device>) -> Self {
        Self { wire, framing, timeout, pace: Pace::default(), devices }
    }
}

impl Device {
    pub fn new(id: DeviceId, unit: u8, poll: Duration, points: Vec<Point>) -> Self {
        let (turnaround, merge) = (Duration::ZERO, Merge::default());
        Self { id, unit, poll, turnaround, merge, points, commands: Vec::new() }
    }
}

impl Point {
    /// As it is sent, in its device's poll.
    pub fn new(id: PointId, table: Table, register: u16, kind: Type) -> Self {
        let (order, bit, transform) = (Order::Abcd, None, Transform::default());
        Self { id, table, register, kind, order, bit, transform, poll: None, by: By::default() }
    }
}

/// Polls all devices of one wire until `context.stop`, or until nobody takes the readings any more.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let (wire, timeout) = (settings.wire.clone(), settings.timeout);
    let units = units::Units::new(settings, context.site.clone());
    poll::run(channel, wire, timeout, units.devices(), units, context).await;
}
