//! Which devices are written: those that answer, each with what it is, how it is called and where it stands; and those
//! that were told.

use std::str::FromStr;

use super::Init;
use super::ask::{self, Asker, Tongue};
use super::look::{self, Found, speeds};
use super::topics;
use super::wires::{Kind, Wire};
use crate::config::{self, PROFILES};
use crate::field::profile::{Line, Transport};

const LINE_DEFAULT: &str = "9600 8N1";

/// `4=xy-md02,b3-climate,3号楼/地下室`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    address: String,
    profile: String,
    id: Option<String>,
    place: Option<String>,
}

impl FromStr for Told {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device; write it like 4=xy-md02,b3-climate,3号楼/地下室");
        let (address, rest) = text.split_once('=').ok_or_else(wrong)?;
        let mut parts = rest.splitn(3, ',').map(str::trim);
        let profile = parts
            .next()
            .filter(|profile| is_profile(profile))
            .ok_or_else(|| format!("`{text}`: there is no such profile; `gatehouse profiles` lists them"))?;
        if address.is_empty() || !address.chars().all(|c| c.is_ascii_digit()) {
            return Err(wrong());
        }
        let mut next = || parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
        Ok(Self { address: address.to_owned(), profile: profile.to_owned(), id: next(), place: next() })
    }
}

/// One device of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its unit, its number, or its serial number: as it answers.
    pub address: String,
    /// What it said, for the comment.
    pub shows: String,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Known {
        id: String,
        profile: String,
        place: String,
    },
    /// No profile fits: its points are for a person to fill in.
    Unknown,
    /// It answers at another speed than the others, which cannot be on one wire.
    OtherSpeed(Line),
}

/// The wire as it was found, and who is on it.
pub async fn devices(asked: &Init, mut wire: Wire, asker: &mut Asker) -> anyhow::Result<(Wire, Vec<Device>)> {
    let tongue = asker.tongue();
    let found = found(asked, &wire, asker).await?;
    if found.as_ref().is_some_and(Vec::is_empty) {
        asker.say(tongue.pick(
            "没有设备应答：检查 A/B 是否接反、供电和地址拨码；先写下配置，之后再添加设备。",
            "Nobody answers: look at A and B, the power and the addresses; devices can be added later.",
        ))?;
    }
    let found = found.unwrap_or_default();
    if wire.has_a_speed() && wire.line.is_none() {
        wire.line = line(&found, &asked.devices);
    }
    let mut devices: Vec<Device> = Vec::new();
    for one in &found {
        let address = address(one, wire.kind);
        let told = asked.devices.iter().find(|told| told.address == address);
        let what = match one.line.filter(|line| Some(*line) != wire.line) {
            Some(other) => What::OtherSpeed(other),
            None => what(asked, one, told, &wire, &devices, asker)?,
        };
        let shows = shown(one, &what);
        devices.push(Device { address, shows, what });
    }
    for told in &asked.devices {
        if devices.iter().all(|device| device.address != told.address) {
            let device = known(asked, told.profile.clone(), &told.address, Some(told), &devices, asker)?;
            devices.push(Device { address: told.address.clone(), shows: String::new(), what: device });
        }
    }
    if speeds(&found).len() > 1 {
        asker.say(tongue.pick(
            "同一条总线上有不同波特率的设备：请把它们改成相同的。",
            "There are devices of different speeds on this wire: set them to one.",
        ))?;
    }
    Ok((wire, devices))
}

/// `None`: nobody was looked for. A person goes on where the wire cannot be used; a script is told.
async fn found(asked: &Init, wire: &Wire, asker: &Asker) -> anyhow::Result<Option<Vec<Found>>> {
    if asked.no_scan {
        return Ok(None);
    }
    match look::search(wire, asked.to, asker.tongue()).await {
        Ok(found) => Ok(Some(found)),
        Err(why) if asked.yes => Err(why),
        Err(why) => {
            asker.say(&format!("  {why:#}"))?;
            Ok(None)
        }
    }
}

/// At which most of them answer; where nobody does, as the told ones leave the factory.
fn line(found: &[Found], told: &[Told]) -> Option<Line> {
    let lines: Vec<Line> = found.iter().filter_map(|found| found.line).collect();
    let often = |line: &Line| lines.iter().filter(|other| *other == line).count();
    let factory = || {
        let profiles = config::profiles();
        let of = |told: &Told| profiles.iter().find(|profile| *profile.name == *told.profile);
        told.iter().find_map(|told| of(told)?.transport.line())
    };
    // Of those that are as many, the first.
    let most = lines.iter().rev().max_by_key(|line| often(line)).copied();
    most.or_else(factory).or_else(|| LINE_DEFAULT.parse().ok())
}

