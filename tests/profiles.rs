//! Promise: every built-in profile can be used as it is, has the points that rules and people rely on, in their units, and
//! reads a real device's frame as the device meant it.
//!
//! Frames are those that the profiles name as their source. Meters and boards with protocols of their own are decoded in
//! `src/field/serial`, against the same frames.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fmt::Write;

use gatehouse::config::{self, Loaded, PROFILES};
use gatehouse::field::modbus::{self, By};
use gatehouse::field::{Kind, decode, serial};
use gatehouse::reading::{DeviceId, Value};
use gatehouse::rules::Rule;

/// Profile, how its device hangs, and its points with their units as the contract has them.
const CONTRACT: &[(&str, &str, &str)] = &[
    ("xy-md02", "modbus", "temperature °C, humidity %"),
    ("rs-ws-n01", "modbus", "temperature °C, humidity %"),
    ("cwt-th", "modbus", "temperature °C, humidity %"),
    ("senseair-s8", "modbus", "co2 ppm"),
    (
        "sokol-m",
        "modbus",
        "temperature °C, humidity %, pressure bar, wind-speed m/s, wind-direction °, rain mm, illuminance lux, pm2-5 µg/m³, pm10 µg/m³, co2 ppm",
    ),
    ("aqualeak-10k", "modbus", "leak, cable-break, contamination, distance m"),
    ("qdy30a", "modbus", "level"),
    ("sdm120", "modbus", METER),
    ("sdm230", "modbus", METER),
    ("ddsu666", "modbus", METER),
    ("pzem-016", "modbus", METER),
    ("dlt645", "serial", METER),
    ("sdm630", "modbus", METER_3),
    ("dtsu666", "modbus", METER_3),
    ("xintai-water", "modbus", "volume m³, flow m³/h, valve"),
    ("cjt188", "serial", "volume m³, valve, battery-low"),
    (
        "waveshare-relay-d8",
        "modbus",
        "input-1, input-2, input-3, input-4, input-5, input-6, input-7, input-8, relay-1, relay-2, relay-3, relay-4, relay-5, relay-6, relay-7, relay-8",
    ),
    ("apc-nmc2", "modbus", "battery %, runtime min, load %, on-battery"),
    ("danfoss-fc51", "modbus", "frequency Hz, current A, state"),
    ("veda-vf51", "modbus", "frequency Hz, current A, state, fault-code"),
    ("vacon-10", "modbus", "frequency Hz, current A, state, fault-code"),
    ("lock-board-8a", "serial", "cell-1, cell-8"),
    ("kr-cu16", "serial", "cell-1, cell-16, item-1, item-16"),
    ("kr-cu48", "serial", "cell-1, cell-48"),
    ("winnsen-16", "serial", "cell-1, cell-16"),
    ("osdp-reader", "osdp", "tamper, power, input-1"),
    ("uhppote", "uhppote", "door-1, door-2, door-3, door-4"),
    ("face-terminal", "mqtt", ""),
    ("zigbee2mqtt-contact", "mqtt", "door, battery %, availability"),
    ("zigbee2mqtt-climate", "mqtt", "temperature °C, humidity %, battery %"),
    ("zigbee2mqtt-leak", "mqtt", "leak, battery %"),
    ("zigbee2mqtt-smoke", "mqtt", "smoke, battery %"),
    ("zigbee2mqtt-motion", "mqtt", "motion, battery %"),
    ("tasmota-sensor", "mqtt", "temperature °C"),
    ("shelly-gen2", "mqtt", "temperature °C"),
    ("chirpstack-milesight", "mqtt", "battery %"),
];
const METER: &str = "voltage V, current A, power W, energy kWh, frequency Hz, power-factor";
const METER_3: &str = "voltage-l1 V, voltage-l2 V, voltage-l3 V, current-l1 A, current-l2 A, current-l3 A, power W, energy kWh, frequency Hz, power-factor";

