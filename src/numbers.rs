//! Tool: the numbers of one site in those of another.
//!
//! Devices, points and doors are told by their place in a [`Site`], and another configuration is another site. Who goes
//! on across the change goes on counting as before: a wire that was not touched keeps its site and its numbers, and
//! whoever hears it translates, by name, between the two sites at hand. Nothing is renumbered in flight, so no number is
//! ever read by a site that it was not given by. What has no counterpart has no number, and what is said of it is dropped.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::reading::{Batch, DeviceId, DoorId, PointId, Site};

/// By number of the one site: that of the other, where it goes on there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    devices: Vec<Option<DeviceId>>,
    points: Vec<Option<PointId>>,
    doors: Vec<Option<DoorId>>,
}

/// Stands in copies that are made for comparison, in place of what has no number: no site is that large.
pub const NOBODY: u32 = u32::MAX;

impl Numbers {
    /// By name.
    pub fn between(from: &Site, to: &Site) -> Self {
        let devices = found(from.devices.iter().map(|d| &d.id), to.devices.iter().map(|d| &d.id));
        let points = found(from.points.iter().map(|p| &p.id), to.points.iter().map(|p| &p.id));
        let doors = found(from.doors.iter().map(|d| &d.id), to.doors.iter().map(|d| &d.id));
        Self {
            devices: devices.map(|n| n.map(DeviceId)).collect(),
            points: points.map(|n| n.map(PointId)).collect(),
            doors: doors.map(|n| n.map(DoorId)).collect(),
        }
    }

    pub fn device(&self, id: DeviceId) -> Option<DeviceId> {
        self.devices.get(id.0 as usize).copied().flatten()
    }

    pub fn point(&self, id: PointId) -> Option<PointId> {
        self.points.get(id.0 as usize).copied().flatten()
    }

    pub fn door(&self, id: DoorId) -> Option<DoorId> {
        self.doors.get(id.0 as usize).copied().flatten()
    }

    /// Those points alone for which it holds; the others are not the same any more.
    pub fn keep_points(&mut self, same: impl Fn(PointId, PointId) -> bool) {
        for (from, to) in (0..).map(PointId).zip(&mut self.points) {
            *to = to.filter(|to| same(from, *to));
        }
    }

    /// From the first site to the third, by way of the second.
    pub fn then(&self, next: &Self) -> Self {
        Self {
            devices: self.devices.iter().map(|id| next.device((*id)?)).collect(),
            points: self.points.iter().map(|id| next.point((*id)?)).collect(),
            doors: self.doors.iter().map(|id| next.door((*id)?)).collect(),
        }
    }

    /// What was kept by device, kept by its new number; `len` devices there are.
    pub fn devices_moved<T>(&self, kept: Vec<Option<T>>, len: usize) -> Vec<Option<T>> {
        moved(kept, self.devices.iter().map(|id| id.map(|id| id.0)), len)
    }

    /// The same by point.
    pub fn points_moved<T>(&self, kept: Vec<Option<T>>, len: usize) -> Vec<Option<T>> {
        moved(kept, self.points.iter().map(|id| id.map(|id| id.0)), len)
    }

    /// What a wire of the one site brings, as it reads in the other. Without its device it says nothing; what it says of
    /// points that are gone is left out.
    pub fn batch(&self, mut batch: Batch) -> Option<Batch> {
        batch.device = self.device(batch.device)?;
        batch.readings.retain_mut(|reading| {
            let there = self.point(reading.point);
            reading.point = there.unwrap_or(reading.point);
            there.is_some()
        });
        batch.happenings.retain_mut(|happening| {
            let there = self.device(happening.device);
            happening.device = there.unwrap_or(happening.device);
            happening.point = happening.point.and_then(|point| self.point(point));
            there.is_some()
        });
        Some(batch)
    }
}

fn found<'a, N: Eq + Hash + 'a>(
    from: impl Iterator<Item = &'a N>,
    to: impl Iterator<Item = &'a N>,
) -> impl Iterator<Item = Option<u32>> {
    let numbers: HashMap<&N, u32> = to.zip(0..).collect();
    from.map(move |name| numbers.get(name).copied())
}

fn moved<T>(kept: Vec<Option<T>>, to: impl Iterator<Item = Option<u32>>, len: usize) -> Vec<Option<T>> {
    let mut there: Vec<Option<T>> = std::iter::repeat_with(|| None).take(len).collect();
    for (kept, to) in kept.into_iter().zip(to) {
        if let Some(place) = to.and_then(|to| there.get_mut(to as usize)) {
            *place = kept;
        }
    }
    there
}

/// What carries numbers of a site. The copy reads in the other site; [`NOBODY`] stands for what is not there.
pub trait Numbered: Sized {
    #[must_use]
    fn in_other(self, numbers: &Numbers) -> Self;
}

impl Numbered for DeviceId {
    fn in_other(self, numbers: &Numbers) -> Self {
        numbers.device(self).unwrap_or(DeviceId(NOBODY))
    }
}

impl Numbered for PointId {
    fn in_other(self, numbers: &Numbers) -> Self {
        numbers.point(self).unwrap_or(PointId(NOBODY))
    }
}

impl Numbered for DoorId {
    fn in_other(self, numbers: &Numbers) -> Self {
        numbers.door(self).unwrap_or(DoorId(NOBODY))
    }
}

impl<T: Numbered> Numbered for Vec<T> {
    fn in_other(self, numbers: &Numbers) -> Self {
        self.into_iter().map(|one| one.in_other(numbers)).collect()
    }
}

impl<T: Numbered> Numbered for Option<T> {
    fn in_other(self, numbers: &Numbers) -> Self {
        self.map(|one| one.in_other(numbers))
    }
}

impl<T: Numbered> Numbered for (Arc<str>, T) {
    fn in_other(self, numbers: &Numbers) -> Self {
        (self.0, self.1.in_other(numbers))
    }
}
