//! The page: `/` and `/page/<file>`, out of the binary; what it shows it takes from the API. No resources from elsewhere.
//!
//! Plain ES modules, served as they are written: no framework and no build step, since a technician's box lives ten years
//! and whatever is not there cannot age. One library draws the plots (uPlot, in `uplot/`, unmodified): a month of readings
//! in a few milliseconds is no work to do again. A new file of the page is a line in [`FILES`].

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::asset::Asset;
use super::problem::Problem;

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
    SCRIPT "field.js"
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

static ASSETS: LazyLock<Vec<(&'static str, Asset)>> =
    LazyLock::new(|| FILES.iter().map(|(path, kind, plain)| (*path, Asset::new(kind, *plain))).collect());

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
    let mut response = asset.answer(asked);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response)
}
