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
use crate::store::Seal;
use crate::store::verify::{self, Anchor, Report};

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
    let path = match &asked.file {
        Some(path) => path.clone(),
        None => gateway.with_context(|| mistakes.to_string())?.store.dir,
    };
    let report = verify::verify(&path, &asked.anchors, &seal)?;
    print(&if asked.json { machines(&report) } else { page(&report) })?;
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn machines(report: &Report) -> String {
    let faults: Vec<_> =
        report.faults.iter().map(|fault| json!({ "event": fault.seq, "what": fault.what })).collect();
    let told = json!({
        "holds": report.holds(), "gateway": report.gateway, "epoch": report.epoch,
        "events": report.events, "from": report.from, "to": report.to, "before_chain": report.unchained,
        "locked": report.locked, "erased": report.erased, "expired": report.expired, "dropped": report.dropped,
        "anchors": { "hold": report.anchors, "no_longer_kept": report.anchors_unseen, "given": report.given },
        "chain": report.chain.map(|link| link.to_string()), "faults": faults, "more": report.more,
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
            "written before there was a chain: only their sums say that they are whole",
        ),
        (
            "sealed",
            report.locked,
            "are sealed with a key that the configuration does not name: only their order was looked at",
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
    row("verdict", if report.holds() { "as it was told" } else { "not as it was told" }.into());
    table.render()
}
