//! The way of an order: judged, written down, and only then given to its wire; ended by what the wire says.
//!
//! A power cut at any moment leaves a row that says so: an order that was begun and has no end is told as unsure at the
//! next start, and never given a second time.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::Corridor;
use crate::access::Ended;
use crate::command::{Allowed, Desk, Given, Kept, Moment, Refusals, Running, Verdict};
use crate::event::Draft;
use crate::field::Errand;
use crate::masked::mask;
use crate::order::{Deed, Done, Order, Outcome, Refused, Role, Wish};
use crate::reading::{DeviceId, Millis, Site};
use crate::store::{self, OrderRow, OrdersKnown};
use crate::time;

/// Who waits for the end of one order.
const WAITING_MAX: usize = 16;

type Answer = Result<Outcome, Refused>;

#[derive(Debug)]
pub(super) struct Orders {
    pub desk: Desk,
    refusals: Refusals,
    /// Who waits for the end of an order, by its number.
    waiting: HashMap<u64, Vec<oneshot::Sender<Answer>>>,
    /// What goes out once the page is on the disk.
    errands: Vec<(mpsc::OwnedPermit<Errand>, Errand)>,
    begun: Vec<oneshot::Sender<()>>,
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
}

impl Orders {
    pub fn new(site: Arc<Site>, allowed: Vec<Allowed>) -> Self {
        Self {
            desk: Desk::new(site, allowed),
            refusals: Refusals::default(),
            waiting: HashMap::new(),
            errands: Vec::new(),
            begun: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// The page is on the disk: wires and askers are told.
    pub fn settled(&mut self) {
        for (permit, errand) in self.errands.drain(..) {
            permit.send(errand);
        }
        for begun in self.begun.drain(..) {
            // Whoever asked may have gone; what they asked happens all the same.
            let _ = begun.send(());
        }
        for (answer, outcome) in self.answers.drain(..) {
            let _ = answer.send(outcome);
        }
    }

    /// Somebody else, or the same again, asks for what is under way.
    fn wait(&mut self, number: u64, begun: oneshot::Sender<()>, answer: oneshot::Sender<Answer>) {
        let waiting = self.waiting.entry(number).or_default();
        waiting.retain(|answer| !answer.is_closed());
        if waiting.len() >= WAITING_MAX {
            let why =
                format!("{WAITING_MAX} others wait for the end of this order; try again under the same key");
            return self.answers.push((answer, Err(Refused::Busy(why))));
        }
        waiting.push(answer);
        self.begun.push(begun);
    }

    pub fn next_due(&self) -> Option<Millis> {
        [self.desk.next_due(), self.refusals.next_due()].into_iter().flatten().min()
    }
}

/// What the journal knows that concerns one order.
#[derive(Debug, Default)]
struct Remembered {
    row: Option<OrderRow>,
    used: bool,
    known: OrdersKnown,
    rows_full: bool,
    keys_full: bool,
    given: Vec<Given>,
}

impl Corridor {
    /// Whether the clock went unwatched before this start.
    pub(super) fn begin_boot(&mut self) {
        let boot = self.intake.clock.boot().to_owned();
        if boot.is_empty() {
            return;
        }
        match self.intake.journal.begin_boot(&boot) {
            Ok(slept) => self.clocks.slept = slept,
            Err(error) => tracing::warn!(%error, "it cannot be said whether the machine was switched off"),
        }
    }

    pub(super) fn wish(&mut self, wish: Wish) {
        let now = self.look_at_the_clocks();
        let Wish { mut order, refused, begun, answer } = wish;
        mask(&mut order.by);
        order.reason.iter_mut().for_each(mask);
        if let Some(why) = refused {
            return self.refuse(&order, why, now, answer);
        }
        let order = self.orders.desk.with_target(order);
        let remembered = match self.remembered(&order, now) {
            Ok(remembered) => remembered,
            Err(error) => {
                // Without it the same might happen twice.
                let why = format!("earlier orders cannot be read now: {error}");
                return self.orders.answers.push((answer, Err(Refused::Busy(why))));
            }
        };
        let row = remembered.row.as_ref();
        let kept = Kept {
            row: row.map(|row| (&row.order, row.ended.as_ref().map(|(_, outcome)| outcome))),
            used: remembered.used,
            forgotten: remembered.known.forgotten,
            lost_until: remembered.known.lost_until,
            keys_full: remembered.keys_full,
            rows_full: remembered.rows_full,
            given: &remembered.given,
        };
        let (trust, past) = self.clocks.trust(&self.intake.clock);
        let moment = Moment { now, past, trust, zone: &self.intake.zone };
        match self.orders.desk.judge(&order, &moment, &kept) {
            Verdict::Do(n) => self.begin(order, n, now, begun, answer),
            Verdict::Wait(number) => self.orders.wait(number, begun, answer),
            Verdict::Before(outcome) => self.orders.answers.push((answer, Ok(outcome))),
            Verdict::Refuse(why) => self.refuse(&order, why, now, answer),
        }
    }

    /// What is kept under this key, on the page or on the disk; of a new one, whether there is room for it.
    fn remembered(&mut self, order: &Order, now: Millis) -> Result<Remembered, store::Error> {
        let of_page = self.page.orders.iter().rev().find(|row| row.order.key == order.key).cloned();
        let journal = &mut self.intake.journal;
        let row = match of_page {
            Some(row) => Some(row),
            None => journal.order(&order.key)?,
        };
        if row.is_some() {
            return Ok(Remembered { row, ..Remembered::default() });
        }
        let used = journal.is_key_used(&order.key)?;
        let (mut rows, keys) = journal.order_room()?;
        if !rows {
            journal.retire_orders(Millis::MIN, now)?;
            (rows, _) = journal.order_room()?;
        }
        let known = journal.orders_known()?;
        let given = self.given(order, now)?;
        Ok(Remembered { row, used, known, rows_full: !rows, keys_full: !keys, given })
    }

    /// What was ordered of the device lately, where that is asked for.
    fn given(&self, order: &Order, now: Millis) -> Result<Vec<Given>, store::Error> {
        let Some(span) = self.orders.desk.looks_back(order) else { return Ok(Vec::new()) };
        let clocks = &self.clocks;
        let since = now - span - clocks.moved_most();
        let on_disk = self.intake.journal.orders_given(&order.device, since)?;
        let begun = self.page.orders.iter().filter(|row| row.ended.is_none());
        let of_device = begun.filter(|row| row.order.device == order.device);
        let on_page = of_device.map(|row| {
            let (action, target) = (row.order.action.clone(), row.order.target.clone());
            Given { action, target, at: clocks.at_the_latest(row.begun_at) }
        });
        let on_disk = on_disk.into_iter().map(|(action, target, at)| Given {
            action,
            target,
            at: clocks.at_the_latest(at),
        });
        Ok(on_page.chain(on_disk).collect())
    }

    fn begin(
        &mut self,
        order: Order,
        n: usize,
        now: Millis,
        begun: oneshot::Sender<()>,
        answer: oneshot::Sender<Answer>,
    ) {
        let (lane, device) = match self.reserve(&order) {
            Ok(reserved) => reserved,
            Err(why) => return self.refuse(&order, why, now, answer),
        };
        let steady = self.intake.clock.steady();
        let Some((deed, running)) = self.orders.desk.begin(order, n, now, steady) else {
            return;
        };
        if let Some(moves) = running.moves {
            self.watch.ordered(moves.into(), &Arc::from(&*running.order.key), now);
        }
        self.page.orders.push(OrderRow { order: running.order, begun_at: now, ended: None });
        self.orders.waiting.entry(running.number).or_default().push(answer);
        self.orders.begun.push(begun);
        self.orders.errands.push((lane, Errand::Do(Deed { device, ..deed })));
    }

    /// A place in the lane of the device's wire, held while the order is written down; and the device as the wire counts.
    fn reserve(&self, order: &Order) -> Result<(mpsc::OwnedPermit<Errand>, DeviceId), Refused> {
        let site = &self.intake.site;
        let device =
            site.device_named(&order.device).ok_or_else(|| Refused::Unknown(order.device.clone()))?;
        let channel = &site.device(device).channel;
        let lane = self.intake.lanes.get(channel);
        let lane = lane.ok_or_else(|| Refused::Busy(format!("channel `{channel}` takes no orders")))?;
        let there = lane.site.device_named(&order.device);
        let there = there.ok_or_else(|| Refused::Busy(format!("channel `{channel}` is closing")))?;
        let permit = lane.errands.clone().try_reserve_owned().map_err(|error| {
            Refused::Busy(match error {
                mpsc::error::TrySendError::Full(_) => {
                    format!("more orders wait for channel `{channel}` than it can take; try again")
                }
                mpsc::error::TrySendError::Closed(_) => format!("channel `{channel}` is closing"),
            })
        })?;
        Ok((permit, there))
    }

    /// What the wire says of an order.
    pub(super) fn done(&mut self, done: Done, now: Millis) {
        match self.orders.desk.end(done.number) {
            Some(running) => self.end(running, done.outcome, done.at.min(now)),
            None => tracing::warn!(
                number = done.number,
                "a wire tells the end of an order that had been given up"
            ),
        }
    }

    /// Written down and told; who waits for it hears it then.
    pub(super) fn end(&mut self, running: Running, outcome: Outcome, at: Millis) {
        if let Some(moves) = running.moves {
            self.watch.ended(moves.into(), &running.order.key, running.begun_at, ended(&outcome), at);
        }
        for answer in self.orders.waiting.remove(&running.number).unwrap_or_default() {
            self.orders.answers.push((answer, Ok(outcome.clone())));
        }
        let row = OrderRow { order: running.order, begun_at: running.begun_at, ended: Some((at, outcome)) };
        self.tell_end(row);
    }

    fn tell_end(&mut self, row: OrderRow) {
        if let Some((at, outcome)) = &row.ended {
            let (word, detail) = outcome.words();
            let effect = Some(outcome.effect());
            self.tell_order("command.executed", &row.order, *at, (word, detail), effect);
        }
        self.page.orders.push(row);
    }

    fn refuse(&mut self, order: &Order, why: Refused, now: Millis, answer: oneshot::Sender<Answer>) {
        // A device that does not exist has no events; the centre, which is not answered, has to hear it all the same.
        let is_heard = order.role == Role::Central || self.intake.site.device_named(&order.device).is_some();
        let told = is_heard && self.orders.refusals.tell(order, &why, now);
        if told {
            self.tell_order("command.refused", order, now, (why.word(), &why.to_string()), None);
        }
        self.orders.answers.push((answer, Err(why)));
    }

    fn tell_order(
        &mut self,
        kind: &'static str,
        order: &Order,
        at: Millis,
        (outcome, detail): (&str, &str),
        effect: Option<&str>,
    ) {
        let mut data = json!({
            "device": order.device,
            "action": order.action,
            "target": order.target,
            "by": order.by,
            "role": order.role.word(),
            "via": order.via,
            "reason": order.reason,
            "key": order.key,
            "expires_at": order.expires_at.map(time::format),
            "outcome": outcome,
            "detail": detail,
        });
        if let Some(effect) = effect {
            data["effect"] = effect.into();
        }
        let subject = match self.intake.site.device_named(&order.device) {
            Some(_) => format!("devices/{}", order.device),
            None => format!("gateways/{}", self.intake.site.gateway),
        };
        self.page.events.push(Draft::new(kind, subject, at, &data));
    }

    /// Orders that no wire will say anything of any more, and refusals that were held back.
    pub(super) fn orders_advance(&mut self, now: Millis) {
        for running in self.orders.desk.overdue(now) {
            let device: DeviceId = running.device;
            let channel = &self.intake.site.device(device).channel;
            let why = format!("channel `{channel}` did not say what came of it");
            self.end(running, Outcome::Unsure { why }, now);
        }
        for (outcome, times) in self.orders.refusals.advance(now) {
            let subject = format!("gateways/{}", self.intake.site.gateway);
            let detail = "refused as those before them, and not told one by one";
            let data = json!({ "outcome": outcome, "times": times, "detail": detail });
            self.page.events.push(Draft::new("command.refused", subject, now, &data));
        }
    }

    /// Nobody knows what became of them, and they are never given again.
    pub(super) fn end_what_was_under_way(&mut self) {
        let now = self.intake.clock.now();
        for mut row in std::mem::take(&mut self.intake.orders) {
            if let Some(moves) = self.orders.desk.moves(&row.order) {
                self.watch.ended(moves.into(), &row.order.key, row.begun_at, Ended::Unsure, now);
            }
            let why = "the daemon stopped before the device answered".to_owned();
            row.ended = Some((now, Outcome::Unsure { why }));
            self.tell_end(row);
        }
    }
}

fn ended(outcome: &Outcome) -> Ended {
    match outcome {
        Outcome::Executed { .. } | Outcome::ReadBack { .. } => Ended::Taken,
        Outcome::Failed { .. } => Ended::Not,
        Outcome::Unsure { .. } => Ended::Unsure,
    }
}
