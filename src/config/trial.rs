//! A rule on trial: one of the configuration by its id, or one of a file of its own; and what it is compared with.
//! It is read by the same words as any rule, over the points of the configuration, and does not become part of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeTable;

use super::codes::Code;
use super::conditions::CONDITIONS;
use super::installed::Installed;
use super::mistakes::{Mistakes, Report, did_you_mean};
use super::section::Section;
use super::tree::{self, Node, Table};
use super::{Loaded, load_from, rules};
use crate::rules::Rule;

/// Which rule is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The id of a rule of the configuration.
    Named(String),
    /// A text with one `[[rule]]`; the path is for messages.
    Written(PathBuf, String),
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Other {
    /// `220`: the same with another limit; `on_delay = "30s"`: with another key.
    Changed(String),
    /// A text with one `[[rule]]`.
    Written(PathBuf, String),
}

/// What is tried, on which site.
#[derive(Debug)]
pub struct Trial {
    pub loaded: Loaded,
    /// Several where a built-in rule has a span for some devices and another for others.
    pub rules: Vec<Rule>,
    pub other: Option<Rule>,
}

#[derive(Debug, thiserror::Error)]
pub enum Untried {
    #[error("{0}")]
    Wrong(#[from] Mistakes),
    #[error(
        "there is no rule `{id}`; {cure}. A rule that is not in the configuration yet is tried from a file whose name ends in `.toml`"
    )]
    NoRule { id: String, cure: String },
    #[error(
        "rule `{0}` is built in and has no keys to change; compare it with a file that holds a `[[rule]]` with `silent`"
    )]
    BuiltIn(String),
}

/// Reads the configuration at `path` and what is tried on it; all mistakes of both at once.
pub fn trial(path: &Path, wanted: &Wanted, other: Option<&Other>) -> Result<Trial, Untried> {
    let mut texts = Vec::new();
    if let Wanted::Written(path, text) = wanted {
        texts.push((path.clone(), text.clone()));
    }
    match other {
        Some(Other::Written(path, text)) => texts.push((path.clone(), text.clone())),
        Some(Other::Changed(change)) => texts.push(("--compare".into(), as_toml(change))),
        None => {}
    }
    let mut bench = Bench { wanted, other, texts: &texts, rule: None, against: None };
    let loaded = load_from(path, Some(&mut bench))?;
    let (rule, against) = (bench.rule, bench.against);
    let rules: Vec<Rule> = match wanted {
        Wanted::Named(id) => loaded.gateway.rules.iter().filter(|rule| *rule.id == **id).cloned().collect(),
        Wanted::Written(..) => rule.into_iter().collect(),
    };
    if let (Wanted::Named(id), []) = (wanted, rules.as_slice()) {
        let cure = did_you_mean(id, loaded.gateway.rules.iter().map(|rule| &*rule.id));
        return Err(Untried::NoRule { id: id.clone(), cure });
    }
    if let (Wanted::Named(id), Some(_), None) = (wanted, other, &against) {
        return Err(Untried::BuiltIn(id.clone()));
    }
    Ok(Trial { loaded, rules, other: against })
}

/// The key that stands for the limit, whatever the condition calls it.
const LIMIT: &str = "value";
/// Of a condition with keys of its own, the one that is its limit.
const LIMITS: [&str; 6] = ["by", "above", "below", "times", "hours", "count"];

/// `220`, `below=220`, `on_delay=30s` as one line of TOML; quotes are put where they are needed.
fn as_toml(change: &str) -> String {
    let named = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    // `x == 3` is an expression.
    let (key, value) = match change.split_once('=') {
        Some((key, value)) if named(key.trim()) && !value.starts_with('=') => (key.trim(), value.trim()),
        _ => (LIMIT, change.trim()),
    };
    let line = format!("{key} = {value}");
    if DeTable::parse(&line).is_ok() { line } else { format!("{key} = {value:?}") }
}

// ---------------------------------------------------------------------------------------------- bench

