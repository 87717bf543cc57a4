//! The technician's page in a real, headless Chromium, before the real daemon: `tests/browser/page.py` has the cases.
//!
//! In a debug build limits of time are four times what was promised. `GATEHOUSE_RELEASE=1` takes `target/release/gatehouse`,
//! `GATEHOUSE_BINARY` any other; then they are what was promised. Pictures of all views are left in `target/page`.

mod history_month;
mod ports;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatehouse::{store, time};

/// Days of history, a reading each second, and of tickets.
const DAYS: i64 = 30;
const TICKET_DAYS: i64 = 60;

/// Which daemon, and how much longer than promised it may take.
fn binary() -> (PathBuf, u32) {
    if let Some(named) = env::var_os("GATEHOUSE_BINARY") {
        return (named.into(), 1);
    }
    if env::var_os("GATEHOUSE_RELEASE").is_some() {
        return ("target/release/gatehouse".into(), 1);
    }
    (env!("CARGO_BIN_EXE_gatehouse").into(), 4)
}

/// A data directory with a past, and the configuration of what it is the past of.
fn past(dir: &Path, address: &str) {
    fs::write(dir.join("past.toml"), history_month::config(address)).unwrap();
    let settings = store::Settings {
        dir: dir.join("data"),
        events_keep: store::EVENTS_KEEP_DEFAULT,
        readings_keep: 2 * store::READINGS_KEEP_DEFAULT,
        disk_limit: store::DISK_LIMIT_DEFAULT,
    };
    let mut ends = store::open(&settings, "gw").unwrap();
    let now = time::now();
    assert!(history_month::tickets(&mut ends, now, TICKET_DAYS) > 100);
    assert!(history_month::readings(&mut ends, now, DAYS, 1000) > 1_000_000);
}

#[test]
fn the_page_does_what_it_promises_in_a_real_browser() {
    let (binary, slack) = binary();
    assert!(binary.is_file(), "{} is not there; build it first", binary.display());
    let dir = tempfile::tempdir().unwrap();
    let port = ports::free_port();
    past(dir.path(), &format!("127.0.0.1:{port}"));
    let artefacts = Path::new("target/page");
    fs::create_dir_all(artefacts).unwrap();
    let done = Command::new("tests/.venv/bin/python")
        .arg("tests/browser/page.py")
        .args([&binary, dir.path()])
        .arg(port.to_string())
        .arg(artefacts)
        .arg(slack.to_string())
        .output()
        .expect("tests/.venv has what drives the browser: `tests/run` makes it");
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{stderr}\nthe daemon's log:\n{log}");
}
