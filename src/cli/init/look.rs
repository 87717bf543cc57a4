//! Who is on a wire, and what they may be. It takes the wire for a moment, as `scan` does where no daemon runs.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot};

use super::ask::Tongue;
use super::devices::fits;
use super::guess::{BITS_MIN, weigh};
use super::topics;
use super::wires::{Kind, Wire};
use crate::cli::scan::USUAL;
use crate::cli::table::harmless;
use crate::cli::wire;
use crate::config::{self, Gateway};
use crate::field::profile::Line;
use crate::field::{self, Errand, Scan, Sighting};
use crate::reading::DeviceId;

/// Of one unit at one address; a device that is there answers within a fraction of it.
const ANSWER_WITHIN: Duration = Duration::from_millis(150);
/// At speeds that nobody told, devices are looked for at so many addresses: nobody waits for minutes.
const AWAY_TO: u8 = 16;
/// All questions of one profile to one unit.
const READ_WITHIN: Duration = Duration::from_secs(20);
const SIGHTINGS_MAX: usize = 16;
/// What is proposed of one device.
const LIKELY_MOST: usize = 3;

/// Someone who answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub address: String,
    pub line: Option<Line>,
    pub how: String,
    /// The best first.
    pub likely: Vec<Likely>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Likely {
    pub profile: String,
    /// `temperature 23.1 °C, humidity 54.6 %`
    pub shows: String,
}

/// Looks around, then asks each whom it found what it is.
pub async fn search(wire: &Wire, to: u8, tongue: Tongue) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for scan in plan(wire, to) {
        found = scanned(wire, scan, tongue).await?;
        if !found.is_empty() {
            break;
        }
    }
    if wire.kind == Kind::Mqtt {
        return Ok(topics::devices(&found));
    }
    for one in &mut found {
        one.likely = likely(wire, one, tongue).await?;
    }
    Ok(found)
}

/// What to try, and where that finds nobody, what then.
fn plan(wire: &Wire, to: u8) -> Vec<Scan> {
    let scan =
        |lines, to| Scan { from: u8::from(wire.kind != Kind::Osdp), to, lines, timeout: ANSWER_WITHIN };
    let usual: Vec<Line> = USUAL.iter().filter_map(|line| line.parse().ok()).collect();
    match (wire.has_a_speed(), wire.line) {
        (false, _) => vec![scan(Vec::new(), to)],
        (true, Some(line)) => vec![scan(vec![line], to)],
        (true, None) => {
            let (first, others) = usual.split_at(1.min(usual.len()));
            vec![scan(first.to_vec(), to), scan(others.to_vec(), to.min(AWAY_TO))]
        }
    }
}

async fn scanned(wire: &Wire, what: Scan, tongue: Tongue) -> anyhow::Result<Vec<Found>> {
    let gateway = bench(&format!("{}{}", wire.toml(), one_of_each_board(wire.kind)))?;
    let own = wire::own(channel(&gateway, None)?, &gateway);
    let (tell, mut told) = mpsc::channel(SIGHTINGS_MAX);
    own.lane.send(Errand::Scan { what, found: tell }).await.context("the wire's task has ended")?;
    let mut found: Vec<Found> = Vec::new();
    while let Some(sighting) = told.recv().await {
        match sighting {
            Sighting::Progress { done, of } => progress(tongue, done, of, found.len())?,
            // A topic may have anything in it; what no configuration can hold is passed over.
            Sighting::Found { address, .. } if address.chars().any(char::is_control) => {}
            Sighting::Found { address, line, how } => {
                let how = harmless(&how);
                if found.iter().all(|other| (&other.address, &other.how) != (&address, &how)) {
                    found.push(Found { address, line, how, likely: Vec::new() });
                }
            }
            Sighting::Trouble(why) => bail!(
                "{why}; {}",
                tongue.pick(
                    "网关正在运行时先停下：systemctl stop gatehouse",
                    "where a daemon runs, stop it first: systemctl stop gatehouse"
                )
            ),
        }
    }
    clear()?;
    Ok(found)
}

/// A unit on a line may be at most one of the built-in profiles; the others do not fit what it says.
async fn likely(wire: &Wire, found: &Found, tongue: Tongue) -> anyhow::Result<Vec<Likely>> {
    let named = |profile: &str| vec![Likely { profile: profile.to_owned(), shows: found.how.clone() }];
    match wire.kind {
        Kind::Osdp => Ok(named("osdp-reader")),
        Kind::Uhppote => Ok(named("uhppote")),
        Kind::Serial => Ok(named(board(&found.how))),
        _ => {
            if io::stderr().is_terminal() {
                let asked = tongue.pick("正在辨认地址", "recognising address");
                write!(io::stderr().lock(), "\r\x1b[K{asked} {} …", found.address)?;
            }
            let likely = recognised(wire, found).await;
            clear()?;
            likely
        }
    }
}

/// What answers on a line of boards says which kind it is.
pub fn board(how: &str) -> &str {
    match how.split(' ').next().unwrap_or(how) {
        "DL/T" => "dlt645",
        "CJ/T" => "cjt188",
        board => board,
    }
}