/// A meter names itself; all others are at their address.
fn address(found: &Found, kind: Kind) -> String {
    let number = found.how.rsplit(' ').next().filter(|_| kind == Kind::Serial);
    match number.filter(|_| matches!(look::board(&found.how), "dlt645" | "cjt188")) {
        Some(number) => number.to_owned(),
        None => found.address.clone(),
    }
}

fn shown(found: &Found, what: &What) -> String {
    let chosen = match what {
        What::Known { profile, .. } => found.likely.iter().find(|likely| likely.profile == *profile),
        _ => None,
    };
    chosen.map_or_else(|| found.how.clone(), |likely| likely.shows.clone())
}

fn what(
    asked: &Init,
    found: &Found,
    told: Option<&Told>,
    wire: &Wire,
    others: &[Device],
    asker: &mut Asker,
) -> anyhow::Result<What> {
    let tongue = asker.tongue();
    let address = address(found, wire.kind);
    if told.is_none() {
        let line = found.line.map(|line| format!("  {line}")).unwrap_or_default();
        asker.say(&format!(
            "\n{} {address}{line}  {}",
            tongue.pick("应答：地址", "Answers: address"),
            found.how
        ))?;
        for (nth, likely) in found.likely.iter().enumerate() {
            asker.say(&format!("  {}) {}  {}", nth + 1, likely.profile, likely.shows))?;
        }
    }
    let question = tongue.pick(
        "这是什么设备：序号、类型名（gatehouse profiles），0 = 都不是",
        "What is it: a number, a profile (gatehouse profiles), 0 = none of these",
    );
    let default = if found.likely.is_empty() { "0" } else { "1" };
    let right = |answer: &str| chosen(answer, found, wire.kind, tongue).map(|_| ());
    let answer = asker.ask(question, default, told.map(|told| ("--device", told.profile.as_str())), right)?;
    match chosen(&answer, found, wire.kind, tongue).map_err(anyhow::Error::msg)? {
        Some(profile) => known(asked, profile, &address, told, others, asker),
        None => Ok(What::Unknown),
    }
}

/// `None`: none of these.
fn chosen(answer: &str, found: &Found, kind: Kind, tongue: Tongue) -> Result<Option<String>, String> {
    match answer.parse::<usize>() {
        Ok(0) => Ok(None),
        Ok(nth) => match found.likely.get(nth - 1) {
            Some(likely) => Ok(Some(likely.profile.clone())),
            None => Err(format!("0 … {}", found.likely.len())),
        },
        Err(_) => {
            let profiles = config::profiles();
            let fitting = profiles.iter().any(|p| *p.name == *answer && fits(&p.transport, kind));
            fitting.then(|| Some(answer.to_owned())).ok_or_else(|| {
                tongue.pick("这条总线上没有这种类型", "there is no such profile for this wire").into()
            })
        }
    }
}

fn known(
    asked: &Init,
    profile: String,
    address: &str,
    told: Option<&Told>,
    others: &[Device],
    asker: &mut Asker,
) -> anyhow::Result<What> {
    let tongue = asker.tongue();
    // A told device is asked nothing more.
    let given = |own: Option<&String>, default: &str| match (told, own) {
        (_, Some(own)) => Some(own.clone()),
        (Some(_), None) => Some(default.to_owned()),
        (None, None) => None,
    };
    let default = free(called(&profile, address), others);
    let id = given(told.and_then(|told| told.id.as_ref()), &default);
    let fresh = |id: &str| {
        ask::id(id)?;
        if is_taken(id, others) {
            return Err(tongue.pick("已有同名设备", "there is one of this id").into());
        }
        Ok(())
    };
    let id = asker.ask(
        tongue.pick("  设备编号", "  Its id"),
        &default,
        id.as_deref().map(|id| ("--device", id)),
        fresh,
    )?;
    let last = others.iter().rev().find_map(|other| match &other.what {
        What::Known { place, .. } => Some(place.clone()),
        _ => None,
    });
    let default = asked.place.clone().or(last).unwrap_or_default();
    let own = given(told.and_then(|told| told.place.as_ref()), &default);
    let own = own.as_deref().map(|place| ("--device", place));
    let place = own.or_else(|| asked.place.as_deref().map(|place| ("--place", place)));
    let question =
        tongue.pick("  位置（从大到小，如 3号楼/地下室）", "  Place, widest first (Building 3/Cellar)");
    let place = asker.ask(question, &default, place, ask::short)?;
    Ok(What::Known { id, profile, place })
}

