//! Never a wrong number, end to end: the seven faults of an RTU line against the whole daemon over a pseudo-terminal.
//! Whatever stands in the history, in events and in tickets afterwards was truly and timely told by the unit that was
//! asked, no ticket came of a fault, and good values are back within three polls.
//!
//! Every answer has a value of its own, which tells the unit, the register and the question. So an answer that comes
//! late is a wrong number, too, although it was true once. A rule stands on each point, so that a number of any other
//! point, and most rubbish, would open a ticket.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;
mod rtu_peer;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gatehouse::reading::{Millis, Quality, Value};
use gatehouse::store::{Filter, Sample};
use gatehouse::time::now;
use gateway::{Gateway, beside, kinds, of_kind};
use rtu_peer::Act::{self, Say, Wait};
use rtu_peer::{Question, Socat, answer, frame, peer};
use tokio_serial::SerialPortBuilderExt;

const POLL: Duration = Duration::from_millis(400);
const TIMEOUT: Duration = Duration::from_millis(150);
/// The question to unit 1 that is answered badly: the first of its third poll.
const FAULT: usize = 5;
/// Runs at one time: enough to fill the waiting, not so many that two cores make answers late by themselves.
const SIDE_BY_SIDE: usize = 4;

/// Unit 1 is read by two requests of the same shape, so that nothing but care tells their answers apart.
const POINTS: [(u8, u16); 3] = [(1, 100), (1, 200), (2, 100)];

fn id(point: usize) -> String {
    let (unit, register) = POINTS[point];
    format!("unit-{unit}.r{register}")
}

fn base(point: usize) -> u16 {
    1000 * (point as u16 + 1)
}

/// What the asked register holds at this question, and at no other.
fn truth(q: &Question) -> (usize, u16) {
    let point = POINTS.iter().position(|p| *p == (q.unit, q.register)).expect("a register of ours");
    (point, base(point) + q.nth as u16)
}

fn honest(q: &Question) -> Vec<u8> {
    answer(q, truth(q).1)
}

/// What a unit does instead of answering as it should.
struct Played {
    acts: Vec<Act>,
    /// The asked value is among it, in time: the daemon may believe it.
    told: bool,
}

/// What becomes of the poll in which it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    None,
    Missed,
}

/// `None`: as it should.
type Play = dyn FnMut(&Question) -> Option<Played> + Send;

struct Fault {
    name: String,
    harm: Harm,
    play: Box<Play>,
}

/// Once, on unit 1's `FAULT`th question.
fn once(name: impl Into<String>, harm: Harm, acts: impl Fn(&Question) -> Vec<Act> + Send + 'static) -> Fault {
    let play = move |q: &Question| {
        (q.unit == 1 && q.nth == FAULT).then(|| Played { acts: acts(q), told: harm == Harm::None })
    };
    Fault { name: name.into(), harm, play: Box::new(play) }
}

/// The answer is held back until the next question to this unit, and comes before or after the true answer to that.
fn held_back(unit: u8, late_first: bool) -> Fault {
    let mut held: Option<Vec<u8>> = None;
    let play = move |q: &Question| {
        if q.unit == 1 && q.nth == FAULT {
            held = Some(honest(q));
            return Some(Played { acts: vec![], told: false });
        }
        let late = held.take_if(|_| q.unit == unit)?;
        let acts = match late_first {
            true => vec![Say(late), Wait(20), Say(honest(q))],
            false => vec![Say(honest(q)), Say(late)],
        };
        Some(Played { acts, told: true })
    };
    Fault {
        name: format!("late reply, at the next question to unit {unit}, late first: {late_first}"),
        harm: Harm::Missed,
        play: Box::new(play),
    }
}

fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    // Too late, between two polls, about when the next question goes out, and while the unit is not believed.
    for ms in [160, 250, 395, 405, 600, 700, 850] {
        let late = move |q: &Question| vec![Wait(ms), Say(honest(q))];
        faults.push(once(format!("late reply, after {ms} ms"), Harm::Missed, late));
    }
    for (unit, late_first) in [(1, true), (1, false), (2, true), (2, false)] {
        faults.push(held_back(unit, late_first));
    }
    let before: [&[u8]; 3] = [&[0; 30], &[1, 4, 2, 0xBA, 0xD0, 0, 0], &[0x55, 1, 1, 4, 1, 4, 2, 1, 4]];
    for garbage in before {
        let play = move |q: &Question| vec![Say([garbage, &honest(q)].concat())];
        faults.push(once(format!("garbage before, {garbage:02X?}"), Harm::None, play));
    }
    // The last one looks like an answer to whatever is asked next.
    for garbage in [vec![0xFF; 40], vec![1, 4, 2], frame(1, &[4, 2, 0xBA, 0xD0])] {
        let name = format!("garbage after, {garbage:02X?}");
        let play = move |q: &Question| vec![Say([honest(q), garbage.clone()].concat())];
        faults.push(once(name, Harm::None, play));
    }
    let dribble = |q: &Question| honest(q).into_iter().flat_map(|b| [Say(vec![b]), Wait(8)]).collect();
    faults.push(once("dribbles", Harm::None, dribble));
    faults.push(once("reply of another unit", Harm::Missed, |_| vec![Say(frame(2, &[4, 2, 0xBA, 0xD0]))]));
    let wrong: [&[u8]; 3] = [&[4, 4, 0xBA, 0xD0, 0xBA, 0xD0], &[4, 1, 0xBA], &[4, 2, 0xBA]];
    for pdu in wrong {
        let play = move |_: &Question| vec![Say(frame(1, pdu))];
        faults.push(once(format!("wrong length, {pdu:02X?}"), Harm::Missed, play));
    }
    faults.push(once("exception", Harm::Missed, |q| vec![Say(frame(q.unit, &[0x84, 2]))]));
    for length in [1, 4, 6] {
        let half = move |q: &Question| vec![Say(honest(q)[..length].to_vec())];
        faults.push(once(format!("half frame then silence, {length} bytes"), Harm::Missed, half));
    }
    faults
}

/// What the units said in truth and in time, by point.
type Told = Arc<Mutex<[BTreeSet<u16>; POINTS.len()]>>;

fn configuration(port: &str) -> String {
    let mut text = format!(
        "[[channel]]\nid = \"rs485-1\"\ntype = \"modbus-rtu\"\nport = \"{port}\"\nbaud = 115200\ntimeout = \"{}ms\"\n",
        TIMEOUT.as_millis()
    );
    for unit in [1, 2] {
        let poll = POLL.as_millis();
        write!(
            text,
            "[[device]]\nid = \"unit-{unit}\"\nchannel = \"rs485-1\"\nunit = {unit}\npoll = \"{poll}ms\"\n"
        )
        .unwrap();
        for (_, register) in POINTS.iter().filter(|(u, _)| *u == unit) {
            write!(
                text,
                "[[device.point]]\nid = \"r{register}\"\ntable = \"input\"\nregister = {register}\ntype = \"u16\"\n"
            )
            .unwrap();
        }
    }
    for point in 0..POINTS.len() {
        let (id, low) = (id(point), base(point));
        write!(text, "[[rule]]\nid = \"r-{point}\"\npoint = \"{id}\"\noutside = [{low}, {}]\n", low + 99)
            .unwrap();
    }
    text
}

