//! Channels, devices, doors: what is other than it was.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Moves, arrow};
use crate::config::Gateway;
use crate::config::kinds::human;
use crate::config::mistakes::listed;
use crate::field::Hung;
use crate::numbers::{Numbered, Numbers};
use crate::reading::{DeviceId, PointId, Site};

/// Points that are named in one sentence; of more the first.
const NAMED_MAX: usize = 8;

/// Of all devices, how they hang on their channels.
pub(super) fn hung(gateway: &Gateway) -> HashMap<DeviceId, Hung> {
    let of = |channel: &crate::field::Channel| {
        let devices = channel.devices().into_iter();
        devices.filter_map(|id| Some((id, channel.hung(id)?))).collect::<Vec<_>>()
    };
    gateway.channels.iter().flat_map(of).collect()
}

pub(super) fn channels(old: &Gateway, new: &Gateway, wires: &Moves) -> Vec<String> {
    let there = |gateway: &Gateway, id: &Arc<str>| gateway.channels.iter().find(|c| c.id == *id).cloned();
    let gone = wires.ended.iter().filter(|id| there(new, id).is_none());
    let mut told: Vec<String> = gone.map(|id| format!("channel {id}: removed")).collect();
    for id in &wires.begun {
        told.push(match (there(old, id), there(new, id)) {
            (Some(before), Some(now)) if before.bare() != now.bare() => {
                format!("channel {id}: set otherwise, restarts")
            }
            (Some(_), _) => format!("channel {id}: restarts"),
            (None, _) => format!("channel {id}: added"),
        });
    }
    told
}

pub(super) fn devices(old: &Gateway, new: &Gateway, named: &Numbers) -> Vec<String> {
    let (before, now) = (hung(old), hung(new));
    let mut told = Vec::new();
    let mut known = vec![None; new.site.devices.len()];
    for id in (0..old.site.devices.len() as u32).map(DeviceId) {
        let device = old.site.device(id);
        match named.device(id) {
            Some(there) => known[there.0 as usize] = Some(id),
            None => told.push(format!("device {}: removed from {}", device.id, device.channel)),
        }
    }
    for (is, was) in (0..).map(DeviceId).zip(known) {
        let device = new.site.device(is);
        let Some(was) = was else {
            told.push(format!("device {}: added on {}", device.id, device.channel));
            continue;
        };
        let hangs = |of: Option<&Hung>| of.cloned();
        let two = Two { old: &old.site, new: &new.site, was, is, named };
        let mut words = two.facts();
        words.extend(two.points(before.get(&was), now.get(&is)));
        let (before, now) = (hangs(before.get(&was)).map(|hung| hung.in_other(named)), hangs(now.get(&is)));
        words.extend(two.asked(before, now, words.is_empty()));
        if may_be_ordered(old, was).in_other(named) != may_be_ordered(new, is) {
            words.push("other commands are allowed".into());
        }
        let bank = |gateway: &Gateway, id| gateway.access.banks.iter().find(|b| b.device == id).cloned();
        if words.is_empty() && bank(old, was).in_other(named) != bank(new, is) {
            words.push("its cells are judged otherwise".into());
        }
        if !words.is_empty() {
            told.push(format!("device {}: {}", device.id, words.join(", ")));
        }
    }
    told
}

fn may_be_ordered(gateway: &Gateway, device: DeviceId) -> Vec<crate::command::Allowed> {
    gateway.commands.iter().filter(|allowed| allowed.device == device).cloned().collect()
}

pub(super) fn doors(old: &Gateway, new: &Gateway, named: &Numbers) -> Vec<String> {
    let mut told = Vec::new();
    for door in &old.access.doors {
        let id = &old.site.doors[door.id.0 as usize].id;
        let there = named.door(door.id);
        let now = new.access.doors.iter().find(|now| Some(now.id) == there);
        match now {
            None => told.push(format!("door {id}: removed")),
            Some(now) if *now != door.clone().in_other(named) => {
                told.push(format!("door {id}: judged otherwise"));
            }
            Some(now) => {
                let place = |site: &Site, id: crate::reading::DoorId| site.doors[id.0 as usize].place.clone();
                let (was, is) = (place(&old.site, door.id), place(&new.site, now.id));
                if was != is {
                    told.push(format!("door {id}: place {}", arrow(was, is)));
                }
            }
        }
    }
    let known = |id: &str| old.site.doors.iter().any(|door| *door.id == *id);
    let added = new.site.doors.iter().filter(|door| !known(&door.id));
    told.extend(added.map(|door| format!("door {}: added", door.id)));
    told
}

