//! Texts about people as they lie on the disk: sealed with AES-256-GCM where there is a key, as they are where there is none.
//!
//! A sealed text is `~1.<key id>.<base64 of nonce, text and tag>`. Its place in the journal is sealed with it, so that a row
//! copied to another place cannot be read there. The key and its id are made of the secret by HKDF-SHA256. Rows under an
//! older key are still read; what is written is always under the newest. A text of people that begins with `~` by itself
//! is `~0.` and that text.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::{Error, alarm};
use crate::pseudonym::KEY_MIN;
use crate::reading::Millis;
use crate::secret::Secret;

const SEALED: &str = "~1.";
const PLAIN: &str = "~0.";
const ID_BYTES: usize = 4;

/// Closes and opens; cheap to clone. Without a key both leave the text as it is.
#[derive(Clone, Default)]
pub struct Seal(Arc<Keys>);

#[derive(Default)]
struct Keys {
    now: Option<Key>,
    before: Vec<Key>,
}

struct Key {
    /// 8 hexadecimal digits; says nothing of the key.
    id: String,
    aead: LessSafeKey,
}

/// Which text of the journal; sealed for one place, it cannot be read in another.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    Event(u64),
    Ticket(&'a str),
    /// Key and column.
    Order(&'a str, &'static str),
    /// Subject.
    Access(&'a str),
    /// Scope, name and column.
    Maintenance(&'a str, &'a str, &'static str),
    /// When it was begun, and column: its key is sealed itself.
    Erasure(Millis, &'static str),
}

/// Why a text cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("{place} is sealed with key {key}, which the configuration does not name")]
    Unknown { place: String, key: String },
    #[error("{place} is sealed with key {key} and is not what was sealed there")]
    Changed { place: String, key: String },
}

/// It is met like a row that does not fit its sum.
impl From<Unreadable> for rusqlite::Error {
    fn from(why: Unreadable) -> Self {
        alarm::damage(why.to_string())
    }
}

impl Seal {
    /// Leaves everything as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// Seals under `now`, and opens what is under one of `before`, too. `None`: one of them is too short.
    pub fn new(now: Option<&Secret>, before: &[Secret]) -> Option<Self> {
        let now = match now {
            Some(secret) => Some(Key::of(secret)?),
            None => None,
        };
        let before = before.iter().map(Key::of).collect::<Option<_>>()?;
        Some(Self(Arc::new(Keys { now, before })))
    }

    /// The id of the key that rows are written with.
    pub fn key(&self) -> Option<&str> {
        self.0.now.as_ref().map(|key| &*key.id)
    }

    /// Whether rows under this key can be read.
    pub fn knows(&self, id: &str) -> bool {
        self.named(id).is_some()
    }

    /// Whether anything may have to be opened or closed.
    pub fn has_keys(&self) -> bool {
        self.0.now.is_some() || !self.0.before.is_empty()
    }

    /// As it is to be stored.
    pub fn close<'a>(&self, place: Place<'_>, text: &'a str) -> Result<Cow<'a, str>, Error> {
        match &self.0.now {
            Some(key) => key.close(place, text).map(Cow::Owned).ok_or(Error::Unsealed),
            None if text.starts_with('~') => Ok(format!("{PLAIN}{text}").into()),
            None => Ok(text.into()),
        }
    }

    /// As it was said.
    pub fn open<'a>(&self, place: Place<'_>, stored: &'a str) -> Result<Cow<'a, str>, Unreadable> {
        let Some((id, sealed)) = parts(stored) else {
            return Ok(stored.strip_prefix(PLAIN).unwrap_or(stored).into());
        };
        let (place_name, key_name) = (|| place.to_string(), || id.to_owned());
        let key =
            self.named(id).ok_or_else(|| Unreadable::Unknown { place: place_name(), key: key_name() })?;
        let text = key.open(place, sealed);
        text.map(Cow::Owned).ok_or_else(|| Unreadable::Changed { place: place_name(), key: key_name() })
    }

    /// Whether it stands as it would be written now.
    pub fn is_current(&self, stored: &str) -> bool {
        key_of(stored) == self.key()
    }

    /// The same of a column, in SQL: whether it does not.
    pub(super) fn is_stale(&self, column: &str) -> String {
        match self.key() {
            Some(id) => format!("{column} NOT GLOB '{SEALED}{id}.*'"),
            None => format!("{column} GLOB '{SEALED}*'"),
        }
    }

    fn named(&self, id: &str) -> Option<&Key> {
        self.0.now.iter().chain(&self.0.before).find(|key| key.id == id)
    }
}

/// Under which key it is sealed.
pub(super) fn key_of(stored: &str) -> Option<&str> {
    parts(stored).map(|(id, _)| id)
}

/// The key's id and what is sealed; `None`: it is not sealed.
fn parts(stored: &str) -> Option<(&str, &str)> {
    let (id, sealed) = stored.strip_prefix(SEALED)?.split_once('.')?;
    let is_id = id.len() == 2 * ID_BYTES && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some((id, sealed))
}

impl Key {
    fn of(secret: &Secret) -> Option<Self> {
        let secret = secret.reveal().trim().as_bytes();
        if secret.len() < KEY_MIN {
            return None;
        }
        let root = Salt::new(HKDF_SHA256, b"gatehouse journal").extract(secret);
        let aead = root.expand(&[b"seal"], &AES_256_GCM).map(UnboundKey::from).ok()?;
        let mut id = [0; 32];
        root.expand(&[b"id"], HKDF_SHA256).and_then(|okm| okm.fill(&mut id)).ok()?;
        let id = id.iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
        Some(Self { id, aead: LessSafeKey::new(aead) })
    }

    /// `None`: the system gives no random number.
    fn close(&self, place: Place<'_>, text: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut bytes = Vec::with_capacity(NONCE_LEN + text.len() + AES_256_GCM.tag_len());
        bytes.extend(nonce);
        bytes.extend(text.as_bytes());
        let (_, body) = bytes.split_at_mut(NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.aead.seal_in_place_separate_tag(nonce, place.bound(), body).ok()?;
        bytes.extend(tag.as_ref());
        let mut stored = format!("{SEALED}{}.", self.id);
        BASE64.encode_string(&bytes, &mut stored);
        Some(stored)
    }

    fn open(&self, place: Place<'_>, sealed: &str) -> Option<String> {
        let mut bytes = BASE64.decode(sealed).ok()?;
        let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.aead.open_in_place(nonce, place.bound(), body).ok()?;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }
}

impl Place<'_> {
    /// What is sealed with the text. No part has a NUL, so no two places are alike.
    fn bound(&self) -> Aad<Vec<u8>> {
        let parts = match *self {
            Place::Event(seq) => format!("event\0{seq}"),
            Place::Ticket(id) => format!("ticket\0{id}"),
            Place::Order(key, column) => format!("command\0{column}\0{key}"),
            Place::Access(subject) => format!("access\0{subject}"),
            Place::Maintenance(scope, name, column) => format!("maintenance\0{column}\0{scope}\0{name}"),
            Place::Erasure(begun, column) => format!("erasure\0{column}\0{begun}"),
        };
        Aad::from(parts.into_bytes())
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Event(seq) => write!(f, "event {seq}"),
            Place::Ticket(id) => write!(f, "ticket {id}"),
            Place::Order(key, column) => write!(f, "`{column}` of order {key}"),
            Place::Access(subject) => write!(f, "the state of {subject}"),
            Place::Maintenance(scope, name, column) => {
                write!(f, "`{column}` of maintenance of {scope} {name}")
            }
            Place::Erasure(begun, column) => write!(f, "`{column}` of the erasure that began at {begun}"),
        }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seal({})", self.key().unwrap_or("none"))
    }
}

impl PartialEq for Seal {
    /// By the ids of the keys.
    fn eq(&self, other: &Self) -> bool {
        let ids = |seal: &Self| seal.0.before.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
        self.key() == other.key() && ids(self) == ids(other)
    }
}

#[cfg(test)]
pub(super) fn of(now: &str, before: &[&str]) -> Seal {
    let before: Vec<Secret> = before.iter().map(|text| Secret::new(text)).collect();
    Seal::new(Some(&Secret::new(now)), &before).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";
    const TEXT: &str = r#"{"by":"张工","note":"换泵"}"#;

    #[test]
    fn what_is_sealed_is_read_under_its_key_at_its_place_and_nowhere_else() {
        let seal = of(OLD, &[]);
        let stored = seal.close(Place::Event(7), TEXT).unwrap();
        assert!(stored.starts_with(&format!("~1.{}.", seal.key().unwrap())), "{stored}");
        assert_eq!(seal.open(Place::Event(7), &stored).unwrap(), TEXT);
        assert_ne!(seal.close(Place::Event(7), TEXT).unwrap(), stored, "another nonce each time");
        let moved = seal.open(Place::Event(8), &stored).unwrap_err();
        assert!(matches!(&moved, Unreadable::Changed { place, .. } if place == "event 8"), "{moved}");
        let mut bent = stored.clone().into_owned();
        let last = bent.pop().unwrap();
        bent.push(if last == 'A' { 'B' } else { 'A' });
        assert!(matches!(seal.open(Place::Event(7), &bent), Err(Unreadable::Changed { .. })));
        assert!(matches!(seal.open(Place::Event(7), &stored[..14]), Err(Unreadable::Changed { .. })));
        for other in [of(NEW, &[]), Seal::none()] {
            let unknown = other.open(Place::Event(7), &stored).unwrap_err().to_string();
            assert!(unknown.contains(seal.key().unwrap()), "{unknown}");
        }
    }

    #[test]
    fn an_older_key_is_read_and_the_newest_written() {
        let (old, new) = (of(OLD, &[]), of(NEW, &[OLD]));
        let stored = old.close(Place::Ticket("a"), TEXT).unwrap();
        assert_eq!(new.open(Place::Ticket("a"), &stored).unwrap(), TEXT);
        assert!(!new.is_current(&stored) && old.is_current(&stored));
        let stored = new.close(Place::Ticket("a"), TEXT).unwrap();
        assert!(new.is_current(&stored) && old.open(Place::Ticket("a"), &stored).is_err());
        assert!(!new.is_current(TEXT) && Seal::none().is_current(TEXT));
    }

    #[test]
    fn without_a_key_a_text_stays_as_it_is_and_one_that_looks_sealed_comes_out_as_it_went_in() {
        let (none, seal) = (Seal::none(), of(OLD, &[]));
        assert!(matches!(none.close(Place::Event(1), TEXT), Ok(Cow::Borrowed(TEXT))));
        let note = Place::Maintenance("device", "pump", "note");
        for text in ["~", "~0.", "~1.0123abcd.AAAA", "~泵"] {
            let stored = none.close(note, text).unwrap();
            assert_eq!(none.open(note, &stored).unwrap(), text);
            assert_eq!(seal.open(note, &stored).unwrap(), text, "also after a key has come");
            let sealed = seal.close(note, text).unwrap();
            assert_eq!(seal.open(note, &sealed).unwrap(), text);
        }
        assert_eq!(none.open(note, "~ written before").unwrap(), "~ written before");
        assert!(Seal::new(Some(&Secret::new("too short")), &[]).is_none());
        assert!(Seal::new(Some(&Secret::new(OLD)), &[Secret::new("")]).is_none());
    }
}
