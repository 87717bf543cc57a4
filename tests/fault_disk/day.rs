//! A scripted day: the real intake on a real store under a simulated clock, with a CRM that is pushed to, a puller,
//! people, doors, orders and restarts in the place of the world. What anyone is told is written down with the number of
//! steps that the disk had taken until then.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatehouse::clock::Clock;
use gatehouse::event::{Draft, Kinds};
use gatehouse::field::{Errand, Near};
use gatehouse::happening::{Happening, Kind as Done};
use gatehouse::intake::{self, Doors, Intake, Keep};
use gatehouse::live::Live;
use gatehouse::maintenance::{Call, Scope};
use gatehouse::metrics::Metrics;
use gatehouse::order::{self, Outcome, Wish};
use gatehouse::reading::{
    Batch, Clean, Device, DeviceId, Life, Millis, Point, PointId, Reading, Site, Value,
};
use gatehouse::receipt::Receipt;
use gatehouse::rules::{Condition, Engine, Locale, Memory, Over, Plan, Rule, SavedEpisode, SavedTicket};
use gatehouse::store::{self, Kind, Outbox, View};
use gatehouse::ticket::{Action, Ask, Class, Standard, Verb};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::Dice;
use super::recorder::{Fault, Log, Recorder};
use super::state;
use crate::compound::{self, BANK, CELL_1, CONTACT, GATE, READER};

pub const GATEWAY: &str = "cp-017";
pub const T0: Millis = 1_763_712_000_000;
const MINUTE: Millis = 60_000;
/// So short that a day sees many events go.
const EVENTS_KEEP: Duration = Duration::from_secs(40 * 60);
const PUMPS: u32 = 3;
const POINTS_EACH: u32 = 4;

