//! A wire at work: errands ahead of polling, what devices say unasked, and a wire that breaks. The protocol is a small
//! one of the test's own, on the simulated bus or on a socket.

#[path = "../../../tests/line_sim/mod.rs"]
mod line_sim;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crc::{CRC_16_MODBUS, Crc};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::field::profile::Line;
use crate::field::wire::{Parity, Port};
use crate::field::{ERRANDS_MAX, Exchange, Scan, Sighting};
use crate::metrics::Metrics;
use crate::order::{Deed, Done, Outcome};
use crate::reading::{PointId, Value};
use crate::time::now;
use line_sim::{Bus, Settings};

const WAIT: Duration = Duration::from_secs(20);
const MILLI: Duration = Duration::from_millis(1);

/// Device `n` is unit `n + 1`; question `n` is its register `n`.
#[derive(Debug, Default)]
struct Plain {
    listens: bool,
    together: usize,
    /// How many questions went out together, at the most.
    most_together: Arc<std::sync::Mutex<usize>>,
    /// How often its wire was opened.
    opened: Arc<AtomicUsize>,
    /// Something to be written to the first unit.
    promised: Option<Instant>,
    /// Where it listens: what the second unit said while another was asked.
    aside: Option<Reading>,
    /// Its decoder breaks at what this device says.
    breaks_at: Option<usize>,
}

impl Plain {
    async fn put(link: &mut Link, unit: u8, pdu: &[u8], within: Duration) -> Result<Vec<u8>, Failure> {
        let quiet = Instant::now() + link.silence();
        link.rest_until(quiet).await;
        link.drain().await?;
        let mut frame = [&[unit], pdu].concat();
        frame.extend(Crc::<u16>::new(&CRC_16_MODBUS).checksum(&frame).to_le_bytes());
        link.send(&frame).await?;
        let length = if pdu[0] == 3 { 7 } else { 8 };
        let mut heard = Vec::new();
        while heard.len() < length {
            match timeout(within, link.receive(&mut heard)).await {
                Ok(got) => got?,
                Err(_) => return Err(Failure::Silent),
            };
        }
        Ok(heard)
    }
}

