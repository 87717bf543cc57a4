//! `read`: asks one device itself, and shows what went over the wire beside what it means.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::client::escaped;
use super::print;
use super::table::{Cell, Paint, Table, harmless};
use super::wire::{Own, Reach, Way};
use crate::config::Gateway;
use crate::field::Errand;
use crate::reading::{DeviceId, PointId};
use crate::web::look::told;

/// Longer than a device with many questions takes.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(70);

#[derive(Debug, Args)]
pub struct Read {
    /// `b3-climate`, or one point of it: `b3-climate.humidity`
    #[arg(value_name = "DEVICE[.POINT]")]
    what: String,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Deserialize)]
struct Exchange {
    what: String,
    sent: String,
    heard: String,
    trouble: Option<String>,
    values: Vec<Seen>,
}

#[derive(Debug, Deserialize)]
struct Seen {
    point: String,
    words: Vec<String>,
    value: Json,
    reason: Option<String>,
    unit: Option<String>,
    range: Option<(f64, f64)>,
    otherwise: Vec<Otherwise>,
}

#[derive(Debug, Deserialize)]
struct Otherwise {
    r#as: String,
    value: Json,
}

pub async fn read(asked: &Read) -> anyhow::Result<ExitCode> {
    let gateway = match asked.reach.load()? {
        Ok(gateway) => gateway,
        Err(end) => return Ok(end),
    };
    let (device, point) = named(&gateway, &asked.what)?;
    let channel = gateway.site.device(device).channel.clone();
    let answer = match asked.reach.way(&gateway, &channel, Some(device))? {
        Way::Daemon(client) => {
            let id = escaped(&gateway.site.device(device).id);
            let own = |point: PointId| gateway.site.point(point).id.rsplit('.').next().map(str::to_owned);
            let body = json!({ "point": point.and_then(own) });
            let mut answer = Json::Null;
            let each = |line: &str| {
                answer = super::client::read(line)?;
                Ok(())
            };
            client.lines(&format!("/api/v1/devices/{id}/read"), &body, WITHIN, each).await?;
            answer["exchanges"].take()
        }
        Way::Own(own) => by_ourselves(&gateway, &own, device, point).await?,
    };
    let exchanges: Vec<Exchange> =
        serde_json::from_value(answer.clone()).context("what was read cannot be shown")?;
    let well = !exchanges.is_empty() && exchanges.iter().all(|exchange| exchange.trouble.is_none());
    if asked.reach.json {
        print(&format!("{}\n", json!({ "device": gateway.site.device(device).id, "exchanges": answer })))?;
    } else {
        print(&page(&exchanges))?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn named(gateway: &Gateway, what: &str) -> anyhow::Result<(DeviceId, Option<PointId>)> {
    let site = &gateway.site;
    if let Some(device) = site.device_named(what) {
        return Ok((device, None));
    }
    if let Some(point) = site.point_named(what) {
        return Ok((site.point(point).device, Some(point)));
    }
    let device = what.split('.').next().unwrap_or(what);
    match site.device_named(device) {
        Some(id) => {
            let points: Vec<&str> = site.points_of(id).map(|point| &*site.point(point).id).collect();
            bail!("there is no point `{what}`; there is {}", points.join(", "))
        }
        None => {
            let devices: Vec<&str> = site.devices.iter().map(|device| &*device.id).take(50).collect();
            bail!("there is no device `{device}`; there is {}", devices.join(", "))
        }
    }
}

async fn by_ourselves(
    gateway: &Gateway,
    own: &Own,
    device: DeviceId,
    point: Option<PointId>,
) -> anyhow::Result<Json> {
    let (answer, answered) = oneshot::channel();
    own.lane.send(Errand::Read { device, point, answer }).await.context("the wire's task has ended")?;
    let exchanges = tokio::time::timeout(WITHIN, answered).await;
    let exchanges = exchanges.context("the wire cannot be used: it did not come to it in time")?;
    Ok(told(&gateway.site, &exchanges.context("the wire cannot be opened")?))
}

// --- for people ---

fn page(exchanges: &[Exchange]) -> String {
    if exchanges.is_empty() {
        return "nothing is asked of this device: it has no points, or speaks by itself\n".into();
    }
    let mut text = String::new();
    for exchange in exchanges {
        // Writing into a String cannot fail.
        let _ = write(&mut text, exchange);
    }
    text
}

fn write(text: &mut String, exchange: &Exchange) -> std::fmt::Result {
    writeln!(text, "{}", harmless(&exchange.what))?;
    if !exchange.sent.is_empty() {
        writeln!(text, "  sent   {}", exchange.sent)?;
    }
    if !exchange.heard.is_empty() {
        writeln!(text, "  heard  {}", exchange.heard)?;
    }
    if let Some(trouble) = &exchange.trouble {
        writeln!(text, "  {}", harmless(trouble))?;
    }
    if !exchange.values.is_empty() {
        let mut table = Table::new(&["  POINT", "WORDS…", "VALUE↵"]);
        for seen in &exchange.values {
            let bad = (seen.reason.is_some() || hint(seen).is_some()).then_some(Paint::Red);
            let point = format!("  {}", seen.point);
            table.row(vec![(&point).into(), seen.words.join(" ").into(), Cell::painted(value(seen), bad)]);
        }
        text.push_str(&table.render());
    }
    for seen in &exchange.values {
        if let Some(hint) = hint(seen) {
            writeln!(text, "  {hint}")?;
        }
    }
    writeln!(text)
}

fn value(seen: &Seen) -> String {
    match (&seen.reason, &seen.unit) {
        (Some(reason), _) => reason.clone(),
        (None, Some(unit)) => format!("{} {unit}", plain(&seen.value)),
        (None, None) => plain(&seen.value),
    }
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), harmless)
}

