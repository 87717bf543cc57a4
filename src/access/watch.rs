//! All doors and banks of a compound: brings each input to whom it concerns, and keeps their time. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{Ended, Ordered, Plan, Saved, Told, bank, door, kind};
use crate::happening::Happening;
use crate::numbers::Numbers;
use crate::reading::{Millis, PointId, Reading, Site};

#[derive(Debug)]
pub struct Watch {
    site: Arc<Site>,
    doors: Vec<door::Watched>,
    banks: Vec<bank::Watched>,
    by_point: HashMap<PointId, Vec<Role>>,
    told: Vec<Told>,
    /// Nothing is due before this.
    next: Millis,
}

/// What a point is to a door or a bank.
#[derive(Debug, Clone, Copy)]
enum Role {
    Contact(usize),
    Exit(usize),
    /// Bank and cell, from 0.
    Cell(usize, usize),
    Item(usize, usize),
}

impl Watch {
    /// Takes up where an earlier run has ended. Of what is no longer planned, nothing is known.
    pub fn new(plan: Plan, site: Arc<Site>, saved: &[Saved]) -> Self {
        let state = |subject: String| saved.iter().find(|s| s.subject == subject).map(|s| s.state.as_str());
        let door = |door: super::Door| {
            let subject = format!("doors/{}", site.doors[door.id.0 as usize].id);
            door::Watched::new(door, &site, state(subject))
        };
        let bank = |bank: super::Bank| {
            let subject = format!("devices/{}", site.device(bank.device).id);
            bank::Watched::new(bank, &site, state(subject))
        };
        let doors: Vec<_> = plan.doors.into_iter().map(door).collect();
        let banks: Vec<_> = plan.banks.into_iter().map(bank).collect();
        let by_point = roles(&doors, &banks);
        Self { site, doors, banks, by_point, told: Vec::new(), next: Millis::MIN }
    }

    /// Under another plan: what is known of doors and banks that stand on the same points goes on, what is known of others
    /// of the same name is what a restart would know. With it, the subjects of which nothing is planned any more.
    #[must_use]
    pub fn taken_over(mut self, plan: Plan, site: &Arc<Site>, numbers: &Numbers) -> (Self, Vec<String>) {
        let subjects: Vec<String> = self.subjects().collect();
        let doors = self.doors.iter().map(door::Watched::saved);
        let saved: Vec<Saved> = doors.chain(self.banks.iter().map(bank::Watched::saved)).collect();
        let mut next = Self::new(plan, site.clone(), &saved);
        for door in &mut next.doors {
            if let Some(at) = self.doors.iter().position(|before| before.is(door, numbers)) {
                door.take_over(self.doors.swap_remove(at));
            }
        }
        for bank in &mut next.banks {
            if let Some(at) = self.banks.iter().position(|before| before.is(bank, numbers)) {
                bank.take_over(self.banks.swap_remove(at));
            }
        }
        next.told = self.told;
        let gone = subjects.into_iter().filter(|subject| !next.has(subject)).collect();
        (next, gone)
    }

    fn subjects(&self) -> impl Iterator<Item = String> {
        let doors = self.doors.iter().map(door::Watched::subject);
        doors.chain(self.banks.iter().map(bank::Watched::subject))
    }

    /// Whether there is a door or a bank under this subject.
    pub fn has(&self, subject: &str) -> bool {
        self.subjects().any(|own| own == subject)
    }

    /// After it has been refined.
    pub fn reading(&mut self, reading: &Reading) {
        let Some(roles) = self.by_point.get(&reading.point) else {
            return;
        };
        let roles = roles.clone();
        self.advance(reading.at);
        for role in roles {
            match role {
                Role::Contact(door) => self.doors[door].contact(reading, &mut self.told),
                Role::Exit(door) => self.doors[door].exit(reading, &mut self.told),
                Role::Cell(bank, n) => self.banks[bank].contact(n, reading, &mut self.told),
                Role::Item(bank, n) => self.banks[bank].item(n, reading, &mut self.told),
            }
            let due = match role {
                Role::Contact(door) | Role::Exit(door) => self.doors[door].due(),
                Role::Cell(bank, _) | Role::Item(bank, _) => self.banks[bank].due(),
            };
            self.next = self.next.min(due.unwrap_or(Millis::MAX));
        }
        // It may have shown what was due all along.
        self.advance(reading.at);
    }

    /// Told under its device as it is, and for each door it belongs to as a whole.
    pub fn happening(&mut self, happening: &Happening) {
        if !happening.late {
            self.advance(happening.at);
        }
        let device = self.site.device(happening.device);
        let mut data = self.data(happening);
        let mut doors = self.doors.iter().filter(|door| door.concerns(happening));
        if let (Some(only), None) = (doors.next(), doors.next()) {
            data.insert("door".into(), (**only.id()).into());
        }
        let subject = format!("devices/{}", device.id);
        // What is long past is no occurrence of now.
        let words = device.words.filter(|_| !happening.late);
        let mut told = Told::new(kind(happening.kind), subject, happening.at, words);
        told.data = Json::Object(data.clone());
        self.told.push(told);
        for door in self.doors.iter_mut().filter(|door| door.concerns(happening)) {
            door.happened(happening, &data, &mut self.told);
        }
        self.next = Millis::MIN;
    }

