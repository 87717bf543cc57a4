//! Who has to say and hear what at a broker, so that no device can speak for another one: mosquitto's access list. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::inbox::{self, Inbox};
use super::{Device, Dialect, Settings, topic};
use crate::reading::DeviceId;

/// What one user of the broker may do.
#[derive(Debug, Default)]
struct Rights {
    writes: BTreeSet<String>,
    reads: BTreeSet<String>,
}

/// What gatehouse is called at a broker that knows no name of it yet.
const OURSELVES: &str = "gatehouse";

/// Users by name, in the order of the configuration.
type Users = Vec<(String, Rights)>;

/// The access list of a channel, with how it is put in place. `name`: a device's id, which becomes its user.
pub fn access_list<'n>(channel: &str, settings: &Settings, name: impl Fn(DeviceId) -> &'n str) -> String {
    let us = settings.login.as_ref().map(|(user, _)| &**user).filter(|user| !user.is_empty());
    let us = us.unwrap_or(OURSELVES);
    let mut users = Users::new();
    for device in &settings.devices {
        enter(&mut users, device, name(device.id));
    }
    let mut list = head(channel, us, &users);
    let ours = Rights {
        writes: users.iter().flat_map(|(_, rights)| rights.reads.clone()).collect(),
        reads: users.iter().flat_map(|(_, rights)| rights.writes.clone()).collect(),
    };
    write_user(&mut list, us, &ours);
    for (nth, (name, rights)) in users.iter().enumerate() {
        list.push('\n');
        let others = users.iter().enumerate().filter(|(other, _)| *other != nth);
        let shared = others.filter(|(_, (_, other))| overlap(&rights.writes, &other.writes));
        let shared: Vec<&str> = shared.map(|(_, (name, _))| &**name).collect();
        if !shared.is_empty() {
            let shared = shared.join(", ");
            let _ = writeln!(list, "# What it says, {shared} can say as well: they have a topic in common.");
        }
        write_user(&mut list, name, rights);
    }
    list
}

/// Its own topics, for a user of its name; a bridge speaks for all of its devices under its own.
fn enter(users: &mut Users, device: &Device, name: &str) {
    let bridge = inbox::bridge(device);
    let user = bridge.as_deref().and_then(|state| state.split('/').next()).unwrap_or(name);
    let at = users.iter().position(|(known, _)| known == user).unwrap_or_else(|| {
        users.push((user.to_owned(), Rights::default()));
        users.len() - 1
    });
    let Some((_, rights)) = users.get_mut(at) else { return };
    rights.reads.extend(device.commands.iter().map(|command| command.topic.clone()));
    if matches!(device.dialect, Dialect::FaceTerminal { .. }) {
        rights.reads.insert(device.topic.clone());
    }
    rights.writes.extend(Inbox::new(vec![device.clone()], None).filters());
}

fn head(channel: &str, us: &str, users: &Users) -> String {
    let mut head = format!(
        "# Who may say and hear what at the broker of channel `{channel}`: each device its own topics and no other's.\n\
         # Where one program speaks for several devices (a LoRaWAN server), give it one user with the lines of them all.\n\
         # `gatehouse scan` hears what others say only while `topic read #` stands below {us}.\n#\n\
         # In mosquitto's configuration:\n#   allow_anonymous false\n#   password_file /etc/mosquitto/gatehouse.passwd\n\
         #   acl_file /etc/mosquitto/gatehouse.acl\n# and a password for each:\n"
    );
    let others = users.iter().map(|(name, _)| &**name);
    for (nth, user) in std::iter::once(us).chain(others).enumerate() {
        let new = if nth == 0 { "-c " } else { "" };
        let _ = writeln!(head, "#   mosquitto_passwd {new}/etc/mosquitto/gatehouse.passwd {user}");
    }
    head.push('\n');
    head
}

fn write_user(list: &mut String, name: &str, rights: &Rights) {
    let _ = writeln!(list, "user {name}");
    for (verb, topics) in [("read", &rights.reads), ("write", &rights.writes)] {
        for topic in topics {
            let _ = writeln!(list, "topic {verb} {topic}");
        }
    }
}

