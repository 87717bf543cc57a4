//! One wire with its devices: who is asked next, what comes of it, and what happens when the wire breaks. How a
//! question is put is the protocol's business.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::life::Turns;
use super::wire::{Link, Wire};
use super::{Context, Exchange};
use crate::backoff::Backoff;
use crate::metrics::{Metrics, Request};
use crate::order::Outcome;
use crate::reading::{Batch, DeviceId, Life, PointId, Reading, Reason};
use crate::time::now;

/// A protocol, which knows its devices, their questions and their commands by number.
pub trait Ask {
    /// The wire was opened anew.
    fn opened(&mut self) {}

    /// Whether devices of this protocol speak without being asked.
    fn listens(&self) -> bool {
        false
    }

    /// What came while nobody was asked: which devices spoke, and what they said.
    fn overheard(&mut self, _bytes: &[u8]) -> Vec<(usize, Vec<Reading>)> {
        Vec::new()
    }

    /// So many questions may be under way at one time.
    fn together(&self) -> usize {
        1
    }

    /// Puts several questions (device, question) at once; what was read of each is appended to its own `readings`.
    async fn ask_together(
        &mut self,
        link: &mut Link,
        asked: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let mut outcomes = Vec::with_capacity(asked.len());
        for (&(device, question), readings) in asked.iter().zip(readings) {
            outcomes.push(self.ask(link, device, question, readings).await);
        }
        outcomes
    }

    /// Does what was ordered; what was read in doing so (a read-back) is appended to `readings`.
    async fn act(
        &mut self,
        _link: &mut Link,
        _device: usize,
        _nth: usize,
        _readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        Ok(Outcome::Failed { why: "nothing can be ordered on this wire".into() })
    }

    /// When something that was promised has to be done: the end of a pulse.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does what of it is due at `now`, one transaction of it. What fails stays, and is due again.
    async fn settle(&mut self, _link: &mut Link, _now: Instant) -> Result<(), Failure> {
        Ok(())
    }

    /// Asks a device (or one point of it) in full view.
    async fn look(
        &mut self,
        _link: &mut Link,
        _device: usize,
        _point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        Ok(Vec::new())
    }

    /// Whether anyone answers at this address, and how it shows, for people.
    async fn seek(
        &mut self,
        _link: &mut Link,
        _address: u8,
        _timeout: Duration,
    ) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    /// Puts one question to one device; what was read is appended to `readings`.
    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure>;
}

/// A device as it is polled.
#[derive(Debug)]
pub struct Device {
    pub id: DeviceId,
    /// None for a device that is never asked by itself, only ordered.
    pub rounds: Vec<Round>,
}

/// Questions of one period: asked together and handed on as one batch, since readings of one instant belong together.
#[derive(Debug, Clone)]
pub struct Round {
    pub every: Duration,
    /// The protocol's numbers of them, for [`Ask::ask`].
    pub questions: Vec<usize>,
    /// What they read.
    pub points: Vec<PointId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Read,
    /// The device says that it cannot.
    Refused,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Silent,
    /// Something came, but no answer to this question.
    Wrong,
    /// The gateway in between says that it cannot be reached.
    Unreached,
    /// It answers, but may be answering an older question; not to be asked before `until`.
    Doubt {
        until: Instant,
    },
    Broken(io::Error),
}

#[derive(Debug)]
struct Poll<P> {
    id: Arc<str>,
    wire: Wire,
    link: Option<Link>,
    timeout: Duration,
    protocol: P,
    units: Vec<Unit>,
    out: mpsc::Sender<Batch>,
    counters: Counters,
    health: Health,
}

#[derive(Debug)]
struct Unit {
    id: DeviceId,
    device: usize,
    round: Round,
    turns: Turns,
    /// Which question a poll begins with: the one after the last that failed, so that none is shut out by another.
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

/// Nobody takes readings any more: the daemon stops.
#[derive(Debug)]
struct Closed;

/// Polls all devices of one wire until `context.stop`, or until nobody takes the readings any more. `timeout`: how
/// long a device may take to answer.
pub async fn run(
    id: Arc<str>,
    wire: Wire,
    timeout: Duration,
    devices: Vec<Device>,
    protocol: impl Ask,
    context: Context,
) {
    let start = Instant::now();
    let units = devices.into_iter().enumerate().flat_map(|(device, Device { id, rounds })| {
        rounds.into_iter().map(move |round| Unit {
            turns: Turns::new(round.every, start),
            id,
            device,
            round,
            first: 0,
        })
    });
    let mut poll = Poll {
        counters: Counters::new(&context.metrics, &id),
        id,
        wire,
        link: None,
        timeout,
        protocol,
        units: units.collect(),
        out: context.out,
        health: Health::new(),
    };
    // Closed is the end as well.
    let _ = context.stop.run_until_cancelled(poll.work()).await;
}

impl<P: Ask> Poll<P> {
    async fn work(&mut self) -> Result<(), Closed> {
        loop {
            let Some(next) = self.next() else {
                return pending().await; // no device has a point
            };
            if self.link.is_none() {
                self.open().await?;
            }
            sleep_until(self.units[next].turns.due()).await;
            self.poll(next).await?;
        }
    }

    /// Who has been due longest.
    fn next(&self) -> Option<usize> {
        (0..self.units.len()).min_by_key(|&i| self.units[i].turns.due())
    }

