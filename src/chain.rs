//! Tool: the chain over the events' digests. Whoever keeps one of its values knows all events up to that number again.
//!
//! The digest of an event is SHA-256 of its JSON as it was told. The chain begins with what names the journal,
//! `SHA-256("gatehouse" ‖ 0 ‖ gateway ‖ 0 ‖ epoch)`, and goes on with each event:
//! `SHA-256(value before ‖ number as 8 bytes, the highest first ‖ kind ‖ 0 ‖ digest)`. It has no key: what cannot be
//! undone is that a value is known elsewhere.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, digest};

/// A value of the chain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Link([u8; 32]);

/// Of an event's JSON as it was told.
pub fn digest_of(json: &str) -> [u8; 32] {
    bytes(digest(&SHA256, json.as_bytes()).as_ref())
}

impl Link {
    /// What the chain of a journal begins with.
    pub fn first(gateway: &str, epoch: &str) -> Self {
        let mut sum = Context::new(&SHA256);
        for part in [b"gatehouse".as_slice(), &[0], gateway.as_bytes(), &[0], epoch.as_bytes()] {
            sum.update(part);
        }
        Self(bytes(sum.finish().as_ref()))
    }

    /// With one event more.
    #[must_use]
    pub fn then(self, seq: u64, kind: &str, digest: &[u8; 32]) -> Self {
        let mut sum = Context::new(&SHA256);
        for part in [self.0.as_slice(), &seq.to_be_bytes(), kind.as_bytes(), &[0], digest] {
            sum.update(part);
        }
        Self(bytes(sum.finish().as_ref()))
    }

    /// `None`: no value of a chain is so long.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// SHA-256 has as many as are asked for here.
fn bytes(of: &[u8]) -> [u8; 32] {
    of.try_into().unwrap_or_default()
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Link {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "a value of the chain has 64 digits of 0-9 and a-f".to_owned();
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut link = [0; 32];
        for (n, byte) in link.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By Python's hashlib.
    #[test]
    fn the_chain_is_what_others_make_of_its_definition() {
        let first = Link::first("cp-017", "e");
        assert_eq!(first.to_string(), "de38a438d89ab810ef3fb74737fca41d8f24011466ead257a882f519b038bccc");
        let second = first.then(1, "device.online", &digest_of("{}"));
        assert_eq!(second.to_string(), "ee3d73062c110e85040e855a61d7db0d37f00aee369686e6a709de963e9c90e9");
        assert_eq!(second.to_string().parse(), Ok(second));
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let whole = Link::first("g", "e").to_string();
        for text in [
            "",
            "00",
            &whole[1..],
            &format!("{whole}0"),
            &format!("g{}", &whole[1..]),
            "ä".repeat(32).as_str(),
        ] {
            assert!(text.parse::<Link>().is_err(), "{text}");
        }
    }
}
