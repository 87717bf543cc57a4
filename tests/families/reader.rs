//! At each door a reader by libosdp that only reports cards, and a relay board with contact, exit button and lock: who may
//! enter is decided elsewhere, and the door is opened by an order.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value as Json;

use super::board::Boards;
use super::{Family, House, bears, free_port};

pub struct Readers {
    port: u16,
    boards: Boards,
    process: Mutex<Child>,
    stdin: Mutex<ChildStdin>,
    /// Kept open: what readers are commanded is printed there.
    _stdout: BufReader<ChildStdout>,
}

const CONTACT: u8 = 1;
const BUTTON: u8 = 2;
const CARD: u32 = 42;
/// Tenths of a second.
const PULSE: u16 = 30;

impl Readers {
    pub fn start(places: usize) -> Self {
        let port = free_port();
        let mut process = Command::new("tests/.venv/bin/python")
            .args(["tests/peers/osdp_reader.py", "tcp", &port.to_string()])
            .args((1..=places).map(|n| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/.venv has the peers: `tests/run` makes it");
        let stdin = Mutex::new(process.stdin.take().unwrap());
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.contains("ready"), "{line}");
        let boards = Boards::start((1..=places).map(|n| n as u8));
        (1..=places).for_each(|n| boards.set_input(n as u8, CONTACT, true));
        Self { port, boards, process: Mutex::new(process), stdin, _stdout: stdout }
    }

    pub fn configuration(&self, places: usize) -> String {
        let mut text = format!(
            "[[channel]]\nid = \"readers\"\ntype = \"osdp\"\naddress = \"127.0.0.1:{}\"\n\
             [[channel]]\nid = \"boards\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\n",
            self.port, self.boards.address
        );
        for n in 1..=places {
            write!(
                text,
                r#"
[[device]]
id      = "reader-{n}"
channel = "readers"
profile = "osdp-reader"
unit    = {n}
[[device]]
id      = "board-{n}"
channel = "boards"
profile = "waveshare-relay-d8"
unit    = {n}
poll    = "100ms"
[[device.point]]
id       = "input-1"
table    = "discrete"
register = 0
map      = {{ true = "closed", false = "open" }}
[[device.command]]
action  = "pulse"
target  = "relay-1"
for     = "3s"
door    = "door-{n}"
[[door]]
id            = "door-{n}"
contact       = "board-{n}.input-1"
exit          = "board-{n}.input-2"
grants        = ["reader-{n}"]
unlock_window = "5s"
held_after    = "8s"
"#
            )
            .unwrap();
        }
        text
    }

    pub fn settle(&self, house: &House, places: usize) {
        house.until_read(".input-1", "closed", places);
        house.until_read(".tamper", "no", places);
    }

    fn tell(&self, what: &str) {
        writeln!(self.stdin.lock().unwrap(), "{what}").unwrap();
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

impl Family for Readers {
    fn name(&self) -> &'static str {
        "osdp"
    }

    fn does(&self, place: usize, what: &str) -> bool {
        let unit = place as u8;
        match what {
            "card" => self.tell(&format!("cards {place} {CARD} 1")),
            "tamper" => self.tell(&format!("local {place} 1 0")),
            "open" | "pry open" => self.boards.set_input(unit, CONTACT, false),
            "close" => self.boards.set_input(unit, CONTACT, true),
            "exit" => self.boards.set_input(unit, BUTTON, true),
            // The line is gone, with all readers on it.
            "fall silent" => self.process.lock().unwrap().kill().unwrap(),
            _ => return false,
        }
        true
    }

    fn order(&self, place: usize) -> [String; 3] {
        [format!("board-{place}"), "pulse".into(), "relay-1".into()]
    }

    fn forbidden(&self, place: usize) -> [String; 3] {
        [format!("board-{place}"), "pulse".into(), "relay-2".into()]
    }

    fn given(&self, place: usize) -> usize {
        let pulses = self.boards.pulses(place as u8);
        assert!(pulses.iter().all(|pulse| *pulse == (1, PULSE)), "{pulses:?}");
        pulses.len()
    }

    fn secret(&self) -> String {
        format!("100000{CARD}")
    }

    fn concerns(&self, place: usize, event: &Json) -> bool {
        // When their line falls silent, so do the readers of the other doors.
        bears(place, event)
    }
}
