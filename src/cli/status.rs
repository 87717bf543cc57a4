//! `status`: one page on how a running daemon is.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::client::{Client, read};
use super::table::{Cell, Paint, Table, colours, page as columns};
use super::{Daemon, local, print};
use crate::ticket::Ticket;

pub const UNCLOSED: &str = "/api/v1/tickets?state=open,acknowledged,in_progress,resolved&limit=1000";

#[derive(Deserialize)]
pub struct Ready {
    pub degraded: Option<String>,
}

#[derive(Deserialize)]
pub struct Site {
    pub gateway: String,
    pub name: String,
    pub devices: Vec<Device>,
}

#[derive(Deserialize)]
pub struct Device {
    pub id: String,
    pub place: String,
    pub state: String,
    pub since: Option<String>,
    pub error: Option<String>,
    pub maintenance: Option<Rest>,
}

#[derive(Deserialize)]
pub struct Rest {
    pub until: String,
}

#[derive(Deserialize)]
struct Points {
    points: Vec<Point>,
}

#[derive(Deserialize)]
struct Point {
    quality: String,
    reason: Option<String>,
    #[serde(default)]
    momentary: bool,
}

impl Point {
    /// A door at which nothing has happened since the start is no bad point.
    fn word(&self) -> &str {
        match self.reason.as_deref() {
            Some("not-yet") if self.momentary => "without a word yet",
            _ => &self.quality,
        }
    }
}

#[derive(Deserialize)]
pub struct Consumers {
    pub consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
pub struct Consumer {
    pub name: String,
    pub kind: String,
    pub acknowledged: String,
    pub lag: u64,
    pub error: Option<String>,
}

#[derive(Deserialize)]
pub struct Tickets {
    pub tickets: Vec<Ticket>,
    /// Where there are more than one answer has.
    pub next: Option<String>,
}

impl Tickets {
    /// `12`, or `1000+`.
    pub fn count(&self) -> String {
        let more = if self.next.is_some() { "+" } else { "" };
        format!("{}{more}", self.tickets.len())
    }
}

/// 0 where the daemon is ready, else 1.
pub async fn status(daemon: &Daemon) -> anyhow::Result<ExitCode> {
    let client = Client::new(daemon)?;
    let ready = client.ask("/readyz").await?;
    let site = client.text("/api/v1/devices").await?;
    let points = client.text("/api/v1/points").await?;
    let tickets = client.text(UNCLOSED).await?;
    let consumers = client.text("/api/v1/consumers").await?;
    let degraded = match ready.status.is_success() {
        true => read::<Ready>(&ready.text)?.degraded,
        false => Some(client.refusal(&ready)),
    };
    if daemon.json {
        let readiness = json!({ "ready": ready.status.is_success(), "degraded": degraded });
        let all = json!({
            "readiness": readiness,
            "site": read::<Json>(&site)?,
            "points": read::<Json>(&points)?["points"],
            "tickets": read::<Json>(&tickets)?["tickets"],
            "consumers": read::<Json>(&consumers)?["consumers"],
        });
        print(&format!("{all}\n"))?;
    } else {
        let state = degraded.map_or(Ok(()), Err);
        let consumers = read(&consumers)?;
        print(&page(client.url(), &state, &read(&site)?, &read(&points)?, &read(&tickets)?, &consumers))?;
    }
    match ready.status.is_success() {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

fn page(
    url: &str,
    state: &Result<(), String>,
    site: &Site,
    points: &Points,
    tickets: &Tickets,
    consumers: &Consumers,
) -> String {
    let word = match state {
        Ok(()) => Cell::painted("ready", Some(Paint::Green)),
        Err(why) => Cell::painted(why, Some(Paint::Red)),
    };
    let mut head = Table::list();
    head.row(vec![format!("{} {}", site.gateway, site.name).into(), word, url.into()]);
    let mut page = head.flow(columns(), colours()).join("\n") + "\n";
    let tables = [sums(site, points, tickets), behind(consumers), away(site)];
    for table in tables.into_iter().flatten() {
        page.push('\n');
        page.push_str(&table.render());
    }
    page
}

fn sums(site: &Site, points: &Points, tickets: &Tickets) -> Option<Table> {
    let states = ["online", "degraded", "offline", "maintenance", "unknown"];
    let qualities = ["good", "uncertain", "bad", "without a word yet"];
    let levels = ["urgent", "important", "ordinary"];
    let level = |ticket: &Ticket| levels[usize::from(ticket.level.clamp(1, 3)) - 1];
    let mut table = Table::list();
    table.row(sum("devices", site.devices.iter().map(|d| d.state.as_str()), &states));
    table.row(sum("points", points.points.iter().map(Point::word), &qualities));
    let mut unclosed = sum("unclosed tickets", tickets.tickets.iter().map(level), &levels);
    unclosed[1] = tickets.count().into();
    table.row(unclosed);
    Some(table)
}

/// How far each consumer is, where there is one.
fn behind(consumers: &Consumers) -> Option<Table> {
    let mut table = Table::new(&["CONSUMER", "KIND", "BEHIND", "ACKNOWLEDGED", "TROUBLE↵"]);
    for consumer in &consumers.consumers {
        let seq = consumer.acknowledged.rsplit('.').next().unwrap_or_default();
        let trouble = consumer.error.as_deref().unwrap_or_default();
        table.row(vec![
            (&consumer.name).into(),
            (&consumer.kind).into(),
            consumer.lag.to_string().into(),
            seq.into(),
            Cell::painted(trouble, Some(Paint::Red)),
        ]);
    }
    (!consumers.consumers.is_empty()).then_some(table)
}

/// The devices that are not online, where there is one.
fn away(site: &Site) -> Option<Table> {
    let mut away = site.devices.iter().filter(|d| d.state != "online").peekable();
    away.peek()?;
    let mut table = Table::new(&["DEVICE", "STATE", "SINCE", "PLACE…", "WHY↵"]);
    for device in away {
        let paint = match device.state.as_str() {
            "offline" => Some(Paint::Red),
            "degraded" => Some(Paint::Yellow),
            _ => None,
        };
        let rest = device.maintenance.as_ref().map(|rest| format!("until {}", local(&rest.until)));
        let why = rest.or_else(|| device.error.clone());
        table.row(vec![
            (&device.id).into(),
            Cell::painted(&device.state, paint),
            local(device.since.as_deref().unwrap_or_default()).into(),
            (&device.place).into(),
            why.unwrap_or_default().into(),
        ]);
    }
    Some(table)
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
    vec![what.into(), words.len().to_string().into(), parts.join(", ").into()]
}
