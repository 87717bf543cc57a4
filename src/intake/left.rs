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
    /// What the disk said, when it took nothing for long.
    pub refused: Option<String>,
    pub waiting: Waiting,
}

/// Who waits for the page to be written. Dropped, they hear that nothing is certain; so do those who wait for an order,
/// of which the next start tells as unsure.
#[derive(Debug)]
pub struct Waiting {
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    maintained: Vec<(oneshot::Sender<Maintained>, Maintained)>,
    receipts: Vec<Receipt>,
}

impl Waiting {
    /// The page is written.
    pub fn settled(self) {
        for receipt in self.receipts {
            receipt.sign();
        }
        for (answer, done) in self.answers {
            // Whoever asked may have gone.
            let _ = answer.send(done);
        }
        for (answer, done) in self.maintained {
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
        // A journal that is damaged is left as it is: everything goes into the next one.
        self.refusing.said.borrow().is_some() || self.intake.journal.alarm().heard().borrow().is_some()
    }

    /// Whether anybody takes it up. A journal in memory has no place that it could go to.
    pub(super) fn gives_up(&mut self, error: &Error) -> bool {
        if self.refusing.said.is_closed() || self.intake.journal.why_in_memory().is_some() {
            return false;
        }
        self.refusing.said.send_replace(Some(error.to_string()));
        true
    }

    pub(super) fn leave(mut self) -> Left {
        if !self.page.is_blank() {
            // What the next journal was carried from may not have the last one.
            self.page.number = Some(self.number);
        }
        self.intake.history.close();
        let refused = self.refusing.said.borrow().clone();
        Left {
            refused,
            journal: self.intake.journal,
            page: self.page,
            waiting: Waiting { answers: self.answers, maintained: self.maintained, receipts: self.receipts },
        }
    }
}
