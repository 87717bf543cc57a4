//! Who may do what: tokens with roles, in the request or by a session; or, without tokens, this machine only. And how often.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::{FromRef, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::listener::Peer;
use super::pass::{self, Pass};
use super::problem::Problem;
use super::session::way::Way;
use super::{Desk, Present, Role, Tls, Token, lockout, rate};
use crate::fingerprint::Fingerprint;

/// Where a token is exchanged for a cookie.
pub const SESSION: &str = "/api/v1/session";
/// Whoever watches whether the daemon lives is answered whatever else is asked.
const HEALTH: &str = "/healthz";
/// What somebody hears whose pass ended while he waited.
pub const GONE: &str =
    "the token or the session no longer holds; log in again, or use the token that took its place";

/// Of every answer, where it does not say otherwise: no browser makes more of it than what it is.
const PROTECTION: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Who asks; every handler can have it as an extension.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `None` where the API is open.
    pub name: Option<Arc<str>>,
    pub role: Role,
}

/// Lets a request pass, with its [`Caller`], or turns it away.
pub(super) async fn gate(
    State(present): State<Present>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let desk = Arc::<Desk>::from_ref(&present);
    let (caller, pass) = admitted(&desk, &request).inspect_err(|problem| desk.refused(problem))?;
    // As long as its head says; one in chunks ends where it has grown too long.
    if request.body().size_hint().lower() > super::BODY_MAX as u64 {
        return Err(Problem::too_large());
    }
    request.extensions_mut().insert(caller);
    let Some(pass) = pass else { return Ok(next.run(request).await) };
    let method = request.method().clone();
    let gone = pass::gone(pass, &present, &desk.rooms.sessions);
    pass::while_it_holds(gone, &method, next.run(request)).await
}

/// Of all that leaves, refusals too.
pub fn protect(headers: &mut HeaderMap) {
    for (name, value) in PROTECTION {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Who it is, and by what he was let in, where that is asked at all.
fn admitted(desk: &Desk, request: &Request) -> Result<(Caller, Option<Pass>), Problem> {
    let peer = *request.extensions().get::<Peer>().ok_or_else(|| {
        Problem::internal("a request came from nowhere; this is a mistake of gatehouse, please report it")
    })?;
    let path = request.uri().path();
    if path != HEALTH {
        in_time(desk, peer)?;
    }
    if desk.settings.tokens.is_empty() {
        of_this_machine(request)?;
        let way = way(desk, request, peer);
        if !request.method().is_safe() {
            way.of_no_other_site()?;
        }
        return Ok((Caller { name: None, role: Role::Technician }, Some(Pass::Open)));
    }
    if !is_guarded(path) {
        return Ok((Caller { name: None, role: Role::Viewer }, None));
    }
    let (token, pass) = known(desk, request, peer)?;
    let caller = Caller { name: Some(token.name), role: token.role };
    certified(desk, &caller, peer)?;
    may(&caller, request.method())?;
    Ok((caller, Some(pass)))
}

fn in_time(desk: &Desk, peer: Peer) -> Result<(), Problem> {
    let from = peer.address.ip();
    let rate = rate::rate(desk.settings.rate, from);
    let mut buckets = desk.bounds.buckets.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.take(rate, from, Instant::now()).map_err(|wait| {
        let detail = format!("more than {rate} requests a second come from this address; ask less often, or set `rate` in [api]");
        Problem::too_many(detail, wait)
    })
}

fn way<'a>(desk: &'a Desk, request: &'a Request, peer: Peer) -> Way<'a> {
    Way { headers: request.headers(), peer, gateway: &desk.rooms.site.gateway }
}

/// The page itself says nothing, health is for machines that have no token, and a session is for who shows one.
fn is_guarded(path: &str) -> bool {
    (path.starts_with("/api/") && path != SESSION) || path == "/metrics"
}

/// A page of the web must not reach an open API through a browser on this machine: neither under a name of its own
/// that it lets point here (Host), nor across origins (Origin).
fn of_this_machine(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = match headers.get(header::HOST) {
        Some(host) => host.to_str().ok(),
        None => request.uri().authority().map(axum::http::uri::Authority::as_str),
    };
    if !host.is_some_and(is_local) {
        return Err(Problem::forbidden(format!(
            "without [[api.token]] the API answers to localhost, 127.0.0.1 and [::1] only, not to the host `{}`; \
             ask one of these, or configure tokens",
            host.unwrap_or("")
        )));
    }
    let foreign = headers.get(header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or("");
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !host.is_some_and(is_local)
    });
    if foreign {
        return Err(Problem::forbidden(
            "without [[api.token]] the API does not answer to other sites' pages; use its own page, or configure tokens",
        ));
    }
    Ok(())
}

/// `localhost`, `127.0.0.1:8080`, `[::1]:8080`
fn is_local(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

fn known(desk: &Desk, request: &Request, peer: Peer) -> Result<(Token, Pass), Problem> {
    let (tokens, sessions) = (&desk.settings.tokens, &desk.rooms.sessions);
    if let Some(shown) = request.headers().get(header::AUTHORIZATION).and_then(bearer) {
        let token = sessions.shown(lockout::Way::Call, peer, tokens, shown)?.clone();
        return Ok((token.clone(), Pass::Token(token)));
    }
    let way = way(desk, request, peer);
    let key = way.key().map(Fingerprint::of).ok_or_else(|| {
        Problem::unauthorized(
            "this call needs a token: send `Authorization: Bearer …`, or log in on the page",
        )
    })?;
    let (token, _) = sessions
        .of(key, tokens)
        .ok_or_else(|| Problem::unauthorized("the session has ended; log in again with a token"))?;
    if !request.method().is_safe() {
        way.of_the_page()?;
    }
    Ok((token, Pass::Session(key)))
}

/// All are compared, so that the time says nothing of which it is.
pub fn named<'a>(tokens: &'a [Token], shown: &[u8]) -> Option<&'a Token> {
    let shown = Fingerprint::of(shown);
    let mut found = None;
    for token in tokens {
        if token.token == shown {
            found = Some(token);
        }
    }
    found
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
}

/// Where `client = "central"`, a token alone is not enough for a central server.
fn certified(desk: &Desk, caller: &Caller, peer: Peer) -> Result<(), Problem> {
    let asked = desk.settings.tls.as_ref().is_some_and(Tls::asks_central) && caller.role == Role::Central;
    if asked && !peer.certified {
        let detail = "a token of role central counts only together with a client certificate that [api] tls.client_ca has \
                      signed; connect with one";
        return Err(Problem::new(StatusCode::FORBIDDEN, "certificate-required", detail));
    }
    Ok(())
}

fn may(caller: &Caller, method: &Method) -> Result<(), Problem> {
    if caller.role == Role::Viewer && !method.is_safe() {
        return Err(Problem::forbidden(format!(
            "the token `{}` is a viewer's and may only read; use one of role technician, or central for tickets and cursors",
            caller.name.as_deref().unwrap_or("")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_hosts_are_told_from_names_that_look_like_them() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "[::1]:80"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.nip.io:80", "::1", "127.0.0.1:x"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
