//! `[[device.point]]`, and a profile's `[[point]]`, which is written alike.

use std::sync::Arc;

use super::kinds::{Id, Pair, wrong};
use super::mistakes::{Report, Spot, did_you_mean};
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Table, Value};
use crate::field::decode::{Order, Transform, Type};
use crate::field::modbus;
use crate::field::profile::{Point, Shape, Source};

/// Registers of one request, and so of one text.
const TEXT_REGISTERS_MAX: u16 = 125;
/// Words of one map.
const MAP_MAX: usize = 256;

const TABLES: [(&str, modbus::Table); 4] = [
    ("holding", modbus::Table::Holding),
    ("input", modbus::Table::Input),
    ("coil", modbus::Table::Coil),
    ("discrete", modbus::Table::Discrete),
];
const ORDERS: [(&str, Order); 4] =
    [("ABCD", Order::Abcd), ("CDAB", Order::Cdab), ("BADC", Order::Badc), ("DCBA", Order::Dcba)];

/// How the values of a device come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    Registers,
    Messages,
}

/// A point, and where its id stands. One without a usable id is complained of and left out.
pub(super) fn point(table: &Table, owner: &str, means: Means, report: &Report<'_>) -> Option<Told<Point>> {
    let name = match table.text("id") {
        Some(id) => format!("point `{}` of {owner}", id.chars().take(64).collect::<String>()),
        None => format!("a point of {owner}"),
    };
    let mut section = Section::new(table, name, report);
    let id = section.require::<Id>("id");
    let source = match means {
        Means::Registers => register(&mut section),
        Means::Messages => message(&mut section),
    };
    let mut point = Point {
        id: id.as_ref().map_or("", |id| id.value.0.as_str()).into(),
        unit: section.take::<String>("unit").map(|unit| unit.value.into()),
        range: None,
        deadband: 0.0,
        transform: Transform { map: map(&mut section), ..Transform::default() },
        source,
    };
    numeric(&mut section, &mut point);
    section.finish();
    id.map(|id| Told { value: point, spot: id.spot })
}

// ---------------------------------------------------------------------------------------------- registers

fn register(section: &mut Section<'_>) -> Source {
    let table = match section.entry("table") {
        Some(_) => section.word("table", &TABLES),
        None => {
            section.missing("table", "write `table = \"holding\"`, or `input`, `coil`, `discrete`");
            None
        }
    };
    let table = table.map_or(modbus::Table::Holding, |table| table.value);
    let bits = matches!(table, modbus::Table::Coil | modbus::Table::Discrete);
    if section.entry("register").is_none() {
        section.missing("register", "write the protocol address, zero-based: `register = 0`");
    }
    let register = section.whole::<u16>("register", 0..=65535);
    let kind = if bits { bit_type(section) } else { word_type(section) };
    if let Some(register) = &register {
        reaches(section, register, kind);
    }
    Source::Register {
        table,
        register: register.map_or(0, |register| register.value),
        kind,
        order: order(section, kind, bits),
        bit: bit(section, kind, bits),
        poll: None,
        by: modbus::By::default(),
    }
}

/// A coil is one bit and nothing else.
fn bit_type(section: &mut Section<'_>) -> Type {
    if let Some(kind) = section.take::<Type>("type")
        && kind.value != Type::Bool
    {
        section.report.mistake(
            kind.spot,
            "a coil or discrete input is one bit",
            "write `type = \"bool\"`, or leave it out",
        );
    }
    Type::Bool
}

fn word_type(section: &mut Section<'_>) -> Type {
    let kind = section.require::<Type>("type");
    kind.map_or(Type::U16, |kind| kind.value)
}

/// The last register of a value has to exist too.
fn reaches(section: &Section<'_>, register: &Told<u16>, kind: Type) {
    let last = u32::from(register.value) + u32::from(kind.registers()) - 1;
    if last > 65535 {
        section.report.mistake(
            register.spot,
            format!("the value would reach to register {last}"),
            format!("it takes {} registers and the last one is 65535", kind.registers()),
        );
    }
}

fn order(section: &mut Section<'_>, kind: Type, bits: bool) -> Order {
    let Some(order) = section.word("order", &ORDERS) else {
        return Order::Abcd;
    };
    if bits {
        section.report.mistake(order.spot, "a coil or discrete input has no `order`", "leave it out");
    } else if order.value == Order::Cdab && kind.registers() == 1 {
        let cure = "leave `order` out, or write `BADC` where the bytes are swapped";
        section.report.mistake(order.spot, "`CDAB` reverses words, and this value has only one", cure);
    }
    order.value
}

fn bit(section: &mut Section<'_>, kind: Type, bits: bool) -> Option<u8> {
    let bit = section.whole::<u8>("bit", 0..=15)?;
    if bits {
        section.report.mistake(bit.spot, "a coil or discrete input is one bit already", "leave `bit` out");
    } else if kind != Type::Bool {
        section.report.mistake(
            bit.spot,
            "`bit` takes one bit of a register",
            "write `type = \"bool\"` beside it",
        );
    }
    Some(bit.value)
}

