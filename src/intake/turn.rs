//! The turn: another configuration from one instant to the next, and nothing that was read before is lost.
//!
//! **Why no reading is ever taken for another point's.** Numbers are places in a site, and each batch says under which
//! configuration its wire was begun ([`Edition`]). Of the present one it is taken as it is; of an older one, whose wire was
//! not touched and goes on, it is translated by name into the present site, step by step over each change between, and only
//! for points that were the same all the way. Of any other edition nothing can be in the queue: the wires of an edition
//! that is not in use any more have ended before the turn is asked for, and all that waits at that moment is judged by the
//! rules under which it was read, before they turn. Should one be there all the same, it is dropped and not guessed at.
//!
//! **What is on the disk.** The page before the turn is written first; what the turn itself brings (tickets of rules that
//! are gone, `gateway.config-changed`) is the next page. A journal that takes nothing turns nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::quality::Day;
use super::summary::Period;
use super::{Corridor, Doors, Keep};
use crate::access;
use crate::command::Allowed;
use crate::event::Draft;
use crate::field::{Errand, Lane, Near};
use crate::live::Live;
use crate::numbers::Numbers;
use crate::order::Outcome;
use crate::reading::{Batch, Edition, Millis, Site};
use crate::rules;
use crate::store::Kind;

/// Turns that may wait; there is one who asks, and waits for the answer.
pub const TURNS_MAX: usize = 1;

/// All that intake needs to know of the next configuration.
#[derive(Debug)]
pub struct Turn {
    pub edition: Edition,
    /// Those under which wires go on.
    pub in_use: Vec<Edition>,
    /// The lanes of the wires that have ended, with what still waits in them.
    pub ended: HashMap<Arc<str>, Lane>,
    /// Of devices and points that are the same, before and after.
    pub numbers: Numbers,
    pub site: Arc<Site>,
    pub plan: rules::Plan,
    pub access: access::Plan,
    pub commands: Vec<Allowed>,
    pub lanes: HashMap<Arc<str>, Near>,
    pub keep: Keep,
    pub write_budget: u64,
    /// Kinds of events that are kept for less long than others.
    pub keep_kinds: Vec<(String, Duration)>,
    pub summary: Option<Duration>,
    pub consumers: Vec<(Arc<str>, Kind, bool)>,
    /// `None` where no text changed: back from one that was refused.
    pub told: Option<Draft>,
    /// Why it cannot be, in words.
    pub answer: oneshot::Sender<Result<Turned, String>>,
}

/// It has turned, and that is on the disk.
#[derive(Debug)]
pub struct Turned {
    pub live: Arc<Live>,
    /// By subject, what devices told last.
    pub last_records: Vec<(String, String)>,
}

/// Which configurations' numbers can be read.
#[derive(Debug, Default)]
pub(super) struct Editions {
    present: Edition,
    older: HashMap<Edition, Numbers>,
}

impl Editions {
    /// As it reads in the present site; `None`: it says nothing of what is there now.
    pub fn read(&self, batch: Batch) -> Option<Batch> {
        if batch.edition == self.present {
            return Some(batch);
        }
        let Some(numbers) = self.older.get(&batch.edition) else {
            tracing::warn!("a wire that was ended has said something more; it is left out");
            return None;
        };
        numbers.batch(batch)
    }

    fn turn(&mut self, next: Edition, in_use: &[Edition], numbers: &Numbers) {
        let older = std::mem::take(&mut self.older).into_iter();
        let mut older: HashMap<Edition, Numbers> =
            older.map(|(edition, known)| (edition, known.then(numbers))).collect();
        older.insert(self.present, numbers.clone());
        older.retain(|edition, _| in_use.contains(edition));
        (self.present, self.older) = (next, older);
    }
}

impl Corridor {
    pub(super) async fn turn(&mut self, turn: Turn, doors: &mut Doors) {
        // Whoever asked has gone another way meanwhile.
        if turn.answer.is_closed() {
            return;
        }
        // What the wires that ended have brought is in the queue by now, and is judged as it was read.
        for _ in 0..doors.batches.len() {
            let Ok(batch) = doors.batches.try_recv() else { break };
            self.take(batch);
        }
        self.settle(doors, None).await;
        if !self.page.is_blank() || self.is_refused() {
            let _ = turn.answer.send(Err("the journal takes nothing now".to_owned()));
            return;
        }
        if let Err(error) = self.intake.journal.keep_consumers(&turn.consumers) {
            let _ = turn.answer.send(Err(format!("the consumers cannot be written: {error}")));
            return;
        }
        let answer = self.turn_to(turn);
        self.settle(doors, None).await;
        let last_records = self.intake.journal.last_records().unwrap_or_else(|error| {
            tracing::warn!(%error, "what devices told last is not known; they may tell it again");
            Vec::new()
        });
        // Nobody else would begin the wires: whoever asked has gone, and builds the house anew.
        let _ = answer.send(Ok(Turned { live: self.intake.live.clone(), last_records }));
    }