/// What somebody was told, and may rely on.
#[derive(Debug, Clone)]
pub enum Told {
    /// All events up to this one are on the disk.
    Head(u64),
    /// The answer to a person.
    Ticket { id: String, revision: u64 },
    /// It was begun, or has come to this end.
    Order { key: String, outcome: Option<&'static str> },
}

/// One thing that the script did.
#[derive(Debug, Clone)]
pub struct Act {
    pub what: &'static str,
    /// Steps of the disk afterwards.
    pub to: usize,
    /// The first number that is kept afterwards.
    pub oldest: u64,
    /// The last number that may be used afterwards.
    pub head: u64,
    /// How far each consumer has acknowledged, at the furthest.
    pub cursors: BTreeMap<String, u64>,
    /// By the clock, afterwards.
    pub at: Millis,
}

/// A run: what the disk was asked to do, and what the world heard meanwhile.
#[derive(Debug, Default)]
pub struct Course {
    pub log: Log,
    /// By number, from 1: the events as they were told.
    pub truth: Vec<String>,
    pub told: Vec<(usize, Told)>,
    pub acts: Vec<Act>,
    /// Before each commit: the steps until then, and what the journal held.
    pub states: Vec<(usize, u64)>,
    pub last_state: u64,
    /// When the store was first open, and the epoch it then had.
    pub opened: usize,
    pub epoch: String,
    /// Writes and syncs of the journal while the fault could have met them.
    pub writes: u64,
    pub syncs: u64,
    /// What the refused calls were about to do.
    pub refused: Vec<&'static str>,
    /// The head when the disk was well again, and at the end.
    pub well: u64,
}

/// What a day is made of.
#[derive(Debug, Clone, Copy)]
pub struct Script {
    pub seed: u64,
    /// Things that happen.
    pub acts: usize,
    /// The longest pause between two of them.
    pub pause: Millis,
    /// 0: nothing is there before; 1, 2, 3: a journal of that format.
    pub format: usize,
    /// What the disk does from the moment on at which the store is open.
    pub fault: Option<Fault>,
}

impl Script {
    pub fn of(seed: u64, acts: usize, pause: Millis) -> Self {
        Self { seed, acts, pause, format: 0, fault: None }
    }
}

pub fn settings(dir: &Path) -> store::Settings {
    store::Settings {
        dir: dir.to_owned(),
        events_keep: EVENTS_KEEP,
        readings_keep: Duration::from_secs(2 * 3600),
        disk_limit: store::DISK_LIMIT_DEFAULT,
    }
}

/// The small compound with three pumps.
fn site() -> Arc<Site> {
    let mut site = (*compound::site(true)).clone();
    for pump in 0..PUMPS {
        let first_point = site.points.len() as u32;
        let device = DeviceId(site.devices.len() as u32);
        let id: Arc<str> = format!("pump-{pump}").into();
        site.devices.push(Device {
            id: id.clone(),
            channel: "plant".into(),
            profile: None,
            place: "3号楼/地下室/水泵房".into(),
            polled: true,
            first_point,
            points: POINTS_EACH,
            words: None,
        });
        for n in 0..POINTS_EACH {
            let id = format!("{id}.pressure-{n}").into();
            let unit = Some("kPa".into());
            site.points.push(Point { id, device, unit, range: None, deadband: 0.5, clean: Clean::default() });
        }
    }
    Arc::new(site)
}

fn rules(site: &Site) -> Vec<Rule> {
    let pressures: Vec<PointId> = (0..site.points.len() as u32).map(PointId).collect();
    let pressures: Vec<PointId> =
        pressures.into_iter().filter(|p| site.point(*p).id.contains("pressure")).collect();
    let rule = |id: &str, points: Vec<PointId>, condition, delay: Millis| Rule {
        id: id.into(),
        over: Over::Points(points),
        condition,
        limit: serde_json::json!({ "as": id }),
        deadband: 0.0,
        on_delay: delay,
        off_delay: delay,
        settle: 20 * MINUTE,
        verify: 15 * MINUTE,
        reopen: 60 * MINUTE,
        class: Class::Immediate,
        level: 1,
        trade: None,
        title: None,
        chatter: None,
    };
    let text = |word: &str| Value::Text(word.into());
    let word = |id: &str| vec![site.point_named(id).unwrap()];
    vec![
        rule("low", pressures[..8].to_vec(), Condition::Below(200.0), 0),
        rule("low-for-long", pressures[4..].to_vec(), Condition::Below(150.0), 20_000),
        rule("falls", pressures[..4].to_vec(), Condition::Falls { by: 150.0, within: 10 * MINUTE }, 0),
        rule("forced", word("b3-entrance.access"), Condition::Equals(text("forced")), 0),
        rule(
            "denied",
            word("b3-reader.access"),
            Condition::Count { equals: text("denied"), times: 2, within: 30 * MINUTE },
            0,
        ),
    ]
}

/// One run of the daemon, as far as the store and intake are concerned.
struct House {
    clock: Clock,
    batches: mpsc::Sender<Batch>,
    asks: mpsc::Sender<Ask>,
    wishes: mpsc::Sender<Wish>,
    calls: mpsc::Sender<Call>,
    lane: mpsc::Receiver<Errand>,
    outbox: Outbox,
    view: View,
    head: watch::Receiver<u64>,
    done: JoinHandle<()>,
    epoch: String,
}

impl House {
    fn open(dir: &Path, clock: &Clock, consumers: &[(Arc<str>, Kind, bool)]) -> Result<Self, store::Error> {
        let settings = settings(dir);
        let mut ends = store::open(&settings, GATEWAY)?;
        ends.journal.keep_consumers(consumers)?;
        let remembered = ends.journal.recall()?;
        let site = site();
        let (batches_in, batches) = mpsc::channel(intake::BATCHES_MAX);
        let (asks_in, asks) = mpsc::channel(intake::ASKS_MAX);
        let (wishes_in, wishes) = mpsc::channel(intake::WISHES_MAX);
        let (calls_in, calls) = mpsc::channel(intake::CALLS_MAX);
        let (near, lane) = mpsc::channel(8);
        let (head_in, head) = watch::channel(ends.journal.head());
        let standard = Standard { contact: 15 * MINUTE, on_site: 120 * MINUTE, follow_up: 24 * 60 * MINUTE };
        let epoch = ends.journal.epoch().clone();
        let plan =
            Plan { rules: rules(&site), standards: [standard; 3], locale: Locale::En, epoch: epoch.clone() };
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
        let intake = Intake {
            clock: clock.clone(),
            engine: Engine::new(plan, site.clone(), memory, clock.now()),
            live: Arc::new(Live::new(&site)),
            site: site.clone(),
            journal: ends.journal,
            history: ends.history,
            view: ends.view.clone(),
            metrics: Metrics::new(),
            summary: None,
            keep: Keep {
                events: settings.events_keep,
                readings: settings.readings_keep,
                disk_limit: settings.disk_limit,
            },
            devices: remembered.devices,
            access: compound::plan(),
            zone: jiff::tz::TimeZone::UTC,
            saved: remembered.access,
            commands: compound::bench::allowed(),
            orders: remembered.orders,
            lanes: HashMap::from([("line".into(), Near { site: site.clone(), errands: near })]),
        };
        let doors = Doors {
            batches,
            asks,
            wishes,
            calls,
            turns: mpsc::channel(1).1,
            tells: mpsc::channel(1).1,
            head: head_in,
            trouble: watch::channel(None).0,
            pulse: watch::channel(0).0,
        };
        let word = |kind, clock: &Clock| {
            Draft::new(kind, format!("gateways/{GATEWAY}"), clock.now(), &serde_json::json!({}))
        };
        let announce = vec![word("gateway.started", clock)];
        let farewell = clock.clone();
        let done = tokio::task::spawn_local(
            intake.run(doors, announce, move || vec![word("gateway.stopped", &farewell)]),
        );
        let (outbox, view) = (ends.outbox, ends.view);
        let (batches, asks, wishes, calls) = (batches_in, asks_in, wishes_in, calls_in);
        let epoch = epoch.to_string();
        Ok(Self { clock: clock.clone(), batches, asks, wishes, calls, lane, outbox, view, head, done, epoch })
    }

