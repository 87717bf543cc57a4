//! Whether the keys are at hand under which a journal is sealed. Where one is missing nothing of it is damaged: whoever
//! recovered such a journal would throw away all that is in it.

use rusqlite::Connection;

use super::seal::{self, Place, Seal, Unreadable};
use super::{Error, salvage};

/// One text of each kind of row, the oldest and the newest event, all of what a start goes on from.
const SOME: [&str; 8] = [
    "SELECT json FROM event WHERE seq = (SELECT min(seq) FROM event)",
    "SELECT json FROM event WHERE seq = (SELECT max(seq) FROM event)",
    "SELECT json FROM ticket WHERE state <> 'closed'",
    "SELECT by FROM command",
    "SELECT reason FROM command WHERE reason IS NOT NULL",
    "SELECT state FROM access",
    "SELECT by FROM maintenance",
    "SELECT note FROM maintenance WHERE note IS NOT NULL",
];

/// [`Error::Locked`] where a key is missing. What is damaged or lacking is found elsewhere.
pub(super) fn at_hand(db: &Connection, seal: &Seal) -> Result<(), Error> {
    for some in SOME {
        let Ok(mut query) = db.prepare(some) else { continue };
        let mut rows = query.query([])?;
        while let Ok(Some(row)) = rows.next() {
            let text = row.get_ref(0).ok().and_then(|text| text.as_str().ok());
            if let Some(id) = text.and_then(seal::key_of).filter(|id| !seal.knows(id)) {
                return Err(Error::Locked(id.to_owned()));
            }
        }
    }
    Ok(())
}

/// The first event or ticket that is not what was sealed there, though it fits its sum. Reads all of them.
pub(super) fn first_changed(db: &Connection, seal: &Seal) -> Result<Option<String>, Error> {
    if !seal.has_keys() {
        return Ok(None);
    }
    let mut events = db.prepare("SELECT seq, json FROM event ORDER BY seq")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(why) = changed(seal, Place::Event(row.get(0)?), &row.get::<_, String>(1)?)? {
            return Ok(Some(why));
        }
    }
    let mut tickets = db.prepare("SELECT id, json FROM ticket")?;
    let mut rows = tickets.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(why) = changed(seal, Place::Ticket(&row.get::<_, String>(0)?), &row.get::<_, String>(1)?)?
        {
            return Ok(Some(why));
        }
    }
    let orders = super::orders::under_way(db, seal).map(drop);
    let doors = super::orders::access(db, seal).map(drop);
    let maintenance = super::maintenance::under_way(db, seal).map(drop);
    for read in [orders, doors, maintenance] {
        match read {
            Err(error) if salvage::is_damage(&error) => return Ok(Some(error.to_string())),
            read => read?,
        }
    }
    Ok(None)
}

fn changed(seal: &Seal, place: Place<'_>, stored: &str) -> Result<Option<String>, Error> {
    match seal.open(place, stored) {
        Ok(_) => Ok(None),
        Err(Unreadable::Unknown { key, .. }) => Err(Error::Locked(key)),
        Err(why @ Unreadable::Changed { .. }) => Ok(Some(why.to_string())),
    }
}
