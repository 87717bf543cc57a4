//! Does what the plans say: has batches posted, writes down what became of them, or waits. One courier a centre, with a
//! porter for each of its two lanes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Client;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::http::{self, Answer, Parcel};
use super::lanes::{Lane, Lanes, Note};
use super::pace::Pace;
use super::plan::{self, Decision, Outcome};
use super::{Context, Target, bulk, orders, reply, urgent};
use crate::backoff::Backoff;
use crate::gzip;
use crate::metrics::{Consumer, Push};
use crate::order::Wish;
use crate::store::{self, Outbox};
use crate::ticket::{Action, Ask};
use crate::time;

/// What both lanes share.
#[derive(Debug)]
pub struct Courier {
    pub target: Target,
    pub context: Context,
    client: Client,
    /// Held while a lane looks into the outbox, so that what it takes is still its to take; never while it posts.
    pub lanes: tokio::sync::Mutex<Lanes>,
    pub bulk: watch::Sender<Bulk>,
    /// The urgent lane has let go of what it had.
    pub released: Notify,
    /// Counts how often a lane that was in trouble got through: the other one need not wait for the end of its pause.
    well: watch::Sender<u64>,
    pace: Mutex<Pace>,
    /// Until then the centre asked to be left alone.
    quiet: Mutex<Instant>,
    /// Until then nobody is told again that the centre gave orders that it must not give.
    hushed: Mutex<Option<Instant>>,
}

/// What the bulk lane does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    /// It takes what comes at once.
    Idle,
    /// It has had its load since then; `behind`: there is more than that.
    Busy { since: Instant, behind: bool },
}

/// One lane's own.
#[derive(Debug)]
pub struct Porter {
    pub lane: Lane,
    pub head: watch::Receiver<u64>,
    well: watch::Receiver<u64>,
    /// What the outbox said when the load was read: where it says more since, some of it may have been erased.
    pub rewritten: u64,
    /// While the centre is away.
    soon: Backoff,
    /// While it is misconfigured.
    slowly: Backoff,
    /// What it suffers from now, as told to people.
    trouble: Option<String>,
}

/// Intake takes and answers nothing any more.
struct Gone;

/// Until when there is nothing to do.
#[derive(Debug)]
pub enum Rest {
    UntilNews,
    For(Duration),
}

const SOON_FIRST: Duration = Duration::from_secs(1);
const SOON_MOST: Duration = Duration::from_secs(30);
const SLOWLY_FIRST: Duration = Duration::from_secs(60);
const SLOWLY_MOST: Duration = Duration::from_secs(15 * 60);

/// Orders likewise.
const ORDERS_AT_ONCE: usize = 8;
/// A centre that gives orders it must not give is logged this often.
const SPEAK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// Words that are with intake at one time: one transaction takes them all, and people's asks still find room.
const WORDS_AT_ONCE: usize = 16;

impl Porter {
    pub fn new(lane: Lane, courier: &Courier) -> Self {
        Self {
            lane,
            head: courier.context.head.clone(),
            well: courier.well.subscribe(),
            rewritten: courier.context.outbox.rewritten(),
            soon: Backoff::new(SOON_FIRST, SOON_MOST),
            slowly: Backoff::new(SLOWLY_FIRST, SLOWLY_MOST),
            trouble: None,
        }
    }

