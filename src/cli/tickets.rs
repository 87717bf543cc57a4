//! `tickets`: one line a ticket, with how long its next step may take.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, escaped, read};
use super::fit::lasting;
use super::table::{Cell, Paint, Table};
use super::{Daemon, local, print};
use crate::reading::Millis;
use crate::ticket::{State, Ticket};
use crate::time;

/// A deadline so near is worth a colour.
const SOON: Millis = 15 * 60_000;

/// Pages taken from the API; each has up to a thousand tickets.
const PAGES_MAX: usize = 10;

#[derive(Debug, Args)]
pub struct Tickets {
    /// Closed ones too
    #[arg(long, conflicts_with = "state")]
    all: bool,
    /// Only these: open, acknowledged, in_progress, resolved, closed
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// Only of this device
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Deserialize)]
struct Page {
    tickets: Vec<Box<RawValue>>,
    next: Option<String>,
}

pub async fn tickets(asked: &Tickets) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let unclosed = "open,acknowledged,in_progress,resolved";
    let states = if asked.all { "" } else { asked.state.as_deref().unwrap_or(unclosed) };
    let mut path = format!("/api/v1/tickets?limit=1000&state={}", escaped(states));
    if let Some(device) = &asked.device {
        path = format!("{path}&device={}", escaped(device));
    }
    let (mut rows, mut next) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let after = next.map_or_else(String::new, |id: String| format!("&after={}", escaped(&id)));
        let page: Page = client.get(&format!("{path}{after}")).await?;
        rows.extend(page.tickets);
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    if asked.daemon.json {
        let rows: Vec<&str> = rows.iter().map(|r| r.get()).collect();
        let next = serde_json::Value::from(next);
        print(&format!("{{\"tickets\":[{}],\"next\":{next}}}\n", rows.join(",")))?;
    } else {
        let tickets = rows.iter().map(|row| read(row.get()));
        print(&page(&tickets.collect::<anyhow::Result<Vec<Ticket>>>()?, time::now()))?;
        if next.is_some() {
            print("there are more; narrow it with --state or --device\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(tickets: &[Ticket], now: Millis) -> String {
    if tickets.is_empty() {
        return "no tickets\n".into();
    }
    let mut table = Table::new(&["NUMBER", "LEVEL", "STATE", "DEADLINE", "OPENED?", "TITLE…"]);
    for ticket in tickets {
        let (words, hurry) = deadline(ticket, now);
        table.row(vec![
            (&ticket.number).into(),
            Cell::painted(ticket.level.to_string(), urgency(ticket.level)),
            standing(ticket),
            Cell::painted(words, hurry),
            local(&time::format(ticket.opened_at)).into(),
            (&ticket.title).into(),
        ]);
    }
    table.render()
}

/// How far the work is, and whether the fault itself is over.
pub fn standing(ticket: &Ticket) -> Cell {
    let state = ticket.state.word().replace('_', " ");
    match ticket.cleared_at {
        None => state.into(),
        Some(_) => Cell::painted(format!("{state}, gone"), Some(Paint::Green)),
    }
}

pub fn urgency(level: u8) -> Option<Paint> {
    match level {
        1 => Some(Paint::Red),
        2 => Some(Paint::Yellow),
        _ => None,
    }
}

/// The step that has to be taken next, and until when.
pub fn next_step(ticket: &Ticket) -> Option<(&'static str, Millis)> {
    let by = &ticket.deadlines;
    let contacted = ticket.state != State::Open;
    let on_site = !matches!(ticket.state, State::Open | State::Acknowledged);
    let closed = ticket.state == State::Closed;
    let steps = [
        ("contact", by.contact_by.filter(|_| !contacted)),
        ("on site", by.on_site_by.filter(|_| !on_site)),
        ("follow-up", by.follow_up_by.filter(|_| !closed)),
    ];
    steps.into_iter().filter_map(|(step, at)| Some((step, at?))).min_by_key(|(_, at)| *at)
}

/// How long it may take: `contact in 12m`, `on site late 2h 5m`.
pub fn deadline(ticket: &Ticket, now: Millis) -> (String, Option<Paint>) {
    match next_step(ticket) {
        None => (String::new(), None),
        Some((step, at)) if at <= now => (format!("{step} late {}", lasting(now - at)), Some(Paint::Red)),
        Some((step, at)) if at - now < SOON => {
            (format!("{step} in {}", lasting(at - now)), Some(Paint::Yellow))
        }
        Some((step, at)) => (format!("{step} in {}", lasting(at - now)), None),
    }
}
