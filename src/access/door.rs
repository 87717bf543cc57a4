//! One door: opened, closed, forced, held, and what is told of it as a whole. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::sense::{self, Sense, Turn};
use super::{Door, Ended, GRACE, Grant, Saved, Told};
use crate::happening::{Happening, Kind};
use crate::numbers::Numbers;
use crate::reading::{Millis, PointId, Reading, Site};

/// Grants that are remembered; the next may wait while an opening is late.
const PASSES_MAX: usize = 8;
/// Openings that may wait for their grant; beyond, the oldest has waited long enough.
const UNEXPLAINED_MAX: usize = 8;
/// A polled contact that nobody could read for so long may have opened at any time: who let it is not to be known.
const UNWATCHED: Millis = 60_000;

#[derive(Debug)]
pub struct Watched {
    pub plan: Door,
    id: Arc<str>,
    contact: Arc<str>,
    words: PointId,
    polled: bool,
    state: State,
    /// When the exit button was last told, and whether by a happening.
    exit_told: Option<(Millis, bool)>,
    /// What is saved is out of date.
    dirty: bool,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct State {
    contact: Sense,
    exit: Sense,
    /// When it was let open, in the order in which it was heard.
    passes: VecDeque<Millis>,
    /// The order that was the last to let it open, when, and until when that may have been.
    order: Option<Order>,
    /// Openings that nothing explains yet, oldest first.
    unexplained: VecDeque<Opening>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    key: Arc<str>,
    begun: Millis,
    /// The device had taken it, or may have.
    ended: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Opening {
    at: Millis,
    /// It may have opened as early as this.
    earliest: Millis,
}

impl Order {
    /// Whether an opening then was its doing.
    fn explains(&self, at: Millis, window: Millis) -> bool {
        at + GRACE >= self.begun && at <= self.ended.unwrap_or(self.begun) + window + GRACE
    }
}

impl Watched {
    pub fn new(plan: Door, site: &Site, saved: Option<&str>) -> Self {
        let door = &site.doors[plan.id.0 as usize];
        let contact = site.point(plan.contact);
        let polled = site.device(contact.device).polled;
        let mut state: State = saved.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        state.contact.lost_sight(polled);
        Self {
            id: door.id.clone(),
            contact: contact.id.clone(),
            words: door.words,
            plan,
            polled,
            state,
            exit_told: None,
            dirty: false,
        }
    }

    pub fn subject(&self) -> String {
        format!("doors/{}", self.id)
    }

    /// Its state, where it has to be saved anew.
    pub fn changed(&mut self) -> Option<Saved> {
        let dirty = std::mem::take(&mut self.dirty);
        let state = dirty.then(|| serde_json::to_string(&self.state).unwrap_or_default())?;
        Some(Saved { subject: self.subject(), state })
    }

    /// Whatever has changed.
    pub fn saved(&self) -> Saved {
        Saved { subject: self.subject(), state: serde_json::to_string(&self.state).unwrap_or_default() }
    }

    /// Whether the other one is this door under another plan: the same contact, the same button.
    pub fn is(&self, other: &Self, numbers: &Numbers) -> bool {
        let exit = match (self.plan.exit, other.plan.exit) {
            (Some(exit), Some(other)) => numbers.point(exit) == Some(other),
            (exit, other) => exit.is_none() && other.is_none(),
        };
        self.id == other.id && numbers.point(self.plan.contact) == Some(other.plan.contact) && exit
    }

    pub fn take_over(&mut self, before: Self) {
        (self.state, self.exit_told, self.dirty) = (before.state, before.exit_told, before.dirty);
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether what happened there is this door's.
    pub fn concerns(&self, happening: &Happening) -> bool {
        let point = happening.point;
        let granted = self.plan.grants.iter().any(|grant| match grant {
            Grant::Device(device) => *device == happening.device,
            Grant::Point(at) => point == Some(*at),
        });
        granted || point.is_some_and(|point| point == self.plan.contact || Some(point) == self.plan.exit)
    }

    pub fn contact(&mut self, reading: &Reading, out: &mut Vec<Told>) {
        let seen = self.state.contact.seen;
        let turn = self.state.contact.read(reading, sense::CONTACT);
        self.dirty |= turn != Turn::None;
        match turn {
            Turn::On => self.opened(reading.at, seen, out),
            Turn::Off => out.push(self.told("access.closed", reading.at, None)),
            Turn::None | Turn::First => {}
        }
    }

    /// `seen`: when it was last known to be closed.
    fn opened(&mut self, at: Millis, seen: Option<Millis>, out: &mut Vec<Told>) {
        let watched = !self.polled || seen.is_some_and(|seen| at - seen <= UNWATCHED);
        let mut told = self.told("access.opened", at, (!watched).then_some("unwatched"));
        let order = self.state.order.take_if(|order| order.explains(at, self.plan.unlock_window));
        if let (Some(order), Json::Object(data)) = (order, &mut told.data) {
            data.insert("order".into(), (*order.key).into());
        }
        out.push(told);
        if self.plan.grants.is_empty() || !watched {
            return;
        }
        let earliest = seen.filter(|_| self.polled).map_or(at, |seen| seen.max(at - GRACE));
        let opening = Opening { at, earliest };
        if self.explains(opening) {
            return;
        }
        if self.state.unexplained.len() >= UNEXPLAINED_MAX {
            let first = self.state.unexplained.pop_front();
            out.extend(first.map(|first| self.told("access.forced", first.at, None)));
        }
        self.state.unexplained.push_back(opening);
    }

    fn explains(&self, opening: Opening) -> bool {
        let from = opening.earliest - self.plan.unlock_window;
        self.state.passes.iter().any(|pass| (from..opening.at + GRACE).contains(pass))
    }

    pub fn exit(&mut self, reading: &Reading, out: &mut Vec<Told>) {
        let turn = self.state.exit.read(reading, sense::BUTTON);
        self.dirty |= turn != Turn::None;
        if turn == Turn::On {
            self.pass(reading.at);
            if self.is_another_exit(reading.at, false) {
                let mut told = self.told("access.exit", reading.at, None);
                // The contact has nothing to do with it.
                if let Json::Object(data) = &mut told.data {
                    data.remove("point");
                }
                out.push(told);
            }
        }
    }

    /// One press may come as a reading and as a happening: it is told once.
    fn is_another_exit(&mut self, at: Millis, happened: bool) -> bool {
        let same = self.exit_told.is_some_and(|(told, by)| by != happened && (at - told).abs() < GRACE);
        if !same {
            self.exit_told = Some((at, happened));
        }
        !same
    }

    /// What a reader or controller tells, for the door as a whole. Of opening and closing its contact is the judge, and
    /// of being held its own time; of being forced the controller only where no grants are known here.
    pub fn happened(&mut self, happening: &Happening, data: &Map<String, Json>, out: &mut Vec<Told>) {
        let at = happening.at;
        if !happening.late && matches!(happening.kind, Kind::Granted | Kind::Exit) {
            self.pass(at);
        }
        let tell = match happening.kind {
            Kind::Card | Kind::Keypad | Kind::Granted | Kind::Denied | Kind::Tamper => true,
            Kind::Exit => happening.late || self.is_another_exit(at, true),
            Kind::Forced => !happening.late && self.plan.grants.is_empty(),
            Kind::Opened | Kind::Closed | Kind::Held => false,
        };
        if tell {
            let words = (!happening.late).then_some(self.words);
            let mut told = Told::new(super::kind(happening.kind), self.subject(), at, words);
            let mut data = data.clone();
            data.insert("door".into(), (*self.id).into());
            told.data = Json::Object(data);
            out.push(told);
        }
    }

    /// Something lets it open: a grant, the exit button, an order.
    pub fn pass(&mut self, at: Millis) {
        let passes = &mut self.state.passes;
        if passes.len() >= PASSES_MAX {
            passes.pop_front();
        }
        passes.push_back(at);
        self.dirty = true;
        self.excuse(at);
    }

    /// What was opened after it may have been by it. What was opened before it is told, only the last: the wires differ in
    /// speed, but one grant told late is no excuse for a door that was opened and closed before.
    fn excuse(&mut self, pass: Millis) {
        let window = self.plan.unlock_window;
        let unexplained = &mut self.state.unexplained;
        unexplained.retain(|opening| !(opening.earliest - window..=opening.at).contains(&pass));
        if unexplained.back().is_some_and(|last| (last.at..last.at + GRACE).contains(&pass)) {
            unexplained.pop_back();
        }
    }

    /// An order is about to let it open.
    pub fn ordered(&mut self, key: &Arc<str>, at: Millis) {
        self.state.order = Some(Order { key: key.clone(), begun: at, ended: None });
        self.pass(at);
    }

    /// The order under this key, begun at `begun`, has ended.
    pub fn ended(&mut self, key: &str, begun: Millis, how: Ended, at: Millis) {
        let order = self.state.order.as_mut().filter(|order| *order.key == *key);
        match how {
            Ended::Taken | Ended::Unsure => {
                if let Some(order) = order {
                    order.ended = Some(at);
                }
                self.pass(at);
            }
            Ended::Not => {
                self.state.order.take_if(|order| *order.key == *key);
                self.state.passes.retain(|pass| *pass != begun);
                self.dirty = true;
            }
        }
    }

    pub fn advance(&mut self, now: Millis, out: &mut Vec<Told>) {
        while let Some(opening) = self.state.unexplained.pop_front_if(|opening| opening.at + GRACE <= now) {
            out.push(self.told("access.forced", opening.at, None));
            self.dirty = true;
        }
        if let Some(at) = self.state.contact.overlong(now, self.plan.held_after) {
            out.push(self.told("access.held", at, None));
            self.dirty = true;
        }
    }

    pub fn due(&self) -> Option<Millis> {
        let forced = self.state.unexplained.front().map(|opening| opening.at + GRACE);
        let held = self.state.contact.due(self.plan.held_after);
        [forced, held].into_iter().flatten().min()
    }

    pub fn lost_sight(&mut self) {
        self.state.contact.lost_sight(self.polled);
    }

    pub fn stepped(&mut self, by: Millis) {
        self.state.contact.stepped(by);
        self.state.exit.stepped(by);
        self.state.passes.iter_mut().for_each(|pass| *pass += by);
        if let Some(order) = &mut self.state.order {
            order.begun += by;
            order.ended = order.ended.map(|ended| ended + by);
        }
        for opening in &mut self.state.unexplained {
            (opening.at, opening.earliest) = (opening.at + by, opening.earliest + by);
        }
        self.exit_told = None;
        self.dirty = true;
    }

    fn told(&self, kind: &'static str, at: Millis, reason: Option<&str>) -> Told {
        let mut told = Told::new(kind, self.subject(), at, Some(self.words));
        let mut data = Map::new();
        data.insert("door".into(), (*self.id).into());
        data.insert("point".into(), (*self.contact).into());
        data.extend(reason.map(|reason| ("reason".into(), reason.into())));
        told.data = Json::Object(data);
        told
    }
}
