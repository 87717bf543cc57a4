//! One row after another against what came before it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use serde::Deserialize;

use super::rows::Event;
use super::{Anchor, Report};
use crate::chain::{Link, digest_of};
use crate::event;
use crate::store::chain::Kept;
use crate::store::{Error, keyring};
use crate::time;

/// Holes, and times of erasures, that are remembered until something tells of them.
const REMEMBERED_MAX: usize = 10_000;

/// What is known while the rows go by.
pub struct Walk<'a> {
    db: &'a Connection,
    report: Report,
    first: Link,
    /// The chain with the last event, as the file says; `None`: that is gone.
    before: Option<Link>,
    has_begun: bool,
    /// The last event did not fit the value before it; what its own should be.
    doubt: Option<(u64, Link)>,
    /// Numbers that are not there, from and to.
    holes: Vec<(u64, u64)>,
    told: Vec<(u64, u64)>,
    /// When stubs say that they were erased, and the first number that says so.
    erased: BTreeMap<String, u64>,
    erasures: BTreeSet<String>,
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
    pub fn begin(db: &'a Connection, report: Report, given: &[Anchor]) -> Result<Self, Error> {
        let first = Link::first(&report.gateway, &report.epoch);
        let mut walk = Self {
            db,
            report,
            first,
            before: Some(first),
            has_begun: false,
            doubt: None,
            holes: Vec::new(),
            told: Vec::new(),
            erased: BTreeMap::new(),
            erasures: BTreeSet::new(),
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
        if !row.fits {
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
            }
        }
        Ok(())
    }

    pub fn end(mut self) -> Result<Report, Error> {
        self.changed();
        self.holes_untold();
        // As a start sees it: where a key is missing, it is missing for more than a few of many.
        if self.locked.len() <= keyring::FEW && self.report.locked < self.report.events - self.report.locked {
            for seq in std::mem::take(&mut self.locked) {
                let what =
                    "it is sealed with a key that the configuration does not name, and the others are not";
                self.report.fault(Some(seq), what);
            }
        }
        for (time, seq) in std::mem::take(&mut self.erased) {
            if !self.erasures.contains(&time) {
                let what =
                    format!("it says that it was erased at {time}, and no `gateway.erased` tells of that");
                self.report.fault(Some(seq), what);
            }
        }
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

    /// Numbers are missing before this one. What the chain was there the gateway has kept, where it removed them.
    fn jump(&mut self, row: &Event<'_>) -> Result<(), Error> {
        self.changed();
        let (from, to) = (self.report.to + 1, row.seq.saturating_sub(1));
        let kept = self.db.prepare_cached("SELECT chain FROM gap WHERE seq = ?1");
        let kept = match kept {
            Ok(mut query) => query.query_row([to], |row| row.get::<_, Kept>(0)).map_or(None, |kept| kept.0),
            // An older format.
            Err(_) => None,
        };
        let is_unchained = row.chain.is_none() && !self.has_begun;
        let first = self.first;
        let begins = self.digest(row).is_some_and(|of| row.chain == Some(first.then(row.seq, row.kind, &of)));
        if from > 1 {
            if self.holes.len() < REMEMBERED_MAX {
                self.holes.push((from, to));
            }
        } else if kept.is_none() && !is_unchained && !begins {
            let what =
                format!("the events up to {to} are gone, and it was not the gateway that removed them");
            self.report.fault(Some(row.seq), what);
        }
        self.before = kept.or((is_unchained || begins).then_some(self.first));
        self.has_begun |= kept.is_some();
        Ok(())
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
            if self.has_begun {
                self.changed();
                self.report
                    .fault(Some(row.seq), "it has no value of the chain: the gateway did not write it");
                // The next one begins anew.
                self.before = Some(self.first);
            } else {
                self.report.unchained += 1;
            }
            return;
        };
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

    /// What was in doubt is not as it was told.
    fn changed(&mut self) {
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
            match &told.erased {
                Some(time) => {
                    self.report.erased += 1;
                    // One that was carried here from an earlier epoch was told there.
                    if row.digest.is_some() && self.erased.len() < REMEMBERED_MAX {
                        self.erased.entry(time.clone().into_owned()).or_insert(seq);
                    }
                }
                None => self.report.expired += 1,
            }
        }
        match row.kind {
            "gateway.erased" if self.erasures.len() < REMEMBERED_MAX => {
                self.erasures.insert(told.time.into_owned());
            }
            "gateway.events-dropped" => {
                if let Ok(Dropped { data: Span { from, to } }) = serde_json::from_str(json) {
                    self.told.push((from, to));
                    if self.told.len() >= REMEMBERED_MAX {
                        self.holes_untold();
                    }
                }
            }
            _ => {}
        }
    }

    /// Those of which nothing tells.
    fn holes_untold(&mut self) {
        let told = std::mem::take(&mut self.told);
        for (from, to) in std::mem::take(&mut self.holes) {
            // One bite of room may end where the next one begins.
            let mut at = from;
            while let Some((_, end)) = told.iter().find(|(first, last)| (*first..=*last).contains(&at)) {
                at = end + 1;
                if at > to {
                    break;
                }
            }
            if at > to {
                self.report.dropped += to - from + 1;
            } else if from == to {
                self.report.fault(Some(from), "it is gone, and nothing tells of that");
            } else {
                self.report.fault(
                    Some(from),
                    format!("the events {from} to {to} are gone, and nothing tells of that"),
                );
            }
        }
    }

    // ── what others have kept ───────────────────────────────────────────────────────────────────────────────────────

    fn read_anchors(&mut self) -> Result<(), Error> {
        for rows in [
            "SELECT name, acknowledged, chain FROM consumer WHERE chain IS NOT NULL",
            "SELECT consumer, seq, chain FROM anchor",
        ] {
            // Older formats have none.
            let Ok(mut query) = self.db.prepare(rows) else { continue };
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let (name, seq): (String, u64) = (row.get(0)?, row.get(1)?);
                if let Some(link) = row.get::<_, Kept>(2)?.0 {
                    self.anchors.entry(seq).or_default().push((format!("consumer `{name}`"), link));
                }
            }
        }
        Ok(())
    }

    /// Those under way tell of themselves.
    fn read_erasures(&mut self) -> Result<(), Error> {
        let Ok(mut query) = self.db.prepare("SELECT begun FROM erasure") else { return Ok(()) };
        let times = query.query_map([], |row| Ok(time::format(row.get(0)?)))?;
        self.erasures = times.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn give(&mut self, anchor: &Anchor) {
        if anchor.epoch == self.report.epoch {
            let who = "the value that was given".to_owned();
            return self.anchors.entry(anchor.seq).or_default().push((who, anchor.link));
        }
        let what = format!(
            "the value that was given is of epoch {}, and this journal is of epoch {}: it was restored, damaged or begun anew since",
            anchor.epoch, self.report.epoch
        );
        self.report.fault(None, what);
    }

    fn hold_anchors(&mut self, seq: u64, link: Option<Link>) {
        for (who, kept) in self.anchors.remove(&seq).unwrap_or_default() {
            self.hold(seq, &who, kept, link);
        }
    }

    fn hold(&mut self, seq: u64, who: &str, kept: Link, link: Option<Link>) {
        if Some(kept) == link {
            self.report.anchors += u64::from(who.starts_with("consumer"));
            self.report.given += u64::from(!who.starts_with("consumer"));
            return;
        }
        let what = format!(
            "up to here the journal is not what it was for {who}: something was changed and the chain made anew"
        );
        self.report.fault(Some(seq), what);
    }

    /// Of numbers that are not there.
    fn unseen(&mut self, seq: u64, left: Vec<(String, Link)>) -> Result<(), Error> {
        let gap = self.db.prepare("SELECT chain FROM gap WHERE seq = ?1");
        let gap = gap.and_then(|mut query| query.query_row(params![seq], |row| row.get::<_, Kept>(0)));
        for (who, kept) in left {
            if let Ok(Kept(Some(link))) = gap {
                self.hold(seq, &who, kept, Some(link));
            } else if seq == 0 {
                self.hold(seq, &who, kept, Some(self.first));
            } else if seq > self.report.to {
                let to = self.report.to;
                let what =
                    format!("{who} is of event {seq}, and the journal ends at {to}: its end was cut off");
                self.report.fault(Some(to + 1), what);
            } else if who.starts_with("consumer") {
                self.report.anchors_unseen += 1;
            } else {
                self.report.fault(
                    None,
                    format!("{who} is of event {seq}, which is no longer kept; give a newer one"),
                );
            }
        }
        Ok(())
    }
}
