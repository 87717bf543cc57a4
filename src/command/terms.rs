//! Under which terms something may be ordered: in whose name, with a reason, at which hours, how often. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::order::Role;
use crate::reading::Millis;

/// Of one `[[device.command]]`; all targets of it have them in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub roles: Vec<Role>,
    /// Not without a reason.
    pub reason: bool,
    pub when: When,
    pub at_most: Option<AtMost>,
}

impl Default for Terms {
    fn default() -> Self {
        Self { roles: vec![Role::Technician], reason: false, when: When::default(), at_most: None }
    }
}

/// So many within so long, of all targets together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost {
    pub times: usize,
    pub within: Duration,
}

/// At which hours of which days, by the clock on the wall of the compound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// From Monday; a span over midnight belongs to the day on which it begins.
    pub days: [bool; 7],
    /// None: at any hour.
    pub hours: Vec<Hours>,
}

/// Minutes of the day, the end not within; an end that is not after the beginning is one of the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    pub from: u16,
    pub to: u16,
}

pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
pub const DAY_MINUTES: u16 = 24 * 60;

impl Default for When {
    fn default() -> Self {
        Self { days: [true; 7], hours: Vec::new() }
    }
}

impl When {
    pub fn is_always(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it is open then. By what the clock on the wall shows: an hour that comes twice is open twice, one
    /// that is left out is not missed.
    pub fn is_open(&self, at: Millis, zone: &TimeZone) -> bool {
        let at = Timestamp::from_millisecond(at).unwrap_or_default();
        self.is_open_at(zone.to_datetime(at))
    }

    fn is_open_at(&self, local: DateTime) -> bool {
        let today = local.weekday().to_monday_zero_offset() as usize;
        let (today, yesterday) = (self.days[today], self.days[(today + 6) % 7]);
        if self.hours.is_empty() {
            return today;
        }
        let minute = local.hour() as u16 * 60 + local.minute() as u16;
        self.hours.iter().any(|hours| {
            let Hours { from, to } = *hours;
            match from < to {
                true => today && (from..to).contains(&minute),
                false => (today && minute >= from) || (yesterday && minute < to),
            }
        })
    }

    /// `mon, tue 07:00-22:00`
    pub fn words(&self) -> String {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let days: Vec<&str> =
            DAYS.into_iter().zip(self.days).filter(|(_, open)| *open).map(|(day, _)| day).collect();
        let days = if days.len() == DAYS.len() { "every day".to_owned() } else { days.join(", ") };
        let hours: Vec<String> =
            self.hours.iter().map(|h| format!("{}-{}", clock(h.from), clock(h.to))).collect();
        [days, hours.join(", ")].join(" ").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [bool; 7] = [true; 7];

    fn when(days: [bool; 7], hours: &[(u16, u16)]) -> When {
        let hours = hours.iter().map(|(from, to)| Hours { from: from * 60, to: to * 60 }).collect();
        When { days, hours }
    }

    fn open(when: &When, zone: &str, at: &str) -> bool {
        let at: Timestamp = at.parse().unwrap();
        when.is_open(at.as_millisecond(), &TimeZone::get(zone).unwrap())
    }

    #[test]
    fn hours_are_those_of_the_compound_and_end_before_their_end() {
        let day = when(ALL, &[(7, 22)]);
        for (at, is) in [
            ("2026-11-22T06:59:59.999+08:00", false),
            ("2026-11-22T07:00:00+08:00", true),
            ("2026-11-22T21:59:59+08:00", true),
            ("2026-11-22T22:00:00+08:00", false),
        ] {
            assert_eq!(open(&day, "Asia/Shanghai", at), is, "{at}");
        }
        assert!(when(ALL, &[(0, 24)]).words() == "every day 00:00-24:00");
        assert!(open(&when(ALL, &[(0, 24)]), "UTC", "2026-11-22T23:59:59Z"));
        let two = when(ALL, &[(7, 12), (14, 22)]);
        let at = |hour: u8| open(&two, "UTC", &format!("2026-11-22T{hour:02}:30:00Z"));
        assert_eq!(
            [6, 7, 11, 12, 13, 14, 21, 22].map(at),
            [false, true, true, false, false, true, true, false]
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let mut days = [false; 7];
        days[4] = true;
        // Friday; 2026-11-20 is one.
        let night = when(days, &[(22, 6)]);
        for (at, is) in [
            ("2026-11-20T05:00:00Z", false),
            ("2026-11-20T21:59:59Z", false),
            ("2026-11-20T22:00:00Z", true),
            ("2026-11-21T05:59:59Z", true),
            ("2026-11-21T06:00:00Z", false),
            ("2026-11-21T22:30:00Z", false),
        ] {
            assert_eq!(open(&night, "UTC", at), is, "{at}");
        }
        assert_eq!(night.words(), "fri 22:00-06:00");
        let days = when(days, &[]);
        assert!(open(&days, "UTC", "2026-11-20T00:00:00Z") && !open(&days, "UTC", "2026-11-21T00:00:00Z"));
    }

    #[test]
    fn summer_time_is_what_the_clock_on_the_wall_shows() {
        // Berlin, 2026-03-29: 02:00 is 03:00; 2026-10-25: 03:00 is 02:00 once more.
        let early = when(ALL, &[(2, 3)]);
        assert!(!open(&early, "Europe/Berlin", "2026-03-29T00:59:59Z"));
        assert!(!open(&early, "Europe/Berlin", "2026-03-29T01:00:00Z"), "that hour is left out");
        for (at, is) in [
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-25T02:00:00Z", false),
        ] {
            assert_eq!(open(&early, "Europe/Berlin", at), is, "{at}");
        }
        let night = when(ALL, &[(22, 6)]);
        assert!(open(&night, "Europe/Berlin", "2026-03-29T03:59:00Z"), "05:59 in summer");
        assert!(!open(&night, "Europe/Berlin", "2026-03-29T04:00:00Z"), "06:00 in summer");
    }
}
