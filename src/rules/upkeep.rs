//! Tickets of `schedule`: the rule itself is a watch that opens them, and each occasion is a watch of its own, which
//! nothing but people's words and time moves on.
//!
//! A rule has at most [`UNCLOSED_MAX`] unclosed tickets: where nobody does the work, one more says nothing new, and the
//! occasions are passed over until some are closed. Of the closed ones as many are remembered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Condition;
use super::engine::{Engine, Subject, Watch};
use super::episode::Phase;
use super::occasions::Occasion;
use super::saved::{Memory, SavedEpisode, saved_ticket};
use crate::reading::Millis;
use crate::ticket::State;

pub const UNCLOSED_MAX: usize = 64;

impl Engine {
    /// Before anything is taken up: each occasion that has a ticket, or waits for one in a storm, has its watch again.
    pub(super) fn place_occasions(&mut self, memory: &Memory, now: Millis) {
        for rule in 0..self.plan.rules.len() as u32 {
            if !self.is_schedule(rule) {
                continue;
            }
            let id = &self.plan.rules[rule as usize].id;
            let of = |closed: bool| {
                let own = memory.tickets.iter().filter(move |saved| {
                    saved.ticket.rule == *id && (saved.ticket.state == State::Closed) == closed
                });
                own.filter_map(|saved| crate::time::parse(&saved.subject).ok())
            };
            let mut closed: Vec<Millis> = of(true).collect();
            closed.sort_unstable();
            closed.drain(..closed.len().saturating_sub(UNCLOSED_MAX));
            let running = memory.episodes.iter().filter(|saved| saved.rule == *id && saved.state.is_some());
            let running = running.filter_map(|saved| crate::time::parse(&saved.subject).ok());
            let occasions: BTreeSet<Millis> = of(false).chain(closed).chain(running).collect();
            for occasion in occasions {
                self.seat(rule, occasion, now);
            }
        }
    }

    pub(super) fn is_schedule(&self, rule: u32) -> bool {
        matches!(self.plan.rules[rule as usize].condition, Condition::Schedule(_))
    }

    /// What passed while nobody looked is opened now. `jumped`: by how much the clock was stepped, 0 after a start.
    pub(super) fn look_back(&mut self, now: Millis, jumped: Millis) {
        for index in 0..self.watches.len() as u32 {
            let watch = &mut self.watches[index as usize];
            match watch.subject {
                Subject::Occasion(_) => {
                    // Nobody reads anything here: the time after the repair is well by itself.
                    if let Some(case) = &mut watch.case {
                        case.read(true, now);
                    }
                }
                Subject::Rule => {
                    let before = watch.kept(now);
                    if let Some(judge) = &mut watch.judge {
                        judge.clock_shows(now, jumped, self.synced);
                    }
                    if watch.kept(now) != before {
                        self.touched.insert(index);
                    }
                    // In maintenance they wait for its end.
                    if self.watches[index as usize].rest.is_none() {
                        self.open_missed(index, now);
                    }
                }
                Subject::Point(_) | Subject::Device(_) | Subject::Channel(_) => continue,
            }
            self.arm(index);
        }
    }

    /// Of the occasions that passed unseen the newest are opened.
    pub(super) fn open_missed(&mut self, index: u32, now: Millis) {
        let watch = &mut self.watches[index as usize];
        let rule = watch.rule;
        let missed = watch.judge.as_mut().map(|judge| judge.missed(now)).unwrap_or_default();
        for occasion in missed {
            self.touched.insert(index);
            self.occasion(rule, occasion, now);
        }
    }

    /// One ticket an occasion, however often it comes up.
    pub(super) fn occasion(&mut self, rule: u32, occasion: Millis, at: Millis) {
        let (mut unclosed, mut there) = (0, false);
        for other in 0..self.watches.len() as u32 {
            let watch = &self.watches[other as usize];
            if watch.rule == rule && matches!(watch.subject, Subject::Occasion(_)) {
                there |= watch.subject == Subject::Occasion(occasion);
                // What time closes until then is closed, however much of it passes at once.
                self.bring_forward(other, at);
                unclosed += usize::from(self.watches[other as usize].is_unclosed());
            }
        }
        if there || unclosed >= UNCLOSED_MAX {
            return;
        }
        let index = self.seat(rule, occasion, at);
        self.watches[index as usize].phase = Phase::Active;
        self.opened(index, occasion, at);
        self.touched.insert(index);
        self.arm(index);
    }

    /// A watch for an occasion: the place of the oldest closed one, where there are enough of them.
    fn seat(&mut self, rule: u32, occasion: Millis, now: Millis) -> u32 {
        let closed = |watch: &Watch| match watch.subject {
            Subject::Occasion(occasion) if watch.rule == rule && watch.is_closed() => Some(occasion),
            _ => None,
        };
        let mut found = 0;
        let mut oldest: Option<(Millis, usize)> = None;
        for (index, watch) in self.watches.iter().enumerate() {
            if let Some(on) = closed(watch) {
                found += 1;
                oldest = oldest.min(Some((on, index))).or(Some((on, index)));
            }
        }
        let free = oldest.filter(|_| found >= UNCLOSED_MAX).map(|(_, index)| index);
        let index = free.map_or_else(|| self.place(rule, Subject::Occasion(occasion), now), |i| i as u32);
        self.leave_seat(index, now);
        self.disarm(index);
        let watch = &mut self.watches[index as usize];
        watch.subject = Subject::Occasion(occasion);
        watch.judge = Some(Box::new(Occasion));
        (watch.phase, watch.at) = (Phase::Idle, now);
        index
    }

    /// What is still to be written of the closed ticket that was here.
    fn leave_seat(&mut self, index: u32, now: Millis) {
        let subject: Arc<str> = self.subject_id(index);
        let Some(case) = self.watches[index as usize].case.take() else { return };
        self.by_ticket.remove(&case.ticket.id);
        if self.touched.remove(&index) {
            let rule = case.ticket.rule.clone();
            self.left.episodes.push(SavedEpisode { rule, subject: subject.clone(), state: None });
            self.left.tickets.push(saved_ticket(&case, subject, now));
        }
    }
}

impl Watch {
    fn is_closed(&self) -> bool {
        self.case.as_ref().is_some_and(|case| case.ticket.state == State::Closed)
    }

    /// Or it waits for its ticket.
    fn is_unclosed(&self) -> bool {
        let unclosed = self.case.as_ref().is_some_and(|case| case.ticket.state != State::Closed);
        unclosed || self.waiting.is_some()
    }
}
