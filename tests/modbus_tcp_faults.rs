//! Modbus TCP peers that misbehave: late answers, broken frames, wrong units, connections closed when idle or never
//! answered on. No wrong value, and the other units of the endpoint go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatehouse::field::Context;
use gatehouse::field::decode::Type;
use gatehouse::field::modbus::{self, Device, Framing, Point, Settings, Table};
use gatehouse::field::wire::Wire;
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, PointId, Quality, Reason, Site, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

const POLL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

/// A question: its id, unit, register, and the how-manieth of its connection and of all it is.
struct Question {
    id: u16,
    unit: u8,
    register: u16,
    nth_here: usize,
    nth: usize,
}

enum Reply {
    Say(Vec<u8>),
    /// Byte by byte.
    Dribble(Vec<u8>),
    Close(Vec<u8>),
}
use Reply::{Close, Dribble, Say};

impl Question {
    fn answer_as(&self, id: u16, unit: u8) -> Vec<u8> {
        let [id_high, id_low] = id.to_be_bytes();
        let [high, low] = truth(self.unit, self.register).to_be_bytes();
        vec![id_high, id_low, 0, 0, 0, 5, unit, 3, 2, high, low]
    }

    fn answer(&self) -> Vec<u8> {
        self.answer_as(self.id, self.unit)
    }
}

fn truth(unit: u8, register: u16) -> u16 {
    u16::from(unit) * 1000 + register
}

struct Peer {
    address: String,
    connections: Arc<AtomicUsize>,
}

async fn peer(mut script: impl FnMut(&Question) -> Reply + Send + 'static) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        let mut nth = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let mut nth_here = 0;
            let mut bytes = [0; 12];
            while stream.read_exact(&mut bytes).await.is_ok() {
                nth += 1;
                nth_here += 1;
                let reply = script(&Question {
                    id: u16::from_be_bytes([bytes[0], bytes[1]]),
                    unit: bytes[6],
                    register: u16::from_be_bytes([bytes[8], bytes[9]]),
                    nth_here,
                    nth,
                });
                match reply {
                    Say(answer) => stream.write_all(&answer).await.unwrap_or_default(),
                    Dribble(answer) => {
                        for byte in answer {
                            stream.write_all(&[byte]).await.unwrap_or_default();
                            sleep(Duration::from_millis(1)).await;
                        }
                    }
                    Close(answer) => {
                        stream.write_all(&answer).await.unwrap_or_default();
                        break;
                    }
                }
            }
        }
    });
    Peer { address, connections }
}

/// Units 1 and 2, each read by two requests of one shape.
struct Running {
    batches: mpsc::Receiver<Batch>,
    metrics: Metrics,
    _stop: DropGuard,
}

