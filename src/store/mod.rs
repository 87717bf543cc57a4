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

mod ahead;
mod alarm;
pub mod backup;
mod bits;
mod carry;
mod chain;
mod chunk;
mod column;
mod damage;
mod erasure;
mod expiry;
mod file;
mod frame;
mod gathered;
mod give_way;
mod history;
mod inspect;
mod journal;
mod keyring;
mod keys;
mod landing;
mod legacy;
mod maintenance;
mod mark;
pub mod memory;
mod orders;
mod outbox;
mod overlay;
mod past;
mod rescue;
mod reseal;
mod reserve;
pub mod restore;
mod roll;
mod rollup;
pub mod room;
mod salvage;
mod scribe;
mod scrub;
mod seal;
mod segment;
mod series;
mod shelf;
mod story;
mod sum;
mod tables;
pub mod verify;
mod view;
mod wal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::event::Stored;

pub use ahead::AHEAD_MAX;
pub use alarm::Alarm;
pub use erasure::{Asked, ERASURES_MAX, Erased};
pub use history::{History, SAMPLES_MAX};
pub use inspect::{Inspection, inspect, locked, stale};
pub use journal::{Before, CLOSED_REMEMBERED, DeviceRow, EpisodeRow, Journal, Memory, Page, TicketRow};
pub use keys::{KEYS_MAX, Known as OrdersKnown};
pub use maintenance::MaintenanceRow;
pub use orders::{AccessRow, ORDERS_KEPT, ORDERS_MAX, OrderRow};
pub use outbox::{Outbox, Pending, Settled};
pub use past::{Piece, Readings};
pub use reseal::Resealed;
pub use rollup::{Summary, Values};
pub use seal::Seal;
pub use series::Sample;
pub use story::Coming;
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

impl Settings {
    /// What holds where nothing else is said.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            events_keep: EVENTS_KEEP_DEFAULT,
            readings_keep: READINGS_KEEP_DEFAULT,
            disk_limit: DISK_LIMIT_DEFAULT,
        }
    }
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
    #[error("{path}: {why}")]
    File { path: PathBuf, why: std::io::Error },
    #[error("{0} is no backup; name a file that `gatehouse backup` has written, or a data directory")]
    NoBackup(PathBuf),
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
    #[error("{0} erasures wait until every required consumer has heard of them; ask again when they have")]
    TooManyErasures(usize),
    /// Rows that were written under a key that is not at hand are not damaged.
    #[error(
        "the journal is sealed with key {0}, which the configuration does not name; write that key's secret as `store_key` of `[privacy]`, or among `store_key_before`"
    )]
    Locked(String),
    #[error("nothing can be sealed, since the system gives no random numbers")]
    Unsealed,
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

impl Error {
    /// The card takes no writes: it can only be read, is broken, or is full. Whoever may only not write there, or has
    /// named another's directory, has made a mistake that is theirs to mend.
    pub fn is_refusal(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DiskFull, ReadOnly, SystemIoFailure};
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match self {
            Error::Sql(error) if file::is_damage(error) => false,
            Error::Sql(error) => {
                matches!(error.sqlite_error_code(), Some(CannotOpen | DiskFull | ReadOnly | SystemIoFailure))
            }
            Error::Directory { why, .. } => {
                let broken = why.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
                broken || matches!(why.kind(), QuotaExceeded | ReadOnlyFilesystem | StorageFull)
            }
            _ => false,
        }
    }

    /// There is no room for it. Anything else passes by itself or not at all.
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Sql(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }
}

/// Whether a daemon has this data directory open now.
pub fn in_use(dir: &Path) -> bool {
    file::is_locked(dir)
}

/// Bytes of the journal and of the history on the disk, with what is not yet in the main file of each.
pub fn sizes(dir: &Path) -> (u64, u64) {
    let bytes = |path: PathBuf| fs::metadata(path).map_or(0, |about| about.len());
    let database = |name: &str| {
        let path = dir.join(name);
        file::beside(&path).into_iter().chain([path]).map(bytes).sum::<u64>()
    };
    let segments = fs::read_dir(dir.join(segment::FOLDER)).into_iter().flatten().flatten();
    (
        database(file::JOURNAL),
        database(file::HISTORY) + segments.map(|entry| bytes(entry.path())).sum::<u64>(),
    )
}

/// The readings of a data directory, beside a daemon that may be writing to it; `None`: there are none.
pub fn recorded(dir: &Path) -> Result<Option<Readings>, Error> {
    let readings = Readings::open(dir, None)?;
    Ok(readings.since()?.map(|_| readings))
}

/// Opens the data directory, or makes it; brings an older format up to date and checks the journal.
/// Refuses the data of another gateway.
pub fn open(settings: &Settings, gateway: &str) -> Result<Ends, Error> {
    open_sealed(settings, gateway, &Seal::none())
}

/// Likewise, with the key under which texts about people are sealed.
pub fn open_sealed(settings: &Settings, gateway: &str, seal: &Seal) -> Result<Ends, Error> {
    let dir = &settings.dir;
    let directory = |why| Error::Directory { path: dir.clone(), why };
    fs::create_dir_all(dir).map_err(directory)?;
    let lock = file::lock(dir)?;
    file::permitted(dir)?;
    landing::finish(dir)?;
    let traces = damage::has_traces(dir);
    let history = History::open(dir);
    let flushed = history.last_flush();
    let mut journal = Journal::open(dir, gateway, seal, lock, flushed, traces);
    if journal.as_ref().is_err_and(Error::is_full) && reserve::give_up(dir) {
        tracing::warn!("the disk is full at the start; the reserve is given up");
        journal = Journal::open(dir, gateway, seal, file::lock(dir)?, flushed, traces);
    }
    let mut journal = journal?;
    let outbox = Outbox { between: journal.between.clone(), ..Outbox::open(dir, seal, journal.alarm())? };
    journal.outbox = Some(outbox.clone());
    let view = View::open(dir, journal.epoch().clone(), seal, history.gathered(), journal.alarm())?;
    Ok(Ends { journal, outbox, view, history })
}
