//! What devices can do (a profile's `[[command]]`, and what the wire's room knows), and which of it may be ordered:
//! `[[device.command]]`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use glob::Pattern;

use super::codes::Code;
use super::ear::Variant;
use super::kinds::Id;
use super::messages::Topic;
use super::mistakes::{Report, Spot, did_you_mean};
use super::section::{Section, Told};
use super::terms::terms;
use super::tree::Table;
use crate::command::Terms;
use crate::field::{mqtt, osdp};
use crate::reading::{DeviceId, PointId};

/// Commands of one profile table with `count`.
const COUNT_MAX: i128 = 64;
const FOR_MIN: Duration = Duration::from_millis(100);
const FOR_MAX: Duration = Duration::from_secs(600);

/// One thing that a device can be told.
#[derive(Debug, Clone)]
pub(super) struct Ability<C> {
    pub action: Arc<str>,
    /// Empty: the device has one.
    pub target: Arc<str>,
    /// The point that it moves.
    pub point: Option<PointId>,
    pub does: C,
}

/// One line of the allow-list on its way to a [`command::Allowed`](crate::command::Allowed).
#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub device: DeviceId,
    pub action: Arc<str>,
    pub target: Arc<str>,
    pub nth: usize,
    pub point: Option<PointId>,
    /// The door that it lets open, by name.
    pub door: Option<Told<String>>,
    /// One for all of a table.
    pub terms: Arc<Terms>,
}

/// What a wire is told.
pub(super) trait Does: Clone {
    /// How one is written in the configuration itself; `None`: it cannot be.
    const HOW: Option<&'static str> = None;

    /// As written in the table; `None`: nothing of it stands there.
    fn own(_section: &mut Section<'_>) -> Option<Self> {
        None
    }

    /// The same for the nth of several alike, from 1.
    fn nth(&self, _n: u16) -> Option<Self> {
        None
    }

    /// The same for so long; `None`: it does not last, or not that long.
    fn lasting(&self, _span: Duration) -> Option<Self> {
        None
    }
}

/// A locker's cell, a controller's door.
impl Does for u8 {}

impl Does for osdp::Command {
    fn lasting(&self, span: Duration) -> Option<Self> {
        match self.does {
            osdp::Does::Pulse(_) => Some(Self { does: osdp::Does::Pulse(span), ..*self }),
            osdp::Does::On | osdp::Does::Off => None,
        }
    }
}

impl Does for mqtt::Command {
    const HOW: Option<&'static str> =
        Some("write the message beside it: `topic = \"…\"` and `payload = \"…\"`");

    fn own(section: &mut Section<'_>) -> Option<Self> {
        section.entry("topic")?;
        section.variant(Variant::Has("topic"));
        let topic = section.take::<Topic>("topic");
        if let Some(told) = topic.as_ref().filter(|told| told.value.0.contains(['+', '#'])) {
            section.report.mistake(
                Code::BadTopic,
                told.spot,
                "a message goes to one topic",
                "write it without `+` and `#`",
            );
        }
        let payload = section.require::<String>("payload");
        Some(Self {
            topic: topic.map(|told| told.value.0).unwrap_or_default(),
            payload: payload.map(|told| told.value).unwrap_or_default(),
        })
    }

    fn nth(&self, n: u16) -> Option<Self> {
        let with = |text: &str| text.replace(NTH, &n.to_string());
        Some(Self { topic: with(&self.topic), payload: with(&self.payload) })
    }
}

/// In a profile's command: which of several alike.
const NTH: &str = "{n}";

// ---------------------------------------------------------------------------------------------- [[command]]

/// What a profile says that its devices can do.
pub(super) fn abilities<C: Does>(tables: &[&Table], owner: &str, report: &Report<'_>) -> Vec<Ability<C>> {
    tables.iter().flat_map(|table| ability(table, owner, report)).collect()
}

fn ability<C: Does>(table: &Table, owner: &str, report: &Report<'_>) -> Vec<Ability<C>> {
    let mut section = Section::new(table, title(table, owner), report);
    let action = section.require::<Id>("action").map(|told| told.value.0).unwrap_or_default();
    let target = section.take::<String>("target");
    let count = section.whole::<u16>("count", 1..=COUNT_MAX);
    let does = C::own(&mut section);
    if does.is_none() {
        let what = format!("{} does not say what to do", section.name);
        report.missing(Code::MissingKey, section.spot(), what, C::HOW.unwrap_or("take it out"));
    }
    let several = target.as_ref().is_some_and(|told| told.value.contains(NTH));
    if let Some(spot) = count.as_ref().map(|told| told.spot).filter(|_| !several) {
        report.mistake(
            Code::NeedsAnother,
            spot,
            "`count` without `{n}` in `target`",
            "write `target = \"relay-{n}\"`",
        );
    }
    let spot = target.as_ref().map_or(section.spot(), |told| told.spot);
    section.finish();
    let mut abilities = Vec::new();
    for n in 1..=count.map_or(1, |told| told.value) {
        let target = target.as_ref().map_or(String::new(), |told| told.value.replace(NTH, &n.to_string()));
        match does.as_ref().map(|does| if several { does.nth(n) } else { Some(does.clone()) }) {
            Some(Some(does)) => abilities.push(Ability {
                action: action.as_str().into(),
                target: target.into(),
                point: None,
                does,
            }),
            Some(None) => report.mistake(
                Code::BeyondTheLast,
                spot,
                "`count` reaches beyond the last register",
                "write fewer",
            ),
            None => {}
        }
    }
    abilities
}

