//! Door readers by libosdp (Python) on the line, with and without secure channel: each card once, in order, and none in clear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod log;
mod ports;
mod python;

use std::sync::Arc;
use std::time::Duration;

use gatehouse::field::osdp::{self, Command, Does, Reader, Settings};
use gatehouse::field::profile::Line;
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::field::{Context, Errand, Scan, Sighting};
use gatehouse::happening::Kind;
use gatehouse::metrics::Metrics;
use gatehouse::order::{Deed, Outcome};
use gatehouse::pseudonym::Pseudonyms;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Reason, Site};
use gatehouse::secret::Secret;
use log::log;
use ports::free_port;
use python::Python;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tokio_serial::{SerialPort, SerialStream};
use tokio_util::sync::CancellationToken;
use tracing::Level;

const DEADLINE: Duration = Duration::from_secs(60);
const KEY: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER_KEY: &str = "f00102030405060708090a0b0c0d0e0f";

/// libosdp's readers, in a process of their own.
fn libosdp(mode: &str, at: &str, readers: &[&str]) -> Python {
    let mut peer = Python::start("osdp_reader.py", &[&[mode, at], readers].concat());
    assert!(peer.line().contains("ready"));
    peer
}

/// Our side of the line.
struct Panel {
    batches: mpsc::Receiver<Batch>,
    lane: mpsc::Sender<Errand>,
    stop: CancellationToken,
    seen: Vec<Batch>,
}

impl Panel {
    fn start(wire: Wire, readers: Vec<Reader>) -> Self {
        log(Level::TRACE);
        let (out, batches) = mpsc::channel(4);
        let (lane, far) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let mut context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        context.lane = Arc::new(Mutex::new(far));
        context.pseudonyms = Some(names());
        let settings = Settings { wire, timeout: Duration::from_millis(300), readers };
        tokio::spawn(osdp::run("doors".into(), settings, context));
        Self { batches, lane, stop, seen: Vec::new() }
    }

