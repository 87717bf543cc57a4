//! `gatehouse init`: asks a few questions, looks at a wire, and writes a configuration that `check` accepts. Each question
//! has a default and a flag, so that a script can answer, too.

mod ask;
mod devices;
mod guess;
mod look;
mod page;
mod put;
mod topics;
mod wires;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::ask::{Asker, Tongue, WrongFlag};
use self::devices::Told;
use self::page::Plan;
use self::wires::{Kind, Wire};
use super::Config;
use crate::field::profile::Line;

pub const EXAMPLES: &str = "\
Examples:
  gatehouse init
  gatehouse init --yes --port /dev/ttyUSB0 --device 4=xy-md02,b3-climate
  gatehouse init --yes --address 192.0.2.10:502 --type modbus-tcp --dry-run";

/// What clap says of a wrong usage, too.
const WRONG_USAGE: u8 = 2;

#[derive(Debug, Args)]
pub struct Init {
    #[command(flatten)]
    config: Config,
    /// The gateway's id, unique in the fleet
    #[arg(long)]
    id: Option<String>,
    /// What people call the compound
    #[arg(long)]
    name: Option<String>,
    /// Where the journal and the history are kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Language of the questions and of ticket titles: zh-CN or en; without it, what LANG says
    #[arg(long, value_parser = Tongue::parse)]
    locale: Option<Tongue>,
    /// Without it, this machine's
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<String>,
    /// Where the page and the API are
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The serial port of the line: /dev/serial/by-id/…
    #[arg(long, value_name = "PATH", conflicts_with = "address")]
    port: Option<String>,
    /// Or where it is reached over the network: 192.0.2.10:502, mqtt://192.0.2.3:1883
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// What is spoken there
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Speed of the line; short for --line "9600 8N1"
    #[arg(long, conflicts_with = "line", value_parser = clap::value_parser!(u32).range(300..=1_000_000))]
    baud: Option<u32>,
    /// Speed and parity of the line; without it the usual ones are tried
    #[arg(long, value_name = "SETTING")]
    line: Option<Line>,
    /// Last address to look at
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=247))]
    to: u8,
    /// Nobody is looked for; only the devices of --device are written
    #[arg(long)]
    no_scan: bool,
    /// A device that is known, several times: UNIT=PROFILE, UNIT=PROFILE,ID or UNIT=PROFILE,ID,PLACE
    #[arg(long = "device", value_name = "UNIT=PROFILE")]
    devices: Vec<Told>,
    /// Where devices are whose place is not asked: 3号楼/地下室
    #[arg(long)]
    place: Option<String>,
    /// Takes the default of every question that no flag answers
    #[arg(long)]
    yes: bool,
    /// Writes over a configuration that is there
    #[arg(long)]
    force: bool,
    /// Prints what would be written
    #[arg(long)]
    dry_run: bool,
}

fn zone(name: &str) -> Result<String, String> {
    let known = jiff::tz::TimeZone::get(name).map(|_| name.to_owned());
    known.map_err(|_| "there is no such timezone; write it like Asia/Shanghai or UTC".to_owned())
}

pub async fn init(asked: &Init) -> anyhow::Result<ExitCode> {
    match begun(asked).await {
        Err(error) if error.is::<WrongFlag>() => {
            writeln!(io::stderr(), "gatehouse: {error}")?;
            Ok(ExitCode::from(WRONG_USAGE))
        }
        done => done,
    }
}

