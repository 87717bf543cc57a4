//! Maintenance: what rests opens nothing, and nothing clears or comes back by its condition. Pure.
//!
//! A watch that rests is told everything all the same: its judge is fed, its evidence kept, its counters count. Only
//! the verdict does not reach its episode, whose delays stand. From the end on the last verdict counts, as at that
//! instant, since a value holds until the next reading. People's words and deadlines go on.
//!
//! The end comes by the clock while that can be believed. While it cannot, it comes by the time that was run: a clock
//! that jumps neither ends a maintenance before its time nor makes it last for years.

use super::Condition;
use super::condition::Verdict;
use super::desk::GATEWAY;
use super::engine::{Engine, Subject};
use super::episode::Phase;
use super::{Over, Rule};
use crate::maintenance::{Change, LASTS_MAX, MAINTENANCES_MAX, Maintenance, Refused, Scope, Step};
use crate::near::nearest;
use crate::reading::{DeviceId, Millis, Quality};
use crate::time;

/// One that is under way.
#[derive(Debug)]
pub(super) struct Shelved {
    pub(super) maintenance: Maintenance,
    end: End,
    /// Its end was named while the clock could not be believed, and is put right together with the clock.
    by_wrong_clock: bool,
}

/// When a maintenance ends, by the clock and by the time that was run.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    by_clock: Millis,
    by_run: Millis,
}

impl Shelved {
    /// The clock that it is told by has moved.
    fn moved(&mut self, by: Millis, now: Millis) -> Change {
        let there = &mut self.maintenance;
        (there.since, there.until) = (there.since + by, there.until + by);
        self.end.by_clock = there.until;
        Change { step: Step::Changed, at: now, maintenance: there.clone() }
    }
}

impl End {
    pub fn at(self, synced: bool) -> Millis {
        if synced { self.by_clock } else { self.by_run }
    }

    fn later(self, other: Self) -> Self {
        Self { by_clock: self.by_clock.max(other.by_clock), by_run: self.by_run.max(other.by_run) }
    }
}

impl Engine {
    /// Begins a maintenance at its `since`, or changes or ends the one of the same scope.
    pub fn maintain(&mut self, asked: Maintenance) -> Result<Change, Refused> {
        let now = asked.since;
        self.end_maintenance(now);
        let known = self.shelf.iter().position(|shelved| shelved.maintenance.scope == asked.scope);
        let change = match known {
            Some(at) if asked.until <= now => self.end_by_hand(at, asked),
            _ => {
                self.look_for(&asked.scope)?;
                if asked.until <= now {
                    // Nothing rests here: it is as it should be.
                    return Ok(Change { step: Step::Ended, at: now, maintenance: asked });
                }
                self.shelve(known, asked)?
            }
        };
        self.maintained.push(change.clone());
        self.rest_anew(now);
        Ok(change)
    }

    fn end_by_hand(&mut self, at: usize, asked: Maintenance) -> Change {
        let since = self.shelf.remove(at).maintenance.since;
        let ended = Maintenance { since, until: asked.since, ..asked };
        Change { step: Step::Ended, at: asked.since, maintenance: ended }
    }

    fn shelve(&mut self, known: Option<usize>, mut asked: Maintenance) -> Result<Change, Refused> {
        let now = asked.since;
        if asked.until - now > LASTS_MAX {
            return Err(Refused::TooLong { until: time::format(asked.until), now: time::format(now) });
        }
        let end = End { by_clock: asked.until, by_run: asked.until };
        let by_wrong_clock = !self.synced;
        if let Some(shelved) = known.and_then(|at| self.shelf.get_mut(at)) {
            asked.since = shelved.maintenance.since;
            *shelved = Shelved { maintenance: asked.clone(), end, by_wrong_clock };
            return Ok(Change { step: Step::Changed, at: now, maintenance: asked });
        }
        if self.shelf.len() >= MAINTENANCES_MAX {
            return Err(Refused::TooMany);
        }
        self.shelf.push(Shelved { maintenance: asked.clone(), end, by_wrong_clock });
        Ok(Change { step: Step::Begun, at: now, maintenance: asked })
    }

    /// Those under way, in the order in which they began.
    pub fn maintenances(&self) -> impl Iterator<Item = &Maintenance> {
        self.shelf.iter().map(|shelved| &shelved.maintenance)
    }

