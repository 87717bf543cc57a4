//! Keeps the channel's connection: connects, subscribes, hands on what is heard, acknowledges it once it is on the disk, and
//! takes leave.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::inbox::{Changed, Heard, Inbox, Message};
use super::line::{Ear, Lost, MIB, Mail, Mouth, PACKET_MAX, Place, Session, Word, bound_for};
use super::owed::Owed;
use super::seen::Seen;
use super::{Settings, topic};
use crate::backoff::Backoff;
use crate::fault::contain;
use crate::field::stumble::Stumbles;
use crate::field::{Channel, Context, Kind, Next};
use crate::metrics::Request;
use crate::numbers::Numbers;
use crate::reading::{Batch, PointId, Site};
use crate::time::now;

const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// A connection that stood this long was a good one: the next pause begins small again.
const STOOD: Duration = Duration::from_secs(5);
/// When it has to stop: how long intake may take for what was received, the disk for it, the broker to read our acknowledgements,
/// and for the goodbye.
const LAST_BATCHES: Duration = Duration::from_millis(300);
const LAST_RECEIPTS: Duration = Duration::from_millis(300);
const LAST_HEARD: Duration = Duration::from_secs(1);
const GOODBYE: Duration = Duration::from_millis(300);

/// So many topics are remembered that have said something too large; it is told once for each.
const LARGE_KNOWN: usize = 256;

/// The mouth for others who want to say something; `None` while there is no connection. Who cancels has the connection made
/// anew, and what was not said by then is not said any more.
pub type Shared = Arc<Mutex<Option<(Mouth, CancellationToken)>>>;

pub struct Link {
    channel: Arc<str>,
    broker: String,
    timeout: Duration,
    /// Its name at the broker.
    id: String,
    place: Place,
    mouth: Mouth,
    ear: Ear,
    /// Of this connection.
    cut: CancellationToken,
    shared: Shared,
    inbox: Inbox,
    owed: Owed,
    /// Why its devices are offline, where they were told so for the broker's sake.
    outage: Option<String>,
    /// Filters that nobody wants any more, until the broker has been told.
    unwanted: BTreeSet<String>,
    /// Topics that have said something too large to be a reading.
    large: Seen,
    stumbles: Stumbles,
    /// The last payload that was put aside. The connection would go on reading into its memory; it takes memory of its own,
    /// and this is given back, since somebody else holds it.
    aside: Option<Mail>,
    /// When time was last counted for those who have to speak by themselves.
    heard_at: Instant,
    context: Context,
}

impl Link {
    pub fn new(
        channel: Arc<str>,
        id: String,
        place: Place,
        inbox: Inbox,
        shared: Shared,
        context: Context,
    ) -> Self {
        let broker = format!("{}:{}", place.settings.host, place.settings.port);
        let (mouth, ear) = place.open(&id, Session::Kept, PACKET_MAX);
        let timeout = place.settings.timeout;
        let heard_at = Instant::now();
        let owed = Owed::default();
        let (large, aside) = (Seen::new(LARGE_KNOWN), None);
        let stumbles = Stumbles::new(channel.clone(), context.site.clone(), context.metrics.clone());
        Self {
            channel,
            broker,
            timeout,
            id,
            place,
            mouth,
            ear,
            cut: CancellationToken::new(),
            shared,
            inbox,
            owed,
            outage: None,
            unwanted: BTreeSet::new(),
            large,
            stumbles,
            aside,
            heard_at,
            context,
        }
    }

    /// Until it has to stop.
    pub async fn run(&mut self) {
        self.listen().await;
        let cut = self.cut.clone();
        // With the goodbye all goes out that waits.
        cut.run_until_cancelled(Box::pin(self.part())).await;
    }

