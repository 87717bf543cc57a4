//! HTTPS: what a port shows of itself, and whom it lets in.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};

use crate::certificate::{self, Validity};
use crate::clock::WRITTEN;
use crate::reading::Millis;
use crate::secret::Secret;
use crate::time;

/// As configured; it is compared by what the files hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// PEM, our own certificate first.
    pub cert: Arc<str>,
    pub key: Secret,
    /// PEM of those who sign certificates of clients; `None`: clients show none.
    pub client_ca: Option<Arc<str>>,
    pub client: Demand,
}

/// Who has to show a certificate, where there is a `client_ca`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// Whoever connects.
    #[default]
    All,
    /// Who shows a token of role central; a technician's browser comes without.
    Central,
}

impl Demand {
    pub fn word(self) -> &'static str {
        match self {
            Demand::All => "all",
            Demand::Central => "central",
        }
    }
}

/// What cannot be spoken with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("`cert` holds no certificate that can be used: {0}")]
    Certificate(String),
    #[error("the certificate in `cert` is X.509 v1, which TLS does not take")]
    TooOld,
    #[error("`key` holds no private key that can be used: {0}")]
    Key(String),
    #[error("`key` is not the key of the certificate in `cert`")]
    KeyOfAnother,
    #[error("`client_ca` holds no certificate that can sign others: {0}")]
    ClientCa(String),
}

impl Tls {
    /// Whether a client with this role has to have shown a certificate in the handshake or is turned away later.
    pub fn asks_central(&self) -> bool {
        self.client_ca.is_some() && self.client == Demand::Central
    }

    /// Whether clients are let in on the same terms: who came on others is asked to come again.
    pub fn is_as_strict_as(&self, other: &Self) -> bool {
        self.client_ca == other.client_ca && self.client == other.client
    }

    /// What is known to be past: when our own certificate and those of the CA were signed.
    fn past(&self) -> Millis {
        let ours = [Some(&self.cert), self.client_ca.as_ref()].into_iter().flatten();
        let chains = ours.filter_map(|pem| certificate::chain(pem)).flatten();
        let signed = chains.filter_map(|der| Some(Validity::of_der(&der)?.from));
        signed.fold(WRITTEN, Millis::max)
    }

    /// TLS 1.2 and 1.3, for HTTP/1.1.
    pub fn server(&self) -> Result<Arc<ServerConfig>, Unusable> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain =
            certificate::chain(&self.cert).ok_or_else(|| Unusable::Certificate("it is no PEM".into()))?;
        let key = certificate::key(self.key.reveal())
            .ok_or_else(|| Unusable::Key("it has to be PEM, without a password".into()))?;
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => Unusable::KeyOfAnother,
            rustls::Error::InvalidCertificate(why) if certificate::is_too_old(&why) => Unusable::TooOld,
            rustls::Error::InvalidCertificate(why) => Unusable::Certificate(why.to_string()),
            other => Unusable::Key(other.to_string()),
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let roots = Arc::new(roots(ca).map_err(Unusable::ClientCa)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match self.client {
                    Demand::All => verifier,
                    Demand::Central => verifier.allow_unauthenticated(),
                };
                let by = verifier.build().map_err(|error| Unusable::ClientCa(error.to_string()))?;
                builder.with_client_cert_verifier(Arc::new(InTime { by, past: self.past() }))
            }
        };
        let mut server = builder.with_single_cert(chain, key).map_err(unusable)?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // What was resumed would not be looked at again: a client's certificate may have ended meanwhile.
            server.session_storage = Arc::new(NoServerSessionStorage {});
            server.send_tls13_tickets = 0;
        }
        Ok(Arc::new(server))
    }
}

/// Judges clients' certificates by a time that can be: while the clock is not synchronised, by none before all of them were
/// signed, and ours. A box that wakes up in 1970 would keep its centre out as not valid yet.
#[derive(Debug)]
struct InTime {
    by: Arc<dyn ClientCertVerifier>,
    /// When ours were signed.
    past: Millis,
}

impl InTime {
    fn at(&self, now: Millis, shown: &[&CertificateDer<'_>]) -> UnixTime {
        let signed = shown.iter().filter_map(|der| Some(Validity::of_der(der)?.from));
        let known = signed.fold(now.max(self.past), Millis::max);
        UnixTime::since_unix_epoch(Duration::from_millis(known.max(0).cast_unsigned()))
    }
}

impl ClientCertVerifier for InTime {
    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let shown: Vec<_> = iter::once(own).chain(between).collect();
        let now = if time::clock_is_synced() { now } else { self.at(time::now(), &shown) };
        self.by.verify_client_cert(own, between, now)
    }

    fn offer_client_auth(&self) -> bool {
        self.by.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.by.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by.supported_verify_schemes()
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for ca in certificate::chain(pem).ok_or("it is no PEM")? {
        roots.add(ca).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_is_not_what_certificates_are_judged_by() {
        let tls = Tls { cert: "".into(), key: Secret::new(""), client_ca: None, client: Demand::All };
        assert_eq!(tls.past(), WRITTEN, "nothing else is known");
        let judge = InTime { by: WebPkiClientVerifier::no_client_auth(), past: WRITTEN };
        let shown = |now| judge.at(now, &[]).as_secs() as Millis * 1000;
        assert_eq!((shown(0), shown(-5), shown(WRITTEN - 1)), (WRITTEN, WRITTEN, WRITTEN));
        assert_eq!(shown(WRITTEN + 5_000), WRITTEN + 5_000, "a later one is believed");
    }
}
