//! One table being read: takes its keys one by one, complains of what is wrong, and at the end of what nobody took.
//!
//! A reader always gets a value, a harmless one where the written one was wrong: the walk goes on, so that all mistakes
//! are found, and since one mistake is enough to refuse the whole, nobody will ever run on the harmless value.

use std::mem;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::{self, Below, address};
use super::kinds::human;
use super::mistakes::{Mistake, Report, Spot, did_you_mean, listed, nearest};
use super::tree::{Entry, Node, Table, Value};

#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) table: &'a Table,
    /// What people call it: "device `pump-1`", "`[store]`".
    pub name: String,
    /// Every key that was asked for.
    known: Vec<&'static str>,
    /// Known, and not offered.
    to_come: Vec<&'static str>,
    left: bool,
    pub report: &'a Report<'a>,
}

/// A value with its spot, for checks across tables.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told<T> {
    pub value: T,
    pub spot: Spot,
}

/// What can stand behind a key.
pub(super) trait Read: Sized {
    /// "a whole number"
    const IS: &'static str;
    /// As it would be written.
    const EXAMPLE: &'static str;

    fn read(value: &Value) -> Result<Self, Wrong>;

    /// The same as JSON Schema, as far as that can say it.
    fn grammar() -> Json;

    /// How it would be shown as a default.
    fn shown(&self) -> Option<Json> {
        None
    }
}

/// Why a value was not taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wrong {
    /// Another type; the trait's words say which is needed.
    Type,
    /// The right type and not acceptable: what is wrong, and the cure.
    Value(Code, String, String),
}

impl<'a> Section<'a> {
    pub fn new(table: &'a Table, name: impl Into<String>, report: &'a Report<'a>) -> Self {
        let name = name.into();
        if let Some(ear) = &report.ear {
            ear.opens(table, &name);
        }
        Self { table, name, known: Vec::new(), to_come: Vec::new(), left: false, report }
    }

    /// Where the table begins.
    pub fn spot(&self) -> Spot {
        self.table.spot
    }

