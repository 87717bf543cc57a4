//! Raw words or payload → value. Pure.
//!
//! Two steps: words become a raw value by type and order, and a raw value, from a register or a payload,
//! becomes the one that people know by a [`Transform`]. What cannot be read is `None` or a reason, never a stand-in.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use crate::reading::{Reason, Value};

/// The type of a point as its registers hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// 16 flags of one register; the value is the text of the set bits (`0,3`), or their names by `map`.
    Bits,
    /// 16 flags of one register; the value is the name, by `map`, of the first that is set in the order of the map, and that
    /// of `else` where none is.
    State,
    /// Four decimal digits of one register, eight of two; a digit above 9 is no value.
    Bcd16,
    Bcd32,
    /// So many bits of one register, from this one (0 the lowest): a number.
    Field {
        from: u8,
        width: u8,
    },
    /// ASCII, two characters a register, over so many registers.
    Text(u16),
}

impl Type {
    /// How many registers it takes.
    pub fn registers(self) -> u16 {
        match self {
            Type::Bool | Type::U16 | Type::I16 | Type::Bits | Type::State | Type::Bcd16 => 1,
            Type::Field { .. } => 1,
            Type::U32 | Type::I32 | Type::F32 | Type::Bcd32 => 2,
            Type::U64 | Type::I64 | Type::F64 => 4,
            Type::Text(n) => n,
        }
    }
}

/// In which order a value's bytes arrive; A is the most significant one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As sent: big-endian.
    #[default]
    Abcd,
    /// Words reversed.
    Cdab,
    /// Bytes reversed in each word.
    Badc,
    /// All reversed.
    Dcba,
}

/// What is done to a raw value to make it the one that people know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transform {
    pub scale: Option<f64>,
    pub offset: f64,
    /// Raw word → text: `[("true", "closed"), ("false", "open")]`. A value not named here is unreadable.
    /// Empty: no map.
    pub map: Vec<(String, String)>,
    /// Raw values by which the device says that its sensor is broken: `7FFF`. Compared as the unsigned word or words.
    pub faults: Vec<u64>,
}

/// Beyond this a float no longer holds every whole number.
const EXACT: u64 = 1 << 53;

// --- words ---

/// More decimals than a register's number can have digits are no count of decimals.
const DECIMALS_SAID_MOST: u16 = 6;

/// The value of a point that stands in `words`; coils and discrete inputs are words of 0 and 1. `decimals`: what
/// another register of the device says of its decimal point.
///
/// Bad where it is no value (not a number, not printable, too few words, a word that `map` does not know, decimals that
/// cannot be), and where it is the device's own word for a broken sensor.
pub fn value(
    kind: Type,
    order: Order,
    bit: Option<u8>,
    transform: &Transform,
    decimals: u16,
    words: &[u16],
) -> Result<Value, Reason> {
    if words.len() == usize::from(kind.registers()) && transform.faults.contains(&joined(words, order)) {
        return Err(Reason::SensorFault);
    }
    let raw = decode_words(kind, order, bit, words).and_then(|raw| shifted(raw, decimals));
    let value = raw.and_then(|raw| match (kind, &raw) {
        (Type::Bits, Value::Unsigned(flags)) => Some(transform.names(*flags as u16)),
        (Type::State, Value::Unsigned(flags)) => transform.first(*flags as u16),
        _ => transform.apply(raw),
    });
    value.ok_or(Reason::Unreadable)
}

/// raw / 10^decimals
fn shifted(raw: Value, decimals: u16) -> Option<Value> {
    match decimals {
        0 => Some(raw),
        1..=DECIMALS_SAID_MOST => Some(Value::Number(raw.number()? / 10f64.powi(decimals.into()))),
        _ => None,
    }
}

/// What the registers hold, before any transform. Flags ([`Type::Bits`]) come as the whole word.
pub fn decode_words(kind: Type, order: Order, bit: Option<u8>, words: &[u16]) -> Option<Value> {
    if words.len() != kind.registers() as usize {
        return None;
    }
    Some(match kind {
        Type::Bool => Value::Bool(match bit {
            Some(bit @ 0..16) => word(words, order) >> bit & 1 == 1,
            Some(_) => return None,
            None => words[0] != 0,
        }),
        Type::U16 | Type::Bits | Type::State => Value::Unsigned(word(words, order).into()),
        Type::I16 => Value::Signed((word(words, order) as i16).into()),
        Type::U32 => Value::Unsigned(joined(words, order)),
        Type::I32 => Value::Signed((joined(words, order) as i32).into()),
        Type::U64 => Value::Unsigned(joined(words, order)),
        Type::I64 => Value::Signed(joined(words, order) as i64),
        Type::F32 => Value::Number(as_written(f32::from_bits(joined(words, order) as u32))?),
        Type::F64 => Value::Number(f64::from_bits(joined(words, order))),
        Type::Bcd16 | Type::Bcd32 => Value::Unsigned(bcd(joined(words, order))?),
        Type::Field { from, width } => {
            if width == 0 || u32::from(from) + u32::from(width) > u16::BITS {
                return None;
            }
            let mask = (1u32 << width) - 1;
            Value::Unsigned((u32::from(word(words, order)) >> from & mask).into())
        }
        Type::Text(_) => text(words, order)?,
    })
}

