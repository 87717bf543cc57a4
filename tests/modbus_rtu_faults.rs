//! Never a wrong number over RTU. A scripted peer on a pseudo-terminal answers late, with rubbish, in dribbles, for
//! another unit, too short, with an exception, by half: whatever comes out must be true, and be back within three polls.
//!
//! Unit 1 is read by two requests of the same shape, so that nothing but the master's care tells their answers apart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rtu_peer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatehouse::field::Context;
use gatehouse::field::decode::{Order, Transform, Type};
use gatehouse::field::modbus::{self, Device, Framing, Point, Settings, Table};
use gatehouse::field::wire::{Parity, Port, Wire};
use gatehouse::metrics::Metrics;
use gatehouse::reading::{Batch, DeviceId, Life, Millis, PointId, Quality, Reading, Reason, Site, Value};
use gatehouse::time::now;
use rtu_peer::Act::{self, Say, Wait};
use rtu_peer::{Question, Socat, answer, frame, peer};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_serial::SerialPortBuilderExt;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(150);
/// The question to unit 1 that is answered badly: the first of its third poll.
const FAULT: usize = 5;

/// What the registers really hold. It tells unit and register, so that an answer to anything else shows.
fn truth(unit: u8, register: u16) -> u16 {
    u16::from(unit) * 1000 + register
}

fn honest(q: &Question) -> Vec<u8> {
    answer(q, truth(q.unit, q.register))
}

// --- the run ---

/// (unit, register) by point.
const POINTS: [(u8, u16); 3] = [(1, 100), (1, 200), (2, 100)];

fn device(unit: u8) -> Device {
    let points = POINTS.iter().enumerate().filter(|(_, (u, _))| *u == unit);
    Device::new(
        DeviceId(unit.into()),
        unit,
        POLL,
        points
            .map(|(i, &(_, register))| Point::new(PointId(i as u32), Table::Input, register, Type::U16))
            .collect(),
    )
}

/// What came out of a run: all of it true.
struct Run {
    fault_at: Millis,
    batches: Vec<Batch>,
}

impl Run {
    /// Polls both units over a line on which `script` plays a fault, for eight polls after the fault's first question.
    async fn with(mut script: impl FnMut(&Question) -> Option<Vec<Act>> + Send + 'static) -> Self {
        let socat = Socat::start().await;
        let far = tokio_serial::new(socat.end("far"), 115_200).open_native_async().unwrap();
        let fault_at = Arc::new(Mutex::new(None));
        let set_fault_at = fault_at.clone();
        tokio::spawn(peer(far, move |q| {
            let acts = script(q);
            if acts.is_some() {
                set_fault_at.lock().unwrap().get_or_insert_with(now);
            }
            // A script that has nothing to say leaves it honest.
            acts.unwrap_or_else(|| vec![Say(honest(q))])
        }));

        let (out, mut received) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        let port = Port {
            path: socat.end("near").into(),
            baud: 115_200,
            parity: Parity::None,
            stop_bits: 1,
            rs485: false,
        };
        let settings = Settings::new(Wire::Serial(port), Framing::Rtu, TIMEOUT, vec![device(1), device(2)]);
        let context = Context::new(Arc::new(Site::default()), out, stop, Metrics::new());
        tokio::spawn(modbus::run("rs485-1".into(), settings, context));

        let mut batches = Vec::new();
        let mut end = Instant::now() + Duration::from_secs(20);
        let mut fault_seen = false;
        while let Ok(Some(batch)) = timeout_at(end, received.recv()).await {
            batches.push(batch);
            if !fault_seen && fault_at.lock().unwrap().is_some() {
                fault_seen = true;
                end = Instant::now() + 8 * POLL;
            }
        }
        let fault_at = fault_at.lock().unwrap().expect("the fault was played");
        let run = Self { fault_at, batches };
        run.is_true();
        run
    }

    fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.batches.iter().flat_map(|b| &b.readings)
    }

    fn is_true(&self) {
        for reading in self.readings().filter(|r| r.value.is_some()) {
            let (unit, register) = POINTS[reading.point.0 as usize];
            let value = Value::Number(truth(unit, register).into());
            assert_eq!(reading.value, Some(value), "{reading:?} of unit {unit}, register {register}");
        }
    }

    fn bad(&self) -> Vec<(u32, Reason)> {
        let bad = self.readings().filter(|r| r.quality == Quality::Bad);
        bad.map(|r| (r.point.0, r.reason.unwrap())).collect()
    }

    /// Good values of unit 1 within three polls of the fault, and of unit 2 all along.
    fn recovers(self) -> Self {
        let back_by = self.fault_at + 3 * POLL.as_millis() as Millis;
        for point in [PointId(0), PointId(1)] {
            let good = self.readings().filter(|r| r.point == point && r.quality == Quality::Good);
            let back = good.map(|r| r.at).find(|at| *at > self.fault_at);
            assert!(back.is_some_and(|at| at <= back_by), "{point:?} is back at {back:?}, not by {back_by}");
        }
        assert!(self.bad().iter().all(|(point, _)| *point != 2), "unit 2 suffers: {:?}", self.bad());
        self
    }

    fn stays_unharmed(self) {
        assert_eq!(self.recovers().bad(), []);
    }

    fn misses_one_poll(self) {
        let run = self.recovers();
        let no_answer = |n: &(u32, Reason)| n.1 == Reason::NoAnswer;
        let bad = run.bad();
        assert!(!bad.is_empty() && bad.len() <= 2 && bad.iter().all(no_answer), "{bad:?}");
        let offline = |b: &Batch| matches!(b.life, Some(Life::Offline { .. }));
        assert!(!run.batches.iter().any(offline), "one miss is no absence");
    }
}

/// The fault is played once, on unit 1's `FAULT`th question.
fn once(fault: impl Fn(&Question) -> Vec<Act>) -> impl FnMut(&Question) -> Option<Vec<Act>> {
    move |q| (q.unit == 1 && q.nth == FAULT).then(|| fault(q))
}

/// Runs side by side, since each takes some seconds of waiting.
async fn all<R: Future<Output = Run> + Send + 'static, const N: usize>(runs: [R; N]) -> Vec<Run> {
    let mut done = Vec::new();
    for run in runs.map(tokio::spawn) {
        done.push(run.await.unwrap());
    }
    done
}

// --- the seven faults ---

/// After so many milliseconds: just too late, between two polls, about when the next question goes out, and in the time
/// in which the unit is not believed. This peer does not answer in order: what it is asked meanwhile, it answers at once.
const LATENESSES: [u64; 8] = [155, 250, 395, 400, 405, 600, 700, 850];

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_next_one() {
    let late = |ms| Run::with(once(move |q| vec![Wait(ms), Say(honest(q))]));
    all(LATENESSES.map(late)).await.into_iter().for_each(Run::misses_one_poll);
}

/// The late answer comes just when it looks like the next one's, and that one's after the unit would be believed.
#[tokio::test]
async fn a_late_answer_is_no_answer_to_the_probe_that_follows() {
    let runs = [700, 850, 1000].map(|second| {
        Run::with(move |q| match q.nth {
            FAULT if q.unit == 1 => Some(vec![Wait(450), Say(honest(q))]),
            n if q.unit == 1 && n == FAULT + 1 => Some(vec![Wait(second), Say(honest(q))]),
            _ => None,
        })
    });
    for run in all(runs).await {
        assert!(run.bad().iter().any(|(_, reason)| *reason == Reason::NoAnswer));
        assert!(run.bad().iter().all(|(point, _)| *point != 2), "unit 2 suffers: {:?}", run.bad());
    }
}

#[tokio::test]
async fn an_answer_held_back_until_the_next_question_is_not_its_answer() {
    // Until the next question to unit 1 or to the other; before or after the true answer to that.
    let cases = [(1, true), (1, false), (2, true), (2, false)];
    let runs = cases.map(|(asked_unit, late_first)| {
        let mut held: Option<Vec<u8>> = None;
        Run::with(move |q| {
            if q.unit == 1 && q.nth == FAULT {
                held = Some(honest(q));
                return Some(vec![]);
            }
            let late = held.take_if(|_| q.unit == asked_unit)?;
            Some(match late_first {
                true => vec![Say(late), Wait(20), Say(honest(q))],
                false => vec![Say(honest(q)), Say(late)],
            })
        })
    });
    all(runs).await.into_iter().for_each(Run::misses_one_poll);
}

