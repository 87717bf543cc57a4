//! Rules across a change of the configuration: whether what one knows of its subject still holds. Pure.

use super::{Condition, Over, Rule};
use crate::numbers::{Numbered, Numbers};
use crate::reading::DeviceId;

impl Rule {
    /// Whether what was gathered under the one is what the other would have gathered: windows, counters, last values. What
    /// they stand on is compared subject by subject; delays, levels and words are asked for when they are needed. Both in
    /// numbers of one site.
    pub(super) fn sees_like(&self, other: &Self) -> bool {
        let alike = self.condition == other.condition && self.deadband == other.deadband;
        let together = |over: &Over| matches!(over, Over::Together(_));
        alike && (!(together(&self.over) || together(&other.over)) || self.over == other.over)
    }

    /// Whether they are the same kind of question, whatever the limits.
    pub(super) fn asks_like(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.condition) == std::mem::discriminant(&other.condition)
    }
}

impl Numbered for Rule {
    fn in_other(self, numbers: &Numbers) -> Self {
        let condition = match self.condition {
            Condition::Schedule(mut occasions) => {
                occasions.device = occasions.device.in_other(numbers);
                Condition::Schedule(occasions)
            }
            other => other,
        };
        Self { over: self.over.in_other(numbers), condition, ..self }
    }
}

impl Numbered for Over {
    fn in_other(self, numbers: &Numbers) -> Self {
        let wires = |(wire, devices): (_, Vec<DeviceId>)| (wire, devices.in_other(numbers));
        match self {
            Over::Points(points) => Over::Points(points.in_other(numbers)),
            Over::Devices(devices) => Over::Devices(devices.in_other(numbers)),
            Over::Together(points) => Over::Together(points.in_other(numbers)),
            Over::Channels(channels) => Over::Channels(channels.into_iter().map(wires).collect()),
            Over::Nothing => Over::Nothing,
        }
    }
}
