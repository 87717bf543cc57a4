//! Tool: which fields an event may have, and which of them are about a person; the allow-list of all that leaves the box.
//!
//! Enforced where events go to the journal: what an event that may speak of people has beyond the list is left out, and in a
//! debug build that is a panic, so that every test with a daemon in it holds every event against the list.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::value::RawValue;

use crate::event::{Draft, Fields};

/// Fields about a person in all events together.
pub const PERSONAL_MAX: usize = 18;

/// The events of one kind, or of all kinds that begin so.
#[derive(Debug, Clone, Copy)]
pub struct Listed {
    /// `access.`, `gateway.maintenance`
    pub kinds: &'static str,
    /// About a person.
    pub personal: &'static [&'static str],
    /// About things.
    pub others: &'static [&'static str],
}

/// All events that may speak of people. Those of other kinds have nothing about anyone.
pub const LISTED: [Listed; 6] = [
    Listed {
        kinds: "access.",
        personal: &["card", "direction", "reason", "order"],
        others: &["reader", "door", "point", "record", "late"],
    },
    Listed { kinds: "locker.", personal: &["order"], others: &["board", "cell"] },
    Listed {
        kinds: "command.",
        personal: &["by", "reason"],
        others: &[
            "device",
            "action",
            "target",
            "role",
            "via",
            "key",
            "expires_at",
            "outcome",
            "detail",
            "effect",
            "times",
        ],
    },
    Listed {
        kinds: "ticket.",
        personal: &["by", "note"],
        others: &[
            "id",
            "number",
            "rule",
            "device",
            "point",
            "place",
            "title",
            "class",
            "level",
            "trade",
            "state",
            "revision",
            "occurrences",
            "value",
            "limit",
            "unit",
            "external_id",
            "since",
            "opened_at",
            "cleared_at",
            "resolved_at",
            "closed_at",
            "deadlines",
            "evidence",
        ],
    },
    Listed {
        kinds: "gateway.maintenance",
        personal: &["by", "note"],
        others: &["device", "place", "rule", "since", "until", "state"],
    },
    Listed { kinds: "gateway.erased", personal: &["pseudonym", "by", "reason"], others: &["events"] },
];

/// No event of another kind has a field of this name.
const OF_PEOPLE: [&str; 8] = ["by", "note", "card", "direction", "order", "pseudonym", "name", "phone"];

/// What an event of this kind may have; `None`: it speaks of nobody.
pub fn listed(kind: &str) -> Option<&'static Listed> {
    LISTED.iter().find(|listed| match listed.kinds.strip_suffix('.') {
        Some(_) => kind.starts_with(listed.kinds),
        None => kind == listed.kinds,
    })
}

impl Listed {
    pub fn has(&self, field: &str) -> bool {
        self.personal.contains(&field) || self.others.contains(&field)
    }
}

/// Whether an event of this kind may have this field.
fn may_have(kind: &str, field: &str) -> bool {
    listed(kind).map_or_else(|| !OF_PEOPLE.contains(&field), |listed| listed.has(field))
}

/// The data without what is not on the list, and the first field that was left out; `None`: all of it is.
fn without_others(kind: &str, data: &RawValue) -> Option<(Box<RawValue>, String)> {
    let Fields(fields) = serde_json::from_str(data.get()).ok()?;
    let (kept, left): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| may_have(kind, name));
    let (field, _) = left.first()?;
    let said = |(name, value): &(Cow<'_, str>, &RawValue)| {
        format!("{}:{}", serde_json::Value::from(&**name), value.get())
    };
    let kept: Vec<String> = kept.iter().map(said).collect();
    let kept = RawValue::from_string(format!("{{{}}}", kept.join(","))).unwrap_or_default();
    Some((kept, field.clone().into_owned()))
}

/// Leaves of each event what is on the list.
pub fn hold_to_list(events: &mut [Draft]) {
    for draft in events {
        if let Some((data, field)) = without_others(draft.kind, &draft.data) {
            debug_assert!(false, "{} has `{field}`, which src/personal.rs does not list", draft.kind);
            say(draft.kind, &field);
            draft.data = data;
        }
    }
}

