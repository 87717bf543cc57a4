//! TOML text → one tree over all files, each value with its spot. Tables of the same name in several files are one table;
//! `[[…]]` of the same name go on in the order of the files.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::codes::Code;
use super::mistakes::{Report, Spot};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Whole(i128),
    Number(f64),
    Bool(bool),
    /// A date or time; nothing here takes one.
    Time,
    List(Vec<Value>),
    Table(Table),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub node: Node,
    pub spot: Spot,
}

/// In the order in which it was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
    pub spot: Spot,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_spot: Spot,
    pub value: Value,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The text behind a key, where it is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Value {
    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.node {
            Node::Text(_) => "text",
            Node::Whole(_) | Node::Number(_) => "a number",
            Node::Bool(_) => "true or false",
            Node::Time => "a date or time",
            Node::List(_) => "a list",
            Node::Table(_) => "a table",
        }
    }
}

/// Heads of tables that are mended in one file, at most.
const MENDS_MAX: usize = 32;

/// Syntax errors go to the report, at most one a line; what could be understood comes back.
pub(super) fn parse(file: usize, report: &Report<'_>) -> Table {
    let text = report.sources().get(file).map_or("", |(_, text)| text);
    let line_starts = text.match_indices('\n').map(|(i, _)| i + 1).collect();
    let mut source = Source { file, line_starts, broken: HashSet::new() };
    let mut text = Cow::Borrowed(text);
    for _ in 0..MENDS_MAX {
        let (root, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let span = error.span().unwrap_or(text.len()..text.len());
            if source.broken.insert(source.line(span.start)) {
                let (what, cure) = words(error.message(), text.get(span.clone()).unwrap_or(""));
                report.syntax(source.spot(span), what, cure);
            }
        }
        let Some(mended) = mend(&text, &errors) else {
            return source.table(root.get_ref(), root.span());
        };
        text = Cow::Owned(mended);
    }
    Table::default()
}

/// After a head like `[[channel]` the parser leaves out the lines below, with all that is wrong there. So that they are
/// read as well, the head becomes one of the same length, which is left aside like all of a broken line.
fn mend(text: &str, errors: &[toml::de::Error]) -> Option<String> {
    let head =
        |message: &str| message.starts_with("unclosed table") || message.starts_with("unclosed array table");
    let error = errors.iter().find(|error| head(error.message()))?;
    let at = error.span()?.start;
    let start = text.get(..at)?.rfind('\n').map_or(0, |i| i + 1);
    let line = text.get(start..)?.lines().next()?.trim_end();
    let (open, close) = if line.starts_with("[[") { ("[[", "]]") } else { ("[", "]") };
    let inside = line.len().checked_sub(open.len() + close.len()).filter(|inside| *inside > 0)?;
    line.starts_with(open).then(|| {
        let head = format!("{open}{}{close}", "x".repeat(inside));
        format!("{}{head}{}", &text[..start], &text[start + line.len()..])
    })
}

/// What of `more` is not yet there joins `into`; what cannot be joined is a mistake.
pub(super) fn merge(into: &mut Table, more: Table, report: &Report<'_>) {
    if into.entries.is_empty() {
        into.entries = more.entries;
        return;
    }
    for entry in more.entries {
        let Some(there) = into.entries.iter_mut().find(|e| e.key == entry.key) else {
            into.entries.push(entry);
            continue;
        };
        match (&mut there.value.node, entry.value.node) {
            (Node::Table(there), Node::Table(more)) => merge(there, more, report),
            (Node::List(there), Node::List(more)) if tables(there) && tables(&more) => there.extend(more),
            _ => report.mistake(
                Code::InTwoFiles,
                entry.key_spot,
                format!("`{}` stands in two files", entry.key),
                format!("keep one; the other is at {}", report.at(there.key_spot)),
            ),
        }
    }
}

// ---------------------------------------------------------------------------------------------- toml → tree

/// Where the tree comes from.
struct Source {
    file: usize,
    /// Where the second and all later lines begin.
    line_starts: Vec<usize>,
    /// Lines with a syntax error.
    broken: HashSet<usize>,
}

impl Source {
    fn spot(&self, span: Range<usize>) -> Spot {
        Spot { file: self.file, start: span.start, end: span.end }
    }

    fn line(&self, at: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= at)
    }

    fn table(&self, from: &DeTable<'_>, span: Range<usize>) -> Table {
        let mut entries: Vec<Entry> = from
            .iter()
            // What was only guessed after a syntax error would be complained of a second time.
            .filter(|(key, _)| !self.broken.contains(&self.line(key.span().start)))
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_spot: self.spot(key.span()),
                value: self.value(value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_spot.start);
        Table { entries, spot: self.spot(span) }
    }

    fn value(&self, from: &Spanned<DeValue<'_>>) -> Value {
        let node = match from.get_ref() {
            DeValue::String(text) => Node::Text(text.to_string()),
            DeValue::Integer(number) => whole(number),
            // What cannot be read as a float is beyond every bound.
            DeValue::Float(number) => Node::Number(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Node::Bool(*flag),
            DeValue::Datetime(_) => Node::Time,
            DeValue::Array(list) => Node::List(list.iter().map(|value| self.value(value)).collect()),
            DeValue::Table(inner) => Node::Table(self.table(inner, from.span())),
        };
        Value { node, spot: self.spot(from.span()) }
    }
}

fn whole(number: &DeInteger<'_>) -> Node {
    // Beyond i128 it is beyond every bound as well.
    i128::from_str_radix(number.as_str(), number.radix()).map_or(Node::Number(f64::INFINITY), Node::Whole)
}

fn tables(list: &[Value]) -> bool {
    list.iter().all(|value| matches!(value.node, Node::Table(_)))
}

/// The parser's words, split into what is wrong and what it expects.
fn words(message: &str, marked: &str) -> (String, String) {
    let message = message.lines().next().unwrap_or_default();
    if message.starts_with("string values must be quoted") {
        return if marked.trim().is_empty() {
            ("a key without a value".into(), "write the value behind the `=`".into())
        } else {
            let bare: String = marked.trim_matches(['“', '”', '‘', '’', ' ']).chars().take(40).collect();
            ("text without quotes".into(), format!("write `\"{bare}\"`"))
        };
    }
    if message.starts_with("invalid float") || message.starts_with("invalid integer") {
        return (
            "a number that is none".into(),
            "put quotes around all of it if it is text, like `\"192.0.2.10:502\"`".into(),
        );
    }
    if message.starts_with("unexpected leading zero") {
        return ("a number with a 0 in front".into(), "write it without the 0".into());
    }
    match message.split_once(", expected ") {
        Some(("invalid basic string" | "invalid literal string", expected)) => {
            ("a text that does not end on its line".into(), format!("close it with {expected}"))
        }
        Some((what, expected)) => (what.to_owned(), format!("expected {expected}")),
        None if message == "duplicate key" => {
            ("the same name a second time".into(), "keep one of the two".into())
        }
        None => (message.to_owned(), "see https://toml.io for how TOML is written".into()),
    }
}
