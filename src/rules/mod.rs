//! Readings → ticket changes. Pure: no clock, no I/O, `now` is an argument.

mod condition;
mod desk;
mod engine;
mod episode;
mod title;

pub use desk::Change;
pub use engine::{Engine, Memory, Outcome, Plan, SavedEpisode, SavedTicket};

use std::sync::Arc;

use serde_json::Value as Json;

use crate::reading::{DeviceId, Millis, PointId, Value};
use crate::ticket::Class;

/// A condition over points, and what becomes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub id: Arc<str>,
    pub over: Over,
    pub condition: Condition,
    /// The condition as written, for people and the centre: `{"below": 200.0}`.
    pub limit: Json,
    /// Has to come back by this much to be gone.
    pub deadband: f64,
    /// Has to last this long to open.
    pub on_delay: Millis,
    /// Has to be gone this long to clear.
    pub off_delay: Millis,
    /// A resolved ticket whose condition has not gone within this is reopened.
    pub settle: Millis,
    /// Readings have to stay well this long before the ticket closes.
    pub verify: Millis,
    /// A fault that is back within this reopens its ticket.
    pub reopen: Millis,
    pub class: Class,
    /// 1, 2, 3
    pub level: u8,
    pub trade: Option<Arc<str>>,
    /// `None`: a title of the condition's own, in the site's language.
    pub title: Option<String>,
}

/// What a rule stands on; it has one episode and at most one unclosed ticket for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    Points(Vec<PointId>),
    /// For `silent` only: any good reading of the device counts.
    Devices(Vec<DeviceId>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    Above(f64),
    Below(f64),
    Outside(f64, f64),
    Inside(f64, f64),
    Equals(Value),
    NotEquals(Value),
    /// No good reading for that long, counted from the later of the last one and the daemon's start.
    Silent(Millis),
}

/// The language of ticket titles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    #[default]
    ZhCn,
    En,
}

pub const SETTLE_DEFAULT: Millis = 60 * 60 * 1000;
pub const VERIFY_DEFAULT: Millis = 24 * 60 * 60 * 1000;
pub const REOPEN_DEFAULT: Millis = 7 * 24 * 60 * 60 * 1000;
pub const DEVICE_SILENT: &str = "device-silent";
pub const DEVICE_SILENT_DEFAULT: Millis = 10 * 60 * 1000;

impl Rule {
    fn delays(&self) -> episode::Delays {
        episode::Delays { on: self.on_delay, off: self.off_delay }
    }
}
