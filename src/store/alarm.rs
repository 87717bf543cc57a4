//! Damage that is met while the daemon runs: a row that does not fit its sum, a page that cannot be.
//!
//! Nothing of it is sent or shown. A mark is left beside the journal, so that the next start reads it through, and whoever
//! built the house is told, so that this start is now. Until then whoever asks for that row again meets it again.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

use super::{Error, file, salvage};

/// Says what was met; as long as it is there, the journal is not trusted.
const MARK: &str = "journal.db.suspect";

/// What was written last was in it alone.
pub(super) const LOG_CUT: &str = "journal.db-wal was cut while it was in use";

/// Cheap to clone; without a place for the mark, as of a journal in memory, it is only said.
#[derive(Debug, Clone)]
pub struct Alarm {
    mark: Option<PathBuf>,
    said: watch::Sender<Option<String>>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { mark: None, said: watch::Sender::new(None) }
    }
}

impl Alarm {
    pub(super) fn of(dir: &Path) -> Self {
        Self { mark: Some(dir.join(MARK)), ..Self::default() }
    }

    /// What was met; `None` as long as nothing was.
    pub fn heard(&self) -> watch::Receiver<Option<String>> {
        self.said.subscribe()
    }

    /// Hands the answer on, and raises the alarm where it tells of damage.
    pub(super) fn heed<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if let Err(Error::Sql(error)) = &answer
            && (file::is_damage(error) || salvage::is_strange(error))
        {
            let what = error.to_string();
            self.raise(if file::is_short(error) { LOG_CUT } else { &what });
        }
        answer
    }

    pub(super) fn raise(&self, what: &str) {
        let first = self.said.send_if_modified(|said| {
            let first = said.is_none();
            said.get_or_insert_with(|| what.to_owned());
            first
        });
        if !first {
            return;
        }
        tracing::error!(
            what,
            "the journal is damaged; it is read through and what is whole goes on under a new epoch"
        );
        if let Some(mark) = &self.mark
            && let Err(error) = fs::write(mark, what)
        {
            tracing::warn!(%error, "the journal could not be marked as damaged");
        }
    }
}

/// What an earlier run met.
pub(super) fn marked(dir: &Path) -> Option<String> {
    let mark = fs::read(dir.join(MARK)).ok()?;
    Some(String::from_utf8_lossy(&mark).into_owned())
}

/// The journal was read through.
pub(super) fn unmark(dir: &Path) {
    if let Err(error) = fs::remove_file(dir.join(MARK))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the mark of a damaged journal could not be removed; the next start reads it through");
    }
}

/// As SQLite itself would say it.
pub(super) fn damage(what: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(what))
}
