//! The compound: six families of devices, how their values go by day and year, and what breaks when. Seeded.
//!
//! Every wire is a poor one: a quarter of the answers is lost, in bursts, and of the rest some are spikes or nonsense.

use std::f64::consts::TAU;
use std::fmt::Write;

pub type Millis = i64;

/// 2026-01-01T00:00:00Z
pub const BEGIN: Millis = 1_767_225_600_000;
pub const MINUTE: Millis = 60_000;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;
pub const STEP: Millis = 5 * MINUTE;
/// A part that wears is put right so long after the limit was crossed.
const REPAIR: Millis = 2 * DAY;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Wear,
    Drift,
    Step,
    Leak,
    Stuck,
    Gap,
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub device: usize,
    pub from: Millis,
    pub to: Millis,
    /// When the true value first crosses the limit, of what wears.
    pub crosses: Option<Millis>,
    shape: Shape,
}

/// How what wears grows: `reach` after `span`, evenly or ever faster.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shape {
    span: f64,
    reach: f64,
    bend: f64,
    value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Pump,
    Filter,
    Meter,
    Room,
    Tank,
    Sensor,
}

const FAMILIES: [Family; 6] =
    [Family::Pump, Family::Filter, Family::Meter, Family::Room, Family::Tank, Family::Sensor];

/// A point of a family: its unit, what its sensor can say, and the smallest step it shows.
struct Part {
    id: &'static str,
    unit: &'static str,
    range: (f64, f64),
    quantum: f64,
}

impl Family {
    fn name(self) -> &'static str {
        ["pump", "filter", "meter", "room", "tank", "sensor"][self as usize]
    }

    fn parts(self) -> &'static [Part] {
        macro_rules! part {
            ($id:literal, $unit:literal, $low:literal, $high:literal, $quantum:literal) => {
                Part { id: $id, unit: $unit, range: ($low, $high), quantum: $quantum }
            };
        }
        match self {
            Family::Pump => {
                const {
                    &[
                        part!("temperature", "°C", -40.0, 150.0, 0.1),
                        part!("pressure", "kPa", 0.0, 1000.0, 1.0),
                    ]
                }
            }
            Family::Filter => const { &[part!("loss", "kPa", 0.0, 100.0, 0.1)] },
            Family::Meter => const { &[part!("flow", "m³/h", 0.0, 30.0, 0.01)] },
            Family::Room => {
                const { &[part!("temperature", "°C", -40.0, 80.0, 0.1), part!("humidity", "%", 0.0, 100.0, 0.1)] }
            }
            Family::Tank => const { &[part!("level", "m", 0.0, 6.0, 0.01)] },
            Family::Sensor => const { &[part!("battery", "V", 0.0, 4.0, 0.01)] },
        }
    }

    fn breaks(self) -> &'static [Kind] {
        match self {
            Family::Pump => &[Kind::Wear, Kind::Step, Kind::Gap],
            Family::Filter => &[Kind::Wear],
            Family::Meter => &[Kind::Leak, Kind::Step, Kind::Gap],
            Family::Room => &[Kind::Stuck, Kind::Drift, Kind::Gap],
            Family::Tank => &[Kind::Step, Kind::Stuck, Kind::Gap],
            Family::Sensor => &[Kind::Wear, Kind::Gap],
        }
    }

    /// The limit of what wears, what is normal, and how it grows.
    fn limit(self) -> f64 {
        match self {
            Family::Pump => 80.0,
            Family::Filter => 50.0,
            Family::Room => 92.0,
            _ => 2.6,
        }
    }
}

// ---------------------------------------------------------------------------------------------- chance

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn is(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    /// Nearly normal, deviation 1.
    fn normal(&mut self) -> f64 {
        let sum: f64 = (0..6).map(|_| self.unit()).sum();
        (sum - 3.0) * 2.0_f64.sqrt()
    }
}

// ---------------------------------------------------------------------------------------------- the plant

