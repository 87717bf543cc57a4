//! The pages that say which tables a journal has and where they begin. They are alike in all journals that were begun in the
//! present format, so that those of a new one stand in for them where a bit has fallen over there: what each row says is
//! held against its sum in any case.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// SQLite's default, which the journal has.
const PAGE: usize = 4096;
/// Before the first page's content.
const HEADER: usize = 100;
const FORMAT: std::ops::Range<usize> = 60..64;
const INTERIOR: u8 = 5;

/// Writes the pages of a `new` journal over those of a damaged one. Not where the others do not begin as the new one's
/// do: that file was brought up from an older format. Whether it was done.
pub fn mend(damaged: &Path, new: &Path) -> io::Result<bool> {
    let new = fs::read(new)?;
    let mut file = File::options().read(true).write(true).open(damaged)?;
    let mut old = Vec::new();
    (&mut file).take(new.len() as u64).read_to_end(&mut old)?;
    let mut of_schema = vec![0];
    children(&new, &mut of_schema);
    let others = (0..new.len() / PAGE).filter(|page| !of_schema.contains(page));
    // A leaf, or what has grown out of it.
    let is_alike =
        |page: usize| [new[page * PAGE], new[page * PAGE].wrapping_sub(8)].contains(&old[page * PAGE]);
    if old.len() < new.len() || old[FORMAT] != new[FORMAT] || !others.into_iter().all(is_alike) {
        return Ok(false);
    }
    for page in of_schema {
        let from = page * PAGE + if page == 0 { HEADER } else { 0 };
        file.seek(SeekFrom::Start(from as u64))?;
        file.write_all(&new[from..(page + 1) * PAGE])?;
    }
    file.sync_all()?;
    Ok(true)
}

/// The pages below the first, of a file that is sound.
fn children(new: &[u8], pages: &mut Vec<usize>) {
    if new.get(HEADER) != Some(&INTERIOR) {
        return;
    }
    let number =
        |at: usize, bytes: usize| new[at..at + bytes].iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    let cells = number(HEADER + 3, 2);
    let cells = (0..cells).map(|cell| number(number(HEADER + 12 + 2 * cell, 2), 4) - 1);
    pages.extend(cells.chain([number(HEADER + 8, 4) - 1]));
}
