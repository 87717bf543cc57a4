//! The rows of the journal as they are looked at, whatever stands in them.

use std::borrow::Cow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::chain::Link;
use crate::reading::Millis;
use crate::store::chain::Kept;
use crate::store::seal::{Place, Unreadable};
use crate::store::{Error, Seal, sum};

/// A row of `event`.
pub struct Event<'a> {
    pub seq: u64,
    /// When it was written; 0 where that is no number.
    pub at: Millis,
    pub kind: &'a str,
    pub ticket: Option<&'a str>,
    /// As it was told; `None`: it is sealed with a key that is not at hand.
    pub json: Option<&'a str>,
    /// Whether it fits the sum of its row.
    pub fits: bool,
    /// Rows of before format 4 have no sum.
    pub has_sum: bool,
    pub chain: Option<Link>,
    /// Of what was told; `None`: that is the text.
    pub digest: Option<&'a [u8]>,
}

/// In the order of their numbers; journals of before there were sums or a chain have none.
pub fn each(
    db: &Connection,
    seal: &Seal,
    mut take: impl FnMut(&Event<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let lacking: String = ["sum", "chain", "digest"]
        .into_iter()
        .filter(|column| db.prepare(&format!("SELECT {column} FROM event")).is_err())
        .map(|column| format!(", NULL AS {column}"))
        .collect();
    let mut query = db.prepare(&format!(
        "SELECT seq, kind, ticket, json, {}, chain, digest, at, sum IS NOT NULL
         FROM (SELECT *{lacking} FROM event) ORDER BY seq",
        sum::EVENT_FITS
    ))?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let stored = text(row, 3)?.unwrap_or_default();
        let json = match seal.open(Place::Event(row.get(0)?), stored) {
            Ok(json) => Some(json),
            Err(Unreadable::Unknown { .. }) => None,
            // It fits no digest.
            Err(Unreadable::Changed { .. }) => Some(Cow::Borrowed("")),
        };
        take(&event(row, json.as_deref())?)?;
    }
    Ok(())
}

fn event<'a>(row: &'a Row<'_>, json: Option<&'a str>) -> Result<Event<'a>, Error> {
    let digest = match row.get_ref(6)? {
        ValueRef::Null => None,
        value => Some(value.as_bytes().unwrap_or_default()),
    };
    Ok(Event {
        seq: row.get(0)?,
        at: row.get_ref(7)?.as_i64().unwrap_or_default(),
        kind: text(row, 1)?.unwrap_or_default(),
        ticket: text(row, 2)?,
        json,
        fits: row.get::<_, Option<bool>>(4)?.unwrap_or(false),
        has_sum: row.get(8)?,
        chain: row.get::<_, Kept>(5)?.0,
        digest,
    })
}

/// What is no text says nothing, and fits no digest.
fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, Error> {
    Ok(row.get_ref(column)?.as_str().ok())
}
