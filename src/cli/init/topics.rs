//! Which devices the topics of a broker are, by how their makers name topics. Payloads are not looked at. Pure.

use super::look::{Found, Likely};

/// What a Zigbee device is, by the words that people have in its name.
const NAMED: [(&str, &[&str]); 5] = [
    ("zigbee2mqtt-contact", &["door", "window", "contact", "gate", "门", "窗"]),
    ("zigbee2mqtt-leak", &["leak", "water", "flood", "漏水", "水浸"]),
    ("zigbee2mqtt-smoke", &["smoke", "烟"]),
    ("zigbee2mqtt-motion", &["motion", "occupancy", "pir", "人体"]),
    ("zigbee2mqtt-climate", &["climate", "temp", "humid", "温", "湿"]),
];

/// Each device once, in the order in which it was heard.
pub fn devices(heard: &[Found]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for one in heard {
        let Some((topic, profile)) = device(&one.address) else { continue };
        if found.iter().all(|other| other.address != topic) {
            let shows = one.how.clone();
            let likely = profile.map(|profile| Likely { profile: profile.to_owned(), shows });
            let likely = likely.into_iter().collect();
            found.push(Found { address: topic, line: None, how: one.how.clone(), likely });
        }
    }
    found
}

/// The device's own topic, and what it probably is.
fn device(topic: &str) -> Option<(String, Option<&'static str>)> {
    let levels: Vec<&str> = topic.split('/').collect();
    Some(match levels[..] {
        ["zigbee2mqtt", "bridge", ..] => return None,
        ["zigbee2mqtt", name, ..] => (format!("zigbee2mqtt/{name}"), named(name)),
        ["tele", name, ..] => (format!("tele/{name}"), Some("tasmota-sensor")),
        ["application", app, "device", id, "event", ..] => {
            (format!("application/{app}/device/{id}/event/up"), Some("chirpstack-milesight"))
        }
        ["mqtt", "face", "basic" | "heartbeat", ..] => return None,
        ["mqtt", "face", id, ..] => (format!("mqtt/face/{id}"), Some("face-terminal")),
        [name, "events", "rpc"] => (name.to_owned(), Some("shelly-gen2")),
        _ => return None,
    })
}

fn named(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let of = |(_, words): &&(&str, &[&str])| words.iter().any(|word| name.contains(word));
    NAMED.iter().find(of).map(|(profile, _)| *profile)
}

/// An id out of a topic: `zigbee2mqtt/B3 Door` → `b3-door`.
pub fn called(topic: &str) -> String {
    let own = topic.split('/').rfind(|level| !matches!(*level, "event" | "up")).unwrap_or(topic);
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let id: String = own.chars().map(plain).take(48).collect();
    match id.trim_matches('-') {
        "" => "sensor".to_owned(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_devices_each_once() {
        let heard = [
            "zigbee2mqtt/bridge/state",
            "zigbee2mqtt/B3 Door",
            "zigbee2mqtt/B3 Door/availability",
            "zigbee2mqtt/0x00158d0001",
            "tele/lamps/SENSOR",
            "tele/lamps/LWT",
            "application/1/device/24e1/event/up",
            "mqtt/face/1026700/Rec",
            "mqtt/face/heartbeat",
            "shellypro1pm-30c6/events/rpc",
            "home/else",
            "",
        ];
        let heard = heard.map(|topic| Found {
            address: topic.into(),
            line: None,
            how: "live".into(),
            likely: Vec::new(),
        });
        let found: Vec<(String, Option<String>)> = devices(&heard)
            .into_iter()
            .map(|one| (one.address, one.likely.into_iter().next().map(|likely| likely.profile)))
            .collect();
        let expected = [
            ("zigbee2mqtt/B3 Door", Some("zigbee2mqtt-contact")),
            ("zigbee2mqtt/0x00158d0001", None),
            ("tele/lamps", Some("tasmota-sensor")),
            ("application/1/device/24e1/event/up", Some("chirpstack-milesight")),
            ("mqtt/face/1026700", Some("face-terminal")),
            ("shellypro1pm-30c6", Some("shelly-gen2")),
        ];
        assert_eq!(found, expected.map(|(topic, profile)| (topic.to_owned(), profile.map(str::to_owned))));
        assert_eq!(called("zigbee2mqtt/B3 Door"), "b3-door");
        assert_eq!(called("application/1/device/24e1/event/up"), "24e1");
        assert_eq!(called("zigbee2mqtt/水泵房"), "sensor");
    }
}