    /// Of a person nothing but the pseudonym, and only what is there.
    fn data(&self, happening: &Happening) -> Map<String, Json> {
        let text = |text: &Arc<str>| Json::from(&**text);
        let fields = [
            ("reader", Some(text(&self.site.device(happening.device).id))),
            ("point", happening.point.map(|point| text(&self.site.point(point).id))),
            ("card", happening.who.as_ref().map(|who| who.as_str().into())),
            ("direction", happening.direction.map(|direction| direction.word().into())),
            ("reason", happening.reason.as_ref().map(text)),
            ("record", happening.record.as_ref().map(text)),
            ("late", happening.late.then(|| true.into())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// An order is about to be given.
    pub fn ordered(&mut self, what: Ordered, key: &Arc<str>, at: Millis) {
        self.advance(at);
        match what {
            Ordered::Door(id) => {
                let doors = self.doors.iter_mut().filter(|door| door.plan.id == id);
                doors.for_each(|door| door.ordered(key, at));
            }
            Ordered::Cell(point) => {
                for (bank, n) in self.cells(point) {
                    self.banks[bank].ordered(n, key, at);
                }
            }
        }
        self.next = Millis::MIN;
    }

    /// The order under this key, begun at `begun`, has ended.
    pub fn ended(&mut self, what: Ordered, key: &str, begun: Millis, how: Ended, at: Millis) {
        self.advance(at);
        match what {
            Ordered::Door(id) => {
                let doors = self.doors.iter_mut().filter(|door| door.plan.id == id);
                doors.for_each(|door| door.ended(key, begun, how, at));
            }
            Ordered::Cell(point) => {
                for (bank, n) in self.cells(point) {
                    self.banks[bank].ended(n, key, how, at);
                }
            }
        }
        self.next = Millis::MIN;
    }

    fn cells(&self, point: PointId) -> Vec<(usize, usize)> {
        let roles = self.by_point.get(&point).into_iter().flatten();
        let cell = |role: &Role| match role {
            Role::Cell(bank, n) => Some((*bank, *n)),
            _ => None,
        };
        roles.filter_map(cell).collect()
    }

    /// Time has passed. What was due meanwhile is told in the order in which it came to be so, not door by door.
    pub fn advance(&mut self, now: Millis) {
        if now < self.next {
            return;
        }
        let mut next = self.soonest();
        while let Some(due) = next.filter(|due| *due <= now) {
            self.doors.iter_mut().for_each(|door| door.advance(due, &mut self.told));
            self.banks.iter_mut().for_each(|bank| bank.advance(due, &mut self.told));
            next = self.soonest();
        }
        self.next = next.unwrap_or(Millis::MAX);
    }

    /// When it has to be told the time again.
    pub fn next_due(&self) -> Option<Millis> {
        match self.next {
            Millis::MAX => None,
            Millis::MIN => self.soonest(),
            next => Some(next),
        }
    }

    fn soonest(&self) -> Option<Millis> {
        let doors = self.doors.iter().filter_map(door::Watched::due);
        doors.chain(self.banks.iter().filter_map(bank::Watched::due)).min()
    }

    /// What has come of it since the last time, in order.
    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// The states that are to be saved with it.
    pub fn changed(&mut self) -> Vec<Saved> {
        let doors = self.doors.iter_mut().filter_map(door::Watched::changed);
        doors.chain(self.banks.iter_mut().filter_map(bank::Watched::changed)).collect()
    }

    /// Nobody has looked for a while: what is polled has to be seen again before time counts against it.
    pub fn lost_sight(&mut self) {
        self.doors.iter_mut().for_each(door::Watched::lost_sight);
        self.banks.iter_mut().for_each(bank::Watched::lost_sight);
        self.next = Millis::MIN;
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub fn stepped(&mut self, by: Millis) {
        self.doors.iter_mut().for_each(|door| door.stepped(by));
        self.banks.iter_mut().for_each(|bank| bank.stepped(by));
        self.next = Millis::MIN;
    }
}

fn roles(doors: &[door::Watched], banks: &[bank::Watched]) -> HashMap<PointId, Vec<Role>> {
    let mut by_point: HashMap<PointId, Vec<Role>> = HashMap::new();
    for (index, door) in doors.iter().enumerate() {
        by_point.entry(door.plan.contact).or_default().push(Role::Contact(index));
        if let Some(exit) = door.plan.exit {
            by_point.entry(exit).or_default().push(Role::Exit(index));
        }
    }
    for (index, bank) in banks.iter().enumerate() {
        for (n, point) in bank.plan.cells.iter().enumerate() {
            by_point.entry(*point).or_default().push(Role::Cell(index, n));
        }
        for (n, point) in bank.plan.items.iter().enumerate().take(bank.plan.cells.len()) {
            by_point.entry(*point).or_default().push(Role::Item(index, n));
        }
    }
    by_point
}
