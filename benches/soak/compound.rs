//! The compound of the soak: 300 cabinets of ten points and 20 doors, with ordinary noise, and what goes wrong there.

use std::fmt::Write as _;

use gatehouse::config::{self, Gateway};
use gatehouse::reading::{Batch, DeviceId, Millis, PointId, Reading, Value};

pub const CABINETS: u32 = 300;
pub const DOORS: u32 = 20;
/// Openings of one door in a day.
const OPENINGS: u32 = 100;
const DAY: u32 = 24 * 3600;
/// Every so many seconds a pump somewhere loses its pressure, for as long as this.
const FAULT_EVERY: u32 = 12 * 60;
const FAULT_LASTS: u32 = 8 * 60;
/// Every so many seconds a cabinet falls silent, for as long as this.
const SILENCE_EVERY: u32 = 2 * 3600;
const SILENCE_LASTS: u32 = 15 * 60;

/// A measured quantity: what it is about, how far it goes within a day, how it trembles, and how it is recorded.
struct Quantity {
    id: &'static str,
    unit: &'static str,
    scale: f64,
    middle: f64,
    swing: f64,
    /// Standard deviation from one second to the next.
    noise: f64,
    deadband: f64,
}

/// Deadbands are those of the built-in profiles; the noise is some digits of each device's last place.
const QUANTITIES: [Quantity; 8] = [
    Quantity {
        id: "temperature",
        unit: "°C",
        scale: 0.1,
        middle: 22.0,
        swing: 4.0,
        noise: 0.05,
        deadband: 0.2,
    },
    Quantity { id: "humidity", unit: "%", scale: 0.1, middle: 55.0, swing: 8.0, noise: 0.2, deadband: 0.5 },
    Quantity {
        id: "pressure",
        unit: "kPa",
        scale: 0.1,
        middle: 300.0,
        swing: 10.0,
        noise: 0.8,
        deadband: 2.0,
    },
    Quantity { id: "flow", unit: "m³/h", scale: 0.01, middle: 3.0, swing: 2.0, noise: 0.03, deadband: 0.1 },
    Quantity { id: "level", unit: "m", scale: 0.001, middle: 2.0, swing: 0.5, noise: 0.002, deadband: 0.01 },
    Quantity { id: "voltage", unit: "V", scale: 0.1, middle: 230.0, swing: 3.0, noise: 0.2, deadband: 0.5 },
    Quantity { id: "current", unit: "A", scale: 0.01, middle: 8.0, swing: 4.0, noise: 0.02, deadband: 0.05 },
    Quantity { id: "power", unit: "W", scale: 1.0, middle: 1800.0, swing: 800.0, noise: 3.0, deadband: 5.0 },
];
/// The quantities, the energy counted, and whether the pump runs.
pub const POINTS: u32 = QUANTITIES.len() as u32 + 2;
const PRESSURE: usize = 2;

const RULES: &str = r#"
[[rule]]
id = "pressure-low"
point = "*.pressure"
below = 200.0
deadband = 20.0
on_delay = "10s"
off_delay = "30s"
verify = "1h"
level = 1
[[rule]]
id = "hot"
point = "*.temperature"
above = 40.0
deadband = 2.0
on_delay = "5m"
level = 2
[[rule]]
id = "damp"
point = "*.humidity"
above = 85.0
deadband = 5.0
on_delay = "10m"
[[rule]]
id = "level-falls"
point = "*.level"
falls = { by = 0.6, within = "10m" }
level = 1
[[rule]]
id = "mains"
point = "*.voltage"
outside = [207.0, 253.0]
on_delay = "1m"
[[rule]]
id = "meter-stuck"
point = "*.energy"
stuck = "6h"
[[rule]]
id = "pump-wear"
point = "*.pump"
runtime = { equals = "on", hours = 2000 }
[[rule]]
id = "door-left-open"
point = "*.door"
equals = "open"
on_delay = "10m"
"#;