    /// An orderly end, or one in the middle of things.
    async fn close(self, orderly: bool) {
        if !orderly {
            self.done.abort();
        }
        drop(self.batches);
        let _ = self.done.await;
    }
}

/// The script under way.
struct Day {
    dir: PathBuf,
    recorder: Arc<Recorder>,
    dice: Dice,
    clock: Clock,
    consumers: Vec<(Arc<str>, Kind, bool)>,
    /// How far each consumer has said that it has everything.
    cursors: BTreeMap<String, u64>,
    course: Course,
    states: Arc<Mutex<Vec<(usize, u64)>>>,
    /// Tickets that were seen, by id.
    tickets: Vec<String>,
    orders: u64,
    records: u64,
    values: Vec<f64>,
    acts: usize,
    oldest: u64,
}

/// A whole run from an empty directory, or from a journal of an older format.
pub fn day(dir: &Path, script: Script) -> Course {
    let mut truth = Vec::new();
    if script.format > 0 {
        truth = state::older(&dir.join("journal.db"), script.format, T0 - 60 * MINUTE);
    }
    go_on(dir, script, truth, T0, &Recorder::watch(dir))
}

/// A run on what is there; `truth` are the events up to its head.
pub fn go_on(dir: &Path, script: Script, truth: Vec<String>, at: Millis, recorder: &Arc<Recorder>) -> Course {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let work = async {
        let mut day = Day::new(dir, script, truth, at, recorder.clone());
        day.whole(script).await;
        day.course
    };
    let mut course = tokio::task::LocalSet::new().block_on(&runtime.unwrap(), work);
    course.log = recorder.stop();
    course
}

impl Day {
    fn new(dir: &Path, script: Script, truth: Vec<String>, at: Millis, recorder: Arc<Recorder>) -> Self {
        let head = truth.len() as u64;
        let course = Course { truth, told: vec![(0, Told::Head(head))], ..Course::default() };
        let consumers = vec![("crm".into(), Kind::Push, true), ("central".into(), Kind::Pull, true)];
        Self {
            dir: dir.to_owned(),
            recorder,
            dice: Dice::new(script.seed),
            clock: Clock::simulated(at, true),
            consumers,
            cursors: BTreeMap::new(),
            course,
            states: Arc::default(),
            tickets: Vec::new(),
            orders: 0,
            records: 0,
            values: vec![300.0; (PUMPS * POINTS_EACH) as usize],
            acts: 0,
            oldest: 1,
        }
    }

    async fn whole(&mut self, script: Script) {
        let mut house = self.open().await;
        self.recorder.fail(script.fault);
        for _ in 0..script.acts {
            house = self.step(house, script.pause).await;
        }
        (self.course.writes, self.course.syncs) = self.recorder.counts();
        self.course.refused = self.recorder.refused();
        self.recorder.fail(None);
        self.course.well = self.course.truth.len() as u64;
        if script.fault.is_some() {
            for _ in 0..6 {
                house = self.step(house, script.pause).await;
            }
        }
        self.close(house).await;
        self.course.states = std::mem::take(&mut *self.states.lock().unwrap());
    }

