//! Where and at which hours of the week tickets come: from what the journal keeps, counted at most once a minute.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue, json};

use super::Desk;
use super::problem::Problem;
use crate::reading::Millis;
use crate::store::Coming;
use crate::time;

const DAY: Millis = 24 * 3_600_000;
const DAYS_DEFAULT: u32 = 90;
const DAYS_MAX: u32 = 366;
/// Events looked at; of a longer time only the last part is counted, and `from` says so.
const EVENTS_MAX: usize = 500_000;
/// Places or devices told, those with most; the others are counted in `others`.
const NAMES_MAX: usize = 200;
const FRESH: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    days: Option<u32>,
    by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum By {
    Place,
    Device,
}

/// What was counted last, by what was asked; as many as there are questions asked within a minute, and no more.
pub type Counted = std::sync::Mutex<HashMap<(u32, &'static str), (Instant, Arc<JsonValue>)>>;
/// Answers kept.
const COUNTED_MAX: usize = 8;

/// `GET /api/v1/heat?days=90&by=place`
pub async fn heat(
    State(desk): State<Arc<Desk>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Arc<JsonValue>>, Problem> {
    let days = match asked.days.unwrap_or(DAYS_DEFAULT) {
        days @ 1..=DAYS_MAX => days,
        days => {
            return Err(Problem::bad_request(format!("days={days} is out of bounds; say 1 to {DAYS_MAX}")));
        }
    };
    let by = match asked.by.as_deref().unwrap_or("place") {
        "place" => By::Place,
        "device" => By::Device,
        other => {
            let shown: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(Problem::bad_request(format!("by=`{shown}` is not known; say place or device")));
        }
    };
    desk.look(move |desk| counted(desk, days, by)).await.map(Json)
}

fn counted(desk: &Desk, days: u32, by: By) -> Result<Arc<JsonValue>, Problem> {
    let held = || desk.heat.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (days, by.word());
    if let Some((_, answer)) = held().get(&key).filter(|(at, _)| at.elapsed() < FRESH) {
        return Ok(answer.clone());
    }
    let answer = Arc::new(count(desk, days, by)?);
    let mut held = held();
    held.retain(|_, (at, _)| at.elapsed() < FRESH);
    if held.len() < COUNTED_MAX {
        held.insert(key, (Instant::now(), answer.clone()));
    }
    Ok(answer)
}

fn count(desk: &Desk, days: u32, by: By) -> Result<JsonValue, Problem> {
    let zone = TimeZone::get(&desk.rooms.plan.timezone).unwrap_or(TimeZone::UTC);
    let to = time::now();
    let mut from = to - Millis::from(days) * DAY;
    let mut week = Week::default();
    let mut oldest = to;
    let all = desk.rooms.view.comings(from, EVENTS_MAX, |coming| {
        let Ok(at) = coming.time.parse::<Timestamp>() else { return };
        if at.as_millisecond() >= from {
            oldest = oldest.min(at.as_millisecond());
            week.add(by.name(coming), at, &zone);
        }
    });
    if !all.map_err(|error| Problem::of_store(&error, |seq| desk.cursor(seq)))? {
        from = oldest;
    }
    let mut answer = week.told(by);
    answer.insert("from".into(), time::format(from).into());
    answer.insert("to".into(), time::format(to).into());
    answer.insert("timezone".into(), (*desk.rooms.plan.timezone).into());
    Ok(answer.into())
}

impl By {
    fn word(self) -> &'static str {
        match self {
            By::Place => "place",
            By::Device => "device",
        }
    }

    /// Empty where the ticket has none.
    fn name<'a>(self, coming: &Coming<'a>) -> &'a str {
        match self {
            By::Place => coming.place,
            By::Device => coming.device.unwrap_or_default(),
        }
    }
}

/// By name: so many in each hour of the week.
#[derive(Debug, Default)]
struct Week(HashMap<String, Box<[u32; 168]>>);

impl Week {
    fn add(&mut self, name: &str, at: Timestamp, zone: &TimeZone) {
        let local = at.to_zoned(zone.clone());
        let day = local.weekday().to_monday_zero_offset() as usize;
        let slot = day * 24 + local.hour() as usize;
        let hours = match self.0.get_mut(name) {
            Some(hours) => hours,
            None => self.0.entry(name.to_owned()).or_insert_with(|| Box::new([0; 168])),
        };
        if let Some(count) = hours.get_mut(slot) {
            *count += 1;
        }
    }

    /// Those with most first.
    fn told(&self, by: By) -> Map<String, JsonValue> {
        let total = |hours: &[u32; 168]| hours.iter().sum::<u32>();
        let mut names: Vec<(&str, &[u32; 168], u32)> =
            self.0.iter().map(|(name, hours)| (&**name, &**hours, total(hours))).collect();
        names.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));
        let others = names.split_off(names.len().min(NAMES_MAX));
        let mut cells = Vec::new();
        for (name, hours, _) in &names {
            for (slot, count) in hours.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (day, hour) = (slot / 24 + 1, slot % 24);
                cells.push(json!({ by.word(): name, "weekday": day, "hour": hour, "count": count }));
            }
        }
        let names = names.iter().map(|(name, _, count)| json!({ by.word(): name, "count": count }));
        let mut told = Map::new();
        told.insert("cells".into(), cells.into());
        told.insert(format!("{}s", by.word()), names.collect());
        told.insert("others".into(), others.iter().map(|(.., count)| count).sum::<u32>().into());
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_those_of_the_gateways_clock_and_the_fullest_place_is_first() {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let mut week = Week::default();
        // A Sunday at 23:30 in UTC is a Monday morning there.
        for time in ["2026-11-22T23:30:00Z", "2026-11-15T23:59:59Z", "2026-11-22T15:59:59Z"] {
            week.add("大堂", time.parse().unwrap(), &zone);
        }
        week.add("", "2026-11-22T23:30:00Z".parse().unwrap(), &zone);
        let told = week.told(By::Place);
        let expected = json!([
            { "place": "大堂", "weekday": 1, "hour": 7, "count": 2 },
            { "place": "大堂", "weekday": 7, "hour": 23, "count": 1 },
            { "place": "", "weekday": 1, "hour": 7, "count": 1 },
        ]);
        assert_eq!(told["cells"], expected);
        assert_eq!(told["places"], json!([{ "place": "大堂", "count": 3 }, { "place": "", "count": 1 }]));
        assert_eq!(told["others"], 0);
    }

    #[test]
    fn more_names_than_are_told_are_counted_together() {
        let mut week = Week::default();
        for n in 0..NAMES_MAX + 7 {
            for _ in 0..=usize::from(n < NAMES_MAX) {
                week.add(&n.to_string(), Timestamp::UNIX_EPOCH, &TimeZone::UTC);
            }
        }
        let told = week.told(By::Device);
        assert_eq!(told["devices"].as_array().unwrap().len(), NAMES_MAX);
        assert_eq!(told["others"], 7);
    }
}
