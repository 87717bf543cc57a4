//! What is in the binary and served as it is: packed once, and sent again only to those who have another one.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;

use crate::gzip;

/// A file as it is sent.
pub struct Asset {
    kind: &'static str,
    plain: Bytes,
    packed: Bytes,
    /// Of the content: a gateway that was updated is noticed at the next look, and nothing is fetched twice.
    tag: HeaderValue,
}

impl Asset {
    pub fn new(kind: &'static str, content: impl Into<Cow<'static, [u8]>>) -> Self {
        let plain = match content.into() {
            Cow::Borrowed(content) => Bytes::from_static(content),
            Cow::Owned(content) => Bytes::from(content),
        };
        let digest = digest::digest(&digest::SHA256, &plain);
        let name: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            kind,
            // Without memory for it there is the plain one.
            packed: gzip::packed_small(&plain).unwrap_or_default().into(),
            plain,
            tag: HeaderValue::try_from(format!("\"{name}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    pub fn answer(&self, asked: &HeaderMap) -> Response {
        let packs =
            says(asked, header::ACCEPT_ENCODING).is_some_and(gzip::is_welcome) && !self.packed.is_empty();
        let known = says(asked, header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &self.tag));
        let mut response = if known {
            StatusCode::NOT_MODIFIED.into_response()
        } else if packs {
            ([(header::CONTENT_ENCODING, "gzip")], Body::from(self.packed.clone())).into_response()
        } else {
            Body::from(self.plain.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        // Kept, but asked after each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::ETAG, self.tag.clone());
        response
    }
}

fn says(asked: &HeaderMap, name: HeaderName) -> Option<&str> {
    asked.get(name)?.to_str().ok()
}

/// `If-None-Match`: one or more tags, each perhaps weak, or `*`.
fn names(tags: &str, own: &HeaderValue) -> bool {
    let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag.as_bytes() == own.as_bytes())
}
