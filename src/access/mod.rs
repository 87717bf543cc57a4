//! Doors and lockers: what readings, happenings and orders amount to. Pure: no clock, no I/O, `now` is an argument.
//!
//! One meaning over all device families. A door *opens* when its contact says so; without a grant or an exit request in
//! the window before, it was *forced*; open too long, it is *held*. A locker's cell that opens without an order is
//! *unexpected*; one that was ordered to open and did not is *jammed*. An acknowledgement is never taken for a door that
//! opened.
//!
//! Readings, happenings and orders go in, each with its own time; [`Watch`] hands out what they amount to. How they are
//! cut into batches changes nothing. A bad reading never is an event: what was open before it and is open after it was
//! open all the time.

mod bank;
mod door;
mod numbers;
mod sense;
mod watch;

use crate::happening::Kind;
use crate::reading::{DeviceId, DoorId, Millis, PointId};

pub use watch::Watch;

/// What there is to watch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub doors: Vec<Door>,
    pub banks: Vec<Bank>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    pub id: DoorId,
    /// `open` / `closed`
    pub contact: PointId,
    /// Whose granted entries let it open. Empty: nobody knows, and it is never `forced`.
    pub grants: Vec<Grant>,
    /// The exit button: a point that reads `on` or `true`, or turns so.
    pub exit: Option<PointId>,
    /// After a grant or an exit request it may be opened for so long.
    pub unlock_window: Millis,
    pub held_after: Millis,
}

/// Whose granted entries count: all of a device, or those at one point of it (`gate.door-2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    Device(DeviceId),
    Point(PointId),
}

/// A board with its cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Bank {
    pub device: DeviceId,
    /// `open` / `closed`, by cell from 1.
    pub cells: Vec<PointId>,
    /// `present` / `absent`; as many, or none.
    pub items: Vec<PointId>,
    /// Whether an opening without an order is told as `unexpected`; not where another system opens the cells.
    pub unexpected: bool,
    /// A cell has to open within so long after its order, or it is jammed.
    pub opens_within: Millis,
    /// Open for longer than this, it was not closed in time.
    pub held_after: Millis,
    /// A parcel that lies longer is overdue.
    pub overdue_after: Millis,
}

pub const UNLOCK_WINDOW_DEFAULT: Millis = 8_000;
pub const HELD_AFTER_DEFAULT: Millis = 60_000;
pub const OPENS_WITHIN_DEFAULT: Millis = 5_000;
pub const CELL_HELD_AFTER_DEFAULT: Millis = 300_000;
pub const OVERDUE_AFTER_DEFAULT: Millis = 48 * 3600 * 1000;

/// One thing that happened, to be told and to be a reading of its momentary point.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// `access.forced`, `locker.jammed`
    pub kind: &'static str,
    /// `doors/b3-entrance`, `devices/bank-1`
    pub subject: String,
    pub at: Millis,
    pub data: serde_json::Value,
    /// The momentary point, where there is one, and the word it reads.
    pub point: Option<PointId>,
    pub word: &'static str,
}

impl Told {
    /// `kind` is one of `event::KINDS`; its last word is the momentary point's.
    fn new(kind: &'static str, subject: String, at: Millis, point: Option<PointId>) -> Self {
        let word = kind.rsplit_once('.').map_or(kind, |(_, word)| word);
        Self { kind, subject, at, data: serde_json::Value::Null, point, word }
    }
}

/// What an order moves, as far as doors and lockers understand it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    Cell(PointId),
    /// It lets this door open, like a grant.
    Door(DoorId),
}

/// How an order ended, as far as it matters here. That a device took it does not mean that anything moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Taken,
    /// It did not happen.
    Not,
    /// It may have happened.
    Unsure,
}

/// What a restart goes on from: the state of one door (`doors/<id>`) or bank (`devices/<id>`), private JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub subject: String,
    pub state: String,
}

/// Contacts are asked once a second and events come over other wires: what explains an opening may arrive this much
/// after it, and an opening may be seen this much after it happened. So long, nothing is called forced or unexpected.
pub const GRACE: Millis = 2_000;

/// The event of a happening.
fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Card => "access.card",
        Kind::Keypad => "access.keypad",
        Kind::Granted => "access.granted",
        Kind::Denied => "access.denied",
        Kind::Opened => "access.opened",
        Kind::Closed => "access.closed",
        Kind::Forced => "access.forced",
        Kind::Held => "access.held",
        Kind::Exit => "access.exit",
        Kind::Tamper => "access.tamper",
    }
}
