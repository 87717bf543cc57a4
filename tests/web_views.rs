//! What the page looks at besides the present: rules, a ticket's story, doors and lockers, the heat of the week.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::io::Read as _;
use std::time::{Duration, Instant};

use gatehouse::event::Draft;
use gatehouse::reading::{DeviceId, Door, DoorId, PointId, Quality, Site, Value};
use gatehouse::store::Page;
use gatehouse::ticket::{Class, State};
use gatehouse::time;
use gatehouse::web::{self, plan};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use web_house::{AT, House, plan, site, ticket};

/// In debug builds and beside other tests.
const SLOW: u32 = 8;

fn told(kind: &'static str, subject: &str, at: i64, data: &serde_json::Value) -> Draft {
    Draft::new(kind, subject.into(), at, data)
}

fn commit(house: &mut House, at: i64, events: Vec<Draft>) -> u64 {
    house.commit(&Page { at, events, ..Page::default() })
}

#[tokio::test]
async fn rules_are_shown_as_written_with_their_open_tickets() {
    let rule = plan::Rule {
        id: "pump-pressure-low".into(),
        points: vec![PointId(0)],
        devices: vec![],
        condition: json!({ "below": 200.0 }),
        deadband: 20.0,
        on_delay: "10s".into(),
        off_delay: "30s".into(),
        class: Class::Immediate,
        level: 1,
        trade: Some("plumbing".into()),
    };
    let quiet = plan::Rule { id: "quiet".into(), devices: vec![DeviceId(0)], points: vec![], ..rule.clone() };
    let rules = web::Plan { rules: vec![rule, quiet], ..plan() };
    let mut house = House::built(site(), rules, &[]).await;
    let states = [State::Open, State::Acknowledged, State::Resolved, State::Closed];
    let tickets = states.iter().enumerate().map(|(n, state)| ticket(&format!("t-{n}"), *state, "pump-1"));
    house.commit_tickets(tickets.collect());
    let expected = json!({
        "id": "pump-pressure-low", "points": ["pump-1.pressure"], "devices": [], "condition": { "below": 200.0 },
        "deadband": 20.0, "on_delay": "10s", "off_delay": "30s", "class": "immediate", "level": 1,
        "trade": "plumbing", "opens": 3,
    });
    let rules = house.get("/api/v1/rules").await.json();
    assert_eq!(rules["rules"][0], expected);
    let quiet = &rules["rules"][1];
    assert_eq!(
        (&quiet["opens"], &quiet["points"], &quiet["devices"]),
        (&json!(0), &json!([]), &json!(["pump-1"]))
    );
}