#[derive(Debug)]
pub struct Plant {
    pub devices: Vec<Device>,
    pub faults: Vec<Fault>,
    pub days: i64,
}

#[derive(Debug)]
pub struct Device {
    pub family: Family,
    pub name: String,
    /// Own to it, so that no two are alike.
    own: f64,
    /// A day's weather, each day like the one before.
    weather: Vec<f64>,
    chance: Chance,
    /// Answers that are still lost of this burst; below 0: those that come through for certain.
    lost: i32,
    /// By point: the last number was a spike, which is always alone.
    spiked: [bool; 2],
    frozen: Vec<f64>,
}

/// What a device answers: nothing, or a number for each point.
pub type Answer = Option<Vec<f64>>;

impl Plant {
    pub fn new(seed: u64, devices: usize, days: i64) -> Self {
        let mut chance = Chance::new(seed);
        let device = |i: usize, chance: &mut Chance| {
            let family = FAMILIES[i % FAMILIES.len()];
            let mut weather = vec![0.0];
            for day in 0..=days as usize {
                weather.push(0.7 * weather[day] + chance.normal());
            }
            Device {
                family,
                name: format!("{}-{}", family.name(), i / FAMILIES.len() + 1),
                own: chance.unit(),
                weather,
                chance: Chance::new(chance.next()),
                lost: 0,
                spiked: [false; 2],
                frozen: Vec::new(),
            }
        };
        let devices: Vec<Device> = (0..devices).map(|i| device(i, &mut chance)).collect();
        let mut plant = Self { devices, faults: Vec::new(), days };
        for device in 0..plant.devices.len() {
            plant.break_now_and_then(device, &mut chance);
        }
        plant
    }

    /// One fault after the other, with healthy weeks between.
    fn break_now_and_then(&mut self, device: usize, chance: &mut Chance) {
        let end = BEGIN + self.days * DAY;
        let family = self.devices[device].family;
        // A short trial has short faults.
        let part = (self.days as f64 / 365.0).clamp(0.25, 1.0);
        let mut at = BEGIN + (chance.between(8.0, 12.0 + 18.0 * part) * DAY as f64) as Millis;
        for i in device / FAMILIES.len().. {
            let kind = family.breaks()[i % family.breaks().len()];
            let Some(fault) = self.fault(kind, device, at, part, chance).filter(|fault| fault.to < end)
            else {
                return;
            };
            at = fault.to + (chance.between(9.0, 12.0 + 13.0 * part) * DAY as f64) as Millis;
            self.faults.push(fault);
        }
    }

    fn fault(
        &self,
        kind: Kind,
        device: usize,
        from: Millis,
        part: f64,
        chance: &mut Chance,
    ) -> Option<Fault> {
        let hours =
            |chance: &mut Chance, low, high| from + (chance.between(low, high) * HOUR as f64) as Millis;
        let mut fault = Fault {
            kind,
            device,
            from,
            to: from,
            crosses: None,
            shape: Shape { span: 1.0, reach: 0.0, bend: 0.0, value: 0.0 },
        };
        match kind {
            Kind::Step => fault.to = hours(chance, 2.0, 12.0),
            Kind::Leak => fault.to = hours(chance, 60.0, 140.0),
            Kind::Stuck => fault.to = hours(chance, 36.0, 120.0),
            Kind::Gap => fault.to = hours(chance, 4.0, 48.0),
            Kind::Wear | Kind::Drift => {
                let (family, shortest) = (self.devices[device].family, 12.0 + 13.0 * part);
                let reach = match family {
                    Family::Pump => 32.0,
                    Family::Filter => 34.0,
                    Family::Room => 38.0,
                    _ => -0.48,
                };
                let bend = if chance.is(0.5) { 0.0 } else { chance.between(1.0, 2.5) };
                fault.shape =
                    Shape { span: chance.between(shortest, 15.0 + 65.0 * part), reach, bend, value: 0.0 };
                let crosses = self.crossing(&fault)?;
                fault.crosses = Some(crosses);
                fault.to = crosses + REPAIR;
            }
        }
        fault.shape.value = chance.unit();
        Some(fault)
    }

