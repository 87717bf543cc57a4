//! A small plot for the terminal: what a point said, the least and the most of each column, so that a spike is seen; the
//! limits as lines; and below it when a ticket was open.
//!
//! With Unicode a character is two columns and four rows of dots; else a character is one of each.

use std::fmt::Write;

use unicode_width::UnicodeWidthChar;

use super::table::page as columns;
use crate::reading::Millis;

/// Columns of a page without an edge.
const WIDTH_USUAL: usize = 80;
/// A line longer than this is no easier to read.
const WIDTH_MAX: usize = 240;
/// Lines of characters.
const HEIGHT: usize = 8;
/// Characters left of the plot: a number and a space.
pub const MARGIN: usize = 11;

/// What fits the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letters {
    Unicode,
    Ascii,
}

/// Characters of a plot.
pub fn width() -> usize {
    let page = match columns() {
        // A file has no edge, but a plot needs one.
        usize::MAX => WIDTH_USUAL,
        columns => columns.min(WIDTH_MAX),
    };
    page.saturating_sub(MARGIN + 1).max(10)
}

/// Whether the terminal, or whatever reads, takes more than ASCII: the first of these that says anything decides.
pub fn letters() -> Letters {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let locale = said.into_iter().find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { Letters::Unicode } else { Letters::Ascii }
}

/// How time falls into columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub from: Millis,
    pub to: Millis,
    /// Characters.
    pub width: usize,
    pub letters: Letters,
}

/// What one point said, by column.
#[derive(Debug, Clone, Default)]
pub struct Curve {
    columns: Vec<Option<Column>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Column {
    least: f64,
    most: f64,
    /// What holds from here on; `None`: a bad reading came last.
    last: Option<f64>,
}

/// When something was so, by column.
#[derive(Debug, Clone, Default)]
pub struct Lane {
    columns: Vec<bool>,
}

/// What is drawn.
#[derive(Debug)]
pub struct Picture<'a> {
    pub curve: &'a Curve,
    /// By rule, its lines.
    pub limits: &'a [Vec<f64>],
    /// By rule, what its line below is called, and when its ticket was open.
    pub lanes: &'a [(String, Lane)],
    /// Both ends of the time, for people.
    pub ends: (String, String),
}

impl Axis {
    /// Columns of dots in one character.
    fn fold(&self) -> usize {
        if self.letters == Letters::Unicode { 2 } else { 1 }
    }

    fn columns(&self) -> usize {
        self.width * self.fold()
    }

    fn column(&self, at: Millis) -> usize {
        let span = i128::from(self.to - self.from).max(1);
        let passed = i128::from(at.clamp(self.from, self.to) - self.from);
        let column = passed * self.columns() as i128 / span;
        (column as usize).min(self.columns().saturating_sub(1))
    }
}

impl Curve {
    /// `None`: a bad reading.
    pub fn add(&mut self, axis: &Axis, at: Millis, value: Option<f64>) {
        self.columns.resize(axis.columns(), None);
        let Some(slot) = self.columns.get_mut(axis.column(at)) else { return };
        match (slot, value) {
            (Some(column), Some(value)) => {
                (column.least, column.most) = (column.least.min(value), column.most.max(value));
                column.last = Some(value);
            }
            (Some(column), None) => column.last = None,
            (slot @ None, Some(value)) => {
                *slot = Some(Column { least: value, most: value, last: Some(value) });
            }
            (slot @ None, None) => {
                // Nothing to draw, and nothing that holds on.
                *slot = Some(Column { least: f64::INFINITY, most: f64::NEG_INFINITY, last: None });
            }
        }
    }

    pub fn is_blank(&self) -> bool {
        !self.columns.iter().flatten().any(|column| column.least <= column.most)
    }

    /// Least and most of each column; a value holds until the next one.
    fn ranges(&self) -> Vec<Option<(f64, f64)>> {
        let mut held: Option<f64> = None;
        let mut ranges = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let (mut least, mut most) =
                held.map_or((f64::INFINITY, f64::NEG_INFINITY), |value| (value, value));
            if let Some(column) = column {
                (least, most) = (least.min(column.least), most.max(column.most));
                held = column.last;
            }
            ranges.push((least <= most).then_some((least, most)));
        }
        // Beyond the last reading nothing is known.
        let known = self.columns.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        ranges.iter_mut().skip(known).for_each(|range| *range = None);
        ranges
    }
}

impl Lane {
    pub fn mark(&mut self, axis: &Axis, from: Millis, to: Millis) {
        self.columns.resize(axis.columns(), false);
        let (first, last) = (axis.column(from), axis.column(to));
        if let Some(columns) = self.columns.get_mut(first..=last) {
            columns.fill(true);
        }
    }

