//! The configuration as text, with comments for whoever opens it next. Pure.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use super::ask::Tongue;
use super::devices::{Device, What};
use super::put::{KEY, SCHEMA};
use super::topics;
use super::wires::{Kind, Wire};
use crate::config::PROFILES;

/// All that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub id: String,
    pub name: String,
    pub data_dir: String,
    pub timezone: String,
    pub listen: SocketAddr,
    pub wire: Wire,
    pub devices: Vec<Device>,
}

impl Plan {
    /// Readers and controllers say who came and went, so there has to be a key for the pseudonyms.
    pub fn tells_of_people(&self) -> bool {
        let tells = |device: &Device| match &device.what {
            What::Known { profile, .. } => {
                matches!(profile.as_str(), "osdp-reader" | "uhppote" | "face-terminal")
            }
            What::Unknown | What::OtherSpeed(_) => false,
        };
        self.devices.iter().any(tells)
    }
}

pub fn page(plan: &Plan, tongue: Tongue) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write(&mut text, plan, tongue);
    text
}

fn write(text: &mut String, plan: &Plan, tongue: Tongue) -> fmt::Result {
    writeln!(text, "#:schema ./{SCHEMA}")?;
    text.push_str(tongue.pick(
        "# 由 gatehouse init 写成。改动后：gatehouse check 检查，再 gatehouse reload 生效。\n\n",
        "# Written by gatehouse init. After a change: gatehouse check, then gatehouse reload.\n\n",
    ));
    let unique = tongue.pick("全网唯一，写进每一条事件", "unique in the fleet; part of every event");
    writeln!(text, "[gateway]\nid       = {}  # {unique}", quoted(&plan.id))?;
    writeln!(text, "name     = {}", quoted(&plan.name))?;
    writeln!(text, "timezone = {}", quoted(&plan.timezone))?;
    let titles = tongue.pick("工单标题的语言：zh-CN 或 en", "language of ticket titles: zh-CN or en");
    writeln!(text, "locale   = \"{}\"  # {titles}", tongue.locale())?;
    writeln!(text, "data_dir = {}", quoted(&plan.data_dir))?;
    text.push_str("include  = [\"devices/*.toml\", \"rules/*.toml\", \"profiles/*.toml\"]\n\n");
    let page =
        tongue.pick("网页和接口；没有令牌时只能是本机", "page and API; without tokens on this machine only");
    writeln!(text, "[api]\nlisten = \"{}\"  # {page}\n", plan.listen)?;
    text.push_str(tongue.pick(
        "# 推送到 CRM：\n# [[sync]]\n# name  = \"crm\"\n# url   = \"https://crm.example.com/events\"\n# token = { credential = \"crm-token\" }\n\n",
        "# Events pushed to a CRM:\n# [[sync]]\n# name  = \"crm\"\n# url   = \"https://crm.example.com/events\"\n# token = { credential = \"crm-token\" }\n\n",
    ));
    if plan.tells_of_people() {
        let pseudonyms = tongue.pick(
            "卡号和人名只以假名保存；请另存一份密钥",
            "cards and people are kept as pseudonyms; keep a copy of the key",
        );
        writeln!(text, "[privacy]\nkey = {{ file = \"{KEY}\" }}  # {pseudonyms}\n")?;
    }
    writeln!(text, "{}", plan.wire.toml())?;
    for device in &plan.devices {
        write_device(text, &plan.wire, device, tongue)?;
    }
    rule(text, tongue)
}

fn write_device(text: &mut String, wire: &Wire, device: &Device, tongue: Tongue) -> fmt::Result {
    let said = commented(&device.shows);
    match &device.what {
        What::Known { id, profile, place } => {
            if !said.is_empty() {
                let when = tongue.pick("写入时读到", "when this was written it said");
                writeln!(text, "# {when}: {said}")?;
            }
            writeln!(text, "[[device]]\nid      = {}\nchannel = \"{}\"", quoted(id), wire.id())?;
            text.push_str(&placed(wire.kind, profile, &device.address));
            writeln!(text, "profile = {}", quoted(profile))?;
            if !place.is_empty() {
                writeln!(text, "place   = {}", quoted(place))?;
            }
            text.push_str(suggested(profile, tongue).as_str());
            text.push('\n');
        }
        What::Unknown => write_unknown(text, wire, &device.address, &said, tongue)?,
        What::OtherSpeed(line) => {
            let why = tongue.pick(
                "的波特率不同，请先改成一致",
                "answers at another speed; set it to that of the others first",
            );
            writeln!(text, "# {} {why}: {line}\n", commented(&device.address))?;
        }
    }
    Ok(())
}

