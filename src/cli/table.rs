//! Tables for people: aligned, also with Chinese characters; on a terminal no wider than it, and coloured.
//!
//! Where a table is wider than the page, columns that may be cut give way, the widest before the others; then those go that
//! one can do without. Where that is not enough, each row becomes a few lines of its own: a number or an id that one needs to
//! act is never cut.

use std::io::{self, IsTerminal};

use rustix::termios::tcgetwinsize;

use super::fit::{cut, filled, wrapped};
pub use super::fit::{harmless, size, width};

/// Columns of a terminal that does not say.
const PAGE: u16 = 80;
const GAP: usize = 2;
/// What a column that gives way keeps, and what it keeps while there are columns that can go.
const KEPT: usize = 8;
const KEPT_BESIDE_OTHERS: usize = 24;
/// Of a column that is broken into lines, since shorter lines are no pleasure.
const KEPT_BROKEN: usize = 24;
const INDENT: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Red,
    Yellow,
    Green,
    Dim,
    /// For what is marked.
    Bold,
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

/// What becomes of a column on a page that is too narrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Whole,
    Cut,
    /// Left out.
    Spared,
    /// Goes on below itself; the last column only.
    Broken,
}

#[derive(Debug, Default)]
pub struct Table {
    head: Option<Vec<Cell>>,
    rows: Vec<Vec<Cell>>,
    cut: Vec<usize>,
    spared: Vec<usize>,
    broken: bool,
}

fn narrowest(page: usize) -> usize {
    page.max(INDENT + 2)
}

/// How wide each column is; `None`: it is left out.
type Widths = Vec<Option<usize>>;

impl Table {
    /// A name that ends in `…` is that of a column that may be cut, in `?` of one that may be left out; the last one may end
    /// in `↵` and go on below itself.
    pub fn new(head: &[&str]) -> Self {
        let marked = |mark| (0..head.len()).filter(|column| head[*column].ends_with(mark)).collect();
        let broken = head.last().is_some_and(|name| name.ends_with('↵'));
        let cell = |name: &&str| Cell::painted(name.trim_end_matches(['…', '?', '↵']), Some(Paint::Dim));
        let head = Some(head.iter().map(cell).collect());
        Self { head, rows: Vec::new(), cut: marked('…'), spared: marked('?'), broken }
    }

