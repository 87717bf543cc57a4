//! Doors and lockers across a change of the configuration. Pure.

use super::{Bank, Door, Grant};
use crate::numbers::{Numbered, Numbers};

impl Numbered for Door {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self {
            id: self.id.in_other(numbers),
            contact: self.contact.in_other(numbers),
            grants: self.grants.in_other(numbers),
            exit: self.exit.in_other(numbers),
            ..self
        }
    }
}

impl Numbered for Grant {
    fn in_other(self, numbers: &Numbers) -> Self {
        match self {
            Grant::Device(device) => Grant::Device(device.in_other(numbers)),
            Grant::Point(point) => Grant::Point(point.in_other(numbers)),
        }
    }
}

impl Numbered for Bank {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self {
            device: self.device.in_other(numbers),
            cells: self.cells.in_other(numbers),
            items: self.items.in_other(numbers),
            ..self
        }
    }
}
