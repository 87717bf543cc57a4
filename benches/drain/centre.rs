//! A centre that takes pushes and checks them: each event once, none of a ticket out of order, none missed.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;

/// What came in; every clone is the same centre.
#[derive(Clone, Default)]
pub struct Centre(Arc<Mutex<Book>>);

#[derive(Default)]
pub struct Book {
    seen: Vec<bool>,
    of_ticket: HashMap<String, u64>,
    pub events: usize,
    pub requests: usize,
    pub bytes: usize,
    pub twice: usize,
    pub out_of_order: usize,
    /// When the event number of the backlog was reached, in order.
    pub first: Option<Instant>,
    pub last: Option<Instant>,
    /// When the ticket of a live point came.
    pub live: HashMap<String, Instant>,
}

impl Centre {
    /// Answers from a thread of its own, each request after a while.
    pub fn open(address: SocketAddr, delay: Duration) -> Self {
        let centre = Self::default();
        let state = (centre.clone(), delay);
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let app = Router::new().route("/events", post(take)).layer(DefaultBodyLimit::disable());
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, app.with_state(state)).await.unwrap();
            });
        });
        centre
    }

    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.0.lock().unwrap())
    }
}

async fn take(State((centre, delay)): State<(Centre, Duration)>, body: Bytes) -> StatusCode {
    tokio::time::sleep(delay).await;
    centre.0.lock().unwrap().note(std::str::from_utf8(&body).unwrap());
    StatusCode::OK
}

impl Book {
    pub fn note(&mut self, body: &str) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.requests += 1;
        self.bytes += body.len();
        for event in body.split("{\"specversion\"").skip(1) {
            self.note_event(event, now);
        }
    }

    fn note_event(&mut self, event: &str, now: Instant) {
        let seq: u64 = member(event, "\"sequence\":\"").parse().unwrap();
        let index = seq as usize;
        if self.seen.len() <= index {
            self.seen.resize(index + 1, false);
        }
        self.twice += usize::from(self.seen[index]);
        self.events += usize::from(!self.seen[index]);
        self.seen[index] = true;
        let Some(ticket) = member(event, "\"subject\":\"").strip_prefix("tickets/") else {
            return;
        };
        match self.of_ticket.get_mut(ticket) {
            Some(last) => {
                self.out_of_order += usize::from(seq <= *last);
                *last = seq;
            }
            None => _ = self.of_ticket.insert(ticket.to_owned(), seq),
        }
        if member(event, "\"type\":\"") == "gatehouse.ticket.opened" {
            self.live.entry(member(event, "\"point\":\"").to_owned()).or_insert(now);
        }
    }

    pub fn missed(&self, up_to: usize) -> usize {
        (1..=up_to).filter(|seq| !self.seen.get(*seq).copied().unwrap_or_default()).count()
    }
}

fn member<'a>(event: &'a str, start: &str) -> &'a str {
    let Some((_, rest)) = event.split_once(start) else { return "" };
    rest.split('"').next().unwrap_or_default()
}