#[tokio::test]
async fn a_unit_that_is_always_late_is_never_believed() {
    let late = |ms| {
        let fault = FAULT..FAULT + 6;
        Run::with(move |q| (q.unit == 1 && fault.contains(&q.nth)).then(|| vec![Wait(ms), Say(honest(q))]))
    };
    // 600 ms is four timeouts, and still within most of two polls; 850 ms is more than that.
    for run in all([200, 420, 450, 600, 850].map(late)).await {
        assert!(run.bad().iter().any(|(_, reason)| *reason == Reason::NoAnswer));
    }
}

#[tokio::test]
async fn garbage_before_an_answer_is_skipped() {
    let garbage: [&'static [u8]; 5] = [
        &[0xFF],
        &[0; 30],
        &[1, 4, 2, 0xBA, 0xD0, 0, 0],          // an answer with a wrong CRC
        &[1, 4, 2, 0xBA],                      // the beginning of one
        &[0x55, 0xAA, 1, 1, 4, 1, 4, 2, 1, 4], // several beginnings
    ];
    let before = |garbage: &'static [u8]| Run::with(once(move |q| vec![Say([garbage, &honest(q)].concat())]));
    all(garbage.map(before)).await.into_iter().for_each(Run::stays_unharmed);
}

#[tokio::test]
async fn garbage_after_an_answer_does_not_reach_the_next() {
    // The last one looks like an answer to whatever is asked next.
    let garbage = [vec![0xFF; 40], vec![1, 4, 2], frame(1, &[4, 2, 0xBA, 0xD0])];
    let after = |garbage: Vec<u8>| Run::with(once(move |q| vec![Say([honest(q), garbage.clone()].concat())]));
    all(garbage.map(after)).await.into_iter().for_each(Run::stays_unharmed);
}

#[tokio::test]
async fn an_answer_in_dribbles_is_put_together() {
    let dribble = |q: &Question| {
        let bytes = honest(q).into_iter();
        bytes.flat_map(|b| [Say(vec![b]), Wait(8)]).collect()
    };
    Run::with(once(dribble)).await.stays_unharmed();
}

#[tokio::test]
async fn an_answer_of_another_unit_is_not_taken() {
    let of_unit_2 = || frame(2, &[4, 2, 0xBA, 0xD0]);
    let alone = Run::with(once(move |_| vec![Say(of_unit_2())]));
    let before = Run::with(once(move |q| vec![Say(of_unit_2()), Wait(10), Say(honest(q))]));
    let (alone, before) = tokio::join!(alone, before);
    alone.misses_one_poll();
    before.stays_unharmed();
}

#[tokio::test]
async fn an_answer_of_a_wrong_length_or_function_is_not_taken() {
    let wrong: [Vec<u8>; 5] = [
        frame(1, &[4, 4, 0xBA, 0xD0, 0xBA, 0xD0]), // more than was asked for
        frame(1, &[4, 1, 0xBA]),                   // less
        frame(1, &[4, 2, 0xBA]),                   // says two bytes, has one
        frame(1, &[4, 0]),
        frame(1, &[3, 2, 0xBA, 0xD0]),
    ];
    let say = |wrong: Vec<u8>| Run::with(once(move |_| vec![Say(wrong.clone())]));
    all(wrong.map(say)).await.into_iter().for_each(Run::misses_one_poll);
}

#[tokio::test]
async fn an_exception_is_an_error_of_the_asked_points_of_a_device_that_is_there() {
    let run = Run::with(once(|q| vec![Say(frame(q.unit, &[0x84, 2]))])).await.recovers();
    assert_eq!(run.bad(), [(0, Reason::DeviceError)]);
    assert!(run.batches.iter().all(|b| b.life == Some(Life::Online)));
}

#[tokio::test]
async fn half_a_frame_and_then_silence_is_no_answer() {
    let half = |length| Run::with(once(move |q| vec![Say(honest(q)[..length].to_vec())]));
    all([1, 3, 4, 6].map(half)).await.into_iter().for_each(Run::misses_one_poll);
}
