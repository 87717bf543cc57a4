//! Tickets are as the last event of each says.

use rusqlite::OptionalExtension as _;
use serde::Deserialize;

use super::Walk;
use crate::event;
use crate::store::Error;
use crate::store::seal::Place;

/// An event of a ticket, as far as it is looked at.
#[derive(Deserialize)]
struct Event {
    data: Ticket,
    origin: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Ticket {
    number: String,
    state: String,
    revision: u64,
}

impl Walk<'_> {
    /// By the index of tickets, one after the other. A row stays as long as an event speaks of it. What was carried here
    /// from an earlier epoch says another revision, and may have no row.
    pub(super) fn tickets(&mut self) -> Result<(), Error> {
        let mut last = self.db.prepare(
            "SELECT ticket, max(seq) FROM event WHERE ticket IS NOT NULL GROUP BY ticket ORDER BY ticket",
        )?;
        let mut text = self.db.prepare("SELECT json FROM event WHERE seq = ?1")?;
        let mut row = self.db.prepare("SELECT state, json FROM ticket WHERE id = ?1")?;
        let mut rows = last.query([])?;
        while let Some(found) = rows.next()? {
            let (Ok(id), Ok(seq)) = (found.get::<_, String>(0), found.get::<_, u64>(1)) else { continue };
            let stored: String = text.query_row([seq], |row| row.get(0)).unwrap_or_default();
            // What cannot be opened, or is no event, was told of already.
            let Ok(json) = self.seal.open(Place::Event(seq), &stored) else { continue };
            if event::is_stub(&json) {
                continue;
            }
            let Ok(Event { data: told, origin: None }) = serde_json::from_str(&json) else { continue };
            let now: Option<(String, String)> =
                row.query_row([&id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let number = &told.number;
            let Some((state, stored)) = now else {
                let what = format!("ticket {number}, of which it is the last event, is gone");
                self.report.fault(Some(seq), what);
                continue;
            };
            let Ok(json) = self.seal.open(Place::Ticket(&id), &stored) else {
                let what = format!("ticket {number}, of which it is the last event, cannot be read here");
                self.report.doubt(Some(seq), what);
                continue;
            };
            let kept: Option<Ticket> = serde_json::from_str(&json).ok();
            if kept.as_ref() != Some(&told) || state != told.state {
                let (said, revision) = (&told.state, told.revision);
                let what = format!(
                    "it is the last event of ticket {number}, which it says to be {said} with revision {revision}: the ticket's row says something else"
                );
                self.report.fault(Some(seq), what);
            }
        }
        Ok(())
    }
}
