//! The storm: no more new tickets in any minute than people can take in. What is too much waits, oldest first within its
//! level, and is summed up in one ticket of the rule `storm`. Pure.
//!
//! There are two budgets of one size, one for level 1 and one for the others, so that nothing urgent waits for the rest.
//! A ticket that is reopened never waits. While any waits, the engine goes through time instant by instant over all its
//! watches: who comes first is then decided by time, not by the order in which devices happened to report.
//!
//! Bounds: as many wait as there are watches; a budget remembers as many instants as it has room.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::condition::Verdict;
use super::engine::Engine;
use super::episode::Phase;
use super::saved::SavedTicket;
use super::{Condition, STORM};
use crate::reading::{Millis, Quality, Value};

/// What a budget is counted over.
const MINUTE: Millis = 60_000;

/// A ticket that waits for its turn. Saved with its episode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    since: Millis,
    at: Millis,
    /// The value it would have been opened with.
    value: Option<Value>,
    /// The how manieth of its storm it is.
    nth: i64,
}

impl Waiting {
    /// The wall clock was stepped; as much time has passed as before.
    pub fn shift(&mut self, by: Millis) {
        (self.since, self.at) = (self.since + by, self.at + by);
    }
}

#[derive(Debug, Default)]
pub struct Storm {
    /// The watch of the rule `storm`; `None`: switched off.
    watch: Option<u32>,
    budgets: [Budget; 2],
    /// Held back since the storm began.
    total: i64,
}

#[derive(Debug, Default)]
struct Budget {
    /// New tickets a minute.
    most: usize,
    /// When the latest were opened.
    opened: VecDeque<Millis>,
    /// Level, when it would have been opened, watch.
    waiting: BTreeSet<(u8, Millis, u32)>,
    /// None of them is opened in the past of a start, or of a clock that was stepped.
    not_before: Millis,
}

impl Budget {
    /// When the next one may be opened; `None`: at any time.
    fn room(&self) -> Option<Millis> {
        let nth = self.opened.len().checked_sub(self.most)?;
        self.opened.get(nth).map(|at| at + MINUTE)
    }

    fn note(&mut self, at: Millis) {
        if self.opened.len() >= self.most {
            self.opened.pop_front();
        }
        let at = self.opened.back().map_or(at, |last| at.max(*last));
        self.opened.push_back(at);
    }

    fn due(&self) -> Option<Millis> {
        let (_, at, _) = self.waiting.first()?;
        Some(self.room().map_or(*at, |room| room.max(*at)).max(self.not_before))
    }
}

impl Storm {
    /// Whether any ticket waits.
    pub fn is_on(&self) -> bool {
        self.budgets.iter().any(|budget| !budget.waiting.is_empty())
    }

    /// When the next of those that wait may be opened.
    pub fn due(&self) -> Option<Millis> {
        self.budgets.iter().filter_map(Budget::due).min()
    }

    fn of(&mut self, level: u8) -> &mut Budget {
        &mut self.budgets[usize::from(level > 1)]
    }
}

/// The openings of the last minute, and their levels, in order.
pub fn recent(tickets: &[SavedTicket], now: Millis) -> Vec<(Millis, u8)> {
    let tickets = tickets.iter().map(|saved| &saved.ticket);
    let recent = tickets.filter(|t| (now - MINUTE..=now).contains(&t.opened_at) && *t.rule != *STORM);
    let mut recent: Vec<(Millis, u8)> = recent.map(|ticket| (ticket.opened_at, ticket.level)).collect();
    recent.sort_unstable();
    recent
}

impl Engine {
    /// What an earlier run held back, and how much room it left (`recent`).
    pub(super) fn take_up_storm(&mut self, recent: Vec<(Millis, u8)>, now: Millis) {
        let storm = (0..).zip(&self.watches).find_map(|(index, watch)| {
            match self.plan.rules[watch.rule as usize].condition {
                Condition::Storm { a_minute } => Some((index, a_minute as usize)),
                _ => None,
            }
        });
        self.storm.watch = storm.map(|(index, _)| index);
        for budget in &mut self.storm.budgets {
            (budget.most, budget.not_before) = (storm.map_or(usize::MAX, |(_, most)| most), now);
        }
        for (at, level) in recent.into_iter().filter(|_| storm.is_some()) {
            self.storm.of(level).note(at);
        }
        for index in 0..self.watches.len() as u32 {
            let level = self.rule_of(index).level;
            let watch = &mut self.watches[index as usize];
            if !matches!(watch.phase, Phase::Active | Phase::Clearing { .. }) {
                watch.waiting = None;
            }
            let Some(waiting) = &mut watch.waiting else { continue };
            waiting.at = waiting.at.min(now);
            let (at, nth) = (waiting.at, waiting.nth);
            self.storm.of(level).waiting.insert((level, at, index));
            self.storm.total = self.storm.total.max(nth);
        }
        self.storm_goes_on(now);
    }

