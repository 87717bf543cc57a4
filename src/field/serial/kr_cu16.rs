//! KERONG KR-CU16 and CU12: their frames. Pure.
//!
//! `02 AD CC … 03 SUM`: AD has the board in its high half and the lock in its low one, SUM is the sum of all bytes
//! before it. `30` asks one board, which answers `35 H1 H2 I1 I2`: a bit a hook (1 closed, where the wiring is as
//! the maker has it) and a bit an infrared barrier (1 an item lies there). The answer for a whole line, `36`, looks
//! the same. `31` opens a lock.
//!
//! What the sources leave open: no answer to `31` is known, so an order is followed by `30`, and the board's being
//! alive is all that can be said of it. A board is said to stay busy after opening until it gets `38`, the question
//! for its opening time; so it gets that in between. Sources differ in what a hook bit means: `feedback` decides.

use super::bits::{Bits, only};

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const STATUS: u8 = 0x30;
const OPEN: u8 = 0x31;
const STATUS_ONE: u8 = 0x35;
const STATUS_ALL: u8 = 0x36;
const OPENING_TIME: u8 = 0x38;
pub const STATUS_BYTES: usize = 9;

/// What a board knows: hooks (1 closed) and items (1 present).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub hooks: Bits,
    pub items: Bits,
}

pub fn status(board: u8) -> [u8; 5] {
    frame(board, 0, STATUS)
}

/// `lock`: 0 the first.
pub fn open(board: u8, lock: u8) -> [u8; 5] {
    frame(board, lock, OPEN)
}

pub fn no_longer_busy(board: u8) -> [u8; 5] {
    frame(board, 0, OPENING_TIME)
}

/// This board's status, wherever it begins; `None` where there is none, or two that contradict each other.
pub fn answer(bytes: &[u8], board: u8) -> Option<Status> {
    only(bytes.windows(STATUS_BYTES).filter_map(|frame| match frame {
        [STX, address, STATUS_ONE | STATUS_ALL, h1, h2, i1, i2, ETX, check] => {
            let is_right = address >> 4 == board && sum(&frame[..STATUS_BYTES - 1]) == *check;
            is_right.then(|| Status { hooks: Bits::low_first([h1, h2]), items: Bits::low_first([i1, i2]) })
        }
        _ => None,
    }))
}

fn frame(board: u8, lock: u8, command: u8) -> [u8; 5] {
    let head = [STX, board << 4 | lock & 0x0F, command, ETX];
    let [a, b, c, d] = head;
    [a, b, c, d, sum(&head)]
}

pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    /// Made by its maker's rules, not captured: lock 16 open, an item in 9.
    const LOCK_16_OPEN: [u8; 9] = [0x02, 0x00, 0x35, 0xFF, 0x7F, 0x00, 0x01, 0x03, 0xB9];
    const BOARD_1: [u8; 9] = [0x02, 0x10, 0x36, 0x00, 0x00, 0x00, 0x00, 0x03, 0x4B];

    #[test]
    fn what_is_sent_is_as_in_the_sources() {
        assert_eq!(status(0), [0x02, 0x00, 0x30, 0x03, 0x35]);
        assert_eq!(status(1), [0x02, 0x10, 0x30, 0x03, 0x45]);
        assert_eq!(open(0, 0), [0x02, 0x00, 0x31, 0x03, 0x36]);
        assert_eq!(open(0, 4), [0x02, 0x04, 0x31, 0x03, 0x3A]);
        assert_eq!(open(1, 0), [0x02, 0x10, 0x31, 0x03, 0x46]);
        assert_eq!(no_longer_busy(1), [0x02, 0x10, 0x38, 0x03, 0x4D]);
    }

    #[test]
    fn hooks_and_items_are_read_of_the_board_asked() {
        let status = answer(&[&[0x00, 0x02][..], &LOCK_16_OPEN, &[0x02]].concat(), 0).unwrap();
        let set = |bits: Bits| (0..16).filter(|n| bits.get(*n) == Some(true)).collect::<Vec<_>>();
        assert_eq!(set(status.hooks), (0..15).collect::<Vec<_>>());
        assert_eq!(set(status.items), [8]);
        assert!(answer(&BOARD_1, 1).is_some());
        assert_eq!(answer(&BOARD_1, 0), None, "another board's");
        assert!(answer(&[0x02, 0x00, 0x36, 0x00, 0x00, 0x00, 0x00, 0x03, 0x3B], 0).is_some());
        let mut flipped = LOCK_16_OPEN;
        flipped[3] = 0xFE;
        assert_eq!(answer(&flipped, 0), None, "wrong sum");
        assert_eq!(answer(&LOCK_16_OPEN[..8], 0), None, "cut");
    }

    #[test]
    fn fuzz_kr_cu16() {
        let frames = [LOCK_16_OPEN.to_vec(), BOARD_1.to_vec(), status(1).to_vec()];
        fuzz::flood("kr-cu16", &frames, |bytes| {
            let found = (0..16).filter_map(|board| answer(bytes, board));
            found.for_each(|status| assert!(status.hooks.get(15).is_some() && bytes.len() >= STATUS_BYTES));
        });
    }

    #[test]
    fn the_answer_in_a_stream_is_found() {
        let frames = [LOCK_16_OPEN.to_vec(), BOARD_1.to_vec()];
        let mut chance = fuzz::Chance::new(16);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0x02, 0x03, 0x35, 0x00], &mut chance);
            for (nth, board) in [(0, 0), (1, 1)] {
                assert_eq!(answer(&bytes, board).is_some(), which.contains(&nth), "{bytes:02X?}");
            }
        }
    }
}
