//! The units of one wire: what they are asked, and what their answers amount to.

use super::coalesce::{Read, coalesce};
use super::master::{Master, Outcome};
use super::{Device, Settings};
use crate::field::decode;
use crate::field::poll::{self, Answer, Ask, Failure};
use crate::field::wire::Link;
use crate::reading::{Millis, Reading, Reason};
use crate::time::now;

#[derive(Debug)]
pub struct Units {
    master: Master,
    units: Vec<Unit>,
    words: Vec<u16>,
}

#[derive(Debug)]
struct Unit {
    device: Device,
    reads: Vec<Read>,
}

/// The exceptions by which a gateway says that the unit behind it does not answer.
const GATEWAY_PATH_UNAVAILABLE: u8 = 0x0A;
const GATEWAY_NO_RESPONSE: u8 = 0x0B;

impl Units {
    pub fn new(settings: Settings) -> Self {
        let master = Master::new(&settings);
        let units =
            settings.devices.into_iter().map(|device| Unit { reads: coalesce(&device.points), device });
        Self { master, units: units.filter(|unit| !unit.reads.is_empty()).collect(), words: Vec::new() }
    }

    /// As they are polled.
    pub fn devices(&self) -> Vec<poll::Device> {
        let polled = |unit: &Unit| poll::Device {
            id: unit.device.id,
            rounds: vec![poll::Round {
                every: unit.device.poll,
                questions: (0..unit.reads.len()).collect(),
                points: unit.device.points.iter().map(|p| p.id).collect(),
            }],
        };
        self.units.iter().map(polled).collect()
    }
}

impl Ask for Units {
    fn opened(&mut self) {
        self.master.opened();
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let unit = &self.units[device];
        let read = &unit.reads[question];
        let asked = self.master.ask(link, unit.device.unit, &read.request, &mut self.words);
        match asked.await? {
            Outcome::Words => {
                unit.read(read, &self.words, readings);
                Ok(Answer::Read)
            }
            Outcome::Exception(GATEWAY_PATH_UNAVAILABLE | GATEWAY_NO_RESPONSE) => Err(Failure::Unreached),
            Outcome::Exception(_) => {
                unit.refused(read, readings);
                Ok(Answer::Refused)
            }
        }
    }
}

impl Unit {
    fn read(&self, read: &Read, words: &[u16], readings: &mut Vec<Reading>) {
        let at: Millis = now();
        readings.extend(read.points.iter().map(|&(nth, place)| {
            let point = &self.device.points[nth];
            let registers = usize::from(point.kind.registers());
            words
                .get(place..place + registers)
                .and_then(|words| decode::value(point.kind, point.order, point.bit, &point.transform, words))
                .map_or_else(
                    || Reading::bad(point.id, at, Reason::Unreadable),
                    |value| Reading::good(point.id, at, value),
                )
        }));
    }

    fn refused(&self, read: &Read, readings: &mut Vec<Reading>) {
        let at = now();
        let points = read.points.iter().map(|&(nth, _)| self.device.points[nth].id);
        readings.extend(points.map(|id| Reading::bad(id, at, Reason::DeviceError)));
    }
}
