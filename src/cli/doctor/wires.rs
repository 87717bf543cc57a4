//! Serial ports and endpoints. No port is opened, and no connection made where the daemon has one: a port that is opened moves its control lines, and
//! a small device often has room for one connection alone.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Finding;
use super::processes::{Daemon, Processes, name};
use crate::config::Gateway;
use crate::field::Kind;
use crate::field::wire::Wire;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const BY_ID: &str = "/dev/serial/by-id";
/// ESTABLISHED in /proc/net/tcp.
const ESTABLISHED: &str = "01";

/// Every serial port that is configured.
pub fn ports(gateway: &Gateway, processes: &Processes, daemon: Option<Daemon>) -> Vec<Finding> {
    let ports = gateway.channels.iter().filter_map(|channel| match wire(&channel.kind) {
        Some(Wire::Serial(port)) => Some((&channel.id, &*port.path)),
        _ => None,
    });
    ports.map(|(id, path)| port(format!("port {id}"), Path::new(path), processes, daemon)).collect()
}

fn wire(kind: &Kind) -> Option<&Wire> {
    match kind {
        Kind::Modbus(settings) => Some(&settings.wire),
        Kind::Serial(settings) => Some(&settings.wire),
        Kind::Osdp(settings) => Some(&settings.wire),
        Kind::Uhppote(_) | Kind::Mqtt(_) => None,
    }
}

fn port(what: String, path: &Path, processes: &Processes, daemon: Option<Daemon>) -> Finding {
    let shown = path.display();
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) => {
            let there = there_is();
            let cure = format!("plug the adapter in, or write its name into the configuration: {there}");
            return Finding::bad(what, format!("{shown} is not there: {error}"), cure);
        }
    };
    if !about.file_type().is_char_device() {
        return Finding::bad(what, format!("{shown} is no serial port"), format!("name one: {}", there_is()));
    }
    if let Some(pid) = processes.holder(path) {
        return match daemon {
            Some(Daemon { pid: Some(daemon) }) if daemon == pid => {
                Finding::ok(what, format!("{shown}, open in the daemon"))
            }
            _ => Finding::bad(
                what,
                format!("{shown} is held by {}", name(pid)),
                format!("stop that one, two on one line answer each other's questions: fuser -v {shown}"),
            ),
        };
    }
    if rustix::fs::access(path, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK).is_err() {
        let cure =
            "add the daemon's user to the port's group (usermod -aG dialout gatehouse) and start it again";
        return Finding::bad(what, format!("{shown} is there, but this user may not open it"), cure);
    }
    match unsteady(path) {
        Some(steady) => Finding::warn(
            what,
            format!("{shown} is there; the next adapter that is plugged in may take this name"),
            format!("name it by what it is: port = \"{steady}\""),
        ),
        None => Finding::ok(what, format!("{shown} is there, and this user may open it")),
    }
}

/// The name of a USB adapter that does not change, where another is written.
fn unsteady(path: &Path) -> Option<String> {
    let here = fs::canonicalize(path).ok()?;
    if here != path {
        return None;
    }
    let links = fs::read_dir(BY_ID).ok()?.flatten().map(|entry| entry.path());
    let steady = links.filter(|link| fs::canonicalize(link).is_ok_and(|target| target == here)).min()?;
    Some(steady.display().to_string())
}

fn there_is() -> String {
    let names = |dir: &str, wanted: fn(&str) -> bool| -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| wanted(name));
        names.map(|name| format!("{dir}/{name}")).collect()
    };
    let mut there = names(BY_ID, |_| true);
    if there.is_empty() {
        there =
            names("/dev", |name| ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|start| name.starts_with(start)));
    }
    there.sort();
    match there.is_empty() {
        true => "no USB adapter is plugged in".into(),
        false => format!("there is {}", there.join(", ")),
    }
}

/// Every endpoint that is reached over TCP, all at once.
pub async fn endpoints(gateway: &Gateway, runs: bool) -> Vec<Finding> {
    let mut looks = JoinSet::new();
    for (n, channel) in gateway.channels.iter().enumerate() {
        let (word, address) = match &channel.kind {
            Kind::Mqtt(settings) => ("broker", format!("{}:{}", settings.host, settings.port)),
            kind => match wire(kind) {
                Some(Wire::Tcp { address }) => ("endpoint", address.to_string()),
                // A port is no endpoint, and to UDP nobody connects.
                _ => continue,
            },
        };
        let what = format!("{word} {}", channel.id);
        looks.spawn(async move { (n, endpoint(what, &address, runs).await) });
    }
    let mut findings = looks.join_all().await;
    findings.sort_by_key(|(n, _)| *n);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

async fn endpoint(what: String, address: &str, runs: bool) -> Finding {
    let found = match timeout(CONNECT_WITHIN, lookup_host(address)).await {
        Ok(Ok(found)) => found.collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        let cure =
            "write the address as numbers, or look after the DNS: getent hosts NAME; cat /etc/resolv.conf";
        return Finding::bad(what, format!("{address}: no address of that name"), cure);
    }
    let connected = connections();
    if runs && found.iter().any(|address| connected.contains(address)) {
        return Finding::ok(what, format!("{address}, the daemon is connected"));
    }
    match timeout(CONNECT_WITHIN, TcpStream::connect(&*found)).await {
        Ok(Ok(_)) => Finding::ok(what, format!("{address} takes a connection")),
        failed => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => format!("no answer within {} s", CONNECT_WITHIN.as_secs()),
            };
            let cure = "see that it has power and network, and that address and port are right: ping, then its own page";
            Finding::bad(what, format!("{address}: {why}"), cure)
        }
    }
}

/// The far ends of all TCP connections of this machine.
fn connections() -> HashSet<SocketAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(far_end).collect()
}

/// `… 0100007F:1F90 0200000A:01F6 01 …`: local, remote, state; words of the address in the byte order of the machine.
fn far_end(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace().skip(2);
    let (remote, state) = (words.next()?, words.next()?);
    let (address, port) = remote.split_once(':')?;
    let word = |n: usize| u32::from_str_radix(address.get(8 * n..8 * n + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(words).ok()?).to_canonical()
        }
        _ => return None,
    };
    (state == ESTABLISHED).then_some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_names_the_far_end() {
        if cfg!(target_endian = "little") {
            let line =
                "   0: 0100007F:A0B2 0A0200C0:01F6 01 00000000:00000000 00:00000000 00000000 0 0 1 1 0 20";
            assert_eq!(far_end(line), Some("192.0.2.10:502".parse().unwrap()));
            assert_eq!(far_end(&line.replace(" 01 ", " 0A ")), None, "one that only listens");
            let six = "0: 0:1 0000000000000000FFFF00000A0200C0:01F6 01";
            assert_eq!(far_end(six), Some("192.0.2.10:502".parse().unwrap()));
        }
        assert_eq!(far_end("  sl  local_address rem_address"), None);
        assert_eq!(far_end(""), None);
    }
}
