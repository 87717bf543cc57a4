//! Tool: the present value of every point and the state of every device; intake writes it, web reads it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::maintenance::Maintenance;
use crate::numbers::Numbers;
use crate::reading::{DeviceId, Millis, PointId, Quality, Reason, Site, Value};

/// What one point is now. `value` is `None` where the last reading was bad; `last_good` stands beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct PointNow {
    pub value: Option<Value>,
    /// What the device said, where it does not stand as the value.
    pub raw: Option<Value>,
    pub quality: Quality,
    pub reason: Option<Reason>,
    /// Of the last reading, good or bad; `None` before the first.
    pub at: Option<Millis>,
    pub last_good: Option<(Millis, Value)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceState {
    #[default]
    Unknown,
    Online,
    /// It answers, but not everything or not always.
    Degraded,
    Offline,
}

impl DeviceState {
    pub fn word(self) -> &'static str {
        match self {
            DeviceState::Unknown => "unknown",
            DeviceState::Online => "online",
            DeviceState::Degraded => "degraded",
            DeviceState::Offline => "offline",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceNow {
    pub state: DeviceState,
    pub since: Option<Millis>,
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct Live {
    now: Mutex<Tables>,
}

#[derive(Debug)]
pub struct Tables {
    points: Vec<PointNow>,
    devices: Vec<DeviceNow>,
    /// Those under way, in the order in which they began.
    pub maintenance: Vec<Maintenance>,
}

impl Live {
    pub fn new(site: &Site) -> Self {
        let unread = PointNow {
            value: None,
            raw: None,
            quality: Quality::Bad,
            reason: Some(Reason::NotYet),
            at: None,
            last_good: None,
        };
        let points = vec![unread; site.points.len()];
        let devices = vec![DeviceNow::default(); site.devices.len()];
        Self { now: Mutex::new(Tables { points, devices, maintenance: Vec::new() }) }
    }

    /// What is known of points and devices that are the same, in another site.
    #[must_use]
    pub fn taken_over(&self, site: &Site, numbers: &Numbers) -> Self {
        let next = Self::new(site);
        {
            let (before, mut now) = (self.lock(), next.lock());
            for (id, point) in (0..).map(PointId).zip(&before.points) {
                if let Some(id) = numbers.point(id) {
                    now.point_mut(id).clone_from(point);
                }
            }
            for (id, device) in (0..).map(DeviceId).zip(&before.devices) {
                if let Some(id) = numbers.device(id) {
                    now.device_mut(id).clone_from(device);
                }
            }
            now.maintenance.clone_from(&before.maintenance);
        }
        next
    }

    /// Held for a copy or a write of a few lines, never across an await.
    pub fn lock(&self) -> MutexGuard<'_, Tables> {
        // A panic while holding it leaves whole values behind: each is written by one assignment.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    pub fn point(&self, id: PointId) -> &PointNow {
        &self.points[id.0 as usize]
    }

    pub fn point_mut(&mut self, id: PointId) -> &mut PointNow {
        &mut self.points[id.0 as usize]
    }

    pub fn device(&self, id: DeviceId) -> &DeviceNow {
        &self.devices[id.0 as usize]
    }

    pub fn device_mut(&mut self, id: DeviceId) -> &mut DeviceNow {
        &mut self.devices[id.0 as usize]
    }
}
