//! What is wrong, where, and what to write instead; gathered from all files, shown at once.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::codes::Code;
use super::ear::Ear;
use super::{hush, quoted, secrets};
use crate::fingerprint::Fingerprint;
pub(super) use crate::near::nearest;

/// More are counted, not kept.
pub const MISTAKES_MAX: usize = 500;

/// One mistake, or one warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub code: Code,
    pub path: PathBuf,
    /// `None`: the file as a whole.
    pub place: Option<Place>,
    pub what: String,
    /// What to write instead.
    pub cure: String,
}

/// Where in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters of the line are meant; at least 1.
    pub length: usize,
    /// The line itself.
    pub text: String,
}

/// All that is wrong with a configuration, in the order of its files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    pub list: Vec<Mistake>,
    /// How many there are beyond [`MISTAKES_MAX`].
    pub more: usize,
}

/// A range of bytes in one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spot {
    pub file: usize,
    pub start: usize,
    pub end: usize,
}

/// Takes every mistake while the configuration is walked; the walk goes on.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// Where the readers are listened to.
    pub ear: Option<Ear>,
    sources: Vec<(&'a Path, &'a str)>,
    mistakes: RefCell<Vec<(Spot, Mistake)>>,
    warnings: RefCell<Vec<(Spot, Mistake)>>,
    more: RefCell<usize>,
    /// Files with syntax errors: what is missing there may only not have been understood.
    broken: RefCell<Vec<usize>>,
    /// What was read from other places: secrets, certificates.
    beside: RefCell<Vec<Fingerprint>>,
    /// Nothing is read from there.
    pub blind: bool,
    /// What the API and pushes need and cannot be read is left aside: they stay closed then ([`Section::spared`]).
    ///
    /// [`Section::spared`]: super::section::Section::spared
    pub spares: bool,
}

// ---------------------------------------------------------------------------------------------- Report

impl<'a> Report<'a> {
    pub fn new(sources: Vec<(&'a Path, &'a str)>) -> Self {
        Self {
            ear: None,
            sources,
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
            more: RefCell::default(),
            broken: RefCell::default(),
            beside: RefCell::default(),
            blind: false,
            spares: false,
        }
    }

    /// One with an ear on the readers.
    pub fn listening(sources: Vec<(&'a Path, &'a str)>) -> Self {
        Self { ear: Some(Ear::default()), ..Self::new(sources) }
    }

    pub fn sources(&self) -> &[(&'a Path, &'a str)] {
        &self.sources
    }

    pub fn read_beside(&self, text: &str) {
        self.beside.borrow_mut().push(Fingerprint::of(text.as_bytes()));
    }

    pub fn beside(&self) -> Vec<Fingerprint> {
        self.beside.take()
    }

    pub fn mistake(&self, code: Code, spot: Spot, what: impl Into<String>, cure: impl Into<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() == MISTAKES_MAX {
            *self.more.borrow_mut() += 1;
            return;
        }
        mistakes.push((spot, self.locate(code, spot, what.into(), cure.into())));
    }

    pub fn syntax(&self, spot: Spot, what: String, cure: String) {
        self.broken.borrow_mut().push(spot.file);
        let place = self.place(spot).1;
        if place.is_secret() {
            // The cure of a syntax error may repeat the word; and a well-written secret would be no better there.
            return self.mistake(Code::Syntax, spot, what, secrets::HOW);
        }
        self.mistake(Code::Syntax, spot, what, cure);
    }

    /// A table lacks something; not said where the file has syntax errors.
    pub fn missing(&self, code: Code, spot: Spot, what: impl Into<String>, cure: impl Into<String>) {
        if !self.broken.borrow().contains(&spot.file) {
            self.mistake(code, spot, what, cure);
        }
    }

    /// A name names nothing; not said where it may stand in a line with a syntax error.
    pub fn unknown(&self, code: Code, spot: Spot, word: &str, what: impl Into<String>, there_is: &[&str]) {
        let near = nearest(word, there_is.iter().copied());
        let cure = match near {
            Some(near) => format!("there is `{near}`"),
            None if there_is.is_empty() => "there is none yet; add it".into(),
            None => did_you_mean(word, there_is.iter().copied()),
        };
        if self.broken.borrow().is_empty() || near.is_some() {
            self.mistake(code, spot, what, cure);
        }
    }

