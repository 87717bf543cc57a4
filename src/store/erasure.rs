//! Erasure of one person: every event that names the pseudonym becomes a stub, which keeps number, type, digest and its
//! place in the chain, and says `erased` in place of what it said.
//!
//! It is put down in the table `erasure` first, and is then done a bite at a time between other pages. Each bite is one
//! transaction with how far it has come, so that a kill at any moment costs nothing: the next start goes on there. At the
//! end, in one transaction, the pseudonym goes from all other tables too and `gateway.erased` tells the centre whom;
//! when every required consumer has that, it becomes a stub itself and the row goes. Deleted bytes are overwritten
//! (`secure_delete`), and the log is brought home, so that the files do not have it any more either.
//!
//! Where texts are sealed the row's are too, its key with them: a person is looked for by opening one row after the other.
//!
//! What comes of that person later is a new event. Copies that people made (a backup, what a restore set aside) are theirs.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Notify;

use super::journal::{self, Journal, Teller};
use super::seal::Place;
use super::{Error, Outbox, Seal, damage, file, sum, view};
use crate::chain::digest_of;
use crate::event::{self, Draft};
use crate::reading::Millis;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub pseudonym: String,
    pub by: String,
    pub reason: Option<String>,
}

/// How far an erasure is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    pub pseudonym: String,
    /// Events that have become stubs.
    pub events: u64,
    /// The event that tells it; `None`: it is under way.
    pub told: Option<u64>,
}

/// What outbox and journal know of each other.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// How often events became stubs; what was read before is out of date.
    rewritten: AtomicU64,
    /// Somebody is to be erased.
    wanted: Notify,
}

impl Between {
    pub fn rewritten(&self) {
        self.rewritten.fetch_add(1, Ordering::Release);
    }

    pub fn read(&self) -> u64 {
        self.rewritten.load(Ordering::Acquire)
    }
}

/// Wakes whoever keeps the journal when somebody is to be erased.
#[derive(Debug, Clone)]
pub struct Wanted(Arc<Between>);

impl Wanted {
    pub async fn any(&self) {
        self.0.wanted.notified().await;
    }
}

/// What the journal remembers between two bites.
#[derive(Debug, Default)]
pub(super) struct Erasing {
    under_way: bool,
    /// Whoever waits for the end sees it before it is forgotten.
    told: Option<Instant>,
    /// The log may still have what was erased.
    unwashed: bool,
}

/// A row of `erasure`.
pub(super) struct Work {
    /// The row's key: the pseudonym as it is stored.
    stored: String,
    pseudonym: String,
    by: String,
    reason: Option<String>,
    begun: Millis,
    scanned: u64,
    events: u64,
    told: Option<u64>,
}

const COLUMNS: &str = "pseudonym, by, reason, begun, scanned, events, told";

/// Under way, or not yet heard of by every centre.
pub const ERASURES_MAX: usize = 1000;
/// Events looked at in one transaction, so that a commit never waits long for it.
const BITE: u64 = 1000;
const SEEN_FOR: Duration = Duration::from_secs(3);
/// Where nobody has to have it, it is told for so long.
const TOLD_FOR: Millis = 7 * 24 * 3600 * 1000;

/// Where else a person may be named: a table with sums, its key, and its texts, of which some are sealed.
struct Elsewhere {
    table: &'static str,
    key: (&'static str, &'static str),
    plain: &'static [&'static str],
    sealed: &'static [&'static str],
}

const ELSEWHERE: [Elsewhere; 5] = [
    Elsewhere { table: "ticket", key: ("id", "''"), plain: &["life"], sealed: &["json"] },
    Elsewhere { table: "episode", key: ("rule", "subject"), plain: &["state"], sealed: &[] },
    Elsewhere {
        table: "command",
        key: ("key", "''"),
        plain: &["target"],
        sealed: &["reason", "by", "detail"],
    },
    Elsewhere { table: "access", key: ("subject", "''"), plain: &[], sealed: &["state"] },
    Elsewhere { table: "maintenance", key: ("scope", "name"), plain: &[], sealed: &["by", "note"] },
];