    /// What is marked here or there.
    pub fn join(&mut self, other: &Lane) {
        self.columns.resize(self.columns.len().max(other.columns.len()), false);
        self.columns.iter_mut().zip(&other.columns).for_each(|(here, there)| *here |= there);
    }

    fn line(&self, axis: &Axis) -> String {
        let sign = if axis.letters == Letters::Unicode { '█' } else { '#' };
        let marked = |columns: &[bool]| if columns.contains(&true) { sign } else { ' ' };
        self.columns.chunks(axis.fold()).map(marked).collect()
    }
}

// ---------------------------------------------------------------------------------------------- drawing

/// From the lowest to the highest value, and how many rows of dots there are between them.
#[derive(Debug, Clone, Copy)]
struct Scale {
    least: f64,
    most: f64,
    rows: usize,
}

impl Scale {
    fn over(ranges: &[Option<(f64, f64)>], limits: &[Vec<f64>], rows: usize) -> Self {
        let values = ranges.iter().flatten().flat_map(|(least, most)| [*least, *most]);
        let values = values.chain(limits.iter().flatten().copied());
        let (least, most) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
        if least < most {
            return Self { least, most, rows };
        }
        // A value that never changes lies in the middle.
        let middle = if least.is_finite() { least } else { 0.0 };
        let room = (middle.abs() * 0.1).max(1.0);
        Self { least: middle - room, most: middle + room, rows }
    }

    /// The row of dots of a value, from above.
    fn row(&self, value: f64) -> usize {
        let part = (self.most - value) / (self.most - self.least);
        ((part * (self.rows - 1) as f64).round().max(0.0) as usize).min(self.rows - 1)
    }
}

/// The plot of one point, its lanes below it, and its time below them.
pub fn draw(axis: &Axis, picture: &Picture<'_>) -> String {
    let mut text = String::new();
    if !picture.curve.is_blank() {
        let tall = if axis.letters == Letters::Unicode { 4 } else { 1 };
        let ranges = picture.curve.ranges();
        let scale = Scale::over(&ranges, picture.limits, HEIGHT * tall);
        for line in 0..HEIGHT {
            let label = label(&scale, picture.limits, line, tall);
            let _ = writeln!(
                text,
                "{label:>10} {}",
                drawn(axis, &ranges, &scale, picture.limits, line).trim_end()
            );
        }
    }
    for (name, lane) in picture.lanes {
        let name = fitted(name);
        let _ = writeln!(text, "{name} {}", lane.line(axis).trim_end());
    }
    let (from, to) = &picture.ends;
    match axis.width.checked_sub(from.len() + to.len() + 1) {
        Some(gap) => {
            let _ = writeln!(text, "{:>10} {from}{}{to}", "", " ".repeat(gap + 1));
        }
        // Each on a line of its own, where they do not fit beside each other.
        None => {
            let _ = writeln!(text, "{:>10} {from}\n{:>10} {to:>width$}", "", "", width = axis.width);
        }
    }
    text
}

/// What stands left of a line: a limit on it, or the ends of the scale.
fn label(scale: &Scale, limits: &[Vec<f64>], line: usize, tall: usize) -> String {
    let here = |value: &&f64| scale.row(**value) / tall == line;
    match limits.iter().flatten().find(here) {
        Some(limit) => short(*limit),
        None if line == 0 => short(scale.most),
        None if line == HEIGHT - 1 => short(scale.least),
        None => String::new(),
    }
}

/// Of what the lines of the limits of a rule are made, by its place among the rules.
pub fn limit_sign(letters: Letters, number: usize) -> char {
    match (number, letters) {
        (0, Letters::Unicode) => '─',
        (_, Letters::Unicode) => '┄',
        (0, Letters::Ascii) => '-',
        (_, Letters::Ascii) => '.',
    }
}

fn drawn(
    axis: &Axis,
    ranges: &[Option<(f64, f64)>],
    scale: &Scale,
    limits: &[Vec<f64>],
    line: usize,
) -> String {
    let tall = scale.rows / HEIGHT;
    let limit = |line: usize| limits.iter().position(|own| own.iter().any(|v| scale.row(*v) / tall == line));
    let empty = limit(line).map_or(' ', |number| limit_sign(axis.letters, number));
    let cell = |ranges: &[Option<(f64, f64)>]| {
        let mut dots = 0;
        for (column, range) in ranges.iter().enumerate() {
            let Some((least, most)) = range else { continue };
            for row in scale.row(*most)..=scale.row(*least) {
                if row / tall == line {
                    dots |= BRAILLE[column][row % tall];
                }
            }
        }
        match (dots, axis.letters) {
            (0, _) => empty,
            (dots, Letters::Unicode) => char::from_u32(0x2800 + dots).unwrap_or('#'),
            (_, Letters::Ascii) => '#',
        }
    };
    ranges.chunks(axis.fold()).map(cell).collect()
}

