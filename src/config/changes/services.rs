//! The gateway as a whole, its API, its consumers, its store: what is other than it was.

use std::time::Duration;

use super::{Moves, arrow};
use crate::config::Gateway;
use crate::config::kinds::human;
use crate::web;

/// What is in everything.
pub(super) fn whole(old: &Gateway, new: &Gateway) -> Vec<&'static str> {
    let parts = [
        ("id", old.site.gateway != new.site.gateway),
        ("data_dir", old.store.dir != new.store.dir),
        ("timezone", old.timezone != new.timezone),
        ("locale", old.locale != new.locale),
        ("store_key", old.seal != new.seal),
    ];
    parts.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
}

pub(super) fn gateway(old: &Gateway, new: &Gateway) -> Vec<String> {
    let of = |name, gateway: &Gateway| match name {
        "id" => gateway.site.gateway.to_string(),
        "data_dir" => gateway.store.dir.display().to_string(),
        "timezone" => gateway.timezone.clone(),
        "store_key" => gateway.seal.key().unwrap_or("none").to_owned(),
        _ => match gateway.locale {
            crate::rules::Locale::ZhCn => "zh-CN".to_owned(),
            crate::rules::Locale::En => "en".to_owned(),
        },
    };
    let told = whole(old, new).into_iter();
    let mut told: Vec<String> = told
        .map(|name| format!("gateway: {name} {}, everything restarts", arrow(of(name, old), of(name, new))))
        .collect();
    if old.site.name != new.site.name && old.site.gateway == new.site.gateway {
        told.push(format!("gateway: name {}", arrow(&old.site.name, &new.site.name)));
    }
    match (&old.pseudonyms, &new.pseudonyms) {
        (a, b) if a == b => {}
        (Some(_), Some(_)) => told.push("privacy: another key, cards and people are called otherwise".into()),
        (None, _) => told.push("privacy: cards and people get pseudonyms".into()),
        (_, None) => told.push("privacy: there is no key any more".into()),
    }
    told
}

pub(super) fn api(old: &web::Settings, new: &web::Settings) -> Vec<String> {
    let mut told = Vec::new();
    if old.listen != new.listen {
        told.push(format!("api: listens on {}", arrow(old.listen, new.listen)));
    }
    told.extend(tls(old.tls.as_ref(), new.tls.as_ref()));
    for token in &old.tokens {
        match new.tokens.iter().find(|now| now.name == token.name) {
            None => told.push(format!("api: token {} removed", token.name)),
            Some(now) => {
                let role = || format!("role {}", arrow(token.role.word(), now.role.word()));
                let role = (now.role != token.role).then(role);
                let secret = (now.token != token.token).then(|| "another secret".to_owned());
                let words: Vec<String> = role.into_iter().chain(secret).collect();
                if !words.is_empty() {
                    told.push(format!("api: token {}: {}", token.name, words.join(", ")));
                }
            }
        }
    }
    let known = |name: &str| old.tokens.iter().any(|token| *token.name == *name);
    let new = new.tokens.iter().filter(|token| !known(&token.name));
    told.extend(new.map(|token| format!("api: token {} added, role {}", token.name, token.role.word())));
    told
}

/// Who is connected stays so where only the certificate is another.
fn tls(old: Option<&web::Tls>, new: Option<&web::Tls>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => return vec!["api: speaks HTTPS, and HTTP no longer".into()],
        (Some(_), None) => return vec!["api: speaks HTTP, and HTTPS no longer".into()],
        (Some(old), Some(new)) => (old, new),
    };
    let mut told = Vec::new();
    if old.cert != new.cert || old.key != new.key {
        told.push("api: shows another certificate".into());
    }
    match (&old.client_ca, &new.client_ca) {
        (None, Some(_)) => told.push(format!("api: asks {} for a certificate", asked(new.client))),
        (Some(_), None) => told.push("api: asks nobody for a certificate".into()),
        (Some(old), Some(new)) if old != new => {
            told.push("api: another CA signs the certificates of clients".into())
        }
        _ => {}
    }
    if old.client != new.client && old.client_ca.is_some() && new.client_ca.is_some() {
        told.push(format!("api: asks {} for a certificate", asked(new.client)));
    }
    told
}

