//! Promise: every mistake and every problem can be looked up in docs/errors.md; what is said there is so.
//!
//! Each code's section has two examples: the first gives that code and nothing else, the second does not. They are read
//! beside a small gateway, as the page says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::config::{self, Code, Mistake};

/// What an example may lean on.
const GATEWAY: &str = "[gateway]\nid = \"cp-017\"\n";
const GROUND: &str = r#"
[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.10:502"
[[channel]]
id = "meters"
type = "serial"
address = "192.0.2.20:8898"
[[channel]]
id = "readers"
type = "osdp"
port = "/dev/ttyS11"
[[channel]]
id = "broker"
type = "mqtt"
url = "mqtt://127.0.0.1"
[[device]]
id = "pump-1"
channel = "plant"
unit = 7
[[device.point]]
id = "pressure"
table = "holding"
register = 0
type = "u16"
"#;
/// Shown by no example, each for a reason; what stands for them here.
const BY_HAND: [&str; 4] = ["E101", "E103", "E104", "E302"];

#[derive(Debug, Default)]
struct Section {
    text: String,
    examples: Vec<String>,
}

/// By their headings.
fn sections() -> BTreeMap<String, Section> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    let (mut name, mut example) = (None::<String>, None::<String>);
    for line in fs::read_to_string("docs/errors.md").unwrap().lines() {
        if let Some(code) = &mut example {
            if line == "```" {
                let section = name.as_ref().and_then(|name| sections.get_mut(name));
                section.expect("an example outside of a section").examples.extend(example.take());
            } else {
                *code += &format!("{line}\n");
            }
        } else if line == "```toml" {
            example = Some(String::new());
        } else if let Some(heading) = line.strip_prefix("### ") {
            assert!(sections.insert(heading.into(), Section::default()).is_none(), "{heading} twice");
            name = Some(heading.into());
        } else if line.starts_with("## ") {
            name = None;
        } else if let Some(section) = name.as_ref().and_then(|name| sections.get_mut(name)) {
            section.text += &format!("{line}\n");
        }
    }
    sections
}

/// Files of an example: the first is gatehouse.toml, another begins at a line `# its-name.toml`.
fn files(example: &str) -> Vec<(String, String)> {
    let mut files = vec![("gatehouse.toml".to_owned(), String::new())];
    for line in example.lines() {
        match line.strip_prefix("# ").filter(|name| name.ends_with(".toml")) {
            Some(name) => files.push((name.to_owned(), String::new())),
            None => files.last_mut().unwrap().1 += &format!("{line}\n"),
        }
    }
    files
}

fn codes(list: &[Mistake]) -> BTreeSet<&'static str> {
    list.iter().map(|mistake| mistake.code.number()).collect()
}

/// Mistakes and warnings of an example, and both as they are shown.
fn looked_at(example: &str) -> (BTreeSet<&'static str>, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, secret) in [
        ("token", "t-0123456789-abcdef"),
        ("mqtt-password", "p"),
        ("privacy-key", "0123456789abcdef"),
        ("short-key", "abc"),
    ] {
        fs::write(dir.path().join(name), secret).unwrap();
    }
    if example.contains(".pem") {
        certs::make(dir.path());
    }
    let files = files(example);
    for (name, text) in &files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let loaded = if example.contains("include =") {
        config::load(dir.path())
    } else {
        let mut texts: Vec<(PathBuf, String)> =
            files.into_iter().map(|(name, text)| (dir.path().join(name), text)).collect();
        let head = if example.contains("[gateway]") { "" } else { GATEWAY };
        texts.push((dir.path().join("ground.toml"), format!("{head}{GROUND}")));
        config::load_sources(texts)
    };
    match loaded {
        Ok(loaded) => {
            let shown = loaded.warnings.iter().map(Mistake::to_string).collect();
            (codes(&loaded.warnings), shown)
        }
        Err(mistakes) => (codes(&mistakes.list), mistakes.to_string()),
    }
}

