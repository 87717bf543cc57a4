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
use crate::order::{self, Order, Outcome, Refused, Wish};
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
    let device = desk.rooms.site.device_named(&id);
    let may_central = device.is_some_and(|device| desk.rooms.plan.may_central_order(device));
    let named = device.map(|device| desk.rooms.site.device(device).id.clone());
    let role = match role(&caller, may_central) {
        Ok(role) => role,
        Err(problem) => {
            audit(&desk, &body, named, &caller);
            return Err(problem);
        }
    };
    let order = order(&body, named.ok_or_else(|| unknown(&id))?, &caller, role)?;
    let key = order.key.clone();
    let (begun, mut begun_seen) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    desk.rooms.wishes.try_send(Wish { order, refused: None, begun, answer }).map_err(
        |error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Problem::busy("more orders wait than can be judged now; try again under the same key")
            }
            mpsc::error::TrySendError::Closed(_) => Problem::closing(),
        },
    )?;
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

/// A centre pulls and works on tickets; doors are opened by who is known on the spot, unless the device says otherwise.
fn role(caller: &Caller, central: bool) -> Result<order::Role, Problem> {
    match caller.role {
        Role::Technician => Ok(order::Role::Technician),
        Role::Central if central => Ok(order::Role::Central),
        _ => Err(Problem::forbidden("only a token of role technician may give orders to devices")),
    }
}

/// Who was turned away is written down, as far as there is room.
fn audit(desk: &Desk, body: &[u8], device: Option<Arc<str>>, caller: &Caller) {
    let order = device.and_then(|device| order(body, device, caller, order::Role::Central).ok());
    let why = "nothing of this device may be ordered by role central";
    if let Some(order) = order {
        let refused = Some(Refused::WrongRole(why.to_owned()));
        // Nobody waits for what comes of it.
        let (begun, answer) = (oneshot::channel().0, oneshot::channel().0);
        let _ = desk.rooms.wishes.try_send(Wish { order, refused, begun, answer });
    }
}

fn order(body: &[u8], device: Arc<str>, caller: &Caller, role: order::Role) -> Result<Order, Problem> {
    let said: Said = said::object(body)
        .map_err(|error| Problem::bad_request(format!("the body does not read as {SHAPE}: {error}")))?;
    let via = caller.name.clone().unwrap_or_else(|| "api".into());
    let order = Order {
        device,
        action: said.action,
        target: said.target,
        reason: said.reason,
        by: said.by.filter(|by| !by.is_empty()).unwrap_or_else(|| via.to_string()),
        role,
        via,
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
    Json(json!({ "key": key, "outcome": word, "effect": outcome.effect(), "detail": detail })).into_response()
}

fn under_way(key: &str) -> Response {
    let detail = "the device has not answered yet; ask again under the same key, or read the journal";
    let body = json!({ "key": key, "state": "begun", "effect": "unknown", "detail": detail });
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

fn problem(refused: &Refused) -> Problem {
    let (word, detail) = (refused.word(), refused.to_string());
    match refused {
        Refused::Unknown(id) => unknown(id),
        Refused::NotAllowed(_)
        | Refused::WrongRole(_)
        | Refused::OutsideHours(_)
        | Refused::NotFromThere(_) => Problem::new(StatusCode::FORBIDDEN, word, detail),
        Refused::NoReason(_) | Refused::NoExpiry(_) | Refused::TooFarAhead(_) | Refused::Malformed(_) => {
            Problem::new(StatusCode::BAD_REQUEST, word, detail)
        }
        Refused::Expired(_) => Problem::new(StatusCode::GONE, word, detail),
        Refused::KeyTaken(_) | Refused::KeyUsed(_) => {
            Problem::conflict(word, format!("{detail}; give each order a key of its own"))
        }
        Refused::ClockUnsynced(_) | Refused::KeysLost(_) => Problem::conflict(word, detail),
        Refused::TooOften(_, wait) => Problem::new(StatusCode::TOO_MANY_REQUESTS, word, detail).after(*wait),
        Refused::TooMany(_) => Problem::new(StatusCode::TOO_MANY_REQUESTS, word, detail),
        Refused::Busy(_) => Problem::busy(detail),
    }
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no device `{id}`; GET /api/v1/devices lists them"))
}
