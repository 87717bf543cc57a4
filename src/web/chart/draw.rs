//! The picture of a ticket as a whole: what it is called, the reading around the breach, its states, and what the marks
//! mean. Pure.

use std::ops::Range;

use jiff::tz::TimeZone;

use super::curve::Drawn;
use super::plot::{FAINT, GRID, INK, Plot};
use super::scale::{Times, written};
use super::story::{Kind, Story};
use super::svg::{Anchor, Sheet, fitted};
use super::words;
use crate::reading::Millis;
use crate::rules::Locale;
use crate::ticket::{State, Ticket};

const WIDTH: f64 = 800.0;
const LEFT: f64 = 84.0;
const INNER: f64 = 692.0;
/// Rows of marks above the frame, and how high one is.
const MARK_ROWS: usize = 3;
const MARK: f64 = 17.0;
const LANE: f64 = 16.0;
const LEGEND_COLUMNS: usize = 3;
const LEGEND: f64 = 20.0;
/// Columns of letters that fit.
const TITLE: usize = 84;
const SUBTITLE: usize = 112;
/// Columns of letters that are read aloud.
const ALOUD: usize = 300;

const WHEN: &str = "%Y-%m-%d %H:%M:%S";

/// All that is in it.
#[derive(Debug, Clone)]
pub struct Picture<'a> {
    pub ticket: &'a Ticket,
    pub story: &'a Story,
    pub span: Range<Millis>,
    pub drawn: &'a Drawn,
    /// How long a value is believed without another reading; `None`: until the next one.
    pub hold: Option<Millis>,
    pub now: Millis,
    pub zone: &'a TimeZone,
    /// As people call it: `Asia/Shanghai`.
    pub zone_name: &'a str,
    pub locale: Locale,
}

/// An SVG of its own: nothing in it needs anything outside of it.
pub fn draw(picture: &Picture<'_>) -> String {
    let ticket = picture.ticket;
    let times = Times { span: picture.span.clone(), left: LEFT, width: INNER };
    let plot = Plot {
        drawn: picture.drawn,
        limit: &ticket.limit,
        held: &picture.story.held,
        locale: picture.locale,
        hold: picture.hold,
        now: picture.now,
    };
    let mut sheet = Sheet::default();
    picture.head(&mut sheet);

    let discs = picture.discs(&times);
    let rows = discs.iter().map(|disc| disc.row + 1).max().unwrap_or(0);
    let top = 76.0 + rows as f64 * MARK;
    let height = plot.height();
    plot.draw(&mut sheet, &times, top);

    let mut bottom = top + height + 8.0;
    if *picture.drawn == Drawn::Nothing {
        bottom = picture.no_plot(&mut sheet, &times, bottom);
    }
    picture.states(&mut sheet, &times, bottom);
    bottom += LANE;
    for disc in &discs {
        disc.draw(&mut sheet, 76.0 + MARK * (disc.row as f64 + 0.5), bottom);
    }
    picture.time_axis(&mut sheet, &times, bottom);
    let height = picture.legend(&mut sheet, bottom + 56.0, &discs);
    sheet.svg(WIDTH, height, &fitted(&picture.title(), ALOUD), &fitted(&picture.told(), 4 * ALOUD))
}

/// The number of a mark, and where its line stands; marks outside of the picture have none.
struct Disc {
    number: usize,
    x: f64,
    row: usize,
    colour: &'static str,
}

impl Disc {
    fn draw(&self, sheet: &mut Sheet, y: f64, bottom: f64) {
        sheet.line((self.x, y), (self.x, bottom), self.colour, "2 3");
        sheet.disc((self.x, y), 7.5, self.colour, "none");
        sheet.text((self.x, y + 3.5), 10, Anchor::Middle, "#ffffff", &self.number.to_string());
    }
}

