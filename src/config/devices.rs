//! `[[device]]`: gives every device and point its number in the site, and hangs each device on its channel.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::channels::{self, Channel, Type};
use super::hang::{Numbers, cells, fits, lock_board, poll, topics};
use super::mistakes::{Report, Spot};
use super::names::{Names, title};
use super::points::{self, Means};
use super::profiles::Known;
use super::section::Section;
use super::tree::Table;
use crate::field::Kind;
use crate::field::profile::{Point, Profile, Shape, Transport};
use crate::reading::{self, DeviceId};

pub const DEVICES_MAX: usize = 4096;
/// Points of the whole gateway.
pub const POINTS_MAX: usize = 32_768;

/// All devices and points, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Installed<'a> {
    pub devices: Vec<reading::Device>,
    pub points: Vec<reading::Point>,
    /// Of each point, what its values look like.
    pub shapes: Vec<Shape>,
    /// How often each device is asked; `None`: it speaks by itself.
    pub polls: Vec<Option<Duration>>,
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
    let mut installer =
        Installer { installed: Installed::default(), profiles, units: HashMap::new(), report };
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
        let mut draft = Draft { id, place, profile: known.map(|known| &known.profile), points: Vec::new() };
        let told = section.require::<String>("channel");
        let at = told
            .and_then(|told| channels::find(channels, &told, &section.name, self.report))
            .and_then(|channel| Some((channel.id.clone(), channel.what.as_mut()?)))
            .filter(|(_, (kind, hung))| fits(&mut section, draft.profile, *kind, hung));
        let Some((channel, (kind, hung))) = at else {
            return self.without_channel(section, draft);
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
        let every = match hung {
            Kind::Modbus(settings) => {
                let top = if *kind == Type::ModbusTcp { Some(255) } else { None };
                let unit = self.unit(&mut section, &draft.id, &channel, 247, top);
                let poll = poll(&mut section);
                settings.devices.push(numbers.modbus(unit, poll, &draft.points));
                Some(poll)
            }
            Kind::Serial(settings) => {
                let address = self.unit(&mut section, &draft.id, &channel, 32, None);
                let poll = poll(&mut section);
                let protocol = lock_board(&mut section);
                settings.boards.push(numbers.board(address, poll, protocol, &draft.points));
                Some(poll)
            }
            Kind::Osdp(_) | Kind::Uhppote(_) => None,
            Kind::Mqtt(settings) => {
                let (topic, availability) = topics(&mut section, draft.profile);
                settings.devices.push(numbers.mqtt(topic, availability, &draft.points));
                None
            }
        };
        let spot = section.spot();
        section.finish();
        self.enter(draft, channel, every, spot);
    }

    /// Without a channel that suits it nobody knows which keys it may have; its points are told by what it has.
    fn without_channel(&mut self, mut section: Section<'a>, mut draft: Draft<'a>) {
        section.know(&["unit", "poll", "topic", "availability", "cells", "feedback", "first_byte"]);
        let means = match (
            draft.profile.map(|profile| &profile.transport),
            section.peek("topic"),
            section.peek("unit"),
        ) {
            (Some(Transport::Mqtt { .. }), ..) | (None, Some(_), None) => Some(Means::Messages),
            (Some(Transport::Modbus { .. }), ..) | (None, None, Some(_)) => Some(Means::Registers),
            _ => None,
        };
        match means {
            Some(means) => draft.points = self.points(&mut section, &draft, means),
            None => {
                self.installed.unsure.push(draft.id.clone());
                section.know(&["point"]);
            }
        }
        let spot = section.spot();
        section.finish();
        self.enter(draft, "".into(), None, spot);
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
                self.installed.suggested.extend(known.rules.iter().map(|table| (device, *table)));
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
        let by_hand = by_hand.filter_map(|table| points::point(table, &owner, means, self.report)).collect();
        let points = draft.profile.map(|profile| profile.points.clone()).unwrap_or_default();
        let points = points::lay_over(points, by_hand, &owner, self.report);
        if points.is_empty() && !self.installed.unsure.contains(&draft.id) {
            let what = format!("{owner} has no points");
            self.report.missing(section.spot(), what, "name a `profile`, or add `[[device.point]]`");
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
        let unit =
            u8::try_from(told.value).ok().filter(|unit| (1..=max).contains(unit) || also == Some(*unit));
        let Some(unit) = unit else {
            let also = also.map(|unit| format!(", or {unit} for the endpoint itself")).unwrap_or_default();
            let what = format!("{} has the unit {}", section.name, told.value);
            self.report.mistake(told.spot, what, format!("write a number from 1 to {max}{also}"));
            return 0;
        };
        if let Some((other, spot)) = self.units.get(&(channel.clone(), unit)) {
            let what = format!("unit {unit} of channel `{channel}` is device `{other}` already");
            self.report.mistake(
                told.spot,
                what,
                format!("look at the device's setting; the first is at {}", self.report.at(*spot)),
            );
        } else {
            self.units.insert((channel.clone(), unit), (id.clone(), told.spot));
        }
        unit
    }

    /// Gives the device and its points their numbers in the site.
    fn enter(&mut self, draft: Draft<'_>, channel: Arc<str>, poll: Option<Duration>, spot: Spot) {
        let device = DeviceId(self.installed.devices.len() as u32);
        let first_point = self.installed.points.len() as u32;
        self.installed.devices.push(reading::Device {
            id: draft.id.clone(),
            channel,
            profile: draft.profile.map(|profile| profile.name.clone()),
            place: draft.place.into(),
            polled: poll.is_some(),
            first_point,
            points: draft.points.len() as u32,
            words: None,
        });
        self.installed.polls.push(poll);
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

/// `builtin = { device-silent = false }`: for this device alone.
fn silent(section: &mut Section<'_>) -> Option<bool> {
    let table = section.table("builtin")?;
    let mut builtin = Section::new(table, "`builtin` of a device", section.report);
    let on = builtin.take::<bool>("device-silent").map(|told| told.value);
    builtin.finish();
    on
}
