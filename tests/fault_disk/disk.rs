//! What a disk may hold when the power goes: everything that was synced, and of the rest whatever the dice say.
//!
//! Of each write since its file's last sync every sector is there or not, whatever its place in the order; the last one
//! may be torn at any byte, with rubbish after it. A lost write may have made its file longer. A truncation may not have
//! happened, nor the making or deletion of a file whose directory was not synced since; of one name they happen in order,
//! as in any journalling file system. What a failed sync should have written is nowhere but in memory, until its page
//! of 4 KiB is written again.

use std::collections::BTreeMap;
use std::path::Path;

use super::recorder::{Log, Step};
use super::{Dice, SECTOR};

/// The kernel writes whole pages.
const PAGE: u64 = 4096;

/// A log played up to some step.
pub struct Disk<'a> {
    log: &'a Log,
    at: usize,
    files: Vec<File<'a>>,
    /// The directory as it is synced.
    names: BTreeMap<String, usize>,
    /// Changes of it since: `None`, the name went.
    renamed: Vec<(&'a str, Option<usize>)>,
}

#[derive(Default, Clone)]
struct File<'a> {
    synced: Vec<u8>,
    since: Vec<Change<'a>>,
}

#[derive(Clone)]
struct Change<'a> {
    what: What<'a>,
    /// A sync of it has failed: nobody writes it any more.
    given_up: bool,
}

#[derive(Clone, Copy)]
enum What<'a> {
    /// Within one sector.
    Piece {
        at: u64,
        data: &'a [u8],
        step: usize,
    },
    Truncate(u64),
}

/// What was under way when the power went, and what it took.
#[derive(Debug, Default, Clone)]
pub struct Loss {
    /// Sectors written and not synced, and how many of them are gone.
    pub unsynced: usize,
    pub lost: usize,
    pub torn: bool,
    /// Files whose making or deletion was undone.
    pub names: usize,
    pub truncations: usize,
}

/// How the dice are loaded, for one cut.
struct Weather {
    /// Of a hundred sectors so many are there.
    kept: u64,
    torn: bool,
    /// Lost writes make their file longer all the same.
    grows: bool,
    rubbish: bool,
    /// A torn write spoils its sectors as a whole.
    careless: bool,
}

impl<'a> Disk<'a> {
    pub fn new(log: &'a Log) -> Self {
        let mut files = vec![File::default(); log.names.len()];
        let mut names = BTreeMap::new();
        for (n, (name, bytes)) in log.base.iter().enumerate() {
            files[n].synced.clone_from(bytes);
            names.insert(name.clone(), n);
        }
        Self { log, at: 0, files, names, renamed: Vec::new() }
    }

    /// On to the state before step `at`.
    pub fn play(&mut self, at: usize) {
        assert!(self.at <= at, "a disk is played forward only");
        for n in self.at..at {
            self.step(n);
        }
        self.at = at;
    }

    fn step(&mut self, n: usize) {
        match &self.log.steps[n] {
            Step::Made { file, name } => self.renamed.push((name, Some(*file))),
            Step::Deleted { name } => self.renamed.push((name, None)),
            Step::SyncDirectory => {
                for (name, file) in self.renamed.drain(..) {
                    rename(&mut self.names, name, file);
                }
            }
            Step::Write { file, at, data } => {
                let mut rest = &data[..];
                let mut at = *at;
                while !rest.is_empty() {
                    let room = (SECTOR as u64 - at % SECTOR as u64) as usize;
                    let (piece, after) = rest.split_at(room.min(rest.len()));
                    self.files[*file].push(What::Piece { at, data: piece, step: n });
                    (rest, at) = (after, at + piece.len() as u64);
                }
            }
            Step::Truncate { file, size } => self.files[*file].push(What::Truncate(*size)),
            Step::Sync { file } => self.files[*file].sync(),
            Step::SyncFailed { file } => {
                self.files[*file].since.iter_mut().for_each(|change| change.given_up = true);
            }
        }
    }

    /// Writes into an empty directory what the disk holds when the power goes here.
    pub fn cut(&self, dice: &mut Dice, into: &Path, careless: bool) -> Loss {
        let weather = Weather {
            kept: [0, 5, 30, 50, 70, 95, 100][dice.roll(7) as usize],
            torn: dice.roll(2) == 0,
            grows: dice.roll(2) == 0,
            rubbish: dice.roll(3) == 0,
            careless,
        };
        let mut loss = Loss::default();
        let names = self.names_after(dice, &mut loss);
        for (name, file) in names {
            let bytes = self.files[file].after(dice, &weather, self.at, &mut loss);
            std::fs::write(into.join(&name), bytes).unwrap();
            if name.ends_with(".db") && dice.roll(4) == 0 {
                // The shared memory of the run before is in no order at all.
                let rubbish: Vec<u8> = (0..32_768).map(|_| dice.roll(256) as u8).collect();
                std::fs::write(into.join(format!("{name}-shm")), rubbish).unwrap();
            }
        }
        loss
    }