impl Picture<'_> {
    fn title(&self) -> String {
        if self.ticket.title.is_empty() { self.ticket.rule.to_string() } else { self.ticket.title.clone() }
    }

    fn head(&self, sheet: &mut Sheet) {
        let t = self.ticket;
        sheet.text((16.0, 28.0), 17, Anchor::Start, INK, &fitted(&self.title(), TITLE));
        let unit = t.unit.as_deref().unwrap_or_default();
        let parts = [
            t.number.clone(),
            t.place.to_string(),
            words::limit(&t.limit, unit, self.locale),
            words::level(t.level, self.locale).to_owned(),
            words::state(t.state, self.locale).to_owned(),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        sheet.text((16.0, 48.0), 12, Anchor::Start, FAINT, &fitted(&parts.join(" · "), SUBTITLE));
        let subject = t.point.as_ref().or(t.device.as_ref()).map_or("", |subject| subject);
        let subject = if unit.is_empty() { subject.to_owned() } else { format!("{subject} ({unit})") };
        sheet.text((16.0, 66.0), 12, Anchor::Start, FAINT, &fitted(&subject, SUBTITLE));
    }

    /// Marks that are close to each other stand in rows.
    fn discs(&self, times: &Times) -> Vec<Disc> {
        let mut ends = [f64::NEG_INFINITY; MARK_ROWS];
        let mut discs = Vec::new();
        for (index, (at, kind)) in self.story.marks.iter().enumerate() {
            if !times.has(*at) {
                continue;
            }
            let x = times.x(*at);
            let row = ends.iter().position(|end| *end <= x).unwrap_or(MARK_ROWS - 1);
            ends[row] = x + MARK;
            discs.push(Disc { number: index + 1, x, row, colour: colour(*kind) });
        }
        discs
    }

    /// A rule without a point, or one of which nothing was read: when its condition held.
    fn no_plot(&self, sheet: &mut Sheet, times: &Times, top: f64) -> f64 {
        let (name, top) = (words::condition(self.locale), top + 2.0);
        sheet.text((LEFT - 8.0, top + LANE / 2.0 + 4.0), 11, Anchor::End, FAINT, name);
        sheet.rect((LEFT, top), (INNER, LANE), "#f1f4f7");
        for (from, to) in &self.story.held {
            let (from, to) = (times.x(*from), times.x(to.unwrap_or(self.now)));
            sheet.rect((from, top), ((to - from).max(2.0), LANE), colour(Kind::Since));
        }
        if self.ticket.point.is_some() {
            let x = LEFT + INNER - 6.0;
            sheet.text((x, top - 6.0), 11, Anchor::End, FAINT, words::no_reading(self.locale));
        }
        top + LANE + 8.0
    }

    /// What people made of it, as a lane below.
    fn states(&self, sheet: &mut Sheet, times: &Times, top: f64) {
        let y = top + LANE / 2.0 + 4.0;
        sheet.text((LEFT - 8.0, y), 11, Anchor::End, FAINT, words::ticket(self.locale));
        sheet.rect((LEFT, top), (INNER, LANE), "#f1f4f7");
        let states = &self.story.states;
        for (index, (at, state)) in states.iter().enumerate() {
            let next = states.get(index + 1).map_or(self.now, |(next, _)| *next);
            if *state == State::Closed || next < times.span.start || *at > times.span.end {
                continue;
            }
            let (from, to) = (times.x(*at), times.x(next));
            sheet.rect((from, top), ((to - from).max(1.0), LANE), state_colour(*state));
            let word = words::state(*state, self.locale);
            if to - from > 80.0 {
                sheet.text((from + 6.0, y), 11, Anchor::Start, "#ffffff", word);
            }
        }
    }

    fn time_axis(&self, sheet: &mut Sheet, times: &Times, bottom: f64) {
        for tick in times.ticks(self.zone) {
            sheet.line((tick.x, bottom), (tick.x, bottom + 5.0), FAINT, "");
            sheet.text((tick.x, bottom + 18.0), 11, Anchor::Middle, FAINT, &tick.time);
            if let Some(day) = tick.day {
                sheet.text((tick.x, bottom + 32.0), 11, Anchor::Middle, FAINT, &day);
            }
        }
        sheet.line((LEFT, bottom), (LEFT + INNER, bottom), GRID, "");
        let right = (LEFT + INNER, bottom + 32.0);
        sheet.text(right, 11, Anchor::End, FAINT, &fitted(self.zone_name, 30));
    }

    /// What the numbers mean; the height of the whole.
    fn legend(&self, sheet: &mut Sheet, top: f64, discs: &[Disc]) -> f64 {
        let marks = &self.story.marks;
        let column = (WIDTH - 32.0) / LEGEND_COLUMNS as f64;
        let place = |index: usize| {
            let (row, across) = (index / LEGEND_COLUMNS, index % LEGEND_COLUMNS);
            (24.0 + across as f64 * column, top + row as f64 * LEGEND)
        };
        for (index, (at, kind)) in marks.iter().enumerate() {
            let (x, y) = place(index);
            let inside = discs.iter().any(|disc| disc.number == index + 1);
            let (fill, ink) = if inside { (colour(*kind), "#ffffff") } else { ("#ffffff", colour(*kind)) };
            sheet.disc((x, y), 7.5, fill, colour(*kind));
            sheet.text((x, y + 3.5), 10, Anchor::Middle, ink, &(index + 1).to_string());
            let text = format!("{} {}", words::mark(*kind, self.locale), written(self.zone, *at, WHEN));
            sheet.text((x + 14.0, y + 4.0), 12, Anchor::Start, INK, &text);
        }
        let mut entries = marks.len();
        if self.story.left_out > 0 {
            let (x, y) = place(entries);
            let more = words::more(self.story.left_out, self.locale);
            sheet.text((x + 14.0, y + 4.0), 12, Anchor::Start, FAINT, &more);
            entries += 1;
        }
        top + entries.div_ceil(LEGEND_COLUMNS) as f64 * LEGEND
    }

    /// The same for who cannot see it.
    fn told(&self) -> String {
        let t = self.ticket;
        let unit = t.unit.as_deref().unwrap_or_default();
        let mut told = vec![t.number.clone(), t.place.to_string(), words::limit(&t.limit, unit, self.locale)];
        told.extend(t.value.as_ref().map(|said| {
            format!("{} {unit}", words::value(&said.to_string(), self.locale)).trim_end().to_owned()
        }));
        told.extend(self.story.marks.iter().map(|(at, kind)| {
            format!("{} {}", words::mark(*kind, self.locale), written(self.zone, *at, WHEN))
        }));
        told.retain(|part| !part.is_empty());
        told.join("; ")
    }
}

fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Since | Kind::Opened | Kind::Reopened | Kind::Escalated => "#b42318",
        Kind::Acknowledged => "#9a5b00",
        Kind::Started => "#0b5cad",
        Kind::Cleared | Kind::Resolved | Kind::Verified => "#1c6e35",
        Kind::Closed => "#52606d",
    }
}

fn state_colour(state: State) -> &'static str {
    match state {
        State::Open => "#b42318",
        State::Acknowledged => "#9a5b00",
        State::InProgress => "#0b5cad",
        State::Resolved => "#1c6e35",
        State::Closed => "#52606d",
    }
}
