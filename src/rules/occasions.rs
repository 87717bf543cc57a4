//! `schedule`: the occasions of a cron line in the gateway's timezone, and how far they have been looked at.
//!
//! Over a clock that is put forward, what would fall into the gap comes right behind it; of an hour that comes twice, a
//! fixed time is in the first one only (`croner`).

use std::sync::Arc;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::Verdict;
use super::judge::{Judge, Judgement, Seen};
use crate::clock::WRITTEN;
use crate::reading::{DeviceId, Millis, Quality};
use crate::time::rfc3339;

/// Of the occasions that passed while nobody looked, so many get a ticket: the newest.
pub const MISSED_MAX: usize = 31;
const DAY: Millis = 24 * 60 * 60 * 1000;
/// A running clock that jumps this far was not set before, or is not now: nothing is said of the time between.
const JUMP_MAX: Millis = 31 * DAY;
/// 2026-01-01; only to see whether there is any occasion at all.
const SOME_DAY: Millis = 1_767_225_600_000;

/// A cron line, and where its work is.
#[derive(Debug, Clone, PartialEq)]
pub struct Occasions {
    pub text: Arc<str>,
    pub zone: Arc<str>,
    pub device: Option<DeviceId>,
    pub place: Option<Arc<str>>,
    cron: Cron,
    time_zone: TimeZone,
}

