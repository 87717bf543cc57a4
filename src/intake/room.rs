//! Room: what the store's `room` decides is done here, told, and shown to the rules. Every few seconds, and at once when
//! a page finds the disk full.

use serde_json::json;

use super::{Corridor, Doors};
use crate::event::Draft;
use crate::metrics::Storage;
use crate::reading::Millis;
use crate::store::room::{self, Low, Reserve, Step, Uses, Way};

/// What is known of the room from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Room {
    low: Option<Low>,
    /// The last time there was no acknowledged event left to go.
    none_acknowledged: bool,
    /// A reserve that cannot be made is said once.
    no_reserve: bool,
}

/// How long the readings are kept while all of them are to go: not at all.
const NOTHING: u64 = 0;

impl Corridor {
    /// The measures of the moment, and whether the disk is low.
    pub(super) fn keep_room(&mut self, doors: &Doors, now: Millis) {
        let uses = match self.intake.journal.uses(self.intake.keep.disk_limit) {
            Ok(uses) => uses,
            Err(error) => return tracing::warn!(%error, "how much room there is cannot be seen now"),
        };
        self.show_room(&uses);
        let measures = room::measures(&uses, self.room.low, self.room.none_acknowledged);
        if uses.history > measures.history {
            self.give_readings(measures.history);
        }
        if let Reserve::Make(bytes) = measures.reserve {
            self.make_reserve(bytes);
        }
        if measures.low != self.room.low {
            self.tell_of_room(&uses, measures.low, now);
        }
        self.intake.engine.storage(measures.low.map(Low::word), now);
        match measures.events {
            Some(way) => drop(self.give_events(doors, way, now)),
            // What is acknowledged meanwhile goes first again.
            None => self.room.none_acknowledged = false,
        }
    }

    /// A page has found the disk full for the `tried`th time. Whether anything was freed at once.
    pub(super) fn make_room(&mut self, doors: &Doors, tried: u32, now: Millis) -> bool {
        let Ok(uses) = self.intake.journal.uses(self.intake.keep.disk_limit) else { return false };
        match room::when_full(&uses, tried, self.room.none_acknowledged) {
            Step::GiveUpReserve => {
                let low = room::measures(&uses, self.room.low, false).low.or(Some(Low::Full));
                if low != self.room.low {
                    self.tell_of_room(&uses, low, now);
                }
                self.give_readings(room::measures(&uses, low, false).history);
                tracing::warn!(bytes = uses.reserve, "the disk is full; the reserve is given up for tickets");
                self.intake.journal.give_up_reserve()
            }
            Step::DropReadings => {
                self.give_readings(NOTHING);
                false
            }
            Step::Drop(way) => self.give_events(doors, way, now),
        }
    }

    /// Little by little, on the history's own thread.
    fn give_readings(&self, limit: u64) {
        self.intake.history.retire(Millis::MIN, self.intake.keep.readings, limit);
    }

    fn make_reserve(&mut self, bytes: u64) {
        match self.intake.journal.make_reserve(bytes) {
            Ok(()) => self.room.no_reserve = false,
            Err(error) => {
                if !std::mem::replace(&mut self.room.no_reserve, true) {
                    tracing::warn!(%error, "there is no reserve for a full disk; it is tried again");
                }
            }
        }
    }

    /// Whether any went.
    fn give_events(&mut self, doors: &Doors, way: Way, now: Millis) -> bool {
        match self.intake.journal.give_way(way, now, self.synced) {
            Ok(Some(dropped)) => {
                let (from, to, count) = (dropped.from, dropped.to, dropped.count);
                let acknowledged = way == Way::Acknowledged;
                tracing::warn!(
                    from,
                    to,
                    count,
                    acknowledged,
                    "events were dropped, since there is no room for them"
                );
                doors.head.send_replace(self.intake.journal.head());
                true
            }
            Ok(None) => {
                self.room.none_acknowledged = way == Way::Acknowledged;
                false
            }
            Err(error) => {
                tracing::debug!(%error, "events could not be dropped");
                false
            }
        }
    }

    /// Goes into the journal with the next page.
    fn tell_of_room(&mut self, uses: &Uses, low: Option<Low>, now: Millis) {
        let why = low.or(self.room.low).map_or("", Low::word);
        self.room.low = low;
        match low {
            Some(_) => {
                tracing::warn!(why, free = uses.free, limit = uses.limit, "there is little room to store in")
            }
            None => tracing::info!(free = uses.free, "there is room to store in again"),
        }
        let (low, class) = (low.is_some(), self.who_gives_way(uses));
        let data = json!({ "low": low, "why": why, "class": class, "free": uses.free, "limit": uses.limit });
        let subject = format!("gateways/{}", self.intake.site.gateway);
        self.page.events.push(Draft::new("gateway.storage-low", subject, now, &data));
    }

    fn who_gives_way(&self, uses: &Uses) -> &'static str {
        match room::measures(uses, self.room.low, self.room.none_acknowledged).events {
            None => "readings",
            Some(Way::Acknowledged) => "acknowledged events",
            Some(Way::Unacknowledged) => "unacknowledged events",
        }
    }

    fn show_room(&self, uses: &Uses) {
        let classes = [
            ("free", uses.free),
            ("limit", uses.limit),
            ("journal", uses.journal),
            ("history", uses.history),
            ("aside", uses.aside),
            ("reserve", uses.reserve),
        ];
        for (class, bytes) in classes {
            let bytes = bytes.try_into().unwrap_or(i64::MAX);
            self.intake.metrics.storage.get_or_create(&Storage { class }).set(bytes);
        }
    }
}
