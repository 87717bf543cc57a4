//! What stands in a map of registers, against pymodbus: a bad address among good ones, values that others say how to
//! read, several units of which one is dead, several questions under way; and what a technician is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod modbus_bench;

use std::collections::BTreeMap;
use std::time::Duration;

use gatehouse::field::decode::{Order, Transform, Type};
use gatehouse::field::modbus::{By, Command, Device, Framing, Merge, Point, Settings, Table, Write};
use gatehouse::field::{Scan, Sighting};
use gatehouse::order::Outcome;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Quality, Reason, Value};
use gatehouse::sim::modbus::{Server, Units};
use modbus_bench::{Running, free_port, line, pymodbus, serial, tcp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(40);
const TIMEOUT: Duration = Duration::from_millis(1000);
const POLL: Duration = Duration::from_millis(200);

fn point(id: u32, register: u16, kind: Type) -> Point {
    Point::new(PointId(id), Table::Holding, register, kind)
}

fn device(unit: u8, points: Vec<Point>) -> Device {
    Device::new(DeviceId(unit.into()), unit, POLL, points)
}

/// What each point reads, or why it is bad.
fn told(batch: &Batch) -> BTreeMap<u32, Result<Value, Reason>> {
    let one = |r: &gatehouse::reading::Reading| (r.point.0, r.value.clone().ok_or_else(|| r.reason.unwrap()));
    batch.readings.iter().map(one).collect()
}

fn requests(running: &Running, outcome: &str) -> u64 {
    let text = running.metrics.render();
    let line = text.lines().find(|l| l.contains("requests") && l.contains(&format!("\"{outcome}\"")));
    line.and_then(|l| l.rsplit(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Registers 25 to 99 are not there.
fn with_a_bad_address() -> Device {
    let points = vec![
        point(0, 0, Type::U16),
        point(1, 1, Type::I16),
        point(2, 14, Type::F32),
        point(3, 30, Type::U16),
        point(4, 40, Type::U32),
        point(5, 107, Type::Bool),
    ];
    Device { merge: Merge { max_gap: 100, ..Merge::default() }, ..device(7, points) }
}

async fn loses_only_what_is_not_there(mut running: Running) {
    for _ in 0..4 {
        let batch = running.up().await;
        let why = "holding register 30 is refused (illegal data address), \
                   holding registers 40–41 are refused (illegal data address)";
        assert_eq!(batch.life, Some(Life::Degraded { why: why.into() }));
        let number = |v: f64| Ok(Value::Number(v));
        assert_eq!(
            told(&batch).into_values().collect::<Vec<_>>(),
            [
                number(65244.0),
                number(-205.0),
                number(230.2),
                Err(Reason::DeviceError),
                Err(Reason::DeviceError),
                Ok(Value::Bool(true))
            ]
        );
    }
    running.end().await;
}

#[tokio::test]
async fn a_bad_address_costs_its_own_points_and_no_others_over_tcp() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let settings = Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![with_a_bad_address()]);
    loses_only_what_is_not_there(Running::of(settings)).await;
}

#[tokio::test]
async fn a_bad_address_costs_its_own_points_and_no_others_over_a_serial_line() {
    let (_line, near, far) = line().await;
    let _server = pymodbus("rtu", &far, &[7]);
    let settings = Settings::new(serial(&near), Framing::Rtu, TIMEOUT, vec![with_a_bad_address()]);
    loses_only_what_is_not_there(Running::of(settings)).await;
}

/// Register 20 holds 0x8005, coil 2 is on, input 1 is on: any table may say how to read a value.
#[tokio::test]
async fn digits_fields_faults_and_what_says_how_to_read_a_value() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let by = |unit: u16| By {
        decimals: Some((Table::Coil, 2)),
        unit: Some((Table::Discrete, unit, vec![(1, "m".into())])),
    };
    let faults = Transform { faults: vec![0x8005], ..Transform::default() };
    let points = vec![
        point(0, 20, Type::Bcd16),
        point(1, 20, Type::Field { from: 0, width: 3 }),
        point(2, 20, Type::Field { from: 15, width: 1 }),
        Point { transform: faults, ..point(3, 20, Type::U16) },
        Point { by: by(1), ..point(4, 1, Type::I16) },
        Point { by: by(0), ..point(5, 1, Type::I16) },
        point(6, 2, Type::Bcd32),
    ];
    let mut running = Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![device(7, points)]));
    let batch = running.up().await;
    let number = |v: f64| Ok(Value::Number(v));
    assert_eq!(
        told(&batch).into_values().collect::<Vec<_>>(),
        [
            number(8005.0),
            number(5.0),
            number(1.0),
            Err(Reason::SensorFault),
            number(-20.5),
            Err(Reason::Unreadable), // the unit's code is 0, which nobody knows
            Err(Reason::Unreadable), // 0xFEDCBA98 are no decimal digits
        ]
    );
    let level = batch.readings.iter().find(|r| r.point == PointId(4)).unwrap();
    assert_eq!(level.unit.as_deref(), Some("m"));
}

