//! Who shows a wrong token waits before the next try, longer each time. Pure: time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are known for a wrong token; the one whose pause is the oldest is forgotten for a new one.
const ADDRESSES_MAX: usize = 256;
/// After the first mistake; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// Without a mistake for so long, none is remembered.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// By whence they came.
#[derive(Debug, Default)]
pub struct Pauses(HashMap<IpAddr, Pause>);

#[derive(Debug)]
struct Pause {
    mistakes: u32,
    end: Instant,
}

impl Pauses {
    /// How long whoever comes from there has to wait still.
    pub fn left(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let left = self.0.get(&network(from))?.end.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    /// A wrong token; answers with the pause that begins.
    pub fn wrong(&mut self, from: IpAddr, now: Instant) -> Duration {
        self.0.retain(|_, pause| now.saturating_duration_since(pause.end) < FORGOTTEN_AFTER);
        let from = network(from);
        let oldest = self.0.iter().min_by_key(|(_, pause)| pause.end).map(|(from, _)| *from);
        if let Some(oldest) = oldest.filter(|_| self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&from))
        {
            self.0.remove(&oldest);
        }
        let pause = self.0.entry(from).or_insert(Pause { mistakes: 0, end: now });
        let lasts = PAUSE_FIRST.saturating_mul(1 << pause.mistakes.min(16)).min(PAUSE_MOST);
        pause.mistakes += 1;
        pause.end = now + lasts;
        lasts
    }

    pub fn right(&mut self, from: IpAddr) {
        self.0.remove(&network(from));
    }
}

/// Who has one address of IPv6 has the 2^64 beside it.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(from) => from.into(),
        IpAddr::V6(from) => std::net::Ipv6Addr::from_bits(from.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn pauses_grow_to_their_most_and_a_right_token_ends_them() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        let mut lasted = Vec::new();
        for _ in 0..8 {
            lasted.push(pauses.wrong(HERE, now).as_secs());
            now += pauses.left(HERE, now).unwrap();
            assert_eq!(pauses.left(HERE, now), None);
        }
        assert_eq!(lasted, [1, 2, 4, 8, 16, 32, 60, 60]);
        pauses.right(HERE);
        assert_eq!(pauses.wrong(HERE, now), PAUSE_FIRST);
    }

    #[test]
    fn a_quarter_of_an_hour_without_a_mistake_forgets_them() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        pauses.wrong(HERE, now);
        assert_eq!(pauses.wrong(HERE, now + Duration::from_secs(600)).as_secs(), 2);
        assert_eq!(pauses.wrong(HERE, now + Duration::from_secs(1600)).as_secs(), 1);
    }

    #[test]
    fn as_many_as_there_may_be_are_known_and_neighbours_in_ipv6_are_one() {
        let (mut pauses, now) = (Pauses::default(), Instant::now());
        for n in 0..5000u32 {
            pauses.wrong(IpAddr::V4(n.into()), now + Duration::from_millis(n.into()));
            assert!(pauses.0.len() <= ADDRESSES_MAX);
        }
        assert!(pauses.left(IpAddr::V4(4999.into()), now + Duration::from_secs(5)).is_some());
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:1::1"].map(|a| a.parse().unwrap());
        pauses.wrong(a, now);
        assert!(pauses.left(b, now).is_some() && pauses.left(c, now).is_none());
        assert!(pauses.left("::ffff:127.0.0.1".parse().unwrap(), now).is_none());
    }
}
