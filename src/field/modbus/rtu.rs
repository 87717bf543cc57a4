//! One question and its answer over RTU, and whether the answer can be believed.
//!
//! An RTU frame says which unit speaks, not which question it answers. A unit that answers after we gave up on it
//! therefore seems to answer whatever we asked next: the number of one register under the name of another. So:
//!
//! 1. A question goes out only after the line has been silent for 3.5 characters (or as long as the unit that spoke last
//!    needs), with everything that can be read thrown away. An answer that came between two questions harms nobody.
//! 2. An answer counts only with the asked unit, function and length and a right CRC. A unit's late answer is never
//!    taken for another unit's, nor for one to a question of another *shape*: function and length of the answer.
//! 3. A unit that did not answer in time, or not rightly, is *in doubt*: it owes answers of the shapes that it was asked
//!    for. A question of another shape is asked as ever, and its answer is believed. Before one of a shape that it owes,
//!    it is asked a *probe*: the same registers, but fewer of them, or as many of the sibling table (input for holding),
//!    of a shape that no other question to this unit has. Its answer can be no other question's, and since a unit answers
//!    in the order in which it was asked, whatever it owed of before has been said, or never will be.
//! 4. Not all units answer a probe, and some things between us and a unit may not keep the order. So if the probe got no
//!    answer, the next one is a question of ours, whose answer only shows that the unit lives; and after either, the unit
//!    is left alone until three times the timeout, and most of two of its polls (10 s of them at most), have passed; what
//!    arrives meanwhile falls to rule 1, or to rule 2 while others are asked. Only then does it owe nothing any more.
//! 5. A line just opened is only listened to for one timeout, or as long as it needs: who had it before us may have left
//!    a question open.
//! 6. A write is no probe: it would happen. Answers to reads cannot be taken for its answer, so it is sent even to a unit
//!    that is left alone; an answer to an earlier write of the same function can, so as long as one of those may still come,
//!    which is three times the timeout, there is no other write of it.
//! 7. The answer to many a write is the question over again, and some adapters echo each question. Whether the line does
//!    is seen at any other question before.
//!
//! The bound: a unit that answers in order, and a probe in time, never deceives, however late its other answers are. One
//! that does not can, with an answer that comes later than rule 4 waits; such a unit needs a longer `timeout`. A unit that says the same
//! answer twice, the second time after the next question of the same shape went out, cannot be told from an honest one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::frame::{self, Heard};
use super::master::Reply;
use super::pdu::{Request, Span};
use super::{Settings, Table};
use crate::field::poll::Failure;
use crate::field::wire::Link;

#[derive(Debug)]
pub struct Rtu {
    timeout: Duration,
    /// `None`: what the line's speed asks for.
    silence: Option<Duration>,
    after_connect: Duration,
    /// No question goes out before: the line's silence, and the pause that the unit needs that spoke last.
    quiet: Instant,
    /// How long to rest after the unit that is being asked.
    after: Duration,
    units: HashMap<u8, Unit>,
    /// Whether the line echoes what is sent, once it was seen.
    echoes: Option<bool>,
    sent: Vec<u8>,
    heard: Vec<u8>,
}

#[derive(Debug, Default)]
struct Unit {
    turnaround: Duration,
    /// The shapes of all that it was ever asked, but for probes.
    ours: Vec<Shape>,
    /// Answers that may still come.
    owes: Vec<Shape>,
    /// It lives, and after this it owes nothing any more.
    until: Option<Instant>,
    /// Probes in a row that it did not answer, though it answered then.
    unheeded: u8,
    probed_last: bool,
    /// Functions of writes that it did not answer, and until when it still may.
    written: HashMap<u8, Instant>,
}

/// Function, and bytes of the frame that answers.
type Shape = (u8, usize);

/// After so many timeouts an answer is taken to be lost.
const LATE_MOST: u32 = 3;
/// Four of the longest frames. What is older than that on a line that never falls silent is rubbish.
const HEARD_MOST: usize = 1024;
/// A unit that owes so many answers is asked no more probes.
const OWES_MOST: usize = 8;
/// One that did not heed so many probes answers none.
const UNHEEDED_MOST: u8 = 3;

