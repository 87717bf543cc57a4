//! What expressions and schedules promise whatever happens: a restart that takes no time changes no ticket, nor does the
//! way in which readings are cut into batches; and no occasion has two tickets, however often it restarts and whatever
//! the clock does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use gatehouse::config::{self, Gateway};
use gatehouse::reading::{Batch, DeviceId, Millis, PointId, Reading, Reason, Value};
use gatehouse::rules::{Change, Engine, Memory, Plan, SavedEpisode, SavedTicket};
use gatehouse::ticket::State;
use proptest::prelude::*;

const BEGIN: Millis = 1_795_248_000_000;
const SECOND: Millis = 1000;
const HOUR: Millis = 3600 * SECOND;

fn gateway() -> Gateway {
    let device = |id: &str, unit| {
        format!(
            "[[device]]\nid = \"{id}\"\nchannel = \"plant\"\nunit = {unit}\n\
             point = [{{ id = \"p\", table = \"holding\", register = 0, type = \"u16\" }}]\n"
        )
    };
    let toml = format!(
        "[gateway]\nid = \"g\"\n[builtin]\ndevice-silent = false\n\
         [[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.10:502\"\n{}{}\
         [[rule]]\nid = \"both\"\nwhen = \"x > 5 && y < 3\"\npoints = {{ x = \"a.p\", y = \"b.p\" }}\n\
         on_delay = \"3s\"\noff_delay = \"5s\"\nverify = \"20s\"\n\
         [[rule]]\nid = \"at-once\"\nwhen = \"x / y > 2\"\npoints = {{ x = \"a.p\", y = \"b.p\" }}\n\
         [[rule]]\nid = \"upkeep\"\nschedule = \"0 * * * *\"\nverify = \"2h\"\n",
        device("a", 1),
        device("b", 2),
    );
    config::load_sources(vec![("gatehouse.toml".into(), toml)]).unwrap_or_else(|m| panic!("\n{m}")).gateway
}

/// Kind, time, revision, occurrences, state.
type Told = (&'static str, Millis, u64, u32, State);

/// An engine with a journal in memory.
struct Bench<'a> {
    gateway: &'a Gateway,
    engine: Engine,
    now: Millis,
    told: Vec<Change>,
    tickets: HashMap<Arc<str>, SavedTicket>,
    episodes: HashMap<(Arc<str>, Arc<str>), SavedEpisode>,
    number: u64,
}

fn engine(gateway: &Gateway, memory: Memory, now: Millis) -> Engine {
    let plan = Plan {
        rules: gateway.rules.clone(),
        standards: gateway.standards(),
        locale: gateway.locale,
        epoch: "e".into(),
    };
    Engine::new(plan, gateway.site.clone(), memory, now)
}

impl<'a> Bench<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        let engine = engine(gateway, Memory::default(), BEGIN);
        let mut bench = Self {
            gateway,
            engine,
            now: BEGIN,
            told: Vec::new(),
            tickets: HashMap::new(),
            episodes: HashMap::new(),
            number: 0,
        };
        bench.pass(BEGIN);
        bench
    }

    fn pass(&mut self, to: Millis) {
        self.now = to;
        self.engine.advance(to, true);
        self.take();
    }

    fn take(&mut self) {
        let outcome = self.engine.take(self.now);
        self.told.extend(outcome.told);
        self.number = outcome.number;
        self.tickets.extend(outcome.tickets.into_iter().map(|saved| (saved.ticket.id.clone(), saved)));
        for saved in outcome.episodes {
            self.episodes.insert((saved.rule.clone(), saved.subject.clone()), saved);
        }
    }

    fn read(&mut self, device: u32, value: Option<i64>) {
        let point = PointId(device);
        let reading = match value {
            Some(value) => Reading::good(point, self.now, Value::Signed(value)),
            None => Reading::bad(point, self.now, Reason::NoAnswer),
        };
        self.engine.batch(&Batch::new(DeviceId(device), self.now, vec![reading], None));
    }

    fn restart(&mut self, orderly: bool, off: Millis) {
        if orderly {
            self.engine.rest();
        }
        self.take();
        let memory = Memory {
            tickets: self.tickets.values().cloned().collect(),
            episodes: self.episodes.values().filter(|e| e.state.is_some()).cloned().collect(),
            number: self.number,
            last_trace: self.now,
            ..Memory::default()
        };
        self.now += off;
        self.engine = engine(self.gateway, memory, self.now);
        self.take();
    }

    /// By rule, without the order of different ones.
    fn by_rule(&self) -> BTreeMap<String, Vec<Told>> {
        let mut by = BTreeMap::<String, Vec<Told>>::new();
        for Change { kind, at, ticket: t } in self.told.iter().filter(|c| &*c.ticket.rule != "upkeep") {
            by.entry(t.rule.to_string()).or_default().push((*kind, *at, t.revision, t.occurrences, t.state));
        }
        by
    }
}

