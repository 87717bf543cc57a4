//! The pull API over real HTTP: what each call answers, and how each mistake is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::time::{Duration, Instant};

use gatehouse::event::{Draft, Kinds};
use gatehouse::live::DeviceState;
use gatehouse::reading::{DeviceId, PointId, Quality, Reading, Reason, Value};
use gatehouse::store::Page;
use gatehouse::ticket::{State, Ticket};
use gatehouse::time;
use gatehouse::web::{self, Readiness, Role, Settings};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use web_house::{AT, House, curl, ticket};

#[tokio::test]
async fn every_mistake_is_told_as_a_problem_with_its_cure() {
    let house = House::open().await;
    let foreign = "/api/v1/events?after=0190aaaa.3";
    for (method, path, body, status, names) in [
        ("GET", "/nothing", "", 404, "/nothing"),
        ("GET", "/api/v1/nothing", "", 404, "/api/v1"),
        ("POST", "/api/v1/events", "", 405, "GET"),
        ("DELETE", "/healthz", "", 405, "/healthz"),
        ("GET", "/api/v1/events?limit=1001", "", 400, "1000"),
        ("GET", "/api/v1/events?limit=0", "", 400, "limit=0"),
        ("GET", "/api/v1/events?limit=many", "", 400, "limit"),
        ("GET", "/api/v1/events?wait=61", "", 400, "60"),
        ("GET", "/api/v1/events?wait=NaN", "", 400, "60"),
        ("GET", "/api/v1/events?after=x.y", "", 400, "x.y"),
        ("GET", "/api/v1/events?typs=ticket.*", "", 400, "typs"),
        ("GET", "/api/v1/events?after=99", "", 409, "head"),
        ("GET", foreign, "", 409, "after=0"),
        ("GET", "/api/v1/tickets?limit=1001", "", 400, "1000"),
        ("GET", "/api/v1/tickets?state=opn", "", 400, "in_progress"),
        ("GET", "/api/v1/tickets/t-9", "", 404, "t-9"),
        ("GET", "/api/v1/tickets/%ff", "", 400, "UTF-8"),
        ("POST", "/api/v1/tickets/t-1/acknowledge", "{\"by\": 1", 400, "line 1"),
        ("POST", "/api/v1/tickets/t-1/acknowledge", "{\"by\": 1}", 400, "string"),
        ("POST", "/api/v1/tickets/t-1/explode", "", 404, "explode"),
        ("PUT", "/api/v1/consumers/central", "[]", 400, "acknowledged"),
        ("PUT", "/api/v1/consumers/central", "{\"acknowledged\": -1}", 400, "acknowledged"),
        ("PUT", "/api/v1/consumers/Central!", "{\"acknowledged\": 0}", 400, "a-z"),
        ("GET", "/api/v1/points/pump-1.nothing/history", "", 404, "pump-1.nothing"),
        ("GET", "/api/v1/points/pump-1.pressure/history?from=yesterday", "", 400, "yesterday"),
        ("GET", "/api/v1/points/pump-1.pressure/history?buckets=0", "", 400, "buckets"),
        (
            "GET",
            "/api/v1/points/pump-1.pressure/history?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "",
            400,
            "before",
        ),
    ] {
        let answer = house.ask(method, path, &[], body).await;
        let problem = answer.problem(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(names), "{method} {path}: `{detail}` does not name `{names}`");
    }
    let refused = house.ask("POST", "/api/v1/events", &[], "").await;
    assert_eq!(refused.header("allow"), "GET,HEAD");
    let told = house.get(foreign).await.json();
    assert_eq!(told["epoch"], house.epoch);
}

#[tokio::test]
async fn a_body_beyond_64_kib_is_refused_and_one_of_64_kib_is_read() {
    let house = House::open().await;
    let path = "/api/v1/tickets/t-1/start";
    let pad = |len: usize| format!("{{\"by\":\"wang\"{}}}", " ".repeat(len - 13));
    assert_eq!(house.ask("POST", path, &[], &pad(64 << 10)).await.status, 200);
    let told = house.ask("POST", path, &[], &pad((64 << 10) + 1)).await.problem(413);
    assert!(told["detail"].as_str().unwrap().contains("64 KiB"));
}

