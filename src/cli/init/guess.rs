//! Which profile a device has, judged by what the profile's registers say: each value that lies where such a value usually
//! lies speaks for it, by so many bits as it would be unlikely by chance; one that cannot be speaks against it for good. Pure.

use crate::field::Exchange;
use crate::field::decode::Type;
use crate::field::modbus::Point;
use crate::reading::{Site, Value};

/// Below this it may be chance.
pub const BITS_MIN: f64 = 4.0;
/// One value says no more than this: registers of a device go together.
const BITS_MAX: f64 = 8.0;
/// An unused register is 0 as well, and a flag is one of two.
const BITS_OF_A_ZERO: f64 = 0.25;
/// A register that the profile has and the device refuses.
const BITS_OF_A_REFUSAL: f64 = -4.0;
/// A float in a range of sensible numbers: of its 254 exponents some twenty are.
const BITS_OF_A_FLOAT: f64 = 4.0;
/// No sensor says less, but 0; such a number is a float with its words the wrong way round.
const FLOAT_MIN: f64 = 1e-4;
/// So many values are shown of one.
const SHOWN_MOST: usize = 4;

/// What speaks for a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    pub bits: f64,
    /// `temperature 23.1 °C`
    pub shows: Vec<String>,
}

/// Where values of a unit usually are, in houses.
fn usual(unit: &str) -> Option<(f64, f64)> {
    Some(match unit {
        "V" => (90.0, 450.0),
        "Hz" => (45.0, 65.0),
        "°C" => (-25.0, 60.0),
        "%" => (5.0, 100.0),
        "ppm" => (350.0, 3000.0),
        _ => return None,
    })
}

/// `None`: it cannot be.
pub fn weigh(points: &[Point], site: &Site, exchanges: &[Exchange]) -> Option<Weight> {
    let seen = |point: &Point| exchanges.iter().flat_map(|e| &e.values).find(|seen| seen.point == point.id);
    let mut weight = Weight { bits: 0.0, shows: Vec::new() };
    for point in points {
        let Some(Ok(value)) = seen(point).map(|seen| &seen.value) else {
            weight.bits += BITS_OF_A_REFUSAL;
            continue;
        };
        let named = site.point(point.id);
        weight.bits += bits(point, value, named.range, named.unit.as_deref())?;
        let own = named.id.rsplit('.').next().unwrap_or(&named.id);
        let unit = named.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
        if weight.shows.len() < SHOWN_MOST {
            weight.shows.push(format!("{own} {value}{unit}"));
        }
    }
    Some(weight)
}

/// How much one value says; `None`: no such device says that.
fn bits(point: &Point, value: &Value, range: Option<(f64, f64)>, unit: Option<&str>) -> Option<f64> {
    let Some(number) = value.number() else { return Some(BITS_OF_A_ZERO) };
    if range.is_some_and(|(low, high)| !(low..=high).contains(&number)) {
        return None;
    }
    // A unit that the device itself names by a code that is known.
    let named = if point.by.unit.is_some() { BITS_MAX } else { 0.0 };
    if number == 0.0 {
        return Some(BITS_OF_A_ZERO + named);
    }
    let told = match point.kind {
        Type::F32 | Type::F64 if number.abs() < FLOAT_MIN => return None,
        Type::F32 | Type::F64 => BITS_OF_A_FLOAT + within(usual_of(unit), number) * 2.0,
        Type::U16 | Type::I16 => whole(16, point, range, usual_of(unit), number),
        Type::U32 | Type::I32 => whole(32, point, range, usual_of(unit), number),
        _ => BITS_OF_A_ZERO,
    };
    Some((told + named).min(BITS_MAX))
}

fn usual_of(unit: Option<&str>) -> Option<(f64, f64)> {
    unit.and_then(usual)
}

/// 1 inside, -1 outside, 0 where nothing is usual.
fn within(usual: Option<(f64, f64)>, number: f64) -> f64 {
    match usual {
        None => 0.0,
        Some((low, high)) if (low..=high).contains(&number) => 1.0,
        Some(_) => -1.0,
    }
}

