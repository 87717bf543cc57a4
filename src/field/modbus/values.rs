//! What was heard of a device → readings of its points. Pure.

use std::sync::Arc;

use super::pdu::Span;
use super::{By, Point, Table};
use crate::field::decode;
use crate::reading::{Millis, Reading, Reason, Value};

/// The words of one question's answers.
#[derive(Debug, Default)]
pub struct Heard(Vec<(Span, Vec<u16>)>);

impl Heard {
    pub fn add(&mut self, span: Span, words: Vec<u16>) {
        self.0.push((span, words));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn words(&self, span: &Span) -> Option<&[u16]> {
        self.0.iter().filter(|(read, _)| read.covers(span)).find_map(|(read, words)| {
            let place = usize::from(span.register - read.register);
            words.get(place..place + usize::from(span.count))
        })
    }

    fn word(&self, table: Table, register: u16) -> Option<u16> {
        self.words(&Span { table, register, count: 1 })?.first().copied()
    }
}

/// Bad, where the device refused its registers, or what says how to read them.
pub fn reading(point: &Point, heard: &Heard, at: Millis) -> Reading {
    match told(point, heard) {
        Ok((value, unit)) => Reading { unit, ..Reading::good(point.id, at, value) },
        Err(reason) => Reading::bad(point.id, at, reason),
    }
}

fn told(point: &Point, heard: &Heard) -> Result<(Value, Option<Arc<str>>), Reason> {
    let words = heard.words(&point.span()).ok_or(Reason::DeviceError)?;
    let decimals = match point.by.decimals {
        Some((table, register)) => heard.word(table, register).ok_or(Reason::DeviceError)?,
        None => 0,
    };
    let unit = unit(&point.by, heard)?;
    let value = decode::value(point.kind, point.order, point.bit, &point.transform, decimals, words)?;
    Ok((value, unit))
}

fn unit(by: &By, heard: &Heard) -> Result<Option<Arc<str>>, Reason> {
    let Some((table, register, codes)) = &by.unit else { return Ok(None) };
    let code = heard.word(*table, *register).ok_or(Reason::DeviceError)?;
    let known = codes.iter().find(|(known, _)| *known == code);
    known.map(|(_, unit)| Some(unit.clone())).ok_or(Reason::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::decode::{Transform, Type};
    use crate::reading::{PointId, Quality};

    fn span(register: u16, count: u16) -> Span {
        Span { table: Table::Holding, register, count }
    }

    fn heard(answers: &[(u16, &[u16])]) -> Heard {
        Heard(answers.iter().map(|(at, words)| (span(*at, words.len() as u16), words.to_vec())).collect())
    }

    /// QDY30A: level = register 4 / 10^(register 3), in the unit that register 2 says.
    fn level() -> Point {
        let codes = vec![(1, "kPa".into()), (16, "m".into())];
        let by = By { decimals: Some((Table::Holding, 3)), unit: Some((Table::Holding, 2, codes)) };
        Point { by, ..Point::new(PointId(0), Table::Holding, 4, Type::I16) }
    }

    fn of(answers: &[(u16, &[u16])]) -> (Result<Value, Reason>, Option<Arc<str>>) {
        let reading = reading(&level(), &heard(answers), 0);
        assert_eq!(reading.value.is_none(), reading.quality == Quality::Bad);
        (reading.value.ok_or_else(|| reading.reason.unwrap()), reading.unit)
    }

    #[test]
    fn a_level_is_in_the_unit_and_decimals_that_the_device_says() {
        assert_eq!(of(&[(2, &[16, 3, 1234])]), (Ok(Value::Number(1.234)), Some("m".into())));
        assert_eq!(of(&[(2, &[1, 0, 1234])]), (Ok(Value::Number(1234.0)), Some("kPa".into())));
        assert_eq!(of(&[(2, &[1, 1, 0xFFFF])]), (Ok(Value::Number(-0.1)), Some("kPa".into())));
        assert_eq!(of(&[(4, &[5]), (2, &[16]), (3, &[1])]), (Ok(Value::Number(0.5)), Some("m".into())));
    }

    #[test]
    fn what_cannot_be_a_unit_or_decimals_makes_no_value() {
        assert_eq!(of(&[(2, &[99, 3, 1234])]), (Err(Reason::Unreadable), None));
        assert_eq!(of(&[(2, &[16, 7, 1234])]), (Err(Reason::Unreadable), None));
        assert_eq!(of(&[(4, &[1234]), (2, &[16])]), (Err(Reason::DeviceError), None), "decimals refused");
        assert_eq!(of(&[(3, &[1, 1234])]), (Err(Reason::DeviceError), None), "unit refused");
        assert_eq!(of(&[(2, &[16, 3])]), (Err(Reason::DeviceError), None), "the value refused");
    }

    #[test]
    fn a_broken_sensor_has_no_value_but_a_reason_of_its_own() {
        let transform = Transform { scale: Some(0.01), faults: vec![0x7FFF], ..Transform::default() };
        let point = Point { transform, ..Point::new(PointId(0), Table::Holding, 4, Type::I16) };
        let read = |word| reading(&point, &heard(&[(4, &[word])]), 0);
        assert_eq!((read(0x7FFF).value, read(0x7FFF).reason), (None, Some(Reason::SensorFault)));
        assert_eq!(read(2150).value, Some(Value::Number(21.5)));
    }
}
