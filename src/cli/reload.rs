//! `gatehouse reload`: tells a running daemon to read its configuration anew, and prints what that changed.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, read};
use super::daemon::Daemon;
use super::print;
use crate::app;

#[derive(Debug, Args)]
pub struct Reload {
    #[command(flatten)]
    pub daemon: Daemon,
    /// Who asks, for the log
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

#[derive(Deserialize)]
struct Done {
    changed: Vec<String>,
    restarted: Vec<String>,
}

#[derive(Deserialize)]
struct Refused {
    detail: String,
}

pub async fn reload(asked: &Reload) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let answer = client.post("/api/v1/reload", &json!({ "by": asked.by })).await?;
    if asked.daemon.json && (answer.status.is_success() || answer.status == StatusCode::UNPROCESSABLE_ENTITY)
    {
        print(&format!("{}\n", answer.text))?;
    }
    match answer.status {
        StatusCode::UNPROCESSABLE_ENTITY => {
            let refused: Refused = read(&answer.text)?;
            writeln!(io::stderr(), "{}\nnothing has changed", refused.detail.trim_end())?;
            Ok(ExitCode::from(app::BAD_CONFIGURATION))
        }
        status if status.is_success() => {
            if !asked.daemon.json {
                let done: Done = read(&answer.text)?;
                print(&page(&done.changed, &done.restarted))?;
            }
            if status == StatusCode::ACCEPTED {
                writeln!(io::stderr(), "it begins anew now; `gatehouse status` says whether that went well")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!(client.refusal(&answer)),
    }
}

/// What changed, a line each, and what began anew for it.
pub fn page(changed: &[String], restarted: &[String]) -> String {
    let mut text = String::new();
    for sentence in changed {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{sentence}");
    }
    if changed.is_empty() {
        text.push_str("nothing changes\n");
    } else if restarted.is_empty() {
        text.push_str("nothing restarts\n");
    } else {
        let _ = writeln!(text, "restarts: {}", restarted.join(", "));
    }
    text
}
