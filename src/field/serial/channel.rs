//! One line with its boards: who is asked next, what their answers amount to, and what happens when it breaks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::line::{Failure, Line};
use super::lock_board::Status;
use super::{Board, Protocol, Settings};
use crate::backoff::Backoff;
use crate::field::Context;
use crate::field::life::Turns;
use crate::metrics::{Metrics, Request};
use crate::reading::{Batch, Life, Millis, Reading, Reason, Value};
use crate::time::now;

const REOPEN_FIRST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(30);
/// After so many questions in a row that nobody answered the wire is opened anew: the port's driver may hang, or the
/// device server behind a TCP connection may have lost its power.
const UNANSWERED_MOST: u32 = 3;

#[derive(Debug)]
pub struct Channel {
    id: Arc<str>,
    timeout: Duration,
    line: Line,
    boards: Vec<Polled>,
    out: mpsc::Sender<Batch>,
    metrics: Metrics,
    pauses: Backoff,
    /// Told to all, and not yet answered by anyone since.
    down: bool,
    /// Whether anybody answered since the wire was opened.
    answered: bool,
    unanswered: u32,
    texts: Texts,
}

#[derive(Debug)]
struct Polled {
    board: Board,
    turns: Turns,
    in_doubt: bool,
}

/// The two words of every cell, made once.
#[derive(Debug)]
struct Texts {
    open: Arc<str>,
    closed: Arc<str>,
}

/// Nobody takes readings any more: the daemon stops.
struct Closed;

impl Channel {
    pub fn new(id: Arc<str>, settings: Settings, context: Context) -> Self {
        let start = Instant::now();
        let boards = settings.boards.into_iter().map(|board| Polled {
            turns: Turns::new(board.poll, start),
            board,
            in_doubt: false,
        });
        Self {
            id,
            timeout: settings.timeout,
            boards: boards.collect(),
            line: Line::new(settings.wire, settings.timeout),
            out: context.out,
            metrics: context.metrics,
            pauses: Backoff::new(REOPEN_FIRST, REOPEN_MOST),
            down: false,
            answered: false,
            unanswered: 0,
            texts: Texts {
                open: "open".into(),
                closed: "closed".into(),
            },
        }
    }

    /// Polls; returns when nobody takes readings any more, or when there is nothing to poll.
    pub async fn work(&mut self) {
        while let Some(next) = self.longest_due() {
            let turn = async {
                if !self.line.is_open() {
                    self.open().await?;
                }
                sleep_until(self.boards[next].turns.due()).await;
                self.poll(next).await
            };
            if let Err(Closed) = turn.await {
                return;
            }
        }
    }

    fn longest_due(&self) -> Option<usize> {
        (0..self.boards.len()).min_by_key(|&i| self.boards[i].turns.due())
    }

    // --- one poll ---

    async fn poll(&mut self, index: usize) -> Result<(), Closed> {
        let Polled { board, in_doubt, .. } = &self.boards[index];
        let answer = self.line.ask(board.address, board.cells.len(), *in_doubt).await;
        self.count(match &answer {
            Ok(_) => "ok",
            Err(Failure::Silent) => "timeout",
            Err(Failure::Wrong) => "wrong",
            Err(Failure::Broken(_)) => "broken",
        });
        match answer {
            Ok(status) => self.answer(index, &status).await,
            Err(Failure::Silent) => {
                self.boards[index].in_doubt = true;
                self.unanswered += 1;
                if self.unanswered >= UNANSWERED_MOST {
                    self.unanswered = 0;
                    self.line.close();
                }
                self.miss(index, format!("no answer within {} ms", self.timeout.as_millis()))
                    .await
            }
            Err(Failure::Wrong) => {
                self.boards[index].in_doubt = true;
                self.miss(index, "what it answers is no frame of its protocol".to_owned())
                    .await
            }
            // A device server may close a connection that was long idle: nobody's fault, asked again at once.
            Err(Failure::Broken(_)) if self.answered => Ok(()),
            Err(Failure::Broken(error)) => {
                self.tell_down(&error).await?;
                sleep(self.pauses.pause()).await;
                Ok(())
            }
        }
    }

    async fn answer(&mut self, index: usize, status: &Status) -> Result<(), Closed> {
        if self.down {
            tracing::info!(channel = &*self.id, "the wire is back");
        }
        self.pauses.reset();
        (self.down, self.answered, self.unanswered) = (false, true, 0);
        let polled = &mut self.boards[index];
        polled.in_doubt = false;
        polled.turns.answered(Instant::now());
        let readings = readings(&polled.board, status, &self.texts, now());
        self.hand_on(index, readings, Some(Life::Online)).await
    }

    /// All cells are bad; the board is offline when this happens again and again.
    async fn miss(&mut self, index: usize, why: String) -> Result<(), Closed> {
        let polled = &mut self.boards[index];
        polled.turns.failed(Instant::now());
        let life = polled.turns.is_offline().then_some(Life::Offline { why });
        let readings = bad(&polled.board, Reason::NoAnswer);
        self.hand_on(index, readings, life).await
    }

    async fn hand_on(&self, index: usize, readings: Vec<Reading>, life: Option<Life>) -> Result<(), Closed> {
        let batch = Batch {
            device: self.boards[index].board.id,
            at: now(),
            readings,
            life,
        };
        self.out.send(batch).await.map_err(|_| Closed)
    }

    // --- the wire ---

    /// Tries until the wire is open, ever more rarely.
    async fn open(&mut self) -> Result<(), Closed> {
        self.answered = false;
        while let Err(error) = self.line.open().await {
            self.tell_down(&error).await?;
            sleep(self.pauses.pause()).await;
        }
        Ok(())
    }

    /// Says once that all boards of this wire are out of reach.
    async fn tell_down(&mut self, error: &io::Error) -> Result<(), Closed> {
        if self.down {
            return Ok(());
        }
        self.down = true;
        tracing::warn!(channel = &*self.id, %error, "the wire is down; it is tried again until it is back");
        for index in 0..self.boards.len() {
            let readings = bad(&self.boards[index].board, Reason::WireDown);
            let why = error.to_string();
            self.hand_on(index, readings, Some(Life::Offline { why })).await?;
        }
        Ok(())
    }

    fn count(&self, outcome: &'static str) {
        let channel = self.id.to_string();
        self.metrics
            .requests
            .get_or_create(&Request { channel, outcome })
            .inc();
    }
}

fn readings(board: &Board, status: &Status, texts: &Texts, at: Millis) -> Vec<Reading> {
    let Protocol::LockBoard8a { feedback, first_byte } = board.protocol;
    let cells = board.cells.iter().enumerate();
    cells
        .map(
            |(cell, &point)| match status.is_open(cell, feedback, first_byte) {
                Some(open) => {
                    let text = if open { &texts.open } else { &texts.closed };
                    Reading::good(point, at, Value::Text(text.clone()))
                }
                None => Reading::bad(point, at, Reason::Unreadable),
            },
        )
        .collect()
}

fn bad(board: &Board, reason: Reason) -> Vec<Reading> {
    let at = now();
    board
        .cells
        .iter()
        .map(|&point| Reading::bad(point, at, reason))
        .collect()
}
