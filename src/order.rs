//! Noun: what a person or the centre wants a device to do, what a wire is told of it, and what came of it.
//!
//! An [`Order`] comes in at the API, is judged against what the configuration allows, written down, and goes to the wire
//! as a [`Deed`]; the wire answers with a [`Done`], which is written down and told.

use std::sync::Arc;
use std::time::Duration;

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
    /// As said: a person's name.
    pub by: String,
    pub role: Role,
    /// By which door it came in: the token's name, a `[[sync]]`'s; `api` where no token is needed.
    pub via: Arc<str>,
    pub expires_at: Option<Millis>,
    /// The same key twice happens once.
    pub key: String,
}

/// In whose name it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Somebody who waits for the answer.
    Technician,
    /// A server, far away; what it says may have been on its way for long.
    Central,
}

impl Role {
    pub const ALL: [Role; 2] = [Role::Technician, Role::Central];

    pub fn word(self) -> &'static str {
        match self {
            Role::Technician => "technician",
            Role::Central => "central",
        }
    }

    /// From its word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }
}

/// An order with the place where its answer goes.
#[derive(Debug)]
pub struct Wish {
    pub order: Order,
    /// Why it must not be given whatever it says: it is written down as refused, and no more.
    pub refused: Option<Refused>,
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
    /// The device took it. Whether anything moved is another matter.
    Executed {
        /// For people: `the board took the order for cell-3`.
        what: String,
    },
    /// The device took it, and reads as ordered.
    ReadBack {
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
            Outcome::Executed { what } | Outcome::ReadBack { what } => ("executed", what),
            Outcome::Failed { why } => ("failed", why),
            Outcome::Unsure { why } => ("unsure", why),
        }
    }

    /// What is known of the physical world by now. That a door or cell opened is told later, by an event of its own.
    pub fn effect(&self) -> &'static str {
        match self {
            Outcome::ReadBack { .. } => READ_BACK,
            Outcome::Failed { .. } => "none",
            Outcome::Executed { .. } | Outcome::Unsure { .. } => "unknown",
        }
    }

    /// From its words; an unknown one says nothing for sure.
    pub fn of(word: &str, effect: &str, detail: String) -> Self {
        match word {
            "executed" if effect == READ_BACK => Outcome::ReadBack { what: detail },
            "executed" => Outcome::Executed { what: detail },
            "failed" => Outcome::Failed { why: detail },
            _ => Outcome::Unsure { why: detail },
        }
    }
}

const READ_BACK: &str = "read-back";

/// Why it was not even tried; each has its word in the journal and in the API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is no device `{0}`")]
    Unknown(Arc<str>),
    #[error("{0}")]
    NotAllowed(String),
    /// It is allowed, and not to this one.
    #[error("{0}")]
    WrongRole(String),
    #[error("`{0}` is done for a reason only; say it in `reason`")]
    NoReason(String),
    #[error("{0}")]
    OutsideHours(String),
    /// Likewise, and after how long it may be asked again.
    #[error("{0}")]
    TooOften(String, Duration),
    #[error("the order expired at {0}")]
    Expired(String),
    /// It needs one.
    #[error("{0}")]
    NoExpiry(String),
    #[error(
        "`expires_at` is {0}, more than 7 days ahead; an order from far away is good for 7 days at the most"
    )]
    TooFarAhead(String),
    /// By this clock nobody can say whether it is too late.
    #[error("{0}")]
    ClockUnsynced(String),
    /// The key has been used for something else.
    #[error("the key `{0}` belongs to another order")]
    KeyTaken(String),
    /// The key has been used, and what for is not known any more.
    #[error("an order under the key `{0}` was given before; what came of it is no longer kept")]
    KeyUsed(String),
    /// It may have been given in what was lost of the journal.
    #[error("{0}")]
    KeysLost(String),
    /// A server that may not give orders gave one.
    #[error("{0}")]
    NotFromThere(String),
    /// It does not read.
    #[error("{0}")]
    Malformed(String),
    /// More at one time than are taken.
    #[error("{0}")]
    TooMany(String),
    #[error("{0}")]
    Busy(String),
}

impl Refused {
    /// Every word, in the order of [`Refused::index`].
    pub const WORDS: [&str; 17] = [
        "unknown",
        "not-allowed",
        "wrong-role",
        "no-reason",
        "outside-hours",
        "too-often",
        "expired",
        "no-expiry",
        "too-far-ahead",
        "clock-unsynced",
        "key-taken",
        "key-used",
        "keys-lost",
        "not-from-there",
        "malformed",
        "too-many-orders",
        "busy",
    ];

    pub fn index(&self) -> usize {
        match self {
            Refused::Unknown(_) => 0,
            Refused::NotAllowed(_) => 1,
            Refused::WrongRole(_) => 2,
            Refused::NoReason(_) => 3,
            Refused::OutsideHours(_) => 4,
            Refused::TooOften(..) => 5,
            Refused::Expired(_) => 6,
            Refused::NoExpiry(_) => 7,
            Refused::TooFarAhead(_) => 8,
            Refused::ClockUnsynced(_) => 9,
            Refused::KeyTaken(_) => 10,
            Refused::KeyUsed(_) => 11,
            Refused::KeysLost(_) => 12,
            Refused::NotFromThere(_) => 13,
            Refused::Malformed(_) => 14,
            Refused::TooMany(_) => 15,
            Refused::Busy(_) => 16,
        }
    }

    pub fn word(&self) -> &'static str {
        Self::WORDS[self.index()]
    }
}