impl Occasions {
    /// `zone`: a name like `Asia/Shanghai`. The error says what is wrong with the line.
    pub fn parse(text: &str, zone: &str) -> Result<Self, String> {
        let parts = text.split_whitespace().count();
        if parts != 5 {
            return Err(format!("a cron line has five parts, this one has {parts}"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| format!("`{text}` is no cron line: {error}"))?;
        let time_zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
        let occasions =
            Self { text: text.into(), zone: zone.into(), device: None, place: None, cron, time_zone };
        match occasions.after(SOME_DAY) {
            Some(_) => Ok(occasions),
            None => Err(format!("`{text}`: there is no such day")),
        }
    }

    /// Where the work is.
    pub fn at(self, device: Option<DeviceId>, place: Option<Arc<str>>) -> Self {
        Self { device, place, ..self }
    }

    /// The first one after `at`.
    pub fn after(&self, at: Millis) -> Option<Millis> {
        let next = self.cron.find_next_occurrence(&self.zoned(at)?, false).ok()?;
        Some(next.timestamp().as_millisecond()).filter(|next| *next > at)
    }

    /// Those after `after` and by `until`, oldest first; of many the newest.
    fn newest(&self, after: Millis, until: Millis) -> Vec<Millis> {
        let mut newest = Vec::new();
        let mut before = self.zoned(until).and_then(|at| self.cron.find_previous_occurrence(&at, true).ok());
        while let Some(at) = before.map(|at| at.timestamp().as_millisecond()) {
            if at <= after || newest.len() == MISSED_MAX || newest.last().is_some_and(|last| at >= *last) {
                break;
            }
            newest.push(at);
            before = self.zoned(at).and_then(|at| self.cron.find_previous_occurrence(&at, false).ok());
        }
        newest.reverse();
        newest
    }

    /// In whole seconds, as cron counts.
    fn zoned(&self, at: Millis) -> Option<Zoned> {
        let at = Timestamp::from_second(at.div_euclid(1000)).ok()?;
        Some(at.to_zoned(self.time_zone.clone()))
    }
}

// ---------------------------------------------------------------------------------------------- the diary

/// How far a rule has looked. It only ever goes on, so that no occasion is seen twice.
#[derive(Debug)]
pub struct Diary {
    occasions: Occasions,
    /// `None`: it is new, and begins with now.
    looked: Option<Millis>,
    next: Option<Millis>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    line: String,
    zone: String,
    #[serde(with = "rfc3339")]
    looked: Millis,
}

impl Diary {
    pub fn new(occasions: &Occasions) -> Self {
        Self { occasions: occasions.clone(), looked: None, next: None }
    }

    fn look(&mut self, at: Millis) {
        self.looked = Some(at);
        self.next = self.occasions.after(at);
    }
}

impl Judge for Diary {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn due(&self) -> Option<Millis> {
        self.next
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.look(due);
        Some(Judgement { at: due, verdict: Some(Verdict::Holds), quality: Quality::Good })
    }

    /// An occasion has its place in the calendar, whatever the clock shows.
    fn shift(&mut self, _by: Millis) {}

    /// What was missed is asked for by itself ([`Judge::missed`]).
    fn lost(&mut self, _from: Millis, _to: Millis) {}

    fn clock_shows(&mut self, now: Millis, jumped: Millis, synced: bool) {
        let Some(looked) = self.looked else {
            // A clock that was never set has no occasions: it begins with the first time that can be one.
            if now >= WRITTEN {
                self.look(now);
            }
            return;
        };
        // Far ahead of a clock that can be believed: it looked while the clock was wrong.
        let astray = synced && looked > now + DAY;
        let unset = jumped > JUMP_MAX && now - looked > JUMP_MAX;
        if astray || unset {
            self.look(now);
        }
    }

    fn missed(&mut self, now: Millis) -> Vec<Millis> {
        let missed = self.looked.map_or_else(Vec::new, |looked| self.occasions.newest(looked, now));
        if let Some(last) = missed.last() {
            self.look(*last);
        }
        missed
    }

    fn save(&self) -> Option<Json> {
        let Occasions { text, zone, .. } = &self.occasions;
        let saved = Saved { line: text.to_string(), zone: zone.to_string(), looked: self.looked? };
        serde_json::to_value(&saved).ok()
    }

    /// Another line has had no occasions yet: it begins with now.
    fn take_up(&mut self, saved: &Json) {
        let same = |saved: &Saved| saved.line == *self.occasions.text && saved.zone == *self.occasions.zone;
        if let Some(saved) = Saved::deserialize(saved).ok().filter(same) {
            self.look(saved.looked);
        }
    }
}

/// One occasion: it is gone when somebody says that it is done.
#[derive(Debug)]
pub struct Occasion;

impl Judge for Occasion {
    fn see(&mut self, _seen: &Seen<'_>) -> Option<Verdict> {
        None
    }

    fn shift(&mut self, _by: Millis) {}

    fn lost(&mut self, _from: Millis, _to: Millis) {}

    fn resolved(&mut self, _at: Millis) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(text: &str) -> Millis {
        crate::time::parse(text).unwrap()
    }

    fn all(line: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        let occasions = Occasions::parse(line, zone).unwrap();
        let mut found = Vec::new();
        let mut next = occasions.after(at(from));
        while let Some(on) = next.filter(|on| *on <= at(until)) {
            found.push(crate::time::format(on));
            next = occasions.after(on);
        }
        found
    }

    #[test]
    fn over_a_clock_put_forward_and_back_each_night_has_one() {
        let spring = all("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00Z", "2027-03-29T12:00:00Z");
        assert_eq!(spring, ["2027-03-28T01:00:00.000Z", "2027-03-29T00:30:00.000Z"]);
        let autumn = all("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z");
        assert_eq!(autumn, ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]);
        let nine = all("0 9 1 * *", "Asia/Shanghai", "2026-11-01T01:00:00Z", "2027-01-02T00:00:00Z");
        assert_eq!(nine, ["2026-12-01T01:00:00.000Z", "2027-01-01T01:00:00.000Z"]);
    }

    #[test]
    fn backward_and_forward_are_the_same_occasions() {
        let lines = ["30 2 * * *", "0 3 * * 7", "*/20 * * * *", "15 */2 * * *", "0 9 L * *", "59 23 31 * *"];
        for zone in ["Europe/Berlin", "Asia/Shanghai", "America/Santiago", "Australia/Lord_Howe", "UTC"] {
            for line in lines {
                let occasions = Occasions::parse(line, zone).unwrap();
                for (from, until) in [
                    ("2026-10-23T12:00:00Z", "2026-10-27T12:00:00Z"),
                    ("2027-03-26T12:00:00Z", "2027-03-30T12:00:00Z"),
                    ("2026-04-03T00:00:00Z", "2026-04-07T00:00:00Z"),
                    ("2026-09-04T00:00:00Z", "2026-10-06T00:00:00Z"),
                ] {
                    let forward = all(line, zone, from, until);
                    let back = occasions.newest(at(from), at(until));
                    let back: Vec<String> = back.into_iter().map(crate::time::format).collect();
                    let newest = forward.len().saturating_sub(MISSED_MAX);
                    assert_eq!(back, forward[newest..], "{line} {zone} {from}");
                }
            }
        }
    }

    #[test]
    fn no_line_makes_it_panic_or_stand_still() {
        const PARTS: [&str; 24] = [
            "*",
            "*/5",
            "0",
            "59",
            "60",
            "1-5",
            "5-1",
            "L",
            "15W",
            "LW",
            "1#2",
            "5L",
            "+1",
            "MON",
            "JAN-DEC",
            "?",
            ",",
            "1,2,",
            "-1",
            "99999999999",
            "*/0",
            "31",
            "2",
            "水",
        ];
        let (mut state, mut good) = (7_u64, 0);
        let mut roll = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            PARTS[(state >> 33) as usize % PARTS.len()]
        };
        for _ in 0..400 {
            let line = [roll(), roll(), roll(), roll(), roll()].join(" ");
            let Ok(occasions) = Occasions::parse(&line, "Europe/Berlin") else { continue };
            good += 1;
            let next = occasions.after(SOME_DAY).unwrap();
            assert!(next > SOME_DAY && occasions.newest(SOME_DAY, next) == [next], "{line}");
        }
        assert!(good > 0, "only {good} were lines");
    }

    #[test]
    fn what_is_no_cron_line_is_refused() {
        for line in [
            "",
            "0 9 1 *",
            "0 0 9 1 * *",
            "60 9 * * *",
            "0 9 30 2 *",
            "0 25 * * *",
            "a b c d e",
            "@daily",
            "0 9 1 13 *",
        ] {
            assert!(Occasions::parse(line, "Asia/Shanghai").is_err(), "{line}");
        }
    }
}
