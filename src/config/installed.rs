//! What all `[[device]]`s amount to: the numbers of devices and points, and what the walk learnt of each on its way.

use std::sync::Arc;
use std::time::Duration;

use super::commands::Permit;
use super::mistakes::Spot;
use super::tree::Table;
use crate::access::Bank;
use crate::field::profile::Shape;
use crate::reading::{self, DeviceId, PointId};

/// The last words of `access.*`.
const ACCESS_WORDS: [&str; 10] =
    ["card", "keypad", "granted", "denied", "opened", "closed", "forced", "held", "exit", "tamper"];
/// The last words of `locker.*`.
const LOCKER_WORDS: [&str; 8] =
    ["opened", "closed", "deposited", "collected", "unexpected", "jammed", "overdue", "held"];

/// All devices and points, in the order of the configuration; momentary points behind the others.
#[derive(Debug, Default)]
pub(super) struct Installed<'a> {
    pub devices: Vec<reading::Device>,
    pub points: Vec<reading::Point>,
    /// Of each point, what its values look like.
    pub shapes: Vec<Shape>,
    /// Points before this one are read; behind them stand the momentary ones.
    pub measured: usize,
    /// How often each device is asked; `None`: it speaks by itself.
    pub polls: Vec<Option<Duration>>,
    /// What each device itself says of the built-in `device-silent`.
    pub silent: Vec<Option<bool>>,
    /// Of each device, what its events are of.
    pub words: Vec<Option<Words>>,
    /// Rules that a profile suggests and a device has turned on.
    pub suggested: Vec<(DeviceId, &'a Table)>,
    /// Devices whose points could not be told: no complaint that a rule finds none.
    pub unsure: Vec<Arc<str>>,
    pub permits: Vec<Permit>,
    pub banks: Vec<Bank>,
    /// The first device that tells who came and went, and where it stands.
    pub people: Option<(Arc<str>, Spot)>,
}

/// What a device's events are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Access,
    /// Likewise, and it only reports: someone else decides.
    Reader,
    Locker,
}

impl Installed<'_> {
    /// `<device>.access` and `<device>.locker`, so that rules can stand on what happens.
    pub fn momentary(&mut self) {
        self.measured = self.points.len();
        for number in 0..self.devices.len() {
            let Some(words) = self.words[number] else { continue };
            let name = match words {
                Words::Access | Words::Reader => "access",
                Words::Locker => "locker",
            };
            let id = format!("{}.{name}", self.devices[number].id);
            self.devices[number].words = Some(self.happens(id, DeviceId(number as u32), words));
        }
    }

    /// A momentary point behind all the others.
    pub fn happens(&mut self, id: String, device: DeviceId, words: Words) -> PointId {
        let number = PointId(self.points.len() as u32);
        let id = id.into();
        let clean = reading::Clean::default();
        self.points.push(reading::Point { id, device, unit: None, range: None, deadband: 0.0, clean });
        let words = match words {
            Words::Access | Words::Reader => ACCESS_WORDS.as_slice(),
            Words::Locker => LOCKER_WORDS.as_slice(),
        };
        self.shapes.push(Shape::Words(words.iter().map(|word| (*word).to_owned()).collect()));
        number
    }
}