/// One device in both.
struct Two<'a> {
    old: &'a Site,
    new: &'a Site,
    was: DeviceId,
    is: DeviceId,
    named: &'a Numbers,
}

impl Two<'_> {
    fn facts(&self) -> Vec<String> {
        let (was, is) = (self.old.device(self.was), self.new.device(self.is));
        let mut words = Vec::new();
        if was.channel != is.channel {
            words.push(format!("moves from {} to {}", was.channel, is.channel));
        }
        if was.place != is.place {
            words.push(format!("place {}", arrow(said(&was.place), said(&is.place))));
        }
        if was.profile != is.profile {
            let profile = |of: &Option<Arc<str>>| said(of.as_deref().unwrap_or_default()).to_owned();
            words.push(format!("profile {}", arrow(profile(&was.profile), profile(&is.profile))));
        }
        words
    }

    fn points(&self, before: Option<&Hung>, now: Option<&Hung>) -> Vec<String> {
        let mut words = Vec::new();
        let own = |site: &Site, id: PointId| {
            let name = site.point(id).id.clone();
            name.rsplit_once('.').map_or_else(|| name.to_string(), |(_, name)| name.to_owned())
        };
        let mut known = Vec::new();
        let mut gone = Vec::new();
        let mut otherwise = Vec::new();
        for was in self.old.points_of(self.was) {
            let Some(is) = self.named.point(was) else {
                gone.push(own(self.old, was));
                continue;
            };
            known.push(is);
            let name = own(self.new, is);
            words.extend(self.point(was, is).into_iter().map(|what| format!("point {name} {what}")));
            if before.map(|hung| hung.source(was).in_other(self.named)) != now.map(|hung| hung.source(is)) {
                otherwise.push(name);
            }
        }
        let new = self.new.points_of(self.is).filter(|point| !known.contains(point));
        let new: Vec<String> = new.map(|point| own(self.new, point)).collect();
        for (names, what) in [(new, "added"), (gone, "removed"), (otherwise, "read otherwise")] {
            if let Some(names) = some_of(&names) {
                words.push(format!("{what}: {names}"));
            }
        }
        words
    }

    fn point(&self, was: PointId, is: PointId) -> Vec<String> {
        let (was, is) = (self.old.point(was), self.new.point(is));
        let range =
            |of: Option<(f64, f64)>| of.map_or("any".into(), |(low, high)| format!("{low} to {high}"));
        let unit = |of: &Option<Arc<str>>| said(of.as_deref().unwrap_or_default()).to_owned();
        let mut words = Vec::new();
        if was.unit != is.unit {
            words.push(format!("unit {}", arrow(unit(&was.unit), unit(&is.unit))));
        }
        if was.range != is.range {
            words.push(format!("range {}", arrow(range(was.range), range(is.range))));
        }
        if was.deadband != is.deadband {
            words.push(format!("deadband {}", arrow(was.deadband, is.deadband)));
        }
        if was.clean != is.clean {
            words.push("cleaned otherwise".to_owned());
        }
        words
    }

    /// `alone`: nothing else is said of it.
    fn asked(&self, before: Option<Hung>, now: Option<Hung>, alone: bool) -> Option<String> {
        let (before, now) = (before?, now?);
        match (before.poll(), now.poll()) {
            (Some(was), Some(is)) if was != is => Some(format!("poll {}", arrow(human(was), human(is)))),
            _ => (before != now && alone).then(|| "asked otherwise".to_owned()),
        }
    }
}

fn said(word: &str) -> &str {
    if word.is_empty() { "none" } else { word }
}

/// `a`, `b` and 3 more; `None`: none.
pub(super) fn some_of(names: &[String]) -> Option<String> {
    let shown = listed(names.iter().take(NAMED_MAX).map(String::as_str));
    match names.len() {
        0 => None,
        n if n > NAMED_MAX => Some(format!("{shown} and {} more", n - NAMED_MAX)),
        _ => Some(shown),
    }
}
