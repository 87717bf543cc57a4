//! The corridor: receives readings and people's actions, refines, asks the rules, writes what they caused in one
//! transaction. The only writer of the journal.

use tokio::sync::oneshot;

use crate::ticket::{Action, Refusal, Ticket};

/// An action with the place where its answer goes.
#[derive(Debug)]
pub struct Ask {
    pub action: Action,
    pub answer: oneshot::Sender<Result<Ticket, Refusal>>,
}
