//! The way to a wire for `read` and `scan`: through the daemon where it runs, or by taking the wire for a moment where
//! none does. Never both: two masters on one line answer each other's questions.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Config;
use super::client::Client;
use super::daemon::Address;
use super::trust::Papers;
use crate::app;
use crate::config::{self, Gateway};
use crate::field::{self, Channel, Errand, Kind};
use crate::metrics::Metrics;
use crate::reading::DeviceId;
use crate::store;

/// So long that nothing is polled while one looks.
const NEVER: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Args)]
pub struct Reach {
    #[command(flatten)]
    pub config: Config,
    /// Where the running daemon's API is; without it, where the configuration says
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A file with the token, where the API asks for one
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    papers: Papers,
    /// For machines
    #[arg(long)]
    pub json: bool,
}

/// How the wire is reached.
pub enum Way {
    Daemon(Client),
    Own(Own),
}

/// A channel of our own, which ends when this is dropped.
pub struct Own {
    pub lane: mpsc::Sender<Errand>,
    _stop: DropGuard,
}

impl Reach {
    /// The configuration; all that is wrong with it is said, and with what one ends then.
    pub fn load(&self) -> anyhow::Result<Result<Gateway, ExitCode>> {
        match config::load(&self.config.config) {
            Ok(loaded) => Ok(Ok(loaded.gateway)),
            Err(mistakes) => {
                writeln!(io::stderr(), "{mistakes}")?;
                Ok(Err(ExitCode::from(app::BAD_CONFIGURATION)))
            }
        }
    }

    /// To `channel`, of which only `device` is of interest, or all.
    pub fn way(&self, gateway: &Gateway, channel: &str, device: Option<DeviceId>) -> anyhow::Result<Way> {
        if self.url.is_some() || store::in_use(&gateway.store.dir) {
            let configured = || Address::configured(gateway, &self.config.config);
            let address = self.url.as_deref().map_or_else(configured, Address::named);
            address.trust.say_what_is_over()?;
            return Client::at(address, &self.papers, self.token_file.as_deref()).map(Way::Daemon);
        }
        let Some(found) = gateway.channels.iter().find(|c| *c.id == *channel) else {
            bail!("there is no channel `{channel}`; {}", channels(gateway));
        };
        let mut found = found.clone();
        quiet(&mut found, device);
        Ok(Way::Own(own(found, gateway)))
    }
}

/// `there is plant, rs485-1`
pub fn channels(gateway: &Gateway) -> String {
    let names: Vec<&str> = gateway.channels.iter().map(|channel| &*channel.id).collect();
    format!("there is {}", names.join(", "))
}

/// What is open to all is reached here by the loopback.
pub fn local(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        _ => listen,
    }
}

/// Takes the wire.
pub fn own(channel: Channel, gateway: &Gateway) -> Own {
    let (lane, far) = mpsc::channel(field::ERRANDS_MAX);
    let (out, mut batches) = mpsc::channel(64);
    let stop = CancellationToken::new();
    let context = field::Context {
        lane: Arc::new(Mutex::new(far)),
        pseudonyms: gateway.pseudonyms.clone(),
        ..field::Context::new(gateway.site.clone(), out, stop.clone(), Metrics::new())
    };
    tokio::spawn(field::run(channel, context));
    // What devices say by the way is of no interest here.
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    Own { lane, _stop: stop.drop_guard() }
}

/// Leaves the one device, and lets nobody be polled or told anything. A poll would take cards and events that nobody here writes
/// down. For a search of readers and controllers none is left: one that is configured is found like any other.
pub fn quiet(channel: &mut Channel, device: Option<DeviceId>) {
    let keep = |id: DeviceId| device.is_none_or(|device| device == id);
    match &mut channel.kind {
        Kind::Modbus(settings) => {
            settings.devices.retain(|d| keep(d.id));
            for device in &mut settings.devices {
                device.poll = NEVER;
                device.points.iter_mut().for_each(|point| point.poll = None);
            }
        }
        Kind::Serial(settings) => {
            settings.boards.retain(|b| keep(b.id));
            settings.boards.iter_mut().for_each(|board| board.poll = NEVER);
        }
        Kind::Osdp(settings) => {
            settings.readers.retain(|r| Some(r.id) == device);
            settings.readers.iter_mut().for_each(|reader| reader.poll = NEVER);
        }
        Kind::Uhppote(settings) => {
            settings.controllers.retain(|c| Some(c.id) == device);
            settings.controllers.iter_mut().for_each(|controller| controller.poll = NEVER);
            // Their calls are for the daemon, wherever it listens.
            settings.announce = None;
            settings.listen.set_port(0);
        }
        Kind::Mqtt(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::uhppote::{Controller, Settings};

    #[test]
    fn a_look_leaves_one_controller_that_is_not_polled_and_a_search_none() {
        let controller = |id| Controller {
            id: DeviceId(id),
            serial: 405_419_896,
            address: None,
            poll: Duration::from_secs(1),
            doors: Vec::new(),
            commands: Vec::new(),
        };
        let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let settings = Settings {
            address: here(60_000),
            listen: here(60_001),
            announce: Some(here(60_001)),
            timeout: Duration::from_secs(1),
            controllers: vec![controller(0), controller(1)],
            timezone: "UTC".into(),
        };
        let left = |device| {
            let mut channel = Channel { id: "doors".into(), kind: Kind::Uhppote(settings.clone()) };
            quiet(&mut channel, device);
            let Kind::Uhppote(left) = channel.kind else { panic!("another kind") };
            assert_eq!((left.announce, left.listen), (None, here(0)));
            left.controllers
        };
        assert_eq!(left(Some(DeviceId(1))), [Controller { poll: NEVER, ..controller(1) }]);
        assert_eq!(left(None), []);
    }
}
