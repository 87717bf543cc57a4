//! The machine: who asks, the daemon, the clock, memory, the service.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Finding;
use super::processes::Daemon;
use crate::cli::client::{Answer, Ready};
use crate::cli::table::size;
use crate::clock::WRITTEN;
use crate::config::Gateway;
use crate::reading::Millis;
use crate::sync::ProbeClock;
use crate::time;
use crate::web::Demand;

/// The centre's clock is told to the second, and its answer takes a while.
const OFF_WARN: Millis = 10_000;
const OFF_BAD: Millis = 60_000;
const MEMORY_WARN: u64 = 32 << 20;
const MEMORY_BAD: u64 = 12 << 20;
const SYSTEMCTL_WITHIN: Duration = Duration::from_secs(5);

/// What root may do, the daemon may not.
pub fn who() -> Option<Finding> {
    rustix::process::geteuid().is_root().then(|| {
        let found =
            "asked as root, who may open everything; as the daemon would: sudo -u gatehouse gatehouse doctor";
        Finding::ok("rights", found)
    })
}

/// Whether it runs, and what it says of itself.
pub fn daemon(
    gateway: &Gateway,
    url: &str,
    answer: Option<&Answer>,
    daemon: Option<Daemon>,
    shows_one: bool,
) -> Finding {
    let what = "daemon";
    match (daemon, answer) {
        (None, None) => Finding::warn(what, "does not run", "start it: systemctl start gatehouse"),
        (None, Some(_)) => Finding::bad(
            what,
            format!("{url} answers, but nobody has {} open", gateway.store.dir.display()),
            "another daemon, or another program, has this address: ss -ltnp; give one of them another [api] listen",
        ),
        (Some(_), None) if asks_all(gateway) && !shows_one => Finding::warn(
            what,
            format!(
                "runs; its API at {url} hears only who shows a certificate that [api] tls.client_ca has signed"
            ),
            "show one: gatehouse doctor --cert FILE --key FILE, or $GATEHOUSE_CERT and $GATEHOUSE_KEY",
        ),
        (Some(_), None) => Finding::bad(
            what,
            format!("runs, but its API at {url} does not answer"),
            "see what it does: journalctl -u gatehouse -n 50; with another port say --url; systemctl restart gatehouse",
        ),
        (Some(daemon), Some(answer)) => match serde_json::from_str::<Ready>(&answer.text) {
            Ok(Ready { degraded: Some(why), .. }) => Finding::bad(
                what,
                format!("runs, but not as it should: {why}"),
                "put that right; journalctl -u gatehouse says more",
            ),
            Ok(Ready { degraded: None, .. }) if answer.status.is_success() => {
                Finding::ok(what, format!("runs and is ready{}", memory_of(daemon)))
            }
            _ => Finding::warn(
                what,
                format!("runs, and says: {}", answer.status),
                "it starts or stops; ask again",
            ),
        },
    }
}

/// Whether who shows no certificate is not heard at all.
fn asks_all(gateway: &Gateway) -> bool {
    gateway.web.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some() && tls.client == Demand::All)
}

fn memory_of(daemon: Daemon) -> String {
    let pid = daemon.pid.unwrap_or_default();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&status, "VmRSS:").map_or_else(String::new, |bytes| format!(", {} of memory", size(bytes)))
}

pub fn clock() -> Vec<Finding> {
    let what = "clock";
    let now = time::now();
    let shown = time::format(now);
    let cure = "timedatectl set-ntp true; see whom it asks: chronyc sources, or timedatectl timesync-status";
    vec![if now < WRITTEN {
        Finding::bad(what, format!("says {shown}, which cannot be"), cure)
    } else if !time::clock_is_synced() {
        let found = format!("says {shown}, and the kernel does not know whether that is right");
        Finding::warn(
            what,
            found,
            format!("{cure}; until then events are marked unsynced and no deadline passes"),
        )
    } else {
        Finding::ok(what, format!("{shown}, synchronised"))
    }]
}

