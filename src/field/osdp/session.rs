//! What stands between us and one reader: the sequence number, and the secure channel where it has a key. Pure.
//!
//! The number is what keeps each card single: a question is repeated under the same number until its answer is here, the
//! reader then repeats its answer instead of taking its next card, and an answer under another number is not looked at.

use std::io;
use std::time::Duration;

use super::frame::{self, Frame};
use super::reply::{self, Reply};
use super::secure::{self, Channel, Key};
use crate::fault::Fault;
use crate::field::stumble;
use crate::secret::Secret;

#[derive(Debug)]
pub struct Session {
    address: u8,
    lock: Lock,
    /// Of the question that is to be answered next.
    sequence: u8,
    state: State,
}

#[derive(Debug)]
enum Lock {
    Clear,
    Key(Key),
    /// What is configured is no key; nothing is said in clear for that.
    Unusable,
}

#[derive(Debug)]
enum State {
    Closed,
    Clear,
    Challenged([u8; 8]),
    Proven(secure::Session),
    Secure(Channel),
}

#[derive(Debug)]
pub enum Answer {
    Said(Reply),
    /// The channel is not open yet: this is to be sent next.
    Next(Vec<u8>),
    /// The secure channel is open.
    Open,
}

/// What a frame is worth.
#[derive(Debug)]
pub enum Verdict {
    Answer(Answer),
    /// It wants the same question once more, later.
    Again,
    /// No answer to what was asked: late, forged, or not signed.
    Nothing,
    Trouble(Trouble),
}

/// Why there is no answer. For people.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("it says that it is busy, again and again")]
    Busy,
    #[error("its key is not the one under `key`: the secure channel does not open")]
    OtherKey,
    #[error("it has no key of its own yet and offers only the default one: load the key under `key` into it")]
    NoKey,
    #[error("`key` is not 32 hexadecimal digits")]
    BadKey,
    #[error("it refuses: {}", reply::refusal(*.0))]
    Refused(u8),
    #[error("it gave up the secure channel")]
    Lost,
    #[error(transparent)]
    Broken(#[from] io::Error),
    #[error("{}", stumble::why(.0))]
    Fault(Fault),
}

// Types of security blocks: question and answer, in this order.
const CHALLENGE: u8 = 0x11;
const CHALLENGED: u8 = 0x12;
const PROVE: u8 = 0x13;
const PROVEN: u8 = 0x14;
const SIGNED: u8 = 0x15;
const ENCRYPTED: u8 = 0x17;
const ENCRYPTED_ANSWER: u8 = 0x18;
/// The reader's own key, not the default one of all readers.
const OWN_KEY: u8 = 1;

impl Session {
    pub fn new(address: u8, key: Option<&Secret>) -> Self {
        let lock = match key {
            None => Lock::Clear,
            Some(key) => Key::parse(key.reveal()).map_or(Lock::Unusable, Lock::Key),
        };
        Self { address, lock, sequence: 0, state: State::Closed }
    }

