//! What strangers do on the wires: peers that answer with noise and mutated frames, events forged from elsewhere, and a
//! device's password used to speak for another device. Nothing of it becomes a reading, and all else goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod mosquitto;
mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside, of_kind, text};
use mosquitto::{Broker, free_port};
use python::Python;
use serde_json::Value as Json;

/// KiB; a build without optimisation takes about 40,000.
const RESIDENT_MOST: u64 = 96 * 1024;
/// How often each of the hostile peers has to have struck; who answers nonsense is asked ever more rarely.
const STRUCK: [(&str, u64); 7] =
    [("modbus", 4), ("serial", 4), ("osdp", 10), ("rtu", 200), ("uhppote", 6), ("forged", 300), ("mqtt", 5)];

fn device(id: &str, channel: &str, more: &str) -> String {
    format!("[[device]]\nid = \"{id}\"\nchannel = \"{channel}\"\n{more}\n")
}

const LEVEL: &str =
    "poll = \"100ms\"\n[[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"";

fn under_attack(well: &str, at: &BTreeMap<String, String>, listener: u16) -> String {
    let channel = |id: &str, kind: &str, more: String| {
        format!("[[channel]]\nid = \"{id}\"\ntype = \"{kind}\"\n{more}\n")
    };
    let address = |name: &str| format!("address = \"{}\"", at[name]);
    [
        "[privacy]\nkey = { file = \"key\" }\n".to_owned(),
        channel("good", "modbus-tcp", format!("address = \"{well}\"")),
        channel("modbus", "modbus-tcp", format!("{}\ntimeout = \"200ms\"", address("modbus"))),
        channel("rtu", "modbus-rtu", format!("port = \"{}\"\ntimeout = \"200ms\"", at["rtu"])),
        channel("serial", "serial", format!("{}\ntimeout = \"200ms\"", address("serial"))),
        channel("osdp", "osdp", address("osdp")),
        channel("uhppote", "uhppote", format!("listen = \"127.0.0.1:{listener}\"\ntimeout = \"200ms\"")),
        channel("mqtt", "mqtt", format!("url = \"mqtt://{}\"\ntimeout = \"1s\"", at["mqtt"])),
        device("well", "good", &format!("unit = 1\n{LEVEL}")),
        device("bad-tcp", "modbus", &format!("unit = 1\n{LEVEL}")),
        device("bad-rtu", "rtu", &format!("unit = 1\n{LEVEL}")),
        device("bad-meter", "serial", "address = \"181219024435\"\nprofile = \"dlt645\"\npoll = \"300ms\""),
        device("bad-reader", "osdp", "unit = 1\nprofile = \"osdp-reader\""),
        device(
            "bad-gate",
            "uhppote",
            &format!(
                "serial = 423187757\nprofile = \"uhppote\"\ndoors = 2\n{}\npoll = \"500ms\"",
                address("uhppote")
            ),
        ),
        device("bad-tank", "mqtt", "topic = \"tank\"\n[[device.point]]\nid = \"level\""),
        "[[rule]]\nid = \"high\"\npoint = \"*.level\"\nabove = 100\n".to_owned(),
    ]
    .concat()
}

#[tokio::test]
async fn noise_and_forged_frames_on_every_wire_are_no_reading_and_hold_nothing_up() {
    let units = Units::default();
    units.set_holding(1, 0, 1);
    let server = Server::tcp(units.clone()).await.unwrap();
    beside(move || {
        let listener = free_port();
        let mut hostile = Python::start("hostile.py", &["20261122", &listener.to_string()]);
        let at: BTreeMap<String, String> = serde_json::from_str(&hostile.line()).unwrap();
        let mut gateway = Gateway::new("gw-attack");
        fs::write(gateway.dir().join("key"), "0123456789abcdef0123456789abcdef").unwrap();
        gateway.configure(&under_attack(&server.address.to_string(), &at, listener));
        gateway.start();
        gateway.until("each of them has struck often", || {
            hostile.tell("?");
            let struck: BTreeMap<String, u64> = serde_json::from_str(&hostile.line()).unwrap();
            STRUCK.iter().all(|(name, often)| struck[*name] >= *often).then_some(())
        });

        // Amid all that, the one that is well is read, and its ticket is told.
        units.set_holding(1, 0, 500);
        let is_high = |event: &Json| event["data"]["rule"] == "high";
        let high = gateway.until("the ticket of the one that is well", || {
            let opened: Vec<Json> =
                of_kind(&gateway.events(), "ticket.opened").into_iter().filter(is_high).collect();
            (!opened.is_empty()).then_some(opened)
        });
        assert!(high.iter().all(|event| event["data"]["device"] == "well"), "{high:?}");
        let points = gateway.get("/api/v1/points").unwrap();
        let points = points["points"].as_array().unwrap();
        let believed: Vec<&Json> = points.iter().filter(|p| p["quality"] == "good").collect();
        assert!(believed.iter().all(|p| p["id"] == "well.level"), "{believed:?}");
        assert_eq!(believed.len(), 1, "{points:?}");
        let events = gateway.events();
        let people = events.iter().filter(|event| event["type"].as_str().unwrap().contains("access"));
        assert_eq!(people.count(), 0, "{events:?}");

        assert!(gateway.is_running());
        let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(resident < RESIDENT_MOST, "{resident} KiB at the most");
        let log = gateway.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.len() < 256 * 1024, "{} bytes of log", log.len());
        assert!(gateway.stop().0.success());
    })
    .await;
}

