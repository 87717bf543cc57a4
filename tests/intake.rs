//! Nobody is told what is not on the disk: an action whose page cannot be written is not answered as done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::access;
use gatehouse::intake::{Doors, Intake, Keep};
use gatehouse::live::Live;
use gatehouse::maintenance::{Call, Change, Maintenance, Refused, Scope, Step};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, Clean, Device, DeviceId, Millis, Point, PointId, Reading, Site, Value};
use gatehouse::rules::{Condition, Engine, Locale, Memory, Over, Plan, Rule};
use gatehouse::store::{self, View};
use gatehouse::ticket::{Action, Ask, Class, Refusal, Standard, Ticket, Verb};
use gatehouse::time;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

/// A gateway with one device, one point and one rule, as far as intake sees it.
struct Bench {
    batches: mpsc::Sender<Batch>,
    asks: mpsc::Sender<Ask>,
    calls: mpsc::Sender<Call>,
    live: Arc<Live>,
    view: View,
    head: watch::Receiver<u64>,
    done: JoinHandle<()>,
}

fn site() -> Arc<Site> {
    let device = Device {
        id: "pump-1".into(),
        channel: "plant".into(),
        profile: None,
        place: "3号楼".into(),
        polled: true,
        first_point: 0,
        points: 1,
        words: None,
    };
    let point = Point {
        id: "pump-1.pressure".into(),
        device: DeviceId(0),
        unit: None,
        range: None,
        deadband: 0.0,
        clean: Clean::default(),
    };
    Arc::new(Site {
        gateway: "cp-017".into(),
        name: "锦绣花园".into(),
        devices: vec![device],
        points: vec![point],
        doors: vec![],
    })
}

fn low() -> Rule {
    Rule {
        id: "low".into(),
        over: Over::Points(vec![PointId(0)]),
        condition: Condition::Below(200.0),
        limit: serde_json::json!({ "below": 200.0 }),
        deadband: 0.0,
        on_delay: 0,
        off_delay: 0,
        settle: 3_600_000,
        verify: 3_600_000,
        reopen: 3_600_000,
        class: Class::Immediate,
        level: 1,
        trade: None,
        title: None,
    }
}

fn settings(dir: &Path) -> store::Settings {
    store::Settings {
        dir: dir.to_owned(),
        events_keep: store::EVENTS_KEEP_DEFAULT,
        readings_keep: store::READINGS_KEEP_DEFAULT,
        disk_limit: store::DISK_LIMIT_DEFAULT,
    }
}

impl Bench {
    fn start(dir: &Path) -> Self {
        let settings = settings(dir);
        let ends = store::open(&settings, "cp-017").unwrap();
        let (batches, batches_out) = mpsc::channel(8);
        let (asks, asks_out) = mpsc::channel(8);
        let (calls, calls_out) = mpsc::channel(8);
        let (_, tells) = mpsc::channel(1);
        let (head_in, head) = watch::channel(0);
        let standard = Standard { contact: 1_000_000, on_site: 1_000_000, follow_up: 1_000_000 };
        let plan =
            Plan { rules: vec![low()], standards: [standard; 3], locale: Locale::En, epoch: "e".into() };
        let view = ends.view.clone();
        let live = Arc::new(Live::new(&site()));
        let remembered = ends.journal.recall().unwrap();
        let memory = Memory {
            maintenance: remembered.maintenance,
            number: remembered.number,
            last_trace: remembered.last_trace,
            ..Memory::default()
        };
        let intake = Intake {
            engine: Engine::new(plan, site(), memory, time::now()),
            live: live.clone(),
            site: site(),
            journal: ends.journal,
            history: ends.history,
            view: ends.view,
            metrics: Metrics::new(),
            keep: Keep {
                events: settings.events_keep,
                readings: settings.readings_keep,
                disk_limit: settings.disk_limit,
            },
            devices: Vec::new(),
            access: access::Plan::default(),
            saved: Vec::new(),
            commands: Vec::new(),
            orders: Vec::new(),
            lanes: HashMap::new(),
        };
        let doors = Doors {
            batches: batches_out,
            asks: asks_out,
            wishes: mpsc::channel(1).1,
            calls: calls_out,
            tells,
            head: head_in,
            trouble: watch::channel(None).0,
            pulse: watch::channel(0).0,
        };
        let done = tokio::task::spawn_local(intake.run(doors, Vec::new(), Vec::new));
        Self { batches, asks, calls, live, view, head, done }
    }

    /// The ticket that a low reading opens, once it is in the journal.
    async fn opened(&mut self) -> Ticket {
        let reading = Reading::good(PointId(0), time::now(), Value::Number(100.0));
        let batch = Batch::new(DeviceId(0), reading.at, vec![reading], None);
        self.batches.send(batch).await.unwrap();
        self.head.wait_for(|head| *head > 0).await.unwrap();
        let tickets = self.view.tickets(&store::Filter { limit: 1, ..store::Filter::default() }).unwrap();
        serde_json::from_str(&tickets[0].1).unwrap()
    }

    async fn rest(&self, until: Millis) -> oneshot::Receiver<Result<Change, Refused>> {
        let (answer, answered) = oneshot::channel();
        let scope = Scope::Device("pump-1".into());
        let note = Some("new seals".to_owned());
        self.calls.send(Call { scope, until, by: "li".into(), note, answer }).await.unwrap();
        answered
    }