#[tokio::test]
async fn events_come_in_order_as_they_are_stored_and_the_cursor_goes_on() {
    let mut house = House::open().await;
    house.commit_events(&[
        "device.online",
        "ticket.opened",
        "ticket.cleared",
        "access.denied",
        "gateway.stopped",
    ]);

    let first = house.get("/api/v1/events?after=0&limit=2").await;
    assert_eq!((first.status, first.header("content-type")), (200, "application/json"));
    let page = first.json();
    assert_eq!(page["epoch"], house.epoch);
    assert_eq!(page["next"], house.cursor(2));
    assert_eq!(page["head"], house.cursor(5));
    let stored = house.view.events(0, 2, &Kinds::default()).unwrap().events;
    assert_eq!(stored.len(), 2);
    for event in stored {
        assert!(first.text.contains(&event.json), "event {} was written anew", event.seq);
    }

    let next = page["next"].as_str().unwrap();
    let rest = house.get(&format!("/api/v1/events?after={next}")).await.json();
    let kinds: Vec<_> =
        rest["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["gatehouse.ticket.cleared", "gatehouse.access.denied", "gatehouse.gateway.stopped"]);
    assert_eq!(rest["next"], rest["head"]);

    let some = house.get("/api/v1/events?after=0&types=ticket.*,access.denied").await.json();
    let sequences: Vec<_> =
        some["events"].as_array().unwrap().iter().map(|e| e["sequence"].clone()).collect();
    assert_eq!(sequences, ["00000000000000000002", "00000000000000000003", "00000000000000000004"]);
    assert_eq!(some["next"], house.cursor(5), "`next` moves past what `types` left out");

    let end = house.get("/api/v1/events?after=5").await.json();
    assert_eq!(end["events"], json!([]));
    assert_eq!(end["next"], house.cursor(5));
}

#[tokio::test]
async fn more_events_than_one_look_takes_arrive_once_each() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 1234]);
    let (mut after, mut seen) = ("0".to_owned(), Vec::new());
    while seen.len() < 1234 {
        let page = house.get(&format!("/api/v1/events?after={after}&limit=1000")).await.json();
        let events = page["events"].as_array().unwrap();
        assert!(!events.is_empty(), "stopped after {}", seen.len());
        seen.extend(events.iter().map(|e| e["sequence"].as_str().unwrap().parse::<u64>().unwrap()));
        after = page["next"].as_str().unwrap().to_owned();
    }
    assert!(seen.iter().copied().eq(1..=1234));
    assert_eq!(after, house.cursor(1234));
}

/// 600 of about 4 KiB each: more than one answer may hold, however many rows are asked for.
#[tokio::test]
async fn a_long_answer_ends_early_and_its_next_goes_on() {
    const BYTES_MAX: usize = 700 << 10;
    let mut house = House::open().await;
    let ids: Vec<String> = (0..600).map(|n| format!("t-{n:03}")).collect();
    let big = |id: &String| Ticket { note: Some("水".repeat(1200)), ..ticket(id, State::Open, "pump-1") };
    let tickets: Vec<Ticket> = ids.iter().map(big).collect();
    let told = |ticket: &Ticket| Draft::new("ticket.opened", format!("tickets/{}", ticket.id), 0, ticket);
    house.commit(&Page { events: tickets.iter().map(told).collect(), ..Page::default() });
    house.commit_tickets(tickets);
    for (path, list, key) in [("tickets", "tickets", "id"), ("events", "events", "subject")] {
        let (mut seen, mut after, mut answers) = (Vec::new(), "0".to_owned(), 0);
        while seen.len() < 600 {
            let answer = house.get(&format!("/api/v1/{path}?limit=1000&after={after}")).await;
            assert!(answer.text.len() < BYTES_MAX, "{} bytes of {path}", answer.text.len());
            let page = answer.json();
            seen.extend(
                page[list]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|t| t[key].as_str().unwrap().trim_start_matches("tickets/").to_owned()),
            );
            after = page["next"].as_str().unwrap_or_default().to_owned();
            answers += 1;
            assert!(seen.len() == 600 || !after.is_empty(), "{path} ends after {}", seen.len());
        }
        assert_eq!(seen, ids);
        assert!(answers > 2, "{answers}");
    }
}