/// Our clock beside those of the centres.
pub fn against(clocks: &[(String, ProbeClock)]) -> Vec<Finding> {
    let beside = |(name, clock): &(String, ProbeClock)| {
        let what = format!("clock of {name}");
        let off = clock.ours - clock.theirs;
        let (seconds, way) = ((off.abs() + 500) / 1000, if off > 0 { "ahead of" } else { "behind" });
        let found = format!("ours is {seconds} s {way} it");
        let cure = "one of the two is wrong: compare with a watch; timedatectl";
        match off.abs() {
            OFF_BAD.. => Finding::bad(what, found, cure),
            OFF_WARN.. => Finding::warn(what, found, cure),
            _ => Finding::ok(what, "agrees with ours"),
        }
    };
    clocks.iter().map(beside).collect()
}

pub fn memory() -> Option<Finding> {
    let about = fs::read_to_string("/proc/meminfo").ok()?;
    let (free, all) = (kib(&about, "MemAvailable:")?, kib(&about, "MemTotal:")?);
    let found = format!("{} available of {}", size(free), size(all));
    let cure = "see who takes it: ps -eo rss,comm --sort=-rss | head; the daemon itself needs some 24 MiB";
    Some(match free {
        _ if free < MEMORY_BAD => Finding::bad("memory", found, cure),
        _ if free < MEMORY_WARN => Finding::warn("memory", found, cure),
        _ => Finding::ok("memory", found),
    })
}

/// Bytes in a line like `MemTotal:  123 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The service, where systemd is.
pub fn unit() -> Option<Finding> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let said = systemctl()?;
    let value = |key: &str| {
        said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
    };
    let (state, enabled, restarts) = (value("ActiveState"), value("UnitFileState"), value("NRestarts"));
    let what = "service";
    let found = format!("{state}, {enabled}, started again {restarts} times by itself");
    Some(match (value("LoadState"), state, enabled) {
        ("loaded", "failed", _) => {
            let cure = "journalctl -u gatehouse -n 50 says why; then systemctl reset-failed gatehouse; systemctl start gatehouse";
            Finding::bad(what, format!("failed: {}", value("Result")), cure)
        }
        ("loaded", _, "disabled") => Finding::warn(
            what,
            format!("{found}: after a power cut it would not come back"),
            "systemctl enable gatehouse",
        ),
        ("loaded", ..) if restarts.parse().unwrap_or(0) > 0 => Finding::warn(
            what,
            found,
            "it ended and was started again; why: journalctl -u gatehouse | grep -B5 -i 'main process exited'",
        ),
        ("loaded", ..) => Finding::ok(what, format!("{state}, {enabled}")),
        _ => {
            let cure =
                "copy systemd/gatehouse.service to /etc/systemd/system; systemctl enable --now gatehouse";
            Finding::warn(what, "systemd has no gatehouse.service: nobody starts it after a power cut", cure)
        }
    })
}

fn systemctl() -> Option<String> {
    let mut command = Command::new("systemctl");
    let wanted = "LoadState,ActiveState,UnitFileState,NRestarts,Result";
    command
        .args(["show", "gatehouse.service", "-p", wanted])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let end = Instant::now() + SYSTEMCTL_WITHIN;
    // A bus that hangs must not hold up the rest; what is said fits into the pipe.
    while child.try_wait().ok()?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_clock_is_held_against_the_centres() {
        let off = |ours, theirs| against(&[("crm".into(), ProbeClock { ours, theirs })])[0].clone();
        assert_eq!(off(5_000, 4_000).verdict, Verdict::Ok);
        assert_eq!(off(0, 15_000).verdict, Verdict::Warn);
        let bad = off(3_600_000, 0);
        assert_eq!(bad.verdict, Verdict::Bad);
        assert!(bad.found.contains("3600 s ahead of"), "{}", bad.found);
    }

    #[test]
    fn memory_is_read_from_the_kernels_table() {
        assert_eq!(kib("MemTotal:       512 kB\nMemAvailable:  64 kB\n", "MemAvailable:"), Some(65_536));
        assert_eq!(kib("nothing", "MemTotal:"), None);
    }
}