    pub async fn news(&mut self) {
        // Without a journal there is no more news.
        if self.head.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Courier {
    pub fn new(target: Target, context: Context) -> Result<Self, reqwest::Error> {
        let now = Instant::now();
        Ok(Self {
            client: http::client(&target)?,
            lanes: tokio::sync::Mutex::new(Lanes::new(target.batch)),
            bulk: watch::Sender::new(Bulk::Idle),
            released: Notify::new(),
            well: watch::Sender::new(0),
            pace: Mutex::new(Pace::new(target.rate, now.into_std())),
            quiet: Mutex::new(now),
            hushed: Mutex::new(None),
            target,
            context,
        })
    }

    /// Pushes until the stop, and then what is left, once.
    pub async fn carry(&self) {
        tokio::join!(bulk::run(self), urgent::run(self));
    }

    /// Request after request, until nothing is pending or something is wrong.
    pub async fn round(&self, porter: &mut Porter) -> Rest {
        loop {
            match self.step(porter).await {
                Ok(None) => {}
                Ok(Some(rest)) => return rest,
                Err(error) => {
                    let pause = porter.soon.pause();
                    self.suffer(porter, &format!("the outbox: {error}")).await;
                    self.let_go(porter.lane).await;
                    return Rest::For(pause);
                }
            }
        }
    }

    /// One request; `None`: go on at once.
    async fn step(&self, porter: &mut Porter) -> Result<Option<Rest>, store::Error> {
        let lane = porter.lane;
        let loaded = match lane {
            Lane::Bulk => bulk::load(self, porter).await?,
            Lane::Urgent => urgent::load(self, porter).await?,
        };
        if !loaded {
            return Ok(Some(Rest::UntilNews));
        }
        self.turn(lane).await;
        let (parcel, count) = self.pack(lane).await?;
        let answer = http::post(&self.client, &self.target, parcel).await;
        let decision = plan::decide(&answer.outcome, count);
        if decision == Decision::Settle && !self.follow(&answer.body).await {
            info!(consumer = %self.target.name, "The centre's words came too late to be followed; the batch is pushed again after the next start.");
            self.let_go(lane).await;
            return Ok(Some(Rest::For(porter.soon.pause())));
        }
        self.count(&decision);
        let late = answer.outcome == Outcome::Late;
        let note = self.lanes.lock().await.answered(lane, &decision, late);
        if let Some(note) = note {
            self.write(&note, &answer.words).await?;
            self.lanes.lock().await.written(lane, &note);
            self.recover(porter);
        }
        if lane == Lane::Urgent {
            self.released.notify_one();
        }
        Ok(self.rest(porter, decision, &answer).await)
    }

    /// What comes after an answer.
    async fn rest(&self, porter: &mut Porter, decision: Decision, answer: &Answer) -> Option<Rest> {
        match decision {
            Decision::Settle | Decision::SetAside | Decision::Halve => None,
            Decision::Again { after } => {
                self.suffer(porter, &answer.words).await;
                let grown = porter.soon.pause();
                let pause = after.map_or(grown, spread);
                if after.is_some() {
                    *held(&self.quiet) = Instant::now() + pause;
                }
                Some(Rest::For(pause))
            }
            Decision::Slowly => {
                self.suffer(porter, &answer.words).await;
                Some(Rest::For(porter.slowly.pause()))
            }
        }
    }

    fn recover(&self, porter: &mut Porter) {
        porter.soon.reset();
        porter.slowly.reset();
        if let Some(trouble) = porter.trouble.take() {
            info!(consumer = %self.target.name, lane = ?porter.lane, %trouble, "The centre takes events again.");
            self.well.send_modify(|times| *times += 1);
        }
    }

    /// Waits after something went wrong: for so long, or until the other lane has got through where it did not before.
    pub async fn pause(&self, porter: &mut Porter, pause: Duration) {
        porter.well.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = porter.well.changed() => porter.soon.reset(),
            () = self.context.stop.cancelled() => {}
        }
    }

    /// Until the centre wants to be spoken to, and the rate allows it. Urgent events are few; the bulk lane pays for them.
    async fn turn(&self, lane: Lane) {
        let quiet = *held(&self.quiet);
        tokio::select! {
            () = tokio::time::sleep_until(quiet) => {}
            () = self.context.stop.cancelled() => {}
        }
        if lane == Lane::Bulk {
            let wait = held(&self.pace).wait(std::time::Instant::now());
            if wait > Duration::ZERO {
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn pack(&self, lane: Lane) -> Result<(Parcel, usize), store::Error> {
        let (gateway, epoch) = (&self.context.gateway, &self.context.epoch);
        let (key, body, count, chain) = {
            let lanes = self.lanes.lock().await;
            let batch = lanes.batch(lane);
            let last = batch.last().and_then(|last| Some((last.seq, last.chain?)));
            let chain = last.map(|(seq, link)| format!("{epoch}.{seq} {link}"));
            (format!("{gateway}-{epoch}-{}", lanes.key(lane)), http::joined(batch), batch.len(), chain)
        };
        held(&self.pace).spend(count, std::time::Instant::now());
        if !self.target.compress {
            return Ok((Parcel { key, body, gzip: false, chain }, count));
        }
        let zipped = tokio::task::spawn_blocking(move || gzip::packed(&body)).await;
        let body = match zipped {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Err(store::Error::Interrupted(error.to_string())),
            Err(error) => return Err(store::Error::Interrupted(error.to_string())),
        };
        Ok((Parcel { key, body, gzip: true, chain }, count))
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
        self.order(body).await.is_ok()
    }

    /// Hands the centre's orders to intake, and waits until each is written down, as begun or as refused; not until a
    /// device has answered. An error means that intake has ended.
    async fn order(&self, body: &[u8]) -> Result<(), Gone> {
        let said = orders::said(body, &self.target);
        if said.refused() > 0 && self.may_speak() {
            warn!(consumer = %self.target.name, refused = said.refused(), why = said.why(), "Orders of the centre are not done.");
        }
        for some in said.orders.chunks(ORDERS_AT_ONCE) {
            let mut under_way = Vec::with_capacity(some.len());
            for (order, refused) in some {
                let ((begun, has_begun), (answer, answered)) = (oneshot::channel(), oneshot::channel());
                let wish = Wish { order: order.clone(), refused: refused.clone(), begun, answer };
                self.context.wishes.send(wish).await.map_err(|_| Gone)?;
                under_way.push((has_begun, answered));
            }
            for (has_begun, answered) in under_way {
                // What was refused, or done before, has never begun.
                if has_begun.await.is_err() {
                    let _ = answered.await.map_err(|_| Gone)?;
                }
            }
        }
        Ok(())
    }

    /// Once in a while: the centre may say the same with each reply.
    fn may_speak(&self) -> bool {
        let (mut hushed, now) = (held(&self.hushed), Instant::now());
        let may = hushed.is_none_or(|until| until <= now);
        if may {
            *hushed = Some(now + SPEAK_AGAIN);
        }
        may
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

    async fn write(&self, note: &Note, why: &str) -> Result<(), store::Error> {
        let name = self.target.name.clone();
        match *note {
            Note::Settle(seq) => self.move_to(seq).await,
            Note::Ahead(ref seqs) => {
                let seqs = seqs.clone();
                self.outbox(move |outbox| outbox.went_ahead(&name, &seqs, time::now())).await
            }
            Note::Aside(seq) | Note::AsideAhead(seq) => {
                warn!(consumer = %name, seq, answer = why, "The centre does not like an event; it is set aside and the rest goes on.");
                let (why, next) = (why.to_owned(), matches!(note, Note::Aside(_)));
                self.outbox(move |outbox| match next {
                    true => outbox.set_aside(&name, seq, &why, time::now()),
                    false => outbox.set_aside_ahead(&name, seq, &why, time::now()),
                })
                .await
            }
        }
    }

    /// The consumer's cursor.
    pub async fn move_to(&self, seq: u64) -> Result<(), store::Error> {
        let name = self.target.name.clone();
        let settled = self.outbox(move |outbox| outbox.settle(&name, seq, time::now())).await?;
        self.show_lag(settled.head, settled.acknowledged);
        Ok(())
    }

    /// The urgent lane's load does not hold up the bulk lane while it rests.
    async fn let_go(&self, lane: Lane) {
        if lane == Lane::Urgent {
            self.lanes.lock().await.load_urgent(Vec::new());
            self.released.notify_one();
        }
    }

    /// Tells people once what is wrong, and the store whenever it is something else.
    async fn suffer(&self, porter: &mut Porter, words: &str) {
        if porter.trouble.is_none() {
            warn!(consumer = %self.target.name, lane = ?porter.lane, trouble = words, "Events cannot be pushed; they are kept and tried again.");
        }
        if porter.trouble.as_deref() == Some(words) {
            return;
        }
        porter.trouble = Some(words.to_owned());
        let (name, words) = (self.target.name.clone(), words.to_owned());
        let noted = self.outbox(move |outbox| outbox.note(&name, Some(&words), time::now())).await;
        if let Err(error) = noted {
            warn!(consumer = %self.target.name, %error, "What the centre suffers from could not be noted.");
        }
    }

    /// The disk may take its time; the wires must not wait for it.
    pub async fn outbox<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Outbox) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, store::Error> {
        let outbox = self.context.outbox.clone();
        match tokio::task::spawn_blocking(move || work(&outbox)).await {
            Ok(done) => done,
            Err(error) => Err(store::Error::Interrupted(error.to_string())),
        }
    }

    fn count(&self, decision: &Decision) {
        let outcome = match decision {
            Decision::Settle => "accepted",
            Decision::SetAside => "set-aside",
            Decision::Again { .. } => "again",
            Decision::Slowly => "misconfigured",
            Decision::Halve => return,
        };
        let consumer = self.target.name.to_string();
        self.context.metrics.pushes.get_or_create(&Push { consumer, outcome }).inc();
    }

    pub fn show_lag(&self, head: u64, acknowledged: u64) {
        let consumer = self.target.name.to_string();
        let lag = head.saturating_sub(acknowledged);
        self.context.metrics.lag.get_or_create(&Consumer { consumer }).set(lag.cast_signed());
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
