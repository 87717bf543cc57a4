//! How much of what was read could be used: told once a day, at midnight of the gateway's timezone, and on `/metrics`.
//!
//! A part of a day that ends with the daemon, or with a step of the clock, is told then; what a kill cuts off is not told.
//! Each part says from when to when it was counted.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as JsonValue, json};

use super::Corridor;
use crate::event::Draft;
use crate::metrics::{Metrics, Usable as UsableLabel};
use crate::reading::{Millis, Reading, Site};
use crate::refine::{Share, Usable};
use crate::time;

/// Devices in one event; the others are told in further ones.
const DEVICES_AT_ONCE: usize = 50;
/// A part of a day that is shorter says nothing.
const PART_MIN: Millis = 3_600_000;
/// A day of a broken calendar.
const DAY: Millis = 24 * 3_600_000;

/// The day that is being counted.
pub(super) struct Day {
    usable: Usable,
    /// The next local midnight.
    until: Millis,
    /// It has been counted since the midnight before.
    whole: bool,
}

impl Day {
    pub fn begin(site: &Site, zone: &TimeZone, now: Millis) -> Self {
        Self { usable: Usable::new(site, now), until: next_midnight(zone, now), whole: false }
    }
}

impl Corridor {
    pub(super) fn count(&mut self, reading: &Reading) {
        let device = self.intake.site.point(reading.point).device;
        self.day.usable.take(reading, device);
    }

    /// At midnight the day is told and the next begun. A clock that was put beyond midnight has not brought it: the day is
    /// cut where it was stepped, as soon as that is seen.
    pub(super) fn day_advance(&mut self, now: Millis) {
        if now < self.day.until || self.clocks.seen.is_stepped(&self.intake.clock) {
            return;
        }
        let midnight = self.day.until;
        self.tell_of_the_day(midnight, self.day.whole);
        let next = Day::begin(&self.intake.site, &self.intake.zone, midnight);
        // After a standstill of days it begins now.
        let current = next.until > now;
        self.day = if current { Day { whole: true, ..next } } else { self.day_from(now) };
    }

    /// The day so far ends here, with the clock that it was counted by.
    pub(super) fn day_is_cut(&mut self, end: Millis, now: Millis) {
        if end - self.day.usable.from() >= PART_MIN {
            self.tell_of_the_day(end, false);
        }
        self.day = self.day_from(now);
    }

    /// `/metrics`: the day so far.
    pub(super) fn measure_the_day(&self, now: Millis) {
        let shares = self.day.usable.shares(&self.intake.site, now);
        measure(&self.intake.metrics, &self.intake.site, &shares);
    }

    fn day_from(&self, now: Millis) -> Day {
        Day::begin(&self.intake.site, &self.intake.zone, now)
    }

    fn tell_of_the_day(&mut self, to: Millis, whole: bool) {
        let site = &self.intake.site;
        let from = self.day.usable.from();
        let shares = self.day.usable.shares(site, to);
        let parts = shares.chunks(DEVICES_AT_ONCE);
        let of = parts.len();
        for (part, shares) in (1..).zip(parts) {
            let devices: Vec<JsonValue> = shares.iter().map(|share| told(site, share)).collect();
            let data = json!({
                "day": date(&self.intake.zone, from),
                "from": time::format(from),
                "to": time::format(to),
                "whole": whole,
                "part": part,
                "parts": of,
                "devices": devices,
            });
            let subject = format!("gateways/{}", site.gateway);
            self.page.events.push(Draft::new("gateway.data-quality", subject, to, &data));
        }
    }
}

fn measure(metrics: &Metrics, site: &Site, shares: &[Share]) {
    for share in shares {
        let device = &site.device(share.device).id;
        for (stage, part) in [("before", share.before), ("after", share.after)] {
            let label = UsableLabel { device: device.to_string(), stage };
            metrics.usable_share.get_or_create(&label).set(part);
        }
    }
}

fn told(site: &Site, share: &Share) -> JsonValue {
    let reasons = share.reasons.iter().map(|(reason, count)| (reason.word().to_owned(), json!(count)));
    json!({
        "device": site.device(share.device).id,
        "points": share.points,
        "before": rounded(share.before),
        "after": rounded(share.after),
        "reasons": JsonValue::Object(reasons.collect()),
    })
}

/// Four digits: a day has 1440 minutes.
fn rounded(part: f64) -> f64 {
    (part * 10_000.0).round() / 10_000.0
}

pub(super) fn next_midnight(zone: &TimeZone, now: Millis) -> Millis {
    let next = || {
        let today = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone()).date();
        today.tomorrow().ok()?.to_zoned(zone.clone()).ok()
    };
    next().map_or(now.saturating_add(DAY), |midnight| midnight.timestamp().as_millisecond())
}

fn date(zone: &TimeZone, at: Millis) -> String {
    let at = Timestamp::from_millisecond(at).map(|at| at.to_zoned(zone.clone()).date().to_string());
    at.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Device, DeviceId};

    #[test]
    fn the_metrics_say_the_share_of_each_device_before_and_after() {
        let device = Device::polled("pump-1", "plant");
        let site = Site { devices: vec![device], ..Site::default() };
        let share = Share { device: DeviceId(0), points: 1, before: 0.65, after: 0.925, reasons: Vec::new() };
        let metrics = Metrics::new();
        measure(&metrics, &site, &[share]);
        let text = metrics.render();
        for line in [
            r#"gatehouse_usable_share{device="pump-1",stage="before"} 0.65"#,
            r#"gatehouse_usable_share{device="pump-1",stage="after"} 0.925"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_the_midnight_of_its_zone_whatever_its_length() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let cases = [
            ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00.000Z"),
            ("2026-03-28T23:00:00Z", "2026-03-29T22:00:00.000Z"),
            ("2026-03-28T22:59:59.999Z", "2026-03-28T23:00:00.000Z"),
        ];
        for (now, midnight) in cases {
            assert_eq!(time::format(next_midnight(&berlin, time::parse(now).unwrap())), midnight);
        }
        assert_eq!(date(&berlin, time::parse("2026-03-28T23:00:00Z").unwrap()), "2026-03-29");
    }
}
