//! `scan`: who answers on a channel, with speed and parity tried in turn on a serial port.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::client::{escaped, read};
use super::wire::{Own, Reach, Way, channels};
use super::{print, span};
use crate::field::profile::Line;
use crate::field::wire::{Port, Wire};
use crate::field::{self, Errand, Kind};
use crate::web::look::seen;

/// What devices leave the factory with, the most usual first.
pub(super) const USUAL: [&str; 10] = [
    "9600 8N1",
    "4800 8N1",
    "19200 8N1",
    "9600 8E1",
    "2400 8N1",
    "2400 8E1",
    "19200 8E1",
    "38400 8N1",
    "57600 8N1",
    "115200 8N1",
];
const TIMEOUT_DEFAULT: Duration = Duration::from_millis(150);
/// All addresses at all speeds, with the longest timeout.
const WITHIN: Duration = Duration::from_secs(6 * 3600);
const SIGHTINGS_MAX: usize = 16;

#[derive(Debug, Args)]
pub struct Scan {
    channel: String,
    /// First address
    #[arg(long, default_value_t = 1)]
    from: u8,
    /// Last address
    #[arg(long, default_value_t = 247)]
    to: u8,
    /// Speed and parity to try (9600 8N1), several times; without it the channel's own, then the usual ones
    #[arg(long, value_name = "SETTING")]
    line: Vec<Line>,
    /// How long each may take to answer
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "150ms")]
    timeout: Duration,
    #[command(flatten)]
    reach: Reach,
}

pub async fn scan(asked: &Scan) -> anyhow::Result<ExitCode> {
    let gateway = match asked.reach.load()? {
        Ok(gateway) => gateway,
        Err(end) => return Ok(end),
    };
    let Some(channel) = gateway.channels.iter().find(|channel| *channel.id == *asked.channel) else {
        bail!("there is no channel `{}`; {}", asked.channel, channels(&gateway));
    };
    let what = field::Scan {
        from: asked.from,
        to: asked.to,
        lines: lines(asked, &channel.kind),
        timeout: if asked.timeout.is_zero() { TIMEOUT_DEFAULT } else { asked.timeout },
    };
    let mut page = Page::new(asked.reach.json);
    match asked.reach.way(&gateway, &asked.channel, None)? {
        Way::Daemon(client) => {
            let lines: Vec<String> = what.lines.iter().map(Line::to_string).collect();
            let body = json!({
                "from": what.from, "to": what.to, "lines": lines, "timeout_ms": what.timeout.as_millis() as u64,
            });
            let path = format!("/api/v1/channels/{}/scan", escaped(&asked.channel));
            client.lines(&path, &body, WITHIN, |line| page.show(&read(line)?)).await?;
        }
        Way::Own(own) => by_ourselves(&own, what, &mut page).await?,
    }
    page.finish(&asked.channel, &channel.kind)
}

fn where_to_look(kind: &Kind) -> &'static str {
    match (wire(kind), kind) {
        (Some(Wire::Serial(_)), _) => "look at its A and B, its power, and --timeout",
        (Some(Wire::Tcp { .. }), Kind::Modbus(_)) => "look at the units that are set there, and --timeout",
        (Some(Wire::Tcp { .. }), _) => {
            "look at the speed that is set there, A and B behind it, and --timeout"
        }
        (None, Kind::Mqtt(_)) => {
            "no topic was heard; does anything publish there, and may this login read `#`?"
        }
        (None, _) => {
            "controllers hear a broadcast in their own network only; look at `address`, and --timeout"
        }
    }
}

/// `None` of what is no line of devices.
fn wire(kind: &Kind) -> Option<&Wire> {
    match kind {
        Kind::Modbus(settings) => Some(&settings.wire),
        Kind::Serial(settings) => Some(&settings.wire),
        Kind::Osdp(settings) => Some(&settings.wire),
        Kind::Uhppote(_) | Kind::Mqtt(_) => None,
    }
}

/// The settings to try: on a port all, else there is nothing to choose.
fn lines(asked: &Scan, kind: &Kind) -> Vec<Line> {
    if !asked.line.is_empty() {
        return asked.line.clone();
    }
    let Some(Wire::Serial(Port { baud, parity, stop_bits, .. })) = wire(kind) else {
        return Vec::new();
    };
    let own = Line { baud: *baud, parity: *parity, stop_bits: *stop_bits };
    let usual = USUAL.iter().filter_map(|line| line.parse().ok()).filter(|line| *line != own);
    std::iter::once(own).chain(usual).collect()
}

async fn by_ourselves(own: &Own, what: field::Scan, page: &mut Page) -> anyhow::Result<()> {
    let (found, mut sightings) = mpsc::channel(SIGHTINGS_MAX);
    own.lane.send(Errand::Scan { what, found }).await.context("the wire's task has ended")?;
    while let Some(sighting) = sightings.recv().await {
        page.show(&seen(&sighting))?;
    }
    Ok(())
}

/// What has been found so far; progress on a terminal's last line.
struct Page {
    json: bool,
    live: bool,
    found: usize,
    trouble: bool,
}

impl Page {
    fn new(json: bool) -> Self {
        Self { json, live: io::stderr().is_terminal() && !json, found: 0, trouble: false }
    }

    fn show(&mut self, said: &Json) -> anyhow::Result<()> {
        if self.json {
            print(&format!("{said}\n"))?;
        }
        let text = |value: &Json| super::table::harmless(value.as_str().unwrap_or(""));
        if let Some(progress) = said.get("progress").filter(|_| self.live) {
            let mut err = io::stderr().lock();
            write!(err, "\r{} of {} asked, {} found ", progress["done"], progress["of"], self.found)?;
            err.flush()?;
        }
        if let Some(found) = said.get("found") {
            self.found += 1;
            let line = match found["line"].as_str() {
                Some(line) => format!("  {line}"),
                None => String::new(),
            };
            self.say(&format!("{}{line}  {}", text(&found["address"]), text(&found["how"])))?;
        }
        if let Some(trouble) = said.get("trouble") {
            self.trouble = true;
            self.say(&text(trouble))?;
        }
        Ok(())
    }

    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.live {
            write!(io::stderr().lock(), "\r\x1b[K")?;
        }
        if self.json { Ok(()) } else { print(&format!("{line}\n")) }
    }

    fn finish(&self, channel: &str, kind: &Kind) -> anyhow::Result<ExitCode> {
        if self.found > 0 {
            return Ok(ExitCode::SUCCESS);
        }
        if !self.trouble {
            self.say(&format!("nobody answers on {channel}: {}", where_to_look(kind)))?;
        }
        Ok(ExitCode::FAILURE)
    }
}
