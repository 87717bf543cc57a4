//! `[[device.point]]`, and a profile's `[[point]]`, which is written alike.

use std::sync::Arc;

use super::cleaning;
use serde_json::json;

use super::codes::Code;
use super::ear::Variant;
use super::items::item;
use super::kinds::{Id, Pair};
use super::messages::message;
use super::mistakes::{Report, Spot};
use super::registers::register;
use super::section::{Read, Section, Told};
use super::tree::{Node, Table};
use crate::field::decode::{Transform, Type};
use crate::field::profile::{Meter, Point, Shape, Source, Transport};
use crate::reading::Clean;

/// Words of one map.
const MAP_MAX: usize = 256;

/// How the values of a device come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Registers,
    Messages,
    Items(Meter),
}

impl Means {
    fn word(self) -> &'static str {
        match self {
            Self::Registers => "registers",
            Self::Messages => "messages",
            Self::Items(Meter::Dlt645) => "dlt645",
            Self::Items(Meter::Cjt188) => "cjt188",
            Self::Items(Meter::Mbus) => "mbus",
        }
    }
}

/// How the points of such a device are written; `None`: what it is says which it has, and none are written.
pub(super) fn means(transport: &Transport) -> Option<Means> {
    match transport {
        Transport::Modbus { .. } => Some(Means::Registers),
        Transport::Mqtt { face_terminal: false, .. } => Some(Means::Messages),
        Transport::Meter { meter, .. } => Some(Means::Items(*meter)),
        Transport::Mqtt { .. }
        | Transport::Locker { .. }
        | Transport::Osdp { .. }
        | Transport::Uhppote { .. } => None,
    }
}

/// A point, and where its id stands. One without a usable id is complained of and left out.
pub(super) fn point(table: &Table, owner: &str, means: Means, report: &Report<'_>) -> Option<Told<Point>> {
    let name = match table.text("id") {
        Some(id) => format!("point `{}` of {owner}", id.chars().take(64).collect::<String>()),
        None => format!("a point of {owner}"),
    };
    let mut section = Section::new(table, name, report);
    let id = section.require::<Id>("id");
    section.variant(Variant::Own(means.word()));
    let (source, faults) = match means {
        Means::Registers => register(&mut section),
        Means::Messages => (message(&mut section), Vec::new()),
        Means::Items(meter) => (item(&mut section, meter), Vec::new()),
    };
    let mut point = Point {
        id: id.as_ref().map_or("", |id| id.value.0.as_str()).into(),
        unit: section.take::<String>("unit").map(|unit| unit.value.into()),
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
        transform: Transform { map: map(&mut section), faults, ..Transform::default() },
        source,
    };
    numeric(&mut section, &mut point);
    flags(&mut section, &point);
    point.clean = cleaning::clean(&mut section, &point.shape());
    section.finish();
    id.map(|id| Told { value: point, spot: id.spot })
}

/// A point whose words the wire's room knows by its name.
pub(super) fn state(id: impl Into<Arc<str>>, source: Source) -> Point {
    let id = id.into();
    Point {
        id,
        unit: None,
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
        transform: Transform::default(),
        source,
    }
}

// ---------------------------------------------------------------------------------------------- values

/// `map = { true = "closed", false = "open" }`
fn map(section: &mut Section<'_>) -> Vec<(String, String)> {
    let words = |most| json!({ "type": "object", "additionalProperties": String::grammar(), "minProperties": 1, "maxProperties": most });
    section.hear("map", || words(MAP_MAX));
    let Some(entry) = section.entry("map") else {
        return Vec::new();
    };
    let example = "write it like `map = { true = \"closed\", false = \"open\" }`";
    let Node::Table(table) = &entry.value.node else {
        section.report.mistake(
            Code::WrongType,
            entry.value.spot,
            format!("`map` is {}, it has to be a table", entry.value.kind()),
            example,
        );
        return Vec::new();
    };
    if table.entries.is_empty() || table.entries.len() > MAP_MAX {
        let cure = format!("write 1 to {MAP_MAX} words, or leave `map` out");
        section.report.mistake(
            Code::ListLength,
            entry.value.spot,
            format!("`map` has {} words", table.entries.len()),
            cure,
        );
    }
    let mut words = Vec::new();
    for entry in &table.entries {
        match String::read(&entry.value) {
            Ok(word) => words.push((entry.key.clone(), word)),
            Err(_) => section.report.mistake(
                Code::WrongType,
                entry.value.spot,
                format!("`map`: `{}` becomes {}, it has to become a word", entry.key, entry.value.kind()),
                example,
            ),
        }
    }
    words
}