    fn names_after(&self, dice: &mut Dice, loss: &mut Loss) -> BTreeMap<String, usize> {
        let mut names = self.names.clone();
        let all = dice.roll(3) == 0;
        let mut undone: Vec<&str> = Vec::new();
        for (name, file) in &self.renamed {
            // Once one change of a name is undone, those after it are.
            if undone.contains(name) || (!all && dice.roll(2) == 0) {
                undone.push(name);
                loss.names += 1;
            } else {
                rename(&mut names, name, *file);
            }
        }
        names
    }
}

fn rename(names: &mut BTreeMap<String, usize>, name: &str, file: Option<usize>) {
    match file {
        Some(file) => names.insert(name.to_owned(), file),
        None => names.remove(name),
    };
}

impl<'a> File<'a> {
    fn push(&mut self, what: What<'a>) {
        self.since.push(Change { what, given_up: false });
    }

    /// What was given up stays so, but for pages that were written again.
    fn sync(&mut self) {
        let live = self.live();
        let mut left = Vec::new();
        for (change, live) in std::mem::take(&mut self.since).into_iter().zip(live) {
            if live {
                apply(&mut self.synced, change.what);
            } else {
                left.push(change);
            }
        }
        self.since = left;
    }

    /// Which changes the kernel has still in mind.
    fn live(&self) -> Vec<bool> {
        if self.since.iter().all(|change| !change.given_up) {
            return vec![true; self.since.len()];
        }
        let again: std::collections::HashSet<u64> = self
            .since
            .iter()
            .filter(|change| !change.given_up)
            .filter_map(|change| match change.what {
                What::Piece { at, .. } => Some(at / PAGE),
                What::Truncate(_) => None,
            })
            .collect();
        let live = |change: &Change<'_>| match change.what {
            What::Piece { at, .. } => !change.given_up || again.contains(&(at / PAGE)),
            // The size of a file goes through the file system's own journal.
            What::Truncate(_) => true,
        };
        self.since.iter().map(live).collect()
    }

    fn after(&self, dice: &mut Dice, weather: &Weather, now: usize, loss: &mut Loss) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut longest = 0;
        for (change, live) in self.since.iter().zip(self.live()) {
            let kept = live && dice.roll(100) < weather.kept;
            match change.what {
                What::Truncate(size) => {
                    if kept {
                        apply(&mut bytes, What::Truncate(size));
                        longest = 0;
                    } else {
                        loss.truncations += 1;
                    }
                }
                What::Piece { at, data, step } => {
                    loss.unsynced += 1;
                    longest = longest.max(at + data.len() as u64);
                    // The write that was under way.
                    if step + 1 == now && weather.torn && dice.roll(2) == 0 {
                        tear(dice, weather, &mut bytes, at, data);
                        loss.torn = true;
                    } else if kept {
                        apply(&mut bytes, change.what);
                    } else {
                        loss.lost += 1;
                    }
                }
            }
        }
        if weather.grows && bytes.len() < longest as usize {
            let fill = if weather.rubbish { dice.roll(256) as u8 } else { 0 };
            bytes.resize(longest as usize, fill);
        }
        bytes
    }
}

/// Some bytes of it are there, from the front or from the back; the rest is as before, or rubbish.
fn tear(dice: &mut Dice, weather: &Weather, bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    if weather.careless {
        let start = at - at % SECTOR as u64;
        let rubbish: Vec<u8> = (0..SECTOR).map(|_| dice.roll(256) as u8).collect();
        return put(bytes, start, &rubbish);
    }
    let here = dice.roll(data.len() as u64 + 1) as usize;
    let front = dice.roll(2) == 0;
    if weather.rubbish {
        let rubbish: Vec<u8> = data.iter().map(|_| dice.roll(256) as u8).collect();
        put(bytes, at, &rubbish);
    }
    if front {
        put(bytes, at, &data[..here]);
    } else {
        put(bytes, at + here as u64, &data[here..]);
    }
}

fn apply(bytes: &mut Vec<u8>, what: What<'_>) {
    match what {
        What::Piece { at, data, .. } => put(bytes, at, data),
        What::Truncate(size) => bytes.resize(size as usize, 0),
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = at as usize + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at as usize..end].copy_from_slice(data);
}
