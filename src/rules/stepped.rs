//! A stepped clock: the wall clock shows another time, and as much time has passed as before. Pure.
//!
//! Everything that is remembered moves along, so that what ran goes on running and ends when it would have ended: delays,
//! windows, counters, deadlines, what is left of a maintenance. Only the occasions of a schedule stay where they are in the
//! calendar.
//!
//! What a ticket tells of its times is put right by one `ticket.updated`: until the clock has been believed for the first
//! time those that were written by it since the start, afterwards all of them. So a ticket's times are always told by the
//! clock that the gateway goes by, and those that an earlier run wrote by a right clock stay as they are.

use serde::{Deserialize, Serialize};

use super::desk::{Case, Change, GATEWAY};
use super::engine::{Engine, Watch};
use super::episode::Phase;
use crate::clock::WRITTEN;
use crate::reading::Millis;
use crate::ticket::{State, Ticket};

/// The times that a ticket tells. Of one that was opened while the clock was not known: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    since: Option<Millis>,
    opened: Option<Millis>,
    cleared: Option<Millis>,
    resolved: Option<Millis>,
    closed: Option<Millis>,
    contact: Option<Millis>,
    on_site: Option<Millis>,
    follow_up: Option<Millis>,
}

impl Times {
    pub fn of(ticket: &Ticket) -> Self {
        Self {
            since: Some(ticket.since),
            opened: Some(ticket.opened_at),
            cleared: ticket.cleared_at,
            resolved: ticket.resolved_at,
            closed: ticket.closed_at,
            contact: ticket.deadlines.contact_by,
            on_site: ticket.deadlines.on_site_by,
            follow_up: ticket.deadlines.follow_up_by,
        }
    }
}

impl Case {
    /// `known`: the clock has been believed before. Times that are off by `correction` are put right and told.
    fn stepped(
        &mut self,
        by: Millis,
        correction: Millis,
        now: Millis,
        known: bool,
        changes: &mut Vec<Change>,
    ) {
        self.life.shift(by);
        if known && self.ticket.state == State::Closed {
            // Nobody waits for it any more; it is only known for how long it has been closed.
            return self.life.closed_moves(by);
        }
        let right = match known {
            true => Times::default(),
            false => self.life.known_times().unwrap_or(Times::of(&self.ticket)),
        };
        if correction != 0 && correct(&mut self.ticket, right, correction) {
            self.said_by(GATEWAY, Some("clock".to_owned()));
            self.change("ticket.updated", now, changes);
        }
    }
}

/// Moves all times but those that are right. Whether there were any.
fn correct(ticket: &mut Ticket, right: Times, by: Millis) -> bool {
    let now = Times::of(ticket);
    if now == right {
        return false;
    }
    let moved = |now: Option<Millis>, right: Option<Millis>| {
        if now == right { now } else { now.map(|at| at.saturating_add(by)) }
    };
    if now.since != right.since {
        ticket.evidence.iter_mut().for_each(|pair| pair.0 = pair.0.saturating_add(by));
    }
    ticket.since = moved(now.since, right.since).unwrap_or(ticket.since);
    ticket.opened_at = moved(now.opened, right.opened).unwrap_or(ticket.opened_at);
    ticket.cleared_at = moved(now.cleared, right.cleared);
    ticket.resolved_at = moved(now.resolved, right.resolved);
    ticket.closed_at = moved(now.closed, right.closed);
    ticket.deadlines.contact_by = moved(now.contact, right.contact);
    ticket.deadlines.on_site_by = moved(now.on_site, right.on_site);
    ticket.deadlines.follow_up_by = moved(now.follow_up, right.follow_up);
    Times::of(ticket) != now
}

impl Engine {
    /// The wall clock was stepped by so much and now shows `now`. What was due before has to have happened
    /// ([`Engine::advance`]). `correction`: by how much the times that tickets tell are off.
    pub fn stepped(&mut self, by: Millis, correction: Millis, now: Millis) {
        self.timers.clear();
        self.maintenance_stepped(by, now);
        for index in 0..self.watches.len() as u32 {
            let rest = self.watches[index as usize].rest.and_then(|_| self.rest_of(index));
            let watch = &mut self.watches[index as usize];
            watch.shift(by);
            watch.rest = rest;
            watch.armed = None;
            if let Some(case) = &mut watch.case {
                case.stepped(by, correction, now, self.known, &mut self.told);
            }
            if watch.case.is_some() || watch.phase != Phase::Idle || watch.judge.is_some() {
                self.touched.insert(index);
            }
            self.arm(index);
        }
        self.storm_stepped(now - by, now);
        self.look_back(now, by);
    }

    /// What an earlier run wrote by a clock that is not the present one: the clock has gone back, or was not set then and is
    /// now. The time between is not known, and is taken for none.
    pub(super) fn moved_since(last_trace: Millis, now: Millis) -> Millis {
        let back = now < last_trace;
        let set_since = last_trace > 0 && last_trace < WRITTEN && now >= WRITTEN;
        if back || set_since { now - last_trace } else { 0 }
    }

    /// A ticket of an earlier run: what it tells is known, but for what that run wrote by a clock that it did not know.
    pub(super) fn take_up_times(&mut self, case: &mut Case, by: Millis, now: Millis) {
        case.stepped(by, by, now, false, &mut self.told);
        case.life.times_are_known(Times::of(&case.ticket));
    }

    /// The clock is believed for the first time: what was told by it, and put right with it, is known.
    pub(super) fn times_are_known(&mut self) {
        for (index, watch) in (0..).zip(&mut self.watches) {
            let Some(case) = &mut watch.case else { continue };
            let told = Times::of(&case.ticket);
            if case.life.forget_known_times().is_some_and(|right| right != told) {
                self.touched.insert(index);
            }
        }
    }
}

impl Watch {
    fn shift(&mut self, by: Millis) {
        self.phase.shift(by);
        if let Some(judge) = &mut self.judge {
            judge.shift(by);
        }
        self.at += by;
        self.evidence.iter_mut().for_each(|(at, _)| *at += by);
    }
}
