//! `[[door]]`: contact, readers and exit button that belong together; and which commands let which door open.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::codes::Code;
use super::commands::Permit;
use super::installed::{Installed, Words};
use super::kinds::{Texts, millis};
use super::mistakes::{Report, Spot, did_you_mean};
use super::names::{Names, title};
use super::section::{Section, Told};
use super::tree::Table;
use crate::access::{self, Grant, HELD_AFTER_DEFAULT, UNLOCK_WINDOW_DEFAULT};
use crate::command::{Allowed, Moves};
use crate::field::profile::Shape;
use crate::reading::{self, DeviceId, DoorId, Millis, PointId};

pub const DOORS_MAX: usize = 1024;
const GRANTS_MAX: usize = 64;
const SPAN_MIN: Duration = Duration::from_secs(1);
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// The doors, and what there is to watch of them. Their momentary points join those that are installed.
pub(super) fn doors(
    tables: &[&Table],
    installed: &mut Installed<'_>,
    report: &Report<'_>,
) -> (Vec<reading::Door>, Vec<access::Door>) {
    let mut names = Names::new("door", "give one of them another id", DOORS_MAX);
    let mut contacts = Names::new("door with the contact", "a contact belongs to one door", DOORS_MAX);
    let (mut doors, mut watched) = (Vec::new(), Vec::new());
    for table in tables {
        let mut section = Section::new(table, title("door", table, "id"), report);
        let id = names.claim(&mut section);
        not_a_device(&mut section, &id, installed);
        let (door, watch) = door(&mut section, id, DoorId(doors.len() as u32), installed, &mut contacts);
        section.finish();
        doors.push(door);
        watched.extend(watch);
    }
    (doors, watched)
}

/// Both have a point `<id>.access`.
fn not_a_device(section: &mut Section<'_>, id: &str, installed: &Installed<'_>) {
    if let Some(entry) =
        section.entry("id").filter(|_| installed.devices.iter().any(|there| *there.id == *id))
    {
        let what = format!("there is a device `{id}` as well");
        section.report.mistake(
            Code::NameOfAnother,
            entry.value.spot,
            what,
            "name the door otherwise: `\"b3-entrance\"`",
        );
    }
}

fn door(
    section: &mut Section<'_>,
    id: String,
    number: DoorId,
    installed: &mut Installed<'_>,
    contacts: &mut Names,
) -> (reading::Door, Option<access::Door>) {
    let contact = contact(section, installed, contacts);
    let grants = grants(section, installed);
    let exit = exit(section, installed);
    nobody_decides(section, &id, &grants, exit, installed);
    let unlock_window = span(section, "unlock_window", UNLOCK_WINDOW_DEFAULT);
    let held_after = span(section, "held_after", HELD_AFTER_DEFAULT);
    let place = section.take::<String>("place").map(|told| told.value.into());
    // Without a contact there is a mistake, and nobody will ask whose point it is.
    let device = contact.map_or(DeviceId(0), |contact| installed.points[contact.0 as usize].device);
    let place = place.unwrap_or_else(|| {
        installed.devices.get(device.0 as usize).map_or_else(|| "".into(), |there| there.place.clone())
    });
    let words = installed.happens(format!("{id}.access"), device, Words::Access);
    let watch =
        contact.map(|contact| access::Door { id: number, contact, grants, exit, unlock_window, held_after });
    (reading::Door { id: id.into(), place, words }, watch)
}

fn span(section: &mut Section<'_>, key: &'static str, default: Millis) -> Millis {
    section.span(key, SPAN_MIN..=SPAN_MAX).map_or(default, |told| millis(told.value))
}

// ---------------------------------------------------------------------------------------------- points

/// A point that says `open` and `closed`, and belongs to no other door.
fn contact(section: &mut Section<'_>, installed: &Installed<'_>, contacts: &mut Names) -> Option<PointId> {
    if section.entry("contact").is_none() {
        section.missing(
            "contact",
            "write the point that says `open` and `closed`: `contact = \"b3-door.door\"`",
        );
    }
    let told = section.take::<String>("contact")?;
    let point = point(section, &told, installed)?;
    contacts.once(&told.value, told.spot, section.report);
    let cure = match &installed.shapes[point.0 as usize] {
        // What a message brings is only known when it comes; but what has a unit or a range is a number.
        Shape::Any if installed.points[point.0 as usize].unit.is_none() => return Some(point),
        Shape::Words(words) if ["open", "closed"].iter().all(|word| words.iter().any(|w| w == word)) => {
            return Some(point);
        }
        Shape::Bool => "give the point its words: `map = { true = \"closed\", false = \"open\" }`",
        _ => "name a point that says so, like `\"b3-door.door\"`",
    };
    let what = format!("`{}` never says `open` or `closed`", told.value);
    section.report.mistake(Code::NotForADoor, told.spot, what, cure);
    None
}

/// A point that reads `on` or true while the button is pressed.
fn exit(section: &mut Section<'_>, installed: &Installed<'_>) -> Option<PointId> {
    let told = section.take::<String>("exit")?;
    let point = point(section, &told, installed)?;
    let presses = match &installed.shapes[point.0 as usize] {
        Shape::Any | Shape::Bool => true,
        Shape::Words(words) => words.iter().any(|word| word == "on" || word == "true"),
        Shape::Number | Shape::Text => false,
    };
    if presses {
        return Some(point);
    }
    let cure = "name the input that the exit button is wired to; pressed it has to read `on`";
    section.report.mistake(Code::NotForADoor, told.spot, format!("`{}` is never `on`", told.value), cure);
    None
}

