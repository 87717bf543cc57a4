//! What was asked of all tables → one schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::words::Words;
use super::{Of, Tables};
use crate::config::ear::{Below, Heard, Tie, Variant};

pub(super) fn schema(of: Of, tables: &Tables) -> Json {
    let words = Words::of(of);
    let (title, about) = match of {
        Of::Gateway => (
            "gatehouse",
            "What a gateway reads, watches and tells: gatehouse.toml, and the files that it includes",
        ),
        Of::Profile => ("gatehouse profile", "A device type of your own: a file of profiles/"),
    };
    let mut schema = Map::new();
    schema.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".into(), title.into());
    schema.insert("description".into(), about.into());
    let mut definitions = Map::new();
    for (path, ways) in tables {
        let object = Object { path, ways, words: &words }.build();
        match path.as_str() {
            "" => schema.extend(object),
            path => {
                definitions.insert(path.to_owned(), object.into());
            }
        }
    }
    schema.insert("definitions".into(), definitions.into());
    schema.into()
}

/// The tables of one path, and the ways in which they are read.
struct Object<'t> {
    path: &'t str,
    ways: &'t [Heard],
    words: &'t Words,
}

impl Object<'_> {
    fn build(&self) -> Map<String, Json> {
        let mut properties = Map::new();
        for key in keys(self.ways) {
            properties.insert(key.to_owned(), self.property(key));
        }
        let rules: Vec<Json> = self.variants().chain(self.ties()).collect();
        let mut object = Map::new();
        object.insert("type".into(), "object".into());
        object.insert("properties".into(), properties.into());
        object.insert("additionalProperties".into(), false.into());
        for (word, list) in [("required", json!(required(self.ways))), ("allOf", json!(rules))] {
            if list != json!([]) {
                object.insert(word.into(), list);
            }
        }
        object
    }

    fn property(&self, key: &str) -> Json {
        let mut property = any_of(grammars(self.path, self.ways, key));
        let Some(about) = self.words.about(self.path, key) else { return property };
        if property.get("$ref").is_some() {
            // What stands beside a `$ref` is not seen by readers of draft 7.
            property = json!({ "allOf": [property] });
        }
        let bounds = property.get("description").and_then(Json::as_str);
        property["description"] = match bounds {
            Some(bounds) => format!("{about} ({bounds})").into(),
            None => about.into(),
        };
        if let Some(example) = self.words.example(self.path, key) {
            property["examples"] = json!([example]);
        }
        property
    }

    /// What holds only where a table is read in one of several ways.
    fn variants(&self) -> impl Iterator<Item = Json> {
        let mut variants: BTreeMap<Variant, Vec<Heard>> = BTreeMap::new();
        for way in self.ways {
            for variant in &way.variants {
                variants.entry(*variant).or_default().push(way.clone());
            }
        }
        let names: Vec<Variant> = variants.keys().copied().collect();
        let rules: Vec<Json> = variants
            .iter()
            .filter_map(|(variant, ways)| {
                let told_by = match *variant {
                    Variant::Says(key, word) => {
                        json!({ "properties": { key: { "const": word } }, "required": [key] })
                    }
                    Variant::Has(key) => json!({ "required": [key] }),
                    Variant::Plain => json!({ "not": any_key(names.iter().filter_map(has)) }),
                    Variant::Own(_) => any_key(self.own(variant, ways)),
                };
                (told_by != Json::Null).then(|| json!({ "if": told_by, "then": self.then(ways) }))
            })
            .collect();
        rules.into_iter()
    }

    /// Keys that no other variant of its sort has.
    fn own<'k>(&'k self, variant: &Variant, ways: &'k [Heard]) -> impl Iterator<Item = &'k str> {
        let is_other = |way: &&Heard| {
            !way.variants.contains(variant)
                && way.variants.iter().any(|other| matches!(other, Variant::Own(_)))
        };
        let others: Vec<&str> =
            self.ways.iter().filter(is_other).flat_map(|way| way.keys.iter().copied()).collect();
        keys(ways).into_iter().filter(move |key| !others.contains(key))
    }

    fn then(&self, ways: &[Heard]) -> Json {
        let known = keys(ways);
        // Not by `propertyNames`: for that an editor marks the whole table, for this the one key.
        let others = keys(self.ways).into_iter().filter(|key| !known.contains(key));
        let others: Map<String, Json> = others.map(|key| (key.to_owned(), false.into())).collect();
        let mut then = json!({ "properties": others });
        let always = required(self.ways);
        let needed: Vec<&str> = required(ways).into_iter().filter(|key| !always.contains(key)).collect();
        if !needed.is_empty() {
            then["required"] = json!(needed);
        }
        for key in known {
            let here = grammars(self.path, ways, key);
            if !here.is_empty() && here != grammars(self.path, self.ways, key) {
                then["properties"][key] = any_of(here);
            }
        }
        then
    }

    fn ties(&self) -> impl Iterator<Item = Json> {
        let mut ties: Vec<&Tie> = Vec::new();
        for tie in self.ways.iter().flat_map(|way| &way.ties) {
            if !ties.contains(&tie) {
                ties.push(tie);
            }
        }
        ties.into_iter().flat_map(|tie| match tie {
            Tie::OneOf(keys) => {
                vec![json!({ "oneOf": keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>() })]
            }
            Tie::Both(a, b) => [(a, b), (b, a)]
                .map(|(one, other)| json!({ "if": { "required": [one] }, "then": { "required": [other] } }))
                .to_vec(),
            Tie::Holds(rule) => vec![rule.clone()],
            Tie::NotBoth(a, b) => vec![json!({ "not": { "required": [a, b] } })],
        })
    }
}

