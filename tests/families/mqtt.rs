//! A Zigbee contact and a face terminal at each door, through mosquitto.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value as Json, json};

use super::{Family, House, bears, free_port};

pub struct Broker {
    port: u16,
    dir: tempfile::TempDir,
    child: Child,
    records: AtomicU32,
}

impl Broker {
    pub fn start() -> Self {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let (conf, at) = (dir.path().join("mosquitto.conf"), dir.path().display().to_string());
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest file {at}/mosquitto.log\nlog_type all\n"
        );
        fs::write(&conf, text).unwrap();
        // As root mosquitto becomes another user, who has to be able to write here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("mosquitto is installed");
        Self { port, dir, child, records: AtomicU32::new(1) }
    }

    pub fn configuration(&self, places: usize) -> String {
        let mut text = format!(
            "[[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n",
            self.port
        );
        for n in 1..=places {
            write!(
                text,
                r#"
[[device]]
id      = "contact-{n}"
channel = "broker"
topic   = "zigbee2mqtt/contact-{n}"
profile = "zigbee2mqtt-contact"
[[device]]
id      = "terminal-{n}"
channel = "broker"
topic   = "mqtt/face/{id}"
profile = "face-terminal"
[[device.command]]
action  = "open"
topic   = "mqtt/face/{id}"
payload = '{{"operator":"OpenDoor"}}'
door    = "door-{n}"
[[door]]
id            = "door-{n}"
contact       = "contact-{n}.door"
grants        = ["terminal-{n}"]
unlock_window = "5s"
held_after    = "8s"
"#,
                id = id(n),
            )
            .unwrap();
        }
        text
    }

    /// Every door closed, every terminal there.
    pub fn settle(&self, house: &House, places: usize) {
        let greeting = || (self.logged("Sending SUBACK to gatehouse") > 0).then_some(());
        house.gateway.until("the daemon has subscribed", greeting);
        for n in 1..=places {
            self.contact(n, false);
            let info = json!({ "facesluiceId": id(n), "time": "" });
            self.publish("mqtt/face/heartbeat", &json!({ "operator": "HeartBeat", "info": info }));
        }
        house.until_read(".door", "closed", places);
    }

    fn publish(&self, topic: &str, payload: &Json) {
        let port = self.port.to_string();
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", &payload.to_string()]);
        assert!(command.status().unwrap().success());
    }

    fn logged(&self, line: &str) -> usize {
        let log = fs::read_to_string(self.dir.path().join("mosquitto.log")).unwrap_or_default();
        log.lines().filter(|logged| logged.contains(line)).count()
    }

    fn contact(&self, n: usize, open: bool) {
        self.publish(&format!("zigbee2mqtt/contact-{n}"), &json!({ "contact": !open, "battery": 100 }));
    }

    /// What the terminal says of someone whom it recognised; `replayed`: out of its memory.
    fn face(&self, n: usize, verdict: u32, replayed: bool) {
        let record = self.records.fetch_add(1, Ordering::Relaxed).to_string();
        let (kind, time) = if replayed { (2, "2026-01-01 08:00:00") } else { (0, "") };
        let info = json!({
            "RecordID": record, "VerifyStatus": verdict.to_string(), "personId": "3", "personName": PERSON,
            "PushType": kind, "time": time,
        });
        self.publish(&format!("mqtt/face/{}/Rec", id(n)), &json!({ "operator": "RecPush", "info": info }));
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PERSON: &str = "Zhang Wei";

/// As a terminal is called by its maker.
fn id(n: usize) -> usize {
    1000 + n
}

impl Family for Broker {
    fn name(&self) -> &'static str {
        "mqtt"
    }

    fn does(&self, place: usize, what: &str) -> bool {
        match what {
            "grant" => self.face(place, 1, false),
            "late grant" => self.face(place, 1, true),
            "deny" => self.face(place, 2, false),
            "open" | "pry open" => self.contact(place, true),
            "close" => self.contact(place, false),
            "fall silent" => {
                let info = json!({ "facesluiceId": id(place), "time": "" });
                self.publish("mqtt/face/basic", &json!({ "operator": "Offline", "info": info }));
            }
            _ => return false,
        }
        true
    }

    fn order(&self, place: usize) -> [String; 3] {
        [format!("terminal-{place}"), "open".into(), String::new()]
    }

    fn forbidden(&self, place: usize) -> [String; 3] {
        [format!("contact-{place}"), "open".into(), String::new()]
    }

    fn given(&self, place: usize) -> usize {
        let log = fs::read_to_string(self.dir.path().join("mosquitto.log")).unwrap_or_default();
        let to = format!("'mqtt/face/{}',", id(place));
        let is_it = |line: &&str| line.contains("Received PUBLISH from gatehouse") && line.contains(&to);
        // The terminal's records are acknowledged on the same topic, with a longer message.
        log.lines().filter(is_it).filter(|line| line.ends_with("(23 bytes))")).count()
    }

    fn secret(&self) -> String {
        PERSON.into()
    }

    fn concerns(&self, place: usize, event: &Json) -> bool {
        bears(place, event)
    }
}
