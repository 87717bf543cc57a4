//! The writing end: one page of changes is one transaction, on the disk when `commit` returns.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use tracing::error;

use super::chain::{self, Pen};
use super::erasure::{Between, Erasing};
use super::expiry::Expiring;
use super::keys::{self, KEYS_MAX, Known as OrdersKnown};
use super::maintenance::{self, MaintenanceRow};
use super::orders::{self, AccessRow, ORDERS_MAX, OrderRow};
use super::rescue::Seen;
use super::reseal::Stage;
use super::restore::{self, Origin};
use super::scrub::Scrub;
use super::seal::Place;
use super::{Alarm, Error, Kind, Outbox, Seal, damage, file, mark};
use crate::event;
use crate::live::DeviceState;
use crate::maintenance::Maintenance;
use crate::reading::Millis;
use crate::ticket::{State, Ticket};

/// The only writer of tickets and events; owned by one thread.
#[derive(Debug)]
pub struct Journal {
    pub(super) db: Connection,
    pub(super) gateway: Arc<str>,
    pub(super) epoch: Arc<str>,
    pub(super) seal: Seal,
    pub(super) head: u64,
    /// Time of the last history flush before the start.
    pub(super) flushed: Millis,
    /// A sync has failed, and what is in the WAL may be nowhere but in memory.
    pub(super) unsure: bool,
    pub(super) dir: PathBuf,
    /// Keeps other daemons out as long as it is open; `None`: there is no directory that could be locked.
    pub(super) lock: Option<file::Lock>,
    /// Whoever reads this journal to its end sees the cursors as they are there.
    pub(super) outbox: Option<Outbox>,
    /// Where the journal is in memory: why.
    pub(super) afloat: Option<Arc<str>>,
    pub(super) alarm: Alarm,
    pub(super) seen: Seen,
    /// Reads on the disk what nobody asks for.
    pub(super) scrub: Option<Scrub>,
    /// How far old rows are under the present key.
    pub(super) resealing: Stage,
    /// The head that its mark speaks of; `None`: it has none.
    pub(super) marked: Option<u64>,
    /// What the outbox and the journal know of each other.
    pub(super) between: Arc<Between>,
    pub(super) erasing: Erasing,
    /// Kinds that are not kept for as long as others.
    pub(super) kinds: Vec<Expiring>,
}

/// What one step of the world caused; written as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Page {
    pub at: Millis,
    /// Whether the clock could be believed.
    pub synced: bool,
    pub events: Vec<event::Draft>,
    pub tickets: Vec<TicketRow>,
    pub episodes: Vec<EpisodeRow>,
    pub devices: Vec<DeviceRow>,
    pub orders: Vec<OrderRow>,
    /// What doors and lockers go on from, by subject.
    pub access: Vec<AccessRow>,
    pub maintenance: Vec<MaintenanceRow>,
    /// The last ticket number used, where it changed.
    pub number: Option<u64>,
}

impl Page {
    pub fn is_blank(&self) -> bool {
        self.events.is_empty()
            && self.tickets.is_empty()
            && self.episodes.is_empty()
            && self.devices.is_empty()
            && self.orders.is_empty()
            && self.access.is_empty()
            && self.maintenance.is_empty()
            && self.number.is_none()
    }
}

/// A ticket as it now is; takes the place of the one with the same id.
#[derive(Debug, Clone, PartialEq)]
pub struct TicketRow {
    pub ticket: Ticket,
    /// Point or device id, empty where the rule has none.
    pub subject: Arc<str>,
    /// Private JSON of the rules.
    pub life: String,
}

/// The running state of one rule on one subject; `None`: gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeRow {
    pub rule: Arc<str>,
    pub subject: Arc<str>,
    pub state: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    pub device: Arc<str>,
    pub state: DeviceState,
    pub since: Millis,
    pub why: Option<String>,
}

/// How this epoch began.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Before {
    pub epoch: Option<String>,
    pub reason: String,
    pub at: Millis,
    /// Events that are lost; `None`: nobody knows how many.
    pub lost: Option<u64>,
    /// Rows that were damaged, by table; none where nothing was.
    #[serde(default)]
    pub rows: BTreeMap<String, u64>,
    /// The file was damaged, and what was acknowledged in it stayed behind.
    #[serde(default)]
    pub damaged: bool,
}

