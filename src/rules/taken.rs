//! Other rules from one instant to the next, while all goes on. Pure.
//!
//! What a start would take up from the journal is taken up in the same way: tickets, episodes, maintenance. What a start
//! does not know is handed over: windows and counters where the rule still asks the same of the same point, last values,
//! when each was heard last, which wires are down. Where a limit was changed, the next reading is the first one judged
//! by it.

use std::collections::HashMap;
use std::sync::Arc;

use super::engine::{Engine, Plan, Subject, Watch};
use super::saved::{Memory, SavedEpisode, saved_ticket};
use super::{Over, Rule};
use crate::numbers::{Numbered, Numbers};
use crate::reading::{Millis, Site};

/// By rule and subject.
type Watches = HashMap<(Arc<str>, Arc<str>), Watch>;

impl Engine {
    /// What this one knows goes on under another plan at `now`. `numbers`: of the points and devices that are the same.
    /// What had to be written has been taken before ([`Engine::take`]).
    #[must_use]
    pub fn taken_over(self, plan: Plan, site: Arc<Site>, numbers: &Numbers, now: Millis) -> Self {
        let memory = self.memory(now);
        Self::built(plan, site, memory, Some((self, numbers)), now)
    }

    /// As a start would find it.
    fn memory(&self, now: Millis) -> Memory {
        let all = || (0..self.watches.len() as u32).zip(&self.watches);
        let ticket = |(index, watch): (u32, &Watch)| {
            Some(saved_ticket(watch.case.as_deref()?, self.subject_id(index), now))
        };
        let episode = |(index, watch): (u32, &Watch)| {
            let state = Some(watch.kept(now)?);
            Some(SavedEpisode {
                rule: self.rule_of(index).id.clone(),
                subject: self.subject_id(index),
                state,
            })
        };
        Memory {
            tickets: all().filter_map(ticket).collect(),
            episodes: all().filter_map(episode).collect(),
            maintenance: self.maintenances().cloned().collect(),
            number: self.number,
            last_trace: now,
        }
    }

    /// What a start does not know.
    pub(super) fn hand_over(&mut self, mut before: Self, numbers: &Numbers) {
        self.last_id = self.last_id.max(before.last_id);
        self.channels_handed_over(&before, numbers);
        self.shelf = std::mem::take(&mut before.shelf);
        let rules: Vec<Rule> = before.plan.rules.iter().map(|rule| rule.clone().in_other(numbers)).collect();
        let mut watches = before.named();
        for index in 0..self.watches.len() as u32 {
            let name = (self.rule_of(index).id.clone(), self.subject_id(index));
            let Some(watch) = watches.remove(&name) else { continue };
            if self.is_subject(index, watch.subject, numbers) {
                self.take_watch(index, watch, &rules, numbers);
            }
        }
    }

    fn named(&mut self) -> Watches {
        let name = |index: u32| (self.rule_of(index).id.clone(), self.subject_id(index));
        let names: Vec<_> = (0..self.watches.len() as u32).map(name).collect();
        names.into_iter().zip(std::mem::take(&mut self.watches)).collect()
    }

    /// Whether this watch stands on what that one stood on, and not only on its namesake.
    fn is_subject(&self, index: u32, before: Subject, numbers: &Numbers) -> bool {
        match (self.watches[index as usize].subject, before) {
            (Subject::Point(point), Subject::Point(before)) => numbers.point(before) == Some(point),
            (Subject::Device(device), Subject::Device(before)) => numbers.device(before) == Some(device),
            (Subject::Channel(_), Subject::Channel(_)) | (Subject::Rule, Subject::Rule) => true,
            (Subject::Occasion(at), Subject::Occasion(before)) => at == before,
            _ => false,
        }
    }

