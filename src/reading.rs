//! Noun: what devices say. Site, device, point, value, quality, reading, batch.
//!
//! A reading never carries a number that was not read: a bad one has no value, only a reason.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::happening::Happening;
use crate::order::Done;
use crate::receipt::Receipt;

/// Milliseconds since 1970, UTC.
pub type Millis = i64;

/// Which configuration of this run of the daemon: the first has 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edition(pub u32);

/// Index into [`Site::points`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PointId(pub u32);

/// Index into [`Site::devices`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

/// Index into [`Site::doors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DoorId(pub u32);

/// What is installed in this compound. Facts about the place, shared read-only by every room.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Site {
    pub gateway: Arc<str>,
    pub name: Arc<str>,
    pub devices: Vec<Device>,
    pub points: Vec<Point>,
    pub doors: Vec<Door>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    pub id: Arc<str>,
    pub channel: Arc<str>,
    pub profile: Option<Arc<str>>,
    /// A path, widest first: `3号楼/地下室/水泵房`. Empty where none is given.
    pub place: Arc<str>,
    /// Asked by us in turn; a device that speaks by itself (MQTT) is not, and its silence says nothing.
    pub polled: bool,
    /// The points of this device are `first_point .. first_point + points`.
    pub first_point: u32,
    pub points: u32,
    /// The momentary point `<device>.access` or `<device>.locker`: the last word of its events. It stands behind the
    /// points of all devices, outside of `first_point ..`.
    pub words: Option<PointId>,
}

impl Device {
    /// Polled, of no place, without points; the rest can be said beside it.
    pub fn polled(id: &str, channel: &str) -> Self {
        Self {
            id: id.into(),
            channel: channel.into(),
            profile: None,
            place: "".into(),
            polled: true,
            first_point: 0,
            points: 0,
            words: None,
        }
    }
}

/// What belongs together: a contact, readers, an exit button. What happens at it is told under `doors/<id>`.
#[derive(Debug, Clone, PartialEq)]
pub struct Door {
    pub id: Arc<str>,
    pub place: Arc<str>,
    /// The momentary point `<door>.access`; its device is the contact's.
    pub words: PointId,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// `device.point`
    pub id: Arc<str>,
    pub device: DeviceId,
    pub unit: Option<Arc<str>>,
    /// What the sensor can physically say; outside it the reading is bad.
    pub range: Option<(f64, f64)>,
    /// Smaller changes are not recorded in the history.
    pub deadband: f64,
    /// How false numbers are told from true ones.
    pub clean: Clean,
}

/// What a point cannot truly do; all of it off where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clean {
    /// It cannot change faster than this, in its unit a second.
    pub rate: Option<f64>,
    /// A lone number far off from those around it is a spike.
    pub spike: bool,
    /// A true sensor shows some change within that.
    pub stuck: Option<Millis>,
    /// Gaps up to that are filled for pictures and rollups, never for rules.
    pub fill: Option<Millis>,
    /// The share of usable data is counted in slots of this; where none is given the point may keep silent and is not counted.
    pub slot: Option<Millis>,
}

impl Site {
    pub fn device(&self, id: DeviceId) -> &Device {
        &self.devices[id.0 as usize]
    }

    pub fn point(&self, id: PointId) -> &Point {
        &self.points[id.0 as usize]
    }

    /// By point: whether its readings say what happened, not what is.
    pub fn momentary(&self) -> Vec<bool> {
        let mut momentary = vec![false; self.points.len()];
        let words = self.devices.iter().filter_map(|d| d.words).chain(self.doors.iter().map(|d| d.words));
        for point in words {
            if let Some(is) = momentary.get_mut(point.0 as usize) {
                *is = true;
            }
        }
        momentary
    }

    pub fn device_named(&self, id: &str) -> Option<DeviceId> {
        self.devices.iter().position(|d| &*d.id == id).map(|i| DeviceId(i as u32))
    }

    pub fn point_named(&self, id: &str) -> Option<PointId> {
        self.points.iter().position(|p| &*p.id == id).map(|i| PointId(i as u32))
    }

    /// The points of one device, in the order of the configuration.
    pub fn points_of(&self, id: DeviceId) -> impl Iterator<Item = PointId> + use<> {
        let device = self.device(id);
        (device.first_point..device.first_point + device.points).map(PointId)
    }
}

/// One value. Whole numbers beyond 2^53 keep their own kind, since a float would round them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Number(f64),
    Text(Arc<str>),
}

impl Value {
    /// The value as a number, where it is one. A bool and a text are none.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Signed(v) => Some(*v as f64),
            Value::Unsigned(v) => Some(*v as f64),
            Value::Number(v) => Some(*v),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }

    /// Equal as a technician means it: `1`, `1.0` and a register holding 1 are the same.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Signed(a), Value::Signed(b)) => a == b,
            (Value::Unsigned(a), Value::Unsigned(b)) => a == b,
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a == b,
                _ => a == b,
            },
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => v.fmt(f),
            Value::Signed(v) => v.fmt(f),
            Value::Unsigned(v) => v.fmt(f),
            Value::Number(v) => v.fmt(f),
            Value::Text(v) => v.fmt(f),
        }
    }
}

