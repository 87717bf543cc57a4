//! What the API and the page show of a configuration.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Gateway;
use super::kinds::human;
use crate::access;
use crate::field::wire::Wire;
use crate::field::{Channel, Kind, modbus};
use crate::order::Role;
use crate::reading::{DeviceId, Millis, PointId};
use crate::rules::{Locale, Over, Rule};
use crate::web;

impl Gateway {
    pub fn shown(&self) -> web::Plan {
        let door = |door: &access::Door| web::plan::Door { id: door.id, contact: door.contact };
        web::Plan {
            timezone: self.timezone.as_str().into(),
            locale: match self.locale {
                Locale::ZhCn => "zh-CN",
                Locale::En => "en",
            },
            lines: self.channels.iter().map(line).collect(),
            rules: self.rules.iter().map(rule).collect(),
            doors: self.access.doors.iter().map(door).collect(),
            banks: self.access.banks.iter().map(|bank| self.bank(bank)).collect(),
            commands: self.orders(),
        }
    }

    fn bank(&self, bank: &access::Bank) -> web::plan::Bank {
        let commands = self.orders().into_iter().filter(|command| command.device == bank.device);
        let actions: BTreeSet<Arc<str>> = commands.map(|command| command.action).collect();
        let (cells, items) = (bank.cells.clone(), bank.items.clone());
        web::plan::Bank { device: bank.device, cells, items, commands: actions.into_iter().collect() }
    }

    /// By device, action and whether it needs a reason, in the order of the configuration.
    fn orders(&self) -> Vec<web::plan::Command> {
        let mut orders: Vec<web::plan::Command> = Vec::new();
        for allowed in &self.commands {
            let (device, action, reason) = (allowed.device, allowed.action.clone(), allowed.terms.reason);
            let central = allowed.terms.roles.contains(&Role::Central);
            let alike = orders.iter_mut().rev().take_while(|known| known.device == device);
            match alike.into_iter().find(|known| (&known.action, known.reason) == (&action, reason)) {
                Some(known) => {
                    known.targets.push(allowed.target.clone());
                    known.central |= central;
                }
                None => {
                    let targets = vec![allowed.target.clone()];
                    orders.push(web::plan::Command { device, action, targets, reason, central });
                }
            }
        }
        orders
    }
}

fn line(channel: &Channel) -> web::plan::Line {
    let (kind, at) = match &channel.kind {
        Kind::Modbus(settings) => {
            let kind = match (settings.framing, &settings.wire) {
                (modbus::Framing::Tcp, _) => "modbus-tcp",
                (modbus::Framing::Rtu, Wire::Serial(_)) => "modbus-rtu",
                (modbus::Framing::Rtu, Wire::Tcp { .. }) => "modbus-rtu-over-tcp",
            };
            (kind, end_of(&settings.wire))
        }
        Kind::Serial(settings) => ("serial", end_of(&settings.wire)),
        Kind::Osdp(settings) => ("osdp", end_of(&settings.wire)),
        Kind::Uhppote(settings) => ("uhppote", settings.address.to_string()),
        Kind::Mqtt(settings) => ("mqtt", format!("{}:{}", settings.host, settings.port)),
    };
    web::plan::Line { id: channel.id.clone(), kind, at }
}

fn end_of(wire: &Wire) -> String {
    match wire {
        Wire::Tcp { address } => address.to_string(),
        Wire::Serial(port) => port.path.to_string(),
    }
}

/// As it is written in a configuration.
fn span(span: Millis) -> String {
    human(Duration::from_millis(span.unsigned_abs()))
}

fn rule(rule: &Rule) -> web::plan::Rule {
    let (points, devices): (Vec<PointId>, Vec<DeviceId>) = match &rule.over {
        Over::Points(points) | Over::Together(points) => (points.clone(), Vec::new()),
        Over::Devices(devices) => (Vec::new(), devices.clone()),
        Over::Channels(channels) => {
            (Vec::new(), channels.iter().flat_map(|(_, devices)| devices).copied().collect())
        }
        Over::Nothing => (Vec::new(), Vec::new()),
    };
    web::plan::Rule {
        id: rule.id.clone(),
        points,
        devices,
        condition: rule.limit.clone(),
        deadband: rule.deadband,
        on_delay: span(rule.on_delay),
        off_delay: span(rule.off_delay),
        class: rule.class,
        level: rule.level,
        trade: rule.trade.clone(),
    }
}
