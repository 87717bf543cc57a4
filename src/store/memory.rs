//! The journal in memory: when the card takes no writes, the daemon goes on under an epoch of its own, and lands on the
//! card again under a new one when that takes writes.
//!
//! Into memory goes what can still be read and what goes on from it ([`carry`]), bounded; back goes all of it. Each way
//! every consumer's cursor is carried with the events, so that none is doubled or missed. The memory is one SQLite
//! database (`memdb`) that all ends of the process share; it lives as long as [`Afloat`] does, and a kill or a power cut
//! is its end. What is in memory is not sealed.
//!
//! Bound: [`BYTES_MAX`]. From [`LIMIT`] on events give way as `room` says; events of tickets wait when there is nothing
//! else left, and then the wires wait.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;

use super::carry::{self, Carried, Limit, Seals};
use super::{Alarm, Ends, Error, History, Journal, Outbox, Seal, View, damage, file, landing, mark};
use crate::reading::Millis;

/// Bytes above which events give way.
pub const LIMIT: u64 = 12 << 20;
/// Bytes of all pages; a commit beyond it finds the journal full.
const BYTES_MAX: u64 = 16 << 20;
/// What is taken along, so that there is room for what comes.
const TAKEN_ALONG: Limit = Limit { events: 8_000, bytes: 5 << 20, closed: 200 };

/// Written to see whether the card takes writes again: more than a cache of the card would promise in passing.
const PROBE_BYTES: usize = 256 << 10;
const PROBE: &str = "probe";

/// Keeps the memory alive between two openings of its ends.
#[derive(Debug)]
pub struct Afloat {
    keeper: Connection,
    path: PathBuf,
    dir: PathBuf,
    gateway: Arc<str>,
    epoch: Arc<str>,
    why: Arc<str>,
    /// Nothing was left behind on the card.
    whole: bool,
    /// As long as it could be locked, no other daemon may write there.
    _lock: Option<file::Lock>,
}

/// Events that a required consumer has not acknowledged, all where there is none; not the word that the daemon ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unacknowledged {
    pub events: u64,
    pub of_tickets: u64,
}

/// When it is, and whether that can be believed.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: Millis,
    pub synced: bool,
}

impl Afloat {
    /// From the journal that is open, where the card failed while it was.
    pub fn from_open(mut journal: Journal, why: &str, now: Moment) -> Result<Self, Error> {
        let (lock, outbox) = (journal.lock.take(), journal.outbox.take());
        // It speaks of the memory from now on.
        journal.marked = None;
        let (dir, gateway, seal) = (&journal.dir, &journal.gateway, &journal.seal);
        match outbox {
            // It sees the cursors that the disk no longer took.
            Some(outbox) => Self::begin(dir, gateway, Some((&*outbox.lock(), seal)), lock, why, now),
            None => Self::begin(dir, gateway, Some((&journal.db, seal)), lock, why, now),
        }
    }

    /// From what can be read in the directory, perhaps nothing.
    pub fn from_directory(
        dir: &Path,
        gateway: &str,
        seal: &Seal,
        why: &str,
        now: Moment,
    ) -> Result<Self, Error> {
        let db = file::unwritable(&dir.join(file::JOURNAL))
            .inspect_err(
                |error| tracing::warn!(%error, "nothing of the journal can be read; it begins empty"),
            )
            .ok();
        let theirs = db
            .as_ref()
            .and_then(|db| db.query_row("SELECT id FROM gateway", [], |row| row.get::<_, String>(0)).ok());
        if let Some(theirs) = theirs.filter(|theirs| theirs != gateway) {
            let (path, ours) = (dir.join(file::JOURNAL), gateway.to_owned());
            return Err(Error::OtherGateway { path, theirs, ours });
        }
        Self::begin(dir, gateway, db.as_ref().map(|db| (db, seal)), file::lock(dir).ok(), why, now)
    }

    fn begin(
        dir: &Path,
        gateway: &str,
        from: Option<(&Connection, &Seal)>,
        lock: Option<file::Lock>,
        why: &str,
        now: Moment,
    ) -> Result<Self, Error> {
        let carried = match from.map(|(from, seal)| carried_over(from, seal, gateway, why, now)) {
            Some(Err(error @ Error::Locked(_))) => return Err(error),
            Some(Err(error)) => {
                tracing::error!(%error, "the journal cannot be read; it begins empty in memory");
                None
            }
            carried => carried.and_then(Result::ok),
        };
        let (keeper, path, epoch, carried) = match carried {
            Some(carried) => carried,
            None => {
                let (mut db, path, epoch) = empty()?;
                let mut carried = carry::nothing(&mut db, gateway, &epoch)?;
                if damage::was_any(dir) {
                    if let Some(mark) = mark::read(dir) {
                        carry::count_what_was_told(&mut carried, mark, 0);
                    }
                    let seal = Seal::none();
                    carry::tell(&mut db, (gateway, &epoch), &seal, &carried, why, now.at, now.synced)?;
                }
                (db, path, epoch, carried)
            }
        };
        // A card that takes no writes may still take this one: it has its block already.
        let _ = mark::write(dir, &epoch, carried.events);
        tracing::warn!(%epoch, tickets = carried.tickets, events = carried.events, lost = carried.lost.events,
            "the journal goes on in memory");
        Ok(Self {
            keeper,
            path,
            dir: dir.to_owned(),
            gateway: gateway.into(),
            epoch: epoch.into(),
            why: why.into(),
            whole: from.is_some() && carried.before.is_some() && carried.lost.is_nothing(),
            _lock: lock,
        })
    }

