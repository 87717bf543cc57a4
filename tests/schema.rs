//! Promise: what `gatehouse schema` prints accepts what is good, and rejects what its grammar can see to be broken; an editor
//! that follows it says so while one types. The judge is a validator that others wrote (`jsonschema`), by two drafts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatehouse::config::schema::{Of, schema};

const GATEWAY: &str = "config/gatehouse.schema.json";
const PROFILE: &str = "config/profile.schema.json";

/// Broken cases that no grammar can reject, and why.
const BEYOND: [(&str, &str); 12] = [
    ("device-without-points", "whether a profile brings points is not in the file"),
    ("duplicate-ids", "names are compared with each other"),
    ("duplicate-points", "names are compared with each other"),
    ("include", "what is included lies on the disk"),
    ("missing-gateway", "a file by itself need not have it: it may be included"),
    ("one-thing-in-two-files", "each file by itself is right"),
    ("one-wire-in-two-channels", "ports are compared with each other"),
    ("privacy-missing", "whether anybody is told of, the profile says"),
    ("profile-on-wrong-channel", "the channel's type stands elsewhere"),
    ("unit-twice", "addresses are compared with each other"),
    ("unknown-channel", "a name that names nothing"),
    ("unknown-profile", "a name that names nothing: a profile of one's own may have any"),
];

fn toml_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            toml_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "toml") {
            found.push(path);
        }
    }
}

fn is_profile(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|dir| dir == "profiles")
}

/// What is said against each file; `None`: nothing.
fn judged(files: &[PathBuf]) -> BTreeMap<PathBuf, Option<String>> {
    let mut judged = BTreeMap::new();
    for (schema, profiles) in [(GATEWAY, false), (PROFILE, true)] {
        let files: Vec<&PathBuf> = files.iter().filter(|path| is_profile(path) == profiles).collect();
        let output = Command::new("tests/.venv/bin/python")
            .args(["tests/peers/schema_check.py", schema])
            .args(&files)
            .output()
            .expect("tests/tools.sh installs the tests' Python");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: BTreeMap<PathBuf, Option<String>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told.len(), files.len());
        judged.extend(told);
    }
    judged
}

/// Broken or good cases, each with its files.
fn cases(good: bool) -> BTreeMap<String, Vec<PathBuf>> {
    let mut cases = BTreeMap::new();
    for dir in fs::read_dir("tests/config").unwrap().map(|entry| entry.unwrap().path()) {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        if dir.is_dir() && name.starts_with("good-") == good {
            let mut files = Vec::new();
            toml_files(&dir, &mut files);
            cases.insert(name, files);
        }
    }
    cases
}

#[test]
fn the_schemas_beside_the_examples_are_those_that_are_printed() {
    for (path, of) in [(GATEWAY, Of::Gateway), (PROFILE, Of::Profile)] {
        let printed = format!("{:#}\n", schema(of));
        if std::env::var_os("BLESS").is_some() {
            fs::write(path, &printed).unwrap();
        }
        let kept = fs::read_to_string(path).unwrap_or_default();
        assert!(kept == printed, "{path} is not what `gatehouse schema` prints; BLESS=1 writes it anew");
    }
}

#[test]
fn every_good_configuration_is_accepted_file_by_file() {
    let mut files: Vec<PathBuf> = cases(true).into_values().flatten().collect();
    toml_files(Path::new("config"), &mut files);
    let judged = judged(&files);
    let against: Vec<_> = judged.iter().filter(|(_, said)| said.is_some()).collect();
    assert!(against.is_empty(), "{against:#?}");
    assert!(judged.len() > 60, "{}", judged.len());
}

#[test]
fn the_commented_default_is_accepted_table_by_table() {
    let default = fs::read_to_string("config/gatehouse.toml").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (n, table) in tables(&default).into_iter().enumerate() {
        let path = dir.path().join(format!("{n}.toml"));
        fs::write(&path, table).unwrap();
        files.push(path);
    }
    assert!(files.len() > 18, "{}", files.len());
    for (path, said) in judged(&files) {
        assert_eq!(said, None, "{}", fs::read_to_string(path).unwrap());
    }
}

/// Each table of the commented default with its keys, those below it as its own.
fn tables(default: &str) -> Vec<String> {
    let is_toml = |line: &&str| {
        let code = line.trim_end();
        let key = code.split_once('=').map(|(key, _)| key.trim());
        let is_key =
            |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || "_-".contains(c));
        code.starts_with('[') || key.is_some_and(is_key)
    };
    let mut tables: Vec<String> = Vec::new();
    for line in default.lines().map(|line| line.trim_start_matches(['#', ' '])).filter(is_toml) {
        // Those that stand for another, or two in a line to save one.
        if line.starts_with("builtin") || line.starts_with("bit") || line.starts_with("map") {
            continue;
        }
        let below = line.starts_with("[[device.")
            && tables.last().is_some_and(|table| table.starts_with("[[device]]"));
        if line.starts_with('[') && !below {
            tables.push(String::new());
        }
        *tables.last_mut().unwrap() += &format!("{line}\n");
    }
    // Commands stand where they are explained, not at a device.
    tables.retain(|table| !table.starts_with("[[device."));
    tables
}

#[test]
fn what_a_grammar_can_see_to_be_broken_is_rejected() {
    let cases = cases(false);
    let files: Vec<PathBuf> = cases.values().flatten().cloned().collect();
    let judged = judged(&files);
    let accepted = |files: &[PathBuf]| files.iter().all(|path| judged[path].is_none());
    let beyond: BTreeMap<&str, &str> = BEYOND.into_iter().collect();
    let mut otherwise = Vec::new();
    for (name, files) in &cases {
        match (accepted(files), beyond.get(name.as_str())) {
            (true, None) => otherwise.push(format!("{name} is accepted, and no reason is given")),
            (false, Some(_)) => {
                otherwise.push(format!("{name} is rejected after all: take it from the list"));
            }
            _ => {}
        }
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
    assert!(
        beyond.keys().all(|name| cases.contains_key(*name)) && beyond.values().all(|why| !why.is_empty())
    );
}
