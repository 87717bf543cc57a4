//! What was read of each point in a period, told at its end: only where `[store] summary` asks for it, an event a device.
//!
//! Periods begin at midnight of the gateway's timezone and at each multiple of the span after it; the last one of a day
//! ends with the day. What ends earlier, with the daemon, a reload or a step of the clock, is told then as a part
//! (`whole: false`) unless nothing was read in it, and what comes after it is a part as well; what a kill cuts off is not
//! told. A reading belongs to the period in which it arrives. A clock that is not believed does not hold it up: the event
//! is marked `unsynced`, as any other. Momentary points are not in it.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use super::Corridor;
use super::quality::next_midnight;
use crate::event::Draft;
use crate::reading::{Device, Millis, Reading, Site, Value};
use crate::store::{Sample, Summary, Values};
use crate::time;

/// Points in one event; the others are told in further ones.
const POINTS_AT_ONCE: usize = 100;

/// The period that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Period {
    span: Millis,
    from: Millis,
    until: Millis,
    /// It has been counted since its begin.
    whole: bool,
    /// By point: what was read of it so far.
    points: Vec<Option<Summary>>,
}

impl Period {
    /// The one that `now` falls into, from now on.
    pub fn begin(site: &Site, zone: &TimeZone, span: Millis, now: Millis) -> Self {
        let span = span.max(1);
        let midnight = midnight(zone, now);
        let begin = midnight + (now - midnight).div_euclid(span) * span;
        let until = begin.saturating_add(span).min(next_midnight(zone, now)).max(now + 1);
        Self { span, from: now, until, whole: now == begin, points: vec![None; site.points.len()] }
    }

    pub fn until(&self) -> Millis {
        self.until
    }

    pub fn take(&mut self, reading: &Reading) {
        let sample = Sample { at: reading.at, value: reading.value.clone(), quality: reading.quality };
        let new = Summary::of(&sample, 1);
        let Some(point) = self.points.get_mut(reading.point.0 as usize) else { return };
        match point {
            None => *point = Some(new),
            Some(summary) => {
                let kind = std::mem::discriminant::<Values>;
                if new.values != Values::None && kind(&summary.values) != kind(&new.values) {
                    // A mean is of one kind.
                    summary.valued = 0;
                }
                summary.add(new);
            }
        }
    }

    /// Nothing was read.
    fn is_blank(&self) -> bool {
        self.points.iter().all(Option::is_none)
    }

    /// An event a device, at the end of the period or of what there is of it.
    fn told(&self, site: &Site, to: Millis, whole: bool) -> Vec<Draft> {
        let devices = site.devices.iter().filter(|device| device.points > 0);
        devices.flat_map(|device| self.told_of(site, device, to, whole)).collect()
    }

    fn told_of(&self, site: &Site, device: &Device, to: Millis, whole: bool) -> Vec<Draft> {
        let range = device.first_point as usize..(device.first_point + device.points) as usize;
        let points: Vec<Json> = range
            .filter_map(|n| Some((site.points.get(n)?, self.points.get(n)?)))
            .map(|(point, summary)| row(&point.id, point.unit.as_deref(), summary.as_ref()))
            .collect();
        let of = points.chunks(POINTS_AT_ONCE).len();
        let draft = |(part, points): (usize, &[Json])| {
            let data = json!({
                "device": device.id,
                "from": time::format(self.from),
                "to": time::format(to),
                "whole": whole,
                "part": part,
                "parts": of,
                "points": points,
            });
            Draft::new("readings.summary", format!("devices/{}", device.id), to, &data)
        };
        (1..).zip(points.chunks(POINTS_AT_ONCE)).map(draft).collect()
    }
}

