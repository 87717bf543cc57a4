//! Orders against a board that is played: what it says, when, and what it then reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::{Device, Framing, Point, Settings};
use super::*;
use crate::field::decode::Type;
use crate::field::poll::Ask;
use crate::field::wire::Wire;
use crate::reading::{DeviceId, PointId, Site, Value};

const TIMEOUT: Duration = Duration::from_millis(150);

/// What the board does with the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Obeys,
    /// It says that it did.
    Lies,
    /// It does after so many reads.
    Delays(u32),
    Refuses,
    Ignores,
    /// It does, and says nothing.
    Forgets,
    /// It does, and says an exception.
    Excepts(u8),
}
use Manner::{Delays, Excepts, Forgets, Ignores, Lies, Obeys, Refuses};

#[derive(Debug, Default)]
struct Board {
    coils: [bool; 8],
    coming: Option<(u32, usize, bool)>,
    manners: VecDeque<Manner>,
    written: Vec<(u16, u16)>,
}

impl Board {
    /// The answer to a PDU.
    fn hear(&mut self, pdu: &[u8]) -> Option<Vec<u8>> {
        let at = usize::from(pdu[2]);
        match pdu[0] {
            5 => {
                let manner = self.manners.pop_front().unwrap_or(Obeys);
                self.written.push((at as u16, u16::from_be_bytes([pdu[3], pdu[4]])));
                let on = pdu[3] == 0xFF;
                match manner {
                    Obeys | Forgets | Excepts(_) => self.coils[at] = on,
                    Delays(reads) => self.coming = Some((reads, at, on)),
                    Lies | Refuses | Ignores => {}
                }
                match manner {
                    Obeys | Lies | Delays(_) => Some(pdu.to_vec()),
                    Refuses => Some(vec![0x85, 2]),
                    Excepts(code) => Some(vec![0x85, code]),
                    Ignores | Forgets => None,
                }
            }
            1 => {
                match &mut self.coming {
                    Some((0, at, on)) => self.coils[*at] = *on,
                    Some((reads, ..)) => *reads -= 1,
                    None => {}
                }
                Some(vec![1, 1, u8::from(self.coils[at])])
            }
            _ => Some(vec![pdu[0] | 0x80, 1]),
        }
    }
}

struct Bench {
    board: Arc<Mutex<Board>>,
    units: Units,
    link: Link,
}

/// Commands: 0 on, 1 off, 2 a pulse of 100 ms; point 7 is relay 0.
async fn bench(manners: &[Manner]) -> Bench {
    let board =
        Arc::new(Mutex::new(Board { manners: manners.iter().copied().collect(), ..Board::default() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wire = Wire::Tcp { address: listener.local_addr().unwrap().to_string().into() };
    let far = board.clone();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 12];
        while stream.read_exact(&mut bytes).await.is_ok() {
            let Some(pdu) = far.lock().unwrap().hear(&bytes[7..]) else { continue };
            let head = [bytes[0], bytes[1], 0, 0, 0, 1 + pdu.len() as u8, bytes[6]];
            stream.write_all(&[&head[..], &pdu].concat()).await.unwrap();
        }
    });
    let coil = |on: bool| Write::Coil { at: 0, word: if on { 0xFF00 } else { 0 } };
    let reads = |on: bool| ReadBack {
        table: Table::Coil,
        register: 0,
        words: vec![u16::from(on)],
        within: Duration::from_millis(400),
    };
    let switch = |on| Command { write: coil(on), read_back: Some(reads(on)), then: None };
    let pulse =
        Command { write: coil(true), read_back: None, then: Some((Duration::from_millis(100), coil(false))) };
    let points = vec![Point::new(PointId(7), Table::Coil, 0, Type::Bool)];
    let device = Device {
        commands: vec![switch(true), switch(false), pulse],
        ..Device::new(DeviceId(0), 1, Duration::from_secs(1), points)
    };
    let settings = Settings::new(wire.clone(), Framing::Tcp, TIMEOUT, vec![device]);
    let units = Units::new(settings, Arc::new(Site::default()));
    let link = wire.open().await.unwrap();
    Bench { board, units, link }
}

impl Bench {
    async fn order(&mut self, nth: usize) -> (Result<Outcome, Failure>, Vec<Reading>) {
        let mut readings = Vec::new();
        let outcome = self.units.act(&mut self.link, 0, nth, &mut readings).await;
        (outcome, readings)
    }

    fn written(&self) -> Vec<(u16, u16)> {
        self.board.lock().unwrap().written.clone()
    }

