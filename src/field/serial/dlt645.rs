//! DL/T 645-2007: frames of electricity meters, and the numbers in them. Pure.
//!
//! `FE… 68 A0…A5 68 C L DATA CS 16`: the address has its low byte first, every byte of DATA goes out 33 higher, CS is
//! the sum from the first 68 on. Question `11` with a data identifier (DI) is answered by `91`, DI and value; `B1` says
//! that more follows, which `12` asks for with DI and a number, `92`/`B2` bring; `D1` with an error byte refuses. `13` to
//! the address AA… asks a meter that is alone on its line for its address. An answer carries address and DI, so a late
//! one is never taken for another point's. Only a refusal carries no DI.

use super::bits::{each, only};
use super::kr_cu16::sum;

pub type Address = [u8; 6];

const WAKE: u8 = 0xFE;
const START: u8 = 0x68;
const END: u8 = 0x16;
const SHIFT: u8 = 0x33;
const ANYONE: Address = [0xAA; 6];
const READ: u8 = 0x11;
const FOLLOW_UP: u8 = 0x12;
const READ_ADDRESS: u8 = 0x13;
const ANSWER: u8 = 0x80;
const REFUSAL: u8 = 0xC0;
const MORE: u8 = 0x20;
/// Of a frame, besides its data.
pub const FRAME_BYTES: usize = 12;
/// Bytes that wake the receiver, before the frame.
pub const WAKE_BYTES: usize = 4;
/// No frame has more data.
pub const DATA_MOST: usize = 200;
/// What stands after a maximum demand: when it was.
const DEMAND_TIME_BYTES: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What stands after the DI.
    Data { data: Vec<u8>, more: bool },
    /// By this error byte.
    Refused(u8),
}

/// As printed on the meter, up to 12 digits; shorter ones have zeros before them.
pub fn address(printed: &str) -> Address {
    bcd_low_first(printed)
}

/// As it is printed.
pub fn printed(address: &Address) -> String {
    address.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

pub fn read_address() -> Vec<u8> {
    frame(&ANYONE, READ_ADDRESS, &[])
}

pub fn read(address: &Address, di: u32) -> Vec<u8> {
    frame(address, READ, &di.to_le_bytes())
}

/// `nth`: 1 for the first frame after the answer.
pub fn follow_up(address: &Address, di: u32, nth: u8) -> Vec<u8> {
    let [a, b, c, d] = di.to_le_bytes();
    frame(address, FOLLOW_UP, &[a, b, c, d, nth])
}

/// The address that a meter names.
pub fn named_address(bytes: &[u8]) -> Option<Address> {
    let names = frames(bytes).filter(|frame| frame.control == READ_ADDRESS | ANSWER);
    only(names.filter_map(|frame| Address::try_from(frame.data.as_slice()).ok()))
}

/// The answer of this meter to [`read`].
pub fn answer(bytes: &[u8], address: &Address, di: u32) -> Option<Answer> {
    only(answers(bytes, address, READ).filter_map(|frame| match frame.refusal() {
        Some(error) => Some(Answer::Refused(error)),
        None => frame.after(di).map(|data| Answer::Data { data: data.to_vec(), more: frame.more() }),
    }))
}

/// The answer of this meter to [`follow_up`].
pub fn followed_up(bytes: &[u8], address: &Address, di: u32, nth: u8) -> Option<Answer> {
    only(answers(bytes, address, FOLLOW_UP).filter_map(|frame| match frame.refusal() {
        Some(error) => Some(Answer::Refused(error)),
        None => match frame.after(di)?.split_last()? {
            (n, data) if *n == nth => Some(Answer::Data { data: data.to_vec(), more: frame.more() }),
            _ => None,
        },
    }))
}

/// How many bytes so many digits take.
pub fn bytes_of(digits: u8) -> usize {
    usize::from(digits).div_ceil(2)
}

/// A value of so many decimal digits: all of `data`, or of a maximum demand what stands before its time. `None`: of
/// another length, or with a digit above 9.
pub fn value(data: &[u8], di: u32, digits: u8, signed: bool) -> Option<i64> {
    let bytes = bytes_of(digits);
    let is_demand = di >> 24 == 0x01;
    match data.len() {
        n if n == bytes => number(data, signed),
        n if is_demand && n == bytes + DEMAND_TIME_BYTES => number(&data[..bytes], signed),
        _ => None,
    }
}

/// What the error byte says.
pub fn reason(error: u8) -> &'static str {
    match error.trailing_zeros() {
        0 => "it says: other error",
        1 => "it has no such data",
        2 => "it wants a password",
        3 => "it cannot change its speed",
        4..=6 => "it says: too many zones, slots or tariffs",
        _ => "it refuses without a reason",
    }
}

// --- frames ---

#[derive(Debug)]
struct Frame {
    address: Address,
    control: u8,
    data: Vec<u8>,
}

impl Frame {
    fn refusal(&self) -> Option<u8> {
        (self.control & REFUSAL == REFUSAL).then(|| self.data.first().copied().unwrap_or(0))
    }

