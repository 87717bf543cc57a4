//! What the push promises, over the contract's table: an answer moves the cursor or it does not, a batch is tried
//! again unchanged, and whatever the centre does, every event arrives in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod push_house;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use gatehouse::metrics::Consumer;
use gatehouse::sync::Target;
use gatehouse::ticket::{Action, Refusal, Ticket, Verb};
use push_house::{House, SOON, target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A request as the centre got it.
#[derive(Debug, Clone, PartialEq)]
struct Got {
    key: String,
    seqs: Vec<u64>,
    kind: String,
    auth: String,
    body: String,
}

/// A centre that answers by a script, and `200` after its end.
struct Centre {
    url: String,
    got: mpsc::UnboundedReceiver<Got>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Response>>>,
    /// Sequence numbers that are never liked, and how that is said.
    bad: Arc<(Vec<u64>, u16)>,
    got: mpsc::UnboundedSender<Got>,
}

impl Centre {
    async fn answering(answers: Vec<Response>) -> Self {
        Self::scripted(answers, vec![], 0).await
    }

    async fn disliking(bad: Vec<u64>, status: u16) -> Self {
        Self::scripted(vec![], bad, status).await
    }

    async fn scripted(answers: Vec<Response>, bad: Vec<u64>, status: u16) -> Self {
        let (tell, got) = mpsc::unbounded_channel();
        let script =
            Script { answers: Arc::new(Mutex::new(answers.into())), bad: Arc::new((bad, status)), got: tell };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/events", post(take))
            .route("/elsewhere", post(take).get(take))
            .with_state(script);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, got, server }
    }

    async fn next(&mut self) -> Got {
        timeout(SOON, self.got.recv()).await.expect("no request came").unwrap()
    }
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(Shared(script): Shared<Script>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |v| v.to_str().unwrap()).to_owned();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let events: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    let seqs: Vec<u64> =
        events.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect();
    let disliked = seqs.iter().any(|seq| script.bad.0.contains(seq));
    let got = Got {
        key: header("idempotency-key"),
        seqs,
        kind: header("content-type"),
        auth: header("authorization"),
        body,
    };
    let _ = script.got.send(got);
    if disliked {
        return answer(script.bad.1, "");
    }
    let scripted = script.answers.lock().unwrap().pop_front();
    scripted.unwrap_or_else(|| StatusCode::OK.into_response())
}

fn answer(status: u16, body: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), body.to_owned()).into_response()
}

fn with(status: u16, header: (&'static str, &'static str), body: &str) -> Response {
    (StatusCode::from_u16(status).unwrap(), [header], body.to_owned()).into_response()
}

