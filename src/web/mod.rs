//! The pull API, the page, health and metrics: from View only, and people's actions as nouns to intake.
//!
//! One file a subject: `events` (the journal), `consumers` (its readers), `tickets`, `commands` (orders to devices),
//! `site` (devices and points), `lines`, `rules`, `doors`, `heat`, `maintenance`, `people` (erasure), `reload` (the configuration), `history`, `health`, `page`; `stream` (all of it as it changes),
//! `session` (who logged in on the page), `plan` (what of the configuration is shown), `openapi` (all of it, for programs).
//! Before them all stand `listener` (connections; `seats`: how many, `guest`: for how long one may say nothing, `bodies`, `tls`),
//! `gate` (who may do what, with `rate`, `lockout` and `pass`: how often, after mistakes, and for how long), `said` (bodies are JSON)
//! and behind them `packed` (gzip), `asset` (what is in the binary) and `problem` (what every refusal looks like).

mod asset;
mod bodies;
mod chart;
mod commands;
mod consumers;
mod doors;
mod events;
mod gate;
mod guest;
mod health;
mod heat;
mod history;
mod lines;
mod listener;
mod lockout;
pub mod look;
mod maintenance;
mod openapi;
mod packed;
mod page;
mod pass;
mod people;
pub mod plan;
mod problem;
mod rate;
mod refusals;
mod reload;
mod rules;
mod said;
mod seats;
mod session;
mod site;
mod stream;
mod tickets;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::middleware;
use axum::routing::{get, post, put};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::event::Cursor;
use crate::field::Near;
use crate::fingerprint::Fingerprint;
use crate::live::Live;
use crate::maintenance::Call;
use crate::metrics::{Metrics, Refused};
use crate::order::Wish;
use crate::reading::Site;
use crate::reload::Reload;
use crate::store::{Outbox, View};
use crate::ticket::Ask;

use guest::Times;
pub use health::Readiness;
use listener::Terms;
pub use plan::Plan;
use problem::Problem;
pub use reload::{Files, RELOADS_MAX};
pub use session::Sessions;
pub use tls::{Demand, Tls, Unusable};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// None: the API is open, and then it listens on loopback only.
    pub tokens: Vec<Token>,
    /// There are tokens, and none could be read: nobody gets in, which none at all would not mean.
    pub closed: bool,
    /// None: it speaks HTTP.
    pub tls: Option<Tls>,
    /// Requests a second of one address; `None`: what is usual.
    pub rate: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub name: Arc<str>,
    pub role: Role,
    pub token: Fingerprint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Pull, acknowledge, ticket actions.
    Central,
    /// All but tokens.
    Technician,
    /// Read.
    Viewer,
}

impl Role {
    pub fn word(self) -> &'static str {
        match self {
            Role::Central => "central",
            Role::Technician => "technician",
            Role::Viewer => "viewer",
        }
    }
}

pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// What is served now; the next may come while connections stay open.
pub type Offer = (Settings, Rooms);

/// What the house shows through this room.
#[derive(Debug, Clone)]
pub struct Rooms {
    pub view: View,
    /// Only for the cursors of those who pull.
    pub outbox: Outbox,
    pub live: Arc<Live>,
    pub site: Arc<Site>,
    pub plan: Arc<Plan>,
    /// Of those who logged in on the page, also in the room before this one.
    pub sessions: Sessions,
    pub metrics: Metrics,
    /// The last number of the journal; wakes those who wait for news.
    pub head: watch::Receiver<u64>,
    /// People's actions, answered by intake.
    pub asks: mpsc::Sender<Ask>,
    /// People's orders to devices, answered by intake.
    pub wishes: mpsc::Sender<Wish>,
    /// People's words on maintenance, answered by intake.
    pub calls: mpsc::Sender<Call>,
    /// By channel: what a technician wants to see of it now.
    pub lanes: HashMap<Arc<str>, Near>,
    pub ready: watch::Receiver<Readiness>,
    /// The configuration as it runs.
    pub files: Files,
    /// People's word to read it anew.
    pub reloads: mpsc::Sender<Reload>,
    /// Consumers that the configuration names; they cannot be forgotten by a call.
    pub named: Vec<Arc<str>>,
}

/// Bytes of a request's body.
const BODY_MAX: usize = 64 << 10;
/// Requests that wait for news at one time.
const POLLS_MAX: usize = 64;
/// Requests that look into the store at one time; each takes a thread.
const LOOKS_MAX: usize = 2;
/// How long requests may still take once the house closes.
const DRAIN: Duration = Duration::from_secs(3);

