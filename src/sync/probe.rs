//! Asks a centre whether it would take events, without giving it one: for those who look after a gateway.
//!
//! It posts an empty batch, with the token. `HEAD` or `OPTIONS` would disturb no less and show less: proxies answer them by
//! themselves, and few centres know them, while an empty batch goes the whole way that events go and holds nothing.

use reqwest::header::{ACCEPT, CONTENT_TYPE, DATE, LOCATION};

use super::plan::{self, Body, Outcome};
use super::{Target, http};
use crate::reading::Millis;
use crate::time;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The first 2xx with a body that can be believed, or a word on the batch alone: events would be taken.
    Taken { status: u16, clock: Option<Clock> },
    /// It wants to be asked again later.
    Later { status: u16, clock: Option<Clock> },
    /// Sent on to another address, which is never followed.
    Redirected { status: u16, to: String },
    /// A page instead of an answer: a portal to log in, or not the centre's address.
    Page { status: u16 },
    /// 401 or 403
    Forbidden { status: u16 },
    /// Any other status: not the centre's path.
    Elsewhere { status: u16 },
    /// No answer at all, and why.
    Broken(String),
}

/// The centre's clock as its answer tells it, to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    pub theirs: Millis,
    pub ours: Millis,
}

pub async fn probe(target: &Target) -> Probe {
    let client = match http::client(target) {
        Ok(client) => client,
        Err(error) => return Probe::Broken(format!("no HTTPS on this machine: {error}")),
    };
    let mut request = client
        .post(&target.url)
        .header(CONTENT_TYPE, "application/cloudevents-batch+json")
        .header(ACCEPT, "application/json")
        .body("[]");
    if let Some(token) = &target.token {
        request = request.bearer_auth(token.reveal());
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Probe::Broken(http::words(error)),
    };
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let clock = header(DATE).and_then(|date| clock(&date, time::now()));
    let to = header(LOCATION).unwrap_or_default();
    match http::read(response, target).await.outcome {
        Outcome::Answered { status, body, .. } => judged(status, body, to, clock),
        Outcome::Broken | Outcome::Late => Probe::Broken("it broke off in the middle of its answer".into()),
    }
}

fn judged(status: u16, body: Body, to: String, clock: Option<Clock>) -> Probe {
    match (status, body) {
        (200..=299, Body::Other) => Probe::Page { status },
        // Nothing in it can be disliked, so a word on the batch says that it was read.
        (200..=299 | 400 | 409 | 413 | 422, _) => Probe::Taken { status, clock },
        (408 | 425 | 429 | 500..=599, _) => Probe::Later { status, clock },
        (300..=399, _) => Probe::Redirected { status, to },
        (401 | 403, _) => Probe::Forbidden { status },
        _ => Probe::Elsewhere { status },
    }
}

fn clock(date: &str, ours: Millis) -> Option<Clock> {
    let theirs = plan::http_date(date)?;
    Some(Clock { theirs, ours })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_to_nothing_means() {
        let judged = |status, body| judged(status, body, "https://x/".into(), None);
        assert_eq!(judged(204, Body::Empty), Probe::Taken { status: 204, clock: None });
        assert_eq!(judged(422, Body::Json), Probe::Taken { status: 422, clock: None });
        assert_eq!(judged(200, Body::Other), Probe::Page { status: 200 });
        assert_eq!(judged(302, Body::Other), Probe::Redirected { status: 302, to: "https://x/".into() });
        assert_eq!(judged(401, Body::Json), Probe::Forbidden { status: 401 });
        assert_eq!(judged(404, Body::Other), Probe::Elsewhere { status: 404 });
        assert_eq!(judged(503, Body::Empty), Probe::Later { status: 503, clock: None });
    }

    #[test]
    fn the_centres_clock_is_read_from_its_answer() {
        let clock = clock("Fri, 21 Nov 2025 08:00:00 GMT", 5).unwrap();
        assert_eq!((clock.theirs, clock.ours), (1_763_712_000_000, 5));
        assert_eq!(super::clock("yesterday", 5), None);
    }
}