/// What is said of one point; of what is no number only the last.
fn row(point: &str, unit: Option<&str>, summary: Option<&Summary>) -> Json {
    let count = summary.map_or(0, |summary| summary.count);
    let good = summary.map_or(0.0, |summary| f64::from(summary.good) / f64::from(summary.count.max(1)));
    let mut row = json!({
        "point": point, "unit": unit, "count": count, "good": (good * 10_000.0).round() / 10_000.0,
        "min": null, "max": null, "mean": null, "last": null,
    });
    match summary.map(|summary| (&summary.values, summary.valued)) {
        Some((Values::Numbers { min, max, last, sum }, valued)) => {
            (row["min"], row["max"]) = (json!(min), json!(max));
            (row["mean"], row["last"]) = (json!(sum / f64::from(valued.max(1))), json!(last));
        }
        Some((Values::Words { last, .. }, _)) => row["last"] = word(last),
        Some((Values::None, _)) | None => {}
    }
    row
}

fn word(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        other => json!(other.to_string()),
    }
}

fn midnight(zone: &TimeZone, now: Millis) -> Millis {
    let today = || {
        let today = Timestamp::from_millisecond(now).ok()?.to_zoned(zone.clone()).start_of_day().ok()?;
        Some(today.timestamp().as_millisecond())
    };
    today().unwrap_or_default()
}

impl Corridor {
    pub(super) fn summarize(&mut self, reading: &Reading) {
        if let Some(period) = &mut self.period {
            period.take(reading);
        }
    }

    /// At its end the period is told and the next begun. A clock that was put beyond the end has not brought it: the
    /// period is cut where it was stepped, as soon as that is seen.
    pub(super) fn period_advance(&mut self, now: Millis) {
        let Some(period) = self.period.as_ref().filter(|period| now >= period.until) else { return };
        if self.clocks.seen.is_stepped(&self.intake.clock) {
            return;
        }
        let (site, zone) = (&self.intake.site, &self.intake.zone);
        let next = Period::begin(site, zone, period.span, period.until);
        // After a standstill it begins now: of the periods between there is nothing to say.
        let next = if now < next.until { next } else { Period::begin(site, zone, period.span, now) };
        self.page.events.extend(period.told(site, period.until, period.whole));
        self.period = Some(next);
    }