    /// Time passes, and something happens; now and then the daemon stops and starts.
    async fn step(&mut self, mut house: House, pause: Millis) -> House {
        let pause = 1 + self.dice.roll(pause as u64);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.note("time: delays, deadlines, verified, history", &house);
        if self.dice.roll(70) == 0 {
            self.close(house).await;
            return self.open().await;
        }
        let what = self.act(&mut house).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.note(what, &house);
        house
    }

    async fn open(&mut self) -> House {
        let what = if self.course.acts.is_empty() { "first start, migration" } else { "start" };
        if self.dice.roll(3) == 0 {
            self.consumers[1].2 ^= true;
        }
        let first = self.course.acts.is_empty();
        if !first {
            self.watch_commits();
        }
        let house = loop {
            match House::open(&self.dir, &self.clock, &self.consumers) {
                Ok(house) => break house,
                // As the supervisor would.
                Err(error) => {
                    assert!(self.recorder.fails(), "it does not open: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        if first {
            self.watch_commits();
            (self.course.opened, self.course.epoch) = (self.recorder.steps(), house.epoch.clone());
        }
        for consumer in house.view.consumers().unwrap() {
            let cursor = self.cursors.entry(consumer.name).or_default();
            *cursor = consumer.acknowledged.max(*cursor);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.note(what, &house);
        house
    }

    /// Before each commit, what the journal holds is read by a connection of its own.
    fn watch_commits(&self) {
        let (path, db) = (self.dir.join("journal.db"), Mutex::new(None));
        let states = self.states.clone();
        self.recorder.before_commit(Some(Arc::new(move |steps, again| {
            // Not opened before, so that it is the store that finds what the run before has left.
            let mut db = db.lock().unwrap();
            let digest = state::digest(db.get_or_insert_with(|| Connection::open(&path).unwrap()));
            let mut states = states.lock().unwrap();
            if !again || states.last().is_none_or(|(_, before)| *before != digest) {
                states.push((steps, digest));
            }
        })));
    }

    async fn close(&mut self, house: House) {
        let orderly = self.dice.roll(2) == 0;
        let (view, head) = (house.view.clone(), house.head.clone());
        house.close(orderly).await;
        self.see(&view);
        let db = Connection::open(self.dir.join("journal.db")).unwrap();
        self.course.last_state = state::digest(&db);
        drop(db);
        self.course.told.push((self.recorder.steps(), Told::Head(*head.borrow())));
        // The last connection that goes empties the WAL, if it is one that may write.
        if self.dice.roll(2) == 0 {
            drop(view);
            self.recorder.before_commit(None);
        } else {
            self.recorder.before_commit(None);
            drop(view);
        }
        self.push_act("stop");
    }

    /// Keeps what the act has brought about.
    fn note(&mut self, what: &'static str, house: &House) {
        let head = *house.head.borrow();
        self.course.told.push((self.recorder.steps(), Told::Head(head)));
        self.see(&house.view);
        self.push_act(what);
    }

    fn push_act(&mut self, what: &'static str) {
        let head = self.course.truth.len() as u64;
        let before = self.course.acts.last().map_or(1, |act| act.oldest);
        let what = if self.oldest > before { "retention" } else { what };
        let (to, oldest, cursors) = (self.recorder.steps(), self.oldest, self.cursors.clone());
        let at = self.clock.now();
        self.course.acts.push(Act { what, to, oldest, head, cursors, at });
    }

    /// Whatever is new in the journal becomes part of the truth.
    fn see(&mut self, view: &View) {
        loop {
            let known = self.course.truth.len() as u64;
            let slice = view.events(known, 1000, &Kinds::default()).unwrap();
            if slice.events.is_empty() {
                break;
            }
            for event in slice.events {
                assert_eq!(event.seq, self.course.truth.len() as u64 + 1, "a gap in the run itself");
                if let Some(id) = event.kind.starts_with("ticket.").then(|| state::ticket_of(&event.json)) {
                    self.tickets.retain(|known| *known != id);
                    self.tickets.push(id);
                }
                self.course.truth.push(event.json);
            }
        }
        if let Err(store::Error::Gone { oldest }) = view.events(0, 1, &Kinds::default()) {
            self.oldest = self.oldest.max(oldest + 1);
        }
    }

    async fn act(&mut self, house: &mut House) -> &'static str {
        self.acts += 1;
        match self.dice.roll(20) {
            0..=6 => self.readings(house).await,
            7..=9 => self.people(house).await,
            10..=11 => self.happenings(house).await,
            12 => self.contact(house).await,
            13 => self.order(house).await,
            14 => self.maintenance(house).await,
            15 => self.life(house).await,
            16..=17 => self.push(house),
            18 => self.pull(house),
            _ => self.consumer(house),
        }
    }

    async fn readings(&mut self, house: &House) -> &'static str {
        let site = site();
        let pump = self.dice.roll(u64::from(PUMPS)) as usize;
        let device = DeviceId((site.devices.len() - PUMPS as usize + pump) as u32);
        let mut readings = Vec::new();
        for (n, point) in site.points_of(device).enumerate() {
            let value = &mut self.values[pump * POINTS_EACH as usize + n];
            if self.dice.roll(2) == 0 {
                *value = [300.0, 310.5, 190.0, 120.0, 260.0][self.dice.roll(5) as usize];
            }
            readings.push(Reading::good(point, house.clock.now(), Value::Number(*value)));
        }
        let batch = Batch::new(device, house.clock.now(), readings, Some(Life::Online));
        house.batches.send(batch).await.unwrap();
        "readings: opened, cleared, reopened"
    }

    /// Acknowledged, started, resolved, closed, told something.
    async fn people(&mut self, house: &House) -> &'static str {
        let what = "people: acknowledged, resolved, closed, updated";
        if self.tickets.is_empty() {
            return what;
        }
        let last = self.tickets.len().min(8);
        let id = self.tickets[self.tickets.len() - 1 - self.dice.roll(last as u64) as usize].clone();
        let verb = [Verb::Acknowledge, Verb::Start, Verb::Resolve, Verb::Close, Verb::Tell]
            [self.dice.roll(5) as usize];
        let action = Action {
            ticket: id.as_str().into(),
            verb,
            by: "li".into(),
            note: Some(format!("word {}", self.acts)),
            external_id: (verb == Verb::Tell).then(|| format!("WO-{}", self.acts)),
            revision: None,
        };
        let (answer, heard) = oneshot::channel();
        house.asks.send(Ask { action, answer }).await.unwrap();
        if let Ok(ticket) = heard.await.unwrap() {
            self.tell(Told::Ticket { id, revision: ticket.revision });
        }
        what
    }

    fn tell(&mut self, told: Told) {
        self.course.told.push((self.recorder.steps(), told));
    }

    /// What a reader or a controller has to tell; it hears when it is on the disk.
    async fn happenings(&mut self, house: &House) -> &'static str {
        let mut happenings = Vec::new();
        for _ in 0..1 + self.dice.roll(3) {
            let device = [READER, GATE][self.dice.roll(2) as usize];
            let kind = [Done::Granted, Done::Denied, Done::Card][self.dice.roll(3) as usize];
            let mut happening = Happening::new(device, house.clock.now(), kind);
            self.records += 1;
            happening.record = Some(self.records.to_string().into());
            happenings.push(happening);
        }
        let mut batch = Batch::new(happenings[0].device, house.clock.now(), Vec::new(), None);
        let receipt = Receipt::default();
        (batch.happenings, batch.kept) = (happenings, Some(receipt.clone()));
        house.batches.send(batch).await.unwrap();
        receipt.signed().await;
        let head = *house.head.borrow();
        self.tell(Told::Head(head));
        "doors: cards, grants"
    }