/// The configuration, as a technician would write it.
pub fn gateway(dir: &str) -> Gateway {
    let mut toml = format!(
        "[gateway]\nid = \"cp-017\"\nlocale = \"en\"\ndata_dir = \"{dir}\"\n\
         [[sync]]\nname = \"crm\"\nurl = \"https://crm.example.com/events\"\n\
         [[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.10:502\"\n\
         [[channel]]\nid = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:1883\"\n"
    );
    for n in 0..CABINETS {
        let unit = n % 240 + 1;
        let channel = format!("plant{}", if n < 240 { "" } else { "-2" });
        if n == 240 {
            toml += "[[channel]]\nid = \"plant-2\"\ntype = \"modbus-tcp\"\naddress = \"192.0.2.11:502\"\n";
        }
        write!(toml, "[[device]]\nid = \"c{n}\"\nchannel = \"{channel}\"\nunit = {unit}\nplace = \"house {}/cellar\"\n", n / 10).unwrap();
        for (register, q) in QUANTITIES.iter().enumerate() {
            let Quantity { id, unit, scale, deadband, .. } = q;
            write!(toml, "[[device.point]]\nid = \"{id}\"\ntable = \"holding\"\nregister = {register}\ntype = \"i16\"\n").unwrap();
            write!(toml, "unit = \"{unit}\"\nscale = {scale}\ndeadband = {deadband}\n").unwrap();
        }
        toml += "[[device.point]]\nid = \"energy\"\ntable = \"holding\"\nregister = 20\ntype = \"u32\"\nunit = \"kWh\"\nscale = 0.01\n";
        toml += "[[device.point]]\nid = \"pump\"\ntable = \"coil\"\nregister = 0\ntype = \"bool\"\nmap = { true = \"on\", false = \"off\" }\n";
    }
    for n in 0..DOORS {
        write!(
            toml,
            "[[device]]\nid = \"d{n}\"\nchannel = \"broker\"\ntopic = \"d{n}\"\nplace = \"house {n}/entrance\"\n\
             [[device.point]]\nid = \"door\"\njson = \"/contact\"\nmap = {{ true = \"closed\", false = \"open\" }}\n\
             [[door]]\nid = \"entrance-{n}\"\ncontact = \"d{n}.door\"\n"
        )
        .unwrap();
    }
    toml += RULES;
    let loaded = config::load_sources(vec![("soak.toml".into(), toml)]);
    loaded.map(|loaded| loaded.gateway).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// What the devices say, second by second; seeded.
pub struct Compound {
    dice: u64,
    energy: Vec<f64>,
    /// Until which second each door is open.
    open: Vec<Option<u32>>,
    on: Value,
    off: Value,
}

impl Compound {
    pub fn new(seed: u64) -> Self {
        let energy = (0..CABINETS).map(|n| f64::from(n) * 13.0).collect();
        let (on, off) = (Value::Text("on".into()), Value::Text("off".into()));
        Self { dice: seed | 1, energy, open: vec![None; DOORS as usize], on, off }
    }

    /// All that is said in this second of the run.
    pub fn say(&mut self, second: u32, at: Millis, mut take: impl FnMut(Batch)) {
        let day = f64::from(second % DAY) / f64::from(DAY) * std::f64::consts::TAU;
        for cabinet in 0..CABINETS {
            if is_struck(cabinet, second, SILENCE_EVERY, SILENCE_LASTS, 7) {
                continue;
            }
            let swing = (day + f64::from(cabinet)).sin();
            let readings = self.cabinet(cabinet, second, at, swing);
            take(Batch::new(DeviceId(cabinet), at, readings, None));
        }
        for door in 0..DOORS {
            if let Some(word) = self.door(door, second) {
                let point = PointId(CABINETS * POINTS + door);
                let reading = Reading::good(point, at, Value::Text(word.into()));
                take(Batch::new(DeviceId(CABINETS + door), at, vec![reading], None));
            }
        }
    }

    fn cabinet(&mut self, cabinet: u32, second: u32, at: Millis, swing: f64) -> Vec<Reading> {
        let first = cabinet * POINTS;
        let mut readings = Vec::with_capacity(POINTS as usize);
        for (n, q) in QUANTITIES.iter().enumerate() {
            let mut value = q.middle + q.swing * swing + q.noise * self.noise();
            if n == PRESSURE && is_struck(cabinet, second, FAULT_EVERY, FAULT_LASTS, 0) {
                value -= 150.0;
            }
            // As the registers have it: whole steps of the scale.
            let steps = (value / q.scale).round();
            let value = if q.scale < 1.0 { steps / (1.0 / q.scale).round() } else { steps * q.scale };
            readings.push(Reading::good(PointId(first + n as u32), at, Value::Number(value)));
        }
        let energy = &mut self.energy[cabinet as usize];
        *energy += (1.8 + 0.8 * swing) / 3600.0;
        let counted = (*energy * 100.0).floor() / 100.0;
        readings.push(Reading::good(PointId(first + POINTS - 2), at, Value::Number(counted)));
        let runs = (second / 1200 + cabinet).is_multiple_of(2);
        let pump = if runs { self.on.clone() } else { self.off.clone() };
        readings.push(Reading::good(PointId(first + POINTS - 1), at, pump));
        readings
    }

    /// A word where the contact changes, and once at the beginning.
    fn door(&mut self, door: u32, second: u32) -> Option<&'static str> {
        let until = self.open[door as usize];
        if until.is_some_and(|until| second >= until) {
            self.open[door as usize] = None;
            return Some("closed");
        }
        if until.is_none() && self.roll(DAY / OPENINGS) == 0 {
            self.open[door as usize] = Some(second + 3 + self.roll(20));
            return Some("open");
        }
        (second == 0).then_some("closed")
    }

    fn roll(&mut self, below: u32) -> u32 {
        ((self.next() >> 32) % u64::from(below)) as u32
    }

    /// About normal, with a standard deviation of 1: the sum of four dice.
    fn noise(&mut self) -> f64 {
        let bits = self.next();
        let sum: u64 = (0..4).map(|n| bits >> (16 * n) & 0xFFFF).sum();
        (sum as f64 / 65536.0 - 2.0) * 1.732
    }

    /// xorshift64*
    fn next(&mut self) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Whether it is this cabinet's turn, and still.
fn is_struck(cabinet: u32, second: u32, every: u32, lasts: u32, offset: u32) -> bool {
    let turn = second / every;
    turn > 0 && second % every < lasts && (turn * 37 + offset) % CABINETS == cabinet
}
