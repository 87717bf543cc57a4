//! The centre and the gateway each change tickets while the line between them fails at random, and agree in the end: the
//! rules' engine on one side, a model of a centre on the other, a thousand seeded runs. Requests get lost, replies get
//! lost after they were heard, batches come twice, the gateway is killed between a word and its acknowledgement.
//!
//! The centre keeps what its people want of a ticket, with the revision they saw, and says it in each reply until the
//! gateway's events show it done, or show that the ticket was reopened since. That is all a centre has to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;

use gatehouse::config;
use gatehouse::reading::{Batch, Millis, PointId, Reading, Reason, Value};
use gatehouse::rules::{Engine, Memory, Outcome, Plan, SavedEpisode, SavedTicket};
use gatehouse::sync::words;
use gatehouse::ticket::{Action, CENTRE, Refusal, State, Ticket, Verb};
use serde_json::json;

const RUNS: u64 = 1000;
const STEPS: u32 = 150;
const SECOND: Millis = 1000;
const BATCH: u64 = 4;

const TOML: &str = r#"
gateway = { id = "cp-017", name = "锦绣花园" }
builtin = { device-silent = false }
[[channel]]
id = "plant"
type = "modbus-tcp"
address = "192.0.2.10:502"
[[device]]
id = "pump-1"
channel = "plant"
unit = 1
point = [{ id = "pressure", table = "holding", register = 0, type = "u16" }]
[[device]]
id = "pump-2"
channel = "plant"
unit = 2
point = [{ id = "pressure", table = "holding", register = 0, type = "u16" }]
[[rule]]
id = "low"
point = "*.pressure"
below = 200.0
settle = "5m"
verify = "10m"
reopen = "1h"
level = 1
[[rule]]
id = "very-low"
point = "pump-1.pressure"
below = 100.0
on_delay = "20s"
off_delay = "20s"
settle = "1m"
verify = "0s"
level = 2
"#;

/// xorshift64*, so that a run is known by its number.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn pick<T: Copy>(&mut self, some: &[T]) -> Option<T> {
        (!some.is_empty()).then(|| some[self.below(some.len() as u64) as usize])
    }

    /// The line fails as often as not.
    fn fails(&mut self) -> bool {
        self.below(2) == 0
    }
}

// ---------------------------------------------------------------------------------------------- the gateway

struct Gateway {
    config: config::Gateway,
    engine: Engine,
    now: Millis,
    /// Kind and ticket as JSON, as they are pushed.
    journal: Vec<(&'static str, String)>,
    acknowledged: usize,
    tickets: BTreeMap<Arc<str>, SavedTicket>,
    episodes: BTreeMap<(Arc<str>, Arc<str>), SavedEpisode>,
    number: u64,
}

impl Gateway {
    fn new(config: config::Gateway) -> Self {
        let now = 1_795_248_000_000;
        let engine = engine(&config, Memory::default(), now);
        let (tickets, episodes) = (BTreeMap::new(), BTreeMap::new());
        Self { config, engine, now, journal: vec![], acknowledged: 0, tickets, episodes, number: 0 }
    }

    /// Everything that has come of it is written, as in one transaction.
    fn write(&mut self) {
        self.engine.advance(self.now, true);
        let Outcome { told, tickets, episodes, number, .. } = self.engine.take(self.now);
        let told = told.iter().map(|c| (c.kind, serde_json::to_string(&c.ticket).unwrap()));
        self.journal.extend(told);
        self.tickets.extend(tickets.into_iter().map(|t| (t.ticket.id.clone(), t)));
        self.episodes.extend(episodes.into_iter().map(|e| ((e.rule.clone(), e.subject.clone()), e)));
        self.number = number;
    }

    fn read(&mut self, point: PointId, value: Option<f64>) {
        let reading = match value {
            Some(value) => Reading::good(point, self.now, Value::Number(value)),
            None => Reading::bad(point, self.now, Reason::NoAnswer),
        };
        let device = self.config.site.point(point).device;
        self.engine.batch(&Batch::new(device, self.now, vec![reading], None));
        self.write();
    }

    /// Whether it was followed; what is refused is heard all the same.
    fn act(&mut self, action: &Action) -> bool {
        let done = match self.engine.act(action, self.now) {
            Err(Refusal::Unknown(_)) => {
                let filed = self.tickets[&action.ticket].clone();
                self.engine.act_on_filed(filed, action, self.now)
            }
            done => done,
        };
        self.write();
        done.is_ok()
    }

