//! `[[device]]`: gives every device and point its number in the site, and hangs each device on its channel.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::channels::{self, Channel, Type};
use super::mistakes::{Report, Spot};
use super::names::{Names, title};
use super::points::{self, Means, Topic};
use super::profiles::Known;
use super::section::{Section, Told};
use super::tree::Table;
use crate::field::profile::{Line, Point, Profile, Shape, Source, Transport};
use crate::field::serial::{Board, Feedback, FirstByte, Protocol};
use crate::field::{Kind, modbus, mqtt, wire};
use crate::reading::{self, DeviceId, PointId};

pub const DEVICES_MAX: usize = 4096;
/// Points of the whole gateway.
pub const POINTS_MAX: usize = 32_768;
const POLL_DEFAULT: Duration = Duration::from_secs(1);
const POLL_MIN: Duration = Duration::from_millis(50);
const POLL_MAX: Duration = Duration::from_secs(24 * 3600);

/// All devices and points, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Installed<'a> {
    pub devices: Vec<reading::Device>,
    pub points: Vec<reading::Point>,
    /// Of each point, what its values look like.
    pub shapes: Vec<Shape>,
    /// What each device itself says of the built-in `device-silent`.
    pub silent: Vec<Option<bool>>,
    /// Rules that a profile suggests and a device has turned on.
    pub suggested: Vec<(DeviceId, &'a Table)>,
    /// Devices whose points could not be told: no complaint that a rule finds none.
    pub unsure: Vec<Arc<str>>,
}

/// Reads the devices one after the other.
#[derive(Debug)]
struct Installer<'a> {
    installed: Installed<'a>,
    profiles: &'a BTreeMap<String, Known<'a>>,
    /// Who has which unit of which channel.
    units: HashMap<(Arc<str>, u8), (Arc<str>, Spot)>,
    report: &'a Report<'a>,
}

/// A device before its points have numbers.
struct Draft<'a> {
    id: Arc<str>,
    place: String,
    profile: Option<&'a Profile>,
    points: Vec<Point>,
}

pub(super) fn devices<'a>(
    tables: &[&'a Table],
    channels: &mut [Channel],
    profiles: &'a BTreeMap<String, Known<'a>>,
    report: &'a Report<'a>,
) -> Installed<'a> {
    let mut names = Names::new("device", "give one of them another id", DEVICES_MAX);
    let mut installer = Installer {
        installed: Installed::default(),
        profiles,
        units: HashMap::new(),
        report,
    };
    for table in tables {
        let mut section = Section::new(table, title("device", table, "id"), report);
        let id = names.claim(&mut section);
        installer.device(section, id.into(), channels);
    }
    installer.installed
}

