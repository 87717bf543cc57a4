//! `gatehouse check`: what would run, or all mistakes; against a running daemon: what a reload would change.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::client::Client;
use super::daemon::Daemon;
use super::{Config, print, reload, wait_for};
use crate::config::changes::Changes;
use crate::config::{Gateway, Mistakes};
use crate::{app, config};

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub config: Config,
    /// For editors and scripts: the mistakes and warnings as JSON; the changes, with --against-running
    #[arg(long)]
    pub json: bool,
    /// What a reload of the running daemon would change, and which wires restart
    #[arg(long)]
    pub against_running: bool,
    /// Where the running daemon's API is; without it, where the configuration says (`[api] listen`)
    #[arg(long, value_name = "URL", requires = "against_running")]
    pub url: Option<String>,
    /// A file with the token, where the API asks for one
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
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
    let loaded = config::load(&asked.config.config);
    let code = loaded.as_ref().map_or(ExitCode::from(app::BAD_CONFIGURATION), |_| ExitCode::SUCCESS);
    if asked.json {
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
fn against_running(asked: &Check) -> anyhow::Result<ExitCode> {
    let next = match config::outline(&asked.config.config) {
        Ok(next) => next,
        Err(mistakes) => return refused(&mistakes),
    };
    let daemon = Daemon {
        url: asked.url.clone(),
        config: Some(asked.config.config.clone()),
        token_file: asked.token_file.clone(),
        json: asked.json,
    };
    let running = wait_for_running(&daemon)?;
    let changes = Changes::between(&running, &next);
    if asked.json {
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
