//! Whom we trust, and who we are, where TLS is spoken to somebody: `ca`, `cert` and `key` of a broker or a centre.

use std::sync::Arc;

use super::codes::Code;
use super::ear::Tie;
use super::mistakes::Spot;
use super::secrets;
use super::section::Section;
use crate::secret::Secret;

#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// None: the system's list is trusted.
    pub ca: Option<Arc<str>>,
    /// Certificate and its key.
    pub identity: Option<(Arc<str>, Secret)>,
    /// Where any of it stands.
    pub spot: Option<Spot>,
}

/// `address`: where it stands, and whether it is one over TLS; `schemes`: how one without begins, and one with.
/// `None`: there is no TLS.
pub(super) fn take(
    section: &mut Section<'_>,
    address: Option<(Spot, bool)>,
    schemes: [&str; 2],
) -> Option<Certificates> {
    section.tie(|| Tie::Both("cert", "key"));
    let pem = |section: &mut Section<'_>, key| secrets::pem_file(section, key, "CERTIFICATE");
    let ca = pem(section, "ca");
    let cert = pem(section, "cert");
    let key = secrets::pem(section, "key", "PRIVATE KEY");
    let told = |key| section.peek(key).map(|entry| entry.key_spot);
    let (report, keys) = (section.report, [told("ca"), told("cert"), told("key")]);
    match keys {
        [_, Some(spot), None] => {
            report.mistake(
                Code::NeedsAnother,
                spot,
                "`cert` without `key`",
                "add `key = { credential = \"…\" }`",
            );
        }
        [_, None, Some(spot)] => {
            report.mistake(
                Code::NeedsAnother,
                spot,
                "`key` without `cert`",
                "add `cert = \"…\"`, the file of its certificate",
            );
        }
        _ => {}
    }
    let (at, is_tls) = address?;
    if is_tls {
        let spot = keys.into_iter().flatten().next();
        return Some(Certificates { ca, identity: cert.zip(key), spot });
    }
    let [plain, tls] = schemes;
    for spot in keys.into_iter().flatten() {
        let cure = format!("write `{tls}`; the address is at {}", report.at(at));
        report.mistake(Code::OfNoUse, spot, format!("certificates are of no use over `{plain}`"), cure);
    }
    None
}
