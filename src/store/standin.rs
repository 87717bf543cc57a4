//! A stand-in with the store's signatures over memory; thrown away when the real store is merged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{Draft, Kinds, Stored};
use crate::reading::{Millis, Value};
use crate::store::Settings;
use crate::ticket::{State, Ticket};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("events up to {oldest} are no longer kept")]
    Gone { oldest: u64 },
    #[error("the journal ends at {head}")]
    AheadOfJournal { head: u64 },
    #[error("stand-in: {0}")]
    Other(String),
}

#[derive(Debug)]
pub struct Ends {
    pub journal: Journal,
    pub outbox: Outbox,
    pub view: View,
    pub history: (),
}

#[derive(Debug, Default)]
pub struct Page {
    pub at: Millis,
    pub synced: bool,
    pub events: Vec<Draft>,
    pub tickets: Vec<TicketRow>,
    pub episodes: Vec<EpisodeRow>,
    pub devices: Vec<DeviceRow>,
    pub number: Option<u64>,
}

#[derive(Debug)]
pub struct TicketRow {
    pub ticket: Ticket,
    pub subject: Arc<str>,
    pub life: String,
}

#[derive(Debug)]
pub struct EpisodeRow;

#[derive(Debug)]
pub struct DeviceRow;

#[derive(Debug, Default)]
struct Memory {
    events: Vec<Stored>,
    tickets: BTreeMap<Arc<str>, Ticket>,
    consumers: BTreeMap<String, (u64, Millis)>,
}

type Shared = Arc<Mutex<Memory>>;

fn lock(memory: &Shared) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn open(_: &Settings, gateway: &str) -> Result<Ends, Error> {
    let memory = Shared::default();
    let epoch: Arc<str> = uuid::Uuid::now_v7().simple().to_string().into();
    Ok(Ends {
        journal: Journal {
            memory: memory.clone(),
            gateway: gateway.into(),
            epoch: epoch.clone(),
        },
        outbox: Outbox {
            memory: memory.clone(),
        },
        view: View { memory, epoch },
        history: (),
    })
}

#[derive(Debug)]
pub struct Journal {
    memory: Shared,
    gateway: String,
    epoch: Arc<str>,
}

impl Journal {
    pub fn commit(&mut self, page: &Page) -> Result<u64, Error> {
        let mut memory = lock(&self.memory);
        for draft in &page.events {
            let seq = memory.events.len() as u64 + 1;
            let json = draft.render(&self.gateway, &self.epoch, seq, page.synced);
            memory.events.push(Stored {
                seq,
                kind: draft.kind.into(),
                json,
            });
        }
        for row in &page.tickets {
            memory.tickets.insert(row.ticket.id.clone(), row.ticket.clone());
        }
        Ok(memory.events.len() as u64)
    }
}

#[derive(Debug, Clone)]
pub struct Outbox {
    memory: Shared,
}

impl Outbox {
    pub fn settle(&self, name: &str, seq: u64, now: Millis) -> Result<(), Error> {
        let mut memory = lock(&self.memory);
        let head = memory.events.len() as u64;
        if seq > head {
            return Err(Error::AheadOfJournal { head });
        }
        let held = memory.consumers.entry(name.into()).or_default();
        *held = (held.0.max(seq), now);
        Ok(())
    }

    pub fn forget(&self, name: &str) -> Result<bool, Error> {
        Ok(lock(&self.memory).consumers.remove(name).is_some())
    }
}

#[derive(Debug, Clone)]
pub struct View {
    memory: Shared,
    epoch: Arc<str>,
}

#[derive(Debug)]
pub struct Slice {
    pub events: Vec<Stored>,
    pub next: u64,
    pub head: u64,
}

#[derive(Debug, Default)]
pub struct Filter {
    pub states: Vec<State>,
    pub device: Option<String>,
    pub after: Option<String>,
    pub limit: usize,
}

#[derive(Debug)]
pub struct ConsumerNow {
    pub name: String,
    pub kind: String,
    pub required: bool,
    pub acknowledged: u64,
    pub lag: u64,
    pub last_seen: Option<Millis>,
    pub set_aside: Vec<u64>,
    pub error: Option<String>,
}

impl View {
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    pub fn head(&self) -> Result<u64, Error> {
        Ok(lock(&self.memory).events.len() as u64)
    }

    pub fn events(&self, after: u64, limit: usize, kinds: &Kinds) -> Result<Slice, Error> {
        let memory = lock(&self.memory);
        let head = memory.events.len() as u64;
        let rest = memory.events.iter().skip(after as usize);
        let events: Vec<_> = rest
            .filter(|e| kinds.want(&e.kind))
            .take(limit)
            .cloned()
            .collect();
        let next = match events.last() {
            Some(last) if events.len() == limit => last.seq,
            _ => head.max(after),
        };
        Ok(Slice { events, next, head })
    }

    pub fn tickets(&self, filter: &Filter) -> Result<Vec<String>, Error> {
        let memory = lock(&self.memory);
        let wanted = memory.tickets.values().filter(|t| {
            (filter.states.is_empty() || filter.states.contains(&t.state))
                && filter
                    .device
                    .as_deref()
                    .is_none_or(|d| t.device.as_deref() == Some(d))
                && filter.after.as_deref().is_none_or(|a| &*t.id > a)
        });
        Ok(wanted
            .take(filter.limit)
            .map(|t| serde_json::to_string(t).unwrap_or_default())
            .collect())
    }

    pub fn ticket(&self, id: &str) -> Result<Option<String>, Error> {
        let memory = lock(&self.memory);
        Ok(memory
            .tickets
            .get(id)
            .map(|t| serde_json::to_string(t).unwrap_or_default()))
    }

    pub fn consumers(&self) -> Result<Vec<ConsumerNow>, Error> {
        let memory = lock(&self.memory);
        let head = memory.events.len() as u64;
        Ok(memory
            .consumers
            .iter()
            .map(|(name, (acknowledged, seen))| ConsumerNow {
                name: name.clone(),
                kind: "pull".into(),
                required: false,
                acknowledged: *acknowledged,
                lag: head - acknowledged,
                last_seen: Some(*seen),
                set_aside: Vec::new(),
                error: None,
            })
            .collect())
    }

    pub fn history(&self, _: &str, _: Millis, _: Millis) -> Result<Vec<(Millis, Option<Value>)>, Error> {
        Ok(Vec::new())
    }
}
