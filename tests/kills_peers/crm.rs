//! A CRM on a plain socket that takes down what it is given and then says what it likes. It stays within what can still
//! be exactly once in effect: it never says 2xx with an empty or a JSON body to what it has not taken, and never turns
//! down a single event.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Dice, Told};

/// What it does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mood {
    Up,
    /// Takes all of it and says nothing of it.
    UpEmpty,
    /// Says something of tickets: moves them, takes it back, repeats it, or talks nonsense.
    Words,
    Unavailable,
    /// Hangs up before it has read the request.
    HangsUp,
    TakesAndFails,
    TakesAndCutsTheReply,
    TakesAndHangsUp,
    TakesAndIsLate,
    TakesAndRedirects,
    TakesAndTalksRubbish,
    TooLarge,
    TakesAndSaysTooLarge,
}

/// The good ones often, or nothing would move: each of the others ends the pushing for a second or more.
const MOODS: [Mood; 24] = [
    Mood::Up,
    Mood::Up,
    Mood::Up,
    Mood::Up,
    Mood::Up,
    Mood::Up,
    Mood::UpEmpty,
    Mood::UpEmpty,
    Mood::Words,
    Mood::Words,
    Mood::Words,
    Mood::Words,
    Mood::Words,
    Mood::Words,
    Mood::Unavailable,
    Mood::HangsUp,
    Mood::TakesAndFails,
    Mood::TakesAndCutsTheReply,
    Mood::TakesAndHangsUp,
    Mood::TakesAndIsLate,
    Mood::TakesAndRedirects,
    Mood::TakesAndTalksRubbish,
    Mood::TooLarge,
    Mood::TakesAndSaysTooLarge,
];
/// Words in one reply at the most; more would make more events than they answer.
const WORDS_MAX: usize = 3;

#[derive(Clone)]
pub struct Crm {
    pub port: u16,
    books: Arc<Mutex<Books>>,
    open: Arc<AtomicUsize>,
}

struct Books {
    dice: Dice,
    honest: bool,
    arrived: Vec<Told>,
    moods: BTreeMap<Mood, u64>,
    said: Option<Json>,
}

impl Crm {
    pub fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (arrived, moods) = (Vec::new(), BTreeMap::new());
        let books = Books { dice: Dice(seed), honest: false, arrived, moods, said: None };
        let port = listener.local_addr().unwrap().port();
        let crm = Self { port, books: Arc::new(Mutex::new(books)), open: Arc::default() };
        let serving = crm.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        crm
    }

    /// From now on it is up and nothing else.
    pub fn be_honest(&self) {
        self.books.lock().unwrap().honest = true;
    }

    /// In the order of arrival, with all that came more than once.
    pub fn arrived(&self) -> Vec<Told> {
        self.books.lock().unwrap().arrived.clone()
    }

    /// How often it was in which mood.
    pub fn moods(&self) -> BTreeMap<Mood, u64> {
        self.books.lock().unwrap().moods.clone()
    }

    /// Whether somebody waits for an answer.
    pub fn is_asked(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// One connection; ends without a word when the daemon is killed in the middle of a request.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let length = head(&mut reader)?;
            self.open.fetch_add(1, Ordering::Relaxed);
            let going_on = self.one(&mut reader, &mut stream, length);
            self.open.fetch_sub(1, Ordering::Relaxed);
            going_on?;
        }
    }

    /// One request; `None`: the connection is over.
    fn one(&self, reader: &mut impl Read, stream: &mut TcpStream, length: usize) -> Option<()> {
        let mood = self.books.lock().unwrap().mood();
        if mood == Mood::HangsUp {
            return None;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let events: Vec<Json> = serde_json::from_slice(&body).expect("a batch is a JSON array");
        let (answer, pause) = self.books.lock().unwrap().answer(mood, &events);
        std::thread::sleep(pause);
        stream.write_all(answer.as_bytes()).ok()?;
        (!matches!(mood, Mood::TakesAndCutsTheReply | Mood::TakesAndHangsUp)).then_some(())
    }
}

/// How long the body is.
fn head(reader: &mut impl BufRead) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            return Some(length);
        }
    }
}

impl Books {
    fn mood(&mut self) -> Mood {
        let mood = MOODS[self.dice.roll(MOODS.len() as u64) as usize];
        let mood = if self.honest { Mood::Up } else { mood };
        *self.moods.entry(mood).or_default() += 1;
        mood
    }

    fn answer(&mut self, mood: Mood, events: &[Json]) -> (String, Duration) {
        let one = events.len() == 1;
        if !matches!(mood, Mood::Unavailable) && (mood != Mood::TooLarge || one) {
            self.arrived.extend(events.iter().map(Told::of));
        }
        let answer = match mood {
            Mood::Up | Mood::TakesAndIsLate => json_answer("{}"),
            Mood::TooLarge | Mood::TakesAndSaysTooLarge if one => json_answer("{}"),
            Mood::UpEmpty => "HTTP/1.1 204 No Content\r\n\r\n".into(),
            Mood::Words => json_answer(&self.words(events).to_string()),
            Mood::Unavailable => "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".into(),
            Mood::TakesAndFails => "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops".into(),
            Mood::TakesAndCutsTheReply => {
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"tick"
                    .into()
            }
            Mood::HangsUp | Mood::TakesAndHangsUp => String::new(),
            Mood::TakesAndRedirects => {
                "HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".into()
            }
            Mood::TakesAndTalksRubbish => {
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 19\r\n\r\n<html>hello</html>\n"
                    .into()
            }
            Mood::TooLarge | Mood::TakesAndSaysTooLarge => {
                "HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n".into()
            }
        };
        let late = Duration::from_millis(100 + self.dice.roll(1500));
        (answer, if mood == Mood::TakesAndIsLate { late } else { Duration::ZERO })
    }

    fn words(&mut self, events: &[Json]) -> Json {
        if self.dice.one_in(4)
            && let Some(said) = &self.said
        {
            return said.clone();
        }
        let tickets =
            events.iter().filter(|event| event["subject"].as_str().unwrap().starts_with("tickets/"));
        let tickets: Vec<&Json> = tickets.map(|event| &event["data"]).take(WORDS_MAX).collect();
        let words: Vec<Json> = tickets.into_iter().map(|ticket| self.word(ticket)).collect();
        let said = json!({ "tickets": words, "more": "than was asked" });
        self.said = Some(said.clone());
        said
    }

    fn word(&mut self, ticket: &Json) -> Json {
        let (id, revision) = (ticket["id"].clone(), ticket["revision"].clone());
        let order = format!("WO-{}", id.as_str().unwrap());
        match self.dice.roll(8) {
            0 => json!({ "id": id, "revision": revision, "external_id": order, "state": "in_progress" }),
            1 => json!({ "id": id, "revision": revision, "external_id": "another", "state": "open" }),
            2 => json!({ "id": id, "revision": revision, "state": "resolved" }),
            3 => json!({ "id": id, "revision": revision, "state": "closed" }),
            4 => json!({ "id": id, "revision": 1, "state": "acknowledged" }),
            5 => json!({ "id": "nobody", "revision": 7, "state": ["lost"] }),
            _ => json!({ "id": id, "revision": revision, "external_id": order, "state": "acknowledged" }),
        }
    }
}

fn json_answer(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}
