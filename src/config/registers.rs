//! Points that stand in Modbus registers.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::{self, Tie};
use super::hang::{POLL_MAX, POLL_MIN};
use super::kinds::wrong;
use super::mistakes::did_you_mean;
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Value};
use crate::field::decode::{Order, Type};
use crate::field::modbus;
use crate::field::profile::Source;

/// Registers of one request, and so of one text.
const TEXT_REGISTERS_MAX: u16 = 125;
const FAULTS_MAX: usize = 8;

pub(super) const TABLES: [(&str, modbus::Table); 4] = [
    ("holding", modbus::Table::Holding),
    ("input", modbus::Table::Input),
    ("coil", modbus::Table::Coil),
    ("discrete", modbus::Table::Discrete),
];
pub(super) const TYPES: [(&str, Type); 13] = [
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
    ("state", Type::State),
    ("bcd16", Type::Bcd16),
    ("bcd32", Type::Bcd32),
];
pub(super) const ORDERS: [(&str, Order); 4] =
    [("ABCD", Order::Abcd), ("CDAB", Order::Cdab), ("BADC", Order::Badc), ("DCBA", Order::Dcba)];

/// Where the value stands, and by which raw values the device says that its sensor is broken.
pub(super) fn register(section: &mut Section<'_>) -> (Source, Vec<u64>) {
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
    let bit = section.whole::<u8>("bit", 0..=15);
    let kind = match (bits, section.entry("width").is_some()) {
        (true, _) => bit_type(section),
        (false, true) => field_type(section, bit.as_ref()),
        (false, false) => word_type(section),
    };
    if let Some(register) = &register {
        reaches(section, register, kind);
    }
    let source = Source::Register {
        table,
        register: register.map_or(0, |register| register.value),
        kind,
        order: order(section, kind, bits),
        bit: one_bit(section, bit, kind, bits),
        poll: section.span("poll", POLL_MIN..=POLL_MAX).map(|told| told.value),
        by: by(section, table, bits),
    };
    let faults = faults(section, kind, bits);
    (source, faults)
}

