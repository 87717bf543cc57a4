//! What is shown as now, what the history takes, and whether a device is there.

use serde_json::json;

use super::{Corridor, Noted};
use crate::event::Draft;
use crate::live::{DeviceNow, DeviceState};
use crate::reading::{Batch, DeviceId, Life, Millis, Quality, Reading};
use crate::store::DeviceRow;
use crate::time;

/// A value that does not change is written again this often, so that a gap can be told from a steady value.
const HISTORY_HEARTBEAT: Millis = 60_000;

impl Corridor {
    /// Into the history, unless it says nothing new.
    pub(super) fn note(&mut self, reading: &Reading) {
        // Under a time that cannot be, nobody finds it.
        if !self.clocks.possible {
            return;
        }
        let point = self.intake.site.point(reading.point);
        let noted = &mut self.noted[reading.point.0 as usize];
        let steady = noted.as_ref().is_some_and(|last| {
            let same = match (&last.value, &reading.value) {
                (Some(a), Some(b)) => match (a.number(), b.number()) {
                    (Some(a), Some(b)) => a == b || (a - b).abs() < point.deadband,
                    _ => a == b,
                },
                (None, None) => last.reason == reading.reason,
                _ => false,
            };
            same && reading.at - last.at < HISTORY_HEARTBEAT
        });
        if steady {
            return;
        }
        *noted = Some(Noted { at: reading.at, value: reading.value.clone(), reason: reading.reason });
        self.intake.history.note(&point.id, reading);
    }

    /// What the page and the API show as now.
    pub(super) fn show(&self, batch: &Batch) {
        let mut live = self.intake.live.lock();
        for reading in &batch.readings {
            let now = live.point_mut(reading.point);
            now.value.clone_from(&reading.value);
            now.raw.clone_from(&reading.raw);
            (now.quality, now.reason, now.at) = (reading.quality, reading.reason, Some(reading.at));
            if let (Quality::Good, Some(value)) = (reading.quality, &reading.value) {
                now.last_good = Some((reading.at, value.clone()));
            }
        }
        if let Some(is_there) = batch.wire {
            live.set_wire(&self.intake.site.device(batch.device).channel, is_there);
        }
    }

    /// As far as it is known, from before the start too.
    fn is_away(&self, id: DeviceId) -> bool {
        let was = self.remembered[id.0 as usize].as_ref().map(|was| was.state);
        [was, Some(self.intake.live.lock().device(id).state)].contains(&Some(DeviceState::Offline))
    }

    /// A device is there, or it is not: an event where that is news.
    pub(super) fn device(&mut self, id: DeviceId, life: Life, at: Millis) {
        let (state, why) = match life {
            Life::Failing { .. } if self.is_away(id) => return,
            Life::Online => (DeviceState::Online, None),
            Life::Failing { why } | Life::Degraded { why } => (DeviceState::Degraded, Some(why)),
            Life::Offline { why } => (DeviceState::Offline, Some(why)),
        };
        let mut live = self.intake.live.lock();
        let now = live.device(id);
        if now.state == state {
            // Still so, but for what it says now.
            if now.error != why {
                live.device_mut(id).error = why;
            }
            return;
        }
        if let Some(before) = self.remembered[id.0 as usize].take().filter(|before| before.state == state) {
            *live.device_mut(id) = before;
            return;
        }
        *live.device_mut(id) = DeviceNow { state, since: Some(at), error: why.clone() };
        drop(live);
        let device = self.intake.site.device(id);
        let data = json!({ "device": device.id, "since": time::format(at), "why": why });
        let kind = match state {
            DeviceState::Offline | DeviceState::Unknown => "device.offline",
            DeviceState::Online => "device.online",
            DeviceState::Degraded => "device.degraded",
        };
        self.page.events.push(Draft::new(kind, format!("devices/{}", device.id), at, &data));
        self.page.devices.push(DeviceRow { device: device.id.clone(), state, since: at, why });
    }
}
