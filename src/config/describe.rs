//! What would run, for the one who has just written the configuration.

use std::fmt::Write;
use std::time::Duration;

use super::Gateway;
use super::kinds::human;
use crate::access::Grant;
use crate::field::wire::Wire;
use crate::field::{Channel, Kind, modbus, osdp, serial, uhppote};
use crate::reading::{Clean, DeviceId, Millis, Site};
use crate::rules::{Condition, Over, Rule};

/// Several lines: counts, each channel with its devices, each rule with how much it stands on, whom the centre is.
pub fn describe(gateway: &Gateway) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut text, gateway);
    text
}

fn write(text: &mut String, gateway: &Gateway) -> std::fmt::Result {
    let site = &gateway.site;
    writeln!(
        text,
        "gateway {} ({}), {}, data in {}",
        site.gateway,
        site.name,
        gateway.timezone,
        gateway.store.dir.display()
    )?;
    writeln!(
        text,
        "{}, {}, {}, {}",
        counted(gateway.channels.len(), "channel"),
        counted(site.devices.len(), "device"),
        // Momentary points are what happens at devices and doors, not what is read.
        counted(site.devices.iter().map(|device| device.points as usize).sum(), "point"),
        counted(gateway.rules.len(), "rule"),
    )?;
    for channel in &gateway.channels {
        writeln!(text, "\nchannel {}: {}", channel.id, wire(channel))?;
        for (device, how) in hung(channel) {
            describe_device(text, site, device, &how)?;
            describe_commands(text, gateway, device)?;
        }
    }
    describe_doors(text, gateway)?;
    if gateway.pseudonyms.is_some() {
        writeln!(text, "\ncards and people are told as pseudonyms")?;
    }
    if !gateway.rules.is_empty() {
        writeln!(text)?;
    }
    for rule in &gateway.rules {
        writeln!(text, "rule {}: {} on {}, level {}", rule.id, rule.limit, standing(rule), rule.level)?;
    }
    writeln!(
        text,
        "\nAPI on {}://{}, {}",
        if gateway.web.tls.is_some() { "https" } else { "http" },
        gateway.web.listen,
        match gateway.web.tokens.len() {
            0 => "open to this machine".to_owned(),
            n => counted(n, "token"),
        }
    )?;
    for consumer in &gateway.consumers {
        let kept = if consumer.required { "events are kept for it" } else { "not required" };
        writeln!(text, "pulled by {}: {kept}", consumer.name)?;
    }
    for target in &gateway.sync {
        let kinds = if target.kinds.0.is_empty() { "all events".into() } else { target.kinds.0.join(" ") };
        writeln!(text, "pushed to {}: {}, {kinds}", target.name, super::hush::address(&target.url))?;
    }
    Ok(())
}

fn describe_device(text: &mut String, site: &Site, id: DeviceId, how: &str) -> std::fmt::Result {
    let device = site.device(id);
    let profile = device.profile.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
    let place = if device.place.is_empty() { String::new() } else { format!(", {}", device.place) };
    let judged = |clean: Clean| Clean { slot: None, ..clean } != Clean::default();
    let cleaned = match site.points_of(id).filter(|point| judged(site.point(*point).clean)).count() {
        0 => String::new(),
        n => format!(", {n} cleaned"),
    };
    let points = counted(device.points as usize, "point");
    writeln!(text, "  {}: {how}{profile}, {points}{cleaned}{place}", device.id)
}

/// What may be ordered of a device, an action a line.
fn describe_commands(text: &mut String, gateway: &Gateway, device: DeviceId) -> std::fmt::Result {
    let mut actions: Vec<(&str, Vec<&str>)> = Vec::new();
    for command in gateway.commands.iter().filter(|command| command.device == device) {
        match actions.iter_mut().find(|(action, _)| *action == &*command.action) {
            Some((_, targets)) => targets.push(&command.target),
            None => actions.push((&command.action, vec![&command.target])),
        }
    }
    for (action, targets) in actions {
        let targets = match targets.as_slice() {
            [one] => (*one).to_owned(),
            [first, .., last] => format!("{} targets, {first} to {last}", targets.len()),
            [] => String::new(),
        };
        writeln!(text, "    may be told: {}", format!("{action} {targets}").trim_end())?;
    }
    Ok(())
}

