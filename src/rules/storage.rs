//! `storage-low`: the gateway's own disk has no room, or does not take what is written. It holds and is gone as intake
//! says; nothing else is known of it here. Pure.

use super::Condition;
use super::condition::Verdict;
use super::engine::Engine;
use super::episode::Phase;
use crate::reading::{Millis, Quality, Value};

impl Engine {
    /// How it is with the disk: `Some` says in a word what is wrong with it (`full`, `limit`, `card`). To be said again
    /// every few seconds, since nobody else reads this value.
    pub fn storage(&mut self, wrong: Option<&str>, now: Millis) {
        let is_storage = |index: &usize| {
            let rule = self.watches[*index].rule as usize;
            self.plan.rules[rule].condition == Condition::StorageLow
        };
        let Some(index) = (0..self.watches.len()).find(is_storage) else { return };
        let index = index as u32;
        self.bring_forward(index, now);
        let watch = &mut self.watches[index as usize];
        watch.at = now.max(watch.at);
        let Some(word) = wrong else {
            if watch.phase != Phase::Idle || watch.case.is_some() {
                self.hear(index, Some(Verdict::Gone), Quality::Good, now);
            }
            return;
        };
        watch.value = Some(Value::Text(word.into()));
        self.hear(index, Some(Verdict::Holds), Quality::Good, now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::super::{Locale, Memory, Outcome, Over, Plan, Rule, STORAGE_LOW, SavedEpisode, SavedTicket};
    use super::*;
    use crate::reading::Site;
    use crate::ticket::{Class, Standard};

    const BEGIN: Millis = 1_795_248_000_000;
    const HOUR: Millis = 3_600_000;

    fn engine(locale: Locale, memory: Memory, now: Millis) -> Engine {
        let rule = Rule {
            id: STORAGE_LOW.into(),
            over: Over::Nothing,
            condition: Condition::StorageLow,
            limit: json!({ "storage": "low" }),
            deadband: 0.0,
            on_delay: 0,
            off_delay: 0,
            settle: HOUR,
            verify: HOUR,
            reopen: HOUR,
            class: Class::Immediate,
            level: 2,
            trade: None,
            title: None,
            chatter: None,
        };
        let standard = Standard { contact: 100 * HOUR, on_site: 100 * HOUR, follow_up: 100 * HOUR };
        let plan = Plan { rules: vec![rule], standards: [standard; 3], locale, epoch: "e".into() };
        let mut engine = Engine::new(plan, Arc::new(Site::default()), memory, now);
        engine.advance(now, true);
        engine
    }

    fn told(outcome: &Outcome) -> Vec<(&str, &str)> {
        outcome.told.iter().map(|change| (change.kind, change.ticket.title.as_str())).collect()
    }

    #[test]
    fn it_is_one_ticket_however_often_it_is_said_and_clears_when_there_is_room() {
        let mut engine = engine(Locale::En, Memory::default(), BEGIN);
        engine.storage(None, BEGIN);
        assert!(engine.take(BEGIN).told.is_empty(), "nothing is wrong");
        for second in 0..10 {
            engine.storage(Some("full"), BEGIN + second * 5000);
        }
        let opened = engine.take(BEGIN + 50_000);
        assert_eq!(told(&opened), [("ticket.opened", "Gateway storage: the disk is running full")]);
        engine.storage(None, BEGIN + 60_000);
        let cleared = engine.take(BEGIN + 60_000);
        assert_eq!(told(&cleared).first().map(|(kind, _)| *kind), Some("ticket.cleared"));
        // Well for as long as `verify`, by what intake says every few seconds.
        let mut at = BEGIN + 60_000;
        while at < BEGIN + 60_000 + HOUR {
            at += 5000;
            engine.advance(at, true);
            engine.storage(None, at);
        }
        assert_eq!(told(&engine.take(at)).last().map(|(kind, _)| *kind), Some("ticket.closed"));
    }

    #[test]
    fn each_word_has_its_title_in_both_languages() {
        let titles = [
            ("full", "网关存储异常：磁盘空间不足", "Gateway storage: the disk is running full"),
            (
                "card",
                "网关存储异常：存储卡无法写入，工单暂存内存，请更换",
                "Gateway storage: the card takes no writes, tickets are kept in memory; replace it",
            ),
            (
                "limit",
                "网关存储异常：未确认的数据已达容量上限，请检查与中心的连接",
                "Gateway storage: what the centre has not taken fills its share; look at the line to the centre",
            ),
        ];
        for (word, zh, en) in titles {
            for (locale, title) in [(Locale::ZhCn, zh), (Locale::En, en)] {
                let mut engine = engine(locale, Memory::default(), BEGIN);
                engine.storage(Some(word), BEGIN);
                assert_eq!(told(&engine.take(BEGIN)), [("ticket.opened", title)]);
            }
        }
    }

    #[test]
    fn a_restart_knows_the_ticket() {
        let mut before = engine(Locale::En, Memory::default(), BEGIN);
        before.storage(Some("card"), BEGIN);
        let left = before.take(BEGIN);
        let ticket = |t: &SavedTicket| t.clone();
        let episode = |e: &SavedEpisode| e.clone();
        let memory = Memory {
            tickets: left.tickets.iter().map(ticket).collect(),
            episodes: left.episodes.iter().map(episode).collect(),
            number: left.number,
            last_trace: BEGIN,
            ..Memory::default()
        };
        let mut after = engine(Locale::En, memory, BEGIN + HOUR);
        after.storage(Some("card"), BEGIN + HOUR);
        assert!(after.take(BEGIN + HOUR).told.is_empty(), "it is the same ticket");
        after.storage(None, BEGIN + HOUR + 5000);
        assert_eq!(after.take(BEGIN + HOUR + 5000).told.len(), 1);
    }
}
