//! The page: `/` and `/page/<file>`, out of the binary; what it shows it takes from the API. No resources from elsewhere.
//!
//! Plain ES modules, served as they are written: no framework and no build step, since a technician's box lives ten years
//! and whatever is not there cannot age. One library draws the plots (uPlot, in `uplot/`, unmodified): a month of readings
//! in a few milliseconds is no work to do again. A new file of the page is a line in [`FILES`].

use std::sync::{Arc, LazyLock};

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;

use super::problem::Problem;
use crate::gzip;

const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path below `/page/`, media type, content.
type File = (&'static str, &'static str, &'static [u8]);

macro_rules! files {
    ($($kind:ident $path:literal)*) => { &[$(($path, $kind, include_bytes!($path))),*] };
}

const FILES: &[File] = files! {
    HTML "index.html"
    STYLE "style.css"
    STYLE "views.css"
    SCRIPT "app.js"
    SCRIPT "api.js"
    SCRIPT "live.js"
    SCRIPT "site.js"
    SCRIPT "words.js"
    SCRIPT "dom.js"
    SCRIPT "show.js"
    SCRIPT "sentences.js"
    SCRIPT "person.js"
    SCRIPT "maintain.js"
    SCRIPT "order.js"
    SCRIPT "chart.js"
    SCRIPT "chart/axis.js"
    SCRIPT "chart/hand.js"
    SCRIPT "chart/paint.js"
    SCRIPT "chart/point.js"
    SCRIPT "chart/rows.js"
    SCRIPT "chart/tell.js"
    SCRIPT "uplot/uPlot.iife.min.js"
    STYLE "uplot/uPlot.min.css"
    SCRIPT "views/login.js"
    SCRIPT "views/home.js"
    SCRIPT "views/places.js"
    SCRIPT "views/finder.js"
    SCRIPT "views/tickets.js"
    SCRIPT "views/ticket.js"
    SCRIPT "views/ticket_row.js"
    SCRIPT "views/ticket_chart.js"
    SCRIPT "views/ticket_story.js"
    SCRIPT "views/wires.js"
    SCRIPT "views/device.js"
    SCRIPT "views/look.js"
    SCRIPT "views/doors.js"
    SCRIPT "views/heat.js"
    SCRIPT "views/events.js"
};

/// A file as it is sent.
struct Asset {
    kind: &'static str,
    plain: &'static [u8],
    packed: Bytes,
    /// Of the content: a gateway that was updated is noticed at the next look, and nothing is fetched twice.
    tag: HeaderValue,
}

static ASSETS: LazyLock<Vec<(&'static str, Arc<Asset>)>> =
    LazyLock::new(|| FILES.iter().map(|file| (file.0, Arc::new(asset(file)))).collect());

fn asset((_, kind, plain): &File) -> Asset {
    let digest = digest::digest(&digest::SHA256, plain);
    let name: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Asset {
        kind,
        plain,
        // Without memory for it there is the plain one.
        packed: gzip::packed_small(plain).unwrap_or_default().into(),
        tag: HeaderValue::try_from(format!("\"{name}\"")).unwrap_or(HeaderValue::from_static("\"\"")),
    }
}

/// `GET /`
pub async fn page(asked: HeaderMap) -> Result<Response, Problem> {
    served("index.html", &asked)
}

/// `GET /page/{file}`
pub async fn file(Path(path): Path<String>, asked: HeaderMap) -> Result<Response, Problem> {
    served(&path, &asked)
}

fn served(path: &str, asked: &HeaderMap) -> Result<Response, Problem> {
    let found = ASSETS.iter().find(|(name, _)| *name == path);
    let (_, asset) = found.ok_or_else(|| {
        Problem::not_found(format!(
            "the page has no file `{path}`; load / anew, it may be of another version"
        ))
    })?;
    let packs =
        says(asked, header::ACCEPT_ENCODING).is_some_and(gzip::is_welcome) && !asset.packed.is_empty();
    let known = says(asked, header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &asset.tag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if packs {
        ([(header::CONTENT_ENCODING, "gzip")], Body::from(asset.packed.clone())).into_response()
    } else {
        Body::from(asset.plain).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Kept, but asked after each time.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::ETAG, asset.tag.clone());
    Ok(response)
}

fn says(asked: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    asked.get(name)?.to_str().ok()
}

/// `If-None-Match`: one or more tags, each perhaps weak, or `*`.
fn names(tags: &str, own: &HeaderValue) -> bool {
    let mut tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|tag| tag == "*" || tag.as_bytes() == own.as_bytes())
}
