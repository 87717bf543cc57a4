//! `events`: the journal, line by line; with --follow as it grows.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, escaped, read};
use super::table::{Cell, Paint, Table, colours, page};
use super::{Daemon, local, print};
use crate::event::Cursor;

/// Lines shown where nobody said from where.
const TAIL: usize = 20;
/// How far back lines of certain types are looked for.
const TAIL_OF_TYPES: u64 = 1000;

#[derive(Debug, Args)]
pub struct Events {
    /// From after this cursor on; 0 is the beginning
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
    /// Goes on with what comes
    #[arg(long)]
    follow: bool,
    /// Only these: ticket.*,device.offline
    #[arg(long, value_name = "TYPES", default_value = "")]
    types: String,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Deserialize)]
pub struct Page {
    pub events: Vec<Box<RawValue>>,
    pub next: String,
    head: String,
}

#[derive(Debug, Deserialize)]
pub struct Event {
    sequence: String,
    r#type: String,
    subject: String,
    time: String,
    /// None: it is erased, or has expired.
    data: Option<Data>,
    #[serde(default)]
    erased: Option<String>,
    #[serde(default)]
    expired: Option<String>,
}

/// What of an event's data fits on a line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    number: Option<String>,
    title: Option<String>,
    why: Option<String>,
    reason: Option<String>,
    outcome: Option<String>,
    detail: Option<String>,
    card: Option<String>,
    cell: Option<u32>,
}

/// What the daemon says to a cursor older than what it keeps.
#[derive(Deserialize)]
struct Gone {
    oldest: String,
}

pub async fn events(asked: &Events) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let (mut after, mut tail) = match &asked.after {
        Some(cursor) => (cursor.to_string(), None),
        None => (shortly_before_the_end(&client, &asked.types).await?, Some(TAIL)),
    };
    let mut wait = 0;
    loop {
        let page = pull(&client, &asked.types, &after, wait).await;
        let page = if wait == 0 { page? } else { page.with_context(|| broken_off(&after))? };
        // Only what was there already is cut to the last lines.
        let skipped = tail.take().map_or(0, |lines| page.events.len().saturating_sub(lines));
        for event in &page.events[skipped..] {
            print(&shown(event.get(), asked.daemon.json)?)?;
        }
        after = page.next;
        if after == page.head {
            if !asked.follow {
                return Ok(ExitCode::SUCCESS);
            }
            wait = 50;
        }
    }
}

/// From where whoever follows can go on.
fn broken_off(after: &str) -> String {
    format!("the daemon has gone; go on with --after {after}")
}

fn shown(event: &str, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(format!("{event}\n"));
    }
    Ok(lines(&read(event)?, page(), colours()).join("\n") + "\n")
}

pub async fn pull(client: &Client, types: &str, after: &str, wait: u8) -> anyhow::Result<Page> {
    let types = escaped(types);
    client.get(&format!("/api/v1/events?after={}&limit=1000&wait={wait}&types={types}", escaped(after))).await
}

/// A cursor from which there is one page to the head, or what is kept of it.
pub async fn shortly_before_the_end(client: &Client, types: &str) -> anyhow::Result<String> {
    let mut path = "/api/v1/events?limit=1&after=0".to_owned();
    let back = if types.is_empty() { TAIL as u64 } else { TAIL_OF_TYPES };
    let mut oldest = None;
    for _ in 0..3 {
        let answer = client.ask(&path).await?;
        if answer.status == StatusCode::GONE {
            let gone: Gone = read(&answer.text)?;
            path = format!("/api/v1/events?limit=1&after={}", escaped(&gone.oldest));
            oldest = Some(gone.oldest);
            continue;
        }
        if !answer.status.is_success() {
            bail!(client.refusal(&answer));
        }
        let page: Page = read(&answer.text)?;
        let mut cursor: Cursor = page.head.parse().map_err(anyhow::Error::msg)?;
        cursor.seq = cursor.seq.saturating_sub(back);
        let kept = oldest.as_deref().and_then(|o| o.parse::<Cursor>().ok()).map_or(0, |c| c.seq);
        cursor.seq = cursor.seq.max(kept);
        return Ok(cursor.to_string());
    }
    bail!("{} lets go of events faster than they can be asked for; say --after", client.url())
}