    /// `None`: it has to stop.
    async fn listen(&mut self) -> Option<Infallible> {
        let stop = self.context.stop.clone();
        let mut backoff = Backoff::new(PAUSE_FIRST, PAUSE_MOST);
        // An outage lasts until a connection stands for a while; its devices may come and go meanwhile.
        let mut logged = false;
        loop {
            let why = match stop.run_until_cancelled(self.connect()).await? {
                Ok(()) => {
                    let found = self.inbox.found(now());
                    self.hand_on(found.into_iter().collect()).await;
                    if self.outage.take().is_some() {
                        let back = self.inbox.back(now());
                        self.hand_on(back).await;
                    }
                    let since = Instant::now();
                    let Lost { why, bytes } = self.take_messages().await?;
                    if self.cut.is_cancelled() {
                        tracing::warn!(channel = &*self.channel, why, "the connection is made anew");
                        self.count("broken");
                        self.open(PACKET_MAX);
                        continue;
                    }
                    if let Some(bound) = bytes.and_then(bound_for) {
                        self.make_room(bound);
                        continue;
                    }
                    if since.elapsed() >= STOOD {
                        backoff.reset();
                        logged = false;
                    }
                    // A message that nobody takes stops the channel again and again, though it connects each time.
                    logged &= bytes.is_none();
                    format!("broker {} is lost: {why}", self.broker)
                }
                Err(why) => format!("broker {} is not there: {why}", self.broker),
            };
            self.count("broken");
            self.open(PACKET_MAX);
            if !logged {
                logged = true;
                tracing::warn!(channel = &*self.channel, why, "the broker is gone, its devices are offline");
            }
            if self.outage.is_none() {
                let lost = self.inbox.lost(&why, now());
                self.hand_on(lost).await;
                self.outage = Some(why);
            }
            stop.run_until_cancelled(self.wait(backoff.pause())).await?;
        }
    }

    /// A connection that takes what the last one could not. The bound only grows until a connection ends otherwise, so that this
    /// happens a few times in a row at the most.
    fn make_room(&mut self, bound: u32) {
        tracing::warn!(
            channel = &*self.channel,
            mib = bound / MIB,
            "a message is too large; the connection is made anew with room to put it aside"
        );
        self.count("broken");
        self.open(bound);
    }

    /// A new connection; what the last one was owed it cannot be given any more.
    fn open(&mut self, bound: u32) {
        (self.mouth, self.ear) = self.place.open(&self.id, Session::Kept, bound);
        self.cut = CancellationToken::new();
        self.owed.forget();
        self.aside = None;
    }

    /// Connects and subscribes. An error says why, for people.
    async fn connect(&mut self) -> Result<(), String> {
        // Without a connection it does nothing but connect, and its first word is the greeting.
        match timeout(self.timeout, self.ear.next()).await {
            Ok(Ok(Word::Greeting)) => {}
            Ok(Ok(_)) => return Err("it says something else before its greeting".into()),
            Ok(Err(lost)) => return Err(lost.why),
            Err(_) => return Err(format!("no connection within {:?}", self.timeout)),
        }
        let filters = self.inbox.filters().into_iter().filter(|filter| topic::is_filter(filter));
        self.mouth.subscribe(filters, true)?;
        self.mouth.unsubscribe(std::mem::take(&mut self.unwanted).into_iter().collect())?;
        self.heard_at = Instant::now();
        self.share(Some((self.mouth.clone(), self.cut.clone())));
        tracing::info!(channel = &*self.channel, broker = self.broker, "connected to the broker");
        Ok(())
    }

    /// Until the connection breaks; gives back why. `None`: it has to stop.
    async fn take_messages(&mut self) -> Option<Lost> {
        let stop = self.context.stop.clone();
        loop {
            let lost = match stop.run_until_cancelled(self.next()).await? {
                Ok(Step::Change(next)) => match self.change(next).await {
                    Ok(()) => continue,
                    Err(why) => why.into(),
                },
                Ok(Step::Word(word)) => match self.take(word).await {
                    true => continue,
                    false if stop.is_cancelled() => return None,
                    false => "nobody takes its messages".to_owned().into(),
                },
                Err(lost) => lost,
            };
            self.share(None);
            // What was received before it broke. It can no longer be acknowledged, so it may come twice.
            for mail in self.ear.rest() {
                let heard = self.heard(&mail);
                self.hand_on(heard.batches).await;
            }
            return Some(lost);
        }
    }

