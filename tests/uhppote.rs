//! UHPPOTE controllers: what we ask is what uhppoted's encoder makes, what our fake controller says is what uhppoted's
//! decoder understands, and between both each event is handed on once, in order, and no card in clear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod log;
mod python;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as Shared};
use std::time::Duration;

use gatehouse::field::uhppote::{self, Controller, Settings};
use gatehouse::field::{Context, Errand, Scan, Sighting};
use gatehouse::happening::{Happening, Kind};
use gatehouse::metrics::Metrics;
use gatehouse::order::{Deed, Outcome};
use gatehouse::pseudonym::Pseudonyms;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Site};
use gatehouse::secret::Secret;
use log::log;
use python::Python;
use tokio::net::UdpSocket;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Level;

const DEADLINE: Duration = Duration::from_secs(30);
const SERIAL: u32 = 423_187_757;
const CARD: u32 = 10_058_400;

/// What a controller knows; its test changes it.
#[derive(Default)]
struct Memory {
    events: BTreeMap<u32, [u8; 20]>,
    stored: u32,
    open: [bool; 4],
    listener: Option<SocketAddr>,
    asked: Vec<[u8; 64]>,
    silent: bool,
    refuses: bool,
    /// Answers with this before the right one.
    forged: Option<[u8; 64]>,
}

impl Memory {
    /// Type, granted, door, card, reason; so many minutes (BCD) before the controller's now.
    fn happen(&mut self, (kind, granted, door, card, reason): (u8, u8, u8, u32, u8), ago: u8) -> u32 {
        let index = self.events.keys().last().map_or(1, |last| last + 1);
        let mut event = [0; 20];
        event[..4].copy_from_slice(&index.to_le_bytes());
        event[4..8].copy_from_slice(&[kind, granted, door, 1]);
        event[8..12].copy_from_slice(&card.to_le_bytes());
        // The controller's clock stands at 2026-03-04 12:30:40.
        event[12..19].copy_from_slice(&[0x20, 0x26, 3, 4, 0x12, 0x30 - ago, 0x40]);
        event[19] = reason;
        self.events.insert(index, event);
        index
    }

    fn answer(&mut self, asked: &[u8; 64]) -> Option<[u8; 64]> {
        self.asked.push(*asked);
        let number = u32::from_le_bytes(asked[8..12].try_into().unwrap());
        let mut answer = [0; 64];
        answer[..8].copy_from_slice(&asked[..8]);
        match asked[1] {
            0x20 => {
                if let Some(event) = self.events.values().last() {
                    answer[8..28].copy_from_slice(event);
                }
                for (nth, open) in self.open.iter().enumerate() {
                    answer[28 + nth] = u8::from(*open);
                }
                answer[37..40].copy_from_slice(&[0x12, 0x30, 0x40]);
                answer[51..54].copy_from_slice(&[0x26, 3, 4]);
            }
            0xB0 => {
                if let Some(event) = self.events.get(&number) {
                    answer[8..28].copy_from_slice(event);
                }
            }
            0xB2 => {
                assert_eq!(asked[12..16], [0x55, 0xAA, 0xAA, 0x55]);
                self.stored = number;
                answer[8] = 1;
            }
            0xB4 => answer[8..12].copy_from_slice(&self.stored.to_le_bytes()),
            0x90 => {
                let port = u16::from_le_bytes([asked[12], asked[13]]);
                self.listener = Some(([asked[8], asked[9], asked[10], asked[11]], port).into());
                answer[8] = 1;
            }
            0x40 => answer[8] = u8::from(!self.refuses),
            0x94 => {
                answer[4..8].copy_from_slice(&SERIAL.to_le_bytes());
                answer[8..12].copy_from_slice(&[192, 168, 1, 100]);
                answer[20..26].copy_from_slice(&[0, 0x12, 0x23, 0x34, 0x45, 0x56]);
                answer[26..32].copy_from_slice(&[8, 0x92, 0x20, 0x18, 0x11, 5]);
            }
            _ => answer[8..15].copy_from_slice(&asked[8..15]),
        }
        (!self.silent).then_some(answer)
    }
}

