//! A small compound with two doors, a controller and a bank of lockers, and a script of what happens in it.
//!
//! A script is `seconds what …; seconds what …`; what comes of it is written in the same way: `seconds thing word`.
#![allow(dead_code)]

pub mod bench;

use std::collections::BTreeMap;
use std::sync::Arc;

use gatehouse::access::{Bank, Door, Ended, Grant, Ordered, Plan, Saved, Told, Watch};
use gatehouse::happening::{Happening, Kind};
use gatehouse::numbers::{Numbered, Numbers};
use gatehouse::pseudonym::Pseudonyms;
use gatehouse::reading::{
    self, Device, DeviceId, DoorId, Millis, Point, PointId, Reading, Reason, Site, Value,
};
use gatehouse::secret::Secret;

pub const READER: DeviceId = DeviceId(1);
pub const GATE: DeviceId = DeviceId(3);
pub const BANK: DeviceId = DeviceId(4);
pub const CONTACT: PointId = PointId(0);
pub const GATE_DOOR_2: PointId = PointId(3);
pub const CELL_1: PointId = PointId(4);
pub const ENTRANCE: DoorId = DoorId(0);

const POINTS: [(&str, u32); 13] = [
    ("b3-door.door", 0),
    ("b3-io.input-2", 2),
    ("gate.door-1", 3),
    ("gate.door-2", 3),
    ("bank-1.cell-1", 4),
    ("bank-1.cell-2", 4),
    ("bank-1.item-1", 4),
    ("bank-1.item-2", 4),
    ("b3-reader.access", 1),
    ("gate.access", 3),
    ("bank-1.locker", 4),
    ("b3-entrance.access", 0),
    ("garage.access", 3),
];

pub fn site(polled: bool) -> Arc<Site> {
    let device = |id: &str, first_point, points, words| Device {
        id: id.into(),
        channel: "line".into(),
        profile: None,
        place: "3号楼".into(),
        polled,
        first_point,
        points,
        words,
    };
    let point = |(id, device): &(&str, u32)| Point {
        id: (*id).into(),
        device: DeviceId(*device),
        unit: None,
        range: None,
        deadband: 0.0,
        clean: reading::Clean::default(),
    };
    let door = |id: &str, words| reading::Door { id: id.into(), place: "3号楼/入口".into(), words };
    Arc::new(Site {
        gateway: "cp-017".into(),
        name: "锦绣花园".into(),
        devices: vec![
            device("b3-door", 0, 1, None),
            device("b3-reader", 1, 0, Some(PointId(8))),
            device("b3-io", 1, 1, None),
            device("gate", 2, 2, Some(PointId(9))),
            device("bank-1", 4, 4, Some(PointId(10))),
        ],
        points: POINTS.iter().map(point).collect(),
        doors: vec![door("b3-entrance", PointId(11)), door("garage", PointId(12))],
    })
}

/// The entrance has a contact, a reader and a button of three devices; the garage is all the controller's.
pub fn plan() -> Plan {
    let door = |id, contact, grants, exit| Door {
        id,
        contact,
        grants,
        exit,
        unlock_window: 8_000,
        held_after: 60_000,
    };
    let bank = Bank {
        device: BANK,
        cells: vec![CELL_1, PointId(5)],
        items: vec![PointId(6), PointId(7)],
        unexpected: true,
        opens_within: 5_000,
        held_after: 300_000,
        overdue_after: 3_600_000,
    };
    Plan {
        doors: vec![
            door(ENTRANCE, CONTACT, vec![Grant::Device(READER)], Some(PointId(1))),
            door(DoorId(1), GATE_DOOR_2, vec![Grant::Point(GATE_DOOR_2)], None),
        ],
        banks: vec![bank],
    }
}

/// The same, after a device, a point and a door that come first.
pub fn behind_another(site: &Site) -> Arc<Site> {
    let device =
        Device { id: "aaa".into(), first_point: 0, points: 1, words: None, ..site.devices[0].clone() };
    let point = Point { id: "aaa.x".into(), device: DeviceId(0), ..site.points[0].clone() };
    let door = reading::Door { id: "aaa".into(), words: PointId(0), ..site.doors[0].clone() };
    let next = |PointId(n)| PointId(n + 1);
    let devices = site.devices.iter().cloned().map(|device| Device {
        first_point: device.first_point + 1,
        words: device.words.map(next),
        ..device
    });
    let points = site.points.iter().cloned();
    let points = points.map(|point| Point { device: DeviceId(point.device.0 + 1), ..point });
    let doors = site.doors.iter().cloned();
    let doors = doors.map(|door| reading::Door { words: next(door.words), ..door });
    Arc::new(Site {
        devices: std::iter::once(device).chain(devices).collect(),
        points: std::iter::once(point).chain(points).collect(),
        doors: std::iter::once(door).chain(doors).collect(),
        ..site.clone()
    })
}

#[derive(Debug)]
pub struct Compound {
    plan: Plan,
    site: Arc<Site>,
    pub watch: Watch,
    saved: BTreeMap<String, String>,
    /// What the order of each cell was begun at.
    begun: Millis,
    pub told: Vec<Told>,
}

impl Compound {
    pub fn new(polled: bool) -> Self {
        Self::with(polled, plan())
    }

    pub fn with(polled: bool, plan: Plan) -> Self {
        let site = site(polled);
        let watch = Watch::new(plan.clone(), site.clone(), &[]);
        Self { plan, site, watch, saved: BTreeMap::new(), begun: 0, told: Vec::new() }
    }

