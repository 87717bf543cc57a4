//! What others want of a wire: orders, a technician's look, a search for units. They go ahead of polling, between two
//! transactions; on a wire that is down they are refused at once instead of waiting until it is back.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Ask, Closed, Failure, Poll};
use crate::field::profile::Line;
use crate::field::wire::{Port, Wire};
use crate::field::{Errand, Exchange, Lane, Out, Scan, Sighting};
use crate::order::{Deed, Done, Outcome};
use crate::reading::{Batch, DeviceId, PointId, Reading};
use crate::time::now;

/// The far end of the lane.
#[derive(Debug)]
pub(super) struct Errands {
    lane: OwnedMutexGuard<mpsc::Receiver<Errand>>,
    open: bool,
}

/// A scan tells how far it is after so many addresses.
const PROGRESS_EVERY: u32 = 8;
/// When the daemon ends, what was promised may take so long, and so many transactions.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
const LEAVE_MOST: usize = 32;
/// A technician who does not take what is found for so long is gone.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

impl Errands {
    pub async fn of(lane: Lane) -> Self {
        Self { lane: lane.lock_owned().await, open: true }
    }

    /// Never ends when nobody can want anything any more.
    pub async fn next(&mut self) -> Errand {
        if self.open
            && let Some(errand) = self.lane.recv().await
        {
            return errand;
        }
        self.open = false;
        std::future::pending().await
    }

    pub fn waiting(&mut self) -> Option<Errand> {
        self.lane.try_recv().ok()
    }
}

/// Says that the wire is down.
pub(super) async fn refuse(errand: Errand, why: &str, out: &Out) -> Result<(), Closed> {
    match errand {
        Errand::Do(deed) => {
            let outcome = Outcome::Failed { why: why.to_owned() };
            return done(&deed, outcome, Vec::new(), out).await;
        }
        Errand::Read { answer, .. } => drop(answer.send(vec![trouble(why)])),
        Errand::Scan { found, .. } => drop(found.try_send(Sighting::Trouble(why.to_owned()))),
    }
    Ok(())
}

async fn done(deed: &Deed, outcome: Outcome, readings: Vec<Reading>, out: &Out) -> Result<(), Closed> {
    let at = now();
    let mut batch = Batch::new(deed.device, at, readings, None);
    batch.done = Some(Done { number: deed.number, at, outcome });
    out.send(batch).await.map_err(|_| Closed)
}

fn trouble(why: &str) -> Exchange {
    Exchange { trouble: Some(why.to_owned()), ..Exchange::default() }
}

impl<P: Ask> Poll<P> {
    /// The one that has waited longest, after what was promised: that ends something which is on. Whether there was one.
    pub(super) async fn run_waiting(&mut self) -> Result<bool, Closed> {
        self.keep_promises().await;
        let Some(errand) = self.errands.waiting() else {
            return Ok(false);
        };
        self.run_errand(errand).await?;
        self.keep_promises().await;
        Ok(true)
    }

    pub(super) async fn run_errand(&mut self, errand: Errand) -> Result<(), Closed> {
        match errand {
            Errand::Scan { what, found } => self.scan(&what, &found).await,
            errand => self.run_short(errand).await,
        }
    }

    /// What the protocol has promised and is due.
    pub(super) async fn keep_promises(&mut self) {
        while self.protocol.due().is_some_and(|at| at <= Instant::now())
            && let Some(link) = &mut self.link
        {
            if let Err(failure) = self.protocol.settle(link, Instant::now()).await {
                self.drop_if_broken(&failure);
            }
        }
    }

    /// The daemon ends, and what is promised would not be done any more: it is done now.
    pub(super) async fn leave(&mut self) {
        let all = async {
            for _ in 0..LEAVE_MOST {
                let Some(at) = self.protocol.due() else { return };
                if self.link.is_none() && self.connect().await.is_err() {
                    return;
                }
                let Some(link) = &mut self.link else { return };
                match self.protocol.settle(link, at).await {
                    Ok(()) => {}
                    Err(Failure::Doubt { until }) => sleep_until(until).await,
                    Err(failure) => self.drop_if_broken(&failure),
                }
            }
        };
        let _ = timeout(LEAVE_WITHIN, all).await; // what cannot be done by then is left
    }