/// A controller on the loopback, and our side of it.
struct Gate {
    memory: Arc<Shared<Memory>>,
    batches: mpsc::Receiver<Batch>,
    lane: mpsc::Sender<Errand>,
    stop: CancellationToken,
}

impl Gate {
    async fn start(memory: Memory, poll: Duration) -> Self {
        log(Level::TRACE);
        let memory = Arc::new(Shared::new(memory));
        let address = serve(memory.clone()).await;
        let listen = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (out, batches) = mpsc::channel(4);
        let (lane, far) = mpsc::channel(4);
        let stop = CancellationToken::new();
        let mut context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
        context.lane = Arc::new(Mutex::new(far));
        context.pseudonyms = Some(names());
        let controller = Controller {
            id: DeviceId(0),
            serial: SERIAL,
            address: None,
            poll,
            doors: (0..4).map(PointId).collect(),
            commands: vec![3],
        };
        let settings = Settings {
            address,
            listen,
            announce: Some(listen),
            timeout: Duration::from_millis(300),
            controllers: vec![controller],
            timezone: "Asia/Shanghai".into(),
        };
        tokio::spawn(uhppote::run("gates".into(), settings, context));
        Self { memory, batches, lane, stop }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    async fn batch(&mut self) -> Batch {
        let batch = tokio::time::timeout(DEADLINE, self.batches.recv()).await.expect("a batch").unwrap();
        if let Some(kept) = &batch.kept {
            kept.sign();
        }
        batch
    }

    async fn until(&mut self, right: impl Fn(&Batch) -> bool) -> Batch {
        loop {
            let batch = self.batch().await;
            if right(&batch) {
                return batch;
            }
        }
    }

    async fn events(&mut self, count: usize) -> Vec<Happening> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.batch().await.happenings);
        }
        events
    }

    /// The controller says by itself that something happened.
    async fn call(&self, packet: &[u8]) {
        let listener = self.memory().listener.expect("it was told where");
        UdpSocket::bind("127.0.0.1:0").await.unwrap().send_to(packet, listener).await.unwrap();
    }

    async fn order(&mut self) -> Outcome {
        let deed = Deed { number: 5, device: DeviceId(0), nth: 0, until: None };
        self.lane.send(Errand::Do(deed)).await.unwrap();
        self.until(|batch| batch.done.is_some()).await.done.unwrap().outcome
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(memory: Arc<Shared<Memory>>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut asked = [0; 64];
        while let Ok((_, from)) = socket.recv_from(&mut asked).await {
            let (forged, answer) = {
                let mut memory = memory.lock().unwrap();
                (memory.forged, memory.answer(&asked))
            };
            for packet in forged.into_iter().chain(answer) {
                let _ = socket.send_to(&packet, from).await;
            }
        }
    });
    address
}

fn names() -> Pseudonyms {
    Pseudonyms::new(&Secret::new("a key that is long enough")).unwrap()
}

fn swipe(card: u32) -> (u8, u8, u8, u32, u8) {
    (1, 1, 3, card, 1)
}

fn numbers(events: &[Happening]) -> Vec<u32> {
    let number = |event: &Happening| event.record.as_ref()?.split('@').next()?.parse().ok();
    events.iter().filter_map(number).collect()
}

