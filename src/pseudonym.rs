//! Tool: turns a card number, a phone number or a name into a word that says nothing but "the same one again".
//!
//! HMAC-SHA-256 under the gateway's own key, cut to 64 bits. Who has the journal without the key cannot try all card
//! numbers (there are few); who has the key can look for one person, which erasure and a lost card need.

use std::fmt;
use std::sync::Arc;

use ring::hmac;
use serde::{Serialize, Serializer};

use crate::secret::Secret;

/// Shorter keys could be guessed.
pub const KEY_MIN: usize = 16;

/// The gateway's key; every clone is the same.
#[derive(Clone)]
pub struct Pseudonyms(Arc<hmac::Key>);

/// `c-` (card), `k-` (code typed in), `p-` (person) and 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pseudonym(Arc<str>);

impl Pseudonyms {
    /// `None`: the key is too short.
    pub fn new(key: &Secret) -> Option<Self> {
        let key = key.reveal().trim().as_bytes();
        (key.len() >= KEY_MIN).then(|| Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key))))
    }

    /// A card by its number as people know it. Readers tell one card in different forms: bring them to one first.
    pub fn card(&self, number: &str) -> Pseudonym {
        self.word('c', number)
    }

    /// A code typed in. There are few of them; their pseudonym is as good a secret as the key.
    pub fn code(&self, code: &str) -> Pseudonym {
        self.word('k', code)
    }

    /// A person, by the id that their terminal has for them, or by name.
    pub fn person(&self, id: &str) -> Pseudonym {
        self.word('p', id)
    }

    fn word(&self, kind: char, of: &str) -> Pseudonym {
        let tag = hmac::sign(&self.0, format!("{kind}:{}", of.trim()).as_bytes());
        let digits: String = tag.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Pseudonym(format!("{kind}-{digits}").into())
    }
}

impl Pseudonym {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a text has the form of one: letters and digits that say of what, and hexadecimal digits.
    pub fn is_one(text: &str) -> bool {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        text.rsplit_once('-').is_some_and(|(of, digits)| {
            (1..=8).contains(&of.len())
                && of.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && (16..=64).contains(&digits.len())
                && digits.bytes().all(is_hex)
        })
    }
}

impl Serialize for Pseudonym {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

impl PartialEq for Pseudonyms {
    /// By what they make of a card.
    fn eq(&self, other: &Self) -> bool {
        self.card("") == other.card("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_card_is_one_word_under_one_key_and_another_under_another() {
        let keys = |key| Pseudonyms::new(&Secret::new(key)).unwrap();
        let ours = keys("0123456789abcdef");
        assert_eq!(ours.card("6154410"), ours.card(" 6154410\n"));
        assert_ne!(ours.card("6154410"), ours.card("6154411"));
        assert_ne!(ours.card("6154410").as_str()[1..], ours.person("6154410").as_str()[1..]);
        assert_ne!(ours.card("6154410"), keys("0123456789abcdeg").card("6154410"));
        assert_eq!(ours.card("6154410").as_str().len(), 18);
        assert!(Pseudonyms::new(&Secret::new("too short")).is_none());
    }
}
