//! What a counter in the device has counted, however often the device or its counter is changed meanwhile.

use serde::{Deserialize, Serialize};

use crate::reading::Millis;

/// How fast a counter can truly count; what is faster is another meter, or this one set anew.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub an_hour: f64,
    /// A coarse counter counts in steps of more than one.
    pub at_once: f64,
}

/// Counts from its first reading on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    /// On meters that are gone.
    before: f64,
    /// Where the present one began.
    start: f64,
    last: f64,
    /// When it last counted.
    at: Millis,
}

impl Meter {
    pub fn new(value: f64, at: Millis) -> Self {
        Self { before: 0.0, start: value, last: value, at }
    }

    pub fn total(&self) -> f64 {
        self.before + (self.last - self.start)
    }

    /// `sure`: an uncertain value may be an old one, and is never taken for another meter. Whether it was another one.
    pub fn read(&mut self, value: f64, at: Millis, sure: bool, pace: Pace) -> bool {
        let grown = value - self.last;
        let hours = (at - self.at).max(0) as f64 / 3_600_000.0;
        let other = grown < 0.0 || grown > pace.at_once + pace.an_hour * hours;
        if grown == 0.0 || (other && !sure) {
            return false;
        }
        if other {
            self.before = self.total();
            self.start = value;
        }
        (self.last, self.at) = (value, at);
        other
    }

    /// The clock was stepped.
    pub fn shift(&mut self, by: Millis) {
        self.at += by;
    }

    pub fn begin_anew(&mut self) {
        (self.before, self.start) = (0.0, self.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn a_meter_that_is_changed_is_counted_on_and_never_back() {
        let pace = Pace { an_hour: 1.1, at_once: 1.5 };
        let mut meter = Meter::new(5000.0, 0);
        assert!(!meter.read(5010.0, 10 * HOUR, true, pace));
        assert!(meter.read(3.0, 11 * HOUR, true, pace), "a new meter");
        meter.read(13.0, 21 * HOUR, true, pace);
        assert_eq!(meter.total(), 20.0);
        // A false zero, and back: neither is time that has passed.
        assert!(meter.read(0.0, 21 * HOUR + 1000, true, pace));
        assert!(meter.read(13.0, 21 * HOUR + 2000, true, pace));
        assert_eq!(meter.total(), 20.0);
        // An old value that a broker has kept.
        assert!(!meter.read(1.0, 22 * HOUR, false, pace));
        assert!(!meter.read(13.5, 22 * HOUR, true, pace));
        assert_eq!(meter.total(), 20.5);
        meter.begin_anew();
        meter.read(14.0, 23 * HOUR, true, pace);
        assert_eq!(meter.total(), 0.5);
    }
}