#[tokio::test]
async fn a_tickets_story_is_its_own_events_in_order() {
    let mut house = House::open().await;
    house.commit_tickets(vec![ticket("t-1", State::Open, "pump-1"), ticket("t-2", State::Open, "pump-1")]);
    let mut own = Vec::new();
    for round in 0..60 {
        let events = ["tickets/t-1", "tickets/t-2", "devices/pump-1"].map(|subject| {
            told("ticket.reopened", subject, AT + round, &json!({ "round": round, "place": "3号楼" }))
        });
        own.push(commit(&mut house, AT + round, events.into()) - 2);
    }
    let story = house.get("/api/v1/tickets/t-1/events").await.json();
    let events = story["events"].as_array().unwrap();
    let numbers: Vec<u64> =
        events.iter().map(|event| event["sequence"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(numbers, own);
    assert!(events.iter().all(|event| event["subject"] == "tickets/t-1"));
    assert_eq!(story["more"], false);
    let told = house.get("/api/v1/tickets/t-3/events").await.problem(404);
    assert!(told["detail"].as_str().unwrap().contains("`t-3`"), "{told}");
}

fn locked() -> (Site, web::Plan) {
    let mut site = site();
    site.doors.push(Door { id: "b3-entrance".into(), place: "3号楼/入口".into(), words: PointId(1) });
    let bank = plan::Bank {
        device: DeviceId(0),
        cells: vec![PointId(0), PointId(1)],
        items: vec![],
        commands: vec!["open".into()],
    };
    let command = plan::Command {
        device: DeviceId(0),
        action: "open".into(),
        targets: vec!["cell-1".into(), "cell-2".into()],
        reason: true,
        central: false,
    };
    let doors = vec![plan::Door { id: DoorId(0), contact: PointId(0) }];
    (site, web::Plan { doors, banks: vec![bank], commands: vec![command], ..plan() })
}

#[tokio::test]
async fn doors_and_cells_say_what_is_open_and_the_last_word_on_each() {
    let (site, plan) = locked();
    let mut house = House::built(site, plan, &[]).await;
    let before = house.get("/api/v1/doors").await.json();
    let expected = json!({
        "doors": [{ "id": "b3-entrance", "place": "3号楼/入口", "contact": null, "word": null, "at": null }],
        "banks": [{
            "device": "pump-1", "place": "3号楼/地下室/水泵房", "commands": ["open"],
            "cells": [
                { "cell": 1, "state": null, "item": null, "word": null, "at": null },
                { "cell": 2, "state": null, "item": null, "word": null, "at": null },
            ],
        }],
    });
    assert_eq!(before, expected);
    {
        let mut live = house.live.lock();
        let now = live.point_mut(PointId(0));
        (now.value, now.quality) = (Some(Value::Text("open".into())), Quality::Good);
    }
    let events = vec![
        told("locker.opened", "devices/pump-1", AT, &json!({ "board": "pump-1", "cell": 1 })),
        told("locker.jammed", "devices/pump-1", AT + 1, &json!({ "board": "pump-1", "cell": 2 })),
        told("access.forced", "doors/b3-entrance", AT + 2, &json!({ "door": "b3-entrance" })),
        told("locker.deposited", "devices/pump-1", AT + 3, &json!({ "board": "pump-1", "cell": 1 })),
        told("device.online", "devices/pump-1", AT + 4, &json!({})),
    ];
    commit(&mut house, AT, events);
    let now = house.get("/api/v1/doors").await.json();
    let door = &now["doors"][0];
    assert_eq!((&door["contact"], &door["word"]), (&json!("open"), &json!("forced")));
    assert_eq!(door["at"], time::format(AT + 2));
    let cells = &now["banks"][0]["cells"];
    assert_eq!((&cells[0]["state"], &cells[0]["word"]), (&json!("open"), &json!("deposited")));
    assert_eq!((&cells[1]["state"], &cells[1]["word"]), (&json!(null), &json!("jammed")));
    let held = told("access.held", "doors/b3-entrance", AT + 5, &json!({ "door": "b3-entrance" }));
    commit(&mut house, AT + 5, vec![held]);
    assert_eq!(house.get("/api/v1/doors").await.json()["doors"][0]["word"], "held");
    let devices = house.get("/api/v1/devices").await.json();
    let expected = json!([{ "action": "open", "targets": ["cell-1", "cell-2"], "reason": true }]);
    assert_eq!(devices["devices"][0]["commands"], expected);
}

#[tokio::test]
async fn heat_counts_what_came_by_the_hours_of_the_gateways_week() {
    let mut house = House::open().await;
    let (now, hour) = (time::now(), 3_600_000);
    let of = |place: &str, device: &str| json!({ "place": place, "device": device });
    let events = vec![
        told("ticket.opened", "tickets/old", now - 40 * 24 * hour, &of("大堂", "bank-1")),
        told("ticket.opened", "tickets/a", now - 3 * hour, &of("大堂", "bank-1")),
        told("ticket.reopened", "tickets/a", now - 3 * hour, &of("大堂", "bank-1")),
        told("ticket.cleared", "tickets/a", now - 3 * hour, &of("大堂", "bank-1")),
        told("ticket.opened", "tickets/b", now - hour, &of("3号楼", "pump-1")),
        told("device.offline", "devices/pump-1", now, &json!({ "device": "pump-1" })),
    ];
    commit(&mut house, now, events);
    let heat = house.get("/api/v1/heat?days=30").await.json();
    assert_eq!(heat["places"], json!([{ "place": "大堂", "count": 2 }, { "place": "3号楼", "count": 1 }]));
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let at = Timestamp::from_millisecond(now - 3 * hour).unwrap().to_zoned(zone);
    let cell = json!({ "place": "大堂", "weekday": at.weekday().to_monday_one_offset(), "hour": at.hour(), "count": 2 });
    assert_eq!(heat["cells"][0], cell);
    assert_eq!((&heat["timezone"], &heat["others"]), (&json!("Asia/Shanghai"), &json!(0)));
    assert_eq!(
        house.get("/api/v1/heat").await.json()["places"][0]["count"],
        3,
        "90 days where nothing is said"
    );
    let by_device = house.get("/api/v1/heat?days=30&by=device").await.json();
    assert_eq!(by_device["devices"][0], json!({ "device": "bank-1", "count": 2 }));
    for wrong in ["days=0", "days=367", "days=x", "by=floor", "day=3"] {
        house.get(&format!("/api/v1/heat?{wrong}")).await.problem(400);
    }
}

/// As many as a busy quarter brings; the second question is answered from the first.
#[tokio::test]
async fn heat_of_many_events_is_counted_once_and_soon() {
    let mut house = House::open().await;
    let now = time::now();
    let count: i64 = if std::env::var_os("GATEHOUSE_RELEASE").is_some() { 100_000 } else { 10_000 };
    for thousand in 0..count / 1000 {
        let events = (0..1000).map(|n| {
            let at = now - (count - thousand * 1000 - n) * 60_000;
            let place = json!({ "place": format!("{}号楼", n % 40), "evidence": vec![[1.5, 2.5]; 60] });
            told("ticket.opened", &format!("tickets/{thousand}-{n}"), at, &place)
        });
        commit(&mut house, now, events.collect());
    }
    let begun = Instant::now();
    let heat = house.get("/api/v1/heat").await.json();
    let took = begun.elapsed();
    assert_eq!(heat["places"][0]["count"], count / 40);
    assert!(took < Duration::from_secs(1) * SLOW, "{took:?}");
    println!("heat of {count} events: {took:?}");
    commit(&mut house, now, vec![told("ticket.opened", "tickets/more", now, &json!({ "place": "0号楼" }))]);
    assert_eq!(house.get("/api/v1/heat").await.json(), heat, "for a minute it is as it was");
}

#[tokio::test]
async fn answers_are_gzipped_for_who_asks_and_the_same_as_else() {
    let mut house = House::open().await;
    let tickets = (0..20).map(|n| ticket(&format!("t-{n:02}"), State::Open, "pump-1")).collect();
    house.commit_tickets(tickets);
    let plain = house.get("/api/v1/tickets").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
    let packed = house.http.get(format!("{}/api/v1/tickets", house.url)).header("accept-encoding", "gzip");
    let packed = packed.send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let bytes = packed.bytes().await.unwrap();
    assert!(bytes.len() * 4 < plain.text.len(), "{} of {}", bytes.len(), plain.text.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text);
    let small = house.ask("GET", "/api/v1/maintenance", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((small.header("content-encoding"), small.status), ("", 200));
}
