//! One row after another against what came before it.

mod holes;
mod kept;
mod orders;
mod stubs;
mod tickets;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;
use serde::Deserialize;

use super::rows::Event;
use super::{Anchor, Report};
use crate::chain::{Link, digest_of};
use crate::event;
use crate::reading::Millis;
use crate::store::expiry::LASTING;
use crate::store::{Error, Seal, keyring};
use holes::Gone;
use orders::Orders;
use stubs::Stubs;

/// Holes that are remembered until something tells of them.
const REMEMBERED_MAX: usize = 10_000;

/// What is known while the rows go by.
pub struct Walk<'a> {
    db: &'a Connection,
    seal: &'a Seal,
    report: Report,
    first: Link,
    /// The chain with the last event, as the file says; `None`: that is gone.
    before: Option<Link>,
    /// Events without a value of it, from and to, where each should have one.
    bare: Option<(u64, u64)>,
    /// Events up to here are of before there was a chain; `None`: the file is, with all that is in it.
    unchained: Option<u64>,
    /// An event has had a value of it.
    has_begun: bool,
    /// The last event did not fit the value before it; what its own should be.
    doubt: Option<(u64, Link)>,
    /// Numbers that are not there, from and to.
    holes: Vec<(u64, u64)>,
    told: Vec<(u64, u64)>,
    /// What is gone before the first event and not told; others must have been kept long enough.
    gone: Option<Gone>,
    /// What would tell of holes or stubs is sealed with a key that is not at hand.
    is_deaf: bool,
    stubs: Stubs,
    orders: Orders,
    /// Sealed with a key that is not at hand; the first of them.
    locked: Vec<u64>,
    /// By number: who left it, and the value.
    anchors: BTreeMap<u64, Vec<(String, Link)>>,
}

/// As far as an event is looked at.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    erased: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expired: Option<Cow<'a, str>>,
    /// It was told in an earlier epoch: of numbers, rows and stubs it says nothing here.
    #[serde(borrow)]
    origin: Option<Cow<'a, str>>,
}

/// Of `gateway.events-dropped`; of an earlier epoch the numbers are texts, and mean nothing here.
#[derive(Deserialize)]
struct Dropped {
    data: Span,
}

#[derive(Deserialize)]
struct Span {
    from: u64,
    to: u64,
}

impl<'a> Walk<'a> {
    pub fn begin(
        db: &'a Connection,
        seal: &'a Seal,
        report: Report,
        given: &[Anchor],
    ) -> Result<Self, Error> {
        let first = Link::first(&report.gateway, &report.epoch);
        let mut walk = Self {
            db,
            seal,
            report,
            first,
            before: Some(first),
            bare: None,
            unchained: unchained(db),
            has_begun: false,
            doubt: None,
            holes: Vec::new(),
            told: Vec::new(),
            gone: None,
            is_deaf: false,
            stubs: Stubs::default(),
            orders: Orders::of(db),
            locked: Vec::new(),
            anchors: BTreeMap::new(),
        };
        walk.read_anchors()?;
        walk.read_erasures()?;
        for anchor in given {
            walk.give(anchor);
        }
        Ok(walk)
    }

    pub fn take(&mut self, row: &Event<'_>) -> Result<(), Error> {
        if row.seq != self.report.to + 1 {
            self.jump(row)?;
        }
        if self.report.events == 0 {
            self.report.from = row.seq;
        }
        self.report.events += 1;
        self.report.to = row.seq;
        let digest = self.digest(row);
        self.link(row, digest);
        if !row.has_sum && !self.is_unchained(row.seq) {
            self.report.fault(
                Some(row.seq),
                "its row has no sum, as only those of before there was a chain: somebody took it away",
            );
        } else if !row.fits {
            self.report.fault(
                Some(row.seq),
                "its row does not fit its own sum: changed by hand, or by a failing card",
            );
        }
        self.report.chain = row.chain;
        self.hold_anchors(row.seq, row.chain);
        match row.json {
            Some(json) => self.look_at(row, json),
            None => {
                self.report.locked += 1;
                if self.locked.len() <= keyring::FEW {
                    self.locked.push(row.seq);
                }
                self.is_deaf |= LASTING.contains(&row.kind);
            }
        }
        Ok(())
    }

    pub fn end(mut self, now: Millis, keep: Duration) -> Result<Report, Error> {
        self.changed();
        self.reaches_its_chain();
        self.holes_untold();
        // As a start sees it: where a key is missing, it is missing for more than a few of many.
        if self.locked.len() <= keyring::FEW && self.report.locked < self.report.events - self.report.locked {
            for seq in std::mem::take(&mut self.locked) {
                let what =
                    "it is sealed with a key that the configuration does not name, and the others are not";
                self.report.fault(Some(seq), what);
            }
        }
        self.gone_in_time(now, keep)?;
        self.stubs_untold();
        self.tickets()?;
        for (seq, left) in std::mem::take(&mut self.anchors) {
            self.unseen(seq, left)?;
        }
        let cursors = "SELECT name, acknowledged FROM consumer WHERE acknowledged > ?1";
        let mut query = self.db.prepare(cursors)?;
        let mut rows = query.query([self.report.to])?;
        while let Some(row) = rows.next()? {
            let (name, seq): (String, u64) = (row.get(0)?, row.get(1)?);
            let to = self.report.to;
            let what = format!(
                "consumer `{name}` has acknowledged up to {seq}, and the journal ends at {to}: its end was cut off"
            );
            self.report.fault(Some(to + 1), what);
        }
        drop(rows);
        drop(query);
        self.report.faults.sort_by_key(|fault| fault.seq);
        Ok(self.report)
    }

