//! One picture of a running daemon, for a page of any size: sums above, then wires, devices, tickets and events, each as high
//! as there is room for.

use super::screen::Size;
use super::seen::{Line, Seen};
use super::view::{PARTS, View};
use crate::cli::events;
use crate::cli::fit::{cut, lasting};
use crate::cli::plot::{Letters, short};
use crate::cli::status::Device;
use crate::cli::table::{Cell, Paint, Table, dyed};
use crate::cli::tickets::{deadline, next_step, standing, urgency};
use crate::reading::Millis;
use crate::ticket::Ticket;
use crate::time;

/// The worst first.
const STATES: [&str; 5] = ["offline", "degraded", "unknown", "maintenance", "online"];
const LEVELS: [&str; 3] = ["urgent", "important", "ordinary"];
/// With fewer lines for each, the marked part alone is shown.
const LEAST: usize = 3;
/// Letters of a bar.
const BAR: usize = 8;

/// For whom it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub size: Size,
    pub colours: bool,
    pub letters: Letters,
}

pub struct Picture {
    pub lines: Vec<String>,
    /// How far each part can be scrolled.
    pub most: [usize; PARTS],
}

/// Of one part, all lines that there are.
struct Part {
    name: &'static str,
    head: Option<String>,
    lines: Vec<String>,
    /// Which of its things each line tells of: on a narrow page one needs several.
    things: Vec<usize>,
}

pub fn picture(view: &View, now: Millis, page: Page) -> Picture {
    let mut lines = above(view, now, page);
    let parts = parts(view, now, page);
    let room = page.size.rows.saturating_sub(lines.len());
    let rooms = rooms(&parts.each_ref().map(Part::height), view.marked, room);
    let mut most = [0; PARTS];
    for (number, (part, room)) in parts.iter().zip(rooms).enumerate() {
        let shown = room.saturating_sub(1 + part.head.iter().count());
        most[number] = part.lines.len().saturating_sub(shown);
        if room > 0 {
            let scrolled = view.scrolled[number].min(most[number]);
            // The latest events stand last.
            let first = if number == PARTS - 1 { most[number] - scrolled } else { scrolled };
            lines.push(title(part, first, shown, number == view.marked, page));
            lines.extend(part.head.iter().filter(|_| room > 1).cloned());
            lines.extend(part.lines.iter().skip(first).take(shown).cloned());
        }
    }
    lines.truncate(page.size.rows);
    Picture { lines, most }
}

impl Part {
    fn height(&self) -> usize {
        1 + self.head.iter().count() + self.lines.len()
    }

    fn of(name: &'static str, table: &Table, page: Page) -> Self {
        let (head, rows) = table.parts(page.size.columns, page.colours);
        let head = head.filter(|_| !rows.is_empty());
        Self { head, ..Self::in_lines(name, rows) }
    }

    fn in_lines(name: &'static str, each: Vec<Vec<String>>) -> Self {
        let things = each.iter().enumerate().flat_map(|(thing, lines)| vec![thing; lines.len()]).collect();
        Self { name, head: None, lines: each.into_iter().flatten().collect(), things }
    }
}

/// How many lines each part gets: an even share, what one does not need for the others, the marked one first.
fn rooms(heights: &[usize; PARTS], marked: usize, room: usize) -> [usize; PARTS] {
    let mut rooms = [0; PARTS];
    if room < PARTS * LEAST {
        rooms[marked] = heights[marked].min(room);
        return rooms;
    }
    let share = room / PARTS;
    for (own, height) in rooms.iter_mut().zip(heights) {
        *own = share.min(*height);
    }
    for part in std::iter::once(marked).chain(0..PARTS) {
        let left = room - rooms.iter().sum::<usize>();
        rooms[part] += left.min(heights[part] - rooms[part]);
    }
    rooms
}

fn title(part: &Part, first: usize, shown: usize, is_marked: bool, page: Page) -> String {
    let number = |line: usize| part.things.get(line).map_or(0, |thing| thing + 1);
    let last = part.things.len().saturating_sub(1);
    let which = match number(last) {
        0 => "none".to_owned(),
        all if shown > last => all.to_string(),
        all => format!("{}-{} of {all}", number(first), number((first + shown).saturating_sub(1).min(last))),
    };
    let sign = match (is_marked, page.letters) {
        (true, Letters::Unicode) => "▸ ",
        (true, Letters::Ascii) => "> ",
        (false, _) => "  ",
    };
    let text = cut(&format!("{sign}{}  {which}", part.name), page.size.columns);
    let paint = if is_marked { Paint::Bold } else { Paint::Dim };
    dyed(&text, Some(paint).filter(|_| page.colours))
}

// ---------------------------------------------------------------------------------------------- above

fn above(view: &View, now: Millis, page: Page) -> Vec<String> {
    let mut table = Table::list();
    if let Some((since, why)) = &view.trouble {
        let said = format!("no answer for {}: {why}", lasting(now - since));
        table.row(vec![Cell::painted(said, Some(Paint::Red))]);
    }
    if let Some(seen) = &view.seen {
        table.row(who(seen, now));
        table.row(sums(seen, view.readings.per_second));
        table.row(uplinks(seen));
    }
    table.flow(page.size.columns, page.colours)
}

