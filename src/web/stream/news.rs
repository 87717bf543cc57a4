//! The journal for all who listen: what one has read is there for the others.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::event::Kinds;
use crate::store;
use crate::web::Desk;
use crate::web::problem::Problem;

/// Events kept; who is further behind reads by themselves.
const KEPT_MAX: usize = 128;
/// Events handed on in one go.
pub const AT_ONCE_MAX: usize = 32;

/// A number and the event with it.
pub type Item = (u64, Arc<str>);

#[derive(Debug, Default)]
pub struct News(Mutex<Ring>);

/// All events after `from` and up to `to`, in order.
#[derive(Debug, Default)]
struct Ring {
    from: u64,
    to: u64,
    items: VecDeque<Item>,
}

/// What comes after a place.
#[derive(Debug)]
pub struct Slice {
    pub items: Vec<Item>,
    /// Go on from there.
    pub next: u64,
}

/// Why there is none.
#[derive(Debug)]
pub enum Missing {
    /// It is no longer kept.
    Gone,
    /// The store did not give it.
    Unread,
}

impl News {
    pub async fn after(&self, desk: &Arc<Desk>, after: u64) -> Result<Slice, Missing> {
        if after >= *desk.rooms.head.borrow() {
            return Ok(Slice { items: Vec::new(), next: after });
        }
        let mut ring = self.0.lock().await;
        if after < ring.from {
            drop(ring);
            return read(desk, after).await;
        }
        if let Some(slice) = ring.slice(after) {
            return Ok(slice);
        }
        let slice = read(desk, after).await?;
        ring.take(after, &slice);
        Ok(slice)
    }
}

impl Ring {
    /// `None`: nobody has read so far yet.
    fn slice(&self, after: u64) -> Option<Slice> {
        if after >= self.to {
            return None;
        }
        let begin = self.items.partition_point(|(seq, _)| *seq <= after);
        let items: Vec<Item> = self.items.iter().skip(begin).take(AT_ONCE_MAX).cloned().collect();
        let all = begin + items.len() == self.items.len();
        let next = if all { self.to } else { items.last().map_or(self.to, |(seq, _)| *seq) };
        Some(Slice { items, next })
    }

    /// What was read after a place. Where that is beyond the end, the ring begins anew.
    fn take(&mut self, after: u64, slice: &Slice) {
        if after != self.to {
            *self = Ring { from: after, to: after, items: VecDeque::new() };
        }
        self.items.extend(slice.items.iter().cloned());
        self.to = slice.next;
        while self.items.len() > KEPT_MAX {
            self.from = self.items.pop_front().map_or(self.to, |(seq, _)| seq);
        }
    }
}

async fn read(desk: &Arc<Desk>, after: u64) -> Result<Slice, Missing> {
    let looked = desk.look(move |desk| match desk.rooms.view.events(after, AT_ONCE_MAX, &Kinds::default()) {
        Ok(slice) => Ok(Ok(slice)),
        Err(store::Error::Gone { .. }) => Ok(Err(Missing::Gone)),
        Err(error) => Err(Problem::of_store(&error, |seq| desk.cursor(seq))),
    });
    // What is wrong with the store is told by who keeps it.
    let slice = looked.await.map_err(|_| Missing::Unread)??;
    let items = slice.events.into_iter().map(|event| (event.seq, event.json.into())).collect();
    Ok(Slice { items, next: slice.next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(numbers: std::ops::RangeInclusive<u64>) -> Slice {
        let next = *numbers.end();
        Slice { items: numbers.map(|seq| (seq, seq.to_string().into())).collect(), next }
    }

    #[test]
    fn what_one_has_read_is_there_for_the_others_within_the_bound() {
        let mut ring = Ring::default();
        assert!(ring.slice(0).is_none());
        ring.take(0, &read(1..=20));
        ring.take(20, &read(21..=200));
        assert_eq!((ring.from, ring.to, ring.items.len()), (72, 200, KEPT_MAX));
        let (mut at, mut seen) = (100, Vec::new());
        while let Some(slice) = ring.slice(at) {
            assert!(slice.items.len() <= AT_ONCE_MAX);
            seen.extend(slice.items.iter().map(|(seq, _)| *seq));
            at = slice.next;
        }
        assert_eq!(seen, (101..=200).collect::<Vec<_>>());
        ring.take(500, &read(501..=510));
        assert_eq!((ring.from, ring.to, ring.items.len()), (500, 510, 10));
    }
}
