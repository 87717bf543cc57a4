//! `when`: a CEL expression over several points.
//!
//! The text is bounded before the parser sees it ([`scan`]), parsed by `cel` on a thread with a stack of its own, checked
//! and made into a tree ([`check`]) that only goes forward: no macros, no loops. A judgement visits each of its at most
//! [`TEXT_MAX`] nodes once ([`tree`]).

mod check;
mod scan;
mod tree;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use cel::parser::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use self::tree::Node;
use super::Over;
use super::condition::Verdict;
use super::judge::{Judge, Judgement, Seen};
use crate::numbers::{Numbered, Numbers};
use crate::reading::{Millis, PointId, Quality, Value};

/// Bytes of an expression.
pub const TEXT_MAX: usize = 1024;
/// The parser takes about 100 KB for each bracket in a debug build, and ten are allowed.
const STACK: usize = 32 << 20;
/// Bytes of what a restart has to know; beyond them the values are read anew.
const SAVED_MAX: usize = 4096;

/// As written, with the names that stand for points.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub text: Arc<str>,
    /// In the order of the rule's points.
    pub names: Vec<Arc<str>>,
    /// Tells it from any other expression, and from the same one over other points.
    mark: u64,
    tree: Arc<Node>,
}

/// A name of an expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub name: String,
    /// The id of its point.
    pub point: Arc<str>,
    pub kind: Kind,
}

/// What values there can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Number,
    Bool,
    Text,
    /// One of these words.
    Words(Vec<String>),
    /// Only known when it comes.
    Any,
}

/// A mistake in an expression, and where: bytes from its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub at: usize,
    pub length: usize,
    pub what: String,
    pub cure: Cure,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Cure {
    Say(String),
    /// A word that is none of those there are.
    Meant {
        word: String,
        there_is: Vec<String>,
    },
}

impl Fault {
    fn new(at: usize, length: usize, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { at, length, what: what.into(), cure: Cure::Say(cure.into()) }
    }
}

impl Expression {
    pub fn compile(text: &str, names: &[Name]) -> Result<Self, Fault> {
        scan::scan(text, names)?;
        let tree = std::thread::scope(|scope| {
            let parse = || parse(text, names);
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, parse);
            let unread = || Fault::new(0, text.len(), "this expression cannot be read", scan::LIKE);
            thread.map_err(|_| unread())?.join().unwrap_or_else(|_| Err(unread()))
        })?;
        let mut hasher = DefaultHasher::new();
        let points: Vec<_> = names.iter().map(|name| (&name.name, &name.point)).collect();
        (text, points).hash(&mut hasher);
        Ok(Self {
            text: text.into(),
            names: names.iter().map(|name| name.name.as_str().into()).collect(),
            mark: hasher.finish(),
            tree: Arc::new(tree),
        })
    }
}

fn parse(text: &str, names: &[Name]) -> Result<Node, Fault> {
    match Parser::new().parse_with_source_info(text) {
        Ok((parsed, places)) => check::check(text, &parsed, &places, names),
        Err(errors) => {
            let (line, column) = errors.errors.first().map_or((1, 0), |error| error.pos);
            Err(scan::misfit(text, line, column))
        }
    }
}

// ---------------------------------------------------------------------------------------------- the judge

/// Holds the latest value of each point. Readings of one instant are all taken before it judges: a reading only marks
/// the instant, which is over with the next one.
#[derive(Debug)]
pub struct Expressed {
    expression: Expression,
    points: Vec<PointId>,
    /// `None`: bad, or not yet read.
    values: Vec<Option<Value>>,
    qualities: Vec<Quality>,
    /// Something changed at this instant, and has not been judged.
    instant: Option<Millis>,
    said: Option<(Option<Verdict>, Quality)>,
    /// Nothing has changed since it was last saved.
    rests: bool,
    /// What was saved holds no longer.
    outdated: bool,
}

