//! What the journal tells of tickets: the events of one, how many each rule has open, and when they came.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::{Row, params};
use serde::Deserialize;

use super::chain::Kept;
use super::seal::Place;
use super::view::fits;
use super::{Error, View, sum};
use crate::event::Stored;
use crate::reading::Millis;

/// Unclosed tickets that are counted.
const COUNTED_MAX: i64 = 20_000;
/// Events looked at in one go, so that others have their turn with the connection.
const LOOKED_MAX: i64 = 2000;
/// What was written so much earlier happened earlier, too, even where the clock has been set meanwhile.
const CLOCK_SLACK: Millis = 2 * 24 * 3_600_000;

/// A ticket that was opened or reopened.
#[derive(Debug, PartialEq, Eq)]
pub struct Coming<'a> {
    /// As in the event, RFC 3339.
    pub time: &'a str,
    pub place: &'a str,
    pub device: Option<&'a str>,
}

/// As far as it is looked at.
#[derive(Deserialize)]
struct Event<'a> {
    time: &'a str,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    place: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    device: Option<std::borrow::Cow<'a, str>>,
}

#[derive(Deserialize)]
struct OfRule<'a> {
    #[serde(borrow)]
    rule: std::borrow::Cow<'a, str>,
}

impl View {
    /// Events that speak of a ticket, after a number, in order, as far as they are kept.
    pub fn events_of(&self, ticket: &str, after: u64, limit: usize) -> Result<Vec<Stored>, Error> {
        let db = self.lock();
        let mut query = db.prepare_cached(&format!(
            "SELECT seq, kind, json, {}, chain FROM event WHERE ticket = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            sum::EVENT_FITS
        ))?;
        let after = after.min(i64::MAX as u64);
        let rows = query.query_map(params![ticket, after, limit as i64], |row| {
            fits(row, 3, 0, "event")?;
            let seq = row.get(0)?;
            let json = self.seal().open(Place::Event(seq), row.get_ref(2)?.as_str()?)?.into_owned();
            Ok(Stored { seq, kind: row.get(1)?, json, chain: row.get::<_, Kept>(4)?.0 })
        })?;
        self.heed(rows.collect::<Result<_, _>>().map_err(Error::from))
    }

    /// How many tickets of each rule are not closed.
    pub fn unclosed_by_rule(&self) -> Result<HashMap<String, u64>, Error> {
        let db = self.lock();
        let mut query = db.prepare_cached("SELECT json, id FROM ticket WHERE state <> 'closed' LIMIT ?1")?;
        let mut rows = query.query([COUNTED_MAX])?;
        let mut counts = HashMap::new();
        while let Some(row) = rows.next()? {
            // One that cannot be read is shown as damaged elsewhere.
            if let Ok(json) = self.seal().open(Place::Ticket(text(row, 1)?), text(row, 0)?)
                && let Ok(ticket) = serde_json::from_str::<OfRule<'_>>(&json)
            {
                *counts.entry(ticket.rule.into_owned()).or_default() += 1;
            }
        }
        Ok(counts)
    }

    /// Gives `take` the tickets that were opened and reopened and written since then, newest first, out of the last
    /// `most` events; whether that was enough. They are only counted: that each row fits its sum is not looked at.
    pub fn comings(
        &self,
        since: Millis,
        most: usize,
        mut take: impl FnMut(&Coming<'_>),
    ) -> Result<bool, Error> {
        let (mut before, mut left) = (i64::MAX, most as i64);
        while left > 0 {
            match self.heed(self.comings_before(&mut before, left.min(LOOKED_MAX), since, &mut take))? {
                ControlFlow::Break(()) => return Ok(true),
                ControlFlow::Continue(()) => left -= LOOKED_MAX,
            }
        }
        Ok(false)
    }

    fn comings_before(
        &self,
        before: &mut i64,
        limit: i64,
        since: Millis,
        take: &mut impl FnMut(&Coming<'_>),
    ) -> Result<ControlFlow<()>, Error> {
        let db = self.lock();
        let mut query = db.prepare_cached(
            "SELECT seq, at, kind IN ('ticket.opened', 'ticket.reopened'), json FROM event WHERE seq < ?1
             ORDER BY seq DESC LIMIT ?2",
        )?;
        let mut rows = query.query([*before, limit])?;
        let mut seen = 0;
        while let Some(row) = rows.next()? {
            (*before, seen) = (row.get(0)?, seen + 1);
            if row.get::<_, Millis>(1)? < since - CLOCK_SLACK {
                return Ok(ControlFlow::Break(()));
            }
            if row.get(2)?
                && let Ok(json) = self.seal().open(Place::Event(row.get(0)?), text(row, 3)?)
                && let Ok(event) = serde_json::from_str::<Event<'_>>(&json)
            {
                let (place, device) = (&*event.data.place, event.data.device.as_deref());
                take(&Coming { time: event.time, place, device });
            }
        }
        Ok(if seen < limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}
