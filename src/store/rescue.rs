//! The journal's file was removed, replaced or cut while it was in use. A file that is gone can still be read through the
//! connection that has it open: all of it goes on under a new epoch, in a new file at the old place. Of one that was cut
//! goes on what can be read, and the rest is told as lost; what the rules have in memory is written on top by whoever
//! built the house.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::carry::{self, Carried, Limit, Seals};
use super::memory::Moment;
use super::{Error, Journal, alarm, file, landing};

/// The files of an open journal, as they were last seen. Only looked at by name: to open and close one of them would let
/// go of SQLite's locks.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    journal: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
    /// The journal never gives room back.
    bytes: u64,
    /// Of the log, which does so only back to [`file::LOG_KEPT`], or as a whole when it is brought home.
    pub(super) log_bytes: u64,
}

impl Seen {
    pub fn of(dir: &Path) -> Self {
        let [journal, log] = paths(dir);
        Self { journal: which(&journal), log: which(&log), bytes: bytes(&journal), log_bytes: 0 }
    }

    /// What is wrong with them now.
    fn look(&mut self, dir: &Path) -> Option<String> {
        let [journal, log] = paths(dir);
        for (path, seen) in [(&journal, self.journal), (&log, self.log)] {
            let name = path.file_name().unwrap_or_default().display();
            match which(path) {
                _ if seen.is_none() => {}
                None => return Some(format!("{name} was removed while it was in use")),
                now if now != seen => return Some(format!("{name} was replaced while it was in use")),
                _ => {}
            }
        }
        let (now, before) = (bytes(&journal), self.bytes);
        if now < before {
            return Some(format!("journal.db was cut from {before} to {now} bytes while it was in use"));
        }
        self.bytes = now;
        let now = bytes(&log);
        if now < self.log_bytes.min(file::LOG_KEPT) {
            return Some(alarm::LOG_CUT.to_owned());
        }
        self.log_bytes = now;
        None
    }
}

fn paths(dir: &Path) -> [PathBuf; 2] {
    let journal = dir.join(file::JOURNAL);
    let [log, _] = file::beside(&journal);
    [journal, log]
}

/// Where that cannot be asked, nothing is known to be wrong.
fn which(path: &Path) -> Option<(u64, u64)> {
    match fs::metadata(path) {
        Ok(about) => Some((about.dev(), about.ino())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some((0, 0)),
    }
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |about| about.len())
}

impl Journal {
    /// What has happened to the files under the open journal; the alarm is raised then. Cheap.
    pub fn look(&mut self) -> Option<String> {
        if self.afloat.is_some() {
            return None;
        }
        let what = self.seen.look(&self.dir).or_else(|| {
            let said = self.alarm.heard().borrow().clone();
            said.filter(|said| said == alarm::LOG_CUT)
        })?;
        self.alarm.raise(&what);
        self.leave_as_it_is();
        Some(what)
    }

    /// What is in a damaged log must not be written over the file when the last one closes it.
    pub(super) fn leave_as_it_is(&self) {
        let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        if let Some(outbox) = &self.outbox {
            let _ = outbox.lock().set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }

    /// What can still be read of it, in a new file in its place. Where that fails the next start takes what lies there.
    pub fn rescue(self, what: &str, now: Moment) -> Result<(), Error> {
        let dir = self.dir.clone();
        let at = |why| Error::Directory { path: dir.clone(), why };
        fs::create_dir_all(&dir).map_err(at)?;
        let (gateway, before, head) = (self.gateway.clone(), self.epoch.clone(), self.head);
        let seal = self.seal.clone();
        let epoch = uuid::Uuid::now_v7().simple().to_string();
        let is_log_cut = what == alarm::LOG_CUT;
        let own = (!is_log_cut).then_some(self);
        // Without its log the file is as it was when that was last brought home; only now nobody has the log open.
        let beside = is_log_cut.then(|| file::damaged_reader(&dir.join(file::JOURNAL))).transpose()?;
        let carry = |from: Option<&Connection>| -> Result<Carried, Error> {
            landing::prepare(&dir).map_err(at)?;
            let mut into = file::draft(&dir)?;
            let mut carried = match from {
                Some(from) => {
                    carry::carry(from, &mut into, &gateway, &epoch, Seals::same(&seal), Limit::NONE)?
                }
                None => carry::nothing(&mut into, &gateway, &epoch)?,
            };
            carried.before.get_or_insert_with(|| before.to_string());
            let read = from.map_or(0, |from| file::head(from).unwrap_or(0));
            if (1..head).contains(&read) {
                carried.lost.unread(read + 1, head);
            } else if is_log_cut {
                carried.lost.types.insert("unknown".into());
                carried.lost.rows.entry("journal").or_insert(1);
            }
            carry::tell(&mut into, (&gateway, &epoch), &seal, &carried, what, now.at, now.synced)?;
            landing::close(into)?;
            Ok(carried)
        };
        let from = |from: &Connection| {
            carry(Some(from)).or_else(|error| {
                tracing::error!(%error, "nothing of the journal can be read any more; it begins anew, empty");
                carry(None)
            })
        };
        let carried = match (&beside, &own) {
            (Some(beside), _) => from(beside)?,
            // The outbox sees the cursors that the disk did not take.
            (None, Some(Journal { outbox: Some(outbox), .. })) => from(&outbox.lock())?,
            (None, Some(own)) => from(&own.db)?,
            (None, None) => carry(None)?,
        };
        // Nobody may have the old one open when the new one is put in its place.
        drop((own, beside));
        landing::put_in_place(&dir, Some(landing::LEFT)).map_err(at)?;
        tracing::warn!(%epoch, what, tickets = carried.tickets, events = carried.events, lost = carried.lost.events,
            "the journal goes on in a new file");
        Ok(())
    }
}
