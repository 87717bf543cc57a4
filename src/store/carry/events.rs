//! The events that go on: which they are, and under which number.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row};

use super::{Carried, Limit, Lost, Moved, Source};
use crate::event;
use crate::reading::Millis;
use crate::store::salvage::{self, Walk};
use crate::store::seal::Place;
use crate::store::{Error, chain, sum};

/// Events written in one transaction.
const BITE: u64 = 5000;
/// Keys asked for behind the last one that anything speaks of.
const BEHIND: u64 = 1000;

/// An event as it was.
pub struct Old {
    pub seq: u64,
    pub at: Millis,
    pub kind: String,
    pub ticket: Option<String>,
    pub json: String,
}

/// Who has what, before anything is carried.
#[derive(Debug, Default)]
struct Wanted {
    /// Everything above is wanted by a required consumer.
    required: u64,
    /// Everything above is wanted by someone.
    any: u64,
    /// Set aside for someone, and kept since it can be sent again.
    aside: BTreeSet<u64>,
}

/// In the order in which they give way to the limit.
#[derive(Debug, Clone, Copy)]
enum Class {
    Unasked,
    Other,
    Ticket,
}

#[derive(Debug, Default, Clone, Copy)]
struct Load {
    events: u64,
    bytes: u64,
}

pub(super) fn carry(
    source: &Source<'_>,
    into: &mut Connection,
    name: (&str, &str),
    limit: Limit,
    carried: &mut Carried,
) -> Result<Moved, Error> {
    let wanted = wanted(source)?;
    let mut excess = excess(source, &wanted, limit)?;
    let chain = chain::Pen::at_the_end(into, name.0, name.1, source.seals.close)?;
    let mut pen = Pen { into, name, chain, open: 0, moved: Moved::default(), carried };
    let mut gap = Gap::default();
    pen.into.execute_batch("BEGIN IMMEDIATE")?;
    let oldest = salvage::read(source.db.query_row("SELECT min(seq) FROM event", [], |row| row.get(0)))?;
    // What is older than the oldest was not lost, but kept long enough.
    gap.at = wanted.from().max(oldest.map_or(0, |oldest: u64| oldest.saturating_sub(1)));
    let damaged = each(source, wanted.from(), |read| {
        let old = match read {
            Ok(old) => old,
            Err(kind) => {
                pen.carried.lost.row("event");
                gap.damage(kind);
                return Ok(());
            }
        };
        gap.close(old.seq, &wanted, &mut pen.carried.lost);
        gap.told(&old);
        if !wanted.wants(old.seq) {
            return Ok(());
        }
        if wanted.class(&old).gives_way(&mut excess, &old) || !pen.write(&old)? {
            pen.carried.lost.event(old.seq, &old.kind);
        }
        Ok(())
    })?;
    gap.close(last_known(source)? + 1, &wanted, &mut pen.carried.lost);
    gap.count(&wanted, &mut pen.carried.lost);
    if damaged {
        let lost = &mut pen.carried.lost;
        lost.part_of("event");
        if lost.types.is_empty() {
            lost.types.insert("unknown".into());
        }
    }
    pen.into.execute_batch("COMMIT")?;
    Ok(pen.moved)
}

/// Gives `take` each event above a number that can be read; of one that is not to be believed its kind, as far as it goes.
pub(super) fn each(
    source: &Source<'_>,
    above: u64,
    mut take: impl FnMut(Result<Old, Option<String>>) -> Result<(), Error>,
) -> Result<bool, Error> {
    let fits = source.fits(sum::EVENT_FITS);
    let columns = format!("SELECT seq, at, kind, ticket, json, {fits} FROM event");
    let walk = Walk {
        after: &format!("{columns} WHERE seq > ?1 ORDER BY seq"),
        one: &format!("{columns} WHERE seq = ?1"),
        last: last_known(source)? + BEHIND,
    };
    let mut last = above;
    salvage::walk(source.db, &walk, above, |row| {
        match opened(source, salvage::sound(old(row))?.flatten())? {
            // A page that is in the tree twice would give its rows twice.
            Some(old) if old.seq > last => {
                last = old.seq;
                take(Ok(old))?;
                Ok(Some(last))
            }
            Some(_) => Ok(None),
            None => {
                let kind: Option<String> = salvage::sound(row.get(2))?;
                take(Err(kind.filter(|kind| event::Kinds::speaks_of_any(kind))))?;
                Ok(None)
            }
        }
    })
}

