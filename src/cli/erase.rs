//! `erase`: one person goes from the journal of a running daemon.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, escaped, read};
use super::{Daemon, print};

/// The daemon says within a minute that it is done, or that it goes on.
const ANSWER_MAX: Duration = Duration::from_secs(75);

#[derive(Debug, Args)]
pub struct Erase {
    /// As it stands in events: c-0123456789abcdef
    #[arg(value_name = "PSEUDONYM")]
    pseudonym: String,
    /// Does not ask whether it is meant
    #[arg(long)]
    yes: bool,
    /// Who says so
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Deserialize)]
struct Erased {
    state: String,
    events: u64,
}

pub async fn erase(asked: &Erase) -> anyhow::Result<ExitCode> {
    if !asked.yes && !is_meant(&asked.pseudonym)? {
        bail!("nothing was erased; say --yes where nobody can be asked");
    }
    let client = Client::new(&asked.daemon)?;
    let path = format!("/api/v1/people/{}/erase", escaped(&asked.pseudonym));
    let mut body = json!({ "reason": asked.reason });
    if let Some(by) = &asked.by {
        body["by"] = by.as_str().into();
    }
    let mut answer = String::new();
    let keep = |line: &str| {
        answer.push_str(line);
        Ok(())
    };
    client.lines(&path, &body, ANSWER_MAX, keep).await?;
    if asked.daemon.json {
        print(&format!("{answer}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Erased { state, events } = read(&answer)?;
    print(&match state.as_str() {
        "done" => {
            format!("erased from {events} events; the centre is told, and backups of before still have it\n")
        }
        _ => format!(
            "under way, {events} events so far; it goes on by itself, and the journal tells when it is done (gateway.erased)\n"
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is erased does not come back.
fn is_meant(pseudonym: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(
        std::io::stderr(),
        "Erase {} from every event? It cannot be undone. [y/N] ",
        super::table::harmless(pseudonym)
    )?;
    let mut word = String::new();
    std::io::stdin().read_line(&mut word)?;
    Ok(matches!(word.trim(), "y" | "Y" | "yes"))
}
