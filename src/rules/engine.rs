//! All rules over all their subjects: takes readings, time and actions, and says what became of the tickets. Pure.
//!
//! Each rule has one [`Watch`] for each point (or device) it stands on, with its own episode, evidence and ticket.
//! A watch is brought forward by its own readings and by [`Engine::advance`] only, so the order in which devices
//! happen to report changes nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::channel::Channels;
use super::condition::Verdict;
use super::desk::{Case, Change};
use super::episode::{Edge, Phase};
use super::judge::{Judge, Seen, judge};
use super::maintenance::{End, Shelved};
use super::saved::{Memory, Outcome};
use super::storm::{self, Storm, Waiting};
use super::unsynced::Doubt;
use super::{Condition, Locale, Over, Rule};
use crate::maintenance;
use crate::numbers::Numbers;
use crate::reading::{Batch, DeviceId, Millis, PointId, Quality, Reading, Site, Value};
use crate::ticket::{EVIDENCE_MAX, Standard, State};

/// What the rules are, and for whom.
#[derive(Debug, Clone)]
pub struct Plan {
    pub rules: Vec<Rule>,
    /// By level, 1 to 3.
    pub standards: [Standard; 3],
    pub locale: Locale,
    /// Makes ticket ids unlike those of any other epoch.
    pub epoch: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Point(PointId),
    Device(DeviceId),
    /// Of those that the rule names.
    Channel(u32),
    /// The rule as a whole.
    Rule,
    /// One occasion of a schedule.
    Occasion(Millis),
}

#[derive(Debug)]
pub(super) struct Watch {
    pub(super) rule: u32,
    pub(super) subject: Subject,
    pub(super) phase: Phase,
    /// `None`: the value of the moment says it all.
    pub(super) judge: Option<Box<dyn Judge>>,
    /// Of the latest reading; for `silent` of the latest good one.
    pub(super) at: Millis,
    /// The latest value that could be used.
    pub(super) value: Option<Value>,
    pub(super) evidence: VecDeque<(Millis, Option<Value>)>,
    pub(super) case: Option<Box<Case>>,
    /// Maintenance: nothing reaches the phase until then.
    pub(super) rest: Option<End>,
    /// In maintenance: what the condition said last.
    pub(super) heard: Option<(Verdict, Quality)>,
    /// For `silent`: the wire is down, and nobody's silence counts.
    pub(super) asleep: bool,
    /// It would have a ticket, were there no storm.
    pub(super) waiting: Option<Waiting>,
    /// Its entry in the timers, never after what is due.
    pub(super) armed: Option<Millis>,
}

#[derive(Debug)]
pub struct Engine {
    pub(super) site: Arc<Site>,
    pub(super) plan: Plan,
    pub(super) watches: Vec<Watch>,
    by_point: Vec<Vec<u32>>,
    /// By point: whether each reading is an occurrence.
    pub(super) momentary: Vec<bool>,
    by_device: Vec<Vec<u32>>,
    pub(super) by_ticket: HashMap<Arc<str>, u32>,
    /// One for each watch at the most.
    pub(super) timers: BTreeSet<(Millis, u32)>,
    pub(super) synced: bool,
    /// The clock has been believed since the start.
    pub(super) known: bool,
    pub(super) doubt: Doubt,
    pub(super) number: u64,
    /// The time in the last ticket's id. It only goes on, so that ids are in the order of opening whatever the clock shows.
    pub(super) last_id: Millis,
    pub(super) told: Vec<Change>,
    /// Watches whose saved state is out of date.
    pub(super) touched: BTreeSet<u32>,
    pub(super) shelf: Vec<Shelved>,
    /// What became of maintenance, to be told and saved.
    pub(super) maintained: Vec<maintenance::Change>,
    pub(super) channels: Channels,
    pub(super) storm: Storm,
    /// What left the configuration, to be saved once.
    pub(super) left: Outcome,
}

