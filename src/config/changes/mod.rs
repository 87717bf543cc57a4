//! What is between two configurations: in sentences for people, and what has to be begun anew for it. Pure.
//!
//! A wire goes on where nothing of it changed, whatever its devices are numbered in the other site; one to an MQTT broker
//! also where only its devices changed. What the gateway is
//! as a whole (its id, data, timezone, language) is in everything; where that changes, the house is built anew.

mod facts;
mod installed;
mod rules;
mod services;

use std::collections::HashSet;
use std::sync::Arc;

use super::Gateway;
use crate::field::Channel;
use crate::numbers::{Numbered, Numbers};
use crate::reading::{PointId, Site};

/// What changes from one configuration to the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// A sentence each: `rule pump-pressure-low: below 200 → 190`.
    pub told: Vec<String>,
    /// Of these the house has to be built anew; none: it goes on.
    pub whole: Vec<&'static str>,
    pub wires: Moves,
    pub pushes: Moves,
    /// Where the API listens.
    pub listen: bool,
    /// Devices and points that go on as what they were, with their numbers before and after.
    pub numbers: Numbers,
}

/// By name. What begins anew is in both `ended` and `begun`, what only has other devices in neither.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    pub ended: Vec<Arc<str>>,
    pub begun: Vec<Arc<str>>,
    pub changed: Vec<Arc<str>>,
}

/// Sentences of an event, and characters of each; the log has all of them.
const TOLD_MAX: usize = 100;
const SENTENCE_MAX: usize = 300;

impl Changes {
    pub fn between(old: &Gateway, new: &Gateway) -> Self {
        let named = Numbers::between(&old.site, &new.site);
        let wires = wires(old, new, &named);
        let mut told = services::gateway(old, new);
        told.extend(services::api(&old.web, &new.web));
        told.extend(installed::channels(old, new, &wires));
        told.extend(installed::devices(old, new, &named));
        told.extend(installed::doors(old, new, &named));
        told.extend(rules::rules(old, new, &named));
        told.extend(services::levels(old, new));
        told.extend(services::consumers(old, new));
        let pushes = pushes(old, new);
        told.extend(services::pushes(old, new, &pushes));
        told.extend(services::store(old, new));
        Self {
            told,
            whole: services::whole(old, new),
            wires,
            pushes,
            listen: old.web.listen != new.web.listen,
            numbers: kept(old, new, &named),
        }
    }

    /// Nothing that anybody would notice.
    pub fn is_nothing(&self) -> bool {
        self.told.is_empty() && self.whole.is_empty() && self.begun_anew().is_empty()
    }

    /// What is begun, anew or for the first time: `plant`, `push crm`; `gateway` where all of it is.
    pub fn begun_anew(&self) -> Vec<String> {
        if !self.whole.is_empty() {
            return vec!["gateway".to_owned()];
        }
        let wires = self.wires.begun.iter().map(ToString::to_string);
        wires.chain(self.pushes.begun.iter().map(|push| format!("push {push}"))).collect()
    }

    /// For an event: bounded, whatever was changed.
    pub fn bounded(&self) -> Vec<String> {
        let cut = |sentence: &String| match sentence.char_indices().nth(SENTENCE_MAX) {
            Some((end, _)) => format!("{}…", &sentence[..end]),
            None => sentence.clone(),
        };
        let mut told: Vec<String> = self.told.iter().take(TOLD_MAX).map(cut).collect();
        if let Some(more) = self.told.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            told.push(format!("and {more} more"));
        }
        told
    }
}

impl Moves {
    /// `None` where there was none, or is none.
    fn of<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &Arc<str>, same: impl Fn(&T, &T) -> bool) -> Self {
        let in_there = |all: &[T], one: &T| {
            let there = all.iter().find(|other| name(other) == name(one));
            there.is_some_and(|other| same(one, other))
        };
        let names = |of: &[T], other: &[T]| -> Vec<Arc<str>> {
            of.iter().filter(|one| !in_there(other, one)).map(|one| name(one).clone()).collect()
        };
        Self { ended: names(old, new), begun: names(new, old), changed: Vec::new() }
    }

    /// Those that begin anew and need not.
    fn change(&mut self, in_place: impl Fn(&str) -> bool) {
        self.changed = self.begun.extract_if(.., |name| in_place(name)).collect();
        self.ended.retain(|name| !self.changed.contains(name));
    }

    fn is_moved(&self, name: &str) -> bool {
        self.ended.iter().any(|ended| **ended == *name) && self.begun.iter().any(|begun| **begun == *name)
    }
}

/// Which channels' wires end and begin.
fn wires(old: &Gateway, new: &Gateway, named: &Numbers) -> Moves {
    // By number of the new site, so that both directions compare alike.
    let before: Vec<Channel> = old.channels.iter().map(|channel| channel.clone().in_other(named)).collect();
    let other_people = old.pseudonyms != new.pseudonyms;
    let otherwise = read_otherwise(&old.site, &new.site, named);
    let mut moves = Moves::of(
        &before,
        &new.channels,
        |channel| &channel.id,
        |one, other| {
            one == other
                && !(other_people && other.tells_of_people())
                && !other.devices().iter().any(|device| otherwise.contains(&device.0))
        },
    );
    moves.change(|id| {
        let find = |all: &[Channel]| all.iter().find(|channel| *channel.id == *id).cloned();
        let (Some(one), Some(other)) = (find(&before), find(&new.channels)) else { return false };
        one.can_become(&other) && !(other_people && other.tells_of_people())
    });
    moves
}

/// Devices of the new site whose points a wire would show otherwise.
fn read_otherwise(old: &Site, new: &Site, named: &Numbers) -> HashSet<u32> {
    let points = (0..).map(PointId).zip(&old.points);
    let other = points.filter_map(|(id, before)| {
        let now = new.point(named.point(id)?);
        ((&before.unit, before.range) != (&now.unit, now.range)).then_some(now.device.0)
    });
    other.collect()
}

fn pushes(old: &Gateway, new: &Gateway) -> Moves {
    Moves::of(&old.sync, &new.sync, |target| &target.name, |one, other| one == other)
}

/// Of those that are named alike, the ones that are the same: a value, a window or a last word is never taken for what
/// another register said under the same name.
fn kept(old: &Gateway, new: &Gateway, named: &Numbers) -> Numbers {
    let before = installed::hung(old);
    let now = installed::hung(new);
    let mut kept = named.clone();
    kept.keep_points(|from, to| {
        let (was, is) = (old.site.point(from), new.site.point(to));
        let facts =
            (&was.unit, was.range, was.deadband, was.clean) == (&is.unit, is.range, is.deadband, is.clean);
        let wire = old.site.device(was.device).channel == new.site.device(is.device).channel;
        let source = match (before.get(&was.device), now.get(&is.device)) {
            (Some(before), Some(now)) => before.source(from).in_other(named) == now.source(to),
            (before, now) => before.is_none() == now.is_none(),
        };
        facts && wire && source
    });
    kept
}

/// `a → b`
fn arrow(old: impl std::fmt::Display, new: impl std::fmt::Display) -> String {
    format!("{old} → {new}")
}

#[cfg(test)]
mod tests;
