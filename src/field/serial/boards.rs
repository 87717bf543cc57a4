//! The boards and meters of one line: who is asked what, what is believed, and what comes without being asked.
//!
//! A lock board's answer does not say which question it answers. A board that did not answer in time, or said something
//! else than its answer, is *in doubt*: its next answer may be the late one, which shows doors as they were. So after a
//! timeout the line is listened to for one more, and the first answer of a board in doubt is thrown away and asked for
//! again. Meters need no doubt: their answers name the value (DL/T 645), or there is one only, whose age does not deceive.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::asked::{Asked, What, kinds_on};
use super::line::Line;
use super::lock_board::{Change, Spoken};
use super::locker::{Said, Taken, Words};
use super::{Kind, Settings, lock_board};
use crate::field::Exchange;
use crate::field::poll::{self, Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::order::Outcome;
use crate::reading::{PointId, Reading};
use crate::time::now;

#[derive(Debug)]
pub struct Boards {
    pub(super) line: Line,
    timeout: Duration,
    pub(super) boards: Vec<Asked>,
    /// One of each kind, to seek others like it.
    pub(super) kinds: Vec<Kind>,
    words: Words,
    /// The end of what came by itself, where a word of a board's own may go on.
    rest: Vec<u8>,
    /// What was heard of other boards while one was asked; handed on with the next that is overheard.
    aside: VecDeque<(usize, Reading)>,
    /// The last order: of which board, and when the next board may have one.
    ordered: Option<(usize, Instant)>,
}

/// Two boards' locks are not to draw their current at one time.
const BETWEEN_ORDERS: Duration = Duration::from_millis(300);
/// Words heard of others are only news of what the next poll reads anyway.
const ASIDE_MOST: usize = 64;

impl Boards {
    pub fn new(settings: Settings) -> Self {
        Self {
            line: Line::new(&settings.wire, settings.timeout),
            timeout: settings.timeout,
            kinds: kinds_on(&settings.boards),
            boards: settings.boards.into_iter().map(Asked::new).collect(),
            words: Words::default(),
            rest: Vec::new(),
            aside: VecDeque::new(),
            ordered: None,
        }
    }

    /// As they are polled.
    pub fn devices(&self) -> Vec<poll::Device> {
        let polled = |asked: &Asked| poll::Device {
            id: asked.id,
            rounds: vec![poll::Round {
                every: asked.poll,
                questions: (0..asked.questions()).collect(),
                points: asked.points(),
            }],
        };
        self.boards.iter().map(polled).collect()
    }

    // --- lockers ---

    /// A board's answer that can be believed.
    async fn believed(&mut self, link: &mut Link, device: usize, question: usize) -> Result<Said, Failure> {
        let What::Locker { locker, in_doubt } = &mut self.boards[device].what else {
            return Err(Failure::Wrong);
        };
        // From here on it owes an answer, however this ends: the poll may give up on it at any time.
        let was_in_doubt = mem::replace(in_doubt, true);
        let mut said = locker.ask(&mut self.line, link, question).await;
        if was_in_doubt && said.is_ok() {
            said = locker.ask(&mut self.line, link, question).await;
        }
        match said {
            Ok(_) => *in_doubt = false,
            Err(Failure::Broken(_)) => *in_doubt = was_in_doubt, // what comes on a new wire is no old answer
            Err(_) => {}
        }
        if let Err(Failure::Silent) = said {
            self.line.let_late_answers_pass(link).await?;
        }
        said
    }

    async fn ask_locker(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Failure> {
        let said = self.believed(link, device, question).await;
        let at = now();
        let heard = self.line.take_all();
        let spoken = self.spoken(&heard);
        self.tell(device, &spoken.before, readings);
        if let (What::Locker { locker, .. }, Ok(said)) = (&self.boards[device].what, &said) {
            readings.extend(locker.readings(*said, &self.words, at));
        }
        self.tell(device, &spoken.after, readings);
        said.map(|_| ())
    }

    /// Opens a cell, and reads it.
    async fn open(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        if let Some((other, until)) = self.ordered
            && other != device
        {
            sleep_until(until).await;
        }
        let What::Locker { locker, in_doubt } = &mut self.boards[device].what else {
            return Ok(failed("a meter takes no orders"));
        };
        let Some(&cell) = locker.commands.get(nth) else { return Ok(failed("the board has no such cell")) };
        let was_in_doubt = mem::replace(in_doubt, true);
        self.ordered = Some((device, Instant::now() + BETWEEN_ORDERS));
        let taken = locker.open(&mut self.line, link, cell).await;
        *in_doubt = was_in_doubt || taken.is_err();
        let question = locker.question_of(cell.into());
        match taken {
            Err(Failure::Silent) => self.line.let_late_answers_pass(link).await?,
            Err(Failure::Wrong) | Ok(_) => {}
            Err(failure) => return Err(failure),
        }
        // A wire that breaks now breaks again at the next question; what was said of the order stands.
        let is_read = self.ask_locker(link, device, question, readings).await.is_ok();
        match taken {
            Err(failure) if !is_read => Err(failure),
            Ok(Taken::Untold) if !is_read => Err(Failure::Silent),
            taken => Ok(outcome(taken.ok(), cell)),
        }
    }

    // --- what comes by itself ---

    /// What boards say by themselves in these bytes and those before them.
    fn spoken(&mut self, bytes: &[u8]) -> Spoken {
        let mut all = mem::take(&mut self.rest);
        all.extend(bytes);
        let spoken = lock_board::changes(&all);
        all.drain(..all.len() - spoken.rest);
        self.rest = all;
        spoken
    }

    /// What this board said is a reading now, what others said is put aside.
    fn tell(&mut self, device: usize, changes: &[Change], readings: &mut Vec<Reading>) {
        for change in changes {
            match self.word(change) {
                Some((speaker, reading)) if speaker == device => readings.push(reading),
                Some(other) => {
                    if self.aside.len() >= ASIDE_MOST {
                        self.aside.pop_front();
                    }
                    self.aside.push_back(other);
                }
                None => {}
            }
        }
    }

    fn word(&self, change: &Change) -> Option<(usize, Reading)> {
        let mut speakers =
            self.boards.iter().enumerate().filter_map(|(n, asked)| Some((n, asked.as_speaker()?)));
        let (speaker, locker) = speakers.find(|(_, locker)| locker.address == change.board)?;
        let point = *locker.cells.get(usize::from(change.cell))?;
        let open = lock_board::is_open(change.contact_closed, locker.feedback());
        Some((speaker, Reading::good(point, now(), self.words.cell(open))))
    }
}

impl Ask for Boards {
    fn begins(&mut self) {
        for asked in &mut self.boards {
            if let What::Meter(meter) = &mut asked.what {
                meter.begins();
            }
        }
    }

    fn listens(&self) -> bool {
        self.boards.iter().any(|asked| asked.as_speaker().is_some())
    }

    fn overheard(&mut self, bytes: &[u8]) -> Vec<(usize, Vec<Reading>)> {
        let Spoken { before, after, .. } = self.spoken(bytes);
        let words: Vec<_> = before.iter().chain(&after).filter_map(|change| self.word(change)).collect();
        self.aside.drain(..).chain(words).map(|(speaker, reading)| (speaker, vec![reading])).collect()
    }

    async fn wake(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Failure> {
        let What::Locker { locker, .. } = &self.boards[device].what else { return Ok(()) };
        let Some(&cell) = locker.commands.get(nth) else { return Ok(()) };
        let question = locker.question_of(cell.into());
        self.line.set_timeout(self.timeout);
        self.ask_locker(link, device, question, readings).await
    }

    async fn act(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        self.line.set_timeout(self.timeout);
        self.open(link, device, nth, readings).await
    }

    async fn look(
        &mut self,
        link: &mut Link,
        device: usize,
        point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        self.look_at(link, device, point).await
    }

    /// For each protocol that hangs on this line. A meter names itself whatever the address, and only where it is
    /// alone: it is sought at the first address.
    async fn seek(
        &mut self,
        link: &mut Link,
        address: u8,
        timeout: Duration,
    ) -> Result<Option<String>, Failure> {
        self.line.set_timeout(timeout);
        self.seek_each(link, address).await
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        self.line.set_timeout(self.timeout);
        match &mut self.boards[device].what {
            What::Meter(meter) => meter.ask(&mut self.line, link, question, readings).await,
            What::Locker { .. } => {
                self.ask_locker(link, device, question, readings).await.map(|()| Answer::Read)
            }
        }
    }
}

/// What an order came to, with a board that answers. That it took it says nothing of the door: that is read.
fn outcome(taken: Option<Taken>, cell: u8) -> Outcome {
    let cell = u16::from(cell) + 1;
    match taken {
        Some(Taken::Yes) => Outcome::Executed { what: format!("the board took the order for cell-{cell}") },
        Some(Taken::No(why)) => failed(why),
        Some(Taken::Untold) => Outcome::Executed {
            what: format!("the order for cell-{cell} was sent; this board confirms none, and it answers"),
        },
        None => Outcome::Unsure {
            why: format!("the board answers, but not to the order; cell-{cell} may have opened"),
        },
    }
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed { why: why.into() }
}
