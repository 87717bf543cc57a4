//! What can wait: metrics, handing over to the history, and what is old enough to go.

use std::time::Duration;

use super::{Corridor, Doors};
use crate::live::DeviceState;
use crate::metrics::{Quality as QualityLabel, State as StateLabel};
use crate::reading::{DeviceId, Millis};
use crate::store::{ORDERS_KEPT, Resealed};

/// Metrics are brought up to date, and the history looked after, this often.
const HOUSE_EVERY: Millis = 5000;
const RETIRE_EVERY: Millis = 3_600_000;
/// The share of usable data does not move faster than that.
const MEASURE_EVERY: Millis = 60_000;

impl Corridor {
    /// What can wait: metrics, handing over to the history, old events and readings.
    pub(super) fn keep_house(&mut self, doors: &Doors, now: Millis) {
        // A clock that was set back must not stop the housekeeping for as long.
        if now < self.house_at && self.house_at - now <= HOUSE_EVERY {
            return;
        }
        self.house_at = now + HOUSE_EVERY;
        for (quality, count) in self.qualities.drain() {
            self.intake.metrics.readings.get_or_create(&QualityLabel { quality }).inc_by(count);
        }
        for state in [DeviceState::Online, DeviceState::Degraded, DeviceState::Offline, DeviceState::Unknown]
        {
            let live = self.intake.live.lock();
            let devices = 0..self.intake.site.devices.len() as u32;
            let count = devices.filter(|d| live.device(DeviceId(*d)).state == state).count();
            let label = StateLabel { state: state.word() };
            self.intake.metrics.devices.get_or_create(&label).set(count as i64);
        }
        if now.abs_diff(self.measured_at) >= MEASURE_EVERY.unsigned_abs() {
            self.measured_at = now;
            self.measure_the_day(now);
        }
        if self.intake.journal.look().is_some() {
            // The house is about to be built anew.
            return;
        }
        self.intake.journal.leave_mark();
        self.forget_erased(doors, now);
        self.keep_room(doors, now);
        self.look_at_wear(now);
        if self.intake.history.due(now) {
            self.intake.history.flush(now);
        }
        self.reseal();
        if now >= self.retire_at || self.retire_at - now > RETIRE_EVERY {
            self.retire_at = now + RETIRE_EVERY;
            self.retire(doors, now);
            // A start has to know by which clock the last run wrote.
            self.trace_due = true;
            // A power cut may cost an hour of the time for which a repair has held, not all of it.
            self.intake.engine.rest();
        }
    }

    /// Whoever waits for events hears of those that the journal has told itself.
    pub(super) fn tell_head(&self, doors: &Doors) {
        let head = self.intake.journal.head();
        doors.head.send_if_modified(|told| std::mem::replace(told, head) != head);
    }

    /// A bite of old rows comes under the present key, while there is nothing else to write and the day's budget lasts.
    fn reseal(&mut self) {
        if self.resealed || !self.page.is_blank() || self.wear.today > self.intake.history.write_budget() {
            return;
        }
        match self.intake.journal.reseal() {
            Ok(Resealed { rows, left, done }) => {
                self.resealed = done;
                if rows > 0 {
                    tracing::info!(rows, left, done, "rows were sealed anew");
                }
            }
            Err(error) => tracing::warn!(%error, "old rows could not be sealed anew"),
        }
    }

    /// Old events and readings go; by age only while the clock can be believed and has not been stepped for an hour, or a
    /// wrong one would take them all.
    fn retire(&mut self, doors: &Doors, now: Millis) {
        let keep = self.intake.keep;
        let is_sure = self.synced && self.clocks.are_calm();
        let believed = if is_sure { now } else { Millis::MIN };
        self.intake.history.retire(believed, keep.readings, keep.disk_limit);
        // By number in any case: a clock that is never set must not let them pile up.
        let cut = believed.saturating_sub(ORDERS_KEPT);
        match self.intake.journal.retire_orders(cut, now) {
            Ok(1..) => self.retire_at = now + HOUSE_EVERY,
            Ok(0) => {}
            Err(error) => tracing::warn!(%error, "old orders could not be removed"),
        }
        if !is_sure {
            return;
        }
        // In memory nothing is kept that every centre has.
        let in_memory = self.intake.journal.why_in_memory().is_some();
        let keep = if in_memory { Duration::ZERO } else { keep.events };
        match self.intake.journal.expire(now) {
            Ok(true) => self.retire_at = now + HOUSE_EVERY,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "events of kinds that are kept for less long could not expire");
            }
        }
        self.tell_head(doors);
        match self.intake.journal.retire(now, keep) {
            // A bite at a time, so that no ticket waits for it; there may be more.
            Ok(1..) => self.retire_at = now + HOUSE_EVERY,
            Ok(0) => {}
            Err(error) => tracing::warn!(%error, "old events could not be removed"),
        }
    }
}
