//! The life of one ticket: what the condition, the clock and people do to it (contract, section 4). Pure.
//!
//! ```text
//! open → acknowledged → in_progress → resolved → closed      people move it; beside it the condition comes and goes
//!   ▲          condition back, or not gone within `settle`  │      │
//!   └───────────────────────────────────────────────────────┴──────┘  (closed: within `reopen`)
//! ```

use serde::{Deserialize, Serialize};

use super::Rule;
use super::chatter::Comings;
use super::episode::Clock;
use super::stepped::Times;
use crate::reading::Millis;
use crate::ticket::{Action, CENTRE, Deadlines, Refusal, Standard, State, Ticket, Verb};

/// One change of a ticket: what it is called, when it happened, and the ticket as it then was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// `ticket.opened` …
    pub kind: &'static str,
    pub at: Millis,
    pub ticket: Ticket,
}

/// Who closes, clears and reopens when no person does.
pub const GATEWAY: &str = "gateway";

/// A ticket with what only the desk needs to know of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    pub ticket: Ticket,
    pub life: Life,
}

/// Kept beside the ticket in the journal, told to nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The revision of the last reopening (or opening): a word on an older one is about another episode.
    episode: u64,
    /// The centre spoke of an older episode and was told again; once is enough.
    retold: bool,
    /// Deadlines that passed and were told.
    escalated: Escalated,
    /// How long readings have been well since the condition went.
    well: Option<Clock>,
    /// In maintenance its condition cannot be seen to go.
    #[serde(skip)]
    rests: bool,
    /// The end of the last maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rested: Option<Millis>,
    #[serde(default)]
    comings: Comings,
    /// While the clock is not known: which of the ticket's times are, since a clock that was known told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<Times>,
    /// By how much the clock was stepped since it was closed.
    #[serde(default)]
    closed_moved: Millis,
}

impl Life {
    /// As it is saved: what has run is counted.
    pub fn at_rest(&self, now: Millis) -> Self {
        let mut life = self.clone();
        if let Some(well) = &mut life.well {
            well.rest(now);
        }
        life.comings.rest(now);
        life
    }

    /// The wall clock was stepped; as much time has passed as before.
    pub(super) fn shift(&mut self, by: Millis) {
        if let Some(well) = &mut self.well {
            well.shift(by);
        }
        self.rested = self.rested.map(|at| at + by);
        self.comings.shift(by);
    }

    /// By how much the times of a closed ticket are told too early.
    pub(super) fn closed_moved(&self) -> Millis {
        self.closed_moved
    }

    pub(super) fn closed_moves(&mut self, by: Millis) {
        self.closed_moved += by;
    }

    /// `None`: all are.
    pub(super) fn known_times(&self) -> Option<Times> {
        self.known
    }

    /// Whatever is told from now on is not, until [`Life::forget_known_times`].
    pub(super) fn times_are_known(&mut self, times: Times) {
        self.known.get_or_insert(times);
    }

    pub(super) fn forget_known_times(&mut self) -> Option<Times> {
        self.known.take()
    }

