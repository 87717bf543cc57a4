//! A locker's board: what it is asked, what its answers say of cells and items, and whether it takes an order to open.

use std::sync::Arc;
use std::time::Duration;

use super::bits::Bits;
use super::line::{End, Line, Question};
use super::winnsen::Opened;
use super::{Feedback, Locker, Protocol, kr_cu16, kr_cu48, lock_board, winnsen};
use crate::field::poll::Failure;
use crate::field::wire::Link;
use crate::reading::{Millis, PointId, Reading, Reason, Value};

/// What one answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// A contact a cell (true: closed), and an item a cell where the board sees them.
    All { contacts: Bits, items: Option<Bits> },
    /// Of the one cell that was asked for; `None` where it answered with a word that is not known.
    Open { cell: usize, open: Option<bool> },
}

/// What a board says of an order to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Yes,
    No(&'static str),
    /// This protocol has no word for it.
    Untold,
}

/// The words of cells and items, made once.
#[derive(Debug)]
pub struct Words {
    open: Arc<str>,
    closed: Arc<str>,
    present: Arc<str>,
    absent: Arc<str>,
}

/// A KR-CU16 is left so long after an order, and after the question that makes it free again.
const KR_CU16_PULSE: Duration = Duration::from_millis(100);

impl Default for Words {
    fn default() -> Self {
        Self {
            open: "open".into(),
            closed: "closed".into(),
            present: "present".into(),
            absent: "absent".into(),
        }
    }
}

impl Words {
    pub fn cell(&self, open: bool) -> Value {
        Value::Text(if open { &self.open } else { &self.closed }.clone())
    }

    fn item(&self, present: bool) -> Value {
        Value::Text(if present { &self.present } else { &self.absent }.clone())
    }
}

impl Locker {
    /// What makes one poll: one question for all cells, or one for each.
    pub fn questions(&self) -> usize {
        match self.protocol {
            Protocol::Winnsen16 => self.cells.len(),
            _ => 1,
        }
    }

    /// The question that reads the cell with this index.
    pub fn question_of(&self, cell: usize) -> usize {
        match self.protocol {
            Protocol::Winnsen16 => cell,
            _ => 0,
        }
    }

    /// For people.
    pub fn describe(&self, question: usize) -> String {
        let board = self.address;
        match self.protocol {
            Protocol::Winnsen16 => format!("cell {} of board {board}", question + 1),
            _ => format!("all cells of board {board}"),
        }
    }

    pub fn points(&self) -> Vec<PointId> {
        self.cells.iter().chain(&self.items).copied().collect()
    }

    /// How a door shows in its contact.
    pub fn feedback(&self) -> Feedback {
        match self.protocol {
            Protocol::LockBoard8a { feedback, .. }
            | Protocol::KrCu16 { feedback }
            | Protocol::KrCu48 { feedback } => feedback,
            Protocol::Winnsen16 => Feedback::default(),
        }
    }

    pub async fn ask(&self, line: &mut Line, link: &mut Link, question: usize) -> Result<Said, Failure> {
        let board = self.address;
        match self.protocol {
            Protocol::LockBoard8a { first_byte, .. } => {
                let (frame, cells) = (lock_board::read_all(board), self.cells.len());
                let find = |heard: &[u8]| lock_board::contacts(heard, board, cells, first_byte);
                line.ask(link, asks(&frame, lock_board::all_bytes(cells)), find).await.map(Said::of)
            }
            Protocol::KrCu16 { .. } => {
                let frame = kr_cu16::status(board);
                let find = |heard: &[u8]| kr_cu16::answer(heard, board);
                let status = line.ask(link, asks(&frame, kr_cu16::STATUS_BYTES), find).await?;
                Ok(Said::All { contacts: status.hooks, items: Some(status.items) })
            }
            Protocol::KrCu48 { .. } => {
                let frame = kr_cu48::status(board);
                let find = |heard: &[u8]| kr_cu48::answer(heard, board);
                line.ask(link, asks(&frame, kr_cu48::STATUS_BYTES), find).await.map(Said::of)
            }
            Protocol::Winnsen16 => {
                let (frame, lock) = (winnsen::status(board, question as u8), question as u8);
                let find = |heard: &[u8]| winnsen::answer(heard, board, lock);
                let open = line.ask(link, asks(&frame, winnsen::ANSWER_BYTES), find).await?;
                Ok(Said::Open { cell: question, open })
            }
        }
    }

