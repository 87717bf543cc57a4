//! Whether the keys are at hand under which a journal is sealed. Where one is missing nothing of it is damaged: whoever
//! recovered such a journal would throw away all that is in it.
//!
//! A few rows under a key that nobody knows, in a journal that is under ours for the rest, are another thing: somebody
//! changed them, and one row must not stop a gateway for good. They are met like rows that do not fit their sums, up to
//! [`FEW`] of them.

use rusqlite::Connection;

use super::seal::{self, Place, Seal};
use super::{Error, salvage, sum};

/// So many rows may be given up for the sake of all others.
pub(super) const FEW: usize = 20;

/// One text of each kind of row, the newest events, all of what a start goes on from.
const SOME: [(&str, &str); 8] = [
    ("event", "SELECT json FROM event WHERE FITS ORDER BY seq DESC LIMIT 50"),
    ("ticket", "SELECT json FROM ticket WHERE state <> 'closed' AND FITS"),
    ("command", "SELECT by FROM command WHERE FITS"),
    ("command", "SELECT reason FROM command WHERE reason IS NOT NULL AND FITS"),
    ("access", "SELECT state FROM access WHERE FITS"),
    ("maintenance", "SELECT by FROM maintenance WHERE FITS"),
    ("maintenance", "SELECT note FROM maintenance WHERE note IS NOT NULL AND FITS"),
    ("erasure", "SELECT pseudonym FROM erasure WHERE FITS"),
];

const ALL: [(&str, &str); 2] =
    [("event", "SELECT json FROM event WHERE FITS"), ("ticket", "SELECT json FROM ticket WHERE FITS")];

/// Of rows that fit their sums: how many can be opened, how many cannot, and the key that is wanted.
#[derive(Debug, Default)]
struct Looked {
    open: usize,
    shut: usize,
    key: Option<String>,
}

/// [`Error::Locked`] where a key is missing; what is damaged where only a few rows are under one. What else is damaged or
/// lacking is found elsewhere.
pub(super) fn at_hand(db: &Connection, seal: &Seal) -> Result<Option<String>, Error> {
    let newest = look(db, seal, &SOME[..1])?;
    let some = look(db, seal, &SOME)?;
    let Some(key) = some.key else { return Ok(None) };
    if newest.shut > newest.open || some.shut >= some.open {
        return Err(Error::Locked(key));
    }
    few(db, seal)
}

/// Likewise, of every event and ticket.
fn few(db: &Connection, seal: &Seal) -> Result<Option<String>, Error> {
    let (all, short) = (look(db, seal, &ALL)?, look(db, seal, &SOME[2..])?);
    let shut = all.shut + short.shut;
    let Some(key) = all.key.or(short.key) else { return Ok(None) };
    if shut > FEW || shut >= all.open + short.open {
        return Err(Error::Locked(key));
    }
    Ok(Some(format!(
        "texts under key {key}, which the configuration does not name, among others that can be read: {shut}"
    )))
}

fn look(db: &Connection, seal: &Seal, at: &[(&str, &str)]) -> Result<Looked, Error> {
    let mut looked = Looked::default();
    for (table, texts) in at {
        let Ok(mut query) = db.prepare(&texts.replace("FITS", sum::fits(table))) else { continue };
        let mut rows = query.query([])?;
        while let Ok(Some(row)) = rows.next() {
            let Some(text) = row.get_ref(0).ok().and_then(|text| text.as_str().ok()) else { continue };
            let key = seal::key_of(text);
            match key.filter(|id| !seal.knows(id)) {
                Some(id) => {
                    looked.shut += 1;
                    looked.key.get_or_insert_with(|| id.to_owned());
                }
                // Of what is in the clear nobody knows when a key came.
                None => looked.open += usize::from(key.is_some() || !seal.has_keys()),
            }
        }
    }
    Ok(looked)
}

/// The first event or ticket that is not what was sealed there, though it fits its sum. Reads all of them.
pub(super) fn first_changed(db: &Connection, seal: &Seal) -> Result<Option<String>, Error> {
    if let Some(what) = few(db, seal)? {
        return Ok(Some(what));
    }
    let mut events = db.prepare("SELECT seq, json FROM event ORDER BY seq")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(why) = changed(seal, Place::Event(row.get(0)?), &row.get::<_, String>(1)?) {
            return Ok(Some(why));
        }
    }
    let mut tickets = db.prepare("SELECT id, json FROM ticket")?;
    let mut rows = tickets.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(why) = changed(seal, Place::Ticket(&row.get::<_, String>(0)?), &row.get::<_, String>(1)?)
        {
            return Ok(Some(why));
        }
    }
    let orders = super::orders::under_way(db, seal).map(drop);
    let doors = super::orders::access(db, seal).map(drop);
    let maintenance = super::maintenance::under_way(db, seal).map(drop);
    let erasures = super::erasure::all(db, seal).map(drop);
    for read in [orders, doors, maintenance, erasures] {
        match read {
            Err(error) if salvage::is_damage(&error) => return Ok(Some(error.to_string())),
            read => read?,
        }
    }
    Ok(None)
}

fn changed(seal: &Seal, place: Place<'_>, stored: &str) -> Option<String> {
    seal.open(place, stored).err().map(|why| why.to_string())
}