/// The dots of a braille character, by column and row.
const BRAILLE: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// A number in at most ten characters.
pub fn short(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    let text = format!("{rounded}");
    if text.len() < MARGIN { text } else { format!("{value:.3e}") }
}

/// Ten columns wide, cut or filled.
fn fitted(name: &str) -> String {
    let mut fitted = String::new();
    let mut used = 0;
    for c in name.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > MARGIN - 1 {
            break;
        }
        fitted.push(c);
        used += wide;
    }
    " ".repeat(MARGIN - 1 - used) + &fitted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(width: usize, letters: Letters) -> Axis {
        Axis { from: 0, to: 1000, width, letters }
    }

    fn drawn_lines(axis: &Axis, values: &[(Millis, Option<f64>)], limits: &[Vec<f64>]) -> Vec<String> {
        let mut curve = Curve::default();
        values.iter().for_each(|(at, value)| curve.add(axis, *at, *value));
        let mut lane = Lane::default();
        lane.mark(axis, 500, 1000);
        let lanes = [("open".to_owned(), lane)];
        let picture = Picture { curve: &curve, limits, lanes: &lanes, ends: ("a".into(), "z".into()) };
        draw(axis, &picture).lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_value_holds_until_the_next_one_and_a_bad_one_ends_it() {
        let axis = axis(10, Letters::Ascii);
        let values = [(0, Some(7.0)), (300, Some(0.0)), (500, None), (700, Some(7.0)), (950, Some(7.0))];
        let lines = drawn_lines(&axis, &values, &[]);
        assert_eq!(lines[0], "         7 ####   ###");
        assert_eq!(lines[3], "              #");
        assert_eq!(lines[7], "         0    ###");
        assert_eq!(lines[8], "      open      #####");
        assert_eq!(lines[9], "           a        z");
    }

    #[test]
    fn a_spike_of_one_reading_among_a_million_is_seen() {
        for letters in [Letters::Ascii, Letters::Unicode] {
            let axis = Axis { from: 0, to: 1_000_000, width: 40, letters };
            let mut curve = Curve::default();
            for at in 0..1_000_000 {
                curve.add(&axis, at, Some(if at == 512_345 { 900.0 } else { 20.0 }));
            }
            let picture = Picture { curve: &curve, limits: &[], lanes: &[], ends: <_>::default() };
            let text = draw(&axis, &picture);
            let first = text.lines().next().unwrap();
            assert!(first.starts_with("       900 "), "{text}");
            assert_eq!(first[MARGIN..].trim().chars().count(), 1, "{text}");
        }
    }

    #[test]
    fn limits_are_lines_of_their_own_where_no_value_is() {
        let ascii = drawn_lines(
            &axis(10, Letters::Ascii),
            &[(0, Some(0.0)), (999, Some(70.0))],
            &[vec![20.0], vec![50.0]],
        );
        assert_eq!(ascii[5], "        20 ---------#");
        assert_eq!(ascii[2], "        50 .........#");
        let unicode = drawn_lines(
            &axis(4, Letters::Unicode),
            &[(0, Some(0.0)), (999, Some(70.0))],
            &[vec![70.0], vec![0.0]],
        );
        assert_eq!(unicode[0], "        70 ───⢸");
        assert_eq!(unicode[7], "         0 ⣀⣀⣀⣸");
    }

    #[test]
    fn every_line_fits_whatever_is_drawn() {
        for letters in [Letters::Ascii, Letters::Unicode] {
            for width in [1, 2, 7, 69] {
                let axis = axis(width, letters);
                for value in [0.0, 1e300, -1e-9, 123_456_789.123] {
                    for line in drawn_lines(&axis, &[(0, Some(value)), (1000, Some(1.0))], &[vec![5.0]]) {
                        assert!(line.chars().count() <= MARGIN + width.max(3), "{width} {value}: `{line}`");
                    }
                }
            }
        }
    }

    #[test]
    fn one_instant_is_drawn_as_well_as_a_year() {
        let axis = Axis { from: 5, to: 5, width: 3, letters: Letters::Ascii };
        let lines = drawn_lines(&axis, &[(5, Some(1.0))], &[]);
        assert!(lines.iter().any(|line| line.ends_with('#')), "{lines:?}");
    }
}
