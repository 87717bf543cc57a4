//! How many requests one address may make: a bucket for each, that fills as time goes. Pure: time is an argument.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Requests a second, where the configuration does not say.
pub const RATE_DEFAULT: u32 = 200;
/// Likewise of this machine, on which a proxy may stand for many.
const RATE_HERE: u32 = 2000;
/// So many seconds' worth may come at once.
const BURST_SECONDS: u32 = 5;
/// Addresses that are known at one time; who was silent longest is forgotten for a new one.
const ADDRESSES_MAX: usize = 1024;

/// By whence they came.
#[derive(Debug, Default)]
pub struct Buckets(HashMap<IpAddr, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Requests a second of an address; `set` is what the configuration says.
pub fn rate(set: Option<u32>, from: IpAddr) -> u32 {
    let here = from.to_canonical().is_loopback();
    set.unwrap_or(if here { RATE_HERE } else { RATE_DEFAULT })
}

impl Buckets {
    /// One request more.
    ///
    /// # Errors
    /// It is one too many: how long until the next may come.
    pub fn take(&mut self, rate: u32, from: IpAddr, now: Instant) -> Result<(), Duration> {
        let (from, rate, most) = (network(from), f64::from(rate), f64::from(rate * BURST_SECONDS));
        self.make_room(from);
        let bucket = self.0.entry(from).or_insert(Bucket { left: most, at: now });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * rate).min(most);
        bucket.at = bucket.at.max(now);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / rate));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn make_room(&mut self, from: IpAddr) {
        if self.0.len() < ADDRESSES_MAX || self.0.contains_key(&from) {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, bucket)| bucket.at).map(|(from, _)| *from);
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

/// Who has one address of IPv6 has the 2^64 beside it.
pub fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(from) => from.into(),
        IpAddr::V6(from) => Ipv6Addr::from_bits(from.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn taken(buckets: &mut Buckets, of: u32, now: Instant) -> usize {
        (0..of).filter(|_| buckets.take(10, HERE, now).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        assert_eq!(taken(&mut buckets, 100, now), 50);
        let wait = buckets.take(10, HERE, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert!(buckets.take(10, HERE, now + wait).is_ok());
        assert_eq!(taken(&mut buckets, 100, now + Duration::from_secs(1)), 9);
        assert_eq!(
            taken(&mut buckets, 100, now + Duration::from_secs(3600)),
            50,
            "no more than a burst is saved"
        );
        assert_eq!(taken(&mut buckets, 1, now), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn each_address_has_its_own_and_neighbours_in_ipv6_have_one() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        taken(&mut buckets, 50, now);
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:1::1"].map(|a| a.parse().unwrap());
        for _ in 0..5 {
            assert!(buckets.take(1, a, now).is_ok());
        }
        assert!(buckets.take(1, b, now).is_err() && buckets.take(1, c, now).is_ok());
        assert!(buckets.take(10, "::ffff:127.0.0.1".parse().unwrap(), now).is_err());
    }

    #[test]
    fn as_many_as_there_may_be_are_known_and_the_silent_go_first() {
        let (mut buckets, now) = (Buckets::default(), Instant::now());
        for n in 0..10_000u32 {
            let now = now + Duration::from_millis(n.into());
            let _ = buckets.take(1, IpAddr::V4(n.into()), now);
            let _ = buckets.take(1, HERE, now);
            assert!(buckets.0.len() <= ADDRESSES_MAX);
        }
        assert!(
            buckets.take(1, HERE, now + Duration::from_millis(9_999)).is_err(),
            "who goes on is not forgotten"
        );
    }

    #[test]
    fn this_machine_may_more_unless_the_configuration_says_how_much() {
        let there = "192.0.2.7".parse().unwrap();
        assert_eq!((rate(None, there), rate(None, HERE)), (RATE_DEFAULT, RATE_HERE));
        assert_eq!((rate(Some(7), there), rate(Some(7), HERE)), (7, 7));
    }
}
