//! Devices that speak through an MQTT broker.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::decode::Transform;
use crate::reading::{DeviceId, PointId};
use crate::secret::Secret;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// `None`: `gatehouse-<gateway>-<channel>`.
    pub client_id: Option<String>,
    pub login: Option<(String, Secret)>,
    /// How long connecting may take.
    pub timeout: Duration,
    pub devices: Vec<Device>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: DeviceId,
    /// A topic filter, `+` and `#` allowed.
    pub topic: String,
    /// Where the device (or its bridge) says whether it is there, retained: `online` / `offline` or
    /// `{"state":"online"}`. Its last will says `offline`.
    pub availability: Option<String>,
    pub points: Vec<Point>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub id: PointId,
    /// A topic of its own; `None`: the device's.
    pub topic: Option<String>,
    /// JSON Pointer into the payload; `None`: the payload is the value.
    pub json: Option<String>,
    pub transform: Transform,
}

pub async fn run(_channel: Arc<str>, _settings: Settings, _context: Context) {}
