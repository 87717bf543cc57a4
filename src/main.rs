//! The door: arguments, logging, exit codes.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use gatehouse::{cli, fault, logging};

fn main() -> ExitCode {
    keep_one_heap();
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

/// For all threads: glibc keeps room of its own for each of them, nearly 3 MB of this daemon.
fn keep_one_heap() {
    // SAFETY: it sets a number, before there is a second thread.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the allocator of the C library has no safe wrapper")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