    /// Orders the cell with this index to open, once.
    pub async fn open(&self, line: &mut Line, link: &mut Link, cell: u8) -> Result<Taken, Failure> {
        let board = self.address;
        match self.protocol {
            Protocol::LockBoard8a { .. } => {
                let (frame, echoes) = (lock_board::open(board, cell), line.echoes());
                let find = |heard: &[u8]| {
                    let heard = if echoes { heard.strip_prefix(&frame).unwrap_or(heard) } else { heard };
                    lock_board::opened(heard, board, cell).then_some(Taken::Yes)
                };
                line.ask(link, orders(&frame), find).await
            }
            Protocol::KrCu16 { .. } => {
                line.tell(link, &kr_cu16::open(board, cell), KR_CU16_PULSE).await?;
                line.tell(link, &kr_cu16::no_longer_busy(board), KR_CU16_PULSE).await?;
                Ok(Taken::Untold)
            }
            Protocol::KrCu48 { .. } => {
                let frame = kr_cu48::open(board, cell);
                let find = |heard: &[u8]| kr_cu48::opened(heard, board, cell).then_some(Taken::Yes);
                line.ask(link, orders(&frame), find).await
            }
            Protocol::Winnsen16 => {
                let frame = winnsen::open(board, cell);
                let find = |heard: &[u8]| winnsen::opened(heard, board, cell).map(Taken::of);
                line.ask(link, orders(&frame), find).await
            }
        }
    }

    /// What an answer comes to.
    pub fn readings(&self, said: Said, words: &Words, at: Millis) -> Vec<Reading> {
        let good = |point: PointId, value: Option<Value>| match value {
            Some(value) => Reading::good(point, at, value),
            None => Reading::bad(point, at, Reason::Unreadable),
        };
        match said {
            Said::Open { cell, open } => {
                let point = self.cells.get(cell);
                point.map(|point| good(*point, open.map(|open| words.cell(open)))).into_iter().collect()
            }
            Said::All { contacts, items } => {
                let open =
                    |cell| contacts.get(cell).map(|closed| lock_board::is_open(closed, self.feedback()));
                let present = |cell| items.and_then(|items| items.get(cell));
                let cells =
                    self.cells.iter().enumerate().map(|(n, p)| good(*p, open(n).map(|o| words.cell(o))));
                let items = self.items.iter().enumerate();
                cells.chain(items.map(|(n, p)| good(*p, present(n).map(|i| words.item(i))))).collect()
            }
        }
    }
}

impl Protocol {
    /// As its profile is called.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::LockBoard8a { .. } => "lock-board-8a",
            Protocol::KrCu16 { .. } => "kr-cu16",
            Protocol::KrCu48 { .. } => "kr-cu48",
            Protocol::Winnsen16 => "winnsen-16",
        }
    }

    /// Whether a board of this kind can have this address.
    pub fn can_be_at(self, address: u8) -> bool {
        match self {
            Protocol::LockBoard8a { .. } => (1..=32).contains(&address),
            Protocol::KrCu16 { .. } => address <= 0x0F,
            Protocol::KrCu48 { .. } => true,
            Protocol::Winnsen16 => (1..=4).contains(&address),
        }
    }
}

impl Said {
    fn of(contacts: Bits) -> Self {
        Said::All { contacts, items: None }
    }
}

impl Taken {
    fn of(opened: Opened) -> Self {
        match opened {
            Opened::Done => Taken::Yes,
            Opened::Failed => Taken::No("the board says that it failed"),
            Opened::CoolsDown => {
                Taken::No("the board says that the lock cools down: asked for again too soon")
            }
        }
    }
}

fn asks(frame: &[u8], answer: usize) -> Question<'_> {
    Question { frame, answer, end: End::Silence, is_order: false }
}

fn orders(frame: &[u8]) -> Question<'_> {
    Question { frame, answer: kr_cu48::STATUS_BYTES, end: End::Silence, is_order: true }
}
