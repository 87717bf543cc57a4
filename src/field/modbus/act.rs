//! What is ordered: a write, its read-back, and the end of a pulse.
//!
//! A device that acknowledges a write has only said that it heard it. Where the command has a read-back, the order is
//! executed when the device reads so, and failed when it does not in time; a read-back that gets no answer leaves it
//! unsure.
//!
//! The end of a pulse is a promise. It is kept from the moment the beginning may have been written, even if nobody
//! answered, and tried until the device takes it, ever more rarely; an order that writes the same place, and is
//! answered, takes its place. It does not outlive the daemon by a power cut: a board that can time its pulses itself
//! (Waveshare's flash) should be told to.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::master::Reply;
use super::pdu::{self, Request, Span};
use super::units::Units;
use super::values::{self, Heard};
use super::{Command, ReadBack, Table, Write, show};
use crate::backoff::Backoff;
use crate::field::poll::Failure;
use crate::field::wire::Link;
use crate::order::Outcome;
use crate::reading::Reading;
use crate::time::now;

/// The end of a pulse, still to be written.
#[derive(Debug)]
pub struct Pulse {
    device: usize,
    write: Write,
    at: Instant,
    pauses: Backoff,
}

const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// Between two looks at a device that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Units {
    pub(super) async fn order(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        let Some(Command { write, read_back, then }) = self.units[device].device.commands.get(nth).cloned()
        else {
            return Ok(failed("the device has no such command"));
        };
        if !write.fits() {
            return Ok(failed("it is too much for one request"));
        }
        self.learn_echo(link, device).await?;
        let (older, promises) = (self.pulses.len(), then.is_some());
        self.promise(device, then);
        let reply = self.put(link, device, &Request::Write(write.clone())).await;
        match begun(&reply) {
            Begun::Yes => self.take_place(older, device, &write),
            Begun::Perhaps if promises => self.take_place(older, device, &write),
            // What was to end still does.
            Begun::Perhaps => {}
            Begun::No => self.pulses.truncate(older),
        }
        if let Err(Failure::Doubt { .. }) = reply {
            return Ok(failed(
                "an earlier order may still be answered; it was not sent, try again in a moment",
            ));
        }
        match reply? {
            Reply::Exception(pdu::GATEWAY_PATH_UNAVAILABLE | pdu::GATEWAY_NO_RESPONSE) => {
                Err(Failure::Unreached)
            }
            Reply::Exception(code @ pdu::ACKNOWLEDGED) => Ok(Outcome::Unsure { why: pdu::exception(code) }),
            Reply::Exception(code) => Ok(failed(&format!("the device refused ({})", pdu::exception(code)))),
            Reply::Written | Reply::Words(_) => match read_back {
                Some(back) => self.read_back(link, device, &back, readings).await,
                None => Ok(Outcome::Executed { what: format!("{} was acknowledged", show::write(&write)) }),
            },
        }
    }

    /// The first question of all on a line must not be a write whose answer looks like an echo: whether the line has
    /// one is seen at a question of another kind, however it ends.
    async fn learn_echo(&mut self, link: &mut Link, device: usize) -> Result<(), Failure> {
        if self.master.knows_its_echo() {
            return Ok(());
        }
        match self.read_any(link, device).await {
            Err(Failure::Broken(e)) => Err(Failure::Broken(e)),
            _ => Ok(()),
        }
    }

    pub(super) async fn is_awake(&mut self, link: &mut Link, device: usize) -> Result<(), Failure> {
        match self.read_any(link, device).await {
            Ok(Reply::Exception(pdu::GATEWAY_PATH_UNAVAILABLE | pdu::GATEWAY_NO_RESPONSE)) => {
                Err(Failure::Unreached)
            }
            // It answers, if only an older question.
            Ok(_) | Err(Failure::Doubt { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn read_any(&mut self, link: &mut Link, device: usize) -> Result<Reply, Failure> {
        let asks = &self.units[device].asks;
        let known = asks.first().and_then(|asking| asking.question.reads.first()).copied();
        let any = Span { table: Table::Holding, register: 0, count: 1 };
        self.put(link, device, &Request::Read(known.unwrap_or(any))).await
    }

    async fn read_back(
        &mut self,
        link: &mut Link,
        device: usize,
        back: &ReadBack,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        let span = Span { table: back.table, register: back.register, count: back.words.len() as u16 };
        let mut deadline = Instant::now() + back.within;
        loop {
            let words = match self.put(link, device, &Request::Read(span)).await {
                Ok(Reply::Words(words)) => words,
                Ok(Reply::Exception(code)) => {
                    let why =
                        format!("acknowledged, but reading it back was refused ({})", pdu::exception(code));
                    return Ok(Outcome::Unsure { why });
                }
                Err(Failure::Doubt { until }) if deadline < until => {
                    // Its older answers have to be waited for, once, whatever the time.
                    deadline = until;
                    tokio::time::sleep_until(until).await;
                    continue;
                }
                Err(Failure::Broken(e)) => return Err(Failure::Broken(e)),
                Ok(Reply::Written) | Err(_) => {
                    return Ok(Outcome::Unsure { why: "acknowledged, but it could not be read back".into() });
                }
            };
            let is = show::reads(&span, &words);
            if words == back.words {
                self.read_along(device, span, words, readings);
                return Ok(Outcome::ReadBack { what: is });
            }
            if Instant::now() >= deadline {
                self.read_along(device, span, words, readings);
                return Ok(failed(&format!("it was acknowledged, but {is}")));
            }
            sleep(LOOK_AGAIN.min(deadline - Instant::now())).await;
        }
    }

    /// The points that stand in what was read back have their news at once.
    fn read_along(&self, device: usize, span: Span, words: Vec<u16>, readings: &mut Vec<Reading>) {
        let mut heard = Heard::default();
        heard.add(span, words);
        let at = now();
        let points = self.units[device].device.points.iter().filter(|point| span.covers(&point.span()));
        let told_alone = points.filter(|point| point.by.decimals.is_none() && point.by.unit.is_none());
        readings.extend(told_alone.map(|point| values::reading(point, &heard, at)));
    }

    // --- the ends of pulses ---

    /// Before the write: it may be given up on at any moment.
    fn promise(&mut self, device: usize, then: Option<(Duration, Write)>) {
        if let Some((after, write)) = then {
            let pauses = Backoff::new(AGAIN_FIRST, AGAIN_MOST);
            self.pulses.push(Pulse { device, write, at: Instant::now() + after, pauses });
        }
    }

    /// Of the `older` ends, that of the same place is none any more.
    fn take_place(&mut self, older: usize, device: usize, write: &Write) {
        let same = |pulse: &mut Pulse| pulse.device == device && pulse.write.is_of_the_place_of(write);
        self.pulses.extract_if(..older, same).for_each(drop);
    }

    pub(super) fn next_pulse_end(&self) -> Option<Instant> {
        self.pulses.iter().map(|pulse| pulse.at).min()
    }

    pub(super) async fn end_pulse(&mut self, link: &mut Link, now: Instant) -> Result<(), Failure> {
        let due = |(_, pulse): &(usize, &Pulse)| pulse.at <= now;
        let first = self.pulses.iter().enumerate().filter(due).min_by_key(|(_, pulse)| pulse.at);
        let Some((nth, Pulse { device, write, .. })) = first else { return Ok(()) };
        let (device, request) = (*device, Request::Write(write.clone()));
        let reply = self.put(link, device, &request).await;
        match &reply {
            Ok(Reply::Written | Reply::Words(_)) => drop(self.pulses.swap_remove(nth)),
            Err(Failure::Doubt { until }) => self.pulses[nth].at = *until,
            Ok(Reply::Exception(_)) | Err(_) => self.again(nth, &reply),
        }
        reply.map(|_| ())
    }

    fn again(&mut self, nth: usize, reply: &Result<Reply, Failure>) {
        let unit = self.units[self.pulses[nth].device].device.unit;
        let pulse = &mut self.pulses[nth];
        pulse.at = Instant::now() + pulse.pauses.pause();
        let write = show::write(&pulse.write);
        let why = match reply {
            Ok(Reply::Exception(code)) => pdu::exception(*code),
            _ => "no answer".into(),
        };
        warn!(
            unit,
            write,
            why,
            "The end of a pulse could not be written; it is tried again until the device takes it."
        );
    }
}

impl Write {
    /// Whether both write the same coil or register.
    fn is_of_the_place_of(&self, other: &Write) -> bool {
        match (self, other) {
            (Write::Coil { at: a, .. }, Write::Coil { at: b, .. }) => a == b,
            (
                Write::Register { at: a, .. } | Write::Mask { at: a, .. },
                Write::Register { at: b, .. } | Write::Mask { at: b, .. },
            ) => a == b,
            (Write::Coils { at: a, on: x }, Write::Coils { at: b, on: y }) => a == b && x.len() == y.len(),
            (Write::Registers { at: a, words: x }, Write::Registers { at: b, words: y }) => {
                a == b && x.len() == y.len()
            }
            (a, b) => a == b,
        }
    }
}

/// Whether a write has done something.
enum Begun {
    Yes,
    Perhaps,
    No,
}

/// A refusal says that it has not. A device that failed amid it, one that is still at it, and a gateway that heard no
/// answer say nothing of the kind; neither does silence.
fn begun(reply: &Result<Reply, Failure>) -> Begun {
    match reply {
        Ok(Reply::Written | Reply::Words(_)) => Begun::Yes,
        Ok(Reply::Exception(pdu::DEVICE_FAILURE | pdu::ACKNOWLEDGED | pdu::GATEWAY_NO_RESPONSE)) => {
            Begun::Perhaps
        }
        Ok(Reply::Exception(_)) | Err(Failure::Doubt { .. }) => Begun::No,
        Err(_) => Begun::Perhaps,
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.into() }
}

#[cfg(test)]
#[path = "act_tests.rs"]
mod tests;
