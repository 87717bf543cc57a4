//! One question and its answer on a line that knows no frames: an answer ends by silence.
//!
//! An answer that comes too late is a right one to an old question. So before each question the line is emptied, after
//! a timeout it is listened to for one more timeout, and the first answer of a board that was late, or said something
//! else than its answer, is not believed.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::lock_board::{self, Status};
use crate::field::poll::Failure;
use crate::field::wire::{Link, Wire};

/// So long after the last byte the answer is over; a board's own pauses are shorter, timers are not much finer.
const QUIET: Duration = Duration::from_millis(20);
/// More than this is a line that never falls silent.
const ANSWER_MOST: usize = 1024;

#[derive(Debug)]
pub struct Line {
    timeout: Duration,
    quiet: Duration,
}

impl Line {
    pub fn new(wire: &Wire, timeout: Duration) -> Self {
        Self { timeout, quiet: QUIET.max(wire.silence()) }
    }

    /// The state of all cells of one board. `in_doubt`: its last question got no answer in time, or something else;
    /// then the first answer may be to that one, and it is asked twice.
    pub async fn ask(
        &self,
        link: &mut Link,
        address: u8,
        cells: usize,
        in_doubt: bool,
    ) -> Result<Status, Failure> {
        let mut answer = self.ask_once(link, address, cells).await;
        if in_doubt && answer.is_ok() {
            answer = self.ask_once(link, address, cells).await;
        }
        if let Err(Failure::Silent) = answer {
            self.let_late_answers_pass(link).await?;
        }
        answer
    }

    async fn ask_once(&self, link: &mut Link, address: u8, cells: usize) -> Result<Status, Failure> {
        link.drain().await?;
        link.send(&lock_board::request(address)).await?;
        let deadline = Instant::now() + self.timeout;
        let mut heard = Vec::new();
        loop {
            match timeout_at(deadline, link.receive(&mut heard)).await {
                Ok(got) => got?,
                Err(_) if heard.is_empty() => return Err(Failure::Silent),
                Err(_) => return Err(Failure::Wrong),
            };
            while let Ok(got) = timeout_at(Instant::now() + self.quiet, link.receive(&mut heard)).await {
                got?;
                if heard.len() > ANSWER_MOST {
                    return Err(Failure::Wrong);
                }
            }
            // What is not the answer may be a board's own word (`82 …`) or noise, with the answer still to come.
            if let Some(status) = lock_board::reply(&heard, address, cells) {
                return Ok(status);
            }
        }
    }

    async fn let_late_answers_pass(&self, link: &mut Link) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut late = Vec::new();
        while let Ok(got) = timeout_at(deadline, link.receive(&mut late)).await {
            got?;
            late.clear();
        }
        Ok(())
    }
}
