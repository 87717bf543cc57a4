//! Boards and meters played by hand at the far end of a pseudo-terminal: orders, words of their own, look and seek.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_serial::SerialStream;

use super::boards::Boards;
use super::{
    Board, Feedback, FirstByte, Item, ItemOrder, Kind, Locker, Meter, Metering, Point, Protocol, Settings,
};
use crate::field::decode::Transform;
use crate::field::poll::{Answer, Ask, Failure};
use crate::field::wire::{Link, Parity, Port, Wire};
use crate::order::Outcome;
use crate::reading::{DeviceId, PointId, Reading};

const TIMEOUT: Duration = Duration::from_millis(200);
const DEADLINE: Duration = Duration::from_secs(10);
const FEEDBACK: Feedback = Feedback::DoorClosing;
const BOARD_8A: Protocol = Protocol::LockBoard8a { feedback: FEEDBACK, first_byte: FirstByte::Last };
/// Read-all of board 1, and what it says with only the first contact closed.
const READ_ALL: &[u8] = &[0x80, 0x01, 0x00, 0x33, 0xB2];
const CHANNEL_1: &[u8] = &[0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB3];
const OPEN_1: &[u8] = &[0x8A, 0x01, 0x01, 0x11, 0x9B];
const OPENED_1: &[u8] = &[0x8A, 0x01, 0x01, 0x00, 0x8A];

/// The far end of the line.
struct Far(SerialStream);

impl Far {
    /// Hears exactly this and says that.
    async fn play(&mut self, question: &[u8], answer: &[u8]) {
        let mut heard = vec![0; question.len()];
        let read = timeout(DEADLINE, self.0.read_exact(&mut heard)).await;
        read.unwrap_or_else(|_| panic!("{question:02X?} is asked")).unwrap();
        assert_eq!(heard, question, "{heard:02X?}");
        self.0.write_all(answer).await.unwrap();
    }

    async fn play_all(&mut self, script: &[(&[u8], &[u8])]) {
        for (question, answer) in script {
            self.play(question, answer).await;
        }
    }
}

fn line(kinds: Vec<Kind>) -> (Boards, Link, Far) {
    let (far, near) = SerialStream::pair().unwrap();
    let port = Port { path: "pty".into(), baud: 9600, parity: Parity::None, stop_bits: 1, rs485: false };
    let board = |(n, kind)| Board { id: DeviceId(n), poll: Duration::from_secs(1), kind };
    let boards = (0..).zip(kinds).map(board).collect();
    let settings = Settings { wire: Wire::Serial(port), timeout: TIMEOUT, boards };
    (Boards::new(settings), Link::of(near), Far(far))
}

/// Points from `first` on; every cell has its command.
fn locker(protocol: Protocol, address: u8, cells: u8, first: u32) -> Kind {
    let point = |n: u8| PointId(first + u32::from(n));
    let items = if matches!(protocol, Protocol::KrCu16 { .. }) { cells..2 * cells } else { 0..0 };
    Kind::Locker(Locker {
        address,
        protocol,
        cells: (0..cells).map(point).collect(),
        items: items.map(point).collect(),
        commands: (0..cells).collect(),
    })
}

fn meter(protocol: Metering, items: &[Item]) -> Kind {
    let point = |(n, item): (u32, &Item)| Point {
        id: PointId(n),
        item: item.clone(),
        transform: Transform::default(),
    };
    Kind::Meter(Meter { protocol, points: (0..).zip(items).map(point).collect() })
}

fn words(readings: &[Reading]) -> Vec<(u32, String)> {
    let word = |r: &Reading| match &r.value {
        Some(value) => value.to_string(),
        None => r.reason.unwrap().word().to_owned(),
    };
    readings.iter().map(|r| (r.point.0, word(r))).collect()
}

fn said(what: &[(u32, &str)]) -> Vec<(u32, String)> {
    what.iter().map(|(point, word)| (*point, (*word).to_owned())).collect()
}

