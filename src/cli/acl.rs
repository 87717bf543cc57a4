//! `gatehouse acl`: the access list that keeps the devices of a broker from speaking for each other.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;

use super::print;
use crate::config;
use crate::field::{Channel, Kind, mqtt};
use crate::near::nearest;

#[derive(Debug, Args)]
pub struct Acl {
    /// A channel of type mqtt
    pub channel: String,
    /// A file, or a directory with gatehouse.toml
    #[arg(long, value_name = "PATH", env = "GATEHOUSE_CONFIG", default_value = super::daemon::CONFIG_USUAL)]
    pub config: PathBuf,
}

/// Secrets are not needed for it: whoever sets up the broker may not be who may read them.
pub fn acl(asked: &Acl) -> anyhow::Result<ExitCode> {
    let gateway = config::outline(&asked.config)
        .map_err(|mistakes| anyhow!("the configuration is not right:\n{mistakes}"))?;
    let name = &asked.channel;
    let Some(Channel { id, kind }) = gateway.channels.iter().find(|channel| *channel.id == **name) else {
        let near = nearest(name, gateway.channels.iter().map(|channel| &*channel.id));
        bail!(
            "there is no channel `{name}`{}",
            near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
        )
    };
    let Kind::Mqtt(settings) = kind else {
        bail!("channel `{id}` has no broker; only those of type `mqtt` have one")
    };
    let devices = &gateway.site.devices;
    let name = |id: crate::reading::DeviceId| devices.get(id.0 as usize).map_or("", |device| &*device.id);
    print(&mqtt::access_list(id, settings, name))?;
    Ok(ExitCode::SUCCESS)
}
