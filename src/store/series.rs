//! Readings of one point as few bits, against a column of times that the points of a device share.
//!
//! A reading says at which of the times it was taken, what kind of value it is and the value. That it is the next time
//! and the kind of the last reading is expected, and costs next to nothing. Numbers with few decimals are whole numbers
//! in disguise (`231.4` is 2314 at one decimal); others are told by their bits. What comes out is exactly what went in.

use std::sync::Arc;

use super::bits::{Chance, EVEN, Reader, SELDOM, Writer};
use super::column::{Column, read_whole, write_whole};
use crate::reading::{Millis, Quality, Reading, Value};

/// A reading as the history keeps it; `value` is `None` exactly where `quality` is bad.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub at: Millis,
    pub value: Option<Value>,
    pub quality: Quality,
}

/// A longer text is cut; the history is for plots and windows, not an archive of messages.
const TEXT_BYTES_MAX: usize = 256;
pub const DECIMALS_MAX: u8 = 7;

const BAD: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const SAME_TEXT: u8 = 3;
const SIGNED: u8 = 4;
const UNSIGNED: u8 = 5;
const TEXT: u8 = 6;
const RAW: u8 = 7;
/// `DECIMAL + n`: a number with `n` decimals, up to [`DECIMALS_MAX`].
const DECIMAL: u8 = 8;
/// A number that four bytes hold, as most devices send it.
const FLOAT: u8 = 16;
const KIND: u8 = 0x1f;
const UNCERTAIN: u8 = 0x20;
const TAG_BITS: u32 = 6;

/// What the next reading is told against; writer and reader keep the same one.
#[derive(Debug, Clone)]
struct Before {
    numbers: Column,
    steps: Steps,
    other: Chance,
    tag: u8,
    decimals: u8,
    text: Option<Arc<str>>,
}

/// At which of the times the readings were taken.
#[derive(Debug, Clone)]
struct Steps {
    left_out: Chance,
    more: Chance,
    next: u32,
}

impl Default for Before {
    fn default() -> Self {
        let steps = Steps { left_out: SELDOM, more: EVEN, next: 0 };
        Self { numbers: Column::default(), steps, other: SELDOM, tag: DECIMAL, decimals: 0, text: None }
    }
}

/// A series being written.
#[derive(Debug, Default, Clone)]
pub struct Series {
    bits: Writer,
    count: u32,
    before: Before,
}

impl Series {
    /// Adds one reading, taken at the time with this number; numbers only rise.
    pub fn push(&mut self, time: u32, reading: &Reading) {
        let before = &mut self.before;
        before.steps.write(&mut self.bits, time);
        let whole = reading.value.as_ref().map_or((BAD, None), |value| before.number_of(value));
        let doubt = if reading.quality == Quality::Uncertain { UNCERTAIN } else { 0 };
        before.write_tag(&mut self.bits, whole.0 | doubt);
        if let (_, Some(number)) = whole {
            before.numbers.write(&mut self.bits, number);
        } else if whole.0 == TEXT {
            write_text(&mut self.bits, before.text.as_deref().unwrap_or_default());
        }
        self.count += 1;
    }

    /// The first time that a reading may be taken at.
    pub fn next_time(&self) -> u32 {
        self.before.steps.next
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bits.len()
    }

    /// Bytes of memory beside itself.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.bits.capacity()
    }

    /// All of it; the next reading begins a new one.
    pub fn take(&mut self) -> (u32, Vec<u8>) {
        let series = std::mem::take(self);
        (series.count, series.bits.finish())
    }
}

