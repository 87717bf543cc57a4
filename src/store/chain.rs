//! The chain in the journal: a value beside each event, what is known of it where events are gone, and what it was when
//! a consumer acknowledged.
//!
//! It stands in no row's sum: a value that is spoilt costs no event, and `verify` tells it.

use rusqlite::types::{FromSql, FromSqlResult, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, Transaction, params};

use super::seal::Place;
use super::{Error, Seal};
use crate::chain::{Link, digest_of};
use crate::reading::Millis;

/// An event with its sum and its value of the chain.
const INSERT: &str = "INSERT INTO event(seq, at, kind, ticket, json, sum, chain)
    VALUES (?1, ?2, ?3, ?4, ?5, row_sum(?1, ?2, ?3, ?4, ?5), ?6)";
/// Beside its newest value a consumer has that of each day on which it acknowledged anything, so many of them.
const DAYS_MAX: i64 = 400;
const DAY: Millis = 24 * 3600 * 1000;

/// A column that should have a value; whatever else stands there is none.
#[derive(Debug, Clone, Copy)]
pub struct Kept(pub Option<Link>);

impl FromSql for Kept {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self(value.as_blob().ok().and_then(Link::of)))
    }
}

impl ToSql for Link {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.bytes())))
    }
}

/// A row to be written.
pub struct Row<'a> {
    pub seq: u64,
    pub at: Millis,
    pub kind: &'a str,
    pub ticket: Option<&'a str>,
    /// As it is told; the chain knows nothing of how it lies on the disk.
    pub json: &'a str,
}

/// Writes one event after another, and goes on with the chain.
pub struct Pen<'a> {
    link: Link,
    seal: &'a Seal,
}

impl<'a> Pen<'a> {
    /// Behind the last event, as the file has it: that is right even after a commit whose outcome was unsure. Where that
    /// event was written before there was a chain, it begins here.
    pub fn at_the_end(db: &Connection, gateway: &str, epoch: &str, seal: &'a Seal) -> rusqlite::Result<Self> {
        let last = db
            .prepare_cached("SELECT chain FROM event ORDER BY seq DESC LIMIT 1")?
            .query_row([], |row| row.get::<_, Kept>(0))
            .optional()?;
        let link = last.and_then(|kept| kept.0).unwrap_or_else(|| Link::first(gateway, epoch));
        Ok(Self { link, seal })
    }

    pub fn write(&mut self, db: &Connection, row: &Row<'_>) -> Result<(), Error> {
        let next = self.link.then(row.seq, row.kind, &digest_of(row.json));
        let json = self.seal.close(Place::Event(row.seq), row.json)?;
        db.prepare_cached(INSERT)?.execute(params![row.seq, row.at, row.kind, row.ticket, json, next])?;
        self.link = next;
        Ok(())
    }
}

/// The value at a number; `None`: there is no such event any more, or it is older than the chain.
pub fn at(db: &Connection, seq: u64) -> rusqlite::Result<Option<Link>> {
    let kept = db
        .prepare_cached("SELECT chain FROM event WHERE seq = ?1")?
        .query_row([seq.min(i64::MAX as u64)], |row| row.get::<_, Kept>(0))
        .optional()?;
    Ok(kept.and_then(|kept| kept.0))
}

/// Everything below `end` is about to go: what the chain was there is kept for the event that is then the first.
pub fn before_retiring(step: &Transaction<'_>, end: u64) -> rusqlite::Result<()> {
    step.prepare_cached(
        "INSERT OR REPLACE INTO gap(seq, chain)
         SELECT seq, chain FROM event WHERE seq = ?1 - 1 AND chain IS NOT NULL",
    )?
    .execute([end])?;
    step.prepare_cached("DELETE FROM gap WHERE seq < ?1 - 1")?.execute([end])?;
    Ok(())
}

/// The events whose numbers `some` selects are about to go: likewise at the end of each run of them.
pub fn before_dropping(step: &Transaction<'_>, some: &str, bounds: &[&dyn ToSql]) -> rusqlite::Result<()> {
    let some = format!("SELECT seq FROM ({some})");
    step.prepare_cached(&format!("DELETE FROM gap WHERE seq + 1 IN ({some})"))?.execute(bounds)?;
    step.prepare_cached(&format!(
        "INSERT OR REPLACE INTO gap(seq, chain) SELECT seq, chain FROM event
         WHERE seq IN ({some}) AND seq + 1 NOT IN ({some}) AND chain IS NOT NULL"
    ))?
    .execute(bounds)?;
    Ok(())
}

