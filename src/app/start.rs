//! What a house is built from: the configuration as it is, or the last good one; and what the journal is told of it first.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::clock::Clock;
use crate::config::{self, Gateway, Loaded};
use crate::event::Draft;
use crate::fingerprint::Fingerprint;
use crate::logging;
use crate::reading::Millis;
use crate::store::Before;
use crate::store::restore::Origin;
use crate::time;

/// How long people see that something was lost.
const SHOWN_FOR: Millis = 7 * 24 * 3600 * 1000;

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
    /// As in [`Loaded`].
    pub beside: Vec<Fingerprint>,
    /// What is other than it was, where that is known: a sentence each.
    pub changes: Vec<String>,
}

/// What a house is built from again, when its journal goes elsewhere and nothing else changes.
#[derive(Debug)]
pub(super) struct Again {
    pub rejected: Option<String>,
    /// As in [`Start`].
    pub text: Option<Vec<(PathBuf, String)>>,
    pub beside: Vec<Fingerprint>,
}

impl Again {
    /// Whether a house of that would be this one.
    pub fn is_of(&self, loaded: &Loaded) -> bool {
        self.rejected.is_none() && self.text.as_ref() == Some(&loaded.text) && self.beside == loaded.beside
    }

    /// Of what is in memory: the disk may be what fails, and a secret or certificate may be another meanwhile.
    pub fn start(&self, gateway: &Gateway, reason: &'static str) -> Start {
        let (rejected, text, beside) = (self.rejected.clone(), self.text.clone(), self.beside.clone());
        Start { gateway: gateway.clone(), reason, rejected, text, beside, changes: Vec::new() }
    }
}

/// The configuration as it is, or the last good one with what is wrong with the present one, or none at all.
pub(super) fn first_start(path: &Path) -> Option<Start> {
    let mistakes = match config::load(path) {
        Ok(loaded) => return Some(accept(loaded, "start")),
        Err(mistakes) => mistakes,
    };
    tracing::error!("the configuration is not right");
    logging::error_lines(&mistakes);
    let gateway = match config::last_good::recall(path) {
        Ok(gateway) => gateway,
        Err(why) => {
            tracing::error!("{why}");
            return None;
        }
    };
    tracing::warn!("running with the last good configuration until this one is put right and reloaded");
    let rejected = Some(mistakes.brief());
    Some(Start { gateway, reason: "start", rejected, text: None, beside: Vec::new(), changes: Vec::new() })
}

pub(super) fn accept(loaded: Loaded, reason: &'static str) -> Start {
    for warning in &loaded.warnings {
        logging::warn_lines(warning);
    }
    let Loaded { gateway, text, beside, .. } = loaded;
    Start { gateway, reason, rejected: None, text: Some(text), beside, changes: Vec::new() }
}

/// Keeps the configuration as the last good one; whether it is another one than before.
pub(super) fn keep(start: &Start) -> bool {
    keep_text(&start.gateway, start.text.as_deref())
}

pub(super) fn keep_text(gateway: &Gateway, text: Option<&[(PathBuf, String)]>) -> bool {
    let dir = &gateway.store.dir;
    let Some(text) = text else {
        return false;
    };
    if let Some(Err(error)) =
        gateway.web.tls.as_ref().map(|tls| config::last_good::keep_certificate(dir, &tls.cert))
    {
        tracing::warn!(%error, "the API's certificate could not be kept for the commands on this machine");
    }
    config::last_good::keep(dir, text).unwrap_or_else(|error| {
        tracing::warn!(%error, "the configuration could not be kept as the last good one");
        true
    })
}

/// What the journal is told when the house opens; a restored one first of all where it comes from.
pub(super) fn announce(
    start: &Start,
    changed: bool,
    origin: Option<Origin>,
    before: Option<&Before>,
    clock: &Clock,
) -> Vec<Draft> {
    let gateway = &start.gateway.site.gateway;
    let subject = format!("gateways/{gateway}");
    let now = clock.now();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": start.reason });
    let mut started = data.clone();
    // By both it is known of an event to which boot it belongs, and how far the clocks of two runs of one boot are apart.
    (started["boot"], started["uptime"]) = (json!(clock.boot()), json!(clock.uptime()));
    // Whoever meets a stub that no `gateway.expired` tells of knows by this that this program tells them.
    started["keep"] =
        start.gateway.keep_kinds.iter().map(|(kinds, keep)| (kinds.clone(), json!(keep.as_secs()))).collect();
    if let Some(before) = before {
        started["epoch_before"] = json!({ "epoch": before.epoch, "ended": before.reason });
    }
    if let Some(Origin { epoch, head, committed }) = origin {
        started["reason"] = "restore".into();
        started["before"] = json!({
            "epoch": epoch, "head": format!("{epoch}.{head}"), "committed": time::format(committed),
        });
    }
    let mut events = vec![Draft::new("gateway.started", subject.clone(), now, &started)];
    if let Some(mistakes) = &start.rejected {
        events.push(rejected(gateway, mistakes, now));
    } else if changed {
        let mut changed = data;
        if !start.changes.is_empty() {
            changed["changes"] = json!(start.changes);
        }
        events.push(Draft::new("gateway.config-changed", subject, now, &changed));
    }
    events
}

/// For people: for a week after something of the journal was lost.
pub(super) fn begun_anew(before: Option<&Before>, clock: &Clock) -> Option<String> {
    let before = before.filter(|before| {
        let cut = before.reason.ends_with("while it was in use");
        before.damaged || before.lost != Some(0) || !before.rows.is_empty() || cut
    })?;
    let recent = clock.now().abs_diff(before.at) < SHOWN_FOR.unsigned_abs();
    let Before { reason, at, lost, .. } = before;
    recent.then(|| {
        let at = time::format(*at);
        let lost = lost.map_or("an unknown number of".to_owned(), |lost| lost.to_string());
        format!("the journal began anew under another epoch at {at}, {lost} events are lost: {reason}")
    })
}

pub(super) fn rejected(gateway: &str, mistakes: &str, now: Millis) -> Draft {
    // A journal line, not a report: the first lines name the first mistakes.
    let reason: String = mistakes.chars().take(2000).collect();
    let data = json!({ "version": env!("CARGO_PKG_VERSION"), "reason": reason });
    Draft::new("gateway.config-rejected", format!("gateways/{gateway}"), now, &data)
}
