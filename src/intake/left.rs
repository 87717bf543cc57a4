//! What intake leaves behind at its end: the journal, and what that did not take. Whoever finds another place for it
//! writes it there, and only then the askers are told.

use tokio::sync::{oneshot, watch};

use super::{Answer, Corridor, Maintained};
use crate::receipt::Receipt;
use crate::store::{Error, Journal, Page};

/// Nothing but the journal, where all was written.
#[derive(Debug)]
pub struct Left {
    pub journal: Journal,
    /// Blank: all was written.
    pub page: Page,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    maintained: Vec<(oneshot::Sender<Maintained>, Maintained)>,
    receipts: Vec<Receipt>,
}

impl Left {
    /// The page is written: who waits for that is told. Without this they hear that nothing is certain. Orders are not
    /// given: the next start tells of them as unsure.
    pub fn settled(&mut self) {
        for receipt in self.receipts.drain(..) {
            receipt.sign();
        }
        for (answer, done) in self.answers.drain(..) {
            let _ = answer.send(done);
        }
        for (answer, done) in self.maintained.drain(..) {
            let _ = answer.send(done);
        }
    }
}

/// Says once that the disk takes nothing, to whoever can do something about it.
#[derive(Debug)]
pub(super) struct Refusing {
    said: watch::Sender<Option<String>>,
}

impl Refusing {
    pub fn new(said: watch::Sender<Option<String>>) -> Self {
        Self { said }
    }
}

impl Corridor {
    pub(super) fn is_refused(&self) -> bool {
        self.refusing.said.borrow().is_some()
    }

    /// Whether anybody takes it up. A journal in memory has no place that it could go to.
    pub(super) fn gives_up(&mut self, error: &Error) -> bool {
        if self.refusing.said.is_closed() || self.intake.journal.why_in_memory().is_some() {
            return false;
        }
        self.refusing.said.send_replace(Some(error.to_string()));
        true
    }

    pub(super) fn leave(self) -> Left {
        self.intake.history.close();
        Left {
            journal: self.intake.journal,
            page: self.page,
            answers: self.answers,
            maintained: self.maintained,
            receipts: self.receipts,
        }
    }
}
