//! Numbers that are not there: those inside the journal have to be told, those before its beginning can have been kept long
//! enough.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use super::{REMEMBERED_MAX, Walk};
use crate::reading::Millis;
use crate::store::Error;
use crate::store::chain::Kept;
use crate::store::verify::rows::Event;
use crate::time;

/// What is gone up to a number, and when the first event that is there was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    to: u64,
    next: Millis,
    /// Whether the chain says so as well, by the time in the text of an event.
    is_dated: bool,
}

impl Walk<'_> {
    /// Numbers are missing before this one. What the chain was there the gateway has kept, where it removed them.
    pub(super) fn jump(&mut self, row: &Event<'_>) -> Result<(), Error> {
        self.changed();
        let (from, to) = (self.report.to + 1, row.seq.saturating_sub(1));
        let kept = self.db.prepare_cached("SELECT chain FROM gap WHERE seq = ?1");
        let kept = match kept {
            Ok(mut query) => query.query_row([to], |row| row.get::<_, Kept>(0)).map_or(None, |kept| kept.0),
            // An older format.
            Err(_) => None,
        };
        let begins = self.is_unchained(row.seq) || self.unchained == Some(to);
        if from > 1 {
            if self.holes.len() < REMEMBERED_MAX {
                self.holes.push((from, to));
            }
        } else if kept.is_none() && !begins {
            let what =
                format!("the events up to {to} are gone, and it was not the gateway that removed them");
            self.report.fault(Some(row.seq), what);
        } else {
            self.gone = Some(Gone { to, next: row.at, is_dated: false });
        }
        self.before = if begins { Some(self.first) } else { kept };
        Ok(())
    }

    /// The first event behind them that says when it happened: when its row was written, anybody could have changed.
    pub(super) fn date(&mut self, time: &str) {
        if let Some(gone) = self.gone.as_mut().filter(|gone| !gone.is_dated) {
            gone.is_dated = true;
            gone.next = gone.next.max(time::parse(time).unwrap_or(Millis::MAX));
        }
    }

    /// Those of which nothing tells.
    pub(super) fn holes_untold(&mut self) {
        let told = std::mem::take(&mut self.told);
        if let Some(mut gone) = self.gone.take() {
            // Room took them behind those that retention took.
            let tells = |to: u64| told.iter().find(|(first, last)| (1..=to).contains(first) && *last >= to);
            while let Some((first, _)) = tells(gone.to) {
                gone.to = first - 1;
            }
            self.gone = (gone.to > 0).then_some(gone);
        }
        for (from, to) in std::mem::take(&mut self.holes) {
            // One bite of room may end where the next one begins.
            let mut at = from;
            while let Some((_, end)) = told.iter().find(|(first, last)| (*first..=*last).contains(&at)) {
                at = end.saturating_add(1);
                if at > to {
                    break;
                }
            }
            if at > to {
                self.report.dropped += to - from + 1;
            } else if from == to {
                self.untold(from, "it is gone, and nothing tells of that".into());
            } else {
                self.untold(from, format!("the events {from} to {to} are gone, and nothing tells of that"));
            }
        }
    }

    /// Of those before the first, the gateway removes none that is waited for or too young.
    pub(super) fn gone_in_time(&mut self, now: Millis, keep: Duration) -> Result<(), Error> {
        let Some(gone) = self.gone else { return Ok(()) };
        let to = gone.to;
        if let Some((name, had)) = waiting(self.db, to)? {
            let what = format!(
                "the events {} to {to} are gone, consumer `{name}` has only had those up to {had}, and nothing tells of that",
                had + 1
            );
            self.untold(had + 1, what);
        } else if let Some(name) = newcomer(self.db)? {
            let what = format!(
                "the events up to {to} are gone, and consumer `{name}` has acknowledged nothing: well only if it is newer than they were"
            );
            self.report.doubt(None, what);
        } else if is_young(gone, now, keep) {
            let days = keep.as_secs() / 86400;
            let what = format!(
                "the events up to {to} are gone as if they had been kept long enough, and what is left goes not back {days} days (events_keep): \
                 well only if they were kept for less, or the gateway was silent or its clock wrong"
            );
            self.report.doubt(None, what);
        }
        Ok(())
    }

    /// A fault, unless what tells of it cannot be read here.
    pub(super) fn untold(&mut self, seq: u64, what: String) {
        if self.is_deaf {
            self.report.doubt(Some(seq), format!("{what}; that may be in what could not be read here"));
        } else {
            self.report.fault(Some(seq), what);
        }
    }
}

/// A required consumer that has not had all of them, and up to where it has. One that has acknowledged nothing may be newer
/// than they were.
fn waiting(db: &Connection, to: u64) -> Result<Option<(String, u64)>, Error> {
    let mut query = db.prepare(
        "SELECT name, acknowledged FROM consumer WHERE required AND acknowledged > 0 AND acknowledged < ?1
         ORDER BY acknowledged LIMIT 1",
    )?;
    Ok(query.query_row([to], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// A required consumer that has had none.
fn newcomer(db: &Connection) -> Result<Option<String>, Error> {
    let mut query = db.prepare("SELECT name FROM consumer WHERE required AND acknowledged = 0 LIMIT 1")?;
    Ok(query.query_row([], |row| row.get(0)).optional()?)
}

/// Whether they were hardly old enough: what is kept goes back less than three quarters of the time for which events are
/// kept. The rest a house may have been quiet.
fn is_young(gone: Gone, now: Millis, keep: Duration) -> bool {
    let keep: Millis = keep.as_millis().try_into().unwrap_or(Millis::MAX);
    gone.next > now.saturating_sub(keep - keep / 4)
}
