//! Brings old rows under the present key, a bite at a time while nothing else is to be written: rows of before there was a key,
//! and rows under an older one. From the first event to the last, then the tickets, then the short tables; once a run.

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::seal::{Place, Seal, Unreadable};
use super::{Error, Journal, erasure, file, maintenance, orders, sum, view};

/// Rows written in one transaction, so that no commit waits long for it.
const BITE: usize = 200;
/// Rows looked at in one go.
const LOOKED: i64 = 2000;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// Events above this number are still to be looked at.
    Events(u64),
    /// Tickets above this row.
    Tickets(u64),
    Short,
    #[default]
    Done,
}

/// What one go has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    pub rows: u64,
    /// Rows whose key is not at hand.
    pub left: u64,
    /// There is nothing more to be looked at in this run.
    pub done: bool,
}

impl Stage {
    /// Without a key there is nothing to do.
    pub fn of(seal: &Seal) -> Self {
        if seal.has_keys() { Stage::Events(0) } else { Stage::Done }
    }
}

impl Journal {
    /// Brings up to 200 rows under the present key. On an error nothing happened, and it is tried again.
    pub fn reseal(&mut self) -> Result<Resealed, Error> {
        if self.resealing == Stage::Done {
            return Ok(Resealed { done: true, ..Resealed::default() });
        }
        self.make_sure()?;
        let (seal, stage) = (self.seal.clone(), self.resealing);
        let done = go(&mut self.db, &seal, stage);
        let (next, resealed) = self.noticing(done)?;
        self.resealing = next;
        if next == Stage::Done {
            // What stood in the log before stays there until it is emptied. Where somebody reads, it is later.
            if file::bring_home(&self.db).is_ok() {
                self.seen.log_bytes = 0;
            }
        }
        Ok(Resealed { done: next == Stage::Done, ..resealed })
    }
}

fn go(db: &mut Connection, seal: &Seal, stage: Stage) -> Result<(Stage, Resealed), Error> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut resealed = Resealed::default();
    let next = match stage {
        Stage::Events(above) => {
            walk(&step, seal, Long::Events, above, &mut resealed)?.map_or(Stage::Tickets(0), Stage::Events)
        }
        Stage::Tickets(above) => {
            walk(&step, seal, Long::Tickets, above, &mut resealed)?.map_or(Stage::Short, Stage::Tickets)
        }
        Stage::Short | Stage::Done => {
            if short_tables(&step, seal, &mut resealed)? {
                Stage::Done
            } else {
                Stage::Short
            }
        }
    };
    step.commit()?;
    Ok((next, resealed))
}

/// As it is to stand there; `None`: it does already, or nobody can open it.
fn anew(
    seal: &Seal,
    place: Place<'_>,
    stored: &str,
    resealed: &mut Resealed,
) -> Result<Option<String>, Error> {
    if seal.is_current(stored) {
        return Ok(None);
    }
    match seal.open(place, stored) {
        Ok(text) => Ok(Some(seal.close(place, &text)?.into_owned())),
        Err(why @ Unreadable::Unknown { .. }) => {
            resealed.left += 1;
            if resealed.left == 1 {
                tracing::warn!(%why, "a row stays as it is");
            }
            Ok(None)
        }
        Err(why @ Unreadable::Changed { .. }) => Err(rusqlite::Error::from(why).into()),
    }
}

/// The tables that are walked through by number.
#[derive(Debug, Clone, Copy)]
enum Long {
    Events,
    Tickets,
}

impl Long {
    /// Number, id, text, and whether the row is as it was written.
    fn select(self) -> String {
        match self {
            Long::Events => format!(
                "SELECT seq, '', json, {} FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2",
                sum::EVENT_FITS
            ),
            Long::Tickets => format!(
                "SELECT rowid, id, json, {} FROM ticket WHERE rowid > ?1 ORDER BY rowid LIMIT ?2",
                sum::TICKET_FITS
            ),
        }
    }

    /// An event of before there were sums gets one.
    fn update(self) -> &'static str {
        match self {
            Long::Events => {
                "UPDATE event SET json = ?2, sum = row_sum(seq, at, kind, ticket, ?2) WHERE seq = ?1"
            }
            Long::Tickets => {
                "UPDATE ticket SET json = ?2, sum = row_sum(id, state, device, closed_at, subject, life, ?2)
                 WHERE rowid = ?1"
            }
        }
    }

    fn place(self, number: u64, id: &str) -> Place<'_> {
        match self {
            Long::Events => Place::Event(number),
            Long::Tickets => Place::Ticket(id),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Long::Events => "event",
            Long::Tickets => "ticket",
        }
    }
}

