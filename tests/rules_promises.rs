//! What the rules promise whatever is read, of every condition on points: the same tickets however readings are cut and
//! mixed and wherever the daemon is restarted between them, never two unclosed tickets of one subject, revisions without
//! gaps, no forgotten episode after a kill, and no step of a ticket that `docs/tickets.md` does not have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gatehouse::maintenance::{self, Maintenance, Scope};
use gatehouse::reading::{
    Batch, Clean, Device, DeviceId, Millis, Point, PointId, Reading, Reason, Site, Value,
};
use gatehouse::rules::{
    Change, Chatter, Condition, Engine, Expression, Limit, Locale, Memory, Name, Outcome, Over, Plan, Rule,
};
use gatehouse::ticket::{Action, Class, Standard, State, Verb};
use proptest::prelude::*;
use serde_json::json;

const SECOND: Millis = 1000;
const DEVICES: [&str; 2] = ["a", "b"];

/// Each device has a number, a state and a momentary point.
fn site() -> Arc<Site> {
    let device = |(number, id): (u32, &&str)| Device {
        id: (*id).into(),
        channel: "line".into(),
        profile: None,
        place: "3号楼".into(),
        polled: true,
        first_point: number * 2,
        points: 2,
        words: Some(word_of(number)),
    };
    let point = |id: &str, device| Point {
        id: id.into(),
        device: DeviceId(device),
        unit: None,
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
    };
    Arc::new(Site {
        gateway: "cp-017".into(),
        name: "锦绣花园".into(),
        devices: (0..).zip(&DEVICES).map(device).collect(),
        points: vec![
            point("a.p", 0),
            point("a.s", 0),
            point("b.p", 1),
            point("b.s", 1),
            point("a.access", 0),
            point("b.access", 1),
        ],
        doors: vec![],
    })
}

fn number_of(device: u32) -> PointId {
    PointId(device * 2)
}

fn state_of(device: u32) -> PointId {
    PointId(device * 2 + 1)
}

fn word_of(device: u32) -> PointId {
    PointId(4 + device)
}

fn over(point: impl Fn(u32) -> PointId) -> Over {
    Over::Points(vec![point(0), point(1)])
}

fn rule(id: &str, condition: Condition, over: Over) -> Rule {
    Rule {
        id: id.into(),
        over,
        condition,
        limit: json!({}),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: 40 * SECOND,
        verify: 60 * SECOND,
        reopen: 100 * SECOND,
        class: Class::Immediate,
        level: 1,
        trade: None,
        chatter: None,
        title: None,
    }
}

/// Every condition on points, and some of them with delays.
fn rules() -> Vec<Rule> {
    let (s, on) = (SECOND, || Value::Text("on".into()));
    let number = |id, condition| rule(id, condition, over(number_of));
    let state = |id, condition| rule(id, condition, over(state_of));
    let word = |id, condition| rule(id, condition, over(word_of));
    let denied = || Value::Text("denied".into());
    let chatty = |rule: Rule| Rule { chatter: Some(Chatter { times: 3, within: 40 * s }), ..rule };
    let slow = |rule: Rule| Rule { on_delay: 5 * s, off_delay: 7 * s, ..rule };
    let dead = |rule: Rule| Rule { deadband: 2.0, ..rule };
    let name = |name: &str, point: &str| Name {
        name: name.into(),
        point: point.into(),
        kind: gatehouse::rules::Kind::Any,
    };
    let names = [name("x", "a.number"), name("y", "a.state")];
    let expression = Expression::compile("x > 10.0 && y == \"on\"", &names).unwrap();
    vec![
        slow(dead(number("high", Condition::Above(10.0)))),
        dead(number("at-once", Condition::Above(10.0))),
        slow(number("low", Condition::Below(9.5))),
        dead(number("outside", Condition::Outside(8.0, 12.0))),
        slow(number("inside", Condition::Inside(9.0, 10.0))),
        chatty(number("ten", Condition::Equals(Value::Signed(10)))),
        slow(number("not-ten", Condition::NotEquals(Value::Number(10.0)))),
        dead(number("rises", Condition::Rises { by: 4.0, within: 20 * s })),
        slow(number("falls", Condition::Falls { by: 4.0, within: 30 * s })),
        number("quiet", Condition::Silent(15 * s)),
        number("stuck", Condition::Stuck(12 * s)),
        slow(number("slowly-stuck", Condition::Stuck(9 * s))),
        number(
            "forecast",
            Condition::Forecast {
                limit: Limit::Above(40.0),
                within: 3600 * s,
                zone: jiff::tz::TimeZone::UTC,
            },
        ),
        number("meter-hours", Condition::Runtime { equals: None, lasts: 2 * 3600 * s }),
        number("meter-cycles", Condition::Cycles { equals: None, count: 60 }),
        chatty(state("on", Condition::Equals(on()))),
        slow(state("changes", Condition::Count { equals: on(), times: 2, within: 20 * s })),
        state("hours", Condition::Runtime { equals: Some(on()), lasts: 25 * s }),
        slow(state("slow-hours", Condition::Runtime { equals: Some(on()), lasts: 15 * s })),
        state("cycles", Condition::Cycles { equals: Some(on()), count: 3 }),
        word("denied", Condition::Count { equals: denied(), times: 2, within: 15 * s }),
        slow(word("slowly-denied", Condition::Count { equals: denied(), times: 2, within: 15 * s })),
        word("entries", Condition::Cycles { equals: Some(denied()), count: 3 }),
        rule("both", Condition::When(expression), Over::Together(vec![number_of(0), state_of(0)])),
        rule("silent", Condition::Silent(20 * s), Over::Devices(vec![DeviceId(0), DeviceId(1)])),
    ]
}

