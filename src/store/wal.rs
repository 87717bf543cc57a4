//! The write-ahead log, looked at before SQLite opens it. It takes the log up to the first frame that is not whole for
//! all there is, since a power cut leaves such an end: of the transactions that were not synced. Where commits follow that
//! were synced one after the other, it was no power cut but damage, and SQLite would forget what had been told.
//!
//! A transaction is the journal's if it writes the page of `gateway`, as each of them does; each was synced before the
//! next began. So two of them behind a frame that is not whole cannot be. One can: it was under way when the power went.
//! That cannot be told from damage in the last one of all.
//!
//! Such a log is [mended](mend) before what can be read goes on: its sums are made to fit, so that SQLite sees all of it. What
//! is wrong in a page is then found by the rows' own sums.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// SQLite's default, which the journal has.
const PAGE: usize = 4096;
/// The table `gateway` is the first that is made.
const GATEWAY_PAGE: u32 = 2;
/// As a little-endian machine writes it.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// How many of the journal's commits SQLite would not see, though they were whole; fewer than two may be a power cut.
pub fn unseen(wal: &Path, db: &Path) -> io::Result<u64> {
    let mut file = match File::open(wal) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER];
    if !fill(&mut file, &mut header)? {
        return Ok(0);
    }
    let mut log = Log::begin(&header);
    let mut frame = vec![0; FRAME_HEADER + PAGE];
    let mut at = HEADER as u64;
    while fill(&mut file, &mut frame)? && log.frame(&frame, at) {
        at += frame.len() as u64;
    }
    // A header that is not whole: SQLite was about to begin the log anew, for which all of it is in the file already.
    if !log.header_fits && log.unseen > 0 && is_in_file(&log.pages, file.get_mut(), db)? {
        return Ok(0);
    }
    Ok(log.unseen)
}

/// Makes the sums of the log fit what it holds.
pub fn mend(wal: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(wal)?;
    let (mut header, mut frame) = ([0; HEADER], vec![0; FRAME_HEADER + PAGE]);
    if !fill(&mut file, &mut header)? || !fill(&mut file, &mut frame)? {
        return Ok(());
    }
    let mut stored = Log::begin(&header);
    let salts = stored.salts.unwrap_or_else(|| salts_at(&frame, 8));
    header[..12]
        .copy_from_slice(&[MAGIC.to_be_bytes(), VERSION.to_be_bytes(), (PAGE as u32).to_be_bytes()].concat());
    header[16..24].copy_from_slice(&salts);
    let mut sum = checksum((0, 0), &header[..24]);
    put(&mut header[24..], sum);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    let mut at = HEADER as u64;
    loop {
        file.seek(SeekFrom::Start(at))?;
        if !fill(&mut file, &mut frame)? || !stored.frame(&frame, at) {
            return file.sync_all();
        }
        frame[8..16].copy_from_slice(&salts);
        sum = checksum(checksum(sum, &frame[..8]), &frame[FRAME_HEADER..]);
        put(&mut frame[16..], sum);
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&frame[..FRAME_HEADER])?;
        at += frame.len() as u64;
    }
}

fn put(into: &mut [u8], (a, b): (u32, u32)) {
    into[..4].copy_from_slice(&a.to_be_bytes());
    into[4..8].copy_from_slice(&b.to_be_bytes());
}

/// What was read of the log so far.
struct Log {
    header_fits: bool,
    /// Of this life of the log; frames with others are older.
    salts: Option<[u8; 8]>,
    /// Of the frame before, as it is written there.
    sum: (u32, u32),
    /// No frame so far failed to fit.
    whole: bool,
    /// Whether the transaction under way is the journal's.
    of_journal: bool,
    unseen: u64,
    /// Where the last one of each page is.
    pages: BTreeMap<u32, u64>,
}

impl Log {
    fn begin(header: &[u8]) -> Self {
        let sum = (big(header, 24), big(header, 28));
        let header_fits = big(header, 0) == MAGIC && checksum((0, 0), &header[..24]) == sum;
        let salts = header_fits.then(|| salts_at(header, 16));
        Self {
            header_fits,
            salts,
            sum,
            whole: header_fits,
            of_journal: false,
            unseen: 0,
            pages: BTreeMap::new(),
        }
    }

    /// Whether there may be more.
    fn frame(&mut self, frame: &[u8], at: u64) -> bool {
        let (page, size) = (big(frame, 0), big(frame, 4));
        let own = (big(frame, 16), big(frame, 20));
        let computed = checksum(checksum(self.sum, &frame[..8]), &frame[FRAME_HEADER..]);
        let follows = computed == own;
        let of_this_life = *self.salts.get_or_insert_with(|| salts_at(frame, 8)) == salts_at(frame, 8);
        self.sum = own;
        if follows && of_this_life {
            self.of_journal |= page == GATEWAY_PAGE;
            self.pages.insert(page, at + FRAME_HEADER as u64);
            if size > 0 {
                self.unseen += u64::from(!self.whole && self.of_journal);
                self.of_journal = false;
            }
        } else if self.whole {
            self.whole = false;
        } else if !of_this_life {
            return false;
        }
        true
    }
}

fn salts_at(bytes: &[u8], at: usize) -> [u8; 8] {
    let mut salts = [0; 8];
    salts.copy_from_slice(&bytes[at..at + 8]);
    salts
}

/// Whether the file has each page as the log has it last.
fn is_in_file(pages: &BTreeMap<u32, u64>, wal: &mut File, db: &Path) -> io::Result<bool> {
    let mut db = File::open(db)?;
    let (mut ours, mut theirs) = (vec![0; PAGE], vec![0; PAGE]);
    for (page, at) in pages {
        wal.seek(SeekFrom::Start(*at))?;
        wal.read_exact(&mut ours)?;
        db.seek(SeekFrom::Start(u64::from(page.saturating_sub(1)) * PAGE as u64))?;
        if !fill(&mut db, &mut theirs)? || ours != theirs {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether there was as much.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn big(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// SQLite's own, over eight bytes at a time, as little-endian words.
fn checksum(start: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let word = |at: &[u8]| at.iter().rev().fold(0, |word: u32, byte| word << 8 | u32::from(*byte));
    bytes.chunks_exact(8).fold(start, |(a, b), pair| {
        let a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        let b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
        (a, b)
    })
}