/// What a restart goes on from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// All unclosed ones, and those closed in the 30 days before `last_trace`, in the order of their ids.
    pub tickets: Vec<TicketRow>,
    pub episodes: Vec<EpisodeRow>,
    pub devices: Vec<DeviceRow>,
    /// Those that were under way.
    pub orders: Vec<OrderRow>,
    pub access: Vec<AccessRow>,
    pub maintenance: Vec<Maintenance>,
    /// The last ticket number used.
    pub number: u64,
    /// Time of the last commit, or of a history flush soon after it; 0 if there was none.
    pub last_trace: Millis,
}

/// Closed tickets are remembered this long, since their fault may come back; no rule can reopen an older one.
pub const CLOSED_REMEMBERED: Millis = 30 * 24 * 3600 * 1000;
/// Closed tickets remembered at the most, the latest ones; a storm must not eat the memory.
pub(super) const CLOSED_REMEMBERED_MAX: usize = 2000;
/// An event that a consumer did not like holds what comes after it for so long since it was set aside.
const ASIDE_KEPT: Millis = 90 * 24 * 3600 * 1000;
/// The journal is written once an hour at the least. A flush of the history further from it was dated by another clock.
const FLUSHED_AFTER: Millis = 2 * 3600 * 1000;
/// Rows deleted in one transaction, so that a commit never waits long for it.
const BITE: u64 = 1000;

impl Journal {
    pub(super) fn open(
        dir: &Path,
        gateway: &str,
        seal: &Seal,
        lock: file::Lock,
        flushed: Millis,
        traces: bool,
    ) -> Result<Self, Error> {
        let db = damage::open(dir, gateway, seal, traces)?;
        let path = dir.join(file::JOURNAL);
        let epoch = epoch_for(&db, &path, gateway)?;
        let head = file::head(&db)?;
        // A sync may have failed at the end of the run before, when nobody was there to see it.
        let unsure = file::bring_home(&db).is_err_and(|error| file::is_failed_sync(&error));
        let alarm = Alarm::of(dir);
        if let Err(error) = mark::write(dir, &epoch, head) {
            tracing::warn!(%error, "how far the journal has come cannot be marked");
        }
        Ok(Self {
            marked: Some(head),
            resealing: Stage::of(seal),
            scrub: Some(Scrub::begin(&path, alarm.clone())),
            alarm,
            seen: Seen::of(dir),
            db,
            gateway: gateway.into(),
            epoch: epoch.into(),
            seal: seal.clone(),
            head,
            flushed,
            unsure,
            dir: dir.to_owned(),
            lock: Some(lock),
            outbox: None,
            afloat: None,
            between: Arc::default(),
            erasing: Erasing::default(),
            kinds: Vec::new(),
        })
    }

    /// This journal's life: a short text without dots, made with the file.
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// The last event's number, 0 where there is none.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Tells of damage that is met while the journal is open.
    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// The epoch before this one, and why it ended; `None`: this is the first one, or nobody knows.
    pub fn before(&self) -> Result<Option<Before>, Error> {
        let before: Option<String> = self.db.query_row("SELECT before FROM gateway", [], |row| row.get(0))?;
        Ok(before.and_then(|before| serde_json::from_str(&before).ok()))
    }

    /// The journal is in memory, since the card takes nothing: what it said.
    pub fn why_in_memory(&self) -> Option<&Arc<str>> {
        self.afloat.as_ref()
    }

    /// Where it comes from, if it has been restored and this is its first run.
    pub fn origin(&self) -> Result<Option<Origin>, Error> {
        restore::origin(&self.db)
    }

    /// Writes down how far it has come, where that has changed, for a start that finds less.
    pub fn leave_mark(&mut self) {
        if self.marked.is_some_and(|marked| marked != self.head)
            && mark::write(&self.dir, &self.epoch, self.head).is_ok()
        {
            self.marked = Some(self.head);
        }
    }

    pub fn recall(&self) -> Result<Memory, Error> {
        self.alarm.heed(self.read())
    }

