//! The door: arguments, logging, exit codes.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use gatehouse::{cli, fault, logging};

fn main() -> ExitCode {
    // The one crypto library, named before anything can ask for TLS. It fails only where one is named already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    logging::init(cli.log_level());
    fault::keep_words_out();
    cli::dispatch(cli).unwrap_or_else(|error| {
        // To a closed stderr there is nobody left to tell.
        let _ = writeln!(io::stderr(), "gatehouse: {}", logging::harmless(&format!("{error:#}")));
        ExitCode::FAILURE
    })
}
