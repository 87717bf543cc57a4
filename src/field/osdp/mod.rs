//! Door readers over OSDP v2 (IEC 60839-11-5), with secure channel.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::wire::Wire;
use crate::reading::{DeviceId, PointId};
use crate::secret::Secret;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// A serial port, or a serial device server.
    pub wire: Wire,
    /// How long a reader may take to answer.
    pub timeout: Duration,
    pub readers: Vec<Reader>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    pub id: DeviceId,
    /// 0 to 126
    pub address: u8,
    /// How often it is asked.
    pub poll: Duration,
    /// The secure channel's base key, 32 hexadecimal digits. `None`: spoken to in clear.
    pub key: Option<Secret>,
    /// `yes` / `no`
    pub tamper: Option<PointId>,
    /// `ok` / `failed`
    pub power: Option<PointId>,
    /// `on` / `off`, from input 1.
    pub inputs: Vec<PointId>,
    pub commands: Vec<Command>,
}

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// From 0.
    pub output: u8,
    pub does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    On,
    Off,
    /// On for so long, then off.
    Pulse(Duration),
}

/// Until `context.stop`.
pub async fn run(_channel: Arc<str>, _settings: Settings, context: Context) {
    context.stop.cancelled().await;
}
