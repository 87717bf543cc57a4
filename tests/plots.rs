//! Plots and the heat map in a real Chromium, before a daemon with a month behind it: `tests/plots/plots.py` has the cases.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod history_month;

use std::process::Command;

use gatehouse::time;

use gateway::Gateway;

/// What is drawn is the same as at one a second, and written in a blink.
const EVERY: i64 = 60_000;

#[test]
fn plots_are_zoomed_by_mouse_keys_and_fingers_and_the_heat_map_counts_every_ticket() {
    let mut gateway = Gateway::new("cp-017");
    // Nobody answers there: this is about what was.
    gateway.configure(&history_month::config("127.0.0.1:9"));
    std::fs::create_dir_all(gateway.data()).unwrap();
    let mut ends = gateway.store();
    let now = time::now();
    assert!(history_month::tickets(&mut ends, now, 89) > 100);
    assert!(history_month::readings(&mut ends, now, 30, EVERY) > 40_000);
    drop(ends);
    gateway.start();
    let ran = Command::new("tests/.venv/bin/python")
        .args(["tests/plots/plots.py", &format!("http://{}", gateway.api().unwrap())])
        .output()
        .expect("tests/.venv has what drives the browser: `tests/run` makes it");
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ran.status.success(), "{said}\n{}", gateway.log());
}
