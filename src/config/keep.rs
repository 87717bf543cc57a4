//! `[store] keep`: kinds of events that are kept for less long than others.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::kinds::{human, wrong};
use super::section::{Read, Wrong};
use super::tree::{Node, Value};
use crate::event::Kinds;

/// In the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Keep(pub Vec<(String, Duration)>);

const DAY: Duration = Duration::from_secs(24 * 3600);
const MOST: u32 = 3660;
const KINDS_MAX: usize = 32;

impl Read for Keep {
    const IS: &'static str = "a table of types and spans";
    const EXAMPLE: &'static str = "{ \"access.*\" = \"30d\" }";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::Table(table) = &value.node else { return Err(Wrong::Type) };
        if table.entries.len() > KINDS_MAX {
            let what = format!("it names {} types", table.entries.len());
            return Err(wrong(
                Code::OneTooMany,
                what,
                format!("write up to {KINDS_MAX}, with `*` for several"),
            ));
        }
        let one = |(key, value): (&String, &Value)| {
            if !Kinds::speaks_of_any(key) {
                let what = format!("there is no event `{key}`");
                return Err(wrong(
                    Code::NotOneOf,
                    what,
                    "write types without the prefix, like `\"access.*\"`",
                ));
            }
            let span = Duration::read(value)?;
            if !(DAY..=MOST * DAY).contains(&span) {
                let what = format!("`{key}` is {}", human(span));
                return Err(wrong(Code::OutOfRange, what, "write a span from `\"1d\"` to `\"3660d\"`"));
            }
            Ok((key.clone(), span))
        };
        table.entries.iter().map(|entry| one((&entry.key, &entry.value))).collect::<Result<_, _>>().map(Self)
    }

    fn grammar() -> Json {
        let kinds = json!({ "pattern": r"^([a-z]+\.)?([a-z-]+|[a-z-]*\*)$" });
        json!({
            "type": "object", "maxProperties": KINDS_MAX,
            "propertyNames": kinds, "additionalProperties": Duration::grammar(),
        })
    }
}