    pub fn warning(&self, code: Code, spot: Spot, what: impl Into<String>, cure: impl Into<String>) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < MISTAKES_MAX {
            warnings.push((spot, self.locate(code, spot, what.into(), cure.into())));
        }
    }

    /// The part of a text between quotes from byte `from` to `to` of what it says.
    pub fn inside(&self, spot: Spot, from: usize, to: usize) -> Spot {
        let written = self.sources.get(spot.file).and_then(|(_, text)| text.get(spot.start..spot.end));
        let written = written.unwrap_or_default();
        let place = |at| spot.start + quoted::place(written, at);
        Spot { start: place(from), end: place(to), ..spot }
    }

    /// `file:line` of a spot, for words about another place.
    pub fn at(&self, spot: Spot) -> String {
        let (path, place) = self.place(spot);
        format!("{}:{}", path.display(), place.line)
    }

    fn locate(&self, code: Code, spot: Spot, what: String, cure: String) -> Mistake {
        let (path, place) = self.place(spot);
        Mistake { code, path: path.to_owned(), place: Some(place), what, cure }
    }

    fn place(&self, spot: Spot) -> (&'a Path, Place) {
        let (path, text) = self.sources.get(spot.file).copied().unwrap_or((Path::new(""), ""));
        (path, place(text, spot.start, spot.end))
    }

    /// Mistakes and warnings, each in the order of the files.
    pub fn finish(self) -> (Mistakes, Vec<Mistake>) {
        let sorted = |mut list: Vec<(Spot, Mistake)>| {
            list.sort_by_key(|(spot, _)| (spot.file, spot.start));
            // A profile's rule is read once for every device that turns it on.
            list.dedup();
            list.into_iter().map(|(_, mistake)| mistake).collect::<Vec<_>>()
        };
        let mistakes = Mistakes { list: sorted(self.mistakes.into_inner()), more: self.more.into_inner() };
        (mistakes, sorted(self.warnings.into_inner()))
    }
}

/// Line, column and marked length of a range of bytes; a range beyond the text means its end.
pub(super) fn place(text: &str, start: usize, end: usize) -> Place {
    let start = floor(text, start);
    let end = floor(text, end).max(start);
    let before = &text[..start];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let marked = &text[start..end.min(line_end)];
    Place {
        line: before.matches('\n').count() + 1,
        column: text[line_start..start].chars().count() + 1,
        length: marked.trim_end_matches('\r').chars().count().max(1),
        text: line.to_owned(),
    }
}

/// The nearest start of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Mistakes {
    /// Whether nothing is wrong but that this program was not started by systemd, which has the credentials.
    pub fn are_only_of_the_place(&self) -> bool {
        self.more == 0 && self.list.iter().all(|mistake| mistake.what.ends_with(secrets::NONE_GIVEN))
    }
}

impl Mistakes {
    /// Why the secret of one of these keys could not be read, and what to do; `None`: none of them is among the mistakes.
    pub fn unread(&self, keys: &[&str]) -> Option<String> {
        let is_of = |what: &str| keys.iter().any(|key| what.starts_with(&format!("`{key}`: ")));
        let of = self.list.iter().find(|one| one.code == Code::SecretNotThere && is_of(&one.what))?;
        let line = of.place.as_ref().map_or(0, |place| place.line);
        Some(format!(
            "{}:{line}: {}; ask as root while the service runs, or say where the files of its credentials are: \
             `CREDENTIALS_DIRECTORY=/etc/gatehouse/credentials gatehouse …`",
            of.path.display(),
            of.what
        ))
    }
}

impl Place {
    /// Whether the mark stands under a secret.
    fn is_secret(&self) -> bool {
        let marked = self.column - 1..self.column - 1 + self.length;
        hush::secrets(&self.text.chars().collect::<Vec<_>>())
            .iter()
            .any(|secret| secret.start < marked.end && marked.start < secret.end)
    }
}

/// "did you mean `x`?", or what there is, or what to do where there is nothing.
pub(super) fn did_you_mean<'n>(word: &str, there_is: impl IntoIterator<Item = &'n str>) -> String {
    /// A list longer than this helps nobody.
    const SHOWN: usize = 12;
    let there_is: Vec<&str> = there_is.into_iter().collect();
    if let Some(near) = nearest(word, there_is.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let more = there_is.len().saturating_sub(SHOWN);
    let mut list = listed(there_is.into_iter().take(SHOWN));
    if more > 0 {
        list += &format!(" and {more} more");
    }
    if list.is_empty() { "there is none".into() } else { format!("there is {list}") }
}

/// `a`, `b`, `c`
pub(super) fn listed<'n>(words: impl IntoIterator<Item = &'n str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_beyond_the_text_is_its_end_and_a_split_character_its_start() {
        assert_eq!(place("", 7, 9).column, 1);
        assert_eq!(place("水", 1, 2).column, 1);
        assert_eq!(place("ab\n", 9, 3).line, 2);
    }

    #[test]
    fn only_what_is_near_is_meant() {
        assert_eq!(nearest("registr", ["unit", "register"]), Some("register"));
        assert_eq!(nearest("plnat", ["plant"]), Some("plant"));
        assert_eq!(nearest("colour", ["unit", "register"]), None);
        assert_eq!(nearest("4", ["1", "2"]), None);
    }
}