fn overlap(some: &BTreeSet<String>, others: &BTreeSet<String>) -> bool {
    let meet = |one: &str, other: &str| topic::matches(one, other) || topic::matches(other, one);
    some.iter().any(|one| others.iter().any(|other| meet(one, other)))
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Version};
    use super::*;
    use crate::secret::Secret;

    fn device(id: u32, topic: &str, dialect: Dialect, command: Option<&str>) -> Device {
        let command = command.map(|topic| Command { topic: topic.into(), payload: "ON".into() });
        Device {
            id: DeviceId(id),
            topic: topic.into(),
            availability: Some(format!("{topic}/there")),
            dialect,
            points: Vec::new(),
            commands: command.into_iter().collect(),
        }
    }

    fn settings(devices: Vec<Device>, login: Option<(String, Secret)>) -> Settings {
        Settings {
            host: "broker".into(),
            port: 1883,
            client_id: None,
            login,
            timeout: std::time::Duration::from_secs(5),
            version: Version::V311,
            tls: None,
            devices,
        }
    }

    const NAMES: [&str; 2] = ["lamp", "face"];

    #[test]
    fn each_device_speaks_on_its_own_topics_and_gatehouse_hears_all_and_orders() {
        let lamp = device(0, "hall/lamp", Dialect::Points, Some("hall/lamp/set"));
        let face = device(1, "mqtt/face/1", Dialect::FaceTerminal { timezone: "UTC".into() }, None);
        let list = access_list("broker", &settings(vec![lamp, face], None), |id| NAMES[id.0 as usize]);
        let rules: Vec<&str> =
            list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let of_face = ["mqtt/face/1/Rec", "mqtt/face/1/Snap", "mqtt/face/basic", "mqtt/face/heartbeat"]
            .map(String::from);
        let mut wanted = vec!["user gatehouse".to_owned(), "topic read hall/lamp/there".to_owned()];
        wanted.extend(of_face.iter().map(|topic| format!("topic read {topic}")));
        wanted.extend(["topic write hall/lamp/set", "topic write mqtt/face/1"].map(String::from));
        wanted.extend(
            ["user lamp", "topic read hall/lamp/set", "topic write hall/lamp/there"].map(String::from),
        );
        wanted.extend(["user face", "topic read mqtt/face/1"].map(String::from));
        wanted.extend(of_face.iter().map(|topic| format!("topic write {topic}")));
        assert_eq!(rules, wanted, "{list}");
        assert!(!list.contains("can say as well"), "{list}");
    }

    #[test]
    fn a_bridge_is_one_user_for_all_of_its_devices() {
        let zigbee = |id: u32, topic: &str| {
            let availability = Some(format!("{topic}/availability"));
            Device { availability, ..device(id, topic, Dialect::Points, None) }
        };
        let devices = vec![zigbee(0, "zigbee2mqtt/lamp"), zigbee(1, "zigbee2mqtt/leak")];
        let list = access_list("broker", &settings(devices, None), |id| NAMES[id.0 as usize]);
        let users: Vec<&str> = list.lines().filter(|line| line.starts_with("user ")).collect();
        assert_eq!(users, ["user gatehouse", "user zigbee2mqtt"], "{list}");
        assert!(list.contains("topic write zigbee2mqtt/bridge/state\n"), "{list}");
        assert!(!list.contains("can say as well"), "{list}");
    }

    #[test]
    fn devices_that_cannot_be_told_apart_are_said_and_the_user_of_ours_is_the_configured_one() {
        let devices = ["hall/+", "hall/lamp"]
            .map(|topic| device(u32::from(topic == "hall/lamp"), topic, Dialect::Points, None));
        let mut devices = devices.to_vec();
        devices[0].availability = Some("hall/+/there".into());
        let login = Some(("the-gate".to_owned(), Secret::new("x")));
        let list = access_list("broker", &settings(devices, login), |id| NAMES[id.0 as usize]);
        assert!(list.contains("What it says, lamp can say as well"), "{list}");
        assert!(list.contains("What it says, face can say as well"), "{list}");
        assert!(list.contains("mosquitto_passwd -c /etc/mosquitto/gatehouse.passwd the-gate\n"), "{list}");
        assert!(list.contains("\nuser the-gate\n"), "{list}");
    }
}
