//! All controllers of one channel: who is asked next, and what is handed on.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::asker::{Asker, Trouble};
use super::codec::{self, Event, Function, Packet, Status};
use super::ledger::{Known, Ledger};
use super::listener::Listener;
use super::meaning::{self, meaning};
use super::turns::Turns;
use super::{Controller, Settings};
use crate::fault::{contain, contained};
use crate::field::stumble::{self, Stumbles};
use crate::field::{Context, Errand, Out};
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, Life, Millis, Reading, Reason, Value};
use crate::receipt::Receipt;
use crate::time::{clock_is_synced, now};

#[derive(Debug)]
pub struct Desk {
    pub id: Arc<str>,
    pub asker: Asker,
    pub units: Vec<Unit>,
    /// Where all are asked that have no address of their own.
    pub address: SocketAddr,
    announce: Option<SocketAddr>,
    zone: TimeZone,
    names: Option<Pseudonyms>,
    out: Out,
    stumbles: Stumbles,
}

/// One controller as we know it.
#[derive(Debug)]
pub struct Unit {
    pub controller: Controller,
    turns: Turns,
    /// Something happened there, it says: asked before its turn.
    woken: Option<Instant>,
    asked: Option<Instant>,
    ledger: Ledger,
    /// What the journal had last of it when the daemon started.
    record: Option<Arc<str>>,
    /// Of the last events that were handed on.
    kept: Option<Receipt>,
    announced: bool,
    clock_set: Option<Instant>,
}

/// Nobody takes readings any more: the daemon stops.
#[derive(Debug)]
pub struct Closed;

/// However often a controller calls, it is not asked more often than this.
const WAKE_GAP: Duration = Duration::from_millis(100);
/// An event that is older than two polls and this was not seen when it happened.
const FRESH: Duration = Duration::from_secs(5);
const CLOCK_WRONG: Duration = Duration::from_secs(60);
const CLOCK_PAUSE: Duration = Duration::from_secs(3600);
/// Their number for an event that newer ones have overwritten.
const OVERWRITTEN: u8 = 0xFF;

impl Desk {
    pub fn new(id: Arc<str>, settings: Settings, asker: Asker, context: &Context) -> Self {
        let start = Instant::now();
        let zone = TimeZone::get(&settings.timezone).unwrap_or_else(|_| {
            warn!(channel = %id, zone = settings.timezone, "The zone is not known; its clocks are taken to be UTC.");
            TimeZone::UTC
        });
        let unit = |controller: Controller| {
            let record = context.last_records.get(&controller.id).cloned();
            Unit::new(controller, record, start)
        };
        let stumbles = Stumbles::new(id.clone(), context.site.clone(), context.metrics.clone());
        Self {
            id,
            asker,
            units: settings.controllers.into_iter().map(unit).collect(),
            address: settings.address,
            announce: settings.announce,
            zone,
            names: context.pseudonyms.clone(),
            out: context.out.clone(),
            stumbles,
        }
    }

    /// Until nobody takes readings any more. What a controller sends by itself only wakes us: what is believed is what
    /// it answers when asked, so that a forged datagram is worth one question, and an event that comes twice is one.
    pub async fn work(
        &mut self,
        mut listener: Listener,
        lane: &mut mpsc::Receiver<Errand>,
    ) -> Result<(), Closed> {
        let mut lane_open = true;
        loop {
            let next = self.next();
            let due = next.and_then(|nth| self.units.get(nth)).map(Unit::due);
            tokio::select! {
                biased;
                errand = lane.recv(), if lane_open => match errand {
                    Some(errand) => self.errand(errand).await?,
                    None => lane_open = false,
                },
                () = until(due) => if let Some(nth) = next { self.guarded_turn(nth).await? },
                // Last, so that a flood of calls shuts nobody out.
                called = listener.heard() => self.woken(called),
            }
        }
    }

