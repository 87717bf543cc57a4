//! One bank of lockers: its cells opened, closed, jammed, unexpected, held; parcels in, out and overdue. Pure.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::sense::{self, Sense, Turn};
use super::{Bank, Ended, GRACE, Saved, Told};
use crate::numbers::Numbers;
use crate::reading::{Millis, PointId, Reading, Site};

/// A cell that was jammed may be pulled open by whoever stands before it: that is its order's doing still.
const JAMMED_OPENS_WITHIN: Millis = 60_000;

#[derive(Debug)]
pub struct Watched {
    pub plan: Bank,
    board: Arc<str>,
    words: Option<PointId>,
    polled: bool,
    cells: Vec<Cell>,
    /// What is saved is out of date.
    dirty: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cell {
    contact: Sense,
    item: Sense,
    order: Option<Order>,
}

/// The last order to open this cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    key: Arc<str>,
    at: Millis,
    /// When the device had taken it, or was given up; the cell has to open from then on.
    done: Option<Millis>,
    /// Nobody knows whether it reached the lock: that it did not open says nothing.
    unsure: bool,
    /// It has been seen open since.
    opened: bool,
    jammed: bool,
}

impl Order {
    /// No wire will say anything of it any more.
    fn restarted(&mut self) {
        if self.done.is_none() {
            (self.done, self.unsure) = (Some(self.at), true);
        }
    }

    /// Whether an opening that may have happened as early as this is its doing.
    fn explains(&self, earliest: Millis, within: Millis) -> bool {
        let late = if self.jammed { JAMMED_OPENS_WITHIN } else { 0 };
        self.done.is_none_or(|done| earliest <= done.saturating_add(within) + GRACE + late)
    }
}

impl Watched {
    pub fn new(plan: Bank, site: &Site, saved: Option<&str>) -> Self {
        let device = site.device(plan.device);
        let mut cells: Vec<Cell> = saved.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        cells.resize(plan.cells.len(), Cell::default());
        for cell in &mut cells {
            cell.lost_sight(device.polled);
            cell.order.iter_mut().for_each(Order::restarted);
        }
        Self {
            board: device.id.clone(),
            words: device.words,
            polled: device.polled,
            plan,
            cells,
            dirty: false,
        }
    }

    pub fn subject(&self) -> String {
        format!("devices/{}", self.board)
    }

    /// Its state, where it has to be saved anew.
    pub fn changed(&mut self) -> Option<Saved> {
        let dirty = std::mem::take(&mut self.dirty);
        let state = dirty.then(|| serde_json::to_string(&self.cells).unwrap_or_default())?;
        Some(Saved { subject: self.subject(), state })
    }

    /// Whatever has changed.
    pub fn saved(&self) -> Saved {
        Saved { subject: self.subject(), state: serde_json::to_string(&self.cells).unwrap_or_default() }
    }

    /// Whether the other one is this bank under another plan: the same cells and items.
    pub fn is(&self, other: &Self, numbers: &Numbers) -> bool {
        let same = |own: &[PointId], other: &[PointId]| {
            let mut pairs = own.iter().zip(other);
            own.len() == other.len() && pairs.all(|(own, other)| numbers.point(*own) == Some(*other))
        };
        self.board == other.board
            && same(&self.plan.cells, &other.plan.cells)
            && same(&self.plan.items, &other.plan.items)
    }

    pub fn take_over(&mut self, before: Self) {
        (self.cells, self.dirty) = (before.cells, before.dirty);
    }

    pub fn contact(&mut self, n: usize, reading: &Reading, out: &mut Vec<Told>) {
        let cell = &mut self.cells[n];
        let seen = cell.contact.seen;
        let turn = cell.contact.read(reading, sense::CONTACT);
        self.dirty |= turn != Turn::None;
        match turn {
            Turn::On => self.opened(n, reading.at, seen, out),
            Turn::Off => out.push(self.told("locker.closed", n, reading.at)),
            Turn::None | Turn::First => {}
        }
        let cell = &mut self.cells[n];
        if cell.contact.on == Some(true)
            && let Some(order) = cell.order.as_mut().filter(|order| !order.opened)
        {
            order.opened = true;
            self.dirty = true;
        }
        self.judge(n, reading.at, out);
    }

    fn opened(&mut self, n: usize, at: Millis, seen: Option<Millis>, out: &mut Vec<Told>) {
        let earliest = seen.map_or(at, |seen| seen.max(at - GRACE));
        let order = self.cells[n].order.as_ref();
        let order = order.filter(|order| order.explains(earliest, self.plan.opens_within));
        let key = order.map(|order| order.key.clone());
        let unexpected = key.is_none() && self.plan.unexpected;
        out.push(self.caused("locker.opened", n, at, key));
        if unexpected {
            out.push(self.told("locker.unexpected", n, at));
        }
    }

