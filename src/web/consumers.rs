//! Who reads the journal by cursor, and how far each is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::gate::Caller;
use super::problem::Problem;
use super::said::{self, Whole};
use super::{Desk, Role};
use crate::reading::Millis;
use crate::store::ConsumerNow;
use crate::store::{self};
use crate::{metrics, time};

/// Consumers the journal keeps a cursor for; each can hold up retention, so there is an end to them.
const CONSUMERS_MAX: usize = 64;
const NAME_MAX: usize = 64;
/// What was looked up is as good as new for so long.
const FRESH: Duration = Duration::from_millis(1500);
const MINUTE: Millis = 60_000;

/// `GET /api/v1/consumers`
pub async fn list(State(desk): State<Arc<Desk>>) -> Result<Json<Value>, Problem> {
    let rows =
        desk.look(|desk| Ok(consumers(desk)?.iter().map(|c| shown(desk, c)).collect::<Vec<_>>())).await?;
    Ok(Json(json!({ "consumers": rows })))
}

/// Those who read the journal, looked up once for all who listen.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Option<(Instant, Arc<Now>)>>);

#[derive(Debug)]
pub struct Now {
    /// As `GET` answers it.
    pub body: String,
    /// What is news when it changes.
    pub essence: String,
}

impl Shared {
    /// `None`: the store does not say; who keeps it tells why.
    pub async fn now(&self, desk: &Arc<Desk>) -> Option<Arc<Now>> {
        let mut held = self.0.lock().await;
        if let Some((at, now)) = &*held
            && at.elapsed() < FRESH
        {
            return Some(now.clone());
        }
        let now = Arc::new(desk.look(now).await.ok()?);
        *held = Some((Instant::now(), now.clone()));
        Some(now)
    }
}

fn now(desk: &Desk) -> Result<Now, Problem> {
    let consumers = consumers(desk)?;
    let rows: Vec<Value> = consumers.iter().map(|consumer| shown(desk, consumer)).collect();
    Ok(Now { body: json!({ "consumers": rows }).to_string(), essence: essence(&consumers) })
}

/// When somebody was last seen is news by the minute: the page says how long ago it was.
fn essence(consumers: &[ConsumerNow]) -> String {
    let minute = |c: &ConsumerNow| c.last_seen.map(|at| at / MINUTE);
    let each = consumers.iter().map(|c| (&c.name, c.lag, minute(c), &c.error, &c.set_aside));
    format!("{:?}", each.collect::<Vec<_>>())
}

#[derive(Debug, Deserialize)]
struct Acknowledged {
    acknowledged: Place,
}

/// A cursor, or a bare number of the present epoch.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Place {
    Cursor(String),
    Seq(Whole),
}

/// `PUT /api/v1/consumers/{name}`: answers with the consumer as it now is.
pub async fn acknowledge(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    own_name(&caller, &name)?;
    let said: Acknowledged = said::object(&body).map_err(|error| {
        Problem::bad_request(format!("the body does not read as {{\"acknowledged\": CURSOR}}: {error}"))
    })?;
    let seq = match said.acknowledged {
        Place::Cursor(cursor) => desk.seq(&cursor)?,
        Place::Seq(Whole(seq)) => seq,
    };
    let row = desk.look(move |desk| settle(desk, &name, seq)).await?;
    Ok(Json(row))
}

/// `DELETE /api/v1/consumers/{name}`
pub async fn forget(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    if caller.role != Role::Technician {
        own_name(&caller, &name)?;
    }
    if desk.rooms.named.iter().any(|n| **n == *name) {
        return Err(Problem::conflict(
            "configured",
            format!("the consumer `{name}` is named in the configuration; take it out there first"),
        ));
    }
    desk.look(move |desk| {
        let known = desk.rooms.outbox.forget(&name);
        match known.map_err(|e| Problem::of_store(&e, |seq| desk.cursor(seq)))? {
            true => {
                desk.rooms.metrics.lag.remove(&metrics::Consumer { consumer: name });
                Ok(StatusCode::NO_CONTENT)
            }
            false => Err(Problem::not_found(format!(
                "there is no consumer `{name}`; GET /api/v1/consumers lists them"
            ))),
        }
    })
    .await
}

fn settle(desk: &Desk, name: &str, seq: u64) -> Result<Value, Problem> {
    let known = consumers(desk)?;
    match known.iter().find(|c| c.name == name) {
        Some(push) if push.kind == store::Kind::Push => {
            return Err(Problem::conflict(
                "push",
                format!(
                    "`{name}` is a [[sync]] of this gateway; only what its centre answers moves its cursor"
                ),
            ));
        }
        None if known.len() >= CONSUMERS_MAX => {
            return Err(Problem::conflict(
                "too-many-consumers",
                format!("the journal has {CONSUMERS_MAX} consumers; DELETE one of /api/v1/consumers first"),
            ));
        }
        _ => {}
    }
    let settled = desk.rooms.outbox.settle(name, seq, time::now());
    settled.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))?;
    let now = consumers(desk)?;
    let row = now.iter().find(|c| c.name == name).map(|c| shown(desk, c));
    Ok(row.unwrap_or_else(|| json!({ "name": name, "acknowledged": desk.cursor(seq) })))
}

/// Ids are `[a-z0-9-]`; and who has a token acknowledges for itself only.
fn own_name(caller: &Caller, name: &str) -> Result<(), Problem> {
    let right = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(right) {
        return Err(Problem::bad_request(format!(
            "`{name}` is no consumer's name; use a-z, 0-9 and -, up to {NAME_MAX} long"
        )));
    }
    match &caller.name {
        Some(own) if **own != *name => Err(Problem::forbidden(format!(
            "the token is `{own}`'s and speaks for the consumer `{own}` only, not for `{name}`"
        ))),
        _ => Ok(()),
    }
}

fn consumers(desk: &Desk) -> Result<Vec<ConsumerNow>, Problem> {
    let rows = desk.rooms.view.consumers();
    rows.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))
}

fn shown(desk: &Desk, consumer: &ConsumerNow) -> Value {
    json!({
        "name": consumer.name,
        "kind": consumer.kind.word(),
        "required": consumer.required,
        "acknowledged": desk.cursor(consumer.acknowledged),
        "lag": consumer.lag,
        "last_seen": consumer.last_seen.map(time::format),
        "set_aside": consumer.set_aside,
        "anchor": consumer.anchor.map(|(link, at)| json!({
            "cursor": desk.cursor(consumer.acknowledged), "chain": link.to_string(), "at": time::format(at),
        })),
        "error": consumer.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_again_for_nothing_is_told_once_a_minute() {
        let seen = |at| {
            essence(&[ConsumerNow {
                name: "crm".into(),
                kind: store::Kind::Pull,
                required: false,
                acknowledged: 7,
                lag: 0,
                last_seen: Some(at),
                set_aside: Vec::new(),
                anchor: None,
                error: None,
            }])
        };
        assert_eq!(seen(5 * MINUTE), seen(6 * MINUTE - 1));
        assert_ne!(seen(5 * MINUTE), seen(6 * MINUTE));
    }
}
