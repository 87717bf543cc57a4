//! `[[channel]]`: the wires and endpoints, first without the devices that will hang on them.

use std::sync::Arc;
use std::time::Duration;

use super::kinds::wrong;
use super::mistakes::Report;
use super::names::Names;
use super::secrets;
use super::section::{Read, Section, Told, Wrong};
use super::tree::{Node, Table, Value};
use crate::field::wire::{Parity, Port, Wire};
use crate::field::{Kind, TIMEOUT_DEFAULT, modbus, mqtt, serial};
use crate::secret::Secret;

pub const CHANNELS_MAX: usize = 64;
const BAUD_DEFAULT: u32 = 9600;
const MQTT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const MQTT_PORT: u16 = 1883;
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

pub(super) const PARITIES: [(&str, Parity); 3] =
    [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];

/// What this version speaks, and what it will.
const TYPES: [(&str, Option<Type>); 8] = [
    ("modbus-tcp", Some(Type::ModbusTcp)),
    ("modbus-rtu", Some(Type::ModbusRtu)),
    ("modbus-rtu-over-tcp", Some(Type::ModbusRtuOverTcp)),
    ("serial", Some(Type::Serial)),
    ("mqtt", Some(Type::Mqtt)),
    ("osdp", None),
    ("uhppote", None),
    ("mqtt-broker", None),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    ModbusTcp,
    ModbusRtu,
    ModbusRtuOverTcp,
    Serial,
    Mqtt,
}

/// A channel on its way to a [`field::Channel`](crate::field::Channel).
#[derive(Debug)]
pub(super) struct Channel {
    pub id: Arc<str>,
    /// `None`: of no type that could be understood, so nothing more is said of its devices.
    pub what: Option<(Type, Kind)>,
}

impl Type {
    pub fn word(self) -> &'static str {
        TYPES.iter().find(|(_, kind)| *kind == Some(self)).map_or("", |(word, _)| word)
    }
}

pub(super) fn channels(tables: &[&Table], report: &Report<'_>) -> Vec<Channel> {
    let mut names = Names::new("channel", "give one of them another id", CHANNELS_MAX);
    let mut wires = Names::new("channel on", "hang all its devices on one channel", CHANNELS_MAX);
    let one = |table: &&Table| {
        let mut section = Section::new(table, super::names::title("channel", table, "id"), report);
        let id = names.claim(&mut section);
        let what = kind(&mut section, &mut wires);
        section.finish();
        Channel { id: id.into(), what }
    };
    tables.iter().map(one).collect()
}

fn kind(section: &mut Section<'_>, wires: &mut Names) -> Option<(Type, Kind)> {
    if section.entry("type").is_none() {
        section.missing(
            "type",
            "write `type = \"modbus-tcp\"`, or `modbus-rtu`, `modbus-rtu-over-tcp`, `serial`, `mqtt`",
        );
        section.leave();
        return None;
    }
    let Some(told) = section.word("type", &TYPES) else {
        // Which of them it may have is not known.
        section.know(&[
            "address",
            "port",
            "baud",
            "parity",
            "stop_bits",
            "timeout",
            "url",
            "username",
            "password",
            "client_id",
        ]);
        return None;
    };
    let Some(kind) = told.value else {
        let cure = "use modbus-tcp, modbus-rtu, modbus-rtu-over-tcp, serial or mqtt, or take the channel out";
        section.report.mistake(told.spot, "this type of channel is not in this version", cure);
        section.leave();
        return None;
    };
    section.name += &format!(" ({})", kind.word());
    Some((kind, settings(section, kind, wires)))
}