    fn resting(&self) -> Vec<Maintenance> {
        self.live.lock().maintenance.clone()
    }

    /// What the journal tells of maintenance.
    fn told(&self) -> Vec<serde_json::Value> {
        let kinds = "gateway.maintenance".parse().unwrap();
        let events = self.view.events(0, 100, &kinds).unwrap().events;
        events.iter().map(|event| serde_json::from_str(&event.json).unwrap()).collect()
    }

    /// As a daemon that is told to stop.
    async fn stop(self) {
        drop(self.batches);
        self.done.await.unwrap();
    }

    async fn acknowledge(&self, ticket: &Ticket) -> oneshot::Receiver<Result<Ticket, Refusal>> {
        let (answer, answered) = oneshot::channel();
        let action = Action {
            ticket: ticket.id.clone(),
            verb: Verb::Acknowledge,
            by: "li".into(),
            note: None,
            external_id: None,
            revision: None,
        };
        self.asks.send(Ask { action, answer }).await.unwrap();
        answered
    }
}

#[tokio::test]
async fn an_action_is_answered_when_it_is_written_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let mut bench = Bench::start(dir.path());
        let ticket = bench.opened().await;
        // A journal that refuses each write at once, as a full disk does.
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(refuse).unwrap();
        let answered = bench.acknowledge(&ticket).await;
        drop(bench.batches); // the daemon stops
        bench.done.await.unwrap();
        assert!(answered.await.is_err(), "it was not written, and was answered as done");
        let filed = bench.view.ticket(&ticket.id).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Ticket>(&filed).unwrap().revision, 1);
    };
    let local = LocalSet::new();
    tokio::time::timeout(Duration::from_secs(30), local.run_until(work)).await.unwrap();
}

#[tokio::test]
async fn an_action_asked_as_the_daemon_stops_is_written_and_answered() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let mut bench = Bench::start(dir.path());
        let ticket = bench.opened().await;
        let answered = bench.acknowledge(&ticket).await;
        drop(bench.batches);
        bench.done.await.unwrap();
        assert_eq!(answered.await.unwrap().unwrap().revision, 2);
        let filed = bench.view.ticket(&ticket.id).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Ticket>(&filed).unwrap().revision, 2);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn maintenance_is_answered_and_shown_when_it_is_written_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let bench = Bench::start(dir.path());
        let until = time::now() + 3_600_000;
        let begun = bench.rest(until).await.await.unwrap().unwrap();
        assert_eq!((begun.step, bench.resting()), (Step::Begun, vec![begun.maintenance]));
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(refuse).unwrap();
        let (live, view) = (bench.live.clone(), bench.view.clone());
        let answered = bench.rest(0).await;
        bench.stop().await;
        assert!(answered.await.is_err(), "it was not written, and was answered as done");
        assert_eq!(live.lock().maintenance.len(), 1, "and was shown");
        assert_eq!(view.head().unwrap(), 1);
    };
    tokio::time::timeout(Duration::from_secs(30), LocalSet::new().run_until(work)).await.unwrap();
}

#[tokio::test]
async fn maintenance_is_told_at_its_beginning_and_end_and_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let bench = Bench::start(dir.path());
        let until = time::now() + 3_600_000;
        let begun = bench.rest(until).await.await.unwrap().unwrap();
        bench.stop().await;

        let bench = Bench::start(dir.path());
        let low = Reading::good(PointId(0), time::now(), Value::Number(100.0));
        bench.batches.send(Batch::new(DeviceId(0), low.at, vec![low], None)).await.unwrap();
        // What is asked after the reading is answered after it.
        let changed = bench.rest(until + 1).await.await.unwrap().unwrap();
        assert_eq!((changed.step, changed.maintenance.since), (Step::Changed, begun.maintenance.since));
        let ended = bench.rest(0).await.await.unwrap().unwrap();
        assert_eq!(ended.step, Step::Ended);
        assert_eq!(bench.resting(), vec![]);
        let told = bench.told();
        let states: Vec<_> = told.iter().map(|event| event["data"]["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["begun", "changed", "ended"]);
        for event in &told {
            assert_eq!(event["subject"], "gateways/cp-017");
            let data = &event["data"];
            assert_eq!((&data["device"], &data["by"]), (&"pump-1".into(), &"li".into()), "{data}");
            assert!(data["until"].is_string() && data["note"] == "new seals", "{data}");
        }
        bench.stop().await;
        let ends = store::open(&settings(dir.path()), "cp-017").unwrap();
        assert_eq!(ends.journal.recall().unwrap().maintenance, vec![]);
    };
    tokio::time::timeout(Duration::from_secs(30), LocalSet::new().run_until(work)).await.unwrap();
}

#[tokio::test]
async fn maintenance_that_ends_by_time_tells_so_in_the_name_of_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let mut bench = Bench::start(dir.path());
        let until = time::now() + 300;
        bench.rest(until).await.await.unwrap().unwrap();
        bench.head.wait_for(|head| *head >= 2).await.unwrap();
        let ended = &bench.told()[1];
        assert_eq!((&ended["data"]["state"], &ended["data"]["by"]), (&"ended".into(), &"gateway".into()));
        assert_eq!(ended["time"], time::format(until), "at its own instant");
    };
    tokio::time::timeout(Duration::from_secs(30), LocalSet::new().run_until(work)).await.unwrap();
}