#[tokio::test]
async fn points_have_periods_of_their_own() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let slow = Point { poll: Some(POLL * 5), ..point(1, 1, Type::I16) };
    let points = vec![point(0, 0, Type::U16), slow];
    let mut running = Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![device(7, points)]));
    running.up().await;
    // A busy machine misses fast turns: then it is counted anew, some times.
    let mut counts = Vec::new();
    while counts.len() < 10 && !counts.last().is_some_and(|fast| (12..=28).contains(fast)) {
        let mut read = [0; 2];
        while read[1] < 4 {
            for reading in running.next().await.readings {
                read[reading.point.0 as usize] += u32::from(reading.quality == Quality::Good);
            }
        }
        counts.push(read[0]);
    }
    assert!((12..=28).contains(counts.last().unwrap()), "{counts:?} to 4 each: one in five");
}

/// Six units, of which one is dead, and up to four questions under way. The server is tokio-modbus: pymodbus throws away
/// what it was asked while it answers. Each unit has numbers of its own.
#[tokio::test]
async fn several_questions_are_under_way_and_a_dead_unit_costs_the_others_nothing_but_time() {
    let units = Units::default();
    for unit in [1, 2, 3, 4, 5] {
        for register in [1, 114, 200] {
            units.set_holding(unit, register, truth(unit, register));
        }
    }
    let server = Server::tcp(units).await.unwrap();
    let points =
        |unit: u8| [1, 114, 200].map(|register| point(truth(unit, register).into(), register, Type::U16));
    let devices = [1, 2, 3, 9, 4, 5].map(|unit| device(unit, points(unit).into())).to_vec();
    let mut settings =
        Settings::new(tcp(server.address.port()), Framing::Tcp, Duration::from_millis(300), devices);
    settings.pace.pipeline = 4;
    let mut running = Running::of(settings);
    let mut good: BTreeMap<DeviceId, u32> = BTreeMap::new();
    let mut dead = false;
    while good.len() < 5 || good.values().any(|n| *n < 10) || !dead {
        let batch = running.next().await;
        if batch.device == DeviceId(9) {
            assert!(batch.readings.iter().all(|r| r.quality == Quality::Bad), "nobody is there");
            dead |= matches!(batch.life, Some(Life::Offline { .. }));
            continue;
        }
        for reading in &batch.readings {
            assert_eq!(reading.value, Some(Value::Number(reading.point.0.into())), "{batch:?}");
        }
        *good.entry(batch.device).or_default() += 1;
    }
    assert!(requests(&running, "ok") >= 150, "three questions a poll: {}", requests(&running, "ok"));
}

fn truth(unit: u8, register: u16) -> u16 {
    u16::from(unit) * 1000 + register
}

// --- for a technician ---

async fn shows_a_wrong_word_order(mut running: Running, sent: &[u8], heard: &[u8]) {
    running.up().await;
    let shown = running.look(DeviceId(7), Some(PointId(0))).await;
    let [exchange] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(exchange.what, "holding registers 114–115 of unit 7");
    assert!(exchange.sent.ends_with(sent), "{:02X?}", exchange.sent);
    assert!(exchange.heard.ends_with(heard), "{:02X?}", exchange.heard);
    assert_eq!(exchange.trouble, None);
    let [seen] = &exchange.values[..] else { panic!("{exchange:?}") };
    assert_eq!(seen.words, [0x3333, 0x4366]);
    assert_ne!(seen.value, Ok(Value::Number(230.2)));
    assert_eq!(seen.otherwise.first(), Some(&("CDAB".to_owned(), Value::Number(230.2))));

    let all = running.look(DeviceId(7), None).await;
    let values: usize = all.iter().map(|e| e.values.len()).sum();
    assert_eq!((all.len(), values), (2, 2), "{all:?}");
    let refused = all.iter().find(|e| e.trouble.is_some()).unwrap();
    assert_eq!(refused.trouble.as_deref(), Some("exception 2: illegal data address"));
    assert_eq!(refused.values[0].value, Err("device-error"));
    running.end().await;
}

