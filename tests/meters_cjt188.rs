//! CJ/T 188: a simulated water meter on a serial line, and a captured one behind a TCP serial server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::Context;
use gatehouse::field::decode::Transform;
use gatehouse::field::serial::{self, Board, Item, ItemOrder, Kind, Meter, Metering, Point, Settings};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Site};
use gatehouse::sim::meters::{State, WaterMeter};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
const PRINTED: &str = "00112233447833";

struct Gateway {
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
}

impl Gateway {
    fn start(wire: Wire, address: Option<&str>, order: ItemOrder) -> Self {
        let items = [Item::Volume, Item::Valve, Item::BatteryLow];
        let point = |(n, item)| Point { id: PointId(n), item, transform: Transform::default() };
        let points = (0..).zip(items).map(point).collect();
        let protocol = Metering::Cjt188 { address: address.map(Arc::from), kind: 0x10, order };
        let poll = Duration::from_millis(200);
        let board = Board { id: DeviceId(0), poll, kind: Kind::Meter(Meter { protocol, points }) };
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        let settings = Settings { wire, timeout: Duration::from_millis(300), boards: vec![board] };
        tokio::spawn(serial::run("meters".into(), settings, context));
        Self { batches, stop }
    }

    /// Reads on until the points read like this.
    async fn until(&mut self, wanted: [&str; 3]) -> Batch {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Vec::new();
        loop {
            let batch = timeout_at(deadline, self.batches.recv()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{wanted:?}, not {last:?}")).unwrap();
            last = words(&batch);
            if last == wanted {
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

fn words(batch: &Batch) -> Vec<String> {
    let word = |r: &gatehouse::reading::Reading| match &r.value {
        Some(value) => value.to_string(),
        None => r.reason.unwrap().word().to_owned(),
    };
    batch.readings.iter().map(word).collect()
}

fn meter() -> WaterMeter {
    WaterMeter::new(State {
        address: [0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78],
        volume: 12_345,
        unit: 0x2C,
        state: 0,
        silent: false,
        refuses: false,
    })
}

#[tokio::test]
async fn a_water_meter_is_read_by_its_printed_address_and_by_none() {
    for (address, order) in [(Some(PRINTED), ItemOrder::LowFirst), (None, ItemOrder::HighFirst)] {
        let dir = tempfile::tempdir().unwrap();
        let meter = meter();
        let line = meter.start(&dir.path().join("meter")).await.unwrap();
        let path = line.path().to_str().unwrap().into();
        let port = Port { path, baud: 2400, parity: Parity::Even, stop_bits: 1, rs485: false };
        let mut gateway = Gateway::start(Wire::Serial(port), address, order);
        let batch = gateway.until(["123.45", "open", "no"]).await;
        assert_eq!(batch.life, Some(Life::Online));

        meter.change(|state| (state.unit, state.state) = (0x29, 0x60));
        gateway.until(["0.12345", "closed", "yes"]).await;
        meter.change(|state| (state.unit, state.state) = (0x05, 0xC0));
        let batch = gateway.until(["unreadable", "fault", "no"]).await;
        assert_eq!(batch.life, Some(Life::Online), "the volume is not read, the meter is there");
        meter.change(|state| state.refuses = true);
        gateway.until(["device-error"; 3]).await;
        meter.change(|state| (state.refuses, state.silent) = (false, true));
        gateway.until(["no-answer"; 3]).await;
        meter.change(|state| *state = State { silent: false, unit: 0x2C, state: 0, ..state.clone() });
        gateway.until(["123.45", "open", "no"]).await;
    }
}

#[tokio::test]
async fn another_meters_answer_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let meter = meter();
    let line = meter.start(&dir.path().join("meter")).await.unwrap();
    let path = line.path().to_str().unwrap().into();
    let port = Port { path, baud: 2400, parity: Parity::Even, stop_bits: 1, rs485: false };
    let mut gateway = Gateway::start(Wire::Serial(port), Some("00112233457833"), ItemOrder::LowFirst);
    gateway.until(["no-answer"; 3]).await;
}

#[tokio::test]
async fn the_captured_answer_comes_through_a_serial_server_in_pieces() {
    let reply: [u8; 35] = [
        0x68, 0x10, 0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78, 0x81, 0x16, 0x1F, 0x90, 0x00, 0x00, 0x77, 0x66,
        0x55, 0x2C, 0x00, 0x77, 0x66, 0x55, 0x2C, 0x31, 0x01, 0x22, 0x11, 0x05, 0x15, 0x20, 0x21, 0x84, 0x13,
        0x16,
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().into();
    let mut gateway = Gateway::start(Wire::Tcp { address }, Some(PRINTED), ItemOrder::LowFirst);
    let (mut far, _) = listener.accept().await.unwrap();
    far.set_nodelay(true).unwrap();
    let mut asked = [0; 20];
    far.read_exact(&mut asked).await.unwrap();
    assert_eq!(
        asked[4..],
        [0x68, 0x10, 0x44, 0x33, 0x22, 0x11, 0x00, 0x33, 0x78, 0x01, 0x03, 0x1F, 0x90, 0x00, 0x80, 0x16]
    );
    for piece in reply.chunks(9) {
        far.write_all(piece).await.unwrap();
        far.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    gateway.until(["556677", "open", "yes"]).await;
}
