//! The only SQL. Opens into ends: [`Journal`] (write), [`Outbox`] (read by cursor, settle), [`View`] (read only),
//! [`History`] (readings, disposable).

mod standin; // thrown away at merge
pub use standin::*;

use std::path::PathBuf;
use std::time::Duration;

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
