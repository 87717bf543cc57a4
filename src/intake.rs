//! The corridor: receives readings and people's actions, refines, asks the rules, writes what they caused in one
//! transaction. The only writer of the journal.
//!
//! It runs on a thread of its own, since a disk sync blocks: the wires go on while it writes, and what they bring
//! meanwhile goes into the next transaction. Nobody is told of a ticket before it is synced to disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::event::Draft;
use crate::live::{DeviceNow, DeviceState, Live};
use crate::metrics::{Metrics, Quality as QualityLabel, State as StateLabel};
use crate::reading::{Batch, DeviceId, Life, Millis, Quality, Reading, Reason, Site, Value};
use crate::refine::refine;
use crate::rules::{Engine, Outcome};
use crate::store::{DeviceRow, EpisodeRow, History, Journal, Page, TicketRow, View};
use crate::ticket::{Action, Ask, Refusal, State, Ticket};
use crate::time;

/// Batches that may wait while a transaction is synced; when they are that many, the wires wait.
pub const BATCHES_MAX: usize = 1024;
/// Actions that may wait; when they are that many, who asks waits.
pub const ASKS_MAX: usize = 64;

/// What the daemon has to say of itself.
pub const TELLS_MAX: usize = 16;

/// How much is taken into one transaction at the most.
const BATCHES_AT_ONCE: usize = 256;
/// How long it waits for the rest of a burst.
const GATHER: Duration = Duration::from_micros(500);
/// It comes by at least this often, to show that it lives and to look at the clock.
const ROUND: Duration = Duration::from_secs(5);
/// A value that does not change is written again this often, so that a gap can be told from a steady value.
const HISTORY_HEARTBEAT: Millis = 60_000;
/// Metrics are brought up to date, and the history looked after, this often.
const HOUSE_EVERY: Millis = 5000;
const RETIRE_EVERY: Millis = 3_600_000;
/// The wall clock may differ so much from the time that has passed; more is a step.
const STEP: Millis = 1000;
/// A round that took longer than this stood still: what the wires brought meanwhile is late, and nobody saw the rest.
const STANDSTILL: Millis = 15_000;
/// How often a page that cannot be written is tried again once the daemon has to stop.
const LAST_TRIES: u32 = 3;

/// What intake is given.
#[derive(Debug)]
pub struct Doors {
    pub batches: mpsc::Receiver<Batch>,
    pub asks: mpsc::Receiver<Ask>,
    /// Events of the gateway itself.
    pub tells: mpsc::Receiver<Draft>,
    /// The journal's last number, told after each transaction.
    pub head: watch::Sender<u64>,
    /// Why it cannot do its work now; `None`: it does.
    pub trouble: watch::Sender<Option<String>>,
    /// Goes up with every round: the proof of life that feeds the watchdog.
    pub pulse: watch::Sender<u64>,
}

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub events: Duration,
    pub readings: Duration,
    pub disk_limit: u64,
}

#[derive(Debug)]
pub struct Intake {
    pub site: Arc<Site>,
    pub engine: Engine,
    pub journal: Journal,
    pub history: History,
    pub view: View,
    pub live: Arc<Live>,
    pub metrics: Metrics,
    pub keep: Keep,
    /// What was known of the devices before the start.
    pub devices: Vec<DeviceRow>,
}

type Answer = Result<Ticket, Refusal>;

/// The work under way: what the next transaction will hold.
struct Corridor {
    intake: Intake,
    page: Page,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    /// By device: what an earlier run knew, until this one hears of it.
    remembered: Vec<Option<DeviceNow>>,
    /// By point: what the history last took.
    noted: Vec<Option<Noted>>,
    number: u64,
    synced: bool,
    seen: Seen,
    house_at: Millis,
    retire_at: Millis,
    qualities: HashMap<&'static str, u64>,
}

/// When it last looked at the clocks.
#[derive(Debug, Clone, Copy)]
struct Seen {
    wall: Millis,
    steady: Instant,
}

impl Seen {
    fn now() -> Self {
        Self { wall: time::now(), steady: Instant::now() }
    }

    /// Where the wall clock would be now, had nobody touched it.
    fn expected(self, now: Self) -> Millis {
        self.wall + (now.steady - self.steady).as_millis() as Millis
    }
}

#[derive(Debug, Clone)]
struct Noted {
    at: Millis,
    value: Option<Value>,
    reason: Option<Reason>,
}