fn plan() -> Plan {
    let standard = Standard { contact: 15 * SECOND, on_site: 50 * SECOND, follow_up: 30 * SECOND };
    Plan { rules: rules(), standards: [standard; 3], locale: Locale::ZhCn, epoch: "e".into() }
}

// ---------------------------------------------------------------------------------------------- what happens

#[derive(Debug, Clone)]
enum Step {
    Read { device: u32, wait: Millis, what: What },
    Say { rule: usize, device: usize, verb: usize },
    Restart { off: Millis },
    Rest { device: u32, lasts: Millis },
}

#[derive(Debug, Clone, Copy)]
enum What {
    Number(Kind, f64),
    State(Kind, &'static str),
    /// Of the momentary point.
    Word(&'static str),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Good,
    Uncertain,
    Bad,
}

const NUMBERS: [f64; 6] = [5.0, 9.0, 10.0, 11.0, 11.5, 50.0];
const STATES: [&str; 2] = ["on", "off"];
const WORDS: [&str; 2] = ["denied", "granted"];
const VERBS: [Verb; 5] = [Verb::Acknowledge, Verb::Start, Verb::Resolve, Verb::Close, Verb::Tell];

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![6 => Just(Kind::Good), 1 => Just(Kind::Uncertain), 1 => Just(Kind::Bad)]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => (kind(), 0..NUMBERS.len()).prop_map(|(kind, n)| What::Number(kind, NUMBERS[n])),
        3 => (kind(), 0..2usize).prop_map(|(kind, n)| What::State(kind, STATES[n])),
        2 => (0..2usize).prop_map(|n| What::Word(WORDS[n])),
    ]
}

/// A third of them in the instant of the one before.
fn read() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![1 => Just(0), 2 => 1..20i64];
    (0..2u32, wait, what()).prop_map(|(device, wait, what)| Step::Read {
        device,
        wait: wait * SECOND / 2,
        what,
    })
}

fn reading(device: u32, at: Millis, what: What) -> Reading {
    let (point, kind, value) = match what {
        What::Number(kind, number) => (number_of(device), kind, Value::Number(number)),
        What::State(kind, state) => (state_of(device), kind, Value::Text(state.into())),
        What::Word(word) => (word_of(device), Kind::Good, Value::Text(word.into())),
    };
    match kind {
        Kind::Good => Reading::good(point, at, value),
        Kind::Uncertain => Reading::uncertain(point, at, value, Reason::Retained),
        Kind::Bad => Reading::bad(point, at, Reason::NoAnswer),
    }
}

fn batch(device: u32, at: Millis, what: What) -> Batch {
    Batch::new(DeviceId(device), at, vec![reading(device, at, what)], None)
}

