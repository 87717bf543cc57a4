//! `backup`: a copy of the journal while the daemon runs, in one file that says what it holds.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::client::{self, Ready};
use super::daemon::Address;
use super::table::{Table, size};
use super::trust::Papers;
use super::{Config, print};
use crate::config::{self, Loaded};
use crate::reading::Millis;
use crate::store::backup::{self, Label, Order};
use crate::{app, store, time};

#[derive(Debug, Args)]
pub struct Backup {
    #[command(flatten)]
    config: Config,
    /// Where to; `-` is standard output. Without it a file here, named by gateway and time
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// The readings, too; they can be gigabytes
    #[arg(long)]
    history: bool,
    /// Where the running daemon's API is; without it, where the configuration says
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    papers: Papers,
    /// Even where the daemon's journal is in memory, and that on the card is an old one
    #[arg(long)]
    force: bool,
    /// For machines
    #[arg(long)]
    json: bool,
}

pub async fn backup(asked: &Backup) -> anyhow::Result<ExitCode> {
    let (loaded, mistakes) = config::glean(&asked.config.config);
    // What is wrong elsewhere in it must not stand in the way of a copy.
    let Some(Loaded { gateway, text, .. }) = loaded else {
        write!(io::stderr(), "{mistakes}")?;
        return Ok(ExitCode::from(app::BAD_CONFIGURATION));
    };
    let configured = || Address::configured(&gateway, &asked.config.config);
    let address = asked.url.as_deref().map_or_else(configured, Address::named);
    let dir = gateway.store.dir;
    if !asked.force && store::in_use(&dir) && is_in_memory(address, &asked.papers).await {
        bail!(
            "the card takes no writes and the daemon's journal is in memory: a copy would be of the old one on the card; \
             try again when `gatehouse status` shows it well, or take the old one with --force"
        );
    }
    let now = time::now();
    let to_stdout = asked.to.as_deref() == Some(Path::new("-"));
    let into = match &asked.to {
        Some(_) if to_stdout => scratch().join(format!("gatehouse-{}", uuid::Uuid::now_v7().simple())),
        Some(file) => file.clone(),
        None => name(&gateway.site.gateway, now).into(),
    };
    replaces_nothing_but_a_file(&into)?;
    has_room(&dir, &into, asked.history)?;
    let texts = config::last_good::texts(&dir).unwrap_or(text);
    let order = Order { dir: &dir, into: &into, history: asked.history, texts: &texts, at: now };
    let label =
        backup::make(&order).with_context(|| format!("copying {} to {}", dir.display(), into.display()))?;
    if to_stdout {
        let sent = send(&into);
        let _ = fs::remove_file(&into);
        sent.context("writing the copy to standard output")?;
        writeln!(io::stderr(), "{}", asked.told(&label, None).trim_end())?;
    } else {
        print(&asked.told(&label, Some(&into)))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Backup {
    fn told(&self, label: &Label, file: Option<&Path>) -> String {
        if self.json { machines(label, file) } else { page(label, file) }
    }
}

async fn is_in_memory(address: Address, papers: &Papers) -> bool {
    let answer = client::ready(address, papers).await;
    answer.is_some_and(|answer| client::read::<Ready>(&answer.text).is_ok_and(|says| says.is_in_memory()))
}

/// A device, a pipe or a directory is none that a copy could take the place of.
fn replaces_nothing_but_a_file(into: &Path) -> anyhow::Result<()> {
    match fs::metadata(into) {
        Ok(there) if !there.is_file() => {
            bail!(
                "{} is there and is no file; name a file with --to, or `-` for standard output",
                into.display()
            )
        }
        _ => Ok(()),
    }
}

/// What a backup holds, for people.
pub fn page(label: &Label, file: Option<&Path>) -> String {
    let mut table = Table::list();
    let mut row = |what: &str, says: String| table.row(vec![what.into(), says.into()]);
    if let Some(file) = file {
        let bytes = fs::metadata(file).map_or(0, |about| about.len());
        row("backup", format!("{}, {}", file.display(), size(bytes)));
    }
    row("gateway", label.gateway.clone());
    row("epoch", format!("{}, up to event {}", label.epoch, label.head));
    row("written", format!("{} by gatehouse {}", time::format(label.at), label.version));
    row("events", label.events.to_string());
    row("tickets", format!("{}, {} of them not closed", label.tickets, label.unclosed));
    row("configuration", format!("its files ({}), without the secrets they name", label.files));
    let history = match label.history {
        0 => "not in it".to_owned(),
        bytes => size(bytes),
    };
    row("history", history);
    let damaged = match label.damaged {
        0 => String::new(),
        rows => {
            format!("; {rows} rows do not fit their sums, and will be left behind")
        }
    };
    row("checked", format!("every page and every row{damaged}"));
    table.render()
}

fn machines(label: &Label, file: Option<&Path>) -> String {
    let bytes = file.and_then(|file| fs::metadata(file).ok()).map(|about| about.len());
    let told = json!({
        "backup": file.map(|file| file.display().to_string()), "bytes": bytes,
        "gateway": label.gateway, "epoch": label.epoch, "head": label.head,
        "at": time::format(label.at), "version": label.version,
        "events": label.events, "tickets": label.tickets, "unclosed": label.unclosed,
        "files": label.files, "history": label.history, "damaged": label.damaged,
    });
    format!("{told}\n")
}

/// `cp-017-20261122T081500Z.backup`
fn name(gateway: &str, now: Millis) -> String {
    let at: String = time::format(now).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{gateway}-{}Z.backup", at.split('.').next().unwrap_or_default())
}

/// Where a copy lies that goes elsewhere at once: on a disk, since `/tmp` may be memory.
fn scratch() -> PathBuf {
    let disk = Path::new("/var/tmp");
    match std::env::var_os("TMPDIR") {
        Some(dir) => dir.into(),
        None if disk.is_dir() => disk.into(),
        None => std::env::temp_dir(),
    }
}

/// Said before a disk is filled, not after. The history is there twice for a while.
fn has_room(dir: &Path, into: &Path, history: bool) -> anyhow::Result<()> {
    let (journal, readings) = store::sizes(dir);
    let needed = journal + if history { 2 * readings } else { 0 };
    let place = into.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let there =
        rustix::fs::statvfs(place).with_context(|| format!("{} cannot be written to", place.display()))?;
    let free = there.f_bavail * there.f_frsize;
    if free < needed {
        let (needed, free, place) = (size(needed), size(free), place.display());
        bail!("{place} has {free} free, and the copy may need {needed}; name another place with --to");
    }
    Ok(())
}

fn send(copy: &Path) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    io::copy(&mut File::open(copy)?, &mut out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_copy_takes_the_place_of_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        super::replaces_nothing_but_a_file(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        super::replaces_nothing_but_a_file(&file).unwrap();
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        for other in [std::path::Path::new("/dev/full"), &link, dir.path()] {
            assert!(super::replaces_nothing_but_a_file(other).unwrap_err().to_string().contains("no file"));
        }
    }

    #[test]
    fn a_copy_without_a_name_is_named_by_gateway_and_time() {
        assert_eq!(super::name("cp-017", 1_763_712_000_123), "cp-017-20251121T080000Z.backup");
    }
}
