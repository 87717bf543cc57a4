//! Who shows wrong tokens waits, and while he does, a right one that could be guessed is turned away as well: nothing is learnt
//! by guessing. It does not concern a long one, which nobody guesses, nor a name that was rightly shown from the same address
//! before, so that one behind a common address cannot keep out the others. `pauses`: for how long.

mod pauses;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Token;
use super::rate::network;
use pauses::Pauses;

/// Wrong tokens of an address that are followed by no pause where a program shows them: one who sets it up may be wrong.
const FREE: u32 = 5;
/// Names that were rightly shown, with whence; who came least lately is forgotten for a new one.
const FAMILIAR_MAX: usize = 256;
/// Bytes of a token that nobody guesses, however often he may: `gatehouse token` makes 43.
const LONG: usize = 32;
/// Lines in the log a minute, whoever comes from wherever.
const LINES_MAX: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// How a token is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the page, by a person.
    Login,
    /// With a call, by a program.
    Call,
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Wrong,
    /// For so long still.
    Paused(Duration),
}

#[derive(Debug)]
pub struct Lockout {
    logins: Pauses,
    calls: Pauses,
    familiar: VecDeque<(IpAddr, Arc<str>)>,
    lines: (Option<Instant>, u32),
}

impl Default for Lockout {
    fn default() -> Self {
        Self { logins: Pauses::new(0), calls: Pauses::new(FREE), familiar: VecDeque::new(), lines: (None, 0) }
    }
}

impl Lockout {
    /// `token`: whose it is, where it is one of ours; of so many bytes.
    ///
    /// # Errors
    /// It is none, or it is too early to say.
    pub fn judge<'a>(
        &mut self,
        way: Way,
        from: IpAddr,
        token: Option<&'a Token>,
        bytes: usize,
        now: Instant,
    ) -> Result<&'a Token, Refusal> {
        if let Some(token) = token.filter(|token| self.is_familiar(from, &token.name)) {
            return Ok(token);
        }
        if let Some(token) = token.filter(|_| bytes >= LONG) {
            self.greet(from, token.name.clone());
            return Ok(token);
        }
        let pauses = if way == Way::Login { &mut self.logins } else { &mut self.calls };
        if let Some(left) = pauses.left(from, now) {
            return Err(Refusal::Paused(left));
        }
        if let Some(token) = token {
            pauses.right(from);
            self.greet(from, token.name.clone());
            return Ok(token);
        }
        let mistake = pauses.wrong(from, now);
        if mistake.is_news && self.may_say(now) {
            tracing::warn!(
                from = %network(from), mistakes = mistake.count, pause = ?mistake.pause,
                "wrong tokens are shown to the API from this address"
            );
        }
        Err(Refusal::Wrong)
    }

    /// Whether it was rightly shown from there before; then it is the latest that was.
    fn is_familiar(&mut self, from: IpAddr, name: &str) -> bool {
        let from = network(from);
        let found = self.familiar.iter().position(|known| known.0 == from && *known.1 == *name);
        let known = found.and_then(|at| self.familiar.remove(at));
        known.map(|known| self.familiar.push_front(known)).is_some()
    }

    fn greet(&mut self, from: IpAddr, name: Arc<str>) {
        self.familiar.truncate(FAMILIAR_MAX - 1);
        self.familiar.push_front((network(from), name));
    }

    fn may_say(&mut self, now: Instant) -> bool {
        let (since, said) = &mut self.lines;
        if since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            (*since, *said) = (Some(now), 0);
        }
        *said += 1;
        *said <= LINES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::web::Role;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn token(name: &str) -> Token {
        Token { name: name.into(), role: Role::Viewer, token: Fingerprint::of(b"x") }
    }

    fn guessed(lockout: &mut Lockout, way: Way, times: u32, now: Instant) -> Refusal {
        (0..times).map(|_| lockout.judge(way, HERE, None, 1, now).unwrap_err()).last().unwrap()
    }

    #[test]
    fn a_program_may_be_wrong_some_times_and_a_guesser_learns_nothing() {
        let (mut lockout, now, li) = (Lockout::default(), Instant::now(), token("li"));
        assert_eq!(guessed(&mut lockout, Way::Call, FREE, now), Refusal::Wrong);
        assert_eq!(guessed(&mut lockout, Way::Call, 1, now), Refusal::Wrong);
        let paused = Err(Refusal::Paused(Duration::from_secs(1)));
        assert_eq!(lockout.judge(Way::Call, HERE, None, 1, now), paused);
        assert_eq!(
            lockout.judge(Way::Call, HERE, Some(&li), 1, now),
            paused,
            "the right one is told from no other"
        );
        assert_eq!(
            lockout.judge(Way::Login, HERE, Some(&li), 1, now),
            Ok(&li),
            "a person on the page is another matter"
        );
    }

    #[test]
    fn who_is_known_there_is_not_kept_out_by_others_mistakes() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        let (central, li) = (token("central"), token("li"));
        assert!(lockout.judge(Way::Call, HERE, Some(&central), 1, now).is_ok());
        guessed(&mut lockout, Way::Call, 20, now);
        let renewed = Token { token: Fingerprint::of(b"renewed"), ..central.clone() };
        assert!(
            lockout.judge(Way::Call, HERE, Some(&renewed), 1, now).is_ok(),
            "by its name, whatever its token"
        );
        assert!(lockout.judge(Way::Call, HERE, Some(&li), 1, now).is_err());
        let elsewhere = "192.0.2.1".parse().unwrap();
        assert!(lockout.judge(Way::Call, elsewhere, Some(&li), 1, now).is_ok());
        assert!(lockout.judge(Way::Call, HERE, None, 1, now).is_err(), "and its coming ends no pause");
    }

    #[test]
    fn a_long_token_is_let_in_whoever_guesses_beside_it_and_ends_no_pause() {
        let (mut lockout, now, central) = (Lockout::default(), Instant::now(), token("central"));
        guessed(&mut lockout, Way::Call, 20, now);
        assert!(lockout.judge(Way::Call, HERE, Some(&central), LONG - 1, now).is_err());
        for _ in 0..2 {
            assert!(lockout.judge(Way::Call, HERE, Some(&central), LONG, now).is_ok());
            let guess = lockout.judge(Way::Call, HERE, None, LONG, now);
            assert!(matches!(guess, Err(Refusal::Paused(_))), "{guess:?}");
        }
    }

    #[test]
    fn no_more_are_known_than_there_may_be_and_who_comes_stays() {
        let (mut lockout, now, central) = (Lockout::default(), Instant::now(), token("central"));
        for n in 0..5000u32 {
            let _ = lockout.judge(Way::Call, IpAddr::V4(n.into()), Some(&token("li")), 1, now);
            let _ = lockout.judge(Way::Call, HERE, Some(&central), 1, now);
        }
        assert_eq!(lockout.familiar.len(), FAMILIAR_MAX);
        guessed(&mut lockout, Way::Call, 20, now);
        assert!(lockout.judge(Way::Call, HERE, Some(&central), 1, now).is_ok());
    }

    #[test]
    fn a_flood_from_everywhere_is_some_lines_a_minute() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        let said = |lockout: &mut Lockout, now| (0..1000).filter(|_| lockout.may_say(now)).count();
        assert_eq!(said(&mut lockout, now), 10);
        assert_eq!(said(&mut lockout, now + MINUTE), 10);
    }
}
