//! What readers say, out of a frame's code and data.

use std::fmt;

use super::card::Card;

#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// Heard, and nothing new.
    Ack,
    /// By its number.
    Nak(u8),
    /// Who it is: maker, model, version, serial number, firmware.
    Identity {
        maker: [u8; 3],
        model: u8,
        version: u8,
        serial: u32,
        firmware: [u8; 3],
    },
    Local {
        tamper: bool,
        power_failed: bool,
    },
    Inputs(Vec<bool>),
    Outputs(Vec<bool>),
    Card(Card),
    Keys(Vec<u8>),
    /// Not now; ask again.
    Busy,
    /// Something that we did not ask for and do not need.
    Other(u8),
}

pub const POLL: u8 = 0x60;
pub const IDENTIFY: u8 = 0x61;
pub const LOCAL_STATUS: u8 = 0x64;
pub const INPUT_STATUS: u8 = 0x65;
pub const OUTPUT_STATUS: u8 = 0x66;
pub const OUTPUT: u8 = 0x68;
pub const CHALLENGE: u8 = 0x76;
pub const PROVE: u8 = 0x77;
/// Replies of the secure channel's beginning.
pub const CHALLENGED: u8 = 0x76;
pub const PROVEN: u8 = 0x78;
pub const NAK: u8 = 0x41;
pub const BUSY: u8 = 0x79;

impl Reply {
    /// `None`: too short for what it says to be.
    pub fn read(code: u8, data: &[u8]) -> Option<Self> {
        Some(match code {
            0x40 => Reply::Ack,
            NAK => Reply::Nak(*data.first()?),
            0x45 => identity(data)?,
            0x48 => Reply::Local { tamper: *data.first()? != 0, power_failed: *data.get(1)? != 0 },
            0x49 => Reply::Inputs(data.iter().map(|&byte| byte != 0).collect()),
            0x4A => Reply::Outputs(data.iter().map(|&byte| byte != 0).collect()),
            0x50 => Reply::Card(bits(data)?),
            0x51 => Reply::Card(digits(data)?),
            0x53 => {
                let count = usize::from(*data.get(1)?);
                Reply::Keys(data.get(2..2 + count)?.to_vec())
            }
            BUSY => Reply::Busy,
            other => Reply::Other(other),
        })
    }
}

/// Reader, format, number of bits, bits.
fn bits(data: &[u8]) -> Option<Card> {
    let count = usize::from(u16::from_le_bytes([*data.get(2)?, *data.get(3)?]));
    let bytes = data.get(4..4 + count.div_ceil(8))?;
    (count > 0).then(|| Card::Bits(count, bytes.to_vec()))
}

/// Reader, direction, number of digits, digits. A card drawn through the other way comes with its digits reversed.
fn digits(data: &[u8]) -> Option<Card> {
    let count = usize::from(*data.get(2)?);
    let digits = data.get(3..3 + count)?.iter().map(|&byte| char::from(byte));
    let digits: String = if data.get(1) == Some(&1) { digits.rev().collect() } else { digits.collect() };
    (!digits.is_empty()).then_some(Card::Digits(digits))
}

fn identity(data: &[u8]) -> Option<Reply> {
    let &[m0, m1, m2, model, version, s0, s1, s2, s3, f0, f1, f2] = data.first_chunk::<12>()?;
    let serial = u32::from_le_bytes([s0, s1, s2, s3]);
    Some(Reply::Identity { maker: [m0, m1, m2], model, version, serial, firmware: [f0, f1, f2] })
}

/// A NAK's number, for people.
pub fn refusal(number: u8) -> &'static str {
    match number {
        1 => "it heard a damaged frame",
        2 => "the command has the wrong length",
        3 => "it does not know this command",
        4 => "it expected another sequence number",
        5 => "it knows no secure channel of this kind",
        6 => "it wants a secure channel: give its `key`",
        7 | 8 => "it has no such biometric reader",
        9 => "it cannot do what was commanded",
        _ => "it refuses without saying why",
    }
}

/// Cards and keys are not shown.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reply::Ack => "Ack",
            Reply::Nak(_) => "Nak",
            Reply::Identity { .. } => "Identity",
            Reply::Local { .. } => "Local",
            Reply::Inputs(_) => "Inputs",
            Reply::Outputs(_) => "Outputs",
            Reply::Card(_) => "Card",
            Reply::Keys(_) => "Keys",
            Reply::Busy => "Busy",
            Reply::Other(_) => "Other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::find;
    use super::super::frame::tests::{CAPTURED, bytes};
    use super::*;
    use crate::field::fuzz::flood;

    #[test]
    fn captured_replies_say_what_libosdp_meant() {
        let said = |nth: usize| {
            let bytes = bytes(CAPTURED[nth]);
            let (frame, _) = find(&bytes, 101).unwrap();
            Reply::read(frame.code, frame.data).unwrap()
        };
        let Reply::Identity { model, version, serial, .. } = said(0) else { panic!() };
        assert_eq!((model, version, serial), (1, 1, 0xDEAD_BEAF));
        assert_eq!(said(1), Reply::Ack);
        assert_eq!(said(2), Reply::Card(Card::Bits(26, vec![0x12, 0x34, 0x56, 0x80])));
        assert_eq!(said(3), Reply::Keys(b"1234#".to_vec()));
        assert_eq!(said(4), Reply::Inputs(vec![false, true, false, true, false, false, false, false]));
        assert_eq!(Reply::read(0x48, &[1, 0]), Some(Reply::Local { tamper: true, power_failed: false }));
        assert_eq!(
            Reply::read(0x51, &[0, 1, 3, b'3', b'2', b'1']),
            Some(Reply::Card(Card::Digits("123".into())))
        );
    }

    #[test]
    fn what_is_too_short_is_nothing() {
        for (code, data) in [
            (0x41, &[][..]),
            (0x45, &[1, 2]),
            (0x48, &[1]),
            (0x50, &[1, 1, 26, 0, 1, 2]),
            (0x50, &[1, 1, 0, 0]),
            (0x51, &[0, 0, 9, b'1']),
            (0x53, &[1, 5, b'1']),
        ] {
            assert_eq!(Reply::read(code, data), None, "{code:02X}");
        }
        assert_eq!(format!("{:?}", Reply::Keys(b"1234".to_vec())), "Keys");
    }

    #[test]
    fn fuzz_osdp_replies() {
        let frames: Vec<Vec<u8>> = CAPTURED.iter().map(|f| bytes(f)[5..].to_vec()).collect();
        flood("osdp reply", &frames, |input| {
            let Some((&code, data)) = input.split_first() else { return };
            match Reply::read(code, data) {
                Some(Reply::Card(card)) => assert!(card.number().len() <= 2 * data.len() + 8),
                Some(Reply::Keys(keys)) => assert!(keys.len() < data.len()),
                Some(Reply::Inputs(states) | Reply::Outputs(states)) => assert_eq!(states.len(), data.len()),
                _ => {}
            }
        });
    }
}