/// One event for people, on as many lines as this page needs.
pub fn lines(event: &Event, page: usize, colours: bool) -> Vec<String> {
    let sequence = event.sequence.trim_start_matches('0');
    let kind = event.r#type.strip_prefix("gatehouse.").unwrap_or(&event.r#type);
    let mut line = Table::list();
    line.row(vec![
        format!("{sequence:>6}").into(),
        local(&event.time).into(),
        Cell::painted(format!("{kind:<21}"), colour(kind)),
        event.says().into(),
    ]);
    line.lines(page, colours)
}

fn colour(kind: &str) -> Option<Paint> {
    match kind.rsplit('.').next()? {
        "opened" | "reopened" if !kind.starts_with("ticket.") => None,
        "opened" | "reopened" | "escalated" | "offline" | "forced" | "jammed" | "tamper" => Some(Paint::Red),
        "cleared" | "verified" | "online" => Some(Paint::Green),
        "closed" if kind.starts_with("ticket.") => Some(Paint::Green),
        "degraded" | "denied" | "held" | "overdue" | "unexpected" => Some(Paint::Yellow),
        _ => None,
    }
}

impl Event {
    /// Whose it is, and what happened.
    fn says(&self) -> String {
        let Some(data) = &self.data else {
            let since = |word, at: &Option<String>| at.as_ref().map(|at| format!("{word} {}", local(at)));
            let why = since("erased", &self.erased).or_else(|| since("expired", &self.expired));
            return format!("{}  {}", self.subject, why.unwrap_or_default()).trim_end().to_owned();
        };
        if let Some(title) = &data.title {
            return [data.number.as_deref().unwrap_or_default(), title].join(" ").trim_start().to_owned();
        }
        let said = [&data.outcome, &data.card, &data.why, &data.reason, &data.detail];
        let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        let cell = data.cell.map_or_else(String::new, |cell| format!(" cell {cell}"));
        format!("{}{cell}  {}", self.subject, said.join(", ")).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fit::width;

    fn line(event: &str, page: usize) -> Vec<String> {
        lines(&read(event).unwrap(), page, false)
    }

    const OPENED: &str = r#"{"sequence":"00000000000000000042","type":"gatehouse.ticket.opened","subject":"tickets/x",
        "time":"2026-11-21T08:00:00.123Z","data":{"number":"CP-017-000123","title":"水压低\u001b[2J"}}"#;

    #[test]
    fn a_line_has_number_kind_and_what_it_says() {
        let [line] = &line(OPENED, usize::MAX)[..] else { panic!("one line") };
        assert!(line.starts_with("    42  "), "{line}");
        assert!(line.contains("ticket.opened") && line.contains("CP-017-000123 水压低·[2J"), "{line}");
    }

    #[test]
    fn an_order_says_whose_it_is_and_what_came_of_it() {
        let event = r#"{"sequence":"00000000000000000043","type":"gatehouse.command.executed","subject":"devices/bank-1",
            "time":"2026-11-21T08:00:00.123Z","data":{"outcome":"unsure","reason":"parcel","detail":"no answer"}}"#;
        let line = line(event, usize::MAX).concat();
        assert!(line.contains("devices/bank-1  unsure, parcel, no answer"), "{line}");
    }

    #[test]
    fn on_a_narrow_page_it_goes_on_below_and_nothing_is_lost() {
        for page in [40, 60, 80, 200] {
            let lines = line(OPENED, page);
            assert!(lines.iter().all(|line| width(line) <= page), "{page}: {lines:?}");
            for word in ["42", "ticket.opened", "CP-017-000123", "水压低"] {
                assert!(lines.iter().any(|line| line.contains(word)), "{page}: {word} in {lines:?}");
            }
        }
    }
}
