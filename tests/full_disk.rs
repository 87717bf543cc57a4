//! A disk that is full and a card that takes no writes, with the real binary and a CRM on a real socket.
//!
//! The card: a limit of the kernel on how large the daemon's files may be, of 0 bytes, refuses each write with an I/O
//! error, and can be lifted again. The disk: a small tmpfs; where none can be mounted that test says so and is left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use gatehouse::sim::crm::{Arrival, Crm};
use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside, of_kind};
use serde_json::{Value as Json, json};

const HIGH: u16 = 500;
const LOW: u16 = 5;

/// A compound with three pumps, each with a rule of its own, pushing to the CRM.
fn pumps(server: &Server, crm: &Crm) -> String {
    let mut text = format!(
        "[[sync]]\nname = \"crm\"\nurl = \"{}\"\n[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n",
        crm.url(),
        server.address
    );
    for unit in 1..=3 {
        text += &format!(
            "[[device]]\nid = \"pump-{unit}\"\nchannel = \"plant\"\nunit = {unit}\npoll = \"100ms\"\n\
             [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
             [[rule]]\nid = \"high-{unit}\"\npoint = \"pump-{unit}.level\"\nabove = 100.0\n"
        );
    }
    text
}

/// How large a file of the daemon may be.
fn limit(gateway: &Gateway, bytes: &str) {
    let pid = gateway.pid().to_string();
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(set.unwrap().success());
}

fn of_rule(crm: &Crm, rule: &str) -> Vec<Arrival> {
    crm.arrivals().into_iter().filter(|arrival| arrival.data["rule"] == rule).collect()
}

fn until_arrived(gateway: &Gateway, crm: &Crm, rule: &str, kind: &str) -> Arrival {
    gateway.until(&format!("{kind} of {rule} is at the CRM"), || {
        let kind = format!("gatehouse.{kind}");
        of_rule(crm, rule).into_iter().find(|arrival| arrival.kind == kind)
    })
}

fn until_degraded(gateway: &Gateway, is: bool) {
    gateway.until("it says how it is", || {
        let ready = gateway.get("/readyz")?;
        (ready["ready"] == true && ready["degraded"].is_string() == is).then_some(())
    });
}

/// Each ticket's revisions at the CRM, from 1 on without a gap, each told by one event alone.
fn are_all_there_once(crm: &Crm) {
    let mut told: BTreeMap<String, BTreeMap<u64, BTreeSet<String>>> = BTreeMap::new();
    for arrival in crm.arrivals().iter().filter(|arrival| arrival.kind.starts_with("gatehouse.ticket.")) {
        let (id, revision) = (arrival.subject.clone(), arrival.data["revision"].as_u64().unwrap());
        told.entry(id).or_default().entry(revision).or_default().insert(arrival.id.clone());
    }
    for (id, revisions) in &told {
        for (n, (revision, events)) in (1..).zip(revisions) {
            assert_eq!((n, events.len()), (*revision, 1), "{id} in {told:#?}");
        }
    }
}

#[tokio::test]
async fn a_card_that_takes_no_writes_loses_no_ticket_and_doubles_none() {
    let units = Units::default();
    (1..=3).for_each(|unit| units.set_holding(unit, 0, LOW));
    let server = Server::tcp(units.clone()).await.unwrap();
    let crm = Crm::start().await.unwrap();
    beside(move || {
        let mut gateway = Gateway::new("gw-card");
        gateway.configure(&pumps(&server, &crm));
        gateway.spawn_heard();
        gateway.wait_ready();
        units.set_holding(1, 0, HIGH);
        let first = until_arrived(&gateway, &crm, "high-1", "ticket.opened");
        let on_disk = epoch(&gateway);

        limit(&gateway, "0");
        units.set_holding(2, 0, HIGH);
        let second = until_arrived(&gateway, &crm, "high-2", "ticket.opened");
        let in_memory = epoch(&gateway);
        assert_ne!(in_memory, on_disk, "an epoch of its own");
        assert!(second.id.contains(&in_memory), "{second:?}");
        until_degraded(&gateway, true);
        until_arrived(&gateway, &crm, "storage-low", "ticket.opened");
        // The ticket of before goes on under its id, and a person's word is heard.
        let ticket = json!({ "id": first.data["id"] });
        assert_eq!(gateway.act(&ticket, "acknowledge").0, 200);
        until_arrived(&gateway, &crm, "high-1", "ticket.acknowledged");
        let low = gateway.until_told("gateway.storage-low", 1);
        assert_eq!((&low[0]["data"]["low"], &low[0]["data"]["why"]), (&json!(true), &json!("card")));

        limit(&gateway, "unlimited");
        gateway.until("the journal is on the disk again", || {
            (epoch(&gateway) != in_memory && epoch(&gateway) != on_disk).then_some(())
        });
        until_degraded(&gateway, false);
        units.set_holding(2, 0, LOW);
        let cleared = until_arrived(&gateway, &crm, "high-2", "ticket.cleared");
        assert_eq!(cleared.data["id"], second.data["id"]);
        until_arrived(&gateway, &crm, "storage-low", "ticket.cleared");
        units.set_holding(3, 0, HIGH);
        until_arrived(&gateway, &crm, "high-3", "ticket.opened");
        assert!(gateway.stop().0.success());
        are_all_there_once(&crm);
        let opened = crm.arrivals().into_iter().filter(|a| a.kind == "gatehouse.ticket.opened").count();
        assert_eq!(opened, 4, "three pumps and the storage: {:#?}", crm.tickets());
        let ends = gateway.store();
        assert_eq!(ends.view.tickets(&every_ticket()).unwrap().len(), 4);
        let consumers = ends.view.consumers().unwrap();
        let crm_now = consumers.iter().find(|c| c.name == "crm").unwrap();
        assert_eq!(crm_now.lag, 0, "{crm_now:?}");
    })
    .await;
}

fn epoch(gateway: &Gateway) -> String {
    gateway.until("the API says its epoch", || {
        let page = gateway.get("/api/v1/events?after=0&limit=1")?;
        Some(page["epoch"].as_str()?.to_owned())
    })
}

fn every_ticket() -> gatehouse::store::Filter {
    gatehouse::store::Filter { limit: 1000, ..Default::default() }
}
