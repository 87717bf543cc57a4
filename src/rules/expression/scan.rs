//! What a text is refused for before the parser sees it: too long, too deep, or one of the mistakes that are made most.
//!
//! The parser calls itself for each bracket and overflows its stack on a few dozen in a row; it is never shown more than
//! ten. Signs are counted as well: no chain of them nests deeper than there are signs.

use super::{Fault, Name, TEXT_MAX};

pub const DEPTH_MAX: usize = 10;
pub const SIGNS_MAX: usize = 200;
pub const LIKE: &str = "write it like `x > 50 && y + 1 < 3`";

pub fn scan(text: &str, names: &[Name]) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new(0, text.len(), "an empty expression", LIKE));
    }
    if text.len() > TEXT_MAX {
        let what = format!("an expression of {} bytes", text.len());
        return Err(Fault::new(
            0,
            text.len(),
            what,
            format!("write at most {TEXT_MAX}, or make two rules of it"),
        ));
    }
    Scan { text, at: 0, open: Vec::new(), signs: 0 }.run(names)
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    open: Vec<(u8, usize)>,
    signs: usize,
}

impl Scan<'_> {
    fn run(mut self, names: &[Name]) -> Result<(), Fault> {
        while let Some(c) = self.text[self.at..].chars().next() {
            let end = match c {
                '"' | '\'' => self.quoted(self.at, false)?,
                c if c.is_ascii_alphabetic() || c == '_' => self.word(names)?,
                c if c.is_ascii_digit() => self.run_of(|b| b.is_ascii_alphanumeric() || b == b'.'),
                '/' if self.text[self.at..].starts_with("//") => self.run_of(|b| b != b'\n'),
                '(' | '[' | '{' => self.opens(c as u8)?,
                ')' | ']' | '}' => self.closes(c as u8)?,
                c if c.is_ascii() => self.sign(c)?,
                c if c.is_whitespace() => self.at + c.len_utf8(),
                c => {
                    let cure =
                        "write plain letters and signs, `>` for `＞`; other writing belongs between quotes";
                    return Err(self.fault(c.len_utf8(), format!("`{c}` is no sign of an expression"), cure));
                }
            };
            self.at = end;
        }
        match self.open.last() {
            Some(&(bracket, at)) => {
                let what = format!("`{}` is never closed", bracket as char);
                Err(Fault::new(at, 1, what, format!("write the `{}` that belongs to it", partner(bracket))))
            }
            None => Ok(()),
        }
    }

    fn fault(&self, length: usize, what: impl Into<String>, cure: impl Into<String>) -> Fault {
        Fault::new(self.at, length, what, cure)
    }

    /// Where the run of such bytes ends that begins here.
    fn run_of(&self, of: impl Fn(u8) -> bool) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        self.at + rest.iter().position(|b| !of(*b)).unwrap_or(rest.len())
    }

    fn word(&self, names: &[Name]) -> Result<usize, Fault> {
        let end = self.run_of(|b| b.is_ascii_alphanumeric() || b == b'_');
        let word = &self.text[self.at..end];
        if self.text[end..].starts_with(['"', '\'']) && word.bytes().all(|b| b"rRbB".contains(&b)) {
            return self.quoted(end, word.contains(['r', 'R']));
        }
        let sign = match word.to_ascii_lowercase().as_str() {
            _ if names.iter().any(|name| name.name == word) => return Ok(end),
            "and" => "&&",
            "or" => "||",
            "not" => "!",
            _ => return Ok(end),
        };
        Err(self.fault(
            word.len(),
            format!("`{word}` is no sign of an expression"),
            format!("write `{sign}`"),
        ))
    }

    /// The end of the text in quotes whose first quote is at `quote`.
    fn quoted(&self, quote: usize, raw: bool) -> Result<usize, Fault> {
        let bytes = self.text.as_bytes();
        let mark = bytes[quote];
        let triple = bytes[quote..].starts_with(&[mark; 3]);
        let length = if triple { 3 } else { 1 };
        let mut at = quote + length;
        while at < bytes.len() {
            if bytes[at] == b'\\' && !raw {
                at += 2;
            } else if bytes[at..].starts_with(&[mark; 3][..length]) {
                return Ok(at + length);
            } else {
                at += 1;
            }
        }
        Err(Fault::new(quote, 1, "a text whose quotes are never closed", "write the quote that ends it"))
    }

    fn opens(&mut self, bracket: u8) -> Result<usize, Fault> {
        if self.open.len() == DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} brackets in one another");
            return Err(self.fault(1, what, "make two rules of it"));
        }
        self.open.push((bracket, self.at));
        Ok(self.at + 1)
    }

    fn closes(&mut self, bracket: u8) -> Result<usize, Fault> {
        match self.open.pop() {
            Some((open, _)) if partner(open) == bracket as char => Ok(self.at + 1),
            _ => Err(self.fault(1, format!("`{}` closes nothing", bracket as char), "remove it, or open it")),
        }
    }

    fn sign(&mut self, c: char) -> Result<usize, Fault> {
        if c.is_ascii_whitespace() || c == ',' {
            return Ok(self.at + 1);
        }
        self.signs += 1;
        if self.signs > SIGNS_MAX {
            let what = format!("an expression of more than {SIGNS_MAX} signs");
            return Err(self.fault(1, what, "make two rules of it"));
        }
        let rest = &self.text[self.at..];
        if let Some(pair) =
            ["==", "!=", "<=", ">=", "&&", "||"].into_iter().find(|pair| rest.starts_with(*pair))
            && !rest.starts_with("===")
        {
            return Ok(self.at + pair.len());
        }
        let (length, cure) = match c {
            '=' if rest.starts_with("===") => (3, "write `==`"),
            '=' => (1, "write `==` to compare"),
            '&' => (1, "write `&&`"),
            '|' => (1, "write `||`"),
            '<' if rest.starts_with("<>") => (2, "write `!=`"),
            _ => return Ok(self.at + 1),
        };
        Err(self.fault(length, format!("`{}` is no sign of an expression", &rest[..length]), cure))
    }
}

fn partner(bracket: u8) -> char {
    match bracket {
        b'(' => ')',
        b'[' => ']',
        _ => '}',
    }
}

/// The parser's place, line and column, and what stands there.
pub fn misfit(text: &str, line: isize, column: isize) -> Fault {
    let (line, column) = (usize::try_from(line - 1).unwrap_or(0), usize::try_from(column - 1).unwrap_or(0));
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &text[before.min(text.len())..];
    let at = before + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let Some(first) = text[at..].chars().next() else {
        return Fault::new(text.len().saturating_sub(1), 1, "the expression breaks off here", LIKE);
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let word: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
    let word = if word.is_empty() { first.to_string() } else { word };
    Fault::new(at, word.len(), format!("`{word}` does not fit here"), LIKE)
}
