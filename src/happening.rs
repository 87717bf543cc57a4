//! Noun: something done at a door, as a device tells it. Values change; this happens, and each one is kept.
//!
//! Cards, phone numbers and names are pseudonyms before they get here: the journal only ever grows.

use std::sync::Arc;

use crate::pseudonym::Pseudonym;
use crate::reading::{DeviceId, Millis, PointId};

#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    pub device: DeviceId,
    /// When it happened: at arrival, or where the device tells it late, by the device's own clock.
    pub at: Millis,
    pub kind: Kind,
    /// Which of the device's doors, readers, inputs: a point of it (`gate.door-2`). `None`: it has one.
    pub point: Option<PointId>,
    pub who: Option<Pseudonym>,
    pub direction: Option<Direction>,
    /// Why, in a word of the field's own: `no-privilege`, `anti-passback`, `wrong-password`.
    pub reason: Option<Arc<str>>,
    /// The device's own number of it. What comes a second time under the same number happened once.
    pub record: Option<Arc<str>>,
    /// Told from the device's memory, of a time when nobody listened: kept, but no door is judged by it.
    pub late: bool,
}

/// The words of `access.*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A reader that only reports; someone else decides.
    Card,
    Keypad,
    Granted,
    Denied,
    Opened,
    Closed,
    /// By the controller's own judgement.
    Forced,
    Held,
    /// The exit button.
    Exit,
    Tamper,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Card => "card",
            Kind::Keypad => "keypad",
            Kind::Granted => "granted",
            Kind::Denied => "denied",
            Kind::Opened => "opened",
            Kind::Closed => "closed",
            Kind::Forced => "forced",
            Kind::Held => "held",
            Kind::Exit => "exit",
            Kind::Tamper => "tamper",
        }
    }
}

impl Direction {
    pub fn word(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

impl Happening {
    pub fn new(device: DeviceId, at: Millis, kind: Kind) -> Self {
        Self {
            device,
            at,
            kind,
            point: None,
            who: None,
            direction: None,
            reason: None,
            record: None,
            late: false,
        }
    }
}
