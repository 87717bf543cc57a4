//! What a daemon says of itself at one moment, asked of its API.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::cli::client::{Client, read};
use crate::cli::status::{Consumer, Consumers, Ready, Site, Tickets, UNCLOSED};
use crate::reading::Millis;
use crate::time;

/// Whoever is well answers sooner.
const WITHIN: Duration = Duration::from_secs(10);

pub struct Seen {
    pub at: Millis,
    /// `Err`: why not, for people.
    pub ready: Result<(), String>,
    pub site: Site,
    pub lines: Vec<Line>,
    pub tickets: Tickets,
    pub consumers: Vec<Consumer>,
    /// Since the daemon's start.
    pub readings: f64,
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
            tickets: read(&tickets)?,
            consumers: read::<Consumers>(&consumers)?.consumers,
            readings: total(&metrics, "gatehouse_readings_total"),
            raw,
        })
    }

    pub fn machines(&self) -> Json {
        let mut all = json!({
            "at": time::format(self.at), "gateway": self.site.gateway, "name": self.site.name,
            "ready": self.ready.is_ok(), "trouble": self.ready.as_ref().err(),
            "readings_total": self.readings,
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
impl Seen {
    /// Of a compound with so many devices, of which one in ten is offline.
    pub fn example(devices: usize) -> anyhow::Result<Self> {
        let device = |n: usize| {
            let (state, error) =
                if n % 10 == 3 { ("offline", Some("no answer within 500 ms")) } else { ("online", None) };
            json!({ "id": format!("pump-{n}"), "place": "3号楼/地下室/水泵房", "state": state, "error": error,
                "since": "2026-11-21T08:00:00.000Z", "maintenance": null })
        };
        let line = json!({ "id": "rs485-1", "type": "modbus-rtu", "at": "/dev/ttyS1", "state": "up", "devices": 4,
            "online": 3, "busy": 0.42, "requests_per_second": 7.25, "errors": { "timeout": 4, "wrong": 0 },
            "cycle_ms": 950.4, "keeps_up": false, "error": null });
        let unknown = json!({ "id": "broker", "type": "mqtt", "at": "mqtt://b", "state": "down", "devices": 1, "online": 0,
            "busy": null, "requests_per_second": null, "errors": {}, "cycle_ms": null, "keeps_up": null, "error": "refused" });
        let consumer =
            json!({ "name": "crm", "kind": "push", "acknowledged": "e.1", "lag": 12, "error": "401" });
        let devices: Vec<Json> = (0..devices).map(device).collect();
        Ok(Self {
            at: 0,
            ready: Ok(()),
            site: serde_json::from_value(
                json!({ "gateway": "cp-017", "name": "锦绣花园", "devices": devices }),
            )?,
            lines: vec![serde_json::from_value(line)?, serde_json::from_value(unknown)?],
            tickets: Tickets { tickets: Vec::new(), next: None },
            consumers: vec![serde_json::from_value(consumer)?],
            readings: 0.0,
            raw: Json::Null,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# HELP gatehouse_readings Readings\ngatehouse_readings_total{quality=\"good\"} 40\n\
            gatehouse_readings_total{quality=\"b} ad\"} 2.0\ngatehouse_readings_totally 9\ngatehouse_events_total 7\n";
        assert_eq!(total(text, "gatehouse_readings_total"), 42.0);
        assert_eq!(total(text, "gatehouse_nothing"), 0.0);
    }
}
