//! The last configuration that was good, kept in the data directory, for the day when the present one is not.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Gateway, Loaded, load_sources};

const FILE: &str = "last-good.json";
/// Where the daemon's data is when the configuration cannot say.
const DATA_DIR: &str = "/var/lib/gatehouse";

/// Keeps it; whether it is another one than before. Nothing is written where nothing changed.
pub fn keep(loaded: &Loaded) -> io::Result<bool> {
    let dir = &loaded.gateway.store.dir;
    let text = serde_json::to_string(&loaded.text).map_err(io::Error::other)?;
    let path = dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(before) if before == text => return Ok(false),
        _ => fs::create_dir_all(dir)?,
    }
    let draft = dir.join(format!("{FILE}.new"));
    let mut file = fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    fs::File::open(dir)?.sync_all()?;
    Ok(true)
}

/// The last good one for the configuration at `path`, whose `data_dir` may still be readable; `None` where there is
/// none, or where it is no longer right (a secret file is gone).
pub fn recall(path: &Path) -> Option<Gateway> {
    let text = fs::read_to_string(data_dir(path).join(FILE)).ok()?;
    let sources: Vec<(PathBuf, String)> = serde_json::from_str(&text).ok()?;
    match load_sources(sources) {
        Ok(loaded) => Some(loaded.gateway),
        Err(mistakes) => {
            tracing::error!("the last good configuration is no longer right:\n{mistakes}");
            None
        }
    }
}

/// `[gateway] data_dir` of a configuration that may be broken elsewhere.
fn data_dir(path: &Path) -> PathBuf {
    let main = if path.is_dir() {
        path.join("gatehouse.toml")
    } else {
        path.to_owned()
    };
    let text = fs::read_to_string(main).unwrap_or_default();
    let (table, _) = toml::de::DeTable::parse_recoverable(&text);
    let gateway = table
        .get_ref()
        .get("gateway")
        .and_then(|gateway| gateway.get_ref().as_table());
    let dir = gateway
        .and_then(|gateway| gateway.get("data_dir"))
        .and_then(|dir| dir.get_ref().as_str());
    dir.unwrap_or(DATA_DIR).into()
}