    fn crossing(&self, fault: &Fault) -> Option<Millis> {
        let device = &self.devices[fault.device];
        let limit = device.family.limit();
        let part = if fault.kind == Kind::Drift { 1 } else { 0 };
        let beyond = |at: &Millis| {
            let value = device.truth(part, *at) + fault.shape.at(*at - fault.from);
            if fault.shape.reach > 0.0 { value > limit } else { value < limit }
        };
        (fault.from..BEGIN + self.days * DAY).step_by(STEP as usize).find(beyond)
    }

    /// What one device answers at `at`; times have to come in order.
    pub fn answer(&mut self, index: usize, at: Millis, under_way: &[&Fault]) -> Answer {
        let device = &mut self.devices[index];
        device.answer(at, under_way)
    }

    /// The configuration: the devices, and the rules that a property company would write for them.
    pub fn toml(&self) -> String {
        let mut toml = String::from(SITE);
        for (unit, device) in self.devices.iter().enumerate() {
            let name = &device.name;
            write!(
                toml,
                "[[device]]\nid = \"{name}\"\nchannel = \"line-{}\"\nunit = {}\npoll = \"5m\"\n",
                unit / 100,
                unit % 100 + 1
            )
            .unwrap();
            for (register, part) in device.family.parts().iter().enumerate() {
                let Part { id, unit, range: (low, high), .. } = part;
                write!(
                    toml,
                    "[[device.point]]\nid = \"{id}\"\ntable = \"holding\"\nregister = {}\ntype = \"f32\"\n\
                     unit = \"{unit}\"\nrange = [{low}, {high}]\nclean = {{ spike = true, fill = \"1h\"{} }}\n",
                    2 * register,
                    match *id {
                        "flow" => "",
                        "level" => ", stuck = \"36h\", rate = 0.001",
                        _ => ", stuck = \"36h\"",
                    }
                )
                .unwrap();
            }
        }
        toml + RULES
    }
}

const SITE: &str = r#"
[gateway]
id = "cp-017"
name = "锦绣花园"
[builtin]
device-silent = false   # at a poll of five minutes over a line that loses a quarter, ten minutes are nothing
[[channel]]
id = "line-0"
type = "modbus-tcp"
address = "192.0.2.10:502"
"#;

/// What a property company would write.
pub const RULES: &str = r#"
[[rule]]
id = "bearing-hot"
point = "pump-*.temperature"
above = 80
deadband = 4
on_delay = "15m"
off_delay = "1h"
level = 2
[[rule]]
id = "bearing-wears"
point = "pump-*.temperature"
forecast = { above = 80, within = "7d" }
class = "planned"
[[rule]]
id = "filter-clogged"
point = "filter-*.loss"
above = 50
deadband = 5
on_delay = "30m"
off_delay = "1h"
[[rule]]
id = "filter-clogs"
point = "filter-*.loss"
forecast = { above = 50, within = "7d" }
class = "planned"
[[rule]]
id = "battery-low"
point = "sensor-*.battery"
below = 2.6
deadband = 0.1
on_delay = "1h"
off_delay = "1h"
[[rule]]
id = "battery-runs-down"
point = "sensor-*.battery"
forecast = { below = 2.6, within = "7d" }
class = "planned"
[[rule]]
id = "pipe-burst"
point = "pump-*.pressure"
# A burst takes 150 and more; 40 are the pump's own, and 75 is what a spike can do before cleaning knows it for one.
falls = { by = 130, within = "30m" }
on_delay = "5m"
off_delay = "1h"
level = 1
[[rule]]
id = "pressure-low"
point = "pump-*.pressure"
below = 230
deadband = 30
on_delay = "10m"
off_delay = "1h"
level = 1
[[rule]]
id = "flow-burst"
point = "meter-*.flow"
above = 12
deadband = 2
on_delay = "10m"
off_delay = "1h"
level = 1
[[rule]]
id = "flow-never-ends"
point = "meter-*.flow"
above = 0.15
on_delay = "20h"
off_delay = "30m"
[[rule]]
id = "tank-low"
point = "tank-*.level"
below = 1.8
deadband = 0.3
on_delay = "10m"
off_delay = "1h"
level = 1
[[rule]]
id = "sensor-stuck"
point = ["room-*.temperature", "tank-*.level"]
stuck = "12h"
off_delay = "2h"
[[rule]]
id = "humidity-off"
point = "room-*.humidity"
outside = [10, 92]
deadband = 3
on_delay = "1h"
off_delay = "2h"
[[rule]]
id = "silent"
point = ["pump-*.temperature", "filter-*.loss", "meter-*.flow", "room-*.temperature", "tank-*.level", "sensor-*.battery"]
silent = "2h"
off_delay = "30m"
level = 2
"#;

