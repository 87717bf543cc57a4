//! Does what the plan says: takes batches out of the outbox, has them posted, settles or waits. One courier a centre.

use std::time::Duration;

use reqwest::Client;
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::http::{self, Answer};
use super::plan::{self, Decision};
use super::{Context, Target, reply};
use crate::backoff::Backoff;
use crate::event::Stored;
use crate::metrics::{Consumer, Push};
use crate::store::{self, Outbox};
use crate::ticket::{Action, Ask};
use crate::time;

#[derive(Debug)]
pub struct Courier {
    target: Target,
    context: Context,
    client: Client,
    load: Load,
    /// While the centre is away.
    soon: Backoff,
    /// While it is misconfigured.
    slowly: Backoff,
    /// What it suffers from now, as told to people.
    trouble: Option<String>,
}

/// Events taken out of the outbox and not yet settled.
#[derive(Debug, Default)]
struct Load {
    events: Vec<Stored>,
    /// With the last of them, this is acknowledged.
    next: u64,
    /// So many of them make the next request; fewer than all while a bad one is looked for.
    take: usize,
}

/// Intake takes and answers nothing any more.
struct Gone;

/// Until when there is nothing to do.
#[derive(Debug)]
enum Rest {
    UntilNews,
    For(Duration),
}

const SOON_FIRST: Duration = Duration::from_secs(1);
const SOON_MOST: Duration = Duration::from_secs(30);
const SLOWLY_FIRST: Duration = Duration::from_secs(60);
const SLOWLY_MOST: Duration = Duration::from_secs(15 * 60);

/// Words that are with intake at one time: one transaction takes them all, and people's asks still find room.
const WORDS_AT_ONCE: usize = 16;

const ACCEPTED: &str = "accepted";
const AGAIN: &str = "again";
const MISCONFIGURED: &str = "misconfigured";
const SET_ASIDE: &str = "set-aside";

