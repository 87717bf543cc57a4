//! Keys of orders that are no longer kept as rows: none of them must ever be free again.
//!
//! An order that expires within a week of its beginning is forgotten once it has expired, and then the latest expiry of
//! all that were forgotten is remembered: whatever expires up to then is too late, by whatever clock. Of an order that
//! never expires, or later, the key stays for ever as a sum of 16 bytes, [`KEYS_MAX`] of them.

use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::orders::ORDERS_KEPT;
use crate::reading::Millis;

/// Keys that are kept for ever; when they are that many, an order has to say when it expires.
pub const KEYS_MAX: usize = 100_000;
/// Bytes of a key's sum: nobody finds two keys with the same.
const SUM_BYTES: usize = 16;

/// What the journal's format 6 has of orders.
pub const FORMAT: &str = "
ALTER TABLE command ADD COLUMN role TEXT;        -- technician, central
ALTER TABLE command ADD COLUMN via TEXT;         -- the token's name, the sync's
ALTER TABLE command ADD COLUMN expires_at INTEGER;
ALTER TABLE command ADD COLUMN effect TEXT;      -- read-back, none, unknown
UPDATE command SET sum = row_sum(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail,
    role, via, expires_at, effect)
    WHERE sum IS row_sum(key, device, action, target, reason, by, begun_at, ended_at, outcome, detail);
CREATE TABLE used_key(
    digest BLOB PRIMARY KEY                      -- of an order that is gone and might not have expired
) WITHOUT ROWID;
CREATE TABLE orders_known(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    forgotten INTEGER NOT NULL,                  -- orders that expired up to then are gone
    lost_until INTEGER NOT NULL,                 -- orders that expire up to then may have been given in what was lost
    boot TEXT                                    -- the machine's, of the last start
);
INSERT INTO orders_known(one, forgotten, lost_until) VALUES (1, 0, 0);
";

/// Rows whose key has to stay for ever when they go.
pub const LASTING: &str = "(expires_at IS NULL OR expires_at > begun_at + 604800000)";

/// What is known of orders that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// Orders that expired up to then are gone.
    pub forgotten: Millis,
    /// Orders that expire up to then may have been given in what was lost of the journal.
    pub lost_until: Millis,
}

pub fn sum_of(key: &str) -> [u8; SUM_BYTES] {
    let mut sum = [0; SUM_BYTES];
    let whole = digest(&SHA256, key.as_bytes());
    for (byte, of) in sum.iter_mut().zip(whole.as_ref()) {
        *byte = *of;
    }
    sum
}

pub fn is_used(db: &Connection, key: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM used_key WHERE digest = ?1")?.exists([sum_of(key)])
}

/// Keys that are kept for ever, or will be.
pub fn count(db: &Connection) -> rusqlite::Result<usize> {
    db.prepare_cached(&format!(
        "SELECT (SELECT count(*) FROM used_key) + (SELECT count(*) FROM command WHERE {LASTING})"
    ))?
    .query_row([], |row| row.get(0))
}

pub fn known(db: &Connection) -> rusqlite::Result<Known> {
    db.prepare_cached("SELECT forgotten, lost_until FROM orders_known")?
        .query_row([], |row| Ok(Known { forgotten: row.get(0)?, lost_until: row.get(1)? }))
        .optional()
        .map(Option::unwrap_or_default)
}

/// Keeps the key for ever.
pub fn keep(step: &Transaction<'_>, key: &str) -> rusqlite::Result<()> {
    step.prepare_cached("INSERT OR IGNORE INTO used_key(digest) VALUES (?1)")?
        .execute([sum_of(key)])
        .map(drop)
}

/// Rows that expired up to then are gone.
pub fn forget_up_to(step: &Transaction<'_>, expired: Millis) -> rusqlite::Result<()> {
    step.prepare_cached("UPDATE orders_known SET forgotten = max(forgotten, ?1)")?
        .execute([expired])
        .map(drop)
}

/// Some were lost that were given up to `at`: what expires within a week of it may be one of them.
pub fn lost(db: &Connection, at: Millis) -> rusqlite::Result<()> {
    db.execute("UPDATE orders_known SET lost_until = max(lost_until, ?1)", [at.saturating_add(ORDERS_KEPT)])
        .map(drop)
}

/// Writes down this start's boot; whether the one before was another.
pub fn begin_boot(db: &Connection, boot: &str) -> rusqlite::Result<bool> {
    let before: Option<String> =
        db.query_row("SELECT boot FROM orders_known", [], |row| row.get(0)).optional()?.flatten();
    if before.as_deref() != Some(boot) {
        db.execute("UPDATE orders_known SET boot = ?1", params![boot])?;
    }
    Ok(before.is_some_and(|before| before != boot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_a_week() {
        assert!(LASTING.contains(&ORDERS_KEPT.to_string()), "{LASTING}");
    }

    #[test]
    fn a_sum_is_the_first_half_of_sha_256() {
        let hex: String = sum_of("abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223");
    }
}