    pub fn address(&self) -> u8 {
        self.address
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Clear | State::Secure(_))
    }

    /// Whether it may be asked without its key.
    pub fn is_keyed(&self) -> bool {
        !matches!(self.lock, Lock::Clear)
    }

    pub fn close(&mut self) {
        self.state = State::Closed;
        self.sequence = 0;
    }

    /// Begins anew. With a key, what is to be sent first; without one, questions may be put at once.
    pub fn begin(&mut self, random: [u8; 8]) -> Result<Option<Vec<u8>>, Trouble> {
        self.close();
        match self.lock {
            Lock::Unusable => Err(Trouble::BadKey),
            Lock::Clear => {
                self.state = State::Clear;
                Ok(None)
            }
            Lock::Key(_) => {
                self.state = State::Challenged(random);
                Ok(Some(self.write(Some((CHALLENGE, &[OWN_KEY])), reply::CHALLENGE, &random)))
            }
        }
    }

    /// A question, signed and encrypted where there is a channel.
    pub fn ask(&mut self, code: u8, data: &[u8]) -> Vec<u8> {
        let at = (self.address, self.sequence);
        let State::Secure(channel) = &mut self.state else { return self.write(None, code, data) };
        let (kind, data) = match data {
            [] => (SIGNED, Vec::new()),
            data => (ENCRYPTED, channel.encrypt(data)),
        };
        frame::write(at, Some((kind, &[])), code, &data, Some(|bytes: &[u8]| channel.sign(bytes)))
    }

    /// What a frame of this reader answers to the last question.
    pub fn judge(&mut self, frame: &Frame<'_>) -> Verdict {
        // A busy reader may answer under number 0.
        let busy = frame.code == reply::BUSY && frame.mac.is_none();
        if busy && (frame.sequence == 0 || frame.sequence == self.sequence) {
            return Verdict::Again;
        }
        if frame.sequence != self.sequence {
            return Verdict::Nothing;
        }
        match &mut self.state {
            State::Closed => Verdict::Nothing,
            State::Clear if frame.security.is_some() => Verdict::Nothing,
            State::Clear => self.said(frame.code, frame.data),
            State::Challenged(_) | State::Proven(_) => self.opening(frame),
            State::Secure(_) => self.signed(frame),
        }
    }

    fn said(&mut self, code: u8, data: &[u8]) -> Verdict {
        let Some(reply) = Reply::read(code, data) else { return Verdict::Nothing };
        if let Reply::Nak(1) = reply {
            return Verdict::Again;
        }
        self.sequence = self.sequence % 3 + 1;
        Verdict::Answer(Answer::Said(reply))
    }

    fn signed(&mut self, frame: &Frame<'_>) -> Verdict {
        let State::Secure(channel) = &mut self.state else { return Verdict::Nothing };
        let Some(mac) = frame.mac else {
            // A reader that lost the channel has only clear words to say so. Whoever forges this gains a new beginning.
            return if frame.code == reply::NAK { Verdict::Trouble(Trouble::Lost) } else { Verdict::Nothing };
        };
        let data = match frame.security {
            Some((ENCRYPTED_ANSWER, _)) => channel.decrypt(frame.data),
            _ => frame.data.is_empty().then(Vec::new),
        };
        if !channel.check(frame.signed, mac) {
            return Verdict::Nothing;
        }
        match data {
            Some(data) => self.said(frame.code, &data),
            None if frame.code == reply::NAK => self.said(frame.code, frame.data),
            None => Verdict::Trouble(Trouble::Lost),
        }
    }

    fn opening(&mut self, frame: &Frame<'_>) -> Verdict {
        if frame.code == reply::NAK {
            let why = frame.data.first().copied().unwrap_or(0);
            return if why == 1 { Verdict::Again } else { Verdict::Trouble(Trouble::Refused(why)) };
        }
        let next = match (&self.state, &self.lock, frame.code, frame.security) {
            (State::Challenged(ours), Lock::Key(key), reply::CHALLENGED, Some((CHALLENGED, block))) => {
                challenged(*ours, key, block, frame.data)
            }
            (State::Proven(session), _, reply::PROVEN, Some((PROVEN, block))) => {
                let first = if block == [OWN_KEY] { session.clone().open(frame.data) } else { None };
                first.map(State::Secure).ok_or(Trouble::OtherKey)
            }
            _ => return Verdict::Nothing,
        };
        match next {
            Err(trouble) => Verdict::Trouble(trouble),
            Ok(state) => {
                self.sequence = self.sequence % 3 + 1;
                self.state = state;
                Verdict::Answer(self.next_step())
            }
        }
    }

    fn next_step(&self) -> Answer {
        match &self.state {
            State::Proven(session) => {
                Answer::Next(self.write(Some((PROVE, &[OWN_KEY])), reply::PROVE, session.our_proof()))
            }
            _ => Answer::Open,
        }
    }

    fn write(&self, security: Option<(u8, &[u8])>, code: u8, data: &[u8]) -> Vec<u8> {
        frame::write((self.address, self.sequence), security, code, data, None::<fn(&[u8]) -> [u8; 4]>)
    }
}

