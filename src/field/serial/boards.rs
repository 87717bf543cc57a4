//! The boards of one line: what they are asked, and what their answers amount to.

use std::sync::Arc;

use super::line::Line;
use super::lock_board::Status;
use super::{Board, Protocol, Settings};
use crate::field::poll::{self, Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::reading::{Millis, Reading, Reason, Value};
use crate::time::now;

#[derive(Debug)]
pub struct Boards {
    line: Line,
    boards: Vec<Asked>,
    texts: Texts,
}

#[derive(Debug)]
struct Asked {
    board: Board,
    /// An answer to an older question may still come.
    in_doubt: bool,
}

/// The two words of every cell, made once.
#[derive(Debug)]
struct Texts {
    open: Arc<str>,
    closed: Arc<str>,
}

impl Boards {
    pub fn new(settings: Settings) -> Self {
        let boards = settings.boards.into_iter().map(|board| Asked { board, in_doubt: false });
        Self {
            boards: boards.collect(),
            line: Line::new(&settings.wire, settings.timeout),
            texts: Texts { open: "open".into(), closed: "closed".into() },
        }
    }

    /// As they are polled.
    pub fn devices(&self) -> Vec<poll::Device> {
        let polled = |Asked { board, .. }: &Asked| poll::Device {
            id: board.id,
            every: board.poll,
            points: board.cells.clone(),
            questions: 1,
        };
        self.boards.iter().map(polled).collect()
    }
}

impl Ask for Boards {
    /// There is one question: all cells.
    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        _question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let Asked { board, in_doubt } = &mut self.boards[device];
        let asked = self.line.ask(link, board.address, board.cells.len(), *in_doubt).await;
        match asked {
            Ok(_) => *in_doubt = false,
            Err(Failure::Silent | Failure::Wrong) => *in_doubt = true,
            Err(_) => {}
        }
        readings.extend(cells(board, &asked?, &self.texts, now()));
        Ok(Answer::Read)
    }
}

fn cells(board: &Board, status: &Status, texts: &Texts, at: Millis) -> impl Iterator<Item = Reading> {
    let Protocol::LockBoard8a { feedback, first_byte } = board.protocol;
    let cells = board.cells.iter().enumerate();
    cells.map(move |(cell, &point)| match status.is_open(cell, feedback, first_byte) {
        Some(open) => {
            let text = if open { &texts.open } else { &texts.closed };
            Reading::good(point, at, Value::Text(text.clone()))
        }
        None => Reading::bad(point, at, Reason::Unreadable),
    })
}