impl Engine {
    /// Takes up where `memory` ends. Tickets whose rule, point or device is no longer there are closed at `now`.
    pub fn new(plan: Plan, site: Arc<Site>, memory: Memory, now: Millis) -> Self {
        Self::built(plan, site, memory, None, now)
    }

    /// `before`: who goes on in it, and how it counted.
    pub(super) fn built(
        plan: Plan,
        site: Arc<Site>,
        mut memory: Memory,
        before: Option<(Self, &Numbers)>,
        now: Millis,
    ) -> Self {
        let (synced, known) = before.as_ref().map_or((false, false), |(b, _)| (b.synced, b.known));
        let maintenance = std::mem::take(&mut memory.maintenance);
        let last_trace = memory.last_trace;
        let mut engine = Self {
            watches: Vec::new(),
            by_point: vec![Vec::new(); site.points.len()],
            momentary: site.momentary(),
            by_device: vec![Vec::new(); site.devices.len()],
            by_ticket: HashMap::new(),
            timers: BTreeSet::new(),
            synced,
            known,
            doubt: Doubt::default(),
            number: memory.number,
            last_id: 0,
            told: Vec::new(),
            touched: BTreeSet::new(),
            shelf: Vec::new(),
            maintained: Vec::new(),
            channels: Channels::default(),
            storm: Storm::default(),
            left: Outcome::default(),
            site,
            plan,
        };
        engine.place_watches(now);
        engine.place_occasions(&memory, now);
        let recent = storm::recent(&memory.tickets, now);
        engine.remember(memory, now);
        engine.take_up_maintenance(maintenance, last_trace, now);
        engine.take_up_channels();
        if let Some((before, numbers)) = before {
            engine.hand_over(before, numbers);
        }
        engine.take_up_storm(recent, now);
        engine.take_up_doubt();
        engine.look_back(now, 0);
        for index in 0..engine.watches.len() as u32 {
            engine.arm(index);
        }
        engine
    }

    fn place_watches(&mut self, now: Millis) {
        for rule in 0..self.plan.rules.len() as u32 {
            match self.plan.rules[rule as usize].over.clone() {
                Over::Points(points) => {
                    for point in points {
                        let index = self.place(rule, Subject::Point(point), now);
                        self.by_point[point.0 as usize].push(index);
                    }
                }
                Over::Devices(devices) => {
                    for device in devices {
                        let index = self.place(rule, Subject::Device(device), now);
                        self.by_device[device.0 as usize].push(index);
                    }
                }
                Over::Together(points) => {
                    let index = self.place(rule, Subject::Rule, now);
                    for point in points {
                        let watches = &mut self.by_point[point.0 as usize];
                        if watches.last() != Some(&index) {
                            watches.push(index);
                        }
                    }
                }
                Over::Channels(channels) => self.place_channels(rule, &channels, now),
                Over::Nothing => {
                    self.place(rule, Subject::Rule, now);
                }
            }
        }
    }

    pub(super) fn place(&mut self, rule: u32, subject: Subject, now: Millis) -> u32 {
        self.watches.push(Watch {
            rule,
            subject,
            phase: Phase::Idle,
            judge: judge(&self.plan.rules[rule as usize]),
            at: now,
            value: None,
            evidence: VecDeque::new(),
            case: None,
            rest: None,
            heard: None,
            asleep: false,
            waiting: None,
            armed: None,
        });
        self.watches.len() as u32 - 1
    }

    /// Takes in what one answer of a device amounts to.
    pub fn batch(&mut self, batch: &Batch) {
        self.keep_time(batch.at);
        self.wire(batch);
        let mut good = None;
        for reading in &batch.readings {
            if reading.quality == Quality::Good {
                good = good.max(Some(reading.at));
            }
            for i in 0..self.by_point[reading.point.0 as usize].len() {
                let index = self.by_point[reading.point.0 as usize][i];
                self.reading(index, reading);
            }
        }
        if batch.readings.is_empty() {
            return;
        }
        for i in 0..self.by_device[batch.device.0 as usize].len() {
            let index = self.by_device[batch.device.0 as usize][i];
            self.heard(index, good, batch.at);
        }
    }

