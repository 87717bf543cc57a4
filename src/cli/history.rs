//! `history`: what one point has said: drawn, as a table, or for machines.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde::Deserialize;
use serde_json::Value as Json;

use super::client::{Client, escaped, read};
use super::fit::{harmless, wrapped};
use super::moment::{Moment, moment};
use super::plot::{self, Axis, Curve, Lane, MARGIN, Picture, draw, short};
use super::table::{Table, page as columns};
use super::{Daemon, local, print};
use crate::reading::{Millis, Value};
use crate::time;

/// Lines of words under one plot.
const WORDS_MAX: usize = 8;
const LINES_DEFAULT: u16 = 24;
const BUCKETS_MAX: usize = 2000;

#[derive(Debug, Args)]
pub struct History {
    /// device.point, as `pump-1.pressure`
    point: String,
    /// How far back from --until (24h, 7d), or from which time on (2026-11-21T08:00:00Z)
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = moment)]
    since: Moment,
    /// Until then, in the same words; without it until now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Moment>,
    /// Numbers in lines, in place of the plot
    #[arg(long)]
    table: bool,
    /// In how many lines or buckets at the most; without it as many as the plot is wide, or 24
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=BUCKETS_MAX as i64))]
    buckets: Option<u16>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Deserialize)]
struct Answer {
    point: String,
    buckets: Vec<Bucket>,
    /// Until when the readings have given way.
    rolled_up_to: Option<String>,
}

/// When, least, mean of what was recorded, most, how many of it.
#[derive(Deserialize)]
struct Bucket(String, Option<Value>, Option<f64>, Option<Value>, u64);

/// The rules of the house, as far as they can be drawn.
#[derive(Default, Deserialize)]
struct Rules {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    id: String,
    points: Vec<String>,
    condition: Json,
}

/// Of one rule: what its line is called, and where it lies.
struct Limit {
    name: String,
    at: Vec<f64>,
}