/// Up to which number it has come; `None`: there are no more. A row that is not as it was written is damage: under a new
/// sum nobody would see it any more.
fn walk(
    step: &Transaction<'_>,
    seal: &Seal,
    table: Long,
    above: u64,
    resealed: &mut Resealed,
) -> Result<Option<u64>, Error> {
    let mut query = step.prepare_cached(&table.select())?;
    let mut rows = query.query(params![above.min(i64::MAX as u64), LOOKED])?;
    let (mut at, mut stale) = (None, Vec::new());
    while stale.len() < BITE
        && let Some(row) = rows.next()?
    {
        view::fits(row, 3, 0, table.word())?;
        let (number, id): (u64, String) = (row.get(0)?, row.get(1)?);
        let stored: String = row.get(2)?;
        if let Some(sealed) = anew(seal, table.place(number, &id), &stored, resealed)? {
            stale.push((number, sealed));
        }
        at = Some(number);
    }
    drop(rows);
    let mut write = step.prepare_cached(table.update())?;
    for (number, sealed) in &stale {
        write.execute(params![number, sealed])?;
    }
    resealed.rows += stale.len() as u64;
    Ok(at)
}

/// Orders first, then doors, maintenance and erasures; whether that is all.
fn short_tables(step: &Transaction<'_>, seal: &Seal, resealed: &mut Resealed) -> Result<bool, Error> {
    let orders = orders::stale(step, seal, BITE)?;
    orders::write(step, seal, &orders)?;
    resealed.rows += orders.len() as u64;
    if orders.len() == BITE {
        return Ok(false);
    }
    let access = orders::access(step, seal)?;
    orders::write_access(step, seal, &access)?;
    resealed.rows += access.len() as u64 + maintenance::reseal(step, seal)? + erasure::reseal(step, seal)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::json;

    use super::super::{
        AccessRow, Asked, Ends, Kind, MaintenanceRow, OrderRow, Page, Settings, TicketRow, open_sealed, seal,
    };
    use super::*;
    use crate::event::{Draft, Kinds};
    use crate::maintenance::{Maintenance, Scope};
    use crate::order::{Order, Outcome};
    use crate::ticket::Ticket;

    const OLD: &str = "0123456789abcdef";
    const NEW: &str = "fedcba9876543210";
    /// What nobody may find in the files.
    const WORDS: [&str; 9] = [
        "SaidBy",
        "SaidNote",
        "WhoAsked",
        "WhyAsked",
        "WhatCame",
        "c-00deadbeef00cafe",
        "DoorState",
        WHOM,
        "WhyErased",
    ];
    const WHOM: &str = "c-00feedbeef00feed";

    fn open(dir: &Path, seal: &Seal) -> Result<Ends, Error> {
        let settings = Settings::at(dir);
        open_sealed(&settings, "cp-017", seal)
    }

    fn page(n: u64) -> Page {
        let data = json!({ "reader": "gate", "card": "c-00deadbeef00cafe" });
        let ticket: Ticket = serde_json::from_value(json!({
            "id": format!("t-{n:04}"), "number": format!("CP-017-{n:06}"), "rule": "low", "class": "immediate",
            "level": 1, "state": "open", "revision": 1, "by": "SaidBy", "note": "SaidNote",
            "since": "2026-01-01T00:00:00Z", "opened_at": "2026-01-01T00:00:00Z",
        }))
        .unwrap();
        let order = Order {
            device: "gate".into(),
            action: "open".into(),
            target: String::new(),
            reason: Some("WhyAsked".into()),
            by: "WhoAsked".into(),
            via: "api".into(),
            role: crate::order::Role::Technician,
            expires_at: None,
            key: format!("k-{n}"),
        };
        let ended = (n > 1).then(|| (1, Outcome::Failed { why: "WhatCame".into() }));
        let scope = Scope::Device("gate".into());
        let now = Maintenance {
            scope: scope.clone(),
            since: 0,
            until: 9,
            by: "SaidBy".into(),
            note: Some("SaidNote".into()),
        };
        Page {
            at: 1,
            events: vec![
                Draft::new("access.granted", "devices/gate".into(), 1, &data),
                Draft::new("ticket.opened", format!("tickets/{}", ticket.id), 1, &ticket),
            ],
            tickets: vec![TicketRow { ticket, subject: "".into(), life: "{}".into() }],
            orders: vec![OrderRow { order, begun_at: 1, ended }],
            access: vec![AccessRow { subject: "doors/gate".into(), state: r#"{"x":"DoorState"}"#.into() }],
            maintenance: vec![MaintenanceRow { scope, now: Some(now) }],
            ..Page::default()
        }
    }

    fn told(ends: &Ends) -> Vec<String> {
        let slice = ends.view.events(0, 10_000, &Kinds::default()).unwrap();
        slice.events.into_iter().map(|event| event.json).collect()
    }

    fn all_of_it(ends: &mut Ends) -> u64 {
        let mut rows = 0;
        loop {
            let resealed = ends.journal.reseal().unwrap();
            assert!(resealed.rows <= BITE as u64 + 10 && resealed.left == 0, "{resealed:?}");
            rows += resealed.rows;
            if resealed.done {
                return rows;
            }
        }
    }

    fn found_in_files(dir: &Path) -> Vec<&'static str> {
        let files = fs::read_dir(dir).unwrap().flatten().filter(|entry| entry.path().is_file());
        let bytes: Vec<u8> = files.flat_map(|entry| fs::read(entry.path()).unwrap()).collect();
        let found = |word: &&str| bytes.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        WORDS.into_iter().filter(found).collect()
    }

    #[test]
    fn rows_of_before_come_under_the_key_and_nothing_of_them_stays_in_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut ends = open(dir.path(), &Seal::none()).unwrap();
        for n in 1..=300 {
            ends.journal.commit(&page(n)).unwrap();
        }
        let asked = Asked { pseudonym: WHOM.into(), by: "SaidBy".into(), reason: Some("WhyErased".into()) };
        ends.outbox.erase(&asked, 1).unwrap();
        let (before, memory) = (told(&ends), ends.journal.recall().unwrap());
        drop(ends);
        assert!(found_in_files(dir.path()).len() >= 7);

        let (old, new) = (seal::of(OLD, &[]), seal::of(NEW, &[OLD]));
        let mut ends = open(dir.path(), &old).unwrap();
        assert_eq!((told(&ends), ends.journal.recall().unwrap()), (before.clone(), memory.clone()));
        let rows = all_of_it(&mut ends);
        assert!(rows >= 1200, "{rows}");
        assert_eq!(found_in_files(dir.path()), Vec::<&str>::new(), "while it runs");
        let stale = [&old, &new].map(|seal| super::super::stale(dir.path(), seal).unwrap());
        assert_eq!(stale, [0, rows]);
        assert_eq!((told(&ends), ends.journal.recall().unwrap()), (before.clone(), memory.clone()));
        ends.journal.commit(&page(301)).unwrap();
        assert_eq!(ends.outbox.urgent("crm", 0, 10, &Kinds::default()).unwrap().len(), 10);
        drop(ends);
        assert_eq!(found_in_files(dir.path()), Vec::<&str>::new(), "after its end");

        let mut ends = open(dir.path(), &new).unwrap();
        assert_eq!(told(&ends)[..600], before);
        all_of_it(&mut ends);
        drop(ends);
        let ends = open(dir.path(), &seal::of(NEW, &[])).unwrap();
        assert_eq!(told(&ends)[..600], before);
        assert!(ends.outbox.erased(WHOM).unwrap().is_some_and(|erased| erased.told.is_none()));
        assert_eq!(ends.journal.order("k-301").unwrap().unwrap().order.by, "WhoAsked");
    }

    #[test]
    fn a_journal_whose_key_is_not_at_hand_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let key = seal::of(OLD, &[]);
        open(dir.path(), &key).unwrap().journal.commit(&page(1)).unwrap();
        let file = dir.path().join(file::JOURNAL);
        for seal in [Seal::none(), seal::of(NEW, &[])] {
            // Also where a run before took it for damaged.
            fs::write(dir.path().join("journal.db.suspect"), "a row").unwrap();
            let error = open(dir.path(), &seal).unwrap_err();
            assert!(matches!(&error, Error::Locked(id) if Some(id.as_str()) == key.key()), "{error}");
            assert!(error.to_string().contains("store_key"), "{error}");
            assert!(file.exists() && !dir.path().join(file::DRAFT).exists());
        }
        assert_eq!(told(&open(dir.path(), &key).unwrap()).len(), 2);
    }

    /// As whoever may write to the file can do it: the row fits its sum.
    fn forge(dir: &Path, seqs: std::ops::RangeInclusive<u64>) {
        let db = file::writer(&dir.join(file::JOURNAL), file::Durable::Full).unwrap();
        for seq in seqs {
            let change = "UPDATE event SET json = '~1.deadbeef.' || substr(json, 13) WHERE seq = ?1";
            assert_eq!(db.execute(change, [seq]).unwrap(), 1);
            db.execute("UPDATE event SET sum = row_sum(seq, at, kind, ticket, json) WHERE seq = ?1", [seq])
                .unwrap();
        }
    }

    #[test]
    fn one_row_under_a_key_that_nobody_knows_stops_no_gateway_wherever_it_is() {
        for (forged, suspect) in [(120, false), (60, true), (2, true), (119, false)] {
            let dir = tempfile::tempdir().unwrap();
            let key = seal::of(OLD, &[]);
            let mut ends = open(dir.path(), &key).unwrap();
            ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
            for n in 1..=60 {
                ends.journal.commit(&page(n)).unwrap();
            }
            let epoch = ends.view.epoch().clone();
            drop(ends);
            forge(dir.path(), forged..=forged);
            if suspect {
                // As whoever meets the row while it runs leaves it.
                let ends = open(dir.path(), &key).unwrap();
                assert_eq!(ends.view.epoch(), &epoch, "a start does not read all of it");
                ends.view.events(forged - 1, 1, &Kinds::default()).unwrap_err();
            }
            let ends = open(dir.path(), &key).unwrap();
            assert_ne!(*ends.view.epoch(), epoch, "{forged}");
            let told = told(&ends);
            assert_eq!(told.len(), 120, "all but the one, and the word of it");
            let dropped = told.last().unwrap();
            assert!(dropped.contains("gateway.events-dropped") && dropped.contains("deadbeef"), "{dropped}");
            assert_eq!(ends.journal.recall().unwrap().tickets.len(), 60);
        }
    }

    #[test]
    fn more_than_a_few_rows_under_an_unknown_key_are_a_missing_key_and_stay() {
        for (seqs, suspect) in [(1..=30, true), (100..=120, false), (95..=115, false)] {
            let dir = tempfile::tempdir().unwrap();
            let key = seal::of(OLD, &[]);
            let mut ends = open(dir.path(), &key).unwrap();
            for n in 1..=60 {
                ends.journal.commit(&page(n)).unwrap();
            }
            drop(ends);
            forge(dir.path(), seqs);
            if suspect {
                fs::write(dir.path().join("journal.db.suspect"), "a row").unwrap();
            }
            let error = open(dir.path(), &key).unwrap_err();
            assert!(matches!(&error, Error::Locked(id) if id == "deadbeef"), "{error}");
            let names = fs::read_dir(dir.path()).unwrap().flatten().map(|entry| entry.file_name());
            let names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
            assert!(!names.iter().any(|name| name.contains("broken") || name.contains(".new")), "{names:?}");
        }
    }

    #[test]
    fn a_row_that_was_moved_is_a_damaged_row_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let key = seal::of(OLD, &[]);
        let mut ends = open(dir.path(), &key).unwrap();
        ends.journal.keep_consumers(&[("crm".into(), Kind::Push, true)]).unwrap();
        for n in 1..=3 {
            ends.journal.commit(&page(n)).unwrap();
        }
        drop(ends);
        let db = file::writer(&dir.path().join(file::JOURNAL), file::Durable::Full).unwrap();
        let moved = "UPDATE event SET json = (SELECT json FROM event WHERE seq = 1) WHERE seq = 3";
        assert_eq!(db.execute(moved, []).unwrap(), 1);
        db.execute("UPDATE event SET sum = row_sum(seq, at, kind, ticket, json) WHERE seq = 3", []).unwrap();
        drop(db);
        let ends = open(dir.path(), &key).unwrap();
        let epoch = ends.view.epoch().clone();
        let error = ends.view.events(0, 100, &Kinds::default()).unwrap_err().to_string();
        assert!(error.contains("event 3") && error.contains(key.key().unwrap()), "{error}");
        drop(ends);
        let ends = open(dir.path(), &key).unwrap();
        assert_ne!(*ends.view.epoch(), epoch, "it goes on under a new epoch");
        let told = told(&ends);
        assert_eq!(told.iter().filter(|json| json.contains("SaidNote")).count(), 3);
        assert!(told.last().unwrap().contains("gateway.events-dropped"), "{told:?}");
        assert_eq!(found_in_files(dir.path()), Vec::<&str>::new());
    }

    #[test]
    fn so_is_an_erasure_that_was_changed() {
        let dir = tempfile::tempdir().unwrap();
        let key = seal::of(OLD, &[]);
        let mut ends = open(dir.path(), &key).unwrap();
        ends.journal.commit(&page(1)).unwrap();
        let asked = Asked { pseudonym: WHOM.into(), by: "SaidBy".into(), reason: None };
        ends.outbox.erase(&asked, 1).unwrap();
        let epoch = ends.view.epoch().clone();
        drop(ends);
        let db = file::writer(&dir.path().join(file::JOURNAL), file::Durable::Full).unwrap();
        let later = "UPDATE erasure SET begun = 2, sum = row_sum(pseudonym, by, reason, 2)";
        assert_eq!(db.execute(later, []).unwrap(), 1);
        drop(db);
        let mut ends = open(dir.path(), &key).unwrap();
        assert_eq!(ends.view.epoch(), &epoch, "a start does not open all of it");
        let error = ends.journal.erase_on(9, true).unwrap_err().to_string();
        assert!(error.contains("the erasure that began at 2"), "{error}");
        drop(ends);
        let ends = open(dir.path(), &key).unwrap();
        assert_ne!(ends.view.epoch(), &epoch);
        assert_eq!(ends.outbox.erased(WHOM).unwrap(), None);
        let told = told(&ends);
        assert!(told.last().unwrap().contains(r#""rows":{"erasure":1}"#), "{told:?}");
    }

    #[test]
    fn a_damaged_row_of_before_gets_no_sum_that_fits() {
        let dir = tempfile::tempdir().unwrap();
        let mut ends = open(dir.path(), &Seal::none()).unwrap();
        for n in 1..=3 {
            ends.journal.commit(&page(n)).unwrap();
        }
        drop(ends);
        let spoil = "UPDATE event SET json = replace(json, 'gate', 'Gate') WHERE seq = 3";
        let db = Connection::open(dir.path().join(file::JOURNAL)).unwrap();
        assert_eq!(db.execute(spoil, []).unwrap(), 1);
        drop(db);
        let key = seal::of(NEW, &[]);
        let mut ends = open(dir.path(), &key).unwrap();
        let error = ends.journal.reseal().unwrap_err().to_string();
        assert!(error.contains("event 3"), "{error}");
        drop(ends);
        let told = told(&open(dir.path(), &key).unwrap());
        assert!(told.iter().all(|event| !event.contains("devices/Gate")), "a wrong event is told: {told:?}");
    }

    /// `cargo test --release --lib reseal -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn what_sealing_costs() {
        for (name, seal) in [("plain", Seal::none()), ("sealed", seal::of(OLD, &[]))] {
            let dir = tempfile::tempdir().unwrap();
            let mut ends = open(dir.path(), &seal).unwrap();
            let events: Vec<Draft> = (0..500).flat_map(|n| page(n).events).collect();
            let from = std::time::Instant::now();
            for _ in 0..20 {
                let page = Page { at: 1, events: events.clone(), ..Page::default() };
                ends.journal.commit(&page).unwrap();
            }
            let wrote = from.elapsed();
            let from = std::time::Instant::now();
            let (mut after, mut read) = (0, 0);
            while read < 20_000 {
                let slice = ends.view.events(after, 1000, &Kinds::default()).unwrap();
                (after, read) = (slice.next, read + slice.events.len());
            }
            let took = from.elapsed();
            drop(ends);
            let bytes = fs::metadata(dir.path().join(file::JOURNAL)).unwrap().len() / 20_000;
            println!("{name}: 20,000 events written in {wrote:?}, read in {took:?}, {bytes} bytes an event");
        }
    }
}
