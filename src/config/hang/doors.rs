//! Door readers on an OSDP channel, door controllers on a UHPPOTE one.

use std::sync::Arc;
use std::time::Duration;

use super::{POLL_DEFAULT, poll};
use crate::config::codes::Code;
use crate::config::commands::{Ability, permits};
use crate::config::devices::{Draft, Installer};
use crate::config::installed::Words;
use crate::config::points::state;
use crate::config::secrets;
use crate::config::section::Section;
use crate::field::osdp::{Command, Does, Reader};
use crate::field::profile::{Source, Transport};
use crate::field::uhppote::Controller;
use crate::field::{osdp, uhppote};
use crate::secret::Secret;

/// A card waits in its reader until the next poll.
const OSDP_POLL_DEFAULT: Duration = Duration::from_millis(200);
/// Inputs and outputs that a reader can report.
pub(in crate::config) const LINES_MAX: i128 = 32;
const PULSE_DEFAULT: Duration = Duration::from_secs(3);
/// Of the secure channel's base key.
const KEY_DIGITS: usize = 32;
/// Of one controller.
pub(in crate::config) const DOORS_MAX: i128 = 4;

const TAMPER: &[&str] = &["yes", "no"];
const POWER: &[&str] = &["ok", "failed"];
const INPUT: &[&str] = &["on", "off"];
const DOOR: &[&str] = &["open", "closed"];

impl<'a> Installer<'a> {
    pub(in crate::config) fn osdp(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut osdp::Settings,
    ) -> Duration {
        let (inputs, outputs) = match draft.profile.map(|known| &known.profile.transport) {
            Some(&Transport::Osdp { inputs, outputs, .. }) => (inputs, outputs),
            _ => (0, 0),
        };
        let inputs = section.whole("inputs", 0..=LINES_MAX).map_or(inputs, |told| told.value);
        let outputs = section.whole("outputs", 0..=LINES_MAX).map_or(outputs, |told| told.value);
        draft.points = vec![state("tamper", Source::State(TAMPER)), state("power", Source::State(POWER))];
        draft.points.extend((1..=inputs).map(|n| state(format!("input-{n}"), Source::State(INPUT))));
        draft.words = Some(Words::Reader);
        let numbers = self.numbers();
        let (commands, permits) = permits(section, numbers.device, &switches(outputs));
        self.installed.permits.extend(permits);
        let poll = poll(section, OSDP_POLL_DEFAULT);
        settings.readers.push(Reader {
            id: numbers.device,
            address: self.unit(section, &draft.id, channel, 0..=126, None),
            poll,
            key: base_key(section),
            tamper: numbers.named(&draft.points, "tamper").first().copied(),
            power: numbers.named(&draft.points, "power").first().copied(),
            inputs: numbers.named(&draft.points, "input-"),
            commands,
        });
        poll
    }

    pub(in crate::config) fn uhppote(
        &mut self,
        section: &mut Section<'a>,
        draft: &mut Draft<'a>,
        channel: &Arc<str>,
        settings: &mut uhppote::Settings,
    ) -> Duration {
        let doors = match draft.profile.map(|known| &known.profile.transport) {
            Some(&Transport::Uhppote { doors }) => doors,
            _ => DOORS_MAX as u8,
        };
        let doors = section.whole("doors", 1..=DOORS_MAX).map_or(doors, |told| told.value);
        draft.points = (1..=doors).map(|n| state(format!("door-{n}"), Source::State(DOOR))).collect();
        draft.words = Some(Words::Access);
        let numbers = self.numbers();
        let ids = numbers.named(&draft.points, "door-");
        let abilities: Vec<Ability<u8>> = (1..)
            .zip(&ids)
            .map(|(door, id)| Ability {
                action: "open".into(),
                target: format!("door-{door}").into(),
                point: Some(*id),
                does: door,
            })
            .collect();
        let (commands, permits) = permits(section, numbers.device, &abilities);
        self.installed.permits.extend(permits);
        let poll = poll(section, POLL_DEFAULT);
        settings.controllers.push(Controller {
            id: numbers.device,
            serial: self.serial_number(section, &draft.id, channel),
            address: section.take("address").map(|told| told.value),
            poll,
            doors: ids,
            commands,
        });
        poll
    }

    /// The number on a controller's board, once on its channel.
    fn serial_number(&mut self, section: &mut Section<'a>, id: &Arc<str>, channel: &Arc<str>) -> u32 {
        if section.entry("serial").is_none() {
            section.missing("serial", "write the number on its board: `serial = 423187757`");
        }
        let Some(told) = section.whole::<u32>("serial", 1..=i128::from(u32::MAX)) else {
            return 0;
        };
        self.address_once(&told.value.to_string(), told.spot, id, channel);
        told.value
    }
}

/// `on`, `off` and `pulse` of each output.
fn switches(outputs: u8) -> Vec<Ability<Command>> {
    let actions = [("on", Does::On), ("off", Does::Off), ("pulse", Does::Pulse(PULSE_DEFAULT))];
    let one = |output: u8| {
        actions.map(|(action, does)| Ability {
            action: action.into(),
            target: format!("output-{}", output + 1).into(),
            point: None,
            does: Command { output, does },
        })
    };
    (0..outputs).flat_map(one).collect()
}

/// The secure channel's base key; what is wrong with it is said without repeating it.
fn base_key(section: &mut Section<'_>) -> Option<Secret> {
    let key = secrets::take(section, "key")?;
    let text = key.reveal();
    if text.len() == KEY_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Some(key);
    }
    let spot = section.peek("key").map_or(section.spot(), |entry| entry.value.spot);
    let cure = format!("write {KEY_DIGITS} of 0-9 and a-f there, the key that the reader was given");
    section.report.mistake(
        Code::SecretUnusable,
        spot,
        "`key`: what stands there is no key of a secure channel",
        cure,
    );
    None
}