/// Its unit, or the number on it.
fn placed(kind: Kind, profile: &str, address: &str) -> String {
    match (kind, profile) {
        (Kind::Uhppote, _) => format!("serial  = {address}\n"),
        (Kind::Mqtt, _) => format!("topic   = {}\n", quoted(address)),
        (_, "dlt645" | "cjt188") => format!("address = \"{address}\"\n"),
        _ => format!("unit    = {address}\n"),
    }
}

/// What the profile has to suggest.
fn suggested(profile: &str, tongue: Tongue) -> String {
    let source = PROFILES.iter().find(|(name, _)| *name == profile).map_or("", |(_, text)| *text);
    let mut text = String::new();
    if source.contains("\n[[rule]]") {
        let rules = tongue.pick("启用该类型建议的规则", "the rules that the profile suggests");
        text.push_str(&format!("rules   = true  # {rules}: gatehouse profiles {profile}\n"));
    }
    if source.contains("\nclean ") {
        let clean = tongue.pick("剔除明显错误的读数", "false readings are told from true ones");
        text.push_str(&format!("clean   = true  # {clean}\n"));
    }
    text
}

fn write_unknown(text: &mut String, wire: &Wire, address: &str, said: &str, tongue: Tongue) -> fmt::Result {
    let what = tongue.pick(
        "有应答，但不认识。按说明书填写测点，去掉 #，再用 gatehouse read 核对",
        "answers, and no profile fits. Fill in its points from its manual, take away the #, and compare with gatehouse read",
    );
    writeln!(text, "# {} ({said}) {what}:", commented(address))?;
    let head = ["[[device]]".to_owned(), format!("channel = \"{}\"", wire.id())];
    let placed = placed(wire.kind, "", address);
    let own = match wire.kind {
        Kind::Mqtt => vec![format!("id      = \"{}\"", topics::called(address)), placed],
        _ => vec![format!("id      = \"unit-{address}\""), placed],
    };
    let point = match wire.kind {
        Kind::Mqtt => message_point(tongue),
        _ => register_point(tongue),
    };
    let lines = head.into_iter().chain(own).chain(point);
    for line in lines {
        writeln!(text, "# {}", line.trim_end())?;
    }
    text.push('\n');
    Ok(())
}

fn register_point(tongue: Tongue) -> Vec<String> {
    let functions = tongue
        .pick("03 holding，04 input，01 coil，02 discrete", "03 holding, 04 input, 01 coil, 02 discrete");
    let zero = tongue.pick("从 0 算起：说明书的 40001 是 0", "zero-based: 40001 in the manual is 0");
    vec![
        "[[device.point]]".into(),
        "id       = \"value\"".into(),
        format!("table    = \"holding\"  # {functions}"),
        format!("register = 0  # {zero}"),
        "type     = \"u16\"  # u16 i16 u32 i32 f32 …".into(),
        "scale    = 1".into(),
        "range    = [0, 65535]".into(),
    ]
}

fn message_point(tongue: Tongue) -> Vec<String> {
    let pointer = tongue.pick("消息（JSON）里的位置", "where it stands in the message (JSON)");
    vec![
        "[[device.point]]".into(),
        "id   = \"value\"".into(),
        format!("json = \"/temperature\"  # {pointer}"),
    ]
}