impl Intake {
    /// Until every wire has let go of its sender. `announce`: what is to be told first; `farewell`: last.
    pub async fn run(
        mut self,
        mut doors: Doors,
        announce: Vec<Draft>,
        farewell: impl FnOnce() -> Vec<Draft>,
    ) {
        let remembered = self.remembered_devices();
        let mut corridor = Corridor {
            remembered,
            noted: vec![None; self.site.points.len()],
            page: Page { events: announce, ..Page::default() },
            answers: Vec::new(),
            number: 0,
            synced: time::clock_is_synced(),
            seen: Seen::now(),
            house_at: 0,
            retire_at: time::now() + 60_000,
            qualities: HashMap::new(),
            intake: self,
        };
        corridor.settle(&doors, None).await;
        let mut batches = Vec::with_capacity(BATCHES_AT_ONCE);
        let mut looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some(ask) = doors.asks.recv() => corridor.act(ask),
                Some(draft) = doors.tells.recv() => corridor.page.events.push(draft),
                taken = doors.batches.recv_many(&mut batches, BATCHES_AT_ONCE) => {
                    if taken == 0 {
                        break;
                    }
                    corridor.take_all(&mut batches);
                    // Answers come in bursts. To gather for a moment is cheaper than to be woken by each of them.
                    std::thread::sleep(GATHER);
                    while batches.len() < BATCHES_AT_ONCE && let Ok(batch) = doors.batches.try_recv() {
                        batches.push(batch);
                    }
                    corridor.take_all(&mut batches);
                }
                () = sleep_until(corridor.wake()) => {}
            }
            while let Ok(ask) = doors.asks.try_recv() {
                corridor.act(ask);
            }
            if looked.elapsed() >= ROUND {
                looked = Instant::now();
                corridor.synced = time::clock_is_synced();
            }
            corridor.settle(&doors, None).await;
        }
        corridor.intake.engine.rest();
        corridor.page.events.extend(farewell());
        corridor.settle(&doors, Some(LAST_TRIES)).await;
        corridor.intake.history.close();
    }

    /// By device. Shown to nobody before the device has been heard, but what is as it was is no event.
    fn remembered_devices(&mut self) -> Vec<Option<DeviceNow>> {
        let mut remembered = vec![None; self.site.devices.len()];
        for row in std::mem::take(&mut self.devices) {
            if let Some(id) = self.site.device_named(&row.device) {
                remembered[id.0 as usize] =
                    Some(DeviceNow { state: row.state, since: Some(row.since), error: row.why });
            }
        }
        remembered
    }
}

impl Corridor {
    /// When it has to come by without being called.
    fn wake(&self) -> Instant {
        let round = Instant::now() + ROUND;
        match self.intake.engine.next_due() {
            Some(due) => {
                let wait = Duration::from_millis((due - time::now()).max(0) as u64);
                (Instant::now() + wait).min(round)
            }
            None => round,
        }
    }

    fn take_all(&mut self, batches: &mut Vec<Batch>) {
        for batch in batches.drain(..) {
            self.take(batch);
        }
    }

    fn take(&mut self, mut batch: Batch) {
        // Read before the clock was set back: nothing has happened later than now.
        let now = time::now();
        batch.at = batch.at.min(now);
        for reading in &mut batch.readings {
            reading.at = reading.at.min(now);
            refine(reading, self.intake.site.point(reading.point));
            *self.qualities.entry(reading.quality.word()).or_default() += 1;
            self.note(reading);
        }
        self.show(&batch);
        if let Some(life) = batch.life.take() {
            self.device(batch.device, life, batch.at);
        }
        self.intake.engine.batch(&batch);
    }

    /// Into the history, unless it says nothing new.
    fn note(&mut self, reading: &Reading) {
        let point = self.intake.site.point(reading.point);
        let noted = &mut self.noted[reading.point.0 as usize];
        let steady = noted.as_ref().is_some_and(|last| {
            let same = match (&last.value, &reading.value) {
                (Some(a), Some(b)) => match (a.number(), b.number()) {
                    (Some(a), Some(b)) => a == b || (a - b).abs() < point.deadband,
                    _ => a == b,
                },
                (None, None) => last.reason == reading.reason,
                _ => false,
            };
            same && reading.at - last.at < HISTORY_HEARTBEAT
        });
        if steady {
            return;
        }
        *noted = Some(Noted { at: reading.at, value: reading.value.clone(), reason: reading.reason });
        self.intake.history.note(&point.id, reading);
    }