    async fn until(&mut self, what: &str, right: impl Fn(&Batch) -> bool) -> Batch {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.batches.recv()).await;
            let batch = next.unwrap_or_else(|_| panic!("no {what}; last: {:?}", self.seen.last())).unwrap();
            if let Some(kept) = &batch.kept {
                kept.sign();
            }
            self.seen.push(batch.clone());
            if right(&batch) {
                return batch;
            }
        }
    }

    async fn online(&mut self, device: u32) {
        self.until("life", |b| b.device == DeviceId(device) && b.life == Some(Life::Online)).await;
    }

    async fn offline(&mut self, device: u32) -> String {
        let gone = |b: &Batch| b.device == DeviceId(device) && matches!(b.life, Some(Life::Offline { .. }));
        match self.until("end", gone).await.life {
            Some(Life::Offline { why }) => why,
            _ => unreachable!(),
        }
    }

    /// The next `count` cards of a device, as pseudonyms.
    async fn cards(&mut self, device: u32, count: usize) -> Vec<String> {
        let mut cards = Vec::new();
        while cards.len() < count {
            let what = format!("card {} of {count}", cards.len() + 1);
            let batch = self.until(&what, |b| b.device == DeviceId(device) && !b.happenings.is_empty()).await;
            assert!(batch.happenings.iter().all(|h| h.kind == Kind::Card), "{batch:?}");
            cards.extend(batch.happenings.iter().map(|h| h.who.as_ref().unwrap().as_str().to_owned()));
        }
        cards
    }

    /// `point=value` of the next batch that has this point good.
    async fn reads(&mut self, expected: &str) {
        let said = |b: &Batch| {
            b.readings
                .iter()
                .any(|r| r.value.as_ref().is_some_and(|value| format!("{}={value}", r.point.0) == expected))
        };
        self.until(expected, said).await;
    }

    async fn order(&mut self, nth: usize, until: Option<Instant>) -> Outcome {
        let deed = Deed { number: 7, device: DeviceId(0), nth, until };
        self.lane.send(Errand::Do(deed)).await.unwrap();
        let done = self.until("outcome", |b| b.done.is_some()).await.done.unwrap();
        assert_eq!(done.number, 7);
        done.outcome
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn names() -> Pseudonyms {
    Pseudonyms::new(&Secret::new("a key that is long enough")).unwrap()
}

/// What cards of facility 100 are called.
fn called(first: u32, count: u32) -> Vec<String> {
    let name = |card: u32| names().card(&(10_000_000 + card).to_string()).as_str().to_owned();
    (first..first + count).map(name).collect()
}

fn reader(id: u32, address: u8, key: Option<&str>) -> Reader {
    let point = |n| PointId(id * 10 + n);
    Reader {
        id: DeviceId(id),
        address,
        poll: Duration::from_millis(50),
        key: key.map(Secret::new),
        tamper: Some(point(0)),
        power: Some(point(1)),
        inputs: vec![point(2), point(3)],
        commands: vec![
            Command { output: 1, does: Does::Pulse(Duration::from_secs(3)) },
            Command { output: 0, does: Does::On },
        ],
    }
}

fn tcp(port: u16) -> Wire {
    Wire::Tcp { address: format!("127.0.0.1:{port}").into() }
}

fn spec(address: u8, key: &str) -> String {
    format!("{address}:{key}")
}

/// A pseudo-terminal: our end as a port, and the other's path.
fn pty() -> (SerialStream, SerialStream, Wire, String) {
    let (far, near) = SerialStream::pair().unwrap();
    let path = near.name().unwrap();
    let port =
        Port { path: path.clone().into(), baud: 9600, parity: Parity::None, stop_bits: 1, rs485: false };
    (far, near, Wire::Serial(port), path)
}

#[tokio::test]
async fn a_reader_by_secure_channel_tells_cards_codes_and_states_and_obeys() {
    let port = free_port();
    let mut peer = libosdp("tcp", &port.to_string(), &[&spec(101, KEY)]);
    let mut panel = Panel::start(tcp(port), vec![reader(0, 101, Some(KEY))]);
    panel.online(0).await;

    peer.tell("cards 101 58400 1");
    assert_eq!(panel.cards(0, 1).await, [names().card("10058400").as_str()]);

    peer.tell("keys 101 12");
    peer.tell("keys 101 34#");
    let typed = panel.until("code", |b| !b.happenings.is_empty()).await;
    assert_eq!(typed.happenings[0].kind, Kind::Keypad);
    assert_eq!(typed.happenings[0].who, Some(names().code("1234")));

    peer.tell("local 101 1 1");
    let torn = panel.until("tamper", |b| !b.happenings.is_empty()).await;
    assert_eq!((torn.happenings[0].kind, torn.happenings[0].point), (Kind::Tamper, Some(PointId(0))));
    let said: Vec<String> = torn.readings.iter().map(|r| r.value.as_ref().unwrap().to_string()).collect();
    assert_eq!(said, ["yes", "failed"]);
    peer.tell("local 101 0 0");
    panel.reads("0=no").await;

    peer.tell("inputs 101 0 1 0 0");
    panel.reads("3=on").await;

    let outcome = panel.order(0, None).await;
    assert!(
        matches!(&outcome, Outcome::Executed { what } if what.contains("output 1 on for 3 s")),
        "{outcome:?}"
    );
    let told = peer.line();
    assert!(told.contains("\"output_no\": 1") && told.contains("\"control_code\": 5"), "{told}");
    assert!(told.contains("\"timer_count\": 30"), "{told}");
    assert!(matches!(panel.order(9, None).await, Outcome::Failed { .. }));
    assert!(matches!(panel.order(0, Some(Instant::now())).await, Outcome::Failed { .. }), "it is long over");

    let (answer, seen) = oneshot::channel();
    let look = Errand::Read { device: DeviceId(0), point: None, answer };
    panel.lane.send(look).await.unwrap();
    let seen = seen.await.unwrap();
    assert!(seen[0].what.contains("serial number DEADBEAF"), "{seen:?}");
    assert!(seen.iter().any(|exchange| exchange.values.iter().any(|v| v.point == PointId(0))), "{seen:?}");
}

#[tokio::test]
async fn two_hundred_cards_in_a_reader_come_in_order_and_none_twice_though_the_line_loses_answers() {
    for key in [None, Some(KEY)] {
        let port = free_port();
        let who = key.map_or("5".into(), |key| spec(5, key));
        let mut peer = libosdp("tcp", &port.to_string(), &[&who]);
        peer.tell("cards 5 1 200"); // before anybody asks
        let mut panel = Panel::start(tcp(port), vec![reader(0, 5, key)]);
        let mut cards = panel.cards(0, 50).await;
        peer.tell("deaf 1");
        cards.extend(panel.cards(0, 50).await);
        // Intake is behind: nobody takes batches for longer than the reader waits for an answer.
        tokio::time::sleep(Duration::from_secs(2)).await;
        peer.tell("deaf 2");
        cards.extend(panel.cards(0, 100).await);
        assert_eq!(cards, called(1, 200), "{key:?}");
        peer.tell("cards 5 900 1");
        assert_eq!(panel.cards(0, 1).await, called(900, 1), "nothing came between");
    }
}

#[tokio::test]
async fn a_reader_with_another_key_is_offline_with_its_reason_and_no_word_of_it_is_believed() {
    let port = free_port();
    let mut peer = libosdp("tcp", &port.to_string(), &[&spec(5, OTHER_KEY)]);
    let mut panel = Panel::start(tcp(port), vec![reader(0, 5, Some(KEY))]);
    peer.tell("cards 5 1 3");
    let why = panel.offline(0).await;
    assert!(why.contains("its key is not the one"), "{why}");
    let outcome = panel.order(0, None).await;
    assert!(matches!(&outcome, Outcome::Failed { why } if why.contains("key")), "{outcome:?}");
    assert!(panel.seen.iter().all(|batch| batch.happenings.is_empty()));
}

#[tokio::test]
async fn a_reader_that_wants_a_key_is_offline_with_its_reason_where_none_is_given() {
    let port = free_port();
    let _peer = libosdp("tcp", &port.to_string(), &[&spec(5, KEY)]);
    let mut panel = Panel::start(tcp(port), vec![reader(0, 5, None)]);
    let why = panel.offline(0).await;
    assert!(why.contains("wants a secure channel"), "{why}");
}

#[tokio::test]
async fn a_reader_that_dies_is_offline_and_comes_back_by_itself() {
    let port = free_port();
    let peer = libosdp("tcp", &port.to_string(), &[&spec(5, KEY)]);
    let mut panel = Panel::start(tcp(port), vec![reader(0, 5, Some(KEY))]);
    panel.online(0).await;
    drop(peer);
    panel.offline(0).await;
    let reasons: Vec<_> = panel.seen.last().unwrap().readings.iter().map(|r| r.reason).collect();
    assert_eq!(reasons, [Some(Reason::WireDown); 4]);
    let mut peer = libosdp("tcp", &port.to_string(), &[&spec(5, KEY)]);
    panel.online(0).await;
    peer.tell("cards 5 7 2");
    assert_eq!(panel.cards(0, 2).await, called(7, 2));
}

#[tokio::test]
async fn two_readers_share_a_serial_line_and_a_third_that_is_not_there_does_not_shut_them_out() {
    let (far, near, wire, _) = pty();
    let (mut far, port) = (far, free_port());
    // libosdp hears the pseudo-terminal's other end through a connection.
    let mut peer = libosdp("tcp", &port.to_string(), &["5", &spec(6, KEY)]);
    let listening = async {
        loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut through = tokio::time::timeout(DEADLINE, listening).await.expect("the peer listens in time");
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut through).await });
    let readers = vec![reader(0, 5, None), reader(1, 6, Some(KEY)), reader(2, 7, None)];
    let mut panel = Panel::start(wire, readers);
    panel.offline(2).await;
    let reasons: Vec<_> = panel.seen.last().unwrap().readings.iter().map(|r| r.reason).collect();
    assert_eq!(reasons, [Some(Reason::NoAnswer); 4]);
    for (address, device) in [(5, 0), (6, 1)] {
        peer.tell(&format!("cards {address} 1 20"));
        assert_eq!(panel.cards(device, 20).await, called(1, 20));
    }
    drop(near);
}

