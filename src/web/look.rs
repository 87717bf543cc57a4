//! A technician's look at the wires: one device asked now, with the bytes; and who else answers on a channel. Both go
//! through the channel's own task, never against it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::gate::Caller;
use super::problem::Problem;
use super::said::{self, Whole};
use super::{Desk, Role};
use crate::field::profile::Line;
use crate::field::{Errand, Exchange, Near, Scan, Sighting};
use crate::reading::Site;

/// A device with many questions, each of which may take its timeout.
const READ_MAX: Duration = Duration::from_secs(60);
/// Line settings of one scan.
const LINES_MAX: usize = 32;
const TIMEOUT_DEFAULT_MS: u64 = 150;
const TIMEOUT_MAX_MS: u64 = 5000;
/// Sightings that may wait for a slow client; then the scan waits.
const SIGHTINGS_MAX: usize = 16;
const STREAM_BYTES: usize = 4 << 10;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    /// Without the device: `pressure`; all of its points where it is not given.
    point: Option<String>,
}

/// `POST /api/v1/devices/{id}/read` `{"point": "pressure"}`
pub(super) async fn read(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<JsonValue>, Problem> {
    technicians_only(&caller)?;
    let asked: Read = parsed(&body, r#"{"point": "pressure"}"#)?;
    let site = &desk.rooms.site;
    let device = site.device_named(&id).ok_or_else(|| {
        Problem::not_found(format!("there is no device `{id}`; GET /api/v1/devices lists them"))
    })?;
    let point = match asked.point {
        Some(point) => Some(site.point_named(&format!("{id}.{point}")).ok_or_else(|| {
            Problem::not_found(format!("device `{id}` has no point `{point}`; GET /api/v1/points lists them"))
        })?),
        None => None,
    };
    let (answer, answered) = oneshot::channel();
    let wire = near(&desk, &site.device(device).channel)?;
    // The wire may have begun under another configuration, and counts as it did then.
    let names = (&site.device(device).id, point.map(|point| &site.point(point).id));
    let site = &wire.site;
    let device = site.device_named(names.0).ok_or_else(Problem::closing)?;
    let point = match names.1 {
        Some(name) => Some(site.point_named(name).ok_or_else(Problem::closing)?),
        None => None,
    };
    send(wire, &site.device(device).channel, Errand::Read { device, point, answer })?;
    match timeout(READ_MAX, answered).await {
        Ok(Ok(exchanges)) => Ok(Json(json!({ "device": id, "exchanges": told(site, &exchanges) }))),
        Ok(Err(_)) => {
            Err(Problem::busy("the wire is being opened anew; try again, or see `error` of the device"))
        }
        Err(_) => Err(Problem::busy("the wire did not come to it in time; try again")),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    from: Option<Whole>,
    to: Option<Whole>,
    /// `9600 8N1`
    #[serde(default)]
    lines: Vec<String>,
    timeout_ms: Option<Whole>,
}

/// `POST /api/v1/channels/{id}/scan`: a line of JSON for each thing there is to say, as it comes.
pub(super) async fn scan(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    technicians_only(&caller)?;
    let asked: Asked = parsed(&body, r#"{"from": 1, "to": 247, "lines": ["9600 8N1"]}"#)?;
    let what = wanted(&asked)?;
    let (found, mut sightings) = mpsc::channel(SIGHTINGS_MAX);
    send(near(&desk, &id)?, &id, Errand::Scan { what, found })?;
    let (mut near, far) = tokio::io::duplex(STREAM_BYTES);
    let stop = desk.stop.clone();
    tokio::spawn(async move {
        // A client that has gone away, or a house that closes, ends the scan.
        let passing = pass_on(&mut sightings, &mut near);
        let _ = stop.run_until_cancelled(passing).await;
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(ReaderStream::new(far))).into_response())
}

async fn pass_on(from: &mut mpsc::Receiver<Sighting>, to: &mut DuplexStream) -> std::io::Result<()> {
    while let Some(sighting) = from.recv().await {
        let line = format!("{}\n", seen(&sighting));
        to.write_all(line.as_bytes()).await?;
    }
    Ok(())
}

fn wanted(asked: &Asked) -> Result<Scan, Problem> {
    let (from, to) = (address(asked.from)?.unwrap_or(1), address(asked.to)?.unwrap_or(247));
    if from > to {
        return Err(Problem::bad_request(format!("from {from} is above to {to}; exchange them")));
    }
    if asked.lines.len() > LINES_MAX {
        return Err(Problem::bad_request(format!("`lines` may have up to {LINES_MAX} settings")));
    }
    let lines = asked.lines.iter().map(|text| text.parse::<Line>());
    let ms = asked.timeout_ms.map_or(TIMEOUT_DEFAULT_MS, |Whole(ms)| ms).clamp(10, TIMEOUT_MAX_MS);
    Ok(Scan {
        from,
        to,
        lines: lines.collect::<Result<_, _>>().map_err(Problem::bad_request)?,
        timeout: Duration::from_millis(ms),
    })
}

fn address(asked: Option<Whole>) -> Result<Option<u8>, Problem> {
    let Some(Whole(address)) = asked else { return Ok(None) };
    let none = |_| Problem::bad_request(format!("{address} is no address; say 0 to {}", u8::MAX));
    u8::try_from(address).map(Some).map_err(none)
}

fn near<'a>(desk: &'a Desk, channel: &str) -> Result<&'a Near, Problem> {
    desk.rooms.lanes.get(channel).ok_or_else(|| {
        Problem::not_found(format!("there is no channel `{channel}`; GET /api/v1/devices names them"))
    })
}

fn send(wire: &Near, channel: &str, errand: Errand) -> Result<(), Problem> {
    wire.errands.try_send(errand).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => {
            Problem::busy(format!("too much is asked of channel `{channel}` already; try again"))
        }
        mpsc::error::TrySendError::Closed(_) => Problem::closing(),
    })
}