impl Before {
    /// What kind of value it is, and the number that tells it where there is one.
    fn number_of(&mut self, value: &Value) -> (u8, Option<i64>) {
        match value {
            Value::Bool(false) => (FALSE, None),
            Value::Bool(true) => (TRUE, None),
            Value::Signed(v) => (SIGNED, Some(*v)),
            Value::Unsigned(v) => (UNSIGNED, Some(v.cast_signed())),
            Value::Number(v) => {
                let (kind, number) = self.as_number(*v);
                (kind, Some(number))
            }
            Value::Text(text) => {
                let cut = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
                if self.text.as_deref() == Some(cut) {
                    return (SAME_TEXT, None);
                }
                self.text = Some(if cut.len() == text.len() { text.clone() } else { cut.into() });
                (TEXT, None)
            }
        }
    }

    fn as_number(&self, number: f64) -> (u8, i64) {
        let short = as_short(number);
        // 230.5 among 230.399994 and 230.600006 is one of them.
        if let (FLOAT, Some(short)) = (self.tag & KIND, short) {
            return (FLOAT, short);
        }
        // Once a series has shown a decimal it keeps it, so that 180.0 among 179.9 and 180.1 is a small step.
        let whole = |decimals| Some((DECIMAL + decimals, as_whole(number, decimals)?));
        let decimal = (self.decimals..=DECIMALS_MAX).find_map(whole);
        decimal.or(short.map(|short| (FLOAT, short))).unwrap_or((RAW, as_ordered(number)))
    }

    fn write_tag(&mut self, bits: &mut Writer, tag: u8) {
        bits.bit(&mut self.other, tag != self.tag);
        if tag != self.tag {
            bits.plain(tag.into(), TAG_BITS);
            self.change(tag);
        }
    }

    fn read_tag(&mut self, bits: &mut Reader<'_>) -> u8 {
        if bits.bit(&mut self.other) {
            let tag = bits.plain(TAG_BITS) as u8;
            self.change(tag);
        }
        self.tag
    }

    fn change(&mut self, tag: u8) {
        let kind = tag & KIND;
        if (DECIMAL..FLOAT).contains(&kind) {
            for _ in self.decimals..kind - DECIMAL {
                self.numbers.times_ten();
            }
            self.decimals = self.decimals.max(kind - DECIMAL);
        }
        self.tag = tag;
    }

    /// The outer `None`: the bits make no sense.
    fn read_value(&mut self, bits: &mut Reader<'_>, kind: u8) -> Option<Option<Value>> {
        Some(Some(match kind {
            BAD => return Some(None),
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            SAME_TEXT => Value::Text(self.text.clone()?),
            SIGNED => Value::Signed(self.numbers.read(bits)),
            UNSIGNED => Value::Unsigned(self.numbers.read(bits).cast_unsigned()),
            TEXT => {
                let text: Arc<str> = read_text(bits)?.into();
                self.text = Some(text.clone());
                Value::Text(text)
            }
            RAW => Value::Number(from_ordered(self.numbers.read(bits))),
            FLOAT => Value::Number(from_short(self.numbers.read(bits))),
            DECIMAL..FLOAT => Value::Number(from_whole(self.numbers.read(bits), kind - DECIMAL)),
            _ => return None,
        }))
    }
}

impl Steps {
    fn write(&mut self, bits: &mut Writer, time: u32) {
        let left_out = time.saturating_sub(self.next);
        bits.bit(&mut self.left_out, left_out > 0);
        if left_out > 0 {
            bits.bit(&mut self.more, left_out > 1);
            if left_out > 1 {
                write_short(bits, left_out);
            }
        }
        self.next = time.saturating_add(1);
    }

    fn read(&mut self, bits: &mut Reader<'_>) -> u32 {
        let mut left_out = 0;
        if bits.bit(&mut self.left_out) {
            left_out = if bits.bit(&mut self.more) { read_short(bits) } else { 1 };
        }
        let time = self.next.saturating_add(left_out);
        self.next = time.saturating_add(1);
        time
    }
}

/// How many bits, and they; for small numbers.
fn write_short(bits: &mut Writer, value: u32) {
    let count = u32::BITS - value.leading_zeros();
    bits.plain(u64::from(count - 1), 5);
    bits.plain(value.into(), count - 1);
}

