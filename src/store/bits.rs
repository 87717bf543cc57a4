//! An adaptive arithmetic coder: what was to be expected takes a small part of a bit, what is a surprise takes several.
//!
//! Each yes or no is told with a chance that both sides keep and correct in the same way, so nothing of it is stored.

/// How likely a bit is set, of [`CERTAIN`].
pub type Chance = u16;

const CERTAIN: u32 = 1 << 12;
/// Nothing is known.
pub const EVEN: Chance = 1 << 11;
/// Hardly ever.
pub const SELDOM: Chance = 1 << 7;
/// How fast a chance follows what is seen.
const RATE: u32 = 4;

/// The part of the number line between `low` and `high` says all that was put in.
#[derive(Debug, Clone)]
pub struct Writer {
    low: u32,
    high: u32,
    out: Vec<u8>,
}

/// Bytes by which a buffer grows. Doubling would waste a third of the memory of thousands of them.
const GROWTH: usize = 48;

impl Default for Writer {
    fn default() -> Self {
        Self { low: 0, high: u32::MAX, out: Vec::new() }
    }
}

impl Writer {
    pub fn bit(&mut self, chance: &mut Chance, bit: bool) {
        let middle = split(self.low, self.high, *chance);
        learn(chance, bit);
        self.narrow(middle, bit);
    }

    /// The low `count` bits, of which nothing is expected.
    pub fn plain(&mut self, value: u64, count: u32) {
        for n in (0..count).rev() {
            self.narrow(split(self.low, self.high, EVEN), value >> n & 1 == 1);
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Bytes of memory that the buffer holds.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// All of it. After its end the reader sees zeros.
    pub fn finish(mut self) -> Vec<u8> {
        if self.low > 0 {
            // The ends differ in their first byte, so this lies between them.
            self.push((self.low >> 24) as u8 + 1);
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }

    fn narrow(&mut self, middle: u32, bit: bool) {
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.push((self.high >> 24) as u8);
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
        }
    }

    fn push(&mut self, byte: u8) {
        if self.out.len() == self.out.capacity() {
            self.out.reserve_exact(GROWTH);
        }
        self.out.push(byte);
    }
}

/// Reads what a [`Writer`] wrote; of other bytes it makes bits as well, without end.
#[derive(Debug)]
pub struct Reader<'a> {
    low: u32,
    high: u32,
    at: u32,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        let mut reader = Self { low: 0, high: u32::MAX, at: 0, rest: data };
        for _ in 0..4 {
            reader.pull();
        }
        reader
    }

    pub fn bit(&mut self, chance: &mut Chance) -> bool {
        let middle = split(self.low, self.high, *chance);
        let bit = self.narrow(middle);
        learn(chance, bit);
        bit
    }

    pub fn plain(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |value, _| {
            let middle = split(self.low, self.high, EVEN);
            value << 1 | u64::from(self.narrow(middle))
        })
    }

    fn narrow(&mut self, middle: u32) -> bool {
        let bit = self.at <= middle;
        if bit {
            self.high = middle;
        } else {
            self.low = middle + 1;
        }
        while (self.low ^ self.high) >> 24 == 0 {
            self.low <<= 8;
            self.high = self.high << 8 | 0xff;
            self.pull();
        }
        bit
    }

    fn pull(&mut self) {
        let next = self.rest.split_first().map_or(0, |(next, rest)| {
            self.rest = rest;
            *next
        });
        self.at = self.at << 8 | u32::from(next);
    }
}

/// Never the upper end: both sides of it keep some room.
fn split(low: u32, high: u32, chance: Chance) -> u32 {
    let room = u64::from(high - low);
    low + (room * u64::from(chance) / u64::from(CERTAIN)) as u32
}

fn learn(chance: &mut Chance, bit: bool) {
    if bit {
        *chance += (CERTAIN as Chance - *chance) >> RATE;
    } else {
        *chance -= *chance >> RATE;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back_as_they_went_in(
            bits in proptest::collection::vec((0usize..4, any::<bool>()), 0..2000),
            plain in proptest::collection::vec((any::<u64>(), 0u32..65), 0..20),
        ) {
            let mut writer = Writer::default();
            let mut chances = [EVEN, SELDOM, 0, EVEN];
            for (which, bit) in &bits {
                writer.bit(&mut chances[*which], *bit);
            }
            for (value, count) in &plain {
                writer.plain(*value, *count);
            }
            let data = writer.finish();
            let mut reader = Reader::new(&data);
            let mut chances = [EVEN, SELDOM, 0, EVEN];
            for (which, bit) in &bits {
                prop_assert_eq!(reader.bit(&mut chances[*which]), *bit);
            }
            for (value, count) in &plain {
                let mask = if *count == 64 { u64::MAX } else { (1 << count) - 1 };
                prop_assert_eq!(reader.plain(*count), value & mask);
            }
        }
    }

    #[test]
    fn what_is_expected_takes_next_to_nothing() {
        let mut writer = Writer::default();
        let mut chance = SELDOM;
        for _ in 0..3000 {
            writer.bit(&mut chance, false);
        }
        let bytes = writer.finish().len();
        assert!(bytes < 20, "{bytes}");
    }
}
