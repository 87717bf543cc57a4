//! `/openapi.json`: what this API is, for programs. The document is data, a file a subject as the handlers have one; here
//! they are put together, and each call gets what any call like it can answer. A new call is described in the file of its
//! subject; a new subject is a line in [`SUBJECTS`].

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value as Json};

use super::asset::Asset;

const DOCUMENT: &str = include_str!("document.json");

const SUBJECTS: [&str; 18] = [
    include_str!("commands.json"),
    include_str!("consumers.json"),
    include_str!("doors.json"),
    include_str!("events.json"),
    include_str!("health.json"),
    include_str!("heat.json"),
    include_str!("history.json"),
    include_str!("lines.json"),
    include_str!("live.json"),
    include_str!("look.json"),
    include_str!("maintenance.json"),
    include_str!("page.json"),
    include_str!("people.json"),
    include_str!("reload.json"),
    include_str!("rules.json"),
    include_str!("session.json"),
    include_str!("site.json"),
    include_str!("tickets.json"),
];
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

static ASSET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("application/json", document().to_string().into_bytes()));

/// `GET /openapi.json`
pub async fn openapi(asked: HeaderMap) -> Response {
    ASSET.answer(&asked)
}

fn document() -> Json {
    let mut whole = object(DOCUMENT);
    let mut paths = Map::new();
    let mut components = taken(&mut whole, "components");
    for subject in SUBJECTS {
        let mut subject = object(subject);
        paths.extend(taken(&mut subject, "paths"));
        for (part, more) in subject {
            if let (Some(Json::Object(held)), Json::Object(more)) = (components.get_mut(&part), more) {
                held.extend(more);
            }
        }
    }
    let answers = ["every call", "with a token", "with a body"].map(|whose| taken(&mut whole, whose));
    for path in paths.values_mut() {
        for method in METHODS {
            if let Some(call) = path.get_mut(method) {
                answer_all(call, &answers);
            }
        }
    }
    whole.insert("paths".into(), paths.into());
    whole.insert("components".into(), components.into());
    whole["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    whole.into()
}

/// What its own file says of an answer goes before what is said of all.
fn answer_all(call: &mut Json, [every, guarded, bodied]: &[Map<String, Json>; 3]) {
    let is_guarded = call.get("security").is_none();
    let has_body = call.get("requestBody").is_some();
    let Some(Json::Object(own)) = call.get_mut("responses") else { return };
    let guarded = guarded.iter().filter(|_| is_guarded);
    let bodied = bodied.iter().filter(|_| has_body);
    for (status, answer) in every.iter().chain(guarded).chain(bodied) {
        own.entry(status).or_insert_with(|| answer.clone());
    }
}

/// The files are in the binary; a test reads each of them.
fn object(text: &str) -> Map<String, Json> {
    serde_json::from_str(text).unwrap_or_default()
}

fn taken(from: &mut Map<String, Json>, name: &str) -> Map<String, Json> {
    match from.remove(name) {
        Some(Json::Object(part)) => part,
        _ => Map::new(),
    }
}
