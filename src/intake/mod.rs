//! The corridor: receives readings and people's actions, refines, asks the rules and the doors, writes what they caused
//! in one transaction. The only writer of the journal.
//!
//! One file a subject: `page` (filled, written, told), `told` (doors and lockers), `orders`, `acts` (words on tickets),
//! `maintenance`, `show` (present values, history, life of devices), `quality` (what of it could be used),
//! `summary` (what was read in a period), `clocks`, `erase` (what is to be
//! erased), `house` (what can wait), `turn` (another configuration), `room` (who gives way when there is little), `wear` (bytes written), `records` (what came before).
//!
//! It runs on a thread of its own, since a disk sync blocks: the wires go on while it writes, and what they bring
//! meanwhile goes into the next transaction. Nobody is told of a ticket before it is synced to disk.

mod acts;
mod clocks;
mod erase;
mod house;
mod left;
mod maintenance;
mod orders;
mod page;
mod quality;
mod records;
mod room;
mod show;
mod summary;
mod told;
mod turn;
mod wear;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::access::{self, Watch};
use crate::clock::Clock;
use crate::command::Allowed;
use crate::event::Draft;
use crate::field::Near;
use crate::live::{DeviceNow, Live};
use crate::maintenance::{Call, Change, Refused};
use crate::metrics::Metrics;
use crate::order::Wish;
use crate::reading::{Batch, Millis, PointId, Reason, Site, Value};
use crate::receipt::Receipt;
use crate::refine::Cleaner;
use crate::rules::Engine;
use crate::store::{AccessRow, DeviceRow, History, Journal, OrderRow, Page, View};
use crate::ticket::{Ask, Refusal, Ticket};

use clocks::Clocks;
use left::Refusing;
use orders::Orders;
use page::LAST_TRIES;
use quality::Day;
use records::Records;
use room::Room;
use summary::Period;
use turn::Editions;
use wear::Wear;

pub use left::{Left, Waiting};
pub use turn::{TURNS_MAX, Turn, Turned};

/// Batches that may wait while a transaction is synced; when they are that many, the wires wait.
pub const BATCHES_MAX: usize = 1024;
/// Actions that may wait; when they are that many, who asks waits.
pub const ASKS_MAX: usize = 64;

/// Orders that may wait; when they are that many, who asks is sent away for the moment.
pub const WISHES_MAX: usize = 16;
/// Words on maintenance that may wait; when they are that many, who asks is sent away for the moment.
pub const CALLS_MAX: usize = 16;
/// What the daemon has to say of itself.
pub const TELLS_MAX: usize = 16;

/// How much is taken into one transaction at the most.
const BATCHES_AT_ONCE: usize = 256;
/// How long it waits for the rest of a burst.
const GATHER: Duration = Duration::from_micros(500);
/// It comes by at least this often, to show that it lives and to look at the clock.
const ROUND: Duration = Duration::from_secs(5);

/// What intake is given.
#[derive(Debug)]
pub struct Doors {
    pub batches: mpsc::Receiver<Batch>,
    pub asks: mpsc::Receiver<Ask>,
    pub wishes: mpsc::Receiver<Wish>,
    pub calls: mpsc::Receiver<Call>,
    /// Another configuration.
    pub turns: mpsc::Receiver<Turn>,
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
    pub clock: Clock,
    pub site: Arc<Site>,
    pub engine: Engine,
    pub journal: Journal,
    pub history: History,
    pub view: View,
    pub live: Arc<Live>,
    pub metrics: Metrics,
    pub keep: Keep,
    /// What was read in so long is told; `None`: it is not.
    pub summary: Option<Duration>,
    /// Where a day begins.
    pub zone: TimeZone,
    /// What was known of the devices before the start.
    pub devices: Vec<DeviceRow>,
    /// Doors and lockers, and what was known of them before the start.
    pub access: access::Plan,
    pub saved: Vec<AccessRow>,
    /// What may be ordered.
    pub commands: Vec<Allowed>,
    /// Orders that were under way when the run before ended.
    pub orders: Vec<OrderRow>,
    /// The near ends of the wires' lanes, by channel.
    pub lanes: HashMap<Arc<str>, Near>,
}

type Answer = Result<Ticket, Refusal>;
type Maintained = Result<Change, Refused>;

/// The work under way: what the next transaction will hold.
struct Corridor {
    intake: Intake,
    editions: Editions,
    page: Page,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    maintained: Vec<(oneshot::Sender<Maintained>, Maintained)>,
    /// Of what the page says; signed once it is on the disk.
    receipts: Vec<Receipt>,
    cleaner: Cleaner,
    day: Day,
    period: Option<Period>,
    watch: Watch,
    orders: Orders,
    records: Records,
    /// By point: whether each of its readings is an occurrence, and when the last one was.
    words: HashMap<PointId, Millis>,
    /// By device: what an earlier run knew, until this one hears of it.
    remembered: Vec<Option<DeviceNow>>,
    /// By point: what the history last took.
    noted: Vec<Option<Noted>>,
    room: Room,
    refusing: Refusing,
    number: u64,
    synced: bool,
    clocks: Clocks,
    /// An hour has passed: that is written down, whatever else there is.
    trace_due: bool,
    wear: Wear,
    house_at: Millis,
    measured_at: Millis,
    retire_at: Millis,
    /// Every row was looked at in this run, and is sealed with the present key.
    resealed: bool,
    qualities: HashMap<&'static str, u64>,
}

#[derive(Debug, Clone)]
struct Noted {
    at: Millis,
    value: Option<Value>,
    reason: Option<Reason>,
}

