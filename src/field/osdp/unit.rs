//! One reader as we know it: when it is asked next, what it said last, and what its replies amount to. Time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::Reader;
use super::card::Keys;
use super::reply::Reply;
use super::session::Session;
use crate::backoff::Backoff;
use crate::happening::{Happening, Kind};
use crate::pseudonym::Pseudonyms;
use crate::reading::{Batch, Life, Millis, Reading, Reason, Value};

#[derive(Debug)]
pub struct Unit {
    pub reader: Reader,
    pub session: Session,
    pub due: Instant,
    /// When its inputs and its state are asked for next, changed or not.
    pub status_due: Instant,
    /// A question without an answer. It stands as it was sent: put once more, the reader repeats what may have been lost.
    pub open: Option<Vec<u8>>,
    keys: Keys,
    tampered: bool,
    misses: u32,
    pauses: Backoff,
}

/// So many questions in a row without an answer, and it is offline. Each was put three times.
const MISSES_OFFLINE: u32 = 3;
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// A reader that is gone is looked for at least so often; doors hang on it.
const PAUSE_MOST: Duration = Duration::from_secs(10);
/// Readers that hear nothing for 8 s give up their secure channel.
const POLL_MOST: Duration = Duration::from_secs(4);
/// What changes is told at once; what does not is shown to be true so often.
pub const STATUS_EVERY: Duration = Duration::from_secs(10);

impl Unit {
    pub fn new(reader: Reader, now: Instant) -> Self {
        Self {
            session: Session::new(reader.address, reader.key.as_ref()),
            reader,
            due: now,
            status_due: now,
            open: None,
            keys: Keys::default(),
            tampered: false,
            misses: 0,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_MOST),
        }
    }

    pub fn is_offline(&self) -> bool {
        self.misses >= MISSES_OFFLINE
    }

    /// It answered. Who had something to say is asked again at once: there may be more.
    pub fn answered(&mut self, more: bool, now: Instant) {
        self.misses = 0;
        self.pauses.reset();
        self.due = if more { now } else { now + self.reader.poll.min(POLL_MOST) };
    }

    /// It did not. `hopeless`: another try will not help, somebody has to do something.
    pub fn missed(&mut self, why: String, hopeless: bool, (now, at): (Instant, Millis)) -> Batch {
        self.misses = if hopeless { MISSES_OFFLINE } else { self.misses.saturating_add(1) };
        self.due = now + self.pauses.pause();
        self.status_due = now;
        let life = self.is_offline().then_some(Life::Offline { why });
        if self.is_offline() {
            self.session.close();
            self.open = None;
        }
        Batch::new(self.reader.id, at, self.bad(Reason::NoAnswer, at), life)
    }

    /// The wire is down.
    pub fn cut_off(&mut self, why: String, (now, at): (Instant, Millis)) -> Batch {
        self.status_due = now;
        let life = Some(Life::Offline { why });
        Batch { wire: Some(false), ..Batch::new(self.reader.id, at, self.bad(Reason::WireDown, at), life) }
    }

    fn bad(&self, reason: Reason, at: Millis) -> Vec<Reading> {
        let states = [self.reader.tamper, self.reader.power].into_iter().flatten();
        states
            .chain(self.reader.inputs.iter().copied())
            .map(|point| Reading::bad(point, at, reason))
            .collect()
    }

    /// What a reply tells, as far as it is worth telling.
    pub fn tell(
        &mut self,
        reply: &Reply,
        names: Option<&Pseudonyms>,
        (now, at): (Instant, Millis),
    ) -> Option<Batch> {
        let mut batch = Batch::new(self.reader.id, at, Vec::new(), Some(Life::Online));
        match reply {
            Reply::Card(card) => {
                let mut card_read = Happening::new(self.reader.id, at, Kind::Card);
                card_read.who = names.map(|names| names.card(&card.number()));
                batch.happenings.push(card_read);
            }
            Reply::Keys(keys) => {
                let codes = self.keys.press(keys, now);
                batch.happenings.extend(codes.iter().map(|code| self.code(code, names, at)));
            }
            Reply::Local { tamper, power_failed } => {
                batch.readings = self.local(*tamper, *power_failed, at);
                batch.happenings.extend(self.tamper(*tamper, at));
            }
            Reply::Inputs(states) => batch.readings = self.inputs(states, at),
            _ => {}
        }
        (!batch.readings.is_empty() || !batch.happenings.is_empty()).then_some(batch)
    }

    /// A code that nobody goes on typing.
    pub fn paused(&mut self, names: Option<&Pseudonyms>, (now, at): (Instant, Millis)) -> Option<Batch> {
        let code = self.keys.paused(now)?;
        let mut batch = Batch::new(self.reader.id, at, Vec::new(), None);
        batch.happenings.push(self.code(&code, names, at));
        Some(batch)
    }

    /// The reader cannot tell this state.
    pub fn refused(&self, inputs: bool, at: Millis) -> Vec<Reading> {
        let states = [self.reader.tamper, self.reader.power].into_iter().flatten().filter(|_| !inputs);
        let inputs = self.reader.inputs.iter().copied().filter(|_| inputs);
        states.chain(inputs).map(|point| Reading::bad(point, at, Reason::DeviceError)).collect()
    }

    fn code(&self, code: &str, names: Option<&Pseudonyms>, at: Millis) -> Happening {
        let mut typed = Happening::new(self.reader.id, at, Kind::Keypad);
        typed.who = names.map(|names| names.code(code));
        typed
    }

    fn local(&self, tamper: bool, power_failed: bool, at: Millis) -> Vec<Reading> {
        let text = |word: &str| Value::Text(word.into());
        let tamper = text(if tamper { "yes" } else { "no" });
        let power = text(if power_failed { "failed" } else { "ok" });
        let states = [(self.reader.tamper, tamper), (self.reader.power, power)];
        states.into_iter().filter_map(|(point, value)| Some(Reading::good(point?, at, value))).collect()
    }

    /// Taken off its wall since we last knew; also where that was before our first look.
    fn tamper(&mut self, tamper: bool, at: Millis) -> Option<Happening> {
        let began = tamper && !self.tampered;
        self.tampered = tamper;
        began.then(|| Happening {
            point: self.reader.tamper,
            ..Happening::new(self.reader.id, at, Kind::Tamper)
        })
    }

    /// Inputs that the reader does not have are bad.
    fn inputs(&self, states: &[bool], at: Millis) -> Vec<Reading> {
        let reading = |(nth, &point)| match states.get(nth) {
            Some(on) => Reading::good(point, at, Value::Text(if *on { "on" } else { "off" }.into())),
            None => Reading::bad(point, at, Reason::DeviceError),
        };
        self.reader.inputs.iter().enumerate().map(reading).collect()
    }
}
