//! The Modbus master against pymodbus: TCP, RTU on a pseudo-terminal, RTU over TCP. Every type in every order, a
//! server that dies and comes back, and a silent unit beside live ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod modbus_bench;

use std::collections::BTreeMap;
use std::time::Duration;

use gatehouse::field::TIMEOUT_DEFAULT;
use gatehouse::field::decode::{Order, Transform, Type};
use gatehouse::field::modbus::{By, Device, Framing, Point, Settings, Table};
use gatehouse::field::wire::Wire;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Quality, Reason, Value};
use modbus_bench::{Running, free_port, line, pymodbus, serial, tcp};
use tokio::time::{Instant, timeout_at};

const ORDERS: [Order; 4] = [Order::Abcd, Order::Cdab, Order::Badc, Order::Dcba];

// --- what is read ---

/// All types as `peers/modbus_server.py` keeps them, in the order of the registers.
fn types() -> [(Type, Value); 10] {
    [
        (Type::U16, Value::Number(65244.0)),
        (Type::I16, Value::Number(-205.0)),
        (Type::U32, Value::Number(4_275_878_552.0)),
        (Type::I32, Value::Number(-70_000.0)),
        (Type::U64, Value::Unsigned(u64::MAX)),
        (Type::I64, Value::Signed(i64::MIN + 5)),
        (Type::F32, Value::Number(230.2)),
        (Type::F64, Value::Number(-1.0e-7)),
        (Type::Bits, Value::Text("0,2,15".into())),
        (Type::Text(4), Value::Text("SN-0042".into())),
    ]
}

/// Points of one device with what they have to read.
struct Plan {
    points: Vec<Point>,
    expected: Vec<Value>,
}

impl Plan {
    fn every_type_and_order() -> Self {
        let mut plan = Plan { points: vec![], expected: vec![] };
        for table in [Table::Holding, Table::Input] {
            for (n, order) in ORDERS.into_iter().enumerate() {
                let mut register = 100 * n as u16;
                for (kind, value) in types() {
                    plan.add(table, register, kind, order, None, value);
                    if kind == Type::Bits {
                        plan.add(table, register, Type::Bool, order, Some(15), Value::Bool(true));
                        plan.add(table, register, Type::Bool, order, Some(1), Value::Bool(false));
                    }
                    register += kind.registers();
                }
            }
        }
        let bits = [true, false, true, true, false, false, false, false, true, false];
        let inputs = [false, true, false, false, true, false, false, true, false, true];
        for (table, values) in [(Table::Coil, bits), (Table::Discrete, inputs)] {
            for (n, value) in values.into_iter().enumerate() {
                plan.add(table, n as u16, Type::Bool, Order::Abcd, None, Value::Bool(value));
            }
        }
        plan
    }

    fn add(&mut self, table: Table, register: u16, kind: Type, order: Order, bit: Option<u8>, value: Value) {
        self.points.push(Point {
            id: PointId(self.points.len() as u32),
            table,
            register,
            kind,
            order,
            bit,
            transform: Transform::default(),
            poll: None,
            by: By::default(),
        });
        self.expected.push(value);
    }
}

/// One register, read as the device's only point.
fn device(unit: u8, poll: Duration) -> Device {
    let transform = Transform { scale: Some(0.1), ..Transform::default() };
    let point = Point { transform, ..Point::new(PointId(unit.into()), Table::Holding, 1, Type::I16) };
    Device::new(DeviceId(unit.into()), unit, poll, vec![point])
}

fn run(wire: Wire, framing: Framing, timeout: Duration, devices: Vec<Device>) -> Running {
    Running::of(Settings::new(wire, framing, timeout, devices))
}

fn is_good(batch: &Batch) -> bool {
    batch.readings.iter().all(|r| r.quality == Quality::Good)
}

fn is_bad(batch: &Batch, reason: Reason) -> bool {
    batch.readings.iter().all(|r| r.quality == Quality::Bad && r.reason == Some(reason) && r.value.is_none())
}