impl Outbox {
    /// Puts down that this person is to be erased; it is on the disk when this returns, and the journal does it. Where it
    /// is under way already, it goes on.
    pub fn erase(&self, asked: &Asked, now: Millis) -> Result<(), Error> {
        let mut db = self.lock();
        db.pragma_update(None, "synchronous", "full")?;
        let done = self.alarm.heed(put_down(&mut db, &self.seal, asked, now));
        db.pragma_update(None, "synchronous", "normal")?;
        self.between.wanted.notify_one();
        done
    }

    /// `None`: there is none of this person, or it is over and every required consumer has heard of it.
    pub fn erased(&self, pseudonym: &str) -> Result<Option<Erased>, Error> {
        let rows = self.alarm.heed(all(&self.lock(), &self.seal).map_err(Error::from))?;
        let found = rows.into_iter().find(|work| work.pseudonym == pseudonym);
        Ok(found.map(|Work { pseudonym, events, told, .. }| Erased { pseudonym, events, told }))
    }
}

fn put_down(db: &mut Connection, seal: &Seal, asked: &Asked, now: Millis) -> Result<(), Error> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = all(&step, seal)?;
    if rows.len() >= ERASURES_MAX {
        return Err(Error::TooManyErasures(rows.len()));
    }
    match rows.into_iter().find(|work| work.pseudonym == asked.pseudonym) {
        Some(Work { told: None, .. }) => return Ok(()),
        Some(done) => take_out(&step, &done.stored)?,
        None => {}
    }
    let Asked { pseudonym, by, reason } = asked.clone();
    let stored = String::new();
    let work = Work { stored, pseudonym, by, reason, begun: now, scanned: 0, events: 0, told: None };
    work.write(&step, seal)?;
    Ok(step.commit()?)
}

/// Every row; there are [`ERASURES_MAX`] at the most.
pub(super) fn all(db: &Connection, seal: &Seal) -> rusqlite::Result<Vec<Work>> {
    let mut query = db.prepare_cached(&format!("SELECT {COLUMNS} FROM erasure"))?;
    query.query_map([], |row| Work::of(row, seal))?.collect()
}

/// Those that are not under the present key; how many.
pub(super) fn reseal(step: &Transaction<'_>, seal: &Seal) -> Result<u64, Error> {
    let stale = all(step, seal)?.into_iter().filter(|work| !seal.is_current(&work.stored));
    let mut count = 0;
    for work in stale {
        take_out(step, &work.stored)?;
        work.write(step, seal)?;
        count += 1;
    }
    Ok(count)
}

fn take_out(step: &Transaction<'_>, stored: &str) -> rusqlite::Result<()> {
    step.prepare_cached("DELETE FROM erasure WHERE pseudonym = ?1")?.execute([stored]).map(drop)
}

impl Journal {
    /// Whoever has it hears when there is somebody to erase.
    pub fn wanted(&self) -> Wanted {
        Wanted(self.between.clone())
    }

    /// Whether there is more to erase at once.
    pub fn is_erasing(&self) -> bool {
        self.erasing.under_way
    }

    /// One bite of what is to be erased; says when one person is done.
    pub fn erase_on(&mut self, at: Millis, synced: bool) -> Result<Option<Erased>, Error> {
        let done = self.erase_a_bite(at, synced);
        let done = self.noticing(done)?;
        if done.as_ref().is_some_and(|erased| erased.told.is_some()) {
            damage::forget_all(&self.dir);
            self.erasing.told = Some(Instant::now());
            self.erasing.unwashed = true;
        }
        if !self.erasing.under_way {
            self.wash();
        }
        Ok(done)
    }