fn describe_doors(text: &mut String, gateway: &Gateway) -> std::fmt::Result {
    let site = &gateway.site;
    if !gateway.access.doors.is_empty() {
        writeln!(text)?;
    }
    for door in &gateway.access.doors {
        let grants: Vec<&str> = door
            .grants
            .iter()
            .map(|grant| match *grant {
                Grant::Device(device) => &*site.device(device).id,
                Grant::Point(point) => &*site.point(point).id,
            })
            .collect();
        let grants = match grants.as_slice() {
            [] => "nobody says who opens it, so it is never forced".to_owned(),
            grants => format!("opened by {}", grants.join(", ")),
        };
        let exit = door.exit.map(|exit| format!(", exit {}", site.point(exit).id)).unwrap_or_default();
        let span = |ms: Millis| human(Duration::from_millis(ms.unsigned_abs()));
        writeln!(
            text,
            "door {}: contact {}, {grants}{exit}; open for {} after a grant, held after {}",
            site.doors[door.id.0 as usize].id,
            site.point(door.contact).id,
            span(door.unlock_window),
            span(door.held_after),
        )?;
    }
    Ok(())
}

fn wire(channel: &Channel) -> String {
    let (name, wire) = match &channel.kind {
        Kind::Mqtt(settings) => {
            let tls = if settings.tls.is_some() { " over TLS" } else { "" };
            return format!("MQTT broker {}:{}{tls}", settings.host, settings.port);
        }
        Kind::Uhppote(settings) => {
            return format!("UHPPOTE controllers at {}, events on {}", settings.address, settings.listen);
        }
        Kind::Osdp(settings) => ("OSDP readers", &settings.wire),
        Kind::Serial(settings) => ("boards", &settings.wire),
        Kind::Modbus(settings) => match (settings.framing, &settings.wire) {
            (modbus::Framing::Tcp, wire) => ("Modbus TCP", wire),
            (modbus::Framing::Rtu, wire) => ("Modbus RTU", wire),
        },
    };
    match wire {
        Wire::Tcp { address } => format!("{name} at {address}"),
        Wire::Serial(port) => format!("{name} on {}, {} baud", port.path, port.baud),
    }
}

/// The devices of a channel, and how each is reached.
fn hung(channel: &Channel) -> Vec<(DeviceId, String)> {
    let unit = |unit, poll| format!("unit {unit} every {}", human(poll));
    match &channel.kind {
        Kind::Modbus(settings) => settings.devices.iter().map(|d| (d.id, unit(d.unit, d.poll))).collect(),
        Kind::Serial(settings) => settings
            .boards
            .iter()
            .map(|b| (b.id, format!("{} every {}", board(&b.kind), human(b.poll))))
            .collect(),
        Kind::Osdp(settings) => {
            let secured = |reader: &osdp::Reader| if reader.key.is_some() { "" } else { ", in clear" };
            let how =
                |reader: &osdp::Reader| format!("{}{}", unit(reader.address, reader.poll), secured(reader));
            settings.readers.iter().map(|reader| (reader.id, how(reader))).collect()
        }
        Kind::Uhppote(settings) => {
            let how = |c: &uhppote::Controller| format!("controller {} every {}", c.serial, human(c.poll));
            settings.controllers.iter().map(|c| (c.id, how(c))).collect()
        }
        Kind::Mqtt(settings) => settings.devices.iter().map(|d| (d.id, d.topic.clone())).collect(),
    }
}

fn standing(rule: &Rule) -> String {
    match &rule.over {
        Over::Points(points) => counted(points.len(), "point"),
        Over::Together(points) => format!("{} together", counted(points.len(), "point")),
        Over::Devices(devices) => counted(devices.len(), "device"),
        Over::Channels(channels) => counted(channels.len(), "channel"),
        Over::Nothing if matches!(rule.condition, Condition::Storm { .. }) => "all others".into(),
        Over::Nothing if rule.condition == Condition::StorageLow => "the gateway itself".into(),
        Over::Nothing if rule.condition == Condition::ClockUnsynced => "the clock".into(),
        Over::Nothing => "time alone".into(),
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn board(kind: &serial::Kind) -> String {
    match kind {
        serial::Kind::Locker(locker) => format!("unit {}", locker.address),
        serial::Kind::Meter(meter) => match &meter.protocol {
            serial::Metering::Dlt645 { address, .. } | serial::Metering::Cjt188 { address, .. } => {
                match address {
                    Some(address) => format!("meter {address}"),
                    None => "the only meter".into(),
                }
            }
            serial::Metering::Mbus { address } => format!("unit {address}"),
        },
    }
}
