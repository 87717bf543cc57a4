//! Logging in on the page: a token once, then a cookie that changes nothing by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::time::Duration;

use gatehouse::web::Role;
use serde_json::json;
use web_house::{Answer, House};

const SESSION: &str = "/api/v1/session";
const DEVICES: &str = "/api/v1/devices";
const ACKNOWLEDGE: &str = "/api/v1/tickets/t-1/acknowledge";

async fn log_in(house: &House, token: &str, headers: &[(&str, &str)]) -> Answer {
    house.ask("POST", SESSION, headers, &json!({ "token": token }).to_string()).await
}

/// `gatehouse-<id>=<key>` of what was set.
fn cookie(answer: &Answer) -> String {
    assert_eq!(answer.status, 204, "{}", answer.text);
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_is_shown_once_and_the_cookie_is_its_caller() {
    let house = House::with_tokens(&[("li", Role::Technician), ("wall", Role::Viewer)]).await;
    house.get(DEVICES).await.problem(401);
    let answer = log_in(&house, "li-secret", &[]).await;
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(answer.header("set-cookie").contains(word), "{word}");
    }
    assert!(!answer.header("set-cookie").contains("Secure"), "over plain HTTP it would never come back");
    assert!(!answer.header("set-cookie").contains("li-secret"));
    let li = cookie(&answer);
    let site = house.ask("GET", "/api/v1/site", &[("cookie", &li)], "").await.json();
    assert_eq!((&site["role"], &site["by"]), (&json!("technician"), &json!("li")));

    let answer = log_in(&house, "wall-secret", &[("x-forwarded-proto", "https")]).await;
    assert!(answer.header("set-cookie").ends_with("; Secure"));
    let wall = cookie(&answer);
    assert_ne!(li, wall);
    assert!(wall.starts_with("__Host-gatehouse-"), "{wall}");
    let viewer = [("cookie", wall.as_str()), ("x-gatehouse", "page"), ("x-forwarded-proto", "https")];
    house.ask("POST", ACKNOWLEDGE, &viewer, "").await.problem(403);

    let technician = [("cookie", li.as_str()), ("x-gatehouse", "page")];
    assert_eq!(house.ask("POST", ACKNOWLEDGE, &technician, "{}").await.status, 200);
    assert_eq!(house.ask("DELETE", SESSION, &technician, "").await.status, 204);
    let ended = house.ask("GET", DEVICES, &technician, "").await.problem(401);
    assert!(ended["detail"].as_str().unwrap().contains("log in again"), "{ended}");
    assert_eq!(house.ask("GET", DEVICES, &viewer, "").await.status, 200, "the other's session goes on");
}

#[tokio::test]
async fn another_sites_page_changes_nothing_with_the_cookie() {
    let house = House::with_tokens(&[("li", Role::Technician)]).await;
    let li = cookie(&log_in(&house, "li-secret", &[]).await);
    let host = house.url.strip_prefix("http://").unwrap();
    let own = format!("http://{host}");
    let cookie = ("cookie", li.as_str());
    let page = ("x-gatehouse", "page");
    for headers in [
        &[cookie][..],
        &[cookie, ("x-gatehouse", "other")],
        &[cookie, ("origin", &own)],
        &[cookie, page, ("origin", "http://evil.example")],
        &[cookie, page, ("origin", "null")],
    ] {
        house.ask("POST", ACKNOWLEDGE, headers, "{}").await.problem(403);
        house.ask("DELETE", SESSION, headers, "").await.problem(403);
    }
    assert_eq!(house.ask("POST", ACKNOWLEDGE, &[cookie, page], "{}").await.status, 200);
    assert_eq!(house.ask("POST", ACKNOWLEDGE, &[cookie, page, ("origin", &own)], "{}").await.status, 200);
    log_in(&house, "li-secret", &[("origin", "http://evil.example")]).await.problem(403);
    let token = [("authorization", "Bearer li-secret"), cookie];
    assert_eq!(house.ask("POST", ACKNOWLEDGE, &token, "{}").await.status, 200, "a program needs no header");
}

#[tokio::test]
async fn wrong_tokens_are_answered_with_growing_pauses_and_never_repeated() {
    let house = House::with_tokens(&[("li", Role::Technician)]).await;
    let mut waited = Vec::new();
    for _ in 0..2 {
        let wrong = log_in(&house, "secret-of-others", &[]).await;
        wrong.problem(401);
        assert!(!wrong.text.contains("secret-of-others"));
        // Within the pause not even the right one is told from a wrong one.
        let early = log_in(&house, "li-secret", &[]).await;
        early.problem(429);
        let seconds: u64 = early.header("retry-after").parse().unwrap();
        waited.push(seconds);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    assert!(waited[0] < waited[1], "{waited:?}");
    cookie(&log_in(&house, "li-secret", &[]).await);
    for body in ["", "li-secret", "{\"token\":1}", "{\"token\":\"a\",\"more\":1}"] {
        let answer = house.ask("POST", SESSION, &[], body).await;
        answer.problem(400);
        assert!(!answer.text.contains("li-secret"), "what may be a secret is not repeated");
    }
}

#[tokio::test]
async fn without_tokens_this_machine_needs_no_session_and_others_get_none() {
    let house = House::open().await;
    let answer = log_in(&house, "anything", &[]).await;
    assert_eq!((answer.status, answer.header("set-cookie")), (204, ""));
    log_in(&house, "anything", &[("host", "evil.example")]).await.problem(403);
    let site = house.get("/api/v1/site").await.json();
    assert_eq!((&site["role"], &site["by"]), (&json!("technician"), &json!(null)));
}