    fn read(&self) -> Result<Memory, Error> {
        let (number, committed): (u64, Millis) =
            self.db.query_row("SELECT number, committed FROM gateway", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let same_clock =
            committed == 0 || (committed..=committed.saturating_add(FLUSHED_AFTER)).contains(&self.flushed);
        let last_trace = if same_clock { self.flushed } else { committed };
        Ok(Memory {
            tickets: self.recall_tickets(last_trace.saturating_sub(CLOSED_REMEMBERED))?,
            episodes: self.recall_episodes()?,
            devices: self.devices()?,
            orders: orders::under_way(&self.db, &self.seal)?,
            access: orders::access(&self.db, &self.seal)?,
            maintenance: maintenance::under_way(&self.db, &self.seal)?,
            number,
            last_trace,
        })
    }

    /// One transaction, synced to the disk when it returns; the events get the next numbers.
    /// Returns the new head. On an error nothing happened, and no number is used up.
    pub fn commit(&mut self, page: &Page) -> Result<u64, Error> {
        self.make_sure()?;
        let done = self.write(page);
        self.noticing(done)
    }

    fn write(&mut self, page: &Page) -> Result<u64, Error> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // From the file, not from memory: it is right even after a commit whose outcome was unsure.
        let before = file::head(&step)?;
        let (gateway, epoch, seal) = (&self.gateway, &self.epoch, &self.seal);
        let teller = Teller { gateway, epoch, seal, at: page.at, synced: page.synced };
        let seq = write_events(&step, &teller, &page.events, before)?;
        write_tickets(&step, seal, page, before)?;
        write_episodes(&step, &page.episodes)?;
        write_devices(&step, &page.devices)?;
        orders::write(&step, seal, &page.orders)?;
        orders::write_access(&step, seal, &page.access)?;
        maintenance::write(&step, seal, &page.maintenance)?;
        step.prepare_cached("UPDATE gateway SET number = coalesce(?1, number), committed = ?2")?
            .execute(params![page.number, page.at])?;
        step.commit()?;
        self.head = seq;
        Ok(seq)
    }

