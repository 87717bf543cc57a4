//! `gatehouse schema`: the grammar of the configuration, for editors that complete and check.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::print;
use crate::config::schema::{self, Of};

#[derive(Debug, Args)]
pub struct Schema {
    /// Of gatehouse.toml and what it includes, or of a device profile
    #[arg(default_value = "gateway")]
    pub of: What,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum What {
    Gateway,
    Profile,
}

pub fn schema(asked: &Schema) -> anyhow::Result<ExitCode> {
    let of = match asked.of {
        What::Gateway => Of::Gateway,
        What::Profile => Of::Profile,
    };
    print(&format!("{:#}\n", schema::schema(of)))?;
    Ok(ExitCode::SUCCESS)
}