// ---------------------------------------------------------------------------------------------- [[device.command]]

/// Reads the `[[device.command]]`s. The wire is given one command for each permit, in the same order.
pub(super) fn permits<C: Does>(
    section: &mut Section<'_>,
    device: DeviceId,
    abilities: &[Ability<C>],
) -> (Vec<C>, Vec<Permit>) {
    let owner = section.name.clone();
    let (mut does, mut permits) = (Vec::new(), Vec::new());
    let mut taken = HashSet::new();
    for table in section.tables("command") {
        let mut command = Section::new(table, title(table, &owner), section.report);
        let (chosen, door, spot) = command_of(&mut command, abilities);
        let terms = Arc::new(terms(&mut command));
        command.finish();
        for ability in chosen {
            if !taken.insert((ability.action.clone(), ability.target.clone())) {
                let what = format!("`{}` of `{}` may be ordered already", ability.action, ability.target);
                section.report.mistake(Code::SecondName, spot, what, "keep one of them");
                continue;
            }
            permits.push(Permit {
                device,
                action: ability.action,
                target: ability.target,
                nth: does.len(),
                point: ability.point,
                door: door.clone(),
                terms: terms.clone(),
            });
            does.push(ability.does);
        }
    }
    (does, permits)
}

/// What one table allows, the door it names, and where it stands.
fn command_of<C: Does>(
    command: &mut Section<'_>,
    abilities: &[Ability<C>],
) -> (Vec<Ability<C>>, Option<Told<String>>, Spot) {
    let action = command.require::<Id>("action");
    let target = command.take::<String>("target");
    let door = command.take::<String>("door");
    let span = command.span("for", FOR_MIN..=FOR_MAX);
    let own = C::own(command);
    let spot = target.as_ref().map_or(command.spot(), |told| told.spot);
    let Some(action) = action else {
        return (Vec::new(), door, spot);
    };
    let mut chosen = match own {
        Some(does) => {
            let target = command.take::<Id>("target").map_or(String::new(), |told| told.value.0);
            vec![Ability { action: action.value.0.as_str().into(), target: target.into(), point: None, does }]
        }
        None => choose(command, &action, target.as_ref(), abilities),
    };
    if let Some(span) = span {
        for ability in &mut chosen {
            match ability.does.lasting(span.value) {
                Some(does) => ability.does = does,
                None => {
                    let what = format!("`{}` cannot last for so long", ability.action);
                    let cure =
                        "leave `for` out, or order a `pulse`, in whole steps of what the device can do";
                    command.report.mistake(Code::CannotLast, span.spot, what, cure);
                    break;
                }
            }
        }
    }
    (chosen, door, spot)
}

/// Those of the abilities that are meant.
fn choose<C: Does>(
    command: &Section<'_>,
    action: &Told<Id>,
    target: Option<&Told<String>>,
    abilities: &[Ability<C>],
) -> Vec<Ability<C>> {
    let report = command.report;
    let alike: Vec<&Ability<C>> = abilities.iter().filter(|a| *a.action == *action.value.0).collect();
    if alike.is_empty() {
        let mut actions: Vec<&str> = abilities.iter().map(|a| &*a.action).collect();
        actions.dedup();
        let cure = match (actions.as_slice(), C::HOW) {
            ([], how) => how.unwrap_or("it takes none; take the command out").to_owned(),
            (actions, Some(how)) => {
                format!("{}, or {how}", did_you_mean(&action.value.0, actions.iter().copied()))
            }
            (actions, None) => did_you_mean(&action.value.0, actions.iter().copied()),
        };
        report.mistake(
            Code::NoSuchAction,
            action.spot,
            format!("{}: the device knows no such action", command.name),
            cure,
        );
        return Vec::new();
    }
    let targets = || alike.iter().map(|a| &*a.target);
    let Some(target) = target else {
        if alike.len() > 1 {
            let example = targets().next().unwrap_or_default();
            let cure = format!("write `target = \"{example}\"`; a pattern will do as well: `\"*\"`");
            report.missing(
                Code::MissingKey,
                command.spot(),
                format!("{} has no `target`", command.name),
                cure,
            );
            return Vec::new();
        }
        return alike.into_iter().cloned().collect();
    };
    let pattern = match Pattern::new(&target.value) {
        Ok(pattern) => pattern,
        Err(error) => {
            let what = format!("`{}` is no pattern: {}", target.value, error.msg);
            report.mistake(Code::BadPattern, target.spot, what, "write it like `\"cell-*\"`");
            return Vec::new();
        }
    };
    let chosen: Vec<Ability<C>> =
        alike.iter().filter(|a| pattern.matches(&a.target)).map(|a| (*a).clone()).collect();
    if chosen.is_empty() {
        let what = format!("{}: there is no target `{}`", command.name, target.value);
        report.unknown(Code::NoSuchAction, target.spot, &target.value, what, &targets().collect::<Vec<_>>());
    }
    chosen
}

fn title(table: &Table, owner: &str) -> String {
    match table.text("action") {
        Some(action) => format!("command `{}` of {owner}", action.chars().take(64).collect::<String>()),
        None => format!("a command of {owner}"),
    }
}
