//! What a channel goes over: a serial port with its speed, or an address.

use serde_json::Value as Json;

use super::codes::Code;
use super::ear::{Tie, text};
use super::kinds::wrong;
use super::names::Names;
use super::section::{Read, Section, Wrong};
use super::tree::Value;
use crate::field::wire::{Parity, Port, Wire};

const BAUD_DEFAULT: u32 = 9600;
pub(super) const PARITIES: [(&str, Parity); 3] =
    [("none", Parity::None), ("even", Parity::Even), ("odd", Parity::Odd)];
/// Every key that some type of channel has.
pub(super) const KEYS: [&str; 20] = [
    "address",
    "port",
    "baud",
    "parity",
    "stop_bits",
    "rs485",
    "timeout",
    "silence",
    "after_connect",
    "pipeline",
    "listen",
    "announce",
    "url",
    "version",
    "username",
    "password",
    "client_id",
    "ca",
    "cert",
    "key",
];

pub(super) fn tcp(section: &mut Section<'_>, wires: Option<&mut Names>) -> Wire {
    let address = section.require::<Address>("address");
    if let (Some(wires), Some(address)) = (wires, &address) {
        wires.once(&address.value.0, address.spot, section.report);
    }
    Wire::Tcp { address: address.map(|told| told.value.0).unwrap_or_default().into() }
}

pub(super) fn port(section: &mut Section<'_>, wires: &mut Names) -> Wire {
    let path = section.require::<Device>("port");
    if let Some(path) = &path {
        wires.once(&path.value.0, path.spot, section.report);
    }
    Wire::Serial(Port {
        path: path.map(|told| told.value.0).unwrap_or_default().into(),
        baud: baud(section),
        parity: section.word("parity", &PARITIES).map(|told| told.value).unwrap_or_default(),
        stop_bits: section.whole("stop_bits", 1..=2).map_or(1, |told| told.value),
        rs485: section.take_or("rs485", false),
    })
}

/// `port`, or `address` of a serial device server.
pub(super) fn port_or_server(section: &mut Section<'_>, wires: &mut Names) -> Wire {
    section.tie(|| Tie::NotBoth("address", "port"));
    let Some(entry) = section.entry("address") else {
        return port(section, wires);
    };
    for key in ["port", "baud", "parity", "stop_bits", "rs485"] {
        let Some(port) = section.entry(key) else { continue };
        let what = format!("`{key}` beside `address`: it goes over TCP or over a port");
        section.report.mistake(
            Code::Excludes,
            port.key_spot,
            what,
            format!("keep one; `address` is at {}", section.report.at(entry.key_spot)),
        );
    }
    tcp(section, Some(wires))
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
            Code::BadPath,
            format!("`{text}` is no path of a port"),
            "write the whole path: `\"/dev/serial/by-id/usb-…\"` or `\"/dev/ttyS3\"`",
        ))
    }

    fn grammar() -> Json {
        text("^/")
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
                Code::BadAddress,
                format!("`{text}` has no port"),
                format!("write `\"{text}:502\"`, or the port it listens on"),
            )),
            None => Err(wrong(
                Code::BadAddress,
                format!("`{text}` is no host and port"),
                "write it like `\"192.0.2.10:502\"`, the port from 1 to 65535",
            )),
        }
    }

    fn grammar() -> Json {
        text(r"^([^:/@,\[\] ]+|\[[^\]/@, ]*:[^\]/@, ]*\]):[0-9]{1,5}$")
    }
}

/// `[::1]:502` → `::1`, 502
pub(super) fn host_and_port(text: &str) -> Option<(&str, Option<u16>)> {
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
