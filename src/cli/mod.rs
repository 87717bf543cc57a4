//! The commands. `run`, `check`, `demo`, `replay`, `backup`, `restore`, `verify` and `doctor` work on this machine; the others ask a running daemon through its API.

mod acl;
mod backup;
mod check;
mod client;
mod daemon;
mod demo;
mod doctor;
mod erase;
mod events;
mod examples;
mod fit;
mod history;
mod init;
mod maintenance;
mod moment;
mod papers;
mod plot;
mod profiles;
mod pseudonym;
mod read;
mod reload;
mod replay;
mod restore;
mod scan;
mod schema;
mod status;
mod table;
mod tickets;
mod token;
mod top;
mod trust;
mod verify;
mod wire;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::app;
use daemon::Daemon;

/// Gateway daemon for residential compounds: reads devices, raises repair tickets, keeps them, tells the centre.
#[derive(Debug, Parser)]
#[command(name = "gatehouse", version, max_term_width = 100, after_help = examples::ALL)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What is logged where the environment does not say: the demo speaks for itself.
    pub fn log_level(&self) -> LevelFilter {
        match self.command {
            Command::Demo(_)
            | Command::Init(_)
            | Command::Read(_)
            | Command::Scan(_)
            | Command::Replay(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Doctor(_)
            | Command::Verify(_)
            | Command::Top(_) => LevelFilter::ERROR,
            _ => LevelFilter::INFO,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The daemon, in the foreground; logs to stderr
    #[command(after_help = examples::RUN)]
    Run(Config),
    /// A whole compound on this machine, without hardware or set-up
    #[command(after_help = examples::DEMO)]
    Demo(Demo),
    /// Asks a few questions, looks who is on a wire, and writes a first configuration
    #[command(after_help = init::EXAMPLES)]
    Init(init::Init),
    /// Validates the configuration; prints what would run, or all mistakes
    #[command(after_help = examples::CHECK)]
    Check(check::Check),
    /// A running daemon reads its configuration anew: only what changed begins again, and a bad one changes nothing
    #[command(after_help = examples::RELOAD)]
    Reload(reload::Reload),
    /// Asks one device itself, now: raw bytes and decoded values, or what went wrong on the wire
    #[command(after_help = examples::READ)]
    Read(read::Read),
    /// Finds who answers on a channel: Modbus units, serial boards, MQTT topics
    #[command(after_help = examples::SCAN)]
    Scan(scan::Scan),
    /// How a running daemon is: devices, points, tickets, consumers
    #[command(after_help = examples::STATUS)]
    Status(Daemon),
    /// A running daemon as it is now, drawn anew in place: lines, devices, tickets, events
    #[command(after_help = examples::TOP)]
    Top(top::Top),
    /// Tickets of a running daemon; without --state or --all those not yet closed
    #[command(after_help = examples::TICKETS)]
    Tickets(tickets::Tickets),
    /// The journal of a running daemon; without --after its last lines
    #[command(after_help = examples::EVENTS)]
    Events(events::Events),
    /// What is in maintenance; sets it (--device pump-1 --for 2h) and ends it (--end)
    #[command(after_help = examples::MAINTENANCE)]
    Maintenance(maintenance::Maintenance),
    /// What one point has said
    #[command(after_help = examples::HISTORY)]
    History(history::History),
    /// Which tickets a rule would have raised, over the recorded history or a CSV
    #[command(after_help = examples::REPLAY)]
    Replay(replay::Replay),
    /// A copy of the journal while the daemon runs, in one file; nothing waits for it
    #[command(after_help = examples::BACKUP)]
    Backup(backup::Backup),
    /// A backup goes on here under an epoch of its own: onto a new box, or into an emptied data directory
    #[command(after_help = examples::RESTORE)]
    Restore(restore::Restore),
    /// Looks at all that the gateway stands on (store, ports, channels, clock, centre, …) and says what to do
    #[command(after_help = examples::DOCTOR)]
    Doctor(doctor::Doctor),
    /// Whether the journal is as it was told: each event, their chain, and what consumers and the centre have kept of it
    #[command(after_help = examples::VERIFY)]
    Verify(verify::Verify),
    /// Erases one person, by pseudonym, from the journal of a running daemon
    #[command(after_help = examples::ERASE)]
    Erase(erase::Erase),
    /// The built-in device profiles, or one of them
    #[command(after_help = examples::PROFILES)]
    Profiles(profiles::Profiles),
    /// The access list of a channel's MQTT broker (mosquitto), so that no device can speak for another one
    #[command(after_help = examples::ACL)]
    Acl(acl::Acl),
    /// A new token for the API and its fingerprint, which is all that the gateway has to know of it
    #[command(after_help = token::EXAMPLES)]
    Token(token::Token),
    /// What a card, a person or a code is called in the journal: reads it from standard input
    #[command(after_help = examples::PSEUDONYM)]
    Pseudonym(pseudonym::Pseudonym),
    /// What a shell needs to complete these commands
    #[command(after_help = examples::COMPLETIONS)]
    Completions(papers::Completions),
    /// The manual page; with --dir a page for each command
    #[command(after_help = examples::MAN)]
    Man(papers::Manual),
    /// The grammar of the configuration (JSON Schema), by which an editor completes and checks it
    #[command(after_help = examples::SCHEMA)]
    Schema(schema::Schema),
}

#[derive(Debug, Args)]
pub struct Config {
    /// A file, or a directory with gatehouse.toml
    #[arg(long, value_name = "PATH", env = "GATEHOUSE_CONFIG", default_value = "/etc/gatehouse")]
    pub config: PathBuf,
}

/// Where the API is if nobody says otherwise.
pub const API_PORT: u16 = 8080;

#[derive(Debug, Args)]
pub struct Demo {
    /// Ends by itself after this long (60s, 2m); 0 only if every ticket arrived once
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub time: Option<Duration>,
    /// Where the page and the API are
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// What the journal and its neighbours say of people is for no others on this machine, by whomever they were made.
fn for_nobody_else() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Does what was asked. A reader that has gone away (`| head`) is no failure.
///
/// # Errors
/// What went wrong, for people.
pub fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let done = match cli.command {
        Command::Run(config) => {
            for_nobody_else();
            wait_for(app::run(&config.config))
        }
        Command::Init(asked) => wait_for(init::init(&asked)),
        Command::Check(asked) => check::check(&asked),
        Command::Reload(asked) => wait_for(reload::reload(&asked)),
        Command::Read(asked) => wait_for(read::read(&asked)),
        Command::Scan(asked) => wait_for(scan::scan(&asked)),
        Command::Demo(asked) => wait_for(demo::demo(asked.time, asked.listen)),
        Command::Status(daemon) => wait_for(status::status(&daemon)),
        Command::Top(asked) => wait_for(top::top(&asked)),
        Command::Tickets(tickets) => wait_for(tickets::tickets(&tickets)),
        Command::Events(events) => wait_for(events::events(&events)),
        Command::Maintenance(asked) => wait_for(maintenance::maintenance(&asked)),
        Command::History(history) => wait_for(history::history(&history)),
        Command::Replay(asked) => replay::replay(&asked),
        Command::Backup(asked) => wait_for(backup::backup(&asked)),
        Command::Restore(asked) => restore::restore(&asked),
        Command::Doctor(asked) => {
            doctor::with_credentials();
            wait_for(doctor::doctor(&asked))
        }
        Command::Verify(asked) => {
            doctor::with_credentials();
            verify::verify(&asked)
        }
        Command::Erase(asked) => wait_for(erase::erase(&asked)),
        Command::Profiles(asked) => profiles::profiles(&asked),
        Command::Acl(asked) => acl::acl(&asked),
        Command::Token(asked) => token::token(&asked),
        Command::Pseudonym(asked) => {
            doctor::with_credentials();
            pseudonym::pseudonym(&asked)
        }
        Command::Completions(asked) => papers::completions(&asked),
        Command::Man(asked) => papers::manual(&asked),
        Command::Schema(asked) => schema::schema(&asked),
    };
    match done {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn wait_for(asked: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(asked);
    // A thread that still asks for a name in the DNS must not hold up the end.
    runtime.shutdown_background();
    done
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The one way to stdout.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A time of the API as the clock on the wall here shows it.
fn local(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime("%m-%d %H:%M:%S").to_string(),
        Err(_) => table::harmless(at),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no time; say 60s or 2m"))?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_put_together_rightly() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_written_as_people_do() {
        assert_eq!(span("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(span("60").is_err() && span("-1s").is_err());
    }
}
