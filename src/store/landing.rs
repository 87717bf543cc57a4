//! A whole new journal in the place of the present one: written beside it as a draft, and put in place by renaming. A
//! power cut in between leaves the present one, or a whole draft that the next start puts in place.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::{Error, file, mark};

/// Kept where not all of it could be carried on: one, the latest.
pub const LEFT: &str = "journal.db.left";

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
    file::bring_home(&db)?;
    db.close().map_err(|(_, error)| Error::Sql(error))
}

/// The draft becomes the journal; the one before stays under this name, or goes.
pub fn put_in_place(dir: &Path, keep: Option<&str>) -> io::Result<()> {
    let (journal, left) = (dir.join(file::JOURNAL), dir.join(keep.unwrap_or(LEFT)));
    File::open(dir.join(file::DRAFT))?.sync_all()?;
    // It speaks of the one before.
    mark::remove(dir)?;
    let [wal, shm] = file::beside(&journal);
    let [left_wal, left_shm] = file::beside(&left);
    remove(&shm)?;
    if journal.exists() {
        // Otherwise what lies there was the journal until a power cut came between.
        for path in [&left, &left_wal, &left_shm] {
            remove(path)?;
        }
    }
    // The file goes before its WAL: without that nobody may take it for the journal.
    for (from, to) in [(&journal, &left), (&wal, &left_wal)] {
        if keep.is_some() { rename(from, to)? } else { remove(from)? }
    }
    // Beside the old WAL nobody may take the draft for the journal either, whatever order a file system writes names in.
    File::open(dir)?.sync_all()?;
    fs::rename(dir.join(file::DRAFT), &journal)?;
    File::open(dir)?.sync_all()
}

/// What a power cut interrupted is brought to its end: a draft that is whole is put in place, any other goes.
pub fn finish(dir: &Path) -> Result<(), Error> {
    let draft = dir.join(file::DRAFT);
    let at = |why| Error::Directory { path: draft.clone(), why };
    if !draft.exists() {
        return Ok(());
    }
    match is_whole(&draft) {
        Ok(true) => {
            tracing::warn!("a journal that was about to be put in place is put there now");
            put_in_place(dir, Some(LEFT)).map_err(at)
        }
        // It may be all there is.
        Err(error) if error.is_refusal() => Err(error),
        Ok(false) | Err(_) => prepare(dir).map_err(at),
    }
}

/// Whether it was carried to the end and says where it comes from, which is written last of all.
fn is_whole(draft: &Path) -> Result<bool, Error> {
    let [log, _] = file::beside(draft);
    if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        // The power went before all of it was in the one file that is put in place.
        close(file::writer(draft, file::Durable::Full)?)?;
    }
    let db = file::unwritable(draft)?;
    let whole = "SELECT count(*) FROM gateway WHERE before IS NOT NULL";
    let rows: i64 = db.query_row(whole, [], |row| row.get(0))?;
    Ok(rows == 1 && file::sound(&db, draft).is_ok())
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
            db.execute(ROW, [epoch]).unwrap();
        }
        close(db).unwrap();
    }

    const ROW: &str = "INSERT INTO gateway(one, id, epoch, number, committed, before)
        VALUES (1, 'g', ?1, 0, 0, '{}')";

    /// As a power cut leaves it: nothing of the draft's log is in its file yet.
    fn unclosed_draft_of(dir: &Path, row: &str, epoch: &str) {
        let beside = tempfile::tempdir().unwrap();
        let db = file::draft(beside.path()).unwrap();
        db.execute(row, [epoch]).unwrap();
        for path in fs::read_dir(beside.path()).unwrap() {
            let path = path.unwrap().path();
            fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
        }
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
    fn a_draft_that_is_still_in_its_log_is_put_in_place_with_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        unclosed_draft_of(dir.path(), ROW, "new");
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "new");
        assert!(!dir.path().join("journal.db.new-wal").exists());
    }

    #[test]
    fn a_draft_that_has_not_said_yet_what_is_lost_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        let row = "INSERT INTO gateway(one, id, epoch, number, committed) VALUES (1, 'g', ?1, 0, 0)";
        unclosed_draft_of(dir.path(), row, "new");
        finish(dir.path()).unwrap();
        assert_eq!(epoch(dir.path()), "old");
        assert!(!dir.path().join(file::DRAFT).exists());
    }

    #[test]
    fn a_second_power_cut_does_not_cost_what_the_first_one_left() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        draft_of(dir.path(), Some("new"));
        fs::rename(dir.path().join(file::JOURNAL), dir.path().join(LEFT)).unwrap();
        finish(dir.path()).unwrap();
        fs::rename(dir.path().join(LEFT), dir.path().join(file::JOURNAL)).unwrap();
        assert_eq!(epoch(dir.path()), "old", "it is kept");
    }

    #[test]
    fn one_of_which_nothing_was_left_behind_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        journal_of(dir.path(), "old");
        draft_of(dir.path(), Some("new"));
        put_in_place(dir.path(), None).unwrap();
        assert_eq!(epoch(dir.path()), "new");
        assert!(!dir.path().join(LEFT).exists());
    }
}
