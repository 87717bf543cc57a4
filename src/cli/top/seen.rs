//! What a daemon says of itself at one moment, asked of its API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::cli::client::{Client, read};
use crate::cli::status::{Consumer, Consumers, Ready, Site, Tickets, UNCLOSED};
use crate::reading::Millis;
use crate::ticket::Ticket;
use crate::time;

/// Whoever is well answers sooner.
const WITHIN: Duration = Duration::from_secs(10);

pub struct Seen {
    pub at: Millis,
    /// `Err`: why not, for people.
    pub ready: Result<(), String>,
    pub site: Site,
    pub lines: Vec<Line>,
    pub tickets: Vec<Ticket>,
    pub consumers: Vec<Consumer>,
    /// Since the daemon's start.
    pub readings: f64,
    pub events: f64,
    raw: Json,
}

/// A wire; what its kind does not know is `None`.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    pub id: String,
    pub r#type: String,
    pub state: String,
    pub devices: u64,
    pub online: u64,
    pub busy: Option<f64>,
    pub requests_per_second: Option<f64>,
    #[serde(default)]
    pub errors: BTreeMap<String, u64>,
    pub cycle_ms: Option<f64>,
    pub keeps_up: Option<bool>,
    pub error: Option<String>,
}

#[derive(Deserialize)]
struct Lines {
    lines: Vec<Line>,
}

impl Seen {
    pub async fn now(client: &Client) -> anyhow::Result<Self> {
        match tokio::time::timeout(WITHIN, Self::asked(client)).await {
            Ok(seen) => seen,
            Err(_) => bail!("no answer from {} within {} s", client.url(), WITHIN.as_secs()),
        }
    }

    async fn asked(client: &Client) -> anyhow::Result<Self> {
        let ready = client.ask("/readyz").await?;
        let ready = match ready.status.is_success() {
            true => read::<Ready>(&ready.text)?.degraded.map_or(Ok(()), Err),
            false => Err(client.refusal(&ready)),
        };
        let devices = client.text("/api/v1/devices").await?;
        let lines = client.text("/api/v1/lines").await?;
        let tickets = client.text(UNCLOSED).await?;
        let consumers = client.text("/api/v1/consumers").await?;
        let metrics = client.text("/metrics").await?;
        let raw = json!({
            "devices": read::<Json>(&devices)?["devices"],
            "lines": read::<Json>(&lines)?["lines"],
            "tickets": read::<Json>(&tickets)?["tickets"],
            "consumers": read::<Json>(&consumers)?["consumers"],
        });
        Ok(Self {
            at: time::now(),
            ready,
            site: read(&devices)?,
            lines: read::<Lines>(&lines)?.lines,
            tickets: read::<Tickets>(&tickets)?.tickets,
            consumers: read::<Consumers>(&consumers)?.consumers,
            readings: total(&metrics, "gatehouse_readings_total"),
            events: total(&metrics, "gatehouse_events_total"),
            raw,
        })
    }

    /// Readings and events a second since an earlier look; `None` where the daemon has been started anew between them.
    pub fn rates(&self, before: &Seen) -> Option<(f64, f64)> {
        let seconds = (self.at - before.at) as f64 / 1000.0;
        let rates = ((self.readings - before.readings) / seconds, (self.events - before.events) / seconds);
        (seconds > 0.0 && rates.0 >= 0.0 && rates.1 >= 0.0).then_some(rates)
    }

    pub fn machines(&self, rates: Option<(f64, f64)>) -> Json {
        let mut all = json!({
            "at": time::format(self.at), "gateway": self.site.gateway, "name": self.site.name,
            "ready": self.ready.is_ok(), "trouble": self.ready.as_ref().err(),
            "readings_per_second": rates.map(|rates| rates.0), "events_per_second": rates.map(|rates| rates.1),
        });
        for part in ["lines", "devices", "tickets", "consumers"] {
            all[part] = self.raw[part].clone();
        }
        all
    }
}

/// The sum of a counter over its labels, of a text for Prometheus.
fn total(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with([' ', '{']))?;
        let after = rest.rsplit_once('}').map_or(rest, |(_, after)| after);
        after.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.filter(|value| value.is_finite()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP gatehouse_readings Readings\ngatehouse_readings_total{quality=\"good\"} 40\n\
            gatehouse_readings_total{quality=\"b} ad\"} 2.0\ngatehouse_readings_totally 9\ngatehouse_events_total 7\n";
        assert_eq!(total(text, "gatehouse_readings_total"), 42.0);
        assert_eq!(total(text, "gatehouse_events_total"), 7.0);
        assert_eq!(total(text, "gatehouse_nothing"), 0.0);
    }
}
