//! `gatehouse check`: what would run, or all mistakes.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use super::{Config, print};
use crate::{app, config};

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pub config: Config,
    /// For editors and scripts: the mistakes and warnings as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn check(asked: &Check) -> anyhow::Result<ExitCode> {
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
