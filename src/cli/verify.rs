//! `verify`: whether the journal is as it was told.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::table::Table;
use super::{Config, print};
use crate::config;
use crate::store::verify::{self, Anchor, Fault, Report, Verdict};
use crate::store::{EVENTS_KEEP_DEFAULT, Seal};

/// The exit code where no fault was found and not all could be looked at.
const OPEN: u8 = 3;

#[derive(Debug, Args)]
pub struct Verify {
    /// A data directory, a backup or a journal.db; otherwise the data directory of the configuration
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    config: Config,
    /// What the centre has kept: <epoch>.<number>:<64 digits>; may be said again
    #[arg(long = "anchor", value_name = "CURSOR:CHAIN")]
    anchors: Vec<Anchor>,
    /// For machines
    #[arg(long)]
    json: bool,
}

pub fn verify(asked: &Verify) -> anyhow::Result<ExitCode> {
    let (gleaned, mistakes) = config::glean(&asked.config.config);
    let gateway = gleaned.map(|loaded| loaded.gateway);
    if let Some(why) = mistakes.unread(&["store_key", "store_key_before"]) {
        writeln!(io::stderr(), "the key of the sealed journal cannot be read here: {why}")?;
    }
    let seal = gateway.as_ref().map_or_else(Seal::none, |gateway| gateway.seal.clone());
    let keep = gateway.as_ref().map_or(EVENTS_KEEP_DEFAULT, |gateway| gateway.store.events_keep);
    let path = match &asked.file {
        Some(path) => path.clone(),
        None => gateway.with_context(|| mistakes.to_string())?.store.dir,
    };
    let report = verify::verify(&path, &asked.anchors, &seal, keep)?;
    print(&if asked.json { machines(&report) } else { page(&report) })?;
    Ok(match report.verdict() {
        Verdict::Holds => ExitCode::SUCCESS,
        Verdict::Fails => ExitCode::FAILURE,
        Verdict::Open => ExitCode::from(OPEN),
    })
}

fn machines(report: &Report) -> String {
    let list = |of: &[Fault]| -> Vec<_> {
        of.iter().map(|fault| json!({ "event": fault.seq, "what": fault.what })).collect()
    };
    let holds = match report.verdict() {
        Verdict::Holds => Some(true),
        Verdict::Fails => Some(false),
        Verdict::Open => None,
    };
    let told = json!({
        "holds": holds, "gateway": report.gateway, "epoch": report.epoch,
        "events": report.events, "from": report.from, "to": report.to, "before_chain": report.unchained,
        "locked": report.locked, "erased": report.erased, "expired": report.expired, "dropped": report.dropped,
        "anchors": { "hold": report.anchors, "no_longer_kept": report.anchors_unseen, "given": report.given },
        "chain": report.chain.map(|link| link.to_string()), "faults": list(&report.faults), "more": report.more,
        "doubts": list(&report.doubts),
    });
    format!("{told}\n")
}

fn page(report: &Report) -> String {
    let mut table = Table::list();
    let mut row = |what: &str, says: String| table.row(vec![what.into(), says.into()]);
    row("gateway", format!("{}, epoch {}", report.gateway, report.epoch));
    row("events", format!("{}, number {} to {}", report.events, report.from, report.to));
    for (what, count, says) in [
        (
            "before",
            report.unchained,
            "written before there was a chain: who changes one makes its sum anew, and nothing here can tell",
        ),
        (
            "sealed",
            report.locked,
            "are sealed with a key that the configuration does not name: what they say was not looked at",
        ),
        ("erased", report.erased, "say only what they were"),
        ("expired", report.expired, "say only what they were"),
        ("dropped", report.dropped, "gave way to room, as the journal tells"),
        ("no longer kept", report.anchors_unseen, "values of consumers, of events that are gone by now"),
    ] {
        if count > 0 {
            row(what, format!("{count} {says}"));
        }
    }
    row("anchors", format!("{} of consumers and {} that were given hold", report.anchors, report.given));
    if let Some(link) = report.chain {
        row("chain", format!("{}.{}:{link}", report.epoch, report.to));
    }
    for fault in &report.faults {
        let what = fault.seq.map_or_else(|| "FAULT".to_owned(), |seq| format!("EVENT {seq}"));
        row(&what, fault.what.clone());
    }
    if report.more > 0 {
        row("MORE", format!("{} faults more", report.more));
    }
    for doubt in &report.doubts {
        let what = doubt.seq.map_or_else(|| "DOUBT".to_owned(), |seq| format!("DOUBT {seq}"));
        row(&what, doubt.what.clone());
    }
    let verdict = match report.verdict() {
        Verdict::Holds => "as it was told",
        Verdict::Fails => "not as it was told",
        Verdict::Open => "no fault was found, and not all of it could be looked at",
    };
    row("verdict", verdict.into());
    table.render()
}