impl Rtu {
    pub fn new(settings: &Settings) -> Self {
        let of =
            |device: &super::Device| (device.unit, Unit { turnaround: device.turnaround, ..Unit::default() });
        Self {
            timeout: settings.timeout,
            silence: settings.pace.silence,
            after_connect: settings.pace.after_connect,
            quiet: Instant::now(),
            after: Duration::ZERO,
            units: settings.devices.iter().map(of).collect(),
            echoes: None,
            sent: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Rule 5. What units owe stays: what stands behind the wire did not start anew with it.
    pub fn opened(&mut self) {
        self.quiet = Instant::now() + self.timeout.max(self.after_connect);
        self.echoes = None; // it may be another adapter
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn timeout_mut(&mut self) -> &mut Duration {
        &mut self.timeout
    }

    /// What the last question was, and all that was heard since.
    pub fn trace(&self) -> (&[u8], &[u8]) {
        (&self.sent, &self.heard)
    }

    pub fn knows_its_echo(&self) -> bool {
        self.echoes.is_some()
    }

    pub async fn ask(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        self.sent.clear();
        self.heard.clear();
        let Request::Read(span) = request else {
            return self.write(link, unit, request).await;
        };
        let known = self.units.entry(unit).or_default();
        known.know(shape(request));
        if let Some(until) = known.until {
            if Instant::now() < until {
                return Err(Failure::Doubt { until });
            }
            known.settle();
        }
        if !known.owes.contains(&shape(request)) {
            return self.ask_believing(link, unit, request).await;
        }
        let (probe, after_probe) = (known.probe(span), known.probed_last);
        known.probed_last = probe.is_some();
        let asked = Instant::now();
        let answer = self.exchange(link, unit, probe.as_ref().unwrap_or(request)).await;
        let until = asked + self.still_late(link, request);
        let known = self.units.entry(unit).or_default();
        match (&probe, answer?) {
            (Some(_), Reply::Exception(_)) if known.owes_several() => return Err(Failure::Wrong),
            (Some(_), _) => known.unheeded = 0,
            (None, _) => known.unheeded = known.unheeded.saturating_add(u8::from(after_probe)),
        }
        known.until = Some(until);
        Err(Failure::Doubt { until })
    }

    /// Nothing that the unit owes looks like the answer to this.
    async fn ask_believing(
        &mut self,
        link: &mut Link,
        unit: u8,
        request: &Request,
    ) -> Result<Reply, Failure> {
        let reply = self.exchange(link, unit, request).await?;
        let known = self.units.entry(unit).or_default();
        match known.owes[..] {
            [_] => known.settle(),
            // Data are its own; an exception may be another's, and is no number in either case.
            _ if matches!(reply, Reply::Words(_)) => known.owes.retain(|owed| *owed != shape(request)),
            _ => {}
        }
        Ok(reply)
    }

    /// Rule 6.
    async fn write(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        let function = request.function();
        let known = self.units.entry(unit).or_default();
        if let Some(&until) = known.written.get(&function)
            && Instant::now() < until
        {
            return Err(Failure::Doubt { until });
        }
        let outcome = self.exchange(link, unit, request).await;
        let until = Instant::now() + LATE_MOST * self.timeout;
        let known = self.units.entry(unit).or_default();
        match &outcome {
            Ok(_) => known.written.remove(&function),
            Err(_) => known.written.insert(function, until),
        };
        outcome
    }

    /// From here on the unit owes us an answer of this shape, however this ends.
    async fn exchange(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        self.fall_silent(link).await?;
        let still_late = Instant::now() + self.still_late(link, request);
        let known = self.units.entry(unit).or_default();
        match request {
            Request::Read(_) => known.owe(shape(request)),
            // It may be given up on at any moment.
            Request::Write(_) => drop(known.written.insert(request.function(), still_late)),
        }
        self.after = known.turnaround;
        frame::write_rtu(unit, request, &mut self.sent);
        link.send(&self.sent).await?;
        let outcome = match timeout(self.patience(link, request), self.hear(link, unit, request)).await {
            Ok(heard) => heard,
            Err(_) => self.heard_at_last(unit, request),
        };
        if !request.is_mirrored() && !matches!(outcome, Err(Failure::Broken(_))) {
            self.echoes = Some(self.echoes == Some(true) || self.heard.starts_with(&self.sent));
        }
        outcome
    }

    /// Rule 1. A line that will not fall silent is given up on after one timeout.
    async fn fall_silent(&mut self, link: &mut Link) -> Result<(), Failure> {
        let mut patience = None;
        loop {
            link.rest_until(self.quiet).await;
            if link.drain().await? == 0 {
                return Ok(());
            }
            self.hush(link);
            if self.quiet > *patience.get_or_insert(self.quiet + self.timeout) {
                return Err(Failure::Wrong);
            }
        }
    }

    /// The unit's time to answer and the line's to carry question and answer.
    fn patience(&self, link: &Link, request: &Request) -> Duration {
        let characters = self.sent.len() + frame::rtu_answer_bytes(request);
        self.timeout + link.character() * characters as u32
    }

    /// So long after a question its answer may still come.
    fn still_late(&self, link: &Link, request: &Request) -> Duration {
        self.patience(link, request) + (LATE_MOST - 1) * self.timeout
    }

    /// Something was heard just now: nobody speaks before the line, and the unit that is asked, have had their pause.
    fn hush(&mut self, link: &Link) {
        self.quiet = Instant::now() + self.silence.unwrap_or(link.silence()).max(self.after);
    }

    async fn hear(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        loop {
            link.receive(&mut self.heard).await?;
            self.hush(link);
            if self.heard.len() > HEARD_MOST {
                self.heard.drain(..HEARD_MOST / 2);
            }
            if let Heard::Answer(answer) = self.find(unit, request, false) {
                return Ok(Reply::of(answer, request));
            }
        }
    }

    /// Time is up: nothing that looked like the head of a longer frame can become one.
    fn heard_at_last(&self, unit: u8, request: &Request) -> Result<Reply, Failure> {
        match self.find(unit, request, true) {
            Heard::Answer(answer) => Ok(Reply::of(answer, request)),
            Heard::Nothing if self.heard.is_empty() => Err(Failure::Silent),
            Heard::Nothing => Err(Failure::Wrong),
        }
    }

    /// Rule 7.
    fn find(&self, unit: u8, request: &Request, silent: bool) -> Heard<'_> {
        let answered_alike = request.is_mirrored() && self.echoes != Some(true);
        let echo = if answered_alike { &[] } else { self.sent.as_slice() };
        frame::find_rtu(&self.heard, unit, request, echo, silent)
    }
}

impl Unit {
    fn know(&mut self, shape: Shape) {
        if !self.ours.contains(&shape) {
            self.ours.push(shape);
        }
    }

    fn owe(&mut self, shape: Shape) {
        if !self.owes.contains(&shape) {
            self.owes.push(shape);
        }
    }

    /// It owes nothing.
    fn settle(&mut self) {
        self.owes.clear();
        self.until = None;
        self.probed_last = false;
    }

    /// A question whose answer looks like that to none of ours, and like nothing that the unit owes. `None` where there is
    /// none, or where the unit does not answer such; and every second time, since it may not.
    fn probe(&self, span: &Span) -> Option<Request> {
        if self.probed_last || self.unheeded >= UNHEEDED_MOST || self.owes.len() >= OWES_MOST {
            return None;
        }
        let fewer = (1..span.count).rev().map(|count| Span { count, ..*span });
        let sibling = Span { table: sibling(span.table), ..*span };
        fewer.chain([sibling]).map(Request::Read).find(|probe| {
            let shape = shape(probe);
            !self.ours.contains(&shape) && !self.owes.contains(&shape)
        })
    }

    /// Several questions of ours are open, so that an exception to a probe may be the answer to any of them.
    fn owes_several(&self) -> bool {
        self.owes.iter().filter(|shape| self.ours.contains(shape)).count() > 1
    }
}

fn shape(request: &Request) -> Shape {
    (request.function(), frame::rtu_answer_bytes(request))
}

/// Some devices keep one set of registers in both; all others answer with an exception.
fn sibling(table: Table) -> Table {
    match table {
        Table::Coil => Table::Discrete,
        Table::Discrete => Table::Coil,
        Table::Holding => Table::Input,
        Table::Input => Table::Holding,
    }
}

#[cfg(test)]
#[path = "rtu_tests.rs"]
mod tests;