/// Which faults a ticket of a rule may be about.
pub fn about(rule: &str) -> &'static [Kind] {
    match rule {
        "bearing-hot" | "bearing-wears" | "filter-clogged" | "filter-clogs" | "battery-low"
        | "battery-runs-down" => &[Kind::Wear],
        "pipe-burst" | "pressure-low" | "flow-burst" | "tank-low" => &[Kind::Step],
        "flow-never-ends" => &[Kind::Leak],
        "sensor-stuck" => &[Kind::Stuck],
        "humidity-off" => &[Kind::Drift],
        // What a stuck sensor reads is not good for ever.
        "silent" => &[Kind::Gap, Kind::Stuck],
        _ => &[],
    }
}

/// From 0 to 1 and back, once a turn: what is pumped up and runs out.
fn to_and_fro(turns: f64) -> f64 {
    1.0 - (2.0 * turns.fract() - 1.0).abs()
}

impl Shape {
    fn at(&self, since: Millis) -> f64 {
        let part = since as f64 / (self.span * DAY as f64);
        if self.bend == 0.0 {
            return self.reach * part;
        }
        self.reach * ((self.bend * part).exp() - 1.0) / (self.bend.exp() - 1.0)
    }
}

// ---------------------------------------------------------------------------------------------- a device

impl Device {
    fn answer(&mut self, at: Millis, under_way: &[&Fault]) -> Answer {
        let under_way = |kind| under_way.iter().find(|fault| fault.kind == kind);
        if under_way(Kind::Gap).is_some() || self.is_lost() {
            return None;
        }
        let mut values = Vec::with_capacity(2);
        for (i, part) in self.family.parts().iter().enumerate() {
            let mut value = self.truth(i, at) + self.noise(i, at);
            let broken = match (self.family, i) {
                (Family::Pump | Family::Filter | Family::Sensor, 0) => under_way(Kind::Wear),
                (Family::Room, 1) => under_way(Kind::Drift),
                _ => None,
            };
            value += broken.map_or(0.0, |fault| fault.shape.at(at - fault.from));
            if let Some(leak) = under_way(Kind::Leak) {
                value += 0.3 + 0.4 * leak.shape.value;
            }
            if let Some(step) = under_way(Kind::Step) {
                value += match (self.family, i) {
                    (Family::Pump, 1) => -150.0 - 40.0 * step.shape.value,
                    (Family::Meter, _) => 14.0 + 4.0 * step.shape.value,
                    (Family::Tank, _) => -2.2 * ((at - step.from) as f64 / HOUR as f64).min(1.0),
                    _ => 0.0,
                };
            }
            let (low, high) = part.range;
            values.push((value.clamp(low, high) / part.quantum).round() * part.quantum);
        }
        match under_way(Kind::Stuck) {
            Some(_) if self.frozen.is_empty() => self.frozen.clone_from(&values),
            Some(_) => values[0] = self.frozen[0],
            None => self.frozen.clear(),
        }
        self.falsify(&mut values);
        Some(values)
    }

