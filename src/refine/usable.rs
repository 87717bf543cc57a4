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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Point, PointId, Value};

    const MINUTE: Millis = 60_000;

    fn site(points: &[Clean]) -> Site {
        let device = |first_point, points| Device {
            id: "pump-1".into(),
            channel: "plant".into(),
            profile: None,
            place: "".into(),
            polled: true,
            first_point,
            points,
            words: None,
        };
        let point = |clean: &Clean| Point {
            id: "pump-1.pressure".into(),
            device: DeviceId(0),
            unit: None,
            range: None,
            deadband: 0.0,
            clean: *clean,
        };
        let count = points.len() as u32;
        let points = points.iter().map(point).collect();
        Site { devices: vec![device(0, count), device(count, 0)], points, ..Site::default() }
    }

    fn good(point: u32, at: Millis) -> Reading {
        Reading::good(PointId(point), at, Value::Number(1.0))
    }

    fn spike(point: u32, at: Millis) -> Reading {
        Reading { raw: Some(Value::Number(9.0)), ..Reading::bad(PointId(point), at, Reason::Spike) }
    }

    fn shares(points: &[Clean], from: Millis, readings: &[Reading], to: Millis) -> Vec<Share> {
        let site = site(points);
        let mut usable = Usable::new(&site, from);
        for reading in readings {
            usable.take(reading, DeviceId(0));
        }
        usable.shares(&site, to)
    }

    #[test]
    fn a_slot_with_something_false_was_not_usable_before_and_is_after() {
        let clean = Clean { slot: Some(MINUTE), ..Clean::default() };
        // Four minutes: good; good and a spike, either way round; only a spike.
        let readings = [
            good(0, 0),
            good(0, 61_000),
            spike(0, 62_000),
            spike(0, 121_000),
            good(0, 122_000),
            good(0, 123_000),
            spike(0, 181_000),
        ];
        let shares = shares(&[clean], 0, &readings, 4 * MINUTE);
        let expected = Share {
            device: DeviceId(0),
            points: 1,
            before: 0.25,
            after: 0.75,
            reasons: vec![(Reason::Spike, 3)],
        };
        assert_eq!(shares, [expected], "a device without points has no share");
    }

    #[test]
    fn a_gap_between_good_readings_counts_as_filled_if_it_is_short_enough() {
        let clean = Clean { slot: Some(MINUTE), fill: Some(3 * MINUTE), ..Clean::default() };
        let gap = |minutes| {
            let readings = [good(0, 0), spike(0, MINUTE), good(0, minutes * MINUTE)];
            let share = shares(&[clean], 0, &readings, 10 * MINUTE).remove(0);
            (share.before, share.after)
        };
        assert_eq!(gap(3), (0.2, 0.4));
        assert_eq!(gap(4), (0.2, 0.2));
    }

    #[test]
    fn what_is_not_over_is_not_counted_and_what_was_before_the_beginning_neither() {
        let clean = Clean { slot: Some(MINUTE), ..Clean::default() };
        let readings = [good(0, 30_000), good(0, 101_000), good(0, 161_000)];
        assert_eq!(shares(&[clean], 100_000, &readings, 100_000 + MINUTE - 1), []);
        let share = shares(&[clean], 100_000, &readings, 100_000 + MINUTE + 1500).remove(0);
        assert_eq!((share.before, share.after), (1.0, 1.0), "the second minute has only begun");
        let spoilt = [good(0, 101_000), good(0, 161_000), spike(0, 161_200)];
        let share = shares(&[clean], 100_000, &spoilt, 100_000 + MINUTE + 1500).remove(0);
        assert_eq!((share.before, share.after), (1.0, 1.0));
    }

    #[test]
    fn each_point_weighs_the_same_and_one_that_may_keep_silent_weighs_nothing() {
        let minute = Clean { slot: Some(MINUTE), ..Clean::default() };
        let hour = Clean { slot: Some(60 * MINUTE), ..Clean::default() };
        let readings = [good(1, 0), good(1, 60 * MINUTE)];
        let share = shares(&[minute, hour, Clean::default()], 0, &readings, 120 * MINUTE).remove(0);
        assert_eq!((share.points, share.before, share.after), (2, 0.5, 0.5));
    }
}
