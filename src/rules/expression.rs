//! `when`: a CEL expression over several points.

use std::sync::Arc;

use super::Over;
use super::condition::Verdict;
use super::judge::{Judge, Seen};
use crate::reading::Millis;

/// As written, with the names that stand for points.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub text: Arc<str>,
    /// In the order of the rule's points.
    pub names: Vec<Arc<str>>,
}

/// A mistake in an expression, and where: bytes from its beginning.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub at: usize,
    pub what: String,
    pub cure: String,
}

impl Expression {
    pub fn compile(text: &str, names: &[String]) -> Result<Self, Fault> {
        Ok(Self { text: text.into(), names: names.iter().map(|name| name.as_str().into()).collect() })
    }
}

#[derive(Debug)]
pub struct Expressed {
    _expression: Expression,
}

impl Expressed {
    pub fn new(expression: &Expression, _over: &Over) -> Self {
        Self { _expression: expression.clone() }
    }
}

impl Judge for Expressed {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn lost(&mut self, _from: Millis, _to: Millis) {}
}
