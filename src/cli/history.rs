//! `history`: what one point has said, as a table or for machines.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::client::{Client, escaped, read};
use super::table::Table;
use super::{Daemon, local, print, span};
use crate::reading::Value;
use crate::time;

#[derive(Debug, Args)]
pub struct History {
    /// device.point, as `pump-1.pressure`
    point: String,
    /// How far back (24h, 30m)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    since: Duration,
    /// In how many lines at the most
    #[arg(long, value_name = "N", default_value_t = 24)]
    buckets: u16,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Deserialize)]
struct Answer {
    point: String,
    buckets: Vec<Bucket>,
    /// Until when the readings have given way.
    rolled_up_to: Option<String>,
}

#[derive(Deserialize)]
struct Bucket(String, Option<Value>, Option<f64>, Option<Value>, u64);

pub async fn history(asked: &History) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let to = time::now();
    let from = to.saturating_sub_unsigned(asked.since.as_millis().try_into().unwrap_or(u64::MAX));
    let path = format!(
        "/api/v1/points/{}/history?from={}&to={}&buckets={}",
        escaped(&asked.point),
        time::format(from),
        time::format(to),
        asked.buckets
    );
    let text = client.text(&path).await?;
    if asked.daemon.json {
        print(&format!("{text}\n"))?;
    } else {
        print(&page(&read(&text)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(answer: &Answer) -> String {
    if answer.buckets.is_empty() {
        return format!("{} has no readings in this time\n", answer.point);
    }
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".into(), short);
    let mut table = Table::new(&["FROM", "LEAST", "MEAN", "MOST", "READINGS"]);
    for Bucket(at, min, mean, max, count) in &answer.buckets {
        let mean = mean.map_or_else(|| "-".into(), |mean| short(&Value::Number(mean)));
        let read = match (count, min) {
            (0, Some(_)) => "0, filled".to_owned(),
            _ => count.to_string(),
        };
        table.row(vec![local(at).into(), shown(min).into(), mean.into(), shown(max).into(), read.into()]);
    }
    let mut page = table.render();
    if let Some(until) = &answer.rolled_up_to {
        let _ =
            writeln!(page, "before {} made of minutes or hours; the readings have given way", local(until));
    }
    page
}

/// Three decimals are enough for the eye.
fn short(value: &Value) -> String {
    match value {
        Value::Number(number) => format!("{}", (number * 1000.0).round() / 1000.0),
        other => other.to_string(),
    }
}
