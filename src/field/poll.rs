//! One wire with its devices: they are asked in turn, what came of it is handed on, and between any two questions what
//! others want of the wire goes first. Who is next says `schedule`; how a question is put is the protocol's business.

mod ask;
mod counters;
mod errands;
mod guard;
mod line;
mod report;
#[cfg(test)]
mod tests;
mod turn;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::load::Load;
use super::schedule::Schedule;
use super::stumble::Stumbles;
use super::wire::{Link, Wire};
use super::{Context, Errand, Out};
use crate::reading::{Batch, DeviceId, Life, Reading, Site};
pub use ask::{Answer, Ask, Device, Failure, Round};
use counters::Counters;
use errands::Errands;
use guard::Guard;
use line::Health;
use report::Troubles;
use turn::Turn;

/// A wire at work.
#[derive(Debug)]
struct Poll<P> {
    id: Arc<str>,
    site: Arc<Site>,
    wire: Wire,
    link: Option<Link>,
    timeout: Duration,
    protocol: P,
    units: Vec<Unit>,
    /// As the schedule numbers them.
    turns: Vec<Turn>,
    schedule: Schedule,
    load: Load,
    errands: Errands,
    out: Out,
    counters: Counters,
    stumbles: Stumbles,
    health: Health,
    /// What came while nobody was asked.
    heard: Vec<u8>,
}

#[derive(Debug)]
struct Unit {
    id: DeviceId,
    troubles: Troubles,
}

/// Why it is done with being idle.
#[derive(Debug)]
enum Idle {
    Due(usize, Instant),
    Promised,
    Errand(Errand),
    Heard(io::Result<usize>),
}

/// Nobody takes readings any more: the daemon stops.
#[derive(Debug)]
struct Closed;

/// Polls all devices of one wire until `context.stop`, or until nobody takes the readings any more. `timeout`: how
/// long a device may take to answer.
pub async fn run(
    id: Arc<str>,
    wire: Wire,
    timeout: Duration,
    devices: Vec<Device>,
    protocol: impl Ask,
    context: Context,
) {
    let start = Instant::now();
    let lengths = |device: &Device| device.rounds.iter().map(|r| (r.every, r.questions.len())).collect();
    let schedule = Schedule::new(devices.iter().map(lengths), start);
    let (mut units, mut turns) = (Vec::new(), Vec::new());
    for (unit, device) in devices.into_iter().enumerate() {
        units.push(Unit { id: device.id, troubles: Troubles::default() });
        turns.extend(device.rounds.into_iter().map(|round| Turn { unit, round }));
    }
    let Some(errands) = context.stop.run_until_cancelled(Errands::of(context.lane)).await else {
        return;
    };
    let mut poll = Poll {
        counters: Counters::new(&context.metrics, &id),
        stumbles: Stumbles::new(id.clone(), context.site.clone(), context.metrics),
        id,
        site: context.site,
        wire,
        link: None,
        timeout,
        protocol: Guard::new(protocol),
        units,
        schedule,
        load: Load::new(turns.iter().map(|turn| turn.round.every), start),
        turns,
        errands,
        out: context.out,
        health: Health::new(),
        heard: Vec::new(),
    };
    // Closed is the end as well.
    let _ = context.stop.run_until_cancelled(poll.work()).await;
    poll.leave().await;
}

impl<P: Ask> Poll<P> {
    async fn work(&mut self) -> Result<(), Closed> {
        // Between one errand and the next whoever is due has a turn: a flood of orders does not stop the polling.
        let mut served = false;
        loop {
            if !served {
                served = self.run_waiting().await?;
            }
            let next = self.schedule.next();
            let wanted = next.is_some() || self.protocol.listens() || self.protocol.due().is_some();
            if self.link.is_none() && wanted {
                self.open().await?;
            }
            if std::mem::take(&mut served)
                && let Some((turn, due)) = next.filter(|(_, due)| *due <= Instant::now())
            {
                self.poll(turn, due).await?;
                continue;
            }
            match self.idle(next).await {
                Idle::Promised => self.keep_promises().await,
                Idle::Due(turn, due) => self.poll(turn, due).await?,
                Idle::Errand(errand) => {
                    self.run_errand(errand).await?;
                    served = true;
                }
                Idle::Heard(heard) => self.overheard(heard).await?,
            }
        }
    }

    /// Waits for what is next to do.
    async fn idle(&mut self, next: Option<(usize, Instant)>) -> Idle {
        let listens = self.protocol.listens();
        let due = async {
            match next {
                // The runtime's timer would let what is due now wait for its next tick.
                Some((turn, at)) if at <= Instant::now() => Idle::Due(turn, at),
                Some((turn, at)) => {
                    sleep_until(at).await;
                    Idle::Due(turn, at)
                }
                None => pending().await,
            }
        };
        let promised = self.protocol.due();
        let promised = async {
            match promised {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let heard = async {
            match &mut self.link {
                Some(link) if listens => Idle::Heard(link.receive(&mut self.heard).await),
                _ => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = promised => Idle::Promised,
            errand = self.errands.next() => Idle::Errand(errand),
            heard = heard => heard,
            due = due => due,
        }
    }

    /// What others said by themselves while one was asked.
    async fn hand_on_words(&mut self) -> Result<(), Closed> {
        if self.protocol.listens() && self.link.is_some() { self.overheard(Ok(0)).await } else { Ok(()) }
    }

    /// What a device said unasked.
    async fn overheard(&mut self, heard: io::Result<usize>) -> Result<(), Closed> {
        if let Err(e) = heard {
            self.heard.clear();
            self.link = None;
            return self.broke(&e).await;
        }
        let spoke = self.protocol.overheard(&self.heard);
        self.heard.clear();
        for (unit, readings) in spoke {
            self.health.answer(&self.id);
            self.hand_on(unit, readings, None).await?;
        }
        Ok(())
    }

    async fn hand_on(&self, unit: usize, readings: Vec<Reading>, life: Option<Life>) -> Result<(), Closed> {
        let at = readings.iter().map(|r| r.at).max().unwrap_or_else(crate::time::now);
        let batch = Batch::new(self.units[unit].id, at, readings, life);
        self.out.send(batch).await.map_err(|_| Closed)
    }
}