    /// An occurrence at a momentary point. It is told of the device, not by it, and so no sign of its life.
    pub fn word(&mut self, reading: &Reading) {
        self.keep_time(reading.at);
        for i in 0..self.by_point[reading.point.0 as usize].len() {
            let index = self.by_point[reading.point.0 as usize][i];
            self.reading(index, reading);
        }
    }

    fn reading(&mut self, index: u32, reading: &Reading) {
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        if matches!(rule.condition, Condition::Silent(_)) {
            let good = (reading.quality == Quality::Good).then_some(reading.at);
            return self.heard(index, good, reading.at);
        }
        let at = reading.at.max(watch.at);
        if watch.judge.is_some() {
            return self.judged(index, reading, at);
        }
        if watch.rest.is_some() {
            // Its end may have come first.
            self.bring_forward(index, at);
        }
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        watch.at = at;
        let value = reading.value.as_ref().filter(|_| reading.quality != Quality::Bad);
        let verdict = value.and_then(|v| rule.condition.judge(v, rule.deadband));
        watch.witness(at, value);
        let quiet = watch.case.is_none() && watch.phase == Phase::Idle && watch.rest.is_none();
        if quiet && verdict != Some(Verdict::Holds) {
            watch.value = value.cloned().or(watch.value.take());
            return;
        }
        self.bring_forward(index, at);
        if verdict.is_some() {
            self.watches[index as usize].value = value.cloned();
        }
        self.hear(index, verdict, reading.quality, at);
    }

    /// What has come by time alone comes first.
    fn judged(&mut self, index: u32, reading: &Reading, at: Millis) {
        self.bring_forward(index, at);
        let watch = &mut self.watches[index as usize];
        watch.at = at;
        let value = reading.value.as_ref().filter(|_| reading.quality != Quality::Bad);
        if let Subject::Point(_) = watch.subject {
            watch.witness(at, value);
            watch.value = value.cloned().or(watch.value.take());
        }
        let momentary = self.momentary[reading.point.0 as usize];
        let seen = Seen { point: reading.point, at, value, quality: reading.quality, momentary };
        let verdict = watch.judge.as_mut().and_then(|judge| judge.see(&seen));
        if let Some(judge) = watch.judge.as_mut().filter(|judge| judge.waits()) {
            if judge.is_worth_saving() {
                self.touched.insert(index);
            }
            return self.arm(index);
        }
        self.hear(index, verdict, reading.quality, at);
    }

    /// What the condition says from `at` on; `None`: nothing, delays stand.
    pub(super) fn hear(&mut self, index: u32, verdict: Option<Verdict>, quality: Quality, at: Millis) {
        let watch = &mut self.watches[index as usize];
        if watch.rest.is_some() {
            return self.hear_at_rest(index, verdict, quality, at);
        }
        let rule = &self.plan.rules[watch.rule as usize];
        let before = watch.phase;
        let edge = match verdict {
            Some(verdict) => watch.phase.judge(verdict, quality, at, rule.delays()),
            None => {
                watch.phase.pause(at);
                None
            }
        };
        if watch.phase != before || watch.judge.as_mut().is_some_and(|judge| judge.is_worth_saving()) {
            self.touched.insert(index);
        }
        let well = quality == Quality::Good && verdict.is_some_and(|v| v != Verdict::Holds);
        self.edge(index, edge);
        self.well(index, well, at);
    }

    /// For `silent`: a good reading ends the silence, anything else leaves it to the timer.
    fn heard(&mut self, index: u32, good: Option<Millis>, at: Millis) {
        let watch = &mut self.watches[index as usize];
        let Some(good) = good else {
            self.bring_forward(index, at);
            // Heard in this very instant, it is not silent, in whichever order its readings come.
            let heard = self.watches[index as usize].at >= at;
            return self.well(index, heard, at);
        };
        if watch.case.is_none() && watch.phase == Phase::Idle && self.armed_after(index, good) {
            self.watches[index as usize].at = good;
            return;
        }
        self.bring_forward(index, good);
        let watch = &mut self.watches[index as usize];
        watch.at = good.max(watch.at);
        self.hear(index, Some(Verdict::Gone), Quality::Good, good);
    }