/// Opens the port; where `listen` has port 0, the listener knows which it became.
///
/// # Errors
/// The address is taken or not this machine's; or it is open to others while no token guards the API.
pub async fn bind(settings: &Settings) -> io::Result<TcpListener> {
    bind_allowed(settings)?;
    let listen = settings.listen;
    TcpListener::bind(listen).await.map_err(|error| {
        let why =
            format!("[api] listen = \"{listen}\": {error}; stop what listens there, or choose another port");
        io::Error::new(error.kind(), why)
    })
}

/// # Errors
/// It would be open to others while no token guards it; or its certificate, or none of its tokens, can be used.
pub fn bind_allowed(settings: &Settings) -> io::Result<()> {
    let listen = settings.listen;
    if let Some(Err(error)) = settings.tls.as_ref().map(Tls::server) {
        let why = format!("[api] tls: {error}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if settings.closed {
        let why = "[[api.token]]: none of them can be read";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    if settings.tokens.is_empty() && !listen.ip().is_loopback() {
        let why = format!(
            "[api] listen = \"{listen}\" can be reached by others, but there is no [[api.token]]; \
             add one, or listen on 127.0.0.1"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

/// Answers requests until `stop`; those that wait for news are then answered at once.
///
/// # Errors
/// TLS cannot be spoken with the certificate there is; accepting goes on after an error of one connection.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    rooms: Rooms,
    stop: CancellationToken,
) -> io::Result<()> {
    let (_offer, offers) = watch::channel((settings, rooms));
    serve_offers(listener, offers, stop).await
}

/// The same, of whatever is offered: connections stay open when it changes, and who has begun to ask is answered by what
/// there was then.
///
/// # Errors
/// As [`serve`].
pub async fn serve_offers(
    listener: TcpListener,
    mut offers: watch::Receiver<Offer>,
    stop: CancellationToken,
) -> io::Result<()> {
    let first = offers.borrow_and_update().clone();
    let terms = Terms::new(first.0.tls.as_ref(), &stop).map_err(io::Error::other)?;
    let (terms_in, terms) = watch::channel(terms);
    let first = Desk::new(first, stop.clone(), Bounds::default(), Arc::default());
    let (present_in, present) = watch::channel(Arc::new(first));
    let rooms = router(&Present(present.clone()));
    let serving = listener::attend(listener, rooms, terms, Times::default(), stop.clone());
    let turning = async {
        // Once nothing else will be offered, it stays as it is.
        while offers.changed().await.is_ok() {
            let (offer, desk) = (offers.borrow_and_update().clone(), present_in.borrow().clone());
            turn_terms(&terms_in, &desk.settings, &offer.0, &stop);
            let next = Desk::new(offer, stop.clone(), desk.bounds.clone(), desk.rates.clone());
            present_in.send_replace(Arc::new(next));
            desk.outdated.cancel();
        }
        std::future::pending::<()>().await;
    };
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = serving => Ok(()),
        () = turning => Ok(()),
        () = lines::count(&present) => Ok(()),
        () = patience => {
            tracing::warn!(after = ?DRAIN, "connections were still open when the API closed");
            Ok(())
        }
    }
}

/// Another certificate, or other clients. Where it cannot be used, which was looked at before, it stays as it is.
fn turn_terms(terms: &watch::Sender<Terms>, old: &Settings, new: &Settings, stop: &CancellationToken) {
    if old.tls == new.tls {
        return;
    }
    let next = terms.borrow().turn(old.tls.as_ref(), new.tls.as_ref(), stop);
    match next {
        Ok(next) => drop(terms.send_replace(next)),
        Err(error) => tracing::error!(%error, "the API keeps the certificate it has"),
    }
}

fn router(present: &Present) -> Router {
    let rooms = routes()
        .fallback(problem::nothing_here)
        .layer(middleware::from_fn(packed::pack))
        .layer(middleware::from_fn(said::as_json))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(present.clone(), gate::gate))
        .with_state(present.clone());
    // Around the whole: what a wrong method may use instead is added outside of a router's own layers.
    Router::new().fallback_service(rooms).layer(middleware::from_fn(problem::dress))
}

/// Each is described in `openapi`.
fn routes() -> Router<Present> {
    let mut router = Router::new()
        .route("/", get(page::page))
        .route("/page/{*file}", get(page::file))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::openapi))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/configuration", get(reload::configuration))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/consumers", get(consumers::list))
        .route("/api/v1/consumers/{name}", put(consumers::acknowledge).delete(consumers::forget))
        .route("/api/v1/devices", get(site::devices))
        .route("/api/v1/devices/{id}/commands", post(commands::command))
        .route("/api/v1/devices/{id}/maintenance", post(maintenance::of_device))
        .route("/api/v1/devices/{id}/read", post(look::read))
        .route("/api/v1/channels/{id}/scan", post(look::scan))
        .route("/api/v1/maintenance", get(maintenance::list).post(maintenance::of_any))
        .route("/api/v1/people/{pseudonym}/erase", post(people::erase))
        .route("/api/v1/points", get(site::points))
        .route("/api/v1/points/{point}/history", get(history::history))
        .route("/api/v1/doors", get(doors::doors))
        .route("/api/v1/heat", get(heat::heat))
        .route("/api/v1/lines", get(lines::lines))
        .route("/api/v1/live", get(stream::live))
        .route(gate::SESSION, post(session::open).delete(session::end))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/site", get(site::site))
        .route("/api/v1/tickets", get(tickets::list))
        .route("/api/v1/tickets/{id}", get(tickets::one))
        .route("/api/v1/tickets/{id}/chart.svg", get(chart::chart))
        .route("/api/v1/tickets/{id}/events", get(tickets::events));
    for (word, verb) in tickets::VERBS {
        let path = format!("/api/v1/tickets/{{id}}/{word}");
        router = router
            .route(&path, post(move |desk, caller, id, body| tickets::act(verb, desk, caller, id, body)));
    }
    router
}