// --- a broker with an access list ---

fn publish(broker: &Broker, user: &str, topic: &str, value: &str) -> Output {
    let port = broker.port.to_string();
    let mut publish = Command::new("mosquitto_pub");
    publish.args(["-V", "5", "-q", "1", "-p", &port, "-u", user, "-P", &format!("{user}-password")]);
    publish.args(["-t", topic, "-m", value]).output().unwrap()
}

fn passwords(file: &Path, users: &[&str]) {
    fs::write(file, "").unwrap();
    for user in users {
        let made = Command::new("mosquitto_passwd")
            .arg("-b")
            .arg(file)
            .args([user, &*format!("{user}-password")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    // As root mosquitto becomes another user, who has to be able to read it.
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
}

#[test]
fn a_device_that_speaks_for_another_is_refused_by_the_list_that_gatehouse_writes() {
    let tank =
        |id: &str| device(id, "broker", &format!("topic = \"plant/{id}\"\n[[device.point]]\nid = \"level\""));
    let configuration = |port: u16| {
        format!(
            "[[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\nusername = \"gatehouse\"\n\
             password = {{ file = \"password\" }}\n{}{}[[rule]]\nid = \"high\"\npoint = \"*.level\"\nabove = 100\n",
            tank("a"),
            tank("b")
        )
    };
    let mut gateway = Gateway::new("gw-acl");
    fs::write(gateway.dir().join("password"), "gatehouse-password").unwrap();
    gateway.configure(&configuration(1));
    let list = gateway.command("acl").arg("broker").output().unwrap();
    assert!(list.status.success(), "{}", text(&list.stderr));

    let dir = tempfile::tempdir().unwrap();
    let (acl, users) = (dir.path().join("acl"), dir.path().join("users"));
    fs::write(&acl, &list.stdout).unwrap();
    passwords(&users, &["gatehouse", "a", "b"]);
    let more =
        format!("allow_anonymous false\npassword_file {}\nacl_file {}\n", users.display(), acl.display());
    let broker = Broker::with(dir, &more);
    gateway.configure(&configuration(broker.port));
    gateway.start();
    gateway.until("the broker is there", || gateway.log().contains("connected to the broker").then_some(()));

    let forged = publish(&broker, "a", "plant/b", "500");
    let said = text(&forged.stderr) + &text(&forged.stdout);
    assert!(said.to_lowercase().contains("not authorized"), "{said}");
    let stranger = publish(&broker, "stranger", "plant/b", "500");
    assert!(!stranger.status.success(), "without a password nobody says anything");

    // What is its own it may say; the broker hands on in order, so what was forged would have come before.
    gateway.until("what A itself says", || {
        assert!(publish(&broker, "a", "plant/a", "500").status.success());
        (!of_kind(&gateway.events(), "ticket.opened").is_empty()).then_some(())
    });
    let opened = of_kind(&gateway.events(), "ticket.opened");
    assert!(opened.iter().all(|event| event["data"]["device"] == "a"), "{opened:?}");
    let points = gateway.get("/api/v1/points").unwrap();
    let of_b = points["points"].as_array().unwrap().iter().find(|p| p["id"] == "b.level").unwrap();
    assert!(of_b["value"].is_null(), "{of_b}");
    assert!(gateway.stop().0.success());
}
