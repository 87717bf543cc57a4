//! Noun: somebody asks that the configuration be read anew, and what comes of it.

use tokio::sync::oneshot;

/// Asked of who holds the house together.
#[derive(Debug)]
pub struct Reload {
    /// Who asks.
    pub by: String,
    pub answer: oneshot::Sender<Result<Reloaded, Refused>>,
}

/// What it did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// A sentence each: `rule pump-pressure-low: below 200 → 190`.
    pub changed: Vec<String>,
    /// What was begun anew for it: `plant`, `push crm`; `gateway` where all of it was.
    pub restarted: Vec<String>,
    /// All of it is about to begin anew; whether that works here shows only then.
    pub is_to_come: bool,
}

/// Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// For people, as `gatehouse check` prints it.
    pub text: String,
    /// Where it is the files.
    pub mistakes: Vec<Mistake>,
}

/// One that the files have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// `E201`: its section in docs/errors.md.
    pub code: &'static str,
    pub file: String,
    /// From 1, both; `None`: the file as a whole.
    pub place: Option<(usize, usize)>,
    pub what: String,
    pub cure: String,
}
