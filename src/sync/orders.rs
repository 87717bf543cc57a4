//! What the centre wants devices to do, in its reply to a batch:
//! `{"commands":[{"device","action","target","reason","by","expires_at","key"}]}`. Pure.
//!
//! It is done only where the configuration says `commands = true` of this centre, and then it is judged like any other
//! order, in role central. The reply may come again with each batch: the key makes it once.

use serde::Deserialize;
use serde_json::Value as Json;

use super::Target;
use crate::order::{Order, Refused, Role};
use crate::time;

/// Orders in one reply; what is more is refused.
pub const ORDERS_MAX: usize = 20;
/// Characters; they become part of an event.
const WORD_MAX: usize = 100;
const REASON_MAX: usize = 500;

/// The centre's orders, in its order; each that must not be given with the reason why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub orders: Vec<(Order, Option<Refused>)>,
    /// Beyond the most, and refused without a word of their own.
    pub beyond: usize,
}

impl Said {
    pub fn refused(&self) -> usize {
        self.orders.iter().filter(|(_, refused)| refused.is_some()).count() + self.beyond
    }

    /// The first reason.
    pub fn why(&self) -> String {
        let mut why = self.orders.iter().filter_map(|(_, refused)| refused.as_ref());
        why.next().map(ToString::to_string).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    commands: Vec<Json>,
}

#[derive(Deserialize)]
struct Word {
    device: String,
    action: String,
    #[serde(default)]
    target: String,
    reason: Option<String>,
    by: Option<String>,
    expires_at: String,
    key: String,
}

pub fn said(body: &[u8], target: &Target) -> Said {
    let Ok(Reply { commands }) = serde_json::from_slice::<Reply>(body) else {
        // Any JSON is a fine answer; this one just orders nothing.
        return Said::default();
    };
    let count = commands.len();
    // The first one too many tells of all of them.
    let some = commands.into_iter().take(ORDERS_MAX + 1).enumerate();
    let one = |(n, word): (usize, Json)| {
        let (order, malformed) = order(&word, target);
        let refused = if !target.commands {
            let why =
                "replies of this centre may not carry orders; `commands = true` in its [[sync]] lets them";
            Some(Refused::NotFromThere(why.to_owned()))
        } else if n >= ORDERS_MAX {
            let why =
                format!("the reply carries {count} orders, and {ORDERS_MAX} are taken; say the others later");
            Some(Refused::TooMany(why))
        } else {
            malformed
        };
        (order, refused)
    };
    Said { orders: some.map(one).collect(), beyond: count.saturating_sub(ORDERS_MAX + 1) }
}

/// As far as it reads; and why it does not.
fn order(word: &Json, target: &Target) -> (Order, Option<Refused>) {
    match serde_json::from_value::<Word>(word.clone()) {
        Ok(word) => checked(&word, target),
        Err(error) => {
            let text = |name: &str| plain(word[name].as_str().unwrap_or_default(), WORD_MAX);
            let order = Order {
                device: text("device").into(),
                action: text("action"),
                target: text("target"),
                reason: None,
                by: target.name.to_string(),
                role: Role::Central,
                via: target.name.clone(),
                expires_at: None,
                key: text("key"),
            };
            // What the parser says may repeat what stood there.
            let why = plain(&error.to_string(), WORD_MAX);
            (order, Some(Refused::Malformed(format!("the order does not read: {why}"))))
        }
    }
}

fn checked(word: &Word, target: &Target) -> (Order, Option<Refused>) {
    let expires_at = time::parse(&word.expires_at).ok();
    let reason = word.reason.as_deref().unwrap_or_default();
    let by = word.by.as_deref().filter(|by| !by.trim().is_empty()).unwrap_or(&target.name);
    let mut wrong =
        expires_at.is_none().then(|| "`expires_at` is no time like 2026-11-21T08:00:00Z".to_owned());
    for (what, text, most) in [
        ("device", word.device.as_str(), WORD_MAX),
        ("action", &word.action, WORD_MAX),
        ("target", &word.target, WORD_MAX),
        ("reason", reason, REASON_MAX),
        ("by", by, WORD_MAX),
        ("key", &word.key, WORD_MAX),
    ] {
        if text.chars().count() > most {
            wrong = Some(format!("`{what}` may have up to {most} characters"));
        }
        if text.chars().any(char::is_control) {
            wrong = Some(format!("`{what}` has a control character in it"));
        }
    }
    if word.key.trim().is_empty() {
        wrong = Some("`key` is empty".to_owned());
    }
    let order = Order {
        device: plain(&word.device, WORD_MAX).into(),
        action: plain(&word.action, WORD_MAX),
        target: plain(&word.target, WORD_MAX),
        reason: word.reason.as_deref().map(|reason| plain(reason, REASON_MAX)),
        by: plain(by, WORD_MAX),
        role: Role::Central,
        via: target.name.clone(),
        expires_at,
        key: plain(&word.key, WORD_MAX),
    };
    (order, wrong.map(Refused::Malformed))
}

/// Nothing of what the centre says may break a line or fill the journal.
fn plain(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::event::Kinds;

    pub fn target(commands: bool) -> Target {
        Target {
            name: "crm".into(),
            url: "https://crm.example.com/events".into(),
            token: None,
            tls: crate::sync::Tls::default(),
            lacks: None,
            batch: 1,
            kinds: Kinds::default(),
            rate: 1,
            compress: false,
            commands,
            patience: Duration::from_secs(1),
        }
    }

    fn word(n: usize) -> Json {
        json!({ "device": "bank-1", "action": "open", "target": "cell-3", "reason": "parcel", "by": "Wang",
            "expires_at": "2026-11-22T08:00:00Z", "key": format!("k-{n}"), "more": [] })
    }

    fn of(commands: &[Json]) -> Vec<(Order, Option<Refused>)> {
        said(json!({ "commands": commands }).to_string().as_bytes(), &target(true)).orders
    }

    #[test]
    fn an_order_is_of_role_central_by_whom_the_centre_says_and_via_the_sync() {
        let told = of(&[word(1)]);
        let expected = Order {
            device: "bank-1".into(),
            action: "open".into(),
            target: "cell-3".into(),
            reason: Some("parcel".into()),
            by: "Wang".into(),
            role: Role::Central,
            via: "crm".into(),
            expires_at: Some(time::parse("2026-11-22T08:00:00Z").unwrap()),
            key: "k-1".into(),
        };
        assert_eq!(told, [(expected, None)]);
    }

    #[test]
    fn without_a_word_in_the_configuration_none_is_given() {
        let body = json!({ "commands": [word(1), 7] }).to_string();
        let told = said(body.as_bytes(), &target(false));
        assert_eq!(told.refused(), 2);
        assert!(told.orders.iter().all(|(_, why)| matches!(why, Some(Refused::NotFromThere(_)))));
    }

    #[test]
    fn of_a_thousand_twenty_are_taken_and_one_tells_of_the_others() {
        let many: Vec<Json> = (0..1000).map(word).collect();
        let told = said(json!({ "commands": many }).to_string().as_bytes(), &target(true));
        assert_eq!((told.orders.len(), told.refused()), (ORDERS_MAX + 1, 980));
        assert!(told.orders[..ORDERS_MAX].iter().all(|(_, why)| why.is_none()));
        let Some(Refused::TooMany(why)) = &told.orders[ORDERS_MAX].1 else { panic!("{told:?}") };
        assert!(why.contains("1000"), "{why}");
    }

    #[test]
    fn what_does_not_read_is_refused_and_breaks_no_line() {
        let with = |name: &str, value: Json| {
            let mut word = word(1);
            word[name] = value;
            word
        };
        let without = |name: &str| {
            let mut word = word(1);
            word.as_object_mut().unwrap().remove(name);
            word
        };
        let wrong = [
            json!(7),
            json!(null),
            json!([]),
            without("key"),
            without("expires_at"),
            without("device"),
            with("key", json!(7)),
            with("key", json!(" ")),
            with("expires_at", json!("soon")),
            with("expires_at", json!(1_763_712_000)),
            with("target", json!({})),
            with("by", json!("li\nFATAL: all doors open")),
            with("reason", json!("x".repeat(501))),
            with("device", json!("\u{1b}[2J".repeat(1000))),
        ];
        for word in wrong {
            let (order, refused) = of(std::slice::from_ref(&word)).remove(0);
            let Some(Refused::Malformed(why)) = refused else { panic!("{word} was taken") };
            let texts = [&*order.device, &order.action, &order.target, &order.by, &order.key, &why];
            assert!(texts.iter().all(|text| !text.chars().any(char::is_control)), "{order:?} {why}");
            assert!(texts.iter().all(|text| text.len() <= 500), "{order:?} {why}");
        }
    }

    #[test]
    fn other_json_orders_nothing_however_deep_it_is() {
        let deep = format!("{{\"commands\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for body in ["{}", "[]", "null", r#"{"commands":5}"#, r#"{"tickets":[]}"#, "", "\u{0}", &deep] {
            assert_eq!(said(body.as_bytes(), &target(true)), Said::default(), "{body:.20}");
        }
    }

    /// Whatever comes, it ends, and within bounds.
    #[test]
    fn fuzz_replies() {
        let body = json!({ "commands": [word(1), word(2)] }).to_string();
        crate::field::fuzz::flood("sync::orders", &[body.into_bytes()], |bytes| {
            assert!(said(bytes, &target(true)).orders.len() <= ORDERS_MAX + 1);
        });
    }
}
