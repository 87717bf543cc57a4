//! Door readers over OSDP v2 (IEC 60839-11-5), with secure channel: the control panel's side.
//!
//! The panel is our own, on a library's AES. `libosdp` is C that builds only with `git` at hand and wants a thread of its
//! own; it asks in clear who a reader is before it opens the channel, and its pace is not ours: when the journal is behind,
//! it goes on taking cards from readers. `osdp` 0.3 (Rust, young) has a loop that waits without a runtime and speaks in
//! clear only, and shows its keys in `Debug`. What is needed here is small: one command at a time, ten replies.
//!
//! `frame` finds frames, `secure` is the channel, `session` knows what is an answer (all pure) · `line` puts a question,
//! `panel` says whose turn it is, `unit` what a reply tells, `errand` what others want · `card` is what a card is called.

mod card;
mod errand;
mod frame;
mod line;
mod panel;
mod reply;
mod secure;
mod session;
mod unit;

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::wire::Wire;
use crate::reading::{DeviceId, PointId};
use crate::secret::Secret;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// A serial port, or a serial device server.
    pub wire: Wire,
    /// How long a reader may take to answer.
    pub timeout: Duration,
    pub readers: Vec<Reader>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    pub id: DeviceId,
    /// 0 to 126
    pub address: u8,
    /// How often it is asked.
    pub poll: Duration,
    /// The secure channel's base key, 32 hexadecimal digits. `None`: spoken to in clear.
    pub key: Option<Secret>,
    /// `yes` / `no`
    pub tamper: Option<PointId>,
    /// `ok` / `failed`
    pub power: Option<PointId>,
    /// `on` / `off`, from input 1.
    pub inputs: Vec<PointId>,
    pub commands: Vec<Command>,
}

/// What can be ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// From 0.
    pub output: u8,
    pub does: Does,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    On,
    Off,
    /// On for so long, then off.
    Pulse(Duration),
}

/// Until `context.stop`.
pub async fn run(channel: Arc<str>, settings: Settings, context: Context) {
    let mut lane = context.lane.lock().await;
    // Closed is the end as well.
    let _ = panel::Panel::new(channel, settings, &context).work(&mut lane).await;
}
