//! One wire with its devices: who is asked next, what their answers amount to, and what happens when it breaks.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::coalesce::{Read, coalesce};
use super::master::{Failure, Master, Outcome};
use super::{Device, Settings};
use crate::backoff::Backoff;
use crate::field::life::Turns;
use crate::field::wire::Wire;
use crate::field::{Context, decode};
use crate::metrics::{Metrics, Request};
use crate::reading::{Batch, Life, Millis, Reading, Reason};
use crate::time::now;

#[derive(Debug)]
pub struct Channel {
    id: Arc<str>,
    timeout: Duration,
    master: Master,
    units: Vec<Unit>,
    out: mpsc::Sender<Batch>,
    counters: Counters,
    health: Health,
    words: Vec<u16>,
}

/// A device as it is polled.
#[derive(Debug)]
struct Unit {
    device: Device,
    reads: Vec<Read>,
    turns: Turns,
    /// Which of `reads` a poll begins with: the one after the last that failed, so that none is shut out by another.
    first: usize,
}

/// How the wire does.
#[derive(Debug)]
struct Health {
    pauses: Backoff,
    /// Told to all, and not yet answered by anyone since.
    down: bool,
    /// Whether anybody answered since it was opened.
    answered: bool,
    /// Times it broke in a row with no answer in between.
    breaks: u32,
    /// Questions in a row that nobody answered.
    unanswered: u32,
}

#[derive(Debug)]
struct Counters {
    ok: Counter,
    exception: Counter,
    timeout: Counter,
    wrong: Counter,
    broken: Counter,
}

const REOPEN_FIRST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(30);
/// A wire that breaks so often at the first question is down, though it can be opened.
const BREAKS_DOWN: u32 = 3;
/// A peer that lost its power leaves a connection that looks alive; after so much silence a new one is tried.
const UNANSWERED_MOST: u32 = 3;

/// The exceptions by which a gateway says that the unit behind it does not answer.
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
const GATEWAY_NO_RESPONSE: u8 = 0x0B;

/// Nobody takes readings any more: the daemon stops.
#[derive(Debug)]
struct Closed;

impl Channel {
    pub fn new(id: Arc<str>, settings: Settings, context: Context) -> Self {
        let master = Master::new(&settings);
        let start = Instant::now();
        let units = settings
            .devices
            .into_iter()
            .map(|device| Unit::new(device, start));
        Self {
            counters: Counters::new(&context.metrics, &id),
            id,
            timeout: settings.timeout,
            master,
            units: units.filter(|unit| !unit.reads.is_empty()).collect(),
            out: context.out,
            health: Health::new(),
            words: Vec::new(),
        }
    }

    /// Polls until nobody takes readings any more.
    pub async fn work(&mut self) {
        loop {
            let Some(next) = self.next() else {
                return pending().await; // no device has a point
            };
            let turn = async {
                if !self.master.is_open() {
                    self.open().await?;
                }
                sleep_until(self.units[next].turns.due()).await;
                self.poll(next).await
            };
            if let Err(Closed) = turn.await {
                return;
            }
        }
    }

    /// Who has been due longest.
    fn next(&self) -> Option<usize> {
        (0..self.units.len()).min_by_key(|&i| self.units[i].turns.due())
    }

    // --- one poll ---

    async fn poll(&mut self, index: usize) -> Result<(), Closed> {
        let unit = &self.units[index];
        let (first, reads) = (unit.first, unit.reads.len());
        let mut readings = Vec::with_capacity(unit.device.points.len());
        for nth in (0..reads).map(|n| (first + n) % reads) {
            if let Err(failure) = self.read(index, nth, &mut readings).await {
                self.units[index].first = (nth + 1) % reads;
                return self.failed(index, failure, readings).await;
            }
        }
        self.units[index].turns.answered(Instant::now());
        self.hand_on(index, readings, Some(Life::Online)).await
    }