#[tokio::test]
async fn a_search_finds_who_is_on_the_line() {
    let port = free_port();
    let _peer = libosdp("tcp", &port.to_string(), &["5", "9"]);
    let mut panel = Panel::start(tcp(port), vec![reader(0, 5, None)]);
    panel.online(0).await;
    let addresses = found(&panel).await;
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert_eq!((&*addresses[0].0, &*addresses[1].0), ("5", "9"));
    assert!(addresses[1].1.contains("serial number DEADBEAF"), "{addresses:?}");
}

/// As `gatehouse scan` does it where no daemon runs.
#[tokio::test]
async fn a_search_without_readers_of_its_own_finds_those_with_a_key_too() {
    let port = free_port();
    let _peer = libosdp("tcp", &port.to_string(), &["5", &spec(6, KEY)]);
    let panel = Panel::start(tcp(port), vec![]);
    // The first may come before the peer listens.
    let mut addresses = Vec::new();
    for _ in 0..20 {
        addresses = found(&panel).await.into_iter().map(|(address, _)| address).collect();
        if !addresses.is_empty() {
            break;
        }
    }
    assert_eq!(addresses, ["5", "6"]);
}

/// Who is found, and how.
async fn found(panel: &Panel) -> Vec<(String, String)> {
    let (found, mut sightings) = mpsc::channel(64);
    // Who is busy on a shared machine may answer late; nobody is to be missed for that.
    let what = Scan { from: 5, to: 9, lines: vec![], timeout: Duration::from_secs(2) };
    panel.lane.send(Errand::Scan { what, found }).await.unwrap();
    let mut addresses = Vec::new();
    while let Some(sighting) = tokio::time::timeout(DEADLINE, sightings.recv()).await.unwrap() {
        if let Sighting::Found { address, how, .. } = sighting {
            addresses.push((address, how));
        }
    }
    addresses
}

