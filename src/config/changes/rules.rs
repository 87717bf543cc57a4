//! Rules: what is other than it was.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::arrow;
use super::installed::some_of;
use crate::config::Gateway;
use crate::config::kinds::human;
use crate::numbers::{NOBODY, Numbered, Numbers};
use crate::reading::{DeviceId, Millis, Site};
use crate::rules::{Over, Rule};
use crate::ticket::Class;

/// Rules may share an id: `device-silent` is one for each span.
type ById<'a> = BTreeMap<&'a str, Vec<&'a Rule>>;

pub(super) fn rules(old: &Gateway, new: &Gateway, named: &Numbers) -> Vec<String> {
    let moved: Vec<Rule> = old.rules.iter().map(|rule| rule.clone().in_other(named)).collect();
    let (before, now) = (by_id(&moved), by_id(&new.rules));
    let news = News { old: &old.site, new: &new.site, named };
    let mut told: Vec<String> =
        before.keys().filter(|id| !now.contains_key(*id)).map(|id| format!("rule {id}: removed")).collect();
    for (id, is) in &now {
        let Some(was) = before.get(id) else {
            told.extend(is.iter().map(|rule| added(rule)));
            continue;
        };
        let mut words = match (&was[..], &is[..]) {
            ([was], [is]) => otherwise(was, is),
            _ => several(was, is),
        };
        words.extend(news.subjects(id, &old.rules, is));
        if !words.is_empty() {
            told.push(format!("rule {id}: {}", words.join(", ")));
        }
    }
    told
}

fn by_id(rules: &[Rule]) -> ById<'_> {
    let mut by_id = ById::new();
    for rule in rules {
        by_id.entry(&*rule.id).or_default().push(rule);
    }
    by_id
}

fn added(rule: &Rule) -> String {
    format!("rule {}: added, {}, level {}", rule.id, limit(&rule.limit), rule.level)
}

/// `below 200`
fn limit(limit: &Json) -> String {
    let said = limit.as_object().filter(|one| one.len() == 1).and_then(|one| one.iter().next());
    match said {
        Some((word, Json::String(text))) => format!("{word} {text}"),
        Some((word, value)) => format!("{word} {}", number(value)),
        None => limit.to_string(),
    }
}

/// As people write it: 200, not 200.0.
fn number(value: &Json) -> String {
    value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string())
}

fn otherwise(was: &Rule, is: &Rule) -> Vec<String> {
    let mut words = Vec::new();
    if was.limit != is.limit {
        let (before, now) = (limit(&was.limit), limit(&is.limit));
        let same_word = |a: &str, b: &str| a.split(' ').next() == b.split(' ').next();
        let short =
            now.split_once(' ').filter(|_| same_word(&before, &now)).map(|(_, value)| value.to_owned());
        words.push(arrow(&before, short.as_ref().unwrap_or(&now)));
    } else if was.condition != is.condition {
        words.push("judged otherwise".to_owned());
    }
    let span = |of: Millis| human(Duration::from_millis(of.unsigned_abs()));
    for (name, was, is) in [
        ("on_delay", was.on_delay, is.on_delay),
        ("off_delay", was.off_delay, is.off_delay),
        ("settle", was.settle, is.settle),
        ("verify", was.verify, is.verify),
        ("reopen", was.reopen, is.reopen),
    ] {
        if was != is {
            words.push(format!("{name} {}", arrow(span(was), span(is))));
        }
    }
    if was.deadband != is.deadband {
        words.push(format!("deadband {}", arrow(was.deadband, is.deadband)));
    }
    if was.level != is.level {
        words.push(format!("level {}", arrow(was.level, is.level)));
    }
    if was.class != is.class {
        words.push(format!("class {}", arrow(class(was.class), class(is.class))));
    }
    if was.trade != is.trade {
        let trade = |rule: &Rule| rule.trade.as_deref().unwrap_or("none").to_owned();
        words.push(format!("trade {}", arrow(trade(was), trade(is))));
    }
    if was.title != is.title {
        words.push("another title".to_owned());
    }
    if was.chatter != is.chatter {
        words.push("chatter is counted otherwise".to_owned());
    }
    words
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Immediate => "immediate",
        Class::Planned => "planned",
        Class::Periodic => "periodic",
    }
}

/// Several rules under one id: whether they judge as before, whatever they stand on.
fn several(was: &[&Rule], is: &[&Rule]) -> Vec<String> {
    let bare = |rules: &[&Rule]| -> Vec<Rule> {
        rules.iter().map(|rule| Rule { over: Over::Nothing, ..(*rule).clone() }).collect()
    };
    let same = bare(was) == bare(is);
    if same { Vec::new() } else { vec!["judged otherwise".to_owned()] }
}

struct News<'a> {
    old: &'a Site,
    new: &'a Site,
    named: &'a Numbers,
}

impl News<'_> {
    /// What a rule stands on and did not, and the other way round. That a new device has a rule on it is no news.
    fn subjects(&self, id: &str, old: &[Rule], is: &[&Rule]) -> Vec<String> {
        let was: Vec<&Rule> = old.iter().filter(|rule| *rule.id == *id).collect();
        let there = |device: DeviceId| self.named.device(device).is_some();
        let known = |device: DeviceId| {
            let name = &self.new.device(device).id;
            self.old.device_named(name).is_some()
        };
        let before: Vec<String> = subjects(&was, self.old, there);
        let now: Vec<String> = subjects(is, self.new, known);
        let new: Vec<String> = now.iter().filter(|name| !before.contains(name)).cloned().collect();
        let gone: Vec<String> = before.iter().filter(|name| !now.contains(name)).cloned().collect();
        let words = [("also on", some_of(&new)), ("no longer on", some_of(&gone))];
        words.into_iter().filter_map(|(what, names)| Some(format!("{what} {}", names?))).collect()
    }
}

/// The names of what rules stand on, of devices for which it holds.
fn subjects(rules: &[&Rule], site: &Site, holds: impl Fn(DeviceId) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for rule in rules {
        match &rule.over {
            Over::Points(points) | Over::Together(points) => {
                let there = points.iter().filter(|point| point.0 != NOBODY);
                let held = there.filter(|point| holds(site.point(**point).device));
                names.extend(held.map(|point| site.point(*point).id.to_string()));
            }
            Over::Devices(devices) => {
                let held = devices.iter().filter(|device| device.0 != NOBODY && holds(**device));
                names.extend(held.map(|device| site.device(*device).id.to_string()));
            }
            Over::Channels(_) | Over::Nothing => {}
        }
    }
    names
}
