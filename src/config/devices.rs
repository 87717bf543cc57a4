//! `[[device]]`: gives every device and point its number in the site, and hangs each device on its channel.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::channels::{self, Channel, Type};
use super::codes::Code;
use super::ear::{Tie, Variant};
use super::hang::{self, Numbers, fits};
use super::installed::{Installed, Words};
use super::mistakes::{Report, Spot};
use super::names::{Names, title};
use super::points::{self, Means};
use super::profiles::{BUILT_IN as PROFILES, Known};
use super::section::Section;
use super::tree::Table;
use super::{broker, cleaning};
use crate::field::Kind;
use crate::field::profile::Point;
use crate::reading::{self, DeviceId};

pub const DEVICES_MAX: usize = 4096;
/// Points of the whole gateway.
pub const POINTS_MAX: usize = 32_768;

/// Reads the devices one after the other.
#[derive(Debug)]
pub(super) struct Installer<'a> {
    pub installed: Installed<'a>,
    profiles: &'a BTreeMap<String, Known<'a>>,
    /// Of the gateway, and of the clocks in face terminals.
    pub timezone: &'a str,
    /// Who has which address of which channel or broker.
    addresses: HashMap<(String, String), (Arc<str>, Spot)>,
    pub report: &'a Report<'a>,
}

/// A device before its points have numbers.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub id: Arc<str>,
    place: String,
    pub profile: Option<&'a Known<'a>>,
    /// Its points are cleaned as the profile suggests.
    clean: bool,
    pub points: Vec<Point>,
    pub words: Option<Words>,
}

pub(super) fn devices<'a>(
    tables: &[&'a Table],
    channels: &mut [Channel],
    profiles: &'a BTreeMap<String, Known<'a>>,
    timezone: &'a str,
    report: &'a Report<'a>,
) -> Installed<'a> {
    let mut names = Names::new("device", "give one of them another id", DEVICES_MAX);
    let mut installer =
        Installer { installed: Installed::default(), profiles, timezone, addresses: HashMap::new(), report };
    for table in tables {
        let mut section = Section::new(table, title("device", table, "id"), report);
        let id = names.claim(&mut section);
        installer.device(section, id.into(), channels);
    }
    installer.installed.momentary();
    installer.installed
}

impl<'a> Installer<'a> {
    fn device(&mut self, mut section: Section<'a>, id: Arc<str>, channels: &mut [Channel]) {
        let place = section.take_or("place", String::new());
        self.installed.silent.push(silent(&mut section));
        let profile = self.known(&mut section, &id);
        self.suggest(&mut section, profile);
        let clean = cleaning::as_suggested(&mut section, profile);
        let mut draft = Draft { id, place, profile, clean, points: Vec::new(), words: None };
        let told = section.require::<String>("channel");
        let at = told
            .and_then(|told| channels::find(channels, &told, &section.name, self.report))
            .and_then(|channel| Some((channel.id.clone(), channel.what.as_mut()?)))
            .filter(|(_, (kind, hung))| fits(&mut section, profile.map(|known| &known.profile), *kind, hung));
        let Some((channel, (kind, hung))) = at else {
            return self.without_channel(section, draft);
        };
        section.variant(Variant::Own(family(hung)));
        let (keys, device) = (&mut section, &mut draft);
        let poll = match hung {
            Kind::Modbus(settings) => {
                let also = if *kind == Type::ModbusTcp { Some(255) } else { None };
                Some(self.modbus(keys, device, &channel, settings, also))
            }
            Kind::Serial(settings) => Some(self.serial(keys, device, &channel, settings)),
            Kind::Osdp(settings) => Some(self.osdp(keys, device, &channel, settings)),
            Kind::Uhppote(settings) => Some(self.uhppote(keys, device, &channel, settings)),
            Kind::Mqtt(settings) => {
                self.mqtt(keys, device, &channel, settings);
                if is_of_people(draft.words) {
                    broker::anyone_may_speak(&section, settings);
                }
                None
            }
        };
        let spot = section.spot();
        section.finish();
        self.enter(draft, channel, poll, spot);
    }