async fn reads_every_type_in_every_order(wire: Wire, framing: Framing) {
    let plan = Plan::every_type_and_order();
    let device = Device::new(DeviceId(0), 7, Duration::from_secs(1), plan.points);
    let mut running = run(wire, framing, TIMEOUT_DEFAULT, vec![device]);
    // A question that came before the server was up may be put off for a turn.
    let batch = running.until(|b| is_good(b) && b.readings.len() == plan.expected.len()).await;
    assert_eq!(batch.life, Some(Life::Online));
    let read: BTreeMap<_, _> = batch.readings.into_iter().map(|r| (r.point, r.value.unwrap())).collect();
    let read: Vec<_> = read.into_values().collect();
    assert_eq!(read, plan.expected);
    running.end().await;
}

#[tokio::test]
async fn tcp_reads_every_type_in_every_order() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    reads_every_type_in_every_order(tcp(port), Framing::Tcp).await;
}

#[tokio::test]
async fn rtu_over_tcp_reads_every_type_in_every_order() {
    let port = free_port();
    let _server = pymodbus("rtu-over-tcp", &port.to_string(), &[7]);
    reads_every_type_in_every_order(tcp(port), Framing::Rtu).await;
}

#[tokio::test]
async fn rtu_reads_every_type_in_every_order() {
    let (_line, near, far) = line().await;
    let _server = pymodbus("rtu", &far, &[7]);
    reads_every_type_in_every_order(serial(&near), Framing::Rtu).await;
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_taken_up_again() {
    let port = free_port();
    let poll = Duration::from_millis(100);
    let server = pymodbus("tcp", &port.to_string(), &[1, 2]);
    let mut running = run(tcp(port), Framing::Tcp, TIMEOUT_DEFAULT, vec![device(1, poll), device(2, poll)]);
    let good = running.until(is_good).await;
    assert_eq!(good.readings[0].value, Some(Value::Number(-20.5)));

    drop(server);
    for _ in 0..2 {
        let down = running.until(|b| is_bad(b, Reason::WireDown)).await;
        let Some(Life::Offline { why }) = down.life else {
            panic!("{down:?} says nothing of the device");
        };
        assert!(why.contains(&format!("127.0.0.1:{port}")), "{why}");
    }
    assert!(running.batches.try_recv().is_err(), "it is said once");

    let _server = pymodbus("tcp", &port.to_string(), &[1, 2]);
    for id in [1, 2] {
        let back = running.until(|b| b.device == DeviceId(id) && is_good(b)).await;
        assert_eq!(back.life, Some(Life::Online));
    }
}

#[tokio::test]
async fn a_register_that_is_not_there_is_a_device_error_of_its_own_points_only() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[1]);
    let mut device = device(1, Duration::from_millis(100));
    let mut missing = device.points[0].clone();
    missing.id = PointId(2);
    missing.register = 5000;
    device.points.push(missing);
    let mut running = run(tcp(port), Framing::Tcp, TIMEOUT_DEFAULT, vec![device]);
    let batch = running.until(|b| b.life == Some(Life::Online)).await;
    let told: Vec<_> = batch.readings.iter().map(|r| (r.point, r.quality, r.reason)).collect();
    assert_eq!(
        told,
        [(PointId(1), Quality::Good, None), (PointId(2), Quality::Bad, Some(Reason::DeviceError))]
    );
}

#[tokio::test]
async fn a_silent_unit_goes_offline_and_does_not_slow_the_others() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[1, 2]);
    // A timeout longer than the period: asked each time, the silent unit would leave two of three turns to the others.
    let (poll, patience) = (Duration::from_millis(200), Duration::from_millis(300));
    let devices = [1, 2, 9].map(|unit| device(unit, poll)).to_vec();
    let mut running = run(tcp(port), Framing::Tcp, patience, devices);
    running.until(|b| b.device == DeviceId(1) && is_good(b)).await;
    let gone = |b: &Batch| matches!(b.life, Some(Life::Offline { .. }));
    let silent = running.until(|b| b.device == DeviceId(9) && is_bad(b, Reason::NoAnswer) && gone(b)).await;
    let why = "no answer within 300 ms".to_owned();
    assert_eq!(silent.life, Some(Life::Offline { why }));

    let window = Instant::now() + poll * 25;
    let mut good = BTreeMap::new();
    while let Ok(Some(batch)) = timeout_at(window, running.batches.recv()).await {
        *good.entry(batch.device).or_insert(0) += u32::from(is_good(&batch));
    }
    for unit in [1, 2] {
        let polls = good[&DeviceId(unit)];
        assert!(polls >= 21, "unit {unit} was read {polls} times of 25");
    }
}