    fn next(&self) -> Option<usize> {
        (0..self.units.len()).min_by_key(|&nth| self.units.get(nth).map(Unit::due))
    }

    /// A call only says that there is something to fetch, which the controller itself is asked for. One from elsewhere is not
    /// even that.
    fn woken(&mut self, called: Option<(u32, IpAddr)>) {
        let is_called = |unit: &&mut Unit| {
            called.is_some_and(|(serial, from)| {
                unit.controller.serial == serial && unit.at().is_none_or(|at| at == from)
            })
        };
        match self.units.iter_mut().find(is_called) {
            Some(unit) => unit.woken = Some(unit.asked.map_or_else(Instant::now, |asked| asked + WAKE_GAP)),
            None => self.asker.foreign(),
        }
    }

    // --- one turn of a controller ---

    /// Where the program breaks at what this controller says, the others have their turns all the same.
    async fn guarded_turn(&mut self, nth: usize) -> Result<(), Closed> {
        let fault = match contained(self.turn(nth)).await {
            Ok(done) => return done,
            Err(fault) => fault,
        };
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        unit.woken = None;
        self.stumbles.over(unit.controller.id, &fault);
        self.missed(nth, &Trouble::Fault(fault)).await
    }

    async fn turn(&mut self, nth: usize) -> Result<(), Closed> {
        let answer = self.ask(nth, |serial| codec::ask(Function::Status, serial)).await;
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        unit.woken = None;
        unit.asked = Some(Instant::now());
        let status = match answer {
            Ok(packet) => codec::status(&packet),
            Err(trouble) => return self.missed(nth, &trouble).await,
        };
        unit.turns.answered(Instant::now());
        let mut batch = Batch::new(unit.controller.id, now(), unit.doors(&status, now()), Some(Life::Online));
        if let Err(trouble) = self.catch_up(nth, &status, &mut batch).await {
            debug!(channel = %self.id, why = %trouble, "Events are left for the next turn.");
        }
        if !batch.happenings.is_empty() {
            let kept = Receipt::default();
            batch.kept = Some(kept.clone());
            self.change(nth, |unit| unit.kept = Some(kept));
        }
        self.out.send(batch).await.map_err(|_| Closed)?;
        self.housekeeping(nth, &status).await;
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        if unit.ledger.is_behind(status.index) {
            unit.woken = Some(Instant::now() + WAKE_GAP);
        }
        Ok(())
    }

    /// Finds where the controller's events are to be taken up, `last` being its last.
    async fn begin(&mut self, nth: usize, last: u32) -> Result<(), Trouble> {
        let packet = self.ask(nth, |serial| codec::ask(Function::EventIndex, serial)).await?;
        let record = self.units.get(nth).and_then(|unit| unit.record.clone());
        let journal = match record.and_then(|record| Some((meaning::number(&record)?, record))) {
            Some((index, record)) if index <= last => {
                let packet = self.ask(nth, |serial| codec::ask_event(serial, index)).await?;
                let event = codec::event(&packet);
                // One that newer ones have overwritten says nothing against it.
                let cleared = is_there(&event, index) && meaning::record(&event) != record;
                Some(Known { index, cleared })
            }
            Some((index, _)) => Some(Known { index, cleared: true }),
            None => None,
        };
        self.change(nth, |unit| unit.ledger.begin(journal, codec::index(&packet), last, Instant::now()));
        Ok(())
    }