    /// What an earlier run left. It ran until `last_trace`; what was left then is left now, as long as the clock
    /// cannot be believed.
    pub(super) fn take_up_maintenance(&mut self, saved: Vec<Maintenance>, last_trace: Millis, now: Millis) {
        self.shelf = saved
            .into_iter()
            .take(MAINTENANCES_MAX)
            .map(|maintenance| {
                let left = (maintenance.until - last_trace).clamp(0, LASTS_MAX);
                let end = End { by_clock: maintenance.until, by_run: now + left };
                Shelved { maintenance, end, by_wrong_clock: false }
            })
            .collect();
        self.rest_anew(now);
    }

    /// The next end that time alone brings.
    pub(super) fn maintenance_due(&self) -> Option<Millis> {
        self.shelf.iter().map(|shelved| shelved.end.at(self.synced)).min()
    }

    /// Those whose time has come by `now`.
    pub(super) fn end_maintenance(&mut self, now: Millis) {
        let synced = self.synced;
        for shelved in self.shelf.iter_mut().filter(|_| synced) {
            shelved.by_wrong_clock = false;
        }
        let mut over: Vec<Shelved> =
            self.shelf.extract_if(.., |shelved| shelved.end.at(synced) <= now).collect();
        if over.is_empty() {
            return;
        }
        over.sort_by_key(|shelved| shelved.end.at(synced));
        for Shelved { maintenance, end, .. } in over {
            let at = end.at(synced);
            let ended = Maintenance { until: at, by: GATEWAY.to_owned(), note: None, ..maintenance };
            self.maintained.push(Change { step: Step::Ended, at, maintenance: ended });
        }
        self.rest_anew(now);
    }

    /// The wall clock was stepped. What was said lasts as long as was said; `correction`: by how much the times that are
    /// told are off. Until the clock is known that is said only of what was named by it.
    pub(super) fn maintenance_stepped(&mut self, by: Millis, correction: Millis, now: Millis) {
        let known = self.known;
        for shelved in &mut self.shelf {
            shelved.end.by_run += by;
            if correction != 0 && (known || shelved.by_wrong_clock) {
                self.maintained.push(shelved.moved(correction, now));
            }
        }
    }

    /// Nobody saw the time from `until` to `now`, which may lie before it.
    pub(super) fn maintenance_lost(&mut self, until: Millis, now: Millis) {
        let synced = self.synced;
        for shelved in &mut self.shelf {
            shelved.end.by_run += now - until;
            if shelved.by_wrong_clock && !synced {
                self.maintained.push(shelved.moved(now - until, now));
            }
        }
    }

    /// Each watch rests until the last maintenance that it stands under ends.
    fn rest_anew(&mut self, now: Millis) {
        for index in 0..self.watches.len() as u32 {
            let end = self.rest_of(index);
            if end.is_none() && self.watches[index as usize].rest.is_none() {
                continue;
            }
            // One whose time has come ends at its own instant.
            self.bring_forward(index, now);
            match (self.watches[index as usize].rest.is_some(), end) {
                (false, Some(end)) => self.lay_to_rest(index, end, now),
                (true, None) => self.end_rest(index, now),
                (_, end) => self.watches[index as usize].rest = end,
            }
            self.arm(index);
        }
    }

    pub(super) fn rest_of(&self, index: u32) -> Option<End> {
        let over = self.shelf.iter().filter(|shelved| self.stands_under(index, &shelved.maintenance.scope));
        over.map(|shelved| shelved.end).reduce(End::later)
    }

    fn stands_under(&self, index: u32, scope: &Scope) -> bool {
        let watch = &self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let rests = |device: DeviceId| {
            let device = self.site.device(device);
            scope.has(&device.id, &device.place)
        };
        match (scope, watch.subject) {
            // The work that is due is there already.
            (_, Subject::Occasion(_)) => false,
            (Scope::Rule(name), _) => rule.id == *name,
            (_, Subject::Point(point)) => rests(self.site.point(point).device),
            (_, Subject::Device(device)) => rests(device),
            // What is said of several together says nothing while one of them rests.
            (_, Subject::Rule) if let Condition::Schedule(occasions) = &rule.condition => {
                occasions.device.is_some_and(rests)
                    || occasions.place.as_ref().is_some_and(|place| scope.has("", place))
            }
            (_, Subject::Rule) => match &rule.over {
                Over::Together(points) => points.iter().any(|point| rests(self.site.point(*point).device)),
                _ => false,
            },
            // A wire all of whose devices rest may be taken off.
            (_, Subject::Channel(number)) => match &rule.over {
                Over::Channels(channels) => channels
                    .get(number as usize)
                    .is_some_and(|(_, devices)| !devices.is_empty() && devices.iter().all(|d| rests(*d))),
                _ => false,
            },
        }
    }