    fn take_watch(&mut self, index: u32, before: Watch, rules: &[Rule], numbers: &Numbers) {
        let rest = self.watches[index as usize].rest.and_then(|_| self.rest_of(index));
        let watch = &mut self.watches[index as usize];
        let rule = &self.plan.rules[watch.rule as usize];
        let Some(was) = rules.get(before.rule as usize) else { return };
        // Of several points together, none may have become another one.
        let together = !matches!(rule.over, Over::Together(_)) || rule.over == was.over;
        if !together {
            return;
        }
        watch.value = before.value;
        watch.evidence = before.evidence;
        watch.rest = rest;
        if rule.asks_like(was) {
            (watch.at, watch.asleep) = (before.at, before.asleep);
        }
        if rule.sees_like(was) {
            watch.heard = before.heard;
            watch.judge = before.judge;
            if let Some(judge) = &mut watch.judge {
                judge.counted_by(numbers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, Locale};
    use super::*;
    use crate::reading::{Batch, Clean, Device, DeviceId, Point, PointId, Reading, Value};
    use crate::ticket::{Class, Standard};
    use serde_json::json;

    const MINUTE: Millis = 60_000;
    const NOON: Millis = 1_790_000_000_000;

    fn site(devices: &[&str]) -> Arc<Site> {
        let device = |(n, id): (usize, &&str)| Device {
            first_point: n as u32,
            points: 1,
            ..Device::polled(id, "plant")
        };
        let point = |(n, id): (usize, &&str)| Point {
            id: format!("{id}.p").into(),
            device: DeviceId(n as u32),
            unit: None,
            range: None,
            deadband: 0.0,
            clean: Clean::default(),
        };
        Arc::new(Site {
            gateway: "gw".into(),
            devices: devices.iter().enumerate().map(device).collect(),
            points: devices.iter().enumerate().map(point).collect(),
            ..Site::default()
        })
    }

    fn rule(id: &str, points: &[u32], condition: Condition) -> Rule {
        Rule {
            id: id.into(),
            over: Over::Points(points.iter().copied().map(PointId).collect()),
            limit: json!(format!("{condition:?}")),
            condition,
            deadband: 0.0,
            on_delay: 0,
            off_delay: 0,
            settle: MINUTE,
            verify: MINUTE,
            reopen: MINUTE,
            class: Class::Planned,
            level: 3,
            trade: None,
            chatter: None,
            title: None,
        }
    }

    fn plan(rules: Vec<Rule>) -> Plan {
        let standard =
            Standard { contact: 9_000 * MINUTE, on_site: 9_000 * MINUTE, follow_up: 9_000 * MINUTE };
        Plan { rules, standards: [standard; 3], locale: Locale::En, epoch: "e".into() }
    }

    fn engine(devices: &[&str], rules: Vec<Rule>) -> Engine {
        let mut engine = Engine::new(plan(rules), site(devices), Memory::default(), NOON);
        engine.advance(NOON, true);
        engine
    }

    fn read(engine: &mut Engine, point: u32, at: Millis, value: f64) -> Vec<(&'static str, String)> {
        let reading = Reading::good(PointId(point), at, Value::Number(value));
        engine.batch(&Batch::new(DeviceId(point), at, vec![reading], None));
        told(engine, at)
    }

    fn told(engine: &mut Engine, at: Millis) -> Vec<(&'static str, String)> {
        engine.advance(at, true);
        let told = engine.take(at).told.into_iter();
        told.map(|change| (change.kind, change.ticket.point.unwrap_or_default().to_string())).collect()
    }

    fn over(mut engine: Engine, devices: &[&str], rules: Vec<Rule>, at: Millis) -> Engine {
        engine.take(at);
        let to = site(devices);
        let numbers = Numbers::between(&engine.site, &to);
        engine.taken_over(plan(rules), to, &numbers, at)
    }

    #[test]
    fn a_window_goes_on_under_other_numbers() {
        let rises = Condition::Rises { by: 10.0, within: 10 * MINUTE };
        let mut engine = engine(&["a", "b"], vec![rule("r", &[0, 1], rises.clone())]);
        assert_eq!(read(&mut engine, 1, NOON, 5.0), []);
        // `b` had number 1 and has number 2; what is 1 now is another one.
        let mut engine = over(engine, &["a", "new", "b"], vec![rule("r", &[0, 1, 2], rises)], NOON + MINUTE);
        assert_eq!(
            read(&mut engine, 1, NOON + 2 * MINUTE, 50.0),
            [],
            "of the new one nothing was seen before"
        );
        let opened = read(&mut engine, 2, NOON + 3 * MINUTE, 15.0);
        assert_eq!(opened, [("ticket.opened", "b.p".to_owned())]);
    }

    #[test]
    fn a_window_under_another_limit_is_judged_by_it_from_the_next_reading() {
        let rises = |by| Condition::Rises { by, within: 10 * MINUTE };
        let mut engine = engine(&["a"], vec![rule("r", &[0], rises(10.0))]);
        read(&mut engine, 0, NOON, 5.0);
        let mut engine = over(engine, &["a"], vec![rule("r", &[0], rises(9.0))], NOON + MINUTE);
        assert_eq!(told(&mut engine, NOON + MINUTE), []);
        assert_eq!(read(&mut engine, 0, NOON + 2 * MINUTE, 14.5).len(), 1);
    }

    #[test]
    fn a_delay_that_runs_ends_at_its_own_instant_across_the_change() {
        let low = Rule { on_delay: 5 * MINUTE, ..rule("low", &[0], Condition::Below(200.0)) };
        let mut engine = engine(&["a"], vec![low.clone()]);
        assert_eq!(read(&mut engine, 0, NOON, 100.0), []);
        let moved = Rule { over: Over::Points(vec![PointId(1)]), ..low };
        let mut engine = over(engine, &["first", "a"], vec![moved], NOON + MINUTE);
        assert_eq!(told(&mut engine, NOON + 5 * MINUTE - 1), []);
        assert_eq!(told(&mut engine, NOON + 5 * MINUTE), [("ticket.opened", "a.p".to_owned())]);
    }

    #[test]
    fn an_open_ticket_is_not_opened_again_and_a_changed_limit_counts_from_the_next_reading() {
        let low = |limit| rule("low", &[0], Condition::Below(limit));
        let mut engine = engine(&["a"], vec![low(200.0)]);
        assert_eq!(read(&mut engine, 0, NOON, 195.0).len(), 1);
        let mut engine = over(engine, &["a"], vec![low(190.0)], NOON + MINUTE);
        assert_eq!(engine.unclosed(), 1);
        assert!(told(&mut engine, NOON + MINUTE).iter().all(|(kind, _)| *kind == "ticket.updated"));
        // Above the new limit it is gone; the same ticket clears.
        let told = read(&mut engine, 0, NOON + 2 * MINUTE, 195.0);
        assert_eq!(told, [("ticket.cleared", "a.p".to_owned())]);
        let told = read(&mut engine, 0, NOON + 3 * MINUTE, 180.0);
        assert!(told.iter().all(|(kind, _)| *kind != "ticket.opened"), "{told:?}");
        assert_eq!(engine.unclosed(), 1);
    }

    #[test]
    fn silence_counts_on_and_what_left_closes_its_ticket() {
        let silent = Rule {
            over: Over::Devices(vec![DeviceId(0), DeviceId(1)]),
            ..rule("silent", &[], Condition::Silent(10 * MINUTE))
        };
        let mut engine =
            engine(&["a", "b"], vec![silent.clone(), rule("low", &[0], Condition::Below(200.0))]);
        assert_eq!(read(&mut engine, 0, NOON, 100.0).len(), 1);
        read(&mut engine, 1, NOON + 4 * MINUTE, 1.0);
        let only_b = Rule { over: Over::Devices(vec![DeviceId(0)]), ..silent };
        let mut engine = over(engine, &["b"], vec![only_b], NOON + 5 * MINUTE);
        let closed = engine.take(NOON + 5 * MINUTE).told;
        assert_eq!(closed.iter().map(|c| c.kind).collect::<Vec<_>>(), ["ticket.closed"]);
        assert_eq!(told(&mut engine, NOON + 14 * MINUTE - 1), []);
        assert_eq!(told(&mut engine, NOON + 14 * MINUTE).len(), 1, "ten minutes after it was heard");
    }
}
