//! What a point said over the time of a picture, in columns: however much there is, a bounded number of strokes is left,
//! and the least and the most of each. The order in which readings come does not matter. Pure.

use std::ops::Range;

use crate::reading::{Millis, Value};
use crate::store::{Piece, Sample, Summary, Values};

/// Two pixels each.
pub const COLUMNS: usize = 360;
/// Different words of one point that have a line each; what else it says is left out.
pub const WORDS_MAX: usize = 8;
/// Characters of a word.
const WORD_CHARS_MAX: usize = 40;

/// As it is filled.
#[derive(Debug)]
pub struct Curve {
    span: Range<Millis>,
    numbers: Strokes,
    words: Strokes,
    /// In the order in which they came; a stroke of `words` speaks of them by number.
    known: Vec<String>,
}

#[derive(Debug)]
struct Strokes {
    /// What held when the picture begins.
    before: Option<(Millis, Option<f64>)>,
    columns: Vec<Option<Stroke>>,
}

/// One column: where it is entered, how far it goes down and up, where it is left. `None` as the last: nothing is known
/// from then on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    pub first: (Millis, Option<f64>),
    pub last: (Millis, Option<f64>),
    pub least: f64,
    pub most: f64,
    /// By number of the word.
    said: u16,
}

/// What there is to draw.
#[derive(Debug, Clone, PartialEq)]
pub enum Drawn {
    Nothing,
    Numbers(Vec<Stroke>),
    /// The words from below upwards; the strokes' numbers are their places.
    Words(Vec<String>, Vec<Stroke>),
}

impl Curve {
    pub fn new(span: Range<Millis>) -> Self {
        let strokes = || Strokes { before: None, columns: vec![None; COLUMNS] };
        Self { span, numbers: strokes(), words: strokes(), known: Vec::new() }
    }

    pub fn take(&mut self, piece: &Piece) {
        match piece {
            Piece::Reading(Sample { at, value, .. }) => self.add(*at, value.as_ref()),
            Piece::Rollup(row, stretch) => self.rollup(row, *stretch),
        }
    }

    /// `None`: a bad reading, which ends what held.
    pub fn add(&mut self, at: Millis, value: Option<&Value>) {
        match value.map(|value| (value.number(), value)) {
            None => {
                self.numbers.add(&self.span, at, None);
                self.words.add(&self.span, at, None);
            }
            Some((Some(number), _)) => {
                self.numbers.add(&self.span, at, Some(number).filter(|n| n.is_finite()));
            }
            Some((None, value)) => self.word(at, value),
        }
    }

    /// Of a stretch of which no more is kept: its mean, how far it went, and what it ended with.
    fn rollup(&mut self, row: &Summary, stretch: Millis) {
        let end = row.at.saturating_add(stretch - 1);
        match &row.values {
            Values::None => self.add(row.at, None),
            Values::Numbers { min, max, last, sum } => {
                let mean = sum / f64::from(row.valued.max(1));
                for number in [*min, *max, mean.clamp(min.min(*max), *max)] {
                    self.add(row.at, Some(&Value::Number(number)));
                }
                self.add(end, Some(&Value::Number(*last)));
            }
            Values::Words { min, max, last } => {
                self.word(row.at, min);
                self.word(row.at, max);
                self.word(end, last);
            }
        }
    }

    fn word(&mut self, at: Millis, value: &Value) {
        let text: String = value.to_string().chars().take(WORD_CHARS_MAX).collect();
        let number = self.known.iter().position(|known| *known == text).or_else(|| {
            (self.known.len() < WORDS_MAX).then(|| {
                self.known.push(text);
                self.known.len() - 1
            })
        });
        if let Some(number) = number {
            self.words.add(&self.span, at, Some(number as f64));
        }
    }

    /// Time of the first thing known in the picture.
    pub fn begin(&self) -> Option<Millis> {
        let first = |strokes: &Strokes| strokes.columns.iter().flatten().map(|s| s.first.0).next();
        let held = [&self.numbers, &self.words].into_iter().any(|s| matches!(s.before, Some((_, Some(_)))));
        if held {
            return Some(self.span.start);
        }
        first(&self.numbers).into_iter().chain(first(&self.words)).min()
    }

    /// Numbers where there are numbers; words else.
    pub fn drawn(self) -> Drawn {
        if self.numbers.says() {
            return Drawn::Numbers(self.numbers.all().collect());
        }
        if !self.words.says() {
            return Drawn::Nothing;
        }
        let mut places: Vec<usize> = (0..self.known.len()).collect();
        places.sort_by(|a, b| self.known[*a].cmp(&self.known[*b]));
        let place = |number: f64| places.iter().position(|p| *p == number as usize).unwrap_or(0) as f64;
        let sorted = |stroke: Stroke| {
            let said = (0..self.known.len()).filter(|n| stroke.said & (1 << n) != 0).map(|n| place(n as f64));
            let (least, most) =
                said.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), n| (a.min(n), b.max(n)));
            Stroke {
                first: (stroke.first.0, stroke.first.1.map(place)),
                last: (stroke.last.0, stroke.last.1.map(place)),
                least,
                most,
                ..stroke
            }
        };
        let strokes = self.words.all().map(sorted).collect();
        let mut words = self.known.clone();
        words.sort();
        Drawn::Words(words, strokes)
    }
}

