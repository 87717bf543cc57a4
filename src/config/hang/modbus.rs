//! A device on a Modbus channel.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{POLL_DEFAULT, poll};
use crate::config::codes::Code;
use crate::config::commands::{Ability, permits};
use crate::config::devices::{Draft, Installer};
use crate::config::kinds::wrong;
use crate::config::points::Means;
use crate::config::profiles::Commands;
use crate::config::section::{Read, Section, Wrong};
use crate::config::tree::{Node, Value};
use crate::config::writes::Writing;
use crate::field::modbus::{Device, Merge, Point, Settings};
use crate::field::profile::{Source, Transport};

/// Registers of one request.
const REGISTERS_MAX: i128 = 125;
const TURNAROUND_MAX: Duration = Duration::from_secs(5);
/// Spans of registers to avoid.
const AVOID_MAX: usize = 64;

impl<'a> Installer<'a> {
    /// `also`: a unit beyond 247 that stands for the endpoint itself.
    pub(in crate::config) fn modbus(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut Settings,
        also: Option<u8>,
    ) -> Duration {
        draft.points = self.points(section, draft, Means::Registers);
        let numbers = self.numbers();
        let unit = self.unit(section, &draft.id, channel, 1..=247, also);
        let poll = poll(section, POLL_DEFAULT);
        let (base, base_turnaround) = match draft.profile.map(|known| &known.profile.transport) {
            Some(Transport::Modbus { merge, turnaround, .. }) => (merge.clone(), *turnaround),
            _ => (Merge::default(), Duration::ZERO),
        };
        let abilities: &[Ability<Writing>] = match draft.profile.map(|known| &known.commands) {
            Some(Commands::Writes(abilities)) => abilities,
            _ => &[],
        };
        let (does, permits) = permits(section, numbers.device, abilities);
        self.installed.permits.extend(permits);
        settings.devices.push(Device {
            id: numbers.device,
            unit,
            poll,
            turnaround: turnaround(section).unwrap_or(base_turnaround),
            merge: merge(section, base),
            points: numbers.points(&draft.points).filter_map(point).collect(),
            commands: does.into_iter().map(|writing| writing.command).collect(),
        });
        poll
    }
}

fn point((id, point): (crate::reading::PointId, &crate::field::profile::Point)) -> Option<Point> {
    match &point.source {
        &Source::Register { table, register, kind, order, bit, poll, ref by } => Some(Point {
            id,
            table,
            register,
            kind,
            order,
            bit,
            transform: point.transform.clone(),
            poll,
            by: by.clone(),
        }),
        _ => None,
    }
}

pub(in crate::config) fn turnaround(section: &mut Section<'_>) -> Option<Duration> {
    section.span("turnaround", Duration::ZERO..=TURNAROUND_MAX).map(|told| told.value)
}

/// How far registers are read together; what is not written stays as it was.
pub(in crate::config) fn merge(section: &mut Section<'_>, base: Merge) -> Merge {
    Merge {
        max_gap: section.whole("max_gap", 0..=REGISTERS_MAX - 1).map_or(base.max_gap, |told| told.value),
        max_registers: section
            .whole("max_registers", 1..=REGISTERS_MAX)
            .map_or(base.max_registers, |told| told.value),
        avoid: section.take::<Avoid>("avoid").map_or(base.avoid, |told| told.value.0),
    }
}

/// `[12, [20, 29]]`: single registers, and first and last of several.
struct Avoid(Vec<(u16, u16)>);

impl Read for Avoid {
    const IS: &'static str = "a list of registers";
    const EXAMPLE: &'static str = "[12, [20, 29]]";

    fn read(value: &Value) -> Result<Self, Wrong> {
        let Node::List(list) = &value.node else {
            return Err(Wrong::Type);
        };
        if list.len() > AVOID_MAX {
            return Err(wrong(
                Code::ListLength,
                format!("{} spans", list.len()),
                format!("write {AVOID_MAX} or fewer"),
            ));
        }
        let register = |value: &Value| {
            let number = i128::read(value)?;
            u16::try_from(number).map_err(|_| {
                wrong(
                    Code::OutOfRange,
                    format!("there is no register {number}"),
                    "write registers from 0 to 65535",
                )
            })
        };
        let span = |value: &Value| match &value.node {
            Node::List(pair) => match pair.as_slice() {
                [first, last] => {
                    let (first, last) = (register(first)?, register(last)?);
                    if first <= last {
                        return Ok((first, last));
                    }
                    Err(wrong(
                        Code::Backwards,
                        format!("{first} is behind {last}"),
                        format!("write `[{last}, {first}]`"),
                    ))
                }
                _ => Err(Wrong::Type),
            },
            _ => register(value).map(|one| (one, one)),
        };
        list.iter().map(span).collect::<Result<_, _>>().map(Self)
    }

    fn grammar() -> Json {
        let one = json!({ "type": "integer", "minimum": 0, "maximum": 65535 });
        let span = json!({ "type": "array", "items": one, "minItems": 2, "maxItems": 2 });
        json!({ "type": "array", "items": { "anyOf": [one, span] }, "maxItems": AVOID_MAX })
    }
}
