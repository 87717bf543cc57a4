//! Doors over a real broker, with the real daemon: the table of sequences, what an order does to them, and that a kill
//! while an order is under way neither loses nor repeats it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::fs;
mod ports;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use gateway::{Gateway, of_kind};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

/// mosquitto on a port of its own.
struct Broker {
    port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Broker {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = ports::free_port();
        let (conf, at) = (dir.path().join("mosquitto.conf"), dir.path().display().to_string());
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest file {at}/mosquitto.log\nlog_type all\n"
        );
        fs::write(&conf, text).unwrap();
        // As root mosquitto becomes another user, who has to be able to write here.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(dir.path(), open).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null());
        Self { port, child: command.spawn().expect("mosquitto is installed"), dir }
    }

    fn logged(&self, line: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("mosquitto.log")).unwrap_or_default();
        log.lines().filter(|logged| logged.contains(line)).count()
    }

    fn publish(&self, topic: &str, payload: &str) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", payload]);
        assert!(command.status().unwrap().success());
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn contact(&self, open: bool) {
        self.publish("zigbee2mqtt/b3-door", &json!({ "contact": !open, "battery": 100 }).to_string());
    }

    /// What the terminal says of someone whom it recognised.
    fn face(&self, record: u32, verdict: u32) {
        let info = json!({ "RecordID": record, "VerifyStatus": verdict, "personId": "3", "time": "" });
        self.publish("mqtt/face/1234/Rec", &json!({ "operator": "RecPush", "info": info }).to_string());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn house(broker: &Broker) -> Gateway {
    let mut gateway = Gateway::new("cp-017");
    fs::write(gateway.dir().join("privacy-key"), "0123456789abcdef0123456789abcdef").unwrap();
    gateway.configure(&format!(
        r#"
[privacy]
key = {{ file = "{key}" }}
[[channel]]
id   = "broker"
type = "mqtt"
url  = "mqtt://127.0.0.1:{port}"
[[device]]
id      = "b3-door"
channel = "broker"
topic   = "zigbee2mqtt/b3-door"
profile = "zigbee2mqtt-contact"
[[device]]
id      = "b3-face"
channel = "broker"
topic   = "mqtt/face/1234"
profile = "face-terminal"
[[device.command]]
action  = "open"
topic   = "mqtt/face/1234"
payload = '{{"operator":"OpenDoor"}}'
door    = "b3-entrance"
[[door]]
id            = "b3-entrance"
contact       = "b3-door.door"
grants        = ["b3-face"]
unlock_window = "2s"
held_after    = "4s"
"#,
        key = gateway.dir().join("privacy-key").display(),
        port = broker.port,
    ));
    gateway.start();
    gateway.until("the daemon has subscribed", || {
        (broker.logged("Sending SUBACK to gatehouse") > 0).then_some(())
    });
    gateway
}

/// `opened`, of the door as a whole, in order.
fn door(events: &[Json]) -> Vec<String> {
    let of_door = events.iter().filter(|event| event["subject"] == "doors/b3-entrance");
    of_door.map(|event| event["type"].as_str().unwrap().replacen("gatehouse.access.", "", 1)).collect()
}

fn open(key: &str) -> Json {
    json!({ "action": "open", "by": "li", "key": key })
}

/// Waits until the door has told so much; what it told.
fn until_door(gateway: &Gateway, count: usize) -> Vec<String> {
    gateway.until(&format!("the door has told {count} things"), || {
        let told = door(&gateway.events());
        (told.len() >= count).then_some(told)
    })
}

#[test]
fn a_door_over_mqtt_is_forced_granted_ordered_and_held() {
    let broker = Broker::start();
    let mut gateway = house(&broker);
    broker.contact(false);
    gateway.until("the contact has been read", || {
        let points = gateway.get("/api/v1/points")?;
        let read =
            points["points"].as_array()?.iter().any(|p| p["id"] == "b3-door.door" && p["value"] == "closed");
        read.then_some(())
    });

    broker.contact(true);
    assert_eq!(until_door(&gateway, 2), ["opened", "forced"], "nobody let it");
    broker.contact(false);
    until_door(&gateway, 3);

    broker.face(1, 1);
    broker.contact(true);
    // Held comes after twice the window: from then on the grant explains nothing any more, and an order can show that
    // it is one.
    assert_eq!(until_door(&gateway, 6)[3..], ["granted", "opened", "held"]);
    broker.contact(false);
    until_door(&gateway, 7);

    broker.face(2, 2);
    assert_eq!(until_door(&gateway, 8)[7..], ["denied"]);

    let (status, answer) = gateway.post("/api/v1/devices/b3-face/commands", &open("k-1"));
    assert_eq!((status, &answer["outcome"]), (200, &Json::from("executed")), "{answer}");
    broker.contact(true);
    assert_eq!(until_door(&gateway, 10)[8..], ["opened", "held"], "an order lets it open; nobody closes it");
    broker.contact(false);
    until_door(&gateway, 11);

    let (status, again) = gateway.post("/api/v1/devices/b3-face/commands", &open("k-1"));
    assert_eq!((status, again), (200, answer));
    let (status, _) = gateway.post("/api/v1/devices/b3-door/commands", &open("k-2"));
    assert_eq!(status, 403);
    gateway.stop();
    let journal = gateway.journal();
    assert_eq!(door(&journal).iter().filter(|word| *word == "forced").count(), 1);
    assert_eq!(of_kind(&journal, "command.executed").len(), 1);
    let granted = of_kind(&journal, "access.granted");
    let subjects: Vec<&Json> = granted.iter().map(|event| &event["subject"]).collect();
    assert_eq!(subjects, ["devices/b3-face", "doors/b3-entrance"]);
    assert!(granted.iter().all(|event| event["data"]["card"].as_str().unwrap().starts_with("p-")));
}

fn under_way(data: &Path) -> Option<()> {
    let db = Connection::open(data.join("journal.db")).ok()?;
    let count: i64 =
        db.query_row("SELECT count(*) FROM command WHERE ended_at IS NULL", [], |row| row.get(0)).ok()?;
    (count == 1).then_some(())
}

#[test]
fn a_kill_while_an_order_is_under_way_leaves_it_unsure_and_it_is_never_given_twice() {
    let broker = Broker::start();
    let mut gateway = house(&broker);
    // The broker takes what is sent to it, but says nothing.
    broker.signal("STOP");
    let url = format!("http://{}/api/v1/devices/b3-face/commands", gateway.api().unwrap());
    let mut curl = Command::new("curl");
    curl.args(["-s", "--max-time", "20", "-d", &open("k-1").to_string(), &url]).stdout(Stdio::null());
    let mut asker = curl.spawn().unwrap();
    gateway.until("the order is written down as begun", || under_way(&gateway.data()));
    gateway.signal("KILL");
    asker.wait().unwrap();
    broker.signal("CONT");
    gateway.stop_killed();

    gateway.start();
    let told = gateway.until_told("command.executed", 1);
    assert_eq!(told[0]["data"]["outcome"], "unsure");
    assert_eq!(told[0]["data"]["key"], "k-1");
    let (status, answer) = gateway.post("/api/v1/devices/b3-face/commands", &open("k-1"));
    assert_eq!((status, &answer["outcome"]), (200, &Json::from("unsure")), "{answer}");
    // Something after it on the same way: had it been given again, it would have come before this.
    let (_, answer) = gateway.post("/api/v1/devices/b3-face/commands", &open("k-2"));
    assert_eq!(answer["outcome"], "executed", "{answer}");
    let given = broker.logged("'mqtt/face/1234',");
    assert!((1..=2).contains(&given), "two orders were given {given} times");
    gateway.stop();
    assert_eq!(of_kind(&gateway.journal(), "command.executed").len(), 2);
}
