//! The line with its readers: who is asked next, and what is handed on.
//!
//! A reader is asked its next question only when the card that it told is on the disk: the question is what tells the reader
//! that its card was taken. When the journal is behind, cards wait in the reader.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::Settings;
use super::line::{Line, TRIES};
use super::reply::{self, Reply};
use super::session::{Answer, Trouble};
use super::unit::{STATUS_EVERY, Unit};
use crate::backoff::Backoff;
use crate::fault::contained;
use crate::field::stumble::Stumbles;
use crate::field::wire::Wire;
use crate::field::{Context, Errand, Out};
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, Life};
use crate::receipt::Receipt;
use crate::time::now;

#[derive(Debug)]
pub struct Panel {
    pub id: Arc<str>,
    pub line: Line,
    pub units: Vec<Unit>,
    names: Option<Pseudonyms>,
    out: Out,
    pub stop: CancellationToken,
    pauses: Backoff,
    /// Told to all, and not yet answered by anyone since.
    down: bool,
    /// Times the wire broke in a row with no answer in between.
    breaks: u32,
    /// Questions in a row that nobody answered.
    unanswered: u32,
    stumbles: Stumbles,
}

/// Nobody takes readings any more: the daemon stops.
#[derive(Debug)]
pub struct Closed;

const REOPEN_FIRST: Duration = Duration::from_millis(500);
const REOPEN_MOST: Duration = Duration::from_secs(30);
/// A wire that breaks so often at the first question is down, though it can be opened.
const BREAKS_DOWN: u32 = 3;
/// A peer that lost its power leaves a connection that looks alive; after so much silence a new one is tried.
const UNANSWERED_MOST: u32 = 3;

impl Panel {
    pub fn new(id: Arc<str>, settings: Settings, context: &Context) -> Self {
        let start = Instant::now();
        let stumbles = Stumbles::new(id.clone(), context.site.clone(), context.metrics.clone());
        Self {
            line: Line::new(settings.wire, settings.timeout, &id, &context.metrics),
            id,
            units: settings.readers.into_iter().map(|reader| Unit::new(reader, start)).collect(),
            names: context.pseudonyms.clone(),
            out: context.out.clone(),
            stop: context.stop.clone(),
            pauses: Backoff::new(REOPEN_FIRST, REOPEN_MOST),
            down: false,
            breaks: 0,
            unanswered: 0,
            stumbles,
        }
    }

