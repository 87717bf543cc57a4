//! A command of a Modbus device: what is written, and how it is seen that it was.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::commands::Does;
use super::ear::{Tie, Variant};
use super::kinds::wrong;
use super::registers::TABLES;
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Value};
use crate::field::modbus::{Command, ReadBack, Table, Write};

const ON: u16 = 0xFF00;
const OFF: u16 = 0;
/// Words or coils of one command.
const VALUES_MAX: usize = 64;
const PULSE_MIN: Duration = Duration::from_millis(100);
const PULSE_MAX: Duration = Duration::from_secs(600);
const STEP_MIN: Duration = Duration::from_millis(1);
const WITHIN_DEFAULT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Writing {
    pub command: Command,
    /// The value is how many of these the device does it for.
    step: Option<Duration>,
}

impl Does for Writing {
    const HOW: Option<&'static str> =
        Some("write what is to be written: `coil = 0` and `value = true`, or `register = 0` and `value = 1`");

    fn own(section: &mut Section<'_>) -> Option<Self> {
        let coil = section.entry("coil").map(|entry| entry.key_spot);
        let register = section.entry("register").map(|entry| entry.key_spot);
        if coil.is_none() && register.is_none() {
            return None;
        }
        section.tie(|| Tie::NotBoth("coil", "register"));
        section.variant(Variant::Has(if coil.is_some() { "coil" } else { "register" }));
        if let Some((_, spot)) = coil.zip(register) {
            section.report.mistake(
                Code::Excludes,
                spot,
                "`register` beside `coil`",
                "keep one: a command writes one of them",
            );
        }
        let given = section.require::<Given>("value");
        let write = if coil.is_some() { coils(section, given) } else { registers(section, given) };
        let pulse = section.span("pulse", PULSE_MIN..=PULSE_MAX);
        let then = pulse.and_then(|pulse| Some((pulse.value, end(section, &pulse, &write)?)));
        let read_back = read_back(section, &write);
        let step = section.span("step", STEP_MIN..=PULSE_MAX).map(|told| told.value);
        Some(Self { command: Command { write, read_back, then }, step })
    }

    fn nth(&self, n: u16) -> Option<Self> {
        let by = n - 1;
        let shifted = |write: &Write| -> Option<Write> {
            let mut write = write.clone();
            match &mut write {
                Write::Coil { at, .. }
                | Write::Register { at, .. }
                | Write::Coils { at, .. }
                | Write::Registers { at, .. }
                | Write::Mask { at, .. }
                | Write::ReadWrite { at, .. } => *at = at.checked_add(by)?,
            }
            Some(write)
        };
        let read_back = match &self.command.read_back {
            Some(back) => Some(ReadBack { register: back.register.checked_add(by)?, ..back.clone() }),
            None => None,
        };
        let then = match &self.command.then {
            Some((after, write)) => Some((*after, shifted(write)?)),
            None => None,
        };
        let command = Command { write: shifted(&self.command.write)?, read_back, then };
        Some(Self { command, step: self.step })
    }

    fn lasting(&self, span: Duration) -> Option<Self> {
        let mut lasting = self.clone();
        match (&mut lasting.command, self.step) {
            (Command { write: Write::Coil { word, .. } | Write::Register { word, .. }, .. }, Some(step)) => {
                let steps = span.as_nanos().checked_div(step.as_nanos())?;
                *word = u16::try_from(steps).ok().filter(|steps| step * u32::from(*steps) == span)?;
            }
            (Command { then: Some((after, _)), .. }, None) => *after = span,
            _ => return None,
        }
        Some(lasting)
    }
}

fn coils(section: &mut Section<'_>, given: Option<Told<Given>>) -> Write {
    let at = section.whole("coil", 0..=65535).map_or(0, |told| told.value);
    match given {
        Some(Told { value: Given::Flag(on), .. }) => Write::Coil { at, word: if on { ON } else { OFF } },
        Some(Told { value: Given::Word(word), .. }) => Write::Coil { at, word },
        Some(Told { value: Given::Flags(on), .. }) => Write::Coils { at, on },
        Some(Told { value: Given::Words(_), spot }) => {
            let cure = "write `[true, false]`; one raw number may stand alone";
            section.report.mistake(Code::WriteMisfit, spot, "coils are on or off", cure);
            Write::Coil { at, word: OFF }
        }
        None => Write::Coil { at, word: OFF },
    }
}

fn registers(section: &mut Section<'_>, given: Option<Told<Given>>) -> Write {
    let at = section.whole("register", 0..=65535).map_or(0, |told| told.value);
    let mask = section.whole::<u16>("mask", 1..=0xFFFF);
    let spot = given.as_ref().map_or(section.spot(), |told| told.spot);
    match (given.map(|told| told.value), mask) {
        (Some(Given::Word(word)), Some(mask)) => {
            if word & !mask.value != 0 {
                let what = format!("`value` {word:#X} has bits outside of `mask` {:#X}", mask.value);
                section.report.mistake(
                    Code::WriteMisfit,
                    spot,
                    what,
                    "write only bits that the mask lets through",
                );
            }
            Write::Mask { at, and: !mask.value, or: word }
        }
        (Some(Given::Word(word)), None) => Write::Register { at, word },
        (Some(Given::Words(words)), None) => many(section, at, words),
        (Some(Given::Words(_)), Some(mask)) => {
            section.report.mistake(
                Code::WriteMisfit,
                mask.spot,
                "`mask` is for one register",
                "write one `value`",
            );
            Write::Register { at, word: 0 }
        }
        (Some(Given::Flag(_) | Given::Flags(_)), _) => {
            section.report.mistake(
                Code::WriteMisfit,
                spot,
                "a register holds numbers",
                "write `value = 1` or `value = 0`",
            );
            Write::Register { at, word: 0 }
        }
        (None, _) => Write::Register { at, word: 0 },
    }
}

