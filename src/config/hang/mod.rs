//! How a device hangs on each kind of channel: the keys it has there, and what the wire's room is given.

mod doors;
mod lockers;
mod meters;
mod modbus;
mod mqtt;

pub(super) use doors::{DOORS_MAX, LINES_MAX};
pub(super) use modbus::{merge, turnaround};

use std::sync::Arc;
use std::time::Duration;

use super::channels::Type;
use super::devices::{Draft, Installer};
use super::mistakes::Spot;
use super::section::Section;
use crate::config::codes::Code;
use crate::field::profile::{Line, Point, Profile, Transport};
use crate::field::wire::{Parity, Wire};
use crate::field::{self, Kind, osdp, serial};
use crate::reading::{DeviceId, PointId};

pub(super) const POLL_DEFAULT: Duration = Duration::from_secs(1);
pub(super) const POLL_MIN: Duration = Duration::from_millis(50);
pub(super) const POLL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Keys of a device that hangs somewhere.
pub(super) const KEYS: [&str; 25] = [
    "unit",
    "poll",
    "max_gap",
    "max_registers",
    "avoid",
    "turnaround",
    "topic",
    "availability",
    "cells",
    "items",
    "feedback",
    "first_byte",
    "unexpected",
    "opens_within",
    "held_after",
    "overdue_after",
    "address",
    "kind",
    "order",
    "key",
    "inputs",
    "outputs",
    "serial",
    "doors",
    "command",
];

fn poll(section: &mut Section<'_>, default: Duration) -> Duration {
    section.span("poll", POLL_MIN..=POLL_MAX).map_or(default, |told| told.value)
}

/// Whether the profile speaks over such a channel; says so where the line is set otherwise than the device leaves the factory.
pub(super) fn fits(section: &mut Section<'_>, profile: Option<&Profile>, kind: Type, hung: &Kind) -> bool {
    let Some(profile) = profile else { return true };
    let Some(spot) = section.entry("profile").map(|entry| entry.value.spot) else {
        return true;
    };
    let needs = match (&profile.transport, kind) {
        (Transport::Modbus { .. }, Type::ModbusTcp | Type::ModbusRtu | Type::ModbusRtuOverTcp)
        | (Transport::Locker { .. } | Transport::Meter { .. }, Type::Serial)
        | (Transport::Osdp { .. }, Type::Osdp)
        | (Transport::Uhppote { .. }, Type::Uhppote)
        | (Transport::Mqtt { .. }, Type::Mqtt) => {
            factory(section, spot, profile, hung);
            return true;
        }
        (Transport::Modbus { .. }, _) => "`modbus-rtu`, `modbus-tcp` or `modbus-rtu-over-tcp`",
        (Transport::Locker { .. } | Transport::Meter { .. }, _) => "`serial`",
        (Transport::Osdp { .. }, _) => "`osdp`",
        (Transport::Uhppote { .. }, _) => "`uhppote`",
        (Transport::Mqtt { .. }, _) => "`mqtt`",
    };
    let what = format!("profile `{}` does not go over a channel of type `{}`", profile.name, kind.word());
    section.report.mistake(
        Code::WrongChannel,
        spot,
        what,
        format!("name a channel of type {needs}, or another profile"),
    );
    false
}

/// A device straight from the factory would not be heard on this line.
fn factory(section: &Section<'_>, spot: Spot, profile: &Profile, hung: &Kind) {
    let port = match hung {
        Kind::Modbus(field::modbus::Settings { wire: Wire::Serial(port), .. })
        | Kind::Serial(serial::Settings { wire: Wire::Serial(port), .. })
        | Kind::Osdp(osdp::Settings { wire: Wire::Serial(port), .. }) => port,
        _ => return,
    };
    let line = Line { baud: port.baud, parity: port.parity, stop_bits: port.stop_bits };
    if let Some(factory) = profile.transport.line().filter(|factory| *factory != line) {
        let what = format!(
            "`{}` leaves the factory with {}, this line has {}",
            profile.name,
            words(factory),
            words(line)
        );
        section.report.warning(
            Code::FactoryLine,
            spot,
            what,
            "fine where the device has been set to it; else it will be silent",
        );
    }
}

/// `9600 8N1`
fn words(line: Line) -> String {
    let parity = match line.parity {
        Parity::None => 'N',
        Parity::Even => 'E',
        Parity::Odd => 'O',
    };
    format!("{} 8{parity}{}", line.baud, line.stop_bits)
}

impl<'a> Installer<'a> {
    /// A board or a meter: which, its profile says.
    pub(super) fn serial(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut serial::Settings,
    ) -> Duration {
        if let Some(entry) = section.entry("channel").filter(|_| meters::answers_all(settings)) {
            let what = format!("a meter of channel `{channel}` has no `address` and answers to every one");
            self.report.mistake(Code::AddressTaken, entry.value.spot, what, "give that meter its `address`");
        }
        match draft.profile.map(|known| &known.profile.transport) {
            Some(Transport::Meter { meter, .. }) => self.meter(section, draft, channel, settings, *meter),
            Some(_) => {
                self.no_points(section, "a board has the points of its profile");
                self.locker(section, draft, channel, settings)
            }
            None => {
                if section.entry("profile").is_none() {
                    let cure = "write `profile = \"lock-board-8a\"`: it says what the device speaks";
                    section.missing("profile", cure);
                }
                section.know(&KEYS);
                section.know(&["point"]);
                POLL_DEFAULT
            }
        }
    }

    /// For devices whose points nobody writes.
    fn no_points(&self, section: &mut Section<'a>, why: &str) {
        if let Some(entry) = section.entry("point") {
            self.report.mistake(Code::OfNoUse, entry.key_spot, why, "take the points out");
        }
    }
}

/// The number of a device, and of its first point.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub device: DeviceId,
    pub first: u32,
}

impl Numbers {
    fn points<'p>(&self, points: &'p [Point]) -> impl Iterator<Item = (PointId, &'p Point)> + use<'p> {
        (self.first..).map(PointId).zip(points)
    }

    /// The points whose ids begin so, in their order: `input-1`, `input-2`.
    fn named(&self, points: &[Point], prefix: &str) -> Vec<PointId> {
        self.points(points).filter(|(_, point)| point.id.starts_with(prefix)).map(|(id, _)| id).collect()
    }
}
