//! Maintenance over real HTTP: who may set it, how it is shown, and how each mistake is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use gatehouse::live::DeviceState;
use gatehouse::reading::DeviceId;
use gatehouse::time;
use gatehouse::web::Role;
use serde_json::{Value as Json, json};
use web_house::House;

const ANY: &str = "/api/v1/maintenance";
const OF_PUMP: &str = "/api/v1/devices/pump-1/maintenance";
const HOUR: i64 = 3_600_000;

fn hours(count: i64) -> String {
    time::format(time::now() + count * HOUR)
}

async fn listed(house: &House) -> Vec<Json> {
    let answer = house.get(ANY).await.json();
    answer["maintenance"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_device_in_maintenance_is_shown_with_its_end_until_somebody_ends_it() {
    let house = House::open().await;
    house.live.lock().device_mut(DeviceId(0)).state = DeviceState::Offline;
    let until = hours(2);
    let body = json!({ "until": until, "by": "li", "note": "换泵" }).to_string();
    let answer = house.ask("POST", OF_PUMP, &[], &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let told = answer.json();
    let named = (&told["device"], &told["until"], &told["by"], &told["note"], &told["state"]);
    let expected = (json!("pump-1"), json!(until), json!("li"), json!("换泵"), json!("begun"));
    assert_eq!(named, (&expected.0, &expected.1, &expected.2, &expected.3, &expected.4));

    let device = house.get("/api/v1/devices").await.json()["devices"][0].clone();
    assert_eq!(device["state"], "maintenance");
    assert_eq!(device["since"], told["since"]);
    assert_eq!(device["maintenance"]["until"], until.as_str());
    assert_eq!(device["maintenance"]["state"], "offline", "how it is meanwhile");
    assert_eq!(listed(&house).await.len(), 1);

    // An end in another zone is the same instant.
    let over = json!({ "until": "2020-01-01T00:00:00+08:00", "by": "li" }).to_string();
    let answer = house.ask("POST", OF_PUMP, &[], &over).await.json();
    assert_eq!(answer["state"], "ended");
    assert_eq!(listed(&house).await, Vec::<Json>::new());
    let device = house.get("/api/v1/devices").await.json()["devices"][0].clone();
    assert_eq!((&device["state"], device.get("maintenance")), (&json!("offline"), None));
    let again = house.ask("POST", OF_PUMP, &[], &over).await;
    assert_eq!((again.status, &again.json()["state"]), (200, &json!("ended")), "as it should be");
}

#[tokio::test]
async fn a_place_or_a_rule_rests_as_well_and_the_last_end_is_shown() {
    let house = House::open().await;
    for (what, name, end) in
        [("device", "pump-1", 1), ("place", "3号楼/", 3), ("rule", "pump-pressure-low", 5)]
    {
        let body = json!({ what: name, "until": hours(end) }).to_string();
        let answer = house.ask("POST", ANY, &[], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["by"], "api", "where nobody is named");
    }
    let all = listed(&house).await;
    let scopes = (&all[0]["device"], &all[1]["place"], &all[2]["rule"]);
    assert_eq!(scopes, (&json!("pump-1"), &json!("3号楼"), &json!("pump-pressure-low")));
    let device = house.get("/api/v1/devices").await.json()["devices"][0].clone();
    assert_eq!(device["maintenance"]["place"], "3号楼", "a rule that rests is no device's state");
    let longer = json!({ "device": "pump-1", "until": hours(4), "by": "wang" }).to_string();
    let changed = house.ask("POST", ANY, &[], &longer).await.json();
    assert_eq!((&changed["state"], &changed["since"]), (&json!("changed"), &all[0]["since"]));
    assert_eq!(listed(&house).await.len(), 3, "one for each scope");
}

#[tokio::test]
async fn every_mistake_names_its_cure() {
    let house = House::open().await;
    let soon = hours(1);
    let with = |body: Json| body.to_string();
    for (path, body, status, names) in [
        ("/api/v1/devices/pump-2/maintenance", with(json!({ "until": soon })), 404, "did you mean `pump-1`"),
        ("/api/v1/devices/zzzzzzzz/maintenance", with(json!({ "until": soon })), 404, "GET /api/v1/devices"),
        (OF_PUMP, String::new(), 400, "\"until\""),
        (OF_PUMP, "[]".to_owned(), 400, "\"until\""),
        (OF_PUMP, with(json!({ "by": "li" })), 400, "needs an end"),
        (OF_PUMP, with(json!({ "until": "tomorrow" })), 400, "`tomorrow`; write it as 2026-"),
        (OF_PUMP, with(json!({ "until": hours(32 * 24) })), 400, "within 31 days"),
        (OF_PUMP, with(json!({ "untill": soon })), 400, "untill"),
        (OF_PUMP, with(json!({ "until": soon, "rule": "x" })), 400, "/api/v1/maintenance"),
        (OF_PUMP, with(json!({ "until": soon, "by": "x".repeat(101) })), 400, "`by` may have up to 100"),
        (OF_PUMP, with(json!({ "until": soon, "note": "x".repeat(501) })), 400, "`note` may have up to 500"),
        (OF_PUMP, with(json!({ "until": soon, "note": "\u{1b}[2J" })), 400, "`note` has a control"),
        (ANY, with(json!({ "until": soon })), 400, "one `place`"),
        (ANY, with(json!({ "until": soon, "device": "pump-1", "place": "3号楼" })), 400, "one `rule`"),
        (ANY, with(json!({ "until": soon, "place": "3号楼/地下式" })), 404, "did you mean `3号楼/地下室`"),
        (ANY, with(json!({ "until": soon, "rule": "pump-presure-low" })), 404, "`pump-pressure-low`"),
        (ANY, with(json!({ "until": soon, "place": "" })), 404, "there is no place ``"),
        // Intake ends while the word waits.
        (OF_PUMP, with(json!({ "until": soon, "by": "stuck" })), 503, "closing"),
    ] {
        let problem = house.ask("POST", path, &[], &body).await.problem(status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(names), "{body}: `{detail}` does not name `{names}`");
    }
    assert_eq!(listed(&house).await.len(), 0);
}

#[tokio::test]
async fn who_works_on_tickets_may_set_maintenance_and_a_viewer_may_read_it() {
    let tokens = [("central", Role::Central), ("technician", Role::Technician), ("viewer", Role::Viewer)];
    let house = House::with_tokens(&tokens).await;
    let body = json!({ "until": hours(1) }).to_string();
    for (name, status) in [("central", 200), ("technician", 200), ("viewer", 403)] {
        let bearer = format!("Bearer {name}-secret");
        let headers = [("authorization", bearer.as_str())];
        let answer = house.ask("POST", OF_PUMP, &headers, &body).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        if status == 200 {
            assert_eq!(answer.json()["by"], name, "by default the token's name");
        }
        assert_eq!(house.ask("GET", ANY, &headers, "").await.status, 200, "{name}");
        let devices = house.ask("GET", "/api/v1/devices", &headers, "").await.json();
        assert_eq!(devices["role"], name, "by which the page knows what it may offer");
    }
    assert_eq!(house.ask("POST", OF_PUMP, &[], &body).await.status, 401);
}
