//! The small compound with an intake on a real store, and a test in place of its wire.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::clock::Clock;
use gatehouse::command::{Allowed, Moves, Terms};
use gatehouse::event::{Draft, Kinds};
use gatehouse::field::{Errand, Near};
use gatehouse::intake::{self, Doors, Intake, Keep, Turn, Turned};
use gatehouse::live::Live;
use gatehouse::maintenance::Call;
use gatehouse::metrics::Metrics;
use gatehouse::numbers::Numbers;
use gatehouse::order::{Deed, Done, Order, Outcome, Refused, Role, Wish};
use gatehouse::reading::{Batch, DeviceId, Edition, Millis, Reading, Value};
use gatehouse::rules::{Engine, Locale, Memory, Plan, Rule, SavedEpisode, SavedTicket};
use gatehouse::store::{self, View};
use gatehouse::ticket::{Ask, Standard};
use gatehouse::time;
use serde_json::Value as Json;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::{BANK, CELL_1, ENTRANCE, READER, plan, site};

pub struct Bench {
    pub batches: mpsc::Sender<Batch>,
    pub asks: mpsc::Sender<Ask>,
    pub wishes: mpsc::Sender<Wish>,
    pub calls: mpsc::Sender<Call>,
    pub turns: mpsc::Sender<Turn>,
    /// What the wire is told.
    pub lane: mpsc::Receiver<Errand>,
    pub view: View,
    pub head: watch::Receiver<u64>,
    pub metrics: Metrics,
    /// Of the wire.
    edition: Edition,
    /// Ends when intake does.
    pub done: JoinHandle<()>,
}

/// Beside what a wish becomes, whether it was begun.
pub struct Wished {
    pub begun: oneshot::Receiver<()>,
    pub answer: oneshot::Receiver<Result<Outcome, Refused>>,
}

pub fn order(action: &str, target: &str, key: &str) -> Order {
    Order {
        device: if action == "release" { "b3-reader".into() } else { "bank-1".into() },
        action: action.into(),
        target: target.into(),
        reason: Some("parcel".into()),
        by: "li".into(),
        role: Role::Technician,
        via: "api".into(),
        expires_at: None,
        key: key.into(),
    }
}

pub fn allowed() -> Vec<Allowed> {
    let allowed = |device, action: &str, target: &str, nth, moves| Allowed {
        device,
        action: action.into(),
        target: target.into(),
        nth,
        moves: Some(moves),
        terms: Arc::new(Terms { roles: Role::ALL.to_vec(), ..Terms::default() }),
    };
    vec![
        allowed(BANK, "open", "cell-1", 3, Moves::Cell(CELL_1)),
        allowed(READER, "release", "", 0, Moves::Door(ENTRANCE)),
    ]
}

