//! Promise: the daemon does all its work inside the sandbox of systemd/gatehouse.service, and the sandbox holds.
//!
//! systemd is not at hand; tests/unit_sandbox/sandbox.py reads the unit and builds of each of its keys what the kernel offers.
//! A machine that refuses that (or a user who is not root) fails this test, with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_gatehouse");

#[test]
fn the_daemon_works_inside_the_units_sandbox_and_the_sandbox_holds() {
    let day = Command::new("tests/unit_sandbox/day.py").arg(BINARY).output().unwrap();
    assert!(day.status.success(), "{}", String::from_utf8_lossy(&day.stderr));
}

#[test]
fn a_key_of_the_unit_that_is_neither_applied_nor_excused_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let unit = fs::read_to_string("systemd/gatehouse.service").unwrap();
    fs::write(dir.path().join("unit"), unit.replace("[Service]\n", "[Service]\nPrivateIPC=yes\n")).unwrap();
    let mut sandbox = Command::new("tests/unit_sandbox/sandbox.py");
    for (option, name) in [("--unit", "unit"), ("--state", "s"), ("--config", "c"), ("--scratch", "t")] {
        sandbox.arg(option).arg(dir.path().join(name));
    }
    let said = sandbox.args(["--binary", BINARY, "--", "/bin/true"]).output().unwrap();
    let said = (said.status.code(), String::from_utf8(said.stderr).unwrap());
    assert!(said.0 == Some(99) && said.1.contains("nor says why not: PrivateIPC"), "{said:?}");
}
