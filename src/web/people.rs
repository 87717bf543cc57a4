//! Erasure of one person, by pseudonym: put down here, done by the journal, and waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use tokio::time::{Instant, sleep};

use super::gate::Caller;
use super::problem::Problem;
use super::said;
use super::{Desk, Role};
use crate::masked::mask;
use crate::pseudonym::Pseudonym;
use crate::store::{Asked, Erased};
use crate::time;

/// Characters.
const BY_MAX: usize = 100;
const REASON_MAX: usize = 500;
/// A million events take longer; then it goes on without anybody who waits.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    by: Option<String>,
    reason: Option<String>,
}

/// `POST /api/v1/people/{pseudonym}/erase` `{"by", "reason"}`: 200 once it is done, 202 where it goes on for longer.
pub(super) async fn erase(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(pseudonym): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<JsonValue>), Problem> {
    if caller.role != Role::Technician {
        return Err(Problem::forbidden("only a token of role technician may erase a person"));
    }
    if !Pseudonym::is_one(&pseudonym) {
        return Err(Problem::bad_request(
            "the path names no pseudonym; write it as it stands in events, like c-0123456789abcdef",
        ));
    }
    let Said { by, mut reason } = said(&body)?;
    reason.iter_mut().for_each(mask);
    let own_name = || caller.name.as_deref().unwrap_or("api").to_owned();
    let mut by = by.unwrap_or_else(own_name);
    mask(&mut by);
    let asked = Asked { pseudonym: pseudonym.clone(), by, reason };
    desk.look(move |desk| {
        let put_down = desk.rooms.outbox.erase(&asked, time::now());
        put_down.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))
    })
    .await?;
    let erased = wait(&desk, &pseudonym).await?;
    let (status, state) = match erased.told {
        Some(_) => (StatusCode::OK, "done"),
        None => (StatusCode::ACCEPTED, "under-way"),
    };
    let told = erased.told.map(|seq| desk.cursor(seq));
    let answer = json!({ "pseudonym": pseudonym, "state": state, "events": erased.events, "told": told });
    Ok((status, Json(answer)))
}

/// Until it is done, or for as long as somebody waits for an answer.
async fn wait(desk: &Arc<Desk>, pseudonym: &str) -> Result<Erased, Problem> {
    let end = Instant::now() + ANSWER_MAX;
    let mut last = Erased { pseudonym: pseudonym.to_owned(), events: 0, told: None };
    loop {
        let of = pseudonym.to_owned();
        let look = move |desk: &Desk| {
            let erased = desk.rooms.outbox.erased(&of);
            erased.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))
        };
        last = desk.look(look).await?.unwrap_or(last);
        if last.told.is_some() || Instant::now() >= end || desk.stop.is_cancelled() {
            return Ok(last);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn said(body: &[u8]) -> Result<Said, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Said::default());
    }
    let said: Said = said::object(body).map_err(|error| {
        Problem::bad_request(format!(r#"the body does not read as {{"by": "…", "reason": "…"}}: {error}"#))
    })?;
    for (what, text, most) in [("by", &said.by, BY_MAX), ("reason", &said.reason, REASON_MAX)] {
        let text = text.as_deref().unwrap_or_default();
        if text.chars().count() > most || text.chars().any(char::is_control) {
            return Err(Problem::bad_request(format!(
                "`{what}` may have up to {most} characters, and no control characters"
            )));
        }
    }
    Ok(Said { by: said.by.filter(|by| !by.is_empty()), ..said })
}
