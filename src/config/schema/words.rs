//! What is said of each key: the comments of the commented default, and of the blueprint of profiles; and `words.txt` for the
//! keys that these leave out, or of which they say too little by themselves.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::Of;

/// config/gatehouse.toml, as a package puts it into place.
pub const DEFAULT: &str = include_str!("../../../config/gatehouse.toml");
const BLUEPRINT: &str = include_str!("../../../config/profiles/_blueprint.toml");
const MORE: &str = include_str!("words.txt");
/// Tables of a profile that are written like others.
const LIKE: [(&str, &str); 4] = [
    ("point", "device.point"),
    ("command", "device.command"),
    ("profile.line", "channel"),
    ("profile", "device"),
];

/// By path: `device.point.scale`.
#[derive(Debug, Default)]
pub(super) struct Words {
    about: BTreeMap<String, String>,
    examples: BTreeMap<String, Json>,
}

impl Words {
    pub fn of(of: Of) -> Self {
        let mut words = Self::default();
        if of == Of::Profile {
            words.comments(BLUEPRINT);
        }
        words.comments(DEFAULT);
        for (path, about) in MORE.lines().filter_map(|line| line.split_once(": ")) {
            words.about.insert(path.to_owned(), about.to_owned());
        }
        words
    }

    pub fn about(&self, path: &str, key: &str) -> Option<&str> {
        look(&self.about, path, key).map(String::as_str)
    }

    pub fn example(&self, path: &str, key: &str) -> Option<&Json> {
        look(&self.examples, path, key)
    }

    /// `key = value  # what it is`, and on the lines below `# what else`; of each key the first that says something.
    fn comments(&mut self, text: &str) {
        let (mut table, mut last) = (String::new(), None::<String>);
        for line in text.lines() {
            let bare = line.trim_start_matches(['#', ' ']);
            let (code, comment) = split(bare);
            if let Some(head) = code.strip_prefix('[').map(|code| code.trim_matches(['[', ']'])) {
                table = head.to_owned();
                last = self.note(head.to_owned(), comment);
            } else if let Some((key, value)) = code.split_once('=').filter(|(key, _)| is_key(key.trim())) {
                let path =
                    if table.is_empty() { key.trim().to_owned() } else { format!("{table}.{}", key.trim()) };
                if let Some(example) = example(value) {
                    self.examples.entry(path.clone()).or_insert(example);
                }
                last = self.note(path, comment);
            } else if let Some(path) = last.take_if(|_| is_more(line)) {
                if let Some(about) = self.about.get_mut(&path) {
                    *about += &format!(" {bare}");
                }
                last = Some(path);
            } else {
                last = None;
            }
        }
    }

    /// The path whose comment may go on.
    fn note(&mut self, path: String, comment: Option<&str>) -> Option<String> {
        let comment = comment?;
        if self.about.contains_key(&path) {
            return None;
        }
        self.about.insert(path.clone(), comment.to_owned());
        Some(path)
    }
}

fn look<'w, T>(words: &'w BTreeMap<String, T>, path: &str, key: &str) -> Option<&'w T> {
    let full = |path: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let like = LIKE.iter().filter_map(|(own, like)| {
        let rest = path.strip_prefix(own).filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
        Some(full(&format!("{like}{rest}")))
    });
    std::iter::once(full(path)).chain(like).find_map(|path| words.get(&path))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

/// A comment below a comment, far to the right.
fn is_more(line: &str) -> bool {
    let after = line.strip_prefix('#').unwrap_or(line);
    after.len() - after.trim_start().len() > 20 && after.trim_start().starts_with('#')
}

/// The line up to its comment, and the comment.
fn split(line: &str) -> (&str, Option<&str>) {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return (line[..at].trim(), Some(line[at + 1..].trim())),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    (line.trim(), None)
}

/// Of what can be shown in one line.
fn example(value: &str) -> Option<Json> {
    let line = format!("x = {value}");
    let table = DeTable::parse(&line).ok()?;
    as_json(table.get_ref().get("x")?.get_ref())
}

fn as_json(value: &DeValue<'_>) -> Option<Json> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Array(list) => {
            list.iter().map(|value| as_json(value.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => {
            let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let key: &std::borrow::Cow<'_, str> = key.get_ref();
                Some((key.to_string(), as_json(value.get_ref())?))
            };
            table.iter().map(entry).collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
        DeValue::Datetime(_) => return None,
    })
}
