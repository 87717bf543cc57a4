//! The grammar of a configuration as JSON Schema, for editors: made of what the readers ask for ([`super::ear`]) when they
//! read a configuration in which each table stands once for each way of reading it, and of the words of the commented
//! default.
//!
//! The keywords are those that drafts 7 and 2020-12 have in common: editors of TOML know the older one.

mod build;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub use self::words::DEFAULT;
use super::channels::TYPES;
use super::ear::{Below, Heard};
use super::mistakes::Report;
use super::profiles::TRANSPORTS;

/// What is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// gatehouse.toml, and the files that it includes.
    Gateway,
    /// A file of `profiles/`.
    Profile,
}

const PROBE: &str = include_str!("probe.toml");

/// Every way of reading a table, by the table's path: `device.point`.
pub(super) type Tables = BTreeMap<String, Vec<Heard>>;

pub fn schema(of: Of) -> Json {
    let sources = probe();
    let tables = listen(&sources, of);
    build::schema(of, &tables)
}

/// The probe with a channel of each type; and a profile of each transport, with a device of it.
fn probe() -> Vec<(PathBuf, String)> {
    let rest = PROBE.find("[gateway]").map_or("", |at| &PROBE[at..]);
    let mut text = format!("builtin = {{}}\n{rest}");
    for (word, _) in TYPES {
        text += &format!("[[channel]]\nid = \"{word}\"\ntype = \"{word}\"\n");
    }
    let mut sources = Vec::new();
    for (word, _) in TRANSPORTS {
        let channel = match word {
            "modbus" => "modbus-tcp",
            "osdp" | "uhppote" | "mqtt" => word,
            _ => "serial",
        };
        text += &format!(
            "[[device]]\nid = \"{word}\"\nchannel = \"{channel}\"\nprofile = \"{word}\"\nrules = true\npoint = [{{ clean = {{}} }}]\ncommand = [{{}}]\n"
        );
        sources.push((PathBuf::from(format!("profiles/{word}.toml")), of_transport(word)));
    }
    sources.push(("probe.toml".into(), text));
    let builtin = PROBE.find("[gateway]").map_or("", |at| &PROBE[..at]);
    sources.push(("builtin.toml".into(), builtin.to_owned()));
    sources
}

/// A profile that asks for everything such a one may have. Its rules are those of the probe.
fn of_transport(word: &str) -> String {
    let rules = PROBE.find("[[rule]]").map_or("", |at| &PROBE[at..]);
    format!(
        "[profile]\ntransport = \"{word}\"\nitems = true\nline = {{}}\n\
         [[point]]\ntable = \"holding\"\nclean = {{}}\nunits = {{}}\n[[point]]\nwidth = 1\n[[point]]\ntable = \"coil\"\n\
         [[command]]\n[[command]]\ncoil = 0\nvalue = true\nread_back = {{}}\n\
         [[command]]\nregister = 0\nvalue = [1, 2]\nread = {{}}\n[[command]]\ntopic = \"\"\n{rules}"
    )
}

/// Walks the sources and gathers by path what was asked.
fn listen(sources: &[(PathBuf, String)], of: Of) -> Tables {
    let texts: Vec<(&Path, &str)> =
        sources.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
    let mut tables = Tables::new();
    // The probe stands twice, since `builtin` may be read in two ways.
    let (last, both) = (texts.len() - 1, texts.len() - 2);
    for left_out in [last, both] {
        let texts: Vec<_> =
            texts.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, text)| *text).collect();
        overhear(texts, of, &mut tables);
    }
    tables
}

/// One walk; what is wrong with the texts is of no interest.
pub(super) fn overhear(texts: Vec<(&Path, &str)>, of: Of, tables: &mut Tables) {
    let own = texts.len();
    let report = Report::listening(texts);
    super::gateway(own, None, &report);
    let heard = report.ear.map(super::ear::Ear::heard).unwrap_or_default();
    let begins = match of {
        Of::Gateway => "the configuration",
        Of::Profile => "profile `",
    };
    for root in heard.values().filter(|heard| heard.name.starts_with(begins)) {
        gather("", root, &heard, tables);
    }
}

