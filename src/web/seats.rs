//! How many connections there may be at one time: in all, and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The next ones wait in the kernel's queue.
pub const ALL_MAX: usize = 128;
/// From one address. The next ones are closed, so that they take no seat from others.
pub const ONE_MAX: usize = 32;
/// From elsewhere, likewise: whoever sits before the box finds a seat, however many of them there are.
pub const ELSEWHERE_MAX: usize = 112;

/// Cheap to clone.
#[derive(Clone)]
pub struct Seats {
    all: Arc<Semaphore>,
    /// By address; who has none is not in it.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    elsewhere_max: usize,
    one_max: usize,
}

/// A connection's own, until it is dropped.
pub struct Seat {
    seats: Seats,
    of: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    pub fn new(all_max: usize, elsewhere_max: usize, one_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all_max)), taken: Arc::default(), elsewhere_max, one_max }
    }

    /// One of all, as soon as there is one; the semaphore is never closed.
    pub async fn free(&self) -> Option<OwnedSemaphorePermit> {
        self.all.clone().acquire_owned().await.ok()
    }

    /// For who came from there; `None`: they have as many as they may, or all from elsewhere together.
    pub fn sit(&self, permit: OwnedSemaphorePermit, address: SocketAddr) -> Option<Seat> {
        let of = neighbourhood(address.ip());
        if let Some(of) = of {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let own = taken.get(&of).copied().unwrap_or_default();
            if own >= self.one_max || taken.values().sum::<usize>() >= self.elsewhere_max {
                return None;
            }
            taken.insert(of, own + 1);
        }
        Some(Seat { seats: self.clone(), of, _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(of) = self.of else { return };
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&of) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&of);
            }
        }
    }
}

/// What counts as one address: of IPv6 a /64, which one machine has for itself. `None`: this machine, where a proxy may
/// stand for many.
fn neighbourhood(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => Some(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sit(seats: &Seats, from: &str) -> Option<Seat> {
        let permit = seats.free().await.unwrap();
        seats.sit(permit, SocketAddr::new(from.parse().unwrap(), 40_000))
    }

    #[tokio::test]
    async fn one_address_takes_its_share_and_leaves_the_rest_to_others() {
        let seats = Seats::new(8, 8, 2);
        let mut inside = Vec::new();
        for _ in 0..2 {
            inside.push(sit(&seats, "192.0.2.7").await.unwrap());
        }
        for _ in 0..200 {
            assert!(sit(&seats, "192.0.2.7").await.is_none());
            assert!(sit(&seats, "::ffff:192.0.2.7").await.is_none(), "the same in other words");
        }
        let other = sit(&seats, "192.0.2.8").await;
        assert!(other.is_some(), "another is let in");
        inside.pop();
        assert!(
            sit(&seats, "192.0.2.7").await.is_some(),
            "and so is the first, once one of its own has gone"
        );
    }

    #[tokio::test]
    async fn a_network_of_ipv6_is_one_address_and_this_machine_is_none() {
        let seats = Seats::new(8, 8, 1);
        let first = sit(&seats, "2001:db8:0:1::1").await;
        assert!(first.is_some());
        assert!(sit(&seats, "2001:db8:0:1:ffff::2").await.is_none());
        assert!(sit(&seats, "2001:db8:0:2::1").await.is_some());
        let own: Vec<_> =
            [sit(&seats, "127.0.0.1").await, sit(&seats, "127.0.0.1").await, sit(&seats, "::1").await]
                .into_iter()
                .flatten()
                .collect();
        assert_eq!(own.len(), 3);
        drop((first, own));
        assert!(seats.taken.lock().unwrap().is_empty(), "who has left is forgotten");
    }

    #[tokio::test]
    async fn however_many_come_from_elsewhere_this_machine_finds_a_seat() {
        let seats = Seats::new(8, 6, 2);
        let mut inside = Vec::new();
        for n in 0..200 {
            inside.extend(sit(&seats, &format!("192.0.2.{n}")).await);
        }
        assert_eq!(inside.len(), 6);
        let own = [sit(&seats, "127.0.0.1").await, sit(&seats, "::1").await];
        assert!(own.iter().all(Option::is_some));
        drop(own);
        inside.pop();
        assert!(sit(&seats, "192.0.2.250").await.is_some(), "the seat of who has left is free");
        assert_eq!(seats.taken.lock().unwrap().len(), 5, "who found none is not kept in mind");
    }

    #[tokio::test]
    async fn one_more_than_the_bound_waits_until_another_leaves() {
        let seats = Seats::new(1, 1, 1);
        let seat = sit(&seats, "127.0.0.1").await;
        let mut next = Box::pin(seats.free());
        assert!(futures_pending(&mut next), "the bound let one more in");
        drop(seat);
        assert!(next.await.is_some());
    }

    fn futures_pending(next: &mut std::pin::Pin<Box<impl Future>>) -> bool {
        let waker = std::task::Waker::noop();
        next.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_pending()
    }
}
