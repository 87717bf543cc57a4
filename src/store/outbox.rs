//! The settling end: reads events by a consumer's cursor and moves it. Writes nothing but cursors and what hangs on
//! them. Its calls block; an async caller goes through `spawn_blocking`.
//!
//! A cursor that a power cut takes back only means that events are sent again; each has an id of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::erasure::Between;
use super::file::{self, Durable};
use super::{Alarm, Error, Seal, Slice, ahead, chain, overlay, view};
use crate::event::{Kinds, Stored};
use crate::reading::Millis;

/// Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(super) db: Arc<Mutex<Connection>>,
    pub(super) seal: Seal,
    pub(super) alarm: Alarm,
    /// The journal's own.
    pub(super) between: Arc<Between>,
}

/// Where a cursor now is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub acknowledged: u64,
    pub head: u64,
}

/// The next events of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pending {
    pub slice: Slice,
    pub acknowledged: u64,
    /// Numbers among these that were left out, since they went ahead or were set aside; in order.
    pub without: Vec<u64>,
    /// The first number still kept. Above `acknowledged + 1`: what lies between was retired while nothing waited for it.
    pub oldest: u64,
}

/// Names come from tokens and the configuration; this is only against a configuration that changes every day.
const CONSUMERS_MAX: usize = 100;
/// Events set aside that are remembered for one consumer. Of a centre that likes nothing any more the oldest give way;
/// they are in the journal for as long as others.
const ASIDE_MAX: i64 = 10_000;
/// What a consumer is told to suffer from is for people.
const WORDS_BYTES_MAX: usize = 500;

impl Outbox {
    pub(super) fn open(dir: &Path, seal: &Seal, alarm: &Alarm) -> Result<Self, Error> {
        let outbox = Self::on(&dir.join(file::JOURNAL), seal)?;
        Ok(Self { alarm: alarm.clone(), ..outbox })
    }

    pub(super) fn on(journal: &Path, seal: &Seal) -> Result<Self, Error> {
        let db = file::writer(journal, Durable::Normal)?;
        // The journal empties the WAL: it sees it when a sync fails, and here that would go by in silence.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        ahead::teach(&db, seal)?;
        let (alarm, between) = (Alarm::default(), Arc::default());
        Ok(Self { db: Arc::new(Mutex::new(db)), seal: seal.clone(), alarm, between })
    }

    /// The next events of a consumer, in order, without what went ahead to it and what was set aside for it.
    pub fn pending(&self, consumer: &str, limit: usize, kinds: &Kinds) -> Result<Pending, Error> {
        let read = || {
            let mut db = self.lock();
            let read = db.transaction()?;
            let acknowledged = cursor(&read, consumer)?.unwrap_or(0);
            let mut without = ahead::left_out(&read, consumer, acknowledged)?;
            let slice = view::slice(&read, &self.seal, acknowledged, limit, kinds, &without)?;
            without.retain(|seq| *seq <= slice.next);
            Ok(Pending { slice, acknowledged, without, oldest: file::oldest(&read)? })
        };
        self.alarm.heed(read())
    }

    /// Pending events of unclosed tickets, the urgent ones first, all of whose pending events lie above `above`; of each
    /// ticket from its first one on. In order of their numbers.
    pub fn urgent(
        &self,
        consumer: &str,
        above: u64,
        limit: usize,
        kinds: &Kinds,
    ) -> Result<Vec<Stored>, Error> {
        let read = || {
            let mut db = self.lock();
            let read = db.transaction()?;
            let acknowledged = cursor(&read, consumer)?.unwrap_or(0);
            let asked = ahead::Asked { consumer, acknowledged, above, limit, kinds };
            Ok(ahead::urgent(&read, &self.seal, &asked)?)
        };
        self.alarm.heed(read())
    }

    /// These are with the consumer, though its cursor is not there yet.
    pub fn went_ahead(&self, consumer: &str, seqs: &[u64], now: Millis) -> Result<(), Error> {
        self.write(|step| {
            know(step, consumer)?;
            step.prepare_cached("UPDATE consumer SET seen = ?2 WHERE name = ?1")?
                .execute(params![consumer, now])?;
            Ok(ahead::note(step, consumer, seqs)?)
        })
    }

    /// Everything up to `seq` is safe with the consumer. Only ever forward: below its cursor nothing happens.
    pub fn settle(&self, consumer: &str, seq: u64, now: Millis) -> Result<Settled, Error> {
        self.write(|step| {
            let head = file::head(step)?;
            if seq > head {
                return Err(Error::AheadOfJournal { asked: seq, head });
            }
            know(step, consumer)?;
            acknowledge(step, consumer, seq, now)?;
            Ok(Settled { acknowledged: cursor(step, consumer)?.unwrap_or(0), head })
        })
    }

    /// The consumer does not like this event, the next one of it: it goes on without it, and the event is kept.
    pub fn set_aside(&self, consumer: &str, seq: u64, why: &str, now: Millis) -> Result<(), Error> {
        self.write(|step| {
            put_aside(step, consumer, seq, why, now)?;
            acknowledge(step, consumer, seq, now)
        })
    }

    /// Likewise of one that went ahead; the cursor stays.
    pub fn set_aside_ahead(&self, consumer: &str, seq: u64, why: &str, now: Millis) -> Result<(), Error> {
        self.write(|step| put_aside(step, consumer, seq, why, now))
    }