impl Running {
    fn on(peer: &Peer) -> Self {
        let points = |unit: u8| [100, 200].map(|register| (unit, register));
        let devices = [1, 2].map(|unit| {
            Device::new(
                DeviceId(unit.into()),
                unit,
                POLL,
                points(unit)
                    .map(|(unit, register)| {
                        Point::new(PointId(truth(unit, register).into()), Table::Holding, register, Type::U16)
                    })
                    .into(),
            )
        });
        let (out, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let metrics = Metrics::new();
        let settings = Settings::new(
            Wire::Tcp { address: peer.address.as_str().into() },
            Framing::Tcp,
            Duration::from_millis(150),
            devices.into(),
        );
        let context = Context::new(Arc::new(Site::default()), out, stop.clone(), metrics.clone());
        tokio::spawn(modbus::run("plant".into(), settings, context));
        Self { batches, metrics, _stop: stop.drop_guard() }
    }

    /// The next `n` batches; every value in them is true.
    async fn take(&mut self, n: usize) -> Vec<Batch> {
        let mut taken = Vec::new();
        while taken.len() < n {
            let batch = timeout(PATIENCE, self.batches.recv()).await.expect("batches come").unwrap();
            for reading in &batch.readings {
                let read = reading.value.clone().unwrap_or(Value::Number(reading.point.0.into()));
                assert_eq!(read, Value::Number(reading.point.0.into()), "{reading:?}");
            }
            taken.push(batch);
        }
        taken
    }
}

/// By unit.
fn bad(batches: &[Batch]) -> Vec<(u32, Reason)> {
    let readings = batches.iter().flat_map(|b| &b.readings);
    let bad = readings.filter(|r| r.quality == Quality::Bad);
    bad.map(|r| (r.point.0 / 1000, r.reason.unwrap())).collect()
}

#[tokio::test]
async fn a_late_answer_is_skipped_by_its_id_and_the_connection_stays() {
    let mut late = None;
    let peer = peer(move |q| {
        if q.nth == 5 {
            late = Some(q.answer());
            return Say(vec![]);
        }
        Say([late.take().unwrap_or_default(), q.answer()].concat())
    })
    .await;
    let batches = Running::on(&peer).take(12).await;
    let bad = bad(&batches);
    assert!(!bad.is_empty() && bad.len() <= 2, "{bad:?}");
    assert_eq!(peer.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_in_dribbles_behind_an_old_one_is_put_together() {
    let old = |q: &Question| q.answer_as(q.id.wrapping_sub(1), q.unit);
    let peer = peer(move |q| Dribble([old(q), q.answer()].concat())).await;
    assert_eq!(bad(&Running::on(&peer).take(8).await), []);
}

#[tokio::test]
async fn a_unit_that_sends_broken_frames_harms_only_itself() {
    let wrong: [fn(&Question) -> Vec<u8>; 4] = [
        |_| b"HTTP/1.1 400 Bad Request".to_vec(),
        |q| q.answer_as(q.id, 9),
        |q| [&q.answer()[..5], &[3, q.unit, 0x83]].concat(), // says three bytes, has two
        |q| [&q.answer()[..5], &[7, q.unit, 3, 4, 0xBA, 0xD0, 0xBA, 0xD0]].concat(), // two registers for one
    ];
    let runs = wrong.map(|wrong| {
        tokio::spawn(async move {
            let peer = peer(move |q| Say(if q.unit == 2 { wrong(q) } else { q.answer() })).await;
            Running::on(&peer).take(20).await
        })
    });
    for run in runs {
        let batches = run.await.unwrap();
        let bad = bad(&batches);
        assert!(!bad.is_empty() && bad.iter().all(|b| *b == (2, Reason::NoAnswer)), "{bad:?}");
        let good = batches.iter().filter(|b| b.life == Some(Life::Online)).count();
        assert!(good >= 10, "unit 1 was read {good} times of 20");
    }
}

#[tokio::test]
async fn a_connection_closed_between_polls_costs_no_reading() {
    let peer = peer(|q| match q.nth_here {
        4 => Close(q.answer()),
        _ => Say(q.answer()),
    })
    .await;
    assert_eq!(bad(&Running::on(&peer).take(12).await), []);
    assert!(peer.connections.load(Ordering::SeqCst) > 2);
}

#[tokio::test]
async fn a_peer_that_answers_once_a_connection_is_read_completely() {
    let peer = peer(|q| match q.nth_here {
        1 => Say(q.answer()),
        _ => Close(vec![]),
    })
    .await;
    let batches = Running::on(&peer).take(20).await;
    assert_eq!(bad(&batches), []);
    assert!(batches.iter().all(|b| b.readings.len() == 2), "{batches:?}");
    let of_2 = batches.iter().filter(|b| b.device == DeviceId(2)).count();
    assert!((9..=11).contains(&of_2), "unit 2 was read {of_2} times of 20");
    let connections = peer.connections.load(Ordering::SeqCst);
    assert!(connections <= 44, "{connections} connections for 40 questions");
}

#[tokio::test]
async fn a_question_that_breaks_every_connection_costs_only_its_own_points() {
    let peer = peer(|q| match (q.unit, q.register) {
        (1, 200) => Close(vec![]),
        _ => Say(q.answer()),
    })
    .await;
    let batches = Running::on(&peer).take(20).await;
    let lives =
        |unit: u32| batches.iter().filter(move |b| b.device == DeviceId(unit)).map(|b| b.life.clone());
    assert!(lives(2).all(|life| life == Some(Life::Online)), "{batches:?}");
    let of_1: Vec<_> = lives(1).take(2).collect();
    let why = "not answered: point 1200".to_owned();
    assert_eq!(of_1, [Some(Life::Online), Some(Life::Degraded { why })], "{batches:?}");
    let readings = batches.iter().flat_map(|b| &b.readings);
    for reading in readings {
        let broken = (reading.point == PointId(1200)).then_some(Reason::NoAnswer);
        assert_eq!(reading.reason, broken, "{reading:?}");
    }
    let of_2 = batches.iter().filter(|b| b.device == DeviceId(2)).count();
    assert!((9..=11).contains(&of_2), "unit 2 was read {of_2} times of 20");
    let connections = peer.connections.load(Ordering::SeqCst);
    assert!(connections <= 24, "{connections} connections in ten turns");
}

#[tokio::test]
async fn a_peer_that_closes_on_every_question_is_down_and_taken_up_when_it_answers() {
    let peer = peer(|q| if q.nth <= 3 { Close(vec![]) } else { Say(q.answer()) }).await;
    let mut running = Running::on(&peer);
    let mut batches = running.take(4).await;
    while batches.last().unwrap().life != Some(Life::Online) {
        batches.extend(running.take(1).await);
    }
    let down = bad(&batches).iter().filter(|(_, r)| *r == Reason::WireDown).count();
    assert_eq!(down, 4, "each of four points is told once: {batches:?}");
}

#[tokio::test]
async fn a_connection_on_which_nobody_answers_is_opened_anew() {
    let peer = peer(|q| Say(if q.nth <= 5 { vec![] } else { q.answer() })).await;
    let mut running = Running::on(&peer);
    while running.take(1).await[0].life != Some(Life::Online) {}
    assert!(peer.connections.load(Ordering::SeqCst) >= 2);
    let metrics = running.metrics.render();
    assert!(
        metrics.contains(r#"gatehouse_requests_total{channel="plant",outcome="timeout"} 5"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_unit_that_its_gateway_cannot_reach_is_silent_and_goes_offline() {
    let peer = peer(|q| {
        let [high, low] = q.id.to_be_bytes();
        Say(match q.unit {
            2 => vec![high, low, 0, 0, 0, 3, 2, 0x83, 0x0B],
            _ => q.answer(),
        })
    })
    .await;
    let batches = Running::on(&peer).take(20).await;
    let of_2 = batches.iter().filter(|b| b.device == DeviceId(2));
    let lives: Vec<_> = of_2.map(|b| b.life.clone()).take(3).collect();
    let why = "the gateway before it gets no answer from it".to_owned();
    assert_eq!(lives, [None, Some(Life::Failing { why: why.clone() }), Some(Life::Offline { why })]);
    assert!(bad(&batches).iter().all(|b| *b == (2, Reason::NoAnswer)));
}