/// Several registers; with `read` in one transaction with what is read.
fn many(section: &mut Section<'_>, at: u16, words: Vec<u16>) -> Write {
    let Some(table) = section.table("read") else {
        return Write::Registers { at, words };
    };
    let mut read = Section::new(table, "`read` of a command", section.report);
    let from = read.whole("register", 0..=65535).map_or(0, |told| told.value);
    let count = read.whole("count", 1..=125).map_or(1, |told| told.value);
    read.finish();
    Write::ReadWrite { at, words, read: from, count }
}

/// The end of a pulse is its opposite.
fn end(section: &Section<'_>, pulse: &Told<Duration>, write: &Write) -> Option<Write> {
    match *write {
        Write::Coil { at, word: ON } => Some(Write::Coil { at, word: OFF }),
        Write::Coil { at, word: OFF } => Some(Write::Coil { at, word: ON }),
        Write::Register { at, word: 1.. } => Some(Write::Register { at, word: 0 }),
        Write::Mask { at, and, or: 1.. } => Some(Write::Mask { at, and, or: 0 }),
        _ => {
            let cure = "pulse a coil with `value = true`, or a register with a number other than 0";
            section.report.mistake(
                Code::WriteMisfit,
                pulse.spot,
                "a pulse ends with the opposite, and this has none",
                cure,
            );
            None
        }
    }
}

/// `read_back = true`, or `{ table = "discrete", register = 3, value = 1 }`.
fn read_back(section: &mut Section<'_>, write: &Write) -> Option<ReadBack> {
    section.hear("read_back", bool::grammar);
    let entry = section.entry("read_back")?;
    if let Node::Table(_) = entry.value.node {
        return elsewhere(section);
    }
    if !section.take::<bool>("read_back")?.value {
        return None;
    }
    let same = |table, register, words| ReadBack { table, register, words, within: WITHIN_DEFAULT };
    match write {
        &Write::Coil { at, word: word @ (ON | OFF) } => {
            Some(same(Table::Coil, at, vec![u16::from(word == ON)]))
        }
        Write::Coils { at, on } => Some(same(Table::Coil, *at, on.iter().copied().map(u16::from).collect())),
        &Write::Register { at, word } => Some(same(Table::Holding, at, vec![word])),
        Write::Registers { at, words } => Some(same(Table::Holding, *at, words.clone())),
        Write::Coil { .. } | Write::Mask { .. } | Write::ReadWrite { .. } => {
            let cure = "say what shows it: `read_back = { table = \"coil\", register = 0, value = 1 }`";
            section.report.mistake(
                Code::WriteMisfit,
                entry.value.spot,
                "what was written does not read like this",
                cure,
            );
            None
        }
    }
}

fn elsewhere(section: &mut Section<'_>) -> Option<ReadBack> {
    let table = section.table("read_back")?;
    let mut back = Section::new(table, "`read_back`", section.report);
    if back.entry("table").is_none() {
        back.missing("table", "write `table = \"coil\"`, or `discrete`, `holding`, `input`");
    }
    let table = back.word("table", &TABLES);
    if back.entry("register").is_none() {
        back.missing("register", "write the protocol address, zero-based: `register = 0`");
    }
    let register = back.whole("register", 0..=65535);
    let value = back.require::<Given>("value");
    let within = back.span("within", PULSE_MIN..=PULSE_MAX).map_or(WITHIN_DEFAULT, |told| told.value);
    back.finish();
    let words = match value?.value {
        Given::Flag(on) => vec![u16::from(on)],
        Given::Word(word) => vec![word],
        Given::Flags(on) => on.into_iter().map(u16::from).collect(),
        Given::Words(words) => words,
    };
    Some(ReadBack { table: table?.value, register: register?.value, words, within })
}

/// What is written, or has to be read: coils are true or false, registers numbers.
#[derive(Debug, Clone)]
enum Given {
    Flag(bool),
    Word(u16),
    Flags(Vec<bool>),
    Words(Vec<u16>),
}

impl Read for Given {
    const IS: &'static str = "true, false, a number, or a list of them";
    const EXAMPLE: &'static str = "true";

    fn read(value: &Value) -> Result<Self, Wrong> {
        match &value.node {
            Node::Bool(flag) => Ok(Given::Flag(*flag)),
            Node::Whole(_) => word(value).map(Given::Word),
            Node::List(list) if !(1..=VALUES_MAX).contains(&list.len()) => Err(wrong(
                Code::ListLength,
                format!("{} values", list.len()),
                format!("write 1 to {VALUES_MAX}"),
            )),
            Node::List(list) if matches!(list[0].node, Node::Bool(_)) => {
                list.iter().map(bool::read).collect::<Result<_, _>>().map(Given::Flags)
            }
            Node::List(list) => list.iter().map(word).collect::<Result<_, _>>().map(Given::Words),
            _ => Err(Wrong::Type),
        }
    }

    fn grammar() -> Json {
        let word = json!({ "type": ["boolean", "integer"], "minimum": i16::MIN, "maximum": u16::MAX });
        let mut list = word.clone();
        list["type"] = json!(["boolean", "integer", "array"]);
        list["items"] = word;
        list["minItems"] = json!(1);
        list["maxItems"] = json!(VALUES_MAX);
        list
    }
}

/// A register; a negative number stands in it as two's complement.
fn word(value: &Value) -> Result<u16, Wrong> {
    let number = i128::read(value)?;
    u16::try_from(number).or_else(|_| i16::try_from(number).map(|number| number as u16)).map_err(|_| {
        wrong(
            Code::OutOfRange,
            format!("{number} does not fit into a register"),
            "write a number from -32768 to 65535",
        )
    })
}