    /// Answers are lost in bursts of up to three quarters of an hour; after one, some come through.
    fn is_lost(&mut self) -> bool {
        if self.lost == 0 && self.chance.is(0.1) {
            self.lost = 1 + (self.chance.unit() * 9.0) as i32;
        }
        let lost = self.lost > 0;
        self.lost += if lost { -1 } else { i32::from(self.lost < 0) };
        if lost && self.lost == 0 {
            self.lost = -2;
        }
        lost
    }

    /// Spikes, and numbers that no sensor says.
    fn falsify(&mut self, values: &mut [f64]) {
        for ((value, part), spiked) in values.iter_mut().zip(self.family.parts()).zip(&mut self.spiked) {
            let (low, high) = part.range;
            *spiked = !*spiked && self.chance.is(0.03);
            if *spiked {
                *value = self.chance.between(low, high);
            } else if self.chance.is(0.02) {
                *value = 6553.5;
            }
        }
    }

    /// What the true value is, before noise and faults.
    fn truth(&self, part: usize, at: Millis) -> f64 {
        let days = (at - BEGIN) as f64 / DAY as f64;
        let year = (days / 365.0 * TAU - TAU / 4.0).sin();
        let day = ((days - 0.35) * TAU).sin();
        let weather = self.weather(days);
        match (self.family, part) {
            (Family::Pump, 0) => 44.0 + 4.0 * self.own + 6.0 * year + 3.0 * day + 0.8 * weather,
            (Family::Pump, _) => {
                let cycle = to_and_fro(days * (30.0 + 10.0 * self.own));
                310.0 + 40.0 * cycle - 10.0 * day
            }
            (Family::Filter, _) => 15.0 + 3.0 * self.own + 2.0 * day + 0.5 * weather,
            (Family::Meter, _) => {
                let hour = days.fract() * 24.0;
                let peak = |middle: f64| (-((hour - middle) / 1.8).powi(2)).exp();
                0.5 + 2.0 * peak(7.5) + 1.2 * peak(12.5) + 2.5 * peak(20.0)
            }
            (Family::Room, 0) => 17.0 + 2.0 * self.own + 9.0 * year + 2.0 * day + weather,
            (Family::Room, _) => 52.0 + 8.0 * self.own + 8.0 * year - 3.0 * day + 2.5 * weather,
            (Family::Tank, _) => 2.8 + 0.5 * self.own + 0.5 * to_and_fro(days * (3.0 + self.own)),
            (Family::Sensor, _) => 3.05 + 0.04 * year + 0.02 * day + 0.004 * weather,
        }
    }

    fn weather(&self, days: f64) -> f64 {
        let day = days as usize;
        let at = |day: usize| self.weather.get(day).copied().unwrap_or(0.0);
        at(day) + (at(day + 1) - at(day)) * days.fract()
    }

    fn noise(&mut self, part: usize, at: Millis) -> f64 {
        let noise = self.chance.normal();
        match (self.family, part) {
            (Family::Pump, 0) => 0.8 * noise,
            (Family::Pump, _) => 3.0 * noise,
            (Family::Filter, _) => 0.8 * noise,
            (Family::Meter, _) => {
                // Taps are open or they are not; from one to five most nights have none open.
                let hour = (at - BEGIN).rem_euclid(DAY) / HOUR;
                let open = if (1..5).contains(&hour) { 0.1 } else { 0.75 };
                let usual = self.truth(part, at);
                if self.chance.is(open) { usual * 0.4 * noise.abs() } else { -usual }
            }
            (Family::Room, 0) => 0.15 * noise,
            (Family::Room, _) => 0.8 * noise,
            (Family::Tank, _) => 0.01 * noise,
            (Family::Sensor, _) => 0.008 * noise,
        }
    }
}