    /// What the page and the API show as now.
    fn show(&self, batch: &Batch) {
        let mut live = self.intake.live.lock();
        for reading in &batch.readings {
            let now = live.point_mut(reading.point);
            now.value.clone_from(&reading.value);
            (now.quality, now.reason, now.at) = (reading.quality, reading.reason, Some(reading.at));
            if let (Quality::Good, Some(value)) = (reading.quality, &reading.value) {
                now.last_good = Some((reading.at, value.clone()));
            }
        }
    }

    /// A device is there, or it is not: an event where that is news.
    fn device(&mut self, id: DeviceId, life: Life, at: Millis) {
        let (state, why) = match life {
            Life::Online => (DeviceState::Online, None),
            Life::Degraded { why } => (DeviceState::Degraded, Some(why)),
            Life::Offline { why } => (DeviceState::Offline, Some(why)),
        };
        let mut live = self.intake.live.lock();
        let now = live.device_mut(id);
        if now.state == state {
            return;
        }
        if let Some(before) = self.remembered[id.0 as usize].take().filter(|before| before.state == state) {
            *now = before;
            return;
        }
        *now = DeviceNow { state, since: Some(at), error: why.clone() };
        drop(live);
        let device = self.intake.site.device(id);
        let data = json!({ "device": device.id, "since": time::format(at), "why": why });
        let kind = match state {
            DeviceState::Offline | DeviceState::Unknown => "device.offline",
            DeviceState::Online => "device.online",
            DeviceState::Degraded => "device.degraded",
        };
        self.page.events.push(Draft::new(kind, format!("devices/{}", device.id), at, &data));
        self.page.devices.push(DeviceRow { device: device.id.clone(), state, since: at, why });
    }

    fn act(&mut self, ask: Ask) {
        let done = match self.intake.engine.act(&ask.action, time::now()) {
            Err(Refusal::Unknown(id)) => self.act_on_filed(&ask.action, id),
            done => done,
        };
        self.answers.push((ask.answer, done));
    }

    /// A ticket that has left the desk is closed for good: whatever is asked, it is already further.
    fn act_on_filed(&self, action: &Action, id: Arc<str>) -> Result<Ticket, Refusal> {
        let filed = self.intake.view.ticket(&action.ticket).ok().flatten();
        let ticket: Option<Ticket> = filed.and_then(|json| serde_json::from_str(&json).ok());
        ticket.filter(|ticket| ticket.state == State::Closed).ok_or(Refusal::Unknown(id))
    }

    /// Lets time pass, writes what has come of it all, and only then tells. A page that cannot be written is tried
    /// until it can, `tries` times at the most where that is given; meanwhile the wires wait.
    async fn settle(&mut self, doors: &Doors, tries: Option<u32>) {
        let now = self.look_at_the_clocks();
        self.intake.engine.advance(now, self.synced);
        let outcome = self.intake.engine.take(now);
        let opened: Vec<Millis> =
            outcome.told.iter().filter(|c| c.kind == "ticket.opened").map(|c| c.at).collect();
        self.fill(outcome);
        if !is_blank(&self.page) {
            if !self.write(doors, now, tries).await {
                // Page and answers stay for a last try; what is not on the disk is told to nobody.
                return;
            }
            let durable = time::now();
            for at in opened {
                self.intake.metrics.ticket_durable.observe((durable - at).max(0) as f64 / 1000.0);
            }
            self.intake.metrics.tickets_unclosed.set(self.intake.engine.unclosed() as i64);
        }
        for (answer, done) in self.answers.drain(..) {
            // Whoever asked may have gone; what they asked has happened all the same.
            let _ = answer.send(done);
        }
        self.keep_house(now);
        doors.pulse.send_modify(|pulse| *pulse = pulse.wrapping_add(1));
    }

    /// Now; a stepped clock or a standstill is said to the rules first, so that it opens and ends nothing.
    fn look_at_the_clocks(&mut self) -> Millis {
        let (before, now) = (self.seen, Seen::now());
        self.seen = now;
        let expected = before.expected(now);
        let offset = now.wall - expected;
        if offset.abs() > STEP {
            tracing::warn!(offset_ms = offset, "the clock was stepped; delays stand until the next reading");
            let gateway = &self.intake.site.gateway;
            let data = json!({ "boot": time::boot_id(), "offset": offset as f64 / 1000.0 });
            let subject = format!("gateways/{gateway}");
            self.page.events.push(Draft::new("gateway.clock-stepped", subject, now.wall, &data));
            self.intake.engine.lost_time(expected, now.wall);
            self.noted.fill(None);
        } else if expected - before.wall > STANDSTILL {
            self.intake.engine.lost_time(before.wall, now.wall);
        }
        now.wall
    }

