//! CJ/T 188-2004: frames of water and gas meters, and what their one reading says. Pure.
//!
//! `FE… 68 T A0…A6 C L DI DI SER DATA CS 16`: T is the kind of meter, CS the sum from 68 on, nothing is shifted. Question
//! `01` with DI 901F is answered by `81`; meters have the two bytes of the DI in either order, whatever they were asked in.
//! `C1` refuses. The answer has 22 bytes: DI, SER, the present volume (8 digits, 0.01 of its unit) and its unit, the
//! volume at the last reckoning, a clock, and two bytes of state. Heat meters have another one, which is not read here.
//!
//! A printed address is 14 digits: ten of the meter, four of its maker. Each part goes out with its low byte first.

use super::ItemOrder;
use super::bits::{each, only};
use super::dlt645::{bcd_low_first, number};
use super::kr_cu16::sum;

pub type Address = [u8; 7];

const WAKE: u8 = 0xFE;
const START: u8 = 0x68;
const END: u8 = 0x16;
const ANYONE: Address = [0xAA; 7];
const READ: u8 = 0x01;
const READ_ADDRESS: u8 = 0x03;
const ANSWER: u8 = 0x80;
const REFUSAL: u8 = 0xC0;
/// The DIs, in the order in which they may stand.
const READING: [[u8; 2]; 2] = [[0x1F, 0x90], [0x90, 0x1F]];
const ADDRESS: [[u8; 2]; 2] = [[0x0A, 0x81], [0x81, 0x0A]];
const CUBIC_METRES: u8 = 0x2C;
const LITRES: u8 = 0x29;
/// Of a frame, besides its data.
const FRAME_BYTES: usize = 13;
/// With the longest answer that is understood, and the bytes that wake the receiver.
pub const ANSWER_BYTES: usize = 4 + FRAME_BYTES + 22;
/// No frame has more data.
const DATA_MOST: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Said(Said),
    Refused,
    /// It answered, but not as a water or gas meter does.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Said {
    /// In m³; the unit's code where it is no volume, or a digit that is none.
    pub volume: Result<f64, Unread>,
    /// `None` for a code that no source knows.
    pub valve: Option<Valve>,
    pub battery_low: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    Unit(u8),
    Digits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Valve {
    Open,
    Closed,
    Fault,
}

impl Valve {
    pub fn word(self) -> &'static str {
        match self {
            Valve::Open => "open",
            Valve::Closed => "closed",
            Valve::Fault => "fault",
        }
    }
}

/// As printed; shorter ones have zeros before them.
pub fn address(printed: &str) -> Address {
    let digits: Vec<char> = printed.chars().filter(char::is_ascii_digit).collect();
    let (meter, maker) = digits.split_at(digits.len().saturating_sub(4));
    let text = |part: &[char]| part.iter().collect::<String>();
    let [a, b, c, d, e] = bcd_low_first::<5>(&text(meter));
    let [f, g] = bcd_low_first::<2>(&text(maker));
    [a, b, c, d, e, f, g]
}

/// As it is printed.
pub fn printed([meter @ .., f, g]: &Address) -> String {
    let bytes = meter.iter().rev().chain([g, f]);
    bytes.map(|byte| format!("{byte:02X}")).collect()
}

/// Asks this meter, or whoever is alone on its line.
pub fn read(kind: u8, address: Option<&Address>, order: ItemOrder) -> Vec<u8> {
    frame(kind, address.unwrap_or(&ANYONE), READ, in_order(READING, order))
}

pub fn read_address(kind: u8) -> Vec<u8> {
    frame(kind, &ANYONE, READ_ADDRESS, in_order(ADDRESS, ItemOrder::LowFirst))
}

/// The answer of this meter, or of anyone, to [`read`].
pub fn answer(bytes: &[u8], address: Option<&Address>) -> Option<Answer> {
    let own = frames(bytes).filter(|frame| address.is_none_or(|address| frame.address == *address));
    only(own.filter_map(|frame| match frame.control {
        control if control == READ | ANSWER => said(frame.data),
        control if control == READ | REFUSAL => Some(Answer::Refused),
        _ => None,
    }))
}

/// The address that a meter names.
pub fn named_address(bytes: &[u8]) -> Option<Address> {
    let is_name = |frame: &Frame<'_>| {
        frame.control == READ_ADDRESS | ANSWER && ADDRESS.iter().any(|di| frame.data.starts_with(di))
    };
    only(frames(bytes).filter(is_name).map(|frame| frame.address))
}

