//! Plots of a month: soon, and the same numbers as out of the readings themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod web_house;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gatehouse::reading::{Millis, PointId, Reading, Reason, Value};
use gatehouse::store::{History, Piece, Summary, Values, View};
use gatehouse::time;
use web_house::House;

const MINUTE: Millis = 60_000;
const DAY: Millis = 24 * 60 * MINUTE;
/// Not at a whole minute.
const T0: Millis = 1_763_712_000_000 + 12_345;
/// In debug builds and beside other tests.
const SLOW: u32 = 8;

/// As the daemon does it, every five minutes of the readings' own time.
struct Writer {
    history: History,
    flushed: Millis,
}

impl Writer {
    fn new(history: History) -> Self {
        Self { history, flushed: T0 }
    }

    fn note(&mut self, point: &Arc<str>, reading: &Reading) {
        if reading.at - self.flushed >= 5 * MINUTE {
            self.flush(reading.at);
        }
        self.history.note(point, reading);
    }

    fn flush(&mut self, at: Millis) {
        self.flushed = at;
        self.history.flush(at);
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.history.due(at + DAY) {
            assert!(Instant::now() < deadline, "it is not written");
            thread::sleep(Duration::from_micros(200));
        }
    }
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }
}

/// What a bucket of a plot is made of.
#[derive(Debug, Default, Clone, PartialEq)]
struct Bucket {
    count: u64,
    valued: u64,
    least: Option<String>,
    most: Option<String>,
    sum: f64,
}

impl Bucket {
    fn add(&mut self, row: &Summary) {
        self.count += u64::from(row.count);
        self.valued += u64::from(row.valued);
        match &row.values {
            Values::Numbers { min, max, sum, .. } => {
                // Numbers in the order of texts: all are below a thousand and above nothing.
                self.widen(format!("{min:09.3}"), format!("{max:09.3}"));
                self.sum += sum;
            }
            Values::Words { min, max, .. } => self.widen(min.to_string(), max.to_string()),
            Values::None => {}
        }
    }

    fn widen(&mut self, least: String, most: String) {
        self.least = Some(self.least.take().map_or(least.clone(), |held| held.min(least)));
        self.most = Some(self.most.take().map_or(most.clone(), |held| held.max(most)));
    }
}

/// By the number of the bucket, of so many minutes each; and how many minutes stood for their readings.
fn buckets(
    view: &View,
    point: &str,
    asked: &RangeInclusive<Millis>,
    wide: i64,
    plain: bool,
) -> (BTreeMap<i64, Bucket>, usize) {
    let (mut buckets, mut minutes) = (BTreeMap::<i64, Bucket>::new(), 0);
    let mut add = |piece| {
        let row = match piece {
            Piece::Reading(sample) => Summary::of(&sample, 1),
            Piece::Rollup(row, _) => row,
            Piece::Minute(row) => {
                minutes += 1;
                row
            }
        };
        assert!(asked.contains(&row.at), "{} is not in {asked:?}", row.at);
        buckets.entry(row.at.div_euclid(wide * MINUTE)).or_default().add(&row);
    };
    let past = view.readings().unwrap();
    match plain {
        true => past.all(point, *asked.start(), *asked.end(), &mut add).unwrap(),
        false => past.in_minutes(point, *asked.start(), *asked.end(), &mut add).unwrap(),
    }
    (buckets, minutes)
}

