//! `gatehouse check`: what would run, or all mistakes.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::print;
use crate::{app, config};

pub fn check(path: &Path) -> anyhow::Result<ExitCode> {
    match config::load(path) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(io::stderr(), "warning: {warning}\n")?;
            }
            print(&config::describe(&loaded.gateway))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(mistakes) => {
            writeln!(io::stderr(), "{mistakes}")?;
            Ok(ExitCode::from(app::BAD_CONFIGURATION))
        }
    }
}
