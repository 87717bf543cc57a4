//! What the two lanes of a push promise: a live ticket does not wait for a backlog, no event of it comes before an earlier
//! one of it, the drain keeps to its rate, and several centres do not hinder one another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod push_house;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use gatehouse::store::{AHEAD_MAX, Kind};
use gatehouse::sync::Target;
use gatehouse::ticket::State;
use push_house::{House, SOON, target};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// Requests with one of these are refused, or not answered until it is lifted.
#[derive(Debug, Clone, Default)]
struct Mood {
    holds: BTreeSet<u64>,
    dislikes: BTreeSet<u64>,
    fails: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Got {
    key: String,
    seqs: Vec<u64>,
    bytes: usize,
}

/// A centre that notes each request when it comes, and each event when it is taken.
#[derive(Clone)]
struct Centre {
    got: watch::Sender<Vec<Got>>,
    taken: watch::Sender<Vec<u64>>,
    mood: watch::Sender<Mood>,
    url: Arc<Mutex<String>>,
}

impl Centre {
    async fn open(mood: Mood) -> Self {
        let centre = Self {
            got: watch::Sender::new(vec![]),
            taken: watch::Sender::new(vec![]),
            mood: watch::Sender::new(mood),
            url: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        *centre.url.lock().unwrap() = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new().route("/", post(take)).with_state(centre.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        centre
    }

    fn target(&self, name: &str) -> Target {
        Target {
            name: name.into(),
            batch: 10,
            kinds: "".parse().unwrap(),
            ..target(&self.url.lock().unwrap())
        }
    }

    fn holding(&self, seqs: impl IntoIterator<Item = u64>) {
        self.mood.send_modify(|mood| mood.holds = seqs.into_iter().collect());
    }

    /// Waits until a request with this event has come.
    async fn comes(&self, seq: u64) -> Got {
        let mut got = self.got.subscribe();
        let there = got.wait_for(|all| all.iter().any(|got| got.seqs.contains(&seq)));
        timeout(SOON, there).await.unwrap_or_else(|_| panic!("{seq} did not come")).unwrap();
        let all = self.got.borrow();
        all.iter().find(|got| got.seqs.contains(&seq)).unwrap().clone()
    }

    async fn has(&self, seq: u64) {
        let mut taken = self.taken.subscribe();
        let there = taken.wait_for(|all| all.contains(&seq));
        timeout(SOON, there).await.unwrap_or_else(|_| panic!("{seq} was not taken")).unwrap();
    }

    fn taken(&self) -> Vec<u64> {
        self.taken.borrow().clone()
    }
}

async fn take(Shared(centre): Shared<Centre>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let bytes = body.len();
    let body = match header("content-encoding").as_str() {
        "gzip" => {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap();
            text
        }
        _ => body.to_vec(),
    };
    let events: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    let seqs: Vec<u64> = events.iter().map(|e| e["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert!(seqs.is_sorted(), "{seqs:?}");
    let has = |some: &BTreeSet<u64>| seqs.iter().any(|seq| some.contains(seq));
    centre.got.send_modify(|all| all.push(Got { key: header("idempotency-key"), seqs: seqs.clone(), bytes }));
    let mut mood = centre.mood.subscribe();
    mood.wait_for(|mood| !has(&mood.holds)).await.unwrap();
    if has(&mood.borrow().dislikes) {
        return StatusCode::UNPROCESSABLE_ENTITY;
    }
    if has(&mood.borrow().fails) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    centre.taken.send_modify(|all| all.extend(&seqs));
    StatusCode::OK
}

#[tokio::test]
async fn a_live_ticket_goes_ahead_of_a_backlog_that_does_not_move_and_its_events_stay_in_order() {
    let centre = Centre::open(Mood { holds: (1..=10).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(centre.target("crm"), 95).await;
    centre.comes(1).await;
    let opened = house.tell("ticket.opened", "live", 1, State::Open);
    let got = centre.comes(opened).await;
    assert_eq!((got.seqs, got.key), (vec![96], house.key(96, 96)));
    centre.has(opened).await;
    let later = house.tell("ticket.acknowledged", "live", 1, State::Acknowledged);
    centre.has(later).await;
    assert_eq!((centre.taken(), house.consumer().acknowledged), (vec![96, 97], 0));

    centre.holding([]);
    house.acknowledged(97).await;
    let expected: Vec<u64> = [96, 97].into_iter().chain(1..=95).collect();
    assert_eq!(centre.taken(), expected, "the rest in order, and nothing twice");
}

#[tokio::test]
async fn urgent_ones_come_first_and_of_one_level_the_newest() {
    let centre = Centre::open(Mood { holds: (1..=10).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(Target { batch: 10, ..centre.target("crm") }, 30).await;
    centre.comes(1).await;
    // Held in their turn, so that the next ones come together.
    let first = house.tell("ticket.opened", "first", 3, State::Open);
    centre.holding((1..=10).chain([first]));
    centre.comes(first).await;
    let slow: Vec<u64> =
        (0..60).map(|n| house.tell("ticket.opened", &format!("c{n}"), 3, State::Open)).collect();
    let urgent = house.tell("ticket.opened", "u", 1, State::Open);
    let closed = house.tell("ticket.closed", "gone", 1, State::Closed);
    centre.holding(1..=10);
    let got = centre.comes(urgent).await;
    assert_eq!(got.seqs.len(), 50, "not more than makes a short request");
    let newest: Vec<u64> = slow[11..].iter().copied().chain([urgent]).collect();
    assert_eq!(got.seqs, newest);
    centre.holding([]);
    house.acknowledged(closed).await;
    let mut all = centre.taken();
    assert!(
        all.iter().position(|s| *s == closed) > all.iter().position(|s| *s == 30),
        "a closed one is in no hurry"
    );
    all.sort_unstable();
    assert_eq!(all, (1..=closed).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn a_ticket_that_the_bulk_lane_has_in_hand_waits_for_it() {
    let centre = Centre::open(Mood { holds: [1].into(), ..Mood::default() }).await;
    let mut house = House::pushing_to(centre.target("crm"), 0).await;
    let opened = house.tell("ticket.opened", "live", 1, State::Open);
    centre.comes(opened).await;
    house.write("device.online", 20);
    let later = house.tell("ticket.cleared", "live", 1, State::Open);
    let other = house.tell("ticket.opened", "other", 3, State::Open);
    centre.has(other).await;
    assert_eq!(centre.taken(), [other], "its own first event is still under way");
    centre.holding([]);
    house.acknowledged(other).await;
    let taken = centre.taken();
    let place = |seq| taken.iter().position(|taken| *taken == seq).unwrap();
    assert!(place(opened) < place(later) && taken.len() == 23, "{taken:?}");
}

#[tokio::test]
async fn what_one_lane_cannot_deliver_does_not_stop_the_other() {
    // An urgent one that is disliked, and one that always fails.
    let centre =
        Centre::open(Mood { holds: (1..=10).collect(), dislikes: [41].into(), fails: [43].into() }).await;
    let mut house = House::pushing_to(centre.target("crm"), 40).await;
    centre.comes(1).await;
    assert_eq!(house.tell("ticket.opened", "bad", 1, State::Open), 41);
    house.until("set aside", |now| now.set_aside == [41]).await;
    assert_eq!(house.tell("ticket.opened", "good", 1, State::Open), 42);
    centre.has(42).await;
    assert_eq!(house.tell("ticket.opened", "failing", 1, State::Open), 43);
    centre.comes(43).await;
    assert_eq!(house.consumer().acknowledged, 0);
    centre.holding([]);
    house.acknowledged(40).await;
    centre.mood.send_modify(|mood| mood.fails.clear());
    let now = house.acknowledged(43).await;
    assert_eq!(now.set_aside, [41], "it stays shown");
    let mut taken = centre.taken();
    taken.sort_unstable();
    assert_eq!(taken, (1..=40).chain([42, 43]).collect::<Vec<_>>(), "each other one once");

    // And a backlog that always fails.
    let centre = Centre::open(Mood { fails: (1..=10).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(centre.target("crm"), 40).await;
    house.until("failing", |now| now.error.is_some()).await;
    let live = house.tell("ticket.opened", "live", 1, State::Open);
    centre.has(live).await;
    assert_eq!((centre.taken(), house.consumer().acknowledged), (vec![live], 0));
}

#[tokio::test]
async fn a_restart_remembers_what_went_ahead() {
    let centre = Centre::open(Mood { holds: (1..=10).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(centre.target("crm"), 40).await;
    centre.comes(1).await;
    let live = house.tell("ticket.opened", "live", 1, State::Open);
    centre.has(live).await;
    // The answer was sent; that it was written shows in that the next look does not find it.
    let outbox = house.ends.outbox.clone();
    let deadline = Instant::now() + SOON;
    while !outbox.urgent("crm", 0, 50, &"".parse().unwrap()).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "never remembered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.push.abort();
    house.write("device.online", 2);
    house.push(centre.target("crm"));
    centre.holding([]);
    house.acknowledged(43).await;
    let again = centre.taken().iter().filter(|seq| **seq == live).count();
    assert_eq!(again, 1);
    let over = centre.got.borrow().iter().find(|got| got.seqs.contains(&42)).unwrap().clone();
    assert_eq!(over.seqs, [42, 43], "{over:?}");
}

#[tokio::test]
async fn a_drain_keeps_to_its_rate() {
    let centre = Centre::open(Mood::default()).await;
    let begun = Instant::now();
    let house = House::pushing_to(Target { rate: 200, ..centre.target("crm") }, 300).await;
    house.acknowledged(300).await;
    assert!(begun.elapsed() >= Duration::from_millis(1300), "{:?}", begun.elapsed());
    assert_eq!(centre.taken(), (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_centre_that_can_read_gzip_gets_less() {
    let mut sizes = Vec::new();
    for compress in [false, true] {
        let centre = Centre::open(Mood::default()).await;
        let house = House::pushing_to(Target { compress, batch: 500, ..centre.target("crm") }, 200).await;
        house.acknowledged(200).await;
        assert_eq!(centre.taken(), (1..=200).collect::<Vec<_>>());
        sizes.push(centre.got.borrow()[0].bytes);
    }
    assert!(sizes[1] * 5 < sizes[0], "{sizes:?}");
}

#[tokio::test]
async fn each_centre_gets_its_own_kinds_and_one_that_is_down_slows_no_other() {
    let all = Centre::open(Mood::default()).await;
    let tickets = Centre::open(Mood::default()).await;
    let stuck = Centre::open(Mood { holds: (1..=200).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(all.target("crm"), 0).await;
    let named = ["crm", "desk", "stuck"].map(|name| (name.into(), Kind::Push, true));
    house.ends.journal.keep_consumers(&named).unwrap();
    house.push_beside(Target { kinds: "ticket.*".parse().unwrap(), ..tickets.target("desk") });
    house.push_beside(stuck.target("stuck"));
    for n in 0..20 {
        house.write("device.online", 3);
        house.tell("ticket.opened", &format!("n{n}"), 3, State::Open);
    }
    house.acknowledged(80).await;
    let cursor = |house: &House, name: &str| house.ends.outbox.acknowledged(name).unwrap();
    let deadline = Instant::now() + SOON;
    while cursor(&house, "desk") < 80 {
        assert!(Instant::now() < deadline, "the desk has {}", cursor(&house, "desk"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cursor(&house, "stuck"), 0);
    let sorted = |centre: &Centre| {
        let mut taken = centre.taken();
        taken.sort_unstable();
        taken
    };
    assert_eq!(sorted(&all), (1..=80).collect::<Vec<_>>());
    assert_eq!(sorted(&tickets), (1..=20).map(|n| n * 4).collect::<Vec<_>>());
    let day = Duration::from_secs(24 * 3600);
    let later = push_house::T0 + 365 * 24 * 3600 * 1000;
    assert_eq!(house.ends.journal.retire(later, day).unwrap(), 0, "one has nothing yet");

    // It is taken out of the configuration, and nothing waits for it; then it is put back, and goes on where it was.
    let without = ["crm", "desk"].map(|name| (name.into(), Kind::Push, true));
    house.ends.journal.keep_consumers(&without).unwrap();
    assert_eq!(house.ends.journal.retire(later, day).unwrap(), 3, "up to the first unclosed ticket");
    house.ends.journal.keep_consumers(&named).unwrap();
    assert_eq!(house.ends.journal.retire(later, day).unwrap(), 0);
    stuck.holding([]);
    let deadline = Instant::now() + SOON;
    while cursor(&house, "stuck") < 80 {
        assert!(Instant::now() < deadline, "stuck still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sorted(&stuck), (1..=80).collect::<Vec<_>>());

    // One that comes later gets what is still kept.
    let new = Centre::open(Mood::default()).await;
    house.push_beside(new.target("new"));
    new.has(80).await;
    assert_eq!(sorted(&new)[0], 4);
}

#[tokio::test]
async fn a_filter_that_is_changed_counts_from_the_cursor_on() {
    let centre = Centre::open(Mood::default()).await;
    let mut house =
        House::pushing_to(Target { kinds: "ticket.*".parse().unwrap(), ..centre.target("crm") }, 0).await;
    house.write("device.online", 2);
    house.write("ticket.opened", 1);
    house.acknowledged(3).await;
    house.ended().await;
    house.push(Target { kinds: "device.*".parse().unwrap(), ..centre.target("crm") });
    house.write("ticket.opened", 1);
    house.write("device.online", 2);
    house.acknowledged(6).await;
    assert_eq!(centre.taken(), [3, 5, 6]);
}

/// The bound on what is remembered, and who has the rest of it.
#[tokio::test]
async fn when_too_much_went_ahead_only_the_most_urgent_still_do() {
    let centre = Centre::open(Mood { holds: (1..=10).collect(), ..Mood::default() }).await;
    let mut house = House::pushing_to(centre.target("crm"), AHEAD_MAX + 100).await;
    let seqs = |count: usize| (100..100 + count as u64).collect::<Vec<_>>();
    house.ends.outbox.went_ahead("crm", &seqs(AHEAD_MAX / 2), push_house::T0).unwrap();
    let ordinary = house.tell("ticket.opened", "ordinary", 2, State::Open);
    let urgent = house.tell("ticket.opened", "urgent", 1, State::Open);
    let found = |house: &House| {
        let events = house.ends.outbox.urgent("other", 0, 50, &"".parse().unwrap()).unwrap();
        events.iter().map(|event| event.seq).collect::<Vec<_>>()
    };
    assert_eq!(found(&house), [ordinary, urgent], "of another consumer");
    centre.has(urgent).await;
    assert!(!centre.taken().contains(&ordinary));
    house.ends.outbox.went_ahead("other", &seqs(AHEAD_MAX), push_house::T0).unwrap();
    assert_eq!(found(&house), [] as [u64; 0]);
}
