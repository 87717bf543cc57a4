//! The page logs in with a token once and keeps a cookie: `book` (who has), `pauses` (after wrong tokens).
//!
//! A browser sends a cookie along whoever asks it to, so that alone changes nothing: a request that does must carry a
//! header that only a page of this gateway can set, and come from this host.

mod book;
mod pauses;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;

use super::gate::{Caller, named};
use super::listener::Peer;
use super::problem::Problem;
use super::{Desk, Token};
use book::{Book, LASTS};
use pauses::Pauses;

const COOKIE: &str = "gatehouse";
/// What the page sends with all that changes something.
const PAGE: (&str, &[u8]) = ("x-gatehouse", b"page");
const KEY_BYTES: usize = 32;

/// Kept while rooms are built anew. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    book: Arc<Mutex<Book>>,
    pauses: Arc<Mutex<Pauses>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    token: String,
}

/// `POST /api/v1/session`
pub async fn open(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    of_this_host(&headers)?;
    let said: Said = serde_json::from_slice(&body)
        // What was sent instead may be a secret: it is not repeated.
        .map_err(|_| Problem::bad_request("the body does not read as {\"token\": \"…\"}"))?;
    let tokens = &desk.settings.tokens;
    if tokens.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let key = desk.rooms.sessions.open(tokens, said.token.as_bytes(), peer.address)?;
    let secure = if over_https(&headers) { "; Secure" } else { "" };
    let lasts = LASTS.as_secs();
    Ok(with_cookie(&format!("{COOKIE}={key}; HttpOnly; SameSite=Strict; Path=/; Max-Age={lasts}{secure}")))
}

/// `DELETE /api/v1/session`
pub async fn end(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(key) = key(&headers) {
        of_the_page(&headers)?;
        desk.rooms.sessions.book().end(key);
    }
    Ok(with_cookie(&format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")))
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

impl Sessions {
    fn open(&self, tokens: &[Token], shown: &[u8], peer: SocketAddr) -> Result<String, Problem> {
        let (from, now) = (peer.ip(), Instant::now());
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        // The right token is turned away as well, else the pause would tell it from a wrong one.
        if let Some(left) = pauses.left(from, now) {
            let seconds = left.as_secs() + 1;
            let detail = format!("a wrong token was shown from here; try again in {seconds} s");
            return Err(Problem::too_soon(detail, seconds as u16));
        }
        let Some(token) = named(tokens, shown) else {
            pauses.wrong(from, now);
            let detail = "the token is none of this gateway's; compare it with its [[api.token]]";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        };
        pauses.right(from);
        let key = random_key().ok_or_else(|| {
            Problem::internal("the system gives no random numbers; send the token with each request")
        })?;
        self.book().open(key.clone(), token.clone(), now);
        Ok(key)
    }

    /// Whose cookie a request carries; `None`: it has none.
    pub(super) fn caller(
        &self,
        tokens: &[Token],
        headers: &HeaderMap,
        is_safe: bool,
    ) -> Result<Option<Caller>, Problem> {
        let Some(key) = key(headers) else { return Ok(None) };
        let Some(token) = self.book().token(key, tokens, Instant::now()) else {
            let detail = "the session has ended; log in again with a token";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
        };
        if !is_safe {
            of_the_page(headers)?;
        }
        Ok(Some(Caller { name: Some(token.name), role: token.role }))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_key() -> Option<String> {
    let mut bytes = [0; KEY_BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn key(headers: &HeaderMap) -> Option<&[u8]> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut each = cookies.flat_map(|cookies| cookies.split(';'));
    each.find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('=')).map(str::as_bytes)
}

fn of_the_page(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(PAGE.0).is_none_or(|value| value.as_bytes() != PAGE.1) {
        return Err(Problem::forbidden(
            "a request that changes something with the session's cookie needs the header `X-Gatehouse: page`; \
             programs send `Authorization: Bearer …` instead",
        ));
    }
    of_this_host(headers)
}

/// A proxy in front of the gateway says which host it was asked for; no browser lets a page set that header for another
/// site.
fn of_this_host(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let asked = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let hosts = [headers.get("x-forwarded-host"), headers.get(header::HOST)];
    let mut hosts = hosts.into_iter().flatten().filter_map(|host| host.to_str().ok());
    if asked.is_some_and(|asked| hosts.any(|host| host.eq_ignore_ascii_case(asked))) {
        return Ok(());
    }
    Err(Problem::forbidden(
        "the request comes from another site's page (Origin); use the gateway's own page, or have the proxy \
         before it pass on Host",
    ))
}

fn over_https(headers: &HeaderMap) -> bool {
    let says = |name: &str, how: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().starts_with(how.as_bytes()))
    };
    says("x-forwarded-proto", "https") || says("origin", "https://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        for (cookies, found) in [
            ("gatehouse=abc", Some("abc")),
            ("a=b; gatehouse=abc; c=d", Some("abc")),
            ("gatehouse2=abc", None),
            ("a=gatehouse=abc", None),
            ("gatehouse", None),
            ("", None),
        ] {
            let headers = headers(&[("cookie", cookies)]);
            assert_eq!(key(&headers), found.map(str::as_bytes), "{cookies}");
        }
    }

    #[test]
    fn an_origin_if_sent_is_this_host() {
        let told = |pairs: &[(&'static str, &'static str)]| of_this_host(&headers(pairs)).is_ok();
        assert!(told(&[("host", "box:8080")]));
        assert!(told(&[("host", "box:8080"), ("origin", "http://box:8080")]));
        assert!(told(&[("host", "inner:80"), ("x-forwarded-host", "box"), ("origin", "https://box")]));
        for origin in ["null", "http://box", "http://evil", "http://evil/box:8080", "box:8080", ""] {
            assert!(!told(&[("host", "box:8080"), ("origin", origin)]), "{origin}");
        }
    }
}
