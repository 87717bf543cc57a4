//! One question and its answer on a line that several protocols share.
//!
//! Where a frame says its own length and has a check, the answer is over with it. Where it does not, the answer is over
//! when the line has been silent for a while, and what was heard until then is looked at as a whole.
//!
//! An answer that comes too late is a right one to an old question. So before each question the line is emptied.
//! Whether that is enough is the board's matter (`boards.rs`): a meter's answer names meter and value, so a late one is
//! recognised; a lock board's names the board only, and would show doors as they were.

use std::mem;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::field::poll::Failure;
use crate::field::wire::{Link, Wire};

/// So long after the last byte the answer is over; a board's own pauses are shorter, timers are not much finer.
const QUIET: Duration = Duration::from_millis(20);
/// A lock's pulse takes less.
const WORK: Duration = Duration::from_secs(2);
/// Boards at 9600 baud want so much silence before a question.
const GAP: Duration = Duration::from_millis(5);
/// More than this is a line that never falls silent.
const HEARD_MOST: usize = 1024;
/// Of one question with all that follows from it; a look that was given up leaves no more than that.
const TRACED_MOST: usize = 64;
/// Meters leave the factory with 2400 baud, and a serial device server does not tell.
const METER_CHARACTER_BEHIND_TCP: Duration = Duration::from_micros(4583);

#[derive(Debug)]
pub struct Line {
    timeout: Duration,
    /// The time one character of a lock board takes, and one of a meter.
    character: [Duration; 2],
    gap: Duration,
    quiet: Duration,
    /// When the last byte went or came.
    last: Instant,
    heard: Vec<u8>,
    /// What came since it was last taken, asked for or not.
    all: Vec<u8>,
    /// Questions come back: the adapter hears itself.
    echoes: bool,
    trace: Option<Vec<Traced>>,
}

/// One question in full view.
#[derive(Debug)]
pub struct Traced {
    pub sent: Vec<u8>,
    pub heard: Vec<u8>,
    /// What the protocol has to say of the answer, for people.
    pub remark: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub frame: &'a [u8],
    /// Of the longest answer, in bytes.
    pub answer: usize,
    pub end: End,
    /// It has to do something first, and may answer only then.
    pub is_order: bool,
}

/// How the end of an answer is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By silence: a lock board's.
    Silence,
    /// By the frame: a meter's.
    Frame,
}

impl<'a> Question<'a> {
    /// A meter's.
    pub fn framed(frame: &'a [u8], answer: usize) -> Self {
        Self { frame, answer, end: End::Frame, is_order: false }
    }
}

impl Line {
    pub fn new(wire: &Wire, timeout: Duration) -> Self {
        let meter = match wire {
            Wire::Tcp { .. } => METER_CHARACTER_BEHIND_TCP,
            Wire::Serial(_) => wire.character(),
        };
        Self {
            timeout,
            character: [wire.character(), meter],
            gap: GAP.max(wire.silence()),
            quiet: QUIET.max(wire.silence()),
            last: Instant::now(),
            heard: Vec::new(),
            all: Vec::new(),
            echoes: false,
            trace: None,
        }
    }

