//! The page logs in with a token once and keeps a cookie: `book` (who has), `way` (what of a browser's request is believed).

mod book;
pub mod way;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::gate::named;
use super::listener::Peer;
use super::lockout::{self, Lockout, Refusal};
use super::problem::Problem;
use super::said;
use super::{Desk, Token};
use crate::fingerprint::Fingerprint;
use book::{Book, LASTS};
use way::Way;

const KEY_BYTES: usize = 32;

/// Kept while rooms are built anew. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    book: Arc<Mutex<Book>>,
    /// A session ended, or went for another.
    ended: Arc<watch::Sender<()>>,
    lockout: Arc<Mutex<Lockout>>,
}

#[derive(Deserialize)]
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
    let way = Way { headers: &headers, peer, gateway: &desk.rooms.site.gateway };
    way.of_this_host()?;
    let said: Said = said::object(&body)
        // What was sent instead may be a secret: it is not repeated.
        .map_err(|_| Problem::bad_request("the body does not read as {\"token\": \"…\"}"))?;
    let said = Zeroizing::new(said.token);
    let tokens = &desk.settings.tokens;
    if tokens.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let sessions = &desk.rooms.sessions;
    let token = sessions.shown(lockout::Way::Login, peer, tokens, said.as_bytes());
    let key = sessions.open(token.inspect_err(|refused| desk.refused(refused))?)?;
    let (name, last) = way.cookie();
    let lasts = LASTS.as_secs();
    let cookie = format!("{name}={}; HttpOnly; SameSite=Strict; Path=/; Max-Age={lasts}{last}", *key);
    Ok(with_cookie(&Zeroizing::new(cookie)))
}

/// `DELETE /api/v1/session`
pub async fn end(
    State(desk): State<Arc<Desk>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let way = Way { headers: &headers, peer, gateway: &desk.rooms.site.gateway };
    if let Some(key) = way.key() {
        way.of_the_page()?;
        desk.rooms.sessions.end(Fingerprint::of(key));
    }
    let (name, last) = way.cookie();
    Ok(with_cookie(&format!("{name}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0{last}")))
}

fn with_cookie(cookie: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

impl Sessions {
    /// Whose token was shown, by whoever may show one now.
    pub(super) fn shown<'a>(
        &self,
        how: lockout::Way,
        peer: Peer,
        tokens: &'a [Token],
        shown: &[u8],
    ) -> Result<&'a Token, Problem> {
        let mut lockout = self.lockout.lock().unwrap_or_else(PoisonError::into_inner);
        let token = named(tokens, shown);
        let judged = lockout.judge(how, peer.address.ip(), token, shown.len(), Instant::now());
        judged.map_err(|refusal| match refusal {
            Refusal::Wrong => Problem::unauthorized(
                "the token is none of this gateway's; compare it with its [[api.token]]",
            ),
            Refusal::Paused(left) => {
                let seconds = left.as_secs() + 1;
                let detail = format!("wrong tokens were shown from here; try again in {seconds} s");
                Problem::too_soon(detail, left)
            }
        })
    }

    fn open(&self, token: &Token) -> Result<Zeroizing<String>, Problem> {
        let key = random_key().ok_or_else(|| {
            Problem::internal("the system gives no random numbers; send the token with each request")
        })?;
        self.book().open(Fingerprint::of(key.as_bytes()), token.clone(), Instant::now());
        self.ended.send_replace(());
        Ok(key)
    }

    fn end(&self, key: Fingerprint) {
        self.book().end(key);
        self.ended.send_replace(());
    }

    /// Who logged in for this cookie, and until when that holds; `None`: it has ended.
    pub(super) fn of(&self, key: Fingerprint, tokens: &[Token]) -> Option<(Token, Instant)> {
        self.book().token(key, tokens, Instant::now())
    }

    /// Wakes whoever has to look whether his session has ended.
    pub(super) fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_key() -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new().fill(bytes.as_mut()).ok()?;
    Some(Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}
