//! `[api] tls`: the certificate that the API shows, and who has to show one to it.

use serde_json::json;

use super::codes::Code;
use super::mistakes::{Report, Spot};
use super::secrets;
use super::section::{Read, Section};
use super::tree::{Node, Table};
use crate::certificate::Validity;
use crate::secret::Secret;
use crate::time;
use crate::web::{Demand, Tls, Unusable};

pub(super) const HOW: &str = "`tls = { cert = \"tls/cert.pem\", key = \"tls/key.pem\" }`";
const DEMANDS: [(&str, Demand); 2] = [("all", Demand::All), ("central", Demand::Central)];

/// What cannot be read stands there empty: the port speaks TLS all the same, and nobody runs with it.
pub(super) fn tls(api: &mut Section<'_>) -> Option<Tls> {
    let table = api.table_like("tls", || format!("write {HOW}"))?;
    let (tls, wrong) = api.spared(|api| read(table, api.report));
    // By one that is empty nothing can be spoken.
    Some(if wrong.is_none() { tls } else { Tls { cert: "".into(), ..tls } })
}

fn read(table: &Table, report: &Report<'_>) -> Tls {
    let mut section = Section::new(table, "`[api] tls`", report);
    let cert = secrets::pem_file(&mut section, "cert", "CERTIFICATE");
    require(&section, "cert", "write `cert = \"tls/cert.pem\"`, the file of the certificate");
    let key = key(&mut section);
    require(&section, "key", "write `key = \"tls/key.pem\"`, or `key = { credential = \"api-key\" }`");
    let client_ca = secrets::pem_file(&mut section, "client_ca", "CERTIFICATE");
    let client = section.word("client", &DEMANDS);
    section.narrow("client", || json!({ "default": "all" }));
    if let (Some(told), None) = (&client, section.peek("client_ca")) {
        let cure = "add `client_ca = \"tls/clients.pem\"`, who signs the certificates of clients";
        report.mistake(Code::NeedsAnother, told.spot, "`client` without `client_ca`", cure);
    }
    let whole = cert.is_some() && key.is_some();
    let key = key.filter(|_| !report.blind);
    // Also where it is not read: that there is one is a term by itself.
    let client_ca = client_ca.or_else(|| section.peek("client_ca").map(|_| "".into()));
    section.finish();
    let tls = Tls {
        cert: cert.unwrap_or_default(),
        key: key.unwrap_or_else(|| Secret::new("")),
        client_ca,
        client: client.map(|told| told.value).unwrap_or_default(),
    };
    if whole && !report.blind && tls.client_ca.as_deref() != Some("") {
        judge(&tls, table, report);
    }
    tls
}

fn require(section: &Section<'_>, key: &'static str, cure: &str) {
    section.hear_required(key);
    if section.peek(key).is_none() {
        section.missing(key, cure);
    }
}

/// The path of a file, or named like any secret.
fn key(section: &mut Section<'_>) -> Option<Secret> {
    const HOLDS: &str = "PRIVATE KEY";
    section.hear("key", String::grammar);
    section.hear("key", secrets::grammar);
    match section.entry("key").map(|entry| &entry.value.node) {
        // As it would stand there were it no path.
        Some(Node::Text(text)) if !text.contains("-----BEGIN") => {
            secrets::pem_file(section, "key", HOLDS).map(|key| Secret::new(&key))
        }
        _ => secrets::pem(section, "key", HOLDS),
    }
}

/// Whether the files go together; a certificate that is out of date is said and used, since the clock may be wrong.
fn judge(tls: &Tls, table: &Table, report: &Report<'_>) {
    let spot = |key: &str| table.get(key).map_or(Spot::default(), |entry| entry.value.spot);
    if let Err(error) = tls.server() {
        let (code, key, cure) = match &error {
            Unusable::Certificate(_) => (
                Code::CertificateUnusable,
                "cert",
                "name a PEM file: the server's certificate first, then those between it and its CA",
            ),
            Unusable::TooOld => (
                Code::CertificateUnusable,
                "cert",
                "have a v3 one made: `openssl x509 -req … -extfile box.ext`, with the line `subjectAltName=DNS:…` in that file, its own name",
            ),
            Unusable::Key(_) => (
                Code::CertificateUnusable,
                "key",
                "name a PEM file with a private key (RSA, ECDSA, Ed25519) without a password",
            ),
            Unusable::KeyOfAnother => (
                Code::KeyOfAnother,
                "key",
                "name the key with which this certificate was asked for; they are renewed together",
            ),
            Unusable::ClientCa(_) => (
                Code::CertificateUnusable,
                "client_ca",
                "name a PEM file with the certificate of who signs those of clients",
            ),
        };
        report.mistake(code, spot(key), error.to_string(), cure);
    }
    let now = time::now();
    if let Some(trouble) = Validity::of(&tls.cert).and_then(|validity| validity.trouble(now)) {
        let cure = format!("renew it, then `gatehouse reload`; the clock here says {}", time::format(now));
        report.warning(
            Code::CertificateOver,
            spot("cert"),
            format!("the certificate in `cert` {trouble}"),
            cure,
        );
    }
}
