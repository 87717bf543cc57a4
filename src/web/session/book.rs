//! Who has logged in with which token. Pure: time is an argument. In memory only: a restart ends all sessions.

use std::time::{Duration, Instant};

use crate::web::Token;
use crate::web::gate::same;

/// At one time; the oldest goes for a new one.
pub const SESSIONS_MAX: usize = 64;
pub const LASTS: Duration = Duration::from_secs(12 * 3600);

#[derive(Debug, Default)]
pub struct Book(Vec<Session>);

#[derive(Debug)]
struct Session {
    key: String,
    token: Token,
    end: Instant,
}

impl Book {
    pub fn open(&mut self, key: String, token: Token, now: Instant) {
        self.0.retain(|session| session.end > now);
        if self.0.len() >= SESSIONS_MAX {
            self.0.remove(0);
        }
        self.0.push(Session { key, token, end: now + LASTS });
    }

    /// The token that a session was opened with, as long as that is one of these. All are compared, so that the time says
    /// nothing of which was nearly right.
    pub fn token(&self, key: &[u8], tokens: &[Token], now: Instant) -> Option<Token> {
        let mut found = None;
        for session in &self.0 {
            if same(session.key.as_bytes(), key) {
                found = Some(session);
            }
        }
        let session = found.filter(|session| session.end > now)?;
        tokens.iter().find(|token| **token == session.token).cloned()
    }

    pub fn end(&mut self, key: &[u8]) {
        self.0.retain(|session| !same(session.key.as_bytes(), key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::web::Role;

    fn token(name: &str, secret: &str) -> Token {
        Token { name: name.into(), role: Role::Technician, token: Secret::new(secret) }
    }

    #[test]
    fn a_session_lasts_half_a_day_and_not_longer_than_its_token() {
        let (mut book, now, li) = (Book::default(), Instant::now(), token("li", "1"));
        book.open("key".into(), li.clone(), now);
        let tokens = [token("wang", "2"), li.clone()];
        assert_eq!(book.token(b"key", &tokens, now + LASTS - Duration::from_secs(1)), Some(li.clone()));
        assert_eq!(book.token(b"key", &tokens, now + LASTS), None);
        assert_eq!(book.token(b"ke", &tokens, now), None);
        assert_eq!(book.token(b"", &tokens, now), None);
        assert_eq!(book.token(b"key", &tokens[..1], now), None, "the token left the configuration");
        assert_eq!(book.token(b"key", &[token("li", "new")], now), None, "the token is another now");
        let viewer = Token { role: Role::Viewer, ..li };
        assert_eq!(book.token(b"key", &[viewer], now), None, "its role is another now");
    }

    #[test]
    fn the_oldest_goes_for_one_too_many_and_an_ended_one_is_gone() {
        let (mut book, now, li) = (Book::default(), Instant::now(), token("li", "1"));
        for n in 0..=SESSIONS_MAX {
            book.open(format!("key-{n}"), li.clone(), now);
        }
        let tokens = [li];
        let is_open = |book: &Book, key: &str| book.token(key.as_bytes(), &tokens, now).is_some();
        assert!(!is_open(&book, "key-0") && is_open(&book, "key-1") && is_open(&book, "key-64"));
        book.end(b"key-1");
        assert!(!is_open(&book, "key-1") && is_open(&book, "key-2"));
    }
}
