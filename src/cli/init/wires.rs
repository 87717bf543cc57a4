//! Which wires there are: the serial ports that are plugged in, with what they say of themselves, and addresses.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use super::ask::Tongue;
use super::page::quoted;
use crate::field::profile::Line;
use crate::field::wire::Parity;

/// A name that stays with the adapter, wherever it is plugged in.
const BY_ID: &str = "/dev/serial/by-id";
/// Ports that are soldered in have no such name.
const SOLDERED: [&str; 4] = ["ttyAMA", "ttymxc", "ttySAC", "ttyS"];
const PORTS_MAX: usize = 32;

/// A port, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub path: String,
    pub about: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    Port(String),
    Address(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    ModbusRtu,
    ModbusTcp,
    ModbusRtuOverTcp,
    /// Lock boards, and meters with protocols of their own.
    Serial,
    Osdp,
    Uhppote,
    Mqtt,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    pub at: At,
    pub kind: Kind,
    /// Of a serial port: as it was told, or found.
    pub line: Option<Line>,
}

/// What is plugged in; then, where nothing is, what is soldered in and has hardware behind it.
pub fn ports() -> Vec<Port> {
    let mut ports = named(Path::new(BY_ID));
    if ports.is_empty() {
        ports = soldered(Path::new("/sys/class/tty"));
    }
    ports.truncate(PORTS_MAX);
    ports
}

fn named(dir: &Path) -> Vec<Port> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut ports: Vec<Port> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let behind = fs::canonicalize(entry.path()).ok()?;
            Some(Port {
                path: format!("{BY_ID}/{name}"),
                about: format!("{} → {}", spoken(&name), behind.display()),
            })
        })
        .collect();
    ports.sort_by(|a, b| a.path.cmp(&b.path));
    ports
}

/// `usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0` → `FTDI FT232R USB UART A50285BI`
fn spoken(name: &str) -> String {
    let name = name.strip_prefix("usb-").unwrap_or(name);
    let name = name.split("-if").next().unwrap_or(name);
    name.replace('_', " ")
}

/// The kernel names more of them than there are: what is real has a device behind it, and its type is known.
fn soldered(dir: &Path) -> Vec<Port> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let real = |path: &Path| fs::read_to_string(path.join("type")).map_or(true, |kind| kind.trim() != "0");
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("device").exists() && real(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| SOLDERED.iter().any(|kind| name.starts_with(kind)))
        .collect();
    names.sort();
    let port = |name: String| Port { path: format!("/dev/{name}"), about: String::new() };
    names.into_iter().map(port).collect()
}

/// A number of the list, a path, or `HOST:PORT`.
pub fn at(answer: &str, ports: &[Port]) -> Result<At, String> {
    if let Ok(nth) = answer.parse::<usize>() {
        let port = nth.checked_sub(1).and_then(|nth| ports.get(nth));
        return port.map(|port| At::Port(port.path.clone())).ok_or_else(|| format!("1 … {}", ports.len()));
    }
    if answer.starts_with('/') {
        return Ok(At::Port(answer.to_owned()));
    }
    match answer.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(At::Address(answer.to_owned()))
        }
        _ => Err("/dev/serial/by-id/… , /dev/ttyS3 , 192.0.2.10:502".into()),
    }
}

fn is_broker(address: &str) -> bool {
    address.starts_with("mqtt://") || address.starts_with("mqtts://")
}

const ON_BROKER: &[Kind] = &[Kind::Mqtt];
const ON_PORT: &[Kind] = &[Kind::ModbusRtu, Kind::Serial, Kind::Osdp];
const OVER_TCP: &[Kind] = &[Kind::ModbusTcp, Kind::ModbusRtuOverTcp, Kind::Serial, Kind::Osdp, Kind::Uhppote];

