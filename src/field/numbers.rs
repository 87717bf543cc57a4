//! Channels across a change of the configuration: whether one is as it was, and whether a point of it still means the
//! same.

use std::time::Duration;

use super::{Channel, Kind, modbus, mqtt, osdp, serial, uhppote};
use crate::numbers::{Numbered, Numbers};
use crate::reading::{DeviceId, PointId};

impl Channel {
    /// The devices on it.
    pub fn devices(&self) -> Vec<DeviceId> {
        match &self.kind {
            Kind::Modbus(settings) => settings.devices.iter().map(|device| device.id).collect(),
            Kind::Serial(settings) => settings.boards.iter().map(|board| board.id).collect(),
            Kind::Osdp(settings) => settings.readers.iter().map(|reader| reader.id).collect(),
            Kind::Uhppote(settings) => settings.controllers.iter().map(|c| c.id).collect(),
            Kind::Mqtt(settings) => settings.devices.iter().map(|device| device.id).collect(),
        }
    }

    /// How this device is asked, and what may be ordered of it.
    pub fn hung(&self, id: DeviceId) -> Option<Hung> {
        match &self.kind {
            Kind::Modbus(s) => s.devices.iter().find(|device| device.id == id).cloned().map(Hung::Modbus),
            Kind::Serial(s) => s.boards.iter().find(|board| board.id == id).cloned().map(Hung::Serial),
            Kind::Osdp(s) => s.readers.iter().find(|reader| reader.id == id).cloned().map(Hung::Osdp),
            Kind::Uhppote(s) => s.controllers.iter().find(|c| c.id == id).cloned().map(Hung::Uhppote),
            Kind::Mqtt(s) => s.devices.iter().find(|device| device.id == id).cloned().map(Hung::Mqtt),
        }
    }

    /// The wire itself, with nothing on it.
    #[must_use]
    pub fn bare(&self) -> Kind {
        let mut kind = self.kind.clone();
        match &mut kind {
            Kind::Modbus(settings) => settings.devices.clear(),
            Kind::Serial(settings) => settings.boards.clear(),
            Kind::Osdp(settings) => settings.readers.clear(),
            Kind::Uhppote(settings) => settings.controllers.clear(),
            Kind::Mqtt(settings) => settings.devices.clear(),
        }
        kind
    }

    /// Whether it takes the devices of `next` while it goes on. What a face terminal says is owed an answer, and what it said
    /// is known: where one comes, goes or changes, the channel begins anew.
    pub fn can_become(&self, next: &Self) -> bool {
        let (Kind::Mqtt(now), Kind::Mqtt(then)) = (&self.kind, &next.kind) else { return false };
        let terminals = |of: &mqtt::Settings| -> Vec<mqtt::Device> {
            of.devices.iter().filter(|d| d.dialect != mqtt::Dialect::Points).cloned().collect()
        };
        self.bare() == next.bare() && terminals(now) == terminals(then)
    }

    /// Whether what it tells of cards and people needs pseudonyms.
    pub fn tells_of_people(&self) -> bool {
        match &self.kind {
            Kind::Modbus(_) | Kind::Serial(_) => false,
            Kind::Osdp(_) | Kind::Uhppote(_) => true,
            Kind::Mqtt(settings) => settings.devices.iter().any(|d| d.dialect != mqtt::Dialect::Points),
        }
    }
}

/// A device of a channel.
#[derive(Debug, Clone, PartialEq)]
pub enum Hung {
    Modbus(modbus::Device),
    Serial(serial::Board),
    Osdp(osdp::Reader),
    Uhppote(uhppote::Controller),
    Mqtt(mqtt::Device),
}

impl Hung {
    /// How often it is asked; `None`: it speaks by itself.
    pub fn poll(&self) -> Option<Duration> {
        match self {
            Hung::Modbus(device) => Some(device.poll),
            Hung::Serial(board) => Some(board.poll),
            Hung::Osdp(reader) => Some(reader.poll),
            Hung::Uhppote(controller) => Some(controller.poll),
            Hung::Mqtt(_) => None,
        }
    }

