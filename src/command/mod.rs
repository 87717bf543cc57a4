//! What may be ordered of devices, and whether an order is one of it. Pure.
//!
//! An order comes in at the API, or in a reply of the CRM, is judged here, written down by intake before the wire is told and again when the wire
//! has answered.

mod desk;
mod judge;
mod refusals;
mod terms;

use std::sync::Arc;

use crate::access::Ordered;
use crate::numbers::{Numbered, Numbers};
use crate::reading::{DeviceId, DoorId, PointId};

pub use desk::{BEGIN_WITHIN, Desk, END_WITHIN, Running, UNDER_WAY_MAX, Verdict};
pub use judge::{AHEAD_MAX, Given, Kept, Moment, Trust};
pub use refusals::{REFUSALS_TOLD_MAX, Refusals};
pub use terms::{AtMost, DAY_MINUTES, DAYS, Hours, Terms, When};

/// One line of the allow-list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub device: DeviceId,
    pub action: Arc<str>,
    pub target: Arc<str>,
    /// Which of the commands that the wire knows of this device.
    pub nth: usize,
    /// What it moves, so that what happens then is understood.
    pub moves: Option<Moves>,
    /// One for all that stands in one table.
    pub terms: Arc<Terms>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moves {
    /// A locker's cell.
    Cell(PointId),
    /// It lets this door open, like a grant.
    Door(DoorId),
}

impl From<Moves> for Ordered {
    fn from(moves: Moves) -> Self {
        match moves {
            Moves::Cell(point) => Ordered::Cell(point),
            Moves::Door(door) => Ordered::Door(door),
        }
    }
}

impl Moves {
    /// `None`: it is not there any more.
    fn counted_by(self, numbers: &Numbers) -> Option<Self> {
        match self {
            Moves::Cell(point) => numbers.point(point).map(Moves::Cell),
            Moves::Door(door) => numbers.door(door).map(Moves::Door),
        }
    }
}

impl Numbered for Allowed {
    fn in_other(self, numbers: &Numbers) -> Self {
        let moves = self.moves.map(|moves| match moves {
            Moves::Cell(point) => Moves::Cell(point.in_other(numbers)),
            Moves::Door(door) => Moves::Door(door.in_other(numbers)),
        });
        Self { device: self.device.in_other(numbers), moves, ..self }
    }
}