/// A `state` is one of the names that its map gives to flags.
fn flags(section: &mut Section<'_>, point: &Point) {
    if !matches!(point.source, Source::Register { kind: Type::State, .. }) {
        return;
    }
    let flag = |raw: &str| raw == "else" || raw.parse().is_ok_and(|bit: u8| bit < 16);
    let example = "write it like `map = { 3 = \"fault\", 11 = \"running\", else = \"stopped\" }`";
    match section.entry("map") {
        None => section.missing("map", example),
        Some(entry) if !point.transform.map.iter().all(|(raw, _)| flag(raw)) => {
            let what = "the `map` of a `state` names flags, 0 to 15, and `else`";
            section.report.mistake(Code::BadMap, entry.value.spot, what, example);
        }
        Some(_) => {}
    }
}

/// What only numbers have.
fn numeric(section: &mut Section<'_>, point: &mut Point) {
    let scale = section.take::<f64>("scale");
    let offset = section.take::<f64>("offset");
    let range = section.take::<Pair>("range");
    let deadband = section.take::<f64>("deadband");
    section.narrow("scale", || json!({ "not": { "const": 0 } }));
    section.narrow("deadband", || json!({ "minimum": 0 }));
    let spots: [(&str, Option<Spot>); 4] = [
        ("scale", scale.as_ref().map(|told| told.spot)),
        ("offset", offset.as_ref().map(|told| told.spot)),
        ("range", range.as_ref().map(|told| told.spot)),
        ("deadband", deadband.as_ref().map(|told| told.spot)),
    ];
    if !matches!(point.shape(), Shape::Number | Shape::Any) {
        for (key, spot) in spots {
            let Some(spot) = spot else { continue };
            section.report.mistake(
                Code::OfNoUse,
                spot,
                format!("`{key}` is for numbers, {} is not one", section.name),
                "leave it out",
            );
        }
    }
    if let Some(scale) = scale.as_ref().filter(|scale| scale.value == 0.0) {
        section.report.mistake(
            Code::OutOfRange,
            scale.spot,
            "`scale` is 0 and would make every value the same",
            "write what one step of the raw value means",
        );
    }
    if let Some(deadband) = deadband.as_ref().filter(|deadband| deadband.value < 0.0) {
        section.report.mistake(Code::OutOfRange, deadband.spot, "`deadband` is below 0", "write 0 or more");
    }
    point.transform.scale = scale.map(|told| told.value);
    point.transform.offset = offset.map_or(0.0, |told| told.value);
    point.range = range.map(|told| (told.value.0, told.value.1));
    point.deadband = deadband.map_or(0.0, |told| told.value);
}

/// The points of `more` join `points`; one of the same id takes the other's place.
pub(super) fn lay_over(
    points: Vec<Point>,
    more: Vec<Told<Point>>,
    owner: &str,
    report: &Report<'_>,
) -> Vec<Point> {
    let mut points = points;
    let mut by_hand: Vec<Arc<str>> = Vec::new();
    for Told { value: point, spot } in more {
        if by_hand.contains(&point.id) {
            report.mistake(
                Code::SecondName,
                spot,
                format!("{owner} has a second point `{}`", point.id),
                "give it another id",
            );
            continue;
        }
        by_hand.push(point.id.clone());
        match points.iter_mut().find(|there| there.id == point.id) {
            Some(there) => *there = point,
            None => points.push(point),
        }
    }
    points
}