#[tokio::test]
async fn what_was_missed_is_fetched_in_order_and_what_happens_now_comes_by_a_call() {
    let mut memory = Memory::default();
    for nth in 0..60 {
        memory.happen(swipe(CARD + nth), 0x10);
    }
    memory.stored = 10;
    let mut site = Gate::start(memory, Duration::from_secs(20)).await;
    let missed = site.events(50).await;
    assert_eq!(numbers(&missed), (11..=60).collect::<Vec<_>>());
    assert!(missed.iter().all(|event| event.late && event.kind == Kind::Granted));
    assert_eq!(gatehouse::time::format(missed[0].at), "2026-03-04T04:20:40.000Z");
    assert_eq!(missed[0].who, Some(names().card(&(CARD + 10).to_string())));
    assert_eq!(missed[0].point, Some(PointId(2)));

    site.memory().happen((2, 1, 1, 0, 38), 0);
    // Twice, and once from a controller that is not ours: the polls are 20 s apart, so it is the call that is heard.
    let mut packet = [0; 64];
    packet[..2].copy_from_slice(&[0x17, 0x20]);
    packet[4..8].copy_from_slice(&7u32.to_le_bytes());
    site.call(&packet).await;
    packet[4..8].copy_from_slice(&SERIAL.to_le_bytes());
    packet[8..12].copy_from_slice(&u32::MAX.to_le_bytes()); // its number is not believed
    site.call(&packet).await;
    site.call(&packet).await;
    let now = site.events(1).await;
    assert_eq!((now[0].kind, now[0].late, now[0].point), (Kind::Forced, false, Some(PointId(0))));
    assert_eq!(numbers(&now), [61]);
    site.memory().happen(swipe(1), 0);
    site.call(&packet).await;
    assert_eq!(numbers(&site.events(1).await), [62]);
}

#[tokio::test]
async fn what_was_handed_on_is_stored_in_the_controller_and_the_past_of_a_new_one_is_not_ours() {
    let mut memory = Memory::default();
    for _ in 0..40 {
        memory.happen(swipe(CARD), 0x10);
    }
    let mut site = Gate::start(memory, Duration::from_millis(500)).await;
    let stored = async {
        while site.memory().stored != 40 {
            assert_eq!(site.batch().await.happenings, []);
        }
    };
    tokio::time::timeout(DEADLINE, stored).await.expect("after ten seconds");
}

#[tokio::test]
async fn doors_are_read_orders_are_answered_and_silence_is_not_taken_for_a_no() {
    let mut memory = Memory { open: [false, true, false, false], ..Memory::default() };
    // Another's answer, and half of one.
    let mut forged = [0; 64];
    forged[..2].copy_from_slice(&[0x17, 0x20]);
    forged[4] = 9;
    memory.forged = Some(forged);
    let mut site = Gate::start(memory, Duration::from_millis(200)).await;
    let batch = site.until(|batch| batch.life == Some(Life::Online)).await;
    let doors: Vec<_> = batch.readings.iter().map(|r| r.value.as_ref().unwrap().to_string()).collect();
    assert_eq!(doors, ["closed", "open", "closed", "closed"]);

    assert!(matches!(site.order().await, Outcome::Executed { .. }));
    assert!(site.memory().asked.iter().any(|asked| asked[1] == 0x40 && asked[8] == 3));
    site.memory().refuses = true;
    assert!(matches!(site.order().await, Outcome::Failed { .. }));
    site.memory().silent = true;
    assert!(matches!(site.order().await, Outcome::Unsure { .. }));
    let gone = site.until(|batch| matches!(batch.life, Some(Life::Offline { .. }))).await;
    assert!(gone.readings.iter().all(|reading| reading.value.is_none()));
    site.memory().silent = false;
    site.until(|batch| batch.life == Some(Life::Online)).await;

    let (found, mut sightings) = mpsc::channel(8);
    let what = Scan { from: 0, to: 0, lines: vec![], timeout: Duration::from_millis(300) };
    site.lane.send(Errand::Scan { what, found }).await.unwrap();
    let drain = async { while site.batches.recv().await.is_some() {} };
    let sighting = tokio::select! { () = drain => None, sighting = sightings.recv() => sighting };
    let Some(Sighting::Found { address, how, .. }) = sighting else { panic!("{sighting:?}") };
    assert_eq!((&*address, &*how), ("423187757", "192.168.1.100, firmware 8.92, MAC 00:12:23:34:45:56"));

    site.memory().happen(swipe(CARD), 0);
    let (answer, mut seen) = oneshot::channel();
    site.lane.send(Errand::Read { device: DeviceId(0), point: None, answer }).await.unwrap();
    let drain = async { while site.batches.recv().await.is_some() {} };
    let seen = tokio::select! { () = drain => None, seen = &mut seen => seen.ok() }.unwrap();
    assert_eq!(seen[0].values.len(), 4);
    assert!(!seen[0].heard.windows(4).any(|bytes| bytes == CARD.to_le_bytes()), "the card is blanked");
}

