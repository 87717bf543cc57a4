//! Relay boards with inputs on Modbus TCP, after Waveshare's manual: functions 01, 02 and 05, where 05 takes pulses, which
//! servers made for coils refuse.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The boards of one wire, by unit.
#[derive(Clone)]
pub struct Boards {
    pub address: SocketAddr,
    units: Arc<Mutex<BTreeMap<u8, Board>>>,
}

#[derive(Default)]
struct Board {
    inputs: u8,
    /// Pulses that it was told to give: relay, and tenths of a second.
    pulses: Vec<(u16, u16)>,
}

/// From here on, one a relay.
const FLASH_ON: u16 = 0x0200;
const RELAYS: u16 = 8;

impl Boards {
    pub fn start(units: impl Iterator<Item = u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let units = units.map(|unit| (unit, Board::default())).collect();
        let boards = Self { address: listener.local_addr().unwrap(), units: Arc::new(Mutex::new(units)) };
        let serving = boards.clone();
        // Ends with the process; it holds nothing but its sockets.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let boards = serving.clone();
                std::thread::spawn(move || boards.serve(stream));
            }
        });
        boards
    }

    /// `input`: 1 the first.
    pub fn set_input(&self, unit: u8, input: u8, on: bool) {
        let mut units = self.units.lock().unwrap();
        let inputs = &mut units.get_mut(&unit).unwrap().inputs;
        let bit = 1 << (input - 1);
        *inputs = if on { *inputs | bit } else { *inputs & !bit };
    }

    pub fn pulses(&self, unit: u8) -> Vec<(u16, u16)> {
        self.units.lock().unwrap()[&unit].pulses.clone()
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        loop {
            let mut head = [0; 7];
            stream.read_exact(&mut head).ok()?;
            let length = usize::from(u16::from_be_bytes([head[4], head[5]])).checked_sub(1)?;
            let mut question = vec![0; length];
            stream.read_exact(&mut question).ok()?;
            let answer = self.answer(head[6], &question)?;
            head[4..6].copy_from_slice(&(answer.len() as u16 + 1).to_be_bytes());
            stream.write_all(&[&head[..], &answer].concat()).ok()?;
        }
    }

    fn answer(&self, unit: u8, question: &[u8]) -> Option<Vec<u8>> {
        let mut units = self.units.lock().unwrap();
        let board = units.get_mut(&unit)?;
        let &[function, a, b, c, d] = question else { return None };
        let (at, word) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(match function {
            // Relays rest; a pulse is over before anybody looks.
            1 if at + word <= RELAYS => vec![1, 1, 0],
            2 if at + word <= RELAYS => vec![2, 1, board.inputs >> at],
            5 if (FLASH_ON..FLASH_ON + RELAYS).contains(&at) => {
                board.pulses.push((at - FLASH_ON + 1, word));
                question.to_vec()
            }
            _ => vec![function | 0x80, 2],
        })
    }
}
