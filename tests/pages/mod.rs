//! The documents, cut into blocks and commands.

use std::fmt;
use std::fs;

#[derive(Debug, Clone)]
pub struct Block {
    pub file: String,
    pub line: usize,
    pub language: String,
    /// The HTML comment on the line before it.
    pub note: Option<String>,
    pub text: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The README and every page of docs/.
pub fn files() -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir("docs")
        .unwrap()
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .filter(|path| path.ends_with(".md"))
        .collect();
    files.push("README.md".to_owned());
    files.sort();
    files
}

pub fn pages() -> Vec<Block> {
    files().iter().flat_map(|file| page(file)).collect()
}

pub fn page(file: &str) -> Vec<Block> {
    let text = fs::read_to_string(file).unwrap();
    let mut blocks = Vec::new();
    let (mut before, mut open): (&str, Option<Block>) = ("", None);
    for (nth, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let note = before.strip_prefix("<!-- ").and_then(|note| note.strip_suffix(" -->"));
                open = Some(Block {
                    file: file.to_owned(),
                    line: nth + 1,
                    language: language.to_owned(),
                    note: note.map(str::to_owned),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "{file}: a block without an end");
    blocks
}

/// Every `gatehouse …` that a reader might type, with its place: in blocks of a shell, and between backticks.
pub fn commands() -> Vec<(String, String)> {
    let mut commands = Vec::new();
    for file in files() {
        for block in page(&file).iter().filter(|block| matches!(&*block.language, "sh" | "console" | "")) {
            for line in block.text.replace("\\\n", " ").lines() {
                let line = line.trim().trim_start_matches("$ ");
                let line = line.split(" #").next().unwrap();
                for part in line.split([';', '|', '&']) {
                    commands.push((block.to_string(), part.trim().to_owned()));
                }
            }
        }
        let text = fs::read_to_string(&file).unwrap();
        let mut inside = false;
        for line in text.lines() {
            inside ^= line.starts_with("```");
            if !inside && !line.starts_with("```") {
                commands
                    .extend(line.split('`').skip(1).step_by(2).map(|code| (file.clone(), code.to_owned())));
            }
        }
    }
    commands.retain(|(_, command)| command.starts_with("gatehouse "));
    commands
}
