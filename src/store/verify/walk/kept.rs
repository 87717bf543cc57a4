//! The values of the chain that others have kept.

use rusqlite::params;

use super::Walk;
use crate::chain::Link;
use crate::store::Error;
use crate::store::chain::Kept;
use crate::store::verify::Anchor;

impl Walk<'_> {
    pub(super) fn read_anchors(&mut self) -> Result<(), Error> {
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

    pub(super) fn give(&mut self, anchor: &Anchor) {
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

    pub(super) fn hold_anchors(&mut self, seq: u64, link: Option<Link>) {
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
        if link.is_none() {
            let what =
                format!("the chain is gone from here, and {who} has one of this event: it was taken away");
            return self.report.fault(Some(seq), what);
        }
        let what = format!(
            "up to here the journal is not what it was for {who}: something was changed and the chain made anew"
        );
        self.report.fault(Some(seq), what);
    }

    /// Of numbers that are not there.
    pub(super) fn unseen(&mut self, seq: u64, left: Vec<(String, Link)>) -> Result<(), Error> {
        let gap = self.db.prepare("SELECT chain FROM gap WHERE seq = ?1");
        let gap = gap.and_then(|mut query| query.query_row(params![seq], |row| row.get::<_, Kept>(0)));
        for (who, kept) in left {
            if let Ok(Kept(Some(link))) = gap {
                self.hold(seq, &who, kept, Some(link));
            } else if seq > 0 && self.is_unchained(seq) {
                self.hold(seq, &who, kept, None);
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