/// Good readings open and clear tickets, uncertain ones may open but never clear, bad ones do neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quality {
    Bad,
    Uncertain,
    Good,
}

impl Quality {
    pub fn word(self) -> &'static str {
        match self {
            Quality::Good => "good",
            Quality::Uncertain => "uncertain",
            Quality::Bad => "bad",
        }
    }
}

/// Why a reading is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing has been read yet, or nothing since the broker is back.
    NotYet,
    /// Outside of what the sensor can physically say.
    OutOfRange,
    /// The device answered that it cannot (a Modbus exception).
    DeviceError,
    /// The device was asked and did not answer, or not in a way that can be believed.
    NoAnswer,
    /// The wire or broker it hangs on is down.
    WireDown,
    /// Its own last will or availability topic says it is gone.
    Offline,
    /// Two sources feed this one point.
    Ambiguous,
    /// A retained MQTT message has no age.
    Retained,
    /// The device's own word for it: its sensor is broken or not connected.
    SensorFault,
    /// An answer came, but no value could be made of it (wrong JSON, an unmapped word, not a number).
    Unreadable,
    /// A lone number far off from those around it.
    Spike,
    /// A change faster than the thing can change.
    TooFast,
    /// No change for longer than a true sensor goes without.
    Stuck,
}

impl Reason {
    pub fn word(self) -> &'static str {
        match self {
            Reason::NotYet => "not-yet",
            Reason::OutOfRange => "out-of-range",
            Reason::DeviceError => "device-error",
            Reason::NoAnswer => "no-answer",
            Reason::WireDown => "wire-down",
            Reason::Offline => "offline",
            Reason::Ambiguous => "ambiguous",
            Reason::Retained => "retained",
            Reason::SensorFault => "sensor-fault",
            Reason::Unreadable => "unreadable",
            Reason::Spike => "spike",
            Reason::TooFast => "too-fast",
            Reason::Stuck => "stuck",
        }
    }
}

/// One value of a point at one time. `value` is `None` exactly where `quality` is bad.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub point: PointId,
    /// When the answer's last byte was here.
    pub at: Millis,
    pub value: Option<Value>,
    /// What the device said, where cleaning did not let it stand as the value.
    pub raw: Option<Value>,
    pub quality: Quality,
    pub reason: Option<Reason>,
    /// Where the device itself says its unit; else it is the point's.
    pub unit: Option<Arc<str>>,
}

impl Reading {
    pub fn good(point: PointId, at: Millis, value: Value) -> Self {
        Self { point, at, value: Some(value), raw: None, quality: Quality::Good, reason: None, unit: None }
    }

    pub fn uncertain(point: PointId, at: Millis, value: Value, reason: Reason) -> Self {
        Self { reason: Some(reason), quality: Quality::Uncertain, ..Self::good(point, at, value) }
    }

    pub fn bad(point: PointId, at: Millis, reason: Reason) -> Self {
        Self { point, at, value: None, raw: None, quality: Quality::Bad, reason: Some(reason), unit: None }
    }
}

/// What one answer, one message or one failure of a device amounts to; handed on as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// By whose site it is numbered: the configuration under which its wire was begun. Set where it is handed on.
    pub edition: Edition,
    pub device: DeviceId,
    pub at: Millis,
    pub readings: Vec<Reading>,
    /// What this shows of the device itself; `None` where it shows nothing (a retained message).
    pub life: Option<Life>,
    /// Whether the wire or broker itself is there, where that is news. It is the same for all devices on it.
    pub wire: Option<bool>,
    /// What was done at doors and lockers, in the order in which the device tells it. Each is kept.
    pub happenings: Vec<Happening>,
    /// What came of an order.
    pub done: Option<Done>,
    /// Signed once all of this, and all that was handed on before it, is on the disk.
    pub kept: Option<Receipt>,
}

impl Batch {
    pub fn new(device: DeviceId, at: Millis, readings: Vec<Reading>, life: Option<Life>) -> Self {
        Self {
            edition: Edition(0),
            device,
            at,
            readings,
            life,
            wire: None,
            happenings: Vec::new(),
            done: None,
            kept: None,
        }
    }
}

/// Whether a device is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    Online,
    /// It has not answered some times in a row: degraded, where it was there before. Who was away is still away.
    Failing {
        /// For people: `no answer within 500 ms`.
        why: String,
    },
    /// It answers, but not everything or not always, and is asked more rarely for it.
    Degraded {
        /// For people: `registers 40–43 are refused (exception 2)`.
        why: String,
    },
    Offline {
        /// For people: `no answer within 500 ms`.
        why: String,
    },
}