    /// The period so far ends here, with the clock that it was counted by.
    pub(super) fn period_is_cut(&mut self, end: Millis, now: Millis) {
        let Some(period) = self.period.take() else { return };
        let (site, zone) = (&self.intake.site, &self.intake.zone);
        if !period.is_blank() {
            self.page.events.extend(period.told(site, end, false));
        }
        self.period = Some(Period::begin(site, zone, period.span, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Clean, DeviceId, Point, PointId, Quality, Reason};

    const MINUTE: Millis = 60_000;

    fn site(points: u32) -> Site {
        let device = |id: &str, first_point, points| Device {
            id: id.into(),
            channel: "plant".into(),
            profile: None,
            place: "".into(),
            polled: true,
            first_point,
            points,
            words: None,
        };
        let point = |n: u32| Point {
            id: format!("meter.p{n}").into(),
            device: DeviceId(0),
            unit: (n == 0).then(|| "kPa".into()),
            range: None,
            deadband: 0.0,
            clean: Clean::default(),
        };
        // Behind the points of devices stands a momentary one.
        Site {
            devices: vec![device("meter", 0, points), device("door", points, 0)],
            points: (0..=points).map(point).collect(),
            ..Site::default()
        }
    }

    fn at(text: &str) -> Millis {
        time::parse(text).unwrap()
    }

    fn data(draft: &Draft) -> Json {
        serde_json::from_str(draft.data.get()).unwrap()
    }

    #[test]
    fn periods_are_counted_from_local_midnight_and_the_last_ends_with_the_day() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let kolkata = TimeZone::get("Asia/Kolkata").unwrap();
        let cases = [
            (&berlin, 15, "2026-11-22T08:07:30Z", "2026-11-22T08:15:00.000Z", false),
            (&berlin, 15, "2026-11-22T08:15:00Z", "2026-11-22T08:30:00.000Z", true),
            (&kolkata, 60, "2026-11-22T08:00:00Z", "2026-11-22T08:30:00.000Z", false),
            // 7 hours do not go into a day.
            (&berlin, 420, "2026-11-22T21:00:00Z", "2026-11-22T23:00:00.000Z", false),
            (&berlin, 1440, "2026-11-21T23:00:00Z", "2026-11-22T23:00:00.000Z", true),
            // A day of 25 hours and one of 23.
            (&berlin, 1440, "2026-10-25T22:30:00Z", "2026-10-25T23:00:00.000Z", false),
            (&berlin, 1440, "2026-03-28T23:00:00Z", "2026-03-29T22:00:00.000Z", true),
        ];
        for (zone, minutes, now, until, whole) in cases {
            let period = Period::begin(&site(1), zone, minutes * MINUTE, at(now));
            assert_eq!((&*time::format(period.until), period.whole), (until, whole), "{minutes} {now}");
        }
    }

    #[test]
    fn a_point_is_summed_up_with_what_was_good_of_it() {
        let site = site(4);
        let start = at("2026-11-22T08:00:00Z");
        let mut period = Period::begin(&site, &TimeZone::UTC, 15 * MINUTE, start);
        assert!(period.is_blank());
        for (n, value) in [4.0, 1.0, 7.0].into_iter().enumerate() {
            period.take(&Reading::good(PointId(0), start + n as Millis, Value::Number(value)));
        }
        period.take(&Reading::bad(PointId(0), start + 5, Reason::NoAnswer));
        for word in ["closed", "open"] {
            period.take(&Reading::good(PointId(1), start, Value::Text(word.into())));
        }
        // What changes its kind has the mean of what it is now.
        period.take(&Reading::good(PointId(2), start, Value::Text("starting".into())));
        let doubtful = |value| Reading {
            quality: Quality::Uncertain,
            ..Reading::good(PointId(2), start, Value::Number(value))
        };
        period.take(&doubtful(3.0));
        period.take(&doubtful(5.0));
        // Momentary.
        period.take(&Reading::good(PointId(4), start, Value::Text("granted".into())));
        let told = period.told(&site, period.until, period.whole);
        assert_eq!(told.len(), 1, "an event a device that has points");
        assert_eq!((told[0].kind, &*told[0].subject), ("readings.summary", "devices/meter"));
        let data = data(&told[0]);
        assert_eq!(data["from"], "2026-11-22T08:00:00.000Z");
        assert_eq!((&data["to"], &data["whole"]), (&"2026-11-22T08:15:00.000Z".into(), &true.into()));
        let row = |n: usize| data["points"][n].clone();
        assert_eq!(data["points"].as_array().unwrap().len(), 4);
        assert_eq!(
            row(0),
            json!({"point": "meter.p0", "unit": "kPa", "count": 4, "good": 0.75,
                   "min": 1.0, "max": 7.0, "mean": 4.0, "last": 7.0})
        );
        assert_eq!(
            (&row(1)["last"], &row(1)["min"], &row(1)["mean"]),
            (&"open".into(), &Json::Null, &Json::Null)
        );
        assert_eq!((&row(2)["mean"], &row(2)["count"]), (&4.0.into(), &3.into()));
        // Silent for all of it.
        assert_eq!(
            row(3),
            json!({"point": "meter.p3", "unit": null, "count": 0, "good": 0.0,
                   "min": null, "max": null, "mean": null, "last": null})
        );
    }

    #[test]
    fn a_device_of_many_points_is_told_in_parts() {
        let site = site(250);
        let period = Period::begin(&site, &TimeZone::UTC, 15 * MINUTE, 0);
        let told = period.told(&site, period.until, true);
        let sizes: Vec<usize> =
            told.iter().map(|draft| data(draft)["points"].as_array().unwrap().len()).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(data(&told[2])["part"], 3);
        assert_eq!(data(&told[2])["parts"], 3);
    }
}