    /// Does all that becomes due, until nothing is.
    async fn settle(&mut self) {
        for _ in 0..20 {
            let Some(at) = self.units.due() else { return };
            tokio::time::sleep_until(at).await;
            let _ = self.units.settle(&mut self.link, Instant::now()).await;
        }
        panic!("it does not end");
    }
}

fn executed(outcome: Result<Outcome, Failure>) -> String {
    match outcome.unwrap() {
        Outcome::Executed { what } | Outcome::ReadBack { what } => what,
        other => panic!("{other:?}"),
    }
}

fn failed_as(outcome: Result<Outcome, Failure>) -> String {
    match outcome.unwrap() {
        Outcome::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_order_is_executed_when_it_reads_so_and_its_point_has_the_news() {
    let mut bench = bench(&[Obeys, Delays(2)]).await;
    let (outcome, readings) = bench.order(0).await;
    assert_eq!(executed(outcome), "coil 0 reads on");
    assert_eq!((readings[0].point, readings[0].value.clone()), (PointId(7), Some(Value::Bool(true))));
    let (outcome, readings) = bench.order(1).await;
    assert_eq!(executed(outcome), "coil 0 reads off", "a device may take its time");
    assert_eq!(readings.len(), 1);
}

#[tokio::test]
async fn an_acknowledgement_alone_is_no_deed() {
    let mut bench = bench(&[Lies]).await;
    let (outcome, readings) = bench.order(0).await;
    assert_eq!(failed_as(outcome), "it was acknowledged, but coil 0 reads off");
    assert_eq!(readings[0].value, Some(Value::Bool(false)));
}

#[tokio::test]
async fn a_refusal_is_told_in_words_and_silence_is_no_refusal() {
    let mut bench = bench(&[Refuses, Ignores]).await;
    assert_eq!(failed_as(bench.order(0).await.0), "the device refused (exception 2: illegal data address)");
    assert!(matches!(bench.order(0).await.0, Err(Failure::Silent)));
    assert_eq!(failed_as(bench.order(9).await.0), "the device has no such command");
}

#[tokio::test]
async fn a_pulse_ends_even_if_nobody_answered_its_beginning_and_its_end_is_first_refused() {
    let mut bench = bench(&[Forgets, Refuses, Ignores, Obeys]).await;
    assert!(matches!(bench.order(2).await.0, Err(Failure::Silent)));
    assert!(bench.board.lock().unwrap().coils[0], "it is on, though nobody knows");
    bench.settle().await;
    assert!(!bench.board.lock().unwrap().coils[0]);
    assert_eq!(bench.written(), [(0, 0xFF00), (0, 0), (0, 0), (0, 0)]);
}

#[tokio::test]
async fn a_pulse_that_was_refused_has_no_end_and_a_second_one_lengthens_the_first() {
    let mut bench = bench(&[Refuses]).await;
    failed_as(bench.order(2).await.0);
    assert_eq!(bench.units.due(), None);
    executed(bench.order(2).await.0);
    let first = bench.units.due().unwrap();
    executed(bench.order(2).await.0);
    assert!(bench.units.due().unwrap() > first);
    bench.settle().await;
    assert_eq!(bench.written(), [(0, 0xFF00), (0, 0xFF00), (0, 0xFF00), (0, 0)], "one end for two");
}

#[tokio::test]
async fn a_pulse_ends_if_its_beginning_was_done_by_a_device_or_a_gateway_that_says_otherwise() {
    for code in [4, 5, 11] {
        let mut bench = bench(&[Excepts(code)]).await;
        let (outcome, _) = bench.order(2).await;
        assert!(
            !matches!(outcome, Ok(Outcome::Executed { .. } | Outcome::ReadBack { .. })),
            "{code}: {outcome:?}"
        );
        assert!(code != 5 || matches!(outcome, Ok(Outcome::Unsure { .. })), "{outcome:?}");
        bench.settle().await;
        assert!(!bench.board.lock().unwrap().coils[0], "{code}");
    }
}

#[tokio::test]
async fn an_order_that_perhaps_never_came_does_not_cost_a_pulse_its_end() {
    let mut bench = bench(&[Obeys, Ignores]).await;
    executed(bench.order(2).await.0);
    assert!(matches!(bench.order(1).await.0, Err(Failure::Silent)));
    bench.settle().await;
    assert!(!bench.board.lock().unwrap().coils[0]);
    assert_eq!(bench.written(), [(0, 0xFF00), (0, 0), (0, 0)]);
}

#[tokio::test]
async fn an_order_of_the_same_relay_takes_the_place_of_a_pulses_end() {
    let mut bench = bench(&[]).await;
    executed(bench.order(2).await.0);
    executed(bench.order(0).await.0);
    assert_eq!(bench.units.due(), None, "it was ordered on, not on for a while");
}