#[tokio::test]
async fn uhppoted_makes_our_questions_and_understands_our_fakes_answers() {
    // uhppoted's codec, in a process of its own.
    let mut client = Python::start("uhppote_client.py", &[]);
    let mut ask = |what: &str| {
        client.tell(what);
        client.line()
    };
    let mut memory = Memory::default();
    memory.happen(swipe(CARD), 0);
    memory.stored = 1;
    let mut site = Gate::start(memory, Duration::from_millis(100)).await;
    site.until(|batch| batch.life == Some(Life::Online)).await;
    site.memory().happen(swipe(CARD), 0);
    site.events(1).await;
    site.order().await;
    let wait = async {
        while !site.memory().asked.iter().any(|asked| asked[1] == 0xB2) {
            site.batch().await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("an event index is stored");
    let listener = site.memory().listener.unwrap();
    let questions = [
        (0x20, format!("get_status_request {SERIAL}")),
        (0xB4, format!("get_event_index_request {SERIAL}")),
        (0xB0, format!("get_event_request {SERIAL} 2")),
        (0xB2, format!("set_event_index_request {SERIAL} 2")),
        (0x40, format!("open_door_request {SERIAL} 3")),
        (0x90, format!("set_listener_request {SERIAL} {} {}", listener.ip(), listener.port())),
    ];
    let asked = site.memory().asked.clone();
    for (function, question) in questions {
        let theirs = ask(&format!("encode {question}"));
        let ours = asked.iter().find(|asked| asked[1] == function).unwrap_or_else(|| panic!("{question}"));
        assert_eq!(hex(ours), theirs, "{question}");
    }
    for (name, function, expected) in [
        ("get_status_response", 0x20, "\"event_card\": 10058400"),
        ("get_event_response", 0xB0, "\"card\": 10058400"),
        ("get_controller_response", 0x94, "\"version\": \"v8.92\""),
    ] {
        let asked = asked.iter().find(|asked| asked[1] == function).copied();
        let mut asked = asked.unwrap_or([0; 64]);
        asked[..2].copy_from_slice(&[0x17, function]);
        let answer = site.memory().answer(&asked).unwrap();
        let told = ask(&format!("decode {name} {}", hex(&answer)));
        assert!(told.contains(expected), "{name}: {told}");
    }
}

#[tokio::test]
async fn fifty_known_cards_stand_in_no_batch_and_no_log_line() {
    let mut memory = Memory { stored: 1, ..Memory::default() };
    for nth in 0..51 {
        memory.happen(swipe(CARD + nth), 0);
    }
    let mut site = Gate::start(memory, Duration::from_millis(200)).await;
    let events = site.events(50).await;
    site.memory().silent = true;
    site.until(|batch| matches!(batch.life, Some(Life::Offline { .. }))).await;
    let told = format!("{}\n{events:?}", log(Level::TRACE).text());
    assert!(told.contains("A poll failed."), "the log is heard");
    for card in CARD..CARD + 51 {
        let digits = hex(&card.to_le_bytes());
        for clear in [
            card.to_string(),
            digits.clone(),
            digits.to_uppercase(),
            format!("{card:x}"),
            format!("{card:X}"),
        ] {
            assert!(!told.contains(&clear), "{clear} in {told}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