/// One device of each profile, all its suggestions turned on.
fn one_of_each() -> String {
    let mut toml = String::from(
        r#"
[gateway]
id = "g"
[privacy]
key = { file = "tests/config/good-doors/privacy-key" }
[[channel]]
id = "uhppote"
type = "uhppote"
[[channel]]
id = "osdp"
type = "osdp"
port = "/dev/ttyS1"
[[channel]]
id = "mqtt"
type = "mqtt"
url = "mqtt://127.0.0.1"
[[channel]]
id = "modbus"
type = "modbus-tcp"
address = "192.0.2.1:502"
"#,
    );
    for (number, (profile, channel, _)) in (1..).zip(CONTRACT) {
        let (on, more) = match *channel {
            "modbus" => ("modbus".to_owned(), format!("unit = {number}")),
            "mqtt" if *profile == "face-terminal" => ("mqtt".into(), "topic = \"mqtt/face/1026700\"".into()),
            "mqtt" => ("mqtt".into(), format!("topic = \"t/{profile}\"")),
            "osdp" => ("osdp".into(), "unit = 1".into()),
            "uhppote" => ("uhppote".into(), "serial = 423187757".into()),
            _ => {
                // Boards and meters have each a line of their own: they differ in speed.
                writeln!(
                    toml,
                    "[[channel]]\nid = \"s{number}\"\ntype = \"serial\"\naddress = \"192.0.2.1:{number}\""
                )
                .unwrap();
                let meter = matches!(*profile, "dlt645" | "cjt188");
                (format!("s{number}"), if meter { String::new() } else { "unit = 1".into() })
            }
        };
        writeln!(toml, "[[device]]\nid = \"{profile}\"\nchannel = \"{on}\"\nprofile = \"{profile}\"\nrules = true\n{more}")
            .unwrap();
    }
    toml
}

fn load(toml: String) -> Loaded {
    config::load_sources(vec![("gatehouse.toml".into(), toml)])
        .unwrap_or_else(|mistakes| panic!("\n{mistakes}"))
}

#[test]
fn every_profile_can_be_used_and_has_the_points_of_the_contract_in_their_units() {
    let loaded = load(one_of_each());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings[0]);
    let site = &loaded.gateway.site;
    for (profile, _, points) in CONTRACT {
        let device = site.device_named(profile).unwrap();
        for told in points.split(", ").filter(|told| !told.is_empty()) {
            let (name, unit) = told.split_once(' ').map_or((told, None), |(name, unit)| (name, Some(unit)));
            let point = site
                .points_of(device)
                .map(|id| site.point(id))
                .find(|point| *point.id == *format!("{profile}.{name}"))
                .unwrap_or_else(|| panic!("{profile} has no point {name}"));
            assert_eq!(point.unit.as_deref(), unit, "{}", point.id);
        }
    }
    let instantiated: Vec<&str> = CONTRACT.iter().map(|(profile, ..)| *profile).collect();
    for (name, _) in PROFILES {
        assert!(instantiated.contains(name), "{name} is tried by nobody");
    }
}

#[test]
fn access_devices_and_lockers_have_a_point_for_what_happens_behind_all_the_others() {
    let loaded = load(one_of_each());
    let site = &loaded.gateway.site;
    let measured: u32 = site.devices.iter().map(|device| device.points).sum();
    for (device, word) in [
        ("osdp-reader", "access"),
        ("uhppote", "access"),
        ("face-terminal", "access"),
        ("lock-board-8a", "locker"),
        ("kr-cu16", "locker"),
        ("kr-cu48", "locker"),
        ("winnsen-16", "locker"),
    ] {
        let id = site.device_named(device).unwrap();
        let words = site.device(id).words.unwrap();
        assert_eq!(*site.point(words).id, *format!("{device}.{word}"));
        assert_eq!(site.point(words).device, id);
        assert!(words.0 >= measured);
    }
    assert_eq!(site.devices.iter().filter(|device| device.words.is_some()).count(), 7);
    assert_eq!(loaded.gateway.access.banks.len(), 4);
}

#[test]
fn every_profile_says_what_it_is_and_whether_that_was_verified() {
    for profile in config::profiles() {
        assert!(!profile.about.is_empty() && !profile.kind.is_empty(), "{}", profile.name);
    }
    let verified: BTreeMap<String, bool> =
        config::profiles().into_iter().map(|profile| (profile.name.to_string(), profile.verified)).collect();
    for doubtful in
        ["senseair-s8", "sokol-m", "sdm120", "sdm230", "sdm630", "dtsu666", "qdy30a", "kr-cu16", "winnsen-16"]
    {
        assert!(!verified[doubtful], "{doubtful}");
    }
    for sure in ["xy-md02", "rs-ws-n01", "pzem-016", "dlt645", "waveshare-relay-d8", "uhppote"] {
        assert!(verified[sure], "{sure}");
    }
}

#[test]
fn the_blueprint_is_a_profile_that_works() {
    let blueprint = include_str!("../config/profiles/_blueprint.toml");
    let toml = "[gateway]\nid = \"g\"\n[[channel]]\nid = \"c\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.1:502\"\n\
                [[device]]\nid = \"d\"\nchannel = \"c\"\nunit = 1\nprofile = \"acme-t1\"\nrules = true\n\
                [[device.command]]\naction = \"on\"\ntarget = \"heater\"\n";
    let sources = vec![
        ("gatehouse.toml".into(), toml.to_owned()),
        ("profiles/acme-t1.toml".into(), blueprint.to_owned()),
    ];
    let loaded = config::load_sources(sources).unwrap_or_else(|mistakes| panic!("\n{mistakes}"));
    assert_eq!(loaded.gateway.site.points.len(), 1);
    assert_eq!(loaded.gateway.commands.len(), 1);
    assert!(loaded.gateway.rules.iter().any(|rule: &Rule| &*rule.id == "d-frost"));
    assert!(!PROFILES.iter().any(|(name, _)| name.contains("blueprint")));
}