    pub(super) fn well(&mut self, index: u32, good: bool, at: Millis) {
        if let Some(case) = &mut self.watches[index as usize].case {
            case.read(good, at);
        }
        self.arm(index);
    }

    /// Nobody saw what happened between `until` and `now`: the daemon stood still, or rested. What ran
    /// stands until the next good reading, and silence does not count that time. `now` may lie before `until`.
    pub fn lost_time(&mut self, until: Millis, now: Millis) {
        self.timers.clear();
        self.maintenance_lost(until, now);
        for index in 0..self.watches.len() as u32 {
            let rest = self.watches[index as usize].rest.and_then(|_| self.rest_of(index));
            let watch = &mut self.watches[index as usize];
            watch.phase.pause(until);
            if let Some(judge) = &mut watch.judge {
                judge.lost(until, now);
            }
            if let Some(case) = &mut watch.case {
                case.lost_sight(until);
            }
            watch.at = (watch.at + now - until).min(now);
            (watch.rest, watch.heard) = (rest, None);
            watch.armed = None;
            if watch.case.is_some() || watch.phase != Phase::Idle || watch.judge.is_some() {
                self.touched.insert(index);
            }
            self.arm(index);
        }
        self.channels_go_on(now);
        self.storm_stepped(until, now);
        self.doubt_goes_on();
        self.look_back(now, now - until);
    }

    /// Tickets not yet closed.
    pub fn unclosed(&self) -> usize {
        let open = |w: &&Watch| w.case.as_ref().is_some_and(|case| case.ticket.state != State::Closed);
        self.watches.iter().filter(open).count()
    }

    pub(super) fn rule_of(&self, index: u32) -> &Rule {
        &self.plan.rules[self.watches[index as usize].rule as usize]
    }

    pub(super) fn subject_id(&self, index: u32) -> Arc<str> {
        match self.watches[index as usize].subject {
            Subject::Point(point) => self.site.point(point).id.clone(),
            Subject::Device(device) => self.site.device(device).id.clone(),
            Subject::Channel(number) => self.channel_id(self.rule_of(index), number),
            Subject::Rule => self.rule_of(index).id.clone(),
            Subject::Occasion(at) => crate::time::format(at).into(),
        }
    }

    /// For people: the id of a channel.
    pub(super) fn channel_id(&self, rule: &Rule, number: u32) -> Arc<str> {
        let Over::Channels(channels) = &rule.over else { return "".into() };
        channels.get(number as usize).map_or_else(|| "".into(), |(id, _)| id.clone())
    }

    pub(super) fn edge(&mut self, index: u32, edge: Option<Edge>) {
        match edge {
            Some(Edge::Opened { since, at }) => self.opened(index, since, at),
            Some(Edge::Cleared { at }) => {
                if !self.waited_in_vain(index, at)
                    && let Some(case) = &mut self.watches[index as usize].case
                {
                    case.cleared(at, &mut self.told);
                }
            }
            None => {}
        }
    }
}

impl Plan {
    pub(super) fn standard(&self, rule: &Rule) -> Standard {
        self.standards[usize::from(rule.level.clamp(1, 3)) - 1]
    }
}

impl Watch {
    /// Keeps what the sensor said before a breach. A value that has not changed is no news.
    fn witness(&mut self, at: Millis, value: Option<&Value>) {
        if self.evidence.back().is_some_and(|(_, last)| last.as_ref() == value) {
            return;
        }
        if self.evidence.len() == EVIDENCE_MAX {
            self.evidence.pop_front();
        }
        self.evidence.push_back((at, value.cloned()));
    }
}
