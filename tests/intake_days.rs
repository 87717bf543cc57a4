//! What intake tells of maintenance and of days: begun and ended on the disk before anyone hears of it, and at midnight how much
//! of the day could be used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::access;
use gatehouse::clock::Clock;
use gatehouse::event::Kinds;
use gatehouse::intake::{Doors, Intake, Keep};
use gatehouse::live::Live;
use gatehouse::maintenance::{Call, Change, Maintenance, Refused, Scope, Step};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, Clean, Device, DeviceId, Millis, Point, PointId, Reading, Site, Value};
use gatehouse::rules::{Condition, Engine, Locale, Memory, Over, Plan, Rule};
use gatehouse::store::{self, View};
use gatehouse::ticket::{Class, Standard};
use gatehouse::time;
use jiff::tz::{Offset, TimeZone};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, LocalSet};

/// A gateway with one device, one point and one rule, as far as intake sees it.
struct Bench {
    batches: mpsc::Sender<Batch>,
    calls: mpsc::Sender<Call>,
    live: Arc<Live>,
    view: View,
    head: watch::Receiver<u64>,
    done: JoinHandle<()>,
}

fn site() -> Arc<Site> {
    site_with(None, Clean::default())
}

fn site_with(range: Option<(f64, f64)>, clean: Clean) -> Arc<Site> {
    let device = Device { place: "3号楼".into(), points: 1, ..Device::polled("pump-1", "plant") };
    let point =
        Point { id: "pump-1.pressure".into(), device: DeviceId(0), unit: None, range, deadband: 0.0, clean };
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
        chatter: None,
    }
}

impl Bench {
    fn start(dir: &Path) -> Self {
        Self::start_at(dir, site(), TimeZone::UTC)
    }

    fn start_at(dir: &Path, site: Arc<Site>, zone: TimeZone) -> Self {
        Self::start_with(dir, site, zone, None)
    }

    fn start_with(dir: &Path, site: Arc<Site>, zone: TimeZone, summary: Option<Duration>) -> Self {
        let settings = store::Settings::at(dir);
        let ends = store::open(&settings, "cp-017").unwrap();
        let (batches, batches_out) = mpsc::channel(8);
        let (calls, calls_out) = mpsc::channel(8);
        let (_, tells) = mpsc::channel(1);
        let (head_in, head) = watch::channel(0);
        let standard = Standard { contact: 1_000_000, on_site: 1_000_000, follow_up: 1_000_000 };
        let plan =
            Plan { rules: vec![low()], standards: [standard; 3], locale: Locale::En, epoch: "e".into() };
        let view = ends.view.clone();
        let live = Arc::new(Live::new(&site));
        let remembered = ends.journal.recall().unwrap();
        let memory = Memory {
            maintenance: remembered.maintenance,
            number: remembered.number,
            last_trace: remembered.last_trace,
            ..Memory::default()
        };
        let intake = Intake {
            clock: Clock::system(),
            engine: Engine::new(plan, site.clone(), memory, time::now()),
            live: live.clone(),
            site,
            zone,
            journal: ends.journal,
            history: ends.history,
            view: ends.view,
            metrics: Metrics::new(),
            summary,
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
            asks: mpsc::channel(1).1,
            wishes: mpsc::channel(1).1,
            calls: calls_out,
            turns: mpsc::channel(1).1,
            tells,
            head: head_in,
            trouble: watch::channel(None).0,
            pulse: watch::channel(0).0,
        };
        let done = tokio::task::spawn_local(intake.run(doors, Vec::new(), Vec::new));
        Self { batches, calls, live, view, head, done }
    }

    async fn rest(&self, until: Millis) -> oneshot::Receiver<Result<Change, Refused>> {
        let (answer, answered) = oneshot::channel();
        let scope = Scope::Device("pump-1".into());
        let note = Some("new seals".to_owned());
        self.calls.send(Call { scope, until, by: "li".into(), note, answer }).await.unwrap();
        answered
    }

