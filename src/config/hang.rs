//! How a device hangs on each kind of channel: the keys it has there, and what the wire's room is given.

use std::time::Duration;

use super::channels::Type;
use super::mistakes::Spot;
use super::points::Topic;
use super::section::{Section, Told};
use crate::field::profile::{Line, Point, Profile, Source, Transport};
use crate::field::serial::{self, Board, Feedback, FirstByte, Protocol};
use crate::field::wire::{Parity, Wire};
use crate::field::{Kind, modbus, mqtt};
use crate::reading::{DeviceId, PointId};

const POLL_DEFAULT: Duration = Duration::from_secs(1);
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(24 * 3600);

// ---------------------------------------------------------------------------------------------- keys of a kind

pub(super) fn poll(section: &mut Section<'_>) -> Duration {
    section.span("poll", POLL_MIN..=POLL_MAX).map_or(POLL_DEFAULT, |told| told.value)
}

/// Whether the profile speaks over such a channel; says so where the line is set otherwise than the device leaves the factory.
pub(super) fn fits(section: &mut Section<'_>, profile: Option<&Profile>, kind: Type, hung: &Kind) -> bool {
    let Some(profile) = profile else { return true };
    let Some(spot) = section.entry("profile").map(|entry| entry.value.spot) else {
        return true;
    };
    let needs = match (&profile.transport, kind) {
        (Transport::Modbus { .. }, Type::ModbusTcp | Type::ModbusRtu | Type::ModbusRtuOverTcp)
        | (Transport::Locker { .. }, Type::Serial)
        | (Transport::Mqtt { .. }, Type::Mqtt) => {
            factory(section, spot, profile, hung);
            return true;
        }
        (Transport::Modbus { .. }, _) => "`modbus-rtu`, `modbus-tcp` or `modbus-rtu-over-tcp`",
        (Transport::Locker { .. }, _) => "`serial`",
        (Transport::Meter { .. }, _) => "`serial`",
        (Transport::Osdp { .. }, _) => "`osdp`",
        (Transport::Uhppote, _) => "`uhppote`",
        (Transport::Mqtt { .. }, _) => "`mqtt`",
    };
    let what = format!("profile `{}` does not go over a channel of type `{}`", profile.name, kind.word());
    section.report.mistake(spot, what, format!("name a channel of type {needs}, or another profile"));
    false
}

/// A device straight from the factory would not be heard on this line.
fn factory(section: &Section<'_>, spot: Spot, profile: &Profile, hung: &Kind) {
    let port = match hung {
        Kind::Modbus(modbus::Settings { wire: Wire::Serial(port), .. })
        | Kind::Serial(serial::Settings { wire: Wire::Serial(port), .. }) => port,
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

/// `cell-1` … `cell-N` of a lock board.
pub(super) fn cells(section: &mut Section<'_>, profile: Option<&Profile>) -> Vec<Point> {
    if let Some(entry) = section.entry("point") {
        section.report.mistake(
            entry.key_spot,
            "a device on a serial channel has the points of its profile",
            "take the points out",
        );
    }
    let Some(Transport::Locker { cells_default, cells_max, .. }) = profile.map(|profile| &profile.transport)
    else {
        if section.entry("profile").is_none() {
            section.missing("profile", "write `profile = \"lock-board-8a\"`: it says what the board speaks");
        }
        return Vec::new();
    };
    let cells =
        section.whole::<u8>("cells", 1..=i128::from(*cells_max)).map_or(*cells_default, |told| told.value);
    let cell = |n| Point {
        id: format!("cell-{n}").into(),
        unit: None,
        range: None,
        deadband: 0.0,
        transform: Default::default(),
        source: Source::Cell,
    };
    (1..=cells).map(cell).collect()
}

pub(super) fn lock_board(section: &mut Section<'_>) -> Protocol {
    let feedback = [("door-closing", Feedback::DoorClosing), ("door-opening", Feedback::DoorOpening)];
    let first_byte = [("last", FirstByte::Last), ("first", FirstByte::First)];
    Protocol::LockBoard8a {
        feedback: section.word("feedback", &feedback).map(|told| told.value).unwrap_or_default(),
        first_byte: section.word("first_byte", &first_byte).map(|told| told.value).unwrap_or_default(),
    }
}

/// The device's topic, and where it says whether it is there.
pub(super) fn topics(section: &mut Section<'_>, profile: Option<&Profile>) -> (String, Option<String>) {
    let told: Option<Told<Topic>> = section.require("topic");
    let own = section.take::<Topic>("availability").map(|told| told.value.0);
    let suggested = match profile.map(|profile| &profile.transport) {
        Some(Transport::Mqtt { availability, .. }) => availability.clone(),
        _ => None,
    };
    let topic = told.as_ref().map_or("", |told| told.value.0.as_str());
    if let Some(told) = told.as_ref().filter(|told| told.value.0.ends_with('#'))
        && profile.is_some()
    {
        let cure = "name the device's own topic, like `\"zigbee2mqtt/b3-door\"`";
        section.report.mistake(
            told.spot,
            "a device with a profile has one topic, and `#` stands for many",
            cure,
        );
    }
    (topic.to_owned(), own.or(suggested).map(|text| text.replace(TOPIC, topic)))
}

/// In a profile: the device's own topic.
const TOPIC: &str = "{topic}";

// ---------------------------------------------------------------------------------------------- numbers

/// The number of a device, and of its first point.
pub(super) struct Numbers {
    pub device: DeviceId,
    pub first: u32,
}

impl Numbers {
    fn points<'p>(&self, points: &'p [Point]) -> impl Iterator<Item = (PointId, &'p Point)> + use<'p> {
        (self.first..).map(PointId).zip(points)
    }

    pub fn modbus(&self, unit: u8, poll: Duration, points: &[Point]) -> modbus::Device {
        let one = |(id, point): (PointId, &Point)| match &point.source {
            &Source::Register { table, register, kind, order, bit, poll, ref by } => Some(modbus::Point {
                id,
                table,
                register,
                kind,
                order,
                bit,
                transform: point.transform.clone(),
                poll,
                by: by.clone(),
            }),
            _ => None,
        };
        modbus::Device {
            id: self.device,
            unit,
            poll,
            turnaround: Duration::ZERO,
            merge: modbus::Merge::default(),
            points: self.points(points).filter_map(one).collect(),
            commands: Vec::new(),
        }
    }

    pub fn board(&self, address: u8, poll: Duration, protocol: Protocol, points: &[Point]) -> Board {
        let cells = self.points(points).map(|(id, _)| id).collect();
        let locker = serial::Locker { address, protocol, cells, items: Vec::new(), commands: Vec::new() };
        Board { id: self.device, poll, kind: serial::Kind::Locker(locker) }
    }

    pub fn mqtt(&self, topic: String, availability: Option<String>, points: &[Point]) -> mqtt::Device {
        let one = |(id, point): (PointId, &Point)| match &point.source {
            Source::Message { topic: own, json } => Some(mqtt::Point {
                id,
                topic: own.as_ref().map(|own| own.replace(TOPIC, &topic)),
                json: json.clone(),
                transform: point.transform.clone(),
            }),
            _ => None,
        };
        let points = self.points(points).filter_map(one).collect();
        mqtt::Device {
            id: self.device,
            topic,
            availability,
            dialect: Default::default(),
            points,
            commands: Vec::new(),
        }
    }
}
