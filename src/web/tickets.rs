//! Tickets as they are stored, and what people ask of them, handed to intake.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::Desk;
use super::events::{BODY_SOFT_MAX, CHUNK, limit};
use super::gate::Caller;
use super::problem::Problem;
use super::said::{self, Whole};
use crate::store::Filter;
use crate::ticket::{Action, Ask, Refusal, State as TicketState, Ticket, Verb};

/// What can be POSTed to a ticket.
pub const VERBS: [(&str, Verb); 4] = [
    ("acknowledge", Verb::Acknowledge),
    ("start", Verb::Start),
    ("resolve", Verb::Resolve),
    ("close", Verb::Close),
];

const LIMIT_DEFAULT: usize = 100;
/// Characters; they become part of an event.
const BY_MAX: usize = 100;
const NOTE_MAX: usize = 4000;
/// Bytes after which a story ends early, and says that there is more.
const STORY_SOFT_MAX: usize = 4 * BODY_SOFT_MAX;
/// How long intake may take to write an action.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    state: Option<String>,
    device: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/tickets`
pub async fn list(State(desk): State<Arc<Desk>>, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    let limit = limit(asked.limit, LIMIT_DEFAULT)?;
    let filter = Filter {
        states: states(asked.state.as_deref().unwrap_or(""))?,
        device: asked.device,
        after: asked.after,
        limit,
    };
    let body = desk.look(move |desk| page(desk, filter)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A few at a time, so that a full answer is in memory once only. `next` where it ends at one of its bounds.
fn page(desk: &Desk, mut filter: Filter) -> Result<String, Problem> {
    let mut body = r#"{"tickets":["#.to_owned();
    let mut left = filter.limit;
    loop {
        filter.limit = left.min(CHUNK);
        let rows = desk.rooms.view.tickets(&filter);
        let rows = rows.map_err(|e| Problem::of_store(&e, |seq| desk.cursor(seq)))?;
        left -= rows.len();
        let all = rows.len() < filter.limit;
        for (id, json) in rows {
            if !body.ends_with('[') {
                body.push(',');
            }
            body.push_str(&json);
            filter.after = Some(id);
        }
        if all || left == 0 || body.len() >= BODY_SOFT_MAX {
            let next = serde_json::Value::from(filter.after.filter(|_| !all));
            return Ok(body + &format!(r#"],"next":{next}}}"#));
        }
    }
}

/// `GET /api/v1/tickets/{id}`
pub async fn one(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let body = desk
        .look(move |desk| {
            let row = desk.rooms.view.ticket(&id);
            let row = row.map_err(|e| Problem::of_store(&e, |seq| desk.cursor(seq)))?;
            row.ok_or_else(|| unknown(&id))
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// `GET /api/v1/tickets/{id}/events`: its whole story, as far as the journal keeps it.
pub async fn events(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let body = desk.look(move |desk| story(desk, &id)).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

fn story(desk: &Desk, id: &str) -> Result<String, Problem> {
    let view = &desk.rooms.view;
    let problem = |error| Problem::of_store(&error, |seq| desk.cursor(seq));
    let mut body = r#"{"events":["#.to_owned();
    let (mut after, mut count) = (0, 0);
    loop {
        let events = view.events_of(id, after, CHUNK).map_err(problem)?;
        for event in &events {
            if count > 0 {
                body.push(',');
            }
            body.push_str(&event.json);
            (after, count) = (event.seq, count + 1);
        }
        let all = events.len() < CHUNK;
        if all && count == 0 && view.ticket(id).map_err(problem)?.is_none() {
            return Err(unknown(id));
        }
        if all || body.len() >= STORY_SOFT_MAX {
            return Ok(body + &format!(r#"],"more":{}}}"#, !all));
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Said {
    by: Option<String>,
    note: Option<String>,
    external_id: Option<String>,
    /// The revision the speaker saw; an older one than the last reopening is refused.
    revision: Option<Whole>,
}

/// `POST /api/v1/tickets/{id}/{acknowledge,start,resolve,close}`: answers with the ticket as it now is.
pub async fn act(
    verb: Verb,
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Ticket>, Problem> {
    let said = said(&body)?;
    let own_name = || caller.name.as_deref().unwrap_or("api").to_owned();
    let action = Action {
        ticket: id.into(),
        verb,
        by: said.by.filter(|by| !by.is_empty()).unwrap_or_else(own_name),
        note: said.note,
        external_id: said.external_id,
        revision: said.revision.map(|Whole(revision)| revision),
    };
    let (answer, answered) = oneshot::channel();
    desk.rooms.asks.try_send(Ask { action, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Problem::busy("more actions wait than can be written now; try again")
        }
        mpsc::error::TrySendError::Closed(_) => Problem::closing(),
    })?;
    match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(Ok(ticket))) => Ok(Json(ticket)),
        Ok(Ok(Err(refusal))) => Err(refused(&refusal)),
        Ok(Err(_)) => Err(Problem::closing()),
        Err(_) => Err(Problem::busy(
            "the action was taken in but not answered in time; look at the ticket before you ask again",
        )),
    }
}

/// An empty body says nothing, which is allowed.
fn said(body: &[u8]) -> Result<Said, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Said::default());
    }
    let said: Said = said::object(body).map_err(|error| {
        Problem::bad_request(format!("the body does not read as {{\"by\": \"…\", \"note\": \"…\"}}: {error}"))
    })?;
    for (what, text, most) in
        [("by", &said.by, BY_MAX), ("note", &said.note, NOTE_MAX), ("external_id", &said.external_id, BY_MAX)]
    {
        if text.as_ref().is_some_and(|t| t.chars().count() > most) {
            return Err(Problem::bad_request(format!("`{what}` may have up to {most} characters")));
        }
        // A note may have lines; nothing that is told on may steer a terminal.
        let steers = |c: char| c.is_control() && !(what == "note" && matches!(c, '\n' | '\r' | '\t'));
        if text.as_ref().is_some_and(|t| t.contains(steers)) {
            let cure = format!("`{what}` has a control character in it; write plain text");
            return Err(Problem::bad_request(cure));
        }
    }
    Ok(said)
}

fn states(words: &str) -> Result<Vec<TicketState>, Problem> {
    let words = words.split(',').map(str::trim).filter(|w| !w.is_empty());
    words
        .map(|word| {
            TicketState::named(word).ok_or_else(|| {
                let all = TicketState::ALL.map(TicketState::word).join(", ");
                Problem::bad_request(format!("`{word}` is no state of a ticket; there are {all}"))
            })
        })
        .collect()
}

fn refused(refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::Unknown(id) => unknown(id),
        Refusal::ConditionHolds(_) => Problem::conflict("condition-holds", refusal.to_string()),
        Refusal::Stale { .. } => Problem::conflict("stale", refusal.to_string()),
    }
}

pub(super) fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no ticket `{id}`; GET /api/v1/tickets lists them"))
}
