//! By what somebody was let in. Once that is gone (the token left the configuration or has another role, the session
//! ended), whatever waits or streams for him ends, too.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::Method;
use axum::response::Response;
use hyper::body::Frame;
use tokio::sync::watch;

use super::gate::GONE;
use super::problem::Problem;
use super::session::Sessions;
use super::{Desk, Present, Token};
use crate::fingerprint::Fingerprint;

#[derive(Debug, Clone)]
pub enum Pass {
    /// There are no tokens.
    Open,
    /// It was shown with the request.
    Token(Token),
    /// The fingerprint of its cookie.
    Session(Fingerprint),
}

/// Whether somebody may stay.
enum Holds {
    /// As long as nothing changes.
    Yes,
    Until(Instant),
    No,
}

impl Pass {
    fn holds(&self, desk: &Desk) -> Holds {
        let tokens = &desk.settings.tokens;
        let holds = match self {
            Pass::Open => tokens.is_empty(),
            Pass::Token(token) => tokens.contains(token),
            Pass::Session(key) => match desk.rooms.sessions.of(*key, tokens) {
                Some((_, end)) => return Holds::Until(end),
                None => false,
            },
        };
        if holds { Holds::Yes } else { Holds::No }
    }
}

/// What ends when the pass does.
pub type Gone = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ready once the pass no longer holds.
pub fn gone(pass: Pass, present: &Present, sessions: &Sessions) -> Gone {
    Box::pin(over(pass, present.0.clone(), sessions.ended()))
}

async fn over(
    pass: Pass,
    mut present: watch::Receiver<std::sync::Arc<Desk>>,
    mut ended: watch::Receiver<()>,
) {
    loop {
        // Seen before it is judged: what changes meanwhile wakes the wait below.
        ended.borrow_and_update();
        let holds = pass.holds(&present.borrow_and_update());
        let end = match holds {
            Holds::No => return,
            Holds::Until(end) => Some(end),
            Holds::Yes => None,
        };
        let time = async {
            match end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = present.changed() => if changed.is_err() { closed().await },
            changed = ended.changed(), if end.is_some() => if changed.is_err() { closed().await },
            () = time => {}
        }
    }
}

/// The house closes, and ends all by itself.
async fn closed() {
    std::future::pending::<()>().await;
}

/// The answer, or a refusal where the pass ends while it is waited for; its body ends with the pass, too.
pub async fn while_it_holds(
    mut gone: Gone,
    method: &Method,
    answer: impl Future<Output = Response>,
) -> Result<Response, Problem> {
    if !method.is_safe() {
        // What is under way is done, and its answer said.
        return Ok(answer.await.map(|body| bounded(body, gone)));
    }
    let response = tokio::select! {
        biased;
        () = &mut gone => return Err(Problem::unauthorized(GONE)),
        response = answer => response,
    };
    // What ended the wait may be what ended the pass.
    tokio::select! {
        biased;
        () = &mut gone => Err(Problem::unauthorized(GONE)),
        () = std::future::ready(()) => Ok(response.map(|body| bounded(body, gone))),
    }
}

/// One of a known length is there already.
fn bounded(body: Body, gone: Gone) -> Body {
    if body.size_hint().exact().is_some() { body } else { Body::new(Bounded { body, gone: Some(gone) }) }
}

struct Bounded {
    body: Body,
    /// `None`: it is.
    gone: Option<Gone>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.gone.as_mut().is_none_or(|gone| gone.as_mut().poll(cx).is_ready()) {
            self.gone = None;
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }
}