    /// Without a channel that suits it nobody knows which keys it may have; its points are told by what it has.
    fn without_channel(&mut self, mut section: Section<'a>, mut draft: Draft<'a>) {
        section.know(&hang::KEYS);
        let means = match (
            draft.profile.map(|known| points::means(&known.profile.transport)),
            section.peek("topic"),
            section.peek("unit"),
        ) {
            (Some(means), ..) => means,
            (None, Some(_), None) => Some(Means::Messages),
            (None, None, Some(_)) => Some(Means::Registers),
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

    pub fn numbers(&self) -> Numbers {
        Numbers {
            device: DeviceId(self.installed.devices.len() as u32),
            first: self.installed.points.len() as u32,
        }
    }

    /// The profile by its name; an unknown one leaves the device's points untold.
    fn known(&mut self, section: &mut Section<'a>, id: &Arc<str>) -> Option<&'a Known<'a>> {
        section.hear("profile", built_in);
        let told = section.take::<String>("profile")?;
        let known = self.profiles.get(&told.value);
        if known.is_none() {
            let built_in = PROFILES.iter().map(|(name, _)| *name);
            let there_is: BTreeSet<&str> = self.profiles.keys().map(String::as_str).chain(built_in).collect();
            let there_is: Vec<&str> = there_is.into_iter().collect();
            let what = format!("{} has the unknown profile `{}`", section.name, told.value);
            self.report.unknown(Code::NoSuchProfile, told.spot, &told.value, what, &there_is);
            self.installed.unsure.push(id.clone());
        }
        known
    }

    /// `rules = true` turns on what the profile suggests.
    fn suggest(&mut self, section: &mut Section<'a>, known: Option<&'a Known<'a>>) {
        section.tie(|| {
            Tie::Holds(json!({
                "if": { "properties": { "rules": { "const": true } }, "required": ["rules"] },
                "then": { "required": ["profile"] },
            }))
        });
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
                    Code::NothingSuggested,
                    rules.spot,
                    "`rules` turns on what a profile suggests, and there is none",
                    cure,
                );
            }
            None => {}
        }
    }

    /// The profile's points, and on top of them those written by hand.
    pub fn points(&self, section: &mut Section<'a>, draft: &Draft<'_>, means: Means) -> Vec<Point> {
        let owner = section.name.clone();
        let by_hand = section.tables("point").into_iter();
        let by_hand = by_hand.filter_map(|table| points::point(table, &owner, means, self.report)).collect();
        let mut points = draft.profile.map(|known| known.profile.points.clone()).unwrap_or_default();
        if !draft.clean {
            points.iter_mut().for_each(|point| point.clean = reading::Clean::default());
        }
        let points = points::lay_over(points, by_hand, &owner, self.report);
        if points.is_empty() && !self.installed.unsure.contains(&draft.id) {
            let what = format!("{owner} has no points");
            self.report.missing(
                Code::NoPoints,
                section.spot(),
                what,
                "name a `profile`, or add `[[device.point]]`",
            );
        }
        points
    }

    /// The unit's number, once on its channel. `also`: one beyond the bounds that will do as well.
    pub fn unit(
        &mut self,
        section: &mut Section<'a>,
        id: &Arc<str>,
        channel: &Arc<str>,
        bounds: RangeInclusive<u8>,
        also: Option<u8>,
    ) -> u8 {
        let told = section.require::<i128>("unit");
        section.narrow("unit", || json!({ "minimum": 0, "maximum": 255 }));
        let Some(told) = told else {
            return *bounds.start();
        };
        let unit = u8::try_from(told.value).ok().filter(|unit| bounds.contains(unit) || also == Some(*unit));
        let Some(unit) = unit else {
            let also = also.map(|unit| format!(", or {unit} for the endpoint itself")).unwrap_or_default();
            let what = format!("{} has the unit {}", section.name, told.value);
            let cure = format!("write a number from {} to {}{also}", bounds.start(), bounds.end());
            self.report.mistake(Code::OutOfRange, told.spot, what, cure);
            return *bounds.start();
        };
        self.once(format!("unit {unit}"), told.spot, id, format!("channel `{channel}`"));
        unit
    }

    /// A number that is printed on the device, once on its channel.
    pub fn address_once(&mut self, number: &str, spot: Spot, id: &Arc<str>, channel: &Arc<str>) {
        self.once(format!("number {number}"), spot, id, format!("channel `{channel}`"));
    }

    /// `whose`: of which channel, or of which broker.
    pub fn once(&mut self, address: String, spot: Spot, id: &Arc<str>, whose: String) {
        if let Some((other, first)) = self.addresses.get(&(whose.clone(), address.clone())) {
            let what = format!("{address} of {whose} is device `{other}` already");
            let cure = format!("look at the device's setting; the first is at {}", self.report.at(*first));
            self.report.mistake(Code::AddressTaken, spot, what, cure);
        } else {
            self.addresses.insert((whose, address), (id.clone(), spot));
        }
    }

    /// Gives the device and its points their numbers in the site.
    fn enter(&mut self, draft: Draft<'_>, channel: Arc<str>, poll: Option<Duration>, spot: Spot) {
        let device = DeviceId(self.installed.devices.len() as u32);
        let first_point = self.installed.points.len() as u32;
        self.installed.devices.push(reading::Device {
            id: draft.id.clone(),
            channel,
            profile: draft.profile.map(|known| known.profile.name.clone()),
            place: draft.place.into(),
            polled: poll.is_some(),
            first_point,
            points: draft.points.len() as u32,
            words: None,
        });
        self.installed.polls.push(poll);
        self.installed.words.push(draft.words);
        if is_of_people(draft.words) && self.installed.people.is_none() {
            self.installed.people = Some((draft.id.clone(), spot));
        }
        for point in draft.points {
            let clean = cleaning::in_the_site(&point, poll);
            self.installed.shapes.push(point.shape());
            self.installed.points.push(reading::Point {
                id: format!("{}.{}", draft.id, point.id).into(),
                device,
                unit: point.unit,
                range: point.range,
                deadband: point.deadband,
                clean,
            });
        }
        if first_point as usize <= POINTS_MAX && self.installed.points.len() > POINTS_MAX {
            let cure = format!("there may be {POINTS_MAX} on one gateway");
            self.report.mistake(Code::OneTooMany, spot, "one point too many", cure);
        }
    }
}

