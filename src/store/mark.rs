//! The mark beside the journal: which epoch it has and how far that had come when somebody last looked.
//!
//! One line in a file of its own, `<epoch> <head> <sum>`, written over itself so that it can be written on a full disk, and never
//! synced: it costs a block every few seconds at the most, and only while there is something to tell. It is written after
//! the commit that it speaks of, which is on the disk by then. So a journal that ends before its mark has gone back: its log
//! was removed, an older copy was put in its place, or the card lied. A journal of another epoch than its mark is not the last one
//! that told anything: one in memory went on after it, and is gone. Either would tell numbers twice, and begins a new epoch (`damage`).
//!
//! A mark that is not there, or cannot be read, says nothing. Whoever puts another journal in place removes it before.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::{Error, file, sum};

const NAME: &str = "head";
/// Always as long, so that nothing of a longer one stays behind a shorter one.
const BYTES: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub epoch: String,
    pub head: u64,
}

pub fn read(dir: &Path) -> Option<Mark> {
    let line = fs::read_to_string(dir.join(NAME)).ok()?;
    let (said, sum) = line.trim_end().rsplit_once(' ')?;
    if sum != sum_of(said) {
        return None;
    }
    let (epoch, head) = said.split_once(' ')?;
    Some(Mark { epoch: epoch.to_owned(), head: head.parse().ok()? })
}

pub fn write(dir: &Path, epoch: &str, head: u64) -> io::Result<()> {
    let said = format!("{epoch} {head}");
    let line = format!("{said} {}", sum_of(&said));
    let file = File::options().create(true).truncate(false).write(true).open(dir.join(NAME))?;
    file.write_all_at(format!("{line:<0$}\n", BYTES - 1).as_bytes(), 0)
}

pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Why this journal is not the one that the mark speaks of.
pub fn contradicts(dir: &Path, db: &Connection) -> Result<Option<String>, Error> {
    let Some(mark) = read(dir) else { return Ok(None) };
    let epoch: Option<String> = db.query_row("SELECT epoch FROM gateway", [], |row| row.get(0)).optional()?;
    let head = file::head(db)?;
    Ok(match epoch {
        Some(epoch) if epoch != mark.epoch => {
            Some("another journal went on after this one, in memory or in its place, and is gone".into())
        }
        None if mark.head > 0 => Some(format!("the journal is empty, and {} had been told", mark.head)),
        _ if mark.head > head => Some(format!(
            "the journal ends at {head}, and {} had been told: its log was removed, or an older copy was put back",
            mark.head
        )),
        _ => None,
    })
}

fn sum_of(said: &str) -> String {
    format!("{:08x}", sum::of(said.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_written_over_itself_and_rubbish_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        for (epoch, head) in [("0198c0de0198c0de0198c0de0198c0de", u64::MAX), ("e", 7)] {
            write(dir.path(), epoch, head).unwrap();
            assert_eq!(read(dir.path()), Some(Mark { epoch: epoch.into(), head }));
            assert_eq!(fs::metadata(dir.path().join(NAME)).unwrap().len(), BYTES as u64);
        }
        let whole = fs::read(dir.path().join(NAME)).unwrap();
        for at in 0..12 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(dir.path().join(NAME), bytes).unwrap();
            assert_eq!(read(dir.path()), None, "byte {at}");
        }
        for rubbish in [&b""[..], b"\n", b"a b c", &[0; 128], &[0xff; 128]] {
            fs::write(dir.path().join(NAME), rubbish).unwrap();
            assert_eq!(read(dir.path()), None);
        }
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
    }
}