/// Device, milliseconds since the last one, value.
fn readings() -> impl Strategy<Value = Vec<(u32, Millis, Option<i64>)>> {
    let value = prop_oneof![8 => (0..10i64).prop_map(Some), 1 => Just(None)];
    let wait = prop_oneof![1 => Just(0), 1 => Just(1), 4 => 0..4 * SECOND, 1 => Just(30 * SECOND)];
    prop::collection::vec((0..2u32, wait, value), 1..50)
}

fn run<'a>(
    gateway: &'a Gateway,
    readings: &[(u32, Millis, Option<i64>)],
    how: impl Fn(&mut Bench<'_>, usize),
) -> Bench<'a> {
    let mut bench = Bench::new(gateway);
    for (i, (device, wait, value)) in readings.iter().enumerate() {
        bench.now += wait;
        how(&mut bench, i);
        bench.read(*device, *value);
    }
    let end = bench.now + 100 * SECOND;
    bench.pass(end);
    bench
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_without_time_between_any_two_readings_changes_no_ticket(readings in readings(), every in 1..5usize) {
        let gateway = gateway();
        let plain = run(&gateway, &readings, |_, _| ());
        prop_assert!(plain.told.len() < 1000);
        let restarted = run(&gateway, &readings, |bench, i| {
            let now = bench.now;
            bench.pass(now);
            if i % every == 0 {
                bench.restart(true, 0);
            }
        });
        prop_assert_eq!(plain.by_rule(), restarted.by_rule());
    }

    #[test]
    fn cutting_into_batches_changes_nothing(readings in readings()) {
        let gateway = gateway();
        let plain = run(&gateway, &readings, |_, _| ());
        let cut = run(&gateway, &readings, |bench, _| {
            let now = bench.now;
            bench.pass(now - 1);
            bench.pass(now);
        });
        prop_assert_eq!(plain.by_rule(), cut.by_rule());
    }

    #[test]
    fn no_occasion_has_two_tickets(
        steps in prop::collection::vec((0..6u8, 0..5 * HOUR), 1..40)
    ) {
        let gateway = gateway();
        let mut bench = Bench::new(&gateway);
        for (what, span) in steps {
            match what {
                0 => bench.restart(true, span),
                1 => bench.restart(false, span),
                2 | 3 => {
                    let to = if what == 2 { bench.now + span } else { bench.now - span };
                    bench.engine.lost_time(bench.now, to);
                    bench.pass(to);
                }
                _ => bench.pass(bench.now + span),
            }
        }
        bench.pass(bench.now + 6 * HOUR);
        let mut occasions = HashSet::new();
        for change in bench.told.iter().filter(|c| &*c.ticket.rule == "upkeep" && c.kind == "ticket.opened") {
            prop_assert!(occasions.insert(change.ticket.since), "twice at {}", change.ticket.since);
            prop_assert_eq!(change.ticket.since % HOUR, 0);
            prop_assert!(change.ticket.opened_at >= change.ticket.since);
        }
        // None is left out between the first and the last, as long as there were not too many at once.
        let (first, last) = (occasions.iter().min(), occasions.iter().max());
        if let (Some(first), Some(last)) = (first, last) && occasions.len() < 64 {
            prop_assert_eq!((last - first) / HOUR + 1, occasions.len() as i64);
        }
    }
}

#[test]
fn the_generated_readings_open_and_clear() {
    let gateway = gateway();
    let readings: Vec<_> = (0..40).map(|i| (i % 2, SECOND, Some(i64::from(i * 7 % 10)))).collect();
    let told = run(&gateway, &readings, |_, _| ()).by_rule();
    let kinds: HashSet<&str> = told.values().flatten().map(|told| told.0).collect();
    assert!(kinds.contains("ticket.opened") && kinds.contains("ticket.cleared"), "{told:?}");
}
