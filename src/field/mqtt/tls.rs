//! TLS to a broker: whom we trust, and who we are.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

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