// --- what it says ---

/// `None`: of another DI.
fn said(data: &[u8]) -> Option<Answer> {
    READING.iter().any(|di| data.starts_with(di)).then(|| match data {
        [_, _, _ser, v0, v1, v2, v3, unit, _, _, _, _, _, _, _, _, _, _, _, _, state, _] => {
            Answer::Said(Said {
                volume: volume(&[*v0, *v1, *v2, *v3], *unit),
                valve: valve(*state),
                battery_low: state & 0x20 != 0,
            })
        }
        _ => Answer::Other,
    })
}

fn volume(digits: &[u8], unit: u8) -> Result<f64, Unread> {
    let parts = match unit {
        CUBIC_METRES => 100.0,
        LITRES => 100_000.0,
        _ => return Err(Unread::Unit(unit)),
    };
    number(digits, false).map(|hundredths| hundredths as f64 / parts).ok_or(Unread::Digits)
}

fn valve(state: u8) -> Option<Valve> {
    match state & 0xC0 {
        0x00 => Some(Valve::Open),
        0x40 => Some(Valve::Closed),
        0xC0 => Some(Valve::Fault),
        _ => None,
    }
}

// --- frames ---

#[derive(Debug)]
struct Frame<'a> {
    address: Address,
    control: u8,
    data: &'a [u8],
}

fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    each(bytes, |rest| frame_at(rest).map(|frame| (FRAME_BYTES + frame.data.len(), frame)))
}

fn frame_at(bytes: &[u8]) -> Option<Frame<'_>> {
    match bytes {
        [START, _kind, a, b, c, d, e, f, g, control, length, rest @ ..] => {
            let length = usize::from(*length);
            let data = rest.get(..length).filter(|_| length <= DATA_MOST)?;
            let is_right = rest.get(length..length + 2)? == [sum(&bytes[..FRAME_BYTES - 2 + length]), END];
            is_right.then_some(Frame { address: [*a, *b, *c, *d, *e, *f, *g], control: *control, data })
        }
        _ => None,
    }
}

fn frame(kind: u8, address: &Address, control: u8, [d0, d1]: [u8; 2]) -> Vec<u8> {
    let mut frame = vec![WAKE; 4];
    frame.extend([START, kind]);
    frame.extend(address);
    frame.extend([control, 3, d0, d1, 0]);
    frame.extend([sum(&frame[4..]), END]);
    frame
}