fn gather(path: &str, table: &Heard, heard: &BTreeMap<usize, Heard>, tables: &mut Tables) {
    for (key, below) in &table.below {
        let (Below::One(at) | Below::OfSeveral(at)) = below;
        if let Some(inner) = heard.get(at) {
            gather(
                &if path.is_empty() { (*key).to_owned() } else { format!("{path}.{key}") },
                inner,
                heard,
                tables,
            );
        }
    }
    tables.entry(path.to_owned()).or_default().push(table.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PROFILES, files};

    /// The definition of the tables of a path.
    fn definition<'s>(schema: &'s Json, path: &str) -> &'s Json {
        if path.is_empty() { schema } else { &schema["definitions"][path] }
    }

    #[test]
    fn whatever_a_reader_asks_for_in_any_case_the_schema_knows() {
        let mut cases: Vec<PathBuf> =
            std::fs::read_dir("tests/config").unwrap().map(|entry| entry.unwrap().path()).collect();
        cases.push("config/example".into());
        cases.push("config/gatehouse.toml".into());
        for of in [Of::Gateway, Of::Profile] {
            let schema = schema(of);
            let mut tables = Tables::new();
            for case in cases.iter().filter(|path| path.exists()) {
                let (sources, _) = files::read(case);
                let built_in: Vec<PathBuf> =
                    PROFILES.iter().map(|(name, _)| format!("profiles/{name}.toml").into()).collect();
                let own = sources.iter().map(|(path, text)| (path.as_path(), text.as_str()));
                // As the walk does: only the profiles that may be meant.
                let named = |name: &str| sources.iter().any(|(_, text)| text.contains(name));
                let texts = built_in
                    .iter()
                    .zip(PROFILES)
                    .filter(|(_, (name, _))| named(name))
                    .map(|(path, (_, text))| (path.as_path(), *text))
                    .chain(own);
                overhear(texts.collect(), of, &mut tables);
            }
            assert!(tables.len() > 8, "{}", tables.len());
            for (path, ways) in &tables {
                for key in ways.iter().flat_map(|way| &way.keys) {
                    let known = &definition(&schema, path)["properties"][key];
                    assert!(
                        known.is_object(),
                        "{of:?}: `{path}.{key}` is asked for, and the probe does not have it"
                    );
                }
            }
        }
    }

    #[test]
    fn each_key_has_words_and_a_grammar() {
        for of in [Of::Gateway, Of::Profile] {
            let schema = schema(of);
            let paths = schema["definitions"].as_object().unwrap().keys().map(String::as_str);
            for path in paths.chain([""]) {
                for (key, property) in definition(&schema, path)["properties"].as_object().unwrap() {
                    let words = property["description"].as_str().unwrap_or_default();
                    let bounds_alone = words.is_empty()
                        || words
                            .split_once(" to ")
                            .is_some_and(|(a, b)| !a.contains(' ') && !b.contains(' '));
                    assert!(
                        !bounds_alone,
                        "{of:?}: nothing is said of `{path}.{key}`: add a line to words.txt"
                    );
                    let more =
                        property.as_object().unwrap().keys().any(|k| k != "description" && k != "examples");
                    assert!(more, "{of:?}: what may stand behind `{path}.{key}` is not said");
                }
            }
        }
    }

    #[test]
    fn what_stands_in_words_is_of_keys_that_there_are() {
        let (gateway, profile) = (schema(Of::Gateway), schema(Of::Profile));
        for line in include_str!("words.txt").lines() {
            let (full, words) = line.split_once(": ").unwrap();
            let (path, key) = full.rsplit_once('.').unwrap_or(("", full));
            let known = |schema: &Json| definition(schema, path)["properties"][key].is_object();
            assert!(known(&gateway) || known(&profile), "there is no key {full}");
            assert!(!words.trim().is_empty(), "{full}");
        }
    }
}