/// The consumer has acknowledged up to here: the value stands beside its cursor, in the same row, and once a day in a row
/// of its own.
pub fn anchor(step: &Transaction<'_>, consumer: &str, seq: u64, now: Millis) -> rusqlite::Result<()> {
    let link = at(step, seq)?;
    step.prepare_cached("UPDATE consumer SET chain = ?2, chained = ?3 WHERE name = ?1")?
        .execute(params![consumer, link, now])?;
    let Some(link) = link else { return Ok(()) };
    let is_new = step
        .prepare_cached(
            "INSERT OR IGNORE INTO anchor(consumer, day, seq, chain, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![consumer, now.div_euclid(DAY), seq, link, now])?;
    if is_new > 0 {
        step.prepare_cached(
            "DELETE FROM anchor WHERE consumer = ?1 AND day <=
                 (SELECT day FROM anchor WHERE consumer = ?1 ORDER BY day DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![consumer, DAYS_MAX])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    fn journal() -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let db = file::journal(dir.path()).unwrap();
        (dir, db)
    }

    fn write(db: &Connection, seqs: std::ops::RangeInclusive<u64>) {
        let seal = Seal::none();
        let mut pen = Pen::at_the_end(db, "g", "e", &seal).unwrap();
        for seq in seqs {
            pen.write(db, &Row { seq, at: 5, kind: "device.online", ticket: None, json: "{}" }).unwrap();
        }
    }

    #[test]
    fn the_chain_goes_on_from_what_is_in_the_file_and_begins_where_there_is_none() {
        let (_dir, db) = journal();
        db.execute("INSERT INTO event(seq, at, kind, json) VALUES (1, 5, 'device.online', '{}')", [])
            .unwrap();
        write(&db, 2..=3);
        write(&db, 4..=4);
        let digest = digest_of("{}");
        let mut link = Link::first("g", "e");
        assert_eq!(at(&db, 1).unwrap(), None);
        for seq in 2..=4 {
            link = link.then(seq, "device.online", &digest);
            assert_eq!(at(&db, seq).unwrap(), Some(link), "{seq}");
        }
    }

    #[test]
    fn where_events_go_the_value_before_the_next_one_stays() {
        let (_dir, mut db) = journal();
        write(&db, 1..=20);
        let was: Vec<_> = (0..=20).map(|seq| at(&db, seq).unwrap()).collect();
        let step = db.transaction().unwrap();
        before_retiring(&step, 4).unwrap();
        step.execute("DELETE FROM event WHERE seq < 4", []).unwrap();
        let some = "SELECT seq FROM event WHERE seq IN (6, 7, 10) AND ?1 = 0";
        before_dropping(&step, some, &[&0]).unwrap();
        step.execute("DELETE FROM event WHERE seq IN (6, 7, 10)", []).unwrap();
        before_dropping(&step, "SELECT seq FROM event WHERE seq = 8 AND ?1 = 0", &[&0]).unwrap();
        step.execute("DELETE FROM event WHERE seq = 8", []).unwrap();
        step.commit().unwrap();
        let mut query = db.prepare("SELECT seq, chain FROM gap ORDER BY seq").unwrap();
        let rows =
            query.query_map([], |row| Ok((row.get::<_, usize>(0)?, row.get::<_, Kept>(1)?.0))).unwrap();
        let gaps: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(gaps, [3, 8, 10].map(|seq| (seq, was[seq])));
    }

    #[test]
    fn a_consumer_has_its_newest_value_and_one_of_each_day_for_so_many_days() {
        let (_dir, mut db) = journal();
        write(&db, 1..=20);
        let made = "INSERT INTO consumer(name, kind, required, configured, acknowledged) VALUES ('crm', 'push', 1, 1, 0)";
        db.execute(made, []).unwrap();
        for day in 0..DAYS_MAX + 10 {
            for hour in [0, 1] {
                let step = db.transaction().unwrap();
                anchor(&step, "crm", 1 + hour as u64, day * DAY + hour).unwrap();
                step.commit().unwrap();
            }
        }
        let count = |what: &str| db.query_row(what, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM anchor"), DAYS_MAX);
        assert_eq!(count("SELECT min(day) FROM anchor"), 10);
        assert_eq!(count("SELECT max(seq) FROM anchor"), 1, "the first of the day");
        let newest = db.query_row("SELECT chain, chained FROM consumer", [], |row| {
            Ok((row.get::<_, Kept>(0)?.0, row.get::<_, Millis>(1)?))
        });
        assert_eq!(newest.unwrap(), (at(&db, 2).unwrap(), (DAYS_MAX + 9) * DAY + 1));
    }
}
