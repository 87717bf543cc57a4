//! `gatehouse check`: what would run, or all mistakes; against a running daemon: what a reload would change.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::client::Client;
use super::{Config, Daemon, print, reload, wait_for};
use crate::config::changes::Changes;
use crate::config::{Gateway, Mistakes};
use crate::{app, config};

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub config: Config,
    /// What a reload of the running daemon would change, and which wires restart
    #[arg(long)]
    pub against_running: bool,
    #[command(flatten)]
    pub daemon: Daemon,
}

#[derive(Deserialize)]
struct Running {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    path: PathBuf,
    text: String,
}

pub fn check(asked: &Check) -> anyhow::Result<ExitCode> {
    if asked.against_running {
        return against_running(asked);
    }
    match config::load(&asked.config.config) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(io::stderr(), "warning: {warning}\n")?;
            }
            print(&config::describe(&loaded.gateway))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => refused(&mistakes),
    }
}

/// Secrets are not needed for it, and not compared: they stand elsewhere, and the daemon alone may read them.
fn against_running(asked: &Check) -> anyhow::Result<ExitCode> {
    let next = match config::outline(&asked.config.config) {
        Ok(next) => next,
        Err(mistakes) => return refused(&mistakes),
    };
    let running = wait_for_running(&asked.daemon)?;
    let changes = Changes::between(&running, &next);
    if asked.daemon.json {
        let told = json!({ "changed": changes.told, "restarted": changes.begun_anew() });
        print(&format!("{told}\n"))?;
    } else {
        print(&reload::page(&changes.told, &changes.begun_anew()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(mistakes: &Mistakes) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "{mistakes}")?;
    Ok(ExitCode::from(app::BAD_CONFIGURATION))
}

fn wait_for_running(daemon: &Daemon) -> anyhow::Result<Gateway> {
    let mut running = Running { files: Vec::new() };
    wait_for(async {
        running = Client::new(daemon)?.get("/api/v1/configuration").await?;
        Ok(ExitCode::SUCCESS)
    })?;
    let sources = running.files.into_iter().map(|file| (file.path, file.text)).collect();
    config::outline_sources(sources).map_err(|mistakes| {
        anyhow::anyhow!(
            "the running configuration does not read here; are both of the same version?\n{mistakes}"
        )
    })
}