/// The reader's identity (8 bytes), its random number (8) and its proof (16).
fn challenged(ours: [u8; 8], key: &Key, block: &[u8], data: &[u8]) -> Result<State, Trouble> {
    if block == [0] {
        return Err(Trouble::NoKey);
    }
    let theirs = data.get(8..16).and_then(|random| <[u8; 8]>::try_from(random).ok());
    let session = theirs.map(|theirs| secure::Session::new(key, ours, theirs));
    match session.filter(|session| data.get(16..).is_some_and(|proof| session.proven(proof))) {
        Some(session) => Ok(State::Proven(session)),
        None => Err(Trouble::OtherKey),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::fuzz::flood;

    fn heard(sequence: u8, code: u8, data: &[u8]) -> Frame<'_> {
        Frame { sequence, security: None, code, data, mac: None, signed: &[] }
    }

    #[test]
    fn a_reply_that_comes_twice_counts_once() {
        let mut session = Session::new(5, None);
        assert!(session.begin([0; 8]).unwrap().is_none());
        let card = [1, 1, 26, 0, 0x12, 0x34, 0x56, 0x80];
        for sequence in [0, 1, 2, 3, 1, 2] {
            session.ask(reply::POLL, &[]);
            let first = session.judge(&heard(sequence, 0x50, &card));
            assert!(matches!(first, Verdict::Answer(Answer::Said(Reply::Card(_)))), "{first:?}");
            assert!(matches!(session.judge(&heard(sequence, 0x50, &card)), Verdict::Nothing));
        }
    }

    #[test]
    fn a_damaged_or_postponed_question_is_put_again_under_its_number() {
        let mut session = Session::new(5, None);
        let _ = session.begin([0; 8]);
        let asked = session.ask(reply::POLL, &[]);
        assert!(matches!(session.judge(&heard(0, reply::NAK, &[1])), Verdict::Again));
        assert!(matches!(session.judge(&heard(0, reply::BUSY, &[])), Verdict::Again));
        assert_eq!(session.ask(reply::POLL, &[]), asked);
    }

    #[test]
    fn who_has_a_key_is_not_believed_in_clear() {
        let key = Secret::new("000102030405060708090a0b0c0d0e0f");
        let mut session = Session::new(5, Some(&key));
        let first = session.begin([7; 8]).unwrap().unwrap();
        assert_eq!(first[6..11], [3, CHALLENGE, OWN_KEY, reply::CHALLENGE, 7]);
        assert!(matches!(session.judge(&heard(0, 0x40, &[])), Verdict::Nothing));
        assert!(matches!(session.judge(&heard(0, reply::NAK, &[5])), Verdict::Trouble(Trouble::Refused(5))));
        let mut data = [0; 32];
        fn offers<'a>(block: &'a [u8], data: &'a [u8]) -> Frame<'a> {
            Frame { security: Some((CHALLENGED, block)), ..heard(0, reply::CHALLENGED, data) }
        }
        assert!(matches!(session.judge(&offers(&[0], &data)), Verdict::Trouble(Trouble::NoKey)));
        data[20] = 9;
        assert!(matches!(session.judge(&offers(&[1], &data)), Verdict::Trouble(Trouble::OtherKey)));
        assert!(matches!(Session::new(5, Some(&Secret::new("short"))).begin([0; 8]), Err(Trouble::BadKey)));
    }

    #[test]
    fn fuzz_osdp_session() {
        let key = Secret::new("000102030405060708090a0b0c0d0e0f");
        let mut session = Session::new(5, Some(&key));
        let reader = |security, code, data: &[u8]| {
            let mut frame = frame::write((0x85, 0), security, code, data, None::<fn(&[u8]) -> [u8; 4]>);
            frame.remove(0);
            frame
        };
        let frames =
            [reader(Some((CHALLENGED, &[1])), reply::CHALLENGED, &[3; 32]), reader(None, reply::NAK, &[4])];
        flood("osdp session", &frames, |input| {
            let _ = session.begin([1; 8]);
            if let Some((frame, _)) = frame::find(input, 5) {
                assert!(!matches!(session.judge(&frame), Verdict::Answer(_)), "nobody here has the key");
            }
        });
    }
}