/// Whether it tells who came and went.
fn is_of_people(words: Option<Words>) -> bool {
    matches!(words, Some(Words::Access | Words::Reader))
}

/// Devices of one kind of channel have keys in common.
fn family(hung: &Kind) -> &'static str {
    match hung {
        Kind::Modbus(_) => "modbus",
        Kind::Serial(_) => "serial",
        Kind::Osdp(_) => "osdp",
        Kind::Uhppote(_) => "uhppote",
        Kind::Mqtt(_) => "mqtt",
    }
}

/// The names of the built-in profiles, and what they are, for an editor to offer.
fn built_in() -> Json {
    /// All of them are read for it; once will do.
    static NAMES: LazyLock<Json> = LazyLock::new(|| {
        let mut profiles = super::profiles::built_in();
        profiles.sort_by(|a, b| a.name.cmp(&b.name));
        let (names, about): (Vec<_>, Vec<_>) =
            profiles.into_iter().map(|profile| (profile.name.to_string(), profile.about)).unzip();
        json!({
            "type": "string",
            "enum": names,
            "enumDescriptions": about,
            "x-taplo": { "docs": { "enumValues": about } },
        })
    });
    NAMES.clone()
}

/// `builtin = { device-silent = false }`: for this device alone.
fn silent(section: &mut Section<'_>) -> Option<bool> {
    let table = section.table("builtin")?;
    let mut builtin = Section::new(table, "`builtin` of a device", section.report);
    let on = builtin.take::<bool>("device-silent").map(|told| told.value);
    builtin.finish();
    on
}