    /// Writes down whom the configuration names. Others keep their cursor, but nothing waits for them any more.
    pub fn keep_consumers(&mut self, consumers: &[(Arc<str>, Kind, bool)]) -> Result<(), Error> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        step.execute("UPDATE consumer SET configured = 0, required = 0", [])?;
        for (name, kind, required) in consumers {
            step.execute(
                "INSERT INTO consumer(name, kind, required, configured, acknowledged) VALUES (?1, ?2, ?3, 1, 0)
                 ON CONFLICT(name) DO UPDATE SET kind = ?2, required = ?3, configured = 1",
                params![name, kind.word(), required],
            )?;
        }
        step.commit()?;
        Ok(())
    }

    /// Deletes the oldest events that are older than `keep`, acknowledged by every required consumer, not set aside
    /// and not of an unclosed ticket, up to the first that has to stay; then closed tickets that no event speaks of
    /// any more. At most 1000 events a call; returns how many. Only with a clock that can be believed.
    pub fn retire(&mut self, now: Millis, keep: Duration) -> Result<u64, Error> {
        let cut = now.saturating_sub(keep.as_millis().try_into().unwrap_or(Millis::MAX));
        let done = self.retire_before(now, cut);
        self.noticing(done)
    }

    fn retire_before(&mut self, now: Millis, cut: Millis) -> Result<u64, Error> {
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let end = retirable_end(&step, now, cut)?;
        chain::before_retiring(&step, end)?;
        step.prepare_cached("DELETE FROM aside WHERE seq < ?1")?.execute([end])?;
        let deleted = step.prepare_cached("DELETE FROM event WHERE seq < ?1")?.execute([end])?;
        step.prepare_cached(
            "DELETE FROM ticket WHERE id IN
                (SELECT id FROM ticket WHERE state = 'closed' AND closed_at < ?1 AND last_seq < ?2 LIMIT 100)",
        )?
        .execute(params![cut.min(now.saturating_sub(CLOSED_REMEMBERED)), end])?;
        step.commit()?;
        Ok(deleted as u64)
    }

    /// Of doors and banks that the configuration no longer has, nothing is kept.
    pub fn forget_access(&mut self, subjects: &[&str]) -> Result<(), Error> {
        if subjects.is_empty() {
            return Ok(());
        }
        let forget = |db: &mut Connection| {
            let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            orders::forget_access(&step, subjects)?;
            step.commit()
        };
        let done = forget(&mut self.db).map_err(Error::from);
        self.noticing(done)
    }

    /// The order under this key, where one is kept.
    pub fn order(&self, key: &str) -> Result<Option<OrderRow>, Error> {
        self.alarm.heed(orders::named(&self.db, &self.seal, key).map_err(Error::from))
    }

    /// Deletes orders that ended before `cut`, and the oldest beyond [`ORDERS_MAX`]; at most 1000 a call, and none that
    /// may not have expired by `expired`. Returns how many. Their keys are never free again.
    pub fn retire_orders(&mut self, cut: Millis, expired: Millis) -> Result<u64, Error> {
        let done = orders::retire(&mut self.db, cut, expired).map_err(Error::from);
        self.noticing(done)
    }

    /// Whether an order was given under this key that is no longer kept.
    pub fn is_key_used(&self, key: &str) -> Result<bool, Error> {
        self.alarm.heed(keys::is_used(&self.db, key).map_err(Error::from))
    }

    /// What is known of orders that are gone.
    pub fn orders_known(&self) -> Result<OrdersKnown, Error> {
        self.alarm.heed(keys::known(&self.db).map_err(Error::from))
    }

    /// Whether there is room for one more order, with some more than [`ORDERS_MAX`] until the next
    /// [`retire_orders`](Self::retire_orders); and for one more key that has to stay for ever.
    pub fn order_room(&self) -> Result<(bool, bool), Error> {
        let room = || -> rusqlite::Result<_> {
            let most = ORDERS_MAX + orders::BITE;
            Ok((orders::count(&self.db)? < most, keys::count(&self.db)? < KEYS_MAX))
        };
        self.alarm.heed(room().map_err(Error::from))
    }

    /// What was ordered of a device since then: action, target, when.
    pub fn orders_given(&self, device: &str, since: Millis) -> Result<Vec<(String, String, Millis)>, Error> {
        self.alarm.heed(orders::given(&self.db, device, since).map_err(Error::from))
    }

    /// Writes down this start's boot of the machine; whether the run before was under another one.
    pub fn begin_boot(&mut self, boot: &str) -> Result<bool, Error> {
        let done = keys::begin_boot(&self.db, boot).map_err(Error::from);
        self.noticing(done)
    }

    /// The last events of doors and readers that carry a record of their device, oldest first, as they were told.
    pub fn records(&self) -> Result<Vec<String>, Error> {
        self.alarm.heed(orders::records(&self.db, &self.seal).map_err(Error::from))
    }

    /// What [`records`](Self::records) has last of each device: its subject and the record.
    pub fn last_records(&self) -> Result<Vec<(String, String)>, Error> {
        self.alarm.heed(orders::last_records(&self.db, &self.seal).map_err(Error::from))
    }

    /// When a sync fails, the kernel forgets what it had still to write, cursors among it that were committed without a
    /// sync, and the next sync says that all is well. After a power cut the WAL would end at that hole, with all that
    /// was told since behind it. So before anything more is told, what is in the WAL is written into the file itself.
    pub(super) fn make_sure(&mut self) -> Result<(), Error> {
        if self.unsure {
            self.alarm.heed(file::bring_home(&self.db).map_err(Error::from))?;
            (self.unsure, self.seen.log_bytes) = (false, 0);
        }
        Ok(())
    }

    pub(super) fn noticing<T>(&mut self, done: Result<T, Error>) -> Result<T, Error> {
        self.unsure |= matches!(&done, Err(Error::Sql(error)) if file::is_failed_sync(error));
        self.alarm.heed(done)
    }

    fn recall_tickets(&self, closed_since: Millis) -> Result<Vec<TicketRow>, Error> {
        let mut query = self.db.prepare(
            "SELECT json, subject, life, id FROM ticket WHERE state <> 'closed'
             UNION ALL
             SELECT * FROM (SELECT json, subject, life, id FROM ticket
                            WHERE state = 'closed' AND closed_at >= ?1 ORDER BY closed_at DESC LIMIT ?2)
             ORDER BY id",
        )?;
        let mut rows = query.query(params![closed_since, CLOSED_REMEMBERED_MAX as i64])?;
        let mut tickets = Vec::new();
        while let Some(row) = rows.next()? {
            match ticket_row(row, &self.seal) {
                Ok(row) => tickets.push(row),
                Err(error) => {
                    let id: String = row.get(3).unwrap_or_default();
                    error!(ticket = %id, error, "A stored ticket cannot be read; it stays as it is, and everything else goes on without it.");
                }
            }
        }
        Ok(tickets)
    }

    fn recall_episodes(&self) -> Result<Vec<EpisodeRow>, Error> {
        let mut query = self.db.prepare("SELECT rule, subject, state FROM episode")?;
        let rows = query.query_map([], |row| {
            Ok(EpisodeRow { rule: row.get(0)?, subject: row.get(1)?, state: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What was last known of the devices.
    fn devices(&self) -> Result<Vec<DeviceRow>, Error> {
        let mut query = self.db.prepare("SELECT id, online, since, why FROM device")?;
        let rows = query.query_map([], |row| {
            let state = match row.get(1)? {
                0 => DeviceState::Offline,
                2 => DeviceState::Degraded,
                _ => DeviceState::Online,
            };
            Ok(DeviceRow { device: row.get(0)?, state, since: row.get(2)?, why: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Drop for Journal {
    /// The next start needs not read all of it.
    fn drop(&mut self) {
        drop(self.scrub.take());
        self.leave_mark();
        if !std::thread::panicking() && self.alarm.heard().borrow().is_none() {
            // A card that does not take it makes the next start a longer one; who reads still is not waited for.
            let _ = self.db.busy_timeout(Duration::from_millis(500));
            let _ = self.db.execute("UPDATE gateway SET ended = 1", []);
            let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}

fn ticket_row(row: &Row<'_>, seal: &Seal) -> Result<TicketRow, Box<dyn std::error::Error>> {
    let id: String = row.get(3)?;
    Ok(TicketRow {
        ticket: serde_json::from_str(&seal.open(Place::Ticket(&id), row.get_ref(0)?.as_str()?)?)?,
        subject: row.get(1)?,
        life: row.get(2)?,
    })
}

/// The epoch of this gateway's journal, made where the file is new.
fn epoch_for(db: &Connection, path: &Path, gateway: &str) -> Result<String, Error> {
    let known: Option<(String, String)> =
        db.query_row("SELECT id, epoch FROM gateway", [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match known {
        Some((id, epoch)) if id == gateway => Ok(epoch),
        Some((theirs, _)) => {
            Err(Error::OtherGateway { path: path.to_owned(), theirs, ours: gateway.to_owned() })
        }
        None => {
            let epoch = uuid::Uuid::now_v7().simple().to_string();
            db.execute(
                "INSERT INTO gateway(one, id, epoch, number, committed) VALUES (1, ?1, ?2, 0, 0)",
                params![gateway, epoch],
            )?;
            Ok(epoch)
        }
    }
}

/// Whose events they are, and when they are written.
pub(super) struct Teller<'a> {
    pub gateway: &'a str,
    pub epoch: &'a str,
    pub seal: &'a Seal,
    pub at: Millis,
    pub synced: bool,
}

/// After the number `before`; the new head.
pub(super) fn write_events(
    step: &Transaction<'_>,
    teller: &Teller<'_>,
    drafts: &[event::Draft],
    before: u64,
) -> Result<u64, Error> {
    let mut pen = Pen::at_the_end(step, teller.gateway, teller.epoch, teller.seal)?;
    let mut seq = before;
    for draft in drafts {
        seq += 1;
        let json = draft.render(teller.gateway, teller.epoch, seq, teller.synced);
        let (at, kind, ticket) = (teller.at, draft.kind, ticket_of(draft));
        pen.write(step, &chain::Row { seq, at, kind, ticket, json: &json })?;
    }
    Ok(seq)
}

fn ticket_of(draft: &event::Draft) -> Option<&str> {
    draft.subject.strip_prefix("tickets/")
}

/// `before` is the number before this page's first event.
fn write_tickets(step: &Transaction<'_>, seal: &Seal, page: &Page, before: u64) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT INTO ticket(id, state, device, closed_at, last_seq, subject, life, json, sum)
         VALUES (?1, ?2, ?3, ?4, coalesce(?5, 0), ?6, ?7, ?8, row_sum(?1, ?2, ?3, ?4, ?6, ?7, ?8))
         ON CONFLICT(id) DO UPDATE SET state = ?2, device = ?3, closed_at = ?4, last_seq = coalesce(?5, last_seq),
             subject = ?6, life = ?7, json = ?8, sum = excluded.sum",
    )?;
    for row in &page.tickets {
        let ticket = &row.ticket;
        let json = serde_json::to_string(ticket)
            .map_err(|source| Error::Ticket { id: ticket.id.to_string(), source })?;
        let json = seal.close(Place::Ticket(&ticket.id), &json)?;
        let spoken = page
            .events
            .iter()
            .rposition(|draft| ticket_of(draft) == Some(&*ticket.id))
            .map(|index| before + index as u64 + 1);
        // Retention looks for closed tickets by this time; one without would be kept for ever.
        let closed_at = (ticket.state == State::Closed).then(|| ticket.closed_at.unwrap_or(page.at));
        write.execute(params![
            ticket.id,
            ticket.state.word(),
            ticket.device,
            closed_at,
            spoken,
            row.subject,
            row.life,
            json,
        ])?;
    }
    Ok(())
}

fn write_episodes(step: &Transaction<'_>, episodes: &[EpisodeRow]) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO episode(rule, subject, state, sum) VALUES (?1, ?2, ?3, row_sum(?1, ?2, ?3))",
    )?;
    let mut delete = step.prepare_cached("DELETE FROM episode WHERE rule = ?1 AND subject = ?2")?;
    for row in episodes {
        match &row.state {
            Some(state) => write.execute(params![row.rule, row.subject, state])?,
            None => delete.execute(params![row.rule, row.subject])?,
        };
    }
    Ok(())
}

fn write_devices(step: &Transaction<'_>, devices: &[DeviceRow]) -> Result<(), Error> {
    let mut write = step.prepare_cached(
        "INSERT OR REPLACE INTO device(id, online, since, why, sum)
         VALUES (?1, ?2, ?3, ?4, row_sum(?1, ?2, ?3, ?4))",
    )?;
    for row in devices {
        let state = match row.state {
            DeviceState::Offline | DeviceState::Unknown => 0,
            DeviceState::Online => 1,
            DeviceState::Degraded => 2,
        };
        write.execute(params![row.device, state, row.since, row.why])?;
    }
    Ok(())
}

/// Everything below this number may go. The head itself stays: the next number is read from it.
fn retirable_end(step: &Transaction<'_>, now: Millis, cut: Millis) -> Result<u64, Error> {
    let head = file::head(step)?;
    let oldest = file::oldest(step)?;
    let bite_end = (oldest + BITE).min(head);
    let acknowledged: Option<u64> =
        step.query_row("SELECT min(acknowledged) FROM consumer WHERE required", [], |row| row.get(0))?;
    // What was set aside is kept for people to look into, and not for ever.
    let aside: Option<u64> = step.query_row(
        "SELECT min(seq) FROM aside WHERE at >= ?1",
        [now.saturating_sub(ASIDE_KEPT)],
        |row| row.get(0),
    )?;
    let first_to_stay: Option<u64> = step
        .prepare_cached(
            "SELECT seq FROM event WHERE seq < ?1 AND (at >= ?2 OR EXISTS
                (SELECT 1 FROM ticket WHERE ticket.id = event.ticket AND ticket.state <> 'closed'))
             ORDER BY seq LIMIT 1",
        )?
        .query_row(params![bite_end, cut], |row| row.get(0))
        .optional()?;
    Ok([acknowledged.map(|seq| seq.saturating_add(1)), aside, first_to_stay]
        .into_iter()
        .flatten()
        .fold(bite_end, u64::min))
}
