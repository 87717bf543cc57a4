//! Tool: what is kept of a text that only has to be known again: SHA-256 of a token, of a cookie, of a file of secrets.

use std::fmt;
use std::hint::black_box;

use ring::digest::{SHA256, digest};

const BYTES: usize = 32;
/// Before the hex digits, where one is written down.
pub const PREFIX: &str = "sha256:";

#[derive(Clone, Copy)]
pub struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    pub fn of(text: &[u8]) -> Self {
        let mut own = [0; BYTES];
        own.copy_from_slice(digest(&SHA256, text).as_ref());
        Self(own)
    }

    /// Whether it begins like one that is written down, in small letters or capitals.
    pub fn begins(text: &str) -> bool {
        text.get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX))
    }

    /// `sha256:` and 64 hex digits; `None`: it is something else.
    pub fn read(text: &str) -> Option<Self> {
        let hex = text.get(PREFIX.len()..).filter(|_| Self::begins(text))?.as_bytes();
        let mut own = [0; BYTES];
        if hex.len() != 2 * BYTES || !hex.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in own.iter_mut().zip(hex.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(own))
    }
}

/// In the same time wherever they differ.
impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |sum, (a, b)| sum | black_box(a ^ b)) == 0
    }
}

impl Eq for Fingerprint {}

/// As it is written down.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Who has the fingerprint of a short text can guess the text.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_sha_256_and_reads_as_it_is_written() {
        let written = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let abc = Fingerprint::of(b"abc");
        assert_eq!(abc.to_string(), written);
        assert_eq!(Fingerprint::read(written), Some(abc));
        assert_eq!(Fingerprint::read(&written.to_uppercase()), Some(abc));
        assert!(!format!("{abc:?}").contains("ba78"));
        for other in ["", "sha256:", "abc", "水水水", &written[7..], &written[..70], &format!("{written}0")]
        {
            assert_eq!(Fingerprint::read(other), None, "{other}");
        }
        assert_eq!(Fingerprint::read(&written.replace("ba", "+a")), None);
    }

    #[test]
    fn only_the_whole_text_is_the_same() {
        let own = Fingerprint::of(b"secret");
        for other in ["", "secre", "secret ", "Secret", "secrex"] {
            assert_ne!(Fingerprint::of(other.as_bytes()), own, "{other}");
        }
    }
}