/// The reader has a secure channel, which it gives up when it hears nothing for 8 s; the line is a pseudo-terminal, and
/// the search at another speed, so the line is opened anew for each order.
#[tokio::test]
async fn an_order_amid_a_search_at_other_speeds_waits_for_an_address_or_two() {
    let (mut far, _near, wire, _) = pty();
    let port = free_port();
    let _peer = libosdp("tcp", &port.to_string(), &[&spec(6, KEY)]);
    let listening = async {
        loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let mut through = tokio::time::timeout(DEADLINE, listening).await.expect("the peer listens in time");
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut through).await });
    let mut panel = Panel::start(wire, vec![reader(0, 6, Some(KEY))]);
    panel.online(0).await;
    let (found, mut sightings) = mpsc::channel(256);
    let lines = vec![Line { baud: 38_400, parity: Parity::None, stop_bits: 1 }; 2];
    let what = Scan { from: 20, to: 100, lines, timeout: Duration::from_millis(200) };
    panel.lane.send(Errand::Scan { what, found }).await.unwrap();
    let mut seen = 0;
    // At once, after more than 8 s, and right after that.
    for after in [2, 60, 62] {
        while seen < after {
            match tokio::time::timeout(DEADLINE, sightings.recv()).await.unwrap() {
                Some(Sighting::Progress { done, of: 162 }) => seen = done,
                other => panic!("{other:?}"),
            }
        }
        let given = tokio::time::Instant::now();
        let outcome = panel.order(0, None).await;
        assert!(matches!(outcome, Outcome::Executed { .. }), "{outcome:?}");
        assert!(given.elapsed() < Duration::from_secs(2), "{:?}", given.elapsed());
        assert!(!sightings.is_closed(), "the search goes on");
    }
    // Nobody wants to know any more: the reader is polled again.
    drop(sightings);
    panel.online(0).await;
    assert!(matches!(panel.order(1, None).await, Outcome::Executed { .. }));
}

#[tokio::test]
async fn fifty_known_cards_a_code_and_the_key_stand_in_no_batch_and_no_log_line() {
    let port = free_port();
    let mut peer = libosdp("tcp", &port.to_string(), &["5", &spec(6, KEY), &spec(7, OTHER_KEY)]);
    let readers = vec![reader(0, 5, None), reader(1, 6, Some(KEY)), reader(2, 7, Some(KEY))];
    let shown = format!("{readers:?}");
    let mut panel = Panel::start(tcp(port), readers);
    panel.offline(2).await;
    for (device, address) in [(0, 5), (1, 6)] {
        peer.tell(&format!("cards {address} 58400 50"));
        assert_eq!(panel.cards(device, 50).await, called(58400, 50));
        peer.tell(&format!("keys {address} 7391573915#"));
        panel.until("code", |batch| !batch.happenings.is_empty()).await;
    }
    drop(peer);
    panel.offline(1).await;
    let told = format!("{shown}\n{}\n{:?}", log(Level::TRACE).text(), panel.seen);
    assert!(told.contains("A poll failed."), "the log is heard");
    for card in 58400..58450u32 {
        let number = 10_000_000 + card;
        for clear in [format!("{number}"), format!("{number:x}"), format!("{number:X}")] {
            assert!(!told.contains(&clear), "{clear}");
        }
    }
    for clear in ["7391573915", KEY, OTHER_KEY, &KEY.to_uppercase()] {
        assert!(!told.contains(clear), "{clear}");
    }
}
