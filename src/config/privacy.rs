//! `[privacy]`: the key under which the journal has pseudonyms in place of cards and people.
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

/// The key of the pseudonyms. `people`: the first device that tells who came and went, which has to have one.
pub(super) fn privacy(
    table: Option<&Table>,
    people: Option<(Arc<str>, Spot)>,
    report: &Report<'_>,
) -> Option<Pseudonyms> {
    let Some(table) = table else {
        if let Some((id, spot)) = people {
            let what = format!("device `{id}` tells who came and went, and there is no `[privacy]`");
            let cure = "write `[privacy]` and below it `key = { credential = \"privacy-key\" }`; the journal then has pseudonyms in place of cards and people";
            report.missing(Code::NoPrivacy, spot, what, cure);
        }
        return None;
    };
    let mut section = Section::new(table, "`[privacy]`", report);
    let key = secrets::require(&mut section, "key");
    let spot = section.peek("key").map_or(section.spot(), |entry| entry.value.spot);
    section.finish();
    let pseudonyms = Pseudonyms::new(&key?);
    if pseudonyms.is_none() {
        let cure = format!("write at least {KEY_MIN} characters there, as `openssl rand -hex 32` makes them");
        report.mistake(Code::SecretUnusable, spot, "`key`: what stands there could be guessed", cure);
    }
    pseudonyms
}
