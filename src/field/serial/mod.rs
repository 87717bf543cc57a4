//! Boards with protocols of their own on a serial line or a serial device server.

mod boards;
mod line;
pub mod lock_board;

use std::sync::Arc;
use std::time::Duration;

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
    pub address: u8,
    pub poll: Duration,
    pub protocol: Protocol,
    /// `cell-1` … `cell-N`, in this order.
    pub cells: Vec<PointId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The "485 lock board" family 8A/80/82, XOR check byte.
    LockBoard8a { feedback: Feedback, first_byte: FirstByte },
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
