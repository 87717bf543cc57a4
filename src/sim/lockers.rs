//! Simulated lock boards on one line, of all families that the gateway speaks: they answer when asked by their address,
//! open a cell on order unless it is jammed, and where they are told to, say by themselves when a contact changed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::broadcast;

use super::line::{Connecting, Line, Stream};

/// The boards of one line; every clone is the same boards.
#[derive(Debug, Clone)]
pub struct Boards {
    boards: Arc<Mutex<BTreeMap<u8, Board>>>,
    words: broadcast::Sender<[u8; 5]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// 24 cells, three status bytes, cells 1–8 in the last one.
    #[default]
    LockBoard8a,
    KrCu16,
    KrCu48,
    Winnsen16,
}

#[derive(Debug, Clone, Default)]
struct Board {
    family: Family,
    /// Cells that stand open, 1 the first.
    open: BTreeSet<u8>,
    /// Cells in which something lies.
    items: BTreeSet<u8>,
    /// Cells that do not move, whatever the lock does.
    jammed: BTreeSet<u8>,
    /// Says by itself when a contact changes.
    speaks: bool,
    silent: bool,
    /// Locks that still cool down.
    hot: BTreeSet<u8>,
    /// Orders to open that it took.
    orders: u32,
}

/// What a gateway wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Status {
        lock: u8,
    },
    Open {
        lock: u8,
    },
    /// Something that is answered by nothing here.
    Other,
}

/// The longest question.
const LONGEST: usize = 6;

impl Default for Boards {
    fn default() -> Self {
        Self { boards: Arc::default(), words: broadcast::Sender::new(16) }
    }
}

impl Boards {
    pub fn add(&self, address: u8) {
        self.add_of(Family::LockBoard8a, address);
    }

    pub fn add_of(&self, family: Family, address: u8) {
        self.lock().entry(address).or_default().family = family;
    }

    pub fn set_open(&self, address: u8, cell: u8, open: bool) {
        let mut boards = self.lock();
        let board = boards.entry(address).or_default();
        let changed = if open { board.open.insert(cell) } else { board.open.remove(&cell) };
        if changed && board.speaks {
            let contact = if open { 0x00 } else { 0x11 };
            // Nobody on the line: nobody hears it.
            let _ = self.words.send([0x82, address, cell, contact, 0x82 ^ address ^ cell ^ contact]);
        }
    }

    pub fn set_item(&self, address: u8, cell: u8, present: bool) {
        set(&mut self.lock().entry(address).or_default().items, cell, present);
    }

    pub fn set_jammed(&self, address: u8, cell: u8, jammed: bool) {
        set(&mut self.lock().entry(address).or_default().jammed, cell, jammed);
    }

    /// Its lock was used a moment ago.
    pub fn set_hot(&self, address: u8, cell: u8, hot: bool) {
        set(&mut self.lock().entry(address).or_default().hot, cell, hot);
    }

    pub fn set_speaks(&self, address: u8, speaks: bool) {
        self.lock().entry(address).or_default().speaks = speaks;
    }

    pub fn set_silent(&self, address: u8, silent: bool) {
        self.lock().entry(address).or_default().silent = silent;
    }

    /// How many orders to open this board took.
    pub fn orders(&self, address: u8) -> u32 {
        self.lock().get(&address).map_or(0, |board| board.orders)
    }

    /// Puts the boards on a pseudo-terminal that is found under `path`.
    pub async fn start(&self, path: &Path) -> io::Result<Line> {
        let boards = self.clone();
        let connect = move || -> Connecting {
            let (near, far) = tokio::io::duplex(256);
            tokio::spawn(boards.clone().serve(far));
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
        };
        Line::start(path, Box::new(connect)).await
    }

    async fn serve(self, mut line: DuplexStream) {
        let (mut heard, mut chunk) = (Vec::new(), [0; 64]);
        let mut words = self.words.subscribe();
        loop {
            let said = tokio::select! {
                read = line.read(&mut chunk) => match read {
                    Ok(n @ 1..) => {
                        heard.extend_from_slice(&chunk[..n]);
                        self.answers(&mut heard)
                    }
                    _ => return,
                },
                word = words.recv() => word.map(|word| word.to_vec()).unwrap_or_default(),
            };
            if !said.is_empty() && line.write_all(&said).await.is_err() {
                return;
            }
        }
    }

