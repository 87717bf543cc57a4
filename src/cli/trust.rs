//! Over HTTPS: whom a command believes to be the daemon, and what it shows of itself.
//!
//! On the gateway's own machine that is whoever has the key of the certificate that the configuration names, or of the one
//! with which the daemon runs: no name has to be in it, and one that has ended still lets people look. Elsewhere it is
//! who is vouched for, as in a browser. There is no way to believe anybody.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError as Bad, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::certificate::{self, Standing, Validity};
use crate::config::last_good;
use crate::{time, web};

/// What HTTPS needs.
#[derive(Debug, Clone, Default, Args)]
pub struct Papers {
    /// Who else may have signed the certificate of an https:// API, beside this machine's list: a PEM file
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CA")]
    pub ca: Option<PathBuf>,
    /// A certificate to show to an API that asks for one (`client_ca`): a PEM file
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CERT", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_KEY", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Who is believed to be the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Whom this machine's list, or `--ca`, vouches for.
    #[default]
    Vouched,
    /// Who has the key of one of these.
    Known(Vec<CertificateDer<'static>>),
}

impl Trust {
    /// As configured, or as it runs with what lies in its data directory.
    pub fn of(settings: &web::Settings, data: &Path) -> Self {
        let Some(tls) = &settings.tls else { return Trust::Vouched };
        let runs = last_good::certificate(data).unwrap_or_default();
        let first = |pem: &str| certificate::chain(pem)?.into_iter().next();
        Trust::Known([&*tls.cert, &*runs].into_iter().filter_map(first).collect())
    }

    /// Says so where the daemon's certificate does not count at this time.
    pub fn say_what_is_over(&self) -> io::Result<()> {
        let Trust::Known(known) = self else { return Ok(()) };
        let now = time::now();
        let validity = known.first().and_then(|first| Validity::of_der(first));
        match validity.filter(|validity| matches!(validity.at(now), Standing::Ended | Standing::ToCome)) {
            Some(validity) => {
                let trouble = validity.trouble(now).unwrap_or_default();
                writeln!(
                    io::stderr(),
                    "the certificate of the API {trouble}; others will not connect: renew it"
                )
            }
            None => Ok(()),
        }
    }
}

impl Papers {
    pub fn client(&self, trust: &Trust) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match trust {
            Trust::Known(known) => {
                let known = Known { known: known.clone(), provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(known))
            }
            Trust::Vouched => builder.with_root_certificates(self.roots()?),
        };
        match self.identity()? {
            Some((chain, key)) => {
                if !chain.first().is_some_and(|own| certificate::is_v3(own)) {
                    bail!(
                        "the certificate in --cert is X.509 v1, which TLS does not take; {}",
                        certificate::MAKE_V3
                    );
                }
                builder.with_client_auth_cert(chain, key).context("--cert and --key do not go together")
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &self.ca {
            for ca in chain(file)? {
                roots
                    .add(ca)
                    .with_context(|| format!("{} holds a certificate that cannot be used", file.display()))?;
            }
        }
        Ok(roots)
    }

    fn identity(&self) -> anyhow::Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
        let (Some(cert), Some(file)) = (&self.cert, &self.key) else { return Ok(None) };
        let Some(key) = certificate::key(&read(file)?) else {
            bail!("{} holds no private key: it has to be PEM, without a password", file.display());
        };
        Ok(Some((chain(cert)?, key)))
    }
}

fn chain(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    certificate::chain(&read(file)?)
        .with_context(|| format!("{} holds no certificate: it has to be PEM", file.display()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Believes the holders of certain keys; names and times do not matter.
#[derive(Debug)]
struct Known {
    known: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.known.iter().any(|known| known == shown) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Bad::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Where it was for TLS that there is no answer: what is wrong, and what to do.
pub fn why(error: &(dyn Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(of_tls) = error.downcast_ref() {
            return Some(words(of_tls));
        }
        // An I/O error says what it holds only here; its source is already that one's.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = held.map_or_else(|| error.source(), |held| Some(held));
    }
    None
}

fn words(error: &rustls::Error) -> String {
    use rustls::Error as E;
    let words = match error {
        E::InvalidCertificate(Bad::ApplicationVerificationFailure) => {
            "it shows another certificate than the one that [api] tls names and than the one it was started with; where it \
             was renewed: systemctl reload gatehouse; where those cannot be read here: ask as root; else somebody else \
             answers there"
        }
        E::InvalidCertificate(Bad::UnknownIssuer) => {
            "nobody on this machine's list has signed its certificate; name its CA with --ca FILE or $GATEHOUSE_CA"
        }
        E::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "its certificate has ended; renew it there, or set this machine's clock"
        }
        E::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate does not count yet; set this machine's clock"
        }
        E::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name; say --url with that name"
        }
        E::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure) => {
            "it asks for a certificate of yours: say --cert FILE --key FILE, or set $GATEHOUSE_CERT and $GATEHOUSE_KEY"
        }
        E::AlertReceived(AlertDescription::CertificateExpired) => {
            "it says that the certificate of --cert has ended"
        }
        E::AlertReceived(_) => {
            "it does not take the certificate of --cert; its client_ca has to have signed it"
        }
        E::InvalidMessage(_) => "it does not speak HTTPS there; say http:// in --url",
        other if other.to_string().contains(certificate::OF_A_CA) => certificate::MAKE_OWN,
        other => return format!("TLS: {other}"),
    };
    words.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_tls_is_found_below_what_others_put_around_it() {
        let of_tls = rustls::Error::InvalidCertificate(Bad::UnknownIssuer);
        let around = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, of_tls));
        assert_eq!(why(&io::Error::other("refused")), None);
        let told = why(&around);
        assert!(told.as_ref().is_some_and(|told| told.contains("--ca")), "{told:?}");
    }
}
