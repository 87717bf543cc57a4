//! Device types as data: the built-in ones, and those that stand on the gateway and shadow them.

use std::path::Path;

use super::channels::{self, PARITIES};
use super::kinds::ID_MAX;
use super::mistakes::{Report, Spot};
use super::points::{self, Means, Topic};
use super::section::{Section, Told};
use super::tree::Table;
use crate::field::profile::{Board, Line, Point, Profile, Transport};

/// Name and text of every built-in profile.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("lock-board-8a", include_str!("../../config/profiles/lock-board-8a.toml")),
    ("sdm120", include_str!("../../config/profiles/sdm120.toml")),
    ("xy-md02", include_str!("../../config/profiles/xy-md02.toml")),
    ("zigbee2mqtt-climate", include_str!("../../config/profiles/zigbee2mqtt-climate.toml")),
    ("zigbee2mqtt-contact", include_str!("../../config/profiles/zigbee2mqtt-contact.toml")),
    ("zigbee2mqtt-leak", include_str!("../../config/profiles/zigbee2mqtt-leak.toml")),
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

/// A profile with the rules that it suggests, as written.
#[derive(Debug, Clone)]
pub(super) struct Known<'a> {
    pub profile: Profile,
    pub rules: Vec<&'a Table>,
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
            start,
            format!("a profile cannot be named `{name}`"),
            "rename its file, without spaces",
        );
    }
    let mut section = Section::new(table, owner.clone(), report);
    let head = section.table("profile");
    if head.is_none() {
        section.missing("[profile]", "begin with `[profile]` and `transport = \"modbus\"`");
    }
    let empty = Table::default();
    let mut known = about(head.unwrap_or(&empty), name, report);
    let means = match known.transport {
        Transport::Modbus { .. } => Some(Means::Registers),
        Transport::Mqtt { .. } => Some(Means::Messages),
        _ => None,
    };
    match means {
        Some(means) => {
            let more = section.tables("point").into_iter();
            let more: Vec<Told<Point>> =
                more.filter_map(|table| points::point(table, &owner, means, report)).collect();
            known.points = points::lay_over(Vec::new(), more, &owner, report);
            if known.points.is_empty() && head.is_some() {
                section.missing("[[point]]", "add `[[point]]` with its keys");
            }
        }
        None => known.points = Vec::new(),
    }
    let rules = section.tables("rule");
    section.finish();
    Known { profile: known, rules }
}

fn about(table: &Table, name: &str, report: &Report<'_>) -> Profile {
    let mut section = Section::new(table, "`[profile]`", report);
    let kind = section.word("kind", &KINDS).map_or("", |kind| kind.value);
    let about = section.take_or::<String>("about", String::new());
    let verified = section.take_or("verified", false);
    let line = section.table("line").map(|table| line(table, report));
    let transports = [("modbus", 0), ("lock-board-8a", 1), ("mqtt", 2)];
    let transport = match section.word("transport", &transports).map_or(0, |told| told.value) {
        0 => Transport::Modbus { line, merge: Default::default(), turnaround: std::time::Duration::ZERO },
        1 => {
            let cells_max = section.whole("cells_max", 1..=CELLS_MAX).map_or(50, |told| told.value);
            let cells = section.whole("cells", 1..=i128::from(cells_max)).map_or(8, |told| told.value);
            Transport::Locker {
                line,
                board: Board::LockBoard8a,
                cells_default: cells,
                cells_max,
                items: false,
            }
        }
        _ => Transport::Mqtt {
            availability: section.take::<Topic>("availability").map(|told| told.value.0),
            face_terminal: false,
        },
    };
    if !table.entries.is_empty() && table.get("transport").is_none() {
        section.missing("transport", "write `transport = \"modbus\"`, or `lock-board-8a`, `mqtt`");
    }
    section.finish();
    Profile { name: name.into(), kind: kind.into(), about, verified, transport, points: Vec::new() }
}

fn line(table: &Table, report: &Report<'_>) -> Line {
    let mut section = Section::new(table, "`[profile.line]`", report);
    let line = Line {
        baud: channels::baud(&mut section),
        parity: section.word("parity", &PARITIES).map(|told| told.value).unwrap_or_default(),
        stop_bits: section.whole("stop_bits", 1..=2).map_or(1, |told| told.value),
    };
    section.finish();
    line
}