/// Orders a cell while the far end plays; what came of it, and what was read.
async fn order(
    (boards, link, far): (&mut Boards, &mut Link, &mut Far),
    device: usize,
    nth: usize,
    script: &[(&[u8], &[u8])],
) -> (Outcome, Vec<(u32, String)>) {
    let mut readings = Vec::new();
    let (outcome, ()) = tokio::join!(boards.act(link, device, nth, &mut readings), far.play_all(script));
    (outcome.unwrap(), words(&readings))
}

fn is_executed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Executed { .. })
}

fn is_unsure(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unsure { .. })
}

// --- orders ---

#[tokio::test]
async fn an_order_that_is_taken_is_no_door_that_opened_and_the_cell_is_read_at_once() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0)]);
    let script = [(OPEN_1, OPENED_1), (READ_ALL, CHANNEL_1)];
    let (outcome, read) = order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    assert_eq!(outcome, Outcome::Executed { what: "the board took the order for cell-1".into() });
    assert_eq!(
        read,
        said(&[(0, "closed"), (1, "open")]),
        "the acknowledgement said open, the board does not"
    );
}

#[tokio::test]
async fn an_order_without_an_answer_may_have_opened_the_cell_and_is_not_given_twice() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0)]);
    // The first answer after it may be to something older.
    let script: [(&[u8], &[u8]); 3] = [(OPEN_1, &[]), (READ_ALL, CHANNEL_1), (READ_ALL, CHANNEL_1)];
    let (outcome, read) = order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    assert_eq!(
        outcome,
        Outcome::Unsure { why: "the board answers, but not to the order; cell-1 may have opened".into() }
    );
    assert_eq!(read, said(&[(0, "closed"), (1, "open")]));
}

/// On a line that echoes, an order to open comes back looking like its answer.
#[tokio::test]
async fn the_echo_of_an_order_is_not_taken_for_its_answer() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0)]);
    let echo_and_answer = [READ_ALL, CHANNEL_1].concat();
    let mut readings = Vec::new();
    let (read, ()) =
        tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play(READ_ALL, &echo_and_answer));
    read.unwrap();
    let read_twice = [(READ_ALL, &echo_and_answer[..]); 2];
    let script = [&[(OPEN_1, OPEN_1)][..], &read_twice].concat();
    let (outcome, _) = order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    assert!(is_unsure(&outcome), "{outcome:?}");
    let taken = [OPEN_1, OPENED_1].concat();
    let script = [(OPEN_1, &taken[..]), (READ_ALL, &echo_and_answer)];
    let (outcome, _) = order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    assert!(is_executed(&outcome), "{outcome:?}");
}

#[tokio::test]
async fn a_kr_cu16_confirms_nothing_but_that_it_lives() {
    let (mut boards, mut link, mut far) =
        line(vec![locker(Protocol::KrCu16 { feedback: FEEDBACK }, 1, 16, 0)]);
    let open: &[u8] = &[0x02, 0x14, 0x31, 0x03, 0x4A];
    let free: &[u8] = &[0x02, 0x10, 0x38, 0x03, 0x4D];
    let status: &[u8] = &[0x02, 0x10, 0x30, 0x03, 0x45];
    // Lock 5 open, an item in it.
    let answer: &[u8] = &[0x02, 0x10, 0x35, 0xEF, 0xFF, 0x10, 0x00, 0x03, 0x48];
    let script = [(open, &[][..]), (free, &[]), (status, answer)];
    let (outcome, read) = order((&mut boards, &mut link, &mut far), 0, 4, &script).await;
    assert!(is_executed(&outcome), "{outcome:?}");
    assert_eq!(read[3..5], said(&[(3, "closed"), (4, "open")]));
    assert_eq!(read[19..21], said(&[(19, "absent"), (20, "present")]));

    let script: [(&[u8], &[u8]); 3] = [(open, &[]), (free, &[]), (status, &[])];
    let mut readings = Vec::new();
    let (outcome, ()) = tokio::join!(boards.act(&mut link, 0, 4, &mut readings), far.play_all(&script));
    assert!(matches!(outcome, Err(Failure::Silent)), "{outcome:?}");
    assert!(readings.is_empty());
}