#[tokio::test]
async fn a_long_poll_is_answered_as_soon_as_the_journal_has_news() {
    let mut house = House::open().await;
    let poll = house.start_get("/api/v1/events?after=0&wait=15");
    house.until_waiting(1).await;
    let committed = Instant::now();
    house.commit_events(&["ticket.opened"]);
    let page = poll.await.unwrap().json();
    assert!(committed.elapsed() < Duration::from_secs(2), "woken after {:?}", committed.elapsed());
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    assert_eq!(page["next"], house.cursor(1));
}

#[tokio::test]
async fn a_long_poll_waits_on_past_events_it_did_not_ask_for_and_answers_when_its_time_is_over() {
    let mut house = House::open().await;
    let asked = Instant::now();
    let poll = house.start_get("/api/v1/events?after=0&wait=1&types=ticket.*");
    house.until_waiting(1).await;
    house.commit_events(&["device.online"]);
    let page = poll.await.unwrap().json();
    assert!(asked.elapsed() >= Duration::from_secs(1));
    assert_eq!(page["events"], json!([]));
    assert_eq!(page["next"], house.cursor(1));
}

#[tokio::test]
async fn no_more_than_64_wait_and_closing_the_house_answers_them_all() {
    let house = House::open().await;
    let mut polls: Vec<_> = (0..65).map(|_| house.start_get("/api/v1/events?wait=30")).collect();
    // Whichever comes last is refused, which is only so when all the others have their seats.
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        if let Some(nth) = polls.iter().position(JoinHandle::is_finished) {
            break polls.swap_remove(nth).await.unwrap();
        }
        assert!(Instant::now() < deadline, "65 wait");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(house.get("/api/v1/events").await.status, 200, "without wait there is room");

    house.stop.cancel();
    for poll in polls {
        assert_eq!(poll.await.unwrap().status, 200);
    }
    let closed = tokio::time::timeout(Duration::from_secs(10), house.serving).await;
    closed.expect("the API did not close").unwrap().unwrap();
}

#[tokio::test]
async fn who_stops_waiting_gives_the_seat_back() {
    let mut house = House::open().await;
    for _ in 0..3 {
        let polls: Vec<_> = (0..64).map(|_| house.start_get("/api/v1/events?wait=30")).collect();
        house.until_waiting(64).await;
        polls.iter().for_each(JoinHandle::abort);
        house.until_waiting_at_most(0).await;
    }
    let poll = house.start_get("/api/v1/events?wait=15");
    house.until_waiting(1).await;
    house.commit_events(&["device.online"]);
    assert_eq!(poll.await.unwrap().status, 200);
}

#[tokio::test]
async fn half_a_request_does_not_keep_the_house_open() {
    let house = House::open().await;
    let address = house.url.strip_prefix("http://").unwrap();
    let mut half = tokio::net::TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").await.unwrap();
    assert_eq!(house.get("/healthz").await.status, 200);
    house.stop.cancel();
    let closed = tokio::time::timeout(Duration::from_secs(8), house.serving).await;
    closed.expect("the API did not close").unwrap().unwrap();
}

