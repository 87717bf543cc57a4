//! One wire with its devices: they are asked in turn, what came of it is handed on, and between any two questions what
//! others want of the wire goes first. Who is next says `schedule`; how a question is put is the protocol's business.

mod counters;
mod errands;
mod line;
mod report;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use super::load::Load;
use super::schedule::Schedule;
use super::wire::{Link, Wire};
use super::{Context, Errand, Exchange};
use crate::order::Outcome;
use crate::reading::{Batch, DeviceId, Life, PointId, Reading, Site};
use counters::Counters;
use errands::Errands;
use line::Health;
use report::Troubles;

/// A protocol, which knows its devices, their questions and their commands by number.
///
/// Any of its futures may be dropped while it waits: a device that is gone is given less time than the protocol gives.
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

/// A wire at work.
#[derive(Debug)]
struct Poll<P> {
    id: Arc<str>,
    site: Arc<Site>,
    wire: Wire,
    link: Option<Link>,
    timeout: Duration,
    protocol: P,
    units: Vec<Unit>,
    /// As the schedule numbers them.
    turns: Vec<Turn>,
    schedule: Schedule,
    load: Load,
    errands: Errands,
    out: mpsc::Sender<Batch>,
    counters: Counters,
    health: Health,
    /// What came while nobody was asked.
    heard: Vec<u8>,
    /// What orders have read since the last transaction of a turn, a point once.
    amid: Vec<Reading>,
}

#[derive(Debug)]
struct Unit {
    id: DeviceId,
    troubles: Troubles,
}

#[derive(Debug)]
struct Turn {
    unit: usize,
    round: Round,
}

/// A turn under way.
#[derive(Debug)]
struct Job {
    turn: usize,
    due: Instant,
    began: Instant,
    /// Still to be asked, the next one last.
    questions: Vec<usize>,
    readings: Vec<Reading>,
    /// Which question ended it early, when that was asked, and how.
    ended: Option<(usize, Instant, Failure)>,
}

impl Job {
    /// What it read before an order read it anew is not told after that: a door would close and open once more.
    fn catch_up(&mut self, amid: &[Reading]) {
        for reading in &mut self.readings {
            if let Some(newer) = amid.iter().find(|newer| newer.point == reading.point) {
                *reading = newer.clone();
            }
        }
    }
}

/// Why it is done with being idle.
#[derive(Debug)]
enum Idle {
    Due(usize, Instant),
    Promised,
    Errand(Errand),
    Heard(io::Result<usize>),
}

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
    let lengths = |device: &Device| device.rounds.iter().map(|r| (r.every, r.questions.len())).collect();
    let schedule = Schedule::new(devices.iter().map(lengths), start);
    let (mut units, mut turns) = (Vec::new(), Vec::new());
    for (unit, device) in devices.into_iter().enumerate() {
        units.push(Unit { id: device.id, troubles: Troubles::default() });
        turns.extend(device.rounds.into_iter().map(|round| Turn { unit, round }));
    }
    let Some(errands) = context.stop.run_until_cancelled(Errands::of(context.lane)).await else {
        return;
    };
    let mut poll = Poll {
        counters: Counters::new(&context.metrics, &id),
        id,
        site: context.site,
        wire,
        link: None,
        timeout,
        protocol,
        units,
        schedule,
        load: Load::new(turns.iter().map(|turn| turn.round.every), start),
        turns,
        errands,
        out: context.out,
        health: Health::new(),
        heard: Vec::new(),
        amid: Vec::new(),
    };
    // Closed is the end as well.
    let _ = context.stop.run_until_cancelled(poll.work()).await;
    poll.leave().await;
}

impl<P: Ask> Poll<P> {
    async fn work(&mut self) -> Result<(), Closed> {
        loop {
            self.run_errands().await?;
            let next = self.schedule.next();
            let wanted = next.is_some() || self.protocol.listens() || self.protocol.due().is_some();
            if self.link.is_none() && wanted {
                self.open().await?;
            }
            match self.idle(next).await {
                Idle::Promised => self.keep_promises().await,
                Idle::Due(turn, due) => self.poll(turn, due).await?,
                Idle::Errand(errand) => self.run_errand(errand).await?,
                Idle::Heard(heard) => self.overheard(heard).await?,
            }
        }
    }

