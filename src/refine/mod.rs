//! Reading → trusted reading. Pure.

use crate::reading::{Point, Quality, Reading, Reason};

/// A number that the sensor cannot physically say becomes a bad reading without a value.
pub fn refine(reading: &mut Reading, point: &Point) {
    let (Some((low, high)), Some(number)) = (
        point.range,
        reading.value.as_ref().and_then(super::reading::Value::number),
    ) else {
        return;
    };
    if !(low..=high).contains(&number) {
        reading.value = None;
        reading.quality = Quality::Bad;
        reading.reason = Some(Reason::OutOfRange);
    }
}