/// A coil is one bit and nothing else.
fn bit_type(section: &mut Section<'_>) -> Type {
    if let Some(kind) = section.take::<Type>("type")
        && kind.value != Type::Bool
    {
        section.report.mistake(
            Code::RegisterMisfit,
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

/// `bit` and `width`: a number in some bits of one register.
fn field_type(section: &mut Section<'_>, bit: Option<&Told<u8>>) -> Type {
    let width = section.whole::<u8>("width", 1..=16);
    if let Some(kind) = section.take::<Type>("type").filter(|kind| kind.value != Type::U16) {
        let cure = "write `type = \"u16\"` beside `width`, or leave it out";
        section.report.mistake(Code::RegisterMisfit, kind.spot, "some bits of a register are a number", cure);
    }
    let from = bit.map_or(0, |bit| bit.value);
    let Some(width) = width else { return Type::Field { from, width: 1 } };
    if bit.is_none() && section.entry("bit").is_none() {
        section.missing("bit", "write the lowest of its bits: `bit = 4`");
    }
    if from + width.value > 16 {
        let what = format!("{} bits from bit {from} reach beyond the register", width.value);
        section.report.mistake(Code::BeyondTheLast, width.spot, what, format!("write at most {}", 16 - from));
    }
    Type::Field { from, width: width.value }
}

/// The last register of a value has to exist too.
fn reaches(section: &Section<'_>, register: &Told<u16>, kind: Type) {
    let last = u32::from(register.value) + u32::from(kind.registers()) - 1;
    if last > 65535 {
        section.report.mistake(
            Code::BeyondTheLast,
            register.spot,
            format!("the value would reach to register {last}"),
            format!("it takes {} registers and the last one is 65535", kind.registers()),
        );
    }
}

/// What coils and single registers have not, as a schema.
fn misfits() -> [Tie; 2] {
    let coil = json!({ "properties": { "table": { "enum": ["coil", "discrete"] } }, "required": ["table"] });
    let of_words = ["order", "bit", "decimals_register", "unit_register", "fault"];
    let of_words = of_words.map(|key| json!({ "required": [key] }));
    let bit = json!({ "not": { "anyOf": of_words }, "properties": { "type": { "const": "bool" } } });
    let short = TYPES.iter().filter(|(_, kind)| kind.registers() == 1).map(|(word, _)| *word);
    let swapped = json!({
        "properties": { "order": { "const": "CDAB" }, "type": ear::words(short) },
        "required": ["order", "type"],
    });
    [Tie::Holds(json!({ "if": coil, "then": bit })), Tie::Holds(json!({ "not": swapped }))]
}

fn order(section: &mut Section<'_>, kind: Type, bits: bool) -> Order {
    if section.is_heard() {
        misfits().into_iter().for_each(|tie| section.tie(|| tie));
    }
    let Some(order) = section.word("order", &ORDERS) else {
        return Order::Abcd;
    };
    if bits {
        section.report.mistake(
            Code::RegisterMisfit,
            order.spot,
            "a coil or discrete input has no `order`",
            "leave it out",
        );
    } else if order.value == Order::Cdab && kind.registers() == 1 {
        let cure = "leave `order` out, or write `BADC` where the bytes are swapped";
        section.report.mistake(
            Code::RegisterMisfit,
            order.spot,
            "`CDAB` reverses words, and this value has only one",
            cure,
        );
    }
    order.value
}

fn one_bit(section: &Section<'_>, bit: Option<Told<u8>>, kind: Type, bits: bool) -> Option<u8> {
    let bit = bit?;
    if matches!(kind, Type::Field { .. }) {
        return None;
    }
    if bits {
        section.report.mistake(
            Code::RegisterMisfit,
            bit.spot,
            "a coil or discrete input is one bit already",
            "leave `bit` out",
        );
    } else if kind != Type::Bool {
        section.report.mistake(
            Code::RegisterMisfit,
            bit.spot,
            "`bit` takes one bit of a register",
            "write `type = \"bool\"` beside it, or `width` for more bits",
        );
    }
    Some(bit.value)
}

/// Registers beside the value that say how to read it.
fn by(section: &mut Section<'_>, table: modbus::Table, bits: bool) -> modbus::By {
    let decimals = section.whole::<u16>("decimals_register", 0..=65535);
    let unit = section.whole::<u16>("unit_register", 0..=65535);
    let units = units(section);
    let told = |told: &Option<Told<u16>>| told.as_ref().map(|told| told.spot);
    for spot in [told(&decimals), told(&unit)].into_iter().flatten().filter(|_| bits) {
        section.report.mistake(
            Code::RegisterMisfit,
            spot,
            "a coil or discrete input is no number",
            "leave it out",
        );
    }
    match (&unit, section.peek("units").map(|entry| entry.key_spot)) {
        (Some(unit), None) => section.report.mistake(
            Code::NeedsAnother,
            unit.spot,
            "`unit_register` without `units`",
            "add what its codes mean: `units = { 16 = \"m\" }`",
        ),
        (None, Some(spot)) if section.peek("unit_register").is_none() => {
            section.report.mistake(
                Code::NeedsAnother,
                spot,
                "`units` without `unit_register`",
                "add the register with the code: `unit_register = 2`",
            );
        }
        _ => {}
    }
    modbus::By {
        decimals: decimals.map(|told| (table, told.value)),
        unit: unit.map(|told| (table, told.value, units)),
    }
}

/// `units = { 16 = "m", 17 = "cm" }`
fn units(section: &mut Section<'_>) -> Vec<(u16, Arc<str>)> {
    section.hear("units", || json!({ "type": "object", "propertyNames": { "pattern": "^[0-9]{1,5}$" }, "additionalProperties": String::grammar() }));
    section.tie(|| Tie::Both("unit_register", "units"));
    let Some(table) = section.table("units") else {
        return Vec::new();
    };
    let mut units = Vec::new();
    for entry in &table.entries {
        match (entry.key.parse(), String::read(&entry.value)) {
            (Ok(code), Ok(unit)) => units.push((code, unit.into())),
            _ => section.report.mistake(
                Code::BadMap,
                entry.key_spot,
                "`units` says what the codes of a register mean",
                "write it like `units = { 16 = \"m\", 17 = \"cm\" }`",
            ),
        }
    }
    units
}

/// `fault = [0x7FFF]`: what the device says in place of a value when its sensor is broken.
fn faults(section: &mut Section<'_>, kind: Type, bits: bool) -> Vec<u64> {
    let Some(told) = section.take::<Faults>("fault") else {
        return Vec::new();
    };
    if bits || matches!(kind, Type::Bool | Type::Bits | Type::State | Type::Text(_)) {
        section.report.mistake(Code::OfNoUse, told.spot, "`fault` is for numbers", "leave it out");
    }
    let most = match kind.registers() {
        1 => u64::from(u16::MAX),
        2 => u64::from(u32::MAX),
        _ => u64::MAX,
    };
    if let Some(fault) = told.value.0.iter().find(|fault| **fault > most) {
        let cure = format!("write the raw registers as one number, at most {most:#X}");
        section.report.mistake(
            Code::OutOfRange,
            told.spot,
            format!("no such value is ever {fault:#X}"),
            cure,
        );
    }
    told.value.0
}

/// One raw value, or a list of them.
struct Faults(Vec<u64>);

impl Read for Faults {
    const IS: &'static str = "a raw value, or a list of them";
    const EXAMPLE: &'static str = "[0x7FFF]";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let one = |value: &Value| {
            u64::try_from(i128::read(value)?).map_err(|_| {
                wrong(
                    Code::OutOfRange,
                    "below 0",
                    "write it as it stands in the registers: `0x8000` in place of -32768",
                )
            })
        };
        match &value.node {
            Node::List(list) if (1..=FAULTS_MAX).contains(&list.len()) => {
                list.iter().map(one).collect::<Result<_, _>>().map(Self)
            }
            Node::List(list) => Err(wrong(
                Code::ListLength,
                format!("{} values", list.len()),
                format!("write 1 to {FAULTS_MAX}"),
            )),
            _ => Ok(Self(vec![one(value)?])),
        }
    }

    fn grammar() -> Json {
        let one = json!({ "type": "integer", "minimum": 0 });
        json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "maxItems": FAULTS_MAX }] })
    }
}