    fn erase_a_bite(&mut self, at: Millis, synced: bool) -> Result<Option<Erased>, Error> {
        self.erasing.under_way = false;
        let Some(mut work) = next(&self.db, &self.seal)? else { return Ok(None) };
        self.make_sure()?;
        prepare(&self.db, &self.seal)?;
        let (gateway, epoch, seal) = (self.gateway.clone(), self.epoch.clone(), self.seal.clone());
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = file::head(&step)?;
        let from = work.scanned.max(file::oldest(&step)?.saturating_sub(1));
        let to = (from + BITE).min(head);
        let (found, earlier) = blank_all(&step, &seal, &work, from, to)?;
        (work.scanned, work.events) = (to, work.events + found);
        let mut drafts: Vec<Draft> =
            earlier.iter().filter_map(|(seq, json)| heard(&gateway, *seq, json, at)).collect();
        let is_done = to >= head;
        if is_done {
            forget_elsewhere(&step, &work.pseudonym)?;
            drafts.push(work.told(&gateway));
        }
        let teller = Teller { gateway: &gateway, epoch: &epoch, seal: &seal, at, synced };
        let head = journal::write_events(&step, &teller, &drafts, head)?;
        let told = is_done.then_some(head);
        step.prepare_cached("UPDATE erasure SET scanned = ?2, events = ?3, told = ?4 WHERE pseudonym = ?1")?
            .execute(params![work.stored, work.scanned, work.events, told])?;
        step.commit()?;
        if found > 0 {
            self.between.rewritten();
        }
        self.head = head;
        self.erasing.under_way = told.is_none() || next(&self.db, &self.seal)?.is_some();
        Ok(Some(Erased { pseudonym: work.pseudonym, events: work.events, told }))
    }

    /// Where every required consumer knows whom to erase, that goes too. Says whether any did.
    pub fn forget_erased(&mut self, now: Millis, synced: bool) -> Result<bool, Error> {
        if self.erasing.told.is_some_and(|told| told.elapsed() < SEEN_FOR) {
            return Ok(false);
        }
        let done = self.forget_told(now, synced);
        let done = self.noticing(done)?;
        if done {
            self.between.rewritten();
            self.erasing.unwashed = true;
        }
        self.wash();
        Ok(done)
    }

    fn forget_told(&mut self, now: Millis, synced: bool) -> Result<bool, Error> {
        let Some((stored, told)) = heard_by_all(&self.db, now)? else { return Ok(false) };
        self.make_sure()?;
        prepare(&self.db, &self.seal)?;
        let (gateway, epoch, seal) = (self.gateway.clone(), self.epoch.clone(), self.seal.clone());
        let step = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut head = file::head(&step)?;
        let json = step
            .query_row("SELECT json FROM event WHERE seq = ?1", [told], |row| row.get::<_, String>(0))
            .optional()?;
        if let Some(json) = json {
            let json = seal.open(Place::Event(told), &json).map_err(rusqlite::Error::from)?;
            if let Some(draft) = heard(&gateway, told, &json, now) {
                let teller = Teller { gateway: &gateway, epoch: &epoch, seal: &seal, at: now, synced };
                head = journal::write_events(&step, &teller, &[draft], head)?;
                blank(&step, &seal, told, &json, "expired", now)?;
            }
        }
        take_out(&step, &stored)?;
        step.commit()?;
        self.head = head;
        Ok(true)
    }

    /// As long as somebody reads from the log it stays; then it is tried again.
    fn wash(&mut self) {
        if self.erasing.unwashed && file::bring_home(&self.db).is_ok() {
            (self.erasing.unwashed, self.seen.log_bytes) = (false, 0);
        }
    }
}

impl Work {
    fn of(row: &Row<'_>, seal: &Seal) -> rusqlite::Result<Self> {
        let (stored, begun): (String, Millis) = (row.get(0)?, row.get(3)?);
        let open = |column, text: &str| {
            let text = seal.open(Place::Erasure(begun, column), text);
            text.map(Cow::into_owned).map_err(rusqlite::Error::from)
        };
        let reason = row.get::<_, Option<String>>(2)?;
        Ok(Self {
            pseudonym: open("pseudonym", &stored)?,
            by: open("by", row.get_ref(1)?.as_str()?)?,
            reason: reason.map(|text| open("reason", &text)).transpose()?,
            begun,
            scanned: row.get(4)?,
            events: row.get(5)?,
            told: row.get(6)?,
            stored,
        })
    }

