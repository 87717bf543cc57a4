//! Whole numbers one after the other, as few bits: what is told is how far each lies from where it was expected.
//!
//! Three ways to expect are kept, and the one that was best of late is believed: the last number again (what seldom
//! moves), a mean of the last ones (noise about a level), and that with its slope (a meter, the times of a poll).

use super::bits::{Chance, EVEN, Reader, Writer};

/// What one column knows of itself; writer and reader keep the same one.
#[derive(Debug, Clone)]
pub struct Column {
    /// Numbers so far, up to two.
    seen: u8,
    last: i64,
    /// With [`FINE`] bits behind the point.
    level: i64,
    trend: i64,
    slope: i64,
    /// How far off each way was of late.
    off: [u32; 3],
    /// Mean of what was told of late, with [`FINE`] bits behind the point.
    mean: u32,
    chances: [Chance; STEPS],
}

const FINE: u32 = 4;
/// Of a number's high part, as many steps have a chance of their own.
const STEPS: usize = 10;
/// A high part that is longer is told as a whole number.
const STEPS_MAX: u64 = 24;
/// What a surprise may weigh in the means.
const WEIGHT_MAX: u64 = 1 << 24;

impl Default for Column {
    fn default() -> Self {
        Self {
            seen: 0,
            last: 0,
            level: 0,
            trend: 0,
            slope: 0,
            off: [0; 3],
            mean: 4 << FINE,
            chances: [EVEN; STEPS],
        }
    }
}

impl Column {
    pub fn write(&mut self, bits: &mut Writer, value: i64) {
        if self.seen > 0 {
            let far = zigzag(value.wrapping_sub(self.expected()));
            self.write_far(bits, far);
            self.learn(value, far);
        } else {
            write_whole(bits, zigzag(value));
            self.begin(value);
        }
    }

    pub fn read(&mut self, bits: &mut Reader<'_>) -> i64 {
        if self.seen > 0 {
            let far = self.read_far(bits);
            let value = self.expected().wrapping_add(unzigzag(far));
            self.learn(value, far);
            value
        } else {
            let value = unzigzag(read_whole(bits));
            self.begin(value);
            value
        }
    }

    /// All that is known of it, at ten times the scale.
    pub fn times_ten(&mut self) {
        for part in [&mut self.last, &mut self.level, &mut self.trend, &mut self.slope] {
            *part = part.wrapping_mul(10);
        }
        self.mean = self.mean.saturating_mul(10).min(WEIGHT_MAX as u32);
    }

    fn begin(&mut self, value: i64) {
        self.seen = 1;
        self.last = value;
        self.level = value.wrapping_shl(FINE);
        self.trend = self.level;
    }

    fn ways(&self) -> [i64; 3] {
        [self.last, coarse(self.level), coarse(self.trend.wrapping_add(self.slope))]
    }

    fn expected(&self) -> i64 {
        let [last, level, trend] = self.off;
        let [a, b, c] = self.ways();
        if last <= level && last <= trend {
            a
        } else if level <= trend {
            b
        } else {
            c
        }
    }

    fn learn(&mut self, value: i64, far: u64) {
        let ways = self.ways();
        for (off, way) in self.off.iter_mut().zip(ways) {
            let by = value.wrapping_sub(way).unsigned_abs().min(WEIGHT_MAX) as u32;
            *off = *off - (*off >> 4) + by;
        }
        let fine = value.wrapping_shl(FINE);
        if self.seen == 1 {
            self.seen = 2;
            self.slope = fine.wrapping_sub(self.trend);
        }
        self.last = value;
        self.level = self.level.wrapping_add(fine.wrapping_sub(self.level) >> 3);
        let ahead = self.trend.wrapping_add(self.slope);
        let error = fine.wrapping_sub(ahead);
        self.trend = ahead.wrapping_add(error >> 2);
        self.slope = self.slope.wrapping_add(error >> 5);
        let weight = (far.min(WEIGHT_MAX) as u32) << FINE;
        self.mean = self.mean - (self.mean >> 4) + (weight >> 4);
    }

    /// Bits of a number's low part, of which nothing is expected.
    fn low_bits(&self) -> u32 {
        (self.mean >> FINE).checked_ilog2().map_or(0, |bits| bits.saturating_sub(1))
    }

    fn write_far(&mut self, bits: &mut Writer, far: u64) {
        let low = self.low_bits();
        let steps = far >> low;
        for n in 0..steps.min(STEPS_MAX) {
            bits.bit(&mut self.chances[(n as usize).min(STEPS - 1)], true);
        }
        if steps >= STEPS_MAX {
            write_whole(bits, far);
        } else {
            bits.bit(&mut self.chances[(steps as usize).min(STEPS - 1)], false);
            bits.plain(far, low);
        }
    }

    fn read_far(&mut self, bits: &mut Reader<'_>) -> u64 {
        let low = self.low_bits();
        let mut steps = 0;
        while bits.bit(&mut self.chances[(steps as usize).min(STEPS - 1)]) {
            steps += 1;
            if steps == STEPS_MAX {
                return read_whole(bits);
            }
        }
        steps << low | bits.plain(low)
    }
}

/// A number of which nothing is expected: how many bits, and they.
pub fn write_whole(bits: &mut Writer, value: u64) {
    let count = u64::BITS - value.leading_zeros();
    bits.plain(count.into(), 7);
    bits.plain(value, count);
}

pub fn read_whole(bits: &mut Reader<'_>) -> u64 {
    let count = bits.plain(7) as u32;
    bits.plain(count.min(u64::BITS))
}

/// Small numbers of either sign become small unsigned ones.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn coarse(fine: i64) -> i64 {
    fine.wrapping_add(1 << (FINE - 1)) >> FINE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -9i64..9,
            1_763_712_000_000i64..1_763_712_100_000,
            Just(i64::MIN),
            Just(i64::MAX)
        ]
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_went_in(values in proptest::collection::vec(value(), 0..300), tens in 0usize..300) {
            let (mut column, mut bits) = (Column::default(), Writer::default());
            for (n, value) in values.iter().enumerate() {
                column.write(&mut bits, *value);
                if n == tens {
                    column.times_ten();
                }
            }
            let data = bits.finish();
            let (mut column, mut bits) = (Column::default(), Reader::new(&data));
            for (n, value) in values.iter().enumerate() {
                prop_assert_eq!(column.read(&mut bits), *value);
                if n == tens {
                    column.times_ten();
                }
            }
        }
    }
}
