//! Orders over the wire, to pymodbus: every function that writes, over TCP, RTU on a pseudo-terminal and RTU over TCP,
//! what is there afterwards read by mbpoll, which others wrote as well. Pulses end, also when the daemon does first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod modbus_bench;

use std::time::Duration;

use gatehouse::field::decode::Type;
use gatehouse::field::modbus::{Command, Device, Framing, Point, ReadBack, Settings, Table, Write};
use gatehouse::order::Outcome;
use gatehouse::reading::{DeviceId, PointId, Reading, Value};
use modbus_bench::{Peer, Running, free_port, line, mbpoll, mbpoll_rtu, pymodbus, serial, tcp};

const TIMEOUT: Duration = Duration::from_millis(1000);

fn read_back(table: Table, register: u16, words: &[u16]) -> Option<ReadBack> {
    Some(ReadBack { table, register, words: words.to_vec(), within: Duration::from_secs(2) })
}

fn command(write: Write, read_back: Option<ReadBack>) -> Command {
    Command { write, read_back, then: None }
}

/// One of each function; 5 and 6 without a read-back as well.
fn commands() -> Vec<Command> {
    let coils = vec![false, true, true, false, false, true, false, true, true];
    let words_of: Vec<u16> = coils.iter().map(|on| u16::from(*on)).collect();
    vec![
        command(Write::Coil { at: 1, word: 0xFF00 }, read_back(Table::Coil, 1, &[1])),
        command(Write::Coil { at: 0, word: 0 }, None),
        command(Write::Register { at: 1, word: 777 }, read_back(Table::Holding, 1, &[777])),
        command(Write::Coils { at: 3, on: coils }, read_back(Table::Coil, 3, &words_of)),
        command(
            Write::Registers { at: 2, words: vec![1, 0xABCD, 3] },
            read_back(Table::Holding, 2, &[1, 0xABCD, 3]),
        ),
        command(Write::Mask { at: 1, and: 0xFF00, or: 0x0012 }, read_back(Table::Holding, 1, &[0x0312])),
        command(
            Write::ReadWrite { at: 5, words: vec![41, 42], read: 5, count: 2 },
            read_back(Table::Holding, 5, &[41, 42]),
        ),
        command(Write::Register { at: 5000, word: 1 }, None),
        command(Write::Register { at: 1, word: 7 }, read_back(Table::Holding, 2, &[7])),
    ]
}

fn device() -> Device {
    let point = Point::new(PointId(7), Table::Holding, 1, Type::U16);
    Device { commands: commands(), ..Device::new(DeviceId(0), 7, Duration::from_secs(60), vec![point]) }
}

fn executed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Executed { what } | Outcome::ReadBack { what } => what,
        other => panic!("{other:?}"),
    }
}

fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

async fn every_function_writes(running: &mut Running) {
    let told: [(usize, &str); 7] = [
        (0, "coil 1 reads on"),
        (1, "coil 0 = 0x0000 was acknowledged"),
        (2, "holding register 1 reads 0x0309"),
        (3, "coils 3–11 read off on on off off on off on on"),
        (4, "holding registers 2–4 read 0x0001 0xABCD 0x0003"),
        (5, "holding register 1 reads 0x0312"),
        (6, "holding registers 5–6 read 0x0029 0x002A"),
    ];
    for (nth, what) in told {
        let done = running.order(DeviceId(0), nth).await;
        if nth == 2 {
            let news = done.readings.iter().find(|r| r.point == PointId(7));
            assert_eq!(
                news.and_then(|r| r.value.clone()),
                Some(Value::Number(777.0)),
                "the point has the news"
            );
        }
        assert_eq!(executed(done.done.unwrap().outcome), what);
    }
    let refused = running.order(DeviceId(0), 7).await.done.unwrap().outcome;
    assert_eq!(failed(refused), "the device refused (exception 2: illegal data address)");
    let lied = running.order(DeviceId(0), 8).await.done.unwrap().outcome;
    assert_eq!(failed(lied), "it was acknowledged, but holding register 2 reads 0x0001");
}

const REGISTERS: [u16; 6] = [7, 1, 0xABCD, 3, 41, 42];
const COILS: [u16; 12] = [0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1];

#[tokio::test]
async fn over_tcp_every_function_writes_what_another_master_then_reads() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let settings = Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![device()]);
    let mut running = Running::of(settings);
    every_function_writes(&mut running).await;
    assert_eq!(mbpoll(port, 7, 4, 1, 6), REGISTERS);
    assert_eq!(mbpoll(port, 7, 0, 0, 12), COILS);
}

#[tokio::test]
async fn over_a_serial_line_every_function_writes_what_another_master_then_reads() {
    let (_line, near, far) = line().await;
    let _server = pymodbus("rtu", &far, &[7]);
    let settings = Settings::new(serial(&near), Framing::Rtu, TIMEOUT, vec![device()]);
    let mut running = Running::of(settings);
    every_function_writes(&mut running).await;
    running.end().await;
    assert_eq!(mbpoll_rtu(&near, 7, 4, 1, 6), REGISTERS);
    assert_eq!(mbpoll_rtu(&near, 7, 0, 0, 12), COILS);
}

#[tokio::test]
async fn over_a_serial_device_server_every_function_writes() {
    let port = free_port();
    let _server = pymodbus("rtu-over-tcp", &port.to_string(), &[7]);
    let settings = Settings::new(tcp(port), Framing::Rtu, TIMEOUT, vec![device()]);
    every_function_writes(&mut Running::of(settings)).await;
}

/// On for so long, then off.
fn pulsed(length: Duration) -> Device {
    let coil = |word| Write::Coil { at: 1, word };
    let pulse = Command {
        write: coil(0xFF00),
        read_back: read_back(Table::Coil, 1, &[1]),
        then: Some((length, coil(0))),
    };
    let point = Point::new(PointId(3), Table::Coil, 1, Type::Bool);
    let every = Duration::from_millis(100);
    Device { commands: vec![pulse], ..Device::new(DeviceId(0), 7, every, vec![point]) }
}

fn pulses_on(port: u16, length: Duration) -> (Peer, Running) {
    let server = pymodbus("tcp", &port.to_string(), &[7]);
    (server, Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![pulsed(length)])))
}

#[tokio::test]
async fn a_pulse_ends_by_itself() {
    let port = free_port();
    let (_server, mut running) = pulses_on(port, Duration::from_millis(500));
    let done = running.order(DeviceId(0), 0).await.done.unwrap();
    assert_eq!(executed(done.outcome), "coil 1 reads on");
    // A turn that was under way when the order came is handed on after it, with the time at which it was read.
    let off = |r: &Reading| r.at > done.at && r.value == Some(Value::Bool(false));
    running.until(|b| b.readings.iter().any(off)).await;
    assert_eq!(mbpoll(port, 7, 0, 1, 1), [0]);
}

#[tokio::test]
async fn a_pulse_ends_when_the_daemon_ends_before_it() {
    let port = free_port();
    let (_server, mut running) = pulses_on(port, Duration::from_secs(3600));
    executed(running.order(DeviceId(0), 0).await.done.unwrap().outcome);
    assert_eq!(mbpoll(port, 7, 0, 1, 1), [1]);
    running.end().await;
    assert_eq!(mbpoll(port, 7, 0, 1, 1), [0]);
}
