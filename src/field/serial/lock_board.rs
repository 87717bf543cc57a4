//! The "485 lock board" family 8A/80/82: its frames. Pure.
//!
//! `80 AA 00 33 X` asks board AA for all its contacts; `80 AA S… 33 X` answers, X being the XOR of all bytes before
//! it. Up to 24 cells have 3 status bytes, larger boards 7. `8A AA CC 11 X` opens cell CC, and comes back with the
//! contact as it was after the pulse: `8A AA CC SS X`. Boards with custom firmware say `82 AA CC SS X` by themselves
//! when a contact changed. SS is 11 for a closed contact, 00 for an open one.
//!
//! A board may put garbage before its frame, and a frame has no length or end of its own: whoever reads collects
//! until the line is silent, and looks here. On a line that echoes, an order to open cannot be told from its answer
//! with SS 11.

use super::bits::{Bits, only};
use super::{Feedback, FirstByte};

const READ: u8 = 0x80;
const CHANGED: u8 = 0x82;
const OPEN: u8 = 0x8A;
const ALL: u8 = 0x00;
const READ_MARK: u8 = 0x33;
const CONTACT_CLOSED: u8 = 0x11;
const CONTACT_OPEN: u8 = 0x00;
/// Cells of the boards that answer with 3 status bytes.
const CELLS_SMALL: usize = 24;
/// `KK AA CC SS X`
const SHORT: usize = 5;

/// A contact of which a board spoke by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub board: u8,
    /// 0 the first.
    pub cell: u8,
    pub contact_closed: bool,
}

/// What boards said by themselves, in order: before the last answer to read-all, and after it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    pub before: Vec<Change>,
    pub after: Vec<Change>,
    /// So many bytes at the end may be the beginning of more.
    pub rest: usize,
}

/// `80 AA 00 33 X`
pub fn read_all(board: u8) -> [u8; SHORT] {
    with_check([READ, board, ALL, READ_MARK])
}

/// `8A AA CC 11 X`
pub fn open(board: u8, cell: u8) -> [u8; SHORT] {
    with_check([OPEN, board, cell.wrapping_add(1), CONTACT_CLOSED])
}

/// How long the answer to read-all is.
pub fn all_bytes(cells: usize) -> usize {
    4 + if cells <= CELLS_SMALL { 3 } else { 7 }
}

/// The contacts of the board with so many cells, wherever its answer begins: bit 1 is a closed contact. `None` where
/// there is no answer that is right in length, address and check byte, or where two contradict each other.
pub fn contacts(bytes: &[u8], board: u8, cells: usize, first: FirstByte) -> Option<Bits> {
    let statuses = only(bytes.windows(all_bytes(cells)).filter_map(|frame| statuses(frame, board)))?;
    Some(match first {
        FirstByte::First => Bits::low_first(statuses),
        FirstByte::Last => Bits::low_first(statuses.iter().rev()),
    })
}

/// Whether the board says that it took the order to open this cell. What the contact did is not the order's answer.
pub fn opened(bytes: &[u8], board: u8, cell: u8) -> bool {
    let opened = |frame: &[u8]| match frame {
        [OPEN, b, c, CONTACT_CLOSED | CONTACT_OPEN, _] => {
            *b == board && *c == cell.wrapping_add(1) && is_right(frame)
        }
        _ => false,
    };
    bytes.windows(SHORT).any(opened)
}

/// What boards say by themselves in these bytes.
pub fn changes(bytes: &[u8]) -> Spoken {
    let (mut spoken, mut at) = (Spoken::default(), 0);
    while bytes.len() - at >= SHORT {
        let rest = &bytes[at..];
        at += if let Some(change) = change(&rest[..SHORT]) {
            spoken.after.push(change);
            SHORT
        } else if let Some(length) = answer_bytes(rest) {
            spoken.before.append(&mut spoken.after);
            length
        } else {
            1
        };
    }
    spoken.rest = bytes.len() - at;
    spoken
}

/// A contact is a door by how the lock's feedback is wired.
pub fn is_open(contact_closed: bool, feedback: Feedback) -> bool {
    contact_closed == (feedback == Feedback::DoorOpening)
}

fn change(frame: &[u8]) -> Option<Change> {
    match *frame {
        [CHANGED, board, cell @ 1..=0xFF, contact @ (CONTACT_CLOSED | CONTACT_OPEN), _]
            if is_right(frame) =>
        {
            Some(Change { board, cell: cell - 1, contact_closed: contact == CONTACT_CLOSED })
        }
        _ => None,
    }
}

/// The length of an answer that begins here: what stands inside of it is no word of a board's own.
fn answer_bytes(bytes: &[u8]) -> Option<usize> {
    let board = *bytes.get(1)?;
    let lengths = [all_bytes(CELLS_SMALL + 1), all_bytes(CELLS_SMALL)];
    lengths.into_iter().find(|n| bytes.get(..*n).is_some_and(|frame| statuses(frame, board).is_some()))
}

fn statuses(frame: &[u8], address: u8) -> Option<&[u8]> {
    match frame {
        [READ, board, statuses @ .., READ_MARK, _] if *board == address => {
            is_right(frame).then_some(statuses)
        }
        _ => None,
    }
}

fn with_check([a, b, c, d]: [u8; 4]) -> [u8; SHORT] {
    [a, b, c, d, a ^ b ^ c ^ d]
}

