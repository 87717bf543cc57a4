//! A store with a push running on it. Each test uses a part of it.
#![allow(dead_code)]

#[path = "../a_ticket/mod.rs"]
mod a_ticket;

use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::metrics::{Metrics, Push};
use gatehouse::secret::Secret;
use gatehouse::store::{self, ConsumerNow, Ends, Kind, Page, Settings, TicketRow};
use gatehouse::sync::{self, Context, Target};
use gatehouse::ticket::{Ask, State, Ticket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub const T0: i64 = 1_763_712_000_000;
/// For what should happen at once; generous, since the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// A gateway's store with one push running on it.
pub struct House {
    pub ends: Ends,
    pub head: watch::Sender<u64>,
    pub asks: mpsc::Receiver<Ask>,
    pub metrics: Metrics,
    pub stop: CancellationToken,
    pub push: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl House {
    /// With so many events in the journal before the push starts.
    pub async fn pushing(url: &str, events: usize) -> Self {
        Self::pushing_to(target(url), events).await
    }

    pub async fn pushing_to(target: Target, events: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::at(dir.path());
        let mut ends = store::open(&settings, "cp-017").unwrap();
        ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
        let (head, _) = watch::channel(0);
        let (_, asks) = mpsc::channel(1);
        let mut house = Self {
            ends,
            head,
            asks,
            metrics: Metrics::new(),
            stop: CancellationToken::new(),
            push: tokio::spawn(async {}),
            _dir: dir,
        };
        house.write("ticket.opened", events);
        house.push(target);
        house
    }

    pub fn push(&mut self, target: Target) {
        self.stop = CancellationToken::new();
        self.push = self.push_beside(target);
    }

    /// One more push on the same store.
    pub fn push_beside(&mut self, target: Target) -> JoinHandle<()> {
        let (asks_in, asks) = mpsc::channel(64);
        self.asks = asks;
        let context = Context {
            gateway: "cp-017".into(),
            epoch: self.ends.journal.epoch().clone(),
            outbox: self.ends.outbox.clone(),
            head: self.head.subscribe(),
            asks: asks_in,
            wishes: mpsc::channel(1).0,
            stop: self.stop.clone(),
            metrics: self.metrics.clone(),
        };
        tokio::spawn(sync::run(target, context))
    }

    pub fn write(&mut self, kind: &'static str, count: usize) {
        let draft = || Draft::new(kind, "tickets/t1".into(), T0, &serde_json::json!({"title": "水压低"}));
        let page = Page { at: T0, events: (0..count).map(|_| draft()).collect(), ..Page::default() };
        let head = self.ends.journal.commit(&page).unwrap();
        self.head.send_replace(head);
    }

    /// An event of a ticket that is then in this state; returns its number.
    pub fn tell(&mut self, kind: &'static str, id: &str, level: u8, state: State) -> u64 {
        let ticket = ticket(id, level, state);
        let page = Page {
            at: T0,
            events: vec![Draft::new(kind, format!("tickets/{id}"), T0, &ticket)],
            tickets: vec![TicketRow { ticket, subject: "".into(), life: "{}".into() }],
            ..Page::default()
        };
        let head = self.ends.journal.commit(&page).unwrap();
        self.head.send_replace(head);
        head
    }

    pub fn consumer(&self) -> ConsumerNow {
        self.ends.view.consumers().unwrap().remove(0)
    }

    /// Waits until the consumer is as wished.
    pub async fn until(&self, what: &str, is: impl Fn(&ConsumerNow) -> bool) -> ConsumerNow {
        let deadline = Instant::now() + SOON;
        loop {
            let now = self.consumer();
            if is(&now) {
                return now;
            }
            assert!(Instant::now() < deadline, "never {what}: {now:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn acknowledged(&self, seq: u64) -> ConsumerNow {
        self.until("acknowledged", |now| now.acknowledged == seq).await
    }

    pub fn key(&self, first: u64, last: u64) -> String {
        format!("cp-017-{}-{first}-{last}", self.ends.journal.epoch())
    }

    pub fn pushes(&self, outcome: &'static str) -> u64 {
        let consumer = "crm".to_owned();
        self.metrics.pushes.get_or_create(&Push { consumer, outcome }).get()
    }

    pub async fn asked(&mut self) -> Ask {
        timeout(SOON, self.asks.recv()).await.expect("nothing was asked").unwrap()
    }

    pub async fn ended(&mut self) {
        self.stop.cancel();
        timeout(SOON, &mut self.push).await.expect("the push did not end").unwrap();
    }
}

/// Fit for most.
pub fn target(url: &str) -> Target {
    Target {
        name: "crm".into(),
        url: url.into(),
        token: Some(Secret::new("s3cret")),
        tls: sync::Tls::default(),
        lacks: None,
        batch: sync::BATCH_DEFAULT,
        kinds: "ticket.*".parse().unwrap(),
        rate: sync::RATE_DEFAULT,
        compress: false,
        commands: false,
        patience: sync::PATIENCE_DEFAULT,
    }
}

pub fn ticket(id: &str, level: u8, state: State) -> Ticket {
    let closed_at = (state == State::Closed).then_some(T0);
    Ticket { level, state, closed_at, ..a_ticket::open(id, T0) }
}
