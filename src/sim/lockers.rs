//! Simulated lock boards of the 8A family on one line: they answer read-all, and only when asked by their address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::line::{Connecting, Line, Stream};

/// The boards of one line; every clone is the same boards.
#[derive(Debug, Clone, Default)]
pub struct Boards(Arc<Mutex<BTreeMap<u8, Board>>>);

#[derive(Debug, Clone, Default)]
struct Board {
    /// Cells that stand open, 1 the first.
    open: BTreeSet<u8>,
    silent: bool,
}

/// Cells 1–24, three status bytes, cells 1–8 in the last one; a set bit is a closed door.
const CELLS: u8 = 24;
const READ: u8 = 0x80;
const MARK: u8 = 0x33;

impl Boards {
    pub fn add(&self, address: u8) {
        self.lock().entry(address).or_default();
    }

    pub fn set_open(&self, address: u8, cell: u8, open: bool) {
        let mut boards = self.lock();
        let cells = &mut boards.entry(address).or_default().open;
        if open {
            cells.insert(cell)
        } else {
            cells.remove(&cell)
        };
    }

    pub fn set_silent(&self, address: u8, silent: bool) {
        self.lock().entry(address).or_default().silent = silent;
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
        let mut heard = Vec::new();
        let mut chunk = [0; 64];
        while let Ok(n @ 1..) = line.read(&mut chunk).await {
            heard.extend_from_slice(&chunk[..n]);
            while let Some(frame) = heard.first_chunk::<5>().copied() {
                match frame {
                    [READ, address, 0, MARK, check] if check == READ ^ address ^ MARK => {
                        heard.drain(..frame.len());
                        if let Some(reply) = self.reply(address)
                            && line.write_all(&reply).await.is_err()
                        {
                            return;
                        }
                    }
                    _ => drop(heard.remove(0)),
                }
            }
        }
    }

    fn reply(&self, address: u8) -> Option<[u8; 7]> {
        let boards = self.lock();
        let board = boards.get(&address).filter(|board| !board.silent)?;
        let closed = (1..=CELLS).filter(|cell| !board.open.contains(cell));
        let bits = closed.fold(0u32, |bits, cell| bits | 1 << (cell - 1));
        let [_, high, middle, low] = bits.to_be_bytes();
        let check = READ ^ address ^ high ^ middle ^ low ^ MARK;
        Some([READ, address, high, middle, low, MARK, check])
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Board>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
