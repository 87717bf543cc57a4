//! `gatehouse profiles`: the built-in device profiles, or one of them.

use std::process::ExitCode;

use anyhow::bail;

use super::print;
use super::table::{Cell, Paint, Table};
use crate::config::{self, PROFILES};

pub fn profiles(name: Option<&str>) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        print(&list())?;
        return Ok(ExitCode::SUCCESS);
    };
    match PROFILES.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => print(text)?,
        None => bail!("there is no profile `{name}`; `gatehouse profiles` lists them"),
    }
    Ok(ExitCode::SUCCESS)
}

/// By kind, each with what it is.
fn list() -> String {
    let mut profiles = config::profiles();
    profiles.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    let mut table = Table::new(&["KIND", "PROFILE", "VERIFIED", "ABOUT"]);
    for profile in profiles {
        let (word, paint) = if profile.verified { ("yes", None) } else { ("no", Some(Paint::Yellow)) };
        table.row(vec![
            profile.kind.into(),
            profile.name.into(),
            Cell::painted(word, paint),
            profile.about.into(),
        ]);
    }
    table.render()
}