fn same(a: &BTreeMap<i64, Bucket>, b: &BTreeMap<i64, Bucket>) {
    let without_sums = |buckets: &BTreeMap<i64, Bucket>| {
        let rows = buckets.iter().map(|(n, bucket)| (*n, Bucket { sum: 0.0, ..bucket.clone() }));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(without_sums(a), without_sums(b));
    for (n, bucket) in a {
        let other = b[n].sum;
        assert!(
            (bucket.sum - other).abs() <= 1e-9 * bucket.sum.abs().max(1.0),
            "{n}: {} {other}",
            bucket.sum
        );
    }
}

/// Numbers, doubtful ones, bad ones, words, gaps, some under one time, in segments of which some are rolled up, the last
/// is not, and a part is in memory still.
#[tokio::test]
async fn minutes_in_the_place_of_readings_say_the_same() {
    let mut house = House::open().await;
    let mut writer = Writer::new(house.history.take().unwrap());
    let (number, word): (Arc<str>, Arc<str>) = ("pump-1.pressure".into(), "pump-1.state".into());
    let (mut noise, mut at) = (Noise(7), T0);
    while at < T0 + DAY {
        at += match noise.below(400) {
            0 => 40 * MINUTE,
            1..=20 => 0,
            _ => 3000 + noise.below(20_000) as Millis,
        };
        let value = Value::Number(noise.below(9000) as f64 / 10.0);
        let reading = match noise.below(10) {
            0 => Reading::bad(PointId(0), at, Reason::NoAnswer),
            1 => Reading::uncertain(PointId(0), at, value, Reason::Retained),
            _ => Reading::good(PointId(0), at, value),
        };
        writer.note(&number, &reading);
        if noise.below(3) == 0 {
            let text = ["closed", "open", "开"][noise.below(3) as usize];
            writer.note(&word, &Reading::good(PointId(1), at, Value::Text(text.into())));
        }
    }
    let mut stood = 0;
    for _ in 0..60 {
        let from = T0 + noise.below(DAY as u64) as Millis - 5 * MINUTE;
        let to = from + noise.below(DAY as u64) as Millis;
        for point in [&number, &word] {
            let wide = 1 + noise.below(90) as i64;
            let (plain, none) = buckets(&house.view, point, &(from..=to), wide, true);
            let (fast, minutes) = buckets(&house.view, point, &(from..=to), wide, false);
            assert_eq!(none, 0);
            same(&plain, &fast);
            stood += minutes;
        }
    }
    assert!(stood > 10_000, "{stood} minutes stood for their readings");
    // A history that lost its minutes, or a part of one, is told by its readings.
    let told = |plain| buckets(&house.view, &number, &(T0..=T0 + DAY), 30, plain);
    let folder = house.dir.path().join("history");
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        if entry.file_name().to_string_lossy().starts_with("minutes-") {
            let ((plain, _), (_, whole)) = (told(true), told(false));
            let bytes = std::fs::read(entry.path()).unwrap();
            std::fs::write(entry.path(), &bytes[..bytes.len() - 9]).unwrap();
            let (fast, minutes) = told(false);
            same(&plain, &fast);
            std::fs::remove_file(entry.path()).unwrap();
            same(&told(true).0, &told(false).0);
            assert!(minutes < whole, "what was lost stands for nothing: {minutes} of {whole}");
        }
    }
}

/// As a technician's page asks for it. With `GATEHOUSE_RELEASE` a month and the figure of the issue.
#[tokio::test]
async fn a_month_of_readings_each_second_is_drawn_at_once() {
    let release = std::env::var_os("GATEHOUSE_RELEASE").is_some();
    let days = if release { 30 } else { 2 };
    let mut house = House::open().await;
    let mut writer = Writer::new(house.history.take().unwrap());
    let point: Arc<str> = "pump-1.pressure".into();
    let others: Vec<Arc<str>> =
        (0..300).map(|n| format!("unit-{}.value-{}", n / 10, n % 10).into()).collect();
    let (mut noise, mut bad, seconds) = (Noise(7), 0, days * 86_400);
    for second in 0..seconds {
        let at = T0 + second * 1000;
        let value = Value::Number((3000 + second % 600 + noise.below(20) as i64) as f64 / 10.0);
        let is_bad = noise.below(1000) == 0;
        bad += i64::from(is_bad);
        writer.note(
            &point,
            &if is_bad {
                Reading::bad(PointId(0), at, Reason::NoAnswer)
            } else {
                Reading::good(PointId(0), at, value)
            },
        );
        if second % 60 == 0 {
            for other in &others {
                writer.note(other, &Reading::good(PointId(1), at, Value::Number(noise.below(100) as f64)));
            }
        }
    }
    let (from, to) = (time::format(T0), time::format(T0 + seconds * 1000));
    let mut took = Vec::new();
    for count in [600, 1200] {
        let begun = Instant::now();
        let path = format!("/api/v1/points/{point}/history?from={from}&to={to}&buckets={count}");
        let plot = house.get(&path).await.json();
        took.push(begun.elapsed());
        let rows = plot["buckets"].as_array().unwrap();
        assert!(rows.len() <= count + 1 && (!release || rows.len() * 2 > count), "{} of {count}", rows.len());
        assert_eq!(rows[0][0], from);
        let counted: i64 = rows.iter().map(|row| row[4].as_i64().unwrap()).sum();
        assert_eq!(counted, seconds - bad);
        for row in rows {
            let [min, mean, max] = [1, 2, 3].map(|n| row[n].as_f64().unwrap());
            assert!(300.0 <= min && min < mean && mean < max && max < 362.0, "{row}");
        }
        assert!(plot.get("rolled_up_to").is_none(), "all of it is there");
    }
    println!("{days} days at 1 s in 600 and 1200 buckets: {took:?}");
    let most = Duration::from_millis(300) * if release { 1 } else { SLOW };
    assert!(took.iter().all(|took| *took < most), "{took:?}");
}
