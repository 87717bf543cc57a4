//! UHPPOTE door controllers (UT0311-L01/02/04, "Wiegand TCP access boards"): 64-byte datagrams over UDP.
//!
//! Every event has a number, and the controller keeps the last ones. Which we have, the journal knows: at a start they are
//! fetched, in order, from after the last one in the journal, or from 1 where the controller's memory was cleared since
//! (`ledger` has the whole rule); what comes a second time, intake knows by its `record`. The controller also keeps one
//! number for its reader. It is stored anew 10 s after events were handed on, and believed only where the journal has
//! nothing of this controller. What is fetched long after it happened is `late`.
//!
//! `codec` is the wire, `meaning` what an event is at a door, `ledger` which are to be fetched (all pure) · `asker` puts a
//! question, `listener` hears who calls, `desk` says whose turn it is, `errand` what others want.

mod asker;
mod codec;
mod desk;
mod errand;
mod ledger;
mod listener;
mod meaning;
mod turns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use self::listener::Listener;
use super::Context;
use crate::reading::{DeviceId, PointId};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where controllers are asked, one by one or by broadcast: `192.0.2.255:60000`.
    pub address: SocketAddr,
    /// Where they send their events.
    pub listen: SocketAddr,
    /// What they are told to send their events to; `None`: they have been told otherwise.
    pub announce: Option<SocketAddr>,
    pub timeout: Duration,
    pub controllers: Vec<Controller>,
    /// The zone of their clocks.
    pub timezone: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Controller {
    pub id: DeviceId,
    /// The number on its board, nine digits.
    pub serial: u32,
    /// Its own address, where the channel's does not reach it.
    pub address: Option<SocketAddr>,
    pub poll: Duration,
    /// `open` / `closed`, by door 1 to 4.
    pub doors: Vec<PointId>,
    /// Which door each command opens, from 1.
    pub commands: Vec<u8>,
}

/// How long a socket that could not be opened is left alone.
const REOPEN: Duration = Duration::from_secs(10);

/// Until `context.stop`.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let mut lane = context.lane.lock().await;
    let stop = context.stop.clone();
    let work = async {
        let asker = loop {
            match asker::Asker::open(settings.address, settings.timeout, &channel, &context.metrics).await {
                Ok(asker) => break asker,
                Err(e) => warn!(%channel, error = %e, "No socket for questions; tried again."),
            }
            sleep(REOPEN).await;
        };
        let listener = Listener::new(channel.clone(), settings.listen);
        let mut desk = desk::Desk::new(channel.clone(), settings, asker, &context);
        // Closed is the end as well.
        let _ = desk.work(listener, &mut lane).await;
    };
    stop.run_until_cancelled(work).await;
}
