//! The boards of one line: what they are asked, and what their answers amount to.

use std::sync::Arc;
use std::time::Duration;

use super::line::Line;
use super::lock_board::Status;
use super::{Kind, Locker, Protocol, Settings};
use crate::field::poll::{self, Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::reading::{DeviceId, Millis, Reading, Reason, Value};
use crate::time::now;

#[derive(Debug)]
pub struct Boards {
    line: Line,
    boards: Vec<Asked>,
    texts: Texts,
}

#[derive(Debug)]
struct Asked {
    id: DeviceId,
    poll: Duration,
    board: Locker,
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
        let boards = settings.boards.into_iter().filter_map(|board| match board.kind {
            Kind::Locker(locker) => {
                Some(Asked { id: board.id, poll: board.poll, board: locker, in_doubt: false })
            }
            Kind::Meter(_) => None,
        });
        Self {
            boards: boards.collect(),
            line: Line::new(&settings.wire, settings.timeout),
            texts: Texts { open: "open".into(), closed: "closed".into() },
        }
    }

    /// As they are polled.
    pub fn devices(&self) -> Vec<poll::Device> {
        let polled = |Asked { id, poll, board, .. }: &Asked| poll::Device {
            id: *id,
            rounds: vec![poll::Round { every: *poll, questions: vec![0], points: board.cells.clone() }],
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
        let Asked { board, in_doubt, .. } = &mut self.boards[device];
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

fn cells(board: &Locker, status: &Status, texts: &Texts, at: Millis) -> impl Iterator<Item = Reading> {
    let (feedback, first_byte) = match board.protocol {
        Protocol::LockBoard8a { feedback, first_byte } => (feedback, first_byte),
        _ => Default::default(),
    };
    let cells = board.cells.iter().enumerate();
    cells.map(move |(cell, &point)| match status.is_open(cell, feedback, first_byte) {
        Some(open) => {
            let text = if open { &texts.open } else { &texts.closed };
            Reading::good(point, at, Value::Text(text.clone()))
        }
        None => Reading::bad(point, at, Reason::Unreadable),
    })
}