#[test]
fn every_code_has_its_section_and_every_section_its_code() {
    let sections = sections();
    for code in Code::ALL {
        let section = sections.get(code.number()).unwrap_or_else(|| panic!("{code} has no section"));
        let title = format!("**{}.** ", code.title());
        assert!(section.text.starts_with(&title), "{code} should begin with {title}");
        let by_hand = BY_HAND.contains(&code.number());
        assert_eq!(section.examples.len(), if by_hand { 0 } else { 2 }, "examples of {code}");
    }
    let of_codes = |name: &&String| name.len() == 4 && name[1..].bytes().all(|b| b.is_ascii_digit());
    assert_eq!(sections.keys().filter(of_codes).count(), Code::ALL.len());
}

#[test]
fn the_first_example_of_a_code_gives_it_and_the_second_does_not() {
    let mut otherwise = String::new();
    for (number, section) in sections().iter().filter(|(_, section)| !section.examples.is_empty()) {
        let [wrong, right] = section.examples.as_slice() else { panic!("{number}") };
        let (codes, shown) = looked_at(wrong);
        if codes != BTreeSet::from([number.as_str()]) {
            otherwise += &format!("{number}, the first: {codes:?}\n{wrong}\n{shown}\n");
        }
        let (codes, shown) = looked_at(right);
        if !codes.is_empty() {
            otherwise += &format!("{number}, the second: {codes:?}\n{right}\n{shown}\n");
        }
    }
    assert!(otherwise.is_empty(), "\n{otherwise}");
}

#[test]
fn what_no_example_can_show_has_its_code_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gatehouse.toml");
    let said = || codes(&config::load(dir.path()).unwrap_err().list);
    assert_eq!(said(), BTreeSet::from(["E101"]));
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(said(), BTreeSet::from(["E103"]));
    fs::write(&path, b"[gateway]\nid = \"\xff\"\n").unwrap();
    assert_eq!(said(), BTreeSet::from(["E104"]));
    let channel =
        |i| format!("[[channel]]\nid = \"c{i}\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.1:502\"\n");
    fs::write(&path, format!("{GATEWAY}{}", (0..65).map(channel).collect::<String>())).unwrap();
    assert_eq!(said(), BTreeSet::from(["E302"]));
}

#[test]
fn every_expected_text_of_a_broken_case_shows_codes() {
    let known: BTreeSet<&str> = Code::ALL.iter().map(|code| code.number()).collect();
    for case in fs::read_dir("tests/config").unwrap().map(|entry| entry.unwrap().path()) {
        if !case.is_dir() || case.file_name().unwrap().to_str().unwrap().starts_with("good-") {
            continue;
        }
        let expected = fs::read_to_string(case.join("expected.txt")).unwrap();
        let heads: Vec<&str> = expected.lines().filter(|line| line.starts_with("tests/config/")).collect();
        assert!(!heads.is_empty(), "{}", case.display());
        for head in heads {
            let code = head.split_once(": [").and_then(|(_, rest)| rest.split_once("] "));
            assert!(code.is_some_and(|(code, _)| known.contains(code)), "{head}");
        }
    }
}

/// The words that the API's sources give to problems.
fn problems(dir: &Path, found: &mut BTreeSet<String>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            problems(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for begins in ["Problem::new(", "Problem::conflict(", "Self::new(", "Self::conflict("] {
            for call in text.split(begins).skip(1).filter(|_| text.contains("Problem")) {
                let word = call.split('"').nth(1).filter(|_| call.find('"').unwrap() < 120);
                let is_word = |word: &&str| {
                    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                };
                found.extend(word.filter(is_word).map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_problem_of_the_api_has_its_section() {
    let mut found = BTreeSet::new();
    problems(Path::new("src/web"), &mut found);
    assert!(found.len() >= 20, "{found:?}");
    let sections = sections();
    for word in &found {
        assert!(sections.contains_key(word), "the problem `{word}` has no section in docs/errors.md");
    }
}
