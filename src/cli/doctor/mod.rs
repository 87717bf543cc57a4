//! `doctor`: looks at all that a gateway stands on, and says of each thing what was found and what to do.
//!
//! It works with and without a running daemon and never disturbs it: it opens no serial port, makes no connection where the daemon
//! has one, reads the store by connections that cannot write, and leaves there nothing but a small file for a moment, to see
//! whether the disk takes it. A centre is asked with an empty batch.

mod centre;
mod certificates;
mod machine;
mod paper;
mod processes;
mod shelf;
mod wires;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use clap::Args;
use serde_json::json;

use super::client::{self, Ready};
use super::daemon::Address;
use super::fit::wrapped;
use super::table::{Paint, harmless, page as columns, paint, width};
use super::trust::Papers;
use super::{Config, print};
use crate::config::Gateway;
use processes::Processes;

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    config: Config,
    /// Where the running daemon's API is; without it, where the configuration says
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    papers: Papers,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Warn,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub verdict: Verdict,
    /// `port rs485-1`
    pub what: String,
    pub found: String,
    /// What to do; empty where nothing is.
    pub cure: String,
}

impl Finding {
    pub fn ok(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), found: found.into(), cure: String::new() }
    }

    pub fn warn(what: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, what: what.into(), found: found.into(), cure: cure.into() }
    }

    pub fn bad(what: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, what: what.into(), found: found.into(), cure: cure.into() }
    }
}

/// Where systemd lays a service's credentials; a shell has no `$CREDENTIALS_DIRECTORY`.
const CREDENTIALS: &str = "/run/credentials/gatehouse.service";

/// Starts this command anew with the service's credentials, where it can read them and was given none.
pub fn with_credentials() {
    if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() || std::fs::read_dir(CREDENTIALS).is_err() {
        return;
    }
    let Ok(this) = std::env::current_exe() else { return };
    // Comes back only where it could not be done; then it goes on without.
    let _ =
        Command::new(this).args(std::env::args_os().skip(1)).env("CREDENTIALS_DIRECTORY", CREDENTIALS).exec();
}

pub async fn doctor(asked: &Doctor) -> anyhow::Result<ExitCode> {
    let path = &asked.config.config;
    let mut findings = Vec::new();
    let gateway = paper::look(path, &mut findings);
    let processes = Processes::now();
    findings.extend(machine::who());
    match &gateway {
        Some(gateway) => findings.extend(house(gateway, asked, &processes).await),
        None => findings.extend(machine::clock()),
    }
    findings.extend(machine::memory());
    findings.extend(machine::unit());
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    print(&if asked.json { machines(&findings) } else { page(&findings) })?;
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All for which one has to know what is configured.
async fn house(gateway: &Gateway, asked: &Doctor, processes: &Processes) -> Vec<Finding> {
    if let Some(finding) = shelf::shut(&gateway.store.dir) {
        // Whatever else were said of the daemon and its data would be a guess.
        let (uplinks, clocks) = centre::look(gateway).await;
        let clocks = [machine::clock(), machine::against(&clocks)].into_iter().flatten();
        return std::iter::once(finding).chain(clocks).chain(uplinks).collect();
    }
    let daemon = processes.daemon(&gateway.store.dir);
    let configured = || Address::configured(gateway, &asked.config.config);
    let address = asked.url.as_deref().map_or_else(configured, Address::named);
    let url = address.url.clone();
    let answer = client::ready(address, &asked.papers).await;
    let says = answer.as_ref().and_then(|answer| serde_json::from_str::<Ready>(&answer.text).ok());
    let in_memory = daemon.is_some() && says.is_some_and(|says| says.is_in_memory());
    let mut findings =
        vec![machine::daemon(gateway, &url, answer.as_ref(), daemon, asked.papers.cert.is_some())];
    findings.extend(certificates::look(gateway));
    findings.extend(shelf::look(gateway, daemon.is_some(), in_memory));
    findings.extend(wires::ports(gateway, processes, daemon));
    findings.extend(wires::endpoints(gateway, daemon.is_some()).await);
    let (uplinks, clocks) = centre::look(gateway).await;
    findings.extend(machine::clock());
    findings.extend(machine::against(&clocks));
    findings.extend(uplinks);
    findings
}

fn page(findings: &[Finding]) -> String {
    let column = findings.iter().map(|finding| width(&finding.what)).max().unwrap_or(0);
    let mut page = String::new();
    for finding in findings {
        let (word, colour) = match finding.verdict {
            Verdict::Ok => ("ok  ", Paint::Green),
            Verdict::Warn => ("warn", Paint::Yellow),
            Verdict::Bad => ("bad ", Paint::Red),
        };
        let fill = " ".repeat(column - width(&finding.what));
        let what = harmless(&finding.what);
        let mut lines = finding.found.lines().map(harmless);
        let first = lines.next().unwrap_or_default();
        page += &on_lines(&format!("{}  {what}{fill}  ", paint(word, Some(colour))), column + 8, &first);
        for line in lines {
            page += &on_lines("        ", 8, &line);
        }
        for line in finding.cure.lines().map(harmless) {
            page += &on_lines("      → ", 8, &line);
        }
    }
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (bad, warn, ok) = (count(Verdict::Bad), count(Verdict::Warn), count(Verdict::Ok));
    page + &format!("\n{bad} bad, {warn} to look at, {ok} well\n")
}

/// After `lead`, which takes `indent` columns; what does not fit goes on below itself.
fn on_lines(lead: &str, indent: usize, text: &str) -> String {
    // On a very narrow page a terminal breaks it as well as we do.
    let room = columns().saturating_sub(indent).max(16);
    lead.to_owned() + &wrapped(text, room).join(&format!("\n{:indent$}", "")) + "\n"
}

fn machines(findings: &[Finding]) -> String {
    let word = |verdict| match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Bad => "bad",
    };
    let list: Vec<_> = findings
        .iter()
        .map(|f| json!({ "verdict": word(f.verdict), "what": f.what, "found": f.found, "do": f.cure }))
        .collect();
    let healthy = !findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    format!("{}\n", json!({ "healthy": healthy, "findings": list }))
}
