//! Certificates of our own: until when they count.

use super::Finding;
use crate::certificate::{Standing, Validity};
use crate::config::Gateway;
use crate::reading::Millis;
use crate::time;

const RENEW: &str = "renew it, lay it where the configuration says, then: systemctl reload gatehouse";

pub fn look(gateway: &Gateway) -> Vec<Finding> {
    let api =
        gateway.web.tls.as_ref().and_then(|tls| finding("certificate of the API", &tls.cert, time::now()));
    api.into_iter().collect()
}

/// `None`: there is none that can be read, which others have said.
fn finding(what: &str, pem: &str, now: Millis) -> Option<Finding> {
    let validity = Validity::of(pem)?;
    let trouble = validity.trouble(now).unwrap_or_default();
    Some(match validity.at(now) {
        Standing::Good { days } => {
            Finding::ok(what, format!("ends in {days} days, at {}", time::format(validity.until)))
        }
        Standing::EndsSoon { .. } => Finding::warn(what, trouble, RENEW),
        Standing::Ended => Finding::bad(what, trouble, format!("{RENEW}; or is the clock wrong?")),
        Standing::ToCome => {
            Finding::bad(what, trouble, "is the clock right? see `clock`; else it was made with a wrong one")
        }
    })
}