impl<'a> Installer<'a> {
    fn device(&mut self, mut section: Section<'a>, id: Arc<str>, channels: &mut [Channel]) {
        let place = section.take_or("place", String::new());
        self.installed.silent.push(silent(&mut section));
        section.ignored("command");
        let known = self.known(&mut section, &id);
        self.suggest(&mut section, known);
        let mut draft = Draft {
            id,
            place,
            profile: known.map(|known| &known.profile),
            points: Vec::new(),
        };
        let told = section.require::<String>("channel");
        let at = told
            .and_then(|told| channels::find(channels, &told, &section.name, self.report))
            .and_then(|channel| Some((channel.id.clone(), channel.what.as_mut()?)))
            .filter(|(_, (kind, hung))| fits(&mut section, draft.profile, *kind, hung));
        let Some((channel, (kind, hung))) = at else {
            // Without a channel that suits it nobody knows which keys it may have, nor all of its points.
            self.installed.unsure.push(draft.id.clone());
            draft.points = draft
                .profile
                .map(|profile| profile.points.clone())
                .unwrap_or_default();
            return self.enter(draft, "".into(), false, section.spot());
        };
        draft.points = match kind {
            Type::Serial => cells(&mut section, draft.profile),
            Type::Mqtt => self.points(&mut section, &draft, Means::Messages),
            _ => self.points(&mut section, &draft, Means::Registers),
        };
        let numbers = Numbers {
            device: DeviceId(self.installed.devices.len() as u32),
            first: self.installed.points.len() as u32,
        };
        match hung {
            Kind::Modbus(settings) => {
                let top = if *kind == Type::ModbusTcp { Some(255) } else { None };
                let unit = self.unit(&mut section, &draft.id, &channel, 247, top);
                let poll = poll(&mut section);
                settings.devices.push(numbers.modbus(unit, poll, &draft.points));
            }
            Kind::Serial(settings) => {
                let address = self.unit(&mut section, &draft.id, &channel, 32, None);
                let poll = poll(&mut section);
                let protocol = lock_board(&mut section);
                settings
                    .boards
                    .push(numbers.board(address, poll, protocol, &draft.points));
            }
            Kind::Mqtt(settings) => {
                let (topic, availability) = topics(&mut section, draft.profile);
                settings
                    .devices
                    .push(numbers.mqtt(topic, availability, &draft.points));
            }
        }
        let spot = section.spot();
        section.finish();
        self.enter(draft, channel, *kind != Type::Mqtt, spot);
    }

    /// The profile by its name; an unknown one leaves the device's points untold.
    fn known(&mut self, section: &mut Section<'a>, id: &Arc<str>) -> Option<&'a Known<'a>> {
        let told = section.take::<String>("profile")?;
        let known = self.profiles.get(&told.value);
        if known.is_none() {
            let there_is: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
            let what = format!("{} has the unknown profile `{}`", section.name, told.value);
            self.report.unknown(told.spot, &told.value, what, &there_is);
            self.installed.unsure.push(id.clone());
        }
        known
    }

    /// `rules = true` turns on what the profile suggests.
    fn suggest(&mut self, section: &mut Section<'a>, known: Option<&'a Known<'a>>) {
        let Some(rules) = section.take::<bool>("rules").filter(|rules| rules.value) else {
            return;
        };
        match known {
            Some(known) => {
                let device = DeviceId(self.installed.devices.len() as u32);
                self.installed
                    .suggested
                    .extend(known.rules.iter().map(|table| (device, *table)));
            }
            None if section.entry("profile").is_none() => {
                let cure = "name a `profile`, or write a `[[rule]]`";
                self.report.mistake(
                    rules.spot,
                    "`rules` turns on what a profile suggests, and there is none",
                    cure,
                );
            }
            None => {}
        }
    }

    /// The profile's points, and on top of them those written by hand.
    fn points(&self, section: &mut Section<'a>, draft: &Draft<'_>, means: Means) -> Vec<Point> {
        let owner = section.name.clone();
        let by_hand = section.tables("point").into_iter();
        let by_hand = by_hand
            .filter_map(|table| points::point(table, &owner, means, self.report))
            .collect();
        let points = draft
            .profile
            .map(|profile| profile.points.clone())
            .unwrap_or_default();
        let points = points::lay_over(points, by_hand, &owner, self.report);
        if points.is_empty() && !self.installed.unsure.contains(&draft.id) {
            let what = format!("{owner} has no points");
            self.report.missing(
                section.spot(),
                what,
                "name a `profile`, or add `[[device.point]]`",
            );
        }
        points
    }

