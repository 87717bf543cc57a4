//! The real binary on a data directory, with one Modbus device whose registers open tickets.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub const REGISTERS: u16 = 110;

pub struct Daemon {
    child: Child,
    pub api: SocketAddr,
}

pub fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Daemon {
    /// Pushing to a centre as the consumer `name`; returns once it is ready.
    pub fn run(dir: &Path, modbus: SocketAddr, name: &str, centre: SocketAddr, more: &str) -> Self {
        let api = free_port();
        let mut toml = format!(
            "[gateway]\nid = \"bench\"\nlocale = \"en\"\ndata_dir = \"{}\"\n[api]\nlisten = \"{api}\"\n\
             [[sync]]\nname = \"{name}\"\nurl = \"http://{centre}/events\"\n{more}\n\
             [[channel]]\nid = \"line\"\ntype = \"modbus-tcp\"\naddress = \"{modbus}\"\n\
             [[device]]\nid = \"live\"\nchannel = \"line\"\nunit = 1\npoll = \"100ms\"\nplace = \"hall\"\n",
            dir.join("data").display()
        );
        for register in 0..REGISTERS {
            write!(
                toml,
                "[[device.point]]\nid = \"r{register}\"\ntable = \"holding\"\nregister = {register}\ntype = \"u16\"\n"
            )
            .unwrap();
        }
        toml.push_str("[[rule]]\nid = \"high\"\npoint = \"live.*\"\nabove = 100\nlevel = 1\n");
        let path = dir.join("gatehouse.toml");
        fs::write(&path, toml).unwrap();
        let log = fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
            .args(["run", "--config"])
            .arg(&path)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, api };
        let end = Instant::now() + Duration::from_secs(60);
        while !daemon.is_ready() {
            assert!(Instant::now() < end, "gatehouse did not come up; see {}", dir.join("log").display());
            thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn is_ready(&self) -> bool {
        let status = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{}/readyz", self.api)])
            .output();
        status.is_ok_and(|done| done.stdout == b"200")
    }

    /// Resident memory in MB: now, and at its highest.
    pub fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
        };
        (of("VmRSS"), of("VmHWM"))
    }

    /// Seconds of processor time used so far.
    pub fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum::<f64>() / 100.0
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