    fn resting(&self) -> Vec<Maintenance> {
        self.live.lock().maintenance().to_vec()
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
        assert_eq!(live.lock().maintenance().len(), 1, "and was shown");
        assert_eq!(view.head().unwrap(), 1);
    };
    tokio::time::timeout(Duration::from_secs(30), LocalSet::new().run_until(work)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn intake_that_has_no_other_place_waits_for_its_disk_however_long_and_then_answers() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let bench = Bench::start(dir.path());
        let other = Connection::open(dir.path().join("journal.db")).unwrap();
        let refuse = "CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'full'); END";
        other.execute_batch(refuse).unwrap();
        let mut answered = bench.rest(time::now() + 3_600_000).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(answered.try_recv().is_err(), "it was answered and not written");
        other.execute_batch("DROP TRIGGER full").unwrap();
        assert_eq!(answered.await.unwrap().unwrap().step, Step::Begun);
        bench.stop().await;
    };
    tokio::time::timeout(Duration::from_secs(300), LocalSet::new().run_until(work)).await.unwrap();
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
        let ends = store::open(&store::Settings::at(dir.path()), "cp-017").unwrap();
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

#[tokio::test]
async fn at_midnight_it_is_told_how_much_of_the_day_could_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        // There it is three seconds before midnight now.
        let second_of_day = (time::now() / 1000).rem_euclid(86_400) as i32;
        let zone = TimeZone::fixed(Offset::from_seconds(86_400 - 3 - second_of_day).unwrap());
        let clean = Clean { slot: Some(100), ..Clean::default() };
        let mut bench = Bench::start_at(dir.path(), site_with(Some((0.0, 1600.0)), clean), zone);
        let mut readings = tokio::time::interval(Duration::from_millis(40));
        let told = loop {
            tokio::select! {
                _ = readings.tick() => {
                    let at = time::now();
                    let number = |number| Reading::good(PointId(0), at, Value::Number(number));
                    // The device says something true, and in each second second something that cannot be.
                    let mut told = vec![number(300.0)];
                    if at / 1000 % 2 == 0 {
                        told.push(number(6553.5));
                    }
                    bench.batches.send(Batch::new(DeviceId(0), at, told, None)).await.unwrap();
                }
                head = bench.head.wait_for(|head| *head > 0) => {
                    drop(head.unwrap());
                    break bench.view.events(0, 10, &Kinds::default()).unwrap().events.remove(0);
                }
            }
        };
        assert_eq!(told.kind, "gateway.data-quality");
        let event: serde_json::Value = serde_json::from_str(&told.json).unwrap();
        assert_eq!(event["subject"], "gateways/cp-017");
        let data = &event["data"];
        assert_eq!((&data["whole"], &data["part"], &data["parts"]), (&false.into(), &1.into(), &1.into()));
        assert_eq!(data["to"], event["time"], "the day ends at midnight");
        let device = &data["devices"][0];
        assert_eq!((&device["device"], &device["points"]), (&"pump-1".into(), &1.into()));
        assert!(device["reasons"]["out-of-range"].as_u64().unwrap() > 0);
        let (before, after) = (device["before"].as_f64().unwrap(), device["after"].as_f64().unwrap());
        assert!(0.0 <= before && before < after && after <= 1.0, "{device}");
        drop(bench.batches);
        bench.done.await.unwrap();
        let events = bench.view.events(0, 10, &Kinds::default()).unwrap().events;
        assert_eq!(events.len(), 1, "the first moments of a day are not told");
    };
    tokio::time::timeout(Duration::from_secs(60), LocalSet::new().run_until(work)).await.unwrap();
}

#[tokio::test]
async fn what_was_read_in_a_period_is_told_at_its_end_and_what_was_begun_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let work = async {
        let span = Duration::from_secs(2);
        let mut bench = Bench::start_with(dir.path(), site(), TimeZone::UTC, Some(span));
        let mut sent = 0;
        let mut readings = tokio::time::interval(Duration::from_millis(40));
        // The first is a part, since the bench starts in the midst of a period; the second is silent.
        loop {
            tokio::select! {
                _ = readings.tick(), if *bench.head.borrow() == 0 => {
                    let at = time::now();
                    let told = Reading::good(PointId(0), at, Value::Number(f64::from(300 + sent % 2)));
                    bench.batches.send(Batch::new(DeviceId(0), at, vec![told], None)).await.unwrap();
                    sent += 1;
                }
                head = bench.head.wait_for(|head| *head >= 2) => break drop(head.unwrap()),
            }
        }
        let at = time::now();
        let last = Reading::good(PointId(0), at, Value::Number(700.0));
        bench.batches.send(Batch::new(DeviceId(0), at, vec![last], None)).await.unwrap();
        let view = bench.view.clone();
        bench.stop().await;
        let events = view.events(0, 100, &Kinds::default()).unwrap().events;
        assert!(events.iter().all(|event| event.kind == "readings.summary"));
        let told: Vec<serde_json::Value> =
            events.iter().map(|event| serde_json::from_str(&event.json).unwrap()).collect();
        for event in &told {
            assert_eq!((&event["subject"], &event["time"]), (&"devices/pump-1".into(), &event["data"]["to"]));
        }
        for (one, next) in told.iter().zip(&told[1..]) {
            assert!(one["data"]["to"].as_str() <= next["data"]["from"].as_str(), "no moment is in two");
        }
        let point = |n: usize| told[n]["data"]["points"][0].clone();
        let (first, end) = (point(0), point(told.len() - 1));
        assert_eq!((&first["point"], &first["good"]), (&"pump-1.pressure".into(), &1.0.into()));
        assert!(first["max"].as_f64().unwrap() >= first["mean"].as_f64().unwrap());
        for event in &told {
            let at = |key: &str| time::parse(event["data"][key].as_str().unwrap()).unwrap();
            assert_eq!(
                event["data"]["whole"],
                at("to") - at("from") == span.as_millis() as Millis,
                "{event}"
            );
        }
        let counts: u64 = (0..told.len()).map(|n| point(n)["count"].as_u64().unwrap()).sum();
        assert_eq!(counts, sent as u64 + 1, "each reading is told once");
        assert_eq!((&end["last"], &end["count"]), (&700.0.into(), &1.into()));
    };
    tokio::time::timeout(Duration::from_secs(60), LocalSet::new().run_until(work)).await.unwrap();
}
