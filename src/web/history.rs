//! The recorded readings of one point in buckets, for plots.

use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::Desk;
use super::problem::Problem;
use crate::reading::{Millis, Quality, Value};
use crate::store::{Piece, Sample, Summary, Values};
use crate::time;

const SPAN_DEFAULT: Millis = 24 * 3_600_000;
const BUCKETS_DEFAULT: usize = 240;
const BUCKETS_MAX: usize = 2000;
const MINUTE: Millis = 60_000;
/// Buckets as wide as this are made of whole minutes.
const WIDE: Millis = 5 * MINUTE;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    from: Option<String>,
    to: Option<String>,
    buckets: Option<usize>,
}

/// `GET /api/v1/points/{device}.{point}/history`
pub async fn history(
    State(desk): State<Arc<Desk>>,
    Path(point): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<JsonValue>, Problem> {
    let site = &desk.rooms.site;
    let id = site.point_named(&point).ok_or_else(|| {
        Problem::not_found(format!(
            "there is no point `{point}`; GET /api/v1/points lists them as device.point"
        ))
    })?;
    let fill = site.point(id).clean.fill.unwrap_or(0);
    let to = instant("to", asked.to.as_deref())?.unwrap_or_else(time::now);
    let from = instant("from", asked.from.as_deref())?.unwrap_or(to.saturating_sub(SPAN_DEFAULT));
    if from >= to {
        return Err(Problem::bad_request("`from` is not before `to`; exchange them"));
    }
    let count = match asked.buckets.unwrap_or(BUCKETS_DEFAULT) {
        count @ 1..=BUCKETS_MAX => count,
        count => {
            let detail = format!("buckets={count} is out of bounds; say 1 to {BUCKETS_MAX}");
            return Err(Problem::bad_request(detail));
        }
    };
    let answer = desk.look(move |desk| {
        let (rows, rolled_up_to) = gather(desk, &point, fill, from..to, count)?;
        let mut answer = json!({ "point": point, "buckets": rows });
        if let Some(until) = rolled_up_to {
            answer["rolled_up_to"] = time::format(until).into();
        }
        Ok(answer)
    });
    Ok(Json(answer.await?))
}

/// A `+` of an offset that was not escaped arrives as a space; there is no other space in a time.
fn instant(name: &str, text: Option<&str>) -> Result<Option<Millis>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let parsed = time::parse(&text.replace(' ', "+"));
    parsed.map(Some).map_err(|_| {
        Problem::bad_request(format!("{name}=`{text}` is no time; write it like 2026-11-21T08:00:00Z"))
    })
}

/// One after the other, so that a month at one reading a second is never in memory as a whole. The buckets begin where the
/// history does: no plot is wide where nothing is kept. Also until when there are rollups in the place of readings.
fn gather(
    desk: &Desk,
    point: &str,
    fill: Millis,
    asked: Range<Millis>,
    count: usize,
) -> Result<(Vec<JsonValue>, Option<Millis>), Problem> {
    let problem = |error| Problem::of_store(&error, |seq| desk.cursor(seq));
    let readings = desk.rooms.view.readings().map_err(problem)?;
    let to = asked.end;
    let from = match readings.since().map_err(problem)? {
        Some(since) => asked.start.max(since),
        None => return Ok((Vec::new(), None)),
    };
    if from >= to {
        return Ok((Vec::new(), None));
    }
    let wide = Buckets::of_minutes(from, to, count).filter(|buckets| fill <= buckets.width);
    let in_minutes = wide.is_some();
    let mut buckets = wide.unwrap_or_else(|| Buckets::new(from, to, count));
    let mut rolled_up_to = None;
    let add = |piece| match piece {
        // What is filled is narrower than these.
        Piece::Reading(sample) if in_minutes => buckets.add(sample.at, sample.value.as_ref()),
        Piece::Reading(sample) => buckets.reading(&sample, fill),
        Piece::Minute(row) => buckets.rollup(&row),
        Piece::Rollup(row, stretch) => {
            buckets.rollup(&row);
            rolled_up_to = rolled_up_to.max(Some(row.at + stretch));
        }
    };
    match in_minutes {
        true => readings.in_minutes(point, from, to - 1, add),
        false => readings.all(point, from, to - 1, add),
    }
    .map_err(problem)?;
    Ok((buckets.rows(), rolled_up_to))
}

