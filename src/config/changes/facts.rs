//! How a device, and each point of it, is read and judged: fact by fact, under the names that they have in the configuration.

use std::fmt::Display;
use std::time::Duration;

use super::arrow;
use crate::access::Bank;
use crate::config::kinds::human;
use crate::config::registers::{ORDERS, TABLES, TYPES};
use crate::field::decode::{Transform, Type};
use crate::field::serial::{self, Feedback, FirstByte, Item, ItemOrder, Metering, Protocol};
use crate::field::{Hung, modbus};
use crate::reading::{Clean, Millis, Point, PointId};

/// The key of the configuration, and what stands there.
pub(super) type Fact = (&'static str, String);

/// `scale 0.1 → 0.2`, each that is other than it was. Nothing where there are other facts: then it is another kind of thing.
pub(super) fn moved(was: &[Fact], is: &[Fact]) -> Vec<String> {
    let alike = was.len() == is.len() && was.iter().zip(is).all(|(was, is)| was.0 == is.0);
    let pairs = was.iter().zip(is).filter(|(was, is)| alike && was.1 != is.1);
    pairs.map(|(was, is)| format!("{} {}", was.0, arrow(&was.1, &is.1))).collect()
}

/// Of a device as a whole, besides how often it is asked. A secret is only there or not.
pub(super) fn of_device(hung: &Hung) -> Vec<Fact> {
    match hung {
        Hung::Modbus(device) => {
            let avoid = device.merge.avoid.iter().map(|(from, to)| format!("{from}-{to}"));
            vec![
                ("unit", device.unit.to_string()),
                ("turnaround", human(device.turnaround)),
                ("max_gap", device.merge.max_gap.to_string()),
                ("max_registers", device.merge.max_registers.to_string()),
                ("avoid", several(avoid)),
            ]
        }
        Hung::Serial(board) => match &board.kind {
            serial::Kind::Locker(locker) => of_locker(locker),
            serial::Kind::Meter(meter) => of_meter(&meter.protocol),
        },
        Hung::Osdp(reader) => vec![
            ("unit", reader.address.to_string()),
            ("key", reader.key.as_ref().map_or("none", |_| "given").to_owned()),
        ],
        Hung::Uhppote(controller) => {
            vec![("serial", controller.serial.to_string()), ("address", or_none(controller.address))]
        }
        Hung::Mqtt(device) => {
            vec![("topic", device.topic.clone()), ("availability", or_none(device.availability.as_ref()))]
        }
    }
}

fn of_locker(locker: &serial::Locker) -> Vec<Fact> {
    let feedback = |feedback: &Feedback| match feedback {
        Feedback::DoorClosing => "door-closing",
        Feedback::DoorOpening => "door-opening",
    };
    let mut facts = vec![("unit", locker.address.to_string())];
    match &locker.protocol {
        Protocol::LockBoard8a { feedback: of, first_byte } => {
            let first = if *first_byte == FirstByte::Last { "last" } else { "first" };
            facts.extend([("feedback", feedback(of).to_owned()), ("first_byte", first.to_owned())]);
        }
        Protocol::KrCu16 { feedback: of } | Protocol::KrCu48 { feedback: of } => {
            facts.push(("feedback", feedback(of).to_owned()));
        }
        Protocol::Winnsen16 => {}
    }
    facts
}

fn of_meter(meter: &Metering) -> Vec<Fact> {
    match meter {
        Metering::Dlt645 { address } => vec![("address", or_none(address.as_ref()))],
        Metering::Cjt188 { address, kind, order } => {
            let order = if *order == ItemOrder::LowFirst { "low-first" } else { "high-first" };
            vec![
                ("address", or_none(address.as_ref())),
                ("kind", format!("{kind:#04x}")),
                ("order", order.to_owned()),
            ]
        }
        Metering::Mbus { address } => vec![("unit", address.to_string())],
    }
}

/// Of a point where it is read from; nothing where its device knows it by its name.
pub(super) fn of_source(hung: &Hung, point: PointId) -> Vec<Fact> {
    let facts = match hung {
        Hung::Modbus(device) => device.points.iter().find(|own| own.id == point).map(of_register),
        Hung::Serial(board) => match &board.kind {
            serial::Kind::Locker(_) => None,
            serial::Kind::Meter(meter) => {
                let own = meter.points.iter().find(|own| own.id == point);
                own.map(|own| [of_item(&own.item), of_transform(&own.transform)].concat())
            }
        },
        Hung::Osdp(_) | Hung::Uhppote(_) => None,
        Hung::Mqtt(device) => device.points.iter().find(|own| own.id == point).map(|own| {
            let place = vec![("topic", or_none(own.topic.as_ref())), ("json", or_none(own.json.as_ref()))];
            [place, of_transform(&own.transform)].concat()
        }),
    };
    facts.unwrap_or_default()
}

fn of_register(point: &modbus::Point) -> Vec<Fact> {
    let elsewhere = |at: Option<(modbus::Table, u16)>| {
        at.map_or("none".to_owned(), |(table, at)| format!("{} {at}", word(&TABLES, table)))
    };
    let by = &point.by;
    let units = by.unit.iter().flat_map(|(_, _, units)| units.iter());
    let mut facts = vec![
        ("table", word(&TABLES, point.table)),
        ("register", point.register.to_string()),
        ("type", kind(point.kind)),
        ("order", word(&ORDERS, point.order)),
        ("bit", or_none(point.bit)),
        ("poll", point.poll.map_or("with its device".to_owned(), human)),
        ("decimals_register", elsewhere(by.decimals)),
        ("unit_register", elsewhere(by.unit.as_ref().map(|(table, at, _)| (*table, *at)))),
        ("units", several(units.map(|(code, unit)| format!("{code} = {unit}")))),
    ];
    facts.extend(of_transform(&point.transform));
    facts
}

fn kind(kind: Type) -> String {
    match kind {
        Type::Field { from, width } => format!("{width} bits from bit {from}"),
        Type::Text(registers) => format!("string:{registers}"),
        plain => word(&TYPES, plain),
    }
}

fn of_item(item: &Item) -> Vec<Fact> {
    let said = |word: &str| vec![("item", word.to_owned())];
    match item {
        Item::Dlt645 { di, digits, signed } => vec![
            ("item", format!("{di:08X}")),
            ("digits", digits.to_string()),
            ("signed", signed.to_string()),
        ],
        Item::Volume => said("volume"),
        Item::Valve => said("valve"),
        Item::BatteryLow => said("battery-low"),
        Item::Record(nth) => vec![("record", nth.to_string())],
    }
}

fn of_transform(transform: &Transform) -> Vec<Fact> {
    vec![
        ("scale", transform.scale.unwrap_or(1.0).to_string()),
        ("offset", transform.offset.to_string()),
        ("map", several(transform.map.iter().map(|(raw, word)| format!("{raw} = {word}")))),
        ("fault", several(transform.faults.iter().map(|raw| format!("{raw:#X}")))),
    ]
}

/// Of a point what is known of its values, wherever they come from.
pub(super) fn of_values(point: &Point) -> Vec<Fact> {
    let range = |(low, high): (f64, f64)| format!("{low} to {high}");
    let Clean { rate, spike, stuck, fill, slot } = point.clean;
    let span = |of: Option<Millis>| or_none(of.map(spoken));
    vec![
        ("unit", or_none(point.unit.as_ref().filter(|unit| !unit.is_empty()))),
        ("range", point.range.map_or("any".to_owned(), range)),
        ("deadband", point.deadband.to_string()),
        ("rate", or_none(rate)),
        ("spike", if spike { "on" } else { "off" }.to_owned()),
        ("stuck", span(stuck)),
        ("fill", span(fill)),
        ("every", span(slot)),
    ]
}

/// Of lockers, how their cells are judged.
pub(super) fn of_bank(bank: &Bank) -> Vec<Fact> {
    vec![
        ("unexpected", bank.unexpected.to_string()),
        ("opens_within", spoken(bank.opens_within)),
        ("held_after", spoken(bank.held_after)),
        ("overdue_after", spoken(bank.overdue_after)),
    ]
}

pub(super) fn spoken(span: Millis) -> String {
    human(Duration::from_millis(span.unsigned_abs()))
}

fn word<T: PartialEq + Copy>(words: &[(&str, T)], of: T) -> String {
    words.iter().find(|(_, one)| *one == of).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

fn or_none(of: Option<impl Display>) -> String {
    of.map_or_else(|| "none".to_owned(), |of| of.to_string())
}

/// All of a list in one line.
fn several(of: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = of.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(" | ") }
}