    /// Until stopped, which is between two transactions: a card that was taken is handed on.
    pub async fn work(&mut self, lane: &mut mpsc::Receiver<Errand>) -> Result<(), Closed> {
        let stop = self.stop.clone();
        let mut lane_open = true;
        loop {
            if !self.line.is_open() {
                match stop.run_until_cancelled(self.line.open()).await {
                    None => return Ok(()),
                    Some(Ok(())) => debug!(channel = %self.id, wire = %self.line.wire, "The wire is open."),
                    Some(Err(e)) => self.down(&e).await?,
                }
            }
            let next = self.next();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                errand = lane.recv(), if lane_open => match errand {
                    Some(errand) => self.errand(errand, lane).await?,
                    None => lane_open = false,
                },
                () = self.wait(next) => if let Some(next) = next.filter(|_| self.line.is_open()) {
                    self.turn(next).await?;
                },
            }
        }
    }

    /// Until the next turn; without a wire, until it is tried again.
    async fn wait(&self, next: Option<usize>) {
        match next.and_then(|next| self.units.get(next)) {
            None => pending().await,
            Some(unit) if self.line.is_open() => sleep_until(unit.due).await,
            Some(_) => sleep(self.pauses.clone().pause()).await,
        }
    }

    /// Who has been due longest.
    fn next(&self) -> Option<usize> {
        (0..self.units.len()).min_by_key(|&nth| self.units.get(nth).map(|unit| unit.due))
    }

    // --- one turn of a reader ---

    pub async fn turn(&mut self, nth: usize) -> Result<(), Closed> {
        let mut said = Vec::new();
        let mut outcome = self.guarded_turn(nth, &mut said).await;
        if let Err(Trouble::Lost | Trouble::Refused(4)) = outcome {
            // It began anew, and so do we.
            self.forget(nth);
            outcome = self.guarded_turn(nth, &mut said).await;
        }
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        let clock = (Instant::now(), now());
        said.extend(unit.paused(self.names.as_ref(), clock));
        if let Ok(more) = outcome {
            unit.answered(more, clock.0);
        }
        for batch in said {
            self.hand_on(batch).await?;
        }
        match outcome {
            Ok(_) => Ok(()),
            Err(trouble) => self.missed(nth, trouble).await,
        }
    }

    /// Where the program breaks at what this reader says, the others have their turns all the same.
    async fn guarded_turn(&mut self, nth: usize, said: &mut Vec<Batch>) -> Result<bool, Trouble> {
        let fault = match contained(self.try_turn(nth, said)).await {
            Ok(done) => return done,
            Err(fault) => fault,
        };
        if let Some(unit) = self.units.get(nth) {
            self.stumbles.over(unit.reader.id, &fault);
        }
        Err(Trouble::Fault(fault))
    }

    /// Whether there may be more to ask for at once.
    async fn try_turn(&mut self, nth: usize, said: &mut Vec<Batch>) -> Result<bool, Trouble> {
        self.establish(nth).await?;
        let unit = self.units.get(nth);
        if unit.is_some_and(|unit| unit.open.is_none() && unit.status_due <= Instant::now()) {
            self.status(nth, said).await?;
            return Ok(true);
        }
        self.poll(nth, said).await
    }

    /// Takes what the reader has to say; whether that was anything.
    pub async fn poll(&mut self, nth: usize, said: &mut Vec<Batch>) -> Result<bool, Trouble> {
        let reply = self.ask(nth, reply::POLL, &[]).await?;
        said.extend(self.tell(nth, &reply)?);
        Ok(reply != Reply::Ack)
    }

    /// Begins the conversation, with its key where it has one.
    pub async fn establish(&mut self, nth: usize) -> Result<(), Trouble> {
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        if unit.session.is_open() {
            return Ok(());
        }
        unit.open = None;
        unit.status_due = Instant::now();
        let tries = if unit.is_offline() { 1 } else { TRIES };
        let mut question = unit.session.begin(random())?;
        while let Some(asked) = question {
            question = match self.line.transact(&mut unit.session, &asked, tries).await? {
                Answer::Next(next) => Some(next),
                Answer::Open | Answer::Said(_) => None,
            };
        }
        Ok(())
    }

    /// A question, or once more the one that has no answer yet: then its answer is what comes back.
    pub async fn ask(&mut self, nth: usize, code: u8, data: &[u8]) -> Result<Reply, Trouble> {
        let Some(unit) = self.units.get_mut(nth) else { return Err(Trouble::Lost) };
        let question = unit.open.take().unwrap_or_else(|| unit.session.ask(code, data));
        let tries = if unit.is_offline() { 1 } else { TRIES };
        match self.line.transact(&mut unit.session, &question, tries).await {
            Ok(Answer::Said(reply)) => {
                self.answered();
                Ok(reply)
            }
            Ok(Answer::Next(_) | Answer::Open) => Err(Trouble::Lost),
            Err(trouble @ (Trouble::Silent(_) | Trouble::Busy | Trouble::Broken(_))) => {
                unit.open = Some(question);
                Err(trouble)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What it knows of itself, and its inputs.
    async fn status(&mut self, nth: usize, said: &mut Vec<Batch>) -> Result<(), Trouble> {
        let local = self.ask(nth, reply::LOCAL_STATUS, &[]).await?;
        said.extend(self.tell_state(nth, &local, false)?);
        if self.units.get(nth).is_some_and(|unit| !unit.reader.inputs.is_empty()) {
            let inputs = self.ask(nth, reply::INPUT_STATUS, &[]).await?;
            said.extend(self.tell_state(nth, &inputs, true)?);
        }
        if let Some(unit) = self.units.get_mut(nth) {
            unit.status_due = Instant::now() + STATUS_EVERY;
        }
        Ok(())
    }

    /// That it answered is told in any case; what it does not know is bad.
    fn tell_state(&mut self, nth: usize, reply: &Reply, inputs: bool) -> Result<Option<Batch>, Trouble> {
        let told = self.tell(nth, reply)?;
        let Some(unit) = self.units.get(nth).filter(|_| told.is_none()) else { return Ok(told) };
        let unknown = match reply {
            Reply::Nak(_) => unit.refused(inputs, now()),
            _ => Vec::new(),
        };
        Ok(Some(Batch::new(unit.reader.id, now(), unknown, Some(Life::Online))))
    }

    /// A refusal of the conversation as a whole ends it; one of a single question does not.
    pub fn tell(&mut self, nth: usize, reply: &Reply) -> Result<Option<Batch>, Trouble> {
        let Some(unit) = self.units.get_mut(nth) else { return Ok(None) };
        match reply {
            Reply::Nak(why @ (4..=6)) => Err(Trouble::Refused(*why)),
            reply => Ok(unit.tell(reply, self.names.as_ref(), (Instant::now(), now()))),
        }
    }

    /// The conversation with this reader begins anew.
    pub fn forget(&mut self, nth: usize) {
        if let Some(unit) = self.units.get_mut(nth) {
            unit.session.close();
            unit.open = None;
        }
    }

    /// Nothing came of a turn.
    async fn missed(&mut self, nth: usize, trouble: Trouble) -> Result<(), Closed> {
        match &trouble {
            Trouble::Broken(e) => return self.broke(e).await,
            Trouble::Silent(_) => self.unanswered += 1,
            Trouble::Busy => self.unanswered = 0,
            _ => {
                self.unanswered = 0;
                self.forget(nth);
            }
        }
        let hopeless =
            matches!(trouble, Trouble::OtherKey | Trouble::NoKey | Trouble::BadKey | Trouble::Refused(5 | 6));
        let Some(unit) = self.units.get_mut(nth) else { return Ok(()) };
        debug!(channel = %self.id, address = unit.reader.address, why = %trouble, "A poll failed.");
        let batch = unit.missed(trouble.to_string(), hopeless, (Instant::now(), now()));
        self.hand_on(batch).await?;
        if self.unanswered >= UNANSWERED_MOST && matches!(self.line.wire, Wire::Tcp { .. }) {
            self.unanswered = 0;
            self.line.close();
        }
        Ok(())
    }

    /// What happened is on the disk after this, or we have to stop: the next question makes the reader forget it.
    pub async fn hand_on(&self, mut batch: Batch) -> Result<(), Closed> {
        let kept = (!batch.happenings.is_empty()).then(Receipt::default);
        batch.kept.clone_from(&kept);
        self.out.send(batch).await.map_err(|_| Closed)?;
        if let Some(kept) = kept {
            self.stop.run_until_cancelled(kept.signed()).await;
        }
        Ok(())
    }

    // --- the wire ---

    fn answered(&mut self) {
        if self.down {
            info!(channel = %self.id, "The wire is back.");
        }
        self.pauses.reset();
        self.down = false;
        self.breaks = 0;
        self.unanswered = 0;
    }

    /// It broke: not at once again, and said only when it goes on breaking.
    async fn broke(&mut self, e: &std::io::Error) -> Result<(), Closed> {
        self.line.close();
        self.breaks += 1;
        if self.breaks >= BREAKS_DOWN {
            self.down(e).await?;
        }
        let pause = self.pauses.pause();
        let _ = self.stop.run_until_cancelled(sleep(pause)).await;
        Ok(())
    }

    /// Says once that all readers of this wire are out of reach.
    async fn down(&mut self, e: &std::io::Error) -> Result<(), Closed> {
        let _ = self.pauses.pause();
        if self.down {
            return Ok(());
        }
        self.down = true;
        warn!(channel = %self.id, error = %e, "The wire is down; it is tried again until it is back.");
        for nth in 0..self.units.len() {
            let Some(unit) = self.units.get_mut(nth) else { continue };
            let batch = unit.cut_off(e.to_string(), (Instant::now(), now()));
            self.hand_on(batch).await?;
        }
        Ok(())
    }
}

/// The secure channel is only as good as this; without any, the reader's own number still makes each session another.
fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        warn!("The kernel gives no random numbers.");
    }
    bytes
}
