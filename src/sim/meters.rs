//! A simulated CJ/T 188 water meter on a serial line.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::line::{Connecting, Line, Stream};

/// Every clone is the same meter.
#[derive(Debug, Clone)]
pub struct WaterMeter(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
pub struct State {
    /// As it goes over the wire, low byte first.
    pub address: [u8; 7],
    /// In hundredths of the unit.
    pub volume: u32,
    /// 2C m³, 29 litres.
    pub unit: u8,
    /// The first of the two state bytes: 20 battery low, 40 valve closed, C0 valve broken.
    pub state: u8,
    pub silent: bool,
    /// Refuses to be read.
    pub refuses: bool,
}

const COLD_WATER: u8 = 0x10;
const ANYONE: [u8; 7] = [0xAA; 7];
/// A question: from 68 to 16.
const QUESTION: usize = 16;

impl WaterMeter {
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
    }

    /// Puts the meter on a pseudo-terminal that is found under `path`.
    pub async fn start(&self, path: &Path) -> io::Result<Line> {
        let meter = self.clone();
        let connect = move || -> Connecting {
            let (near, far) = tokio::io::duplex(256);
            tokio::spawn(meter.clone().serve(far));
            Box::pin(async move { Ok(Box::new(near) as Box<dyn Stream>) })
        };
        Line::start(path, Box::new(connect)).await
    }

    async fn serve(self, mut line: DuplexStream) {
        let (mut heard, mut chunk) = (Vec::new(), [0; 64]);
        while let Ok(n @ 1..) = line.read(&mut chunk).await {
            heard.extend_from_slice(&chunk[..n]);
            while let Some(question) = heard.first_chunk::<QUESTION>().copied() {
                let answer = self.lock().answer(&question);
                heard.drain(..if answer.is_some() { QUESTION } else { 1 });
                if line.write_all(&answer.unwrap_or_default()).await.is_err() {
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn answer(&self, question: &[u8; QUESTION]) -> Option<Vec<u8>> {
        let [0x68, _kind, to @ .., control, 3, d0, d1, ser, check, 0x16] = question else { return None };
        let is_right = sum(&question[..QUESTION - 2]) == *check;
        if !is_right || self.silent || (*to != self.address && *to != ANYONE) {
            return None;
        }
        match (control, [*d0, *d1]) {
            (0x01, [0x1F, 0x90] | [0x90, 0x1F]) if self.refuses => Some(self.frame(0xC1, &[*ser, 0, 0])),
            (0x01, [0x1F, 0x90] | [0x90, 0x1F]) => Some(self.frame(0x81, &self.reading(*ser))),
            (0x03, [0x0A, 0x81]) => Some(self.frame(0x83, &[0x0A, 0x81, *ser])),
            _ => None,
        }
    }

    fn reading(&self, ser: u8) -> Vec<u8> {
        let volume = bcd(self.volume);
        let clock = [0x31, 0x01, 0x22, 0x11, 0x05, 0x15, 0x20];
        let parts: [&[u8]; 7] =
            [&[0x1F, 0x90, ser], &volume, &[self.unit], &volume, &[self.unit], &clock, &[self.state, 0]];
        parts.concat()
    }

    fn frame(&self, control: u8, data: &[u8]) -> Vec<u8> {
        let head = [&[0x68, COLD_WATER][..], &self.address, &[control, data.len() as u8]].concat();
        let mut frame = [&[0xFE, 0xFE][..], &head, data].concat();
        frame.extend([sum(&frame[2..]), 0x16]);
        frame
    }
}

/// Eight digits, the low ones first.
fn bcd(mut value: u32) -> [u8; 4] {
    std::array::from_fn(|_| {
        let two = (value % 100) as u8;
        value /= 100;
        ((two / 10) << 4) | (two % 10)
    })
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