/// An example to begin with; those of the profiles are on already.
fn rule(text: &mut String, tongue: Tongue) -> fmt::Result {
    let own = tongue.pick("自己的规则（docs/rules.md）：", "A rule of your own (docs/rules.md):");
    writeln!(text, "# {own}")?;
    for line in [
        "[[rule]]",
        "id       = \"too-humid\"",
        "point    = \"*.humidity\"",
        "above    = 85.0",
        "deadband = 5.0",
        "on_delay = \"10m\"",
        "level    = 3",
    ] {
        writeln!(text, "# {line}")?;
    }
    Ok(())
}

/// As a TOML text.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What a device says goes into a comment: it stays one line.
fn commented(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::super::wires::At;
    use super::*;
    use crate::config;

    fn plan(kind: Kind, devices: Vec<Device>) -> Plan {
        let at = match kind {
            Kind::ModbusTcp | Kind::Uhppote => At::Address("192.0.2.10:502".into()),
            Kind::Mqtt => At::Address("mqtt://127.0.0.1:1883".into()),
            _ => At::Port("/dev/serial/by-id/usb-\"quoted\"".into()),
        };
        Plan {
            id: "cp-017".into(),
            name: "锦绣 \"花园\" \\".into(),
            data_dir: "/var/lib/gatehouse".into(),
            timezone: "Asia/Shanghai".into(),
            listen: "127.0.0.1:8080".parse().unwrap(),
            wire: Wire { at, kind, line: "4800 8E1".parse().ok() },
            devices,
        }
    }

    fn device(address: &str, profile: &str) -> Device {
        let what = What::Known { id: "one".into(), profile: profile.into(), place: "3号楼".into() };
        Device { address: address.into(), shows: "said\nthis".into(), what }
    }

    #[test]
    fn every_profile_is_written_so_that_check_accepts_it() {
        for tongue in [Tongue::Zh, Tongue::En] {
            for profile in config::profiles() {
                let kinds =
                    [Kind::ModbusRtu, Kind::ModbusTcp, Kind::Serial, Kind::Osdp, Kind::Uhppote, Kind::Mqtt];
                for kind in
                    kinds.into_iter().filter(|kind| super::super::devices::fits(&profile.transport, *kind))
                {
                    let address = match &*profile.name {
                        "dlt645" => "181219024435",
                        "cjt188" => "00291524032620",
                        "face-terminal" => "mqtt/face/1026700",
                        _ => "4",
                    };
                    let plan = plan(kind, vec![device(address, &profile.name)]);
                    let text =
                        page(&plan, tongue).replace("{ file = \"privacy-key\" }", "{ env = \"PATH\" }");
                    let loaded = config::load_sources(vec![("gatehouse.toml".into(), text.clone())]);
                    let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"));
                    assert_eq!(loaded.gateway.site.devices.len(), 1, "{text}");
                    assert_eq!(&*loaded.gateway.site.name, plan.name);
                }
            }
        }
    }

    #[test]
    fn what_nobody_knows_is_left_to_a_person_and_is_no_mistake() {
        let unknown =
            Device { address: "9".into(), shows: "register 0 = 0x0001".into(), what: What::Unknown };
        let other = What::OtherSpeed("2400 8N1".parse().unwrap());
        let other = Device { address: "7".into(), shows: String::new(), what: other };
        let topic = Device { address: "zigbee2mqtt/水泵房".into(), ..unknown.clone() };
        for (kind, devices) in [(Kind::ModbusRtu, vec![unknown, other]), (Kind::Mqtt, vec![topic])] {
            fills_in(&page(&plan(kind, devices), Tongue::En));
        }
    }

    /// What is commented out is right as well, once somebody takes away the marks.
    fn fills_in(text: &str) {
        let load = |text: String| config::load_sources(vec![("gatehouse.toml".into(), text)]);
        assert_eq!(load(text.to_owned()).unwrap().gateway.site.devices.len(), 0);
        let (head, rest) = text.split_once("# [[device]]").unwrap();
        let (block, _) = rest.split_once("\n\n").unwrap();
        let filled = format!("{head}[[device]]{}\n", block.replace("\n# ", "\n"));
        assert_eq!(load(filled).unwrap().gateway.site.points.len(), 1);
    }
}