    /// How long a device may take to begin its answer from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub fn echoes(&self) -> bool {
        self.echoes
    }

    /// Keeps what is sent and heard from now on.
    pub fn begin_trace(&mut self) {
        self.trace = Some(Vec::new());
    }

    pub fn end_trace(&mut self) -> Vec<Traced> {
        self.trace.take().unwrap_or_default()
    }

    /// Says something of the last answer to whoever looks.
    pub fn remark(&mut self, what: &str) {
        if let Some(traced) = self.trace.as_mut().and_then(|trace| trace.last_mut()) {
            traced.remark = Some(what.to_owned());
        }
    }

    /// Everything that came since this was called last, at most as much as is kept.
    pub fn take_all(&mut self) -> Vec<u8> {
        mem::take(&mut self.all)
    }

    /// Puts a question; `find` looks for the answer in what was heard so far.
    pub async fn ask<T>(
        &mut self,
        link: &mut Link,
        question: Question<'_>,
        find: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, Failure> {
        sleep_until(self.last + self.gap).await;
        self.empty(link).await?;
        link.send(question.frame).await?;
        self.last = Instant::now();
        self.heard.clear();
        let outcome = self.hear(link, question, find).await;
        self.last = Instant::now();
        // The answer to an order may look like the order.
        if !question.is_order && self.heard.len() > question.frame.len() {
            self.echoes = self.heard.starts_with(question.frame);
        }
        // Only lock boards speak by themselves, and what a meter says may read like a word of theirs.
        if question.end == End::Silence {
            self.all.extend(&self.heard);
            self.bound();
        }
        self.keep(question.frame);
        outcome
    }

    /// Tells something to which no answer is known, and leaves the device so long to do it.
    pub async fn tell(&mut self, link: &mut Link, frame: &[u8], time: Duration) -> Result<(), Failure> {
        sleep_until(self.last + self.gap).await;
        self.empty(link).await?;
        link.send(frame).await?;
        self.heard.clear();
        let deadline = Instant::now() + time;
        while self.heard.len() <= HEARD_MOST
            && let Ok(got) = timeout_at(deadline, link.receive(&mut self.heard)).await
        {
            got?;
        }
        self.last = Instant::now();
        self.keep(frame);
        Ok(())
    }

    /// After a timeout: what comes within one more is the answer that came too late, and nobody's.
    pub async fn let_late_answers_pass(&mut self, link: &mut Link) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        while let Ok(got) = timeout_at(deadline, link.receive(&mut self.all)).await {
            got?;
            self.bound();
        }
        self.last = Instant::now();
        Ok(())
    }

    async fn hear<T>(
        &mut self,
        link: &mut Link,
        question: Question<'_>,
        find: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.patience(question);
        loop {
            match timeout_at(deadline, link.receive(&mut self.heard)).await {
                Ok(got) => got?,
                Err(_) if self.has_only(question.frame) => return Err(Failure::Silent),
                Err(_) => return Err(Failure::Wrong),
            };
            if question.end == End::Silence {
                self.until_quiet(link).await?;
            }
            // What is not the answer may be a board's own word or noise, with the answer still to come.
            if let Some(answer) = find(&self.heard) {
                return Ok(answer);
            }
            if self.heard.len() > HEARD_MOST {
                return Err(Failure::Wrong);
            }
        }
    }

    async fn until_quiet(&mut self, link: &mut Link) -> Result<(), Failure> {
        while let Ok(got) = timeout(self.quiet, link.receive(&mut self.heard)).await {
            got?;
            if self.heard.len() > HEARD_MOST {
                return Err(Failure::Wrong);
            }
        }
        Ok(())
    }

    /// The device's time to answer, and the line's to carry question and answer.
    fn patience(&self, question: Question<'_>) -> Duration {
        let [board, meter] = self.character;
        let character = if question.end == End::Frame { meter } else { board };
        let work = if question.is_order { WORK } else { Duration::ZERO };
        self.timeout + work + character * (question.frame.len() + question.answer) as u32
    }

    /// Nothing was heard but the question itself.
    fn has_only(&self, question: &[u8]) -> bool {
        self.heard.is_empty() || self.heard == question
    }

    /// What arrived between two questions answers none, but may be a board's own word.
    async fn empty(&mut self, link: &mut Link) -> Result<(), Failure> {
        // Bytes the kernel holds are only seen once the runtime has looked; this lets it look.
        yield_now().await;
        let deadline = Instant::now() + self.quiet;
        while let Ok(got) = timeout(Duration::ZERO, link.receive(&mut self.all)).await {
            got?;
            self.bound();
            if Instant::now() > deadline {
                break;
            }
        }
        link.drain().await?;
        Ok(())
    }

    fn keep(&mut self, sent: &[u8]) {
        if let Some(trace) = self.trace.as_mut().filter(|trace| trace.len() < TRACED_MOST) {
            trace.push(Traced { sent: sent.to_vec(), heard: self.heard.clone(), remark: None });
        }
    }

    fn bound(&mut self) {
        let over = self.all.len().saturating_sub(HEARD_MOST);
        self.all.drain(..over);
    }
}
