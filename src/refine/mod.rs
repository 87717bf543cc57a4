//! Reading → trusted reading. Pure, and the same however readings are cut into batches: each point has a memory of its
//! own, and nothing counts but its readings in order.
//!
//! [`Cleaner`] judges one reading after the other: [`refine`] (what the sensor cannot say at all), then what the thing
//! cannot do (too fast), what does not fit its neighbours (spike, by the Hampel identifier), and what should have moved
//! (stuck). What is not believed keeps what the device said as [`Reading::raw`]; no number is ever made up for it.
//! [`Usable`] counts what that leaves: the share of usable data of a device, before and after.

mod clean;
mod hampel;
mod usable;

pub use clean::Cleaner;
pub use usable::{Share, Usable};

use crate::reading::{Point, Quality, Reading, Reason};

/// What the sensor cannot physically say becomes a bad reading without a value: a number out of its range, or a word
/// from a point that has a unit or a range and so can only say numbers.
pub fn refine(reading: &mut Reading, point: &Point) {
    let Some(value) = &reading.value else { return };
    match (value.number(), point.range) {
        (Some(number), Some((low, high))) if !(low..=high).contains(&number) => {
            disbelieve(reading, Reason::OutOfRange);
        }
        (None, range) if range.is_some() || point.unit.is_some() => disbelieve(reading, Reason::Unreadable),
        _ => {}
    }
}

fn disbelieve(reading: &mut Reading, reason: Reason) {
    reading.raw = reading.value.take();
    reading.quality = Quality::Bad;
    reading.reason = Some(reason);
}

#[cfg(test)]
mod tests;