    /// Waits for what is next to do.
    async fn idle(&mut self, next: Option<(usize, Instant)>) -> Idle {
        let listens = self.protocol.listens();
        let due = async {
            match next {
                // The runtime's timer would let what is due now wait for its next tick.
                Some((turn, at)) if at <= Instant::now() => Idle::Due(turn, at),
                Some((turn, at)) => {
                    sleep_until(at).await;
                    Idle::Due(turn, at)
                }
                None => pending().await,
            }
        };
        let promised = self.protocol.due();
        let promised = async {
            match promised {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let heard = async {
            match &mut self.link {
                Some(link) if listens => Idle::Heard(link.receive(&mut self.heard).await),
                _ => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = promised => Idle::Promised,
            errand = self.errands.next() => Idle::Errand(errand),
            heard = heard => heard,
            due = due => due,
        }
    }

    /// What a device said unasked.
    async fn overheard(&mut self, heard: io::Result<usize>) -> Result<(), Closed> {
        if let Err(e) = heard {
            self.heard.clear();
            self.link = None;
            return self.broke(&e).await;
        }
        let spoke = self.protocol.overheard(&self.heard);
        self.heard.clear();
        for (unit, readings) in spoke {
            self.health.answer(&self.id);
            self.hand_on(unit, readings, None).await?;
        }
        Ok(())
    }

    // --- one turn, or several at once ---

    async fn poll(&mut self, turn: usize, due: Instant) -> Result<(), Closed> {
        let mut jobs = self.jobs(turn, due);
        while self.step(&mut jobs).await {
            self.amid.clear();
            self.run_errands().await?;
            jobs.iter_mut().for_each(|job| job.catch_up(&self.amid));
        }
        for job in jobs {
            self.finish(job).await?;
        }
        // What others said by themselves meanwhile.
        if self.protocol.listens() && self.link.is_some() { self.overheard(Ok(0)).await } else { Ok(()) }
    }

    /// This turn, and where the protocol asks several questions at once, as many of those that are due as fill that.
    fn jobs(&mut self, turn: usize, due: Instant) -> Vec<Job> {
        let began = Instant::now();
        let mut jobs = vec![self.job(turn, due, began)];
        let mut questions = jobs[0].questions.len();
        while questions < self.protocol.together()
            && let Some((turn, due)) = self.schedule.next().filter(|(_, due)| *due <= began)
            && jobs.iter().all(|job| job.turn != turn)
        {
            jobs.push(self.job(turn, due, began));
            questions += jobs.last().map_or(0, |job| job.questions.len());
        }
        jobs
    }

    fn job(&mut self, turn: usize, due: Instant, began: Instant) -> Job {
        let mut questions = self.schedule.begin(turn, began);
        questions.reverse();
        let readings = Vec::with_capacity(self.turns[turn].round.points.len());
        Job { turn, due, began, questions, readings, ended: None }
    }

    /// One transaction; `false` when there is nothing left to ask.
    async fn step(&mut self, jobs: &mut [Job]) -> bool {
        let mut picked = Vec::new();
        for (i, job) in jobs.iter_mut().enumerate() {
            while job.ended.is_none() && picked.len() < self.protocol.together().max(1) {
                let Some(nth) = job.questions.pop() else { break };
                picked.push((i, nth));
            }
        }
        if picked.is_empty() {
            return false;
        }
        let began = Instant::now();
        let place = |&(i, nth): &(usize, usize)| (jobs[i].turn, nth);
        let places: Vec<_> = picked.iter().map(place).collect();
        let mut readings = vec![Vec::new(); picked.len()];
        let outcomes = self.read(&places, &mut readings).await;
        let ended = Instant::now();
        self.counters.busy(ended - began);
        for (((i, nth), outcome), readings) in picked.into_iter().zip(outcomes).zip(readings) {
            let job = &mut jobs[i];
            job.readings.extend(readings);
            match outcome {
                Ok(Answer::Read) => self.schedule.answered(job.turn, nth, ended - began),
                Ok(Answer::Refused) => self.schedule.refused(job.turn, nth, ended - began),
                Err(failure) => {
                    job.ended.get_or_insert((nth, began, failure));
                    continue;
                }
            }
            self.health.answer(&self.id);
        }
        true
    }

    /// Questions that go out together. There are peers that close a connection when it was long idle, and some after each
    /// answer: one that answered and then broke is nobody's fault, and the question is asked again on a new one. A
    /// connection on which nobody answered is not forgiven, so a question is asked twice at the most.
    async fn read(
        &mut self,
        places: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let mut outcomes = self.ask(places, readings).await;
        let answered = self.health.answered || outcomes.iter().any(Result::is_ok);
        let broken = |o: &Result<Answer, Failure>| matches!(o, Err(Failure::Broken(_)));
        if !answered || !outcomes.iter().any(broken) {
            return outcomes;
        }
        if let Err(e) = self.connect().await {
            if let Some(outcome) = outcomes.iter_mut().find(|o| broken(o)) {
                *outcome = Err(e.into());
            }
            return outcomes;
        }
        for ((place, readings), outcome) in places.iter().zip(readings).zip(&mut outcomes) {
            if broken(outcome) {
                let again = self.ask(std::slice::from_ref(place), std::slice::from_mut(readings)).await;
                *outcome = again.into_iter().next().unwrap_or(Err(Failure::Silent));
            }
        }
        outcomes
    }

    async fn ask(
        &mut self,
        places: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let most = places.iter().map(|&(turn, nth)| self.schedule.patience(turn, nth));
        let most = most.reduce(Option::max).flatten().filter(|_| places.len() == 1);
        let question = |&(turn, nth): &(usize, usize)| {
            let Turn { unit, round } = &self.turns[turn];
            (*unit, round.questions[nth])
        };
        let asked: Vec<_> = places.iter().map(question).collect();
        let Some(link) = &mut self.link else {
            let gone = |_| Err(io::Error::from(io::ErrorKind::NotConnected).into());
            return places.iter().map(gone).collect();
        };
        let outcomes = match (&asked[..], readings, most) {
            (&[(unit, question)], [readings], None) => {
                vec![self.protocol.ask(link, unit, question, readings).await]
            }
            (&[(unit, question)], [readings], Some(most)) => {
                let asked = timeout(most, self.protocol.ask(link, unit, question, readings)).await;
                vec![asked.unwrap_or(Err(Failure::Silent))]
            }
            (_, readings, _) => self.protocol.ask_together(link, &asked, readings).await,
        };
        outcomes.iter().for_each(|outcome| self.counters.count(outcome));
        if outcomes.iter().any(|o| matches!(o, Err(Failure::Broken(_)))) {
            self.link = None;
        }
        outcomes
    }

    async fn finish(&mut self, job: Job) -> Result<(), Closed> {
        let Job { turn, due, began, readings, ended, .. } = job;
        let now = Instant::now();
        match ended {
            None => {
                self.schedule.done(turn, now);
                self.load.asked(turn, due, began, now);
                let unit = self.turns[turn].unit;
                let life = self.life(unit, &readings, "");
                self.hand_on(unit, readings, life).await?;
            }
            Some(ended) => self.failed(turn, began, ended, readings).await?,
        }
        self.look_at_load(now);
        Ok(())
    }

    /// A turn ended early, with these readings.
    async fn failed(
        &mut self,
        turn: usize,
        began: Instant,
        (nth, asked, failure): (usize, Instant, Failure),
        readings: Vec<Reading>,
    ) -> Result<(), Closed> {
        let (unit, why, now) = (self.turns[turn].unit, self.why(&failure), Instant::now());
        debug!(channel = %self.id, device = ?self.units[unit].id, why, "A poll failed.");
        let broken = match failure {
            Failure::Doubt { until } => {
                self.health.answer(&self.id);
                self.schedule.leave_alone(turn, now, until);
                if readings.is_empty() {
                    return Ok(());
                }
                let life = self.life(unit, &readings, &why);
                return self.hand_on(unit, readings, life).await;
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
        self.schedule.missed(turn, nth, asked, now);
        match readings.is_empty() {
            true => self.schedule.failed(turn, began, now),
            false => self.schedule.done(turn, now),
        }
        self.load.gone(turn);
        self.miss(turn, &why, readings).await?;
        if let Some(e) = broken {
            self.broke(&e).await?;
        } else {
            self.health.give_up_on_silence(&self.wire, &mut self.link);
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

    async fn hand_on(&self, unit: usize, readings: Vec<Reading>, life: Option<Life>) -> Result<(), Closed> {
        let at = readings.iter().map(|r| r.at).max().unwrap_or_else(crate::time::now);
        let batch = Batch::new(self.units[unit].id, at, readings, life);
        self.out.send(batch).await.map_err(|_| Closed)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Broken(e)
    }
}
