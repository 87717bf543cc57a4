//! The reserve: a file that only takes up room, given up when the disk is full so that tickets still get in. And how
//! much room there is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::journal::Journal;
use super::room::Uses;
use super::segment::FOLDER;
use super::{Error, file, memory};

const RESERVE: &str = "reserve";
/// Written at once where the file system cannot simply be told to keep the room.
const CHUNK: usize = 64 << 10;

/// Has the file system keep so many bytes for us. Never a file with holes: they would give no room back.
pub fn make(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join(RESERVE);
    let made = fill(&path, bytes);
    if made.is_err() {
        // Half a reserve would be taken for a whole one.
        let _ = fs::remove_file(&path);
    }
    made
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(&file, flags, 0, bytes) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let chunk = [0x5a; CHUNK];
            let mut left = bytes as usize;
            while left > 0 {
                let some = left.min(CHUNK);
                file.write_all(&chunk[..some])?;
                left -= some;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Whether there was one.
pub fn give_up(dir: &Path) -> bool {
    fs::remove_file(dir.join(RESERVE)).is_ok()
}

/// What lies in the data directory and how much room there is around it; what cannot be asked counts as plenty. The
/// journal's own part and the limit are the caller's.
pub fn around(dir: &Path) -> Uses {
    let mut uses = Uses { free: u64::MAX / 4, size: u64::MAX / 4, ..Uses::default() };
    if let Ok(room) = rustix::fs::statvfs(dir) {
        uses.free = room.f_bavail.saturating_mul(room.f_frsize);
        uses.size = room.f_blocks.saturating_mul(room.f_frsize);
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let bytes =
            entry.metadata().map_or(0, |meta| if meta.is_dir() { within(&entry.path()) } else { meta.len() });
        match kind(&entry.file_name().to_string_lossy()) {
            Kind::History => uses.history += bytes,
            Kind::Reserve => uses.reserve += bytes,
            Kind::Aside => uses.aside += bytes,
            Kind::Journal | Kind::Other => {}
        }
    }
    uses
}

/// Of a folder of files.
fn within(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum()
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Journal,
    History,
    Reserve,
    /// `<file>.<what happened to it>`
    Aside,
    Other,
}

fn kind(name: &str) -> Kind {
    let of = |file: &str| name.strip_prefix(file);
    let own = |rest: &str| matches!(rest, "" | "-wal" | "-shm" | "-journal");
    match (of(file::JOURNAL), of(file::HISTORY)) {
        (Some(rest), _) if own(rest) => Kind::Journal,
        (_, Some(rest)) if own(rest) => Kind::History,
        (Some(_), _) | (_, Some(_)) => Kind::Aside,
        _ if name == FOLDER => Kind::History,
        _ if name == RESERVE => Kind::Reserve,
        _ => Kind::Other,
    }
}

impl Journal {
    /// What lies where now, under a limit of so many bytes; the memory has its own.
    pub fn uses(&self, limit: u64) -> Result<Uses, Error> {
        let number = |pragma| self.db.query_row(pragma, [], |row| row.get::<_, u64>(0));
        let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        let (journal, around) = (pages * number("PRAGMA page_size")?, around(&self.dir));
        if self.afloat.is_some() {
            return Ok(Uses { limit: memory::LIMIT, journal, in_memory: true, ..around });
        }
        let [wal, _] = file::beside(&self.dir.join(file::JOURNAL));
        let wal = fs::metadata(wal).map_or(0, |meta| meta.len());
        Ok(Uses { limit, journal: journal + wal, ..around })
    }

    pub fn make_reserve(&self, bytes: u64) -> Result<(), Error> {
        make(&self.dir, bytes).map_err(|why| Error::Directory { path: self.dir.join(RESERVE), why })
    }

    /// Whether there was one. What is in the WAL goes where it belongs, so that the WAL's own room is used again.
    pub fn give_up_reserve(&self) -> bool {
        let given = give_up(&self.dir);
        // Where that finds no room either, the next commit says so.
        let _ = self.db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_counts_as_what_it_is() {
        let rows = [
            ("journal.db", Kind::Journal),
            ("journal.db-wal", Kind::Journal),
            ("journal.db.broken-1763712000000", Kind::Aside),
            ("history.db", Kind::History),
            ("history.db-shm", Kind::History),
            ("history.db.broken-1763712000000", Kind::Aside),
            ("history", Kind::History),
            ("reserve", Kind::Reserve),
            ("lock", Kind::Other),
            ("last-good.json", Kind::Other),
        ];
        for (name, is) in rows {
            assert_eq!(kind(name), is, "{name}");
        }
    }

    #[test]
    fn a_reserve_takes_up_its_room_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), 300_000).unwrap();
        let meta = fs::metadata(dir.path().join(RESERVE)).unwrap();
        assert_eq!(meta.len(), 300_000);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&meta);
        assert!(blocks * 512 >= 300_000, "no holes: {blocks} blocks");
        assert_eq!(around(dir.path()).reserve, 300_000);
        assert!(give_up(dir.path()) && !give_up(dir.path()));
        assert_eq!(around(dir.path()).reserve, 0);
    }

    #[test]
    fn a_reserve_for_which_there_is_no_room_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        assert!(make(dir.path(), 1 << 60).is_err());
        assert!(!dir.path().join(RESERVE).exists());
    }
}