/// Equal spans of time, each with what was read in it.
struct Buckets {
    /// Where the first one begins, and from when on there is something in it.
    from: Millis,
    asked: Millis,
    width: Millis,
    held: Vec<Option<Bucket>>,
    /// The last good number.
    good: Option<(Millis, f64)>,
}

#[derive(Default)]
struct Bucket {
    count: u64,
    sum: f64,
    numbers: Option<(f64, f64)>,
    /// Least and greatest of what is no number (`closed`, `open`).
    words: Option<(Value, Value)>,
    /// What may have been, where nothing was read.
    filled: Option<f64>,
}

impl Buckets {
    fn new(from: Millis, to: Millis, count: usize) -> Self {
        let width = ((to - from) / count as Millis).max(1);
        // What does not divide evenly goes to the last one.
        let count = count.min(((to - from) / width) as usize).max(1);
        let held = std::iter::repeat_with(|| None).take(count).collect();
        Self { from, asked: from, width, held, good: None }
    }

    /// Of whole minutes, so that a minute is in one of them: of so many at the most, where they are wide.
    fn of_minutes(asked: Millis, to: Millis, count: usize) -> Option<Self> {
        let from = asked.div_euclid(MINUTE) * MINUTE;
        let narrowest = (to - from).div_euclid(count as Millis);
        if narrowest < WIDE {
            return None;
        }
        let width = (narrowest + MINUTE).div_euclid(MINUTE) * MINUTE;
        let count = ((to - from) / width + 1) as usize;
        let held = std::iter::repeat_with(|| None).take(count).collect();
        Some(Self { from, asked, width, held, good: None })
    }

    fn reading(&mut self, sample: &Sample, fill: Millis) {
        self.add(sample.at, sample.value.as_ref());
        let number = sample.value.as_ref().and_then(Value::number);
        if let (Quality::Good, Some(number)) = (sample.quality, number) {
            self.bridge(sample.at, number, fill);
        }
    }

    fn rollup(&mut self, row: &Summary) {
        let index = self.index(row.at);
        let bucket = self.held[index].get_or_insert_default();
        bucket.count += u64::from(row.valued);
        match &row.values {
            Values::Numbers { min, max, sum, .. } => {
                let (least, most) = bucket.numbers.unwrap_or((*min, *max));
                bucket.numbers = Some((least.min(*min), most.max(*max)));
                bucket.sum += sum;
            }
            Values::Words { min, max, .. } => {
                bucket.words = Some(widened(bucket.words.take(), min));
                bucket.words = Some(widened(bucket.words.take(), max));
            }
            Values::None => {}
        }
    }

    fn add(&mut self, at: Millis, value: Option<&Value>) {
        let index = self.index(at);
        let bucket = self.held[index].get_or_insert_default();
        let Some(value) = value else { return };
        bucket.count += 1;
        match value.number() {
            Some(number) => {
                let (min, max) = bucket.numbers.unwrap_or((number, number));
                bucket.numbers = Some((min.min(number), max.max(number)));
                bucket.sum += number;
            }
            None => bucket.words = Some(widened(bucket.words.take(), value)),
        }
    }

    /// Between two good numbers not further apart than `fill`, what is in the middle of a bucket on the straight line.
    fn bridge(&mut self, at: Millis, number: f64, fill: Millis) {
        let Some((before, from)) = self.good.replace((at, number)) else { return };
        let gap = at - before;
        if !(1..=fill).contains(&gap) {
            return;
        }
        for index in self.index(before) + 1..self.index(at) {
            let middle = self.from + index as Millis * self.width + self.width / 2;
            let part = (middle - before) as f64 / gap as f64;
            self.held[index].get_or_insert_default().filled = Some(from + (number - from) * part);
        }
    }

