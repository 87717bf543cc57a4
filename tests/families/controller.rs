//! UHPPOTE door controllers, made up after the public vectors of uhppoted: many on one UDP port, each with one door.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::{Family, House, bears, free_udp_port};

type Packet = [u8; 64];

#[derive(Clone)]
pub struct Controllers {
    socket: Arc<UdpSocket>,
    units: Arc<Mutex<BTreeMap<u32, Unit>>>,
    listen: u16,
}

#[derive(Default)]
struct Unit {
    open: bool,
    events: Vec<Packet>,
    listener: Option<SocketAddr>,
    orders: usize,
    silent: bool,
}

const SERIAL: u32 = 423_187_000;
const CARD: u32 = 6_154_410;
/// In BCD.
const LONG_AGO: [u8; 7] = [0x20, 0x26, 0x01, 0x01, 0x08, 0x00, 0x00];

impl Controllers {
    pub fn start(places: usize) -> Self {
        let units = (1..=places).map(|n| (SERIAL + n as u32, Unit::default())).collect();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let controllers = Self { socket, units: Arc::new(Mutex::new(units)), listen: free_udp_port() };
        let serving = controllers.clone();
        // Ends with the process; it holds nothing but its socket.
        std::thread::spawn(move || serving.serve());
        controllers
    }

    pub fn configuration(&self, places: usize) -> String {
        let (address, listen) = (self.socket.local_addr().unwrap(), self.listen);
        let mut text = format!(
            "[[channel]]\nid = \"doors\"\ntype = \"uhppote\"\naddress = \"{address}\"\nlisten = \"127.0.0.1:{listen}\"\n\
             announce = \"127.0.0.1:{listen}\"\ntimeout = \"500ms\"\n"
        );
        for n in 1..=places {
            write!(
                text,
                r#"
[[device]]
id      = "controller-{n}"
channel = "doors"
profile = "uhppote"
serial  = {serial}
doors   = 2
poll    = "200ms"
[[device.command]]
action  = "open"
target  = "door-1"
[[door]]
id            = "door-{n}"
contact       = "controller-{n}.door-1"
grants        = ["controller-{n}.door-1"]
unlock_window = "5s"
held_after    = "8s"
"#,
                serial = SERIAL + n as u32,
            )
            .unwrap();
        }
        text
    }

    /// Every door has been read, and every controller knows where its events go.
    pub fn settle(&self, house: &House, places: usize) {
        house.until_read(".door-1", "closed", places);
        house.gateway.until("every controller has a listener", || {
            self.units.lock().unwrap().values().all(|unit| unit.listener.is_some()).then_some(())
        });
    }

    fn serve(&self) {
        let mut heard = [0; 65];
        while let Ok((length, from)) = self.socket.recv_from(&mut heard) {
            let Ok(question) = Packet::try_from(&heard[..length]) else { continue };
            let mut units = self.units.lock().unwrap();
            let serial = number(&question, 4);
            let unit = units.get_mut(&serial).filter(|unit| !unit.silent);
            if let Some(answer) = unit.and_then(|unit| self.answer(serial, unit, &question)) {
                let _ = self.socket.send_to(&answer, from);
            }
        }
    }

    fn answer(&self, serial: u32, unit: &mut Unit, question: &Packet) -> Option<Packet> {
        let mut answer = begun(question[1], serial);
        match question[1] {
            0x20 => return Some(status(serial, unit)),
            0x40 => {
                unit.orders += 1;
                answer[8] = 1;
                // It tells of that like of any entry: opened from afar.
                self.happens(serial, unit, 2, true, 44, 0);
            }
            0x90 => {
                let port = u16::from_le_bytes([question[12], question[13]]);
                let ip = Ipv4Addr::new(question[8], question[9], question[10], question[11]);
                unit.listener = Some(SocketAddrV4::new(ip, port).into());
                answer[8] = 1;
            }
            0xB0 => {
                let event = unit.events.get(number(question, 8).checked_sub(1)? as usize)?;
                answer[8..28].copy_from_slice(&event[8..28]);
            }
            0xB4 => {}
            0xB2 => answer[8] = 1,
            0x30 => answer[8..15].copy_from_slice(&question[8..15]),
            _ => return None,
        }
        Some(answer)
    }