    /// After time that nobody saw.
    pub(super) fn storm_goes_on(&mut self, now: Millis) {
        let Some(index) = self.storm.watch else { return };
        let watch = &self.watches[index as usize];
        if self.storm.is_on() || watch.phase != Phase::Idle || watch.case.is_some() {
            self.storm_says(now);
        }
    }

    /// The clock was stepped.
    pub(super) fn storm_stepped(&mut self, until: Millis, now: Millis) {
        let moved = |at: Millis| (at + now - until).min(now);
        for budget in &mut self.storm.budgets {
            budget.not_before = now;
            budget.opened.iter_mut().for_each(|at| *at = moved(*at));
            let waiting = std::mem::take(&mut budget.waiting).into_iter();
            budget.waiting = waiting.map(|(level, at, index)| (level, moved(at), index)).collect();
            for &(_, at, index) in &budget.waiting {
                if let Some(waiting) = &mut self.watches[index as usize].waiting {
                    (waiting.at, waiting.since) = (at, waiting.since.min(at));
                }
            }
        }
        self.storm_goes_on(now);
    }

    /// A new ticket: whether it has to wait.
    pub(super) fn has_to_wait(&mut self, index: u32, since: Millis, at: Millis) -> bool {
        if self.storm.watch.is_none_or(|watch| watch == index) {
            return false;
        }
        let level = self.rule_of(index).level;
        let budget = self.storm.of(level);
        if budget.waiting.is_empty() && budget.room().is_none_or(|room| room <= at) {
            budget.note(at);
            return false;
        }
        budget.waiting.insert((level, at, index));
        self.storm.total += 1;
        let nth = self.storm.total;
        let watch = &mut self.watches[index as usize];
        watch.waiting = Some(Waiting { since, at, value: watch.value.clone(), nth });
        self.touched.insert(index);
        self.storm_says(at);
        true
    }

    /// Its condition is gone while its ticket waited: nobody has to hear of it, it is only counted.
    pub(super) fn waited_in_vain(&mut self, index: u32, at: Millis) -> bool {
        let level = self.rule_of(index).level;
        let Some(waiting) = self.watches[index as usize].waiting.take() else {
            return false;
        };
        self.storm.of(level).waiting.remove(&(level, waiting.at, index));
        self.touched.insert(index);
        self.storm_says(at);
        true
    }

    /// There is room at `at` for the first of those that wait.
    pub(super) fn let_in(&mut self, at: Millis) {
        let Some(budget) = self.storm.budgets.iter_mut().find(|budget| budget.due() == Some(at)) else {
            return;
        };
        let Some((_, _, index)) = budget.waiting.pop_first() else { return };
        budget.note(at);
        let watch = &mut self.watches[index as usize];
        if let Some(waiting) = watch.waiting.take() {
            watch.value = watch.value.take().or(waiting.value);
            self.touched.insert(index);
            self.open(index, waiting.since, at);
            self.arm(index);
        }
        self.storm_says(at);
    }

    /// The storm's own ticket: how many have been held back so far; gone when none is any more.
    fn storm_says(&mut self, at: Millis) {
        let Some(index) = self.storm.watch else { return };
        self.bring_forward(index, at);
        let (on, total) = (self.storm.is_on(), self.storm.total);
        self.watches[index as usize].value = Some(Value::Signed(total));
        if on {
            return self.hear(index, Some(Verdict::Holds), Quality::Good, at);
        }
        self.storm.total = 0;
        if self.watches[index as usize].phase == Phase::Active {
            let now = self.write_ticket(index, at, at);
            if let Some(case) = &mut self.watches[index as usize].case {
                (case.ticket.value, case.ticket.title) = (now.value, now.title);
            }
        }
        self.hear(index, Some(Verdict::Gone), Quality::Good, at);
    }
}
