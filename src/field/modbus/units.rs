//! The units of one wire: what they are asked, and what their answers amount to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::act::Pulse;
use super::coalesce::{Question, Round, plan};
use super::master::{Master, Reply};
use super::pdu::{self, Request, Span};
use super::split::Parts;
use super::values::{self, Heard};
use super::{Device, Settings, show};
use crate::field::Exchange;
use crate::field::poll::{self, Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::order::Outcome;
use crate::reading::{PointId, Reading, Site};
use crate::time::now;

#[derive(Debug)]
pub struct Units {
    pub(super) master: Master,
    pub(super) units: Vec<Unit>,
    /// Ends of pulses that are not yet written; one of each command at the most.
    pub(super) pulses: Vec<Pulse>,
    pub(super) site: Arc<Site>,
}

#[derive(Debug)]
pub struct Unit {
    pub(super) device: Device,
    /// Their questions are numbers of `asks`.
    rounds: Vec<poll::Round>,
    pub(super) asks: Vec<Asking>,
    /// Questions in a row that it did not answer.
    silent: u32,
}

/// A question, and how it is asked at present.
#[derive(Debug)]
pub struct Asking {
    pub(super) question: Question,
    parts: Parts,
}

/// A question under way.
#[derive(Debug)]
struct Going {
    device: usize,
    nth: usize,
    todo: Vec<Span>,
    /// How many more may be asked in this turn.
    left: usize,
    heard: Heard,
    failure: Option<Failure>,
}

/// One question is asked in so many requests at the most, so that a device that refuses this and that does not hold up the
/// line; the search goes on in its next turn.
const REQUESTS_MOST: usize = 24;
/// After so many questions in a row without an answer a device may have been replaced.
const GONE: u32 = 3;

impl Units {
    pub fn new(settings: Settings, site: Arc<Site>) -> Self {
        Self {
            master: Master::new(&settings),
            units: settings.devices.into_iter().map(Unit::new).collect(),
            pulses: Vec::new(),
            site,
        }
    }

    /// As they are polled.
    pub fn devices(&self) -> Vec<poll::Device> {
        let polled = |unit: &Unit| poll::Device { id: unit.device.id, rounds: unit.rounds.clone() };
        self.units.iter().map(polled).collect()
    }

    pub(super) async fn put(
        &mut self,
        link: &mut Link,
        device: usize,
        request: &Request,
    ) -> Result<Reply, Failure> {
        self.master.ask(link, self.units[device].device.unit, request).await
    }

    // --- one question ---

    fn begin(&mut self, device: usize, nth: usize) -> Going {
        let Asking { question, parts } = &mut self.units[device].asks[nth];
        let todo = parts.due(question, Instant::now());
        let left = REQUESTS_MOST.max(todo.len());
        Going { device, nth, todo, left, heard: Heard::default(), failure: None }
    }

    fn take(&mut self, going: &mut Going, span: Span, reply: Result<Reply, Failure>) {
        let unit = &mut self.units[going.device];
        let parts = &mut unit.asks[going.nth].parts;
        match reply {
            Ok(Reply::Words(words)) => {
                parts.answered(span);
                going.heard.add(span, words);
            }
            Ok(Reply::Exception(pdu::GATEWAY_PATH_UNAVAILABLE | pdu::GATEWAY_NO_RESPONSE)) => {
                going.failure = Some(Failure::Unreached);
            }
            Ok(Reply::Exception(code @ (pdu::ILLEGAL_ADDRESS | pdu::ILLEGAL_VALUE))) => {
                going.todo.extend(parts.refused(span, code, &unit.device.merge, Instant::now()));
            }
            Ok(Reply::Exception(_)) => {}
            Ok(Reply::Written) => going.failure = Some(Failure::Wrong),
            Err(failure) => going.failure = Some(failure),
        }
    }

    fn finish(&mut self, going: Going, readings: &mut Vec<Reading>) -> Result<Answer, Failure> {
        let unit = &mut self.units[going.device];
        if let Some(failure) = going.failure {
            if matches!(failure, Failure::Silent | Failure::Unreached) {
                unit.silent = unit.silent.saturating_add(1);
            }
            return Err(failure);
        }
        unit.answered();
        if going.todo.is_empty() {
            unit.settle(going.nth);
        }
        let (at, Unit { device, asks, .. }) = (now(), unit);
        let points = asks[going.nth].question.points.iter().map(|&nth| &device.points[nth]);
        readings.extend(points.map(|point| values::reading(point, &going.heard, at)));
        Ok(if going.heard.is_empty() { Answer::Refused } else { Answer::Read })
    }
}

impl Ask for Units {
    fn opened(&mut self) {
        self.master.opened();
    }

    fn together(&self) -> usize {
        self.master.together()
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let outcomes = self.ask_together(link, &[(device, question)], std::slice::from_mut(readings)).await;
        outcomes.into_iter().next().unwrap_or(Err(Failure::Silent))
    }

    async fn ask_together(
        &mut self,
        link: &mut Link,
        asked: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let mut going: Vec<Going> = asked.iter().map(|&(device, nth)| self.begin(device, nth)).collect();
        loop {
            let next: Vec<(usize, Span)> = going.iter_mut().enumerate().flat_map(Going::next).collect();
            if next.is_empty() {
                break;
            }
            let unit = |of: usize| self.units[going[of].device].device.unit;
            let requests: Vec<_> = next.iter().map(|&(of, span)| (unit(of), Request::Read(span))).collect();
            let replies = self.master.ask_all(link, &requests).await;
            for ((of, span), reply) in next.into_iter().zip(replies) {
                self.take(&mut going[of], span, reply);
            }
        }
        going.into_iter().zip(readings).map(|(going, readings)| self.finish(going, readings)).collect()
    }

    async fn act(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        self.order(link, device, nth, readings).await
    }

    fn refused(&self, device: usize) -> Option<String> {
        show::refused(self.units[device].asks.iter().flat_map(|asking| asking.parts.bad()))
    }

    fn due(&self) -> Option<Instant> {
        self.next_pulse_end()
    }

    async fn settle(&mut self, link: &mut Link, now: Instant) -> Result<(), Failure> {
        self.end_pulse(link, now).await
    }

    async fn look(
        &mut self,
        link: &mut Link,
        device: usize,
        point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        self.show(link, device, point).await
    }

    async fn seek(
        &mut self,
        link: &mut Link,
        address: u8,
        timeout: Duration,
    ) -> Result<Option<String>, Failure> {
        self.find(link, address, timeout).await
    }
}

impl Going {
    /// What it asks next: nothing after a failure, or when it has asked its share.
    fn next(place: (usize, &mut Self)) -> Vec<(usize, Span)> {
        let (of, going) = place;
        if going.failure.is_some() {
            return Vec::new();
        }
        let share = going.todo.len().min(going.left);
        going.left -= share;
        going.todo.drain(..share).map(|span| (of, span)).collect()
    }
}

impl Unit {
    fn new(device: Device) -> Self {
        let (mut rounds, mut asks) = (Vec::new(), Vec::new());
        for Round { every, points, questions } in plan(&device) {
            let first = asks.len();
            asks.extend(questions.into_iter().map(Asking::new));
            let points = points.into_iter().map(|nth| device.points[nth].id).collect();
            rounds.push(poll::Round { every, questions: (first..asks.len()).collect(), points });
        }
        Self { device, rounds, asks, silent: 0 }
    }

    /// One that was gone may be another when it is back.
    fn answered(&mut self) {
        if self.silent >= GONE {
            self.asks.iter_mut().for_each(|asking| asking.parts = Parts::new(&asking.question));
        }
        self.silent = 0;
    }

    fn settle(&mut self, nth: usize) {
        let Asking { parts, .. } = &mut self.asks[nth];
        if parts.settle(&self.device.merge) {
            let refused = show::refused(parts.bad()).unwrap_or_default();
            warn!(
                unit = self.device.unit,
                refused, "A device refuses a part of what it is asked; the rest is read without it."
            );
        }
    }
}

impl Asking {
    fn new(question: Question) -> Self {
        Self { parts: Parts::new(&question), question }
    }

    /// All that is asked, with what is refused.
    pub(super) fn spans(&self) -> Vec<Span> {
        self.parts.spans()
    }
}