    /// Answers every question that is whole.
    fn answers(&self, heard: &mut Vec<u8>) -> Vec<u8> {
        let mut answers = Vec::new();
        while !heard.is_empty() {
            match question(heard) {
                Some((length, address, family, wish)) => {
                    heard.drain(..length);
                    let mut boards = self.lock();
                    let board = boards.get_mut(&address).filter(|b| b.family == family && !b.silent);
                    answers.extend(board.and_then(|board| board.answer(address, wish)).unwrap_or_default());
                }
                None if heard.len() < LONGEST => break,
                None => drop(heard.remove(0)),
            }
        }
        answers
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Board>> {
        self.boards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn set(cells: &mut BTreeSet<u8>, cell: u8, is_in: bool) {
    if is_in {
        cells.insert(cell);
    } else {
        cells.remove(&cell);
    }
}

/// The question that begins here: its length, whom it is for, and what it wants.
fn question(heard: &[u8]) -> Option<(usize, u8, Family, Wish)> {
    let right = |length: usize| sum(&heard[..length - 1]) == heard[length - 1];
    Some(match *heard {
        [0x80, a, 0, 0x33, x, ..] if x == 0x80 ^ a ^ 0x33 => {
            (5, a, Family::LockBoard8a, Wish::Status { lock: 0 })
        }
        [0x8A, a, lock, 0x11, x, ..] if x == 0x8A ^ a ^ lock ^ 0x11 => {
            (5, a, Family::LockBoard8a, Wish::Open { lock })
        }
        [0x02, to, command @ (0x30 | 0x31 | 0x38), 0x03, _, ..] if right(5) => {
            let wish = match command {
                0x30 => Wish::Status { lock: 0 },
                0x31 => Wish::Open { lock: (to & 0x0F) + 1 },
                _ => Wish::Other,
            };
            (5, to >> 4, Family::KrCu16, wish)
        }
        [0x02, a, _, 0x60, 0x03, _, ..] if right(6) => (6, a, Family::KrCu48, Wish::Status { lock: 0 }),
        [0x02, a, lock, 0x61, 0x03, _, ..] if right(6) => {
            (6, a, Family::KrCu48, Wish::Open { lock: lock.wrapping_add(1) })
        }
        [0x90, 0x06, 0x12, a, lock, 0x03, ..] => (6, a, Family::Winnsen16, Wish::Status { lock }),
        [0x90, 0x06, 0x05, a, lock, 0x03, ..] => (6, a, Family::Winnsen16, Wish::Open { lock }),
        _ => return None,
    })
}

impl Board {
    fn answer(&mut self, address: u8, wish: Wish) -> Option<Vec<u8>> {
        match wish {
            Wish::Status { lock } => Some(self.status(address, lock)),
            Wish::Other => None,
            Wish::Open { lock } => {
                let is_hot = self.hot.contains(&lock);
                if !is_hot {
                    self.orders += 1;
                    if !self.jammed.contains(&lock) {
                        self.open.insert(lock);
                    }
                }
                self.opened(address, lock, is_hot)
            }
        }
    }

    fn status(&self, address: u8, lock: u8) -> Vec<u8> {
        match self.family {
            Family::LockBoard8a => {
                let [_, high, middle, low] = (self.closed(24) as u32).to_be_bytes();
                let check = 0x80 ^ address ^ high ^ middle ^ low ^ 0x33;
                vec![0x80, address, high, middle, low, 0x33, check]
            }
            Family::KrCu16 => {
                let [hooks, items] = [self.closed(16), bits(self.items.iter().copied())];
                let ([h1, h2, ..], [i1, i2, ..]) = (hooks.to_le_bytes(), items.to_le_bytes());
                with_sum(vec![0x02, address << 4, 0x35, h1, h2, i1, i2, 0x03])
            }
            Family::KrCu48 => {
                let locks = self.closed(48).to_le_bytes();
                with_sum([&[0x02, address, 0x00, 0x75], &locks[..6], &[0x03]].concat())
            }
            Family::Winnsen16 => {
                vec![0x90, 0x07, 0x92, address, self.open.contains(&lock).into(), lock, 0x03]
            }
        }
    }

    /// What it says of an order; the contact may take longer to show it.
    fn opened(&self, address: u8, lock: u8, is_hot: bool) -> Option<Vec<u8>> {
        match self.family {
            Family::LockBoard8a => {
                let contact = if self.open.contains(&lock) { 0x00 } else { 0x11 };
                Some(vec![0x8A, address, lock, contact, 0x8A ^ address ^ lock ^ contact])
            }
            Family::KrCu16 => None,
            Family::KrCu48 => Some(with_sum(vec![0x02, address, lock.wrapping_sub(1), 0x75, 0x03])),
            Family::Winnsen16 => {
                Some(vec![0x90, 0x07, 0x85, address, lock, if is_hot { 2 } else { 1 }, 0x03])
            }
        }
    }

    /// A set bit is a closed door.
    fn closed(&self, cells: u8) -> u64 {
        bits((1..=cells).filter(|cell| !self.open.contains(cell)))
    }
}

fn bits(cells: impl Iterator<Item = u8>) -> u64 {
    cells.filter(|cell| (1..=64).contains(cell)).fold(0, |bits, cell| bits | 1 << (cell - 1))
}

fn with_sum(mut frame: Vec<u8>) -> Vec<u8> {
    frame.push(sum(&frame));
    frame
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
