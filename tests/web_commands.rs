//! Orders over real HTTP: what each answer of intake becomes, who may order, and how each mistake is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use gatehouse::web::Role;
use serde_json::{Value as Json, json};
use web_house::House;

const PATH: &str = "/api/v1/devices/pump-1/commands";

fn body(action: &str) -> String {
    json!({ "action": action, "target": "cell-3", "reason": "parcel", "by": "li", "key": "k-1" }).to_string()
}

#[tokio::test]
async fn what_came_of_an_order_is_answered_under_its_key() {
    let house = House::open().await;
    for (action, outcome, effect) in [
        ("open", "executed", "unknown"),
        ("set", "executed", "read-back"),
        ("fail", "failed", "none"),
        ("hang", "unsure", "unknown"),
    ] {
        let answer = house.ask("POST", PATH, &[], &body(action)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let detail = format!("{action} cell-3 by li");
        let expected = json!({ "key": "k-1", "outcome": outcome, "effect": effect, "detail": detail });
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn refusals_say_why_and_whether_to_come_again() {
    let house = House::open().await;
    for (action, status, word) in [
        ("forbidden", 403, "not-allowed"),
        ("role", 403, "wrong-role"),
        ("why", 400, "no-reason"),
        ("night", 403, "outside-hours"),
        ("often", 429, "too-often"),
        ("expired", 410, "expired"),
        ("ever", 400, "no-expiry"),
        ("2099", 400, "too-far-ahead"),
        ("clock", 409, "clock-unsynced"),
        ("taken", 409, "key-taken"),
        ("used", 409, "key-used"),
        ("lost", 409, "keys-lost"),
        ("busy", 503, "busy"),
        // Intake ends while the order waits.
        ("dropped", 503, "busy"),
    ] {
        let answer = house.ask("POST", PATH, &[], &body(action)).await;
        assert_eq!(answer.problem(status)["type"], format!("urn:gatehouse:problem:{word}"));
        let again = if action == "often" { "86401" } else { "5" };
        let wanted = if matches!(status, 429 | 503) { again } else { "" };
        assert_eq!(answer.header("retry-after"), wanted, "{action}");
    }
}

#[tokio::test]
async fn a_device_that_takes_its_time_is_202_and_an_order_that_is_not_written_down_503() {
    let house = House::open().await;
    let (wait, stuck) = (body("wait"), body("stuck"));
    let (begun, unwritten) =
        tokio::join!(house.ask("POST", PATH, &[], &wait), house.ask("POST", PATH, &[], &stuck),);
    assert_eq!(begun.status, 202, "{}", begun.text);
    let told = begun.json();
    assert_eq!((&told["key"], &told["state"]), (&Json::from("k-1"), &Json::from("begun")));
    let told = unwritten.problem(503);
    assert!(told["detail"].as_str().unwrap().contains("same key"), "{told}");
}

#[tokio::test]
async fn every_mistake_of_an_order_names_its_cure() {
    let house = House::open().await;
    let long = "x".repeat(101);
    let with = |name: &str, value: Json| {
        let mut order: Json = serde_json::from_str(&body("open")).unwrap();
        order[name] = value;
        order.to_string()
    };
    let without = |name: &str| {
        let mut order: Json = serde_json::from_str(&body("open")).unwrap();
        order.as_object_mut().unwrap().remove(name);
        order.to_string()
    };
    for (path, body, status, names) in [
        ("/api/v1/devices/pump-9/commands", body("open"), 404, "pump-9"),
        (PATH, String::new(), 400, "expires_at"),
        (PATH, "[]".to_owned(), 400, "expires_at"),
        (PATH, with("acton", "open".into()), 400, "acton"),
        (PATH, without("key"), 400, "key"),
        (PATH, without("action"), 400, "action"),
        (PATH, with("key", " ".into()), 400, "`key` is empty"),
        (PATH, with("key", long.clone().into()), 400, "`key` may have up to 100"),
        (PATH, with("action", long.clone().into()), 400, "`action`"),
        (PATH, with("target", long.clone().into()), 400, "`target`"),
        (PATH, with("by", long.clone().into()), 400, "`by`"),
        (PATH, with("reason", long.repeat(5).into()), 400, "`reason` may have up to 500"),
        (PATH, with("expires_at", "soon".into()), 400, "soon"),
        (PATH, with("reason", "parcel\u{1b}[2J".into()), 400, "`reason` has a control character"),
        (PATH, with("key", "k\n1".into()), 400, "`key` has a control character"),
    ] {
        let problem = house.ask("POST", path, &[], &body).await.problem(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(names), "{body}: `{detail}` does not name `{names}`");
    }
    let refused = house.ask("GET", PATH, &[], "").await;
    assert_eq!((refused.status, refused.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn only_a_technician_may_order() {
    let tokens = [("central", Role::Central), ("technician", Role::Technician), ("viewer", Role::Viewer)];
    let house = House::with_tokens(&tokens).await;
    let anonymous = json!({ "action": "open", "key": "k-1" }).to_string();
    for (name, status) in [("central", 403), ("technician", 200), ("viewer", 403)] {
        let bearer = format!("Bearer {name}-secret");
        let answer = house.ask("POST", PATH, &[("authorization", &bearer)], &anonymous).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        if status == 200 {
            assert_eq!(answer.json()["detail"], format!("open  by {name}"), "by default the token's name");
        }
    }
    assert_eq!(house.ask("POST", PATH, &[], &anonymous).await.status, 401);
}

/// A cure that leads to the next refusal is none.
#[tokio::test]
async fn a_viewer_is_told_of_a_role_that_may() {
    let tokens = [("central", Role::Central), ("technician", Role::Technician), ("viewer", Role::Viewer)];
    let house = House::with_tokens(&tokens).await;
    for path in [PATH, "/api/v1/reload", "/api/v1/devices/bank-1/read", "/api/v1/channels/plant/scan"] {
        let refused = house.ask("POST", path, &[("authorization", "Bearer viewer-secret")], "{}").await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        let cure = detail.split_once("use one of role ").unwrap().1;
        assert!(cure.starts_with("technician, or central for tickets"), "{path}: {detail}");
        for (name, may) in [("central", false), ("technician", true)] {
            let bearer = format!("Bearer {name}-secret");
            let answer = house.ask("POST", path, &[("authorization", &bearer)], "{}").await;
            assert_eq!(answer.status != 403, may, "{path}, {name}: {}", answer.text);
        }
    }
}
