//! `pseudonym`: what a card, a person or a code is called in the journal, under each key. Read from standard input: what
//! stands in a command line, others on this machine can read.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Config, print};
use crate::app;
use crate::config::{self, Loaded};
use crate::pseudonym::Pseudonyms;

#[derive(Debug, Args)]
pub struct Pseudonym {
    /// What is read
    pub what: What,
    #[command(flatten)]
    config: Config,
    /// For machines
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum What {
    /// The number of a card, as controllers show it
    Card,
    /// The id or the name that a terminal has of a person
    Person,
    /// A code typed in at a reader
    Code,
}

/// Bytes; a name is short.
const TOLD_MAX: u64 = 1000;

pub fn pseudonym(asked: &Pseudonym) -> anyhow::Result<ExitCode> {
    let (loaded, mistakes) = config::glean(&asked.config.config);
    let Some(Loaded { gateway, .. }) = loaded else {
        write!(io::stderr(), "{mistakes}")?;
        return Ok(ExitCode::from(app::BAD_CONFIGURATION));
    };
    let mut told = String::new();
    io::stdin().take(TOLD_MAX).read_to_string(&mut told).context("reading standard input")?;
    let told = told.trim();
    if told.is_empty() {
        bail!("standard input is empty; type the number or the name, then Enter and Ctrl-D, or pipe it in");
    }
    let keys: Vec<&Pseudonyms> = gateway.pseudonyms.iter().chain(&gateway.pseudonyms_before).collect();
    let unread = mistakes.unread(&["key", "key_before"]);
    if let (true, Some(why)) = (keys.is_empty(), &unread) {
        bail!("the key of the pseudonyms cannot be read here: {why}");
    }
    if let Some(why) = unread {
        writeln!(io::stderr(), "not under every key, since one cannot be read here: {why}")?;
    }
    if keys.is_empty() {
        bail!("the configuration has no `[privacy] key`; without one the journal has nobody in it");
    }
    let words: Vec<String> = keys.iter().map(|key| word(key, asked.what, told)).collect();
    print(&if asked.json {
        format!("{}\n", json!({ "pseudonyms": words }))
    } else {
        words.join("\n") + "\n"
    })?;
    Ok(ExitCode::SUCCESS)
}

fn word(key: &Pseudonyms, what: What, told: &str) -> String {
    let word = match what {
        What::Card => key.card(told),
        What::Person => key.person(told),
        What::Code => key.code(told),
    };
    word.as_str().to_owned()
}
