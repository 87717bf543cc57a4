//! Sums: CRC-32 over what a row keeps, so that a bit that fell over on the card is not taken for a word that was said.
//!
//! SQL calls it `row_sum(column, …)`: a row is written with its sum and read beside the answer whether it fits. An event
//! without one (NULL) was written by an older format and fits where it has the types of one and texts can be read. What
//! stands in no sum is what is only there for looking up or counting up (`ticket.last_seq`, `consumer.seen`,
//! `consumer.error`, `erasure.scanned`), the short-lived rows of `aside` and `ahead`, and the chain, which is a sum itself.

use crc::{CRC_32_ISO_HDLC, Crc, Digest};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Whether the row is as it was written.
pub const EVENT_FITS: &str = "(CASE WHEN sum IS NULL
    THEN typeof(at) = 'integer' AND is_text(kind) AND is_text(json) AND (ticket IS NULL OR is_text(ticket))
    ELSE sum = row_sum(seq, at, kind, ticket, json) END)";
pub const TICKET_FITS: &str = "(sum IS row_sum(id, state, device, closed_at, subject, life, json))";
pub const GATEWAY_FITS: &str = "(sum IS row_sum(id, epoch, number, committed))";
pub const CONSUMER_FITS: &str = "(sum IS row_sum(name, kind, required, configured, acknowledged))";

/// Each table that has sums, and what says of a row that it fits.
pub const TABLES: [(&str, &str); 10] = [
    ("gateway", GATEWAY_FITS),
    ("consumer", CONSUMER_FITS),
    ("episode", "(sum IS row_sum(rule, subject, state))"),
    ("device", "(sum IS row_sum(id, online, since, why))"),
    (
        "command",
        "(sum IS row_sum(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail, role, via, \
            expires_at, effect))",
    ),
    ("access", "(sum IS row_sum(subject, state))"),
    ("maintenance", "(sum IS row_sum(scope, name, since, until, by, note))"),
    ("erasure", "(sum IS row_sum(pseudonym, by, reason, begun))"),
    ("ticket", TICKET_FITS),
    ("event", EVENT_FITS),
];

/// Whether a row of this table is as it was written, in SQL.
pub fn fits(table: &str) -> &'static str {
    TABLES.iter().find(|(name, _)| *name == table).map_or("1", |(_, fits)| *fits)
}

/// What the sum of a row of this table is, in SQL.
pub fn of_row(table: &str) -> &'static str {
    fits(table).trim_start_matches("(sum IS ").strip_suffix(')').unwrap_or("NULL")
}

/// Of what is no row.
pub fn of(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Gives the connection `row_sum` and `is_text`.
pub fn teach(db: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    // SQLite takes any bytes for a text.
    db.create_scalar_function("is_text", 1, flags, |call| {
        Ok(matches!(call.get_raw(0), ValueRef::Text(bytes) if std::str::from_utf8(bytes).is_ok()))
    })?;
    db.create_scalar_function("row_sum", -1, flags, |call| {
        let mut digest = CRC.digest();
        for index in 0..call.len() {
            take(&mut digest, call.get_raw(index));
        }
        Ok(i64::from(digest.finalize()))
    })
}

/// Each value with its type and length, so that nothing can move from one column into the next.
fn take(digest: &mut Digest<'_, u32>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => digest.update(&[0]),
        ValueRef::Integer(number) => {
            digest.update(&[1]);
            digest.update(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            digest.update(&[2]);
            digest.update(&number.to_le_bytes());
        }
        ValueRef::Text(bytes) => take_bytes(digest, 3, bytes),
        // A text with a bit too many is a blob of the same bytes.
        ValueRef::Blob(bytes) => take_bytes(digest, 4, bytes),
    }
}

fn take_bytes(digest: &mut Digest<'_, u32>, tag: u8, bytes: &[u8]) {
    digest.update(&[tag]);
    digest.update(&(bytes.len() as u64).to_le_bytes());
    digest.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_sees_a_bit_a_type_and_where_a_column_ends() {
        let db = Connection::open_in_memory().unwrap();
        teach(&db).unwrap();
        let sum = |of: &str| {
            db.query_row(&format!("SELECT row_sum({of})"), [], |row| row.get::<_, i64>(0)).unwrap()
        };
        let all = [
            "'ab', 'c'",
            "'a', 'bc'",
            "'ab', 'b'",
            "1, NULL",
            "NULL, 1",
            "'1', NULL",
            "1.0, NULL",
            "'', ''",
            "x'6162', 'c'",
        ];
        for (n, one) in all.iter().enumerate() {
            assert_eq!(sum(one), sum(one));
            for other in &all[n + 1..] {
                assert_ne!(sum(one), sum(other), "{one} and {other}");
            }
        }
    }
}
