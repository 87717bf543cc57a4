//! Two lanes to one centre, and what each may have in hand. Pure: `carry` reads, posts and writes what is said here.
//!
//! The bulk lane takes everything in order. The urgent lane goes ahead of it with unclosed tickets, over a connection of
//! its own, so that a live one need not wait for a backlog. A ticket's events never overtake one another, since each request
//! has them from the first one on that the centre has not taken: even one that is lost and arrives late says nothing out of
//! order. That nothing is said twice while all goes well rests on two rules of numbers only:
//!
//! 1. The urgent lane takes a ticket only where its first pending event lies above the bulk lane's reach: above everything
//!    that the bulk lane has in hand.
//! 2. The bulk lane does not reach over the lowest number that the urgent lane has in hand.
//!
//! The bulk lane's load is tried again unchanged. What the urgent lane could not deliver it lets go of, so that one that
//! fails does not stop the other: it takes it again later, or the bulk lane has come there before.

use std::fmt::Write as _;

use crc::{CRC_32_ISO_HDLC, Crc};

use super::plan::Decision;
use crate::event::Stored;
use crate::store::Pending;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Bulk,
    Urgent,
}

#[derive(Debug)]
pub struct Lanes {
    bulk: Load,
    urgent: Load,
    /// Events of a bulk request at the most, as configured.
    batch: usize,
    /// As many of them as the line bears; less than `batch` after answers that did not come in time.
    fits: usize,
}

/// Events taken out of the outbox and not yet settled.
#[derive(Debug, Default)]
struct Load {
    events: Vec<Stored>,
    /// Everything up to here is in hand or was; with the last of the events, this is acknowledged.
    next: u64,
    /// So many of them make the next request; fewer than all while a bad one is looked for.
    take: usize,
    /// Numbers that were left out in between.
    without: Vec<u64>,
    /// Requests with the present batch that were not answered in time.
    late: u32,
}

/// What the store has to know before a lane goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The consumer's cursor moves here.
    Settle(u64),
    /// These are with the consumer before their time.
    Ahead(Vec<u64>),
    /// The consumer does not like this one, the next of the cursor.
    Aside(u64),
    /// Likewise, of one ahead of the cursor.
    AsideAhead(u64),
}

/// Events a request of the urgent lane at the most: few, so that a ticket which comes now does not wait for long.
pub const URGENT_MAX: usize = 50;
/// After so many requests without an answer in time, the batch may be too much for the line: on with half of it.
const LATE_MAX: u32 = 2;

impl Lanes {
    pub fn new(batch: usize) -> Self {
        let batch = batch.max(1);
        Self { bulk: Load::default(), urgent: Load::default(), batch, fits: batch }
    }

    /// Events of the bulk lane's next load.
    pub fn limit(&self) -> usize {
        self.fits
    }

    /// A read of the outbox becomes the bulk lane's load, as far as it may reach.
    pub fn load_bulk(&mut self, pending: Pending) {
        let bound = self.urgent.events.first().map_or(u64::MAX, |event| event.seq - 1);
        let Pending { slice, mut without, acknowledged, .. } = pending;
        let mut events = slice.events;
        let next = slice.next.min(bound.max(acknowledged));
        events.truncate(events.partition_point(|event| event.seq <= next));
        without.truncate(without.partition_point(|seq| *seq <= next));
        self.bulk = Load { take: events.len(), events, next, without, late: 0 };
    }

    /// Up to here everything is the bulk lane's.
    pub fn reach(&self) -> u64 {
        self.bulk.next
    }

    pub fn load_urgent(&mut self, events: Vec<Stored>) {
        let next = events.last().map_or(0, |event| event.seq);
        self.urgent = Load { take: events.len(), events, next, ..Load::default() };
    }

    pub fn is_empty(&self, lane: Lane) -> bool {
        self.load(lane).events.is_empty()
    }

    /// The next request's events.
    pub fn batch(&self, lane: Lane) -> &[Stored] {
        let load = self.load(lane);
        &load.events[..load.take]
    }

    /// `<first>-<last>`, which says what is in a batch as long as nothing went another way in between; then a sum of the
    /// numbers comes behind it, and of which of them are stubs: an erasure changes what there is to be told. A batch that is tried again has the same key.
    pub fn key(&self, lane: Lane) -> String {
        let load = self.load(lane);
        let batch = &load.events[..load.take];
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return String::new();
        };
        let mut key = format!("{}-{}", first.seq, last.seq);
        let holes = match lane {
            Lane::Bulk => load.without.iter().any(|seq| (first.seq..last.seq).contains(seq)),
            Lane::Urgent => (last.seq - first.seq) as usize >= batch.len(),
        };
        if holes || batch.iter().any(Stored::is_stub) {
            // Writing to a text cannot fail.
            let _ = write!(key, "-{:08x}", sum(batch));
        }
        key
    }

    /// The centre's answer was understood; what is to be written, if anything. `late`: there was none in time.
    pub fn answered(&mut self, lane: Lane, decision: &Decision, late: bool) -> Option<Note> {
        let load = match lane {
            Lane::Bulk => &mut self.bulk,
            Lane::Urgent => &mut self.urgent,
        };
        match decision {
            Decision::Settle => {
                let batch = &load.events[..load.take];
                let whole = load.take == load.events.len();
                let last = batch.last().map_or(load.next, |event| event.seq);
                return Some(match lane {
                    Lane::Bulk => Note::Settle(if whole { load.next } else { last }),
                    Lane::Urgent => Note::Ahead(batch.iter().map(|event| event.seq).collect()),
                });
            }
            Decision::SetAside => {
                let seq = load.events.first()?.seq;
                return Some(if lane == Lane::Bulk { Note::Aside(seq) } else { Note::AsideAhead(seq) });
            }
            Decision::Halve => load.take = load.take.div_ceil(2),
            Decision::Again { .. } | Decision::Slowly if lane == Lane::Urgent => {
                self.urgent = Load::default();
            }
            Decision::Again { .. } | Decision::Slowly => {
                load.late = if late { load.late + 1 } else { 0 };
                if load.late >= LATE_MAX {
                    load.take = load.take.div_ceil(2);
                    load.late = 0;
                    self.fits = load.take;
                }
            }
        }
        None
    }

    /// What `answered` said is written.
    pub fn written(&mut self, lane: Lane, note: &Note) {
        let (batch, fits) = (self.batch, self.fits);
        let load = self.load_mut(lane);
        load.late = 0;
        match note {
            Note::Settle(_) | Note::Ahead(_) => {
                load.events.drain(..load.take);
                load.take = (2 * load.take).min(load.events.len());
                if *note == Note::Settle(self.bulk.next) {
                    self.fits = fits.saturating_add(fits.div_ceil(8)).min(batch);
                }
            }
            Note::Aside(_) | Note::AsideAhead(_) => {
                load.events.remove(0);
                // On with one, and twice as many after each success: where one is bad the next ones often are, too.
                load.take = load.events.len().min(1);
            }
        }
    }

    fn load(&self, lane: Lane) -> &Load {
        match lane {
            Lane::Bulk => &self.bulk,
            Lane::Urgent => &self.urgent,
        }
    }

    fn load_mut(&mut self, lane: Lane) -> &mut Load {
        match lane {
            Lane::Bulk => &mut self.bulk,
            Lane::Urgent => &mut self.urgent,
        }
    }
}

fn sum(batch: &[Stored]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = CRC.digest();
    for event in batch {
        digest.update(&event.seq.to_le_bytes());
        if event.is_stub() {
            digest.update(b"stub");
        }
    }
    digest.finalize()
}

#[cfg(test)]
mod tests;
