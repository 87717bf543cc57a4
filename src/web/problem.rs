//! What goes wrong, as RFC 9457 problem details. Every refusal of this room leaves through here.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json};

use super::gate;
use crate::store;

const MEDIA_TYPE: &str = "application/problem+json";
/// Bytes of a text that became a detail.
const DETAIL_MAX: usize = 4 << 10;

#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last word of `type`: what a program tells problems apart by.
    word: &'static str,
    /// Thing, place and cure.
    detail: Cow<'static, str>,
    more: Map<String, Json>,
    /// Seconds.
    retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, word: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, word, detail: detail.into(), more: Map::new(), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    pub fn unauthorized(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub fn conflict(word: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, word, detail)
    }

    pub fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The connection ends with it: what is still to come of the body is nothing that anybody waits for.
    pub fn too_large() -> Self {
        let detail = format!("the body is longer than {} KiB; say less at a time", super::BODY_MAX >> 10);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    /// For the moment; the client should come again after some seconds.
    pub fn busy(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail) }
    }

    /// After wrong tokens.
    pub fn too_soon(detail: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-tries", detail).after(wait)
    }

    /// From one address.
    pub fn too_many(detail: impl Into<Cow<'static, str>>, wait: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail).after(wait)
    }

    /// The client should come again then: the seconds are rounded up.
    pub fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait.as_secs() + 1), ..self }
    }

    pub fn closing() -> Self {
        Self::busy("the gateway is closing; try again when it is back")
    }

    pub fn foreign_epoch(epoch: &str, present: &str) -> Self {
        let detail = format!(
            "the cursor is of epoch {epoch}, the journal is of epoch {present}; \
             it was begun anew, so go on after what GET /api/v1/consumers says you have of it, or from its beginning: after=0"
        );
        Self::conflict("foreign-epoch", detail).with("epoch", present)
    }

    pub fn above_head(seq: u64, head: &str) -> Self {
        let detail = format!("the cursor {seq} is above the journal's head {head}; say at most the head");
        Self::conflict("above-head", detail).with("head", head)
    }

    /// What the store said; `cursor` writes a number as a cursor.
    pub fn of_store(error: &store::Error, cursor: impl Fn(u64) -> String) -> Self {
        match error {
            store::Error::Gone { oldest } => {
                let oldest = cursor(*oldest);
                let detail = format!("events before {oldest} are no longer kept; go on with after={oldest}");
                Self::new(StatusCode::GONE, "cursor-too-old", detail).with("oldest", oldest)
            }
            store::Error::AheadOfJournal { head, .. } => {
                let head = cursor(*head);
                let detail = format!("the cursor is above the journal's head {head}; say at most the head");
                Self::conflict("above-head", detail).with("head", head)
            }
            store::Error::TooManyErasures(_) => Self::conflict("too-many", error.to_string()),
            other => {
                tracing::error!(error = %other, "the store could not answer the API");
                Self::internal(format!("the store could not answer: {other}"))
            }
        }
    }

    /// The last word of its `type`.
    pub fn word(&self) -> &'static str {
        self.word
    }

    /// One more member of the document.
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.more.insert(name.into(), value.into());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Problem");
        let mut document = Map::new();
        document.insert("type".into(), format!("urn:gatehouse:problem:{}", self.word).into());
        document.insert("title".into(), title.into());
        document.insert("status".into(), self.status.as_u16().into());
        document.insert("detail".into(), self.detail.into());
        document.extend(self.more);
        let body = Json::Object(document).to_string();
        let mut response = (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Where no route leads.
pub async fn nothing_here(uri: Uri) -> Problem {
    Problem::not_found(format!(
        "there is nothing at {}; the API is below /api/v1, the page is at /",
        uri.path()
    ))
}

/// Of all that leaves: what protects it, and refusals of the framework (a wrong method, a body too long, a query that does
/// not parse) as problems.
pub async fn dress(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = as_problem(next.run(request).await, &method, &path).await;
    let headers = response.headers_mut();
    gate::protect(headers);
    if is_chunked {
        // Somebody before us may take other bytes for its end: what comes behind it is nobody's request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn as_problem(response: Response, method: &Method, path: &str) -> Response {
    let status = response.status();
    let dressed = response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == MEDIA_TYPE);
    if dressed || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let allow = parts.headers.get(header::ALLOW).cloned();
    let mut response = undressed(status, method, path, allow.as_ref(), body).await.into_response();
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

async fn undressed(
    status: StatusCode,
    method: &Method,
    path: &str,
    allow: Option<&HeaderValue>,
    body: Body,
) -> Problem {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = allow.and_then(|a| a.to_str().ok()).unwrap_or("other methods");
            let detail = format!("{path} does not answer to {method}; use {allow}");
            Problem::new(status, "method-not-allowed", detail)
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => {
            let text = to_bytes(body, DETAIL_MAX).await.unwrap_or_default();
            let word = if status.is_client_error() { "bad-request" } else { "internal" };
            Problem::new(status, word, String::from_utf8_lossy(&text).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(problem: Problem) -> (StatusCode, Json) {
        let response = problem.into_response();
        let status = response.status();
        let body = to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_cursor_older_than_what_is_kept_is_410_and_names_where_to_go_on() {
        let gone = store::Error::Gone { oldest: 41 };
        let (status, told) = told(Problem::of_store(&gone, |seq| format!("e.{seq}"))).await;
        assert_eq!(status, StatusCode::GONE);
        assert_eq!(told["oldest"], "e.41");
        assert_eq!(told["status"], 410);
        assert!(told["detail"].as_str().unwrap().contains("after=e.41"));
    }
}
