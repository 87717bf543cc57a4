//! `[builtin]`: the rules that nobody has to write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::installed::Installed;
use super::kinds::{human, millis};
use super::mistakes::Report;
use super::rules::{DELAY_MAX, SILENT_MIN};
use super::section::Section;
use super::tree::{Node, Table};
use crate::reading::{DeviceId, Millis};
use crate::rules::{
    CHANNEL_OFFLINE, CHANNEL_OFFLINE_DEFAULT, CHATTER_DEFAULT, CLOCK_UNSYNCED, CLOCK_UNSYNCED_DEFAULT,
    Condition, DEVICE_SILENT, DEVICE_SILENT_DEFAULT, Over, REOPEN_DEFAULT, Rule, SETTLE_DEFAULT, STORAGE_LOW,
    STORM, STORM_DEFAULT, STORM_ON_DELAY, VERIFY_DEFAULT,
};
use crate::ticket::Class;

pub(super) const BUILT_IN: [&str; 5] = [DEVICE_SILENT, CHANNEL_OFFLINE, STORM, STORAGE_LOW, CLOCK_UNSYNCED];
/// Polls that a device may miss before it is silent, however short the span: or each answer would end a silence.
const POLLS_MISSED: u32 = 3;
/// More than anybody could ever open.
const STORM_MAX: i128 = 100_000;

/// What is said of each; `None`: switched off.
struct Switches {
    silent: Option<Millis>,
    channel: Option<Millis>,
    storm: Option<u32>,
    storage: bool,
    clock: Option<Millis>,
}

/// `device-silent` over all polled devices that have it on. One rule for each span: a device that is asked seldom has a
/// longer one. They have no device in common, so one id names one episode of each device all the same.
/// `channel-offline` over all wires with devices. `storm` over all the others. `storage-low` over the gateway itself.
/// `clock-unsynced` over nothing.
pub(super) fn built_in(table: Option<&Table>, installed: &Installed<'_>, report: &Report<'_>) -> Vec<Rule> {
    let switches = switches(table.unwrap_or(&Table::default()), report);
    let mut rules = silences(switches.silent, installed);
    let channels = channels(installed);
    if let Some(on_delay) = switches.channel.filter(|_| !channels.is_empty()) {
        let limit = json!({ "offline": human(Duration::from_millis(on_delay.unsigned_abs())) });
        let over = Over::Channels(channels);
        rules.push(Rule { on_delay, ..rule(CHANNEL_OFFLINE, over, Condition::ChannelOffline, limit) });
    }
    // Without devices there is nothing that could come in a storm.
    if let Some(a_minute) = switches.storm.filter(|_| !installed.devices.is_empty()) {
        let limit = json!({ "storm": a_minute });
        let storm = rule(STORM, Over::Nothing, Condition::Storm { a_minute }, limit);
        rules.push(Rule { on_delay: STORM_ON_DELAY, ..storm });
    }
    if switches.storage {
        let limit = json!({ "storage": "low" });
        rules.push(rule(STORAGE_LOW, Over::Nothing, Condition::StorageLow, limit));
    }
    if let Some(on_delay) = switches.clock {
        let limit = json!({ "unsynced": human(Duration::from_millis(on_delay.unsigned_abs())) });
        rules.push(Rule { on_delay, ..rule(CLOCK_UNSYNCED, Over::Nothing, Condition::ClockUnsynced, limit) });
    }
    rules
}

fn silences(silent: Option<Millis>, installed: &Installed<'_>) -> Vec<Rule> {
    let span = silent.unwrap_or(DEVICE_SILENT_DEFAULT);
    let mut by_span: BTreeMap<Millis, Vec<DeviceId>> = BTreeMap::new();
    for (i, (own, poll)) in (0..).zip(installed.silent.iter().zip(&installed.polls)) {
        if let Some(poll) = poll.filter(|_| own.unwrap_or(silent.is_some())) {
            let span = span.max(millis(poll * POLLS_MISSED));
            by_span.entry(span).or_default().push(DeviceId(i));
        }
    }
    let silence = |(span, devices): (Millis, _)| {
        let limit = json!({ "silent": human(Duration::from_millis(span.unsigned_abs())) });
        rule(DEVICE_SILENT, Over::Devices(devices), Condition::Silent(span), limit)
    };
    by_span.into_iter().map(silence).collect()
}

/// The devices of each wire, in the order of the configuration.
fn channels(installed: &Installed<'_>) -> Vec<(Arc<str>, Vec<DeviceId>)> {
    let mut channels: Vec<(Arc<str>, Vec<DeviceId>)> = Vec::new();
    for (i, device) in (0..).zip(&installed.devices) {
        match channels.iter_mut().find(|(id, _)| *id == device.channel) {
            Some((_, devices)) => devices.push(DeviceId(i)),
            None => channels.push((device.channel.clone(), vec![DeviceId(i)])),
        }
    }
    channels
}

fn rule(id: &str, over: Over, condition: Condition, limit: Json) -> Rule {
    Rule {
        id: id.into(),
        over,
        condition,
        limit,
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: SETTLE_DEFAULT,
        verify: VERIFY_DEFAULT,
        reopen: REOPEN_DEFAULT,
        class: Class::Immediate,
        level: 2,
        trade: None,
        chatter: Some(CHATTER_DEFAULT),
        title: None,
    }
}

fn switches(table: &Table, report: &Report<'_>) -> Switches {
    let mut section = Section::new(table, "`builtin`", report);
    let silent = span(&mut section, DEVICE_SILENT, SILENT_MIN, DEVICE_SILENT_DEFAULT);
    let channel = span(&mut section, CHANNEL_OFFLINE, Duration::ZERO, CHANNEL_OFFLINE_DEFAULT);
    let storm = match section.peek(STORM).map(|entry| &entry.value.node) {
        Some(Node::Whole(_)) => section.whole(STORM, 1..=STORM_MAX).map(|told| told.value),
        _ => switch(&mut section, STORM, "write how many tickets a minute, `storm = 60`, or `false`")
            .then_some(STORM_DEFAULT),
    };
    let storage = switch(&mut section, STORAGE_LOW, "write `storage-low = false`, or leave it out");
    let clock = span(&mut section, CLOCK_UNSYNCED, Duration::ZERO, CLOCK_UNSYNCED_DEFAULT);
    section.finish();
    Switches { silent, channel, storm, storage, clock }
}

/// A span of its own, or on or off.
fn span(section: &mut Section<'_>, key: &'static str, least: Duration, default: Millis) -> Option<Millis> {
    match section.peek(key).map(|entry| &entry.value.node) {
        Some(Node::Text(_)) => section.span(key, least..=DELAY_MAX).map(|told| millis(told.value)),
        _ => {
            let cure = format!("write a span, `{key} = \"1m\"`, or `false`");
            switch(section, key, &cure).then_some(default)
        }
    }
}

/// On where nothing is said.
fn switch(section: &mut Section<'_>, key: &'static str, cure: &str) -> bool {
    match section.peek(key) {
        Some(entry) if !matches!(entry.value.node, Node::Bool(_)) => {
            let what = format!("`{key}` cannot be read");
            section.report.mistake(Code::WrongType, entry.value.spot, what, cure);
            section.entry(key);
            false
        }
        _ => section.take_or(key, true),
    }
}