/// The desk of the moment.
#[derive(Clone)]
struct Present(watch::Receiver<Arc<Desk>>);

impl FromRef<Present> for Arc<Desk> {
    fn from_ref(present: &Present) -> Self {
        present.0.borrow().clone()
    }
}

/// How many there may be at one time, whichever desk they came to.
#[derive(Clone)]
struct Bounds {
    polls: Arc<Semaphore>,
    looks: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    buckets: Arc<Mutex<rate::Buckets>>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            polls: Arc::new(Semaphore::new(POLLS_MAX)),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
            buckets: Arc::default(),
        }
    }
}

/// What every request finds here.
struct Desk {
    settings: Settings,
    rooms: Rooms,
    stop: CancellationToken,
    /// Another desk has taken its place: who looks on for long begins again there.
    outdated: CancellationToken,
    bounds: Bounds,
    news: stream::News,
    consumers: consumers::Shared,
    rates: Arc<lines::Rates>,
    heat: heat::Counted,
    words: doors::Words,
}

impl Desk {
    fn new(
        (settings, rooms): Offer,
        stop: CancellationToken,
        bounds: Bounds,
        rates: Arc<lines::Rates>,
    ) -> Self {
        Self {
            settings,
            rooms,
            outdated: stop.child_token(),
            stop,
            bounds,
            news: stream::News::default(),
            consumers: consumers::Shared::default(),
            rates,
            heat: heat::Counted::default(),
            words: doors::Words::default(),
        }
    }

    /// Looks into the store on a thread of its own, since the disk may take its time.
    async fn look<T, F>(self: &Arc<Self>, look: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Desk) -> Result<T, Problem> + Send + 'static,
    {
        let gone = |_| Problem::internal("a look into the store broke off; try again, and read the log");
        let turn = self.bounds.looks.clone().acquire_owned().await.map_err(|_| Problem::closing())?;
        let desk = self.clone();
        tokio::task::spawn_blocking(move || {
            // Held by the thread, not by the request, which its client may give up.
            let _turn = turn;
            look(&desk)
        })
        .await
        .map_err(gone)?
    }

    /// Counts somebody who was turned away.
    fn refused(&self, problem: &Problem) {
        self.rooms.metrics.api_refused.get_or_create(&Refused { why: problem.word() }).inc();
    }

    /// `<epoch>.<seq>` of the present epoch.
    fn cursor(&self, seq: u64) -> String {
        let epoch = Some(self.rooms.view.epoch().to_string());
        Cursor { epoch, seq }.to_string()
    }

    /// The number that a cursor means in the present epoch.
    fn seq(&self, text: &str) -> Result<u64, Problem> {
        let cursor: Cursor = text.parse().map_err(Problem::bad_request)?;
        let present = self.rooms.view.epoch();
        match cursor.epoch {
            Some(epoch) if epoch != **present => Err(Problem::foreign_epoch(&epoch, present)),
            _ => Ok(cursor.seq),
        }
    }
}
