//! What a rule would have raised, in sum: tickets, how long they were open, and where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::course::Told;
use crate::cli::plot::{Axis, Lane};
use crate::reading::Millis;

/// Changes that are kept for the table; the others are counted.
const SHOWN_MAX: usize = 100;

/// On what a ticket stands: a point, a device, or neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    pub point: Option<Arc<str>>,
    pub device: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub struct Tally {
    pub opened: u64,
    pub reopened: u64,
    pub changes: u64,
    /// How long conditions held, over all tickets.
    pub open: Millis,
    pub longest: Millis,
    pub lanes: BTreeMap<Subject, (u64, Lane)>,
    /// The first ones, with how long the ticket had been open.
    pub shown: Vec<(Told, Option<Millis>)>,
    /// Since when, by ticket.
    since: HashMap<Arc<str>, (Millis, Subject)>,
}

impl Tally {
    pub fn add(&mut self, axis: &Axis, told: &Told) {
        self.changes += 1;
        let mut lasted = None;
        match told.change {
            "opened" => {
                self.opened += 1;
                self.begin(told);
            }
            "reopened" => {
                self.reopened += 1;
                self.begin(told);
            }
            "cleared" => lasted = self.end(axis, &told.ticket, told.at),
            _ => {}
        }
        if self.shown.len() < SHOWN_MAX {
            self.shown.push((told.clone(), lasted));
        }
    }

    fn begin(&mut self, told: &Told) {
        let subject = Subject { point: told.point.clone(), device: told.device.clone() };
        self.lanes.entry(subject.clone()).or_default().0 += 1;
        self.since.insert(told.ticket.clone(), (told.at, subject));
    }

    fn end(&mut self, axis: &Axis, ticket: &Arc<str>, at: Millis) -> Option<Millis> {
        let (since, subject) = self.since.remove(ticket)?;
        let lasted = at - since;
        self.open += lasted;
        self.longest = self.longest.max(lasted);
        self.lanes.entry(subject).or_default().1.mark(axis, since, at);
        Some(lasted)
    }

    /// Time is up; what is still open has been so until now. How many tickets that are.
    pub fn close(&mut self, axis: &Axis, to: Millis) -> usize {
        let open: Vec<Arc<str>> = self.since.keys().cloned().collect();
        open.iter().filter_map(|ticket| self.end(axis, ticket, to)).count()
    }
}
