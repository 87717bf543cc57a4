//! UHPPOTE datagrams: 64 bytes, `17 function 00 00 serial …`, little-endian numbers, dates in BCD. Pure.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use jiff::civil::{Date, DateTime, Time};

pub const LENGTH: usize = 64;
pub type Packet = [u8; LENGTH];

const START: u8 = 0x17;
/// What firmware 6.62 begins its events with.
const START_6_62: u8 = 0x19;
/// Without it a controller does not change its memory.
const REALLY: u32 = 0x55AA_AA55;

/// What controllers are asked; the answer comes under the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Function {
    Status = 0x20,
    SetTime = 0x30,
    OpenDoor = 0x40,
    SetListener = 0x90,
    Find = 0x94,
    Event = 0xB0,
    SetEventIndex = 0xB2,
    EventIndex = 0xB4,
}

/// What a controller says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number of its last event, 0 where it has none.
    pub index: u32,
    /// Doors 1 to 4.
    pub open: [bool; 4],
    /// By its own clock.
    pub time: Option<DateTime>,
}

/// One line of its memory. The card is not shown in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    pub index: u32,
    /// 1 card, 2 door or button, 3 alarm; 0 none, 255 overwritten.
    pub kind: u8,
    pub granted: bool,
    pub door: u8,
    /// 1 in, 2 out
    pub direction: u8,
    pub card: u32,
    pub time: Option<DateTime>,
    pub reason: u8,
}

/// Who answered a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub serial: u32,
    pub address: Ipv4Addr,
    pub mac: [u8; 6],
    pub firmware: (u8, u8),
}

// --- questions ---

pub fn ask(function: Function, serial: u32) -> Packet {
    let mut packet = [0; LENGTH];
    packet[0] = START;
    packet[1] = function as u8;
    put(&mut packet, 4, serial);
    packet
}

pub fn ask_event(serial: u32, index: u32) -> Packet {
    let mut packet = ask(Function::Event, serial);
    put(&mut packet, 8, index);
    packet
}

pub fn set_event_index(serial: u32, index: u32) -> Packet {
    let mut packet = ask(Function::SetEventIndex, serial);
    put(&mut packet, 8, index);
    put(&mut packet, 12, REALLY);
    packet
}

pub fn open_door(serial: u32, door: u8) -> Packet {
    let mut packet = ask(Function::OpenDoor, serial);
    packet[8] = door;
    packet
}

pub fn set_listener(serial: u32, listener: SocketAddrV4) -> Packet {
    let mut packet = ask(Function::SetListener, serial);
    packet[8..12].copy_from_slice(&listener.ip().octets());
    packet[12..14].copy_from_slice(&listener.port().to_le_bytes());
    packet
}

pub fn set_time(serial: u32, time: DateTime) -> Packet {
    let mut packet = ask(Function::SetTime, serial);
    let year = time.year().unsigned_abs();
    let parts = [
        (year / 100) as u8,
        (year % 100) as u8,
        time.month().unsigned_abs(),
        time.day().unsigned_abs(),
        time.hour().unsigned_abs(),
        time.minute().unsigned_abs(),
        time.second().unsigned_abs(),
    ];
    for (byte, part) in packet[8..15].iter_mut().zip(parts) {
        *byte = ((part / 10) << 4) | (part % 10);
    }
    packet
}

fn put(packet: &mut Packet, at: usize, number: u32) {
    packet[at..at + 4].copy_from_slice(&number.to_le_bytes());
}

// --- answers ---

/// The whole datagram, where it is one: whose it is, and what it is about.
pub fn read(bytes: &[u8]) -> Option<(u32, u8, &Packet)> {
    let packet: &Packet = bytes.try_into().ok()?;
    let begins = packet[0] == START || (packet[0] == START_6_62 && packet[1] == Function::Status as u8);
    begins.then(|| (number(packet, 4), packet[1], packet))
}

/// The number that an answer to [`Function::EventIndex`], [`Function::Event`] and [`Function::Status`] begins with.
pub fn index(packet: &Packet) -> u32 {
    number(packet, 8)
}

/// Whether it did what it was told.
pub fn is_done(packet: &Packet) -> bool {
    packet[8] == 1
}

pub fn status(packet: &Packet) -> Status {
    let date = date(2000 + i16::from(bcd(packet[51]).unwrap_or(0)), packet[52], packet[53]);
    let time = time([packet[37], packet[38], packet[39]]);
    Status {
        index: index(packet),
        open: [28, 29, 30, 31].map(|at: usize| packet[at] == 1),
        time: date.zip(time).map(|(date, time)| date.to_datetime(time)),
    }
}

pub fn event(packet: &Packet) -> Event {
    let year = bcd(packet[20]).zip(bcd(packet[21])).map(|(a, b)| i16::from(a) * 100 + i16::from(b));
    let date = year.and_then(|year| date(year, packet[22], packet[23]));
    let time = time([packet[24], packet[25], packet[26]]);
    Event {
        index: index(packet),
        kind: packet[12],
        granted: packet[13] == 1,
        door: packet[14],
        direction: packet[15],
        card: number(packet, 16),
        time: date.zip(time).map(|(date, time)| date.to_datetime(time)),
        reason: packet[27],
    }
}