    /// The unit's number, once on its channel.
    fn unit(
        &mut self,
        section: &mut Section<'a>,
        id: &Arc<str>,
        channel: &Arc<str>,
        max: u8,
        also: Option<u8>,
    ) -> u8 {
        let Some(told) = section.require::<i128>("unit") else {
            return 0;
        };
        let unit = u8::try_from(told.value)
            .ok()
            .filter(|unit| (1..=max).contains(unit) || also == Some(*unit));
        let Some(unit) = unit else {
            let also = also
                .map(|unit| format!(", or {unit} for the endpoint itself"))
                .unwrap_or_default();
            let what = format!("{} has the unit {}", section.name, told.value);
            self.report
                .mistake(told.spot, what, format!("write a number from 1 to {max}{also}"));
            return 0;
        };
        if let Some((other, spot)) = self.units.get(&(channel.clone(), unit)) {
            let what = format!("unit {unit} of channel `{channel}` is device `{other}` already");
            self.report.mistake(
                told.spot,
                what,
                format!(
                    "look at the device's setting; the first is at {}",
                    self.report.at(*spot)
                ),
            );
        } else {
            self.units
                .insert((channel.clone(), unit), (id.clone(), told.spot));
        }
        unit
    }

    /// Gives the device and its points their numbers in the site.
    fn enter(&mut self, draft: Draft<'_>, channel: Arc<str>, polled: bool, spot: Spot) {
        let device = DeviceId(self.installed.devices.len() as u32);
        let first_point = self.installed.points.len() as u32;
        self.installed.devices.push(reading::Device {
            id: draft.id.clone(),
            channel,
            profile: draft.profile.map(|profile| profile.name.clone()),
            place: draft.place.into(),
            polled,
            first_point,
            points: draft.points.len() as u32,
        });
        for point in draft.points {
            self.installed.shapes.push(point.shape());
            self.installed.points.push(reading::Point {
                id: format!("{}.{}", draft.id, point.id).into(),
                device,
                unit: point.unit,
                range: point.range,
                deadband: point.deadband,
            });
        }
        if first_point as usize <= POINTS_MAX && self.installed.points.len() > POINTS_MAX {
            let cure = format!("there may be {POINTS_MAX} on one gateway");
            self.report.mistake(spot, "one point too many", cure);
        }
    }
}

// ---------------------------------------------------------------------------------------------- keys of a kind

fn poll(section: &mut Section<'_>) -> Duration {
    section
        .span("poll", POLL_MIN..=POLL_MAX)
        .map_or(POLL_DEFAULT, |told| told.value)
}

/// `builtin = { device-silent = false }`: for this device alone.
fn silent(section: &mut Section<'_>) -> Option<bool> {
    let table = section.table("builtin")?;
    let mut builtin = Section::new(table, "`builtin` of a device", section.report);
    let on = builtin.take::<bool>("device-silent").map(|told| told.value);
    builtin.finish();
    on
}

/// Whether the profile speaks over such a channel; says so where the line is set otherwise than the device leaves the factory.
fn fits(section: &mut Section<'_>, profile: Option<&Profile>, kind: Type, hung: &Kind) -> bool {
    let Some(profile) = profile else { return true };
    let Some(spot) = section.entry("profile").map(|entry| entry.value.spot) else {
        return true;
    };
    let needs = match (&profile.transport, kind) {
        (Transport::Modbus { .. }, Type::ModbusTcp | Type::ModbusRtu | Type::ModbusRtuOverTcp)
        | (Transport::LockBoard8a { .. }, Type::Serial)
        | (Transport::Mqtt { .. }, Type::Mqtt) => {
            factory(section, spot, profile, hung);
            return true;
        }
        (Transport::Modbus { .. }, _) => "`modbus-rtu`, `modbus-tcp` or `modbus-rtu-over-tcp`",
        (Transport::LockBoard8a { .. }, _) => "`serial`",
        (Transport::Mqtt { .. }, _) => "`mqtt`",
    };
    let what = format!(
        "profile `{}` does not go over a channel of type `{}`",
        profile.name,
        kind.word()
    );
    section.report.mistake(
        spot,
        what,
        format!("name a channel of type {needs}, or another profile"),
    );
    false
}