fn who(seen: &Seen, now: Millis) -> Vec<Cell> {
    let state = match &seen.ready {
        Ok(()) => Cell::painted("ready", Some(Paint::Green)),
        Err(why) => Cell::painted(why, Some(Paint::Red)),
    };
    let clock = crate::cli::local(&time::format(now));
    vec![Cell::painted(&seen.site.gateway, Some(Paint::Bold)), (&seen.site.name).into(), state, clock.into()]
}

fn sums(seen: &Seen, readings: Option<f64>) -> Vec<Cell> {
    let mut cells: Vec<Cell> = Vec::new();
    let requests: Vec<f64> = seen.lines.iter().filter_map(|line| line.requests_per_second).collect();
    if !requests.is_empty() {
        cells.push(format!("{} requests/s", tenth(requests.iter().sum())).into());
    }
    cells.extend(readings.map(|readings| Cell::from(format!("{} readings/s", tenth(readings)))));
    cells.push(format!("{} devices:", seen.site.devices.len()).into());
    for state in STATES.iter().rev() {
        let count = seen.site.devices.iter().filter(|device| device.state == *state).count();
        if count > 0 {
            cells.push(Cell::painted(format!("{count} {state}"), state_colour(state)));
        }
    }
    cells.push(format!("{} tickets:", seen.tickets.count()).into());
    for (level, name) in (1..).zip(LEVELS) {
        let count = seen.tickets.tickets.iter().filter(|ticket| ticket.level.clamp(1, 3) == level).count();
        if count > 0 {
            cells.push(Cell::painted(format!("{count} {name}"), urgency(level)));
        }
    }
    cells
}

/// How far behind each consumer is.
fn uplinks(seen: &Seen) -> Vec<Cell> {
    let uplink = |consumer: &crate::cli::status::Consumer| match &consumer.error {
        Some(error) => {
            Cell::painted(format!("{} {} behind: {error}", consumer.name, consumer.lag), Some(Paint::Red))
        }
        None => Cell::painted(format!("{} {} behind", consumer.name, consumer.lag), None),
    };
    seen.consumers.iter().map(uplink).collect()
}

fn tenth(number: f64) -> String {
    short((number * 10.0).round() / 10.0)
}

fn state_colour(state: &str) -> Option<Paint> {
    match state {
        "offline" | "down" => Some(Paint::Red),
        "degraded" => Some(Paint::Yellow),
        "online" | "up" => Some(Paint::Green),
        _ => None,
    }
}

// ---------------------------------------------------------------------------------------------- parts

fn parts(view: &View, now: Millis, page: Page) -> [Part; PARTS] {
    let (lines, devices, tickets) = match &view.seen {
        Some(seen) => (
            lines(&seen.lines, page.letters),
            devices(&seen.site.devices, now),
            tickets(&seen.tickets.tickets, now),
        ),
        None => Default::default(),
    };
    let told = view.events.iter().map(|event| events::lines(event, page.size.columns, page.colours));
    [
        Part::of("LINES", &lines, page),
        Part::of("DEVICES", &devices, page),
        Part::of("TICKETS", &tickets, page),
        Part::in_lines("EVENTS", told.collect()),
    ]
}

fn lines(all: &[Line], letters: Letters) -> Table {
    let mut table = Table::new(&["LINE", "TYPE?", "STATE", "ONLINE", "BUSY", "REQ/S", "CYCLE?", "ERRORS…"]);
    for line in all {
        let slow = line.keeps_up == Some(false);
        let busy = line.busy.map_or_else(String::new, |busy| bar(busy, letters));
        let cycle = line.cycle_ms.map_or_else(String::new, |ms| lasting(ms.round() as Millis));
        let counts = line.errors.iter().filter(|(_, count)| **count > 0);
        let counts: Vec<String> = counts.map(|(kind, count)| format!("{kind} {count}")).collect();
        let said: Vec<String> = line.error.iter().cloned().chain(counts).collect();
        table.row(vec![
            (&line.id).into(),
            (&line.r#type).into(),
            Cell::painted(&line.state, state_colour(&line.state)),
            format!("{}/{}", line.online, line.devices).into(),
            Cell::painted(busy, slow.then_some(Paint::Yellow)),
            line.requests_per_second.map_or_else(String::new, tenth).into(),
            Cell::painted(cycle, slow.then_some(Paint::Yellow)),
            Cell::painted(said.join(", "), line.error.as_ref().map(|_| Paint::Red)),
        ]);
    }
    table
}

/// `████──── 52 %`
fn bar(share: f64, letters: Letters) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    let full = (share * BAR as f64).round() as usize;
    let (on, off) = if letters == Letters::Unicode { ("█", "─") } else { ("#", "-") };
    format!("{}{} {:.0} %", on.repeat(full), off.repeat(BAR - full), share * 100.0)
}

