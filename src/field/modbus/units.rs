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
use crate::reading::{Millis, PointId, Reading, Site};
use crate::time::now;

#[derive(Debug)]
pub struct Units {
    pub(super) master: Master,
    pub(super) units: Vec<Unit>,
    /// Ends of pulses that are not yet written; one of each command at the most.
    pub(super) pulses: Vec<Pulse>,
    pub(super) site: Arc<Site>,
    /// Questions of the turns under way that have parts left.
    going: Vec<Going>,
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
    /// When the first of it was heard.
    at: Option<Millis>,
    failure: Option<Failure>,
}

/// One question is asked in so many requests a turn at the most, so that a device that refuses this and that does not hold up the
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
            going: Vec::new(),
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
        if let Request::Write(_) = request {
            // What was read before may be otherwise after it, and must not be told then.
            self.going.retain(|going| going.device != device);
        }
        self.master.ask(link, self.units[device].device.unit, request).await
    }

    // --- one question ---

    fn begin(&mut self, device: usize, nth: usize) -> Going {
        if let Some(at) = self.going.iter().position(|going| (going.device, going.nth) == (device, nth)) {
            return self.going.swap_remove(at);
        }
        let Asking { question, parts } = &mut self.units[device].asks[nth];
        let todo = parts.due(question, Instant::now());
        let left = REQUESTS_MOST.max(todo.len());
        Going { device, nth, todo, left, heard: Heard::default(), at: None, failure: None }
    }

    fn take(&mut self, going: &mut Going, span: Span, reply: Result<Reply, Failure>) {
        let unit = &mut self.units[going.device];
        let parts = &mut unit.asks[going.nth].parts;
        match reply {
            Ok(Reply::Words(words)) => {
                parts.answered(span);
                going.at.get_or_insert_with(now);
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
            Err(failure) => {
                if let Failure::Broken(_) = failure {
                    going.todo.push(span);
                    going.left += 1;
                }
                going.failure = Some(failure);
            }
        }
    }

    /// One transaction of it is over.
    fn pause(&mut self, mut going: Going, readings: &mut Vec<Reading>) -> Result<Answer, Failure> {
        match going.failure.take() {
            None if going.todo.is_empty() || going.left == 0 => Ok(self.finish(&going, readings)),
            None => {
                self.going.push(going);
                Ok(Answer::More)
            }
            Some(Failure::Broken(e)) => {
                // There are peers that close the connection after each answer: it goes on over the next one.
                self.going.push(going);
                Err(Failure::Broken(e))
            }
            Some(failure) => {
                if matches!(failure, Failure::Silent | Failure::Unreached) {
                    let unit = &mut self.units[going.device];
                    unit.silent = unit.silent.saturating_add(1);
                }
                Err(failure)
            }
        }
    }

    fn finish(&mut self, going: &Going, readings: &mut Vec<Reading>) -> Answer {
        let unit = &mut self.units[going.device];
        unit.answered();
        if going.todo.is_empty() && unit.settle(going.nth) {
            unit.tell_refused(going.nth, &self.site);
        }
        let (at, Unit { device, asks, .. }) = (going.at.unwrap_or_else(now), unit);
        let points = asks[going.nth].question.points.iter().map(|&nth| &device.points[nth]);
        readings.extend(points.map(|point| values::reading(point, &going.heard, at)));
        if going.heard.is_empty() { Answer::Refused } else { Answer::Read }
    }
}

impl Ask for Units {
    fn opened(&mut self) {
        self.master.opened();
    }

    fn begins(&mut self) {
        self.going.clear();
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
        let next = share(&mut going, self.together().max(asked.len()));
        let unit = |of: usize| self.units[going[of].device].device.unit;
        let requests: Vec<_> = next.iter().map(|&(of, span)| (unit(of), Request::Read(span))).collect();
        let replies = self.master.ask_all(link, &requests).await;
        for ((of, span), reply) in next.into_iter().zip(replies) {
            self.take(&mut going[of], span, reply);
        }
        going.into_iter().zip(readings).map(|(going, readings)| self.pause(going, readings)).collect()
    }

    async fn wake(
        &mut self,
        link: &mut Link,
        device: usize,
        _nth: usize,
        _readings: &mut Vec<Reading>,
    ) -> Result<(), Failure> {
        self.is_awake(link, device).await
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

/// What is asked next: one part of each, and more as long as there is room for it.
fn share(going: &mut [Going], room: usize) -> Vec<(usize, Span)> {
    let mut next = Vec::new();
    loop {
        let before = next.len();
        for (of, going) in going.iter_mut().enumerate() {
            if next.len() < room && going.left > 0 && !going.todo.is_empty() {
                going.left -= 1;
                next.push((of, going.todo.remove(0)));
            }
        }
        if next.len() == before {
            return next;
        }
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

    /// Whether what it refuses is known now, and was not before.
    fn settle(&mut self, nth: usize) -> bool {
        self.asks[nth].parts.settle(&self.device.merge)
    }

    fn tell_refused(&self, nth: usize, site: &Site) {
        let known = site.devices.get(self.device.id.0 as usize);
        let (channel, device) = known.map_or(("", ""), |known| (&*known.channel, &*known.id));
        let unit = self.device.unit;
        match show::refused(self.asks[nth].parts.bad()) {
            Some(refused) => warn!(
                channel,
                device,
                unit,
                refused,
                "A device refuses a part of what it is asked; the rest is read without it."
            ),
            None => warn!(
                channel,
                device,
                unit,
                "A device refuses what it is asked in one request, and no part of it for its address alone; it is asked in parts."
            ),
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
