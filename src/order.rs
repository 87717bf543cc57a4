//! Noun: what a person or the centre wants a device to do, what a wire is told of it, and what came of it.
//!
//! An [`Order`] comes in at the API, is judged against what the configuration allows, written down, and goes to the wire
//! as a [`Deed`]; the wire answers with a [`Done`], which is written down and told.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::reading::{DeviceId, Millis};

/// As it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub device: Arc<str>,
    /// `open`, `pulse`, `on`, …: a word of the configuration's.
    pub action: String,
    /// `cell-3`, `relay-1`; empty where the device has one.
    pub target: String,
    pub reason: Option<String>,
    pub by: String,
    pub expires_at: Option<Millis>,
    /// The same key twice happens once.
    pub key: String,
}

/// An order with the place where its answer goes.
#[derive(Debug)]
pub struct Wish {
    pub order: Order,
    /// Told once it is written down, before the wire is told.
    pub begun: oneshot::Sender<()>,
    pub answer: oneshot::Sender<Result<Outcome, Refused>>,
}

/// What the wire is told: the `nth` of the commands that it knows of this device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Of this run of the daemon; comes back in [`Done`].
    pub number: u64,
    pub device: DeviceId,
    pub nth: usize,
    /// Not to be begun any more from then on, by the steady clock: whoever sets the other one makes no order live longer.
    pub until: Option<Instant>,
}

impl Deed {
    pub fn is_late(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

/// What the wire says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub number: u64,
    pub at: Millis,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The device took it, and where it can be read back, it is so. Whether a door moved is another matter.
    Executed {
        /// For people: `relay-1 reads on`.
        what: String,
    },
    /// It did not happen.
    Failed { why: String },
    /// It may have happened: the device did not answer.
    Unsure { why: String },
}

impl Outcome {
    /// Its word, and what is to be said of it.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Outcome::Executed { what } => ("executed", what),
            Outcome::Failed { why } => ("failed", why),
            Outcome::Unsure { why } => ("unsure", why),
        }
    }

    /// From its word; an unknown one says nothing for sure.
    pub fn of(word: &str, detail: String) -> Self {
        match word {
            "executed" => Outcome::Executed { what: detail },
            "failed" => Outcome::Failed { why: detail },
            _ => Outcome::Unsure { why: detail },
        }
    }
}

/// Why it was not even tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no device `{0}`")]
    Unknown(Arc<str>),
    #[error("{0}")]
    NotAllowed(String),
    #[error("the order expired at {0}")]
    Expired(String),
    /// The key has been used for something else.
    #[error("the key `{0}` belongs to another order")]
    KeyTaken(String),
    #[error("{0}")]
    Busy(String),
}