async fn recognised(wire: &Wire, found: &Found) -> anyhow::Result<Vec<Likely>> {
    let unit: u8 = found.address.parse().context("the address of a unit")?;
    let wire = Wire { line: found.line.or(wire.line), ..wire.clone() };
    let profiles = config::profiles();
    let candidates = profiles.iter().filter(|profile| fits(&profile.transport, wire.kind));
    let mut text = format!("{}timeout   = \"300ms\"\n", wire.toml());
    for (nth, profile) in candidates.enumerate() {
        // Units have to differ in a configuration; which one is asked is put right below.
        let (id, unit) = (nth + 1, nth + 1);
        text.push_str(&format!(
            "[[device]]\nid = \"d{id}\"\nchannel = \"{}\"\nunit = {unit}\nprofile = \"{}\"\n",
            wire.id(),
            profile.name
        ));
    }
    let gateway = bench(&text)?;
    let channel = channel(&gateway, Some(unit))?;
    let field::Kind::Modbus(settings) = &channel.kind else { bail!("a line of Modbus units") };
    let devices = settings.devices.clone();
    let own = wire::own(channel.clone(), &gateway);
    let mut weighed: Vec<(f64, Likely)> = Vec::new();
    for device in &devices {
        let Some(exchanges) = read(&own, device.id).await? else { continue };
        let Some(weight) = weigh(&device.points, &gateway.site, &exchanges) else { continue };
        let name = gateway.site.device(device.id).profile.as_deref().unwrap_or_default();
        let usual = profiles.iter().find(|profile| *profile.name == *name).and_then(|p| p.transport.line());
        // Of two that fit as well, the one that leaves the factory like this.
        let bits = weight.bits + if usual.is_some() && usual == found.line { 0.5 } else { 0.0 };
        weighed.push((bits, Likely { profile: name.to_owned(), shows: weight.shows.join(", ") }));
    }
    weighed.retain(|(bits, _)| *bits >= BITS_MIN);
    weighed.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(weighed.into_iter().map(|(_, likely)| likely).take(LIKELY_MOST).collect())
}

async fn read(own: &wire::Own, device: DeviceId) -> anyhow::Result<Option<Vec<field::Exchange>>> {
    let (answer, answered) = oneshot::channel();
    own.lane.send(Errand::Read { device, point: None, answer }).await.context("the wire's task has ended")?;
    // Who does not come to an end with it is none of these.
    Ok(tokio::time::timeout(READ_WITHIN, answered).await.ok().and_then(Result::ok))
}

/// The one channel, whose devices are polled by nobody; all of them are this unit.
fn channel(gateway: &Gateway, unit: Option<u8>) -> anyhow::Result<field::Channel> {
    let mut channel = gateway.channels.first().cloned().context("there is one channel")?;
    wire::quiet(&mut channel, None);
    if let (Some(unit), field::Kind::Modbus(settings)) = (unit, &mut channel.kind) {
        settings.devices.iter_mut().for_each(|device| device.unit = unit);
    }
    Ok(channel)
}

fn bench(text: &str) -> anyhow::Result<Gateway> {
    let text = format!("[gateway]\nid = \"init\"\n{text}");
    match config::load_sources(vec![(PathBuf::from("init.toml"), text)]) {
        Ok(loaded) => Ok(loaded.gateway),
        Err(mistakes) => bail!("{mistakes}"),
    }
}

/// Others like these are sought.
fn one_of_each_board(kind: Kind) -> String {
    if kind != Kind::Serial {
        return String::new();
    }
    let boards = [
        ("lock-board-8a", "unit = 1"),
        ("kr-cu16", "unit = 2"),
        ("kr-cu48", "unit = 3"),
        ("winnsen-16", "unit = 4"),
        ("dlt645", "address = \"000000000001\""),
        ("cjt188", "address = \"00000000000001\""),
    ];
    let device = |(profile, at): (&str, &str)| {
        format!("[[device]]\nid = \"{profile}\"\nchannel = \"boards\"\nprofile = \"{profile}\"\n{at}\n")
    };
    boards.map(device).concat()
}

fn progress(tongue: Tongue, done: u32, of: u32, found: usize) -> io::Result<()> {
    let mut err = io::stderr().lock();
    if !err.is_terminal() {
        return Ok(());
    }
    let (asked, there) = (tongue.pick("已询问", "asked"), tongue.pick("应答", "found"));
    write!(err, "\r\x1b[K{asked} {done}/{of}, {there} {found}")?;
    err.flush()
}

fn clear() -> io::Result<()> {
    let mut err = io::stderr().lock();
    if err.is_terminal() { write!(err, "\r\x1b[K") } else { Ok(()) }
}

/// At which speeds they answer, the first first: on one wire it is one.
pub fn speeds(found: &[Found]) -> BTreeSet<String> {
    found.iter().filter_map(|found| found.line).map(|line| line.to_string()).collect()
}
