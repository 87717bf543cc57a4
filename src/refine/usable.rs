//! The share of usable data, by device, before and after cleaning.
//!
//! Time is cut into slots of each point. Before: slots in which something good was read, and nothing that cleaning found to
//! be false. After: slots in which something good was read, or that lie between two good readings not further apart than
//! gaps are filled for the point. A device's share is the mean of its points', each of which weighs the same.

use crate::reading::{Clean, Device, DeviceId, Millis, Quality, Reading, Reason, Site};

/// What has been counted since a time.
#[derive(Debug)]
pub struct Usable {
    from: Millis,
    /// By point; nothing for those that may keep silent, and for momentary ones.
    points: Vec<Option<Tally>>,
    /// By device: how many readings were not good, and why.
    reasons: Vec<Vec<(Reason, u32)>>,
}

/// One device's share, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub device: DeviceId,
    /// Points that are counted.
    pub points: u32,
    pub before: f64,
    pub after: f64,
    /// Readings that were not good.
    pub reasons: Vec<(Reason, u32)>,
}

/// Slots of one point, numbered from the beginning.
#[derive(Debug, Clone, Copy)]
struct Tally {
    width: Millis,
    fill: Millis,
    before: i64,
    after: i64,
    /// The last slot in which something good was read, and the time of the last that was.
    good: Option<(i64, Millis)>,
    /// The last slot in which something false was read.
    spoilt: Option<i64>,
}

impl Usable {
    pub fn new(site: &Site, from: Millis) -> Self {
        let mut points = vec![None; site.points.len()];
        for device in &site.devices {
            for id in own(device) {
                points[id] = site.points.get(id).and_then(|point| Tally::of(&point.clean));
            }
        }
        Self { from, points, reasons: vec![Vec::new(); site.devices.len()] }
    }

    pub fn from(&self) -> Millis {
        self.from
    }

    /// A reading after it was cleaned.
    pub fn take(&mut self, reading: &Reading, device: DeviceId) {
        let Some(Some(tally)) = self.points.get_mut(reading.point.0 as usize) else { return };
        if reading.at < self.from {
            return;
        }
        let slot = (reading.at - self.from) / tally.width;
        if reading.raw.is_some() || reading.reason == Some(Reason::Stuck) {
            tally.spoil(slot);
        }
        if reading.quality == Quality::Good {
            tally.good(slot, reading.at);
        }
        if let (Some(reason), Some(reasons)) = (reading.reason, self.reasons.get_mut(device.0 as usize)) {
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => reasons.push((reason, 1)),
            }
        }
    }

    /// Of all devices that have something to count, in their order. Only slots that were over by then are counted.
    pub fn shares(&self, site: &Site, to: Millis) -> Vec<Share> {
        let all = site.devices.iter().zip(&self.reasons).zip(0..);
        all.filter_map(|((device, reasons), id)| {
            let tallies = own(device).filter_map(|id| self.points.get(id)?.as_ref());
            let parts: Vec<(f64, f64)> = tallies.filter_map(|tally| tally.parts(to - self.from)).collect();
            let points = parts.len() as u32;
            let mean = |part: fn(&(f64, f64)) -> f64| parts.iter().map(part).sum::<f64>() / f64::from(points);
            (points > 0).then(|| Share {
                device: DeviceId(id),
                points,
                before: mean(|part| part.0),
                after: mean(|part| part.1),
                reasons: reasons.clone(),
            })
        })
        .collect()
    }
}

impl Tally {
    fn of(clean: &Clean) -> Option<Self> {
        let width = clean.slot.filter(|slot| *slot > 0)?;
        let fill = clean.fill.unwrap_or(0);
        Some(Self { width, fill, before: 0, after: 0, good: None, spoilt: None })
    }

    fn good(&mut self, slot: i64, at: Millis) {
        let last = self.good;
        if last.is_some_and(|(_, last_at)| at < last_at) {
            return;
        }
        if last.is_none_or(|(last, _)| last < slot) {
            self.after += 1;
            self.before += i64::from(self.spoilt != Some(slot));
        }
        if let Some((last, _)) = last.filter(|(_, last_at)| at - last_at <= self.fill) {
            self.after += (slot - last - 1).max(0);
        }
        self.good = Some((slot, at));
    }

    fn spoil(&mut self, slot: i64) {
        if self.spoilt.is_some_and(|last| slot <= last) {
            return;
        }
        self.spoilt = Some(slot);
        if self.good.is_some_and(|(last, _)| last == slot) {
            self.before -= 1;
        }
    }

    /// Before and after; nothing where no slot is over yet.
    fn parts(&self, passed: Millis) -> Option<(f64, f64)> {
        let slots = passed / self.width;
        let under_way = self.good.is_some_and(|(last, _)| last >= slots);
        let spoilt = self.spoilt == self.good.map(|(last, _)| last);
        let after = self.after - i64::from(under_way);
        let before = self.before - i64::from(under_way && !spoilt);
        (slots > 0).then(|| (before as f64 / slots as f64, after as f64 / slots as f64))
    }
}

fn own(device: &Device) -> std::ops::Range<usize> {
    device.first_point as usize..(device.first_point + device.points) as usize
}