/// Once in a run: whoever wrote the code has to see it, not whoever runs it every second.
fn say(kind: &str, field: &str) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            kind,
            field,
            "a field that is not on the list of what is told about people is left out"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::KINDS;

    #[test]
    fn at_most_eighteen_fields_are_about_a_person() {
        let personal: usize = LISTED.iter().map(|listed| listed.personal.len()).sum();
        assert!(personal <= PERSONAL_MAX, "{personal}");
        for listed in LISTED {
            let speaks = KINDS
                .split_whitespace()
                .any(|kind| super::listed(kind).is_some_and(|l| l.kinds == listed.kinds));
            assert!(speaks, "{} is the kind of no event", listed.kinds);
            assert!(listed.personal.iter().all(|field| !listed.others.contains(field)), "{}", listed.kinds);
        }
        for kind in KINDS.split_whitespace() {
            let of_people =
                ["access.", "locker.", "command.", "ticket."].iter().any(|start| kind.starts_with(start));
            assert_eq!(
                listed(kind).is_some(),
                of_people || ["gateway.maintenance", "gateway.erased"].contains(&kind),
                "{kind}"
            );
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_left_out_and_the_rest_is_as_it_was_written() {
        let without = |kind, text: &str| {
            let data = RawValue::from_string(text.to_owned()).unwrap();
            let (data, field) = without_others(kind, &data)?;
            Some((data.get().to_owned(), field))
        };
        let said = r#"{"reader":"gate","card":"c-1","name":"张三","late":true, "phone":13800138000}"#;
        let kept = r#"{"reader":"gate","card":"c-1","late":true}"#;
        assert_eq!(without("access.granted", said), Some((kept.into(), "name".into())));
        assert_eq!(without("access.granted", r#"{"reader": "gate",  "card":"c-1"}"#), None);
        assert_eq!(without("locker.opened", r#"{"by":"x"}"#), Some(("{}".into(), "by".into())));
        assert_eq!(without("device.online", r#"{"from":1.50}"#), None);
        assert_eq!(without("ticket.opened", "null"), None);
    }

    #[test]
    fn no_event_of_any_kind_has_a_field_about_a_person_that_is_not_listed_for_it() {
        let personal: Vec<&str> = LISTED.iter().flat_map(|listed| listed.personal).copied().collect();
        let mut kinds_with_people = 0;
        for kind in KINDS.split_whitespace() {
            let mut all: Vec<&str> = personal.iter().copied().chain(OF_PEOPLE).collect();
            // Of a thing a reason is told as well.
            all.retain(|field| *field != "reason" || listed(kind).is_some());
            all.sort_unstable();
            all.dedup();
            let said: Vec<String> = all.iter().map(|field| format!(r#""{field}":"Wang""#)).collect();
            let data = RawValue::from_string(format!("{{{}}}", said.join(","))).unwrap();
            let (kept, _) = without_others(kind, &data).unwrap();
            let kept: serde_json::Map<String, serde_json::Value> = serde_json::from_str(kept.get()).unwrap();
            let listed = listed(kind).map_or(&[][..], |listed| listed.personal);
            assert!(kept.keys().all(|field| listed.contains(&field.as_str())), "{kind}: {kept:?}");
            assert_eq!(kept.len(), listed.len(), "{kind}: {kept:?}");
            kinds_with_people += usize::from(!kept.is_empty());
        }
        assert!(kinds_with_people > 20, "{kinds_with_people}");
    }

    #[test]
    fn a_ticket_and_a_maintenance_have_no_field_beyond_the_list() {
        let ticket = serde_json::json!({
            "id": "t", "number": "n", "rule": "r", "class": "planned", "level": 1, "state": "open", "revision": 1,
            "since": "2026-01-01T00:00:00Z", "opened_at": "2026-01-01T00:00:00Z",
        });
        let ticket: crate::ticket::Ticket = serde_json::from_value(ticket).unwrap();
        let ticket = serde_json::to_value(&ticket).unwrap();
        let listed = listed("ticket.opened").unwrap();
        let fields: Vec<&str> = ticket.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(fields.iter().all(|field| listed.has(field)), "{fields:?}");
        let all = listed.personal.len() + listed.others.len();
        assert_eq!(fields.len(), all, "the list has what a ticket does not have");
    }

    #[test]
    fn the_table_of_the_documentation_is_this_one() {
        let page = include_str!("../docs/security.md");
        for Listed { kinds, personal, others } in LISTED {
            let words =
                |fields: &[&str]| fields.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(" ");
            let kinds = if kinds.ends_with('.') { format!("{kinds}*") } else { kinds.to_owned() };
            let row = format!("| `{kinds}` | {} | {} |", words(personal), words(others));
            assert!(page.contains(&row), "docs/security.md has to have:\n{row}");
        }
    }
}
