//! Names that may stand once.

use std::collections::HashMap;

use super::codes::Code;
use super::kinds::Id;
use super::mistakes::{Report, Spot};
use super::section::Section;
use super::tree::Table;

#[derive(Debug)]
pub(super) struct Names {
    /// "channel", "device"
    what: &'static str,
    code: Code,
    /// What to do where one stands twice.
    cure: &'static str,
    /// How many there may be.
    max: usize,
    taken: HashMap<String, Spot>,
}

impl Names {
    pub fn new(what: &'static str, cure: &'static str, max: usize) -> Self {
        Self { what, code: Code::SecondName, cure, max, taken: HashMap::new() }
    }

    /// For wires: not the name of a channel, but what it goes over.
    pub fn of_wires(cure: &'static str, max: usize) -> Self {
        Self { code: Code::WireTwice, ..Self::new("channel on", cure, max) }
    }

    /// The `id` of a table; empty where there is none that can be used.
    pub fn claim(&mut self, section: &mut Section<'_>) -> String {
        self.claim_key(section, "id")
    }

    pub fn claim_key(&mut self, section: &mut Section<'_>, key: &'static str) -> String {
        let Some(id) = section.require::<Id>(key) else {
            return String::new();
        };
        self.once(&id.value.0, id.spot, section.report);
        id.value.0
    }

    /// Complains of a name that is taken, and of one too many.
    pub fn once(&mut self, name: &str, spot: Spot, report: &Report<'_>) {
        let what = self.what;
        if let Some(first) = self.taken.get(name) {
            let cure = format!("{}; the first is at {}", self.cure, report.at(*first));
            report.mistake(self.code, spot, format!("a second {what} `{name}`"), cure);
            return;
        }
        self.taken.insert(name.to_owned(), spot);
        if self.taken.len() == self.max + 1 {
            let cure = format!("there may be {} of them on one gateway", self.max);
            report.mistake(Code::OneTooMany, spot, format!("one {what} too many"), cure);
        }
    }
}

/// What people call a table: "device `pump-1`", or `[[device]]` where it has no name.
pub(super) fn title(what: &str, table: &Table, key: &str) -> String {
    match table.text(key) {
        Some(id) if !id.is_empty() => format!("{what} `{}`", id.chars().take(64).collect::<String>()),
        _ => format!("this `[[{what}]]`"),
    }
}
