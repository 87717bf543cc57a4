//! A central server that pulls: a process of its own that dies where it hurts (after the pull, after storing, before it
//! has acknowledged), is killed at any moment, and goes on from what it has stored.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Dice, Told};

/// The consumer's name.
pub const NAME: &str = "central";
/// By its own hand; anything else is a complaint.
pub const DIED: i32 = 9;

/// Events with the cursor behind them are written in one go, so that both are there or neither.
pub struct Store {
    path: PathBuf,
}

impl Store {
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join("pulled") }
    }

    /// What is stored, and the cursor to go on from. A page that was torn by a kill is not there.
    pub fn read(&self) -> (Vec<Told>, Option<String>) {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let (mut events, mut page, mut cursor) = (Vec::new(), Vec::new(), None);
        for line in whole(&text).lines() {
            match line.strip_prefix("next\t") {
                Some(next) => {
                    events.append(&mut page);
                    cursor = Some(next.to_owned());
                }
                None => page.push(Told::read(line).unwrap()),
            }
        }
        (events, cursor)
    }

    /// Where to go on; what is behind the last whole page is cut off.
    fn mend(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.path).ok()?;
        let whole = whole(&text);
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(whole.len() as u64).unwrap();
        Some(whole.lines().next_back()?.strip_prefix("next\t")?.to_owned())
    }

    fn append(&self, events: &[Json], next: &str) {
        let mut text: String = events.iter().map(|event| Told::of(event).line()).collect();
        text += &format!("next\t{next}\n");
        let mut file: File = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.sync_data().unwrap();
    }
}

/// Up to the end of the last line that begins with `next`.
fn whole(text: &str) -> &str {
    let last = text.rfind("\nnext\t").map(|at| at + 1).or(text.starts_with("next\t").then_some(0));
    let end = last.and_then(|at| Some(at + text[at..].find('\n')? + 1));
    match (end, last) {
        (Some(end), _) => &text[..end],
        // The last one is torn: up to the one before.
        (None, Some(at)) => whole(&text[..at]),
        (None, None) => "",
    }
}

/// Starts it as a process: this very program, told by the environment to be the puller.
pub fn command(test: &str, dir: &Path, api: u16, seed: u64, steady: bool) -> Command {
    let log = OpenOptions::new().create(true).append(true).open(dir.join("puller.log")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).stdout(Stdio::null()).stderr(log);
    command.env("PULLER_DIR", dir).env("PULLER_API", api.to_string()).env("PULLER_SEED", seed.to_string());
    command.env("PULLER_STEADY", if steady { "1" } else { "" });
    command
}

/// The life of that process; comes back at once where it is not meant to be one.
pub fn live() {
    let Ok(dir) = std::env::var("PULLER_DIR") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let mut puller = Puller {
        store: Store::at(Path::new(&dir)),
        api: variable("PULLER_API").parse().unwrap(),
        dice: Dice(variable("PULLER_SEED").parse().unwrap()),
        steady: !variable("PULLER_STEADY").is_empty(),
    };
    puller.pull();
}

struct Puller {
    store: Store,
    api: u16,
    dice: Dice,
    steady: bool,
}

impl Puller {
    fn pull(&mut self) {
        let mut cursor = self.store.mend().unwrap_or_else(|| "0".into());
        loop {
            let (limit, wait) = (1 + self.dice.roll(300), self.dice.roll(3));
            let asked = format!("/api/v1/events?after={cursor}&limit={limit}&wait={wait}");
            let Some((status, page)) = self.ask("GET", &asked, None) else {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            self.die_perhaps();
            match status {
                200 => {}
                410 => {
                    page["oldest"].as_str().expect("410 says where to go on").clone_into(&mut cursor);
                    continue;
                }
                503 => continue,
                other => panic!("{other} to {asked}: {page}"),
            }
            let events = page["events"].as_array().unwrap();
            let next = page["next"].as_str().unwrap();
            if next != cursor {
                self.store.append(events, next);
            }
            next.clone_into(&mut cursor);
            self.die_perhaps();
            self.acknowledge(&cursor);
            if self.dice.one_in(10) {
                self.be_wrong(&cursor);
            }
        }
    }

    fn acknowledge(&mut self, cursor: &str) {
        let path = format!("/api/v1/consumers/{NAME}");
        if let Some((status, body)) = self.ask("PUT", &path, Some(json!({ "acknowledged": cursor }))) {
            assert!(matches!(status, 200 | 503), "{status} to the acknowledgement of {cursor}: {body}");
        }
    }

    /// A cursor of another epoch, and one above the head, are turned down and move nothing.
    fn be_wrong(&mut self, cursor: &str) {
        let asked = "/api/v1/events?after=0badc0de.5";
        if let Some((status, body)) = self.ask("GET", asked, None) {
            assert!(matches!(status, 409 | 503), "{status} to a foreign epoch: {body}");
        }
        let (epoch, _) = cursor.split_once('.').unwrap();
        let path = format!("/api/v1/consumers/{NAME}");
        let above = json!({ "acknowledged": format!("{epoch}.999999999") });
        if let Some((status, body)) = self.ask("PUT", &path, Some(above)) {
            assert!(matches!(status, 409 | 503), "{status} to an acknowledgement above the head: {body}");
        }
    }

    fn die_perhaps(&mut self) {
        if !self.steady && self.dice.one_in(8) {
            std::process::exit(DIED);
        }
    }

    /// `None` where the daemon is not there, or went away before it had answered.
    fn ask(&self, method: &str, path: &str, body: Option<Json>) -> Option<(u16, Json)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.api)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let body = body.map_or_else(String::new, |body| body.to_string());
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n"
        );
        stream.write_all(format!("{head}Content-Type: application/json\r\n\r\n{body}").as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        // Cut off by a kill.
        (length == Some(body.len())).then_some(())?;
        Some((status, serde_json::from_str(body).expect("an answer is JSON")))
    }
}