    async fn run_short(&mut self, errand: Errand) -> Result<(), Closed> {
        if self.link.is_none() && self.health.down.is_none() && self.connect().await.is_err() {
            return refuse(errand, "the wire cannot be opened", &self.out).await;
        }
        if self.link.is_none() || self.health.down.is_some() {
            return refuse(errand, self.health.why_down(), &self.out).await;
        }
        // What a device said before it was ordered is older than what comes of the order.
        self.hand_on_words().await?;
        let began = Instant::now();
        match errand {
            Errand::Do(deed) => {
                let mut readings = Vec::new();
                let outcome = self.act(&deed, &mut readings).await;
                done(&deed, outcome, readings, &self.out).await?;
            }
            Errand::Read { device, point, answer } => drop(answer.send(self.look(device, point).await)),
            Errand::Scan { found, .. } => {
                drop(found.try_send(Sighting::Trouble("another scan is under way on this wire".into())));
            }
        }
        self.counters.busy(began.elapsed());
        self.hand_on_words().await
    }

    async fn act(&mut self, deed: &Deed, readings: &mut Vec<Reading>) -> Outcome {
        let failed = |why: &str| Outcome::Failed { why: why.to_owned() };
        if deed.is_late() {
            return failed("it expired before its turn came");
        }
        let Some(unit) = self.unit(deed.device) else {
            return failed("the device is not on this wire");
        };
        if let Err(why) = self.wake(unit, deed.nth, readings).await {
            return failed(&format!("{why}; the order was not sent"));
        }
        if deed.is_late() {
            return failed("it expired before its device answered; the order was not sent");
        }
        let Some(link) = &mut self.link else {
            return failed("the wire is down");
        };
        let outcome = self.protocol.act(link, unit, deed.nth, readings).await;
        let is_unsure = match &outcome {
            Ok(outcome) => matches!(outcome, Outcome::Unsure { .. }),
            Err(failure) => !matches!(failure, Failure::Doubt { .. }),
        };
        if is_unsure && link.is_socket() {
            // What a network that is cut has not taken yet must not arrive when it is mended.
            link.forget();
            self.link = None;
        }
        match outcome {
            Ok(outcome) => {
                self.health.answer(&self.id);
                outcome
            }
            Err(Failure::Doubt { .. }) => failed("the device is left alone for a moment, since it was late"),
            Err(failure) => {
                let why = self.why(&failure);
                self.stumbled(unit, &failure);
                self.drop_if_broken(&failure);
                Outcome::Unsure { why }
            }
        }
    }

