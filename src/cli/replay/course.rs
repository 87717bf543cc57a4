//! Readings in the order of their times through one or two rules, as the daemon would have done it: batched by device,
//! and with the time between them.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value as Json;

use super::lines::Row;
use crate::config::Gateway;
use crate::reading::{Batch, DeviceId, Millis, PointId, Quality, Reading, Reason, Site, Value};
use crate::refine::Cleaner;
use crate::rules::{Change, Engine, Memory, Over, Plan, Rule};
use crate::time;

/// One change of a ticket that would have been raised; a line with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Told {
    #[serde(with = "time::rfc3339")]
    pub at: Millis,
    /// `opened`, `cleared`, …
    pub change: &'static str,
    pub rule: Arc<str>,
    pub device: Option<Arc<str>>,
    pub point: Option<Arc<str>>,
    pub value: Option<Value>,
    pub occurrences: u32,
    /// Of two rules that are compared, which one: its limit, and whether it is the first or the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<usize>,
    #[serde(skip)]
    pub ticket: Arc<str>,
}

/// The engines, and what stands before them.
#[derive(Debug)]
pub struct Course {
    site: Arc<Site>,
    engines: Vec<Engine>,
    /// By point: whether its readings say what happened, not what is.
    momentary: Vec<bool>,
    /// Times of which nothing is known, in order.
    gaps: VecDeque<(Millis, Millis)>,
}

impl Course {
    /// One engine for each set of `rules`; their time begins at `from`.
    pub fn new(gateway: &Gateway, rules: &[&[Rule]], from: Millis, gaps: Vec<(Millis, Millis)>) -> Self {
        let plan = |rules: &&[Rule]| Plan {
            rules: rules.to_vec(),
            standards: gateway.standards(),
            locale: gateway.locale,
            epoch: "replay".into(),
        };
        let site = gateway.site.clone();
        let engine = |rules| Engine::new(plan(rules), site.clone(), Memory::default(), from);
        Self {
            engines: rules.iter().map(engine).collect(),
            momentary: site.momentary(),
            gaps: gaps.into(),
            site,
        }
    }

    /// Takes readings that are in order, none of them before those of the last call. `tell` is given what comes of each
    /// instant, in the order of time, with the number of the engine.
    pub fn take<E>(
        &mut self,
        rows: &[Row],
        mut tell: impl FnMut(usize, Told) -> Result<(), E>,
    ) -> Result<(), E> {
        for rows in rows.chunk_by(|a, b| a.at == b.at) {
            let at = rows[0].at;
            self.until(at, &mut tell)?;
            let (batches, words) = self.answers(rows);
            for engine in &mut self.engines {
                batches.iter().for_each(|batch| engine.batch(batch));
                words.iter().for_each(|word| engine.word(word));
                engine.advance(at, false);
            }
            self.hand_on(at, &mut tell)?;
        }
        Ok(())
    }

    /// Lets time run on to `to`, and what happens at that instant happen.
    pub fn end<E>(
        &mut self,
        to: Millis,
        mut tell: impl FnMut(usize, Told) -> Result<(), E>,
    ) -> Result<(), E> {
        self.until(to.saturating_add(1), &mut tell)
    }

    /// What each device says at one instant, and what happened at it.
    fn answers(&self, rows: &[Row]) -> (Vec<Batch>, Vec<Reading>) {
        let (mut batches, mut words): (Vec<Batch>, Vec<Reading>) = (Vec::new(), Vec::new());
        for row in rows {
            let reading = reading(row);
            if self.momentary[row.point.0 as usize] {
                words.push(reading);
                continue;
            }
            let device = self.site.point(row.point).device;
            match batches.last_mut().filter(|batch| batch.device == device) {
                Some(batch) => batch.readings.push(reading),
                None => batches.push(Batch::new(device, row.at, vec![reading], None)),
            }
        }
        (batches, words)
    }

    /// Everything that time alone brings before `at`, instant by instant; nothing passes in a gap.
    fn until<E>(&mut self, at: Millis, tell: &mut impl FnMut(usize, Told) -> Result<(), E>) -> Result<(), E> {
        while let Some((from, to)) = self.gaps.pop_front_if(|(_, to)| *to <= at) {
            self.pass(from, tell)?;
            for engine in &mut self.engines {
                engine.lost_time(from, to);
            }
        }
        self.pass(at - 1, tell)
    }

    fn pass<E>(&mut self, to: Millis, tell: &mut impl FnMut(usize, Told) -> Result<(), E>) -> Result<(), E> {
        while let Some(due) = self.engines.iter().filter_map(Engine::next_due).min().filter(|due| *due <= to)
        {
            for engine in &mut self.engines {
                // Nobody acts on these tickets, so that no deadline says anything: the clock stays unsynced.
                engine.advance(due, false);
            }
            self.hand_on(due, tell)?;
        }
        Ok(())
    }

    fn hand_on<E>(
        &mut self,
        now: Millis,
        tell: &mut impl FnMut(usize, Told) -> Result<(), E>,
    ) -> Result<(), E> {
        for (number, engine) in self.engines.iter_mut().enumerate() {
            let mut told = engine.take(now).told;
            told.sort_by_key(|change| change.at);
            told.into_iter().try_for_each(|change| tell(number, Told::from(change)))?;
        }
        Ok(())
    }
}

impl From<Change> for Told {
    fn from(change: Change) -> Self {
        let ticket = change.ticket;
        Self {
            at: change.at,
            change: change.kind.trim_start_matches("ticket."),
            rule: ticket.rule,
            device: ticket.device,
            point: ticket.point,
            value: ticket.value,
            occurrences: ticket.occurrences,
            limit: None,
            variant: None,
            ticket: ticket.id,
        }
    }
}

fn reading(row: &Row) -> Reading {
    match (&row.value, row.quality) {
        (Some(value), Quality::Good) => Reading::good(row.point, row.at, value.clone()),
        (Some(value), Quality::Uncertain) => {
            Reading::uncertain(row.point, row.at, value.clone(), Reason::Retained)
        }
        _ => Reading::bad(row.point, row.at, Reason::NoAnswer),
    }
}

/// Judges readings as they come from devices; what happened at a momentary point is not judged.
pub fn clean(rows: &mut [Row], site: &Site) {
    let momentary = site.momentary();
    let mut cleaner = Cleaner::new(site);
    for row in rows.iter_mut().filter(|row| !momentary[row.point.0 as usize]) {
        let mut reading = reading(row);
        cleaner.clean(&mut reading, site.point(row.point));
        (row.quality, row.value) = (reading.quality, reading.value);
    }
}

/// The points that rules stand on, each once, in the order of the site.
pub fn points<'r>(site: &Site, rules: impl IntoIterator<Item = &'r Rule>) -> Vec<PointId> {
    let mut points: Vec<PointId> = Vec::new();
    let of = |devices: &[DeviceId]| devices.iter().flat_map(|id| site.points_of(*id)).collect::<Vec<_>>();
    for rule in rules {
        match &rule.over {
            Over::Points(over) | Over::Together(over) => points.extend(over),
            Over::Devices(devices) => points.extend(of(devices)),
            Over::Channels(channels) => points.extend(channels.iter().flat_map(|(_, devices)| of(devices))),
            Over::Nothing => {}
        }
    }
    points.sort_unstable();
    points.dedup();
    points
}
