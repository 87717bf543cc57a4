//! Tool: the wall clock, RFC 3339 in JSON, and whether the clock can be believed.

use std::mem::MaybeUninit;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

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

/// Whether the kernel says that the clock is synchronised: its greatest error is under 16 s, which is where it gives up. `STA_UNSYNC`
/// says less, since chronyd sets it too, only to keep the kernel's hands off the hardware clock (systemd's `ntp_synced` has it from there).
// The one `unsafe` of ours: the crates around this call either keep its answer to themselves or do not compile for 32-bit ARM.
#[allow(unsafe_code)]
pub fn clock_is_synced() -> bool {
    let mut timex = MaybeUninit::<libc::timex>::zeroed(); // its `modes` are 0: it only asks
    // SAFETY: the call reads and writes this one `timex`, which nobody else has; it is numbers only, and zero is good for each.
    let (answer, timex) = unsafe { (libc::adjtimex(timex.as_mut_ptr()), timex.assume_init()) };
    answer >= 0 && timex.maxerror < 16_000_000 // microseconds
}

/// The kernel's name for this boot; empty where it does not say. Inside the unit nothing of /proc is seen but processes,
/// so the unit hands it in.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .or_else(|_| std::env::var("GATEHOUSE_BOOT_ID"));
    // systemd writes it without dashes.
    let id = id.ok().and_then(|id| Uuid::parse_str(id.trim()).ok());
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// Seconds since this boot, sleep included, to the millisecond.
pub fn uptime() -> f64 {
    let since = clock_gettime(ClockId::Boottime);
    let seconds = since.tv_sec as f64 + since.tv_nsec as f64 / 1e9;
    (seconds * 1000.0).round() / 1000.0
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
