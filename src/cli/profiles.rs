//! `gatehouse profiles`: the built-in device profiles, or one of them.

use std::process::ExitCode;

use anyhow::bail;

use super::print;
use crate::config::PROFILES;

pub fn profiles(name: Option<&str>) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        let names: String = PROFILES.iter().map(|(name, _)| format!("{name}\n")).collect();
        print(&names)?;
        return Ok(ExitCode::SUCCESS);
    };
    match PROFILES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => print(text)?,
        None => bail!("there is no profile `{name}`; `gatehouse profiles` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
