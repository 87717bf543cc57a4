//! Listens to the readers: which keys they ask for, and what may stand there. What they ask for is what the schema says, so
//! that neither is written twice. Nobody listens but for the schema: then it costs a look at an empty place.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::section::Section;
use super::tree::Table;

/// By where a table is in memory: it stays there for as long as the walk.
#[derive(Debug, Default)]
pub(super) struct Ear(RefCell<BTreeMap<usize, Heard>>);

/// What was asked of one table.
#[derive(Debug, Default, Clone)]
pub(super) struct Heard {
    /// What people call it.
    pub name: String,
    /// In the order in which they were asked for.
    pub keys: Vec<&'static str>,
    /// What may stand behind a key; several where each will do.
    pub grammars: BTreeMap<&'static str, Vec<Json>>,
    pub required: BTreeSet<&'static str>,
    /// Keys that stood there.
    pub present: BTreeSet<String>,
    /// Tables below it.
    pub below: Vec<(&'static str, Below)>,
    pub variants: BTreeSet<Variant>,
    pub ties: Vec<Tie>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Below {
    One(usize),
    OfSeveral(usize),
}

/// Tables of one name are not all alike; how one is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variant {
    /// A key says it.
    Says(&'static str, &'static str),
    /// A key is there.
    Has(&'static str),
    /// None of those that others have.
    Plain,
    /// Any key is there that no other variant has.
    Own(&'static str),
}

/// What keys have to do with each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tie {
    OneOf(Vec<&'static str>),
    Both(&'static str, &'static str),
    NotBoth(&'static str, &'static str),
    /// Whatever else, as a schema of its own.
    Holds(Json),
}

impl Ear {
    pub fn heard(self) -> BTreeMap<usize, Heard> {
        self.0.into_inner()
    }

    pub fn opens(&self, table: &Table, name: &str) {
        self.of(table, |heard| {
            heard.name = name.to_owned();
            heard.present = table.entries.iter().map(|entry| entry.key.clone()).collect();
        });
    }

    fn of(&self, table: &Table, note: impl FnOnce(&mut Heard)) {
        note(self.0.borrow_mut().entry(address(table)).or_default());
    }
}

pub(super) fn address(table: &Table) -> usize {
    std::ptr::from_ref(table).addr()
}

/// What readers say of their keys beyond reading them.
impl<'a> Section<'a> {
    fn note(&self, note: impl FnOnce(&mut Heard)) {
        if let Some(ear) = &self.report.ear {
            ear.of(self.table, note);
        }
    }

    pub(super) fn is_heard(&self) -> bool {
        self.report.ear.is_some()
    }

    pub(super) fn hear_key(&self, key: &'static str) {
        self.note(|heard| {
            if !heard.keys.contains(&key) {
                heard.keys.push(key);
            }
        });
    }

    /// What may stand behind a key, where reading it does not say so.
    pub(super) fn hear(&self, key: &'static str, grammar: impl FnOnce() -> Json) {
        self.note(|heard| {
            let (grammar, grammars) = (grammar(), heard.grammars.entry(key).or_default());
            if !grammars.contains(&grammar) {
                grammars.push(grammar);
            }
        });
    }

    /// Of what was read last behind the key only some will do.
    pub(super) fn narrow(&self, key: &'static str, by: impl FnOnce() -> Json) {
        self.note(|heard| {
            let last = heard.grammars.get_mut(key).and_then(|grammars| grammars.last_mut());
            if let (Some(Json::Object(last)), Json::Object(by)) = (last, by()) {
                last.extend(by);
            }
        });
    }

    pub(super) fn hear_required(&self, key: &'static str) {
        self.note(|heard| {
            heard.required.insert(key);
        });
    }

    pub(super) fn hear_below(&self, key: &'static str, below: Below) {
        self.note(|heard| heard.below.push((key, below)));
    }

    pub(super) fn variant(&self, variant: Variant) {
        self.note(|heard| {
            heard.variants.insert(variant);
        });
    }

    pub(super) fn tie(&self, tie: impl FnOnce() -> Tie) {
        self.note(|heard| {
            let tie = tie();
            if !heard.ties.contains(&tie) {
                heard.ties.push(tie);
            }
        });
    }
}

/// Text with this pattern.
pub(super) fn text(pattern: &str) -> Json {
    json!({ "type": "string", "pattern": pattern })
}

/// One of these words.
pub(super) fn words<'w>(words: impl IntoIterator<Item = &'w str>) -> Json {
    json!({ "type": "string", "enum": words.into_iter().collect::<Vec<_>>() })
}
