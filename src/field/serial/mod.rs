//! Boards with protocols of their own on a serial line or a serial device server.

mod asked;
mod bits;
mod boards;
mod cjt188;
mod dlt645;
mod dlt645_ask;
mod dlt645_plan;
mod kr_cu16;
mod kr_cu48;
mod line;
mod lock_board;
mod locker;
mod mbus;
mod meter;
#[cfg(test)]
mod tests;
mod view;
mod winnsen;

use std::sync::Arc;
use std::time::Duration;

use super::decode::Transform;
use super::wire::Wire;
use super::{Context, poll};
use crate::reading::{DeviceId, PointId};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub wire: Wire,
    pub timeout: Duration,
    pub boards: Vec<Board>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Board {
    pub id: DeviceId,
    pub poll: Duration,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Locker(Locker),
    Meter(Meter),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Locker {
    pub address: u8,
    pub protocol: Protocol,
    /// `cell-1` … `cell-N`, in this order.
    pub cells: Vec<PointId>,
    /// `item-1` … `item-N`, where the board sees parcels.
    pub items: Vec<PointId>,
    /// Which cell each command opens, from 0.
    pub commands: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The "485 lock board" family 8A/80/82, XOR check byte.
    LockBoard8a { feedback: Feedback, first_byte: FirstByte },
    /// KERONG CU16, CU12: STX … ETX, sum.
    KrCu16 { feedback: Feedback },
    /// KERONG CU48.
    KrCu48 { feedback: Feedback },
    /// Winnsen, 16 locks: `90 06 …`, no check byte.
    Winnsen16,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    pub protocol: Metering,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metering {
    /// DL/T 645-2007. Address as printed on the meter, 12 digits; `None`: whoever is there, alone on its line.
    Dlt645 { address: Option<Arc<str>> },
    /// CJ/T 188-2004. Address 14 digits, the last four the maker's; `kind`: 0x10 cold water.
    Cjt188 { address: Option<Arc<str>>, kind: u8, order: ItemOrder },
    /// Wired M-Bus: primary address.
    Mbus { address: u8 },
}

/// In which order a CJ/T 188 meter wants the two bytes of its data item; it may answer in either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ItemOrder {
    /// `1F 90`
    #[default]
    LowFirst,
    /// `90 1F`
    HighFirst,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub id: PointId,
    pub item: Item,
    pub transform: Transform,
}

/// Which of a meter's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// DL/T 645: the data identifier as the standard prints it, and how many BCD digits its value has. `signed`: the top bit
    /// is the sign.
    Dlt645 {
        di: u32,
        digits: u8,
        signed: bool,
    },
    /// CJ/T 188: what its one reading says. The volume comes in m³, whatever unit the meter has it in.
    Volume,
    Valve,
    BatteryLow,
    /// M-Bus: the nth record of the answer, from 0.
    Record(u8),
}

/// What a set bit (0x11, "contact closed") means; it depends on how the lock's feedback is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feedback {
    /// Contact closed: the door is closed.
    #[default]
    DoorClosing,
    /// Contact closed: the door is open.
    DoorOpening,
}

/// Which status byte of read-all holds the cells 1–8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstByte {
    #[default]
    Last,
    First,
}

/// Polls all boards of one line until `context.stop`, or until nobody takes the readings any more.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let (wire, timeout) = (settings.wire.clone(), settings.timeout);
    let boards = boards::Boards::new(settings);
    poll::run(channel, wire, timeout, boards.devices(), boards, context).await;
}
