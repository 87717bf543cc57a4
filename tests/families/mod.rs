//! Device families on their real wires behind the real daemon: what is done at a place (a door, a locker's cell), and what
//! the journal tells of it.

pub mod board;
pub mod controller;
pub mod lockers;
pub mod mqtt;
#[path = "../ports/mod.rs"]
mod ports;
pub mod reader;

use std::net::UdpSocket;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::gateway::Gateway;
pub use ports::free_port;

/// A kind of device, many times over: each place is one door or cell with what belongs to it.
pub trait Family: Sync {
    fn name(&self) -> &'static str;
    /// What somebody does there. `false`: this family knows no such thing.
    fn does(&self, place: usize, what: &str) -> bool;
    /// The device that takes the order, its action and its target.
    fn order(&self, place: usize) -> [String; 3];
    /// An order that nobody allowed.
    fn forbidden(&self, place: usize) -> [String; 3];
    /// How often its device has been told to open.
    fn given(&self, place: usize) -> usize;
    /// Who comes, as the wire says it and nothing else may.
    fn secret(&self) -> String;
    /// Whether this event is of that place.
    fn concerns(&self, place: usize, event: &Json) -> bool;
}

/// The daemon, and its journal as far as it has been read.
pub struct House {
    pub gateway: Gateway,
    journal: Mutex<Journal>,
}

struct Journal {
    events: Vec<Json>,
    next: String,
    read: Option<Instant>,
}

/// Many cases look at one journal.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl House {
    pub fn start(id: &str, configuration: impl FnOnce(&Gateway) -> String) -> Self {
        let mut gateway = Gateway::new(id);
        std::fs::write(gateway.dir().join("privacy-key"), "0123456789abcdef0123456789abcdef").unwrap();
        let key = gateway.dir().join("privacy-key").display().to_string();
        let head = format!(
            "[builtin]\ndevice-silent = false\nstorm = false\n[privacy]\nkey = {{ file = \"{key}\" }}\n"
        );
        let rest = configuration(&gateway);
        gateway.configure(&(head + &rest));
        let checked = gateway.ran("check");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        gateway.start();
        let journal = Mutex::new(Journal { events: Vec::new(), next: "0".into(), read: None });
        Self { gateway, journal }
    }

    /// Waits until the journal has what is looked for.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&[Json]) -> Option<T>) -> T {
        self.gateway.until(what, || {
            let mut journal = self.journal.lock().unwrap();
            if journal.read.is_none_or(|read| read.elapsed() > LOOK_AGAIN) {
                journal.read_on(&self.gateway);
            }
            look(&journal.events)
        })
    }

    /// Each word of a door and a cell says where it belongs, and none says who it was but by pseudonym.
    pub fn says_where_and_not_who(&self, secret: &str) {
        self.until("the journal", |events| {
            for event in events {
                let (kind, data) = (event["type"].as_str().unwrap(), &event["data"]);
                let subject = event["subject"].as_str().unwrap().rsplit_once('/').unwrap().1;
                let number = |name: &str| name.rsplit_once('-').map(|(_, number)| number.to_owned());
                if kind.starts_with("gatehouse.access.") {
                    assert_eq!(data["door"].as_str().and_then(number), number(subject), "{event}");
                }
                if kind.starts_with("gatehouse.locker.") {
                    assert!(data["board"] == subject && data["cell"].is_u64(), "{event}");
                }
                assert!(!event.to_string().contains(secret), "{event}");
            }
            Some(())
        });
    }

    /// Waits until these points, and no fewer, read `word`.
    pub fn until_read(&self, suffix: &str, word: &str, count: usize) {
        self.gateway.until(&format!("{count} points {suffix} read {word}"), || {
            let points = self.gateway.get("/api/v1/points?limit=1000")?;
            let points = points["points"].as_array()?;
            let is = |p: &&Json| p["id"].as_str().unwrap().contains(suffix) && p["value"] == word;
            (points.iter().filter(is).count() >= count).then_some(())
        });
    }
}

impl Journal {
    fn read_on(&mut self, gateway: &Gateway) {
        let path = format!("/api/v1/events?after={}&limit=1000", self.next);
        let Some(mut page) = gateway.get(&path) else { return };
        if let (Some(next), Json::Array(events)) =
            (page["next"].as_str().map(str::to_owned), page["events"].take())
        {
            self.next = next;
            self.events.extend(events);
        }
        self.read = Some(Instant::now());
    }
}

/// One case: what is done at a place, step by step.
pub struct Script<'a> {
    pub house: &'a House,
    pub family: &'a dyn Family,
    pub place: usize,
}