#[tokio::test]
async fn a_kr_cu48_confirms_the_lock() {
    let (mut boards, mut link, mut far) =
        line(vec![locker(Protocol::KrCu48 { feedback: FEEDBACK }, 0, 48, 0)]);
    let script: [(&[u8], &[u8]); 2] = [
        (&[0x02, 0x00, 0x00, 0x61, 0x03, 0x66], &[0x02, 0x00, 0x00, 0x75, 0x03, 0x7A]),
        (
            &[0x02, 0x00, 0x00, 0x60, 0x03, 0x65],
            &[0x02, 0x00, 0x00, 0x75, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x03, 0xF3],
        ),
    ];
    let (outcome, read) = order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    assert!(is_executed(&outcome), "{outcome:?}");
    let open: Vec<_> = read.iter().filter(|(_, word)| word == "open").map(|(point, _)| *point).collect();
    assert_eq!(open, [0, 47]);
}

#[tokio::test]
async fn a_winnsen_lock_that_cools_down_failed_and_only_its_cell_is_read() {
    let (mut boards, mut link, mut far) = line(vec![locker(Protocol::Winnsen16, 1, 16, 0)]);
    let order_5: &[u8] = &[0x90, 0x06, 0x05, 0x01, 0x05, 0x03];
    let status_5: (&[u8], &[u8]) =
        (&[0x90, 0x06, 0x12, 0x01, 0x05, 0x03], &[0x90, 0x07, 0x92, 0x01, 0x00, 0x05, 0x03]);
    for (status, why) in [(2, "cools down"), (0, "says that it failed")] {
        let answer = [0x90, 0x07, 0x85, 0x01, 0x05, status, 0x03];
        let script = [(order_5, &answer[..]), status_5];
        let (outcome, read) = order((&mut boards, &mut link, &mut far), 0, 4, &script).await;
        assert!(matches!(&outcome, Outcome::Failed { why: told } if told.contains(why)), "{outcome:?}");
        assert_eq!(read, said(&[(4, "closed")]));
    }
}

#[tokio::test]
async fn two_boards_do_not_open_within_300_ms() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0), locker(BOARD_8A, 2, 2, 2)]);
    let script = [(OPEN_1, OPENED_1), (READ_ALL, CHANNEL_1)];
    order((&mut boards, &mut link, &mut far), 0, 0, &script).await;
    let begun = Instant::now();
    let second: [(&[u8], &[u8]); 2] = [
        (&[0x8A, 0x02, 0x01, 0x11, 0x98], &[0x8A, 0x02, 0x01, 0x00, 0x89]),
        (&[0x80, 0x02, 0x00, 0x33, 0xB1], &[0x80, 0x02, 0x00, 0x00, 0x01, 0x33, 0xB0]),
    ];
    let (outcome, _) = order((&mut boards, &mut link, &mut far), 1, 0, &second).await;
    assert!(is_executed(&outcome), "{outcome:?}");
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_cannot_be_ordered_fails_without_a_word_on_the_line() {
    let (mut boards, mut link, mut far) =
        line(vec![locker(BOARD_8A, 1, 2, 0), meter(Metering::Mbus { address: 1 }, &[])]);
    for (device, nth) in [(0, 2), (1, 0)] {
        let (outcome, _) = order((&mut boards, &mut link, &mut far), device, nth, &[]).await;
        assert!(matches!(outcome, Outcome::Failed { .. }), "{outcome:?}");
    }
}