fn opened(source: &Source<'_>, old: Option<Old>) -> Result<Option<Old>, Error> {
    let Some(old) = old else { return Ok(None) };
    let json = source.opened(Place::Event(old.seq), &old.json)?;
    Ok(json.map(|json| Old { json, ..old }))
}

fn old(row: &Row<'_>) -> rusqlite::Result<Option<Old>> {
    if !row.get::<_, bool>(5)? {
        return Ok(None);
    }
    let (seq, at, kind) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(Some(Old { seq, at, kind, ticket: row.get(3)?, json: row.get(4)? }))
}

/// The last number that anything speaks of.
fn last_known(source: &Source<'_>) -> Result<u64, Error> {
    let event =
        format!("SELECT seq FROM event WHERE {} ORDER BY seq DESC LIMIT 1", source.fits(sum::EVENT_FITS));
    let asked =
        [event.as_str(), "SELECT max(last_seq) FROM ticket", "SELECT max(acknowledged) FROM consumer"];
    let mut last = 0;
    for query in &asked {
        let known: Option<Option<u64>> = salvage::read(source.db.query_row(query, [], |row| row.get(0)))?;
        match known.flatten() {
            // The events' own word is the best one, and others may be damaged too.
            Some(known) if *query == event => return Ok(known),
            Some(known) => last = last.max(known),
            None => {}
        }
    }
    Ok(last)
}

/// Numbers that cannot be read between two that can. What was dropped for room is told further on, and is no loss of
/// the carrying.
#[derive(Debug, Default)]
struct Gap {
    /// The last one that could be read.
    at: u64,
    /// Kinds of rows since then that do not fit their sum.
    damaged: Vec<Option<String>>,
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    first: u64,
    /// The one after the last.
    end: u64,
    damaged: Vec<Option<String>>,
}

/// As `give_way` tells it; of an earlier epoch the numbers are texts, and mean nothing here.
#[derive(Debug, serde::Deserialize)]
struct Told {
    data: Span,
}

#[derive(Debug, serde::Deserialize)]
struct Span {
    from: u64,
    to: u64,
}

impl Gap {
    /// Kinds that are remembered; the rest is unknown.
    const KINDS_MAX: usize = 1000;
    /// Holes that wait to be told; when they are that many, they are lost.
    const HOLES_MAX: usize = 10_000;

    fn damage(&mut self, kind: Option<String>) {
        if self.damaged.len() < Self::KINDS_MAX {
            self.damaged.push(kind);
        }
    }

    fn close(&mut self, next: u64, wanted: &Wanted, lost: &mut Lost) {
        let damaged = std::mem::take(&mut self.damaged);
        let (first, end) = (self.at + 1, next);
        self.at = self.at.max(next);
        if first >= end {
            return;
        }
        self.holes.push(Hole { first, end, damaged });
        if self.holes.len() >= Self::HOLES_MAX {
            self.count(wanted, lost);
        }
    }

    fn told(&mut self, old: &Old) {
        if old.kind != "gateway.events-dropped" || self.holes.is_empty() {
            return;
        }
        if let Ok(Told { data: Span { from, to } }) = serde_json::from_str(&old.json) {
            let is_told = |hole: &Hole| {
                hole.damaged.is_empty() && from <= hole.first && hole.end <= to.saturating_add(1)
            };
            self.holes.retain(|hole| !is_told(hole));
        }
    }

    /// Nothing more will be told of these.
    fn count(&mut self, wanted: &Wanted, lost: &mut Lost) {
        for hole in self.holes.drain(..) {
            hole.count(wanted, lost);
        }
    }
}

impl Hole {
    fn count(self, wanted: &Wanted, lost: &mut Lost) {
        let Self { first, end, damaged } = self;
        let all_known = damaged.len() as u64 == end - first && damaged.iter().all(Option::is_some);
        let before = lost.events;
        for seq in wanted.aside.range(first..end.min(wanted.any + 1).max(first)) {
            lost.span(*seq, *seq);
        }
        if end > wanted.any + 1 {
            lost.span(first.max(wanted.any + 1), end - 1);
        }
        if lost.events > before {
            lost.types.extend(damaged.into_iter().flatten());
            if !all_known {
                lost.types.insert("unknown".into());
            }
        }
    }
}

impl Wanted {
    /// Nothing at or below is wanted.
    fn from(&self) -> u64 {
        self.aside.first().map_or(self.any, |first| self.any.min(first.saturating_sub(1)))
    }

