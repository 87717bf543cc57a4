//! The real binary under a clock that is not the machine's: 1970 at boot and then today, back one hour, forward one day.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod kernel_clock;

use gatehouse::reading::Millis;
use gatehouse::sim::modbus::{Server, Units};
use gatehouse::time;
use gateway::{Gateway, beside, kinds, of_kind};
use kernel_clock::Clock;
use serde_json::Value as Json;

const DELAY: Millis = 4000;
const HOUR: Millis = 3_600_000;
const DAY: Millis = 24 * HOUR;
/// More than a busy machine ever takes for a step of a test, and less than any step of the clock.
const NEAR: Millis = 10 * 60_000;

fn configure(gateway: &Gateway, server: &Server) {
    let mut text = format!(
        "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\ntimeout = \"5s\"\n",
        server.address
    );
    for (id, unit) in [("a", 1), ("b", 2), ("c", 3)] {
        text += &format!(
            "[[device]]\nid = \"{id}\"\nchannel = \"plant\"\nunit = {unit}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
             [[rule]]\nid = \"high-{id}\"\npoint = \"{id}.level\"\nabove = 100.0\non_delay = \"4s\"\n"
        );
    }
    gateway.configure(&text);
}

fn millis(of: &Json) -> Millis {
    time::parse(of.as_str().unwrap()).unwrap()
}

fn note(event: &Json) -> &str {
    event["data"]["note"].as_str().unwrap_or_default()
}

/// What it is about holds from now on, and once that has been read the clock is set. Its ticket, and what it tells of itself.
fn held_over_a_step(gateway: &Gateway, units: &Units, clock: &Clock, unit: u8, off: Millis) -> Json {
    let id = ["a", "b", "c"][usize::from(unit) - 1];
    units.set_holding(unit, 0, 500);
    gateway.until("the value is read", || {
        let points = gateway.get("/api/v1/points")?;
        let point =
            points["points"].as_array()?.iter().find(|point| point["id"] == format!("{id}.level"))?.clone();
        (point["value"] == 500.0).then_some(())
    });
    let steps = of_kind(&gateway.events(), "gateway.clock-stepped").len();
    clock.set(off, true);
    gateway.until_told("gateway.clock-stepped", steps + 1);
    gateway.until("it has its ticket", || {
        let ticket = gateway.tickets().into_iter().find(|ticket| ticket["device"] == id)?;
        assert_eq!(millis(&ticket["opened_at"]) - millis(&ticket["since"]), DELAY, "{ticket:#}");
        near(&ticket["opened_at"], off);
        Some(ticket)
    })
}

/// By the clock as it is set.
fn near(at: &Json, off: Millis) {
    let away = time::now() + off - millis(at);
    assert!(away.abs() < NEAR, "{at} is {away} ms away");
}

#[tokio::test]
async fn the_daemon_takes_1970_and_today_an_hour_back_and_a_day_forward() {
    let units = Units::default();
    for unit in 1..=3 {
        units.set_holding(unit, 0, 50);
    }
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-clock");
        configure(&gateway, &server);
        let clock = Clock::of(&mut gateway);
        let in_1970 = 10_000 - time::now();
        clock.set(in_1970, false);
        gateway.start();
        near(&gateway.until_told("gateway.started", 1)[0]["time"], in_1970);

        let first = held_over_a_step(&gateway, &units, &clock, 1, 0);
        let second = held_over_a_step(&gateway, &units, &clock, 2, -HOUR);
        let third = held_over_a_step(&gateway, &units, &clock, 3, DAY);
        for ticket in [&first, &second, &third] {
            let now = gateway.ticket(&ticket["id"]);
            near(&now["opened_at"], DAY);
            near(&now["evidence"][0][0], DAY);
            assert_eq!(millis(&now["deadlines"]["contact_by"]) - millis(&now["opened_at"]), 6 * HOUR);
        }
        let (ended, _) = gateway.stop();
        assert!(ended.success());
        told(&gateway.journal(), in_1970);
    })
    .await;
}

fn told(events: &[Json], in_1970: Millis) {
    let steps = of_kind(events, "gateway.clock-stepped");
    let offsets: Vec<f64> = steps.iter().map(|step| step["data"]["offset"].as_f64().unwrap()).collect();
    let wanted = [-in_1970, -HOUR, DAY + HOUR].map(|by| by as f64 / 1000.0);
    assert!(
        offsets.len() == 3 && offsets.iter().zip(wanted).all(|(is, by)| (is - by).abs() < 2.0),
        "{offsets:?}, not {wanted:?}"
    );
    // One boot, and it is the one that the start named.
    let boot = &of_kind(events, "gateway.started")[0]["data"]["boot"];
    assert!(boot.as_str().is_some_and(|boot| !boot.is_empty()));
    assert!(steps.iter().all(|step| step["data"]["boot"] == *boot));
    // Unsynced up to the first step, synced from soon after it.
    let first = events.iter().position(|event| event["type"] == steps[0]["type"]).unwrap();
    assert!(events[..=first].iter().all(|event| event["clock"] == "unsynced"));
    let second = events.iter().position(|event| event["id"] == steps[1]["id"]).unwrap();
    assert!(events[second..].iter().all(|event| event["clock"] == "synced"));
    // Nothing but what was read: no silence, no deadline, no wire, and no ticket twice.
    let all = kinds(events);
    assert_eq!(all.iter().filter(|kind| *kind == "ticket.opened").count(), 3, "{all:?}");
    for kind in ["ticket.escalated", "ticket.cleared", "ticket.reopened", "ticket.closed", "device.offline"] {
        assert!(!all.iter().any(|told| told == kind), "{kind} in {all:?}");
    }
    let corrected = of_kind(events, "ticket.updated");
    assert!(corrected.iter().all(|event| note(event) == "clock"), "{corrected:#?}");
    assert!(corrected.len() >= 3, "the first twice, the second once: {}", corrected.len());
}

#[tokio::test]
async fn at_most_so_often_holds_for_who_sets_the_clock_back_at_a_start_and_right_again() {
    let units = Units::default();
    units.change(1, |unit| unit.coils = [(0, false)].into());
    let server = Server::tcp(units).await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-often");
        gateway.configure(&format!(
            "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\ntimeout = \"5s\"\n\
             [[device]]\nid = \"io\"\nchannel = \"plant\"\nunit = 1\n\
             [[device.point]]\nid = \"lamp\"\ntable = \"coil\"\nregister = 0\ntype = \"bool\"\n\
             [[device.command]]\naction = \"on\"\ntarget = \"lamp\"\ncoil = 0\nvalue = true\n\
             at_most = {{ times = 2, within = \"1h\" }}\n",
            server.address
        ));
        let clock = Clock::of(&mut gateway);
        let order = |gateway: &Gateway, key: &str| {
            let order = serde_json::json!({ "action": "on", "target": "lamp", "by": "Wang", "key": key });
            gateway.post("/api/v1/devices/io/commands", &order).0
        };
        clock.set(0, true);
        gateway.start();
        assert_eq!(order(&gateway, "1"), 200);
        assert!(gateway.stop().0.success());

        clock.set(-2 * HOUR, false);
        gateway.start();
        assert_eq!([order(&gateway, "2"), order(&gateway, "3")], [200, 429], "the first is not forgotten");
        clock.set(0, true);
        gateway.until_told("gateway.clock-stepped", 1);
        assert_eq!(order(&gateway, "4"), 429, "nor is the second");
        assert!(gateway.stop().0.success());
    })
    .await;
}