#[tokio::test]
async fn a_consumer_says_how_far_it_is_and_only_forward() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 5]);
    let path = "/api/v1/consumers/puller";
    let say = |cursor: Json| json!({ "acknowledged": cursor }).to_string();

    let told = house.ask("PUT", path, &[], &say(json!(house.cursor(3)))).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.json()["acknowledged"], house.cursor(3));
    assert_eq!(house.ask("PUT", path, &[], &say(json!(house.cursor(1)))).await.status, 200);
    let list = house.get("/api/v1/consumers").await.json();
    let rows = list["consumers"].as_array().unwrap();
    let row = rows.iter().find(|c| c["name"] == "puller").expect("it is listed");
    assert_eq!(row["acknowledged"], house.cursor(3), "a cursor below is nothing new");
    assert_eq!(row["lag"], 2);
    assert_eq!(row["kind"], "pull");
    assert_eq!(row["required"], false);
    assert_eq!(row["set_aside"], json!([]));
    assert!(row["last_seen"].as_str().unwrap().ends_with('Z'));
    assert!(row["error"].is_null());

    assert_eq!(house.ask("PUT", path, &[], &say(json!(4))).await.json()["lag"], 1, "a bare number");
    let above = house.ask("PUT", path, &[], &say(json!(house.cursor(6)))).await.problem(409);
    assert_eq!(above["head"], house.cursor(5));
    let foreign = house.ask("PUT", path, &[], &say(json!("other.1"))).await.problem(409);
    assert_eq!(foreign["epoch"], house.epoch);

    assert_eq!(house.ask("DELETE", path, &[], "").await.status, 204);
    house.ask("DELETE", path, &[], "").await.problem(404);
    house.ask("DELETE", "/api/v1/consumers/central", &[], "").await.problem(409);
}

#[tokio::test]
async fn strangers_cannot_fill_the_journal_with_consumers() {
    let house = House::open().await;
    let mut refused = 0;
    for n in 0..70 {
        let path = format!("/api/v1/consumers/c-{n}");
        refused += u32::from(house.ask("PUT", &path, &[], "{\"acknowledged\":0}").await.status == 409);
    }
    assert!(refused >= 6, "{refused} refused");
}