    async fn contact(&mut self, house: &House) -> &'static str {
        let word = ["open", "closed"][self.dice.roll(2) as usize];
        let reading = Reading::good(CONTACT, house.clock.now(), Value::Text(word.into()));
        let batch = Batch::new(DeviceId(0), house.clock.now(), vec![reading], None);
        house.batches.send(batch).await.unwrap();
        "doors: opened, closed, forced, held"
    }

    /// One order, given and ended, or given and left; or an old key once more.
    async fn order(&mut self, house: &mut House) -> &'static str {
        let what = "orders";
        let again = self.orders > 0 && self.dice.roll(4) == 0;
        self.orders += u64::from(!again);
        let key = format!("key-{}-{}", self.clock.now() / 1_000_000_000, self.orders);
        let (begun_in, begun) = oneshot::channel();
        let (answer_in, answer) = oneshot::channel();
        let order = compound::bench::order("open", "cell-1", &key);
        house.wishes.send(Wish { order, refused: None, begun: begun_in, answer: answer_in }).await.unwrap();
        if begun.await.is_err() {
            return what;
        }
        self.tell(Told::Order { key: key.clone(), outcome: None });
        let Ok(Errand::Do(deed)) = house.lane.try_recv() else { return what };
        if self.dice.roll(4) == 0 {
            return what;
        }
        let mut batch = Batch::new(BANK, house.clock.now(), Vec::new(), None);
        let outcome = Outcome::Executed { what: "cell-1 took it".into() };
        batch.done = Some(order::Done { number: deed.number, at: house.clock.now(), outcome });
        batch.readings.push(Reading::good(CELL_1, house.clock.now(), Value::Text("open".into())));
        house.batches.send(batch).await.unwrap();
        if let Ok(Ok(outcome)) = answer.await {
            self.tell(Told::Order { key, outcome: Some(outcome.words().0) });
        }
        what
    }

    async fn maintenance(&mut self, house: &House) -> &'static str {
        let scope = Scope::Device(format!("pump-{}", self.dice.roll(u64::from(PUMPS))).into());
        let until = house.clock.now() + [0, 5, 20][self.dice.roll(3) as usize] * MINUTE;
        let (answer, heard) = oneshot::channel();
        let call = Call { scope, until, by: "li".into(), note: None, answer };
        house.calls.send(call).await.unwrap();
        let _ = heard.await.unwrap();
        let head = *house.head.borrow();
        self.tell(Told::Head(head));
        "maintenance"
    }

    async fn life(&mut self, house: &House) -> &'static str {
        let lives = [Life::Online, Life::Offline { why: "no answer".into() }, Life::Online];
        let life = lives[self.dice.roll(3) as usize].clone();
        let device = DeviceId((site().devices.len() - 1 - self.dice.roll(3) as usize) as u32);
        let batch = Batch::new(device, house.clock.now(), Vec::new(), Some(life));
        house.batches.send(batch).await.unwrap();
        "devices"
    }

    /// The CRM is given a batch; it takes it, takes a part, dislikes one, or does not answer.
    fn push(&mut self, house: &House) -> &'static str {
        let slice = house.outbox.pending("crm", 50, &Kinds::default()).unwrap().slice;
        if let Some(last) = slice.events.last() {
            self.tell(Told::Head(last.seq));
        }
        let now = house.clock.now();
        match (self.dice.roll(6), slice.events.first()) {
            (0, _) => self.may_fail(house.outbox.note("crm", Some("503 Service Unavailable"), now)),
            (1, Some(first)) => {
                self.reached("crm", first.seq);
                self.may_fail(house.outbox.set_aside("crm", first.seq, "422", now));
            }
            _ => {
                self.reached("crm", slice.next);
                self.may_fail(house.outbox.settle("crm", slice.next, now));
            }
        }
        "push"
    }

    fn pull(&mut self, house: &House) -> &'static str {
        let after = self.cursors.get("central").copied().unwrap_or(0).max(self.oldest - 1);
        let slice = house.view.events(after, 100, &Kinds::default()).unwrap();
        if let Some(last) = slice.events.last() {
            self.tell(Told::Head(last.seq));
        }
        if self.dice.roll(4) > 0 {
            self.reached("central", slice.next);
            self.may_fail(house.outbox.settle("central", slice.next, house.clock.now()));
        }
        "pull"
    }

    /// A consumer that nobody has named comes and goes.
    fn consumer(&mut self, house: &House) -> &'static str {
        if self.dice.roll(2) == 0 {
            let head = house.view.head().unwrap();
            self.reached("guest", head);
            self.may_fail(house.outbox.settle("guest", head, house.clock.now()));
        } else {
            self.may_fail(house.outbox.forget("guest"));
        }
        "consumers"
    }

    /// On a disk that refuses; whoever asked will ask again.
    fn may_fail<T>(&self, done: Result<T, store::Error>) {
        if let Err(error) = done {
            assert!(self.recorder.fails(), "{error}");
        }
    }

    fn reached(&mut self, consumer: &str, seq: u64) {
        let cursor = self.cursors.entry(consumer.to_owned()).or_default();
        *cursor = seq.max(*cursor);
    }
}
