//! Tool: the wall clock, RFC 3339 in JSON, and whether the clock can be believed.

use jiff::Timestamp;

use crate::reading::Millis;

/// Now, in milliseconds since 1970.
pub fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// `2026-11-21T08:00:00.123Z`; a time beyond what RFC 3339 can write is cut to its bounds.
pub fn format(at: Millis) -> String {
    let at = Timestamp::from_millisecond(at).unwrap_or(if at < 0 { Timestamp::MIN } else { Timestamp::MAX });
    format!("{at:.3}")
}

pub fn parse(text: &str) -> Result<Millis, jiff::Error> {
    text.parse::<Timestamp>().map(jiff::Timestamp::as_millisecond)
}

/// Whether the kernel says that the clock is synchronised (`adjtimex`; not `STA_UNSYNC`).
pub fn clock_is_synced() -> bool {
    // SAFETY: an all-zero timex is valid, `modes = 0` only reads, and the kernel fills the struct we own.
    #[expect(unsafe_code, reason = "adjtimex has no safe wrapper among our dependencies")]
    let status = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        if libc::adjtimex(&raw mut timex) == -1 {
            return false;
        }
        timex.status
    };
    status & libc::STA_UNSYNC == 0
}

/// The kernel's name for this boot; empty where it does not say.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Seconds since this boot; `None` where the kernel does not say.
pub fn uptime() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// `#[serde(with = "rfc3339")]` for [`Millis`].
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::Millis;

    pub fn serialize<S: Serializer>(at: &Millis, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format(*at))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Millis, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        super::parse(&text).map_err(D::Error::custom)
    }

    /// `#[serde(with = "rfc3339::option")]` for `Option<Millis>`.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        use super::Millis;

        pub fn serialize<S: Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
            match at {
                Some(at) => super::serialize(at, to),
                None => to.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Millis>, D::Error> {
            match Option::<String>::deserialize(from)? {
                Some(text) => crate::time::parse(&text).map(Some).map_err(D::Error::custom),
                None => Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_is_written_with_milliseconds_and_read_back() {
        let at = 1_763_712_000_123;
        assert_eq!(super::format(at), "2025-11-21T08:00:00.123Z");
        assert_eq!(super::parse(&super::format(at)).ok(), Some(at));
        assert!(super::format(i64::MAX).starts_with("9999"));
    }
}