    /// From one site to the other, in one go.
    fn turn_to(&mut self, turn: Turn) -> oneshot::Sender<Result<Turned, String>> {
        let now = self.look_at_the_clocks();
        let (site, numbers) = (turn.site, turn.numbers);
        let renumbered = *site != *self.intake.site;
        if renumbered {
            self.day_is_cut(now, now);
        }
        if renumbered || turn.summary != self.intake.summary {
            self.period_is_cut(now, now);
        }
        self.turn_the_doors(turn.access, &site, &numbers);
        self.turn_the_orders(turn.commands, &turn.ended, &site, &numbers, now);
        self.editions.turn(turn.edition, &turn.in_use, &numbers);
        self.turn_what_is_known(&site, &numbers);
        self.turn_the_rules(turn.plan, &site, &numbers, now);
        self.intake.live = Arc::new(self.intake.live.taken_over(&site, &numbers));
        self.intake.lanes = turn.lanes;
        self.intake.keep = turn.keep;
        self.intake.history.set_write_budget(turn.write_budget);
        self.intake.journal.keep_kinds(&turn.keep_kinds);
        if renumbered || turn.summary != self.intake.summary {
            let begin =
                |span: Duration| Period::begin(&site, &self.intake.zone, span.as_millis() as Millis, now);
            self.period = turn.summary.map(begin);
        }
        self.intake.summary = turn.summary;
        if renumbered {
            self.day = Day::begin(&site, &self.intake.zone, now);
            // Those of devices that are gone would be shown for ever.
            self.intake.metrics.usable_share.clear();
            self.measured_at = 0;
        }
        self.intake.site = site;
        self.page.events.extend(turn.told);
        self.show_maintenance();
        turn.answer
    }

    /// A wire that has ended says nothing more. What still waits in its lane has not happened, and is not handed on: the
    /// next wire may understand something else by it.
    fn turn_the_orders(
        &mut self,
        allowed: Vec<Allowed>,
        ended: &HashMap<Arc<str>, Lane>,
        site: &Arc<Site>,
        numbers: &Numbers,
        now: Millis,
    ) {
        let waiting: Vec<u64> = ended.values().flat_map(not_begun).collect();
        let has_ended = |channel: &Arc<str>| ended.contains_key(channel);
        for running in self.orders.desk.take_over(site.clone(), allowed, numbers, has_ended) {
            let outcome = match waiting.contains(&running.number) {
                true => Outcome::Failed { why: "its channel was begun anew before its turn came".to_owned() },
                false => Outcome::Unsure {
                    why: "its channel was begun anew before the device answered".to_owned(),
                },
            };
            self.end(running, outcome, now);
        }
    }

    fn turn_the_doors(&mut self, plan: access::Plan, site: &Arc<Site>, numbers: &Numbers) {
        self.tell_of_access();
        let none = access::Watch::new(access::Plan::default(), site.clone(), &[]);
        let before = std::mem::replace(&mut self.watch, none);
        let (next, gone) = before.taken_over(plan, site, numbers);
        self.watch = next;
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        if let Err(error) = self.intake.journal.forget_access(&gone) {
            tracing::warn!(%error, "what was known of doors that are gone could not be removed");
        }
    }

    /// What is kept by point or device.
    fn turn_what_is_known(&mut self, site: &Site, numbers: &Numbers) {
        let (points, devices) = (site.points.len(), site.devices.len());
        self.noted = numbers.points_moved(std::mem::take(&mut self.noted), points);
        self.remembered = numbers.devices_moved(std::mem::take(&mut self.remembered), devices);
        let words = std::mem::take(&mut self.words).into_iter();
        self.words = words.filter_map(|(point, at)| Some((numbers.point(point)?, at))).collect();
        let before = std::mem::replace(&mut self.cleaner, crate::refine::Cleaner::new(&Site::default()));
        self.cleaner = before.taken_over(site, numbers);
    }

