//! Where the journal is: on the disk, or in memory for as long as the card takes no writes. A house that stands on a card
//! that failed is drained and built again on the other; what its intake could not write is the first that the next one
//! has.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::Gateway;
use crate::intake::{Left, Waiting};
use crate::metrics::Disk;
use crate::store::memory::{self, Afloat, Moment};
use crate::store::{self, Ends, Kind, Page, Seal};

/// Why the next house is built, as told by `gateway.stopped` and `gateway.started`.
pub(super) const INTO_MEMORY: &str = "memory";
pub(super) const ONTO_DISK: &str = "disk";
/// Under a new epoch, since the journal is damaged.
pub(super) const RECOVERED: &str = "damaged";

/// A card that takes no writes is tried again after such a pause, which grows.
const TRIED_FIRST: Duration = Duration::from_secs(2);
const TRIED_MOST: Duration = Duration::from_secs(10 * 60);
/// A card that does not even answer is left alone for this time.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// For the try at the end.
const LAST_TRY: Duration = Duration::from_secs(2);
/// A card that fails sooner than this after it came back is tried after pauses that go on growing.
const WELL: Duration = Duration::from_secs(3600);

/// Outlives the houses.
#[derive(Debug)]
pub struct Storage {
    disk: Disk,
    clock: Clock,
    afloat: Option<Afloat>,
    /// Of the house that was built last; what goes from memory onto the disk is sealed with it.
    seal: Seal,
    /// What a damaged journal, or a full one in memory, did not take; the first that the next one has.
    unwritten: Option<(Page, Waiting)>,
    /// Grow until the card has been well for an hour.
    pauses: Arc<Mutex<Backoff>>,
    landed: Option<Instant>,
}

/// Says when the journal has to go elsewhere.
#[derive(Debug)]
pub(super) struct Lookout {
    /// By intake: why the disk takes nothing.
    refused: watch::Receiver<Option<String>>,
    /// By whoever reads the journal: what of it is damaged.
    damage: watch::Receiver<Option<String>>,
    /// In memory: the directory that is tried.
    card: Option<(PathBuf, Arc<Mutex<Backoff>>)>,
}

/// A file that may not grow further is an error like a full disk, and no end of the daemon.
pub(super) fn survive_file_limits() -> anyhow::Result<()> {
    // The handler stays when nobody listens any more.
    let _handler = signal(SignalKind::from_raw(libc::SIGXFSZ)).context("listening for signals")?;
    Ok(())
}

impl Storage {
    pub fn new(clock: Clock) -> Self {
        let pauses = Arc::new(Mutex::new(Backoff::new(TRIED_FIRST, TRIED_MOST)));
        Self {
            disk: Disk::new(),
            clock,
            afloat: None,
            seal: Seal::none(),
            unwritten: None,
            pauses,
            landed: None,
        }
    }

    /// What the kernel counts of it.
    pub fn disk(&self) -> Disk {
        self.disk.clone()
    }

    /// Why the journal is in memory.
    pub(super) fn trouble(&self) -> Option<String> {
        let why = self.afloat.as_ref()?.why();
        Some(format!("nothing can be stored, tickets are kept in memory and pushed from there: {why}"))
    }

    /// The store for the next house, its consumers named: on the disk, and in memory where that refuses.
    pub(super) fn open(
        &mut self,
        gateway: &Gateway,
        named: &[(Arc<str>, Kind, bool)],
    ) -> anyhow::Result<Ends> {
        let (settings, id) = (&gateway.store, &gateway.site.gateway);
        self.seal = gateway.seal.clone();
        let opening = || format!("opening the store in {}", settings.dir.display());
        if self.afloat.is_none() {
            let error = match on_disk(gateway, named).and_then(|ends| self.with_unwritten(ends)) {
                Ok(ends) => return Ok(ends),
                Err(error) if error.is_refusal() => error,
                Err(error) => return Err(error).with_context(opening),
            };
            tracing::error!(%error, "the data directory takes no writes");
            let why = error.to_string();
            let afloat = Afloat::from_directory(&settings.dir, id, &gateway.seal, &why, self.moment());
            self.afloat = Some(afloat.with_context(opening)?);
        }
        let mut ends = match &self.afloat {
            Some(afloat) => afloat.ends().with_context(opening)?,
            None => anyhow::bail!("no store"),
        };
        ends.journal.keep_consumers(named).context("naming the consumers")?;
        self.with_unwritten(ends).with_context(opening)
    }

    /// What is not written stays for the next try.
    fn with_unwritten(&mut self, mut ends: Ends) -> Result<Ends, store::Error> {
        if let Some((page, _)) = &self.unwritten {
            ends.journal.commit(page)?;
        }
        if let Some((_, waiting)) = self.unwritten.take() {
            waiting.settled();
        }
        Ok(ends)
    }

