//! A whole new journal in the place of the present one: written beside it as a draft, and put in place by renaming. A
//! power cut in between leaves the present one, or a whole draft that the next start puts in place.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Error, file};

/// Kept where not all of it could be carried on: one, the latest.
const LEFT: &str = "journal.db.left";

/// Whatever an attempt before left is gone.
pub fn prepare(dir: &Path) -> io::Result<()> {
    let draft = dir.join(file::DRAFT);
    for path in file::beside(&draft).into_iter().chain([draft]) {
        remove(&path)?;
    }
    Ok(())
}

/// All of it in one file, on the disk.
pub fn close(db: Connection) -> Result<(), Error> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| Error::Sql(error))
}

/// The draft becomes the journal; the one before stays as [`LEFT`], or goes.
pub fn put_in_place(dir: &Path, keep: bool) -> io::Result<()> {
    let (journal, left) = (dir.join(file::JOURNAL), dir.join(LEFT));
    File::open(dir.join(file::DRAFT))?.sync_all()?;
    let [wal, shm] = file::beside(&journal);
    let [left_wal, left_shm] = file::beside(&left);
    for path in [&left, &left_wal, &left_shm, &shm] {
        remove(path)?;
    }
    // Without its WAL nobody may take the old file for the journal: the draft is whole and comes first at the next start.
    for (from, to) in [(&wal, &left_wal), (&journal, &left)] {
        if keep { rename(from, to)? } else { remove(from)? }
    }
    fs::rename(dir.join(file::DRAFT), &journal)?;
    File::open(dir)?.sync_all()
}

/// What a power cut interrupted is brought to its end: a draft that is whole is put in place, any other goes.
pub fn finish(dir: &Path) -> io::Result<()> {
    if !dir.join(file::DRAFT).exists() {
        return Ok(());
    }
    if is_whole(&dir.join(file::DRAFT)) {
        tracing::warn!("a journal that was about to be put in place is put there now");
        return put_in_place(dir, true);
    }
    prepare(dir)
}

/// The row in `gateway` is written last of all.
fn is_whole(draft: &PathBuf) -> bool {
    let ask = || -> Result<bool, Error> {
        let db = file::unwritable(draft)?;
        let rows: i64 = db.query_row("SELECT count(*) FROM gateway", [], |row| row.get(0))?;
        let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(rows == 1 && verdict == "ok")
    };
    ask().unwrap_or(false)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal_of(dir: &Path, epoch: &str) {
        let db = file::journal(dir).unwrap();
        db.execute(
            "INSERT INTO gateway(one, id, epoch, number, committed) VALUES (1, 'g', ?1, 0, 0)",
            [epoch],
        )
        .unwrap();
    }

    fn epoch(dir: &Path) -> String {
        let db = file::journal(dir).unwrap();
        db.query_row("SELECT epoch FROM gateway", [], |row| row.get(0)).unwrap()
    }

    fn draft_of(dir: &Path, epoch: Option<&str>) {
        prepare(dir).unwrap();
        let db = file::draft(dir).unwrap();
        if let Some(epoch) = epoch {
            let row = "INSERT INTO gateway(one, id, epoch, number, committed) VALUES (1, 'g', ?1, 0, 0)";
            db.execute(row, [epoch]).unwrap();
        }
        close(db).unwrap();
    }

    #[test]
    fn a_whole_draft_is_put_in_place_by_the_next_start_and_a_half_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        draft_of(dir.path(), None);
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "old");
        assert!(!dir.path().join(file::DRAFT).exists());
        draft_of(dir.path(), Some("new"));
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "new");
        assert!(dir.path().join(LEFT).exists(), "the one before is kept");
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "new");
    }

    #[test]
    fn a_power_cut_between_the_steps_leaves_the_draft_to_be_put_in_place() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        draft_of(dir.path(), Some("new"));
        // The old one is out of the way already, as after the first renames.
        fs::rename(dir.path().join(file::JOURNAL), dir.path().join(LEFT)).unwrap();
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "new");
    }

    #[test]
    fn one_of_which_nothing_was_left_behind_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        draft_of(dir.path(), Some("new"));
        put_in_place(dir.path(), false).unwrap();
        assert_eq!(epoch(dir.path()), "new");
        assert!(!dir.path().join(LEFT).exists());
    }
}
