//! `restore`: a backup, or another data directory, goes on here under an epoch of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::table::Table;
use super::{Config, for_nobody_else, print};
use crate::config::{self, Gateway};
use crate::store::backup;
use crate::store::restore::{self, Order, Readings, Restored};
use crate::{app, time};

#[derive(Debug, Args)]
pub struct Restore {
    /// What `gatehouse backup` has written; or a data directory, that of the configuration itself, too
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    config: Config,
    /// Sets aside what is in the data directory, whatever it is; nothing is deleted
    #[arg(long)]
    force: bool,
    /// Writes the configuration that is in the backup to --config first, where there is none
    #[arg(long)]
    write_config: bool,
    /// For machines
    #[arg(long)]
    json: bool,
}

pub fn restore(asked: &Restore) -> anyhow::Result<ExitCode> {
    let path = &asked.config.config;
    if asked.write_config {
        write_config(&asked.from, path)?;
    }
    let (loaded, mistakes) = config::glean(path);
    let gateway = match loaded {
        Some(loaded) if mistakes.are_only_of_the_place() => loaded.gateway,
        _ => {
            let hint = if path.exists() {
                ""
            } else {
                "\nthe backup holds one: say --write-config to begin with it"
            };
            use std::io::Write as _;
            writeln!(std::io::stderr(), "{mistakes}{hint}")?;
            return Ok(ExitCode::from(app::BAD_CONFIGURATION));
        }
    };
    let dir = &gateway.store.dir;
    let order = Order {
        from: &asked.from,
        dir,
        gateway: &gateway.site.gateway,
        seal: &gateway.seal,
        force: asked.force,
        at: time::now(),
        synced: time::clock_is_synced(),
    };
    for_nobody_else();
    let restored = restore::restore(&order)?;
    print(&if asked.json { machines(&gateway, &restored) } else { page(&gateway, &restored) })?;
    Ok(ExitCode::SUCCESS)
}

/// As they lay around the first file. Nothing that is there is written over.
fn write_config(from: &Path, path: &Path) -> anyhow::Result<()> {
    let texts = backup::texts(&backup::open(from)?)?;
    let Some((first, _)) = texts.first() else { bail!("{} holds no configuration", from.display()) };
    let old = first.parent().unwrap_or(Path::new(""));
    let is_file = path.extension().is_some_and(|end| end == "toml");
    let new = if is_file { path.parent().unwrap_or(Path::new("")) } else { path };
    let place = |text: &Path| match text.strip_prefix(old) {
        Ok(_) if text == first.as_path() && is_file => path.to_owned(),
        Ok(inside) => new.join(inside),
        // Named by its whole path, outside of the directory.
        Err(_) => text.to_owned(),
    };
    let placed: Vec<(PathBuf, &String)> = texts.iter().map(|(file, text)| (place(file), text)).collect();
    if let Some((there, _)) = placed.iter().find(|(file, _)| file.exists()) {
        bail!(
            "{} is there already; leave out --write-config, or name another place with --config",
            there.display()
        );
    }
    for (file, text) in placed {
        let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, text));
        written.with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

fn machines(gateway: &Gateway, restored: &Restored) -> String {
    let Restored { origin, epoch, events, tickets, unclosed, lost, aside, .. } = restored;
    let told = json!({
        "gateway": gateway.site.gateway, "data_dir": gateway.store.dir.display().to_string(), "epoch": epoch,
        "before": { "epoch": origin.epoch, "head": origin.head, "committed": time::format(origin.committed) },
        "events": events, "tickets": tickets, "unclosed": unclosed, "lost": lost,
        "history": word(&restored.history), "aside": aside.as_ref().map(|aside| aside.display().to_string()),
    });
    format!("{told}\n")
}

fn word(readings: &Readings) -> &'static str {
    match readings {
        Readings::None => "none",
        Readings::Here => "here",
        Readings::Brought => "brought",
    }
}

fn readings(restored: &Restored) -> &'static str {
    match restored.history {
        Readings::None => "none",
        Readings::Here => "that which was here",
        Readings::Brought => "came along",
    }
}

fn page(gateway: &Gateway, restored: &Restored) -> String {
    let mut table = Table::list();
    let mut row = |what: &str, says: String| table.row(vec![what.into(), says.into()]);
    let Restored { origin, events, tickets, unclosed, .. } = restored;
    row("restored", format!("gateway {}, into {}", gateway.site.gateway, gateway.store.dir.display()));
    row("epoch", restored.epoch.clone());
    let written = time::format(origin.committed);
    row("goes on from", format!("epoch {}, event {}, written {written}", origin.epoch, origin.head));
    row("tickets", format!("{tickets}, {unclosed} of them not closed"));
    row("events", format!("{events} that a consumer has still to get"));
    if restored.lost > 0 {
        row("left behind", format!("{} rows that could not be read; the centre is told", restored.lost));
    }
    row("history", readings(restored).into());
    if let Some(aside) = &restored.aside {
        row("set aside", aside.display().to_string());
    }
    row("people", "whoever was erased after that was written is here again: erase them anew".into());
    row("next", "start the daemon; it tells the centre from where it goes on".into());
    table.render()
}
