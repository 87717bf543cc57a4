//! Who shows a wrong token waits before the next try, longer each time. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::web::rate::network;

/// Addresses that are known for a wrong token; the one whose pause is the oldest is forgotten for a new one.
const ADDRESSES_MAX: usize = 256;
/// After the first mistake; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// Without a mistake for so long, none is remembered.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// Somebody who goes on is told of as often at the most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// By whence they came.
#[derive(Debug)]
pub struct Pauses {
    /// So many mistakes are followed by no pause.
    free: u32,
    by: HashMap<IpAddr, Pause>,
}

#[derive(Debug)]
struct Pause {
    mistakes: u32,
    end: Instant,
    told: Option<Instant>,
}

/// What follows a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mistake {
    pub pause: Duration,
    /// Of late, from there.
    pub count: u32,
    /// It was not told lately that there are any from there.
    pub is_news: bool,
}

impl Pauses {
    pub fn new(free: u32) -> Self {
        Self { free, by: HashMap::new() }
    }

    /// How long whoever comes from there has to wait still.
    pub fn left(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let left = self.by.get(&network(from))?.end.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    /// A wrong token.
    pub fn wrong(&mut self, from: IpAddr, now: Instant) -> Mistake {
        self.by.retain(|_, pause| now.saturating_duration_since(pause.end) < FORGOTTEN_AFTER);
        let from = network(from);
        let oldest = self.by.iter().min_by_key(|(_, pause)| pause.end).map(|(from, _)| *from);
        if let Some(oldest) =
            oldest.filter(|_| self.by.len() >= ADDRESSES_MAX && !self.by.contains_key(&from))
        {
            self.by.remove(&oldest);
        }
        let pause = self.by.entry(from).or_insert(Pause { mistakes: 0, end: now, told: None });
        let lasts = match pause.mistakes.checked_sub(self.free) {
            Some(beyond) => PAUSE_FIRST.saturating_mul(1 << beyond.min(16)).min(PAUSE_MOST),
            None => Duration::ZERO,
        };
        pause.mistakes = pause.mistakes.saturating_add(1);
        pause.end = now + lasts;
        let is_news = pause.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if is_news {
            pause.told = Some(now);
        }
        Mistake { pause: lasts, count: pause.mistakes, is_news }
    }

    pub fn right(&mut self, from: IpAddr) {
        self.by.remove(&network(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn pauses_grow_to_their_most_and_a_right_token_ends_them() {
        let (mut pauses, mut now) = (Pauses::new(0), Instant::now());
        let mut lasted = Vec::new();
        for _ in 0..8 {
            lasted.push(pauses.wrong(HERE, now).pause.as_secs());
            now += pauses.left(HERE, now).unwrap();
            assert_eq!(pauses.left(HERE, now), None);
        }
        assert_eq!(lasted, [1, 2, 4, 8, 16, 32, 60, 60]);
        pauses.right(HERE);
        assert_eq!(pauses.wrong(HERE, now).pause, PAUSE_FIRST);
    }

    #[test]
    fn a_quarter_of_an_hour_without_a_mistake_forgets_them() {
        let (mut pauses, now) = (Pauses::new(0), Instant::now());
        pauses.wrong(HERE, now);
        assert_eq!(pauses.wrong(HERE, now + Duration::from_secs(600)).pause.as_secs(), 2);
        assert_eq!(pauses.wrong(HERE, now + Duration::from_secs(1600)).pause.as_secs(), 1);
    }

    #[test]
    fn as_many_as_there_may_be_are_known_and_neighbours_in_ipv6_are_one() {
        let (mut pauses, now) = (Pauses::new(0), Instant::now());
        for n in 0..5000u32 {
            pauses.wrong(IpAddr::V4(n.into()), now + Duration::from_millis(n.into()));
            assert!(pauses.by.len() <= ADDRESSES_MAX);
        }
        assert!(pauses.left(IpAddr::V4(4999.into()), now + Duration::from_secs(5)).is_some());
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:1::1"].map(|a| a.parse().unwrap());
        pauses.wrong(a, now);
        assert!(pauses.left(b, now).is_some() && pauses.left(c, now).is_none());
        assert!(pauses.left("::ffff:127.0.0.1".parse().unwrap(), now).is_none());
    }

    #[test]
    fn the_first_ones_may_be_free_and_one_who_goes_on_is_told_of_once_a_minute() {
        let (mut pauses, mut now) = (Pauses::new(2), Instant::now());
        let mut said = Vec::new();
        for _ in 0..8 {
            let mistake = pauses.wrong(HERE, now);
            said.push((mistake.pause.as_secs(), mistake.is_news));
            now += mistake.pause.max(Duration::from_millis(1));
        }
        let news: Vec<bool> = said.iter().map(|said| said.1).collect();
        assert_eq!(said.iter().map(|said| said.0).collect::<Vec<_>>(), [0, 0, 1, 2, 4, 8, 16, 32]);
        assert_eq!(news, [true, false, false, false, false, false, false, false]);
        assert!(pauses.wrong(HERE, now).is_news, "a minute later");
    }
}