/// The values are saved at rest only, and forgotten on the disk with the first change: what is found there is what was
/// last read, however the daemon ended.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    of: u64,
    values: Vec<Option<(Value, bool)>>,
}

impl Expressed {
    pub fn new(expression: &Expression, over: &Over) -> Self {
        let points = if let Over::Together(points) = over { points.clone() } else { Vec::new() };
        Self {
            expression: expression.clone(),
            values: vec![None; points.len()],
            qualities: vec![Quality::Bad; points.len()],
            points,
            instant: None,
            said: None,
            rests: false,
            outdated: false,
        }
    }

    fn judge(&self) -> (Option<Verdict>, Quality) {
        let quality = self.qualities.iter().copied().min().unwrap_or(Quality::Bad);
        if quality == Quality::Bad {
            return (None, quality);
        }
        let verdict = match self.expression.tree.value(&self.values) {
            Some(Value::Bool(true)) => Some(Verdict::Holds),
            Some(Value::Bool(false)) => Some(Verdict::Gone),
            _ => None,
        };
        (verdict, quality)
    }
}

impl Judge for Expressed {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        for (i, _) in self.points.iter().enumerate().filter(|(_, point)| **point == seen.point) {
            if self.values[i].as_ref() == seen.value && self.qualities[i] == seen.quality {
                continue;
            }
            self.values[i] = seen.value.cloned();
            self.qualities[i] = if seen.value.is_some() { seen.quality } else { Quality::Bad };
            self.instant = Some(seen.at);
            self.outdated |= std::mem::take(&mut self.rests);
        }
        None
    }

    fn waits(&self) -> bool {
        true
    }

    fn due(&self) -> Option<Millis> {
        self.instant.map(|instant| instant + 1)
    }

    fn pass(&mut self, _due: Millis) -> Option<Judgement> {
        let at = self.instant.take()?;
        let (verdict, quality) = self.judge();
        let said = self.said.replace((verdict, quality));
        (said != Some((verdict, quality))).then_some(Judgement { at, verdict, quality })
    }

    /// Values nobody kept an eye on are not known any more; where no time was lost, all goes on.
    fn shift(&mut self, by: Millis) {
        self.instant = self.instant.map(|at| at + by);
    }

    fn lost(&mut self, from: Millis, to: Millis) {
        self.said = None;
        self.instant = (from == to).then_some(to);
        if from != to {
            self.values.fill(None);
            self.qualities.fill(Quality::Bad);
            self.outdated |= std::mem::take(&mut self.rests);
        }
    }

    fn counted_by(&mut self, numbers: &Numbers) {
        self.points = std::mem::take(&mut self.points).in_other(numbers);
    }

    fn rest(&mut self) {
        self.rests = true;
    }

    fn save(&self) -> Option<Json> {
        let good = |i: usize| self.qualities[i] == Quality::Good;
        let values = self.values.iter().enumerate().map(|(i, value)| Some((value.clone()?, good(i))));
        let saved = self.rests.then(|| Saved { of: self.expression.mark, values: values.collect() })?;
        serde_json::to_value(&saved).ok().filter(|json| json.to_string().len() <= SAVED_MAX)
    }

    fn take_up(&mut self, saved: &Json) {
        let Ok(saved) = Saved::deserialize(saved) else { return };
        if saved.of != self.expression.mark || saved.values.len() != self.points.len() {
            return;
        }
        for (i, value) in saved.values.into_iter().enumerate() {
            let quality = match &value {
                Some((_, true)) => Quality::Good,
                Some((_, false)) => Quality::Uncertain,
                None => Quality::Bad,
            };
            (self.values[i], self.qualities[i]) = (value.map(|(value, _)| value), quality);
        }
        self.rests = true;
    }

    fn is_worth_saving(&mut self) -> bool {
        std::mem::take(&mut self.outdated)
    }
}

#[cfg(test)]
mod tests;