fn technicians_only(caller: &Caller) -> Result<(), Problem> {
    match caller.role {
        Role::Technician => Ok(()),
        _ => Err(Problem::forbidden("only a token of role technician may look at the wires")),
    }
}

fn parsed<T: Default + for<'de> Deserialize<'de>>(body: &[u8], example: &str) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    said::object(body)
        .map_err(|error| Problem::bad_request(format!("the body does not read as {example}: {error}")))
}

// --- as JSON; the commands print the same ---

/// What was asked and heard, with the names of the points.
pub fn told(site: &Site, exchanges: &[Exchange]) -> JsonValue {
    exchanges.iter().map(|exchange| exchange_told(site, exchange)).collect()
}

fn exchange_told(site: &Site, exchange: &Exchange) -> JsonValue {
    let values = exchange.values.iter().map(|seen| {
        let point = site.point(seen.point);
        let otherwise = seen.otherwise.iter().map(|(how, value)| json!({ "as": how, "value": value }));
        json!({
            "point": point.id,
            "words": seen.words.iter().map(|word| format!("{word:04X}")).collect::<Vec<_>>(),
            "value": seen.value.as_ref().ok(),
            "reason": seen.value.as_ref().err(),
            "unit": point.unit,
            "range": point.range.map(|(low, high)| [low, high]),
            "otherwise": otherwise.collect::<Vec<_>>(),
        })
    });
    json!({
        "what": exchange.what,
        "sent": hex(&exchange.sent),
        "heard": hex(&exchange.heard),
        "trouble": exchange.trouble,
        "values": values.collect::<Vec<_>>(),
    })
}

pub fn seen(sighting: &Sighting) -> JsonValue {
    match sighting {
        Sighting::Progress { done, of } => json!({ "progress": { "done": done, "of": of } }),
        Sighting::Found { address, line, how } => {
            json!({ "found": { "address": address, "line": line.map(|line| line.to_string()), "how": how } })
        }
        Sighting::Trouble(why) => json!({ "trouble": why }),
    }
}

/// `01 04 00 01`
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
}
