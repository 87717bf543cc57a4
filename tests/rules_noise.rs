//! What chatter, wires that are down and storms promise: no ticket doubled or lost, the same however readings are cut, and not more
//! than people can take in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gatehouse::reading::{
    Batch, Clean, Device, DeviceId, Life, Millis, Point, PointId, Reading, Reason, Site, Value,
};
use gatehouse::rules::{Change, Chatter, Condition, Engine, Locale, Memory, Outcome, Over, Plan, Rule};
use gatehouse::ticket::{Action, Class, Standard, State, Verb};
use proptest::prelude::*;
use serde_json::json;

const SECOND: Millis = 1000;

fn site() -> Arc<Site> {
    let device = |id: &str, first_point| Device {
        id: id.into(),
        channel: "line".into(),
        profile: None,
        place: "3号楼".into(),
        polled: true,
        first_point,
        points: 1,
        words: None,
    };
    let point = |id: &str, device| Point {
        id: id.into(),
        device: DeviceId(device),
        unit: Some("kPa".into()),
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
    };
    Arc::new(Site {
        gateway: "cp-017".into(),
        name: "锦绣花园".into(),
        devices: vec![device("a", 0), device("b", 1)],
        points: vec![point("a.p", 0), point("b.p", 1)],
        doors: vec![],
    })
}

