//! Device types as data: the built-in ones, and those that stand on the gateway and shadow them.

use std::path::Path;

use super::codes::Code;
use super::commands::{self, Ability};
use super::ear::Variant;
use super::hang;
use super::kinds::ID_MAX;
use super::messages::Topic;
use super::mistakes::{Report, Spot, listed};
use super::points;
use super::section::{Section, Told};
use super::tree::{self, Table};
use super::wires::{PARITIES, baud};
use super::writes::Writing;
use crate::field::modbus::Merge;
use crate::field::mqtt;
use crate::field::profile::{Board, Line, Meter, Point, Profile, Transport};

/// Name and text of every built-in profile.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("apc-nmc2", include_str!("../../config/profiles/apc-nmc2.toml")),
    ("aqualeak-10k", include_str!("../../config/profiles/aqualeak-10k.toml")),
    ("chirpstack-milesight", include_str!("../../config/profiles/chirpstack-milesight.toml")),
    ("cjt188", include_str!("../../config/profiles/cjt188.toml")),
    ("cwt-th", include_str!("../../config/profiles/cwt-th.toml")),
    ("danfoss-fc51", include_str!("../../config/profiles/danfoss-fc51.toml")),
    ("ddsu666", include_str!("../../config/profiles/ddsu666.toml")),
    ("dlt645", include_str!("../../config/profiles/dlt645.toml")),
    ("dtsu666", include_str!("../../config/profiles/dtsu666.toml")),
    ("face-terminal", include_str!("../../config/profiles/face-terminal.toml")),
    ("kr-cu16", include_str!("../../config/profiles/kr-cu16.toml")),
    ("kr-cu48", include_str!("../../config/profiles/kr-cu48.toml")),
    ("lock-board-8a", include_str!("../../config/profiles/lock-board-8a.toml")),
    ("osdp-reader", include_str!("../../config/profiles/osdp-reader.toml")),
    ("pzem-016", include_str!("../../config/profiles/pzem-016.toml")),
    ("qdy30a", include_str!("../../config/profiles/qdy30a.toml")),
    ("rs-ws-n01", include_str!("../../config/profiles/rs-ws-n01.toml")),
    ("sdm120", include_str!("../../config/profiles/sdm120.toml")),
    ("sdm230", include_str!("../../config/profiles/sdm230.toml")),
    ("sdm630", include_str!("../../config/profiles/sdm630.toml")),
    ("senseair-s8", include_str!("../../config/profiles/senseair-s8.toml")),
    ("shelly-gen2", include_str!("../../config/profiles/shelly-gen2.toml")),
    ("sokol-m", include_str!("../../config/profiles/sokol-m.toml")),
    ("tasmota-sensor", include_str!("../../config/profiles/tasmota-sensor.toml")),
    ("uhppote", include_str!("../../config/profiles/uhppote.toml")),
    ("vacon-10", include_str!("../../config/profiles/vacon-10.toml")),
    ("veda-vf51", include_str!("../../config/profiles/veda-vf51.toml")),
    ("waveshare-relay-d8", include_str!("../../config/profiles/waveshare-relay-d8.toml")),
    ("winnsen-16", include_str!("../../config/profiles/winnsen-16.toml")),
    ("xintai-water", include_str!("../../config/profiles/xintai-water.toml")),
    ("xy-md02", include_str!("../../config/profiles/xy-md02.toml")),
    ("zigbee2mqtt-climate", include_str!("../../config/profiles/zigbee2mqtt-climate.toml")),
    ("zigbee2mqtt-contact", include_str!("../../config/profiles/zigbee2mqtt-contact.toml")),
    ("zigbee2mqtt-leak", include_str!("../../config/profiles/zigbee2mqtt-leak.toml")),
    ("zigbee2mqtt-motion", include_str!("../../config/profiles/zigbee2mqtt-motion.toml")),
    ("zigbee2mqtt-smoke", include_str!("../../config/profiles/zigbee2mqtt-smoke.toml")),
];

/// The most cells of one lock board.
const CELLS_MAX: i128 = 50;

const KINDS: [(&str, &str); 5] = [
    ("environment", "environment"),
    ("meter", "meter"),
    ("plant", "plant"),
    ("access", "access"),
    ("locker", "locker"),
];

/// What devices of a profile speak.
#[derive(Debug, Clone, Copy)]
pub(super) enum Speaks {
    Modbus,
    Board(Board),
    Meter(Meter),
    Osdp,
    Uhppote,
    Mqtt,
}

pub(super) const TRANSPORTS: [(&str, Speaks); 11] = [
    ("modbus", Speaks::Modbus),
    ("lock-board-8a", Speaks::Board(Board::LockBoard8a)),
    ("kr-cu16", Speaks::Board(Board::KrCu16)),
    ("kr-cu48", Speaks::Board(Board::KrCu48)),
    ("winnsen-16", Speaks::Board(Board::Winnsen16)),
    ("dlt645", Speaks::Meter(Meter::Dlt645)),
    ("cjt188", Speaks::Meter(Meter::Cjt188)),
    ("mbus", Speaks::Meter(Meter::Mbus)),
    ("osdp", Speaks::Osdp),
    ("uhppote", Speaks::Uhppote),
    ("mqtt", Speaks::Mqtt),
];

/// What devices of a profile can be told.
#[derive(Debug, Clone)]
pub(super) enum Commands {
    Writes(Vec<Ability<Writing>>),
    Messages(Vec<Ability<mqtt::Command>>),
    /// The wire's room knows: cells, outputs, doors.
    OfTheWire,
}

