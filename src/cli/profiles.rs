//! `gatehouse profiles`: the built-in device profiles, or one of them.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use super::print;
use super::table::{Cell, Paint, Table};
use crate::config::{self, PROFILES};
use crate::field::profile::Profile;
use crate::near::nearest;

#[derive(Debug, Args)]
pub struct Profiles {
    /// Without it all are listed
    name: Option<String>,
    /// For machines
    #[arg(long)]
    json: bool,
}

pub fn profiles(asked: &Profiles) -> anyhow::Result<ExitCode> {
    let Some(name) = &asked.name else {
        print(&if asked.json { machines() } else { list() })?;
        return Ok(ExitCode::SUCCESS);
    };
    match PROFILES.iter().find(|(known, _)| known == name) {
        Some((_, text)) if asked.json => print(&format!("{}\n", json!({ "name": name, "text": text })))?,
        Some((_, text)) => print(text)?,
        None => {
            let near = nearest(name, PROFILES.iter().map(|(known, _)| *known));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            bail!("there is no profile `{name}`{near} (`gatehouse profiles` lists them)")
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn machines() -> String {
    let all = config::profiles();
    let row =
        |p: &Profile| json!({ "name": p.name, "kind": p.kind, "verified": p.verified, "about": p.about });
    format!("{}\n", json!({ "profiles": all.iter().map(row).collect::<Vec<_>>() }))
}

/// By kind, each with what it is.
fn list() -> String {
    let mut profiles = config::profiles();
    profiles.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    let mut table = Table::new(&["KIND", "PROFILE", "VERIFIED", "ABOUT…"]);
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
