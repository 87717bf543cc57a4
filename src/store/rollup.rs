//! What is left of readings when they have given way: for each minute, and then for each hour, how many there were, how
//! many were good, the least, the greatest, the mean and the last. It is told as what it is, never as readings.

use super::bits::{Chance, EVEN, Reader, SELDOM, Writer};
use super::column::{Column, read_whole, write_whole};
use super::series::{
    DECIMALS_MAX, Sample, as_ordered, as_whole, from_ordered, from_whole, read_text, write_text,
};
use crate::reading::{Millis, Quality, Value};

/// The readings of one point in a minute or an hour.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its begin.
    pub at: Millis,
    pub count: u32,
    /// Of these have a value.
    pub valued: u32,
    /// Of these are good.
    pub good: u32,
    pub values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    None,
    Numbers {
        min: f64,
        max: f64,
        last: f64,
        sum: f64,
    },
    /// Least and greatest of what is no number (`closed`, `open`).
    Words {
        min: Value,
        max: Value,
        last: Value,
    },
}

/// Words of one point in one chunk; later ones are left out.
const WORDS_MAX: usize = 32;
const RAW: u8 = DECIMALS_MAX + 1;
const SCALE_BITS: u32 = 4;

impl Summary {
    /// Of one reading, in the stretch of time that it falls into.
    pub fn of(sample: &Sample, stretch: Millis) -> Self {
        let values = match &sample.value {
            None => Values::None,
            Some(value) => match value.number() {
                Some(number) if number.is_nan() => Values::None,
                Some(number) => Values::Numbers { min: number, max: number, last: number, sum: number },
                None => Values::Words { min: value.clone(), max: value.clone(), last: value.clone() },
            },
        };
        Self {
            at: sample.at.div_euclid(stretch) * stretch,
            count: 1,
            valued: u32::from(values != Values::None),
            good: u32::from(sample.quality == Quality::Good && values != Values::None),
            values,
        }
    }

    /// Takes in what came later.
    pub fn add(&mut self, later: Summary) {
        self.count = self.count.saturating_add(later.count);
        self.valued = self.valued.saturating_add(later.valued);
        self.good = self.good.saturating_add(later.good);
        match (&mut self.values, later.values) {
            (_, Values::None) => {}
            (
                Values::Numbers { min, max, last, sum },
                Values::Numbers { min: least, max: most, last: latest, sum: more },
            ) => {
                *min = min.min(least);
                *max = max.max(most);
                *last = latest;
                *sum += more;
            }
            (Values::Words { min, max, last }, Values::Words { min: least, max: most, last: latest }) => {
                if less(&least, min) {
                    *min = least;
                }
                if less(max, &most) {
                    *max = most;
                }
                *last = latest;
            }
            // A point that changes its kind within a minute: what it is now.
            (values, later) => *values = later,
        }
    }

    fn words(&self) -> [Option<&Value>; 3] {
        match &self.values {
            Values::Words { min, max, last } => [Some(min), Some(max), Some(last)],
            _ => [None; 3],
        }
    }

    fn numbers(&self) -> Option<[f64; 3]> {
        match self.values {
            Values::Numbers { min, max, last, .. } => Some([min, max, last]),
            _ => None,
        }
    }
}

fn less(a: &Value, b: &Value) -> bool {
    a.to_string() < b.to_string()
}

/// Joins what falls into the same stretch of time, one after the other.
#[derive(Debug)]
pub struct Roller {
    stretch: Millis,
    rows: Vec<Summary>,
}

impl Roller {
    pub fn new(stretch: Millis) -> Self {
        Self { stretch, rows: Vec::new() }
    }

    pub fn sample(&mut self, sample: &Sample) {
        self.take(Summary::of(sample, self.stretch));
    }

    /// Of shorter stretches.
    pub fn summary(&mut self, mut summary: Summary) {
        summary.at = summary.at.div_euclid(self.stretch) * self.stretch;
        self.take(summary);
    }

    fn take(&mut self, summary: Summary) {
        match self.rows.last_mut().filter(|row| row.at == summary.at) {
            Some(row) => row.add(summary),
            None => self.rows.push(summary),
        }
    }