async fn begun(asked: &Init) -> anyhow::Result<ExitCode> {
    let tongue = asked.locale.unwrap_or_else(Tongue::of_the_environment);
    if !asked.yes && !io::stdin().is_terminal() {
        let why = tongue.pick(
            "标准输入不是终端，没有人能回答问题；加 --yes 使用默认值，或用参数回答（gatehouse init --help）",
            "standard input is no terminal, so nobody can answer; add --yes to take the defaults, and flags for the rest (gatehouse init --help)",
        );
        writeln!(io::stderr(), "gatehouse: {why}")?;
        return Ok(ExitCode::from(WRONG_USAGE));
    }
    let target = put::Target::of(&asked.config.config);
    if !asked.dry_run {
        target.may_be_written(asked.force, tongue)?;
    }
    let mut asker = Asker::new(tongue, asked.yes);
    let plan = plan(asked, &target, &mut asker).await?;
    let written = put::Written { text: page::page(&plan, tongue), needs_key: plan.tells_of_people() };
    if asked.dry_run {
        return put::show(&written);
    }
    let question = match tongue {
        Tongue::Zh => format!("写入 {}？(y/n)", target.file.display()),
        Tongue::En => format!("Write {}? (y/n)", target.file.display()),
    };
    if asker.ask(&question, "y", None, ask::yes_or_no)? != "y" {
        asker.say(tongue.pick("没有写入任何文件。", "Nothing was written."))?;
        return Ok(ExitCode::SUCCESS);
    }
    put::put(&target, &written, tongue)
}

/// All that has to be known, in the order in which one asks.
async fn plan(asked: &Init, target: &put::Target, asker: &mut Asker) -> anyhow::Result<Plan> {
    let tongue = asker.tongue();
    let question = tongue
        .pick("网关编号（小写字母、数字和 -，全网唯一）", "Gateway id (a-z, 0-9 and -, unique in the fleet)");
    let id = asker.ask(question, &put::hostname(), asked.id.as_deref().map(|id| ("--id", id)), ask::id)?;
    let told = asked.name.as_deref().map(|name| ("--name", name));
    let name = asker.ask(tongue.pick("小区名称", "Name of the compound"), &id, told, ask::short)?;
    let told = asked.data_dir.as_ref().map(|dir| dir.display().to_string());
    let question = tongue.pick("数据目录", "Data directory");
    let data_dir = asker.ask(
        question,
        &target.data_dir(),
        told.as_deref().map(|dir| ("--data-dir", dir)),
        ask::whole_path,
    )?;
    let wire = wire(asked, asker)?;
    let (wire, devices) = devices::devices(asked, wire, asker).await?;
    let timezone = asked.timezone.clone().unwrap_or_else(put::timezone);
    Ok(Plan { id, name, data_dir, timezone, listen: asked.listen, wire, devices })
}

fn wire(asked: &Init, asker: &mut Asker) -> anyhow::Result<Wire> {
    let tongue = asker.tongue();
    let ports = wires::ports();
    let port = asked.port.as_deref().map(|port| ("--port", port));
    let told = port.or_else(|| asked.address.as_deref().map(|address| ("--address", address)));
    if told.is_none() {
        for (nth, port) in ports.iter().enumerate() {
            asker.say(&format!("  {}) {}  {}", nth + 1, port.path, port.about))?;
        }
        if ports.is_empty() {
            asker.say(tongue.pick("  没有发现串口适配器。", "  No serial adapter is plugged in."))?;
        }
    }
    let question = tongue.pick(
        "总线：上面的序号、串口路径，主机:端口，或 mqtt://主机:端口",
        "The wire: a number from above, a port's path, HOST:PORT, or mqtt://HOST:PORT",
    );
    let default = ports.first().map_or("/dev/ttyS0", |_| "1");
    let at = asker.ask(question, default, told, |at| wires::at(at, &ports).map(|_| ()))?;
    let at = wires::at(&at, &ports).map_err(anyhow::Error::msg)?;
    let kinds = Kind::of(&at);
    if asked.kind.is_none() {
        for (nth, kind) in kinds.iter().enumerate() {
            asker.say(&format!("  {}) {}  {}", nth + 1, kind.word(), kind.about(tongue)))?;
        }
    }
    let question = tongue.pick("上面说的是什么协议（序号）", "What is spoken there (a number)");
    let told = asked.kind.map(|kind| ("--type", kind.word()));
    let kind = asker.ask(question, "1", told, |word| Kind::chosen(word, kinds).map(|_| ()))?;
    let kind = Kind::chosen(&kind, kinds).map_err(anyhow::Error::msg)?;
    let line = asked.line.or_else(|| asked.baud.and_then(|baud| format!("{baud} 8N1").parse().ok()));
    Ok(Wire { at, kind, line })
}