    /// What the values of a point are read from: of the device as a whole where its points are not apart. How often, and
    /// what may be ordered there, is not in it.
    #[must_use]
    pub fn source(&self, point: PointId) -> Self {
        match self.clone() {
            Hung::Modbus(device) => {
                let own = device.points.into_iter().filter(|own| own.id == point);
                let points = own.map(|own| modbus::Point { poll: None, ..own }).collect();
                Hung::Modbus(modbus::Device::new(device.id, device.unit, Duration::ZERO, points))
            }
            Hung::Serial(mut board) => {
                board.poll = Duration::ZERO;
                if let serial::Kind::Locker(locker) = &mut board.kind {
                    locker.commands.clear();
                }
                Hung::Serial(board)
            }
            Hung::Osdp(reader) => {
                Hung::Osdp(osdp::Reader { poll: Duration::ZERO, commands: Vec::new(), ..reader })
            }
            Hung::Uhppote(c) => {
                Hung::Uhppote(uhppote::Controller { poll: Duration::ZERO, commands: Vec::new(), ..c })
            }
            Hung::Mqtt(device) => Hung::Mqtt(mqtt::Device { commands: Vec::new(), ..device }),
        }
    }
}

impl Numbered for Channel {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { kind: self.kind.in_other(numbers), ..self }
    }
}

impl Numbered for Kind {
    fn in_other(self, numbers: &Numbers) -> Self {
        match self {
            Kind::Modbus(s) => Kind::Modbus(modbus::Settings { devices: s.devices.in_other(numbers), ..s }),
            Kind::Serial(s) => Kind::Serial(serial::Settings { boards: s.boards.in_other(numbers), ..s }),
            Kind::Osdp(s) => Kind::Osdp(osdp::Settings { readers: s.readers.in_other(numbers), ..s }),
            Kind::Uhppote(s) => {
                Kind::Uhppote(uhppote::Settings { controllers: s.controllers.in_other(numbers), ..s })
            }
            Kind::Mqtt(s) => Kind::Mqtt(mqtt::Settings { devices: s.devices.in_other(numbers), ..s }),
        }
    }
}

impl Numbered for Hung {
    fn in_other(self, numbers: &Numbers) -> Self {
        match self {
            Hung::Modbus(device) => Hung::Modbus(device.in_other(numbers)),
            Hung::Serial(board) => Hung::Serial(board.in_other(numbers)),
            Hung::Osdp(reader) => Hung::Osdp(reader.in_other(numbers)),
            Hung::Uhppote(controller) => Hung::Uhppote(controller.in_other(numbers)),
            Hung::Mqtt(device) => Hung::Mqtt(device.in_other(numbers)),
        }
    }
}

impl Numbered for modbus::Device {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), points: self.points.in_other(numbers), ..self }
    }
}

impl Numbered for modbus::Point {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), ..self }
    }
}

impl Numbered for serial::Board {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), kind: self.kind.in_other(numbers), ..self }
    }
}

impl Numbered for serial::Kind {
    fn in_other(self, numbers: &Numbers) -> Self {
        match self {
            serial::Kind::Locker(locker) => serial::Kind::Locker(serial::Locker {
                cells: locker.cells.in_other(numbers),
                items: locker.items.in_other(numbers),
                ..locker
            }),
            serial::Kind::Meter(meter) => {
                serial::Kind::Meter(serial::Meter { points: meter.points.in_other(numbers), ..meter })
            }
        }
    }
}

impl Numbered for serial::Point {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), ..self }
    }
}

impl Numbered for osdp::Reader {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self {
            id: self.id.in_other(numbers),
            tamper: self.tamper.in_other(numbers),
            power: self.power.in_other(numbers),
            inputs: self.inputs.in_other(numbers),
            ..self
        }
    }
}

impl Numbered for uhppote::Controller {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), doors: self.doors.in_other(numbers), ..self }
    }
}

impl Numbered for mqtt::Device {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), points: self.points.in_other(numbers), ..self }
    }
}

impl Numbered for mqtt::Point {
    fn in_other(self, numbers: &Numbers) -> Self {
        Self { id: self.id.in_other(numbers), ..self }
    }
}