pub async fn history(asked: &History) -> anyhow::Result<ExitCode> {
    let client = Client::new(&asked.daemon)?;
    let now = time::now();
    let to = asked.until.map_or(now, |until| until.before(now));
    let from = asked.since.before(to);
    if from >= to {
        bail!("--since {} is not before --until {}", time::format(from), time::format(to));
    }
    let path = format!(
        "/api/v1/points/{}/history?from={}&to={}&buckets={}",
        escaped(&asked.point),
        time::format(from),
        time::format(to),
        asked.many()
    );
    let text = client.text(&path).await?;
    if asked.daemon.json {
        print(&format!("{text}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let answer: Answer = read(&text)?;
    let page = if answer.buckets.is_empty() {
        format!("{} has no readings in this time\n", harmless(&answer.point))
    } else if asked.table {
        table(&answer)
    } else {
        picture(&answer, &limits(&client, &answer.point).await, (from, to), columns())
    };
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}

impl History {
    fn many(&self) -> usize {
        let usual = if self.table { LINES_DEFAULT.into() } else { plot::width() * 2 };
        self.buckets.map_or(usual, usize::from)
    }
}

/// A daemon that does not tell its rules is no reason to show nothing.
async fn limits(client: &Client, point: &str) -> Vec<Limit> {
    let rules: Rules = client.get("/api/v1/rules").await.unwrap_or_default();
    let of_point = rules.rules.into_iter().filter(|rule| rule.points.iter().any(|own| own == point));
    of_point.filter_map(|rule| limit(&rule)).collect()
}

/// `pump-low: below 200`; `None` where the condition is no line.
fn limit(rule: &Rule) -> Option<Limit> {
    let (how, bound) = rule.condition.as_object()?.iter().next()?;
    if !matches!(how.as_str(), "below" | "above" | "outside" | "inside") {
        return None;
    }
    let at: Vec<f64> = match bound {
        Json::Array(both) => both.iter().filter_map(Json::as_f64).collect(),
        one => one.as_f64().into_iter().collect(),
    };
    let said: Vec<String> = at.iter().map(|at| short(*at)).collect();
    (!at.is_empty()).then(|| Limit { name: format!("{}: {how} {}", rule.id, said.join(" to ")), at })
}

// ---------------------------------------------------------------------------------------------- drawn

fn picture(answer: &Answer, limits: &[Limit], span: (Millis, Millis), page: usize) -> String {
    let axis = Axis { from: span.0, to: span.1, width: plot::width(), letters: plot::letters() };
    let (mut curve, mut spoken) = (Curve::default(), Spoken::default());
    for Bucket(at, least, mean, most, _) in &answer.buckets {
        let Ok(at) = time::parse(at) else { continue };
        let numbers = least.as_ref().and_then(Value::number).zip(most.as_ref().and_then(Value::number));
        match (numbers, least, most) {
            (Some((least, most)), ..) => {
                for value in [least, most, mean.unwrap_or(most)] {
                    curve.add(&axis, at, Some(value));
                }
            }
            (None, Some(least), Some(most)) => spoken.say(at, [least.to_string(), most.to_string()]),
            _ => {
                curve.add(&axis, at, None);
                spoken.say(at, []);
            }
        }
    }
    let lanes = spoken.lanes(&axis);
    let lines: Vec<Vec<f64>> = limits.iter().map(|limit| limit.at.clone()).collect();
    let ends = (local(&time::format(span.0)), local(&time::format(span.1)));
    let picture = Picture { curve: &curve, limits: &lines, lanes: &lanes, ends };
    let mut text = format!("{}\n{}", harmless(&answer.point), draw(&axis, &picture));
    for (number, limit) in limits.iter().enumerate() {
        let mut sign = plot::limit_sign(axis.letters, number).to_string().repeat(2);
        for line in wrapped(&harmless(&limit.name), page.saturating_sub(MARGIN)) {
            let _ = writeln!(text, "{:>10} {line}", std::mem::take(&mut sign));
        }
    }
    for line in wrapped(&sum(answer), page.saturating_sub(MARGIN)) {
        let _ = writeln!(text, "{:>10} {line}", "");
    }
    text + &rolled_up(answer)
}

/// When which word was said; it holds until the next one.
#[derive(Default)]
struct Spoken {
    said: Vec<(Millis, BTreeSet<String>)>,
}

impl Spoken {
    fn say<const N: usize>(&mut self, at: Millis, words: [String; N]) {
        self.said.push((at, words.into()));
    }

    fn lanes(&self, axis: &Axis) -> Vec<(String, Lane)> {
        let words: BTreeSet<&String> = self.said.iter().flat_map(|(_, words)| words).collect();
        let shown = words.into_iter().take(WORDS_MAX);
        shown.map(|word| (harmless(word), self.lane(axis, word))).collect()
    }

    fn lane(&self, axis: &Axis, word: &str) -> Lane {
        let mut lane = Lane::default();
        for (index, (at, words)) in self.said.iter().enumerate() {
            // Beyond the last reading nothing is known.
            let until = self.said.get(index + 1).map_or(*at, |(next, _)| next - 1);
            if words.contains(word) {
                lane.mark(axis, *at, until.max(*at));
            }
        }
        lane
    }
}

/// `least 180, most 305; 1440 recorded readings, the last ones from 17:02 on`. No mean: what changes is recorded more often than
/// what stands still, and a mean of these would not be that of the time.
fn sum(answer: &Answer) -> String {
    let read: u64 = answer.buckets.iter().map(|bucket| bucket.4).sum();
    let numbers = |of: fn(&Bucket) -> Option<&Value>| {
        answer.buckets.iter().filter_map(of).filter_map(Value::number).collect::<Vec<f64>>()
    };
    let least = numbers(|bucket| bucket.1.as_ref()).into_iter().reduce(f64::min);
    let most = numbers(|bucket| bucket.3.as_ref()).into_iter().reduce(f64::max);
    let mut said = match (least, most) {
        (Some(least), Some(most)) if read > 0 => format!("least {}, most {}; ", short(least), short(most)),
        _ => String::new(),
    };
    let many =
        |n: u64| if n == 1 { "1 recorded reading".to_owned() } else { format!("{n} recorded readings") };
    said.push_str(&many(read));
    if let Some(Bucket(at, ..)) = answer.buckets.iter().rfind(|bucket| bucket.4 > 0) {
        let _ = write!(said, ", the last ones from {} on", local(at));
    }
    said
}

// ---------------------------------------------------------------------------------------------- in lines

fn table(answer: &Answer) -> String {
    let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".into(), plain);
    let mut table = Table::new(&["FROM", "LEAST", "MEAN OF RECORDED", "MOST", "RECORDED"]);
    for Bucket(at, min, mean, max, count) in &answer.buckets {
        let mean = mean.map_or_else(|| "-".into(), short);
        let read = match (count, min) {
            (0, Some(_)) => "0, filled".to_owned(),
            _ => count.to_string(),
        };
        table.row(vec![local(at).into(), shown(min).into(), mean.into(), shown(max).into(), read.into()]);
    }
    table.render() + &rolled_up(answer)
}

fn rolled_up(answer: &Answer) -> String {
    answer.rolled_up_to.as_ref().map_or_else(String::new, |until| {
        format!("before {} made of minutes or hours; the readings have given way\n", local(until))
    })
}

fn plain(value: &Value) -> String {
    value.number().map_or_else(|| value.to_string(), short)
}
