//! The only SQL. Opens into ends: [`Journal`] (write), [`Outbox`] (read by cursor, settle), [`View`] (read only),
//! [`History`] (readings, disposable).
//!
//! Two stores, because they fail differently. `journal.db` holds events, tickets, orders, the state of the rules and of the
//! doors, and the cursors of the consumers; a commit is on the disk when it returns. `history/` holds readings; it may lose
//! its last minutes, and what is broken of it is passed over or put aside, without harm to any ticket.
//!
//! # The history
//!
//! ```text
//! Reading ─▶ gathered (series · chunk, in memory) ─▶ frame ─▶ segment `readings-00000017`
//!                                                                 └─ full: roll ─▶ `minutes-…` ─▶ `hours-…`
//! ```
//!
//! Files are written at their end only and deleted as a whole, so flash takes each byte once. When room is wanted the
//! readings go first, then the minutes, the hours last.

mod bits;
mod chunk;
mod column;
mod file;
mod frame;
mod gathered;
mod history;
mod journal;
mod legacy;
mod maintenance;
mod orders;
mod outbox;
mod past;
mod roll;
mod rollup;
mod scribe;
mod segment;
mod series;
mod shelf;
mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::Stored;

pub use history::{History, SAMPLES_MAX};
pub use journal::{CLOSED_REMEMBERED, DeviceRow, EpisodeRow, Journal, Memory, Page, TicketRow};
pub use maintenance::MaintenanceRow;
pub use orders::{AccessRow, ORDERS_KEPT, ORDERS_MAX, OrderRow};
pub use outbox::{Outbox, Settled};
pub use past::{Piece, Readings};
pub use rollup::{Summary, Values};
pub use series::Sample;
pub use view::{ASIDE_SHOWN_MAX, ConsumerNow, Filter, TICKETS_MAX, View};

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub dir: PathBuf,
    /// Acknowledged events only.
    pub events_keep: Duration,
    pub readings_keep: Duration,
    /// Bytes; readings give way first, tickets never.
    pub disk_limit: u64,
}

pub const EVENTS_KEEP_DEFAULT: Duration = Duration::from_secs(90 * 24 * 3600);
pub const READINGS_KEEP_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
pub const DISK_LIMIT_DEFAULT: u64 = 2 << 30;
/// A day; three times what thousands of points at one a second need.
pub const WRITE_BUDGET_DEFAULT: u64 = 1 << 30;

/// What an open store consists of; who holds which end is the architecture.
#[derive(Debug)]
pub struct Ends {
    pub journal: Journal,
    pub outbox: Outbox,
    pub view: View,
    pub history: History,
}

/// Events in order, as far as the limits let them go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slice {
    pub events: Vec<Stored>,
    /// Everything up to here has been looked at, what was left out included; go on after it.
    pub next: u64,
    /// The journal's last number.
    pub head: u64,
}

/// How a consumer gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Push,
    Pull,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Push => "push",
            Kind::Pull => "pull",
        }
    }

    fn named(word: &str) -> Kind {
        if word == "push" { Kind::Push } else { Kind::Pull }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {why}; the daemon's user needs to read and write there")]
    Directory { path: PathBuf, why: std::io::Error },
    #[error(
        "{0} is in use by another gatehouse; stop that one first, or give this one a data_dir of its own"
    )]
    InUse(PathBuf),
    #[error(
        "{path} holds the data of gateway `{theirs}`, not of `{ours}`; set gateway.id back, or give this gateway a data_dir of its own"
    )]
    OtherGateway { path: PathBuf, theirs: String, ours: String },
    #[error(
        "{path} was written by a newer gatehouse (format {theirs}, this one knows {ours}); install that one again"
    )]
    Newer { path: PathBuf, theirs: i64, ours: i64 },
    #[error("{path} is damaged ({what}); move it away to begin a new journal, and keep it for repair")]
    Damaged { path: PathBuf, what: String },
    /// `oldest` is a cursor: what is kept begins after it.
    #[error("events up to {oldest} are no longer kept; go on after {oldest}")]
    Gone { oldest: u64 },
    #[error("{asked} is above the journal's head {head}")]
    AheadOfJournal { asked: u64, head: u64 },
    #[error("consumer `{0}` is named in the configuration; take it out there first")]
    Configured(String),
    #[error("there are already {0} consumers; forget one that is gone first")]
    TooManyConsumers(usize),
    #[error("ticket {id} cannot be written as JSON: {source}")]
    Ticket { id: String, source: serde_json::Error },
    #[error(
        "{path}: {why}; see whether the disk is full or failing, and whether the daemon's user may write there"
    )]
    History { path: PathBuf, why: std::io::Error },
    /// The task that was to do it ended before it did.
    #[error("interrupted: {0}")]
    Interrupted(String),
    #[error("the data directory cannot be used now: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// Whether a daemon has this data directory open now.
pub fn in_use(dir: &Path) -> bool {
    dir.join("lock").exists() && matches!(file::lock(dir), Err(Error::InUse(_)))
}

/// The readings of a data directory, beside a daemon that may be writing to it; `None`: there are none.
pub fn recorded(dir: &Path) -> Result<Option<Readings>, Error> {
    let readings = Readings::open(dir, None)?;
    Ok(readings.since()?.map(|_| readings))
}

/// Opens the data directory, or makes it; brings an older format up to date and checks the journal.
/// Refuses the data of another gateway.
pub fn open(settings: &Settings, gateway: &str) -> Result<Ends, Error> {
    let dir = &settings.dir;
    let directory = |why| Error::Directory { path: dir.clone(), why };
    fs::create_dir_all(dir).map_err(directory)?;
    let lock = file::lock(dir)?;
    let history = History::open(dir);
    let journal = Journal::open(dir, gateway, lock, history.last_flush())?;
    let outbox = Outbox::open(dir)?;
    let view = View::open(dir, journal.epoch().clone(), history.gathered())?;
    Ok(Ends { journal, outbox, view, history })
}