    pub fn why(&self) -> &str {
        &self.why
    }

    /// The ends, as those of a journal on the disk; at any one time one set of them.
    pub fn ends(&self) -> Result<Ends, Error> {
        let history = History::open(&self.dir);
        let journal = Journal {
            db: writer(&self.path)?,
            gateway: self.gateway.clone(),
            epoch: self.epoch.clone(),
            seal: Seal::none(),
            head: file::head(&self.keeper)?,
            unsure: false,
            flushed: 0,
            dir: self.dir.clone(),
            lock: None,
            outbox: None,
            afloat: Some(self.why.clone()),
            alarm: Alarm::default(),
            scrub: None,
            marked: None,
            resealing: super::reseal::Stage::Done,
            seen: super::rescue::Seen::default(),
            between: Arc::default(),
            erasing: Default::default(),
            kinds: Vec::new(),
        };
        let none = Seal::none();
        let outbox = Outbox { between: journal.between.clone(), ..Outbox::on(&self.path, &none)? };
        let view = View::on(&self.path, &self.dir, self.epoch.clone(), &none, history.gathered())?;
        Ok(Ends { journal, outbox, view, history })
    }

    pub fn unacknowledged(&self) -> Result<Unacknowledged, Error> {
        let count = "SELECT count(*), count(ticket) FROM event
             WHERE seq > coalesce((SELECT min(acknowledged) FROM consumer WHERE required), 0)
                 AND kind <> 'gateway.stopped'";
        let (events, of_tickets) = self.keeper.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Unacknowledged { events, of_tickets })
    }

    /// Writes all of it to the card, under a new epoch, in the place of what was there. Until this has been done, and
    /// where it fails, the memory goes on; afterwards the directory is opened as ever.
    pub fn land(&self, seal: &Seal, now: Moment) -> Result<(), Error> {
        let at = |why| Error::Directory { path: self.dir.clone(), why };
        let (epoch, carried) = self.draft(seal, now).inspect_err(|_| {
            // Half a draft would take up the room of whatever is written next.
            let _ = landing::prepare(&self.dir);
        })?;
        // From here on the draft stays: it may be all there is.
        landing::put_in_place(&self.dir, (!self.whole).then_some(landing::LEFT)).map_err(at)?;
        // Without it the next start knows as much as it did before.
        let _ = mark::write(&self.dir, &epoch, carried.events);
        tracing::info!(%epoch, tickets = carried.tickets, events = carried.events, "the journal is on the disk again");
        Ok(())
    }

    fn draft(&self, seal: &Seal, now: Moment) -> Result<(String, Carried), Error> {
        let epoch = new_epoch();
        landing::prepare(&self.dir).map_err(|why| Error::Directory { path: self.dir.clone(), why })?;
        let mut into = file::draft(&self.dir)?;
        let seals = Seals { open: &Seal::none(), close: seal };
        let carried = carry::carry(&self.keeper, &mut into, &self.gateway, &epoch, seals, Limit::NONE)?;
        let why = "the card takes writes again";
        carry::tell(&mut into, (&self.gateway, &epoch), seal, &carried, why, now.at, now.synced)?;
        landing::close(into)?;
        Ok((epoch, carried))
    }
}

type Begun = (Connection, PathBuf, String, Carried);

fn carried_over(
    from: &Connection,
    seal: &Seal,
    gateway: &str,
    why: &str,
    now: Moment,
) -> Result<Begun, Error> {
    let (mut db, path, epoch) = empty()?;
    let none = Seal::none();
    let seals = Seals { open: seal, close: &none };
    let carried = carry::carry(from, &mut db, gateway, &epoch, seals, TAKEN_ALONG)?;
    carry::tell(&mut db, (gateway, &epoch), &none, &carried, why, now.at, now.synced)?;
    Ok((db, path, epoch, carried))
}

fn empty() -> Result<(Connection, PathBuf, String), Error> {
    let epoch = new_epoch();
    // A name of its own: what a failed attempt left is another database.
    let path = PathBuf::from(format!("file:/gatehouse-{epoch}?vfs=memdb"));
    let mut db = writer(&path)?;
    file::bring_up_to_date(&mut db, &path)?;
    Ok((db, path, epoch))
}

fn writer(path: &Path) -> Result<Connection, Error> {
    let db = file::writer(path, file::Durable::Normal)?;
    let page: u64 = db.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    db.query_row(&format!("PRAGMA max_page_count = {}", BYTES_MAX / page), [], |_| Ok(()))?;
    Ok(db)
}

fn new_epoch() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

/// Whether the directory takes writes and has them afterwards. Blocks, on a bad card for long.
pub fn takes_writes(dir: &Path) -> io::Result<()> {
    let path = dir.join(PROBE);
    let tried = probe(&path);
    // Left behind, it would only be written over the next time.
    let _ = fs::remove_file(&path);
    tried
}

fn probe(path: &Path) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let written = vec![0xa5; PROBE_BYTES];
    file.write_all(&written)?;
    file.sync_all()?;
    file.rewind()?;
    let mut read = Vec::with_capacity(PROBE_BYTES);
    file.read_to_end(&mut read)?;
    if read == written { Ok(()) } else { Err(io::Error::other("what was written is not what is read")) }
}