    /// What ran stands, unless it was saved in this very instant.
    pub fn wake(&mut self, now: Millis) {
        if let Some(well) = &mut self.well {
            well.wake(now);
        }
        self.comings.wake(now);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Escalated {
    contact: bool,
    on_site: bool,
    follow_up: bool,
}

/// A deadline, and how to remember that it was told.
type Step = (Millis, fn(&mut Escalated));

impl Case {
    /// A ticket that has just been opened.
    pub fn open(ticket: Ticket, changes: &mut Vec<Change>) -> Self {
        let life = Life { episode: ticket.revision, ..Life::default() };
        changes.push(Change { kind: "ticket.opened", at: ticket.opened_at, ticket: ticket.clone() });
        Self { ticket, life }
    }

    /// One more revision, one more event.
    pub(super) fn change(&mut self, kind: &'static str, at: Millis, changes: &mut Vec<Change>) {
        self.ticket.revision += 1;
        let counted = self.life.comings.take_counted();
        self.ticket.occurrences = self.ticket.occurrences.saturating_add(counted);
        changes.push(Change { kind, at, ticket: self.ticket.clone() });
    }

    pub(super) fn said_by(&mut self, by: &str, note: Option<String>) {
        self.ticket.by = Some(by.to_owned());
        self.ticket.note = note;
    }

    fn said_by_nobody(&mut self) {
        self.ticket.by = None;
        self.ticket.note = None;
    }

    /// Whether a condition that is back at `at` belongs to this ticket; else it needs a new one.
    pub fn takes_back(&self, at: Millis, reopen: Millis) -> bool {
        self.ticket.closed_at.is_none_or(|closed| at - closed - self.life.closed_moved <= reopen)
    }

    /// The condition is back while it chatters: whether that is only counted.
    pub fn counts(&mut self, at: Millis) -> bool {
        self.life.comings.counts(at)
    }

    /// The condition is back.
    pub fn back(&mut self, at: Millis, rule: &Rule, standard: Standard, changes: &mut Vec<Change>) {
        self.ticket.occurrences = self.ticket.occurrences.saturating_add(1);
        self.life.comings.back(at, rule.chatter);
        self.reopen(at, standard, changes);
    }

    fn reopen(&mut self, at: Millis, standard: Standard, changes: &mut Vec<Change>) {
        let ticket = &mut self.ticket;
        if matches!(ticket.state, State::Resolved | State::Closed) {
            ticket.state = State::Open;
        }
        (ticket.cleared_at, ticket.resolved_at, ticket.closed_at) = (None, None, None);
        ticket.deadlines = deadlines(at, standard);
        self.said_by_nobody();
        self.change("ticket.reopened", at, changes);
        let (comings, known) = (std::mem::take(&mut self.life.comings), self.life.known);
        self.life = Life { episode: self.ticket.revision, comings, known, ..Life::default() };
    }

    /// The condition is gone; from now on the readings have to stay well. While it chatters that is told to nobody.
    pub fn cleared(&mut self, at: Millis, changes: &mut Vec<Change>) {
        if self.life.comings.went(at) {
            return;
        }
        self.ticket.cleared_at = Some(at);
        self.life.well = Some(if self.life.rests { Clock::default() } else { Clock::started(at) });
        self.said_by_nobody();
        self.change("ticket.cleared", at, changes);
    }

    /// Maintenance: no readings verify a repair, and none are missed.
    pub fn lay_to_rest(&mut self, at: Millis) {
        self.read(false, at);
        self.life.rests = true;
    }

    pub fn end_rest(&mut self, at: Millis) {
        (self.life.rests, self.life.rested) = (false, Some(at));
    }

    /// A reading was good and well, or it was not: only well-read time verifies a repair.
    pub fn read(&mut self, good: bool, at: Millis) {
        if let Some(well) = &mut self.life.well {
            if good { well.go_on(at) } else { well.stop(at) }
        }
        self.life.comings.read(good, at);
    }

    /// Nobody sees the readings from `at` on.
    pub fn lost_sight(&mut self, at: Millis) {
        self.read(false, at);
        self.life.comings.stop(at);
    }

    /// The next instant at which time alone changes this ticket.
    pub fn due(&self, rule: &Rule, synced: bool) -> Option<Millis> {
        let steps = self.steps().into_iter().filter(|_| synced).flatten().map(|(at, _)| at).min();
        let calms = self.life.comings.calms(rule.chatter);
        [calms, self.settles(rule), self.verified(rule), steps].into_iter().flatten().min()
    }

    /// When a resolved ticket whose condition has not gone is taken up again.
    fn settles(&self, rule: &Rule) -> Option<Millis> {
        let unsettled = self.ticket.state == State::Resolved && self.ticket.cleared_at.is_none();
        let seen = |at: Millis| self.life.rested.map_or(at, |rested| rested.max(at));
        self.ticket.resolved_at.filter(|_| unsettled && !self.life.rests).map(|at| seen(at) + rule.settle)
    }

    /// When the readings will have been well for long enough, and nobody has it in hand any more.
    fn verified(&self, rule: &Rule) -> Option<Millis> {
        let free = matches!(self.ticket.state, State::Open | State::Resolved);
        self.life
            .well
            .filter(|_| free)
            .and_then(|well| well.ends(rule.verify))
            .map(|at| self.ticket.resolved_at.map_or(at, |resolved| at.max(resolved)))
    }

    /// The deadlines whose step has not been taken and which have not been told yet.
    fn steps(&self) -> [Option<Step>; 3] {
        let (t, told) = (&self.ticket, &self.life.escalated);
        let by = &t.deadlines;
        let step = |missing: bool, told: bool, by: Option<Millis>, tell: fn(&mut Escalated)| {
            by.filter(|_| missing && !told).map(|at| (at, tell))
        };
        let contacted = t.state != State::Open;
        let on_site = !matches!(t.state, State::Open | State::Acknowledged);
        let closed = t.state == State::Closed;
        [
            step(!contacted, told.contact, by.contact_by, |e| e.contact = true),
            step(!on_site, told.on_site, by.on_site_by, |e| e.on_site = true),
            step(!closed, told.follow_up, by.follow_up_by, |e| e.follow_up = true),
        ]
    }

    /// Lets happen what time alone has brought by `now`, in the order of its instants.
    pub fn advance(
        &mut self,
        now: Millis,
        rule: &Rule,
        standard: Standard,
        synced: bool,
        changes: &mut Vec<Change>,
    ) {
        while let Some(at) = self.due(rule, synced).filter(|at| *at <= now) {
            if self.life.comings.calms(rule.chatter) == Some(at) {
                if self.life.comings.calm() {
                    self.cleared(at, changes);
                }
                continue;
            }
            // What is closed at the very instant of a deadline has met it.
            if self.verified(rule) == Some(at) {
                self.close_verified(at, changes);
            } else if let Some((_, tell)) =
                self.steps().into_iter().flatten().find(|(by, _)| synced && *by == at)
            {
                tell(&mut self.life.escalated);
                self.said_by_nobody();
                self.change("ticket.escalated", at, changes);
            } else {
                self.reopen(at, standard, changes);
            }
        }
    }

    fn close_verified(&mut self, at: Millis, changes: &mut Vec<Change>) {
        self.life.well = None;
        self.said_by(GATEWAY, None);
        if self.ticket.state == State::Resolved {
            self.change("ticket.verified", at, changes);
        }
        self.close(at, changes);
    }

    fn close(&mut self, at: Millis, changes: &mut Vec<Change>) {
        self.ticket.state = State::Closed;
        self.ticket.closed_at = Some(at);
        self.life.well = None;
        self.life.comings.calm();
        self.change("ticket.closed", at, changes);
    }

    /// What a ticket was about has left the configuration.
    pub fn dismiss(&mut self, at: Millis, changes: &mut Vec<Change>) {
        self.said_by(GATEWAY, Some("configuration".to_owned()));
        self.close(at, changes);
    }

    /// The rule's own words have changed while the ticket is unclosed.
    pub fn reworded(&mut self, rule: &Rule, at: Millis, changes: &mut Vec<Change>) {
        let same = self.ticket.limit == rule.limit
            && self.ticket.level == rule.level
            && self.ticket.class == rule.class
            && self.ticket.trade == rule.trade;
        if same {
            return;
        }
        self.ticket.limit = rule.limit.clone();
        (self.ticket.level, self.ticket.class) = (rule.level, rule.class);
        self.ticket.trade = rule.trade.clone();
        self.said_by(GATEWAY, Some("configuration".to_owned()));
        self.change("ticket.updated", at, changes);
    }

    /// What a person or the centre asks. Already that far or further: nothing happens, and that is fine.
    pub fn act(
        &mut self,
        action: &Action,
        at: Millis,
        standard: Standard,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        if let Some(spoken) = action.revision.filter(|spoken| *spoken < self.life.episode) {
            return Err(self.stale(spoken, at, changes));
        }
        if action.verb == Verb::Close
            && self.ticket.state != State::Closed
            && self.ticket.cleared_at.is_none()
        {
            return Err(Refusal::ConditionHolds(self.ticket.number.clone()));
        }
        self.tell(action, at, changes);
        let state = self.ticket.state;
        match action.verb {
            Verb::Acknowledge if state == State::Open => {
                self.step(State::Acknowledged, "ticket.acknowledged", action, at, changes);
            }
            Verb::Start if matches!(state, State::Open | State::Acknowledged) => {
                self.step(State::InProgress, "ticket.started", action, at, changes);
            }
            Verb::Resolve if !matches!(state, State::Resolved | State::Closed) => {
                self.ticket.resolved_at = Some(at);
                self.ticket.deadlines.follow_up_by = Some(at + standard.follow_up);
                self.step(State::Resolved, "ticket.resolved", action, at, changes);
            }
            Verb::Close if state != State::Closed => {
                self.said_by(&action.by, action.note.clone());
                self.close(at, changes);
            }
            _ => {}
        }
        Ok(())
    }

    fn step(
        &mut self,
        state: State,
        kind: &'static str,
        action: &Action,
        at: Millis,
        changes: &mut Vec<Change>,
    ) {
        self.ticket.state = state;
        self.said_by(&action.by, action.note.clone());
        self.change(kind, at, changes);
    }

    /// A new external id, or a note that stands alone. An id that is set is changed by people only: two centres with
    /// an id each would overwrite each other for ever.
    fn tell(&mut self, action: &Action, at: Millis, changes: &mut Vec<Change>) {
        let free = self.ticket.external_id.is_none() || action.by != CENTRE;
        let new_id = free && action.external_id.is_some() && action.external_id != self.ticket.external_id;
        let new_note = action.verb == Verb::Tell && action.note.is_some() && action.note != self.ticket.note;
        if !new_id && !new_note {
            return;
        }
        if new_id {
            self.ticket.external_id.clone_from(&action.external_id);
        }
        self.said_by(&action.by, action.note.clone());
        self.change("ticket.updated", at, changes);
    }

    /// The speaker has not heard of the last reopening: the ticket is told again, once.
    fn stale(&mut self, spoken: u64, at: Millis, changes: &mut Vec<Change>) -> Refusal {
        let reopened = self.life.episode;
        if !self.life.retold {
            self.life.retold = true;
            self.said_by_nobody();
            self.change("ticket.updated", at, changes);
        }
        Refusal::Stale { number: self.ticket.number.clone(), spoken, reopened }
    }
}

/// The service standard from an opening or reopening on.
pub fn deadlines(at: Millis, standard: Standard) -> Deadlines {
    Deadlines {
        contact_by: Some(at + standard.contact),
        on_site_by: Some(at + standard.on_site),
        follow_up_by: None,
    }
}
