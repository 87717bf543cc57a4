//! A device behind an MQTT broker.

use std::sync::Arc;

use crate::config::codes::Code;
use crate::config::commands::{Ability, permits};
use crate::config::devices::{Draft, Installer};
use crate::config::installed::Words;
use crate::config::messages::Topic;
use crate::config::points::Means;
use crate::config::profiles::Commands;
use crate::config::section::{Section, Told};
use crate::field::mqtt::{Command, Device, Dialect, Point, Settings};
use crate::field::profile::{self, Profile, Source, Transport};

/// In a profile: the device's own topic.
const TOPIC: &str = "{topic}";

const TERMINAL: &str = "mqtt/face/1026700";

impl<'a> Installer<'a> {
    pub(in crate::config) fn mqtt(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut Settings,
    ) {
        let profile = draft.profile.map(|known| &known.profile);
        let face = matches!(
            profile.map(|profile| &profile.transport),
            Some(Transport::Mqtt { face_terminal: true, .. })
        );
        let dialect = if face {
            draft.words = Some(Words::Access);
            self.no_points(section, "a face terminal tells what happens at its door");
            Dialect::FaceTerminal { timezone: self.timezone.to_owned() }
        } else {
            draft.points = self.points(section, draft, Means::Messages);
            Dialect::Points
        };
        let numbers = self.numbers();
        let (topic, availability) = match face {
            true => (
                self.terminal(section, &draft.id, broker(channel, settings)),
                section.take::<Topic>("availability").map(|t| t.value.0),
            ),
            false => topics(section, profile),
        };
        let abilities: &[Ability<Command>] = match draft.profile.map(|known| &known.commands) {
            Some(Commands::Messages(abilities)) => abilities,
            _ => &[],
        };
        let (commands, permits) = permits(section, numbers.device, abilities);
        self.installed.permits.extend(permits);
        let point = |(id, point): (_, &profile::Point)| match &point.source {
            Source::Message { topic: own, json } => Some(Point {
                id,
                topic: own.as_ref().map(|own| own.replace(TOPIC, &topic)),
                json: json.clone(),
                transform: point.transform.clone(),
            }),
            _ => None,
        };
        let points = numbers.points(&draft.points).filter_map(point).collect();
        let whole = |command: Command| Command { topic: command.topic.replace(TOPIC, &topic), ..command };
        let commands: Vec<Command> = commands.into_iter().map(whole).collect();
        if topic.contains(['+', '#']) && commands.iter().any(|command| command.topic.contains(['+', '#'])) {
            let cure = "name the device's own topic, or the command's";
            self.report.mistake(
                Code::BadTopic,
                section.spot(),
                "a command cannot go to a topic with `+` or `#`",
                cure,
            );
        }
        settings.devices.push(Device { id: numbers.device, topic, availability, dialect, points, commands });
    }

    /// The topic of a face terminal. Two devices on one terminal would tell every entry twice.
    fn terminal(&mut self, section: &mut Section<'a>, id: &Arc<str>, broker: String) -> String {
        if section.entry("topic").is_none() {
            section.missing(
                "topic",
                format!("write `topic = \"{TERMINAL}\"`, with the id that the terminal shows"),
            );
            return String::new();
        }
        let Some(Told { value: Topic(topic), spot }) = section.take("topic") else {
            return String::new();
        };
        if is_terminal(&topic) {
            self.once(format!("terminal `{topic}`"), spot, id, broker);
        } else {
            let what = format!("`{topic}` is not the topic of one face terminal");
            let cure =
                format!("write `mqtt/face/` and the id that the terminal shows, like `\"{TERMINAL}\"`");
            section.report.mistake(Code::BadTopic, spot, what, cure);
        }
        topic
    }
}

/// Several channels may have one broker; who speaks there is heard in each. One without a usable `url` is complained of already.
fn broker(channel: &str, settings: &Settings) -> String {
    match settings.host.as_str() {
        "" => format!("channel `{channel}`"),
        host => format!("broker `{host}:{}`", settings.port),
    }
}

/// What one face terminal says, and what is said to it: `mqtt/face/<id>`.
fn is_terminal(topic: &str) -> bool {
    let id = topic.strip_prefix("mqtt/face/").unwrap_or_default();
    !id.is_empty() && !id.contains(['/', '+', '#']) && !["basic", "heartbeat"].contains(&id)
}

/// The device's topic, and where it says whether it is there.
fn topics(section: &mut Section<'_>, profile: Option<&Profile>) -> (String, Option<String>) {
    let told: Option<Told<Topic>> = section.require("topic");
    let own = section.take::<Topic>("availability").map(|told| told.value.0);
    let suggested = match profile.map(|profile| &profile.transport) {
        Some(Transport::Mqtt { availability, .. }) => availability.clone(),
        _ => None,
    };
    let topic = told.as_ref().map_or("", |told| told.value.0.as_str());
    if let Some(told) = told.as_ref().filter(|told| told.value.0.ends_with('#'))
        && profile.is_some()
    {
        let cure = "name the device's own topic, like `\"zigbee2mqtt/b3-door\"`";
        section.report.mistake(
            Code::BadTopic,
            told.spot,
            "a device with a profile has one topic, and `#` stands for many",
            cure,
        );
    }
    (topic.to_owned(), own.or(suggested).map(|text| text.replace(TOPIC, topic)))
}