fn read_short(bits: &mut Reader<'_>) -> u32 {
    let count = bits.plain(5) as u32;
    1 << count | bits.plain(count) as u32
}

pub fn write_text(bits: &mut Writer, text: &str) {
    write_whole(bits, text.len() as u64);
    for byte in text.bytes() {
        bits.plain(byte.into(), 8);
    }
}

pub fn read_text(bits: &mut Reader<'_>) -> Option<String> {
    let len = usize::try_from(read_whole(bits)).ok().filter(|len| *len <= TEXT_BYTES_MAX)?;
    let bytes: Vec<u8> = (0..len).map(|_| bits.plain(8) as u8).collect();
    String::from_utf8(bytes).ok()
}

/// The number times ten to the `decimals`, where the way back gives the very same bits.
pub fn as_whole(number: f64, decimals: u8) -> Option<i64> {
    let scaled = (number * POWERS[usize::from(decimals)]).round();
    if scaled.abs() > EXACT_MAX {
        return None;
    }
    let whole = scaled as i64;
    (from_whole(whole, decimals).to_bits() == number.to_bits()).then_some(whole)
}

pub fn from_whole(whole: i64, decimals: u8) -> f64 {
    whole as f64 / POWERS[usize::from(decimals)]
}

/// The bits of a float, so that what is near as a number is near here.
pub fn as_ordered(number: f64) -> i64 {
    let bits = number.to_bits().cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

pub fn from_ordered(ordered: i64) -> f64 {
    let bits = ordered ^ ((ordered >> 63).cast_unsigned() >> 1).cast_signed();
    f64::from_bits(bits.cast_unsigned())
}

/// The same of four bytes, where they hold all of it.
fn as_short(number: f64) -> Option<i64> {
    let short = number as f32;
    let bits = short.to_bits().cast_signed();
    let whole = f64::from(short).to_bits() == number.to_bits();
    whole.then(|| i64::from(bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()))
}

fn from_short(ordered: i64) -> f64 {
    let bits = ordered as i32;
    f64::from(f32::from_bits((bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned()))
}

const POWERS: [f64; DECIMALS_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
/// 2^53: up to here every whole number is a float of its own. NaN and the infinities are not below it.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A series being read; ends after as many readings as were said, or where the bits make no sense.
#[derive(Debug)]
pub struct Decoder<'a, T> {
    bits: Reader<'a>,
    left: u32,
    before: Before,
    times: T,
    /// Times taken from `times` so far.
    taken: u32,
}

impl<'a, T: Iterator<Item = Millis>> Decoder<'a, T> {
    pub fn new(data: &'a [u8], count: u32, times: T) -> Self {
        Self { bits: Reader::new(data), left: count, before: Before::default(), times, taken: 0 }
    }

    fn sample(&mut self) -> Option<Sample> {
        let time = self.before.steps.read(&mut self.bits);
        let at = self.times.nth(usize::try_from(time - self.taken).ok()?)?;
        self.taken = time + 1;
        let tag = self.before.read_tag(&mut self.bits);
        let value = self.before.read_value(&mut self.bits, tag & KIND)?;
        let quality = match (&value, tag & UNCERTAIN != 0) {
            (None, _) => Quality::Bad,
            (_, true) => Quality::Uncertain,
            (_, false) => Quality::Good,
        };
        Some(Sample { at, value, quality })
    }
}

impl<T: Iterator<Item = Millis>> Iterator for Decoder<'_, T> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        self.left = self.left.checked_sub(1)?;
        let sample = self.sample();
        if sample.is_none() {
            self.left = 0;
        }
        sample
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::{PointId, Reason};

    /// Each reading at a time of its own, or at the second one after the last.
    fn encode(readings: &[(Reading, bool)]) -> (Vec<Millis>, u32, Vec<u8>) {
        let (mut series, mut times) = (Series::default(), Vec::new());
        for (reading, apart) in readings {
            if *apart {
                times.push(0);
            }
            times.push(reading.at);
            series.push(times.len() as u32 - 1, reading);
        }
        let (count, data) = series.take();
        (times, count, data)
    }

    /// Equal to the bit, which `==` on floats is not.
    fn key(sample: &Sample) -> (Millis, Quality, String) {
        let value = match &sample.value {
            Some(Value::Number(v)) => format!("number {:x}", v.to_bits()),
            other => format!("{other:?}"),
        };
        (sample.at, sample.quality, value)
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Signed),
            (-5i64..5).prop_map(Value::Signed),
            any::<u64>().prop_map(Value::Unsigned),
            any::<u64>().prop_map(|bits| Value::Number(f64::from_bits(bits))),
            any::<u32>().prop_map(|bits| Value::Number(f64::from(f32::from_bits(bits)))),
            (-1000i32..1000).prop_map(|n| Value::Number(f64::from(n as f32 / 10.0))),
            (-100_000i64..100_000, 0u8..9)
                .prop_map(|(whole, d)| Value::Number(whole as f64 / 10f64.powi(d.into()))),
            prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::INFINITY), Just(f64::MIN)]
                .prop_map(Value::Number),
            "(open|closed|水压低|\\PC{0,20})".prop_map(|text| Value::Text(text.into())),
        ]
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let at = prop_oneof![any::<i64>(), 1_763_712_000_000i64..1_763_712_100_000];
        (at, proptest::option::of(value()), any::<bool>()).prop_map(|(at, value, doubt)| match value {
            None => Reading::bad(PointId(0), at, Reason::NoAnswer),
            Some(value) if doubt => Reading::uncertain(PointId(0), at, value, Reason::Retained),
            Some(value) => Reading::good(PointId(0), at, value),
        })
    }

    proptest! {
        #[test]
        fn what_comes_out_is_exactly_what_went_in(readings in proptest::collection::vec((reading(), any::<bool>()), 0..80)) {
            let (times, count, data) = encode(&readings);
            let back: Vec<_> = Decoder::new(&data, count, times.into_iter()).map(|s| key(&s)).collect();
            let there: Vec<_> = readings
                .iter()
                .map(|(r, _)| key(&Sample { at: r.at, value: r.value.clone(), quality: r.quality }))
                .collect();
            prop_assert_eq!(back, there);
        }

        #[test]
        fn noise_ends_as_soon_as_what_it_is_said_to_hold(data in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..500) {
            let samples = Decoder::new(&data, count, 0..1000).count();
            prop_assert!(samples <= count as usize);
        }

        #[test]
        fn numbers_keep_their_order_as_bits(a in any::<f32>(), b in any::<f32>()) {
            let (whole, short) = (|n: f32| as_ordered(n.into()), |n: f32| as_short(n.into()).unwrap());
            prop_assert_eq!(whole(a) < whole(b), a.total_cmp(&b).is_lt());
            prop_assert_eq!(short(a) < short(b), a.total_cmp(&b).is_lt());
        }
    }

    #[test]
    fn five_minutes_of_a_noisy_pressure_take_less_than_six_bits_a_reading() {
        let readings: Vec<_> = (0..300)
            .map(|n| {
                let value = Value::Number((2300 + n * n % 13 - n * 7 % 5) as f64 / 10.0);
                (Reading::good(PointId(0), 1_763_712_000_000 + n * 1000, value), false)
            })
            .collect();
        let (.., data) = encode(&readings);
        assert!(data.len() * 8 < 300 * 6, "{} bytes", data.len());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "压".repeat(200);
        let (times, count, data) =
            encode(&[(Reading::good(PointId(0), 0, Value::Text(text.as_str().into())), false)]);
        let first = Decoder::new(&data, count, times.into_iter()).next();
        let Some(Value::Text(back)) = first.and_then(|s| s.value) else {
            panic!("no text came back");
        };
        assert!(text.starts_with(&*back) && back.len() > TEXT_BYTES_MAX - 3 && back.len() <= TEXT_BYTES_MAX);
    }
}
