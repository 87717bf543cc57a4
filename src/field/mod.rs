//! Wires → readings. One task owns one wire; nothing here knows of rules, tickets or the centre.

pub mod decode;
pub mod life;
pub mod modbus;
pub mod mqtt;
mod poll;
pub mod profile;
pub mod serial;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::reading::{Batch, Site};

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
    Mqtt(mqtt::Settings),
}

/// What every channel task is given.
#[derive(Debug, Clone)]
pub struct Context {
    pub site: Arc<Site>,
    /// Full means that the journal is behind: the wire waits, and the next poll is late instead of lost.
    pub out: mpsc::Sender<Batch>,
    pub stop: CancellationToken,
    pub metrics: Metrics,
}

/// How long a unit may take to answer where the channel does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);

/// Runs one channel until `stop`; a wire that breaks is taken up again inside.
pub async fn run(channel: Channel, context: Context) {
    match channel.kind {
        Kind::Modbus(settings) => modbus::run(channel.id, settings, context).await,
        Kind::Serial(settings) => serial::run(channel.id, settings, context).await,
        Kind::Mqtt(settings) => mqtt::run(channel.id, settings, context).await,
    }
}
