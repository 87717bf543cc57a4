//! Outbox → centre, in two lanes: `bulk` takes everything in order, `urgent` goes ahead of it with tickets. What each may
//! have in hand (`lanes`), what an answer means (`plan`) and how fast it goes (`pace`) is decided purely; `carry` does it,
//! over `http`; `reply` reads what the centre says of tickets, `orders` what it wants devices to do.
//!
//! Nothing is ever skipped: a batch is acknowledged, or it is tried again unchanged. Only an event that the centre
//! does not like, found by halving, is set aside, and then it is kept and shown.

mod bulk;
mod carry;
mod http;
mod lanes;
mod orders;
mod pace;
mod plan;
mod probe;
mod reply;
mod shown;
mod urgent;

pub use http::{cure, is_loopback};
pub use probe::{Clock as ProbeClock, Probe, probe};
pub use reply::words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::event::Kinds;
use crate::metrics::Metrics;
use crate::order::Wish;
use crate::secret::Secret;
use crate::store::Outbox;
use crate::ticket::Ask;
use crate::time;
use carry::Courier;

/// One centre that events are pushed to.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Also the consumer's name.
    pub name: Arc<str>,
    pub url: String,
    pub token: Option<Secret>,
    pub tls: Tls,
    /// What of these could not be read, and the cure, for people: nothing is pushed without it.
    pub lacks: Option<String>,
    /// Events a request at the most.
    pub batch: usize,
    pub kinds: Kinds,
    /// Events a second at the most.
    pub rate: u32,
    /// Whether bodies go out gzipped; not every centre can read them.
    pub compress: bool,
    /// Whether its replies may carry orders to devices.
    pub commands: bool,
    /// How long a request may take, from the connection to the answer's last byte.
    pub patience: Duration,
}

/// Whom we trust to be the centre, and as whom we come to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tls {
    /// PEM; without it the system's list is trusted.
    pub ca: Option<Arc<str>>,
    /// Our certificate and its key, PEM.
    pub identity: Option<(Arc<str>, Secret)>,
}

pub const BATCH_DEFAULT: usize = 500;
/// A backlog of a million events, a month of a busy compound, is gone within a minute.
pub const RATE_DEFAULT: u32 = 25_000;
pub const PATIENCE_DEFAULT: Duration = Duration::from_secs(30);

/// What every push task is given.
#[derive(Debug, Clone)]
pub struct Context {
    pub gateway: Arc<str>,
    pub epoch: Arc<str>,
    pub outbox: Outbox,
    /// The journal's head; a change wakes the push at once.
    pub head: watch::Receiver<u64>,
    /// The centre's words on tickets, to intake. A batch is acknowledged only after each of its reply's was answered.
    pub asks: mpsc::Sender<Ask>,
    /// Its orders to devices, to intake; acknowledged only after each was begun or refused.
    pub wishes: mpsc::Sender<Wish>,
    /// To be cancelled after intake has ended, so that the last round takes all with it.
    pub stop: CancellationToken,
    pub metrics: Metrics,
}

/// For what is under way at the stop, and one last round.
const LAST_ROUND: Duration = Duration::from_secs(3);
const HIRE_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Pushes to one centre until `stop`, then once more, within three seconds, whatever is still pending.
pub async fn run(target: Target, context: Context) {
    let (name, stop) = (target.name.clone(), context.stop.clone());
    let Some(courier) = stop.run_until_cancelled(hired(target, context)).await else {
        return;
    };
    let out_of_time = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_ROUND).await;
    };
    tokio::select! {
        () = courier.carry() => {}
        () = out_of_time => info!(consumer = %name, "The last round was cut short; the rest is pushed after the next start."),
    }
}

/// A courier needs the system's certificates; where they are missing, someone may still install them. What the
/// configuration names and could not be read comes with a reload, to another task.
async fn hired(target: Target, context: Context) -> Courier {
    loop {
        let error = match (target.lacks.clone(), Courier::new(target.clone(), context.clone())) {
            (Some(lacks), _) => lacks,
            (None, Ok(courier)) => return courier,
            (None, Err(error)) => {
                let why = http::words(error);
                format!("no HTTPS on this machine: {why}; are the ca-certificates installed?")
            }
        };
        error!(consumer = %target.name, error, "Nothing can be pushed to this centre; tried again slowly.");
        let (name, outbox) = (target.name.clone(), context.outbox.clone());
        // Shown where it can be; a store that fails says so itself.
        let _ = tokio::task::spawn_blocking(move || outbox.note(&name, Some(&error), time::now())).await;
        tokio::time::sleep(HIRE_AGAIN).await;
    }
}