    fn more(&self) -> bool {
        self.control & MORE != 0
    }

    /// The data, where they are of this DI.
    fn after(&self, di: u32) -> Option<&[u8]> {
        self.data.strip_prefix(&di.to_le_bytes())
    }
}

fn answers(bytes: &[u8], address: &Address, asked: u8) -> impl Iterator<Item = Frame> {
    let is_answer = move |control: u8| control & ANSWER != 0 && control & 0x1F == asked;
    frames(bytes).filter(move |frame| frame.address == *address && is_answer(frame.control))
}

fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame> {
    each(bytes, |rest| frame_at(rest).map(|frame| (FRAME_BYTES + frame.data.len(), frame)))
}

fn frame_at(bytes: &[u8]) -> Option<Frame> {
    match bytes {
        [START, a, b, c, d, e, f, START, control, length, rest @ ..] => {
            let length = usize::from(*length);
            let data = rest.get(..length).filter(|_| length <= DATA_MOST)?;
            let is_right = rest.get(length..length + 2)? == [sum(&bytes[..FRAME_BYTES - 2 + length]), END];
            is_right.then(|| Frame {
                address: [*a, *b, *c, *d, *e, *f],
                control: *control,
                data: data.iter().map(|byte| byte.wrapping_sub(SHIFT)).collect(),
            })
        }
        _ => None,
    }
}

fn frame(address: &Address, control: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![WAKE; WAKE_BYTES];
    frame.push(START);
    frame.extend(address);
    frame.extend([START, control, data.len() as u8]);
    frame.extend(data.iter().map(|byte| byte.wrapping_add(SHIFT)));
    frame.extend([sum(&frame[WAKE_BYTES..]), END]);
    frame
}

// --- digits ---

/// The last digits of a text as bytes of two digits each, the low one first; missing ones are zeros.
pub(super) fn bcd_low_first<const N: usize>(printed: &str) -> [u8; N] {
    let digits: Vec<u8> = printed.bytes().rev().filter(u8::is_ascii_digit).map(|d| d - b'0').collect();
    let digit = |n: usize| digits.get(n).copied().unwrap_or(0);
    std::array::from_fn(|n| digit(2 * n + 1) << 4 | digit(2 * n))
}