    /// The next word, or other devices. What comes to the disk meanwhile is acknowledged.
    async fn next(&mut self) -> Result<Step, Lost> {
        let Self { ear, mouth, owed, context, cut, .. } = self;
        let unsaid = || Lost::from("its acknowledgements cannot be sent".to_owned());
        let late = || Lost::from("an order was not taken in time and must not be told later".to_owned());
        while owed.is_full() {
            cut.run_until_cancelled(owed.ripe()).await.ok_or_else(late)?;
            owed.settle(mouth).then_some(()).ok_or_else(unsaid)?;
        }
        let mut next = pin!(ear.next());
        loop {
            tokio::select! {
                biased;
                () = cut.cancelled() => return Err(late()),
                // First, or a broker that never falls silent would keep them out.
                next = context.changes.next() => return Ok(Step::Change(next)),
                word = &mut next => return word.map(Step::Word),
                () = owed.ripe() => owed.settle(mouth).then_some(()).ok_or_else(unsaid)?,
            }
        }
    }

    /// As long as there is no connection. Other devices that come meanwhile learn that the broker is gone.
    async fn wait(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while let Ok(next) = timeout_at(until, self.context.changes.next()).await {
            // Nothing is said to a broker that is not there.
            let _ = self.change(next).await;
        }
    }

    /// Other devices, counted by another site: what is received from now on is theirs.
    async fn change(&mut self, next: Next) -> Result<(), String> {
        let Next { channel, site, out, lane: _ } = next;
        let Kind::Mqtt(Settings { devices, .. }) = channel.kind else { return Ok(()) };
        let old = &self.context.site;
        let mut numbers = Numbers::between(old, &site);
        // A value in another unit is another value, and is wanted anew.
        let facts = |site: &Site, id: PointId| (site.point(id).unit.clone(), site.point(id).range);
        numbers.keep_points(|from, to| facts(old, from) == facts(&site, to));
        let mut before = self.inbox.filters();
        let Changed { new, wanted } = self.inbox.change(devices, &numbers);
        self.stumbles = Stumbles::new(self.channel.clone(), site.clone(), self.context.metrics.clone());
        (self.context.site, self.context.out) = (site, out);
        self.unwanted.append(&mut before);
        let now_wanted = self.inbox.filters();
        self.unwanted.retain(|filter| topic::is_filter(filter) && !now_wanted.contains(filter));
        tracing::info!(channel = &*self.channel, new = new.len(), "the channel goes on with other devices");
        if let Some(why) = self.outage.clone() {
            let mut lost = self.inbox.lost(&why, now());
            lost.retain(|batch| new.contains(&batch.device));
            self.hand_on(lost).await;
        }
        if !self.ear.is_connected() {
            return Ok(());
        }
        // Where there was no device before, nobody has said so yet.
        let found = self.inbox.found(now());
        self.hand_on(found.into_iter().collect()).await;
        self.mouth.subscribe(wanted.into_iter().filter(|filter| topic::is_filter(filter)), true)?;
        self.mouth.unsubscribe(std::mem::take(&mut self.unwanted).into_iter().collect())
    }

    /// Whether intake took what it says.
    async fn take(&mut self, word: Word) -> bool {
        self.aside.take_if(|aside| aside.is_sole_holder());
        let taken = match word {
            Word::Message(mail) => self.take_mail(mail).await,
            Word::Subscribed { refused: 0 } | Word::Greeting | Word::Other => true,
            Word::Subscribed { refused } => {
                tracing::warn!(
                    channel = &*self.channel,
                    refused,
                    "the broker refuses subscriptions; may this login read the topics?"
                );
                true
            }
        };
        // The keep-alive sees to it that this is never long after the last time.
        let passed = self.heard_at.elapsed();
        self.heard_at += passed;
        let gone = self.inbox.passed(passed, now());
        taken && self.hand_on(gone).await
    }

    async fn take_mail(&mut self, mut mail: Mail) -> bool {
        self.count("ok");
        if is_large(&mail) {
            self.tell_of_large(&mail);
            self.aside = Some(mail.take_payload());
            self.owed.push(mail, Vec::new());
            return true;
        }
        let mut heard = self.heard(&mail);
        self.owed.for_signing(&mut heard.batches);
        let taken = self.hand_on(heard.batches).await;
        if taken {
            self.owed.push(mail, heard.replies);
        }
        taken
    }