impl Ask for Plain {
    fn opened(&mut self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn due(&self) -> Option<Instant> {
        self.promised
    }

    async fn settle(&mut self, link: &mut Link, _now: Instant) -> Result<(), Failure> {
        Self::put(link, 1, &[6, 0, 9, 0, 0], WAIT / 100).await?;
        self.promised = None;
        Ok(())
    }

    fn listens(&self) -> bool {
        self.listens
    }

    fn overheard(&mut self, bytes: &[u8]) -> Vec<(usize, Vec<Reading>)> {
        if bytes.is_empty() {
            return self.aside.take().map(|word| (1, vec![word])).into_iter().collect();
        }
        let said = Value::Unsigned(bytes.len() as u64);
        vec![(0, vec![Reading::good(PointId(0), now(), said)])]
    }

    fn together(&self) -> usize {
        self.together.max(1)
    }

    async fn ask_together(
        &mut self,
        _link: &mut Link,
        asked: &[(usize, usize)],
        readings: &mut [Vec<Reading>],
    ) -> Vec<Result<Answer, Failure>> {
        let mut most = self.most_together.lock().unwrap();
        *most = asked.len().max(*most);
        for (&(device, question), readings) in asked.iter().zip(readings) {
            assert_ne!(Some(device), self.breaks_at, "card 4711");
            let point = PointId((device * 10 + question) as u32);
            readings.push(Reading::good(point, now(), Value::Bool(true)));
        }
        asked.iter().map(|_| Ok(Answer::Read)).collect()
    }

    async fn act(
        &mut self,
        link: &mut Link,
        device: usize,
        nth: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Outcome, Failure> {
        Self::put(link, device as u8 + 1, &[6, 0, nth as u8, 0, 1], WAIT / 100).await?;
        readings.push(Reading::good(PointId(nth as u32), now(), Value::Bool(true)));
        Ok(Outcome::Executed { what: "written".into() })
    }

    async fn look(
        &mut self,
        link: &mut Link,
        device: usize,
        _point: Option<PointId>,
    ) -> Result<Vec<Exchange>, Failure> {
        let heard = Self::put(link, device as u8 + 1, &[3, 0, 0, 0, 1], WAIT / 100).await?;
        Ok(vec![Exchange { heard, ..Exchange::default() }])
    }

    async fn seek(
        &mut self,
        link: &mut Link,
        address: u8,
        within: Duration,
    ) -> Result<Option<String>, Failure> {
        Self::put(link, address, &[3, 0, 0, 0, 1], within).await.map(|_| Some("a register".into()))
    }

    async fn ask(
        &mut self,
        link: &mut Link,
        device: usize,
        question: usize,
        readings: &mut Vec<Reading>,
    ) -> Result<Answer, Failure> {
        let heard = Self::put(link, device as u8 + 1, &[3, 0, question as u8, 0, 1], WAIT / 100).await?;
        assert_ne!(Some(device), self.breaks_at, "card 4711");
        if self.listens {
            self.aside = Some(Reading::good(PointId(99), now(), Value::Bool(true)));
        }
        let number = u16::from_be_bytes([heard[3], heard[4]]);
        let point = PointId((device * 10 + question) as u32);
        readings.push(Reading::good(point, now(), Value::Unsigned(number.into())));
        Ok(Answer::Read)
    }
}

/// So many devices with so many questions each.
fn devices(count: usize, questions: usize, every: Duration) -> Vec<Device> {
    let device = |device: usize| Device {
        id: DeviceId(device as u32),
        rounds: vec![Round {
            every,
            questions: (0..questions).collect(),
            points: (0..questions).map(|question| PointId((device * 10 + question) as u32)).collect(),
        }],
    };
    (0..count).map(device).collect()
}

struct Run {
    lane: mpsc::Sender<Errand>,
    batches: mpsc::Receiver<Batch>,
    metrics: Metrics,
    _stop: DropGuard,
}

impl Run {
    fn of(wire: Wire, devices: Vec<Device>, protocol: Plain) -> Self {
        let (out, batches) = mpsc::channel(1024);
        let (lane, far) = mpsc::channel(ERRANDS_MAX);
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let mut context = Context::new(Arc::new(Site::default()), out, stop.clone(), metrics.clone());
        context.lane = Arc::new(Mutex::new(far));
        tokio::spawn(run("line-1".into(), wire, MILLI * 200, devices, protocol, context));
        Self { lane, batches, metrics, _stop: stop.drop_guard() }
    }

    async fn next(&mut self) -> Batch {
        timeout(WAIT, self.batches.recv()).await.expect("a batch in time").unwrap()
    }

    async fn order(&mut self, device: u32, until: Option<Instant>) -> (Done, Vec<Reading>) {
        self.send(device, until).await;
        self.done().await
    }

    async fn send(&self, device: u32, until: Option<Instant>) {
        let deed = Deed { number: 7, device: DeviceId(device), nth: 3, until };
        self.lane.send(Errand::Do(deed)).await.unwrap();
    }

    async fn done(&mut self) -> (Done, Vec<Reading>) {
        loop {
            let batch = self.next().await;
            if let Some(done) = batch.done {
                return (done, batch.readings);
            }
        }
    }
}

fn bus(units: u8, baud: u32) -> (Bus, Wire) {
    let units = (1..=units).map(|unit| (unit, line_sim::Unit::default())).collect::<BTreeMap<_, _>>();
    let bus = Bus::start(Settings { baud, bits_per_character: 11 }, units);
    let path = (&*bus.path).into();
    let port = Port { path, baud, parity: Parity::None, stop_bits: 1, rs485: false };
    (bus, Wire::Serial(port))
}

#[tokio::test]
async fn an_order_waits_for_one_transaction_on_a_line_that_is_never_idle() {
    let (bus, wire) = bus(8, 9600);
    let mut run = Run::of(wire, devices(8, 4, MILLI), Plain::default());
    for nth in 0..10 {
        // Somewhere in a turn of four questions.
        for _ in 0..nth {
            run.next().await;
        }
        run.send(nth % 8, None).await;
        let before = bus.tally().answers();
        let (done, readings) = run.done().await;
        assert!(matches!(done, Done { number: 7, outcome: Outcome::Executed { .. }, .. }), "{done:?}");
        assert_eq!(readings.len(), 1, "what was read back comes with it");
        let (answers, _) = *bus.tally().writes.last().unwrap();
        assert!(answers <= before + 1, "{answers} answers before it, {before} when it was given");
    }
    assert_eq!(bus.tally().violations, 0);
}

#[tokio::test]
async fn a_flood_of_orders_does_not_stop_the_polling() {
    let (_bus, wire) = bus(2, 9600);
    let mut run = Run::of(wire, devices(2, 1, MILLI), Plain::default());
    run.next().await;
    for _ in 0..20 {
        run.send(0, None).await;
    }
    let (mut done, mut polled) = (0, 0);
    while done < 20 {
        match run.next().await.done {
            Some(_) => done += 1,
            None => polled += 1,
        }
    }
    assert!(polled >= 15, "{polled} turns while 20 orders were done");
}

#[tokio::test]
async fn what_was_read_or_heard_before_an_order_is_told_before_it() {
    let (_bus, wire) = bus(2, 9600);
    let mut run = Run::of(wire, devices(2, 4, MILLI), Plain { listens: true, ..Plain::default() });
    for _ in 0..10 {
        run.next().await;
        let (done, _) = run.order(0, None).await;
        let mut turns = 0;
        while turns < 3 {
            let batch = run.next().await;
            assert!(batch.readings.iter().all(|r| r.at >= done.at), "{batch:?} after {done:?}");
            assert!(batch.readings.iter().all(|r| r.value.is_some()), "{batch:?}");
            assert!(matches!(batch.life, None | Some(Life::Online)), "{batch:?}");
            turns += usize::from(batch.life.is_some());
        }
    }
}

#[tokio::test]
async fn a_promise_is_kept_amid_a_scan_at_other_speeds() {
    let (bus, wire) = bus(1, 115_200);
    let promised = Some(Instant::now() + MILLI * 300);
    let run = Run::of(wire, devices(1, 0, MILLI), Plain { promised, ..Plain::default() });
    let (found, mut sightings) = mpsc::channel(64);
    let lines = vec![Line { baud: 4800, parity: Parity::Even, stop_bits: 1 }; 2];
    let what = Scan { from: 10, to: 41, lines, timeout: MILLI * 30 };
    run.lane.send(Errand::Scan { what, found }).await.unwrap();
    let mut last = 0;
    while let Some(sighting) = timeout(WAIT, sightings.recv()).await.unwrap() {
        let Sighting::Progress { done, of: 64 } = sighting else { panic!("{sighting:?}") };
        // Each address takes its 30 ms.
        assert!(done < 16 || !bus.tally().writes.is_empty(), "{done} asked, and it is not kept");
        last = done;
    }
    assert_eq!((last, bus.tally().writes.len()), (64, 1));
}

#[tokio::test]
async fn a_port_that_is_silent_for_all_its_units_is_opened_anew_now_and_then() {
    let (bus, wire) = bus(12, 115_200);
    (1..=12).for_each(|unit| bus.set(unit, line_sim::Unit { dead: true, ..line_sim::Unit::default() }));
    let protocol = Plain::default();
    let opened = protocol.opened.clone();
    let mut run = Run::of(wire, devices(12, 1, MILLI), protocol);
    for _ in 0..20 {
        run.next().await;
    }
    assert_eq!(opened.load(Ordering::Relaxed), 1, "silent, but not for long");
    for times in 2..4 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        let end = Instant::now() + WAIT;
        while opened.load(Ordering::Relaxed) < times {
            assert!(Instant::now() < end, "it is not opened anew");
            while run.batches.try_recv().is_ok() {}
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_at_once() {
    let (bus, wire) = bus(1, 115_200);
    let mut run = Run::of(wire, devices(2, 1, MILLI), Plain::default());
    let why = |done: Done| match done.outcome {
        Outcome::Failed { why } | Outcome::Unsure { why } => why,
        Outcome::Executed { what } | Outcome::ReadBack { what } => panic!("{what}"),
    };
    assert!(why(run.order(0, Some(Instant::now())).await.0).contains("expired"));
    assert!(why(run.order(9, None).await.0).contains("not on this wire"));
    assert_eq!(bus.tally().writes, []);
    // Nobody says whether it was done.
    let (done, _) = run.order(1, None).await;
    assert!(matches!(done.outcome, Outcome::Unsure { .. }), "{done:?}");

    let port =
        Port { path: "/dev/none".into(), baud: 9600, parity: Parity::None, stop_bits: 1, rs485: false };
    let mut run = Run::of(Wire::Serial(port), devices(1, 1, MILLI), Plain::default());
    assert!(matches!(run.next().await.life, Some(Life::Offline { .. })));
    let began = Instant::now();
    for _ in 0..20 {
        assert!(why(run.order(0, None).await.0).contains("/dev/none cannot be opened"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "not behind the next try to open it");
}

#[tokio::test]
async fn a_technicians_look_is_answered_in_full_view() {
    let (_bus, wire) = bus(1, 115_200);
    let run = Run::of(wire, devices(1, 1, MILLI), Plain::default());
    for (device, heard, trouble) in [(0, 7, false), (5, 0, true)] {
        let (answer, seen) = oneshot::channel();
        run.lane.send(Errand::Read { device: DeviceId(device), point: None, answer }).await.unwrap();
        let seen = timeout(WAIT, seen).await.unwrap().unwrap();
        assert_eq!((seen[0].heard.len(), seen[0].trouble.is_some()), (heard, trouble));
    }
}

#[tokio::test]
async fn a_scan_finds_who_is_there_while_orders_are_done_and_polling_goes_on_after_it() {
    let (bus, wire) = bus(3, 115_200);
    let mut run = Run::of(wire, devices(1, 1, MILLI), Plain::default());
    for lines in [vec![], vec![Line { baud: 115_200, parity: Parity::Even, stop_bits: 1 }]] {
        let (found, mut sightings) = mpsc::channel(64);
        let what = Scan { from: 1, to: 20, lines: lines.clone(), timeout: MILLI * 30 };
        run.lane.send(Errand::Scan { what, found }).await.unwrap();
        let writes = bus.tally().writes.len();
        run.order(0, None).await;
        assert_eq!(bus.tally().writes.len(), writes + 1);
        let (mut addresses, mut last) = (Vec::new(), 0);
        while let Some(sighting) = timeout(WAIT, sightings.recv()).await.unwrap() {
            match sighting {
                Sighting::Found { address, line, .. } => {
                    assert_eq!(line, lines.first().copied());
                    addresses.push(address);
                }
                Sighting::Progress { done, of: 20 } => last = done,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((addresses, last), (vec!["1".to_owned(), "2".into(), "3".into()], 20));
    }
    while run.batches.try_recv().is_ok() {}
    let good = run.next().await;
    assert!(good.readings.iter().all(|r| r.value.is_some()), "{good:?}");
}

#[tokio::test]
async fn a_scan_over_tcp_cannot_change_the_speed_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let run = Run::of(wire, devices(0, 0, MILLI), Plain::default());
    let (found, mut sightings) = mpsc::channel(64);
    let lines = vec![Line { baud: 4800, parity: Parity::None, stop_bits: 1 }; 3];
    let what = Scan { from: 1, to: 247, lines, timeout: MILLI };
    run.lane.send(Errand::Scan { what, found }).await.unwrap();
    assert!(matches!(timeout(WAIT, sightings.recv()).await.unwrap(), Some(Sighting::Trouble(_))));
    assert_eq!(timeout(WAIT, sightings.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn what_devices_say_unasked_is_handed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let mut run = Run::of(wire, devices(1, 0, MILLI), Plain { listens: true, ..Plain::default() });
    let (mut peer, _) = listener.accept().await.unwrap();
    peer.write_all(&[0x82; 5]).await.unwrap();
    assert_eq!(run.next().await.readings[0].value, Some(Value::Unsigned(5)));
    // A new connection is listened to as well.
    drop(peer);
    let (mut peer, _) = timeout(WAIT, listener.accept()).await.unwrap().unwrap();
    peer.write_all(&[0x82; 4]).await.unwrap();
    assert_eq!(run.next().await.readings[0].value, Some(Value::Unsigned(4)));
}

#[tokio::test]
async fn questions_that_may_be_under_way_together_are() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let protocol = Plain { together: 4, ..Plain::default() };
    let most = protocol.most_together.clone();
    let mut run = Run::of(wire, devices(3, 3, MILLI * 50), protocol);
    for _ in 0..12 {
        let batch = run.next().await;
        assert_eq!(batch.readings.len(), 3, "a round is handed on as a whole");
        assert!(batch.readings.iter().all(|r| r.point.0 / 10 == batch.device.0), "{batch:?}");
    }
    assert_eq!(*most.lock().unwrap(), 4);
}

/// Until the device whose decoder breaks is offline; meanwhile the others are read.
async fn costs_only_the_device_concerned(run: &mut Run, others: usize) {
    let (mut read, mut why) = (vec![0; others + 1], String::new());
    while read.iter().enumerate().any(|(device, read)| device != 1 && *read < 20) || why.is_empty() {
        let batch = run.next().await;
        let device = batch.device.0 as usize;
        if device != 1 {
            assert!(batch.readings.iter().all(|r| r.value.is_some()), "{batch:?}");
            assert_eq!(batch.life, Some(Life::Online));
            read[device] += 1;
            continue;
        }
        assert!(batch.readings.iter().all(|r| r.value.is_none()), "{batch:?}");
        if let Some(Life::Offline { why: told }) = batch.life {
            why = told;
        }
    }
    assert!(why.starts_with("decoder fault") && !why.contains("4711"), "{why}");
    assert!(run.metrics.render().contains("gatehouse_decoder_faults_total"), "it is counted");
}

#[tokio::test]
async fn a_decoder_that_breaks_costs_its_device_alone() {
    let (_bus, wire) = bus(3, 115_200);
    let protocol = Plain { breaks_at: Some(1), ..Plain::default() };
    let opened = protocol.opened.clone();
    let mut run = Run::of(wire, devices(3, 1, MILLI), protocol);
    costs_only_the_device_concerned(&mut run, 2).await;
    assert!(opened.load(Ordering::Relaxed) > 1, "what it left behind is not trusted");
    let (done, _) = run.order(1, None).await;
    assert!(matches!(done.outcome, Outcome::Executed { .. }), "{done:?}");
}

#[tokio::test]
async fn a_decoder_that_breaks_at_several_answers_at_once_costs_its_device_alone() {
    let (_bus, wire) = bus(3, 115_200);
    let protocol = Plain { breaks_at: Some(1), together: 4, ..Plain::default() };
    let mut run = Run::of(wire, devices(3, 1, MILLI), protocol);
    costs_only_the_device_concerned(&mut run, 2).await;
}

#[tokio::test]
async fn a_wire_that_can_be_opened_and_breaks_at_once_is_not_spun_on_and_told_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let mut run = Run::of(wire, devices(1, 1, MILLI), Plain { listens: true, ..Plain::default() });
    let end = Instant::now() + Duration::from_secs(4);
    let mut opened = 0;
    while let Ok(Ok(_)) = tokio::time::timeout_at(end, listener.accept()).await {
        opened += 1; // and closed
    }
    assert!((2..=6).contains(&opened), "opened {opened} times in 4 s");
    let mut downs = 0;
    while let Ok(batch) = run.batches.try_recv() {
        downs +=
            usize::from(batch.readings.iter().any(|r| r.reason == Some(crate::reading::Reason::WireDown)));
    }
    assert!(downs <= 1, "told {downs} times");
}

#[tokio::test]
async fn a_port_that_is_plugged_in_again_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("by-id");
    let port = |path: &std::path::Path| Port {
        path: path.to_str().unwrap().into(),
        baud: 115_200,
        parity: Parity::None,
        stop_bits: 1,
        rs485: true,
    };
    let mut run = Run::of(Wire::Serial(port(&path)), devices(1, 1, MILLI), Plain::default());
    run.next().await; // it is down
    for _ in 0..2 {
        // Until it waits half a minute between two tries.
        tokio::time::pause();
        for _ in 0..120 {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::resume();
        let (bus, _) = bus(1, 115_200);
        std::os::unix::fs::symlink(&bus.path, &path).unwrap();
        let plugged = Instant::now();
        while run.next().await.life != Some(Life::Online) {}
        assert!(plugged.elapsed() < Duration::from_secs(15), "{:?}", plugged.elapsed());
        std::fs::remove_file(&path).unwrap();
        drop(bus);
        while !matches!(run.next().await.life, Some(Life::Offline { .. })) {}
    }
}

#[tokio::test]
async fn a_unit_that_answers_some_questions_only_is_degraded_and_says_which() {
    // Question 0 is answered, 1 is not, 2 is refused.
    #[derive(Debug)]
    struct Partly;
    impl Ask for Partly {
        async fn ask(
            &mut self,
            _link: &mut Link,
            _device: usize,
            question: usize,
            readings: &mut Vec<Reading>,
        ) -> Result<Answer, Failure> {
            match question {
                0 => readings.push(Reading::good(PointId(0), now(), Value::Bool(true))),
                1 => return Err(Failure::Silent),
                _ => {
                    readings.push(Reading::bad(PointId(2), now(), crate::reading::Reason::DeviceError));
                    return Ok(Answer::Refused);
                }
            }
            Ok(Answer::Read)
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let (out, mut batches) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
    let _stop = stop.drop_guard();
    tokio::spawn(run("line-1".into(), wire, MILLI, devices(1, 3, MILLI * 20), Partly, context));
    loop {
        let batch = timeout(WAIT, batches.recv()).await.unwrap().unwrap();
        match batch.life {
            Some(Life::Degraded { why }) if why == "refused: point 2; not answered: point 1" => return,
            Some(Life::Offline { why }) => panic!("{why}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_a_turn_read_before_an_order_is_not_told_after_what_the_order_read() {
    /// A door, and a question after it that takes until the order has come.
    #[derive(Debug)]
    struct Door {
        open: bool,
        asked: mpsc::Sender<()>,
        ordered: mpsc::Receiver<()>,
    }
    impl Ask for Door {
        async fn act(
            &mut self,
            _link: &mut Link,
            _device: usize,
            _nth: usize,
            readings: &mut Vec<Reading>,
        ) -> Result<Outcome, Failure> {
            self.open = true;
            readings.push(Reading::good(PointId(0), now(), Value::Bool(true)));
            Ok(Outcome::Executed { what: "opened".into() })
        }

        async fn ask(
            &mut self,
            _link: &mut Link,
            _device: usize,
            question: usize,
            readings: &mut Vec<Reading>,
        ) -> Result<Answer, Failure> {
            if question == 1 && !self.open {
                self.asked.send(()).await.unwrap();
                self.ordered.recv().await;
            }
            readings.push(Reading::good(PointId(question as u32), now(), Value::Bool(self.open)));
            Ok(Answer::Read)
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let (out, mut batches) = mpsc::channel(16);
    let (lane, far) = mpsc::channel(ERRANDS_MAX);
    let ((asked, mut stands), (order, ordered)) = (mpsc::channel(1), mpsc::channel(1));
    let door = Door { open: false, asked, ordered };
    let stop = CancellationToken::new();
    let mut context = Context::new(Arc::new(Site::default()), out, stop.clone(), Metrics::new());
    context.lane = Arc::new(Mutex::new(far));
    let _stop = stop.drop_guard();
    tokio::spawn(run("line-1".into(), wire, MILLI, devices(1, 2, MILLI * 20), door, context));
    // The turn stands at its second question, and has read the door.
    timeout(WAIT, stands.recv()).await.unwrap();
    lane.send(Errand::Do(Deed { number: 7, device: DeviceId(0), nth: 0, until: None })).await.unwrap();
    order.send(()).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 4 {
        let batch = timeout(WAIT, batches.recv()).await.unwrap().unwrap();
        told.extend(batch.readings.into_iter().filter(|r| r.point == PointId(0)));
    }
    assert!(told.is_sorted_by_key(|reading| reading.at), "{told:?}");
    let first_open = told.iter().position(|reading| reading.value == Some(Value::Bool(true))).unwrap();
    assert!(told[first_open..].iter().all(|r| r.value == Some(Value::Bool(true))), "{told:?}");
}