/// How unlikely it is that a register of that many bits lies there by chance.
fn whole(
    width: i32,
    point: &Point,
    range: Option<(f64, f64)>,
    usual: Option<(f64, f64)>,
    number: f64,
) -> f64 {
    let inside = within(usual, number) > 0.0;
    let Some((low, high)) = usual.filter(|_| inside).or(range) else { return 1.0 };
    let scale = point.transform.scale.unwrap_or(1.0).abs();
    let chance = ((high - low) / scale / f64::from(width).exp2()).clamp(f64::MIN_POSITIVE, 1.0);
    -chance.log2() + within(usual, number).min(0.0) * 2.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{self, PROFILES};
    use crate::field::modbus::{self, Table};
    use crate::field::{Kind, Seen, decode};

    /// Registers of a made-up device; what is not named is refused.
    type Registers = BTreeMap<(Table, u16), u16>;

    fn floats(table: Table, values: &[(u16, f32)]) -> Registers {
        let words = values.iter().flat_map(|(at, value)| {
            let bits = value.to_bits();
            [((table, *at), (bits >> 16) as u16), ((table, at + 1), bits as u16)]
        });
        words.collect()
    }

    /// What a profile makes of them.
    fn weight(profile: &str, registers: &Registers) -> Option<Weight> {
        let text = format!(
            "[gateway]\nid = \"g\"\n[[channel]]\nid = \"c\"\ntype = \"modbus-tcp\"\naddress = \"127.0.0.1:502\"\n[[device]]\nid = \"d\"\nchannel = \"c\"\nunit = 1\nprofile = \"{profile}\"\n"
        );
        let loaded = config::load_sources(vec![("t.toml".into(), text)]).unwrap();
        let Kind::Modbus(settings) = &loaded.gateway.channels[0].kind else { panic!("Modbus") };
        let points = &settings.devices[0].points;
        let seen = |point: &Point| {
            let words: Option<Vec<u16>> = (0..point.kind.registers())
                .map(|n| registers.get(&(point.table, point.register + n)).copied())
                .collect();
            let words = words.unwrap_or_default();
            let coded = |(table, at, known): &(Table, u16, modbus::Units)| {
                known.iter().any(|(code, _)| registers.get(&(*table, *at)) == Some(code))
            };
            let raw = decode::decode_words(point.kind, point.order, point.bit, &words)
                .filter(|_| point.by.unit.as_ref().is_none_or(coded));
            let value = raw.and_then(|raw| point.transform.apply(raw)).ok_or("device-error");
            Seen { point: point.id, words, value, otherwise: Vec::new() }
        };
        let exchange = Exchange { values: points.iter().map(seen).collect(), ..Exchange::default() };
        weigh(points, &loaded.gateway.site, &[exchange])
    }

    /// Those that are proposed, the best first.
    fn proposed(registers: &Registers) -> Vec<&'static str> {
        let modbus = PROFILES.iter().filter(|(_, text)| text.contains("transport = \"modbus\""));
        let mut found: Vec<(f64, &str)> = modbus
            .filter_map(|(name, _)| Some((weight(name, registers)?.bits, *name)))
            .filter(|(bits, _)| *bits >= BITS_MIN)
            .collect();
        found.sort_by(|a, b| b.0.total_cmp(&a.0));
        found.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_device_is_known_by_what_it_says() {
        let climate: Registers = [((Table::Input, 1), 231), ((Table::Input, 2), 546)].into();
        assert_eq!(proposed(&climate), ["xy-md02"]);
        let shown = weight("xy-md02", &climate).unwrap().shows;
        assert_eq!(shown, ["temperature 23.1 °C", "humidity 54.6 %"]);
        let frost: Registers = [((Table::Input, 1), 0xFF33), ((Table::Input, 2), 546)].into();
        assert_eq!(proposed(&frost), ["xy-md02"]);
        let renke: Registers = [((Table::Holding, 0), 658), ((Table::Holding, 1), 0xFF9B)].into();
        assert_eq!(proposed(&renke), ["cwt-th", "rs-ws-n01"], "they have the same map: a person knows which");
        let meter = floats(
            Table::Input,
            &[(0, 230.2), (6, 4.1), (12, 940.0), (30, 0.98), (70, 50.01), (342, 1234.5)],
        );
        assert_eq!(proposed(&meter)[..2], ["sdm120", "sdm230"]);
        let three =
            [(0, 230.2), (2, 229.0), (4, 231.1), (6, 4.1), (8, 3.9), (10, 4.4), (12, 940.0), (30, 0.98)];
        let total = [(52, 2700.0), (62, 0.97), (70, 50.0), (72, 99.0), (342, 1234.5)];
        assert_eq!(proposed(&floats(Table::Input, &[&three[..], &total].concat()))[0], "sdm630");
        let co2: Registers = [((Table::Input, 3), 612)].into();
        assert!(proposed(&co2).contains(&"senseair-s8"));
    }

    #[test]
    fn what_says_nothing_is_nobody() {
        let zeros = |table: Table| (0..400).map(move |n| ((table, n), 0));
        assert_eq!(proposed(&zeros(Table::Input).chain(zeros(Table::Holding)).collect()), [""; 0]);
        assert_eq!(proposed(&Registers::new()), [""; 0]);
        let full: Registers = (0..400).map(|n| ((Table::Holding, n), 0xFFFF)).collect();
        assert_eq!(proposed(&full), [""; 0]);
        let swapped: Registers =
            floats(Table::Input, &[(0, 230.2)]).into_iter().map(|((t, at), w)| ((t, at ^ 1), w)).collect();
        assert_eq!(proposed(&swapped), [""; 0]);
    }
}
