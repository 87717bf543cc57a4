//! `status`: one page on how a running daemon is.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, read};
use super::table::{Cell, Paint, Table, paint};
use super::{Daemon, print};
use crate::ticket::Ticket;

const UNCLOSED: &str = "/api/v1/tickets?state=open,acknowledged,in_progress,resolved&limit=1000";

#[derive(Deserialize)]
struct Ready {
    degraded: Option<String>,
}

#[derive(Deserialize)]
struct Site {
    gateway: String,
    name: String,
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    id: String,
    place: String,
    state: String,
    since: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    quality: String,
}

#[derive(Deserialize)]
struct Consumers {
    consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    kind: String,
    acknowledged: String,
    lag: u64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Tickets {
    tickets: Vec<Ticket>,
}

/// 0 where the daemon is ready, else 1.
pub async fn status(daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let client = Client::new(daemon)?;
    let ready = client.ask("/readyz").await?;
    let devices = client.text("/api/v1/devices").await?;
    let points = client.text("/api/v1/points").await?;
    let tickets = client.text(UNCLOSED).await?;
    let consumers = client.text("/api/v1/consumers").await?;
    let is_ready = ready.status.is_success();
    let code = if is_ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    if daemon.json {
        let ready = if is_ready {
            read(&ready.text)?
        } else {
            json!({ "ready": false, "degraded": client.refusal(&ready) })
        };
        let all = json!({
            "readiness": ready,
            "site": read::<serde_json::Value>(&devices)?,
            "points": read::<serde_json::Value>(&points)?["points"],
            "tickets": read::<serde_json::Value>(&tickets)?["tickets"],
            "consumers": read::<serde_json::Value>(&consumers)?["consumers"],
        });
        print(&format!("{all}\n"))?;
        return Ok(code);
    }
    let state = if is_ready {
        read::<Ready>(&ready.text)?.degraded.map_or(Ok(()), Err)
    } else {
        Err(client.refusal(&ready))
    };
    let page = page(
        client.url(),
        &state,
        &read(&devices)?,
        &read(&points)?,
        &read(&tickets)?,
        &read(&consumers)?,
    );
    print(&page)?;
    Ok(code)
}

fn page(
    url: &str,
    state: &Result<(), String>,
    site: &Site,
    points: &Points,
    tickets: &Tickets,
    consumers: &Consumers,
) -> String {
    let mut page = String::new();
    let word = match state {
        Ok(()) => paint("ready", Some(Paint::Green)),
        Err(why) => paint(why, Some(Paint::Red)),
    };
    // Writing into a String cannot fail.
    let _ = writeln!(page, "{} {}  {word}  {url}\n", site.gateway, site.name);
    let mut sums = Table::new(&["", "", ""]);
    let states = ["online", "degraded", "offline", "maintenance", "unknown"];
    sums.row(sum(
        "devices",
        site.devices.iter().map(|d| d.state.as_str()),
        &states,
    ));
    sums.row(sum(
        "points",
        points.points.iter().map(|p| p.quality.as_str()),
        &["good", "uncertain", "bad"],
    ));
    let level = |ticket: &Ticket| {
        ["urgent", "important"]
            .get(usize::from(ticket.level).wrapping_sub(1))
            .unwrap_or(&"ordinary")
    };
    sums.row(sum(
        "unclosed tickets",
        tickets.tickets.iter().map(level).copied(),
        &["urgent", "important", "ordinary"],
    ));
    page.push_str(sums.render().trim_start());

    if !consumers.consumers.is_empty() {
        let mut table = Table::new(&["CONSUMER", "KIND", "BEHIND", "ACKNOWLEDGED", "TROUBLE"]);
        for consumer in &consumers.consumers {
            let seq = consumer.acknowledged.rsplit('.').next().unwrap_or_default();
            let trouble = Cell::painted(consumer.error.as_deref().unwrap_or_default(), Some(Paint::Red));
            table.row(vec![
                (&consumer.name).into(),
                (&consumer.kind).into(),
                consumer.lag.to_string().into(),
                seq.into(),
                trouble,
            ]);
        }
        let _ = write!(page, "\n{}", table.render());
    }
    let mut away = site.devices.iter().filter(|d| d.state != "online").peekable();
    if away.peek().is_some() {
        let mut table = Table::new(&["DEVICE", "STATE", "SINCE", "PLACE", "WHY"]);
        for device in away {
            let paint = (device.state == "offline").then_some(Paint::Red);
            table.row(vec![
                (&device.id).into(),
                Cell::painted(&device.state, paint),
                super::local(device.since.as_deref().unwrap_or_default()).into(),
                (&device.place).into(),
                device.error.as_deref().unwrap_or_default().into(),
            ]);
        }
        let _ = write!(page, "\n{}", table.render());
    }
    page
}

/// `devices  12  11 online, 1 offline`
fn sum<'a>(what: &str, words: impl Iterator<Item = &'a str>, known: &[&str]) -> Vec<Cell> {
    let words: Vec<&str> = words.collect();
    let parts: Vec<String> = known
        .iter()
        .map(|word| (words.iter().filter(|w| *w == word).count(), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    vec![
        what.into(),
        words.len().to_string().into(),
        parts.join(", ").into(),
    ]
}
