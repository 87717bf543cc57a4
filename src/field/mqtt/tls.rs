//! TLS to a broker: whom we trust, who we are, and what its errors mean to people.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use super::Tls;

/// An error says what is wrong with the certificates that are configured.
pub fn client(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let trusting = versions.map_err(|error| error.to_string())?.with_root_certificates(roots(tls)?);
    match &tls.identity {
        None => Ok(trusting.with_no_client_auth()),
        Some((cert, key)) => {
            let chain = certificates(cert, "cert")?;
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                .map_err(|_| "there is no private key in `key`; it has to be PEM, without a password")?;
            let client = trusting.with_client_auth_cert(chain, key);
            client.map_err(|error| format!("`cert` and `key` do not go together: {error}"))
        }
    }
}

/// Those who may sign the broker's certificate.
fn roots(tls: &Tls) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (trusted, of) = match &tls.ca {
        Some(ca) => (certificates(ca, "ca")?, "`ca`"),
        None => {
            (rustls_native_certs::load_native_certs().certs, "this system's list of certificate authorities")
        }
    };
    roots.add_parsable_certificates(trusted);
    match roots.is_empty() {
        true => Err(format!("there is no usable certificate in {of}")),
        false => Ok(roots),
    }
}

fn certificates(pem: &str, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| format!("there is no certificate in `{key}`; it has to be PEM"))
}

/// Cause and cure.
pub fn words(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => {
                "nobody whom we trust has signed its certificate; name the CA that has with `ca`".into()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "its certificate has expired; renew it there, or set this machine's clock".into()
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set this machine's clock".into()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name; write the name that is in it into `url`".into()
            }
            other => format!("its certificate cannot be believed: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                "it asks for a certificate of ours; name one with `cert` and `key`".into()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                "it does not accept our certificate; look at `cert`, and at the CA that the broker trusts"
                    .into()
            }
            AlertDescription::CertificateExpired => {
                "it says that our certificate has expired; renew what `cert` names".into()
            }
            other => format!("it refuses TLS ({other:?})"),
        },
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there; write `mqtt://`, or the port of its TLS listener".into()
        }
        other => format!("TLS: {other}"),
    }
}
