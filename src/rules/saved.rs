//! What the journal has to know of the rules: what is written, and how a start takes it up. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::desk::{Case, Change, Life};
use super::engine::{Engine, Watch};
use super::episode::{Delays, Phase};
use super::opening::time_of;
use super::stepped::Times;
use super::storm::Waiting;
use crate::maintenance::{self, Maintenance};
use crate::reading::{Millis, Value};
use crate::ticket::{State, Ticket};

/// What the journal remembers of an earlier run.
#[derive(Debug, Default)]
pub struct Memory {
    pub tickets: Vec<SavedTicket>,
    pub episodes: Vec<SavedEpisode>,
    pub maintenance: Vec<Maintenance>,
    /// The last ticket number given.
    pub number: u64,
    /// The last instant at which the daemon is known to have run; delays ran until then.
    pub last_trace: Millis,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SavedTicket {
    pub ticket: Ticket,
    /// The id of the point or device.
    pub subject: Arc<str>,
    pub life: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SavedEpisode {
    pub rule: Arc<str>,
    pub subject: Arc<str>,
    /// `None`: nothing is under way.
    pub state: Option<String>,
}

/// What has to be written, all of it or nothing.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    pub told: Vec<Change>,
    pub tickets: Vec<SavedTicket>,
    pub episodes: Vec<SavedEpisode>,
    pub maintenance: Vec<maintenance::Change>,
    /// The last ticket number given.
    pub number: u64,
}

/// An episode as it is saved. Earlier versions saved the phase alone.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judge: Option<Json>,
    /// Until when the judge knows; what came between this and a kill, nobody saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Millis>,
    /// Of a delay that runs: the value it would open with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
}

impl Engine {
    pub(super) fn remember(&mut self, mut memory: Memory, now: Millis) {
        let moved = Self::moved_since(memory.last_trace, now);
        let keys: HashMap<(Arc<str>, Arc<str>), u32> = (0..self.watches.len() as u32)
            .map(|index| ((self.rule_of(index).id.clone(), self.subject_id(index)), index))
            .collect();
        for saved in memory.episodes {
            let kept = saved.state.as_deref().and_then(Kept::read);
            match (keys.get(&(saved.rule.clone(), saved.subject.clone())), kept) {
                (Some(&index), Some(mut kept)) => {
                    if memory.last_trace != now {
                        kept.phase.pause(memory.last_trace);
                        kept.phase.shift(moved);
                    }
                    let watch = &mut self.watches[index as usize];
                    (watch.phase, watch.value) = (kept.phase, kept.value);
                    watch.waiting = kept.waiting;
                    watch.waiting.iter_mut().for_each(|waiting| waiting.shift(moved));
                    if let (Some(judge), Some(saved)) = (&mut watch.judge, &kept.judge) {
                        judge.take_up(saved);
                        judge.shift(moved);
                        judge.lost(kept.at.unwrap_or(memory.last_trace) + moved, now);
                    }
                    // Saved as it now stands, or the next start would count the time that was switched off.
                    self.touched.insert(index);
                }
                _ => self.left.episodes.push(SavedEpisode { state: None, ..saved }),
            }
        }
        self.last_id = memory.tickets.iter().map(|saved| time_of(&saved.ticket.id)).max().unwrap_or(0);
        // Ids are in order of opening: of several tickets of one subject the last one stays on the desk.
        memory.tickets.sort_by(|a, b| a.ticket.id.cmp(&b.ticket.id));
        for SavedTicket { ticket, subject, life } in memory.tickets {
            let mut life: Life = serde_json::from_str(&life).unwrap_or_default();
            life.wake(now);
            let mut case = Case { ticket, life };
            let told = self.told.len();
            self.take_up_times(&mut case, moved, now);
            let corrected = self.told.len() > told;
            match keys.get(&(case.ticket.rule.clone(), subject.clone())) {
                Some(&index) => {
                    if case.ticket.state != State::Closed {
                        let rule = &self.plan.rules[self.watches[index as usize].rule as usize];
                        case.reworded(rule, now, &mut self.told);
                        self.touched.insert(index);
                    }
                    if corrected {
                        self.touched.insert(index);
                    }
                    self.by_ticket.insert(case.ticket.id.clone(), index);
                    self.watches[index as usize].case = Some(Box::new(case));
                }
                None if case.ticket.state != State::Closed => {
                    case.dismiss(now, &mut self.told);
                    self.left.tickets.push(saved_ticket(&case, subject, now));
                }
                None => {}
            }
        }
    }

    /// What has to be written since the last call.
    pub fn take(&mut self, now: Millis) -> Outcome {
        let mut outcome = std::mem::take(&mut self.left);
        outcome.told = std::mem::take(&mut self.told);
        outcome.maintenance = std::mem::take(&mut self.maintained);
        outcome.number = self.number;
        for index in std::mem::take(&mut self.touched) {
            let watch = &self.watches[index as usize];
            let subject = self.subject_id(index);
            let state = watch.kept(now);
            let rule = self.rule_of(index).id.clone();
            outcome.episodes.push(SavedEpisode { rule, subject: subject.clone(), state });
            if let Some(case) = &watch.case {
                outcome.tickets.push(saved_ticket(case, subject, now));
            }
        }
        outcome
    }

    /// Before the end, and now and then: every clock that runs is saved as it stands.
    pub fn rest(&mut self) {
        for (index, watch) in self.watches.iter_mut().enumerate() {
            if let Some(judge) = &mut watch.judge {
                judge.rest();
            }
            let runs = watch.case.as_ref().is_some_and(|case| case.ticket.state != State::Closed);
            let judged = watch.judge.as_ref().is_some_and(|judge| judge.save().is_some());
            if runs || judged || watch.phase.ends(Delays { on: 0, off: 0 }).is_some() {
                self.touched.insert(index as u32);
            }
        }
    }
}

impl Kept {
    fn read(state: &str) -> Option<Self> {
        let alone = || {
            let phase = serde_json::from_str(state).ok()?;
            Some(Self { phase, judge: None, at: None, value: None, waiting: None })
        };
        serde_json::from_str(state).ok().or_else(alone)
    }
}

impl Watch {
    /// What a restart has to know of the episode; `None`: nothing.
    pub(super) fn kept(&self, now: Millis) -> Option<String> {
        let judge = self.judge.as_ref().and_then(|judge| judge.save());
        let at = judge.is_some().then_some(now);
        let value = self.value.clone().filter(|_| matches!(self.phase, Phase::Pending { .. }));
        let kept = Kept { phase: self.phase, judge, at, value, waiting: self.waiting.clone() };
        (kept.phase != Phase::Idle || kept.judge.is_some())
            .then(|| serde_json::to_string(&kept).ok())
            .flatten()
    }
}

pub(super) fn saved_ticket(case: &Case, subject: Arc<str>, now: Millis) -> SavedTicket {
    let mut life = case.life.at_rest(now);
    if life.known_times() == Some(Times::of(&case.ticket)) {
        life.forget_known_times();
    }
    let life = serde_json::to_string(&life).unwrap_or_default();
    SavedTicket { ticket: case.ticket.clone(), subject, life }
}
