//! What each device family makes of each sequence at a door or a locker's cell: tables, of which every row is played on the
//! family's real wire, with the real daemon, and read in its journal. `docs/doors.md` shows them; `BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod families;
mod gateway;

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use families::controller::Controllers;
use families::lockers::Bank;
use families::mqtt::Broker;
use families::reader::Readers;
use families::{Family, House, Script};
use gatehouse::sim::lockers::Family as Kind;
use gateway::Gateway;

/// What a family makes of a sequence.
enum Makes {
    /// The steps, where they are not those of the row, and what the journal then has, in order.
    Tells(&'static str),
    After(&'static str, &'static str),
    /// It cannot see such a thing, and why.
    Nothing(&'static str),
}
use Makes::{After, Nothing, Tells};

struct Row {
    sequence: &'static str,
    steps: &'static str,
    /// By family, in the order of the table's heads.
    makes: &'static [Makes],
}

const DOORS: [&str; 3] = [
    "Zigbee contact + face terminal (MQTT)",
    "UHPPOTE controller (UDP)",
    "OSDP reader + relay board (RS-485 protocols over TCP)",
];

/// The last place of each house opens last, and is judged last: what was not told by then is not told at all.
const FENCE: &str = "pry open, until forced, close";
const CELL_FENCE: &str = "pry open, until held";

const AT_DOORS: &[Row] = &[
    Row {
        sequence: "grant → open → close",
        steps: "grant, open, close",
        makes: &[
            Tells("terminal granted (who), door granted (who), door opened, door closed"),
            Tells(
                "controller granted (who), door granted (who), controller opened, door opened, controller closed, door closed",
            ),
            After(
                "card, order, open, close",
                "reader card (who), door card (who), order executed, door opened by order, door closed",
            ),
        ],
    },
    Row {
        sequence: "open without grant",
        steps: "pry open, until ticket, close",
        makes: &[
            Tells("door opened, door forced, ticket, door closed"),
            Tells("controller forced, door opened, door forced, ticket, controller closed, door closed"),
            Tells("door opened, door forced, ticket, door closed"),
        ],
    },
    Row {
        sequence: "grant told after the opening (slower wire)",
        steps: "open, grant, close",
        makes: &[
            Tells("door opened, terminal granted (who), door granted (who), door closed"),
            Tells(
                "controller opened, door opened, controller granted (who), door granted (who), controller closed, door closed",
            ),
            After("open, order, close", "door opened, order executed, door closed"),
        ],
    },
    Row {
        sequence: "grant of long ago, told from memory → open",
        steps: "late grant, pry open, until ticket, close",
        makes: &[
            Tells(
                "terminal granted (who) late, door granted (who) late, door opened, door forced, ticket, door closed",
            ),
            Tells(
                "controller granted (who) late, door granted (who) late, controller forced, door opened, door forced, ticket, controller closed, door closed",
            ),
            Nothing("a card waits in its reader for a poll, and is told as of then"),
        ],
    },
    Row {
        sequence: "card that is only reported → open",
        steps: "card, pry open, until forced, close",
        makes: &[
            Nothing("a terminal decides by itself"),
            Nothing("a controller decides by itself"),
            Tells("reader card (who), door card (who), door opened, door forced, ticket, door closed"),
        ],
    },
    Row {
        sequence: "denied",
        steps: "deny",
        makes: &[
            Tells("terminal denied (who, refused), door denied (who, refused)"),
            Tells("controller denied (who, no-privilege), door denied (who, no-privilege)"),
            Nothing("a reader that only reports denies nobody; who decides tells that"),
        ],
    },
    Row {
        sequence: "held open",
        steps: "grant, open, until held, close",
        makes: &[
            Tells("terminal granted (who), door granted (who), door opened, door held, door closed"),
            Tells(
                "controller granted (who), door granted (who), controller opened, door opened, door held, controller closed, door closed",
            ),
            After(
                "order, open, until held, close",
                "order executed, door opened by order, door held, door closed",
            ),
        ],
    },
    Row {
        sequence: "exit button → open → close",
        steps: "exit, open, close",
        makes: &[
            Nothing("no exit button is on this wire; wire it to an input and name it as `exit`"),
            Tells(
                "controller exit, door exit, controller opened, door opened, controller closed, door closed",
            ),
            Tells("door exit, door opened, door closed"),
        ],
    },
    Row {
        sequence: "tamper",
        steps: "tamper",
        makes: &[
            Nothing("the terminal's protocol has no word for it"),
            Tells("controller tamper (theft), door tamper (theft)"),
            Tells("reader tamper, door tamper"),
        ],
    },
    Row {
        sequence: "order → open → close",
        steps: "order, open, close",
        makes: &[
            Tells("order executed, door opened by order, door closed"),
            After(
                "order, until granted, open, close",
                "order executed, controller granted (remote), door granted (remote), controller opened, door opened by order, controller closed, door closed",
            ),
            Tells("order executed, door opened by order, door closed"),
        ],
    },
    Row {
        sequence: "the same order twice",
        steps: "order, the same order",
        makes: &[
            Tells("order executed"),
            After(
                "order, until granted, the same order",
                "order executed, controller granted (remote), door granted (remote)",
            ),
            Tells("order executed"),
        ],
    },
    Row {
        sequence: "expired order",
        steps: "old order",
        makes: &[
            Tells("order refused (expired)"),
            Tells("order refused (expired)"),
            Tells("order refused (expired)"),
        ],
    },
    Row {
        sequence: "order that is not allowed",
        steps: "forbidden order",
        makes: &[
            Tells("order refused (not-allowed)"),
            Tells("order refused (not-allowed)"),
            Tells("order refused (not-allowed)"),
        ],
    },
    Row {
        sequence: "the device falls silent",
        steps: "fall silent",
        makes: &[Tells("terminal offline"), Tells("controller offline"), Tells("reader offline")],
    },
];

const LOCKERS: [&str; 4] = ["lock-board-8a", "kr-cu16", "kr-cu48", "winnsen-16"];
const NO_ITEMS: Makes = Nothing("the board has no sensors for parcels");

const AT_LOCKERS: &[Row] = &[
    Row {
        sequence: "order → opens → closed",
        steps: "order, until opened, close",
        makes: &[
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
        ],
    },
    Row {
        sequence: "order, and the cell does not move",
        steps: "jam, order, until jammed",
        makes: &[
            Tells("order executed, jammed by order"),
            Tells("order executed, jammed by order"),
            Tells("order executed, jammed by order"),
            Tells("order executed, jammed by order"),
        ],
    },
    Row {
        sequence: "opens without an order",
        steps: "pry open, close",
        makes: &[
            Tells("opened, unexpected, closed"),
            Tells("opened, unexpected, closed"),
            Tells("opened, unexpected, closed"),
            Tells("opened, unexpected, closed"),
        ],
    },
    Row {
        sequence: "not closed in time",
        steps: "order, until held, close",
        makes: &[
            Tells("opened by order, order executed, held, closed"),
            Tells("opened by order, order executed, held, closed"),
            Tells("opened by order, order executed, held, closed"),
            Tells("opened by order, order executed, held, closed"),
        ],
    },
    Row {
        sequence: "parcel in → parcel out",
        steps: "parcel in, parcel out",
        makes: &[NO_ITEMS, Tells("deposited, collected"), NO_ITEMS, NO_ITEMS],
    },
    Row {
        sequence: "parcel lies too long",
        steps: "parcel in, until overdue, parcel out",
        makes: &[NO_ITEMS, Tells("deposited, overdue, collected"), NO_ITEMS, NO_ITEMS],
    },
    Row {
        sequence: "the same order twice",
        steps: "order, until opened, close, the same order",
        makes: &[
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
            Tells("opened by order, order executed, closed"),
        ],
    },
    Row {
        sequence: "expired order",
        steps: "old order",
        makes: &[
            Tells("order refused (expired)"),
            Tells("order refused (expired)"),
            Tells("order refused (expired)"),
            Tells("order refused (expired)"),
        ],
    },
    Row {
        sequence: "order that is not allowed",
        steps: "forbidden order",
        makes: &[
            Tells("order refused (not-allowed)"),
            Tells("order refused (not-allowed)"),
            Tells("order refused (not-allowed)"),
            Tells("order refused (not-allowed)"),
        ],
    },
    Row {
        sequence: "the board falls silent",
        steps: "fall silent",
        makes: &[Tells("bank offline"), Tells("bank offline"), Tells("bank offline"), Tells("bank offline")],
    },
];

impl Makes {
    /// Steps and what is told; `None`: it is not played.
    fn played(&self, row: &Row) -> Option<(&'static str, &'static str)> {
        match self {
            Tells(tale) => Some((row.steps, tale)),
            After(steps, tale) => Some((steps, tale)),
            Nothing(_) => None,
        }
    }
}

/// What came of each row at one family, in words; `None` where it is not played.
type Shown = Vec<Option<String>>;

/// Each row at a place of its own, all at one time; then the fence, and those that take the device away. A row that waits
/// in vain comes out as what was told until then.
fn play(house: &House, family: &dyn Family, rows: &[Row], column: usize, fence: &str) -> Shown {
    let script = |n: usize| Script { house, family, place: n + 1 };
    let run = |n: usize, steps: &str| catch_unwind(AssertUnwindSafe(|| script(n).play(steps))).is_ok();
    let played = |n: usize| rows[n].makes[column].played(&rows[n]);
    let is_last = |n: usize| rows[n].steps == "fall silent";
    std::thread::scope(|scope| {
        for n in (0..rows.len()).filter(|n| !is_last(*n)) {
            if let Some((steps, _)) = played(n) {
                scope.spawn(move || run(n, steps));
            }
        }
    });
    run(rows.len(), fence);
    let tale = |n: usize| {
        let (steps, _) = played(n)?;
        if is_last(n) {
            run(n, steps);
        }
        Some(script(n).tale())
    };
    (0..rows.len()).map(tale).collect()
}

/// A door is opened as often as orders were executed there.
fn given_as_often_as_told(family: &dyn Family, shown: &Shown) {
    for (n, tale) in shown.iter().enumerate() {
        let executed = tale.as_deref().unwrap_or_default().matches("order executed").count();
        assert_eq!(family.given(n + 1), executed, "{}, row {}: {tale:?}", family.name(), n + 1);
    }
}

/// A rule on what is told of doors: each that is forced has a ticket.
const RULE: &str = "\n[[rule]]\nid = \"forced\"\npoint = \"door-*.access\"\nequals = \"forced\"\nlevel = 1\n";

fn doors(family: &dyn Family, configuration: String, settle: &dyn Fn(&House), column: usize) -> Shown {
    let house = House::start("cp-017", |_: &Gateway| configuration + RULE);
    settle(&house);
    let shown = play(&house, family, AT_DOORS, column, FENCE);
    given_as_often_as_told(family, &shown);
    house.says_where_and_not_who(&family.secret());
    shown
}

fn over_mqtt(places: usize) -> Shown {
    let broker = Broker::start();
    doors(&broker, broker.configuration(places), &|house| broker.settle(house, places), 0)
}

fn over_uhppote(places: usize) -> Shown {
    let controllers = Controllers::start(places);
    let settle = |house: &House| controllers.settle(house, places);
    doors(&controllers, controllers.configuration(places), &settle, 1)
}

fn over_osdp(places: usize) -> Shown {
    let readers = Readers::start(places);
    doors(&readers, readers.configuration(places), &|house| readers.settle(house, places), 2)
}

/// Four boards, four lines, one daemon.
fn at_lockers() -> Vec<Shown> {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let kinds = [(Kind::LockBoard8a, 24), (Kind::KrCu16, 16), (Kind::KrCu48, 48), (Kind::Winnsen16, 12)];
    let banks: Vec<Bank> = LOCKERS
        .into_iter()
        .zip(kinds)
        .map(|(profile, (kind, cells))| Bank::start(profile, kind, cells, dir.path(), &runtime))
        .collect();
    let house = House::start("cp-017", |_: &Gateway| banks.iter().map(Bank::configuration).collect());
    banks.iter().for_each(|bank| bank.settle(&house));
    let played: Vec<Shown> = std::thread::scope(|scope| {
        let mut playing = Vec::new();
        for (column, bank) in banks.iter().enumerate() {
            let house = &house;
            playing.push(scope.spawn(move || play(house, bank, AT_LOCKERS, column, CELL_FENCE)));
        }
        playing.into_iter().map(|played| played.join().unwrap()).collect()
    });
    for (bank, shown) in banks.iter().zip(&played) {
        house.says_where_and_not_who(&bank.secret());
        let told: usize = shown.iter().flatten().map(|tale| tale.matches("order executed").count()).sum();
        assert_eq!(bank.orders(), told, "{}: told and given", bank.name());
    }
    played
}

/// The rows that came out otherwise than the table says.
fn wrong(rows: &[Row], heads: &[&str], shown: &[Shown]) -> String {
    let mut wrong = String::new();
    for (column, tales) in shown.iter().enumerate() {
        for (row, tale) in rows.iter().zip(tales) {
            let expected = row.makes[column].played(row).map(|(_, tale)| tale);
            if tale.as_deref() != expected {
                let head = heads[column];
                writeln!(wrong, "{head}, {}:\n  {tale:?}, not\n  {expected:?}", row.sequence).unwrap();
            }
        }
    }
    wrong
}

fn table(rows: &[Row], heads: &[&str], shown: &[Shown]) -> String {
    let mut text = format!("| sequence | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for (n, row) in rows.iter().enumerate() {
        let cell = |(column, tales): (usize, &Shown)| match (&row.makes[column], &tales[n]) {
            (Nothing(why), _) => format!("— *{why}*"),
            (_, Some(tale)) => tale.clone(),
            (_, None) => String::new(),
        };
        let cells: Vec<String> = shown.iter().enumerate().map(cell).collect();
        writeln!(text, "| {} | {} |", row.sequence, cells.join(" | ")).unwrap();
    }
    text
}

const HEAD: &str = "\
# Doors and lockers: what is told of what happens

Each row was played on each family's own wire against the running daemon, and the cells are what its journal then held, in
order: `tests/doors_and_lockers.rs` plays them, compares this page with what it saw, and writes it anew with `BLESS=1`.

`door …` is told of the door as a whole (`doors/<id>`, `access.*`), the other words of the device that saw it (`devices/<id>`).
`(who)` is a pseudonym; a word in brackets beside it is the reason. `order …` is `command.executed` or `command.refused`, with
its outcome. `ticket` is opened by a rule on `door-*.access` that equals `forced`.
";

#[test]
fn each_row_is_told_by_each_family_as_the_tables_say() {
    let places = AT_DOORS.len() + 1;
    let (doors, lockers) = std::thread::scope(|scope| {
        let doors = [over_mqtt, over_uhppote, over_osdp].map(|family| scope.spawn(move || family(places)));
        let lockers = scope.spawn(at_lockers);
        (doors.map(std::thread::ScopedJoinHandle::join), lockers.join())
    });
    let doors = doors.map(Result::unwrap);
    let lockers = lockers.unwrap();
    let (at_doors, at_lockers) = (table(AT_DOORS, &DOORS, &doors), table(AT_LOCKERS, &LOCKERS, &lockers));
    let page = format!("{HEAD}\n## Doors\n\n{at_doors}\n## Lockers\n\n{at_lockers}");
    println!("{page}");
    let wrong = wrong(AT_DOORS, &DOORS, &doors) + &wrong(AT_LOCKERS, &LOCKERS, &lockers);
    assert!(wrong.is_empty(), "{wrong}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/doors.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "docs/doors.md says otherwise than what is printed above: run with BLESS=1");
}
