//! The last configuration that was good, kept in the data directory, for the day when the present one is not.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::FIRST;
use super::{Gateway, load_closed, load_sources};
use crate::logging;

const FILE: &str = "last-good.json";
/// What the API shows; not its key.
const CERTIFICATE: &str = "last-good.pem";
/// Where the daemon's data is when the configuration cannot say.
const DATA_DIR: &str = "/var/lib/gatehouse";

/// Keeps it; whether it is another one than before. Nothing is written where nothing changed.
pub fn keep(dir: &Path, sources: &[(PathBuf, String)]) -> io::Result<bool> {
    let text = serde_json::to_string(sources).map_err(io::Error::other)?;
    put(dir, FILE, &text)
}

/// Keeps the certificate with which the API runs: the commands on this machine know it by that.
pub fn keep_certificate(dir: &Path, pem: &str) -> io::Result<bool> {
    put(dir, CERTIFICATE, pem)
}

/// The one that was kept.
pub fn certificate(dir: &Path) -> Option<String> {
    fs::read_to_string(dir.join(CERTIFICATE)).ok()
}

fn put(dir: &Path, name: &str, text: &str) -> io::Result<bool> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(before) if before == text => return Ok(false),
        _ => fs::create_dir_all(dir)?,
    }
    let draft = dir.join(format!("{name}.new"));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(true)
}

/// The last good one for the configuration at `path`, whose `data_dir` may still be readable. Tickets matter more than the
/// API and pushes: what these need may be gone. The data is where this was found, though it may have been elsewhere when it
/// was kept: beside it a journal would begin anew, and all would happen twice.
///
/// # Errors
/// For people: there is none, or it is no longer right (another secret is gone).
pub fn recall(path: &Path) -> Result<Gateway, &'static str> {
    const NONE: &str = "there is no last good configuration to run with";
    let first = if path.is_dir() { path.join(FIRST) } else { path.to_owned() };
    let present = fs::read_to_string(&first).ok();
    let dir = data_dir(present.as_deref().unwrap_or_default());
    let sources = texts(&dir).ok_or(NONE)?;
    // Where there is nothing to read, it was perhaps never this one: a mistyped path must not run another gateway.
    if present.is_none() && !sources.first().is_some_and(|(known, _)| is_same(known, &first)) {
        return Err(NONE);
    }
    load(&dir, sources)
        .ok_or("the last good configuration cannot be run with any more: what it names is not as it was")
}

/// The last good one in a data directory.
pub fn of(dir: &Path) -> Option<Gateway> {
    load(dir, texts(dir)?)
}

/// Its texts in a data directory; `None` where there are none that can be read.
pub fn texts(dir: &Path) -> Option<Vec<(PathBuf, String)>> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    serde_json::from_str(&text).ok()
}

fn is_same(a: &Path, b: &Path) -> bool {
    let (a, b) = (std::path::absolute(a), std::path::absolute(b));
    a.is_ok_and(|a| b.is_ok_and(|b| a == b))
}

fn load(dir: &Path, sources: Vec<(PathBuf, String)>) -> Option<Gateway> {
    let mut gateway = load_spared(sources)?;
    dir.clone_into(&mut gateway.store.dir);
    Some(gateway)
}

fn load_spared(sources: Vec<(PathBuf, String)>) -> Option<Gateway> {
    let mistakes = match load_sources(sources.clone()) {
        Ok(loaded) => return Some(loaded.gateway),
        Err(mistakes) => mistakes,
    };
    tracing::error!("the last good configuration is no longer right");
    logging::error_lines(&mistakes);
    let spared = load_closed(sources)?;
    tracing::error!("all goes on but what of the API and of pushes needs that");
    Some(spared.gateway)
}

/// `[gateway] data_dir` of a text that may be broken elsewhere.
fn data_dir(text: &str) -> PathBuf {
    let (table, _) = toml::de::DeTable::parse_recoverable(text);
    let gateway = table.get_ref().get("gateway").and_then(|gateway| gateway.get_ref().as_table());
    let dir = gateway.and_then(|gateway| gateway.get("data_dir")).and_then(|dir| dir.get_ref().as_str());
    dir.unwrap_or(DATA_DIR).into()
}
