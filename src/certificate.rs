//! Tool: what is in a PEM file, and from when until when a certificate counts.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::reading::Millis;
use crate::time;

/// What to do with one of a client that is not.
pub const MAKE_V3: &str = "make a v3 one: `openssl x509 -req … -extfile client.ext`, with the line `basicConstraints=CA:FALSE` in that file";
/// How a library says that somebody shows a certificate that is made to sign others, as `openssl req -x509` makes them.
pub const OF_A_CA: &str = "CaUsedAsEndEntity";
/// What to do with one.
pub const MAKE_OWN: &str = "it shows a certificate that is made to sign others; let its people make one of its own: `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE`";
const DAY: Millis = 24 * 3_600_000;
/// Sooner than that people are told of its end.
const SOON: Millis = 14 * DAY;

/// The certificates of a text, its own first; `None` where there is none, or one that is no PEM.
pub fn chain(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain.ok().filter(|chain| !chain.is_empty())
}

/// The first private key of a text; `None` where there is none, or one with a password.
pub fn key(pem: &str) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()
}

/// Whether it says that it is X.509 v3; an older one has no field for it, or a lower number. TLS takes no older ones.
pub fn is_v3(der: &[u8]) -> bool {
    let version = || {
        let (_, certificate, _) = field(der)?;
        let (_, body, _) = field(certificate)?;
        let (tag, version, _) = field(body)?;
        (tag == 0xa0).then(|| field(version))?
    };
    version().is_some_and(|(_, number, _)| number == [2])
}

/// Whether that is why it was refused; rustls has no word of its own for it.
pub fn is_too_old(why: &rustls::CertificateError) -> bool {
    format!("{why:?}").contains("UnsupportedCertVersion")
}

/// From when until when a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: Millis,
    pub until: Millis,
}

/// How a certificate stands at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Good { days: i64 },
    EndsSoon { days: i64 },
    Ended,
    ToCome,
}

impl Validity {
    /// Of the first certificate in a text.
    pub fn of(pem: &str) -> Option<Self> {
        Self::of_der(chain(pem)?.first()?)
    }

    /// The fields of X.509 up to the one that is meant: version (which may be left out), serial number, algorithm, issuer,
    /// validity.
    pub fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = field(der)?;
        let (_, mut rest, _) = field(certificate)?;
        if rest.first() == Some(&0xa0) {
            rest = field(rest)?.2;
        }
        for _ in 0..3 {
            rest = field(rest)?.2;
        }
        let (_, validity, _) = field(rest)?;
        let (tag, from, rest) = field(validity)?;
        let from = moment(tag, from)?;
        let (tag, until, _) = field(rest)?;
        Some(Self { from, until: moment(tag, until)? })
    }

    pub fn at(self, now: Millis) -> Standing {
        let days = (self.until - now) / DAY;
        match now {
            _ if now < self.from => Standing::ToCome,
            _ if now >= self.until => Standing::Ended,
            _ if self.until - now < SOON => Standing::EndsSoon { days },
            _ => Standing::Good { days },
        }
    }

    /// What people have to know of it; `None`: nothing.
    pub fn trouble(self, now: Millis) -> Option<String> {
        match self.at(now) {
            Standing::Good { .. } => None,
            Standing::EndsSoon { days } => {
                Some(format!("ends in {days} days, at {}", time::format(self.until)))
            }
            Standing::Ended => Some(format!("has ended at {}", time::format(self.until))),
            Standing::ToCome => Some(format!("counts from {} only", time::format(self.from))),
        }
    }
}

/// Tag, contents and what follows. A length of more than four bytes is none of a certificate.
fn field(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` until 2049, else `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, text: &[u8]) -> Option<Millis> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => text.split_at_checked(2)?,
        0x18 => text.split_at_checked(4)?,
        _ => return None,
    };
    if rest.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i16 = match (tag, year.parse().ok()?) {
        (0x17, year @ 50..) => 1900 + year,
        (0x17, year) => 2000 + year,
        (_, year) => year,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    let at = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_both_forms_are_read_and_others_are_none() {
        let at = |tag, text: &str| moment(tag, text.as_bytes()).map(time::format);
        assert_eq!(at(0x17, "261122143000Z").as_deref(), Some("2026-11-22T14:30:00.000Z"));
        assert_eq!(at(0x17, "991231235959Z").as_deref(), Some("1999-12-31T23:59:59.000Z"));
        assert_eq!(at(0x18, "20510101000000Z").as_deref(), Some("2051-01-01T00:00:00.000Z"));
        for (tag, text) in
            [(0x17, "261322143000Z"), (0x17, "261122143000"), (0x18, "x"), (0x16, "261122143000Z")]
        {
            assert_eq!(moment(tag, text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_walk_through_cut_bytes_ends() {
        let whole = [0x30, 0x82, 0x01, 0x00, 0x30, 0x03, 0x02, 0x01, 0x01];
        for end in 0..whole.len() {
            assert_eq!(Validity::of_der(&whole[..end]), None);
        }
        assert_eq!(Validity::of_der(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
    }

    #[test]
    fn an_old_version_is_told_from_the_third() {
        let of = |body: &[u8]| {
            let length = u8::try_from(body.len()).unwrap();
            is_v3(&[&[0x30, length + 2, 0x30, length], body].concat())
        };
        assert!(of(&[0xa0, 3, 2, 1, 2]));
        assert!(!of(&[0xa0, 3, 2, 1, 1]), "the second");
        assert!(!of(&[0x02, 1, 7]), "the first begins with its serial number");
        assert!(!of(&[]) && !is_v3(&[]));
    }

    #[test]
    fn people_are_told_two_weeks_before_it_ends() {
        let validity = Validity { from: 0, until: 100 * DAY };
        assert_eq!(validity.at(-1), Standing::ToCome);
        assert_eq!(validity.trouble(86 * DAY), None);
        assert_eq!(validity.at(87 * DAY), Standing::EndsSoon { days: 13 });
        assert!(validity.trouble(87 * DAY).unwrap().contains("13 days"));
        assert!(validity.trouble(100 * DAY).unwrap().contains("has ended"));
    }
}