fn in_order([low_first, high_first]: [[u8; 2]; 2], order: ItemOrder) -> [u8; 2] {
    match order {
        ItemOrder::LowFirst => low_first,
        ItemOrder::HighFirst => high_first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    const METER: Address = [0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78];
    /// With the sum as computed; the source prints another and says that it is wrong.
    const REPLY: [u8; 35] = [
        0x68, 0x10, 0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78, 0x81, 0x16, 0x1F, 0x90, 0x00, 0x00, 0x77, 0x66,
        0x55, 0x2C, 0x00, 0x77, 0x66, 0x55, 0x2C, 0x31, 0x01, 0x22, 0x11, 0x05, 0x15, 0x20, 0x21, 0x84, 0x13,
        0x16,
    ];
    const NAMES: [[u8; 16]; 2] = [
        [0x68, 0x10, 0x89, 0x67, 0x45, 0x23, 0x01, 0x33, 0x78, 0x83, 0x03, 0x0A, 0x81, 0xA7, 0x34, 0x16],
        [0x68, 0x10, 0x00, 0x29, 0x15, 0x24, 0x03, 0x26, 0x20, 0x83, 0x03, 0x0A, 0x81, 0x02, 0x36, 0x16],
    ];

    /// The reply with other bytes in it, and its sum made right.
    fn reply_with(changes: &[(usize, u8)]) -> Vec<u8> {
        let mut frame = REPLY.to_vec();
        changes.iter().for_each(|(at, byte)| frame[*at] = *byte);
        frame[33] = sum(&frame[..33]);
        frame
    }

    fn said_by(bytes: &[u8]) -> Said {
        match answer(bytes, Some(&METER)) {
            Some(Answer::Said(said)) => said,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_sent_is_as_captured() {
        assert_eq!(
            read(0x10, Some(&METER), ItemOrder::LowFirst),
            [
                0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0x10, 0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78, 0x01, 0x03,
                0x1F, 0x90, 0x00, 0x80, 0x16
            ]
        );
        // As captured but for SER, which is 01 there, and the sum with it.
        let anyone = read(0x10, None, ItemOrder::HighFirst);
        assert_eq!(anyone[4..15], [0x68, 0x10, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x01, 0x03]);
        assert_eq!(anyone[15..], [0x90, 0x1F, 0x00, 0xD1, 0x16]);
        assert_eq!(read_address(0x10)[13..17], [0x03, 0x03, 0x0A, 0x81]);
    }

    #[test]
    fn an_address_is_as_printed() {
        assert_eq!(address("00112233447833"), METER);
        assert_eq!(printed(&METER), "00112233447833");
        assert_eq!(named_address(&NAMES[0]).map(|a| printed(&a)).unwrap(), "01234567897833");
        assert_eq!(named_address(&NAMES[1]).map(|a| printed(&a)).unwrap(), "03241529002026");
    }

    #[test]
    fn the_captured_reading_reads_as_on_the_meter() {
        let wanted = Said { volume: Ok(556_677.0), valve: Some(Valve::Open), battery_low: true };
        assert_eq!(said_by(&REPLY), wanted);
        assert_eq!(said_by(&[&[0xFE; 4][..], &reply_with(&[(11, 0x90), (12, 0x1F)])].concat()), wanted);
        assert!(answer(&REPLY, None).is_some());
        assert_eq!(answer(&REPLY, Some(&[0; 7])), None, "another meter's");
        let mut printed = REPLY;
        printed[33] = 0x08;
        assert_eq!(answer(&printed, Some(&METER)), None, "wrong sum");
        assert_eq!(answer(&REPLY[..34], Some(&METER)), None, "cut");
    }

    #[test]
    fn units_become_cubic_metres_or_are_not_read() {
        assert_eq!(said_by(&reply_with(&[(18, 0x29), (14, 0x50)])).volume, Ok(556.6775));
        assert_eq!(said_by(&reply_with(&[(18, 0x05)])).volume, Err(Unread::Unit(0x05)));
        assert_eq!(said_by(&reply_with(&[(14, 0xAA)])).volume, Err(Unread::Digits));
    }

    #[test]
    fn the_state_has_valve_and_battery() {
        for (state, valve, battery_low) in [
            (0x00, Some(Valve::Open), false),
            (0x40, Some(Valve::Closed), false),
            (0xE0, Some(Valve::Fault), true),
            (0x80, None, false),
        ] {
            let said = said_by(&reply_with(&[(31, state)]));
            assert_eq!((said.valve, said.battery_low), (valve, battery_low));
        }
    }

    #[test]
    fn what_is_no_reading_is_told_apart() {
        let mut refusal =
            vec![0x68, 0x10, 0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78, 0xC1, 0x03, 0x00, 0x01, 0x02];
        refusal.extend([sum(&refusal), 0x16]);
        assert_eq!(answer(&refusal, Some(&METER)), Some(Answer::Refused));
        let mut heat = [&REPLY[..10], &[0x05, 0x1F, 0x90, 0x00, 0x11, 0x22]].concat();
        heat.extend([sum(&heat), 0x16]);
        assert_eq!(answer(&heat, Some(&METER)), Some(Answer::Other));
    }

    #[test]
    fn fuzz_cjt188() {
        let frames = [REPLY.to_vec(), NAMES[0].to_vec(), read(0x10, None, ItemOrder::HighFirst)];
        fuzz::flood("cjt188", &frames, |bytes| {
            if answer(bytes, Some(&METER)).is_some() || named_address(bytes).is_some() {
                assert!(bytes.len() >= FRAME_BYTES);
            }
            answer(bytes, None);
        });
    }

    #[test]
    fn the_reading_in_a_stream_is_found() {
        let frames = [REPLY.to_vec(), NAMES[0].to_vec()];
        let mut chance = fuzz::Chance::new(188);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0xFE, 0x68, 0x16, 0x10, 0x81], &mut chance);
            assert_eq!(answer(&bytes, Some(&METER)).is_some(), which.contains(&0), "{bytes:02X?}");
            assert_eq!(named_address(&bytes).is_some(), which.contains(&1), "{bytes:02X?}");
        }
    }
}
