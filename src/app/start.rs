//! What a house is built from: the configuration as it is, or the last good one; and what the journal is told of it first.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::Clock;
use crate::config::{self, Gateway, Loaded};
use crate::event::Draft;
use crate::reading::Millis;

/// What a house is built from, and what it tells first.
#[derive(Debug)]
pub struct Start {
    pub gateway: Gateway,
    /// `start`, `reload`
    pub reason: &'static str,
    /// What is wrong with the configuration that was meant, in brief, when the last good one is used instead.
    pub rejected: Option<String>,
    /// The files it was read from, to be kept as the last good ones once the data directory is ours.
    pub text: Option<Vec<(PathBuf, String)>>,
}

/// The configuration as it is, or the last good one with what is wrong with the present one, or none at all.
pub(super) fn first_start(path: &Path) -> Option<Start> {
    let mistakes = match config::load(path) {
        Ok(loaded) => return Some(accept(loaded, "start")),
        Err(mistakes) => mistakes,
    };
    tracing::error!("the configuration is not right:\n{mistakes}");
    let Some(gateway) = config::last_good::recall(path) else {
        tracing::error!("there is no last good configuration to run with");
        return None;
    };
    tracing::warn!("running with the last good configuration until this one is put right and reloaded");
    Some(Start { gateway, reason: "start", rejected: Some(mistakes.brief()), text: None })
}

pub(super) fn accept(loaded: Loaded, reason: &'static str) -> Start {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Start { gateway: loaded.gateway, reason, rejected: None, text: Some(loaded.text) }
}

/// Keeps the configuration as the last good one; whether it is another one than before.
pub(super) fn keep(start: &Start) -> bool {
    let Some(text) = &start.text else {
        return false;
    };
    config::last_good::keep(&start.gateway.store.dir, text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the configuration could not be kept as the last good one");
        true
    })
}

/// What the journal is told when the house opens.
pub(super) fn announce(start: &Start, changed: bool, clock: &Clock) -> Vec<Draft> {
    let gateway = &start.gateway.site.gateway;
    let subject = format!("gateways/{gateway}");
    let now = clock.now();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": start.reason });
    // By both it is known of an event to which boot it belongs, and how far the clocks of two runs of one boot are apart.
    let boot = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": start.reason, "boot": clock.boot(), "uptime": clock.uptime() });
    let mut events = vec![Draft::new("gateway.started", subject.clone(), now, &boot)];
    if let Some(mistakes) = &start.rejected {
        events.push(rejected(gateway, mistakes, now));
    } else if changed {
        events.push(Draft::new("gateway.config-changed", subject, now, &data));
    }
    events
}

pub(super) fn rejected(gateway: &str, mistakes: &str, now: Millis) -> Draft {
    // A journal line, not a report: the first lines name the first mistakes.
    let reason: String = mistakes.chars().take(2000).collect();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": reason });
    Draft::new("gateway.config-rejected", format!("gateways/{gateway}"), now, &data)
}