impl Courier {
    pub fn new(target: Target, context: Context) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: http::client(&target)?,
            target,
            context,
            load: Load::default(),
            soon: Backoff::new(SOON_FIRST, SOON_MOST),
            slowly: Backoff::new(SLOWLY_FIRST, SLOWLY_MOST),
            trouble: None,
        })
    }

    /// Pushes until the stop, and then what is left, once.
    pub async fn carry(&mut self) {
        let stop = self.context.stop.clone();
        while !stop.is_cancelled() {
            let rest = self.round().await;
            let news = async {
                // Without a journal there is no more news.
                if self.context.head.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            match rest {
                Rest::UntilNews => tokio::select! { () = news => {}, () = stop.cancelled() => {} },
                Rest::For(pause) => {
                    tokio::select! { () = tokio::time::sleep(pause) => {}, () = stop.cancelled() => {} }
                }
            }
        }
        self.round().await;
    }

    /// Request after request, until nothing is pending or something is wrong.
    async fn round(&mut self) -> Rest {
        loop {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(rest)) => return rest,
                Err(error) => {
                    let pause = self.soon.pause();
                    self.suffer(&format!("the outbox: {error}")).await;
                    return Rest::For(pause);
                }
            }
        }
    }

    /// One request; `None`: go on at once.
    async fn step(&mut self) -> Result<Option<Rest>, store::Error> {
        if self.load.events.is_empty() && !self.take_more().await? {
            return Ok(Some(Rest::UntilNews));
        }
        let answer = self.post().await;
        match plan::decide(&answer.outcome, self.load.take) {
            Decision::Settle => {
                if !self.follow(&answer.body).await {
                    info!(consumer = %self.target.name, "The centre's words came too late to be followed; the batch is pushed again after the next start.");
                    return Ok(Some(Rest::For(self.soon.pause())));
                }
                self.count(ACCEPTED);
                self.settle().await?;
                Ok(None)
            }
            Decision::Again { after } => {
                self.count(AGAIN);
                self.suffer(&answer.words).await;
                let grown = self.soon.pause();
                Ok(Some(Rest::For(after.map_or(grown, spread))))
            }
            Decision::Slowly => {
                self.count(MISCONFIGURED);
                self.suffer(&answer.words).await;
                Ok(Some(Rest::For(self.slowly.pause())))
            }
            Decision::Halve => {
                self.load.take = self.load.take.div_ceil(2);
                Ok(None)
            }
            Decision::SetAside => {
                self.count(SET_ASIDE);
                self.set_aside(answer.words).await?;
                Ok(None)
            }
        }
    }

    /// Fills the load; false where nothing is pending.
    async fn take_more(&mut self) -> Result<bool, store::Error> {
        loop {
            // Seen before it is read, so that an event that comes in between wakes us again.
            self.context.head.borrow_and_update();
            let (name, kinds) = (self.target.name.clone(), self.target.kinds.clone());
            let limit = self.target.batch.max(1);
            let (slice, acknowledged) = self
                .outbox(move |outbox| {
                    let slice = outbox.pending(&name, limit, &kinds)?;
                    Ok((slice, outbox.acknowledged(&name)?))
                })
                .await?;
            self.show_lag(slice.head, acknowledged);
            self.load = Load { take: slice.events.len(), events: slice.events, next: slice.next };
            if !self.load.events.is_empty() {
                return Ok(true);
            }
            if slice.next <= acknowledged {
                return Ok(false);
            }
            // All that was there is of kinds that this centre does not want.
            self.move_to(slice.next).await?;
        }
    }

    async fn post(&self) -> Answer {
        let batch = &self.load.events[..self.load.take];
        http::post(&self.client, &self.target, self.key(batch), batch).await
    }

    fn key(&self, batch: &[Stored]) -> String {
        let (gateway, epoch) = (&self.context.gateway, &self.context.epoch);
        let first = batch.first().map_or(0, |event| event.seq);
        let last = batch.last().map_or(0, |event| event.seq);
        format!("{gateway}-{epoch}-{first}-{last}")
    }

    /// Has the centre's words done by intake, which answers when they are written; false where it has ended. Then the
    /// batch stays unsettled, and the centre will say them again.
    async fn follow(&self, body: &[u8]) -> bool {
        let (actions, senseless) = reply::words(body);
        if senseless > 0 {
            warn!(consumer = %self.target.name, senseless, "The centre said of tickets what makes no sense; it is ignored.");
        }
        for some in actions.chunks(WORDS_AT_ONCE) {
            if self.ask(some).await.is_err() {
                return false;
            }
        }
        true
    }

    /// An error means that intake has ended. A refusal is an answer: the word is heard and cannot be followed.
    async fn ask(&self, words: &[Action]) -> Result<(), Gone> {
        let mut under_way = Vec::with_capacity(words.len());
        for action in words {
            let (answer, done) = oneshot::channel();
            let action = action.clone();
            self.context.asks.send(Ask { action, answer }).await.map_err(|_| Gone)?;
            under_way.push(done);
        }
        for (word, done) in words.iter().zip(under_way) {
            if let Err(refusal) = done.await.map_err(|_| Gone)? {
                info!(consumer = %self.target.name, ticket = %word.ticket, %refusal, "A word of the centre was not followed.");
            }
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), store::Error> {
        let whole = self.load.take == self.load.events.len();
        let last = self.load.events[..self.load.take].last().map(|event| event.seq);
        let to = if whole { self.load.next } else { last.unwrap_or(self.load.next) };
        self.move_to(to).await?;
        self.load.events.drain(..self.load.take);
        self.load.take = (2 * self.load.take).min(self.load.events.len());
        self.recover();
        Ok(())
    }

    fn recover(&mut self) {
        self.soon.reset();
        self.slowly.reset();
        if let Some(trouble) = self.trouble.take() {
            info!(consumer = %self.target.name, %trouble, "The centre takes events again.");
        }
    }

    async fn move_to(&self, seq: u64) -> Result<(), store::Error> {
        let name = self.target.name.clone();
        let settled = self.outbox(move |outbox| outbox.settle(&name, seq, time::now())).await?;
        self.show_lag(settled.head, settled.acknowledged);
        Ok(())
    }

    async fn set_aside(&mut self, why: String) -> Result<(), store::Error> {
        let Some(seq) = self.load.events.first().map(|event| event.seq) else {
            return Ok(());
        };
        warn!(consumer = %self.target.name, seq, answer = %why, "The centre does not like an event; it is set aside and the rest goes on.");
        let name = self.target.name.clone();
        self.outbox(move |outbox| outbox.set_aside(&name, seq, &why, time::now())).await?;
        self.load.events.remove(0);
        // On with one, and twice as many after each success: where one is bad the next ones often are, too.
        self.load.take = self.load.events.len().min(1);
        self.recover();
        Ok(())
    }

    /// Tells people once what is wrong, and the store whenever it is something else.
    async fn suffer(&mut self, words: &str) {
        if self.trouble.is_none() {
            warn!(consumer = %self.target.name, trouble = words, "Events cannot be pushed; they are kept and tried again.");
        }
        if self.trouble.as_deref() == Some(words) {
            return;
        }
        self.trouble = Some(words.to_owned());
        let (name, words) = (self.target.name.clone(), words.to_owned());
        let noted = self.outbox(move |outbox| outbox.note(&name, Some(&words), time::now())).await;
        if let Err(error) = noted {
            warn!(consumer = %self.target.name, %error, "What the centre suffers from could not be noted.");
        }
    }

    /// The disk may take its time; the wires must not wait for it.
    async fn outbox<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, store::Error> {
        let outbox = self.context.outbox.clone();
        match tokio::task::spawn_blocking(move || work(&outbox)).await {
            Ok(done) => done,
            Err(error) => Err(store::Error::Interrupted(error.to_string())),
        }
    }

    fn count(&self, outcome: &'static str) {
        let consumer = self.target.name.to_string();
        self.context.metrics.pushes.get_or_create(&Push { consumer, outcome }).inc();
    }

    fn show_lag(&self, head: u64, acknowledged: u64) {
        let consumer = self.target.name.to_string();
        let lag = head.saturating_sub(acknowledged);
        self.context.metrics.lag.get_or_create(&Consumer { consumer }).set(lag.cast_signed());
    }
}

/// What the centre asked for and up to a third more, so that a thousand gateways do not come back in one second;
/// at least [`SOON_FIRST`], or "0" would make a storm.
fn spread(after: Duration) -> Duration {
    let most = after.max(SOON_FIRST).mul_f64(4.0 / 3.0);
    Backoff::new(most, most).pause()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_asked_for_is_kept_and_never_none() {
        for asked in [0, 1, 60, 3600] {
            let asked = Duration::from_secs(asked);
            let pause = spread(asked);
            assert!(pause >= asked && pause >= SOON_FIRST.mul_f64(0.99), "{pause:?}");
            assert!(pause <= asked.max(SOON_FIRST) * 3 / 2, "{pause:?}");
        }
    }
}