async fn run(fault: Fault) {
    let Fault { name, harm, mut play } = fault;
    let socat = Socat::start().await;
    let far = tokio_serial::new(socat.end("far"), 115_200).open_native_async().unwrap();
    let (told, fault_at) = (Told::default(), Arc::new(Mutex::new(None)));
    let (tell, set_fault_at) = (told.clone(), fault_at.clone());
    tokio::spawn(peer(far, move |q| {
        let played = play(q);
        if played.is_some() {
            set_fault_at.lock().unwrap().get_or_insert_with(now);
        }
        let (point, value) = truth(q);
        if played.as_ref().is_none_or(|played| played.told) {
            tell.lock().unwrap()[point].insert(value);
        }
        played.map_or_else(|| vec![Say(honest(q))], |played| played.acts)
    }));

    beside(move || {
        let mut gateway = Gateway::new("gw-rtu");
        gateway.configure(&configuration(&socat.end("near")));
        gateway.start();
        let mut seen = Vec::new();
        let fault_at: Millis = gateway.until(&format!("{name} is played"), || {
            seen.extend(shown(&gateway));
            *fault_at.lock().unwrap()
        });
        let end = Instant::now() + 8 * POLL;
        while Instant::now() < end {
            seen.extend(shown(&gateway));
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(gateway.stop().0.success(), "{name}");

        let told = told.lock().unwrap();
        for (point, value) in &seen {
            assert!(told[*point].contains(value), "{name}: {} was shown as {value}", id(*point));
        }
        let store = gateway.store();
        let histories: Vec<Vec<Sample>> = (0..POINTS.len())
            .map(|point| {
                let mut samples = Vec::new();
                let readings = store.view.readings().unwrap();
                readings.between(&id(point), 0, Millis::MAX, |sample| samples.push(sample)).unwrap();
                samples
            })
            .collect();
        for (point, history) in histories.iter().enumerate() {
            for sample in history {
                if let Some(value) = number(sample) {
                    assert!(
                        told[point].contains(&value),
                        "{name}: the history of {} has {sample:?}",
                        id(point)
                    );
                }
            }
        }
        is_back(&name, &histories, fault_at);
        did_harm(&name, harm, &histories);
        let tickets = store.view.tickets(&Filter { limit: 10, ..Filter::default() }).unwrap();
        assert!(tickets.is_empty(), "{name} opened {tickets:?}");
        drop(store);
        let events = gateway.journal();
        let told = kinds(&events);
        assert!(
            !told.iter().any(|kind| kind.starts_with("ticket.") || kind == "device.offline"),
            "{name}: {told:?}"
        );
        assert_eq!(of_kind(&events, "device.online").len(), 2, "{name}: {told:?}");
    })
    .await;
}

/// The values that the API shows now.
fn shown(gateway: &Gateway) -> Vec<(usize, u16)> {
    let page = gateway.get("/api/v1/points").unwrap_or_default();
    let value = |point: usize| {
        let shown = page["points"].as_array()?.iter().find(|p| p["id"] == *id(point))?["value"].as_f64()?;
        Some((point, shown as u16))
    };
    (0..POINTS.len()).filter_map(value).collect()
}

fn number(sample: &Sample) -> Option<u16> {
    match sample.value {
        Some(Value::Number(value)) => Some(value as u16),
        None => None,
        ref other => panic!("{other:?} is no number"),
    }
}

/// Good values of unit 1 within three polls of the fault.
fn is_back(name: &str, histories: &[Vec<Sample>], fault_at: Millis) {
    let by = fault_at + (3 * POLL + TIMEOUT).as_millis() as Millis;
    for (point, history) in histories.iter().enumerate().take(2) {
        let good = history.iter().filter(|s| s.quality == Quality::Good).map(|s| s.at);
        let back = good.clone().find(|at| *at > fault_at);
        assert!(back.is_some_and(|at| at <= by), "{name}: {} is back at {back:?}, not by {by}", id(point));
    }
}

/// The fault was felt where it must be, and nowhere else.
fn did_harm(name: &str, harm: Harm, histories: &[Vec<Sample>]) {
    let bad = |history: &Vec<Sample>| history.iter().filter(|s| s.quality == Quality::Bad).count();
    let [first, second, other] = [0, 1, 2].map(|point| bad(&histories[point]));
    assert_eq!(other, 0, "{name}: unit 2 suffers");
    let felt = first + second;
    assert_eq!(felt > 0, harm == Harm::Missed, "{name}: {harm:?}, but {felt} bad readings");
}

#[tokio::test]
async fn no_fault_of_an_rtu_line_becomes_a_number_an_event_or_a_ticket() {
    let mut waiting = faults();
    while !waiting.is_empty() {
        let side_by_side = waiting.len().min(SIDE_BY_SIDE);
        let runs: Vec<_> = waiting.drain(..side_by_side).map(|fault| tokio::spawn(run(fault))).collect();
        for run in runs {
            if let Err(broken) = run.await {
                std::panic::resume_unwind(broken.into_panic());
            }
        }
    }
}
