//! The frame of a picture: what the point said as a line of steps, its axis, and the limits it met. Pure.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::curve::{Drawn, Stroke};
use super::scale::{Heights, Times, plain};
use super::svg::{Anchor, Sheet, fitted};
use super::words;
use crate::reading::{Millis, Value};
use crate::rules::Locale;

pub const GRID: &str = "#e1e6eb";
pub const INK: &str = "#1f2933";
pub const FAINT: &str = "#52606d";
const CURVE: &str = "#0b5cad";
const LIMIT: &str = "#b42318";
const BEYOND: &str = "#fff1ef";

const HEIGHT: f64 = 220.0;
const ROW: f64 = 34.0;
/// Columns of letters left of the frame.
const LABEL: usize = 10;

/// What a point said and against which limit.
#[derive(Debug, Clone)]
pub struct Plot<'a> {
    pub drawn: &'a Drawn,
    pub limit: &'a Json,
    /// When the condition held; `None`: it holds.
    pub held: &'a [(Millis, Option<Millis>)],
    pub locale: Locale,
    /// How long a value is believed to hold without another reading; `None`: until the next one.
    pub hold: Option<Millis>,
    /// Beyond it nothing can be known.
    pub now: Millis,
}

impl Plot<'_> {
    pub fn height(&self) -> f64 {
        match self.drawn {
            Drawn::Nothing => 0.0,
            Drawn::Numbers(_) => HEIGHT,
            Drawn::Words(words, _) => words.len().max(2) as f64 * ROW,
        }
    }

    pub fn draw(&self, sheet: &mut Sheet, times: &Times, top: f64) {
        match self.drawn {
            Drawn::Nothing => {}
            Drawn::Numbers(strokes) => {
                let said = strokes.iter().flat_map(|s| [s.least, s.most]);
                let heights = Heights::over(said.chain(lines(self.limit)), (top, HEIGHT));
                self.limits(sheet, times, &heights, top);
                self.breaches(sheet, times, top);
                axis(sheet, times, &heights.ticks());
                self.limit_lines(sheet, times, &heights);
                sheet.path(&steps(strokes, times, &heights, self), CURVE, 1.6);
            }
            Drawn::Words(words, strokes) => {
                let heights = Heights::rows(words.len().max(2), (top, self.height()));
                for (row, word) in words.iter().enumerate() {
                    if is_beyond(self.limit, word) {
                        let y = heights.y(row as f64) - ROW / 2.0;
                        sheet.rect((times.left, y), (times.width, ROW), BEYOND);
                    }
                }
                self.breaches(sheet, times, top);
                let named = |(row, word): (usize, &String)| {
                    (heights.y(row as f64), fitted(&words::value(word, self.locale), LABEL))
                };
                axis(sheet, times, &words.iter().enumerate().map(named).collect::<Vec<_>>());
                sheet.path(&steps(strokes, times, &heights, self), CURVE, 3.0);
            }
        }
    }

    /// When the condition held.
    fn breaches(&self, sheet: &mut Sheet, times: &Times, top: f64) {
        for (from, to) in self.held {
            let (from, to) = (times.x(*from), times.x(to.unwrap_or(self.now)));
            sheet.veil((from, top), ((to - from).max(1.0), self.height()), LIMIT);
        }
    }

    /// Tinted is where the condition holds.
    fn limits(&self, sheet: &mut Sheet, times: &Times, heights: &Heights, top: f64) {
        let bottom = top + HEIGHT;
        let mut tint = |from: f64, to: f64| {
            sheet.rect((times.left, from), (times.width, to - from), BEYOND);
        };
        match (condition(self.limit), lines(self.limit).as_slice()) {
            ("above", [limit]) => tint(top, heights.y(*limit)),
            ("below", [limit]) => tint(heights.y(*limit), bottom),
            ("outside", [low, high]) => {
                tint(top, heights.y(*high));
                tint(heights.y(*low), bottom);
            }
            ("inside", [low, high]) => tint(heights.y(*high), heights.y(*low)),
            _ => {}
        }
    }

    fn limit_lines(&self, sheet: &mut Sheet, times: &Times, heights: &Heights) {
        for limit in lines(self.limit) {
            let (y, right) = (heights.y(limit), times.left + times.width);
            sheet.line((times.left, y), (right, y), LIMIT, "6 4");
            sheet.text((right - 4.0, y - 4.0), 11, Anchor::End, LIMIT, &plain(limit));
        }
    }
}

