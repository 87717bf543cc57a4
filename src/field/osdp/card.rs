//! A card's number in the one form that all readers of a compound share, and codes gathered key by key. Both are secret:
//! they become pseudonyms before anything else.

use std::fmt;

use tokio::time::{Duration, Instant};

/// As the reader read it.
#[derive(Clone, PartialEq, Eq)]
pub enum Card {
    /// So many bits, the first in the highest bit of the first byte.
    Bits(usize, Vec<u8>),
    /// A number that the reader made of it.
    Digits(String),
}

impl Card {
    /// The common 26 bits (even parity, facility 8, card 16, odd parity) as the number that controllers show and that is
    /// printed on the card: facility and five digits. Everything else by its bits.
    pub fn number(&self) -> String {
        match self {
            Card::Bits(26, bytes) => wiegand_26(bytes).unwrap_or_else(|| raw(26, bytes)),
            Card::Bits(bits, bytes) => raw(*bits, bytes),
            Card::Digits(digits) => match digits.trim_start_matches('0') {
                "" => "0".into(),
                number => number.into(),
            },
        }
    }
}

/// `None`: a parity bit is wrong, so it is some other format of 26 bits.
fn wiegand_26(bytes: &[u8]) -> Option<String> {
    let all = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) >> 6;
    let (first, last) = (all >> 13, all & 0x1FFF);
    let right = first.count_ones().is_multiple_of(2) && !last.count_ones().is_multiple_of(2);
    let (facility, card) = (all >> 17 & 0xFF, all >> 1 & 0xFFFF);
    right.then(|| (facility * 100_000 + card).to_string())
}

fn raw(bits: usize, bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{bits}:{digits}")
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Card(…)")
    }
}

/// Keys of one code, as far as they have come.
#[derive(Default)]
pub struct Keys {
    typed: String,
    last: Option<Instant>,
}

/// A longer one is cut here and the rest begins another.
const CODE_MAX: usize = 16;
/// Who types no further for so long has ended.
const PAUSE: Duration = Duration::from_secs(5);

impl Keys {
    /// Takes keys; what they complete comes back. `#` (some readers: carriage return) ends a code, `*` (some: delete)
    /// begins it anew.
    pub fn press(&mut self, keys: &[u8], now: Instant) -> Vec<String> {
        let mut codes = Vec::new();
        for key in keys {
            match key {
                b'#' | b'\r' => codes.extend(self.take()),
                b'*' | 0x7F => self.typed.clear(),
                key => self.typed.push(char::from(*key)),
            }
            if self.typed.chars().count() >= CODE_MAX {
                codes.extend(self.take());
            }
        }
        self.last = (!self.typed.is_empty()).then_some(now);
        codes
    }

    /// A code that nobody goes on with.
    pub fn paused(&mut self, now: Instant) -> Option<String> {
        let last = self.last?;
        if now < last + PAUSE {
            return None;
        }
        self.last = None;
        self.take()
    }

    fn take(&mut self) -> Option<String> {
        let typed = std::mem::take(&mut self.typed);
        (!typed.is_empty()).then_some(typed)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Both parity bits right.
    pub fn wiegand(facility: u32, card: u32) -> Vec<u8> {
        let middle = facility << 16 | card;
        let even = (middle >> 12).count_ones() % 2;
        let odd = 1 - (middle & 0xFFF).count_ones() % 2;
        ((even << 25 | middle << 1 | odd) << 6).to_be_bytes().to_vec()
    }

    #[test]
    fn a_card_of_26_bits_has_the_number_that_is_printed_on_it() {
        assert_eq!(Card::Bits(26, wiegand(100, 58400)).number(), "10058400");
        assert_eq!(Card::Bits(26, wiegand(0, 7)).number(), "7");
        assert_eq!(Card::Bits(26, wiegand(255, 65535)).number(), "25565535");
        assert_eq!(Card::Digits("0010058400".into()).number(), "10058400");
        let mut wrong = wiegand(100, 58400);
        wrong[3] ^= 0x40;
        assert!(Card::Bits(26, wrong).number().starts_with("26:"));
        assert_eq!(Card::Bits(34, vec![1, 2, 3, 4, 0x40]).number(), "34:0102030440");
        assert_eq!(Card::Bits(26, vec![1]).number(), "26:01");
    }

    #[test]
    fn a_code_ends_by_its_key_by_a_pause_or_by_its_length() {
        let start = Instant::now();
        let mut keys = Keys::default();
        assert!(keys.press(b"12", start).is_empty());
        assert_eq!(keys.press(b"34#", start), ["1234"]);
        assert!(keys.press(b"#", start).is_empty(), "nothing was typed");
        assert_eq!(keys.press(b"99*56\r7", start), ["56"]);
        assert_eq!(keys.paused(start + PAUSE / 2), None);
        assert_eq!(keys.paused(start + PAUSE).as_deref(), Some("7"));
        assert_eq!(keys.paused(start + PAUSE * 2), None);
        assert_eq!(keys.press(&[b'5'; 40], start).len(), 2);
        assert!(keys.typed.len() < CODE_MAX);
        assert_eq!(format!("{keys:?}"), "Keys(…)");
    }
}