    /// Fetches what happened since, in order. What was fetched before something failed is in `batch`.
    async fn catch_up(&mut self, nth: usize, status: &Status, batch: &mut Batch) -> Result<(), Trouble> {
        if self.units.get(nth).is_some_and(|unit| !unit.ledger.has_begun()) {
            self.begin(nth, status.index).await?;
        }
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        for index in unit.ledger.wanted(status.index) {
            let packet = self.ask(nth, |serial| codec::ask_event(serial, index)).await?;
            let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
            let read = contain(|| {
                let event = codec::event(&packet);
                let when = when(&event, status, unit.controller.poll, &self.zone);
                is_there(&event, index).then(|| meaning(&unit.controller, &event, self.names.as_ref(), when))
            });
            let serial = unit.controller.serial;
            match read {
                Ok(Some(happened)) => batch.happenings.extend(happened),
                Ok(None) => {
                    warn!(channel = %self.id, serial, index, "An event is gone from the controller's memory.");
                }
                Err(fault) => {
                    self.stumbles.over(unit.controller.id, &fault);
                    if !unit.ledger.gives_up(index) {
                        return Err(Trouble::Fault(fault));
                    }
                    warn!(channel = %self.id, serial, index, "An event cannot be read; it stays in the controller's memory, and those after it are fetched.");
                    batch.life = Some(Life::Degraded { why: stumble::why(&fault) });
                }
            }
            unit.ledger.handed_on(index, Instant::now());
        }
        Ok(())
    }

    /// What a controller has to be told: where to send its events, which we have, what time it is.
    async fn housekeeping(&mut self, nth: usize, status: &Status) {
        let Some(unit) = self.units.get(nth) else { return };
        let announce = self.announce.filter(|_| !unit.announced);
        let is_kept = unit.kept.as_ref().is_none_or(Receipt::is_signed);
        let to_store = unit.ledger.to_store(Instant::now()).filter(|_| is_kept);
        let local = DateTime::from(jiff::Timestamp::now().to_zoned(self.zone.clone()));
        let set_clock = clock_is_off(unit.clock_set, status.time, local, Instant::now()) && clock_is_synced();
        if let Some(SocketAddr::V4(listener)) = announce {
            let answer = self.ask(nth, |serial| codec::set_listener(serial, listener)).await;
            let done = answer.is_ok_and(|packet| codec::is_done(&packet));
            self.change(nth, |unit| unit.announced = done);
        }
        if let Some(index) = to_store {
            let answer = self.ask(nth, |serial| codec::set_event_index(serial, index)).await;
            if answer.is_ok_and(|packet| codec::is_done(&packet)) {
                self.change(nth, |unit| unit.ledger.stored(index, Instant::now()));
            }
        }
        if set_clock {
            let answer = self.ask(nth, |serial| codec::set_time(serial, local)).await;
            info!(channel = %self.id, done = answer.is_ok(), "A controller's clock was wrong and is set.");
            self.change(nth, |unit| unit.clock_set = Some(Instant::now()));
        }
    }

    fn change(&mut self, nth: usize, how: impl FnOnce(&mut Unit)) {
        if let Some(unit) = self.units.get_mut(nth) {
            how(unit);
        }
    }

    /// It did not answer: its doors are unknown, and it is offline when this happens again and again.
    async fn missed(&mut self, nth: usize, trouble: &Trouble) -> Result<(), Closed> {
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        debug!(channel = %self.id, serial = unit.controller.serial, why = %trouble, "A poll failed.");
        unit.turns.failed(Instant::now());
        unit.announced = false;
        let at = now();
        let readings = unit.controller.doors.iter().map(|&door| Reading::bad(door, at, Reason::NoAnswer));
        let life = unit.turns.is_offline().then(|| Life::Offline { why: trouble.to_string() });
        let batch = Batch::new(unit.controller.id, at, readings.collect(), life);
        self.hand_on(batch).await
    }

    pub async fn ask(&self, nth: usize, question: impl FnOnce(u32) -> Packet) -> Result<Packet, Trouble> {
        let Some(unit) = self.units.get(nth) else { return Err(Trouble::Silent(Duration::ZERO)) };
        let to = unit.controller.address.unwrap_or(self.address);
        self.asker.ask(to, unit.at(), &question(unit.controller.serial)).await
    }

    pub async fn hand_on(&self, batch: Batch) -> Result<(), Closed> {
        self.out.send(batch).await.map_err(|_| Closed)
    }
}