#[tokio::test]
async fn tickets_are_listed_by_state_and_device_and_page_by_page() {
    let mut house = House::open().await;
    house.commit_tickets(vec![
        ticket("t-1", State::Open, "pump-1"),
        ticket("t-2", State::Closed, "pump-1"),
        ticket("t-3", State::Resolved, "pump-2"),
    ]);
    let ids = |page: &Json| -> Vec<String> {
        page["tickets"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = house.get("/api/v1/tickets").await.json();
    assert_eq!((ids(&all).len(), &all["next"]), (3, &Json::Null));
    let some = house.get("/api/v1/tickets?state=open,resolved").await.json();
    let mut found = ids(&some);
    found.sort();
    assert_eq!(found, ["t-1", "t-3"]);
    assert_eq!(ids(&house.get("/api/v1/tickets?device=pump-2").await.json()), ["t-3"]);

    let (mut seen, mut path) = (Vec::new(), "/api/v1/tickets?limit=2".to_owned());
    loop {
        let page = house.get(&path).await.json();
        seen.extend(ids(&page));
        assert!(seen.len() <= 3, "pages repeat themselves: {seen:?}");
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/tickets?limit=2&after={next}");
    }
    seen.sort();
    assert_eq!(seen, ["t-1", "t-2", "t-3"]);

    let one = house.get("/api/v1/tickets/t-2").await.json();
    assert_eq!(one["number"], "CP-017-t-2");
    assert_eq!(one["limit"], json!({ "below": 200.0 }));
    assert_eq!(one["since"], "2026-11-21T08:00:00.123Z");
    assert_eq!(one, serde_json::to_value(ticket("t-2", State::Closed, "pump-1")).unwrap());
}

#[tokio::test]
async fn an_action_is_answered_with_the_ticket_as_it_now_is() {
    let house = House::open().await;
    let post = async |path: &str, body: &str| house.ask("POST", path, &[], body).await;
    for (verb, state) in [("acknowledge", "acknowledged"), ("start", "in_progress"), ("resolve", "resolved")]
    {
        let path = format!("/api/v1/tickets/t-1/{verb}");
        let told = post(&path, r#"{"by": "王师傅", "note": "已换密封圈"}"#).await;
        assert_eq!(told.status, 200, "{}", told.text);
        let now = told.json();
        assert_eq!(now["state"], state);
        assert_eq!((&now["by"], &now["note"]), (&json!("王师傅"), &json!("已换密封圈")));
        assert_eq!(now["revision"], 2);
    }
    assert_eq!(post("/api/v1/tickets/t-1/start", "").await.json()["by"], "api", "a body is not needed");
    let holds = post("/api/v1/tickets/t-1/close", "{}").await.problem(409);
    assert!(holds["detail"].as_str().unwrap().contains("CP-017-000001"));
    post("/api/v1/tickets/t-9/close", "{}").await.problem(404);
    post("/api/v1/tickets/t-stuck/resolve", "{}").await.problem(503);
    let long = json!({ "note": "长".repeat(4001) }).to_string();
    post("/api/v1/tickets/t-1/resolve", &long).await.problem(400);
    for steers in
        [json!({ "note": "a\u{1b}[31m" }), json!({ "by": "wang\n" }), json!({ "external_id": "\u{0}" })]
    {
        post("/api/v1/tickets/t-1/resolve", &steers.to_string()).await.problem(400);
    }
    let lines = json!({ "note": "已换密封圈\n明天再看" }).to_string();
    assert_eq!(post("/api/v1/tickets/t-1/start", &lines).await.status, 200);
}

#[tokio::test]
async fn with_tokens_each_role_may_do_its_own_and_no_more() {
    let mut house = House::with_tokens(&[
        ("central", Role::Central),
        ("wang", Role::Technician),
        ("screen", Role::Viewer),
    ])
    .await;
    house.commit_events(&["device.online"]);
    let with = async |name: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {name}-secret");
        house.ask(method, path, &[("authorization", &bearer)], body).await
    };
    for open in ["/healthz", "/readyz", "/"] {
        assert_eq!(house.get(open).await.status, 200, "{open}");
    }
    for guarded in ["/api/v1/events", "/api/v1/points", "/api/v1/nothing", "/metrics"] {
        let refused = house.get(guarded).await;
        refused.problem(401);
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        with("nobody", "GET", guarded, "").await.problem(401);
    }
    let start = "/api/v1/tickets/t-1/start";
    let said = "{\"acknowledged\":1}";
    for (name, method, path, body, status) in [
        ("screen", "GET", "/api/v1/tickets", "", 200),
        ("screen", "GET", "/metrics", "", 200),
        ("screen", "POST", start, "", 403),
        ("screen", "PUT", "/api/v1/consumers/screen", said, 403),
        ("wang", "POST", start, "", 200),
        ("central", "POST", start, "", 200),
        ("central", "PUT", "/api/v1/consumers/central", said, 200),
        ("central", "PUT", "/api/v1/consumers/wang", said, 403),
        ("wang", "PUT", "/api/v1/consumers/wang", said, 200),
        ("central", "DELETE", "/api/v1/consumers/wang", "", 403),
        ("wang", "DELETE", "/api/v1/consumers/wang", "", 204),
    ] {
        let told = with(name, method, path, body).await;
        assert_eq!(told.status, status, "{name} {method} {path}: {}", told.text);
        if status >= 400 {
            told.problem(status);
        }
    }
    assert_eq!(with("wang", "POST", start, "").await.json()["by"], "wang");
    let basic = [("authorization", "Basic wang-secret")];
    house.ask("GET", "/api/v1/events", &basic, "").await.problem(401);
}

#[tokio::test]
async fn an_open_api_answers_to_this_machines_names_only() {
    let house = House::open().await;
    for host in ["localhost", "127.0.0.1:9", "[::1]:8080"] {
        assert_eq!(house.ask("GET", "/api/v1/points", &[("host", host)], "").await.status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1.evil.example", "192.0.2.1"] {
        house.ask("GET", "/api/v1/points", &[("host", host)], "").await.problem(403);
    }
    let start = "/api/v1/tickets/t-1/start";
    house.ask("POST", start, &[("origin", "https://evil.example")], "{}").await.problem(403);
    house.ask("POST", start, &[("origin", "null")], "{}").await.problem(403);
    let own = house.url.clone();
    assert_eq!(house.ask("POST", start, &[("origin", &own)], "{}").await.status, 200);
}

#[tokio::test]
async fn devices_and_points_show_what_is_now() {
    let house = House::open().await;
    let before = house.get("/api/v1/points").await.json();
    let expected = json!({
        "id": "pump-1.pressure", "device": "pump-1", "value": null, "quality": "bad", "reason": "not-yet",
        "unit": "kPa", "at": null, "last_good": null, "last_good_at": null,
    });
    assert_eq!(before["points"][0], expected);
    {
        let mut now = house.live.lock();
        let device = now.device_mut(DeviceId(0));
        device.state = DeviceState::Online;
        device.since = Some(AT);
        let point = now.point_mut(PointId(0));
        point.value = Some(Value::Number(300.0));
        point.quality = Quality::Good;
        point.reason = None;
        point.at = Some(AT);
    }
    let points = house.get("/api/v1/points").await.json();
    let expected = json!({
        "id": "pump-1.pressure", "device": "pump-1", "value": 300.0, "quality": "good", "reason": null,
        "unit": "kPa", "at": "2026-11-21T08:00:00.123Z", "last_good": null, "last_good_at": null,
    });
    assert_eq!(points["points"][0], expected);
    assert_eq!(points["points"].as_array().unwrap().len(), 2);
    {
        let mut now = house.live.lock();
        let point = now.point_mut(PointId(0));
        (point.value, point.raw) = (None, Some(Value::Number(900.0)));
        (point.quality, point.reason) = (Quality::Bad, Some(Reason::Spike));
    }
    let spike = house.get("/api/v1/points").await.json()["points"][0].take();
    let shown = (&spike["value"], &spike["raw"], &spike["quality"], &spike["reason"]);
    assert_eq!(shown, (&json!(null), &json!(900.0), &json!("bad"), &json!("spike")));
    let devices = house.get("/api/v1/devices").await.json();
    let expected = json!({
        "id": "pump-1", "profile": null, "place": "3号楼/地下室/水泵房", "channel": "plant", "state": "online",
        "since": "2026-11-21T08:00:00.123Z", "error": null,
    });
    assert_eq!(devices["devices"], json!([expected]));
    assert_eq!((&devices["gateway"], &devices["name"]), (&json!("cp-017"), &json!("锦绣花园")));
    let history =
        house.get("/api/v1/points/pump-1.pressure/history?from=2026-11-21T00:00:00+08:00&buckets=10").await;
    assert_eq!(history.json(), json!({ "point": "pump-1.pressure", "buckets": [] }));
}

/// Ten a second: more within the hour than one look of any kind may take, and asked for from long before.
#[tokio::test]
async fn a_plot_counts_every_reading_and_begins_where_the_history_does() {
    const COUNT: i64 = 60_000;
    let mut house = House::open().await;
    let mut history = house.history.take().unwrap();
    for n in 0..COUNT {
        let reading = Reading::good(PointId(0), AT + n * 100, Value::Signed(n));
        history.note(&"pump-1.pressure".into(), &reading);
    }
    drop(history);
    let path = "/api/v1/points/pump-1.pressure/history?from=2001-01-01T00:00:00Z&buckets=100";
    let plot = house.get(path).await.json();
    let buckets = plot["buckets"].as_array().unwrap();
    let counted: i64 = buckets.iter().map(|bucket| bucket[4].as_i64().unwrap()).sum();
    assert_eq!(counted, COUNT);
    assert_eq!(buckets[0][0], time::format(AT));

    let to = time::format(AT + 100 * COUNT);
    let plot = house.get(&format!("{path}&to={to}")).await.json();
    let buckets = plot["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 100);
    assert!(buckets.iter().all(|bucket| bucket[4] == COUNT / 100), "{plot}");
    let before = house.get(&format!("{path}&to=2002-01-01T00:00:00Z")).await.json();
    assert_eq!(before["buckets"], json!([]));
}

#[tokio::test]
async fn readiness_follows_the_daemon_and_liveness_does_not() {
    let house = House::open().await;
    assert_eq!(house.get("/readyz").await.json(), json!({ "ready": true, "degraded": null }));
    house.ready.send_replace(Readiness { ready: true, troubles: vec!["last good configuration".into()] });
    assert_eq!(house.get("/readyz").await.json()["degraded"], "last good configuration");
    house.ready.send_replace(Readiness::default());
    house.get("/readyz").await.problem(503);
    assert_eq!(house.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_the_lag_of_each_consumer() {
    let mut house = House::open().await;
    house.commit_events(&["device.online"; 5]);
    let said = house.ask("PUT", "/api/v1/consumers/puller", &[], "{\"acknowledged\":2}").await;
    assert_eq!(said.status, 200);
    let (status, printed) = curl(&[], format!("{}/metrics", house.url)).await;
    assert_eq!(status, 200);
    assert!(printed.contains("application/openmetrics-text"), "{printed}");
    assert!(printed.contains("gatehouse_consumer_lag{consumer=\"puller\"} 3"), "{printed}");
    assert!(printed.trim_end().ends_with("# EOF"));
}

#[tokio::test]
async fn curl_pulls_acknowledges_and_acts_as_the_manual_says() {
    let mut house = House::with_tokens(&[("central", Role::Central)]).await;
    house.commit_events(&["ticket.opened", "device.online"]);
    let api = format!("{}/api/v1", house.url);
    let token = ["-H", "Authorization: Bearer central-secret"];

    let (status, printed) = curl(&token, format!("{api}/events?after=0&types=ticket.*")).await;
    assert_eq!(status, 200);
    assert!(printed.contains("gatehouse.ticket.opened") && !printed.contains("gatehouse.device"));
    let (status, _) = curl(&[], format!("{api}/events")).await;
    assert_eq!(status, 401);

    let body = format!("{{\"acknowledged\":\"{}\"}}", house.cursor(2));
    let put = [&token[..], &["-X", "PUT", "-d", &body]].concat();
    let (status, printed) = curl(&put, format!("{api}/consumers/central")).await;
    assert_eq!(status, 200, "{printed}");
    assert!(printed.contains("\"lag\":0"), "{printed}");

    let post = [&token[..], &["-d", "{\"by\":\"王\"}"]].concat();
    let (status, printed) = curl(&post, format!("{api}/tickets/t-1/resolve")).await;
    assert_eq!(status, 200);
    assert!(printed.contains("\"state\":\"resolved\""), "{printed}");
    let (status, printed) = curl(&post, format!("{api}/tickets/t-1/close")).await;
    assert_eq!(status, 409);
    assert!(printed.contains("application/problem+json"), "{printed}");
}

#[tokio::test]
async fn without_tokens_the_api_is_not_opened_to_others() {
    let settings = |listen: &str| Settings {
        listen: listen.parse().unwrap(),
        tokens: Vec::new(),
        closed: false,
        tls: None,
        rate: None,
    };
    let refused = web::bind(&settings("0.0.0.0:0")).await.unwrap_err().to_string();
    assert!(refused.contains("0.0.0.0") && refused.contains("[[api.token]]"), "{refused}");
    let taken = web::bind(&settings("127.0.0.1:0")).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = web::bind(&settings(&address)).await.unwrap_err().to_string();
    assert!(refused.contains(&address), "{refused}");
}
