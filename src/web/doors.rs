//! Doors and lockers: what is open now, and the last word on each, which the journal has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::Desk;
use super::plan::{Bank, Door};
use super::problem::Problem;
use crate::event::{Kinds, Stored};
use crate::reading::{PointId, Quality, Value};
use crate::store;

/// Events before the head among which a last word is sought.
const SOUGHT_MAX: u64 = 20_000;
/// Events taken in one go.
const CHUNK: usize = 200;
/// Doors and cells with a word; there are no more in a compound.
const WORDS_MAX: usize = 10_000;

/// `GET /api/v1/doors`
pub async fn doors(State(desk): State<Arc<Desk>>) -> Result<Json<JsonValue>, Problem> {
    let answer = desk.look(|desk| {
        let mut words = desk.words.0.lock().unwrap_or_else(PoisonError::into_inner);
        words.read_on(desk)?;
        let plan = &desk.rooms.plan;
        let doors: Vec<JsonValue> = plan.doors.iter().map(|door| door_row(desk, door, &words)).collect();
        let banks: Vec<JsonValue> = plan.banks.iter().map(|bank| bank_row(desk, bank, &words)).collect();
        Ok(json!({ "doors": doors, "banks": banks }))
    });
    Ok(Json(answer.await?))
}

fn door_row(desk: &Desk, door: &Door, words: &Last) -> JsonValue {
    let known = &desk.rooms.site.doors[door.id.0 as usize];
    let word = words.of(&format!("doors/{}", known.id), None);
    json!({
        "id": known.id,
        "place": known.place,
        "contact": state(desk, door.contact),
        "word": word.map(|word| &word.word),
        "at": word.map(|word| &word.time),
    })
}

fn bank_row(desk: &Desk, bank: &Bank, words: &Last) -> JsonValue {
    let device = desk.rooms.site.device(bank.device);
    let subject = format!("devices/{}", device.id);
    let cells = bank.cells.iter().enumerate().map(|(n, contact)| {
        let word = words.of(&subject, Some(n as u64 + 1));
        json!({
            "cell": n + 1,
            "state": state(desk, *contact),
            "item": bank.items.get(n).map(|item| state(desk, *item)),
            "word": word.map(|word| &word.word),
            "at": word.map(|word| &word.time),
        })
    });
    json!({
        "device": device.id,
        "place": device.place,
        "cells": cells.collect::<Vec<_>>(),
        "commands": bank.commands,
    })
}

/// `null` where it is not known now.
fn state(desk: &Desk, point: PointId) -> Option<Arc<str>> {
    let live = desk.rooms.live.lock();
    let now = live.point(point);
    match &now.value {
        Some(Value::Text(word)) if now.quality != Quality::Bad => Some(word.clone()),
        _ => None,
    }
}

// --- last words ---

/// Read on from where the last question ended.
#[derive(Debug, Default)]
pub struct Words(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    next: u64,
    /// By subject, and cell where it is one.
    by: HashMap<(String, Option<u64>), Word>,
}

#[derive(Debug)]
struct Word {
    word: String,
    time: String,
}

/// As far as it is looked at.
#[derive(Deserialize)]
struct Event {
    subject: String,
    time: String,
    /// None: it is erased, or has expired.
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
struct Data {
    cell: Option<u64>,
}

impl Last {
    fn of(&self, subject: &str, cell: Option<u64>) -> Option<&Word> {
        self.by.get(&(subject.to_owned(), cell))
    }

    fn read_on(&mut self, desk: &Desk) -> Result<(), Problem> {
        let kinds = Kinds(vec!["access.*".into(), "locker.*".into()]);
        self.next = self.next.max(desk.rooms.head.borrow().saturating_sub(SOUGHT_MAX));
        loop {
            match desk.rooms.view.events(self.next, CHUNK, &kinds) {
                Ok(slice) => {
                    slice.events.iter().for_each(|event| self.take(event));
                    self.next = self.next.max(slice.next);
                    if slice.next >= slice.head {
                        return Ok(());
                    }
                }
                Err(store::Error::Gone { oldest }) if oldest > self.next => self.next = oldest,
                Err(error) => return Err(Problem::of_store(&error, |seq| desk.cursor(seq))),
            }
        }
    }

    fn take(&mut self, event: &Stored) {
        let Ok(told) = serde_json::from_str::<Event>(&event.json) else { return };
        let word = event.kind.rsplit_once('.').map_or(&*event.kind, |(_, word)| word).to_owned();
        let key = (told.subject, told.data.and_then(|data| data.cell));
        if self.by.len() < WORDS_MAX || self.by.contains_key(&key) {
            self.by.insert(key, Word { word, time: told.time });
        }
    }
}
