//! The tickets of the watches: when one is opened or reopened and what stands in it, and what people ask of it. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::desk::{Case, deadlines};
use super::engine::{Engine, Subject};
use super::episode::Phase;
use super::saved::{SavedTicket, saved_ticket};
use super::stepped::Times;
use super::title::{Facts, title};
use super::{Condition, Over, Rule};
use crate::reading::{DeviceId, Millis};
use crate::ticket::{Action, Evidence, Refusal, State, Ticket, Verb};

impl Engine {
    pub(super) fn opened(&mut self, index: u32, since: Millis, at: Millis) {
        let reopen = self.rule_of(index).reopen;
        let case = self.watches[index as usize].case.as_mut();
        let only_counts = case.filter(|case| case.takes_back(at, reopen)).map(|case| case.counts(at));
        match only_counts {
            Some(true) => {}
            Some(false) => self.reopen(index, since, at),
            None if self.has_to_wait(index, since, at) => {}
            None => self.open(index, since, at),
        }
    }

    /// As it would be opened now, under its old name and with what people made of it.
    fn reopen(&mut self, index: u32, since: Millis, at: Millis) {
        let mut ticket = self.write_ticket(index, since, at);
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let standard = self.plan.standard(rule);
        let Some(case) = &mut watch.case else { return };
        let old = &case.ticket;
        (ticket.id, ticket.number) = (old.id.clone(), old.number.clone());
        (ticket.state, ticket.revision) = (old.state, old.revision);
        (ticket.occurrences, ticket.opened_at) = (old.occurrences, old.opened_at + case.life.closed_moved());
        ticket.external_id.clone_from(&old.external_id);
        case.ticket = ticket;
        case.back(at, rule, standard, &mut self.told);
    }

    /// A new ticket.
    pub(super) fn open(&mut self, index: u32, since: Millis, at: Millis) {
        let mut ticket = self.write_ticket(index, since, at);
        let watch = &mut self.watches[index as usize];
        self.number += 1;
        ticket.number = format!("{}-{:06}", self.site.gateway.to_uppercase(), self.number);
        self.last_id = at.max(self.last_id + 1);
        ticket.id = ticket_id(self.last_id, &self.plan.epoch, self.number);
        let mut case = Case::open(ticket.clone(), &mut self.told);
        if watch.rest.is_some() {
            case.lay_to_rest(at); // it waited in a storm
        }
        if !self.known {
            case.life.times_are_known(Times::default());
        }
        let old = watch.case.replace(Box::new(case));
        if let Some(old) = old {
            self.by_ticket.remove(&old.ticket.id);
            // It may have been closed since the last page, too.
            if self.touched.contains(&index) {
                let subject = self.subject_id(index);
                self.left.tickets.push(saved_ticket(&old, subject, at));
            }
        }
        self.by_ticket.insert(ticket.id, index);
    }

    /// The ticket as it would be opened now; without id and number.
    pub(super) fn write_ticket(&self, index: u32, since: Millis, at: Millis) -> Ticket {
        let watch = &self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let (device, point) = match watch.subject {
            Subject::Point(point) => (Some(self.site.point(point).device), Some(self.site.point(point))),
            Subject::Device(device) => (Some(device), None),
            Subject::Channel(_) => (None, None),
            Subject::Rule | Subject::Occasion(_) => (self.common_device(rule), None),
        };
        let device = device.map(|device| self.site.device(device));
        let told =
            if let Condition::Schedule(occasions) = &rule.condition { occasions.place.clone() } else { None };
        let place = told.or_else(|| device.map(|device| device.place.clone())).unwrap_or_default();
        let value = watch.judge.as_ref().and_then(|judge| judge.value()).or_else(|| watch.value.clone());
        let wire = match watch.subject {
            Subject::Channel(number) => self.channel_id(rule, number),
            _ => "".into(),
        };
        let facts = Facts {
            device: device.map_or(&*wire, |device| &device.id),
            point: point.map_or("", |p| &p.id),
            place: &place,
            value: value.as_ref(),
            unit: point.and_then(|p| p.unit.as_deref()).unwrap_or_default(),
            outlook: watch.judge.as_ref().and_then(|judge| judge.outlook()),
        };
        Ticket {
            id: "".into(),
            number: String::new(),
            rule: rule.id.clone(),
            device: device.map(|device| device.id.clone()),
            point: point.map(|p| p.id.clone()),
            title: title(rule, self.plan.locale, &facts),
            place,
            class: rule.class,
            level: rule.level,
            trade: rule.trade.clone(),
            state: State::Open,
            revision: 1,
            occurrences: 1,
            value,
            limit: rule.limit.clone(),
            unit: point.and_then(|p| p.unit.clone()),
            external_id: None,
            by: None,
            note: None,
            since,
            opened_at: at,
            cleared_at: None,
            resolved_at: None,
            closed_at: None,
            deadlines: deadlines(at, self.plan.standard(rule)),
            evidence: watch.evidence.iter().map(|(at, value)| Evidence(*at, value.clone())).collect(),
        }
    }