impl Script<'_> {
    /// Plays `grant, open, until held, close`.
    pub fn play(&self, steps: &str) {
        steps.split(", ").for_each(|step| self.step(step));
    }

    fn step(&self, step: &str) {
        match step {
            "order" | "the same order" => self.post(self.family.order(self.place), None, "", 200),
            "old order" => {
                self.post(self.family.order(self.place), Some("2026-01-01T00:00:00Z"), "-old", 410);
            }
            "forbidden order" => self.post(self.family.forbidden(self.place), None, "-no", 403),
            _ => match step.strip_prefix("until ") {
                Some(word) => self.wait(word, 1),
                None => self.act(step),
            },
        }
    }

    /// Each act is waited for by what is told of it.
    fn act(&self, step: &str) {
        let word = match step {
            "grant" | "late grant" => "granted",
            "card" => "card",
            "deny" => "denied",
            "open" | "pry open" => "opened",
            "close" => "closed",
            "exit" => "exit",
            "tamper" => "tamper",
            "parcel in" => "deposited",
            "parcel out" => "collected",
            "fall silent" => "offline",
            // Told by what follows.
            _ => "",
        };
        let before = self.count(word);
        assert!(self.family.does(self.place, step), "{} does not know `{step}`", self.family.name());
        if !word.is_empty() {
            self.wait(word, before + 1);
        }
    }

    fn post(&self, [device, action, target]: [String; 3], expires_at: Option<&str>, key: &str, status: u16) {
        let key = format!("{}-{}{key}", self.family.name(), self.place);
        let order = json!({
            "action": action, "target": target, "by": "li", "key": key, "expires_at": expires_at,
        });
        let (answered, body) = self.house.gateway.post(&format!("/api/v1/devices/{device}/commands"), &order);
        assert_eq!(answered, status, "{order}: {body}");
    }

    fn count(&self, word: &str) -> usize {
        self.house.until("the journal", |events| Some(self.words(events).filter(|w| *w == word).count()))
    }

    fn wait(&self, word: &str, count: usize) {
        let what = format!("{} tells {word} of place {}", self.family.name(), self.place);
        self.house.until(&what, |events| {
            (self.words(events).filter(|w| *w == word).count() >= count).then_some(())
        });
    }

    fn words<'e>(&'e self, events: &'e [Json]) -> impl Iterator<Item = &'e str> {
        let of_place = events.iter().filter(|event| self.family.concerns(self.place, event));
        of_place.filter_map(|event| match event["type"].as_str()?.strip_prefix("gatehouse.")? {
            "ticket.opened" => Some("ticket"),
            kind => kind.rsplit_once('.').filter(|(of, _)| *of != "ticket").map(|(_, word)| word),
        })
    }

    /// What the journal has told of this place: `reader card (who), door opened, door forced`.
    pub fn tale(&self) -> String {
        let tell = |events: &[Json]| {
            let told = events.iter().filter(|event| self.family.concerns(self.place, event));
            told.filter_map(tell).collect::<Vec<_>>().join(", ")
        };
        self.house.until("the journal", |events| Some(tell(events)))
    }
}

/// One event in words: who tells it, what, and what matters of its data.
fn tell(event: &Json) -> Option<String> {
    let kind = event["type"].as_str()?.strip_prefix("gatehouse.")?;
    let (family, word) = kind.split_once('.')?;
    let data = &event["data"];
    let who = event["subject"].as_str()?.split_once('/')?.1.split_once('-')?.0;
    let text = match (family, word) {
        // The ticket's own story, and that a device is there, are told elsewhere.
        ("ticket", "opened") => return Some("ticket".into()),
        ("device", "offline") => return Some(format!("{who} offline")),
        ("access", _) => format!("{who} {word}"),
        ("locker", _) => word.to_owned(),
        ("command", "executed") => format!("order {}", data["outcome"].as_str()?),
        ("command", _) => format!("order refused ({})", data["outcome"].as_str()?),
        _ => return None,
    };
    let of_person = data["card"].as_str().map(|who| match who.get(..2) {
        Some("p-" | "c-") => "who",
        _ => "NO PSEUDONYM",
    });
    let said = [of_person, data["reason"].as_str().filter(|_| family == "access")];
    let said: Vec<&str> = said.into_iter().flatten().collect();
    let by_order = if data["order"].is_string() { " by order" } else { "" };
    let late = if data["late"] == true { " late" } else { "" };
    match said.is_empty() {
        true => Some(format!("{text}{by_order}{late}")),
        false => Some(format!("{text} ({}){by_order}{late}", said.join(", "))),
    }
}

/// Whether a device, a door or a ticket about one bears this place's number: `reader-3`, `door-3`.
pub fn bears(place: usize, event: &Json) -> bool {
    let subject = event["subject"].as_str().unwrap_or_default();
    let about = match subject.strip_prefix("tickets/") {
        Some(_) => event["data"]["device"].as_str().unwrap_or_default(),
        None => subject,
    };
    about.rsplit_once('-').is_some_and(|(_, number)| number == place.to_string())
}

pub fn free_udp_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
