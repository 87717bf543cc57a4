//! OSDP frames: `53 address length control [security block] code data [MAC] CRC`. Found in a stream by their check value.

use crc::{CRC_16_SPI_FUJITSU, Crc};

/// One that a reader sent; its check value is right. What it says is not yet believed: [`super::session`] judges it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// 0 to 3
    pub sequence: u8,
    /// Type and data.
    pub security: Option<(u8, &'a [u8])>,
    pub code: u8,
    /// Perhaps encrypted.
    pub data: &'a [u8],
    pub mac: Option<[u8; 4]>,
    /// What the MAC is made over.
    pub signed: &'a [u8],
}

/// Longer ones are not OSDP.
pub const LENGTH_MAX: usize = 1440;
/// Addresses end here; 127 calls all of them at once.
pub const ADDRESS_MAX: u8 = 126;
pub const MAC_LENGTH: usize = 4;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_SPI_FUJITSU);
/// Readers wake up on it.
const MARK: u8 = 0xFF;
const START: u8 = 0x53;
const FROM_READER: u8 = 0x80;
const WITH_CRC: u8 = 0x04;
const WITH_SECURITY: u8 = 0x08;
/// Start, address, length, control.
const HEAD: usize = 5;
const LENGTH_MIN: usize = HEAD + 1 + 2;

/// The first right frame of this reader in `bytes`, and where it ends. Noise that looks like the head of a long frame
/// does not hide one that stands behind it. Only frames with a CRC are taken: a sum is right by chance too often.
pub fn find(bytes: &[u8], address: u8) -> Option<(Frame<'_>, usize)> {
    (0..bytes.len()).find_map(|at| {
        let frame = cut(bytes.get(at..)?, address)?;
        Some((read(frame)?, at + frame.len()))
    })
}

/// The bytes of the frame that begins here, where it is whole and right.
fn cut(bytes: &[u8], address: u8) -> Option<&[u8]> {
    let [START, from, low, high, control, ..] = *bytes else { return None };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let fits = (LENGTH_MIN..=LENGTH_MAX).contains(&length);
    if from != address | FROM_READER || !fits || control & WITH_CRC == 0 {
        return None;
    }
    let frame = bytes.get(..length)?;
    let (checked, crc) = frame.split_at(length - 2);
    (CRC.checksum(checked).to_le_bytes() == *crc).then_some(frame)
}

fn read(frame: &[u8]) -> Option<Frame<'_>> {
    let control = *frame.get(4)?;
    let rest = frame.get(HEAD..frame.len() - 2)?;
    let (security, rest) = match control & WITH_SECURITY {
        0 => (None, rest),
        _ => {
            let length = usize::from(*rest.first()?);
            (Some((*rest.get(1)?, rest.get(2..length)?)), rest.get(length..)?)
        }
    };
    let signs = security.is_some_and(|(kind, _)| (0x15..=0x18).contains(&kind));
    let (body, mac) = match signs {
        true => {
            let (body, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_LENGTH)?)?;
            (body, Some(<[u8; 4]>::try_from(mac).ok()?))
        }
        false => (rest, None),
    };
    let (&code, data) = body.split_first()?;
    let signed = frame.get(..frame.len() - 2 - mac.map_or(0, |mac| mac.len()))?;
    Some(Frame { sequence: control & 3, security, code, data, mac, signed })
}