/// `xy-md02-4`; a meter's number is long, its end is enough.
fn called(profile: &str, address: &str) -> String {
    if address.contains(|c: char| !c.is_ascii_digit()) {
        return topics::called(address);
    }
    let end = address.len().saturating_sub(4);
    let what = match profile {
        "lock-board-8a" | "kr-cu16" | "kr-cu48" | "winnsen-16" => "bank",
        "osdp-reader" => "reader",
        "uhppote" => "gate",
        other => other,
    };
    format!("{what}-{}", address.get(end..).unwrap_or(address))
}

fn is_taken(id: &str, others: &[Device]) -> bool {
    others.iter().any(|other| matches!(&other.what, What::Known { id: has, .. } if has == id))
}

/// The id, or with a number behind it where another has it: all of a broker's topics may be Chinese.
fn free(id: String, others: &[Device]) -> String {
    if !is_taken(&id, others) {
        return id;
    }
    let numbered = (2..).map(|nth| format!("{id}-{nth}"));
    numbered.take(others.len() + 1).find(|id| !is_taken(id, others)).unwrap_or(id)
}

fn is_profile(name: &str) -> bool {
    PROFILES.iter().any(|(known, _)| *known == name)
}

/// Whether a device of this type can hang on that wire.
pub fn fits(transport: &Transport, kind: Kind) -> bool {
    match kind {
        Kind::ModbusRtu | Kind::ModbusTcp | Kind::ModbusRtuOverTcp => {
            matches!(transport, Transport::Modbus { .. })
        }
        Kind::Serial => matches!(transport, Transport::Locker { .. } | Transport::Meter { .. }),
        Kind::Osdp => matches!(transport, Transport::Osdp { .. }),
        Kind::Uhppote => matches!(transport, Transport::Uhppote { .. }),
        Kind::Mqtt => matches!(transport, Transport::Mqtt { .. }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_in_a_word() {
        let told: Told = "4=xy-md02,b3-climate,3号楼/地下室".parse().unwrap();
        assert_eq!((told.address.as_str(), told.profile.as_str()), ("4", "xy-md02"));
        assert_eq!((told.id.as_deref(), told.place.as_deref()), (Some("b3-climate"), Some("3号楼/地下室")));
        assert_eq!("4=xy-md02".parse::<Told>().unwrap().id, None);
        for wrong in ["xy-md02", "4=", "4=nothing", "=xy-md02", "a=xy-md02"] {
            assert!(wrong.parse::<Told>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_speed_is_that_of_most_and_a_meter_has_its_number() {
        let at = |line: &str| Found {
            address: "1".into(),
            line: line.parse().ok(),
            how: "DL/T 645 meter 181219024435".into(),
            likely: Vec::new(),
        };
        let of = |lines: &[&str]| line(&lines.iter().map(|line| at(line)).collect::<Vec<_>>(), &[]);
        assert_eq!(of(&["4800 8N1", "9600 8N1", "9600 8N1"]), "9600 8N1".parse().ok());
        assert_eq!(of(&["4800 8N1", "9600 8N1"]), "4800 8N1".parse().ok());
        assert_eq!(of(&[]), "9600 8N1".parse().ok());
        assert_eq!(line(&[], &["1=rs-ws-n01".parse().unwrap()]), "4800 8N1".parse().ok());
        assert_eq!(address(&at("2400 8E1"), Kind::Serial), "181219024435");
        assert_eq!(called("dlt645", "181219024435"), "dlt645-4435");
        assert_eq!(called("xy-md02", "4"), "xy-md02-4");
    }

    #[test]
    fn an_id_that_is_proposed_is_nobody_elses() {
        let mut others: Vec<Device> = Vec::new();
        for expected in ["sensor", "sensor-2", "sensor-3"] {
            let id = free(called("zigbee2mqtt-leak", "zigbee2mqtt/水泵房"), &others);
            assert_eq!(id, expected);
            let what = What::Known { id, profile: "zigbee2mqtt-leak".into(), place: String::new() };
            others.push(Device { address: "zigbee2mqtt/水泵房".into(), shows: String::new(), what });
        }
    }
}
