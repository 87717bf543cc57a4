//! Cursors in memory while the disk takes none: tables of the same names that lie over those of the file, for one
//! connection. All that it reads and writes of consumers is then there, and goes back into the file when that takes it.
//!
//! Lost with a power cut, they only mean that events are sent again. Bounded as the tables are.

use rusqlite::{Connection, TransactionBehavior};

use super::Error;

const TABLES: [&str; 4] = ["consumer", "aside", "ahead", "anchor"];

/// Whether they were laid now; they may lie already.
pub(super) fn lay(db: &Connection) -> Result<bool, Error> {
    if is_laid(db) {
        return Ok(false);
    }
    db.pragma_update(None, "temp_store", "memory")?;
    for table in TABLES {
        for made in made_of(db, table)? {
            // As in the file, with its keys and triggers.
            let over = made.replacen("CREATE TABLE", "CREATE TEMP TABLE", 1);
            db.execute_batch(&over.replacen("CREATE TRIGGER", "CREATE TEMP TRIGGER", 1))?;
            if over.starts_with("CREATE TEMP TABLE") {
                db.execute(&format!("INSERT INTO temp.{table} SELECT * FROM main.{table}"), [])?;
            }
        }
    }
    tracing::warn!("the disk takes no cursors; they are kept in memory");
    Ok(true)
}

/// Back into the file, where it takes them; otherwise they stay where they are.
pub(super) fn lift(db: &mut Connection) {
    if is_laid(db) && try_lift(db).is_ok() {
        tracing::info!("the disk takes cursors again");
    }
}

fn try_lift(db: &mut Connection) -> Result<(), Error> {
    let step = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for table in TABLES {
        step.execute(&format!("DELETE FROM main.{table}"), [])?;
        step.execute(&format!("INSERT INTO main.{table} SELECT * FROM temp.{table}"), [])?;
        step.execute(&format!("DROP TABLE temp.{table}"), [])?;
    }
    Ok(step.commit()?)
}

fn is_laid(db: &Connection) -> bool {
    db.prepare_cached("SELECT 1 FROM temp.sqlite_schema WHERE name = 'consumer'")
        .and_then(|mut query| query.exists([]))
        .unwrap_or(false)
}

/// The table first, then its triggers.
fn made_of(db: &Connection, table: &str) -> Result<Vec<String>, Error> {
    let made = "SELECT sql FROM main.sqlite_schema
         WHERE tbl_name = ?1 AND type IN ('table', 'trigger') AND sql IS NOT NULL ORDER BY type";
    let mut query = db.prepare(made)?;
    let rows = query.query_map([table], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    const CURSOR: &str = "SELECT acknowledged FROM consumer WHERE name = 'crm'";

    fn acknowledged(db: &Connection) -> u64 {
        db.query_row(CURSOR, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn cursors_lie_over_the_file_and_go_back_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = file::journal(dir.path()).unwrap();
        let made = "INSERT INTO consumer(name, kind, required, configured, acknowledged) VALUES ('crm', 'push', 1, 1, 5)";
        file.execute(made, []).unwrap();
        let mut db = file::writer(&dir.path().join(file::JOURNAL), file::Durable::Normal).unwrap();
        assert!(lay(&db).unwrap() && !lay(&db).unwrap());
        db.execute("UPDATE consumer SET acknowledged = 9", []).unwrap();
        db.execute("INSERT INTO ahead(consumer, seq) VALUES ('crm', 11)", []).unwrap();
        assert_eq!((acknowledged(&db), acknowledged(&file)), (9, 5));
        assert!(db.execute(made, []).is_err(), "the key holds in memory too");
        lift(&mut db);
        assert_eq!((acknowledged(&db), acknowledged(&file)), (9, 9));
        let ahead: u64 = file.query_row("SELECT seq FROM ahead", [], |row| row.get(0)).unwrap();
        assert_eq!(ahead, 11);
        assert!(!is_laid(&db));
    }

    #[test]
    fn a_file_that_takes_nothing_keeps_them_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file = file::journal(dir.path()).unwrap();
        let made = "INSERT INTO consumer(name, kind, required, configured, acknowledged) VALUES ('crm', 'push', 1, 1, 5)";
        file.execute(made, []).unwrap();
        let mut db = file::writer(&dir.path().join(file::JOURNAL), file::Durable::Normal).unwrap();
        lay(&db).unwrap();
        db.execute("UPDATE consumer SET acknowledged = 9", []).unwrap();
        file.execute(
            "CREATE TRIGGER broken BEFORE DELETE ON consumer BEGIN SELECT raise(FAIL, 'no'); END",
            [],
        )
        .unwrap();
        lift(&mut db);
        assert_eq!((acknowledged(&db), acknowledged(&file)), (9, 5));
        assert!(is_laid(&db));
    }
}
