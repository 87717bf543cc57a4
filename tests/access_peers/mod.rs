//! Who speaks at the doors, for tests of the whole daemon: face terminals through mosquitto, readers by libosdp, and a
//! UHPPOTE controller on the loopback.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatehouse::pseudonym::Pseudonyms;
use gatehouse::secret::Secret;

pub const KEY: &str = "a key of this compound only";

pub fn names() -> Pseudonyms {
    Pseudonyms::new(&Secret::new(KEY)).unwrap()
}

// --- face terminals ---

/// Says each line as a message, over one connection, as fast as the broker takes them.
pub fn publish_lines(port: u16, topic: &str, lines: &str) -> Child {
    let port = port.to_string();
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-l"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_owned();
    std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    child
}

// --- readers ---

/// libosdp's readers, in a process of their own.
pub struct Readers {
    process: Child,
    stdin: ChildStdin,
}

impl Readers {
    /// `address` or `address:key`, each on the same line.
    pub fn start(port: u16, readers: &[&str]) -> Self {
        let mut process = Command::new("tests/.venv/bin/python")
            .args(["tests/peers/osdp_reader.py", "tcp", &port.to_string()])
            .args(readers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/.venv has the peers: `tests/run` makes it");
        let stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        // What is commanded is read and not kept.
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { process, stdin }
    }

    pub fn tell(&mut self, what: &str) {
        writeln!(self.stdin, "{what}").unwrap();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// --- controllers ---

pub const SERIAL: u32 = 423_187_757;

/// A controller that keeps its events and tells them by number.
pub struct Controller {
    pub port: u16,
    memory: Arc<Mutex<Memory>>,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Memory {
    events: BTreeMap<u32, [u8; 20]>,
    stored: u32,
    /// How often it was cleared.
    cleared: u8,
}

impl Controller {
    /// New: nobody has ever read it.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let memory = Arc::new(Mutex::new(Memory::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (known, end) = (memory.clone(), over.clone());
        std::thread::spawn(move || {
            let mut asked = [0; 64];
            while !end.load(Ordering::Relaxed) {
                if let Ok((64, from)) = socket.recv_from(&mut asked) {
                    let answer = known.lock().unwrap().answer(&asked);
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self { port, memory, over }
    }

    /// Up to its last event it has been read before.
    pub fn is_known(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.stored = memory.events.keys().last().copied().unwrap_or(0);
    }

    /// Somebody holds this card to its first door, and is let in or not.
    pub fn card(&self, card: u32, granted: bool) {
        let mut memory = self.memory.lock().unwrap();
        let index = memory.events.keys().last().map_or(1, |last| last + 1);
        let mut event = [0; 20];
        event[..4].copy_from_slice(&index.to_le_bytes());
        event[4..8].copy_from_slice(&[1, u8::from(granted), 1, 1]);
        event[8..12].copy_from_slice(&card.to_le_bytes());
        // Each life of its memory in another second.
        event[12..19].copy_from_slice(&[0x20, 0x26, 3, 4, 0x12, 0x30, 0x40 + memory.cleared]);
        event[19] = if granted { 1 } else { 6 };
        memory.events.insert(index, event);
    }

    /// All is forgotten, and it counts anew.
    pub fn clear(&self) {
        let mut memory = self.memory.lock().unwrap();
        *memory = Memory { cleared: memory.cleared + 1, ..Memory::default() };
    }

    /// Up to which event it has been told that we have them.
    pub fn stored(&self) -> u32 {
        self.memory.lock().unwrap().stored
    }
}

impl Memory {
    fn answer(&mut self, asked: &[u8; 64]) -> [u8; 64] {
        let number = u32::from_le_bytes(asked[8..12].try_into().unwrap());
        let mut answer = [0; 64];
        answer[..8].copy_from_slice(&asked[..8]);
        match asked[1] {
            0x20 => {
                if let Some(event) = self.events.values().last() {
                    answer[8..28].copy_from_slice(event);
                }
                answer[37..40].copy_from_slice(&[0x12, 0x30, 0x40]);
                answer[51..54].copy_from_slice(&[0x26, 3, 4]);
            }
            0xB0 => {
                if let Some(event) = self.events.get(&number) {
                    answer[8..28].copy_from_slice(event);
                }
            }
            0xB2 => {
                self.stored = number;
                answer[8] = 1;
            }
            0xB4 => answer[8..12].copy_from_slice(&self.stored.to_le_bytes()),
            0x90 => answer[8] = 1,
            _ => {}
        }
        answer
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
