//! What a protocol is to a wire: the questions of its devices, and what came of them.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::Fault;
use crate::field::Exchange;
use crate::field::wire::Link;
use crate::order::Outcome;
use crate::reading::{DeviceId, PointId, Reading};

/// A protocol, which knows its devices, their questions and their commands by number.
///
/// Any of its futures may be dropped while it waits: a device that is gone is given less time than the protocol gives.
pub trait Ask {
    /// The wire was opened anew.
    fn opened(&mut self) {}

    /// Turns begin: a question that was put in part before is put anew.
    fn begins(&mut self) {}

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

    /// A question that does nothing: over a socket it goes before an order.
    async fn wake(
        &mut self,
        _link: &mut Link,
        _device: usize,
        _nth: usize,
        _readings: &mut Vec<Reading>,
    ) -> Result<(), Failure> {
        Ok(())
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

    /// For people: which part of what it is asked the device refuses.
    fn refused(&self, _device: usize) -> Option<String> {
        None
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

    /// Puts one question to one device, or, with one transaction, a part of it; what was read is appended to `readings`.
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
    /// It answered, and the question has parts left: it is put again, for one transaction more, once others had the wire.
    More,
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
    /// The program itself broke at what it answers.
    Fault(Fault),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Failure::Broken(e)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure::Fault(fault)
    }
}
