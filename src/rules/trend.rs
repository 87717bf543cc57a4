//! `forecast`: when the trend crosses a limit, and how sure that is.
//!
//! Good readings become hours ([`super::hours`]), the season of the day is taken off, and a robust line goes through the
//! days ([`super::slope`]). The limit is reached where the line and the season's farthest hour together reach it. Judged
//! once an hour, when the hour closes. What it said last stands until it can say better.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Limit;
use super::condition::Verdict;
use super::hours::{self, HOUR, Hours};
use super::judge::{Judge, Judgement, Outlook, Seen};
use super::slope::Line;
use crate::reading::{Millis, Quality, Value};

/// So sure it has to be that the limit is reached in time.
const SURE: f64 = 0.8;
/// So sure it has to be that there is a trend at all.
const TREND: f64 = 0.95;
/// Gone beyond so many times the span.
const GONE: f64 = 1.5;
/// Hours that were read, besides the days that a line needs.
const HOURS_MIN: usize = 72;
/// A step that is a smaller part of the way to the limit is none.
const STEP: f64 = 0.2;
const DAY: f64 = 24.0 * HOUR as f64;

#[derive(Debug)]
pub struct Trend {
    /// Turned so that the limit is always above.
    sign: f64,
    limit: f64,
    /// Days.
    within: f64,
    hours: Hours,
    said: Option<Verdict>,
    outlook: Option<Outlook>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    hours: hours::Saved,
    said: Option<Verdict>,
    outlook: Option<Outlook>,
}

impl Trend {
    pub fn new(limit: Limit, within: Millis) -> Self {
        let (sign, limit) = match limit {
            Limit::Above(x) => (1.0, x),
            Limit::Below(x) => (-1.0, -x),
        };
        let within = within as f64 / DAY;
        Self { sign, limit, within, hours: Hours::default(), said: None, outlook: None }
    }

    /// An hour has closed at `at`.
    fn judge(&mut self, at: Millis) {
        let mut values = self.hours.values(self.sign);
        let season = self.hours.season(&values);
        if hours::newest(&values).is_some_and(|newest| newest.iter().all(|x| *x > self.limit)) {
            (self.said, self.outlook) = (Some(Verdict::Holds), Some(Outlook::Reached));
        }
        if let Some(season) = &season {
            self.hours.without(season, &mut values);
            if self.stepped(&values) {
                return self.hours.forget_before_step();
            }
        }
        let read = values.iter().filter(|x| !x.is_nan()).count();
        let line = Line::through(&hours::days(&values)).filter(|_| read >= HOURS_MIN);
        if let Some(line) = line {
            let peak = season.into_iter().flatten().fold(0.0, f64::max);
            (self.said, self.outlook) = self.say(&line, self.limit - peak, at);
        }
    }

    /// Whether something else is measured from here on. Where a part was put right, what was expected of the old one is over.
    fn stepped(&mut self, values: &[f64]) -> bool {
        let (Some(jump), Some(level)) = (hours::step(values), values.last()) else { return false };
        if jump.abs() <= STEP * (self.limit - (level - jump)).abs() {
            return false;
        }
        if jump < 0.0 && *level < self.limit {
            (self.said, self.outlook) = (Some(Verdict::Gone), None);
        }
        true
    }

    fn say(&self, line: &Line, limit: f64, at: Millis) -> (Option<Verdict>, Option<Outlook>) {
        if line.reaches(limit, 0.0) >= SURE {
            return (Some(Verdict::Holds), Some(Outlook::Reached));
        }
        let days =
            if line.slope > 0.0 { ((limit - line.level) / line.slope).max(0.0) } else { f64::INFINITY };
        if days > GONE * self.within {
            return (Some(Verdict::Gone), None);
        }
        let sure = line.reaches(limit, self.within);
        if sure < SURE || line.rises() < TREND {
            return (Some(Verdict::Between), self.outlook);
        }
        let percent = (sure * 100.0).floor().min(99.0) as u8;
        (Some(Verdict::Holds), Some(Outlook::Expected { at: at + (days * DAY) as Millis, percent }))
    }

    fn begin_anew(&mut self) {
        self.hours = Hours::default();
        self.outlook = None;
    }
}

impl Judge for Trend {
    fn see(&mut self, seen: &Seen<'_>) -> Option<Verdict> {
        if seen.quality == Quality::Good
            && let Some(number) = seen.value.and_then(Value::number).filter(|x| x.is_finite())
        {
            self.hours.see(seen.at, number);
        }
        seen.value.and(self.said)
    }

    fn due(&self) -> Option<Millis> {
        self.hours.due()
    }

    fn pass(&mut self, due: Millis) -> Option<Judgement> {
        self.hours.close();
        self.judge(due);
        Some(Judgement { at: due, verdict: self.said, quality: Quality::Good })
    }

    /// An hour that ended unseen is told with the next one.
    /// By whole hours: the hour of the day is that of the new clock.
    fn shift(&mut self, by: Millis) {
        self.hours.shift(by);
        if let Some(Outlook::Expected { at, .. }) = &mut self.outlook {
            *at += by;
        }
    }

    fn lost(&mut self, from: Millis, to: Millis) {
        if from - to >= HOUR {
            self.begin_anew();
        } else if self.due().is_some_and(|due| due <= to) {
            self.hours.close();
        }
    }

