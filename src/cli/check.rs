//! `gatehouse check`: what would run, or all mistakes; against a running daemon: what a reload would change.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::client::Client;
use super::daemon::Daemon;
use super::{print, reload, wait_for};
use crate::config::changes::Changes;
use crate::config::{Gateway, Mistakes};
use crate::{app, config};

const WHAT: &str = "What is checked: a file, or a directory with gatehouse.toml; without it /etc/gatehouse. With \
                    --against-running it also says where the daemon's API is";

#[derive(Debug, Args)]
#[command(mut_arg("config", |config| config.help(WHAT)))]
pub struct Check {
    /// What a reload of the running daemon would change, and what begins anew for it
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
    let path = asked.daemon.config.as_deref().unwrap_or(Path::new(super::daemon::CONFIG_USUAL));
    if asked.against_running {
        return against_running(path, &asked.daemon);
    }
    let loaded = config::load(path);
    let code = loaded.as_ref().map_or(ExitCode::from(app::BAD_CONFIGURATION), |_| ExitCode::SUCCESS);
    if asked.daemon.json {
        print(&format!("{}\n", for_machines(&loaded)))?;
        return Ok(code);
    }
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(io::stderr(), "warning: {warning}\n")?;
            }
            print(&config::describe(&loaded.gateway))?;
        }
        Err(mistakes) => writeln!(io::stderr(), "{mistakes}")?,
    }
    Ok(code)
}

/// `more`: how many mistakes there are beyond those that are listed.
fn for_machines(loaded: &Result<config::Loaded, config::Mistakes>) -> Json {
    let list = |list: &[config::Mistake]| list.iter().map(config::Mistake::json).collect::<Vec<_>>();
    match loaded {
        Ok(loaded) => json!({ "ok": true, "mistakes": [], "more": 0, "warnings": list(&loaded.warnings) }),
        Err(wrong) => {
            json!({ "ok": false, "mistakes": list(&wrong.list), "more": wrong.more, "warnings": [] })
        }
    }
}

/// Secrets are not needed for it, and not compared: they stand elsewhere, and the daemon alone may read them.
fn against_running(path: &Path, daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let next = match config::outline(path) {
        Ok(next) => next,
        Err(mistakes) if daemon.json => {
            print(&format!("{}\n", for_machines(&Err(mistakes))))?;
            return Ok(ExitCode::from(app::BAD_CONFIGURATION));
        }
        Err(mistakes) => {
            writeln!(io::stderr(), "{mistakes}")?;
            return Ok(ExitCode::from(app::BAD_CONFIGURATION));
        }
    };
    let changes = Changes::between(&running(daemon)?, &next);
    if daemon.json {
        let told = json!({ "changed": changes.told, "restarted": changes.begun_anew() });
        print(&format!("{told}\n"))?;
    } else {
        print(&reload::page(&changes.told, &changes.begun_anew()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As the daemon runs it.
fn running(daemon: &Daemon) -> anyhow::Result<Gateway> {
    let mut running = Running { files: Vec::new() };
    wait_for(async {
        running = Client::new(daemon)?.get("/api/v1/configuration").await?;
        Ok(ExitCode::SUCCESS)
    })?;
    let sources = running.files.into_iter().map(|file| (file.path, file.text)).collect();
    config::outline_sources(sources).map_err(|mistakes: Mistakes| {
        anyhow::anyhow!(
            "the running configuration does not read here; are both of the same version?\n{mistakes}"
        )
    })
}