/// A frame to a reader, with the mark before it. `sign` makes the MAC of all that stands before it.
pub fn write(
    (address, sequence): (u8, u8),
    security: Option<(u8, &[u8])>,
    code: u8,
    data: &[u8],
    sign: Option<impl FnOnce(&[u8]) -> [u8; MAC_LENGTH]>,
) -> Vec<u8> {
    let block = security.map_or(0, |(_, data)| 2 + data.len());
    let length = HEAD + block + 1 + data.len() + sign.as_ref().map_or(0, |_| MAC_LENGTH) + 2;
    let [low, high] = (length as u16).to_le_bytes();
    let control = sequence & 3 | WITH_CRC | if security.is_some() { WITH_SECURITY } else { 0 };
    let mut frame = vec![START, address, low, high, control];
    if let Some((kind, data)) = security {
        frame.extend([block as u8, kind]);
        frame.extend(data);
    }
    frame.push(code);
    frame.extend(data);
    if let Some(sign) = sign {
        let mac = sign(&frame);
        frame.extend(mac);
    }
    frame.extend(CRC.checksum(&frame).to_le_bytes());
    frame.insert(0, MARK);
    frame
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::field::fuzz::{Chance, flood, stream};

    /// As a panel and a reader by libosdp 3.2.9 spoke to each other, address 101.
    pub const CAPTURED: [&str; 5] = [
        "53E51400044 5BEBAFE0101AFBEADDEADDEAD07FD",
        "53E508000740 81C3",
        "53E51000065001011A00123456 80F079",
        "53E50F0007530105313233342 3903E",
        "53E510000649000100010000 0000ED43",
    ];

    pub fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|c| *c != b' ').collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn plain(address: u8, sequence: u8, code: u8, data: &[u8]) -> Vec<u8> {
        write((address, sequence), None, code, data, None::<fn(&[u8]) -> [u8; 4]>)
    }

    #[test]
    fn questions_are_written_as_libosdp_writes_them() {
        assert_eq!(plain(101, 0, 0x61, &[0]), bytes("FF536509000461 00D97A"));
        assert_eq!(plain(101, 1, 0x62, &[0]), bytes("FF536509000562 00BA18"));
        assert_eq!(plain(101, 2, 0x60, &[]), bytes("FF536508000660 02F6"));
        assert_eq!(plain(101, 3, 0x68, &[0, 5, 0x1E, 0]), bytes("FF53650C000768 00051E00D855"));
    }

    #[test]
    fn captured_replies_are_read() {
        let codes = [0x45, 0x40, 0x50, 0x53, 0x49];
        for (captured, code) in CAPTURED.iter().zip(codes) {
            let bytes = bytes(captured);
            let (frame, end) = find(&bytes, 101).unwrap_or_else(|| panic!("{captured}"));
            assert_eq!((frame.code, end), (code, bytes.len()));
            assert_eq!(find(&bytes, 100), None, "another reader's");
        }
        let card = bytes(CAPTURED[2]);
        let (frame, _) = find(&card, 101).unwrap();
        assert_eq!(frame.sequence, 2);
        assert_eq!(frame.data, [1, 1, 0x1A, 0, 0x12, 0x34, 0x56, 0x80]);
    }

    #[test]
    fn a_head_that_promises_too_much_hides_nothing() {
        let mut noisy = vec![START, 101 | FROM_READER, 0xA0, 0x05, WITH_CRC];
        noisy.extend(bytes(CAPTURED[1]));
        assert_eq!(find(&noisy, 101).unwrap().0.code, 0x40);
    }

    #[test]
    fn fuzz_osdp_frames() {
        let frames: Vec<Vec<u8>> = CAPTURED.iter().map(|f| bytes(f)).collect();
        flood("osdp frame", &frames, |input| {
            if let Some((frame, end)) = find(input, 101) {
                assert!(end <= input.len() && frame.signed.len() < end && frame.data.len() <= LENGTH_MAX);
            }
        });
    }

    #[test]
    fn every_right_frame_is_found_in_a_noisy_stream() {
        let frames: Vec<Vec<u8>> = CAPTURED.iter().map(|f| bytes(f)).collect();
        let noise = [0, START, 0xE5, 0x14, 0, 4, 0xFF];
        let mut chance = Chance::new(7);
        for _ in 0..2000 {
            let (stream, which) = stream(&frames, &noise, &mut chance);
            let (mut rest, mut found) = (&stream[..], Vec::new());
            while let Some((frame, end)) = find(rest, 101) {
                found.push(frame.code);
                rest = &rest[end..];
            }
            let codes: Vec<u8> = which.iter().map(|&nth| find(&frames[nth], 101).unwrap().0.code).collect();
            assert_eq!(found, codes);
        }
    }

    impl std::fmt::Debug for Frame<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "Frame({:02X})", self.code)
        }
    }
}