    /// Without a head: what a thing is called, and what is said of it, on as many lines as that needs.
    pub fn list() -> Self {
        Self { broken: true, ..Self::default() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// For the terminal at hand.
    pub fn render(&self) -> String {
        self.render_for(page(), colours())
    }

    pub fn render_for(&self, page: usize, colours: bool) -> String {
        let mut text = String::new();
        for line in self.lines(page, colours) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    pub fn lines(&self, page: usize, colours: bool) -> Vec<String> {
        let (head, rows) = self.parts(page, colours);
        head.into_iter().chain(rows.into_iter().flatten()).collect()
    }

    /// The head apart, where there is one above columns, and the lines of each row.
    pub fn parts(&self, page: usize, colours: bool) -> (Option<String>, Vec<Vec<String>>) {
        let all = self.widths(page, &[], KEPT_BESIDE_OTHERS);
        let Some(widths) = all.or_else(|| self.widths(page, &self.spared, KEPT)) else {
            return (
                None,
                self.rows.iter().map(|row| self.in_lines(row, narrowest(page), colours)).collect(),
            );
        };
        let in_columns = |row: &Vec<Cell>| self.in_columns(row, &widths, colours);
        let head = self.head.as_ref().map(|head| in_columns(head).swap_remove(0));
        (head, self.rows.iter().map(in_columns).collect())
    }

    /// Cell after cell, without columns.
    pub fn flow(&self, page: usize, colours: bool) -> Vec<String> {
        self.rows.iter().flat_map(|row| self.in_lines(row, narrowest(page), colours)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.head.iter().chain(&self.rows)
    }

    fn way(&self, column: usize, columns: usize) -> Way {
        match column {
            _ if self.cut.contains(&column) => Way::Cut,
            _ if self.spared.contains(&column) => Way::Spared,
            _ if self.broken && column + 1 == columns => Way::Broken,
            _ => Way::Whole,
        }
    }

    /// How wide each column is on this page without those `spared`; `None`: they do not stand beside each other.
    fn widths(&self, page: usize, spared: &[usize], kept: usize) -> Option<Widths> {
        let columns = self.all().map(Vec::len).max().unwrap_or(0);
        let widest =
            |column: usize| self.all().filter_map(|row| row.get(column)).map(|cell| width(&cell.text)).max();
        let shown = |column: &usize| !spared.contains(column);
        let mut widths: Vec<usize> =
            (0..columns).map(|column| widest(column).filter(|_| shown(&column)).unwrap_or(0)).collect();
        let gaps = GAP * (columns - spared.len()).saturating_sub(1);
        while gaps + widths.iter().sum::<usize>() > page {
            let least = |column| match self.way(column, columns) {
                Way::Whole | Way::Spared => usize::MAX,
                Way::Cut => kept,
                Way::Broken => KEPT_BROKEN,
            };
            let gives = (0..columns).filter(|column| widths[*column] > least(*column));
            let widest = gives.max_by_key(|column| widths[*column])?;
            widths[widest] -= 1;
        }
        Some((0..columns).map(|column| Some(widths[column]).filter(|_| shown(&column))).collect())
    }

    fn in_columns(&self, row: &[Cell], widths: &Widths, colours: bool) -> Vec<String> {
        let (mut first, mut below) = (String::new(), Vec::new());
        let mut before = 0;
        for (column, (cell, wide)) in row.iter().zip(widths).enumerate() {
            let Some(wide) = wide else { continue };
            let paint = cell.paint.filter(|_| colours);
            let pieces = match self.way(column, widths.len()) {
                Way::Broken => wrapped(&cell.text, *wide),
                Way::Cut | Way::Whole | Way::Spared => vec![cut(&cell.text, *wide)],
            };
            let mut pieces = pieces.into_iter();
            let piece = pieces.next().unwrap_or_default();
            first.push_str(&dyed(&piece, paint));
            first.push_str(&filled("", wide + GAP - width(&piece)));
            below.extend(pieces.map(|piece| filled("", before) + &dyed(&piece, paint)));
            before += wide + GAP;
        }
        let mut lines = vec![first.trim_end().to_owned()];
        lines.append(&mut below);
        lines
    }

    /// Cell after cell, as many as a line takes; the further lines are indented.
    fn in_lines(&self, row: &[Cell], page: usize, colours: bool) -> Vec<String> {
        let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
        for (column, cell) in row.iter().enumerate() {
            for piece in self.pieces(row.len(), column, cell, page) {
                let wide = width(&piece);
                if used > 0 && used + GAP + wide > page {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                let gap = match (lines.is_empty(), used) {
                    (true, 0) => 0,
                    (false, 0) => INDENT,
                    _ => GAP,
                };
                line.push_str(&filled("", gap));
                line.push_str(&dyed(&piece, cell.paint.filter(|_| colours)));
                used += gap + wide;
            }
        }
        if used > 0 {
            lines.push(line);
        }
        lines
    }

    /// What stands on one line each. A number says whose it is, since no head stands above it.
    fn pieces(&self, columns: usize, column: usize, cell: &Cell, page: usize) -> Vec<String> {
        let room = page.saturating_sub(INDENT).max(2);
        let name = self.head.as_ref().and_then(|head| head.get(column)).filter(|_| column > 0);
        let text = match name {
            Some(name) if !name.text.is_empty() && is_number(&cell.text) => {
                format!("{} {}", name.text.to_lowercase(), cell.text)
            }
            _ => cell.text.trim().to_owned(),
        };
        match self.way(column, columns) {
            _ if text.is_empty() => Vec::new(),
            Way::Cut => vec![cut(&text, room)],
            Way::Whole | Way::Spared | Way::Broken => wrapped(&text, room),
        }
    }
}

/// Or a time; `3号楼` is a name.
fn is_number(text: &str) -> bool {
    text.is_ascii() && text.starts_with(|c: char| c.is_ascii_digit())
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
    let columns = tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    usize::from(if columns == 0 { PAGE } else { columns })
}

/// On a terminal that knows them, and whose owner has not said otherwise (no-color.org).
pub fn colours() -> bool {
    let told = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    io::stdout().is_terminal() && told("NO_COLOR").is_none() && told("TERM").is_none_or(|term| term != "dumb")
}

pub fn dyed(text: &str, paint: Option<Paint>) -> String {
    let code = match paint {
        None => return text.into(),
        Some(_) if text.is_empty() => return String::new(),
        Some(Paint::Red) => 31,
        Some(Paint::Yellow) => 33,
        Some(Paint::Green) => 32,
        Some(Paint::Dim) => 2,
        Some(Paint::Bold) => 1,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["place…", "state", "title…"]);
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
        for page in 4..90 {
            let text = sample().render_for(page, false);
            for line in text.lines() {
                assert!(width(line) <= page, "{page}: `{line}`");
            }
            assert!(text.replace(['\n', ' '], "").contains("closed"), "{page}: {text}");
        }
        assert!(sample().render_for(30, false).contains('…'));
        assert!(sample().render_for(usize::MAX, false).contains("请尽快处理"), "a pipe has no edge");
    }

    #[test]
    fn what_one_needs_to_act_is_never_cut() {
        let mut table = Table::new(&["NUMBER", "LEVEL", "STATE", "DEADLINE", "TITLE…"]);
        let cells = [
            "CP-017-000123",
            "1",
            "acknowledged",
            "on site late by 2h 5m",
            "3号楼: 水压低 180 kPa，请尽快派人处理",
        ];
        table.row(cells.map(Cell::from).to_vec());
        let narrow = table.render_for(40, false);
        assert_eq!(
            narrow,
            "CP-017-000123  level 1  acknowledged\n  on site late by 2h 5m\n  3号楼: 水压低 180 kPa，请尽快派人处理\n"
        );
        for page in 16..100 {
            let text = table.render_for(page, false);
            assert!(text.contains("CP-017-000123") && text.contains("acknowledged"), "{page}: {text}");
        }
    }

    #[test]
    fn what_is_said_goes_on_below_itself() {
        let mut table = Table::list();
        table.row(vec!["backup".into(), "/media/usb/cp-017-20261122T081500Z.backup, 1.4 MiB".into()]);
        let text = table.render_for(34, false);
        assert_eq!(text, "backup  /media/usb/cp-017-20261122\n        T081500Z.backup, 1.4 MiB\n");
    }

    #[test]
    fn colours_change_no_width_and_control_characters_do_not_pass() {
        let coloured = sample().render_for(80, true);
        assert!(coloured.contains("\x1b[31mopen\x1b[0m"));
        let mut steering = Table::list();
        steering.row(vec!["a\x1b[2Jb".into()]);
        assert_eq!(steering.render_for(80, true), "a·[2Jb\n");
    }
}