    fn kill(&mut self) {
        let memory = Memory {
            tickets: self.tickets.values().cloned().collect(),
            episodes: self.episodes.values().filter(|e| e.state.is_some()).cloned().collect(),
            number: self.number,
            last_trace: self.now,
            ..Memory::default()
        };
        self.engine = engine(&self.config, memory, self.now);
        self.write();
    }
}

fn engine(config: &config::Gateway, memory: Memory, now: Millis) -> Engine {
    let plan = Plan {
        rules: config.rules.clone(),
        standards: config.standards(),
        locale: config.locale,
        epoch: "e1".into(),
    };
    Engine::new(plan, config.site.clone(), memory, now)
}

// ---------------------------------------------------------------------------------------------- the centre

/// What people at the centre want of a ticket.
struct Wish {
    state: State,
    /// The revision they saw.
    revision: u64,
}

#[derive(Default)]
struct Centre {
    tickets: BTreeMap<String, Ticket>,
    wishes: BTreeMap<String, Wish>,
    wished: u64,
    superseded: u64,
}

impl Centre {
    /// Takes a batch, perhaps not for the first time, and answers with all that it wants.
    fn receive(&mut self, batch: &[(&'static str, String)]) -> String {
        for (kind, json) in batch {
            let ticket: Ticket = serde_json::from_str(json).unwrap();
            let id = ticket.id.to_string();
            let known = self.tickets.get(&id).map_or(0, |known| known.revision);
            assert!(ticket.revision <= known + 1, "{kind} {}: after {known}", ticket.revision);
            if ticket.revision != known + 1 {
                continue; // twice
            }
            if let Some(wish) = self.wishes.get(&id) {
                let reopened = *kind == "ticket.reopened" && ticket.revision > wish.revision;
                self.superseded += u64::from(reopened);
                if reopened || ticket.state as u8 >= wish.state as u8 {
                    self.wishes.remove(&id);
                }
            }
            self.tickets.insert(id, ticket);
        }
        let words = self.tickets.iter().filter_map(|(id, ticket)| {
            let wish = self.wishes.get(id);
            let nameless = ticket.external_id.is_none();
            (wish.is_some() || nameless).then(|| {
                json!({
                    "id": id,
                    "revision": wish.map_or(ticket.revision, |wish| wish.revision),
                    "state": wish.map(|wish| wish.state),
                    "external_id": format!("WO-{}", ticket.number),
                })
            })
        });
        json!({ "tickets": words.collect::<Vec<_>>() }).to_string()
    }

    fn want(&mut self, dice: &mut Dice) {
        let unclosed: Vec<&Ticket> = self.tickets.values().filter(|t| t.state != State::Closed).collect();
        let Some(ticket) = dice.pick(&unclosed) else { return };
        let state = dice.pick(&State::ALL[1..]).unwrap();
        if state as u8 <= ticket.state as u8 {
            return;
        }
        let wish = Wish { state, revision: ticket.revision };
        let id = ticket.id.to_string();
        self.wishes.insert(id, wish);
        self.wished += 1;
    }
}

// ---------------------------------------------------------------------------------------------- a run

/// A batch goes out; `fails` says for each of its ways whether the line holds.
fn push(gateway: &mut Gateway, centre: &mut Centre, dice: &mut Dice, fails: bool) {
    let rest = &gateway.journal[gateway.acknowledged..];
    let batch = rest[..rest.len().min(BATCH as usize)].to_vec();
    if batch.is_empty() || fails && dice.fails() {
        return;
    }
    let reply = centre.receive(&batch);
    if fails && dice.fails() {
        return;
    }
    let (actions, senseless) = words(reply.as_bytes());
    assert_eq!(senseless, 0, "{reply}");
    for action in &actions {
        gateway.act(action);
        if fails && dice.below(20) == 0 {
            return gateway.kill();
        }
    }
    gateway.acknowledged += batch.len();
}

/// The other way: a call of the API, whose answer may get lost.
fn call(gateway: &mut Gateway, centre: &Centre, dice: &mut Dice) {
    let wishes: Vec<_> = centre.wishes.iter().collect();
    let Some((id, wish)) = dice.pick(&wishes) else { return };
    let verb = match wish.state {
        State::Acknowledged => Verb::Acknowledge,
        State::InProgress => Verb::Start,
        State::Resolved => Verb::Resolve,
        State::Open | State::Closed => Verb::Close,
    };
    let action = Action {
        ticket: id.as_str().into(),
        verb,
        by: CENTRE.into(),
        note: None,
        external_id: None,
        revision: Some(wish.revision),
    };
    if !dice.fails() {
        gateway.act(&action);
    }
}

fn technician(gateway: &mut Gateway, dice: &mut Dice) {
    let tickets: Vec<_> = gateway.tickets.keys().cloned().collect();
    let refs: Vec<&Arc<str>> = tickets.iter().collect();
    let Some(id) = dice.pick(&refs) else { return };
    let verb = dice.pick(&[Verb::Acknowledge, Verb::Start, Verb::Resolve, Verb::Close]).unwrap();
    let by = "li".to_owned();
    let action = Action { ticket: id.clone(), verb, by, note: None, external_id: None, revision: None };
    gateway.act(&action);
}

fn agree_in_the_end(config: &config::Gateway, run: u64) -> (u64, u64, usize) {
    let mut dice = Dice(run.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (mut gateway, mut centre) = (Gateway::new(config.clone()), Centre::default());
    for _ in 0..STEPS {
        gateway.now += match dice.below(10) {
            0 => 3600 * SECOND,
            1 | 2 => 120 * SECOND,
            _ => 5 * SECOND,
        };
        match dice.below(10) {
            0..=3 => {
                let value = dice.pick(&[None, Some(50.0), Some(150.0), Some(300.0), Some(300.0)]).unwrap();
                gateway.read(PointId(dice.below(2) as u32), value);
            }
            4 => technician(&mut gateway, &mut dice),
            5 => centre.want(&mut dice),
            6 => call(&mut gateway, &centre, &mut dice),
            7 if dice.below(3) == 0 => gateway.kill(),
            _ => push(&mut gateway, &mut centre, &mut dice, true),
        }
    }
    // The line holds from now on, and everything is well.
    for round in 0.. {
        assert!(round < 1000, "they never come to rest");
        gateway.now += 5 * SECOND;
        gateway.read(PointId(0), Some(300.0));
        gateway.read(PointId(1), Some(300.0));
        if gateway.acknowledged == gateway.journal.len() && centre.wishes.is_empty() {
            break;
        }
        if gateway.acknowledged == gateway.journal.len() {
            // Nothing to push, so that nothing can be said in a reply: the centre calls.
            call(&mut gateway, &centre, &mut dice);
        }
        push(&mut gateway, &mut centre, &mut dice, false);
    }
    let there: BTreeMap<&str, &Ticket> = centre.tickets.iter().map(|(id, t)| (&**id, t)).collect();
    let here: BTreeMap<&str, &Ticket> = gateway.tickets.iter().map(|(id, t)| (&**id, &t.ticket)).collect();
    assert_eq!(here, there);
    for ticket in here.values() {
        assert_eq!(ticket.external_id, Some(format!("WO-{}", ticket.number)));
    }
    // What the centre wanted was done once, however often it was said.
    let steps = ["ticket.acknowledged", "ticket.started", "ticket.resolved"];
    let by_centre =
        |(kind, json): &&(&str, String)| steps.contains(kind) && json.contains(r#""by":"centre""#);
    assert!(gateway.journal.iter().filter(by_centre).count() as u64 <= centre.wished);
    (centre.wished, centre.superseded, here.len())
}

#[test]
fn a_thousand_runs_agree_in_the_end() {
    let loaded = config::load_sources(vec![("gatehouse.toml".into(), TOML.into())]);
    let config = loaded.map(|loaded| loaded.gateway).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (mut wished, mut superseded, mut tickets) = (0, 0, 0);
    for run in 0..RUNS {
        let said = std::panic::catch_unwind(|| agree_in_the_end(&config, run));
        let (w, s, t) = said.unwrap_or_else(|_| panic!("run {run}"));
        (wished, superseded, tickets) = (wished + w, superseded + s, tickets + t);
    }
    println!(
        "{RUNS} runs: {tickets} tickets, {wished} wishes of the centre, {superseded} overtaken by a reopening"
    );
    assert!(
        wished > 5 * RUNS && superseded > RUNS / 10 && tickets > 2 * RUNS as usize,
        "too little happened"
    );
}
