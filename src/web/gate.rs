//! Who may do what: tokens with roles, in the request or by a session; or, without tokens, this machine only.

use std::hint::black_box;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::listener::Peer;
use super::problem::Problem;
use super::{Desk, Role, Tls, Token};

/// Where a token is exchanged for a cookie.
pub const SESSION: &str = "/api/v1/session";

/// Who asks; every handler can have it as an extension.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `None` where the API is open.
    pub name: Option<Arc<str>>,
    pub role: Role,
}

/// Lets a request pass, with its [`Caller`], or turns it away.
pub async fn gate(
    State(desk): State<Arc<Desk>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let tokens = &desk.settings.tokens;
    let caller = if tokens.is_empty() {
        of_this_machine(&request)?;
        Caller { name: None, role: Role::Technician }
    } else if is_guarded(request.uri().path()) {
        let caller = known(&desk, &request)?;
        certified(&desk, &caller, &request)?;
        may(&caller, request.method())?;
        caller
    } else {
        Caller { name: None, role: Role::Viewer }
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // The files of the page say otherwise.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
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

fn known(desk: &Desk, request: &Request) -> Result<Caller, Problem> {
    let (tokens, headers) = (&desk.settings.tokens, request.headers());
    let unauthorized = |detail| Err(Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail));
    let Some(shown) = headers.get(header::AUTHORIZATION).and_then(bearer) else {
        let caller = desk.rooms.sessions.caller(tokens, headers, request.method().is_safe())?;
        return caller.map_or_else(
            || unauthorized("this call needs a token: send `Authorization: Bearer …`, or log in on the page"),
            Ok,
        );
    };
    match named(tokens, shown) {
        Some(token) => Ok(Caller { name: Some(token.name.clone()), role: token.role }),
        None => unauthorized("the token is none of this gateway's; compare it with its [[api.token]]"),
    }
}

/// All are compared, so that the time says nothing of which was nearly right.
pub fn named<'a>(tokens: &'a [Token], shown: &[u8]) -> Option<&'a Token> {
    let mut found = None;
    for token in tokens {
        if same(token.token.reveal().as_bytes(), shown) {
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
fn certified(desk: &Desk, caller: &Caller, request: &Request) -> Result<(), Problem> {
    let asked = desk.settings.tls.as_ref().is_some_and(Tls::asks_central) && caller.role == Role::Central;
    if asked && !request.extensions().get::<Peer>().is_some_and(|peer| peer.certified) {
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

/// Equal, in a time that depends on the lengths only. An empty text equals nothing.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |sum, (a, b)| sum | black_box(a ^ b));
    !a.is_empty() && a.len() == b.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_same() {
        assert!(same(b"secret", b"secret"));
        for other in ["", "secre", "secret ", "Secret", "secrex"] {
            assert!(!same(b"secret", other.as_bytes()), "{other}");
        }
        assert!(!same(b"", b""));
    }

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
