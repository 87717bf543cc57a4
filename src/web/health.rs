//! Whether the daemon lives, whether it is ready, and what it counts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Desk;
use super::problem::Problem;
use crate::metrics::Consumer;

/// Prometheus takes this form when it is named; as plain text it would misread counters.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the house does its work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// For people: why it works, but not as configured.
    pub troubles: Vec<String>,
}

impl Readiness {
    /// All troubles in one line.
    pub fn degraded(&self) -> Option<String> {
        (!self.troubles.is_empty()).then(|| self.troubles.join("; "))
    }

    pub(super) fn word(&self) -> &'static str {
        match (self.ready, self.troubles.is_empty()) {
            (false, _) => "unready",
            (true, false) => "degraded",
            (true, true) => "ready",
        }
    }
}

/// `GET /healthz`: this answer is the proof.
pub async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`
pub async fn readyz(State(desk): State<Arc<Desk>>) -> Response {
    let readiness = desk.rooms.ready.borrow().clone();
    let degraded = readiness.degraded();
    if readiness.ready {
        let mut says = json!({ "ready": true, "degraded": degraded });
        if desk.rooms.metrics.journal_in_memory.get() > 0 {
            says["journal"] = "memory".into();
        }
        return Json(says).into_response();
    }
    let detail = degraded.unwrap_or_else(|| "the gateway is starting or closing; ask again".into());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail).with("ready", false).into_response()
}

/// `GET /metrics`
pub async fn metrics(State(desk): State<Arc<Desk>>) -> Result<Response, Problem> {
    let text = desk
        .look(|desk| {
            let lag = &desk.rooms.metrics.lag;
            let consumers = desk.rooms.view.consumers();
            // Nobody else looks at those who pull; without the store the rest is still worth telling.
            for now in consumers.unwrap_or_default() {
                let consumer = now.name;
                lag.get_or_create(&Consumer { consumer }).set(now.lag as i64);
            }
            let degraded = !desk.rooms.ready.borrow().troubles.is_empty();
            desk.rooms.metrics.degraded.set(degraded.into());
            Ok(desk.rooms.metrics.render())
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