/// The poll gives a board that is gone less time than the protocol does.
#[tokio::test]
async fn a_question_that_was_given_up_on_leaves_its_board_in_doubt() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0)]);
    let mut readings = Vec::new();
    let given_up = timeout(TIMEOUT / 4, boards.ask(&mut link, 0, 0, &mut readings)).await;
    assert!(given_up.is_err());
    far.play(READ_ALL, &[]).await;
    let nothing: &[u8] = &[0x80, 0x01, 0x00, 0x00, 0x00, 0x33, 0xB2];
    let script = [(READ_ALL, CHANNEL_1), (READ_ALL, nothing)];
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play_all(&script));
    assert_eq!(read.unwrap(), Answer::Read);
    assert_eq!(
        words(&readings),
        said(&[(0, "open"), (1, "open")]),
        "not the first answer, which may be late"
    );
}

// --- words of their own ---

#[tokio::test]
async fn a_boards_own_word_is_heard_whole_or_in_pieces() {
    let (mut boards, ..) = line(vec![locker(BOARD_8A, 1, 2, 0), locker(BOARD_8A, 2, 2, 2)]);
    assert!(boards.listens());
    let mut heard = |bytes: &[u8]| {
        let spoken = boards.overheard(bytes);
        spoken.into_iter().flat_map(|(device, readings)| [(device, words(&readings))]).collect::<Vec<_>>()
    };
    assert_eq!(heard(&[0x82, 0x01, 0x02]), []);
    assert_eq!(heard(&[0x11, 0x90]), [(0, said(&[(1, "closed")]))]);
    let two = [&[0xFF][..], &[0x82, 0x02, 0x01, 0x00, 0x81], &[0x82, 0x01, 0x02, 0x00, 0x81]].concat();
    assert_eq!(heard(&two), [(1, said(&[(2, "open")])), (0, said(&[(1, "open")]))]);
    assert_eq!(heard(&[0x82, 0x07, 0x01, 0x00, 0x84]), [], "no board of this line");
    assert_eq!(heard(&[0x82, 0x01, 0x03, 0x00, 0x80]), [], "no cell of this board");
}

#[tokio::test]
async fn the_word_of_another_board_while_one_is_asked_is_kept_for_it() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0), locker(BOARD_8A, 2, 2, 2)]);
    let answer = [&[0x82, 0x02, 0x01, 0x00, 0x81][..], CHANNEL_1].concat();
    let mut readings = Vec::new();
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play(READ_ALL, &answer));
    assert_eq!(read.unwrap(), Answer::Read);
    assert_eq!(words(&readings), said(&[(0, "closed"), (1, "open")]));
    let aside = boards.overheard(&[]);
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].0, words(&aside[0].1)), (1, said(&[(2, "open")])));
}

#[tokio::test]
async fn only_boards_that_speak_are_listened_to() {
    let cjt188 = Metering::Cjt188 { address: None, kind: 0x10, order: ItemOrder::LowFirst };
    let (boards, ..) = line(vec![locker(Protocol::Winnsen16, 1, 2, 0), meter(cjt188, &[Item::Volume])]);
    assert!(!boards.listens());
}

// --- meters ---

fn dlt645_frame(control: u8, data: &[u8]) -> Vec<u8> {
    let shifted: Vec<_> = data.iter().map(|byte| byte.wrapping_add(0x33)).collect();
    let head = [0x68, 0x35, 0x44, 0x02, 0x19, 0x12, 0x18, 0x68, control, data.len() as u8];
    let mut frame = [&[0xFE; 4][..], &head, &shifted].concat();
    let sum = frame[4..].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    frame.extend([sum, 0x16]);
    frame
}

