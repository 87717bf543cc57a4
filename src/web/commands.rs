//! Orders to devices, handed to intake, which judges them and writes them down; answered with what came of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::gate::Caller;
use super::problem::Problem;
use super::said;
use super::{Desk, Role};
use crate::order::{Order, Outcome, Refused, Wish};
use crate::time;

/// Characters; they become part of an event.
const WORD_MAX: usize = 100;
const REASON_MAX: usize = 500;
/// How long a device may take before the answer is that the order has been begun.
const ANSWER_MAX: Duration = Duration::from_secs(10);

const SHAPE: &str =
    r#"{"action": "…", "target": "…", "reason": "…", "by": "…", "expires_at": "…", "key": "…"}"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    action: String,
    #[serde(default)]
    target: String,
    reason: Option<String>,
    by: Option<String>,
    expires_at: Option<String>,
    key: String,
}

/// `POST /api/v1/devices/{id}/commands`: answers when the device has, or with 202 when it takes its time.
pub async fn command(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    technicians_only(&caller)?;
    let device = desk.rooms.site.device_named(&id).ok_or_else(|| unknown(&id))?;
    let device = desk.rooms.site.device(device).id.clone();
    let order = order(&body, device, &caller)?;
    let key = order.key.clone();
    let (begun, mut begun_seen) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    desk.rooms.wishes.try_send(Wish { order, begun, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Problem::busy("more orders wait than can be judged now; try again under the same key")
        }
        mpsc::error::TrySendError::Closed(_) => Problem::closing(),
    })?;
    match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(Ok(outcome))) => Ok(told(&key, &outcome)),
        Ok(Ok(Err(refused))) => Err(problem(&refused)),
        Ok(Err(_)) => Err(Problem::closing()),
        Err(_) if begun_seen.try_recv().is_ok() => Ok(under_way(&key)),
        Err(_) => Err(Problem::busy(
            "the order could not be written down yet, and it may still be; ask again under the same key",
        )),
    }
}

/// A centre pulls and works on tickets; doors are opened by who is known on the spot.
fn technicians_only(caller: &Caller) -> Result<(), Problem> {
    match caller.role {
        Role::Technician => Ok(()),
        _ => Err(Problem::forbidden("only a token of role technician may give orders to devices")),
    }
}

fn order(body: &[u8], device: Arc<str>, caller: &Caller) -> Result<Order, Problem> {
    let said: Said = said::object(body)
        .map_err(|error| Problem::bad_request(format!("the body does not read as {SHAPE}: {error}")))?;
    let own_name = || caller.name.as_deref().unwrap_or("api").to_owned();
    let order = Order {
        device,
        action: said.action,
        target: said.target,
        reason: said.reason,
        by: said.by.filter(|by| !by.is_empty()).unwrap_or_else(own_name),
        expires_at: said.expires_at.as_deref().map(instant).transpose()?,
        key: said.key,
    };
    let reason = order.reason.as_deref().unwrap_or("");
    for (what, text, most) in [
        ("action", order.action.as_str(), WORD_MAX),
        ("target", &order.target, WORD_MAX),
        ("reason", reason, REASON_MAX),
        ("by", &order.by, WORD_MAX),
        ("key", &order.key, WORD_MAX),
    ] {
        if text.chars().count() > most {
            return Err(Problem::bad_request(format!("`{what}` may have up to {most} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(Problem::bad_request(format!(
                "`{what}` has a control character in it; write plain text"
            )));
        }
    }
    for (what, text) in [("action", &order.action), ("key", &order.key)] {
        if text.trim().is_empty() {
            let cure = format!(
                "`{what}` is empty; a key is new for each order, and the same when it is tried again"
            );
            return Err(Problem::bad_request(cure));
        }
    }
    Ok(order)
}

fn instant(text: &str) -> Result<i64, Problem> {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(WORD_MAX).collect();
    let cure =
        |_| Problem::bad_request(format!("`expires_at` is `{shown}`; write it as 2026-11-21T08:00:00Z"));
    time::parse(text).map_err(cure)
}

fn told(key: &str, outcome: &Outcome) -> Response {
    let (word, detail) = outcome.words();
    Json(json!({ "key": key, "outcome": word, "detail": detail })).into_response()
}

fn under_way(key: &str) -> Response {
    let detail = "the device has not answered yet; ask again under the same key, or read the journal";
    (StatusCode::ACCEPTED, Json(json!({ "key": key, "state": "begun", "detail": detail }))).into_response()
}

fn problem(refused: &Refused) -> Problem {
    match refused {
        Refused::Unknown(id) => unknown(id),
        Refused::NotAllowed(why) => Problem::new(StatusCode::FORBIDDEN, "not-allowed", why.clone()),
        Refused::Expired(_) => Problem::new(StatusCode::GONE, "expired", refused.to_string()),
        Refused::KeyTaken(_) => {
            let detail = format!("{refused}; give each order a key of its own");
            Problem::conflict("key-taken", detail)
        }
        Refused::Busy(why) => Problem::busy(why.clone()),
    }
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no device `{id}`; GET /api/v1/devices lists them"))
}