impl Intake {
    /// [`run_or_refuse`](Self::run_or_refuse), where there is no other place for a journal.
    pub async fn run(self, doors: Doors, announce: Vec<Draft>, farewell: impl FnOnce() -> Vec<Draft>) {
        self.run_or_refuse(doors, announce, farewell, watch::Sender::new(None)).await;
    }

    /// Until every wire has let go of its sender. `announce`: what is to be told first; `farewell`: last. When the disk
    /// takes nothing for long, it says why in `refused`, goes on taking in what the wires still bring, and hands all of
    /// it back, with the journal.
    pub async fn run_or_refuse(
        mut self,
        mut doors: Doors,
        announce: Vec<Draft>,
        farewell: impl FnOnce() -> Vec<Draft>,
        refused: watch::Sender<Option<String>>,
    ) -> Left {
        let remembered = self.remembered_devices();
        let mut corridor = Corridor {
            remembered,
            cleaner: Cleaner::new(&self.site),
            day: Day::begin(&self.site, &self.zone, self.clock.now()),
            period: self.summary.map(|span| {
                Period::begin(&self.site, &self.zone, span.as_millis() as Millis, self.clock.now())
            }),
            watch: self.watch(),
            orders: Orders::new(self.site.clone(), std::mem::take(&mut self.commands)),
            records: self.known_records(),
            words: HashMap::new(),
            noted: vec![None; self.site.points.len()],
            editions: Editions::default(),
            page: Page { events: announce, ..Page::default() },
            answers: Vec::new(),
            maintained: Vec::new(),
            receipts: Vec::new(),
            room: Room::default(),
            refusing: Refusing::new(refused),
            number: 0,
            synced: self.clock.is_believed(),
            clocks: Clocks::new(&self.clock),
            trace_due: false,
            wear: Wear::default(),
            house_at: 0,
            measured_at: 0,
            retire_at: self.clock.now() + 60_000,
            resealed: false,
            qualities: HashMap::new(),
            intake: self,
        };
        corridor.begin_boot();
        corridor.end_what_was_under_way();
        corridor.show_maintenance();
        corridor.settle(&doors, None).await;
        let mut batches = Vec::with_capacity(BATCHES_AT_ONCE);
        let wanted = corridor.intake.journal.wanted();
        loop {
            corridor.believe();
            tokio::select! {
                biased;
                Some(ask) = doors.asks.recv() => corridor.act(ask),
                Some(wish) = doors.wishes.recv() => corridor.wish(wish),
                Some(call) = doors.calls.recv() => corridor.maintain(call),
                Some(turn) = doors.turns.recv() => corridor.turn(turn, &mut doors).await,
                Some(draft) = doors.tells.recv() => corridor.page.events.push(draft),
                taken = doors.batches.recv_many(&mut batches, BATCHES_AT_ONCE) => {
                    if taken == 0 {
                        break;
                    }
                    corridor.take_all(&mut batches);
                    // Answers come in bursts. To gather for a moment is cheaper than to be woken by each of them.
                    corridor.intake.clock.hold(GATHER);
                    while batches.len() < BATCHES_AT_ONCE && let Ok(batch) = doors.batches.try_recv() {
                        batches.push(batch);
                    }
                    corridor.take_all(&mut batches);
                }
                () = wanted.any() => {}
                () = sleep_until(corridor.wake()) => {}
            }
            while let Ok(ask) = doors.asks.try_recv() {
                corridor.act(ask);
            }
            for _ in 0..WISHES_MAX {
                let Ok(wish) = doors.wishes.try_recv() else { break };
                corridor.wish(wish);
            }
            corridor.settle(&doors, None).await;
        }
        corridor.intake.engine.rest();
        let end = corridor.look_at_the_clocks();
        corridor.day_is_cut(end, end);
        corridor.period_is_cut(end, end);
        corridor.page.events.extend(farewell());
        corridor.settle(&doors, Some(LAST_TRIES)).await;
        corridor.leave()
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
        // Between two bites of what is to be erased there is room for whatever else comes.
        let round = if self.intake.journal.is_erasing() { erase::PAUSE } else { ROUND };
        let round = Instant::now() + round;
        let period = self.period.as_ref().map(Period::until);
        let dues = [self.intake.engine.next_due(), self.watch.next_due(), self.orders.next_due(), period];
        match dues.into_iter().flatten().min() {
            Some(due) => {
                let wait = Duration::from_millis(due.saturating_sub(self.intake.clock.now()).max(0) as u64);
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

    fn take(&mut self, batch: Batch) {
        let Some(mut batch) = self.editions.read(batch) else { return };
        // Nothing has happened later than now.
        let now = self.look_at_the_clocks();
        self.day_advance(now);
        self.period_advance(now);
        batch.at = self.clocks.dated(batch.at).min(now);
        for reading in &mut batch.readings {
            reading.at = self.clocks.dated(reading.at).min(now);
            self.cleaner.clean(reading, self.intake.site.point(reading.point));
            self.count(reading);
            self.summarize(reading);
            *self.qualities.entry(reading.quality.word()).or_default() += 1;
            self.note(reading);
        }
        self.show(&batch);
        self.intake.engine.batch(&batch);
        if let Some(life) = batch.life.take() {
            self.device(batch.device, life, batch.at);
        }
        for happening in std::mem::take(&mut batch.happenings) {
            self.happened(happening, now);
        }
        for reading in &batch.readings {
            self.watch.reading(reading);
        }
        self.tell_of_access();
        if let Some(done) = batch.done {
            self.done(done, now);
        }
        self.receipts.extend(batch.kept);
    }
}