/// The words, most significant first.
fn ordered(words: &[u16], order: Order) -> impl Iterator<Item = u16> {
    let (reversed, swapped) = match order {
        Order::Abcd => (false, false),
        Order::Cdab => (true, false),
        Order::Badc => (false, true),
        Order::Dcba => (true, true),
    };
    (0..words.len()).map(move |i| {
        let word = words[if reversed { words.len() - 1 - i } else { i }];
        if swapped { word.swap_bytes() } else { word }
    })
}

fn word(words: &[u16], order: Order) -> u16 {
    joined(words, order) as u16
}

fn joined(words: &[u16], order: Order) -> u64 {
    ordered(words, order).fold(0, |all, word| all << 16 | u64::from(word))
}

/// Decimal digits, four bits each.
fn bcd(mut digits: u64) -> Option<u64> {
    let (mut value, mut place) = (0, 1);
    while digits > 0 {
        let digit = digits & 0xF;
        if digit > 9 {
            return None;
        }
        value += digit * place;
        place *= 10;
        digits >>= 4;
    }
    Some(value)
}

/// The shortest decimal that reads back as this f32: a meter that says 230.2 is not told as 230.1999969.
fn as_written(v: f32) -> Option<f64> {
    let mut room = [0; 32];
    let mut text = Cursor::new(&mut room[..]);
    write!(text, "{v:e}").ok()?;
    let length = text.position() as usize;
    str::from_utf8(&room[..length]).ok()?.parse().ok()
}

fn text(words: &[u16], order: Order) -> Option<Value> {
    let bytes: Vec<u8> = ordered(words, order).flat_map(u16::to_be_bytes).collect();
    let text = str::from_utf8(&bytes).ok()?.trim_matches(['\0', ' ']);
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    printable.then(|| Value::Text(text.into()))
}

// --- Transform ---

impl Transform {
    /// The raw value as people know it. Scale and offset concern numbers only, a map concerns everything.
    pub fn apply(&self, raw: Value) -> Option<Value> {
        if !self.map.is_empty() {
            return self.named(&raw.to_string());
        }
        match raw {
            Value::Bool(_) | Value::Text(_) => Some(raw),
            Value::Unsigned(v) if self.is_plain() && v > EXACT => Some(raw),
            Value::Signed(v) if self.is_plain() && v.unsigned_abs() > EXACT => Some(raw),
            Value::Unsigned(_) | Value::Signed(_) | Value::Number(_) => self.scaled(raw.number()?),
        }
    }

    fn is_plain(&self) -> bool {
        self.scale.is_none() && self.offset == 0.0
    }

    fn named(&self, word: &str) -> Option<Value> {
        let (_, name) = self.map.iter().find(|(raw, _)| raw == word)?;
        Some(Value::Text(name.as_str().into()))
    }

    /// To the decimals of the scale; where it has none, to those of the raw value and the offset.
    fn scaled(&self, raw: f64) -> Option<Value> {
        if !raw.is_finite() {
            return None;
        }
        if self.is_plain() {
            return Some(Value::Number(raw));
        }
        let value = raw * self.scale.unwrap_or(1.0) + self.offset;
        let places = match self.scale.map_or(0, decimals) {
            0 => decimals(raw),
            places => places,
        };
        let value = rounded(value, places.max(decimals(self.offset)));
        value.is_finite().then_some(Value::Number(value))
    }

    /// The first flag of the map that is set, by name.
    fn first(&self, flags: u16) -> Option<Value> {
        let is_set = |raw: &str| raw.parse::<u32>().is_ok_and(|bit| bit < 16 && flags >> bit & 1 == 1);
        let set = self.map.iter().find(|(raw, _)| is_set(raw));
        let (_, name) = set.or_else(|| self.map.iter().find(|(raw, _)| raw == "else"))?;
        Some(Value::Text(name.as_str().into()))
    }