fn devices(all: &[Device], now: Millis) -> Table {
    let rank = |device: &Device| STATES.iter().position(|state| *state == device.state).unwrap_or(2);
    let mut sorted: Vec<&Device> = all.iter().collect();
    sorted.sort_by_key(|device| rank(device));
    let mut table = Table::new(&["DEVICE", "STATE", "FOR", "PLACE…", "WHY…"]);
    for device in sorted {
        let since = device.since.as_deref().and_then(|since| time::parse(since).ok());
        table.row(vec![
            (&device.id).into(),
            Cell::painted(&device.state, state_colour(&device.state)),
            since.map_or_else(String::new, |since| lasting(now - since)).into(),
            (&device.place).into(),
            device.error.as_deref().unwrap_or_default().into(),
        ]);
    }
    table
}

/// By level, and in it those whose time is up first.
fn tickets(all: &[Ticket], now: Millis) -> Table {
    let mut sorted: Vec<&Ticket> = all.iter().collect();
    sorted.sort_by_key(|ticket| (ticket.level, next_step(ticket).map_or(Millis::MAX, |(_, at)| at)));
    let mut table = Table::new(&["NUMBER", "LEVEL", "STATE", "DEADLINE", "TITLE…"]);
    for ticket in sorted {
        let (words, hurry) = deadline(ticket, now);
        table.row(vec![
            (&ticket.number).into(),
            Cell::painted(ticket.level.to_string(), urgency(ticket.level)),
            standing(ticket),
            Cell::painted(words, hurry),
            (&ticket.title).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fit::width;

    const NOW: Millis = 1_795_248_000_000;

    fn view(devices: usize) -> View {
        let mut view = View::default();
        view.see(Seen::example(devices).unwrap());
        view
    }

    fn page(columns: usize, rows: usize) -> Page {
        Page { size: Size { columns, rows }, colours: false, letters: Letters::Unicode }
    }

    #[test]
    fn it_fits_any_page() {
        let mut view = view(30);
        for columns in [16, 20, 40, 60, 80, 120, 200] {
            for rows in [1, 2, 5, 8, 12, 24, 60] {
                for marked in 0..PARTS {
                    view.marked = marked;
                    let drawn = picture(&view, NOW, page(columns, rows));
                    assert!(drawn.lines.len() <= rows, "{columns}×{rows}: {:#?}", drawn.lines);
                    let wide = drawn.lines.iter().find(|line| width(line) > columns);
                    assert_eq!(wide, None, "{columns}×{rows}");
                }
            }
        }
    }

    #[test]
    fn the_worst_stands_first_and_the_last_is_reached() {
        let mut view = view(200);
        view.marked = 1;
        let drawn = picture(&view, NOW, page(100, 40));
        let title = drawn.lines.iter().position(|line| line.starts_with("▸ DEVICES  1-")).unwrap();
        assert!(drawn.lines[title].ends_with("of 200"), "{}", drawn.lines[title]);
        assert!(drawn.lines[title + 2].starts_with("pump-3 "), "below the head: {:#?}", drawn.lines);
        assert!(
            drawn.lines.iter().filter(|line| line.contains("offline ")).count() >= 10,
            "{:#?}",
            drawn.lines
        );
        assert!(view.press(crate::cli::top::keys::Key::Last, drawn.most));
        let drawn = picture(&view, NOW, page(100, 40));
        assert!(drawn.lines.iter().any(|line| line.starts_with("pump-199 ")), "{:#?}", drawn.lines);
    }

    #[test]
    fn things_are_counted_not_the_lines_they_need() {
        let view = view(30);
        let title = |page: Page| {
            let drawn = picture(&view, NOW, page);
            drawn.lines.iter().find(|line| line.contains("DEVICES")).cloned().unwrap_or_default()
        };
        for columns in [30, 40, 120] {
            assert_eq!(title(page(columns, 400)).trim(), "DEVICES  30", "{columns}");
        }
        assert!(title(page(30, 40)).ends_with("of 30"), "{}", title(page(30, 40)));
    }

    #[test]
    fn a_wire_shows_how_busy_it_is_what_went_wrong_and_whether_it_keeps_up() {
        let drawn = picture(&view(1), NOW, page(120, 40));
        let line = |id: &str| drawn.lines.iter().find(|line| line.starts_with(id)).unwrap().clone();
        let words = ["rs485-1", "modbus-rtu", "up", "3/4", "███───── 42 %", "7.3", "950ms", "timeout 4"];
        assert_eq!(
            line("rs485-1").split("  ").map(str::trim).filter(|w| !w.is_empty()).collect::<Vec<_>>(),
            words
        );
        assert!(line("broker").contains("down") && line("broker").contains("refused"), "{}", line("broker"));
        assert!(drawn.lines.iter().any(|line| line.contains("crm 12 behind: 401")), "{:#?}", drawn.lines);
    }

    #[test]
    fn room_goes_to_whoever_needs_it_the_marked_part_first() {
        assert_eq!(rooms(&[2, 3, 4, 5], 0, 40), [2, 3, 4, 5]);
        assert_eq!(rooms(&[2, 50, 4, 50], 1, 40), [2, 24, 4, 10]);
        assert_eq!(rooms(&[9, 9, 9, 9], 2, 11), [0, 0, 9, 0], "too low for all");
    }
}