    /// The one device that a rule is about: that of all its points, or the one it names.
    fn common_device(&self, rule: &Rule) -> Option<DeviceId> {
        if let Condition::Schedule(occasions) = &rule.condition {
            return occasions.device;
        }
        let Over::Together(points) = &rule.over else { return None };
        let mut devices = points.iter().map(|point| self.site.point(*point).device);
        let first = devices.next()?;
        devices.all(|device| device == first).then_some(first)
    }

    /// What a person or the centre asks of a ticket. What it changed is in the next [`Engine::take`], also where it
    /// is refused.
    pub fn act(&mut self, action: &Action, now: Millis) -> Result<Ticket, Refusal> {
        let index =
            *self.by_ticket.get(&action.ticket).ok_or_else(|| Refusal::Unknown(action.ticket.clone()))?;
        self.bring_forward(index, now);
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let standard = self.plan.standard(rule);
        let case = watch.case.as_mut().filter(|case| case.ticket.id == action.ticket);
        let case = case.ok_or_else(|| Refusal::Unknown(action.ticket.clone()))?;
        let before = self.told.len();
        let resolved = case.ticket.state;
        let done = case.act(action, now, standard, &mut self.told);
        if action.verb == Verb::Resolve && case.ticket.state != resolved && done.is_ok() {
            self.resolved(index, now);
        }
        let Some(case) = &self.watches[index as usize].case else {
            return Err(Refusal::Unknown(action.ticket.clone()));
        };
        let ticket = case.ticket.clone();
        if self.told.len() > before {
            self.touched.insert(index);
        }
        self.arm(index);
        done.map(|()| ticket)
    }

    /// Likewise for a closed ticket that has left the desk, a newer one being there: its state stays, but it still takes
    /// what the centre calls it, which may be weeks late.
    pub fn act_on_filed(
        &mut self,
        filed: SavedTicket,
        action: &Action,
        now: Millis,
    ) -> Result<Ticket, Refusal> {
        let earlier = self.left.tickets.iter().rev().find(|saved| saved.ticket.id == action.ticket);
        let SavedTicket { ticket, subject, life } = earlier.cloned().unwrap_or(filed);
        if ticket.id != action.ticket || ticket.state != State::Closed {
            return Err(Refusal::Unknown(action.ticket.clone()));
        }
        let mut case = Case { ticket, life: serde_json::from_str(&life).unwrap_or_default() };
        let rule = self.plan.rules.iter().find(|rule| rule.id == case.ticket.rule);
        let standard = rule.map_or(self.plan.standards[2], |rule| self.plan.standard(rule));
        let before = self.told.len();
        let done = case.act(action, now, standard, &mut self.told);
        if self.told.len() > before {
            self.left.tickets.push(saved_ticket(&case, subject, now));
        }
        done.map(|()| case.ticket)
    }

    /// Wear is counted since the last resolve, and gone with it.
    fn resolved(&mut self, index: u32, at: Millis) {
        let watch = &mut self.watches[index as usize];
        if !watch.judge.as_mut().is_some_and(|judge| judge.resolved(at)) {
            return;
        }
        watch.phase = Phase::Idle;
        watch.heard = None;
        if let Some(case) = watch.case.as_mut().filter(|case| case.ticket.cleared_at.is_none()) {
            case.cleared(at, &mut self.told);
        }
        self.touched.insert(index);
    }
}

/// The time in a ticket's id; 0 where it has none.
pub(super) fn time_of(id: &str) -> Millis {
    let stamp = uuid::Uuid::parse_str(id).ok().and_then(|id| id.get_timestamp());
    stamp
        .map_or(0, |stamp| (stamp.to_unix().0 * 1000) as Millis + Millis::from(stamp.to_unix().1 / 1_000_000))
}

/// A UUIDv7 that is the same whenever the same ticket is opened again from the same journal.
fn ticket_id(at: Millis, epoch: &str, number: u64) -> Arc<str> {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, epoch, number).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    let mut random = [0; 10];
    random[..8].copy_from_slice(&half(0));
    random[8..].copy_from_slice(&half(1)[..2]);
    let id = uuid::Builder::from_unix_timestamp_millis(at.max(0) as u64, &random).into_uuid();
    id.to_string().into()
}
