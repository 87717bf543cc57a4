//! The recorded history → readings of the points that are wanted, piece by piece, in the order of their times.

use super::lines::{Row, in_order};
use crate::reading::{Millis, PointId, Quality, Site, Value};
use crate::store::{Error, Piece, Readings, Sample, Values};

/// Readings of one piece, if each point has one a second.
const PIECE_ROWS: Millis = 500_000;
const PIECE_MIN: Millis = 60_000;
const PIECE_MAX: Millis = 6 * 3600 * 1000;
/// A steady value is written once a minute; where nothing at all is written for longer than this, nobody looked.
const GAP_MIN: Millis = 5 * 60_000;

/// The readings between two times, both included.
#[derive(Debug)]
pub struct Past<'a> {
    pub readings: &'a Readings,
    pub site: &'a Site,
    pub points: &'a [PointId],
    pub from: Millis,
    pub to: Millis,
}

impl Past<'_> {
    /// Gives `take` one piece after the other; in memory are half a million readings, or one minute of all points.
    pub fn pieces(&self, mut take: impl FnMut(&[Row]) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let points = (self.points.len() as Millis).max(1);
        let piece = (PIECE_ROWS / points * 1000).clamp(PIECE_MIN, PIECE_MAX);
        let mut rows = Vec::new();
        let mut from = self.from;
        while from <= self.to {
            let to = from.saturating_add(piece - 1).min(self.to);
            for &point in self.points {
                self.readings
                    .all(&self.site.point(point).id, from, to, |piece| rows.push(row(point, piece)))?;
            }
            rows.sort_by(|a, b| in_order(self.site, a, b));
            take(&rows)?;
            rows.clear();
            from = to.saturating_add(1);
        }
        Ok(())
    }

    /// Until when there is no more than rollups of one of the points, where that is so.
    pub fn rolled_up_to(&self) -> Result<Option<Millis>, Error> {
        self.readings.rolled_up_to(self.from, self.to)
    }

    /// Times in which the gateway recorded nothing at all: it was off, or its history is gone.
    pub fn gaps(&self) -> Result<Vec<(Millis, Millis)>, Error> {
        // Devices that speak by themselves may have had nothing to say.
        if !self.site.devices.iter().any(|device| device.polled) {
            return Ok(Vec::new());
        }
        Ok(gaps(&self.readings.spans(self.from, self.to)?))
    }
}

/// Of a minute or an hour of which no more than a rollup is left, the last value: one that was read.
fn row(point: PointId, piece: Piece) -> Row {
    let rollup = match piece {
        Piece::Reading(Sample { at, quality, value }) => return Row { at, point, quality, value },
        Piece::Rollup(rollup, _) | Piece::Minute(rollup) => rollup,
    };
    let value = match rollup.values {
        Values::Numbers { last, .. } => Some(Value::Number(last)),
        Values::Words { last, .. } => Some(last),
        Values::None => None,
    };
    let quality = match value {
        None => Quality::Bad,
        Some(_) if rollup.good == rollup.count => Quality::Good,
        Some(_) => Quality::Uncertain,
    };
    Row { at: rollup.at, point, quality, value }
}

/// Where the next span begins much later than the last one ended: after five minutes, or three times what is usual where
/// devices are asked seldom.
fn gaps(spans: &[(Millis, Millis)]) -> Vec<(Millis, Millis)> {
    let mut gaps = Vec::new();
    let mut until = Millis::MAX;
    for &(first, last) in spans {
        if first > until {
            gaps.push((until, first));
        }
        until = if until == Millis::MAX { last } else { until.max(last) };
    }
    let mut usual: Vec<Millis> = gaps.iter().map(|(from, to)| to - from).collect();
    usual.sort_unstable();
    let median = usual.get(usual.len() / 2).copied().unwrap_or_default();
    // One or two gaps say nothing of what is usual.
    let long = if usual.len() > 10 { GAP_MIN.max(median.saturating_mul(3)) } else { GAP_MIN };
    gaps.retain(|(from, to)| to - from > long);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Millis = 60_000;

    #[test]
    fn a_gap_is_where_nothing_was_written_for_much_longer_than_usual() {
        let span = |from: Millis, to: Millis| (from * MINUTE, to * MINUTE);
        assert!(gaps(&[]).is_empty());
        assert!(gaps(&[span(0, 1), span(2, 3), span(4, 9)]).is_empty());
        assert_eq!(gaps(&[span(0, 1), span(60, 61), span(62, 70)]), [(MINUTE, 60 * MINUTE)]);
        // What was written late lies within what was written before.
        assert!(gaps(&[span(0, 20), span(3, 4), span(21, 22)]).is_empty());
        // Meters that are asked every quarter of an hour.
        let mut spans: Vec<_> = (0..20).map(|n| span(n * 15, n * 15)).collect();
        assert!(gaps(&spans).is_empty());
        spans.push(span(400, 401));
        assert_eq!(gaps(&spans), [span(285, 400)]);
    }
}
