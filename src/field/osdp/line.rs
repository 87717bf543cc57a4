//! One transaction on the line: a frame goes out, and is repeated unchanged until its answer is here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::frame::{self, LENGTH_MAX};
use super::session::{Answer, Session, Trouble, Verdict};
use crate::field::wire::{Link, Wire};
use crate::metrics::{Metrics, Request};

#[derive(Debug)]
pub struct Line {
    pub wire: Wire,
    pub timeout: Duration,
    link: Option<Link>,
    buffer: Vec<u8>,
    /// When the line was last busy.
    busy: Instant,
    counters: Counters,
    /// The last frame sent and the last heard, for technicians.
    pub sent: Vec<u8>,
    pub heard: Vec<u8>,
}

#[derive(Debug)]
struct Counters {
    ok: Counter,
    exception: Counter,
    timeout: Counter,
    wrong: Counter,
    broken: Counter,
}

/// A question is put so often.
pub const TRIES: u32 = 3;
/// A reader that says "busy" is asked again after this, and so often.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_MOST: u32 = 20;
/// Noise beyond this is thrown away, the older half first.
const BUFFER_MAX: usize = 2 * LENGTH_MAX;

impl Line {
    pub fn new(wire: Wire, timeout: Duration, channel: &Arc<str>, metrics: &Metrics) -> Self {
        Self {
            wire,
            timeout,
            link: None,
            buffer: Vec::new(),
            busy: Instant::now(),
            counters: Counters::new(metrics, channel),
            sent: Vec::new(),
            heard: Vec::new(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.link.is_some()
    }

    pub async fn open(&mut self) -> io::Result<()> {
        self.link = None; // a serial port is held by one alone
        self.link = Some(self.wire.open().await?);
        Ok(())
    }

    pub fn close(&mut self) {
        self.link = None;
    }

    /// Puts a question `tries` times at the most.
    pub async fn transact(
        &mut self,
        session: &mut Session,
        question: &[u8],
        tries: u32,
    ) -> Result<Answer, Trouble> {
        let (mut silent, mut busy) = (0, 0);
        self.sent = question.to_vec();
        self.heard.clear();
        loop {
            let verdict = match self.once(session, question).await {
                Ok(verdict) => verdict,
                Err(e) => {
                    self.link = None;
                    self.counters.broken.inc();
                    return Err(e.into());
                }
            };
            match verdict {
                Verdict::Answer(answer) => {
                    self.counters.ok.inc();
                    return Ok(answer);
                }
                Verdict::Trouble(trouble) => {
                    self.counters.exception.inc();
                    return Err(trouble);
                }
                Verdict::Again if busy == BUSY_MOST => return Err(Trouble::Busy),
                Verdict::Again => {
                    busy += 1;
                    sleep(BUSY_PAUSE).await;
                }
                Verdict::Nothing => {
                    self.counters.timeout.inc();
                    silent += 1;
                    if silent >= tries {
                        return Err(Trouble::Silent(self.timeout));
                    }
                }
            }
        }
    }

    /// Sends, and listens until there is an answer or time is up.
    async fn once(&mut self, session: &mut Session, question: &[u8]) -> io::Result<Verdict> {
        let character = self.wire.character();
        sleep_until(self.busy + character * 2).await;
        let Some(link) = &mut self.link else { return Err(io::ErrorKind::NotConnected.into()) };
        link.drain().await?;
        self.buffer.clear();
        link.send(question).await?;
        // It answers once it has heard all; a long answer takes its time on the line as well.
        let start = Instant::now() + character * question.len() as u32;
        let mut until = start + self.timeout;
        loop {
            match timeout_at(until, link.receive(&mut self.buffer)).await {
                Err(_) => return Ok(Verdict::Nothing),
                Ok(got) => got?,
            };
            self.busy = Instant::now();
            until = until.max(self.busy + character * 30).min(start + self.timeout * 4);
            while let Some((frame, end)) = frame::find(&self.buffer, session.address()) {
                let verdict = session.judge(&frame);
                self.heard = self.buffer.drain(..end).collect();
                match verdict {
                    Verdict::Nothing => self.counters.wrong.inc(),
                    verdict => return Ok(verdict),
                };
            }
            if self.buffer.len() > BUFFER_MAX {
                self.buffer.drain(..BUFFER_MAX / 2);
            }
        }
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
}
