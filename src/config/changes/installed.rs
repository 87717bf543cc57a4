//! Channels, devices, doors: what is other than it was.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{self, moved};
use super::{Moves, arrow};
use crate::access::Door;
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
    told.extend(wires.changed.iter().map(|id| format!("channel {id}: goes on, its devices change")));
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
        let two = Two { old: &old.site, new: &new.site, was, is, named };
        let mut words = two.facts();
        let (before, now) = (before.get(&was), now.get(&is));
        let own = two.own(before, now);
        words.extend(two.points(before, now, own.is_empty()));
        words.extend(own);
        words.extend(two.orders(old, new, before, now));
        words.extend(two.cells(old, new));
        if words.is_empty() && before.cloned().in_other(named) != now.cloned() {
            words.push("asked otherwise".to_owned());
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

/// The same orders, on the wire.
fn are_given_alike(was: &Hung, is: &Hung) -> bool {
    match (was, is) {
        (Hung::Modbus(was), Hung::Modbus(is)) => was.commands == is.commands,
        (Hung::Osdp(was), Hung::Osdp(is)) => was.commands == is.commands,
        (Hung::Mqtt(was), Hung::Mqtt(is)) => was.commands == is.commands,
        _ => true,
    }
}

pub(super) fn doors(old: &Gateway, new: &Gateway, named: &Numbers) -> Vec<String> {
    let mut told = Vec::new();
    for door in &old.access.doors {
        let id = &old.site.doors[door.id.0 as usize].id;
        let there = named.door(door.id);
        let now = new.access.doors.iter().find(|now| Some(now.id) == there);
        match now {
            None => told.push(format!("door {id}: removed")),
            Some(now) => {
                let place = |site: &Site, id: crate::reading::DoorId| site.doors[id.0 as usize].place.clone();
                let (was, is) = (place(&old.site, door.id), place(&new.site, now.id));
                let mut words = judged(&door.clone().in_other(named), now);
                if was != is {
                    words.push(format!("place {}", arrow(was, is)));
                }
                if !words.is_empty() {
                    told.push(format!("door {id}: {}", words.join(", ")));
                }
            }
        }
    }
    let known = |id: &str| old.site.doors.iter().any(|door| *door.id == *id);
    let added = new.site.doors.iter().filter(|door| !known(&door.id));
    told.extend(added.map(|door| format!("door {}: added", door.id)));
    told
}

fn judged(was: &Door, is: &Door) -> Vec<String> {
    let spans = |door: &Door| {
        let [window, held] = [door.unlock_window, door.held_after].map(facts::spoken);
        [("unlock_window", window), ("held_after", held)]
    };
    let parts = [
        ("another contact", was.contact != is.contact),
        ("opened by others", was.grants != is.grants),
        ("another exit", was.exit != is.exit),
    ];
    let parts = parts.into_iter().filter(|(_, other)| *other).map(|(word, _)| word.to_owned());
    moved(&spans(was), &spans(is)).into_iter().chain(parts).collect()
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

    /// `apart`: nothing changed of the device itself, by which all of its points would be read otherwise.
    fn points(&self, before: Option<&Hung>, now: Option<&Hung>, apart: bool) -> Vec<String> {
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
            let what = self.point((before, was), (now, is));
            let source = |hung: Option<&Hung>, point| hung.map(|hung| hung.source(point));
            if !what.is_empty() {
                words.push(format!("point {name} {}", what.join(" and ")));
            } else if apart && source(before, was).in_other(self.named) != source(now, is) {
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

    fn point(&self, was: (Option<&Hung>, PointId), is: (Option<&Hung>, PointId)) -> Vec<String> {
        let mut words =
            moved(&facts::of_values(self.old.point(was.1)), &facts::of_values(self.new.point(is.1)));
        let source = |(hung, point): (Option<&Hung>, PointId)| {
            hung.map(|hung| facts::of_source(hung, point)).unwrap_or_default()
        };
        words.extend(moved(&source(was), &source(is)));
        words
    }

    /// Of the device itself, how it is found and asked.
    fn own(&self, before: Option<&Hung>, now: Option<&Hung>) -> Vec<String> {
        let (Some(before), Some(now)) = (before, now) else { return Vec::new() };
        let mut words = moved(&facts::of_device(before), &facts::of_device(now));
        if let (Hung::Osdp(was), Hung::Osdp(is)) = (before, now)
            && was.key.is_some()
            && is.key.is_some()
            && was.key != is.key
        {
            words.push("another key".to_owned());
        }
        match (before.poll(), now.poll()) {
            (Some(was), Some(is)) if was != is => {
                words.push(format!("poll {}", arrow(human(was), human(is))));
            }
            _ => {}
        }
        words
    }

    fn orders(
        &self,
        old: &Gateway,
        new: &Gateway,
        before: Option<&Hung>,
        now: Option<&Hung>,
    ) -> Option<String> {
        if may_be_ordered(old, self.was).in_other(self.named) != may_be_ordered(new, self.is) {
            return Some("other commands are allowed".to_owned());
        }
        let alike = before.zip(now).is_none_or(|(was, is)| are_given_alike(was, is));
        (!alike).then(|| "commands are given otherwise".to_owned())
    }

    /// How the cells of lockers are judged.
    fn cells(&self, old: &Gateway, new: &Gateway) -> Vec<String> {
        let bank = |gateway: &Gateway, id| {
            let bank = gateway.access.banks.iter().find(|bank| bank.device == id);
            bank.map(facts::of_bank).unwrap_or_default()
        };
        moved(&bank(old, self.was), &bank(new, self.is))
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
