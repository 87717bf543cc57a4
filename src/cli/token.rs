//! `token`: a new token for the API and its fingerprint, or the fingerprint of one that is there. Never from the command
//! line, which every other process of the machine can read.

use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Args;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use zeroize::Zeroizing;

use super::print;
use crate::fingerprint::Fingerprint;

pub const EXAMPLES: &str = "\
Examples:
  gatehouse token
  gatehouse token --json
  gatehouse token --hash < token.txt

Of a token whose fingerprint is configured, nothing on the gateway can make a token again: keep it where it is used.";

const BYTES: usize = 32;
/// Bytes of a token that is read.
const TOKEN_MAX: u64 = 4096;

#[derive(Debug, Args)]
pub struct Token {
    /// Reads a token from standard input and prints its fingerprint
    #[arg(long)]
    hash: bool,
    /// For machines: one JSON object
    #[arg(long)]
    json: bool,
}

pub fn token(asked: &Token) -> anyhow::Result<ExitCode> {
    let token = if asked.hash { given()? } else { new()? };
    let own = Fingerprint::of(token.as_bytes());
    print(&match (asked.json, asked.hash) {
        (true, true) => format!("{}\n", json!({ "hash": own.to_string() })),
        (true, false) => format!("{}\n", json!({ "token": *token, "hash": own.to_string() })),
        (false, true) => format!("{own}\n"),
        (false, false) => format!(
            "token  {}\n       for whoever calls: `Authorization: Bearer …`, the page's login, or a file for --token-file\n\
             hash   {own}\n       for the gateway: this line into the file or credential that `token` of its [[api.token]]\n       \
             names, then `systemctl reload gatehouse`; sessions and streams of the token before end with it\n",
            *token
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn new() -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    if SystemRandom::new().fill(bytes.as_mut()).is_err() {
        bail!("the system gives no random numbers; try again, or on another machine");
    }
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}

fn given() -> anyhow::Result<Zeroizing<String>> {
    let input = io::stdin();
    if input.is_terminal() {
        bail!("--hash reads the token from standard input: gatehouse token --hash < FILE");
    }
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_MAX as usize + 1));
    input.lock().take(TOKEN_MAX + 1).read_to_string(&mut text).context("reading the token")?;
    let token = Zeroizing::new(text.trim().to_owned());
    if token.is_empty() || token.len() as u64 >= TOKEN_MAX || token.chars().any(char::is_control) {
        bail!("standard input is not one token in one line; write it into a file by itself");
    }
    Ok(token)
}