    pub fn item(&mut self, n: usize, reading: &Reading, out: &mut Vec<Told>) {
        let turn = self.cells[n].item.read(reading, sense::ITEM);
        self.dirty |= turn != Turn::None;
        match turn {
            Turn::On => out.push(self.told("locker.deposited", n, reading.at)),
            Turn::Off => out.push(self.told("locker.collected", n, reading.at)),
            Turn::None | Turn::First => {}
        }
    }

    /// This cell has been ordered to open.
    pub fn ordered(&mut self, n: usize, key: &Arc<str>, at: Millis) {
        let cell = &mut self.cells[n];
        let opened = cell.contact.on == Some(true);
        let order = Order { key: key.clone(), at, done: None, unsure: false, opened, jammed: false };
        cell.order = Some(order);
        self.dirty = true;
    }

    /// The order under this key has ended.
    pub fn ended(&mut self, n: usize, key: &str, how: Ended, at: Millis) {
        let cell = &mut self.cells[n];
        let Some(order) = cell.order.as_mut().filter(|order| *order.key == *key) else {
            return;
        };
        match how {
            Ended::Not => cell.order = None,
            Ended::Taken | Ended::Unsure => {
                order.done = Some(at);
                order.unsure = how == Ended::Unsure;
            }
        }
        self.dirty = true;
    }

    pub fn advance(&mut self, now: Millis, out: &mut Vec<Told>) {
        for n in 0..self.cells.len() {
            self.judge(n, now, out);
        }
    }

    /// What is due at this cell.
    fn judge(&mut self, n: usize, now: Millis, out: &mut Vec<Told>) {
        let Bank { opens_within, held_after, overdue_after, .. } = self.plan;
        let jammed = self.cells[n].jam_due(opens_within).filter(|due| *due <= now);
        if let Some(at) = jammed {
            let key = self.cells[n].order.as_mut().map(|order| {
                order.jammed = true;
                order.key.clone()
            });
            out.push(self.caused("locker.jammed", n, at, key));
        }
        let held = self.cells[n].contact.overlong(now, held_after);
        out.extend(held.map(|at| self.told("locker.held", n, at)));
        let overdue = self.cells[n].item.overlong(now, overdue_after);
        out.extend(overdue.map(|at| self.told("locker.overdue", n, at)));
        self.dirty |= [jammed, held, overdue].iter().any(Option::is_some);
    }

    pub fn due(&self) -> Option<Millis> {
        let Bank { opens_within, held_after, overdue_after, .. } = self.plan;
        let of = |cell: &Cell| {
            [cell.jam_due(opens_within), cell.contact.due(held_after), cell.item.due(overdue_after)]
        };
        self.cells.iter().flat_map(of).flatten().min()
    }

    pub fn lost_sight(&mut self) {
        let polled = self.polled;
        self.cells.iter_mut().for_each(|cell| cell.lost_sight(polled));
    }

    pub fn stepped(&mut self, by: Millis) {
        for cell in &mut self.cells {
            cell.contact.stepped(by);
            cell.item.stepped(by);
            if let Some(order) = &mut cell.order {
                order.at += by;
                order.done = order.done.map(|done| done + by);
            }
        }
        self.dirty = true;
    }

    fn told(&self, kind: &'static str, n: usize, at: Millis) -> Told {
        self.caused(kind, n, at, None)
    }

    fn caused(&self, kind: &'static str, n: usize, at: Millis, key: Option<Arc<str>>) -> Told {
        let mut told = Told::new(kind, self.subject(), at, self.words);
        let mut data = Map::new();
        data.insert("board".into(), (*self.board).into());
        data.insert("cell".into(), (n + 1).into());
        data.extend(key.map(|key| ("order".into(), (*key).into())));
        told.data = Json::Object(data);
        told
    }
}

impl Cell {
    /// When it will be jammed: taken by the device, read since, closed all the time.
    fn jam_due(&self, within: Millis) -> Option<Millis> {
        let order = self.order.as_ref().filter(|order| !order.opened && !order.jammed && !order.unsure)?;
        let done = order.done?;
        let seen = self.contact.seen.filter(|seen| *seen >= done && self.contact.on == Some(false))?;
        let due = done.saturating_add(within);
        // Where it could not be read until later, it is known from then.
        Some(self.contact.sure.map_or(due, |sure| due.max(sure.min(seen))))
    }

    fn lost_sight(&mut self, polled: bool) {
        self.contact.lost_sight(polled);
        self.item.lost_sight(polled);
    }
}
