//! Simulated boards of four protocols on one serial line, polled as in a compound: cells, items, a board that says by
//! itself what changed, a dead one beside live ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::serial::{self, Board, Feedback, FirstByte, Kind, Locker, Protocol, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::field::{Context, ERRANDS_MAX, Errand};
use gatehouse::metrics::Metrics;
use gatehouse::order::{Deed, Done, Outcome};
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Site};
use gatehouse::sim::line::Line;
use gatehouse::sim::lockers::{Boards, Family};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
const FEEDBACK: Feedback = Feedback::DoorClosing;
/// By device: address, cells and the simulated family. Points are 100 × device + cell, items 50 further.
const BANKS: [(u8, u32, Family); 4] = [
    (1, 24, Family::LockBoard8a),
    (2, 16, Family::KrCu16),
    (3, 48, Family::KrCu48),
    (4, 16, Family::Winnsen16),
];

fn protocol(family: Family) -> Protocol {
    match family {
        Family::LockBoard8a => Protocol::LockBoard8a { feedback: FEEDBACK, first_byte: FirstByte::Last },
        Family::KrCu16 => Protocol::KrCu16 { feedback: FEEDBACK },
        Family::KrCu48 => Protocol::KrCu48 { feedback: FEEDBACK },
        Family::Winnsen16 => Protocol::Winnsen16,
    }
}

fn boards(poll: Duration) -> Vec<Board> {
    let board = |(device, &(address, cells, family)): (u32, &(u8, u32, Family))| {
        let points = |from: u32| (from..from + cells).map(|n| PointId(100 * device + n)).collect();
        let items = if family == Family::KrCu16 { points(50) } else { vec![] };
        let locker =
            Locker { address, protocol: protocol(family), cells: points(0), items, commands: vec![0, 1] };
        Board { id: DeviceId(device), poll, kind: Kind::Locker(locker) }
    };
    (0..).zip(&BANKS).map(board).collect()
}

struct Compound {
    boards: Boards,
    _line: Line,
    _dir: tempfile::TempDir,
    batches: mpsc::Receiver<Batch>,
    errands: mpsc::Sender<Errand>,
    stop: CancellationToken,
    /// The latest word of every point.
    words: BTreeMap<u32, String>,
    lives: BTreeMap<u32, Life>,
    done: Vec<Done>,
}

impl Compound {
    async fn start() -> Self {
        Self::polled_every(Duration::from_millis(300)).await
    }

    async fn polled_every(poll: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sim = Boards::default();
        BANKS.iter().for_each(|(address, _, family)| sim.add_of(*family, *address));
        let line = sim.start(&dir.path().join("lockers")).await.unwrap();
        let path = line.path().to_str().unwrap().into();
        let port = Port { path, baud: 9600, parity: Parity::None, stop_bits: 1, rs485: false };
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let (errands, lane) = mpsc::channel(ERRANDS_MAX);
        let context = Context {
            lane: Arc::new(Mutex::new(lane)),
            ..Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new())
        };
        let settings =
            Settings { wire: Wire::Serial(port), timeout: Duration::from_millis(300), boards: boards(poll) };
        tokio::spawn(serial::run("lockers".into(), settings, context));
        let (words, lives, done) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { boards: sim, _line: line, _dir: dir, batches, errands, stop, words, lives, done }
    }

    /// Reads on until this holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            let batch = timeout_at(deadline, self.batches.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{what}: {:?}", self.words)).unwrap();
            for reading in &batch.readings {
                let word = match &reading.value {
                    Some(value) => value.to_string(),
                    None => reading.reason.unwrap().word().to_owned(),
                };
                self.words.insert(reading.point.0, word);
            }
            if let Some(life) = batch.life {
                self.lives.insert(batch.device.0, life);
            }
            self.done.extend(batch.done);
        }
    }

    /// Orders the cell with this index to open; what came of it.
    async fn open(&mut self, device: u32, nth: usize) -> Outcome {
        let number = self.done.len() as u64;
        let deed = Deed { number, device: DeviceId(device), nth, until: None };
        self.errands.send(Errand::Do(deed)).await.unwrap();
        self.until("an order done", |c| c.done.iter().any(|done| done.number == number)).await;
        self.done.last().unwrap().outcome.clone()
    }

    fn is(&self, point: u32, word: &str) -> bool {
        self.words.get(&point).is_some_and(|known| known == word)
    }

    fn are_all_cells(&self, word: &str) -> bool {
        (0u32..)
            .zip(&BANKS)
            .all(|(device, (_, cells, _))| (0..*cells).all(|n| self.is(100 * device + n, word)))
    }
}