/// The store in this directory.
pub fn opened(dir: &Path) -> store::Ends {
    let end = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        match store::open(&store::Settings::at(dir), "cp-017") {
            // A process that another test starts at this moment has our lock with it until it is another program.
            Err(store::Error::InUse(_)) if std::time::Instant::now() < end => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

impl Bench {
    pub fn start(dir: &Path) -> Self {
        Self::with(dir, Vec::new(), 8)
    }

    /// `lane`: how many errands wait for the wire at the most.
    pub fn with(dir: &Path, rules: Vec<Rule>, lane: usize) -> Self {
        Self::on(Clock::system(), dir, rules, lane)
    }

    /// On a clock of the test's own.
    pub fn on(clock: Clock, dir: &Path, rules: Vec<Rule>, lane: usize) -> Self {
        let settings = store::Settings::at(dir);
        let ends = opened(dir);
        let remembered = ends.journal.recall().unwrap();
        let (batches, batches_out) = mpsc::channel(intake::BATCHES_MAX);
        let (asks, asks_out) = mpsc::channel(8);
        let (calls, calls_out) = mpsc::channel(intake::CALLS_MAX);
        let (wishes, wishes_out) = mpsc::channel(intake::WISHES_MAX);
        let (turns, turns_out) = mpsc::channel(intake::TURNS_MAX);
        let (near, lane) = mpsc::channel(lane);
        let (head_in, head) = watch::channel(ends.journal.head());
        let standard = Standard { contact: 1_000_000, on_site: 1_000_000, follow_up: 1_000_000 };
        let rules = Plan { rules, standards: [standard; 3], locale: Locale::En, epoch: "e".into() };
        let site = site(true);
        let metrics = Metrics::new();
        let ticket = |t: store::TicketRow| SavedTicket { ticket: t.ticket, subject: t.subject, life: t.life };
        let episode =
            |e: store::EpisodeRow| SavedEpisode { rule: e.rule, subject: e.subject, state: e.state };
        let memory = Memory {
            tickets: remembered.tickets.into_iter().map(ticket).collect(),
            episodes: remembered.episodes.into_iter().map(episode).collect(),
            maintenance: remembered.maintenance,
            number: remembered.number,
            last_trace: remembered.last_trace,
        };
        clock.not_before(memory.last_trace);
        let now = clock.now();
        let intake = Intake {
            clock,
            engine: Engine::new(rules, site.clone(), memory, now),
            live: Arc::new(Live::new(&site)),
            site: site.clone(),
            journal: ends.journal,
            history: ends.history,
            view: ends.view.clone(),
            metrics: metrics.clone(),
            summary: None,
            keep: Keep {
                events: settings.events_keep,
                readings: settings.readings_keep,
                disk_limit: settings.disk_limit,
            },
            devices: Vec::new(),
            access: plan(),
            zone: jiff::tz::TimeZone::UTC,
            saved: remembered.access,
            commands: allowed(),
            orders: remembered.orders,
            lanes: HashMap::from([("line".into(), Near { site: site.clone(), errands: near })]),
        };
        let doors = Doors {
            batches: batches_out,
            asks: asks_out,
            wishes: wishes_out,
            calls: calls_out,
            turns: turns_out,
            tells: mpsc::channel(1).1,
            head: head_in,
            trouble: watch::channel(None).0,
            pulse: watch::channel(0).0,
        };
        let done = tokio::task::spawn_local(intake.run(doors, Vec::new(), Vec::new));
        Self {
            batches,
            asks,
            wishes,
            calls,
            turns,
            lane,
            view: ends.view,
            head,
            metrics,
            edition: Edition::default(),
            done,
        }
    }

    /// As a daemon that is told to stop; what is under way stays so.
    pub async fn stop(self) {
        drop(self.batches);
        self.done.await.unwrap();
    }

    /// The same configuration again, for which the wire of `before` has ended and that of `near` begins.
    pub async fn turn(
        &mut self,
        before: mpsc::Receiver<Errand>,
        near: mpsc::Sender<Errand>,
    ) -> Result<Turned, String> {
        let site = site(true);
        let standard = Standard { contact: 1_000_000, on_site: 1_000_000, follow_up: 1_000_000 };
        let (answer, answered) = oneshot::channel();
        let turn = Turn {
            edition: Edition(self.edition.0 + 1),
            in_use: Vec::new(),
            ended: HashMap::from([("line".into(), Arc::new(Mutex::new(before)))]),
            numbers: Numbers::between(&site, &site),
            site: site.clone(),
            plan: Plan { rules: Vec::new(), standards: [standard; 3], locale: Locale::En, epoch: "e".into() },
            access: plan(),
            commands: allowed(),
            lanes: HashMap::from([("line".into(), Near { site, errands: near })]),
            keep: Keep {
                events: store::EVENTS_KEEP_DEFAULT,
                readings: store::READINGS_KEEP_DEFAULT,
                disk_limit: store::DISK_LIMIT_DEFAULT,
            },
            write_budget: u64::MAX,
            keep_kinds: Vec::new(),
            summary: None,
            consumers: Vec::new(),
            told: Some(Draft::new(
                "gateway.config-changed",
                "gateways/cp-017".into(),
                time::now(),
                &Json::Null,
            )),
            answer,
        };
        self.edition = turn.edition;
        self.turns.send(turn).await.unwrap();
        answered.await.unwrap()
    }

    pub async fn wish(&self, order: Order) -> Wished {
        let (begun_in, begun) = oneshot::channel();
        let (answer_in, answer) = oneshot::channel();
        self.wishes.send(Wish { order, refused: None, begun: begun_in, answer: answer_in }).await.unwrap();
        Wished { begun, answer }
    }

    /// What the wire is told next.
    pub async fn deed(&mut self) -> Deed {
        match tokio::time::timeout(Duration::from_secs(60), self.lane.recv()).await {
            Ok(Some(Errand::Do(deed))) => deed,
            other => panic!("no order comes to the wire: {other:?}"),
        }
    }

    /// The wire says what came of it.
    pub async fn done(&self, deed: &Deed, outcome: Outcome) {
        let mut batch = Batch::new(deed.device, time::now(), Vec::new(), None);
        batch.done = Some(Done { number: deed.number, at: time::now(), outcome });
        batch.edition = self.edition;
        self.batches.send(batch).await.unwrap();
    }

    pub async fn reads(&self, point: gatehouse::reading::PointId, value: &str) {
        let at: Millis = time::now();
        let reading = Reading::good(point, at, Value::Text(value.into()));
        self.batches.send(Batch::new(DeviceId(4), at, vec![reading], None)).await.unwrap();
    }

    /// Once there are so many events.
    pub async fn events(&mut self, count: u64) -> Vec<Json> {
        tokio::time::timeout(Duration::from_secs(60), self.head.wait_for(|head| *head >= count))
            .await
            .unwrap_or_else(|_| panic!("fewer than {count} events came"))
            .unwrap();
        self.journal()
    }

    pub fn journal(&self) -> Vec<Json> {
        journal(&self.view)
    }
}

pub fn journal(view: &View) -> Vec<Json> {
    let mut events = Vec::new();
    loop {
        let slice = view.events(events.len() as u64, 1000, &Kinds::default()).unwrap();
        if slice.events.is_empty() {
            return events;
        }
        events.extend(slice.events.iter().map(|event| serde_json::from_str::<Json>(&event.json).unwrap()));
    }
}

/// `command.executed executed`, `locker.opened`
pub fn kinds(events: &[Json]) -> Vec<String> {
    let kind = |event: &Json| {
        let kind = event["type"].as_str().unwrap().trim_start_matches("gatehouse.");
        let outcome = event["data"]["outcome"].as_str().unwrap_or("");
        format!("{kind} {outcome}").trim_end().to_owned()
    };
    events.iter().map(kind).collect()
}