#[tokio::test]
async fn a_block_is_read_over_several_frames() {
    let address = Some("181219024435".into());
    let item = |di| Item::Dlt645 { di, digits: 8, signed: false };
    let (mut boards, mut link, mut far) =
        line(vec![meter(Metering::Dlt645 { address }, &[item(0x0001_0000), item(0x0001_0200)])]);
    let di = [0x00, 0xFF, 0x01, 0x00];
    let with = |data: &[u8]| [&di[..], data].concat();
    let script = [
        (dlt645_frame(0x11, &di), dlt645_frame(0xB1, &with(&[0x78, 0x56, 0x34, 0x12, 1, 0]))),
        (dlt645_frame(0x12, &with(&[1])), dlt645_frame(0xB2, &with(&[0, 0, 0x21, 0x43, 1]))),
        (dlt645_frame(0x12, &with(&[2])), dlt645_frame(0x92, &with(&[0, 0, 2]))),
    ];
    let script: Vec<(&[u8], &[u8])> = script.iter().map(|(a, b)| (&a[..], &b[..])).collect();
    let mut readings = Vec::new();
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play_all(&script));
    assert_eq!(read.unwrap(), Answer::Read);
    assert_eq!(words(&readings), said(&[(0, "12345678"), (1, "4321")]));
}

#[tokio::test]
async fn a_block_to_which_a_meter_is_silent_is_asked_for_once() {
    let address = Some("181219024435".into());
    let item = |di| Item::Dlt645 { di, digits: 4, signed: false };
    let (mut boards, mut link, mut far) =
        line(vec![meter(Metering::Dlt645 { address }, &[item(0x0201_0100), item(0x0201_0200)])]);
    let (block, first, second) = ([0, 0xFF, 1, 2], [0, 1, 1, 2], [0, 2, 1, 2]);
    let single = |di: [u8; 4], value: [u8; 2]| {
        (dlt645_frame(0x11, &di), dlt645_frame(0x91, &[&di[..], &value].concat()))
    };
    let singles = [single(first, [0x12, 0x23]), single(second, [0x99, 0x22])];
    let mut script = vec![(dlt645_frame(0x11, &block), vec![])];
    for _ in 0..2 {
        script.extend(singles.clone());
        let played: Vec<(&[u8], &[u8])> = script.iter().map(|(a, b)| (&a[..], &b[..])).collect();
        let mut readings = Vec::new();
        // After each value others may have the line.
        let (before, last) = played.split_at(played.len() - 1);
        for (part, answer) in [(before, Answer::More), (last, Answer::Read)] {
            let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play_all(part));
            assert_eq!(read.unwrap(), answer);
        }
        assert_eq!(words(&readings), said(&[(0, "2312"), (1, "2299")]));
        script.clear();
    }
}

#[tokio::test]
async fn a_look_at_what_a_meter_refuses_says_why() {
    let address = Some("181219024435".into());
    let item = Item::Dlt645 { di: 0x0280_0002, digits: 4, signed: false };
    let (mut boards, mut link, mut far) = line(vec![meter(Metering::Dlt645 { address }, &[item])]);
    let (asked, refused) = (dlt645_frame(0x11, &[0x02, 0x00, 0x80, 0x02]), dlt645_frame(0xD1, &[0x02]));
    let (seen, ()) = tokio::join!(boards.look(&mut link, 0, None), far.play(&asked, &refused));
    let seen = seen.unwrap();
    assert_eq!(
        (&seen[0].what[..], seen[0].trouble.as_deref()),
        ("data 02800002", Some("it has no such data"))
    );
    assert_eq!(seen[0].values[0].value, Err("device-error"));
}

#[tokio::test]
async fn a_late_answer_is_not_another_values() {
    let address = Some("181219024435".into());
    let item = |di| Item::Dlt645 { di, digits: 4, signed: false };
    let (mut boards, mut link, mut far) =
        line(vec![meter(Metering::Dlt645 { address }, &[item(0x0280_0002), item(0x0280_0007)])]);
    let (hertz, degrees) = ([0x02, 0x00, 0x80, 0x02], [0x07, 0x00, 0x80, 0x02]);
    let mut readings = Vec::new();
    let asked = dlt645_frame(0x11, &hertz);
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play(&asked, &[]));
    assert!(matches!(read, Err(Failure::Silent)), "{read:?}");
    let late = dlt645_frame(0x91, &[&hertz[..], &[0x98, 0x49]].concat());
    let answer = dlt645_frame(0x91, &[&degrees[..], &[0x51, 0x02]].concat());
    let asked = dlt645_frame(0x11, &degrees);
    let both = [late, answer].concat();
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 1, &mut readings), far.play(&asked, &both));
    assert_eq!(read.unwrap(), Answer::Read);
    assert_eq!(words(&readings), said(&[(1, "251")]));
}

