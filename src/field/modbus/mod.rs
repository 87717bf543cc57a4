//! Modbus master over TCP, RTU, and RTU over TCP.
//!
//! `coalesce` plans the requests once, `units` makes readings of the answers, `master` asks over `tcp` or `rtu`, and `frame` and
//! `pdu` are the bytes. Why an answer over RTU is not always believed stands at the head of `rtu`.

mod coalesce;
mod frame;
mod master;
mod pdu;
mod rtu;
mod tcp;
mod units;

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
    pub devices: Vec<Device>,
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
    pub points: Vec<Point>,
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    Coil,
    Discrete,
    Holding,
    Input,
}

/// Polls all devices of one wire until `context.stop`, or until nobody takes the readings any more.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let (wire, timeout) = (settings.wire.clone(), settings.timeout);
    let units = units::Units::new(settings);
    poll::run(channel, wire, timeout, units.devices(), units, context).await;
}