    /// The set flags by name, or by number where they have none.
    fn names(&self, flags: u16) -> Value {
        let mut names = String::new();
        for bit in (0..16u8).filter(|bit| flags >> bit & 1 == 1) {
            if !names.is_empty() {
                names.push(',');
            }
            match self.map.iter().find(|(raw, _)| raw.parse() == Ok(bit)) {
                Some((_, name)) => names.push_str(name),
                // Writing into a String cannot fail.
                None => _ = write!(names, "{bit}"),
            }
        }
        Value::Text(if names.is_empty() { "none" } else { names.as_str() }.into())
    }
}

const DECIMALS_MOST: i32 = 15;

/// How many decimals a number is written with.
fn decimals(v: f64) -> i32 {
    (0..DECIMALS_MOST).find(|&places| rounded(v, places) == v).unwrap_or(DECIMALS_MOST)
}

/// 305 × 0.1 is 30.500000000000004 to a float, and 30.5 to everyone else.
fn rounded(v: f64, places: i32) -> f64 {
    let shift = 10f64.powi(places);
    if (v * shift).abs() >= EXACT as f64 {
        return v;
    }
    // Adding 0.0 turns -0.0 into 0.0.
    (v * shift).round() / shift + 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

    /// The registers of a device that keeps a value's big-endian bytes in this order. Worked on bytes, not on
    /// words, so that it is not the decoder turned around.
    fn stored(bytes: &[u8], order: Order) -> Vec<u16> {
        let at = |i: usize| {
            let last = bytes.len() - 1;
            match order {
                Order::Abcd => bytes[i],
                Order::Dcba => bytes[last - i],
                Order::Badc => bytes[i ^ 1],
                Order::Cdab => bytes[(last - i) ^ 1],
            }
        };
        (0..bytes.len() / 2).map(|w| u16::from_be_bytes([at(2 * w), at(2 * w + 1)])).collect()
    }

    #[test]
    fn every_type_is_read_in_every_order() {
        let cases: Vec<(Type, Vec<u8>, Value)> = vec![
            (Type::U16, 0xFEDCu16.to_be_bytes().into(), Value::Unsigned(0xFEDC)),
            (Type::I16, (-205i16).to_be_bytes().into(), Value::Signed(-205)),
            (Type::U32, 0xFEDC_BA98u32.to_be_bytes().into(), Value::Unsigned(0xFEDC_BA98)),
            (Type::I32, (-70_000i32).to_be_bytes().into(), Value::Signed(-70_000)),
            (Type::U64, u64::MAX.to_be_bytes().into(), Value::Unsigned(u64::MAX)),
            (Type::I64, (i64::MIN + 5).to_be_bytes().into(), Value::Signed(i64::MIN + 5)),
            (Type::F32, 230.2f32.to_be_bytes().into(), Value::Number(230.2)),
            (Type::F64, (-1.0e-7f64).to_be_bytes().into(), Value::Number(-1.0e-7)),
            (Type::Bits, 0x8001u16.to_be_bytes().into(), Value::Unsigned(0x8001)),
            (Type::Bcd16, vec![0x09, 0x57], Value::Unsigned(957)),
            (Type::Bcd32, vec![0x12, 0x34, 0x56, 0x78], Value::Unsigned(12_345_678)),
            (Type::Field { from: 4, width: 6 }, vec![0xF6, 0xA7], Value::Unsigned(0x2A)),
            (Type::Text(3), b"AB-12\0".to_vec(), Value::Text("AB-12".into())),
        ];
        for (kind, bytes, expected) in cases {
            for order in ORDERS {
                let words = stored(&bytes, order);
                assert_eq!(
                    decode_words(kind, order, None, &words),
                    Some(expected.clone()),
                    "{kind:?} {order:?} {words:04X?}"
                );
            }
        }
    }

    #[test]
    fn a_bool_is_a_bit_of_a_register_or_whether_it_holds_anything() {
        let bit = |bit, word| decode_words(Type::Bool, Order::Abcd, bit, &[word]);
        assert_eq!(bit(Some(3), 0b1000), Some(Value::Bool(true)));
        assert_eq!(bit(Some(2), 0b1000), Some(Value::Bool(false)));
        assert_eq!(bit(Some(15), 0x8000), Some(Value::Bool(true)));
        assert_eq!(bit(Some(16), 0xFFFF), None);
        assert_eq!(bit(None, 0xFF00), Some(Value::Bool(true)));
        assert_eq!(decode_words(Type::Bool, Order::Badc, Some(0), &[0x0100]), Some(Value::Bool(true)));
    }

    #[test]
    fn flags_are_their_numbers_or_names() {
        let map = vec![("0".into(), "leak".into()), ("1".into(), "break".into())];
        let named = Transform { map, ..Transform::default() };
        let bits = |t: &Transform, word| value(Type::Bits, Order::Abcd, None, t, 0, &[word]);
        assert_eq!(bits(&Transform::default(), 0b1001), Ok(Value::Text("0,3".into())));
        assert_eq!(bits(&Transform::default(), 0), Ok(Value::Text("none".into())));
        assert_eq!(bits(&named, 0b1011), Ok(Value::Text("leak,break,3".into())));
    }

    #[test]
    fn a_field_is_so_many_bits_of_a_register_and_no_more_than_it_has() {
        let field = |from, width, word| decode_words(Type::Field { from, width }, Order::Abcd, None, &[word]);
        assert_eq!(field(0, 16, 0xBEEF), Some(Value::Unsigned(0xBEEF)));
        assert_eq!(field(8, 4, 0xBEEF), Some(Value::Unsigned(0xE)));
        assert_eq!(field(15, 1, 0x8000), Some(Value::Unsigned(1)));
        for (from, width) in [(0, 0), (0, 17), (15, 2), (16, 1), (255, 255)] {
            assert_eq!(field(from, width, 0xFFFF), None, "{from} {width}");
        }
    }

    #[test]
    fn decimal_digits_above_nine_are_no_value() {
        let bcd = |word| decode_words(Type::Bcd16, Order::Abcd, None, &[word]);
        assert_eq!(bcd(0x0000), Some(Value::Unsigned(0)));
        assert_eq!(bcd(0x9999), Some(Value::Unsigned(9999)));
        for wrong in [0x000A, 0x00F0, 0x0B00, 0xA000, 0xFFFF] {
            assert_eq!(bcd(wrong), None, "{wrong:04X}");
        }
        let long = |words| decode_words(Type::Bcd32, Order::Cdab, None, words);
        assert_eq!(long(&[0x5678, 0x1234]), Some(Value::Unsigned(12_345_678)));
        assert_eq!(long(&[0x9999, 0x9999]), Some(Value::Unsigned(99_999_999)));
        assert_eq!(long(&[0x9999, 0x999A]), None);
    }

    #[test]
    fn a_devices_word_for_a_broken_sensor_is_no_value() {
        let faults = vec![0x7FFF, 0xFFFF];
        let t = Transform { scale: Some(0.1), faults, ..Transform::default() };
        let read = |kind, order, words: &[u16]| value(kind, order, None, &t, 0, words);
        assert_eq!(read(Type::I16, Order::Abcd, &[0x7FFF]), Err(Reason::SensorFault));
        assert_eq!(read(Type::I16, Order::Abcd, &[0xFFFF]), Err(Reason::SensorFault));
        assert_eq!(read(Type::I16, Order::Badc, &[0xFF7F]), Err(Reason::SensorFault));
        assert_eq!(read(Type::I16, Order::Abcd, &[0x7FFE]), Ok(Value::Number(3276.6)));
        assert_eq!(read(Type::U32, Order::Cdab, &[0x7FFF, 0]), Err(Reason::SensorFault));
        assert_eq!(read(Type::U32, Order::Abcd, &[0x7FFF, 0]), Ok(Value::Number(214_741_811.2)));
        assert_eq!(read(Type::U32, Order::Abcd, &[0x7FFF]), Err(Reason::Unreadable), "too few words");
    }

    #[test]
    fn another_register_may_say_where_the_decimal_point_stands() {
        let plain = Transform::default();
        let read = |decimals, word| value(Type::I16, Order::Abcd, None, &plain, decimals, &[word]);
        assert_eq!(read(0, 1234), Ok(Value::Number(1234.0)));
        assert_eq!(read(2, 1234), Ok(Value::Number(12.34)));
        assert_eq!(read(3, -5i16 as u16), Ok(Value::Number(-0.005)));
        assert_eq!(read(6, 1), Ok(Value::Number(0.000_001)));
        assert_eq!(read(7, 1), Err(Reason::Unreadable));
        assert_eq!(read(0xFFFF, 1), Err(Reason::Unreadable));
        let feet = Transform { scale: Some(0.3048), ..Transform::default() };
        assert_eq!(value(Type::U16, Order::Abcd, None, &feet, 1, &[100]), Ok(Value::Number(3.048)));
        assert_eq!(value(Type::Text(1), Order::Abcd, None, &plain, 1, &[0x4142]), Err(Reason::Unreadable));
    }

    fn scaled(scale: f64, offset: f64, raw: Value) -> Option<Value> {
        let scale = Some(scale);
        Transform { scale, offset, ..Transform::default() }.apply(raw)
    }

    #[test]
    fn scaled_values_have_the_decimals_of_their_scale() {
        let number = |v| Some(Value::Number(v));
        assert_eq!(scaled(0.1, 0.0, Value::Unsigned(305)), number(30.5));
        assert_eq!(scaled(0.1, 0.0, Value::Signed(-205)), number(-20.5));
        assert_eq!(scaled(0.001, 0.0, Value::Unsigned(1_234_567)), number(1234.567));
        assert_eq!(scaled(0.1, 0.0, Value::Number(4753.68)), number(475.4));
        assert_eq!(scaled(10.0, 0.5, Value::Signed(-3)), number(-29.5));
        assert_eq!(scaled(1000.0, 0.0, Value::Number(1.2345)), number(1234.5));
        assert_eq!(scaled(1.0, -40.0, Value::Number(21.57)), number(-18.43));
        assert_eq!(scaled(0.1, 0.0, Value::Bool(true)), Some(Value::Bool(true)));
        assert_eq!(scaled(0.1, 0.0, Value::Number(-0.01)).unwrap().to_string(), "0");
    }

    #[test]
    fn whole_numbers_stay_exact() {
        let plain = Transform::default();
        assert_eq!(plain.apply(Value::Unsigned(1 << 53)), Some(Value::Number((1u64 << 53) as f64)));
        assert_eq!(plain.apply(Value::Unsigned((1 << 53) + 1)), Some(Value::Unsigned((1 << 53) + 1)));
        assert_eq!(plain.apply(Value::Signed(i64::MIN)), Some(Value::Signed(i64::MIN)));
        assert_eq!(plain.apply(Value::Signed(-7)), Some(Value::Number(-7.0)));
    }

    #[test]
    fn what_is_no_value_is_none() {
        let f32_words = |v: f32| stored(&v.to_be_bytes(), Order::Abcd);
        for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let read = value(Type::F32, Order::Abcd, None, &Transform::default(), 0, &f32_words(v));
            assert_eq!(read, Err(Reason::Unreadable));
        }
        assert_eq!(Transform::default().apply(Value::Number(f64::NAN)), None);
        assert_eq!(scaled(1e300, 0.0, Value::Number(1e300)), None);
        assert_eq!(decode_words(Type::Text(1), Order::Abcd, None, &[0x4107]), None);
        assert_eq!(decode_words(Type::Text(1), Order::Abcd, None, &[0xC3A9]), None);
        assert_eq!(decode_words(Type::U32, Order::Abcd, None, &[1]), None);
    }

    #[test]
    fn a_map_names_raw_values_and_knows_no_others() {
        let map = [("true", "closed"), ("false", "open"), ("1", "running")];
        let map = map.map(|(raw, name)| (raw.into(), name.into())).to_vec();
        let t = Transform { map, ..Transform::default() };
        assert_eq!(t.apply(Value::Bool(true)), Some(Value::Text("closed".into())));
        assert_eq!(t.apply(Value::Unsigned(1)), Some(Value::Text("running".into())));
        assert_eq!(t.apply(Value::Number(1.0)), Some(Value::Text("running".into())));
        assert_eq!(t.apply(Value::Unsigned(2)), None);
        assert_eq!(t.apply(Value::Text("ajar".into())), None);
    }

    proptest! {
        #[test]
        fn an_f32_is_told_as_short_as_it_can_be_and_reads_back(bits: u32) {
            let v = f32::from_bits(bits);
            if v.is_finite() {
                let told = as_written(v).unwrap();
                prop_assert_eq!(told as f32, v);
                prop_assert_eq!(told, v.to_string().parse::<f64>().unwrap());
            }
        }

        #[test]
        fn any_words_decode_without_panic(
            words: Vec<u16>, bit: Option<u8>, n in 0u16..20, scale: f64, decimals: u16, from: u8, width: u8,
        ) {
            let t = Transform { scale: Some(scale), offset: 0.1, ..Transform::default() };
            let field = Type::Field { from, width };
            let short = [Type::Bool, Type::U16, Type::Bits, Type::Bcd16, field];
            let long = [Type::I32, Type::U64, Type::F32, Type::F64, Type::Bcd32, Type::Text(n)];
            for kind in short.into_iter().chain(long) {
                for order in ORDERS {
                    if let Ok(Value::Number(v)) = value(kind, order, bit, &t, decimals, &words) {
                        prop_assert!(v.is_finite());
                    }
                }
            }
        }
    }
}
