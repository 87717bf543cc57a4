//! Reads a configuration from disk: one file or one directory, and what `[gateway] include` names.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::codes::Code;
use super::kinds::Texts;
use super::mistakes::{Mistake, Mistakes, Report, Spot};
use super::section::Read as _;
use super::tree::{self, Node};

/// The file that is read first in a directory.
pub const FIRST: &str = "gatehouse.toml";
/// Files of one configuration.
const FILES_MAX: usize = 1000;
/// Bytes of one file.
const FILE_MAX: u64 = 1 << 20;

/// The sources in reading order, and what could not be read.
pub(super) fn read(path: &Path) -> (Vec<(PathBuf, String)>, Vec<Mistake>) {
    let first = if path.is_dir() { path.join(FIRST) } else { path.to_owned() };
    let mut mistakes = Vec::new();
    let mut sources = Vec::new();
    match read_file(&first) {
        Ok(text) => sources.push((first.clone(), text)),
        Err(mistake) => return (sources, vec![*mistake]),
    }
    let dir = first.parent().unwrap_or(Path::new("")).to_owned();
    let (files, complaints) = included(&first, &sources[0].1, &dir);
    mistakes.extend(complaints.list);
    for file in files {
        match read_file(&file) {
            Ok(text) => sources.push((file, text)),
            Err(mistake) => mistakes.push(*mistake),
        }
    }
    (sources, mistakes)
}

/// Which files the first one includes, each once, by pattern and then by name.
fn included(first: &Path, text: &str, dir: &Path) -> (Vec<PathBuf>, Mistakes) {
    // What is wrong with the text itself is said when the whole is read.
    let root = tree::parse(0, &Report::new(vec![(first, text)]));
    let report = Report::new(vec![(first, text)]);
    let mut files: Vec<PathBuf> = Vec::new();
    for (pattern, spot) in patterns(&root) {
        for file in matching(&pattern, spot, dir, &report) {
            if file != first && !files.contains(&file) {
                files.push(file);
            }
        }
        if files.len() > FILES_MAX {
            report.mistake(
                Code::TooLarge,
                spot,
                format!("more than {FILES_MAX} files"),
                "name fewer, or put more into each",
            );
            files.clear();
            break;
        }
    }
    (files, report.finish().0)
}

fn patterns(root: &tree::Table) -> Vec<(String, Spot)> {
    let Some(Node::Table(gateway)) = root.get("gateway").map(|entry| &entry.value.node) else {
        return Vec::new();
    };
    let include = gateway.get("include").and_then(|entry| Texts::read(&entry.value).ok());
    include.map(|texts| texts.0).unwrap_or_default()
}

fn matching(pattern: &str, spot: Spot, dir: &Path, report: &Report<'_>) -> Vec<PathBuf> {
    let place = if dir.as_os_str().is_empty() || Path::new(pattern).is_absolute() {
        pattern.to_owned()
    } else {
        format!("{}/{pattern}", glob::Pattern::escape(&dir.to_string_lossy()))
    };
    let paths = match glob::glob(&place) {
        Ok(paths) => paths,
        Err(error) => {
            report.mistake(
                Code::BadPattern,
                spot,
                format!("`{pattern}` is no pattern: {}", error.msg),
                "write it like `\"devices/*.toml\"`",
            );
            return Vec::new();
        }
    };
    let files: Vec<PathBuf> = paths.flatten().filter(|path| path.is_file()).take(FILES_MAX + 1).collect();
    if files.is_empty() && !pattern.contains(['*', '?', '[']) {
        let cure = format!("create it in {}, or take it out of `include`", shown(dir));
        report.mistake(Code::NoSuchFile, spot, format!("there is no file `{pattern}`"), cure);
    }
    files
}

fn read_file(path: &Path) -> Result<String, Box<Mistake>> {
    let mistake = |code: Code, what: String, cure: &str| {
        Box::new(Mistake { code, path: path.to_owned(), place: None, what, cure: cure.to_owned() })
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(
        |error| {
            let cure = match error.kind() {
                std::io::ErrorKind::NotFound => "create it, or name another place with `--config`",
                std::io::ErrorKind::PermissionDenied => "let the user that gatehouse runs as read it",
                _ => "look at the disk and at the path",
            };
            mistake(Code::Unreadable, format!("cannot be read: {error}"), cure)
        },
    )?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(mistake(
            Code::TooLarge,
            format!("larger than {FILE_MAX} bytes"),
            "spread it over several files with `include`",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| mistake(Code::NotUtf8, "not UTF-8".into(), "save it as UTF-8 in the editor"))
}

fn shown(dir: &Path) -> String {
    if dir.as_os_str().is_empty() { "this directory".into() } else { format!("`{}`", dir.display()) }
}
