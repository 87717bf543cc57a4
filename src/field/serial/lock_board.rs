//! The "485 lock board" family 8A/80/82: request and reply of read-all. Pure.
//!
//! `80 AA 00 33 X` asks board AA for all its contacts; `80 AA S… 33 X` answers, X being the XOR of all bytes before
//! it. Up to 24 cells have 3 status bytes, larger boards 7. A board may put garbage before its frame, and a frame has
//! no length or end of its own: whoever reads collects until the line is silent, and looks here.

use super::{Feedback, FirstByte};

const READ: u8 = 0x80;
const ALL: u8 = 0x00;
const MARK: u8 = 0x33;
/// Cells of the boards that answer with 3 status bytes.
const CELLS_SMALL: usize = 24;

/// What a board answered: one bit a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status(Vec<u8>);

/// `80 AA 00 33 X`
pub fn request(address: u8) -> [u8; 5] {
    let frame = [READ, address, ALL, MARK];
    let [a, b, c, d] = frame;
    [a, b, c, d, xor(&frame)]
}

/// The answer of the board at `address` with so many cells, wherever it begins. `None` where there is none that is
/// right in length, address and check byte, or where two contradict each other.
pub fn reply(bytes: &[u8], address: u8, cells: usize) -> Option<Status> {
    let statuses = if cells <= CELLS_SMALL { 3 } else { 7 };
    let mut frames = bytes.windows(statuses + 4).filter_map(|frame| status(frame, address));
    let first = frames.next()?;
    frames.all(|other| other == first).then(|| Status(first.to_vec()))
}

fn status(frame: &[u8], address: u8) -> Option<&[u8]> {
    match frame {
        [READ, board, status @ .., MARK, check] if *board == address => {
            let (_, body) = frame.split_last()?;
            (xor(body) == *check).then_some(status)
        }
        _ => None,
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |check, byte| check ^ byte)
}

impl Status {
    /// Whether the cell with this index (0 the first) is open; `None` where the board has no such cell.
    pub fn is_open(&self, cell: usize, feedback: Feedback, first: FirstByte) -> Option<bool> {
        let nth = cell / 8;
        let byte = match first {
            FirstByte::First => self.0.get(nth),
            FirstByte::Last => self.0.iter().rev().nth(nth),
        }?;
        let contact_closed = byte >> (cell % 8) & 1 == 1;
        Some(contact_closed == (feedback == Feedback::DoorOpening))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_cells(bytes: &[u8], cells: usize, first: FirstByte) -> Vec<usize> {
        let status = reply(bytes, 1, cells).unwrap();
        (0..cells)
            .filter(|cell| status.is_open(*cell, Feedback::DoorOpening, first) == Some(true))
            .map(|c| c + 1)
            .collect()
    }

    #[test]
    fn the_request_is_the_one_captured() {
        assert_eq!(request(1), [0x80, 0x01, 0x00, 0x33, 0xB2]);
    }

    #[test]
    fn captured_replies_read_as_on_the_board() {
        let channel_1 = [0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB3];
        assert_eq!(open_cells(&channel_1, 24, FirstByte::Last), [1]);
        assert_eq!(open_cells(&channel_1, 24, FirstByte::First), [17]);
        assert_eq!(open_cells(&[0x80, 0x01, 0x00, 0x00, 0x02, 0x33, 0xB0], 24, FirstByte::Last), [2]);
        let nothing = [0x80, 0x01, 0x00, 0x00, 0x00, 0x33, 0xB2];
        assert!(open_cells(&nothing, 8, FirstByte::Last).is_empty());
        let status = reply(&nothing, 1, 8).unwrap();
        assert_eq!(status.is_open(0, Feedback::DoorClosing, FirstByte::Last), Some(true));
        assert_eq!(status.is_open(24, Feedback::DoorClosing, FirstByte::Last), None);
    }

    #[test]
    fn a_large_board_has_seven_status_bytes() {
        let mut frame = vec![0x80, 0x01, 0x01, 0, 0, 0, 0, 0, 0x02, 0x33];
        frame.push(xor(&frame));
        assert_eq!(open_cells(&frame, 50, FirstByte::First), [1, 50]);
        assert_eq!(reply(&frame, 1, 8), None, "of another length than the board's");
    }

    #[test]
    fn what_is_not_the_boards_answer_is_none() {
        let good = [0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB3];
        assert!(reply(&[&[0xFA, 0xFD, 0x99, 0x99][..], &good, &[0x00]].concat(), 1, 8).is_some());
        assert_eq!(reply(&good, 2, 8), None, "another board's");
        assert_eq!(reply(&good[..6], 1, 8), None, "cut");
        assert_eq!(reply(&[0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB2], 1, 8), None, "wrong check byte");
        assert_eq!(reply(&request(1), 1, 8), None, "our own echo");
        let other = [0x80, 0x01, 0x00, 0x00, 0x02, 0x33, 0xB0];
        assert_eq!(reply(&[good, other].concat(), 1, 8), None, "two that contradict each other");
        assert!(reply(&[good, good].concat(), 1, 8).is_some());
    }
}
