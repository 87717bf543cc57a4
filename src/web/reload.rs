//! The configuration, for technicians: the files as they run, and the word to read them anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use tokio::sync::{mpsc, oneshot};

use super::gate::Caller;
use super::problem::Problem;
use super::said;
use super::{Desk, Role};
use crate::reload::{Mistake, Refused, Reload};

/// Characters of a name.
const BY_MAX: usize = 100;
/// Reading, draining the wires concerned, one page of the journal.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Those who may ask at one time; the next is sent away.
pub const RELOADS_MAX: usize = 4;

/// Path and text of each file, in reading order. Secrets are not in them.
pub type Files = Arc<Vec<(PathBuf, String)>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    by: Option<String>,
}

/// `GET /api/v1/configuration`
pub(super) async fn configuration(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<JsonValue>, Problem> {
    technicians_only(&caller, "see the configuration")?;
    let file = |(path, text): &(PathBuf, String)| json!({ "path": path.display().to_string(), "text": text });
    let files: Vec<JsonValue> = desk.rooms.files.iter().map(file).collect();
    Ok(Json(json!({ "files": files })))
}

/// `POST /api/v1/reload` `{"by": "Wang"}`: answers once all of it has changed, or nothing; 202 where the whole house is
/// built anew, since this API goes with it.
pub(super) async fn reload(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<(StatusCode, Json<JsonValue>), Problem> {
    technicians_only(&caller, "reload the configuration")?;
    let by = said(&body)?.or_else(|| caller.name.as_deref().map(str::to_owned));
    let (answer, answered) = oneshot::channel();
    let asked = Reload { by: by.unwrap_or_else(|| "api".to_owned()), answer };
    desk.rooms.reloads.try_send(asked).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => Problem::busy("a reload is under way; try again"),
        mpsc::error::TrySendError::Closed(_) => Problem::closing(),
    })?;
    match tokio::time::timeout(ANSWER_MAX, answered).await {
        Ok(Ok(Ok(done))) => {
            let status = if done.is_to_come { StatusCode::ACCEPTED } else { StatusCode::OK };
            Ok((status, Json(json!({ "changed": done.changed, "restarted": done.restarted }))))
        }
        Ok(Ok(Err(refused))) => Err(refusal(refused)),
        Ok(Err(_)) => Err(Problem::closing()),
        Err(_) => Err(Problem::busy(
            "it was asked for but is not done yet; see `gateway.config-changed` in the journal before you ask again",
        )),
    }
}

fn technicians_only(caller: &Caller, what: &str) -> Result<(), Problem> {
    match caller.role {
        Role::Technician => Ok(()),
        _ => Err(Problem::forbidden(format!("only a token of role technician may {what}"))),
    }
}

fn said(body: &[u8]) -> Result<Option<String>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let said: Said = said::object(body).map_err(|error| {
        Problem::bad_request(format!(r#"the body does not read as {{"by": "…"}}: {error}"#))
    })?;
    let by = said.by.filter(|by| !by.is_empty());
    match by {
        Some(by) if by.chars().count() > BY_MAX || by.chars().any(char::is_control) => {
            Err(Problem::bad_request(format!(
                "`by` is a name of up to {BY_MAX} characters, without control characters"
            )))
        }
        by => Ok(by),
    }
}

/// 422: it was understood, and cannot be done as it is written.
fn refusal(refused: Refused) -> Problem {
    let told = |mistake: Mistake| {
        let (line, column) = mistake.place.unzip();
        json!({
            "code": mistake.code, "file": mistake.file, "line": line, "column": column, "what": mistake.what, "cure": mistake.cure,
        })
    };
    let mistakes: Vec<JsonValue> = refused.mistakes.into_iter().map(told).collect();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", refused.text).with("mistakes", mistakes)
}
