//! What a body is said to be: JSON, or it is not read. A page of another site can send forms and plain text without being
//! asked; what `curl -d` calls a form is taken for the JSON that it is.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use super::problem::Problem;

const CURL: &str = "application/x-www-form-urlencoded";

/// Before any body is read.
pub async fn as_json(request: Request, next: Next) -> Response {
    match refusal(request.headers()) {
        Some(problem) if !request.method().is_safe() => {
            let mut response = problem.into_response();
            response.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            response
        }
        _ => next.run(request).await,
    }
}

fn refusal(headers: &HeaderMap) -> Option<Problem> {
    let refused = |detail: String| {
        Some(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
    };
    let of_a_page = headers.contains_key(header::ORIGIN);
    for kind in headers.get_all(header::CONTENT_TYPE) {
        if !kind.to_str().is_ok_and(|kind| is_json(kind) || (is_curls(kind) && !of_a_page)) {
            return refused("the body is not said to be JSON; send `Content-Type: application/json`".into());
        }
    }
    let packing = headers.get(header::CONTENT_ENCODING);
    if packing.is_some_and(|packing| !packing.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("the body is packed; send it without `Content-Encoding`".into());
    }
    None
}

/// `application/json; charset=utf-8`, `application/merge-patch+json`
fn is_json(kind: &str) -> bool {
    let kind = essence(kind);
    let (_, subtype) = kind.split_once('/').unwrap_or_default();
    kind == "application/json" || subtype.ends_with("+json")
}

fn is_curls(kind: &str) -> bool {
    essence(kind) == CURL
}

fn essence(kind: &str) -> String {
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

// --- what is in them ---

/// The body as an object of named members. A list would be taken for one as well, by the order of its items.
///
/// # Errors
/// It is none, or not such a one.
pub fn object<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    match body.trim_ascii_start().first() {
        Some(b'[') => Err(de::Error::custom("a list is no object")),
        _ => serde_json::from_slice(body),
    }
}

/// A whole number, also where a program writes each number with a point: `7.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole(pub u64);

/// The first that no `u64` can hold.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(from)?;
        let is_whole = |number: &f64| (0.0..BEYOND).contains(number) && number.fract() == 0.0;
        let rounded = || Some(number.as_f64().filter(is_whole)? as u64);
        let none = || de::Error::custom(format!("{number} is no whole number"));
        number.as_u64().or_else(rounded).map(Whole).ok_or_else(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_by_whatever_name_is_taken_and_nothing_else() {
        let taken = |pairs: &[(&'static str, &'static str)]| {
            let pairs =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            refusal(&pairs.collect()).is_none()
        };
        assert!(taken(&[]));
        for kind in
            ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", CURL]
        {
            assert!(taken(&[("content-type", kind)]), "{kind}");
        }
        for kind in [
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "json",
            "",
            "text/plain;+json",
        ] {
            assert!(!taken(&[("content-type", kind)]), "{kind}");
        }
        let page = ("origin", "http://127.0.0.1:8080");
        assert!(taken(&[page, ("content-type", "application/json")]));
        assert!(!taken(&[page, ("content-type", CURL)]), "a form of a page");
        assert!(!taken(&[("content-encoding", "gzip")]) && taken(&[("content-encoding", "Identity")]));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let read = |text| serde_json::from_str::<Whole>(text).ok().map(|Whole(number)| number);
        for (text, number) in
            [("7", 7), ("7.0", 7), ("7e1", 70), ("18446744073709551615", u64::MAX), ("-0.0", 0)]
        {
            assert_eq!(read(text), Some(number), "{text}");
        }
        for text in ["7.5", "-1", "-1.0", "1e300", "18446744073709551616", "\"7\"", "null", "true"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_is_not_taken_for_the_members_of_an_object() {
        #[derive(Debug, Deserialize)]
        struct Said {
            by: Option<String>,
        }
        assert_eq!(object::<Said>(br#" {"by": "Wang"}"#).unwrap().by.as_deref(), Some("Wang"));
        for body in [" [\"Wang\"]", "[]", "[null]", "null", "7", ""] {
            assert!(object::<Said>(body.as_bytes()).is_err(), "{body}");
        }
    }
}
