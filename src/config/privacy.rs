//! `[privacy]`: the key under which the journal has pseudonyms in place of cards and people, and the key that seals it.
//!
//! Readers, door controllers and face terminals tell who came and went, so they need it. A contact, a relay board or a
//! locker tells of nobody and needs none.

use std::sync::Arc;

use super::codes::Code;
use super::mistakes::{Report, Spot};
use super::secrets;
use super::section::Section;
use super::tree::Table;
use crate::pseudonym::{KEY_MIN, Pseudonyms};
use crate::store::Seal;

/// What is kept of people, and how.
#[derive(Debug, Default)]
pub(super) struct Privacy {
    pub pseudonyms: Option<Pseudonyms>,
    pub pseudonyms_before: Vec<Pseudonyms>,
    pub seal: Seal,
}

/// `people`: the first device that tells who came and went, for which there has to be a key.
pub(super) fn privacy(
    table: Option<&Table>,
    people: Option<(Arc<str>, Spot)>,
    report: &Report<'_>,
) -> Privacy {
    let Some(table) = table else {
        no_key(people, report);
        return Privacy::default();
    };
    let mut section = Section::new(table, "`[privacy]`", report);
    // Who only seals the journal needs no pseudonyms; who has neither has written the section for nothing.
    let seals = section.peek("store_key").is_some() || section.peek("store_key_before").is_some();
    let key = if seals && people.is_none() {
        secrets::take(&mut section, "key")
    } else {
        secrets::require(&mut section, "key")
    };
    let pseudonyms = key.as_ref().and_then(|key| usable(&section, "key", Pseudonyms::new(key)));
    let before = secrets::list(&mut section, "key_before");
    let before: Option<Vec<Pseudonyms>> = before.iter().map(Pseudonyms::new).collect();
    let pseudonyms_before = usable(&section, "key_before", before).unwrap_or_default();
    let now = secrets::take(&mut section, "store_key");
    let now = now.filter(|now| usable(&section, "store_key", Seal::new(Some(now), &[])).is_some());
    if let (false, Some(key), Some(entry)) = (report.blind, &key, section.peek("store_key"))
        && now.as_ref() == Some(key)
    {
        let what =
            "`store_key` is the same secret as `key`: who reads the journal with it knows the people too";
        report.warning(
            Code::OneKeyForTwo,
            entry.value.spot,
            what,
            "make one of its own: `openssl rand -hex 32`",
        );
    }
    let before = secrets::list(&mut section, "store_key_before");
    let seal = usable(&section, "store_key_before", Seal::new(now.as_ref(), &before)).unwrap_or_default();
    section.finish();
    Privacy { pseudonyms, pseudonyms_before, seal }
}

fn no_key(people: Option<(Arc<str>, Spot)>, report: &Report<'_>) {
    if let Some((id, spot)) = people {
        let what = format!("device `{id}` tells who came and went, and there is no `[privacy]`");
        let cure = "write `[privacy]` and below it `key = { credential = \"privacy-key\" }`; the journal then has pseudonyms in place of cards and people";
        report.missing(Code::NoPrivacy, spot, what, cure);
    }
}

/// What a secret was made into; where it is too short for that, so it is said.
fn usable<T>(section: &Section<'_>, key: &str, made: Option<T>) -> Option<T> {
    if made.is_none() {
        let spot = section.peek(key).map_or(section.spot(), |entry| entry.value.spot);
        let cure = format!("write at least {KEY_MIN} characters there, as `openssl rand -hex 32` makes them");
        let what = format!("`{key}`: what stands there could be guessed");
        section.report.mistake(Code::SecretUnusable, spot, what, cure);
    }
    made
}