    /// Between two houses: what the one before could not write goes into memory, with all that can be read; and from
    /// there back onto a disk that takes writes again.
    pub(super) fn between(&mut self, left: Option<Left>, reason: &'static str) -> Result<(), store::Error> {
        let Some(mut left) = left else { return Ok(()) };
        if reason == RECOVERED {
            if let Some(what) = left.journal.look()
                && let Err(error) = left.journal.rescue(&what, self.moment())
            {
                tracing::error!(%error, "the journal cannot be carried on; the next one begins with what lies on the disk");
            }
            // The store recovers what there is when it is opened.
            self.unwritten = Some((left.page, left.waiting)).filter(|(page, _)| !page.is_blank());
            return Ok(());
        }
        if !left.page.is_blank() && self.afloat.is_none() {
            return self.go_afloat(left);
        }
        let Left { journal, page, waiting, .. } = left;
        // Its end of the store has to be closed before another is opened.
        drop(journal);
        if reason == ONTO_DISK {
            self.land();
            // What a full memory did not take, the disk has room for.
            self.unwritten =
                Some((page, waiting)).filter(|(page, _)| self.afloat.is_none() && !page.is_blank());
        }
        Ok(())
    }

    fn go_afloat(&mut self, left: Left) -> Result<(), store::Error> {
        let Left { journal, page, refused, waiting } = left;
        let why = refused.unwrap_or_else(|| "the last page could not be written".into());
        let afloat = Afloat::from_open(journal, &why, self.moment())?;
        afloat.ends()?.journal.commit(&page)?;
        waiting.settled();
        self.afloat = Some(afloat);
        if self.landed.is_none_or(|at| at.elapsed() > WELL)
            && let Ok(mut pauses) = self.pauses.try_lock()
        {
            pauses.reset();
        }
        Ok(())
    }

    /// Back onto the disk; where that fails, the memory goes on.
    pub(super) fn land(&mut self) {
        let Some(afloat) = &self.afloat else { return };
        match afloat.land(&self.seal, self.moment()) {
            Ok(()) => (self.afloat, self.landed) = (None, Some(Instant::now())),
            Err(error) => {
                tracing::warn!(%error, "the journal cannot go back onto the disk yet; it is tried again");
            }
        }
    }

    /// The daemon ends. Whether anything is lost that was only in memory.
    pub(super) async fn end(mut self, dir: &Path) -> bool {
        if self.afloat.is_some() && takes_writes(dir, LAST_TRY).await {
            self.land();
        }
        let Some(afloat) = &self.afloat else { return false };
        let left = afloat.unacknowledged();
        if left.as_ref().is_ok_and(|left| left.events == 0) {
            tracing::warn!("the journal was in memory and ends with the daemon; the centre has all of it");
            return false;
        }
        let left = left.unwrap_or_default();
        let (events, of_tickets) = (left.events, left.of_tickets);
        tracing::error!(
            events,
            of_tickets,
            "the journal was in memory and ends with the daemon; so many events no centre had yet"
        );
        true
    }

    pub(super) fn lookout(
        &self,
        dir: &Path,
        refused: watch::Receiver<Option<String>>,
        damage: watch::Receiver<Option<String>>,
    ) -> Lookout {
        let card = self.afloat.as_ref().map(|_| (dir.to_owned(), self.pauses.clone()));
        Lookout { refused, damage, card }
    }

    fn moment(&self) -> Moment {
        Moment { at: self.clock.now(), synced: self.clock.is_believed() }
    }
}

/// Naming the consumers is the first write: a card that can only be read shows itself here.
fn on_disk(gateway: &Gateway, named: &[(Arc<str>, Kind, bool)]) -> Result<Ends, store::Error> {
    let mut ends = store::open_sealed(&gateway.store, &gateway.site.gateway, &gateway.seal)?;
    ends.journal.keep_consumers(named)?;
    Ok(ends)
}

impl Lookout {
    /// Until the journal has to go elsewhere: why the next house is built.
    pub(super) async fn moves(&mut self) -> &'static str {
        match &self.card {
            Some((dir, pauses)) => {
                card_is_back(dir, pauses).await;
                ONTO_DISK
            }
            // A damaged journal is refused by intake too.
            None => tokio::select! {
                biased;
                () = said(&mut self.damage) => RECOVERED,
                () = said(&mut self.refused) => INTO_MEMORY,
            },
        }
    }
}

/// Until something is said; who is gone says nothing, which others see.
async fn said(words: &mut watch::Receiver<Option<String>>) {
    if words.wait_for(Option::is_some).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn card_is_back(dir: &Path, pauses: &Mutex<Backoff>) {
    loop {
        let pause = pauses.lock().await.pause();
        tokio::time::sleep(pause).await;
        if takes_writes(dir, ANSWERS_WITHIN).await {
            return;
        }
    }
}

async fn takes_writes(dir: &Path, within: Duration) -> bool {
    let dir = dir.to_owned();
    let tried = tokio::task::spawn_blocking(move || memory::takes_writes(&dir));
    match timeout(within, tried).await {
        Ok(Ok(Ok(()))) => return true,
        Ok(Ok(Err(error))) => tracing::info!(%error, "the card still takes no writes"),
        Ok(Err(_)) | Err(_) => tracing::info!("the card does not answer"),
    }
    false
}