/// 230.2 with its words reversed, and a register that is not there.
fn misread() -> Device {
    device(7, vec![point(0, 114, Type::F32), Point { order: Order::Cdab, ..point(1, 5000, Type::F32) }])
}

#[tokio::test]
async fn a_wrong_word_order_is_shown_over_tcp() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let running = Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![misread()]));
    let heard = [0, 7, 7, 3, 4, 0x33, 0x33, 0x43, 0x66];
    shows_a_wrong_word_order(running, &[0, 6, 7, 3, 0, 114, 0, 2], &heard).await;
}

#[tokio::test]
async fn a_wrong_word_order_is_shown_over_a_serial_line() {
    let (_line, near, far) = line().await;
    let _server = pymodbus("rtu", &far, &[7]);
    let running = Running::of(Settings::new(serial(&near), Framing::Rtu, TIMEOUT, vec![misread()]));
    let sent = [7, 3, 0, 114, 0, 2, 0x64, 0x76];
    shows_a_wrong_word_order(running, &sent, &[7, 3, 4, 0x33, 0x33, 0x43, 0x66, 0xD2, 0x62]).await;
}

#[tokio::test]
async fn a_scan_finds_who_answers_and_tells_how_far_it_is() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[2, 5, 7]);
    let running = Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![misread()]));
    let mut running = running;
    running.up().await;
    let what = Scan { from: 1, to: 8, lines: vec![], timeout: Duration::from_millis(250) };
    let told = running.scan(what).await;
    let found = |s: &Sighting| match s {
        Sighting::Found { address, how, .. } => Some((address.clone(), how.clone())),
        _ => None,
    };
    let found: Vec<_> = told.iter().filter_map(found).collect();
    let how = "holding register 0 = 0xFEDC".to_owned();
    assert_eq!(found, ["2", "5", "7"].map(|address| (address.to_owned(), how.clone())));
    assert_eq!(told.last(), Some(&Sighting::Progress { done: 8, of: 8 }));
}

/// The last block of pymodbus' begins at 300 and ends with 324.
#[tokio::test]
async fn a_device_that_refuses_a_part_is_degraded_and_the_part_is_named() {
    let port = free_port();
    let _server = pymodbus("tcp", &port.to_string(), &[7]);
    let points = (0..3).map(|n| point(n, 324 + n as u16, Type::U16)).collect();
    let mut running = Running::of(Settings::new(tcp(port), Framing::Tcp, TIMEOUT, vec![device(7, points)]));
    let degraded = |b: &Batch| matches!(b.life, Some(Life::Degraded { .. }));
    let batch = running.until(degraded).await;
    let why = "holding registers 325–326 are refused (illegal data address)".to_owned();
    assert_eq!(batch.life, Some(Life::Degraded { why }));
    let good: Vec<bool> = batch.readings.iter().map(|r| r.value.is_some()).collect();
    assert_eq!(good, [true, false, false]);
    running.end().await;
}

/// A unit on the other end of a connection: holding registers 0 to 19, each with its number, of which some are refused.
struct Fake {
    stream: tokio::net::TcpStream,
    bad: &'static [u16],
    zero: u16,
}

impl Fake {
    /// Answers one request; whether it was a write.
    async fn answer(&mut self, before_answer: impl AsyncFnOnce()) -> bool {
        let mut asked = [0; 12];
        self.stream.read_exact(&mut asked).await.unwrap();
        let word = |at: usize| u16::from_be_bytes([asked[at], asked[at + 1]]);
        let (first, count) = (word(8), word(10));
        let pdu = match asked[7] {
            6 => {
                self.zero = count;
                asked[7..].to_vec()
            }
            code if (first..first + count).any(|register| self.bad.contains(&register)) => {
                vec![code | 0x80, 2]
            }
            code => {
                let value = |register| if register == 0 { self.zero } else { register };
                let words = (first..first + count).flat_map(|register| value(register).to_be_bytes());
                [code, count as u8 * 2].into_iter().chain(words).collect()
            }
        };
        before_answer().await;
        let head = [&asked[..4], &(pdu.len() as u16 + 1).to_be_bytes(), &asked[6..7]].concat();
        self.stream.write_all(&[head, pdu].concat()).await.unwrap();
        asked[7] == 6
    }
}

