//! DL/T 645 against the `dlt645` package's meter: every kind of value, a DI it does not have, the address asked for, a
//! block it refuses, and a server that dies and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ports;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::Context;
use gatehouse::field::decode::Transform;
use gatehouse::field::serial::{self, Board, Item, Kind, Meter, Metering, Point, Settings};
use gatehouse::field::wire::Wire;
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Site};
use ports::free_port;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
/// As the simulator has it on the wire, and as it would be printed on a meter.
const ON_WIRE: &str = "123456781012";
const PRINTED: &str = "121078563412";

/// A program of others, ended with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn meter(port: u16) -> Peer {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let child = Command::new(tests.join(".venv/bin/python"))
        .arg(tests.join("peers/dlt645_server.py"))
        .args([&port.to_string(), ON_WIRE])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("tests/.venv/bin/python runs");
    Peer(child)
}

/// DI, digits, whether it has a sign, scale.
type Wanted = (u32, u8, bool, f64);

struct Gateway {
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
}

impl Gateway {
    fn start(port: u16, address: Option<&str>, wanted: &[Wanted]) -> Self {
        let point = |(n, &(di, digits, signed, scale)): (usize, &Wanted)| Point {
            id: PointId(n as u32),
            item: Item::Dlt645 { di, digits, signed },
            transform: Transform { scale: Some(scale), ..Transform::default() },
        };
        let points = wanted.iter().enumerate().map(point).collect();
        let protocol = Metering::Dlt645 { address: address.map(Arc::from) };
        let board = Board {
            id: DeviceId(0),
            poll: Duration::from_millis(200),
            kind: Kind::Meter(Meter { protocol, points }),
        };
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        let settings = Settings {
            wire: Wire::Tcp { address: format!("127.0.0.1:{port}").into() },
            timeout: Duration::from_secs(1),
            boards: vec![board],
        };
        tokio::spawn(serial::run("meters".into(), settings, context));
        Self { batches, stop }
    }

    /// The first batch for which this holds.
    async fn until(&mut self, holds: impl Fn(&Batch) -> bool) -> Batch {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let batch = timeout_at(deadline, self.batches.recv()).await.expect("a batch").unwrap();
            if holds(&batch) {
                return batch;
            }
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn is_online(batch: &Batch) -> bool {
    batch.life == Some(Life::Online)
}

/// By point: the value, or the reason's word.
fn values(batch: &Batch) -> Vec<String> {
    let mut readings: Vec<_> = batch.readings.iter().collect();
    readings.sort_by_key(|r| r.point);
    let word = |r: &&gatehouse::reading::Reading| match &r.value {
        Some(value) => value.to_string(),
        None => r.reason.unwrap().word().to_owned(),
    };
    readings.iter().map(word).collect()
}

const EVERYTHING: [Wanted; 6] = [
    (0x0000_0000, 8, true, 0.01),
    (0x0201_0100, 4, false, 0.1),
    (0x0202_0100, 6, true, 0.001),
    (0x0203_0000, 6, true, 0.1), // kW with four decimals, as W
    (0x0206_0000, 4, true, 0.001),
    (0x0280_0002, 4, false, 0.01),
];

#[tokio::test]
async fn every_kind_of_value_is_read() {
    let port = free_port();
    let _meter = meter(port);
    let mut gateway = Gateway::start(port, Some(PRINTED), &EVERYTHING);
    let batch = gateway.until(is_online).await;
    assert_eq!(values(&batch), ["50.5", "231.2", "5.123", "1183.7", "0.987", "49.98"]);
}

#[tokio::test]
async fn a_di_that_it_does_not_have_is_its_own_points_trouble_only() {
    let port = free_port();
    let _meter = meter(port);
    let wanted = [EVERYTHING[0], (0x0299_9999, 4, false, 1.0), EVERYTHING[5]];
    let mut gateway = Gateway::start(port, Some(PRINTED), &wanted);
    let batch = gateway.until(is_online).await;
    assert_eq!(values(&batch), ["50.5", "device-error", "49.98"]);
}

/// The simulator has no blocks: two voltages are asked for as one, refused, and asked for one by one.
#[tokio::test]
async fn a_block_that_it_refuses_is_read_value_by_value() {
    let port = free_port();
    let _meter = meter(port);
    let wanted = [(0x0201_0100, 4, false, 0.1), (0x0201_0200, 4, false, 0.1)];
    let mut gateway = Gateway::start(port, Some(PRINTED), &wanted);
    let batch = gateway.until(is_online).await;
    assert_eq!(values(&batch), ["231.2", "229.9"]);
}

#[tokio::test]
async fn a_meter_alone_on_its_line_is_asked_for_its_address() {
    let port = free_port();
    let _meter = meter(port);
    let mut gateway = Gateway::start(port, None, &EVERYTHING[..2]);
    let batch = gateway.until(is_online).await;
    assert_eq!(values(&batch), ["50.5", "231.2"]);
}

#[tokio::test]
async fn another_address_reads_nothing() {
    let port = free_port();
    let _meter = meter(port);
    // The simulator refuses in its own name where a real meter is silent; neither is a value.
    let mut gateway = Gateway::start(port, Some("000000000001"), &EVERYTHING[..1]);
    let batch = gateway.until(|batch| values(batch) != ["wire-down"]).await;
    assert!(["no-answer", "device-error"].contains(&values(&batch)[0].as_str()), "{:?}", values(&batch));
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_read_again() {
    let port = free_port();
    let first = meter(port);
    let mut gateway = Gateway::start(port, Some(PRINTED), &EVERYTHING[..2]);
    gateway.until(is_online).await;
    drop(first);
    let batch = gateway.until(|batch| matches!(batch.life, Some(Life::Offline { .. }))).await;
    assert_eq!(values(&batch), ["wire-down"; 2]);
    let _second = meter(port);
    let batch = gateway.until(is_online).await;
    assert_eq!(values(&batch), ["50.5", "231.2"]);
}