impl Kind {
    pub fn of(at: &At) -> &'static [Kind] {
        match at {
            At::Port(_) => ON_PORT,
            At::Address(address) if is_broker(address) => ON_BROKER,
            At::Address(_) => OVER_TCP,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Kind::ModbusRtu => "modbus-rtu",
            Kind::ModbusTcp => "modbus-tcp",
            Kind::ModbusRtuOverTcp => "modbus-rtu-over-tcp",
            Kind::Serial => "serial",
            Kind::Osdp => "osdp",
            Kind::Uhppote => "uhppote",
            Kind::Mqtt => "mqtt",
        }
    }

    pub fn about(self, tongue: Tongue) -> &'static str {
        match self {
            Kind::ModbusRtu => {
                tongue.pick("传感器、电表、水泵、继电器板", "sensors, meters, pumps, relay boards")
            }
            Kind::ModbusTcp => tongue.pick("同上，经以太网（502 端口）", "the same over Ethernet (port 502)"),
            Kind::ModbusRtuOverTcp => tongue.pick(
                "同上，经串口服务器透传",
                "the same behind a serial device server that passes bytes through",
            ),
            Kind::Serial => {
                tongue.pick("快递柜锁控板，645 电表，188 水表", "lock boards, DL/T 645 and CJ/T 188 meters")
            }
            Kind::Osdp => tongue.pick("OSDP 读卡器", "OSDP card readers"),
            Kind::Uhppote => {
                tongue.pick("UHPPOTE 门禁控制器（UDP 60000）", "UHPPOTE door controllers (UDP 60000)")
            }
            Kind::Mqtt => tongue.pick(
                "Zigbee、Wi-Fi、LoRaWAN 传感器，人脸机",
                "Zigbee, Wi-Fi and LoRaWAN sensors, face terminals",
            ),
        }
    }

    /// By its number in the list, or its word.
    pub fn chosen(answer: &str, kinds: &[Kind]) -> Result<Kind, String> {
        let nth = answer.parse::<usize>().ok().and_then(|nth| nth.checked_sub(1));
        let chosen = match nth {
            Some(nth) => kinds.get(nth),
            None => kinds.iter().find(|kind| kind.word() == answer),
        };
        let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
        chosen.copied().ok_or_else(|| words.join(", "))
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Kind::chosen(word, &[ON_PORT, OVER_TCP, ON_BROKER].concat())
    }
}

impl Wire {
    /// The id of its channel.
    pub fn id(&self) -> &'static str {
        match (self.kind, &self.at) {
            (Kind::ModbusRtu | Kind::ModbusRtuOverTcp, _) => "rs485-1",
            (Kind::ModbusTcp, _) => "plant",
            (Kind::Serial, _) => "boards",
            (Kind::Osdp, _) => "readers",
            (Kind::Uhppote, _) => "gates",
            (Kind::Mqtt, _) => "broker",
        }
    }

    /// Speeds matter here, and can be tried.
    pub fn has_a_speed(&self) -> bool {
        matches!(self.at, At::Port(_))
    }

    /// Its `[[channel]]`.
    pub fn toml(&self) -> String {
        let mut text =
            format!("[[channel]]\nid        = \"{}\"\ntype      = \"{}\"\n", self.id(), self.kind.word());
        // Writing into a String cannot fail.
        let _ = match &self.at {
            At::Port(path) => writeln!(text, "port      = {}", quoted(path)),
            At::Address(url) if self.kind == Kind::Mqtt => writeln!(text, "url       = {}", quoted(url)),
            At::Address(address) => writeln!(text, "address   = {}", quoted(address)),
        };
        if let (At::Port(_), Some(line)) = (&self.at, self.line) {
            let parity = match line.parity {
                Parity::None => "none",
                Parity::Even => "even",
                Parity::Odd => "odd",
            };
            let (baud, stop_bits) = (line.baud, line.stop_bits);
            let _ = write!(text, "baud      = {baud}\nparity    = \"{parity}\"\nstop_bits = {stop_bits}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_named_as_it_names_itself_and_an_answer_is_a_number_a_path_or_an_address() {
        assert_eq!(spoken("usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"), "FTDI FT232R USB UART A50285BI");
        let ports = [Port { path: "/dev/serial/by-id/x".into(), about: String::new() }];
        assert_eq!(at("1", &ports), Ok(At::Port("/dev/serial/by-id/x".into())));
        assert_eq!(at("/dev/ttyS3", &ports), Ok(At::Port("/dev/ttyS3".into())));
        assert_eq!(at("plc:502", &ports), Ok(At::Address("plc:502".into())));
        assert!(at("0", &ports).is_err() && at("2", &ports).is_err() && at("plc", &ports).is_err());
        assert_eq!(Kind::chosen("1", ON_PORT), Ok(Kind::ModbusRtu));
        assert_eq!("osdp".parse(), Ok(Kind::Osdp));
        let broker = at("mqtt://127.0.0.1:1883", &ports).unwrap();
        assert_eq!(Kind::of(&broker), [Kind::Mqtt]);
        assert!(Kind::chosen("4", ON_PORT).is_err() && "mqtt-sn".parse::<Kind>().is_err());
    }

    #[test]
    fn ports_are_found_by_the_names_that_stay() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("usb-1a86_USB_Serial-if00-port0")).unwrap();
        std::os::unix::fs::symlink("/dev/gone", dir.path().join("usb-gone-if00")).unwrap();
        let ports = named(dir.path());
        assert_eq!(ports.len(), 1, "{ports:?}");
        assert_eq!(ports[0].about, "1a86 USB Serial → /dev/null");
    }
}