    /// One question. There are peers that close a connection when it was long idle, and some after each answer: one
    /// that answered and then broke is nobody's fault, and the question is asked again on a new one. A connection on
    /// which nobody answered is not forgiven, so a question is asked twice at the most.
    async fn read(&mut self, index: usize, nth: usize, readings: &mut Vec<Reading>) -> Result<(), Failure> {
        let outcome = match self.ask(index, nth).await {
            Err(Failure::Broken(_)) if self.health.answered => {
                self.master.open().await?;
                self.health.answered = false;
                self.ask(index, nth).await
            }
            outcome => outcome,
        };
        let unit = &self.units[index];
        let read = &unit.reads[nth];
        let outcome = outcome?;
        self.health.answer(&self.id);
        match outcome {
            Outcome::Words => unit.read(read, &self.words, readings),
            Outcome::Exception(GATEWAY_PATH_UNAVAILABLE | GATEWAY_NO_RESPONSE) => {
                return Err(Failure::Unreached);
            }
            Outcome::Exception(_) => unit.refused(read, Reason::DeviceError, readings),
        }
        Ok(())
    }

    async fn ask(&mut self, index: usize, nth: usize) -> Result<Outcome, Failure> {
        let unit = &self.units[index];
        let request = &unit.reads[nth].request;
        let outcome = self.master.ask(unit.device.unit, request, &mut self.words).await;
        self.counters.count(&outcome);
        outcome
    }

    /// A poll ended early, with these readings.
    async fn failed(&mut self, index: usize, failure: Failure, readings: Vec<Reading>) -> Result<(), Closed> {
        let why = self.why(&failure);
        debug!(channel = %self.id, device = ?self.units[index].device.id, why, "A poll failed.");
        let broken = match failure {
            Failure::Doubt { until } => {
                self.health.answer(&self.id);
                self.units[index].turns.put_off(Instant::now(), until);
                return match readings.is_empty() {
                    true => Ok(()),
                    false => self.hand_on(index, readings, Some(Life::Online)).await,
                };
            }
            // It cannot be opened again: whoever opens it tells.
            Failure::Broken(_) if self.health.answered && readings.is_empty() => return Ok(()),
            // It answered in part, so the wire is well.
            Failure::Broken(_) if !readings.is_empty() => None,
            Failure::Broken(e) => Some(e),
            Failure::Silent => {
                self.health.unanswered += 1;
                None
            }
            Failure::Wrong | Failure::Unreached => {
                self.health.unanswered = 0;
                None
            }
        };
        self.miss(index, why, readings).await?;
        if let Some(e) = broken {
            self.broke(&e).await?;
        } else if self.health.unanswered >= UNANSWERED_MOST && matches!(self.master.wire(), Wire::Tcp { .. })
        {
            self.health.unanswered = 0;
            self.master.close();
        }
        Ok(())
    }

    /// For people.
    fn why(&self, failure: &Failure) -> String {
        match failure {
            Failure::Silent => format!("no answer within {} ms", self.timeout.as_millis()),
            Failure::Wrong => "what it answers is no answer to what it was asked".into(),
            Failure::Unreached => "the gateway before it gets no answer from it".into(),
            Failure::Doubt { .. } => "it answers, but perhaps to an older question".into(),
            Failure::Broken(e) => e.to_string(),
        }
    }

    /// The points that got no answer are bad; the device is offline when this happens again and again.
    async fn miss(&mut self, index: usize, why: String, mut readings: Vec<Reading>) -> Result<(), Closed> {
        let unit = &mut self.units[index];
        let answered_in_part = !readings.is_empty();
        let at = now();
        let missed = unit.device.points.iter().map(|p| p.id);
        let missed: Vec<_> = missed
            .filter(|id| readings.iter().all(|r| r.point != *id))
            .map(|id| Reading::bad(id, at, Reason::NoAnswer))
            .collect();
        readings.extend(missed);
        let life = if answered_in_part {
            unit.turns.answered(Instant::now());
            Some(Life::Online)
        } else {
            unit.turns.failed(Instant::now());
            unit.turns.is_offline().then_some(Life::Offline { why })
        };
        self.hand_on(index, readings, life).await
    }

    async fn hand_on(&self, index: usize, readings: Vec<Reading>, life: Option<Life>) -> Result<(), Closed> {
        let batch = Batch {
            device: self.units[index].device.id,
            at: readings.iter().map(|r| r.at).max().unwrap_or_else(now),
            readings,
            life,
        };
        self.out.send(batch).await.map_err(|_| Closed)
    }

