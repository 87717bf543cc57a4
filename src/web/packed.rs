//! Answers made smaller for those who can read them so.

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::gzip;

/// Bytes below which the saving is not worth a header.
const PACKED_MIN: u64 = 1 << 10;
/// Beyond that it is told as it is; no answer is that long.
const PACKED_MAX: u64 = 16 << 20;

/// Whole answers in JSON; a stream goes out as it comes.
pub async fn pack(request: Request, next: Next) -> Response {
    let accepts = request.headers().get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let welcome = accepts.is_some_and(gzip::is_welcome);
    let mut response = next.run(request).await;
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if !is_json || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let length = response.body().size_hint().exact();
    if !welcome || !length.is_some_and(|length| (PACKED_MIN..=PACKED_MAX).contains(&length)) {
        return response;
    }
    match packed(response).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// On a thread of its own: half a megabyte takes some milliseconds.
async fn packed(response: Response) -> Result<Response, Problem> {
    let broken = |error: String| Problem::internal(format!("the answer could not be gzipped: {error}"));
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, PACKED_MAX as usize).await.map_err(|error| broken(error.to_string()))?;
    let packing = tokio::task::spawn_blocking(move || gzip::packed(&body)).await;
    let body =
        packing.map_err(|error| broken(error.to_string()))?.map_err(|error| broken(error.to_string()))?;
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(Response::from_parts(parts, Body::from(body)))
}