impl Unit {
    /// Where it sits, where that is known.
    fn at(&self) -> Option<IpAddr> {
        self.controller.address.map(|address| address.ip()).filter(|ip: &IpAddr| !ip.is_unspecified())
    }

    fn new(controller: Controller, record: Option<Arc<str>>, start: Instant) -> Self {
        Self {
            turns: Turns::new(controller.poll, start),
            controller,
            woken: None,
            asked: None,
            ledger: Ledger::default(),
            record,
            kept: None,
            announced: false,
            clock_set: None,
        }
    }

    fn due(&self) -> Instant {
        self.woken.map_or(self.turns.due(), |woken| woken.min(self.turns.due()))
    }

    pub fn doors(&self, status: &Status, at: Millis) -> Vec<Reading> {
        let states = self.controller.doors.iter().zip(status.open);
        let word = |open| Value::Text(if open { "open" } else { "closed" }.into());
        states.map(|(&door, open)| Reading::good(door, at, word(open))).collect()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Whether the controller still has the event under this number, and said so.
fn is_there(event: &Event, index: u32) -> bool {
    event.index == index && !matches!(event.kind, 0 | OVERWRITTEN)
}

/// When an event happened, and whether nobody listened then. Its age is by the controller's own clock, however wrong
/// that is; what is fresh happened now.
fn when(event: &Event, status: &Status, poll: Duration, zone: &TimeZone) -> (Millis, bool) {
    let age = status.time.zip(event.time).map(|(now, then)| now.duration_since(then));
    let fresh = i64::try_from((poll * 2 + FRESH).as_secs()).unwrap_or(i64::MAX);
    if age.is_some_and(|age| age.as_secs() <= fresh) {
        return (now(), false);
    }
    let local = event.time.and_then(|time| zone.to_zoned(time).ok());
    (local.map_or_else(now, |local| local.timestamp().as_millisecond()), true)
}

/// Whether the controller's clock should be set, as far as its clock and the last try say.
fn clock_is_off(set: Option<Instant>, theirs: Option<DateTime>, ours: DateTime, now: Instant) -> bool {
    let off = theirs.is_none_or(|theirs| ours.duration_since(theirs).unsigned_abs() > CLOCK_WRONG);
    off && set.is_none_or(|set| now >= set + CLOCK_PAUSE)
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;

    use super::super::codec::tests::vector;
    use super::*;

    #[test]
    fn a_fresh_event_happens_now_and_an_old_one_by_the_controllers_clock() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let poll = Duration::from_secs(2);
        let (event, mut status) = (codec::event(&vector()), codec::status(&vector()));
        let (at, late) = when(&event, &status, poll, &zone);
        assert!(late);
        assert_eq!(crate::time::format(at), "2019-04-19T09:00:09.000Z");
        status.time = Some(datetime(2019, 4, 19, 17, 0, 18, 0));
        let (at, late) = when(&event, &status, poll, &zone);
        assert!(!late && (now() - at).abs() < 60_000);
        status.time = Some(datetime(2019, 4, 19, 17, 0, 19, 0));
        assert!(when(&event, &status, poll, &zone).1);
    }

    #[test]
    fn a_clock_is_set_when_it_is_a_minute_off_and_not_again_within_the_hour() {
        let (start, ours) = (Instant::now(), datetime(2026, 1, 1, 12, 0, 0, 0));
        let off = |theirs, set| clock_is_off(set, Some(theirs), ours, start + CLOCK_PAUSE / 2);
        assert!(!off(datetime(2026, 1, 1, 12, 1, 0, 0), None));
        assert!(off(datetime(2026, 1, 1, 12, 1, 1, 0), None));
        assert!(off(datetime(2026, 1, 1, 11, 58, 59, 0), None));
        assert!(!off(datetime(2000, 1, 1, 0, 0, 0, 0), Some(start)));
        assert!(clock_is_off(Some(start), None, ours, start + CLOCK_PAUSE));
    }
}