// ---------------------------------------------------------------------------------------------- frames

fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The points of one Modbus profile.
fn points(profile: &str) -> (Loaded, Vec<modbus::Point>) {
    let loaded = load(one_of_each());
    let id = loaded.gateway.site.device_named(profile).unwrap();
    let kind = &loaded.gateway.channels.iter().find(|channel| &*channel.id == "modbus").unwrap().kind;
    let Kind::Modbus(settings) = kind else { panic!() };
    let points = settings.devices.iter().find(|device| device.id == id).unwrap().points.clone();
    (loaded, points)
}

/// What an answer to a question for registers from `first` says of a point.
fn said(profile: &str, point: &str, first: u16, answer: &str) -> String {
    let frame = hex(answer);
    let (loaded, points) = points(profile);
    let id = loaded.gateway.site.point_named(&format!("{profile}.{point}")).unwrap();
    let point = points.iter().find(|point| point.id == id).unwrap();
    let data = &frame[3..3 + usize::from(frame[2])];
    let words: Vec<u16> = match frame[1] {
        1 | 2 => data.iter().flat_map(|byte| (0..8).map(move |bit| u16::from(byte >> bit & 1))).collect(),
        3 | 4 => data.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
        function => panic!("function {function}"),
    };
    let expected = match frame[1] {
        1 => modbus::Table::Coil,
        2 => modbus::Table::Discrete,
        3 => modbus::Table::Holding,
        _ => modbus::Table::Input,
    };
    assert_eq!(point.table, expected, "{profile}");
    let from = usize::from(point.register - first);
    let words = &words[from..from + usize::from(point.kind.registers())];
    decode::value(point.kind, point.order, point.bit, &point.transform, 0, words).unwrap().to_string()
}

#[test]
fn the_frames_of_real_devices_are_read_as_they_were_meant() {
    const XY: &str = "01 04 04 01 31 02 22 2A CE";
    const XY_COLD: &str = "01 04 04 FF 33 02 22 BA E6";
    const WS: &str = "01 03 04 02 92 FF 9B 5A 3D";
    const SDM: &str = "01 04 04 43 66 33 33 5A FA";
    const PZEM: &str = "01 04 14 08 D1 00 6C 00 00 00 F4 00 00 00 26 00 00 01 F4 00 64 00 00 51 34";
    const INPUTS: &str = "01 02 01 81 61 E8";
    for (profile, point, first, answer, value) in [
        ("xy-md02", "temperature", 1, XY, "30.5"),
        ("xy-md02", "humidity", 1, XY, "54.6"),
        ("xy-md02", "temperature", 1, XY_COLD, "-20.5"),
        ("rs-ws-n01", "humidity", 0, WS, "65.8"),
        ("rs-ws-n01", "temperature", 0, WS, "-10.1"),
        ("cwt-th", "temperature", 0, WS, "-10.1"),
        ("sdm120", "voltage", 0, SDM, "230.2"),
        ("sdm230", "voltage", 0, SDM, "230.2"),
        ("sdm630", "voltage-l1", 0, SDM, "230.2"),
        ("pzem-016", "voltage", 0, PZEM, "225.7"),
        ("pzem-016", "current", 0, PZEM, "0.108"),
        ("pzem-016", "power", 0, PZEM, "24.4"),
        ("pzem-016", "energy", 0, PZEM, "0.038"),
        ("pzem-016", "frequency", 0, PZEM, "50"),
        ("pzem-016", "power-factor", 0, PZEM, "1"),
        ("waveshare-relay-d8", "input-1", 0, INPUTS, "on"),
        ("waveshare-relay-d8", "input-2", 0, INPUTS, "off"),
        ("waveshare-relay-d8", "input-8", 0, INPUTS, "on"),
    ] {
        assert_eq!(said(profile, point, first, answer), value, "{profile}.{point}");
    }
}

/// A value of registers that no public frame shows, as the profile's facts have it.
fn read(profile: &str, point: &str, words: &[u16]) -> Value {
    let (loaded, points) = points(profile);
    let id = loaded.gateway.site.point_named(&format!("{profile}.{point}")).unwrap();
    let point = points.iter().find(|point| point.id == id).unwrap();
    decode::value(point.kind, point.order, point.bit, &point.transform, 0, words).unwrap()
}

