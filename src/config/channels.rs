//! `[[channel]]`: the wires and endpoints, first without the devices that will hang on them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::broker::broker;
use super::codes::Code;
use super::ear::Variant;
use super::mistakes::Report;
use super::names::Names;
use super::section::{Section, Told};
use super::tree::{Node, Table};
use super::wires::{self, port, port_or_server, tcp};
use crate::field::{Kind, TIMEOUT_DEFAULT, modbus, osdp, serial, uhppote};

pub const CHANNELS_MAX: usize = 64;
const MQTT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The standard gives a reader 200 ms.
const OSDP_TIMEOUT_DEFAULT: Duration = Duration::from_millis(200);
const TIMEOUT_MIN: Duration = Duration::from_millis(10);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
const SILENCE_MAX: Duration = Duration::from_secs(1);
const AFTER_CONNECT_MAX: Duration = Duration::from_secs(30);
/// Questions under way on one Modbus TCP connection; more than any known device takes.
const PIPELINE_MAX: i128 = 16;
const UHPPOTE_ADDRESS: &str = "255.255.255.255:60000";
const UHPPOTE_LISTEN: &str = "0.0.0.0:60001";

/// What a channel may be.
pub(super) const TYPES: [(&str, Type); 7] = [
    ("modbus-tcp", Type::ModbusTcp),
    ("modbus-rtu", Type::ModbusRtu),
    ("modbus-rtu-over-tcp", Type::ModbusRtuOverTcp),
    ("serial", Type::Serial),
    ("osdp", Type::Osdp),
    ("uhppote", Type::Uhppote),
    ("mqtt", Type::Mqtt),
];
/// Known, so that who asks for it is told what to do instead.
const BROKER: &str = "mqtt-broker";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    ModbusTcp,
    ModbusRtu,
    ModbusRtuOverTcp,
    Serial,
    Osdp,
    Uhppote,
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
        TYPES.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

/// `timezone`: that of the gateway, and of the clocks in door controllers.
pub(super) fn channels(tables: &[&Table], timezone: &str, report: &Report<'_>) -> Vec<Channel> {
    let mut names = Names::new("channel", "give one of them another id", CHANNELS_MAX);
    let mut wires = Names::of_wires("hang all its devices on one channel", CHANNELS_MAX);
    let one = |table: &&Table| {
        let mut section = Section::new(table, super::names::title("channel", table, "id"), report);
        let id = names.claim(&mut section);
        let what = kind(&mut section, &mut wires, timezone);
        section.finish();
        Channel { id: id.into(), what }
    };
    tables.iter().map(one).collect()
}

fn kind(section: &mut Section<'_>, wires: &mut Names, timezone: &str) -> Option<(Type, Kind)> {
    if section.entry("type").is_none() {
        section.missing(
            "type",
            "write `type = \"modbus-tcp\"`, or `modbus-rtu`, `modbus-rtu-over-tcp`, `serial`, `osdp`, `uhppote`, `mqtt`",
        );
        // A key that only looks like `type` is said by `finish`, which must not be left out.
        section.know(&wires::KEYS);
        return None;
    }
    if let Some(entry) =
        section.entry("type").filter(|entry| matches!(&entry.value.node, Node::Text(text) if text == BROKER))
    {
        let cure = "run mosquitto beside gatehouse and name it: `type = \"mqtt\"` and `url = \"mqtt://127.0.0.1:1883\"`";
        section.report.mistake(
            Code::NotInThisVersion,
            entry.value.spot,
            "gatehouse is no broker itself",
            cure,
        );
        section.leave();
        return None;
    }
    let Some(Told { value: kind, .. }) = section.word("type", &TYPES) else {
        // Which of them it may have is not known.
        section.know(&wires::KEYS);
        return None;
    };
    section.variant(Variant::Says("type", kind.word()));
    section.name += &format!(" ({})", kind.word());
    Some((kind, settings(section, kind, wires, timezone)))
}

fn settings(section: &mut Section<'_>, kind: Type, wires: &mut Names, timezone: &str) -> Kind {
    use modbus::Framing::{Rtu, Tcp};
    let timeout = section.span("timeout", TIMEOUT_MIN..=TIMEOUT_MAX).map(|told| told.value);
    let timeout_or = |default| timeout.unwrap_or(default);
    let master = |section: &mut Section<'_>, wire, framing| {
        Kind::Modbus(modbus::Settings {
            wire,
            framing,
            timeout: timeout_or(TIMEOUT_DEFAULT),
            pace: pace(section, framing),
            devices: Vec::new(),
        })
    };
    match kind {
        // Several connections to one Modbus TCP endpoint are usual; any other wire has one master.
        Type::ModbusTcp => {
            let wire = tcp(section, None);
            master(section, wire, Tcp)
        }
        Type::ModbusRtuOverTcp => {
            let wire = tcp(section, Some(wires));
            master(section, wire, Rtu)
        }
        Type::ModbusRtu => {
            let wire = port(section, wires);
            master(section, wire, Rtu)
        }
        Type::Serial => Kind::Serial(serial::Settings {
            wire: port_or_server(section, wires),
            timeout: timeout_or(TIMEOUT_DEFAULT),
            boards: Vec::new(),
        }),
        Type::Osdp => Kind::Osdp(osdp::Settings {
            wire: port_or_server(section, wires),
            timeout: timeout_or(OSDP_TIMEOUT_DEFAULT),
            readers: Vec::new(),
        }),
        Type::Uhppote => Kind::Uhppote(controllers(section, wires, timeout_or(TIMEOUT_DEFAULT), timezone)),
        Type::Mqtt => Kind::Mqtt(broker(section, timeout_or(MQTT_TIMEOUT_DEFAULT))),
    }
}

/// What a Modbus wire, or the gateway in front of it, needs to keep up.
fn pace(section: &mut Section<'_>, framing: modbus::Framing) -> modbus::Pace {
    let default = modbus::Pace::default();
    modbus::Pace {
        silence: section.span("silence", Duration::ZERO..=SILENCE_MAX).map(|told| told.value),
        after_connect: section
            .span("after_connect", Duration::ZERO..=AFTER_CONNECT_MAX)
            .map_or(default.after_connect, |told| told.value),
        // RTU frames have no number by which two answers could be told apart.
        pipeline: match framing {
            modbus::Framing::Tcp => {
                section.whole("pipeline", 1..=PIPELINE_MAX).map_or(default.pipeline, |told| told.value)
            }
            modbus::Framing::Rtu => default.pipeline,
        },
    }
}

fn controllers(
    section: &mut Section<'_>,
    wires: &mut Names,
    timeout: Duration,
    timezone: &str,
) -> uhppote::Settings {
    let listen = section.take::<SocketAddr>("listen");
    if let Some(listen) = &listen {
        wires.once(&listen.value.to_string(), listen.spot, section.report);
    } else if section.peek("listen").is_none() {
        wires.once(UHPPOTE_LISTEN, section.spot(), section.report);
    }
    // The defaults are addresses; a written one stands there or has been complained of.
    let or = |told: Option<SocketAddr>, default: &str| {
        told.or_else(|| default.parse().ok()).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    };
    uhppote::Settings {
        address: or(section.take("address").map(|told| told.value), UHPPOTE_ADDRESS),
        listen: or(listen.map(|told| told.value), UHPPOTE_LISTEN),
        announce: section.take("announce").map(|told| told.value),
        timeout,
        controllers: Vec::new(),
        timezone: timezone.to_owned(),
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
    report.unknown(
        Code::NoSuchChannel,
        told.spot,
        &told.value,
        format!("{who} names channel `{}`", told.value),
        &there_is,
    );
    None
}
