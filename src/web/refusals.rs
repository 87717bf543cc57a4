//! Handshakes that fail. Of a client whose certificate is refused people hear, since he hears no reason himself: a line a
//! minute at most, whoever knocks how often. What else fails is told to who looks closely.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::certificate::{MAKE_V3, is_too_old};

const SPEAK_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Refusals(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    told: Option<Instant>,
    /// Since then, untold.
    more: u64,
}

impl Refusals {
    pub fn tell(&self, from: IpAddr, error: &io::Error) {
        let why = reason(error);
        let due = why.is_some().then(|| self.due(Instant::now())).flatten();
        match (why, due) {
            (Some(why), Some(untold)) => {
                tracing::warn!(%from, why, untold, "a client's certificate was refused");
            }
            _ => tracing::debug!(%from, %error, "a TLS handshake failed"),
        }
    }

    /// Whether to speak now, and of how many nothing was said.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.told.is_some_and(|told| now.saturating_duration_since(told) < SPEAK_AGAIN) {
            last.more = last.more.saturating_add(1);
            return None;
        }
        last.told = Some(now);
        Some(std::mem::take(&mut last.more))
    }
}

/// Why a client's certificate was refused; `None`: it was something else.
fn reason(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::NoCertificatesPresented => {
            Some("none was shown, and [api] tls.client_ca asks for one".into())
        }
        rustls::Error::InvalidCertificate(why) => {
            Some(if is_too_old(why) { format!("it is X.509 v1; {MAKE_V3}") } else { format!("{why:?}") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn who_knocks_often_is_heard_once_a_minute() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due(start), Some(0));
        assert_eq!((refusals.due(start), refusals.due(start + SPEAK_AGAIN / 2)), (None, None));
        assert_eq!(refusals.due(start + SPEAK_AGAIN), Some(2));
        assert_eq!(refusals.due(start + SPEAK_AGAIN * 2), Some(0));
    }

    #[test]
    fn only_what_is_of_a_clients_certificate_is_heard() {
        let of = |error| reason(&io::Error::new(io::ErrorKind::InvalidData, error));
        assert!(of(rustls::Error::NoCertificatesPresented).unwrap().contains("client_ca"));
        assert!(of(rustls::Error::InvalidCertificate(CertificateError::Expired)).is_some());
        assert_eq!(of(rustls::Error::HandshakeNotComplete), None);
        assert_eq!(reason(&io::ErrorKind::UnexpectedEof.into()), None);
    }
}