fn settings(section: &mut Section<'_>, kind: Type, wires: &mut Names) -> Kind {
    use modbus::Framing::{Rtu, Tcp};
    let timeout = section.span("timeout", TIMEOUT_MIN..=TIMEOUT_MAX).map(|told| told.value);
    let timeout_or = |default| timeout.unwrap_or(default);
    let master = |wire, framing| {
        Kind::Modbus(modbus::Settings {
            wire,
            framing,
            timeout: timeout_or(TIMEOUT_DEFAULT),
            pace: modbus::Pace::default(),
            devices: Vec::new(),
        })
    };
    match kind {
        // Several connections to one Modbus TCP endpoint are usual; any other wire has one master.
        Type::ModbusTcp => master(tcp(section, None), Tcp),
        Type::ModbusRtuOverTcp => master(tcp(section, Some(wires)), Rtu),
        Type::ModbusRtu => master(port(section, wires), Rtu),
        Type::Serial => {
            let wire = match section.entry("address") {
                Some(entry) => {
                    for key in ["port", "baud", "parity", "stop_bits"] {
                        let Some(port) = section.entry(key) else { continue };
                        let what = format!("`{key}` beside `address`: it goes over TCP or over a port");
                        section.report.mistake(
                            port.key_spot,
                            what,
                            format!("keep one; `address` is at {}", section.report.at(entry.key_spot)),
                        );
                    }
                    tcp(section, Some(wires))
                }
                None => port(section, wires),
            };
            Kind::Serial(serial::Settings { wire, timeout: timeout_or(TIMEOUT_DEFAULT), boards: Vec::new() })
        }
        Type::Mqtt => Kind::Mqtt(broker(section, timeout_or(MQTT_TIMEOUT_DEFAULT))),
    }
}

// ---------------------------------------------------------------------------------------------- wires

fn tcp(section: &mut Section<'_>, wires: Option<&mut Names>) -> Wire {
    let address = section.require::<Address>("address");
    if let (Some(wires), Some(address)) = (wires, &address) {
        wires.once(&address.value.0, address.spot, section.report);
    }
    Wire::Tcp { address: address.map(|told| told.value.0).unwrap_or_default().into() }
}

fn port(section: &mut Section<'_>, wires: &mut Names) -> Wire {
    let path = section.require::<Device>("port");
    if let Some(path) = &path {
        wires.once(&path.value.0, path.spot, section.report);
    }
    Wire::Serial(Port {
        path: path.map(|told| told.value.0).unwrap_or_default().into(),
        baud: baud(section),
        parity: section.word("parity", &PARITIES).map(|told| told.value).unwrap_or_default(),
        stop_bits: section.whole("stop_bits", 1..=2).map_or(1, |told| told.value),
        rs485: false,
    })
}

pub(super) fn baud(section: &mut Section<'_>) -> u32 {
    section.whole("baud", 300..=1_000_000).map_or(BAUD_DEFAULT, |told| told.value)
}

/// A serial port; its path is absolute.
struct Device(String);

impl Read for Device {
    const IS: &'static str = "the path of a serial port";
    const EXAMPLE: &'static str = "\"/dev/serial/by-id/usb-…\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if text.starts_with('/') {
            return Ok(Self(text));
        }
        Err(wrong(
            format!("`{text}` is no path of a port"),
            "write the whole path: `\"/dev/serial/by-id/usb-…\"` or `\"/dev/ttyS3\"`",
        ))
    }
}

/// `host:port`
struct Address(String);

impl Read for Address {
    const IS: &'static str = "host and port in quotes";
    const EXAMPLE: &'static str = "\"192.0.2.10:502\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match host_and_port(&text) {
            Some((_, Some(_))) => Ok(Self(text)),
            Some((_, None)) => Err(wrong(
                format!("`{text}` has no port"),
                format!("write `\"{text}:502\"`, or the port it listens on"),
            )),
            None => Err(wrong(
                format!("`{text}` is no host and port"),
                "write it like `\"192.0.2.10:502\"`, the port from 1 to 65535",
            )),
        }
    }
}

/// `[::1]:502` → `::1`, 502
fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
    let plain = |host: &str| !host.is_empty() && !host.contains([' ', '/', '@', ',', '[', ']']);
    let (host, rest) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(host, _)| host.contains(':'))?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    plain(host).then_some((host, port))
}

