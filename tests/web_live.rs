//! What happens, as it happens: whose gateway it is, its lines, and the stream of server-sent events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatehouse::live::DeviceState;
use gatehouse::metrics;
use gatehouse::reading::{DeviceId, PointId, Quality, Value};
use gatehouse::web::{Readiness, Role};
use serde_json::json;
use web_house::{AT, House, Stream, curl};

const STREAMS_MAX: usize = 32;

fn read(house: &House, point: u32, value: f64) {
    let mut live = house.live.lock();
    let now = live.point_mut(PointId(point));
    (now.value, now.quality, now.reason) = (Some(Value::Number(value)), Quality::Good, None);
    now.at = Some(AT);
}

#[tokio::test]
async fn the_site_says_whose_it_is_who_asks_and_what_troubles_it() {
    let mut house = House::with_tokens(&[("wall", Role::Viewer)]).await;
    let head = house.commit_events(&["device.online"; 3]);
    let token = [("authorization", "Bearer wall-secret")];
    let expected = json!({
        "gateway": "cp-017", "name": "锦绣花园", "timezone": "Asia/Shanghai", "locale": "zh-CN",
        "role": "viewer", "by": "wall", "version": env!("CARGO_PKG_VERSION"), "epoch": house.epoch,
        "head": house.cursor(head), "ready": "ready", "troubles": [],
    });
    assert_eq!(house.ask("GET", "/api/v1/site", &token, "").await.json(), expected);
    let troubles = vec!["the port is taken".to_owned(), "the card is full".to_owned()];
    house.ready.send_replace(Readiness { ready: true, troubles: troubles.clone() });
    let site = house.ask("GET", "/api/v1/site", &token, "").await.json();
    assert_eq!((&site["ready"], &site["troubles"]), (&json!("degraded"), &json!(troubles)));
    house.ready.send_replace(Readiness::default());
    assert_eq!(house.ask("GET", "/api/v1/site", &token, "").await.json()["ready"], "unready");
}

#[tokio::test]
async fn a_line_says_how_it_is_and_null_what_it_does_not_know() {
    let house = House::open().await;
    let line = async || house.get("/api/v1/lines").await.json()["lines"][0].clone();
    let expected = json!({
        "id": "plant", "type": "modbus-tcp", "at": "192.0.2.10:502", "state": "unknown", "devices": 1, "online": 0,
        "busy": null, "requests_per_second": null, "errors": {}, "cycle_ms": null, "keeps_up": null, "error": null,
    });
    assert_eq!(line().await, expected);
    let label = metrics::Line { channel: "plant".into() };
    house.metrics.line_cycle.get_or_create(&label).set(0.42);
    house.metrics.line_behind.get_or_create(&label).set(1);
    for (outcome, count) in [("ok", 90), ("timeout", 3)] {
        let request = metrics::Request { channel: "plant".into(), outcome };
        house.metrics.requests.get_or_create(&request).inc_by(count);
    }
    *house.live.lock().device_mut(DeviceId(0)) = gatehouse::live::DeviceNow {
        state: DeviceState::Offline,
        since: Some(AT),
        error: Some("no answer within 500 ms".into()),
    };
    let now = line().await;
    assert_eq!((&now["state"], &now["error"]), (&json!("down"), &json!("no answer within 500 ms")));
    assert_eq!((&now["cycle_ms"], &now["keeps_up"]), (&json!(420.0), &json!(false)));
    assert_eq!(now["errors"], json!({ "timeout": 3 }));
    house.live.lock().device_mut(DeviceId(0)).state = DeviceState::Online;
    let now = line().await;
    assert_eq!((&now["state"], &now["online"], &now["error"]), (&json!("up"), &json!(1), &json!(null)));
}

#[tokio::test]
async fn a_stream_begins_with_all_as_it_is_and_goes_on_with_what_changes() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"]);
    let mut stream = Stream::open(&house, "?points=*.pressure", &[]).await;
    let mut first = Vec::new();
    for _ in 0..5 {
        first.push(stream.next().await.unwrap());
    }
    let kinds: Vec<&str> = first.iter().map(|message| &*message.event).collect();
    assert_eq!(kinds, ["site", "device", "points", "lines", "consumers"]);
    assert_eq!(first[0].data, house.get("/api/v1/site").await.json());
    assert_eq!(
        first[0].id,
        Some(house.cursor(1)),
        "who is let go before the first event comes again from here"
    );
    assert_eq!(first[1].data, house.get("/api/v1/devices").await.json()["devices"][0]);
    let points = house.get("/api/v1/points").await.json();
    assert_eq!(first[2].data, json!({ "points": [points["points"][0]] }), "only what was asked for");
    assert_eq!(first[3].data, house.get("/api/v1/lines").await.json());
    assert_eq!(first[4].data, house.get("/api/v1/consumers").await.json());

    let seq = house.commit_events(&["ticket.opened"]);
    let told = stream.next_of("journal").await;
    assert_eq!(told.id.as_deref(), Some(&*house.cursor(seq)));
    let path = format!("/api/v1/events?after={}", seq - 1);
    assert_eq!(told.data, house.get(&path).await.json()["events"][0]);

    read(&house, 0, 300.0);
    read(&house, 1, 1.0);
    let told = stream.next_of("points").await;
    let points = house.get("/api/v1/points").await.json();
    assert_eq!(told.data, json!({ "points": [points["points"][0]] }));

    house.live.lock().device_mut(DeviceId(0)).state = DeviceState::Online;
    assert_eq!(stream.next_of("device").await.data["state"], "online");

    house.ready.send_replace(Readiness { ready: true, troubles: vec!["the card is full".into()] });
    assert_eq!(stream.next_of("site").await.data["troubles"], json!(["the card is full"]));
    let said = house.ask("PUT", "/api/v1/consumers/puller", &[], "{\"acknowledged\":1}").await;
    assert_eq!(said.status, 200);
    assert_eq!(stream.next_of("consumers").await.data["consumers"][0]["lag"], 1);
}

