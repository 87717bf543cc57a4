//! `events`: the journal, line by line; with --follow as it grows.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, escaped, read};
use super::table::harmless;
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
struct Page {
    events: Vec<Box<RawValue>>,
    next: String,
    head: String,
}

#[derive(Deserialize)]
struct Event {
    sequence: String,
    r#type: String,
    subject: String,
    time: String,
    #[serde(default)]
    data: Data,
}

/// What of an event's data fits on a line.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
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
        None => (shortly_before_the_end(&client, asked).await?, Some(TAIL)),
    };
    let mut wait = 0;
    loop {
        let page: Page = pull(&client, asked, &after, wait).await?;
        // Only what was there already is cut to the last lines.
        let skipped = tail.take().map_or(0, |lines| page.events.len().saturating_sub(lines));
        for event in &page.events[skipped..] {
            print(&line(event.get(), asked.daemon.json)?)?;
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

async fn pull(client: &Client, asked: &Events, after: &str, wait: u8) -> anyhow::Result<Page> {
    let types = escaped(&asked.types);
    client.get(&format!("/api/v1/events?after={}&limit=1000&wait={wait}&types={types}", escaped(after))).await
}

/// A cursor from which there is one page to the head, or what is kept of it.
async fn shortly_before_the_end(client: &Client, asked: &Events) -> anyhow::Result<String> {
    let mut path = "/api/v1/events?limit=1&after=0".to_owned();
    let back = if asked.types.is_empty() { TAIL as u64 } else { TAIL_OF_TYPES };
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

fn line(event: &str, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(format!("{event}\n"));
    }
    let event: Event = read(event)?;
    let sequence = event.sequence.trim_start_matches('0');
    let kind = event.r#type.strip_prefix("gatehouse.").unwrap_or(&event.r#type);
    let Event { data, subject, .. } = event;
    let said = [data.outcome, data.card, data.why, data.reason, data.detail];
    let says = data.title.unwrap_or_else(|| {
        let said: Vec<String> = said.into_iter().flatten().collect();
        let cell = data.cell.map_or_else(String::new, |cell| format!(" cell {cell}"));
        format!("{subject}{cell}  {}", said.join(", "))
    });
    let (time, says) = (local(&event.time), harmless(says.trim_end()));
    Ok(format!("{sequence:>6}  {time}  {kind:<23}  {says}\n"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_has_number_kind_and_what_it_says() {
        let event = r#"{"sequence":"00000000000000000042","type":"gatehouse.ticket.opened","subject":"tickets/x",
            "time":"2026-11-21T08:00:00.123Z","data":{"title":"水压低\u001b[2J"}}"#;
        let line = super::line(event, false).unwrap();
        assert!(line.starts_with("    42  "), "{line}");
        assert!(line.contains("ticket.opened") && line.contains("水压低·[2J"), "{line}");

        let event = r#"{"sequence":"00000000000000000043","type":"gatehouse.command.executed","subject":"devices/bank-1",
            "time":"2026-11-21T08:00:00.123Z","data":{"outcome":"unsure","reason":"parcel","detail":"no answer"}}"#;
        let line = super::line(event, false).unwrap();
        assert!(
            line.contains("devices/bank-1  unsure, parcel, no answer"),
            "whose, and what came of it: {line}"
        );
    }
}