impl Read for Type {
    const IS: &'static str = "the type of a value";
    const EXAMPLE: &'static str = "\"u16\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if let Some((_, kind)) = TYPES.iter().find(|(word, _)| *word == text) {
            return Ok(*kind);
        }
        if let Some(count) = text.strip_prefix("string:") {
            return match count.parse() {
                Ok(count @ 1..=TEXT_REGISTERS_MAX) => Ok(Type::Text(count)),
                _ => Err(wrong(
                    Code::OutOfRange,
                    format!("`{text}` has no usable length"),
                    format!("write `string:N` with N registers, 1 to {TEXT_REGISTERS_MAX}"),
                )),
            };
        }
        // As other tools call them.
        let ours = text.to_lowercase().replace("uint", "u").replace("int", "i").replace("float", "f");
        if TYPES.iter().any(|(word, _)| *word == ours) {
            return Err(wrong(
                Code::NotOneOf,
                format!("there is no type `{text}`"),
                format!("did you mean `{ours}`?"),
            ));
        }
        let there_is = TYPES.iter().map(|(word, _)| *word).chain(["string:N"]);
        Err(wrong(Code::NotOneOf, format!("there is no type `{text}`"), did_you_mean(&text, there_is)))
    }

    fn grammar() -> Json {
        json!({ "anyOf": [ear::words(TYPES.iter().map(|(word, _)| *word)), ear::text("^string:[0-9]{1,3}$")] })
    }
}