    /// An event: kept, and pushed.
    fn happens(&self, serial: u32, unit: &mut Unit, kind: u8, granted: bool, reason: u8, card: u32) {
        let mut event = begun(0x20, serial);
        event[8..12].copy_from_slice(&(unit.events.len() as u32 + 1).to_le_bytes());
        (event[12], event[13], event[14], event[15]) = (kind, granted.into(), 1, 1);
        event[16..20].copy_from_slice(&card.to_le_bytes());
        event[20..27].copy_from_slice(&clock());
        event[27] = reason;
        unit.events.push(event);
        if let Some(listener) = unit.listener {
            let _ = self.socket.send_to(&status(serial, unit), listener);
        }
    }
}

fn begun(function: u8, serial: u32) -> Packet {
    let mut packet = [0; 64];
    (packet[0], packet[1]) = (0x17, function);
    packet[4..8].copy_from_slice(&serial.to_le_bytes());
    packet
}

/// Its last event, its doors, its clock.
fn status(serial: u32, unit: &Unit) -> Packet {
    let mut packet = unit.events.last().copied().unwrap_or_else(|| begun(0x20, serial));
    packet[28] = unit.open.into();
    let [_, year, month, day, hour, minute, second] = clock();
    packet[37..40].copy_from_slice(&[hour, minute, second]);
    packet[51..54].copy_from_slice(&[year, month, day]);
    packet
}

/// Now, in BCD, in the zone of the gateway.
fn clock() -> [u8; 7] {
    let zone = TimeZone::get("Asia/Shanghai").unwrap();
    let now = DateTime::from(jiff::Timestamp::now().to_zoned(zone));
    let parts =
        [20, (now.year() % 100) as i8, now.month(), now.day(), now.hour(), now.minute(), now.second()];
    parts.map(|part| ((part as u8 / 10) << 4) | (part as u8 % 10))
}

fn number(packet: &Packet, at: usize) -> u32 {
    u32::from_le_bytes(packet[at..at + 4].try_into().unwrap())
}

impl Family for Controllers {
    fn name(&self) -> &'static str {
        "uhppote"
    }

    fn does(&self, place: usize, what: &str) -> bool {
        let serial = SERIAL + place as u32;
        let mut units = self.units.lock().unwrap();
        let unit = units.get_mut(&serial).unwrap();
        match what {
            "grant" => self.happens(serial, unit, 1, true, 1, CARD),
            "late grant" => {
                self.happens(serial, unit, 1, true, 1, CARD);
                // What it pushed only wakes; what is fetched was long ago.
                unit.events.last_mut().unwrap()[20..27].copy_from_slice(&LONG_AGO);
            }
            "deny" => self.happens(serial, unit, 1, false, 6, CARD),
            "exit" => self.happens(serial, unit, 2, true, 20, 0),
            "tamper" => self.happens(serial, unit, 3, false, 41, 0),
            "open" | "close" => {
                unit.open = what == "open";
                self.happens(serial, unit, 2, true, if unit.open { 23 } else { 24 }, 0);
            }
            "pry open" => {
                unit.open = true;
                self.happens(serial, unit, 3, false, 38, 0);
            }
            "fall silent" => unit.silent = true,
            _ => return false,
        }
        true
    }

    fn order(&self, place: usize) -> [String; 3] {
        [format!("controller-{place}"), "open".into(), "door-1".into()]
    }

    fn forbidden(&self, place: usize) -> [String; 3] {
        [format!("controller-{place}"), "open".into(), "door-2".into()]
    }

    fn given(&self, place: usize) -> usize {
        self.units.lock().unwrap()[&(SERIAL + place as u32)].orders
    }

    fn secret(&self) -> String {
        CARD.to_string()
    }

    fn concerns(&self, place: usize, event: &Json) -> bool {
        bears(place, event)
    }
}