#[test]
fn meters_that_count_otherwise_are_told_in_the_units_of_the_contract() {
    let float = |value: f32| [(value.to_bits() >> 16) as u16, value.to_bits() as u16];
    assert_eq!(read("ddsu666", "power", &float(1.2345)), Value::Number(1234.5));
    assert_eq!(read("dtsu666", "voltage-l2", &float(2302.0)), Value::Number(230.2));
    assert_eq!(read("dtsu666", "current-l1", &float(5123.0)), Value::Number(5.123));
    assert_eq!(read("dtsu666", "frequency", &float(4998.0)), Value::Number(49.98));
    // All bytes reversed.
    let [high, low] = float(12.5);
    assert_eq!(read("xintai-water", "volume", &[low.swap_bytes(), high.swap_bytes()]), Value::Number(12.5));
    // The low word first.
    assert_eq!(read("aqualeak-10k", "distance", &[low, high]), Value::Number(12.5));
}

#[test]
fn a_drive_is_at_fault_before_it_is_running() {
    let state = |profile, word| read(profile, "state", &[word]).to_string();
    for (profile, running, fault) in
        [("danfoss-fc51", 1 << 11, 1 << 3), ("veda-vf51", 1, 1 << 4), ("vacon-10", 2, 1 << 3)]
    {
        assert_eq!(state(profile, running), "running", "{profile}");
        assert_eq!(state(profile, fault | running), "fault", "{profile}");
        assert_eq!(state(profile, 0), "stopped", "{profile}");
    }
}

#[test]
fn a_level_transmitter_says_its_own_unit_and_decimals() {
    let (_, points) = points("qdy30a");
    let By { decimals, unit } = &points[0].by;
    assert_eq!(*decimals, Some((modbus::Table::Holding, 3)));
    let (table, register, units) = unit.clone().unwrap();
    assert_eq!((table, register), (modbus::Table::Holding, 2));
    assert!(units.contains(&(16, "m".into())) && units.contains(&(12, "bar".into())));
    // 0x04D2 is 1234, and three decimals make it 1.234.
    let level = &points[0];
    let value = decode::value(level.kind, level.order, level.bit, &level.transform, 3, &[0x04D2]);
    assert_eq!(value, Ok(Value::Number(1.234)));
}

#[test]
fn a_chinese_meter_is_asked_for_what_the_standard_prints() {
    let loaded = load(one_of_each());
    let site = &loaded.gateway.site;
    let items = |device: &str| {
        let id: DeviceId = site.device_named(device).unwrap();
        let mut boards = loaded.gateway.channels.iter().filter_map(|channel| match &channel.kind {
            Kind::Serial(settings) => settings.boards.iter().find(|board| board.id == id),
            _ => None,
        });
        match &boards.next().unwrap().kind {
            serial::Kind::Meter(meter) => meter.clone(),
            serial::Kind::Locker(_) => panic!(),
        }
    };
    let dlt = items("dlt645");
    assert_eq!(dlt.protocol, serial::Metering::Dlt645 { address: None });
    assert_eq!(dlt.points[0].item, serial::Item::Dlt645 { di: 0x0201_0100, digits: 4, signed: false });
    assert_eq!(dlt.points[1].item, serial::Item::Dlt645 { di: 0x0202_0100, digits: 6, signed: true });
    assert_eq!(dlt.points[2].transform.scale, Some(0.1));
    let cjt = items("cjt188");
    assert_eq!(
        cjt.protocol,
        serial::Metering::Cjt188 { address: None, kind: 0x10, order: serial::ItemOrder::LowFirst }
    );
    assert_eq!(cjt.points.len(), 3);
}

// ---------------------------------------------------------------------------------------------- the command

fn gatehouse(arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    let output = command.args(arguments).env("COLUMNS", "160").output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_command_lists_them_by_kind_and_prints_one_to_learn_from() {
    let (fine, list) = gatehouse(&["profiles"]);
    assert!(fine);
    assert_eq!(list.lines().count(), PROFILES.len() + 1);
    let line = |name: &str| list.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
    assert!(line("dlt645").starts_with("meter") && line("dlt645").contains("yes"), "{list}");
    assert!(line("sdm120").contains("no") && line("sdm120").contains("Eastron SDM120"), "{list}");
    let (fine, one) = gatehouse(&["profiles", "sdm120"]);
    assert!(fine);
    assert_eq!(one, include_str!("../config/profiles/sdm120.toml"));
    assert!(!gatehouse(&["profiles", "sdm121"]).0);
}