    /// Delays stand from here on. What was running goes on at the end, if nothing else is read until then.
    fn lay_to_rest(&mut self, index: u32, end: End, at: Millis) {
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let runs = watch.phase.ends(rule.delays()).is_some();
        watch.heard = match watch.phase {
            Phase::Pending { .. } if runs && !is_silent(rule) => Some((Verdict::Holds, Quality::Good)),
            Phase::Clearing { .. } if runs => Some((Verdict::Gone, Quality::Good)),
            _ => None,
        };
        watch.phase.pause(at);
        watch.rest = Some(end);
        if let Some(case) = &mut watch.case {
            case.lay_to_rest(at);
        }
        self.touched.insert(index);
    }

    /// The last verdict counts from here on; a silence begins to count.
    pub(super) fn end_rest(&mut self, index: u32, at: Millis) {
        let watch = &mut self.watches[index as usize];
        // Where the clock was put right, the end may lie before what has been read since.
        let at = at.max(watch.at);
        watch.rest = None;
        let mut heard = watch.heard.take();
        if let Condition::Silent(span) = self.plan.rules[watch.rule as usize].condition {
            heard = heard.filter(|_| at < watch.at + span);
            watch.at = at;
        }
        if let Some(case) = &mut watch.case {
            case.end_rest(at);
        }
        self.touched.insert(index);
        if self.is_schedule(self.watches[index as usize].rule) {
            self.open_missed(index, at);
        }
        if let Some((verdict, quality)) = heard {
            self.hear(index, Some(verdict), quality, at);
        }
    }

    /// What the condition says meanwhile. A delay that it breaks off is broken off, and none begins.
    pub(super) fn hear_at_rest(
        &mut self,
        index: u32,
        verdict: Option<Verdict>,
        quality: Quality,
        at: Millis,
    ) {
        let watch = &mut self.watches[index as usize];
        let before = watch.phase;
        watch.phase.hear_at_rest(verdict, quality);
        // What happened at a door meanwhile is no fault that is there at the end.
        let happened = matches!(watch.subject, Subject::Point(point) if self.momentary[point.0 as usize]);
        watch.heard = match verdict {
            // Within the deadband what held holds, and what was gone is gone.
            Some(Verdict::Between) if watch.heard.is_some() => watch.heard,
            Some(Verdict::Holds) if happened => None,
            verdict => verdict.map(|verdict| (verdict, quality)),
        };
        if watch.phase != before || watch.judge.as_mut().is_some_and(|judge| judge.is_worth_saving()) {
            self.touched.insert(index);
        }
        self.well(index, false, at);
    }

    /// Whether there is such a thing here.
    fn look_for(&self, scope: &Scope) -> Result<(), Refused> {
        let devices = &self.site.devices;
        let there: Vec<&str> = match scope {
            Scope::Device(_) => devices.iter().map(|device| &*device.id).collect(),
            Scope::Place(_) => devices.iter().flat_map(|device| places(&device.place)).collect(),
            Scope::Rule(_) => self.plan.rules.iter().map(|rule| &*rule.id).collect(),
        };
        let (what, name) = (scope.word(), scope.name());
        if there.contains(&&**name) {
            return Ok(());
        }
        let cure = match (nearest(name, there), scope) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Scope::Rule(_)) => "gatehouse check lists the rules".to_owned(),
            (None, _) => "GET /api/v1/devices lists the devices with their places".to_owned(),
        };
        Err(Refused::Unknown { what, name: name.clone(), cure })
    }
}

fn is_silent(rule: &Rule) -> bool {
    matches!(rule.condition, Condition::Silent(_))
}

/// `3号楼/地下室` is in itself and in `3号楼`.
fn places(place: &str) -> impl Iterator<Item = &str> {
    let outer = place.match_indices('/').map(|(at, _)| &place[..at]);
    outer.chain(Some(place)).filter(|place| !place.is_empty())
}