    // --- one poll ---

    async fn poll(&mut self, index: usize) -> Result<(), Closed> {
        let Unit { round, first, .. } = &self.units[index];
        let (first, questions) = (*first, round.questions.len());
        let mut readings = Vec::with_capacity(round.points.len());
        for nth in (0..questions).map(|n| (first + n) % questions) {
            if let Err(failure) = self.read(index, nth, &mut readings).await {
                self.units[index].first = (nth + 1) % questions;
                return self.failed(index, failure, readings).await;
            }
            self.health.answer(&self.id);
        }
        self.units[index].turns.answered(Instant::now());
        self.hand_on(index, readings, Some(Life::Online)).await
    }

    /// One question. There are peers that close a connection when it was long idle, and some after each answer: one
    /// that answered and then broke is nobody's fault, and the question is asked again on a new one. A connection on
    /// which nobody answered is not forgiven, so a question is asked twice at the most.
    async fn read(&mut self, index: usize, nth: usize, readings: &mut Vec<Reading>) -> Result<(), Failure> {
        match self.ask(index, nth, readings).await {
            Err(Failure::Broken(_)) if self.health.answered => {
                self.connect().await?;
                self.ask(index, nth, readings).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&mut self, index: usize, nth: usize, readings: &mut Vec<Reading>) -> Result<(), Failure> {
        let Some(link) = &mut self.link else {
            return Err(io::Error::from(io::ErrorKind::NotConnected).into());
        };
        let Unit { device, round, .. } = &self.units[index];
        let outcome = self.protocol.ask(link, *device, round.questions[nth], readings).await;
        self.counters.count(&outcome);
        if let Err(Failure::Broken(_)) = outcome {
            self.link = None;
        }
        outcome.map(|_| ())
    }

    /// A poll ended early, with these readings.
    async fn failed(&mut self, index: usize, failure: Failure, readings: Vec<Reading>) -> Result<(), Closed> {
        let why = self.why(&failure);
        debug!(channel = %self.id, device = ?self.units[index].id, why, "A poll failed.");
        let broken = match failure {
            Failure::Doubt { until } => {
                self.health.answer(&self.id);
                self.units[index].turns.leave_alone(Instant::now(), until);
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
            Failure::Wrong => {
                self.health.unanswered = 0;
                None
            }
            Failure::Unreached => {
                self.health.answer(&self.id);
                None
            }
        };
        self.miss(index, why, readings).await?;
        if let Some(e) = broken {
            self.broke(&e).await?;
        } else if self.health.unanswered >= UNANSWERED_MOST && matches!(self.wire, Wire::Tcp { .. }) {
            self.health.unanswered = 0;
            self.link = None;
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
        let Unit { round, turns, .. } = &mut self.units[index];
        let life = if readings.is_empty() {
            turns.failed(Instant::now());
            turns.is_offline().then_some(Life::Offline { why })
        } else {
            turns.answered(Instant::now());
            Some(Life::Online)
        };
        let at = now();
        let missed = round.points.iter().copied();
        let missed: Vec<_> = missed
            .filter(|point| readings.iter().all(|r| r.point != *point))
            .map(|point| Reading::bad(point, at, Reason::NoAnswer))
            .collect();
        readings.extend(missed);
        self.hand_on(index, readings, life).await
    }

    async fn hand_on(&self, index: usize, readings: Vec<Reading>, life: Option<Life>) -> Result<(), Closed> {
        let at = readings.iter().map(|r| r.at).max().unwrap_or_else(now);
        let batch = Batch::new(self.units[index].id, at, readings, life);
        self.out.send(batch).await.map_err(|_| Closed)
    }

    // --- the wire ---

    async fn connect(&mut self) -> io::Result<()> {
        self.link = None; // a serial port is held by one alone
        self.link = Some(self.wire.open().await?);
        self.protocol.opened();
        self.health.answered = false;
        Ok(())
    }

    /// Tries until the wire is open, ever more rarely.
    async fn open(&mut self) -> Result<(), Closed> {
        while let Err(e) = self.connect().await {
            self.down(&e).await?;
            sleep(self.health.pauses.pause()).await;
        }
        debug!(channel = %self.id, wire = %self.wire, "The wire is open.");
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
            let points = self.units[index].round.points.iter();
            let readings = points.map(|&p| Reading::bad(p, at, Reason::WireDown)).collect();
            let why = e.to_string();
            self.hand_on(index, readings, Some(Life::Offline { why })).await?;
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Broken(e)
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
            metrics.requests.get_or_create(&Request { channel, outcome }).clone()
        };
        Self {
            ok: counter("ok"),
            exception: counter("exception"),
            timeout: counter("timeout"),
            wrong: counter("wrong"),
            broken: counter("broken"),
        }
    }

    fn count(&self, outcome: &Result<Answer, Failure>) {
        let counter = match outcome {
            Ok(Answer::Read) => &self.ok,
            Ok(Answer::Refused) | Err(Failure::Unreached) => &self.exception,
            Err(Failure::Silent) => &self.timeout,
            Err(Failure::Wrong | Failure::Doubt { .. }) => &self.wrong,
            Err(Failure::Broken(_)) => &self.broken,
        };
        counter.inc();
    }
}