#[tokio::test]
async fn a_batch_is_the_stored_events_in_order_and_an_empty_or_json_answer_acknowledges_it() {
    for (status, body) in [(200, ""), (204, ""), (200, r#"{"tickets":[]}"#), (202, "null")] {
        let mut centre = Centre::answering(vec![answer(status, body)]).await;
        let house = House::pushing(&centre.url, 3).await;
        let got = centre.next().await;
        assert_eq!(got.key, house.key(1, 3));
        assert_eq!(got.kind, "application/cloudevents-batch+json");
        assert_eq!(got.auth, "Bearer s3cret");
        let slice = house.ends.view.events(0, 10, &"".parse().unwrap()).unwrap();
        let stored: Vec<_> = slice.events.iter().map(|event| event.json.as_str()).collect();
        assert_eq!(got.body, format!("[{}]", stored.join(",")));
        let now = house.acknowledged(3).await;
        assert_eq!((now.lag, now.error), (0, None));
        assert_eq!(house.pushes("accepted"), 1);
    }
}

#[tokio::test]
async fn an_event_wakes_the_push_and_goes_alone() {
    let mut centre = Centre::answering(vec![]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    centre.next().await;
    house.acknowledged(1).await;
    for seq in 2..=5 {
        let written = Instant::now();
        house.write("ticket.cleared", 1);
        assert_eq!(centre.next().await.seqs, [seq]);
        assert!(written.elapsed() < Duration::from_millis(500), "{:?}", written.elapsed());
    }
}

#[tokio::test]
async fn a_long_backlog_goes_in_batches_in_order() {
    let mut centre = Centre::answering(vec![]).await;
    let small = Target { batch: 3, ..target(&centre.url) };
    let house = House::pushing_to(small, 8).await;
    for (first, last) in [(1, 3), (4, 6), (7, 8)] {
        let got = centre.next().await;
        assert_eq!(got.seqs, (first..=last).collect::<Vec<_>>());
        assert_eq!(got.key, house.key(first, last));
    }
    house.acknowledged(8).await;
}

#[tokio::test]
async fn kinds_that_are_not_wanted_are_passed_over_without_a_request() {
    let mut centre = Centre::answering(vec![]).await;
    let mut house = House::pushing(&centre.url, 0).await;
    house.write("device.online", 3);
    house.acknowledged(3).await;
    house.write("device.online", 1);
    house.write("ticket.opened", 1);
    house.write("device.online", 1);
    house.acknowledged(6).await;
    let mut seqs = centre.next().await.seqs;
    while let Ok(more) = centre.got.try_recv() {
        seqs.extend(more.seqs);
    }
    assert_eq!(seqs, [5]);
}

/// Every row of a misconfigured centre: nothing moves, it is shown, and the same batch goes when it is put right.
#[tokio::test]
async fn a_misconfigured_centre_moves_nothing_and_loses_nothing() {
    let rows = [
        ("a captive portal", with(200, ("content-type", "text/html"), "<html>log in</html>")),
        ("a portal that lies about it", with(200, ("content-type", "application/json"), "<html>")),
        ("half of a JSON text", answer(200, r#"{"tickets":["#)),
        ("a text", answer(200, "OK")),
        ("too much", answer(200, &format!("\"{}\"", "x".repeat(2 << 20)))),
        ("moved", with(301, ("location", "/elsewhere"), "")),
        ("found", with(302, ("location", "/elsewhere"), "")),
        ("temporary", with(307, ("location", "/elsewhere"), "")),
        ("no token", answer(401, "")),
        ("forbidden", answer(403, "{}")),
        ("not found", answer(404, "<html>")),
        ("a teapot", answer(418, "")),
    ];
    for (row, wrong) in rows {
        let status = wrong.status().as_u16().to_string();
        let mut centre = Centre::answering(vec![wrong]).await;
        let mut house = House::pushing(&centre.url, 3).await;
        let first = centre.next().await;
        let now = house.until(row, |now| now.error.is_some()).await;
        assert!(now.error.as_ref().unwrap().starts_with(&status), "{row}: {now:?}");
        assert_eq!((now.acknowledged, now.lag), (0, 3), "{row}");
        assert_eq!(house.pushes("misconfigured"), 1, "{row}");
        // News do not hurry it, and a redirect is not followed.
        house.write("ticket.cleared", 1);
        assert!(timeout(Duration::from_millis(50), centre.got.recv()).await.is_err(), "{row}");
        // The last round of an orderly end comes before the slow pause is over.
        house.ended().await;
        assert_eq!(centre.next().await, first, "{row}: the same batch, unchanged");
        assert_eq!(centre.next().await.seqs, [4], "{row}");
        let now = house.consumer();
        assert_eq!((now.acknowledged, now.error, now.set_aside), (4, None, vec![]), "{row}");
    }
}

#[tokio::test]
async fn a_misconfigured_centre_is_tried_slowly_and_an_absent_one_soon() {
    let mut misconfigured = Centre::answering(vec![answer(401, "")]).await;
    let _one = House::pushing(&misconfigured.url, 1).await;
    let mut absent = Centre::answering(vec![answer(503, "")]).await;
    let _other = House::pushing(&absent.url, 1).await;
    misconfigured.next().await;
    let first = absent.next().await;
    assert_eq!(absent.next().await, first);
    assert!(timeout(Duration::from_secs(1), misconfigured.got.recv()).await.is_err());
}

#[tokio::test]
async fn a_centre_that_is_away_gets_the_same_batch_again_before_anything_newer() {
    let answers = vec![answer(503, "<html>"), answer(408, "")];
    let mut centre = Centre::answering(answers).await;
    let mut house = House::pushing(&centre.url, 2).await;
    let first = centre.next().await;
    let now = house.until("shown", |now| now.error.is_some()).await;
    assert!(now.error.unwrap().contains("503"));
    assert_eq!(now.acknowledged, 0);
    house.write("ticket.cleared", 1);
    for _ in 0..2 {
        assert_eq!(centre.next().await, first);
    }
    assert_eq!(centre.next().await.seqs, [3]);
    let now = house.acknowledged(3).await;
    assert_eq!(now.error, None);
    assert_eq!((house.pushes("again"), house.pushes("accepted")), (2, 2));
}

#[tokio::test]
async fn the_centre_says_how_long_it_wants_to_be_left_alone() {
    let mut centre = Centre::answering(vec![with(429, ("retry-after", "3"), ""), answer(425, "")]).await;
    let house = House::pushing(&centre.url, 2).await;
    let first = centre.next().await;
    let asked = Instant::now();
    assert_eq!(centre.next().await, first);
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(2900) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(centre.next().await, first);
    house.acknowledged(2).await;
}

/// A centre of bare bytes: says `reply` to one request, then closes.
async fn say(listener: &TcpListener, reply: &[u8]) {
    let (mut peer, _) = timeout(SOON, listener.accept()).await.expect("no one came").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"}]") {
        assert!(peer.read_buf(&mut seen).await.unwrap() > 0, "the request broke off");
    }
    peer.write_all(reply).await.unwrap();
    peer.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_no_reply() {
    let cut: [&[u8]; 4] = [
        b"",
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ];
    for reply in cut {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let house = House::pushing(&url, 2).await;
        say(&listener, reply).await;
        let now = house.until("shown", |now| now.error.is_some()).await;
        assert_eq!(now.acknowledged, 0, "{}", String::from_utf8_lossy(reply));
        assert_eq!(house.pushes("again"), 1);
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
        say(&listener, whole).await;
        let now = house.acknowledged(2).await;
        assert_eq!(now.error, None);
    }
}

#[tokio::test]
async fn a_centre_that_is_not_there_is_shown_without_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "https"] {
        let house = House::pushing(&format!("{scheme}://{address}/?key=hidden"), 1).await;
        let now = house.until("shown", |now| now.error.is_some()).await;
        let error = now.error.unwrap();
        assert!(error.contains("refused") && !error.contains("hidden"), "{error}");
    }
}

/// Sends until all is done and says what the centre took, in its order.
async fn taken(centre: &mut Centre, house: &House, bad: &[u64], head: u64) -> Vec<u64> {
    house.acknowledged(head).await;
    let mut taken = Vec::new();
    while let Ok(got) = centre.got.try_recv() {
        if got.seqs.iter().all(|seq| !bad.contains(seq)) {
            assert_eq!(got.key, house.key(got.seqs[0], *got.seqs.last().unwrap()));
            taken.extend(got.seqs);
        }
    }
    taken
}

#[tokio::test]
async fn the_one_event_that_is_not_liked_is_found_and_set_aside_and_the_rest_goes_on() {
    for status in [400, 409, 413, 422] {
        for bad in 1..=9 {
            let mut centre = Centre::disliking(vec![bad], status).await;
            let mut house = House::pushing(&centre.url, 9).await;
            let taken = taken(&mut centre, &house, &[bad], 9).await;
            let others: Vec<_> = (1..=9).filter(|seq| *seq != bad).collect();
            assert_eq!(taken, others, "{status}: each once and in order");
            assert_eq!(house.consumer().set_aside, [bad]);
            assert_eq!(house.pushes("set-aside"), 1);
            house.write("ticket.cleared", 1);
            assert_eq!(centre.next().await.seqs, [10]);
            assert_eq!(house.acknowledged(10).await.set_aside, [bad], "it stays shown");
        }
    }
}

#[tokio::test]
async fn several_that_are_not_liked_are_all_found() {
    for bad in [vec![1, 2], vec![3, 7, 8], (1..=9).collect()] {
        let mut centre = Centre::disliking(bad.clone(), 422).await;
        let house = House::pushing(&centre.url, 9).await;
        let taken = taken(&mut centre, &house, &bad, 9).await;
        assert_eq!(taken, (1..=9).filter(|seq| !bad.contains(seq)).collect::<Vec<_>>());
        assert_eq!(house.consumer().set_aside, bad);
    }
}

#[tokio::test]
async fn the_centres_words_on_tickets_become_actions() {
    let reply = r#"{"tickets":[
        {"id":"t1","revision":3,"external_id":"WO-7","state":"acknowledged"},
        {"id":"t2","state":"resolved"},
        {"nonsense":true}]}"#;
    let mut centre = Centre::answering(vec![answer(200, reply)]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    centre.next().await;
    let word = |ticket: &str, verb, external_id: Option<&str>, revision| Action {
        ticket: ticket.into(),
        verb,
        by: "centre".into(),
        note: None,
        external_id: external_id.map(str::to_owned),
        revision,
    };
    let expected =
        [word("t1", Verb::Acknowledge, Some("WO-7"), Some(3)), word("t2", Verb::Resolve, None, None)];
    for action in expected {
        let ask = house.asked().await;
        assert_eq!(ask.action, action);
        // To say no is an answer, too.
        ask.answer.send(Err(Refusal::Unknown(action.ticket))).unwrap();
    }
    house.acknowledged(1).await;
}

#[tokio::test]
async fn a_batch_whose_words_nobody_takes_is_not_acknowledged_and_comes_again() {
    let reply = r#"{"tickets":[{"id":"t1","state":"resolved"}]}"#;
    let mut centre = Centre::answering((0..9).map(|_| answer(200, reply)).collect()).await;
    let mut house = House::pushing(&centre.url, 0).await;
    house.asks.close();
    house.write("ticket.opened", 1);
    let first = centre.next().await;
    house.ended().await;
    assert_eq!(house.consumer().acknowledged, 0);

    house.push(target(&centre.url));
    let again = loop {
        let got = centre.next().await;
        if let Ok(Some(ask)) = timeout(Duration::from_millis(500), house.asks.recv()).await {
            assert_eq!(ask.action.verb, Verb::Resolve);
            ask.answer.send(refusal()).unwrap();
            break got;
        }
    };
    assert_eq!(again, first);
    house.acknowledged(1).await;
}

fn refusal() -> Result<Ticket, Refusal> {
    Err(Refusal::Unknown("t1".into()))
}

/// More words than are asked at one time; the last one's answer is what counts.
#[tokio::test]
async fn a_batch_is_acknowledged_only_after_the_last_word_was_answered() {
    let words: Vec<_> = (0..40).map(|n| format!(r#"{{"id":"t{n}"}}"#)).collect();
    let reply = format!(r#"{{"tickets":[{}]}}"#, words.join(","));
    let mut centre = Centre::answering(vec![answer(200, &reply)]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    centre.next().await;
    for n in 0..39 {
        let ask = house.asked().await;
        assert_eq!(*ask.action.ticket, *format!("t{n}"));
        ask.answer.send(refusal()).unwrap();
    }
    let last = house.asked().await;
    house.write("ticket.cleared", 1);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(house.consumer().acknowledged, 0, "one word is not written yet");
    assert!(centre.got.try_recv().is_err(), "nor is anything else pushed meanwhile");
    last.answer.send(refusal()).unwrap();
    house.acknowledged(2).await;
}

#[tokio::test]
async fn a_word_that_is_dropped_unanswered_is_asked_again_after_the_next_start() {
    let reply = r#"{"tickets":[{"id":"t1","state":"resolved"}]}"#;
    let mut centre =
        Centre::answering(vec![answer(200, reply), answer(200, reply), answer(200, reply)]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    let first = centre.next().await;
    drop(house.asked().await);
    house.asks.close();
    house.ended().await;
    let now = house.consumer();
    assert_eq!((now.acknowledged, now.error), (0, None));

    house.push(target(&centre.url));
    assert_eq!(centre.next().await, first);
    house.asked().await.answer.send(refusal()).unwrap();
    house.acknowledged(1).await;
}

#[tokio::test]
async fn a_word_that_nobody_answers_does_not_hold_up_the_end() {
    let reply = r#"{"tickets":[{"id":"t1","state":"resolved"}]}"#;
    let mut centre = Centre::answering(vec![answer(200, reply)]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    centre.next().await;
    let unanswered = house.asked().await;
    let stopped = Instant::now();
    house.ended().await;
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
    assert_eq!(house.consumer().acknowledged, 0);
    drop(unanswered);
}

#[tokio::test]
async fn a_restart_goes_on_after_the_cursor() {
    let mut centre = Centre::answering(vec![answer(200, ""), answer(500, ""), answer(500, "")]).await;
    let mut house = House::pushing(&centre.url, 2).await;
    assert_eq!(centre.next().await.seqs, [1, 2]);
    house.acknowledged(2).await;
    house.write("ticket.cleared", 2);
    assert_eq!(centre.next().await.seqs, [3, 4]);
    house.ended().await;
    assert_eq!(centre.next().await.seqs, [3, 4], "the last round");
    assert_eq!(house.consumer().acknowledged, 2);
    house.push(target(&centre.url));
    assert_eq!(centre.next().await.seqs, [3, 4]);
    house.acknowledged(4).await;
}

#[tokio::test]
async fn the_last_round_takes_what_was_written_just_before_the_stop() {
    let mut centre = Centre::answering(vec![]).await;
    let mut house = House::pushing(&centre.url, 1).await;
    centre.next().await;
    house.acknowledged(1).await;
    house.write("ticket.cleared", 1);
    house.ended().await;
    assert_eq!(house.consumer().acknowledged, 2);
    assert_eq!(centre.next().await.seqs, [2]);
    assert!(centre.got.try_recv().is_err(), "once is enough");
}

#[tokio::test]
async fn a_centre_that_hangs_does_not_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut house = House::pushing(&url, 1).await;
    let _peer = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let stopped = Instant::now();
    house.ended().await;
    assert!(stopped.elapsed() < Duration::from_secs(15), "{:?}", stopped.elapsed());
    assert_eq!(house.consumer().acknowledged, 0);
}

#[tokio::test]
async fn the_lag_is_counted() {
    let mut centre = Centre::answering(vec![answer(503, "")]).await;
    let house = House::pushing(&centre.url, 5).await;
    let lag = || {
        let consumer = "crm".to_owned();
        house.metrics.lag.get_or_create(&Consumer { consumer }).get()
    };
    centre.next().await;
    assert_eq!(lag(), 5);
    house.acknowledged(5).await;
    let deadline = Instant::now() + SOON;
    while lag() != 0 {
        assert!(Instant::now() < deadline, "the lag stays {}", lag());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_that_the_centre_closed_in_the_meantime_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut house = House::pushing(&url, 0).await;
    for seq in 1..=20 {
        house.write("ticket.cleared", 1);
        // It keeps the connection open, says so by silence, and closes it all the same.
        say(&listener, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        house.acknowledged(seq).await;
    }
    assert_eq!(house.pushes("again"), 0);
}
