//! What of the configuration is shown, as plain nouns that `config` fills in.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::reading::{DeviceId, DoorId, PointId};
use crate::ticket::Class;

/// Nothing of it changes as long as the room is open.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub timezone: Arc<str>,
    /// `zh-CN`, `en`
    pub locale: &'static str,
    pub lines: Vec<Line>,
    pub rules: Vec<Rule>,
    pub doors: Vec<Door>,
    pub banks: Vec<Bank>,
    pub commands: Vec<Command>,
}

/// What may be ordered of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub device: DeviceId,
    pub action: Arc<str>,
    pub targets: Vec<Arc<str>>,
    /// Not without one.
    pub reason: bool,
    /// Some of it may be ordered by a centre, too.
    pub central: bool,
}

impl Plan {
    /// Whether a centre may order anything of this device.
    pub fn may_central_order(&self, device: DeviceId) -> bool {
        self.commands.iter().any(|command| command.device == device && command.central)
    }
}

/// One wire or endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub id: Arc<str>,
    /// As configured: `modbus-rtu`.
    pub kind: &'static str,
    /// Address or port.
    pub at: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub id: Arc<str>,
    /// Those it stands on; none where it stands on devices, wires, time or the gateway itself.
    pub points: Vec<PointId>,
    pub devices: Vec<DeviceId>,
    /// As written: `{"below": 200.0}`.
    pub condition: Json,
    pub deadband: f64,
    /// `10s`
    pub on_delay: String,
    pub off_delay: String,
    pub class: Class,
    pub level: u8,
    pub trade: Option<Arc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    pub id: DoorId,
    /// `open` / `closed`
    pub contact: PointId,
}

/// A board with its cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bank {
    pub device: DeviceId,
    /// `open` / `closed`, by cell from 1.
    pub cells: Vec<PointId>,
    /// `present` / `absent`; as many, or none.
    pub items: Vec<PointId>,
    /// What may be ordered of it, each once: `open`.
    pub commands: Vec<Arc<str>>,
}
