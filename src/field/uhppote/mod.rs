//! UHPPOTE door controllers (UT0311-L01/02/04, "Wiegand TCP access boards"): 64-byte datagrams over UDP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Context;
use crate::reading::{DeviceId, PointId};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where controllers are asked, one by one or by broadcast: `192.0.2.255:60000`.
    pub address: SocketAddr,
    /// Where they send their events.
    pub listen: SocketAddr,
    /// What they are told to send their events to; `None`: they have been told otherwise.
    pub announce: Option<SocketAddr>,
    pub timeout: Duration,
    pub controllers: Vec<Controller>,
    /// The zone of their clocks.
    pub timezone: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Controller {
    pub id: DeviceId,
    /// The number on its board, nine digits.
    pub serial: u32,
    /// Its own address, where the channel's does not reach it.
    pub address: Option<SocketAddr>,
    pub poll: Duration,
    /// `open` / `closed`, by door 1 to 4.
    pub doors: Vec<PointId>,
    /// Which door each command opens, from 1.
    pub commands: Vec<u8>,
}

/// Until `context.stop`.
pub async fn run(_channel: Arc<str>, _settings: Settings, context: Context) {
    context.stop.cancelled().await;
}