/// In the order in which they are asked for.
fn keys(ways: &[Heard]) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for key in ways.iter().flat_map(|way| &way.keys) {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    keys
}

/// Keys without which none of these can be read.
fn required(ways: &[Heard]) -> Vec<&'static str> {
    let needs = |way: &Heard, key: &str| way.required.contains(key) || way.present.contains(key);
    let asked = |key: &&'static str| ways.iter().any(|way| way.required.contains(key));
    keys(ways).into_iter().filter(asked).filter(|key| ways.iter().all(|way| needs(way, key))).collect()
}

fn grammars(path: &str, ways: &[Heard], key: &str) -> Vec<Json> {
    let mut found: Vec<Json> = Vec::new();
    let full = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for way in ways {
        let written = way.grammars.get(key).into_iter().flatten().cloned();
        let below = way
            .below
            .iter()
            .filter(|(of, _)| *of == key)
            .filter(|_| !way.grammars.contains_key(key) || tabular(way, key));
        let below = below.map(|(_, below)| {
            let table = json!({ "$ref": format!("#/definitions/{full}") });
            match below {
                Below::One(_) => table,
                Below::OfSeveral(_) => json!({ "type": "array", "items": table }),
            }
        });
        for grammar in written.chain(below) {
            if !found.contains(&grammar) {
                found.push(grammar);
            }
        }
    }
    found
}

/// Whether a table may stand there beside what else may: not one whose keys are free.
fn tabular(way: &Heard, key: &str) -> bool {
    way.grammars[key].iter().all(|grammar| grammar["type"] != "object")
}

fn any_of(mut grammars: Vec<Json>) -> Json {
    match grammars.len() {
        0 => json!({}),
        1 => grammars.remove(0),
        _ => json!({ "anyOf": grammars }),
    }
}

/// Whether any of the keys is there.
fn any_key<'k>(keys: impl Iterator<Item = &'k str>) -> Json {
    let keys: Vec<Json> = keys.map(|key| json!({ "required": [key] })).collect();
    if keys.is_empty() { Json::Null } else { json!({ "anyOf": keys }) }
}

fn has(variant: &Variant) -> Option<&'static str> {
    match variant {
        Variant::Has(key) => Some(key),
        _ => None,
    }
}
