//! A meter: what it is asked, and what its answers say of its points.

use tracing::warn;

use super::cjt188::{self, Said, Unread};
use super::dlt645;
use super::dlt645_ask::{Whose, ask_group, whom};
use super::dlt645_plan::{Group, plan};
use super::line::{Line, Question};
use super::{Item, ItemOrder, Metering, Point, mbus};
use crate::field::poll::{Answer, Failure};
use crate::field::wire::Link;
use crate::reading::{DeviceId, PointId, Reading, Reason, Value};
use crate::time::now;

#[derive(Debug)]
pub struct Meter {
    device: DeviceId,
    points: Vec<Point>,
    protocol: Protocol,
    /// It has said in the log that a value cannot be read.
    told: bool,
    /// The question that is asked value by value at present.
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    question: usize,
    /// The next part to be asked.
    next: usize,
    /// Whether any part was given.
    read: bool,
}

#[derive(Debug)]
enum Protocol {
    Dlt645 { address: Whose, groups: Vec<Group> },
    Cjt188 { address: Option<cjt188::Address>, kind: u8, order: ItemOrder },
    Mbus { address: u8 },
}

impl Meter {
    pub fn new(device: DeviceId, meter: super::Meter) -> Self {
        let points = meter.points;
        let protocol = match meter.protocol {
            Metering::Dlt645 { address } => Protocol::Dlt645 {
                address: address.map_or(Whose::Alone(None), |a| Whose::Printed(dlt645::address(&a))),
                groups: plan(&points),
            },
            Metering::Cjt188 { address, kind, order } => {
                Protocol::Cjt188 { address: address.map(|a| cjt188::address(&a)), kind, order }
            }
            Metering::Mbus { address } => Protocol::Mbus { address },
        };
        Self { device, points, protocol, told: false, begun: None }
    }

    pub fn questions(&self) -> usize {
        match &self.protocol {
            Protocol::Dlt645 { groups, .. } => groups.len(),
            Protocol::Cjt188 { .. } | Protocol::Mbus { .. } => 1,
        }
    }

    /// The question that reads this point.
    pub fn question_of(&self, point: PointId) -> Option<usize> {
        let nth = self.points.iter().position(|p| p.id == point)?;
        match &self.protocol {
            Protocol::Dlt645 { groups, .. } => groups.iter().position(|g| g.is_for(nth)),
            Protocol::Cjt188 { .. } | Protocol::Mbus { .. } => Some(0),
        }
    }

    pub fn points(&self) -> Vec<PointId> {
        self.points.iter().map(|p| p.id).collect()
    }

    /// For people.
    pub fn describe(&self, question: usize) -> String {
        match &self.protocol {
            Protocol::Dlt645 { groups, .. } => {
                let of = |group: &Group| group.block.or(group.parts.first().map(|part| part.di));
                format!("data {:08X}", groups.get(question).and_then(of).unwrap_or_default())
            }
            Protocol::Cjt188 { .. } => "data 901F".into(),
            Protocol::Mbus { address } => format!("data of meter {address}"),
        }
    }

    /// What was asked in part before is asked anew.
    pub fn begins(&mut self) {
        self.begun = None;
    }

    pub async fn ask(
        &mut self,
        line: &mut Line,
        link: &mut Link,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        match &self.protocol {
            Protocol::Dlt645 { .. } => self.ask_dlt645(line, link, question, readings).await,
            Protocol::Cjt188 { .. } => self.ask_cjt188(line, link, readings).await,
            Protocol::Mbus { address } => {
                let numbers = ask_mbus(*address, line, link).await?;
                let number = |item: &Item| match item {
                    Item::Record(nth) => numbers.get(usize::from(*nth)).copied().flatten(),
                    _ => None,
                };
                let value = |point: &Point| number(&point.item).map(Value::Number).ok_or(Reason::Unreadable);
                readings.extend(self.points.iter().map(|point| reading(point, value(point))));
                Ok(Answer::Read)
            }
        }
    }

    // --- DL/T 645 ---

    async fn ask_dlt645(
        &mut self,
        line: &mut Line,
        link: &mut Link,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let Protocol::Dlt645 { address, groups } = &mut self.protocol else { return Ok(Answer::Refused) };
        let Some(group) = groups.get_mut(question) else { return Ok(Answer::Refused) };
        let to = whom(address, line, link).await?;
        let begun = self.begun.take().filter(|begun| begun.question == question);
        let asked = ask_group(group, begun.as_ref().map(|begun| begun.next), &to, line, link).await;
        if let (Err(Failure::Silent), Whose::Alone(known)) = (&asked, address) {
            *known = None; // perhaps another meter hangs there now
        }
        let said = match asked {
            Ok(said) => said,
            Err(failure) => {
                // It goes on over a new connection, which may bring one answer only as well.
                self.begun = begun.filter(|_| matches!(failure, Failure::Broken(_)));
                return Err(failure);
            }
        };
        let mut begun = begun.unwrap_or(Begun { question, next: 0, read: false });
        for (part, said) in group.parts.iter().skip(begun.next).zip(&said) {
            begun.read |= said.is_ok();
            for point in part.points.iter().filter_map(|nth| self.points.get(*nth)) {
                readings.push(reading(point, said.map(Value::Signed)));
            }
        }
        begun.next += said.len();
        if begun.next < group.parts.len() {
            self.begun = Some(begun);
            return Ok(Answer::More);
        }
        if said.len() < group.parts.len() {
            group.block = None; // the meter is there, and does not know it, or not as the standard has it
        }
        Ok(if begun.read { Answer::Read } else { Answer::Refused })
    }

