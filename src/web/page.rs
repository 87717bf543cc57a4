//! The page: one file, no resources from elsewhere; what it shows it takes from the API.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

const CONTENT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /`
pub async fn page() -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY)];
    (headers, Html(include_str!("page.html"))).into_response()
}
