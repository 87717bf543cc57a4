//! What happens in the compound, when, and which tickets it must bring: each exactly once.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::crm::Mood as CrmMood;
use super::modbus::Mood;
use super::{BANK_1, CLIMATE, Compound, LIFT_1, METER, PUMP_1};

/// One line of the script.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Seconds from the beginning.
    pub at: u64,
    /// For people.
    pub what: &'static str,
    act: Act,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// In 0.1 kPa.
    Pressure(u16),
    /// In 0.1 °C.
    Temperature(u16),
    Leak(bool),
    Cell5Open(bool),
    DoorOpen(bool),
    LiftFault(bool),
    MeterSilent(bool),
    Noise,
    LockersUnplugged(bool),
    Crm(CrmMood),
}

const fn step(at: u64, what: &'static str, act: Act) -> Step {
    Step { at, what, act }
}

/// In the order of time.
pub const STEPS: &[Step] = &[
    step(3, "pump-1: the water pressure falls to 150 kPa", Act::Pressure(1_500)),
    step(4, "rs485-1: a burst of noise, which must open nothing", Act::Noise),
    step(5, "b3-climate: the machine room heats up to 46.5 °C", Act::Temperature(465)),
    step(6, "b3-leak: the floor is wet", Act::Leak(true)),
    step(7, "pump-1: the pressure is back", Act::Pressure(3_200)),
    step(8, "b3-meter: falls silent", Act::MeterSilent(true)),
    step(9, "crm: answers 503", Act::Crm(CrmMood::Refuses(503))),
    step(10, "bank-1: cell 5 is left open", Act::Cell5Open(true)),
    step(11, "b3-leak: the floor is dry", Act::Leak(false)),
    step(12, "pump-1: the pressure falls again, so that its ticket reopens", Act::Pressure(1_600)),
    step(13, "rs485-1: noise again", Act::Noise),
    step(14, "crm: is back", Act::Crm(CrmMood::Accepts)),
    step(15, "b3-meter: answers again", Act::MeterSilent(false)),
    step(16, "lockers: the adapter is pulled out", Act::LockersUnplugged(true)),
    step(17, "crm: takes a batch, but cuts its answer", Act::Crm(CrmMood::Cuts)),
    step(18, "lockers: the adapter is plugged in again", Act::LockersUnplugged(false)),
    step(19, "pump-1: the pressure is back", Act::Pressure(3_180)),
    step(20, "lift-1: reports a fault", Act::LiftFault(true)),
    step(21, "crm: is well again", Act::Crm(CrmMood::Accepts)),
    step(21, "b3-door: stands open", Act::DoorOpen(true)),
    step(22, "bank-1: cell 5 is shut", Act::Cell5Open(false)),
    step(23, "b3-climate: the machine room has cooled down", Act::Temperature(312)),
    step(24, "lift-1: runs again", Act::LiftFault(false)),
    step(25, "b3-door: is shut", Act::DoorOpen(false)),
];

/// Rule, and the point or device it stands on.
const EXPECTED: &[(&str, &str)] = &[
    ("pump-pressure-low", "pump-1.pressure"),
    ("machine-room-hot", "b3-climate.temperature"),
    ("leak", "b3-leak.leak"),
    ("device-silent", "b3-meter"),
    ("locker-left-open", "bank-1.cell-5"),
    ("lift-fault", "lift-1.state"),
    ("door-left-open", "b3-door.door"),
];

impl Compound {
    /// Plays the script until its end or `stop`; each step is told when it happens.
    pub async fn play(&self, stop: CancellationToken, told: mpsc::Sender<Step>) {
        let start = Instant::now();
        let script = async {
            for step in STEPS {
                sleep_until(start + Duration::from_secs(step.at)).await;
                self.act(step.act).await;
                // Nobody has to listen.
                let _ = told.try_send(*step);
            }
        };
        stop.run_until_cancelled(script).await;
    }

    /// The tickets that the script must bring, as rule and point (or device), exactly once each; no others.
    pub fn expected(&self) -> Vec<(String, String)> {
        EXPECTED.iter().map(|&(rule, subject)| (rule.to_owned(), subject.to_owned())).collect()
    }

    async fn act(&self, act: Act) {
        match act {
            Act::Pressure(value) => self.plant.set_holding(PUMP_1, 0, value),
            Act::Temperature(value) => self.basement.set_input(CLIMATE, 1, value),
            Act::Leak(wet) => self.zigbee.set("b3-leak", json!({ "water_leak": wet })).await,
            Act::Cell5Open(open) => self.lockers.set_open(BANK_1, 5, open),
            Act::DoorOpen(open) => self.zigbee.set("b3-door", json!({ "contact": !open })).await,
            Act::LiftFault(fault) => self.lifts.set_holding(LIFT_1, 0, if fault { 2 } else { 1 }),
            Act::MeterSilent(true) => self.basement.set_mood(METER, Mood::Silent),
            Act::MeterSilent(false) => self.basement.set_mood(METER, Mood::Answers),
            Act::Noise => self.basement_line.disturb(noise()).await,
            Act::LockersUnplugged(true) => self.lockers_line.unplug().await,
            Act::LockersUnplugged(false) => self.lockers_line.plug().await,
            Act::Crm(mood) => self.crm.set_mood(mood),
        }
    }
}

/// 48 bytes among which an answer of unit 4 begins, and does not end.
fn noise() -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let mut bytes: Vec<u8> = vec![CLIMATE, 0x04, 0x04, 0x7F];
    bytes.extend((0..44).map(|_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    }));
    bytes
}