    // --- CJ/T 188 ---

    async fn ask_cjt188(
        &mut self,
        line: &mut Line,
        link: &mut Link,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let Protocol::Cjt188 { address, kind, order } = &self.protocol else { return Ok(Answer::Refused) };
        let address = address.as_ref();
        let frame = cjt188::read(*kind, address, *order);
        let question = Question::framed(&frame, cjt188::ANSWER_BYTES);
        let answer = line.ask(link, question, |heard| cjt188::answer(heard, address)).await?;
        let value = |point: &Point| match &answer {
            cjt188::Answer::Said(said) => value_of(said, &point.item),
            cjt188::Answer::Other => Err(Reason::Unreadable),
            cjt188::Answer::Refused => Err(Reason::DeviceError),
        };
        readings.extend(self.points.iter().map(|point| reading(point, value(point))));
        if let Some(why) = why_unread(&answer) {
            line.remark(&why);
            if !self.told {
                self.told = true;
                warn!(device = ?self.device, why, "A meter answers, and what it says cannot be read.");
            }
        }
        Ok(if answer == cjt188::Answer::Refused { Answer::Refused } else { Answer::Read })
    }
}

impl Group {
    fn is_for(&self, point: usize) -> bool {
        self.parts.iter().any(|part| part.points.contains(&point))
    }
}

fn value_of(said: &Said, item: &Item) -> Result<Value, Reason> {
    match item {
        Item::Volume => said.volume.map(Value::Number).map_err(|_| Reason::Unreadable),
        Item::Valve => said.valve.map(|valve| Value::Text(valve.word().into())).ok_or(Reason::Unreadable),
        Item::BatteryLow => Ok(Value::Text(if said.battery_low { "yes" } else { "no" }.into())),
        Item::Dlt645 { .. } | Item::Record(_) => Err(Reason::Unreadable),
    }
}

/// For people.
fn why_unread(answer: &cjt188::Answer) -> Option<String> {
    match answer {
        cjt188::Answer::Said(said) => match said.volume {
            Ok(_) => None,
            Err(Unread::Unit(unit)) => {
                Some(format!("its unit {unit:02X} is neither m³ (2C) nor litres (29)"))
            }
            Err(Unread::Digits) => Some("its volume has digits above 9".into()),
        },
        cjt188::Answer::Other => Some("it answers otherwise than a water or gas meter".into()),
        cjt188::Answer::Refused => Some("it refuses to be read".into()),
    }
}

fn reading(point: &Point, value: Result<Value, Reason>) -> Reading {
    match value.and_then(|raw| point.transform.apply(raw).ok_or(Reason::Unreadable)) {
        Ok(value) => Reading::good(point.id, now(), value),
        Err(reason) => Reading::bad(point.id, now(), reason),
    }
}

/// The link is reset first: a meter repeats its last answer to a question that looks the same as the one before.
async fn ask_mbus(address: u8, line: &mut Line, link: &mut Link) -> Result<Vec<Option<f64>>, Failure> {
    reset_mbus(address, line, link).await?;
    let frame = mbus::request_data(address);
    let data = line
        .ask(link, Question::framed(&frame, mbus::ANSWER_BYTES), |heard| mbus::answer(heard, address))
        .await?;
    Ok(mbus::numbers(&data))
}

async fn reset_mbus(address: u8, line: &mut Line, link: &mut Link) -> Result<(), Failure> {
    let frame = mbus::reset(address);
    line.ask(link, Question::framed(&frame, 1), |heard| mbus::confirmed(heard).then_some(())).await
}

/// Who is there, for people: `DL/T 645 meter 181219024435`. A meter that names itself does so whatever the address, and
/// is asked at the first one only; for the others there is `None`.
pub async fn seek(
    meter: &Metering,
    line: &mut Line,
    link: &mut Link,
    address: u8,
) -> Result<Option<String>, Failure> {
    Ok(Some(match meter {
        Metering::Mbus { .. } => {
            reset_mbus(address, line, link).await?;
            format!("M-Bus meter {address}")
        }
        _ if address > 1 => return Ok(None),
        Metering::Dlt645 { .. } => {
            let named = whom(&mut Whose::Alone(None), line, link).await?;
            format!("DL/T 645 meter {}", dlt645::printed(&named))
        }
        Metering::Cjt188 { kind, .. } => {
            let frame = cjt188::read_address(*kind);
            let named =
                line.ask(link, Question::framed(&frame, cjt188::ANSWER_BYTES), cjt188::named_address).await?;
            format!("CJ/T 188 meter {}", cjt188::printed(&named))
        }
    }))
}