pub fn found(packet: &Packet) -> Found {
    let [a, b, c, d, ..] = *packet[8..].first_chunk::<4>().unwrap_or(&[0; 4]);
    Found {
        serial: number(packet, 4),
        address: Ipv4Addr::new(a, b, c, d),
        mac: *packet[20..].first_chunk().unwrap_or(&[0; 6]),
        firmware: (packet[26], packet[27]),
    }
}

/// An answer as it may be shown: the card of the last event is blanked.
pub fn shown(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(card) = bytes.get_mut(16..20) {
        card.fill(0);
    }
    bytes
}

fn number(packet: &Packet, at: usize) -> u32 {
    u32::from_le_bytes(*packet[at..].first_chunk().unwrap_or(&[0; 4]))
}

fn bcd(byte: u8) -> Option<u8> {
    let (tens, ones) = (byte >> 4, byte & 15);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

fn date(year: i16, month: u8, day: u8) -> Option<Date> {
    Date::new(year, bcd(month)? as i8, bcd(day)? as i8).ok().filter(|date| date.year() >= 2000)
}

fn time([hour, minute, second]: [u8; 3]) -> Option<Time> {
    Time::new(bcd(hour)? as i8, bcd(minute)? as i8, bcd(second)? as i8, 0).ok()
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({}, kind {}, reason {}, door {})", self.index, self.kind, self.reason, self.door)
    }
}

#[cfg(test)]
pub mod tests {
    use jiff::civil::datetime;

    use super::*;
    use crate::field::fuzz::{Chance, flood, stream};

    const SERIAL: u32 = 423_187_757;

    /// From the public vectors of uhppoted: event 57.
    pub fn vector() -> Packet {
        let head = [
            0x17, 0x20, 0, 0, 0x2D, 0x55, 0x39, 0x19, 0x39, 0, 0, 0, 2, 1, 3, 1, 0xAA, 0xE8, 0x5D, 0, 0x20,
            0x19, 0x04, 0x19, 0x17, 0, 0x09, 6, 1, 0, 1, 1, 0, 0, 1, 1, 9, 0x14, 0x37, 2, 0x11, 0, 0, 0, 0,
            0, 0, 0, 0x2B, 4, 1, 0x19, 4, 0x20,
        ];
        let mut packet = [0; LENGTH];
        packet[..head.len()].copy_from_slice(&head);
        packet
    }

    #[test]
    fn questions_are_the_public_vectors() {
        let begins = |packet: Packet, head: &[u8]| {
            assert_eq!(&packet[..head.len()], head);
            assert!(packet[head.len()..].iter().all(|&byte| byte == 0));
        };
        begins(ask(Function::Status, SERIAL), &[0x17, 0x20, 0, 0, 0x2D, 0x55, 0x39, 0x19]);
        begins(open_door(SERIAL, 3), &[0x17, 0x40, 0, 0, 0x2D, 0x55, 0x39, 0x19, 3]);
        let listener = "192.168.1.100:40000".parse().unwrap();
        let head = [0x17, 0x90, 0, 0, 0x2D, 0x55, 0x39, 0x19, 0xC0, 0xA8, 1, 0x64, 0x40, 0x9C];
        begins(set_listener(SERIAL, listener), &head);
    }

    #[test]
    fn an_event_is_the_public_vector() {
        let packet = vector();
        let (serial, function, packet) = read(&packet).unwrap();
        assert_eq!((serial, function), (SERIAL, 0x20));
        let event = event(packet);
        assert_eq!((event.index, event.kind, event.granted, event.door), (57, 2, true, 3));
        assert_eq!((event.direction, event.card, event.reason), (1, 6_154_410, 6));
        assert_eq!(event.time, Some(datetime(2019, 4, 19, 17, 0, 9, 0)));
        let status = status(packet);
        assert_eq!(status.open, [true, false, true, true]);
        assert_eq!(status.time, Some(datetime(2019, 4, 20, 14, 37, 2, 0)));
        assert!(!format!("{event:?}").contains("6154410"));
        assert_eq!(shown(packet)[16..20], [0; 4]);
    }

    #[test]
    fn what_is_no_datagram_of_a_controller_is_none() {
        let mut packet = vector();
        assert!(read(&packet[..63]).is_none());
        packet[0] = 0x19;
        assert!(read(&packet).is_some(), "an event of firmware 6.62");
        packet[1] = 0x40;
        assert!(read(&packet).is_none());
        let mut wrong = vector();
        wrong[22] = 0x13;
        wrong[37] = 0x3F;
        assert_eq!((event(&wrong).time, status(&wrong).time), (None, None), "no such month, no such digit");
    }

    #[test]
    fn fuzz_uhppote_packets() {
        let frames = [vector().to_vec(), ask(Function::Find, 7).to_vec()];
        flood("uhppote", &frames, |input| {
            if let Some((_, _, packet)) = read(input) {
                let _ = (status(packet), event(packet), found(packet), index(packet));
                assert_eq!(shown(packet).len(), LENGTH);
            }
        });
        // A datagram begins and ends where the network says: only what is alone in it is found.
        let (bytes, which) = stream(&frames, &[], &mut Chance::new(3));
        let heard: Vec<_> = bytes.chunks(LENGTH).filter_map(read).map(|(_, function, _)| function).collect();
        assert_eq!(heard, which.iter().map(|&nth| frames[nth][1]).collect::<Vec<_>>());
    }
}