fn point(section: &Section<'_>, told: &Told<String>, installed: &Installed<'_>) -> Option<PointId> {
    let found = installed.points.iter().position(|point| *point.id == *told.value);
    if found.is_none() {
        let device = told.value.split_once('.').map_or(told.value.as_str(), |(device, _)| device);
        if installed.unsure.iter().any(|id| **id == *device) {
            return None;
        }
        let same = format!("{device}.");
        let mut known: Vec<&str> =
            installed.points.iter().map(|point| &*point.id).filter(|id| id.starts_with(&same)).collect();
        if known.is_empty() {
            known = installed.points.iter().map(|point| &*point.id).collect();
        }
        let what = format!("{}: there is no point `{}`", section.name, told.value);
        section.report.unknown(Code::NoSuchPoint, told.spot, &told.value, what, &known);
    }
    found.map(|at| PointId(at as u32))
}

// ---------------------------------------------------------------------------------------------- grants

/// Devices that tell of granted entries, or points of theirs.
fn grants(section: &mut Section<'_>, installed: &Installed<'_>) -> Vec<Grant> {
    let told = section.take::<Texts>("grants");
    section.narrow("grants", || json!({ "maxItems": GRANTS_MAX }));
    let Some(told) = told else {
        return Vec::new();
    };
    if told.value.0.len() > GRANTS_MAX {
        let cure = format!("name {GRANTS_MAX} or fewer");
        section.report.mistake(
            Code::ListLength,
            told.spot,
            format!("`grants` names {} devices", told.value.0.len()),
            cure,
        );
    }
    told.value.0.iter().filter_map(|(text, spot)| grant(section, text, *spot, installed)).collect()
}

fn grant(section: &Section<'_>, text: &str, spot: Spot, installed: &Installed<'_>) -> Option<Grant> {
    let (name, of_point) = text.split_once('.').map_or((text, false), |(device, _)| (device, true));
    let Some(at) = installed.devices.iter().position(|device| *device.id == *name) else {
        let known: Vec<&str> = installed.devices.iter().map(|device| &*device.id).collect();
        section.report.unknown(
            Code::NoSuchDevice,
            spot,
            name,
            format!("{}: there is no device `{name}`", section.name),
            &known,
        );
        return None;
    };
    if !matches!(installed.words[at], Some(Words::Access | Words::Reader)) {
        if !installed.unsure.iter().any(|id| **id == *name) {
            let tellers = installed.devices.iter().zip(&installed.words);
            let tellers = tellers
                .filter(|(_, words)| matches!(words, Some(Words::Access | Words::Reader)))
                .map(|(there, _)| &*there.id);
            let cure = format!("name a reader, controller or terminal; {}", did_you_mean(name, tellers));
            section.report.mistake(
                Code::NotForADoor,
                spot,
                format!("device `{name}` tells of no entries"),
                cure,
            );
        }
        return None;
    }
    if of_point {
        return point(section, &Told { value: text.to_owned(), spot }, installed).map(Grant::Point);
    }
    Some(Grant::Device(DeviceId(at as u32)))
}

/// Readers that only report grant nothing: where nothing else lets the door open, each opening would be `forced`.
fn nobody_decides(
    section: &Section<'_>,
    id: &str,
    grants: &[Grant],
    exit: Option<PointId>,
    installed: &Installed<'_>,
) {
    let reports = |grant: &Grant| {
        let device = match *grant {
            Grant::Device(device) => device,
            Grant::Point(point) => installed.points[point.0 as usize].device,
        };
        installed.words[device.0 as usize] == Some(Words::Reader)
    };
    let ordered = |permit: &Permit| permit.door.as_ref().is_some_and(|door| *door.value == *id);
    if grants.is_empty()
        || exit.is_some()
        || !grants.iter().all(reports)
        || installed.permits.iter().any(ordered)
    {
        return;
    }
    if let Some(entry) = section.peek("grants") {
        let what =
            format!("{}: these readers only report, and each opening will be told as forced", section.name);
        let cure = format!(
            "name who decides, or write `door = \"{id}\"` into the `[[device.command]]` that opens it"
        );
        section.report.warning(Code::NobodyDecides, entry.value.spot, what, cure);
    }
}

// ---------------------------------------------------------------------------------------------- commands

/// The allow-list, with what each order moves.
pub(super) fn allowed(
    permits: Vec<Permit>,
    installed: &Installed<'_>,
    doors: &[reading::Door],
    watched: &[access::Door],
    report: &Report<'_>,
) -> Vec<Allowed> {
    let named = |told: &Told<String>| {
        let found = doors.iter().position(|door| *door.id == *told.value);
        if found.is_none() {
            let known: Vec<&str> = doors.iter().map(|door| &*door.id).collect();
            report.unknown(
                Code::NoSuchDoor,
                told.spot,
                &told.value,
                format!("there is no door `{}`", told.value),
                &known,
            );
        }
        found.map(|at| Moves::Door(DoorId(at as u32)))
    };
    let by_contact = |point: PointId| watched.iter().find(|door| door.contact == point).map(|door| door.id);
    let moves = |permit: &Permit| match (&permit.door, permit.point) {
        (Some(told), _) => named(told),
        (None, Some(point)) if installed.words[permit.device.0 as usize] == Some(Words::Locker) => {
            Some(Moves::Cell(point))
        }
        (None, Some(point)) => by_contact(point).map(Moves::Door),
        (None, None) => None,
    };
    let one = |permit: Permit| Allowed {
        moves: moves(&permit),
        device: permit.device,
        action: permit.action,
        target: Arc::clone(&permit.target),
        nth: permit.nth,
        terms: permit.terms,
    };
    permits.into_iter().map(one).collect()
}