    // ── the chain ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn is_unchained(&self, seq: u64) -> bool {
        self.unchained.is_none_or(|last| seq <= last)
    }

    /// Whether it comes as far as it says of itself.
    fn reaches_its_chain(&mut self) {
        let Some(last) = self.unchained else { return };
        let to = self.report.to;
        if to < last {
            let what = format!(
                "the journal ends at {to}, and had {last} before it had a chain: its end was cut off"
            );
            self.report.fault(Some(to + 1), what);
        }
    }

    /// Of what was told. A text that has taken its place has to be a stub.
    /// `None`: nobody can read it here.
    fn digest(&mut self, row: &Event<'_>) -> Option<[u8; 32]> {
        match row.digest {
            None => row.json.map(digest_of),
            Some(digest) => {
                if !row.json.is_none_or(event::is_stub) {
                    self.report.fault(
                        Some(row.seq),
                        "its text is not what was told, and no stub of an erased or expired event",
                    );
                }
                Some(digest.try_into().unwrap_or_default())
            }
        }
    }

    fn link(&mut self, row: &Event<'_>, digest: Option<[u8; 32]>) {
        let Some(link) = row.chain else {
            if self.is_unchained(row.seq) {
                self.report.unchained += 1;
            } else {
                self.bare(row, digest);
            }
            return;
        };
        self.bared();
        if self.is_unchained(row.seq) && !self.has_begun {
            self.report.fault(
                Some(row.seq),
                "it has a value of the chain, which the journal says to begin later: that was changed",
            );
        }
        self.has_begun = true;
        let (Some(before), Some(digest)) = (self.before.replace(link), digest) else {
            return self.changed();
        };
        let expected = before.then(row.seq, row.kind, &digest);
        match self.doubt {
            // From what it should have been the chain goes on: only the value was spoilt.
            Some((seq, should)) if link == should.then(row.seq, row.kind, &digest) => {
                self.doubt = None;
                self.report
                    .fault(Some(seq), "its value of the chain was changed; what it tells is as it was told");
            }
            _ => {
                self.changed();
                self.doubt = (link != expected).then_some((row.seq, expected));
            }
        }
    }

    /// An event without a value, where each has one. The next one goes on from what its value should be, or began anew.
    fn bare(&mut self, row: &Event<'_>, digest: Option<[u8; 32]>) {
        let should = self.doubt.map(|(_, should)| should);
        let (from, before) = match self.bare {
            Some((from, _)) => (from, should),
            None => {
                self.changed();
                (row.seq, should.or(self.before))
            }
        };
        self.bare = Some((from, row.seq));
        self.doubt = before.zip(digest).map(|(before, of)| (from, before.then(row.seq, row.kind, &of)));
        self.before = Some(self.first);
    }

    /// There are no more of them.
    fn bared(&mut self) {
        let Some((from, to)) = self.bare.take() else { return };
        let what = if from == to {
            "it has no value of the chain: that was taken away, or the gateway did not write it".to_owned()
        } else {
            format!(
                "the events {from} to {to} have no value of the chain: these were taken away, or the gateway did not write them"
            )
        };
        self.report.fault(Some(from), what);
    }

    /// What was in doubt is not as it was told.
    fn changed(&mut self) {
        self.bared();
        if let Some((seq, _)) = self.doubt.take() {
            self.report.fault(
                Some(seq),
                "it is not what was told under this number: its text, kind or number was changed",
            );
        }
    }

    // ── what it says ────────────────────────────────────────────────────────────────────────────────────────────────

    fn look_at(&mut self, row: &Event<'_>, json: &str) {
        let Ok(told) = serde_json::from_str::<Told<'_>>(json) else {
            return self.report.fault(Some(row.seq), "its text is no event");
        };
        let (gateway, epoch, seq) = (&self.report.gateway, &self.report.epoch, row.seq);
        let is_named = told.id == format!("{gateway}/{epoch}/{seq}")
            && told.sequence.parse() == Ok(seq)
            && told.r#type.strip_prefix("gatehouse.") == Some(row.kind)
            && told.subject.strip_prefix("tickets/") == row.ticket;
        if !is_named {
            self.report.fault(Some(seq), "its text and its row do not speak of the same event");
        }
        if event::is_stub(json) {
            self.report.erased += u64::from(told.erased.is_some());
            self.report.expired += u64::from(told.erased.is_none());
            // One that was carried here from an earlier epoch was told there.
            if row.digest.is_some() {
                self.stub(row, &told);
            }
            return;
        }
        self.date(&told.time);
        match row.kind {
            "command.executed" => self.order(row, &told, json),
            _ if told.origin.is_some() => {}
            "gateway.events-dropped" => {
                if let Ok(Dropped { data: Span { from, to } }) = serde_json::from_str(json) {
                    self.told.push((from, to));
                    if self.told.len() >= REMEMBERED_MAX {
                        self.holes_untold();
                    }
                }
            }
            _ => self.tells_of_stubs(row, &told, json),
        }
    }
}

/// As it was written when the file was made, or brought up to the format that has a chain.
fn unchained(db: &Connection) -> Option<u64> {
    let is_of_before = db.prepare("SELECT chain FROM event").is_err();
    let last = db.query_row("SELECT unchained FROM gateway", [], |row| row.get(0));
    match last {
        Ok(last) => Some(last),
        Err(_) if is_of_before => None,
        // Without a number that could be believed each event has to have a value.
        Err(_) => Some(0),
    }
}
