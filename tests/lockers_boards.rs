//! Simulated boards of four protocols on one serial line, polled as in a compound: cells, items, a board that says by
//! itself what changed, a dead one beside live ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::Context;
use gatehouse::field::serial::{self, Board, Feedback, FirstByte, Kind, Locker, Protocol, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Site};
use gatehouse::sim::line::Line;
use gatehouse::sim::lockers::{Boards, Family};
use tokio::sync::mpsc;
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

fn boards() -> Vec<Board> {
    let board = |(device, &(address, cells, family)): (u32, &(u8, u32, Family))| {
        let points = |from: u32| (from..from + cells).map(|n| PointId(100 * device + n)).collect();
        let items = if family == Family::KrCu16 { points(50) } else { vec![] };
        let locker =
            Locker { address, protocol: protocol(family), cells: points(0), items, commands: vec![0, 1] };
        Board { id: DeviceId(device), poll: Duration::from_millis(300), kind: Kind::Locker(locker) }
    };
    (0..).zip(&BANKS).map(board).collect()
}

struct Compound {
    boards: Boards,
    _line: Line,
    _dir: tempfile::TempDir,
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
    /// The latest word of every point.
    words: BTreeMap<u32, String>,
    lives: BTreeMap<u32, Life>,
}

impl Compound {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sim = Boards::default();
        BANKS.iter().for_each(|(address, _, family)| sim.add_of(*family, *address));
        let line = sim.start(&dir.path().join("lockers")).await.unwrap();
        let path = line.path().to_str().unwrap().into();
        let port = Port { path, baud: 9600, parity: Parity::None, stop_bits: 1 };
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        let settings =
            Settings { wire: Wire::Serial(port), timeout: Duration::from_millis(300), boards: boards() };
        tokio::spawn(serial::run("lockers".into(), settings, context));
        let (words, lives) = (BTreeMap::new(), BTreeMap::new());
        Self { boards: sim, _line: line, _dir: dir, batches, stop, words, lives }
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
        }
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
async fn a_dead_board_is_offline_alone_and_comes_back() {
    let mut compound = Compound::start().await;
    compound.until("all closed", |c| c.are_all_cells("closed")).await;
    for (device, (address, ..)) in (0u32..).zip(&BANKS) {
        compound.boards.set_silent(*address, true);
        let is_offline = |c: &Compound| matches!(c.lives.get(&device), Some(Life::Offline { .. }));
        compound.until("offline", is_offline).await;
        assert!(compound.is(100 * device, "no-answer"));
        let others = (0..4).filter(|other| *other != device);
        for other in others {
            assert_eq!(compound.lives[&other], Life::Online, "board {other} beside {device}");
        }
        compound.boards.set_silent(*address, false);
        compound.until("back", |c| c.is(100 * device, "closed")).await;
    }
}