    /// The bare entry; its key is known from here on.
    pub fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.knows(key);
        self.table.get(key)
    }

    /// The entry of a key that is known already, or of none.
    pub fn peek(&self, key: &str) -> Option<&'a Entry> {
        self.table.get(key)
    }

    /// The entry of a key which no one is told to use.
    pub fn entry_to_come(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.to_come.push(key);
        self.table.get(key)
    }

    /// Keys that may stand here and are not read.
    pub fn know(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.knows(key);
        }
    }

    /// Leaves the rest aside: nobody knows which keys the table may have.
    pub fn leave(&mut self) {
        self.left = true;
    }

    fn knows(&mut self, key: &'static str) {
        self.hear_key(key);
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    pub fn take<T: Read>(&mut self, key: &'static str) -> Option<Told<T>> {
        self.hear(key, T::grammar);
        self.read(key)
    }

    fn read<T: Read>(&mut self, key: &'static str) -> Option<Told<T>> {
        let entry = self.entry(key)?;
        let spot = entry.value.spot;
        match T::read(&entry.value) {
            Ok(value) => return Some(Told { value, spot }),
            Err(Wrong::Value(code, what, cure)) => {
                self.report.mistake(code, spot, format!("`{key}`: {what}"), cure);
            }
            Err(Wrong::Type) => self.report.mistake(
                Code::WrongType,
                spot,
                format!("`{key}` is {}, it has to be {}", entry.value.kind(), T::IS),
                match &entry.value.node {
                    Node::Text(text) if bare(text, T::EXAMPLE) => {
                        format!("write `{key} = {text}`, without quotes")
                    }
                    _ => format!("write it like `{key} = {}`", T::EXAMPLE),
                },
            ),
        }
        None
    }

    pub fn take_or<T: Read>(&mut self, key: &'static str, default: T) -> T {
        self.hear(key, T::grammar);
        if let Some(default) = default.shown() {
            self.narrow(key, || json!({ "default": default }));
        }
        self.read(key).map_or(default, |told| told.value)
    }

    /// Has to be there; without it the table's head is marked.
    pub fn require<T: Read>(&mut self, key: &'static str) -> Option<Told<T>> {
        self.hear_required(key);
        if self.table.get(key).is_none() {
            self.missing(key, format!("write `{key} = {}`", T::EXAMPLE));
            self.hear(key, T::grammar);
            self.knows(key);
            return None;
        }
        self.take(key)
    }

    /// Says that a key is missing, with a cure of the caller's own; not where it stands misspelt, which is said anyway.
    pub fn missing(&self, key: &'static str, cure: impl Into<String>) {
        self.hear_required(key);
        let misspelt =
            |entry: &Entry| !self.known.contains(&entry.key.as_str()) && nearest(&entry.key, [key]).is_some();
        if self.table.entries.iter().any(misspelt) {
            return;
        }
        self.report.missing(Code::MissingKey, self.table.spot, format!("{} has no `{key}`", self.name), cure);
    }

    /// A whole number within bounds, which the error states.
    pub fn whole<T: TryFrom<i128> + Copy>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<i128>,
    ) -> Option<Told<T>> {
        self.hear(key, || json!({ "type": "integer", "minimum": bounds.start(), "maximum": bounds.end() }));
        let told = self.read::<i128>(key)?;
        if bounds.contains(&told.value)
            && let Ok(value) = T::try_from(told.value)
        {
            return Some(Told { value, spot: told.spot });
        }
        self.report.mistake(
            Code::OutOfRange,
            told.spot,
            format!("`{key}` is {}", told.value),
            format!("write a number from {} to {}", bounds.start(), bounds.end()),
        );
        None
    }

    /// A span of time within bounds, which the error states.
    pub fn span(&mut self, key: &'static str, bounds: RangeInclusive<Duration>) -> Option<Told<Duration>> {
        self.hear(key, || bounded(&bounds));
        let told = self.read::<Duration>(key)?;
        if bounds.contains(&told.value) {
            return Some(told);
        }
        self.report.mistake(
            Code::OutOfRange,
            told.spot,
            format!("`{key}` is {}", human(told.value)),
            format!("write a span from `\"{}\"` to `\"{}\"`", human(*bounds.start()), human(*bounds.end())),
        );
        None
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<Told<T>> {
        self.hear(key, || ear::words(words.iter().map(|(word, _)| *word)));
        let told = self.read::<String>(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == told.value) {
            return Some(Told { value: *value, spot: told.spot });
        }
        self.report.mistake(
            Code::NotOneOf,
            told.spot,
            format!("`{key}` cannot be `{}`", told.value),
            one_of(&told.value, words.iter().map(|(word, _)| *word)),
        );
        None
    }

    /// The tables of `[[key]]`.
    pub fn tables(&mut self, key: &'static str) -> Vec<&'a Table> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        let wrong = |spot: Spot| {
            self.report.mistake(
                Code::Brackets,
                spot,
                format!("`{key}` is a list of tables"),
                format!("write `[[{key}]]` above each one, with two brackets"),
            );
        };
        match &entry.value.node {
            Node::List(list) => {
                for value in list {
                    match &value.node {
                        Node::Table(table) => {
                            self.hear_below(key, Below::OfSeveral(address(table)));
                            tables.push(table);
                        }
                        _ => wrong(value.spot),
                    }
                }
            }
            _ => wrong(entry.key_spot),
        }
        tables
    }

    /// The table of `[key]`.
    pub fn table(&mut self, key: &'static str) -> Option<&'a Table> {
        self.table_like(key, || format!("write `[{key}]`, with one bracket, and its keys below"))
    }

    /// The table of a key that stands among others, `key = { … }`; `cure` shows one.
    pub fn table_like(&mut self, key: &'static str, cure: impl FnOnce() -> String) -> Option<&'a Table> {
        let entry = self.entry(key)?;
        if let Node::Table(table) = &entry.value.node {
            self.hear_below(key, Below::One(address(table)));
            return Some(table);
        }
        self.report.mistake(Code::Brackets, entry.key_spot, format!("`{key}` is one table"), cure());
        None
    }

    /// Takes what all else can do without. Where the report spares that, what is wrong with it is no mistake of the
    /// configuration; the first of it comes back, and the caller closes what would have used it.
    pub fn spared<T>(&mut self, take: impl FnOnce(&mut Section<'_>) -> T) -> (T, Option<Mistake>) {
        if !self.report.spares {
            return (take(self), None);
        }
        let aside = Report::new(self.report.sources().to_vec());
        let (known, to_come) = (mem::take(&mut self.known), mem::take(&mut self.to_come));
        let (table, name, left) = (self.table, self.name.clone(), self.left);
        let mut section = Section { table, name, known, to_come, left, report: &aside };
        let taken = take(&mut section);
        (self.known, self.to_come) = (section.known, section.to_come);
        (taken, aside.finish().0.list.into_iter().next())
    }

    /// Complains of every key that was never asked for.
    pub fn finish(self) {
        let entries = self.table.entries.iter().filter(|_| !self.left);
        for entry in entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) || self.to_come.contains(&key) {
                continue;
            }
            let what = format!("unknown key `{key}`");
            match nearest(key, self.known.iter().copied()) {
                Some(near) => self.report.mistake(
                    Code::UnknownKey,
                    entry.key_spot,
                    what,
                    format!("did you mean `{near}`?"),
                ),
                // Where a table's head was not understood, its keys have come to the table before it.
                None => self.report.missing(
                    Code::UnknownKey,
                    entry.key_spot,
                    what,
                    format!("{} knows {}", self.name, listed(self.known.iter().copied())),
                ),
            }
        }
    }
}

/// A span of time; its bounds are for people, a pattern cannot count.
fn bounded(bounds: &RangeInclusive<Duration>) -> Json {
    let mut span = Duration::grammar();
    span["description"] = format!("{} to {}", human(*bounds.start()), human(*bounds.end())).into();
    span
}

/// Whether a text would be right without its quotes, to judge by how the type is written.
fn bare(text: &str, example: &str) -> bool {
    match text {
        "true" | "false" => example == bool::EXAMPLE,
        _ => text.parse::<f64>().is_ok_and(f64::is_finite) && example.parse::<f64>().is_ok(),
    }
}

/// "did you mean", or all there are: few enough to be listed.
fn one_of<'n>(word: &str, words: impl Iterator<Item = &'n str> + Clone) -> String {
    match nearest(word, words.clone()) {
        Some(_) => did_you_mean(word, words),
        None => format!("write one of {}", listed(words)),
    }
}