impl Strokes {
    fn add(&mut self, span: &Range<Millis>, at: Millis, value: Option<f64>) {
        if at < span.start {
            if self.before.is_none_or(|(then, _)| then <= at) {
                self.before = Some((at, value));
            }
            return;
        }
        if at > span.end {
            return;
        }
        match &mut self.columns[column(span, at)] {
            Some(stroke) => stroke.add(at, value),
            empty => *empty = Some(Stroke::of(at, value)),
        }
    }

    fn says(&self) -> bool {
        matches!(self.before, Some((_, Some(_)))) || self.columns.iter().flatten().any(Stroke::says)
    }

    /// What held before first.
    fn all(&self) -> impl Iterator<Item = Stroke> {
        let before = self.before.map(|(at, value)| Stroke::of(at, value));
        before.into_iter().chain(self.columns.iter().flatten().copied())
    }
}

impl Stroke {
    fn of(at: Millis, value: Option<f64>) -> Self {
        let (least, most) = (value.unwrap_or(f64::INFINITY), value.unwrap_or(f64::NEG_INFINITY));
        Self { first: (at, value), last: (at, value), least, most, said: said(value) }
    }

    fn add(&mut self, at: Millis, value: Option<f64>) {
        if at < self.first.0 {
            self.first = (at, value);
        }
        if at >= self.last.0 {
            self.last = (at, value);
        }
        if let Some(value) = value {
            (self.least, self.most) = (self.least.min(value), self.most.max(value));
        }
        self.said |= said(value);
    }

    pub fn says(&self) -> bool {
        self.least <= self.most
    }
}

/// A bit for a word; of a number it says nothing.
fn said(value: Option<f64>) -> u16 {
    match value {
        Some(number) if (0.0..WORDS_MAX as f64).contains(&number) => 1 << number as u16,
        _ => 0,
    }
}

fn column(span: &Range<Millis>, at: Millis) -> usize {
    let whole = (i128::from(span.end) - i128::from(span.start)).max(1);
    let passed = i128::from(at) - i128::from(span.start);
    ((passed * COLUMNS as i128 / whole) as usize).min(COLUMNS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(word: &str) -> Value {
        Value::Text(word.into())
    }

    #[test]
    fn a_spike_of_one_reading_among_a_million_is_kept_in_few_strokes() {
        let mut curve = Curve::new(0..1_000_000);
        for at in 0..1_000_000 {
            curve.add(at, Some(&Value::Number(if at == 512_345 { 900.0 } else { 20.0 })));
        }
        let Drawn::Numbers(strokes) = curve.drawn() else { panic!("no numbers") };
        assert_eq!(strokes.len(), COLUMNS);
        let high: Vec<&Stroke> = strokes.iter().filter(|s| s.most == 900.0).collect();
        assert_eq!(high.len(), 1);
        assert_eq!((high[0].least, high[0].last.1), (20.0, Some(20.0)));
    }

    #[test]
    fn the_order_in_which_readings_come_does_not_matter() {
        let readings = [(10, Some(1.0)), (5, Some(7.0)), (12, None), (900, Some(3.0)), (-4, Some(2.0))];
        let drawn = |order: &[usize]| {
            let mut curve = Curve::new(0..1000);
            for n in order {
                curve.add(readings[*n].0, readings[*n].1.map(Value::Number).as_ref());
            }
            curve.drawn()
        };
        let expected = drawn(&[0, 1, 2, 3, 4]);
        assert_eq!(drawn(&[4, 3, 2, 1, 0]), expected);
        assert_eq!(drawn(&[2, 0, 4, 1, 3]), expected);
    }

    #[test]
    fn words_have_places_in_their_own_order_and_no_more_than_there_is_room_for() {
        let mut curve = Curve::new(0..1000);
        curve.add(0, Some(&text("open")));
        curve.add(1, Some(&text("closed")));
        curve.add(2, Some(&text("open")));
        let Drawn::Words(words, strokes) = curve.drawn() else { panic!("no words") };
        assert_eq!(words, ["closed", "open"]);
        assert_eq!((strokes[0].first.1, strokes[0].least, strokes[0].most), (Some(1.0), 0.0, 1.0));

        let mut many = Curve::new(0..1000);
        (0..500).for_each(|n| many.add(n, Some(&text(&format!("word-{n}")))));
        let Drawn::Words(words, _) = many.drawn() else { panic!("no words") };
        assert_eq!(words.len(), WORDS_MAX);
    }

    #[test]
    fn what_is_no_number_at_all_is_nothing() {
        let mut curve = Curve::new(0..10);
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            curve.add(3, Some(&Value::Number(number)));
        }
        curve.add(4, None);
        assert_eq!(curve.drawn(), Drawn::Nothing);
    }
}
