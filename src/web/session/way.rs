//! How a browser came: what tells a page of this gateway from another site's, and what its cookie is called.
//!
//! A browser sends a cookie along whoever asks it to, so that alone changes nothing: a request that does must carry a
//! header that only a page of this gateway can set, and come from this host.

use axum::http::{HeaderMap, header};

use crate::web::listener::Peer;
use crate::web::problem::Problem;

const COOKIE: &str = "gatehouse";
/// A browser takes such a name only over HTTPS, for the whole of this host and no other.
const HOST_ONLY: &str = "__Host-";
/// What the page sends with all that changes something.
const PAGE: (&str, &[u8]) = ("x-gatehouse", b"page");
const SITE: &str = "sec-fetch-site";

#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    pub headers: &'a HeaderMap,
    pub peer: Peer,
    /// Gateways on one host share its cookies.
    pub gateway: &'a str,
}

impl Way<'_> {
    /// What the cookie is called, and what stands behind its value.
    pub fn cookie(&self) -> (String, &'static str) {
        let (first, last) = if self.is_https() { (HOST_ONLY, "; Secure") } else { ("", "") };
        (format!("{first}{COOKIE}-{}", self.gateway), last)
    }

    /// What the cookie holds.
    pub fn key(&self) -> Option<&[u8]> {
        let (name, _) = self.cookie();
        let cookies = self.headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut each = cookies.flat_map(|cookies| cookies.split(';'));
        each.find_map(|cookie| cookie.trim().strip_prefix(&*name)?.strip_prefix('=')).map(str::as_bytes)
    }

    pub fn of_the_page(&self) -> Result<(), Problem> {
        if self.headers.get(PAGE.0).is_none_or(|value| value.as_bytes() != PAGE.1) {
            return Err(Problem::forbidden(
                "a request that changes something with the session's cookie needs the header `X-Gatehouse: page`; \
                 programs send `Authorization: Bearer …` instead",
            ));
        }
        self.of_this_host()
    }

    /// A proxy in front of the gateway says which host it was asked for; no browser lets a page set that header for another
    /// site.
    pub fn of_this_host(&self) -> Result<(), Problem> {
        self.of_no_other_site()?;
        let Some(origin) = self.headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("");
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let asked = [self.headers.get(header::HOST), self.said_by_a_proxy("x-forwarded-host")];
        let own = asked.into_iter().flatten().any(|own| own.to_str().is_ok_and(|own| own == host));
        if own && !host.is_empty() {
            return Ok(());
        }
        Err(Problem::forbidden(
            "a page of another site asks in its visitor's name; use the page of this gateway",
        ))
    }

    /// Browsers say themselves for whom they ask; programs say nothing.
    pub fn of_no_other_site(&self) -> Result<(), Problem> {
        match self.headers.get(SITE).map(axum::http::HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Problem::forbidden(
                "a browser asks this for a page of another site; use the page of this gateway",
            )),
        }
    }

    fn is_https(&self) -> bool {
        self.peer.tls || self.said_by_a_proxy("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
    }

    /// Only one on this machine is believed: anybody can write a header.
    fn said_by_a_proxy(&self, name: &str) -> Option<&axum::http::HeaderValue> {
        self.headers.get(name).filter(|_| self.peer.address.ip().to_canonical().is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const HERE: &str = "127.0.0.1:5000";
    const THERE: &str = "192.0.2.1:5000";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }

    fn way<'a>(headers: &'a HeaderMap, from: &str, tls: bool) -> Way<'a> {
        let peer = Peer { address: from.parse().unwrap(), tls, certified: false };
        Way { headers, peer, gateway: "cp-017" }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_another_gateways_is_not_ours() {
        for (cookies, found) in [
            ("gatehouse-cp-017=abc", Some("abc")),
            ("a=b; gatehouse-cp-017=abc; c=d", Some("abc")),
            ("gatehouse-cp-018=x; gatehouse-cp-017=abc", Some("abc")),
            ("gatehouse-cp-0171=abc", None),
            ("__Host-gatehouse-cp-017=abc", None),
            ("a=gatehouse-cp-017=abc", None),
            ("gatehouse-cp-017", None),
            ("", None),
        ] {
            let headers = headers(&[("cookie", cookies)]);
            assert_eq!(way(&headers, HERE, false).key(), found.map(str::as_bytes), "{cookies}");
        }
    }

    #[test]
    fn over_https_it_is_of_this_host_only_and_a_stranger_cannot_say_that_it_is() {
        let (none, proxied) = (headers(&[]), headers(&[("x-forwarded-proto", "https")]));
        let secure = ("__Host-gatehouse-cp-017".to_owned(), "; Secure");
        assert_eq!(way(&none, THERE, true).cookie(), secure);
        assert_eq!(way(&proxied, HERE, false).cookie(), secure);
        for (headers, from) in [(&none, HERE), (&proxied, THERE)] {
            assert_eq!(way(headers, from, false).cookie(), ("gatehouse-cp-017".to_owned(), ""));
        }
        let planted = headers(&[("cookie", "gatehouse-cp-017=abc")]);
        assert_eq!(way(&planted, THERE, true).key(), None, "one that was set over plain HTTP");
    }

    #[test]
    fn an_origin_if_sent_is_this_host() {
        let told = |from: &str, pairs: &[(&'static str, &str)]| {
            way(&headers(pairs), from, false).of_this_host().is_ok()
        };
        let proxied = [("host", "inner:80"), ("x-forwarded-host", "box"), ("origin", "https://box")];
        assert!(told(THERE, &[("host", "box:8080")]));
        assert!(told(THERE, &[("host", "box:8080"), ("origin", "http://box:8080")]));
        assert!(told(HERE, &proxied) && !told(THERE, &proxied));
        for origin in ["null", "http://box", "http://evil", "http://evil/box:8080", "box:8080", ""] {
            assert!(!told(HERE, &[("host", "box:8080"), ("origin", origin)]), "{origin}");
        }
        for (site, may) in
            [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)]
        {
            assert_eq!(told(HERE, &[("host", "box:8080"), ("sec-fetch-site", site)]), may, "{site}");
        }
    }
}
