//! One question and its answer over RTU, and whether the answer can be believed.
//!
//! An RTU frame says which unit speaks, not which question it answers. A unit that answers after we gave up on it
//! therefore seems to answer whatever we asked next: the number of one register under the name of another. So:
//!
//! 1. A question goes out only after the line has been silent for 3.5 characters, with everything that can be read
//!    thrown away. An answer that came between two questions harms nobody.
//! 2. An answer counts only with the asked unit, function and length and a right CRC. A unit's late answer is never
//!    taken for another unit's.
//! 3. A unit that did not answer in time, or not rightly, is *in doubt*: an answer of it may be under way. The next
//!    question to it is a probe. Whatever it answers only shows that it lives and is thrown away, for it may be the
//!    late answer, with the probe's own still to come. Then it is left alone until three times the timeout, and most
//!    of two of its polls (10 s of them at most), have passed since the probe; what arrives meanwhile falls to rule 1,
//!    or to rule 2 while others are asked. Only then is it believed again.
//! 4. A line just opened is only listened to for one timeout: who had it before us may have left a question open.
//!
//! 5. A write cannot be asked as a probe: it would happen. Answers to reads cannot be taken for its answer, they have another
//!    function; an answer to an earlier write of the same function can. So a write is refused as long as such a one may
//!    still be answered, which is three times the timeout.
//! 6. The answer to many a write is the same as the question, and some adapters echo each question. Whether the line
//!    does is seen at any question before; a read's echo cannot be taken for its answer.
//!
//! The bound: an answer that comes later than that after its question, from a unit that has meanwhile answered a
//! probe, can still deceive. Such a unit needs a longer `timeout`. A unit that says the same answer twice, the second
//! time after the next question of the same length went out, cannot be told from an
//! honest one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::frame::{self, Heard};
use super::master::Reply;
use super::pdu::Request;
use crate::field::poll::Failure;
use crate::field::wire::{Link, Wire};

#[derive(Debug)]
pub struct Rtu {
    timeout: Duration,
    character: Duration,
    silence: Duration,
    /// When the last byte came, or when listening to a new line will be over.
    last: Instant,
    doubts: HashMap<(u8, Owed), Doubt>,
    /// Whether the line echoes what is sent, once it was seen.
    echoes: Option<bool>,
    sent: Vec<u8>,
    heard: Vec<u8>,
}

/// What a late answer can be taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owed {
    Data,
    /// By a write of this function.
    Written(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It owes us an answer.
    Owing,
    /// It answered a probe; older answers may come until then.
    Until(Instant),
}

/// After so many timeouts an answer is taken to be lost.
const LATE_MOST: u32 = 3;
/// Four of the longest frames. What is older than that on a line that never falls silent is rubbish.
const HEARD_MOST: usize = 1024;

impl Rtu {
    pub fn new(wire: &Wire, timeout: Duration) -> Self {
        Self {
            timeout,
            character: wire.character(),
            silence: wire.silence(),
            last: Instant::now(),
            doubts: HashMap::new(),
            echoes: None,
            sent: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Rule 4. Doubts stay: what stands behind the wire did not start anew with it.
    pub fn opened(&mut self) {
        self.last = Instant::now() + self.timeout;
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
        let owed = (unit, Owed::by(request));
        let doubt = self.doubts.get(&owed).copied();
        if let Some(Doubt::Until(until)) = doubt
            && Instant::now() < until
        {
            return Err(Failure::Doubt { until });
        }
        self.fall_silent(link).await?;
        frame::write_rtu(unit, request, &mut self.sent);
        let patience = self.patience(request);
        // From here on it owes us an answer, however this ends.
        let still_late = patience + (LATE_MOST - 1) * self.timeout;
        let owing = match owed.1 {
            Owed::Data => Doubt::Owing,
            Owed::Written(_) => Doubt::Until(Instant::now() + still_late),
        };
        self.doubts.insert(owed, owing);
        link.send(&self.sent).await?;
        let asked = Instant::now();
        let outcome = match timeout(patience, self.hear(link, unit, request)).await {
            Ok(heard) => heard,
            Err(_) => self.heard_at_last(unit, request),
        };
        let reply = self.with_echo_seen(request, outcome)?;
        if doubt == Some(Doubt::Owing) {
            let until = asked + still_late;
            self.doubts.insert(owed, Doubt::Until(until));
            return Err(Failure::Doubt { until });
        }
        self.doubts.remove(&owed);
        Ok(reply)
    }

    /// Rule 1. A line that will not fall silent is given up on after one timeout.
    async fn fall_silent(&mut self, link: &mut Link) -> Result<(), Failure> {
        let mut patience = None;
        loop {
            sleep_until(self.last + self.silence).await;
            if link.drain().await? == 0 {
                return Ok(());
            }
            self.last = Instant::now();
            if self.last > *patience.get_or_insert(self.last + self.timeout) {
                return Err(Failure::Wrong);
            }
        }
    }

    /// The unit's time to answer and the line's to carry question and answer.
    fn patience(&self, request: &Request) -> Duration {
        let characters = self.sent.len() + frame::rtu_answer_bytes(request);
        self.timeout + self.character * characters as u32
    }

    async fn hear(&mut self, link: &mut Link, unit: u8, request: &Request) -> Result<Reply, Failure> {
        loop {
            link.receive(&mut self.heard).await?;
            self.last = Instant::now();
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

    fn find(&self, unit: u8, request: &Request, silent: bool) -> Heard<'_> {
        let answered_alike = request.is_mirrored() && self.echoes != Some(true);
        let echo = if answered_alike { &[] } else { self.sent.as_slice() };
        frame::find_rtu(&self.heard, unit, request, echo, silent)
    }

    /// Rule 6.
    fn with_echo_seen(
        &mut self,
        request: &Request,
        outcome: Result<Reply, Failure>,
    ) -> Result<Reply, Failure> {
        if !request.is_mirrored() && !matches!(outcome, Err(Failure::Broken(_))) {
            self.echoes = Some(self.echoes == Some(true) || self.heard.starts_with(&self.sent));
        }
        outcome
    }
}

impl Owed {
    fn by(request: &Request) -> Self {
        match request {
            Request::Read(_) => Owed::Data,
            Request::Write(_) => Owed::Written(request.function()),
        }
    }
}
