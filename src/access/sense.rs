//! A thing with two states as readings tell it: what it is, since when, and since when that is sure. Pure.

use serde::{Deserialize, Serialize};

use crate::reading::{Millis, Quality, Reading, Value};

/// A contact (open), a locker's item (present), a button (pressed).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sense {
    /// `None`: never read.
    pub on: Option<bool>,
    /// When it turned so, as far as readings tell.
    pub since: Millis,
    /// That it lasts too long has been told.
    pub told: bool,
    /// The last good reading of this run.
    #[serde(skip)]
    pub seen: Option<Millis>,
    /// Since when what is known is also so; `None` while it cannot be read.
    #[serde(skip)]
    pub sure: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// As before, or not to be known.
    None,
    /// The first reading ever: a state, but nothing that happened.
    First,
    On,
    Off,
}

/// The two words, `on` first.
pub type Words = [&'static str; 2];

pub const CONTACT: Words = ["open", "closed"];
pub const ITEM: Words = ["present", "absent"];
pub const BUTTON: Words = ["on", "off"];

impl Sense {
    /// Good readings turn it, uncertain ones only confirm what is known, bad ones do neither.
    pub fn read(&mut self, reading: &Reading, words: Words) -> Turn {
        let says = reading.value.as_ref().and_then(|value| meaning(value, words));
        match (reading.quality, says) {
            (Quality::Bad, _) => self.sure = None,
            (Quality::Uncertain, Some(on)) if self.on == Some(on) => {
                self.sure = self.sure.or(Some(reading.at));
            }
            (Quality::Good, Some(on)) => return self.is(on, reading.at),
            // A word that means neither, or an old one that says otherwise.
            _ => {}
        }
        Turn::None
    }

    fn is(&mut self, on: bool, at: Millis) -> Turn {
        self.seen = Some(at);
        self.sure = self.sure.or(Some(at));
        let before = self.on.replace(on);
        if before == Some(on) {
            return Turn::None;
        }
        (self.since, self.told, self.sure) = (at, false, Some(at));
        match (before, on) {
            (None, _) => Turn::First,
            (Some(_), true) => Turn::On,
            (Some(_), false) => Turn::Off,
        }
    }

    /// When it will have been on for too long.
    pub fn due(&self, after: Millis) -> Option<Millis> {
        let waiting = self.on == Some(true) && !self.told;
        self.sure.filter(|_| waiting).map(|sure| self.since.saturating_add(after).max(sure))
    }

    /// Whether that is so now, told once: when it came to be so.
    pub fn overlong(&mut self, now: Millis, after: Millis) -> Option<Millis> {
        let due = self.due(after).filter(|due| *due <= now)?;
        self.told = true;
        Some(due)
    }

    /// Nobody has looked for a while; what a device tells by itself holds until it tells otherwise.
    pub fn lost_sight(&mut self, polled: bool) {
        self.seen = None;
        self.sure = self.on.filter(|_| !polled).map(|_| self.since);
    }

    /// The clock was stepped: its times are told by the new one.
    pub fn stepped(&mut self, by: Millis) {
        self.since = self.since.saturating_add(by);
        for at in [&mut self.seen, &mut self.sure].into_iter().flatten() {
            *at = at.saturating_add(by);
        }
    }
}

/// A contact's `true` may mean either state; only a button's is plain.
fn meaning(value: &Value, words: Words) -> Option<bool> {
    match value {
        Value::Text(word) if words == BUTTON && matches!(&**word, "true" | "1") => Some(true),
        Value::Text(word) if words == BUTTON && matches!(&**word, "false" | "0") => Some(false),
        Value::Text(word) => words.iter().position(|w| *w == &**word).map(|index| index == 0),
        Value::Bool(on) if words == BUTTON => Some(*on),
        number if words == BUTTON => number.number().map(|n| n != 0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_may_say_it_in_many_ways_and_a_contact_only_in_its_own_words() {
        let text = |word: &str| Value::Text(word.into());
        for (value, button, contact) in [
            (text("on"), Some(true), None),
            (text("true"), Some(true), None),
            (text("0"), Some(false), None),
            (Value::Bool(true), Some(true), None),
            (Value::Unsigned(1), Some(true), None),
            (Value::Signed(0), Some(false), None),
            (text("open"), None, Some(true)),
            (text("closed"), None, Some(false)),
            (text("ajar"), None, None),
        ] {
            assert_eq!(meaning(&value, BUTTON), button, "{value}");
            assert_eq!(meaning(&value, CONTACT), contact, "{value}");
        }
    }
}