impl Drop for Compound {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn cells_and_items_of_four_protocols_on_one_line() {
    let mut compound = Compound::start().await;
    compound.until("all closed", |c| c.are_all_cells("closed")).await;
    assert!((150..166).all(|item| compound.is(item, "absent")));

    let last_cells = [(1, 24, 23), (2, 16, 115), (3, 48, 247), (4, 16, 315)];
    for (address, cell, point) in last_cells {
        compound.boards.set_open(address, cell, true);
        compound.until("the last cell opens", |c| c.is(point, "open")).await;
        assert!(compound.words.values().filter(|word| *word == "open").count() == 1, "and no other");
        compound.boards.set_open(address, cell, false);
        compound.until("and closes", |c| c.is(point, "closed")).await;
    }
    compound.boards.set_item(2, 9, true);
    compound.until("an item in cell 9", |c| c.is(158, "present")).await;
    assert!(compound.is(157, "absent") && compound.is(159, "absent"));
}

#[tokio::test]
async fn dead_boards_are_offline_alone() {
    let mut compound = Compound::start().await;
    compound.until("all closed", |c| c.are_all_cells("closed")).await;
    for (device, address) in [(0, 1), (3, 4)] {
        compound.boards.set_silent(address, true);
        let is_offline = |c: &Compound| matches!(c.lives.get(&device), Some(Life::Offline { .. }));
        compound.until("offline", is_offline).await;
        assert!(compound.is(100 * device, "no-answer"));
    }
    compound.boards.set_open(2, 1, true);
    compound.boards.set_open(3, 48, true);
    compound.until("the others are read on", |c| c.is(100, "open") && c.is(247, "open")).await;
    assert_eq!((&compound.lives[&1], &compound.lives[&2]), (&Life::Online, &Life::Online));
}

/// Each protocol has its own word for an order, and none of them is a door that opened.
#[tokio::test]
async fn orders_are_taken_and_the_cell_is_read_with_the_answer() {
    // So rarely polled that what is read comes with the order.
    let mut compound = Compound::polled_every(Duration::from_secs(600)).await;
    compound.until("all closed", |c| c.are_all_cells("closed")).await;
    for (device, (address, ..)) in (0u32..).zip(&BANKS) {
        let outcome = compound.open(device, 0).await;
        assert!(matches!(outcome, Outcome::Executed { .. }), "{device}: {outcome:?}");
        assert!(compound.is(100 * device, "open"), "{device}: {:?}", compound.words);

        compound.boards.set_jammed(*address, 2, true);
        let outcome = compound.open(device, 1).await;
        assert!(matches!(outcome, Outcome::Executed { .. }), "{device}: {outcome:?}");
        assert!(compound.is(100 * device + 1, "closed"), "taken, and nothing moved");
        assert_eq!(compound.boards.orders(*address), 2, "each order was given once");

        compound.boards.set_silent(*address, true);
        let outcome = compound.open(device, 0).await;
        assert!(matches!(outcome, Outcome::Unsure { .. }), "{device}: {outcome:?}");
        compound.boards.set_silent(*address, false);
    }
    compound.boards.set_hot(4, 1, true);
    let outcome = compound.open(3, 0).await;
    assert!(matches!(&outcome, Outcome::Failed { why } if why.contains("cools down")), "{outcome:?}");
}

#[tokio::test]
async fn a_board_that_speaks_by_itself_is_heard_between_polls() {
    let mut compound = Compound::polled_every(Duration::from_secs(600)).await;
    compound.until("all closed", |c| c.are_all_cells("closed")).await;
    compound.boards.set_speaks(1, true);
    for word in ["open", "closed"] {
        compound.boards.set_open(1, 24, word == "open");
        compound.until("the last cell moves", |c| c.is(23, word)).await;
        assert!(compound.is(22, "closed"), "and no other");
    }
}