// ---------------------------------------------------------------------------------------------- the bench

/// Kind, time, revision, occurrences, state, value.
type Told = (&'static str, Millis, u64, u32, State, Option<Value>);

/// An engine with a journal in memory.
struct Bench {
    engine: Engine,
    told: Vec<Change>,
    tickets: HashMap<Arc<str>, gatehouse::rules::SavedTicket>,
    episodes: HashMap<(Arc<str>, Arc<str>), gatehouse::rules::SavedEpisode>,
    maintenance: HashMap<Scope, Maintenance>,
    number: u64,
}

impl Bench {
    fn new() -> Self {
        Self::with(plan())
    }

    fn with(plan: Plan) -> Self {
        let mut engine = Engine::new(plan, site(), Memory::default(), 0);
        engine.advance(0, true);
        Self {
            engine,
            told: vec![],
            tickets: HashMap::new(),
            episodes: HashMap::new(),
            maintenance: HashMap::new(),
            number: 0,
        }
    }

    fn take(&mut self, now: Millis) {
        let Outcome { told, tickets, episodes, maintenance, number } = self.engine.take(now);
        for maintenance::Change { step, maintenance, .. } in maintenance {
            match step {
                maintenance::Step::Ended => self.maintenance.remove(&maintenance.scope),
                _ => self.maintenance.insert(maintenance.scope.clone(), maintenance),
            };
        }
        self.told.extend(told);
        self.number = number;
        for saved in tickets {
            self.tickets.insert(saved.ticket.id.clone(), saved);
        }
        for saved in episodes {
            assert!(saved.state.as_ref().is_none_or(|state| state.len() <= 4096), "{saved:?}");
            self.episodes.insert((saved.rule.clone(), saved.subject.clone()), saved);
        }
    }

    /// One reading, or what happened.
    fn hear(&mut self, device: u32, at: Millis, what: What) {
        match what {
            What::Word(_) => self.engine.word(&reading(device, at, what)),
            _ => self.engine.batch(&batch(device, at, what)),
        }
    }

    /// Comes up again from what was saved; `trace` is the last instant that is on record.
    fn restart(&mut self, plan: Plan, trace: Millis, now: Millis) {
        let memory = Memory {
            tickets: self.tickets.values().cloned().collect(),
            episodes: self.episodes.values().filter(|e| e.state.is_some()).cloned().collect(),
            maintenance: self.maintenance.values().cloned().collect(),
            number: self.number,
            last_trace: trace,
        };
        self.engine = Engine::new(plan, site(), memory, now);
        self.engine.advance(now, true);
    }

    /// `until` that has come ends it.
    fn rest(&mut self, device: u32, now: Millis, until: Millis) {
        let scope = Scope::Device(["a", "b"][device as usize].into());
        let asked = Maintenance { scope, since: now, until, by: "li".into(), note: None };
        self.engine.maintain(asked).unwrap();
    }

    /// Down and up again in one instant.
    fn restart_at(&mut self, now: Millis) {
        self.engine.advance(now, true);
        self.engine.rest();
        self.take(now);
        self.restart(plan(), now, now);
    }

    fn last_of(&self, rule: &str, device: &str) -> Option<&gatehouse::ticket::Ticket> {
        let of = |t: &&gatehouse::ticket::Ticket| *t.rule == *rule && t.device.as_deref() == Some(device);
        self.told.iter().rev().map(|c| &c.ticket).find(of)
    }

    /// What was told, without what depends on the order in which devices spoke: ids and numbers.
    fn by_subject(&self) -> BTreeMap<(String, String), Vec<Told>> {
        let mut by = BTreeMap::<_, Vec<_>>::new();
        for change in &self.told {
            let t = &change.ticket;
            let key = (t.rule.to_string(), t.device.as_deref().unwrap_or_default().to_owned());
            let told = (change.kind, change.at, t.revision, t.occurrences, t.state, t.value.clone());
            by.entry(key).or_default().push(told);
        }
        by
    }
}

type Read = (u32, Millis, What);

/// `cuts`, again and again: whether time passes and is written before a reading, and whether a reading of the same device
/// and instant comes in the same batch.
fn run(steps: &[Read], cuts: &[(bool, bool)]) -> Bench {
    run_at_rest(steps, cuts, 0)
}

/// `rest`: the first device is in maintenance until then.
fn run_at_rest(steps: &[Read], cuts: &[(bool, bool)], rest: Millis) -> Bench {
    let mut bench = Bench::new();
    bench.rest(0, 0, rest);
    let mut waiting: Option<Batch> = None;
    for (n, (device, at, what)) in steps.iter().enumerate() {
        let (passes, joins) = cuts.get(n % cuts.len().max(1)).copied().unwrap_or_default();
        let whole = waiting.take_if(|b| !joins || b.device.0 != *device || b.at != *at);
        if let Some(batch) = whole {
            bench.engine.batch(&batch);
        }
        if passes && waiting.is_none() {
            bench.engine.advance(*at - 1, true);
            bench.take(*at - 1);
        }
        match what {
            What::Word(_) => {
                if let Some(batch) = waiting.take() {
                    bench.engine.batch(&batch);
                }
                bench.hear(*device, *at, *what);
            }
            _ => waiting
                .get_or_insert_with(|| Batch::new(DeviceId(*device), *at, vec![], None))
                .readings
                .push(reading(*device, *at, *what)),
        }
    }
    if let Some(batch) = waiting {
        bench.engine.batch(&batch);
    }
    finish(bench, steps)
}

fn finish(mut bench: Bench, steps: &[Read]) -> Bench {
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
        let key = (&*ticket.rule, ticket.device.as_deref().unwrap());
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

/// Each device has a clock of its own.
fn steps_of(reads: Vec<Step>) -> Vec<Read> {
    let mut at = [1, 1];
    let steps = reads.into_iter().filter_map(|step| match step {
        Step::Read { device, wait, what } => {
            let at = &mut at[device as usize];
            *at += wait;
            Some((device, *at, what))
        }
        Step::Say { .. } | Step::Restart { .. } | Step::Rest { .. } => None,
    });
    steps.collect()
}

fn in_order(reads: Vec<Step>) -> Vec<Read> {
    let mut steps = steps_of(reads);
    steps.sort_by_key(|s| s.1);
    steps
}

/// Seconds, hours, days, and from 1970 to today.
fn jump() -> impl Strategy<Value = Millis> {
    prop_oneof![
        -90 * SECOND..90 * SECOND,
        -30 * 24 * 3600 * SECOND..30 * 24 * 3600 * SECOND,
        Just(1_790_000_000_000)
    ]
}

/// Without the clock's own corrections: kind, state, occurrences, value, and the ticket's times and the event's as they
/// would be had nobody touched the clock.
type Steadily = (&'static str, State, u32, Option<Value>, Vec<Option<Millis>>);

/// After each step of the walk the clock is stepped by what `jumps` says.
fn walk_stepped(steps: &[Step], jumps: &[Option<Millis>]) -> BTreeMap<(String, String), Vec<Steadily>> {
    let (mut bench, mut now, mut off) = (Bench::new(), 0, 0);
    let mut by = BTreeMap::<_, Vec<_>>::new();
    let mut seen = 0;
    for n in 0..=steps.len() {
        match steps.get(n) {
            Some(Step::Read { device, wait, what }) => {
                now += wait;
                bench.engine.advance(now, true);
                bench.hear(*device, now, *what);
            }
            Some(Step::Say { rule, device, verb }) => {
                let about = bench.last_of(&rules()[*rule].id, DEVICES[*device]).map(|t| t.id.clone());
                if let Some(ticket) = about {
                    let (by, verb) = ("li".into(), VERBS[*verb]);
                    let action = Action { ticket, verb, by, note: None, external_id: None, revision: None };
                    let _ = bench.engine.act(&action, now);
                }
            }
            Some(Step::Rest { device, lasts }) => bench.rest(*device, now, now + lasts),
            Some(Step::Restart { .. }) => bench.restart_at(now),
            None => {
                now += 1000 * SECOND;
                bench.engine.advance(now, true);
            }
        }
        bench.take(now);
        if let Some(jump) = jumps.get(n).copied().flatten() {
            bench.engine.advance(now, true);
            bench.take(now);
            told_steadily(&bench.told[seen..], off, &mut by);
            seen = bench.told.len();
            (now, off) = (now + jump, off + jump);
            bench.engine.stepped(jump, jump, now);
            bench.take(now);
        }
        told_steadily(&bench.told[seen..], off, &mut by);
        seen = bench.told.len();
    }
    check(&bench.told);
    by
}

fn told_steadily(told: &[Change], off: Millis, by: &mut BTreeMap<(String, String), Vec<Steadily>>) {
    for Change { kind, at, ticket: t } in told {
        if *kind == "ticket.updated" && t.note.as_deref() == Some("clock") {
            continue;
        }
        let deadlines = [t.deadlines.contact_by, t.deadlines.on_site_by, t.deadlines.follow_up_by];
        let mut times = vec![Some(*at), Some(t.since), Some(t.opened_at), t.cleared_at, t.resolved_at];
        // Of a closed ticket nothing is corrected any more.
        if t.state == State::Closed && *kind != "ticket.closed" {
            times.truncate(1);
        } else {
            times.extend(deadlines);
            times.extend(t.evidence.iter().map(|pair| Some(pair.0)));
        }
        let times = times.into_iter().map(|at| at.map(|at| at - off)).collect();
        let key = (t.rule.to_string(), t.device.as_deref().unwrap_or_default().to_owned());
        by.entry(key).or_default().push((kind, t.state, t.occurrences, t.value.clone(), times));
    }
}

// ---------------------------------------------------------------------------------------------- the promises

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cutting_into_batches_changes_nothing(
        reads in prop::collection::vec(read(), 1..80),
        cuts in prop::collection::vec(any::<(bool, bool)>(), 1..80),
        rest in 0..200i64,
    ) {
        let steps = in_order(reads);
        let rest = rest * SECOND;
        let (whole, cut) = (run_at_rest(&steps, &[], rest), run_at_rest(&steps, &cuts, rest));
        check(&whole.told);
        let early = whole.told.iter().find(|c| c.ticket.device.as_deref() == Some("a") && c.at < rest);
        prop_assert!(early.is_none(), "in maintenance until {rest}: {early:?}");
        prop_assert_eq!(whole.by_subject(), cut.by_subject());
    }

    #[test]
    fn the_order_in_which_devices_report_changes_nothing(
        reads in prop::collection::vec(read(), 1..80),
        rest in 0..200i64,
    ) {
        let rest = rest * SECOND;
        let steps = steps_of(reads);
        let mut sorted = steps.clone();
        sorted.sort_by_key(|s| s.0);
        prop_assert_eq!(run_at_rest(&steps, &[], rest).by_subject(), run_at_rest(&sorted, &[], rest).by_subject());
    }

    /// But for silence, which by the contract counts from the daemon's start.
    #[test]
    fn restarting_between_any_two_readings_changes_nothing(
        reads in prop::collection::vec(read(), 1..80),
        restarts in prop::collection::vec(prop::option::weighted(0.3, 0..10_000i64), 80),
    ) {
        let steps = in_order(reads);
        let mut bench = Bench::new();
        let mut now = 0;
        for (n, ((device, at, what), restart)) in steps.iter().zip(&restarts).enumerate() {
            bench.hear(*device, *at, *what);
            now = now.max(*at);
            let next = steps.get(n + 1).map_or(Millis::MAX, |next| next.1);
            if let Some(wait) = restart {
                now = (now + wait).min(next);
                bench.restart_at(now);
            }
        }
        let restarted = finish(bench, &steps);
        check(&restarted.told);
        let spoken = |bench: &Bench| {
            let mut by = bench.by_subject();
            by.retain(|(rule, _), _| !["quiet", "silent"].contains(&rule.as_str()));
            by
        };
        prop_assert_eq!(spoken(&run(&steps, &[])), spoken(&restarted));
    }

    /// Whoever steps the wall clock, and however often: the same happens at the same moments, and tickets tell the times of
    /// the clock as it then is.
    #[test]
    fn a_stepped_clock_changes_nothing_but_the_times_that_are_told(
        steps in prop::collection::vec(
            prop_oneof![
                8 => read(),
                1 => (0..25usize, 0..2usize, 0..5usize).prop_map(|(rule, device, verb)| Step::Say { rule, device, verb }),
                1 => (0..2u32, 0..60i64).prop_map(|(device, s)| Step::Rest { device, lasts: s * SECOND }),
                1 => Just(Step::Restart { off: 0 }),
            ],
            1..80,
        ),
        stepped in prop::collection::vec(prop::option::weighted(0.3, jump()), 80),
    ) {
        let steady = walk_stepped(&steps, &[]);
        let stepped = walk_stepped(&steps, &stepped);
        prop_assert_eq!(steady, stepped);
    }

    #[test]
    fn kills_and_people_never_double_or_lose_a_ticket(
        steps in prop::collection::vec(
            prop_oneof![
                6 => read(),
                1 => (0..25usize, 0..2usize, 0..5usize).prop_map(|(rule, device, verb)| Step::Say { rule, device, verb }),
                1 => (0..30i64).prop_map(|off| Step::Restart { off: off * SECOND }),
                1 => (0..2u32, 0..60i64).prop_map(|(device, s)| Step::Rest { device, lasts: s * SECOND }),
            ],
            1..80,
        )
    ) {
        let (mut bench, mut now) = (Bench::new(), 0);
        for step in steps {
            match step {
                Step::Read { device, wait, what } => {
                    now += wait;
                    bench.engine.advance(now, true);
                    bench.hear(device, now, what);
                }
                Step::Say { rule, device, verb } => {
                    let about = bench.last_of(&rules()[rule].id, DEVICES[device]);
                    let Some(ticket) = about.map(|t| t.id.clone()) else { continue };
                    let action = Action {
                        ticket,
                        verb: VERBS[verb],
                        by: "li".into(),
                        note: Some("x".into()),
                        external_id: None,
                        revision: None,
                    };
                    let _ = bench.engine.act(&action, now);
                }
                Step::Rest { device, lasts } => bench.rest(device, now, now + lasts),
                Step::Restart { off } => {
                    let trace = now;
                    now += off;
                    bench.restart(plan(), trace, now);
                }
            }
            bench.take(now);
        }
        check(&bench.told);
        // A condition that holds in the end has exactly one unclosed ticket, however often the daemon was killed.
        for device in 0..2 {
            bench.rest(device, now, now);
            for n in 1..20 {
                let at = now + n * SECOND;
                bench.hear(device, at, What::Number(Kind::Good, 50.0));
                bench.hear(device, at, What::State(Kind::Good, "on"));
            }
        }
        bench.take(now + 20 * SECOND);
        check(&bench.told);
        for rule in ["high", "at-once", "outside", "not-ten", "stuck", "slowly-stuck", "on"] {
            for device in DEVICES {
                let last = bench.last_of(rule, device).unwrap();
                prop_assert!(last.state != State::Closed && last.cleared_at.is_none(), "{} {}", rule, device);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------- the diagram

/// `open, gone`, as in the table; `-`: there is no ticket yet.
fn stands(ticket: Option<&gatehouse::ticket::Ticket>) -> String {
    let Some(t) = ticket else { return "-".to_owned() };
    format!("{}, {}", t.state.word(), if t.cleared_at.is_some() { "gone" } else { "holds" })
}

/// From, event, to: the rows of the table.
fn steps_of_the_docs() -> Vec<(String, String, String)> {
    let docs = std::fs::read_to_string("docs/tickets.md").unwrap();
    let rows = docs.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [from, event, to, ..] = cells.as_slice() else { return None };
        (*from == "-" || from.contains(", ")).then(|| ((*from).into(), (*event).into(), (*to).into()))
    });
    rows.collect()
}

/// A small generator of one's own, so that a million steps are a matter of seconds.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn of<T: Copy>(&mut self, what: &[T]) -> T {
        what[self.roll(what.len() as u64) as usize]
    }

    fn what(&mut self) -> What {
        let kind = self.of(&[Kind::Good, Kind::Good, Kind::Good, Kind::Good, Kind::Uncertain, Kind::Bad]);
        match self.roll(3) {
            0 => What::Number(kind, self.of(&NUMBERS)),
            1 => What::State(kind, self.of(&STATES)),
            _ => What::Word(self.of(&WORDS)),
        }
    }
}

/// The rules of which there is one of each kind; `off`: one has left the configuration, and another says other words.
fn walked(off: u64) -> Plan {
    let mut plan = plan();
    plan.rules.retain(|r| ["at-once", "rises", "stuck", "changes", "hours", "entries"].contains(&&*r.id));
    if let Some(left) = (off as usize).checked_sub(1).filter(|left| *left < plan.rules.len()) {
        plan.rules.remove(left);
        plan.rules[0].level = 2;
    }
    plan.rules[1].chatter = Some(Chatter { times: 4, within: 20 * SECOND });
    plan
}

/// A walk: readings, time, people, restarts, another configuration, a clock that is stepped.
struct Walk {
    bench: Bench,
    dice: Dice,
    now: Millis,
    /// By rule and device, each ticket as it was last told.
    last: BTreeMap<(Arc<str>, Option<Arc<str>>), gatehouse::ticket::Ticket>,
    seen: BTreeMap<(String, String, String), u64>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self {
            bench: Bench::with(walked(0)),
            dice: Dice(seed),
            now: 0,
            last: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        match self.dice.roll(1000) {
            0..850 => {
                let (device, what) = (self.dice.roll(2) as u32, self.dice.what());
                self.now += self.dice.roll(6) as Millis * SECOND;
                self.bench.engine.advance(self.now, true);
                self.bench.hear(device, self.now, what);
            }
            850..990 => self.say(),
            990..996 => {
                let (trace, off) = (self.now, self.dice.roll(7));
                self.now += self.dice.roll(30) as Millis * SECOND;
                self.bench.restart(walked(off), trace, self.now);
                let now = self.now;
                let young = |closed: Option<Millis>| closed.is_none_or(|at| now - at < 200 * SECOND);
                self.bench.tickets.retain(|_, saved| young(saved.ticket.closed_at));
            }
            996..999 => {
                self.now += self.dice.roll(100) as Millis * SECOND;
                self.bench.engine.advance(self.now, true);
            }
            _ => {
                let to = self.now + (self.dice.roll(200) as Millis - 100) * SECOND;
                self.bench.engine.lost_time(self.now, to);
                self.now = to;
            }
        }
        self.bench.take(self.now);
        self.look();
    }

    fn say(&mut self) {
        if self.last.is_empty() {
            return;
        }
        let nth = self.dice.roll(self.last.len() as u64) as usize;
        let Some(ticket) = self.last.values().nth(nth).map(|t| t.id.clone()) else { return };
        let action = Action {
            ticket,
            verb: self.dice.of(&VERBS),
            by: "li".into(),
            note: Some(self.dice.roll(1000).to_string()),
            external_id: None,
            revision: (self.dice.roll(10) == 0).then_some(1),
        };
        let _ = self.bench.engine.act(&action, self.now);
    }

    /// Which steps were taken.
    fn look(&mut self) {
        for Change { kind, ticket, .. } in self.bench.told.drain(..) {
            let key = (ticket.rule.clone(), ticket.device.clone());
            let before = self.last.get(&key).filter(|last| last.id == ticket.id);
            let revision = before.map_or(0, |before| before.revision);
            assert_eq!(ticket.revision, revision + 1, "{kind} of {}", ticket.number);
            let unclosed = self.last.get(&key).filter(|last| last.state != State::Closed);
            assert!(kind != "ticket.opened" || unclosed.is_none(), "two unclosed tickets of {key:?}");
            let event = kind.trim_start_matches("ticket.").to_owned();
            *self.seen.entry((stands(before), event, stands(Some(&ticket)))).or_default() += 1;
            self.last.insert(key, ticket);
        }
    }
}

/// Or the promises above would say nothing of it.
#[test]
fn every_condition_is_met_by_what_is_read_here() {
    let (mut bench, mut dice, mut now) = (Bench::new(), Dice(7), 0);
    for _ in 0..20_000 {
        now += dice.roll(20) as Millis * SECOND / 2;
        let (device, what) = (dice.roll(2) as u32, dice.what());
        bench.hear(device, now, what);
    }
    bench.take(now);
    // Of these two other promises speak; a trend needs longer than this.
    let others = ["both", "forecast"];
    for rule in rules().iter().filter(|rule| !others.contains(&&*rule.id)) {
        assert!(DEVICES.iter().all(|device| bench.last_of(&rule.id, device).is_some()), "{}", rule.id);
    }
}

#[test]
fn no_step_is_taken_that_the_diagram_does_not_have() {
    let table = steps_of_the_docs();
    assert!(table.len() >= 40, "{} rows", table.len());
    let mut seen = BTreeMap::<_, u64>::new();
    for seed in 1..=4_u64 {
        let mut walk = Walk::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..WALK {
            walk.step();
        }
        for (step, times) in walk.seen {
            *seen.entry(step).or_default() += times;
        }
    }
    let strange: Vec<_> = seen.iter().filter(|(step, _)| !table.contains(step)).collect();
    assert!(strange.is_empty(), "not in docs/tickets.md: {strange:#?}");
    let never: Vec<_> = table.iter().filter(|step| !seen.contains_key(*step)).collect();
    assert!(never.is_empty(), "in docs/tickets.md, and never taken: {never:#?}");
    let taken: u64 = seen.values().sum();
    println!("{} inputs, {taken} steps of tickets, {} kinds", 4 * WALK, seen.len());
}

const WALK: u32 = 250_000;

/// Two delays and a silence.
fn three() -> Plan {
    let mut plan = plan();
    plan.rules.retain(|rule| ["high", "at-once", "silent"].contains(&&*rule.id));
    plan
}

/// The tickets told so far, as rule and kind.
fn kinds(bench: &Bench) -> Vec<(&str, &str)> {
    bench.told.iter().map(|c| (&*c.ticket.rule, c.kind)).collect()
}

#[test]
fn a_clock_that_is_stepped_forward_makes_nobody_silent_and_ends_no_delay() {
    let mut bench = Bench::with(three());
    bench.engine.batch(&batch(0, 1000, What::Number(Kind::Good, 50.0)));
    bench.engine.batch(&batch(1, 1000, What::Number(Kind::Good, 5.0)));
    bench.engine.advance(2000, true);
    let day = 24 * 3600 * SECOND;
    bench.engine.lost_time(2000, 2000 + day);
    bench.engine.advance(2000 + day, true);
    bench.take(2000 + day);
    assert_eq!(kinds(&bench)[..1], [("at-once", "ticket.opened")]);
    assert!(
        bench.told[1..].iter().all(|c| c.kind == "ticket.escalated"),
        "only the deadlines of what is open pass: {:?}",
        kinds(&bench)
    );
    // One of the five seconds of the on-delay had run.
    bench.engine.batch(&batch(0, 3000 + day, What::Number(Kind::Good, 50.0)));
    bench.engine.advance(6999 + day, true);
    bench.take(7000 + day);
    assert!(!kinds(&bench).contains(&("high", "ticket.opened")));
    bench.engine.advance(7000 + day, true);
    bench.take(7000 + day);
    assert!(kinds(&bench).contains(&("high", "ticket.opened")));
}

#[test]
fn a_clock_that_is_set_back_stops_no_delay_and_hides_no_silence() {
    let mut bench = Bench::with(three());
    let noon = 12 * 3600 * SECOND;
    bench.engine.lost_time(0, noon);
    bench.engine.batch(&batch(0, noon, What::Number(Kind::Good, 50.0)));
    let ten = noon - 2 * 3600 * SECOND;
    bench.engine.lost_time(noon, ten);
    bench.engine.batch(&batch(0, ten + SECOND, What::Number(Kind::Good, 50.0)));
    bench.engine.advance(ten + 30 * SECOND, true);
    bench.take(ten + 30 * SECOND);
    let at = |rule: &str, device: &str| {
        let of = |c: &&Change| &*c.ticket.rule == rule && c.ticket.device.as_deref() == Some(device);
        bench.told.iter().filter(of).find(|c| c.kind == "ticket.opened").map(|c| c.at)
    };
    assert_eq!(at("high", "a"), Some(ten + 6 * SECOND));
    assert_eq!(at("silent", "a"), Some(ten + 21 * SECOND));
    assert_eq!(at("silent", "b"), Some(ten + 20 * SECOND));
}
