//! Who has to say and hear what at a broker, so that no device can speak for another one: mosquitto's access list. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::inbox::Inbox;
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

/// The access list of a channel, with how it is put in place. `name`: a device's id, which becomes its user.
pub fn access_list<'n>(channel: &str, settings: &Settings, name: impl Fn(DeviceId) -> &'n str) -> String {
    let us =
        settings.login.as_ref().map(|(user, _)| &**user).filter(|user| !user.is_empty()).unwrap_or(OURSELVES);
    let devices: Vec<(&str, Rights)> = settings.devices.iter().map(|d| (name(d.id), rights(d))).collect();
    let mut list = head(channel, us, &devices);
    let ours = Rights {
        writes: devices.iter().flat_map(|(_, rights)| rights.reads.clone()).collect(),
        reads: devices.iter().flat_map(|(_, rights)| rights.writes.clone()).collect(),
    };
    user(&mut list, us, &ours);
    for (nth, (name, rights)) in devices.iter().enumerate() {
        list.push('\n');
        let others = devices.iter().enumerate().filter(|(other, _)| *other != nth);
        let shared = others.filter(|(_, (_, other))| overlap(&rights.writes, &other.writes));
        let shared: Vec<&str> = shared.map(|(_, (name, _))| *name).collect();
        if !shared.is_empty() {
            let _ = writeln!(
                list,
                "# What it says, {} can say as well: they have a topic in common.",
                shared.join(", ")
            );
        }
        user(&mut list, name, rights);
    }
    list
}

fn head(channel: &str, us: &str, devices: &[(&str, Rights)]) -> String {
    let mut head = format!(
        "# Who may say and hear what at the broker of channel `{channel}`: each device its own topics and no other's.\n\
         # Where one program speaks for several devices (zigbee2mqtt, a LoRaWAN server), give it one user with the lines of\n\
         # them all. `gatehouse scan` hears what others say only while `topic read #` stands below {us}.\n#\n\
         # In mosquitto's configuration:\n#   allow_anonymous false\n#   password_file /etc/mosquitto/gatehouse.passwd\n\
         #   acl_file /etc/mosquitto/gatehouse.acl\n# and a password for each:\n"
    );
    let others = devices.iter().map(|(name, _)| *name);
    for (nth, user) in std::iter::once(us).chain(others).enumerate() {
        let new = if nth == 0 { "-c " } else { "" };
        let _ = writeln!(head, "#   mosquitto_passwd {new}/etc/mosquitto/gatehouse.passwd {user}");
    }
    head.push('\n');
    head
}

fn user(list: &mut String, name: &str, rights: &Rights) {
    let _ = writeln!(list, "user {name}");
    for (verb, topics) in [("read", &rights.reads), ("write", &rights.writes)] {
        for topic in topics {
            let _ = writeln!(list, "topic {verb} {topic}");
        }
    }
}

/// A device's own.
fn rights(device: &Device) -> Rights {
    let mut reads: BTreeSet<String> = device.commands.iter().map(|command| command.topic.clone()).collect();
    if matches!(device.dialect, Dialect::FaceTerminal { .. }) {
        reads.insert(device.topic.clone());
    }
    Rights { writes: Inbox::new(vec![device.clone()], None).filters(), reads }
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
            availability: Some(format!("{topic}/availability")),
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
        let mut wanted = vec!["user gatehouse".to_owned(), "topic read hall/lamp/availability".to_owned()];
        wanted.extend(of_face.iter().map(|topic| format!("topic read {topic}")));
        wanted.extend(["topic write hall/lamp/set", "topic write mqtt/face/1"].map(String::from));
        wanted.extend(
            ["user lamp", "topic read hall/lamp/set", "topic write hall/lamp/availability"].map(String::from),
        );
        wanted.extend(["user face", "topic read mqtt/face/1"].map(String::from));
        wanted.extend(of_face.iter().map(|topic| format!("topic write {topic}")));
        assert_eq!(rules, wanted, "{list}");
        assert!(!list.contains("can say as well"), "{list}");
    }

    #[test]
    fn devices_that_cannot_be_told_apart_are_said_and_the_user_of_ours_is_the_configured_one() {
        let devices = ["hall/+", "hall/lamp"]
            .map(|topic| device(u32::from(topic == "hall/lamp"), topic, Dialect::Points, None));
        let mut devices = devices.to_vec();
        devices[0].availability = Some("hall/+/availability".into());
        let login = Some(("the-gate".to_owned(), Secret::new("x")));
        let list = access_list("broker", &settings(devices, login), |id| NAMES[id.0 as usize]);
        assert!(list.contains("What it says, lamp can say as well"), "{list}");
        assert!(list.contains("What it says, face can say as well"), "{list}");
        assert!(list.contains("mosquitto_passwd -c /etc/mosquitto/gatehouse.passwd the-gate\n"), "{list}");
        assert!(list.contains("\nuser the-gate\n"), "{list}");
    }
}
