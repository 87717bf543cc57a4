//! Wired M-Bus (EN 13757): short and long frames of a meter at its primary address, and the numbers in an answer. Pure.
//!
//! `10 40 A CS 16` resets the meter's link, which it confirms with `E5`; `10 7B A CS 16` asks for its data, which come as
//! `68 L L 68 C A CI … CS 16`, CS being the sum from C on. What the records mean is read by `m-bus-application-layer`;
//! here they are numbers in the unit of their VIF without its prefix: Wh, m³, W, °C. Only the first telegram of a meter
//! is asked for, and dates and texts are no numbers.

use m_bus_application_layer::data_information::DataType;
use m_bus_application_layer::{DataRecord, parse_application_layer};

use super::bits::{each, only};
use super::kr_cu16::sum;

const SHORT: u8 = 0x10;
const LONG: u8 = 0x68;
const END: u8 = 0x16;
const CONFIRMED: u8 = 0xE5;
const RESET: u8 = 0x40;
const REQUEST_DATA: u8 = 0x7B;
const DATA: u8 = 0x08;
/// An address to which every meter answers with its own.
const ANYONE: u8 = 0xFE;
/// Of a long frame, besides what L counts.
const FRAME_BYTES: usize = 6;
pub const ANSWER_BYTES: usize = FRAME_BYTES + 255;
/// A telegram of 255 bytes has fewer.
const RECORDS_MOST: usize = 128;

pub fn reset(address: u8) -> [u8; 5] {
    short(RESET, address)
}

pub fn request_data(address: u8) -> [u8; 5] {
    short(REQUEST_DATA, address)
}

/// Whether a meter confirms: with one byte, at the end of whatever was heard before it.
pub fn confirmed(bytes: &[u8]) -> bool {
    bytes.last() == Some(&CONFIRMED)
}

/// What the meter at this address says, from its CI on.
pub fn answer(bytes: &[u8], address: u8) -> Option<Vec<u8>> {
    only(each(bytes, |rest| {
        user_data(rest, address).map(|data| (FRAME_BYTES + 2 + data.len(), data.to_vec()))
    }))
}

/// The number of each record, in order; `None` where it is none.
pub fn numbers(data: &[u8]) -> Vec<Option<f64>> {
    let Ok(block) = parse_application_layer(data) else { return Vec::new() };
    let records = block.data_records().into_iter().flatten().take(RECORDS_MOST);
    records.map(|record| number(&record.ok()?)).collect()
}

fn number(record: &DataRecord<'_>) -> Option<f64> {
    let DataType::Number(raw) = record.value()? else { return None };
    let unit = record.value_information()?;
    let exponent = i32::try_from(unit.decimal_scale_exponent).ok()?;
    // Divided where the exponent is negative: 35 / 10 is 3.5, 35 × 0.1 is not.
    let number = match exponent {
        0.. => raw * 10f64.powi(exponent),
        _ => raw / 10f64.powi(-exponent),
    };
    (unit.decimal_offset_exponent == 0 && number.is_finite()).then_some(number)
}

fn user_data(bytes: &[u8], address: u8) -> Option<&[u8]> {
    match bytes {
        [LONG, length, again, LONG, rest @ ..] if length == again => {
            let length = usize::from(*length);
            let body = rest.get(..length)?;
            let is_right = rest.get(length..length + 2)? == [sum(body), END];
            match body {
                // The two bits left out say that it has urgent data, and whether it takes more.
                [control, a, data @ ..] if is_right && control & 0xCF == DATA => {
                    (*a == address || address == ANYONE).then_some(data)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn short(control: u8, address: u8) -> [u8; 5] {
    [SHORT, control, address, control.wrapping_add(address), END]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<_> = hex.chars().collect();
        digits.chunks(2).map(|d| u8::from_str_radix(&String::from_iter(d), 16).unwrap()).collect()
    }

    fn example() -> Vec<u8> {
        bytes("681f1f680802727856341224400107550000000313153100da023b13018b60043718021816")
    }

    fn allmess() -> Vec<u8> {
        bytes(
            "683d3d6808017200512002824d0204008800000407000000000c15030000000b2e0000000b3b0000000a5a88120a5e16050b6123\
             7700026c8c110227370d0f60006716",
        )
    }

    #[test]
    fn what_is_sent_is_as_in_the_standard() {
        assert_eq!(reset(5), [0x10, 0x40, 0x05, 0x45, 0x16]);
        assert_eq!(request_data(1), [0x10, 0x7B, 0x01, 0x7C, 0x16]);
        assert!(confirmed(&[0xE5]) && !confirmed(&reset(5)));
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let data = answer(&example(), 2).unwrap();
        let numbers = numbers(&data);
        assert_eq!(numbers[0], Some(12.565), "12 565 l of volume, as m³");
        assert_eq!(numbers.len(), 3);
        assert_eq!(answer(&example(), 3), None, "another meter's");
        assert!(answer(&example(), ANYONE).is_some());
        assert_eq!(answer(&example()[..36], 2), None, "cut");
    }

    #[test]
    fn a_captured_heat_meter_reads_as_pymeterbus_reads_it() {
        let data = answer(&[&[0xE5][..], &allmess(), &[0x16]].concat(), 1).unwrap();
        let numbers = numbers(&data);
        assert_eq!(numbers[..6], [Some(0.0), Some(0.3), Some(0.0), Some(0.0), Some(128.8), Some(51.6)]);
    }

    #[test]
    fn fuzz_mbus() {
        fuzz::flood("mbus", &[example(), allmess(), reset(1).to_vec()], |bytes| {
            if let Some(data) = answer(bytes, 2) {
                assert!(data.len() + FRAME_BYTES <= bytes.len());
                assert!(numbers(&data).len() <= data.len());
            }
            // The records themselves, without the sum that keeps most of these from them.
            assert!(numbers(bytes).len() <= RECORDS_MOST);
        });
    }

    #[test]
    fn every_answer_in_a_stream_is_found() {
        let frames = [example(), allmess()];
        let mut chance = fuzz::Chance::new(13757);
        for _ in 0..2000 {
            let (bytes, which) = fuzz::stream(&frames, &[0xE5, 0x68, 0x16, 0x10, 0x08], &mut chance);
            for (nth, address) in [(0, 2), (1, 1)] {
                assert_eq!(answer(&bytes, address).is_some(), which.contains(&nth), "{bytes:02X?}");
            }
        }
    }
}