    fn index(&self, at: Millis) -> usize {
        (((at - self.from).max(0) / self.width) as usize).min(self.held.len() - 1)
    }

    /// `[time, min, mean, max, count]` for every bucket in which something was read; where all of it was bad, the
    /// numbers are null. A count of 0 with numbers: they were not read, the gap is filled.
    fn rows(&self) -> Vec<JsonValue> {
        let row = |(index, bucket): (usize, &Option<Bucket>)| {
            let bucket = bucket.as_ref()?;
            let at = time::format((self.from + index as Millis * self.width).max(self.asked));
            Some(match (&bucket.numbers, &bucket.words) {
                (Some((min, max)), _) => {
                    json!([at, min, bucket.sum / bucket.count as f64, max, bucket.count])
                }
                (None, Some((min, max))) => json!([at, min, null, max, bucket.count]),
                // `null` where there is none either.
                (None, None) => json!([at, bucket.filled, bucket.filled, bucket.filled, 0]),
            })
        };
        self.held.iter().enumerate().filter_map(row).collect()
    }
}

fn widened(held: Option<(Value, Value)>, value: &Value) -> (Value, Value) {
    let less = |a: &Value, b: &Value| a.to_string() < b.to_string();
    match held {
        None => (value.clone(), value.clone()),
        Some((min, max)) if less(value, &min) => (value.clone(), max),
        Some((min, max)) if less(&max, value) => (min, value.clone()),
        Some(held) => held,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_fall_into_their_buckets_and_empty_ones_are_left_out() {
        let mut buckets = Buckets::new(0, 4000, 4);
        for (at, value) in [(0, 1.0), (999, 3.0), (3000, 7.0), (3999, 9.0)] {
            buckets.add(at, Some(&Value::Number(value)));
        }
        buckets.add(2500, None);
        let rows = JsonValue::from(buckets.rows());
        let expected = json!([
            ["1970-01-01T00:00:00.000Z", 1.0, 2.0, 3.0, 2],
            ["1970-01-01T00:00:02.000Z", null, null, null, 0],
            ["1970-01-01T00:00:03.000Z", 7.0, 8.0, 9.0, 2],
        ]);
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_gap_between_good_numbers_is_filled_and_counts_nothing() {
        let mut buckets = Buckets::new(0, 8000, 8);
        for (at, number) in [(500, 10.0), (3500, 40.0), (7500, 80.0)] {
            buckets.add(at, Some(&Value::Number(number)));
            buckets.bridge(at, number, 3000);
        }
        // A spike in the gap, kept without its value.
        buckets.add(1500, None);
        let rows = JsonValue::from(buckets.rows());
        let expected = json!([
            ["1970-01-01T00:00:00.000Z", 10.0, 10.0, 10.0, 1],
            ["1970-01-01T00:00:01.000Z", 20.0, 20.0, 20.0, 0],
            ["1970-01-01T00:00:02.000Z", 30.0, 30.0, 30.0, 0],
            ["1970-01-01T00:00:03.000Z", 40.0, 40.0, 40.0, 1],
            ["1970-01-01T00:00:07.000Z", 80.0, 80.0, 80.0, 1],
        ]);
        assert_eq!(rows, expected, "the second gap is longer than what is filled");
    }

    #[test]
    fn words_have_no_mean_but_show_what_occurred() {
        let mut buckets = Buckets::new(0, 1, 2000);
        for word in ["open", "closed", "open"] {
            buckets.add(0, Some(&Value::Text(word.into())));
        }
        assert_eq!(
            JsonValue::from(buckets.rows()),
            json!([["1970-01-01T00:00:00.000Z", "closed", null, "open", 3]])
        );
    }

    #[test]
    fn a_span_that_does_not_divide_loses_no_reading() {
        let mut buckets = Buckets::new(0, 10, 3);
        for at in 0..10 {
            buckets.add(at, Some(&Value::Number(1.0)));
        }
        let counted: u64 = buckets.rows().iter().filter_map(|row| row[4].as_u64()).sum();
        assert_eq!(counted, 10);
    }
}
