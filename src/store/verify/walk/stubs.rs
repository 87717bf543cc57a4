//! Events that say no more: each has to have one that tells of it, further on. What is told is in the chain; what a stub
//! itself says is not.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Told, Walk};
use crate::event::Kinds;
use crate::store::Error;
use crate::store::expiry::LASTING;
use crate::store::verify::rows::Event;
use crate::time;

/// Groups of stubs that are remembered until something tells of them: those of a day, and of one kind.
const GROUPS_MAX: usize = 50_000;

/// What is known while the rows go by.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    /// When they say that they were erased.
    erased: BTreeMap<String, Group>,
    /// How many stubs an erasure has told; `None`: it says no more itself.
    erasures: BTreeMap<String, Option<u64>>,
    /// Erasures under way.
    begun: Vec<String>,
    /// When they say that they expired, and their kind; what is told is taken out.
    expired: BTreeMap<(String, String), Group>,
    /// From this number on the gateway has told what expires.
    tells_since: Option<u64>,
    /// More groups than are remembered.
    is_full: bool,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    count: u64,
    first: u64,
    last: u64,
}

/// Of `gateway.expired`.
#[derive(Deserialize)]
struct Expired<'a> {
    from: u64,
    to: u64,
    types: Vec<String>,
    /// Of a `gateway.erased` that has expired: when, and how many events.
    #[serde(borrow)]
    erased: Option<Cow<'a, str>>,
    events: Option<u64>,
}

#[derive(Deserialize)]
struct Erased {
    events: u64,
}

#[derive(Deserialize)]
struct Started {
    keep: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Data<D> {
    data: D,
}

impl Group {
    fn add(of: Option<&mut Self>, seq: u64) -> Option<Self> {
        match of {
            Some(group) => {
                (group.count, group.last) = (group.count + 1, seq);
                None
            }
            None => Some(Self { count: 1, first: seq, last: seq }),
        }
    }

    fn named(&self) -> String {
        match self.count {
            1 => "it is".to_owned(),
            count => format!("{count} events from {} to {} are", self.first, self.last),
        }
    }
}

fn data<'a, D: Deserialize<'a>>(json: &'a str) -> Option<D> {
    serde_json::from_str::<Data<D>>(json).ok().map(|Data { data }| data)
}

impl Walk<'_> {
    /// A stub that was made in this epoch; one that was carried here was told there.
    pub(super) fn stub(&mut self, row: &Event<'_>, told: &Told<'_>) {
        let (seq, stubs) = (row.seq, &mut self.stubs);
        if stubs.erased.len() + stubs.expired.len() >= GROUPS_MAX {
            stubs.is_full = true;
        } else if let Some(time) = &told.erased {
            if let Some(new) = Group::add(stubs.erased.get_mut(&**time), seq) {
                stubs.erased.insert(time.clone().into_owned(), new);
            }
        } else if let Some(time) = &told.expired {
            let key = (time.clone().into_owned(), row.kind.to_owned());
            if let Some(new) = Group::add(stubs.expired.get_mut(&key), seq) {
                stubs.expired.insert(key, new);
            }
        }
        if told.erased.is_none() && LASTING[..2].contains(&row.kind) {
            self.report
                .fault(Some(seq), format!("it is said to have expired, and `{}` never does", row.kind));
        }
        if row.kind == "gateway.erased" {
            self.stubs.erasures.entry(told.time.clone().into_owned()).or_insert(None);
        }
    }

    /// What tells of stubs; of another epoch it tells nothing here.
    pub(super) fn tells_of_stubs(&mut self, row: &Event<'_>, told: &Told<'_>, json: &str) {
        match row.kind {
            "gateway.erased" => {
                if let Some(Erased { events }) = data(json) {
                    self.erasure(&told.time, events);
                }
            }
            "gateway.expired" => {
                self.stubs.tells_since.get_or_insert(row.seq);
                let Some(said) = data::<Expired<'_>>(json) else { return };
                self.expiry(&told.time, &said);
                if let (Some(time), Some(events)) = (&said.erased, said.events) {
                    self.erasure(time, events);
                }
            }
            "gateway.started" => match data(json) {
                Some(Started { keep: Some(_) }) => {
                    self.stubs.tells_since.get_or_insert(row.seq);
                }
                // An older gatehouse, which tells nothing.
                _ => self.stubs.tells_since = None,
            },
            _ => {}
        }
    }

    fn erasure(&mut self, time: &str, events: u64) {
        let known = self.stubs.erasures.entry(time.to_owned()).or_default();
        *known = Some(known.unwrap_or(0).saturating_add(events));
    }

    /// Those of them that it tells of have been seen.
    fn expiry(&mut self, time: &str, said: &Expired<'_>) {
        let kinds = Kinds(said.types.clone());
        let is_told = |kind: &str, group: &Group| {
            said.from <= group.first && group.last <= said.to && !kinds.0.is_empty() && kinds.want(kind)
        };
        let of_then = (time.to_owned(), String::new())..;
        let told: Vec<_> = (self.stubs.expired.range(of_then))
            .take_while(|((then, _), _)| then == time)
            .filter(|((_, kind), group)| is_told(kind, group))
            .map(|(key, _)| key.clone())
            .collect();
        for key in told {
            self.stubs.expired.remove(&key);
        }
    }

    /// Those under way tell of themselves, as far as that can be believed.
    pub(super) fn read_erasures(&mut self) -> Result<(), Error> {
        let Ok(mut query) = self.db.prepare("SELECT begun FROM erasure WHERE told IS NULL") else {
            return Ok(());
        };
        let times = query.query_map([], |row| Ok(time::format(row.get(0)?)))?;
        self.stubs.begun = times.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Those of which nothing tells, or not of so many.
    pub(super) fn stubs_untold(&mut self) {
        let stubs = std::mem::take(&mut self.stubs);
        for (time, group) in stubs.erased {
            let (are, seq) = (group.named(), group.first);
            match stubs.erasures.get(&time) {
                Some(Some(events)) if group.count <= *events => {}
                Some(Some(events)) => {
                    let what = format!("{are} said to be erased at {time}, and the `gateway.erased` of then tells of {events} events");
                    self.untold(seq, what);
                }
                Some(None) => self.report.doubt(
                    Some(seq),
                    format!("{are} said to be erased at {time}, and nothing tells any more how many events that were"),
                ),
                None if stubs.begun.contains(&time) => {
                    let what = format!("{are} said to be erased at {time}: that is under way and not told yet");
                    self.report.doubt(Some(seq), what);
                }
                None => {
                    let what = format!("{are} said to be erased at {time}, and no `gateway.erased` tells of that");
                    self.untold(seq, what);
                }
            }
        }
        for ((time, kind), group) in stubs.expired {
            let (are, seq) = (group.named(), group.last);
            let what = format!(
                "{are} said to have expired at {time}, and no `gateway.expired` tells that of `{kind}`"
            );
            if stubs.tells_since.is_some_and(|since| seq > since) {
                self.untold(seq, what);
            } else {
                let why = "that is well only if an older gatehouse did it, which told nothing";
                self.report.doubt(Some(seq), format!("{what}: {why}"));
            }
        }
        if stubs.is_full {
            let what = "there are more expiries and erasures than can be looked at".to_owned();
            self.report.doubt(None, what);
        }
    }
}
