//! Readings of one point as few bytes: what follows a series is told as the difference to what came before.
//!
//! A sample is a tag, the time and the value. The low four bits of the tag say what the value is, the next one that
//! it is uncertain. The time is the change of the step since the last sample, so that a steady poll costs one byte.
//! Numbers with few decimals are whole numbers in disguise (`231.4` is 2314 at one decimal) and are told as the
//! change since the last; all others keep their eight bytes. What comes out is exactly what went in.

use std::ops::ControlFlow;
use std::sync::Arc;

use rusqlite::{Connection, params};

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
const DECIMALS_MAX: u8 = 7;

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
const KIND: u8 = 0x0f;
const UNCERTAIN: u8 = 0x10;

/// What the next sample is told against; writer and reader keep the same one.
#[derive(Debug, Clone, Default)]
struct Before {
    at: Millis,
    step: Millis,
    whole: i64,
    decimals: u8,
    text: Option<Arc<str>>,
}

/// A series being written.
#[derive(Debug, Default)]
pub struct Encoder {
    data: Vec<u8>,
    before: Before,
}

/// Bytes by which a series' buffer grows. Doubling would waste a third of the memory of thousands of them.
const GROWTH: usize = 64;

impl Encoder {
    /// Adds one reading; returns how many bytes it took.
    pub fn push(&mut self, reading: &Reading) -> usize {
        let start = self.data.len();
        if self.data.capacity() - start < GROWTH / 2 {
            self.data.reserve_exact(GROWTH);
        }
        self.data.push(0);
        self.push_time(reading.at, start == 0);
        let kind = match &reading.value {
            None => BAD,
            Some(value) => self.push_value(value),
        };
        let doubt = if reading.quality == Quality::Uncertain { UNCERTAIN } else { 0 };
        self.data[start] = kind | doubt;
        self.data.len() - start
    }

    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Bytes of memory that the buffer holds.
    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.data.capacity()
    }

    /// The block that was written, without room to grow; the next reading begins a new one.
    pub fn take(&mut self) -> Box<[u8]> {
        self.before = Before::default();
        std::mem::take(&mut self.data).into_boxed_slice()
    }

    fn push_time(&mut self, at: Millis, first: bool) {
        let step = at.wrapping_sub(self.before.at);
        push_signed(&mut self.data, step.wrapping_sub(self.before.step));
        self.before.at = at;
        self.before.step = if first { 0 } else { step };
    }

    fn push_value(&mut self, value: &Value) -> u8 {
        match value {
            Value::Bool(false) => FALSE,
            Value::Bool(true) => TRUE,
            Value::Signed(v) => {
                self.push_whole(*v);
                SIGNED
            }
            Value::Unsigned(v) => {
                self.push_whole(v.cast_signed());
                UNSIGNED
            }
            Value::Number(v) => self.push_number(*v),
            Value::Text(text) => self.push_text(text),
        }
    }

    fn push_whole(&mut self, whole: i64) {
        push_signed(&mut self.data, whole.wrapping_sub(self.before.whole));
        self.before.whole = whole;
    }

    fn push_number(&mut self, number: f64) -> u8 {
        // Once a series has shown a decimal it keeps it, so that 180.0 among 179.9 and 180.1 is a small step.
        let decimals = (self.before.decimals..=DECIMALS_MAX).find(|d| as_whole(number, *d).is_some());
        let Some((decimals, whole)) = decimals.and_then(|d| Some((d, as_whole(number, d)?))) else {
            self.data.extend_from_slice(&number.to_le_bytes());
            return RAW;
        };
        self.before.refine(decimals);
        self.push_whole(whole);
        DECIMAL + decimals
    }

    fn push_text(&mut self, text: &Arc<str>) -> u8 {
        let cut = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        if self.before.text.as_deref() == Some(cut) {
            return SAME_TEXT;
        }
        push_varint(&mut self.data, cut.len() as u64);
        self.data.extend_from_slice(cut.as_bytes());
        self.before.text = Some(if cut.len() == text.len() { text.clone() } else { cut.into() });
        TEXT
    }
}

impl Before {
    /// The last whole number at more decimals.
    fn refine(&mut self, decimals: u8) {
        for _ in self.decimals..decimals {
            self.whole = self.whole.wrapping_mul(10);
        }
        self.decimals = decimals;
    }
}

/// The number times ten to the `decimals`, where the way back gives the very same bits.
fn as_whole(number: f64, decimals: u8) -> Option<i64> {
    let scaled = (number * POWERS[usize::from(decimals)]).round();
    if scaled.abs() > EXACT_MAX {
        return None;
    }
    let whole = scaled as i64;
    (from_whole(whole, decimals).to_bits() == number.to_bits()).then_some(whole)
}

fn from_whole(whole: i64, decimals: u8) -> f64 {
    whole as f64 / POWERS[usize::from(decimals)]
}

const POWERS: [f64; DECIMALS_MAX as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
/// 2^53: up to here every whole number is a float of its own. NaN and the infinities are not below it.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// A series being read; ends at the end of the bytes, or where they make no sense.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    before: Before,
    first: bool,
}

