//! The simulated compound, for `demo` and tests: 13 devices on real sockets and pseudo-terminals, a broker, a CRM.

pub mod broker;
pub mod crm;
pub mod line;
pub mod lockers;
pub mod meters;
pub mod modbus;
mod script;
pub mod zigbee;

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;

use broker::Broker;
use crm::Crm;
use line::Line;
use lockers::Boards;
use modbus::{Server, Units};
use zigbee::Bridge;

pub use script::{STEPS, Step};

/// A compound with all its wires; it is gone when this is dropped.
#[derive(Debug)]
pub struct Compound {
    plant: Units,
    plant_server: Server,
    basement: Units,
    basement_line: Line,
    lifts: Units,
    lifts_server: Server,
    lockers: Boards,
    lockers_line: Line,
    broker: Broker,
    zigbee: Bridge,
    pub crm: Crm,
}

// Units of the plant (TCP), the basement (RTU) and the lifts (RTU over TCP); boards of the lockers.
const PUMP_1: u8 = 7;
const PUMP_2: u8 = 8;
const FAN_1: u8 = 9;
const CLIMATE: u8 = 4;
const METER: u8 = 5;
const TANK: u8 = 6;
const LIFT_1: u8 = 1;
const LIFT_2: u8 = 2;
const BANK_1: u8 = 1;
const BANK_2: u8 = 2;

impl Compound {
    /// Starts everything, well and quiet. Ports have their paths in `dir`.
    pub async fn start(dir: &Path) -> io::Result<Self> {
        let (plant, basement, lifts, lockers) =
            (Units::default(), Units::default(), Units::default(), Boards::default());
        lockers.add(BANK_1);
        lockers.add(BANK_2);
        let broker = Broker::start().await?;
        let compound = Self {
            plant_server: Server::tcp(plant.clone()).await?,
            plant,
            basement_line: modbus::rtu(basement.clone(), &dir.join("rs485-1")).await?,
            basement,
            lifts_server: Server::rtu_over_tcp(lifts.clone()).await?,
            lifts,
            lockers_line: lockers.start(&dir.join("lockers")).await?,
            lockers,
            zigbee: Bridge::start(broker.address),
            broker,
            crm: Crm::start().await?,
        };
        compound.settle().await;
        Ok(compound)
    }

    /// Everything as it is on a good day.
    async fn settle(&self) {
        for (unit, pressure) in [(PUMP_1, 3_200), (PUMP_2, 3_150)] {
            self.plant.set_holding(unit, 0, pressure); // 0.1 kPa
            self.plant.set_holding(unit, 1, 452); // 0.1 Hz
        }
        self.plant.set_holding(FAN_1, 0, 1);
        self.basement.set_input(CLIMATE, 1, 312); // 0.1 °C
        self.basement.set_input(CLIMATE, 2, 584); // 0.1 %
        // As an SDM120 has them: V, A, W, power factor, Hz, kWh.
        let meter = [(0, 229.8), (6, 3.42), (12, 741.0), (30, 0.94), (70, 50.0), (342, 18_204.5)];
        for (register, value) in meter {
            self.basement.set_input_f32(METER, register, value);
        }
        self.basement.set_holding(TANK, 0, 635); // 0.1 %
        for lift in [LIFT_1, LIFT_2] {
            self.lifts.set_holding(lift, 0, 1);
            self.lifts.set_holding(lift, 1, 12); // floor
        }
        for device in ["b3-door", "b3-leak", "hall-climate"] {
            self.zigbee.set_available(device, true).await;
        }
        self.zigbee.set("b3-door", json!({ "contact": true })).await;
        self.zigbee.set("b3-leak", json!({ "water_leak": false })).await;
        self.zigbee.set("hall-climate", json!({ "temperature": 22.6, "humidity": 51.0 })).await;
    }

    /// What there is, in words.
    pub fn describe(&self) -> &'static str {
        "13 devices over Modbus TCP, Modbus RTU, RTU over TCP, a serial line and MQTT"
    }

    /// The gateway's configuration for exactly these devices, with its API at `api`.
    pub fn config(&self, api: SocketAddr, data_dir: &Path) -> String {
        let mut toml = String::new();
        let fill = [
            ("@api@", api.to_string()),
            ("@data@", data_dir.display().to_string()),
            ("@crm@", self.crm.url()),
            ("@plant@", self.plant_server.address.to_string()),
            ("@rs485-1@", self.basement_line.path().display().to_string()),
            ("@lifts@", self.lifts_server.address.to_string()),
            ("@lockers@", self.lockers_line.path().display().to_string()),
            ("@broker@", self.broker.address.to_string()),
        ];
        for line in include_str!("compound.toml").lines() {
            let filled = fill.iter().fold(line.to_owned(), |line, (mark, value)| line.replace(mark, value));
            // Writing into a String cannot fail.
            let _ = writeln!(toml, "{filled}");
        }
        toml
    }
}
