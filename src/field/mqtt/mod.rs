//! Devices that speak through an MQTT broker. One task owns the one connection.
//!
//! The session is persistent and QoS 1, so that what is published while we are away comes when we are back; it is
//! subscribed anew after every connect all the same, since a broker that lost its data would stay silent.
//!
//! A message is acknowledged once all that it says is on the disk: what a stop or a fall leaves in between, the broker sends
//! again, and the journal knows what it has by the device's own number of it.

mod errands;
mod face;
mod inbox;
mod line;
mod link;
mod milesight;
mod owed;
mod payload;
mod rights;
mod scan;
mod seen;
mod session;
mod tls;
pub mod topic;
mod why;

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::decode::Transform;
use crate::reading::{DeviceId, PointId};
use crate::secret::Secret;
use errands::Errands;
use inbox::Inbox;
use line::Place;
use link::{Link, Shared};
pub use rights::access_list;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None`: `gatehouse-<gateway>-<channel>`.
    pub client_id: Option<String>,
    pub login: Option<(String, Secret)>,
    /// How long connecting may take.
    pub timeout: Duration,
    pub version: Version,
    /// `None`: in clear.
    pub tls: Option<Tls>,
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// MQTT 3.1.1
    #[default]
    V311,
    V5,
}

/// PEM texts, read by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who may sign the broker's certificate; `None`: those whom the system trusts.
    pub ca: Option<Arc<str>>,
    /// Our own certificate and its key.
    pub identity: Option<(Arc<str>, Secret)>,
}

impl Tls {
    /// What is wrong with it, for people.
    pub fn check(&self) -> Result<(), String> {
        tls::client(self).map(drop)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    /// A topic filter, `+` and `#` allowed.
    pub topic: String,
    /// Where the device (or its bridge) says whether it is there, retained: `online` / `offline`, `true` / `false` or
    /// `{"state":"online"}`. Its last will says `offline`.
    pub availability: Option<String>,
    pub dialect: Dialect,
    pub points: Vec<Point>,
    pub commands: Vec<Command>,
}

/// What messages of a device are.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Dialect {
    /// Values of its points.
    #[default]
    Points,
    /// A face terminal (`mqtt/face/<id>`): what happens at its door, not values. The device's topic is `mqtt/face/<id>`.
    FaceTerminal {
        /// The zone of its clock.
        timezone: String,
    },
}

/// What can be ordered: one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub topic: String,
    pub payload: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub id: PointId,
    /// A topic of its own; `None`: the device's.
    pub topic: Option<String>,
    /// JSON Pointer into the payload, in which `*` stands for the one level that leads there; `/milesight/…` is a field of a
    /// Milesight uplink. `None`: the payload is the value.
    pub json: Option<String>,
    pub transform: Transform,
}

/// Listens until `stop`; a broker that is gone is sought with growing pauses.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let id = settings.client_id.clone().filter(|id| !id.is_empty());
    let id = id.unwrap_or_else(|| format!("gatehouse-{}-{channel}", context.site.gateway));
    match Place::new(&settings) {
        Ok(place) => {
            let shared = Shared::default();
            let devices = &settings.devices;
            let mut errands =
                Errands::new(id.clone(), place.clone(), devices, shared.clone(), context.clone());
            let inbox = Inbox::new(settings.devices, context.pseudonyms.as_ref());
            let mut link = Link::new(channel, id, place, inbox, shared, context);
            // Both in one task: what the one knows of the connection holds while the other speaks. Errands first: an order
            // whose time is over is taken back before anything more is said.
            tokio::select! {
                biased;
                () = errands.run() => {}
                () = link.run() => {}
            }
        }
        Err(why) => link::cannot_begin(&channel, settings, &why, &context).await,
    }
}