    fn write(&self, step: &Transaction<'_>, seal: &Seal) -> Result<(), Error> {
        let Self { pseudonym, by, reason, begun, scanned, events, told, .. } = self;
        let close = |column, text| seal.close(Place::Erasure(*begun, column), text);
        step.prepare_cached(&format!(
            "INSERT INTO erasure({COLUMNS}, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, row_sum(?1, ?2, ?3, ?4))"
        ))?
        .execute(params![
            close("pseudonym", pseudonym)?,
            close("by", by)?,
            reason.as_deref().map(|text| close("reason", text)).transpose()?,
            begun,
            scanned,
            events,
            told,
        ])?;
        Ok(())
    }

    /// The centre has to know whom. It happened when it was begun, which every stub of it says too.
    fn told(&self, gateway: &str) -> Draft {
        let Self { pseudonym, by, reason, begun, events, .. } = self;
        let data = json!({ "pseudonym": pseudonym, "events": events, "by": by, "reason": reason });
        Draft::new("gateway.erased", format!("gateways/{gateway}"), *begun, &data)
    }
}

/// Tells that a `gateway.erased` says no more, and what has to be known of it all the same: how many stubs it made. `None`:
/// it said no more already.
fn heard(gateway: &str, seq: u64, json: &str, at: Millis) -> Option<Draft> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "type")]
        kind: String,
        time: String,
        data: Count,
    }
    #[derive(Deserialize)]
    struct Count {
        events: u64,
    }
    let Told { kind, time, data: Count { events } } = serde_json::from_str(json).ok()?;
    if kind != "gatehouse.gateway.erased" {
        return None; // Somebody has written into the table.
    }
    let data =
        json!({ "from": seq, "to": seq, "types": ["gateway.erased"], "erased": time, "events": events });
    Some(Draft::new("gateway.expired", format!("gateways/{gateway}"), at, &data))
}

/// The next that is not done.
fn next(db: &Connection, seal: &Seal) -> Result<Option<Work>, Error> {
    let mut query =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM erasure WHERE told IS NULL LIMIT 1"))?;
    Ok(query.query_row([], |row| Work::of(row, seal)).optional()?)
}