    fn tell_of_large(&mut self, mail: &Mail) {
        let (topic, bytes) = (mail.topic().unwrap_or_default(), mail.payload().len());
        if self.large.is_new(topic) {
            tracing::warn!(
                channel = &*self.channel,
                topic,
                bytes,
                "a message is too large to be a reading and is put aside; narrow the topics of this channel so that it is \
                 not among them"
            );
        }
    }

    fn heard(&mut self, mail: &Mail) -> Heard {
        let Some(topic) = mail.topic().filter(|_| !is_large(mail)) else {
            return Heard::default();
        };
        let message = Message { topic, payload: mail.payload(), retained: mail.retained() };
        let Self { inbox, stumbles, .. } = self;
        let heard = contain(|| inbox.take(message, now())).unwrap_or_else(|fault| {
            // It is acknowledged all the same, or it would come again for ever.
            stumbles.over(None, &fault);
            Heard::default()
        });
        for (device, fault) in &heard.faults {
            stumbles.over(*device, fault);
        }
        heard
    }

    /// Whether intake took all of it. It may take its time, until the channel has to stop.
    async fn hand_on(&self, batches: Vec<Batch>) -> bool {
        let all = async {
            for batch in batches {
                self.context.out.send(batch).await?;
            }
            Ok::<_, SendError<Batch>>(())
        };
        let patience = async {
            self.context.stop.cancelled().await;
            sleep(LAST_BATCHES).await;
        };
        tokio::select! {
            biased;
            taken = all => taken.is_ok(),
            () = patience => false,
        }
    }

    /// Hands on what was received, then takes leave: a polite goodbye keeps the session and spares the broker a
    /// warning. What there is no time for comes again, since it was not acknowledged.
    async fn part(&mut self) {
        if !self.ear.is_connected() {
            return;
        }
        for mail in self.ear.rest() {
            if !self.take_mail(mail).await {
                return;
            }
        }
        let last = async {
            while self.owed.settle(&self.mouth) && !self.owed.is_empty() {
                self.owed.ripe().await;
            }
        };
        let _ = timeout(LAST_RECEIPTS, last).await;
        // The connection ends without lingering: what the broker has not read by then it never will.
        let (ear, mouth) = (&mut self.ear, &self.mouth);
        let gone = async { while ear.next().await.is_ok() {} };
        let _ = timeout(LAST_HEARD, async {
            tokio::select! { _ = mouth.is_answered() => {}, () = gone => {} }
        })
        .await;
        if self.mouth.part() {
            let _ = timeout(GOODBYE, async { while self.ear.next().await.is_ok() {} }).await;
        }
    }

    fn share(&self, shared: Option<(Mouth, CancellationToken)>) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = shared;
    }

    fn count(&self, outcome: &'static str) {
        let request = Request { channel: self.channel.to_string(), outcome };
        self.context.metrics.requests.get_or_create(&request).inc();
    }
}

/// What comes next.
enum Step {
    Word(Word),
    Change(Next),
}

/// What was taken only so that it does not come again.
fn is_large(mail: &Mail) -> bool {
    mail.payload().len() > PACKET_MAX as usize
}

/// Without usable certificates there is no connection to try; its devices are offline until the configuration is another.
pub async fn cannot_begin(channel: &str, settings: Settings, why: &str, context: &Context) {
    let why = format!("broker {}:{} cannot be reached by TLS: {why}", settings.host, settings.port);
    tracing::error!(channel, why, "the channel cannot begin");
    let (mut devices, mut out, mut changes) =
        (settings.devices, context.out.clone(), context.changes.clone());
    loop {
        for batch in Inbox::new(devices, None).lost(&why, now()) {
            if out.send(batch).await.is_err() {
                return;
            }
        }
        let next = context.stop.run_until_cancelled(changes.next()).await;
        let Some(Next { channel: Channel { kind: Kind::Mqtt(next), .. }, out: by, .. }) = next else {
            return;
        };
        (devices, out) = (next.devices, by);
    }
}