impl Read for Type {
    const IS: &'static str = "the type of a value";
    const EXAMPLE: &'static str = "\"u16\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        const WORDS: [(&str, Type); 10] = [
            ("bool", Type::Bool),
            ("u16", Type::U16),
            ("i16", Type::I16),
            ("u32", Type::U32),
            ("i32", Type::I32),
            ("u64", Type::U64),
            ("i64", Type::I64),
            ("f32", Type::F32),
            ("f64", Type::F64),
            ("bits", Type::Bits),
        ];
        let text = String::read(value)?;
        if let Some((_, kind)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*kind);
        }
        if let Some(count) = text.strip_prefix("string:") {
            return match count.parse() {
                Ok(count @ 1..=TEXT_REGISTERS_MAX) => Ok(Type::Text(count)),
                _ => Err(wrong(
                    format!("`{text}` has no usable length"),
                    format!("write `string:N` with N registers, 1 to {TEXT_REGISTERS_MAX}"),
                )),
            };
        }
        // As other tools call them.
        let ours = text.to_lowercase().replace("uint", "u").replace("int", "i").replace("float", "f");
        if WORDS.iter().any(|(word, _)| *word == ours) {
            return Err(wrong(format!("there is no type `{text}`"), format!("did you mean `{ours}`?")));
        }
        let there_is = WORDS.iter().map(|(word, _)| *word).chain(["string:N"]);
        Err(wrong(format!("there is no type `{text}`"), did_you_mean(&text, there_is)))
    }
}

// ---------------------------------------------------------------------------------------------- messages

fn message(section: &mut Section<'_>) -> Source {
    let topic = section.take::<Topic>("topic").map(|topic| topic.value.0);
    let json = section.take::<Pointer>("json").map(|json| json.value.0);
    Source::Message { topic, json }
}

/// A topic filter of MQTT; a profile's may hold `{topic}` for the device's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic(pub String);

impl Read for Topic {
    const IS: &'static str = "a topic in quotes";
    const EXAMPLE: &'static str = "\"zigbee2mqtt/b3-door\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let levels: Vec<&str> = text.split('/').collect();
        let stray = |(i, level): (usize, &&str)| match level.find(['#', '+']) {
            None => false,
            Some(_) => *level != "+" && (*level != "#" || i + 1 != levels.len()),
        };
        if levels.iter().enumerate().any(stray) {
            let cure =
                "`+` stands for one whole level, `#` for all that follow and only at the end: `a/+/b`, `a/#`";
            return Err(wrong(format!("`{text}` is no topic filter"), cure));
        }
        Ok(Self(text))
    }
}

/// A JSON Pointer (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pointer(String);

impl Read for Pointer {
    const IS: &'static str = "a JSON Pointer in quotes";
    const EXAMPLE: &'static str = "\"/contact\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if !text.starts_with('/') {
            return Err(wrong(
                format!("`{text}` is no JSON Pointer"),
                format!("write `\"/{}\"`", text.replace('.', "/")),
            ));
        }
        let mut rest = text.split('~').skip(1);
        if rest.any(|after| !after.starts_with(['0', '1'])) {
            return Err(wrong("a `~` alone", "write `~0` for `~` and `~1` for `/` inside a name"));
        }
        Ok(Self(text))
    }
}

// ---------------------------------------------------------------------------------------------- values

/// `map = { true = "closed", false = "open" }`
fn map(section: &mut Section<'_>) -> Vec<(String, String)> {
    let Some(entry) = section.entry("map") else {
        return Vec::new();
    };
    let example = "write it like `map = { true = \"closed\", false = \"open\" }`";
    let Node::Table(table) = &entry.value.node else {
        section.report.mistake(
            entry.value.spot,
            format!("`map` is {}, it has to be a table", entry.value.kind()),
            example,
        );
        return Vec::new();
    };
    if table.entries.is_empty() || table.entries.len() > MAP_MAX {
        let cure = format!("write 1 to {MAP_MAX} words, or leave `map` out");
        section.report.mistake(entry.value.spot, format!("`map` has {} words", table.entries.len()), cure);
    }
    let mut words = Vec::new();
    for entry in &table.entries {
        match String::read(&entry.value) {
            Ok(word) => words.push((entry.key.clone(), word)),
            Err(_) => section.report.mistake(
                entry.value.spot,
                format!("`map`: `{}` becomes {}, it has to become a word", entry.key, entry.value.kind()),
                example,
            ),
        }
    }
    words
}

/// What only numbers have.
fn numeric(section: &mut Section<'_>, point: &mut Point) {
    let scale = section.take::<f64>("scale");
    let offset = section.take::<f64>("offset");
    let range = section.take::<Pair>("range");
    let deadband = section.take::<f64>("deadband");
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
                spot,
                format!("`{key}` is for numbers, {} is not one", section.name),
                "leave it out",
            );
        }
    }
    if let Some(scale) = scale.as_ref().filter(|scale| scale.value == 0.0) {
        section.report.mistake(
            scale.spot,
            "`scale` is 0 and would make every value the same",
            "write what one step of the raw value means",
        );
    }
    if let Some(deadband) = deadband.as_ref().filter(|deadband| deadband.value < 0.0) {
        section.report.mistake(deadband.spot, "`deadband` is below 0", "write 0 or more");
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
            report.mistake(spot, format!("{owner} has a second point `{}`", point.id), "give it another id");
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
