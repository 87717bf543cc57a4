//! A program on a terminal of its own, as a technician has it: so many columns and rows, keys, and all that it writes.
#![allow(dead_code)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(40);

pub struct Pty {
    master: File,
    /// Kept open, so that the terminal outlives the program and can be looked at.
    slave: File,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// `setsid` makes it the terminal's own program, which hears of its size and its end.
    pub fn run(arguments: &[&str], (columns, rows): (u16, u16), set: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let master = File::from(master);
        resize(&master, columns, rows);
        let end = || Stdio::from(slave.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.arg("-c").arg(env!("CARGO_BIN_EXE_gatehouse")).args(arguments);
        for unwanted in ["NO_COLOR", "COLUMNS", "GATEHOUSE_TOKEN_FILE", "GATEHOUSE_CONFIG", "GATEHOUSE_LOG"] {
            command.env_remove(unwanted);
        }
        command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env("TZ", "CST-8");
        command.envs(set.iter().copied()).stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (mut from, into) = (master.try_clone().unwrap(), said.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody holds any more is an error to read.
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                into.lock().unwrap().extend(&bytes[..read]);
            }
        });
        Self { master, slave, child, said }
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.master, columns, rows);
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// How the terminal treats keys now.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    /// What was found in all that it has said so far, as soon as it is there.
    pub async fn until<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            if let Some(found) = found(&said) {
                return found;
            }
            assert!(Instant::now() < end, "waited in vain until {what}; it said:\n{said:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How it ended, and all that it said.
    pub async fn ended(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end; it said:\n{:?}", self.said());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Behind all that it wrote, so that all of that has been read when this is.
        self.slave.write_all(MARK.as_bytes()).unwrap();
        let said =
            self.until("its last words are read", |said| Some(said.strip_suffix(MARK)?.to_owned())).await;
        (status, said)
    }
}

const MARK: &str = "\u{1}over\u{1}";

fn resize(master: &File, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).unwrap();
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text without its colours; any other order to the terminal fails the test.
pub fn plain(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let colour = piece.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        let (codes, rest) =
            colour.unwrap_or_else(|| panic!("an order to the terminal: {piece:?} in {text:?}"));
        assert!(codes.chars().all(|c| c.is_ascii_digit() || c == ';'), "no colour: {piece:?} in {text:?}");
        plain.push_str(rest);
    }
    plain
}

/// Columns of the widest line.
pub fn widest(text: &str) -> usize {
    text.lines()
        .map(|line| unicode_width::UnicodeWidthStr::width(line.trim_end_matches('\r')))
        .max()
        .unwrap_or(0)
}