// ---------------------------------------------------------------------------------------------- MQTT

fn broker(section: &mut Section<'_>, timeout: Duration) -> mqtt::Settings {
    let url = section.require::<Broker>("url");
    let login = login(section);
    let client_id = section.take::<String>("client_id").map(|told| told.value);
    for key in ["ca", "cert", "key"] {
        section.later(key, "use `mqtt://` on a network of its own, or to a broker on this machine");
    }
    let (host, port) = url.map(|told| (told.value.host, told.value.port)).unwrap_or_default();
    mqtt::Settings {
        host,
        port,
        client_id,
        login,
        timeout,
        version: Default::default(),
        tls: None,
        devices: Vec::new(),
    }
}

/// Both or none; the name may be plain text, the password never.
fn login(section: &mut Section<'_>) -> Option<(String, Secret)> {
    let username = match section.entry("username").map(|entry| &entry.value.node) {
        Some(Node::Table(_)) => secrets::take(section, "username").map(|secret| secret.reveal().to_owned()),
        _ => section.take::<String>("username").map(|told| told.value),
    };
    let password = secrets::take(section, "password");
    let spot = |section: &mut Section<'_>, key| section.entry(key).map(|entry| entry.key_spot);
    match (spot(section, "username"), spot(section, "password")) {
        (Some(spot), None) => {
            section.report.mistake(
                spot,
                "`username` without `password`",
                "add `password = { credential = \"…\" }`",
            );
        }
        (None, Some(spot)) => {
            section.report.mistake(spot, "`password` without `username`", "add `username = \"…\"`");
        }
        _ => {}
    }
    username.zip(password)
}

struct Broker {
    host: String,
    port: u16,
}

impl Read for Broker {
    const IS: &'static str = "the broker's address";
    const EXAMPLE: &'static str = "\"mqtt://127.0.0.1:1883\"";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        if text.starts_with("mqtts://") {
            return Err(wrong(
                "`mqtts://` is not in this version",
                "use `mqtt://` on a network of its own, or to a broker on this machine",
            ));
        }
        if text.contains('@') {
            return Err(wrong(
                "name and password do not belong into the address",
                "write `username = \"…\"` and `password = { credential = \"…\" }`",
            ));
        }
        let rest = text.strip_prefix("mqtt://").map(|rest| rest.trim_end_matches('/'));
        match rest.and_then(host_and_port) {
            Some((host, port)) => Ok(Self { host: host.to_owned(), port: port.unwrap_or(MQTT_PORT) }),
            None => Err(wrong(
                format!("`{text}` is no broker's address"),
                "write it like `\"mqtt://127.0.0.1:1883\"`",
            )),
        }
    }
}

/// For those who name a channel.
pub(super) fn find<'c>(
    channels: &'c mut [Channel],
    told: &Told<String>,
    who: &str,
    report: &Report<'_>,
) -> Option<&'c mut Channel> {
    if let Some(at) = channels.iter().position(|channel| *channel.id == *told.value) {
        return channels.get_mut(at);
    }
    let there_is: Vec<&str> =
        channels.iter().map(|channel| &*channel.id).filter(|id| !id.is_empty()).collect();
    report.unknown(told.spot, &told.value, format!("{who} names channel `{}`", told.value), &there_is);
    None
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_host_may_be_a_name_or_an_address_of_either_kind() {
        assert_eq!(host_and_port("plc.local:502"), Some(("plc.local", Some(502))));
        assert_eq!(host_and_port("[::1]:502"), Some(("::1", Some(502))));
        assert_eq!(host_and_port("192.0.2.1"), Some(("192.0.2.1", None)));
        for text in
            ["", ":502", "a:0", "a:65536", "a:b", "::1:502", "[]:1", "a b:1", "http://a:1", "[::1]502", "a:"]
        {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }
}
