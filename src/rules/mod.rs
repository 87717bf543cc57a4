//! Readings → ticket changes. Pure: no clock, no I/O, `now` is an argument.

mod channel;
mod chatter;
mod condition;
mod count;
mod desk;
mod engine;
mod episode;
mod erased;
mod expression;
mod hours;
mod judge;
mod maintenance;
#[cfg(test)]
mod maintenance_tests;
mod meter;
mod numbers;
mod occasions;
mod opening;
mod saved;
mod slope;
mod sparing;
mod stepped;
mod storage;
mod storm;
mod stuck;
mod taken;
mod title;
mod trend;
mod turns;
mod unsynced;
mod upkeep;
mod wear;
mod window;

pub use desk::Change;
pub use engine::{Engine, Plan};
pub use expression::{Cure, Expression, Fault, Kind, Name};
pub use occasions::Occasions;
pub use saved::{Memory, Outcome, SavedEpisode, SavedTicket};
pub use title::said;

use std::sync::Arc;

use jiff::tz::TimeZone;
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
    /// From when on its ticket's comings are only counted; `None`: each is told.
    pub chatter: Option<Chatter>,
    /// `None`: a title of the condition's own, in the site's language.
    pub title: Option<String>,
}

/// What a rule stands on; it has one episode and at most one unclosed ticket for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    Points(Vec<PointId>),
    /// For `silent` only: any good reading of the device counts.
    Devices(Vec<DeviceId>),
    /// For `when` only: one episode over all of them, in the order of the expression's names.
    Together(Vec<PointId>),
    /// For `channel-offline` only: all devices of a wire, by wire.
    Channels(Vec<(Arc<str>, Vec<DeviceId>)>),
    /// For `schedule`, `storm`, `storage-low` and `clock-unsynced`: nothing but time, the other rules, the gateway itself.
    Nothing,
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
    /// The value is higher than its lowest within the window by so much, or more.
    Rises {
        by: f64,
        within: Millis,
    },
    Falls {
        by: f64,
        within: Millis,
    },
    /// Good readings for that long, and not one change.
    Stuck(Millis),
    /// So many occurrences within the window: of a momentary point each reading, of any other each change to the value.
    Count {
        equals: Value,
        times: u32,
        within: Millis,
    },
    When(Expression),
    /// The trend crosses the limit within that time.
    Forecast {
        limit: Limit,
        within: Millis,
        /// The day on which it is expected is told as people there count days.
        zone: TimeZone,
    },
    /// So long at that value since the last resolve. Without `equals` the point counts the hours itself.
    Runtime {
        equals: Option<Value>,
        lasts: Millis,
    },
    /// So often come to that value since the last resolve. Without `equals` the point is the counter.
    Cycles {
        equals: Option<Value>,
        count: u64,
    },
    Schedule(Box<Occasions>),
    /// No device of the wire is there.
    ChannelOffline,
    /// More new tickets a minute than that are held back and summed up in one.
    Storm {
        a_minute: u32,
    },
    /// The gateway's own disk is full, or takes nothing.
    StorageLow,
    /// The wall clock cannot be believed.
    ClockUnsynced,
}

/// A condition that is back so often within the span chatters, until it has stood still for as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chatter {
    pub times: u32,
    pub within: Millis,
}

/// A line that a value can cross.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    Above(f64),
    Below(f64),
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
pub const CHATTER_DEFAULT: Chatter = Chatter { times: 10, within: 10 * 60 * 1000 };
pub const DEVICE_SILENT: &str = "device-silent";
pub const DEVICE_SILENT_DEFAULT: Millis = 10 * 60 * 1000;
pub const CHANNEL_OFFLINE: &str = "channel-offline";
pub const CHANNEL_OFFLINE_DEFAULT: Millis = 60 * 1000;
pub const STORM: &str = "storm";
/// New tickets a minute, of level 1 and of the others each.
pub const STORM_DEFAULT: u32 = 300;
pub const STORAGE_LOW: &str = "storage-low";
/// How long the storm goes on before it is told, so that the ticket says how many it is about.
pub const STORM_ON_DELAY: Millis = 10 * 1000;

pub const CLOCK_UNSYNCED: &str = "clock-unsynced";
pub const CLOCK_UNSYNCED_DEFAULT: Millis = 30 * 60 * 1000;

impl Rule {
    fn delays(&self) -> episode::Delays {
        episode::Delays { on: self.on_delay, off: self.off_delay }
    }
}
