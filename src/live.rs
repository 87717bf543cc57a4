//! Tool: the present value of every point and the state of every device; intake writes it, web reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    maintenance: Vec<Maintenance>,
    /// By channel: whether the wire or broker itself is there, where it has said so.
    wires: HashMap<Arc<str>, bool>,
    changes: Changes,
}

/// Changes are counted, so that who follows what changes compares numbers and no values.
#[derive(Debug)]
struct Changes {
    last: u64,
    points: Vec<u64>,
    devices: Vec<u64>,
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
        let changes = Changes { last: 0, points: vec![0; points.len()], devices: vec![0; devices.len()] };
        let (maintenance, wires) = (Vec::new(), HashMap::new());
        Self { now: Mutex::new(Tables { points, devices, maintenance, wires, changes }) }
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
            now.wires.clone_from(&before.wires);
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

    /// To be written: each reading is a change, since its time is one.
    pub fn point_mut(&mut self, id: PointId) -> &mut PointNow {
        self.changes.points[id.0 as usize] = self.changes.next();
        &mut self.points[id.0 as usize]
    }

    pub fn device(&self, id: DeviceId) -> &DeviceNow {
        &self.devices[id.0 as usize]
    }

    /// To be written, where something is new: it counts as a change.
    pub fn device_mut(&mut self, id: DeviceId) -> &mut DeviceNow {
        self.changes.devices[id.0 as usize] = self.changes.next();
        &mut self.devices[id.0 as usize]
    }

    pub fn maintenance(&self) -> &[Maintenance] {
        &self.maintenance
    }

    /// It is shown with the devices, any of which may be in it.
    pub fn set_maintenance(&mut self, now: Vec<Maintenance>) {
        if self.maintenance != now {
            self.maintenance = now;
            let change = self.changes.next();
            self.changes.devices.fill(change);
        }
    }

    pub fn wire(&self, channel: &str) -> Option<bool> {
        self.wires.get(channel).copied()
    }

    pub fn set_wire(&mut self, channel: &Arc<str>, is_there: bool) {
        self.wires.insert(channel.clone(), is_there);
    }

    /// The number of the last change.
    pub fn last_change(&self) -> u64 {
        self.changes.last
    }

    pub fn point_changed(&self, id: PointId) -> u64 {
        self.changes.points[id.0 as usize]
    }

    pub fn device_changed(&self, id: DeviceId) -> u64 {
        self.changes.devices[id.0 as usize]
    }
}

impl Changes {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
