//! The technician's page in a real, headless Chromium, before the real daemon: `tests/browser/page.py` has the cases.
//!
//! In a debug build limits of time are four times what was promised. `GATEHOUSE_RELEASE=1` takes `target/release/gatehouse`,
//! `GATEHOUSE_BINARY` any other; then they are what was promised. Pictures of all views are left in `target/page`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod history_month;
mod kernel_clock;
mod ports;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatehouse::{store, time};

/// Days of history and of tickets.
const DAYS: i64 = 30;
const TICKET_DAYS: i64 = 60;

/// Which daemon; how much longer than promised it may take; a reading of its history each so many seconds.
struct Tried {
    binary: PathBuf,
    slack: u32,
    every: i64,
}

fn tried() -> Tried {
    let promised = |binary| Tried { binary, slack: 1, every: 1 };
    if let Some(named) = env::var_os("GATEHOUSE_BINARY") {
        return promised(named.into());
    }
    if env::var_os("GATEHOUSE_RELEASE").is_some() {
        return promised("target/release/gatehouse".into());
    }
    // A month at one a second takes a debug build a minute to write.
    Tried { binary: env!("CARGO_BIN_EXE_gatehouse").into(), slack: 4, every: 15 }
}

/// A data directory with a past, and the configuration of what it is the past of.
fn past(dir: &Path, address: &str, every: i64) {
    fs::write(dir.join("past.toml"), history_month::config(address)).unwrap();
    let usual = store::Settings::at(dir.join("data"));
    let settings = store::Settings { readings_keep: 2 * usual.readings_keep, ..usual };
    let mut ends = store::open(&settings, "gw").unwrap();
    let now = time::now();
    assert!(history_month::tickets(&mut ends, now, TICKET_DAYS) > 100);
    let written = history_month::readings(&mut ends, now, DAYS, every * 1000);
    assert!(written as i64 > DAYS * 80_000 / every, "{written} readings");
}

#[test]
fn the_page_does_what_it_promises_in_a_real_browser() {
    let Tried { binary, slack, every } = tried();
    assert!(binary.is_file(), "{} is not there; build it first", binary.display());
    let dir = tempfile::tempdir().unwrap();
    let port = ports::free_port();
    past(dir.path(), &format!("127.0.0.1:{port}"), every);
    kernel_clock::adjtimex(dir.path());
    fs::write(dir.path().join("synced"), "synced").unwrap();
    let artefacts = Path::new("target/page");
    fs::create_dir_all(artefacts).unwrap();
    let done = Command::new("tests/.venv/bin/python")
        .arg("tests/browser/page.py")
        .args([&binary, dir.path()])
        .arg(port.to_string())
        .arg(artefacts)
        .args([slack.to_string(), every.to_string()])
        .output()
        .expect("tests/.venv has what drives the browser: `tests/run` makes it");
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{stderr}\nthe daemon's log:\n{log}");
}
