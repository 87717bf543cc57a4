//! One request to the centre and its answer, read to its end or as far as one is read.

use std::error::Error as _;
use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Response, Url, redirect};
use zeroize::Zeroizing;

use super::plan::{self, BODY_BYTES_MAX, Outcome};
use super::shown::shown;
use super::{Target, Tls};
use crate::certificate;
use crate::event::Stored;
use crate::time;

/// What the centre answered.
#[derive(Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub body: Vec<u8>,
    /// For people: `401 Unauthorized`.
    pub words: String,
}

/// What is posted.
#[derive(Debug)]
pub struct Parcel {
    pub key: String,
    /// A JSON array.
    pub body: Vec<u8>,
    pub gzip: bool,
    /// `<epoch>.<seq> <hex>` of its last event.
    pub chain: Option<String>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer than events are usually apart while something happens; then the next one finds the connection open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

pub fn client(target: &Target) -> Result<Client, reqwest::Error> {
    // reqwest asks for a provider even where it only ever speaks plain HTTP. A second one is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(target.patience)
        // One a lane.
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("gatehouse/", env!("CARGO_PKG_VERSION")));
    builder = match target.tls.authorities()? {
        Some(only) => builder.tls_certs_only(only),
        // Saves reading the system's certificates, which a machine in a plain network may not even have.
        None if target.url.starts_with("http://") => builder.tls_certs_only([]),
        None => builder,
    };
    if let Some(identity) = target.tls.identity()? {
        builder = builder.identity(identity);
    }
    if is_loopback(&target.url) {
        // A proxy, which `$HTTP_PROXY` may name, would look for this centre on its own machine.
        builder = builder.no_proxy();
    }
    builder.build()
}

impl Tls {
    /// Whether the texts are what they should be, and fit each other.
    ///
    /// # Errors
    /// What is wrong, in a library's words.
    pub fn fits(&self) -> Result<(), String> {
        let trial = || {
            let builder = Client::builder().tls_certs_only(self.authorities()?.unwrap_or_default());
            match self.identity()? {
                Some(identity) => builder.identity(identity).build(),
                None => builder.build(),
            }
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        trial().map(|_| ()).map_err(words)
    }

    fn authorities(&self) -> Result<Option<Vec<Certificate>>, reqwest::Error> {
        self.ca.as_ref().map(|ca| Certificate::from_pem_bundle(ca.as_bytes())).transpose()
    }

    fn identity(&self) -> Result<Option<Identity>, reqwest::Error> {
        let Some((cert, key)) = &self.identity else { return Ok(None) };
        let both = Zeroizing::new([cert.as_bytes(), b"\n", key.reveal().as_bytes()].concat());
        Identity::from_pem(&both).map(Some)
    }
}

/// Posts one batch; whatever happens is an answer.
pub async fn post(client: &Client, target: &Target, parcel: Parcel) -> Answer {
    let mut request = client
        .post(&target.url)
        .header(CONTENT_TYPE, "application/cloudevents-batch+json")
        .header(ACCEPT, "application/json")
        .header("Idempotency-Key", parcel.key);
    if let Some(chain) = parcel.chain {
        request = request.header("Gatehouse-Chain", chain);
    }
    if parcel.gzip {
        request = request.header(CONTENT_ENCODING, "gzip");
    }
    if let Some(token) = &target.token {
        request = request.bearer_auth(token.reveal());
    }
    match request.body(parcel.body).send().await {
        Ok(response) => read(response, target).await,
        Err(error) => broken(error, target),
    }
}

/// What to do where it is for a certificate: the centre's, or ours, of which only its alert says so.
pub fn cure(target: &Target, words: &str) -> Option<&'static str> {
    if words.contains(certificate::OF_A_CA) {
        return Some(certificate::MAKE_OWN);
    }
    let (_, alert) = words.rsplit_once("received fatal alert: ")?;
    let is_of_ours = ["Certificate", "UnknownCA", "AccessDenied"].iter().any(|known| alert.contains(known));
    is_of_ours.then_some(match target.tls.identity {
        None => "the centre wants a certificate: name one that it knows with `cert` and `key` of this [[sync]]",
        Some(_) => "the centre does not take the certificate in `cert` of this [[sync]]: ask its people for another one, with its `key`",
    })
}

/// Whether an address is of this machine.
pub fn is_loopback(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The stored texts, joined to an array.
pub fn joined(batch: &[Stored]) -> Vec<u8> {
    let size = batch.iter().map(|event| event.json.len() + 1).sum::<usize>() + 1;
    let mut body = Vec::with_capacity(size);
    for (n, event) in batch.iter().enumerate() {
        body.push(if n == 0 { b'[' } else { b',' });
        body.extend_from_slice(event.json.as_bytes());
    }
    body.push(b']');
    body
}

/// Reads an answer to its end, or as far as one is read.
pub async fn read(mut response: Response, target: &Target) -> Answer {
    let status = response.status();
    let header = |name| response.headers().get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let content_type = header(CONTENT_TYPE).map(str::to_owned);
    let retry_after = header(RETRY_AFTER).and_then(|text| plan::retry_after(text, time::now()));
    let mut body = Vec::new();
    while body.len() <= BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return broken(error, target),
        }
    }
    Answer {
        outcome: Outcome::Answered {
            status: status.as_u16(),
            body: plan::body_kind(content_type.as_deref(), &body),
            retry_after,
        },
        words: shown(target, status, &body),
        body,
    }
}

fn broken(error: reqwest::Error, target: &Target) -> Answer {
    let late = error.is_timeout() && !error.is_connect();
    let outcome = if late { Outcome::Late } else { Outcome::Broken };
    let mut words = words(error);
    if let Some(cure) = cure(target, &words) {
        words = format!("{words}; {cure}");
    }
    Answer { outcome, body: Vec::new(), words }
}

/// What went wrong, to its root.
pub fn words(error: reqwest::Error) -> String {
    // The URL may hold a secret, and the consumer's name says which one it is.
    let error = error.without_url();
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_on_this_machine_is_told_from_others() {
        for here in ["http://127.0.0.1:8080/events", "https://localhost/", "http://[::1]:9/x"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in
            ["http://192.0.2.1/", "https://crm.example.com/127.0.0.1", "http://localhost.example.com", ""]
        {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