fn asked(client: web::Demand) -> &'static str {
    match client {
        web::Demand::All => "everybody",
        web::Demand::Central => "role central",
    }
}

pub(super) fn levels(old: &Gateway, new: &Gateway) -> Vec<String> {
    let other = (1..).zip(old.standards().into_iter().zip(new.standards())).filter(|(_, (a, b))| a != b);
    other.map(|(level, _)| format!("level {level}: other times to be kept, for new tickets")).collect()
}

pub(super) fn consumers(old: &Gateway, new: &Gateway) -> Vec<String> {
    let mut told = Vec::new();
    for consumer in &old.consumers {
        match new.consumers.iter().find(|now| now.name == consumer.name) {
            None => told.push(format!("consumer {}: removed", consumer.name)),
            Some(now) if now.required && !consumer.required => {
                told.push(format!("consumer {}: events are kept for it", consumer.name));
            }
            Some(now) if !now.required && consumer.required => {
                told.push(format!("consumer {}: events are no longer kept for it", consumer.name));
            }
            Some(_) => {}
        }
    }
    let known = |name: &str| old.consumers.iter().any(|consumer| *consumer.name == *name);
    let new = new.consumers.iter().filter(|consumer| !known(&consumer.name));
    told.extend(new.map(|consumer| format!("consumer {}: added", consumer.name)));
    told
}

/// Addresses are not shown: there are those with a password in them.
pub(super) fn pushes(old: &Gateway, new: &Gateway, moves: &Moves) -> Vec<String> {
    let gone = moves.ended.iter().filter(|name| !moves.is_moved(name));
    let mut told: Vec<String> = gone.map(|name| format!("push {name}: removed")).collect();
    for name in &moves.begun {
        let find = |gateway: &Gateway| gateway.sync.iter().find(|target| target.name == *name).cloned();
        let (Some(was), Some(is)) = (find(old), find(new)) else {
            told.push(format!("push {name}: added"));
            continue;
        };
        let parts = [
            ("another url", was.url != is.url),
            ("another token", was.token != is.token),
            ("other certificates", was.tls != is.tls),
            ("other kinds", was.kinds != is.kinds),
            ("another batch", was.batch != is.batch),
            ("another rate", was.rate != is.rate),
            ("another timeout", was.patience != is.patience),
            ("compressed otherwise", was.compress != is.compress),
        ];
        let words: Vec<&str> =
            parts.into_iter().filter_map(|(word, changed)| changed.then_some(word)).collect();
        told.push(format!("push {name}: {}, restarts", words.join(", ")));
    }
    told
}

pub(super) fn store(old: &Gateway, new: &Gateway) -> Vec<String> {
    let span = |span: Duration| human(span);
    let kinds = |of: &[(String, Duration)]| {
        let each: Vec<String> = of.iter().map(|(kinds, keep)| format!("{kinds} {}", human(*keep))).collect();
        if each.is_empty() { "all alike".to_owned() } else { each.join(", ") }
    };
    let summary = |of: Option<Duration>| of.map_or("never".to_owned(), human);
    let parts = [
        ("events_keep", span(old.store.events_keep), span(new.store.events_keep)),
        ("readings_keep", span(old.store.readings_keep), span(new.store.readings_keep)),
        ("disk_limit", old.store.disk_limit.to_string(), new.store.disk_limit.to_string()),
        ("write_budget", old.write_budget.to_string(), new.write_budget.to_string()),
        ("keep", kinds(&old.keep_kinds), kinds(&new.keep_kinds)),
        ("summary", summary(old.summary), summary(new.summary)),
    ];
    let other = parts.into_iter().filter(|(_, was, is)| was != is);
    other.map(|(name, was, is)| format!("store: {name} {}", arrow(was, is))).collect()
}
