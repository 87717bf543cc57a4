//! The order of the house: a room imports only what is below it, and every file says what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. Nouns and tools may import each other; elsewhere rooms on one floor may not.
const FLOORS: &[&[&str]] = &[
    &[
        "backoff",
        "certificate",
        "chain",
        "clock",
        "event",
        "fault",
        "fingerprint",
        "gzip",
        "happening",
        "live",
        "logging",
        "maintenance",
        "masked",
        "metrics",
        "near",
        "numbers",
        "order",
        "personal",
        "pseudonym",
        "reading",
        "receipt",
        "reload",
        "secret",
        "supervise",
        "ticket",
        "time",
    ],
    &["access", "field", "refine", "rules", "store"],
    &["command"],
    &["intake", "sync", "web"],
    &["config"],
    &["app"],
    &["sim"],
    &["cli"],
    &["main"],
];

#[test]
fn no_room_imports_from_beside_or_above() {
    let complaints: Vec<String> =
        sources().iter().flat_map(|(path, text)| wrong_arrows(path, text)).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| format!("{path}:1: begin with `//! ` and what this file does"))
        .collect();
    assert!(silent.is_empty(), "\n{}\n", silent.join("\n"));
}

#[test]
fn the_check_finds_what_it_is_for() {
    for (path, line, arrow) in [
        ("src/web/events.rs", "use crate::sync::Target;", "web → sync"),
        ("src/rules/mod.rs", "use crate::{reading::Site, store};", "rules → store"),
        ("src/store/mod.rs", "use crate::{\n    reading,\n    intake::{Page, Ask},\n};", "store → intake"),
        ("src/reading.rs", "use crate::field::Wire;", "reading → field"),
        ("src/intake.rs", "    let x = crate::web::BODY_MAX; // a path in code", "intake → web"),
        ("src/field/modbus/mod.rs", "use super::super::rules::Rule;", "field → rules"),
        ("src/web/mod.rs", "use super::sync;", "web → sync"),
        ("src/config/mod.rs", "let f = open(\"http://x\", crate::app::run);", "config → app"),
        ("src/app/mod.rs", "use crate::nowhere::X;", "nowhere"),
        ("src/lib.rs", "pub use crate::cellar::X;", "cellar"),
    ] {
        let found = wrong_arrows(path, &format!("//! A file.\n{line}\n"));
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
        assert!(found[0].contains(arrow), "{}", found[0]);
        let named = found[0]
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with(":2:") || rest.starts_with(":4:"));
        assert!(named, "file and line: {}", found[0]);
    }
}

#[test]
fn the_check_lets_pass_what_is_right() {
    for (path, line) in [
        ("src/web/events.rs", "use crate::event::Kinds; use crate::store::View;"),
        ("src/web/events.rs", "use super::problem::Problem; use crate::web::Rooms;"),
        ("src/event.rs", "use crate::{reading::Millis, time};"),
        ("src/rules/mod.rs", "// unlike crate::store this keeps nothing"),
        ("src/rules/mod.rs", "pub(crate) fn x() { mycrate::store(); }"),
        ("src/field/modbus/mod.rs", "use super::wire; use super::super::field::wire as w;"),
        ("src/main.rs", "use gatehouse::{cli, logging};"),
        ("src/lib.rs", "pub mod web;"),
    ] {
        let found = wrong_arrows(path, &format!("//! A file.\n{line}\n"));
        assert!(found.is_empty(), "{path}: {line}: {found:?}");
    }
}

/// Every `.rs` file below `src`, by its path from the repository's root.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    gather(&root.join("src"), &mut files);
    assert!(files.len() > 10, "the sources are not where they were");
    files.sort();
    let named = files.into_iter().map(|file| {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        (path, fs::read_to_string(&file).unwrap())
    });
    named.collect()
}

fn gather(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// `file:line: what is wrong` for each path that leads where it must not.
fn wrong_arrows(path: &str, text: &str) -> Vec<String> {
    let text = without_comments(text);
    let steps: Vec<&str> = path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').skip(1).collect();
    let own = steps[0];
    let mut arrows = rooms_after(&text, "crate::");
    arrows.extend(rooms_after(&text, "gatehouse::"));
    // As many `super` as there are steps lead to the root of the crate.
    let to_root = "super::".repeat(steps.len());
    let by_super = rooms_after(&text, &to_root).into_iter().filter(|(_, room)| floor(room).is_some());
    arrows.extend(by_super);
    arrows
        .into_iter()
        .filter_map(|(offset, room)| {
            let line = text[..offset].matches('\n').count() + 1;
            complaint(own, &room).map(|what| format!("{path}:{line}: {what}"))
        })
        .collect()
}

fn complaint(own: &str, room: &str) -> Option<String> {
    let Some(to) = floor(room) else {
        return Some(format!("`{room}` stands on no floor; add it to FLOORS in tests/house.rs"));
    };
    if own == "lib" || own == room {
        return None;
    }
    let Some(from) = floor(own) else {
        return Some(format!("`{own}` stands on no floor; add it to FLOORS in tests/house.rs"));
    };
    if to < from || (to == 0 && from == 0) {
        return None;
    }
    let way = if to == from { "sideways" } else { "back up" };
    Some(format!("{own} → {room} points {way}; a room imports only what is below it"))
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&room))
}

/// The first names of all paths that begin with `root`, `root::{a, b::{c, d}}` included, with their offsets.
fn rooms_after(text: &str, root: &str) -> Vec<(usize, String)> {
    let mut rooms = Vec::new();
    for (start, _) in text.match_indices(root) {
        let before = text[..start].chars().next_back();
        if before.is_some_and(|c| is_word(c) || c == '$' || c == ':') {
            continue;
        }
        let first = start + root.len();
        match text[first..].strip_prefix('{') {
            Some(list) => rooms.extend(names_in(list).map(|(at, name)| (first + 1 + at, name))),
            None => rooms.extend(name(&text[first..]).map(|name| (first, name))),
        }
    }
    rooms.retain(|(_, room)| room != "super");
    rooms
}

/// The first name of each entry of a list that has just been opened.
fn names_in(list: &str) -> impl Iterator<Item = (usize, String)> {
    let (mut depth, mut expected, mut names) = (0, true, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expected = true,
            c if expected && is_word(c) => {
                expected = false;
                names.extend(name(&list[at..]).map(|name| (at, name)));
            }
            _ => {}
        }
    }
    names.into_iter()
}

fn name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| is_word(*c)).collect();
    (!name.is_empty()).then_some(name)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A comment begins a line or follows a space, which the `//` of an address does not.
fn without_comments(text: &str) -> String {
    let bare = text.lines().map(|line| {
        let starts = line.match_indices("//").map(|(at, _)| at);
        let comment =
            starts.into_iter().find(|at| line[..*at].chars().next_back().is_none_or(char::is_whitespace));
        comment.map_or(line, |at| &line[..at])
    });
    bare.collect::<Vec<_>>().join("\n")
}