    /// What lies in the socket of who has stalled is read when that goes on, however late. Whoever has just answered reads it
    /// now. A connection that has ended meanwhile is made anew.
    async fn wake(&mut self, unit: usize, nth: usize, readings: &mut Vec<Reading>) -> Result<(), String> {
        for may_end in [true, false] {
            let Some(link) = self.link.as_mut().filter(|link| link.is_socket()) else { return Ok(()) };
            let ended = match self.protocol.wake(link, unit, nth, readings).await {
                // It answers once a connection.
                Ok(()) if link.is_closed().await => {
                    return self.connect().await.map_err(|error| error.to_string());
                }
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let why = self.why(&ended);
            self.stumbled(unit, &ended);
            self.drop_if_broken(&ended);
            if !(may_end && matches!(ended, Failure::Broken(_)) && self.connect().await.is_ok()) {
                return Err(why);
            }
        }
        Ok(())
    }

    async fn look(&mut self, device: DeviceId, point: Option<PointId>) -> Vec<Exchange> {
        let Some(unit) = self.unit(device) else {
            return vec![trouble("the device is not on this wire")];
        };
        let Some(link) = &mut self.link else {
            return vec![trouble("the wire is down")];
        };
        match self.protocol.look(link, unit, point).await {
            Ok(exchanges) => exchanges,
            Err(failure) => {
                self.stumbled(unit, &failure);
                self.drop_if_broken(&failure);
                vec![trouble(&self.why(&failure))]
            }
        }
    }

    fn drop_if_broken(&mut self, failure: &Failure) {
        if let Failure::Broken(_) | Failure::Fault(_) = failure {
            self.link = None;
        }
    }

    fn unit(&self, device: DeviceId) -> Option<usize> {
        self.units.iter().position(|unit| unit.id == device)
    }

    // --- scan ---

    /// Polling waits meanwhile; orders and promises do not. The wire is as configured afterwards.
    async fn scan(&mut self, what: &Scan, found: &mpsc::Sender<Sighting>) -> Result<(), Closed> {
        let lines = match &what.lines[..] {
            [] => vec![None],
            lines => lines.iter().copied().map(Some).collect(),
        };
        let addresses = u32::from(what.to.saturating_sub(what.from)) + 1;
        let (mut so_far, of) = (0, addresses * lines.len() as u32);
        let mut end = ControlFlow::Continue(());
        for line in lines {
            if end.is_continue() {
                end = self.reopen(line, found).await;
            }
            for address in what.from..=what.to {
                if end.is_break() {
                    break;
                }
                self.errands_amid_scan(line, found, &mut end).await?;
                end = self.seek(address, line, what.timeout, found).await;
                so_far += 1;
                if end.is_continue() && (so_far % PROGRESS_EVERY == 0 || so_far == of) {
                    end = tell(found, Sighting::Progress { done: so_far, of }).await;
                }
            }
        }
        if !what.lines.is_empty() {
            // A turn may be under way. Where it fails, whoever needs the wire next tries again, and tells.
            let _ = self.connect().await;
        }
        Ok(())
    }

    /// Where the line is not as configured, it is for as long as orders and promises take.
    async fn errands_amid_scan(
        &mut self,
        line: Option<Line>,
        found: &mpsc::Sender<Sighting>,
        end: &mut ControlFlow<()>,
    ) -> Result<(), Closed> {
        let first = self.errands.waiting();
        let promised = self.protocol.due().is_some_and(|at| at <= Instant::now());
        if first.is_none() && !promised {
            return Ok(());
        }
        if line.is_some() {
            let _ = self.connect().await; // where it fails, orders are told, and promises stay
        }
        self.keep_promises().await;
        let mut next = first;
        while let Some(errand) = next {
            self.run_short(errand).await?;
            self.keep_promises().await;
            next = self.errands.waiting();
        }
        if line.is_some() || self.link.is_none() {
            *end = self.reopen(line, found).await;
        }
        Ok(())
    }

    /// As configured, or with other settings of a serial line.
    async fn reopen(&mut self, line: Option<Line>, found: &mpsc::Sender<Sighting>) -> ControlFlow<()> {
        let opened = match (line, &self.wire) {
            (None, _) if self.link.is_some() => return ControlFlow::Continue(()),
            (None, _) => self.connect().await,
            (Some(_), Wire::Tcp { .. }) => {
                let why = "the speed of a line behind TCP cannot be changed from here";
                return stop(found, why.into()).await;
            }
            (Some(line), Wire::Serial(port)) => {
                let Line { baud, parity, stop_bits } = line;
                let changed = Wire::Serial(Port { baud, parity, stop_bits, ..port.clone() });
                let configured = std::mem::replace(&mut self.wire, changed);
                let opened = self.connect().await;
                self.wire = configured;
                opened
            }
        };
        match opened {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => stop(found, e.to_string()).await,
        }
    }

    async fn seek(
        &mut self,
        address: u8,
        line: Option<Line>,
        within: Duration,
        found: &mpsc::Sender<Sighting>,
    ) -> ControlFlow<()> {
        if found.is_closed() {
            return ControlFlow::Break(());
        }
        let Some(link) = &mut self.link else {
            return stop(found, self.health.why_down().to_owned()).await;
        };
        match self.protocol.seek(link, address, within).await {
            Ok(Some(how)) => {
                let address = address.to_string();
                tell(found, Sighting::Found { address, line, how }).await
            }
            Err(Failure::Broken(e)) => {
                self.link = None;
                stop(found, e.to_string()).await
            }
            Err(Failure::Fault(fault)) => {
                self.link = None;
                stop(found, fault.to_string()).await
            }
            Ok(None) | Err(_) => ControlFlow::Continue(()),
        }
    }
}

async fn tell(found: &mpsc::Sender<Sighting>, what: Sighting) -> ControlFlow<()> {
    match timeout(TOLD_WITHIN, found.send(what)).await {
        Ok(Ok(())) => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    }
}

async fn stop(found: &mpsc::Sender<Sighting>, why: String) -> ControlFlow<()> {
    let _ = tell(found, Sighting::Trouble(why)).await;
    ControlFlow::Break(())
}
