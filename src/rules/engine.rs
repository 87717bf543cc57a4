//! All rules over all their subjects: takes readings, time and actions, and says what became of the tickets. Pure.
//!
//! Each rule has one [`Watch`] for each point (or device) it stands on, with its own episode, evidence and ticket.
//! A watch is brought forward by its own readings and by [`Engine::advance`] only, so the order in which devices
//! happen to report changes nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::channel::Channels;
use super::condition::Verdict;
use super::desk::{Case, Change, Life, deadlines};
use super::episode::{Delays, Edge, Phase};
use super::judge::{Judge, Seen, judge};
use super::maintenance::{End, Shelved};
use super::storm::{self, Storm, Waiting};
use super::title::{Facts, title};
use super::{Condition, Locale, Over, Rule};
use crate::maintenance::{self, Maintenance};
use crate::reading::{Batch, DeviceId, Millis, PointId, Quality, Reading, Site, Value};
use crate::ticket::{Action, EVIDENCE_MAX, Evidence, Refusal, Standard, State, Ticket, Verb};

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
    evidence: VecDeque<(Millis, Option<Value>)>,
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
    number: u64,
    told: Vec<Change>,
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
    pub fn new(plan: Plan, site: Arc<Site>, mut memory: Memory, now: Millis) -> Self {
        let maintenance = std::mem::take(&mut memory.maintenance);
        let last_trace = memory.last_trace;
        let mut engine = Self {
            watches: Vec::new(),
            by_point: vec![Vec::new(); site.points.len()],
            momentary: site.momentary(),
            by_device: vec![Vec::new(); site.devices.len()],
            by_ticket: HashMap::new(),
            timers: BTreeSet::new(),
            synced: false,
            number: memory.number,
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
        engine.place_occasions(&memory.tickets, now);
        let recent = storm::recent(&memory.tickets, now);
        engine.remember(memory, now);
        engine.take_up_maintenance(maintenance, last_trace, now);
        engine.take_up_channels();
        engine.take_up_storm(recent, now);
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

    fn remember(&mut self, mut memory: Memory, now: Millis) {
        let keys: HashMap<(Arc<str>, Arc<str>), u32> = (0..self.watches.len() as u32)
            .map(|index| ((self.rule_of(index).id.clone(), self.subject_id(index)), index))
            .collect();
        for saved in memory.episodes {
            let kept = saved.state.as_deref().and_then(Kept::read);
            match (keys.get(&(saved.rule.clone(), saved.subject.clone())), kept) {
                (Some(&index), Some(mut kept)) => {
                    if memory.last_trace != now {
                        kept.phase.pause(memory.last_trace);
                    }
                    let watch = &mut self.watches[index as usize];
                    (watch.phase, watch.value) = (kept.phase, kept.value);
                    watch.waiting = kept.waiting;
                    if let (Some(judge), Some(saved)) = (&mut watch.judge, &kept.judge) {
                        judge.take_up(saved);
                        judge.lost(kept.at.unwrap_or(memory.last_trace), now);
                    }
                    // Saved as it now stands, or the next start would count the time that was switched off.
                    self.touched.insert(index);
                }
                _ => self.left.episodes.push(SavedEpisode { state: None, ..saved }),
            }
        }
        // Ids are in order of time: of several tickets of one subject the last one stays on the desk.
        memory.tickets.sort_by(|a, b| a.ticket.id.cmp(&b.ticket.id));
        for SavedTicket { ticket, subject, life } in memory.tickets {
            let mut life: Life = serde_json::from_str(&life).unwrap_or_default();
            life.wake(now);
            let mut case = Case { ticket, life };
            match keys.get(&(case.ticket.rule.clone(), subject.clone())) {
                Some(&index) => {
                    if case.ticket.state != State::Closed {
                        let rule = &self.plan.rules[self.watches[index as usize].rule as usize];
                        case.reworded(rule, now, &mut self.told);
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

    /// Whether nothing of this watch is due before `at`.
    fn armed_after(&self, index: u32, at: Millis) -> bool {
        self.due(index).is_none_or(|due| due > at)
    }

    pub(super) fn well(&mut self, index: u32, good: bool, at: Millis) {
        if let Some(case) = &mut self.watches[index as usize].case {
            case.read(good, at);
        }
        self.arm(index);
    }

    /// Lets happen what time alone has brought by `now`. `synced`: whether the clock can be believed;
    /// no deadline passes while it cannot.
    pub fn advance(&mut self, now: Millis, synced: bool) {
        let believed = synced && !self.synced;
        if synced != self.synced {
            self.synced = synced;
            for index in 0..self.watches.len() as u32 {
                self.arm(index);
            }
        }
        while let Some(due) = self.next_turn().filter(|due| *due <= now) {
            let Some((at, index)) = self.timers.first().copied().filter(|(at, _)| *at <= due) else {
                self.let_in(due);
                continue;
            };
            self.disarm(index);
            self.bring_forward(index, if self.storm.is_on() { at } else { now });
            self.arm(index);
        }
        self.end_maintenance(now);
        if believed {
            self.look_back(now, 0);
        }
    }

    /// In a storm the order of all watches counts: what time alone brings comes before what is read.
    fn keep_time(&mut self, at: Millis) {
        if self.storm.is_on() {
            self.advance(at, self.synced);
        }
    }

    /// The next instant at which [`Engine::advance`] has something to do.
    pub fn next_due(&self) -> Option<Millis> {
        [self.next_turn(), self.maintenance_due()].into_iter().flatten().min()
    }

    /// A watch's turn, or that of a ticket that waits. Maintenance ends after them.
    fn next_turn(&self) -> Option<Millis> {
        let timer = self.timers.first().map(|(at, _)| *at);
        [timer, self.storm.due()].into_iter().flatten().min()
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

    /// Nobody saw what happened between `until` and `now`: the clock was stepped, or the daemon stood still. What ran
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
        self.look_back(now, now - until);
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

    /// The next instant at which time alone changes this watch.
    fn due(&self, index: u32) -> Option<Millis> {
        let watch = &self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let case = watch.case.as_ref().and_then(|case| case.due(rule, self.synced));
        let waits = watch.rest.is_some() && self.is_schedule(watch.rule);
        let judge = watch.judge.as_ref().filter(|_| !waits).and_then(|judge| judge.due());
        let rest = watch.rest.map(|end| end.at(self.synced));
        let phase = watch.phase.ends(rule.delays());
        [watch.silence_ends(rule), judge, phase, case, rest].into_iter().flatten().min()
    }

    pub(super) fn arm(&mut self, index: u32) {
        let Some(due) = self.due(index) else { return };
        if self.watches[index as usize].armed.is_none_or(|armed| due < armed) {
            self.disarm(index);
            self.watches[index as usize].armed = Some(due);
            self.timers.insert((due, index));
        }
    }

    pub(super) fn disarm(&mut self, index: u32) {
        if let Some(at) = self.watches[index as usize].armed.take() {
            self.timers.remove(&(at, index));
        }
    }

    /// Lets everything of one watch that is due by `now` happen, in the order of its instants.
    pub(super) fn bring_forward(&mut self, index: u32, now: Millis) {
        while let Some(due) = self.due(index).filter(|due| *due <= now) {
            // A delay that ends in the same instant has ended: what held, held for all of it.
            let delay = self.watches[index as usize].phase.ends(self.rule_of(index).delays());
            let judge = self.watches[index as usize].judge.as_mut().filter(|_| delay != Some(due));
            if let Some(judge) = judge.filter(|judge| judge.due() == Some(due)) {
                let said = judge.pass(due);
                let rule = self.watches[index as usize].rule;
                match said {
                    Some(said) if self.is_schedule(rule) => {
                        self.touched.insert(index);
                        let at = said.at.max(self.watches[index as usize].at);
                        self.occasion(rule, said.at, at);
                    }
                    Some(said) => self.hear(index, said.verdict, said.quality, said.at),
                    None => {}
                }
                continue;
            }
            if self.watches[index as usize].rest.is_some_and(|end| end.at(self.synced) == due) {
                self.end_rest(index, due);
                continue;
            }
            let watch = &mut self.watches[index as usize];
            let rule = &self.plan.rules[watch.rule as usize];
            let before = watch.phase;
            let edge = if watch.silence_ends(rule) == Some(due) {
                if let Some(case) = &mut watch.case {
                    case.read(false, due);
                }
                watch.phase.judge(Verdict::Holds, Quality::Good, due, rule.delays())
            } else {
                watch.phase.advance(due, rule.delays())
            };
            if watch.phase != before {
                self.touched.insert(index);
                self.edge(index, edge);
                continue;
            }
            let standard = self.plan.standard(rule);
            if let Some(case) = &mut watch.case {
                case.advance(due, rule, standard, self.synced, &mut self.told);
                self.touched.insert(index);
            }
        }
    }

    fn edge(&mut self, index: u32, edge: Option<Edge>) {
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
        (ticket.occurrences, ticket.opened_at) = (old.occurrences, old.opened_at);
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
        ticket.id = ticket_id(at, &self.plan.epoch, self.number);
        let mut case = Case::open(ticket.clone(), &mut self.told);
        if watch.rest.is_some() {
            case.lay_to_rest(at); // it waited in a storm
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
}

impl Engine {
    /// For people: the id of a channel.
    fn channel_id(&self, rule: &Rule, number: u32) -> Arc<str> {
        let Over::Channels(channels) = &rule.over else { return "".into() };
        channels.get(number as usize).map_or_else(|| "".into(), |(id, _)| id.clone())
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

impl Plan {
    fn standard(&self, rule: &Rule) -> Standard {
        self.standards[usize::from(rule.level.clamp(1, 3)) - 1]
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

    /// For `silent`: when the silence becomes one; again where it had ended, or where a restart stopped its clock.
    fn silence_ends(&self, rule: &Rule) -> Option<Millis> {
        let Condition::Silent(span) = rule.condition else {
            return None;
        };
        if self.rest.is_some() {
            return None;
        }
        let lasts = match self.phase {
            Phase::Active => true,
            Phase::Pending { .. } => self.phase.ends(rule.delays()).is_some(),
            Phase::Idle | Phase::Clearing { .. } => false,
        };
        (!lasts && !self.asleep).then_some(self.at + span)
    }

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

pub(super) fn saved_ticket(case: &Case, subject: Arc<str>, now: Millis) -> SavedTicket {
    let life = serde_json::to_string(&case.life.at_rest(now)).unwrap_or_default();
    SavedTicket { ticket: case.ticket.clone(), subject, life }
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
