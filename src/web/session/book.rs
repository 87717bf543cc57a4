//! Who has logged in with which token. Pure: time is an argument. In memory only, and of what opens the door fingerprints
//! only: a restart ends all sessions.

use std::time::{Duration, Instant};

use crate::fingerprint::Fingerprint;
use crate::web::Token;

/// At one time. For a new one the oldest goes of the token that has most: whoever logs in again and again ends his own.
pub const SESSIONS_MAX: usize = 64;
pub const LASTS: Duration = Duration::from_secs(12 * 3600);

#[derive(Debug, Default)]
pub struct Book(Vec<Session>);

#[derive(Debug)]
struct Session {
    key: Fingerprint,
    token: Token,
    end: Instant,
}

impl Book {
    pub fn open(&mut self, key: Fingerprint, token: Token, now: Instant) {
        self.0.retain(|session| session.end > now);
        if self.0.len() >= SESSIONS_MAX {
            let of = |token: &Token| self.0.iter().filter(|session| session.token == *token).count();
            let most = self.0.iter().map(|session| of(&session.token)).max();
            let oldest = self.0.iter().position(|session| Some(of(&session.token)) == most);
            self.0.remove(oldest.unwrap_or_default());
        }
        self.0.push(Session { key, token, end: now + LASTS });
    }

    /// The token that a session was opened with, as long as that is one of these, and when the session ends.
    pub fn token(&self, key: Fingerprint, tokens: &[Token], now: Instant) -> Option<(Token, Instant)> {
        let session = self.0.iter().find(|session| session.key == key && session.end > now)?;
        tokens.iter().find(|token| **token == session.token).map(|token| (token.clone(), session.end))
    }

    pub fn end(&mut self, key: Fingerprint) {
        self.0.retain(|session| session.key != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Role;

    fn token(name: &str, secret: &str) -> Token {
        Token { name: name.into(), role: Role::Technician, token: Fingerprint::of(secret.as_bytes()) }
    }

    fn key(text: &str) -> Fingerprint {
        Fingerprint::of(text.as_bytes())
    }

    #[test]
    fn a_session_lasts_half_a_day_and_not_longer_than_its_token() {
        let (mut book, now, li) = (Book::default(), Instant::now(), token("li", "1"));
        book.open(key("key"), li.clone(), now);
        let tokens = [token("wang", "2"), li.clone()];
        let late = now + LASTS - Duration::from_secs(1);
        assert_eq!(book.token(key("key"), &tokens, late), Some((li.clone(), now + LASTS)));
        assert_eq!(book.token(key("key"), &tokens, now + LASTS), None);
        assert_eq!(book.token(key("ke"), &tokens, now), None);
        assert_eq!(book.token(key(""), &tokens, now), None);
        assert_eq!(book.token(key("key"), &tokens[..1], now), None, "the token left the configuration");
        assert_eq!(book.token(key("key"), &[token("li", "new")], now), None, "the token is another now");
        let viewer = Token { role: Role::Viewer, ..li };
        assert_eq!(book.token(key("key"), &[viewer], now), None, "its role is another now");
    }

    #[test]
    fn the_oldest_goes_for_one_too_many_and_an_ended_one_is_gone() {
        let (mut book, now, li) = (Book::default(), Instant::now(), token("li", "1"));
        for n in 0..=SESSIONS_MAX {
            book.open(key(&format!("key-{n}")), li.clone(), now);
        }
        let tokens = [li];
        let is_open = |book: &Book, name: &str| book.token(key(name), &tokens, now).is_some();
        assert!(!is_open(&book, "key-0") && is_open(&book, "key-1") && is_open(&book, "key-64"));
        book.end(key("key-1"));
        assert!(!is_open(&book, "key-1") && is_open(&book, "key-2"));
    }

    #[test]
    fn who_logs_in_again_and_again_ends_nobody_elses() {
        let (mut book, now, li, display) =
            (Book::default(), Instant::now(), token("li", "1"), token("display", "2"));
        book.open(key("li"), li.clone(), now);
        for n in 0..10 * SESSIONS_MAX {
            book.open(key(&n.to_string()), display.clone(), now);
        }
        assert!(book.token(key("li"), &[li], now).is_some());
        assert_eq!(book.0.len(), SESSIONS_MAX);
    }
}
