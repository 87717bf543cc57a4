//! Which page of a journal is of which class, and where bits can fall over in it. Our own reading of the file format,
//! since what is tested is how SQLite and the store read it.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

const PAGE: usize = 4096;

/// By class: the file's name and ranges of bytes in it.
pub type Classes = BTreeMap<String, Vec<(&'static str, Range<usize>)>>;

/// The classes of a directory with a journal, its log and its index.
pub fn classes(dir: &Path) -> Classes {
    let mut classes = Classes::new();
    let db = fs::read(dir.join("journal.db")).unwrap();
    let pages = db.len() / PAGE;
    let mut known = BTreeMap::from([(1, "schema".to_owned())]);
    walk(&db, 1, "schema", &mut known);
    let reader = rusqlite::Connection::open_with_flags(
        dir.join("journal.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let reader = reader.unwrap();
    let mut roots = reader.prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0").unwrap();
    let roots = roots.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, usize>(1)?))).unwrap();
    for root in roots {
        let (name, page) = root.unwrap();
        walk(&db, page, &name, &mut known);
    }
    freelist(&db, &mut known);
    for page in 1..=pages {
        let at = (page - 1) * PAGE;
        let class = known.get(&page).map_or("overflow", String::as_str);
        let from = if page == 1 { 100 } else { 0 };
        classes.entry(class.to_owned()).or_default().push(("journal.db", at + from..at + PAGE));
    }
    classes.insert("file header".into(), vec![("journal.db", 0..100)]);
    log(dir, &mut classes);
    classes
}

fn log(dir: &Path, classes: &mut Classes) {
    let Ok(wal) = fs::read(dir.join("journal.db-wal")) else { return };
    if wal.len() < 32 {
        return;
    }
    classes.insert("log header".into(), vec![("journal.db-wal", 0..32)]);
    for at in (32..wal.len()).step_by(PAGE + 24) {
        if at + 24 + PAGE > wal.len() {
            break;
        }
        classes.entry("log frame header".into()).or_default().push(("journal.db-wal", at..at + 24));
        classes.entry("log frame data".into()).or_default().push(("journal.db-wal", at + 24..at + 24 + PAGE));
    }
    if let Ok(shm) = fs::read(dir.join("journal.db-shm")) {
        classes.insert("log index (shm)".into(), vec![("journal.db-shm", 0..shm.len())]);
    }
}

fn number(db: &[u8], at: usize, bytes: usize) -> usize {
    db[at..at + bytes].iter().fold(0, |n, byte| n << 8 | usize::from(*byte))
}

fn walk(db: &[u8], page: usize, name: &str, known: &mut BTreeMap<usize, String>) {
    let at = (page - 1) * PAGE;
    let header = if page == 1 { at + 100 } else { at };
    let interior = matches!(db[header], 2 | 5);
    let part = if interior { "interior" } else { "leaf" };
    known.insert(page, format!("{name}, {part}"));
    if !interior {
        return;
    }
    let cells = number(db, header + 3, 2);
    for cell in 0..cells {
        let pointer = at + number(db, header + 12 + 2 * cell, 2);
        walk(db, number(db, pointer, 4), name, known);
    }
    walk(db, number(db, header + 8, 4), name, known);
}

fn freelist(db: &[u8], known: &mut BTreeMap<usize, String>) {
    let mut trunk = number(db, 32, 4);
    while trunk > 0 {
        let at = (trunk - 1) * PAGE;
        known.insert(trunk, "freelist trunk".into());
        for leaf in 0..number(db, at + 4, 4) {
            known.insert(number(db, at + 8 + 4 * leaf, 4), "freelist leaf".into());
        }
        trunk = number(db, at, 4);
    }
}
