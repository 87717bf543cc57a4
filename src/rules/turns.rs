//! What time alone brings: each watch has its turn in the timers, and what is due by then happens in the order of its
//! instants. Pure.

use super::condition::Verdict;
use super::engine::{Engine, Watch};
use super::episode::Phase;
use super::{Condition, Rule};
use crate::reading::{Millis, Quality};

impl Engine {
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
        if believed && !self.known {
            self.known = true;
            self.times_are_known();
        }
        self.doubt_says(now);
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
    pub(super) fn keep_time(&mut self, at: Millis) {
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

    /// Whether nothing of this watch is due before `at`.
    pub(super) fn armed_after(&self, index: u32, at: Millis) -> bool {
        self.due(index).is_none_or(|due| due > at)
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
}

impl Watch {
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
}

#[cfg(test)]
mod tests {
    use crate::reading::Value;
    use crate::rules::maintenance_tests::{BEGIN, engine, read};
    use crate::rules::{Condition, Memory};

    #[test]
    fn a_watch_has_one_turn_at_the_most_however_often_it_comes_and_goes() {
        let mut engine = engine(2, Condition::Silent(1000), Memory::default(), BEGIN);
        for at in (1..=200).map(|second| BEGIN + second * 2000) {
            engine.advance(at, true);
            read(&mut engine, 0, at, Value::Number(1.0));
            assert!(engine.timers.len() <= engine.watches.len(), "{:?}", engine.timers);
        }
        let told = engine.take(BEGIN + 400_000).told;
        assert!(told.len() > 300, "it came and went: {}", told.len());
    }
}
