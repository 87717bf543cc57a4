//! The reading end: shows everything, disturbs nothing. Its calls block; an async caller goes through `spawn_blocking`.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chain::{self, Kept};
use super::gathered::Shared;
use super::past::Readings;
use super::seal::Place;
use super::{Alarm, Error, Kind, Seal, Slice, TicketRow, alarm, file, sum};
use crate::chain::Link;
use crate::event::{Kinds, Stored};
use crate::reading::Millis;
use crate::ticket::State;

/// Cheap to clone; all clones share one connection.
#[derive(Debug, Clone)]
pub struct View {
    db: Arc<Mutex<Connection>>,
    dir: Arc<Path>,
    gathered: Shared,
    epoch: Arc<str>,
    seal: Seal,
    alarm: Alarm,
}

/// Which tickets; an empty list of states means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub states: Vec<State>,
    pub device: Option<String>,
    /// Only ids after this one.
    pub after: Option<String>,
    /// At most [`TICKETS_MAX`].
    pub limit: usize,
}

/// How far a consumer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerNow {
    pub name: String,
    pub kind: Kind,
    pub required: bool,
    pub acknowledged: u64,
    /// Events it has still to get.
    pub lag: u64,
    pub last_seen: Option<Millis>,
    /// Numbers of events it did not like, the first [`ASIDE_SHOWN_MAX`].
    pub set_aside: Vec<u64>,
    /// The chain where it has acknowledged to, and when it did.
    pub anchor: Option<(Link, Millis)>,
    /// What it suffers from now.
    pub error: Option<String>,
}

pub const TICKETS_MAX: usize = 1000;
pub const ASIDE_SHOWN_MAX: usize = 100;
/// Events looked at for one slice, so that a choosy reader cannot hold the connection for long.
pub(super) const SCANNED_MAX: usize = 5000;
/// Bytes of JSON in one slice; there is always room for one event.
const SLICE_BYTES_MAX: usize = 1 << 20;

impl View {
    pub(super) fn open(
        dir: &Path,
        epoch: Arc<str>,
        seal: &Seal,
        gathered: Shared,
        alarm: &Alarm,
    ) -> Result<Self, Error> {
        let view = Self::on(&dir.join(file::JOURNAL), dir, epoch, seal, gathered)?;
        Ok(Self { alarm: alarm.clone(), ..view })
    }

    pub(super) fn on(
        journal: &Path,
        dir: &Path,
        epoch: Arc<str>,
        seal: &Seal,
        gathered: Shared,
    ) -> Result<Self, Error> {
        let db = file::reader(journal)?;
        Ok(Self {
            db: Arc::new(Mutex::new(db)),
            dir: dir.into(),
            gathered,
            epoch,
            seal: seal.clone(),
            alarm: Alarm::default(),
        })
    }

    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// The last event's number, 0 where there is none.
    pub fn head(&self) -> Result<u64, Error> {
        self.alarm.heed(file::head(&self.lock()).map_err(Error::from))
    }

    /// The value of the chain at a number, where that event is kept and has one.
    pub fn chain_at(&self, seq: u64) -> Result<Option<Link>, Error> {
        self.alarm.heed(chain::at(&self.lock(), seq).map_err(Error::from))
    }

    /// At most `limit` events after the cursor; [`Error::Gone`] where some of them are no longer kept.
    pub fn events(&self, after: u64, limit: usize, kinds: &Kinds) -> Result<Slice, Error> {
        let kept = || {
            let mut db = self.lock();
            let read = db.transaction()?;
            let oldest = file::oldest(&read)?;
            if after.saturating_add(1) < oldest {
                return Err(Error::Gone { oldest: oldest - 1 });
            }
            Ok(slice(&read, &self.seal, after, limit, kinds, &[])?)
        };
        self.alarm.heed(kept())
    }

    /// Each ticket's id and its JSON, in the order of the ids.
    pub fn tickets(&self, filter: &Filter) -> Result<Vec<(String, String)>, Error> {
        // `,open,closed,`
        let states: String = filter.states.iter().flat_map(|state| [",", state.word(), ","]).collect();
        // Said in this way, the unclosed ones are found by their own index however many are closed.
        let unclosed = if states.is_empty() || filter.states.contains(&State::Closed) {
            ""
        } else {
            "state <> 'closed' AND"
        };
        let db = self.lock();
        let mut query = db.prepare_cached(&format!(
            "SELECT id, json, {} FROM ticket WHERE {unclosed} id > ?1 AND (?2 IS NULL OR device = ?2)
                 AND (?3 = '' OR instr(?3, ',' || state || ','))
             ORDER BY id LIMIT ?4",
            sum::TICKET_FITS
        ))?;
        let after = filter.after.as_deref().unwrap_or_default();
        let limit = filter.limit.min(TICKETS_MAX) as i64;
        let rows = query.query_map(params![after, filter.device, states, limit], |row| {
            fits(row, 2, 0, "ticket")?;
            let id: String = row.get(0)?;
            let json = self.seal.open(Place::Ticket(&id), row.get_ref(1)?.as_str()?)?.into_owned();
            Ok((id, json))
        })?;
        self.alarm.heed(rows.collect::<Result<_, _>>().map_err(Error::from))
    }