    /// One line of the script.
    pub fn step(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = (words[0].parse::<f64>().unwrap() * 1000.0).round() as Millis;
        match &words[1..] {
            ["wait"] => self.watch.advance(at),
            ["restart"] => self.restart(),
            ["turn"] => self.turn(),
            ["standstill"] => self.watch.lost_sight(),
            ["stepped", by] => {
                let by: Millis = by.parse().unwrap();
                self.watch.stepped(by);
                self.begun += by;
            }
            ["order", "door"] => self.order(Ordered::Door(ENTRANCE), at),
            ["order", cell] => self.order(Ordered::Cell(point(cell)), at),
            [how @ ("taken" | "failed" | "unsure"), what] => {
                let what = if *what == "door" { Ordered::Door(ENTRANCE) } else { Ordered::Cell(point(what)) };
                let how = match *how {
                    "taken" => Ended::Taken,
                    "failed" => Ended::Not,
                    _ => Ended::Unsure,
                };
                self.watch.ended(what, "k-1", self.begun, how, at);
            }
            ["reader", kind, rest @ ..] => self.watch.happening(&happening(READER, at, kind, rest)),
            ["gate", kind, rest @ ..] => self.watch.happening(&happening(GATE, at, kind, rest)),
            [name, "bad"] => self.watch.reading(&Reading::bad(point(name), at, Reason::NoAnswer)),
            [name, "retained", value] => {
                let value = Value::Text((*value).into());
                self.watch.reading(&Reading::uncertain(point(name), at, value, Reason::Retained));
            }
            [name, value] => {
                self.watch.reading(&Reading::good(point(name), at, Value::Text((*value).into())));
            }
            other => panic!("{other:?} is no line of a script"),
        }
        self.told.extend(self.watch.take());
        let changed = self.watch.changed();
        self.saved.extend(changed.into_iter().map(|saved| (saved.subject, saved.state)));
    }

    fn order(&mut self, what: Ordered, at: Millis) {
        self.begun = at;
        self.watch.ordered(what, &Arc::from("k-1"), at);
    }

    /// A new run, with what the one before has saved.
    fn restart(&mut self) {
        let saved = self.saved.iter();
        let saved: Vec<Saved> =
            saved.map(|(subject, state)| Saved { subject: subject.clone(), state: state.clone() }).collect();
        self.watch = Watch::new(self.plan.clone(), self.site.clone(), &saved);
    }

    /// A configuration in which all have other numbers, and back again.
    fn turn(&mut self) {
        let others = behind_another(&self.site);
        let there = Numbers::between(&self.site, &others);
        let watch = std::mem::replace(&mut self.watch, Watch::new(Plan::default(), others.clone(), &[]));
        let moved = Plan {
            doors: self.plan.doors.clone().in_other(&there),
            banks: self.plan.banks.clone().in_other(&there),
        };
        let (watch, gone) = watch.taken_over(moved, &others, &there);
        assert_eq!(gone, Vec::<String>::new());
        let back = Numbers::between(&others, &self.site);
        let (watch, gone) = watch.taken_over(self.plan.clone(), &self.site, &back);
        assert_eq!(gone, Vec::<String>::new());
        self.watch = watch;
    }

    pub fn play(&mut self, script: &str) {
        for line in script.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            self.step(line);
        }
    }

    pub fn next_due(&self) -> Option<Millis> {
        self.watch.next_due()
    }

    /// `3.5 b3-entrance opened`
    pub fn tale(&self) -> String {
        self.told.iter().map(line_of).collect::<Vec<_>>().join("; ")
    }
}

fn line_of(told: &Told) -> String {
    let thing = told.subject.split('/').nth(1).unwrap();
    let cell = told.data.get("cell").map(|cell| format!(".{cell}")).unwrap_or_default();
    let order = if told.data.get("order").is_some() { " by order" } else { "" };
    let unwatched = if told.data.get("reason").is_some_and(|r| r == "unwatched") { " unwatched" } else { "" };
    format!("{} {thing}{cell} {}{order}{unwatched}", told.at as f64 / 1000.0, told.word)
}

fn point(name: &str) -> PointId {
    let id = match name {
        "door" => "b3-door.door".to_owned(),
        "exit" => "b3-io.input-2".to_owned(),
        "garage" => "gate.door-2".to_owned(),
        cell => format!("bank-1.{cell}"),
    };
    PointId(POINTS.iter().position(|(point, _)| *point == id).unwrap_or_else(|| panic!("{name}")) as u32)
}

pub fn happening(device: DeviceId, at: Millis, kind: &str, rest: &[&str]) -> Happening {
    let kind = match kind {
        "card" => Kind::Card,
        "granted" => Kind::Granted,
        "denied" => Kind::Denied,
        "opened" => Kind::Opened,
        "closed" => Kind::Closed,
        "forced" => Kind::Forced,
        "held" => Kind::Held,
        "exit" => Kind::Exit,
        "tamper" => Kind::Tamper,
        other => panic!("{other}"),
    };
    let mut happening = Happening::new(device, at, kind);
    if device == GATE {
        happening.point = Some(if rest.contains(&"1") { PointId(2) } else { GATE_DOOR_2 });
    }
    if rest.contains(&"exit-point") {
        happening.point = Some(PointId(1));
    }
    happening.late = rest.contains(&"late");
    if matches!(kind, Kind::Card | Kind::Granted | Kind::Denied) {
        let keys = Pseudonyms::new(&Secret::new("0123456789abcdef")).unwrap();
        happening.who = Some(keys.card("6154410"));
    }
    happening
}