fn axis(sheet: &mut Sheet, times: &Times, ticks: &[(f64, String)]) {
    for (y, label) in ticks {
        sheet.line((times.left, *y), (times.left + times.width, *y), GRID, "");
        sheet.text((times.left - 8.0, y + 4.0), 11, Anchor::End, FAINT, label);
    }
}

fn condition(limit: &Json) -> &str {
    limit.as_object().and_then(|limit| limit.keys().next()).map_or("", String::as_str)
}

/// The numbers of a condition that are values of its point.
fn lines(limit: &Json) -> Vec<f64> {
    let Some(value) = limit.as_object().and_then(|limit| limit.values().next()) else { return Vec::new() };
    let lines = match condition(limit) {
        "above" | "below" | "outside" | "inside" | "equals" | "not_equals" => match value {
            Json::Array(both) => both.iter().filter_map(Json::as_f64).take(2).collect(),
            one => one.as_f64().into_iter().collect(),
        },
        "forecast" => {
            let limit = value.get("above").or_else(|| value.get("below"));
            limit.and_then(Json::as_f64).into_iter().collect()
        }
        _ => Vec::new(),
    };
    let mut lines: Vec<f64> = lines;
    lines.sort_by(f64::total_cmp);
    lines
}

/// Whether a word is one that the condition is about.
fn is_beyond(limit: &Json, word: &str) -> bool {
    let Some(value) = limit.as_object().and_then(|limit| limit.values().next()) else { return false };
    let named = |value: &Json| {
        serde_json::from_value::<Value>(value.clone()).is_ok_and(|value| value.to_string() == word)
    };
    match condition(limit) {
        "equals" => named(value),
        "not_equals" => !named(value),
        "count" | "runtime" | "cycles" => value.get("equals").is_some_and(named),
        _ => false,
    }
}

/// A value holds until the next one, and no longer than it is believed.
fn steps(strokes: &[Stroke], times: &Times, heights: &Heights, plot: &Plot<'_>) -> String {
    let mut pen = Pen { steps: String::new(), at: None };
    let believed =
        |since: Millis| plot.hold.map_or(plot.now, |hold| since.saturating_add(hold).min(plot.now));
    let mut held: Option<(Millis, f64)> = None;
    for stroke in strokes {
        let (at, value) = stroke.first;
        if let Some((since, y)) = held.take() {
            let until = believed(since).max(since).min(at);
            if until >= times.span.start {
                pen.go(times.x(until), y);
            }
            if until < at {
                pen.lift();
            }
        }
        let x = times.x(at);
        let entered = value.map(|value| heights.y(value));
        match entered {
            Some(y) => pen.go(x, y),
            None => pen.lift(),
        }
        if stroke.says() {
            pen.go(x, heights.y(stroke.least));
            pen.go(x, heights.y(stroke.most));
        }
        match stroke.last {
            (last, Some(value)) => {
                let y = heights.y(value);
                pen.go(x, y);
                pen.go(times.x(last), y);
                held = Some((last, y));
                // What was before the picture shows in it only as far as it is believed.
                if last < times.span.start && believed(last) < times.span.start {
                    held = None;
                    pen = Pen { steps: String::new(), at: None };
                }
            }
            (_, None) => pen.lift(),
        }
    }
    if let Some((since, y)) = held {
        pen.go(times.x(believed(since).max(since).min(times.span.end)), y);
    }
    pen.steps
}

struct Pen {
    steps: String,
    at: Option<(String, String)>,
}

impl Pen {
    /// In a straight line, across or along; from where it was lifted it begins anew.
    fn go(&mut self, x: f64, y: f64) {
        let to = (format!("{x:.1}"), format!("{y:.1}"));
        // Writing into a String cannot fail.
        let _ = match &self.at {
            // Of no length: a dot, with round ends.
            None => write!(self.steps, "M{} {}h0", to.0, to.1),
            Some(at) if *at == to => Ok(()),
            Some((_, y)) if *y == to.1 => write!(self.steps, "H{}", to.0),
            Some((x, _)) if *x == to.0 => write!(self.steps, "V{}", to.1),
            Some(_) => write!(self.steps, "H{}V{}", to.0, to.1),
        };
        self.at = Some(to);
    }

    fn lift(&mut self) {
        self.at = None;
    }
}