    /// One ticket's JSON.
    pub fn ticket(&self, id: &str) -> Result<Option<String>, Error> {
        let db = self.lock();
        let mut query =
            db.prepare_cached(&format!("SELECT json, id, {} FROM ticket WHERE id = ?1", sum::TICKET_FITS))?;
        let json = query.query_row([id], |row| {
            fits(row, 2, 1, "ticket")?;
            Ok(self.seal.open(Place::Ticket(id), row.get_ref(0)?.as_str()?)?.into_owned())
        });
        self.alarm.heed(json.optional().map_err(Error::from))
    }

    /// A ticket with what only the rules know of it.
    pub fn filed(&self, id: &str) -> Result<Option<TicketRow>, Error> {
        let db = self.lock();
        let mut query = db.prepare_cached(&format!(
            "SELECT json, subject, life, id, {} FROM ticket WHERE id = ?1",
            sum::TICKET_FITS
        ))?;
        let row = query.query_row([id], |row| {
            fits(row, 4, 3, "ticket")?;
            let json = self.seal.open(Place::Ticket(id), row.get_ref(0)?.as_str()?)?.into_owned();
            Ok((json, row.get(1)?, row.get(2)?))
        });
        let Some((json, subject, life)) = self.alarm.heed(row.optional().map_err(Error::from))? else {
            return Ok(None);
        };
        // One that cannot be read is one that nothing can be done with.
        Ok(serde_json::from_str(&json).ok().map(|ticket| TicketRow { ticket, subject, life }))
    }

    /// All consumers by name.
    pub fn consumers(&self) -> Result<Vec<ConsumerNow>, Error> {
        let read = || Ok(consumers(&*self.lock().transaction()?)?);
        self.alarm.heed(read())
    }

    /// The history as it is now, what is not in a file yet included.
    pub fn readings(&self) -> Result<Readings, Error> {
        // Opened for each question: they are rare, and files come and go.
        Readings::open(&self.dir, Some(self.gathered.clone()))
    }

    pub(super) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Damage that a look met is told to who keeps the journal.
    pub(super) fn heed<T>(&self, looked: Result<T, Error>) -> Result<T, Error> {
        self.alarm.heed(looked)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All consumers by name, at one moment of a transaction.
pub(super) fn consumers(read: &Connection) -> rusqlite::Result<Vec<ConsumerNow>> {
    let head = file::head(read)?;
    // A directory is looked at before it is brought up to date.
    let anchor = match read.prepare_cached("SELECT chain, chained FROM consumer") {
        Ok(_) => "chain, chained",
        Err(_) => "NULL, NULL",
    };
    let mut query = read.prepare_cached(&format!(
        "SELECT name, kind, required, acknowledged, seen, error, {anchor} FROM consumer ORDER BY name"
    ))?;
    let rows = query.query_map([], |row| {
        let acknowledged: u64 = row.get(3)?;
        Ok(ConsumerNow {
            name: row.get(0)?,
            kind: Kind::named(row.get_ref(1)?.as_str()?),
            required: row.get(2)?,
            acknowledged,
            lag: head.saturating_sub(acknowledged),
            last_seen: row.get(4)?,
            set_aside: Vec::new(),
            anchor: row.get::<_, Kept>(6)?.0.zip(row.get(7)?),
            error: row.get(5)?,
        })
    })?;
    let mut consumers = rows.collect::<Result<Vec<_>, _>>()?;
    let mut query = read.prepare_cached("SELECT seq FROM aside WHERE consumer = ?1 ORDER BY seq LIMIT ?2")?;
    for consumer in &mut consumers {
        let rows = query.query_map(params![consumer.name, ASIDE_SHOWN_MAX as i64], |row| row.get(0))?;
        consumer.set_aside = rows.collect::<Result<_, _>>()?;
    }
    Ok(consumers)
}

/// A row that is not as it was written is neither shown nor sent; the column `fits` says so, `id` which row it is.
pub(super) fn fits(row: &Row<'_>, fits: usize, id: usize, what: &str) -> rusqlite::Result<()> {
    if row.get(fits)? {
        return Ok(());
    }
    let id = match row.get_ref(id)? {
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        _ => "without a number".to_owned(),
    };
    Err(alarm::damage(format!("{what} {id} does not fit its sum")))
}

/// Events after the cursor that are wanted and not left out by number.
pub(super) fn slice(
    db: &Connection,
    seal: &Seal,
    after: u64,
    limit: usize,
    kinds: &Kinds,
    without: &[u64],
) -> rusqlite::Result<Slice> {
    let mut slice = Slice { events: Vec::new(), next: after, head: file::head(db)? };
    let mut query = db.prepare_cached(&format!(
        "SELECT seq, kind, json, {}, chain FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        sum::EVENT_FITS
    ))?;
    let mut rows = query.query(params![after.min(i64::MAX as u64), SCANNED_MAX as i64])?;
    let mut bytes = 0;
    while slice.events.len() < limit
        && let Some(row) = rows.next()?
    {
        fits(row, 3, 0, "event")?;
        let seq: u64 = row.get(0)?;
        let kind = row.get_ref(1)?.as_str()?;
        if kinds.want(kind) && without.binary_search(&seq).is_err() {
            let json = seal.open(Place::Event(seq), row.get_ref(2)?.as_str()?)?;
            bytes += json.len();
            if bytes > SLICE_BYTES_MAX && !slice.events.is_empty() {
                break;
            }
            let chain = row.get::<_, Kept>(4)?.0;
            slice.events.push(Stored { seq, kind: kind.to_owned(), json: json.into_owned(), chain });
        }
        slice.next = seq;
    }
    Ok(slice)
}
