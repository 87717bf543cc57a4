//! Tables for people: aligned, also with Chinese characters; on a terminal no wider than it, and coloured.

use std::io::{self, IsTerminal};

use unicode_width::UnicodeWidthChar;

/// Columns of a terminal that does not say.
const PAGE: u16 = 80;
const GAP: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Red,
    Yellow,
    Green,
    Dim,
}

#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    pub fn painted(text: impl AsRef<str>, paint: Option<Paint>) -> Self {
        Self { text: harmless(text.as_ref()), paint }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, None)
    }
}

/// The last column gives way where the page is too narrow.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|name| Cell::painted(name, Some(Paint::Dim))).collect();
        Self { rows: vec![head] }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// For the terminal at hand.
    pub fn render(&self) -> String {
        self.render_for(page(), colours())
    }

    fn render_for(&self, page: usize, colours: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| {
                self.rows.iter().filter_map(|row| row.get(c)).map(|cell| width(&cell.text)).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut left = page;
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let shown = cut(&cell.text, left);
                let fill = widths[column].saturating_sub(width(&shown)) + GAP;
                left = left.saturating_sub(widths[column] + GAP);
                line.push_str(&dyed(&shown, cell.paint.filter(|_| colours)));
                if column + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', fill));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// One word in colour, where there are colours.
pub fn paint(text: &str, paint: Option<Paint>) -> String {
    dyed(&harmless(text), paint.filter(|_| colours()))
}

/// Columns there are: as `COLUMNS` says, else as wide as the terminal is; a file or pipe has no edge.
pub fn page() -> usize {
    if let Some(columns) = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()) {
        return columns;
    }
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return usize::MAX;
    }
    // A serial console says 0.
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    usize::from(if columns == 0 { PAGE } else { columns })
}

fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn dyed(text: &str, paint: Option<Paint>) -> String {
    let code = match paint {
        None => return text.into(),
        Some(Paint::Red) => 31,
        Some(Paint::Yellow) => 33,
        Some(Paint::Green) => 32,
        Some(Paint::Dim) => 2,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// What a device or a person wrote must not steer the terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// At most so many columns; what is cut ends in `…`.
fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.into();
    }
    let mut used = 1;
    let fits = text.chars().take_while(|c| {
        used += char_width(*c);
        used <= columns
    });
    let mut shown: String = fits.collect();
    if columns > 0 {
        shown.push('…');
    }
    shown
}

/// `1.4 MiB`
pub fn size(bytes: u64) -> String {
    let power = (bytes.max(1).ilog2() / 10).min(4);
    match ["", "KiB", "MiB", "GiB", "TiB"][power as usize] {
        "" => format!("{bytes} bytes"),
        unit => format!("{:.1} {unit}", bytes as f64 / 1024_f64.powi(power.cast_signed())),
    }
}

/// Columns on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["place", "state", "title"]);
        table.row(vec![
            "3号楼/水泵房".into(),
            Cell::painted("open", Some(Paint::Red)),
            "水压低，请尽快处理".into(),
        ]);
        table.row(vec!["hall".into(), "closed".into(), "ok".into()]);
        table
    }

    #[test]
    fn columns_stand_below_each_other_also_with_chinese() {
        let text = sample().render_for(80, false);
        let starts: Vec<usize> = text
            .lines()
            .zip(["title", "水压低", "ok"])
            .map(|(line, word)| width(&line[..line.rfind(word).unwrap()]))
            .collect();
        assert_eq!(starts, [22, 22, 22], "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        for page in [0, 1, 10, 24, 25, 26, 30, 80] {
            let text = sample().render_for(page, false);
            for line in text.lines() {
                assert!(width(line) <= page, "{page}: `{line}`");
            }
        }
        assert!(sample().render_for(30, false).contains("水压低…"));
        assert!(sample().render_for(usize::MAX, false).contains("请尽快处理"), "a pipe has no edge");
    }

    #[test]
    fn colours_change_no_width_and_control_characters_do_not_pass() {
        let coloured = sample().render_for(80, true);
        assert!(coloured.contains("\x1b[31mopen\x1b[0m"));
        assert_eq!(harmless("a\x1b[31mb\n"), "a·[31mb·");
    }
}
