//! What the tests of the Modbus master share: peers that others wrote, and a channel that runs.
#![allow(dead_code, reason = "each test uses a part")]

#[path = "../ports/mod.rs"]
mod ports;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::modbus::{self, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::field::{Context, Errand, Exchange, Scan, Sighting};
use gatehouse::metrics::Metrics;
use gatehouse::order::Deed;
use gatehouse::reading::{Batch, DeviceId, PointId, Quality, Site};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use ports::free_port;

pub const PATIENCE: Duration = Duration::from_secs(30);
const BAUD: u32 = 19200;

// --- peers ---

/// A program of others, ended with the test.
pub struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn pymodbus(mode: &str, at: &str, units: &[u8]) -> Peer {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let child = Command::new(tests.join(".venv/bin/python"))
        .arg(tests.join("peers/modbus_server.py"))
        .args([mode, at])
        .args(units.iter().map(u8::to_string))
        .stderr(Stdio::null())
        .spawn()
        .expect("tests/.venv/bin/python runs");
    Peer(child)
}

pub fn tcp(port: u16) -> Wire {
    Wire::Tcp { address: format!("127.0.0.1:{port}").into() }
}

pub fn serial(path: &str) -> Wire {
    Wire::Serial(Port { path: path.into(), baud: BAUD, parity: Parity::None, stop_bits: 1, rs485: false })
}

/// Two ends of a serial line, near and far.
pub async fn line() -> ((Peer, tempfile::TempDir), String, String) {
    let dir = tempfile::tempdir().unwrap();
    let end = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let socat = Command::new("socat")
        .args(["near", "far"].map(|name| format!("pty,raw,echo=0,link={}", end(name))))
        .spawn()
        .expect("socat runs");
    let (near, far) = (end("near"), end("far"));
    while !dir.path().join("far").exists() {
        sleep(Duration::from_millis(5)).await;
    }
    ((Peer(socat), dir), near, far)
}

/// What another master reads; `table` as it numbers them: 0 coils, 1 inputs, 3 input registers, 4 holding registers.
pub fn mbpoll(port: u16, unit: u8, table: u8, register: u16, count: u16) -> Vec<u16> {
    let port = port.to_string();
    polled(&["-m", "tcp", "-p", &port], "127.0.0.1", unit, table, register, count)
}

pub fn mbpoll_rtu(path: &str, unit: u8, table: u8, register: u16, count: u16) -> Vec<u16> {
    polled(&["-m", "rtu", "-b", "19200", "-P", "none"], path, unit, table, register, count)
}

fn polled(how: &[&str], at: &str, unit: u8, table: u8, register: u16, count: u16) -> Vec<u16> {
    let table = if table > 1 { format!("{table}:hex") } else { table.to_string() };
    let numbers = [unit.to_string(), table, register.to_string(), count.to_string()];
    let [unit, table, register, count] = &numbers;
    let output = Command::new("mbpoll")
        .args(["-1", "-q", "-0", "-o", "3", "-a", unit, "-t", table, "-r", register, "-c", count])
        .args(how)
        .arg(at)
        .output()
        .expect("mbpoll runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = |line: &str| {
        let value = line.strip_prefix('[')?.split_once("]:")?.1.trim().to_owned();
        match value.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok(),
            None => value.parse().ok(),
        }
    };
    let words: Vec<u16> = said.lines().filter_map(word).collect();
    assert!(!words.is_empty(), "mbpoll: {said} {}", String::from_utf8_lossy(&output.stderr));
    words
}

// --- a channel that runs ---

pub struct Running {
    pub batches: mpsc::Receiver<Batch>,
    pub metrics: Metrics,
    lane: mpsc::Sender<Errand>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    ordered: u64,
}

impl Running {
    pub fn of(settings: Settings) -> Self {
        let (out, batches) = mpsc::channel(64);
        let (lane, far) = mpsc::channel(4);
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let site = Arc::new(Site::default());
        let context = Context {
            lane: Arc::new(Mutex::new(far)),
            ..Context::new(site, out, stop.clone(), metrics.clone())
        };
        let task = tokio::spawn(modbus::run("plant".into(), settings, context));
        Self { batches, metrics, lane, stop, task, ordered: 0 }
    }

    pub async fn next(&mut self) -> Batch {
        timeout(PATIENCE, self.batches.recv())
            .await
            .expect("a batch comes in time")
            .expect("the channel runs")
    }

    pub async fn until(&mut self, what: impl Fn(&Batch) -> bool) -> Batch {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let batch = self.next().await;
            if what(&batch) {
                return batch;
            }
            assert!(Instant::now() < deadline, "what was waited for did not come");
        }
    }

    /// Everything is read, or bad for a reason of its own; the server may still be starting.
    pub async fn up(&mut self) -> Batch {
        self.until(|b| b.readings.iter().any(|r| r.quality == Quality::Good)).await
    }

    /// Orders, and does not wait for it.
    pub async fn give(&self, device: DeviceId, nth: usize) {
        self.lane.send(Errand::Do(Deed { number: 1, device, nth, until: None })).await.unwrap();
    }

    /// The batch with its outcome.
    pub async fn order(&mut self, device: DeviceId, nth: usize) -> Batch {
        if self.ordered == 0 {
            self.up().await;
        }
        self.ordered += 1;
        let number = self.ordered;
        self.lane.send(Errand::Do(Deed { number, device, nth, until: None })).await.unwrap();
        self.until(|b| b.done.as_ref().is_some_and(|done| done.number == number)).await
    }

    pub async fn look(&mut self, device: DeviceId, point: Option<PointId>) -> Vec<Exchange> {
        let (answer, shown) = oneshot::channel();
        self.lane.send(Errand::Read { device, point, answer }).await.unwrap();
        timeout(PATIENCE, shown).await.expect("it is shown in time").unwrap()
    }

    /// All that is told of a scan, to its end.
    pub async fn scan(&mut self, what: Scan) -> Vec<Sighting> {
        let (found, mut sightings) = mpsc::channel(64);
        self.lane.send(Errand::Scan { what, found }).await.unwrap();
        let mut told = Vec::new();
        while let Some(sighting) = timeout(PATIENCE, sightings.recv()).await.expect("it goes on") {
            told.push(sighting);
        }
        told
    }

    pub async fn end(mut self) {
        self.stop.cancel();
        let over = async { while self.batches.recv().await.is_some() {} };
        timeout(PATIENCE, over).await.expect("the channel ends when told to");
        self.task.await.unwrap();
    }
}
