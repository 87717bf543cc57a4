//! A channel of type `mqtt`: the broker, who we are there, and how the connection is kept from others' eyes.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::codes::Code;
use super::ear::{Tie, text};
use super::kinds::wrong;
use super::section::{Read, Section, Wrong};
use super::tree::{Node, Value};
use super::wires::host_and_port;
use super::{certificates, secrets};
use crate::field::mqtt::{self, Tls, Version};
use crate::secret::Secret;

const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

pub(super) fn broker(section: &mut Section<'_>, timeout: Duration) -> mqtt::Settings {
    let url = section.require::<Broker>("url");
    let login = login(section);
    let client_id = section.take::<String>("client_id").map(|told| told.value);
    let version = section.take::<Version>("version").map(|told| told.value).unwrap_or_default();
    let address = url.as_ref().map(|told| (told.spot, told.value.tls));
    let tls = certificates::take(section, address, ["mqtt://", "mqtts://"]);
    let tls = tls.map(|known| Tls { ca: known.ca, identity: known.identity });
    let (host, port) = url.map(|told| (told.value.host, told.value.port)).unwrap_or_default();
    mqtt::Settings { host, port, client_id, login, timeout, version, tls, devices: Vec::new() }
}

/// Both or none; the name may be plain text, the password never.
fn login(section: &mut Section<'_>) -> Option<(String, Secret)> {
    section.tie(|| Tie::Both("username", "password"));
    let username = match section.entry("username").map(|entry| &entry.value.node) {
        Some(Node::Table(_)) => secrets::take(section, "username").map(|secret| secret.reveal().to_owned()),
        _ => section.take::<String>("username").map(|told| told.value),
    };
    let password = secrets::take(section, "password");
    let spot = |section: &mut Section<'_>, key| section.entry(key).map(|entry| entry.key_spot);
    match (spot(section, "username"), spot(section, "password")) {
        (Some(spot), None) => {
            section.report.mistake(
                Code::NeedsAnother,
                spot,
                "`username` without `password`",
                "add `password = { credential = \"…\" }`",
            );
        }
        (None, Some(spot)) => {
            section.report.mistake(
                Code::NeedsAnother,
                spot,
                "`password` without `username`",
                "add `username = \"…\"`",
            );
        }
        _ => {}
    }
    username.zip(password)
}

/// A device of a door, at a broker elsewhere that takes us without asking who we are: it will take others so, too.
pub(super) fn anyone_may_speak(section: &Section<'_>, broker: &mqtt::Settings) {
    let certified = broker.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
    let is_here = broker.host == "localhost" || broker.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if broker.login.is_some() || certified || is_here || broker.host.is_empty() {
        return;
    }
    let what = format!("{}: whoever reaches its broker can speak for it", section.name);
    let cure = "give each device a user at the broker (`gatehouse acl CHANNEL` writes the list), and the channel `username` \
                and `password`";
    section.report.warning(Code::AnyoneMaySpeak, section.spot(), what, cure);
}

struct Broker {
    host: String,
    port: u16,
    tls: bool,
}

impl Read for Broker {
    const IS: &'static str = "the broker's address";
    const EXAMPLE: &'static str = "\"mqtt://127.0.0.1:1883\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if text.contains('@') {
            return Err(wrong(
                Code::SecretInTheOpen,
                "name and password do not belong into the address",
                "write `username = \"…\"` and `password = { credential = \"…\" }`",
            ));
        }
        let (rest, tls) = match text.strip_prefix("mqtts://") {
            Some(rest) => (Some(rest), true),
            None => (text.strip_prefix("mqtt://"), false),
        };
        let default = if tls { TLS_PORT } else { PORT };
        match rest.and_then(|rest| host_and_port(rest.trim_end_matches('/'))) {
            Some((host, port)) => Ok(Self { host: host.to_owned(), port: port.unwrap_or(default), tls }),
            None => Err(wrong(
                Code::BadAddress,
                format!("`{text}` is no broker's address"),
                "write it like `\"mqtt://127.0.0.1:1883\"` or `\"mqtts://broker.example.com\"`",
            )),
        }
    }

    fn grammar() -> Json {
        text(r"^mqtts?://([^:/@,\[\] ]+|\[[^\]/@, ]*:[^\]/@, ]*\])(:[0-9]{1,5})?/*$")
    }
}

impl Read for Version {
    const IS: &'static str = "the version of MQTT";
    const EXAMPLE: &'static str = "5";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let told = match &value.node {
            Node::Whole(number) => number.to_string(),
            Node::Number(number) => number.to_string(),
            _ => String::read(value)?,
        };
        match told.as_str() {
            "5" | "5.0" => Ok(Version::V5),
            "3.1.1" => Ok(Version::V311),
            _ => Err(wrong(
                Code::NotOneOf,
                format!("there is no version {told} here"),
                "write `5` or `\"3.1.1\"`",
            )),
        }
    }

    fn grammar() -> Json {
        json!({ "enum": [5, "5", "5.0", "3.1.1"] })
    }
}