/// Its key as it is stored, and the event. Where nobody is required, those that the configuration names have to know;
/// where there is none, a week is enough.
fn heard_by_all(db: &Connection, now: Millis) -> Result<Option<(String, u64)>, Error> {
    let mut query = db.prepare_cached(
        "SELECT pseudonym, told FROM erasure WHERE told IS NOT NULL
             AND coalesce(
                 (SELECT min(acknowledged) FROM consumer WHERE required),
                 (SELECT min(acknowledged) FROM consumer WHERE configured),
                 CASE WHEN begun < ?1 THEN told ELSE 0 END) >= told
             AND NOT EXISTS (SELECT 1 FROM aside WHERE seq = told)
         LIMIT 1",
    )?;
    let found = query.query_row([now.saturating_sub(TOLD_FOR)], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}

/// What the connection needs for it; to be said again is nothing.
fn prepare(db: &Connection, seal: &Seal) -> rusqlite::Result<()> {
    db.pragma_update(None, "secure_delete", true)?;
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    let opens = seal.clone();
    db.create_scalar_function("opened", 5, flags, move |call| {
        let stored = text(call.get_raw(4));
        // What cannot be read cannot be seen to name anybody.
        let open = |place| opens.open(place, stored).ok().map(Cow::into_owned);
        Ok(place(call).and_then(open).unwrap_or_else(|| stored.to_owned()))
    })?;
    let closes = seal.clone();
    db.create_scalar_function(
        "closed",
        5,
        flags.difference(FunctionFlags::SQLITE_DETERMINISTIC),
        move |call| {
            let said = text(call.get_raw(4));
            let close = |place| closes.close(place, said).map(Cow::into_owned);
            let failed = |error: Error| rusqlite::Error::UserFunctionError(error.to_string().into());
            place(call).map_or_else(|| Ok(said.to_owned()), |place| close(place).map_err(failed))
        },
    )
}

/// Of table, column, and the two parts of the key.
fn place<'a>(call: &'a Context<'_>) -> Option<Place<'a>> {
    let [table, column, key, more] = [0, 1, 2, 3].map(|n| text(call.get_raw(n)));
    let column = ["reason", "by", "detail", "note"].into_iter().find(|known| *known == column);
    match table {
        "ticket" => Some(Place::Ticket(key)),
        "command" => Some(Place::Order(key, column?)),
        "access" => Some(Place::Access(key)),
        "maintenance" => Some(Place::Maintenance(key, more, column?)),
        _ => None,
    }
}

fn text(value: ValueRef<'_>) -> &str {
    value.as_str().unwrap_or_default()
}

/// Those of the numbers above `from` up to `to` that name the person; how many, and those of them that told an earlier
/// erasure, as they were.
fn blank_all(
    step: &Transaction<'_>,
    seal: &Seal,
    work: &Work,
    from: u64,
    to: u64,
) -> Result<(u64, Vec<(u64, String)>), Error> {
    let mut query = step.prepare_cached(&format!(
        "SELECT seq, json, {}, kind = 'gateway.erased' FROM event WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
        sum::EVENT_FITS
    ))?;
    let mut rows = query.query([from, to])?;
    let mut found: Vec<(u64, String, bool)> = Vec::new();
    while let Some(row) = rows.next()? {
        view::fits(row, 2, 0, "event")?;
        let seq = row.get(0)?;
        let stored = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let json = seal.open(Place::Event(seq), stored).map_err(rusqlite::Error::from)?;
        if json.contains(&work.pseudonym) {
            found.push((seq, json.into_owned(), row.get(3)?));
        }
    }
    let (mut count, mut earlier) = (0, Vec::new());
    for (seq, json, tells) in found {
        count += u64::from(blank(step, seal, seq, &json, "erased", work.begun)?);
        if tells {
            earlier.push((seq, json));
        }
    }
    Ok((count, earlier))
}

/// The event becomes a stub; whether it did. `json`: as it was told.
pub(super) fn blank(
    step: &Transaction<'_>,
    seal: &Seal,
    seq: u64,
    json: &str,
    word: &str,
    at: Millis,
) -> Result<bool, Error> {
    let Some(stub) = event::blanked(json, word, at) else { return Ok(false) };
    let stub = seal.close(Place::Event(seq), &stub)?;
    step.prepare_cached(
        "UPDATE event SET json = ?2, digest = coalesce(digest, ?3), sum = row_sum(seq, at, kind, ticket, ?2)
         WHERE seq = ?1",
    )?
    .execute(params![seq, stub, digest_of(json)])?;
    Ok(true)
}

/// The pseudonym in other tables becomes the word `erased`.
fn forget_elsewhere(step: &Transaction<'_>, pseudonym: &str) -> rusqlite::Result<()> {
    for Elsewhere { table, key: (key, more), plain, sealed } in ELSEWHERE {
        let within = |column: &str| format!("'{table}', '{column}', {key}, {more}");
        let sealed = sealed.iter().map(|column| {
            let opened = format!("opened({}, {column})", within(column));
            let closed = format!("closed({}, replace({opened}, ?1, 'erased'))", within(column));
            (column, opened, closed)
        });
        let plain = plain
            .iter()
            .map(|column| (column, (*column).to_owned(), format!("replace({column}, ?1, 'erased')")));
        for (column, opened, changed) in plain.chain(sealed) {
            // No row has this sum.
            let change =
                format!("UPDATE {table} SET {column} = {changed}, sum = -1 WHERE instr({opened}, ?1)");
            step.execute(&change, [pseudonym])?;
        }
        step.execute(&format!("UPDATE {table} SET sum = {} WHERE sum = -1", sum::of_row(table)), [])?;
    }
    for (table, column) in [("aside", "why"), ("consumer", "error")] {
        let change = format!(
            "UPDATE {table} SET {column} = replace({column}, ?1, 'erased') WHERE instr({column}, ?1)"
        );
        step.execute(&change, [pseudonym])?;
    }
    Ok(())
}
