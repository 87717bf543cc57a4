//! A Modbus RTU unit by script, at the far end of a pseudo-terminal: it hears questions for one input register and does
//! whatever the script says.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crc::{CRC_16_MODBUS, Crc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_serial::SerialStream;

#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub unit: u8,
    pub function: u8,
    pub register: u16,
    /// How many times this unit has been asked, this one counted.
    pub nth: usize,
}

pub enum Act {
    Say(Vec<u8>),
    /// Milliseconds.
    Wait(u64),
}

pub fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut frame = [&[unit], pdu].concat();
    frame.extend(Crc::<u16>::new(&CRC_16_MODBUS).checksum(&frame).to_le_bytes());
    frame
}

/// The answer that the register holds `value`.
pub fn answer(q: &Question, value: u16) -> Vec<u8> {
    let [high, low] = value.to_be_bytes();
    frame(q.unit, &[q.function, 2, high, low])
}

/// Hears questions and does what the script says, until the line is gone.
pub async fn peer(port: SerialStream, mut script: impl FnMut(&Question) -> Vec<Act>) {
    let (mut from, mut to) = tokio::io::split(port);
    let (say, mut said) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(async move {
        while let Some(bytes) = said.recv().await {
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let mut asked = [0; 256];
    let mut bytes = [0; 8];
    while from.read_exact(&mut bytes).await.is_ok() {
        let unit = bytes[0];
        asked[usize::from(unit)] += 1;
        let question = Question {
            unit,
            function: bytes[1],
            register: u16::from_be_bytes([bytes[2], bytes[3]]),
            nth: asked[usize::from(unit)],
        };
        assert!(matches!(bytes[1], 3 | 4), "input registers, or a probe of the holding registers");
        assert_eq!(bytes[4..6], [0, 1], "one register is asked for");
        let acts = script(&question);
        let say = say.clone();
        tokio::spawn(async move {
            for act in acts {
                match act {
                    Act::Say(bytes) => say.send(bytes).unwrap_or_default(),
                    Act::Wait(ms) => sleep(Duration::from_millis(ms)).await,
                }
            }
        });
    }
}

/// A pair of pseudo-terminals, `near` and `far`.
pub struct Socat(Child, tempfile::TempDir);

impl Socat {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let end = |name: &str| format!("pty,raw,echo=0,link={}", dir.path().join(name).display());
        let child = Command::new("socat").args(["near", "far"].map(end)).spawn().expect("socat runs");
        while !(dir.path().join("near").exists() && dir.path().join("far").exists()) {
            sleep(Duration::from_millis(5)).await;
        }
        Self(child, dir)
    }

    pub fn end(&self, name: &str) -> String {
        Path::new(self.1.path()).join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Socat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
