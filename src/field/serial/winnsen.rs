//! Winnsen, 16 locks: its frames. Pure.
//!
//! `90 06 FN ST LK 03`, station ST 1–4, lock LK 1–16: `05` opens, `12` asks for one lock. The answers have the high
//! bit in FN, and differ in the order of their last fields: `90 07 85 ST LK STATUS 03`, but `90 07 92 ST STATUS LK 03`.
//! STATUS is 1 for done and open, 0 for failed and closed, 2 while the lock cools down. There is no check byte, so
//! a frame has to be right in every byte that is known.

use super::bits::only;

const HEAD: [u8; 2] = [0x90, 0x06];
const END: u8 = 0x03;
const OPEN: u8 = 0x05;
const STATUS: u8 = 0x12;
pub const ANSWER_BYTES: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    Done,
    Failed,
    /// Asked for again too soon.
    CoolsDown,
}

/// `lock`: 0 the first, here and below.
pub fn status(station: u8, lock: u8) -> [u8; 6] {
    frame(STATUS, station, lock)
}

pub fn open(station: u8, lock: u8) -> [u8; 6] {
    frame(OPEN, station, lock)
}

/// Whether this lock is open, wherever the answer begins. `Some(None)`: it answered, with something else.
pub fn answer(bytes: &[u8], station: u8, lock: u8) -> Option<Option<bool>> {
    only(bytes.windows(ANSWER_BYTES).filter_map(|frame| match frame {
        [0x90, 0x07, 0x92, st, status, lk, END] if is(station, lock, *st, *lk) => Some(match status {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }),
        _ => None,
    }))
}

/// What came of the order to open this lock; `None` where there is no answer.
pub fn opened(bytes: &[u8], station: u8, lock: u8) -> Option<Opened> {
    only(bytes.windows(ANSWER_BYTES).filter_map(|frame| match frame {
        [0x90, 0x07, 0x85, st, lk, status, END] if is(station, lock, *st, *lk) => match status {
            0 => Some(Opened::Failed),
            1 => Some(Opened::Done),
            2 => Some(Opened::CoolsDown),
            _ => None,
        },
        _ => None,
    }))
}

fn is(station: u8, lock: u8, st: u8, lk: u8) -> bool {
    st == station && lk == lock.wrapping_add(1)
}

fn frame(function: u8, station: u8, lock: u8) -> [u8; 6] {
    let [a, b] = HEAD;
    [a, b, function, station, lock.wrapping_add(1), END]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    const LOCK_5_OPEN: [u8; 7] = [0x90, 0x07, 0x92, 0x01, 0x01, 0x05, 0x03];
    const LOCK_5_OPENED: [u8; 7] = [0x90, 0x07, 0x85, 0x01, 0x05, 0x01, 0x03];

    #[test]
    fn what_is_sent_is_as_in_the_source() {
        assert_eq!(status(1, 15), [0x90, 0x06, 0x12, 0x01, 0x10, 0x03]);
        assert_eq!(open(4, 0), [0x90, 0x06, 0x05, 0x04, 0x01, 0x03]);
    }

    #[test]
    fn the_status_has_its_fields_swapped() {
        assert_eq!(answer(&LOCK_5_OPEN, 1, 4), Some(Some(true)));
        assert_eq!(answer(&LOCK_5_OPEN, 1, 0), None, "the status is not the lock");
        assert_eq!(answer(&[0x90, 0x07, 0x92, 0x01, 0x00, 0x05, 0x03], 1, 4), Some(Some(false)));
        assert_eq!(answer(&[0x90, 0x07, 0x92, 0x01, 0x02, 0x05, 0x03], 1, 4), Some(None));
        assert_eq!(answer(&LOCK_5_OPEN, 2, 4), None, "another station's");
        let closed = [0x90, 0x07, 0x92, 0x01, 0x00, 0x05, 0x03];
        assert_eq!(answer(&[LOCK_5_OPEN, closed].concat(), 1, 4), None, "they contradict each other");
    }

    #[test]
    fn an_order_is_done_failed_or_too_soon() {
        let opened = |status| opened(&[0x90, 0x07, 0x85, 0x01, 0x05, status, 0x03], 1, 4);
        assert_eq!(opened(1), Some(Opened::Done));
        assert_eq!(opened(0), Some(Opened::Failed));
        assert_eq!(opened(2), Some(Opened::CoolsDown));
        assert_eq!(opened(3), None);
    }

    #[test]
    fn fuzz_winnsen() {
        let frames = [LOCK_5_OPEN.to_vec(), LOCK_5_OPENED.to_vec(), status(1, 4).to_vec()];
        fuzz::flood("winnsen-16", &frames, |bytes| {
            for lock in 0..16 {
                let found = answer(bytes, 1, lock).is_some() || opened(bytes, 1, lock).is_some();
                assert!(!found || bytes.len() >= ANSWER_BYTES);
            }
        });
    }

    #[test]
    fn the_answer_in_a_stream_is_found() {
        let frames = [LOCK_5_OPEN.to_vec(), LOCK_5_OPENED.to_vec()];
        let mut chance = fuzz::Chance::new(90);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0x90, 0x07, 0x03, 0x00], &mut chance);
            assert_eq!(answer(&bytes, 1, 4).is_some(), which.contains(&0), "{bytes:02X?}");
            assert_eq!(opened(&bytes, 1, 4).is_some(), which.contains(&1), "{bytes:02X?}");
        }
    }
}