/// The line is never idle, and each question is asked in parts: an order that comes while a part is under way goes out
/// right after it and the question whether somebody listens, and what was read before it is not told after it.
#[tokio::test]
async fn an_order_waits_for_one_part_of_a_question_that_is_refused_in_part() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let command = Command { write: Write::Register { at: 0, word: 0 }, read_back: None, then: None };
    let commands =
        (100..140).map(|word| Command { write: Write::Register { at: 0, word }, ..command.clone() });
    let points = (0..20).map(|register| point(register.into(), register, Type::U16)).collect();
    let device = Device { commands: commands.collect(), poll: Duration::from_millis(1), ..device(7, points) };
    let wire = tcp(listener.local_addr().unwrap().port());
    let mut running = Running::of(Settings::new(wire, Framing::Tcp, TIMEOUT, vec![device]));
    let mut fake = Fake { stream: listener.accept().await.unwrap().0, bad: &[3, 4, 9, 14], zero: 0 };
    // The parts of the search, and later the four runs between what is refused.
    for nth in 0..40 {
        for _ in 0..nth % 7 {
            assert!(!fake.answer(async || {}).await);
        }
        let given = async || running.give(DeviceId(7), nth).await;
        assert!(!fake.answer(given).await);
        assert!(!fake.answer(async || {}).await, "whether it listens");
        assert!(fake.answer(async || {}).await, "another question goes out before order {nth}");
        let mut batches = Vec::new();
        while !batches.iter().any(|batch: &Batch| batch.done.is_some()) {
            batches.push(running.next().await);
        }
        let complete = async {
            loop {
                let batch = running.next().await;
                let told = told(&batch);
                if let Some(zero) = told.get(&0) {
                    assert_eq!(*zero, Ok(Value::Number(100.0 + nth as f64)), "as before the order");
                    return told;
                }
            }
        };
        let told = tokio::select! {
            told = complete => told,
            _ = async { loop { assert!(!fake.answer(async || {}).await) } } => unreachable!(),
        };
        for (id, value) in told {
            let right = match id {
                3 | 4 | 9 | 14 => Err(Reason::DeviceError),
                0 => continue,
                id => Ok(Value::Number(id.into())),
            };
            assert_eq!(value, right, "point {id}");
        }
    }
}

/// What a device that has stalled finds in its socket when it goes on must not be an order.
#[tokio::test]
async fn who_does_not_answer_over_a_socket_is_sent_no_order() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let commands = [100, 101].map(|word| Command {
        write: Write::Register { at: 0, word },
        read_back: None,
        then: None,
    });
    let poll = Duration::from_secs(3600);
    let device = Device { commands: commands.into(), poll, ..device(7, vec![point(0, 0, Type::U16)]) };
    let wire = tcp(listener.local_addr().unwrap().port());
    let mut running = Running::of(Settings::new(wire, Framing::Tcp, TIMEOUT, vec![device]));
    let mut fake = Fake { stream: listener.accept().await.unwrap().0, bad: &[], zero: 0 };
    assert!(!fake.answer(async || {}).await, "the first poll");
    running.give(DeviceId(7), 0).await;
    let done = running.until(|batch| batch.done.is_some()).await.done.unwrap();
    assert!(
        matches!(&done.outcome, Outcome::Failed { why } if why.contains("was not sent")),
        "{:?}",
        done.outcome
    );
    // It goes on, and finds all that was sent to it.
    running.give(DeviceId(7), 1).await;
    let taken = async { while !fake.answer(async || {}).await {} };
    tokio::time::timeout(PATIENCE, taken).await.expect("the second order comes");
    assert_eq!(fake.zero, 101, "the first order never comes");
    running.until(|batch| batch.done.is_some()).await;

    // One that has no answer ends the connection, and with it what is under way in it.
    running.give(DeviceId(7), 0).await;
    assert!(!fake.answer(async || {}).await, "whether it listens");
    let mut order = [0; 12];
    fake.stream.read_exact(&mut order).await.unwrap();
    let done = running.until(|batch| batch.done.is_some()).await.done.unwrap();
    assert!(matches!(&done.outcome, Outcome::Unsure { .. }), "{:?}", done.outcome);
    let ended = fake.stream.read(&mut order).await.unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);

    // A connection that its peer has ended while nobody asked, or ends after each answer, is made anew for the order.
    for ends_after in [false, true] {
        running.give(DeviceId(7), 1).await;
        let accepted = async || Fake { stream: listener.accept().await.unwrap().0, bad: &[], zero: 0 };
        fake = tokio::time::timeout(PATIENCE, accepted()).await.unwrap();
        assert!(!fake.answer(async || {}).await, "whether it listens");
        if ends_after {
            drop(fake.stream);
            fake = accepted().await;
        }
        assert!(fake.answer(async || {}).await);
        let done = running.until(|batch| batch.done.is_some()).await.done.unwrap();
        assert!(matches!(&done.outcome, Outcome::Executed { .. }), "{:?}", done.outcome);
        drop(fake.stream);
    }
}
