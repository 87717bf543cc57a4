//! One board or meter of a line, whichever it is: its questions and its points.

use std::mem;
use std::time::Duration;

use super::meter::Meter;
use super::{Board, Kind, Locker, Protocol};
use crate::reading::{DeviceId, PointId};

#[derive(Debug)]
pub struct Asked {
    pub id: DeviceId,
    pub poll: Duration,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Locker {
        locker: Locker,
        /// An answer to an older question may still come.
        in_doubt: bool,
    },
    Meter(Meter),
}

impl Asked {
    pub fn new(Board { id, poll, kind }: Board) -> Self {
        let what = match kind {
            Kind::Locker(locker) => What::Locker { locker, in_doubt: false },
            Kind::Meter(meter) => What::Meter(Meter::new(id, meter)),
        };
        Self { id, poll, what }
    }

    /// A board of the family that says by itself when a contact changed.
    pub fn as_speaker(&self) -> Option<&Locker> {
        match &self.what {
            What::Locker { locker, .. } => {
                matches!(locker.protocol, Protocol::LockBoard8a { .. }).then_some(locker)
            }
            What::Meter(_) => None,
        }
    }

    pub fn questions(&self) -> usize {
        match &self.what {
            What::Locker { locker, .. } => locker.questions(),
            What::Meter(meter) => meter.questions(),
        }
    }

    pub fn points(&self) -> Vec<PointId> {
        match &self.what {
            What::Locker { locker, .. } => locker.points(),
            What::Meter(meter) => meter.points(),
        }
    }

    /// What reads this point, or all of them.
    pub fn questions_of(&self, point: Option<PointId>) -> Vec<usize> {
        let Some(point) = point else { return (0..self.questions()).collect() };
        let question = match &self.what {
            What::Meter(meter) => meter.question_of(point),
            What::Locker { locker, .. } => match locker.cells.iter().position(|cell| *cell == point) {
                Some(cell) => Some(locker.question_of(cell)),
                None => locker.items.contains(&point).then_some(0),
            },
        };
        question.into_iter().collect()
    }

    /// For people.
    pub fn describe(&self, question: usize) -> String {
        match &self.what {
            What::Locker { locker, .. } => locker.describe(question),
            What::Meter(meter) => meter.describe(question),
        }
    }
}

/// One of each protocol on this line; those of one protocol differ in their addresses only.
pub fn kinds_on(boards: &[Board]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = Vec::new();
    for board in boards {
        let is_known = kinds.iter().any(|known| match (known, &board.kind) {
            (Kind::Locker(a), Kind::Locker(b)) => {
                mem::discriminant(&a.protocol) == mem::discriminant(&b.protocol)
            }
            (Kind::Meter(a), Kind::Meter(b)) => {
                mem::discriminant(&a.protocol) == mem::discriminant(&b.protocol)
            }
            _ => false,
        });
        if !is_known {
            kinds.push(board.kind.clone());
        }
    }
    kinds
}