/// What is probably wrong in the configuration, where the value cannot be right and the same words make sense otherwise.
fn hint(seen: &Seen) -> Option<String> {
    let inside = |value: &Json| {
        let number = value.as_f64();
        seen.range.is_none_or(|(low, high)| number.is_some_and(|number| (low..=high).contains(&number)))
    };
    let odd = seen.reason.is_some() || !inside(&seen.value) || seen.value.as_f64().is_some_and(strange);
    if !odd || seen.otherwise.is_empty() {
        return None;
    }
    let likely = |other: &&Otherwise| inside(&other.value) && !other.value.as_f64().is_some_and(strange);
    let others: Vec<String> = seen
        .otherwise
        .iter()
        .filter(likely)
        .map(|other| format!("{} {}", other.r#as, plain(&other.value)))
        .collect();
    let found = seen.reason.clone().unwrap_or_else(|| plain(&seen.value));
    let bounds = match seen.range {
        Some((low, high)) => format!(", outside of its range {low} to {high}"),
        None => String::new(),
    };
    (!others.is_empty()).then(|| {
        let point = &seen.point;
        format!("{point} reads {found}{bounds}; the same words read otherwise: {}. If one is right, write that `order` or `type`.", others.join(", "))
    })
}

/// No sensor says such a number: tiny or huge is a float with its words the wrong way round.
fn strange(number: f64) -> bool {
    number != 0.0 && !(1e-4..1e8).contains(&number.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(value: f64, range: Option<(f64, f64)>) -> Seen {
        let otherwise = vec![
            Otherwise { r#as: "CDAB".into(), value: json!(230.2) },
            Otherwise { r#as: "DCBA".into(), value: json!(4.2e-8) },
        ];
        let (point, words) = ("meter.voltage".into(), vec!["3333".into(), "4366".into()]);
        Seen { point, words, value: json!(value), reason: None, unit: None, range, otherwise }
    }

    #[test]
    fn a_wrong_word_order_is_explained_and_a_right_one_is_not_doubted() {
        let hint_of = |value, range| hint(&seen(value, range));
        let told = hint_of(4.172e-8, Some((0.0, 500.0))).unwrap();
        assert!(told.contains("CDAB 230.2") && !told.contains("DCBA"), "{told}");
        assert!(hint_of(4.172e-8, None).unwrap().contains("CDAB 230.2"), "also without a range");
        assert!(hint_of(1.2e9, Some((0.0, 500.0))).unwrap().contains("outside of its range 0 to 500"));
        assert_eq!(hint_of(229.8, Some((0.0, 500.0))), None);
        assert_eq!(hint_of(0.0, None), None);
    }
}