impl<'a> Decoder<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, before: Before::default(), first: true }
    }

    fn sample(&mut self) -> Option<Sample> {
        let [tag] = self.take()?;
        let at = self.time()?;
        let value = self.value(tag & KIND)?;
        let quality = match (&value, tag & UNCERTAIN != 0) {
            (None, _) => Quality::Bad,
            (_, true) => Quality::Uncertain,
            (_, false) => Quality::Good,
        };
        Some(Sample { at, value, quality })
    }

    fn time(&mut self) -> Option<Millis> {
        let step = self.signed()?.wrapping_add(self.before.step);
        self.before.at = self.before.at.wrapping_add(step);
        self.before.step = if self.first { 0 } else { step };
        self.first = false;
        Some(self.before.at)
    }

    /// The outer `None`: the bytes make no sense.
    fn value(&mut self, kind: u8) -> Option<Option<Value>> {
        Some(Some(match kind {
            BAD => return Some(None),
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            SAME_TEXT => Value::Text(self.before.text.clone()?),
            SIGNED => Value::Signed(self.whole()?),
            UNSIGNED => Value::Unsigned(self.whole()?.cast_unsigned()),
            TEXT => Value::Text(self.text()?),
            RAW => Value::Number(f64::from_le_bytes(self.take()?)),
            _ => {
                let decimals = kind - DECIMAL;
                if decimals < self.before.decimals {
                    return None;
                }
                self.before.refine(decimals);
                Value::Number(from_whole(self.whole()?, decimals))
            }
        }))
    }

    fn whole(&mut self) -> Option<i64> {
        self.before.whole = self.before.whole.wrapping_add(self.signed()?);
        Some(self.before.whole)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        let text: Arc<str> = std::str::from_utf8(text).ok()?.into();
        self.before.text = Some(text.clone());
        Some(text)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }

    fn signed(&mut self) -> Option<i64> {
        let zigzag = self.varint()?;
        Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

impl Iterator for Decoder<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        let sample = self.sample();
        if sample.is_none() {
            self.rest = &[];
        }
        sample
    }
}

/// Small numbers of either sign become small unsigned ones.
fn push_signed(data: &mut Vec<u8>, value: i64) {
    push_varint(data, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn push_varint(data: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        data.push(value as u8 | 0x80);
        value >>= 7;
    }
    data.push(value as u8);
}

/// CROSS JOIN is SQLite's word for this order, in which the rows come as they are asked for and need no sorting.
const BETWEEN: &str = "SELECT block.data FROM flush CROSS JOIN block ON block.flush = flush.id
         AND block.point = (SELECT point FROM name WHERE id = ?1)
     WHERE flush.last >= ?2 AND flush.first <= ?3 ORDER BY flush.last, flush.first, flush.id";

/// Gives `take` the samples of one point between two times, both included, oldest flush first, until it breaks off.
pub fn between(
    db: &Connection,
    point: &str,
    from: Millis,
    to: Millis,
    mut take: impl FnMut(Sample) -> ControlFlow<()>,
) -> rusqlite::Result<()> {
    let mut query = db.prepare_cached(BETWEEN)?;
    let mut rows = query.query(params![point, from, to])?;
    while let Some(row) = rows.next()? {
        let mut block = Decoder::new(row.get_ref(0)?.as_blob()?).filter(|s| (from..=to).contains(&s.at));
        if block.try_for_each(&mut take).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::{PointId, Reason};

    fn encode(readings: &[Reading]) -> Vec<u8> {
        let mut encoder = Encoder::default();
        for reading in readings {
            encoder.push(reading);
        }
        encoder.bytes().to_vec()
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
        fn what_comes_out_is_exactly_what_went_in(readings in proptest::collection::vec(reading(), 0..50)) {
            let data = encode(&readings);
            let back: Vec<_> = Decoder::new(&data).map(|s| key(&s)).collect();
            let there: Vec<_> = readings
                .iter()
                .map(|r| key(&Sample { at: r.at, value: r.value.clone(), quality: r.quality }))
                .collect();
            prop_assert_eq!(back, there);
        }

        #[test]
        fn noise_ends_a_series_and_nothing_else(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Decoder::new(&data).count() <= data.len());
        }
    }

    #[test]
    fn a_plot_looks_only_at_what_ends_after_it_begins_and_sorts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let db = super::super::file::history(dir.path()).unwrap();
        let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN {BETWEEN}")).unwrap();
        let rows = query.query_map(params!["p.v", 0, 1], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = rows.map(Result::unwrap).collect();
        let plan = plan.join("; ");
        assert!(plan.contains("flush USING COVERING INDEX flush_span (last>?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }

    #[test]
    fn a_minute_of_a_steady_poll_takes_less_than_four_bytes_a_reading() {
        let readings: Vec<_> = (0..60)
            .map(|n| {
                let at = 1_763_712_000_000 + n * 1000 + n * 7 % 13;
                Reading::good(PointId(0), at, Value::Number((2300 + n * n % 37) as f64 / 10.0))
            })
            .collect();
        let bytes = encode(&readings).len();
        assert!(bytes < 60 * 4, "{bytes} bytes");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "压".repeat(200);
        let data = encode(&[Reading::good(PointId(0), 0, Value::Text(text.as_str().into()))]);
        let Some(Value::Text(back)) = Decoder::new(&data).next().and_then(|s| s.value) else {
            panic!("no text came back");
        };
        assert!(text.starts_with(&*back) && back.len() > TEXT_BYTES_MAX - 3 && back.len() <= TEXT_BYTES_MAX);
    }
}
