//! Reading → trusted reading. Pure.

use crate::reading::{Point, Quality, Reading, Reason};

/// What the sensor cannot physically say becomes a bad reading without a value: a number out of its range, or a word
/// from a point that has a unit or a range and so can only say numbers.
pub fn refine(reading: &mut Reading, point: &Point) {
    let Some(value) = &reading.value else { return };
    let reason = match (value.number(), point.range) {
        (Some(number), Some((low, high))) if !(low..=high).contains(&number) => Reason::OutOfRange,
        (None, range) if range.is_some() || point.unit.is_some() => Reason::Unreadable,
        _ => return,
    };
    reading.raw = reading.value.take();
    reading.quality = Quality::Bad;
    reading.reason = Some(reason);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Clean, DeviceId, PointId, Value};

    #[test]
    fn a_point_with_a_unit_or_a_range_says_numbers_within_it_or_nothing() {
        let point = |unit: Option<&str>, range| Point {
            id: "a.p".into(),
            device: DeviceId(0),
            unit: unit.map(Into::into),
            range,
            deadband: 0.0,
            clean: Clean::default(),
        };
        let (text, number) = (|t: &str| Value::Text(t.into()), Value::Number);
        let range = Some((0.0, 100.0));
        let cases = [
            (number(100.0), point(None, range), None),
            (number(100.1), point(None, range), Some(Reason::OutOfRange)),
            (text("1,5"), point(None, range), Some(Reason::Unreadable)),
            (text("5 kPa"), point(Some("kPa"), None), Some(Reason::Unreadable)),
            (Value::Bool(true), point(Some("kPa"), None), Some(Reason::Unreadable)),
            (text("open"), point(None, None), None),
        ];
        for (value, point, reason) in cases {
            let mut reading = Reading::good(PointId(0), 1, value.clone());
            refine(&mut reading, &point);
            assert_eq!(reading.reason, reason, "{value:?} of {point:?}");
            assert_eq!(reading.value.is_none(), reason.is_some());
        }
    }
}
