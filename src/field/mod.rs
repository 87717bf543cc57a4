//! Wires → readings. One task owns one wire; nothing here knows of rules, tickets or the centre.

pub mod decode;
#[cfg(test)]
pub mod fuzz;
mod load;
pub mod modbus;
pub mod mqtt;
mod next;
mod numbers;
pub mod osdp;
mod poll;
pub mod profile;
mod rest;
pub mod schedule;
pub mod serial;
mod stumble;
pub mod uhppote;
pub mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use next::{Changes, Next};
pub use numbers::Hung;

use crate::metrics::Metrics;
use crate::order::Deed;
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, DeviceId, Edition, PointId, Site};

/// One wire or endpoint with all that hangs on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    pub id: Arc<str>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Modbus(modbus::Settings),
    Serial(serial::Settings),
    Osdp(osdp::Settings),
    Uhppote(uhppote::Settings),
    Mqtt(mqtt::Settings),
}

/// What every channel task is given.
#[derive(Debug, Clone)]
pub struct Context {
    pub site: Arc<Site>,
    /// Full means that the journal is behind: the wire waits, and the next poll is late instead of lost.
    pub out: Out,
    pub stop: CancellationToken,
    pub metrics: Metrics,
    /// What others want of this wire, ahead of its own work.
    pub lane: Lane,
    /// Makes pseudonyms of cards and people; `None` where no access device is configured.
    pub pseudonyms: Option<Pseudonyms>,
    /// The record that the journal had last of each device when the daemon started, where it had any.
    pub last_records: Arc<HashMap<DeviceId, Arc<str>>>,
    /// For a wire whose devices may change while it goes on.
    pub changes: Changes,
}

impl Context {
    /// With nobody at the near end of its lane, and no access device.
    pub fn new(site: Arc<Site>, out: mpsc::Sender<Batch>, stop: CancellationToken, metrics: Metrics) -> Self {
        let (_, lane) = mpsc::channel(1);
        let (lane, last_records) = (Arc::new(Mutex::new(lane)), Arc::default());
        let out = Out::new(out, Arc::default());
        let changes = Changes::default();
        Self { site, out, stop, metrics, lane, pseudonyms: None, last_records, changes }
    }
}

/// Where a wire hands on what it hears, with the edition by whose site it counts.
#[derive(Debug, Clone)]
pub struct Out {
    to: mpsc::Sender<Batch>,
    /// As long as anybody holds it, something may still be said under it.
    edition: Arc<Edition>,
}

impl Out {
    pub fn new(to: mpsc::Sender<Batch>, edition: Arc<Edition>) -> Self {
        Self { to, edition }
    }

    /// Waits while the queue is full.
    ///
    /// # Errors
    /// Nobody takes it any more.
    pub async fn send(&self, batch: Batch) -> Result<(), mpsc::error::SendError<Batch>> {
        self.to.send(Batch { edition: *self.edition, ..batch }).await
    }
}

/// The near end of a channel's lane: whoever asks something of the wire names it by the wire's own site.
#[derive(Debug, Clone)]
pub struct Near {
    pub site: Arc<Site>,
    pub errands: mpsc::Sender<Errand>,
}

/// The far end of a channel's lane. A wire's task that is begun again after a panic goes on taking from it.
pub type Lane = Arc<Mutex<mpsc::Receiver<Errand>>>;

/// Errands that may wait for one wire; when they are that many, the next is refused.
pub const ERRANDS_MAX: usize = 32;

/// What others want of a wire. It goes ahead of polling and waits for one transaction at the most.
#[derive(Debug)]
pub enum Errand {
    /// Its outcome comes back as [`Batch::done`].
    Do(Deed),
    /// A technician looks: ask this device (or one point of it) now, and show the bytes.
    Read { device: DeviceId, point: Option<PointId>, answer: oneshot::Sender<Vec<Exchange>> },
    /// A technician seeks: who is on this wire. Polling waits meanwhile. It ends when nobody listens any more.
    Scan { what: Scan, found: mpsc::Sender<Sighting> },
}

/// One question and its answer, in full view.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exchange {
    /// What was asked, for people: `holding registers 3–4 of unit 7`.
    pub what: String,
    pub sent: Vec<u8>,
    pub heard: Vec<u8>,
    /// What came of it, for people, where it is no answer: `no answer within 500 ms`.
    pub trouble: Option<String>,
    pub values: Vec<Seen>,
}

/// One point in an [`Exchange`].
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub point: PointId,
    /// The registers, where it stands in registers.
    pub words: Vec<u16>,
    /// As configured; an error's word where it is none.
    pub value: Result<crate::reading::Value, &'static str>,
    /// The same words in other orders or types, where that may be the mistake: `CDAB` → 230.2.
    pub otherwise: Vec<(String, crate::reading::Value)>,
}

/// Where to seek.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// First and last address.
    pub from: u8,
    pub to: u8,
    /// Speed, parity, stop bits to try on a serial port, in this order; empty: as it is configured.
    pub lines: Vec<profile::Line>,
    /// How long each may take to answer.
    pub timeout: Duration,
}

/// What a scan has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// So far, out of so many questions.
    Progress { done: u32, of: u32 },
    /// Someone answers.
    Found { address: String, line: Option<profile::Line>, how: String },
    /// Why it cannot be done here, or broke off.
    Trouble(String),
}

/// How long a unit may take to answer where the channel does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);

/// Runs one channel until `stop`; a wire that breaks is taken up again inside.
pub async fn run(channel: Channel, context: Context) {
    match channel.kind {
        Kind::Modbus(settings) => modbus::run(channel.id, settings, context).await,
        Kind::Serial(settings) => serial::run(channel.id, settings, context).await,
        Kind::Osdp(settings) => osdp::run(channel.id, settings, context).await,
        Kind::Uhppote(settings) => uhppote::run(channel.id, settings, context).await,
        Kind::Mqtt(settings) => mqtt::run(channel.id, settings, context).await,
    }
}