#[tokio::test]
async fn an_mbus_meter_is_reset_asked_and_read_by_record() {
    let (mut boards, mut link, mut far) =
        line(vec![meter(Metering::Mbus { address: 2 }, &[Item::Record(0), Item::Record(9)])]);
    let example: Vec<u8> = (0..37)
        .map(|n| {
            let hex = "681f1f680802727856341224400107550000000313153100da023b13018b60043718021816";
            u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()
        })
        .collect();
    let script: [(&[u8], &[u8]); 2] =
        [(&[0x10, 0x40, 0x02, 0x42, 0x16], &[0xE5]), (&[0x10, 0x7B, 0x02, 0x7D, 0x16], &example)];
    let mut readings = Vec::new();
    let (read, ()) = tokio::join!(boards.ask(&mut link, 0, 0, &mut readings), far.play_all(&script));
    assert_eq!(read.unwrap(), Answer::Read);
    assert_eq!(words(&readings), said(&[(0, "12.565"), (1, "unreadable")]));
}

// --- for people ---

#[tokio::test]
async fn a_look_shows_the_bytes_and_what_they_mean() {
    let (mut boards, mut link, mut far) = line(vec![locker(BOARD_8A, 1, 2, 0)]);
    let (seen, ()) = tokio::join!(boards.look(&mut link, 0, Some(PointId(1))), far.play(READ_ALL, CHANNEL_1));
    let seen = seen.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (seen[0].what.as_str(), &seen[0].sent[..], &seen[0].heard[..]),
        ("all cells of board 1", READ_ALL, CHANNEL_1)
    );
    assert_eq!(seen[0].trouble, None);
    assert_eq!(seen[0].values.len(), 2);

    let (seen, ()) = tokio::join!(boards.look(&mut link, 0, None), far.play(READ_ALL, &[]));
    assert_eq!(seen.unwrap()[0].trouble.as_deref(), Some("no answer in time"));
}

#[tokio::test]
async fn who_is_sought_is_found_by_the_protocols_of_the_line() {
    let (mut boards, mut link, mut far) =
        line(vec![locker(BOARD_8A, 1, 8, 0), meter(Metering::Dlt645 { address: None }, &[])]);
    let board_3: (&[u8], &[u8]) =
        (&[0x80, 0x03, 0x00, 0x33, 0xB0], &[0x80, 0x03, 0x00, 0x00, 0x01, 0x33, 0xB1]);
    let soon = Duration::from_millis(100);
    let (found, ()) = tokio::join!(boards.seek(&mut link, 3, soon), far.play(board_3.0, board_3.1));
    assert_eq!(found.unwrap().as_deref(), Some("lock-board-8a board 3"));

    let asked: [u8; 16] =
        [0xFE, 0xFE, 0xFE, 0xFE, 0x68, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x68, 0x13, 0x00, 0xDF, 0x16];
    let named = dlt645_frame(0x93, &[0x35, 0x44, 0x02, 0x19, 0x12, 0x18]);
    let script: [(&[u8], &[u8]); 2] = [(READ_ALL, &[]), (&asked, &named)];
    let (found, ()) = tokio::join!(boards.seek(&mut link, 1, soon), far.play_all(&script));
    assert_eq!(found.unwrap().as_deref(), Some("DL/T 645 meter 181219024435"));

    let nobody: (&[u8], &[u8]) = (&[0x80, 0x04, 0x00, 0x33, 0xB7], &[]);
    let (found, ()) = tokio::join!(boards.seek(&mut link, 4, soon), far.play(nobody.0, nobody.1));
    assert_eq!(found.unwrap(), None);
}