    /// How many rows, and they as few bits.
    pub fn pack(&self) -> (u32, Vec<u8>) {
        let mut bits = Writer::default();
        let table = Table::of(&self.rows);
        table.write_front(&mut bits);
        let mut columns = Columns::default();
        for row in &self.rows {
            columns.write(&mut bits, row, &table, self.stretch);
        }
        (self.rows.len() as u32, bits.finish())
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Reads what a [`Roller`] packed.
pub fn unpack(data: &[u8], count: u32, stretch: Millis) -> impl Iterator<Item = Summary> {
    let mut bits = Reader::new(data);
    let table = Table::read_front(&mut bits);
    let mut columns = Columns::default();
    table.into_iter().flat_map(move |table| {
        let rows: Vec<_> = (0..count).map_while(|_| columns.read(&mut bits, &table, stretch)).collect();
        rows
    })
}

/// What all rows of one point share.
#[derive(Debug, Default)]
struct Table {
    /// Decimals at which all numbers are whole, or [`RAW`].
    scale: u8,
    /// In order.
    words: Vec<Value>,
}

impl Table {
    fn of(rows: &[Summary]) -> Self {
        let all_whole = |scale: &u8| {
            let mut numbers = rows.iter().filter_map(Summary::numbers).flatten();
            numbers.all(|number| as_whole(number, *scale).is_some())
        };
        let scale = (0..=DECIMALS_MAX).find(all_whole).unwrap_or(RAW);
        let mut words: Vec<Value> = Vec::new();
        for word in rows.iter().flat_map(|row| row.words().into_iter().flatten()) {
            if words.len() < WORDS_MAX && !words.contains(word) {
                words.push(word.clone());
            }
        }
        Self { scale, words }
    }

    fn write_front(&self, bits: &mut Writer) {
        bits.plain(self.scale.into(), SCALE_BITS);
        write_whole(bits, self.words.len() as u64);
        for word in &self.words {
            let (kind, text) = match word {
                Value::Bool(value) => (u64::from(*value), String::new()),
                other => (2, other.to_string()),
            };
            bits.plain(kind, 2);
            if kind == 2 {
                write_text(bits, &text);
            }
        }
    }

    fn read_front(bits: &mut Reader<'_>) -> Option<Self> {
        let scale = bits.plain(SCALE_BITS) as u8;
        let count = read_whole(bits);
        if scale > RAW || count > WORDS_MAX as u64 {
            return None;
        }
        let word = |_| {
            Some(match bits.plain(2) {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => Value::Text(read_text(bits)?.into()),
            })
        };
        let words = (0..count).map(word).collect::<Option<_>>()?;
        Some(Self { scale, words })
    }

    fn whole(&self, number: f64) -> i64 {
        if self.scale == RAW { as_ordered(number) } else { as_whole(number, self.scale).unwrap_or_default() }
    }

    fn number(&self, whole: i64) -> f64 {
        if self.scale == RAW { from_ordered(whole) } else { from_whole(whole, self.scale) }
    }

    /// How far the sum lies from what it were if all were the least. Good to half a step, which is nothing in a
    /// mean.
    fn rest(&self, sum: f64, min: i64, valued: u32) -> i64 {
        if self.scale == RAW {
            return as_ordered(sum);
        }
        let ten = 10f64.powi(self.scale.into());
        ((sum * ten).round() as i64).wrapping_sub(min.wrapping_mul(valued.into()))
    }

    fn sum(&self, rest: i64, min: i64, valued: u32) -> f64 {
        if self.scale == RAW {
            return from_ordered(rest);
        }
        rest.wrapping_add(min.wrapping_mul(valued.into())) as f64 / 10f64.powi(self.scale.into())
    }
}

#[derive(Debug)]
struct Columns {
    slot: Column,
    count: Column,
    without: Column,
    doubtful: Column,
    kinds: [Chance; 2],
    min: Column,
    width: Column,
    last: Column,
    rest: Column,
}

impl Default for Columns {
    fn default() -> Self {
        let column = Column::default;
        Self {
            slot: column(),
            count: column(),
            without: column(),
            doubtful: column(),
            kinds: [EVEN, SELDOM],
            min: column(),
            width: column(),
            last: column(),
            rest: column(),
        }
    }
}

impl Columns {
    fn write(&mut self, bits: &mut Writer, row: &Summary, table: &Table, stretch: Millis) {
        self.slot.write(bits, row.at.div_euclid(stretch));
        self.count.write(bits, row.count.into());
        self.without.write(bits, i64::from(row.count) - i64::from(row.valued));
        self.doubtful.write(bits, i64::from(row.valued) - i64::from(row.good));
        match &row.values {
            Values::Numbers { min, max, last, sum } => {
                bits.bit(&mut self.kinds[0], true);
                let least = table.whole(*min);
                self.min.write(bits, least);
                self.width.write(bits, table.whole(*max).wrapping_sub(least));
                self.last.write(bits, table.whole(*last).wrapping_sub(least));
                self.rest.write(bits, table.rest(*sum, least, row.valued));
            }
            other => {
                bits.bit(&mut self.kinds[0], false);
                let numbers: Vec<usize> = row
                    .words()
                    .into_iter()
                    .flatten()
                    .filter_map(|word| table.words.iter().position(|known| known == word))
                    .collect();
                let told = numbers.len() == 3 && !matches!(other, Values::None);
                bits.bit(&mut self.kinds[1], !told);
                if let ([min, max, last], true) = (&numbers[..], told) {
                    self.min.write(bits, *min as i64);
                    self.width.write(bits, *max as i64);
                    self.last.write(bits, *last as i64);
                }
            }
        }
    }

    fn read(&mut self, bits: &mut Reader<'_>, table: &Table, stretch: Millis) -> Option<Summary> {
        let at = self.slot.read(bits).checked_mul(stretch)?;
        let count = u32::try_from(self.count.read(bits)).ok()?;
        let valued = count.checked_sub(u32::try_from(self.without.read(bits)).ok()?)?;
        let good = valued.checked_sub(u32::try_from(self.doubtful.read(bits)).ok()?)?;
        let values = if bits.bit(&mut self.kinds[0]) {
            let min = self.min.read(bits);
            let max = min.wrapping_add(self.width.read(bits));
            let last = min.wrapping_add(self.last.read(bits));
            let sum = table.sum(self.rest.read(bits), min, valued);
            Values::Numbers { min: table.number(min), max: table.number(max), last: table.number(last), sum }
        } else if bits.bit(&mut self.kinds[1]) {
            Values::None
        } else {
            let mut word =
                |column: &mut Column| table.words.get(usize::try_from(column.read(bits)).ok()?).cloned();
            Values::Words {
                min: word(&mut self.min)?,
                max: word(&mut self.width)?,
                last: word(&mut self.last)?,
            }
        };
        Some(Summary { at, count, valued, good, values })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            Just(None),
            (-100_000i64..100_000, 0u8..4).prop_map(|(n, d)| Some(Value::Number(from_whole(n, d)))),
            (-1000i64..1000).prop_map(|n| Some(Value::Signed(n))),
            any::<bool>().prop_map(|is| Some(Value::Bool(is))),
            "(open|closed|水压低)".prop_map(|text| Some(Value::Text(text.into()))),
            any::<f64>().prop_map(|number| Some(Value::Number(number))),
        ]
    }

    fn rolled(samples: &[Sample], stretch: Millis) -> Vec<Summary> {
        let mut roller = Roller::new(stretch);
        samples.iter().for_each(|sample| roller.sample(sample));
        let (count, data) = roller.pack();
        let scale = Table::of(&roller.rows).scale;
        let back: Vec<_> = unpack(&data, count, stretch).collect();
        assert_eq!(back.len(), roller.rows.len());
        for (back, row) in back.iter().zip(&roller.rows) {
            // Half a step of the last decimal: in the mean it is lost among the counts.
            let step = if scale == RAW { 0.0 } else { 0.5 / 10f64.powi(scale.into()) };
            let near =
                |a: f64, b: f64| a.total_cmp(&b).is_eq() || (a - b).abs() <= step + 1e-9 * a.abs().max(1.0);
            match (&back.values, &row.values) {
                (
                    Values::Numbers { min, max, last, sum },
                    Values::Numbers { min: least, max: most, last: latest, sum: all },
                ) => {
                    assert_eq!((min, max, last), (least, most, latest));
                    assert!(near(*sum, *all), "{sum} and not {all}");
                }
                (values, others) => assert_eq!(values, others),
            }
            let counts = |s: &Summary| (s.at, s.count, s.valued, s.good);
            assert_eq!(counts(back), counts(row));
        }
        back
    }

    fn number(at: Millis, value: f64) -> Sample {
        Sample { at, value: Some(Value::Number(value)), quality: Quality::Good }
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went_in(
            values in proptest::collection::vec((value(), 0i64..100_000, any::<bool>()), 0..80),
        ) {
            let mut at = 1_763_712_000_000;
            let samples: Vec<_> = values.into_iter().map(|(value, step, good)| {
                at += step;
                let quality = match &value {
                    None => Quality::Bad,
                    Some(_) if good => Quality::Good,
                    Some(_) => Quality::Uncertain,
                };
                Sample { at, value, quality }
            }).collect();
            let rows = rolled(&samples, 60_000);
            let counted: u32 = rows.iter().map(|row| row.count).sum();
            prop_assert_eq!(counted as usize, samples.len());
        }

        #[test]
        fn noise_makes_no_more_rows_than_it_is_said_to_hold(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            count in 0u32..500,
        ) {
            prop_assert!(unpack(&data, count, 60_000).count() <= count as usize);
        }
    }

    #[test]
    fn an_hour_of_minutes_is_the_hour_of_its_readings() {
        let samples: Vec<_> = (0..3600).map(|n| number(n * 1000, (n * 37 % 100) as f64 / 10.0)).collect();
        let mut hours = Roller::new(3_600_000);
        for minute in rolled(&samples, 60_000) {
            assert_eq!((minute.count, minute.good), (60, 60));
            hours.summary(minute);
        }
        let [hour] = &hours.rows[..] else { panic!("{} hours", hours.rows.len()) };
        let Values::Numbers { min, max, last, sum } = hour.values else { panic!("{:?}", hour.values) };
        assert_eq!((hour.count, min, max, last), (3600, 0.0, 9.9, (3599 * 37 % 100) as f64 / 10.0));
        assert!((sum / 3600.0 - 4.95).abs() < 0.001, "{sum}");
    }

    #[test]
    fn a_minute_of_noise_takes_less_than_four_bytes() {
        let samples: Vec<_> =
            (0..3600).map(|n| number(n * 1000, (2300 + n * 7919 % 13) as f64 / 10.0)).collect();
        let mut roller = Roller::new(60_000);
        samples.iter().for_each(|sample| roller.sample(sample));
        let bytes = roller.pack().1.len();
        assert!(bytes < 60 * 4, "{bytes}");
    }
}
