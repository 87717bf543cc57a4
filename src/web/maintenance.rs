//! Maintenance of a device, a place or a rule: what is under way, and people's words on it, handed to intake.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use tokio::sync::{mpsc, oneshot};

use super::Desk;
use super::gate::Caller;
use super::problem::Problem;
use super::said;
use crate::maintenance::{Call, Maintenance, Refused, Scope};
use crate::reading::Millis;
use crate::time;

/// Characters; they become part of an event.
const WORD_MAX: usize = 100;
/// A place is a path.
const NAME_MAX: usize = 500;
const NOTE_MAX: usize = 500;
/// How long intake may take to write it.
const ANSWER_MAX: Duration = Duration::from_secs(10);

const SHAPE: &str = r#"{"device": "…", "until": "2026-11-21T12:00:00Z", "by": "…", "note": "…"}"#;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    device: Option<String>,
    place: Option<String>,
    rule: Option<String>,
    until: Option<String>,
    by: Option<String>,
    note: Option<String>,
}

/// `GET /api/v1/maintenance`
pub async fn list(State(desk): State<Arc<Desk>>) -> Json<JsonValue> {
    let now = desk.rooms.live.lock().maintenance().to_vec();
    Json(json!({ "maintenance": now.iter().map(Maintenance::told).collect::<Vec<_>>() }))
}

/// `POST /api/v1/devices/{id}/maintenance`
pub async fn of_device(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<JsonValue>, Problem> {
    let mut said = said(&body)?;
    if said.device.is_some() || said.place.is_some() || said.rule.is_some() {
        let cure = "the path names the device; leave it out of the body, or ask /api/v1/maintenance";
        return Err(Problem::bad_request(cure));
    }
    said.device = Some(id);
    maintain(&desk, &caller, said).await
}

/// `POST /api/v1/maintenance`: answers with the maintenance as it now is, once that is on the disk.
pub async fn of_any(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<Json<JsonValue>, Problem> {
    let said = said(&body)?;
    maintain(&desk, &caller, said).await
}

async fn maintain(desk: &Desk, caller: &Caller, said: Said) -> Result<Json<JsonValue>, Problem> {
    let (answer, answered) = oneshot::channel();
    let own_name = || caller.name.as_deref().unwrap_or("api").to_owned();
    let call = Call {
        until: until(said.until.as_deref())?,
        by: said.by.clone().filter(|by| !by.is_empty()).unwrap_or_else(own_name),
        note: said.note.clone(),
        scope: scope(said)?,
        answer,
    };
    desk.rooms.calls.try_send(call).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Problem::busy("more words on maintenance wait than can be written now; try again")
        }
        mpsc::error::TrySendError::Closed(_) => Problem::closing(),
    })?;
    match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(Ok(change))) => Ok(Json(change.told().into())),
        Ok(Ok(Err(refused))) => Err(problem(&refused)),
        Ok(Err(_)) => Err(Problem::closing()),
        Err(_) => Err(Problem::busy(
            "it was taken in but not answered in time; look at GET /api/v1/maintenance before you ask again",
        )),
    }
}

fn said(body: &[u8]) -> Result<Said, Problem> {
    let said: Said = said::object(body)
        .map_err(|error| Problem::bad_request(format!("the body does not read as {SHAPE}: {error}")))?;
    for (what, text, most) in [
        ("device", &said.device, WORD_MAX),
        ("rule", &said.rule, NAME_MAX),
        ("place", &said.place, NAME_MAX),
        ("by", &said.by, WORD_MAX),
        ("note", &said.note, NOTE_MAX),
    ] {
        let text = text.as_deref().unwrap_or_default();
        if text.chars().count() > most {
            return Err(Problem::bad_request(format!("`{what}` may have up to {most} characters")));
        }
        if text.chars().any(char::is_control) {
            let cure = format!("`{what}` has a control character in it; write plain text");
            return Err(Problem::bad_request(cure));
        }
    }
    Ok(said)
}

fn scope(said: Said) -> Result<Scope, Problem> {
    match (said.device, said.place, said.rule) {
        (Some(device), None, None) => Ok(Scope::Device(device.into())),
        (None, Some(place), None) => Ok(Scope::Place(place.trim_end_matches('/').into())),
        (None, None, Some(rule)) => Ok(Scope::Rule(rule.into())),
        _ => {
            Err(Problem::bad_request(format!("name one `device`, one `place` or one `rule`, as in {SHAPE}")))
        }
    }
}

fn until(text: Option<&str>) -> Result<Millis, Problem> {
    let text = text.ok_or_else(|| {
        Problem::bad_request(format!("maintenance needs an end: say `until`, as in {SHAPE}"))
    })?;
    let shown: String = text.chars().filter(|c| !c.is_control()).take(WORD_MAX).collect();
    time::parse(text).map_err(|_| {
        Problem::bad_request(format!(
            "`until` is `{shown}`; write it as 2026-11-21T12:00:00Z or 2026-11-21T20:00:00+08:00"
        ))
    })
}

fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Unknown { .. } => Problem::not_found(refused.to_string()),
        Refused::TooLong { .. } => Problem::bad_request(refused.to_string()),
        Refused::TooMany => Problem::conflict("too-many", refused.to_string()),
    }
}