fn plan() -> Plan {
    let rule = |id: &str, condition, on_delay, off_delay, over| Rule {
        id: id.into(),
        over,
        condition,
        limit: json!({}),
        deadband: 2.0,
        on_delay,
        off_delay,
        settle: 40 * SECOND,
        verify: 60 * SECOND,
        reopen: 100 * SECOND,
        class: Class::Immediate,
        level: 1,
        trade: None,
        chatter: None,
        title: None,
    };
    let both = || Over::Points(vec![PointId(0), PointId(1)]);
    let standard = Standard { contact: 15 * SECOND, on_site: 50 * SECOND, follow_up: 200 * SECOND };
    Plan {
        rules: vec![
            rule("high", Condition::Above(10.0), 5 * SECOND, 7 * SECOND, both()),
            rule("at-once", Condition::Above(10.0), 0, 0, both()),
            rule(
                "silent",
                Condition::Silent(20 * SECOND),
                0,
                0,
                Over::Devices(vec![DeviceId(0), DeviceId(1)]),
            ),
        ],
        standards: [standard; 3],
        locale: Locale::ZhCn,
        epoch: "e".into(),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Read { device: u32, wait: Millis, reading: Kind },
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Good(f64),
    Uncertain(f64),
    Bad,
}

fn kind() -> impl Strategy<Value = Kind> {
    let value = prop_oneof![Just(5.0), Just(9.0), Just(10.0), Just(11.0), Just(50.0)];
    prop_oneof![
        6 => value.clone().prop_map(Kind::Good),
        1 => value.prop_map(Kind::Uncertain),
        1 => Just(Kind::Bad),
    ]
}

fn read() -> impl Strategy<Value = Step> {
    (0..2u32, 0..20i64, kind()).prop_map(|(device, wait, reading)| Step::Read {
        device,
        wait: wait * SECOND / 2,
        reading,
    })
}

fn batch(device: u32, at: Millis, kind: Kind) -> Batch {
    let point = PointId(device);
    let reading = match kind {
        Kind::Good(v) => Reading::good(point, at, Value::Number(v)),
        Kind::Uncertain(v) => Reading::uncertain(point, at, Value::Number(v), Reason::Retained),
        Kind::Bad => Reading::bad(point, at, Reason::NoAnswer),
    };
    Batch::new(DeviceId(device), at, vec![reading], None)
}

/// Kind, time, revision, occurrences, state.
type Told = (&'static str, Millis, u64, u32, State);

/// An engine with a journal in memory.
struct Bench {
    engine: Engine,
    plan: Plan,
    told: Vec<Change>,
    tickets: HashMap<Arc<str>, gatehouse::rules::SavedTicket>,
    episodes: HashMap<(Arc<str>, Arc<str>), gatehouse::rules::SavedEpisode>,
    number: u64,
}

impl Bench {
    fn of(plan: Plan) -> Self {
        let mut engine = Engine::new(plan.clone(), site(), Memory::default(), 0);
        engine.advance(0, true);
        Self { engine, plan, told: vec![], tickets: HashMap::new(), episodes: HashMap::new(), number: 0 }
    }

    fn take(&mut self, now: Millis) {
        let Outcome { told, tickets, episodes, number, .. } = self.engine.take(now);
        self.told.extend(told);
        self.number = number;
        for saved in tickets {
            self.tickets.insert(saved.ticket.id.clone(), saved);
        }
        for saved in episodes {
            self.episodes.insert((saved.rule.clone(), saved.subject.clone()), saved);
        }
    }

    /// Comes up again from what was saved; `trace` is the last instant that is on record.
    fn restart(&mut self, trace: Millis, now: Millis) {
        let memory = Memory {
            tickets: self.tickets.values().cloned().collect(),
            episodes: self.episodes.values().filter(|e| e.state.is_some()).cloned().collect(),
            number: self.number,
            last_trace: trace,
            ..Memory::default()
        };
        self.engine = Engine::new(self.plan.clone(), site(), memory, now);
        self.engine.advance(now, true);
    }

    /// What was told, without what depends on the order in which devices spoke: ids and numbers.
    fn by_subject(&self) -> BTreeMap<(String, String), Vec<Told>> {
        let mut by = BTreeMap::<_, Vec<_>>::new();
        for change in &self.told {
            let t = &change.ticket;
            let key = (t.rule.to_string(), t.device.as_deref().unwrap_or_default().to_owned());
            by.entry(key).or_default().push((change.kind, change.at, t.revision, t.occurrences, t.state));
        }
        by
    }
}

fn run_by(plan: Plan, steps: &[(u32, Millis, Kind)], cut: bool) -> Bench {
    let mut bench = Bench::of(plan);
    for (device, at, kind) in steps {
        if cut {
            // As if each reading came in a batch of its own, with time passing in between.
            bench.engine.advance(*at - 1, true);
            bench.take(*at);
        }
        bench.engine.batch(&batch(*device, *at, *kind));
    }
    let end = steps.iter().map(|s| s.1).max().unwrap_or(0) + 1000 * SECOND;
    bench.engine.advance(end, true);
    bench.take(end);
    bench
}

/// Every ticket's revisions go up one by one, and no subject ever has two unclosed tickets.
fn check(told: &[Change]) {
    let mut revisions = HashMap::<&str, u64>::new();
    let mut unclosed = HashMap::<(&str, &str), &str>::new();
    for Change { kind, ticket, .. } in told {
        let revision = revisions.entry(&ticket.id).or_default();
        assert_eq!(ticket.revision, *revision + 1, "{kind} of {}", ticket.number);
        *revision += 1;
        let key = (&*ticket.rule, ticket.device.as_deref().unwrap_or_default());
        match (*kind, ticket.state) {
            ("ticket.updated", State::Closed) => assert_eq!(unclosed.get(&key), None, "{kind}"),
            (_, State::Closed) => {
                assert_eq!(unclosed.remove(&key), Some(&*ticket.id), "{kind}");
                assert!(ticket.closed_at.is_some() && ticket.cleared_at.is_some());
            }
            ("ticket.opened", state) => {
                assert_eq!(state, State::Open);
                assert_eq!(unclosed.insert(key, &ticket.id), None, "two unclosed tickets of {key:?}");
            }
            ("ticket.reopened", _) => {
                assert!(ticket.cleared_at.is_none() && ticket.closed_at.is_none());
                unclosed.insert(key, &ticket.id);
            }
            _ => assert_eq!(unclosed.get(&key), Some(&&*ticket.id), "{kind}"),
        }
    }
}

fn steps_of(reads: Vec<Step>) -> Vec<(u32, Millis, Kind)> {
    let mut at = [0, 0];
    let steps = reads.into_iter().map(|Step::Read { device, wait, reading }| {
        let at = &mut at[device as usize];
        *at += wait + 1;
        (device, *at, reading)
    });
    steps.collect()
}

/// The same rules on a wire that may be down, chattering soon, and no more than two new tickets a minute of each budget.
fn noisy() -> Plan {
    let mut plan = plan();
    let like = plan.rules[1].clone();
    for rule in &mut plan.rules {
        rule.chatter = Some(Chatter { times: 3, within: 30 * SECOND });
        rule.reopen = 5 * SECOND;
    }
    plan.rules[1].level = 2;
    let both = vec![DeviceId(0), DeviceId(1)];
    let (id, over) = ("channel-offline".into(), Over::Channels(vec![("line".into(), both)]));
    let condition = Condition::ChannelOffline;
    plan.rules.push(Rule { id, over, condition, on_delay: 10 * SECOND, level: 2, ..like.clone() });
    let (id, condition) = ("storm".into(), Condition::Storm { a_minute: 2 });
    plan.rules.push(Rule { id, over: Over::Nothing, condition, on_delay: 10 * SECOND, level: 2, ..like });
    plan
}

/// In no minute more than two of each budget; the storm's own ticket stands beside them.
fn check_storm(told: &[Change]) {
    for urgent in [true, false] {
        let opened = told.iter().filter(|c| c.kind == "ticket.opened" && *c.ticket.rule != *"storm");
        let mut opened: Vec<Millis> =
            opened.filter(|c| (c.ticket.level == 1) == urgent).map(|c| c.at).collect();
        opened.sort_unstable();
        for three in opened.windows(3) {
            assert!(three[2] - three[0] >= 60 * SECOND, "three within a minute: {three:?}");
        }
    }
}

/// Of one ticket no more reopenings within the span than make it chatter.
fn check_chatter(told: &[Change]) {
    let mut reopened = HashMap::<&str, Vec<Millis>>::new();
    for change in told.iter().filter(|c| c.kind == "ticket.reopened" && c.ticket.resolved_at.is_none()) {
        reopened.entry(&change.ticket.id).or_default().push(change.at);
    }
    for times in reopened.values() {
        for four in times.windows(4) {
            assert!(four[3] - four[0] >= 30 * SECOND, "four returns told within the span: {four:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum Noise {
    Read(Step),
    Offline(u32, Millis),
    Wire(bool, Millis),
    Restart(Millis),
    Act(usize, u8),
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        10 => read().prop_map(Noise::Read),
        2 => (0..2u32, 0..20i64).prop_map(|(device, wait)| Noise::Offline(device, wait * SECOND)),
        2 => (any::<bool>(), 0..20i64).prop_map(|(up, wait)| Noise::Wire(up, wait * SECOND)),
        1 => (0..90i64).prop_map(|off| Noise::Restart(off * SECOND)),
        1 => (0..9usize, 0..4u8).prop_map(|(nth, verb)| Noise::Act(nth, verb)),
    ]
}

impl Bench {
    fn gone(&mut self, device: u32, at: Millis, wire: Option<bool>) {
        self.engine.advance(at, true);
        let life = (wire != Some(true)).then(|| Life::Offline { why: "gone".into() });
        self.engine.batch(&Batch { wire, ..Batch::new(DeviceId(device), at, vec![], life) });
    }

    fn act_on(&mut self, nth: usize, verb: u8, now: Millis) {
        let Some(ticket) = self.told.iter().rev().nth(nth).map(|c| c.ticket.id.clone()) else { return };
        let verb = [Verb::Acknowledge, Verb::Start, Verb::Close, Verb::Tell][verb as usize];
        let (by, note) = ("li".into(), Some("x".into()));
        let action = Action { ticket, verb, by, note, external_id: None, revision: None };
        let _ = self.engine.act(&action, now);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_doubles_or_loses_a_ticket(noise in prop::collection::vec(noise(), 1..120)) {
        let (mut bench, mut now) = (Bench::of(noisy()), 0);
        for noise in noise {
            match noise {
                Noise::Read(Step::Read { device, wait, reading }) => {
                    now += wait + 1;
                    bench.engine.advance(now, true);
                    bench.engine.batch(&batch(device, now, reading));
                }
                Noise::Offline(device, wait) => {
                    now += wait;
                    bench.gone(device, now, None);
                }
                Noise::Wire(up, wait) => {
                    now += wait;
                    bench.gone(0, now, Some(up));
                }
                Noise::Restart(off) => {
                    let trace = now;
                    now += off;
                    bench.restart(trace, now);
                }
                Noise::Act(nth, verb) => bench.act_on(nth, verb, now),
            }
            bench.take(now);
            check(&bench.told);
            check_storm(&bench.told);
            check_chatter(&bench.told);
        }
        // What holds in the end has its ticket, however long it had to wait for it; and then there is no storm any more.
        for _ in 0..400 {
            now += SECOND;
            bench.engine.advance(now, true);
            for device in 0..2 {
                bench.engine.batch(&batch(device, now, Kind::Good(50.0)));
            }
        }
        bench.take(now);
        check(&bench.told);
        check_storm(&bench.told);
        let last = |rule: &str, device: Option<&str>| {
            let of = |t: &&gatehouse::ticket::Ticket| *t.rule == *rule && t.device.as_deref() == device;
            bench.told.iter().rev().map(|c| &c.ticket).find(of)
        };
        for rule in ["high", "at-once"] {
            for device in ["a", "b"] {
                let last = last(rule, Some(device)).unwrap();
                prop_assert!(last.state != State::Closed && last.cleared_at.is_none());
            }
        }
        for rule in ["storm", "channel-offline"] {
            prop_assert!(last(rule, None).is_none_or(|t| t.cleared_at.is_some()), "{rule} is over");
        }
    }

    #[test]
    fn chatter_is_the_same_however_readings_are_cut(reads in prop::collection::vec(read(), 1..60)) {
        let mut steps = steps_of(reads);
        steps.sort_by_key(|s| s.1);
        let mut plan = noisy();
        plan.rules.pop();
        let (whole, cut) = (run_by(plan.clone(), &steps, false), run_by(plan, &steps, true));
        prop_assert_eq!(whole.by_subject(), cut.by_subject());
    }

    #[test]
    fn a_storm_over_rules_without_delay_is_the_same_however_readings_are_cut(
        reads in prop::collection::vec(read(), 1..60)
    ) {
        let mut steps = steps_of(reads);
        steps.sort_by_key(|s| s.1);
        let mut plan = noisy();
        plan.rules.retain(|rule| matches!(&*rule.id, "at-once" | "storm"));
        plan.rules.push(Rule { id: "again".into(), ..plan.rules[0].clone() });
        let (whole, cut) = (run_by(plan.clone(), &steps, false), run_by(plan, &steps, true));
        prop_assert_eq!(whole.by_subject(), cut.by_subject());
    }
}

#[test]
fn a_wire_that_is_down_when_the_clock_is_stepped_still_gets_its_ticket() {
    let mut bench = Bench::of(noisy());
    bench.gone(0, SECOND, Some(false));
    bench.engine.lost_time(5 * SECOND, 3600 * SECOND);
    bench.engine.advance(3605 * SECOND, true);
    bench.take(3605 * SECOND);
    assert_eq!(kinds(&bench), []);
    bench.engine.advance(3606 * SECOND, true);
    bench.take(3606 * SECOND);
    assert_eq!(kinds(&bench), [("channel-offline", "ticket.opened")]);
}

#[test]
fn tickets_that_wait_do_not_wait_for_a_clock_that_was_set_back() {
    let mut plan = noisy();
    plan.rules.retain(|rule| matches!(&*rule.id, "at-once" | "storm"));
    plan.rules.push(Rule { id: "again".into(), ..plan.rules[0].clone() });
    let mut bench = Bench::of(plan);
    let noon = 12 * 3600 * SECOND;
    bench.engine.lost_time(0, noon);
    for device in 0..2 {
        bench.engine.batch(&batch(device, noon, Kind::Good(50.0)));
    }
    let ten = noon - 2 * 3600 * SECOND;
    bench.engine.lost_time(noon + SECOND, ten);
    let opened = |bench: &Bench| {
        let opened = bench.told.iter().filter(|c| c.kind == "ticket.opened" && *c.ticket.rule != *"storm");
        opened.map(|c| c.at).collect::<Vec<_>>()
    };
    for (now, tickets) in [(ten + 58 * SECOND, 2), (ten + 60 * SECOND, 4)] {
        bench.engine.advance(now, true);
        bench.take(now);
        assert_eq!(opened(&bench).len(), tickets, "{:?}", kinds(&bench));
    }
    assert_eq!(opened(&bench)[2..], [ten + 59 * SECOND; 2]);
}

/// The tickets told so far, as rule and kind.
fn kinds(bench: &Bench) -> Vec<(&str, &str)> {
    bench.told.iter().map(|c| (&*c.ticket.rule, c.kind)).collect()
}
