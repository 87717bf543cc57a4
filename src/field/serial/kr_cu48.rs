//! KERONG CU48: its frames. Pure.
//!
//! `02 DEV LOCK CC 03 SUM`, LOCK 00–2F, SUM the sum of all bytes before it. `60` asks for the status, `61` opens.
//! The answer has 75 in the place of the command: `02 DEV LOCK 75 03 SUM`, and for the status six bytes before the
//! 03, a bit a lock.
//!
//! What the sources leave open: which bit is which lock, and what it means. It is taken as on the CU16: the lowest
//! bit of the first byte is lock 1, and 1 is closed; `feedback` turns it round.

use super::bits::{Bits, only};
use super::kr_cu16::sum;

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const STATUS: u8 = 0x60;
const OPEN: u8 = 0x61;
const DONE: u8 = 0x75;
pub const STATUS_BYTES: usize = 12;
pub const DONE_BYTES: usize = 6;

pub fn status(board: u8) -> [u8; 6] {
    frame(board, 0, STATUS)
}

/// `lock`: 0 the first.
pub fn open(board: u8, lock: u8) -> [u8; 6] {
    frame(board, lock, OPEN)
}

/// The locks of this board, wherever its answer begins; `None` where there is none, or two that contradict each other.
pub fn answer(bytes: &[u8], board: u8) -> Option<Bits> {
    only(bytes.windows(STATUS_BYTES).filter_map(|frame| match frame {
        [STX, dev, _, DONE, locks @ .., ETX, _] if *dev == board && is_right(frame) => {
            Some(Bits::low_first(locks))
        }
        _ => None,
    }))
}

/// Whether the board says that it took the order to open this lock: with or without its status.
pub fn opened(bytes: &[u8], board: u8, lock: u8) -> bool {
    let is_answer = |frame: &[u8]| match frame {
        [STX, dev, l, DONE, .., ETX, _] => *dev == board && *l == lock && is_right(frame),
        _ => false,
    };
    bytes.windows(DONE_BYTES).any(is_answer) || bytes.windows(STATUS_BYTES).any(is_answer)
}

fn frame(board: u8, lock: u8, command: u8) -> [u8; 6] {
    let head = [STX, board, lock, command, ETX];
    let [a, b, c, d, e] = head;
    [a, b, c, d, e, sum(&head)]
}

fn is_right(frame: &[u8]) -> bool {
    frame.split_last().is_some_and(|(check, body)| sum(body) == *check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    fn answered(lock: u8, data: &[u8]) -> Vec<u8> {
        let mut frame = [&[STX, 0x00, lock, DONE][..], data, &[ETX]].concat();
        frame.push(sum(&frame));
        frame
    }

    #[test]
    fn what_is_sent_is_as_in_the_source() {
        assert_eq!(status(0), [0x02, 0x00, 0x00, 0x60, 0x03, 0x65]);
        assert_eq!(open(0, 0), [0x02, 0x00, 0x00, 0x61, 0x03, 0x66]);
    }

    #[test]
    fn forty_eight_locks_are_read_of_the_board_asked() {
        let locks = answer(&answered(0, &[0x01, 0, 0, 0, 0, 0x80]), 0).unwrap();
        let set: Vec<_> = (0..48).filter(|n| locks.get(*n) == Some(true)).collect();
        assert_eq!(set, [0, 47]);
        assert_eq!(locks.get(48), None);
        assert_eq!(answer(&answered(0, &[0; 6]), 1), None, "another board's");
        assert_eq!(answer(&answered(0, &[0; 5]), 0), None, "too short");
    }

    #[test]
    fn an_order_is_taken_with_or_without_the_status() {
        assert!(opened(&answered(0x2F, &[]), 0, 0x2F));
        assert!(opened(&answered(0x2F, &[0; 6]), 0, 0x2F));
        assert!(!opened(&answered(0x2F, &[]), 0, 0), "another lock's");
        assert!(!opened(&open(0, 0), 0, 0), "our own echo");
    }

    #[test]
    fn fuzz_kr_cu48() {
        let frames = [answered(0, &[1, 2, 3, 4, 5, 6]), answered(5, &[]), status(0).to_vec()];
        fuzz::flood("kr-cu48", &frames, |bytes| {
            if answer(bytes, 0).is_some() {
                assert!(bytes.len() >= STATUS_BYTES);
            }
            assert!(!opened(bytes, 0, 5) || bytes.len() >= DONE_BYTES);
        });
    }

    #[test]
    fn the_answer_in_a_stream_is_found() {
        let frames = [answered(0, &[1, 2, 3, 4, 5, 6]), answered(5, &[])];
        let mut chance = fuzz::Chance::new(48);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0x02, 0x35, 0x00, 0xFA], &mut chance);
            assert_eq!(answer(&bytes, 0).is_some(), which.contains(&0), "{bytes:02X?}");
            assert_eq!(opened(&bytes, 0, 5), which.contains(&1), "{bytes:02X?}");
        }
    }
}
