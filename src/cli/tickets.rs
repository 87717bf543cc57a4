//! `tickets`: one line a ticket.

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, escaped, read};
use super::table::{Cell, Paint, Table};
use super::{Daemon, local, print};
use crate::ticket::Ticket;
use crate::time;

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
        print(&page(&tickets.collect::<anyhow::Result<Vec<Ticket>>>()?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(tickets: &[Ticket]) -> String {
    if tickets.is_empty() {
        return "no tickets\n".into();
    }
    let mut table = Table::new(&["NUMBER", "LEVEL", "STATE", "CONDITION", "OPENED", "TITLE"]);
    for ticket in tickets {
        let urgency = match ticket.level {
            1 => Some(Paint::Red),
            2 => Some(Paint::Yellow),
            _ => None,
        };
        let (condition, paint) = match ticket.cleared_at {
            None => ("holds", Some(Paint::Red)),
            Some(_) => ("gone", Some(Paint::Green)),
        };
        table.row(vec![
            (&ticket.number).into(),
            Cell::painted(ticket.level.to_string(), urgency),
            ticket.state.word().into(),
            Cell::painted(condition, paint),
            local(&time::format(ticket.opened_at)).into(),
            (&ticket.title).into(),
        ]);
    }
    table.render()
}
