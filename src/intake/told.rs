//! What happens at doors and lockers: into the journal, and as readings of their momentary points to the rules.

use super::{Corridor, Intake};
use crate::access::{Saved, Told, Watch};
use crate::event::Draft;
use crate::happening::Happening;
use crate::reading::{Batch, Millis, Reading, Value};
use crate::store::AccessRow;

impl Intake {
    pub(super) fn watch(&mut self) -> Watch {
        let saved = std::mem::take(&mut self.saved).into_iter();
        let saved: Vec<Saved> = saved.map(|row| Saved { subject: row.subject, state: row.state }).collect();
        let watch = Watch::new(std::mem::take(&mut self.access), self.site.clone(), &saved);
        let gone: Vec<&str> = saved.iter().map(|s| s.subject.as_str()).filter(|s| !watch.has(s)).collect();
        if let Err(error) = self.journal.forget_access(&gone) {
            tracing::warn!(%error, "what was known of doors that are gone could not be removed");
        }
        watch
    }
}

impl Corridor {
    /// Each is kept, but what was told before under the same number happened once.
    pub(super) fn happened(&mut self, mut happening: Happening, now: Millis) {
        if !self.records.is_new(&happening, &self.intake.site) {
            let device = &self.intake.site.device(happening.device).id;
            tracing::debug!(%device, kind = happening.kind.word(), "the device told again what is in the journal");
            return;
        }
        // No device's clock may say that something has yet to happen, or happened before there were computers.
        happening.at = happening.at.min(now).max(0);
        self.watch.happening(&happening);
    }

    /// What has come of readings, happenings, orders and time, in order.
    pub(super) fn tell_of_access(&mut self) {
        for told in self.watch.take() {
            self.word(&told);
            self.page.events.push(Draft::new(told.kind, told.subject, told.at, &told.data));
        }
    }

    /// What doors and lockers go on from, with the events that it comes from.
    pub(super) fn save_access(&mut self) {
        let changed = self.watch.changed().into_iter();
        self.page
            .access
            .extend(changed.map(|saved| AccessRow { subject: saved.subject, state: saved.state }));
    }

    /// Each is an occurrence: of two in one instant the second is a reading too, and none is left out of the history.
    fn word(&mut self, told: &Told) {
        let Some(point) = told.point else {
            return;
        };
        // Judged a little later than it happened, it is still told after what came before.
        let last = self.words.entry(point).or_insert(told.at);
        *last = told.at.max(*last);
        let reading = Reading::good(point, *last, Value::Text(told.word.into()));
        let site = &self.intake.site;
        if self.clocks.possible {
            self.intake.history.note(&site.point(point).id, &reading);
        }
        self.intake.engine.word(&reading);
        self.show(&Batch::new(site.point(point).device, reading.at, vec![reading], None));
    }
}