    fn wants(&self, seq: u64) -> bool {
        seq > self.any || self.aside.contains(&seq)
    }

    fn class(&self, old: &Old) -> Class {
        if old.seq <= self.required && !self.aside.contains(&old.seq) {
            Class::Unasked
        } else if old.kind.starts_with("ticket.") {
            Class::Ticket
        } else {
            Class::Other
        }
    }
}

fn wanted(source: &Source<'_>) -> Result<Wanted, Error> {
    let mut wanted = Wanted { required: u64::MAX, any: u64::MAX, aside: BTreeSet::new() };
    let fits = source.fits(sum::CONSUMER_FITS);
    let rows = format!("SELECT required, acknowledged, {fits}, configured FROM consumer");
    let mut unsure = false;
    let damaged = salvage::from_both_ends(source.db, &rows, "name", |row| {
        let read = || -> rusqlite::Result<(bool, u64, bool, bool)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        };
        match salvage::sound(read())? {
            Some((required, acknowledged, true, configured)) => {
                if required {
                    wanted.required = wanted.required.min(acknowledged);
                }
                if required || configured {
                    wanted.any = wanted.any.min(acknowledged);
                }
            }
            _ => unsure = true,
        }
        Ok(())
    })?;
    // Whose cursor is lost may have had nothing yet.
    if damaged || unsure {
        (wanted.required, wanted.any) = (0, 0);
    }
    // A number above all others would make sums overflow; nothing is that high.
    let head = last_known(source)?;
    (wanted.required, wanted.any) = (wanted.required.min(head), wanted.any.min(head));
    salvage::from_both_ends(source.db, "SELECT seq FROM aside", "consumer, seq", |row| {
        wanted.aside.extend(salvage::sound(row.get::<_, u64>(0))?);
        Ok(())
    })?;
    Ok(wanted)
}

impl Class {
    /// Whether the event stays behind for the limit's sake.
    fn gives_way(self, excess: &mut [Load; 3], old: &Old) -> bool {
        let excess = &mut excess[self as usize];
        let gives = excess.events > 0 || excess.bytes > 0;
        excess.events = excess.events.saturating_sub(1);
        excess.bytes = excess.bytes.saturating_sub(old.json.len() as u64);
        gives
    }
}

/// How much of each class has to stay behind.
fn excess(source: &Source<'_>, wanted: &Wanted, limit: Limit) -> Result<[Load; 3], Error> {
    let mut loads = [Load::default(); 3];
    if limit.events == u64::MAX && limit.bytes == u64::MAX {
        return Ok(loads);
    }
    each(source, wanted.from(), |read| {
        if let Ok(old) = read
            && wanted.wants(old.seq)
        {
            let load = &mut loads[wanted.class(&old) as usize];
            load.events += 1;
            load.bytes += old.json.len() as u64;
        }
        Ok(())
    })?;
    let mut room = Load { events: limit.events, bytes: limit.bytes };
    for load in loads.iter_mut().rev() {
        let over = Load {
            events: load.events.saturating_sub(room.events),
            bytes: load.bytes.saturating_sub(room.bytes),
        };
        room.events = room.events.saturating_sub(load.events);
        room.bytes = room.bytes.saturating_sub(load.bytes);
        *load = over;
    }
    Ok(loads)
}

/// Writes events into the new journal, a bite in a transaction.
struct Pen<'a> {
    into: &'a mut Connection,
    /// Gateway and epoch.
    name: (&'a str, &'a str),
    chain: chain::Pen<'a>,
    /// Events in the open transaction.
    open: u64,
    moved: Moved,
    carried: &'a mut Carried,
}

impl Pen<'_> {
    /// Whether it is an event at all.
    fn write(&mut self, old: &Old) -> Result<bool, Error> {
        let seq = self.carried.events + 1;
        let Some(json) = event::moved(&old.json, old.seq, self.name.0, self.name.1, seq) else {
            return Ok(false);
        };
        let (kind, ticket) = (&*old.kind, old.ticket.as_deref());
        self.chain.write(self.into, &chain::Row { seq, at: old.at, kind, ticket, json: &json })?;
        self.moved.add(old.seq, seq);
        self.carried.events = seq;
        self.carried.committed = self.carried.committed.max(old.at);
        self.open += 1;
        if self.open == BITE {
            self.open = 0;
            self.into.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
        }
        Ok(true)
    }
}