/// Reads what is tried, once it is known what is installed.
#[derive(Debug)]
pub(super) struct Bench<'t> {
    wanted: &'t Wanted,
    other: Option<&'t Other>,
    /// The last of the report's sources.
    pub texts: &'t [(PathBuf, String)],
    rule: Option<Rule>,
    against: Option<Rule>,
}

/// A rule's table, and the device whose profile suggests it.
type Base<'a> = (Option<&'a Arc<str>>, &'a Table);

impl Bench<'_> {
    /// `written`: the rules of the configuration; `zone`: the gateway's timezone.
    pub fn read(&mut self, written: &[&Table], installed: &Installed<'_>, zone: &str, report: &Report<'_>) {
        let sources = report.sources().len();
        let roots: Vec<Table> =
            (sources - self.texts.len()..sources).map(|file| tree::parse(file, report)).collect();
        let (first, last) = (roots.first(), roots.last());
        let one = |(owner, table): Base<'_>| rules::one(table, owner, installed, zone, report);
        let base = match self.wanted {
            Wanted::Named(id) => find(id, written, installed),
            Wanted::Written(..) => first.and_then(|root| alone(root, report)).map(|table| (None, table)),
        };
        if let Wanted::Written(..) = self.wanted {
            self.rule = base.map(one);
        }
        self.against = match self.other {
            None => None,
            Some(Other::Written(..)) => {
                last.and_then(|root| alone(root, report)).map(|table| one((None, table)))
            }
            Some(Other::Changed(_)) => {
                base.zip(last).and_then(|((owner, table), root)| Some(one((owner, &changed(table, root)?))))
            }
        };
    }
}

fn find<'a>(id: &str, written: &[&'a Table], installed: &'a Installed<'_>) -> Option<Base<'a>> {
    if let Some(table) = written.iter().find(|table| table.text("id") == Some(id)) {
        return Some((None, table));
    }
    installed.suggested.iter().find_map(|(device, table)| {
        let owner = &installed.devices[device.0 as usize].id;
        let own = id.strip_prefix(&**owner)?.strip_prefix('-')?;
        (table.text("id") == Some(own)).then_some((Some(owner), *table))
    })
}

/// The one rule of a file that holds nothing else.
fn alone<'a>(root: &'a Table, report: &'a Report<'a>) -> Option<&'a Table> {
    let mut section = Section::new(root, "a file with a rule to try", report);
    let rules = section.tables("rule");
    match rules.as_slice() {
        [] => section.missing("rule", "write `[[rule]]` and below it its keys, `id` first"),
        [_] => {}
        [_, second, ..] => {
            report.mistake(
                Code::OneTooMany,
                second.spot,
                "a second rule in a file with a rule to try",
                "keep one of them",
            );
        }
    }
    section.finish();
    rules.first().copied()
}

/// The rule with the one key of `root` in place of its own.
fn changed(base: &Table, root: &Table) -> Option<Table> {
    let entry = root.entries.first()?;
    let mut table = base.clone();
    let is_condition = |key: &str| CONDITIONS.contains(&key);
    if entry.key != LIMIT {
        let condition = is_condition(&entry.key);
        table.entries.retain(|there| there.key != entry.key && !(condition && is_condition(&there.key)));
        table.entries.push(entry.clone());
        return Some(table);
    }
    let condition = table.entries.iter_mut().find(|there| is_condition(&there.key))?;
    match &mut condition.value.node {
        Node::Table(inner) => {
            let limit = inner.entries.iter_mut().find(|there| LIMITS.contains(&there.key.as_str()))?;
            limit.value = entry.value.clone();
        }
        _ => condition.value = entry.value.clone(),
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::as_toml;

    #[test]
    fn a_change_needs_quotes_only_where_toml_does() {
        assert_eq!(as_toml("220"), "value = 220");
        assert_eq!(as_toml("below=220"), "below = 220");
        assert_eq!(as_toml("on_delay = 30s"), "on_delay = \"30s\"");
        assert_eq!(as_toml("20m"), "value = \"20m\"");
        assert_eq!(as_toml("x == 3"), "value = \"x == 3\"");
        assert_eq!(as_toml("[10, 20]"), "value = [10, 20]");
        assert_eq!(as_toml("equals=open"), "equals = \"open\"");
    }
}
