//! What happens, as it happens, to who stays on the line: server-sent events. `wanted`: which points; `teller`: what one
//! listener is told and when; `news`: the journal, read once for all of them.
//!
//! A listener costs a task and a bounded buffer. One that does not take what it is told is dropped, and comes again with
//! the last cursor it saw.

mod news;
mod teller;
mod wanted;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio_util::io::ReaderStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Desk;
use super::gate::Caller;
use super::problem::Problem;
pub use news::News;
use teller::Teller;

/// At one time.
pub const STREAMS_MAX: usize = 32;
/// What one may leave untaken before it is waited for.
const BUFFER_BYTES: usize = 64 << 10;
const LAST_EVENT_ID: &str = "last-event-id";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    points: Option<String>,
}

/// `GET /api/v1/live?points=pump-1.*,b3.humidity`
pub async fn live(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let points = wanted::points(&desk.rooms.site, asked.points.as_deref().unwrap_or_default())?;
    let last = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("not a text"));
    let place = teller::place(&desk, last)?;
    let seat = desk.bounds.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::busy(format!("{STREAMS_MAX} streams are open already; close one, or ask without a stream"))
    })?;
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let gone = CancellationToken::new();
    let listener = Listener { far, _gone: gone.clone().drop_guard() };
    let teller = Teller::new(desk, caller, points, place, near);
    tokio::spawn(async move {
        let _seat = seat;
        let end = teller.end();
        tokio::select! {
            () = teller.tell() => {}
            () = end.cancelled() => {}
            () = gone.cancelled() => {}
        }
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((kind, Body::from_stream(ReaderStream::new(listener))).into_response())
}

/// The far end; its teller hears at once when nobody is there any more.
struct Listener {
    far: DuplexStream,
    _gone: DropGuard,
}

impl AsyncRead for Listener {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.far).poll_read(cx, into)
    }
}
