//! The lock board channel over a pseudo-terminal, with frames captured on real boards: no wrong cell is ever read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gatehouse::field::Context;
use gatehouse::field::serial::{self, Board, Feedback, FirstByte, Kind, Locker, Protocol, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Reason, Site, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_millis(200);
const POLL: Duration = Duration::from_millis(100);

/// The board's end of the line, played by hand.
struct Line {
    far: SerialStream,
    /// Kept open, so that the gateway can open it again.
    _near: SerialStream,
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
}

impl Line {
    fn start(boards: Vec<Board>) -> Self {
        let (far, near) = SerialStream::pair().unwrap();
        let path = near.name().unwrap();
        let port = Port { path: path.into(), baud: 9600, parity: Parity::None, stop_bits: 1, rs485: false };
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        let settings = Settings { wire: Wire::Serial(port), timeout: TIMEOUT, boards };
        tokio::spawn(serial::run("lockers".into(), settings, context));
        Self { far, _near: near, batches, stop }
    }

    /// The next question, which has to be read-all of this board.
    async fn asked(&mut self, address: u8) {
        let mut frame = [0; 5];
        let read = tokio::time::timeout(DEADLINE, self.far.read_exact(&mut frame)).await;
        read.expect("a question").unwrap();
        assert_eq!(frame, [0x80, address, 0x00, 0x33, 0x80 ^ address ^ 0x33]);
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.far.write_all(bytes).await.unwrap();
    }

    async fn batch(&mut self) -> Batch {
        tokio::time::timeout(DEADLINE, self.batches.recv()).await.expect("a batch").unwrap()
    }

    /// What the next batch says of each cell; the reason where it is bad.
    async fn cells(&mut self) -> Vec<String> {
        cells(&self.batch().await)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn cells(batch: &Batch) -> Vec<String> {
    let word = |value: &Option<Value>, reason: Option<Reason>| match value {
        Some(value) => value.to_string(),
        None => reason.unwrap().word().to_owned(),
    };
    batch.readings.iter().map(|r| word(&r.value, r.reason)).collect()
}

fn board(id: u32, address: u8, cells: u32) -> Board {
    Board {
        id: DeviceId(id),
        poll: POLL,
        kind: Kind::Locker(Locker {
            address,
            protocol: Protocol::LockBoard8a { feedback: Feedback::DoorClosing, first_byte: FirstByte::Last },
            cells: (0..cells).map(|cell| PointId(id * 100 + cell)).collect(),
            items: vec![],
            commands: vec![],
        }),
    }
}

const CHANNEL_1: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB3];
const CHANNEL_2: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x02, 0x33, 0xB0];
const NOTHING: [u8; 7] = [0x80, 0x01, 0x00, 0x00, 0x00, 0x33, 0xB2];

#[tokio::test]
async fn captured_frames_become_cells() {
    let mut line = Line::start(vec![board(0, 1, 3)]);
    for (frame, wanted) in [
        (CHANNEL_1, ["closed", "open", "open"]),
        (CHANNEL_2, ["open", "closed", "open"]),
        (NOTHING, ["open", "open", "open"]),
    ] {
        line.asked(1).await;
        line.say(&frame).await;
        let batch = line.batch().await;
        assert_eq!(cells(&batch), wanted);
        assert_eq!(batch.life, Some(Life::Online));
    }
}

#[tokio::test]
async fn polarity_and_byte_order_are_the_boards_own() {
    let mut mirrored = board(0, 1, 24);
    let protocol = Protocol::LockBoard8a { feedback: Feedback::DoorOpening, first_byte: FirstByte::First };
    if let Kind::Locker(locker) = &mut mirrored.kind {
        locker.protocol = protocol;
    }
    let mut line = Line::start(vec![mirrored]);
    line.asked(1).await;
    line.say(&CHANNEL_1).await;
    let open: Vec<_> =
        line.cells().await.iter().enumerate().filter(|(_, c)| *c == "open").map(|(n, _)| n + 1).collect();
    assert_eq!(open, [17]);
}

#[tokio::test]
async fn garbage_around_a_frame_is_passed_over() {
    let mut line = Line::start(vec![board(0, 1, 2)]);
    for (before, after) in
        [(&[0xFA, 0xFD, 0x99, 0x99][..], &[][..]), (&[0x80, 0x01], &[0x00]), (&[0x80; 9], &[0xFF; 3])]
    {
        line.asked(1).await;
        line.say(before).await;
        line.say(&CHANNEL_2).await;
        line.say(after).await;
        assert_eq!(line.cells().await, ["open", "closed"]);
    }
}

#[tokio::test]
async fn a_boards_own_word_around_its_answer_is_a_reading_of_its_own() {
    let mut line = Line::start(vec![board(0, 1, 2)]);
    let word = [0x82, 0x01, 0x02, 0x11, 0x90]; // the second contact closed
    line.asked(1).await;
    line.say(&word).await;
    tokio::time::sleep(Duration::from_millis(60)).await; // longer than the quiet that ends an answer
    line.say(&NOTHING).await;
    assert_eq!(line.cells().await, ["closed", "open", "open"], "the word, and then the newer answer");
    line.asked(1).await;
    line.say(&[&NOTHING[..], &word].concat()).await;
    assert_eq!(line.cells().await, ["open", "open", "closed"], "the answer, and then the newer word");
}

#[tokio::test]
async fn a_frame_may_come_in_dribbles() {
    let mut line = Line::start(vec![board(0, 1, 2)]);
    line.asked(1).await;
    for byte in CHANNEL_1 {
        line.say(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(5)).await; // the board's own pace
    }
    assert_eq!(line.cells().await, ["closed", "open"]);
}

#[tokio::test]
async fn after_a_wrong_frame_the_first_answer_is_not_believed_for_it_may_be_late() {
    let mut line = Line::start(vec![board(0, 1, 2)]);
    let wrong_check = [0x80, 0x01, 0x00, 0x00, 0x01, 0x33, 0xB2];
    let other_board = [0x80, 0x02, 0x00, 0x00, 0x01, 0x33, 0xB0];
    for wrong in [&wrong_check[..], &other_board, &CHANNEL_1[..4]] {
        line.asked(1).await;
        line.say(wrong).await;
        assert_eq!(line.cells().await, ["no-answer", "no-answer"]);
        // The answer itself, come after the deadline; and another to the question after it, which is believed.
        line.asked(1).await;
        line.say(&CHANNEL_1).await;
        line.asked(1).await;
        line.say(&CHANNEL_2).await;
        assert_eq!(line.cells().await, ["open", "closed"], "good again with the next poll");
    }
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_present_state() {
    let mut line = Line::start(vec![board(0, 1, 2)]);
    line.asked(1).await;
    assert_eq!(line.cells().await, ["no-answer", "no-answer"]);
    // Late, and even later than the time the gateway listens on: it is there when the next question comes.
    line.asked(1).await;
    line.say(&CHANNEL_1).await;
    // So the gateway asks once more, and believes only that.
    line.asked(1).await;
    line.say(&CHANNEL_2).await;
    assert_eq!(line.cells().await, ["open", "closed"]);
    line.asked(1).await;
    line.say(&NOTHING).await;
    assert_eq!(line.cells().await, ["open", "open"], "and then it is trusted again");
}

#[tokio::test]
async fn a_silent_board_goes_offline_and_does_not_slow_the_others() {
    let mut line = Line::start(vec![board(0, 1, 2), board(1, 2, 2)]);
    let start = Instant::now();
    let (mut answered, mut silent, mut offline) = (0, 0, false);
    while start.elapsed() < Duration::from_secs(4) {
        let mut frame = [0; 5];
        tokio::select! {
            read = line.far.read_exact(&mut frame) => {
                read.unwrap();
                if frame[1] == 1 {
                    line.say(&CHANNEL_1).await;
                }
            }
            batch = line.batches.recv() => match batch.unwrap() {
                Batch { device: DeviceId(0), readings, .. } => {
                    assert_eq!(readings[0].reason, None);
                    answered += 1;
                }
                batch => {
                    silent += 1;
                    let is_offline = matches!(batch.life, Some(Life::Offline { .. }));
                    assert_eq!(is_offline, silent >= 3, "offline with the third failure in a row");
                    offline |= is_offline;
                }
            },
        }
    }
    assert!(offline, "the silent board was asked {silent} times");
    assert!(silent <= 7, "asked ever more rarely, not {silent} times");
    assert!(answered >= 15, "the other board was read {answered} times in 4 s");
}

#[tokio::test]
async fn a_wire_that_breaks_is_told_once_and_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lockers");
    let plug = |path: &std::path::Path| {
        let (far, near) = SerialStream::pair().unwrap();
        let _ = std::fs::remove_file(path);
        std::os::unix::fs::symlink(near.name().unwrap(), path).unwrap();
        (far, near)
    };
    let mut line = Line::start(vec![]);
    let (far, near) = plug(&path);
    let port = Port {
        path: path.to_str().unwrap().into(),
        baud: 9600,
        parity: Parity::None,
        stop_bits: 1,
        rs485: false,
    };
    let (out, batches) = mpsc::channel(16);
    let context = Context::new(Arc::new(Site::default()), out, line.stop.clone(), Metrics::new());
    let settings =
        Settings { wire: Wire::Serial(port), timeout: TIMEOUT, boards: vec![board(0, 1, 2), board(1, 2, 2)] };
    tokio::spawn(serial::run("lockers".into(), settings, context));
    (line.far, line.batches) = (far, batches);
    line.asked(1).await;
    line.say(&CHANNEL_1).await;
    assert_eq!(line.cells().await, ["closed", "open"]);

    drop(near);
    std::fs::remove_file(&path).unwrap();
    let (unplugged, _) = SerialStream::pair().unwrap();
    line.far = unplugged; // the far end is closed
    for id in 0..2 {
        let batch = line.batch().await;
        assert_eq!((batch.device, cells(&batch)), (DeviceId(id), vec!["wire-down".to_owned(); 2]));
        assert!(matches!(batch.life, Some(Life::Offline { .. })));
    }
    let (far, _near) = plug(&path);
    line.far = far;
    let mut frame = [0; 5];
    tokio::time::timeout(DEADLINE, line.far.read_exact(&mut frame)).await.expect("taken up again").unwrap();
}
