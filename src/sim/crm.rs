//! A stand-in CRM: it takes pushes, remembers each event, answers new tickets with its own number, and can be moody.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::post;
use axum::serve::Listener;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::reading::Millis;
use crate::time::now;

/// A running CRM; it ends when this is dropped.
#[derive(Debug)]
pub struct Crm {
    pub address: SocketAddr,
    desk: Desk,
    _running: DropGuard,
}

/// How it takes the next pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Accepts,
    /// Answers with this status and takes nothing: 503, 401.
    Refuses(u16),
    /// Takes all, and the connection breaks before its answer is out.
    Cuts,
    /// A captive portal: 200 with a page.
    Portal,
}

/// One event as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// The event's id.
    pub id: String,
    /// The id it had first, where a new epoch carried it; one event however often it was carried.
    pub origin: String,
    /// `gatehouse.ticket.opened`
    pub kind: String,
    /// `tickets/<id>`
    pub subject: String,
    pub data: Json,
    /// Of the first time.
    pub at: Millis,
    pub times: u32,
}

const BODY_MAX: usize = 16 * 1024 * 1024;
/// Beyond these it forgets nothing but takes nothing new.
const EVENTS_MAX: usize = 100_000;
const TYPE: &str = "application/cloudevents-batch+json";

impl Crm {
    /// On a free loopback port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let desk = Desk::default();
        let listener = Cuttable { inner: listener, cut: desk.cut.clone() };
        let router = Router::new()
            .route("/events", post(take))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(desk.clone());
        let stop = CancellationToken::new();
        let running = stop.clone().drop_guard();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let _ = axum::serve(listener, router).await;
        }));
        Ok(Self { address, desk, _running: running })
    }

    /// Where to push to.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    pub fn set_mood(&self, mood: Mood) {
        self.desk.lock().mood = mood;
        self.desk.cut.store(mood == Mood::Cuts, Ordering::Relaxed);
    }

    /// Every event that arrived, in the order of its first time.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.desk.lock().arrivals.clone()
    }

    /// The events of each ticket, by its id, in the order of arrival.
    pub fn tickets(&self) -> BTreeMap<String, Vec<Arrival>> {
        let mut tickets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for arrival in self.arrivals() {
            if let Some(id) = arrival.subject.strip_prefix("tickets/") {
                tickets.entry(id.to_owned()).or_default().push(arrival);
            }
        }
        tickets
    }
}

// --- the desk ---

#[derive(Debug, Clone, Default)]
struct Desk {
    books: Arc<Mutex<Books>>,
    cut: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Books {
    mood: Mood,
    arrivals: Vec<Arrival>,
    index: BTreeMap<String, usize>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    let mut books = desk.lock();
    match books.mood {
        Mood::Refuses(status) => {
            return StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE).into_response();
        }
        Mood::Portal => return Html("<html><body>Welcome to the hotel</body></html>").into_response(),
        Mood::Accepts | Mood::Cuts => {}
    }
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != TYPE) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let Ok(events) = serde_json::from_slice::<Vec<Json>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if books.arrivals.len() + events.len() > EVENTS_MAX {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let tickets: Vec<_> = events.iter().filter_map(|event| books.enter(event)).collect();
    axum::Json(json!({ "tickets": tickets })).into_response()
}

impl Books {
    /// Remembers an event; a ticket that it opens gets a work order, the same one however often it is told.
    fn enter(&mut self, event: &Json) -> Option<Json> {
        let text = |key| event.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let id = text("id");
        if let Some(&known) = self.index.get(&id) {
            self.arrivals[known].times += 1;
        } else {
            self.index.insert(id.clone(), self.arrivals.len());
            let (kind, subject) = (text("type"), text("subject"));
            let origin =
                Some(text("origin")).filter(|origin| !origin.is_empty()).unwrap_or_else(|| id.clone());
            let data = event.get("data").cloned().unwrap_or_default();
            self.arrivals.push(Arrival { id: id.clone(), origin, kind, subject, data, at: now(), times: 1 });
        }
        let arrival = &self.arrivals[*self.index.get(&id)?];
        if arrival.kind != "gatehouse.ticket.opened" {
            return None;
        }
        let (ticket, revision) = (arrival.data.get("id")?.clone(), arrival.data.get("revision")?.clone());
        let order = self.order(&id);
        Some(json!({ "id": ticket, "revision": revision, "external_id": order, "state": "acknowledged" }))
    }

    /// The nth ticket that was opened is work order n.
    fn order(&self, event: &str) -> String {
        let opened = self.arrivals.iter().filter(|arrival| arrival.kind == "gatehouse.ticket.opened");
        let nth = opened.take_while(|arrival| arrival.id != event).count() + 1;
        format!("WO-{nth:06}")
    }
}

// --- a connection that can break before the answer ---

#[derive(Debug)]
struct Cuttable<T> {
    inner: T,
    cut: Arc<AtomicBool>,
}

impl Listener for Cuttable<TcpListener> {
    type Io = Cuttable<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (inner, from) = Listener::accept(&mut self.inner).await;
        (Cuttable { inner, cut: self.cut.clone() }, from)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

impl AsyncRead for Cuttable<TcpStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl AsyncWrite for Cuttable<TcpStream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.load(Ordering::Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