    fn fill(&mut self, outcome: Outcome) {
        for change in outcome.told {
            let subject = format!("tickets/{}", change.ticket.id);
            self.page.events.push(Draft::new(change.kind, subject, change.at, &change.ticket));
        }
        let tickets = outcome.tickets.into_iter();
        self.page.tickets.extend(tickets.map(|t| TicketRow {
            ticket: t.ticket,
            subject: t.subject,
            life: t.life,
        }));
        let episodes = outcome.episodes.into_iter();
        self.page.episodes.extend(episodes.map(|e| EpisodeRow {
            rule: e.rule,
            subject: e.subject,
            state: e.state,
        }));
        if outcome.number > self.number {
            self.number = outcome.number;
            self.page.number = Some(outcome.number);
        }
    }

    /// Whether the page is on the disk.
    async fn write(&mut self, doors: &Doors, now: Millis, tries: Option<u32>) -> bool {
        self.page.at = now;
        self.page.synced = self.synced;
        let mut tried = 0;
        loop {
            let started = Instant::now();
            match self.intake.journal.commit(&self.page) {
                Ok(head) => {
                    self.intake.metrics.commit.observe(started.elapsed().as_secs_f64());
                    self.intake.metrics.events.inc_by(self.page.events.len() as u64);
                    doors.head.send_replace(head);
                    if tried > 0 {
                        tracing::info!(tried, "the journal can be written again");
                        doors.trouble.send_replace(None);
                    }
                    self.page = Page::default();
                    return true;
                }
                Err(error) => {
                    if tried == 0 {
                        tracing::error!(%error, "the journal cannot be written; readings wait until it can");
                    }
                    tried += 1;
                    doors.trouble.send_replace(Some(format!("the journal cannot be written: {error}")));
                    // Without wires there is nothing more to wait for: the daemon stops.
                    let tries = tries.or_else(|| doors.batches.is_closed().then_some(LAST_TRIES));
                    if tries.is_some_and(|tries| tried >= tries) {
                        let events = self.page.events.len();
                        tracing::error!(%error, events, "stopping without having written the last events");
                        return false;
                    }
                    doors.pulse.send_modify(|pulse| *pulse = pulse.wrapping_add(1));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// What can wait: metrics, handing over to the history, old events and readings.
    fn keep_house(&mut self, now: Millis) {
        // A clock that was set back must not stop the housekeeping for as long.
        if now < self.house_at && self.house_at - now <= HOUSE_EVERY {
            return;
        }
        self.house_at = now + HOUSE_EVERY;
        for (quality, count) in self.qualities.drain() {
            self.intake.metrics.readings.get_or_create(&QualityLabel { quality }).inc_by(count);
        }
        for state in [DeviceState::Online, DeviceState::Degraded, DeviceState::Offline, DeviceState::Unknown]
        {
            let live = self.intake.live.lock();
            let devices = 0..self.intake.site.devices.len() as u32;
            let count = devices.filter(|d| live.device(DeviceId(*d)).state == state).count();
            let label = StateLabel { state: state.word() };
            self.intake.metrics.devices.get_or_create(&label).set(count as i64);
        }
        if self.intake.history.due(now) {
            self.intake.history.flush(now);
        }
        if now >= self.retire_at || self.retire_at - now > RETIRE_EVERY {
            self.retire_at = now + RETIRE_EVERY;
            self.retire(now);
            // A power cut may cost an hour of the time for which a repair has held, not all of it.
            self.intake.engine.rest();
        }
    }

    /// Old events and readings go; by age only while the clock can be believed, or a wrong one would take them all.
    fn retire(&mut self, now: Millis) {
        let keep = self.intake.keep;
        let believed = if self.synced { now } else { Millis::MIN };
        self.intake.history.retire(believed, keep.readings, keep.disk_limit);
        if !self.synced {
            return;
        }
        match self.intake.journal.retire(now, keep.events) {
            // A bite at a time, so that no ticket waits for it; there may be more.
            Ok(1..) => self.retire_at = now + HOUSE_EVERY,
            Ok(0) => {}
            Err(error) => tracing::warn!(%error, "old events could not be removed"),
        }
    }
}

fn is_blank(page: &Page) -> bool {
    page.events.is_empty()
        && page.tickets.is_empty()
        && page.episodes.is_empty()
        && page.devices.is_empty()
        && page.number.is_none()
}
