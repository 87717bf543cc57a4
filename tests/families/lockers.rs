//! Lock boards of four families, each on a serial line of its own; a place is a cell.

use std::fmt::Write as _;

use gatehouse::sim::line::Line;
use gatehouse::sim::lockers::{Boards, Family as Kind};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use super::{Family, House};

pub struct Bank {
    profile: &'static str,
    boards: Boards,
    line: Line,
    cells: usize,
}

const ADDRESS: u8 = 1;
/// Cells with one digit may be ordered open.
const LOCKED_UP: &str = "cell-10";

impl Bank {
    pub fn start(
        profile: &'static str,
        kind: Kind,
        cells: usize,
        dir: &std::path::Path,
        runtime: &Runtime,
    ) -> Self {
        let boards = Boards::default();
        boards.add_of(kind, ADDRESS);
        let line = runtime.block_on(boards.start(&dir.join(profile))).unwrap();
        Self { profile, boards, line, cells }
    }

    pub fn configuration(&self) -> String {
        let (profile, cells) = (self.profile, self.cells);
        let mut text = String::new();
        write!(
            text,
            r#"
[[channel]]
id        = "{profile}"
type      = "serial"
port      = "{port}"
baud      = 9600
timeout   = "300ms"
[[device]]
id            = "bank-{profile}"
channel       = "{profile}"
profile       = "{profile}"
unit          = {ADDRESS}
cells         = {cells}
poll          = "200ms"
opens_within  = "2s"
held_after    = "8s"
overdue_after = "8s"
[[device.command]]
action = "open"
target = "cell-?"
"#,
            port = self.line.path().display(),
        )
        .unwrap();
        text
    }

    pub fn settle(&self, house: &House) {
        house.until_read(&format!("bank-{}.cell-", self.profile), "closed", self.cells);
    }

    /// Orders that the board took, of all cells.
    pub fn orders(&self) -> usize {
        self.boards.orders(ADDRESS) as usize
    }
}

impl Family for Bank {
    fn name(&self) -> &'static str {
        self.profile
    }

    fn does(&self, place: usize, what: &str) -> bool {
        let cell = place as u8;
        match what {
            "jam" => self.boards.set_jammed(ADDRESS, cell, true),
            "pry open" => self.boards.set_open(ADDRESS, cell, true),
            "close" => self.boards.set_open(ADDRESS, cell, false),
            "parcel in" => self.boards.set_item(ADDRESS, cell, true),
            "parcel out" => self.boards.set_item(ADDRESS, cell, false),
            "fall silent" => self.boards.set_silent(ADDRESS, true),
            _ => return false,
        }
        true
    }

    fn order(&self, place: usize) -> [String; 3] {
        [format!("bank-{}", self.profile), "open".into(), format!("cell-{place}")]
    }

    fn forbidden(&self, _place: usize) -> [String; 3] {
        [format!("bank-{}", self.profile), "open".into(), LOCKED_UP.into()]
    }

    fn given(&self, _place: usize) -> usize {
        self.orders()
    }

    /// Nobody shows anything here.
    fn secret(&self) -> String {
        "6154410".into()
    }

    fn concerns(&self, place: usize, event: &Json) -> bool {
        if event["subject"] != format!("devices/bank-{}", self.profile) {
            return false;
        }
        let data = &event["data"];
        let key = format!("{}-{place}", self.profile);
        let ordered =
            data["key"].as_str().map(|asked| asked.trim_end_matches("-no").trim_end_matches("-old"));
        let is_life = data["cell"].is_null() && ordered.is_none();
        data["cell"] == place || ordered == Some(&key) || is_life
    }
}