/// The last byte is the XOR of those before it, so that of all is nothing.
fn is_right(frame: &[u8]) -> bool {
    frame.iter().fold(0, |check, byte| check ^ byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    const CHANNEL_1: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB3];
    const CHANNEL_2: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x02, 0x33, 0xB0];
    const NOTHING: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x00, 0x33, 0xB2];

    fn closed_contacts(bytes: &[u8], cells: usize, first: FirstByte) -> Vec<usize> {
        let contacts = contacts(bytes, 1, cells, first).unwrap();
        (0..cells).filter(|cell| contacts.get(*cell) == Some(true)).map(|c| c + 1).collect()
    }

    fn large() -> Vec<u8> {
        let mut frame = vec![0x80, 0x01, 0x01, 0, 0, 0, 0, 0, 0x02, 0x33];
        frame.push(frame.iter().fold(0, |x, b| x ^ b));
        frame
    }

    #[test]
    fn what_is_sent_is_as_captured() {
        assert_eq!(read_all(1), [0x80, 0x01, 0x00, 0x33, 0xB2]);
        assert_eq!(open(1, 0), [0x8A, 0x01, 0x01, 0x11, 0x9B]);
    }

    #[test]
    fn captured_answers_read_as_on_the_board() {
        assert_eq!(closed_contacts(&CHANNEL_1, 24, FirstByte::Last), [1]);
        assert_eq!(closed_contacts(&CHANNEL_1, 24, FirstByte::First), [17]);
        assert_eq!(closed_contacts(&CHANNEL_2, 24, FirstByte::Last), [2]);
        assert!(closed_contacts(&NOTHING, 8, FirstByte::Last).is_empty());
        let contacts = contacts(&NOTHING, 1, 8, FirstByte::Last).unwrap();
        assert_eq!(contacts.get(24), None);
        assert!(is_open(false, Feedback::DoorClosing) && is_open(true, Feedback::DoorOpening));
    }

    #[test]
    fn a_large_board_has_seven_status_bytes() {
        assert_eq!(closed_contacts(&large(), 50, FirstByte::First), [1, 50]);
        assert_eq!(contacts(&large(), 1, 8, FirstByte::Last), None, "of another length than the board's");
    }

    #[test]
    fn what_is_not_the_boards_answer_is_none() {
        let heard = |bytes: &[u8], board| contacts(bytes, board, 8, FirstByte::Last);
        assert!(heard(&[&[0xFA, 0xFD, 0x99, 0x99][..], &CHANNEL_1, &[0x00]].concat(), 1).is_some());
        assert_eq!(heard(&CHANNEL_1, 2), None, "another board's");
        assert_eq!(heard(&CHANNEL_1[..6], 1), None, "cut");
        assert_eq!(heard(&[0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB2], 1), None, "wrong check byte");
        assert_eq!(heard(&read_all(1), 1), None, "our own echo");
        assert_eq!(heard(&[CHANNEL_1, CHANNEL_2].concat(), 1), None, "two that contradict each other");
        assert!(heard(&[CHANNEL_1, CHANNEL_1].concat(), 1).is_some());
    }

    #[test]
    fn an_order_is_taken_whatever_the_contact_says_after_the_pulse() {
        assert!(opened(&[0x8A, 0x01, 0x01, 0x00, 0x8A], 1, 0));
        assert!(opened(&[0xFA, 0xFD, 0x99, 0x99, 0x8A, 0x01, 0x01, 0x11, 0x9B], 1, 0));
        assert!(!opened(&[0x8A, 0x01, 0x01, 0x00, 0x8A], 1, 1), "another cell's");
        assert!(!opened(&[0x8A, 0x01, 0x01, 0x00, 0x8B], 1, 0), "wrong check byte");
    }

    #[test]
    fn a_boards_own_word_is_found_but_not_inside_of_an_answer() {
        let word = [0x82, 0x01, 0x02, 0x11, 0x90];
        let second = Change { board: 1, cell: 1, contact_closed: true };
        let spoken = changes(&[&[0x99], &word[..], &CHANNEL_1, &word, &word, &[0x82, 0x01]].concat());
        assert_eq!(spoken, Spoken { before: vec![second], after: vec![second; 2], rest: 2 });
        assert!(changes(&[0x82, 0x01, 0x02, 0x11, 0x91]).after.is_empty(), "wrong check byte");
        assert!(changes(&[0x82, 0x01, 0x00, 0x22, 0xA1]).after.is_empty(), "the question for the firmware");
        let mut answer = vec![0x80, 0x01, 0x82, 0x01, 0x02, 0x11, 0x90, 0, 0, 0x33];
        answer.push(answer.iter().fold(0, |x, b| x ^ b));
        assert_eq!(changes(&answer), Spoken::default(), "cells that happen to read like a word");
    }

    #[test]
    fn fuzz_lock_board() {
        let word = vec![0x82, 0x01, 0x02, 0x11, 0x90];
        let frames = [CHANNEL_1.to_vec(), large(), word, open(1, 0).to_vec(), read_all(1).to_vec()];
        fuzz::flood("lock-board-8a", &frames, |bytes| {
            for cells in [8, 50] {
                if let Some(contacts) = contacts(bytes, 1, cells, FirstByte::Last) {
                    assert!(bytes.len() >= all_bytes(cells) && contacts.get(cells - 1).is_some());
                }
            }
            opened(bytes, 1, 0);
            let Spoken { before, after, rest } = changes(bytes);
            assert!((before.len() + after.len()) * SHORT + rest <= bytes.len() && rest < SHORT);
        });
    }

    #[test]
    fn every_word_in_a_stream_is_found() {
        let words = [[0x82, 0x01, 0x02, 0x11, 0x90].to_vec(), [0x82, 0x02, 0x05, 0x00, 0x85].to_vec()];
        let mut chance = fuzz::Chance::new(7);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&words, &[0xFA, 0xFD, 0x99, 0x00, 0x11], &mut chance);
            let boards: Vec<_> = changes(&bytes).after.iter().map(|c| usize::from(c.board) - 1).collect();
            assert_eq!(boards, which, "{bytes:02X?}");
        }
    }
}