/// Two digits a byte, the low ones first. `signed`: the top bit is the sign.
pub(super) fn number(data: &[u8], signed: bool) -> Option<i64> {
    let mut value = 0i64;
    let mut negative = false;
    for (nth, byte) in data.iter().rev().enumerate() {
        let is_sign = signed && nth == 0;
        negative |= is_sign && byte & 0x80 != 0;
        let byte = if is_sign { byte & 0x7F } else { *byte };
        let (high, low) = (byte >> 4, byte & 0x0F);
        if high > 9 || low > 9 {
            return None;
        }
        value = value.checked_mul(100)?.checked_add(i64::from(high * 10 + low))?;
    }
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    /// Of the public simulator, and what it said live.
    const METER: Address = [0x12, 0x34, 0x56, 0x78, 0x10, 0x12];
    const REAL: &[u8] = &[
        0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0x35, 0x44, 0x02, 0x19, 0x12, 0x18, 0x68, 0x93, 0x06, 0x68, 0x77, 0x35,
        0x4C, 0x45, 0x4B, 0x17, 0x16,
    ];

    /// An answer as captured: its control byte, and from its length on.
    fn heard(control: u8, rest: &[u8]) -> Vec<u8> {
        [&[0xFE; 4][..], &[0x68], &METER, &[0x68, control], rest].concat()
    }

    fn captured() -> [(u32, u8, bool, Vec<u8>, i64); 6] {
        [
            (
                0,
                8,
                true,
                heard(0x91, &[0x08, 0x33, 0x33, 0x33, 0x33, 0x83, 0x83, 0x33, 0x33, 0xD7, 0x16]),
                5050,
            ),
            (
                0x0201_0100,
                4,
                false,
                heard(0x91, &[0x06, 0x33, 0x34, 0x34, 0x35, 0x45, 0x56, 0x08, 0x16]),
                2312,
            ),
            (
                0x0202_0100,
                6,
                true,
                heard(0x91, &[0x07, 0x33, 0x34, 0x35, 0x35, 0x56, 0x84, 0x33, 0x7C, 0x16]),
                5123,
            ),
            (
                0x0203_0000,
                6,
                true,
                heard(0x91, &[0x07, 0x33, 0x33, 0x36, 0x35, 0x6A, 0x4B, 0x34, 0x58, 0x16]),
                11837,
            ),
            (0x0206_0000, 4, true, heard(0x91, &[0x06, 0x33, 0x33, 0x39, 0x35, 0xBA, 0x3C, 0x67, 0x16]), 987),
            (
                0x0280_0002,
                4,
                false,
                heard(0x91, &[0x06, 0x35, 0x33, 0xB3, 0x35, 0xCB, 0x7C, 0x34, 0x16]),
                4998,
            ),
        ]
    }

    #[test]
    fn what_is_sent_is_as_captured() {
        let address: &[u8] =
            &[0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x68, 0x13, 0x00, 0xDF, 0x16];
        assert_eq!(read_address(), address);
        for (di, rest) in [
            (0, [0x33, 0x33, 0x33, 0x33, 0xE7]),
            (0x0201_0100, [0x33, 0x34, 0x34, 0x35, 0xEB]),
            (0x0202_0100, [0x33, 0x34, 0x35, 0x35, 0xEC]),
            (0x0203_0000, [0x33, 0x33, 0x36, 0x35, 0xEC]),
        ] {
            assert_eq!(read(&METER, di), heard(0x11, &[&[0x04][..], &rest, &[0x16]].concat()));
        }
    }

    #[test]
    fn a_real_meter_names_its_address() {
        let address = named_address(REAL).unwrap();
        assert_eq!(printed(&address), "181219024435");
        assert_eq!(super::address("181219024435"), address);
        assert_eq!(super::address("35"), [0x35, 0, 0, 0, 0, 0], "shorter ones have zeros before them");
    }

    #[test]
    fn captured_answers_read_as_on_the_meter() {
        for (di, digits, signed, bytes, wanted) in captured() {
            let Some(Answer::Data { data, more: false }) = answer(&bytes, &METER, di) else {
                panic!("{di:08X} of {bytes:02X?}")
            };
            assert_eq!(value(&data, di, digits, signed), Some(wanted));
            assert_eq!(answer(&bytes, &METER, 0x0201_0200), None, "of another DI");
            assert_eq!(answer(&bytes, &[0; 6], di), None, "of another meter");
            assert_eq!(answer(&bytes[..bytes.len() - 1], &METER, di), None, "cut");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        for (rest, error) in [([0x01, 0x34, 0x0C, 0x16], 1), ([0x01, 0x35, 0x0D, 0x16], 2)] {
            assert_eq!(answer(&heard(0xD1, &rest), &METER, 7), Some(Answer::Refused(error)));
        }
        assert_eq!((reason(1), reason(2)), ("it says: other error", "it has no such data"));
        assert_eq!(reason(0), "it refuses without a reason");
    }

    #[test]
    fn what_follows_names_its_place() {
        let di = 0x0000_FF00;
        let first = frame(&METER, 0xB1, &[0x00, 0xFF, 0x00, 0x00, 0x11, 0x22]);
        assert_eq!(answer(&first, &METER, di), Some(Answer::Data { data: vec![0x11, 0x22], more: true }));
        let second = frame(&METER, 0x92, &[0x00, 0xFF, 0x00, 0x00, 0x33, 0x01]);
        let rest = Answer::Data { data: vec![0x33], more: false };
        assert_eq!(followed_up(&second, &METER, di, 1), Some(rest));
        assert_eq!(followed_up(&second, &METER, di, 2), None);
        assert_eq!(followed_up(&first, &METER, di, 1), None);
        assert_eq!(
            follow_up(&METER, di, 1)[12..],
            frame(&METER, 0x12, &[0x00, 0xFF, 0x00, 0x00, 0x01])[12..]
        );
    }

    #[test]
    fn digits_are_digits_and_of_the_length_that_was_said() {
        assert_eq!(number(&[0x23, 0x81], true), Some(-123));
        assert_eq!(number(&[0x23, 0x81], false), Some(8123));
        assert_eq!(number(&[0x2A], false), None);
        assert_eq!(number(&[0x99; 16], false), None, "more than a number holds");
        assert_eq!(value(&[0x50, 0x50], 0, 8, false), None, "shorter than it was said to be");
        assert_eq!(value(&[0x50, 0x50, 0, 0], 0, 4, false), None, "longer: the high digits would be lost");
        assert_eq!(value(&[0x21, 0x43, 0x65, 1, 2, 3, 4, 5], 0x0101_0000, 6, false), Some(654_321));
    }

    #[test]
    fn fuzz_dlt645() {
        let mut frames: Vec<_> = captured().map(|(.., bytes, _)| bytes).to_vec();
        frames.extend([REAL.to_vec(), heard(0xD1, &[0x01, 0x34, 0x0C, 0x16]), read(&METER, 0)]);
        fuzz::flood("dlt645", &frames, |bytes| {
            for (di, digits, signed, ..) in captured() {
                if let Some(Answer::Data { data, .. }) = answer(bytes, &METER, di) {
                    assert!(data.len() <= DATA_MOST && data.len() + FRAME_BYTES <= bytes.len());
                    value(&data, di, digits, signed);
                }
                followed_up(bytes, &METER, di, 1);
            }
            named_address(bytes);
        });
    }

    #[test]
    fn every_answer_in_a_stream_is_found() {
        let all = captured();
        let frames: Vec<_> = all.iter().map(|(.., bytes, _)| bytes.clone()).collect();
        let mut chance = fuzz::Chance::new(645);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0xFE, 0x68, 0x16, 0x33, 0x91], &mut chance);
            for (nth, (di, ..)) in all.iter().enumerate() {
                assert_eq!(answer(&bytes, &METER, *di).is_some(), which.contains(&nth), "{bytes:02X?}");
            }
        }
    }
}