    /// The part is taken to be put right: what it read before says nothing any more. Beyond the limit it is not.
    fn resolved(&mut self, _at: Millis) -> bool {
        if self.hours.latest().is_some_and(|value| self.sign * value > self.limit) {
            return false;
        }
        self.begin_anew();
        self.said = Some(Verdict::Gone);
        true
    }

    fn save(&self) -> Option<Json> {
        if self.hours.is_empty() && self.said.is_none() {
            return None;
        }
        let saved = Saved { hours: self.hours.save(), said: self.said, outlook: self.outlook };
        serde_json::to_value(saved).ok()
    }

    fn take_up(&mut self, saved: &Json) {
        let Ok(saved) = Saved::deserialize(saved) else { return };
        let Some(hours) = Hours::take_up(&saved.hours) else { return };
        (self.hours, self.said, self.outlook) = (hours, saved.said, saved.outlook);
    }

    fn outlook(&self) -> Option<Outlook> {
        self.outlook
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::reading::PointId;

    const MINUTE: Millis = 60_000;
    const WEEK: Millis = 7 * 24 * HOUR;
    const SAVED_MAX: usize = 4096;

    fn trend() -> Trend {
        Trend::new(Limit::Above(80.0), WEEK)
    }

    fn see(trend: &mut Trend, at: Millis, value: f64) {
        while let Some(due) = trend.due().filter(|due| *due <= at) {
            trend.pass(due);
        }
        let value = Value::Number(value);
        let quality = Quality::Good;
        trend.see(&Seen { point: PointId(0), at, value: Some(&value), quality, momentary: false });
    }

    fn saved(trend: &Trend) -> Json {
        let saved = trend.save().unwrap_or_default();
        assert!(saved.to_string().len() <= SAVED_MAX, "{} bytes", saved.to_string().len());
        saved
    }

    #[test]
    fn four_weeks_by_the_minute_are_saved_in_4_kb_and_taken_up_as_they_were() {
        let mut trend = trend();
        for minute in 0..4 * 7 * 24 * 60 {
            let day = minute as f64 / (24.0 * 60.0);
            see(
                &mut trend,
                minute * MINUTE + 1_767_225_600_000,
                40.0 + 1.3 * day + (minute % 97) as f64 / 29.0,
            );
        }
        assert_eq!(trend.said, Some(Verdict::Holds), "it has something to say");
        let text = saved(&trend);
        let mut after = self::trend();
        after.take_up(&text);
        assert_eq!((&after.hours, after.said, after.outlook), (&trend.hours, trend.said, trend.outlook));
        assert!(
            text.to_string().len() > 2900,
            "and no shorter than the bound says: {}",
            text.to_string().len()
        );
    }

    /// Numbers as they are, times from the whole of time, and fields that another hand has written.
    fn odd() -> impl Strategy<Value = Json> {
        let number = prop_oneof![any::<i64>(), -900_000..900_000i64, Just(i64::MAX), Just(i64::MIN)];
        let text = |most: usize| {
            let floats = prop::collection::vec(prop_oneof![any::<f32>(), 0.0..100.0f32], 0..most);
            floats.prop_map(|all| BASE64.encode(all.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()))
        };
        let open = (number.clone(), any::<u32>(), any::<u32>(), text(80));
        let hours =
            (prop_oneof![any::<f64>(), Just(50.0)], number, text(520), prop::option::of(open), any::<f64>());
        let hours = hours.prop_map(|(origin, last, hours, open, latest)| {
            json!({"origin": origin.to_bits(), "last": last, "hours": hours, "open": open, "latest": latest.to_bits()})
        });
        let said = prop_oneof![Just(json!("holds")), Just(json!("gone")), Just(Json::Null), Just(json!(7))];
        (hours, said).prop_map(|(hours, said)| json!({"hours": hours, "said": said, "outlook": null}))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn fuzz_what_is_taken_up_never_panics_and_stays_within_its_bounds(
            saved in odd(),
            cut in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            at in prop_oneof![0..i64::MAX / 4, -900_000 * HOUR..900_000 * HOUR],
        ) {
            let mut bytes = saved.to_string().into_bytes();
            if let Some((index, byte)) = cut {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let mut trend = trend();
            if let Ok(json) = serde_json::from_slice(&bytes) {
                trend.take_up(&json);
            }
            if let Some(due) = trend.due() {
                trend.pass(due);
            }
            for n in 0..70 {
                see(&mut trend, at + n * MINUTE, 50.0);
            }
            self::saved(&trend);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn saved_and_taken_up_between_any_two_readings_it_says_the_same(
            steps in prop::collection::vec((1..40i64, -3.0..3.0f64, prop::bool::weighted(0.1)), 600),
        ) {
            let (mut whole, mut cut, mut at) = (trend(), trend(), 0);
            for (wait, noise, restarts) in steps {
                at += wait * MINUTE;
                let value = 40.0 + 1.5 * at as f64 / DAY + noise;
                see(&mut whole, at, value);
                if restarts {
                    let text = saved(&cut).to_string();
                    cut = trend();
                    cut.take_up(&serde_json::from_str(&text).unwrap());
                }
                see(&mut cut, at, value);
                prop_assert_eq!((whole.said, whole.outlook), (cut.said, cut.outlook));
            }
            prop_assert!(whole.said.is_some());
        }
    }
}
