//! One turn, or several at once: a device's questions of one period, and what is made of the answers.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{Answer, Ask, Closed, Failure, Poll, Round};
use crate::field::stumble;
use crate::reading::{PointId, Reading};

#[derive(Debug)]
pub(super) struct Turn {
    pub unit: usize,
    pub round: Round,
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
    /// Whose readings were handed on before the turn was over.
    told: Vec<PointId>,
    /// What others took of the wire meanwhile.
    aside: Duration,
    /// Which question ended it early, when that was asked, and how.
    ended: Option<(usize, Instant, Failure)>,
}

impl<P: Ask> Poll<P> {
    pub(super) async fn poll(&mut self, turn: usize, due: Instant) -> Result<(), Closed> {
        self.protocol.begins();
        let mut jobs = self.jobs(turn, due);
        while self.step(&mut jobs).await {
            self.stand_aside(&mut jobs).await?;
        }
        for job in jobs {
            self.finish(job).await?;
        }
        self.hand_on_words().await
    }

    /// Others go first, one between two questions. What was read before an order is handed on before what the order reads back, which is newer.
    async fn stand_aside(&mut self, jobs: &mut [Job]) -> Result<(), Closed> {
        let began = Instant::now();
        self.keep_promises().await;
        if let Some(errand) = self.errands.waiting() {
            for job in jobs.iter_mut().filter(|job| !job.readings.is_empty()) {
                let readings = std::mem::take(&mut job.readings);
                job.told.extend(readings.iter().map(|reading| reading.point));
                let unit = self.turns[job.turn].unit;
                self.units[unit].troubles.note(&readings);
                self.hand_on(unit, readings, None).await?;
            }
            self.run_errand(errand).await?;
            self.keep_promises().await;
        }
        jobs.iter_mut().for_each(|job| job.aside += began.elapsed());
        Ok(())
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
        let (told, aside, ended) = (Vec::new(), Duration::ZERO, None);
        Job { turn, due, began, questions, readings, told, aside, ended }
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
                Ok(Answer::More) => job.questions.push(nth),
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
        // A fault does not say at whose answer it was: each is asked alone.
        let faulty = |o: &Result<Answer, Failure>| matches!(o, Err(Failure::Fault(_))) && places.len() > 1;
        let broken =
            |o: &Result<Answer, Failure>| answered && matches!(o, Err(Failure::Broken(_))) || faulty(o);
        if !outcomes.iter().any(broken) {
            return outcomes;
        }
        let mut connections = 0;
        for ((place, readings), outcome) in places.iter().zip(readings).zip(&mut outcomes) {
            if broken(outcome) {
                if self.link.is_none() && (connections == 0 || faulty(outcome)) {
                    connections += 1;
                    if let Err(e) = self.connect().await {
                        *outcome = Err(e.into());
                        break;
                    }
                }
                if faulty(outcome) {
                    readings.clear();
                }
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
        if outcomes.iter().any(|o| matches!(o, Err(Failure::Broken(_) | Failure::Fault(_)))) {
            self.link = None;
        }
        if let (&[(unit, _)], [Err(failure)]) = (&asked[..], &outcomes[..]) {
            self.stumbled(unit, failure);
        }
        outcomes
    }

    async fn finish(&mut self, job: Job) -> Result<(), Closed> {
        let Job { turn, due, began, aside, .. } = job;
        let now = Instant::now();
        match job.ended {
            None => {
                self.schedule.done(turn, now);
                self.load.asked(turn, due, began, now - aside);
                let unit = self.turns[turn].unit;
                let life = self.life(unit, &job.readings, "");
                self.hand_on(unit, job.readings, life).await?;
            }
            Some(_) => self.failed(job).await?,
        }
        self.look_at_load(now);
        Ok(())
    }

    /// A turn ended early.
    async fn failed(&mut self, job: Job) -> Result<(), Closed> {
        let Job { turn, began, readings, told, ended: Some((nth, asked, failure)), .. } = job else {
            return Ok(());
        };
        let nothing = readings.is_empty() && told.is_empty();
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
            Failure::Broken(_) if self.health.answered && nothing => return Ok(()),
            // It answered in part, so the wire is well.
            Failure::Broken(_) if !nothing => None,
            Failure::Broken(e) => Some(e),
            Failure::Silent => {
                self.health.unanswered += 1;
                None
            }
            Failure::Wrong => {
                self.health.unanswered = 0;
                None
            }
            Failure::Unreached | Failure::Fault(_) => {
                self.health.answer(&self.id);
                None
            }
        };
        self.schedule.missed(turn, nth, asked, now);
        match nothing {
            true => self.schedule.failed(turn, began, now),
            false => self.schedule.done(turn, now),
        }
        self.load.gone(turn);
        self.miss(turn, &why, readings, &told).await?;
        if let Some(e) = broken {
            self.broke(&e).await?;
        } else {
            self.health.give_up_on_silence(&self.wire, &mut self.link);
        }
        Ok(())
    }

    /// For people.
    pub(super) fn why(&self, failure: &Failure) -> String {
        match failure {
            Failure::Silent => format!("no answer within {} ms", self.timeout.as_millis()),
            Failure::Wrong => "what it answers is no answer to what it was asked".into(),
            Failure::Unreached => "the gateway before it gets no answer from it".into(),
            Failure::Doubt { .. } => "it answers, but perhaps to an older question".into(),
            Failure::Broken(e) => e.to_string(),
            Failure::Fault(fault) => stumble::why(fault),
        }
    }

    /// Where it was the program's own fault, that is told.
    pub(super) fn stumbled(&mut self, unit: usize, failure: &Failure) {
        if let Failure::Fault(fault) = failure {
            self.stumbles.over(self.units[unit].id, fault);
        }
    }
}