    fn turn_the_rules(&mut self, plan: rules::Plan, site: &Arc<Site>, numbers: &Numbers, now: Millis) {
        let (none, nowhere) = (rules::Plan { rules: Vec::new(), ..plan.clone() }, Arc::<Site>::default());
        let none = rules::Engine::new(none, nowhere, rules::Memory::default(), now);
        let before = std::mem::replace(&mut self.intake.engine, none);
        self.intake.engine = before.taken_over(plan, site.clone(), numbers, now);
    }
}

/// Orders that nobody has taken out of a lane, by number. Where a wire that was broken off still holds it, nobody knows.
fn not_begun(lane: &Lane) -> Vec<u64> {
    let Ok(mut lane) = lane.try_lock() else { return Vec::new() };
    let errands = std::iter::from_fn(|| lane.try_recv().ok());
    errands
        .filter_map(|errand| if let Errand::Do(deed) = errand { Some(deed.number) } else { None })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Device, DeviceId, Point, PointId, Reading, Value};

    /// Devices of one point each, named after the device.
    fn site(devices: &[String]) -> Site {
        let device = |(n, id): (usize, &String)| Device {
            id: id.as_str().into(),
            channel: "c".into(),
            profile: None,
            place: "".into(),
            polled: true,
            first_point: n as u32,
            points: 1,
            words: None,
        };
        let point = |(n, id): (usize, &String)| Point {
            id: format!("{id}.p").into(),
            device: DeviceId(n as u32),
            unit: None,
            range: None,
            deadband: 0.0,
            clean: <_>::default(),
        };
        Site {
            devices: devices.iter().enumerate().map(device).collect(),
            points: devices.iter().enumerate().map(point).collect(),
            ..Site::default()
        }
    }

    /// What device `id` of this site says: its own name.
    fn says(site: &Site, edition: Edition, id: &str) -> Option<Batch> {
        let device = site.device_named(id)?;
        let readings = vec![Reading::good(PointId(device.0), 7, Value::Text(id.into()))];
        Some(Batch { edition, ..Batch::new(device, 7, readings, None) })
    }

    #[test]
    fn whatever_changes_no_reading_is_taken_for_another_points() {
        // A small generator of one's own: what it does to 200 configurations in a row is the same on every machine.
        let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
        let mut roll = |sides: usize| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            (dice % sides as u64) as usize
        };
        let mut devices: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let mut sites = vec![site(&devices)];
        let mut editions = Editions::default();
        let mut heard = 0;
        for n in 1..200_u32 {
            for _ in 0..roll(4) {
                match roll(3) {
                    0 if devices.len() > 2 => drop(devices.remove(roll(devices.len()))),
                    1 => devices.insert(roll(devices.len() + 1), format!("d{}", roll(40))),
                    _ => devices.rotate_left(roll(3)),
                }
            }
            devices.sort_by_key(|id| (id.len() * 7 + n as usize) % 3);
            let mut known = Vec::new();
            devices.retain(|id| {
                !known.contains(id) && {
                    known.push(id.clone());
                    true
                }
            });
            let next = site(&devices);
            let numbers = Numbers::between(sites.last().unwrap(), &next);
            let in_use: Vec<Edition> =
                (n.saturating_sub(20)..n).filter(|n| n % 3 != 0).map(Edition).collect();
            editions.turn(Edition(n), &in_use, &numbers);
            sites.push(next);
            let present = sites.last().unwrap();
            for edition in 0..=n {
                for id in (0..40).map(|n| format!("d{n}")) {
                    let Some(batch) = says(&sites[edition as usize], Edition(edition), &id) else { continue };
                    let Some(batch) = editions.read(batch) else { continue };
                    assert!(edition == n || in_use.contains(&Edition(edition)), "of one that is not in use");
                    assert_eq!(*present.device(batch.device).id, *id);
                    for reading in &batch.readings {
                        assert_eq!(*present.point(reading.point).id, *format!("{id}.p"));
                        assert_eq!(reading.value, Some(Value::Text(id.as_str().into())));
                        heard += 1;
                    }
                }
            }
        }
        assert!(heard > 5_000, "{heard}");
    }

    #[test]
    fn what_left_and_came_again_is_another_one() {
        let names = |of: &[&str]| of.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (first, without) = (site(&names(&["a", "b"])), site(&names(&["b"])));
        let mut editions = Editions::default();
        editions.turn(Edition(1), &[Edition(0)], &Numbers::between(&first, &without));
        editions.turn(Edition(2), &[Edition(0)], &Numbers::between(&without, &first));
        assert!(editions.read(says(&first, Edition(0), "a").unwrap()).is_none());
        assert!(editions.read(says(&first, Edition(0), "b").unwrap()).is_some());
    }
}