/// A device straight from the factory would not be heard on this line.
fn factory(section: &Section<'_>, spot: Spot, profile: &Profile, hung: &Kind) {
    let port = match hung {
        Kind::Modbus(modbus::Settings {
            wire: wire::Wire::Serial(port),
            ..
        })
        | Kind::Serial(crate::field::serial::Settings {
            wire: wire::Wire::Serial(port),
            ..
        }) => port,
        _ => return,
    };
    let line = Line {
        baud: port.baud,
        parity: port.parity,
        stop_bits: port.stop_bits,
    };
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
        wire::Parity::None => 'N',
        wire::Parity::Even => 'E',
        wire::Parity::Odd => 'O',
    };
    format!("{} 8{parity}{}", line.baud, line.stop_bits)
}

/// `cell-1` … `cell-N` of a lock board.
fn cells(section: &mut Section<'_>, profile: Option<&Profile>) -> Vec<Point> {
    if let Some(entry) = section.entry("point") {
        section.report.mistake(
            entry.key_spot,
            "a device on a serial channel has the points of its profile",
            "take the points out",
        );
    }
    let Some(Transport::LockBoard8a {
        cells_default,
        cells_max,
        ..
    }) = profile.map(|profile| &profile.transport)
    else {
        if section.entry("profile").is_none() {
            section.missing(
                "profile",
                "write `profile = \"lock-board-8a\"`: it says what the board speaks",
            );
        }
        return Vec::new();
    };
    let cells = section
        .whole::<u8>("cells", 1..=i128::from(*cells_max))
        .map_or(*cells_default, |told| told.value);
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

fn lock_board(section: &mut Section<'_>) -> Protocol {
    let feedback = [
        ("door-closing", Feedback::DoorClosing),
        ("door-opening", Feedback::DoorOpening),
    ];
    let first_byte = [("last", FirstByte::Last), ("first", FirstByte::First)];
    Protocol::LockBoard8a {
        feedback: section
            .word("feedback", &feedback)
            .map(|told| told.value)
            .unwrap_or_default(),
        first_byte: section
            .word("first_byte", &first_byte)
            .map(|told| told.value)
            .unwrap_or_default(),
    }
}

/// The device's topic, and where it says whether it is there.
fn topics(section: &mut Section<'_>, profile: Option<&Profile>) -> (String, Option<String>) {
    let told: Option<Told<Topic>> = section.require("topic");
    let own = section.take::<Topic>("availability").map(|told| told.value.0);
    let suggested = match profile.map(|profile| &profile.transport) {
        Some(Transport::Mqtt { availability }) => availability.clone(),
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
    (
        topic.to_owned(),
        own.or(suggested).map(|text| text.replace(TOPIC, topic)),
    )
}

/// In a profile: the device's own topic.
const TOPIC: &str = "{topic}";

// ---------------------------------------------------------------------------------------------- numbers

/// The number of a device, and of its first point.
struct Numbers {
    device: DeviceId,
    first: u32,
}

impl Numbers {
    fn points<'p>(&self, points: &'p [Point]) -> impl Iterator<Item = (PointId, &'p Point)> + use<'p> {
        (self.first..).map(PointId).zip(points)
    }

    fn modbus(&self, unit: u8, poll: Duration, points: &[Point]) -> modbus::Device {
        let one = |(id, point): (PointId, &Point)| match point.source {
            Source::Register {
                table,
                register,
                kind,
                order,
                bit,
            } => Some(modbus::Point {
                id,
                table,
                register,
                kind,
                order,
                bit,
                transform: point.transform.clone(),
            }),
            _ => None,
        };
        modbus::Device {
            id: self.device,
            unit,
            poll,
            points: self.points(points).filter_map(one).collect(),
        }
    }

    fn board(&self, address: u8, poll: Duration, protocol: Protocol, points: &[Point]) -> Board {
        Board {
            id: self.device,
            address,
            poll,
            protocol,
            cells: self.points(points).map(|(id, _)| id).collect(),
        }
    }

    fn mqtt(&self, topic: String, availability: Option<String>, points: &[Point]) -> mqtt::Device {
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
            points,
        }
    }
}
