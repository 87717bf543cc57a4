//! How a mistake is shown: with its line and a mark, for the one who writes the file; in brief, for who does not read the
//! files; as JSON, for editors and scripts.

use std::fmt;

use serde_json::{Value as Json, json};
use unicode_width::UnicodeWidthChar;

use super::codes::Code;
use super::hush;
use super::mistakes::{Mistake, Mistakes, Place};

/// Characters of the brief rendering.
const BRIEF_MAX: usize = 2000;
/// Columns of a source line that are shown around a mark.
const LINE_MAX: usize = 160;

impl Mistakes {
    /// `file:line:column: [code] what`, one a line, at most 2,000 characters, for those who do not read the files: nothing of
    /// their text is in it.
    pub fn brief(&self) -> String {
        let mut brief = String::new();
        for (n, mistake) in self.list.iter().enumerate() {
            let path = mistake.path.display();
            let what: String = mistake.what.chars().map(printable).collect();
            let line = match &mistake.place {
                Some(place) => format!("{path}:{}:{}: [{}] {what}\n", place.line, place.column, mistake.code),
                None => format!("{path}: [{}] {what}\n", mistake.code),
            };
            let more = format!("… and {} more\n", self.list.len() - n + self.more);
            if brief.chars().count() + line.chars().count() + more.chars().count() > BRIEF_MAX {
                return brief + &more;
            }
            brief += &line;
        }
        if self.more > 0 {
            brief += &format!("… and {} more\n", self.more);
        }
        brief
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.list {
            mistake.fmt(f)?;
        }
        if self.more > 0 {
            writeln!(f, "… and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let Some(place) = &self.place else {
            return writeln!(f, "{path}: [{}] {}\n      | {}", self.code, self.what, self.cure);
        };
        let Place { line, column, .. } = *place;
        let (shown, pad, mark) = place.window(self.code == Code::SecretInTheOpen);
        writeln!(f, "{path}:{line}:{column}: [{}] {}", self.code, self.what)?;
        writeln!(f, "{line:>5} | {shown}")?;
        writeln!(f, "      | {pad}{mark} {}", self.cure)
    }
}

impl Mistake {
    /// Its line is not in it: an editor has the file, and nobody else needs its text.
    pub fn json(&self) -> Json {
        let place = self.place.as_ref();
        json!({
            "file": self.path.display().to_string(),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "code": self.code.number(),
            "what": self.what,
            "cure": self.cure,
        })
    }
}

impl Place {
    /// The part of the line around the mark, what stands under it before the mark, and the mark. `is_secret`: nothing of
    /// what is marked is shown, and no text.
    fn window(&self, is_secret: bool) -> (String, String, String) {
        let chars = if is_secret {
            hush::hushed_of_texts(&self.text, self.column - 1..self.column - 1 + self.length)
        } else {
            hush::hushed(&self.text)
        };
        let chars: Vec<char> = chars.into_iter().map(printable).collect();
        let at = (self.column - 1).min(chars.len());
        let first = if chars.len() > LINE_MAX { at.saturating_sub(LINE_MAX / 2) } else { 0 };
        let last = (first + LINE_MAX).min(chars.len());
        let cut = if first > 0 { "…" } else { "" };
        let shown: String = chars[first..last].iter().collect();
        let pad: String =
            cut.chars().map(|_| ' ').chain(chars[first..at].iter().flat_map(|c| blank(*c))).collect();
        let marked = &chars[at..(at + self.length).clamp(at, last)];
        let columns: usize = marked.iter().map(|c| width(*c)).sum();
        let tail = if last < chars.len() { "…" } else { "" };
        (format!("{cut}{shown}{tail}"), pad, "^".repeat(columns.max(1)))
    }
}

/// A terminal must not be steered by what stands in a file.
fn printable(c: char) -> char {
    if c.is_control() && c != '\t' { '�' } else { c }
}

/// As wide as `c`, and empty.
fn blank(c: char) -> impl Iterator<Item = char> {
    let (blank, times) = if c == '\t' { ('\t', 1) } else { (' ', width(c)) };
    std::iter::repeat_n(blank, times)
}

/// Columns of a terminal.
fn width(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::place;
    use super::*;

    fn shown(text: &str, what: &str) -> String {
        let start = text.find(what).unwrap();
        let place = place(text, start, start + what.len());
        let (_, pad, mark) = place.window(false);
        format!("{}:{} {pad}{mark}", place.line, place.column)
    }

    #[test]
    fn the_mark_stands_under_its_word() {
        assert_eq!(shown("a = 1\nkey = 2\n", "key"), "2:1 ^^^");
        assert_eq!(shown("\tkey = 2", "key"), "1:2 \t^^^");
        // Two characters, four columns.
        assert_eq!(shown("水泵 = 2", "2"), "1:6        ^");
        assert_eq!(shown("a = '水泵'", "'水泵'"), "1:5     ^^^^^^");
        assert_eq!(shown("a = 1\r\nb = 2\r\n", "2"), "2:5     ^");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}key{}", "x".repeat(1000), "y".repeat(1000));
        let (line, pad, mark) = place(&text, 1000, 1003).window(false);
        assert_eq!(line.chars().count(), LINE_MAX + 2);
        assert_eq!(line.chars().skip(pad.chars().count()).take(3).collect::<String>(), "key");
        assert_eq!(mark, "^^^");
    }
}