/// A profile with the rules that it suggests, as written.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    pub profile: Profile,
    pub commands: Commands,
    pub rules: Vec<&'a Table>,
}

/// Every built-in profile, as a device would have it.
pub fn built_in() -> Vec<Profile> {
    let sources = BUILT_IN.iter().map(|(name, text)| (Path::new(*name), *text)).collect();
    let report = Report::new(sources);
    let tables = (0..BUILT_IN.len()).map(|file| tree::parse(file, &report));
    BUILT_IN.iter().zip(tables).map(|((name, _), table)| profile(name, &table, &report).profile).collect()
}

/// The profile that a file is, if its directory is named `profiles`: its name is the file's.
pub(super) fn name_of(path: &Path) -> Option<&str> {
    let dir = path.parent()?.file_name()?;
    if dir == "profiles" { path.file_stem()?.to_str() } else { None }
}

/// One file that is a profile.
pub(super) fn profile<'a>(name: &str, table: &'a Table, report: &'a Report<'a>) -> Known<'a> {
    let owner = format!("profile `{name}`");
    let start = Spot { end: table.spot.start, ..table.spot };
    if name.is_empty() || name.len() > ID_MAX || name.chars().any(char::is_whitespace) {
        report.mistake(
            Code::BadName,
            start,
            format!("a profile cannot be named `{name}`"),
            "rename its file, without spaces",
        );
    }
    let mut section = Section::new(table, owner.clone(), report);
    let head = section.table("profile");
    section.hear_required("profile");
    if head.is_none() {
        section.missing("[profile]", "begin with `[profile]` and `transport = \"modbus\"`");
    }
    let empty = Table::default();
    let mut known = about(head.unwrap_or(&empty), name, report);
    if let Some(means) = points::means(&known.transport) {
        let more = section.tables("point").into_iter();
        let more: Vec<Told<Point>> =
            more.filter_map(|table| points::point(table, &owner, means, report)).collect();
        known.points = points::lay_over(Vec::new(), more, &owner, report);
        if known.points.is_empty() && head.is_some() {
            section.missing("[[point]]", "add `[[point]]` with its keys");
        }
    }
    let commands = match known.transport {
        Transport::Modbus { .. } => {
            Commands::Writes(commands::abilities(&section.tables("command"), &owner, report))
        }
        Transport::Mqtt { .. } => {
            Commands::Messages(commands::abilities(&section.tables("command"), &owner, report))
        }
        _ => Commands::OfTheWire,
    };
    let rules = section.tables("rule");
    section.finish();
    Known { profile: known, commands, rules }
}

fn about(table: &Table, name: &str, report: &Report<'_>) -> Profile {
    let mut section = Section::new(table, "`[profile]`", report);
    let kind = section.word("kind", &KINDS).map_or("", |kind| kind.value);
    let about = section.take_or::<String>("about", String::new());
    let verified = section.take_or("verified", false);
    let line = section.table("line").map(|table| line(table, report));
    let speaks = section.word("transport", &TRANSPORTS).map_or(Speaks::Modbus, |told| told.value);
    if let Some((word, _)) = TRANSPORTS.iter().find(|(word, _)| table.text("transport") == Some(word)) {
        section.variant(Variant::Says("transport", word));
    }
    section.hear_required("transport");
    let transport = match speaks {
        Speaks::Modbus => Transport::Modbus {
            line,
            merge: hang::merge(&mut section, Merge::default()),
            turnaround: hang::turnaround(&mut section).unwrap_or_default(),
        },
        Speaks::Board(board) => {
            let cells_max = section.whole("cells_max", 1..=CELLS_MAX).map_or(50, |told| told.value);
            let cells = section.whole("cells", 1..=i128::from(cells_max)).map_or(8, |told| told.value);
            let items = section.take_or("items", false);
            Transport::Locker { line, board, cells_default: cells, cells_max, items }
        }
        Speaks::Meter(meter) => Transport::Meter { line, meter },
        Speaks::Osdp => Transport::Osdp {
            line,
            inputs: section.whole("inputs", 0..=hang::LINES_MAX).map_or(0, |told| told.value),
            outputs: section.whole("outputs", 0..=hang::LINES_MAX).map_or(0, |told| told.value),
        },
        Speaks::Uhppote => Transport::Uhppote {
            doors: section.whole("doors", 1..=hang::DOORS_MAX).map_or(4, |told| told.value),
        },
        Speaks::Mqtt => Transport::Mqtt {
            availability: section.take::<Topic>("availability").map(|told| told.value.0),
            face_terminal: section.take_or("face_terminal", false),
        },
    };
    if !table.entries.is_empty() && table.get("transport").is_none() {
        let there_is = listed(TRANSPORTS.iter().map(|(word, _)| *word));
        section.missing("transport", format!("write `transport = \"modbus\"`; there is {there_is}"));
    }
    section.finish();
    Profile { name: name.into(), kind: kind.into(), about, verified, transport, points: Vec::new() }
}

fn line(table: &Table, report: &Report<'_>) -> Line {
    let mut section = Section::new(table, "`[profile.line]`", report);
    let line = Line {
        baud: baud(&mut section),
        parity: section.word("parity", &PARITIES).map(|told| told.value).unwrap_or_default(),
        stop_bits: section.whole("stop_bits", 1..=2).map_or(1, |told| told.value),
    };
    section.finish();
    line
}