    /// What the consumer suffers from; `None`: nothing any more.
    pub fn note(&self, consumer: &str, error: Option<&str>, now: Millis) -> Result<(), Error> {
        self.write(|step| {
            know(step, consumer)?;
            step.execute(
                "UPDATE consumer SET error = ?2, seen = CASE WHEN ?2 IS NULL THEN ?3 ELSE seen END WHERE name = ?1",
                params![consumer, error.map(shortened), now],
            )?;
            Ok(())
        })
    }

    /// Forgets a consumer that the configuration does not name; says whether there was one.
    pub fn forget(&self, consumer: &str) -> Result<bool, Error> {
        self.write(|step| {
            let configured: Option<bool> = step
                .query_row("SELECT configured FROM consumer WHERE name = ?1", [consumer], |row| row.get(0))
                .optional()?;
            if configured == Some(true) {
                return Err(Error::Configured(consumer.to_owned()));
            }
            for table in ["aside", "ahead", "anchor"] {
                step.execute(&format!("DELETE FROM {table} WHERE consumer = ?1"), [consumer])?;
            }
            Ok(step.execute("DELETE FROM consumer WHERE name = ?1", [consumer])? > 0)
        })
    }

    /// The consumer's cursor, 0 where it is not known.
    pub fn acknowledged(&self, consumer: &str) -> Result<u64, Error> {
        let cursor = cursor(&self.lock(), consumer).map_err(Error::from);
        Ok(self.alarm.heed(cursor)?.unwrap_or(0))
    }

    /// Goes up when events that may have been read have become stubs: they are not to be sent as they were.
    pub fn rewritten(&self) -> u64 {
        self.between.read()
    }

    /// Where the disk refuses, cursors go on in memory until it does not: a centre that has its events does not get
    /// them again and again.
    fn write<T>(&self, work: impl Fn(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let mut db = self.lock();
        overlay::lift(&mut db);
        match attempt(&mut db, &work) {
            Err(error) if error.is_refusal() && overlay::lay(&db)? => attempt(&mut db, &work),
            done => self.alarm.heed(done),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn attempt<T>(db: &mut Connection, work: impl Fn(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = work(&step)?;
    step.commit()?;
    Ok(done)
}

fn cursor(db: &Connection, consumer: &str) -> rusqlite::Result<Option<u64>> {
    db.prepare_cached("SELECT acknowledged FROM consumer WHERE name = ?1")?
        .query_row([consumer], |row| row.get(0))
        .optional()
}

/// Forward only; with it goes the value of the chain there.
fn acknowledge(step: &Transaction<'_>, consumer: &str, seq: u64, now: Millis) -> Result<(), Error> {
    let before = cursor(step, consumer)?.unwrap_or(0);
    step.prepare_cached(
        "UPDATE consumer SET acknowledged = max(acknowledged, ?2), seen = ?3, error = NULL WHERE name = ?1",
    )?
    .execute(params![consumer, seq, now])?;
    if seq > before {
        chain::anchor(step, consumer, seq, now)?;
    }
    Ok(ahead::prune(step, consumer)?)
}

/// Whoever acknowledges is a consumer, named in the configuration or not.
fn know(step: &Transaction<'_>, consumer: &str) -> Result<(), Error> {
    if cursor(step, consumer)?.is_some() {
        return Ok(());
    }
    let known: usize = step.query_row("SELECT count(*) FROM consumer", [], |row| row.get(0))?;
    if known >= CONSUMERS_MAX {
        return Err(Error::TooManyConsumers(known));
    }
    step.execute(
        "INSERT INTO consumer(name, kind, required, configured, acknowledged) VALUES (?1, 'pull', 0, 0, 0)",
        [consumer],
    )?;
    Ok(())
}

fn put_aside(step: &Transaction<'_>, consumer: &str, seq: u64, why: &str, now: Millis) -> Result<(), Error> {
    know(step, consumer)?;
    step.execute(
        "INSERT OR REPLACE INTO aside(consumer, seq, at, why) VALUES (?1, ?2, ?3, ?4)",
        params![consumer, seq, now, shortened(why)],
    )?;
    step.execute(
        "DELETE FROM aside WHERE consumer = ?1 AND seq <=
             (SELECT seq FROM aside WHERE consumer = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
        params![consumer, ASIDE_MAX],
    )?;
    Ok(())
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(WORDS_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_that_are_set_aside_the_oldest_give_way() {
        let dir = tempfile::tempdir().unwrap();
        drop(file::journal(dir.path()).unwrap());
        let outbox = Outbox::open(dir.path(), &Seal::none(), &Alarm::default()).unwrap();
        let many = "WITH RECURSIVE n(seq) AS (SELECT 3 UNION ALL SELECT seq + 1 FROM n WHERE seq < ?1 + 2)
                    INSERT INTO aside SELECT 'crm', seq, 0, '422' FROM n";
        assert_eq!(outbox.lock().execute(many, [ASIDE_MAX]).unwrap(), ASIDE_MAX as usize);
        let range = |outbox: &Outbox| {
            let range = "SELECT min(seq), max(seq), count(*) FROM aside WHERE consumer = 'crm'";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            outbox.lock().query_row(range, [], row).unwrap()
        };
        assert_eq!(range(&outbox), (3, ASIDE_MAX + 2, ASIDE_MAX));
        outbox.set_aside_ahead("crm", 20_000, "422", 0).unwrap();
        assert_eq!(range(&outbox), (4, 20_000, ASIDE_MAX));
    }
}