    // --- the wire ---

    /// Tries until the wire is open, ever more rarely.
    async fn open(&mut self) -> Result<(), Closed> {
        self.health.answered = false;
        while let Err(e) = self.master.open().await {
            self.down(&e).await?;
            sleep(self.health.pauses.pause()).await;
        }
        debug!(channel = %self.id, wire = %self.master.wire(), "The wire is open.");
        Ok(())
    }

    /// It broke with no answer since it was opened: not at once again.
    async fn broke(&mut self, e: &io::Error) -> Result<(), Closed> {
        self.health.breaks += 1;
        if self.health.breaks >= BREAKS_DOWN {
            self.down(e).await?;
        }
        sleep(self.health.pauses.pause()).await;
        Ok(())
    }

    /// Says once that all devices of this wire are out of reach.
    async fn down(&mut self, e: &io::Error) -> Result<(), Closed> {
        if self.health.down {
            return Ok(());
        }
        self.health.down = true;
        self.counters.broken.inc();
        warn!(channel = %self.id, error = %e, "The wire is down; it is tried again until it is back.");
        for index in 0..self.units.len() {
            let at = now();
            let points = self.units[index].device.points.iter();
            let readings = points.map(|p| Reading::bad(p.id, at, Reason::WireDown)).collect();
            let why = e.to_string();
            self.hand_on(index, readings, Some(Life::Offline { why })).await?;
        }
        Ok(())
    }
}

impl Unit {
    fn new(device: Device, start: Instant) -> Self {
        Self {
            reads: coalesce(&device.points),
            turns: Turns::new(device.poll, start),
            device,
            first: 0,
        }
    }

    fn read(&self, read: &Read, words: &[u16], readings: &mut Vec<Reading>) {
        let at: Millis = now();
        readings.extend(read.points.iter().map(|&(nth, place)| {
            let point = &self.device.points[nth];
            let registers = usize::from(point.kind.registers());
            words
                .get(place..place + registers)
                .and_then(|words| decode::value(point.kind, point.order, point.bit, &point.transform, words))
                .map_or_else(
                    || Reading::bad(point.id, at, Reason::Unreadable),
                    |value| Reading::good(point.id, at, value),
                )
        }));
    }

    fn refused(&self, read: &Read, reason: Reason, readings: &mut Vec<Reading>) {
        let at = now();
        let points = read.points.iter().map(|&(nth, _)| self.device.points[nth].id);
        readings.extend(points.map(|id| Reading::bad(id, at, reason)));
    }
}

impl Health {
    fn new() -> Self {
        Self {
            pauses: Backoff::new(REOPEN_FIRST, REOPEN_MOST),
            down: false,
            answered: false,
            breaks: 0,
            unanswered: 0,
        }
    }

    /// Somebody answered, so the wire is well.
    fn answer(&mut self, channel: &str) {
        if self.down {
            info!(channel, "The wire is back.");
        }
        self.pauses.reset();
        self.down = false;
        self.answered = true;
        self.breaks = 0;
        self.unanswered = 0;
    }
}

impl Counters {
    fn new(metrics: &Metrics, channel: &str) -> Self {
        let counter = |outcome| {
            let channel = channel.to_owned();
            metrics
                .requests
                .get_or_create(&Request { channel, outcome })
                .clone()
        };
        Self {
            ok: counter("ok"),
            exception: counter("exception"),
            timeout: counter("timeout"),
            wrong: counter("wrong"),
            broken: counter("broken"),
        }
    }

    fn count(&self, outcome: &Result<Outcome, Failure>) {
        let counter = match outcome {
            Ok(Outcome::Words) => &self.ok,
            Ok(Outcome::Exception(_)) => &self.exception,
            Err(Failure::Silent) => &self.timeout,
            Err(Failure::Wrong | Failure::Unreached | Failure::Doubt { .. }) => &self.wrong,
            Err(Failure::Broken(_)) => &self.broken,
        };
        counter.inc();
    }
}
