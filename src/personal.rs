//! Tool: which fields an event may have, and which of them are about a person; the allow-list of all that leaves the box.
//!
//! Enforced where events are made: what an event that may speak of people has beyond the list is left out. A field is new in
//! an event only once it stands here, and one about a person only while there are no more than [`PERSONAL_MAX`].

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::value::RawValue;

use crate::event::Fields;

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
pub const LISTED: [Listed; 5] = [
    Listed {
        kinds: "access.",
        personal: &["card", "direction", "reason"],
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
            "key",
            "outcome",
            "detail",
            "times",
            "role",
            "token",
            "effect",
            "expires_at",
            "via",
            "from",
            "asked_at",
            "begun_at",
            "acknowledged_at",
            "took_effect_at",
            "word",
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
];

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

/// The event's data without what is not on the list.
pub fn admitted(kind: &'static str, data: Box<RawValue>) -> Box<RawValue> {
    let Some(listed) = listed(kind) else { return data };
    let Ok(Fields(fields)) = serde_json::from_str(data.get()) else { return data };
    let (kept, left): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| listed.has(name));
    let Some((field, _)) = left.first() else { return data };
    say(kind, field);
    let kept: Vec<String> = kept
        .iter()
        .map(|(name, value)| format!("{}:{}", serde_json::Value::from(&**name), value.get()))
        .collect();
    RawValue::from_string(format!("{{{}}}", kept.join(","))).unwrap_or_default()
}

/// Once in a run: whoever wrote the code has to see it, not whoever runs it every second.
fn say(kind: &'static str, field: &str) {
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
            assert_eq!(listed(kind).is_some(), of_people || kind == "gateway.maintenance", "{kind}");
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_left_out_and_the_rest_is_as_it_was_written() {
        let admit = |kind, text: &str| {
            admitted(kind, RawValue::from_string(text.to_owned()).unwrap()).get().to_owned()
        };
        let said = r#"{"reader":"gate","card":"c-1","name":"张三","late":true, "phone":13800138000}"#;
        assert_eq!(admit("access.granted", said), r#"{"reader":"gate","card":"c-1","late":true}"#);
        let right = r#"{"reader": "gate",  "card":"c-1"}"#;
        assert_eq!(admit("access.granted", right), right);
        assert_eq!(admit("locker.opened", r#"{"by":"x"}"#), "{}");
        assert_eq!(admit("device.online", r#"{"from":1.50}"#), r#"{"from":1.50}"#);
        assert_eq!(admit("ticket.opened", "null"), "null");
    }
}
