//! The picture of a ticket over HTTP: what a CRM gets that embeds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use gatehouse::reading::{PointId, Reading, Value};
use gatehouse::ticket::{Evidence, State, Ticket};
use gatehouse::web::Role;
use web_house::{AT, House, ask, ticket};

const PATH: &str = "/api/v1/tickets/t-1/chart.svg";

fn breach(state: State) -> Ticket {
    Ticket {
        since: AT,
        opened_at: AT + 10_000,
        cleared_at: (state == State::Closed).then_some(AT + 60_000),
        closed_at: (state == State::Closed).then_some(AT + 90_000),
        value: Some(Value::Number(180.0)),
        limit: serde_json::json!({ "below": 200.0 }),
        evidence: vec![
            Evidence(AT - 1000, Some(Value::Number(231.0))),
            Evidence(AT, Some(Value::Number(180.0))),
        ],
        ..ticket("t-1", state, "pump-1")
    }
}

fn path(svg: &str) -> &str {
    svg.split("<path d=\"").nth(1).expect("a line of readings").split('"').next().unwrap()
}

#[tokio::test]
async fn what_the_history_no_longer_has_the_ticket_still_shows() {
    let mut house = House::open().await;
    house.commit_tickets(vec![breach(State::Open)]);
    let picture = house.get(PATH).await;
    assert_eq!(picture.status, 200, "{}", picture.text);
    assert_eq!(picture.header("content-type"), "image/svg+xml; charset=utf-8");
    assert_eq!(picture.header("content-security-policy"), "default-src 'none'");
    assert_eq!(picture.header("cache-control"), "no-store", "it changes as long as the ticket is open");
    assert!(picture.text.contains("3号楼: 水压低 180 kPa"), "{}", picture.text);
    assert!(path(&picture.text).contains('V'), "a step down: {}", path(&picture.text));
}

#[tokio::test]
async fn the_history_around_the_breach_is_in_it() {
    let mut house = House::open().await;
    house.commit_tickets(vec![breach(State::Closed)]);
    let alone = house.get(PATH).await;
    let mut history = house.history.take().unwrap();
    for (second, kpa) in [(-60, 231.0), (0, 180.0), (20, 170.0), (60, 240.0), (100, 250.0)] {
        let reading = Reading::good(PointId(0), AT + second * 1000, Value::Number(kpa));
        history.note(&"pump-1.pressure".into(), &reading);
    }
    drop(history);
    let whole = house.get(PATH).await;
    assert_eq!(path(&alone.text).matches('V').count(), 1);
    assert_eq!(path(&whole.text).matches('V').count(), 4, "{}", path(&whole.text));
    // Beside the breach, not the hours since: the picture ends two minutes after it was gone.
    assert!(whole.text.contains("2026-11-21"), "{}", whole.text);
}

#[tokio::test]
async fn a_closed_ticket_is_asked_about_and_not_sent_again() {
    let mut house = House::open().await;
    house.commit_tickets(vec![breach(State::Closed)]);
    let first = house.get(PATH).await;
    assert_eq!((first.status, first.header("cache-control")), (200, "private, no-cache"));
    let tag = first.header("etag").to_owned();
    let again = house.ask("GET", PATH, &[("If-None-Match", &tag)], "").await;
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));

    house.commit_tickets(vec![Ticket { revision: 9, ..breach(State::Closed) }]);
    let changed = house.ask("GET", PATH, &[("If-None-Match", &tag)], "").await;
    assert_eq!(changed.status, 200, "another revision is another picture");
}

#[tokio::test]
async fn it_is_as_wide_and_in_the_words_that_are_asked_for() {
    let mut house = House::open().await;
    house.commit_tickets(vec![breach(State::Open)]);
    let narrow = house.get(&format!("{PATH}?width=340&locale=en&revision=1")).await;
    assert_eq!(narrow.status, 200, "{}", narrow.text);
    assert!(narrow.text.contains(r#"viewBox="0 0 340 "#) && narrow.text.contains("below 200"));
    let chinese = house.get(&format!("{PATH}?locale=zh-CN")).await;
    assert!(chinese.text.contains(r#"viewBox="0 0 800 "#) && chinese.text.contains("低于 200"));
    for wrong in ["width=319", "width=100000", "width=x", "locale=tlh"] {
        house.get(&format!("{PATH}?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn who_may_read_may_see_it_and_nobody_else() {
    let mut house = House::with_tokens(&[("watcher", Role::Viewer)]).await;
    house.commit_tickets(vec![breach(State::Open)]);
    house.get(PATH).await.problem(401);
    let url = format!("{}{PATH}", house.url);
    let shown = ask(&house.http, "GET", &url, &[("Authorization", "Bearer watcher-secret")], "").await;
    assert_eq!(shown.status, 200);
    let url = format!("{}/api/v1/tickets/no-such/chart.svg", house.url);
    ask(&house.http, "GET", &url, &[("Authorization", "Bearer watcher-secret")], "").await.problem(404);
}