#[tokio::test]
async fn a_stream_goes_on_where_it_broke_off_and_says_where_it_cannot() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 300]);
    let last = house.cursor(100);
    let mut stream = Stream::open(&house, "", &[("last-event-id", &last)]).await;
    for seq in 101..=300 {
        assert_eq!(stream.next_of("journal").await.id, Some(house.cursor(seq)));
    }
    house.commit_events(&["device.offline"; 50]);
    for seq in 301..=350 {
        assert_eq!(stream.next_of("journal").await.id, Some(house.cursor(seq)));
    }
    for lost in ["another-epoch.7", "999999"] {
        let mut stream = Stream::open(&house, "", &[("last-event-id", lost)]).await;
        assert_eq!(stream.next().await.unwrap().event, "site");
        assert_eq!(stream.next().await.unwrap().data, json!({ "head": house.cursor(350) }), "{lost}");
    }
    house.ask("GET", "/api/v1/live", &[("last-event-id", "nonsense")], "").await.problem(400);
    house.get("/api/v1/live?points=a***b").await.problem(400);
    house.get("/api/v1/live?point=a").await.problem(400);
}

#[tokio::test]
async fn who_is_far_behind_begins_anew_in_place_of_being_told_it_all() {
    let mut house = House::open().await;
    for _ in 0..3 {
        house.commit_events(&["device.online"; 1000]);
    }
    let mut stream = Stream::open(&house, "", &[("last-event-id", "500")]).await;
    assert_eq!(stream.next_of("reset").await.data, json!({ "head": house.cursor(3000) }));
    let seq = house.commit_events(&["device.offline"]);
    assert_eq!(stream.next_of("journal").await.id, Some(house.cursor(seq)));
}

#[tokio::test]
async fn no_more_than_32_streams_are_open_and_who_leaves_gives_the_place_back() {
    let house = House::open().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS_MAX {
        streams.push(Stream::open(&house, "", &[]).await);
    }
    house.get("/api/v1/live").await.problem(503);
    streams.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = house.http.get(format!("{}/api/v1/live", house.url)).send().await.unwrap();
        if answer.status() == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "the place was not given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_house_that_closes_ends_the_streams_at_once() {
    let house = House::open().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = Stream::open(&house, "?points=*", &[]).await;
        stream.next_of("consumers").await;
        streams.push(stream);
    }
    let begun = Instant::now();
    house.stop.cancel();
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
    house.serving.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// One who takes nothing: the house is not kept by it, and others are told as ever.
#[tokio::test]
async fn who_does_not_listen_holds_up_nobody() {
    let mut house = House::open().await;
    let _deaf = Stream::open(&house, "?points=*", &[]).await;
    let mut stream = Stream::open(&house, "", &[]).await;
    for _ in 0..40 {
        house.commit_events(&["device.online"; 100]);
        while stream.next_of("journal").await.id != Some(house.cursor(*house.head.borrow())) {}
    }
    assert_eq!(house.get("/api/v1/site").await.status, 200);
}

#[tokio::test]
async fn a_stream_needs_a_token_or_the_cookie_as_every_call() {
    let house = House::with_tokens(&[("wall", Role::Viewer)]).await;
    house.get("/api/v1/live").await.problem(401);
    let mut stream = Stream::open(&house, "", &[("authorization", "Bearer wall-secret")]).await;
    assert_eq!(stream.next().await.unwrap().data["by"], "wall");
    let answer = house.ask("POST", "/api/v1/session", &[], "{\"token\":\"wall-secret\"}").await;
    let cookie = answer.header("set-cookie").split(';').next().unwrap();
    let mut stream = Stream::open(&house, "", &[("cookie", cookie)]).await;
    assert_eq!(stream.next().await.unwrap().data["by"], "wall");
    let (status, printed) = curl(&[], format!("{}/api/v1/live", house.url)).await;
    assert_eq!(status, 401, "{printed}");
}

#[tokio::test]
async fn curl_follows_the_stream() {
    let mut house = House::open().await;
    let mut curl = Command::new("curl")
        .args(["--silent", "--no-buffer", "--max-time", "60", "--noproxy", "*"])
        .arg(format!("{}/api/v1/live?points=pump-1.*", house.url))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed");
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines();
    let mut until = move |start: &'static str| {
        let mut seen = Vec::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no `{start}` in {seen:?}")).unwrap();
            let done = line.starts_with(start);
            seen.push(line);
            if done {
                return seen;
            }
        }
    };
    let (seen, mut until) =
        tokio::task::spawn_blocking(move || (until("event: consumers"), until)).await.unwrap();
    assert_eq!(seen[0], "event: site");
    assert_eq!(seen[1], format!("id: {}", house.cursor(0)));
    assert!(seen[2].starts_with("data: {\"gateway\":\"cp-017\""), "{seen:?}");
    let seq = house.commit_events(&["ticket.opened"]);
    let seen = tokio::task::spawn_blocking(move || until("id: ")).await.unwrap();
    assert_eq!(seen.last().unwrap(), &format!("id: {}", house.cursor(seq)));
    house.stop.cancel();
    let ended = tokio::task::spawn_blocking(move || curl.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "the stream ends as it should: {ended}");
}
